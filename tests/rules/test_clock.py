"""A clock gone back is the environment's fault: named, not counted, and mended by a trusted service."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vmfa import (
    Actor,
    AlreadyUsed,
    ClockWentBack,
    EventType,
    NoDevice,
    Parameters,
    Policy,
    TooManySessions,
    UnsafePlainKeys,
    VmfaError,
)
from vmfa.models import PendingBinding

from .world import ALICE, DAY, RFC_KEY, SERVICE, STEP, World, answer, by_method, refusal

ME = Actor.signed_in(ALICE)


def test_the_record_keeps_the_highest_committed_time() -> None:
    """RULE-CLOCK: seen_at grows with each commit, and only then."""
    world = World()
    phone = world.enroll()
    assert world.state().seen_at == world.clock()
    world.sign_in(phone)
    assert world.state().seen_at == world.clock()
    committed = int(world.clock())
    world.clock.advance(5)
    refusal(lambda: world.verify(phone.code()))  # already used: no commit
    assert world.state().seen_at == committed
    world.clock.advance(-10)
    refusal(lambda: world.verify(phone.wrong_code()))
    assert world.state().seen_at == committed


@pytest.mark.parametrize("parameters", [Parameters(), Parameters(period=60)])
def test_one_step_back_is_tolerated_one_second_more_is_not(parameters: Parameters) -> None:
    """RULE-CLOCK: now < seen_at - X is refused; times are compared, not steps."""
    world = World(Policy(offers=(parameters,)))
    phone = world.enroll()
    last = world.clock()
    world.clock.now = last - parameters.period
    refusal(lambda: world.verify(phone.wrong_code()))
    assert world.device().failures == 1
    world.clock.now = last - parameters.period - 1
    with world.nothing_written():
        error = refusal(lambda: world.verify(phone.wrong_code()))
    assert type(error) is ClockWentBack
    assert error.reason == "clock went back"


@pytest.mark.parametrize("second", [0, 15, 29])
def test_times_are_compared_not_steps(second: int) -> None:
    """RULE-CLOCK: 31 s back is refused in whatever second of its step, 30 s back is not."""
    world = World(now=33_333_333 * STEP + second)
    world.enroll()
    last = world.clock()
    for back, went_back in ((30, False), (31, True)):
        world.clock.now = last - back
        found = answer(lambda: world.verify("000000"))
        assert (type(found) is ClockWentBack) is went_back


def test_nothing_is_counted_and_every_operation_says_it() -> None:
    """RULE-CLOCK: code, pair, opening, confirming, cancelling, removing, adopting: one named error, no write."""
    world = World(imported_keys=UnsafePlainKeys())
    phone = world.enroll()
    admin = by_method(ALICE.user(ALICE.account, "u-0001"), world.clock() - 100, Actor.admin)
    world.clock.advance(-100)
    with world.nothing_written():
        for act in (
            lambda: world.verify(phone.wrong_code()),
            lambda: world.resync(phone.pair()),
            lambda: world.registry.deactivate(ALICE, by=admin),
        ):
            assert type(refusal(act)) is ClockWentBack
    world = World(imported_keys=UnsafePlainKeys())
    opened = world.open()
    world.clock.advance(-100)
    with world.nothing_written():
        for act in (
            world.open,
            lambda: world.confirm(opened, world.phone(opened).pair()),
            lambda: world.registry.cancel_enrollment(ALICE, by=ME),
            lambda: world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, source="test"),
        ):
            assert type(refusal(act)) is ClockWentBack


def test_reading_needs_no_clock() -> None:
    """RULE-CLOCK: state, history and whether a code is required can be read while the clock is wrong."""
    world = World()
    world.enroll()
    world.clock.advance(-100)
    assert world.registry.device(ALICE, by=ME)
    assert world.registry.history(ALICE, by=SERVICE)
    assert world.registry.requires_code(ALICE)


# Re-anchoring


def test_a_trusted_service_re_anchors() -> None:
    """RULE-CLOCK: the present counts again, audited with the time that was given up."""
    world = World()
    phone = world.enroll()
    right = int(world.clock())
    world.clock.advance(DAY)
    receipt = world.verify(phone.code())
    world.clock.now = right
    assert type(refusal(lambda: world.verify(phone.code()))) is ClockWentBack
    world.registry.reanchor(ALICE, by=SERVICE)
    assert world.state().seen_at == right
    event = world.store.history(ALICE)[-1]
    assert (event.type, event.details, event.actor) == (
        EventType.REANCHORED, (("seen_at", right + DAY),), "trusted service importer",
    )
    assert world.device().last_step == receipt.step


def test_it_never_lowers_last_step() -> None:
    """RULE-CLOCK: spent stays spent: after re-anchoring, codes up to last_step are already used."""
    world = World()
    phone = world.enroll()
    right = int(world.clock())
    world.clock.advance(10 * STEP)
    spent = world.verify(phone.code()).step
    world.clock.now = right
    world.registry.reanchor(ALICE, by=SERVICE)
    for _ in range(11):
        assert type(refusal(lambda: world.verify(phone.code()))) is AlreadyUsed
        assert world.device().last_step == spent
        world.clock.advance(STEP)
    assert world.verify(phone.code()).step == spent + 1


def test_times_that_lie_ahead_become_now() -> None:
    """RULE-CLOCK: failure, budget, session, enrollment_times and binding code no longer wait for a time that never was."""
    world = World()
    world.enroll()
    right = int(world.clock())
    ahead = right + 1000 * DAY
    world.put(device={"failed_at": ahead, "budget_updated_at": ahead, "failures": 3}, seen_at=ahead)
    before = world.device()
    world.registry.reanchor(ALICE, by=SERVICE)
    assert world.device() == replace(before, failed_at=right, budget_updated_at=right)

    world = World()
    opened = world.open()
    session = world.state().enrollment
    world.put(
        enrollment=replace(session, opened_at=ahead, expires_at=ahead + 900), seen_at=ahead, enrollment_times=(ahead,) * 10,
        binding=PendingBinding(digest="", expires_at=ahead + DAY),
    )
    world.registry.reanchor(ALICE, by=SERVICE)
    state = world.state()
    assert (state.enrollment.opened_at, state.enrollment.expires_at) == (right, right + 900)
    assert (state.enrollment_times, state.binding.expires_at) == ((right,) * 10, right + DAY)
    assert refusal(world.open).retry_after == DAY
    assert type(refusal(world.open)) is TooManySessions
    assert world.confirm(opened, world.phone(opened).pair()).steps_off == 0


def test_times_in_the_past_stay() -> None:
    """RULE-CLOCK: re-anchoring changes no time that has been: it is no way around a delay, a session or the budget."""
    world = World()
    world.enroll()
    past = int(world.clock()) - 10
    world.put(device={"failed_at": past, "budget_updated_at": past, "failures": 3})
    before = world.state()
    world.registry.reanchor(ALICE, by=SERVICE)
    after = world.state()
    assert after.device == before.device
    assert after.seen_at == world.clock()

    world = World()
    world.open()
    world.put(binding=PendingBinding(digest="", expires_at=int(world.clock()) + 5))
    before = world.state()
    world.clock.advance(10)
    world.registry.reanchor(ALICE, by=SERVICE)
    after = world.state()
    assert (after.enrollment, after.enrollment_times, after.binding) == (before.enrollment, before.enrollment_times, before.binding)


def test_re_anchoring_goes_forward_as_well() -> None:
    """RULE-CLOCK: the anchor is now, on whichever side it lies."""
    world = World()
    world.enroll()
    world.clock.advance(DAY)
    world.registry.reanchor(ALICE, by=SERVICE)
    assert world.state().seen_at == world.clock()


def test_whoever_is_unknown_has_nothing_to_re_anchor() -> None:
    """RULE-CLOCK: of nobody there is no time to mend."""
    world = World()
    with world.nothing_written():
        assert type(refusal(lambda: world.registry.reanchor(ALICE, by=SERVICE))) is NoDevice


@pytest.mark.parametrize("now", ["1700000000", None, True, float("nan"), float("inf"), 1 << 80])
def test_a_clock_that_is_no_clock(now: object) -> None:
    """RULE-CLOCK: what is no time in seconds is refused, whatever was asked, and nothing is written."""
    world = World()
    world.enroll()
    world.clock.now = now
    with world.nothing_written():
        assert isinstance(answer(lambda: world.verify("123456")), VmfaError)
        assert isinstance(answer(lambda: world.registry.reanchor(ALICE, by=SERVICE)), VmfaError)
