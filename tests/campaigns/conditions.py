"""What is proved: each function returns whether the library agrees with the clause, put in plain arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

import vmfa.otp
from vmfa import VmfaError
from vmfa.access import _claim_counts
from vmfa.models import MfaClaim
from vmfa.otp import normalize_code, step_at, truncate, window_steps
from vmfa.policy import Policy
from vmfa.rules import _refilled

POLICY = Policy()
# The solver cannot look into the standard library's struct, so it is told what reading four bytes there means
vmfa.otp._word_at = lambda mac, offset: (int.from_bytes(mac[offset : offset + 4], "big"),)


@dataclass
class Device:
    """What the refill reads of a device."""

    budget: int
    budget_updated_at: int


@dataclass
class Case:
    """What the refill reads of a case."""

    now: int
    policy: Policy


def truncation_is_31_bits_from_the_offset_of_the_last_byte(mac: bytes) -> bool:
    """RFC4226-5.3-DT

    pre: len(mac) == 20
    post: _
    """
    offset = mac[19] % 16
    p = ((mac[offset] * 256 + mac[offset + 1]) * 256 + mac[offset + 2]) * 256 + mac[offset + 3]
    return truncate(mac) == p % 2**31


def the_step_is_the_floor(at: int, period: int, t0: int) -> bool:
    """RFC6238-4.2-FLOOR, without a division

    pre: 0 < period <= 300
    pre: -2**40 <= t0 <= at <= 2**62
    post: _
    """
    step = step_at(at, period=period, t0=t0)
    return step >= 0 and t0 + step * period <= at < t0 + (step + 1) * period


def the_window_is_what_is_near_and_exists(here: int, back: int, forward: int, step: int) -> bool:
    """RFC6238-5.2-DELAY: a step is tried if and only if it exists and lies no further than the window

    pre: 0 <= here < 2**64
    pre: 0 <= back <= 101 and 0 <= forward <= 101
    post: _
    """
    near = here - back <= step <= here + forward and 0 <= step < 2**64
    return (step in window_steps(here, back, forward)) == near


def the_window_is_never_wider_than_asked(here: int, back: int, forward: int) -> bool:
    """The work of a scan is bounded

    pre: 0 <= here < 2**64
    pre: 0 <= back <= 101 and 0 <= forward <= 101
    post: _
    """
    return len(window_steps(here, back, forward)) <= back + forward + 1


def only_ascii_digits_are_a_code(character: str, last: bool) -> bool:
    """SEED-SIX: any one character of Unicode, at either end of a code: an ASCII digit, or refused

    pre: len(character) == 1
    post: _
    """
    text = "12345" + character if last else character + "12345"
    try:
        return normalize_code(text, 6) == text and "0" <= character <= "9"
    except VmfaError:
        return not "0" <= character <= "9"


def the_delay_is_capped(failures: int) -> bool:
    """RULE-THROTTLE: min(15 s * 2^(n-3), 1 h) from the third failure, for any number of failures

    pre: failures >= 0
    post: _
    """
    expected = (
        (0, 0, 0, 15, 30, 60, 120, 240, 480, 960, 1920)[failures] if failures <= 10 else 3600
    )
    return POLICY.delay(failures) == expected


def the_budget_grows_by_whole_tokens_and_never_above_its_size(
    budget: int, budget_updated_at: int, now: int
) -> bool:
    """RULE-BUDGET: one token for each 48 h, no second of growth lost, a clock that went back takes nothing

    pre: 0 <= budget <= 100
    pre: -2**40 <= budget_updated_at <= 2**40 and -2**40 <= now <= 2**40
    post: _
    """
    tokens, since = _refilled(Device(budget, budget_updated_at), Context(now, POLICY))
    if tokens == 100:
        return since == now and (
            budget == 100 or now - budget_updated_at >= (100 - budget) * 172800
        )
    gained = tokens - budget
    left = now - since
    if now < budget_updated_at:
        return gained == 0 and since == budget_updated_at
    return gained >= 0 and since == budget_updated_at + gained * 172800 and 0 <= left < 172800


def a_claim_counts_for_an_hour(at: int, now: int) -> bool:
    """RULE-CLAIM

    pre: -2**40 <= at <= 2**40 and -2**40 <= now <= 2**40
    post: _
    """
    claim = MfaClaim(at=at, method="webauthn")
    return _claim_counts(claim, None, now, POLICY, 30) == (at - 30 <= now <= at + 3600)
