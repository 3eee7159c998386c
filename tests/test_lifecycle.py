"""The transition table is the one of the rules, and any other transition is refused."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from vmfa import EnrollmentSession, KeyRef, Parameters, Principal, PrincipalId, Sync, VirtualDevice
from vmfa.lifecycle import TRANSITIONS, Action, State, check_transition, state_of

ALICE = PrincipalId.user("123456789012", "u-4711")
REF = KeyRef(scheme="derived", key_id="", material=bytes(16))
NO_DEVICE = Principal(id=ALICE, seen_at=100)
ENROLLING = replace(
    NO_DEVICE,
    key_ref=REF,
    enrollment=EnrollmentSession(
        session_id="s", serial="n", parameters=Parameters(), opened_at=0, expires_at=9
    ),
)
DEVICE = VirtualDevice(
    serial="n",
    parameters=Parameters(),
    enrolled_at=0,
    sync=Sync.IN_SYNC,
    last_step=5,
    budget=9,
    budget_updated_at=0,
)
IN_SYNC = replace(NO_DEVICE, key_ref=REF, device=DEVICE)
OUT_OF_SYNC = replace(IN_SYNC, device=replace(DEVICE, sync=Sync.OUT_OF_SYNC))
DISABLED = replace(IN_SYNC, device=replace(DEVICE, disabled=True))
STATES = {
    State.NO_DEVICE: NO_DEVICE,
    State.ENROLLING: ENROLLING,
    State.IN_SYNC: IN_SYNC,
    State.OUT_OF_SYNC: OUT_OF_SYNC,
    State.DISABLED: DISABLED,
}
ASSIGNED = ("assigned, in sync", "assigned, out of sync", "assigned, disabled")
ON_A_DEVICE = (
    "mark spent",
    "restore budget",
    "give client token",
    "forget clients",
    "reopen",
    "replace recovery codes",
)
EXPECTED = {  # written from the rules
    ("no device", "open", "enrolling"),
    ("no device", "adopt", "assigned, in sync"),
    ("no device", "adopt", "assigned, disabled"),
    ("enrolling", "open", "enrolling"),
    ("enrolling", "adopt", "assigned, in sync"),
    ("enrolling", "adopt", "assigned, disabled"),
    ("enrolling", "confirm", "assigned, in sync"),
    ("enrolling", "confirm", "assigned, out of sync"),
    ("enrolling", "confirm", "enrolling"),
    ("enrolling", "confirm", "no device"),
    ("enrolling", "cancel", "no device"),
    ("enrolling", "expire", "no device"),
    ("assigned, in sync", "verify", "assigned, in sync"),
    ("assigned, in sync", "verify", "assigned, disabled"),
    ("assigned, in sync", "resync", "assigned, in sync"),
    ("assigned, in sync", "resync", "assigned, disabled"),
    ("assigned, out of sync", "resync", "assigned, in sync"),
    ("assigned, out of sync", "resync", "assigned, out of sync"),
    ("assigned, out of sync", "resync", "assigned, disabled"),
    ("assigned, in sync", "deactivate", "no device"),
    ("assigned, out of sync", "deactivate", "no device"),
    ("assigned, disabled", "deactivate", "no device"),
    ("enrolling", "mark spent", "no device"),
    ("no device", "issue binding code", "no device"),
    ("enrolling", "issue binding code", "enrolling"),
    *((state, "deactivate", state) for state in ASSIGNED),  # a wrong recovery code
    *((state, action, state) for state in ASSIGNED for action in ON_A_DEVICE),
    *((state.value, "re-anchor", state.value) for state in State),
    *((state.value, "prune history", state.value) for state in State),
    *((state.value, "forget", "no device") for state in State),
}


def test_the_names_of_the_actions():
    """Events have them in their details."""
    reads = {"read device", "read history"}
    assert {action.value for action in Action} == {row[1] for row in EXPECTED} | reads


@pytest.mark.parametrize("name", State)
def test_the_state_of_a_principal(name):
    assert state_of(STATES[name]) is name


def test_a_device_that_is_disabled_and_out_of_sync_is_disabled():
    assert (
        state_of(replace(IN_SYNC, device=replace(DEVICE, sync=Sync.OUT_OF_SYNC, disabled=True)))
        is State.DISABLED
    )


def test_the_transition_table_is_the_one_of_the_rules():
    """RULE-MACHINE: no transition more, and none less."""
    assert {
        (was.value, action.value, after.value)
        for (was, action), states in TRANSITIONS.items()
        for after in states
    } == EXPECTED


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("was", State)
@pytest.mark.parametrize("now", State)
def test_any_other_transition_is_refused(was, action, now):
    """RULE-MACHINE: for every pair of states and every action."""
    if (was, action, now) in EXPECTED:
        check_transition(STATES[was], action, STATES[now])
    else:
        with pytest.raises(AssertionError, match=re.escape(f"{was} --{action}--> {now}")):
            check_transition(STATES[was], action, STATES[now])


def assert_refused(before: Principal, action: Action, after: Principal) -> None:
    with pytest.raises(AssertionError):
        check_transition(before, action, after)


class TestInvariants:
    def test_a_record_belongs_to_one_principal(self):
        other = replace(IN_SYNC, id=PrincipalId.root("1"))
        assert_refused(IN_SYNC, Action.VERIFY, other)

    @pytest.mark.parametrize("action", [Action.VERIFY, Action.RESYNC])
    def test_seen_at_never_decreases(self, action):
        assert_refused(IN_SYNC, action, replace(IN_SYNC, seen_at=99))
        check_transition(IN_SYNC, action, replace(IN_SYNC, seen_at=100))

    def test_only_reanchoring_and_forgetting_move_seen_at_back(self):
        check_transition(IN_SYNC, Action.REANCHOR, replace(IN_SYNC, seen_at=99))
        check_transition(IN_SYNC, Action.FORGET, Principal(id=ALICE))

    def test_a_device_is_replaced_only_after_it_was_removed(self):
        other_serial = replace(IN_SYNC, device=replace(DEVICE, serial="m"))
        assert_refused(IN_SYNC, Action.VERIFY, other_serial)
        other_key = KeyRef(scheme="derived", key_id="", material=bytes(15) + b"\1")
        assert_refused(IN_SYNC, Action.RESYNC, replace(IN_SYNC, key_ref=other_key))

    def test_last_step_never_decreases(self):
        """RULE-MONOTONE: in no transition of a device."""
        lower, higher = (
            replace(IN_SYNC, device=replace(DEVICE, last_step=step)) for step in (4, 6)
        )
        assert_refused(IN_SYNC, Action.VERIFY, lower)
        assert_refused(IN_SYNC, Action.REANCHOR, lower)
        check_transition(IN_SYNC, Action.VERIFY, higher)
