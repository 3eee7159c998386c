"""The rules of imports, repair, retention and reading, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from . import errors
from .decision import Context, Decision
from .events import AuditEvent, EventType
from .guards import check_clock, intact_device, parameters_of, superseded, without_key
from .history import is_redacted
from .keys import Key
from .models import Principal, Sync, VirtualDevice
from .otp import check_int
from .policy import Parameters
from .record import check_intact
from .validators import check_instance, check_text, check_time


def adopt(
    before: Principal,
    ctx: Context,
    key: Key,
    parameters: Parameters,
    last_step: int | None,
    drift: int,
    failures: int,
    failed_at: int | None,
    system: str,
) -> Decision[VirtualDevice]:
    """Assign a device of another system, with its replay position.

    If *last_step* is None, every code that the other system can have accepted is spent.
    """
    now, policy = ctx.now, ctx.policy
    check_instance("key", key, Key)
    check_text("system", system)
    if parameters not in policy.offers:
        raise errors.InvalidValue(
            "the policy does not offer the algorithm, digits, period and T0 of this device: "
            "add them to Policy(offers=...)"
        )
    check_int("drift", drift, -policy.resync_back, policy.resync_forward)
    check_int("failures", failures, 0, policy.failure_cap)
    if failed_at is not None:
        check_time("failed_at", failed_at)
    check_intact(before, ctx.keys)
    if before.device is not None:
        raise errors.DeviceAlreadyAssigned(
            "this principal has a device: an import never overwrites one"
        )
    check_clock(before, ctx)
    newest = parameters.step_at(now) + drift + policy.window
    spent = newest if last_step is None else last_step
    check_int("last_step", spent, -1, newest + policy.resync_forward)
    device = VirtualDevice(
        serial=ctx.random(16).hex(), parameters=parameters, enrolled_at=now, sync=Sync.IN_SYNC,
        disabled=failures >= policy.failure_cap, drift=drift, synced_drift=drift, last_step=spent,
        failures=failures, failed_at=now if failed_at is None else min(failed_at, now),
        budget=policy.budget, budget_updated_at=now,
    )
    key_ref = ctx.keys.adopt(before.id, device.serial, parameters, key)
    after = replace(before, enrollment=None, device=device, key_ref=key_ref, binding=None)
    event = ctx.event(EventType.ADOPTED, device.serial, system=system, last_step=spent)
    return Decision(
        principal=after, answer=device, events=(*superseded(before, ctx), event)
    )


def reanchor(before: Principal, ctx: Context) -> Decision[None]:
    """Accept the present time again: every stored time in the future becomes the present.

    ``last_step`` is never lowered.
    """
    # RULE-REANCHOR
    check_intact(before, ctx.keys)
    if before.revision == 0:
        raise errors.NoDevice("this principal is unknown")
    now, policy = ctx.now, ctx.policy
    device, session, binding = before.device, before.enrollment, before.binding
    last_expiry = now + policy.client_token_seconds
    if device is not None:
        device = replace(
            device,
            enrolled_at=min(device.enrolled_at, now),
            failed_at=min(device.failed_at, now),
            known_failed_at=min(device.known_failed_at, now),
            budget_updated_at=min(device.budget_updated_at, now),
            budget_restored_at=min(device.budget_restored_at, now),
            clients=replace(
                device.clients,
                failing=tuple(
                    replace(client, expires_at=min(client.expires_at, last_expiry))
                    for client in device.clients.failing
                ),
            ),
            recovery=replace(
                device.recovery, failed_at=min(device.recovery.failed_at, now)
            ),
        )
    if session is not None:
        session = replace(
            session, opened_at=min(session.opened_at, now),
            expires_at=min(session.expires_at, now + policy.session_seconds),
        )
    if binding is not None:
        expires_at = min(binding.expires_at, now + policy.binding_code_seconds)
        binding = replace(binding, expires_at=expires_at)
    after = replace(
        before, seen_at=now, device=device, enrollment=session, binding=binding,
        recovered_at=min(before.recovered_at, now),
        enrollment_times=tuple(min(at, now) for at in before.enrollment_times),
    )
    event = ctx.event(EventType.REANCHORED, seen_at=before.seen_at)
    return Decision(principal=after, answer=None, events=(event,))


def mark_spent(before: Principal, ctx: Context, until: int) -> Decision[None]:
    """Treat every code up to the Unix time *until* as used, after commits may have been lost.

    It works even if the clock went back, and never lowers a step. An open enrollment is canceled.
    """
    # RULE-MARK-SPENT
    check_time("until", until)
    check_intact(before, ctx.keys)
    policy, device, session = ctx.policy, before.device, before.enrollment
    period = parameters_of(before, policy).period
    if until > max(ctx.now, before.seen_at) + period:
        raise errors.InvalidValue("until must not be in the future: pass a Unix time in seconds")
    if session is not None:
        event = ctx.event(EventType.MARKED_SPENT, session.serial, until=until)
        canceled = ctx.event(EventType.CANCELED, session.serial)
        return Decision(
            principal=without_key(before), answer=None, events=(event, canceled)
        )
    if device is None:
        return Decision(principal=before, answer=None)
    spent = device.parameters.step_at(until) + policy.resync_forward + policy.window
    if spent <= device.last_step:
        return Decision(principal=before, answer=None)
    event = ctx.event(
        EventType.MARKED_SPENT, device.serial, until=until, before=device.last_step, after=spent
    )
    after = replace(before, device=replace(device, last_step=spent))
    return Decision(principal=after, answer=None, events=(event,))


def forget(before: Principal, ctx: Context) -> Decision[None]:
    """Erase the principal and its history, and destroy its key."""
    if before.revision == 0:
        return Decision(principal=before, answer=None)
    event = ctx.event(EventType.FORGOTTEN)
    return Decision(principal=Principal(id=before.id), answer=None, events=(event,))


def prune_history(
    before: Principal, ctx: Context, history: Sequence[AuditEvent], older_than: int
) -> Decision[int]:
    """Redact the oldest events, up to the first redactable one at or after *older_than*."""
    check_time("older_than", older_than)
    check_intact(before, ctx.keys)
    if len(history) != before.events or (history and history[-1].digest != before.head):
        raise errors.StoreContended("this history changed while it was read: try again")
    old: list[AuditEvent] = []
    for event in history:
        if event.redactable and not is_redacted(event):  # SP80063B-4.1-RECORD
            if event.at >= older_than:
                break
            old.append(event)
    if not old:
        return Decision(principal=before, answer=0)
    after = replace(before, pruned=old[-1].number)
    pruned = ctx.event(EventType.PRUNED, events=len(old), older_than=older_than)
    return Decision(principal=after, answer=len(old), events=(pruned,))


# Reads


def read_device(before: Principal, ctx: Context) -> Decision[VirtualDevice]:
    """Return the assigned device."""
    device = intact_device(before, ctx)
    event = ctx.event(EventType.READ, device.serial, "device")
    return Decision(principal=before, answer=device, events=(event,))


def read_history(before: Principal, ctx: Context) -> Decision[Principal]:
    """Return the record, which the history is checked against."""
    check_intact(before, ctx.keys)
    event = ctx.event(EventType.READ, reason="history")
    return Decision(principal=before, answer=before, events=(event,))
