"""The analysis of a policy: its bounds hold, and weak settings are named."""

from __future__ import annotations

import re
from dataclasses import fields
from math import inf

import pytest

from support import enroll
from vmfa import (
    CodeRejected,
    DerivedKeys,
    DeviceDisabled,
    DeviceRegistry,
    InvalidType,
    InvalidValue,
    MemoryStore,
    Parameters,
    Policy,
    PrincipalId,
)
from vmfa.analysis import guessing, likeliest, report, weaknesses
from vmfa.testing import FrozenClock

DAY = 86400
ALICE = PrincipalId.user("123456789012", "u-4711")
NO_BUDGET = Policy(budget=10_000, budget_refill=60, budget_warning=0)


@pytest.mark.parametrize(("digits", "factor"), [(6, 1.00024), (7, 1.0012), (8, 1.0245)])
def test_the_chance_of_the_likeliest_code(digits, factor):
    """RFC4226-5.3-DT: 2^31 numbers are not distributed evenly over 10^d codes."""
    assert likeliest(digits) * 10**digits == pytest.approx(factor, rel=1e-4)


def test_the_likeliest_code_by_definition():
    """The numbers below 2^31 whose last digits are zeros."""
    assert likeliest(6) == len(range(0, 1 << 31, 10**6)) / (1 << 31)


@pytest.mark.parametrize(("guesses", "chance"), [(3, 9e-6), (10, 3e-5), (100, 3.0e-4)])
def test_known_chances(guesses, chance):
    result = guessing(Policy(), days=1, per_day=guesses, sign_ins_per_day=100)
    assert result.guesses == guesses
    assert result.probability == pytest.approx(chance, rel=0.01)


def test_what_bounds_an_attack():
    assert guessing(Policy(), days=1, per_day=5).bounded_by == "the attacker's rate"
    assert guessing(Policy(), days=1).bounded_by == "the delays"
    assert guessing(Policy(), sign_ins_per_day=0).bounded_by == "the failure cap"
    assert guessing(Policy()).bounded_by == "the guess budget"


def test_the_budget_bounds_the_guesses_of_a_year():
    """The first year uses the budget once and what it refills; without a budget a daily user would
    be guessed within decades.
    """
    assert guessing(Policy()).guesses == 100 + 365 // 2
    assert guessing(Policy()).probability == pytest.approx(8.46e-4, rel=0.01)
    assert guessing(NO_BUDGET).probability == pytest.approx(3.65e-2, rel=0.01)


def test_the_failure_cap_bounds_the_guesses_between_two_sign_ins():
    """An attacker that stops before the cap continues after the next sign-in of the owner, which
    clears the failures.
    """
    weekly = guessing(NO_BUDGET, days=70, sign_ins_per_day=1 / 7)
    assert (weekly.bounded_by, weekly.guesses) == ("the failure cap", 11 * 99 + 1)
    assert guessing(NO_BUDGET, days=70, sign_ins_per_day=0).guesses == 100
    assert guessing(Policy(), sign_ins_per_day=1 / 7).bounded_by == "the guess budget"


def test_the_bound_holds_whenever_the_owner_signs_in():
    """One day has two intervals: three guesses without a delay and a growing delay for each
    further one.
    """
    day = guessing(NO_BUDGET, days=1, sign_ins_per_day=1)
    assert (day.bounded_by, day.guesses) == ("the delays", 2 * (3 + 8 + 10) + 1)


@pytest.mark.parametrize(("sign_ins", "most"), [(0, 100), (1, 98), (1 / 7, 98)])
def test_an_attack_on_a_real_registry_stays_within_the_bound(sign_ins, most):
    """30 days of guessing, greedily up to a number of consecutive failures."""
    clock = FrozenClock()
    registry = DeviceRegistry(
        MemoryStore(), keys=DerivedKeys(bytes(32)), issuer="Example", clock=clock, policy=NO_BUDGET
    )
    victim = enroll(registry, clock, ALICE)
    apart = DAY / sign_ins if sign_ins else inf
    end, signs_in, evaluated, in_a_row = clock.now + 30 * DAY, clock.now + apart, 0, 0
    while clock.now < end:
        if clock.now >= signs_in:
            try:
                registry.verify(ALICE, victim.phone.code())
                signs_in, in_a_row = signs_in + apart, 0
            except CodeRejected as refused:
                clock.advance(refused.retry_after or 30)
                continue
        if in_a_row == most:
            clock.now = min(signs_in, end)
            continue
        in_a_row += 1
        evaluated += 1
        try:
            registry.verify(ALICE, victim.phone.wrong_code(3))
        except DeviceDisabled:
            break
        except CodeRejected as refused:
            clock.advance(refused.retry_after or 1)
    bound = guessing(NO_BUDGET, days=30, sign_ins_per_day=sign_ins).guesses
    assert 0.9 * bound <= evaluated <= bound


def test_an_attack_that_ends_while_the_delays_still_grow():
    """Twice a day 1000 + 2000 + 4000 + 8000 + 16000 s pass; the rest is too short for 32000 s."""
    slow = NO_BUDGET.replace(delay_seconds=1000, delay_cap=DAY)
    assert guessing(slow, days=1, sign_ins_per_day=1).guesses == 2 * (3 + 5)


@pytest.mark.parametrize(("delay", "guesses"), [(12_342, 8), (12_343, 7)])
def test_a_delay_counts_only_if_it_ends_within_the_day(delay, guesses):
    policy = NO_BUDGET.replace(
        delay_from=1, delay_seconds=delay, delay_cap=delay
    )  # seven: 86,394 or 86,401 s
    assert guessing(policy, days=1, sign_ins_per_day=0).guesses == guesses


def test_the_default_attack_is_a_year_with_a_sign_in_each_day():
    assert guessing(NO_BUDGET) == guessing(NO_BUDGET, days=365, per_day=inf, sign_ins_per_day=1)
    assert report(NO_BUDGET) == report(NO_BUDGET, sign_ins_per_day=1)
    assert len({guessing(NO_BUDGET, days=days).guesses for days in (364, 365, 366)}) == 3
    assert len({guessing(NO_BUDGET, sign_ins_per_day=often).guesses for often in (0, 1, 2)}) == 3


def test_the_device_has_the_parameters_of_the_first_offer():
    two = Policy(offers=(Parameters(digits=6), Parameters(digits=8, period=60)))
    assert guessing(two) == guessing(Policy())
    assert report(two).likeliest_code == likeliest(6)


def test_without_time_or_guesses_the_chance_is_zero():
    assert guessing(Policy(), days=0).probability == 0
    assert guessing(Policy(), per_day=0).probability == 0
    assert guessing(Policy(), days=0, per_day=inf).guesses == 0


def test_the_chance_grows_with_time_and_window_and_shrinks_with_digits():
    assert guessing(Policy(), days=1).probability < guessing(Policy(), days=30).probability
    assert guessing(Policy(), digits=8).probability < guessing(Policy(), digits=6).probability / 50
    assert guessing(Policy(window=0)).probability < guessing(Policy()).probability


@pytest.mark.parametrize(
    "wrong",
    [
        {"days": -1},
        {"days": inf},
        {"days": float("nan")},
        {"per_day": -1},
        {"per_day": "5"},
        {"sign_ins_per_day": inf},
        {"sign_ins_per_day": True},
        {"digits": 9},
    ],
)
def test_an_invalid_argument_is_refused(wrong):
    with pytest.raises(InvalidValue, match=next(iter(wrong))):
        guessing(Policy(), **wrong)


def test_the_policy_must_be_a_policy():
    with pytest.raises(InvalidType, match=r"^policy .*Policy"):
        guessing({"window": 1})


def clauses(policy: Policy) -> set[tuple[str, str]]:
    return {(weak.setting, weak.clause) for weak in weaknesses(policy)}


def test_the_weaknesses_of_the_default_and_the_strict_policy():
    assert clauses(Policy()) == {
        ("enroll_back, enroll_forward", "RFC6238-5.2-DELAY"),
        ("binding_code_required", "SP80063B-4.1.2.2"),
        ("window", "ASVS5-6.5.5"),
    }
    assert clauses(Policy.strict()) == {("window", "ASVS5-6.5.5")}


@pytest.mark.parametrize(
    ("changes", "setting", "clause"),
    [
        ({"window": 2}, "window", "RFC6238-5.2-ONESTEP"),
        (
            {"enroll_back": 2, "enroll_forward": 1},
            "enroll_back, enroll_forward",
            "RFC6238-5.2-DELAY",
        ),
        (
            {"enroll_back": 1, "enroll_forward": 2},
            "enroll_back, enroll_forward",
            "RFC6238-5.2-DELAY",
        ),
        ({"delay_from": 11}, "delay_from", "RFC4226-7.3-T"),
        ({"delay_cap": 59}, "delay_cap", "RFC4226-7.3-DELAY"),
        ({"budget": 1001}, "budget, budget_refill", "RFC4226-7.1-RP2"),
        ({"budget_refill": 3599}, "budget, budget_refill", "RFC4226-7.1-RP2"),
        ({"claim_seconds": DAY}, "claim_seconds", "ASVS5-6.3.1"),
        (
            {"offers": (Parameters(period=31),)},
            "offers (sha1, 6 digits, 31 s)",
            "RFC6238-5.2-STEP30",
        ),
        (
            {"offers": (Parameters(), Parameters(period=121))},
            "offers (sha1, 6 digits, 121 s)",
            "SP80063B-3.1.4.1-NONCE",
        ),
    ],
)
def test_each_weak_setting_is_named(changes, setting, clause):
    assert (setting, clause) in clauses(Policy(**changes))
    assert (setting, clause) not in clauses(Policy.strict())


@pytest.mark.parametrize(
    ("changes", "clause"),
    [
        ({"delay_from": 10}, "RFC4226-7.3-T"),
        ({"delay_cap": 60}, "RFC4226-7.3-DELAY"),
        ({"budget": 1000}, "RFC4226-7.1-RP2"),
        ({"budget_refill": 3600}, "RFC4226-7.1-RP2"),
        ({"claim_seconds": DAY // 2}, "ASVS5-6.3.1"),
        ({"window": 0}, "ASVS5-6.5.5"),
        ({"offers": (Parameters(), Parameters(period=120))}, "SP80063B-3.1.4.1-NONCE"),
    ],
)
def test_a_setting_at_the_limit_is_not_named(changes, clause):
    assert clause not in {weak.clause for weak in weaknesses(Policy(**changes))}


def test_the_sentences():
    weakest = Policy(
        window=2,
        delay_from=11,
        delay_cap=59,
        budget=1001,
        claim_seconds=DAY,
        offers=(Parameters(period=40), Parameters(period=121)),
    )
    assert [
        weak.sentence for weak in weaknesses(weakest) if "the rule asks" not in weak.sentence
    ] == [
        "more than one step of network delay is accepted",
        "a pair that is not in sync assigns a device ; Policy.strict() refuses it",
        "many failures pass without a delay",
        "the delay stays below a minute",
        "the lifetime budget hardly bounds who stays below the cap",
        "a second factor of half a day ago counts",
        (
            "after a removal by others the first factor alone enrolls a new device; "
            "Policy.strict() asks for a code"
        ),
        "the recommended step is 30 seconds",
        "a code lives longer than two minutes",
        "the recommended step is 30 seconds",
        "a code is accepted for up to 200 s, against 30 s of the standard",
    ]
    narrow = Policy(window=0, offers=(Parameters(period=31),))
    assert "a code is accepted for up to 31 s, against 30 s of the standard" in [
        w.sentence for w in weaknesses(narrow)
    ]


WEAKER_IF_LARGER = [
    ("enroll_back", "SEED-LATE"),
    ("enroll_forward", "SEED-LATE"),
    ("resync_back", "SEED-RESYNC"),
    ("resync_forward", "SEED-RESYNC"),
    ("login_drift", "RULE-DRIFT"),
    ("session_seconds", "RULE-ABANDONED"),
    ("session_attempts", "RULE-ABANDONED"),
    ("enrollments_per_day", "RULE-ABANDONED"),
    ("delay_from", "RULE-THROTTLE"),
    ("budget", "RULE-BUDGET"),
    ("claim_seconds", "RULE-CLAIM"),
    ("recovery_seconds", "SEED-RECOVER"),
]
WEAKER_IF_SMALLER = [
    ("delay_seconds", "RULE-THROTTLE"),
    ("delay_cap", "RULE-THROTTLE"),
    ("budget_refill", "RULE-BUDGET"),
    ("budget_warning", "RULE-BUDGET"),
]


@pytest.mark.parametrize(("name", "clause"), WEAKER_IF_LARGER)
def test_a_setting_above_the_rule_is_named(name, clause):
    usual = getattr(Policy(), name)
    more = {"resync_back": 21, "resync_forward": 21, name: usual + 1}
    sentences = {(weak.setting, weak.clause): weak.sentence for weak in weaknesses(Policy(**more))}
    assert re.findall(r"\d+", sentences[name, clause]) == [str(usual + 1), str(usual)]
    assert (name, clause) not in clauses(
        Policy().replace(**{name: max(usual - 1, 1), "budget_warning": 0})
    )


@pytest.mark.parametrize(("name", "clause"), WEAKER_IF_SMALLER)
def test_a_setting_below_the_rule_is_named(name, clause):
    usual = getattr(Policy(), name)
    (sentence,) = [
        weak.sentence for weak in weaknesses(Policy(**{name: usual - 1})) if weak.clause == clause
    ]
    assert re.findall(r"\d+", sentence) == [str(usual - 1), str(usual)]
    assert (name, clause) not in clauses(Policy(**{name: usual + 1}))


def test_every_field_of_a_policy_is_judged():
    judged = {"window", "binding_code_required", "offers"}
    judged.update(name for name, _ in (*WEAKER_IF_LARGER, *WEAKER_IF_SMALLER))
    judged.add("failure_cap")  # no policy has more than SP80063B-3.2.2-CAP allows
    # The policy itself allows no more than a day, and known clients do not add guesses.
    judged |= {"binding_code_seconds", "known_clients", "known_client_reserve"}
    judged |= {"client_token_seconds", "recovery_codes", "store_sign_ins"}
    assert judged == {field.name for field in fields(Policy)}


def test_the_report():
    result = report(Policy())
    assert (result.candidates, result.likeliest_code) == (3, likeliest(6))
    assert {(row.days, row.per_day) for row in result.guessing} == {
        (days, rate) for days in (1, 30, 365, 3650) for rate in (10, inf)
    }
    assert result.weaknesses == weaknesses(Policy())
