"""A file of the schema before: it is read, brought up, and goes on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import raw

from reference import vectors
from support import MASTER
from vmfa import Actor, DerivedKeys, DeviceRegistry, PrincipalId, SQLiteStore, totp

ALICE = PrincipalId.user("123456789012", "u-4711")
SERIAL = "00112233445566778899aabbccddeeff"
SERVICE = Actor.trusted_service("s")
NOW = 1_700_000_160
VIEW = "SELECT name, serial, sync, disabled, failures, budget, enrolled_at FROM device"


@pytest.fixture
def old(path: Path) -> Path:
    """As schema 1 left it: Alice with a device, another who enrolls, and root, whose device was removed."""
    schema = Path(__file__).parents[1] / "vectors" / "schema_1.sql"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(schema.read_text())
        for row in vectors("frozen_v1")["records"]:
            name = "u-0815" if row["what"] == "enrolling" else row["name"]
            who = row["account"], row["kind"], name
            db.execute("INSERT INTO principal VALUES (?, ?, ?, ?, ?, ?)",
                       (*who, row["revision"], row["document"], row["tag"]))
        db.commit()
    path.chmod(0o600)
    return path


def test_a_device_of_the_schema_before_signs_in(old: Path) -> None:
    keys = DerivedKeys(MASTER)
    with SQLiteStore(old) as store:
        registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=lambda: NOW)
        record = store.load(ALICE)
        assert record.key_ref is not None
        assert record.device is not None
        key = keys.reveal(record.key_ref, ALICE, SERIAL, record.device.parameters)
        assert raw.run(old, "PRAGMA user_version") == [(1,)]
        assert registry.verify(ALICE, totp(key, NOW)).failures_cleared == 2
        assert raw.run(old, VIEW) == [("u-4711", SERIAL, "in sync", 0, 0, 98, 1_700_000_040)]
        ((state,),) = raw.run(old, "SELECT state FROM principal WHERE name = 'u-4711'")
        assert state.startswith("[2,")
        assert store.load(ALICE).device == registry.device(ALICE, by=SERVICE)


def change(path: Path, label: str = "bob") -> None:
    with SQLiteStore(path) as store:
        registry = DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=lambda: NOW)
        registry.open_enrollment(PrincipalId.user("123456789012", label), by=SERVICE, label=label)


def test_reading_it_changes_nothing(old: Path) -> None:
    with SQLiteStore(old, create=False) as store:
        store.load(ALICE)  # from here on the file keeps a log
    before = old.read_bytes()
    with SQLiteStore(old, create=False) as store:
        assert store.load(ALICE).device is not None
        assert len(store.principals("123456789012")) == 3
        assert store.health() == ()
    assert old.read_bytes() == before


def test_its_view_is_renewed_once_by_the_first_change(old: Path) -> None:
    for label in ("bob", "carol"):
        change(old, label)
        assert raw.run(old, "PRAGMA user_version") == [(2,)]
        assert raw.run(old, VIEW) == [("u-4711", SERIAL, "in sync", 0, 2, 98, 1_700_000_040)]
        raw.run(old, "CREATE VIEW IF NOT EXISTS of_operators AS SELECT name FROM device")
    assert raw.run(old, "SELECT name FROM of_operators") == [("u-4711",)]


def test_its_view_may_be_missing_or_renewed_by_another_process(old: Path) -> None:
    with SQLiteStore(old) as first, SQLiteStore(old) as second:
        for store, label in ((first, "bob"), (second, "carol")):
            assert store.load(ALICE).revision == 7
            raw.run(old, "DROP VIEW IF EXISTS device" if label == "bob" else "SELECT 1")
            registry = DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=lambda: NOW)
            registry.open_enrollment(PrincipalId.user("123456789012", label), by=SERVICE, label=label)
    assert len(raw.run(old, VIEW)) == 1
