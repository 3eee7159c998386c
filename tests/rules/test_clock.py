"""A clock that went back: reported, not counted, and repaired by a trusted service."""

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
from world import ALICE, DAY, RFC_KEY, SERVICE, STEP, World, by_method, error_of, outcome_of

ME = Actor.signed_in(ALICE)


def test_the_record_keeps_the_highest_committed_time() -> None:
    """RULE-CLOCK: seen_at changes only with a commit, and never decreases."""
    world = World()
    phone = world.enroll()
    assert world.state().seen_at == world.clock()
    world.sign_in(phone)
    assert world.state().seen_at == world.clock()
    committed = int(world.clock())
    world.clock.advance(5)
    error_of(lambda: world.verify(phone.code()))  # already used: no commit
    assert world.state().seen_at == committed
    world.clock.advance(-10)
    error_of(lambda: world.verify(phone.wrong_code()))
    assert world.state().seen_at == committed


@pytest.mark.parametrize("parameters", [Parameters(), Parameters(period=60)])
def test_one_step_back_is_tolerated_one_second_more_is_not(parameters: Parameters) -> None:
    """RULE-CLOCK: a time before seen_at - period is refused."""
    world = World(Policy(offers=(parameters,)))
    phone = world.enroll()
    last = world.clock()
    world.clock.now = last - parameters.period
    error_of(lambda: world.verify(phone.wrong_code()))
    assert world.device().failures == 1
    world.clock.now = last - parameters.period - 1
    with world.nothing_written():
        error = error_of(lambda: world.verify(phone.wrong_code()))
    assert type(error) is ClockWentBack
    assert error.reason == "clock went back"


@pytest.mark.parametrize("second", [0, 15, 29])
def test_times_are_compared_not_steps(second: int) -> None:
    """RULE-CLOCK: 31 s back is refused in every second of a step, 30 s back is not."""
    world = World(now=33_333_333 * STEP + second)
    world.enroll()
    last = world.clock()
    for back, went_back in ((30, False), (31, True)):
        world.clock.now = last - back
        outcome = outcome_of(lambda: world.verify("000000"))
        assert (type(outcome) is ClockWentBack) is went_back


def test_every_writing_operation_refuses_a_clock_that_went_back() -> None:
    """RULE-CLOCK: each reports the same error and writes nothing."""
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
            assert type(error_of(act)) is ClockWentBack
    world = World(imported_keys=UnsafePlainKeys())
    opened = world.open()
    world.clock.advance(-100)
    with world.nothing_written():
        for act in (
            world.open,
            lambda: world.confirm(opened, world.phone(opened).pair()),
            lambda: world.registry.cancel_enrollment(ALICE, by=ME),
            lambda: world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, system="test"),
        ):
            assert type(error_of(act)) is ClockWentBack


def test_reading_needs_no_clock() -> None:
    """RULE-CLOCK: device, history and requires_code work while the clock is wrong."""
    world = World()
    world.enroll()
    world.clock.advance(-100)
    assert world.registry.device(ALICE, by=ME)
    assert world.registry.history(ALICE, by=SERVICE)
    assert world.registry.requires_code(ALICE)


# Re-anchoring


def test_a_trusted_service_reanchors() -> None:
    """RULE-CLOCK: the present time counts again; the event has the time that was given up."""
    world = World()
    phone = world.enroll()
    right = int(world.clock())
    world.clock.advance(DAY)
    receipt = world.verify(phone.code())
    world.clock.now = right
    assert type(error_of(lambda: world.verify(phone.code()))) is ClockWentBack
    world.registry.reanchor(ALICE, by=SERVICE)
    assert world.state().seen_at == right
    event = world.store.history(ALICE)[-1]
    assert (event.type, event.details, str(event.actor)) == (
        EventType.REANCHORED,
        (("seen_at", right + DAY),),
        "trusted service importer",
    )
    assert world.device().last_step == receipt.step


def test_reanchoring_never_lowers_last_step() -> None:
    """RULE-CLOCK: codes up to last_step stay used."""
    world = World()
    phone = world.enroll()
    right = int(world.clock())
    world.clock.advance(10 * STEP)
    spent = world.verify(phone.code()).step
    world.clock.now = right
    world.registry.reanchor(ALICE, by=SERVICE)
    for _ in range(11):
        assert type(error_of(lambda: world.verify(phone.code()))) is AlreadyUsed
        assert world.device().last_step == spent
        world.clock.advance(STEP)
    assert world.verify(phone.code()).step == spent + 1


def test_reanchoring_moves_future_times_to_now() -> None:
    """RULE-CLOCK: failure, budget, session, enrollment times and binding code no longer wait for a
    wrong time.
    """
    world = World()
    world.enroll()
    right = int(world.clock())
    ahead = right + 1000 * DAY
    world.store_state(
        device={"failed_at": ahead, "budget_updated_at": ahead, "failures": 3}, seen_at=ahead
    )
    before = world.device()
    world.registry.reanchor(ALICE, by=SERVICE)
    assert world.device() == replace(before, failed_at=right, budget_updated_at=right)

    world = World()
    opened = world.open()
    session = world.state().enrollment
    world.store_state(
        enrollment=replace(session, opened_at=ahead, expires_at=ahead + 900),
        seen_at=ahead,
        enrollment_times=(ahead,) * 10,
        binding=PendingBinding(digest="d", expires_at=ahead + DAY),
    )
    world.registry.reanchor(ALICE, by=SERVICE)
    state = world.state()
    assert (state.enrollment.opened_at, state.enrollment.expires_at) == (right, right + 900)
    assert (state.enrollment_times, state.binding.expires_at) == ((right,) * 10, right + DAY)
    error = error_of(lambda: world.open(by=by_method(ALICE, world.clock())))
    assert (type(error), error.retry_after) == (TooManySessions, DAY)
    assert world.confirm(opened, world.phone(opened).pair()).steps_off == 0


def test_reanchoring_leaves_past_times() -> None:
    """RULE-CLOCK: it shortens no delay, extends no session and refills no budget."""
    world = World()
    world.enroll()
    past = int(world.clock()) - 10
    world.store_state(device={"failed_at": past, "budget_updated_at": past, "failures": 3})
    before = world.state()
    world.registry.reanchor(ALICE, by=SERVICE)
    after = world.state()
    assert after.device == before.device
    assert after.seen_at == world.clock()

    world = World()
    world.open()
    world.store_state(binding=PendingBinding(digest="d", expires_at=int(world.clock()) + 5))
    before = world.state()
    world.clock.advance(10)
    world.registry.reanchor(ALICE, by=SERVICE)
    after = world.state()
    assert (after.enrollment, after.enrollment_times, after.binding) == (
        before.enrollment,
        before.enrollment_times,
        before.binding,
    )


def test_reanchoring_also_moves_seen_at_forward() -> None:
    """RULE-CLOCK: seen_at becomes the present time."""
    world = World()
    world.enroll()
    world.clock.advance(DAY)
    world.registry.reanchor(ALICE, by=SERVICE)
    assert world.state().seen_at == world.clock()


def test_an_unknown_principal_cannot_be_reanchored() -> None:
    """RULE-CLOCK: refused, and nothing is written."""
    world = World()
    with world.nothing_written():
        assert type(error_of(lambda: world.registry.reanchor(ALICE, by=SERVICE))) is NoDevice


@pytest.mark.parametrize("now", ["1700000000", None, True, float("nan"), float("inf"), 1 << 80])
def test_an_invalid_time_is_refused(now: object) -> None:
    """RULE-CLOCK: a clock that returns anything but seconds is refused, and nothing is written."""
    world = World()
    world.enroll()
    world.clock.now = now
    with world.nothing_written():
        assert isinstance(outcome_of(lambda: world.verify("123456")), VmfaError)
        assert isinstance(
            outcome_of(lambda: world.registry.reanchor(ALICE, by=SERVICE)), VmfaError
        )
