"""The SQLAlchemy stores over real servers: their settings, their locks and their failures."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from children import fork, outcome_of
from sqlalchemy import URL, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from mariadb_server import fresh_database, mariadb_server
from sqlalchemy_databases import mariadb_url, new_database, store_at, sync_url
from vmfa import (
    OutcomeUnknown,
    Principal,
    RecordTampered,
    SchemaUntrusted,
    StoreContended,
    StoreError,
    StoreUnavailable,
)
from vmfa.errors import ClockWentBack
from vmfa.stores.postgres import PostgresStore
from vmfa.stores.sqlalchemy import SQLAlchemyStore
from vmfa.stores.sqlalchemy.calls import Call
from vmfa.testing._contract_tools import commit_next, new_user, next_record, run_in_threads

pytestmark = pytest.mark.slow

POSTGRES = ("psycopg", "psycopg_async")
MARIADB = ("pymysql", "asyncmy")


@pytest.fixture
def url(driver: str, tmp_path: Path) -> Iterator[URL]:
    with new_database(driver, tmp_path) as url:
        yield url


@pytest.fixture
def store(url: URL) -> Iterator[Any]:
    with store_at(url, timeout=20) as store:
        store.create_schema()
        yield store


@pytest.fixture
def admin(url: URL) -> Iterator[Engine]:
    """The database as another program uses it."""
    engine = create_engine(sync_url(url), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    yield engine
    engine.dispose()


def execute(admin: Engine, *statements: str) -> Any:
    with admin.connect() as connection:
        for statement in statements:
            result = connection.exec_driver_sql(statement)
        return result.all() if result.returns_rows else None


def check_refused(store: Any, admin: Engine, statement: str, what: str) -> None:
    """Check that health() reports a change of the tables, and that calls refuse them."""
    stored = commit_next(store, Principal(id=new_user()))
    assert store.health() == ()
    execute(admin, statement)
    assert what in " ".join(map(str, store.health()))
    store.close()
    for call in (lambda: store.load(stored.id), lambda: commit_next(store, stored)):
        with pytest.raises(StoreError) as caught:
            call()
        assert what in str(caught.value)


# PostgreSQL


@pytest.mark.parametrize("driver", ["psycopg"])
@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (
            ("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
            "CREATE TRIGGER meddle BEFORE UPDATE ON vmfa_principal FOR EACH ROW"
            " EXECUTE FUNCTION f()"),
            "the trigger meddle",
        ),
        ("CREATE RULE skip AS ON UPDATE TO vmfa_event DO INSTEAD NOTHING", "the rule skip"),
        ("ALTER TABLE vmfa_event ENABLE ROW LEVEL SECURITY", "row-level security"),
        ("CREATE POLICY p ON vmfa_event USING (true)", "the policy p"),
        ("CREATE UNIQUE INDEX one ON vmfa_principal (tag)", "the index one"),
        ("CREATE INDEX half ON vmfa_principal (tag) WHERE revision > 5", "the index half"),
        ("ALTER TABLE vmfa_principal ADD CONSTRAINT c CHECK (revision > 0)", "the constraint c"),
        ("ALTER TABLE vmfa_principal ADD COLUMN note text", "note text null"),
        ("ALTER TABLE vmfa_principal ALTER COLUMN name TYPE text COLLATE pg_catalog.default",
         "name text n,"),
        ("ALTER TABLE vmfa_principal ALTER COLUMN tag SET DEFAULT ''", "tag text n default"),
        ("ALTER TABLE vmfa_principal DROP CONSTRAINT vmfa_principal_pkey", "no primary key"),
        ("ALTER TABLE vmfa_principal SET UNLOGGED", "unlogged"),
        ("DROP TABLE vmfa_event", "vmfa_event is missing"),
        (
            "DROP TABLE vmfa_event; CREATE VIEW vmfa_event AS SELECT 1 AS number",
            "vmfa_event is a view",
        ),
    ],
)
def test_a_changed_table_of_postgresql_is_refused(
    store: Any, admin: Engine, statement: str, what: str
) -> None:
    check_refused(store, admin, statement, what)


@pytest.mark.parametrize("driver", ["psycopg"])
def test_an_index_of_the_application_is_accepted(store: Any, admin: Engine) -> None:
    execute(admin, "CREATE INDEX by_tag ON vmfa_principal (tag)")
    assert store.health() == ()


@pytest.mark.parametrize("driver", ["psycopg"])
@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ("synchronous_commit=off", "synchronous_commit or fsync is off"),
        ("default_transaction_read_only=on", "read-only"),
        ("client_encoding=latin1", "in LATIN1"),
    ],
)
def test_unsafe_settings_of_postgresql_are_refused(
    url: URL, store: Any, setting: str, what: str
) -> None:
    options = f"{url.query['options']} -c {setting}"
    unsafe_url = url.update_query_dict({"options": options})
    with store_at(unsafe_url) as unsafe, pytest.raises(StoreUnavailable, match=what):
        unsafe.load(new_user())
    if "off" in setting:
        with store_at(unsafe_url, unsafe_not_durable=True) as unsafe:
            commit_next(unsafe, Principal(id=new_user()))


@pytest.mark.parametrize("driver", ["psycopg"])
def test_pg_catalog_must_not_be_hidden(url: URL, store: Any) -> None:
    hidden = f"{url.query['options']},pg_catalog"
    refused = pytest.raises(SchemaUntrusted, match="before pg_catalog")
    with store_at(url.update_query_dict({"options": hidden})) as unsafe, refused:
        unsafe.load(new_user())


@pytest.mark.parametrize("driver", ["psycopg"])
def test_a_trigger_is_noticed_at_once_on_postgresql(store: Any, admin: Engine) -> None:
    """Even within the seconds in which a connection is not checked again."""
    stored = commit_next(store, Principal(id=new_user()))
    execute(
        admin,
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER meddle BEFORE INSERT ON vmfa_event FOR EACH ROW EXECUTE FUNCTION f()",
    )
    with pytest.raises(SchemaUntrusted, match="did not keep the row"):
        commit_next(store, stored, 1)
    execute(
        admin,
        "DROP TRIGGER meddle ON vmfa_event;"
        "CREATE TRIGGER meddle BEFORE UPDATE ON vmfa_principal FOR EACH ROW EXECUTE FUNCTION f()",
    )
    with pytest.raises(SchemaUntrusted, match="did not keep the row"):
        commit_next(store, stored)  # without events: one statement
    execute(admin, "DROP TRIGGER meddle ON vmfa_principal")
    assert store.load(stored.id) == stored
    commit_next(store, stored, 1)


@pytest.mark.parametrize("driver", ["psycopg"])
def test_another_row_than_the_one_that_was_sent_is_an_unknown_outcome(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One statement is one transaction: it is stored already."""
    stored = commit_next(store, Principal(id=new_user()))
    with monkeypatch.context() as patch:
        patch.setattr("vmfa.stores.sqlalchemy.records.is_written", lambda *_: False)
        with pytest.raises(OutcomeUnknown, match="another row"):
            commit_next(store, stored)
    assert store.load(stored.id).revision == stored.revision + 1


@pytest.mark.parametrize("driver", ["psycopg"])
def test_the_tables_are_those_of_the_postgres_store(store: Any, url: URL) -> None:
    stored = commit_next(store, Principal(id=new_user()), 1)
    conninfo = " ".join(
        f"{name}='{value}'"
        for name, value in {
            "user": url.username, "dbname": url.database, **url.query
        }.items() if value
    )
    with PostgresStore(conninfo) as other:
        other.create_schema()
        assert other.health() == ()
        assert other.load(stored.id) == stored
        stored = commit_next(other, stored, 2)
    assert store.health() == ()
    assert store.load(stored.id) == stored
    assert len(store.history(stored.id)) == 2


# MariaDB


@pytest.mark.parametrize("driver", ["pymysql"])
@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (
            ("CREATE TRIGGER meddle BEFORE UPDATE ON vmfa_principal FOR EACH ROW"
            " SET NEW.revision = NEW.revision"),
            "the trigger meddle",
        ),
        (
            "ALTER TABLE vmfa_principal MODIFY name VARCHAR(512) NOT NULL",
            "name varchar(512) NO",
        ),
        ("ALTER TABLE vmfa_principal MODIFY tag VARBINARY(99) NOT NULL", "tag varbinary(99)"),
        ("ALTER TABLE vmfa_event MODIFY document BLOB", "document blob"),
        ("ALTER TABLE vmfa_principal ADD note INT AS (1)", "note int(11) YES"),
        ("ALTER TABLE vmfa_event ENGINE = Aria", "engine Aria"),
        ("ALTER TABLE vmfa_principal ADD UNIQUE INDEX one (tag)", "the unique constraint one"),
        ("ALTER TABLE vmfa_principal ADD CONSTRAINT c CHECK (revision > 0)", "check constraint c"),
        (
            ("ALTER TABLE vmfa_principal DROP PRIMARY KEY, ADD PRIMARY KEY"
            " (account, kind, name(100))"),
            "name 100",
        ),
        ("ALTER TABLE vmfa_event ADD SYSTEM VERSIONING", "SYSTEM VERSIONED"),
        ("DROP TABLE vmfa_event", "vmfa_event is missing"),
    ],
)
def test_a_changed_table_of_mariadb_is_refused(
    store: Any, admin: Engine, statement: str, what: str
) -> None:
    check_refused(store, admin, statement, what)


@contextmanager
def global_setting(admin: Engine, name: str, value: object) -> Iterator[None]:
    ((before,),) = execute(admin, f"SELECT @@GLOBAL.{name}")
    execute(admin, f"SET GLOBAL {name} = {value!r}")
    try:
        yield
    finally:
        execute(admin, f"SET GLOBAL {name} = {before!r}")


@pytest.mark.parametrize("driver", ["pymysql"])
@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("innodb_flush_log_at_trx_commit", 2, "innodb_flush_log_at_trx_commit is 2"),
        ("read_only", 1, "the server is read-only"),
        ("max_allowed_packet", 16384, "max_allowed_packet is 16384"),
    ],
)
def test_unsafe_settings_of_mariadb_are_refused(
    url: URL, store: Any, admin: Engine, name: str, value: int, what: str
) -> None:
    with global_setting(admin, name, value):
        store.close()
        with pytest.raises(StoreUnavailable, match=what):
            store.load(new_user())
        (fault,) = store.health()
        assert what in str(fault)
        if "innodb" in name:
            with store_at(url, unsafe_not_durable=True) as unsafe:
                commit_next(unsafe, Principal(id=new_user()))
    store.close()
    assert store.health() == ()


@pytest.mark.parametrize("driver", ["pymysql"])
@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("SET sql_mode = ''", "sql_mode is not strict"),
        ("SET tx_isolation = 'READ-UNCOMMITTED'", "READ UNCOMMITTED"),
        ("SET NAMES latin1", "encoded in latin1"),
    ],
)
def test_unsafe_settings_of_a_session_are_refused(store: Any, statement: str, what: str) -> None:
    def unsafe(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)

    store.load(new_user())
    event.listen(store._engine(), "connect", unsafe)
    store._engine().dispose()
    with pytest.raises(StoreUnavailable, match=what):
        store.load(new_user())


def test_the_binary_log_must_be_durable() -> None:
    with (
        mariadb_server("--log-bin", "--sync-binlog=0", "--binlog-format=STATEMENT") as server,
        fresh_database(server) as database,
        store_at(mariadb_url("pymysql", database)) as store,
    ):
        with pytest.raises(StoreUnavailable, match="sync_binlog is 0"):
            store.create_schema()
        server.execute("SET GLOBAL sync_binlog = 1")
        with pytest.raises(StoreUnavailable, match="binlog_format is STATEMENT"):
            store.load(new_user())
        server.execute("SET GLOBAL binlog_format = ROW")
        store.close()
        commit_next(store, Principal(id=new_user()), 1)


@pytest.mark.parametrize("driver", MARIADB)
def test_a_trigger_that_changes_the_row_is_noticed_at_once(store: Any, admin: Engine) -> None:
    stored = commit_next(store, Principal(id=new_user()))
    execute(
        admin,
        "CREATE TRIGGER meddle BEFORE UPDATE ON vmfa_principal FOR EACH ROW SET NEW.tag = OLD.tag",
    )
    with pytest.raises(SchemaUntrusted, match="did not keep the row"):
        commit_next(store, stored)
    execute(admin, "DROP TRIGGER meddle")
    assert store.load(stored.id) == stored


@pytest.mark.parametrize("driver", MARIADB)
def test_bytes_that_are_not_text_are_tampered(store: Any, admin: Engine) -> None:
    stored = commit_next(store, Principal(id=new_user()))
    execute(admin, "UPDATE vmfa_principal SET state = x'ff'")
    with pytest.raises(RecordTampered, match="not text"):
        store.load(stored.id)


@pytest.mark.parametrize("driver", MARIADB)
def test_a_record_that_exceeds_the_packets_is_not_stored(store: Any) -> None:
    """A state of 17 MiB is larger than any that vmfa writes."""
    stored = commit_next(store, Principal(id=new_user()))
    after = next_record(stored)
    assert after.envelope is not None
    object.__setattr__(after.envelope, "document", "x" * (17 << 20))
    with pytest.raises((StoreUnavailable, SchemaUntrusted), match="nothing was changed"):
        store.commit(stored, after, [])
    assert store.load(stored.id) == stored


@pytest.mark.parametrize("driver", MARIADB)
def test_neighbors_do_not_wait_for_each_other(store: Any) -> None:
    """Without gap locks, whose waits end in deadlocks."""
    waits: list[str] = []
    getattr(store, "inner", store).on_wait = lambda kind, _: waits.append(kind)
    users = [new_user() for _ in range(8)]

    def write(index: int) -> None:
        record = Principal(id=users[index])
        for number in range(1, 9):
            record = commit_next(store, record, number)

    assert run_in_threads(8, write) == [None] * 8
    assert waits.count("retry") <= 2


# Both


@pytest.mark.parametrize("driver", [*POSTGRES, *MARIADB])
def test_a_clock_that_differs_is_reported(store: Any) -> None:
    (fault,) = store.health(0.0)
    assert isinstance(fault, ClockWentBack)
    assert "behind the database" in str(fault)


def blocked(url: URL) -> Any:
    """A transaction of another program that locks every row."""
    engine = create_engine(sync_url(url), poolclass=NullPool)
    connection = engine.connect()
    connection.exec_driver_sql("SELECT * FROM vmfa_principal FOR UPDATE").all()
    return connection


@pytest.mark.parametrize("driver", [*POSTGRES, *MARIADB])
def test_a_lock_is_waited_for_until_the_deadline(url: URL, store: Any) -> None:
    stored = commit_next(store, Principal(id=new_user()))
    lock = blocked(url)
    with store_at(url, timeout=1) as impatient, lock:
        with pytest.raises(StoreError) as caught:
            commit_next(impatient, stored)
        assert isinstance(caught.value, (StoreContended, StoreUnavailable))
        assert impatient.load(stored.id) == stored
        lock.rollback()
        if not isinstance(caught.value, OutcomeUnknown):
            commit_next(impatient, stored, 1)


def kill_connections(admin: Engine) -> None:
    """End every other connection of this database, as a restart of the server does."""
    with admin.connect() as connection:
        if admin.dialect.name == "postgresql":
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
                " AND query LIKE '%%vmfa_%%'"
            ).all()
            return
        for (number,) in connection.exec_driver_sql(
            "SELECT id FROM information_schema.processlist"
            " WHERE db = database() AND id <> connection_id()"
        ).all():
            connection.exec_driver_sql(f"KILL {number}")


@pytest.mark.parametrize("driver", [*POSTGRES, *MARIADB])
def test_a_lost_connection_is_replaced(store: Any, admin: Engine) -> None:
    stored = commit_next(store, Principal(id=new_user()))
    kill_connections(admin)
    assert store.load(stored.id) == stored
    kill_connections(admin)
    commit_next(store, stored, 1)


@pytest.mark.parametrize("driver", [*POSTGRES, *MARIADB])
def test_a_commit_whose_answer_is_lost_is_unknown(
    store: Any, admin: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = commit_next(store, Principal(id=new_user()))
    commit = Call.commit

    def lost(call: Call[Any], connection: Any) -> None:
        killing = threading.Thread(target=kill_connections, args=(admin,))
        killing.start()
        killing.join()
        commit(call, connection)

    with monkeypatch.context() as patch:
        patch.setattr(Call, "commit", lost)
        with pytest.raises(OutcomeUnknown, match="may have been stored") as caught:
            commit_next(store, stored, 1)
        error: BaseException | None = caught.value
        while error is not None:
            assert not isinstance(error, DBAPIError)
            error = error.__context__ or error.__cause__
    assert store.load(stored.id) == stored
    commit_next(store, stored, 1)


@pytest.mark.parametrize("driver", [*POSTGRES, *MARIADB])
def test_missing_tables_are_named(url: URL) -> None:
    refused = pytest.raises(StoreUnavailable, match=r"vmfa_principal is missing: call create")
    with store_at(url) as store, refused:
        store.load(new_user())


@pytest.mark.parametrize("driver", ["psycopg", "pymysql"])
def test_tables_that_disappear_are_named(store: Any, admin: Engine) -> None:
    store.load(new_user())
    execute(admin, "DROP TABLE vmfa_principal")
    with pytest.raises(StoreUnavailable, match="has no vmfa tables"):
        store.load(new_user())
    execute(admin, "CREATE TABLE vmfa_principal (one INT)")
    with pytest.raises(SchemaUntrusted, match="not those that vmfa created"):
        store.load(new_user())


@pytest.mark.parametrize("driver", ["psycopg", "pymysql"])
def test_a_constraint_that_refuses_a_change_is_not_ours(store: Any, admin: Engine) -> None:
    stored = commit_next(store, Principal(id=new_user()))
    execute(admin, "ALTER TABLE vmfa_event ADD CONSTRAINT c CHECK (number < 0)")
    with pytest.raises(SchemaUntrusted, match="nothing was changed"):
        commit_next(store, stored, 1)
    assert store.load(stored.id) == stored


@pytest.mark.parametrize("driver", ["psycopg", "pymysql"])
def test_no_connection_survives_a_fork(store: Any) -> None:
    first = commit_next(store, Principal(id=new_user()))
    assert outcome_of(fork(lambda: commit_next(store, first).revision)) == 2
    assert store.load(first.id).revision == 2


@pytest.mark.parametrize("driver", ["psycopg", "pymysql"])
def test_a_server_that_cannot_be_reached_is_unavailable(url: URL) -> None:
    elsewhere = url.set(host="127.0.0.1", port=1, password="secret-word")
    store = SQLAlchemyStore(create_engine(elsewhere.difference_update_query(["host", "port"])))
    with pytest.raises(StoreUnavailable, match="no connection") as caught:
        store.load(new_user())
    assert "secret-word" not in str(caught.value)
    (fault,) = store.health()
    assert isinstance(fault, StoreUnavailable)


@pytest.mark.parametrize("driver", ["psycopg", "pymysql"])
def test_no_limit_is_set_on_the_server_without_a_timeout(url: URL, store: Any) -> None:
    query = {
        "psycopg": "SELECT current_setting('statement_timeout')",
        "pymysql": "SELECT @@max_statement_time",
    }[url.get_driver_name()]
    with store_at(url, timeout=None) as patient:
        patient.load(new_user())
        for any_store, limited in ((store, True), (patient, False)):
            with any_store._engine().connect() as connection:
                value = connection.exec_driver_sql(query).scalar()
            assert (str(value) not in ("0", "0.0")) == limited


@pytest.mark.parametrize("driver", ["psycopg", "pymysql"])
def test_many_processes_may_create_the_tables_at_once(url: URL) -> None:
    with store_at(url) as store:
        assert run_in_threads(6, lambda _: store.create_schema()) == [None] * 6
