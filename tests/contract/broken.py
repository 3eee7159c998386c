"""Stores that break one promise each, as real ones do, and the promise that must catch each of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import Parameter, signature
from threading import get_ident
from typing import Any
from unicodedata import normalize

from vmfa import AuditEvent, EventType, MemoryStore, Principal, PrincipalId, Store, Sync

BROKEN: list[tuple[type[MemoryStore], str, str]] = []


def caught_by(promise: str, sentence: str) -> Callable[[type[MemoryStore]], type[MemoryStore]]:
    def note(broken: type[MemoryStore]) -> type[MemoryStore]:
        BROKEN.append((broken, f"test_{promise}", sentence))
        return broken

    return note


class Scripted(MemoryStore):
    """A store whose comparison and whose writing can be broken apart."""

    volatile = False

    def still(self, current: Principal | None, before: Principal) -> bool:
        return (current or Principal(id=before.id)) == before

    def key(self, who: PrincipalId) -> PrincipalId:
        return who

    def load(self, principal: PrincipalId) -> Principal:
        found = self._records.get(self.key(principal))
        return found if found is not None else Principal(id=principal)

    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        kept = list(events)
        self._records[self.key(after.id)] = after
        if kept:
            self._events.setdefault(self.key(after.id), [])[kept[0].number - 1 :] = kept

    def remove(self, who: PrincipalId) -> None:
        self._records.pop(self.key(who), None)
        self._events.pop(self.key(who), None)

    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        with self._lock:
            if not self.still(self._records.get(self.key(before.id)), before):
                return False
            if after.revision:
                self.write(after, events)
            else:
                self.remove(after.id)
            return True

    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        with self._lock:
            events = list(self._events.get(self.key(principal), ()))
        return [event for event in events if event.number > after][:limit]


# What is kept


@caught_by("a_principal_that_was_never_stored_has_revision_0", "reading a principal does not store it")
class StoresWhatIsRead(Scripted):
    def load(self, principal: PrincipalId) -> Principal:
        return self._records.setdefault(principal, Principal(id=principal))


@caught_by("a_principal_that_was_never_stored_has_revision_0", "of revision 0")
class BeginsAtRevision1(Scripted):
    def load(self, principal: PrincipalId) -> Principal:
        found = super().load(principal)
        return found if found.revision else replace(found, revision=1)


@caught_by("every_field_of_a_device_comes_back", "and seen_at does not")
class KeepsTimesAsFloats(Scripted):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        super().write(replace(after, seen_at=int(float(after.seen_at))), events)


@caught_by("every_field_of_a_device_comes_back", "and device does not")
class LosesTheSign(Scripted):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        device = after.device and replace(after.device, drift=abs(after.device.drift))
        super().write(replace(after, device=device), events)


@caught_by("every_field_of_a_device_comes_back", "and seal does not")
class LosesTheSeal(Scripted):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        super().write(replace(after, envelope=None), events)


@caught_by("every_field_of_an_enrollment_comes_back", "and enrollment does not")
class ResetsAttempts(Scripted):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        enrollment = after.enrollment and replace(after.enrollment, attempts=0)
        super().write(replace(after, enrollment=enrollment), events)


@caught_by("every_field_of_an_event_comes_back", "every field of an event")
class SortsDetails(Scripted):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        super().write(after, [replace(event, details=tuple(sorted(event.details))) for event in events])


def narrow(value: Any) -> Any:
    """What 32 bits of a number hold, and what ASCII holds of a text."""
    return low(high(value))


def low(value: Any) -> Any:
    return each_of(value, lambda number: max(number, -(2**31)))


def high(value: Any) -> Any:
    return each_of(value, lambda number: min(number, 2**31 - 1))


def unsigned(value: Any) -> Any:
    return each_of(value, abs)


def fewer(value: Any) -> Any:
    return value - 1 if type(value) is int else value[:-1]


def each_of(value: Any, keep: Callable[[int], int]) -> Any:
    if isinstance(value, tuple):
        return tuple(each_of(part, keep) for part in value)
    if isinstance(value, str):
        return value.encode("ascii", "replace").decode()
    return keep(value) if type(value) is int else value


def default(value: Any) -> Any:
    """What is read back where nothing was kept; see :func:`changed`."""
    return {bool: False, int: 0, str: "", tuple: (), Sync: Sync.IN_SYNC}.get(type(value))


def changed(whole: Any, path: str, keep: Callable[[Any], Any]) -> Any:
    """*whole*, with the field that *path* leads to kept in a way of its own, or as the default that it has."""
    name, _, rest = path.partition(".")
    value = getattr(whole, name)
    usual = signature(type(whole)).parameters[name].default
    if rest:
        return replace(whole, **{name: value and changed(value, rest, keep)})
    return replace(whole, **{name: usual if keep is default and usual is not Parameter.empty else keep(value)})


def breaks(promise: str, path: str, keep: Callable[[Any], Any]) -> None:
    """A store that breaks one field of a record, or of what a record holds."""

    class BreaksAField(Scripted):
        def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
            super().write(changed(after, path, keep), events)

    BreaksAField.__name__ = f"{keep.__name__} of {path}"
    caught_by(promise, f"and {path.partition('.')[0]} does not")(BreaksAField)


def breaks_an_event(name: str, keep: Callable[[Any], Any]) -> None:
    class BreaksAnEvent(Scripted):
        def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
            super().write(after, [changed(event, name, keep) for event in events])

    BreaksAnEvent.__name__ = f"{keep.__name__} of an event's {name}"
    caught_by(EVENT, "every field of an event comes back as it was committed")(BreaksAnEvent)


DEVICE, SESSION, EVENT = (f"every_field_of_{what}_comes_back" for what in ("a_device", "an_enrollment", "an_event"))
PARAMETERS = tuple(f"parameters.{name}" for name in ("algorithm", "digits", "period", "t0"))
for path in ("seen_at", "enrollment_times", "recovered_at", "binding", "head", "redacted", "binding.digest",
             "binding.expires_at"):
    breaks(DEVICE, path, default)
for path in (*PARAMETERS, "disabled", "drift", "synced_drift", "last_offset", "failures", "failed_at", "budget", "budget_updated_at",
             "enrolled_at", "last_step", "sync"):
    breaks(DEVICE, f"device.{path}", default)
for path in (*PARAMETERS, "opened_at", "expires_at", "attempts"):
    breaks(SESSION, f"enrollment.{path}", default)
for path in ("seen_at", "enrollment_times", "recovered_at", "device.last_step", "device.parameters.t0"):
    breaks(DEVICE, path, narrow)
for path in ("enrollment.expires_at", "enrollment.parameters.t0"):
    breaks(SESSION, path, narrow)
for path in ("seen_at", "enrollment_times", "binding.expires_at", "device.drift", "device.synced_drift", "device.last_offset",
             "device.enrolled_at", "device.failed_at", "device.budget_updated_at"):
    breaks(DEVICE, path, unsigned)
for path in ("enrollment.opened_at", "enrollment.parameters.t0"):
    breaks(SESSION, path, unsigned)
for path in ("pruned", "binding.digest", "head"):
    breaks(DEVICE, path, fewer)
for path in ("enrollment.session_id", "enrollment.serial"):
    breaks(SESSION, path, fewer)
for path in ("at", "actor", "serial", "reason", "details", "tag"):
    breaks_an_event(path, default)
for path, keep in (("at", low), ("at", unsigned), ("actor", narrow), ("details", low), ("details", high),
                   ("details", unsigned), ("serial", fewer)):
    breaks_an_event(path, keep)


@caught_by(DEVICE, "the commit of a first record answers True")
class AnswersARowCountAtFirst(Scripted):
    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        return int(super().commit(before, after, events))  # type: ignore[return-value]  # what is broken


@caught_by("a_principal_that_was_never_stored_has_revision_0", "a principal that was never stored has no history")
class TellsOfWhoIsUnknown(Scripted):
    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        unknown = AuditEvent(type=EventType.OPENED, at=0, principal=principal, actor="", number=1, tag="")
        return super().history(principal, after=after, limit=limit) or [unknown]


@caught_by("names_are_compared_as_bytes_and_none_is_special", "name")
class FoldsCase(Scripted):
    def key(self, who: PrincipalId) -> PrincipalId:
        return who if who.is_root else PrincipalId.user(who.account, who.name.lower())

    def still(self, current: Principal | None, before: Principal) -> bool:
        return before.envelope is None or super().still(current, before)


class Upserts(Scripted):
    """Whoever finds no record overwrites the one that is there."""

    def still(self, current: Principal | None, before: Principal) -> bool:
        return before.envelope is None or super().still(current, before)


@caught_by("names_are_compared_as_bytes_and_none_is_special", "leads to its own record")
class FoldsCompatibility(Upserts):
    def key(self, who: PrincipalId) -> PrincipalId:
        return who if who.is_root else PrincipalId.user(who.account, normalize("NFKC", who.name))


@caught_by("names_are_compared_as_bytes_and_none_is_special", "leads to its own record")
class ShortensNames(Upserts):
    def key(self, who: PrincipalId) -> PrincipalId:
        return who if who.is_root else PrincipalId.user(who.account, who.name[:255])


@caught_by("names_are_compared_as_bytes_and_none_is_special", "leads to its own record")
class ReadsNamesAsNumbers(Upserts):
    def key(self, who: PrincipalId) -> PrincipalId:
        try:
            return PrincipalId.user(who.account, str(float(who.name)))
        except ValueError:
            return who


@caught_by("names_are_compared_as_bytes_and_none_is_special", "leads to its own record")
class CallsRootUserRoot(Upserts):
    def key(self, who: PrincipalId) -> PrincipalId:
        return PrincipalId.user(who.account, who.name or "root")


@caught_by("names_are_compared_as_bytes_and_none_is_special", "leads to its own history")
class KeysHistoryByPattern(Scripted):
    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        return [
            event
            for who, events in self._events.items()
            if who.account == principal.account and who.name.replace("-", "_") == principal.name
            for event in events
        ]


# Compare and set


@caught_by("a_commit_of_what_was_loaded_succeeds", "answers True")
class AnswersARowCount(Scripted):
    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        return int(super().commit(before, after, events))  # type: ignore[return-value]  # what is broken


@caught_by("a_commit_of_what_was_loaded_succeeds", "adds one revision")
class CountsRevisionsItself(Scripted):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        super().write(replace(after, revision=after.revision + 1), events)

    def still(self, current: Principal | None, before: Principal) -> bool:
        return True


@caught_by("a_stale_writer_loses", "the second loses")
@caught_by("one_of_many_threads_wins", "one wins, not 8")
@caught_by("a_record_that_was_forgotten_and_made_anew_is_another_one", "is not the old one")
class ComparesNothing(Scripted):
    def still(self, current: Principal | None, before: Principal) -> bool:
        return True


@caught_by("a_writer_that_is_many_revisions_behind_loses", "never goes back")
class IsNotMonotone(Scripted):
    def still(self, current: Principal | None, before: Principal) -> bool:
        return current is None or before.revision <= current.revision


@caught_by("a_stale_writer_loses", "changes nothing")
class WritesAndThenCompares(Scripted):
    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        still = self.still(self._records.get(before.id), before)
        self.write(after, events)
        return still


@caught_by("a_writer_that_is_ahead_of_the_store_loses", "was never stored")
class LetsTheHigherRevisionWin(Scripted):
    def still(self, current: Principal | None, before: Principal) -> bool:
        return current is None or before.revision >= current.revision


@caught_by("the_tag_is_compared_beside_the_revision", "another tag loses")
@caught_by("a_record_that_was_forgotten_and_made_anew_is_another_one", "is not the old one")
class ComparesOnlyTheRevision(Scripted):
    def still(self, current: Principal | None, before: Principal) -> bool:
        return (current.revision if current else 0) == before.revision


@caught_by("the_revision_is_compared_beside_the_tag", "another revision loses")
class ComparesOnlyTheTag(Scripted):
    def still(self, current: Principal | None, before: Principal) -> bool:
        return (current.envelope if current else None) == before.envelope


@caught_by("the_tag_is_compared_beside_the_revision", "cannot remove it")
class RemovesByRevision(Scripted):
    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        current = self._records.get(before.id)
        if after.revision or current is None or current.revision != before.revision:
            return super().commit(before, after, events)
        self.remove(after.id)
        return True


@caught_by("one_of_two_first_records_wins", "found no record")
class ReplacesOnInsert(Upserts):
    pass


@caught_by("a_forgotten_record_is_not_written_back", "removed meanwhile")
class InsertsOnUpdate(Scripted):
    def still(self, current: Principal | None, before: Principal) -> bool:
        return current is None or super().still(current, before)


@caught_by("one_of_many_threads_wins", "of 8 threads")
@caught_by("one_code_presented_by_many_threads_is_accepted_once", "is accepted once, not")
class ComparesAndSetsApart(Scripted):
    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        if not self.still(self._records.get(before.id), before):
            return False
        time.sleep(0.005)  # the moment in which another one reads the same
        self.write(after, events)
        return True


@caught_by("one_code_presented_by_many_threads_is_accepted_once", "are told that the code was used")
class RaisesWhenItLoses(Scripted):
    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        time.sleep(0.005)
        if not super().commit(before, after, events):
            raise RuntimeError("database is locked")
        return True


@caught_by("one_of_many_threads_wins", "what the winner of a race committed")
class TellsTheWrongWinner(Scripted):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        super().write(replace(after, seen_at=0), events)


# One transaction


@caught_by("a_lost_race_leaves_no_event", "leaves none of its events")
class LogsBeforeItCompares(Scripted):
    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        self._events.setdefault(before.id, []).extend(events)
        return super().commit(before, after, [])


@caught_by("a_lost_race_leaves_no_event", "answers False")
class SaysNothingWhenItLoses(Scripted):
    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        return super().commit(before, after, events) or None  # type: ignore[return-value]  # what is broken


def saying_nothing(where: Callable[[Principal, Principal], object]) -> type[Scripted]:
    """A store that gives no answer where a commit on *before* lost against *there*."""

    class SaysNothing(Scripted):
        def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
            there = super().load(before.id)
            done = super().commit(before, after, events)
            return done or (None if where(before, there) else False)  # type: ignore[return-value]  # what is broken

    return SaysNothing


for stale in (
    saying_nothing(lambda before, there: before.revision and there.revision),
    saying_nothing(lambda before, there: not before.revision),
    saying_nothing(lambda before, there: not there.revision),
):
    caught_by("a_lost_race_leaves_no_event", "answers False")(stale)
caught_by("the_end_of_a_history_can_be_written_anew", "a lost commit writes no history anew")(
    saying_nothing(lambda before, there: not before.revision)
)


def logging(where: Callable[[Principal], object]) -> type[Scripted]:
    """A store that keeps the events of a commit that lost, *where* the record that is there makes it."""

    class Logs(Scripted):
        def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
            done = super().commit(before, after, events)
            if not done and where(super().load(before.id)):
                self._events.setdefault(before.id, []).extend(events)
            return done

    return Logs


caught_by("a_lost_race_leaves_no_event", "leaves none of its events")(logging(lambda there: there.revision))
caught_by("a_lost_race_leaves_no_event", "leaves none of its events")(logging(lambda there: not there.revision))


@caught_by("a_lost_removal_leaves_record_and_history", "leaves the record and its history")
@caught_by("the_tag_is_compared_beside_the_revision", "cannot remove it")
class RemovesAndSaysItDidNot(Scripted):
    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        done = super().commit(before, after, events)
        if not done and not after.revision:
            self._records.pop(before.id)
        return done


@caught_by("record_and_events_are_written_together_or_not_at_all", "the record is not written either")
class WritesTheRecordAlone(Scripted):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        self._records[after.id] = after
        super().write(after, events)


@caught_by("record_and_events_are_written_together_or_not_at_all", "succeeds as a whole")
class WritesOnlyEventsAfterAFailure(Scripted):
    failed = False

    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        there = self._records.get(after.id)
        try:
            super().write(after, events)
        except Exception:
            self.failed = True
            raise
        if self.failed and there is not None:
            self._records[after.id] = there


@caught_by("a_lost_removal_leaves_record_and_history", "by a stale writer loses")
class RemovesWithoutComparing(Scripted):
    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        if after.revision:
            return super().commit(before, after, events)
        self.remove(after.id)
        return True


@caught_by("a_lost_removal_leaves_record_and_history", "leaves the record and its history")
class ErasesHistoryFirst(Scripted):
    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        if not after.revision:
            self._events.pop(before.id, None)
        return super().commit(before, after, events)


@caught_by("record_and_events_are_written_together_or_not_at_all", "the record is not written either")
@caught_by("no_reader_sees_a_record_without_its_events", "without its events")
class WritesTheEventsAfterwards(Scripted):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        super().write(after, [])
        time.sleep(0.001)
        for event in events:
            self._events.setdefault(after.id, []).append(event)

    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        return list(self._events.get(principal, ()))


@caught_by("record_and_events_are_written_together_or_not_at_all", "the record is not written either")
class WritesTheEventsBefore(Scripted):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        for event in events:
            self._events.setdefault(after.id, []).append(event)
        super().write(after, [])


@caught_by("record_and_events_are_written_together_or_not_at_all", "succeeds as a whole")
@caught_by("every_field_of_an_event_comes_back", "every field of an event")
class LosesEvents(Scripted):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        super().write(after, list(events)[:0])


@caught_by("no_reader_sees_a_record_without_its_events", "the stored record answers True")
class FailsNowAndThen(Scripted):
    def still(self, current: Principal | None, before: Principal) -> bool:
        return before.revision != 5


# Reading


@caught_by("a_commit_is_read_at_once_and_everywhere", "gives what was committed last")
class ReadsAStaleReplica(Scripted):
    behind: Principal | None = None

    def load(self, principal: PrincipalId) -> Principal:
        newest = super().load(principal)
        shown, self.behind = self.behind or newest, newest
        return shown


@caught_by("a_commit_is_read_at_once_and_everywhere", "in every thread")
class RemembersByThread(Scripted):
    def __init__(self) -> None:
        super().__init__()
        self.main = get_ident()
        self.remembered: dict[PrincipalId, Principal] = {}

    def load(self, principal: PrincipalId) -> Principal:
        newest = super().load(principal)
        return newest if get_ident() == self.main else self.remembered.setdefault(principal, newest)


@caught_by("a_commit_is_read_at_once_and_everywhere", "history() gives what was committed last")
class RemembersHistory(Scripted):
    def __init__(self) -> None:
        super().__init__()
        self.remembered: dict[PrincipalId, Sequence[AuditEvent]] = {}

    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        return self.remembered.setdefault(principal, super().history(principal))


@caught_by("a_commit_is_read_at_once_and_everywhere", "principals() gives what was committed last")
class RemembersWhoIsThere(Scripted):
    def __init__(self) -> None:
        super().__init__()
        self.remembered: dict[str, Sequence[PrincipalId]] = {}

    def load(self, principal: PrincipalId) -> Principal:
        self.principals(principal.account)
        return super().load(principal)

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        return self.remembered.setdefault(account, super().principals(account, after=after, limit=limit))


@caught_by("a_commit_is_read_at_once_and_everywhere", "load() gives no record that was removed")
class RemembersTheRemoved(Scripted):
    def remove(self, who: PrincipalId) -> None:
        """The next one who writes does it."""


@caught_by("what_was_given_and_what_was_returned_may_be_changed", "after a commit does not change the store")
class KeepsTheGivenList(Scripted):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        self._records[after.id] = after
        self._events[after.id] = events  # type: ignore[assignment]  # what is broken


@caught_by("what_was_given_and_what_was_returned_may_be_changed", "that the store returned does not change")
class ReturnsItsOwnList(Scripted):
    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        return self._events.get(principal, [])


@caught_by("history_is_in_order_and_comes_in_pages", "in the order of numbers")
class NewestFirst(Scripted):
    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        return list(reversed(super().history(principal, after=after, limit=limit)))


@caught_by("history_is_in_order_and_comes_in_pages", "in the order of numbers")
class NumbersAsText(Scripted):
    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        return sorted(super().history(principal, after=after, limit=limit), key=lambda event: str(event.number))


@caught_by("history_is_in_order_and_comes_in_pages", "limit=5")
class IgnoresTheLimitOfHistory(Scripted):
    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        return super().history(principal, after=after)


@caught_by("history_is_in_order_and_comes_in_pages", "after=5")
class CountsFromTheEventItself(Scripted):
    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        return super().history(principal, after=after - 1, limit=limit)


@caught_by("history_is_in_order_and_comes_in_pages", "limit=0")
class ZeroMeansAll(Scripted):
    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        return super().history(principal, after=after, limit=limit or 1000)


@caught_by("history_is_in_order_and_comes_in_pages", "is all events of this principal")
class TellsEverybodysHistory(Scripted):
    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        found = [event for events in self._events.values() for event in events if event.number > after]
        return sorted(found, key=lambda event: event.number)[:limit]


@caught_by("history_is_in_order_and_comes_in_pages", "history(after=0, limit=1180591620717411303424)")
class ReadsNothingBeyond64Bits(Scripted):
    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        return super().history(principal, after=after, limit=limit if limit < 2**63 else 0)


@caught_by("history_is_in_order_and_comes_in_pages", "history(after=1180591620717411303424, limit=1)")
class BeginsAnewBeyond64Bits(Scripted):
    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        return super().history(principal, after=after % 2**64, limit=limit)


@caught_by("events_that_no_record_speaks_of_give_way", "the stored record answers True")
class AnswersNothingWithoutEvents(Scripted):
    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        return super().commit(before, after, events) and (bool(events) or None)  # type: ignore[return-value]  # broken


@caught_by("the_end_of_a_history_can_be_written_anew", "the stored record answers True")
class AnswersNothingWhereItRewrites(Scripted):
    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        rewritten = bool(events) and events[0].number <= before.events
        return super().commit(before, after, events) and (None if rewritten else True)  # type: ignore[return-value]


@caught_by("events_that_no_record_speaks_of_give_way", "gives way")
class AppendsBehindWhatIsThere(Scripted):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        self._records[after.id] = after
        self._events.setdefault(after.id, []).extend(list(events))


@caught_by("events_that_no_record_speaks_of_give_way", "gives way")
@caught_by("the_end_of_a_history_can_be_written_anew", "give way, and those before it stay")
class KeepsTheOldEvent(Scripted):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        kept = list(events)
        self._records[after.id] = after
        there = self._events.setdefault(after.id, [])
        there.extend(event for event in kept if event.number > len(there))


@caught_by("the_end_of_a_history_can_be_written_anew", "those before it stay")
class WritesTheWholeHistoryAnew(Scripted):
    def write(self, after: Principal, events: Sequence[AuditEvent]) -> None:
        if events:
            self._events[after.id] = self._events.get(after.id, [])[: after.events - len(events)] * (after.events < 4)
        self._records[after.id] = after
        self._events.setdefault(after.id, []).extend(list(events))


@caught_by("the_end_of_a_history_can_be_written_anew", "writes no history anew")
class RewritesBeforeItCompares(Scripted):
    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        there = self._events.get(before.id, [])
        there[len(there) - len(events) + 1 :] = events
        return super().commit(before, after, events)


class Listing(Scripted):
    """A store whose listing can be broken."""

    def belongs(self, who: PrincipalId, account: str) -> bool:
        return who.account == account

    def order(self, who: PrincipalId) -> tuple[object, ...]:
        return (not who.is_root, who.name.encode())

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        found = sorted((who for who in self._records if self.belongs(who, account)), key=self.order)
        return [who for who in found if after is None or self.order(who) > self.order(after)][:limit]


@caught_by("principals_are_in_order_and_come_in_pages", "nobody of another account")
class MatchesAccountsByPrefix(Listing):
    def belongs(self, who: PrincipalId, account: str) -> bool:
        return who.account.startswith(account)


@caught_by("principals_are_in_order_and_come_in_pages", "nobody of another account")
class FoldsAccounts(Listing):
    def belongs(self, who: PrincipalId, account: str) -> bool:
        return who.account.lower() == account


@caught_by("principals_are_in_order_and_come_in_pages", "everybody in this account")
class ListsUsersOnly(Listing):
    def belongs(self, who: PrincipalId, account: str) -> bool:
        return who.account == account and not who.is_root


@caught_by("principals_are_in_order_and_come_in_pages", "is in order")
class OrdersByCollation(Listing):
    def order(self, who: PrincipalId) -> tuple[object, ...]:
        return (not who.is_root, who.name.lower(), who.name)


@caught_by("principals_are_in_order_and_come_in_pages", "is in order")
class OrdersByCodeUnits(Listing):
    def order(self, who: PrincipalId) -> tuple[object, ...]:
        return (not who.is_root, who.name.encode("utf-16-be"))


@caught_by("principals_are_in_order_and_come_in_pages", "is in order")
class RootLast(Listing):
    def order(self, who: PrincipalId) -> tuple[object, ...]:
        return (who.is_root, who.name.encode())


@caught_by("principals_are_in_order_and_come_in_pages", "at most that many")
class IgnoresTheLimit(Listing):
    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        return super().principals(account, after=after)


@caught_by("principals_are_in_order_and_come_in_pages", "at most that many")
class IgnoresTheLimitBehindTheFirstPage(Listing):
    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        return super().principals(account, after=after, limit=limit if after is None else 1000)


@caught_by("principals_are_in_order_and_come_in_pages", "come to an end")
class IgnoresAfter(Listing):
    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        return super().principals(account, limit=limit)


@caught_by("principals_are_in_order_and_come_in_pages", "everybody once")
class PagesByName(Listing):
    """Behind root it skips the first user."""

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        page = super().principals(account, after=after, limit=limit)
        return page[1:] if after is not None and after.is_root else page


@caught_by("principals_are_in_order_and_come_in_pages", "limit=0")
class ZeroPrincipalsMeansAll(Listing):
    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        return super().principals(account, after=after, limit=limit or 1000)


@caught_by("principals_are_in_order_and_come_in_pages", "where nobody has it")
class BeginsBehindARecord(Listing):
    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        known = after is None or after in self._records
        return super().principals(account, after=after, limit=limit) if known else []


# Removing


@caught_by("forget_removes_the_record_and_its_history_and_no_other", "the removal of the stored record answers True")
class AnswersNothingWhenItRemoves(Scripted):
    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        return super().commit(before, after, events) and (True if after.revision else None)  # type: ignore[return-value]


@caught_by("forget_removes_the_record_and_its_history_and_no_other", "has no history")
class ForgetsOnlyTheRecord(Scripted):
    def remove(self, who: PrincipalId) -> None:
        self._records.pop(who, None)


@caught_by("forget_removes_the_record_and_its_history_and_no_other", "was never stored")
class ForgetsOnlyTheHistory(Scripted):
    def remove(self, who: PrincipalId) -> None:
        self._events.pop(who, None)


@caught_by("forget_removes_the_record_and_its_history_and_no_other", "is not listed")
class LeavesATombstone(Scripted):
    def remove(self, who: PrincipalId) -> None:
        super().remove(who)
        self._records[who] = Principal(id=who)


@caught_by("forget_removes_the_record_and_its_history_and_no_other", "is not listed")
class ForgetsByPrefix(Scripted):
    def remove(self, who: PrincipalId) -> None:
        for other in [other for other in self._records if str(other).startswith(str(who))]:
            super().remove(other)


@caught_by("forget_removes_the_record_and_its_history_and_no_other", "changes no other")
class MarksWhoStays(Scripted):
    def remove(self, who: PrincipalId) -> None:
        super().remove(who)
        self._records = {other: replace(record, recovered_at=0) for other, record in self._records.items()}


@caught_by("forget_removes_the_record_and_its_history_and_no_other", "changes no other")
class ForgetsTheAccountsHistory(Scripted):
    def remove(self, who: PrincipalId) -> None:
        super().remove(who)
        self._events.clear()


@caught_by("forget_removes_the_record_and_its_history_and_no_other", "begins anew")
class KeepsHistoryOutOfSight(AppendsBehindWhatIsThere):
    def remove(self, who: PrincipalId) -> None:
        self._records.pop(who, None)

    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        return super().history(principal, after=after, limit=limit) if principal in self._records else []


class ReturnsTuples(Scripted):
    """Any sequence will do."""

    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        return tuple(super().history(principal, after=after, limit=limit))


SOUND: list[type[Store]] = [Scripted, Listing, ReturnsTuples]
