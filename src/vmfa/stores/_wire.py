"""One statement to PostgreSQL and its answer, without waiting: the stores do the waiting.

psycopg's cursors wait without a limit of their own: a server that acknowledges and never answers
would keep a thread for ever. These functions use the same libpq connection and say when to wait,
so that each store can stop at its deadline.
"""

from __future__ import annotations

import re
import select
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from threading import Thread
from typing import Any, Final, NamedTuple, TypeVar

from ..errors import MissingExtra

try:
    import psycopg
    from psycopg import pq
except ImportError:
    raise MissingExtra(
        "this store needs psycopg 3 and its pool: pip install 'vmfa[postgres]'"
    ) from None

KINDS: Final[dict[int, Callable[[bytes], Any]]] = {  # by the object id of a type; others are text
    16: b"t".__eq__,  # boolean
    20: int, 21: int, 23: int, 26: int,
    701: float,
}
GRACE: Final = 0.5  # seconds to wait for the answer to a cancellation


class Answer(NamedTuple):
    """How many rows were changed or selected, and the rows."""

    number: int
    rows: list[tuple[Any, ...]]


class ServerError(Exception):
    """The server's error, without its text, which may quote what is stored."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


class ConnectionLost(Exception):
    """The connection ended while an answer was expected."""


class Silent(Exception):
    """No answer came before the deadline."""


class Wait:
    """A request to wait until the connection can be read, or also written.

    The store sets ``ready`` if it can. ``cancel``: ask the server to cancel the statement instead.
    """

    __slots__ = ("cancel", "ready", "seconds", "write")

    def __init__(self, write: bool, seconds: float, *, cancel: bool = False) -> None:
        self.write = write
        self.seconds = seconds
        self.cancel = cancel
        self.ready = False


Connection = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]


@dataclass(slots=True)
class Session:
    """What a store knows of one connection."""

    checked_at: float = float("-inf")  # time.monotonic() when its settings were last checked
    prepared: set[bytes] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)  # SQLSTATE of the warnings of a statement

    def noticed(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        """Note a warning of the server."""
        if (diagnostic.severity_nonlocalized or diagnostic.severity) == "WARNING":
            self.warnings.append(diagnostic.sqlstate or "01000")


T = TypeVar("T")
Waits = Generator[Wait, None, T]


def exchange(
    connection: Connection, session: Session, sql: str, values: Sequence[Any], deadline: float,
    *, prepare: bool,
) -> Waits[Answer]:
    """Send one statement and return its answer.

    :param deadline: on the clock of ``time.monotonic()``; then the statement is canceled.
    :raises ServerError: the server refused the statement.
    :raises ConnectionLost: the connection ended.
    :raises Silent: the deadline passed, and the cancellation was not answered either.
    """
    pgconn = connection.pgconn
    text, name = _numbered(sql)
    session.warnings.clear()
    try:
        if not values:
            pgconn.send_query(text)
        elif not prepare:
            pgconn.send_query_params(text, _encoded(values))
        else:
            if name not in session.prepared:
                pgconn.send_prepare(name, text)
                yield from _answer(pgconn, deadline)
                session.prepared.add(name)
            pgconn.send_query_prepared(name, _encoded(values))
        return _read((yield from _answer(pgconn, deadline)))
    except psycopg.Error as error:
        lost = ConnectionLost(type(error).__name__)
    raise lost


def _answer(pgconn: pq.abc.PGconn, deadline: float) -> Waits[pq.abc.PGresult]:
    """Return the result of what was sent, as the documentation of libpq describes it."""
    end, canceled = deadline, False
    results = []
    while True:
        write = pgconn.flush() == 1
        while write or pgconn.is_busy():
            wait = Wait(write, end - time.monotonic())
            yield wait
            if wait.ready:
                _consume(pgconn)
                write = write and pgconn.flush() == 1
            elif canceled:
                raise Silent
            else:
                canceled, end = True, time.monotonic() + GRACE
                yield Wait(write, 0, cancel=True)
        result = pgconn.get_result()
        if result is None:
            break
        results.append(result)
        if result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) == b"FATAL" or (
            result.error_field(pq.DiagnosticField.SEVERITY) == b"FATAL"
        ):
            break  # the connection ends here
    if not results:
        raise ConnectionLost("no result")
    for result in results:
        if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
            _raise_error(result)
    return results[-1]


def _raise_error(result: pq.abc.PGresult) -> None:
    state = result.error_field(pq.DiagnosticField.SQLSTATE)
    if state is None:  # libpq's own error: there was no answer
        raise ConnectionLost("OperationalError")
    raise ServerError(state.decode())


def _consume(pgconn: pq.abc.PGconn) -> None:
    """Read what came. A server or a pooler may send an error just before it hangs up."""
    try:
        pgconn.consume_input()
        return
    except psycopg.Error as error:
        lost = ConnectionLost(type(error).__name__)
    if not pgconn.is_busy():
        result = pgconn.get_result()
        if result is not None:
            _raise_error(result)
    raise lost


@lru_cache(64)
def _numbered(sql: str) -> tuple[bytes, bytes]:
    """Return *sql* with numbered placeholders, and a name for it that depends on its text."""
    numbers = iter(range(1, 1 + sql.count("%s")))
    text = re.sub("%s", lambda _: f"${next(numbers)}", sql).encode()
    return text, b"vmfa_" + sha256(text).hexdigest()[:16].encode()


def _encoded(values: Sequence[Any]) -> list[bytes | None]:
    return [None if value is None else str(value).encode() for value in values]


def _read(result: pq.abc.PGresult) -> Answer:
    kinds = [KINDS.get(result.ftype(column), bytes.decode) for column in range(result.nfields)]
    rows = []
    for row in range(result.ntuples):
        cells = [result.get_value(row, column) for column in range(len(kinds))]
        rows.append(tuple(
            None if cell is None else kind(cell) for kind, cell in zip(kinds, cells, strict=True)
        ))
    return Answer(result.command_tuples or 0, rows)


def cancel(connection: Connection) -> None:
    """Ask the server, in a thread, to cancel the statement of *connection*.

    Before libpq 17 a cancellation blocks the whole process. Then the statement is not canceled,
    and the connection is closed in any case.
    """
    if not psycopg.capabilities.has_cancel_safe():
        return
    with suppress(psycopg.Error, RuntimeError):
        request = connection.pgconn.cancel_conn()
        Thread(target=_cancel, args=(request,), name="vmfa-cancel", daemon=True).start()


def _cancel(request: pq.abc.PGcancelConn) -> None:
    end = time.monotonic() + GRACE
    with suppress(psycopg.Error):
        request.start()
        while time.monotonic() < end:
            status = request.poll()
            if status in (pq.PollingStatus.OK, pq.PollingStatus.FAILED):
                break
            waits = [request.socket]
            reads = status == pq.PollingStatus.READING
            select.select(waits if reads else [], [] if reads else waits, [], GRACE)
    request.finish()
