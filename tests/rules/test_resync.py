"""Resynchronization: two fresh consecutive codes of the assigned device, near enough to now."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from support import phone_with
from vmfa import (
    Actor,
    AlreadyUsed,
    CodeRejected,
    DeviceDisabled,
    EventType,
    MalformedCode,
    NoDevice,
    OutOfSync,
    PairRejected,
    Policy,
    Receipt,
    Sync,
    SyncReport,
    Throttled,
    UnsafePlainKeys,
)
from world import (
    ADMIN,
    ALICE,
    REPEAT_STEP,
    RFC_KEY,
    SERVICE,
    STEP,
    TWIN_STEP,
    World,
    by_method,
    error_of,
    outcome_of,
)


def late(k: int = -5) -> tuple[World, object]:
    """A device assigned out of sync, and so much later that every code near now is fresh."""
    world = World()
    phone = world.enroll(steps_off=k)
    world.clock.advance(100 * STEP)
    return world, phone


@pytest.mark.parametrize("k", [-20, -2, -1, 0, 1, 2, 20])
def test_a_pair_within_the_window_puts_the_device_in_sync(k: int) -> None:
    """SEED-RESYNC: -rb <= k <= rf; the drift becomes k, or 0 within the window."""
    world, phone = late()
    before = world.device()
    report = world.resync(phone.pair(k))
    device = world.device()
    assert (report.sync, report.steps_off, report.device) == (Sync.IN_SYNC, k, device)
    drift = k if abs(k) > 1 else 0
    assert device == replace(
        before,
        sync=Sync.IN_SYNC,
        drift=drift,
        synced_drift=drift,
        last_offset=0,
        last_step=world.clock() // STEP + k,
    )
    assert world.history_types()[-1] is EventType.RESYNCHRONIZED
    assert world.observed[-1].details == (("steps_off", k),)


@pytest.mark.parametrize("k", [-21, 21, -40, 40])
def test_a_pair_beyond_the_resync_window_is_rejected(k: int) -> None:
    """RFC6238-6-LIMIT: one step further than rb or rf is refused, and the device stays out of
    sync.
    """
    world, phone = late()
    error = error_of(lambda: world.resync(phone.pair(k)))
    assert (type(error), error.reason, error.remedy) == (
        PairRejected,
        "pair not accepted",
        "retry",
    )
    assert world.device().sync is Sync.OUT_OF_SYNC


@pytest.mark.parametrize(("back", "forward"), [(12, 15), (15, 12)])
def test_resync_back_limits_the_past_and_resync_forward_the_future(
    back: int, forward: int
) -> None:
    """SEED-RESYNC: the two limits are independent."""
    for k, accepted in ((-back, True), (forward, True), (-back - 1, False), (forward + 1, False)):
        world = World(Policy(resync_back=back, resync_forward=forward))
        phone = world.enroll()
        world.clock.advance(100 * STEP)
        outcome = outcome_of(partial(world.resync, phone.pair(k)))
        assert type(outcome) is (SyncReport if accepted else PairRejected)


def test_the_resync_window_lies_around_now_not_around_the_drift() -> None:
    """SEED-RESYNC: a drift does not widen the window."""
    world, phone = late()
    assert world.resync(phone.pair(20)).device.drift == 20
    world.clock.advance(100 * STEP)
    assert type(error_of(lambda: world.resync(phone.pair(21)))) is PairRejected
    assert world.resync(phone.pair(-20)).device.drift == -20


@pytest.mark.parametrize(("first", "second"), [(0, -1), (0, 0), (-2, 0), (-1, 1)])
def test_only_consecutive_codes_in_order(first: int, second: int) -> None:
    """SEED-RESYNC: the same kind of pair as in the enrollment."""
    world, phone = late()
    pair = {"code1": phone.code(first), "code2": phone.code(second)}
    assert type(error_of(lambda: world.resync(pair))) is PairRejected


@pytest.mark.parametrize(("ahead", "fresh"), [(0, False), (1, False), (2, True)])
def test_both_codes_are_later_than_last_step(ahead: int, fresh: bool) -> None:
    """SEED-RESYNC: s-1 > last_step: a pair whose first code is spent is rejected."""
    world, phone = late()
    receipt_step = world.resync(phone.pair(0)).device.last_step
    outcome = outcome_of(lambda: world.resync(phone.pair(ahead)))
    assert type(outcome) is (SyncReport if fresh else PairRejected)
    assert world.device().last_step == receipt_step + (ahead if fresh else 0)
    assert world.device().failures == (0 if fresh else 1)


def test_a_stale_pair_counts_as_a_failure() -> None:
    """SEED-RESYNC: with the same counter, budget and delay as codes."""
    world, phone = late()
    pair = phone.pair()
    world.resync(pair)
    for failures, wait in ((1, None), (2, None), (3, 15), (4, 30)):
        error = error_of(lambda: world.resync(pair))
        assert (type(error), error.retry_after) == (PairRejected, wait)
        device = world.device()
        assert (device.failures, device.failed_at, device.budget) == (
            failures,
            world.clock(),
            100 - failures,
        )
        assert world.observed[-1].type is EventType.REJECTED
        assert world.observed[-1].reason == "pair not accepted"
        if wait:
            assert type(error_of(lambda: world.resync(pair))) is Throttled
            assert type(error_of(lambda: world.verify(phone.code()))) is Throttled
            world.clock.advance(wait)


def test_codes_and_pairs_share_the_counter() -> None:
    """SEED-RESYNC: two wrong codes and one wrong pair are three failures."""
    world, phone = late()
    world.resync(phone.pair())
    for _ in range(2):
        error_of(lambda: world.verify(phone.wrong_code()))
    assert (
        error_of(
            lambda: world.resync({"code1": phone.wrong_code(), "code2": phone.wrong_code()})
        ).retry_after
        == 15
    )


def test_a_resync_clears_failures_but_not_the_budget() -> None:
    """SEED-RESYNC: consecutive failures and their delay end; the budget stays."""
    world, phone = late()
    world.store_state(
        device={
            "failures": 5,
            "failed_at": int(world.clock()) - 60,
            "budget": 40,
            "budget_updated_at": int(world.clock()) - 60,
        }
    )
    world.resync(phone.pair())
    device = world.device()
    assert (device.failures, device.budget, device.budget_updated_at) == (
        0,
        40,
        world.clock() - 60,
    )
    error_of(lambda: world.verify(phone.wrong_code()))
    assert world.device().budget == 39


def test_a_resync_keeps_key_serial_and_enrollment_date() -> None:
    """SEED-RESYNC: it is the same device afterwards."""
    world, phone = late()
    before = world.state()
    world.resync(phone.pair(3))
    after = world.state()
    assert after.key_ref == before.key_ref
    assert (after.device.serial, after.device.enrolled_at) == (
        before.device.serial,
        before.device.enrolled_at,
    )
    world.clock.advance(STEP)
    assert world.verify(phone.code(3)).drift == 3


def test_a_later_step_with_a_code_of_the_resync_pair_is_spent_too() -> None:
    """RFC6238-5.2-ONCE: a code that resynchronized the device is not accepted at a later step that
    a sign-in can reach.
    """
    world = World(imported_keys=UnsafePlainKeys(), now=(REPEAT_STEP + 1) * STEP)
    world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, system="test", last_step=-1)
    phone = phone_with(RFC_KEY, world.clock)
    report = world.resync(phone.pair(-1))
    assert (report.steps_off, report.device.last_step) == (
        -1,
        REPEAT_STEP + 2,
    )  # where code 2 is shown once more
    for _ in range(3):
        assert type(error_of(lambda: world.verify("468457"))) is AlreadyUsed
        world.clock.advance(STEP)


@pytest.mark.parametrize(
    ("step", "spent"),
    [
        pytest.param(TWIN_STEP, TWIN_STEP + 1, id="the next step has the same code"),
        pytest.param(REPEAT_STEP, REPEAT_STEP, id="the step after the next has the same code"),
    ],
)
def test_a_pair_spends_only_steps_that_a_sign_in_can_reach(step: int, spent: int) -> None:
    """RFC6238-5.2-ONCE: the window of a sign-in now ends one step later."""
    world = World(imported_keys=UnsafePlainKeys(), now=step * STEP)
    world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, system="test", last_step=-1)
    report = world.resync(phone_with(RFC_KEY, world.clock).pair())
    assert (report.steps_off, report.device.last_step) == (0, spent)


def test_a_resync_does_not_sign_in() -> None:
    """SEED-RESYNC: the report is not a claim; signing in needs a further code, because both are
    spent.
    """
    world, phone = late()
    report = world.resync(phone.pair())
    assert not isinstance(report, Receipt)
    assert not hasattr(report, "claim")
    for code in phone.pair().values():
        assert type(error_of(lambda code=code: world.verify(code))) is AlreadyUsed
    assert world.verify(phone.code(1))


def test_a_device_in_sync_may_be_resynchronized() -> None:
    """RULE-MACHINE: each resynchronization is an event."""
    world, phone = late()
    world.resync(phone.pair())
    world.clock.advance(10 * STEP)
    assert world.resync(phone.pair()).sync is Sync.IN_SYNC
    assert world.history_types().count(EventType.RESYNCHRONIZED) == 2


def test_wrong_pairs_disable_a_device_out_of_sync() -> None:
    """RULE-MACHINE: pairs reach the failure cap too; afterwards no pair counts."""
    world, phone = late()
    world.store_state(device={"failures": 99, "failed_at": int(world.clock()) - 3600})
    assert type(error_of(lambda: world.resync(phone.pair(30)))) is DeviceDisabled
    assert world.device().disabled
    with world.nothing_written():
        assert type(error_of(lambda: world.resync(phone.pair()))) is DeviceDisabled


def test_without_a_device_there_is_nothing_to_resynchronize() -> None:
    """RULE-MACHINE: also during an enrollment."""
    world = World()
    phone = world.phone(world.open())
    assert type(error_of(lambda: world.resync(phone.pair()))) is NoDevice


@pytest.mark.parametrize("which", ["code1", "code2"])
def test_a_malformed_code_in_a_pair_is_not_counted(which: str) -> None:
    """SEED-SIX: a malformed code is not a failure."""
    world, phone = late()
    with world.nothing_written():
        assert (
            type(error_of(lambda: world.resync(phone.pair() | {which: "1234567"})))
            is MalformedCode
        )


def test_an_administrator_may_resynchronize() -> None:
    """SEED-PERMIT: the event names the administrator."""
    world, phone = late()
    admin = by_method(ADMIN, world.clock(), Actor.admin)
    world.resync(phone.pair(), by=admin)
    assert world.store.history(ALICE)[-1].actor.name == ADMIN.name


def test_old_codes_move_the_window_no_further_than_the_limit() -> None:
    """SEED-RESYNC: recorded codes older than rb steps do not count, fresh or not."""
    world, phone = late()
    world.resync(phone.pair())
    filmed = phone.pair(2)
    world.clock.advance(23 * STEP)
    assert type(error_of(lambda: world.resync(filmed))) is PairRejected
    world.clock.advance(-STEP)
    assert world.resync(filmed).device.drift == -20
    world.clock.advance(STEP)
    assert type(outcome_of(lambda: world.verify(phone.code()))) is CodeRejected
    assert not isinstance(outcome_of(lambda: world.verify(phone.code(-20))), OutOfSync)
