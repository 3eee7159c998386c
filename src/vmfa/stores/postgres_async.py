"""The PostgreSQL store for asyncio: the lines that wait. What is said, and when said again, is in ``postgres``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

from ..errors import StoreError, VmfaError
from ..events import AuditEvent
from ..models import Principal, PrincipalId
from .postgres import (
    Call,
    Postgres,
    commit_script,
    create_script,
    history_script,
    load_script,
    principals_script,
)

# isort: split
import psycopg  # only now: postgres says what to install where it is missing
import psycopg_pool
from psycopg.rows import tuple_row

from ._pool import MAX_CONNECTIONS

T = TypeVar("T")


class AsyncPostgresStore(Postgres):
    """:class:`PostgresStore` for asyncio: its source is an ``AsyncConnectionPool`` or a connection string."""

    def __init__(
        self, source: str | psycopg_pool.AsyncConnectionPool[Any], *, timeout: float = 10.0,
        unsafe_not_durable: bool = False,
    ) -> None:
        super().__init__(source, timeout, unsafe_not_durable)
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, psycopg_pool.AsyncConnectionPool[Any]]
        self._pools = WeakKeyDictionary()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """As :meth:`PostgresStore.close`, for the running event loop."""
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.close()

    async def create_schema(self) -> None:
        """As :meth:`PostgresStore.create_schema`."""
        await self._call(Call(self, create_script, look=False))

    async def health(self, now: float | None = None, *, tolerance: int = 30) -> tuple[VmfaError, ...]:
        """As :meth:`PostgresStore.health`."""
        moment = time.time() if now is None else now
        try:
            return await self._call(Call(self, partial(self.problems, moment, tolerance), look=False))
        except StoreError as problem:
            return (problem.with_traceback(None),)

    async def load(self, principal: PrincipalId) -> Principal:
        return await self._call(Call(self, partial(load_script, principal)))

    async def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        return await self._call(Call(self, partial(commit_script, before, after, events)))

    async def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        return await self._call(Call(self, partial(principals_script, account, after, limit)))

    async def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        return await self._call(Call(self, partial(history_script, principal, after, limit)))

    async def _call(self, call: Call[T]) -> T:
        while True:
            try:
                pool = await self._pool()
                connection = await pool.getconn(call.left)
                try:
                    call.begin(connection)
                    step = call.next(None)
                    while step is not None:
                        cursor = call.cursors.get(step.sql)
                        if cursor is None:
                            cursor = call.cursors[step.sql] = psycopg.AsyncCursor(connection, row_factory=tuple_row)
                        await cursor.execute(step.sql, step.values)
                        step = call.next((cursor.rowcount, [] if cursor.rownumber is None else await cursor.fetchall()))
                finally:
                    await pool.putconn(connection)  # which rolls back what is unfinished
            except psycopg.Error as error:
                failure = call.failed(error)
            else:
                return call.value
            if failure is not None:
                raise failure
            await asyncio.sleep(call.pause())

    async def _pool(self) -> psycopg_pool.AsyncConnectionPool[Any]:
        if not isinstance(self.source, str):
            given: psycopg_pool.AsyncConnectionPool[Any] = self.given()
            return given
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            pool = self._pools[loop] = psycopg_pool.AsyncConnectionPool(
                kwargs=self.settings(), min_size=1, max_size=MAX_CONNECTIONS, open=False
            )
        if pool.closed:
            await pool.open()
        return pool
