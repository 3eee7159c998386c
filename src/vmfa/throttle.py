"""How failures are counted: the delays, the cap, the guess budget, and the lanes of known clients.

Without known clients every failure is in the lane without a token. With them, failures of a client
that presents a valid token are counted in a lane of their own, and a part of the budget is
reserved for it, so that an attacker without a token cannot lock the owner out.
"""

from __future__ import annotations

from dataclasses import replace

from .clients import KnownClient, after_failure, has_room_for
from .errors import DeviceDisabled, SignInClosed, Throttled
from .models import VirtualDevice
from .policy import Policy


def check_open(
    device: VirtualDevice, client: KnownClient | None, now: int, policy: Policy
) -> None:
    """Check that a code of *device* may be evaluated now.

    :param client: the known client that presents the code, or None.
    :raises DeviceDisabled: there were too many consecutive failures.
    :raises SignInClosed: the lane is closed.
    :raises Throttled: the delay after the last failure is not over.
    """
    if device.disabled:  # RULE-DISABLED
        raise DeviceDisabled("the device is disabled: deactivate it and enroll another one")
    budget, updated_at = refilled_budget(device, now, policy)
    reserve = policy.known_client_reserve if policy.known_clients and client is None else 0
    if budget <= reserve:  # RULE-CLOSED
        refills = reserve + 1 - budget
        wait = updated_at + refills * policy.budget_refill - now
        raise SignInClosed(
            f"the guess budget of this device is used up; it returns in {wait} seconds",
            retry_after=wait,
            remedy="wait",
        )
    if (
        policy.known_clients
        and client is None
        and device.failures >= policy.failure_cap - policy.known_client_reserve
    ):
        raise SignInClosed("clients without a token failed too often in a row")
    failures, failed_at = device.failures, device.failed_at
    if client is not None:
        failures, failed_at = device.known_failures, device.known_failed_at
    # RFC4226-7.3-DELAY, RFC4226-7.3-XSESSION
    wait = announced_wait(failures, failed_at, now, policy, device.parameters.period)
    if wait > 0:
        raise Throttled(f"the next attempt is evaluated in {wait} seconds", retry_after=wait)


def announced_wait(failures: int, failed_at: int, now: int, policy: Policy, period: int) -> int:
    """Return the seconds until the next attempt: never longer than the delay and one period."""
    # RULE-WAIT
    delay = policy.delay(failures)
    return min(failed_at + delay - now, delay + period) if delay else 0


def after_failed_code(
    device: VirtualDevice, client: KnownClient | None, now: int, seen_at: int, policy: Policy
) -> VirtualDevice:
    """Return *device* with one more failure, and disabled if it was one too many.

    :param seen_at: the latest time that any verifier committed, so that no clock shortens a delay.
    """
    # RULE-THROTTLE, RULE-LANES, RFC4226-7.1-RP2, SP80063B-3.1.4.2-RATE, ASVS5-6.3.1
    budget, updated_at = refilled_budget(device, now, policy)
    failed_at = max(now, seen_at)
    device = replace(device, budget=max(budget - 1, 0), budget_updated_at=updated_at)
    if client is None or not has_room_for(device, client, now):
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
    """Return the guess budget at *now*, and the Unix time from which the next token grows."""
    # RULE-BUDGET
    returned = max(0, now - device.budget_updated_at) // policy.budget_refill
    if device.budget + returned >= policy.budget:
        return policy.budget, now
    return device.budget + returned, device.budget_updated_at + returned * policy.budget_refill
