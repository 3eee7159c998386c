"""Operations inside a transaction of the application, together with its own rows."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from ...decision import Decision
from ...errors import (
    InvalidType,
    InvalidValue,
    OutcomeUnknown,
    StoreContended,
    StoreError,
    VmfaError,
)
from ...models import Principal, PrincipalId
from ...operations import Operation, clear_frames_of
from .calls import CHECK_EVERY, database_of, translate_error
from .databases import Database
from .records import Records, Statements
from .tables import Tables

T = TypeVar("T")
S = TypeVar("S", bound=Session | Connection)
A = TypeVar("A", bound=AsyncSession | AsyncConnection)

ATTEMPTS: Final = 10
CHECKED_AT: Final = "vmfa checked in a transaction at"  # in the info of a connection
CONTENDED: Final = "other callers kept changing this principal; nothing was changed"


class RecordsInTransaction:
    """The records, in a transaction of the application that is open.

    Commit it also after a rejection: its failure must be counted. Settle the decision after the
    commit: before it, the answer is not yet true.

    :param transaction: a ``Session`` or a ``Connection``.
    :param tables: the tables, from :func:`vmfa_tables`.
    :param unsafe_not_durable: see :class:`SQLAlchemyStore`.
    :raises InvalidType: *transaction* is neither.
    :raises InvalidValue: each statement commits by itself, or a savepoint is open.
    :raises StoreError: the tables or the settings of the connection are unsafe.
    """

    def __init__(
        self, transaction: Session | Connection, tables: Tables, *,
        unsafe_not_durable: bool = False,
    ) -> None:
        if not isinstance(transaction, (Session, Connection)):
            raise InvalidType("transaction must be a Session or a Connection of SQLAlchemy")
        connection = _connection_of(transaction)
        if not transaction.in_transaction() or connection.dialect.detect_autocommit_setting(
            connection.connection.dbapi_connection  # type: ignore[arg-type]  # is open
        ):
            raise InvalidValue(
                "no transaction is open: record and events must be committed together"
            )
        if transaction.in_nested_transaction():
            raise InvalidValue(
                "a savepoint is open, whose rollback would take back a counted failure: use the"
                " transaction outside of begin_nested()"
            )
        self._database = database_of(connection.dialect)
        self._records = Records(connection, Statements.of(tables, connection.dialect))
        self._guarded(lambda: self._check(connection, tables, durable=not unsafe_not_durable))

    def load(self, principal: PrincipalId) -> Principal:
        """Return the stored record of *principal*.

        :raises StoreError: the record cannot be read: roll back.
        """
        return self._guarded(lambda: self._records.load(principal))

    def store(self, before: Principal, decision: Decision[Any]) -> bool:
        """Store *decision*, which was made on *before*.

        :returns: False if another caller was faster: roll back, load and decide again.
        :raises StoreError: the decision was not stored: roll back.
        """
        after = decision.principal
        if after is before:
            return True
        return self._guarded(lambda: self._records.write(before, after, decision.stored))

    def decide(self, operation: Operation[T], now: float) -> Decision[T] | None:
        """Load the records, decide *operation* and store the decision.

        :param now: the Unix time in seconds.
        :returns: the decision, or None if another caller was faster: roll back and repeat.
        :raises StoreError: nothing was decided: roll back.
        """
        before = self.load(operation.principal)
        actor_id = operation.actor_record_id
        actor_record = self.load(actor_id) if actor_id is not None else None
        decision = operation.decide(before, now, actor_record)
        return decision if self.store(before, decision) else None

    def _check(self, connection: Connection, tables: Tables, *, durable: bool) -> None:
        info = connection.info
        if time.monotonic() > info.get(CHECKED_AT, float("-inf")) + CHECK_EVERY:
            for fault in self._database.faults(connection, tables, durable=durable):
                raise fault
            info[CHECKED_AT] = time.monotonic()

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (SQLAlchemyError, UnicodeDecodeError) as error:
            failure, _ = translate_error(self._database, error, committing=False)
        raise failure


def _connection_of(transaction: Session | Connection) -> Connection:
    return transaction.connection() if isinstance(transaction, Session) else transaction


class _Attempts(Generic[T]):
    """The attempts to run one operation: everything that does not wait."""

    decision: Decision[T] | None = None
    committing = False

    def __init__(self, operation: Operation[T], tables: Tables, *, unsafe: bool) -> None:
        operation.check()
        self._operation = operation
        self._tables = tables
        self._unsafe = unsafe
        self.left = ATTEMPTS
        self._database: Database | None = None

    def decide(self, transaction: Session | Connection, now: float) -> None:
        """Load, decide and store.

        :raises _Repeat: another caller was faster.
        """
        self.committing = False
        self.left -= 1
        self._database = database_of(_connection_of(transaction).dialect)
        records = RecordsInTransaction(
            transaction, self._tables, unsafe_not_durable=self._unsafe
        )
        self.decision = None
        try:
            self.decision = records.decide(self._operation, now)
        except StoreContended:
            if not self.left:
                raise
        if self.decision is None:
            raise _Repeat

    @property
    def accepted(self) -> bool:
        """Whether the answer is not an error."""
        return self.decision is not None and not isinstance(self.decision.answer, VmfaError)

    @property
    def answer(self) -> T:
        """The answer, which is not an error."""
        assert self.decision is not None  # noqa: S101  # for the type checker
        return self.decision.settle()

    def failed(self, error: DBAPIError) -> StoreError | None:
        """Return our error if the commit failed; None for an error of the application."""
        if not self.committing or self._database is None:
            return None
        failure, _ = translate_error(self._database, error, committing=True)
        return failure if isinstance(failure, (OutcomeUnknown, StoreContended)) else None

    def may_repeat(self, failure: StoreError) -> bool:
        """Return whether to try again after *failure*."""
        return isinstance(failure, StoreContended) and self.left > 0


class _Repeat(Exception):
    """The transaction is rolled back and repeated."""


class OwnTransaction(Generic[S]):
    """Run operations in transactions of the application.

    :param begin: opens a transaction that commits at the end of a ``with`` statement:
        ``Session.begin`` of a ``sessionmaker``, or ``engine.begin``.
    :param tables: the tables, from :func:`vmfa_tables`.
    :param clock: returns the Unix time in seconds.
    :param unsafe_not_durable: see :class:`SQLAlchemyStore`.
    """

    def __init__(
        self, begin: Callable[[], AbstractContextManager[S]], tables: Tables, *,
        clock: Callable[[], float] = time.time, unsafe_not_durable: bool = False,
    ) -> None:
        self._begin = begin
        self._tables = tables
        self._clock = clock
        self._unsafe = unsafe_not_durable

    def run(
        self, operation: Operation[T], on_success: Callable[[S, T], object] | None = None
    ) -> T:
        """Load, decide, store and commit, and then return or raise the answer.

        :param operation: what a method of :class:`vmfa.Operations` returned.
        :param on_success: called in the same transaction, with the ``Session`` or ``Connection``
            and the answer, unless the operation is refused. It may be called again if another
            caller is faster. If it raises an exception, nothing is committed.
        :returns: the answer of the operation.
        :raises OutcomeUnknown: the commit was sent and not confirmed.
        :raises StoreError: nothing was stored.
        :raises VmfaError: the operation was refused.
        """
        try:
            return self._run(operation, on_success)
        except BaseException as error:
            operation.discard()
            if isinstance(error, VmfaError):
                clear_frames_of(error)  # codes may be in their local variables
            raise

    def _run(self, operation: Operation[T], on_success: Callable[[S, T], object] | None) -> T:
        attempts = _Attempts(operation, self._tables, unsafe=self._unsafe)
        while attempts.left:
            try:
                with self._begin() as transaction:
                    attempts.decide(transaction, self._clock())
                    if attempts.accepted and on_success is not None:
                        on_success(transaction, attempts.answer)
                    if isinstance(transaction, Session):
                        transaction.flush()  # an error here is one of the application
                    attempts.committing = True
                return attempts.answer
            except _Repeat:
                continue
            except DBAPIError as error:
                failure = attempts.failed(error)
                if failure is None:
                    raise
            if not attempts.may_repeat(failure):
                raise failure
        raise StoreContended(CONTENDED)


class AsyncOwnTransaction(Generic[A]):
    """:class:`OwnTransaction` for asyncio.

    :param begin: ``AsyncSession.begin`` of an ``async_sessionmaker``, or ``engine.begin`` of an
        ``AsyncEngine``.
    :param tables: see :class:`OwnTransaction`.
    :param clock: see :class:`OwnTransaction`.
    :param unsafe_not_durable: see :class:`SQLAlchemyStore`.
    """

    def __init__(
        self, begin: Callable[[], AbstractAsyncContextManager[A]], tables: Tables, *,
        clock: Callable[[], float] = time.time, unsafe_not_durable: bool = False,
    ) -> None:
        self._begin = begin
        self._tables = tables
        self._clock = clock
        self._unsafe = unsafe_not_durable

    async def run(
        self, operation: Operation[T],
        on_success: Callable[[A, T], Awaitable[object]] | None = None,
    ) -> T:
        """Do what :meth:`OwnTransaction.run` does; *on_success* is awaited."""
        try:
            return await self._run(operation, on_success)
        except BaseException as error:
            operation.discard()
            if isinstance(error, VmfaError):
                clear_frames_of(error)  # codes may be in their local variables
            raise

    async def _run(
        self, operation: Operation[T], on_success: Callable[[A, T], Awaitable[object]] | None
    ) -> T:
        attempts = _Attempts(operation, self._tables, unsafe=self._unsafe)
        while attempts.left:
            try:
                async with self._begin() as transaction:
                    await transaction.run_sync(attempts.decide, self._clock())
                    if attempts.accepted and on_success is not None:
                        await on_success(transaction, attempts.answer)
                    if isinstance(transaction, AsyncSession):
                        await transaction.flush()  # an error here is one of the application
                    attempts.committing = True
                return attempts.answer
            except _Repeat:
                continue
            except DBAPIError as error:
                failure = attempts.failed(error)
                if failure is None:
                    raise
            if not attempts.may_repeat(failure):
                raise failure
        raise StoreContended(CONTENDED)
