"""DeviceRegistry: it commits before it answers, decides again after a lost race, and then informs
the observer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any
from unittest.mock import MagicMock, Mock, create_autospec

import pytest

from vmfa import (
    AccessDenied,
    Actor,
    AlreadyUsed,
    AuditEvent,
    CodeRejected,
    DerivedKeys,
    DeviceAlreadyAssigned,
    DeviceRegistry,
    EventType,
    InvalidType,
    MemoryStore,
    Policy,
    Principal,
    PrincipalId,
    Receipt,
    RecordTampered,
    StoreContended,
    StoreUnavailable,
    Throttled,
    UnsafePlainKeys,
)
from world import (
    ADMIN,
    ALICE,
    MASTER,
    RFC_KEY,
    ROOT,
    SERVICE,
    STEP,
    SUPPORT,
    LastingStore,
    World,
    error_of,
    outcome_of,
)

ME = Actor.signed_in(ALICE)


class Watched(LastingStore):
    """A store that runs a function before each commit, and counts loads and commits."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = self.loads = 0
        self.before_commit: Callable[[], object] = lambda: None

    def load(self, principal: PrincipalId) -> Principal:
        self.loads += 1
        return super().load(principal)

    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        self.commits += 1
        self.before_commit()
        return super().commit(before, after, events)


def failing() -> None:
    raise StoreUnavailable("the disk is full")


# The commit comes before the answer


def test_a_failed_commit_gives_the_same_error_for_right_and_wrong_codes() -> None:
    """RULE-THROTTLE: no verdict leaves without its commit."""
    world = World(store=Watched())
    phone = world.enroll()
    world.clock.advance(10 * STEP)
    world.store.before_commit = failing
    world.observed.clear()
    wrong = phone.wrong_code()
    with world.nothing_written():
        for right, bad in (
            (lambda: world.verify(phone.code()), lambda: world.verify(wrong)),
            (
                lambda: world.resync(phone.pair()),
                lambda: world.resync({"code1": wrong, "code2": wrong}),
            ),
        ):
            errors = [error_of(act) for act in (right, bad)]
            assert [(type(error), str(error)) for error in errors] == [
                (StoreUnavailable, "the disk is full")
            ] * 2
    assert world.observed == []


def test_a_failed_commit_shows_no_key_and_assigns_no_device() -> None:
    """RULE-THROTTLE: what was not stored is not shown."""
    world = World(store=Watched())
    world.store.before_commit = failing
    assert type(error_of(world.open)) is StoreUnavailable
    world.store.before_commit = lambda: None
    opened = world.open()
    world.store.before_commit = failing
    pairs = [world.phone(opened).pair(), {"code1": "000000", "code2": "000001"}]
    assert {str(error_of(partial(world.confirm, opened, pair))) for pair in pairs} == {
        "the disk is full"
    }
    assert world.registry.requires_code(ALICE) is False


def test_the_observer_runs_after_the_commit() -> None:
    """RULE-THROTTLE: failures and successes are stored before the caller sees them."""
    world = World()
    phone = world.enroll()
    seen: list[int] = []
    watching = World(
        store=world.store, observer=lambda event: seen.append(world.device().failures)
    )
    error_of(lambda: watching.verify(phone.wrong_code()))
    watching.clock.advance(STEP)
    watching.verify(phone.code(1))
    assert seen == [1, 0]


def test_what_changes_nothing_is_not_committed() -> None:
    """RULE-THROTTLE: malformed, replayed, throttled, unknown and refused attempts write nothing,
    nor do reads.
    """
    world = World(store=Watched())
    phone = world.enroll()
    world.store_state(device={"failures": 2})
    error_of(lambda: world.verify(phone.wrong_code()))
    commits = world.store.commits
    for act in (
        lambda: world.verify("12"),
        lambda: world.verify(phone.code(1)),  # throttled
        lambda: world.verify("123456", ADMIN),
        lambda: world.registry.deactivate(ALICE, by=ME),
        world.open,
        lambda: world.registry.forget(ADMIN, by=SERVICE),
        lambda: world.registry.device(ALICE, by=ME),
        lambda: world.registry.history(ALICE, by=SUPPORT),
        lambda: world.registry.requires_code(ALICE),
    ):
        outcome_of(act)
    world.clock.advance(15)
    assert type(error_of(lambda: world.verify(phone.code()))) is AlreadyUsed
    assert world.store.commits == commits


# Compare-and-set


def test_a_lost_race_is_decided_again() -> None:
    """SEED-ONE: on the newer record, where the code is spent."""
    world = World(store=Watched())
    phone = world.enroll()
    world.clock.advance(STEP)
    other = World(store=world.store, now=world.clock())
    code = phone.code()

    def overtake() -> None:
        world.store.before_commit = lambda: None
        assert isinstance(other.verify(code), Receipt)

    world.store.before_commit = overtake
    world.observed.clear()
    assert type(error_of(lambda: world.verify(code))) is AlreadyUsed
    assert [event.type for event in world.observed] == [EventType.REFUSED]


def test_of_two_concurrent_confirmations_one_assigns() -> None:
    """SEED-ONE: the one that commits second finds the session gone."""
    world = World(store=Watched())
    opened = world.open()
    pair = world.phone(opened).pair()
    other = World(store=world.store)

    def overtake() -> None:
        world.store.before_commit = lambda: None
        other.confirm(opened, pair)

    world.store.before_commit = overtake
    assert error_of(lambda: world.confirm(opened, pair)).reason == "no session"
    assert type(error_of(world.open)) is DeviceAlreadyAssigned
    assert world.history_types().count(EventType.ASSIGNED) == 1


def test_parallel_guesses_are_counted_one_by_one() -> None:
    """RFC4226-7.3-XSESSION: a guess that lost a race is decided again after the others."""
    world = World(store=Watched())
    phone = world.enroll()
    wrong = phone.wrong_code()
    others = [World(store=world.store) for _ in range(3)]

    def overtake() -> None:
        if others:
            error_of(lambda: others.pop().verify(wrong))

    world.store.before_commit = overtake
    kinds = [type(error_of(lambda: world.verify(wrong))) for _ in range(2)]
    assert world.device().failures == 3
    assert kinds.count(Throttled) == 2


def test_each_round_reads_clock_and_store_again() -> None:
    """SEED-ONE: a retry uses the current record and the current time."""
    world = World(store=Watched())
    phone = world.enroll()

    def overtake() -> None:
        world.store.before_commit = lambda: None
        world.store_state()
        world.clock.advance(7)

    world.store.before_commit = overtake
    world.clock.advance(STEP)
    assert world.verify(phone.code()).at == world.clock()


def test_a_store_that_never_commits_is_contended() -> None:
    """SEED-ONE: nothing is changed and no event is observed."""
    world = World(store=Watched())
    phone = world.enroll()
    attempts: list[Principal] = []
    world.store.commit = lambda before, after, events: attempts.append(after) or False
    world.observed.clear()
    with world.nothing_written():
        assert type(error_of(lambda: world.verify(phone.code(1)))) is StoreContended
    assert 1 < len(attempts) <= 1000
    assert world.observed == []


# The observer


def test_the_observer_gets_every_outcome() -> None:
    """In order: acceptance, rejection, refusal, life cycle and reads."""
    world = World(imported_keys=UnsafePlainKeys())
    phone = world.enroll()
    world.sign_in(phone)
    error_of(lambda: world.verify(phone.code()))
    error_of(lambda: world.verify("x"))
    error_of(lambda: world.verify(phone.wrong_code()))
    error_of(lambda: world.registry.deactivate(ALICE, by=ME))
    world.registry.device(ALICE, by=ME)
    world.registry.history(ALICE, by=SUPPORT)
    world.registry.deactivate(ALICE, by=SUPPORT)
    world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, system="import")
    world.registry.reanchor(ALICE, by=SERVICE)
    world.registry.forget(ALICE, by=SERVICE)
    assert [(event.type, event.reason) for event in world.observed] == [
        (EventType.OPENED, ""),
        (EventType.ASSIGNED, ""),
        (EventType.ACCEPTED, ""),
        (EventType.REFUSED, "already used"),
        (EventType.REFUSED, "malformed"),
        (EventType.REJECTED, "not accepted"),
        (EventType.REFUSED, "access denied"),
        (EventType.READ, "device"),
        (EventType.READ, "history"),
        (EventType.DEACTIVATED, ""),
        (EventType.ADOPTED, ""),
        (EventType.REANCHORED, ""),
        (EventType.FORGOTTEN, ""),
    ]


@pytest.mark.parametrize(
    "raised", [RuntimeError("observer"), AccessDenied("observer"), AssertionError()]
)
def test_an_observer_cannot_change_an_answer(
    raised: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Receipts are returned and errors raised; the failure of the observer is logged."""
    seen: list[AuditEvent] = []

    def observer(event: AuditEvent) -> None:
        seen.append(event)
        raise raised

    world = World(observer=observer)
    with caplog.at_level(logging.ERROR, logger="vmfa"):
        phone = world.enroll()
        assert isinstance(world.sign_in(phone), Receipt)
        assert type(error_of(lambda: world.verify(phone.wrong_code()))) is CodeRejected
        assert type(error_of(lambda: world.verify("x"))).__name__ == "MalformedCode"
    assert len(seen) == len(caplog.records) == 5
    assert {record.name for record in caplog.records} == {"vmfa"}
    assert "observer" in caplog.text
    assert phone.code() not in caplog.text


def test_the_observer_is_optional() -> None:
    registry = DeviceRegistry(MemoryStore(), keys=DerivedKeys(MASTER), issuer="Example")
    assert registry.open_enrollment(ALICE, by=ME, label="a").base32


# Arguments and pages


def test_the_default_clock_is_the_wall_clock() -> None:
    """RULE-CLOCK: the Unix time of the machine."""
    registry = DeviceRegistry(MemoryStore(), keys=DerivedKeys(MASTER), issuer="Example")
    opened = registry.open_enrollment(ALICE, by=ME, label="a")
    assert abs(opened.expires_at - 900 - time.time()) < 60


def test_the_policy_reaches_the_rules() -> None:
    """RULE-DEFAULTS: one policy for everything."""
    world = World(Policy(session_seconds=60))
    assert world.open().expires_at == world.clock() + 60


@pytest.mark.parametrize("other", [None, "123456789012/user/u-4711", ("a", "b")])
def test_a_principal_that_is_not_a_principal_id_is_refused(other: Any) -> None:
    """Before the store is read."""
    world = World(store=Watched())
    loads = world.store.loads
    for act in (
        lambda: world.registry.requires_code(other),
        lambda: world.registry.verify(other, "123456"),
        lambda: world.registry.open_enrollment(other, by=ME, label="a"),
    ):
        assert isinstance(error_of(act), InvalidType)
    assert world.store.loads == loads


def test_history_comes_in_pages_oldest_first() -> None:
    """SEED-PERMIT: a page after an event number, of a given length."""
    world = World()
    for _ in range(3):
        world.open()
    numbers = [event.number for event in world.registry.history(ALICE, by=SUPPORT)]
    assert numbers == [1, 2, 3, 4, 5]
    page = world.registry.history(ALICE, by=SUPPORT, after=2, limit=2)
    assert [event.number for event in page] == [3, 4]


def test_a_history_that_changes_while_it_is_read_is_read_again() -> None:
    """SEED-BOUND: record and events are read separately; a page that does not fit its record is
    not returned.
    """
    world = World()
    world.open()
    real, rounds = world.store.history, []

    def overtaken(principal: PrincipalId, **page: int) -> Sequence[AuditEvent]:
        rounds.append(page)
        if len(rounds) < 3:
            world.open()
        return real(principal, **page)

    world.store.history = overtaken
    assert len(world.registry.history(ALICE, by=SUPPORT)) == 5
    assert len(rounds) == 3


def test_a_history_that_keeps_changing_is_contended() -> None:
    """SEED-BOUND: after the same number of rounds as any operation."""
    world = World()
    world.open()
    real, rounds = world.store.history, []

    def overtaken(principal: PrincipalId, **page: int) -> Sequence[AuditEvent]:
        rounds.append(page)
        world.open(by=SERVICE)
        return real(principal, **page)

    world.store.history = overtaken
    assert type(error_of(lambda: world.registry.history(ALICE, by=SUPPORT))) is StoreContended
    assert 1 < len(rounds) <= 1000


@pytest.mark.parametrize("edit", ["changed", "removed", "moved", "added"])
def test_an_edited_history_is_tampered(edit: str) -> None:
    """RULE-HISTORY: each edit is detected; an added event after the end is not returned."""
    world = World()
    for _ in range(3):
        world.open()
    record, before = world.store._records[ALICE]
    events = list(before)
    if edit == "changed":
        events[2] = replace(events[2], reason="other")
    if edit == "removed":
        events.pop()
    if edit == "moved":
        events[0], events[1] = replace(events[1], number=1), replace(events[0], number=2)
    if edit == "added":
        events.append(replace(events[-1], number=6))
    world.store._records[ALICE] = (record, tuple(events))
    if edit == "added":
        assert tuple(world.registry.history(ALICE, by=SUPPORT)) == before
        return
    assert type(error_of(lambda: world.registry.history(ALICE, by=SUPPORT))) is RecordTampered


def test_principals_come_in_pages_root_first() -> None:
    """Of one account, after a given principal."""
    world = World()
    for who in (ALICE, ADMIN, ROOT, PrincipalId.user("999999999999", "x")):
        world.open(who)
    assert world.registry.principals(ALICE.account) == [ROOT, ADMIN, ALICE]
    assert world.registry.principals(ALICE.account, after=ROOT, limit=1) == [ADMIN]
    assert world.registry.principals(ALICE.account, after=ALICE) == []


# Wrong use


def test_a_clock_that_returns_datetimes_later_is_refused_then() -> None:
    times = iter([1_700_000_010, datetime.now()])
    registry = DeviceRegistry(
        MemoryStore(), keys=DerivedKeys(MASTER), issuer="Example", clock=lambda: next(times)
    )
    error = error_of(lambda: registry.verify(ALICE, "123456"))
    assert isinstance(error, InvalidType)
    assert "time.time()" in str(error)


def test_the_codes_of_a_pair_are_passed_by_keyword() -> None:
    """In which order they are typed must be visible in the call."""
    world = World()
    with pytest.raises(TypeError, match="positional"):
        world.registry.confirm_enrollment(ALICE, "session", "123456", "123457")
    with pytest.raises(TypeError, match="positional"):
        world.registry.resync(ALICE, "123456", "123457", by=ME)


def test_mocks_of_a_store_are_accepted() -> None:
    for mock in (create_autospec(MemoryStore, instance=True), Mock(spec=MemoryStore), MagicMock()):
        registry = DeviceRegistry(mock, keys=DerivedKeys(MASTER), issuer="Example")
        assert registry.operations.issuer == "Example"


def test_without_an_observer_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    registry = DeviceRegistry(MemoryStore(), keys=DerivedKeys(MASTER), issuer="Example")
    with caplog.at_level(logging.DEBUG):
        registry.open_enrollment(ALICE, by=SERVICE, label="a")
    assert not caplog.records


def test_events_are_observed_in_the_order_in_which_they_happened() -> None:
    """The observer's log is the record of what was lost after a fail-over."""
    world = World(Policy(failure_cap=1))
    world.fail(world.enroll())
    assert [event.type for event in world.observed[-2:]] == [
        EventType.REJECTED,
        EventType.DISABLED,
    ]
