"""The order of checks: of two faults the error reports the earlier, so it reveals nothing beyond
it.

The order is permission, syntax, record intact, device present, clock, disabled, throttled, out of
sync, codes. The record is checked before the device is looked for, so a device removed from the
database is tampering and not a principal without MFA.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from vmfa import (
    AccessDenied,
    Actor,
    ClockWentBack,
    CodeRejected,
    DeviceAlreadyAssigned,
    DeviceDisabled,
    InvalidValue,
    MalformedCode,
    NoDevice,
    NoSession,
    OutOfSync,
    PairRejected,
    RecordTampered,
    SignInClosed,
    Sync,
    Throttled,
    TooManySessions,
)
from vmfa.record import authenticated
from world import ADMIN, ALICE, ROOT, World, by_method, error_of

Faults = frozenset[str]


def world_with(faults: Faults) -> World:
    """A device, and everything in *faults* wrong with it."""
    world = World()
    phone = world.enroll()
    now = int(world.clock())
    device: dict[str, Any] = {}
    if "disabled" in faults:
        device["disabled"] = True
    if "closed" in faults:
        device |= {"budget": 0, "budget_updated_at": now}
    if "throttled" in faults:
        device |= {"failures": 3, "failed_at": now}
    if "out of sync" in faults:
        device["sync"] = Sync.OUT_OF_SYNC
    world.store_state(device=device, seen_at=now + 1000 if "clock" in faults else now)
    if "no device" in faults:
        state = replace(world.state(), device=None, key_ref=None)
        world.overwrite(authenticated(state, world.operations.keys))
    if "tampered" in faults:
        state = world.state()
        world.overwrite(replace(
            state, envelope=replace(state.envelope, tag=state.envelope.tag[:-1] + "?")
        ))
    world.phone_of_alice = phone  # type: ignore[attr-defined]  # for the codes
    return world


def codes(world: World, faults: Faults) -> tuple[str, str]:
    if "syntax" in faults:
        return "12345", "123456"
    wrong = world.phone_of_alice.wrong_code()  # type: ignore[attr-defined]  # see above
    return wrong, wrong


def verifying(world: World, faults: Faults) -> object:
    return world.verify(codes(world, faults)[0])


def resynchronizing(world: World, faults: Faults) -> object:
    by = Actor.admin(ADMIN) if "permission" in faults else Actor.signed_in(ALICE)
    first, second = codes(world, faults)
    return world.registry.resync(ALICE, code1=first, code2=second, by=by)


def deactivating(world: World, faults: Faults) -> object:
    by = by_method(ADMIN, world.clock(), Actor.admin)
    if "permission" in faults:
        by = Actor.signed_in(ALICE)
    return world.registry.deactivate(ALICE, by=by, reason="\n" if "syntax" in faults else "")


ORDERS: dict[Callable[[World, Faults], object], list[tuple[str, type[Exception]]]] = {
    verifying: [
        ("syntax", MalformedCode),
        ("tampered", RecordTampered),
        ("no device", NoDevice),
        ("clock", ClockWentBack),
        ("disabled", DeviceDisabled),
        ("closed", SignInClosed),
        ("throttled", Throttled),
        ("out of sync", OutOfSync),
        ("codes", CodeRejected),
    ],
    resynchronizing: [
        ("permission", AccessDenied),
        ("syntax", MalformedCode),
        ("tampered", RecordTampered),
        ("no device", NoDevice),
        ("clock", ClockWentBack),
        ("disabled", DeviceDisabled),
        ("closed", SignInClosed),
        ("throttled", Throttled),
        ("codes", PairRejected),
    ],
    deactivating: [
        ("permission", AccessDenied),
        ("syntax", InvalidValue),
        ("tampered", RecordTampered),
        ("no device", NoDevice),
        ("clock", ClockWentBack),
    ],
}
IMPOSSIBLE = [
    {"no device", "disabled"},
    {"no device", "closed"},
    {"no device", "throttled"},
    {"no device", "out of sync"},
]


@pytest.mark.parametrize(
    ("act", "first", "second"),
    [
        pytest.param(act, first, second, id=f"{act.__name__}/{first[0]}/{second[0]}")
        for act, order in ORDERS.items()
        for first, second in combinations(order, 2)
        if {first[0], second[0]} not in IMPOSSIBLE
    ],
)
def test_of_two_faults_the_earlier_is_reported(
    act: Callable[[World, Faults], object],
    first: tuple[str, type[Exception]],
    second: tuple[str, type[Exception]],
) -> None:
    """RULE-ORDER: pairwise, for codes, pairs and deactivation."""
    for faults in ({first[0]}, {first[0], second[0]}):
        world = world_with(frozenset(faults))
        assert (
            type(error_of(lambda world=world, faults=frozenset(faults): act(world, faults)))
            is first[1]
        )
    world = world_with(frozenset({second[0]}))
    assert type(error_of(lambda: act(world, frozenset({second[0]})))) is second[1]


# Opening and confirming have guards of their own


def open_faults(faults: Faults) -> tuple[World, Callable[[], object]]:
    world = World()
    now = int(world.clock())
    if "assigned" in faults:
        world.enroll()
    else:
        world.open()
    world.store_state(
        enrollment_times=(now,) * 10 if "enrollment_times" in faults else (),
        seen_at=now + 1000 if "clock" in faults else now,
    )
    if "tampered" in faults:
        world.overwrite(replace(world.state(), revision=99))
    by = Actor.admin(ADMIN) if "permission" in faults else Actor.signed_in(ALICE)
    return world, lambda: world.open(by=by, label="a:b" if "syntax" in faults else "a")


OPENING = [
    ("permission", AccessDenied),
    ("syntax", InvalidValue),
    ("tampered", RecordTampered),
    ("assigned", DeviceAlreadyAssigned),
    ("clock", ClockWentBack),
    ("enrollment_times", TooManySessions),
]


def confirm_faults(faults: Faults) -> tuple[World, Callable[[], object]]:
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    if "clock" in faults:
        world.store_state(seen_at=int(world.clock()) + 1000)
    if "expired" in faults:
        session = world.state().enrollment
        world.store_state(enrollment=replace(session, expires_at=int(world.clock())))
    if "tampered" in faults:
        world.overwrite(replace(world.state(), revision=99))
    by = Actor.admin(ADMIN) if "permission" in faults else Actor.signed_in(ALICE)
    code = "1" if "syntax" in faults else phone.wrong_code()
    name = "0" * 32 if "session" in faults else opened.session_id
    return world, lambda: world.registry.confirm_enrollment(
        ALICE, session=name, code1=code, code2=code, by=by
    )


CONFIRMING = [
    ("permission", AccessDenied),
    ("syntax", MalformedCode),
    ("tampered", RecordTampered),
    ("session", NoSession),
    ("clock", ClockWentBack),
    ("expired", NoSession),
    ("codes", PairRejected),
]


@pytest.mark.parametrize(
    ("build", "first", "second"),
    [
        pytest.param(build, first, second, id=f"{build.__name__}/{first[0]}/{second[0]}")
        for build, order in ((open_faults, OPENING), (confirm_faults, CONFIRMING))
        for first, second in combinations(order, 2)
    ],
)
def test_of_two_faults_of_an_enrollment_the_earlier_is_reported(
    build: Callable[[Faults], tuple[World, Callable[[], object]]],
    first: tuple[str, type[Exception]],
    second: tuple[str, type[Exception]],
) -> None:
    """RULE-ORDER: pairwise, for opening and confirming."""
    for faults, reported in (
        ({first[0]}, first),
        ({first[0], second[0]}, first),
        ({second[0]}, second),
    ):
        _, act = build(frozenset(faults))
        assert type(error_of(act)) is reported[1]


def test_without_permission_the_error_reveals_nothing() -> None:
    """RULE-ORDER: with or without a device, known or not, tampered or not: the same error."""
    stranger = Actor.signed_in(ADMIN)
    texts = set()
    for faults in ((), ("no device",), ("tampered",), ("disabled",), ("clock",)):
        world = world_with(frozenset(faults))
        for who in (ALICE, ALICE.user(ALICE.account, "unknown")):
            error = error_of(
                lambda world=world, who=who: world.registry.resync(
                    who, code1="x", code2="y", by=stranger
                )
            )
            texts.add((type(error), str(error)))
    assert len(texts) == 1
    assert type(error_of(lambda: World().registry.device(ROOT, by=stranger))) is AccessDenied


def test_an_edited_record_is_reported_before_its_time_is_used() -> None:
    """RULE-ORDER: also where an expired enrollment would be ended first."""
    world = World()
    world.open()
    state = world.state()
    later = state.seen_at + 10**6
    document = state.envelope.document.replace(str(state.seen_at), str(later), 1)
    envelope = replace(state.envelope, document=document)
    world.overwrite(replace(state, seen_at=later, envelope=envelope))
    world.clock.advance(1000)
    assert type(error_of(lambda: world.verify("123456"))) is RecordTampered
