"""PostgreSQL, over psycopg."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any, Final

from sqlalchemy import Connection, Table, text
from sqlalchemy.exc import DBAPIError

from ...errors import SchemaUntrusted, StoreError, StoreUnavailable
from .databases import Database, Execute, Failure, foreign, no_table, not_durable, other_columns

EXACT: Final = {
    Failure.UNDONE: {"40001", "40P01"},  # serialization failure, deadlock
    Failure.WAITED: {"55P03", "57014"},  # a lock or statement timeout, a cancellation
    Failure.CORRUPT: {"XX001", "XX002"},
    Failure.NO_TABLES: {"42P01"},
}
LOST: Final = ("08", "57P", "40003")
CHANGED: Final = ("0A000", "22", "23", "42703", "42804", "428C9")
UNCERTAIN: Final = ("58", "XX")
TABLE: Final = """SELECT relkind = 'r' AND relpersistence <> 't' AND NOT relispartition
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits WHERE c.oid IN (inhparent, inhrelid)),
    relpersistence = 'p', relrowsecurity,
    (SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod),
            CASE WHEN attnotnull THEN 'n' ELSE 'null' END,
            CASE WHEN attcollation = CAST('pg_catalog."C"' AS regcollation) THEN 'C' END,
            nullif(CAST(attgenerated AS text), ''), nullif(CAST(attidentity AS text), ''),
            CASE WHEN atthasdef THEN 'default' END), ', ' ORDER BY attnum)
        FROM pg_catalog.pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)
    FROM pg_catalog.pg_class c WHERE c.oid = to_regclass(:table)"""
OBJECTS: Final = """SELECT 'trigger ' || tgname FROM pg_catalog.pg_trigger
        WHERE tgrelid = to_regclass(:table)
    UNION ALL SELECT 'rule ' || rulename FROM pg_catalog.pg_rewrite
        WHERE ev_class = to_regclass(:table)
    UNION ALL SELECT 'policy ' || polname FROM pg_catalog.pg_policy
        WHERE polrelid = to_regclass(:table)
    UNION ALL SELECT 'constraint ' || conname FROM pg_catalog.pg_constraint
        WHERE conrelid = to_regclass(:table) AND contype NOT IN ('p', 'n')
    UNION ALL SELECT 'index ' || CAST(CAST(indexrelid AS regclass) AS text)
        FROM pg_catalog.pg_index
        WHERE indrelid = to_regclass(:table) AND NOT (indisprimary AND indisvalid AND indimmediate)
            AND (indisunique OR indisexclusion OR indexprs IS NOT NULL OR indpred IS NOT NULL
                OR EXISTS (SELECT 1 FROM pg_catalog.pg_opclass o WHERE o.oid = ANY (indclass)
                    AND opcnamespace <> CAST('pg_catalog' AS regnamespace)))
    UNION ALL SELECT 'no primary key over its first columns' WHERE NOT EXISTS (
        SELECT 1 FROM pg_catalog.pg_index WHERE indrelid = to_regclass(:table) AND indisprimary
            AND CAST(indkey AS text) = :key)"""
SETTINGS: Final = """SELECT current_setting('synchronous_commit'), current_setting('fsync'),
    current_setting('transaction_read_only'), current_setting('server_encoding'),
    current_setting('client_encoding'),
    (SELECT CAST(schema AS text) FROM unnest(current_schemas(true)) AS schema
        WHERE schema NOT LIKE 'pg\\_temp%' LIMIT 1)"""
SHORT_TYPES: Final = {"TEXT": "text", "BIGINT": "bigint", "SMALLINT": "smallint"}


class PostgreSQL(Database):
    """PostgreSQL. A change without events is one statement."""

    clock = "SELECT CAST(extract(epoch FROM clock_timestamp()) AS float8)"

    def session_settings(
        self, execute: Execute, timeout: float | None, *, durable: bool
    ) -> None:
        """Prepare a new connection of the store."""
        del durable  # a setting of the role or of the server
        if timeout is not None:
            execute(f"SET statement_timeout = {ceil(1000 * timeout)}")

    def in_transaction(self, connection: Any) -> bool:
        """Return whether a transaction is open on a connection of the driver."""
        return bool(connection.info.transaction_status)

    def table_faults(self, connection: Connection, table: Table) -> Iterator[StoreError]:
        """Yield what is wrong with *table*."""
        name = connection.dialect.identifier_preparer.format_table(table)
        row = connection.execute(text(TABLE), {"table": name}).one_or_none()
        if row is None:
            yield no_table(table)
            return
        plain, logged, row_security, stored = row
        if not plain or row_security:
            yield SchemaUntrusted(
                f"{table.name} is a view, a temporary table, a table with partitions or children,"
                " or has row-level security; vmfa needs a plain table"
            )
            return
        key = " ".join(str(number) for number, _ in enumerate(table.primary_key.columns, 1))
        for (what,) in connection.execute(text(OBJECTS), {"table": name, "key": key}).all():
            yield foreign(table, f"the {what}" if what[:3] != "no " else what)
        if stored != expected_columns(connection, table):
            yield other_columns(table, stored)
        if not logged:
            yield StoreUnavailable(f"{table.name} is unlogged: a crash would empty it")

    def setting_faults(self, connection: Connection, *, durable: bool) -> Iterator[StoreError]:
        """Yield what is wrong with the settings of *connection*."""
        commit, fsync, read_only, encoding, ours, first_schema = connection.execute(
            text(SETTINGS)
        ).one()
        if "off" in (commit, fsync) and durable:
            yield not_durable("synchronous_commit or fsync is off", "on")
        if read_only == "on":
            yield StoreUnavailable(
                "the session is read-only: connect to the primary, not to a replica"
            )
        if encoding != "UTF8" or ours.upper().replace("-", "") != "UTF8":
            yield StoreUnavailable(
                f"the database is encoded in {encoding} and the connection in {ours}: both must"
                " be UTF8"
            )
        if first_schema not in (None, "pg_catalog"):
            yield SchemaUntrusted(
                f"search_path names {first_schema} before pg_catalog, so operators can be"
                " replaced; remove pg_catalog from search_path"
            )

    def meaning(self, error: DBAPIError) -> tuple[Failure, str]:
        """Return what *error* means, and its name."""
        state = getattr(error.orig, "sqlstate", None) or ""
        name = f"SQLSTATE {state}" if state else type(error).__name__
        if not state or state.startswith(LOST):
            return Failure.LOST, name
        for failure, states in EXACT.items():
            if state in states:
                return failure, name
        if state.startswith(CHANGED):
            return Failure.CHANGED_TABLES, name
        return (Failure.UNCERTAIN if state.startswith(UNCERTAIN) else Failure.REFUSED), name


def expected_columns(connection: Connection, table: Table) -> str:
    """Return the columns of *table*, as the database should describe them."""
    columns = []
    for column in table.columns:
        type_, _, collation = column.type.compile(connection.dialect).partition(" ")
        words = [column.name, SHORT_TYPES[type_], "null" if column.nullable else "n"]
        columns.append(" ".join([*words, "C"] if collation else words))
    return ", ".join(columns)
