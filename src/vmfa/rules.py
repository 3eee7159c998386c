"""The rules of device assignment: each transition as a pure function of state, input and context.

A guard refuses by raising an exception: nothing changes. The result of comparing codes, right or
wrong, changes the state, so it is returned together with the next state. The order of the checks
is part of the rules: permission, syntax, record intact, device or session present, clock,
disabled, closed, throttled, out of sync, codes. No guard computes a code.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import clients, errors, keyuri, models, recovery, throttle
from .access import OWNERS, Actor, Relationship
from .decision import Context, Decision
from .events import EventType
from .guards import (
    check_clock,
    code_lengths,
    find_consecutive_pair,
    intact_device,
    open_session,
    scan_steps,
    signed_claim,
    superseded,
    usable_device,
    without_key,
)
from .keys import base32
from .models import (
    BindingCode,
    ClientState,
    ClientToken,
    EnrollmentSession,
    PendingBinding,
    Principal,
    RecoveryCodes,
    RecoveryState,
    Sync,
    VirtualDevice,
)
from .otp import normalize_code, window_steps
from .policy import DAY
from .record import check_intact
from .validators import check_text

# Verification and resynchronization


def verify(
    before: Principal, ctx: Context, code: str, client_token: object
) -> Decision[models.Receipt]:
    """Decide whether *code* authenticates the principal now."""
    code = normalize_code(code, code_lengths(ctx.policy, before))
    device, client = usable_device(before, ctx, client_token)
    if device.sync is Sync.OUT_OF_SYNC:  # RFC6238-6-REAUTH
        raise errors.OutOfSync(
            "the device is out of sync: its codes are not evaluated until it is resynchronized"
        )
    current = device.parameters.step_at(ctx.now) + device.drift
    window = window_steps(current, ctx.policy.window, ctx.policy.window)  # RFC6238-5.2-PAST
    (matches,) = scan_steps(before, device, ctx, (code,), window)
    newest = max(matches, default=-1)  # RULE-MONOTONE: neighboring steps can share a code
    if newest > device.last_step:  # RFC6238-5.2-ONCE, SP80063B-3.1.4.2-ONCE, ASVS5-6.5.1
        return _accepted(before, ctx, device, client, step=newest, current=current)
    if matches:  # RULE-USED, SEED-BACKUP, RULE-BETTER-4
        raise _already_used(device, ctx)
    return _failed(before, ctx, device, client, errors.CodeRejected())


def _accepted(
    before: Principal,
    ctx: Context,
    device: VirtualDevice,
    client: clients.KnownClient | None,
    *,
    step: int,
    current: int,
) -> Decision[models.Receipt]:
    offset = (step > current) - (step < current)
    drift, last_offset = device.drift, offset
    near = abs(drift + offset - device.synced_drift) <= ctx.policy.login_drift
    if offset and offset == device.last_offset and near:  # RFC6238-6-DRIFT, RULE-DRIFT
        drift, last_offset = drift + offset, 0
    if client is None:
        cleared, failures, known_failures = device.failures, 0, device.known_failures
    else:
        cleared, failures, known_failures = device.known_failures, device.failures, 0
        device = clients.without_failures(device, client, ctx.now)
        device = clients.without_given(device, client)
    if not ctx.policy.known_clients:
        known_failures = 0  # left from a time when the policy had known clients
    after = replace(
        device, last_step=step, drift=drift, last_offset=last_offset, failures=failures,
        known_failures=known_failures,
    )
    receipt = models.Receipt(
        principal=before.id, serial=device.serial, step=step, at=ctx.now, drift=drift,
        failures_cleared=cleared,
        claim=signed_claim(ctx.keys, before.id, at=ctx.now, serial=device.serial),
    )
    if ctx.policy.known_clients:
        token, _ = clients.issue_token(
            before.id, after, now=ctx.now, seconds=ctx.policy.client_token_seconds,
            kind=clients.RENEWED, keys=ctx.keys, random=ctx.random,
        )
        receipt.set_secret(token)
    events = [ctx.event(EventType.ACCEPTED, device.serial, step=step)]
    if drift != device.drift:
        events.append(
            ctx.event(EventType.DRIFT_CHANGED, device.serial, before=device.drift, after=drift)
        )
    return Decision(
        principal=replace(before, device=after), answer=receipt, events=tuple(events)
    )


def _already_used(device: VirtualDevice, ctx: Context) -> errors.AlreadyUsed:
    parameters = device.parameters
    next_at = (device.last_step + 1 - device.drift) * parameters.period + parameters.t0
    if _is_stuck(device, ctx):
        return errors.AlreadyUsed(
            "the last accepted code lies too far ahead: replace the device",
            next_at=next_at, remedy="replace",
        )
    return errors.AlreadyUsed(retry_after=max(0, next_at - ctx.now), next_at=next_at)


def _is_stuck(device: VirtualDevice, ctx: Context) -> bool:
    """Return whether no code in reach of a resynchronization can be accepted."""
    # RULE-REPLACE
    policy = ctx.policy
    ahead = max(policy.resync_forward, device.drift)
    reach = ahead + policy.window + 2  # mark_spent and a phone that is ahead go as far as this
    return device.last_step - device.parameters.step_at(ctx.now) > reach


def resync(
    before: Principal, ctx: Context, code1: str, code2: str, client_token: object
) -> Decision[models.SyncReport]:
    """Resynchronize the device with two fresh consecutive codes. The user is not signed in."""
    # SEED-RESYNC
    policy = ctx.policy
    lengths = code_lengths(policy, before)
    codes = normalize_code(code1, lengths), normalize_code(code2, lengths)
    device, client = usable_device(before, ctx, client_token)
    if _is_stuck(device, ctx):
        raise errors.PairRejected(
            "the last accepted code lies too far ahead: replace the device", remedy="replace"
        )
    current = device.parameters.step_at(ctx.now)  # RFC4226-4-R5: without the drift
    # RFC4226-7.4-SEQ
    pair = find_consecutive_pair(
        before, device, ctx, codes, current=current, back=policy.resync_back,
        forward=policy.resync_forward, after=device.last_step,
    )
    if pair is None:
        rejected = errors.PairRejected("these are not two fresh consecutive codes")
        return _failed(before, ctx, device, client, rejected)
    step, spent = pair
    offset = step - current
    drift = 0 if abs(offset) <= policy.window else offset
    after = replace(
        device, sync=Sync.IN_SYNC, drift=drift, synced_drift=drift, last_offset=0, last_step=spent,
        failures=0,
    )
    if client is not None:
        after = clients.without_failures(after, client, ctx.now)
    if client is not None or ctx.relationship in _MANAGERS:
        after = replace(after, known_failures=0)
    report = models.SyncReport(device=after, sync=after.sync, steps_off=offset)
    event = ctx.event(EventType.RESYNCHRONIZED, device.serial, steps_off=offset)
    return Decision(principal=replace(before, device=after), answer=report, events=(event,))


_MANAGERS = frozenset({Relationship.ADMIN, Relationship.ROOT, Relationship.SERVICE})


def _failed(
    before: Principal,
    ctx: Context,
    device: VirtualDevice,
    client: clients.KnownClient | None,
    answer: errors.CodeRejected,
) -> Decision[Any]:
    """Count one failure. It is committed before the caller sees the answer."""
    policy, serial = ctx.policy, device.serial
    after = throttle.after_failed_code(device, client, ctx.now, before.seen_at, policy)
    lane, failures = "unknown", after.failures
    if after.known_failures > device.known_failures:
        lane, failures = "known", after.known_failures
    # ASVS5-16.3.3
    events = [ctx.event(EventType.REJECTED, serial, answer.reason, failures=failures, lane=lane)]
    if after.budget == policy.budget_warning:
        events.append(ctx.event(EventType.BUDGET_LOW, serial, budget=after.budget))
    if after.disabled:
        events.append(
            ctx.event(
                EventType.DISABLED, serial, "change the first factor before enrolling again",
                failures=after.failures + after.known_failures, budget=after.budget,
            )
        )
        answer = errors.DeviceDisabled("the device was disabled after too many failures")
    else:
        throttle.announce_wait(answer, after, client, ctx.now, policy)
    return Decision(
        principal=replace(before, device=after), answer=answer, events=tuple(events)
    )


# Known clients and the guess budget


def give_client_token(before: Principal, ctx: Context) -> Decision[ClientToken]:
    """Return a token for one sign-in of the owner within 24 hours. It replaces an earlier one."""
    # RULE-GIVEN-TOKEN
    device = intact_device(before, ctx)
    check_clock(before, ctx)
    _require_known_clients(ctx)
    token, token_id = clients.issue_token(
        before.id, device, now=ctx.now, seconds=clients.GIVEN_TOKEN_SECONDS, kind=clients.GIVEN,
        keys=ctx.keys, random=ctx.random,
    )
    current = replace(device.clients, given=token_id)
    after = replace(before, device=replace(device, clients=current))
    event = ctx.event(EventType.CLIENT_TOKEN_GIVEN, device.serial)
    return Decision(principal=after, answer=token, events=(event,))


def _require_known_clients(ctx: Context) -> None:
    if not ctx.policy.known_clients:
        raise errors.InvalidValue("the policy must allow it: Policy(known_clients=True)")


def forget_clients(before: Principal, ctx: Context) -> Decision[None]:
    """Invalidate every client token of this device."""
    # RULE-FORGET-CLIENTS
    device = intact_device(before, ctx)
    check_clock(before, ctx)
    after = replace(device, clients=ClientState(epoch=device.clients.epoch + 1))
    event = ctx.event(EventType.CLIENTS_FORGOTTEN, device.serial)
    return Decision(principal=replace(before, device=after), answer=None, events=(event,))


def reopen(before: Principal, ctx: Context, by: Actor) -> Decision[None]:
    """Clear the failures without a token, if the owner signed in after the last of them."""
    # RULE-REOPEN
    device = intact_device(before, ctx)
    check_clock(before, ctx)
    _require_known_clients(ctx)
    if device.failures == 0:
        return Decision(principal=before, answer=None)
    if by.mfa is None or by.mfa.at <= device.failed_at:
        raise errors.AccessDenied(
            "reopen requires a sign-in after the last failure: sign in from a known client first",
            missing="mfa claim",
        )
    after = replace(before, device=replace(device, failures=0))
    event = ctx.event(EventType.REOPENED, device.serial, failures=device.failures)
    return Decision(principal=after, answer=None, events=(event,))


def restore_budget(before: Principal, ctx: Context) -> Decision[None]:
    """Refill the guess budget after the first factor was changed, at most once a day."""
    # RULE-RESTORE
    device = intact_device(before, ctx)
    check_clock(before, ctx)
    wait = device.budget_restored_at + DAY - ctx.now
    if wait > 0:
        raise errors.TooSoon("the guess budget was restored within the last day", retry_after=wait)
    after = replace(
        device, budget=ctx.policy.budget, budget_updated_at=ctx.now, budget_restored_at=ctx.now
    )
    event = ctx.event(EventType.BUDGET_RESTORED, device.serial, before=device.budget)
    return Decision(principal=replace(before, device=after), answer=None, events=(event,))


# Enrollment


def open_enrollment(
    before: Principal, ctx: Context, issuer: str, label: str, binding_code: str | None
) -> Decision[models.OpenedEnrollment]:
    """Open a session with a new key, which only this answer shows."""
    keyuri.check_label("label", label)
    check_intact(before, ctx.keys)
    if before.device is not None:  # SEED-ONE
        raise errors.DeviceAlreadyAssigned("this principal has a device: deactivate it first")
    check_clock(before, ctx)
    _check_binding(before.binding, ctx, binding_code)
    now, policy = ctx.now, ctx.policy
    # Sorted, because the clocks of two verifiers differ.
    times = tuple(sorted(at for at in before.enrollment_times if at > now - DAY))
    if ctx.relationship is not Relationship.SERVICE:
        if len(times) >= policy.enrollments_per_day:  # RULE-ABANDONED
            oldest = times[len(times) - policy.enrollments_per_day]  # enough are over with it
            raise errors.TooManySessions(retry_after=oldest + DAY - now)
        times += (now,)
    session = EnrollmentSession(
        session_id=ctx.random(16).hex(),  # RULE-SERIAL: 128 random bits
        serial=ctx.random(16).hex(),  # RULE-SERIAL
        parameters=policy.offers[0],
        opened_at=now,
        expires_at=now + policy.session_seconds,  # RULE-ABANDONED
        opened_by_owner=ctx.relationship in OWNERS,
    )
    key_ref, key = ctx.keys.issue(before.id, session.serial, session.parameters)
    after = replace(before, enrollment=session, key_ref=key_ref, enrollment_times=times)
    # SEED-SHOW
    opened = models.OpenedEnrollment(
        session_id=session.session_id, serial=session.serial, expires_at=session.expires_at,
        base32=base32(key),
        uri=keyuri.build(issuer=issuer, label=label, key=key, parameters=session.parameters),
    )
    # RULE-ABANDONED: an open session is superseded
    events = (*superseded(before, ctx), ctx.event(EventType.OPENED, session.serial))
    return Decision(principal=after, answer=opened, events=events)


def confirm_enrollment(
    before: Principal, ctx: Context, session_id: str, code1: str, code2: str
) -> Decision[models.SyncReport]:
    """Assign the device: *code1* of step s - 1 and *code2* of step s."""
    policy = ctx.policy
    lengths = code_lengths(policy, before)
    codes = normalize_code(code1, lengths), normalize_code(code2, lengths)
    session = open_session(before, ctx, session_id)
    current = session.parameters.step_at(ctx.now)
    # SEED-TWO
    pair = find_consecutive_pair(
        before, session, ctx, codes, current=current, back=policy.enroll_back,
        forward=policy.enroll_forward, after=-1,
    )
    if pair is None:
        return _attempt_failed(before, ctx, session)
    step, spent = pair
    offset = step - current
    # SEED-LATE, RULE-BETTER-3
    sync = Sync.IN_SYNC if abs(offset) <= policy.window else Sync.OUT_OF_SYNC
    codes_to_save, digests = _new_recovery_codes(before, ctx, session.serial)
    device = VirtualDevice(
        serial=session.serial, parameters=session.parameters, enrolled_at=ctx.now, sync=sync,
        last_step=spent, budget=policy.budget, budget_updated_at=ctx.now,
        recovery=RecoveryState(codes=digests),
    )
    report = models.SyncReport(device=device, sync=sync, steps_off=offset)
    report.set_secret(codes_to_save)
    after = replace(before, enrollment=None, device=device, binding=None)
    event = ctx.event(EventType.ASSIGNED, device.serial, sync=sync.value, steps_off=offset)
    return Decision(principal=after, answer=report, events=(event,))


def _attempt_failed(
    before: Principal, ctx: Context, session: EnrollmentSession
) -> Decision[models.SyncReport]:
    attempts = session.attempts + 1
    rejected = ctx.event(
        EventType.REJECTED, session.serial, errors.PairRejected.reason, attempts=attempts
    )
    if attempts < ctx.policy.session_attempts:  # RULE-ABANDONED
        after = replace(before, enrollment=replace(session, attempts=attempts))
        answer = errors.PairRejected("these are not two consecutive codes near now")
        return Decision(principal=after, answer=answer, events=(rejected,))
    answer = errors.PairRejected(
        "the enrollment session ended after too many attempts", remedy="enroll"
    )
    abandoned = ctx.event(EventType.ABANDONED, session.serial)
    return Decision(
        principal=without_key(before), answer=answer, events=(rejected, abandoned)
    )


def cancel_enrollment(before: Principal, ctx: Context, session_id: str | None) -> Decision[None]:
    """End the session and destroy its key. If *session_id* is None, end the open session."""
    if session_id is None and before.enrollment is not None:
        session_id = before.enrollment.session_id
    session = open_session(before, ctx, session_id or "")
    if (  # RULE-BINDING-CANCEL
        before.binding is not None
        and ctx.relationship is Relationship.OWNER
        and not session.opened_by_owner
    ):
        raise errors.AccessDenied(
            "canceling an enrollment that another person opened requires a current MFA claim "
            "while a binding code is pending",
            missing="mfa claim",
        )
    event = ctx.event(EventType.CANCELED, session.serial)
    # RULE-ABANDONED, RULE-BETTER-1
    return Decision(principal=without_key(before), answer=None, events=(event,))


def _check_binding(binding: PendingBinding | None, ctx: Context, code: str | None) -> None:
    """Check the binding code that an owner without MFA needs to enroll again.

    The code is used up when the enrollment is confirmed: an owner who cancels can use it again.
    """
    # SP80063B-4.2.1.2, RULE-BINDING, RULE-BINDING-KEPT
    if binding is None or ctx.relationship is not Relationship.OWNER:
        return
    if ctx.now >= binding.expires_at or not recovery.same_text(
        binding.digest, recovery.binding_digest(code or "")
    ):
        raise errors.AccessDenied(
            "opening an enrollment requires the binding code that was issued when the old device "
            "was removed: pass binding_code, or have support issue another one",
            missing="binding code",
        )


def issue_binding_code(before: Principal, ctx: Context) -> Decision[BindingCode]:
    """Replace the pending binding code, for an owner who lost it or let it expire."""
    # RULE-BINDING-REPLACE
    check_intact(before, ctx.keys)
    if before.device is not None or before.binding is None:
        raise errors.NoSession("no binding code is pending for this principal")
    check_clock(before, ctx)
    code, binding = _new_binding(ctx)
    event = ctx.event(EventType.BINDING_CODE_ISSUED)
    return Decision(
        principal=replace(before, binding=binding),
        answer=BindingCode(code=code, expires_at=binding.expires_at),
        events=(event,),
    )


def _new_binding(ctx: Context) -> tuple[str, PendingBinding]:
    code = recovery.new_code(ctx.random)  # ASVS5-6.4.1
    expires_at = ctx.now + ctx.policy.binding_code_seconds
    return code, PendingBinding(digest=recovery.binding_digest(code), expires_at=expires_at)


# Removal and recovery


def deactivate(
    before: Principal, ctx: Context, reason: str, by: Actor
) -> Decision[models.Deactivation]:
    """Remove the device, destroy its key, and use up every proof of recovery."""
    check_text("reason", reason, empty=True)
    device = intact_device(before, ctx)
    # RULE-EVIDENCE: that of the two does not depend on the clock
    if ctx.relationship not in (Relationship.SUPPORT, Relationship.SERVICE):
        check_clock(before, ctx)
    if ctx.relationship is Relationship.OWNER_RECOVERY_CODE:
        rejected = _check_recovery_code(before, ctx, device, by.recovery_code)
        if rejected is not None:
            return rejected
    code = binding = None
    # RULE-BINDING-DISABLED
    if ctx.relationship not in OWNERS and (ctx.policy.binding_code_required or device.disabled):
        code, binding = _new_binding(ctx)
    after = replace(
        without_key(before),  # SEED-ROTATE, SP80063B-4.3-LOST, ASVS5-6.5.6
        binding=binding,
        recovered_at=max(before.recovered_at, ctx.now, *by.proofs),  # RULE-PROOFS
    )
    answer = models.Deactivation(
        serial=device.serial, at=ctx.now, binding_code=code,
        binding_code_expires_at=binding.expires_at if binding else 0,
    )
    event = ctx.event(
        EventType.DEACTIVATED, device.serial, reason, disabled=int(device.disabled)
    )
    return Decision(principal=after, answer=answer, events=(event,))


def _check_recovery_code(
    before: Principal, ctx: Context, device: VirtualDevice, code: str
) -> Decision[models.Deactivation] | None:
    """Return None if *code* is right. Otherwise, return the decision that counts the failure.

    :raises AccessDenied: the device has no recovery codes.
    :raises Throttled: after ten wrong codes, one attempt an hour is evaluated.
    """
    # SP80063B-4.2.1.1, RULE-RECOVERY-CODES
    if not device.recovery.codes:
        raise errors.AccessDenied("this device has no recovery codes")
    wait = device.recovery.failed_at + recovery.RETRY_SECONDS - ctx.now
    if device.recovery.failures >= recovery.FREE_ATTEMPTS and wait > 0:  # ASVS5-6.6.3
        wait = min(wait, recovery.RETRY_SECONDS + device.parameters.period)
        raise errors.Throttled(
            f"the next recovery code is evaluated in {wait} seconds", retry_after=wait
        )
    digest = recovery.recovery_digest(before.id, device.serial, code)
    if recovery.matches_any(digest, device.recovery.codes):
        return None
    failures = device.recovery.failures + 1
    failed_at = max(ctx.now, before.seen_at)
    recovery_state = replace(device.recovery, failures=failures, failed_at=failed_at)
    after = replace(device, recovery=recovery_state)
    answer = errors.RecoveryCodeRejected("this is not an unused recovery code of this device")
    if failures >= recovery.FREE_ATTEMPTS:
        answer.retry_after = failed_at + recovery.RETRY_SECONDS - ctx.now
    event = ctx.event(
        EventType.RECOVERY_REJECTED, device.serial, answer.reason, failures=failures
    )
    return Decision(principal=replace(before, device=after), answer=answer, events=(event,))


def replace_recovery_codes(before: Principal, ctx: Context) -> Decision[RecoveryCodes]:
    """Replace the recovery codes of the device by new ones. Only this answer shows them."""
    device = intact_device(before, ctx)
    check_clock(before, ctx)
    codes, digests = _new_recovery_codes(before, ctx, device.serial)
    if codes is None:
        raise errors.InvalidValue("the policy must allow it: Policy(recovery_codes=10)")
    after = replace(device, recovery=RecoveryState(codes=digests))
    event = ctx.event(EventType.RECOVERY_CODES_REPLACED, device.serial, codes=len(digests))
    return Decision(principal=replace(before, device=after), answer=codes, events=(event,))


def _new_recovery_codes(
    before: Principal, ctx: Context, serial: str
) -> tuple[RecoveryCodes | None, tuple[str, ...]]:
    """Return new codes and their digests: none without them in the policy, or for another actor.

    Only a user who acts on themselves gets codes, because only they may see them.
    """
    if not ctx.policy.recovery_codes or before.id.is_root or ctx.relationship not in OWNERS:
        return None, ()
    codes = tuple(recovery.new_code(ctx.random) for _ in range(ctx.policy.recovery_codes))
    digests = tuple(recovery.recovery_digest(before.id, serial, code) for code in codes)
    return RecoveryCodes(codes=codes), digests
