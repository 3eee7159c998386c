"""The hash chain that makes the history of a principal tamper-evident, and its pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from .errors import RecordTampered
from .events import AuditEvent, EventType
from .keys import encode_fields
from .keysources.base import RecordAuthenticator
from .models import Principal


def chained(events: Iterable[AuditEvent], number: int, head: str, keys: RecordAuthenticator) -> tuple[AuditEvent, ...]:
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
    return replace(event, type=EventType.REDACTED, at=0, actor="", serial="", reason="", details=())


def check_chain(events: Sequence[AuditEvent], number: int, head: str, keys: RecordAuthenticator, pruned: int = 0) -> str:
    """The tag of the last of *events*, which follow event *number* with the tag *head*.

    :raises RecordTampered: names the first event that was changed, removed or moved.
    """
    for event in events:
        number += 1
        blank = event.type is EventType.REDACTED and number <= pruned
        if event.number != number or not (blank or keys.check("history", _message(event, head), event.tag)):
            raise RecordTampered(f"the history of this principal was changed at event {number}")
        head = event.tag
    return head


def check_page(events: Sequence[AuditEvent], after: int, limit: int, record: Principal,
               keys: RecordAuthenticator) -> Sequence[AuditEvent]:
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
    blank = sum(event.type is EventType.REDACTED for event in page)
    if blank > record.redacted or (len(page) == record.events and blank != record.redacted):
        raise RecordTampered("more of the history of this principal was redacted than its record says")
    return page


def _message(event: AuditEvent, head: str) -> bytes:
    who = event.principal
    return encode_fields("vmfa event v1", who.account, who.kind, who.name, event.number, head, event.document())
