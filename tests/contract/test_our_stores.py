"""The stores that come with the library keep the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vmfa import MemoryStore, SQLiteStore, Store
from vmfa.testing import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with SQLiteStore(tmp_path / "mfa.db") as store:
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
