"""The transitions as data: the table is the one in the rules, and what is not in it is stopped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vmfa import EnrollmentSession, KeyRef, Parameters, Principal, PrincipalId, Sync, VirtualDevice
from vmfa.lifecycle import TRANSITIONS, Action, State, check_transition, phase

ALICE = PrincipalId.user("123456789012", "u-4711")
REF = KeyRef(scheme="derived", key_id="", material=bytes(16))
NO_DEVICE = Principal(id=ALICE, seen_at=100)
ENROLLING = replace(
    NO_DEVICE, key_ref=REF,
    enrollment=EnrollmentSession(session_id="s", serial="n", parameters=Parameters(), opened_at=0, expires_at=9),
)
DEVICE = VirtualDevice(
    serial="n", parameters=Parameters(), enrolled_at=0, sync=Sync.IN_SYNC, last_step=5, budget=9, budget_updated_at=0
)
IN_SYNC = replace(NO_DEVICE, key_ref=REF, device=DEVICE)
OUT_OF_SYNC = replace(IN_SYNC, device=replace(DEVICE, sync=Sync.OUT_OF_SYNC))
DISABLED = replace(IN_SYNC, device=replace(DEVICE, disabled=True))
STATES = {
    State.NO_DEVICE: NO_DEVICE, State.ENROLLING: ENROLLING, State.IN_SYNC: IN_SYNC, State.OUT_OF_SYNC: OUT_OF_SYNC,
    State.DISABLED: DISABLED,
}
DRAWN = {  # the machine of the rules, arrow by arrow
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
    *((each.value, "re-anchor", each.value) for each in State),
    *((each.value, "prune history", each.value) for each in State),
    *((each.value, "forget", "no device") for each in State),
}


def test_actions_are_named_as_events_tell_them():
    assert [action.value for action in Action if (action.value in {arrow[1] for arrow in DRAWN})] == [
        action.value for action in Action if action not in (Action.READ_DEVICE, Action.READ_HISTORY)
    ]
    assert (Action.READ_DEVICE.value, Action.READ_HISTORY.value) == ("read device", "read history")


@pytest.mark.parametrize("name", State)
def test_phases(name):
    assert phase(STATES[name]) is name


def test_a_device_that_is_disabled_and_out_of_sync_is_disabled():
    assert phase(replace(IN_SYNC, device=replace(DEVICE, sync=Sync.OUT_OF_SYNC, disabled=True))) is State.DISABLED


def test_the_table_is_the_one_in_the_rules():
    assert {
        (was.value, action.value, after.value) for (was, action), phases in TRANSITIONS.items() for after in phases
    } == DRAWN


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("was", State)
@pytest.mark.parametrize("now", State)
def test_what_is_not_drawn_is_stopped(was, action, now):
    if (was, action, now) in DRAWN:
        check_transition(STATES[was], action, STATES[now])
    else:
        with pytest.raises(AssertionError, match=f"^vmfa refuses its own decision: {was} --{action}--> {now}$"):
            check_transition(STATES[was], action, STATES[now])


def stopped(sentence: str, before: Principal, action: Action, after: Principal) -> None:
    with pytest.raises(AssertionError, match=f"^vmfa refuses its own decision: {sentence}$"):
        check_transition(before, action, after)


class TestInvariants:
    def test_a_record_stays_its_principals(self):
        stopped("a record stays its principal's", IN_SYNC, Action.VERIFY, replace(IN_SYNC, id=PrincipalId.root("1")))

    @pytest.mark.parametrize("action", [Action.VERIFY, Action.RESYNC])
    def test_verifier_time_goes_forward(self, action):
        stopped("verifier time goes forward", IN_SYNC, action, replace(IN_SYNC, seen_at=99))
        check_transition(IN_SYNC, action, replace(IN_SYNC, seen_at=100))

    def test_verifier_time_goes_back_when_re_anchored_or_forgotten(self):
        check_transition(IN_SYNC, Action.REANCHOR, replace(IN_SYNC, seen_at=99))
        check_transition(IN_SYNC, Action.FORGET, Principal(id=ALICE))

    def test_a_device_is_replaced_only_by_way_of_no_device(self):
        sentence = "a device is replaced only by way of no device"
        stopped(sentence, IN_SYNC, Action.VERIFY, replace(IN_SYNC, device=replace(DEVICE, serial="m")))
        other = replace(IN_SYNC, key_ref=KeyRef(scheme="derived", key_id="", material=bytes(15) + b"\1"))
        stopped(sentence, IN_SYNC, Action.RESYNC, other)

    def test_last_step_is_monotone(self):
        lower, higher = (replace(IN_SYNC, device=replace(DEVICE, last_step=step)) for step in (4, 6))
        stopped("last_step is monotone", IN_SYNC, Action.VERIFY, lower)
        stopped("last_step is monotone", IN_SYNC, Action.REANCHOR, lower)
        check_transition(IN_SYNC, Action.VERIFY, higher)
