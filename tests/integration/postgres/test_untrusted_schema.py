"""The PostgreSQL stores work only with the objects that they created, and prove their commits."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from postgres_server import with_options
from support import Enrolled, enroll
from vmfa import (
    Actor,
    CodeRejected,
    DeviceRegistry,
    PrincipalId,
    Receipt,
    SchemaUntrusted,
    StoreUnavailable,
)
from vmfa.testing import FrozenClock

SERVICE = Actor.trusted_service("test")
FUNCTION = """CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF pg_trigger_depth() > 1 THEN RETURN NEW; END IF;
    UPDATE vmfa_principal SET revision = OLD.revision, state = OLD.state, tag = OLD.tag
        WHERE name = OLD.name;
    RETURN NEW; END $$"""
KEEP = """CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RETURN OLD; END $$"""
# S1: each of these turned off replay protection and throttling, or could.
OBJECTS = {
    "an AFTER trigger": (
        FUNCTION,
        """CREATE TRIGGER undo AFTER UPDATE ON vmfa_principal
        FOR EACH ROW EXECUTE FUNCTION undo()""",
    ),
    "a deferred trigger": (
        FUNCTION,
        """CREATE CONSTRAINT TRIGGER undo AFTER UPDATE ON
        vmfa_principal DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION undo()""",
    ),
    "a BEFORE trigger": (
        KEEP,
        """CREATE TRIGGER keep BEFORE UPDATE ON vmfa_principal
        FOR EACH ROW EXECUTE FUNCTION keep()""",
    ),
    "a statement trigger": (
        KEEP,
        """CREATE TRIGGER keep AFTER UPDATE ON vmfa_principal
        EXECUTE FUNCTION keep()""",
    ),
    "a rule that does something else": (
        """CREATE RULE nothing AS ON UPDATE TO vmfa_principal
        DO INSTEAD NOTHING""",
    ),
    "a rule that does more": (
        """CREATE RULE more AS ON UPDATE TO vmfa_principal DO ALSO
        UPDATE vmfa_event SET number = number""",
    ),
    "row security": ("ALTER TABLE vmfa_principal ENABLE ROW LEVEL SECURITY",),
}
AT_OPEN = {
    **OBJECTS,
    "an event trigger": (
        KEEP,
        """CREATE TRIGGER keep BEFORE INSERT ON vmfa_event
        FOR EACH ROW EXECUTE FUNCTION keep()""",
    ),
    "another column": ("ALTER TABLE vmfa_principal ADD COLUMN more TEXT DEFAULT 'x'",),
    "a generated column": (
        "ALTER TABLE vmfa_event ADD COLUMN twice BIGINT GENERATED ALWAYS AS (number * 2) STORED",
    ),
    "another type": (
        "DROP VIEW vmfa_device",
        "ALTER TABLE vmfa_principal ALTER COLUMN tag TYPE VARCHAR(200)",
    ),
    "another collation": (
        'ALTER TABLE vmfa_principal ALTER COLUMN tag TYPE TEXT COLLATE "POSIX"',
    ),
    "a column that may be null": ("ALTER TABLE vmfa_principal ALTER COLUMN tag DROP NOT NULL",),
    "a check": ("ALTER TABLE vmfa_principal ADD CHECK (revision < 1000)",),
    "a foreign key": (
        """CREATE TABLE other (a TEXT COLLATE "C", k TEXT COLLATE "C", n TEXT COLLATE "C",
            FOREIGN KEY (a, k, n) REFERENCES vmfa_principal ON UPDATE CASCADE)""",
    ),
    "no primary key": ("ALTER TABLE vmfa_event DROP CONSTRAINT vmfa_event_pkey",),
    "a unique index": ("CREATE UNIQUE INDEX one ON vmfa_principal (account, revision)",),
    "a computed index": ("CREATE INDEX computed ON vmfa_principal (upper(name))",),
    "a partial index": ("CREATE INDEX partial ON vmfa_principal (name) WHERE revision > 5",),
    "a view in place of a table": (
        "ALTER TABLE vmfa_principal RENAME TO hidden",
        "CREATE VIEW vmfa_principal AS SELECT * FROM hidden",
    ),
    "a child table": ("CREATE TABLE child () INHERITS (vmfa_principal)",),
}


def sql(conninfo: str, *statements: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(conninfo, autocommit=True) as db:
        for statement in statements:
            cursor = db.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def enrolled(registry: DeviceRegistry, clock: FrozenClock, alice: PrincipalId) -> Enrolled:
    return enroll(registry, clock, alice)


@pytest.mark.parametrize("name", AT_OPEN)
def test_an_object_that_vmfa_did_not_create_is_refused_at_open(
    store: Any, open_store: Any, database: str, alice: PrincipalId, name: str
) -> None:
    sql(database, *AT_OPEN[name])
    with pytest.raises(SchemaUntrusted):
        open_store(database).load(alice)
    assert [type(problem) for problem in open_store(database).health()] == [SchemaUntrusted]
    with pytest.raises(SchemaUntrusted):
        open_store(database).create_schema()


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_that_is_added_later_is_refused_by_the_next_commit(
    enrolled: Enrolled, store: Any, database: str, name: str
) -> None:
    enrolled.sign_in()
    sql(database, *OBJECTS[name])
    rows = sql(database, "SELECT revision, tag FROM vmfa_principal")
    for _ in range(2):
        with pytest.raises(SchemaUntrusted):
            enrolled.sign_in()
        with pytest.raises(SchemaUntrusted):
            enrolled.registry.deactivate(enrolled.principal, by=SERVICE)
    assert sql(database, "SELECT revision, tag FROM vmfa_principal") == rows
    assert [type(problem) for problem in store.health()] == [SchemaUntrusted]


def test_guesses_are_counted_or_refused_whatever_a_trigger_does(
    enrolled: Enrolled, database: str
) -> None:
    """S1: 5,000 guesses were not counted."""
    enrolled.clock.advance(30)
    sql(database, *OBJECTS["an AFTER trigger"])
    for _ in range(5):
        with pytest.raises(SchemaUntrusted):
            enrolled.registry.verify(enrolled.principal, enrolled.phone.wrong_code())
    sql(database, "DROP TRIGGER undo ON vmfa_principal")
    with pytest.raises(CodeRejected):
        enrolled.registry.verify(enrolled.principal, enrolled.phone.wrong_code())


def test_a_table_whose_last_trigger_was_dropped_is_trusted(
    enrolled: Enrolled, store: Any, database: str
) -> None:
    """PostgreSQL keeps the flag relhastriggers."""
    sql(database, *OBJECTS["an AFTER trigger"], "DROP TRIGGER undo ON vmfa_principal")
    rows = sql(
        database, "SELECT relhastriggers FROM pg_class WHERE oid = 'vmfa_principal'::regclass"
    )
    assert rows == [(True,)]
    assert isinstance(enrolled.sign_in(), Receipt)
    assert store.health() == ()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX by_revision ON vmfa_principal (revision)",
        "CREATE INDEX by_account ON vmfa_event (account, number DESC)",
        "CREATE VIEW of_operators AS SELECT name FROM vmfa_device",
        "DROP VIEW vmfa_device",
        "ANALYZE vmfa_principal",
    ],
)
def test_a_plain_index_or_a_view_is_allowed(
    enrolled: Enrolled, open_store: Any, database: str, statement: str
) -> None:
    sql(database, statement)
    enrolled.sign_in()
    assert open_store(database).health() == ()


def test_a_temporary_table_in_front_of_ours_is_refused(
    store: Any, database: str, alice: PrincipalId
) -> None:
    if hasattr(store, "run"):
        pytest.skip("one kind of store is enough")
    own = store._own_connections()
    owner = object.__new__(type("Owner", (), {}))
    connection = own.acquire(owner, 10)
    connection.execute("CREATE TEMPORARY TABLE vmfa_principal (LIKE vmfa_principal)")
    own.release(owner)
    for session in store._sessions.values():
        session.checked_at = float("-inf")
    with pytest.raises(SchemaUntrusted):
        store.load(alice)


def test_an_unlogged_table_is_refused_unless_asked_for(
    store: Any, open_store: Any, database: str, alice: PrincipalId
) -> None:
    sql(database, "ALTER TABLE vmfa_principal SET UNLOGGED")
    with pytest.raises(StoreUnavailable, match="unlogged"):
        open_store(database).load(alice)
    assert open_store(database, unsafe_not_durable=True).load(alice).revision == 0


def test_a_search_path_that_can_replace_operators_is_refused(
    store: Any, open_store: Any, database: str, alice: PrincipalId
) -> None:
    ((schema,),) = sql(database, "SELECT current_schema()")
    after = with_options(database, f"-c search_path={schema},pg_catalog")
    with pytest.raises(SchemaUntrusted, match="search_path"):
        open_store(after).load(alice)


def test_a_changed_setting_is_noticed_at_the_next_check(
    store: Any, database: str, alice: PrincipalId
) -> None:
    """D3: within ten seconds; here the check is due at once."""
    store.load(alice)
    inner = getattr(store, "inner", store)
    own = store.run(_own(inner)) if hasattr(store, "run") else inner._own_connections()
    for slot in own._slots:
        if slot.connection is not None:
            slot.connection.pgconn.exec_(b"SET synchronous_commit = off")
    assert store.load(alice).revision == 0
    for session in inner._sessions.values():
        session.checked_at -= 10.5
    with pytest.raises(StoreUnavailable, match="synchronous_commit"):
        store.load(alice)


async def _own(inner: Any) -> Any:
    return inner._own_connections()
