"""The PostgreSQL stores: which error each failure becomes, and what may be tried again."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import psycopg
import psycopg_pool
import pytest

from vmfa import (
    OutcomeUnknown,
    SchemaUntrusted,
    StoreContended,
    StoreCorrupt,
    StoreError,
    StoreTooNew,
    StoreUnavailable,
)
from vmfa.stores import _postgres_sql, postgres
from vmfa.stores._pool import NoConnection
from vmfa.stores._wire import ConnectionLost, ServerError, Silent
from vmfa.stores.postgres import PostgresStore

PROBE = (1, "on", "on", "off", "UTF8", "UTF8", "notice", "", "pg_catalog", 1000.0)
NOTHING = "nothing was changed"
MAYBE = "the change may have been stored"


def translated(
    error: Any, *, final: bool = False, creating: bool = False
) -> tuple[StoreError, bool]:
    return postgres._translate_error(error, final=final, creating=creating, timeout=10)


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize(
    ("state", "kind", "words", "again"),
    [
        ("40001", StoreContended, NOTHING, True),
        ("40P01", StoreContended, NOTHING, True),
        ("55P03", StoreContended, NOTHING, False),
        ("57014", StoreContended, NOTHING, False),
        ("26000", StoreUnavailable, "pooler", True),
        ("42P05", StoreUnavailable, "pooler", True),
        ("42P01", StoreUnavailable, "create_schema()", False),
        ("42501", StoreUnavailable, NOTHING, False),
        ("53100", StoreUnavailable, NOTHING, False),
        ("0A000", SchemaUntrusted, NOTHING, False),
        ("XX000", StoreUnavailable, NOTHING, False),
        ("XX001", StoreCorrupt, "DataCorrupted", False),
        ("XX002", StoreCorrupt, "IndexCorrupted", False),
        ("22001", SchemaUntrusted, NOTHING, False),
        ("23514", SchemaUntrusted, NOTHING, False),
        ("42703", SchemaUntrusted, NOTHING, False),
        ("ZZ999", StoreUnavailable, "unknown error", False),
    ],
)
def test_an_error_of_the_server_says_that_nothing_was_changed(
    state: str, kind: type[StoreError], words: str, again: bool, final: bool
) -> None:
    error, may_repeat = translated(ServerError(state), final=final)
    assert (type(error), may_repeat) == (kind, again)
    assert words in str(error)
    assert state in str(error) or "create_schema()" in str(error)


@pytest.mark.parametrize(
    "error",
    [
        ServerError("08006"),
        ServerError("57P01"),
        ServerError("40003"),
        ConnectionLost("x"),
        psycopg.OperationalError(),
    ],
    ids=repr,
)
def test_a_lost_connection_is_in_doubt_only_after_the_final_statement(error: Any) -> None:
    failure, again = translated(error, final=True)
    assert (type(failure), again) == (OutcomeUnknown, False)
    assert MAYBE in str(failure)
    failure, again = translated(error)
    assert (type(failure), again) == (StoreUnavailable, True)
    assert NOTHING in str(failure)


def test_a_silent_server_is_in_doubt_only_after_the_final_statement() -> None:
    failure, again = translated(Silent(), final=True)
    assert (type(failure), again) == (OutcomeUnknown, False)
    failure, again = translated(Silent())
    assert (type(failure), again) == (StoreUnavailable, False)
    assert str(failure) == "the database did not answer within 10 seconds; nothing was changed"


@pytest.mark.parametrize(
    "error",
    [
        NoConnection("all in use"),
        psycopg_pool.PoolTimeout(),
        psycopg_pool.PoolClosed(),
        psycopg_pool.TooManyRequests(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("final", [False, True])
def test_a_missing_connection_is_reported_at_once(error: Any, final: bool) -> None:
    failure, again = translated(error, final=final)
    assert (type(failure), again) == (StoreUnavailable, False)
    assert NOTHING in str(failure)


@pytest.mark.parametrize("state", ["23505", "42P07", "42710", "XX000"])
def test_two_processes_may_create_the_tables_at_once(state: str) -> None:
    failure, again = translated(ServerError(state), creating=True)
    assert (type(failure), again) == (StoreContended, True)


@pytest.mark.parametrize(
    ("place", "value", "kind", "words"),
    [
        (0, None, StoreUnavailable, "schema 0, this release needs 1: call create_schema()"),
        (0, 2, StoreTooNew, "schema 2; this release reads up to 1"),
        (1, "off", StoreUnavailable, "synchronous_commit"),
        (2, "off", StoreUnavailable, "fsync"),
        (3, "on", StoreUnavailable, "read-only"),
        (4, "SQL_ASCII", StoreUnavailable, "SQL_ASCII"),
        (5, "LATIN1", StoreUnavailable, "LATIN1"),
        (6, "error", StoreUnavailable, "client_min_messages is error"),
        (8, "evil", SchemaUntrusted, "search_path names evil before pg_catalog"),
    ],
)
def test_a_setting_that_is_not_safe_is_refused(
    place: int, value: Any, kind: type[StoreError], words: str
) -> None:
    def faults(probe: list[Any]) -> list[StoreError]:
        return list(
            _postgres_sql.setting_faults(probe, unsafe_not_durable=False, require_standby=False)
        )

    probe = list(PROBE)
    assert not faults(probe)
    probe[place] = value
    (fault,) = faults(probe)
    assert type(fault) is kind
    assert words in str(fault)


@pytest.mark.parametrize(
    ("commit", "standbys", "refused"),
    [
        ("on", "s1", False),
        ("remote_apply", "s1", False),
        ("remote_write", "s1", False),
        ("local", "s1", True),
        ("off", "s1", True),
        ("on", "", True),
        ("on", None, True),
    ],
)
def test_a_required_standby_is_waited_for(
    commit: str, standbys: str | None, refused: bool
) -> None:
    probe = list(PROBE)
    probe[1], probe[7] = commit, standbys
    faults = list(
        _postgres_sql.setting_faults(probe, unsafe_not_durable=True, require_standby=True)
    )
    assert ["standby" in str(fault) for fault in faults] == [True] * refused


def test_a_setting_that_the_engine_does_not_have_is_not_a_fault() -> None:
    probe = (1, None, None, None, None, None, None, None, None, 0.0)
    assert not list(
        _postgres_sql.setting_faults(probe, unsafe_not_durable=False, require_standby=False)
    )


@pytest.mark.parametrize(
    ("conninfo", "changed"),
    [
        ("host=x", {"host": "x"}),
        ("host=a,b,c,d", {"host": "a,b,c,d", "connect_timeout": 2}),
        (
            "connect_timeout=7 tcp_user_timeout=8 application_name=shop",
            {"connect_timeout": "7", "tcp_user_timeout": "8", "application_name": "shop"},
        ),
        ("client_encoding=LATIN1", {}),
    ],
)
def test_the_network_is_never_waited_for_without_a_limit(
    conninfo: str, changed: dict[str, Any]
) -> None:
    """None of these is a setting of the server, which a pooler would pass on."""
    assert PostgresStore(conninfo, timeout=4.5).settings() == {
        "connect_timeout": 4,
        "tcp_user_timeout": 5000,
        "application_name": "vmfa",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "client_encoding": "UTF8",
        "autocommit": True,
        **changed,
    }


def test_retry_backoff_doubles_to_100ms() -> None:
    call = postgres.Call(PostgresStore(""), _postgres_sql.create_script)
    pauses = [call.pause() for _ in range(9)]
    assert pauses == [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.1, 0.1]


def test_after_an_undone_change_a_missing_connection_leaves_nothing_in_doubt() -> None:
    call = postgres.Call(PostgresStore(""), _postgres_sql.create_script)
    call.in_doubt = True
    assert call.failed(ServerError("40001")) is None
    failure = call.failed(NoConnection("gone"))
    assert type(failure) is StoreContended  # why the call was repeated
    assert NOTHING in str(failure)
    assert not call.in_doubt


def test_a_statement_does_not_show_its_values() -> None:
    assert "a reference" not in repr(_postgres_sql.Step(_postgres_sql.LOAD, ("a reference",)))
    with pytest.raises(FrozenInstanceError):
        _postgres_sql.COMMIT.final = False  # type: ignore[misc]  # on purpose


def test_the_printed_schema_is_one_transaction() -> None:
    printed = postgres.schema_sql()
    assert printed.startswith("BEGIN;\nCREATE TABLE IF NOT EXISTS vmfa_schema ")
    assert printed.endswith(";\nCOMMIT;\n")
