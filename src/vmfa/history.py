"""The hash chain that makes the history of a principal tamper-evident.

Every stored event keeps two digests, in hexadecimal::

    content_digest = SHA-256(salt, document)
    digest         = SHA-256(principal, number, digest before, redactable, content_digest)

The record of the principal holds the number and the digest of the last event under its MAC.
Pruning removes document and salt of exactly the redactable events up to ``pruned``, which the
record holds as well; their digests stay, so the chain can always be checked. A page in the middle
of a history is checked by walking from it to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from hashlib import sha256

from .errors import RecordTampered
from .events import BINDINGS, AuditEvent, EventType
from .keys import encode_fields
from .keysources.base import RecordAuthenticator
from .models import Principal, PrincipalId

SALT_BYTES = 16
READ_SIZE = 1000  # events in one read of a store


def chain(
    events: Iterable[AuditEvent],
    *,
    after: Principal,
    keys: RecordAuthenticator,
    random: Callable[[int], bytes],
) -> list[AuditEvent]:
    """Return *events* with their numbers, salts, digests and tags, ready to be stored.

    :param after: the record whose history they continue.
    :param keys: computes the tags for auditors.
    :param random: a function that returns as many random bytes as its argument says.
    """
    number, head = after.events, after.head
    chained = []
    for event in events:
        number += 1
        salt = random(SALT_BYTES).hex()
        redactable = event.type not in BINDINGS
        content_digest = _content_digest(salt, event.document())
        head = _digest(event.principal, number, head, redactable, content_digest)
        audit_tag = keys.audit_tag("event", audit_message(event.principal, number, head))
        chained.append(
            replace(
                event, number=number, salt=salt, redactable=redactable,
                content_digest=content_digest, digest=head, audit_tag=audit_tag,
            )
        )
    return chained


def redacted(event: AuditEvent) -> AuditEvent:
    """Return what remains of *event* after pruning: its number, its digests and its audit tag."""
    return AuditEvent.from_columns(
        event.principal, event.number, None, None, event.content_digest, event.digest,
        int(event.redactable), event.audit_tag,
    )


def is_redacted(event: AuditEvent) -> bool:
    """Return whether *event* was redacted."""
    return event.type is EventType.REDACTED


class ChainCheck:
    """Checks the events of a history, in their order, against the record of their principal.

    :param record: the authenticated record.
    :param before: the digest of the event before the first one that is checked; empty at the
        start.
    :param number: the number of that event; 0 at the start.
    """

    def __init__(self, record: Principal, *, number: int = 0, before: str = "") -> None:
        self._record = record
        self.number = number
        self._digest = before

    def add(self, event: AuditEvent) -> None:
        """Check the next event.

        :raises RecordTampered: the event is not the next one, or was changed. The text gives its
            number.
        """
        # RULE-HISTORY, ASVS5-16.4.2
        record = self._record
        number = self.number + 1
        if event.number != number:
            raise _missing(number)
        must_be_redacted = event.redactable and number <= record.pruned  # RULE-REDACTION
        if is_redacted(event) != must_be_redacted:  # RULE-REDACTION
            kind, contradiction = (
                ("un-redacted", "was not redacted, but the record requires it")
                if must_be_redacted
                else ("redacted", "was redacted, but the record does not allow it")
            )
            raise RecordTampered(
                f"event {number} of the history of this principal {contradiction}",
                kind=kind, number=number,
            )
        content_digest = event.content_digest
        if not must_be_redacted:
            content_digest = _content_digest(event.salt, event.document())
        digest = _digest(record.id, number, self._digest, event.redactable, content_digest)
        if content_digest != event.content_digest:
            raise RecordTampered(
                f"event {number} of the history of this principal was changed",
                kind="changed", number=number,
            )
        if digest != event.digest:
            raise RecordTampered(
                f"event {number} of the history of this principal was changed or does not belong"
                " in this place",
                kind="out of place", number=number,
            )
        self.number, self._digest = number, digest

    def finish(self) -> None:
        """Check that the history ends where the record says.

        :raises RecordTampered: it does not.
        """
        if self.number < self._record.events:
            raise _missing(self.number + 1)
        if self._digest != self._record.head:
            raise RecordTampered(
                "the history of this principal does not end with the event that its record states",
                kind="another end", number=self.number,
            )


class PageReader:
    """Reads one page of a history and checks it by walking from it to the end.

    Feed it what the store returns until :attr:`position` is None::

        reader = PageReader(record, after, limit)
        while reader.position is not None:
            reader.add(store.history(principal, after=reader.position, limit=READ_SIZE))
        return reader.page

    :param record: the authenticated record.
    :param after: the number of the event before the page.
    :param limit: the largest number of events on the page.
    """

    def __init__(self, record: Principal, after: int, limit: int) -> None:
        self._record = record
        self._limit = limit
        self._check: ChainCheck | None = None if after else ChainCheck(record)
        self._after = after
        self.page: list[AuditEvent] = []
        self.position: int | None = max(after - 1, 0) if after < record.events else None

    def add(self, events: Sequence[AuditEvent]) -> None:
        """Check the events that the store returned for :attr:`position`.

        :raises RecordTampered: an event is missing, was changed or moved, or is wrongly redacted.
        """
        rest = [event for event in events if event.number <= self._record.events]
        if self._check is None:
            if not rest or rest[0].number != self._after:
                raise _missing(self._after)
            self._check = ChainCheck(self._record, number=self._after, before=rest.pop(0).digest)
        check = self._check
        for event in rest:
            check.add(event)
            if len(self.page) < self._limit:
                self.page.append(event)
        self.position = check.number
        if check.number == self._record.events or not rest:
            check.finish()
            self.position = None


def _missing(number: int) -> RecordTampered:
    return RecordTampered(
        f"event {number} is missing from the history of this principal",
        kind="missing", number=number,
    )


def audit_message(principal: PrincipalId, number: int, digest: str) -> bytes:
    """Return what the tag for auditors of a stored event covers."""
    return encode_fields(
        "vmfa audit event v1", principal.account, principal.kind, principal.name, number, digest
    )


def _content_digest(salt: str, document: str) -> str:
    return sha256(encode_fields("vmfa event content v1", salt, document)).hexdigest()


def _digest(
    principal: PrincipalId, number: int, before: str, redactable: bool, content_digest: str
) -> str:
    # ASVS5-11.4.3
    return sha256(
        encode_fields(
            "vmfa event v1", principal.account, principal.kind, principal.name, number, before,
            int(redactable), content_digest,
        )
    ).hexdigest()
