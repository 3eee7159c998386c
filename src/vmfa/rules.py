"""The rules of device assignment: each transition as a pure function of the state, the input and the case.

A guard refuses by raising: nothing changes. A verdict on codes, right or wrong, changes the state, so it is
returned together with it. Permission comes first, then syntax, then the guards in the order (RULE-ORDER): record
intact, device present, clock, disabled, throttled, out of sync. No guard touches a key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from hmac import compare_digest
from typing import Any

from . import errors, keyuri, model
from .access import Actor, Standing
from .decision import Case, Decision
from .events import BINDINGS, AuditEvent, Happened, redacted
from .keys import Key, base32
from .model import Binding, EnrollmentSession, Principal, Sync, VirtualDevice
from .otp import around, check_int, read_code, scan
from .policy import DAY, Parameters, Policy
from .record import check_intact
from .values import check_is, check_text, check_time, replace

Held = VirtualDevice | EnrollmentSession


# Verification and resynchronisation


def verify(before: Principal, case: Case, code: str) -> Decision[model.Receipt]:
    """Decide whether *code* authenticates the principal now."""
    typed = read_code(code, parameters_of(before, case.policy).digits)
    device = usable_device(before, case)
    if device.sync is Sync.OUT_OF_SYNC:
        raise errors.OutOfSync("the device is out of sync: its codes are not evaluated until it is resynchronised")
    here = device.parameters.step_at(case.now) + device.drift
    window = around(here, case.policy.window, case.policy.window)  # RFC6238-5.2-PAST
    (matches,) = _scan(before, device, case, (typed,), window)
    newest = max(matches, default=-1)  # RULE-MONOTONE: neighbours can share a code
    if newest > device.last_step:  # RFC6238-5.2-ONCE, SP80063B-3.1.4.2-ONCE, ASVS5-6.5.1
        return _accepted(before, case, device, newest, here)
    if matches:
        next_at = (device.last_step + 1 - device.drift) * device.parameters.period + device.parameters.t0
        raise errors.AlreadyUsed(retry_after=max(0, next_at - case.now), next_at=next_at)
    return _failed(before, case, device, errors.CodeRejected())


def _accepted(before: Principal, case: Case, device: VirtualDevice, step: int, here: int) -> Decision[model.Receipt]:
    side = (step > here) - (step < here)
    drift, lean = device.drift, side
    near = abs(drift + side - device.pair_drift) <= case.policy.login_drift
    if side and side == device.lean and near:  # RFC6238-6-DRIFT, RULE-DRIFT: two in a row off on one side
        drift, lean = drift + side, 0
    after = replace(device, last_step=step, drift=drift, lean=lean, failures=0)
    receipt = model.Receipt(principal=before.id, serial=device.serial, step=step, at=case.now, drift=drift,
                      failures_cleared=device.failures)
    events = [case.note(Happened.ACCEPTED, device.serial, step=step)]
    if drift != device.drift:
        events.append(case.note(Happened.DRIFTED, device.serial, before=device.drift, after=drift))
    return Decision(replace(before, device=after), receipt, tuple(events))


def resync(before: Principal, case: Case, code1: str, code2: str) -> Decision[model.SyncReport]:
    """SEED-RESYNC, RFC4226-7.4-SEQ: two fresh consecutive codes put the device in sync. Signs nobody in."""
    digits = parameters_of(before, case.policy).digits
    pair = read_code(code1, digits), read_code(code2, digits)
    device = usable_device(before, case)
    here = device.parameters.step_at(case.now)  # RFC4226-4-R5, and never from the drift
    policy = case.policy
    found = _pair(before, device, case, pair, here, policy.resync_back, policy.resync_forward, device.last_step)
    if found is None:
        return _failed(before, case, device, errors.PairRejected("these are not two fresh consecutive codes"))
    step, spent = found
    off = step - here
    drift = 0 if abs(off) <= policy.window else off
    after = replace(device, sync=Sync.IN_SYNC, drift=drift, pair_drift=drift, lean=0, last_step=spent, failures=0)
    event = case.note(Happened.RESYNCHRONISED, device.serial, steps_off=off)
    report = model.SyncReport(device=after, sync=after.sync, steps_off=off)
    return Decision(replace(before, device=after), report, (event,))


def _failed(before: Principal, case: Case, device: VirtualDevice, answer: errors.CodeRejected) -> Decision[Any]:
    """One failure: counted per device, whatever the session or machine, and committed before it is told."""
    policy, serial = case.policy, device.serial
    failures = device.failures + 1  # RULE-THROTTLE, RFC4226-7.1-RP2, SP80063B-3.1.4.2-RATE, ASVS5-6.3.1
    tokens, budget_at = _refilled(device, case)
    budget = tokens - 1
    disabled = failures >= policy.failure_cap or budget <= 0  # SP80063B-3.2.2-CAP, RFC4226-7.2-LOCK
    failed_at = max(case.now, before.seen_at)  # of two clocks, the later: no wait is shortened by the other
    after = replace(device, failures=failures, failed_at=failed_at, budget=budget, budget_at=budget_at,
                    disabled=disabled)
    events = [case.note(Happened.REJECTED, serial, answer.reason, failures=failures)]
    if budget == policy.budget_warning:
        events.append(case.note(Happened.BUDGET_LOW, serial, budget=budget))
    if disabled:
        events.append(case.note(Happened.DISABLED, serial, failures=failures, budget=budget))
        answer = errors.DeviceDisabled("the device was disabled after too many failures")
    else:
        answer.retry_after = policy.delay(failures) or None
    return Decision(replace(before, device=after), answer, tuple(events))


def _refilled(device: VirtualDevice, case: Case) -> tuple[int, int]:
    """RULE-BUDGET: the guess budget now, and since when its next token has been growing."""
    policy = case.policy
    grown = max(0, case.now - device.budget_at) // policy.budget_refill
    if device.budget + grown >= policy.budget:
        return policy.budget, case.now
    return device.budget + grown, device.budget_at + grown * policy.budget_refill


# Enrollment


def open_enrollment(before: Principal, case: Case, issuer: str, label: str,
                    binding_code: str | None) -> Decision[model.OpenedEnrollment]:
    """SEED-SHOW: a new key, shown in this answer and never again. An open session is superseded (RULE-ABANDONED)."""
    keyuri.check_label("label", label)
    check_intact(before, case.keys)
    if before.device is not None:
        raise errors.DeviceAlreadyAssigned("this principal has a device: deactivate it first")
    check_clock(before, case)
    now, policy = case.now, case.policy
    binding = _checked_binding(before.binding, case, binding_code)
    openings = tuple(at for at in before.openings if at > now - DAY)
    if case.standing is not Standing.SERVICE:
        if len(openings) >= policy.openings_per_day:
            raise errors.TooManySessions(retry_after=min(DAY, openings[0] + DAY - now))
        openings += (now,)
    session_id, serial = case.random(16).hex(), case.random(16).hex()  # RULE-SERIAL: 128 random bits, twice
    session = EnrollmentSession(session_id=session_id, serial=serial, parameters=policy.offers[0], opened_at=now,
                                expires_at=now + policy.session_seconds)
    key_ref, key = case.keys.issue(before.id, session.serial, session.parameters)
    after = replace(before, enrollment=session, key_ref=key_ref, openings=openings, binding=binding)
    uri = keyuri.build(issuer=issuer, label=label, key=key, parameters=session.parameters)
    opened = model.OpenedEnrollment(session_id=session.session_id, serial=session.serial, expires_at=session.expires_at,
                              base32=base32(key), uri=uri)
    return Decision(after, opened, (*_superseded(before, case), case.note(Happened.OPENED, session.serial)))


def confirm_enrollment(before: Principal, case: Case, session_id: str, code1: str,
                       code2: str) -> Decision[model.SyncReport]:
    """SEED-TWO: code 1 of step s-1 and code 2 of step s assign the device; SEED-LATE: perhaps out of sync."""
    digits = parameters_of(before, case.policy).digits
    pair = read_code(code1, digits), read_code(code2, digits)
    session = _open_session(before, case, session_id)
    policy = case.policy
    here = session.parameters.step_at(case.now)
    found = _pair(before, session, case, pair, here, policy.enroll_back, policy.enroll_forward, -1)
    if found is None:
        return _attempt_failed(before, case, session)
    step, spent = found
    off = step - here
    sync = Sync.IN_SYNC if abs(off) <= policy.window else Sync.OUT_OF_SYNC
    device = VirtualDevice(serial=session.serial, parameters=session.parameters, enrolled_at=case.now, sync=sync,
                           last_step=spent, budget=policy.budget, budget_at=case.now)
    after = replace(before, enrollment=None, device=device, binding=None)
    event = case.note(Happened.ASSIGNED, device.serial, sync=sync.value, steps_off=off)
    return Decision(after, model.SyncReport(device=device, sync=sync, steps_off=off), (event,))


def _attempt_failed(before: Principal, case: Case, session: EnrollmentSession) -> Decision[model.SyncReport]:
    attempts = session.attempts + 1
    rejected = case.note(Happened.REJECTED, session.serial, errors.PairRejected.reason, attempts=attempts)
    if attempts < case.policy.session_attempts:
        after = replace(before, enrollment=replace(session, attempts=attempts))
        return Decision(after, errors.PairRejected("these are not two consecutive codes near now"), (rejected,))
    answer = errors.PairRejected("the enrollment session ended after too many attempts", remedy="enroll")
    return Decision(_without_key(before), answer, (rejected, case.note(Happened.ABANDONED, session.serial)))


def cancel_enrollment(before: Principal, case: Case, session_id: str | None) -> Decision[None]:
    """The wizard is given up (RULE-BETTER-1): its key is destroyed at once. None: whichever is open."""
    open_id = before.enrollment.session_id if before.enrollment and session_id is None else session_id
    session = _open_session(before, case, open_id or "")
    return Decision(_without_key(before), None, (case.note(Happened.CANCELLED, session.serial),))


def _open_session(before: Principal, case: Case, session_id: str) -> EnrollmentSession:
    """The open session, if it is this one; a foreign one is told as though it did not exist (SEED-BOUND)."""
    check_intact(before, case.keys)
    session = before.enrollment
    if session is None or not _same_text(session.session_id, session_id):
        raise errors.NoSession("no such enrollment session is open")
    check_clock(before, case)
    return session


def _superseded(before: Principal, case: Case) -> tuple[AuditEvent, ...]:
    return (case.note(Happened.SUPERSEDED, before.enrollment.serial),) if before.enrollment else ()


def without_expired(before: Principal, case: Case) -> tuple[Principal, tuple[AuditEvent, ...]]:
    """The state that any operation finds: an enrollment that has expired is over, and its key destroyed."""
    if before.enrollment is None or case.now < before.enrollment.expires_at:
        return before, ()
    check_intact(before, case.keys)
    check_clock(before, case)
    return _without_key(before), (case.note(Happened.EXPIRED, before.enrollment.serial),)


def _checked_binding(binding: Binding | None, case: Case, code: str | None) -> Binding | None:
    """SP80063B-4.1.2.2, RULE-BINDING: after a removal by others the owner without MFA needs the one-time code."""
    if binding is None or not case.policy.binding_code_required or case.standing is not Standing.SELF:
        return binding
    typed = code.replace("-", "").replace(" ", "").upper() if isinstance(code, str) else ""
    if case.now >= binding.expires_at or not _same_text(binding.digest, _digest(typed)):
        raise errors.AccessDenied("this needs the binding code that was given when the old device was removed")
    return replace(binding, digest="")


# Removal, import, repair


def deactivate(before: Principal, case: Case, reason: str, by: Actor) -> Decision[model.Deactivation]:
    """SEED-ROTATE: the device is removed and its key destroyed for good. Proofs of recovery count once."""
    check_text("reason", reason, empty=True)
    device = _intact_device(before, case)
    check_clock(before, case)
    code = binding = None
    if case.policy.binding_code_required and case.standing not in (Standing.SELF_MFA, Standing.RECOVERED):
        from base64 import b32encode

        code = b32encode(case.random(15)).decode()  # 120 bits, 24 characters
        binding = Binding(_digest(code), case.now + case.policy.binding_code_seconds)
    recovered_at = max(by.proofs, default=before.recovered_at)
    after = replace(_without_key(before), binding=binding, recovered_at=recovered_at)  # SP80063B-4.3-LOST, ASVS5-6.5.6
    answer = model.Deactivation(serial=device.serial, at=case.now, binding_code=code)
    return Decision(after, answer, (case.note(Happened.DEACTIVATED, device.serial, reason),))


def adopt(before: Principal, case: Case, key: Key, parameters: Parameters, last_step: int | None, drift: int,
          failures: int, failed_at: int | None, source: str) -> Decision[VirtualDevice]:
    """A device that another system assigned, with its replay position; None: all it could have seen is spent."""
    now, policy = case.now, case.policy
    check_is("key", key, Key)
    check_text("source", source)
    if parameters not in policy.offers:
        raise errors.InvalidValue("the policy does not offer this device's algorithm, digits, period and T0")
    check_int("drift", drift, -policy.resync_back, policy.resync_forward)
    check_int("failures", failures, 0, policy.failure_cap)
    check_intact(before, case.keys)
    if before.device is not None:
        raise errors.DeviceAlreadyAssigned("this principal has a device: an import never overwrites one")
    check_clock(before, case)
    end = parameters.step_at(now) + drift + policy.window
    spent = end if last_step is None else last_step
    check_int("last_step", spent, -1, end + policy.resync_forward)
    device = VirtualDevice(serial=case.random(16).hex(), parameters=parameters, enrolled_at=now, sync=Sync.IN_SYNC,
                           disabled=failures >= policy.failure_cap, drift=drift, pair_drift=drift, last_step=spent,
                           failures=failures, failed_at=now if failed_at is None else min(failed_at, now),
                           budget=policy.budget, budget_at=now)
    key_ref = case.keys.adopt(before.id, device.serial, parameters, key)
    after = replace(before, enrollment=None, device=device, key_ref=key_ref, binding=None)
    event = case.note(Happened.ADOPTED, device.serial, source=source, last_step=spent)
    return Decision(after, device, (*_superseded(before, case), event))


def reanchor(before: Principal, case: Case) -> Decision[None]:
    """The clock had run ahead: times that lie ahead become now. ``last_step`` is never lowered."""
    check_intact(before, case.keys)
    if before.revision == 0:
        raise errors.NoDevice("this principal is unknown")
    now, policy = case.now, case.policy
    device, session, binding = before.device, before.enrollment, before.binding
    if device is not None:
        device = replace(device, failed_at=min(device.failed_at, now), budget_at=min(device.budget_at, now))
    if session is not None:
        expires_at = min(session.expires_at, now + policy.session_seconds)
        session = replace(session, opened_at=min(session.opened_at, now), expires_at=expires_at)
    if binding is not None:
        binding = replace(binding, expires_at=min(binding.expires_at, now + policy.binding_code_seconds))
    after = replace(before, seen_at=now, device=device, enrollment=session, binding=binding,
                    openings=tuple(min(at, now) for at in before.openings))
    return Decision(after, None, (case.note(Happened.REANCHORED, seen_at=before.seen_at),))


def forget(before: Principal, case: Case) -> Decision[None]:
    """The principal is erased with its history, and its key destroyed. Who is unknown stays unknown."""
    if before.revision == 0:
        return Decision(before, None)
    return Decision(Principal(id=before.id), None, (case.note(Happened.FORGOTTEN),))


def prune_history(before: Principal, case: Case, history: Sequence[AuditEvent], older_than: int) -> Decision[int]:
    """Retention: events *older_than* a Unix time keep number and tag, bindings all (SP80063B-4.1-RECORD)."""
    check_time("older_than", older_than)
    check_intact(before, case.keys)
    if len(history) != before.events or (history and history[-1].tag != before.head):
        raise errors.StoreContended("this history changed while it was read")
    kept = BINDINGS | {Happened.REDACTED}
    old = [event.number for event in history if event.at < older_than and event.what not in kept]
    if not old:
        return Decision(before, 0)
    rewritten = [redacted(event) if event.number in old else event for event in history[old[0] - 1 :]]
    after = replace(before, pruned=max(before.pruned, old[-1]), redacted=before.redacted + len(old))
    note = case.note(Happened.PRUNED, events=len(old), older_than=older_than)
    return Decision(after, len(old), (note,), tuple(rewritten))


# Reads


def read_device(before: Principal, case: Case) -> Decision[VirtualDevice]:
    device = _intact_device(before, case)
    return Decision(before, device, (case.note(Happened.READ, device.serial, "device"),))


def read_history(before: Principal, case: Case) -> Decision[Principal]:
    check_intact(before, case.keys)
    return Decision(before, before, (case.note(Happened.READ, reason="history"),))


# Guards and parts


def parameters_of(principal: Principal, policy: Policy) -> Parameters:
    """Of the device or the enrollment; of a new device, where there is neither."""
    held = principal.device or principal.enrollment
    return held.parameters if held else policy.offers[0]


def usable_device(before: Principal, case: Case) -> VirtualDevice:
    """The device, if its codes may be evaluated now."""
    device = _intact_device(before, case)
    check_clock(before, case)
    if device.disabled:  # RULE-DISABLED
        raise errors.DeviceDisabled("the device is disabled: deactivate it and enroll anew")
    delay = case.policy.delay(device.failures)  # RFC4226-7.3-DELAY, RFC4226-7.3-XSESSION
    wait = min(device.failed_at + delay - case.now, delay)  # a clock that ran ahead adds nothing
    if wait > 0:
        raise errors.Throttled(f"the next attempt is evaluated in {wait} seconds", retry_after=wait)
    return device


def _intact_device(before: Principal, case: Case) -> VirtualDevice:
    check_intact(before, case.keys)
    if before.device is None:
        raise errors.NoDevice("this principal has no assigned device")
    return before.device


def check_clock(before: Principal, case: Case) -> None:
    """RULE-CLOCK: a clock behind what was committed is the environment's fault. Times are compared, not steps."""
    if case.now < before.seen_at - parameters_of(before, case.policy).period:
        raise errors.ClockWentBack("the clock is behind a time that was committed; nothing was counted")


def _pair(before: Principal, held: Held, case: Case, codes: tuple[str, str], here: int, back: int, forward: int,
          after: int) -> tuple[int, int] | None:
    """The step s of code 2 with code 1 of s-1, both later than *after*, nearest to *here*, ties upward.

    And the step up to which all is spent (RULE-SPENT): s, or a later one in reach of a log-in that shares a code.
    """
    window = case.policy.window
    firsts, seconds = _scan(before, held, case, codes, around(here, back + 1, forward + window))
    steps = [s for s in seconds if s - 1 in firsts and here - back <= s <= here + forward and s - 1 > after]
    if not steps:
        return None
    step = min(steps, key=lambda s: (abs(s - here), -s))
    return step, max(s for s in (*firsts, *seconds) if s <= max(step, here) + window)


def _scan(before: Principal, held: Held, case: Case, codes: tuple[str, ...], steps: range) -> list[list[int]]:
    assert before.key_ref is not None  # noqa: S101  # the shape of Principal
    key = case.keys.reveal(before.key_ref, before.id, held.serial, held.parameters)
    return scan(key, codes, steps, held.parameters.digits, held.parameters.algorithm)


def _without_key(before: Principal) -> Principal:
    """Neither device nor enrollment: the reference is dropped, and with it the key (RULE-KEY-DESTROYED)."""
    return replace(before, enrollment=None, device=None, key_ref=None)


def _digest(code: str) -> str:
    return hashlib.sha256(b"vmfa binding code v1" + code.encode("utf-8", "replace")).hexdigest()


def _same_text(ours: str, theirs: str) -> bool:
    return isinstance(theirs, str) and compare_digest(ours.encode(), theirs.encode("utf-8", "replace"))
