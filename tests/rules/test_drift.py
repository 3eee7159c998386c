"""Drift: the device's clock minus the verifier's. Sign-ins move it slowly, and within a bound."""

from __future__ import annotations

import pytest

from vmfa import AlreadyUsed, CodeRejected, EventType, Policy, Receipt
from vmfa.testing import Account
from world import STEP, World, error_of, outcome_of


def off_by(world: World, phone: Account, k: int) -> int:
    """Sign in ten steps later with the code *k* steps off the verifier's clock. Returns the drift
    afterwards.
    """
    world.clock.advance(10 * STEP)
    return world.verify(phone.code(k)).drift


@pytest.mark.parametrize("side", [-1, 1])
def test_two_sign_ins_off_on_the_same_side_move_the_drift_one_step(side: int) -> None:
    """RFC6238-6-DRIFT: the first deviation moves nothing; the second moves one step and is an
    event.
    """
    world = World()
    phone = world.enroll()
    assert off_by(world, phone, side) == 0
    assert (world.device().drift, world.device().last_offset) == (0, side)
    assert EventType.DRIFT_CHANGED not in [event.type for event in world.observed]
    assert off_by(world, phone, side) == side
    assert (world.device().drift, world.device().last_offset, world.device().synced_drift) == (
        side,
        0,
        0,
    )
    event = world.observed[-1]
    assert (event.type, event.details) == (
        EventType.DRIFT_CHANGED,
        (("before", 0), ("after", side)),
    )
    assert [event.type for event in world.observed[-2:]] == [
        EventType.ACCEPTED,
        EventType.DRIFT_CHANGED,
    ]


@pytest.mark.parametrize("between", [0, 1])
def test_a_sign_in_on_time_or_on_the_other_side_restarts_the_count(between: int) -> None:
    """RFC6238-6-DRIFT: only successive deviations on the same side count."""
    world = World()
    phone = world.enroll()
    for k in (-1, between, -1):
        assert off_by(world, phone, k) == 0
    assert off_by(world, phone, -1) == -1


def test_each_move_needs_two_more_deviations() -> None:
    """RFC6238-6-DRIFT: the count restarts after a move; sides are relative to the drift."""
    world = World()
    phone = world.enroll()
    assert [off_by(world, phone, k) for k in (1, 1, 2, 2)] == [0, 1, 1, 2]


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("base", [0, 20, -20])
def test_sign_ins_move_the_drift_at_most_two_steps_from_the_pair(side: int, base: int) -> None:
    """RFC6238-6-DRIFT: login_drift is 2, so the total drift is at most 22."""
    world = World()
    phone = world.enroll()
    world.clock.advance(100 * STEP)
    world.resync(phone.pair(base))
    for moved in (1, 2):
        for _ in range(2):
            drift = off_by(world, phone, base + side * moved)
        assert drift == base + side * moved
    for _ in range(6):
        assert off_by(world, phone, base + side * 3) == base + side * 2
    assert abs(world.device().drift) <= 22
    assert [event.type for event in world.observed].count(EventType.DRIFT_CHANGED) == 2
    world.clock.advance(10 * STEP)
    assert type(outcome_of(lambda: world.verify(phone.code(base + side * 4)))) is CodeRejected


def test_the_drift_can_move_back() -> None:
    """RFC6238-6-DRIFT: the bound is the distance from the pair."""
    world = World()
    phone = world.enroll()
    for k in (1, 1, 2, 2):
        off_by(world, phone, k)
    assert [off_by(world, phone, k) for k in (1, 1, 0, 0, -1, -1)] == [2, 1, 1, 0, 0, -1]


def test_the_window_follows_the_drift() -> None:
    """RFC6238-6-DRIFT: the window lies around now plus drift."""
    world = World()
    phone = world.enroll()
    world.clock.advance(100 * STEP)
    world.resync(phone.pair(7))
    for k, accepted in ((5, False), (6, True), (8, True), (9, False)):
        world.clock.advance(10 * STEP)
        outcome = outcome_of(lambda k=k: world.verify(phone.code(k)))
        assert isinstance(outcome, Receipt) is accepted


def test_a_policy_may_forbid_drift_changes() -> None:
    """RFC6238-6-DRIFT: with login_drift = 0 sign-ins never change the drift."""
    world = World(Policy(login_drift=0))
    phone = world.enroll()
    assert [off_by(world, phone, 1) for _ in range(5)] == [0] * 5


def test_failures_do_not_change_the_drift() -> None:
    """RFC6238-6-DRIFT: wrong and used codes leave drift and last_offset alone."""
    world = World()
    phone = world.enroll()
    off_by(world, phone, 1)
    error_of(lambda: world.verify(phone.wrong_code()))
    error_of(lambda: world.verify(phone.code(1)))
    assert (world.device().drift, world.device().last_offset) == (0, 1)
    assert off_by(world, phone, 1) == 1


def test_a_resynchronization_restarts_the_count() -> None:
    """SEED-RESYNC: last_offset is 0 after a pair."""
    world = World()
    phone = world.enroll()
    off_by(world, phone, 1)
    world.clock.advance(10 * STEP)
    world.resync(phone.pair())
    assert off_by(world, phone, 1) == 0


def test_a_used_code_of_a_phone_far_ahead_says_when_the_next_one_begins() -> None:
    """RULE-DRIFT: 20 steps by a resync and 2 by signing in. The device needs no replacement."""
    world = World()
    phone = world.enroll()
    world.clock.advance(STEP)
    world.resync(phone.pair(20))
    for ahead in (21, 21, 22, 22, 23):
        off_by(world, phone, ahead)
    assert world.device().drift == 22
    error = error_of(lambda: world.verify(phone.code(23)))
    assert (type(error), error.remedy) == (AlreadyUsed, "wait")
    world.clock.advance(error.retry_after)
    assert isinstance(outcome_of(lambda: world.verify(phone.code(22))), Receipt)
