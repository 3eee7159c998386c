"""The life cycle of a principal: the transition table that every decision is checked against.

The diagram in the docs is drawn from :data:`TRANSITIONS`. A decision that is not in the table, or
that breaks an invariant, is a bug of this library: an exception prevents its commit.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NoReturn

from .models import Principal, Sync


class Action(StrEnum):
    """What an operation does."""

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
    MARK_SPENT = "mark spent"
    RESTORE_BUDGET = "restore budget"
    GIVE_CLIENT_TOKEN = "give client token"  # noqa: S105  # not a password
    FORGET_CLIENTS = "forget clients"
    REOPEN = "reopen"
    REPLACE_RECOVERY_CODES = "replace recovery codes"
    ISSUE_BINDING_CODE = "issue binding code"
    READ_DEVICE = "read device"
    READ_HISTORY = "read history"


class State(StrEnum):
    """The states of the life cycle of a principal."""

    NO_DEVICE = "no device"
    ENROLLING = "enrolling"
    IN_SYNC = "assigned, in sync"
    OUT_OF_SYNC = "assigned, out of sync"
    DISABLED = "assigned, disabled"


_A, _S = Action, State
_ASSIGNED: Final = (_S.IN_SYNC, _S.OUT_OF_SYNC, _S.DISABLED)

# RULE-MACHINE
TRANSITIONS: Final[dict[tuple[State, Action], frozenset[State]]] = {
    (_S.NO_DEVICE, _A.OPEN): frozenset({_S.ENROLLING}),
    (_S.ENROLLING, _A.OPEN): frozenset({_S.ENROLLING}),  # the old key is destroyed
    (_S.ENROLLING, _A.CONFIRM): frozenset(
        {_S.IN_SYNC, _S.OUT_OF_SYNC, _S.ENROLLING, _S.NO_DEVICE}
    ),
    (_S.ENROLLING, _A.CANCEL): frozenset({_S.NO_DEVICE}),
    (_S.ENROLLING, _A.EXPIRE): frozenset({_S.NO_DEVICE}),
    (_S.ENROLLING, _A.MARK_SPENT): frozenset({_S.NO_DEVICE}),
    (_S.IN_SYNC, _A.VERIFY): frozenset({_S.IN_SYNC, _S.DISABLED}),
    (_S.IN_SYNC, _A.RESYNC): frozenset({_S.IN_SYNC, _S.DISABLED}),
    (_S.OUT_OF_SYNC, _A.RESYNC): frozenset({_S.IN_SYNC, _S.OUT_OF_SYNC, _S.DISABLED}),
    (_S.NO_DEVICE, _A.ADOPT): frozenset({_S.IN_SYNC, _S.DISABLED}),
    (_S.ENROLLING, _A.ADOPT): frozenset({_S.IN_SYNC, _S.DISABLED}),
    (_S.NO_DEVICE, _A.ISSUE_BINDING_CODE): frozenset({_S.NO_DEVICE}),
    (_S.ENROLLING, _A.ISSUE_BINDING_CODE): frozenset({_S.ENROLLING}),
    # A wrong recovery code changes its own counter and nothing else.
    **{(state, _A.DEACTIVATE): frozenset({_S.NO_DEVICE, state}) for state in _ASSIGNED},
    **{
        (state, action): frozenset({state})
        for state in _ASSIGNED
        for action in (
            _A.MARK_SPENT, _A.RESTORE_BUDGET, _A.GIVE_CLIENT_TOKEN, _A.FORGET_CLIENTS, _A.REOPEN,
            _A.REPLACE_RECOVERY_CODES,
        )
    },
    **{
        (state, action): frozenset({state})
        for state in _S
        for action in (_A.REANCHOR, _A.PRUNE)
    },
    **{(state, _A.FORGET): frozenset({_S.NO_DEVICE}) for state in _S},
}


def state_of(principal: Principal) -> State:
    """Return the state of *principal* in the life cycle."""
    device = principal.device
    if device is None:
        return State.NO_DEVICE if principal.enrollment is None else State.ENROLLING
    if device.disabled:
        return State.DISABLED
    return State.IN_SYNC if device.sync is Sync.IN_SYNC else State.OUT_OF_SYNC


def check_transition(before: Principal, action: Action, after: Principal) -> None:
    """Check that *action* may lead from *before* to *after*.

    :raises AssertionError: it may not, which is a bug of this library. Nothing is committed.
    """
    old_state, new_state = state_of(before), state_of(after)
    if new_state not in TRANSITIONS.get((old_state, action), ()):
        _refuse(f"{old_state} --{action}--> {new_state}")
    if after.id != before.id:
        _refuse("a record must stay with its principal")
    if after.seen_at < before.seen_at and action not in (Action.REANCHOR, Action.FORGET):
        _refuse("seen_at must not decrease")
    old, new = before.device, after.device
    if old is not None and new is not None:
        if new.serial != old.serial or after.key_ref != before.key_ref:
            _refuse("a device must be removed before another is assigned")
        if new.last_step < old.last_step:
            _refuse("last_step must not decrease")  # RULE-MONOTONE


def _refuse(violation: str) -> NoReturn:
    raise AssertionError(f"a bug in vmfa: {violation}. Nothing was committed")
