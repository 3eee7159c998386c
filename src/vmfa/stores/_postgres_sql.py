"""The statements of the PostgreSQL stores, as scripts that do not wait for an answer.

A script yields one :class:`Step` after the other, and receives the answer to each.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString, TypeVar

from ..errors import OutcomeUnknown, SchemaUntrusted, StoreError, StoreTooNew, StoreUnavailable
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
from ._wire import Answer

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
ORPHANS: Final = """SELECT DISTINCT kind, name FROM vmfa_event
    WHERE account = %s AND (kind, name) > (%s, %s) AND NOT EXISTS (
        SELECT 1 FROM vmfa_principal WHERE vmfa_principal.account = vmfa_event.account
        AND vmfa_principal.kind = vmfa_event.kind AND vmfa_principal.name = vmfa_event.name)
    ORDER BY kind, name LIMIT %s"""
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


def orphans_script(
    account: str, after: PrincipalId | None, limit: int
) -> Script[Sequence[PrincipalId]]:
    """Return a page of principals that have events and no record."""
    start = key(after)[1:] if after is not None else ("", "")
    _, rows = yield Step(ORPHANS, (account, *start, bounded(limit)))
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
        raise too_new(version)
    yield from check_schema_script()
    yield COMMIT


def check_schema_script(*, unsafe_not_durable: bool = True) -> Script[None]:
    """Check that nothing was added to our tables that changes what a statement does."""
    _, rows = yield Step(CHECK)
    for fault in schema_faults(rows, unsafe_not_durable=unsafe_not_durable):
        raise fault


def schema_faults(
    rows: Sequence[tuple[Any, ...]], *, unsafe_not_durable: bool
) -> Iterator[StoreError]:
    """Yield what is wrong with tables whose description by CHECK is *rows*."""
    tables = {row[0]: row[1:] for row in rows}
    for table, columns in COLUMNS.items():
        if table not in tables:
            yield no_tables()
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


def setting_faults(
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
        yield too_new(version)
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


def too_new(version: int) -> StoreTooNew:
    return StoreTooNew(f"the database has schema {version}; this release reads up to {SCHEMA}")


def no_tables() -> StoreUnavailable:
    return StoreUnavailable("the database has no vmfa tables: call create_schema()")
