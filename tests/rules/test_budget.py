"""The guess budget: failures over the whole life of a device, refilled by time only."""

from __future__ import annotations

import pytest

from vmfa import CodeRejected, EventType, Policy, SignInClosed, TooSoon
from world import ALICE, DAY, HOUR, SERVICE, STEP, World, error_of

TOKEN = 2 * DAY


def spent(world: World, **device: int) -> None:
    world.store_state(device=device)


def test_a_device_starts_with_a_hundred_and_a_failure_spends_one() -> None:
    """RULE-BUDGET: a device starts with 100 tokens; a wrong code or a wrong pair spends one."""
    world = World()
    phone = world.enroll()
    assert world.device().budget == 100
    world.fail(phone)
    assert world.device().budget == 99
    error_of(lambda: world.resync({"code1": phone.wrong_code(), "code2": phone.wrong_code()}))
    assert (world.device().budget, world.device().budget_updated_at) == (98, world.clock())


@pytest.mark.parametrize(
    ("elapsed", "left"),
    [
        (0, 49),
        (TOKEN - 1, 49),
        (TOKEN, 50),
        (2 * TOKEN - 1, 50),
        (2 * TOKEN, 51),
        (49 * TOKEN, 98),
        (50 * TOKEN, 99),
        (51 * TOKEN, 99),
        (1000 * TOKEN, 99),
    ],
)
def test_one_token_returns_every_48_hours_never_above_100(elapsed: int, left: int) -> None:
    """RULE-BUDGET: tokens return before the failure spends one, and never exceed 100."""
    world = World()
    phone = world.enroll()
    now = int(world.clock())
    spent(world, budget=50, budget_updated_at=now)
    world.clock.advance(elapsed)
    world.fail(phone)
    assert world.device().budget == left


def test_a_failure_does_not_reset_the_refill() -> None:
    """RULE-BUDGET: failures within the 48 h neither restart them nor let them count twice."""
    world = World()
    phone = world.enroll()
    start = int(world.clock())
    spent(world, budget=50, budget_updated_at=start)
    for hours, left in ((47, 49), (49, 49), (95, 48), (97, 48), (143, 47)):
        world.clock.now = start + hours * 3600
        spent(world, failures=0)
        world.fail(phone)
        assert world.device().budget == left
    assert world.device().budget_updated_at == start + 2 * TOKEN


def test_a_full_budget_saves_no_time() -> None:
    """RULE-BUDGET: the first token returns 48 h after the first failure, however long the budget
    was full.
    """
    world = World()
    phone = world.enroll()
    world.clock.advance(1000 * DAY)
    world.fail(phone)
    assert (world.device().budget, world.device().budget_updated_at) == (99, world.clock())
    world.clock.advance(TOKEN - 1)
    world.fail(phone)
    assert world.device().budget == 98


def test_refilling_stops_when_the_budget_is_full() -> None:
    """RULE-BUDGET: a part of the 48 h that is left when the budget becomes full is lost."""
    world = World()
    phone = world.enroll()
    spent(world, budget=99, budget_updated_at=int(world.clock()))
    world.clock.advance(TOKEN + TOKEN // 2)
    world.fail(phone)
    assert (world.device().budget, world.device().budget_updated_at) == (99, world.clock())


def test_a_success_refills_nothing() -> None:
    """RULE-BUDGET: neither a sign-in nor a resynchronization returns a token."""
    world = World()
    phone = world.enroll()
    for _ in range(2):
        world.fail(phone)
    world.sign_in(phone)
    world.clock.advance(10 * STEP)
    world.resync(phone.pair())
    assert (world.device().failures, world.device().budget) == (0, 98)


def test_at_zero_codes_are_refused_until_a_token_returns() -> None:
    """RULE-BUDGET: the device is not disabled; retry_after says when a token returns."""
    world = World()
    phone = world.enroll()
    start = int(world.clock())
    spent(world, budget=2, budget_updated_at=start)
    world.fail(phone)
    assert world.device().budget == 1
    world.clock.advance(STEP)
    assert world.sign_in(phone)
    assert type(world.fail(phone)) is CodeRejected
    assert (world.device().budget, world.device().disabled) == (0, False)
    with world.nothing_written():
        for code in (phone.code(1), phone.wrong_code()):
            error = error_of(lambda code=code: world.verify(code))
            assert (type(error), error.reason, error.remedy) == (SignInClosed, "closed", "wait")
            assert error.retry_after == start + TOKEN - world.clock()
    world.clock.now = start + TOKEN
    assert world.verify(phone.code())


def test_the_budget_alone_never_disables() -> None:
    """RULE-BUDGET: only consecutive failures disable a device."""
    world = World()
    phone = world.enroll()
    spent(world, budget=1, budget_updated_at=int(world.clock()))
    world.fail(phone)
    assert EventType.DISABLED not in world.history_types()


def test_restoring_fills_the_budget_at_most_once_a_day() -> None:
    """RULE-BUDGET: by an administrator or a service, after the first factor was changed."""
    world = World()
    world.enroll()
    spent(world, budget=0, budget_updated_at=int(world.clock()))
    world.registry.restore_budget(ALICE, by=SERVICE)
    assert world.device().budget == 100
    assert world.history_types()[-1] is EventType.BUDGET_RESTORED
    world.clock.advance(DAY - 1)
    with world.nothing_written():
        error = error_of(lambda: world.registry.restore_budget(ALICE, by=SERVICE))
        assert (type(error), error.retry_after) == (TooSoon, 1)
    world.clock.advance(1)
    world.registry.restore_budget(ALICE, by=SERVICE)


@pytest.mark.parametrize(("before", "warned"), [(27, False), (26, True), (25, False)])
def test_a_warning_event_at_25_tokens(before: int, warned: bool) -> None:
    """RULE-BUDGET: one event when 25 tokens are left, not at 26 and not again at 24."""
    world = World()
    phone = world.enroll()
    spent(world, budget=before, budget_updated_at=int(world.clock()))
    world.fail(phone)
    assert (EventType.BUDGET_LOW in world.history_types()) is warned
    if warned:
        (event,) = [event for event in world.observed if event.type is EventType.BUDGET_LOW]
        assert event.details == (("budget", 25),)


def test_an_attacker_below_the_delays_runs_out_of_budget() -> None:
    """RULE-BUDGET: two guesses before each sign-in of the owner cause no delay, but use up the
    budget.
    """
    world = World()
    phone = world.enroll()
    guesses = 0
    closed = False
    while not closed:
        world.clock.advance(3600)
        world.sign_in(phone)
        for _ in range(2):
            error = error_of(lambda: world.verify(phone.wrong_code()))
            closed = type(error) is SignInClosed
            if closed:
                break
            guesses += 1
            assert error.retry_after is None or world.device().budget == 0
    assert guesses == 101  # a hundred, and the one token that came back within the 50 hours


def test_one_failure_every_two_days_never_empties_the_budget() -> None:
    """RULE-BUDGET: one failure in 48 h for years leaves 99 or 100 tokens."""
    world = World()
    phone = world.enroll()
    for _ in range(300):
        world.clock.advance(TOKEN)
        world.fail(phone)
        assert world.device().budget == 99
        world.sign_in(phone)


def test_a_clock_set_back_returns_no_token() -> None:
    """RULE-BUDGET: a refill time in the future neither returns nor takes a token."""
    world = World()
    phone = world.enroll()
    now = int(world.clock())
    spent(world, budget=50, budget_updated_at=now + STEP)
    world.fail(phone)
    assert (world.device().budget, world.device().budget_updated_at) == (49, now + STEP)


def test_a_smaller_budget_of_a_later_policy_holds_at_once() -> None:
    """RULE-BUDGET: the budget never exceeds the current policy's."""
    world = World()
    phone = world.enroll()
    later = World(Policy(budget=10, budget_warning=2), store=world.store)
    later.fail(phone)
    assert world.device().budget == 9


def test_the_failure_that_spends_the_last_token_announces_when_one_returns() -> None:
    """RULE-WAIT: not the delay, which ends long before."""
    world = World()
    phone = world.enroll()
    now = int(world.clock())
    world.store_state(device={"failures": 2, "budget": 1, "budget_updated_at": now})
    error = error_of(lambda: world.verify(phone.wrong_code()))
    assert (type(error), error.retry_after, error.remedy) == (CodeRejected, 2 * DAY, "wait")
    world.clock.advance(2 * DAY - 1)
    assert error_of(lambda: world.verify(phone.code())).retry_after == 1
    world.clock.advance(1)
    assert world.verify(phone.code())


def test_without_tokens_the_wait_includes_a_delay_that_ends_later() -> None:
    """RULE-WAIT: when the announced wait is over, the code is evaluated."""
    world = World()
    phone = world.enroll()
    now = int(world.clock())
    world.store_state(
        device={
            "failures": 30, "failed_at": now, "budget": 0, "budget_updated_at": now - 2 * DAY + 60,
        }
    )
    error = error_of(lambda: world.verify(phone.code()))
    assert (type(error), error.retry_after) == (SignInClosed, HOUR)
    world.clock.advance(HOUR)
    assert world.verify(phone.code())
