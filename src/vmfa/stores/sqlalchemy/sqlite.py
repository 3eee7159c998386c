"""SQLite, over the driver of Python or aiosqlite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection, Table, text
from sqlalchemy.exc import DBAPIError, OperationalError

from ...errors import StoreError
from .databases import Database, Execute, Failure, foreign, no_table, not_durable, other_columns

CODES: Final = {
    1: Failure.CHANGED_TABLES,  # our statements are right: a table or a column is missing
    5: Failure.UNDONE,  # BUSY
    6: Failure.UNDONE,  # LOCKED
    10: Failure.UNCERTAIN,  # IOERR
    11: Failure.CORRUPT,  # CORRUPT
    13: Failure.UNCERTAIN,  # FULL
    26: Failure.CORRUPT,  # NOTADB
}
TABLE: Final = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :table"
OBJECTS: Final = """SELECT type || ' ' || name FROM sqlite_master
    WHERE lower(tbl_name) = lower(:table)
    AND (type = 'trigger' OR (type = 'index' AND upper(sql) LIKE 'CREATE UNIQUE%'))"""
COLUMNS: Final = """SELECT group_concat(name || ' ' || type || ' ' || "notnull" || hidden, ', ')
    FROM pragma_table_xinfo(:table)"""
# Clauses of CREATE TABLE that change what a statement does. SQLAlchemy writes none of them here.
CLAUSES: Final = (
    "COLLATE", "CONFLICT", "GENERATED", "REFERENCES", "UNIQUE", "CHECK", "DEFAULT", "WITHOUT"
)


class SQLite(Database):
    """One file. The store itself waits for others and tries again."""

    begin = "BEGIN IMMEDIATE"  # a deferred transaction could not be upgraded
    closed_before_fork = True

    def session_settings(
        self, execute: Execute, timeout: float | None, *, durable: bool
    ) -> None:
        """Prepare a new connection of the store. SQLite has no limit for a statement."""
        del timeout
        execute("PRAGMA busy_timeout = 0")
        execute("PRAGMA secure_delete = ON")  # removed text is overwritten
        execute("PRAGMA trusted_schema = OFF")
        if durable:
            execute("PRAGMA synchronous = FULL")
            execute("PRAGMA fullfsync = ON")  # where fsync alone does not reach the disk

    def in_transaction(self, connection: Any) -> bool:
        """Return whether a transaction is open on a connection of the driver."""
        return bool(connection.in_transaction)

    def table_faults(self, connection: Connection, table: Table) -> Iterator[StoreError]:
        """Yield what is wrong with *table*."""
        name = {"table": table.name}
        sql = connection.execute(text(TABLE), name).scalar()
        if sql is None:
            yield no_table(table)
            return
        for (what,) in connection.execute(text(OBJECTS), name).all():
            yield foreign(table, f"the {what}")
        for clause in CLAUSES:
            if clause in sql.upper():
                yield foreign(table, f"a clause {clause}")
        stored = connection.execute(text(COLUMNS), name).scalar_one()
        dialect = connection.dialect
        expected = ", ".join(
            f"{column.name} {column.type.compile(dialect)} {int(not column.nullable)}0"
            for column in table.columns
        )
        if stored != expected:
            yield other_columns(table, stored)

    def setting_faults(self, connection: Connection, *, durable: bool) -> Iterator[StoreError]:
        """Yield what is wrong with the settings of *connection*."""
        if not durable:
            return
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
        if synchronous < 2:
            yield not_durable(f"PRAGMA synchronous is {synchronous}", "FULL")
        journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
        if journal in ("memory", "off"):
            yield not_durable(f"PRAGMA journal_mode is {journal}", "WAL")

    def meaning(self, error: DBAPIError) -> tuple[Failure, str]:
        """Return what *error* means, and its name."""
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        name = getattr(error.orig, "sqlite_errorname", type(error).__name__)
        if code == 0 and isinstance(error, OperationalError):  # of Python, not of SQLite
            return Failure.NOT_TEXT, name
        return CODES.get(code, Failure.REFUSED), name
