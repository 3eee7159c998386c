"""The stores that come with the library keep the contract."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vmfa import MemoryStore, SQLiteStore, Store
from vmfa.testing import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


def test_the_memory_store_compares_and_sets_under_one_lock() -> None:
    class SlowlyRead(dict[Any, Any]):
        def get(self, *key: Any) -> Any:
            found = super().get(*key)
            time.sleep(0.001)  # another thread's turn, between what is compared and what is set
            return found

    store = MemoryStore()
    store._records = SlowlyRead()
    StoreContract().test_one_of_many_threads_wins(store)


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with SQLiteStore(tmp_path / "mfa.db") as store:
            yield store


class TestSQLiteStoreOrdersWhatItSelects(StoreContract):
    """Where a statement names no order, SQLite is free to answer in this one."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with SQLiteStore(tmp_path / "mfa.db") as store:
            store.principals("nobody")
            assert store._connection is not None
            store._connection.execute("PRAGMA reverse_unordered_selects = ON")
            yield store


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "mfa.db"


class TestSQLiteStoreWithOtherRecordsInIt(StoreContract):
    """The contract leaves what it finds, and needs no empty store."""

    @pytest.fixture
    def store(self, shared: Path) -> Iterator[Store]:
        with SQLiteStore(shared) as store:
            yield store
