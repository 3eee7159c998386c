"""The SQLAlchemy stores keep the contract of every store, over each driver."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from sqlalchemy_databases import ASYNC, SYNC, open_store, sync_url
from vmfa import Principal, Store
from vmfa.stores.base import ListsOrphans
from vmfa.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore
from vmfa.testing import StoreContract
from vmfa.testing._contract_tools import commit_next, new_user


@contextmanager
def rolled_back(url: Any) -> Iterator[None]:
    """A transaction of the application, rolled back at its end."""
    engine = create_engine(sync_url(url))
    with engine.connect() as connection:
        connection.begin()
        yield
    engine.dispose()


class SQLAlchemyContract(StoreContract):
    @pytest.fixture
    def store(self, request: pytest.FixtureRequest, driver: str, tmp_path: Any) -> Iterator[Any]:
        with open_store(driver, tmp_path) as store:
            yield store

    def caller_transaction(self, store: Any) -> AbstractContextManager[Any]:
        return rolled_back(store._given.url)

    def test_a_history_without_its_record_is_listed(self, store: Any) -> None:
        """An audit reports it: only a change of the database removes a record alone."""
        if not isinstance(store, ListsOrphans):
            pytest.skip("an audit takes a blocking store")
        stored = commit_next(store, Principal(id=new_user()), 1, 2)
        assert store.orphans(stored.id.account) == []
        engine = create_engine(store._given.url)
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM vmfa_principal"))
        engine.dispose()
        assert store.orphans(stored.id.account) == [stored.id]
        assert store.orphans(stored.id.account, after=stored.id) == []
        assert store.orphans("another") == []


@pytest.mark.parametrize("driver", ["pysqlite", "aiosqlite"])
class TestSQLite(SQLAlchemyContract):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("driver", [name for name in SYNC + ASYNC if "sqlite" not in name])
class TestServers(SQLAlchemyContract):
    pass


@pytest.mark.parametrize("kind", [SQLAlchemyStore, AsyncSQLAlchemyStore])
@pytest.mark.parametrize("name", ["load", "commit", "principals", "history"])
def test_a_store_has_the_signatures_of_the_protocol(kind: type, name: str) -> None:
    assert inspect.signature(getattr(kind, name)) == inspect.signature(getattr(Store, name))
