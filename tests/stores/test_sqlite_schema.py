"""The SQLite store works only with the objects that it created, and proves what it commits."""

from __future__ import annotations

from pathlib import Path

import pytest

from stores import raw
from support import Enrolled
from vmfa import Actor, SchemaUntrusted, SQLiteStore, StoreCorrupt
from vmfa.stores import sqlite

SERVICE = Actor.trusted_service("test")
# S1: the trigger that turned off replay protection and throttling.
UNDO = """CREATE TRIGGER undo AFTER UPDATE ON principal BEGIN
    UPDATE principal SET revision = OLD.revision, state = OLD.state, tag = OLD.tag
    WHERE account = OLD.account AND kind = OLD.kind AND name = OLD.name; END"""
TRIGGERS = [
    UNDO,
    "CREATE TRIGGER ignore BEFORE UPDATE ON principal BEGIN SELECT RAISE(IGNORE); END",
    "CREATE TRIGGER again AFTER DELETE ON principal BEGIN SELECT 1; END",
    "CREATE TRIGGER event_too AFTER INSERT ON event BEGIN DELETE FROM event; END",
    "CREATE TRIGGER on_view INSTEAD OF UPDATE ON device BEGIN SELECT 1; END",
]
OTHERS = [
    "CREATE TABLE other (x)",
    "CREATE UNIQUE INDEX one_state ON principal (state)",
    "CREATE INDEX computed ON principal (upper(name))",
    "CREATE INDEX partial ON principal (name) WHERE revision > 5",
    "CREATE INDEX folded ON principal (name COLLATE NOCASE)",
    "ALTER TABLE principal ADD COLUMN more TEXT DEFAULT 'x'",
    "ALTER TABLE principal ADD COLUMN twice INTEGER AS (revision * 2)",
    "ALTER TABLE principal RENAME COLUMN tag TO tags",
    "ALTER TABLE event RENAME TO events",
]
HARMLESS = [
    "CREATE INDEX by_revision ON principal (revision)",
    "CREATE INDEX by_account ON event (account, number DESC)",
    "CREATE VIEW of_operators AS SELECT name FROM device",
    "DROP VIEW device",
    "ANALYZE",
]


@pytest.mark.parametrize("statement", [*TRIGGERS, *OTHERS], ids=lambda text: text[:40])
def test_an_object_that_vmfa_did_not_create_is_refused_at_open(
    enrolled: Enrolled, store: SQLiteStore, path: Path, statement: str
) -> None:
    store.close()
    raw.run(path, statement)
    with pytest.raises(SchemaUntrusted):
        enrolled.sign_in()
    with pytest.raises(SchemaUntrusted):
        enrolled.registry.requires_code(enrolled.principal)
    assert [type(problem) for problem in store.health()] == [SchemaUntrusted]


@pytest.mark.parametrize("statement", [*TRIGGERS, *OTHERS], ids=lambda text: text[:40])
def test_an_object_that_is_added_later_is_refused_by_the_next_commit(
    enrolled: Enrolled, store: SQLiteStore, path: Path, statement: str
) -> None:
    enrolled.sign_in()
    raw.run(path, statement)
    before = raw.run(path, "SELECT revision FROM principal")
    with pytest.raises(SchemaUntrusted):
        enrolled.sign_in()
    with pytest.raises(SchemaUntrusted):
        enrolled.registry.forget(enrolled.principal, by=SERVICE)
    assert raw.run(path, "SELECT revision FROM principal") == before
    assert [type(problem) for problem in store.health()] == [SchemaUntrusted]


@pytest.mark.parametrize("statement", HARMLESS)
def test_a_plain_index_or_a_view_is_allowed(
    enrolled: Enrolled, store: SQLiteStore, path: Path, statement: str
) -> None:
    raw.run(path, statement)
    enrolled.sign_in()
    store.close()
    enrolled.sign_in()
    assert store.health() == ()


def test_an_object_whose_type_was_forged_is_refused(
    enrolled: Enrolled, store: SQLiteStore, path: Path
) -> None:
    store.close()
    raw.run(path, UNDO)
    forged = "UPDATE sqlite_master SET type = 'view', tbl_name = 'undo' WHERE name = 'undo'"
    with raw.writable_schema(path) as db:
        db.execute(forged)
    with pytest.raises((SchemaUntrusted, StoreCorrupt)):  # SQLite may notice it first
        enrolled.sign_in()


@pytest.mark.parametrize("table", ["principal", "event"])
def test_a_view_in_place_of_a_table_is_refused(
    enrolled: Enrolled, store: SQLiteStore, path: Path, table: str
) -> None:
    store.close()
    raw.run(path, "DROP VIEW device")
    raw.run(path, f"ALTER TABLE {table} RENAME TO hidden")
    raw.run(path, f"CREATE VIEW {table} AS SELECT * FROM hidden")
    with pytest.raises(SchemaUntrusted):
        enrolled.sign_in()


def test_a_commit_compares_the_row_that_is_there_with_the_row_that_it_wrote(
    enrolled: Enrolled, store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the check of the schema sees nothing."""
    store.close()
    raw.run(path, UNDO)
    monkeypatch.setattr(sqlite, "_is_harmless", lambda *_: True)
    before = raw.rows(path)
    with pytest.raises(SchemaUntrusted, match="did not keep the row"):
        enrolled.sign_in()
    assert raw.rows(path) == before
