"""What happened: audit events, and the chain that makes a principal's history tamper-evident (RULE-HISTORY)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from .errors import InvalidValue, RecordTampered, StoreTooNew
from .keysource import Authenticator, encode_fields
from .model import Principal, PrincipalId
from .otp import check_int
from .values import LAST_SECOND, Value, a, check_text, number, replace, seconds


class Happened(StrEnum):
    """What an event tells: the life cycle, which is stored, then what is only told."""

    OPENED = "enrollment opened"
    SUPERSEDED = "enrollment superseded"
    EXPIRED = "enrollment expired"
    CANCELLED = "enrollment cancelled"
    ABANDONED = "enrollment abandoned"  # its attempts were used up
    ASSIGNED = "device assigned"
    ADOPTED = "device adopted"
    RESYNCHRONISED = "device resynchronised"
    DRIFTED = "drift moved"
    BUDGET_LOW = "guess budget low"
    DISABLED = "device disabled"
    DEACTIVATED = "device deactivated"
    REANCHORED = "clock re-anchored"
    PRUNED = "history pruned"
    REDACTED = "redacted"  # what retention leaves of an event: its number and its tag
    FORGOTTEN = "principal forgotten"
    ACCEPTED = "code accepted"
    REJECTED = "code rejected"
    REFUSED = "refused"
    READ = "read"


BINDINGS: Final = frozenset({Happened.ASSIGNED, Happened.ADOPTED, Happened.DEACTIVATED, Happened.PRUNED})
VERSION: Final = 1  # of the stored document
TOLD_ONLY: Final = {Happened.ACCEPTED, Happened.REJECTED, Happened.REFUSED, Happened.READ, Happened.FORGOTTEN}


class AuditEvent(Value):
    """One outcome. No key, no code. ``at`` in Unix seconds; ``number`` and ``tag`` only where it is stored."""

    what: Happened
    at: int = seconds()
    principal: PrincipalId
    actor: str
    serial: str = ""
    reason: str = ""
    details: tuple[tuple[str, int | str], ...] = ()
    number: int = number(0, LAST_SECOND, default=0)
    tag: str = a(str, default="")

    @property
    def stored(self) -> bool:
        """Life-cycle events are kept in the history; every other outcome is only told to the observer."""
        return self.what not in TOLD_ONLY

    def document(self) -> str:
        """The event as it is stored: JSON, without principal, number and tag, which are columns."""
        told = {"v": VERSION, "what": self.what, "at": self.at, "actor": self.actor, "serial": self.serial,
                "reason": self.reason, "details": dict(self.details)}
        return json.dumps(told, separators=(",", ":"))

    @classmethod
    def from_document(cls, principal: PrincipalId, number: int, document: str, tag: str) -> AuditEvent:
        """:raises RecordTampered: this is no event that the library wrote."""
        try:
            read = json.loads(document)
            check_version(read.pop("v"), VERSION)
            what, details = Happened(read.pop("what")), tuple(read.pop("details").items())
            event = cls(principal=principal, number=number, tag=tag, what=what, details=details, **read)
            check_int("number", number, 1, LAST_SECOND)
            for text in (event.actor, event.serial, event.reason):
                check_text("text", text, longest=8192, empty=True)
            for text, value in event.details:
                check_text("text", text, longest=64)
                if not isinstance(value, int):
                    check_text("text", value, empty=True)
            return event
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass  # raised below, outside: an error that hangs on ours would carry the document
        raise RecordTampered(f"stored event {number if type(number) is int else 'without a number'} cannot be read")


def check_version(version: int, newest: int) -> None:
    """Of a stored document. :raises StoreTooNew: a newer release wrote it."""
    if type(version) is not int or version < 1:
        raise InvalidValue  # it is told by the caller
    if version > newest:
        raise StoreTooNew(f"a stored document has version {version}; this release reads up to {newest}")


def chained(events: Iterable[AuditEvent], number: int, head: str, keys: Authenticator) -> tuple[AuditEvent, ...]:
    """*events* behind the *number* events that end in the tag *head*, each bound to the one before."""
    chain = []
    for event in events:
        if event.stored:
            number += 1
            numbered = replace(event, number=number)
            head = keys.tag("history", _message(numbered, head))
            chain.append(replace(numbered, tag=head))
        else:
            chain.append(event)
    return tuple(chain)


def redacted(event: AuditEvent) -> AuditEvent:
    """What retention leaves: the place in the chain."""
    return replace(event, what=Happened.REDACTED, at=0, actor="", serial="", reason="", details=())


def check_chain(events: Sequence[AuditEvent], number: int, head: str, keys: Authenticator, pruned: int = 0) -> str:
    """The tag of the last of *events*, which follow event *number* with the tag *head*.

    :raises RecordTampered: names the first event that was changed, removed or moved.
    """
    for event in events:
        number += 1
        blank = event.what is Happened.REDACTED and number <= pruned
        if event.number != number or not (blank or keys.check("history", _message(event, head), event.tag)):
            raise RecordTampered(f"the history of this principal was changed at event {number}")
        head = event.tag
    return head


def check_page(events: Sequence[AuditEvent], after: int, limit: int, record: Principal,
               keys: Authenticator) -> Sequence[AuditEvent]:
    """The page of *limit* events behind number *after* of the history that the authenticated *record* speaks of.

    *events* are those behind number *after* - 1: the first gives the tag that the page starts from. Rows past
    the end that the record names are no part of the history.
    """
    page = [event for event in events if event.number <= record.events]
    start = page.pop(0).tag if after and page else ""
    if len(page) < min(limit, record.events - after):
        raise RecordTampered("events are missing from the history of this principal")
    page = page[:limit]
    last = check_chain(page, after, start, keys, record.pruned)
    if page and page[-1].number == record.events and last != record.head:
        raise RecordTampered("the history of this principal does not end as its record says")
    blank = sum(event.what is Happened.REDACTED for event in page)
    if blank > record.redacted or (len(page) == record.events and blank != record.redacted):
        raise RecordTampered("more of the history of this principal was redacted than its record says")
    return page


def _message(event: AuditEvent, head: str) -> bytes:
    who = event.principal
    return encode_fields("vmfa event v1", who.account, who.kind, who.name, event.number, head, event.document())
