"""What happened: audit events, and the chain that makes a principal's history tamper-evident (RULE-HISTORY)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from .errors import InvalidValue, RecordTampered, StoreTooNew
from .models import PrincipalId
from .otp import check_int
from .validators import MAX_INTEGER, check_fields, check_text, instance_of, integer, timestamp

__all__ = ["AuditEvent", "EventType"]


class EventType(StrEnum):
    """What an event tells: the life cycle, which is stored, then what is only told."""

    OPENED = "enrollment opened"
    SUPERSEDED = "enrollment superseded"
    EXPIRED = "enrollment expired"
    CANCELLED = "enrollment cancelled"
    ABANDONED = "enrollment abandoned"  # its attempts were used up
    ASSIGNED = "device assigned"
    ADOPTED = "device adopted"
    RESYNCHRONIZED = "device resynchronized"
    DRIFT_CHANGED = "drift changed"
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


BINDINGS: Final = frozenset({EventType.ASSIGNED, EventType.ADOPTED, EventType.DEACTIVATED, EventType.PRUNED})
VERSION: Final = 1  # of the stored document
TRANSIENT: Final = {EventType.ACCEPTED, EventType.REJECTED, EventType.REFUSED, EventType.READ, EventType.FORGOTTEN}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One outcome. No key, no code. ``at`` in Unix seconds; ``number`` and ``tag`` only where it is stored."""

    type: EventType
    at: int = field(metadata=timestamp())
    principal: PrincipalId
    actor: str
    serial: str = ""
    reason: str = ""
    details: tuple[tuple[str, int | str], ...] = ()
    number: int = field(default=0, metadata=integer(0, MAX_INTEGER))
    tag: str = field(default="", metadata=instance_of(str))

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def stored(self) -> bool:
        """Life-cycle events are kept in the history; every other outcome is only told to the observer."""
        return self.type not in TRANSIENT

    def document(self) -> str:
        """The event as it is stored: JSON, without principal, number and tag, which are columns."""
        told = {"v": VERSION, "type": self.type, "at": self.at, "actor": self.actor, "serial": self.serial,
                "reason": self.reason, "details": dict(self.details)}
        return json.dumps(told, separators=(",", ":"))

    @classmethod
    def from_document(cls, principal: PrincipalId, number: int, document: str, tag: str) -> AuditEvent:
        """:raises RecordTampered: this is no event that the library wrote."""
        try:
            read = json.loads(document)
            check_version(read.pop("v"), VERSION)
            type_, details = EventType(read.pop("type")), tuple(read.pop("details").items())
            event = cls(principal=principal, number=number, tag=tag, type=type_, details=details, **read)
            check_int("number", number, 1, MAX_INTEGER)
            for text in (event.actor, event.serial, event.reason):
                check_text("text", text, max_bytes=8192, empty=True)
            for text, value in event.details:
                check_text("text", text, max_bytes=64)
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
