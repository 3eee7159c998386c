"""The connections that a store opens for itself: few, bounded, and none that is old, broken or unfinished."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg_pool import PoolTimeout

from postgres_server import fresh_schema, server  # noqa: F401  # fixtures
from vmfa import Principal, PrincipalId, StoreUnavailable
from vmfa.stores import _pool, postgres
from vmfa.stores._pool import MAX_CONNECTIONS, OwnConnections
from vmfa.stores.postgres import PostgresStore

pytestmark = pytest.mark.slow

WHO = PrincipalId.user("123456789012", "u-4711")
SOON = 10.0  # seconds: more than any machine needs


@pytest.fixture(scope="module")
def database(server: Any) -> Iterator[str]:  # noqa: F811  # the fixture
    with fresh_schema(server) as conninfo:
        yield conninfo


@pytest.fixture
def own(database: str) -> Iterator[OwnConnections]:
    made = OwnConnections({"conninfo": database, "autocommit": True})
    yield made
    made.close()


@pytest.fixture
def store(database: str) -> Iterator[PostgresStore]:
    with PostgresStore(database) as made:
        made.create_schema()
        yield made


def taken(own: OwnConnections, number: int) -> list[psycopg.Connection[Any]]:
    return [own.getconn(SOON) for _ in range(number)]


def test_one_at_a_time_is_always_the_same(own: OwnConnections) -> None:
    first = own.getconn(SOON)
    own.putconn(first)
    assert own.getconn(SOON) is first
    own.putconn(first)


def test_who_still_holds_the_closed_ones_waits_for_none_of_them(own: OwnConnections) -> None:
    """A thread that found them just before another closed them."""
    for connection in taken(own, MAX_CONNECTIONS):
        own.putconn(connection)
    own.close()
    for connection in taken(own, MAX_CONNECTIONS):
        own.putconn(connection)
        assert connection.closed


def test_the_last_used_is_used_first(own: OwnConnections) -> None:
    first, second = taken(own, 2)
    own.putconn(first)
    own.putconn(second)
    assert own.getconn(SOON) is second
    own.putconn(second)


def test_who_finds_all_in_use_waits_for_the_next(own: OwnConnections) -> None:
    held = taken(own, MAX_CONNECTIONS)
    with ThreadPoolExecutor(1) as another:
        waiting = another.submit(own.getconn, 2 * SOON)
        own.putconn(held[3])
        assert waiting.result(SOON) is held[3]
    for connection in held:
        own.putconn(connection)


def test_a_place_that_falls_free_is_as_good(own: OwnConnections) -> None:
    held = taken(own, MAX_CONNECTIONS)
    with ThreadPoolExecutor(1) as another:
        waiting = another.submit(own.getconn, 2 * SOON)
        held[3].close()
        own.putconn(held[3])
        new = waiting.result(SOON)
    assert new not in held
    with pytest.raises(PoolTimeout):
        own.getconn(0.01)  # and no place more
    for connection in (*held[:3], new, *held[4:]):
        own.putconn(connection)


def test_nobody_waits_longer_than_told(own: OwnConnections) -> None:
    held = taken(own, MAX_CONNECTIONS)
    with pytest.raises(PoolTimeout, match=r"^8 connections are in use$"):
        own.getconn(0.01)
    for connection in held:
        own.putconn(connection)
    assert set(taken(own, MAX_CONNECTIONS)) == set(held)
    for connection in held:
        own.putconn(connection)


def test_in_the_store_that_is_unavailable(store: PostgresStore, database: str) -> None:
    own = store._pool()
    held = [own.getconn(SOON) for _ in range(MAX_CONNECTIONS)]
    store.timeout = 0.01
    with pytest.raises(StoreUnavailable, match="no connection was to be had"):
        store.load(WHO)
    for connection in held:
        own.putconn(connection)
    assert store.load(WHO) == Principal(id=WHO)


@pytest.mark.parametrize("statement", ["BEGIN", "not SQL"])
def test_what_is_unfinished_is_undone_and_closed(own: OwnConnections, statement: str) -> None:
    unfit = own.getconn(SOON)
    unfit.execute("BEGIN")
    if statement != "BEGIN":
        with pytest.raises(psycopg.errors.SyntaxError):
            unfit.execute("not SQL")
    own.putconn(unfit)
    assert unfit.closed
    fit = own.getconn(SOON)
    assert fit.pgconn.transaction_status == TransactionStatus.IDLE
    own.putconn(fit)


def test_one_that_was_idle_for_long_is_not_used_again(
    own: OwnConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, young = taken(own, 2)
    now = float(round(_pool.time.monotonic()))
    monkeypatch.setattr(_pool.time, "monotonic", lambda: now - 600)
    own.putconn(old)
    monkeypatch.setattr(_pool.time, "monotonic", lambda: now)
    assert own.getconn(SOON) is old  # ten minutes are not too long
    own.putconn(old)
    monkeypatch.setattr(_pool.time, "monotonic", lambda: now + 600)
    own.putconn(young)
    monkeypatch.setattr(_pool.time, "monotonic", lambda: now + 600.5)
    assert own.getconn(SOON) is young
    assert old.closed
    assert own._opened == 1
    own.putconn(young)


def test_a_connection_that_cannot_be_opened_takes_no_place() -> None:
    nowhere = OwnConnections({"conninfo": "host=/nowhere"})
    for _ in range(MAX_CONNECTIONS + 1):
        with pytest.raises(psycopg.OperationalError, match="/nowhere"):
            nowhere.getconn(0.01)


def test_a_server_that_is_back_in_time_is_waited_for(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    connect, refused = psycopg.connect, iter(range(3))

    def back_soon(**settings: Any) -> Any:
        return connect(**settings) if next(refused, None) is None else connect("host=/nowhere")

    monkeypatch.setattr(psycopg, "connect", back_soon)
    assert store.load(WHO) == Principal(id=WHO)
    assert next(refused, None) is None


def test_after_closing_what_is_in_use_is_closed_when_it_is_put_back(own: OwnConnections) -> None:
    idle, used = taken(own, 2)
    own.putconn(idle)
    own.close()
    assert idle.closed
    assert not used.closed
    own.putconn(used)
    assert used.closed


def test_many_threads_share_the_few(store: PostgresStore, database: str) -> None:
    everybody = Event()

    def load(_: int) -> Principal:
        everybody.wait()
        return store.load(WHO)

    with ThreadPoolExecutor(3 * MAX_CONNECTIONS) as pool:
        loads = [pool.submit(load, number) for number in range(3 * MAX_CONNECTIONS)]
        everybody.set()
        assert {each.result().revision for each in loads} == {0}
    assert store._pool()._opened <= MAX_CONNECTIONS


def test_a_new_connection_is_no_reason_to_look_the_others_over_again(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    execute = psycopg.Cursor.execute

    def listening(self: Any, query: str, *rest: Any) -> Any:
        looks.extend([query] * (query == postgres.PROBE))
        return execute(self, query, *rest)

    monkeypatch.setattr(psycopg.Cursor, "execute", listening)
    own = store._pool()
    first = own.getconn(SOON)
    store.load(WHO)  # over the second
    second = own.getconn(SOON)
    own.putconn(first)
    store.load(WHO)
    assert looks == [postgres.PROBE] * 2
    held = own.getconn(SOON)
    assert held is first
    own.putconn(second)
    store.load(WHO)
    assert looks == [postgres.PROBE] * 2
    own.putconn(held)


def test_a_closed_connection_is_forgotten_with_its_cursors(store: PostgresStore) -> None:
    for _ in range(3):
        assert store.load(WHO) == Principal(id=WHO)
        assert len(store.known) == 1
        store.close()
