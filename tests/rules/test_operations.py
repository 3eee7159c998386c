"""Operations as values: what a service uses that commits in its own transaction; and what every decision carries."""

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
from vmfa.lifecycle import TRANSITIONS, Action, State, check_transition, phase
from vmfa.validators import MAX_INTEGER

from .world import ALICE, BOSS, ROOT, SERVICE, START, STEP, SUPPORT, World, refusal

ME = Actor.signed_in(ALICE)


def operations(**more: object) -> Operations:
    return Operations(DerivedKeys(MASTER), issuer="Example", **more)


def test_an_operation_names_its_principal_and_prints_no_code() -> None:
    """OPERATION: it may hold codes, so it neither prints, pickles, copies nor changes."""
    operation = operations().resync(ALICE, code1="123456", code2="654321", by=ME)
    assert (operation.principal, operation.action) == (ALICE, Action.RESYNC)
    assert repr(operation) == str(operation) == "<Operation>"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        assert isinstance(refusal(lambda leak=leak: leak(operation)), InvalidType)
    assert isinstance(refusal(lambda: setattr(operation, "principal", BOSS)), InvalidType)


def test_the_witness_is_the_record_behind_the_actors_claim() -> None:
    """SEED-PERMIT: needed where the actor is somebody else and claims MFA; not otherwise."""
    claim = MfaClaim(at=START, serial="a")
    make = operations().device
    assert make(ALICE, by=Actor.admin(BOSS, mfa=claim)).actor_record == BOSS
    for actor in (ME, Actor.signed_in(ALICE, mfa=claim), Actor.admin(BOSS), SERVICE, SUPPORT, None, "root"):
        assert make(ALICE, by=actor).actor_record is None
    assert operations().verify(ALICE, "123456").actor_record is None


def test_without_its_witness_a_claim_does_not_count() -> None:
    """SEED-PERMIT: absent means no."""
    world = World()
    world.enroll()
    world.enroll(BOSS)
    actor = Actor.admin(BOSS, mfa=MfaClaim(at=START, serial=world.device(BOSS).serial))
    operation = world.operations.device(ALICE, by=actor)
    assert operation.decide(world.state(), START, world.state(BOSS)).settle() == world.device()
    assert isinstance(operation.decide(world.state(), START).answer, AccessDenied)
    assert isinstance(operation.decide(world.state(), START, Principal(id=BOSS)).answer, AccessDenied)


def test_an_operation_decides_on_its_own_principals_record_only() -> None:
    """SEED-BOUND: another's record, handed over by mistake, is refused."""
    world = World()
    phone = world.enroll(BOSS)
    made = world.operations.verify(ALICE, phone.code(1)).decide(world.state(BOSS), START)
    assert isinstance(made.answer, InvalidValue)
    assert made.principal is world.state(BOSS)


def test_a_claim_is_held_against_the_actors_own_record_only() -> None:
    """SEED-BOUND: another actor_record than the actor, handed over by mistake, is refused."""
    world = World()
    for who in (ALICE, BOSS, ROOT):
        world.enroll(who)
    actor = Actor.admin(BOSS, mfa=MfaClaim(at=START, serial=world.device(ROOT).serial))
    operation = world.operations.device(ALICE, by=actor)
    assert isinstance(operation.decide(world.state(), START, world.state(ROOT)).answer, InvalidValue)


def test_deciding_changes_nothing() -> None:
    """DECISION: a pure function: the state is the same afterwards, and the same question gets the same decision."""
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
    """DECISION: the failure is in the next state, the refusal is an answer, raised only on settling."""
    world = World()
    phone = world.enroll()
    made = world.operations.verify(ALICE, phone.wrong_code()).decide(world.state(), START)
    assert isinstance(made.answer, CodeRejected)
    assert made.principal.device.failures == 1
    assert [event.type for event in made.events] == [EventType.REJECTED]
    assert made.stored == ()
    assert refusal(made.settle) is made.answer
    assert world.device().failures == 0


def test_where_nothing_is_to_be_written_it_is_the_same_state() -> None:
    """DECISION: guards and reads give back the very state that was decided on."""
    world = World()
    phone = world.enroll()
    state, make = world.state(), world.operations
    for operation in (
        make.verify(ALICE, "1"), make.verify(ALICE, phone.code()), make.device(ALICE, by=ME),
        make.record(ALICE, by=SERVICE), make.open_enrollment(ALICE, by=ME, label="a"),
        make.deactivate(ALICE, by=ME),
    ):
        assert operation.decide(state, START).principal is state


@pytest.mark.parametrize("now", [START, START + 0.9])
def test_each_change_is_one_revision(now: float) -> None:
    """DECISION: revision + 1, seen_at the whole second, events numbered on and chained, the record sealed."""
    world = World()
    before = world.state()
    made = world.operations.open_enrollment(ALICE, by=ME, label="a").decide(before, now)
    after = made.principal
    assert (after.revision, after.seen_at, after.events) == (1, START, 1)
    assert after.head == made.stored[-1].tag != ""
    assert made.stored[-1].number == 1
    again = world.operations.open_enrollment(ALICE, by=ME, label="a").decide(after, now)
    assert [event.number for event in again.stored] == [2, 3]
    assert (again.principal.revision, again.principal.events) == (2, 3)
    assert again.principal.head == again.stored[-1].tag
    assert again.principal.envelope is not None


def test_a_change_without_stored_event_keeps_the_head() -> None:
    """DECISION: an acceptance is told, not kept: revision moves, the history does not."""
    world = World()
    phone = world.enroll()
    before = world.state()
    after = world.operations.verify(ALICE, phone.code(1)).decide(before, START + STEP).principal
    assert (after.revision, after.events, after.head) == (before.revision + 1, before.events, before.head)


def test_seen_at_never_falls() -> None:
    """RULE-CLOCK: a commit a little behind keeps the higher time."""
    world = World()
    phone = world.enroll()
    after = world.operations.verify(ALICE, phone.wrong_code()).decide(world.state(), START - 7).principal
    assert after.seen_at == START
    assert Principal(id=ALICE).seen_at == -MAX_INTEGER


def test_a_refusal_is_an_event_of_its_own() -> None:
    """OBSERVER: each refusal says what was tried, why not, by whom and on which device."""
    world = World()
    world.enroll()
    (event,) = world.operations.deactivate(ALICE, by=ME).decide(world.state(), START).events
    assert (event.type, event.reason, event.details) == (EventType.REFUSED, "access denied", (("action", "deactivate"),))
    assert (event.actor, event.serial, event.at) == (str(ME), world.device().serial, START)
    (event,) = world.operations.verify(BOSS, "123456").decide(world.state(BOSS), START).events
    assert (event.reason, event.serial, event.actor) == ("no device", "", "claimant")


def test_reads_are_events() -> None:
    """SEED-PERMIT: each read of device or history has an actor, and is told with him."""
    world = World()
    world.enroll()
    for operation, reason in (
        (world.operations.device(ALICE, by=SUPPORT), "device"),
        (world.operations.record(ALICE, by=SUPPORT), "history"),
    ):
        (event,) = operation.decide(world.state(), START).events
        assert (event.type, event.reason, event.actor) == (EventType.READ, reason, "support case 17")
        assert not event.stored


def test_the_history_of_nobody_is_empty_and_readable() -> None:
    """SEED-PERMIT: reading the history of an unknown principal is no error to whoever may read it."""
    world = World()
    assert list(world.registry.history(ALICE, by=SUPPORT)) == []
    assert type(refusal(lambda: world.registry.device(ALICE, by=SUPPORT))) is NoDevice


@pytest.mark.parametrize("wrong", [{"issuer": ""}, {"issuer": "a:b"}, {"issuer": None}, {"policy": "strict"}])
def test_operations_are_checked_when_they_are_made(wrong: dict[str, object]) -> None:
    """OPERATION: an issuer that is no part of a URI, or a policy that is none, is refused at once."""
    assert isinstance(
        refusal(lambda: Operations(DerivedKeys(MASTER), **{"issuer": "a", **wrong})), (InvalidValue, InvalidType)
    )


@pytest.mark.parametrize("keys", [{"keys": MASTER}, {"imported_keys": MASTER}])
def test_a_master_key_is_no_source_of_keys(keys: dict[str, object]) -> None:
    """OPERATION: bytes in place of a key source are refused with a hint, not at the first verification."""
    error = refusal(lambda: Operations(**{"keys": DerivedKeys(MASTER), "issuer": "a", **keys}))
    assert isinstance(error, InvalidType)
    assert "DerivedKeys" in str(error)


def test_the_default_policy_follows_the_seed() -> None:
    """RULE-DEFAULTS: nothing given means Policy()."""
    assert operations().policy == Policy()
    assert operations(policy=Policy.strict()).policy == Policy.strict()


# The machine: a decision outside of it is stopped before it can be committed


def states(world: World) -> dict[State, Principal]:
    found = {State.NO_DEVICE: world.state(BOSS)}
    world.open()
    found[State.ENROLLING] = world.state()
    world.enroll()
    found[State.IN_SYNC] = world.state()
    found[State.OUT_OF_SYNC] = world.put(device={"sync": Sync.OUT_OF_SYNC})
    found[State.DISABLED] = world.put(device={"disabled": True})
    return found


def test_every_phase_is_told_apart() -> None:
    """RULE-MACHINE: five phases; disabled lies over the sync state."""
    assert {name: phase(state) for name, state in states(World()).items()} == {name: name for name in State}


def test_the_table_is_the_machine_of_the_rules() -> None:
    """RULE-MACHINE: the arrows, written down once more from the law."""
    no, enrolling, in_sync, out, disabled = State
    arrows = {
        (no, Action.OPEN, enrolling), (enrolling, Action.OPEN, enrolling),
        *((enrolling, Action.CONFIRM, to) for to in (in_sync, out, enrolling, no)),
        (enrolling, Action.CANCEL, no), (enrolling, Action.EXPIRE, no),
        (in_sync, Action.VERIFY, in_sync), (in_sync, Action.VERIFY, disabled),
        *((was, Action.RESYNC, to) for was in (in_sync, out) for to in (in_sync, disabled)),
        (out, Action.RESYNC, out),
        *((was, Action.DEACTIVATE, no) for was in (in_sync, out, disabled)),
        *((was, Action.ADOPT, to) for was in (no, enrolling) for to in (in_sync, disabled)),
        *((was, action, was) for was in State for action in (Action.REANCHOR, Action.PRUNE)),
        *((was, Action.FORGET, no) for was in State),
    }
    assert {(was, action, to) for (was, action), tos in TRANSITIONS.items() for to in tos} == arrows


def test_a_decision_outside_the_table_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """RULE-MACHINE: a rule that opened beside a device, revived a disabled one or lowered last_step commits nothing."""
    world = World()
    found = states(world)
    device = found[State.IN_SYNC]
    for before, action, after in (
        (device, Action.VERIFY, found[State.ENROLLING]),
        (found[State.DISABLED], Action.RESYNC, device),
        (device, Action.VERIFY, replace(device, device=replace(device.device, last_step=0))),
        (device, Action.VERIFY, replace(device, device=replace(device.device, serial="0" * 32))),
        (device, Action.VERIFY, replace(device, key_ref=replace(device.key_ref, material=bytes(16)))),
        (device, Action.VERIFY, replace(device, seen_at=0)),
        (device, Action.VERIFY, replace(device, id=ROOT)),
    ):
        assert isinstance(refusal(lambda b=before, a=action, c=after: check_transition(b, a, c)), AssertionError)
    check_transition(device, Action.REANCHOR, replace(device, seen_at=0))
    monkeypatch.setattr("vmfa.rules.verify", lambda before, case, code: Decision(principal=found[State.NO_DEVICE], answer="in"))
    state = world.put(device={"disabled": False, "sync": Sync.IN_SYNC})
    assert isinstance(refusal(lambda: world.verify("123456")), AssertionError)
    assert world.state() is state


def test_an_expiry_that_did_more_than_end_the_session_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """RULE-MACHINE: the expiry that any operation finds is a transition of its own, checked like the others."""
    world = World()
    found = states(world)
    monkeypatch.setattr("vmfa.rules.without_expired", lambda before, case: (found[State.IN_SYNC], ()))
    operation = world.operations.device(ALICE, by=ME)
    assert isinstance(refusal(lambda: operation.decide(found[State.ENROLLING], START)), AssertionError)
