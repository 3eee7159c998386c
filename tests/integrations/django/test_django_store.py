"""The store on the database of a Django project."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.test.utils import override_settings
from django_databases import DjangoContract, ThreadsStore, database_alias, rolled_back

from leaks import assert_silent
from support import Enrolled, enroll
from vmfa import (
    Actor,
    AlreadyUsed,
    CodeRejected,
    DeviceRegistry,
    InvalidValue,
    OutcomeUnknown,
    Principal,
    PrincipalId,
    RecordTampered,
    SchemaUntrusted,
    StoreContended,
    StoreUnavailable,
)
from vmfa.integrations.django import store as store_module
from vmfa.integrations.django.fields import NameField
from vmfa.integrations.django.models import PrincipalRecord, StoredEvent
from vmfa.integrations.django.registry import get_registry, get_store
from vmfa.integrations.django.sessions import principal_of
from vmfa.integrations.django.store import DjangoStore
from vmfa.integrations.django.testing import unsafe_test_mode
from vmfa.testing._contract_tools import commit_next, new_user

MYSQL = SimpleNamespace(vendor="mysql", alias="default")


class TestOnSQLite(DjangoContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[DjangoStore]:
        with database_alias(
            "contract", ENGINE="django.db.backends.sqlite3", NAME=tmp_path / "project.db",
            OPTIONS={"timeout": 30, "init_command": "PRAGMA journal_mode = WAL"},
        ) as alias:
            yield ThreadsStore(alias)


def postgres_settings(conninfo: str) -> dict[str, Any]:
    given = psycopg.conninfo.conninfo_to_dict(conninfo)
    return {
        "ENGINE": "django.db.backends.postgresql", "NAME": given.pop("dbname", ""),
        "USER": given.pop("user", ""), "PASSWORD": given.pop("password", ""),
        "HOST": given.pop("host", ""), "PORT": given.pop("port", ""), "OPTIONS": given,
    }


@pytest.fixture
def postgres(database: str) -> Iterator[DjangoStore]:
    with database_alias("postgres", **postgres_settings(database)) as alias:
        yield ThreadsStore(alias)


class TestOnPostgreSQL(DjangoContract):
    @pytest.fixture
    def store(self, postgres: DjangoStore) -> DjangoStore:
        return postgres

    def test_names_have_the_collation_of_bytes(self, postgres: DjangoStore) -> None:
        with connections[postgres.alias].cursor() as cursor:
            cursor.execute(
                "SELECT DISTINCT c.collname::text FROM pg_attribute a JOIN pg_collation c"
                " ON c.oid = a.attcollation WHERE attname IN ('account', 'kind', 'name')"
                " AND attrelid IN (%s::regclass, %s::regclass)",
                [store_module.RECORDS, store_module.EVENTS],
            )
            assert cursor.fetchall() == [("C",)]

    @pytest.mark.parametrize("when", ["BEFORE", "AFTER"])
    def test_a_trigger_is_refused(self, postgres: DjangoStore, when: str) -> None:
        stored = commit_next(postgres, Principal(id=new_user()))
        with connections[postgres.alias].cursor() as cursor:
            cursor.execute(
                "CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql"
                " AS 'BEGIN RETURN OLD; END'"
            )
            cursor.execute(
                f"CREATE TRIGGER undo {when} UPDATE ON {store_module.RECORDS}"
                " FOR EACH ROW EXECUTE FUNCTION undo()"
            )
        with pytest.raises(SchemaUntrusted):
            commit_next(postgres, stored)
        assert postgres.load(stored.id) == stored
        (fault,) = postgres.health()
        assert "'undo'" in str(fault)

    def test_settings_that_lose_commits_are_reported(self, postgres: DjangoStore) -> None:
        assert postgres.health() == ()
        with connections[postgres.alias].cursor() as cursor:
            cursor.execute("SET synchronous_commit = off")
        (fault,) = postgres.health()
        assert "synchronous_commit is off" in str(fault)

    def test_a_lost_connection_is_replaced(
        self, postgres: DjangoStore, database: str
    ) -> None:
        stored = commit_next(postgres, Principal(id=new_user()))
        with connections[postgres.alias].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
        with psycopg.connect(database, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [pid])
        with pytest.raises(StoreUnavailable):
            postgres.load(stored.id)
        assert postgres.load(stored.id) == stored


# Transactions of the caller


def test_a_failure_is_counted_although_the_view_rolls_back(
    enrolled: Enrolled, registry: DeviceRegistry
) -> None:
    with pytest.raises(CodeRejected):
        registry.verify(enrolled.principal, "000000")
    with rolled_back("default"):
        User.objects.create(username="bob")
    assert enrolled.device.failures == 1


def test_every_call_is_refused_inside_a_transaction_of_the_caller(
    enrolled: Enrolled, registry: DeviceRegistry
) -> None:
    enrolled.clock.advance(30)
    code = enrolled.phone.code()
    with transaction.atomic(), pytest.raises(InvalidValue, match="outside of atomic"):
        registry.verify(enrolled.principal, code)
    with transaction.atomic(), pytest.raises(InvalidValue):
        registry.requires_code(enrolled.principal)
    assert registry.verify(enrolled.principal, code)


def test_a_connection_without_autocommit_is_refused(registry: DeviceRegistry) -> None:
    transaction.set_autocommit(False)
    try:
        with pytest.raises(InvalidValue):
            registry.requires_code(PrincipalId.user("main", "1"))
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


def test_the_test_mode_works_inside_a_transaction(
    enrolled: Enrolled, registry: DeviceRegistry
) -> None:
    enrolled.clock.advance(30)
    with unsafe_test_mode(), rolled_back("default"):
        registry.verify(enrolled.principal, enrolled.phone.code())
        with pytest.raises(AlreadyUsed):
            registry.verify(enrolled.principal, enrolled.phone.code())
    assert registry.verify(enrolled.principal, enrolled.phone.code())


def test_the_test_mode_is_refused_outside_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.core import mail

    monkeypatch.delattr(mail, "outbox")
    with pytest.raises(InvalidValue, match="only in tests"), unsafe_test_mode():
        pass


# The database router


class ReplicaRouter:
    """Sends reads to a replica, and what vmfa writes to a database of its own."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return self.alias if model._meta.app_label == "vmfa" else None


def test_records_are_where_the_router_writes_and_never_read_from_a_replica(
    user: User, clock: Any, tmp_path: Path
) -> None:
    with database_alias(
        "records", ENGINE="django.db.backends.sqlite3", NAME=tmp_path / "records.db"
    ) as alias, override_settings(DATABASE_ROUTERS=[ReplicaRouter(alias)]):
        enrolled = enroll(get_registry(), clock, principal_of(user))
        assert enrolled.sign_in()
        assert get_store().alias == alias
        assert PrincipalRecord.objects.using(alias).count() == 1
        assert PrincipalRecord.objects.using("default").count() == 0


# What the database does wrong


@contextmanager
def refusing(error: Exception, statement: str, times: int = 99) -> Iterator[list[str]]:
    """Let the database refuse *statement* so many times."""
    refused: list[str] = []

    def execute(run: Callable[..., Any], sql: str, *args: Any) -> Any:
        if sql.startswith(statement) and len(refused) < times:
            refused.append(sql)
            raise error
        return run(sql, *args)

    with connection.execute_wrapper(execute):
        yield refused


def caused(error: Exception, **attributes: Any) -> Exception:
    """Return *error* with a driver's error as its cause."""
    args = attributes.pop("args", ())
    error.__cause__ = type("DriverError", (Exception,), attributes)(*args)
    return error


CONTENDED = [
    {"sqlite_errorcode": sqlite3.SQLITE_BUSY}, {"sqlstate": "40001"}, {"pgcode": "40P01"},
    {"args": (1213, "Deadlock")},
]


@pytest.mark.parametrize("cause", CONTENDED)
def test_a_call_is_repeated_if_others_are_in_the_way(
    enrolled: Enrolled, monkeypatch: pytest.MonkeyPatch, cause: dict[str, Any]
) -> None:
    monkeypatch.setattr(store_module, "FIRST_PAUSE", 0.0)
    error = caused(OperationalError("locked"), **cause)
    with refusing(error, "UPDATE", times=2) as refused:
        assert enrolled.sign_in()
    assert len(refused) == 2
    with refusing(error, "UPDATE"), pytest.raises(StoreContended):
        enrolled.sign_in()


@pytest.mark.parametrize("error", [OperationalError("secret"), InterfaceError("secret")])
def test_an_error_of_the_driver_is_translated_without_its_text(
    enrolled: Enrolled, error: Exception
) -> None:
    with refusing(error, "SELECT"), pytest.raises(StoreUnavailable) as caught:
        enrolled.sign_in()
    assert_silent(caught.value, "secret")
    assert not isinstance(caught.value, OutcomeUnknown)


@pytest.mark.parametrize(("error", "expected"), [
    (OperationalError("gone"), OutcomeUnknown),
    (caused(OperationalError(), sqlstate="57P01"), OutcomeUnknown),
    (caused(OperationalError(), sqlstate="40001"), StoreContended),
    (caused(DatabaseError(), sqlstate="23505"), StoreUnavailable),
])
def test_a_commit_that_fails_may_have_been_stored(
    enrolled: Enrolled, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type
) -> None:
    def commit() -> None:
        raise error

    monkeypatch.setattr(store_module, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(connection, "_commit", commit)
    with pytest.raises(StoreUnavailable if expected is not StoreContended else expected) as caught:
        enrolled.sign_in()
    assert type(caught.value) is expected


def test_a_trigger_that_undoes_a_change_is_noticed(enrolled: Enrolled) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TRIGGER undo AFTER UPDATE ON {store_module.RECORDS} BEGIN UPDATE"
            f" {store_module.RECORDS} SET revision = old.revision WHERE id = new.id; END"
        )
        try:
            with pytest.raises(SchemaUntrusted):
                enrolled.sign_in()
            (fault,) = get_store().health()
        finally:
            cursor.execute("DROP TRIGGER undo")
    assert "'undo'" in str(fault)


def test_a_constraint_of_others_is_named(registry: DeviceRegistry, clock: Any) -> None:
    error = IntegrityError("secret")
    with refusing(error, "INSERT"), pytest.raises(SchemaUntrusted) as caught:
        enroll(registry, clock, PrincipalId.user("main", "1"))
    assert_silent(caught.value, "secret")


def test_an_engine_without_support_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "oracle")
    with pytest.raises(InvalidValue, match="oracle"):
        DjangoStore().load(PrincipalId.user("main", "1"))


def test_an_edited_row_is_refused(enrolled: Enrolled) -> None:
    PrincipalRecord.objects.update(audit_tag="x", tag="y")
    with pytest.raises(RecordTampered):
        enrolled.sign_in()


# Health


def test_a_healthy_database() -> None:
    assert DjangoStore().health() == ()


def test_a_setting_that_loses_commits_is_reported() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous = NORMAL")
        (fault,) = DjangoStore().health()
        cursor.execute("PRAGMA synchronous = FULL")
    assert "PRAGMA synchronous is 1" in str(fault)


def test_a_missing_table_is_reported(tmp_path: Path) -> None:
    with database_alias(
        "broken", ENGINE="django.db.backends.sqlite3", NAME=tmp_path / "broken.db"
    ) as alias:
        with connections[alias].cursor() as cursor:
            cursor.execute(f"DROP TABLE {store_module.EVENTS}")
        (fault,) = DjangoStore(alias).health()
    assert store_module.EVENTS in str(fault)


def test_an_unreachable_database_is_reported(tmp_path: Path) -> None:
    with database_alias(
        "lost", ENGINE="django.db.backends.sqlite3", NAME=tmp_path / "lost.db"
    ) as alias:
        connections[alias].close()
        connections[alias].settings_dict["NAME"] = tmp_path / "no" / "folder"
        (fault,) = DjangoStore(alias).health()
    assert isinstance(fault, StoreUnavailable)


# MariaDB, without a server


def test_names_are_bytes_on_mariadb() -> None:
    field = NameField(max_length=512)
    assert field.db_type(MYSQL) == "varbinary(512)"
    assert field.get_db_prep_value("é", MYSQL) == "é".encode()
    assert field.from_db_value("é".encode()) == "é"
    assert field.get_db_prep_value("é", connection) == field.from_db_value("é") == "é"


@pytest.mark.parametrize(("settings", "words"), [
    ((1, "STRICT_TRANS_TABLES"), ()),
    ((2, "STRICT_ALL_TABLES"), ("innodb_flush_log_at_trx_commit is 2",)),
    ((1, "ANSI"), ("sql_mode",)),
])
def test_the_settings_of_mariadb(
    monkeypatch: pytest.MonkeyPatch, settings: tuple[int, str], words: tuple[str, ...]
) -> None:
    from vmfa.integrations.django import health

    answers = {
        health.MYSQL_TRIGGERS: [], health.MYSQL_ENGINES: [],
        "SELECT @@innodb_flush_log_at_trx_commit, @@sql_mode": [settings],
    }
    monkeypatch.setattr(health, "missing_tables", lambda call: [])
    call = SimpleNamespace(
        connection=MYSQL, rows=lambda statement, values=(): answers[statement]
    )
    faults = [str(fault) for fault in health.faults_of(call)]
    assert len(faults) == len(words)
    assert all(word in fault for word, fault in zip(words, faults, strict=True))
    answers[health.MYSQL_ENGINES] = [("vmfa_storedevent", "MyISAM")]
    assert any("MyISAM" in str(fault) for fault in health.faults_of(call))


def test_text_is_sent_as_bytes_to_mariadb() -> None:
    call = store_module._Call(MYSQL)
    assert call._prepared(("é", 1, None)) == ("é".encode(), 1, None)
    assert store_module._text("é".encode()) == "é"


def test_forgetting_removes_the_rows(enrolled: Enrolled, registry: DeviceRegistry) -> None:
    assert StoredEvent.objects.count() > 0
    registry.forget(enrolled.principal, by=Actor.trusted_service("test"))
    assert PrincipalRecord.objects.count() == StoredEvent.objects.count() == 0


def test_rows_have_a_readable_name(enrolled: Enrolled) -> None:
    record, event = PrincipalRecord.objects.get(), StoredEvent.objects.first()
    assert str(record) == str(enrolled.principal)
    assert str(event) == f"{enrolled.principal} 1"
    assert get_registry() is get_registry()
