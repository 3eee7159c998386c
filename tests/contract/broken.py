"""Stores that break one promise each, and the promise of ``StoreContract`` that catches them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from inspect import Parameter, signature
from threading import Lock, get_ident
from typing import Any
from unicodedata import combining, normalize

from vmfa import (
    AuditEvent,
    EventActor,
    EventType,
    MemoryStore,
    Principal,
    PrincipalId,
    Store,
    StoreUnavailable,
    Sync,
)
from vmfa.history import redacted
from vmfa.testing import StoreContract

BROKEN: list[tuple[type[MemoryStore], str, str]] = []


def caught_by(
    promise: str, sentence: str
) -> Callable[[type[MemoryStore]], type[MemoryStore]]:
    """Register a broken store, with the promise that fails and a part of what it says."""

    def register(broken: type[MemoryStore]) -> type[MemoryStore]:
        BROKEN.append((broken, f"test_{promise}", sentence))
        return broken

    return register


class Contract(StoreContract):
    """The contract, for stores that may use a transaction of their caller."""

    def caller_transaction(self, store: Store) -> AbstractContextManager[object]:
        if isinstance(store, InATransaction):
            return store.rolled_back()
        return super().caller_transaction(store)

    def another_store(self, store: Store) -> AbstractContextManager[Store]:
        if isinstance(store, OneOfTwo):
            return nullcontext(store.another())
        return super().another_store(store)


class Composed(MemoryStore):
    """A sound store made of small steps, so that a subclass can break one of them."""

    volatile = False

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        self._records: dict[PrincipalId, Principal] = {}
        self._events: dict[PrincipalId, list[AuditEvent]] = {}

    def matches(self, stored: Principal | None, before: Principal) -> bool:
        """Return whether *stored* is the record that the writer loaded."""
        return (stored or Principal(id=before.id)) == before

    def key(self, principal: PrincipalId) -> PrincipalId:
        """Return the key under which *principal* is stored."""
        return principal

    def load(self, principal: PrincipalId) -> Principal:
        record = self._records.get(self.key(principal))
        return record if record is not None else Principal(id=principal)

    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        events = list(events)
        before = self._records.get(self.key(after.id), Principal(id=after.id))
        self._records[self.key(after.id)] = after
        history = self._events.setdefault(self.key(after.id), [])
        if events:
            history[events[0].number - 1 :] = events
        for index, event in enumerate(history):
            if self.is_pruned(event, before, after):
                history[index] = redacted(event)

    def is_pruned(self, event: AuditEvent, before: Principal, after: Principal) -> bool:
        return event.redactable and before.pruned < event.number <= after.pruned

    def remove(self, principal: PrincipalId) -> None:
        self._records.pop(self.key(principal), None)
        self._events.pop(self.key(principal), None)

    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        with self._lock:
            if not self.matches(self._records.get(self.key(before.id)), before):
                return False
            if after.revision:
                self.write(after, events)
            else:
                self.remove(after.id)
            return True

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        with self._lock:
            events = list(self._events.get(self.key(principal), ()))
        return [event for event in events if event.number > after][: max(limit, 0)]


# What is stored


@caught_by("an_unknown_principal_has_revision_0", "load() does not store a principal")
class StoresOnLoad(Composed):
    def load(self, principal: PrincipalId) -> Principal:
        return self._records.setdefault(principal, Principal(id=principal))


@caught_by("an_unknown_principal_has_revision_0", "with revision 0")
class StartsAtRevision1(Composed):
    def load(self, principal: PrincipalId) -> Principal:
        record = super().load(principal)
        return record if record.revision else replace(record, revision=1)


@caught_by("an_unknown_principal_has_revision_0", "never stored has no history")
class InventsAHistory(Composed):
    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        invented = AuditEvent(
            type=EventType.OPENED, at=0, principal=principal, number=1,
            actor=EventActor(role="claimant"),
        )
        return super().history(principal, after=after, limit=limit) or [invented]


@caught_by("every_field_of_a_device_is_stored", "the commit of a first record returns True")
class ReturnsARowCountForAFirstRecord(Composed):
    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        return int(super().commit(before, after, events))  # type: ignore[return-value]  # broken


@caught_by("every_field_of_a_device_is_stored", "envelope is not")
class LosesTheEnvelope(Composed):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        super().write(replace(after, envelope=None), events)


@caught_by("every_field_of_an_event_is_stored", "every field of an event")
class SortsDetails(Composed):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        ordered = [replace(event, details=tuple(sorted(event.details))) for event in events]
        super().write(after, ordered)


# Ways to store a value incompletely. Each is used for many fields.


def default(value: Any) -> Any:
    """Return what is read where nothing was stored; see :func:`changed`."""
    return {bool: False, int: 0, str: "", tuple: (), Sync: Sync.IN_SYNC}.get(type(value))


def shortened(value: Any) -> Any:
    return value - 1 if type(value) is int else value[:-1]


def in_32_bits(value: Any) -> Any:
    return at_least_32_bits(at_most_32_bits(value))


def at_least_32_bits(value: Any) -> Any:
    return for_each_part(value, lambda number: max(number, -(2**31)))


def at_most_32_bits(value: Any) -> Any:
    return for_each_part(value, lambda number: min(number, 2**31 - 1))


def without_sign(value: Any) -> Any:
    return for_each_part(value, abs)


def as_float(value: Any) -> Any:
    """Return the number that a column of 64-bit floats gives back: it has 53 bits."""
    return for_each_part(value, lambda number: int(float(number)))


def in_18_digits(value: Any) -> Any:
    return for_each_part(value, lambda number: min(number, 10**18 - 1))


def for_each_part(value: Any, convert: Callable[[int], int]) -> Any:
    if isinstance(value, tuple):
        return tuple(for_each_part(part, convert) for part in value)
    if isinstance(value, str):
        return value.encode("ascii", "replace").decode()
    return convert(value) if type(value) is int else value


def changed(whole: Any, path: str, convert: Callable[[Any], Any]) -> Any:
    """Return *whole* with the field at *path* converted, or set to its default."""
    name, _, rest = path.partition(".")
    value = getattr(whole, name)
    if rest:
        return replace(whole, **{name: value and changed(value, rest, convert)})
    initial = signature(type(whole)).parameters[name].default
    if convert is default and initial is not Parameter.empty:
        return replace(whole, **{name: initial})
    return replace(whole, **{name: convert(value)})


def break_field(promise: str, path: str, convert: Callable[[Any], Any]) -> None:
    """Register a store that breaks one field of a record."""

    class BreaksAField(Composed):
        def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
            super().write(changed(after, path, convert), events)

    BreaksAField.__name__ = f"{convert.__name__} of {path}"
    caught_by(promise, f"{path.partition('.')[0]} is not")(BreaksAField)


def break_event(
    name: str, convert: Callable[[Any], Any],
    promise: str = "every_field_of_an_event_is_stored", sentence: str = "every field of an event",
) -> None:
    """Register a store that breaks one field of every event."""

    class BreaksAnEvent(Composed):
        def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
            super().write(after, [changed(event, name, convert) for event in events])

    BreaksAnEvent.__name__ = f"{convert.__name__} of an event's {name}"
    caught_by(promise, sentence)(BreaksAnEvent)


LARGEST = "the_largest_numbers_are_stored"
DEVICE = "every_field_of_a_device_is_stored"
ENROLLMENT = "every_field_of_an_enrollment_is_stored"
PARAMETERS = tuple(f"parameters.{name}" for name in ("algorithm", "digits", "period", "t0"))
TIMES_OF_A_DEVICE = (
    "enrolled_at", "failed_at", "budget_updated_at", "known_failed_at", "budget_restored_at",
    "recovery.failed_at",
)
BROKEN_FIELDS: dict[Callable[[Any], Any], dict[str, tuple[str, ...]]] = {
    default: {
        DEVICE: (
            "seen_at", "enrollment_times", "recovered_at", "binding", "head",
            "binding.expires_at",
            *(f"device.{name}" for name in (
                *PARAMETERS, *TIMES_OF_A_DEVICE, "disabled", "drift", "synced_drift",
                "last_offset", "failures", "budget", "last_step", "sync", "known_failures",
                "clients.epoch", "clients.failing", "clients.given", "recovery.codes",
                "recovery.failures",
            )),
        ),
        ENROLLMENT: tuple(f"enrollment.{name}" for name in (
            *PARAMETERS, "opened_at", "expires_at", "attempts",
        )),
    },
    shortened: {
        DEVICE: ("pruned", "binding.digest", "head"),
        ENROLLMENT: ("enrollment.session_id", "enrollment.serial"),
    },
    in_32_bits: {
        DEVICE: (
            "seen_at", "enrollment_times", "recovered_at", "device.last_step",
            "device.parameters.t0",
        ),
        ENROLLMENT: ("enrollment.expires_at", "enrollment.parameters.t0"),
    },
    without_sign: {
        DEVICE: (
            "seen_at", "enrollment_times", "binding.expires_at", "device.drift",
            "device.synced_drift", "device.last_offset",
            *(f"device.{name}" for name in TIMES_OF_A_DEVICE),
        ),
        ENROLLMENT: ("enrollment.opened_at", "enrollment.parameters.t0"),
    },
    as_float: {
        DEVICE: (
            "revision", "seen_at", "enrollment_times", "recovered_at", "binding.expires_at",
            "events", "device.parameters.t0",
            *(f"device.{name}" for name in TIMES_OF_A_DEVICE),
        ),
        ENROLLMENT: (
            "enrollment.opened_at", "enrollment.expires_at", "enrollment.parameters.t0",
        ),
    },
}
for convert, promises in BROKEN_FIELDS.items():
    for promise, paths in promises.items():
        for path in paths:
            break_field(promise, path, convert)
for convert in (in_32_bits, as_float, in_18_digits):
    break_field(LARGEST, "revision", convert)
    break_event("number", convert, LARGEST, "are stored with these numbers")
for name in (
    "at", "source", "serial", "reason", "details", "salt", "content_digest", "digest",
    "redactable", "audit_tag", "actor.account", "actor.kind", "actor.name",
):
    break_event(name, default)
for name, convert in (
    ("at", at_least_32_bits), ("at", without_sign), ("at", as_float), ("actor.name", in_32_bits),
    ("details", at_least_32_bits), ("details", at_most_32_bits), ("details", without_sign),
    ("details", as_float), ("serial", shortened),
):
    break_event(name, convert)


# Names


class InsertsOverTheStoredRecord(Composed):
    """A writer that found no record replaces the stored one."""

    def matches(self, stored: Principal | None, before: Principal) -> bool:
        return before.envelope is None or super().matches(stored, before)


def collate(column: str, fold: Callable[[str], str]) -> type[MemoryStore]:
    """Return a store that compares a column of its key in this way."""

    class Collates(InsertsOverTheStoredRecord):
        def key(self, principal: PrincipalId) -> PrincipalId:
            if column == "name" and principal.is_root:
                return principal
            return replace(principal, **{column: fold(getattr(principal, column))})

    Collates.__name__ = f"{fold.__name__} of the {column}"
    return Collates


def case_folded(text: str) -> str:
    return text.lower()


def accents_removed(text: str) -> str:
    letters = normalize("NFKD", text.casefold())
    return normalize("NFC", "".join(c for c in letters if not 0x300 <= ord(c) < 0x370))


def compatibility_folded(text: str) -> str:
    return normalize("NFKC", text)


def one_weight_beyond_16_bits(text: str) -> str:
    """Fold as ``utf8mb4_general_ci``: all characters beyond U+FFFF are equal."""
    return "".join("\uffee" if letter > "\uffff" else letter for letter in text)


def one_kana(text: str) -> str:
    """Fold Katakana to Hiragana, as collations that ignore kana do."""
    return "".join(chr(ord(c) - 0x60) if "ァ" <= c <= "ヶ" else c for c in text)


def one_blank(text: str) -> str:
    return " ".join(text.split())


def punctuation_ignored(text: str) -> str:
    """Fold as collations do in which blanks and punctuation have no weight."""
    return "".join(letter for letter in text if letter.isalnum()) or text


def marks_ignored(text: str) -> str:
    return "".join(letter for letter in text if not combining(letter))


def shortened_to_255(text: str) -> str:
    return text[:255]


def read_as_a_number(text: str) -> str:
    try:
        return str(float(text))
    except ValueError:
        return text


NAMES = "names_are_compared_as_bytes"
ACCOUNTS = "accounts_are_compared_as_bytes"
for fold in (
    case_folded, accents_removed, compatibility_folded, one_weight_beyond_16_bits, one_kana,
    one_blank, punctuation_ignored, marks_ignored, shortened_to_255, read_as_a_number,
):
    caught_by(NAMES, "has a record of its own")(collate("name", fold))
for fold in (case_folded, accents_removed, shortened_to_255):
    caught_by(ACCOUNTS, "has a record of its own")(collate("account", fold))


@caught_by(NAMES, "has a record of its own")
class StoresRootAsAUserNamedRoot(InsertsOverTheStoredRecord):
    def key(self, principal: PrincipalId) -> PrincipalId:
        return PrincipalId.user(principal.account, principal.name or "root")


@caught_by(NAMES, "has a history of its own")
class MatchesHistoryByPattern(Composed):
    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        return [
            event
            for owner, events in self._events.items()
            if owner.account == principal.account
            and owner.name.replace("-", "_") == principal.name
            for event in events
        ]


@caught_by(ACCOUNTS, "has a history of its own")
class CollatesAccountsOfHistory(Composed):
    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        return [
            event
            for owner, events in self._events.items()
            if owner.account.lower() == principal.account.lower()
            for event in events
        ]


# Compare-and-set


@caught_by("a_commit_of_the_loaded_record_succeeds", "returns True")
class ReturnsARowCount(Composed):
    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        return int(super().commit(before, after, events))  # type: ignore[return-value]  # broken


@caught_by("a_commit_of_the_loaded_record_succeeds", "the one that was committed")
class NumbersRevisionsItself(Composed):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        super().write(replace(after, revision=after.revision + 1), events)

    def matches(self, stored: Principal | None, before: Principal) -> bool:
        return True


@caught_by("a_stale_writer_loses", "the second one loses")
@caught_by("one_of_many_threads_wins", "one wins, not 8")
@caught_by("a_record_created_again_is_another_one", "is not the old one")
class ComparesNothing(Composed):
    def matches(self, stored: Principal | None, before: Principal) -> bool:
        return True


@caught_by("a_writer_many_revisions_behind_loses", "never replaces a newer one")
class AcceptsOlderRevisions(Composed):
    def matches(self, stored: Principal | None, before: Principal) -> bool:
        return stored is None or before.revision <= stored.revision


@caught_by("a_stale_writer_loses", "changes nothing")
class WritesBeforeItCompares(Composed):
    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        matches = self.matches(self._records.get(before.id), before)
        self.write(after, events)
        return matches


@caught_by("a_writer_ahead_of_the_store_loses", "was never stored")
class AcceptsHigherRevisions(Composed):
    def matches(self, stored: Principal | None, before: Principal) -> bool:
        return stored is None or before.revision >= stored.revision


@caught_by("the_tag_is_compared", "another tag loses")
@caught_by("a_record_created_again_is_another_one", "is not the old one")
class ComparesOnlyTheRevision(Composed):
    def matches(self, stored: Principal | None, before: Principal) -> bool:
        return (stored.revision if stored else 0) == before.revision


@caught_by("the_revision_is_compared", "a commit with the stored tag and another revision")
class ComparesOnlyTheTag(Composed):
    def matches(self, stored: Principal | None, before: Principal) -> bool:
        return (stored.envelope if stored else None) == before.envelope


@caught_by("the_revision_is_compared", "a commit with the stored tag and another revision")
class ComparesRevisionsAsFloats(Composed):
    def matches(self, stored: Principal | None, before: Principal) -> bool:
        stored = stored or Principal(id=before.id)
        return (float(stored.revision), stored.envelope) == (
            float(before.revision), before.envelope,
        )


def removing_if(matches: Callable[[Principal, Principal], bool]) -> type[Composed]:
    """Return a store that compares as it should, except before a removal."""

    class RemovesIf(Composed):
        def commit(
            self, before: Principal, after: Principal, events: Sequence[AuditEvent]
        ) -> bool:
            stored = self._records.get(before.id)
            if after.revision or stored is None or not matches(stored, before):
                return super().commit(before, after, events)
            self.remove(after.id)
            return True

    return RemovesIf


caught_by("the_tag_is_compared", "a removal with the stored revision and another tag")(
    removing_if(lambda stored, before: stored.revision == before.revision)
)
caught_by("the_revision_is_compared", "a removal with the stored tag and another revision")(
    removing_if(lambda stored, before: stored.envelope == before.envelope)
)
caught_by("a_lost_removal_removes_nothing", "by a stale writer loses")(
    removing_if(lambda stored, before: True)
)


@caught_by("a_lost_removal_removes_nothing", "leaves the record and its history")
@caught_by("the_tag_is_compared", "a removal with the stored revision and another tag")
@caught_by("the_revision_is_compared", "a removal with the stored tag and another revision")
class RemovesAndReturnsFalse(Composed):
    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        committed = super().commit(before, after, events)
        if not committed and not after.revision:
            self._records.pop(before.id)
        return committed


@caught_by("only_one_first_record_is_stored", "found no record")
class InsertsTwice(InsertsOverTheStoredRecord):
    pass


@caught_by("a_removed_record_is_not_written_back", "was removed loses")
class InsertsOnUpdate(Composed):
    def matches(self, stored: Principal | None, before: Principal) -> bool:
        return stored is None or super().matches(stored, before)


@caught_by("one_of_many_threads_wins", "of 8 threads")
@caught_by("one_code_in_many_threads_is_accepted_once", "is accepted once, not")
class ComparesAndSetsSeparately(Composed):
    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        if not self.matches(self._records.get(before.id), before):
            return False
        time.sleep(0.005)  # in which another thread reads the same record
        self.write(after, events)
        return True


@caught_by("one_code_in_many_threads_is_accepted_once", "get AlreadyUsed or StoreContended")
class RaisesWhenItLoses(Composed):
    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        time.sleep(0.005)
        if not super().commit(before, after, events):
            raise RuntimeError("database is locked")
        return True


@caught_by("one_of_many_threads_wins", "that the winning thread committed")
class StoresAnotherRecord(Composed):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        super().write(replace(after, seen_at=0), events)


# One transaction


@caught_by("a_lost_commit_stores_no_event", "stores none of its events")
class WritesEventsBeforeItCompares(Composed):
    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        self._events.setdefault(before.id, []).extend(events)
        return super().commit(before, after, [])


def returning_none_if(condition: Callable[[Principal, Principal], object]) -> type[Composed]:
    """Return a store that returns None for a lost commit, under a condition."""

    class ReturnsNone(Composed):
        def commit(
            self, before: Principal, after: Principal, events: Sequence[AuditEvent]
        ) -> bool:
            stored = super().load(before.id)
            committed = super().commit(before, after, events)
            if not committed and condition(before, stored):
                return None  # type: ignore[return-value]  # broken
            return committed

    return ReturnsNone


for condition in (
    lambda before, stored: True,
    lambda before, stored: before.revision and stored.revision,
    lambda before, stored: not before.revision,
    lambda before, stored: not stored.revision,
):
    caught_by("a_lost_commit_stores_no_event", "returns False")(returning_none_if(condition))


def keeping_lost_events_if(condition: Callable[[Principal], object]) -> type[Composed]:
    """Return a store that keeps the events of a lost commit, under a condition."""

    class KeepsLostEvents(Composed):
        def commit(
            self, before: Principal, after: Principal, events: Sequence[AuditEvent]
        ) -> bool:
            committed = super().commit(before, after, events)
            if not committed and condition(super().load(before.id)):
                self._events.setdefault(before.id, []).extend(events)
            return committed

    return KeepsLostEvents


for stored_condition in (lambda stored: stored.revision, lambda stored: not stored.revision):
    caught_by("a_lost_commit_stores_no_event", "stores none of its events")(
        keeping_lost_events_if(stored_condition)
    )


@caught_by("record_and_events_are_stored_together", "the record is not written either")
class WritesTheRecordFirst(Composed):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        self._records[after.id] = after
        super().write(after, events)


@caught_by("record_and_events_are_stored_together", "is stored completely")
class WritesOnlyEventsAfterAFailure(Composed):
    failed = False

    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        stored = self._records.get(after.id)
        try:
            super().write(after, events)
        except Exception:
            self.failed = True
            raise
        if self.failed and stored is not None:
            self._records[after.id] = stored


@caught_by("a_lost_removal_removes_nothing", "leaves the record and its history")
class RemovesHistoryBeforeItCompares(Composed):
    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        if not after.revision:
            self._events.pop(before.id, None)
        return super().commit(before, after, events)


@caught_by("record_and_events_are_stored_together", "the record is not written either")
@caught_by("a_reader_sees_a_record_with_its_events", "without its events")
class WritesEventsAfterwards(Composed):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        super().write(after, [])
        time.sleep(0.001)
        for event in events:
            self._events.setdefault(after.id, []).append(event)

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        return list(self._events.get(principal, ()))


@caught_by("record_and_events_are_stored_together", "the record is not written either")
class WritesEventsOneByOneBefore(Composed):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        for event in events:
            self._events.setdefault(after.id, []).append(event)
        super().write(after, [])


@caught_by("record_and_events_are_stored_together", "is stored completely")
@caught_by("every_field_of_an_event_is_stored", "every field of an event")
class LosesEvents(Composed):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        super().write(after, list(events)[:0])


@caught_by("a_reader_sees_a_record_with_its_events", "on the stored record returns True")
class LosesACommitWithoutARace(Composed):
    def matches(self, stored: Principal | None, before: Principal) -> bool:
        return before.revision != 5


class InATransaction(Composed):
    """A store on the connection of its caller, which may have a transaction open."""

    in_transaction = False

    @contextmanager
    def rolled_back(self) -> Iterator[None]:
        """Open a transaction of the caller and roll it back at the end of the block."""
        records, events = dict(self._records), {key: list(e) for key, e in self._events.items()}
        self.in_transaction = True
        try:
            yield
        finally:
            self.in_transaction = False
            self._records, self._events = records, events


@caught_by("a_rollback_of_the_caller_undoes_no_commit", "stays when the caller rolls back")
class JoinsTheTransactionOfTheCaller(InATransaction):
    """A failed code counts for nothing if the view raises an error afterwards."""


@caught_by("a_rollback_of_the_caller_undoes_no_commit", "stays when the caller rolls back")
class RefusesATransactionAfterItWrote(InATransaction):
    @contextmanager
    def rolled_back(self) -> Iterator[None]:
        self.in_transaction = True
        yield
        self.in_transaction = False

    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        committed = super().commit(before, after, events)
        if self.in_transaction:
            raise StoreUnavailable("the caller has a transaction open")
        return committed


class RefusesATransaction(InATransaction):
    """A sound store: it commits nothing that its caller could undo."""

    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        if self.in_transaction:
            raise StoreUnavailable("the caller has a transaction open")
        return super().commit(before, after, events)


# Reading


@caught_by("a_commit_is_visible_at_once", "load() returns the last commit")
class LoadsFromAReplica(Composed):
    """Each load returns what was stored at the load before."""

    replica: Principal | None = None

    def load(self, principal: PrincipalId) -> Principal:
        newest = super().load(principal)
        loaded, self.replica = self.replica or newest, newest
        return loaded


class Replicated(Composed):
    """A store with a replica that is half a second behind."""

    def __init__(self) -> None:
        super().__init__()
        self.replica = Composed()
        self.delayed: list[tuple[float, PrincipalId]] = []

    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        committed = super().commit(before, after, events)
        self.delayed.append((time.monotonic() + 0.5, before.id))
        return committed

    def caught_up(self) -> Composed:
        while self.delayed and self.delayed[0][0] <= time.monotonic():
            _, principal = self.delayed.pop(0)
            self.replica._records[principal] = super().load(principal)
            self.replica._events[principal] = list(super().history(principal))
        return self.replica


@caught_by("a_commit_is_visible_at_once", "load() returns the last commit")
class LoadsFromALaggingReplica(Replicated):
    def load(self, principal: PrincipalId) -> Principal:
        return self.caught_up().load(principal)


@caught_by("a_commit_is_visible_at_once", "history() includes the last commit")
class ReadsHistoryFromALaggingReplica(Replicated):
    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        return self.caught_up().history(principal, after=after, limit=limit)


@caught_by("a_commit_is_visible_at_once", "principals() includes the last commit")
class ListsPrincipalsFromALaggingReplica(Replicated):
    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        return self.caught_up().principals(account, after=after, limit=limit)


@caught_by("a_commit_is_visible_at_once", "in every thread")
class CachesByThread(Composed):
    def __init__(self) -> None:
        super().__init__()
        self.main = get_ident()
        self.cache: dict[PrincipalId, Principal] = {}

    def load(self, principal: PrincipalId) -> Principal:
        newest = super().load(principal)
        if get_ident() == self.main:
            return newest
        return self.cache.setdefault(principal, newest)


@caught_by("a_commit_is_visible_at_once", "history() includes the last commit")
class CachesHistory(Composed):
    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[PrincipalId, Sequence[AuditEvent]] = {}

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        return self.cache.setdefault(principal, super().history(principal))


@caught_by("a_commit_is_visible_at_once", "principals() includes the last commit")
class CachesPrincipals(Composed):
    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[str, Sequence[PrincipalId]] = {}

    def load(self, principal: PrincipalId) -> Principal:
        self.principals(principal.account)
        return super().load(principal)

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        page = super().principals(account, after=after, limit=limit)
        return self.cache.setdefault(account, page)


@caught_by("a_commit_is_visible_at_once", "load() returns no record that was removed")
class RemovesNothing(Composed):
    def remove(self, principal: PrincipalId) -> None:
        pass


class OneOfTwo(Composed):
    """A sound store that can be opened twice on the same records."""

    def another(self) -> Composed:
        """Return a second store on the same records."""
        return self.sharing(type(self)())

    def sharing(self, other: Composed) -> Composed:
        """Return *other*, on the records of this store."""
        other._lock, other._records, other._events = self._lock, self._records, self._events
        return other


SECOND = "a_second_store_sees_a_commit_at_once"


def second_store(other: Callable[[], Composed]) -> type[OneOfTwo]:
    """Return a sound store whose second store is what *other* returns."""

    class HasABrokenSecondStore(OneOfTwo):
        def another(self) -> Composed:
            return self.sharing(other())

    return HasABrokenSecondStore


@caught_by(SECOND, "load() of a second store returns the last commit")
class OpensTwoDatabases(OneOfTwo):
    def sharing(self, other: Composed) -> Composed:
        return other


class CachesRecords(Composed):
    """A store with a cache that only its own commits renew."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[PrincipalId, Principal] = {}

    def load(self, principal: PrincipalId) -> Principal:
        return self.cache.setdefault(principal, super().load(principal))

    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        self.cache.pop(before.id, None)
        return super().commit(before, after, events)


class ReplaysItsOwnLog(Composed):
    """A node of a cluster whose reads wait for nothing: it applies what it received later."""

    behind = 0.5  # seconds

    def __init__(self) -> None:
        super().__init__()
        self.applied = Composed()
        self.applied_at = time.monotonic()

    def caught_up(self) -> Composed:
        if time.monotonic() >= self.applied_at + self.behind:
            self.applied._records = dict(self._records)
            self.applied._events = {who: list(events) for who, events in self._events.items()}
            self.applied_at = time.monotonic()
        return self.applied


class LoadsWithoutWaiting(ReplaysItsOwnLog):
    def load(self, principal: PrincipalId) -> Principal:
        return self.caught_up().load(principal)


class ReadsHistoryWithoutWaiting(ReplaysItsOwnLog):
    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        return self.caught_up().history(principal, after=after, limit=limit)


class ListsPrincipalsWithoutWaiting(ReplaysItsOwnLog):
    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        return self.caught_up().principals(account, after=after, limit=limit)


class ReplacesWhateverIsStored(Composed):
    def matches(self, stored: Principal | None, before: Principal) -> bool:
        return True


for second, sentence in (
    (CachesRecords, "load() of a second store returns the last commit"),
    (LoadsWithoutWaiting, "load() of a second store returns the last commit"),
    (ReadsHistoryWithoutWaiting, "history() of a second store includes"),
    (ListsPrincipalsWithoutWaiting, "principals() of a second store includes"),
    (ReplacesWhateverIsStored, "a second store loses against the commit"),
):
    caught_by(SECOND, sentence)(second_store(second))


class KeepsRemovedRecords(Composed):
    """A second store that serves what it has read for as long as nothing replaces it."""

    newest: Principal | None = None

    def load(self, principal: PrincipalId) -> Principal:
        record = super().load(principal)
        if record.revision or self.newest is None:
            self.newest = record
        return self.newest


caught_by(SECOND, "returns no record that the first one removed")(
    second_store(KeepsRemovedRecords)
)


@caught_by("lists_are_not_shared", "after a commit does not change the store")
class KeepsThePassedList(Composed):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        self._records[after.id] = after
        self._events[after.id] = events  # type: ignore[assignment]  # broken


@caught_by("lists_are_not_shared", "that the store returned does not change")
class ReturnsItsOwnList(Composed):
    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        return self._events.get(principal, [])


HISTORY = "history_is_in_order_and_in_pages"


@caught_by(HISTORY, "in the order of their numbers")
class ReturnsTheNewestFirst(Composed):
    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        return list(reversed(super().history(principal, after=after, limit=limit)))


@caught_by(HISTORY, "in the order of their numbers")
class SortsNumbersAsText(Composed):
    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        page = super().history(principal, after=after, limit=limit)
        return sorted(page, key=lambda event: str(event.number))


@caught_by(HISTORY, "returns all events of this principal")
class ReturnsEveryHistory(Composed):
    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        found = [e for events in self._events.values() for e in events if e.number > after]
        return sorted(found, key=lambda event: event.number)[: max(limit, 0)]


def paging_with(convert: Callable[[int, int], tuple[int, int]]) -> type[Composed]:
    """Return a store that takes another *after* and *limit* than it was given."""

    class PagesOtherwise(Composed):
        def history(
            self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
        ) -> Sequence[AuditEvent]:
            after, limit = convert(after, limit)
            return super().history(principal, after=after, limit=limit)

    return PagesOtherwise


for paging, sentence in (
    (lambda after, limit: (after, 1000), "limit=5"),
    (lambda after, limit: (after - 1, limit), "after=5"),
    (lambda after, limit: (after, limit or 1000), "limit=0"),
    (lambda after, limit: (after, limit if limit >= 0 else 1000), "limit=-1"),
    (lambda after, limit: (after, abs(limit)), "limit=-1"),
    (lambda after, limit: (after if after >= 0 else 12, limit), "after=-1"),
    (lambda after, limit: (after, limit if limit < 2**63 else 0), f"limit={2**70}"),
    (lambda after, limit: (after % 2**64 if after > 0 else after, limit), f"after={2**70}"),
):
    caught_by(HISTORY, sentence)(paging_with(paging))


@caught_by("events_beyond_the_history_are_replaced", "on the stored record returns True")
class ReturnsNoneWithoutEvents(Composed):
    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        committed = super().commit(before, after, events)
        return committed if events else None  # type: ignore[return-value]  # broken


@caught_by("events_beyond_the_history_are_replaced", "is replaced by the one")
class AppendsEvents(Composed):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        self._records[after.id] = after
        self._events.setdefault(after.id, []).extend(list(events))


@caught_by("events_beyond_the_history_are_replaced", "is replaced by the one")
class KeepsStoredEvents(Composed):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        events = list(events)
        self._records[after.id] = after
        stored = self._events.setdefault(after.id, [])
        stored.extend(event for event in events if event.number > len(stored))


PRUNING = "pruning_redacts_the_redactable_events_up_to_a_number"


def pruning_if(condition: Callable[[AuditEvent, Principal, Principal], bool]) -> type[Composed]:
    """Return a store that redacts the events for which a condition holds."""

    class PrunesIf(Composed):
        def is_pruned(self, event: AuditEvent, before: Principal, after: Principal) -> bool:
            return condition(event, before, after)

    return PrunesIf


for pruned in (
    lambda event, before, after: False,
    lambda event, before, after: event.number <= after.pruned,
    lambda event, before, after: event.redactable and bool(after.pruned),
    lambda event, before, after: event.redactable and event.number < after.pruned,
):
    caught_by(PRUNING, "redacts exactly the redactable events up to it")(pruning_if(pruned))


@caught_by(PRUNING, "redacts exactly the redactable events up to it")
class DeletesPrunedEvents(Composed):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        super().write(after, events)
        history = self._events[after.id]
        history[:] = [event for event in history if event.type is not EventType.REDACTED]


@caught_by(PRUNING, "redacts exactly the redactable events up to it")
class KeepsTheSalt(Composed):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        salts = {event.number: event.salt for event in self._events.get(after.id, ())}
        super().write(after, events)
        self._events[after.id] = [
            replace(event, salt=event.salt or salts[event.number])
            for event in self._events[after.id]
        ]


@caught_by(PRUNING, "redacts no event of another")
class PrunesEveryHistory(Composed):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        super().write(after, events)
        for history in self._events.values():
            history[:] = [
                redacted(event) if event.redactable and event.number <= after.pruned else event
                for event in history
            ]


@caught_by(PRUNING, "a lost commit redacts no event")
class PrunesBeforeItCompares(Composed):
    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        history = self._events.get(before.id, [])
        for index, event in enumerate(history[: after.pruned]):
            history[index] = redacted(event) if event.redactable else event
        return super().commit(before, after, events)


class Listing(Composed):
    """A sound store whose list of principals is made of small steps."""

    def is_in(self, principal: PrincipalId, account: str) -> bool:
        return principal.account == account

    def order(self, principal: PrincipalId) -> tuple[object, ...]:
        return (not principal.is_root, principal.name.encode())

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        listed = sorted((p for p in self._records if self.is_in(p, account)), key=self.order)
        page = [p for p in listed if after is None or self.order(p) > self.order(after)]
        return page[: max(limit, 0)]


PRINCIPALS = "principals_are_in_order_and_in_pages"


@caught_by(PRINCIPALS, "of this account, and no others")
class MatchesAccountsByPrefix(Listing):
    def is_in(self, principal: PrincipalId, account: str) -> bool:
        return principal.account.startswith(account)


@caught_by(PRINCIPALS, "of this account, and no others")
class CollatesAccounts(Listing):
    def is_in(self, principal: PrincipalId, account: str) -> bool:
        return principal.account.lower() == account


@caught_by(PRINCIPALS, "of this account, and no others")
class ListsNoRoot(Listing):
    def is_in(self, principal: PrincipalId, account: str) -> bool:
        return principal.account == account and not principal.is_root


@caught_by(PRINCIPALS, "by the bytes of their names")
class SortsByCollation(Listing):
    def order(self, principal: PrincipalId) -> tuple[object, ...]:
        return (not principal.is_root, principal.name.lower(), principal.name)


@caught_by(PRINCIPALS, "by the bytes of their names")
class SortsByUtf16(Listing):
    def order(self, principal: PrincipalId) -> tuple[object, ...]:
        return (not principal.is_root, principal.name.encode("utf-16-be"))


@caught_by(PRINCIPALS, "root first")
class SortsRootLast(Listing):
    def order(self, principal: PrincipalId) -> tuple[object, ...]:
        return (principal.is_root, principal.name.encode())


def listing_with(
    convert: Callable[[PrincipalId | None, int], tuple[PrincipalId | None, int]],
) -> type[Listing]:
    """Return a store that takes another *after* and *limit* than it was given."""

    class ListsOtherwise(Listing):
        def principals(
            self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
        ) -> Sequence[PrincipalId]:
            after, limit = convert(after, limit)
            return super().principals(account, after=after, limit=limit)

    return ListsOtherwise


for listing, sentence in (
    (lambda after, limit: (after, 1000), "at most that many"),
    (lambda after, limit: (after, limit if after is None else 1000), "at most that many"),
    (lambda after, limit: (None, limit), "come to an end"),
    (lambda after, limit: (after, limit or 1000), "limit=0"),
    (lambda after, limit: (after, limit if limit >= 0 else 1000), "limit=-1"),
):
    caught_by(PRINCIPALS, sentence)(listing_with(listing))


@caught_by(PRINCIPALS, "contain every principal once")
class SkipsTheFirstUserAfterRoot(Listing):
    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        page = super().principals(account, after=after, limit=limit)
        return page[1:] if after is not None and after.is_root else page


@caught_by(PRINCIPALS, "even if it is not stored")
class StartsOnlyAfterAStoredPrincipal(Listing):
    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        stored = after is None or after in self._records
        return super().principals(account, after=after, limit=limit) if stored else []


# Removing

REMOVAL = "a_removal_deletes_one_record_and_its_history"


@caught_by(REMOVAL, "the removal of the stored record returns True")
class ReturnsNoneForARemoval(Composed):
    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        committed = super().commit(before, after, events)
        return committed if after.revision else None  # type: ignore[return-value]  # broken


@caught_by(REMOVAL, "has no history")
class RemovesOnlyTheRecord(Composed):
    def remove(self, principal: PrincipalId) -> None:
        self._records.pop(principal, None)


@caught_by(REMOVAL, "as if it had never been stored")
class RemovesOnlyTheHistory(Composed):
    def remove(self, principal: PrincipalId) -> None:
        self._events.pop(principal, None)


@caught_by(REMOVAL, "only the removed one is gone")
class LeavesAnEmptyRecord(Composed):
    def remove(self, principal: PrincipalId) -> None:
        super().remove(principal)
        self._records[principal] = Principal(id=principal)


@caught_by(REMOVAL, "only the removed one is gone")
class RemovesByPrefix(Composed):
    def remove(self, principal: PrincipalId) -> None:
        prefix = str(principal)
        for other in [other for other in self._records if str(other).startswith(prefix)]:
            super().remove(other)


@caught_by(REMOVAL, "changes no other")
class ChangesTheOtherRecords(Composed):
    def remove(self, principal: PrincipalId) -> None:
        super().remove(principal)
        self._records = {
            other: replace(record, recovered_at=0) for other, record in self._records.items()
        }


@caught_by(REMOVAL, "changes no other")
class RemovesEveryHistory(Composed):
    def remove(self, principal: PrincipalId) -> None:
        super().remove(principal)
        self._events.clear()


@caught_by(REMOVAL, "starts again with event 1")
class HidesTheHistory(AppendsEvents):
    def remove(self, principal: PrincipalId) -> None:
        self._records.pop(principal, None)

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        if principal not in self._records:
            return []
        return super().history(principal, after=after, limit=limit)


class ReturnsTuples(Composed):
    """A sound store: any sequence is allowed."""

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        return tuple(super().history(principal, after=after, limit=limit))


ACCOUNT_PAGES = "accounts_are_in_order_and_in_pages"


class ListingAccounts(Listing):
    """A sound store that can list its accounts."""

    def has(self, account: str) -> bool:
        """Return whether *account* is listed."""
        return True

    def accounts(self, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        listed = sorted({who.account for who in self._records if self.has(who.account)})
        return [account for account in listed if account > after][: max(limit, 0)]


@caught_by(ACCOUNT_PAGES, "by their bytes")
class SortsAccountsByCollation(ListingAccounts):
    def accounts(self, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        stored = {who.account for who in self._records}
        listed = sorted(stored, key=lambda account: (account.lower(), account.swapcase()))
        start = listed.index(after) + 1 if after in listed else 0
        return [one for one in listed[start:] if one.startswith("contract-")][: max(limit, 0)]


@caught_by(ACCOUNT_PAGES, "each account with a record once")
class ListsEachRecord(ListingAccounts):
    def accounts(self, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        listed = sorted(who.account for who in self._records)
        return [account for account in listed if account > after][: max(limit, 0)]


@caught_by(ACCOUNT_PAGES, "each account with a record once")
class ListsRemovedAccounts(ListingAccounts):
    def remove(self, principal: PrincipalId) -> None:
        super().remove(principal)
        self.removed = principal.account

    def accounts(self, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        listed = sorted({*super().accounts(), self.removed})
        return [account for account in listed if account > after][: max(limit, 0)]


@caught_by(ACCOUNT_PAGES, "accounts(limit=1) returns at most that many")
class ListsAllAccounts(ListingAccounts):
    def accounts(self, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        return super().accounts(after=after)


@caught_by(ACCOUNT_PAGES, "accounts(limit=1) returns at most that many")
class ListsNoAccountLongerThan300(ListingAccounts):
    def has(self, account: str) -> bool:
        return len(account) <= 300


for bound, sentence in ((lambda n: n or 1000, "limit=0"), (abs, "limit=-1")):

    class TakesAnotherLimit(ListingAccounts):
        bound = staticmethod(bound)

        def accounts(self, *, after: str = "", limit: int = 1000) -> Sequence[str]:
            return super().accounts(after=after, limit=self.bound(limit))

    caught_by(ACCOUNT_PAGES, f"accounts({sentence}) is empty")(TakesAnotherLimit)


SOUND: list[type[Store]] = [
    Composed, Listing, ListingAccounts, ReturnsTuples, OneOfTwo, RefusesATransaction
]
