"""Statements and answers on connections that end, stay silent, or cannot cancel."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from postgres_server import fresh_schema, server  # noqa: F401  # fixtures
from vmfa import OutcomeUnknown, Principal, PrincipalId, SchemaUntrusted, StoreUnavailable
from vmfa.models import Envelope
from vmfa.stores import _wire
from vmfa.stores._postgres_sql import COLUMNS, CONSTRAINTS, commit_script, load_script
from vmfa.stores._wire import Answer, ConnectionLost, Session, Wait, exchange
from vmfa.stores.postgres import Call, PostgresStore
from vmfa.stores.postgres_async import AsyncPostgresStore, _wait as wait_asynchronously

WHO = PrincipalId.user("123456789012", "u-4711")
BEFORE = Principal(id=WHO, revision=1, envelope=Envelope(document="", tag="one"))
AFTER = Principal(id=WHO, revision=2, envelope=Envelope(document="", tag="two"))
SOON = 10.0  # seconds: more than any machine needs


@pytest.fixture(scope="module")
def database(server: Any) -> Iterator[str]:  # noqa: F811  # the fixture
    with fresh_schema(server) as conninfo:
        yield conninfo


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def store(database: str) -> Iterator[PostgresStore]:
    with PostgresStore(database) as store:
        store.create_schema()
        yield store


def hang_up(connection: psycopg.Connection[Any]) -> None:
    """End the connection as the network does, without the knowledge of libpq."""
    with socket.socket(fileno=socket.dup(connection.pgconn.socket)) as copy:
        copy.shutdown(socket.SHUT_RDWR)


# The exchange of one statement


def test_a_statement_on_a_closed_connection_is_lost(connection: psycopg.Connection[Any]) -> None:
    connection.close()
    with pytest.raises(ConnectionLost):
        next(exchange(connection, Session(), "SELECT 1", (), SOON, prepare=False))


def test_a_connection_without_a_result_is_lost(connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(ConnectionLost, match="no result"):
        next(_wire._answer(connection.pgconn, time.monotonic() + SOON))


def test_a_connection_that_ends_between_statements_is_lost(
    connection: psycopg.Connection[Any],
) -> None:
    hang_up(connection)
    with pytest.raises(ConnectionLost):
        _wire._consume(connection.pgconn)


def test_a_connection_that_ends_before_a_whole_answer_is_lost() -> None:
    class Half:
        """What libpq shows when half of an answer came."""

        def consume_input(self) -> None:
            raise psycopg.OperationalError("server closed the connection unexpectedly")

        def is_busy(self) -> bool:
            return True

    with pytest.raises(ConnectionLost, match="OperationalError"):
        _wire._consume(Half())  # type: ignore[arg-type]  # only these two are asked


def test_without_a_safe_cancellation_a_locked_row_still_ends_the_call(
    store: PostgresStore, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(psycopg.capabilities), "has_cancel_safe", lambda _: False)
    store.timeout = 0.2
    with connection.transaction():
        connection.execute("LOCK TABLE vmfa_principal")
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.load(WHO)
        assert time.monotonic() - started < store.timeout + 1
    store.timeout = SOON
    assert store.load(WHO) == Principal(id=WHO)


def test_without_poll_the_store_waits_with_select(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(select, "poll")
    assert store.load(WHO) == Principal(id=WHO)


def test_a_closed_connection_of_a_pool_is_lost(
    store: PostgresStore, connection: psycopg.Connection[Any]
) -> None:
    connection.close()
    with pytest.raises(ConnectionLost, match="closed"):
        Call(store, lambda: load_script(WHO)).begin(connection)


# Waiting in an event loop


def test_an_event_loop_waits_until_a_socket_can_be_written() -> None:
    async def work() -> bool:
        one, other = socket.socketpair()
        with one, other:
            return await wait_asynchronously(one.fileno(), Wait(write=True, seconds=SOON))

    assert asyncio.run(work())


def test_a_load_that_is_canceled_ends_at_once(
    store: PostgresStore, connection: psycopg.Connection[Any], database: str
) -> None:
    async def work() -> None:
        async with AsyncPostgresStore(database, timeout=SOON) as other:
            await other.load(WHO)
            connection.execute("LOCK TABLE vmfa_principal")
            load = asyncio.create_task(other.load(WHO))
            await asyncio.sleep(0.1)
            load.cancel()
            with pytest.raises(asyncio.CancelledError):
                await load
            connection.execute("ROLLBACK")
            assert await other.load(WHO) == Principal(id=WHO)

    connection.execute("BEGIN")
    asyncio.run(work())


# Answers that only a database that changes meanwhile can give


def test_an_update_that_stored_another_row_has_an_unknown_outcome() -> None:
    script = commit_script(BEFORE, AFTER, [])
    next(script)
    with pytest.raises(OutcomeUnknown, match="stored another row"):
        script.send(Answer(1, [(2, "three")]))


def test_an_update_that_came_second_changes_nothing(store: PostgresStore) -> None:
    assert store.commit(BEFORE, AFTER, []) is False
    assert store.load(WHO) == Principal(id=WHO)


def test_a_trigger_that_exists_only_during_a_commit_undoes_it() -> None:
    script = commit_script(BEFORE, Principal(id=WHO), [])  # erases
    statements = [next(script).sql]
    answers = [Answer(0, []), Answer(1, []), Answer(0, []), Answer(1, [(False, None, None)])]
    statements += [script.send(answer).sql for answer in answers]
    assert statements[-1] == "ROLLBACK"
    script.send(Answer(0, []))  # the description of the tables is asked for
    tables = [
        (name, "r", "p", False, COLUMNS[name], CONSTRAINTS[name], None) for name in COLUMNS
    ]
    with pytest.raises(SchemaUntrusted, match="did not keep the row"):
        script.send(Answer(2, tables))


def test_a_table_that_is_missing_is_named(
    store: PostgresStore, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("ALTER TABLE vmfa_event RENAME TO moved")
    try:
        (problem,) = store.health()
        assert isinstance(problem, StoreUnavailable)
        assert "call create_schema()" in str(problem)
    finally:
        connection.execute("ALTER TABLE moved RENAME TO vmfa_event")
    assert store.health() == ()
