"""The shell: commit before the answer is told, decide again when somebody else was first, observe afterwards."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

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
from vmfa.registry import ATTEMPTS

from .world import ALICE, BOSS, MASTER, RFC_KEY, ROOT, SERVICE, STEP, SUPPORT, Kept, World, answer, by_method, refusal

ME = Actor.signed_in(ALICE)


class Watched(Kept):
    """A store that runs something before each commit, and counts."""

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


# Commit before tell


def test_a_failed_commit_answers_right_and_wrong_alike() -> None:
    """RULE-THROTTLE: no verdict leaves without its commit: code or pair, right or wrong, one and the same error."""
    world = World(store=Watched())
    phone = world.enroll()
    world.clock.advance(10 * STEP)
    world.store.before_commit = failing
    world.told.clear()
    wrong = phone.wrong_code()
    with world.nothing_written():
        for right, bad in (
            (lambda: world.verify(phone.code()), lambda: world.verify(wrong)),
            (lambda: world.resync(phone.pair()), lambda: world.resync({"code1": wrong, "code2": wrong})),
        ):
            errors = [refusal(act) for act in (right, bad)]
            assert [(type(error), str(error)) for error in errors] == [(StoreUnavailable, "the disk is full")] * 2
    assert world.told == []


def test_a_failed_commit_shows_no_key_and_assigns_no_device() -> None:
    """RULE-THROTTLE: the same for the wizard: what was not kept is not shown."""
    world = World(store=Watched())
    world.store.before_commit = failing
    assert type(refusal(world.open)) is StoreUnavailable
    world.store.before_commit = lambda: None
    opened = world.open()
    world.store.before_commit = failing
    pairs = [world.phone(opened).pair(), {"code1": "000000", "code2": "000001"}]
    assert {str(refusal(partial(world.confirm, opened, pair))) for pair in pairs} == {"the disk is full"}
    assert world.registry.requires_code(ALICE) is False


def test_a_verdict_is_told_after_its_commit() -> None:
    """RULE-THROTTLE: failures are committed before the answer is told, and so are successes."""
    world = World()
    phone = world.enroll()
    seen: list[int] = []
    watching = World(store=world.store, observer=lambda event: seen.append(world.device().failures))
    refusal(lambda: watching.verify(phone.wrong_code()))
    watching.clock.advance(STEP)
    watching.verify(phone.code(1))
    assert seen == [1, 0]


def test_what_changes_nothing_is_not_committed() -> None:
    """RULE-THROTTLE: malformed, replayed, throttled, unknown and refused attempts write nothing, nor do reads."""
    world = World(store=Watched())
    phone = world.enroll()
    world.put(device={"failures": 2})
    refusal(lambda: world.verify(phone.wrong_code()))
    commits = world.store.commits
    for act in (
        lambda: world.verify("12"),
        lambda: world.verify(phone.code(1)),  # throttled
        lambda: world.verify("123456", BOSS),
        lambda: world.registry.deactivate(ALICE, by=ME),
        world.open,
        lambda: world.registry.forget(BOSS, by=SERVICE),
        lambda: world.registry.device(ALICE, by=ME),
        lambda: world.registry.history(ALICE, by=SUPPORT),
        lambda: world.registry.requires_code(ALICE),
    ):
        answer(act)
    world.clock.advance(15)
    assert type(refusal(lambda: world.verify(phone.code()))) is AlreadyUsed
    assert world.store.commits == commits


# Compare-and-set


def test_a_lost_race_is_decided_again() -> None:
    """SEED-ONE: when the commit finds a newer record, the decision is made again on it: the code is spent by then."""
    world = World(store=Watched())
    phone = world.enroll()
    world.clock.advance(STEP)
    other = World(store=world.store, now=world.clock())
    code = phone.code()

    def overtake() -> None:
        world.store.before_commit = lambda: None
        assert isinstance(other.verify(code), Receipt)

    world.store.before_commit = overtake
    world.told.clear()
    assert type(refusal(lambda: world.verify(code))) is AlreadyUsed
    assert [event.type for event in world.told] == [EventType.REFUSED]


def test_of_two_wizards_one_assigns() -> None:
    """SEED-ONE: also under concurrent callers: the one that commits second finds the device, or its session gone."""
    world = World(store=Watched())
    opened = world.open()
    pair = world.phone(opened).pair()
    other = World(store=world.store)

    def overtake() -> None:
        world.store.before_commit = lambda: None
        other.confirm(opened, pair)

    world.store.before_commit = overtake
    assert refusal(lambda: world.confirm(opened, pair)).reason == "no session"
    assert type(refusal(world.open)) is DeviceAlreadyAssigned
    assert world.happened().count(EventType.ASSIGNED) == 1


def test_parallel_guesses_are_counted_one_by_one() -> None:
    """RFC4226-7.3-XSESSION: a guess that was decided beside two others is decided again after them."""
    world = World(store=Watched())
    phone = world.enroll()
    wrong = phone.wrong_code()
    others = [World(store=world.store) for _ in range(3)]

    def overtake() -> None:
        if others:
            refusal(lambda: others.pop().verify(wrong))

    world.store.before_commit = overtake
    kinds = [type(refusal(lambda: world.verify(wrong))) for _ in range(2)]
    assert world.device().failures == 3
    assert kinds.count(Throttled) == 2


def test_each_round_asks_clock_and_store_anew() -> None:
    """SEED-ONE: a retry uses the present record, the present actor_record and the present second."""
    world = World(store=Watched())
    phone = world.enroll()

    def overtake() -> None:
        world.store.before_commit = lambda: None
        world.put()
        world.clock.advance(7)

    world.store.before_commit = overtake
    world.clock.advance(STEP)
    assert world.verify(phone.code()).at == world.clock()


def test_contention_ends_in_a_named_error() -> None:
    """SEED-ONE: a store that never lets a commit through: tried 64 times, then named; nothing was changed or told."""
    world = World(store=Watched())
    phone = world.enroll()
    attempts: list[Principal] = []
    world.store.commit = lambda before, after, events: attempts.append(after) or False
    world.told.clear()
    with world.nothing_written():
        assert type(refusal(lambda: world.verify(phone.code(1)))) is StoreContended
    assert len(attempts) == ATTEMPTS == 64
    assert world.told == []


# The observer


def test_the_observer_gets_every_outcome() -> None:
    """OBSERVER: acceptance, rejection, refusal by guard or matrix, life cycle, reads: each is told, in order."""
    world = World(imported_keys=UnsafePlainKeys())
    phone = world.enroll()
    world.sign_in(phone)
    refusal(lambda: world.verify(phone.code()))
    refusal(lambda: world.verify("x"))
    refusal(lambda: world.verify(phone.wrong_code()))
    refusal(lambda: world.registry.deactivate(ALICE, by=ME))
    world.registry.device(ALICE, by=ME)
    world.registry.history(ALICE, by=SUPPORT)
    world.registry.deactivate(ALICE, by=SUPPORT)
    world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, source="import")
    world.registry.reanchor(ALICE, by=SERVICE)
    world.registry.forget(ALICE, by=SERVICE)
    assert [(event.type, event.reason) for event in world.told] == [
        (EventType.OPENED, ""), (EventType.ASSIGNED, ""), (EventType.ACCEPTED, ""), (EventType.REFUSED, "already used"),
        (EventType.REFUSED, "malformed"), (EventType.REJECTED, "not accepted"), (EventType.REFUSED, "access denied"),
        (EventType.READ, "device"), (EventType.READ, "history"), (EventType.DEACTIVATED, ""), (EventType.ADOPTED, ""),
        (EventType.REANCHORED, ""), (EventType.FORGOTTEN, ""),
    ]


@pytest.mark.parametrize("raised", [RuntimeError("observer"), AccessDenied("observer"), AssertionError()])
def test_an_observer_cannot_change_an_answer(raised: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """OBSERVER: whatever it raises: receipts are returned, refusals raised, and the failure is logged."""
    seen: list[AuditEvent] = []

    def observer(event: AuditEvent) -> None:
        seen.append(event)
        raise raised

    world = World(observer=observer)
    with caplog.at_level(logging.ERROR, logger="vmfa"):
        phone = world.enroll()
        assert isinstance(world.sign_in(phone), Receipt)
        assert type(refusal(lambda: world.verify(phone.wrong_code()))) is CodeRejected
        assert type(refusal(lambda: world.verify("x"))).__name__ == "MalformedCode"
    assert len(seen) == len(caplog.records) == 5
    assert {(record.name, record.getMessage()) for record in caplog.records} == {("vmfa", "the observer raised")}
    assert phone.code() not in caplog.text


def test_no_observer_is_fine() -> None:
    """OBSERVER: optional."""
    registry = DeviceRegistry(MemoryStore(), keys=DerivedKeys(MASTER), issuer="Example")
    assert registry.open_enrollment(ALICE, by=ME, label="a").base32


# The face


def test_the_default_clock_is_the_wall_clock() -> None:
    """RULE-CLOCK: Unix time of the machine, unless told otherwise."""
    registry = DeviceRegistry(MemoryStore(), keys=DerivedKeys(MASTER), issuer="Example")
    opened = registry.open_enrollment(ALICE, by=ME, label="a")
    assert abs(opened.expires_at - 900 - time.time()) < 60


def test_the_policy_reaches_the_rules() -> None:
    """RULE-DEFAULTS: one policy object for everything."""
    world = World(Policy(session_seconds=60))
    assert world.open().expires_at == world.clock() + 60


@pytest.mark.parametrize("nobody", [None, "123456789012/user/u-4711", ("a", "b")])
def test_a_principal_is_an_identifier_not_text(nobody: Any) -> None:
    """WORDS: never typed text: a name instead of an id is refused before the store is asked."""
    world = World(store=Watched())
    loads = world.store.loads
    for act in (
        lambda: world.registry.requires_code(nobody),
        lambda: world.registry.verify(nobody, "123456"),
        lambda: world.registry.open_enrollment(nobody, by=ME, label="a"),
    ):
        assert isinstance(refusal(act), InvalidType)
    assert world.store.loads == loads


def test_history_comes_in_pages_oldest_first() -> None:
    """SEED-PERMIT: a page behind an event number, of a length."""
    world = World()
    for _ in range(3):
        world.open()
    numbers = [event.number for event in world.registry.history(ALICE, by=SUPPORT)]
    assert numbers == [1, 2, 3, 4, 5]
    page = world.registry.history(ALICE, by=SUPPORT, after=2, limit=2)
    assert [event.number for event in page] == [3, 4]


def test_a_history_that_changes_while_it_is_read_is_read_again() -> None:
    """SEED-BOUND: record and events are read apart; a page that fits no record is never given out."""
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


def test_a_history_that_never_rests_is_contended() -> None:
    """SEED-BOUND: after as many rounds as any operation gets, named."""
    world = World()
    real, rounds = world.store.history, []

    def overtaken(principal: PrincipalId, **page: int) -> Sequence[AuditEvent]:
        rounds.append(page)
        world.open(by=SERVICE)
        return real(principal, **page)

    world.store.history = overtaken
    assert type(refusal(lambda: world.registry.history(ALICE, by=SUPPORT))) is StoreContended
    assert len(rounds) == ATTEMPTS


@pytest.mark.parametrize("edit", ["changed", "removed", "moved", "added"])
def test_an_edited_history_is_tampered(edit: str) -> None:
    """RULE-HISTORY: events are chained up to the head in the record: each edit shows but an addition, no part of it."""
    world = World()
    for _ in range(3):
        world.open()
    events = world.store._events[ALICE]
    before = list(events)
    if edit == "changed":
        events[2] = replace(events[2], actor="somebody else")
    if edit == "removed":
        events.pop()
    if edit == "moved":
        events[0], events[1] = replace(events[1], number=1), replace(events[0], number=2)
    if edit == "added":
        events.append(replace(events[-1], number=6))
        assert list(world.registry.history(ALICE, by=SUPPORT)) == before
        return
    assert type(refusal(lambda: world.registry.history(ALICE, by=SUPPORT))) is RecordTampered


def test_principals_come_in_pages_root_first() -> None:
    """WORDS: of one account: who has a record, behind a given one."""
    world = World()
    for who in (ALICE, BOSS, ROOT, PrincipalId.user("999999999999", "x")):
        world.open(who)
    assert world.registry.principals(ALICE.account) == [ROOT, BOSS, ALICE]
    assert world.registry.principals(ALICE.account, after=ROOT, limit=1) == [BOSS]
    assert world.registry.principals(ALICE.account, after=ALICE) == []


def test_the_witness_is_loaded_from_the_store() -> None:
    """SEED-PERMIT: the registry holds an administrator's claim against the administrator's own record."""
    world = World(store=Watched())
    world.enroll()
    world.enroll(BOSS)
    receipt_claim = by_method(BOSS, world.clock()).mfa
    loads = world.store.loads
    world.registry.device(ALICE, by=Actor.admin(BOSS, mfa=receipt_claim))
    assert world.store.loads == loads + 2
