"""The connections that a PostgreSQL store opens for itself, given a connection string.

psycopg's own pool costs twice as much per call, needs four threads, and loses a connection for
good when a signal handler raises inside it. A service that has such a pool can pass it to the
store.

Every connection has a slot, and a slot in use refers weakly to the call that owns it. A call gives
its slot back twice, in two nested ``finally`` clauses; the slot of a call that no longer exists is
free as well. So no exception, wherever it is raised, takes a connection out of the pool for good.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from threading import Condition, Thread
from typing import Any, Final
from weakref import ref

from ..errors import MissingExtra
from ._lock import new_lock, run_locked

try:
    import psycopg
    from psycopg.pq import TransactionStatus
except ImportError:
    raise MissingExtra(
        "this store needs psycopg 3 and its pool: pip install 'vmfa[postgres]'"
    ) from None

# isort: split
from ._wire import ConnectionLost

MAX_CONNECTIONS: Final = 8
MAX_IDLE: Final = 600  # seconds, after which a firewall may have forgotten the connection
RETRY: Final = 1.0  # seconds between attempts to connect while the database cannot be reached
SHORT_WAIT: Final = 0.1  # seconds that a call waits for a connection in that time
SLICE: Final = 0.05  # seconds between looks at the slots: an interrupted call wakes no other


class NoConnection(Exception):
    """No connection could be had. The text says why and quotes nothing secret."""


class Slot:
    """The place of one connection."""

    __slots__ = ("connection", "idle_since", "opener", "owner")

    def __init__(self) -> None:
        self.connection: Any = None
        self.idle_since = 0.0
        self.owner: ref[Any] | None = None
        self.opener: Any = None  # the thread or task that opens the connection

    @property
    def free(self) -> bool:
        """Whether no call that still exists owns this slot."""
        return self.owner is None or self.owner() is None

    def discard(self) -> None:
        """Close the connection."""
        connection = self.connection
        if connection is not None:
            connection.pgconn.finish()
            self.connection = None


class Slots(ABC):
    """What the pools share: everything that does not wait."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._slots = [Slot() for _ in range(MAX_CONNECTIONS)]
        self._failure = ""  # of the last attempt to connect; empty after a success
        self._failed_at = 0.0
        self.closed: bool = False

    @property
    def opened(self) -> int:
        """The number of open connections."""
        return sum(slot.connection is not None for slot in self._slots)

    @property
    def in_use(self) -> int:
        """The number of connections that belong to a call."""
        return sum(not slot.free for slot in self._slots)

    def release(self, owner: object, *, broken: bool = False) -> None:
        """Give back the connection of *owner*. One in the middle of a transaction is closed.

        Nothing happens if *owner* has none, so this may be called again: by then the connection
        may belong to another call.

        :param broken: whether to close the connection in any case.
        """
        for slot in self._slots:
            if slot.owner is not None and slot.owner() is owner:
                if broken or self.closed or not is_idle(slot.connection):
                    slot.discard()
                slot.idle_since = time.monotonic()
                slot.owner = None  # last: until here, a second call does all of it again
                self._notify()
                return

    def _claim(self, owner: object, *, first: bool) -> Any:
        """Return a connection that *owner* now owns, or start to open one and return None.

        :param first: whether *owner* has not asked before.
        :raises ConnectionLost: the pool was closed; the store opens another.
        """
        if self.closed:
            raise ConnectionLost("the store was closed")
        now = time.monotonic()
        idle = []
        for slot in self._slots:
            if slot.connection is None or not slot.free:
                continue
            if slot.idle_since < now - MAX_IDLE or not is_idle(slot.connection):
                slot.discard()
            else:
                idle.append(slot)
        if idle:
            newest = max(idle, key=lambda slot: slot.idle_since)
            newest.owner = ref(owner)
            return newest.connection
        self._open_another(now, first)
        return None

    def _open_another(self, now: float, first: bool) -> None:
        if self._failure and now < self._failed_at + RETRY:
            if self.opened == 0:
                raise NoConnection(self._failure)
            return
        empty = [slot for slot in self._slots if slot.connection is None and slot.free]
        unused = [slot for slot in empty if slot.opener is None or not self._is_opening(slot)]
        busy = len(unused) < len(empty)
        if unused and (not busy or (first and not self._failure)):
            self._start(unused[0])

    def _finished(self, slot: Slot, connection: Any, failure: str) -> None:
        """Store the outcome of an attempt to connect."""
        slot.opener = None
        self._failure, self._failed_at = failure, time.monotonic()
        if connection is not None:
            slot.idle_since = time.monotonic()
            slot.connection = connection
            if self.closed:
                slot.discard()

    def _check_failed(self, since: float) -> None:
        if self._failure and self._failed_at >= since and self.opened == 0:
            raise NoConnection(self._failure)

    def _deadline(self, seconds: float) -> float:
        unreachable = self._failure and self.opened == 0
        return time.monotonic() + (min(seconds, SHORT_WAIT) if unreachable else seconds)

    def _too_late(self, seconds: float) -> NoConnection:
        if self._failure:
            return NoConnection(self._failure)
        if any(slot.free for slot in self._slots):
            return NoConnection(f"the server did not answer within {seconds:.3g} seconds")
        return NoConnection(
            f"all {MAX_CONNECTIONS} connections were in use for {seconds:.3g} seconds"
        )

    @abstractmethod
    def _is_opening(self, slot: Slot) -> bool: ...

    @abstractmethod
    def _start(self, slot: Slot) -> None: ...

    @abstractmethod
    def _notify(self) -> None: ...


class OwnConnections(Slots):
    """At most ``MAX_CONNECTIONS`` blocking connections, the last used first.

    A thread opens each connection, so that a caller waits for name servers, silent hosts and
    hand-shakes no longer than it wants to.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self._lock = new_lock()
        self._changed = Condition(self._lock)

    def acquire(self, owner: object, seconds: float) -> psycopg.Connection[Any]:
        """Return a connection, which belongs to *owner* until :meth:`release`.

        :raises NoConnection: none could be opened, or all were in use for *seconds*.
        """
        since = time.monotonic()
        deadline = self._deadline(seconds)
        first = True
        while True:
            connection: psycopg.Connection[Any] | None = run_locked(
                self._lock, partial(self._claim_or_wait, owner, deadline, first=first)
            )
            if connection is not None:
                return connection
            first = False
            self._check_failed(since)
            if time.monotonic() >= deadline:
                raise self._too_late(seconds)

    def close(self) -> None:
        """Close the idle connections now, and each of the others when it is given back."""
        self.closed = True
        run_locked(self._lock, self._close_idle)

    def _close_idle(self) -> None:
        for slot in self._slots:
            if slot.free:
                slot.discard()

    def _claim_or_wait(self, owner: object, deadline: float, *, first: bool) -> Any:
        connection = self._claim(owner, first=first)
        if connection is None:
            self._changed.wait(min(SLICE, max(0.0, deadline - time.monotonic())))
        return connection

    def _is_opening(self, slot: Slot) -> bool:
        alive: bool = slot.opener.is_alive()
        return alive

    def _start(self, slot: Slot) -> None:
        slot.opener = Thread(target=self._open, args=(slot,), name="vmfa-connect", daemon=True)
        try:
            slot.opener.start()
        except RuntimeError:
            raise NoConnection("no thread could be started to open a connection") from None

    def _open(self, slot: Slot) -> None:
        connection, failure = None, ""
        try:
            connection = psycopg.connect(**self._settings)
        except Exception as error:  # noqa: BLE001  # raised in the threads that wait
            failure = describe(error)
        with self._changed:
            self._finished(slot, connection, failure)
            self._changed.notify_all()

    def _notify(self) -> None:
        run_locked(self._lock, self._changed.notify)


class OwnAsyncConnections(Slots):
    """:class:`OwnConnections` for one event loop."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self._waiting: set[asyncio.Future[None]] = set()

    async def acquire(self, owner: object, seconds: float) -> psycopg.AsyncConnection[Any]:
        """Return a connection, which belongs to *owner* until :meth:`release`.

        :raises NoConnection: none could be opened, or all were in use for *seconds*.
        """
        since = time.monotonic()
        deadline = self._deadline(seconds)
        first = True
        while True:
            connection: psycopg.AsyncConnection[Any] | None = self._claim(owner, first=first)
            if connection is not None:
                return connection
            first = False
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            try:
                await asyncio.wait([waiting], timeout=min(SLICE, deadline - time.monotonic()))
            finally:
                self._waiting.discard(waiting)
            self._check_failed(since)
            if time.monotonic() >= deadline:
                raise self._too_late(seconds)

    async def close(self) -> None:
        """Close the idle connections now, and each of the others when it is given back."""
        self.closed = True
        for slot in self._slots:
            if slot.free:
                slot.discard()
            if slot.opener is not None:
                slot.opener.cancel()
                with suppress(asyncio.CancelledError):
                    await slot.opener

    def _is_opening(self, slot: Slot) -> bool:
        return not slot.opener.done()

    def _start(self, slot: Slot) -> None:
        slot.opener = asyncio.create_task(self._open(slot))

    async def _open(self, slot: Slot) -> None:
        connection, failure = None, ""
        try:
            connection = await psycopg.AsyncConnection.connect(**self._settings)
        except Exception as error:  # noqa: BLE001  # raised in the tasks that wait
            failure = describe(error)
        self._finished(slot, connection, failure)
        for waiting in list(self._waiting):
            _wake(waiting)

    def _notify(self) -> None:
        for waiting in list(self._waiting):
            if not waiting.done():
                _wake(waiting)
                return


def describe(error: BaseException) -> str:
    """Return the first line of an error of connecting: it quotes no password and no statement."""
    first = str(error).strip().partition("\n")[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def is_idle(connection: Any) -> bool:
    """Return whether *connection* is open, outside a transaction and not waiting."""
    idle: bool = connection.pgconn.transaction_status == TransactionStatus.IDLE
    return idle


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
