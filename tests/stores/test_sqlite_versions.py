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
        assert raw.run(old, VIEW) == [("u-4711", SERIAL, "in sync", 0, 2, 98, 1_700_000_040)]
        assert registry.verify(ALICE, totp(key, NOW)).failures_cleared == 2
        assert raw.run(old, VIEW) == [("u-4711", SERIAL, "in sync", 0, 0, 98, 1_700_000_040)]
        ((state,),) = raw.run(old, "SELECT state FROM principal WHERE name = 'u-4711'")
        assert state.startswith("[2,")
        assert store.load(ALICE).device == registry.device(ALICE, by=SERVICE)


def test_its_view_is_renewed_once(old: Path) -> None:
    for _ in range(2):
        with SQLiteStore(old) as store:
            store.load(ALICE)
        assert raw.run(old, "PRAGMA user_version") == [(2,)]
        assert raw.run(old, "SELECT count(*) FROM sqlite_master WHERE type = 'view'") == [(1,)]


def test_its_view_may_be_missing(old: Path) -> None:
    raw.run(old, "DROP VIEW device")
    with SQLiteStore(old) as store:
        store.load(ALICE)
    assert len(raw.run(old, VIEW)) == 1
