"""Decision and Context: the answer and the next state in one value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vmfa import (
    AuditEvent,
    CodeRejected,
    Decision,
    EventActor,
    EventType,
    InvalidType,
    Policy,
    Principal,
    PrincipalId,
)
from vmfa.access import Relationship
from vmfa.decision import Context

ALICE = PrincipalId.user("123456789012", "u-4711")
BEFORE = Principal(id=ALICE)
ME = EventActor(role="signed in", account="123456789012", kind="user", name="u-4711")


def context(**fields: Any) -> Context:
    usual = {
        "principal": ALICE,
        "actor": ME,
        "now": 5,
        "policy": Policy(),
        "keys": None,
        "random": bytes,
    }
    return Context(**{**usual, **fields})


def test_settle_returns_the_answer() -> None:
    assert Decision(principal=BEFORE, answer="answer").settle() == "answer"
    assert Decision(principal=BEFORE, answer=None).settle() is None


def test_settle_raises_the_error() -> None:
    error = CodeRejected()
    with pytest.raises(CodeRejected) as caught:
        Decision(principal=BEFORE, answer=error).settle()
    assert caught.value is error


def test_only_events_with_a_number_are_stored() -> None:
    accepted = context().event(EventType.ACCEPTED)
    assigned = replace(context().event(EventType.ASSIGNED), number=1)
    decision = Decision(principal=BEFORE, answer=None, events=(accepted, assigned))
    assert decision.stored == (assigned,)
    assert Decision(principal=BEFORE, answer=None).stored == ()


def test_an_event_has_the_actor_the_principal_and_the_time_of_the_context() -> None:
    event = context().event(EventType.RESYNCHRONIZED, "n", "reason", steps_off=-2, drift=0)
    assert event == AuditEvent(
        type=EventType.RESYNCHRONIZED,
        at=5,
        principal=ALICE,
        actor=ME,
        serial="n",
        reason="reason",
        details=(("steps_off", -2), ("drift", 0)),
    )
    assert context().event(EventType.READ) == AuditEvent(
        type=EventType.READ, at=5, principal=ALICE, actor=ME
    )


def test_a_decision_cannot_be_used_as_a_boolean() -> None:
    """It would be true for a wrong code."""
    with pytest.raises(InvalidType, match="settle"):
        bool(Decision(principal=BEFORE, answer=CodeRejected()))


def test_an_actor_is_unrelated_until_it_is_permitted() -> None:
    assert context().relationship is Relationship.UNRELATED
