"""The throttle: failures are counted per device, delay the next attempt, and at last disable the device."""

from __future__ import annotations

import pytest

from vmfa import Actor, CodeRejected, DeviceAlreadyAssigned, DeviceDisabled, EventType, Policy, Receipt, Throttled

from .world import ALICE, BOSS, HOUR, SERVICE, World, answer, by_method, counted_codes, refusal


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 0), (1, 0), (2, 0), (3, 15), (4, 30), (5, 60), (6, 120), (7, 240), (8, 480), (9, 960), (10, 1920), (11, 3600),
     (12, 3600), (45, 3600), (99, 3600), (10_000, 3600)],
)
def test_the_delay_doubles_from_the_third_failure_to_an_hour(failures: int, seconds: int) -> None:
    """RFC4226-7.3-DELAY: min(15 s * 2^(n-3), 1 h) from n = 3 on; however large n is."""
    assert Policy().delay(failures) == seconds


@pytest.mark.parametrize(("failures", "delay"), [(3, 15), (4, 30), (10, 1920), (11, 3600), (50, 3600)])
def test_the_next_attempt_waits_that_long(failures: int, delay: int) -> None:
    """RFC4226-7.3-T: one second too early is throttled, with the wait; on the second it is evaluated."""
    world = World()
    phone = world.enroll()
    at = int(world.clock()) + HOUR
    world.put(device={"failures": failures, "failed_at": at})
    for elapsed in (0, delay - 1):
        world.clock.now = at + elapsed
        error = refusal(lambda: world.verify(phone.code()))
        assert (type(error), error.retry_after) == (Throttled, delay - elapsed)
        assert (error.reason, error.remedy) == ("throttled", "wait")
        assert str(delay - elapsed) in error.claimant_message
    world.clock.now = at + delay
    assert world.verify(phone.code()).failures_cleared == failures


def test_failures_announce_the_wait() -> None:
    """ANSWER: the first two failures ask for no wait; the third for 15 s, the fourth for 30 s."""
    world = World()
    phone = world.enroll()
    for number, wait in enumerate((None, None, 15, 30, 60), 1):
        error = world.fail(phone)
        assert (type(error), error.reason, error.remedy) == (CodeRejected, "not accepted", "retry")
        assert error.retry_after == wait
        assert (world.device().failures, world.device().failed_at) == (number, world.clock())


@pytest.mark.parametrize("right", [True, False])
def test_a_throttled_attempt_is_not_evaluated(right: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC4226-7.3-T: right or wrong get the same answer: no HMAC, no write, no count."""
    world = World()
    phone = world.enroll()
    for _ in range(3):
        world.fail(phone)
    world.clock.advance(1)
    wrong = phone.wrong_code()
    code, pair = (phone.code(1), phone.pair(3)) if right else (wrong, {"code1": wrong, "code2": wrong})
    with world.nothing_written(), counted_codes(monkeypatch) as computed:
        for error in (refusal(lambda: world.verify(code)), refusal(lambda: world.resync(pair))):
            assert (type(error), error.retry_after, str(error)) == (
                Throttled, 14, "the next attempt is evaluated in 14 seconds",
            )
    assert computed == []


def test_a_success_forgets_the_failures() -> None:
    """SP80063B-3.2.2-CAP: consecutive failures: a success clears them, and the receipt says how many."""
    world = World()
    phone = world.enroll()
    for _ in range(2):
        world.fail(phone)
    assert world.sign_in(phone).failures_cleared == 2
    assert world.device().failures == 0
    assert world.fail(phone).retry_after is None


def test_failures_are_counted_across_machines() -> None:
    """RFC4226-7.3-XSESSION: per device, wherever the attempts arrive: parallel sessions share the delay."""
    world = World()
    phone = world.enroll()
    elsewhere = [World(store=world.store) for _ in range(3)]
    for machine in elsewhere:
        assert type(refusal(lambda machine=machine: machine.verify(phone.wrong_code()))) is CodeRejected
    assert world.device().failures == 3
    assert type(refusal(lambda: world.verify(phone.code(1)))) is Throttled


def test_failures_of_one_device_touch_no_other() -> None:
    """RFC4226-7.3-T: per device: nobody else is throttled, none but the addressed device changes."""
    world = World()
    mine, other = world.enroll(), world.enroll(BOSS)
    untouched = world.state(BOSS)
    for _ in range(5):
        world.fail(mine)
    assert world.state(BOSS) == untouched
    assert world.sign_in(other, BOSS)


def test_no_more_verdicts_leave_than_the_delay_allows() -> None:
    """RFC4226-7.3-T: of a thousand guesses at once three are evaluated; one more each time the delay is over."""
    world = World()
    phone = world.enroll()
    wrong = phone.wrong_code()
    kinds = [type(refusal(lambda: world.verify(wrong))) for _ in range(1000)]
    assert kinds.count(CodeRejected) == 3
    assert kinds.count(Throttled) == 997
    world.clock.advance(15)
    kinds = [type(refusal(lambda: world.verify(wrong))) for _ in range(10)]
    assert kinds == [CodeRejected] + [Throttled] * 9


@pytest.mark.parametrize("ahead", [1, 29, 30])
def test_a_delay_never_exceeds_its_own_length(ahead: int) -> None:
    """RULE-CLOCK: the delay counts from the last failure and is clamped: a clock that ran ahead adds nothing."""
    world = World()
    phone = world.enroll()
    now = int(world.clock())
    world.put(device={"failures": 3, "failed_at": now + ahead})
    assert refusal(lambda: world.verify(phone.code(1))).retry_after == 15
    world.clock.now = now + ahead
    assert refusal(lambda: world.verify(phone.code(1))).retry_after == 15
    world.clock.now = now + ahead + 15
    assert world.verify(phone.code(0)) if ahead + 15 >= 30 else world.verify(phone.code(1))


def test_a_clock_that_ran_years_ahead_locks_nobody_for_years() -> None:
    """RULE-CLOCK: after re-anchoring, the longest wait is the delay itself."""
    world = World()
    phone = world.enroll()
    right = world.clock()
    world.clock.advance(10 * 365 * 24 * HOUR)
    for _ in range(11):
        world.fail(phone)
    world.clock.now = right
    world.registry.reanchor(ALICE, by=SERVICE)
    assert refusal(lambda: world.verify(phone.code(1))).retry_after == HOUR
    world.clock.advance(HOUR)
    assert world.verify(phone.code())


def test_of_two_clocks_the_later_dates_the_failure() -> None:
    """RULE-CLOCK: a machine whose clock is a little behind shortens nobody's delay."""
    world = World()
    phone = world.enroll()
    for _ in range(2):
        world.fail(phone)
    late = world.clock()
    world.clock.advance(-20)
    assert world.fail(phone).retry_after == 15
    assert world.device().failed_at == late
    world.clock.now = late + 14
    assert refusal(lambda: world.verify(phone.code(1))).retry_after == 1


# Disabled


def test_the_hundredth_consecutive_failure_disables() -> None:
    """SP80063B-3.2.2-CAP: 99 leave the device usable; the hundredth disables it and is answered so."""
    world = World()
    phone = world.enroll()
    world.clock.advance(30)
    for number in range(1, 100):
        assert type(world.fail(phone)) is CodeRejected
        assert (world.device().failures, world.device().disabled) == (number, False)
    assert world.device().budget > 0
    error = world.fail(phone)
    assert (type(error), error.reason, error.remedy, error.retry_after) == (DeviceDisabled, "disabled", "replace", None)
    assert "administrator" in error.claimant_message
    assert (world.device().failures, world.device().disabled) == (100, True)
    assert world.happened()[-1] is EventType.DISABLED
    assert [event.type for event in world.told[-2:]] == [EventType.REJECTED, EventType.DISABLED]
    assert world.told[-1].details == (("failures", 100), ("budget", world.device().budget))


def test_a_right_code_after_99_failures_still_counts() -> None:
    """SP80063B-3.2.2-CAP: at most 100, so the hundredth attempt is evaluated."""
    world = World()
    phone = world.enroll()
    world.put(device={"failures": 99, "failed_at": int(world.clock())})
    world.clock.advance(HOUR)
    assert world.verify(phone.code()).failures_cleared == 99


@pytest.mark.parametrize("cap", [1, 3, 5])
def test_a_policy_may_lower_the_cap(cap: int) -> None:
    """SP80063B-3.2.2-CAP: at the policy's cap, not one failure later."""
    world = World(Policy(failure_cap=cap))
    phone = world.enroll()
    kinds = [type(world.fail(phone)) for _ in range(cap)]
    assert kinds == [CodeRejected] * (cap - 1) + [DeviceDisabled]


def test_a_disabled_device_is_not_revived_by_codes() -> None:
    """RULE-DISABLED: neither a code nor a pair counts, however long one waits; nothing is written."""
    world = World()
    phone = world.enroll()
    world.put(device={"disabled": True, "failures": 100})
    for wait in (0, HOUR, 365 * 24 * HOUR):
        world.clock.advance(wait)
        with world.nothing_written():
            for act in (lambda: world.verify(phone.code()), lambda: world.resync(phone.pair())):
                error = refusal(act)
                assert (type(error), error.remedy) == (DeviceDisabled, "replace")


def test_disabled_means_deactivate_and_enroll_anew() -> None:
    """RULE-DISABLED: a field beside the sync state; the way out is deactivation by somebody who may."""
    world = World()
    world.enroll()
    world.put(device={"disabled": True})
    assert world.registry.requires_code(ALICE) is True
    assert world.registry.device(ALICE, by=Actor.signed_in(ALICE)).disabled
    assert type(refusal(world.open)) is DeviceAlreadyAssigned
    world.registry.deactivate(ALICE, by=by_method(BOSS, world.clock(), Actor.admin))
    world.enroll()
    device = world.device()
    assert (device.disabled, device.failures, device.budget) == (False, 0, 100)


def test_a_policy_counts_what_an_earlier_one_recorded() -> None:
    """RFC4226-7.3-T: the numbers are the policy's of today: with a later start the same failures ask for no wait."""
    world = World(Policy(delay_from=5, delay_seconds=2, delay_cap=8))
    phone = world.enroll()
    world.put(device={"failures": 4, "failed_at": int(world.clock())})
    assert isinstance(answer(lambda: world.verify(phone.code(1))), Receipt)
    assert [Policy(delay_from=5, delay_seconds=2, delay_cap=8).delay(n) for n in (4, 5, 6, 7, 8)] == [0, 2, 4, 8, 8]
