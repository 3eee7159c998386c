"""Retention: prune_history redacts old events in their place in the chain, except bindings."""

from __future__ import annotations

import pytest

from vmfa import AccessDenied, Actor, EventType, InvalidType, StoreContended, UnsafePlainKeys
from world import ALICE, DAY, RFC_KEY, SERVICE, World, error_of

BINDINGS = {EventType.ASSIGNED, EventType.ADOPTED, EventType.DEACTIVATED, EventType.PRUNED}


@pytest.fixture
def world() -> World:
    """A canceled session, a device, its removal, and a second device a week later."""
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
    """SP80063B-4.1-RECORD: bindings stay; of other old events only number and tag stay."""
    before = world.registry.history(ALICE, by=SERVICE)
    done = world.registry.prune_history(ALICE, by=SERVICE, older_than=int(world.clock()) - DAY)
    after = world.registry.history(ALICE, by=SERVICE)
    assert done == 3
    assert [event.type for event in after] == [
        EventType.REDACTED,
        EventType.REDACTED,
        EventType.REDACTED,
        EventType.ASSIGNED,
        EventType.DEACTIVATED,
        EventType.OPENED,
        EventType.ASSIGNED,
        EventType.PRUNED,
    ]
    assert [event.digest for event in after[:-1]] == [event.digest for event in before]
    for event in after[:3]:
        assert (event.at, event.serial, event.reason, event.salt, event.details) == (
            0,
            "",
            "",
            "",
            (),
        )


def test_pruning_is_an_event_with_the_number_of_redacted_events(world: World) -> None:
    world.registry.prune_history(ALICE, by=SERVICE, older_than=int(world.clock()) - DAY)
    last = world.registry.history(ALICE, by=SERVICE)[-1]
    assert (last.type, dict(last.details)["events"], str(last.actor)) == (
        EventType.PRUNED,
        3,
        "trusted service importer",
    )


def test_without_old_events_nothing_is_written(world: World) -> None:
    with world.nothing_written():
        assert world.registry.prune_history(ALICE, by=SERVICE, older_than=0) == 0


def test_pruning_again_redacts_only_events_that_became_old(world: World) -> None:
    world.registry.prune_history(ALICE, by=SERVICE, older_than=int(world.clock()) - DAY)
    assert (
        world.registry.prune_history(ALICE, by=SERVICE, older_than=int(world.clock()) - DAY) == 0
    )
    world.clock.advance(DAY)
    assert world.registry.prune_history(ALICE, by=SERVICE, older_than=int(world.clock())) == 1
    assert set(names(world)) == {EventType.REDACTED, *BINDINGS} - {EventType.ADOPTED}


def test_pruning_does_not_change_the_device(world: World) -> None:
    device = world.device()
    world.registry.prune_history(ALICE, by=SERVICE, older_than=int(world.clock()) + DAY)
    assert world.device() == device


def test_only_a_trusted_service_prunes(world: World) -> None:
    me = Actor.signed_in(ALICE)
    operation = world.operations.prune_history(ALICE, by=me, history=(), older_than=5)
    assert isinstance(operation.decide(world.state(), world.clock()).answer, AccessDenied)


def test_an_incomplete_history_is_refused(world: World) -> None:
    """The history changed while it was read; the caller reads again."""
    history = world.registry.history(ALICE, by=SERVICE)
    for part in (history[:-1], history[1:], (*history[:-1], history[0])):
        operation = world.operations.prune_history(
            ALICE, by=SERVICE, history=part, older_than=1 << 40
        )
        assert isinstance(operation.decide(world.state(), world.clock()).answer, StoreContended)


def test_older_than_is_an_int(world: World) -> None:
    assert isinstance(
        error_of(lambda: world.registry.prune_history(ALICE, by=SERVICE, older_than="yesterday")),
        InvalidType,
    )


def test_an_unknown_principal_has_nothing_to_redact() -> None:
    assert World().registry.prune_history(ALICE, by=SERVICE, older_than=5) == 0


def test_an_event_of_the_second_itself_is_not_older(world: World) -> None:
    now = int(world.clock())
    world.registry.prune_history(ALICE, by=SERVICE, older_than=now)
    assert names(world)[-3:-1] == [EventType.OPENED, EventType.ASSIGNED]
    world.registry.prune_history(ALICE, by=SERVICE, older_than=now + 1)
    assert EventType.OPENED not in names(world)


def test_an_adoption_is_a_binding() -> None:
    """SP80063B-4.1-RECORD: the event of an import is never redacted."""
    world = World(imported_keys=UnsafePlainKeys())
    world.open(by=SERVICE)
    world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, system="old")
    older_than = int(world.clock()) + 1
    assert world.registry.prune_history(ALICE, by=SERVICE, older_than=older_than) == 2
    assert names(world) == [
        EventType.REDACTED,
        EventType.REDACTED,
        EventType.ADOPTED,
        EventType.PRUNED,
    ]
