"""The blocking store."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Self, TypeVar
from weakref import WeakSet

from sqlalchemy import Engine, create_engine, event

from ...errors import InvalidType, StoreError, VmfaError
from ...events import AuditEvent
from ...models import Principal, PrincipalId
from .calls import FAILURES, Call, Calls, Stored
from .tables import Tables

T = TypeVar("T")


class SQLAlchemyStore(Stored):
    """Keep records in a database that SQLAlchemy reaches: PostgreSQL, MariaDB or SQLite.

    The store opens connections of its own, with the settings of the engine's pool. No session of
    the application can roll back what it stored, and a request that holds a connection never
    waits for another one of the same pool.

    :param engine: the engine of the application.
    :param tables: the tables, from :func:`vmfa_tables`; None for tables that are not in the
        ``MetaData`` of the application.
    :param timeout: seconds that a statement may take on the server, and in which what is known
        not to have been done is repeated. None sets no limit on the server.
    :param unsafe_not_durable: accept a database whose crash may take back stored changes, and so
        make used codes valid again.
    :raises InvalidType: *engine* is not an ``Engine``.
    :raises InvalidValue: the database is not supported, or the pool shares one connection.
    """

    def __init__(
        self, engine: Engine, *, tables: Tables | None = None, timeout: float | None = 10.0,
        unsafe_not_durable: bool = False,
    ) -> None:
        if not isinstance(engine, Engine):
            raise InvalidType(
                "engine must be a sqlalchemy.Engine; in a transaction of your own, use"
                " OwnTransaction"
            )
        super().__init__(engine, tables, timeout, unsafe=unsafe_not_durable)
        self._calls = Calls(self)
        self._engines: dict[int, Engine] = {}  # by process: no connection survives a fork
        _stores.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of the store in this process. The next call opens others."""
        engine = self._engines.pop(os.getpid(), None)
        if engine is not None:
            engine.dispose()

    def create_schema(self) -> None:
        """Create the tables that are missing. Any number of processes may do so at once.

        :raises SchemaUntrusted: a table exists and is not as this release creates it.
        :raises StoreError: the database cannot be used.
        """
        self._run(self._calls.create_schema())

    def health(self, now: float | None = None, *, tolerance: int = 30) -> tuple[VmfaError, ...]:
        """Return what is wrong with the database, as errors that are not raised.

        :param now: the Unix time of this machine, default ``time.time()``.
        :param tolerance: seconds by which it may differ from the clock of the database.
        :returns: an empty tuple if nothing is wrong.
        """
        try:
            return self._run(self._calls.health(now, tolerance))
        except StoreError as problem:
            return (problem.with_traceback(None),)

    def load(self, principal: PrincipalId) -> Principal:
        """Return the newest committed record of *principal*.

        :raises StoreError: the record cannot be read.
        """
        return self._run(self._calls.load(principal))

    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        """Replace *before* by *after* and append *events*, durably, in one transaction.

        :returns: False, with nothing written, if the stored record is no longer *before*.
        :raises OutcomeUnknown: the commit was sent and not confirmed.
        :raises StoreError: nothing was stored.
        """
        return self._run(self._calls.commit(before, after, events))

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the stored principals of *account*."""
        return self._run(self._calls.principals(account, after, limit))

    def orphans(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the principals of *account* that have events and no record."""
        return self._run(self._calls.orphans(account, after, limit))

    def accounts(self, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return a page of the accounts in which a record is stored."""
        return self._run(self._calls.accounts(after, limit))

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """Return a page of the stored events of *principal*."""
        return self._run(self._calls.history(principal, after, limit))

    def _run(self, call: Call[T]) -> T:
        try:
            while True:
                try:
                    return self._attempt(call)
                except FAILURES as error:
                    failure = call.failed(error)
                if failure is not None:
                    raise failure  # noqa: TRY301  # annotated below if it is not ours
                pause = call.pause()
                self.on_wait("retry", pause)
                time.sleep(pause)
        except BaseException as error:
            call.annotate(error)
            raise

    def _attempt(self, call: Call[T]) -> T:
        started = time.monotonic()
        with self._engine().connect() as connection:
            self.on_wait("connection", time.monotonic() - started)
            return call.run(connection)

    def _engine(self) -> Engine:
        engine = self._engines.get(os.getpid())
        if engine is None:
            url, arguments = self.engine_arguments()
            engine = create_engine(url, **arguments)
            event.listen(engine, "connect", self.prepare)
            engine = self._engines.setdefault(os.getpid(), engine)
        return engine


_stores: WeakSet[SQLAlchemyStore] = WeakSet()


def _before_fork() -> None:
    """Close idle connections of SQLite, whose bookkeeping of locks does not survive a fork."""
    for store in list(_stores):
        if store.database.closed_before_fork:
            store.close()


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows cannot fork
    os.register_at_fork(before=_before_fork)
