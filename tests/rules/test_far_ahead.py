"""After a clock that ran far ahead: what still helps, and which remedy the user hears."""

from __future__ import annotations

import pytest

from vmfa import AlreadyUsed, ClockWentBack, PairRejected
from world import ALICE, DAY, SERVICE, STEP, SUPPORT, World, by_method, error_of


@pytest.fixture
def world():
    """Return a world in which Alice signed in before the clock was set back by a year."""
    world = World()
    world.phone_of_alice = world.enroll()
    world.clock.advance(365 * DAY)
    world.verify(world.phone_of_alice.code())
    world.clock.advance(-365 * DAY)
    return world


def test_a_used_code_far_ahead_has_the_remedy_replace(world):
    """RULE-REPLACE: the error does not advise the user to wait for a year."""
    world.registry.reanchor(ALICE, by=SERVICE)
    error = error_of(lambda: world.verify(world.phone_of_alice.code()))
    assert (type(error), error.remedy, error.message_id) == (AlreadyUsed, "replace", "replace")


def test_a_resynchronization_has_the_remedy_replace_and_is_not_counted(world):
    """RULE-REPLACE"""
    world.registry.reanchor(ALICE, by=SERVICE)
    with world.nothing_written():
        error = error_of(lambda: world.resync(world.phone_of_alice.pair()))
    assert (type(error), error.remedy) == (PairRejected, "replace")


@pytest.mark.parametrize("beyond", [0, 1])
def test_within_the_reach_of_mark_spent_the_remedy_is_to_wait(beyond):
    """RULE-REPLACE: beyond it by one step, the device has to be replaced."""
    world = World()
    phone = world.enroll()
    policy = world.operations.policy
    reach = policy.resync_forward + policy.window + 2 + beyond
    world.clock.advance(reach * STEP)
    world.verify(phone.code())
    world.clock.advance(-reach * STEP)
    world.registry.reanchor(ALICE, by=SERVICE)
    error = error_of(lambda: world.verify(phone.code()))
    assert error.remedy == ("replace" if beyond else "wait")


@pytest.mark.parametrize("by", [SUPPORT, SERVICE])
def test_support_and_services_remove_the_device_whatever_the_clock_says(world, by):
    """RULE-EVIDENCE: their evidence does not depend on it."""
    world.registry.deactivate(ALICE, by=by)
    assert not world.registry.requires_code(ALICE)


def test_the_owner_has_to_wait_until_the_clock_is_right(world):
    """RULE-EVIDENCE, RULE-CLOCK"""
    me = by_method(ALICE, world.clock())
    assert type(error_of(lambda: world.registry.deactivate(ALICE, by=me))) is ClockWentBack
