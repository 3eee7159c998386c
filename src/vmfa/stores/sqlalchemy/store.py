"""The stores over an engine of SQLAlchemy, which open connections of their own.

A verification is one SELECT and one compare-and-set UPDATE. Each is a transaction of its own, on
a connection that no session of the application uses.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Generic, Self, TypeVar

from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, TimeoutError as PoolTimeout
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from ...errors import (
    InvalidType,
    InvalidValue,
    OutcomeUnknown,
    RecordTampered,
    SchemaUntrusted,
    StoreContended,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    VmfaError,
)
from ...events import AuditEvent
from ...models import Principal, PrincipalId
from ..base import WaitObserver, ignore_wait
from .databases import Database, Failure, database_of
from .records import Records, Statements
from .tables import Tables, vmfa_tables

T = TypeVar("T")

CHECK_EVERY: Final = 10.0  # seconds, within which a changed setting or table is noticed
FIRST_PAUSE: Final = 0.0005  # seconds; doubles
LONGEST_PAUSE: Final = 0.05
LOGGING_NAME: Final = "vmfa"
CHECKED_AT: Final = "vmfa_checked_at"  # in the info of a connection
FAILURES: Final = (SQLAlchemyError, UnicodeDecodeError)
Work = Callable[["Call[T]", Records], T]

# With echo=True, and at level DEBUG, SQLAlchemy would log what is stored.
logging.getLogger(f"sqlalchemy.engine.Engine.{LOGGING_NAME}").setLevel(logging.WARNING)


class Call(Generic[T]):
    """One call of a store: everything that does not wait."""

    def __init__(self, store: Stored, work: Work[T], *, check: bool = True) -> None:
        self._store = store
        self._work = work
        self._check = check
        self._pause = FIRST_PAUSE
        self._deadline = time.monotonic() + (store.timeout or float("inf"))
        self.committing = False  # what commits was sent, and not undone
        self._open = False  # a transaction of this call is open

    def run(self, connection: Connection) -> T:
        """Do the work over a connection that commits each statement by itself."""
        self.committing = self._open = False
        clean = False
        try:
            if self._store.database.in_transaction(connection.connection.dbapi_connection):
                raise InvalidValue(
                    "this connection is in a transaction of your application: the pool gives one"
                    " connection to several users; to use your own transaction, see Operations"
                )
            records = Records(connection, self._store.statements)
            if self._check:
                self._store.check(connection)
            result = self._work(self, records)
            clean = True
            return result
        finally:
            if self._open:
                clean = self._roll_back(connection) or clean
            if not clean and not connection.invalidated:
                connection.invalidate()

    def begin(self, connection: Connection) -> None:
        """Begin a transaction."""
        self._open = True
        connection.exec_driver_sql(self._store.database.begin)

    def commit(self, connection: Connection) -> None:
        """Commit the transaction."""
        self.committing = True
        connection.exec_driver_sql("COMMIT")
        self._open = False

    def _roll_back(self, connection: Connection) -> bool:
        if connection.invalidated:
            return False
        with suppress(SQLAlchemyError):
            connection.exec_driver_sql("ROLLBACK")
            self._open = False
            return True
        return False

    def failed(self, error: SQLAlchemyError | UnicodeDecodeError) -> StoreError | None:
        """Return the error to raise, or None to wait for :meth:`pause` and to try again."""
        failure, again = translate_error(
            self._store.database, error, committing=self.committing
        )
        if again and time.monotonic() < self._deadline:
            return None
        return failure

    def pause(self) -> float:
        """Return the seconds to wait before the next attempt."""
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return max(0.0, min(self._pause, self._deadline - time.monotonic()))

    def annotate(self, error: BaseException) -> None:
        """Note on *error*, which is not ours, that it interrupted a commit."""
        if self.committing and not isinstance(error, VmfaError):
            error.add_note(
                "vmfa: this exception interrupted a commit after it was sent: the change may have"
                " been stored"
            )


def translate_error(
    database: Database, error: SQLAlchemyError | UnicodeDecodeError, *, committing: bool
) -> tuple[StoreError, bool]:
    """Return our error for *error*, without its text, and whether to try again.

    :param committing: whether the statement was sent that may have stored the change.
    """
    if isinstance(error, UnicodeDecodeError):
        return RecordTampered("a stored record is not text"), False
    if not isinstance(error, DBAPIError):
        cause = "the pool had none in time" if isinstance(error, PoolTimeout) else (
            type(error).__name__
        )
        return StoreUnavailable(f"no connection ({cause}); nothing was changed"), False
    failure, name = database.meaning(error)
    if error.connection_invalidated:
        failure = Failure.LOST
    if committing and failure not in database.certain:
        return OutcomeUnknown(
            f"the commit was not confirmed ({name}): the change may have been stored;"
            " nothing was accepted, and a code that was typed may be used"
        ), False
    match failure:
        case Failure.UNDONE:
            return StoreContended(
                f"others kept changing the same rows ({name}); nothing was changed"
            ), True
        case Failure.WAITED:
            return StoreContended(
                f"the database gave up waiting, for a lock for example ({name}); nothing was"
                " changed"
            ), False
        case Failure.LOST:
            return StoreUnavailable(
                f"no connection, or it was lost ({name}); nothing was changed"
            ), error.connection_invalidated
        case Failure.NO_TABLES:
            return StoreUnavailable(
                "the database has no vmfa tables: call create_schema(), or run your migrations"
            ), False
        case Failure.CORRUPT:
            return StoreCorrupt(f"the database reports that it is damaged ({name})"), False
        case Failure.CHANGED_TABLES:
            return SchemaUntrusted(
                f"the tables are not those that vmfa created ({name}); nothing was changed"
            ), False
        case _:
            return StoreUnavailable(
                f"the database refused a statement ({name}); nothing was changed"
            ), False


class Stored:
    """What the two stores share."""

    def __init__(
        self, engine: Engine, tables: Tables | None, timeout: float | None, unsafe: bool
    ) -> None:
        if isinstance(engine.pool, (StaticPool, SingletonThreadPool)):
            raise InvalidValue(
                "the pool of this engine shares one connection with sessions of your application,"
                " whose rollback would take back what vmfa stored: use a file and not :memory:,"
                " and no StaticPool; for tests, use MemoryStore"
            )
        self._given = engine
        self.tables = vmfa_tables(MetaData()) if tables is None else tables
        self.timeout = timeout
        self.unsafe_not_durable = unsafe
        self.on_wait: WaitObserver = ignore_wait
        self.database = database_of(engine.dialect)
        self.statements = Statements(self.tables, engine.dialect)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # the URL of an engine may contain a password

    def new_engine(self) -> Engine:
        """Return an engine with new connections that commit each statement by themselves."""
        engine = create_engine(
            self._given.url, pool=self._given.pool.recreate(), isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True, hide_parameters=True, logging_name=LOGGING_NAME,
        )
        event.listen(engine, "connect", self._prepare)
        return engine

    def _prepare(self, connection: Any, _: object) -> None:
        cursor = connection.cursor()

        def execute(statement: str) -> list[Any]:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

        try:
            self.database.session_settings(
                execute, self.timeout, durable=not self.unsafe_not_durable
            )
        finally:
            cursor.close()

    def check(self, connection: Connection) -> None:
        """Check the settings and the tables, once in a while on each connection.

        :raises StoreError: the first fault.
        """
        info = connection.info
        if time.monotonic() < info.get(CHECKED_AT, float("-inf")) + CHECK_EVERY:
            return
        info.pop(CHECKED_AT, None)
        for fault in self.faults(connection):
            raise fault
        info[CHECKED_AT] = time.monotonic()

    def faults(self, connection: Connection) -> list[StoreError]:
        """Return what is wrong with the settings and the tables."""
        durable = not self.unsafe_not_durable
        return list(self.database.faults(connection, self.tables, durable=durable))


# The work of each method


def load(principal: PrincipalId, _: Call[Any], records: Records) -> Principal:
    """Return the stored record."""
    return records.load(principal)


def commit(
    before: Principal, after: Principal, events: Sequence[AuditEvent], call: Call[Any],
    records: Records,
) -> bool:
    """Compare and set, with the events, in one transaction."""
    if records.is_single_update(before, after, events):
        call.committing = True  # one statement is one transaction
        done = records.update_alone(before, after)
        call.committing = done
        return done
    call.begin(records.connection)
    if not records.write(before, after, events):
        return False
    call.commit(records.connection)
    return True


def principals(
    account: str, after: PrincipalId | None, limit: int, _: Call[Any], records: Records
) -> Sequence[PrincipalId]:
    """Return a page of principals."""
    return records.principals(account, after, limit)


def accounts(after: str, limit: int, _: Call[Any], records: Records) -> Sequence[str]:
    """Return a page of accounts."""
    return records.accounts(after, limit)


def history(
    principal: PrincipalId, after: int, limit: int, _: Call[Any], records: Records
) -> Sequence[AuditEvent]:
    """Return a page of events."""
    return records.history(principal, after, limit)


class SQLAlchemyStore(Stored):
    """Keep records in a database that SQLAlchemy reaches: PostgreSQL, MariaDB or SQLite.

    The store opens connections of its own, with the settings of the pool of *engine*. So no
    session of the application can roll back what it stored, and a request that holds a connection
    never waits for another one of the same pool.

    :param engine: the engine of the application.
    :param tables: the tables, from :func:`vmfa_tables`; None for tables outside of any
        ``MetaData`` of the application, which :meth:`create_schema` creates.
    :param timeout: seconds for which a statement may wait or run on the server, and for which
        what is known not to have been done is repeated. None sets nothing on the server.
    :param unsafe_not_durable: accept a database whose crash may take back stored changes, and so
        make used codes valid again.
    :raises InvalidType: *engine* is not an ``Engine``.
    :raises InvalidValue: the store does not support the database, or its pool shares a connection.
    """

    def __init__(
        self, engine: Engine, *, tables: Tables | None = None, timeout: float | None = 10.0,
        unsafe_not_durable: bool = False,
    ) -> None:
        if not isinstance(engine, Engine):
            raise InvalidType(
                "engine must be a sqlalchemy.Engine; in a transaction of your own, use"
                " run_operation()"
            )
        super().__init__(engine, tables, timeout, unsafe_not_durable)
        self._engines: dict[int, Engine] = {}  # by process: no connection survives a fork

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
        """Create the tables that are missing. An application with Alembic does not need this.

        :raises StoreError: the database cannot be used.
        """
        def create(_: Call[None], records: Records) -> None:
            self.tables.principal.create(records.connection, checkfirst=True)
            self.tables.event.create(records.connection, checkfirst=True)

        self._call(Call(self, create, check=False))

    def health(self) -> tuple[StoreError, ...]:
        """Return what is wrong with the database, as errors that are not raised.

        :returns: an empty tuple if nothing is wrong.
        """
        def look(_: Call[Any], records: Records) -> tuple[StoreError, ...]:
            return tuple(self.faults(records.connection))

        try:
            return self._call(Call(self, look, check=False))
        except StoreError as problem:
            return (problem.with_traceback(None),)

    def load(self, principal: PrincipalId) -> Principal:
        """Return the newest committed record of *principal*.

        :raises StoreError: the record cannot be read.
        """
        return self._call(Call(self, partial(load, principal)))

    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        """Replace *before* by *after* and append *events*, durably, in one transaction.

        :returns: False, with nothing written, if the stored record is no longer *before*.
        :raises OutcomeUnknown: the commit was sent and not confirmed.
        :raises StoreError: nothing was stored.
        """
        return self._call(Call(self, partial(commit, before, after, events)))

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the stored principals of *account*."""
        return self._call(Call(self, partial(principals, account, after, limit)))

    def accounts(self, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return a page of the accounts in which a record is stored."""
        return self._call(Call(self, partial(accounts, after, limit)))

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """Return a page of the stored events of *principal*."""
        return self._call(Call(self, partial(history, principal, after, limit)))

    def _call(self, call: Call[T]) -> T:
        try:
            while True:
                try:
                    started = time.monotonic()
                    with self._engine().connect() as connection:
                        self.on_wait("connection", time.monotonic() - started)
                        return call.run(connection)
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

    def _engine(self) -> Engine:
        engine = self._engines.get(os.getpid())
        if engine is None:
            engine = self._engines.setdefault(os.getpid(), self.new_engine())
        return engine
