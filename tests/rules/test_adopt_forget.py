"""What a trusted service alone may do: import a device, erase a principal. (Re-anchoring is in test_clock.)"""

from __future__ import annotations

from dataclasses import replace

import pytest

from support import Phone
from vmfa import (
    Actor,
    AlreadyUsed,
    CodeRejected,
    DeviceAlreadyAssigned,
    DeviceDisabled,
    EventType,
    InvalidType,
    InvalidValue,
    NoDevice,
    NoSession,
    Parameters,
    Policy,
    Principal,
    PrincipalId,
    Receipt,
    Sync,
    Throttled,
    UnsafePlainKeys,
    VirtualDevice,
)

from .world import ALICE, BOSS, RFC_KEY, ROOT, SERVICE, START, STEP, World, answer, refusal

HERE = START // STEP


def adopted(policy: Policy | None = None, **more: object) -> tuple[World, Phone]:
    world = World(policy, imported_keys=UnsafePlainKeys())
    adopt(world, **more)
    return world, Phone(RFC_KEY, world.clock, more.get("parameters") or Parameters())


def adopt(world: World, who: PrincipalId = ALICE, **more: object) -> VirtualDevice:
    return world.registry.adopt(who, by=SERVICE, **{"key": RFC_KEY, "source": "old system", **more})


def test_an_import_is_assigned_and_in_sync() -> None:
    """Adopting: under a new serial number, its key in the source for imported keys, its origin in the history."""
    world, _ = adopted(last_step=HERE - 5, drift=3, failures=2)
    device = world.device()
    assert device == VirtualDevice(
        serial=device.serial, parameters=Parameters(), enrolled_at=START, sync=Sync.IN_SYNC, disabled=False, drift=3,
        synced_drift=3, last_step=HERE - 5, failures=2, failed_at=START, budget=100, budget_updated_at=START,
    )
    assert len(bytes.fromhex(device.serial)) == 16
    assert world.state().key_ref.scheme == "plain"
    event = world.store.history(ALICE)[-1]
    assert (event.type, event.serial, event.details) == (
        EventType.ADOPTED, device.serial, (("source", "old system"), ("last_step", HERE - 5)),
    )


def test_it_answers_the_device() -> None:
    """Adopting: the answer is the device as it is stored; it holds no key."""
    world = World(imported_keys=UnsafePlainKeys())
    assert adopt(world) == world.device()


@pytest.mark.parametrize("drift", [-20, -3, 0, 3, 20])
def test_without_a_replay_position_all_that_could_have_been_seen_is_spent(drift: int) -> None:
    """Adopting: the other system may have accepted any code of its window: the first fresh one lies behind it."""
    world, phone = adopted(drift=drift)
    assert world.device().last_step == HERE + drift + 1
    for off in (-1, 0, 1):
        assert type(refusal(lambda off=off: world.verify(phone.code(drift + off)))) is AlreadyUsed
    world.clock.advance(STEP)
    assert world.verify(phone.code(drift + 1)).step == HERE + drift + 2


def test_the_replay_position_is_taken_over() -> None:
    """Adopting: what the other system had accepted is already used here."""
    world, phone = adopted(last_step=HERE - 1)
    assert type(refusal(lambda: world.verify(phone.code(-1)))) is AlreadyUsed
    assert isinstance(world.verify(phone.code()), Receipt)


@pytest.mark.parametrize(
    ("last_step", "good"), [(-2, False), (-1, True), (0, True), (HERE + 21, True), (HERE + 22, False)]
)
def test_a_replay_position_is_within_reach(last_step: int, good: bool) -> None:
    """Adopting: -1 is never used; none so far ahead that the device could not be resynchronized."""
    found = answer(lambda: adopted(last_step=last_step))
    assert isinstance(found, InvalidValue) is not good


@pytest.mark.parametrize(("drift", "good"), [(-21, False), (-20, True), (20, True), (21, False)])
def test_a_drift_is_within_the_limit(drift: int, good: bool) -> None:
    """RFC6238-6-LIMIT: an imported drift is one that a resynchronisation could have set."""
    found = answer(lambda: adopted(drift=drift))
    assert isinstance(found, InvalidValue) is not good


@pytest.mark.parametrize(("failures", "good", "disabled"), [(-1, False, False), (0, True, False), (99, True, False),
                                                            (100, True, True), (101, False, True)])
def test_failures_are_taken_over(failures: int, good: bool, disabled: bool) -> None:
    """SP80063B-3.2.2-CAP: an import starts no count anew: at the cap it is disabled, below it waits as ever."""
    found = answer(lambda: adopted(failures=failures, last_step=-1))
    assert isinstance(found, InvalidValue) is not good
    if good:
        world, phone = found
        assert (world.device().failures, world.device().disabled) == (failures, disabled)
        expected = {0: Receipt, 99: Throttled, 100: DeviceDisabled}[failures]
        assert type(answer(lambda: world.verify(phone.code()))) is expected


def test_an_import_never_overwrites() -> None:
    """SEED-ONE: where a device is assigned, adopting is refused and changes nothing."""
    world, _ = adopted()
    with world.nothing_written():
        assert type(refusal(lambda: adopt(world))) is DeviceAlreadyAssigned
    assert world.device()


def test_an_import_supersedes_an_enrollment() -> None:
    """SEED-ONE: a wizard that was open is over, recorded, and its key is dead."""
    for elapsed, ended in ((0, EventType.SUPERSEDED), (900, EventType.EXPIRED)):
        world = World(imported_keys=UnsafePlainKeys())
        opened = world.open()
        world.clock.advance(elapsed)
        adopt(world)
        assert world.happened() == [EventType.OPENED, ended, EventType.ADOPTED]
        phone = world.phone(opened)
        assert type(refusal(lambda w=world, o=opened, p=phone: w.confirm(o, p.pair()))) is NoSession
        world.clock.advance(STEP)
        assert type(refusal(lambda w=world, p=phone: w.verify(p.code()))) is CodeRejected


def test_root_is_importable_too() -> None:
    """SEED-PERMIT: adopt on root, by a named service."""
    world = World(imported_keys=UnsafePlainKeys())
    assert adopt(world, ROOT)
    assert world.store.history(ROOT)[-1].actor == "trusted service importer"


def test_derived_keys_adopt_nothing() -> None:
    """KEYS: a foreign key needs a source that can hold it."""
    world = World()
    with world.nothing_written():
        assert isinstance(refusal(lambda: adopt(world)), InvalidValue)


def test_parameters_are_what_the_policy_offers() -> None:
    """Adopting: the first offer is for new devices, all are importable, no other is; the default is SEED-SIX."""
    eight, minute = Parameters(digits=8), Parameters(period=60)
    world, phone = adopted(Policy(offers=(eight, minute)), parameters=minute, last_step=-1)
    assert world.device().parameters == minute
    assert world.verify(phone.code())
    for parameters in (None, Parameters(algorithm="sha256")):
        world = World(Policy(offers=(eight, minute)), imported_keys=UnsafePlainKeys())
        with world.nothing_written():
            assert isinstance(refusal(lambda w=world, p=parameters: adopt(w, parameters=p)), InvalidValue)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [({"key": b"12345678901234567890"}, InvalidType), ({"source": ""}, InvalidValue), ({"source": None}, InvalidType),
     ({"drift": 1.0}, InvalidType), ({"failures": True}, InvalidType), ({"last_step": "1"}, InvalidType)],
)
def test_what_is_no_import_is_refused(wrong: dict[str, object], error: type[Exception]) -> None:
    """Adopting: named errors, nothing written, no key in the text."""
    world = World(imported_keys=UnsafePlainKeys())
    with world.nothing_written():
        found = refusal(lambda: adopt(world, **wrong))
    assert isinstance(found, error)
    assert "1234567890" not in str(found)


def test_the_first_steps_of_time() -> None:
    """Adopting: near step 0 nothing is spent below -1."""
    world = World(imported_keys=UnsafePlainKeys(), now=0)
    assert adopt(world).last_step == 1
    world = World(imported_keys=UnsafePlainKeys(), now=0)
    assert adopt(world, last_step=-1).last_step == -1


# Forget


@pytest.mark.parametrize("state", ["device", "enrollment", "nothing left"])
def test_forgetting_erases_record_and_history(state: str) -> None:
    """Forgetting: from any state; the key is destroyed, and whoever comes after is unknown."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    if state == "device":
        world.confirm(opened, phone.pair())
    if state == "nothing left":
        world.registry.cancel_enrollment(ALICE, by=SERVICE)
    world.registry.forget(ALICE, by=SERVICE)
    assert world.state().revision == 0
    assert world.happened() == []
    assert world.registry.principals(ALICE.account) == []
    assert (world.told[-1].what, world.told[-1].actor) == (EventType.FORGOTTEN, "trusted service importer")
    world.clock.advance(STEP)
    assert type(refusal(lambda: world.verify(phone.code()))) is NoDevice
    assert type(refusal(lambda: world.confirm(opened, phone.pair()))) is NoSession
    assert world.enroll()


def test_forgetting_touches_nobody_else() -> None:
    """Forgetting: the neighbour's device and history stay."""
    world = World()
    world.enroll()
    phone = world.enroll(BOSS)
    with world.nothing_written(BOSS):
        world.registry.forget(ALICE, by=SERVICE)
    assert world.sign_in(phone, BOSS)


def test_whoever_is_unknown_is_forgotten_already() -> None:
    """Forgetting: of an unknown principal it is silent: no error, no write, no event."""
    world = World()
    with world.nothing_written():
        assert world.registry.forget(ALICE, by=SERVICE) is None
    assert world.told == []


def test_a_damaged_record_can_be_forgotten() -> None:
    """Forgetting: the way out for a record that no longer authenticates, or whose clock is lost."""
    world = World()
    world.enroll()
    state = world.state()
    world.store.commit(state, replace(state, revision=9, envelope=replace(state.envelope, tag="x")), ())
    world.clock.now = 0
    assert world.registry.forget(ALICE, by=SERVICE) is None
    assert world.state().revision == 0


def test_a_damaged_wizard_that_has_expired_can_be_forgotten() -> None:
    """Erasing asks nothing of the record, not even that its enrollment end in order."""
    world = World()
    world.open()
    state = world.state()
    assert state.envelope is not None
    assert world.store.commit(state, replace(state, envelope=replace(state.envelope, tag="spoilt")), ())
    world.clock.advance(1000)
    world.registry.forget(ALICE, by=SERVICE)
    assert world.state() == Principal(id=ALICE)



def test_one_does_not_forget_oneself() -> None:
    """RULE-MATRIX-SERVICE: neither user nor root: the matrix has no yes for them. (All cells: test_permissions.)"""
    world = World()
    world.enroll()
    with world.nothing_written():
        assert refusal(lambda: world.registry.forget(ALICE, by=Actor.signed_in(ALICE)))
