"""Size: the bytes of a principal with a device in each database, and those of a sign-in."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg

import postgres
import vmfa
from measure import Options, Table, main, text_table
from users import ACCOUNT, START, STEP, User, registry_over
from vmfa.stores.postgres import PostgresStore
from vmfa.testing import FrozenClock

COLUMN_BYTES = """SELECT avg(length(account || kind || name || state || tag || audit_tag) + 8)
    FROM principal"""
TABLE_BYTES = """SELECT pg_total_relation_size('vmfa_principal')
    + pg_total_relation_size('vmfa_event')"""
LOG_POSITION = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"


def enroll(store: vmfa.Store, users: int) -> list[User]:
    """Enroll *users* principals, each with a device and two events."""
    clock = FrozenClock(START)
    registry = registry_over(store, clock)
    return [
        User(registry, clock, vmfa.PrincipalId.user(ACCOUNT, f"u-{number:06}"))
        for number in range(users)
    ]


def sign_in_all(users: list[User]) -> None:
    clock = users[0].clock
    clock.advance(2 * STEP)
    for user in users:
        user.registry.verify(user.principal, user.phone.code())


def sqlite_bytes(path: Path, users: int) -> tuple[float, float]:
    """Return the bytes for each principal: of the columns of its record, and of the file."""
    with vmfa.SQLiteStore(path, unsafe_not_durable=True) as store:
        enroll(store, users)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (columns,) = db.execute(COLUMN_BYTES).fetchone()
    return columns, path.stat().st_size / users


def postgres_bytes(conninfo: str, users: int) -> tuple[float, float, float]:
    """Return bytes of tables and indexes for each principal, and of the log for each sign-in.

    The log is measured directly after a checkpoint, and for the next sign-in.
    """
    with PostgresStore(conninfo, unsafe_not_durable=True) as store, ExitStack() as stack:
        enrolled = enroll(store, users)
        db = stack.enter_context(psycopg.connect(conninfo, autocommit=True))

        def number(query: str) -> int:
            row = db.execute(query).fetchone()
            assert row
            return int(row[0])

        tables = number(TABLE_BYTES) / users
        db.execute("CHECKPOINT")
        start = number(LOG_POSITION)
        sign_in_all(enrolled)
        middle = number(LOG_POSITION)
        sign_in_all(enrolled)
        return tables, (middle - start) / users, (number(LOG_POSITION) - middle) / users


def answer(options: Options) -> Iterator[Table]:
    users = 500 if options.quick else 5_000
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        columns, file = sqlite_bytes(Path(folder) / "size.db", users)
        server = stack.enter_context(postgres.server())
        schema = stack.enter_context(postgres.schema(server, "size"))
        conninfo = postgres.with_settings(server, schema, "off")
        tables, first_log, log = postgres_bytes(conninfo, users)
    yield text_table(
        "Bytes in the databases",
        ("what", "SQLite", "PostgreSQL"),
        [
            ("a principal with a device: columns", f"{columns:.0f} bytes", ""),
            (
                "a principal with a device and two events: storage with indexes",
                kilobytes(file), kilobytes(tables),
            ),
            ("write-ahead log of a sign-in", "", kilobytes(log)),
            ("write-ahead log of the first sign-in after a checkpoint", "", kilobytes(first_log)),
        ],
        f"{users} principals",
        section="size",
    )  # fmt: skip


def kilobytes(size: float) -> str:
    return f"{size / 1000:.2f} kB"


if __name__ == "__main__":
    main(answer, __file__)
