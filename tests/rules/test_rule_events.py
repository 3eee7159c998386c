"""The events of each rule: type, device, reason and details."""

from __future__ import annotations

from typing import Any

from vmfa import (
    CodeRejected,
    DeviceDisabled,
    EventType,
    OutOfSync,
    PairRejected,
    Policy,
    UnsafePlainKeys,
)
from world import ALICE, RFC_KEY, SERVICE, STEP, SUPPORT, World, error_of

Expected = tuple[EventType, str, str, dict[str, Any]]


def last(world: World, count: int = 1) -> list[Expected]:
    """The last *count* events that the observer received."""
    return [
        (event.type, event.serial, event.reason, dict(event.details))
        for event in world.observed[-count:]
    ]


def test_a_changed_drift_is_an_event_after_the_acceptance() -> None:
    world = World()
    phone = world.enroll()
    serial = world.device().serial
    for _ in range(2):
        world.clock.advance(2 * STEP)
        world.verify(phone.code(1))
    assert last(world, 2) == [
        (EventType.ACCEPTED, serial, "", {"step": world.clock() // STEP + 1}),
        (EventType.DRIFT_CHANGED, serial, "", {"before": 0, "after": 1}),
    ]


def test_a_resynchronization() -> None:
    world = World()
    phone = world.enroll()
    serial = world.device().serial
    wrong = phone.wrong_code()
    error_of(lambda: world.resync({"code1": wrong, "code2": wrong}))
    assert last(world) == [
        (EventType.REJECTED, serial, PairRejected.reason, {"failures": 1, "lane": "unknown"})
    ]
    world.resync(phone.pair(7))
    assert last(world) == [(EventType.RESYNCHRONIZED, serial, "", {"steps_off": 7})]


def test_wrong_codes_up_to_the_one_that_disables_the_device() -> None:
    world = World(Policy(budget=3, budget_warning=1, failure_cap=3, delay_from=100))
    phone = world.enroll()
    serial = world.device().serial
    world.observed.clear()
    errors = [world.fail(phone) for _ in range(3)]
    assert [type(error) for error in errors] == [CodeRejected, CodeRejected, DeviceDisabled]
    rejected = [
        (
            EventType.REJECTED,
            serial,
            CodeRejected.reason,
            {"failures": number, "lane": "unknown"},
        )
        for number in (1, 2, 3)
    ]
    events = last(world, 5)
    assert [event for event in events if event[0] is EventType.REJECTED] == rejected
    assert (EventType.BUDGET_LOW, serial, "", {"budget": 1}) in events
    (disabled,) = [event for event in events if event[0] is EventType.DISABLED]
    assert (disabled[1], disabled[3]) == (serial, {"failures": 3, "budget": 0})
    assert "first factor" in disabled[2]


def test_a_device_out_of_sync() -> None:
    world = World()
    phone = world.enroll(steps_off=-5)
    serial = world.device().serial
    details = {"sync": "out of sync", "steps_off": -5}
    assert last(world) == [(EventType.ASSIGNED, serial, "", details)]
    error_of(lambda: world.verify(phone.code(3)))
    assert last(world) == [(EventType.REFUSED, serial, OutOfSync.reason, {"action": "verify"})]


def test_an_enrollment_up_to_its_last_attempt() -> None:
    world = World()
    first = world.open()
    assert last(world) == [(EventType.OPENED, first.serial, "", {})]
    opened = world.open()
    assert last(world, 2) == [
        (EventType.SUPERSEDED, first.serial, "", {}),
        (EventType.OPENED, opened.serial, "", {}),
    ]
    wrong = world.phone(opened).wrong_code()
    for attempts in range(1, 10):
        error_of(lambda: world.confirm(opened, {"code1": wrong, "code2": wrong}))
        assert last(world) == [
            (EventType.REJECTED, opened.serial, PairRejected.reason, {"attempts": attempts})
        ]
    error_of(lambda: world.confirm(opened, {"code1": wrong, "code2": wrong}))
    events = last(world, 2)
    assert (EventType.ABANDONED, opened.serial, "", {}) in events
    details = {"attempts": 10}
    assert (EventType.REJECTED, opened.serial, PairRejected.reason, details) in events


def test_an_enrollment_that_is_canceled_or_expires() -> None:
    world = World()
    canceled = world.open()
    world.registry.cancel_enrollment(ALICE, by=SERVICE)
    assert last(world) == [(EventType.CANCELED, canceled.serial, "", {})]
    expired = world.open()
    world.clock.advance(900)
    opened = world.open()
    assert last(world, 2) == [
        (EventType.EXPIRED, expired.serial, "", {}),
        (EventType.OPENED, opened.serial, "", {}),
    ]


def test_an_import() -> None:
    world = World(imported_keys=UnsafePlainKeys())
    device = world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, system="old", last_step=5)
    details = {"system": "old", "last_step": 5}
    assert last(world) == [(EventType.ADOPTED, device.serial, "", details)]


def test_reads() -> None:
    world = World()
    world.enroll()
    world.registry.device(ALICE, by=SUPPORT)
    assert last(world) == [(EventType.READ, world.device().serial, "device", {})]
    world.registry.history(ALICE, by=SUPPORT)
    assert last(world) == [(EventType.READ, "", "history", {})]


def test_reanchoring_deactivating_pruning_and_forgetting() -> None:
    world = World()
    world.enroll()
    serial, seen = world.device().serial, world.clock()
    world.clock.advance(-500)
    world.registry.reanchor(ALICE, by=SERVICE)
    assert last(world) == [(EventType.REANCHORED, "", "", {"seen_at": seen})]
    world.registry.deactivate(ALICE, by=SERVICE, reason="new phone")
    assert last(world) == [(EventType.DEACTIVATED, serial, "new phone", {"disabled": 0})]
    older_than = int(seen) + 1
    assert world.registry.prune_history(ALICE, by=SERVICE, older_than=older_than) == 2
    assert last(world) == [(EventType.PRUNED, "", "", {"events": 2, "older_than": older_than})]
    world.registry.forget(ALICE, by=SERVICE)
    assert last(world) == [(EventType.FORGOTTEN, "", "", {})]


def test_the_actor_of_an_event() -> None:
    """A code is presented by the claimant; a call without a valid actor has an event as well."""
    world = World()
    error_of(lambda: world.registry.device(ALICE, by=None))
    error_of(lambda: world.verify("123456"))
    world.open(by=SERVICE)
    actors = [(event.actor.role, event.actor.name) for event in world.observed]
    assert actors == [
        ("unknown", ""),
        ("claimant", ALICE.name),
        ("trusted service", "importer"),
    ]


def test_the_source_of_a_request_is_in_its_event() -> None:
    world = World()
    error_of(lambda: world.registry.verify(ALICE, "123456", source="192.0.2.7"))
    assert world.observed[-1].source == "192.0.2.7"
