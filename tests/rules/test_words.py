"""The words of the rules: principal, serial, step."""

from __future__ import annotations

from dataclasses import fields

import pytest

from vmfa import Actor, InvalidValue, Key, Kind, Parameters, PrincipalId, VirtualDevice

from .world import ACCOUNT, ALICE, ROOT, STEP, World, refusal


def test_a_principal_is_an_account_a_kind_and_a_name() -> None:
    """RULE-PRINCIPAL: three fields identify a principal; the same name elsewhere is somebody else."""
    assert [field.name for field in fields(PrincipalId)] == ["account", "kind", "name"]
    others = {ALICE, PrincipalId.user("999", ALICE.name), PrincipalId.user(ACCOUNT, "u-4712"), ROOT}
    assert len(others) == 4


def test_the_name_of_root_is_empty() -> None:
    """RULE-PRINCIPAL: root has no name, and nobody else is nameless."""
    assert ROOT.name == ""
    assert isinstance(refusal(lambda: PrincipalId(account=ACCOUNT, kind=Kind.ROOT, name="root")), InvalidValue)
    assert isinstance(refusal(lambda: PrincipalId.user(ACCOUNT, "")), InvalidValue)


def test_names_are_one_spelling_compared_exactly() -> None:
    """RULE-PRINCIPAL: a stored identifier has one spelling; composition and blanks make no second principal of it."""
    for name in (" u-4711", "u-4711\n", "u\u0000", "e\u0301"):
        assert isinstance(refusal(lambda name=name: PrincipalId.user(ACCOUNT, name)), InvalidValue)
    assert PrincipalId.user(ACCOUNT, "U-4711") != ALICE


def test_the_label_is_not_the_identity() -> None:
    """RULE-PRINCIPAL: the label on the phone may change; it is in the URI and in nothing that identifies."""
    world = World()
    first, second = world.open(label="alice@old.example"), world.open(label="alice@new.example")
    assert "alice@old.example" in first.uri
    assert "alice@new.example" in second.uri
    assert "new.example" not in world.state().envelope.document


def test_serial_numbers_are_random_and_never_come_back() -> None:
    """RULE-SERIAL: a serial number is at least 128 random bits, another one for each enrollment."""
    serials = set()
    for _ in range(5):
        world = World()
        opened = world.open()
        serials |= {opened.serial, world.open().serial}
        assert len(bytes.fromhex(opened.serial)) >= 16
    assert len(serials) == 10


def test_the_numbers_come_from_the_random_source_in_full() -> None:
    """RULE-SERIAL: session id and serial number are each 16 fresh bytes, and they are not the same ones."""
    world = World()
    drawn = []

    def random(size: int) -> bytes:
        drawn.append(size)
        return bytes([len(drawn)]) * size

    world.operations.random = random
    opened = world.open()
    assert (opened.session_id, opened.serial) == ("01" * 16, "02" * 16)
    assert drawn == [16, 16]


@pytest.mark.parametrize(
    ("now", "t0", "period", "step"), [(0, 0, 30, 0), (29, 0, 30, 0), (30, 0, 30, 1), (59, 0, 30, 1), (60, 0, 30, 2),
                                      (100, 40, 60, 1), (99, 40, 60, 0), (-1, -61, 60, 1)],
)
def test_a_step_is_the_floor_of_time(now: int, t0: int, period: int, step: int) -> None:
    """RFC6238-4.2-FLOOR: T = floor((now - T0) / X)."""
    assert Parameters(period=period, t0=t0).step_at(now) == step


def test_no_step_is_negative() -> None:
    """RULE-STEP: before T0 there is no step: named, and nothing is accepted or counted."""
    world = World(now=0)
    phone = world.enroll(steps_off=1)
    world.put(seen_at=-1000)
    world.clock.now = -1
    with world.nothing_written():
        assert type(refusal(lambda: world.verify(phone.code(2)))) is InvalidValue
        assert type(refusal(lambda: world.resync(phone.pair(3)))) is InvalidValue


def test_windows_end_at_step_zero() -> None:
    """RULE-STEP: at the beginning of time the window has no steps below 0, and works."""
    world = World(now=0)
    phone = world.enroll(steps_off=1)
    assert world.device().last_step == 1
    world.clock.now = 60
    assert world.verify(phone.code()).step == 2


def test_a_device_has_no_key() -> None:
    """RULE-KEY-DESTROYED: the device names its key's reference nowhere; the principal has the one reference."""
    assert not any(field.type == Key.__name__ for field in fields(VirtualDevice))
    world = World()
    phone = world.enroll()
    assert world.device().parameters == phone.parameters
    assert world.state().key_ref.scheme == "derived"
    assert world.registry.device(ALICE, by=Actor.signed_in(ALICE)) == world.device()


def test_step_is_thirty_seconds() -> None:
    """RFC6238-4.1-X-T0: X is 30 and T0 is 0 unless somebody says otherwise."""
    assert (Parameters().period, Parameters().t0) == (STEP, 0)
