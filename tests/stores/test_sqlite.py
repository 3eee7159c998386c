"""The SQLite store: its file, what it refuses to open, and a disk that fails."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import stat
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from threading import Timer

import pytest

from stores import raw
from stores.children import NOBODY, in_child, without_privileges
from support import MASTER, Enrolled, HandClock, enroll
from vmfa import (
    AlreadyUsed,
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    InvalidValue,
    NoDevice,
    PrincipalId,
    Receipt,
    SchemaUntrusted,
    SQLiteStore,
    StoreContended,
    StoreCorrupt,
    StoreError,
    StoreTooNew,
    StoreUnavailable,
    UnknownMasterKey,
    VmfaError,
)
from vmfa.keys import base32, reveal
from vmfa.record import authenticated
from vmfa.stores import sqlite

ALICE = PrincipalId.user("123456789012", "u-4711")


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# The file


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277, 0o777])
def test_the_file_is_its_owners_alone_under_any_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with SQLiteStore(path) as store:
            store.load(ALICE)
            modes = {
                file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()
            }
    finally:
        os.umask(before)
    assert modes == {"mfa.db": 0o600, "mfa.db-wal": 0o600, "mfa.db-shm": 0o600}


def test_the_file_is_created_on_first_use(path: Path) -> None:
    with SQLiteStore(path) as store:
        assert not path.exists()
        store.load(ALICE)
        assert path.exists()


def test_the_file_names_its_program_and_its_schema(store: SQLiteStore, path: Path) -> None:
    store.load(ALICE)
    assert raw.run(path, "PRAGMA application_id") == [(int.from_bytes(b"vmfa", "big"),)]
    assert raw.run(path, "PRAGMA user_version") == [(1,)]


def test_every_commit_of_the_live_connection_is_durable(store: SQLiteStore) -> None:
    store.load(ALICE)
    pragma = {
        name: sqlite._pragma(store._connection, name)
        for name in ("journal_mode", "synchronous", "fullfsync")
    }
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "fullfsync": 1}


def test_less_is_had_only_by_name(path: Path) -> None:
    with SQLiteStore(path, unsafe_not_durable=True) as store:
        store.load(ALICE)
        assert sqlite._pragma(store._connection, "journal_mode") == "wal"
        assert sqlite._pragma(store._connection, "synchronous") == 1


def test_a_disk_that_cannot_do_write_ahead_logs_is_refused(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pragma = sqlite._pragma
    monkeypatch.setattr(
        sqlite, "_pragma", lambda db, text: "delete" if "journal" in text else pragma(db, text)
    )
    with pytest.raises(StoreUnavailable, match="WAL"):
        store.load(ALICE)


@pytest.mark.parametrize("name", ["", ":memory:", b"", b":memory:"])
def test_a_store_is_a_file(name: str | bytes) -> None:
    with pytest.raises(InvalidValue, match="MemoryStore"):
        SQLiteStore(name)  # type: ignore[arg-type]  # bytes work too


@pytest.mark.parametrize(
    "name", ["a?b=c&d", "a#b", "100%25.db", "file:mfa.db", "é 😀 'q' \"q\"", "-x"]
)
def test_a_file_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        with SQLiteStore(name) as store:
            store.load(ALICE)
            assert name in os.listdir(tmp_path)


def test_a_relative_path_means_one_file_whatever_directory_the_process_goes_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that changes its directory must not go on with an empty store there."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    with SQLiteStore("mfa.db") as store:
        store.load(ALICE)
        store.close()
        monkeypatch.chdir(elsewhere)
        store.load(ALICE)
    assert not list(elsewhere.iterdir())


def test_a_restart_keeps_the_state(
    enrolled: Enrolled, store: SQLiteStore, path: Path, keys: DerivedKeys
) -> None:
    enrolled.sign_in()
    before = store.load(enrolled.principal)
    history = store.history(enrolled.principal)
    store.close()
    with SQLiteStore(path) as again:
        assert again.load(enrolled.principal) == before
        assert again.history(enrolled.principal) == history
        registry = DeviceRegistry(again, keys=keys, issuer="Example", clock=enrolled.clock)
        with pytest.raises(AlreadyUsed):
            registry.verify(enrolled.principal, enrolled.phone.code())


def test_a_closed_store_opens_again(store: SQLiteStore, enrolled: Enrolled) -> None:
    store.close()
    store.close()
    assert enrolled.sign_in()


def test_operators_can_filter_devices(enrolled: Enrolled, path: Path) -> None:
    device = enrolled.device
    shown = raw.run(
        path, "SELECT name, serial, sync, disabled, failures, budget, enrolled_at FROM device"
    )
    assert shown == [("u-4711", device.serial, "in sync", 0, 0, 100, device.enrolled_at)]


def test_the_file_holds_neither_a_code_nor_a_key(enrolled: Enrolled, path: Path) -> None:
    code = enrolled.phone.code(1)
    enrolled.sign_in()
    stored = b"".join(files(path.parent).values())
    key = enrolled.phone.key
    for secret in (
        reveal(key),
        base32(key).encode(),
        b64encode(reveal(key)),
        f'"{code}"'.encode(),
    ):
        assert secret not in stored
        assert secret.hex().encode() not in stored


# What it refuses to open


def foreign(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement).fetchall()


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE theirs (x)"],
        ["PRAGMA application_id = 7"],
        [
            "PRAGMA journal_mode = WAL",
            "CREATE TABLE theirs (x)",
            "INSERT INTO theirs VALUES (randomblob(9999))",
        ],
    ],
)
def test_another_programs_database_is_refused_and_left_as_it_is(
    path: Path, statements: list[str]
) -> None:
    foreign(path, *statements)
    before = files(path.parent)
    with SQLiteStore(path) as store:
        for _ in range(2):
            with pytest.raises(SchemaUntrusted, match="another program"):
                store.load(ALICE)
    assert files(path.parent) == before


def left_by_a_crash(path: Path, *statements: str) -> None:
    """A database with a write-ahead log that nobody has checkpointed."""
    origin = path.parent / "origin"
    origin.mkdir()
    with closing(sqlite3.connect(origin / path.name, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        for statement in statements:
            db.execute(statement).fetchall()
        for file in origin.iterdir():
            if not file.name.endswith("-shm"):
                shutil.copy(file, path.parent)
    shutil.rmtree(origin)


@pytest.mark.parametrize("name", ["mfa.db", "a?b=c&d", "a#b", "100%25.db"])
def test_another_programs_unfinished_log_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    left_by_a_crash(
        path,
        "CREATE TABLE theirs (x)",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "INSERT INTO theirs VALUES (1)",
    )
    before = files(path.parent)
    assert len(before[path.name + "-wal"]) > 0
    with SQLiteStore(path) as store, pytest.raises(SchemaUntrusted, match="another program"):
        store.load(ALICE)
    assert files(path.parent) == before


def test_another_programs_tables_are_seen_in_its_log_too(path: Path) -> None:
    left_by_a_crash(path, "CREATE TABLE theirs (x)")
    with SQLiteStore(path) as store, pytest.raises(SchemaUntrusted, match="another program"):
        store.load(ALICE)
    assert raw.run(path, "SELECT name FROM sqlite_master") == [("theirs",)]


@pytest.mark.parametrize("empty", [b"", None])
def test_an_empty_file_becomes_a_store(path: Path, empty: bytes | None) -> None:
    if empty is None:
        foreign(path, "CREATE TABLE x (x)", "DROP TABLE x")
    else:
        path.write_bytes(empty)
    with SQLiteStore(path) as store:
        assert store.load(ALICE).revision == 0


def test_a_store_that_another_process_makes_meanwhile_is_used(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SQLiteStore(path) as first:
        first.load(ALICE)
    pragma, earlier = (
        sqlite._pragma,
        [sqlite.APPLICATION_ID, 0],
    )  # not yet ours when looked at without the lock

    def look(db: sqlite3.Connection, text: str) -> object:
        return earlier.pop(0) if earlier and text == "application_id" else pragma(db, text)

    monkeypatch.setattr(sqlite, "_pragma", look)
    with SQLiteStore(path) as second:
        assert second.load(ALICE).revision == 0
    assert not earlier


@pytest.mark.parametrize(
    "content", [b"\0\0", b"x" * 100, b"no database " * 999, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_not_a_database_is_refused_and_not_changed(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    with SQLiteStore(path) as store, pytest.raises(StoreCorrupt):
        store.load(ALICE)
    assert files(path.parent) == {path.name: content}


def test_a_newer_schema_is_refused_and_left_as_it_is(
    store: SQLiteStore, enrolled: Enrolled, path: Path
) -> None:
    store.close()
    raw.run(path, "PRAGMA user_version = 2")
    before = files(path.parent)
    with pytest.raises(StoreTooNew, match="schema 2"):
        enrolled.sign_in()
    assert files(path.parent) == before


@pytest.mark.parametrize(
    "statement", ["PRAGMA user_version = 0", "DROP TABLE principal", "DROP TABLE event"]
)
def test_a_file_without_its_parts_is_refused(
    store: SQLiteStore, enrolled: Enrolled, path: Path, statement: str
) -> None:
    store.close()
    raw.run(path, statement)
    with pytest.raises(SchemaUntrusted, match="missing"):
        enrolled.registry.deactivate(enrolled.principal, by=enrolled.actor_with_mfa())


def test_a_truncated_file_is_never_an_empty_store(
    store: SQLiteStore, enrolled: Enrolled, path: Path
) -> None:
    """What must not happen: a log-in page that asks nobody for a code any more."""
    store.close()
    whole = path.read_bytes()
    for length in (
        2,
        15,
        16,
        99,
        100,
        511,
        512,
        1024,
        4095,
        4096,
        8192,
        len(whole) // 2,
        len(whole) - 4096,
    ):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError):
            enrolled.registry.requires_code(enrolled.principal)
        store.close()
    path.write_bytes(whole)
    assert enrolled.sign_in()


def test_damage_anywhere_is_a_named_error_or_none(
    store: SQLiteStore, enrolled: Enrolled, path: Path
) -> None:
    enrolled.sign_in()
    store.close()
    whole = path.read_bytes()
    enrolled.clock.advance(30)
    right, wrong = enrolled.phone.code(), enrolled.phone.wrong_code()
    used = [offset for offset, byte in enumerate(whole) if byte] + list(range(100))
    told = set()
    for offset in used[::47]:
        for code in (wrong, right):
            damaged = bytearray(whole)
            damaged[offset] ^= 0xFF
            path.write_bytes(damaged)
            try:
                enrolled.registry.verify(enrolled.principal, code)
            except (StoreError, UnknownMasterKey, NoDevice) as error:
                told.add(type(error).__name__)  # NoDevice: the row no longer bears this name
            except CodeRejected:
                assert code == wrong  # damage beside the record: the answer is what it always was
            else:
                assert code == right
            with suppress(VmfaError):
                enrolled.registry.history(enrolled.principal, by=enrolled.actor)
            store.close()
            for left in path.parent.glob("*-*"):
                left.unlink()
    assert {"StoreCorrupt", "RecordTampered"} <= told


# A disk that does not take it


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A directory for a child without privileges, which cannot enter those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def told_without_privileges(path: Path, clock: HandClock, *codes: str) -> set[str]:
    """What somebody for whom file permissions hold is told who presents these codes."""

    def present() -> set[str]:
        told = set()
        with SQLiteStore(path) as store:
            registry = DeviceRegistry(
                store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock
            )
            for code in codes:
                try:
                    registry.verify(ALICE, code)
                    told.add("accepted")
                except VmfaError as error:
                    told.add(f"{type(error).__name__}: {error}")
        return told

    return set(without_privileges(present))


def alice_in(path: Path) -> tuple[HandClock, list[str]]:
    """Return a clock, and a right and a wrong code, of a store with Alice's device."""
    clock = HandClock()
    with SQLiteStore(path) as store:
        alice = enroll(
            DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock),
            clock,
            ALICE,
        )
    if os.getuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    clock.advance(30)
    return clock, [alice.phone.code(), alice.phone.wrong_code()]


def test_a_directory_that_may_not_be_written_is_unavailable(open_folder: Path) -> None:
    open_folder.chmod(0o555)
    told = told_without_privileges(open_folder / "mfa.db", HandClock(), "123456")
    open_folder.chmod(0o755)
    assert told == {"StoreUnavailable: the database file cannot be created: Permission denied"}
    assert not list(open_folder.iterdir())


def test_a_store_in_a_directory_that_may_not_be_written_is_unavailable(open_folder: Path) -> None:
    path = open_folder / "mfa.db"
    clock, codes = alice_in(path)
    before = files(open_folder)
    open_folder.chmod(0o555)
    (told,) = told_without_privileges(path, clock, *codes)
    open_folder.chmod(0o755)
    assert told.startswith("StoreUnavailable: ")
    assert files(open_folder) == before


@pytest.mark.parametrize("mode", [0o400, 0o000])
def test_a_file_that_may_not_be_written_is_unavailable(open_folder: Path, mode: int) -> None:
    path = open_folder / "mfa.db"
    clock, codes = alice_in(path)
    before = path.read_bytes()
    path.chmod(mode)
    if os.getuid() == 0:
        os.chown(open_folder, NOBODY, NOBODY)
    (told,) = told_without_privileges(path, clock, *codes)
    path.chmod(0o600)
    assert told.startswith("StoreUnavailable: ")
    assert path.read_bytes() == before


def test_a_path_that_leads_nowhere_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    for path in (
        tmp_path,
        tmp_path / "a file" / "mfa.db",
        tmp_path / "missing" / "mfa.db",
        tmp_path / ("x" * 300),
    ):
        with SQLiteStore(path) as store, pytest.raises(StoreUnavailable):
            store.load(ALICE)
    assert [file.name for file in tmp_path.iterdir()] == ["a file"]


def test_a_full_disk_answers_right_and_wrong_alike_and_counts_nothing(
    enrolled: Enrolled, path: Path
) -> None:
    """A full disk reveals nothing about a code and gives no further guesses."""
    enrolled.clock.advance(30)
    before = raw.rows(path)

    def guess() -> list[str]:
        told = []
        limit = path.with_name(path.name + "-wal").stat().st_size + 100
        enrolled.registry.requires_code(enrolled.principal)  # open before the disk fills
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        for code in (enrolled.phone.code(), enrolled.phone.wrong_code(), enrolled.phone.code()):
            try:
                enrolled.registry.verify(enrolled.principal, code)
                told.append("accepted")
            except VmfaError as error:
                told.append(f"{type(error).__name__}: {error}")
        return told

    with closing(
        sqlite3.connect(path)
    ) as other:  # keeps the log from being removed when the store closes at the fork
        other.execute("SELECT count(*) FROM principal").fetchall()
        told = in_child(guess)
    assert len(set(told)) == 1
    assert told[0].startswith("OutcomeUnknown: ")
    assert raw.rows(path) == before
    assert enrolled.registry.verify(enrolled.principal, enrolled.phone.code())


def test_a_database_that_may_not_grow_rolls_the_record_back_with_its_events(
    enrolled: Enrolled, store: SQLiteStore, path: Path, keys: DerivedKeys
) -> None:
    actor = enrolled.actor_with_mfa()
    assert store._connection is not None
    store._connection.execute("PRAGMA max_page_count = 1")  # SQLite makes it what there is
    before = raw.rows(path)
    record = store.load(enrolled.principal)
    last = store.history(record.id)[-1]
    many = [
        replace(last, reason="x" * 512, number=number)
        for number in range(record.events + 1, record.events + 50)
    ]
    after = authenticated(replace(record, revision=record.revision + 1), keys)
    with pytest.raises(StoreUnavailable, match="SQLITE_FULL"):
        store.commit(record, after, many)
    assert raw.rows(path) == before
    enrolled.registry.deactivate(enrolled.principal, by=actor)


# Others at work


def test_a_busy_writer_is_waited_for(enrolled: Enrolled, path: Path) -> None:
    enrolled.clock.advance(30)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    end = Timer(0.05, lambda: other.execute("ROLLBACK"))
    end.start()
    assert isinstance(enrolled.registry.verify(enrolled.principal, enrolled.phone.code()), Receipt)
    end.join()
    other.close()


def test_a_writer_that_stays_busy_is_store_contended_and_nothing_is_counted(
    enrolled: Enrolled, path: Path, keys: DerivedKeys
) -> None:
    enrolled.clock.advance(30)
    before = raw.rows(path)
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as other,
        SQLiteStore(path, timeout=0.02) as store,
    ):
        registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=enrolled.clock)
        other.execute("BEGIN IMMEDIATE")
        assert registry.requires_code(enrolled.principal)  # readers do not wait for writers
        for code in (enrolled.phone.code(), enrolled.phone.wrong_code()):
            with pytest.raises(StoreContended):
                registry.verify(enrolled.principal, code)
        other.execute("ROLLBACK")
        assert raw.rows(path) == before
        assert registry.verify(enrolled.principal, enrolled.phone.code())


def test_a_transaction_that_cannot_be_rolled_back_ends_with_its_connection(
    store: SQLiteStore,
) -> None:
    broken: list[sqlite3.Connection] = []

    def break_down(db: sqlite3.Connection) -> None:
        broken.append(db)
        db.execute("BEGIN IMMEDIATE")
        db.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
        db.execute("ROLLBACK")

    with pytest.raises(StoreUnavailable):
        store._call(break_down)
    assert store._connection is None
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        broken[0].execute("SELECT 1")
    assert store.load(ALICE).revision == 0


def test_an_interrupted_transaction_is_rolled_back(
    store: SQLiteStore, enrolled: Enrolled, path: Path
) -> None:
    def interrupted(db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM principal")
        raise KeyboardInterrupt

    before = raw.rows(path)
    with pytest.raises(KeyboardInterrupt):
        store._call(interrupted)
    assert raw.rows(path) == before
    assert store.load(enrolled.principal).revision
