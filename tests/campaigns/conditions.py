"""The conditions of ``proofs.py``: does the library agree with a clause in plain arithmetic?"""

from __future__ import annotations

from dataclasses import dataclass

import vmfa.otp
from vmfa import Actor, MfaClaim, PrincipalId, VmfaError
from vmfa.access import claim_problem
from vmfa.otp import normalize_code, step_at, truncate, window_steps
from vmfa.policy import Policy
from vmfa.throttle import refilled_budget

POLICY = Policy()
WHO = PrincipalId.user("1", "u")
# The solver cannot follow the struct module: this is what reading four bytes with it means
vmfa.otp._unpack_word = lambda mac, offset: (int.from_bytes(mac[offset : offset + 4], "big"),)


@dataclass
class Device:
    """What the refill reads of a device."""

    budget: int
    budget_updated_at: int


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


def the_window_has_every_step_near_and_no_other(
    current: int, back: int, forward: int, step: int
) -> bool:
    """RFC6238-5.2-DELAY: a step is tried exactly if it exists and is within the window

    pre: 0 <= current < 2**64
    pre: 0 <= back <= 101 and 0 <= forward <= 101
    post: _
    """
    near = current - back <= step <= current + forward and 0 <= step < 2**64
    return (step in window_steps(current, back, forward)) == near


def the_window_is_never_wider_than_requested(current: int, back: int, forward: int) -> bool:
    """The work of a scan is bounded

    pre: 0 <= current < 2**64
    pre: 0 <= back <= 101 and 0 <= forward <= 101
    post: _
    """
    return len(window_steps(current, back, forward)) <= back + forward + 1


def only_ascii_digits_are_a_code(character: str, last: bool) -> bool:
    """SEED-SIX: any character at either end of a code is an ASCII digit or is refused

    pre: len(character) == 1
    post: _
    """
    text = "12345" + character if last else character + "12345"
    try:
        return normalize_code(text, (6,)) == text and "0" <= character <= "9"
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
    """RULE-BUDGET: one token per 48 h; no second is lost; a clock that went back takes nothing

    pre: 0 <= budget <= 100
    pre: -2**40 <= budget_updated_at <= 2**40 and -2**40 <= now <= 2**40
    post: _
    """
    tokens, since = refilled_budget(
        Device(budget, budget_updated_at),
        now,
        POLICY,  # type: ignore[arg-type]
    )
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
    problem = claim_problem(
        Actor.signed_in(WHO, mfa=MfaClaim(at=at, method="passkey")), None, now=now,
        policy=POLICY, tolerance=30, claim_is_authentic=lambda principal, claim: True,
    )  # fmt: skip
    return (not problem) == (at - 30 <= now <= at + 3600)
