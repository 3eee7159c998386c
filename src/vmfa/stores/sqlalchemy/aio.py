"""The store for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ...errors import InvalidType, StoreError, StoreUnavailable, VmfaError
from ...events import AuditEvent
from ...models import Principal, PrincipalId
from .calls import FAILURES, Call, Calls, Stored, in_doubt
from .tables import Tables

T = TypeVar("T")


class AsyncSQLAlchemyStore(Stored):
    """:class:`SQLAlchemyStore` for asyncio, over an ``AsyncEngine``.

    A commit is finished even if its task is canceled; :class:`asyncio.CancelledError` is raised
    then.

    :param engine: the engine of the application.
    :param tables: see :class:`SQLAlchemyStore`.
    :param timeout: seconds for each attempt, from the wait for a connection to the last answer,
        besides what :class:`SQLAlchemyStore` does with it.
    :param unsafe_not_durable: see :class:`SQLAlchemyStore`.
    """

    def __init__(
        self, engine: AsyncEngine, *, tables: Tables | None = None, timeout: float | None = 10.0,
        unsafe_not_durable: bool = False,
    ) -> None:
        if not isinstance(engine, AsyncEngine):
            raise InvalidType(
                "engine must be a sqlalchemy.ext.asyncio.AsyncEngine; in a transaction of your"
                " own, use AsyncOwnTransaction"
            )
        super().__init__(engine.sync_engine, tables, timeout, unsafe=unsafe_not_durable)
        self._calls = Calls(self)
        self._engines: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine]
        self._engines = WeakKeyDictionary()  # no connection is used in two event loops

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections of the store in the running event loop."""
        engine = self._engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            await engine.dispose()

    async def create_schema(self) -> None:
        """Do what :meth:`SQLAlchemyStore.create_schema` does."""
        await self._run(self._calls.create_schema())

    async def health(
        self, now: float | None = None, *, tolerance: int = 30
    ) -> tuple[VmfaError, ...]:
        """Return what :meth:`SQLAlchemyStore.health` returns."""
        try:
            return await self._run(self._calls.health(now, tolerance))
        except StoreError as problem:
            return (problem.with_traceback(None),)

    async def load(self, principal: PrincipalId) -> Principal:
        """Return the newest committed record of *principal*."""
        return await self._run(self._calls.load(principal))

    async def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        """Do what :meth:`SQLAlchemyStore.commit` does."""
        return await _finished(self._run(self._calls.commit(before, after, events)))

    async def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the stored principals of *account*."""
        return await self._run(self._calls.principals(account, after, limit))

    async def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """Return a page of the stored events of *principal*."""
        return await self._run(self._calls.history(principal, after, limit))

    async def _run(self, call: Call[T]) -> T:
        try:
            while True:
                failure: StoreError | None
                try:
                    async with asyncio.timeout(self.timeout):
                        return await self._attempt(call)
                except FAILURES as error:
                    failure = call.failed(error)
                except TimeoutError:
                    cause = f"the database did not answer within {self.timeout} seconds"
                    failure = in_doubt(cause) if call.committing else StoreUnavailable(
                        f"{cause}; nothing was changed"
                    )
                if failure is not None:
                    raise failure  # noqa: TRY301  # annotated below if it is not ours
                pause = call.pause()
                self.on_wait("retry", pause)
                await asyncio.sleep(pause)
        except BaseException as error:
            call.annotate(error)
            raise

    async def _attempt(self, call: Call[T]) -> T:
        started = time.monotonic()
        async with self._engine().connect() as connection:
            self.on_wait("connection", time.monotonic() - started)
            return await connection.run_sync(call.run)

    def _engine(self) -> AsyncEngine:
        loop = asyncio.get_running_loop()
        engine = self._engines.get(loop)
        if engine is None:
            url, arguments = self.engine_arguments()
            engine = self._engines[loop] = create_async_engine(url, **arguments)
            event.listen(engine.sync_engine, "connect", self.prepare)
        return engine


async def _finished(work: Coroutine[Any, Any, T]) -> T:
    """Wait for *work* to its end, also if this task is canceled."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        _ = task.cancelled() or task.exception()  # retrieved: the caller gets the cancellation
        raise
