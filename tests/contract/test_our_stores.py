"""The stores of the library keep the contract."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vmfa import MemoryStore, SQLiteStore, Store
from vmfa.testing import StoreContract

METHODS = ("load", "commit", "principals", "history")


@pytest.mark.parametrize("kind", [MemoryStore, SQLiteStore])
@pytest.mark.parametrize("name", METHODS)
def test_a_store_has_the_signatures_of_the_protocol(kind: type, name: str) -> None:
    assert inspect.signature(getattr(kind, name)) == inspect.signature(getattr(Store, name))


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


def test_the_memory_store_compares_and_sets_under_one_lock() -> None:
    class SlowDict(dict[Any, Any]):
        def get(self, *key: Any) -> Any:
            value = super().get(*key)
            time.sleep(0.001)  # other threads run between the comparison and the write
            return value

    store = MemoryStore()
    store._records = SlowDict()
    StoreContract().test_one_of_many_threads_wins(store)


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with SQLiteStore(tmp_path / "mfa.db") as store:
            yield store


class TestSQLiteStoreWithReversedSelects(StoreContract):
    """SQLite may return rows in this order wherever a statement has no ORDER BY."""

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


class TestSQLiteStoreWithOtherRecords(StoreContract):
    """The contract needs no empty store."""

    @pytest.fixture
    def store(self, shared: Path) -> Iterator[Store]:
        with SQLiteStore(shared) as store:
            yield store
