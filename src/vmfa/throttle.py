"""How failures are counted: the delays, the cap, the guess budget, and the lanes of clients.

A lane is a count of consecutive failures with its delays. Without known clients there is one lane.
With known clients, the failures of clients with a valid token are counted in a second lane, and a
part of the budget is reserved for it: an attacker without a token cannot lock the owner out.
"""

from __future__ import annotations

from dataclasses import replace

from .clients import KnownClient, after_failure, can_note_failure, is_demoted
from .errors import CodeRejected, DeviceDisabled, SignInClosed, Throttled
from .models import VirtualDevice
from .policy import Policy


def check_open(
    device: VirtualDevice, client: KnownClient | None, now: int, policy: Policy
) -> None:
    """Check that a code of *device* may be evaluated now.

    :param client: the known client that presents the code, or None.
    :raises DeviceDisabled: there were too many consecutive failures.
    :raises SignInClosed: the budget is used up, or the lane without a token is closed.
    :raises Throttled: the delay after the last failure is not over.
    """
    if device.disabled:  # RULE-DISABLED
        raise DeviceDisabled("the device is disabled: deactivate it and enroll another one")
    without_token = policy.known_clients and client is None
    reserve = policy.known_client_reserve
    if without_token and device.failures >= policy.failure_cap - reserve:  # waiting does not help
        raise SignInClosed("clients without a token failed too often in a row")
    delay_wait = _delay_wait(device, client, now, policy)
    budget, updated_at = refilled_budget(device, now, policy)
    spare = budget - reserve if without_token else budget
    if spare <= 0:  # RULE-CLOSED
        refill_wait = updated_at + (1 - spare) * policy.budget_refill - now
        wait = max(refill_wait, delay_wait)
        raise SignInClosed(
            f"the guess budget of this device is used up: wait {wait} seconds",
            retry_after=wait,
            remedy="wait",
        )
    # RULE-THROTTLE, RFC4226-7.1-RP2, RFC4226-7.3-XSESSION, SP80063B-3.1.4.2-RATE, ASVS5-6.3.1
    if delay_wait > 0:
        raise Throttled(
            f"the next attempt is evaluated in {delay_wait} seconds", retry_after=delay_wait
        )


def _delay_wait(
    device: VirtualDevice, client: KnownClient | None, now: int, policy: Policy
) -> int:
    """Return the seconds until the delay is over: never more than the delay and one period."""
    # RULE-WAIT
    failures, failed_at = device.failures, device.failed_at
    if client is not None and can_note_failure(device, client, now):
        failures, failed_at = device.known_failures, device.known_failed_at
    delay = policy.delay(failures)
    return min(failed_at + delay - now, delay + device.parameters.period) if delay else 0


def announce_wait(
    answer: CodeRejected,
    device: VirtualDevice,
    client: KnownClient | None,
    now: int,
    policy: Policy,
) -> None:
    """Set on *answer* when the next attempt is evaluated, and what helps if the lane is closed.

    :param device: the device after the failure that *answer* reports.
    """
    if client is not None and is_demoted(device, client.token_id, now):
        client = None
    try:
        check_open(device, client, now, policy)
    except Throttled as next_answer:
        answer.retry_after = next_answer.retry_after
    except SignInClosed as next_answer:
        answer.retry_after, answer.remedy = next_answer.retry_after, next_answer.remedy


def after_failed_code(
    device: VirtualDevice, client: KnownClient | None, now: int, seen_at: int, policy: Policy
) -> VirtualDevice:
    """Return *device* with one more failure, and disabled if its failures reach the cap.

    :param client: the known client that presented the code, or None.
    :param seen_at: the highest time that was committed. A clock behind it shortens no delay.
    """
    # RULE-LANES
    budget, updated_at = refilled_budget(device, now, policy)
    failed_at = max(now, seen_at)
    device = replace(device, budget=max(budget - 1, 0), budget_updated_at=updated_at)
    # RULE-THROTTLE
    if client is None or not can_note_failure(device, client, now):
        device = replace(device, failures=device.failures + 1, failed_at=failed_at)
    else:
        device = after_failure(device, client, now)
        device = replace(
            device, known_failures=device.known_failures + 1, known_failed_at=failed_at
        )
    # SP80063B-3.2.2-CAP, RFC4226-7.2-LOCK
    if device.failures + device.known_failures >= policy.failure_cap:
        device = replace(device, disabled=True)
    return device


def refilled_budget(device: VirtualDevice, now: int, policy: Policy) -> tuple[int, int]:
    """Return the guess budget at *now*, and the Unix time from which the next refill counts."""
    # RULE-BUDGET, RULE-GUESS-LIMIT
    refills = max(0, now - device.budget_updated_at) // policy.budget_refill
    if device.budget + refills >= policy.budget:
        return policy.budget, now
    return device.budget + refills, device.budget_updated_at + refills * policy.budget_refill
