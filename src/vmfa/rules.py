"""The rules of device assignment: each transition as a pure function of the state, the input and the ctx.

A guard refuses by raising: nothing changes. A verdict on codes, right or wrong, changes the state, so it is
returned together with it. Permission comes first, then syntax, then the guards in the order (RULE-ORDER): record
intact, device present, clock, disabled, throttled, out of sync. No guard touches a key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from hmac import compare_digest
from typing import Any

from . import errors, keyuri, models
from .access import Actor, Relationship
from .decision import Context, Decision
from .events import BINDINGS, AuditEvent, EventType
from .history import redacted
from .keys import Key, base32
from .models import EnrollmentSession, PendingBinding, Principal, Sync, VirtualDevice
from .otp import check_int, normalize_code, scan, window_steps
from .policy import DAY, Parameters, Policy
from .record import check_intact
from .validators import check_instance, check_text, check_time

Held = VirtualDevice | EnrollmentSession


# Verification and resynchronisation


def verify(before: Principal, ctx: Context, code: str) -> Decision[models.Receipt]:
    """Decide whether *code* authenticates the principal now."""
    typed = normalize_code(code, parameters_of(before, ctx.policy).digits)
    device = usable_device(before, ctx)
    if device.sync is Sync.OUT_OF_SYNC:
        raise errors.OutOfSync("the device is out of sync: its codes are not evaluated until it is resynchronized")
    here = device.parameters.step_at(ctx.now) + device.drift
    window = window_steps(here, ctx.policy.window, ctx.policy.window)  # RFC6238-5.2-PAST
    (matches,) = _scan(before, device, ctx, (typed,), window)
    newest = max(matches, default=-1)  # RULE-MONOTONE: neighbours can share a code
    if newest > device.last_step:  # RFC6238-5.2-ONCE, SP80063B-3.1.4.2-ONCE, ASVS5-6.5.1
        return _accepted(before, ctx, device, newest, here)
    if matches:
        next_at = (device.last_step + 1 - device.drift) * device.parameters.period + device.parameters.t0
        raise errors.AlreadyUsed(retry_after=max(0, next_at - ctx.now), next_at=next_at)
    return _failed(before, ctx, device, errors.CodeRejected())


def _accepted(before: Principal, ctx: Context, device: VirtualDevice, step: int, here: int) -> Decision[models.Receipt]:
    side = (step > here) - (step < here)
    drift, last_offset = device.drift, side
    near = abs(drift + side - device.synced_drift) <= ctx.policy.login_drift
    if side and side == device.last_offset and near:  # RFC6238-6-DRIFT, RULE-DRIFT: two in a row off on one side
        drift, last_offset = drift + side, 0
    after = replace(device, last_step=step, drift=drift, last_offset=last_offset, failures=0)
    receipt = models.Receipt(principal=before.id, serial=device.serial, step=step, at=ctx.now, drift=drift,
                      failures_cleared=device.failures)
    events = [ctx.event(EventType.ACCEPTED, device.serial, step=step)]
    if drift != device.drift:
        events.append(ctx.event(EventType.DRIFT_CHANGED, device.serial, before=device.drift, after=drift))
    return Decision(principal=replace(before, device=after), answer=receipt, events=tuple(events))


def resync(before: Principal, ctx: Context, code1: str, code2: str) -> Decision[models.SyncReport]:
    """SEED-RESYNC, RFC4226-7.4-SEQ: two fresh consecutive codes put the device in sync. Signs nobody in."""
    digits = parameters_of(before, ctx.policy).digits
    pair = normalize_code(code1, digits), normalize_code(code2, digits)
    device = usable_device(before, ctx)
    here = device.parameters.step_at(ctx.now)  # RFC4226-4-R5, and never from the drift
    policy = ctx.policy
    found = _pair(before, device, ctx, pair, here, policy.resync_back, policy.resync_forward, device.last_step)
    if found is None:
        return _failed(before, ctx, device, errors.PairRejected("these are not two fresh consecutive codes"))
    step, spent = found
    off = step - here
    drift = 0 if abs(off) <= policy.window else off
    after = replace(device, sync=Sync.IN_SYNC, drift=drift, synced_drift=drift, last_offset=0, last_step=spent, failures=0)
    event = ctx.event(EventType.RESYNCHRONIZED, device.serial, steps_off=off)
    report = models.SyncReport(device=after, sync=after.sync, steps_off=off)
    return Decision(principal=replace(before, device=after), answer=report, events=(event,))


def _failed(before: Principal, ctx: Context, device: VirtualDevice, answer: errors.CodeRejected) -> Decision[Any]:
    """One failure: counted per device, whatever the session or machine, and committed before it is told."""
    policy, serial = ctx.policy, device.serial
    failures = device.failures + 1  # RULE-THROTTLE, RFC4226-7.1-RP2, SP80063B-3.1.4.2-RATE, ASVS5-6.3.1
    tokens, budget_updated_at = _refilled(device, ctx)
    budget = tokens - 1
    disabled = failures >= policy.failure_cap or budget <= 0  # SP80063B-3.2.2-CAP, RFC4226-7.2-LOCK
    failed_at = max(ctx.now, before.seen_at)  # of two clocks, the later: no wait is shortened by the other
    after = replace(device, failures=failures, failed_at=failed_at, budget=budget, budget_updated_at=budget_updated_at,
                    disabled=disabled)
    events = [ctx.event(EventType.REJECTED, serial, answer.reason, failures=failures)]
    if budget == policy.budget_warning:
        events.append(ctx.event(EventType.BUDGET_LOW, serial, budget=budget))
    if disabled:
        events.append(ctx.event(EventType.DISABLED, serial, failures=failures, budget=budget))
        answer = errors.DeviceDisabled("the device was disabled after too many failures")
    else:
        answer.retry_after = policy.delay(failures) or None
    return Decision(principal=replace(before, device=after), answer=answer, events=tuple(events))


def _refilled(device: VirtualDevice, ctx: Context) -> tuple[int, int]:
    """RULE-BUDGET: the guess budget now, and since when its next token has been growing."""
    policy = ctx.policy
    grown = max(0, ctx.now - device.budget_updated_at) // policy.budget_refill
    if device.budget + grown >= policy.budget:
        return policy.budget, ctx.now
    return device.budget + grown, device.budget_updated_at + grown * policy.budget_refill


# Enrollment


def open_enrollment(before: Principal, ctx: Context, issuer: str, label: str,
                    binding_code: str | None) -> Decision[models.OpenedEnrollment]:
    """SEED-SHOW: a new key, shown in this answer and never again. An open session is superseded (RULE-ABANDONED)."""
    keyuri.check_label("label", label)
    check_intact(before, ctx.keys)
    if before.device is not None:
        raise errors.DeviceAlreadyAssigned("this principal has a device: deactivate it first")
    check_clock(before, ctx)
    now, policy = ctx.now, ctx.policy
    binding = _checked_binding(before.binding, ctx, binding_code)
    enrollment_times = tuple(at for at in before.enrollment_times if at > now - DAY)
    if ctx.relationship is not Relationship.SERVICE:
        if len(enrollment_times) >= policy.enrollments_per_day:
            raise errors.TooManySessions(retry_after=min(DAY, enrollment_times[0] + DAY - now))
        enrollment_times += (now,)
    session_id, serial = ctx.random(16).hex(), ctx.random(16).hex()  # RULE-SERIAL: 128 random bits, twice
    session = EnrollmentSession(session_id=session_id, serial=serial, parameters=policy.offers[0], opened_at=now,
                                expires_at=now + policy.session_seconds)
    key_ref, key = ctx.keys.issue(before.id, session.serial, session.parameters)
    after = replace(before, enrollment=session, key_ref=key_ref, enrollment_times=enrollment_times, binding=binding)
    uri = keyuri.build(issuer=issuer, label=label, key=key, parameters=session.parameters)
    opened = models.OpenedEnrollment(session_id=session.session_id, serial=session.serial, expires_at=session.expires_at,
                              base32=base32(key), uri=uri)
    return Decision(principal=after, answer=opened, events=(*_superseded(before, ctx), ctx.event(EventType.OPENED, session.serial)))


def confirm_enrollment(before: Principal, ctx: Context, session_id: str, code1: str,
                       code2: str) -> Decision[models.SyncReport]:
    """SEED-TWO: code 1 of step s-1 and code 2 of step s assign the device; SEED-LATE: perhaps out of sync."""
    digits = parameters_of(before, ctx.policy).digits
    pair = normalize_code(code1, digits), normalize_code(code2, digits)
    session = _open_session(before, ctx, session_id)
    policy = ctx.policy
    here = session.parameters.step_at(ctx.now)
    found = _pair(before, session, ctx, pair, here, policy.enroll_back, policy.enroll_forward, -1)
    if found is None:
        return _attempt_failed(before, ctx, session)
    step, spent = found
    off = step - here
    sync = Sync.IN_SYNC if abs(off) <= policy.window else Sync.OUT_OF_SYNC
    device = VirtualDevice(serial=session.serial, parameters=session.parameters, enrolled_at=ctx.now, sync=sync,
                           last_step=spent, budget=policy.budget, budget_updated_at=ctx.now)
    after = replace(before, enrollment=None, device=device, binding=None)
    event = ctx.event(EventType.ASSIGNED, device.serial, sync=sync.value, steps_off=off)
    return Decision(principal=after, answer=models.SyncReport(device=device, sync=sync, steps_off=off), events=(event,))


def _attempt_failed(before: Principal, ctx: Context, session: EnrollmentSession) -> Decision[models.SyncReport]:
    attempts = session.attempts + 1
    rejected = ctx.event(EventType.REJECTED, session.serial, errors.PairRejected.reason, attempts=attempts)
    if attempts < ctx.policy.session_attempts:
        after = replace(before, enrollment=replace(session, attempts=attempts))
        return Decision(principal=after, answer=errors.PairRejected("these are not two consecutive codes near now"), events=(rejected,))
    answer = errors.PairRejected("the enrollment session ended after too many attempts", remedy="enroll")
    return Decision(principal=_without_key(before), answer=answer, events=(rejected, ctx.event(EventType.ABANDONED, session.serial)))


def cancel_enrollment(before: Principal, ctx: Context, session_id: str | None) -> Decision[None]:
    """The wizard is given up (RULE-BETTER-1): its key is destroyed at once. None: whichever is open."""
    open_id = before.enrollment.session_id if before.enrollment and session_id is None else session_id
    session = _open_session(before, ctx, open_id or "")
    return Decision(principal=_without_key(before), answer=None, events=(ctx.event(EventType.CANCELLED, session.serial),))


def _open_session(before: Principal, ctx: Context, session_id: str) -> EnrollmentSession:
    """The open session, if it is this one; a foreign one is told as though it did not exist (SEED-BOUND)."""
    check_intact(before, ctx.keys)
    session = before.enrollment
    if session is None or not _same_text(session.session_id, session_id):
        raise errors.NoSession("no such enrollment session is open")
    check_clock(before, ctx)
    return session


def _superseded(before: Principal, ctx: Context) -> tuple[AuditEvent, ...]:
    return (ctx.event(EventType.SUPERSEDED, before.enrollment.serial),) if before.enrollment else ()


def without_expired(before: Principal, ctx: Context) -> tuple[Principal, tuple[AuditEvent, ...]]:
    """The state that any operation finds: an enrollment that has expired is over, and its key destroyed."""
    if before.enrollment is None or ctx.now < before.enrollment.expires_at:
        return before, ()
    check_intact(before, ctx.keys)
    check_clock(before, ctx)
    return _without_key(before), (ctx.event(EventType.EXPIRED, before.enrollment.serial),)


def _checked_binding(binding: PendingBinding | None, ctx: Context, code: str | None) -> PendingBinding | None:
    """SP80063B-4.1.2.2, RULE-BINDING: after a removal by others the owner without MFA needs the one-time code."""
    if binding is None or not ctx.policy.binding_code_required or ctx.relationship is not Relationship.SELF:
        return binding
    typed = code.replace("-", "").replace(" ", "").upper() if isinstance(code, str) else ""
    if ctx.now >= binding.expires_at or not _same_text(binding.digest, _digest(typed)):
        raise errors.AccessDenied("this needs the binding code that was given when the old device was removed")
    return replace(binding, digest="")


# Removal, import, repair


def deactivate(before: Principal, ctx: Context, reason: str, by: Actor) -> Decision[models.Deactivation]:
    """SEED-ROTATE: the device is removed and its key destroyed for good. Proofs of recovery count once."""
    check_text("reason", reason, empty=True)
    device = _intact_device(before, ctx)
    check_clock(before, ctx)
    code = binding = None
    if ctx.policy.binding_code_required and ctx.relationship not in (Relationship.SELF_MFA, Relationship.RECOVERED):
        from base64 import b32encode

        code = b32encode(ctx.random(15)).decode()  # 120 bits, 24 characters
        binding = PendingBinding(digest=_digest(code), expires_at=ctx.now + ctx.policy.binding_code_seconds)
    recovered_at = max(by.proofs, default=before.recovered_at)
    after = replace(_without_key(before), binding=binding, recovered_at=recovered_at)  # SP80063B-4.3-LOST, ASVS5-6.5.6
    answer = models.Deactivation(serial=device.serial, at=ctx.now, binding_code=code)
    return Decision(principal=after, answer=answer, events=(ctx.event(EventType.DEACTIVATED, device.serial, reason),))


def adopt(before: Principal, ctx: Context, key: Key, parameters: Parameters, last_step: int | None, drift: int,
          failures: int, failed_at: int | None, source: str) -> Decision[VirtualDevice]:
    """A device that another system assigned, with its replay position; None: all it could have seen is spent."""
    now, policy = ctx.now, ctx.policy
    check_instance("key", key, Key)
    check_text("source", source)
    if parameters not in policy.offers:
        raise errors.InvalidValue("the policy does not offer this device's algorithm, digits, period and T0")
    check_int("drift", drift, -policy.resync_back, policy.resync_forward)
    check_int("failures", failures, 0, policy.failure_cap)
    check_intact(before, ctx.keys)
    if before.device is not None:
        raise errors.DeviceAlreadyAssigned("this principal has a device: an import never overwrites one")
    check_clock(before, ctx)
    end = parameters.step_at(now) + drift + policy.window
    spent = end if last_step is None else last_step
    check_int("last_step", spent, -1, end + policy.resync_forward)
    device = VirtualDevice(serial=ctx.random(16).hex(), parameters=parameters, enrolled_at=now, sync=Sync.IN_SYNC,
                           disabled=failures >= policy.failure_cap, drift=drift, synced_drift=drift, last_step=spent,
                           failures=failures, failed_at=now if failed_at is None else min(failed_at, now),
                           budget=policy.budget, budget_updated_at=now)
    key_ref = ctx.keys.adopt(before.id, device.serial, parameters, key)
    after = replace(before, enrollment=None, device=device, key_ref=key_ref, binding=None)
    event = ctx.event(EventType.ADOPTED, device.serial, source=source, last_step=spent)
    return Decision(principal=after, answer=device, events=(*_superseded(before, ctx), event))


def reanchor(before: Principal, ctx: Context) -> Decision[None]:
    """The clock had run ahead: times that lie ahead become now. ``last_step`` is never lowered."""
    check_intact(before, ctx.keys)
    if before.revision == 0:
        raise errors.NoDevice("this principal is unknown")
    now, policy = ctx.now, ctx.policy
    device, session, binding = before.device, before.enrollment, before.binding
    if device is not None:
        device = replace(device, failed_at=min(device.failed_at, now), budget_updated_at=min(device.budget_updated_at, now))
    if session is not None:
        expires_at = min(session.expires_at, now + policy.session_seconds)
        session = replace(session, opened_at=min(session.opened_at, now), expires_at=expires_at)
    if binding is not None:
        binding = replace(binding, expires_at=min(binding.expires_at, now + policy.binding_code_seconds))
    after = replace(before, seen_at=now, device=device, enrollment=session, binding=binding,
                    enrollment_times=tuple(min(at, now) for at in before.enrollment_times))
    return Decision(principal=after, answer=None, events=(ctx.event(EventType.REANCHORED, seen_at=before.seen_at),))


def forget(before: Principal, ctx: Context) -> Decision[None]:
    """The principal is erased with its history, and its key destroyed. Who is unknown stays unknown."""
    if before.revision == 0:
        return Decision(principal=before, answer=None)
    return Decision(principal=Principal(id=before.id), answer=None, events=(ctx.event(EventType.FORGOTTEN),))


def prune_history(before: Principal, ctx: Context, history: Sequence[AuditEvent], older_than: int) -> Decision[int]:
    """Retention: events *older_than* a Unix time keep number and tag, bindings all (SP80063B-4.1-RECORD)."""
    check_time("older_than", older_than)
    check_intact(before, ctx.keys)
    if len(history) != before.events or (history and history[-1].tag != before.head):
        raise errors.StoreContended("this history changed while it was read")
    kept = BINDINGS | {EventType.REDACTED}
    old = [event.number for event in history if event.at < older_than and event.type not in kept]
    if not old:
        return Decision(principal=before, answer=0)
    rewritten = [redacted(event) if event.number in old else event for event in history[old[0] - 1 :]]
    after = replace(before, pruned=max(before.pruned, old[-1]), redacted=before.redacted + len(old))
    note = ctx.event(EventType.PRUNED, events=len(old), older_than=older_than)
    return Decision(principal=after, answer=len(old), events=(note,), rewritten=tuple(rewritten))


# Reads


def read_device(before: Principal, ctx: Context) -> Decision[VirtualDevice]:
    device = _intact_device(before, ctx)
    return Decision(principal=before, answer=device, events=(ctx.event(EventType.READ, device.serial, "device"),))


def read_history(before: Principal, ctx: Context) -> Decision[Principal]:
    check_intact(before, ctx.keys)
    return Decision(principal=before, answer=before, events=(ctx.event(EventType.READ, reason="history"),))


# Guards and parts


def parameters_of(principal: Principal, policy: Policy) -> Parameters:
    """Of the device or the enrollment; of a new device, where there is neither."""
    held = principal.device or principal.enrollment
    return held.parameters if held else policy.offers[0]


def usable_device(before: Principal, ctx: Context) -> VirtualDevice:
    """The device, if its codes may be evaluated now."""
    device = _intact_device(before, ctx)
    check_clock(before, ctx)
    if device.disabled:  # RULE-DISABLED
        raise errors.DeviceDisabled("the device is disabled: deactivate it and enroll anew")
    delay = ctx.policy.delay(device.failures)  # RFC4226-7.3-DELAY, RFC4226-7.3-XSESSION
    wait = min(device.failed_at + delay - ctx.now, delay)  # a clock that ran ahead adds nothing
    if wait > 0:
        raise errors.Throttled(f"the next attempt is evaluated in {wait} seconds", retry_after=wait)
    return device


def _intact_device(before: Principal, ctx: Context) -> VirtualDevice:
    check_intact(before, ctx.keys)
    if before.device is None:
        raise errors.NoDevice("this principal has no assigned device")
    return before.device


def check_clock(before: Principal, ctx: Context) -> None:
    """RULE-CLOCK: a clock behind what was committed is the environment's fault. Times are compared, not steps."""
    if ctx.now < before.seen_at - parameters_of(before, ctx.policy).period:
        raise errors.ClockWentBack("the clock is behind a time that was committed; nothing was counted")


def _pair(before: Principal, held: Held, ctx: Context, codes: tuple[str, str], here: int, back: int, forward: int,
          after: int) -> tuple[int, int] | None:
    """The step s of code 2 with code 1 of s-1, both later than *after*, nearest to *here*, ties upward.

    And the step up to which all is spent (RULE-SPENT): s, or a later one in reach of a log-in that shares a code.
    """
    window = ctx.policy.window
    firsts, seconds = _scan(before, held, ctx, codes, window_steps(here, back + 1, forward + window))
    steps = [s for s in seconds if s - 1 in firsts and here - back <= s <= here + forward and s - 1 > after]
    if not steps:
        return None
    step = min(steps, key=lambda s: (abs(s - here), -s))
    return step, max(s for s in (*firsts, *seconds) if s <= max(step, here) + window)


def _scan(before: Principal, held: Held, ctx: Context, codes: tuple[str, ...], steps: range) -> list[list[int]]:
    assert before.key_ref is not None  # noqa: S101  # the shape of Principal
    key = ctx.keys.reveal(before.key_ref, before.id, held.serial, held.parameters)
    return scan(key, codes, steps, held.parameters.digits, held.parameters.algorithm)


def _without_key(before: Principal) -> Principal:
    """Neither device nor enrollment: the reference is dropped, and with it the key (RULE-KEY-DESTROYED)."""
    return replace(before, enrollment=None, device=None, key_ref=None)


def _digest(code: str) -> str:
    return hashlib.sha256(b"vmfa binding code v1" + code.encode("utf-8", "replace")).hexdigest()


def _same_text(ours: str, theirs: str) -> bool:
    return isinstance(theirs, str) and compare_digest(ours.encode(), theirs.encode("utf-8", "replace"))
