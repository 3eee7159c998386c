"""Claims: what a session keeps of a second factor, and when a page may rely on it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vmfa import (
    AccessDenied,
    Actor,
    DerivedKeys,
    InvalidType,
    InvalidValue,
    MfaClaim,
    RecordTampered,
)
from world import ALICE, BOB, DAY, HOUR, SERVICE, STEP, World


@pytest.fixture
def world():
    return World()


@pytest.fixture
def phone(world):
    return world.enroll()


@pytest.fixture
def claim(world, phone):
    return world.sign_in(phone).claim


def valid(world, claim, who=ALICE, **arguments):
    return world.registry.claim_is_valid(who, claim, **arguments)


def test_a_claim_survives_json(world, claim):
    stored = json.loads(json.dumps(claim.to_dict()))
    assert MfaClaim.from_dict(stored) == claim
    assert valid(world, MfaClaim.from_dict(stored))


@pytest.mark.parametrize("change", [
    lambda d: None, lambda d: [], lambda d: {}, lambda d: {**d, "v": 2},
    lambda d: {**d, "v": True}, lambda d: {**d, "more": 1},
    lambda d: {k: v for k, v in d.items() if k != "tag"},
    lambda d: {**d, "at": "5"}, lambda d: {**d, "at": 5.0}, lambda d: {**d, "serial": 5},
    lambda d: {**d, "method": "x"}, lambda d: {**d, "tag": "x" * 200}, json.dumps,
])
def test_anything_else_is_not_a_claim(claim, change):
    with pytest.raises(InvalidValue):
        MfaClaim.from_dict(change(claim.to_dict()))


def test_it_is_valid_as_long_as_its_device_is_assigned(world, phone, claim):
    world.clock.advance(365 * DAY)
    assert valid(world, claim)
    world.registry.deactivate(ALICE, by=SERVICE)
    assert not valid(world, claim)
    world.enroll()
    assert not valid(world, claim)


@pytest.mark.parametrize("change", [{"disabled": True}, {"failures": 99}, {"budget": 0}])
def test_a_device_whose_codes_are_refused_leaves_it_valid(world, claim, change):
    world.store_state(device=change)
    assert valid(world, claim)


def test_the_largest_age_is_in_seconds(world, claim):
    world.clock.advance(HOUR)
    assert valid(world, claim, max_age=HOUR)
    world.clock.advance(1)
    assert not valid(world, claim, max_age=HOUR)


def test_it_may_lie_one_period_ahead_of_the_clock(world, claim):
    world.clock.set(claim.at - STEP)
    assert valid(world, claim)
    world.clock.advance(-1)
    assert not valid(world, claim)


@pytest.mark.parametrize("forge", [
    lambda c: replace(c, at=c.at + 1), lambda c: replace(c, tag=""),
    lambda c: replace(c, tag=c.tag[:-1] + ("0" if c.tag[-1] != "0" else "1")),
    lambda c: replace(c, serial="", method="passkey"), lambda c: replace(c, tag="é"),
    lambda c: replace(c, tag="0" * 16 + c.tag[16:]),
])
def test_a_forged_claim_is_not_valid_and_makes_no_actor(world, claim, forge):
    forged = forge(claim)
    assert not valid(world, forged)
    with pytest.raises(AccessDenied):
        world.registry.history(ALICE, by=Actor.signed_in(ALICE, mfa=forged))
    assert valid(world, claim)


def test_it_is_bound_to_its_principal(world, claim):
    world.enroll(BOB)
    serial = world.device(BOB).serial
    assert not valid(world, claim, BOB)
    assert not valid(world, replace(claim, serial=serial), BOB)


def test_a_retired_master_key_still_vouches_for_it(world, claim):
    rotated = World(keys=DerivedKeys(b"n" * 32, bytes(range(32))), store=world.store)
    rotated.clock.set(world.clock())
    assert valid(rotated, claim)


def test_the_claim_of_another_method_does_not_end_with_a_device(world, phone):
    claim = world.registry.method_claim(ALICE, "passkey")
    assert (claim.method, claim.serial, claim.at) == ("passkey", "", world.clock())
    assert valid(world, claim)
    world.registry.deactivate(ALICE, by=SERVICE)
    assert valid(world, claim)
    assert not valid(world, claim, BOB)


def test_a_session_without_a_claim_has_no_valid_claim(world, phone):
    assert valid(world, None) is False
    assert world.operations.claim_is_valid(world.state(), None, world.clock()) is False
    with pytest.raises(InvalidValue):  # the other arguments are checked all the same
        valid(world, None, max_age=-1)
    with pytest.raises(InvalidType):
        valid(world, None, who="alice")
    state = world.state()
    world.overwrite(replace(state, revision=state.revision + 1))
    with pytest.raises(RecordTampered):
        valid(world, None)


def test_an_edited_record_raises(world, claim):
    state = world.state()
    world.overwrite(replace(state, revision=state.revision + 1))
    with pytest.raises(RecordTampered):
        valid(world, claim)


def test_what_is_not_a_claim_is_refused(world, claim):
    for other in ({}, "", 0, claim.to_dict(), claim.serial):
        with pytest.raises(InvalidType, match=r"MfaClaim\.from_dict\(\)"):
            valid(world, other)
    with pytest.raises(InvalidValue):
        valid(world, claim, max_age=-1)
