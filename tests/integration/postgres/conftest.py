"""Both PostgreSQL stores behind one interface, so that each test covers both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from awaited import Awaited
from postgres_server import crashable, database, server  # noqa: F401  # fixtures
from support import MASTER, HandClock
from vmfa import DerivedKeys, DeviceRegistry
from vmfa.stores.postgres import PostgresStore
from vmfa.stores.postgres_async import AsyncPostgresStore

OpenStore = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def open_store(request: pytest.FixtureRequest) -> Iterator[OpenStore]:
    """A function from what a store is given to the store, which is closed after the test."""
    with ExitStack() as opened:
        if request.param == "sync":
            yield lambda *args, **kwargs: opened.enter_context(PostgresStore(*args, **kwargs))
        else:
            yield lambda *args, **kwargs: opened.enter_context(
                Awaited(AsyncPostgresStore(*args, **kwargs))
            )


@pytest.fixture
def store(open_store: OpenStore, database: str) -> Any:  # noqa: F811  # the fixture
    """A store with its tables, over a connection string."""
    made = open_store(database)
    made.create_schema()
    return made


@pytest.fixture
def registry(store: Any, clock: HandClock) -> DeviceRegistry:
    return DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock)
