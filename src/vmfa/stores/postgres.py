"""The store for many machines: PostgreSQL, over a connection string or a pool of psycopg.

A verification is one SELECT and one compare-and-set UPDATE, each its own transaction. What is sent
to the database is written once, as scripts of statements, and :class:`Call` is everything that
does not wait. The two stores differ in the lines that wait.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from typing import Any, Final, Generic, Self, TypeVar
from weakref import WeakKeyDictionary

from ..errors import (
    ClockWentBack,
    InvalidType,
    InvalidValue,
    MissingExtra,
    OutcomeUnknown,
    SchemaUntrusted,
    StoreContended,
    StoreCorrupt,
    StoreError,
    StoreTooNew,
    StoreUnavailable,
    VmfaError,
)
from ..events import AuditEvent
from ..models import Principal, PrincipalId
from .base import WaitObserver, ignore_wait

try:
    import psycopg
    import psycopg_pool
    from psycopg.pq import TransactionStatus
except ImportError:
    raise MissingExtra(
        "PostgreSQL needs psycopg 3 and its pool: pip install 'vmfa[postgres]'"
    ) from None

# isort: split
from ._pool import SHORT_WAIT, NoConnection, OwnConnections, is_idle
from ._postgres_sql import (
    BEGIN,
    CHECK,
    DONE,
    END,
    PROBE,
    ROLLBACK,
    Script,
    Step,
    accounts_script,
    commit_script,
    create_script,
    history_script,
    load_script,
    no_tables,
    orphans_script,
    principals_script,
    schema_faults,
    schema_sql,
    setting_faults,
)
from ._wire import (
    Answer,
    Connection,
    ConnectionLost,
    ServerError,
    Session,
    Silent,
    Wait,
    Waits,
    cancel,
    exchange,
)

__all__ = ["PostgresStore", "schema_sql"]

T = TypeVar("T")

PROBE_EVERY: Final = 10.0  # seconds, within which a changed setting is noticed

_UNDONE: Final = {"40001", "40P01"}  # serialization failure, deadlock: nothing was done
_WAITED: Final = {"55P03", "57014"}  # a lock or statement timeout, or a cancellation
_RACED: Final = {"23505", "42P07", "42710", "XX000"}  # another process creates the same tables
_CORRUPT: Final = {"XX001", "XX002"}
_PREPARED: Final = {"26000", "42P05"}  # a pooler moved the session to another server process
_CHANGED: Final = ("0A000", "22", "23", "42703", "42804", "428C9")
_LOST: Final = ("08", "57P", "40003")
_NOT_CONNECTED: Final = (
    NoConnection, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed, psycopg_pool.TooManyRequests,
)
FAILURES: Final = (psycopg.Error, NoConnection, ConnectionLost, ServerError, Silent)
Failure = psycopg.Error | NoConnection | ConnectionLost | ServerError | Silent


def _translate_error(
    error: Failure, *, final: bool, creating: bool, timeout: float
) -> tuple[StoreError, bool]:
    """Return our error for *error*, and whether to try again.

    The text of the server is left out: it may quote what is stored.

    :param final: whether the statement was sent that may have stored the change.
    :param creating: whether the tables are being created.
    """
    if isinstance(error, _NOT_CONNECTED):
        cause = str(error) if isinstance(error, NoConnection) else type(error).__name__
        return StoreUnavailable(f"no connection ({cause}); nothing was changed"), False
    if isinstance(error, Silent):
        cause = f"the database did not answer within {timeout:g} seconds"
        return _in_doubt(cause) if final else StoreUnavailable(
            f"{cause}; nothing was changed"
        ), False
    state = error.sqlstate if isinstance(error, ServerError | psycopg.Error) else None
    if state is None or state.startswith(_LOST):
        name = str(error) if isinstance(error, ConnectionLost) else type(error).__name__
        cause = f"the connection was lost ({_name(state) if state else name})"
        if final:
            return _in_doubt(cause), False
        return StoreUnavailable(f"{cause}; nothing was changed"), True
    return _translate_state(state, creating=creating)


def _translate_state(state: str, *, creating: bool) -> tuple[StoreError, bool]:
    """Return our error for the SQLSTATE of a statement that was undone, and whether to repeat."""
    name = f"{_name(state)}, SQLSTATE {state}"
    if state in _UNDONE or (creating and state in _RACED):
        return StoreContended(
            f"others kept changing the same rows ({name}); nothing was changed"
        ), True
    if state in _WAITED:
        return StoreContended(
            f"the database gave up waiting, for a lock for example ({name}); nothing was changed"
        ), False
    if state in _PREPARED:
        return StoreUnavailable(
            "a pooler between here and the database mixes its clients' prepared statements"
            f" ({name}); nothing was changed"
        ), True
    if state == "42P01":
        return no_tables(), False
    if state in _CORRUPT:
        return StoreCorrupt(f"the database reports that it is damaged ({name})"), False
    if state.startswith(_CHANGED):
        return SchemaUntrusted(
            f"the tables are not those that vmfa created ({name}); nothing was changed"
        ), False
    return StoreUnavailable(
        f"the database refused a statement ({name}); nothing was changed"
    ), False


def _in_doubt(cause: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{cause} before it confirmed a commit: the change may have been stored, or may still be;"
        " nothing was accepted, and a code that was typed may be used"
    )


def _name(sqlstate: str) -> str:
    try:
        return psycopg.errors.lookup(sqlstate).__name__
    except KeyError:
        return "unknown error"


class Call(Generic[T]):
    """One call of a store: everything that does not wait."""

    value: T
    answer: Answer  # to the last statement
    current: Any = None  # the connection in use
    own: Any = None  # the pool of the store that it belongs to
    lent: Any = None  # or the connection of a pool that was passed to the store
    _step = BEGIN  # the statement that was sent last
    _failure: StoreError | None = None  # of the attempt before
    _begun = False  # the connection is in no transaction of the application
    broken = False  # a statement was sent and not answered

    def __init__(
        self, store: Postgres, script: Callable[[], Script[T]], *, check: bool = True
    ) -> None:
        self._store = store
        self._script = script
        self._check = check
        self.deadline = time.monotonic() + store.timeout
        self._pause = 0.0005
        self.in_doubt = False  # the final statement was sent, and not undone

    @property
    def left(self) -> float:
        """How many seconds are left."""
        return max(0.001, self.deadline - time.monotonic())

    def begin(self, connection: Connection) -> None:
        """Start from the beginning on *connection*.

        :raises psycopg.Error: the connection is dead.
        :raises InvalidValue: a transaction that is not ours could be open on it.
        """
        self._begun = self.broken = self.in_doubt = False
        self._step = ROLLBACK  # nothing was sent
        self.current = connection
        if not connection.autocommit:
            raise InvalidValue(
                "the connections of a store must commit by themselves: "
                "ConnectionPool(..., kwargs={'autocommit': True}); to use a transaction of your "
                "own, see Operations"
            )
        self._begun = connection.pgconn.transaction_status == TransactionStatus.IDLE
        if connection.closed:
            raise ConnectionLost("closed")
        if not self._begun:
            raise InvalidValue(
                "this connection is in a transaction of your application; to use your own "
                "transaction, see Operations"
            )
        for _ in range(2):  # the first reads a last message, the second finds the end
            connection.pgconn.consume_input()
        self.session = self._store.session(connection)
        self._steps = self._whole()

    def _whole(self) -> Script[None]:
        if self._check and time.monotonic() > self.session.checked_at + PROBE_EVERY:
            self.session.checked_at = float("-inf")
            for fault in (yield from self._store.faults_script()):
                raise fault
            self.session.checked_at = time.monotonic()
        self.value = yield from self._script()
        yield DONE

    def next(self, answer: Answer | None) -> Step | None:
        """Return the next statement, or None when ``value`` is there."""
        if self.in_doubt and self.session.warnings:
            raise _in_doubt(f"the database warned ({', '.join(self.session.warnings)})")
        step = self._steps.send(answer)  # type: ignore[arg-type]  # None starts a generator
        if step is DONE:
            return None
        self._step = step
        self.in_doubt = step.final
        return step

    def exchange(self, step: Step) -> Waits[None]:
        """Send *step* and store its answer in ``answer``."""
        self.broken = True
        self.answer = yield from exchange(
            self.current, self.session, step.sql, step.values, self.deadline,
            prepare=self._store.prepare and self.current.prepare_threshold is not None,
        )
        self.broken = time.monotonic() > self.deadline  # canceled: too late for the next one

    def failed(self, error: Failure) -> StoreError | None:
        """Return the error to raise, or None to wait for :meth:`pause` and to try again."""
        creating = self._script is create_script
        failure, again = _translate_error(
            error, final=self.in_doubt, creating=creating, timeout=self._store.timeout
        )
        if self._step is BEGIN and isinstance(error, ServerError) and error.sqlstate == "08P01":
            failure, again = StoreUnavailable(
                "a pooler between here and the database refuses transactions: run it in"
                " transaction or session mode, not in statement mode; nothing was changed"
            ), False
        self.in_doubt = isinstance(failure, OutcomeUnknown)
        in_time = time.monotonic() < self.deadline
        if isinstance(error, ServerError):
            if error.sqlstate in _PREPARED:
                self._store.prepare = False
            elif in_time and error.sqlstate in _UNDONE | _WAITED:
                self.broken = False  # an ordinary answer: the connection stays
        if again and in_time:
            self._failure = failure
            return None
        if isinstance(error, NoConnection) and self._failure is not None:
            return self._failure  # why the call was repeated says more
        return failure

    def take_lent(self) -> Any:
        """Return the connection of a given pool to put back, or None.

        The call forgets it first: from then on another call may use it. One that is in the middle
        of a transaction of this call is closed: the pool would wait for the server.
        """
        lent, self.lent = self.lent, None
        if lent is not None and self._begun and (self.broken or not is_idle(lent)):
            lent.pgconn.finish()
        return lent

    def pause(self) -> float:
        """Return the seconds to wait before the next attempt."""
        self._pause = min(2 * self._pause, 0.1)
        return min(self._pause, self.left)

    def annotate(self, error: BaseException) -> None:
        """Note on *error*, which is not ours, that it interrupted a commit."""
        if self.in_doubt and not isinstance(error, VmfaError):
            error.add_note(
                "vmfa: this exception interrupted a commit after it was sent: the change may have"
                " been stored"
            )


class Postgres:
    """What the two stores share."""

    def __init__(
        self, source: Any, timeout: float, unsafe_not_durable: bool,
        require_synchronous_standby: bool,
    ) -> None:
        if not isinstance(source, str) and not callable(getattr(source, "getconn", None)):
            raise InvalidType("source must be a connection string or a connection pool of psycopg")
        self.timeout = timeout
        self.unsafe_not_durable = unsafe_not_durable
        self.require_synchronous_standby = require_synchronous_standby
        self.source = source
        self.on_wait: WaitObserver = ignore_wait
        self.prepare = True  # until a pooler turns out to lose prepared statements
        self.pool_failed = False  # the last attempt to get a connection of a given pool failed
        self._sessions: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()
        self._process = os.getpid()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # a connection string may contain a password

    def given_pool(self) -> Any:
        """Return the pool that was passed to the store."""
        if self._process != os.getpid():
            raise StoreUnavailable(
                "the pool was opened before a fork: open one in each process"
            )
        return self.source

    def pool_wait(self, call: Call[Any]) -> float:
        """Return how many seconds to wait for a given pool: few, if it failed the last time."""
        return min(SHORT_WAIT, call.left) if self.pool_failed else call.left

    def session(self, connection: Connection) -> Session:
        """Return what is known of *connection*."""
        session = self._sessions.get(connection)
        if session is None:
            session = Session()
            connection.add_notice_handler(session.noticed)
            self._sessions[connection] = session
        return session

    def settings(self) -> dict[str, Any]:
        """Return the parameters of the store's own connections.

        None of them is a setting of the server, so nothing leaks to other clients of a pooler.
        """
        try:
            given = psycopg.conninfo.conninfo_to_dict(self.source)
        except psycopg.Error:
            given = None
        if given is None:
            raise InvalidValue("source is not a connection string of PostgreSQL")
        hosts = str(given.get("host") or given.get("hostaddr") or "").count(",") + 1
        ours = {
            "connect_timeout": max(2, int(self.timeout) // hosts),
            "tcp_user_timeout": 1000 * ceil(self.timeout),
            "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
            "application_name": "vmfa",
        }
        return {**ours, **given, "client_encoding": "UTF8", "autocommit": True}

    def faults_script(self) -> Script[list[StoreError]]:
        """Return what is wrong with the settings and the tables of the database."""
        yield BEGIN  # a pooler in statement mode refuses it
        _, [probe] = yield Step(PROBE)
        faults = list(setting_faults(
            probe, unsafe_not_durable=self.unsafe_not_durable,
            require_standby=self.require_synchronous_standby,
        ))
        if not any(isinstance(fault, StoreTooNew) for fault in faults):
            _, rows = yield Step(CHECK)
            faults += schema_faults(rows, unsafe_not_durable=self.unsafe_not_durable)
        yield END
        self._clock = float(probe[-1])
        return faults

    _clock = 0.0

    def health_script(self, now: float, tolerance: int) -> Script[tuple[VmfaError, ...]]:
        """Return what is wrong, with the clock of this machine."""
        faults: list[VmfaError] = [*(yield from self.faults_script())]
        offset = round(now - self._clock)
        if abs(offset) > tolerance:
            direction = "behind" if offset < 0 else "ahead of"
            faults.append(ClockWentBack(
                f"this machine's clock is {abs(offset)} seconds {direction} the database's"
            ))
        return tuple(faults)


class PostgresStore(Postgres):
    """Keep records in PostgreSQL. Call :meth:`create_schema` once, before the first use.

    Every method returns or raises within *timeout* plus one second.

    :param source: a connection string, over which each process opens up to 8 connections, or a
        ``psycopg_pool.ConnectionPool`` of autocommit connections.
    :param timeout: seconds for a whole call: to get a connection, to wait for locks and answers,
        and to repeat what is known not to have been done.
    :param unsafe_not_durable: accept a database whose crash may take back stored changes, and so
        make used codes valid again.
    :param require_synchronous_standby: refuse a database that does not wait for a standby.
    """

    def __init__(
        self, source: str | psycopg_pool.ConnectionPool[Any], *, timeout: float = 10.0,
        unsafe_not_durable: bool = False, require_synchronous_standby: bool = False,
    ) -> None:
        super().__init__(source, timeout, unsafe_not_durable, require_synchronous_standby)
        self._own: dict[int, OwnConnections] = {}  # by process: none survives a fork

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store's own connections in this process. The next call opens others.

        A pool that was passed to the store stays open.
        """
        own = self._own.get(os.getpid())
        if own is not None:
            try:
                own.close()
            finally:
                own.close()  # again, in case an exception interrupted the first attempt
                self._own.pop(os.getpid(), None)

    def create_schema(self) -> None:
        """Create the tables that are missing. Any number of processes may do so at once.

        :raises SchemaUntrusted: a table exists and is not as this release creates it.
        :raises StoreError: the database cannot be used.
        """
        self._call(Call(self, create_script, check=False))

    def health(self, now: float | None = None, *, tolerance: int = 30) -> tuple[VmfaError, ...]:
        """Return what is wrong with the database, as errors that are not raised.

        :param now: the Unix time of this machine, default ``time.time()``.
        :param tolerance: seconds by which it may differ from the clock of the database.
        :returns: an empty tuple if nothing is wrong.
        """
        moment = time.time() if now is None else now
        try:
            script = partial(self.health_script, moment, tolerance)
            return self._call(Call(self, script, check=False))
        except StoreError as problem:
            return (problem.with_traceback(None),)

    def load(self, principal: PrincipalId) -> Principal:
        """Return the newest committed record of *principal*."""
        return self._call(Call(self, partial(load_script, principal)))

    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        """Replace *before* by *after* and append *events*, durably, in one transaction.

        :returns: False, with nothing written, if the stored record is no longer *before*.
        :raises OutcomeUnknown: the commit was sent and not confirmed.
        :raises StoreError: nothing was stored.
        """
        return self._call(Call(self, partial(commit_script, before, after, events)))

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the stored principals of *account*."""
        return self._call(Call(self, partial(principals_script, account, after, limit)))

    def orphans(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the principals of *account* that have events and no record."""
        return self._call(Call(self, partial(orphans_script, account, after, limit)))

    def accounts(self, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return a page of the accounts in which a record is stored."""
        return self._call(Call(self, partial(accounts_script, after, limit)))

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """Return a page of the stored events of *principal*."""
        return self._call(Call(self, partial(history_script, principal, after, limit)))

    def _call(self, call: Call[T]) -> T:
        try:
            while True:
                try:
                    try:
                        return self._attempt(call)
                    except FAILURES as error:
                        failure = call.failed(error)
                    finally:
                        self._give_back(call)
                finally:
                    self._give_back(call)  # again, in case an exception interrupted the first
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
        connection = self._acquire(call)
        self.on_wait("connection", time.monotonic() - started)
        call.begin(connection)
        step = call.next(None)
        while step is not None:
            step = call.next(self._perform(call, step))
        return call.value

    def _perform(self, call: Call[Any], step: Step) -> Answer:
        """Send one statement and wait for its answer."""
        for wait in call.exchange(step):
            if wait.cancel:
                cancel(call.current)
            else:
                wait.ready = _wait(call.current.pgconn.socket, wait)
        return call.answer

    def _acquire(self, call: Call[Any]) -> psycopg.Connection[Any]:
        if isinstance(self.source, str):
            call.own = self._own_connections()
            connection: psycopg.Connection[Any] = call.own.acquire(call, call.left)
            return connection
        pool = self.given_pool()
        try:
            call.lent = pool.getconn(self.pool_wait(call))
        except psycopg_pool.PoolTimeout:
            self.pool_failed = True
            raise
        self.pool_failed = False
        lent: psycopg.Connection[Any] = call.lent
        return lent

    def _own_connections(self) -> OwnConnections:
        own = self._own.get(os.getpid())  # never a connection from before a fork
        if own is not None and own.closed:
            self._own.pop(os.getpid(), None)
            own = None
        if own is None:
            own = self._own.setdefault(os.getpid(), OwnConnections(self.settings()))
        return own

    def _give_back(self, call: Call[Any]) -> None:
        if call.own is not None:
            call.own.release(call, broken=call.broken)
        elif (lent := call.take_lent()) is not None:
            self.source.putconn(lent)


def _wait(socket: int, wait: Wait) -> bool:
    """Wait until *socket* can be read, or also written."""
    seconds = max(0.0, wait.seconds)
    if not hasattr(select, "poll"):
        return any(select.select([socket], [socket] if wait.write else [], [], seconds))
    poll = select.poll()
    poll.register(socket, select.POLLIN | (select.POLLOUT if wait.write else 0))
    return bool(poll.poll(ceil(1000 * seconds)))
