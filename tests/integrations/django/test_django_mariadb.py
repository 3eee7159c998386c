"""The store on MariaDB, with a server of the test's own. Needs mariadb-server and mysqlclient."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.db import connections
from django_databases import DjangoContract, ThreadsStore, database_alias

from vmfa import Principal, SchemaUntrusted
from vmfa.integrations.django.store import RECORDS, DjangoStore
from vmfa.testing._contract_tools import commit_next, new_user

pytestmark = pytest.mark.slow
OPTIONS = ("--no-defaults", f"--user={getpass.getuser()}")


def stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    server.wait(60)


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a new server."""
    pytest.importorskip("MySQLdb", reason="needs mysqlclient")
    server, install = shutil.which("mariadbd"), shutil.which("mariadb-install-db")
    if server is None or install is None:
        pytest.skip("needs mariadb-server")
    folder = tmp_path_factory.mktemp("mariadb")
    data = f"--datadir={folder / 'data'}"
    subprocess.run(
        [install, *OPTIONS, data, "--auth-root-authentication-method=normal"],
        check=True, stdout=subprocess.DEVNULL, timeout=120,
    )
    path = folder / "socket"
    with (folder / "log").open("w") as log, subprocess.Popen(
        [server, *OPTIONS, data, f"--socket={path}", "--skip-networking"], stderr=log, stdout=log
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while not path.exists():
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield path
        finally:
            stop(process)


@pytest.fixture(scope="module")
def alias(socket: Path, _tables: None) -> Iterator[str]:
    import MySQLdb

    with closing(MySQLdb.connect(unix_socket=str(socket), user="root")) as server:
        # A collation that takes "a", "A" and "á" for the same, as many projects have it.
        server.cursor().execute(
            "CREATE DATABASE project CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
        )
    with database_alias(
        "mariadb", ENGINE="django.db.backends.mysql", NAME="project", USER="root",
        OPTIONS={"unix_socket": str(socket)},
    ) as name:
        yield name


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
