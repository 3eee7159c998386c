"""The sentences of the PostgreSQL stores: each says what was done, and what to do."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import psycopg
import psycopg_pool
import pytest

from vmfa import InvalidType, InvalidValue, PrincipalId, VmfaError
from vmfa.stores import postgres
from vmfa.stores.postgres import PostgresStore

pytestmark = pytest.mark.slow

WHO = PrincipalId.user("123456789012", "u-4711")
LOST = ("the connection was lost before the answer ({}): the change may have been committed; "
        "nothing was accepted, and a code that was sent may be spent")
CUT = "the connection was lost ({}); nothing was changed"
UNDONE = "others kept changing the same rows ({}); nothing was changed"
WAITED = "the database gave up waiting ({}); nothing was changed"
UNSOUND = "this is no sound vmfa database ({})"
UNUSABLE = "the database cannot be used ({}); nothing was accepted"
NOT_HAD = "no connection was to be had ({}); nothing was changed"


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize(("code", "sentence", "again"), [
    ("40001", UNDONE, True), ("40P01", UNDONE, True), ("55P03", WAITED, False), ("57014", WAITED, False),
    ("22P02", UNSOUND, False), ("23514", UNSOUND, False), ("42703", UNSOUND, False), ("3F000", UNSOUND, False),
    ("XX001", UNSOUND, False), ("XX000", UNSOUND, False), ("23505", UNSOUND, False), ("42P07", UNSOUND, False),
    ("42P01", "there are no vmfa tables here: create_schema() makes them", False),
    ("42501", UNUSABLE, False), ("53100", UNUSABLE, False), ("0A000", UNUSABLE, False),
])
def test_what_the_server_says(code: str, sentence: str, again: bool, final: bool) -> None:
    error = psycopg.errors.lookup(code)
    assert _told(error(), final=final) == (sentence.format(error.__name__), again)


@pytest.mark.parametrize("error", [
    psycopg.OperationalError, *map(psycopg.errors.lookup, ("08006", "57P01", "57P02", "40003")),
])
def test_what_a_lost_connection_leaves_in_doubt(error: type[psycopg.Error]) -> None:
    assert _told(error(), final=True) == (LOST.format(error.__name__), False)
    assert _told(error(), final=False) == (CUT.format(error.__name__), True)


@pytest.mark.parametrize(("error", "again"), [
    (psycopg.OperationalError, True), (psycopg_pool.PoolTimeout, False), (psycopg_pool.PoolClosed, False),
    (psycopg_pool.TooManyRequests, False),
])
def test_what_a_connection_leaves_that_was_not_had(error: type[psycopg.Error], again: bool) -> None:
    for final in (False, True):
        assert _told(error(), final=final, had=False) == (NOT_HAD.format(error.__name__), again)


@pytest.mark.parametrize("code", ["23505", "42P07", "42710", "XX000"])
def test_who_creates_the_same_tables_is_waited_for(code: str) -> None:
    error = psycopg.errors.lookup(code)
    assert _told(error(), final=False, creating=True) == (UNDONE.format(error.__name__), True)


def _told(error: psycopg.Error, *, final: bool, creating: bool = False, had: bool = True) -> tuple[str, bool]:
    failure, again = postgres._translate_error(error, final=final, creating=creating, had=had)
    return str(failure), again


@pytest.mark.parametrize(("place", "value", "sentence"), [
    (0, None, "the database has schema 0, this release needs 2: create_schema()"),
    (0, 1, "the database has schema 1, this release needs 2: create_schema()"),
    (0, 3, "the database has schema 3; this release knows 2"),
    (1, "off", "synchronous_commit or fsync is off: a crash would take back answers that were given"),
    (2, "off", "synchronous_commit or fsync is off: a crash would take back answers that were given"),
    (3, "on", "the session is read-only: a replica's answers are old, and nothing can be counted"),
    (4, "SQL_ASCII", "the database is encoded in SQL_ASCII: names need UTF8"),
])
def test_what_makes_a_database_unfit(place: int, value: object, sentence: str) -> None:
    look: list[Any] = [2, "on", "on", "off", "UTF8", "0", 0.0]
    assert not list(postgres._faults(tuple(look), unsafe_not_durable=False))
    look[place] = value
    assert [str(fault) for fault in postgres._faults(tuple(look), unsafe_not_durable=False)] == [sentence]


def test_what_a_store_is_made_of(database: str) -> None:
    theirs = "this connection is in somebody's transaction; to use your own, see Operations"
    unfit = ("a store's connections commit by themselves: ConnectionPool(..., kwargs={'autocommit': True});"
             " to use a transaction of your own, see Operations")
    with psycopg.connect(database) as by_hand, psycopg.connect(database, autocommit=True) as busy:
        busy.execute("BEGIN")
        for source, kind, sentence in (
            (5, InvalidType, "a PostgreSQL store is given a connection pool or a connection string"),
            ("host=x hunter2", InvalidValue, "this is no connection string of PostgreSQL"),
            (Lending(by_hand), InvalidValue, unfit),
            (Lending(busy), InvalidValue, theirs),
        ):
            assert _refusal(source) == (kind, sentence)
    assert repr(PostgresStore("host=x")) == "<PostgresStore>"


@pytest.mark.parametrize(("off", "tolerance", "sentence"), [
    (-1, 0, "this machine's clock is 1 seconds behind the database's"),
    (1, 0, "this machine's clock is 1 seconds ahead of the database's"),
    (31.4, 30, "this machine's clock is 31 seconds ahead of the database's"),
    (1, 1, ""), (-1, 1, ""), (0, 0, ""), (0.4, 0, ""),
])
def test_how_far_a_clock_is_off(off: float, tolerance: int, sentence: str) -> None:
    script = PostgresStore("").problems(1000.0 + off, tolerance)
    next(script)
    with pytest.raises(StopIteration) as end:
        script.send((1, [(2, "on", "on", "off", "UTF8", "0", 1000.0)]))
    assert [str(problem) for problem in end.value.value] == ([sentence] if sentence else [])


@pytest.mark.parametrize(("timeout", "milliseconds"), [(2.5, "2500"), (0.0001, "1")])
def test_a_lock_is_waited_for_as_long_as_was_told_and_never_for_ever(
    database: str, timeout: float, milliseconds: str
) -> None:
    """PostgreSQL takes 0 for no end."""
    call = postgres.Call(PostgresStore(database, timeout=timeout), postgres.create_script)
    with psycopg.connect(database, autocommit=True) as db:
        call.begin(db)
        call.next(None)
        step = call.next((1, [(2, "on", "on", "off", "UTF8", "0", 0.0)]))
    assert step == postgres.Step(postgres.SET_TIMEOUT, (milliseconds,))


def test_no_wait_for_the_network_is_without_an_end() -> None:
    assert PostgresStore("host=x", timeout=2.5).settings() == {
        "connect_timeout": 3, "tcp_user_timeout": 3000, "application_name": "vmfa", "host": "x", "autocommit": True,
    }
    assert PostgresStore("connect_timeout=7 tcp_user_timeout=8 application_name=shop", timeout=2.5).settings() == {
        "connect_timeout": "7", "tcp_user_timeout": "8", "application_name": "shop", "autocommit": True,
    }


def test_a_statement_shows_no_value_and_is_nobodys_to_change() -> None:
    assert "a reference" not in repr(postgres.Step(postgres.LOAD, ("a reference",)))
    with pytest.raises(FrozenInstanceError):
        postgres.COMMIT.final = False  # type: ignore[misc]  # on purpose


def test_the_printed_schema_is_one_transaction_for_psql() -> None:
    printed = postgres.schema_sql()
    assert printed.startswith("BEGIN;\nCREATE TABLE IF NOT EXISTS vmfa_schema ")
    assert printed.endswith(";\nCOMMIT;\n")


class Lending:
    """What answers as a pool does."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def getconn(self, timeout: float) -> Any:
        return self._connection

    def putconn(self, connection: Any) -> None:
        """It stays open."""


def _refusal(source: Any) -> tuple[type[VmfaError], str]:
    with pytest.raises(VmfaError) as caught:
        PostgresStore(source).load(WHO)
    return caught.type, str(caught.value)
