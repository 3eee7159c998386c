"""A thief who knows the password has the device disabled and waits for its removal."""

from __future__ import annotations

import pytest

from vmfa import AccessDenied, Actor, DeviceDisabled, Policy, Receipt
from world import ALICE, HOUR, SERVICE, STEP, SUPPORT, World, error_of, outcome_of


@pytest.fixture(params=["default", "strict", "known clients"])
def world(request):
    policies = {
        "default": Policy(),
        "strict": Policy.strict(),
        "known clients": Policy(known_clients=True),
    }
    return World(policies[request.param])


def guess_until_nothing_is_evaluated(world, phone):
    """Present wrong codes, an hour apart, until a code is not evaluated. Return that error."""
    for _ in range(200):
        world.clock.advance(HOUR)
        error = error_of(lambda: world.verify(phone.wrong_code()))
        if error.reason != "not accepted":
            return error
    raise AssertionError("200 guesses were evaluated")


def test_a_thief_does_not_enroll_after_the_removal_and_the_owner_does(world):
    phone = world.enroll()
    thief = owner = Actor.signed_in(ALICE)  # both know the password
    guess_until_nothing_is_evaluated(world, phone)
    world.store_state(device={"disabled": True})  # for whatever reason
    removal = world.registry.deactivate(ALICE, by=SUPPORT, reason="the owner called")
    assert removal.binding_code is not None
    for guess in (None, "", "AAAA-AAAA-AAAA-AAAA-AAAA-AAAA", removal.serial):
        error = error_of(lambda guess=guess: world.open(by=thief, binding_code=guess))
        assert (type(error), error.missing) == (AccessDenied, "binding code")
    new_phone = world.enroll(by=owner, binding_code=removal.binding_code)
    assert isinstance(outcome_of(lambda: world.sign_in(new_phone)), Receipt)


def test_an_owner_who_lost_the_code_gets_another_one(world):
    world.enroll()
    world.store_state(device={"disabled": True})
    first = world.registry.deactivate(ALICE, by=SERVICE)
    second = world.registry.issue_binding_code(ALICE, by=SUPPORT)
    error = error_of(lambda: world.open(binding_code=first.binding_code))
    assert isinstance(error, AccessDenied)
    world.enroll(binding_code=second.code)


def test_a_cancelled_wizard_does_not_use_the_code_up(world):
    world.enroll()
    world.store_state(device={"disabled": True})
    code = world.registry.deactivate(ALICE, by=SERVICE).binding_code
    opened = world.open(binding_code=code)
    world.registry.cancel_enrollment(ALICE, by=Actor.signed_in(ALICE), session=opened.session_id)
    world.enroll(binding_code=code)
    assert world.state().binding is None


def test_the_default_policy_never_disables_by_patient_guessing():
    world = World()
    phone = world.enroll()
    for _ in range(300):
        world.clock.advance(12 * HOUR)
        outcome_of(lambda: world.verify(phone.wrong_code()))
        world.clock.advance(STEP)
        outcome_of(lambda: world.verify(phone.code()))
    assert not world.device().disabled


def test_only_100_failures_in_a_row_disable():
    world = World(Policy(budget=10_000, budget_warning=25))
    phone = world.enroll()
    for _ in range(99):
        world.clock.advance(HOUR)
        error_of(lambda: world.verify(phone.wrong_code()))
    assert not world.device().disabled
    world.clock.advance(HOUR)
    assert isinstance(error_of(lambda: world.verify(phone.wrong_code())), DeviceDisabled)
    assert world.device().disabled
