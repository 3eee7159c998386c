"""What can be wrong with the database of a project: settings and objects that undo commits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from ...errors import SchemaUntrusted, StoreError, StoreUnavailable
from .store import EVENTS, RECORDS

if TYPE_CHECKING:
    from .store import _Call

TABLES: Final = (RECORDS, EVENTS)
NOT_DURABLE: Final = (
    "{}: a crash may take back stored changes, and so make used codes valid again; "
    "set it to {}"
)
SQLITE_TRIGGERS: Final = (
    "SELECT name FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) IN (%s, %s)"
)
POSTGRES_TRIGGERS: Final = """SELECT tgname::text FROM pg_catalog.pg_trigger
    WHERE tgrelid IN (to_regclass(%s), to_regclass(%s)) AND NOT tgisinternal
    UNION ALL SELECT rulename::text FROM pg_catalog.pg_rewrite
    WHERE ev_class IN (to_regclass(%s), to_regclass(%s))"""
MYSQL_TRIGGERS: Final = (
    "SELECT trigger_name FROM information_schema.triggers"
    " WHERE event_object_schema = database() AND event_object_table IN (%s, %s)"
)
MYSQL_ENGINES: Final = (
    "SELECT table_name, engine FROM information_schema.tables"
    " WHERE table_schema = database() AND table_name IN (%s, %s) AND engine <> 'InnoDB'"
)


def faults_of(call: _Call) -> Iterator[StoreError]:
    """Return what is wrong with the tables and the settings of the database of *call*."""
    return iter([*missing_tables(call), *_ENGINE_FAULTS[call.connection.vendor](call)])


def missing_tables(call: _Call) -> Iterator[StoreError]:
    """Yield an error for each table that does not exist."""
    with call.connection.cursor() as cursor:
        names = set(call.connection.introspection.table_names(cursor))
    for table in TABLES:
        if table not in names:
            yield SchemaUntrusted(f"the table {table} is missing: run manage.py migrate")


def _triggers(names: list[str]) -> Iterator[StoreError]:
    for name in names:
        yield SchemaUntrusted(f"the tables have a trigger or rule that is not ours: {name!r}")


def _sqlite_faults(call: _Call) -> Iterator[StoreError]:
    yield from _triggers([row[0] for row in call.rows(SQLITE_TRIGGERS, TABLES)])
    ((synchronous,),) = call.rows("PRAGMA synchronous")
    if synchronous < 2:
        yield StoreUnavailable(NOT_DURABLE.format(f"PRAGMA synchronous is {synchronous}", "FULL"))


def _postgres_faults(call: _Call) -> Iterator[StoreError]:
    yield from _triggers([row[0] for row in call.rows(POSTGRES_TRIGGERS, TABLES * 2)])
    for name in ("synchronous_commit", "fsync"):
        ((value,),) = call.rows(f"SHOW {name}")
        if value == "off":
            yield StoreUnavailable(NOT_DURABLE.format(f"{name} is off", "on"))


def _mysql_faults(call: _Call) -> Iterator[StoreError]:
    yield from _triggers([row[0] for row in call.rows(MYSQL_TRIGGERS, TABLES)])
    for table, engine in call.rows(MYSQL_ENGINES, TABLES):
        yield SchemaUntrusted(f"the table {table} uses {engine}, which has no transactions")
    ((flush, mode),) = call.rows("SELECT @@innodb_flush_log_at_trx_commit, @@sql_mode")
    if flush != 1:
        name = f"innodb_flush_log_at_trx_commit is {flush}"
        yield StoreUnavailable(NOT_DURABLE.format(name, "1"))
    if "STRICT_" not in mode:
        yield StoreUnavailable(
            "sql_mode is not strict: the server may store changed values; "
            "add STRICT_TRANS_TABLES to it"
        )


_ENGINE_FAULTS: Final[dict[str, Callable[[_Call], Iterator[StoreError]]]] = {
    "sqlite": _sqlite_faults, "postgresql": _postgres_faults, "mysql": _mysql_faults,
}
