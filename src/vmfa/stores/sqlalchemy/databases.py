"""What differs between databases: the settings of a session, what is unsafe, and the errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from math import ceil
from typing import Any, ClassVar, Final

from sqlalchemy import Connection, text
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError

from ...errors import InvalidValue, SchemaUntrusted, StoreError, StoreUnavailable
from .records import number_of
from .tables import MYSQL, Tables

Execute = Callable[[str], list[Any]]  # a statement, on a connection of the driver


class Failure(Enum):
    """What an error of a driver means."""

    UNDONE = auto()  # because of other callers; try again
    WAITED = auto()  # too long
    LOST = auto()  # the connection; what was sent may have been done
    NO_TABLES = auto()
    CHANGED_TABLES = auto()
    CORRUPT = auto()
    REFUSED = auto()
    UNCERTAIN = auto()  # refused, but a commit may have been done


class Database:
    """One kind of database.

    :cvar begin: the statement that begins a transaction.
    :cvar certain: failures of the statement that commits which mean that nothing was stored.
    """

    begin: ClassVar[str] = "BEGIN"
    certain: ClassVar[frozenset[Failure]] = frozenset({Failure.UNDONE})

    def session_settings(
        self, execute: Execute, timeout: float | None, *, durable: bool
    ) -> None:
        """Prepare a new connection of the store, which commits each statement by itself."""

    def in_transaction(self, connection: Any) -> bool:
        """Return whether a transaction is open on a connection of the driver."""
        raise NotImplementedError

    def faults(
        self, connection: Connection, tables: Tables, *, durable: bool
    ) -> Iterator[StoreError]:
        """Yield what is wrong with the settings of *connection* and with the tables."""
        raise NotImplementedError

    def meaning(self, error: DBAPIError) -> tuple[Failure, str]:
        """Return what *error* means, and its name, which quotes nothing that is stored."""
        raise NotImplementedError


def database_of(dialect: Dialect) -> Database:
    """Return what is special to the database of *dialect*.

    :raises InvalidValue: the store does not support it.
    """
    if dialect.name in MYSQL:
        return MariaDB()
    if dialect.name == "postgresql":
        return PostgreSQL()
    if dialect.name == "sqlite":
        return SQLite()
    raise InvalidValue(
        f"SQLAlchemyStore does not support {dialect.name}: use PostgreSQL, MariaDB or SQLite"
    )


def _not_durable(setting: str, wanted: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"{setting}: a crash may take back stored changes, and so make used codes valid again;"
        f" set it to {wanted}"
    )


def _no_table(name: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"the table {name} is missing: call create_schema(), or run your migrations"
    )


def _foreign(what: str) -> SchemaUntrusted:
    return SchemaUntrusted(f"the tables have {what}, which vmfa did not create; remove it")


class SQLite(Database):
    """SQLite, over the driver of Python or aiosqlite."""

    begin = "BEGIN IMMEDIATE"  # a deferred transaction could not be upgraded
    certain = frozenset(Failure) - {Failure.UNCERTAIN, Failure.LOST}
    CONTENDED: Final = frozenset({5, 6})  # BUSY, LOCKED
    CORRUPT: Final = frozenset({11, 26})  # CORRUPT, NOTADB
    UNCERTAIN: Final = frozenset({10, 13})  # IOERR, FULL

    def session_settings(
        self, execute: Execute, timeout: float | None, *, durable: bool
    ) -> None:
        """Prepare a new connection of the store."""
        execute("PRAGMA busy_timeout = 0")  # the store itself tries again
        execute("PRAGMA secure_delete = ON")  # removed text is overwritten
        execute("PRAGMA trusted_schema = OFF")
        if durable:
            execute("PRAGMA synchronous = FULL")
            execute("PRAGMA fullfsync = ON")  # where fsync alone does not reach the disk

    def in_transaction(self, connection: Any) -> bool:
        """Return whether a transaction is open on a connection of the driver."""
        return bool(connection.in_transaction)

    def faults(
        self, connection: Connection, tables: Tables, *, durable: bool
    ) -> Iterator[StoreError]:
        """Yield what is wrong with the settings of *connection* and with the tables."""
        names = {"principal": tables.principal.name, "event": tables.event.name}
        objects = connection.execute(
            text(
                "SELECT type, name, sql FROM sqlite_master"
                " WHERE lower(tbl_name) IN (lower(:principal), lower(:event))"
            ),
            names,
        ).all()
        for name in names.values():
            if ("table", name) not in {(row.type, row.name) for row in objects}:
                yield _no_table(name)
        for type_, name, sql in objects:
            if type_ == "trigger":
                yield _foreign(f"the trigger {name!r}")
            elif type_ == "table" and "COLLATE" in sql.upper():
                yield _foreign(f"a collation in the table {name!r}")
        if not durable:
            return
        ((synchronous,),) = connection.exec_driver_sql("PRAGMA synchronous").all()
        if synchronous < 2:
            yield _not_durable(f"PRAGMA synchronous is {synchronous}", "FULL")
        ((journal,),) = connection.exec_driver_sql("PRAGMA journal_mode").all()
        if journal in ("memory", "off"):
            yield _not_durable(f"PRAGMA journal_mode is {journal}", "WAL")

    def meaning(self, error: DBAPIError) -> tuple[Failure, str]:
        """Return what *error* means, and its name."""
        code = getattr(error.orig, "sqlite_errorcode", 0) or 0
        name = getattr(error.orig, "sqlite_errorname", "") or type(error).__name__
        primary = code & 0xFF
        if primary in self.CONTENDED:
            return Failure.UNDONE, name
        if primary in self.CORRUPT:
            return Failure.CORRUPT, name
        if primary in self.UNCERTAIN:
            return Failure.UNCERTAIN, name
        if primary == 1:  # our statements are right: a table or a column is missing
            return Failure.CHANGED_TABLES, name
        return Failure.REFUSED, name


class PostgreSQL(Database):
    """PostgreSQL, over psycopg, asyncpg or another driver."""

    certain = frozenset(Failure) - {Failure.UNCERTAIN, Failure.LOST}
    UNDONE: Final = frozenset({"40001", "40P01"})  # serialization failure, deadlock
    WAITED: Final = frozenset({"55P03", "57014"})  # a lock or statement timeout, a cancellation
    CORRUPT: Final = frozenset({"XX001", "XX002"})
    LOST: Final = ("08", "57P", "40003")
    CHANGED: Final = ("0A000", "22", "23", "42703", "42804", "428C9")
    OBJECTS: Final = """SELECT 'the trigger ' || tgname AS what FROM pg_catalog.pg_trigger
        WHERE tgrelid IN (to_regclass(:principal), to_regclass(:event))
        UNION ALL SELECT 'the rule ' || rulename FROM pg_catalog.pg_rewrite
        WHERE ev_class IN (to_regclass(:principal), to_regclass(:event))
        UNION ALL SELECT 'row-level security on ' || relname FROM pg_catalog.pg_class
        WHERE oid IN (to_regclass(:principal), to_regclass(:event)) AND relrowsecurity"""
    SETTINGS: Final = """SELECT current_setting('synchronous_commit'), current_setting('fsync'),
        current_setting('transaction_read_only'), current_setting('server_encoding'),
        current_setting('client_encoding'),
        to_regclass(:principal) IS NULL, to_regclass(:event) IS NULL"""

    def session_settings(
        self, execute: Execute, timeout: float | None, *, durable: bool
    ) -> None:
        """Prepare a new connection of the store."""
        if timeout is not None:
            execute(f"SET statement_timeout = {ceil(1000 * timeout)}")

    def in_transaction(self, connection: Any) -> bool:
        """Return whether a transaction is open on a connection of the driver."""
        info = getattr(connection, "info", None)
        return bool(info is not None and info.transaction_status)

    def faults(
        self, connection: Connection, tables: Tables, *, durable: bool
    ) -> Iterator[StoreError]:
        """Yield what is wrong with the settings of *connection* and with the tables."""
        preparer = connection.dialect.identifier_preparer
        names = {
            "principal": preparer.format_table(tables.principal),
            "event": preparer.format_table(tables.event),
        }
        commit, fsync, read_only, encoding, ours, *missing = connection.execute(
            text(self.SETTINGS), names
        ).one()
        for name, is_missing in zip(names.values(), missing, strict=True):
            if is_missing:
                yield _no_table(name)
        for (what,) in connection.execute(text(self.OBJECTS), names):
            yield _foreign(what)
        if "off" in (commit, fsync) and durable:
            yield _not_durable("synchronous_commit or fsync is off", "on")
        if read_only == "on":
            yield StoreUnavailable(
                "the session is read-only: connect to the primary, not to a replica"
            )
        if encoding != "UTF8" or ours not in ("UTF8", "utf-8"):
            yield StoreUnavailable(
                f"the database is encoded in {encoding} and the connection in {ours}: both must"
                " be UTF8"
            )

    def meaning(self, error: DBAPIError) -> tuple[Failure, str]:
        """Return what *error* means, and its name."""
        state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
        if state is None or state.startswith(self.LOST):
            return Failure.LOST, state or type(error).__name__
        name = f"SQLSTATE {state}"
        if state in self.UNDONE:
            return Failure.UNDONE, name
        if state in self.WAITED:
            return Failure.WAITED, name
        if state in self.CORRUPT:
            return Failure.CORRUPT, name
        if state == "42P01":
            return Failure.NO_TABLES, name
        if state.startswith(self.CHANGED):
            return Failure.CHANGED_TABLES, name
        return (Failure.UNCERTAIN if state.startswith(("58", "XX")) else Failure.REFUSED), name


class MariaDB(Database):
    """MariaDB, over PyMySQL, asyncmy or mysqlclient."""

    UNDONE: Final = frozenset({1020, 1213})  # changed since the snapshot; deadlock
    WAITED: Final = frozenset({1205, 1969, 3024})  # lock wait, statement time
    NO_TABLES: Final = frozenset({1146})
    CHANGED: Final = frozenset({
        1048, 1054, 1062, 1136, 1264, 1265, 1292, 1364, 1366, 1406, 1442, 3819, 4025,
    })
    CORRUPT: Final = frozenset({126, 127, 145, 1034, 1035, 1194, 1195, 1712, 1877})
    LOST: Final = frozenset({0, 1053, 1077, 1078, 1079, 1152, 1158, 1159, 1160, 1161, 1927})
    CERTAIN: Final = frozenset({1153, 1290, 1792, 1836, 1142, 1143, 1044, 1045, 1049})
    SETTINGS: Final = (
        "SELECT @@innodb_flush_log_at_trx_commit, @@sql_mode, @@tx_isolation, @@read_only,"
        " @@character_set_client, @@log_bin, @@sync_binlog, @@version"
    )
    TABLES: Final = (
        "SELECT table_name, engine FROM information_schema.tables"
        " WHERE table_schema = coalesce(:schema, database())"
        " AND table_name IN (:principal, :event)"
    )
    TRIGGERS: Final = (
        "SELECT trigger_name FROM information_schema.triggers"
        " WHERE event_object_schema = coalesce(:schema, database())"
        " AND event_object_table IN (:principal, :event)"
    )

    def session_settings(
        self, execute: Execute, timeout: float | None, *, durable: bool
    ) -> None:
        """Prepare a new connection of the store."""
        # Without gap locks, which neighboring principals would wait for.
        execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        execute("SET SESSION sql_mode = CONCAT_WS(',', @@sql_mode, 'STRICT_ALL_TABLES')")
        if timeout is not None:
            seconds = max(1, ceil(timeout))
            execute(
                f"SET SESSION innodb_lock_wait_timeout = {seconds},"
                f" lock_wait_timeout = {seconds}, max_statement_time = {timeout}"
            )
        for _, value in execute("SHOW VARIABLES LIKE 'wsrep_on'"):
            if value == "ON":  # a node of a cluster waits for what the others committed
                execute("SET SESSION wsrep_sync_wait = 1")

    def in_transaction(self, connection: Any) -> bool:
        """Return whether a transaction is open on a connection of the driver."""
        return False

    def faults(
        self, connection: Connection, tables: Tables, *, durable: bool
    ) -> Iterator[StoreError]:
        """Yield what is wrong with the settings of *connection* and with the tables."""
        flush, mode, isolation, read_only, charset, binlog, sync_binlog, version = (
            connection.execute(text(self.SETTINGS)).one()
        )
        if "MariaDB" not in version:
            yield StoreUnavailable(
                f"the server is not MariaDB ({version}): the store is not tested with it"
            )
        names = {
            "schema": tables.principal.schema,
            "principal": tables.principal.name, "event": tables.event.name,
        }
        engines = dict(
            tuple(row) for row in connection.execute(text(self.TABLES), names)  # type: ignore[misc]
        )
        for table in (tables.principal.name, tables.event.name):
            if table not in engines:
                yield _no_table(table)
            elif engines[table] != "InnoDB":
                yield SchemaUntrusted(
                    f"the table {table} uses {engines[table]}, which has no transactions"
                )
        for (name,) in connection.execute(text(self.TRIGGERS), names):
            yield _foreign(f"the trigger {name!r}")
        if flush != 1 and durable:
            yield _not_durable(f"innodb_flush_log_at_trx_commit is {flush}", "1")
        if binlog and sync_binlog != 1 and durable:
            yield _not_durable(f"log_bin is on and sync_binlog is {sync_binlog}", "1")
        if "STRICT_" not in mode:
            yield StoreUnavailable(
                "sql_mode is not strict: the server may store changed values;"
                " add STRICT_ALL_TABLES to it"
            )
        if isolation == "READ-UNCOMMITTED":
            yield StoreUnavailable(
                "the isolation level is READ UNCOMMITTED: a record that is never committed could"
                " be read; use READ COMMITTED"
            )
        if read_only not in (0, "OFF"):
            yield StoreUnavailable(
                "the server is read-only: connect to the primary, not to a replica"
            )
        if charset not in ("utf8mb4", "utf8mb3", "utf8"):
            yield StoreUnavailable(
                f"the connection is encoded in {charset}: add charset=utf8mb4 to the URL"
            )

    def meaning(self, error: DBAPIError) -> tuple[Failure, str]:
        """Return what *error* means, and its name."""
        number = number_of(error)
        name = f"error {number}"
        if number in self.LOST or 2000 <= number < 3000:
            return Failure.LOST, name if number else type(error).__name__
        if number in self.UNDONE:
            return Failure.UNDONE, name
        if number in self.WAITED:
            return Failure.WAITED, name
        if number in self.NO_TABLES:
            return Failure.NO_TABLES, name
        if number in self.CHANGED:
            return Failure.CHANGED_TABLES, name
        if number in self.CORRUPT:
            return Failure.CORRUPT, name
        return (Failure.REFUSED if number in self.CERTAIN else Failure.UNCERTAIN), name
