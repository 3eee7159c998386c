"""Deactivation: the device is gone, and its key with it."""

from __future__ import annotations

from base64 import b64encode

import pytest

from vmfa import Actor, CodeRejected, EventType, InvalidType, InvalidValue, NoDevice, NoSession, PairRejected, Sync

from .world import ALICE, BOSS, SERVICE, STEP, SUPPORT, World, answer, by_method, refusal


@pytest.mark.parametrize("device", [{}, {"sync": Sync.OUT_OF_SYNC}, {"disabled": True}])
def test_any_assigned_device_can_be_deactivated(device: dict[str, object]) -> None:
    """RULE-MACHINE: in sync, out of sync or disabled: afterwards no device, history kept."""
    world = World()
    world.enroll()
    world.put(device=device)
    serial, events = world.device().serial, len(world.happened())
    answered = world.registry.deactivate(ALICE, by=SUPPORT, reason="lost phone")
    assert (answered.serial, answered.at, answered.binding_code) == (serial, world.clock(), None)
    state = world.state()
    assert (state.device, state.enrollment, state.key_ref) == (None, None, None)
    assert world.registry.requires_code(ALICE) is False
    assert len(world.happened()) == events + 1
    event = world.store.history(ALICE)[-1]
    assert (event.type, event.serial, event.reason, event.actor) == (
        EventType.DEACTIVATED, serial, "lost phone", "support case 17",
    )


def test_its_codes_never_count_again() -> None:
    """SEED-ROTATE: not before the next enrollment, not for its pair, not after it; not to resynchronise."""
    world = World()
    old = world.enroll()
    material = world.state().key_ref.material
    world.registry.deactivate(ALICE, by=SUPPORT)
    world.clock.advance(STEP)
    assert type(refusal(lambda: world.verify(old.code()))) is NoDevice
    assert type(refusal(lambda: world.resync(old.pair()))) is NoDevice
    opened = world.open()
    assert type(refusal(lambda: world.confirm(opened, old.pair()))) is PairRejected
    world.confirm(opened, world.phone(opened).pair())
    world.clock.advance(10 * STEP)
    assert type(answer(lambda: world.verify(old.code()))) is CodeRejected
    assert type(answer(lambda: world.resync(old.pair()))) is PairRejected
    assert material.hex() not in repr([world.state(), world.store.history(ALICE), world.told])


def test_the_reference_is_dropped_from_the_record() -> None:
    """RULE-KEY-DESTROYED: the nonce is in the reference alone: the document no longer has it, no event ever had."""
    world = World()
    world.enroll()
    nonce = b64encode(world.state().key_ref.material).decode()
    assert nonce in world.state().envelope.document
    world.registry.deactivate(ALICE, by=SUPPORT)
    assert nonce not in world.state().envelope.document
    assert not any(nonce in event.document() for event in world.store.history(ALICE))


def test_replacing_takes_both_steps() -> None:
    """SEED-ROTATE: deactivate, then enroll: another serial, another key, a fresh device."""
    world = World()
    world.enroll()
    old = world.state()
    world.registry.deactivate(ALICE, by=SUPPORT)
    world.enroll()
    new = world.state()
    assert new.device.serial != old.device.serial
    assert new.key_ref != old.key_ref
    assert (new.device.failures, new.device.budget) == (0, 100)
    assert world.happened() == [
        EventType.OPENED, EventType.ASSIGNED, EventType.DEACTIVATED, EventType.OPENED, EventType.ASSIGNED,
    ]


def test_without_a_device_there_is_nothing_to_deactivate() -> None:
    """SEED-ROTATE: no device, known or not, or only an enrollment: refused, and the enrollment goes on."""
    world = World()
    with world.nothing_written():
        assert type(refusal(lambda: world.registry.deactivate(ALICE, by=SUPPORT))) is NoDevice
    opened = world.open()
    with world.nothing_written():
        assert type(refusal(lambda: world.registry.deactivate(ALICE, by=SUPPORT))) is NoDevice
    world.confirm(opened, world.phone(opened).pair())
    world.registry.deactivate(ALICE, by=SUPPORT)
    with world.nothing_written():
        assert type(refusal(lambda: world.registry.deactivate(ALICE, by=SUPPORT))) is NoDevice


def test_deactivation_resets_no_throttle_of_an_enrollment() -> None:
    """SEED-ROTATE: the day's enrollment_times are the principal's, so a removal gives none back."""
    world = World()
    world.enroll()
    world.registry.deactivate(ALICE, by=SERVICE)
    assert len(world.state().enrollment_times) == 1
    assert type(refusal(lambda: world.registry.cancel_enrollment(ALICE, by=Actor.signed_in(ALICE)))) is NoSession


def test_the_reason_is_a_line_of_text() -> None:
    """EVENTS: it goes into the history: bounded text without control characters, or empty."""
    world = World()
    world.enroll()
    with world.nothing_written():
        for wrong in ("a\nb", " a", "x" * 513):
            error = refusal(lambda wrong=wrong: world.registry.deactivate(ALICE, by=SUPPORT, reason=wrong))
            assert isinstance(error, InvalidValue)
        assert isinstance(refusal(lambda: world.registry.deactivate(ALICE, by=SUPPORT, reason=5)), InvalidType)
    assert world.registry.deactivate(ALICE, by=by_method(BOSS, world.clock(), Actor.admin))
