"""SQLite: a verification against the raw statements it cannot do without plus our verification in memory.

Each operation has a database file of its own, in one folder, and is timed by itself, after the first checkpoint: until
then each commit makes the log longer, which costs a real disk twice as much. Where the folder is no real disk, FULL
means nothing.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import vmfa
from devices import EncodingStore, phone_over
from django_peer import DjangoDevice
from measure import Run, Table, alternated, compared, main
from vmfa.record import columns

TABLE = """CREATE TABLE IF NOT EXISTS principal (account TEXT, kind TEXT, name TEXT, revision INTEGER, state TEXT,
    tag TEXT, PRIMARY KEY (account, kind, name))"""
INSERT = "INSERT INTO principal (account, kind, name, revision, state, tag) VALUES (?, ?, ?, ?, ?, ?)"
SELECT = "SELECT revision, state, tag FROM principal WHERE account = ? AND kind = ? AND name = ?"
UPDATE = """UPDATE principal SET revision = ?, state = ?, tag = ?
    WHERE account = ? AND kind = ? AND name = ? AND revision = ? AND tag = ?"""
CHECKPOINT = 1000  # commits: SQLite's default, at one page each
GOALS = {"NORMAL": {"vmfa": (1.4, 1.8)}, "FULL": {"vmfa": (1.15, 1.25)}}


class Keeping(vmfa.MemoryStore):
    """Remembers the row that a SQL store would have written last."""

    volatile = False
    row: tuple[str, str, str, int, str, str]

    def commit(self, before: vmfa.Principal, after: vmfa.Principal, events: Sequence[vmfa.AuditEvent]) -> bool:
        self.row = columns(after)
        return super().commit(before, after, events)


def a_row() -> tuple[str, str, str, int, str, str]:
    store = Keeping()
    phone_over(store).accept()
    return store.row


class RawStatements:
    """One SELECT and one compare-and-set UPDATE of a row like ours, each its own transaction, and nothing else."""

    def __init__(self, path: str | Path, synchronous: str, name: str = "u-4711") -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=60)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA synchronous = {synchronous}")
        self._db.execute(TABLE)
        account, kind, _, *rest = a_row()
        self._key = (account, kind, name)
        self._db.execute(INSERT, (*self._key, *rest))

    def run(self) -> None:
        revision, state, tag = self._db.execute(SELECT, self._key).fetchone()
        changed = self._db.execute(UPDATE, (revision + 1, state, tag, *self._key, revision, tag)).rowcount
        assert changed == 1

    def close(self) -> None:
        self._db.close()


def against_raw(run: Run, folder: Path, synchronous: str) -> Table:
    pragma = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"
    django = DjangoDevice(
        {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "django.db", "OPTIONS": {"init_command": pragma}},
        f"alice-{synchronous}",
    )
    django.execute(f"PRAGMA synchronous = {synchronous}")
    with ExitStack() as opened:
        opened.enter_context(closing(django))
        path = folder / f"vmfa-{synchronous}.db"
        store = opened.enter_context(vmfa.SQLiteStore(path, unsafe_not_durable=synchronous == "NORMAL"))

        def raw(name: str) -> RawStatements:
            return opened.enter_context(closing(RawStatements(folder / f"{name}-{synchronous}.db", synchronous)))

        operations = {
            "floor": both(raw("floor").run, phone_over(vmfa.MemoryStore()).accept),
            "raw statements alone": raw("raw").run,
            "floor, its record encoded and decoded": both(raw("encoded").run, phone_over(EncodingStore()).accept),
            "vmfa": phone_over(store).accept,
            "django-otp": django.accept,
        }
        for operation in operations.values():
            for _ in range(CHECKPOINT + 1):
                operation()
        seen = alternated(operations, rounds=run.rounds(42), operations_a_round=40 if synchronous == "NORMAL" else 15)
    rows = compared(seen, goals=GOALS[synchronous])
    return Table(f"A code is accepted, SQLite file, WAL, synchronous = {synchronous}", rows, [
        "floor: a raw SELECT and a raw compare-and-set UPDATE (sqlite3), and registry.verify over MemoryStore"
    ])


def both(statements: Callable[[], None], verification: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        statements()
        verification()

    return run


def answer(run: Run) -> Iterator[Table]:
    with tempfile.TemporaryDirectory() as folder:
        for synchronous in ("NORMAL", "FULL"):
            yield against_raw(run, Path(folder), synchronous)


if __name__ == "__main__":
    main(answer, __file__)
