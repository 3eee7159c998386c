"""Verification: which codes count, and that each counts once."""

from __future__ import annotations

import pytest

from support import phone_with
from vmfa import (
    AlreadyUsed,
    CodeRejected,
    EventType,
    MalformedCode,
    NoDevice,
    OutOfSync,
    Parameters,
    Policy,
    Receipt,
    UnsafePlainKeys,
)
from vmfa.testing import Account
from world import (
    ADMIN,
    ALICE,
    REPEAT_STEP,
    RFC_KEY,
    ROOT,
    SERVICE,
    STEP,
    TWIN_STEP,
    World,
    error_of,
)


def adopted(now: float, **more: object) -> tuple[World, Account]:
    """A device with the key of the RFC's examples, none of whose codes is spent."""
    world = World(imported_keys=UnsafePlainKeys(), now=now)
    world.registry.adopt(
        ALICE, by=SERVICE, key=RFC_KEY, system="test", **{"last_step": -1, **more}
    )
    return world, phone_with(RFC_KEY, world.clock)


# SEED-SIX


def test_the_default_device_is_what_every_app_supports() -> None:
    """SEED-SIX: six digits, SHA-1, 30 seconds."""
    world = World()
    phone = world.enroll()
    assert world.device().parameters == Parameters(algorithm="sha1", digits=6, period=30, t0=0)
    assert len(phone.code()) == 6


def test_leading_zeros_count() -> None:
    """SEED-SIX: a code is text; without its leading zeros it is malformed."""
    world, phone = adopted(226_500 * STEP)  # this step's code is 000007
    assert phone.code() == "000007"
    for shortened in ("7", "00007", "0000007", 7):
        assert isinstance(error_of(lambda code=shortened: world.verify(code)), MalformedCode)
    assert world.verify("000007").step == 226_500


@pytest.mark.parametrize(
    "typed",
    ["{0} ", "\t{0}\r\n", "{1} {2}", "{1}-{2}", "  {1} {2}\n", "\v{0}\f"],
)
def test_surrounding_blanks_and_one_separator_are_ignored(typed: str) -> None:
    """SEED-SIX: ASCII blanks around the code, and one space or hyphen in the middle."""
    world, phone = adopted(1_000_000_000)
    code = phone.code()
    assert isinstance(world.verify(typed.format(code, code[:3], code[3:])), Receipt)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "{1}",
        "{0}0",
        "{1}  {2}",
        "{1}_{2}",
        "{1}\t{2}",
        "{1}\u00a0{2}",
        "\u00a0{0}",
        "+{0}",
        "-{0}",
        "{0}.",
        "{3}",
        "{4}",
        "{1}-{2}-",
        "{5}",
        "0x{1}",
        "\u2212{0}",
        "{0}\0",
    ],
)
def test_any_other_text_is_malformed(typed: str) -> None:
    """SEED-SIX: a malformed code is not a guess: it is not counted and writes nothing."""
    world, phone = adopted(1_000_000_000)
    code = phone.code()
    arabic, wide = (
        code.translate({48 + n: chr(first + n) for n in range(10)}) for first in (0x660, 0xFF10)
    )
    text = typed.format(code, code[:3], code[3:], arabic, wide, code[:2] + " " + code[2:])
    with world.nothing_written():
        error = error_of(lambda: world.verify(text))
    assert type(error) is MalformedCode
    assert isinstance(error, ValueError)
    assert (error.reason, error.retry_after) == ("malformed", None)
    assert world.verify(code).failures_cleared == 0


@pytest.mark.parametrize("typed", [None, 123456, 123456.0, b"123456", ["1"] * 6, True])
def test_a_code_that_is_not_text_is_malformed(typed: object) -> None:
    """SEED-SIX: codes are str."""
    world, _ = adopted(1_000_000_000)
    with world.nothing_written():
        assert type(error_of(lambda: world.verify(typed))) is MalformedCode


def test_the_offers_decide_how_many_digits_a_code_may_have() -> None:
    """SEED-SIX: the same lengths for every principal, so an error does not reveal the device."""
    world = World(
        Policy(offers=(Parameters(digits=8), Parameters())), imported_keys=UnsafePlainKeys()
    )
    for code in ("123456", "12345678"):
        assert type(error_of(lambda code=code: world.verify(code))) is NoDevice
    assert type(error_of(lambda: world.verify("1234567"))) is MalformedCode
    world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, system="test", last_step=-1)
    assert type(error_of(lambda: world.verify("12345678"))) is CodeRejected
    assert type(error_of(lambda: world.verify("1234567"))) is MalformedCode
    assert world.verify(phone_with(RFC_KEY, world.clock).code())


# The window


@pytest.mark.parametrize(
    ("off", "accepted"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)]
)
def test_the_window_is_one_step_either_way(off: int, accepted: bool) -> None:
    """RFC6238-5.2-ONESTEP: one step early or late is accepted, two are not."""
    world, phone = adopted(1_000_000_000)
    if accepted:
        assert world.verify(phone.code(off)).step == 1_000_000_000 // STEP + off
    else:
        assert type(error_of(lambda: world.verify(phone.code(off)))) is CodeRejected


@pytest.mark.parametrize("second", [0, 29])
def test_the_window_is_in_steps_not_seconds(second: int) -> None:
    """RFC6238-5.2-DELAY: the first and the last second of a step have the same window."""
    world, phone = adopted(33_333_333 * STEP + second)
    assert type(error_of(lambda: world.verify(phone.code(-2)))) is CodeRejected
    assert world.verify(phone.code(-1))


def test_a_policy_may_narrow_the_window_to_the_step_itself() -> None:
    """RFC6238-5.2-DELAY: with window=0 only the current step is accepted."""
    world = World(Policy(window=0))
    phone = world.enroll()
    world.clock.advance(5 * STEP)
    assert type(error_of(lambda: world.verify(phone.code(1)))) is CodeRejected
    assert world.verify(phone.code(0))


# Once


@pytest.mark.parametrize("later", [0, 1, 29, STEP])
def test_a_code_is_accepted_once(later: int) -> None:
    """RFC6238-5.2-ONCE: the second time it is "already used", as long as it is in the window."""
    world, phone = adopted(33_333_333 * STEP)
    code = phone.code()
    world.verify(code)
    world.clock.advance(later)
    with world.nothing_written():
        assert type(error_of(lambda: world.verify(code))) is AlreadyUsed


def test_another_spelling_of_a_code_is_the_same_code() -> None:
    """RFC6238-5.2-ONCE: the step is spent, not the text."""
    world, phone = adopted(1_000_000_000)
    code = phone.code()
    world.verify(f" {code[:3]} {code[3:]}")
    assert type(error_of(lambda: world.verify(code))) is AlreadyUsed


def test_a_second_process_sees_the_code_spent() -> None:
    """RFC6238-5.2-ONCE: another registry on the same store does not accept it either."""
    world, phone = adopted(1_000_000_000)
    other = World(imported_keys=UnsafePlainKeys(), store=world.store, now=world.clock())
    code = phone.code()
    world.verify(code)
    assert type(error_of(lambda: other.verify(code))) is AlreadyUsed


def test_a_code_of_an_earlier_step_is_spent_by_a_later_one() -> None:
    """RFC6238-5.2-ONCE: after step s no step up to s is accepted, even if it was never used."""
    world, phone = adopted(1_000_000_000)
    world.verify(phone.code(0))
    assert type(error_of(lambda: world.verify(phone.code(-1)))) is AlreadyUsed
    assert world.verify(phone.code(1)).step == world.device().last_step


def test_a_code_used_early_is_spent_when_its_step_begins() -> None:
    """RFC6238-5.2-ONCE: the next accepted step is greater than s, even when s is in the future."""
    world, phone = adopted(33_333_333 * STEP)
    world.verify(phone.code(1))
    world.clock.advance(STEP)
    assert type(error_of(lambda: world.verify(phone.code(0)))) is AlreadyUsed
    assert world.verify(phone.code(1))


def test_both_codes_of_the_enrollment_are_spent() -> None:
    """RFC6238-5.2-ONCE: the codes that assigned the device do not sign in."""
    world = World()
    phone = world.enroll()
    for code in phone.pair().values():
        assert type(error_of(lambda code=code: world.verify(code))) is AlreadyUsed
    assert world.verify(phone.code(1))


def test_of_neighboring_steps_with_one_code_the_higher_is_spent() -> None:
    """RFC6238-5.2-ONCE: otherwise the same code would be accepted twice."""
    world, phone = adopted(TWIN_STEP * STEP)
    assert phone.code(0) == phone.code(1)
    assert world.verify(phone.code()).step == TWIN_STEP + 1
    world.clock.advance(STEP)
    assert type(error_of(lambda: world.verify(phone.code()))) is AlreadyUsed


def test_of_both_ends_of_the_window_with_one_code_the_higher_is_spent() -> None:
    """RFC6238-5.2-ONCE: otherwise the same code would be accepted twice."""
    world, phone = adopted((REPEAT_STEP + 1) * STEP)
    assert world.verify(phone.code(-1)).step == REPEAT_STEP + 2


def test_a_code_that_matches_a_spent_and_a_fresh_step_is_fresh() -> None:
    """RFC6238-5.2-ONCE: one fresh match is enough."""
    world, phone = adopted((REPEAT_STEP + 1) * STEP, last_step=REPEAT_STEP + 1)
    assert world.verify(phone.code(-1)).step == REPEAT_STEP + 2


def test_a_match_below_last_step_never_counts() -> None:
    """RFC6238-5.2-ONCE: last_step decides, not which steps were used."""
    world, phone = adopted((REPEAT_STEP + 1) * STEP, last_step=REPEAT_STEP + 2)
    assert type(error_of(lambda: world.verify(phone.code(-1)))) is AlreadyUsed


# Already used


@pytest.mark.parametrize(("off", "retry_after"), [(-1, 0), (0, 23), (1, 53)])
def test_already_used_says_when_the_next_code_begins(off: int, retry_after: int) -> None:
    """RULE-USED: next_at is the second at which the next acceptable code begins; retry_after is 0
    if it has begun.
    """
    now = 33_333_333 * STEP + 7
    world, phone = adopted(now)
    world.verify(phone.code(off))
    error = error_of(lambda: world.verify(phone.code(off)))
    assert type(error) is AlreadyUsed
    assert error.next_at == (33_333_333 + off + 1) * STEP
    assert error.retry_after == retry_after == max(0, error.next_at - now)
    assert (error.reason, error.remedy) == ("already used", "wait")
    world.clock.now = max(now, error.next_at)
    assert world.verify(phone.code())


def test_the_next_code_of_a_drifting_device_begins_on_its_own_clock() -> None:
    """RULE-USED: next_at accounts for the drift, the period and T0 of the device."""
    parameters = Parameters(period=60, t0=20)
    world = World(
        Policy(offers=(Parameters(), parameters)),
        imported_keys=UnsafePlainKeys(),
        now=6_000_000_020 + 7,
    )
    world.registry.adopt(
        ALICE,
        by=SERVICE,
        key=RFC_KEY,
        system="test",
        parameters=parameters,
        last_step=-1,
        drift=5,
    )
    phone = phone_with(RFC_KEY, world.clock, parameters)
    world.verify(phone.code(5))
    error = error_of(lambda: world.verify(phone.code(5)))
    assert (error.next_at, error.retry_after) == (6_000_000_020 + 60, 53)
    world.clock.now = error.next_at
    assert world.verify(phone.code(5))


def test_already_used_is_observed_and_not_counted() -> None:
    """RULE-USED: an event, but no failure, no token of the budget, nothing written."""
    world, phone = adopted(1_000_000_000)
    world.verify(phone.code())
    world.observed.clear()
    with world.nothing_written():
        for _ in range(200):
            assert type(error_of(lambda: world.verify(phone.code()))) is AlreadyUsed
    assert [(event.type, event.reason) for event in world.observed] == [
        (EventType.REFUSED, "already used")
    ] * 200


# SEED-BACKUP


def test_a_second_phone_with_the_same_key_is_the_same_device() -> None:
    """SEED-BACKUP: a code used from one phone is spent for the other."""
    world = World()
    opened = world.open()
    first, second = world.phone(opened), world.phone(opened)
    world.confirm(opened, first.pair())
    state = world.state()
    assert second.code() == first.code()
    assert world.state() == state
    world.clock.advance(STEP)
    world.verify(first.code())
    assert type(error_of(lambda: world.verify(second.code()))) is AlreadyUsed
    world.clock.advance(STEP)
    assert world.verify(second.code())


# SEED-MANY


def test_one_app_holds_many_independent_devices() -> None:
    """SEED-MANY: the codes of one principal do not verify for another."""
    world = World()
    others = [ALICE, ALICE.user("999999999999", ALICE.name), ADMIN, ROOT]
    phones = [world.enroll(who, label=f"label {number}") for number, who in enumerate(others)]
    world.clock.advance(2 * STEP)
    assert len({phone.code() for phone in phones}) == len(phones)
    for who, phone in zip(others, phones, strict=True):
        foreign = next(other for other in phones if other is not phone)
        assert (
            type(error_of(lambda who=who, foreign=foreign: world.verify(foreign.code(), who)))
            is CodeRejected
        )
        assert world.verify(phone.code(), who).principal == who


# Out of sync, and the answer


def test_codes_of_a_device_out_of_sync_are_not_evaluated() -> None:
    """SEED-LATE: right and wrong codes get the same answer until the device is resynchronized."""
    world = World()
    phone = world.enroll(steps_off=-5)
    with world.nothing_written():
        for code in (phone.code(-4), phone.code(0), phone.wrong_code()):
            error = error_of(lambda code=code: world.verify(code))
            assert type(error) is OutOfSync
            assert (error.reason, error.remedy, error.retry_after) == (
                "out of sync",
                "resync",
                None,
            )


def test_the_receipt_says_what_was_accepted() -> None:
    """The receipt has principal, serial, step, time, drift and cleared failures, and gives the
    claim.
    """
    world, phone = adopted(1_000_000_000.75)
    world.fail(phone)
    receipt = world.verify(phone.code())
    serial = world.device().serial
    assert (receipt.principal, receipt.serial) == (ALICE, serial)
    assert (receipt.step, receipt.at) == (1_000_000_000 // STEP, 1_000_000_000)
    assert (receipt.drift, receipt.failures_cleared) == (0, 1)
    assert (receipt.claim.at, receipt.claim.serial) == (receipt.at, serial)


def test_an_acceptance_changes_only_last_step_and_failures() -> None:
    """RULE-MACHINE: the device stays assigned and in sync."""
    world, phone = adopted(1_000_000_000)
    world.fail(phone)
    before = world.device()
    world.verify(phone.code())
    after = world.device()
    assert (after.last_step, after.failures) == (1_000_000_000 // STEP, 0)
    for name in (
        "serial",
        "parameters",
        "enrolled_at",
        "sync",
        "disabled",
        "drift",
        "synced_drift",
        "last_offset",
        "failed_at",
        "budget",
        "budget_updated_at",
    ):
        assert getattr(after, name) == getattr(before, name)


def test_acceptances_and_rejections_are_observed_and_not_stored() -> None:
    """The history has life-cycle events only."""
    world, phone = adopted(1_000_000_000)
    world.observed.clear()
    world.fail(phone)
    world.verify(phone.code())
    rejected, accepted = world.observed
    assert (rejected.type, rejected.reason) == (EventType.REJECTED, "not accepted")
    assert dict(rejected.details) == {"failures": 1, "lane": "unknown"}
    assert (accepted.type, accepted.details) == (
        EventType.ACCEPTED,
        (("step", 1_000_000_000 // STEP),),
    )
    for event in world.observed:
        assert (event.principal, event.serial, event.at) == (
            ALICE,
            world.device().serial,
            1_000_000_000,
        )
        assert event.actor.role == "claimant"
        assert not event.stored
    assert world.history_types() == [EventType.ADOPTED]


def test_without_a_device_there_is_nothing_to_verify() -> None:
    """RULE-MACHINE: unknown or enrolling, the error is the same, and nothing is written."""
    world = World()
    with world.nothing_written():
        assert type(error_of(lambda: world.verify("123456"))) is NoDevice
    opened = world.open()
    phone = world.phone(opened)
    with world.nothing_written():
        assert type(error_of(lambda: world.verify(phone.code()))) is NoDevice
