"""What is sent to the database: the statements, and what each method of a store does with them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    insert,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import CursorResult, Dialect
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.sql import ColumnElement, Executable

from ...errors import OutcomeUnknown, SchemaUntrusted
from ...events import AuditEvent
from ...models import Principal, PrincipalId
from ...record import from_columns
from .._sql import (
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
from .tables import MYSQL, Tables

KEY: Final = ("account", "kind", "name")
RECORD: Final = ("revision", "state", "tag", "audit_tag")
EVENT: Final = (
    "number", "document", "salt", "content_digest", "digest", "redactable", "audit_tag"
)
DUPLICATE: Final = 1062  # of MariaDB: there is a row with this key
POSTGRES_UNTOUCHED: Final = """NOT EXISTS (SELECT 1 FROM pg_catalog.pg_trigger
        WHERE tgrelid = CAST({table} AS regclass))
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite WHERE ev_class = CAST({table} AS regclass))
    AND NOT (SELECT relrowsecurity FROM pg_catalog.pg_class WHERE oid = CAST({table} AS regclass))
"""


class Statement:
    """One statement, and the names of its values in order. SQLAlchemy compiles it once.

    :param binary: whether the database stores text as binary values, as MariaDB does.
    """

    def __init__(self, sql: Executable, *names: str, binary: bool) -> None:
        self._sql = sql
        self._names = names
        self._binary = binary

    def execute(self, connection: Connection, values: Sequence[Any]) -> CursorResult[Any]:
        """Execute the statement with *values*."""
        if self._binary:
            values = [value.encode() if isinstance(value, str) else value for value in values]
        return connection.execute(self._sql, dict(zip(self._names, values, strict=True)))

    def rows(self, connection: Connection, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Execute the statement with *values* and return the rows."""
        rows = [tuple(row) for row in self.execute(connection, values)]
        if not self._binary:
            return rows
        return [
            tuple(value.decode() if isinstance(value, bytes) else value for value in row)
            for row in rows
        ]


class Statements:
    """The statements on two tables, for one kind of database."""

    def __init__(self, tables: Tables, dialect: Dialect) -> None:
        principal, event = tables.principal, tables.event
        c, e = principal.c, event.c
        one = _named(principal, KEY, "at_")
        stored = and_(one, _named(principal, ("revision", "tag"), "old_"))
        at, new, old = _names("at_", KEY), _names("new_", RECORD), ("old_revision", "old_tag")
        set_record: dict[str, Any] = {name: bindparam(f"new_{name}") for name in RECORD}
        after_number = e.number > bindparam("after")
        limit = bindparam("limit", type_=BigInteger)
        history_of = _named(event, KEY, "at_")
        untouched = _untouched(tables, dialect)
        statement = partial(Statement, binary=dialect.name in MYSQL)

        self.load = statement(select(*(c[name] for name in RECORD)).where(one), *at)
        inserted = _insert(principal, (*KEY, *RECORD), dialect)
        self.insert = statement(
            inserted.execution_options(preserve_rowcount=True), *KEY, *RECORD
        )
        changed = update(principal).where(stored).values(set_record)
        self.update = statement(changed, *new, *at, *old)
        # One statement, where it can prove what it wrote: it changes nothing if an object was
        # added that could change what it does, and otherwise returns the row.
        self.update_alone = None if dialect.name != "postgresql" else statement(
            changed.where(*untouched[:1]).returning(c.revision, c.tag), *new, *at, *old
        )
        self.delete = statement(delete(principal).where(stored), *at, *old)
        self.written = statement(select(c.revision, c.tag).where(one, *untouched), *at)
        self.append = statement(
            insert(event).values({name: bindparam(name) for name in (*KEY, *EVENT)}), *KEY, *EVENT
        )
        redacted = and_(
            history_of, after_number, e.number <= bindparam("up_to"), e.redactable == 1
        )
        self.redact = statement(
            update(event).where(redacted).values(document=None, salt=None), *at, "after", "up_to"
        )
        self.erase = statement(delete(event).where(history_of, after_number), *at, "after")
        self.history = statement(
            select(*(e[name] for name in EVENT)).where(history_of, after_number)
            .order_by(e.number).limit(limit),
            *at, "after", "limit",
        )
        self.page = statement(
            select(c.kind, c.name).where(c.account == bindparam("account"), _later(c, dialect))
            .order_by(c.kind, c.name).limit(limit),
            "account", "after_kind", "after_name", "limit",
        )
        owner = and_(c.account == e.account, c.kind == e.kind, c.name == e.name)
        self.orphans = statement(
            select(e.kind, e.name)
            .where(e.account == bindparam("account"), _later(e, dialect), ~exists().where(owner))
            .distinct().order_by(e.kind, e.name).limit(limit),
            "account", "after_kind", "after_name", "limit",
        )
        self.accounts = statement(
            select(c.account).where(c.account > bindparam("after_account")).distinct()
            .order_by(c.account).limit(limit),
            "after_account", "limit",
        )

    @classmethod
    def of(cls, tables: Tables, dialect: Dialect) -> Statements:
        """Return the statements, which SQLAlchemy compiles once if they are the same objects."""
        known = _statements.get((tables, dialect.name))
        if known is None:
            known = _statements[tables, dialect.name] = cls(tables, dialect)
        return known


_statements: dict[tuple[Tables, str], Statements] = {}  # few: an application has one database


def _names(prefix: str, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(prefix + name for name in names)


def _named(table: Table, names: Sequence[str], prefix: str) -> ColumnElement[bool]:
    return and_(*(table.c[name] == bindparam(prefix + name) for name in names))


def _insert(table: Table, names: Sequence[str], dialect: Dialect) -> Executable:
    """Return an INSERT that changes nothing if there is such a row.

    MariaDB has only ``INSERT IGNORE``, which would also ignore that a value does not fit: there,
    the INSERT fails.
    """
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    if dialect.name == "postgresql":
        return postgresql.insert(table).values(values).on_conflict_do_nothing()
    if dialect.name == "sqlite":
        return sqlite.insert(table).values(values).on_conflict_do_nothing()
    return insert(table).values(values)


def _untouched(tables: Tables, dialect: Dialect) -> list[ColumnElement[bool]]:
    """Return a condition for each table: that no object changes what a statement does."""
    if dialect.name != "postgresql":
        return []
    names = [
        "'" + dialect.identifier_preparer.format_table(table).replace("'", "''") + "'"
        for table in (tables.principal, tables.event)
    ]
    return [text(POSTGRES_UNTOUCHED.format(table=name)) for name in names]  # type: ignore[misc]


def _later(columns: Any, dialect: Dialect) -> ColumnElement[bool]:
    """Return the condition that a principal comes after another one of its account."""
    kind = bindparam("after_kind", type_=columns.kind.type)
    name = bindparam("after_name", type_=columns.name.type)
    if dialect.name in MYSQL:  # which uses no index for a comparison of tuples
        return and_(
            columns.kind >= kind,
            or_(columns.kind > kind, and_(columns.kind == kind, columns.name > name)),
        )
    return tuple_(columns.kind, columns.name) > tuple_(kind, name)


class Records:
    """The records and histories, over one connection. The caller begins and commits."""

    def __init__(self, connection: Connection, statements: Statements) -> None:
        self.connection = connection
        self._statements = statements

    def load(self, principal: PrincipalId) -> Principal:
        """Return the stored record of *principal*."""
        rows = self._rows(self._statements.load, key(principal))
        if not rows:
            return Principal(id=principal)
        return from_columns(principal, *rows.pop())  # popped: no frame keeps the row

    def is_single_update(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        """Return whether :meth:`update_alone` can do this change."""
        replaced = before.envelope is not None and after.revision != 0
        unlogged = not events and after.pruned == before.pruned
        return self._statements.update_alone is not None and replaced and unlogged

    def update_alone(self, before: Principal, after: Principal) -> bool:
        """Replace *before* by *after* in one statement that proves what it wrote.

        :returns: False, with nothing written, if the stored record is no longer *before*.
        :raises SchemaUntrusted: an object was added to the table; nothing was written.
        :raises OutcomeUnknown: another row was written.
        """
        statement = self._statements.update_alone
        assert statement is not None  # noqa: S101  # is_single_update() was asked
        _, values = change(before, after, "insert", "update", "delete")
        rows = self._rows(statement, values)
        if is_written(rows, after):
            return True
        if rows:
            raise OutcomeUnknown(
                "the database stored another row than the one that was sent: an object was added"
                " to the table"
            )
        stored = self._rows(self._statements.load, key(after.id))
        if is_written([(row[0], row[2]) for row in stored], before):  # and it was not changed
            raise SchemaUntrusted(NOT_WRITTEN)
        return False

    def write(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        """Compare and set, and prove that the row that was written is the row that is there.

        :returns: False, with nothing written, if the stored record is no longer *before*.
        :raises SchemaUntrusted: another row is there than the one that was sent: roll back.
        """
        statements, who = self._statements, key(after.id)
        name, values = change(before, after, "insert", "update", "delete")
        if self._changed(getattr(statements, name), values) != 1:
            return False
        if after.pruned > before.pruned:
            self._changed(statements.redact, (*who, before.pruned, after.pruned))
        if events or after.revision == 0:
            self._changed(statements.erase, (*who, first_replaced(events, after)))
        for event in events:
            self._changed(statements.append, event_row(after.id, event))
        check_written(self._rows(statements.written, who), after)
        return True

    def principals(
        self, account: str, after: PrincipalId | None, limit: int
    ) -> Sequence[PrincipalId]:
        """Return a page of principals."""
        start = key(after)[1:] if after is not None else ("", "")
        rows = self._rows(self._statements.page, (account, *start, bounded(limit)))
        return read_principals(account, rows)

    def orphans(
        self, account: str, after: PrincipalId | None, limit: int
    ) -> Sequence[PrincipalId]:
        """Return a page of principals that have events and no record."""
        start = key(after)[1:] if after is not None else ("", "")
        rows = self._rows(self._statements.orphans, (account, *start, bounded(limit)))
        return read_principals(account, rows)

    def accounts(self, after: str, limit: int) -> Sequence[str]:
        """Return a page of accounts."""
        return [row[0] for row in self._rows(self._statements.accounts, (after, bounded(limit)))]

    def history(self, principal: PrincipalId, after: int, limit: int) -> Sequence[AuditEvent]:
        """Return a page of events."""
        page = (*key(principal), bounded(after), bounded(limit))
        return read_events(principal, self._rows(self._statements.history, page))

    def _rows(self, statement: Statement, values: Sequence[Any]) -> list[Any]:
        return statement.rows(self.connection, values)

    def _changed(self, statement: Statement, values: Sequence[Any]) -> int:
        """Execute a change and return the number of rows, 0 if the row exists already."""
        try:
            return statement.execute(self.connection, values).rowcount
        except IntegrityError as error:
            if statement is self._statements.insert and number_of(error) == DUPLICATE:
                return 0  # another caller stored the first record
            raise


def number_of(error: DBAPIError) -> int:
    """Return the number of an error of MariaDB; 0 if the server did not answer."""
    number = error.orig.args[0] if error.orig is not None and error.orig.args else 0
    return number if isinstance(number, int) else 0
