"""The store for many machines: PostgreSQL, over a connection string or a pool of psycopg.

A verification is one SELECT and one compare-and-set UPDATE, each its own transaction. What is sent
to the database is written once, as scripts of statements, and :class:`Call` is everything that
does not wait. The two stores differ in the lines that wait.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Any, Final, Generic, LiteralString, Self, TypeVar
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
from ..record import from_columns
from ._sql import (
    NOT_WRITTEN,
    bounded,
    change,
    check_written,
    event_row,
    first_replaced,
    is_written,
    key,
    read_events,
    read_principals,
)
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

T = TypeVar("T")

SCHEMA: Final = 1
TABLES: Final[tuple[LiteralString, ...]] = (
    """CREATE TABLE IF NOT EXISTS vmfa_schema (version INTEGER PRIMARY KEY)""",
    """CREATE TABLE IF NOT EXISTS vmfa_principal (
    account TEXT COLLATE "C" NOT NULL, kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL, state TEXT NOT NULL, tag TEXT NOT NULL, audit_tag TEXT NOT NULL,
    PRIMARY KEY (account, kind, name))""",
    """CREATE TABLE IF NOT EXISTS vmfa_event (
    account TEXT COLLATE "C" NOT NULL, kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL, document TEXT, salt TEXT, content_digest TEXT NOT NULL,
    digest TEXT NOT NULL, redactable SMALLINT NOT NULL, audit_tag TEXT NOT NULL,
    PRIMARY KEY (account, kind, name, number))""",
    """INSERT INTO vmfa_schema (version) VALUES (1) ON CONFLICT DO NOTHING""",
)
VIEW: Final = """CREATE VIEW vmfa_device AS SELECT account, kind, name,
    state::jsonb #>> '{3,0}' AS serial, state::jsonb #>> '{3,3}' AS sync,
    (state::jsonb #>> '{3,4}')::boolean AS disabled,
    (state::jsonb #>> '{3,6,0}')::integer AS failures,
    (state::jsonb #>> '{3,6,2}')::integer AS known_failures,
    (state::jsonb #>> '{3,6,4}')::integer AS budget,
    (state::jsonb #>> '{3,2}')::bigint AS enrolled_at
    FROM vmfa_principal WHERE state::jsonb #>> '{3}' IS NOT NULL"""
HAS_VIEW: Final = "SELECT to_regclass(quote_ident(current_schema()) || '.vmfa_device') IS NOT NULL"
VERSION: Final = "SELECT max(version) FROM vmfa_schema"

# The columns of CHECK: name, type, collation (950 is "C", 100 the database's), whether it may be
# null, and what a generated, identity or default column has.
_KEY: Final = "account text 950 n, kind text 950 n, name text 950 n"
COLUMNS: Final = {
    "vmfa_principal": (
        f"{_KEY}, revision bigint 0 n, state text 100 n, tag text 100 n, audit_tag text 100 n"
    ),
    "vmfa_event": (
        f"{_KEY}, number bigint 0 n, document text 100 null, salt text 100 null,"
        " content_digest text 100 n, digest text 100 n, redactable smallint 0 n,"
        " audit_tag text 100 n"
    ),
}
CONSTRAINTS: Final = {
    "vmfa_principal": "PRIMARY KEY (account, kind, name)",
    "vmfa_event": "PRIMARY KEY (account, kind, name, number)",
}
CHECK: Final = """SELECT c.relname::text, c.relkind::text, c.relpersistence::text,
    c.relrowsecurity OR c.relispartition OR EXISTS (
        SELECT 1 FROM pg_catalog.pg_inherits WHERE c.oid IN (inhparent, inhrelid)),
    (SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attcollation,
            CASE WHEN attnotnull THEN 'n' ELSE 'null' END, nullif(attgenerated::text, ''),
            nullif(attidentity::text, ''), CASE WHEN atthasdef THEN 'default' END),
            ', ' ORDER BY attnum)
        FROM pg_catalog.pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
    (SELECT string_agg(pg_get_constraintdef(oid), ', ' ORDER BY conname)
        FROM pg_catalog.pg_constraint WHERE conrelid = c.oid AND contype <> 'n'),
    (SELECT string_agg(name, ', ' ORDER BY name) FROM (
        SELECT 'trigger ' || tgname AS name FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid
        UNION ALL
        SELECT 'rule ' || rulename FROM pg_catalog.pg_rewrite WHERE ev_class = c.oid
        UNION ALL
        SELECT 'policy ' || polname FROM pg_catalog.pg_policy WHERE polrelid = c.oid
        UNION ALL
        SELECT 'index ' || indexrelid::regclass FROM pg_catalog.pg_index WHERE indrelid = c.oid
            AND NOT (indisprimary AND indisvalid AND indimmediate)
            AND (indisunique OR indisexclusion OR indexprs IS NOT NULL OR indpred IS NOT NULL
                OR EXISTS (SELECT 1 FROM pg_catalog.pg_opclass o WHERE o.oid = ANY (indclass)
                    AND opcnamespace <> 'pg_catalog'::regnamespace))
    ) AS other)
    FROM pg_catalog.pg_class c
    WHERE c.oid IN (to_regclass('vmfa_principal'), to_regclass('vmfa_event'))"""
PROBE: Final = """SELECT max(version), current_setting('synchronous_commit', true),
    current_setting('fsync', true), current_setting('transaction_read_only', true),
    current_setting('server_encoding', true), current_setting('client_encoding', true),
    current_setting('client_min_messages', true),
    current_setting('synchronous_standby_names', true),
    (SELECT schema FROM unnest(current_schemas(true)) AS schema
        WHERE schema NOT LIKE 'pg\\_temp%' LIMIT 1)::text,
    extract(epoch FROM clock_timestamp())::float8 FROM vmfa_schema"""
PROBE_EVERY: Final = 10.0  # seconds, within which a changed setting is noticed

LOAD: Final = """SELECT revision, state, tag, audit_tag FROM vmfa_principal
    WHERE account = %s AND kind = %s AND name = %s"""
INSERT: Final = """INSERT INTO vmfa_principal
    (account, kind, name, revision, state, tag, audit_tag)
    VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""
UPDATE: Final = """UPDATE vmfa_principal SET revision = %s, state = %s, tag = %s, audit_tag = %s
    WHERE account = %s AND kind = %s AND name = %s AND revision = %s AND tag = %s"""
DELETE: Final = """DELETE FROM vmfa_principal
    WHERE account = %s AND kind = %s AND name = %s AND revision = %s AND tag = %s"""
# True if no object changes what a statement on our tables does. The catalogs are asked and not
# the flags in pg_class: those stay set after the last trigger or rule was dropped.
UNTOUCHED: Final = """NOT EXISTS (SELECT 1 FROM pg_catalog.pg_trigger
        WHERE tgrelid = '{table}'::regclass)
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite WHERE ev_class = '{table}'::regclass)
    AND NOT (SELECT relrowsecurity FROM pg_catalog.pg_class WHERE oid = '{table}'::regclass)"""
_PRINCIPAL_UNTOUCHED: Final = UNTOUCHED.format(table="vmfa_principal")
_EVENT_UNTOUCHED: Final = UNTOUCHED.format(table="vmfa_event")
UPDATE_ALONE: Final = f"""{UPDATE}
    AND {_PRINCIPAL_UNTOUCHED}
    RETURNING revision, tag"""
PROVE: Final = f"""SELECT {_PRINCIPAL_UNTOUCHED}
    AND {_EVENT_UNTOUCHED}, revision, tag
    FROM (SELECT 1) AS one LEFT JOIN vmfa_principal
    ON account = %s AND kind = %s AND name = %s"""  # noqa: S608  # constants only
APPEND: Final = """INSERT INTO vmfa_event
    (account, kind, name, number, document, salt, content_digest, digest, redactable, audit_tag)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""
REDACT: Final = """UPDATE vmfa_event SET document = NULL, salt = NULL
    WHERE account = %s AND kind = %s AND name = %s AND number > %s AND number <= %s
    AND redactable = 1"""
ERASE: Final = """DELETE FROM vmfa_event
    WHERE account = %s AND kind = %s AND name = %s AND number > %s"""
HISTORY: Final = """SELECT number, document, salt, content_digest, digest, redactable, audit_tag
    FROM vmfa_event
    WHERE account = %s AND kind = %s AND name = %s AND number > %s ORDER BY number LIMIT %s"""
PAGE: Final = """SELECT kind, name FROM vmfa_principal
    WHERE account = %s AND (kind, name) > (%s, %s) ORDER BY kind, name LIMIT %s"""
ACCOUNTS: Final = """SELECT DISTINCT account FROM vmfa_principal
    WHERE account > %s ORDER BY account LIMIT %s"""


@dataclass(frozen=True, slots=True)
class Step:
    """One statement. ``final``: once it was sent, the change may be stored."""

    sql: str
    values: tuple[Any, ...] = field(default=(), repr=False)
    final: bool = False


Script = Generator[Step, Answer, T]
BEGIN: Final = Step("BEGIN")
COMMIT: Final = Step("COMMIT", final=True)
ROLLBACK: Final = Step("ROLLBACK")
END: Final = Step("COMMIT")  # of a transaction that only read
DONE: Final = Step("")  # not a statement: the script has ended


def schema_sql() -> str:
    """Return the SQL of ``create_schema()``, for a database administrator to run."""
    return "\n".join(f"{statement};" for statement in ("BEGIN", *TABLES, VIEW, "COMMIT")) + "\n"


def load_script(principal: PrincipalId) -> Script[Principal]:
    """Return the stored record."""
    _, rows = yield Step(LOAD, key(principal))
    if not rows:
        return Principal(id=principal)
    return from_columns(principal, *rows.pop())  # popped: no frame keeps the row


def commit_script(
    before: Principal, after: Principal, events: Sequence[AuditEvent]
) -> Script[bool]:
    """Compare and set, and prove that the row that was written is the row that is there."""
    statement, values = change(before, after, INSERT, UPDATE, DELETE)
    if statement is UPDATE and not events and after.pruned == before.pruned:
        _, rows = yield Step(UPDATE_ALONE, values, final=True)  # one statement is one transaction
        if is_written(rows, after):
            return True
        if not rows:  # another change was first, or an object was added to the table
            yield from check_schema_script()
            return False
        raise OutcomeUnknown(
            "the database stored another row than the one that was sent: a trigger was added to"
            " vmfa_principal"
        )
    yield BEGIN
    changed, _ = yield Step(statement, values)
    if changed != 1:
        yield ROLLBACK
        yield from check_schema_script()
        return False
    if after.pruned > before.pruned:
        yield Step(REDACT, (*key(after.id), before.pruned, after.pruned))
    if events or after.revision == 0:
        yield Step(ERASE, (*key(after.id), first_replaced(events, after)))
        for event in events:
            yield Step(APPEND, event_row(after.id, event))
    _, [(untouched, revision, tag)] = yield Step(PROVE, key(after.id))
    if not untouched:
        yield ROLLBACK
        yield from check_schema_script()
        raise SchemaUntrusted(NOT_WRITTEN)
    check_written([] if revision is None else [(revision, tag)], after)
    yield COMMIT
    return True


def principals_script(
    account: str, after: PrincipalId | None, limit: int
) -> Script[Sequence[PrincipalId]]:
    """Return a page of principals."""
    start = key(after)[1:] if after is not None else ("", "")
    _, rows = yield Step(PAGE, (account, *start, bounded(limit)))
    return read_principals(account, rows)


def accounts_script(after: str, limit: int) -> Script[Sequence[str]]:
    """Return a page of accounts."""
    _, rows = yield Step(ACCOUNTS, (after, bounded(limit)))
    return [account for (account,) in rows]


def history_script(
    principal: PrincipalId, after: int, limit: int
) -> Script[Sequence[AuditEvent]]:
    """Return a page of events."""
    _, rows = yield Step(HISTORY, (*key(principal), bounded(after), bounded(limit)))
    return read_events(principal, rows)


def create_script() -> Script[None]:
    """Create what is missing, and check what is there."""
    yield BEGIN
    for statement in TABLES:
        yield Step(statement)
    _, [(has_view,)] = yield Step(HAS_VIEW)
    if not has_view:
        yield Step(VIEW)
    _, [(version,)] = yield Step(VERSION)
    if version > SCHEMA:
        raise _too_new(version)
    yield from check_schema_script()
    yield COMMIT


def check_schema_script(*, unsafe_not_durable: bool = True) -> Script[None]:
    """Check that nothing was added to our tables that changes what a statement does."""
    _, rows = yield Step(CHECK)
    for fault in _schema_faults(rows, unsafe_not_durable=unsafe_not_durable):
        raise fault


def _schema_faults(
    rows: Sequence[tuple[Any, ...]], *, unsafe_not_durable: bool
) -> Iterator[StoreError]:
    """Yield what is wrong with tables whose description by CHECK is *rows*."""
    tables = {row[0]: row[1:] for row in rows}
    for table, columns in COLUMNS.items():
        if table not in tables:
            yield _no_tables()
            continue
        kind, persistence, divided, stored, constraints, others = tables[table]
        if kind != "r" or persistence == "t" or divided:
            yield SchemaUntrusted(
                f"{table} is a view, a temporary table, a table with partitions or children, or"
                " has row-level security; vmfa needs the plain table that it created"
            )
        elif others is not None:
            yield SchemaUntrusted(
                f"{table} has objects that vmfa did not create: {others}; remove them"
            )
        elif (stored, constraints) != (columns, CONSTRAINTS[table]):
            yield SchemaUntrusted(
                f"the columns or constraints of {table} are not those that vmfa created:"
                f" {stored}; {constraints}"
            )
        elif persistence != "p" and not unsafe_not_durable:
            yield StoreUnavailable(f"{table} is unlogged: a crash would empty it")


def _setting_faults(
    probe: Sequence[Any], *, unsafe_not_durable: bool, require_standby: bool
) -> Iterator[StoreError]:
    """Yield what is wrong with a database whose answer to PROBE is *probe*."""
    version, commit, fsync, read_only, encoding, ours, messages, standbys, first_schema, _ = probe
    version = version or 0  # no row
    if version < SCHEMA:
        yield StoreUnavailable(
            f"the database has schema {version}, this release needs {SCHEMA}: call create_schema()"
        )
    elif version > SCHEMA:
        yield _too_new(version)
    if "off" in (commit, fsync) and not unsafe_not_durable:
        yield StoreUnavailable(
            "synchronous_commit or fsync is off: a crash would take back stored changes"
        )
    if require_standby and (commit in {"local", "off"} or not standbys):
        yield StoreUnavailable(
            "no synchronous standby is waited for (synchronous_commit is"
            f" {commit}, synchronous_standby_names is {standbys!r}): a fail-over would take back"
            " stored changes"
        )
    if read_only == "on":
        yield StoreUnavailable(
            "the session is read-only: connect to the primary, not to a replica"
        )
    if encoding not in (None, "UTF8") or ours not in (None, "UTF8"):
        yield StoreUnavailable(
            f"the database is encoded in {encoding} and the connection in {ours}: both must be"
            " UTF8"
        )
    if messages in ("error", "fatal", "panic"):
        yield StoreUnavailable(
            f"client_min_messages is {messages}: it hides the warning that a commit did not reach"
            " the standby; set it to warning"
        )
    if first_schema not in (None, "pg_catalog"):
        yield SchemaUntrusted(
            f"search_path names {first_schema} before pg_catalog, so operators can be replaced;"
            " remove pg_catalog from search_path"
        )


def _too_new(version: int) -> StoreTooNew:
    return StoreTooNew(f"the database has schema {version}; this release reads up to {SCHEMA}")


def _no_tables() -> StoreUnavailable:
    return StoreUnavailable("the database has no vmfa tables: call create_schema()")


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
        return _no_tables(), False
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
        faults = list(_setting_faults(
            probe, unsafe_not_durable=self.unsafe_not_durable,
            require_standby=self.require_synchronous_standby,
        ))
        if not any(isinstance(fault, StoreTooNew) for fault in faults):
            _, rows = yield Step(CHECK)
            faults += _schema_faults(rows, unsafe_not_durable=self.unsafe_not_durable)
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
