"""The strength of a policy: bounds that hold, figures computed by hand, weak settings."""

from __future__ import annotations

from dataclasses import fields
from math import inf

import pytest

from batches import refusal_of
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


def guess_probability(policy: Policy, **attack: float) -> float:
    return guessing(policy, **attack).probability


@pytest.mark.parametrize(("digits", "factor"), [(6, 1.00024), (7, 1.0012), (8, 1.0245)])
def test_the_chance_of_the_likeliest_code(digits, factor):
    """RFC4226-5.3-DT: 2^31 numbers are not evenly divided into 10^d codes."""
    assert likeliest(digits) * 10**digits == pytest.approx(factor, rel=1e-4)


def test_the_likeliest_code_by_counting():
    """Count the numbers below 2^31 whose last six digits are zeros."""
    assert likeliest(6) == len(range(0, 1 << 31, 10**6)) / (1 << 31)


@pytest.mark.parametrize(("guesses", "chance"), [(3, 9e-6), (10, 3e-5), (100, 3.0e-4)])
def test_known_chances(guesses, chance):
    result = guessing(Policy(), days=1, per_day=guesses, sign_ins_per_day=100)
    assert result.guesses == guesses
    assert result.probability == pytest.approx(chance, rel=0.01)


def test_each_new_device_has_a_full_budget():
    """The figures are per device: 12 more devices a year allow 1200 more guesses."""
    one, many = guessing(Policy()), guessing(Policy(), reenrollments_per_year=12)
    assert (one.devices, many.devices) == (1, 13)
    assert many.guesses == one.guesses + 1200
    assert many.probability == pytest.approx(4.4e-3, rel=0.02)
    assert guessing(Policy(), days=30, reenrollments_per_year=12).devices == 1
    assert guessing(Policy(), days=31, reenrollments_per_year=12).devices == 2


def test_a_new_device_clears_the_failures():
    """Without sign-ins, the cap disables each device after 100 guesses, in about four days."""
    monthly = guessing(Policy(), sign_ins_per_day=0, reenrollments_per_year=12)
    assert (monthly.bounded_by, monthly.guesses) == ("the failure cap", 13 * 100)
    daily = guessing(Policy(), sign_ins_per_day=0, reenrollments_per_year=365)
    assert daily.bounded_by == "the delays"
    assert daily.guesses < 366 * 100


def test_a_stolen_client_token_adds_a_second_lane_but_no_budget():
    known = Policy(known_clients=True)
    assert guessing(known).guesses == guessing(Policy()).guesses
    assert guessing(known, days=1).guesses == 2 * guessing(Policy(), days=1).guesses
    cap = {"days": 30, "sign_ins_per_day": 0}
    assert guessing(known, **cap).guesses == guessing(Policy(), **cap).guesses


def test_each_limit_of_an_attack():
    assert guessing(Policy(), days=1, per_day=5).bounded_by == "the attacker's rate"
    assert guessing(Policy(), days=1).bounded_by == "the delays"
    assert guessing(Policy(), sign_ins_per_day=0).bounded_by == "the failure cap"
    assert guessing(Policy()).bounded_by == "the guess budget"


def test_without_the_budget_a_device_is_guessed_in_decades():
    """In a year, the budget and its refill are used up. Without it, the chance is far higher."""
    assert guessing(Policy()).guesses == 100 + 365 // 2
    assert guess_probability(Policy()) == pytest.approx(8.46e-4, rel=0.01)
    assert guess_probability(NO_BUDGET) == pytest.approx(3.65e-2, rel=0.01)


def test_the_failure_cap_counts_once_per_sign_in():
    """An attacker who stops below the cap continues after the owner's next sign-in."""
    weekly = guessing(NO_BUDGET, days=70, sign_ins_per_day=1 / 7)
    assert (weekly.bounded_by, weekly.guesses) == ("the failure cap", 11 * 99 + 1)
    assert guessing(NO_BUDGET, days=70, sign_ins_per_day=0).guesses == 100
    assert guessing(Policy(), sign_ins_per_day=1 / 7).bounded_by == "the guess budget"


def test_the_bound_holds_whenever_the_owner_signs_in():
    """One sign-in makes two intervals. In each, three guesses have no delay and the others do."""
    day = guessing(NO_BUDGET, days=1, sign_ins_per_day=1)
    assert (day.bounded_by, day.guesses) == ("the delays", 2 * (3 + 8 + 10) + 1)


@pytest.mark.parametrize(("sign_ins", "most"), [(0, 100), (1, 98), (1 / 7, 98)])
def test_a_simulated_attacker_does_not_exceed_the_bound(sign_ins, most):
    """30 days of guesses against a registry, with at most so many failures in a row."""
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


def test_an_attack_can_end_while_the_delays_grow():
    """1000 + 2000 + 4000 + 8000 + 16000 s fit twice into a day, and then 32000 s do not."""
    slow = NO_BUDGET.replace(delay_seconds=1000, delay_cap=DAY)
    assert guessing(slow, days=1, sign_ins_per_day=1).guesses == 2 * (3 + 5)


@pytest.mark.parametrize(("delay", "guesses"), [(12_342, 8), (12_343, 7)])
def test_a_delay_counts_if_it_ends_within_the_attack(delay, guesses):
    policy = NO_BUDGET.replace(
        delay_from=1, delay_seconds=delay, delay_cap=delay
    )  # seven: 86,394 or 86,401 s
    assert guessing(policy, days=1, sign_ins_per_day=0).guesses == guesses


def test_the_defaults_are_a_year_and_a_daily_sign_in():
    assert guessing(NO_BUDGET) == guessing(NO_BUDGET, days=365, per_day=inf, sign_ins_per_day=1)
    assert report(NO_BUDGET) == report(NO_BUDGET, sign_ins_per_day=1)
    assert len({guessing(NO_BUDGET, days=days).guesses for days in (364, 365, 366)}) == 3
    assert len({guessing(NO_BUDGET, sign_ins_per_day=often).guesses for often in (0, 1, 2)}) == 3


def test_the_first_offer_is_analyzed():
    two = Policy(offers=(Parameters(digits=6), Parameters(digits=8, period=60)))
    assert guessing(two) == guessing(Policy())
    assert report(two).likeliest_code == likeliest(6)


def test_an_attack_of_no_time_or_rate_guesses_nothing():
    assert guess_probability(Policy(), days=0) == 0
    assert guess_probability(Policy(), per_day=0) == 0
    assert guessing(Policy(), days=0, per_day=inf).guesses == 0


def test_time_digits_and_window_matter():
    assert guess_probability(Policy(), days=1) < guess_probability(Policy(), days=30)
    assert guessing(Policy(), digits=8).probability < guessing(Policy(), digits=6).probability / 50
    assert guess_probability(Policy(window=0)) < guess_probability(Policy())


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
        {"reenrollments_per_year": -1},
        {"reenrollments_per_year": inf},
        {"digits": 9},
    ],
)
def test_an_impossible_number_is_refused(wrong):
    with pytest.raises(InvalidValue) as caught:
        guessing(Policy(), **wrong)
    (name,) = wrong
    assert str(caught.value) in {
        f"{name} must be a number of at least 0",
        "days, sign_ins_per_day and reenrollments_per_year must be finite",
        refusal_of(digits=9),
    }


def test_another_type_is_refused():
    with pytest.raises(InvalidType, match=r"^policy must be of type Policy$"):
        guessing({"window": 1})


def clauses(policy: Policy) -> set[tuple[str, str]]:
    return {(weak.setting, weak.clause) for weak in weaknesses(policy)}


def test_the_weaknesses_of_the_default_and_the_strict_policy():
    assert clauses(Policy()) == {
        ("enroll_back, enroll_forward", "RFC6238-5.2-DELAY"),
        ("binding_code_required", "SP80063B-4.2.1.2"),
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
def test_a_setting_below_a_norm_is_named(changes, setting, clause):
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
def test_a_setting_that_a_norm_just_allows_is_not_named(changes, clause):
    assert clause not in {weak.clause for weak in weaknesses(Policy(**changes))}


def test_the_sentences_of_the_weaknesses():
    weakest = Policy(
        window=2,
        delay_from=11,
        delay_cap=59,
        budget=1001,
        claim_seconds=DAY,
        offers=(Parameters(period=40), Parameters(period=121)),
    )
    assert [
        weak.sentence for weak in weaknesses(weakest) if "recommended is" not in weak.sentence
    ] == [
        "more than one step of network delay is accepted",
        "a pair that is not in sync assigns a device; Policy.strict() refuses it",
        "many failures pass without a delay",
        "the delay stays below a minute",
        "the budget hardly limits an attacker who stays below the failure cap",
        "a second factor of half a day ago is accepted",
        "after a removal by others the first factor alone enrolls a device; see Policy.strict()",
        "the recommended step is 30 seconds",
        "a code lives longer than two minutes",
        "the recommended step is 30 seconds",
        "a code is accepted for up to 200 s; the standard allows 30 s",
    ]
    narrow = Policy(window=0, offers=(Parameters(period=31),))
    assert "a code is accepted for up to 31 s; the standard allows 30 s" in [
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
def test_a_setting_above_its_default_is_named(name, clause):
    default = getattr(Policy(), name)
    more = {"resync_back": 21, "resync_forward": 21, name: default + 1}
    result = {(weak.setting, weak.clause): weak.sentence for weak in weaknesses(Policy(**more))}
    assert result[name, clause] == f"{default + 1}; recommended is at most {default}"
    assert (name, clause) not in clauses(
        Policy().replace(**{name: max(default - 1, 1), "budget_warning": 0})
    )


@pytest.mark.parametrize(("name", "clause"), WEAKER_IF_SMALLER)
def test_a_setting_below_its_default_is_named(name, clause):
    default = getattr(Policy(), name)
    (sentence,) = [
        weak.sentence
        for weak in weaknesses(Policy(**{name: default - 1}))
        if weak.clause == clause
    ]
    assert sentence == f"{default - 1}; recommended is at least {default}"
    assert (name, clause) not in clauses(Policy(**{name: default + 1}))


def test_every_field_of_a_policy_is_considered():
    judged = {"window", "binding_code_required", "offers"}
    judged.update(name for name, _ in (*WEAKER_IF_LARGER, *WEAKER_IF_SMALLER))
    judged |= {"failure_cap", "binding_code_seconds"}  # the norms' limits are the largest values
    judged |= {  # they add protection, or have no weaker setting
        "known_clients",
        "known_client_reserve",
        "client_token_seconds",
        "recovery_codes",
        "store_sign_ins",
    }
    assert judged == {field.name for field in fields(Policy)}


def test_the_report():
    result = report(Policy())
    assert (result.candidates, result.likeliest_code) == (3, likeliest(6))
    attacks = [(days, rate) for days in (1, 30, 365, 3650) for rate in (10, inf)]
    assert result.per_device == tuple(
        guessing(Policy(), days=days, per_day=rate) for days, rate in attacks
    )
    assert result.reenrollments_per_year == 12
    assert result.reenrolling == tuple(
        guessing(Policy(), days=days, per_day=rate, reenrollments_per_year=12)
        for days, rate in attacks
    )
    assert result.weaknesses == weaknesses(Policy())
