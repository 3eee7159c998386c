"""SQLite: a verification, over the raw statements it needs plus a verification in memory.

Each case has its own database file in one folder. It is timed after the first checkpoint: until
then each commit makes the log longer, which takes twice as long on a real disk. If the folder is
not on a real disk, the figures of FULL mean nothing.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import vmfa
from django_peer import DjangoDevice
from measure import FLOOR, Limits, Options, RatioTable, Table, main, ratio_rows, time_operations
from users import EncodingStore, StoredRow, user_over
from vmfa.record import columns

TABLE = """CREATE TABLE IF NOT EXISTS principal (account TEXT, kind TEXT, name TEXT,
    revision INTEGER, state TEXT, tag TEXT, audit_tag TEXT, PRIMARY KEY (account, kind, name))"""
INSERT = """INSERT INTO principal (account, kind, name, revision, state, tag, audit_tag)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""
SELECT = """SELECT revision, state, tag, audit_tag FROM principal
    WHERE account = ? AND kind = ? AND name = ?"""
UPDATE = """UPDATE principal SET revision = ?, state = ?, tag = ?, audit_tag = ?
    WHERE account = ? AND kind = ? AND name = ? AND revision = ? AND tag = ?"""
CHECKPOINT = 1000  # commits: SQLite's default, at one page each
LIMITS = {"NORMAL": Limits(1.6, 2.0), "FULL": Limits(1.2, 1.35)}
RAW_AND_MEMORY = "raw statements and a verification in memory"


class RowKeepingStore(vmfa.MemoryStore):
    """A store in memory that also keeps the last row that a SQL store would have written."""

    volatile = False
    row: StoredRow

    def commit(
        self, before: vmfa.Principal, after: vmfa.Principal, events: Sequence[vmfa.AuditEvent]
    ) -> bool:
        self.row = columns(after)
        return super().commit(before, after, events)


def example_row() -> StoredRow:
    store = RowKeepingStore()
    user_over(store).sign_in()
    return store.row


class RawStatements:
    """One SELECT and one compare-and-set UPDATE of a row like ours, each its own transaction."""

    def __init__(self, path: str | Path, synchronous: str, name: str = "u-4711") -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=60)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA synchronous = {synchronous}")
        self._db.execute(TABLE)
        account, kind, _, *rest = example_row()
        self._key = (account, kind, name)
        self._db.execute(INSERT, (*self._key, *rest))

    def run(self) -> None:
        revision, *row = self._db.execute(SELECT, self._key).fetchone()
        values = (revision + 1, *row, *self._key, revision, row[1])
        assert self._db.execute(UPDATE, values).rowcount == 1

    def close(self) -> None:
        self._db.close()


def verification(options: Options, folder: Path, synchronous: str) -> Table:
    database = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": folder / "django.db",
        "OPTIONS": {"init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"},
    }
    django = DjangoDevice(database, f"alice-{synchronous}")
    django.execute(f"PRAGMA synchronous = {synchronous}")
    with ExitStack() as stack:
        stack.enter_context(closing(django))
        path = folder / f"vmfa-{synchronous}.db"
        not_durable = synchronous == "NORMAL"
        store = stack.enter_context(vmfa.SQLiteStore(path, unsafe_not_durable=not_durable))

        def raw(name: str) -> Callable[[], None]:
            statements = RawStatements(folder / f"{name}-{synchronous}.db", synchronous)
            return stack.enter_context(closing(statements)).run

        operations = {
            FLOOR: both(raw("floor"), user_over(vmfa.MemoryStore()).sign_in),
            "raw statements": raw("raw"),
            "floor, record encoded": both(raw("encoded"), user_over(EncodingStore()).sign_in),
            "vmfa": user_over(store).sign_in,
            "django-otp": django.sign_in,
        }
        for operation in operations.values():
            for _ in range(CHECKPOINT + 1):
                operation()
        series = time_operations(
            operations,
            rounds=options.rounds(42),
            operations_per_round=40 if not_durable else 15,
        )
    return RatioTable(
        title=f"A code is accepted, SQLite file, WAL, synchronous = {synchronous}",
        section="verification",
        question=f"SQLite, `synchronous = {synchronous}`",
        floor=RAW_AND_MEMORY,
        rows=ratio_rows(series, limits={"vmfa": LIMITS[synchronous]}),
    )


def both(statements: Callable[[], None], verification: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        statements()
        verification()

    return run


def answer(options: Options) -> Iterator[Table]:
    with tempfile.TemporaryDirectory() as folder:
        for synchronous in ("NORMAL", "FULL"):
            yield verification(options, Path(folder), synchronous)


if __name__ == "__main__":
    main(answer, __file__)
