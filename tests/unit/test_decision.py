"""A decision: the answer and the next state in one value."""

from __future__ import annotations

import dataclasses

import pytest

from vmfa import AuditEvent, CodeRejected, Decision, EventType, Parameters, Policy, Principal, PrincipalId
from vmfa.access import Relationship
from vmfa.decision import Context

ALICE = PrincipalId.user("123456789012", "u-4711")
BEFORE = Principal(id=ALICE)


def case(**more) -> Case:
    usual = {"principal": ALICE, "actor": "me", "now": 5, "policy": Policy(), "keys": None, "random": bytes}
    return Context(**usual | more)


def test_an_answer_is_returned():
    assert Decision(principal=BEFORE, answer="answer").settle() == "answer"
    assert Decision(principal=BEFORE, answer=None).settle() is None


def test_a_refusal_is_raised_once_settled():
    refusal = CodeRejected()
    decided = Decision(principal=BEFORE, answer=refusal)
    with pytest.raises(CodeRejected) as caught:
        decided.settle()
    assert caught.value is refusal


def test_only_life_cycle_events_are_stored():
    told, kept = case().note(EventType.ACCEPTED), case().note(EventType.DRIFT_CHANGED)
    assert Decision(principal=BEFORE, answer=None, events=(told, kept)).stored == (kept,)
    assert Decision(principal=BEFORE, answer=None).stored == ()


def test_a_note_says_who_did_what_to_whom_and_when():
    assert case().note(EventType.RESYNCHRONIZED, "n", "reason", steps_off=-2, drift=0) == AuditEvent(
        type=EventType.RESYNCHRONIZED, at=5, principal=ALICE, actor="me", serial="n", reason="reason",
        details=(("steps_off", -2), ("drift", 0)),
    )
    assert case().note(EventType.READ) == AuditEvent(type=EventType.READ, at=5, principal=ALICE, actor="me")


def test_a_decision_cannot_be_changed_between_deciding_and_settling():
    for value in (Decision(principal=BEFORE, answer=None), case()):
        for field in dataclasses.fields(value):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(value, field.name, None)
        assert not hasattr(value, "__dict__")
    with pytest.raises(TypeError):
        Context(ALICE, "me", 5, Policy(), None, bytes)


def test_who_acts_is_nobody_until_permitted():
    assert case().standing is Relationship.UNRELATED
    assert case(policy=Policy(offers=(Parameters(digits=8),))).policy.offers[0].digits == 8
