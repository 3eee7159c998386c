"""Import: devices of another system, compared with raw INSERTs in the same batches.

A device is adopted by one commit, so the floor inserts one row of each table for each commit. The
rows have the size of ours. The limits are for commits that wait for the disk, as every import
does. Without waiting, the ratio shows what reading, encrypting and authenticating a device costs.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg

import postgres
import sqlite
import vmfa
from measure import FLOOR, Limits, Options, RatioTable, Series, Table, main, ratio_rows
from users import ACCOUNT, MASTER_KEY, START, EncodingStore
from vmfa.importers import otpauth
from vmfa.importers.base import Principals, Status, adopt_all
from vmfa.keys import base32
from vmfa.keysources.sealed import SealedKeys
from vmfa.stores.postgres import PostgresStore
from vmfa.testing import FrozenClock

BATCH = 500  # devices of one source
LIMITS = Limits(3, 6)
EVENT_TABLE = """CREATE TABLE raw_event (account TEXT, kind TEXT, name TEXT, number {integer},
    document TEXT, salt TEXT, content_digest TEXT, digest TEXT, redactable {integer},
    audit_tag TEXT, PRIMARY KEY (account, kind, name, number))"""
Insert = Callable[[Sequence[Any], Sequence[Any]], None]


def source(first: int) -> str:
    """Return the key URIs of a batch."""
    return "".join(
        f"u-{number}\totpauth://totp/alice?secret={base32(vmfa.Key(number.to_bytes(20)))}\n"
        for number in range(first, first + BATCH)
    )


def adopt(store: vmfa.Store, first: int) -> None:
    """Import a batch, from its text to the last commit."""
    registry = vmfa.DeviceRegistry(
        store, keys=vmfa.DerivedKeys(MASTER_KEY), imported_keys=SealedKeys(MASTER_KEY),
        issuer="Example", clock=FrozenClock(START),
    )  # fmt: skip
    outcomes = adopt_all(
        registry, otpauth.read(source(first)), by=vmfa.Actor.trusted_service("benchmark"),
        principals=Principals(account=ACCOUNT),
    )  # fmt: skip
    assert all(outcome.status is Status.ADOPTED for outcome in outcomes)


def example_rows() -> tuple[Sequence[Any], Sequence[Any]]:
    """Return the columns of a principal and of an event after the names, as an import has them."""
    store = EncodingStore()
    adopt(store, 0)
    ((principal, row), *_) = store.rows.items()
    return row[3:], store.events[principal][0].columns()


def insert_batch(insert: Insert, rows: tuple[Sequence[Any], Sequence[Any]], first: int) -> None:
    for number in range(first, first + BATCH):
        names = (ACCOUNT, "user", f"u-{number}")
        insert((*names, *rows[0]), (*names, *rows[1]))


def sqlite_insert(path: Path, synchronous: str, stack: ExitStack) -> Insert:
    db = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute(sqlite.TABLE)
    db.execute(EVENT_TABLE.format(integer="INTEGER"))

    def insert(principal: Sequence[Any], event: Sequence[Any]) -> None:
        db.execute("BEGIN IMMEDIATE")
        db.execute(sqlite.INSERT, principal)
        db.execute("INSERT INTO raw_event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", event)
        db.execute("COMMIT")

    return insert


def postgres_insert(conninfo: str, stack: ExitStack) -> Insert:
    db = stack.enter_context(psycopg.connect(conninfo, autocommit=True))
    db.execute(EVENT_TABLE.format(integer="BIGINT"))

    def insert(principal: Sequence[Any], event: Sequence[Any]) -> None:
        with db.transaction():
            db.execute(postgres.INSERT, principal)
            db.execute(f"INSERT INTO raw_event VALUES ({', '.join(['%s'] * 10)})", event)

    return insert


def compare(
    options: Options, database: str, store: vmfa.Store, insert: Insert, *, durable: bool
) -> Table:
    """Import and insert batch after batch, alternately."""
    full, quick = (20, 2) if durable else (200, 8)
    batches, rows = quick if options.quick else full, example_rows()
    cases: dict[str, Callable[[int], None]] = {
        FLOOR: lambda first: insert_batch(insert, rows, first),
        database: lambda first: adopt(store, first),
    }
    series: Series = {case: [] for case in cases}
    for number in range(batches):
        for case, run in cases.items():
            start = time.perf_counter()
            run(number * BATCH)
            series[case].append((time.perf_counter() - start) / BATCH)
    how = "commits wait for the disk" if durable else "commits do not wait"
    return RatioTable(
        title=f"Import of {batches * BATCH:,} devices, {database}, {how}",
        section="scale",
        question=f"Import of devices, {how}",
        floor="raw INSERTs of the same rows in the same commits",
        rows=ratio_rows(series, limits={database: LIMITS} if durable else {}),
    )


def tables(options: Options) -> Iterator[Table]:
    for durable, synchronous in ((True, "FULL"), (False, "NORMAL")):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            file = vmfa.SQLiteStore(folder / "vmfa.db", unsafe_not_durable=not durable)
            stack.enter_context(file)
            insert = sqlite_insert(folder / "raw.db", synchronous, stack)
            yield compare(options, "SQLite", file, insert, durable=durable)
    with ExitStack() as stack:
        server = stack.enter_context(postgres.server())
        for durable, synchronous in ((True, "on"), (False, "off")):
            name = stack.enter_context(postgres.schema(server, f"migration_{synchronous}"))
            conninfo = postgres.with_settings(server, name, synchronous)
            server_store = stack.enter_context(
                PostgresStore(conninfo, unsafe_not_durable=not durable)
            )
            insert = postgres_insert(conninfo, stack)
            yield compare(options, "PostgreSQL", server_store, insert, durable=durable)


if __name__ == "__main__":
    main(tables, __file__)
