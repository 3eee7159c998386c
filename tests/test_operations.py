"""Operations as values, for services that commit in their own transaction, and what every decision
carries.
"""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import pytest

from support import MASTER
from vmfa import (
    AccessDenied,
    Actor,
    CodeRejected,
    Decision,
    DerivedKeys,
    EventType,
    InvalidType,
    InvalidValue,
    MfaClaim,
    NoDevice,
    Operations,
    Policy,
    Principal,
    Receipt,
    Sync,
)
from vmfa.lifecycle import Action, State, check_transition
from vmfa.validators import MAX_INTEGER
from world import ADMIN, ALICE, ROOT, SERVICE, START, STEP, SUPPORT, World, error_of, signed_claim

ME = Actor.signed_in(ALICE)


def operations(**more: object) -> Operations:
    return Operations(DerivedKeys(MASTER), issuer="Example", **more)


def test_an_operation_does_not_show_its_codes() -> None:
    """It may hold codes, so it does not print, pickle, copy or change."""
    operation = operations().resync(ALICE, code1="123456", code2="654321", by=ME)
    assert (operation.principal, operation.action) == (ALICE, Action.RESYNC)
    assert repr(operation) == str(operation) == "<Operation>"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        assert isinstance(error_of(lambda leak=leak: leak(operation)), InvalidType)
    assert isinstance(error_of(lambda: setattr(operation, "principal", ADMIN)), InvalidType)


def test_actor_record_id_is_the_actor_with_an_mfa_claim_on_another_principal() -> None:
    """SEED-PERMIT: in every other case no second record is needed."""
    claim = MfaClaim(at=START, serial="a")
    make = operations().device
    assert make(ALICE, by=Actor.admin(ADMIN, mfa=claim)).actor_record_id == ADMIN
    for actor in (
        ME,
        Actor.signed_in(ALICE, mfa=claim),
        Actor.admin(ADMIN),
        SERVICE,
        SUPPORT,
        None,
        "root",
    ):
        assert make(ALICE, by=actor).actor_record_id is None
    assert operations().verify(ALICE, "123456").actor_record_id is None


def test_without_the_actor_record_a_claim_does_not_count() -> None:
    """SEED-PERMIT: anything not proven is denied."""
    world = World()
    world.enroll()
    world.enroll(ADMIN)
    actor = Actor.admin(
        ADMIN, mfa=signed_claim(ADMIN, at=START, serial=world.device(ADMIN).serial)
    )
    operation = world.operations.device(ALICE, by=actor)
    assert operation.decide(world.state(), START, world.state(ADMIN)).settle() == world.device()
    assert isinstance(operation.decide(world.state(), START).answer, AccessDenied)
    assert isinstance(
        operation.decide(world.state(), START, Principal(id=ADMIN)).answer, AccessDenied
    )


def test_an_operation_refuses_the_record_of_another_principal() -> None:
    """SEED-BOUND: also when it is passed by mistake."""
    world = World()
    phone = world.enroll(ADMIN)
    decision = world.operations.verify(ALICE, phone.code(1)).decide(world.state(ADMIN), START)
    assert isinstance(decision.answer, InvalidValue)
    assert decision.principal is world.state(ADMIN)


def test_an_operation_refuses_the_record_of_another_actor() -> None:
    """SEED-BOUND: also when it is passed by mistake."""
    world = World()
    for who in (ALICE, ADMIN, ROOT):
        world.enroll(who)
    actor = Actor.admin(ADMIN, mfa=signed_claim(ADMIN, at=START, serial=world.device(ROOT).serial))
    operation = world.operations.device(ALICE, by=actor)
    assert isinstance(
        operation.decide(world.state(), START, world.state(ROOT)).answer, InvalidValue
    )


def test_deciding_is_a_pure_function() -> None:
    """The state is the same afterwards, and the same call gives the same decision."""
    world = World()
    phone = world.enroll()
    state = world.state()
    copied = replace(state)
    operation = world.operations.verify(ALICE, phone.code(1))
    one, two = operation.decide(state, START + STEP), operation.decide(state, START + STEP)
    assert state == copied
    assert one == two
    assert isinstance(one.settle(), Receipt)


def test_a_decision_carries_answer_state_and_events() -> None:
    """The failure is in the next state; the error is raised by settle() only."""
    world = World()
    phone = world.enroll()
    decision = world.operations.verify(ALICE, phone.wrong_code()).decide(world.state(), START)
    assert isinstance(decision.answer, CodeRejected)
    assert decision.principal.device.failures == 1
    assert [event.type for event in decision.events] == [EventType.REJECTED]
    assert decision.stored == ()
    assert error_of(decision.settle) is decision.answer
    assert world.device().failures == 0


def test_a_decision_that_is_not_committed_changes_nothing() -> None:
    """The code stays unspent: only what is in the store counts."""
    world = World()
    phone = world.enroll()
    world.clock.advance(STEP)
    code = phone.code()
    decision = world.operations.verify(ALICE, code).decide(world.state(), world.clock())
    assert decision.principal is not world.state()
    assert world.verify(code).step == decision.settle().step


def test_an_operation_cannot_be_used_as_a_boolean() -> None:
    """It would be true for a wrong code."""
    with pytest.raises(InvalidType, match="decide"):
        bool(operations().verify(ALICE, "123456"))


def test_a_decision_without_changes_returns_the_same_state() -> None:
    """Guards and reads return the very state that was passed in."""
    world = World()
    phone = world.enroll()
    state, make = world.state(), world.operations
    for operation in (
        make.verify(ALICE, "1"),
        make.verify(ALICE, phone.code()),
        make.device(ALICE, by=ME),
        make.record(ALICE, by=SERVICE),
        make.open_enrollment(ALICE, by=ME, label="a"),
        make.deactivate(ALICE, by=ME),
    ):
        assert operation.decide(state, START).principal is state


@pytest.mark.parametrize("now", [START, START + 0.9])
def test_each_change_is_one_revision(now: float) -> None:
    """revision + 1, seen_at in whole seconds, events numbered and chained, the record
    authenticated.
    """
    world = World()
    before = world.state()
    decision = world.operations.open_enrollment(ALICE, by=ME, label="a").decide(before, now)
    after = decision.principal
    assert (after.revision, after.seen_at, after.events) == (1, START, 1)
    assert after.head == decision.stored[-1].digest != ""
    assert decision.stored[-1].number == 1
    again = world.operations.open_enrollment(ALICE, by=ME, label="a").decide(after, now)
    assert [event.number for event in again.stored] == [2, 3]
    assert (again.principal.revision, again.principal.events) == (2, 3)
    assert again.principal.head == again.stored[-1].digest
    assert again.principal.envelope is not None


def test_an_acceptance_does_not_change_the_history() -> None:
    """An acceptance is only observed: the revision changes, the history does not."""
    world = World()
    phone = world.enroll()
    before = world.state()
    after = world.operations.verify(ALICE, phone.code(1)).decide(before, START + STEP).principal
    assert (after.revision, after.events, after.head) == (
        before.revision + 1,
        before.events,
        before.head,
    )


def test_seen_at_never_decreases() -> None:
    """RULE-CLOCK: a commit with an earlier time keeps the higher one."""
    world = World()
    phone = world.enroll()
    after = (
        world.operations.verify(ALICE, phone.wrong_code())
        .decide(world.state(), START - 7)
        .principal
    )
    assert after.seen_at == START
    assert Principal(id=ALICE).seen_at == -MAX_INTEGER


def test_a_refusal_is_an_event() -> None:
    """It has the action, the reason, the actor and the device."""
    world = World()
    world.enroll()
    (event,) = world.operations.deactivate(ALICE, by=ME).decide(world.state(), START).events
    assert (event.type, event.reason, event.details) == (
        EventType.REFUSED,
        "access denied",
        (("action", "deactivate"),),
    )
    assert (event.actor.role, event.serial, event.at) == (
        "signed in",
        world.device().serial,
        START,
    )
    (event,) = world.operations.verify(ADMIN, "123456").decide(world.state(ADMIN), START).events
    assert (event.reason, event.serial, event.actor.role) == ("no device", "", "claimant")


def test_reads_are_events() -> None:
    """SEED-PERMIT: each read of device or history is an event with its actor."""
    world = World()
    world.enroll()
    for operation, reason in (
        (world.operations.device(ALICE, by=SUPPORT), "device"),
        (world.operations.record(ALICE, by=SUPPORT), "history"),
    ):
        (event,) = operation.decide(world.state(), START).events
        assert (event.type, event.reason, str(event.actor)) == (
            EventType.READ,
            reason,
            "support case 17",
        )
        assert not event.stored


def test_the_history_of_an_unknown_principal_is_empty() -> None:
    """SEED-PERMIT: reading it is allowed for an actor that may read histories."""
    world = World()
    assert list(world.registry.history(ALICE, by=SUPPORT)) == []
    assert type(error_of(lambda: world.registry.device(ALICE, by=SUPPORT))) is NoDevice


@pytest.mark.parametrize(
    "wrong", [{"issuer": ""}, {"issuer": "a:b"}, {"issuer": None}, {"policy": "strict"}]
)
def test_invalid_issuer_or_policy_is_refused_at_construction(wrong: dict[str, object]) -> None:
    assert isinstance(
        error_of(lambda: Operations(DerivedKeys(MASTER), **{"issuer": "a", **wrong})),
        (InvalidValue, InvalidType),
    )


@pytest.mark.parametrize("keys", [{"keys": MASTER}, {"imported_keys": MASTER}])
def test_a_master_key_instead_of_a_key_source_is_refused_at_construction(
    keys: dict[str, object],
) -> None:
    """The error names DerivedKeys."""
    error = error_of(lambda: Operations(**{"keys": DerivedKeys(MASTER), "issuer": "a", **keys}))
    assert isinstance(error, InvalidType)
    assert "DerivedKeys" in str(error)


def test_the_default_policy() -> None:
    """RULE-DEFAULTS: without a policy argument it is Policy()."""
    assert operations().policy == Policy()
    assert operations(policy=Policy.strict()).policy == Policy.strict()


# Decisions outside the transition table


def states(world: World) -> dict[State, Principal]:
    stored = {State.NO_DEVICE: world.state(ADMIN)}
    world.open()
    stored[State.ENROLLING] = world.state()
    world.enroll()
    stored[State.IN_SYNC] = world.state()
    stored[State.OUT_OF_SYNC] = world.store_state(device={"sync": Sync.OUT_OF_SYNC})
    stored[State.DISABLED] = world.store_state(device={"disabled": True})
    return stored


def test_a_decision_outside_the_transition_table_is_not_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RULE-MACHINE: a rule with a bug commits nothing."""
    world = World()
    stored = states(world)
    device = stored[State.IN_SYNC]
    for before, action, after in (
        (device, Action.VERIFY, stored[State.ENROLLING]),
        (stored[State.DISABLED], Action.RESYNC, device),
        (device, Action.VERIFY, replace(device, device=replace(device.device, last_step=0))),
        (device, Action.VERIFY, replace(device, device=replace(device.device, serial="0" * 32))),
        (
            device,
            Action.VERIFY,
            replace(device, key_ref=replace(device.key_ref, material=bytes(16))),
        ),
        (device, Action.VERIFY, replace(device, seen_at=0)),
        (device, Action.VERIFY, replace(device, id=ROOT)),
    ):
        assert isinstance(
            error_of(lambda b=before, a=action, c=after: check_transition(b, a, c)), AssertionError
        )
    check_transition(device, Action.REANCHOR, replace(device, seen_at=0))
    monkeypatch.setattr(
        "vmfa.rules.verify",
        lambda before, ctx, *_: Decision(principal=stored[State.NO_DEVICE], answer="in"),
    )
    state = world.store_state(device={"disabled": False, "sync": Sync.IN_SYNC})
    assert isinstance(error_of(lambda: world.verify("123456")), AssertionError)
    assert world.state() is state


def test_an_expiry_outside_the_transition_table_is_not_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RULE-MACHINE: the expiry of a session is a transition of its own."""
    world = World()
    stored = states(world)
    monkeypatch.setattr(
        "vmfa.guards.without_expired", lambda before, ctx: (stored[State.IN_SYNC], ())
    )
    operation = world.operations.reanchor(ALICE, by=SERVICE)
    assert isinstance(
        error_of(lambda: operation.decide(stored[State.ENROLLING], START)), AssertionError
    )
