"""A SQLite file that is replaced, removed, restored or linked while a process uses it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from support import MASTER, Enrolled, enroll
from vmfa import (
    Actor,
    AlreadyUsed,
    ClockWentBack,
    DerivedKeys,
    DeviceRegistry,
    PrincipalId,
    SQLiteStore,
    StoreUnavailable,
)
from vmfa.stores import sqlite
from vmfa.testing import FrozenClock

SERVICE = Actor.trusted_service("test")


def copy_of(path: Path) -> Path:
    """Return a copy of the database, as a backup makes one."""
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


@pytest.mark.parametrize("log", [False, True])
def test_a_file_that_is_removed_is_noticed(
    enrolled: Enrolled, store: SQLiteStore, path: Path, log: bool
) -> None:
    enrolled.sign_in()
    path.with_name(path.name + "-wal").unlink() if log else path.unlink()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="removed"):
            enrolled.sign_in()
    if not log:
        with pytest.raises(StoreUnavailable, match="removed"):
            enrolled.registry.requires_code(enrolled.principal)


def test_a_file_that_is_replaced_is_noticed(
    enrolled: Enrolled, store: SQLiteStore, path: Path
) -> None:
    """D7: a used code was accepted again, and a new empty file asked for no code."""
    copy = copy_of(path)
    enrolled.sign_in()
    code = enrolled.phone.code()
    os.replace(copy, path)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="replaced"):
            enrolled.registry.verify(enrolled.principal, code)
        with pytest.raises(StoreUnavailable, match="replaced"):
            enrolled.registry.requires_code(enrolled.principal)
    assert [type(problem) for problem in store.health()] == [StoreUnavailable]


def test_a_file_that_is_replaced_by_an_empty_one_is_noticed(
    enrolled: Enrolled, path: Path
) -> None:
    path.unlink()
    path.touch()
    with pytest.raises(StoreUnavailable, match="replaced"):
        enrolled.registry.requires_code(enrolled.principal)


def test_a_second_name_of_the_file_is_noticed(
    enrolled: Enrolled, store: SQLiteStore, path: Path
) -> None:
    os.link(path, path.with_name("other.db"))
    with pytest.raises(StoreUnavailable, match="linked"):
        enrolled.sign_in()
    store.close()
    with pytest.raises(StoreUnavailable, match="a hard link"):
        enrolled.sign_in()
    path.with_name("other.db").unlink()
    assert enrolled.sign_in()


def test_a_restore_in_place_is_noticed_by_the_process_that_stored_more(
    enrolled: Enrolled, path: Path
) -> None:
    copy = copy_of(path)
    enrolled.sign_in()
    code = enrolled.phone.code()
    with closing(sqlite3.connect(copy)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
    with pytest.raises(StoreUnavailable, match="restored from a backup"):
        enrolled.registry.verify(enrolled.principal, code)


def test_closing_the_store_accepts_a_restored_file(
    enrolled: Enrolled, store: SQLiteStore, path: Path
) -> None:
    copy = copy_of(path)
    enrolled.sign_in()
    os.replace(copy, path)
    with pytest.raises(StoreUnavailable):
        enrolled.sign_in()
    store.close()
    for left in path.parent.glob("*-*"):
        left.unlink()
    assert enrolled.sign_in()


def test_a_principal_that_another_process_enrolls_again_is_accepted(
    enrolled: Enrolled, store: SQLiteStore, path: Path
) -> None:
    for _ in range(5):
        enrolled.sign_in()
    with SQLiteStore(path) as other:
        registry = DeviceRegistry(
            other, keys=DerivedKeys(MASTER), issuer="Example", clock=enrolled.clock
        )
        registry.forget(enrolled.principal, by=SERVICE)
        assert not enrolled.registry.requires_code(enrolled.principal)
        enrolled.clock.advance(30)
        again = enroll(registry, enrolled.clock, enrolled.principal)
    with pytest.raises(AlreadyUsed):
        enrolled.registry.verify(enrolled.principal, again.phone.code())


def test_a_process_remembers_a_bounded_number_of_principals(
    registry: DeviceRegistry,
    store: SQLiteStore,
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite, "MAX_MARKS", 3)
    for number in range(5):
        who = PrincipalId.user("123456789012", f"u-{number}")
        registry.open_enrollment(who, by=SERVICE, label="x")
    assert [who.name for who in store._marks] == ["u-2", "u-3", "u-4"]


# What is erased


@pytest.mark.parametrize("end", ["forget", "prune"])
def test_removed_text_is_in_no_file_when_the_call_returns(
    enrolled: Enrolled, path: Path, end: str
) -> None:
    """S15."""
    registry, who = enrolled.registry, enrolled.principal
    enrolled.clock.advance(60)
    registry.deactivate(who, by=SERVICE, reason="lost on the way to Ulm")
    for _ in range(40):
        registry.open_enrollment(who, by=SERVICE, label="x")
        registry.cancel_enrollment(who, by=SERVICE)
        enrolled.clock.advance(20_000)
    texts = [b"lost on the way to Ulm"] if end == "forget" else []
    texts += [event.salt.encode() for event in registry._store.history(who) if event.redactable]
    assert any(texts[0] in file.read_bytes() for file in path.parent.iterdir())
    if end == "forget":
        registry.forget(who, by=SERVICE)
    else:
        assert registry.prune_history(who, by=SERVICE, older_than=int(enrolled.clock()))
    left = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert not [text for text in texts if text in left]


def test_text_that_a_reader_kept_is_erased_with_the_next_commit(
    enrolled: Enrolled, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "ERASE_WAIT", 0.05)
    salt = enrolled.registry._store.history(enrolled.principal)[0].salt.encode()
    bob = PrincipalId.user("123456789012", "bob")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event").fetchall()
        enrolled.registry.forget(enrolled.principal, by=SERVICE)
        assert any(salt in file.read_bytes() for file in path.parent.iterdir())
    enrolled.registry.open_enrollment(bob, by=SERVICE, label="bob")
    assert not any(salt in file.read_bytes() for file in path.parent.iterdir())


# The clock


def test_a_clock_behind_the_last_change_of_the_file_is_reported(
    enrolled: Enrolled, store: SQLiteStore, path: Path
) -> None:
    changed_at = path.with_name(path.name + "-wal").stat().st_mtime
    assert store.health(changed_at + 100_000) == ()
    assert store.health(changed_at - 20) == ()
    (problem,) = store.health(changed_at - 3600)
    assert isinstance(problem, ClockWentBack)
    assert "3600 seconds behind" in str(problem)
    assert store.health(changed_at - 3600, tolerance=4000) == ()
