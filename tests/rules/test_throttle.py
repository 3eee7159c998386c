"""Throttling: failures are counted per device, delay the next attempt and finally disable the
device.
"""

from __future__ import annotations

import pytest

from vmfa import (
    Actor,
    CodeRejected,
    DeviceAlreadyAssigned,
    DeviceDisabled,
    EventType,
    Policy,
    Receipt,
    Throttled,
)
from world import ADMIN, ALICE, HOUR, SERVICE, STEP, World, by_method, error_of, outcome_of


@pytest.mark.parametrize(
    ("failures", "delay"), [(3, 15), (4, 30), (10, 1920), (11, 3600), (50, 3600)]
)
def test_an_attempt_is_evaluated_when_the_delay_is_over(failures: int, delay: int) -> None:
    """RFC4226-7.3-T: one second earlier it is throttled, with the wait."""
    world = World()
    phone = world.enroll()
    at = int(world.clock()) + HOUR
    world.store_state(device={"failures": failures, "failed_at": at})
    for elapsed in (0, delay - 1):
        world.clock.now = at + elapsed
        error = error_of(lambda: world.verify(phone.code()))
        assert (type(error), error.retry_after) == (Throttled, delay - elapsed)
        assert (error.reason, error.remedy) == ("throttled", "wait")
        assert str(delay - elapsed) in error.claimant_message
    world.clock.now = at + delay
    assert world.verify(phone.code()).failures_cleared == failures


def test_failures_announce_the_wait() -> None:
    """The first two failures have no wait, the third 15 s, the fourth 30 s."""
    world = World()
    phone = world.enroll()
    for number, wait in enumerate((None, None, 15, 30, 60), 1):
        error = world.fail(phone)
        assert (type(error), error.reason, error.remedy) == (CodeRejected, "not accepted", "retry")
        assert error.retry_after == wait
        assert (world.device().failures, world.device().failed_at) == (number, world.clock())


def test_a_throttled_attempt_is_not_evaluated() -> None:
    """RFC4226-7.3-T: right and wrong codes get the same answer; nothing is written or counted."""
    world = World()
    phone = world.enroll()
    for _ in range(3):
        world.fail(phone)
    world.clock.advance(1)
    wrong = phone.wrong_code()
    with world.nothing_written():
        errors = [
            error_of(lambda: world.verify(phone.code(1))),
            error_of(lambda: world.verify(wrong)),
            error_of(lambda: world.resync(phone.pair(3))),
            error_of(lambda: world.resync({"code1": wrong, "code2": wrong})),
        ]
    assert {(type(error), error.retry_after) for error in errors} == {(Throttled, 14)}
    assert len({str(error) for error in errors}) == 1


def test_a_success_clears_the_failures() -> None:
    """SP80063B-3.2.2-CAP: only consecutive failures count; the receipt has their number."""
    world = World()
    phone = world.enroll()
    for _ in range(2):
        world.fail(phone)
    assert world.sign_in(phone).failures_cleared == 2
    assert world.device().failures == 0
    assert world.fail(phone).retry_after is None


def test_failures_are_counted_across_machines() -> None:
    """RFC4226-7.3-XSESSION: parallel sessions share the delay of the device."""
    world = World()
    phone = world.enroll()
    elsewhere = [World(store=world.store) for _ in range(3)]
    for machine in elsewhere:
        assert (
            type(error_of(lambda machine=machine: machine.verify(phone.wrong_code())))
            is CodeRejected
        )
    assert world.device().failures == 3
    assert type(error_of(lambda: world.verify(phone.code(1)))) is Throttled


def test_failures_of_one_device_do_not_affect_others() -> None:
    """RFC4226-7.3-T: failures are counted per device."""
    world = World()
    mine, other = world.enroll(), world.enroll(ADMIN)
    untouched = world.state(ADMIN)
    for _ in range(5):
        world.fail(mine)
    assert world.state(ADMIN) == untouched
    assert world.sign_in(other, ADMIN)


def test_of_many_guesses_at_once_only_three_are_evaluated() -> None:
    """RFC4226-7.3-T: and one more each time the delay is over."""
    world = World()
    phone = world.enroll()
    wrong = phone.wrong_code()
    kinds = [type(error_of(lambda: world.verify(wrong))) for _ in range(1000)]
    assert kinds.count(CodeRejected) == 3
    assert kinds.count(Throttled) == 997
    world.clock.advance(15)
    kinds = [type(error_of(lambda: world.verify(wrong))) for _ in range(10)]
    assert kinds == [CodeRejected] + [Throttled] * 9


@pytest.mark.parametrize("ahead", [1, 29, 30, 31, 1000])
def test_the_wait_is_at_most_the_delay_and_one_period(ahead: int) -> None:
    """RULE-CLOCK: a failure time in the future does not lock the user out for long."""
    world = World()
    phone = world.enroll()
    now = int(world.clock())
    world.store_state(device={"failures": 3, "failed_at": now + ahead})
    error = error_of(lambda: world.verify(phone.code(1)))
    assert error.retry_after == 15 + min(ahead, STEP)


def test_after_reanchoring_the_wait_is_at_most_the_delay() -> None:
    """RULE-CLOCK: a clock that ran years ahead locks out no user for years."""
    world = World()
    phone = world.enroll()
    right = world.clock()
    world.clock.advance(10 * 365 * 24 * HOUR)
    for _ in range(11):
        world.fail(phone)
    world.clock.now = right
    world.registry.reanchor(ALICE, by=SERVICE)
    assert error_of(lambda: world.verify(phone.code(1))).retry_after == HOUR
    world.clock.advance(HOUR)
    assert world.verify(phone.code())


def test_of_two_clocks_the_later_dates_the_failure() -> None:
    """RULE-CLOCK: a machine whose clock is a little behind does not shorten the delay.

    The announced wait is the true one, as that machine counts.
    """
    world = World()
    phone = world.enroll()
    for _ in range(2):
        world.fail(phone)
    late = world.clock()
    world.clock.advance(-20)
    assert world.fail(phone).retry_after == 15 + 20
    assert world.device().failed_at == late
    world.clock.now = late + 14
    assert error_of(lambda: world.verify(phone.code(1))).retry_after == 1
    world.clock.now = late + 15
    assert world.verify(phone.code(1))


# Disabled


def test_the_hundredth_consecutive_failure_disables_the_device() -> None:
    """SP80063B-3.2.2-CAP: 99 failures leave the device usable."""
    world = World()
    phone = world.enroll()
    world.clock.advance(30)
    for number in range(1, 100):
        assert type(world.fail(phone)) is CodeRejected
        assert (world.device().failures, world.device().disabled) == (number, False)
    assert world.device().budget > 0
    error = world.fail(phone)
    assert (type(error), error.reason, error.remedy, error.retry_after) == (
        DeviceDisabled,
        "disabled",
        "replace",
        None,
    )
    assert (world.device().failures, world.device().disabled) == (100, True)
    assert world.history_types()[-1] is EventType.DISABLED
    (event,) = [event for event in world.observed if event.type is EventType.DISABLED]
    assert dict(event.details) == {"failures": 100, "budget": world.device().budget}


def test_a_right_code_after_99_failures_still_counts() -> None:
    """SP80063B-3.2.2-CAP: the hundredth attempt is evaluated."""
    world = World()
    phone = world.enroll()
    world.store_state(device={"failures": 99, "failed_at": int(world.clock())})
    world.clock.advance(HOUR)
    assert world.verify(phone.code()).failures_cleared == 99


@pytest.mark.parametrize("cap", [1, 3, 5])
def test_a_policy_may_lower_the_cap(cap: int) -> None:
    """SP80063B-3.2.2-CAP: the device is disabled at the policy's cap, not one failure later."""
    world = World(Policy(failure_cap=cap))
    phone = world.enroll()
    kinds = [type(world.fail(phone)) for _ in range(cap)]
    assert kinds == [CodeRejected] * (cap - 1) + [DeviceDisabled]


def test_codes_do_not_revive_a_disabled_device() -> None:
    """RULE-DISABLED: neither a code nor a pair counts, after any wait; nothing is written."""
    world = World()
    phone = world.enroll()
    world.store_state(device={"disabled": True, "failures": 100})
    for wait in (0, HOUR, 365 * 24 * HOUR):
        world.clock.advance(wait)
        with world.nothing_written():
            for act in (lambda: world.verify(phone.code()), lambda: world.resync(phone.pair())):
                error = error_of(act)
                assert (type(error), error.remedy) == (DeviceDisabled, "replace")


def test_a_disabled_device_is_deactivated_and_replaced() -> None:
    """RULE-DISABLED: an actor with permission deactivates it; the next device starts fresh."""
    world = World()
    world.enroll()
    world.store_state(device={"disabled": True})
    assert world.registry.requires_code(ALICE) is True
    assert world.registry.device(ALICE, by=Actor.signed_in(ALICE)).disabled
    assert type(error_of(world.open)) is DeviceAlreadyAssigned
    removal = world.registry.deactivate(ALICE, by=by_method(ADMIN, world.clock(), Actor.admin))
    world.enroll(binding_code=removal.binding_code)
    device = world.device()
    assert (device.disabled, device.failures, device.budget) == (False, 0, 100)


def test_the_current_policy_decides_the_delay_of_recorded_failures() -> None:
    """RFC4226-7.3-T: with a later start of the delays the same failures cause no wait."""
    world = World(Policy(delay_from=5, delay_seconds=2, delay_cap=8))
    phone = world.enroll()
    world.store_state(device={"failures": 4, "failed_at": int(world.clock())})
    assert isinstance(outcome_of(lambda: world.verify(phone.code(1))), Receipt)
