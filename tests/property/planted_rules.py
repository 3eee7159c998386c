"""Mistakes in the rules, planted on purpose. The search of ``explore.py`` must find each one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from vmfa import (
    CodeRejected,
    Decision,
    Key,
    KeyRef,
    Parameters,
    Policy,
    Principal,
    PrincipalId,
    Sync,
    VirtualDevice,
    VmfaError,
    guards,
    maintenance,
    otp,
    recovery,
    rules,
    throttle,
)
from vmfa.operations import Operation

from .explore import Explorer, SearchResult, search
from .ledger import KEYS, POLICIES, STEP, Action, TableKeys


def _device(record: Principal, **changes: Any) -> Principal:
    return replace(record, device=replace(record.device, **changes)) if record.device else record


def _around(
    name: str,
    *,
    before: Callable[[Principal], Principal] = lambda record: record,
    after: Callable[[Principal, Principal, Any], Principal] = lambda old, new, answer: new,
) -> Iterator[None]:
    """Change what the rule *name* is given by *before*, and what it decided by *after*."""
    holder = rules if hasattr(rules, name) else maintenance
    real = getattr(holder, name)

    def planted(record: Principal, ctx: Any, *arguments: Any) -> Decision[Any]:
        decision = real(before(record), ctx, *arguments)
        return replace(decision, principal=after(record, decision.principal, decision.answer))

    with _swapped(holder, name, planted):
        yield


@contextmanager
def _swapped(holder: Any, name: str, value: Any) -> Iterator[None]:
    real = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        setattr(holder, name, real)


def _with_policy(name: str, **changes: Any) -> Iterator[None]:
    """Give the rule *name* another policy."""
    real = getattr(rules, name)

    def planted(record: Principal, ctx: Any, *arguments: Any) -> Decision[Any]:
        return real(record, replace(ctx, policy=ctx.policy.replace(**changes)), *arguments)

    with _swapped(rules, name, planted):
        yield


def _keeps(field: str) -> Callable[[Principal, Principal, Any], Principal]:
    """Keep the earlier value of a field."""
    return lambda old, new, answer: (
        _device(new, **{field: getattr(old.device, field)}) if new.device else new
    )


def _highest(old: Principal, new: Principal, answer: Any) -> Principal:
    return (
        _device(new, last_step=max(old.device.last_step, new.device.last_step))
        if old.device
        else new
    )


def _scan_without_first(
    key: Key, codes: tuple[str, ...], steps: range, digits: int, algorithm: str
) -> tuple[list[int], ...]:
    matches = otp.scan(key, codes, steps, digits, algorithm)
    return (list(steps), matches[1]) if len(codes) == 2 else matches


def _exchanged(old: Principal, new: Principal, answer: Any) -> Principal:
    """Count a new failure in the other lane."""
    if old.device is None or new.device is None or new.device.known_failures == 0:
        return new
    if new.device.known_failures == old.device.known_failures:
        return new
    return _device(new, failures=old.device.failures + 1, known_failures=old.device.known_failures)


def _never_empty(device: VirtualDevice, now: int, policy: Policy) -> tuple[int, int]:
    budget, updated_at = _REAL_REFILLED(device, now, policy)
    return max(1, budget), updated_at


def _reversed_too(
    record: Principal, ctx: Any, session: str, code1: str, code2: str
) -> Decision[Any]:
    decision = _REAL_CONFIRM(record, ctx, session, code1, code2)
    if isinstance(decision.answer, CodeRejected):
        return _REAL_CONFIRM(record, ctx, session, code2, code1)
    return decision


_REAL_REFILLED = throttle.refilled_budget
_REAL_CONFIRM = rules.confirm_enrollment
_REAL_COMPLETED = Operation._completed


def _not_advanced(self: Any, before: Principal, *arguments: Any) -> Decision[Any]:
    decision = _REAL_COMPLETED(self, before, *arguments)
    same = replace(decision.principal, revision=max(1, before.revision))
    return replace(decision, principal=same)


class ReissuingKeys(TableKeys):
    """Issue the first key again at the second enrollment."""

    def issue(
        self, principal: PrincipalId, serial: str, parameters: Parameters
    ) -> tuple[KeyRef, Key]:
        return self._ref(), KEYS[1]

    def reveal(
        self, ref: KeyRef, principal: PrincipalId, serial: str, parameters: Parameters
    ) -> Key:
        return KEYS[1]


Plant = Callable[[], Iterator[None]]
PLANTS: dict[str, tuple[str, Plant]] = {
    "a code at last_step is fresh": (
        "cap",
        lambda: _around(
            "verify",
            before=lambda r: (
                _device(r, last_step=max(-1, r.device.last_step - 1)) if r.device else r
            ),
            after=_highest,
        ),
    ),
    "no replay state": (
        "cap",
        lambda: _around("verify", before=lambda r: _device(r, last_step=-1), after=_highest),
    ),
    "an accepted code is not spent": ("cap", lambda: _around("verify", after=_keeps("last_step"))),
    "the pair of an enrollment is not spent": (
        "cap",
        lambda: _around(
            "confirm_enrollment", after=lambda old, new, answer: _device(new, last_step=-1)
        ),
    ),
    "only the first code of an enrollment is spent": (
        "cap",
        lambda: _around(
            "confirm_enrollment",
            after=lambda old, new, answer: (
                _device(new, last_step=new.device.last_step - 1) if new.device else new
            ),
        ),
    ),
    "a resynchronization accepts spent codes": (
        "cap",
        lambda: _around("resync", before=lambda r: _device(r, last_step=-1), after=_highest),
    ),
    "the pair of a resynchronization is not spent": (
        "cap",
        lambda: _around("resync", after=_keeps("last_step")),
    ),
    "a resynchronization looks further than its limit": (
        "cap",
        lambda: _with_policy("resync", resync_back=3),
    ),
    "an enrollment looks further than its limit": (
        "cap",
        lambda: _with_policy("confirm_enrollment", enroll_forward=2),
    ),
    "code 1 is not checked": ("cap", lambda: _patched(guards, "scan", _scan_without_first)),
    "a reversed pair assigns": (
        "cap",
        lambda: _patched(rules, "confirm_enrollment", _reversed_too),
    ),
    "a late pair is in sync": (
        "cap",
        lambda: _around(
            "confirm_enrollment", after=lambda old, new, answer: _device(new, sync=Sync.IN_SYNC)
        ),
    ),
    "a device out of sync signs in": (
        "cap",
        lambda: _around(
            "verify", before=lambda r: _device(r, sync=Sync.IN_SYNC), after=_keeps("sync")
        ),
    ),
    "a wrong code is not counted": (
        "cap",
        lambda: _around(
            "verify", after=lambda old, new, answer: old if isinstance(answer, VmfaError) else new
        ),
    ),
    "a wrong pair is not counted": (
        "cap",
        lambda: _around(
            "resync", after=lambda old, new, answer: old if isinstance(answer, VmfaError) else new
        ),
    ),
    "a failed resynchronization clears the failures": (
        "cap",
        lambda: _around("resync", after=lambda old, new, answer: _device(new, failures=0)),
    ),
    "a success keeps the failures": ("cap", lambda: _around("verify", after=_keeps("failures"))),
    "no delay": ("cap", lambda: _with_policy("usable_device", delay_from=100)),
    "the delay does not grow": ("cap", lambda: _with_policy("usable_device", delay_cap=STEP)),
    "one failure more than the cap": ("cap", lambda: _with_policy("verify", failure_cap=4)),
    "an empty budget is evaluated": (
        "budget",
        lambda: _patched(throttle, "refilled_budget", _never_empty),
    ),
    "an empty budget disables": (
        "budget",
        lambda: _around(
            "resync",
            after=lambda old, new, answer: (
                _device(new, disabled=True) if new.device and not new.device.budget else new
            ),
        ),
    ),
    "a success refills the budget": (
        "budget",
        lambda: _around(
            "verify",
            after=lambda old, new, answer: (
                new if isinstance(answer, VmfaError) else _device(new, budget=2)
            ),
        ),
    ),
    "the budget grows too fast": (
        "budget",
        lambda: _with_policy("verify", budget_refill=2 * STEP),
    ),
    "a full budget is refilled further": (
        "budget",
        lambda: _around(
            "verify",
            after=lambda old, new, answer: (
                _device(new, budget_updated_at=old.device.budget_updated_at) if new.device else new
            ),
        ),
    ),
    "a disabled device is revived by a pair": (
        "cap",
        lambda: _around("resync", before=lambda r: _device(r, disabled=False)),
    ),
    "a disabled device signs in": (
        "cap",
        lambda: _around(
            "verify", before=lambda r: _device(r, disabled=False), after=_keeps("disabled")
        ),
    ),
    "drift moves at once": (
        "cap",
        lambda: _around("verify", before=lambda r: _device(r, last_offset=1)),
    ),
    "drift is not bounded": ("cap", lambda: _with_policy("verify", login_drift=5)),
    "a failed confirmation is not counted": (
        "cap",
        lambda: _around(
            "confirm_enrollment",
            after=lambda old, new, answer: old if isinstance(answer, VmfaError) else new,
        ),
    ),
    "one confirmation more than the limit": (
        "cap",
        lambda: _with_policy("confirm_enrollment", session_attempts=3),
    ),
    "a session never expires": (
        "cap",
        lambda: _patched(guards, "without_expired", lambda record, ctx: (record, ())),
    ),
    "any session id is accepted": (
        "cap",
        lambda: _patched(recovery, "same_text", lambda ours, theirs: True),
    ),
    "a canceled session stays open": (
        "cap",
        lambda: _around("cancel_enrollment", after=lambda old, new, answer: old),
    ),
    "a superseded key stays valid": (
        "cap",
        lambda: _around(
            "open_enrollment",
            after=lambda old, new, answer: replace(new, key_ref=old.key_ref or new.key_ref),
        ),
    ),
    "sessions are not counted": (
        "cap",
        lambda: _with_policy("open_enrollment", enrollments_per_day=5),
    ),
    "a session is opened beside a device": (
        "cap",
        lambda: _around(
            "open_enrollment",
            before=lambda r: replace(r, device=None, key_ref=None) if r.device else r,
        ),
    ),
    "an import overwrites a device": (
        "cap",
        lambda: _around(
            "adopt", before=lambda r: replace(r, device=None, key_ref=None) if r.device else r
        ),
    ),
    "an import may be replayed": (
        "cap",
        lambda: _around(
            "adopt",
            after=lambda old, new, answer: _device(new, last_step=new.device.last_step - 1),
        ),
    ),
    "a deactivated device stays assigned": (
        "cap",
        lambda: _around("deactivate", after=lambda old, new, answer: old),
    ),
    "a clock gone back is not noticed": (
        "cap",
        lambda: _patched(guards, "check_clock", lambda record, ctx: None),
    ),
    "re-anchoring lowers last_step": (
        "cap",
        lambda: _around("reanchor", after=lambda old, new, answer: _device(new, last_step=-1)),
    ),
    "re-anchoring clears the failures": (
        "cap",
        lambda: _around("reanchor", after=lambda old, new, answer: _device(new, failures=0)),
    ),
    "the lane without a token never closes": (
        "lanes",
        lambda: _with_policy("usable_device", known_client_reserve=1),
    ),
    "a failure with a token is counted without one": (
        "lanes",
        lambda: _around("verify", after=_exchanged),
    ),
    "a success without a token clears the other lane": (
        "lanes",
        lambda: _around(
            "verify",
            after=lambda old, new, answer: (
                new if isinstance(answer, VmfaError) else _device(new, known_failures=0)
            ),
        ),
    ),
    "a success with a token clears the other lane": (
        "lanes",
        lambda: _around(
            "verify",
            after=lambda old, new, answer: (
                new if isinstance(answer, VmfaError) else _device(new, failures=0)
            ),
        ),
    ),
    "a given token is accepted twice": (
        "lanes",
        lambda: _around("verify", after=_keeps("clients")),
    ),
    "any token is known": (
        "lanes",
        lambda: _patched(TableKeys, "check", lambda self, purpose, message, tag: True),
    ),
    "reopening needs no newer sign-in": (
        "lanes",
        lambda: _around("reopen", before=lambda r: _device(r, failed_at=-1)),
    ),
    "the budget is restored again and again": (
        "lanes",
        lambda: _around("restore_budget", after=_keeps("budget_restored_at")),
    ),
    "the owner cancels the enrollment of another person": (
        "cap",
        lambda: _around("cancel_enrollment", before=lambda r: replace(r, binding=None)),
    ),
    "the owner enrolls without the binding code": (
        "cap",
        lambda: _around("open_enrollment", before=lambda r: replace(r, binding=None)),
    ),
    "marking spent stops one step early": (
        "cap",
        lambda: _around(
            "mark_spent",
            after=lambda old, new, answer: (
                _device(new, last_step=new.device.last_step - 1)
                if new.device and new is not old
                else new
            ),
        ),
    ),
    "marking spent leaves the session open": (
        "cap",
        lambda: _around(
            "mark_spent", after=lambda old, new, answer: old if old.enrollment else new
        ),
    ),
    "a revision is not advanced": (
        "cap",
        lambda: _patched(Operation, "_completed", _not_advanced),
    ),
}


def _patched(holder: Any, name: str, value: Any) -> Iterator[None]:
    with _swapped(holder, name, value):
        yield


_TICK, _ADOPT, _WRONG = Action("tick"), Action("adopt"), Action("resync", (None, None))
_TWO_FAILURES = (_ADOPT, _WRONG, _TICK, _WRONG)
_ENROLLED = (Action("open"), Action("confirm", ((1, 8), (1, 9)), 1))
_DISABLED = (*_TWO_FAILURES, _TICK, _TICK, _WRONG)
_REMOVED = (*_DISABLED, Action("deactivate"))
BEGINNINGS: dict[str, tuple[Action, ...]] = {  # where the search for a bug starts
    "a full budget is refilled further": (_ADOPT, *[_TICK] * 4),
    "drift is not bounded": (
        Action("open"),
        Action("confirm", ((1, 8), (1, 9)), 1),
        Action("verify", ((1, 11),)),
        _TICK,
        Action("verify", ((1, 12),)),
    ),
    "a resynchronization looks further than its limit": (
        Action("open"),
        Action("confirm", ((1, 7), (1, 8)), 1),
        _TICK,
        _TICK,
    ),
    "the budget grows too fast": (_ADOPT, _WRONG, _TICK),
    "the lane without a token never closes": (_ADOPT, _WRONG),
    "a success without a token clears the other lane": _ENROLLED,
    "a success with a token clears the other lane": _ENROLLED,
    "a success refills the budget": _ENROLLED,
    "a given token is accepted twice": _ENROLLED,
    "reopening needs no newer sign-in": _ENROLLED,
    "the delay does not grow": _TWO_FAILURES,
    "one failure more than the cap": _TWO_FAILURES,
    "a disabled device is revived by a pair": _DISABLED,
    "a disabled device signs in": _DISABLED,
    "the owner cancels the enrollment of another person": _REMOVED,
    "the owner enrolls without the binding code": _REMOVED,
    "a clock gone back is not noticed": (_TICK, _TICK, _ADOPT),
}


def search_planted(name: str, limit: int) -> SearchResult:
    """Search with the planted bug *name*."""
    policy, plant = PLANTS[name]
    with contextmanager(plant)():
        return search(policy, limit, BEGINNINGS.get(name, ()))


def search_reissued(limit: int) -> SearchResult:
    """Search with a key source that issues a destroyed key again."""
    return Explorer(POLICIES["cap"], ReissuingKeys()).search(limit)
