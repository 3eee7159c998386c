"""The message of each error that a rule raises."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vmfa import InvalidType, InvalidValue, Parameters, Policy, Sync, UnsafePlainKeys, VmfaError
from world import ADMIN, ALICE, RFC_KEY, SERVICE, STEP, World, error_of

Attempt = Callable[[], object]


def assigned() -> World:
    world = World(imported_keys=UnsafePlainKeys())
    world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, system="old", last_step=-1)
    return world


def adopting(**arguments: object) -> Attempt:
    world = World(imported_keys=UnsafePlainKeys())
    arguments = {"key": RFC_KEY, "system": "old", **arguments}
    return lambda: world.registry.adopt(ALICE, by=SERVICE, **arguments)


def with_device(**device: object) -> Attempt:
    world = assigned()
    world.store_state(device=device)
    return lambda: world.verify("123456")


def wrong_pair() -> dict[str, str]:
    return {"code1": "123456", "code2": "123456"}


def resyncing() -> Attempt:
    world = assigned()
    return lambda: world.resync(wrong_pair())


def confirming(attempts: int) -> Attempt:
    world = World()
    opened = world.open()
    for _ in range(attempts):
        error_of(lambda: world.confirm(opened, wrong_pair()))
    return lambda: world.confirm(opened, wrong_pair())


def pruning_another_history() -> Attempt:
    world = assigned()
    operation = world.operations.prune_history(ALICE, by=SERVICE, history=(), older_than=1)
    return operation.decide(world.state(), world.clock()).settle


def opening_without_the_binding_code() -> Attempt:
    world = World(Policy.strict())
    world.enroll()
    world.registry.deactivate(ALICE, by=SERVICE)
    return world.open


def with_a_clock_that_went_back() -> Attempt:
    world = assigned()
    world.clock.advance(-STEP - 1)
    return lambda: world.verify("123456")


def with_the_record_of_another_principal() -> Attempt:
    world = assigned()
    operation = world.operations.verify(ADMIN, "123456")
    return operation.decide(world.state(), world.clock()).settle


def in_a_new_world(attempt: Callable[[World], object]) -> Attempt:
    world = World()
    return lambda: attempt(world)


MESSAGES: dict[str, tuple[Callable[[], Attempt], str]] = {
    "no device": (
        lambda: in_a_new_world(lambda world: world.verify("123456")),
        "this principal has no assigned device",
    ),
    "out of sync": (
        lambda: with_device(sync=Sync.OUT_OF_SYNC),
        "the device is out of sync: its codes are not evaluated until it is resynchronized",
    ),
    "wrong pair, resync": (resyncing, "these are not two fresh consecutive codes"),
    "wrong pair, enrollment": (
        lambda: confirming(0),
        "these are not two consecutive codes near now",
    ),
    "last attempt": (
        lambda: confirming(9),
        "the enrollment session ended after too many attempts",
    ),
    "no session": (
        lambda: confirming(10),
        "no such enrollment session is open: open an enrollment first",
    ),
    "last failure": (
        lambda: with_device(failures=99, failed_at=0),
        "the device was disabled after too many failures",
    ),
    "throttled": (
        lambda: with_device(failures=4, failed_at=1_700_000_010),
        "the next attempt is evaluated in 30 seconds",
    ),
    "disabled": (
        lambda: with_device(disabled=True),
        "the device is disabled: deactivate it and enroll another one",
    ),
    "assigned": (
        lambda: in_a_new_world(lambda world: (world.enroll(), world.open())),
        "this principal has a device: deactivate it first",
    ),
    "binding code": (
        opening_without_the_binding_code,
        (
            "opening an enrollment requires the binding code that was issued when the old device "
            "was removed: pass binding_code, or have support issue another one"
        ),
    ),
    "parameters": (
        lambda: adopting(parameters=Parameters(digits=8)),
        (
            "the policy does not offer the algorithm, digits, period and T0 of this device: "
            "add them to Policy(offers=...)"
        ),
    ),
    "import over a device": (
        lambda: lambda: assigned().registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, system="old"),
        "this principal has a device: an import never overwrites one",
    ),
    "reanchor an unknown principal": (
        lambda: in_a_new_world(lambda world: world.registry.reanchor(ALICE, by=SERVICE)),
        "this principal is unknown",
    ),
    "another history": (
        pruning_another_history,
        "this history changed while it was read: try again",
    ),
    "clock": (
        with_a_clock_that_went_back,
        "the clock is 31 seconds behind a committed time; nothing was counted",
    ),
    "another record": (
        with_the_record_of_another_principal,
        "the record belongs to another principal",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name: str) -> None:
    prepare, message = MESSAGES[name]
    error = error_of(prepare())
    assert isinstance(error, VmfaError)
    assert str(error) == message


ARGUMENTS: dict[str, tuple[Attempt, str]] = {
    "label": (lambda: World().open(label=""), "label"),
    "system": (adopting(system=""), "system"),
    "key": (adopting(key=bytes(20)), "key"),
    "last_step": (adopting(last_step=-2), "last_step"),
    "drift": (adopting(drift=21), "drift"),
    "failures": (adopting(failures=101), "failures"),
    "reason": (
        lambda: assigned().registry.deactivate(ALICE, by=SERVICE, reason=" lost "),
        "reason",
    ),
    "older_than": (
        lambda: assigned().registry.prune_history(ALICE, by=SERVICE, older_than="now"),
        "older_than",
    ),
    "by": (lambda: assigned().registry.device(ALICE, by=None), "by"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_invalid_argument_is_named(name: str) -> None:
    attempt, argument = ARGUMENTS[name]
    error = error_of(attempt)
    assert isinstance(error, (InvalidType, InvalidValue))
    assert str(error).startswith(argument)
