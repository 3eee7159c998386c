"""Principals, serial numbers and time steps."""

from __future__ import annotations

from dataclasses import fields

import pytest

from vmfa import Actor, InvalidValue, Key, Kind, Parameters, PrincipalId, VirtualDevice
from world import ACCOUNT, ALICE, ROOT, STEP, World, error_of


def test_a_principal_is_an_account_a_kind_and_a_name() -> None:
    """RULE-PRINCIPAL: the three fields identify a principal; the same name in another account is
    another one.
    """
    assert [field.name for field in fields(PrincipalId)] == ["account", "kind", "name"]
    others = {
        ALICE,
        PrincipalId.user("999", ALICE.name),
        PrincipalId.user(ACCOUNT, "u-4712"),
        ROOT,
    }
    assert len(others) == 4


def test_the_name_of_root_is_empty() -> None:
    """RULE-PRINCIPAL: root has no name, and every user has one."""
    assert ROOT.name == ""
    assert isinstance(
        error_of(lambda: PrincipalId(account=ACCOUNT, kind=Kind.ROOT, name="root")), InvalidValue
    )
    assert isinstance(error_of(lambda: PrincipalId.user(ACCOUNT, "")), InvalidValue)


def test_a_name_has_one_spelling_and_is_compared_exactly() -> None:
    """RULE-PRINCIPAL: other Unicode forms and surrounding blanks are refused."""
    for name in (" u-4711", "u-4711\n", "u\u0000", "e\u0301"):
        assert isinstance(
            error_of(lambda name=name: PrincipalId.user(ACCOUNT, name)), InvalidValue
        )
    assert PrincipalId.user(ACCOUNT, "U-4711") != ALICE


def test_the_label_is_not_the_identity() -> None:
    """RULE-PRINCIPAL: the label is in the key URI and not in the record."""
    world = World()
    first, second = world.open(label="alice@old.example"), world.open(label="alice@new.example")
    assert "alice@old.example" in first.uri
    assert "alice@new.example" in second.uri
    assert "new.example" not in world.state().envelope.document


def test_serial_numbers_are_random_and_never_repeated() -> None:
    """RULE-SERIAL: at least 128 random bits for each enrollment."""
    serials = set()
    for _ in range(5):
        world = World()
        opened = world.open()
        serials |= {opened.serial, world.open().serial}
        assert len(bytes.fromhex(opened.serial)) >= 16
    assert len(serials) == 10


def test_session_id_and_serial_are_16_random_bytes_each() -> None:
    """RULE-SERIAL: they come from two reads of the random source."""
    world = World()
    drawn = []

    def random(size: int) -> bytes:
        drawn.append(size)
        return bytes([len(drawn)]) * size

    world.operations.random = random
    opened = world.open()
    assert (opened.session_id, opened.serial) == ("01" * 16, "02" * 16)
    assert drawn[:2] == [16, 16]


@pytest.mark.parametrize(
    ("now", "t0", "period", "step"),
    [
        (0, 0, 30, 0),
        (29, 0, 30, 0),
        (30, 0, 30, 1),
        (59, 0, 30, 1),
        (60, 0, 30, 2),
        (100, 40, 60, 1),
        (99, 40, 60, 0),
        (-1, -61, 60, 1),
    ],
)
def test_a_step_is_the_floor_of_time(now: int, t0: int, period: int, step: int) -> None:
    """RFC6238-4.2-FLOOR: T = floor((now - T0) / X)."""
    assert Parameters(period=period, t0=t0).step_at(now) == step


def test_no_step_is_negative() -> None:
    """RULE-STEP: a time before T0 is refused, and nothing is accepted or counted."""
    world = World(now=0)
    phone = world.enroll(steps_off=1)
    world.store_state(seen_at=-1000)
    world.clock.now = -1
    with world.nothing_written():
        assert type(error_of(lambda: world.verify(phone.code(2)))) is InvalidValue
        assert type(error_of(lambda: world.resync(phone.pair(3)))) is InvalidValue


def test_windows_end_at_step_zero() -> None:
    """RULE-STEP: at time zero the window has no steps below 0."""
    world = World(now=0)
    phone = world.enroll(steps_off=1)
    assert world.device().last_step == 1
    world.clock.now = 60
    assert world.verify(phone.code()).step == 2


def test_a_device_has_no_key() -> None:
    """RULE-KEY-DESTROYED: only the principal has the key reference."""
    assert not any(field.type == Key.__name__ for field in fields(VirtualDevice))
    world = World()
    phone = world.enroll()
    assert world.device().parameters == phone.parameters
    assert world.state().key_ref.scheme == "derived"
    assert world.registry.device(ALICE, by=Actor.signed_in(ALICE)) == world.device()


def test_step_is_thirty_seconds() -> None:
    """RFC6238-4.1-X-T0: X is 30 and T0 is 0 by default."""
    assert (Parameters().period, Parameters().t0) == (STEP, 0)
