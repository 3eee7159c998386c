"""The connections that a blocking PostgreSQL store opens for itself, given a connection string.

psycopg's pool would do, at twice the price of a call and with four threads in each process. Where a service has such a
pool, it gives that to the store.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Condition, Lock
from typing import Any, Final

from ..errors import MissingExtra

try:
    import psycopg
    from psycopg.pq import TransactionStatus
    from psycopg_pool import PoolTimeout
except ImportError:
    raise MissingExtra("this store needs the extra postgres: pip install 'vmfa[postgres]'") from None

MAX_CONNECTIONS: Final = 8
IDLE: Final = 600  # seconds, after which the network may have forgotten a connection


class OwnConnections:
    """At most ``MAX_CONNECTIONS``, opened by whoever finds none idle, the last used first. They answer as psycopg's pool does."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._lock = Lock()
        self._changed = Condition(self._lock)
        self._idle: list[tuple[psycopg.Connection[Any], float]] = []  # and since when
        self._opened = 0
        self.closed: bool = False

    def getconn(self, timeout: float) -> psycopg.Connection[Any]:
        """:raises PoolTimeout: all were in use for *timeout* seconds. :raises psycopg.Error: it cannot be opened."""
        with self._lock:
            while self._idle and self._idle[0][1] < time.monotonic() - IDLE:
                self._idle.pop(0)[0].close()
                self._opened -= 1
            if not self._idle and self._opened >= MAX_CONNECTIONS:
                self._changed.wait_for(lambda: self._idle or self._opened < MAX_CONNECTIONS, timeout)
            if self._idle:
                return self._idle.pop()[0]
            if self._opened >= MAX_CONNECTIONS:
                raise PoolTimeout(f"{MAX_CONNECTIONS} connections are in use")
            self._opened += 1
        try:
            return psycopg.connect(**self._settings)
        except BaseException:
            self._discard()
            raise

    def putconn(self, connection: psycopg.Connection[Any]) -> None:
        with self._lock:
            if connection.pgconn.transaction_status == TransactionStatus.IDLE and not self.closed:
                self._idle.append((connection, time.monotonic()))
                self._changed.notify()
                return
        connection.close()  # which undoes what is unfinished
        self._discard()

    def close(self) -> None:
        """Close those that are idle, and each of the others as soon as it is put back."""
        with self._lock:
            self.closed = True
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()
            self._discard()

    def _discard(self) -> None:
        with self._lock:
            self._opened -= 1
            self._changed.notify()
