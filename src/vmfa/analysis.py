"""How well a policy resists guessing, and which of its settings are weaker than recommended.

The attacker knows the first factor and the policy, guesses wrong until a guess is right, and
chooses the times. Three limits apply to the guesses that are evaluated; the smallest one counts:

* the rate of the attacker,
* the growing delays and the failure cap between two sign-ins of the owner,
* the guess budget and its refill.

The chance of one guess is at most the number of candidates in the window, times the chance of the
most likely code: the codes are not quite equally likely (RFC 4226 section 5.3).

The result is a bound for one device, unless the caller states how often a year the owner enrolls a
new one: every new device starts with a full budget and without failures. The bound favors the
attacker: simulated attackers reach at least seven eighths of it. The failures of the owner, which
use the same budget, are not counted, and the owner signs in when it is best for the attacker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, expm1, floor, inf, isfinite, log1p
from operator import gt, lt
from typing import Final

from .errors import InvalidType, InvalidValue
from .policy import DAY, Parameters, Policy

__all__ = ["Guessing", "PolicyReport", "Weakness", "guessing", "likeliest", "report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guessing:
    """What an attack on one principal achieves.

    :param days: how long it lasts.
    :param per_day: how many guesses the attacker makes per day; infinity: as many as possible.
    :param devices: how many devices it meets, one after the other.
    :param guesses: how many of the guesses are evaluated at most, at all these devices.
    :param bounded_by: what limits them.
    :param probability: the chance that one of them is right: the chance per device, if the attack
        meets one device.
    """

    days: float
    per_day: float
    devices: int
    guesses: int
    bounded_by: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Weakness:
    """A setting that is weaker than recommended.

    :param setting: the name of the field of the policy.
    :param clause: the clause that recommends more.
    :param sentence: why it matters.
    """

    setting: str
    clause: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReport:
    """The report of a policy.

    :param candidates: how many codes are right at one time.
    :param likeliest_code: the chance of the most likely code.
    :param per_device: what attacks of different lengths and rates on one device achieve.
    :param reenrollments_per_year: how often the owner enrolls a new device in ``reenrolling``.
    :param reenrolling: the same attacks, if the owner enrolls new devices.
    """

    candidates: int
    likeliest_code: float
    per_device: tuple[Guessing, ...]
    reenrollments_per_year: float
    reenrolling: tuple[Guessing, ...]
    weaknesses: tuple[Weakness, ...]


def likeliest(digits: int) -> float:
    """Return the chance of the most likely code.

    A code is a number of 31 bits modulo a power of ten, so small codes are a little more likely.

    :param digits: the number of digits of the code.
    """
    codes: int = 10**digits  # RFC4226-5.3-DT
    return ((1 << 31) // codes + 1) / (1 << 31)


def guessing(
    policy: Policy,
    *,
    days: float = 365,
    per_day: float = inf,
    sign_ins_per_day: float = 1,
    reenrollments_per_year: float = 0,
    digits: int | None = None,
) -> Guessing:
    """Return how many guesses of an attacker are evaluated, and the chance that one is right.

    Without re-enrollments, the result is per device.

    :param days: how long the attack lasts.
    :param per_day: how many guesses the attacker makes per day; infinity: as many as possible.
    :param sign_ins_per_day: how often the owner signs in. A sign-in resets the consecutive
        failures, and not the budget.
    :param reenrollments_per_year: how often the owner enrolls a new device, for example because
        guesses disabled the old one. Each has a full budget.
    :param digits: the digits of the device; None: those of new devices.
    :raises InvalidType: *policy* is not a policy.
    :raises InvalidValue: a number is negative or not finite.
    """
    if not isinstance(policy, Policy):
        raise InvalidType("policy must be of type Policy")
    # RULE-PER-DEVICE
    numbers = {
        "days": days, "per_day": per_day, "sign_ins_per_day": sign_ins_per_day,
        "reenrollments_per_year": reenrollments_per_year,
    }
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            raise InvalidValue(f"{name} must be a number of at least 0")
    if not all(map(isfinite, (days, sign_ins_per_day, reenrollments_per_year))):
        raise InvalidValue("days, sign_ins_per_day and reenrollments_per_year must be finite")
    devices = 1 + floor(days * reenrollments_per_year / 365)
    parameters = policy.offers[0] if digits is None else Parameters(digits=digits)
    bounds = {
        "the attacker's rate": days * per_day if days else 0,
        **_bound_by_delays(policy, days, sign_ins_per_day, devices),
        "the guess budget": policy.budget * devices + days * DAY // policy.budget_refill,
    }
    bounded_by = min(bounds, key=lambda name: bounds[name])
    guesses = ceil(bounds[bounded_by])
    chance = (2 * policy.window + 1) * likeliest(parameters.digits)
    return Guessing(
        days=days, per_day=per_day, devices=devices, guesses=guesses, bounded_by=bounded_by,
        probability=-expm1(guesses * log1p(-chance)),
    )


def _bound_by_delays(
    policy: Policy, days: float, sign_ins_per_day: float, devices: int
) -> dict[str, float]:
    """Return the limit that the delays or the failure cap set.

    The sign-ins of the owner and the new devices divide the attack into intervals. Delays grow
    within an interval, so intervals of equal length are best for the attacker. The time that
    remains is enough for one more guess in some of them. Before the cap disables the device, the
    attacker waits for the next sign-in.
    """
    intervals = floor(days * sign_ins_per_day) + devices
    seconds = days * DAY
    failures, waited = 0, 0
    while failures < policy.failure_cap:
        if (waited + policy.delay(failures)) * intervals > seconds:
            break
        waited += policy.delay(failures)
        failures += 1
    if failures == policy.failure_cap:
        return {"the failure cap": (failures - 1) * intervals + devices}
    remaining = (seconds - waited * intervals) // policy.delay(failures)
    lanes = 2 if policy.known_clients else 1  # an attacker with a stolen token guesses in both
    return {"the delays": lanes * (failures * intervals + remaining)}


HORIZONS: Final = (1, 30, 365, 3650)  # days
RATES: Final = (10.0, inf)  # guesses a day


def report(
    policy: Policy, *, sign_ins_per_day: float = 1, reenrollments_per_year: float = 12
) -> PolicyReport:
    """Return how well *policy* resists attacks of different lengths and rates.

    :param policy: the policy.
    :param sign_ins_per_day: how often the owner signs in.
    :param reenrollments_per_year: how often the owner enrolls a new device.
    """

    def rows(reenrollments: float) -> tuple[Guessing, ...]:
        return tuple(
            guessing(
                policy, days=days, per_day=rate, sign_ins_per_day=sign_ins_per_day,
                reenrollments_per_year=reenrollments,
            )
            for days in HORIZONS
            for rate in RATES
        )

    return PolicyReport(
        candidates=2 * policy.window + 1,
        likeliest_code=likeliest(policy.offers[0].digits),
        per_device=rows(0),
        reenrollments_per_year=reenrollments_per_year,
        reenrolling=rows(reenrollments_per_year),
        weaknesses=weaknesses(policy),
    )


AT_MOST: Final = {  # weaker if they are larger than the default
    "enroll_back": "SEED-LATE",
    "enroll_forward": "SEED-LATE",
    "resync_back": "SEED-RESYNC",
    "resync_forward": "SEED-RESYNC",
    "login_drift": "RULE-DRIFT",
    "session_seconds": "RULE-ABANDONED",
    "session_attempts": "RULE-ABANDONED",
    "enrollments_per_day": "RULE-ABANDONED",
    "delay_from": "RULE-THROTTLE",
    "budget": "RULE-BUDGET",
    "claim_seconds": "RULE-CLAIM",
    "recovery_seconds": "SEED-RECOVER",
}
AT_LEAST: Final = {  # weaker if they are smaller than the default
    "delay_seconds": "RULE-THROTTLE",
    "delay_cap": "RULE-THROTTLE",
    "budget_refill": "RULE-BUDGET",
    "budget_warning": "RULE-BUDGET",
}


def weaknesses(policy: Policy) -> tuple[Weakness, ...]:
    """Return each setting that is weaker than a norm recommends, or than the default."""
    return (*_weaker_than_norms(policy), *_weaker_than_defaults(policy))


def _weaker_than_norms(policy: Policy) -> Iterator[Weakness]:
    window_seconds = (2 * policy.window + 1) * policy.offers[0].period
    late = policy.enroll_back > policy.window or policy.enroll_forward > policy.window
    checks: list[tuple[bool, str, str, str]] = [
        (policy.window > 1, "window", "RFC6238-5.2-ONESTEP",
         "more than one step of network delay is accepted"),
        (late, "enroll_back, enroll_forward", "RFC6238-5.2-DELAY",
         "a pair that is not in sync assigns a device; Policy.strict() refuses it"),
        (policy.delay_from > 10, "delay_from", "RFC4226-7.3-T",
         "many failures pass without a delay"),
        (policy.delay_cap < 60, "delay_cap", "RFC4226-7.3-DELAY",
         "the delay stays below a minute"),
        (policy.budget > 1000 or policy.budget_refill < 3600, "budget, budget_refill",
         "RFC4226-7.1-RP2",
         "the budget hardly limits an attacker who stays below the failure cap"),
        (policy.claim_seconds > DAY // 2, "claim_seconds", "ASVS5-6.3.1",
         "a second factor of half a day ago is accepted"),
        (not policy.binding_code_required, "binding_code_required", "SP80063B-4.2.1.2",
         "after a removal by others the first factor alone enrolls a device; see Policy.strict()"),
    ]
    for offer in policy.offers:
        name = f"offers ({offer.algorithm}, {offer.digits} digits, {offer.period} s)"
        checks += [
            (offer.period > 120, name, "SP80063B-3.1.4.1-NONCE",
             "a code lives longer than two minutes"),
            (offer.period > 30, name, "RFC6238-5.2-STEP30",
             "the recommended step is 30 seconds"),
        ]
    checks.append(
        (window_seconds > 30, "window", "ASVS5-6.5.5",
         f"a code is accepted for up to {window_seconds} s; the standard allows 30 s")
    )
    for weak, setting, clause, sentence in checks:
        if weak:
            yield Weakness(setting=setting, clause=clause, sentence=sentence)


def _weaker_than_defaults(policy: Policy) -> Iterator[Weakness]:
    defaults = Policy()
    for names, weaker, bound in ((AT_MOST, gt, "at most"), (AT_LEAST, lt, "at least")):
        for name, clause in names.items():
            value, default = getattr(policy, name), getattr(defaults, name)
            if weaker(value, default):
                sentence = f"{value}; recommended is {bound} {default}"
                yield Weakness(setting=name, clause=clause, sentence=sentence)
