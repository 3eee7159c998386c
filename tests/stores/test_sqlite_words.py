"""The SQLite store: its messages, its waits, its file descriptors and its log."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stores import raw
from support import Enrolled, enroll
from vmfa import (
    Actor,
    InvalidValue,
    OutcomeUnknown,
    Principal,
    PrincipalId,
    RecordTampered,
    SchemaUntrusted,
    SQLiteStore,
    StoreContended,
    StoreCorrupt,
    StoreError,
    StoreTooNew,
    StoreUnavailable,
    VmfaError,
)
from vmfa.stores import sqlite

ALICE = PrincipalId.user("123456789012", "u-4711")
BOB = PrincipalId.user("123456789012", "u-0815")
BUSY = "the database was in use for too long; nothing was changed"
CHANGED = "the tables are not as vmfa created them ({}); nothing was changed"
DAMAGED = "the database is damaged ({})"
UNUSABLE = "the database cannot be used ({}); nothing was changed"


# Messages


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("SQLITE_BUSY", StoreContended, BUSY),
        ("SQLITE_BUSY_SNAPSHOT", StoreContended, BUSY),
        ("SQLITE_LOCKED", StoreContended, BUSY),
        ("SQLITE_LOCKED_SHAREDCACHE", StoreContended, BUSY),
        ("SQLITE_CORRUPT", StoreCorrupt, DAMAGED),
        ("SQLITE_CORRUPT_INDEX", StoreCorrupt, DAMAGED),
        ("SQLITE_NOTADB", StoreCorrupt, DAMAGED),
        ("SQLITE_ERROR", SchemaUntrusted, CHANGED),
        ("SQLITE_FULL", StoreUnavailable, UNUSABLE),
        ("SQLITE_IOERR_FSYNC", StoreUnavailable, UNUSABLE),
        ("SQLITE_READONLY", StoreUnavailable, UNUSABLE),
        ("SQLITE_PERM", StoreUnavailable, UNUSABLE),
    ],
)
def test_an_error_of_sqlite_is_named_and_not_quoted(
    store: SQLiteStore, name: str, kind: type[StoreError], message: str
) -> None:
    error = sqlite3.OperationalError("near 'a stored reference'")
    error.sqlite_errorname, error.sqlite_errorcode = name, getattr(sqlite3, name)
    translated = store._translate_error(error)
    assert (type(translated), str(translated)) == (kind, message.format(name))


def test_a_disk_that_fails_during_the_commit_leaves_the_outcome_unknown(
    store: SQLiteStore,
) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname, error.sqlite_errorcode = "SQLITE_IOERR_FSYNC", 1034
    store._committing = True
    translated = store._translate_error(error)
    assert type(translated) is OutcomeUnknown
    assert "may have been stored" in str(translated)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            sqlite3.OperationalError("Could not decode to UTF-8 column 'state'"),
            RecordTampered,
            "a stored record is not text",
        ),
        (
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
            StoreCorrupt,
            "the database is damaged",
        ),
        (
            sqlite3.ProgrammingError("Cannot operate on a closed database."),
            StoreUnavailable,
            "the database cannot be used (ProgrammingError); nothing was changed",
        ),
    ],
    ids=["text", "message", "closed"],
)
def test_an_error_of_python_is_not_quoted(
    store: SQLiteStore, error: Any, kind: type[StoreError], message: str
) -> None:
    translated = store._translate_error(error)
    assert (type(translated), str(translated)) == (kind, message)


def refusal(store: SQLiteStore) -> tuple[type[VmfaError], str]:
    with store, pytest.raises(VmfaError) as caught:
        store.load(ALICE)
    return caught.type, str(caught.value)


def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    assert refusal(SQLiteStore(tmp_path / "a file" / "mfa.db")) == (
        StoreUnavailable,
        "the database file cannot be created: Not a directory",
    )
    assert refusal(SQLiteStore(tmp_path)) == (StoreUnavailable, UNUSABLE.format("SQLITE_CANTOPEN"))
    for missing in (tmp_path / "missing", tmp_path / "a file"):
        assert refusal(SQLiteStore(missing, create=False)) == (
            StoreUnavailable,
            "the database file is missing or empty",
        )
    for name in (":memory:", "", "mfa\0.db"):
        with pytest.raises(InvalidValue, match="use MemoryStore"):
            SQLiteStore(name)


@pytest.mark.parametrize(
    ("statement", "kind", "message"),
    [
        (
            "PRAGMA user_version = 2",
            StoreTooNew,
            "the database has schema 2; this release reads up to 1",
        ),
        (
            "PRAGMA user_version = 0",
            SchemaUntrusted,
            "the schema version or the encoding is missing or is not as vmfa created it",
        ),
        (
            "PRAGMA application_id = 7",
            SchemaUntrusted,
            "this is the database of another program",
        ),
    ],
)
def test_a_header_that_is_not_ours_is_refused(
    store: SQLiteStore, path: Path, statement: str, kind: type[StoreError], message: str
) -> None:
    store.load(ALICE)
    store.close()
    raw.run(path, statement)
    assert refusal(store) == (kind, message)


def test_another_program_that_creates_the_file_first_keeps_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        SQLiteStore, "_refuse_foreign", lambda _: raw.run(path, "CREATE TABLE theirs (x)")
    )
    assert refusal(SQLiteStore(path)) == (
        SchemaUntrusted,
        "this is the database of another program",
    )
    assert raw.run(path, "SELECT name FROM sqlite_master") == [("theirs",)]


def test_a_disk_without_write_ahead_logs_is_refused(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pragma = sqlite._pragma
    monkeypatch.setattr(
        sqlite, "_pragma", lambda db, text: "delete" if "journal" in text else pragma(db, text)
    )
    assert refusal(store) == (
        StoreUnavailable,
        "SQLite offers journal mode delete here: a durable store needs WAL",
    )


def test_a_call_inside_a_call_of_the_same_thread_is_refused(store: SQLiteStore) -> None:
    def again(_: sqlite3.Connection) -> Principal:
        return store.load(ALICE)

    with pytest.raises(StoreContended, match="in the middle of another call"):
        store._call(again)
    assert store.load(ALICE).revision == 0


# Waiting


def test_retry_backoff_doubles_to_10ms(
    enrolled: Enrolled, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    sleep = sqlite.time.sleep

    def sleeping(seconds: float) -> None:
        pauses.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(sqlite.time, "sleep", sleeping)
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as other,
        SQLiteStore(path, timeout=0.2) as store,
    ):
        held = store.load(enrolled.principal)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreContended, match=f"^{BUSY}$"):
            store.commit(held, Principal(id=held.id), [])
    assert pauses[:7] == [0.0005, 0.001, 0.002, 0.004, 0.008, 0.01, 0.01]
    assert set(pauses[7:]) <= {0.01}


# The file and its descriptors


def test_a_new_file_is_never_readable_by_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    fchmod = os.fchmod

    def looking(file: int, mode: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(file).st_mode))
        fchmod(file, mode)

    monkeypatch.setattr(sqlite.os, "fchmod", looking)
    before = os.umask(0)
    try:
        with SQLiteStore(path) as store:
            store.load(ALICE)
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_a_file_that_is_there_keeps_its_mode(path: Path) -> None:
    path.touch()
    path.chmod(0o640)
    with SQLiteStore(path) as store:
        store.load(ALICE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_name_of_a_new_file_is_on_the_disk_before_it_is_used(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, int]] = []
    fsync = os.fsync

    def noting(file: int) -> None:
        synced.append((os.fstat(file).st_ino, path.stat().st_size))
        fsync(file)

    monkeypatch.setattr(sqlite.os, "fsync", noting)
    with SQLiteStore(path) as store:
        store.load(ALICE)
    assert synced == [(path.parent.stat().st_ino, 0)]


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def test_an_opened_and_closed_store_leaves_no_descriptor(tmp_path: Path) -> None:
    before = descriptors()
    for number in range(3):
        with SQLiteStore(tmp_path / f"{number}.db") as store:
            store.load(ALICE)
    assert descriptors() == before


def test_an_error_does_not_keep_the_database_open(
    store: SQLiteStore, path: Path
) -> None:
    """Whoever keeps the error keeps the frames it went through."""
    store.load(ALICE)
    store.close()
    raw.run(path, "PRAGMA user_version = 2")
    before = descriptors()
    with pytest.raises(StoreTooNew) as kept:
        store.load(ALICE)
    assert descriptors() == before
    assert kept.traceback


@pytest.mark.parametrize("pragma", ["secure_delete", "fullfsync"])
def test_settings_do_not_depend_on_the_build_of_sqlite(
    path: Path, monkeypatch: pytest.MonkeyPatch, pragma: str
) -> None:
    """Some builds overwrite what is deleted by themselves, others do not."""
    connect = sqlite3.connect

    def careless(*arguments: Any, **options: Any) -> sqlite3.Connection:
        db = connect(*arguments, **options)
        db.execute(f"PRAGMA {pragma} = OFF").fetchall()
        return db

    monkeypatch.setattr(sqlite.sqlite3, "connect", careless)
    with SQLiteStore(path) as store:
        store.load(ALICE)
        assert store._connection is not None
        assert sqlite._pragma(store._connection, pragma) == 1


def test_the_file_is_opened_as_a_uri_in_every_build_of_sqlite(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some builds take each name that begins so for one, others do not."""
    connect = sqlite3.connect

    def literal(name: str, **options: Any) -> sqlite3.Connection:
        return connect(name if options.get("uri") else f"./{name}", **options)

    monkeypatch.setattr(sqlite.sqlite3, "connect", literal)
    looks: list[bool] = []
    is_foreign = sqlite._is_foreign
    monkeypatch.setattr(
        sqlite, "_is_foreign", lambda db: looks.append(is_foreign(db)) or looks[-1]
    )
    with SQLiteStore(path) as store:
        store.load(ALICE)
        store.close()
        looks.clear()
        store.load(ALICE)
    assert looks == [False]  # the look at the file as it lies


# The log


def test_the_log_is_emptied_only_where_a_key_is_destroyed(
    store: SQLiteStore, enrolled: Enrolled, path: Path
) -> None:
    log = path.with_name(path.name + "-wal")
    enrolled.registry.deactivate(enrolled.principal, by=enrolled.actor_with_mfa())
    assert log.stat().st_size == 0
    enrolled.registry.open_enrollment(BOB, by=Actor.signed_in(BOB), label="bob")
    assert log.stat().st_size  # no key was destroyed
    enrolled = enroll(enrolled.registry, enrolled.clock, BOB)
    filled = log.stat().st_size
    assert filled  # a session was opened and confirmed
    enrolled.sign_in()
    stale = store.load(enrolled.principal)
    enrolled.sign_in()
    assert not store.commit(stale, Principal(id=stale.id), [])
    assert log.stat().st_size >= filled
    enrolled.registry.deactivate(enrolled.principal, by=enrolled.actor_with_mfa())
    assert log.stat().st_size == 0


def test_a_log_that_cannot_be_emptied_takes_no_answer_back(
    enrolled: Enrolled, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = enrolled.actor_with_mfa()
    tried: list[sqlite3.Connection] = []

    def failing(_: SQLiteStore, db: sqlite3.Connection) -> None:
        tried.append(db)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE); and more")

    monkeypatch.setattr(SQLiteStore, "_overwrite", failing)
    serial = enrolled.device.serial
    assert enrolled.registry.deactivate(enrolled.principal, by=actor).serial == serial
    assert tried
    assert not enrolled.registry.requires_code(enrolled.principal)
