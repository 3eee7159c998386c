"""Operations in a transaction of the application, over SQLAlchemy."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import String, create_engine, event, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from awaited import Awaited
from sqlalchemy_databases import ASYNC, SYNC, new_database, sync_url
from support import MASTER
from vmfa import (
    AccessDenied,
    Actor,
    AlreadyUsed,
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    InvalidType,
    InvalidValue,
    Operations,
    OutcomeUnknown,
    Principal,
    PrincipalId,
    RecordTampered,
    SchemaUntrusted,
    StoreContended,
    StoreUnavailable,
)
from vmfa.stores.sqlalchemy import (
    AsyncOwnTransaction,
    OwnTransaction,
    RecordsInTransaction,
    SQLAlchemyStore,
    transactions,
    vmfa_tables,
)
from vmfa.testing import Account, AuthenticatorApp, FrozenClock


class Base(DeclarativeBase):
    pass


TABLES = vmfa_tables(Base.metadata)
ALICE = PrincipalId.user("123456789012", "u-4711")
ME = Actor.signed_in(ALICE)


class Login(Base):
    __tablename__ = "login"
    number: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40), unique=True)


@dataclass
class Application:
    """An application, with blocking functions whatever its driver."""

    engine: Any  # a blocking one
    own: Any  # OwnTransaction, or the async one awaited
    is_async: bool
    clock: FrozenClock
    phone: Account
    operations: Operations

    def verify(self, code: str, on_success: Any = None) -> Any:
        return self.own.run(self.operations.verify(ALICE, code), on_success)

    def add(self, name: str) -> Any:
        def add(session: Any, _: object) -> None:
            session.add(Login(name=name))

        async def add_later(session: Any, _: object) -> None:
            session.add(Login(name=name))
            await session.flush()

        return add_later if self.is_async else add

    @property
    def logins(self) -> list[str]:
        with self.engine.connect() as connection:
            return sorted(connection.execute(select(Login.name)).scalars())

    def failures(self) -> int:
        with SQLAlchemyStore(self.engine, tables=TABLES) as store:
            device = store.load(ALICE).device
            assert device is not None
            return device.failures


@contextmanager
def started(driver: str, folder: Path, **arguments: Any) -> Iterator[Application]:
    clock = FrozenClock()
    with new_database(driver, folder) as url:
        engine = create_engine(sync_url(url))
        Base.metadata.create_all(engine)
        keys = DerivedKeys(MASTER)
        with SQLAlchemyStore(engine, tables=TABLES) as store:
            registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=clock)
            opened = registry.open_enrollment(ALICE, by=ME, label="alice@example.com")
            phone = AuthenticatorApp(clock).scan(opened.uri)
            registry.confirm_enrollment(
                ALICE, session=opened.session_id, by=ME, **phone.pair()
            )
        clock.advance(30)
        operations = Operations(keys, issuer="Example")
        if driver in ASYNC:
            async_engine = create_async_engine(url)
            begin = async_sessionmaker(async_engine).begin
            inner = AsyncOwnTransaction(begin, TABLES, clock=clock, **arguments)
            with Awaited(inner) as awaited:
                own: Any = SimpleNamespace(run=lambda *given: awaited.run(inner.run(*given)))
                yield Application(engine, own, True, clock, phone, operations)
                awaited.run(async_engine.dispose())
        else:
            own = OwnTransaction(sessionmaker(engine).begin, TABLES, clock=clock, **arguments)
            yield Application(engine, own, False, clock, phone, operations)
        engine.dispose()


@pytest.fixture(
    params=[
        name if "sqlite" in name else pytest.param(name, marks=pytest.mark.slow)
        for name in (*SYNC, *ASYNC)
    ]
)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Application]:
    with started(request.param, tmp_path) as app:
        yield app


def test_a_success_is_committed_together_with_a_row_of_the_application(app: Application) -> None:
    receipt = app.verify(app.phone.code(), app.add("alice"))
    assert receipt.serial
    assert app.logins == ["alice"]
    with pytest.raises(AlreadyUsed):
        app.verify(app.phone.code(), app.add("again"))
    assert app.logins == ["alice"]


def test_a_rejection_is_committed(app: Application) -> None:
    with pytest.raises(CodeRejected):
        app.verify(app.phone.wrong_code(), app.add("alice"))
    assert app.failures() == 1
    assert app.logins == []


def test_an_operation_without_a_row_of_the_application(app: Application) -> None:
    assert app.verify(app.phone.code()).serial


def test_an_error_of_the_application_undoes_the_acceptance(app: Application) -> None:
    """The user is not signed in, so the code is not used."""
    app.verify(app.phone.code(), app.add("alice"))
    app.clock.advance(30)
    with pytest.raises(IntegrityError):
        app.verify(app.phone.code(), app.add("alice"))
    assert app.logins == ["alice"]
    app.verify(app.phone.code(), app.add("bob"))
    assert app.logins == ["alice", "bob"]


def test_a_refusal_by_the_rules_writes_nothing(app: Application) -> None:
    stranger = Actor.signed_in(PrincipalId.user("123456789012", "u-2"))
    with pytest.raises(AccessDenied):
        app.own.run(app.operations.deactivate(ALICE, by=stranger))
    assert app.failures() == 0


def test_an_administrator_is_checked_with_their_own_record(app: Application) -> None:
    """The operation loads two records."""
    boss = PrincipalId.user("123456789012", "u-1")
    with SQLAlchemyStore(app.engine, tables=TABLES) as store:
        registry = DeviceRegistry(
            store, keys=DerivedKeys(MASTER), issuer="Example", clock=app.clock
        )
        me = Actor.signed_in(boss)
        opened = registry.open_enrollment(boss, by=me, label="boss@example.com")
        phone = AuthenticatorApp(app.clock).scan(opened.uri)
        registry.confirm_enrollment(boss, session=opened.session_id, by=me, **phone.pair())
        app.clock.advance(30)
        claim = registry.verify(boss, phone.code()).claim
    admin = Actor.admin(boss, mfa=claim)
    app.own.run(app.operations.deactivate(ALICE, by=admin))
    with pytest.raises(AssertionError):
        app.failures()


def test_a_lost_race_is_repeated(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    races = 2
    write = transactions.Records.write

    def lose(*arguments: Any) -> bool:
        nonlocal races
        races -= 1
        return races < 0 and write(*arguments)

    monkeypatch.setattr(transactions.Records, "write", lose)
    app.verify(app.phone.code(), app.add("alice"))
    assert app.logins == ["alice"]
    races = 1000
    app.clock.advance(30)
    with pytest.raises(StoreContended):
        app.verify(app.phone.code(), app.add("bob"))
    assert races == 1000 - transactions.ATTEMPTS
    assert app.logins == ["alice"]


def test_a_deadlock_is_repeated(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    load = transactions.RecordsInTransaction.load
    failures = 1

    def fail(*arguments: Any) -> Principal:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise StoreContended("a deadlock")
        return load(*arguments)

    monkeypatch.setattr(transactions.RecordsInTransaction, "load", fail)
    app.verify(app.phone.code(), app.add("alice"))
    failures = 1000
    with pytest.raises(StoreContended, match="a deadlock"):
        app.verify(app.phone.code())


@pytest.mark.parametrize(
    ("code", "error"), [("IOERR", OutcomeUnknown), ("BUSY", None), ("CONSTRAINT", DBAPIError)]
)
def test_a_commit_that_fails(
    lite: Application, monkeypatch: pytest.MonkeyPatch, code: str, error: Any
) -> None:
    """It may be stored, or is repeated, or the error is one of the application."""
    dialect = lite.engine.dialect
    do_commit, failures = dialect.do_commit, 1

    def fail(connection: Any) -> None:
        nonlocal failures
        failures -= 1
        if failures < 0:
            do_commit(connection)
            return
        problem = sqlite3.OperationalError("secret text")
        problem.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{code}")
        raise problem

    monkeypatch.setattr(dialect, "do_commit", fail)
    if error is None:
        lite.verify(lite.phone.code(), lite.add("alice"))
        assert lite.logins == ["alice"]
        failures = 1000
        with pytest.raises(StoreContended):
            lite.verify(lite.phone.code(1))
        return
    with pytest.raises(error) as caught:
        lite.verify(lite.phone.code(), lite.add("alice"))
    if error is OutcomeUnknown:
        assert "secret" not in str(caught.value)
        assert caught.value.__context__ is None
    assert lite.logins == []


def test_a_commit_that_fails_with_asyncio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'application.db'}"
    clock, operations = FrozenClock(), Operations(DerivedKeys(MASTER), issuer="Example")

    async def run() -> None:
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        own = AsyncOwnTransaction(engine.begin, TABLES, clock=clock)
        await own.run(operations.open_enrollment(ALICE, by=ME, label="alice@example.com"))
        cancel = operations.cancel_enrollment(ALICE, by=ME)
        for code, error in (("IOERR", OutcomeUnknown), ("BUSY", StoreContended)):
            problem = sqlite3.OperationalError("secret text")
            problem.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{code}")
            with monkeypatch.context() as patch:
                patch.setattr(engine.sync_engine.dialect, "do_commit", raising(problem))
                with pytest.raises(error):
                    await own.run(operations.cancel_enrollment(ALICE, by=ME))
        problem = sqlite3.OperationalError("no answer of vmfa")
        problem.sqlite_errorcode = sqlite3.SQLITE_CONSTRAINT
        with monkeypatch.context() as patch:
            patch.setattr(engine.sync_engine.dialect, "do_commit", raising(problem))
            with pytest.raises(DBAPIError, match="no answer"):
                await own.run(operations.cancel_enrollment(ALICE, by=ME))
        await own.run(cancel)
        await engine.dispose()

    asyncio.run(run())


def raising(problem: Exception) -> Any:
    def fail(_: object) -> None:
        raise problem

    return fail


# What is refused


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Application]:
    with started("pysqlite", tmp_path) as app:
        yield app


def test_a_savepoint_is_refused(lite: Application) -> None:
    refused = pytest.raises(InvalidValue, match="begin_nested")
    with sessionmaker(lite.engine).begin() as session, session.begin_nested(), refused:
        RecordsInTransaction(session, TABLES)


def test_a_connection_that_commits_each_statement_is_refused(lite: Application) -> None:
    autocommit = lite.engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.begin() as connection, pytest.raises(InvalidValue, match="no transaction"):
        RecordsInTransaction(connection, TABLES)
    refused = pytest.raises(InvalidValue, match="no transaction is open")
    with lite.engine.connect() as connection, refused:
        RecordsInTransaction(connection, TABLES)
    with pytest.raises(InvalidType, match="a Session or a Connection"):
        RecordsInTransaction(lite.engine, TABLES)


def test_a_connection_works_like_a_session(lite: Application) -> None:
    own = OwnTransaction(lite.engine.begin, TABLES, clock=lite.clock)
    seen: list[object] = []
    own.run(
        lite.operations.verify(ALICE, lite.phone.code()),
        lambda connection, receipt: seen.append((connection.in_transaction(), receipt.serial)),
    )
    assert len(seen) == 1


def test_records_can_be_loaded_and_stored_one_by_one(lite: Application) -> None:
    operation = lite.operations.verify(ALICE, lite.phone.code())
    with sessionmaker(lite.engine).begin() as session:
        records = RecordsInTransaction(session, TABLES)
        before = records.load(ALICE)
        decision = operation.decide(before, lite.clock())
        assert records.store(before, decision)
        assert not records.store(before, decision)
    assert decision.settle().serial
    malformed = lite.operations.verify(ALICE, "no code")
    with lite.engine.begin() as connection:
        records = RecordsInTransaction(connection, TABLES)
        before = records.load(ALICE)
        assert records.store(before, malformed.decide(before, lite.clock()))  # writes nothing


def test_unsafe_tables_are_refused(lite: Application) -> None:
    with lite.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER meddle AFTER UPDATE ON vmfa_principal BEGIN SELECT 1; END"
        )
    with pytest.raises(SchemaUntrusted, match="trigger meddle"):
        lite.verify(lite.phone.code())


def test_an_unreadable_record_is_an_error_without_its_text(lite: Application) -> None:
    with lite.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE vmfa_principal SET state = cast(x'80' AS TEXT)")
    with pytest.raises(RecordTampered):
        lite.verify(lite.phone.code())


@pytest.mark.slow
def test_unsafe_settings_of_the_session_are_refused(tmp_path: Path) -> None:
    with started("pymysql", tmp_path) as app:
        def unsafe(connection: Any, _: object) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION sql_mode = ''")

        event.listen(app.engine, "connect", unsafe)
        app.engine.dispose()
        with pytest.raises(StoreUnavailable, match="not strict"):
            app.verify(app.phone.code())


@pytest.mark.slow
def test_settings_that_are_not_durable_can_be_named(tmp_path: Path) -> None:
    with started("psycopg", tmp_path, unsafe_not_durable=True) as app:
        def unsafe(connection: Any, _: object) -> None:
            connection.execute("SET synchronous_commit = off")
            connection.commit()

        event.listen(app.engine, "connect", unsafe)
        app.engine.dispose()
        app.verify(app.phone.code())
        own = OwnTransaction(sessionmaker(app.engine).begin, TABLES, clock=app.clock)
        app.engine.dispose()
        with pytest.raises(StoreUnavailable, match="synchronous_commit"):
            own.run(app.operations.verify(ALICE, app.phone.code(1)))
