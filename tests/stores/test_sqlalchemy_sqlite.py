"""What is special to the SQLAlchemy stores, tested over SQLite. The other databases are slow."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from children import fork, outcome_of
from sqlalchemy import URL, Engine, MetaData, StaticPool, create_engine, event
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import QueuePool

from awaited import Awaited
from vmfa import (
    InvalidType,
    InvalidValue,
    MissingExtra,
    OutcomeUnknown,
    Principal,
    PrincipalId,
    RecordTampered,
    SchemaUntrusted,
    StoreContended,
    StoreCorrupt,
    StoreUnavailable,
)
from vmfa.stores.base import WaitObserver
from vmfa.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore, calls, vmfa_tables
from vmfa.stores.sqlalchemy.calls import Call, database_of
from vmfa.stores.sqlalchemy.databases import Database, Failure
from vmfa.stores.sqlalchemy.mariadb import MariaDB
from vmfa.stores.sqlalchemy.postgresql import PostgreSQL
from vmfa.testing._contract_tools import commit_next, new_user, next_record, run_in_threads
from vmfa.validators import MAX_INTEGER


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "application.db"


@pytest.fixture
def url(path: Path) -> URL:
    return URL.create("sqlite", database=str(path))


@pytest.fixture
def engine(url: URL) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Iterator[SQLAlchemyStore]:
    with SQLAlchemyStore(engine) as store:
        store.create_schema()
        yield store


@pytest.fixture
def async_store(url: URL) -> Iterator[Any]:
    engine = create_async_engine(url.set(drivername="sqlite+aiosqlite"))
    with Awaited(AsyncSQLAlchemyStore(engine)) as store:
        store.create_schema()
        yield store


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


# What is refused


def test_an_argument_of_the_wrong_type_is_refused(engine: Engine, store: SQLAlchemyStore) -> None:
    with engine.connect() as connection, pytest.raises(InvalidType, match="OwnTransaction"):
        SQLAlchemyStore(connection)  # type: ignore[arg-type]
    with pytest.raises(InvalidType, match="AsyncOwnTransaction"):
        AsyncSQLAlchemyStore(engine)  # type: ignore[arg-type]
    with pytest.raises(InvalidType, match=r"Base\.metadata"):
        vmfa_tables(engine)  # type: ignore[arg-type]


@pytest.mark.parametrize("prefix", ["a b", "1", "é", 'x"; --', "a-"])
def test_a_prefix_that_needs_quotes_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidValue, match="ASCII letters"):
        vmfa_tables(MetaData(), prefix=prefix)


@pytest.mark.parametrize("prefix", ["", "mfa_", "Mfa2_"])
def test_tables_have_the_prefix(engine: Engine, prefix: str) -> None:
    tables = vmfa_tables(MetaData(), prefix=prefix)
    assert [table.name for table in tables.both] == [f"{prefix}principal", f"{prefix}event"]
    with SQLAlchemyStore(engine, tables=tables) as store:
        store.create_schema()
        commit_next(store, Principal(id=new_user()), 1, 2)


def test_another_database_is_refused() -> None:
    dialect = DefaultDialect()
    dialect.name = "oracle"
    with pytest.raises(InvalidValue, match="does not support oracle"):
        database_of(dialect)


@pytest.mark.parametrize("arguments", [{"poolclass": StaticPool}, {}])
def test_a_pool_with_one_connection_for_all_is_refused(arguments: dict[str, Any]) -> None:
    engine = create_engine("sqlite://", **arguments)  # in memory
    with pytest.raises(InvalidValue, match="MemoryStore"):
        SQLAlchemyStore(engine)
    engine.dispose()


def test_a_connection_in_a_transaction_of_the_application_is_refused(path: Path) -> None:
    """The pool is one of the application, and gives away a connection that is in use."""
    with closing(sqlite3.connect(path, check_same_thread=False)) as shared:
        engine = create_engine("sqlite://", poolclass=QueuePool, creator=lambda: shared)
        store = SQLAlchemyStore(engine)
        store.create_schema()
        shared.execute("BEGIN")
        with pytest.raises(InvalidValue, match="in a transaction of your application"):
            store.load(new_user())
        assert shared.in_transaction


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (
            "CREATE TRIGGER meddle AFTER UPDATE ON vmfa_principal BEGIN SELECT 1; END",
            "trigger meddle",
        ),
        ("CREATE TRIGGER t2 AFTER INSERT ON VMFA_EVENT BEGIN SELECT 1; END", "trigger t2"),
        ("CREATE UNIQUE INDEX one_tag ON vmfa_principal (tag)", "index one_tag"),
        ("ALTER TABLE vmfa_principal ADD COLUMN note TEXT", "note TEXT 00"),
        ("ALTER TABLE vmfa_event ADD COLUMN one INTEGER GENERATED ALWAYS AS (1)", "GENERATED"),
        ("ALTER TABLE vmfa_event ADD COLUMN a TEXT REFERENCES vmfa_principal (a)", "REFERENCES"),
        ("ALTER TABLE vmfa_event ADD COLUMN a TEXT COLLATE NOCASE", "COLLATE"),
        ("DROP TABLE vmfa_event", "vmfa_event is missing"),
    ],
)
def test_a_changed_table_is_refused(
    store: SQLAlchemyStore, path: Path, statement: str, what: str
) -> None:
    assert store.health() == ()
    execute(path, statement)
    assert what in str(store.health()[0])
    store.close()
    with pytest.raises((SchemaUntrusted, StoreUnavailable), match=what):
        store.load(new_user())
    with pytest.raises((SchemaUntrusted, StoreUnavailable), match=what):
        store.commit(*next_commit())


def next_commit() -> tuple[Principal, Principal, list[Any]]:
    unknown = Principal(id=new_user())
    return unknown, next_record(unknown), []


def test_an_index_of_the_application_is_accepted(store: SQLAlchemyStore, path: Path) -> None:
    execute(path, "CREATE INDEX by_tag ON vmfa_principal (tag)")
    assert store.health() == ()


def test_a_changed_table_is_noticed_within_ten_seconds(
    store: SQLAlchemyStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = new_user()
    store.load(user)
    execute(path, "CREATE TRIGGER meddle AFTER UPDATE ON vmfa_principal BEGIN SELECT 1; END")
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + calls.CHECK_EVERY + 1)
    with pytest.raises(SchemaUntrusted, match="trigger meddle"):
        store.load(user)
    execute(path, "DROP TRIGGER meddle")
    assert store.load(user) == Principal(id=user)


def test_a_row_that_a_trigger_changed_is_noticed_at_once(
    store: SQLAlchemyStore, path: Path
) -> None:
    stored = commit_next(store, Principal(id=new_user()))
    execute(
        path,
        "CREATE TRIGGER meddle AFTER UPDATE ON vmfa_principal BEGIN"
        " UPDATE vmfa_principal SET tag = 'x'; END",
    )
    with pytest.raises(SchemaUntrusted, match="did not keep the row"):
        commit_next(store, stored)
    execute(path, "DROP TRIGGER meddle")
    assert store.load(stored.id) == stored


@pytest.mark.parametrize(
    ("pragma", "what"),
    [("synchronous = NORMAL", "synchronous is 1"), ("journal_mode = MEMORY", "memory")],
)
def test_settings_that_lose_commits_are_refused(
    engine: Engine, store: SQLAlchemyStore, pragma: str, what: str
) -> None:
    def set_pragma(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA {pragma}")

    with SQLAlchemyStore(engine) as unsafe:
        unsafe.load(new_user())
        event.listen(unsafe._engine(), "connect", set_pragma)
        unsafe._engine().dispose()
        with pytest.raises(StoreUnavailable, match=f"{what}.*a crash may take back"):
            unsafe.load(new_user())
    with SQLAlchemyStore(engine, unsafe_not_durable=True) as named:
        named.load(new_user())
        event.listen(named._engine(), "connect", set_pragma)
        named._engine().dispose()
        assert named.load(user := new_user()) == Principal(id=user)
        assert named.health() == ()


def test_commits_reach_the_disk_whatever_the_application_set(url: URL) -> None:
    engine = create_engine(url)
    event.listen(engine, "connect", lambda db, _: db.execute("PRAGMA synchronous = OFF"))
    with SQLAlchemyStore(engine) as store:
        store.create_schema()
        with store._engine().connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    engine.dispose()


# The connections


def test_the_store_uses_no_connection_of_the_application(
    url: URL, store: SQLAlchemyStore
) -> None:
    """A pool of one connection, in use by the application, blocks no call."""
    engine = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.01)
    with engine.connect(), SQLAlchemyStore(engine) as other:
        commit_next(other, Principal(id=new_user()))
        with other._engine().connect(), pytest.raises(StoreUnavailable, match="TimeoutError"):
            other.load(new_user())
    engine.dispose()


def test_settings_of_the_pool_and_listeners_apply(url: URL) -> None:
    engine = create_engine(url, pool_size=3, max_overflow=0)
    seen: list[object] = []
    event.listen(engine, "connect", lambda db, _: seen.append(db))
    with SQLAlchemyStore(engine) as store:
        store.create_schema()
        pool = store._engine().pool
        assert isinstance(pool, QueuePool)
        assert pool.size() == 3
    assert len(seen) == 1
    engine.dispose()


def test_a_closed_store_opens_again(store: SQLAlchemyStore) -> None:
    stored = commit_next(store, Principal(id=new_user()))
    store.close()
    store.close()
    assert store.load(stored.id) == stored


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_no_connection_survives_a_fork(store: SQLAlchemyStore) -> None:
    first = commit_next(store, Principal(id=new_user()))
    pool = store._engine().pool
    child = outcome_of(fork(lambda: commit_next(store, first).revision))
    assert child == 2
    assert store.load(first.id).revision == 2
    assert store._engine().pool is not pool


def test_an_interrupted_call_leaves_no_transaction(
    store: SQLAlchemyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = commit_next(store, Principal(id=new_user()))
    with monkeypatch.context() as patch:
        patch.setattr(Call, "commit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            commit_next(store, stored, 1)
    assert store.load(stored.id) == stored
    commit_next(store, stored, 1)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_call_that_could_not_end_leaves_no_transaction(
    store: SQLAlchemyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception interrupts the clean-up as well: the next call does not continue."""
    stored = commit_next(store, Principal(id=new_user()))
    with monkeypatch.context() as patch:
        patch.setattr(Call, "commit", interrupt)
        patch.setattr("sqlalchemy.Connection.invalidate", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            commit_next(store, stored, 1)
    assert store.load(stored.id) == stored
    commit_next(store, stored, 1)


def test_an_exception_during_the_commit_says_that_it_may_be_stored(
    store: SQLAlchemyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit(call: Any, connection: Any) -> None:
        call.committing = True
        raise KeyboardInterrupt

    monkeypatch.setattr(Call, "commit", commit)
    with pytest.raises(KeyboardInterrupt) as caught:
        commit_next(store, Principal(id=new_user()))
    assert "may have been stored" in caught.value.__notes__[0]


# Errors


def test_a_locked_database_is_contended(engine: Engine, store: SQLAlchemyStore) -> None:
    waits: list[str] = []
    with SQLAlchemyStore(engine, timeout=0.05) as impatient:
        impatient.on_wait = lambda kind, _: waits.append(kind)
        stored = commit_next(impatient, Principal(id=new_user()))
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            with pytest.raises(StoreContended, match="SQLITE_BUSY"):
                commit_next(impatient, stored)
        assert impatient.load(stored.id) == stored
        assert "retry" in waits
        assert "connection" in waits


def until_a_retry(db: sqlite3.Connection) -> WaitObserver:
    """Lock the database until a store has tried again once."""
    db.execute("BEGIN IMMEDIATE")

    def observe(kind: str, _: float) -> None:
        if kind == "retry" and db.in_transaction:
            db.execute("ROLLBACK")

    return observe


def test_a_store_waits_for_others(store: SQLAlchemyStore, path: Path) -> None:
    stored = commit_next(store, Principal(id=new_user()))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        store.on_wait = until_a_retry(db)
        stored = commit_next(store, stored)
    assert store.load(stored.id) == stored


def test_a_missing_file_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "secret-folder" / "application.db"
    engine = create_engine(f"sqlite:///{path}")
    with SQLAlchemyStore(engine) as store:
        with pytest.raises(StoreUnavailable) as caught:
            store.load(new_user())
        assert "SQLITE_CANTOPEN" in str(caught.value)
        assert "secret-folder" not in "".join(map(repr, chain(caught.value)))
        (fault,) = store.health()
        assert isinstance(fault, StoreUnavailable)
    assert repr(store) == "<SQLAlchemyStore>"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__context__ or error.__cause__


def test_a_file_that_is_not_a_database_is_corrupt(path: Path, engine: Engine) -> None:
    path.write_text("no database" * 1000)
    with SQLAlchemyStore(engine) as store, pytest.raises(StoreCorrupt, match="SQLITE_NOTADB"):
        store.load(new_user())


@pytest.mark.parametrize("value", ["x'80'", "cast(x'80' AS TEXT)"])
def test_a_record_that_is_not_text_is_tampered(
    store: SQLAlchemyStore, path: Path, value: str
) -> None:
    stored = commit_next(store, Principal(id=new_user()))
    execute(path, f"UPDATE vmfa_principal SET state = {value}")
    with pytest.raises(RecordTampered):
        store.load(stored.id)


@pytest.mark.parametrize(
    ("code", "error"), [("IOERR", OutcomeUnknown), ("FULL", OutcomeUnknown), ("BUSY", None)]
)
def test_a_commit_that_fails_may_be_stored(
    store: SQLAlchemyStore, monkeypatch: pytest.MonkeyPatch, code: str, error: Any
) -> None:
    """A busy database refused the commit: it is repeated."""
    failures = 1

    def fail(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        nonlocal failures
        if statement == "COMMIT" and failures:
            failures -= 1
            problem = sqlite3.OperationalError("secret text")
            problem.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{code}")
            problem.sqlite_errorname = f"SQLITE_{code}"
            raise problem

    stored = commit_next(store, Principal(id=new_user()))
    event.listen(store._engine(), "before_cursor_execute", fail)
    if error is None:
        commit_next(store, stored, 1)
        return
    with pytest.raises(error, match=f"SQLITE_{code}.*may have been stored") as caught:
        commit_next(store, stored, 1)
    assert "secret" not in "".join(map(repr, chain(caught.value)))
    assert store.load(stored.id) == stored


def test_a_lost_connection_is_replaced(
    store: SQLAlchemyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was committed, so the call is repeated; not for ever, though."""
    stored = commit_next(store, Principal(id=new_user()))
    failures = 1

    def fail(context: Any) -> None:
        context.is_disconnect = True

    def raise_error(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        nonlocal failures
        if "state" in statement and failures:
            failures -= 1
            raise sqlite3.OperationalError("lost")

    event.listen(store._engine(), "handle_error", fail)
    event.listen(store._engine(), "before_cursor_execute", raise_error)
    assert store.load(stored.id) == stored
    failures = 100
    with pytest.raises(StoreUnavailable, match="lost"):
        store.load(stored.id)
    assert failures == 100 - 1 - calls.RECONNECTIONS


def test_revisions_of_64_bits_are_stored(store: SQLAlchemyStore) -> None:
    user = new_user()
    last = next_record(Principal(id=user, revision=MAX_INTEGER - 2))
    assert store.commit(Principal(id=user), last, [])
    last = commit_next(store, last)
    assert store.load(user) == last
    assert last.revision == MAX_INTEGER
    assert not store.commit(replace(last, revision=MAX_INTEGER - 1), Principal(id=user), [])


def test_many_processes_may_create_the_tables_at_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SQLAlchemyStore(engine) as store:
        outcomes = run_in_threads(8, lambda _: store.create_schema())
        assert outcomes == [None] * 8


def test_tables_that_cannot_be_created_are_an_error(
    tmp_path: Path, path: Path, engine: Engine
) -> None:
    execute(path, "CREATE VIEW vmfa_principal AS SELECT 1")
    with SQLAlchemyStore(engine) as store, pytest.raises(StoreUnavailable, match="missing"):
        store.create_schema()


def error_of(**attributes: Any) -> DBAPIError:
    problem = Exception(*attributes.pop("args", ()))
    for name, value in attributes.items():
        setattr(problem, name, value)
    return DBAPIError("SELECT 1", {}, problem)


@pytest.mark.parametrize(
    ("state", "failure"),
    [
        (None, Failure.LOST), ("08006", Failure.LOST), ("57P01", Failure.LOST),
        ("40003", Failure.LOST), ("40001", Failure.UNDONE), ("40P01", Failure.UNDONE),
        ("55P03", Failure.WAITED), ("57014", Failure.WAITED), ("XX001", Failure.CORRUPT),
        ("42P01", Failure.NO_TABLES), ("42703", Failure.CHANGED_TABLES),
        ("23505", Failure.CHANGED_TABLES), ("XX000", Failure.UNCERTAIN),
        ("58030", Failure.UNCERTAIN), ("42501", Failure.REFUSED), ("53100", Failure.REFUSED),
    ],
)  # fmt: skip
def test_the_meaning_of_an_error_of_postgresql(state: str | None, failure: Failure) -> None:
    meaning, name = PostgreSQL().meaning(error_of(sqlstate=state))
    assert meaning is failure
    assert name == (f"SQLSTATE {state}" if state else "DBAPIError")


@pytest.mark.parametrize(
    ("number", "failure"),
    [
        (None, Failure.LOST), ("text", Failure.LOST), (2013, Failure.LOST), (1927, Failure.LOST),
        (1213, Failure.UNDONE), (1020, Failure.UNDONE), (1205, Failure.WAITED),
        (1969, Failure.WAITED), (1146, Failure.NO_TABLES), (1406, Failure.CHANGED_TABLES),
        (1034, Failure.CORRUPT), (1047, Failure.REFUSED), (1290, Failure.REFUSED),
    ],
)  # fmt: skip
def test_the_meaning_of_an_error_of_mariadb(number: object, failure: Failure) -> None:
    meaning, _ = MariaDB().meaning(error_of(args=() if number is None else (number, "secret")))
    assert meaning is failure
    certain = failure is Failure.UNDONE  # anything else may come after a cluster accepted it
    assert (meaning in MariaDB.certain) == certain


@pytest.mark.parametrize("state", ["ON", "OFF"])
def test_a_node_of_a_cluster_waits_for_the_others(state: str) -> None:
    statements: list[str] = []

    def execute(statement: str) -> list[Any]:
        statements.append(statement)
        return [("wsrep_on", state)] if statement.startswith("SHOW") else []

    MariaDB().session_settings(execute, None, durable=True)
    assert any("wsrep_sync_wait = 1" in text for text in statements) == (state == "ON")


def test_a_rollback_that_fails_closes_the_connection(
    store: SQLAlchemyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = commit_next(store, Principal(id=new_user()))

    def fail(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if statement == "ROLLBACK":
            raise sqlite3.OperationalError("lost")

    def disconnect(context: Any) -> None:
        context.is_disconnect = True

    event.listen(store._engine(), "before_cursor_execute", fail)
    assert not store.commit(Principal(id=stored.id), next_record(Principal(id=stored.id)), [])
    assert store.load(stored.id) == stored
    event.listen(store._engine(), "handle_error", disconnect)
    assert not store.commit(Principal(id=stored.id), next_record(Principal(id=stored.id)), [])
    assert store.load(stored.id) == stored


def test_the_extra_is_named_where_sqlalchemy_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    monkeypatch.delitem(sys.modules, "vmfa.stores.sqlalchemy")
    with pytest.raises(MissingExtra, match=r"pip install 'vmfa\[sqlalchemy\]'$"):
        importlib.import_module("vmfa.stores.sqlalchemy")


def test_tables_are_not_created_in_a_locked_database(path: Path, engine: Engine) -> None:
    execute(path, "PRAGMA journal_mode = WAL", "CREATE TABLE account (number)")
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as db,
        SQLAlchemyStore(engine, timeout=0.05) as store,
    ):
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreContended, match="SQLITE_BUSY"):
            store.create_schema()
        db.execute("ROLLBACK")
        store.create_schema()


# What is logged


def test_nothing_that_is_stored_is_logged(
    url: URL, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, "sqlalchemy")
    engine = create_engine(url, echo="debug")
    user = PrincipalId.user("secret-account", "secret-name")
    with SQLAlchemyStore(engine) as store:
        store.create_schema()
        commit_next(store, commit_next(store, Principal(id=user), 1))
        store.load(user)
        store.history(user)
        store.principals("secret-account")
    engine.dispose()
    logged = caplog.text + capsys.readouterr().out
    assert "secret" not in logged
    assert "INSERT" not in logged


# asyncio


def test_a_canceled_commit_is_finished(async_store: Any, path: Path) -> None:
    stored = commit_next(async_store, Principal(id=new_user()))
    store: AsyncSQLAlchemyStore = async_store.inner
    after = next_record(stored)

    async def cancel() -> None:
        started = asyncio.Event()
        store.on_wait = lambda *_: started.set()
        task = asyncio.ensure_future(store.commit(stored, after, []))
        await started.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    async_store.run(cancel())
    assert async_store.load(stored.id) == after


def test_an_async_store_keeps_its_deadline(
    async_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = commit_next(async_store, Principal(id=new_user()))
    store: AsyncSQLAlchemyStore = async_store.inner
    store.timeout = 0.05

    async def silent(call: Call[Any]) -> None:
        await asyncio.sleep(60)

    async def silent_commit(call: Call[Any]) -> None:
        call.committing = True
        await asyncio.sleep(60)

    with monkeypatch.context() as patch:
        patch.setattr(store, "_attempt", silent)
        with pytest.raises(StoreUnavailable, match=r"within 0\.05 seconds; nothing was changed"):
            async_store.load(stored.id)
        patch.setattr(store, "_attempt", silent_commit)
        with pytest.raises(OutcomeUnknown, match=r"within 0\.05 seconds"):
            commit_next(async_store, stored)
    store.timeout = None
    assert async_store.load(stored.id) == stored


def test_an_async_store_waits_for_others(async_store: Any, path: Path) -> None:
    stored = commit_next(async_store, Principal(id=new_user()))
    store: AsyncSQLAlchemyStore = async_store.inner
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as db:
        store.on_wait = until_a_retry(db)
        stored = commit_next(async_store, stored)
    assert async_store.load(stored.id) == stored


def test_an_async_store_reports_faults(async_store: Any, path: Path) -> None:
    assert async_store.health() == ()
    execute(path, "DROP TABLE vmfa_event")
    assert "missing" in str(async_store.health()[0])
    execute(path, "CREATE TRIGGER meddle AFTER UPDATE ON vmfa_principal BEGIN SELECT 1; END")
    async_store.close()
    async_store.close()
    with pytest.raises((SchemaUntrusted, StoreUnavailable)):
        async_store.load(new_user())
    path.write_text("no database" * 1000)
    async_store.close()
    (fault,) = async_store.health()
    assert isinstance(fault, StoreCorrupt)


@pytest.mark.parametrize(
    ("waits", "dirty", "refused"),
    [("0", "OFF", True), ("2", "OFF", True), ("1", "ON", True), ("1", "OFF", False)],
)
def test_a_node_that_may_answer_from_the_past_is_refused(
    monkeypatch: pytest.MonkeyPatch, waits: str, dirty: str, refused: bool
) -> None:
    """The settings of a Galera cluster, as a connection shows them."""
    rows = [("wsrep_on", "ON"), ("wsrep_sync_wait", waits), ("wsrep_dirty_reads", dirty)]
    connection: Any = SimpleNamespace(execute=lambda _: SimpleNamespace(all=lambda: rows))
    monkeypatch.setattr(Database, "faults", lambda *_, **__: iter(()))
    faults = list(MariaDB().faults(connection, vmfa_tables(MetaData()), durable=True))
    assert [type(fault) for fault in faults] == [StoreUnavailable] * refused
