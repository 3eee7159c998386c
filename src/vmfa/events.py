"""Audit events: what happened, to which principal, by which actor, and with which outcome."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from .errors import InvalidValue, RecordTampered, StoreTooNew
from .models import Kind, PrincipalId
from .otp import check_int
from .validators import (
    MAX_INTEGER,
    check_fields,
    check_text,
    instance_of,
    integer,
    text,
    timestamp,
)

__all__ = ["AuditEvent", "EventActor", "EventType", "Outcome"]

VERSION: Final = 1  # of the stored document


class EventType(StrEnum):
    """What happened. The values are stored and never change."""

    OPENED = "enrollment opened"
    SUPERSEDED = "enrollment superseded"
    EXPIRED = "enrollment expired"
    CANCELED = "enrollment canceled"
    ABANDONED = "enrollment abandoned"  # too many attempts
    ASSIGNED = "device assigned"
    ADOPTED = "device adopted"
    RESYNCHRONIZED = "device resynchronized"
    BUDGET_LOW = "guess budget low"
    BUDGET_RESTORED = "guess budget restored"
    DISABLED = "device disabled"
    DEACTIVATED = "device deactivated"
    CLIENT_TOKEN_GIVEN = "client token given"  # noqa: S105  # not a password
    CLIENTS_FORGOTTEN = "clients forgotten"
    REOPENED = "sign-in reopened"
    RECOVERY_CODES_REPLACED = "recovery codes replaced"
    BINDING_CODE_ISSUED = "binding code issued"
    MARKED_SPENT = "codes marked spent"
    REANCHORED = "clock re-anchored"
    PRUNED = "history pruned"
    ACCEPTED = "code accepted"
    REJECTED = "code rejected"
    RECOVERY_REJECTED = "recovery code rejected"
    REDACTED = "redacted"  # what remains of a pruned event: its number and its digests
    DRIFT_CHANGED = "drift changed"
    REFUSED = "refused"
    READ = "read"
    FORGOTTEN = "principal forgotten"


BINDINGS: Final = frozenset(  # never redacted: SP80063B-4.1-RECORD
    {EventType.ASSIGNED, EventType.ADOPTED, EventType.DEACTIVATED, EventType.PRUNED}
)
SIGN_INS: Final = frozenset({EventType.ACCEPTED, EventType.REJECTED})  # stored on request
TRANSIENT: Final = SIGN_INS | {  # reported to observers and not stored
    EventType.DRIFT_CHANGED, EventType.REFUSED, EventType.READ, EventType.FORGOTTEN,
}
_FAILURES: Final = frozenset(
    {EventType.REJECTED, EventType.RECOVERY_REJECTED, EventType.REFUSED, EventType.ABANDONED}
)


class Outcome(StrEnum):
    """Whether an operation succeeded."""

    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventActor:
    """The actor of an event.

    :param role: one of :class:`vmfa.Role`, or "claimant" for the person who typed a code at
        sign-in.
    :param account: the account of a person.
    :param kind: "root" or "user" for a person.
    :param name: the name of a user or of a service, or the reference of a support case.
    """

    role: str = field(metadata=text(32))
    account: str = field(default="", metadata=text(empty=True))
    kind: str = field(default="", metadata=text(8, empty=True))
    name: str = field(default="", metadata=text(empty=True))

    def __post_init__(self) -> None:
        check_fields(self)

    def __str__(self) -> str:
        if self.kind == Kind.ROOT:
            return f"{self.role} root of {self.account}"
        return f"{self.role} {self.name}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One event. It contains no key and no code.

    The fields from ``number`` on are set when the event is stored. Digests are in hexadecimal.

    :param type: what happened.
    :param at: the Unix time, in seconds.
    :param principal: the principal that the event is about.
    :param actor: who acted.
    :param serial: the serial number of the device, if there is one.
    :param reason: why, as a text or as the ``reason`` of an error.
    :param source: where the request came from, as the service stated it.
    :param details: pairs of a name and an int or a text.
    :param number: the place in the history, from 1; 0 if the event is not stored.
    :param salt: random bytes in hexadecimal, which are hashed with the content.
    :param content_digest: the digest of salt and content.
    :param digest: the digest of the chain up to this event.
    :param redactable: whether pruning may remove the content.
    :param audit_tag: the tag for auditors.
    """

    type: EventType = field(metadata=instance_of(EventType))
    at: int = field(metadata=timestamp())
    principal: PrincipalId = field(metadata=instance_of(PrincipalId))
    actor: EventActor = field(metadata=instance_of(EventActor))
    serial: str = field(default="", metadata=text(64, empty=True))
    reason: str = field(default="", metadata=text(empty=True))
    source: str = field(default="", metadata=text(empty=True))
    details: tuple[tuple[str, int | str], ...] = ()
    number: int = field(default=0, metadata=integer(0, MAX_INTEGER))
    salt: str = field(default="", metadata=text(64, empty=True))
    content_digest: str = field(default="", metadata=text(64, empty=True))
    digest: str = field(default="", metadata=text(64, empty=True))
    redactable: bool = field(default=False, metadata=instance_of(bool))
    audit_tag: str = field(default="", metadata=text(128, empty=True))

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def outcome(self) -> Outcome:
        """Whether the operation succeeded."""
        return Outcome.FAILURE if self.type in _FAILURES else Outcome.SUCCESS

    @property
    def stored(self) -> bool:
        """Whether the event is in the history. Others are only reported to observers."""
        return self.number > 0

    def document(self) -> str:
        """Return the content as JSON, without the principal and the fields of the chain."""
        # RULE-EVENT, ASVS5-16.2.1, ASVS5-16.2.5
        actor = self.actor
        content = {
            "v": VERSION,
            "type": self.type,
            "outcome": self.outcome,
            "at": self.at,
            "actor": [actor.role, actor.account, actor.kind, actor.name],
            "serial": self.serial,
            "reason": self.reason,
            "source": self.source,  # RULE-SOURCE
            "details": dict(self.details),
        }
        return json.dumps(content, separators=(",", ":"))

    def columns(self) -> tuple[int, str | None, str | None, str, str, int, str]:
        """Return the stored columns: number, document, salt, digests, redactable, audit tag.

        Document and salt are None for an event that was redacted.
        """
        redacted = self.type is EventType.REDACTED
        return (
            self.number, None if redacted else self.document(), None if redacted else self.salt,
            self.content_digest, self.digest, int(self.redactable), self.audit_tag,
        )

    @classmethod
    def from_columns(
        cls,
        principal: PrincipalId,
        number: int,
        document: str | None,
        salt: str | None,
        content_digest: str,
        digest: str,
        redactable: int,
        audit_tag: str,
    ) -> AuditEvent:
        """Return the event of a stored row, which :mod:`vmfa.history` has to check.

        :raises RecordTampered: the row cannot be read.
        :raises StoreTooNew: a newer version of the library wrote it.
        """
        try:
            check_int("number", number, 1, MAX_INTEGER)
            check_int("redactable", redactable, 0, 1)
            if (document is None) != (salt is None):
                raise InvalidValue("document and salt must be redacted together")
            content = _REDACTED if document is None else _read_content(document)
            return cls(
                principal=principal, number=number, salt=salt or "", redactable=bool(redactable),
                content_digest=content_digest, digest=digest, audit_tag=audit_tag, **content,
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass  # raised below: an exception raised here would carry the document
        del document
        place = number if type(number) is int else "without a number"
        raise RecordTampered(f"stored event {place} cannot be read")


_REDACTED: Final[dict[str, Any]] = {
    "type": EventType.REDACTED, "at": 0, "actor": EventActor(role="redacted"),
}


def _read_content(document: str) -> dict[str, Any]:
    content = json.loads(document)
    check_version(content.pop("v"), VERSION)
    role, account, kind, name = content.pop("actor")
    outcome = content.pop("outcome")
    details = tuple(content.pop("details").items())
    event_type = EventType(content.pop("type"))
    if event_type is EventType.REDACTED or (outcome == Outcome.FAILURE) != (
        event_type in _FAILURES
    ):
        raise InvalidValue("type and outcome contradict each other")
    for label, value in details:
        check_text("details", label, max_bytes=64)
        if type(value) is not int:
            check_text("details", value, empty=True)
    actor = EventActor(role=role, account=account, kind=kind, name=name)
    return {**content, "type": event_type, "actor": actor, "details": details}


def check_version(version: int, newest: int) -> None:
    """Check the version of a stored document.

    :raises StoreTooNew: a newer version of the library wrote it.
    """
    if type(version) is not int or version < 1:
        raise InvalidValue("a stored document must have a version")
    if version > newest:
        raise StoreTooNew(
            f"a stored document has version {version}; this release reads up to {newest}"
        )
