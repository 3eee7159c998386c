"""SQLite: a verification against the raw statements it cannot do without plus our verification in memory.

Each operation has a database file of its own, in one folder, and is timed by itself. Where the folder is no real disk,
FULL means nothing.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import vmfa
from devices import phone_over
from django_peer import DjangoDevice
from measure import Run, Table, alternated, compared, main
from vmfa.record import columns

TABLE = """CREATE TABLE principal (account TEXT, kind TEXT, name TEXT, revision INTEGER, state TEXT, tag TEXT,
    PRIMARY KEY (account, kind, name))"""
SELECT = "SELECT revision, state, tag FROM principal WHERE account = ? AND kind = ? AND name = ?"
UPDATE = """UPDATE principal SET revision = ?, state = ?, tag = ?
    WHERE account = ? AND kind = ? AND name = ? AND revision = ? AND tag = ?"""
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

    def __init__(self, path: Path, synchronous: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA synchronous = {synchronous}")
        self._db.execute(TABLE)
        row = a_row()
        self._key = row[:3]
        self._db.execute("INSERT INTO principal VALUES (?, ?, ?, ?, ?, ?)", row)

    def run(self) -> None:
        revision, state, tag = self._db.execute(SELECT, self._key).fetchone()
        changed = self._db.execute(UPDATE, (revision + 1, state, tag, *self._key, revision, tag)).rowcount
        assert changed == 1

    def close(self) -> None:
        self._db.close()


def against_raw(run: Run, folder: Path, synchronous: str) -> Table:
    store = vmfa.SQLiteStore(folder / f"vmfa-{synchronous}.db", unsafe_not_durable=synchronous == "NORMAL")
    raw = RawStatements(folder / f"raw-{synchronous}.db", synchronous)
    pragma = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"
    file = folder / "django.db"
    name = f"alice-{synchronous}"
    django = DjangoDevice(
        {"ENGINE": "django.db.backends.sqlite3", "NAME": file, "OPTIONS": {"init_command": pragma}}, name
    )
    django.execute(f"PRAGMA synchronous = {synchronous}")
    in_memory, on_disk = phone_over(vmfa.MemoryStore()), phone_over(store)

    def floor() -> None:
        raw.run()
        in_memory.accept()

    operations = {"floor": floor, "raw statements alone": raw.run, "vmfa": on_disk.accept, "django-otp": django.accept}
    with closing(raw), store, closing(django):
        seen = alternated(operations, rounds=run.rounds(42), operations_a_round=40 if synchronous == "NORMAL" else 15)
    rows = compared(seen, goals=GOALS[synchronous])
    return Table(f"A code is accepted, SQLite file, WAL, synchronous = {synchronous}", rows, [
        "floor: a raw SELECT, a raw compare-and-set UPDATE, and registry.verify over MemoryStore"
    ])


def answer(run: Run) -> Iterator[Table]:
    with tempfile.TemporaryDirectory() as folder:
        for synchronous in ("NORMAL", "FULL"):
            yield against_raw(run, Path(folder), synchronous)


if __name__ == "__main__":
    main(answer, __file__)
