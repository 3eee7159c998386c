"""S6: an exception between any two instructions loses no connection."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from cancelling import cancelled_at
from interrupts import Interrupt, Interrupter, in_a_thread, interrupted_everywhere
from support import MASTER
from vmfa import Actor, DerivedKeys, Operations, Principal, PrincipalId, StoreContended
from vmfa.stores.postgres import PostgresStore
from vmfa.stores.postgres_async import AsyncPostgresStore
from vmfa.testing import FrozenClock

ALICE = PrincipalId.user("123456789012", "u-4711")
SERVICE = Actor.trusted_service("test")

# Python reports an exception in a generator that is being collected, and goes on.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
SOME_OR_ALL = pytest.mark.parametrize("step", [61, pytest.param(3, marks=pytest.mark.slow)])


class Changes:
    """Decides one change of Alice after the other, each with events."""

    def __init__(self) -> None:
        self._clock = FrozenClock()
        self._operations = Operations(DerivedKeys(MASTER), issuer="Example")

    def next(self, before: Principal) -> tuple[Principal, Principal, Any]:
        self._clock.advance(100_000)
        operation = self._operations.open_enrollment(ALICE, by=SERVICE, label="x")
        decision = operation.decide(before, self._clock())
        return before, decision.principal, decision.stored


def check_connections(store: PostgresStore) -> None:
    for own in store._own.values():
        assert own.in_use == 0
        assert own.opened <= 2


@SOME_OR_ALL
def test_a_commit_that_is_interrupted_is_done_or_not_done(database: str, step: int) -> None:
    with PostgresStore(database, timeout=5) as store:
        store.create_schema()
        changes = Changes()
        change = changes.next(store.load(ALICE))

        def check(where: str, error: BaseException | None) -> None:
            nonlocal change
            check_connections(store)
            before, after, _ = change
            current = store.load(ALICE)
            assert current in (before, after), where
            assert len(store.history(ALICE, limit=10**6)) == current.events, where
            if current == after:
                noted = bool(getattr(error, "__notes__", []))
                assert noted or where.startswith(("commit:", "_call:")), where
            change = changes.next(current)
            assert store.commit(*change) is True, where
            change = changes.next(store.load(ALICE))

        assert interrupted_everywhere(lambda: store.commit(*change), check, step) > 1000


@SOME_OR_ALL
@pytest.mark.parametrize("name", ["load", "health", "connect"])
def test_a_call_that_is_interrupted_loses_no_connection(
    database: str, name: str, step: int
) -> None:
    with PostgresStore(database, timeout=5) as store:
        store.create_schema()

        def work() -> None:
            if name == "health":
                store.health()
            else:
                if name == "connect":
                    store.close()
                store.load(ALICE)

        def check(where: str, _: BaseException | None) -> None:
            check_connections(store)
            assert store.load(ALICE).revision == 0, where

        interrupted_everywhere(work, check, step)


def test_the_connections_survive_many_interrupted_calls(database: str) -> None:
    with PostgresStore(database, timeout=5) as store:
        store.create_schema()

        def interrupt() -> None:
            for nth in range(1, 3000, 7):
                with suppress(Interrupt):
                    Interrupter(1 + nth % 400)(lambda: store.load(ALICE))

        in_a_thread(interrupt)
        own = store._own_connections()
        assert own.in_use == 0
        assert store.load(ALICE).revision == 0


@SOME_OR_ALL
def test_a_signal_handler_that_uses_the_store_is_served(database: str, step: int) -> None:
    with PostgresStore(database, timeout=5) as store:
        store.create_schema()
        outcomes = set()

        def handler() -> None:
            try:
                outcomes.add(store.load(ALICE).revision)
            except StoreContended:
                outcomes.add(-1)

        nth = 1
        while True:
            interrupter = Interrupter(nth, handler)
            assert interrupter(lambda: store.load(ALICE)).revision == 0
            if not interrupter.where:
                break
            nth += step
        assert outcomes <= {0, -1}
        check_connections(store)


def test_a_cancelled_call_of_the_asynchronous_store_loses_no_connection(database: str) -> None:
    async def everywhere() -> int:
        async with AsyncPostgresStore(database, timeout=5) as store:
            await store.create_schema()
            changes = Changes()
            nth, finished = 1, 0
            while True:
                before = await store.load(ALICE)
                change = changes.next(before)
                reached, end = await cancelled_at(store.commit(*change), nth)
                current = await store.load(ALICE)
                assert current in change[:2]
                assert store._own_connections().in_use == 0
                assert len(await store.history(ALICE, limit=10**6)) == current.events
                if not reached:
                    assert end is True
                    return finished
                assert isinstance(end, asyncio.CancelledError)
                finished += current == change[1]
                nth += 1

    assert asyncio.run(everywhere()) > 3  # a commit that has a connection is finished


def test_a_commit_is_finished_when_the_event_loop_ends(database: str) -> None:
    """D10."""
    store = AsyncPostgresStore(database, timeout=5)

    pools = []

    async def start() -> tuple[Principal, Principal]:
        await store.create_schema()
        before, after, events = Changes().next(await store.load(ALICE))
        task = asyncio.create_task(store.commit(before, after, events))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not task.done()
        pools.append(store._own_connections())
        return before, after

    _, after = asyncio.run(start())
    (pool,) = pools
    assert pool.in_use == 0
    for slot in pool._slots:
        slot.discard()

    async def read() -> Principal:
        async with store:
            return await store.load(ALICE)

    assert asyncio.run(read()) == after
