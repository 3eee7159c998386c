"""Every asynchronous store in turn, on a loop of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from awaited import Awaited
from postgres_server import database, server  # noqa: F401  # fixtures
from vmfa import MemoryStore, SQLiteStore
from vmfa.aio import InThreads
from vmfa.stores.postgres_async import AsyncPostgresStore

Run = Callable[[Awaitable[Any]], Any]


@pytest.fixture
def loop() -> Iterator[Awaited]:
    with Awaited(object()) as made:
        yield made


@pytest.fixture
def run(loop: Awaited) -> Run:
    return loop.run


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def astore(request: pytest.FixtureRequest, loop: Awaited, tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as opened:
        if request.param == "memory":
            yield InThreads(MemoryStore())
        elif request.param == "sqlite":
            yield InThreads(opened.enter_context(SQLiteStore(tmp_path / "mfa.db")))
        else:
            store = AsyncPostgresStore(request.getfixturevalue("database"))
            loop.run(store.create_schema())
            yield store
            loop.run(store.close())
