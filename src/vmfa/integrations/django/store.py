"""The store on the project's own database, over Django's connection and database router.

A verification is a SELECT in autocommit mode and a transaction of its own: the compare-and-set
UPDATE, the events, and a SELECT that proves what was written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from django.db import Error, IntegrityError, connections, router, transaction

from ...errors import (
    InvalidValue,
    OutcomeUnknown,
    SchemaUntrusted,
    StoreContended,
    StoreError,
    StoreUnavailable,
)
from ...events import AuditEvent
from ...models import Principal, PrincipalId
from ...record import from_columns
from ...stores._sql import (
    NOT_WRITTEN,
    Row,
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
from .models import PrincipalRecord, StoredEvent

T = TypeVar("T")

RECORDS: Final = PrincipalRecord._meta.db_table  # noqa: SLF001  # the documented API of Django
EVENTS: Final = StoredEvent._meta.db_table  # noqa: SLF001
_WHO: Final = "account = %s AND kind = %s AND name = %s"
LOAD: Final = f"SELECT revision, state, tag, audit_tag FROM {RECORDS} WHERE {_WHO}"
INSERT: Final = (
    f"INSERT INTO {RECORDS} (account, kind, name, revision, state, tag, audit_tag)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s)"
)
UPDATE: Final = (
    f"UPDATE {RECORDS} SET revision = %s, state = %s, tag = %s, audit_tag = %s"
    f" WHERE {_WHO} AND revision = %s AND tag = %s"
)
DELETE: Final = f"DELETE FROM {RECORDS} WHERE {_WHO} AND revision = %s AND tag = %s"
WRITTEN: Final = f"SELECT revision, tag FROM {RECORDS} WHERE {_WHO}"
# On PostgreSQL, a change without events is one statement: it changes nothing if an object on the
# table could change what it does, and otherwise returns what it wrote.
UPDATE_ALONE: Final = f"""{UPDATE}
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_trigger WHERE tgrelid = '{RECORDS}'::regclass)
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite WHERE ev_class = '{RECORDS}'::regclass)
    AND NOT (SELECT relrowsecurity FROM pg_catalog.pg_class WHERE oid = '{RECORDS}'::regclass)
    RETURNING revision, tag"""
# On MariaDB it is a block that does the same in a transaction of its own, in one round trip. It
# returns a row if it wrote what it should.
UPDATE_ALONE_MARIADB: Final = f"""BEGIN NOT ATOMIC
    DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;
    START TRANSACTION;
    {UPDATE};
    IF ROW_COUNT() = 1 AND EXISTS ({WRITTEN} AND revision = %s AND tag = %s) THEN
        COMMIT;
        SELECT 'written';
    ELSE
        ROLLBACK;
        SELECT 'not written' FROM DUAL WHERE FALSE;
    END IF;
    END"""
APPEND: Final = (
    f"INSERT INTO {EVENTS} (account, kind, name, number, document, salt, content_digest, digest,"
    " redactable, audit_tag) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
REDACT: Final = (
    f"UPDATE {EVENTS} SET document = NULL, salt = NULL WHERE {_WHO}"
    " AND number > %s AND number <= %s AND redactable = 1"
)
ERASE: Final = f"DELETE FROM {EVENTS} WHERE {_WHO} AND number > %s"
HISTORY: Final = (
    "SELECT number, document, salt, content_digest, digest, redactable, audit_tag"
    f" FROM {EVENTS} WHERE {_WHO} AND number > %s ORDER BY number LIMIT %s"
)
PAGE: Final = (
    f"SELECT kind, name FROM {RECORDS} WHERE account = %s AND (kind, name) > (%s, %s)"
    " ORDER BY kind, name LIMIT %s"
)
ORPHANS: Final = (
    f"SELECT DISTINCT e.kind, e.name FROM {EVENTS} e"
    " WHERE e.account = %s AND (e.kind, e.name) > (%s, %s) AND NOT EXISTS ("
    f"SELECT 1 FROM {RECORDS} r WHERE r.account = e.account AND r.kind = e.kind"
    " AND r.name = e.name) ORDER BY e.kind, e.name LIMIT %s"
)

OUTER_TRANSACTION: Final = (
    "vmfa was called inside a transaction of your application, which could undo it: call it "
    "outside of atomic(), exempt the view with transaction.non_atomic_requests, or give vmfa a "
    "database alias of its own with VMFA['DATABASE']; in tests, see unsafe_test_mode()"
)
ATTEMPTS: Final = 5  # of a call that the database refused because of other callers
FIRST_PAUSE: Final = 0.01  # seconds; doubles
SQLITE_CONTENDED: Final = frozenset({5, 6})  # BUSY, LOCKED
SQLSTATES_CONTENDED: Final = frozenset({"40001", "40P01", "55P03"})
UNCERTAIN: Final = ("08", "57", "58", "XX")  # classes: connection, shutdown, system, internal
MYSQL_CONTENDED: Final = frozenset({1020, 1205, 1213})
ENGINES: Final = ("sqlite", "postgresql", "mysql")


class TestMode:
    """Whether the store accepts to run inside a transaction of the caller, and who asked for it.

    Only :func:`vmfa.integrations.django.testing.unsafe_test_mode` changes it.
    """

    __test__ = False  # for pytest: this is no test
    depth = 0


class DjangoStore:
    """Keep records in the database of a Django project.

    It works on SQLite, PostgreSQL, MariaDB and MySQL. It never runs inside a transaction of the
    caller: a rollback there would take back a counted failure, or make a used code valid again.
    Reads are refused there as well, because the transaction may not see the newest record.

    :param using: the database alias; None for the one that the database router names for writing.
        Reads never go to a replica.
    """

    def __init__(self, using: str | None = None) -> None:
        self._using = using

    @property
    def alias(self) -> str:
        """The alias of the database."""
        return self._using or str(router.db_for_write(PrincipalRecord))

    def load(self, principal: PrincipalId) -> Principal:
        """Return the newest committed record of *principal*.

        :raises InvalidValue: the caller is in a transaction.
        :raises StoreError: the record cannot be read.
        """
        rows = self._read(LOAD, key(principal))
        if not rows:
            return Principal(id=principal)
        return from_columns(principal, *rows.pop())  # popped: no frame keeps the row

    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        """Replace *before* by *after* and append *events*, durably, in one transaction.

        :returns: False, with nothing written, if the stored record is no longer *before*.
        :raises InvalidValue: the caller is in a transaction.
        :raises OutcomeUnknown: the connection failed during the commit.
        :raises StoreError: nothing was stored.
        """
        return self._call(_Change(before, after, events).run)

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the stored principals of *account*."""
        return self._principals(PAGE, account, after, limit)

    def orphans(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the principals of *account* that have events and no record."""
        return self._principals(ORPHANS, account, after, limit)

    def _principals(
        self, statement: str, account: str, after: PrincipalId | None, limit: int
    ) -> Sequence[PrincipalId]:
        start = key(after)[1:] if after is not None else ("", "")
        rows = self._read(statement, (account, *start, bounded(limit)))
        return read_principals(account, [tuple(map(_text, row)) for row in rows])

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """Return a page of the stored events of *principal*."""
        page = (*key(principal), bounded(after), bounded(limit))
        return read_events(principal, self._read(HISTORY, page))

    def health(self) -> tuple[StoreError, ...]:
        """Return what is wrong with the database, as errors that are not raised."""
        from .health import faults_of

        try:
            return tuple(self._call(faults_of))
        except StoreError as problem:
            return (problem.with_traceback(None),)

    def _read(self, statement: str, values: tuple[Any, ...]) -> list[Row]:
        return self._call(lambda call: call.rows(statement, values))

    def _call(self, work: Callable[[_Call], T]) -> T:
        """Call *work*, and again if the database refused it because of other callers."""
        connection = connections[self.alias]
        if connection.vendor not in ENGINES:
            raise InvalidValue(
                f"vmfa has no support for the database engine {connection.vendor}: use SQLite, "
                "PostgreSQL, MariaDB or MySQL"
            )
        pause, attempt = FIRST_PAUSE, 1
        while True:
            call = _Call(connection)
            try:
                call.check_outside_transaction()
                return work(call)
            except Error as error:
                failure = _translate_error(error, committing=call.committing)
            if not isinstance(failure, StoreContended) or attempt == ATTEMPTS:
                break
            time.sleep(pause)
            pause, attempt = 2 * pause, attempt + 1
        connection.close_if_unusable_or_obsolete()
        raise failure


class _Call:
    """One call of the store over one connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.committing = False  # the transaction is complete, and its commit is next

    def check_outside_transaction(self) -> None:
        """Check that no rollback of the caller can undo this call.

        :raises InvalidValue: the caller is in a transaction.
        """
        if TestMode.depth == 0 and _in_transaction(self.connection):
            raise InvalidValue(OUTER_TRANSACTION)

    def execute(self, statement: str, values: tuple[Any, ...]) -> int:
        """Execute *statement* and return the number of rows that it changed."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, self._prepared(values))
            return int(cursor.rowcount)

    def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[Row]:
        """Return the rows of a query."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, self._prepared(values))
            return list(cursor.fetchall())

    def _prepared(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.connection.vendor != "mysql":
            return values
        # Text would be converted to the character set of the connection. Names are compared as
        # bytes, everything else is ASCII.
        return tuple(value.encode() if isinstance(value, str) else value for value in values)


class _Change:
    """The statements of one commit."""

    def __init__(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> None:
        self.before, self.after = before, after
        self.statement, self.values = change(before, after, INSERT, UPDATE, DELETE)
        self.events = [event_row(after.id, event) for event in events]
        self.keep = first_replaced(events, after)
        self.prunes = after.pruned > before.pruned
        self.who = key(after.id)

    def run(self, call: _Call) -> bool:
        """Write the change; return False if the stored record is another one."""
        try:
            statement = self._alone(call.connection)
            return self._update_alone(call, statement) if statement else self._write(call)
        except IntegrityError:
            if self.before.envelope is None and call.rows(WRITTEN, self.who):
                return False  # another caller stored the first record
            raise

    def _write(self, call: _Call) -> bool:
        after = self.after
        with _transaction(call.connection):
            if call.execute(self.statement, self.values) != 1:
                return False
            if self.prunes:
                call.execute(REDACT, (*self.who, self.before.pruned, after.pruned))
            if self.events or after.revision == 0:
                call.execute(ERASE, (*self.who, self.keep))
            for event in self.events:
                call.execute(APPEND, event)
            check_written(call.rows(WRITTEN, self.who), after)
            call.committing = True
        return True

    def _alone(self, connection: Any) -> str:
        """Return the statement that is the whole change; empty if there is none."""
        if self.statement != UPDATE or self.events or self.prunes:
            return ""
        if connection.vendor == "postgresql":
            return UPDATE_ALONE
        if connection.vendor == "mysql" and connection.mysql_is_mariadb and (
            not _in_transaction(connection)
        ):
            return UPDATE_ALONE_MARIADB
        return ""

    def _update_alone(self, call: _Call, statement: str) -> bool:
        values = self.values
        if statement == UPDATE_ALONE_MARIADB:
            revision, _, tag, *_ = values
            values = (*values, *self.who, revision, tag)
        call.committing = True
        if call.rows(statement, values):
            return True
        call.committing = False
        if is_written(call.rows(WRITTEN, self.who), self.before):  # and yet it was not changed
            raise SchemaUntrusted(NOT_WRITTEN)
        return False


def _in_transaction(connection: Any) -> bool:
    """Return whether the caller has a transaction."""
    return bool(connection.in_atomic_block or not connection.get_autocommit())


@contextmanager
def _transaction(connection: Any) -> Iterator[None]:
    """Run the block in a transaction.

    On MariaDB and MySQL, ``atomic()`` would take two round trips more: it turns autocommit off
    and on again.
    """
    if connection.vendor != "mysql" or _in_transaction(connection):
        with transaction.atomic(using=connection.alias):
            yield
        return
    with connection.cursor() as cursor:
        try:
            cursor.execute("START TRANSACTION")
            yield
            cursor.execute("COMMIT")
        except Exception:
            try:
                cursor.execute("ROLLBACK")
            except Error:
                connection.close()  # then the server rolls back
            raise
        except BaseException:  # interrupted: the next answer may belong to this statement
            connection.close()
            raise


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _translate_error(error: Error, *, committing: bool) -> StoreError:
    """Return our error for the driver's, without its text, which may quote what is stored."""
    name = type(error).__name__
    if _is_contended(error.__cause__):
        return StoreContended("the database was in use for too long; nothing was changed")
    if committing and not _is_refusal(error.__cause__):
        return OutcomeUnknown(
            f"the connection failed during the commit ({name}): the change may have been stored"
        )
    if isinstance(error, IntegrityError):
        return SchemaUntrusted(
            "a constraint that vmfa did not create refused the change; nothing was changed"
        )
    return StoreUnavailable(f"the database cannot be used ({name}); nothing was changed")


def _sqlstate(cause: BaseException | None) -> str:
    """Return the state of an error of PostgreSQL; empty if the server did not answer."""
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or ""


def _is_refusal(cause: BaseException | None) -> bool:
    """Return whether the server answered that it undid the transaction."""
    state = _sqlstate(cause)
    return bool(state) and not state.startswith(UNCERTAIN)


def _is_contended(cause: BaseException | None) -> bool:
    sqlite_code = getattr(cause, "sqlite_errorcode", 0) or 0
    code = cause.args[0] if cause is not None and cause.args else None
    return (
        _sqlstate(cause) in SQLSTATES_CONTENDED
        or sqlite_code & 0xFF in SQLITE_CONTENDED
        or code in MYSQL_CONTENDED
    )
