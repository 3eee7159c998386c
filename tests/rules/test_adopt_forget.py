"""Importing a device and erasing a principal, which only a trusted service may do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support import phone_with
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
from vmfa.testing import Account
from world import ADMIN, ALICE, RFC_KEY, ROOT, SERVICE, START, STEP, World, error_of, outcome_of

HERE = START // STEP


def adopted(policy: Policy | None = None, **more: object) -> tuple[World, Account]:
    world = World(policy, imported_keys=UnsafePlainKeys())
    adopt(world, **more)
    return world, phone_with(RFC_KEY, world.clock, more.get("parameters") or Parameters())


def adopt(world: World, who: PrincipalId = ALICE, **more: object) -> VirtualDevice:
    return world.registry.adopt(
        who, by=SERVICE, **{"key": RFC_KEY, "system": "old system", **more}
    )


def test_an_import_is_assigned_and_in_sync() -> None:
    """An adopted device has a new serial number, a key in the source for imported keys, and an
    event that names its origin.
    """
    world, _ = adopted(last_step=HERE - 5, drift=3, failures=2)
    device = world.device()
    assert device == VirtualDevice(
        serial=device.serial,
        parameters=Parameters(),
        enrolled_at=START,
        sync=Sync.IN_SYNC,
        disabled=False,
        drift=3,
        synced_drift=3,
        last_step=HERE - 5,
        failures=2,
        failed_at=START,
        budget=100,
        budget_updated_at=START,
    )
    assert len(bytes.fromhex(device.serial)) == 16
    assert world.state().key_ref.scheme == "plain"
    event = world.store.history(ALICE)[-1]
    assert (event.type, event.serial, event.details) == (
        EventType.ADOPTED,
        device.serial,
        (("system", "old system"), ("last_step", HERE - 5)),
    )


def test_adopt_returns_the_stored_device() -> None:
    world = World(imported_keys=UnsafePlainKeys())
    assert adopt(world) == world.device()


@pytest.mark.parametrize("drift", [-20, -3, 0, 3, 20])
def test_without_a_replay_position_the_whole_window_is_spent(drift: int) -> None:
    """The other system may have accepted any code of its window, so the first fresh code lies
    behind it.
    """
    world, phone = adopted(drift=drift)
    assert world.device().last_step == HERE + drift + 1
    for off in (-1, 0, 1):
        assert type(error_of(lambda off=off: world.verify(phone.code(drift + off)))) is AlreadyUsed
    world.clock.advance(STEP)
    assert world.verify(phone.code(drift + 1)).step == HERE + drift + 2


def test_the_replay_position_is_taken_over() -> None:
    """A code that the other system accepted is already used here."""
    world, phone = adopted(last_step=HERE - 1)
    assert type(error_of(lambda: world.verify(phone.code(-1)))) is AlreadyUsed
    assert isinstance(world.verify(phone.code()), Receipt)


@pytest.mark.parametrize(
    ("last_step", "good"),
    [(-2, False), (-1, True), (0, True), (HERE + 21, True), (HERE + 22, False)],
)
def test_a_replay_position_is_within_reach(last_step: int, good: bool) -> None:
    """-1 means that no code was used; a position too far ahead to resynchronize is refused."""
    outcome = outcome_of(lambda: adopted(last_step=last_step))
    assert isinstance(outcome, InvalidValue) is not good


@pytest.mark.parametrize(("drift", "good"), [(-21, False), (-20, True), (20, True), (21, False)])
def test_a_drift_is_within_the_limit(drift: int, good: bool) -> None:
    """RFC6238-6-LIMIT: an imported drift is one that a resynchronization could have set."""
    outcome = outcome_of(lambda: adopted(drift=drift))
    assert isinstance(outcome, InvalidValue) is not good


@pytest.mark.parametrize(
    ("failures", "good", "disabled"),
    [
        (-1, False, False),
        (0, True, False),
        (99, True, False),
        (100, True, True),
        (101, False, True),
    ],
)
def test_failures_are_taken_over(failures: int, good: bool, disabled: bool) -> None:
    """SP80063B-3.2.2-CAP: an import does not reset the count of failures: at the cap the device is
    disabled, below it the delay applies.
    """
    outcome = outcome_of(lambda: adopted(failures=failures, last_step=-1))
    assert isinstance(outcome, InvalidValue) is not good
    if good:
        world, phone = outcome
        assert (world.device().failures, world.device().disabled) == (failures, disabled)
        expected = {0: Receipt, 99: Throttled, 100: DeviceDisabled}[failures]
        assert type(outcome_of(lambda: world.verify(phone.code()))) is expected


@pytest.mark.parametrize(
    ("failed_at", "expected"), [(None, START), (START - 7, START - 7), (START + 500, START)]
)
def test_the_time_of_the_last_failure_is_taken_over(failed_at: int | None, expected: int) -> None:
    """Without a time, or with one in the future, the delay counts from now."""
    world, _ = adopted(failures=4, failed_at=failed_at)
    assert (world.device().failed_at, world.device().failures) == (expected, 4)


def test_an_import_never_replaces_a_device() -> None:
    """SEED-ONE: where a device is assigned, adopting is refused and changes nothing."""
    world, _ = adopted()
    with world.nothing_written():
        assert type(error_of(lambda: adopt(world))) is DeviceAlreadyAssigned
    assert world.device()


def test_an_import_supersedes_an_enrollment() -> None:
    """SEED-ONE: an import ends an open enrollment, records that, and its key is destroyed."""
    for elapsed, ended in ((0, EventType.SUPERSEDED), (900, EventType.EXPIRED)):
        world = World(imported_keys=UnsafePlainKeys())
        opened = world.open()
        world.clock.advance(elapsed)
        adopt(world)
        assert world.history_types() == [EventType.OPENED, ended, EventType.ADOPTED]
        phone = world.phone(opened)
        assert (
            type(error_of(lambda w=world, o=opened, p=phone: w.confirm(o, p.pair()))) is NoSession
        )
        world.clock.advance(STEP)
        assert type(error_of(lambda w=world, p=phone: w.verify(p.code()))) is CodeRejected


def test_a_device_of_root_can_be_imported() -> None:
    """SEED-PERMIT: a trusted service may adopt a device for root."""
    world = World(imported_keys=UnsafePlainKeys())
    assert adopt(world, ROOT)
    assert str(world.store.history(ROOT)[-1].actor) == "trusted service importer"


def test_an_import_needs_imported_keys() -> None:
    """A foreign key needs a key source that can store it."""
    world = World()
    with world.nothing_written():
        assert isinstance(error_of(lambda: adopt(world)), InvalidValue)


def test_only_offered_parameters_can_be_imported() -> None:
    """The first offer is for new devices, every offer can be imported, and the default is
    SEED-SIX.
    """
    eight, minute = Parameters(digits=8), Parameters(period=60)
    world, phone = adopted(Policy(offers=(eight, minute)), parameters=minute, last_step=-1)
    assert world.device().parameters == minute
    assert world.verify(phone.code())
    for parameters in (None, Parameters(algorithm="sha256")):
        world = World(Policy(offers=(eight, minute)), imported_keys=UnsafePlainKeys())
        with world.nothing_written():
            assert isinstance(
                error_of(lambda w=world, p=parameters: adopt(w, parameters=p)), InvalidValue
            )


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"key": b"12345678901234567890"}, InvalidType),
        ({"system": ""}, InvalidValue),
        ({"system": None}, InvalidType),
        ({"failed_at": "yesterday"}, InvalidType),
        ({"failed_at": 1.5}, InvalidType),
        ({"drift": 1.0}, InvalidType),
        ({"failures": True}, InvalidType),
        ({"last_step": "1"}, InvalidType),
    ],
)
def test_invalid_import_arguments_are_refused(
    wrong: dict[str, object], error: type[Exception]
) -> None:
    """The error names the argument, nothing is written, and the key is not in the message."""
    world = World(imported_keys=UnsafePlainKeys())
    with world.nothing_written():
        outcome = error_of(lambda: adopt(world, **wrong))
    assert isinstance(outcome, error)
    assert "1234567890" not in str(outcome)


def test_an_import_near_step_zero() -> None:
    """The replay position is never below -1."""
    world = World(imported_keys=UnsafePlainKeys(), now=0)
    assert adopt(world).last_step == 1
    world = World(imported_keys=UnsafePlainKeys(), now=0)
    assert adopt(world, last_step=-1).last_step == -1


# Forget


@pytest.mark.parametrize("state", ["device", "enrollment", "nothing left"])
def test_forgetting_erases_record_and_history(state: str) -> None:
    """Forgetting works in every state, destroys the key, and makes the principal unknown."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    if state == "device":
        world.confirm(opened, phone.pair())
    if state == "nothing left":
        world.registry.cancel_enrollment(ALICE, by=SERVICE)
    world.registry.forget(ALICE, by=SERVICE)
    assert world.state().revision == 0
    assert world.history_types() == []
    assert world.registry.principals(ALICE.account) == []
    assert (world.observed[-1].type, str(world.observed[-1].actor)) == (
        EventType.FORGOTTEN,
        "trusted service importer",
    )
    world.clock.advance(STEP)
    assert type(error_of(lambda: world.verify(phone.code()))) is NoDevice
    assert type(error_of(lambda: world.confirm(opened, phone.pair()))) is NoSession
    assert world.enroll()


def test_forgetting_leaves_other_principals_alone() -> None:
    world = World()
    world.enroll()
    phone = world.enroll(ADMIN)
    with world.nothing_written(ADMIN):
        world.registry.forget(ALICE, by=SERVICE)
    assert world.sign_in(phone, ADMIN)


def test_forgetting_an_unknown_principal_does_nothing() -> None:
    world = World()
    with world.nothing_written():
        assert world.registry.forget(ALICE, by=SERVICE) is None
    assert world.observed == []


def test_a_damaged_record_can_be_forgotten() -> None:
    """Forgetting is the way out for a record that fails authentication or whose time is wrong."""
    world = World()
    world.enroll()
    state = world.state()
    world.store.commit(
        state, replace(state, revision=9, envelope=replace(state.envelope, tag="x")), ()
    )
    world.clock.now = 0
    assert world.registry.forget(ALICE, by=SERVICE) is None
    assert world.state().revision == 0


def test_a_damaged_expired_enrollment_can_be_forgotten() -> None:
    world = World()
    world.open()
    state = world.state()
    assert state.envelope is not None
    assert world.store.commit(
        state, replace(state, envelope=replace(state.envelope, tag="spoilt")), ()
    )
    world.clock.advance(1000)
    world.registry.forget(ALICE, by=SERVICE)
    assert world.state() == Principal(id=ALICE)


def test_a_user_cannot_forget_itself() -> None:
    """RULE-MATRIX-SERVICE: only a trusted service may forget a principal."""
    world = World()
    world.enroll()
    with world.nothing_written():
        assert error_of(lambda: world.registry.forget(ALICE, by=Actor.signed_in(ALICE)))
