"""The database as another program sees it, without waiting for the disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any


def run(path: Path, statement: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        return db.execute(statement, values).fetchall()


def rows(path: Path) -> list[Any]:
    """All that is stored, byte for byte."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.text_factory = bytes
        return [
            db.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4").fetchall()
            for table in ("principal", "event")
        ]


@contextmanager
def writable_schema(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that may edit the schema table; the file then has a new schema version."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        yield db
        ((version,),) = db.execute("PRAGMA schema_version").fetchall()
        db.execute(f"PRAGMA schema_version = {version + 1}")
