"""Retention: an explicit call redacts old events in their place in the chain, bindings never."""

from __future__ import annotations

import asyncio

import pytest

import vmfa.aio
from support import MASTER, HandClock
from vmfa import AccessDenied, Actor, DerivedKeys, EventType, InvalidType, MemoryStore, NoDevice, StoreContended

from .world import ALICE, DAY, ROOT, SERVICE, World, refusal

BINDINGS = {EventType.ASSIGNED, EventType.ADOPTED, EventType.DEACTIVATED, EventType.PRUNED}


@pytest.fixture
def world() -> World:
    """A principal with a life: a session given up, a device, its removal, and a second device a week later."""
    world = World()
    world.open()
    world.registry.cancel_enrollment(ALICE, by=SERVICE)
    world.enroll()
    world.registry.deactivate(ALICE, by=SERVICE, reason="lost")
    world.clock.advance(7 * DAY)
    world.enroll()
    return world


def names(world: World) -> list[EventType]:
    return [event.type for event in world.registry.history(ALICE, by=SERVICE)]


def test_old_events_are_redacted_and_bindings_stay(world: World) -> None:
    """SP80063B-4.1-RECORD: what was bound, and when, is kept; of the rest only number and tag."""
    before = world.registry.history(ALICE, by=SERVICE)
    done = world.registry.prune_history(ALICE, by=SERVICE, older_than=int(world.clock()) - DAY)
    after = world.registry.history(ALICE, by=SERVICE)
    assert done == 3
    assert [event.type for event in after] == [
        EventType.REDACTED, EventType.REDACTED, EventType.REDACTED, EventType.ASSIGNED, EventType.DEACTIVATED,
        EventType.OPENED, EventType.ASSIGNED, EventType.PRUNED,
    ]
    assert [event.tag for event in after[:-1]] == [event.tag for event in before]
    for event in after[:3]:
        assert (event.at, event.actor, event.serial, event.reason, event.details) == (0, "", "", "", ())


def test_retention_is_an_event_that_says_how_much(world: World) -> None:
    world.registry.prune_history(ALICE, by=SERVICE, older_than=int(world.clock()) - DAY)
    last = world.registry.history(ALICE, by=SERVICE)[-1]
    assert (last.type, dict(last.details)["events"], last.actor) == (EventType.PRUNED, 3, str(SERVICE))


def test_nothing_old_writes_nothing(world: World) -> None:
    with world.nothing_written():
        assert world.registry.prune_history(ALICE, by=SERVICE, older_than=0) == 0


def test_a_second_time_redacts_only_what_has_become_old(world: World) -> None:
    world.registry.prune_history(ALICE, by=SERVICE, older_than=int(world.clock()) - DAY)
    assert world.registry.prune_history(ALICE, by=SERVICE, older_than=int(world.clock()) - DAY) == 0
    world.clock.advance(DAY)
    assert world.registry.prune_history(ALICE, by=SERVICE, older_than=int(world.clock())) == 1
    assert set(names(world)) == {EventType.REDACTED, *BINDINGS} - {EventType.ADOPTED}


def test_the_device_and_its_position_stay(world: World) -> None:
    device = world.device()
    world.registry.prune_history(ALICE, by=SERVICE, older_than=int(world.clock()) + DAY)
    assert world.device() == device


def test_only_a_trusted_service_and_never_on_root(world: World) -> None:
    assert isinstance(refusal(lambda: world.registry.prune_history(ROOT, by=SERVICE, older_than=5)), AccessDenied)
    me = Actor.signed_in(ALICE)
    operation = world.operations.prune_history(ALICE, by=me, history=(), older_than=5)
    assert isinstance(operation.decide(world.state(), world.clock()).answer, AccessDenied)


def test_a_history_that_is_not_the_whole_one_is_refused(world: World) -> None:
    """What changed while it was read is not judged: the caller reads again."""
    whole = world.registry.history(ALICE, by=SERVICE)
    for part in (whole[:-1], whole[1:], (*whole[:-1], whole[0])):
        operation = world.operations.prune_history(ALICE, by=SERVICE, history=part, older_than=1 << 40)
        assert isinstance(operation.decide(world.state(), world.clock()).answer, StoreContended)


def test_a_time_is_an_int(world: World) -> None:
    assert isinstance(
        refusal(lambda: world.registry.prune_history(ALICE, by=SERVICE, older_than="yesterday")), InvalidType
    )


def test_an_unknown_principal_has_nothing_to_redact() -> None:
    assert World().registry.prune_history(ALICE, by=SERVICE, older_than=5) == 0


def test_the_same_with_await() -> None:
    async def life() -> list[EventType]:
        clock = HandClock()
        store = vmfa.aio.InThreads(MemoryStore())
        registry = vmfa.aio.DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock)
        await registry.open_enrollment(ALICE, by=SERVICE, label="a")
        await registry.cancel_enrollment(ALICE, by=SERVICE)
        assert await registry.prune_history(ALICE, by=SERVICE, older_than=int(clock()) + 1) == 2
        with pytest.raises(NoDevice):
            await registry.device(ALICE, by=SERVICE)
        return [event.type for event in await registry.history(ALICE, by=SERVICE)]

    assert asyncio.run(life()) == [EventType.REDACTED, EventType.REDACTED, EventType.PRUNED]
