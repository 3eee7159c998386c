"""The PostgreSQL store for asyncio: the lines that wait. Everything else is in ``postgres``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

from ..errors import StoreError, VmfaError
from ..events import AuditEvent
from ..models import Principal, PrincipalId
from .postgres import FAILURES, Call, Postgres

# isort: split
import psycopg  # only now: postgres says what to install where it is missing
import psycopg_pool

from ._pool import OwnAsyncConnections
from ._postgres_sql import (
    Step,
    commit_script,
    create_script,
    history_script,
    load_script,
    principals_script,
)
from ._wire import Answer, Wait, cancel

T = TypeVar("T")


class AsyncPostgresStore(Postgres):
    """:class:`PostgresStore` for asyncio.

    Every method returns or raises within *timeout* plus one second. A commit that has a connection
    is finished even if its task is cancelled; :class:`asyncio.CancelledError` is raised then.

    :param source: a connection string, over which each event loop opens up to 8 connections, or a
        ``psycopg_pool.AsyncConnectionPool`` of autocommit connections.
    :param timeout: seconds for a whole call.
    :param unsafe_not_durable: see :class:`PostgresStore`.
    :param require_synchronous_standby: see :class:`PostgresStore`.
    """

    def __init__(
        self, source: str | psycopg_pool.AsyncConnectionPool[Any], *, timeout: float = 10.0,
        unsafe_not_durable: bool = False, require_synchronous_standby: bool = False,
    ) -> None:
        super().__init__(source, timeout, unsafe_not_durable, require_synchronous_standby)
        self._own: WeakKeyDictionary[asyncio.AbstractEventLoop, OwnAsyncConnections]
        self._own = WeakKeyDictionary()
        self._returning: set[asyncio.Future[None]] = set()  # a loop holds its tasks weakly

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Do what :meth:`PostgresStore.close` does, for the running event loop."""
        own = self._own.pop(asyncio.get_running_loop(), None)
        if own is not None:
            await own.close()

    async def create_schema(self) -> None:
        """Do what :meth:`PostgresStore.create_schema` does."""
        await self._call(Call(self, create_script, check=False))

    async def health(
        self, now: float | None = None, *, tolerance: int = 30
    ) -> tuple[VmfaError, ...]:
        """Return what :meth:`PostgresStore.health` returns."""
        moment = time.time() if now is None else now
        try:
            script = partial(self.health_script, moment, tolerance)
            return await self._call(Call(self, script, check=False))
        except StoreError as problem:
            return (problem.with_traceback(None),)

    async def load(self, principal: PrincipalId) -> Principal:
        """Return the newest committed record of *principal*."""
        return await self._call(Call(self, partial(load_script, principal)))

    async def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        """Do what :meth:`PostgresStore.commit` does."""
        call = Call(self, partial(commit_script, before, after, events))
        return await self._call(call, finish=True)

    async def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the stored principals of *account*."""
        return await self._call(Call(self, partial(principals_script, account, after, limit)))

    async def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """Return a page of the stored events of *principal*."""
        return await self._call(Call(self, partial(history_script, principal, after, limit)))

    async def _call(self, call: Call[T], *, finish: bool = False) -> T:
        """Run *call*. ``finish``: a cancellation waits until its statements are done."""
        try:
            while True:
                try:
                    try:
                        return await self._attempt(call, finish)
                    except FAILURES as error:
                        failure = call.failed(error)
                    finally:
                        await self._give_back(call)
                finally:
                    await self._give_back(call)  # again, in case the first was interrupted
                if failure is not None:
                    raise failure  # noqa: TRY301  # annotated below if it is not ours
                pause = call.pause()
                self.on_wait("retry", pause)
                await asyncio.sleep(pause)
        except BaseException as error:
            call.annotate(error)
            raise

    async def _attempt(self, call: Call[T], finish: bool) -> T:
        started = time.monotonic()
        connection = await self._acquire(call)
        self.on_wait("connection", time.monotonic() - started)
        call.begin(connection)
        canceled = False
        step = call.next(None)
        while step is not None:
            answer, was_cancelled = await self._perform(call, step, finish)
            canceled = canceled or was_cancelled
            step = call.next(answer)
        if canceled:
            raise asyncio.CancelledError
        return call.value

    async def _perform(self, call: Call[Any], step: Step, finish: bool) -> tuple[Answer, bool]:
        """Return the answer to one statement, and whether the task was canceled meanwhile."""
        canceled = False
        for wait in call.exchange(step):
            if wait.cancel:
                cancel(call.current)
                continue
            try:
                wait.ready = await _wait(call.current.pgconn.socket, wait)
            except asyncio.CancelledError:
                if not finish:
                    raise
                canceled = True
                wait.ready = True  # look again, and then wait until the same deadline
        return call.answer, canceled

    async def _acquire(self, call: Call[Any]) -> psycopg.AsyncConnection[Any]:
        if isinstance(self.source, str):
            call.own = self._own_connections()
            connection: psycopg.AsyncConnection[Any] = await call.own.acquire(call, call.left)
            return connection
        pool = self.given_pool()
        try:
            call.lent = await pool.getconn(self.pool_wait(call))
        except psycopg_pool.PoolTimeout:
            self.pool_failed = True
            raise
        self.pool_failed = False
        lent: psycopg.AsyncConnection[Any] = call.lent
        return lent

    def _own_connections(self) -> OwnAsyncConnections:
        loop = asyncio.get_running_loop()
        own = self._own.get(loop)
        if own is None:
            own = self._own[loop] = OwnAsyncConnections(self.settings())
        return own

    async def _give_back(self, call: Call[Any]) -> None:
        if call.own is not None:
            call.own.release(call, broken=call.broken)
        elif (lent := call.take_lent()) is not None:
            returning = asyncio.ensure_future(self.source.putconn(lent))
            self._returning.add(returning)
            returning.add_done_callback(self._returning.discard)
            await asyncio.shield(returning)


async def _wait(socket: int, wait: Wait) -> bool:
    """Wait until *socket* can be read, or also written."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    timer = loop.call_later(max(0.0, wait.seconds), _answer, ready, False)
    loop.add_reader(socket, _answer, ready, True)
    if wait.write:
        loop.add_writer(socket, _answer, ready, True)
    try:
        result: bool = await ready
        return result
    finally:
        timer.cancel()
        loop.remove_reader(socket)
        if wait.write:
            loop.remove_writer(socket)


def _answer(ready: asyncio.Future[bool], value: bool) -> None:
    with suppress(asyncio.InvalidStateError):
        ready.set_result(value)
