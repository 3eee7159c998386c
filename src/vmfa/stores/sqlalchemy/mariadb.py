"""MariaDB, over PyMySQL or asyncmy."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any, Final

from sqlalchemy import Connection, Table, text
from sqlalchemy.exc import DBAPIError

from ...errors import SchemaUntrusted, StoreError, StoreUnavailable
from .databases import Database, Execute, Failure, foreign, no_table, not_durable, other_columns
from .records import number_of
from .tables import Tables

NUMBERS: Final = {
    Failure.UNDONE: {1020, 1213},  # changed since the snapshot; deadlock
    Failure.WAITED: {1205, 1969},  # for a lock; max_statement_time
    Failure.NO_TABLES: {1146},
    Failure.CHANGED_TABLES: {
        1048, 1054, 1062, 1136, 1264, 1265, 1292, 1364, 1366, 1406, 1442, 1451, 1452, 4025,
    },
    Failure.CORRUPT: {126, 127, 145, 1034, 1035, 1194, 1195, 1712, 1877},
    Failure.LOST: {0, 1053, 1927, *range(2000, 3000)},  # shutdown, killed, of the driver
}
IN_TRANSACTION: Final = 1  # in the status that the server sends with each answer
SMALLEST_PACKET: Final = 1 << 16  # bytes; the largest record and the largest event are smaller
SETTINGS: Final = """SELECT @@innodb_flush_log_at_trx_commit AS flush_log, @@sql_mode AS sql_mode,
    @@tx_isolation AS isolation, @@read_only AS read_only, @@character_set_client AS encoding,
    @@log_bin AS log_bin, @@sync_binlog AS sync_binlog, @@binlog_format AS binlog_format,
    @@max_allowed_packet AS max_packet, @@version AS version"""
CLUSTER: Final = """SHOW SESSION VARIABLES
    WHERE variable_name IN ('wsrep_on', 'wsrep_sync_wait', 'wsrep_dirty_reads')"""
READS: Final = 1  # in wsrep_sync_wait: a SELECT waits for what other nodes committed
TABLE: Final = """SELECT table_type, engine FROM information_schema.tables
    WHERE table_schema = coalesce(:schema, database()) AND table_name = :table"""
COLUMNS: Final = """SELECT group_concat(concat_ws(' ', column_name, column_type, is_nullable,
        nullif(extra, ''), nullif(generation_expression, '')) ORDER BY ordinal_position
        SEPARATOR ', ')
    FROM information_schema.columns
    WHERE table_schema = coalesce(:schema, database()) AND table_name = :table"""
OBJECTS: Final = """SELECT concat('trigger ', trigger_name) FROM information_schema.triggers
        WHERE event_object_schema = coalesce(:schema, database())
        AND event_object_table = :table
    UNION ALL SELECT concat(lower(constraint_type), ' constraint ', constraint_name)
        FROM information_schema.table_constraints
        WHERE table_schema = coalesce(:schema, database()) AND table_name = :table
        AND constraint_type <> 'PRIMARY KEY'"""
PRIMARY_KEY: Final = """SELECT group_concat(column_name, ' ', coalesce(sub_part, '')
        ORDER BY seq_in_index SEPARATOR ', ')
    FROM information_schema.statistics WHERE table_schema = coalesce(:schema, database())
    AND table_name = :table AND index_name = 'PRIMARY'"""
INTEGERS: Final = {"BIGINT": "bigint(20)", "SMALLINT": "smallint(6)"}


class MariaDB(Database):
    """MariaDB. It has no ``UPDATE ... RETURNING``: every change is a transaction."""

    clock = "SELECT unix_timestamp(now(6))"
    # A cluster may have accepted a commit that it then reports as interrupted.
    certain = frozenset({Failure.UNDONE})

    def session_settings(
        self, execute: Execute, timeout: float | None, *, durable: bool
    ) -> None:
        """Prepare a new connection of the store."""
        del durable  # a setting of the server
        # Without gap locks, which the changes of neighboring principals would wait for.
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
                execute("SET SESSION wsrep_sync_wait = 1, wsrep_dirty_reads = OFF")

    def in_transaction(self, connection: Any) -> bool:
        """Return whether a transaction is open on a connection of PyMySQL or asyncmy."""
        return bool(getattr(connection, "server_status", 0) & IN_TRANSACTION)

    def faults(
        self, connection: Connection, tables: Tables, *, durable: bool
    ) -> Iterator[StoreError]:
        """Yield what is wrong with the tables and with the settings of *connection*."""
        cluster: dict[str, str] = dict(
            tuple(row) for row in connection.execute(text(CLUSTER)).all()
        )
        if cluster.get("wsrep_on") == "ON":
            waits, dirty = cluster["wsrep_sync_wait"], cluster["wsrep_dirty_reads"]
            if not int(waits) & READS or dirty != "OFF":
                yield StoreUnavailable(
                    f"wsrep_sync_wait is {waits} and wsrep_dirty_reads is {dirty} on this"
                    " connection: a node of the cluster would answer from the past. The store sets"
                    " 1 and OFF on its own connections, and a proxy that shares connections"
                    " between clients loses that"
                )
        yield from super().faults(connection, tables, durable=durable)

    def table_faults(self, connection: Connection, table: Table) -> Iterator[StoreError]:
        """Yield what is wrong with *table*."""
        named = {"schema": table.schema, "table": table.name}
        row = connection.execute(text(TABLE), named).one_or_none()
        if row is None:
            yield no_table(table)
            return
        type_, engine = row
        if type_ != "BASE TABLE" or engine != "InnoDB":
            yield SchemaUntrusted(
                f"{table.name} is a {type_} with the engine {engine}; vmfa needs a table of InnoDB"
            )
        for (what,) in connection.execute(text(OBJECTS), named).all():
            yield foreign(table, f"the {what}")
        stored = connection.execute(text(COLUMNS), named).scalar()
        key = connection.execute(text(PRIMARY_KEY), named).scalar()
        if (stored, key) != (expected_columns(connection, table), expected_key(table)):
            yield other_columns(table, f"{stored}; primary key {key}")

    def setting_faults(self, connection: Connection, *, durable: bool) -> Iterator[StoreError]:
        """Yield what is wrong with the settings of *connection*."""
        row = connection.execute(text(SETTINGS)).one()
        if durable and row.flush_log != 1:
            yield not_durable(f"innodb_flush_log_at_trx_commit is {row.flush_log}", "1")
        if durable and row.log_bin and row.sync_binlog != 1:
            # InnoDB relies on the binary log then, and rolls back what it does not find there.
            yield not_durable(f"log_bin is on and sync_binlog is {row.sync_binlog}", "1")
        for is_wrong, problem in _problems(row):
            if is_wrong:
                yield StoreUnavailable(problem)

    def meaning(self, error: DBAPIError) -> tuple[Failure, str]:
        """Return what *error* means, and its name."""
        number = number_of(error)
        name = f"error {number}" if number else type(error).__name__
        for failure, numbers in NUMBERS.items():
            if number in numbers:
                return failure, name
        return Failure.REFUSED, name


def _problems(row: Any) -> Iterator[tuple[bool, str]]:
    """Yield what could be wrong with the settings in *row*, and whether it is."""
    yield "MariaDB" not in row.version, f"vmfa is not tested with this server, {row.version}"
    yield "STRICT_" not in row.sql_mode, (
        "sql_mode is not strict: the server may store changed values; add STRICT_ALL_TABLES to it"
    )
    yield row.isolation == "READ-UNCOMMITTED", (
        "the isolation level is READ UNCOMMITTED, which reads records that are never committed:"
        " use READ COMMITTED"
    )
    yield bool(row.read_only), "the server is read-only: connect to the primary, not to a replica"
    yield not row.encoding.startswith("utf8"), (
        f"the connection is encoded in {row.encoding}: add charset=utf8mb4 to the URL"
    )
    yield bool(row.log_bin) and row.binlog_format == "STATEMENT", (
        "binlog_format is STATEMENT, with which InnoDB refuses READ COMMITTED: use MIXED or ROW"
    )
    yield row.max_packet < SMALLEST_PACKET, (
        f"max_allowed_packet is {row.max_packet}, too small for a record: use at least"
        f" {SMALLEST_PACKET}"
    )


def expected_columns(connection: Connection, table: Table) -> str:
    """Return the columns of *table*, as the database should describe them."""
    columns = []
    for column in table.columns:
        type_ = column.type.compile(connection.dialect)
        described = INTEGERS.get(type_, type_.lower())
        columns.append(f"{column.name} {described} {'YES' if column.nullable else 'NO'}")
    return ", ".join(columns)


def expected_key(table: Table) -> str:
    """Return the columns of the primary key of *table*, each as a whole."""
    return ", ".join(f"{column.name} " for column in table.primary_key.columns)
