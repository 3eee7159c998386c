"""The connections that a store opens for itself: few, bounded, and none that is old or broken."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool

from postgres_server import fresh_schema, server  # noqa: F401  # fixtures
from vmfa import Principal, PrincipalId, StoreUnavailable
from vmfa.stores import _pool
from vmfa.stores._pool import MAX_CONNECTIONS, NoConnection, OwnAsyncConnections, OwnConnections
from vmfa.stores._postgres_sql import load_script
from vmfa.stores._wire import ConnectionLost
from vmfa.stores.postgres import Call, PostgresStore

WHO = PrincipalId.user("123456789012", "u-4711")
SOON = 10.0  # seconds: more than any machine needs


class Owner:
    """A call that owns a connection."""


@pytest.fixture(scope="module")
def database(server: Any) -> Iterator[str]:  # noqa: F811  # the fixture
    with fresh_schema(server) as conninfo:
        yield conninfo


@pytest.fixture
def own(database: str) -> Iterator[OwnConnections]:
    connections = OwnConnections({"conninfo": database, "autocommit": True})
    yield connections
    connections.close()


@pytest.fixture
def store(database: str) -> Iterator[PostgresStore]:
    with PostgresStore(database) as store:
        store.create_schema()
        yield store


def owners(own: OwnConnections, number: int) -> list[tuple[Owner, psycopg.Connection[Any]]]:
    """Return *number* owners, each with a connection."""
    result = []
    for _ in range(number):
        owner = Owner()
        result.append((owner, own.acquire(owner, SOON)))
    return result


def release_all(own: OwnConnections, taken: list[tuple[Owner, psycopg.Connection[Any]]]) -> None:
    for owner, _ in taken:
        own.release(owner)


def test_one_connection_serves_calls_one_after_the_other(own: OwnConnections) -> None:
    (first,) = owners(own, 1)
    own.release(first[0])
    (second,) = owners(own, 1)
    assert second[1] is first[1]
    own.release(second[0])
    assert own.opened == 1


def test_a_connection_is_released_once(own: OwnConnections) -> None:
    taken = owners(own, 2)
    own.release(taken[0][0])
    own.release(taken[0][0])
    assert own.in_use == 1
    release_all(own, taken)
    assert own.in_use == 0


def test_the_last_used_connection_is_used_first(own: OwnConnections) -> None:
    taken = owners(own, 2)
    release_all(own, taken)
    ((owner, connection),) = owners(own, 1)
    assert connection is taken[1][1]
    own.release(owner)


def test_a_call_waits_for_a_connection_in_use(own: OwnConnections) -> None:
    taken = owners(own, MAX_CONNECTIONS)
    owner = Owner()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(own.acquire, owner, 2 * SOON)
        own.release(taken[3][0])
        assert waiting.result(SOON) is taken[3][1]
    own.release(owner)
    release_all(own, taken)


def test_a_call_waits_no_longer_than_its_timeout(own: OwnConnections) -> None:
    taken = owners(own, MAX_CONNECTIONS)
    with pytest.raises(NoConnection, match=r"^all 8 connections were in use for 0.01 seconds$"):
        own.acquire(Owner(), 0.01)
    release_all(own, taken)
    assert own.opened == MAX_CONNECTIONS


def test_the_connection_of_a_call_that_no_longer_exists_is_used_again(
    own: OwnConnections,
) -> None:
    """A call whose two clean-ups were both interrupted."""
    for _ in range(3 * MAX_CONNECTIONS):
        own.acquire(Owner(), SOON)  # the owner is gone at once
    assert own.opened == 1


def test_a_saturated_pool_is_unavailable(store: PostgresStore) -> None:
    own = store._own_connections()
    taken = owners(own, MAX_CONNECTIONS)
    store.timeout = 0.01
    with pytest.raises(StoreUnavailable, match="all 8 connections were in use"):
        store.load(WHO)
    release_all(own, taken)
    store.timeout = SOON
    assert store.load(WHO) == Principal(id=WHO)


@pytest.mark.parametrize("statement", ["BEGIN", "not SQL"])
def test_a_connection_in_a_transaction_is_closed(own: OwnConnections, statement: str) -> None:
    ((owner, connection),) = owners(own, 1)
    connection.execute("BEGIN")
    if statement != "BEGIN":
        with pytest.raises(psycopg.errors.SyntaxError):
            connection.execute("not SQL")
    own.release(owner)
    assert connection.closed
    ((owner, connection),) = owners(own, 1)
    assert connection.pgconn.transaction_status == TransactionStatus.IDLE
    own.release(owner)


def test_a_connection_that_was_idle_for_ten_minutes_is_closed(
    own: OwnConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(_pool.time, "monotonic", lambda: now)
    ((owner, connection),) = owners(own, 1)
    own.release(owner)
    now += 600
    assert own.acquire(owner, SOON) is connection
    own.release(owner)
    now += 600.5
    monkeypatch.undo()
    monkeypatch.setattr(own._slots[0], "idle_since", 0.0)
    ((owner, other),) = owners(own, 1)
    assert other is not connection
    assert connection.closed
    own.release(owner)
    assert own.opened == 1


def test_a_database_that_refuses_connections_is_reported_at_once() -> None:
    own = OwnConnections({"conninfo": "host=/nowhere"})
    for _ in range(MAX_CONNECTIONS + 1):
        with pytest.raises(NoConnection, match="/nowhere"):
            own.acquire(Owner(), SOON)
    assert own.opened == 0


def test_while_the_database_is_down_one_attempt_a_second_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts = []

    def refuse(**_: Any) -> Any:
        attempts.append(1)
        raise psycopg.OperationalError("connection refused")

    monkeypatch.setattr(psycopg, "connect", refuse)
    own = OwnConnections({})
    for _ in range(50):
        with pytest.raises(NoConnection, match="connection refused"):
            own.acquire(Owner(), SOON)
    assert len(attempts) == 1
    own._failed_at -= _pool.RETRY
    with pytest.raises(NoConnection):
        own.acquire(Owner(), SOON)
    assert len(attempts) == 2


def test_a_call_that_waits_while_connecting_fails_reports_why(
    own: OwnConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> Any:
        raise psycopg.OperationalError("connection refused")

    taken = owners(own, 1)
    monkeypatch.setattr(psycopg, "connect", refuse)
    with pytest.raises(NoConnection, match="connection refused"):
        own.acquire(Owner(), 0.2)
    release_all(own, taken)
    assert own.opened == 1


def test_a_connection_that_opens_after_close_is_closed(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, may_connect = psycopg.connect, Event()
    connections = []

    def connect_late(**settings: Any) -> Any:
        may_connect.wait(SOON)
        connections.append(connect(**settings))
        return connections[0]

    monkeypatch.setattr(psycopg, "connect", connect_late)
    own = OwnConnections({"conninfo": database, "autocommit": True})
    with pytest.raises(NoConnection, match=r"server did not answer within 0\.01 seconds"):
        own.acquire(Owner(), 0.01)
    opener = own._slots[0].opener
    own.close()
    may_connect.set()
    opener.join(SOON)
    assert connections[0].closed
    assert own.opened == 0


def test_an_asynchronous_pool_closes_what_is_idle_in_use_and_opening(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(**_: Any) -> Any:
        await asyncio.Event().wait()

    async def work() -> None:
        own = OwnAsyncConnections({"conninfo": database, "autocommit": True})
        idle, busy = Owner(), Owner()
        first, second = await own.acquire(idle, SOON), await own.acquire(busy, SOON)
        monkeypatch.setattr(psycopg.AsyncConnection, "connect", never)
        with pytest.raises(NoConnection, match=r"server did not answer within 0\.01 seconds"):
            await own.acquire(Owner(), 0.01)
        own.release(idle)
        opening = [slot.opener for slot in own._slots if slot.opener is not None]
        await own.close()
        assert first.closed
        assert not second.closed
        assert [task.cancelled() for task in opening] == [True]
        own.release(busy)
        assert second.closed

    asyncio.run(work())


def test_a_thread_that_cannot_be_started_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_pool.Thread, "start", fail)
    with pytest.raises(NoConnection, match="no thread could be started"):
        OwnConnections({}).acquire(Owner(), SOON)


def test_after_an_outage_connections_are_opened_again(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    connect, down = psycopg.connect, True

    def connect_or_not(**settings: Any) -> Any:
        return connect("host=/nowhere") if down else connect(**settings)

    monkeypatch.setattr(psycopg, "connect", connect_or_not)
    with pytest.raises(StoreUnavailable, match="/nowhere"):
        store.load(WHO)
    down = False
    store._own_connections()._failed_at -= _pool.RETRY
    assert store.load(WHO) == Principal(id=WHO)


def test_after_close_a_connection_in_use_is_closed_when_it_is_released(
    own: OwnConnections,
) -> None:
    (idle, _), (busy, _) = taken = owners(own, 2)
    own.release(idle)
    own.close()
    assert taken[0][1].closed
    assert not taken[1][1].closed
    own.release(busy)
    assert taken[1][1].closed


def test_a_call_that_meets_a_closed_pool_uses_the_next_one(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that found the pool just before another thread closed the store."""
    closed = store._own_connections()
    store.close()
    with pytest.raises(ConnectionLost):
        closed.acquire(Owner(), SOON)
    pools = [closed]
    find = store._own_connections
    monkeypatch.setattr(store, "_own_connections", lambda: pools.pop() if pools else find())
    assert store.load(WHO) == Principal(id=WHO)


@pytest.mark.parametrize("lent", [False, True])
def test_a_connection_that_was_given_back_belongs_to_the_next_call(
    store: PostgresStore, database: str, lent: bool
) -> None:
    """Each call gives its connection back twice; meanwhile another call may use it."""
    with ConnectionPool(
        database, kwargs={"autocommit": True}, min_size=1, max_size=1, open=True
    ) as pool:
        shared = PostgresStore(pool) if lent else store
        first = Call(shared, partial(load_script, WHO))
        first.begin(shared._acquire(first))
        shared._give_back(first)
        second = Call(shared, partial(load_script, WHO))
        connection = shared._acquire(second)
        second.begin(connection)
        connection.execute("BEGIN")
        shared._give_back(first)
        assert not connection.closed
        connection.execute("ROLLBACK")
        shared._give_back(second)
        assert shared.load(WHO) == Principal(id=WHO)


def test_many_threads_share_few_connections(store: PostgresStore) -> None:
    start = Event()

    def load(_: int) -> Principal:
        start.wait()
        return store.load(WHO)

    with ThreadPoolExecutor(3 * MAX_CONNECTIONS) as pool:
        loads = [pool.submit(load, number) for number in range(200)]
        start.set()
        assert all(load.result() == Principal(id=WHO) for load in loads)
    own = store._own_connections()
    assert own.opened <= MAX_CONNECTIONS
    assert own.in_use == 0
