"""Verification: what a code is, when it counts, and that it counts once."""

from __future__ import annotations

import pytest

from support import Phone
from vmfa import (
    AlreadyUsed,
    CodeRejected,
    DeviceDisabled,
    EventType,
    MalformedCode,
    MfaClaim,
    NoDevice,
    OutOfSync,
    Parameters,
    Policy,
    Receipt,
    Sync,
    Throttled,
    UnsafePlainKeys,
)

from .world import ALICE, APART, BOSS, RFC_KEY, ROOT, SERVICE, STEP, TWINS, World, answer, counted_codes, refusal


def adopted(now: float, **more: object) -> tuple[World, Phone]:
    """A device with the RFC's key, nothing of it spent."""
    world = World(imported_keys=UnsafePlainKeys(), now=now)
    world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, source="test", **{"last_step": -1, **more})
    return world, Phone(RFC_KEY, world.clock)


# SEED-SIX


def test_the_default_device_is_what_every_app_supports() -> None:
    """SEED-SIX: six digits, SHA-1, 30 seconds."""
    world = World()
    phone = world.enroll()
    assert world.device().parameters == Parameters(algorithm="sha1", digits=6, period=30, t0=0)
    assert len(phone.code()) == 6


def test_leading_zeros_count() -> None:
    """SEED-SIX: a code is a string; without its leading zeros it is not that code."""
    world, phone = adopted(226_500 * STEP)  # this step's code is 000007
    assert phone.code() == "000007"
    for shortened in ("7", "00007", "0000007", 7):
        assert isinstance(refusal(lambda code=shortened: world.verify(code)), MalformedCode)
    assert world.verify("000007").step == 226_500


@pytest.mark.parametrize(
    "typed", ["{0} ", "\t{0}\r\n", "{1} {2}", "{1}-{2}", "  {1} {2}\n", "\v{0}\f"],
)
def test_edge_blanks_and_one_grouping_mark_are_stripped(typed: str) -> None:
    """SEED-SIX: surrounding ASCII blanks, and one space or hyphen in the middle, are no part of the code."""
    world, phone = adopted(1_000_000_000)
    code = phone.code()
    assert isinstance(world.verify(typed.format(code, code[:3], code[3:])), Receipt)


@pytest.mark.parametrize(
    "typed", ["", " ", "{1}", "{0}0", "{1}  {2}", "{1}_{2}", "{1}\t{2}", "{1}\u00a0{2}", "\u00a0{0}", "+{0}", "-{0}",
              "{0}.", "{3}", "{4}", "{1}-{2}-", "{5}", "0x{1}", "\u2212{0}", "{0}\0"],
)
def test_nothing_else_is_a_code(typed: str) -> None:
    """SEED-SIX: anything but that many ASCII digits is malformed: no guess, not counted, no write, no HMAC."""
    world, phone = adopted(1_000_000_000)
    code = phone.code()
    arabic, wide = (code.translate({48 + n: chr(first + n) for n in range(10)}) for first in (0x660, 0xFF10))
    text = typed.format(code, code[:3], code[3:], arabic, wide, code[:2] + " " + code[2:])
    with world.nothing_written():
        error = refusal(lambda: world.verify(text))
    assert type(error) is MalformedCode
    assert isinstance(error, ValueError)
    assert (error.reason, error.retry_after) == ("malformed", None)
    assert world.verify(code).failures_cleared == 0


@pytest.mark.parametrize("typed", [None, 123456, 123456.0, b"123456", ["1"] * 6, True])
def test_what_is_no_text_is_malformed(typed: object) -> None:
    """SEED-SIX: codes are strings."""
    world, _ = adopted(1_000_000_000)
    with world.nothing_written():
        assert type(refusal(lambda: world.verify(typed))) is MalformedCode


def test_the_digits_are_the_devices() -> None:
    """SEED-SIX: exactly that many digits: those of the device at hand, and of a new one where there is none."""
    eight = Parameters(digits=8)
    world = World(Policy(offers=(eight, Parameters())), imported_keys=UnsafePlainKeys())
    assert type(refusal(lambda: world.verify("123456"))) is MalformedCode
    assert type(refusal(lambda: world.verify("12345678"))) is NoDevice
    world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, source="test", last_step=-1)  # six digits
    assert type(refusal(lambda: world.verify("12345678"))) is MalformedCode
    assert world.verify(Phone(RFC_KEY, world.clock).code())


# The window


@pytest.mark.parametrize(("off", "accepted"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_the_window_is_one_step_either_way(off: int, accepted: bool) -> None:
    """RFC6238-5.2-ONESTEP: w = 1: one step early or late is accepted, two are not."""
    world, phone = adopted(1_000_000_000)
    if accepted:
        assert world.verify(phone.code(off)).step == 1_000_000_000 // STEP + off
    else:
        assert type(refusal(lambda: world.verify(phone.code(off)))) is CodeRejected


@pytest.mark.parametrize("second", [0, 29])
def test_the_window_is_in_steps_not_seconds(second: int) -> None:
    """RFC6238-5.2-DELAY: the first and the last second of a step see the same window."""
    world, phone = adopted(33_333_333 * STEP + second)
    assert type(refusal(lambda: world.verify(phone.code(-2)))) is CodeRejected
    assert world.verify(phone.code(-1))


def test_a_policy_may_narrow_the_window_to_the_step_itself() -> None:
    """RFC6238-5.2-DELAY: w = 0 accepts the current step only."""
    world = World(Policy(window=0))
    phone = world.enroll()
    world.clock.advance(5 * STEP)
    assert type(refusal(lambda: world.verify(phone.code(1)))) is CodeRejected
    assert world.verify(phone.code(0))


# Once


@pytest.mark.parametrize("later", [0, 1, 29, STEP])
def test_a_code_is_accepted_once(later: int) -> None:
    """RFC6238-5.2-ONCE: the second time it is already used, as long as the window holds it."""
    world, phone = adopted(33_333_333 * STEP)
    code = phone.code()
    world.verify(code)
    world.clock.advance(later)
    with world.nothing_written():
        assert type(refusal(lambda: world.verify(code))) is AlreadyUsed


def test_another_spelling_of_a_code_is_the_same_code() -> None:
    """RFC6238-5.2-ONCE: what is spent is the step, not the text."""
    world, phone = adopted(1_000_000_000)
    code = phone.code()
    world.verify(f" {code[:3]} {code[3:]}")
    assert type(refusal(lambda: world.verify(code))) is AlreadyUsed


def test_a_second_process_sees_the_code_spent() -> None:
    """RFC6238-5.2-ONCE: whoever submits it, in whatever process."""
    world, phone = adopted(1_000_000_000)
    other = World(imported_keys=UnsafePlainKeys(), store=world.store, now=world.clock())
    code = phone.code()
    world.verify(code)
    assert type(refusal(lambda: other.verify(code))) is AlreadyUsed


def test_a_code_of_an_earlier_step_is_spent_by_a_later_one() -> None:
    """RFC6238-5.2-ONCE: last_step is monotone: after step s no step up to s is accepted, though never used."""
    world, phone = adopted(1_000_000_000)
    world.verify(phone.code(0))
    assert type(refusal(lambda: world.verify(phone.code(-1)))) is AlreadyUsed
    assert world.verify(phone.code(1)).step == world.device().last_step


def test_a_code_from_ahead_is_spent_before_its_time() -> None:
    """RFC6238-5.2-ONCE: the next accepted step is greater than s even when s lies ahead of now."""
    world, phone = adopted(33_333_333 * STEP)
    world.verify(phone.code(1))
    world.clock.advance(STEP)
    assert type(refusal(lambda: world.verify(phone.code(0)))) is AlreadyUsed
    assert world.verify(phone.code(1))


def test_both_codes_of_the_enrollment_are_spent() -> None:
    """RFC6238-5.2-ONCE: codes that assigned are spent."""
    world = World()
    phone = world.enroll()
    for code in phone.pair().values():
        assert type(refusal(lambda code=code: world.verify(code))) is AlreadyUsed
    assert world.verify(phone.code(1))


def test_of_neighbours_that_share_a_code_the_higher_is_spent() -> None:
    """RFC6238-5.2-ONCE: one code, several fresh steps: the highest is spent, or the string would pass twice."""
    world, phone = adopted(TWINS * STEP)
    assert phone.code(0) == phone.code(1)
    assert world.verify(phone.code()).step == TWINS + 1
    world.clock.advance(STEP)
    assert type(refusal(lambda: world.verify(phone.code()))) is AlreadyUsed


def test_of_two_ends_that_share_a_code_the_higher_is_spent() -> None:
    """RFC6238-5.2-ONCE: the same with the two ends of the window."""
    world, phone = adopted((APART + 1) * STEP)
    assert world.verify(phone.code(-1)).step == APART + 2


def test_a_code_that_matches_a_spent_and_a_fresh_step_is_fresh() -> None:
    """RFC6238-5.2-ONCE: of several matches only a fresh one counts, and one is enough."""
    world, phone = adopted((APART + 1) * STEP, last_step=APART + 1)
    assert world.verify(phone.code(-1)).step == APART + 2


def test_a_fresh_match_below_a_spent_one_never_counts() -> None:
    """RFC6238-5.2-ONCE: last_step decides, not which steps were seen."""
    world, phone = adopted((APART + 1) * STEP, last_step=APART + 2)
    assert type(refusal(lambda: world.verify(phone.code(-1)))) is AlreadyUsed


# Already used


@pytest.mark.parametrize(("off", "retry_after"), [(-1, 0), (0, 23), (1, 53)])
def test_already_used_says_when_the_next_code_begins(off: int, retry_after: int) -> None:
    """RULE-USED: the answer names the second at which the next acceptable code begins; 0 if it is showing."""
    now = 33_333_333 * STEP + 7
    world, phone = adopted(now)
    world.verify(phone.code(off))
    error = refusal(lambda: world.verify(phone.code(off)))
    assert type(error) is AlreadyUsed
    assert error.next_at == (33_333_333 + off + 1) * STEP
    assert error.retry_after == retry_after == max(0, error.next_at - now)
    assert (error.reason, error.remedy) == ("already used", "wait")
    world.clock.now = max(now, error.next_at)
    assert world.verify(phone.code())


def test_the_next_code_of_a_drifting_device_begins_on_its_own_clock() -> None:
    """RULE-USED: the next second is told by the device's clock, which the drift knows, in its own steps."""
    parameters = Parameters(period=60, t0=20)
    world = World(Policy(offers=(Parameters(), parameters)), imported_keys=UnsafePlainKeys(), now=6_000_000_020 + 7)
    world.registry.adopt(
        ALICE, by=SERVICE, key=RFC_KEY, source="test", parameters=parameters, last_step=-1, drift=5,
    )
    phone = Phone(RFC_KEY, world.clock, parameters)
    world.verify(phone.code(5))
    error = refusal(lambda: world.verify(phone.code(5)))
    assert (error.next_at, error.retry_after) == (6_000_000_020 + 60, 53)
    world.clock.now = error.next_at
    assert world.verify(phone.code(5))


def test_already_used_is_told_to_the_observer_and_not_counted() -> None:
    """RULE-USED: audited, no failure, no token of the budget, nothing written."""
    world, phone = adopted(1_000_000_000)
    world.verify(phone.code())
    world.told.clear()
    with world.nothing_written():
        for _ in range(200):
            assert type(refusal(lambda: world.verify(phone.code()))) is AlreadyUsed
    assert [(event.type, event.reason) for event in world.told] == [(EventType.REFUSED, "already used")] * 200


# SEED-BACKUP


def test_a_second_phone_with_the_same_key_is_the_same_device() -> None:
    """SEED-BACKUP: a code used from one phone is spent for the other; nothing happens on the verifier."""
    world = World()
    opened = world.open()
    first, second = world.phone(opened), world.phone(opened)
    world.confirm(opened, first.pair())
    state = world.state()
    assert second.code() == first.code()
    assert world.state() == state
    world.clock.advance(STEP)
    world.verify(first.code())
    assert type(refusal(lambda: world.verify(second.code()))) is AlreadyUsed
    world.clock.advance(STEP)
    assert world.verify(second.code())


# SEED-MANY


def test_one_app_holds_many_independent_devices() -> None:
    """SEED-MANY: keys are independent: no principal's codes work for another, labels tell them apart."""
    world = World()
    others = [ALICE, ALICE.user("999999999999", ALICE.name), BOSS, ROOT]
    phones = [world.enroll(who, label=f"label {number}") for number, who in enumerate(others)]
    world.clock.advance(2 * STEP)
    assert len({phone.code() for phone in phones}) == len(phones)
    for who, phone in zip(others, phones, strict=True):
        foreign = next(other for other in phones if other is not phone)
        assert type(refusal(lambda who=who, foreign=foreign: world.verify(foreign.code(), who))) is CodeRejected
        assert world.verify(phone.code(), who).principal == who


# Out of sync, and the answer


def test_codes_of_a_device_out_of_sync_are_refused_unevaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    """SEED-LATE: right or wrong, its codes are not looked at until it is resynchronized."""
    world = World()
    phone = world.enroll(steps_off=-5)
    with world.nothing_written(), counted_codes(monkeypatch) as computed:
        for code in (phone.code(-4), phone.code(0), phone.wrong_code()):
            computed.clear()
            error = refusal(lambda code=code: world.verify(code))
            assert type(error) is OutOfSync
            assert (error.reason, error.remedy, error.retry_after) == ("out of sync", "resync", None)
            assert computed == []


def test_the_receipt_says_what_was_accepted() -> None:
    """ANSWER: principal, serial, step, second, drift and the failures that it cleared; and it is a claim."""
    world, phone = adopted(1_000_000_000.75)
    world.fail(phone)
    receipt = world.verify(phone.code())
    assert receipt == Receipt(
        principal=ALICE, serial=world.device().serial, step=1_000_000_000 // STEP, at=1_000_000_000, drift=0,
        failures_cleared=1,
    )
    assert receipt.claim == MfaClaim(at=1_000_000_000, serial=world.device().serial)


def test_an_acceptance_changes_last_step_and_the_counters_only() -> None:
    """RULE-MACHINE: a fresh code leaves the device assigned and in sync; last_step moves, failures are forgotten."""
    world, phone = adopted(1_000_000_000)
    world.fail(phone)
    before = world.device()
    world.verify(phone.code())
    after = world.device()
    assert (after.last_step, after.failures) == (1_000_000_000 // STEP, 0)
    for name in ("serial", "parameters", "enrolled_at", "sync", "disabled", "drift", "synced_drift", "last_offset", "failed_at",
                 "budget", "budget_updated_at"):
        assert getattr(after, name) == getattr(before, name)


def test_acceptances_and_rejections_are_told_and_not_kept() -> None:
    """EVENTS: sign-ins are told to the observer with step or count; the history keeps life-cycle events only."""
    world, phone = adopted(1_000_000_000)
    world.told.clear()
    world.fail(phone)
    world.verify(phone.code())
    rejected, accepted = world.told
    assert (rejected.what, rejected.reason, rejected.details) == (
        EventType.REJECTED, "not accepted", (("failures", 1),),
    )
    assert (accepted.what, accepted.details) == (EventType.ACCEPTED, (("step", 1_000_000_000 // STEP),))
    for event in world.told:
        assert (event.principal, event.serial, event.at) == (ALICE, world.device().serial, 1_000_000_000)
        assert event.actor == "claimant"
        assert (event.number, event.tag) == (0, "")
    assert world.happened() == [EventType.ADOPTED]


def test_without_a_device_there_is_nothing_to_verify() -> None:
    """RULE-MACHINE: no device, unknown or enrolling: the same refusal, nothing written."""
    world = World()
    with world.nothing_written():
        assert type(refusal(lambda: world.verify("123456"))) is NoDevice
    opened = world.open()
    phone = world.phone(opened)
    with world.nothing_written():
        assert type(refusal(lambda: world.verify(phone.code()))) is NoDevice


# Constant work


def test_every_verdict_costs_the_same_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """CONSTANT-WORK: match first, match last, miss and replay compute the same candidates, each once."""
    for choose, expected in (
        (lambda phone: phone.code(-1), Receipt),
        (lambda phone: phone.code(0), Receipt),
        (lambda phone: phone.code(1), Receipt),
        (lambda phone: phone.wrong_code(), CodeRejected),
    ):
        world, phone = adopted(1_000_000_000)
        code, here = choose(phone), 1_000_000_000 // STEP
        with counted_codes(monkeypatch) as computed:
            assert type(answer(lambda world=world, code=code: world.verify(code))) is expected
            assert computed == [here - 1, here, here + 1]
        if expected is Receipt:
            with counted_codes(monkeypatch) as computed:
                assert type(refusal(lambda world=world, code=code: world.verify(code))) is AlreadyUsed
                assert computed == [here - 1, here, here + 1]


def test_refusals_without_verdict_cost_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """CONSTANT-WORK: throttled, disabled, out of sync and without device: no HMAC over a step at all."""
    world, phone = adopted(1_000_000_000)
    code = phone.code()
    with counted_codes(monkeypatch) as computed:
        world.put(device={"failures": 3, "failed_at": int(world.clock())})
        assert type(refusal(lambda: world.verify(code))) is Throttled
        world.put(device={"disabled": True})
        assert type(refusal(lambda: world.verify(code))) is DeviceDisabled
        world.put(device={"disabled": False, "failures": 0, "sync": Sync.OUT_OF_SYNC})
        assert type(refusal(lambda: world.verify(code))) is OutOfSync
        assert type(refusal(lambda: world.verify(code, ALICE.user("1", "unknown")))) is NoDevice
        assert type(refusal(lambda: world.verify("12345"))) is MalformedCode
        assert computed == []
