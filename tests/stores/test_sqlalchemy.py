"""The SQLAlchemy stores, over each driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine

from sqlalchemy_databases import new_database
from vmfa import Store
from vmfa.stores.sqlalchemy import SQLAlchemyStore
from vmfa.testing import StoreContract


@contextmanager
def rolled_back(engine: Engine) -> Iterator[None]:
    """A transaction of the application, rolled back at its end."""
    with engine.connect() as connection:
        connection.begin()
        yield


@pytest.fixture(params=["pysqlite", "psycopg", "pymysql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with new_database(request.param, tmp_path) as url:
        engine = create_engine(url)
        yield engine
        engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Iterator[SQLAlchemyStore]:
    with SQLAlchemyStore(engine) as store:
        store.create_schema()
        yield store


class TestContract(StoreContract):
    def caller_transaction(self, store: Store) -> AbstractContextManager[Any]:
        assert isinstance(store, SQLAlchemyStore)
        return rolled_back(store._given)


def test_a_healthy_database_has_no_faults(store: SQLAlchemyStore) -> None:
    assert store.health() == ()
