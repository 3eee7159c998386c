"""What a policy is worth: the chance of a guess, and every setting that is weaker than a clause recommends.

The attacker knows the first factor and the policy, misses until it hits, and chooses when to
guess. What is evaluated is bounded three ways, and the least counts: by the attacker's own rate,
by the growing delays and the failure cap between two sign-ins of the owner, and by the guess
budget with its refill. Each evaluated guess hits with at most the candidates of the window times
the chance of the likeliest code: truncation is not quite uniform (RFC4226-5.3-DT). The bound errs
on the attacker's side, by at most an eighth against attackers that were played: the owner's own
failures, which take from the same budget, are left out, and the owner signs in when it suits the
attacker.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, expm1, floor, inf, isfinite, log1p
from operator import gt, lt
from typing import Final

from .errors import InvalidType, InvalidValue
from .policy import DAY, Parameters, Policy

__all__ = ["Guessing", "PolicyReport", "Weakness", "guessing", "likeliest", "report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guessing:
    """What an attack gains: at most so many *guesses* are evaluated, *bounded_by* this; one hits with *probability*."""

    days: float
    per_day: float
    guesses: int
    bounded_by: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Weakness:
    """A *setting* that asks less than *clause* recommends, and why it matters."""

    setting: str
    clause: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReport:
    """The likeliest code's chance and the candidates of one guess, what attacks gain, and what is weak."""

    candidates: int
    likeliest_code: float
    guessing: tuple[Guessing, ...]
    weaknesses: tuple[Weakness, ...]


def likeliest(digits: int) -> float:
    """The chance of the likeliest code of so many digits: 31 bits do not fill them evenly."""
    codes: int = 10**digits
    return ((1 << 31) // codes + 1) / (1 << 31)


def guessing(
    policy: Policy, *, days: float = 365, per_day: float = inf, sign_ins_per_day: float = 1, digits: int | None = None
) -> Guessing:
    """How many guesses are evaluated at most, what bounds them, and the chance that one of them hits.

    :param sign_ins_per_day: of the owner: each forgets the consecutive failures, never the budget.
    :param digits: of the device, if not those of new ones.
    """
    if not isinstance(policy, Policy):
        raise InvalidType("policy is a Policy")
    for name, value in (("days", days), ("per_day", per_day), ("sign_ins_per_day", sign_ins_per_day)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            raise InvalidValue(f"{name} is a number, not negative")
    if not isfinite(days) or not isfinite(sign_ins_per_day):
        raise InvalidValue("days and sign_ins_per_day are finite")
    shape = policy.offers[0] if digits is None else Parameters(digits=digits)
    bounds = {
        "the attacker's rate": days * per_day if days else 0,
        **_bound_by_delays(policy, days, sign_ins_per_day),
        "the guess budget": policy.budget + days * DAY // policy.budget_refill,
    }
    bounded_by = min(bounds, key=lambda name: bounds[name])
    guesses = ceil(bounds[bounded_by])
    hit = (2 * policy.window + 1) * likeliest(shape.digits)
    probability = -expm1(guesses * log1p(-hit))
    return Guessing(days=days, per_day=per_day, guesses=guesses, bounded_by=bounded_by, probability=probability)


def _bound_by_delays(policy: Policy, days: float, sign_ins_per_day: float) -> dict[str, float]:
    """Each guess costs its delay, and each sign-in of the owner begins anew; the cap ends it, unless one stops before.

    Whenever the owner signs in: delays grow, so intervals of one length are the best for the
    attacker, and what time is left over is worth one guess more in some of them.
    """
    intervals = floor(days * sign_ins_per_day) + 1
    failures, waited = 0, 0
    while failures < policy.failure_cap and (waited + policy.delay(failures)) * intervals <= days * DAY:
        waited += policy.delay(failures)
        failures += 1
    if failures == policy.failure_cap:
        return {"the failure cap": (failures - 1) * intervals + 1}
    return {"the delays": failures * intervals + (days * DAY - waited * intervals) // policy.delay(failures)}


HORIZONS: Final = (1, 30, 365, 3650)  # days
RATES: Final = (10.0, inf)  # guesses a day


def report(policy: Policy, *, sign_ins_per_day: float = 1) -> PolicyReport:
    """What an auditor asks of *policy*, as a value."""
    rows = [
        guessing(policy, days=days, per_day=rate, sign_ins_per_day=sign_ins_per_day)
        for days in HORIZONS for rate in RATES
    ]
    return PolicyReport(
        candidates=2 * policy.window + 1, likeliest_code=likeliest(policy.offers[0].digits),
        guessing=tuple(rows), weaknesses=weaknesses(policy),
    )


AT_MOST: Final = {  # settings that are weaker where they are larger than the rule has them
    "enroll_back": "SEED-LATE", "enroll_forward": "SEED-LATE",
    "resync_back": "SEED-RESYNC", "resync_forward": "SEED-RESYNC", "login_drift": "RULE-DRIFT",
    "session_seconds": "RULE-ABANDONED", "session_attempts": "RULE-ABANDONED", "enrollments_per_day": "RULE-ABANDONED",
    "delay_from": "RULE-THROTTLE", "budget": "RULE-BUDGET",
    "claim_seconds": "RULE-CLAIM", "recovery_seconds": "SEED-RECOVER", "binding_code_seconds": "RULE-BINDING",
}
AT_LEAST: Final = {
    "delay_seconds": "RULE-THROTTLE", "delay_cap": "RULE-THROTTLE",
    "budget_refill": "RULE-BUDGET", "budget_warning": "RULE-BUDGET",
}


def weaknesses(policy: Policy) -> tuple[Weakness, ...]:
    """Each setting that asks less than a clause of the norms recommends, or less than the rules have it."""
    found = [
        (policy.window > 1, "window", "RFC6238-5.2-ONESTEP", "more than one step of network delay is accepted"),
        (
            policy.enroll_back > policy.window or policy.enroll_forward > policy.window, "enroll_back, enroll_forward",
            "RFC6238-5.2-DELAY", "a pair that is not in sync assigns a device; Policy.strict() refuses it",
        ),
        (policy.delay_from > 10, "delay_from", "RFC4226-7.3-T", "many failures pass without a delay"),
        (policy.delay_cap < 60, "delay_cap", "RFC4226-7.3-DELAY", "the delay stays below a minute"),
        (
            policy.budget > 1000 or policy.budget_refill < 3600, "budget, budget_refill", "RFC4226-7.1-RP2",
            "the lifetime budget hardly bounds who stays below the cap",
        ),
        (policy.claim_seconds > DAY // 2, "claim_seconds", "ASVS5-6.3.1", "a second factor of half a day ago counts"),
        (
            not policy.binding_code_required, "binding_code_required", "SP80063B-4.1.2.2",
            "after a removal by others the first factor alone enrolls a new device; Policy.strict() asks for a code",
        ),
    ]
    for shape in policy.offers:
        name = f"offers ({shape.algorithm}, {shape.digits} digits, {shape.period} s)"
        found += [
            (shape.period > 120, name, "SP80063B-3.1.4.1-NONCE", "a code lives longer than two minutes"),
            (shape.period > 30, name, "RFC6238-5.2-STEP30", "the recommended step is 30 seconds"),
        ]
    window = (2 * policy.window + 1) * policy.offers[0].period
    found.append(
        (window > 30, "window", "ASVS5-6.5.5", f"a code is accepted for up to {window} s, against 30 s of the standard")
    )
    usual = Policy()
    for names, weaker, bound in ((AT_MOST, gt, "at most"), (AT_LEAST, lt, "at least")):
        for name, clause in names.items():
            value, rule = getattr(policy, name), getattr(usual, name)
            found.append((weaker(value, rule), name, clause, f"{value}; the rule asks for {bound} {rule}"))
    return tuple(Weakness(setting=s, clause=c, sentence=why) for weak, s, c, why in found if weak)
