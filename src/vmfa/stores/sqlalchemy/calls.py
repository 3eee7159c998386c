"""One call of a store, and what the two stores share: everything that does not wait."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import URL, Connection, Dialect, Engine, MetaData
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import Pool, SingletonThreadPool, StaticPool
from sqlalchemy.schema import CreateTable

from ...errors import (
    ClockWentBack,
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
from .databases import Database, Failure
from .mariadb import MariaDB
from .postgresql import PostgreSQL
from .records import Records, Statements
from .sqlite import SQLite
from .tables import Tables, vmfa_tables

T = TypeVar("T")

CHECK_EVERY: Final = 10.0  # seconds, within which a changed setting or table is noticed
FIRST_PAUSE: Final = 0.0005  # seconds; doubles
LONGEST_PAUSE: Final = 0.05
RECONNECTIONS: Final = 3  # in one call
LOGGING_NAME: Final = "vmfa"
CHECKED_AT: Final = "vmfa checked at"  # in the info of a connection
IN_USE: Final = "vmfa in use"
FAILURES: Final = (SQLAlchemyError, UnicodeDecodeError)
DATABASES: Final[dict[str, type[Database]]] = {
    "postgresql": PostgreSQL, "mariadb": MariaDB, "mysql": MariaDB, "sqlite": SQLite,
}

# With echo=True, and at level DEBUG, SQLAlchemy would log what is stored.
logging.getLogger(f"sqlalchemy.engine.Engine.{LOGGING_NAME}").setLevel(logging.WARNING)


class Call(Generic[T]):
    """One call of a store."""

    def __init__(
        self, store: Stored, work: Callable[[Call[T], Records], T], *, check: bool = True
    ) -> None:
        self._store = store
        self._work = work
        self._check = check
        self._pause = FIRST_PAUSE
        self._deadline = time.monotonic() + (store.timeout or float("inf"))
        self._reconnections = 0
        self.committing = False  # what commits was sent, and not undone
        self._begun = False  # a transaction of this call is open

    def run(self, connection: Connection) -> T:
        """Do the work over a connection that commits each statement by itself."""
        self.committing = self._begun = False
        store = self._store
        pooled = connection.connection
        if pooled.info.get(IN_USE):  # an exception interrupted the call before
            connection.invalidate()
            pooled = connection.connection
        if store.database.in_transaction(pooled.driver_connection):
            raise InvalidValue(
                "this connection is in a transaction of your application: the pool gives one"
                " connection to several users; to use a transaction of your own, see"
                " OwnTransaction"
            )
        info = pooled.info
        info[IN_USE] = True
        try:
            if self._check:
                store.check(connection, info)
            result = self._work(self, Records(connection, store.statements))
        except (SQLAlchemyError, UnicodeDecodeError, VmfaError):
            self._leave(connection, info)
            raise
        except BaseException:
            connection.invalidate()  # in the middle of a statement, perhaps
            raise
        self._leave(connection, info)
        return result

    def begin(self, connection: Connection) -> None:
        """Begin a transaction."""
        connection.exec_driver_sql(self._store.database.begin)
        self._begun = True

    def commit(self, connection: Connection) -> None:
        """Commit the transaction."""
        self.committing = True
        connection.exec_driver_sql("COMMIT")
        self._begun = False

    def _leave(self, connection: Connection, info: dict[Any, Any]) -> None:
        """Leave no transaction on *connection*."""
        if self._begun and not connection.invalidated:
            try:
                connection.exec_driver_sql("ROLLBACK")
            except SQLAlchemyError:
                connection.invalidate()
        if not connection.invalidated:
            info.pop(IN_USE, None)

    def failed(self, error: SQLAlchemyError | UnicodeDecodeError) -> StoreError | None:
        """Return the error to raise, or None to wait for :meth:`pause` and to try again."""
        failure, again = translate_error(
            self._store.database, error, committing=self.committing
        )
        self.committing = isinstance(failure, OutcomeUnknown)
        if isinstance(failure, StoreUnavailable):
            self._reconnections += 1
            again = again and self._reconnections <= RECONNECTIONS
        return None if again and time.monotonic() < self._deadline else failure

    def pause(self) -> float:
        """Return the seconds to wait before the next attempt."""
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return self._pause

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
        return StoreUnavailable(
            f"no connection ({type(error).__name__}); nothing was changed"
        ), False
    failure, name = database.meaning(error)
    lost = error.connection_invalidated
    if committing and (lost or failure not in database.certain):
        return in_doubt(name), False
    if lost or failure is Failure.LOST:
        return StoreUnavailable(
            f"no connection, or it was lost ({name}); nothing was changed"
        ), lost
    return MEANINGS[failure](f"{MESSAGES[failure]} ({name}); nothing was changed"), (
        failure is Failure.UNDONE
    )


MEANINGS: Final[dict[Failure, type[StoreError]]] = {
    Failure.UNDONE: StoreContended,
    Failure.WAITED: StoreContended,
    Failure.NO_TABLES: StoreUnavailable,
    Failure.CHANGED_TABLES: SchemaUntrusted,
    Failure.CORRUPT: StoreCorrupt,
    Failure.NOT_TEXT: RecordTampered,
    Failure.REFUSED: StoreUnavailable,
    Failure.UNCERTAIN: StoreUnavailable,
}
MESSAGES: Final[dict[Failure, str]] = {
    Failure.UNDONE: "others kept changing the same rows, or kept the database locked",
    Failure.WAITED: "the database gave up waiting, for a lock for example",
    Failure.NO_TABLES: (
        "the database has no vmfa tables: call create_schema(), or run your migrations"
    ),
    Failure.CHANGED_TABLES: "the tables are not those that vmfa created",
    Failure.CORRUPT: "the database reports that it is damaged",
    Failure.NOT_TEXT: "a stored record is not text",
    Failure.REFUSED: "the database refused a statement",
    Failure.UNCERTAIN: "the database failed",
}


def in_doubt(cause: str) -> OutcomeUnknown:
    """Return the error of a commit that was not confirmed."""
    return OutcomeUnknown(
        f"a commit was not confirmed ({cause}): the change may have been stored, or may still be;"
        " nothing was accepted, and a code that was typed may be used"
    )


def database_of(dialect: Dialect) -> Database:
    """Return what is special to the database of *dialect*.

    :raises InvalidValue: the store does not support it.
    """
    database = DATABASES.get(dialect.name)
    if database is None:
        raise InvalidValue(
            f"vmfa does not support {dialect.name} over SQLAlchemy: use PostgreSQL, MariaDB or"
            " SQLite"
        )
    return database()


class Stored:
    """What the two stores share."""

    def __init__(
        self, engine: Engine, tables: Tables | None, timeout: float | None, *, unsafe: bool
    ) -> None:
        if isinstance(engine.pool, (StaticPool, SingletonThreadPool)):
            raise InvalidValue(
                "the pool of this engine shares one connection with your application, whose"
                " rollback would take back what vmfa stored: use a file and not :memory:, and no"
                " StaticPool; in tests, use MemoryStore"
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

    def engine_arguments(self) -> tuple[URL, dict[str, Any]]:
        """Return the arguments of an engine with a pool of its own.

        Its connections commit each statement by themselves, and its errors quote no values.
        """
        pool: Pool = self._given.pool.recreate()
        return self._given.url, {
            "pool": pool, "isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True,
            "hide_parameters": True, "logging_name": LOGGING_NAME,
        }

    def prepare(self, connection: Any, _: object) -> None:
        """Prepare a new connection of the driver."""
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

    def check(self, connection: Connection, info: dict[Any, Any]) -> None:
        """Check the settings and the tables, from time to time on each connection.

        :param info: what is known of the connection.
        :raises StoreError: the first fault.
        """
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


def create(records: Records, store: Stored) -> None:
    """Create the tables that are missing, and check those that are there."""
    for table in store.tables.both:
        try:
            records.connection.execute(CreateTable(table, if_not_exists=True))
        except DBAPIError:
            if not records.connection.dialect.has_table(
                records.connection, table.name, table.schema
            ):
                raise  # otherwise another process has created it
    for fault in store.faults(records.connection):
        raise fault


def health(
    records: Records, store: Stored, now: float, tolerance: int
) -> tuple[VmfaError, ...]:
    """Return what is wrong, with the clock of this machine."""
    faults: list[VmfaError] = [*store.faults(records.connection)]
    if store.database.clock:
        theirs = records.connection.exec_driver_sql(store.database.clock).scalar_one()
        offset = round(now - float(theirs))
        if abs(offset) > tolerance:
            direction = "behind" if offset < 0 else "ahead of"
            faults.append(ClockWentBack(
                f"this machine's clock is {abs(offset)} seconds {direction} the database's"
            ))
    return tuple(faults)


def commit(
    call: Call[bool], records: Records, before: Principal, after: Principal,
    events: Sequence[AuditEvent],
) -> bool:
    """Compare and set, with the events, in one transaction."""
    if records.is_single_update(before, after, events):
        call.committing = True  # one statement is one transaction
        call.committing = records.update_alone(before, after)
        return call.committing
    call.begin(records.connection)
    if not records.write(before, after, events):
        return False
    call.commit(records.connection)
    return True


class Calls:
    """The calls of the methods of a store."""

    def __init__(self, store: Stored) -> None:
        self._store = store

    def create_schema(self) -> Call[None]:
        """Return the call of ``create_schema()``."""
        return Call(
            self._store, lambda _, records: create(records, self._store), check=False
        )

    def health(self, now: float | None, tolerance: int) -> Call[tuple[VmfaError, ...]]:
        """Return the call of ``health()``."""
        moment = time.time() if now is None else now
        return Call(
            self._store, lambda _, records: health(records, self._store, moment, tolerance),
            check=False,
        )

    def load(self, principal: PrincipalId) -> Call[Principal]:
        """Return the call of ``load()``."""
        return Call(self._store, lambda _, records: records.load(principal))

    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> Call[bool]:
        """Return the call of ``commit()``."""
        return Call(
            self._store, lambda call, records: commit(call, records, before, after, events)
        )

    def principals(
        self, account: str, after: PrincipalId | None, limit: int
    ) -> Call[Sequence[PrincipalId]]:
        """Return the call of ``principals()``."""
        return Call(self._store, lambda _, records: records.principals(account, after, limit))

    def orphans(
        self, account: str, after: PrincipalId | None, limit: int
    ) -> Call[Sequence[PrincipalId]]:
        """Return the call of ``orphans()``."""
        return Call(self._store, lambda _, records: records.orphans(account, after, limit))

    def accounts(self, after: str, limit: int) -> Call[Sequence[str]]:
        """Return the call of ``accounts()``."""
        return Call(self._store, lambda _, records: records.accounts(after, limit))

    def history(
        self, principal: PrincipalId, after: int, limit: int
    ) -> Call[Sequence[AuditEvent]]:
        """Return the call of ``history()``."""
        return Call(self._store, lambda _, records: records.history(principal, after, limit))
