"""The contract that every store must keep, as a pytest class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from os import urandom
from threading import Barrier, Event, Thread
from typing import Final, TypeVar

from ..access import Actor
from ..errors import AlreadyUsed, StoreContended
from ..events import AuditEvent, EventType
from ..keysources.derived import DerivedKeys
from ..models import EnrollmentSession, KeyRef, PendingBinding, Principal, PrincipalId, Receipt, Sync, VirtualDevice
from ..policy import Parameters
from ..record import authenticated
from ..registry import DeviceRegistry
from ..stores.base import Store
from ..validators import MAX_INTEGER
from .authenticator import AuthenticatorApp
from .clock import FrozenClock

T = TypeVar("T")


class StoreContract:
    """What a store promises, a test a promise. Subclass it and give a fixture ``store``.

    Each test works in an account of its own, so that a store with other records in it will do.
    """

    # What is kept

    def test_a_principal_that_was_never_stored_has_revision_0(self, store: Store) -> None:
        who = _somebody()
        _promise(
            store.load(who) == Principal(id=who),
            "load() of a principal that was never stored is Principal(id=principal), of revision 0",
        )
        _promise(not store.history(who), "a principal that was never stored has no history")
        _promise(not store.principals(who.account), "reading a principal does not store it")

    def test_every_field_of_a_device_comes_back(self, store: Store) -> None:
        who = _somebody()
        _check_comes_back(store, Principal(
            id=who, seen_at=1 - MAX_INTEGER, device=_device(drift=-7, last_step=2**64 - 1), key_ref=_key_ref(),
            enrollment_times=(-1, 0, 2**62), recovered_at=MAX_INTEGER - 1, binding=PendingBinding(digest="0" * 64, expires_at=-5),
            events=MAX_INTEGER - 1, head=f"{'0' * 16}.{'f' * 64}", pruned=MAX_INTEGER - 2, redacted=MAX_INTEGER - 3,
        ))

    def test_every_field_of_an_enrollment_comes_back(self, store: Store) -> None:
        session = EnrollmentSession(
            session_id="5" * 32, serial="6" * 32, opened_at=-9, expires_at=MAX_INTEGER, attempts=1000,
            parameters=Parameters(algorithm="sha512", digits=8, period=60, t0=-(2**40)),
        )
        _check_comes_back(store, Principal(id=_somebody(), enrollment=session, key_ref=_key_ref()))

    def test_every_field_of_an_event_comes_back(self, store: Store) -> None:
        who = _somebody()
        event = AuditEvent(
            type=EventType.ADOPTED, at=1 - MAX_INTEGER, principal=who, actor='admin "é" %s 😀', serial="7" * 32,
            reason="'; --", details=(("before", -(2**63)), ("after", "😀"), ("at", 2**64)), number=1, tag="head",
        )
        _commit(store, Principal(id=who), [event])
        _promise(list(store.history(who)) == [event], "every field of an event comes back as it was committed")

    def test_names_are_compared_as_bytes_and_none_is_special(self, store: Store) -> None:
        for account in (_account(), _account() + "%_'\"/\\;?é😀", _account().ljust(512, "x")):
            people = [PrincipalId.user(account, name) for name in ODD_NAMES] + [PrincipalId.root(account)]
            for mark, who in enumerate(people):
                _write(store, Principal(id=who), 1, reason=str(mark), recovered_at=mark)
            for mark, who in enumerate(people):
                found = store.load(who)
                _promise(
                    (found.id, found.recovered_at) == (who, mark),
                    f"the name {who.name!r} leads to its own record, whatever characters are in it",
                )
                _promise(
                    [event.reason for event in store.history(who)] == [str(mark)],
                    f"the name {who.name!r} leads to its own history, whatever characters are in it",
                )

    # Compare and set

    def test_a_commit_of_what_was_loaded_succeeds(self, store: Store) -> None:
        who = _somebody()
        state = store.load(who)
        for revision in range(1, 6):
            _write(store, state)
            state = store.load(who)
            _promise(state.revision == revision, "each commit of what was just loaded adds one revision")

    def test_a_stale_writer_loses(self, store: Store) -> None:
        who = _somebody()
        seen_by_both = _write(store, Principal(id=who))
        first = _write(store, seen_by_both, recovered_at=1)
        _check_loses(store, seen_by_both, first, "of two writers that loaded the same revision the second loses")

    def test_a_writer_that_is_many_revisions_behind_loses(self, store: Store) -> None:
        who = _somebody()
        old = newest = _write(store, Principal(id=who))
        for step in range(1, 6):
            newest = _write(store, newest, device=_device(last_step=step), key_ref=_key_ref())
        _check_loses(store, old, newest, "a record never goes back: an old revision does not come to be the newest")

    def test_a_writer_that_is_ahead_of_the_store_loses(self, store: Store) -> None:
        who = _somebody()
        stored = _write(store, Principal(id=who))
        never_stored = _next(stored)
        _check_loses(store, never_stored, stored, "a commit on a revision that was never stored loses")

    def test_the_tag_is_compared_beside_the_revision(self, store: Store) -> None:
        who = _somebody()
        stored = _write(store, Principal(id=who), recovered_at=1)
        other = _next(Principal(id=who), recovered_at=2)
        _check_loses(store, other, stored, "a writer whose record has the stored revision but another tag loses")
        _promise(
            store.commit(other, Principal(id=who), []) is False and store.load(who) == stored,
            "one whose record has the stored revision but another tag cannot remove it",
        )

    def test_the_revision_is_compared_beside_the_tag(self, store: Store) -> None:
        stored = _write(store, Principal(id=_somebody()))
        sentence = "a writer whose record has the stored tag but another revision loses"
        _check_loses(store, replace(stored, revision=stored.revision + 5), stored, sentence)

    def test_one_of_two_first_records_wins(self, store: Store) -> None:
        who = _somebody()
        unknown = store.load(who)
        first = _write(store, unknown, recovered_at=1)
        _check_loses(store, unknown, first, "of two writers that found no record the second loses")

    def test_a_forgotten_record_is_not_written_back(self, store: Store) -> None:
        who = _somebody()
        held = _write(store, Principal(id=who))
        _forget(store, held)
        _check_loses(store, held, Principal(id=who), "a writer whose record was removed meanwhile loses")

    def test_a_record_that_was_forgotten_and_made_anew_is_another_one(self, store: Store) -> None:
        who = _somebody()
        held = _write(store, Principal(id=who), recovered_at=1)
        _forget(store, held)
        anew = _write(store, Principal(id=who), recovered_at=2)
        _check_loses(store, held, anew, "a record made anew has the revision of the old one and is not the old one")

    def test_one_of_many_threads_wins(self, store: Store) -> None:
        who = _somebody()
        state = store.load(who)
        for _ in range(4):
            rivals = [_next(state, recovered_at=mark, events=state.events + 1) for mark in range(8)]

            def rush(mark: int, held: Principal = state, rivals: list[Principal] = rivals) -> bool:
                return store.commit(held, rivals[mark], _events(held, held.events + 1))

            outcomes = _ended(_together(8, rush))
            winners = [mark for mark, outcome in enumerate(outcomes) if outcome is True]
            _promise(len(winners) == 1, f"of 8 threads that commit on one revision one wins, not {len(winners)}")
            state = store.load(who)
            _promise(state == rivals[winners[0]], "what is stored is what the winner of a race committed")

    def test_one_code_presented_by_many_threads_is_accepted_once(self, store: Store) -> None:
        clock = FrozenClock()
        registry = DeviceRegistry(store, keys=_keys(), issuer="Contract", clock=clock)
        who = _somebody()
        me = Actor.signed_in(who)
        opened = registry.open_enrollment(who, by=me, label="contract")
        phone = AuthenticatorApp(clock).scan(opened.uri)
        code1, code2 = phone.two_codes()
        registry.confirm_enrollment(who, session=opened.session_id, code1=code1, code2=code2, by=me)
        for _ in range(3):
            clock.advance(30)
            code = phone.code()
            outcomes = _together(12, lambda _, code=code: registry.verify(who, code))  # type: ignore[misc]  # a default
            accepted = sum(isinstance(outcome, Receipt) for outcome in outcomes)
            _promise(accepted == 1, f"one code presented by 12 threads is accepted once, not {accepted} times")
            for outcome in outcomes:
                _promise(
                    isinstance(outcome, (Receipt, AlreadyUsed, StoreContended)),
                    f"the other threads are told that the code was used, not {type(outcome).__name__}",
                )

    # One transaction

    def test_a_lost_race_leaves_no_event(self, store: Store) -> None:
        who, other = _somebody(), _somebody()
        held = _write(store, Principal(id=who))
        _write(store, held, 1, reason="winner")
        _promise(
            [
                store.commit(before, _next(before), _events(before, 1, 2, reason="loser"))
                for before in (held, Principal(id=who), _next(Principal(id=other)))
            ] == [False] * 3,
            "a lost commit answers False",
        )
        _promise(
            [event.reason for event in store.history(who)] == ["winner"] and not store.history(other),
            "a lost commit leaves none of its events",
        )

    def test_a_lost_removal_leaves_record_and_history(self, store: Store) -> None:
        who = _somebody()
        held = _write(store, Principal(id=who), 1)
        newest = _write(store, held)
        _promise(store.commit(held, Principal(id=who), []) is False, "the removal by a stale writer loses")
        _promise(
            store.load(who) == newest and len(store.history(who)) == 1,
            "a lost removal leaves the record and its history",
        )

    def test_record_and_events_are_written_together_or_not_at_all(self, store: Store) -> None:
        for held in (Principal(id=_somebody()), _write(store, Principal(id=_somebody()))):
            who = held.id
            with suppress(_Interrupted):
                store.commit(held, _next(held), _Interrupting(_events(held, 1, 2)))
            _promise(
                store.load(who) == held and not store.history(who),
                "when the events cannot be written, the record is not written either",
            )
            state = _write(store, held, 1, 2)
            _promise(
                store.load(who) == state and len(store.history(who)) == 2,
                "after a commit that failed, the next one succeeds as a whole",
            )

    def test_no_reader_sees_a_record_without_its_events(self, store: Store) -> None:
        who = _somebody()
        done = Event()

        def write() -> None:
            state = Principal(id=who)
            for number in range(1, 41, 2):
                state = _write(store, state, number, number + 1)

        def read() -> None:
            last = False
            while not last:
                last = done.is_set()
                record = store.load(who)
                history = store.history(who)
                later = store.load(who)
                _promise(
                    record.events <= len(history) <= later.events,
                    "a reader never sees a record without its events, nor events without their record",
                )

        def write_or_read(which: int) -> None:
            if which:
                read()
            else:
                try:
                    write()
                finally:
                    done.set()

        _ended(_together(2, write_or_read))

    # Reading

    def test_a_commit_is_read_at_once_and_everywhere(self, store: Store) -> None:
        who = _somebody()
        state = store.load(who)
        for number in range(1, 9):
            state = _write(store, state, number)
            views = [store.load(who), store.load(who), *_ended(_together(2, lambda _: store.load(who)))]
            _promise(all(view == state for view in views), "load() gives what was committed last, in every thread")
            _promise(len(store.history(who)) == number, "history() gives what was committed last")
            _promise(list(store.principals(who.account)) == [who], "principals() gives what was committed last")
        _forget(store, state)
        _promise(store.load(who).revision == 0, "load() gives no record that was removed")

    def test_what_was_given_and_what_was_returned_may_be_changed(self, store: Store) -> None:
        who = _somebody()
        given = _events(Principal(id=who), 1, 2)
        _commit(store, Principal(id=who), given)
        given.clear()
        _promise(len(store.history(who)) == 2, "changing the list of events after a commit does not change the store")
        for read in (lambda: store.history(who), lambda: store.principals(who.account)):
            returned = read()
            if isinstance(returned, list):
                kept = list(returned)
                returned.clear()
                _promise(list(read()) == kept, "changing a list that the store returned does not change the store")

    def test_history_is_in_order_and_comes_in_pages(self, store: Store) -> None:
        who, other = _somebody(), _somebody()
        state, number = Principal(id=who), 0
        for many in (1, 0, 3, 2, 6):
            state, number = _write(store, state, *range(number + 1, number + many + 1)), number + many
        _write(store, Principal(id=other), 1)
        numbers = [event.number for event in store.history(who)]
        _promise(numbers == list(range(1, 13)), "history() is all events of this principal, in the order of numbers")
        edges = ((0, 0), (11, 1), (12, 5), (99, 5), (0, 2**70), (2**70, 1))
        for after, limit in ((0, 5), (5, 5), (10, 5), (0, 12), *edges):
            page = [event.number for event in store.history(who, after=after, limit=limit)]
            _promise(
                page == numbers[after : after + limit],
                f"history(after={after}, limit={limit}) is at most that many events, behind that number",
            )

    def test_events_that_no_record_speaks_of_give_way(self, store: Store) -> None:
        who = _somebody()
        state = _write(store, Principal(id=who), 1, 2, 3, reason="lost")
        put_back = _next(state, events=1)  # as though an older record had come back: its history has one event
        _promise(store.commit(state, put_back, []) is True, "a commit on the stored record answers True")
        _write(store, put_back, 2, reason="new")
        _promise(
            [event.reason for event in store.history(who, limit=2)] == ["lost", "new"],
            "an event behind the end of the record's history gives way to the one that is committed there",
        )

    def test_the_end_of_a_history_can_be_written_anew(self, store: Store) -> None:
        who = _somebody()
        state = _write(store, Principal(id=who), 1, 2, 3, reason="old")
        after = _next(state, events=4)
        rewritten = _events(state, 2, 3, 4, reason="anew")
        stale = store.commit(Principal(id=who), after, rewritten)
        _promise(
            stale is False and [event.reason for event in store.history(who)] == ["old"] * 3,
            "a lost commit writes no history anew",
        )
        _promise(store.commit(state, after, rewritten) is True, "a commit on the stored record answers True")
        _promise(
            [event.reason for event in store.history(who)] == ["old", "anew", "anew", "anew"],
            "events from the number of the first one committed on give way, and those before it stay",
        )

    def test_principals_are_in_order_and_come_in_pages(self, store: Store) -> None:
        account = _account()
        for near in (account + "x", account[:-1], account.upper(), account.replace("-", "_")):
            _write(store, Principal(id=PrincipalId.user(near, "somebody else")))
        users = [PrincipalId.user(account, name) for name in sorted(ORDERED_NAMES)]  # as UTF-8 orders them
        everybody = [PrincipalId.root(account), *users]
        for who in (*users[::2], PrincipalId.root(account), *users[1::2]):
            _write(store, Principal(id=who))
        _promise(
            sorted(map(str, store.principals(account))) == sorted(map(str, everybody)),
            "principals() is everybody in this account who has a record, and nobody of another account",
        )
        _promise(
            list(store.principals(account)) == everybody,
            "principals() is in order: root first, then users by the bytes of their names",
        )
        for size in (1, 3, len(everybody)):
            pages = list(_pages(store, account, size))
            _promise(
                all(len(page) <= size for page in pages), f"principals(limit={size}) is at most that many principals"
            )
            _promise(
                [who for page in pages for who in page] == everybody,
                "the pages of principals(), each behind the last one's last, are everybody once",
            )
        _promise(not store.principals(account, limit=0), "principals(limit=0) is empty")
        _promise(
            list(store.principals(account, after=PrincipalId.user(account, "b+"))) == [
                who for who in users if who.name.encode() > b"b+"
            ],
            "principals(after=...) begins behind that name, also where nobody has it",
        )

    # Removing

    def test_forget_removes_the_record_and_its_history_and_no_other(self, store: Store) -> None:
        account = _account()
        gone, stays = PrincipalId.user(account, "gone"), PrincipalId.user(account, "gone too")
        root = PrincipalId.root(account)
        kept = {who: _write(store, Principal(id=who), 1) for who in (gone, stays, root)}
        _forget(store, kept.pop(gone))
        _promise(store.load(gone) == Principal(id=gone), "a removed principal is one that was never stored")
        _promise(not store.history(gone), "a removed principal has no history")
        _promise(list(store.principals(account)) == [root, stays], "a removed principal is not listed")
        for who, state in kept.items():
            _promise(
                store.load(who) == state and len(store.history(who)) == 1, "removing one principal changes no other"
            )
        _write(store, Principal(id=gone), 1, reason="anew")
        _promise(
            [event.reason for event in store.history(gone)] == ["anew"],
            "a principal that was removed begins anew, with event number 1",
        )


ODD_NAMES: Final = (
    "Alice", "alice", "ALICE", "O'Brien", 'say "hi"', "100%", "1%0", "a_b", "a-b", "a/b", "a\\b", "a;b", "a?b", "a:b",
    "'; DROP TABLE principal; --", "%s", "{}", "$1", "NULL", "None", "root", "7", "07", "7.0", "1e3", "1000", "0x10",
    "ß", "ss", "é", "e", "\u0131", "i", "\ufb01", "fi", "\uff21", "中文", "😀", "👩\U0001f3fd", "x" * 512, "x" * 511,
    "é" * 256, "😀" * 128,
)
ORDERED_NAMES: Final = (
    "B", "Z", "a", "b", "a b", "a-b", "a_b", "ab", "10", "9", "é", "f", "ñ", "中", "\uff61", "😀", "root", "user",
    "~", "'",
)


def _promise(kept: object, sentence: str) -> None:
    __tracebackhide__ = True
    if not kept:
        raise AssertionError(f"this store breaks its contract: {sentence}")


def _keys() -> DerivedKeys:
    return DerivedKeys(b"for the contract of stores, only")


def _account() -> str:
    return f"contract-{urandom(8).hex()}"


def _somebody() -> PrincipalId:
    return PrincipalId.user(_account(), "u-4711")


def _device(**changes: int) -> VirtualDevice:
    device = VirtualDevice(
        serial="8" * 32, parameters=Parameters(algorithm="sha256", digits=7, period=1, t0=2**40), enrolled_at=-3,
        sync=Sync.OUT_OF_SYNC, disabled=True, drift=4, synced_drift=-5, last_offset=-1, last_step=6, failures=7, failed_at=-8,
        budget=9, budget_updated_at=-10,
    )
    return replace(device, **changes)  # type: ignore[arg-type]  # numbers only


def _key_ref() -> KeyRef:
    return KeyRef(scheme="derived", key_id="0123456789abcdef", material=bytes(range(240, 256)))


def _events(of: Principal, *numbers: int, reason: str = "") -> list[AuditEvent]:
    return [
        AuditEvent(type=EventType.OPENED, at=n, principal=of.id, actor="contract", reason=reason, number=n, tag=f"t{n}")
        for n in numbers
    ]


def _next(before: Principal, **changes: object) -> Principal:
    """A record that may follow *before*, sealed as decisions are."""
    return authenticated(replace(before, revision=before.revision + 1, **changes), _keys())  # type: ignore[arg-type]  # fields


def _write(store: Store, before: Principal, *numbers: int, reason: str = "", **changes: object) -> Principal:
    """Commit a change and events of these *numbers* on what is stored, which must succeed."""
    return _commit(store, before, _events(before, *numbers, reason=reason), **changes)


def _commit(store: Store, before: Principal, events: Sequence[AuditEvent], **changes: object) -> Principal:
    after = _next(before, events=before.events + len(events), **changes)
    _promise(store.commit(before, after, events) is True, "a commit on the stored record answers True")
    return after


def _forget(store: Store, before: Principal) -> None:
    _promise(
        store.commit(before, Principal(id=before.id), []) is True, "the removal of the stored record answers True"
    )


def _check_loses(store: Store, held: Principal, stored: Principal, sentence: str) -> None:
    """A writer that holds *held* must not replace *stored*."""
    _promise(store.commit(held, _next(held, recovered_at=7), []) is False, sentence)
    _promise(store.load(held.id) == stored, "a lost commit changes nothing")


def _check_comes_back(store: Store, made: Principal) -> None:
    state = _next(made)
    _promise(store.commit(Principal(id=made.id), state, []) is True, "the commit of a first record answers True")
    found = store.load(made.id)
    for field in fields(Principal):
        wanted, got = getattr(state, field.name), getattr(found, field.name)
        _promise(
            got == wanted,
            f"every field of a record comes back as it was committed, and {field.name} does not",
        )


def _pages(store: Store, account: str, size: int) -> Iterator[Sequence[PrincipalId]]:
    after = None
    for _ in range(100):
        page = store.principals(account, after=after, limit=size)
        if not page:
            return
        yield page
        after = page[-1]
    _promise(kept=False, sentence="the pages of principals(), each behind the last one's last, come to an end")


def _together(many: int, work: Callable[[int], T]) -> list[T | BaseException]:
    """What *work* gives or raises in so many threads that start at once."""
    outcomes: list[T | BaseException] = [AssertionError("the thread did not end")] * many
    start = Barrier(many)

    def run(which: int) -> None:
        start.wait()
        try:
            outcomes[which] = work(which)
        except BaseException as error:  # noqa: BLE001  # given to the thread that asked
            outcomes[which] = error

    threads = [Thread(target=run, args=(which,)) for which in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def _ended(outcomes: list[T | BaseException]) -> list[T]:
    """*outcomes*, if no thread raised."""
    ended: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        ended.append(outcome)
    return ended


class _Interrupted(Exception):
    """What stops a store while it writes the events."""


class _Interrupting(Sequence[AuditEvent]):
    """Events of which the last one cannot be had."""

    def __init__(self, events: Sequence[AuditEvent]) -> None:
        self._events = events

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, index: object) -> AuditEvent:  # type: ignore[override]  # no slices
        if index == 0:
            return self._events[0]
        raise _Interrupted
