"""Calls that a signal handler makes in the middle of another call of the same thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vmfa import (
    Actor,
    DerivedKeys,
    DeviceRegistry,
    MemoryStore,
    Principal,
    PrincipalId,
    SQLiteStore,
    StoreContended,
    StoreUnavailable,
)
from vmfa.stores import sqlite
from vmfa.stores._lock import is_owned, new_lock, run_locked

WHO = PrincipalId.user("123456789012", "u-4711")
NEW = Principal(id=WHO)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    with SQLiteStore(tmp_path / "mfa.db", timeout=0.05) as store:
        assert store.load(WHO) == NEW
        yield store


def test_a_thread_that_owns_the_lock_keeps_it() -> None:
    lock = new_lock()

    def nested() -> bool:
        run_locked(lock, lambda: None)
        return is_owned(lock)

    assert run_locked(lock, nested)
    assert not is_owned(lock)


def test_a_commit_within_a_call_of_the_same_thread_is_refused_by_memory() -> None:
    store = MemoryStore()
    with pytest.raises(StoreContended, match="same thread"):
        run_locked(store._lock, lambda: store.commit(NEW, NEW, ()))
    assert store.load(WHO) == NEW


def test_a_call_within_a_call_of_the_same_thread_is_refused_by_sqlite(
    store: SQLiteStore,
) -> None:
    with pytest.raises(StoreContended):
        run_locked(store._lock, lambda: store.load(WHO))
    assert store.load(WHO) == NEW


def test_a_call_waits_no_longer_than_its_timeout_for_another_thread(store: SQLiteStore) -> None:
    def load_in_a_thread() -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(store.load, WHO).result()

    with pytest.raises(StoreContended):
        run_locked(store._lock, load_in_a_thread)
    assert load_in_a_thread() == NEW


def test_a_fork_within_a_call_leaves_the_lock_to_that_call(store: SQLiteStore) -> None:
    def fork() -> bool:
        sqlite._before_fork()
        sqlite._after_fork()
        return is_owned(store._lock)

    assert run_locked(store._lock, fork)
    assert not is_owned(store._lock)
    assert store.load(WHO) == NEW


def test_a_connection_of_another_process_is_not_used(store: SQLiteStore) -> None:
    store._process = -1
    with pytest.raises(StoreUnavailable, match="open it again in the child"):
        store.load(WHO)


def test_an_exception_after_commit_was_sent_says_that_the_change_may_be_stored(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: Principal) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_remember", interrupt)  # the step that follows COMMIT
    registry = DeviceRegistry(store, keys=DerivedKeys(bytes(range(32))), issuer="Example")
    with pytest.raises(KeyboardInterrupt) as caught:
        registry.open_enrollment(WHO, by=Actor.signed_in(WHO), label="alice@example.com")
    assert caught.value.__notes__ == [sqlite.INTERRUPTED]


def test_a_system_without_posix_calls_creates_an_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new.db"
    store = SQLiteStore(path)
    with monkeypatch.context() as windows:
        windows.delattr("os.fchmod")
        windows.setattr("os.name", "nt")
        store._create_empty_file()
    assert path.read_bytes() == b""
    assert store.load(WHO) == NEW
    store.close()
