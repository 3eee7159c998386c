"""The stores that come with the library keep the contract."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support import MASTER, HandClock, enroll
from vmfa import DerivedKeys, DeviceRegistry, MemoryStore, Principal, PrincipalId, SQLiteStore, Store
from vmfa.testing import StoreContract

METHODS = ("load", "commit", "principals", "history")


@pytest.mark.parametrize("kind", [MemoryStore, SQLiteStore])
@pytest.mark.parametrize("name", METHODS)
def test_a_store_is_called_as_the_port_says(kind: type, name: str) -> None:
    assert inspect.signature(getattr(kind, name)) == inspect.signature(getattr(Store, name))


def test_a_removal_compares_the_revision_beside_the_tag(tmp_path: Path, clock: HandClock, alice: PrincipalId) -> None:
    with SQLiteStore(tmp_path / "mfa.db") as store:
        enroll(DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock), clock, alice)
        held = store.load(alice)
        assert not store.commit(replace(held, revision=held.revision + 5), Principal(id=alice), [])
        assert store.load(alice) == held


def test_a_page_of_less_than_nothing_is_empty(tmp_path: Path, clock: HandClock) -> None:
    """SQLite takes a negative limit for none at all."""
    with SQLiteStore(tmp_path / "mfa.db") as file:
        for store in (MemoryStore(), file):
            registry = DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock)
            people = [enroll(registry, clock, PrincipalId.user("123456789012", name)).principal for name in "ab"]
            assert not store.principals("123456789012", limit=-1)
            assert not store.history(people[0], limit=-1)
            assert [event.number for event in store.history(people[0], after=-1)] == [1, 2]


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
