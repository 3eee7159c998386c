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

from django.db import connections  # noqa: E402
from django_databases import DjangoContract, ThreadsStore, database_alias  # noqa: E402

from mariadb_server import MariaDBServer, fresh_database, mariadb  # noqa: E402, F401  # fixture
from vmfa import OutcomeUnknown, Principal, SchemaUntrusted, StoreUnavailable  # noqa: E402
from vmfa.integrations.django.store import EVENTS, RECORDS, DjangoStore  # noqa: E402
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
    ])
    def test_a_lost_connection_loses_the_transaction(
        self, store: DjangoStore, alias: str, mariadb: MariaDBServer,  # noqa: F811
        statement: str, expected: type[Exception],
    ) -> None:
        stored = commit_next(store, Principal(id=new_user()))
        with losing_the_connection(alias, mariadb, statement), pytest.raises(
            StoreUnavailable
        ) as caught:
            commit_next(store, stored)
        assert type(caught.value) is expected
        assert store.load(stored.id) == stored
