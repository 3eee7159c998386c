"""Saved recovery codes: each permits the owner exactly one operation, removing the device."""

from __future__ import annotations

import pickle
from dataclasses import asdict, replace

import pytest

from vmfa import (
    AccessDenied,
    Actor,
    EventType,
    InvalidType,
    InvalidValue,
    Policy,
    RecordTampered,
    RecoveryCodeRejected,
    Throttled,
)
from world import ALICE, BOB, HOUR, ROOT, SERVICE, SUPPORT, World, by_method, error_of

POLICY = Policy(recovery_codes=3, known_clients=True)


@pytest.fixture
def world():
    return World(POLICY)


@pytest.fixture
def codes(world):
    opened = world.open()
    return world.confirm(opened, world.phone(opened).pair()).recovery_codes.codes


def remove(world, code, who=ALICE):
    return world.registry.deactivate(who, by=Actor.with_recovery_code(who, code))


def test_they_are_shown_to_the_owner_who_confirms(codes):
    assert len(codes) == len(set(codes)) == 3
    for code in codes:
        groups = code.split("-")
        assert [len(group) for group in groups] == [4] * 6
        assert set("".join(groups)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")


def test_another_person_who_confirms_does_not_see_any(world):
    opened = world.open(by=SERVICE)
    report = world.confirm(opened, world.phone(opened).pair(), by=SERVICE)
    assert report.recovery_codes is None
    assert world.device().recovery.codes == ()


def test_root_has_none(world):
    opened = world.open(ROOT)
    report = world.confirm(opened, world.phone(opened).pair(), ROOT)
    assert report.recovery_codes is None
    with pytest.raises(InvalidValue):
        Actor.with_recovery_code(ROOT, "x")


def test_by_default_there_are_none():
    world = World()
    opened = world.open()
    assert world.confirm(opened, world.phone(opened).pair()).recovery_codes is None


def test_the_record_keeps_only_digests(world, codes):
    stored = world.state().envelope.document
    for code in codes:
        assert code not in stored
        assert code.replace("-", "") not in stored


@pytest.mark.parametrize("spelling", [
    str, str.lower, lambda c: c.replace("-", ""), lambda c: c.replace("-", " "),
    lambda c: f"  {c}\n",
])
def test_a_code_removes_the_device_however_it_is_spelled(world, codes, spelling):
    removed = remove(world, spelling(codes[1]))
    assert removed.binding_code is None  # the removal counts as the owner's
    assert world.state().device is None
    assert world.history_types()[-1] is EventType.DEACTIVATED


def test_the_owner_needs_no_binding_code_afterwards():
    world = World(Policy.strict().replace(recovery_codes=1))
    opened = world.open()
    (code,) = world.confirm(opened, world.phone(opened).pair()).recovery_codes.codes
    assert remove(world, code).binding_code is None
    world.enroll()
    assert world.device().recovery.failures == 0


def test_one_use_destroys_the_set(world, codes):
    remove(world, codes[0])
    world.enroll()
    with pytest.raises(RecoveryCodeRejected):
        remove(world, codes[1])


def test_a_code_is_bound_to_its_principal(world, codes):
    world.enroll(BOB)
    with pytest.raises(RecoveryCodeRejected):
        remove(world, codes[0], BOB)


@pytest.mark.parametrize("change", [
    {"disabled": True}, {"failures": 99}, {"budget": 0}, {"failures": 80},
])
def test_they_work_for_a_device_whose_codes_are_not_evaluated(world, codes, change):
    world.store_state(device=change)
    remove(world, codes[0])
    assert world.state().device is None


def test_a_disabled_device_removed_by_its_owner_needs_no_binding_code(world, codes):
    world.store_state(device={"disabled": True})
    assert remove(world, codes[0]).binding_code is None


class TestWrongCode:
    def test_it_is_counted_and_touches_no_other_counter(self, world, codes):
        before = world.device()
        error = error_of(lambda: remove(world, "AAAA-" * 5 + "AAAA"))
        assert type(error) is RecoveryCodeRejected
        assert error.retry_after is None
        device = world.device()
        assert device.recovery.failures == 1
        assert (device.failures, device.known_failures, device.budget, device.disabled) == (
            before.failures, before.known_failures, before.budget, False,
        )
        assert world.history_types()[-1] is EventType.RECOVERY_REJECTED
        assert world.observed[-1].details == (("failures", 1),)

    def test_a_failure_in_the_future_delays_by_an_hour_and_a_period(self, world, codes):
        """RULE-RECOVERY-CODES: a clock that ran ahead locks out for no longer."""
        later = world.clock() + 9 * HOUR
        recovery = replace(world.device().recovery, failures=10, failed_at=later)
        world.store_state(device={"recovery": recovery})
        error = error_of(lambda: remove(world, codes[0]))
        assert (type(error), error.retry_after) == (Throttled, HOUR + 30)

    def test_from_the_tenth_on_one_attempt_an_hour_is_evaluated(self, world, codes):
        for _ in range(9):
            assert error_of(lambda: remove(world, "x")).retry_after is None
        assert error_of(lambda: remove(world, "x")).retry_after == HOUR
        with world.nothing_written():
            error = error_of(lambda: remove(world, codes[0]))
        assert (type(error), error.retry_after) == (Throttled, HOUR)
        world.clock.advance(HOUR - 1)
        assert error_of(lambda: remove(world, codes[0])).retry_after == 1
        world.clock.advance(1)
        remove(world, codes[0])

    @pytest.mark.parametrize("right", [True, False])
    def test_the_record_is_checked_first(self, world, codes, right):
        state = world.state()
        world.overwrite(replace(state, revision=state.revision + 1))
        with world.nothing_written(), pytest.raises(RecordTampered):
            remove(world, codes[0] if right else "wrong")

    def test_a_device_without_codes_refuses_without_counting(self):
        world = World()
        world.enroll()
        with world.nothing_written(), pytest.raises(AccessDenied):
            remove(world, "AAAA")


@pytest.mark.parametrize("operation", [
    lambda world, by: world.registry.device(ALICE, by=by),
    lambda world, by: world.registry.history(ALICE, by=by),
    lambda world, by: world.registry.open_enrollment(ALICE, by=by, label="x"),
    lambda world, by: world.registry.resync(ALICE, code1="1", code2="2", by=by),
    lambda world, by: world.registry.replace_recovery_codes(ALICE, by=by),
    lambda world, by: world.registry.forget_clients(ALICE, by=by),
    lambda world, by: world.registry.deactivate(BOB, by=by),
])
def test_everything_else_is_refused_without_evaluating_the_code(world, codes, operation):
    world.enroll(BOB)
    with world.nothing_written(), pytest.raises(AccessDenied):
        operation(world, Actor.with_recovery_code(ALICE, "wrong"))
    assert world.device().recovery.failures == 0


class TestReplace:
    def test_the_old_ones_are_void(self, world, codes):
        owner = by_method(ALICE, world.clock())
        new = world.registry.replace_recovery_codes(ALICE, by=owner).codes
        assert len(new) == 3
        assert not set(new) & set(codes)
        with pytest.raises(RecoveryCodeRejected):
            remove(world, codes[0])
        remove(world, new[2])

    @pytest.mark.parametrize("actor", [Actor.signed_in(ALICE), SERVICE, SUPPORT])
    def test_only_the_owner_with_mfa(self, world, codes, actor):
        with pytest.raises(AccessDenied):
            world.registry.replace_recovery_codes(ALICE, by=actor)

    def test_the_policy_must_have_them(self):
        world = World()
        world.enroll()
        with pytest.raises(InvalidValue):
            world.registry.replace_recovery_codes(ALICE, by=by_method(ALICE, world.clock()))


def test_they_do_not_print_or_pickle(world):
    opened = world.open()
    report = world.confirm(opened, world.phone(opened).pair())
    actor = Actor.with_recovery_code(ALICE, report.recovery_codes.codes[0])
    shown = f"{report!r} {asdict(report)} {report.recovery_codes!r}"
    shown += f"{actor!r} {actor} {asdict(actor)}"
    for code in report.recovery_codes.codes:
        assert code not in shown
        assert code.encode() not in pickle.dumps(report) + pickle.dumps(actor)
    with pytest.raises(InvalidType):
        pickle.dumps(report.recovery_codes)
