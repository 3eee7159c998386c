"""Sign-ins in the history, if the policy asks for them."""

from __future__ import annotations

from vmfa import AlreadyUsed, EventType, Policy
from world import ALICE, DAY, SERVICE, STEP, World, error_of


def test_sign_ins_are_stored_in_order_and_pruned_like_the_rest():
    """RULE-SIGN-INS"""
    world = World(policy=Policy(store_sign_ins=True))
    phone = world.enroll()
    world.fail(phone)
    world.clock.advance(STEP)
    world.verify(phone.code())
    assert world.history_types()[-2:] == [EventType.REJECTED, EventType.ACCEPTED]
    world.clock.advance(DAY)
    world.registry.prune_history(ALICE, by=SERVICE, older_than=int(world.clock()))
    assert EventType.ACCEPTED not in world.history_types()
    assert EventType.ASSIGNED in world.history_types()


def test_other_reports_are_not_stored():
    """RULE-SIGN-INS: refusals and reads are for the observer only."""
    world = World(policy=Policy(store_sign_ins=True))
    phone = world.enroll()
    code = phone.code(1)
    world.verify(code)
    before = world.history_types()
    assert type(error_of(lambda: world.verify(code))) is AlreadyUsed
    assert world.history_types() == before
