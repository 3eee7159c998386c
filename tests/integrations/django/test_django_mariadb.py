"""The store on MariaDB, over mysqlclient or, where that is not installed, PyMySQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

pymysql = pytest.importorskip("pymysql", reason="needs PyMySQL")
try:
    import MySQLdb  # noqa: F401  # mysqlclient
except ImportError:
    pymysql.install_as_MySQLdb()

from django.db import connections, transaction  # noqa: E402
from django_databases import DjangoContract, ThreadsStore, database_alias, rolled_back  # noqa: E402

from mariadb_server import MariaDBServer, fresh_database, mariadb  # noqa: E402, F401  # fixture
from vmfa import (  # noqa: E402
    OutcomeUnknown,
    Principal,
    SchemaUntrusted,
    StoreContended,
    StoreError,
    StoreUnavailable,
)
from vmfa.integrations.django import store as store_module  # noqa: E402
from vmfa.integrations.django.store import EVENTS, RECORDS, DjangoStore  # noqa: E402
from vmfa.integrations.django.testing import unsafe_test_mode  # noqa: E402
from vmfa.testing._contract_tools import commit_next, new_user  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alias(mariadb: MariaDBServer, _tables: None) -> Iterator[str]:  # noqa: F811
    with fresh_database(mariadb) as database, database_alias(
        "mariadb", ENGINE="django.db.backends.mysql", NAME=database.name, USER=mariadb.user,
        HOST=mariadb.host, PORT=mariadb.port,
    ) as name:
        yield name


def losing_the_connection(
    alias: str, server: MariaDBServer, statement: str
) -> AbstractContextManager[None]:
    """Let the server end the connection before it gets *statement*."""
    connection = connections[alias]

    def execute(run: Callable[..., Any], sql: str, *args: Any) -> Any:
        if sql.startswith(statement):
            server.execute(f"KILL {connection.connection.thread_id()}")
        return run(sql, *args)

    return connection.execute_wrapper(execute)


class TestOnMariaDB(DjangoContract):
    @pytest.fixture
    def store(self, alias: str) -> DjangoStore:
        return ThreadsStore(alias)

    def test_a_trigger_is_refused(self, store: DjangoStore, alias: str) -> None:
        assert store.health() == ()
        stored = commit_next(store, Principal(id=new_user()))
        with connections[alias].cursor() as cursor:
            cursor.execute(
                f"CREATE TRIGGER meddle BEFORE UPDATE ON {RECORDS}"
                " FOR EACH ROW SET NEW.tag = OLD.tag"
            )
            try:
                with pytest.raises(SchemaUntrusted):
                    commit_next(store, stored)
                (fault,) = store.health()
            finally:
                cursor.execute("DROP TRIGGER meddle")
        assert store.load(stored.id) == stored
        assert "'meddle'" in str(fault)

    def test_settings_that_lose_commits_are_reported(
        self, store: DjangoStore, alias: str
    ) -> None:
        with connections[alias].cursor() as cursor:
            cursor.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
            (fault,) = store.health()
            cursor.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
        assert "innodb_flush_log_at_trx_commit is 2" in str(fault)

    def test_a_change_whose_events_are_refused_is_rolled_back(
        self, store: DjangoStore, alias: str
    ) -> None:
        stored = commit_next(store, Principal(id=new_user()))
        others = f"account <> '{stored.id.account}'"
        with connections[alias].cursor() as cursor:
            cursor.execute(f"ALTER TABLE {EVENTS} ADD CONSTRAINT refuse CHECK ({others})")
        with pytest.raises(SchemaUntrusted):
            commit_next(store, stored, 1)
        with connections[alias].cursor() as cursor:
            cursor.execute(f"ALTER TABLE {EVENTS} DROP CONSTRAINT refuse")
        assert store.load(stored.id) == stored
        assert list(store.history(stored.id)) == []

    @pytest.mark.parametrize(("statement", "expected"), [
        ("START", StoreUnavailable), ("UPDATE", StoreUnavailable),
        ("SELECT revision, tag", StoreUnavailable), ("COMMIT", OutcomeUnknown),
        ("BEGIN NOT ATOMIC", OutcomeUnknown),  # the block for a change without events
    ])
    def test_a_lost_connection_loses_the_transaction(
        self, store: DjangoStore, alias: str, mariadb: MariaDBServer,  # noqa: F811
        statement: str, expected: type[Exception],
    ) -> None:
        stored = commit_next(store, Principal(id=new_user()))
        events = [] if statement.startswith("BEGIN") else [1]
        with losing_the_connection(alias, mariadb, statement), pytest.raises(
            StoreUnavailable
        ) as caught:
            commit_next(store, stored, *events)
        assert type(caught.value) is expected
        assert store.load(stored.id) == stored

    @pytest.mark.parametrize("events", [[], [1]])
    @pytest.mark.parametrize("meddling", [
        "SET NEW.tag = OLD.tag", "SET NEW.revision = OLD.revision, NEW.tag = OLD.tag",
        "SIGNAL SQLSTATE '45000'",
    ])
    def test_a_trigger_changes_nothing(
        self, store: DjangoStore, alias: str, meddling: str, events: list[int]
    ) -> None:
        stored = commit_next(store, Principal(id=new_user()))
        with connections[alias].cursor() as cursor:
            cursor.execute(
                f"CREATE TRIGGER meddle BEFORE UPDATE ON {RECORDS} FOR EACH ROW {meddling}"
            )
        with pytest.raises(StoreError):
            commit_next(store, stored, *events)
        with connections[alias].cursor() as cursor:
            cursor.execute("DROP TRIGGER meddle")
            cursor.execute("SELECT @@in_transaction")
            assert cursor.fetchall() == ((0,),)
        assert store.load(stored.id) == stored

    def test_a_lock_that_is_held_too_long_is_contention(
        self, store: DjangoStore, alias: str, mariadb: MariaDBServer,  # noqa: F811
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(store_module, "FIRST_PAUSE", 0.0)
        monkeypatch.setattr(store_module, "ATTEMPTS", 1)
        stored = commit_next(store, Principal(id=new_user()))
        settings = connections[alias].settings_dict
        with (
            database_alias("other", **settings) as other, transaction.atomic(using=other),
            connections[other].cursor() as locking,
        ):
            locking.execute(f"SELECT 1 FROM {RECORDS} FOR UPDATE")
            for events in ([], [1]):
                with connections[alias].cursor() as cursor:
                    cursor.execute("SET innodb_lock_wait_timeout = 1")
                with pytest.raises(StoreContended):
                    commit_next(store, stored, *events)
        assert store.load(stored.id) == stored
        commit_next(store, stored)

    def test_the_test_mode_is_rolled_back(self, store: DjangoStore, alias: str) -> None:
        stored = commit_next(store, Principal(id=new_user()))
        with unsafe_test_mode(), rolled_back(alias):
            changed = commit_next(store, stored)
            changed = commit_next(store, changed, 1)
            assert store.load(stored.id) == changed
        assert store.load(stored.id) == stored

    @pytest.mark.parametrize("statement", ["START", "UPDATE", "COMMIT"])
    def test_an_interruption_leaves_no_transaction_open(
        self, store: DjangoStore, alias: str, statement: str
    ) -> None:
        def execute(run: Callable[..., Any], sql: str, *args: Any) -> Any:
            answer = run(sql, *args)
            if sql.startswith(statement):
                raise KeyboardInterrupt
            return answer

        stored = commit_next(store, Principal(id=new_user()))
        with connections[alias].execute_wrapper(execute), pytest.raises(KeyboardInterrupt):
            commit_next(store, stored, 1)
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT @@in_transaction")
            assert cursor.fetchall() == ((0,),)
        assert (store.load(stored.id) == stored) is (statement != "COMMIT")
