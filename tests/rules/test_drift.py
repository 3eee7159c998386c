"""Drift: the device's clock minus the verifier's; sign-in moves it slowly, and not far."""

from __future__ import annotations

import pytest

from support import Phone
from vmfa import CodeRejected, EventType, Policy, Receipt

from .world import STEP, World, answer, refusal


def off_by(world: World, phone: Phone, k: int) -> int:
    """Sign in ten steps later with the code that is *k* steps off the verifier's clock; the drift afterwards."""
    world.clock.advance(10 * STEP)
    return world.verify(phone.code(k)).drift


@pytest.mark.parametrize("side", [-1, 1])
def test_two_acceptances_off_on_the_same_side_move_it_one_step(side: int) -> None:
    """RFC6238-6-DRIFT: one deviation moves nothing, a second on the same side moves one step, always an event."""
    world = World()
    phone = world.enroll()
    assert off_by(world, phone, side) == 0
    assert (world.device().drift, world.device().last_offset) == (0, side)
    assert EventType.DRIFT_CHANGED not in world.happened()
    assert off_by(world, phone, side) == side
    assert (world.device().drift, world.device().last_offset, world.device().synced_drift) == (side, 0, 0)
    event = world.store.history(world.state().id)[-1]
    assert (event.type, event.details) == (EventType.DRIFT_CHANGED, (("before", 0), ("after", side)))
    assert [told.what for told in world.told[-2:]] == [EventType.ACCEPTED, EventType.DRIFT_CHANGED]


@pytest.mark.parametrize("between", [0, 1])
def test_an_acceptance_in_between_starts_anew(between: int) -> None:
    """RFC6238-6-DRIFT: two *successive* ones on the *same* side: on time or on the other side in between, and not."""
    world = World()
    phone = world.enroll()
    for k in (-1, between, -1):
        assert off_by(world, phone, k) == 0
    assert off_by(world, phone, -1) == -1


def test_each_move_needs_two_more() -> None:
    """RFC6238-6-DRIFT: after a move the counting starts anew; sides are taken from the drift, not from now."""
    world = World()
    phone = world.enroll()
    assert [off_by(world, phone, k) for k in (1, 1, 2, 2)] == [0, 1, 1, 2]


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("base", [0, 20, -20])
def test_login_moves_it_no_further_than_two_from_the_pair(side: int, base: int) -> None:
    """RFC6238-6-DRIFT: login drift 2, so total drift 22: never further from what the last pair set."""
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
    assert world.happened().count(EventType.DRIFT_CHANGED) == 2
    world.clock.advance(10 * STEP)
    assert type(answer(lambda: world.verify(phone.code(base + side * 4)))) is CodeRejected


def test_it_moves_back_as_it_moved_away() -> None:
    """RFC6238-6-DRIFT: the bound is two from the pair, so the way back is open."""
    world = World()
    phone = world.enroll()
    for k in (1, 1, 2, 2):
        off_by(world, phone, k)
    assert [off_by(world, phone, k) for k in (1, 1, 0, 0, -1, -1)] == [2, 1, 1, 0, 0, -1]


def test_the_window_follows_the_drift() -> None:
    """RFC6238-6-DRIFT: the recorded drift is applied: the window lies around now plus drift."""
    world = World()
    phone = world.enroll()
    world.clock.advance(100 * STEP)
    world.resync(phone.pair(7))
    for k, accepted in ((5, False), (6, True), (8, True), (9, False)):
        world.clock.advance(10 * STEP)
        found = answer(lambda k=k: world.verify(phone.code(k)))
        assert isinstance(found, Receipt) is accepted


def test_a_policy_may_forbid_it() -> None:
    """RFC6238-6-DRIFT: login_drift = 0: sign-in never moves it."""
    world = World(Policy(login_drift=0))
    phone = world.enroll()
    assert [off_by(world, phone, 1) for _ in range(5)] == [0] * 5


def test_failures_do_not_move_it() -> None:
    """RFC6238-6-DRIFT: only acceptances count, wrong and spent codes leave drift and last_offset alone."""
    world = World()
    phone = world.enroll()
    off_by(world, phone, 1)
    refusal(lambda: world.verify(phone.wrong_code()))
    refusal(lambda: world.verify(phone.code(1)))
    assert (world.device().drift, world.device().last_offset) == (0, 1)
    assert off_by(world, phone, 1) == 1


def test_a_pair_forgets_the_lean() -> None:
    """SEED-RESYNC: a resynchronisation starts the counting anew."""
    world = World()
    phone = world.enroll()
    off_by(world, phone, 1)
    world.clock.advance(10 * STEP)
    world.resync(phone.pair())
    assert off_by(world, phone, 1) == 0
