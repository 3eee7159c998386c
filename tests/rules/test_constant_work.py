"""The work of an attempt does not depend on its result, counted in hash computations.

Records and events are not authenticated here, so that every computation is one of codes.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vmfa import (
    AlreadyUsed,
    CodeRejected,
    DeviceDisabled,
    MalformedCode,
    MemoryStore,
    NoDevice,
    NoSession,
    OutOfSync,
    PairRejected,
    Receipt,
    Sync,
    SyncReport,
    Throttled,
    UnsafePlainKeys,
)
from vmfa.testing import Account
from world import ADMIN, STEP, World, error_of, hash_computations, outcome_of


class KeysWithoutTags(UnsafePlainKeys):
    """A key source that neither computes nor checks tags."""

    __slots__ = ()

    def tag(self, purpose: str, message: bytes) -> str:
        return "tag"

    def check(self, purpose: str, message: bytes, tag: str) -> bool:
        return True

    def audit_tag(self, purpose: str, message: bytes) -> str:
        return "tag"


def new_world() -> World:
    return World(keys=KeysWithoutTags(), store=MemoryStore())


def prepared() -> tuple[World, Account]:
    """A device in sync, ten steps after its enrollment."""
    world = new_world()
    phone = world.enroll()
    world.clock.advance(10 * STEP)
    return world, phone


def work_of(world: World, act: Callable[[], object], expected: type) -> int:
    """The hash computations of *act*, whose outcome is of type *expected*."""
    outcomes: list[object] = []
    work = hash_computations(lambda: outcomes.append(outcome_of(act)))
    assert type(outcomes[0]) is expected
    return work


def test_a_code_costs_the_same_whether_it_matches_first_last_or_not_or_was_used() -> None:
    """The time of an answer does not reveal how near a guess was."""
    work = {}
    for name, steps_off in {"first": -1, "middle": 0, "last": 1}.items():
        world, phone = prepared()
        code = phone.code(steps_off)
        work[name] = work_of(world, lambda w=world, c=code: w.verify(c), Receipt)
        work[f"{name}, used"] = work_of(world, lambda w=world, c=code: w.verify(c), AlreadyUsed)
    world, phone = prepared()
    code = phone.wrong_code()
    work["miss"] = work_of(world, lambda: world.verify(code), CodeRejected)
    assert work["miss"] > 0
    assert set(work.values()) == {work["miss"]}


def test_a_pair_costs_the_same_whether_it_resynchronizes_or_not() -> None:
    """A right pair, a wrong pair and a pair that was used cost the same."""
    world, phone = prepared()
    right, wrong = phone.pair(), phone.wrong_code()
    missed = {"code1": wrong, "code2": wrong}
    work = [
        work_of(world, lambda pair=pair: world.resync(pair), expected)
        for pair, expected in (
            (missed, PairRejected),
            (right, SyncReport),
            (right, PairRejected),
        )
    ]
    assert work[0] > 0
    assert len(set(work)) == 1


def test_a_pair_costs_the_same_whether_it_assigns_the_device_or_not() -> None:
    world = new_world()
    opened = world.open()
    right, wrong = world.phone(opened).pair(), world.phone(opened).wrong_code()
    missed = {"code1": wrong, "code2": wrong}
    work = [
        work_of(world, lambda: world.confirm(opened, missed), PairRejected),
        work_of(world, lambda: world.confirm(opened, right), SyncReport),
    ]
    assert work[0] > 0
    assert len(set(work)) == 1


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        pytest.param({"failures": 3}, Throttled, id="throttled"),
        pytest.param({"disabled": True}, DeviceDisabled, id="disabled"),
        pytest.param({"sync": Sync.OUT_OF_SYNC}, OutOfSync, id="out of sync"),
    ],
)
def test_a_code_that_is_not_evaluated_costs_nothing(
    device: dict[str, object], expected: type[Exception]
) -> None:
    world, phone = prepared()
    world.store_state(device={**device, "failed_at": int(world.clock())})
    for code in (phone.code(), phone.wrong_code()):
        assert work_of(world, lambda code=code: world.verify(code), expected) == 0


def test_a_malformed_code_and_an_unknown_principal_cost_nothing() -> None:
    world, phone = prepared()
    code = phone.code()
    assert work_of(world, lambda: world.verify("12345"), MalformedCode) == 0
    assert work_of(world, lambda: world.verify(code, ADMIN), NoDevice) == 0


def test_a_pair_for_an_expired_session_costs_nothing() -> None:
    world = new_world()
    opened = world.open()
    world.clock.advance(900)
    pair = world.phone(opened).pair()
    error_of(lambda: world.confirm(opened, pair))  # ends the session
    assert work_of(world, lambda: world.confirm(opened, pair), NoSession) == 0
