"""The SQLite store: signals in a transaction, destroyed references, lost files."""

from __future__ import annotations

import base64
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from leaks import assert_silent
from support import MASTER, HandClock, enroll
from vmfa import (
    Actor,
    DerivedKeys,
    DeviceRegistry,
    InvalidValue,
    PrincipalId,
    RecordTampered,
    SQLiteStore,
    StoreContended,
    StoreCorrupt,
    StoreTooNew,
    StoreUnavailable,
    UnsafePlainKeys,
)

ALICE = PrincipalId.user("123456789012", "u-4711")
BOB = PrincipalId.user("123456789012", "u-4712")
SERVICE = Actor.trusted_service("test")


@pytest.fixture
def registry(tmp_path: Path):
    with SQLiteStore(tmp_path / "mfa.db") as store:
        clock = HandClock()
        yield (
            DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock),
            clock,
            store,
        )


def test_a_signal_handler_does_not_break_the_transaction_it_falls_into(registry, monkeypatch):
    """One transaction, also if a signal handler uses the store that is committing."""
    registry, clock, store = registry
    enroll(registry, clock, ALICE)
    met = []

    def handler(*_):
        try:
            registry.requires_code(BOB)
        except StoreContended as error:
            met.append(error)

    before = signal.signal(signal.SIGUSR1, handler)
    real = sqlite3.Connection

    class Interrupted:
        """The store's connection, with the signal on the statement that appends the event."""

        def __init__(self, db):
            self._db = db

        def __getattr__(self, name):
            return getattr(self._db, name)

        def executemany(self, *arguments):
            signal.raise_signal(signal.SIGUSR1)
            return self._db.executemany(*arguments)

    try:
        assert isinstance(store._connection, real)
        store._connection = Interrupted(store._connection)
        registry.deactivate(ALICE, by=SERVICE)
    finally:
        signal.signal(signal.SIGUSR1, before)
        store.close()
    assert len(met) == 1
    assert not registry.requires_code(ALICE)
    assert [event.type.value for event in registry.history(ALICE, by=SERVICE)][
        -1
    ] == "device deactivated"


@pytest.mark.parametrize("end", ["deactivate", "cancel", "supersede", "forget"])
def test_the_reference_of_a_destroyed_key_is_in_no_file(registry, tmp_path, end):
    """A removed key reference is overwritten in the file, and the log is emptied."""
    registry, clock, store = registry
    if end in ("cancel", "supersede"):
        registry.open_enrollment(ALICE, by=SERVICE, label="a")
    else:
        enroll(registry, clock, ALICE)
    nonce = base64.b64encode(store.load(ALICE).key_ref.material)
    assert any(nonce in file.read_bytes() for file in tmp_path.iterdir())
    {
        "deactivate": lambda: registry.deactivate(ALICE, by=SERVICE),
        "cancel": lambda: registry.cancel_enrollment(ALICE, by=SERVICE),
        "supersede": lambda: registry.open_enrollment(ALICE, by=SERVICE, label="a"),
        "forget": lambda: registry.forget(ALICE, by=SERVICE),
    }[end]()
    assert not any(nonce in file.read_bytes() for file in tmp_path.iterdir())


def test_a_reader_in_the_way_does_not_undo_the_answer(registry, tmp_path):
    """The log is emptied when it can be: the removal itself was committed, and is told."""
    registry, clock, _ = registry
    enroll(registry, clock, ALICE)
    reader = sqlite3.connect(tmp_path / "mfa.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM principal").fetchone()
    assert registry.deactivate(ALICE, by=SERVICE).serial
    reader.close()
    assert not registry.requires_code(ALICE)


@pytest.mark.parametrize("content", [None, b""])
def test_without_create_a_missing_file_is_unavailable(tmp_path, content):
    """With create=False a missing or emptied file is an error, and none is made."""
    path = tmp_path / "mfa.db"
    if content is not None:
        path.write_bytes(content)
    with (
        SQLiteStore(path, create=False) as store,
        pytest.raises(StoreUnavailable, match="missing or empty"),
    ):
        store.load(ALICE)
    assert path.exists() == (content is not None)


@pytest.mark.parametrize("create", [True, False])
def test_a_file_that_is_removed_while_it_is_opened_is_not_created_again(
    tmp_path, monkeypatch, create
):
    path = tmp_path / "mfa.db"
    with SQLiteStore(path) as store:
        store.load(ALICE)
    refuse_foreign = SQLiteStore._refuse_foreign

    def losing(self):
        refuse_foreign(self)
        path.unlink()

    getsize = os.path.getsize

    def losing_sooner(name):
        size = getsize(name)
        path.unlink()
        return size

    if create:
        monkeypatch.setattr(SQLiteStore, "_refuse_foreign", losing)
    else:
        monkeypatch.setattr(os.path, "getsize", losing_sooner)
    with (
        SQLiteStore(path, create=create) as store,
        pytest.raises(StoreUnavailable, match="cannot be opened"),
    ):
        store.load(ALICE)
    assert not path.exists()


def test_an_existing_file_is_opened_without_creating(registry, tmp_path):
    registry, clock, store = registry
    enroll(registry, clock, ALICE)
    store.close()
    with SQLiteStore(tmp_path / "mfa.db", create=False) as again:
        assert again.load(ALICE).device is not None


def test_a_path_with_a_nul_is_none():
    with pytest.raises(InvalidValue):
        SQLiteStore("mfa\0.db")


def test_health_names_what_is_wrong(registry, tmp_path):
    registry, clock, store = registry
    enroll(registry, clock, ALICE)
    assert store.health() == ()
    store.close()
    (tmp_path / "mfa.db").write_bytes(b"no database at all" * 100)
    (problem,) = store.health()
    assert isinstance(problem, StoreCorrupt)


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        ("state || ' x'", RecordTampered),
        ("""replace(state, '[1,', '[2,')""", StoreTooNew),
    ],
)
@pytest.mark.parametrize(
    "keys", [UnsafePlainKeys(), DerivedKeys(MASTER)], ids=["plain", "derived"]
)
def test_a_row_that_cannot_be_read_is_in_no_frame_of_its_refusal(tmp_path, keys, edit, error):
    """The document contains the key reference, and error trackers record local variables."""
    with SQLiteStore(tmp_path / "mfa.db") as store:
        clock = HandClock()
        registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=clock)
        enroll(registry, clock, ALICE)
        material = base64.b64encode(store.load(ALICE).key_ref.material)
        with closing(sqlite3.connect(tmp_path / "mfa.db")) as db:
            db.execute(f"UPDATE principal SET state = {edit}")
            db.commit()
        for use in (
            lambda: registry.verify(ALICE, "123456"),
            lambda: registry.requires_code(ALICE),
        ):
            with pytest.raises(error) as caught:
                use()
            assert_silent(caught.value, material, material.decode())
