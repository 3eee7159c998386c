"""RULE-MACHINE: the transitions of a principal as data. Every decision is checked against it.

The life-cycle diagram in the docs is drawn from :data:`TRANSITIONS`. A decision that is not in it, or that
breaks an invariant, is a bug of this library: it is stopped before it can be committed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NoReturn

from .models import Principal, Sync


class Action(StrEnum):
    OPEN = "open"
    CONFIRM = "confirm"
    CANCEL = "cancel"
    EXPIRE = "expire"
    VERIFY = "verify"
    RESYNC = "resync"
    DEACTIVATE = "deactivate"
    ADOPT = "adopt"
    REANCHOR = "re-anchor"
    FORGET = "forget"
    PRUNE = "prune history"
    READ_DEVICE = "read device"
    READ_HISTORY = "read history"


class State(StrEnum):
    NO_DEVICE = "no device"
    ENROLLING = "enrolling"
    IN_SYNC = "assigned, in sync"
    OUT_OF_SYNC = "assigned, out of sync"
    DISABLED = "assigned, disabled"


_A, _P = Action, State

TRANSITIONS: Final[dict[tuple[State, Action], frozenset[State]]] = {
    (_P.NO_DEVICE, _A.OPEN): frozenset({_P.ENROLLING}),
    (_P.ENROLLING, _A.OPEN): frozenset({_P.ENROLLING}),  # the old key is dead
    (_P.ENROLLING, _A.CONFIRM): frozenset({_P.IN_SYNC, _P.OUT_OF_SYNC, _P.ENROLLING, _P.NO_DEVICE}),
    (_P.ENROLLING, _A.CANCEL): frozenset({_P.NO_DEVICE}),
    (_P.ENROLLING, _A.EXPIRE): frozenset({_P.NO_DEVICE}),
    (_P.IN_SYNC, _A.VERIFY): frozenset({_P.IN_SYNC, _P.DISABLED}),
    (_P.IN_SYNC, _A.RESYNC): frozenset({_P.IN_SYNC, _P.DISABLED}),
    (_P.OUT_OF_SYNC, _A.RESYNC): frozenset({_P.IN_SYNC, _P.OUT_OF_SYNC, _P.DISABLED}),
    (_P.IN_SYNC, _A.DEACTIVATE): frozenset({_P.NO_DEVICE}),
    (_P.OUT_OF_SYNC, _A.DEACTIVATE): frozenset({_P.NO_DEVICE}),
    (_P.DISABLED, _A.DEACTIVATE): frozenset({_P.NO_DEVICE}),
    (_P.NO_DEVICE, _A.ADOPT): frozenset({_P.IN_SYNC, _P.DISABLED}),
    (_P.ENROLLING, _A.ADOPT): frozenset({_P.IN_SYNC, _P.DISABLED}),
    **{(phase, action): frozenset({phase}) for phase in _P for action in (_A.REANCHOR, _A.PRUNE)},
    **{(phase, _A.FORGET): frozenset({_P.NO_DEVICE}) for phase in _P},
}


def phase(principal: Principal) -> State:
    device = principal.device
    if device is None:
        return _P.NO_DEVICE if principal.enrollment is None else _P.ENROLLING
    if device.disabled:
        return _P.DISABLED
    return _P.IN_SYNC if device.sync is Sync.IN_SYNC else _P.OUT_OF_SYNC


def check_transition(before: Principal, action: Action, after: Principal) -> None:
    """:raises AssertionError: a bug of this library. Nothing is committed."""
    was, now = phase(before), phase(after)
    if now not in TRANSITIONS.get((was, action), ()):
        _illegal(f"{was} --{action}--> {now}")
    if after.id != before.id:
        _illegal("a record stays its principal's")
    if after.seen_at < before.seen_at and action not in (_A.REANCHOR, _A.FORGET):
        _illegal("verifier time goes forward")
    old, new = before.device, after.device
    if old is not None and new is not None:
        if new.serial != old.serial or after.key_ref != before.key_ref:
            _illegal("a device is replaced only by way of no device")
        if new.last_step < old.last_step:
            _illegal("last_step is monotone")  # RULE-MONOTONE


def _illegal(sentence: str) -> NoReturn:
    raise AssertionError(f"vmfa refuses its own decision: {sentence}")
