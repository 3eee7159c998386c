"""Treating every code up to a time as used, after commits may have been lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vmfa import (
    AccessDenied,
    Actor,
    AlreadyUsed,
    EventType,
    InvalidValue,
    NoSession,
    Receipt,
    StoreError,
)
from world import (
    ACCOUNT,
    ALICE,
    BOB,
    DAY,
    ROOT,
    SERVICE,
    STEP,
    SUPPORT,
    World,
    by_method,
    error_of,
    outcome_of,
)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def phone(world):
    return world.enroll()


def mark(world, until, who=ALICE, by=SERVICE):
    world.registry.mark_spent(who, by=by, until=until)


def test_no_code_that_could_have_been_accepted_until_then_is_accepted(world, phone):
    world.clock.advance(10 * STEP)
    now = int(world.clock())
    mark(world, now)
    policy = world.operations.policy
    spent = now // STEP + policy.resync_forward + policy.window
    assert world.device().last_step == spent
    for steps in range(-1, 2):
        assert isinstance(outcome_of(lambda s=steps: world.verify(phone.code(s))), AlreadyUsed)
    world.clock.set((spent + 1) * STEP)
    assert isinstance(outcome_of(lambda: world.verify(phone.code())), Receipt)


def test_the_user_is_told_when_the_next_code_begins(world, phone):
    mark(world, int(world.clock()))
    error = error_of(lambda: world.verify(phone.code()))
    assert (error.remedy, error.next_at) == ("wait", (world.device().last_step + 1) * STEP)


def test_it_is_idempotent_and_lowers_nothing(world, phone):
    now = int(world.clock())
    mark(world, now)
    with world.nothing_written():
        mark(world, now)
        mark(world, now - DAY)
    assert world.history_types().count(EventType.MARKED_SPENT) == 1


@pytest.mark.parametrize("clock", [-DAY, DAY])
def test_it_runs_whatever_the_clock_says_and_leaves_seen_at(world, phone, clock):
    seen_at = world.state().seen_at
    until = int(world.clock())
    world.clock.advance(clock)
    mark(world, until)
    assert world.state().seen_at == seen_at
    assert world.history_types()[-1] is EventType.MARKED_SPENT


def test_a_time_ahead_of_the_clock_is_refused(world, phone):
    now = int(world.clock())
    for until in (now + STEP + 1, now * 1000):
        with world.nothing_written(), pytest.raises(InvalidValue):
            mark(world, until)
    mark(world, now + STEP)


def test_an_open_enrollment_is_cancelled(world):
    opened = world.open()
    mark(world, int(world.clock()))
    assert world.state().enrollment is None
    assert world.history_types()[-2:] == [EventType.MARKED_SPENT, EventType.CANCELED]
    with pytest.raises(NoSession):
        world.confirm(opened, world.phone(opened).pair())


def test_an_enrollment_that_looks_expired_to_a_wrong_clock_is_cancelled(world):
    opened = world.open()
    world.clock.advance(365 * DAY)
    mark(world, int(world.clock()))
    world.clock.advance(-365 * DAY)
    with pytest.raises(NoSession):
        world.confirm(opened, world.phone(opened).pair())


def test_a_principal_without_a_device_is_left_alone(world):
    with world.nothing_written():
        mark(world, int(world.clock()))


def test_every_principal_of_an_account(world, phone):
    world.enroll(BOB)
    world.enroll(ROOT)
    until = int(world.clock())
    assert world.registry.mark_account_spent(ACCOUNT, by=SERVICE, until=until) == 3
    steps = {world.device(who).last_step for who in (ALICE, BOB, ROOT)}
    assert steps == {until // STEP + 21}
    assert world.registry.mark_account_spent("another", by=SERVICE, until=until) == 0


def test_an_unreadable_record_does_not_stop_the_pass_and_is_named(world, phone):
    world.enroll(BOB)
    world.enroll(ROOT)
    world.overwrite(replace(world.state(ALICE), revision=99))
    until = int(world.clock())
    error = error_of(lambda: world.registry.mark_account_spent(ACCOUNT, by=SERVICE, until=until))
    assert isinstance(error, StoreError)
    assert str(ALICE) in str(error)
    assert str(BOB) not in str(error)
    assert {world.device(who).last_step for who in (BOB, ROOT)} == {until // STEP + 21}


@pytest.mark.parametrize("who", [ALICE, ROOT])
def test_only_a_trusted_service(world, who):
    world.enroll(who)
    for actor in (Actor.signed_in(who), by_method(who, world.clock()), SUPPORT):
        with pytest.raises(AccessDenied):
            mark(world, int(world.clock()), who, actor)
    mark(world, int(world.clock()), who)
