"""Verify the histories of an account, compare them with checkpoints, and export events.

Nothing here changes a store, so you can run it on a replica or on a backup. A history that is not
intact does not stop the others.

* :func:`verify_history` checks the history of every principal of an account.
* :func:`verify_with_audit_key` does so with a key that derives no device key, for an auditor.
* :func:`compare` compares a store with checkpoints that were exported earlier and kept elsewhere.
* :func:`line` is one event as JSON, for a SIEM.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from . import errors
from .access import Actor
from .events import AuditEvent
from .history import PageReader, audit_message
from .keysources.base import AuditKey
from .models import Kind, Principal, PrincipalId
from .operations import Operations
from .otp import check_int
from .record import record_message
from .registry import ATTEMPTS, Observer, notify
from .stores.base import ListsOrphans, Store
from .validators import MAX_INTEGER, check_text

VERSION: Final = 1  # of the file of checkpoints
LINE_VERSION: Final = 1  # of the fields of an exported event
PAGE: Final = 1000
PageOfPrincipals = Callable[..., Sequence[PrincipalId]]
OF_ONE_PRINCIPAL: Final = (  # these errors do not stop the others
    errors.AccessDenied, errors.ClockWentBack, errors.RecordTampered, errors.StoreContended,
    errors.StoreTooNew, errors.UnknownMasterKey,
)


class AuditFailed(errors.VmfaError):
    """Some histories are not intact or cannot be read. The results name them."""

    reason = "audit failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What identifies the history of a principal up to now.

    :param revision: the revision of the record.
    :param tag: the tag of the record; empty if the store does not authenticate records.
    :param events: the number of events in the history.
    :param head: the digest of the last event.
    """

    principal: PrincipalId
    revision: int
    tag: str
    events: int
    head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryResult:
    """The result for one principal.

    :param checkpoint: where the history stands; None if it is not intact.
    :param events: all events of the history, oldest first; empty if it is not intact.
    :param problem: what is wrong, in a sentence; empty if nothing is.
    :param reason: the same as a short constant.
    :param tampering: what was done, as far as it shows, as a short constant: see
        ``docs/tampering.md``.
    :param event: the number of the first event that is not intact; None if it is the record.
    """

    principal: PrincipalId
    checkpoint: Checkpoint | None = None
    events: tuple[AuditEvent, ...] = ()
    problem: str = ""
    reason: str = ""
    tampering: str = ""
    event: int | None = None


def verify_history(
    store: Store,
    account: str,
    *,
    operations: Operations,
    by: Actor,
    clock: Callable[[], float] = time.time,
    observer: Observer | None = None,
) -> Iterator[HistoryResult]:
    """Check the history of every principal of *account*, one after the other.

    :param operations: ``registry.operations``.
    :param by: an actor that is allowed to read the histories. Only ``Actor.support(...)`` may read
        those of users and of root.
    :param clock: returns Unix time in seconds.
    :param observer: is called with an event for each history that is read.
    :returns: a result for each principal, root first, then users by the bytes of their names.
    :raises AuditFailed: a stored row has an invalid principal. The results before it are yielded
        first.
    """
    authenticate = partial(_permitted_record, store, operations, by, clock, observer)
    for principal in _principals_and_orphans(store, account):
        yield _verified(store, principal, authenticate)


def verify_with_audit_key(
    store: Store, account: str, *, audit_key: AuditKey
) -> Iterator[HistoryResult]:
    """Check every record and history of *account* by its tags for auditors.

    An auditor with this key and read access to the database needs no master key. They cannot
    compute a code or write a record that the service accepts. The check needs no actor, and no
    event reports it.

    :param audit_key: ``DerivedKeys(...).audit_key()``.
    :returns: a result for each principal, as :func:`verify_history` yields them.
    :raises AuditFailed: a stored row has an invalid principal. The results before it are yielded
        first.
    """
    authenticate = partial(_record_with_audit_tag, store, audit_key)
    for principal in _principals_and_orphans(store, account):
        yield _verified(store, principal, authenticate, audit_key)


def compare(
    store: Store,
    checkpoints: Iterable[Checkpoint],
    *,
    operations: Operations,
    by: Actor,
    clock: Callable[[], float] = time.time,
    observer: Observer | None = None,
) -> Iterator[HistoryResult]:
    """Check that the histories in *store* continue those of the checkpoints.

    Only this shows that a row was deleted, or that a complete older row was restored.

    :param checkpoints: from :func:`read_checkpoints`.
    :param operations: ``registry.operations``.
    :param by: as for :func:`verify_history`.
    :param clock: returns Unix time in seconds.
    :param observer: is called with an event for each history that is read.
    :returns: a result for each checkpoint.
    """
    authenticate = partial(_permitted_record, store, operations, by, clock, observer)
    for checkpoint in checkpoints:  # RULE-HEADS
        yield compare_with(checkpoint, _verified(store, checkpoint.principal, authenticate))


def compare_with_audit_key(
    store: Store, checkpoints: Iterable[Checkpoint], *, audit_key: AuditKey
) -> Iterator[HistoryResult]:
    """Do what :func:`compare` does, with the key of :func:`verify_with_audit_key`."""
    authenticate = partial(_record_with_audit_tag, store, audit_key)
    for checkpoint in checkpoints:
        result = _verified(store, checkpoint.principal, authenticate, audit_key)
        yield compare_with(checkpoint, result)


def compare_with(checkpoint: Checkpoint, result: HistoryResult) -> HistoryResult:
    """Return *result*, with a problem if its history does not continue that of *checkpoint*."""
    current = result.checkpoint
    if current is None:
        return result
    reason = problem = ""
    number: int | None = None
    if current.revision == 0:
        reason = "missing"
        problem = "the record is missing: its row was deleted, or the principal was forgotten"
    elif current.events >= checkpoint.events > 0 and (
        result.events[checkpoint.events - 1].digest != checkpoint.head
    ):
        reason, number = "another history", checkpoint.events
        problem = f"event {checkpoint.events} is not the exported one"
    elif current.events < checkpoint.events or current.revision < checkpoint.revision:
        reason = "older"
        problem = "an older record was restored, or the principal was forgotten and enrolled again"
    elif current.revision == checkpoint.revision and current.tag != checkpoint.tag:
        reason = "another record"
        problem = "the record has the revision of the exported one and is not that record"
    return replace(result, reason=reason, problem=problem, tampering=reason, event=number)


def _principals_and_orphans(store: Store, account: str) -> Iterator[PrincipalId]:
    """Yield the principals of *account*, and then those that have events and no record."""
    yield from _principals(store.principals, account)
    if isinstance(store, ListsOrphans):
        yield from _principals(store.orphans, account)


def _principals(read_page: PageOfPrincipals, account: str) -> Iterator[PrincipalId]:
    """Yield the principals of *account*.

    If a page cannot be read, the principals before the faulty row are read one by one.
    """
    last: PrincipalId | None = None
    size = PAGE
    while True:
        try:
            page = read_page(account, after=last, limit=size)
        except (errors.RecordTampered, ValueError):
            if size != 1:
                size = 1
                continue
            place = f"after {last}" if last else "before all others"
            raise AuditFailed(
                f"account {account}, {place}: a stored row has an invalid principal; "
                "the rows after it were not checked"
            ) from None
        if not page:
            return
        yield from page
        last = page[-1]


def _verified(
    store: Store,
    principal: PrincipalId,
    authenticate: Callable[[PrincipalId], Principal],
    audit_key: AuditKey | None = None,
) -> HistoryResult:
    try:
        record, events = read_intact(store, principal, authenticate)
        if audit_key is not None:
            _check_audit_tags(events, audit_key)
    except OF_ONE_PRINCIPAL as error:
        return HistoryResult(
            principal=principal, problem=str(error), reason=error.reason,
            tampering=getattr(error, "kind", error.reason), event=getattr(error, "number", None),
        )
    checkpoint = Checkpoint(
        principal=principal, revision=record.revision,
        tag=record.envelope.tag if record.envelope else "", events=record.events,
        head=record.head,
    )
    return HistoryResult(principal=principal, checkpoint=checkpoint, events=events)


def read_intact(
    store: Store, principal: PrincipalId, authenticate: Callable[[PrincipalId], Principal]
) -> tuple[Principal, tuple[AuditEvent, ...]]:
    """Return the record of *principal* and all events of its history, oldest first.

    :param authenticate: loads the record and raises an error if it is not authentic.
    :raises RecordTampered: the record or its history is not intact.
    :raises StoreContended: other processes kept changing the principal.
    """
    for _ in range(ATTEMPTS):
        record = authenticate(principal)
        events = _stored_events(store, principal, record.events + 1)
        if store.load(principal).head == record.head:
            return record, _checked(record, events)
    raise errors.StoreContended(
        "other processes kept changing this principal while its history was read: try again"
    )


def _permitted_record(
    store: Store,
    operations: Operations,
    by: Actor,
    clock: Callable[[], float],
    observer: Observer | None,
    principal: PrincipalId,
) -> Principal:
    """Return the record, if the actor may read it and the master keys authenticate it."""
    operation = operations.record(principal, by=by)
    actor_id = operation.actor_record_id
    actor_record = store.load(actor_id) if actor_id else None
    record = store.load(principal)
    decision = operation.decide(record, clock(), actor_record)
    # The decision may end an expired enrollment. That is not committed here.
    transient = tuple(event for event in decision.events if not event.stored)
    notify(observer, replace(decision, events=transient))
    decision.settle()
    return record


def _record_with_audit_tag(
    store: Store, audit_key: AuditKey, principal: PrincipalId
) -> Principal:
    """Return the record, if its tag for auditors is right."""
    record = store.load(principal)
    envelope = record.envelope
    if envelope is None:
        intact = record == Principal(id=principal)
    else:
        message = record_message(record, envelope.document)
        intact = audit_key.check("record", message, envelope.audit_tag)
    if not intact:
        raise errors.RecordTampered(
            "the tag for auditors of this record is wrong: it was not written by this library",
            kind="record changed",
        )
    return record


def _check_audit_tags(events: Iterable[AuditEvent], audit_key: AuditKey) -> None:
    for event in events:
        message = audit_message(event.principal, event.number, event.digest)
        if not audit_key.check("event", message, event.audit_tag):
            raise errors.RecordTampered(
                f"the tag for auditors of event {event.number} is wrong: it was not written by"
                " this library",
                kind="audit tag", number=event.number,
            )


def _checked(record: Principal, events: list[AuditEvent]) -> tuple[AuditEvent, ...]:
    # RULE-TAMPERING
    if record.revision == 0 and events:
        raise errors.RecordTampered(
            f"event {events[0].number} is stored without a record of this principal: its row was"
            " deleted, or the events were added",
            kind="no record", number=events[0].number,
        )
    if record.events and not events:
        raise errors.RecordTampered(
            "event 1 is missing from the history of this principal, and so are all others",
            kind="no history", number=1,
        )
    reader = PageReader(record, 0, record.events)
    reader.add(events)
    if reader.position is not None:  # the last events are missing
        reader.add(())
    if len(events) > record.events:
        number = events[record.events].number
        raise errors.RecordTampered(
            f"event {number} of this principal is stored after the end of "
            "its history: an older record was restored, or the event was added",
            kind="after the end", number=number,
        )
    return tuple(reader.page)


def _stored_events(store: Store, principal: PrincipalId, count: int) -> list[AuditEvent]:
    """Return the first *count* stored events, or a few more; fewer if there are fewer.

    :raises RecordTampered: an event cannot be read. The message says which one.
    """
    events: list[AuditEvent] = []
    size = PAGE
    while len(events) < count:
        last = events[-1].number if events else 0
        try:
            page = store.history(principal, after=last, limit=size)
        except (errors.RecordTampered, errors.StoreTooNew) as error:
            if size == 1:
                problem = type(error)(
                    f"event {last + 1} of the history of this principal: {error}"
                )
                if isinstance(error, errors.RecordTampered):
                    problem.kind = "unreadable"
                problem.number = last + 1
                raise problem from None
            size = 1
            continue
        if not page:
            break
        events += page
    return events


def line(event: AuditEvent) -> str:
    """Return an event as one line of JSON, without a key or a code.

    ``number`` is 0 if the event is not stored.
    """
    fields = {
        "v": LINE_VERSION,
        "number": event.number,
        "type": event.type.value,
        "outcome": event.outcome.value,
        "at": iso(event.at),
        "actor": str(event.actor),
        "source": event.source,
        "serial": event.serial,
        "reason": event.reason,
        "details": dict(event.details),
        **_principal_fields(event.principal),
        "digest": event.digest,
    }
    return json.dumps(fields, separators=(",", ":"))  # ASVS5-16.2.4, ASVS5-16.4.1


def checkpoint_document(checkpoints: Iterable[Checkpoint], at: float) -> dict[str, object]:
    """Return a JSON document that :func:`read_checkpoints` reads. Keep it outside the database.

    :param at: the Unix time of the checkpoints, in seconds.
    """
    rows = [
        {
            **_principal_fields(checkpoint.principal),
            "revision": checkpoint.revision,
            "tag": checkpoint.tag,
            "events": checkpoint.events,
            "head": checkpoint.head,
        }
        for checkpoint in checkpoints
    ]
    return {"v": VERSION, "at": iso(int(at)), "checkpoints": rows}


def read_checkpoints(text: str) -> list[Checkpoint]:
    """Return the checkpoints in a JSON document of :func:`checkpoint_document`.

    :raises InvalidValue: the text is not such a document.
    """
    is_signed = False
    try:
        document = json.loads(text)
        is_signed = "payload" in document
        check_int("v", document["v"], VERSION, VERSION)
        return [_read_checkpoint(row) for row in document["checkpoints"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        pass  # raised below
    raise errors.InvalidValue(
        "the checkpoints are signed: check the signature with --signed-by, or with"
        " vmfa.integrations.signing"
        if is_signed
        else "not a file of checkpoints that this release wrote"
    )


def _read_checkpoint(row: dict[str, Any]) -> Checkpoint:
    principal = PrincipalId(
        account=row["account"], kind=Kind(row["kind"]), name=row["name"]
    )
    revision, tag, events, head = row["revision"], row["tag"], row["events"], row["head"]
    check_int("revision", revision, 0, MAX_INTEGER)
    check_text("tag", tag, max_bytes=128, empty=True)
    check_int("events", events, 0, MAX_INTEGER)
    check_text("head", head, max_bytes=128, empty=True)
    return Checkpoint(
        principal=principal, revision=revision, tag=tag, events=events, head=head
    )


def _principal_fields(principal: PrincipalId) -> dict[str, object]:
    return {
        "account": principal.account, "kind": principal.kind.value, "name": principal.name,
    }


def iso(at: int) -> str:
    """Return a Unix time in ISO 8601 in UTC. After the year 9999, return the number of seconds.

    :param at: seconds.
    """
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at)
    except OverflowError:
        return f"{at} s"
    return moment.isoformat().replace("+00:00", "Z")
