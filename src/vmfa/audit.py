"""The trail: does every history of an account hold, is it still the one seen earlier, and what a SIEM is told.

A pass reads and never writes, so it may run on a replica or on a backup. It goes on where one
principal's history is broken, and answers for each. :func:`verify_history` is the pass,
:func:`compare` holds a store against heads that were exported earlier and kept elsewhere,
:func:`line` is one event for a SIEM.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from . import errors
from .access import Actor
from .events import AuditEvent
from .history import PageReader
from .models import Kind, Principal, PrincipalId
from .operations import Operations
from .otp import check_int
from .registry import ATTEMPTS, Observer, notify
from .stores.base import Store

VERSION: Final = 1  # of the file of heads
PAGE: Final = 1000
ITS_OWN: Final = (  # what one principal's record can be, without a word about the others
    errors.AccessDenied, errors.ClockWentBack, errors.RecordTampered, errors.StoreContended, errors.StoreTooNew,
    errors.UnknownMasterKey,
)


class AuditFailed(errors.VmfaError):
    """The pass found principals whose histories do not hold, or cannot be read; its answer names them."""

    reason = "trail broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What commits to a principal's past: the tag of its last event, their number, the record's revision."""

    principal: PrincipalId
    revision: int
    events: int
    head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryResult:
    """What the pass found of one principal: its head and its events, or a ``problem`` and its short ``reason``."""

    principal: PrincipalId
    head: Checkpoint | None = None
    events: tuple[AuditEvent, ...] = ()
    problem: str = ""
    reason: str = ""


def verify_history(
    store: Store, account: str, *, operations: Operations, by: Actor, clock: Callable[[], float] = time.time,
    observer: Observer | None = None,
) -> Iterator[HistoryResult]:
    """Check the history of every principal of *account*, one after the other.

    :param operations: the registry's ``operations``. :param by: who may read them; of root and
        users alike, that is ``Actor.support``. :param observer: is told each read, as the
        registry's is.
    :raises AuditFailed: after all that could be examined, a stored row that names no principal.
    """
    for who in _listed(store, account):
        yield _examined(store, who, operations, by, clock, observer)


def _listed(store: Store, account: str) -> Iterator[PrincipalId]:
    """The principals of *account*. Where a row names nobody, those before it one by one, and then its place."""
    last: PrincipalId | None = None
    size = PAGE
    while True:
        try:
            page = store.principals(account, after=last, limit=size)
        except (errors.RecordTampered, ValueError):
            if size != 1:
                size = 1
                continue
            place = f"behind {last}" if last else "before all others"
            problem = f"account {account}, {place}: a stored row names no principal; what follows it was not examined"
            raise AuditFailed(problem) from None
        if not page:
            return
        yield from page
        last = page[-1]


def compare(
    store: Store, heads: Iterable[Checkpoint], *, operations: Operations, by: Actor,
    clock: Callable[[], float] = time.time, observer: Observer | None = None,
) -> Iterator[HistoryResult]:
    """RULE-HEADS: hold *store* against *heads* exported earlier. A deleted row or a whole older one shows only here."""
    for old in heads:
        yield compare_with(old, _examined(store, old.principal, operations, by, clock, observer))


def compare_with(old: Checkpoint, found: HistoryResult) -> HistoryResult:
    """*found*, with a problem where it does not continue what *old* commits to."""
    new, events = found.head, found.events
    if new is None:
        return found
    reason = problem = ""
    if new.revision == 0:
        reason, problem = "missing", "there is no record any more: its row was deleted, or the principal was forgotten"
    elif new.events >= old.events > 0 and events[old.events - 1].digest != old.head:
        reason, problem = "another history", f"event {old.events} is not the one that was exported"
    elif new.events < old.events or new.revision < old.revision:
        reason = "older"
        problem = "an older record was put back, or the principal was forgotten and enrolled again"
    return replace(found, reason=reason, problem=problem)


def _examined(
    store: Store, who: PrincipalId, operations: Operations, by: Actor, clock: Callable[[], float],
    observer: Observer | None,
) -> HistoryResult:
    try:
        record, events = _read(store, who, operations, by, clock, observer)
    except ITS_OWN as error:
        return HistoryResult(principal=who, problem=str(error), reason=error.reason)
    head = Checkpoint(principal=who, revision=record.revision, events=record.events, head=record.head)
    return HistoryResult(principal=who, head=head, events=events)


def _read(
    store: Store, who: PrincipalId, operations: Operations, by: Actor, clock: Callable[[], float],
    observer: Observer | None,
) -> tuple[Principal, tuple[AuditEvent, ...]]:
    operation = operations.record(who, by=by)
    for _ in range(ATTEMPTS):
        actor_record = store.load(operation.actor_record_id) if operation.actor_record_id else None
        record = store.load(who)
        made = operation.decide(record, clock(), actor_record)
        read = tuple(event for event in made.events if not event.stored)  # an expiry is not committed here
        notify(observer, replace(made, events=read))
        made.settle()  # the actor may read it, and the record is authentic
        events = _stored(store, who, record.events)
        if store.load(who).head == record.head:
            reader = PageReader(record, 0, record.events)
            reader.add(events)
            return record, tuple(reader.page)
    raise errors.StoreContended("others kept changing this principal while its history was read")


def _stored(store: Store, who: PrincipalId, length: int) -> list[AuditEvent]:
    """The first *length* stored events of *who*. :raises RecordTampered: names the first that cannot be read."""
    events = list[AuditEvent]()
    size = PAGE
    while len(events) < length:
        after = events[-1].number if events else 0
        try:
            page = store.history(who, after=after, limit=size)
        except (errors.RecordTampered, errors.StoreTooNew) as error:
            if size == 1:
                raise type(error)(f"event {after + 1} of the history of this principal: {error}") from None
            size = 1
            continue
        if not page:
            break
        events += page
    return events


def line(event: AuditEvent) -> str:
    """*event* as one line of JSON; ``number`` is 0 where it is only told. It holds no key and no code."""
    facts = {**plain_event(event), "at": iso(event.at), **plain(event.principal), "digest": event.digest}
    return json.dumps(facts, separators=(",", ":"))


def checkpoint_document(heads: Iterable[Checkpoint], at: float) -> dict[str, object]:
    """What is to be kept elsewhere, as :func:`read_checkpoints` reads it; *at* is the Unix time of the pass."""
    rows = [{**plain(h.principal), "revision": h.revision, "events": h.events, "head": h.head} for h in heads]
    return {"v": VERSION, "at": iso(int(at)), "heads": rows}


def read_checkpoints(text: str) -> list[Checkpoint]:
    """:raises InvalidValue: this is no file of heads."""
    try:
        document = json.loads(text)
        check_int("v", document["v"], VERSION, VERSION)
        heads = [
            Checkpoint(principal=PrincipalId(account=row["account"], kind=Kind(row["kind"]), name=row["name"]), revision=row["revision"],
                 events=row["events"], head=row["head"])
            for row in document["heads"]
        ]
        for head in heads:
            check_int("revision", head.revision, 0, 1 << 62)
            check_int("events", head.events, 0, 1 << 62)
            if not isinstance(head.head, str):
                raise errors.InvalidType("head is text")
    except (ValueError, TypeError, KeyError, RecursionError):
        raise errors.InvalidValue("this is no file of heads that this release wrote") from None
    return heads


def plain(who: PrincipalId) -> dict[str, object]:
    return {"account": who.account, "kind": who.kind.value, "name": who.name}


def plain_event(event: AuditEvent) -> dict[str, object]:
    return {
        "number": event.number, "type": event.type.value, "at": event.at, "actor": str(event.actor),
        "serial": event.serial, "reason": event.reason, "details": dict(event.details),
    }


def iso(at: int) -> str:
    """Unix seconds as ISO 8601 in UTC; past the calendar's end, the seconds themselves."""
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return f"{at} s"
