"""Deactivation removes the device and destroys its key."""

from __future__ import annotations

from base64 import b64encode

import pytest

from vmfa import (
    Actor,
    CodeRejected,
    EventType,
    InvalidType,
    InvalidValue,
    NoDevice,
    NoSession,
    PairRejected,
    Sync,
)
from world import ADMIN, ALICE, SERVICE, STEP, SUPPORT, World, by_method, error_of, outcome_of


@pytest.mark.parametrize("device", [{}, {"sync": Sync.OUT_OF_SYNC}, {"disabled": True}])
def test_any_assigned_device_can_be_deactivated(device: dict[str, object]) -> None:
    """RULE-MACHINE: in sync, out of sync or disabled; the history stays."""
    world = World()
    world.enroll()
    world.store_state(device=device)
    serial, events = world.device().serial, len(world.history_types())
    answered = world.registry.deactivate(ALICE, by=SUPPORT, reason="lost phone")
    assert (answered.serial, answered.at) == (serial, world.clock())
    state = world.state()
    assert (state.device, state.enrollment, state.key_ref) == (None, None, None)
    assert world.registry.requires_code(ALICE) is False
    assert len(world.history_types()) == events + 1
    event = world.store.history(ALICE)[-1]
    assert (event.type, event.serial, event.reason, str(event.actor)) == (
        EventType.DEACTIVATED,
        serial,
        "lost phone",
        "support case 17",
    )


def test_codes_of_a_deactivated_device_never_count_again() -> None:
    """SEED-ROTATE: neither to sign in, nor for the next enrollment, nor to resynchronize."""
    world = World()
    old = world.enroll()
    material = world.state().key_ref.material
    world.registry.deactivate(ALICE, by=SUPPORT)
    world.clock.advance(STEP)
    assert type(error_of(lambda: world.verify(old.code()))) is NoDevice
    assert type(error_of(lambda: world.resync(old.pair()))) is NoDevice
    opened = world.open()
    assert type(error_of(lambda: world.confirm(opened, old.pair()))) is PairRejected
    world.confirm(opened, world.phone(opened).pair())
    world.clock.advance(10 * STEP)
    assert type(outcome_of(lambda: world.verify(old.code()))) is CodeRejected
    assert type(outcome_of(lambda: world.resync(old.pair()))) is PairRejected
    assert material.hex() not in repr([world.state(), world.store.history(ALICE), world.observed])


def test_the_key_reference_is_removed_from_the_record() -> None:
    """RULE-KEY-DESTROYED: the nonce was in the record only, never in an event."""
    world = World()
    world.enroll()
    nonce = b64encode(world.state().key_ref.material).decode()
    assert nonce in world.state().envelope.document
    world.registry.deactivate(ALICE, by=SUPPORT)
    assert nonce not in world.state().envelope.document
    assert not any(nonce in event.document() for event in world.store.history(ALICE))


def test_a_replacement_is_a_new_device() -> None:
    """SEED-ROTATE: after deactivation and enrollment there are another serial, another key and
    fresh counters.
    """
    world = World()
    world.enroll()
    old = world.state()
    world.registry.deactivate(ALICE, by=SUPPORT)
    world.enroll()
    new = world.state()
    assert new.device.serial != old.device.serial
    assert new.key_ref != old.key_ref
    assert (new.device.failures, new.device.budget) == (0, 100)
    assert world.history_types() == [
        EventType.OPENED,
        EventType.ASSIGNED,
        EventType.DEACTIVATED,
        EventType.OPENED,
        EventType.ASSIGNED,
    ]


def test_without_a_device_there_is_nothing_to_deactivate() -> None:
    """SEED-ROTATE: without an assigned device it is refused; an open enrollment goes on."""
    world = World()
    with world.nothing_written():
        assert type(error_of(lambda: world.registry.deactivate(ALICE, by=SUPPORT))) is NoDevice
    opened = world.open()
    with world.nothing_written():
        assert type(error_of(lambda: world.registry.deactivate(ALICE, by=SUPPORT))) is NoDevice
    world.confirm(opened, world.phone(opened).pair())
    world.registry.deactivate(ALICE, by=SUPPORT)
    with world.nothing_written():
        assert type(error_of(lambda: world.registry.deactivate(ALICE, by=SUPPORT))) is NoDevice


def test_deactivation_returns_no_enrollment_of_the_day() -> None:
    """SEED-ROTATE: the enrollments of the day belong to the principal."""
    world = World()
    world.enroll()
    world.registry.deactivate(ALICE, by=SERVICE)
    assert len(world.state().enrollment_times) == 1
    assert (
        type(error_of(lambda: world.registry.cancel_enrollment(ALICE, by=Actor.signed_in(ALICE))))
        is NoSession
    )


def test_the_reason_is_a_line_of_text() -> None:
    """The reason is stored in the history: bounded text without control characters, or empty."""
    world = World()
    world.enroll()
    with world.nothing_written():
        for wrong in ("a\nb", " a", "x" * 513):
            error = error_of(
                lambda wrong=wrong: world.registry.deactivate(ALICE, by=SUPPORT, reason=wrong)
            )
            assert isinstance(error, InvalidValue)
        assert isinstance(
            error_of(lambda: world.registry.deactivate(ALICE, by=SUPPORT, reason=5)), InvalidType
        )
    assert world.registry.deactivate(ALICE, by=by_method(ADMIN, world.clock(), Actor.admin))
