"""S5, S6, S19: an exception between any two instructions leaves a store usable and whole."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from interrupts import Interrupter, interrupted_everywhere
from support import MASTER
from vmfa import (
    Actor,
    DerivedKeys,
    DeviceRegistry,
    MemoryStore,
    Principal,
    PrincipalId,
    SQLiteStore,
    StoreContended,
)
from vmfa.stores import sqlite
from vmfa.testing import FrozenClock

ALICE = PrincipalId.user("123456789012", "u-4711")
BOB = PrincipalId.user("123456789012", "bob")
SERVICE = Actor.trusted_service("test")


# A connection that is interrupted while it opens is closed when it is collected.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SOME_OR_ALL = pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.slow)])


@pytest.fixture(autouse=True)
def connections_collected() -> Iterator[None]:
    """Collect connections here, and not in a later test."""
    yield
    gc.collect()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, path: Path) -> Any:
    if request.param == "memory":
        store = MemoryStore()
        store.volatile = False  # its records can go to the same checks
        yield store
    else:
        with SQLiteStore(path, timeout=0.5, unsafe_not_durable=True) as store:
            yield store


def decisions(store: Any) -> Callable[[], tuple[Principal, Principal, Any]]:
    """Return a function that decides the next change of Alice, which has an event."""
    registry = DeviceRegistry(
        store, keys=DerivedKeys(MASTER), issuer="Example", clock=FrozenClock()
    )
    registry.open_enrollment(ALICE, by=SERVICE, label="x")

    def decide() -> tuple[Principal, Principal, Any]:
        before = store.load(ALICE)
        clock.advance(100_000)
        operation = registry.operations.open_enrollment(ALICE, by=SERVICE, label="x")
        decision = operation.decide(before, clock())
        assert decision.principal.revision > before.revision
        return before, decision.principal, decision.stored

    clock = FrozenClock()
    return decide


@SOME_OR_ALL
def test_a_commit_that_is_interrupted_is_done_or_not_done(store: Any, step: int) -> None:
    decide = decisions(store)
    change = decide()

    def check(where: str, error: BaseException | None) -> None:
        nonlocal change
        before, after, events = change
        in_thread = threading.Thread(target=lambda: loads.append(store.load(ALICE)))
        loads: list[Principal] = []
        in_thread.start()
        in_thread.join(5)
        assert not in_thread.is_alive(), where
        (current,) = loads
        assert current in (before, after), where
        assert len(store.history(ALICE, limit=10**6)) == current.events, where
        if current == after:
            noted = bool(getattr(error, "__notes__", []))
            assert noted or isinstance(store, MemoryStore) or where.startswith("commit:"), where
            change = decide()
        elif not where.startswith("work:"):  # there it is marked as sent just before it is
            assert not getattr(error, "__notes__", []), where
        before, after, events = change
        assert store.commit(before, after, events) is True, where
        change = decide()

    many = interrupted_everywhere(lambda: store.commit(*change), check, step)
    assert many > (20 if isinstance(store, MemoryStore) else 150)


@pytest.mark.parametrize("name", ["load", "history", "principals", "health"])
def test_a_read_that_is_interrupted_leaves_the_store_usable(store: Any, name: str) -> None:
    decide = decisions(store)
    if not hasattr(store, name):
        pytest.skip("this store has no health()")
    argument = {"principals": (ALICE.account,), "health": ()}.get(name, (ALICE,))

    def check(where: str, _: BaseException | None) -> None:
        assert store.load(ALICE).enrollment is not None, where

    interrupted_everywhere(lambda: getattr(store, name)(*argument), check)
    assert store.commit(*decide()) is True


@SOME_OR_ALL
def test_an_opening_that_is_interrupted_leaves_the_store_usable(path: Path, step: int) -> None:
    with SQLiteStore(path, timeout=0.5, unsafe_not_durable=True) as store:
        decide = decisions(store)

        def open_and_load() -> None:
            store.close()
            store.load(ALICE)

        def check(where: str, _: BaseException | None) -> None:
            assert store.commit(*decide()) is True, where

        assert interrupted_everywhere(open_and_load, check, step) > 150


@SOME_OR_ALL
def test_a_creation_that_is_interrupted_leaves_a_usable_file(tmp_path: Path, step: int) -> None:
    number = 0

    def create() -> None:
        nonlocal number
        number += 1
        with SQLiteStore(tmp_path / f"{number}.db", unsafe_not_durable=True) as store:
            store.load(ALICE)

    def check(where: str, _: BaseException | None) -> None:
        path = tmp_path / f"{number}.db"
        with SQLiteStore(path, timeout=0.5, unsafe_not_durable=True) as store:
            assert store.load(ALICE).revision == 0, where
        for file in tmp_path.iterdir():
            file.unlink()

    assert interrupted_everywhere(create, check, step) > 150


def test_a_fork_whose_hooks_are_interrupted_leaves_the_store_usable(path: Path) -> None:
    with SQLiteStore(path, timeout=0.5, unsafe_not_durable=True) as store:
        store.load(ALICE)

        def fork() -> None:
            try:
                sqlite._before_fork()
            finally:
                try:
                    sqlite._after_fork()  # which is registered twice
                finally:
                    sqlite._after_fork()

        def check(where: str, _: BaseException | None) -> None:
            loads: list[Principal] = []
            thread = threading.Thread(target=lambda: loads.append(store.load(BOB)))
            thread.start()
            thread.join(5)
            assert loads, where
            created: list[SQLiteStore] = []
            thread = threading.Thread(target=lambda: created.append(SQLiteStore(path)))
            thread.start()
            thread.join(5)
            assert created, where

        assert interrupted_everywhere(fork, check) > 30


def test_a_signal_handler_that_uses_the_store_is_refused_or_served(store: Any) -> None:
    """Never a deadlock, and never a change that the interrupted call does not notice."""
    decide = decisions(store)
    outcomes = set()
    numbers = iter(range(10_000))
    registry = DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example")

    def handler() -> None:
        who = replace(BOB, name=f"bob-{next(numbers)}")
        try:
            registry.open_enrollment(who, by=SERVICE, label="x")
            outcomes.add("served")
        except StoreContended:
            outcomes.add("refused")
        else:
            assert store.load(who).revision == 1

    nth = 1
    while True:
        change = decide()
        interrupter = Interrupter(nth, handler)
        assert interrupter(partial(store.commit, *change)) is True
        if not interrupter.where:
            break
        assert store.load(ALICE) == change[1], interrupter.where
        nth += 3
    assert outcomes == {"served", "refused"}
