"""D8: behind PgBouncer the stores work, or refuse with one clear sentence, and leak nothing."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from test_postgres_store import outcome, registry_over

from lossy_proxy import LossyProxy
from programs import require_program
from support import enroll
from vmfa import Actor, PrincipalId, Receipt, StoreCorrupt, StoreUnavailable, VmfaError
from vmfa.stores.postgres import PostgresStore
from vmfa.testing import FrozenClock

pytestmark = pytest.mark.slow

WHO = PrincipalId.user("123456789012", "u-4711")
SERVICE = Actor.trusted_service("test")


@contextmanager
def pgbouncer(database: str, folder: Path, mode: str, *, size: int = 3) -> Iterator[str]:
    """A pooler before *database*; the connection string that leads through it."""
    program = require_program("pgbouncer", "pgbouncer")
    with LossyProxy(database) as relay:  # PgBouncer's user cannot reach the server's socket
        relay.let_everyone_connect()
        yield from _pgbouncer(database, program, folder, mode, size, relay)


def _pgbouncer(
    database: str, program: str, folder: Path, mode: str, size: int, relay: LossyProxy
) -> Iterator[str]:
    parts = conninfo_to_dict(database)
    schema = str(parts["options"]).partition("search_path=")[2]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with psycopg.connect(database) as db:
        user = db.info.user
    (folder / "users.txt").write_text(f'"{user}" ""\n')
    (folder / "pgbouncer.ini").write_text(f"""[databases]
mfa = host={relay.folder} port=5432 dbname={parts["dbname"]} user={user} \
connect_query='SET search_path = {schema}'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file = {folder}/users.txt
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 100
query_wait_timeout = 60
server_reset_query =
logfile = {folder}/log
pidfile = {folder}/pid
user = nobody
""")
    folder.chmod(0o777)
    for parent in folder.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    with subprocess.Popen(
        [program, str(folder / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            conninfo = make_conninfo(
                "",
                host="127.0.0.1",
                port=port,
                dbname="mfa",
                user=user,
                sslmode="disable",
                gssencmode="disable",
            )
            wait_for(conninfo)
            yield conninfo
        finally:
            process.terminate()


def wait_for(conninfo: str) -> None:
    for _ in range(100):
        try:
            with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None):
                return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise AssertionError("PgBouncer does not answer")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = Path("/tmp") / f"vmfa-pgbouncer-{tmp_path.name}-{time.monotonic_ns()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_store_works_behind_a_pooler(
    store: Any, open_store: Any, database: str, clock: FrozenClock, folder: Path, mode: str
) -> None:
    with pgbouncer(database, folder, mode, size=10 if mode == "session" else 3) as conninfo:
        through = open_store(conninfo)
        assert through.health() == ()
        registry = registry_over(through, clock)
        user = enroll(registry, clock, WHO)
        for _ in range(20):
            assert isinstance(user.sign_in(), Receipt)
        clock.advance(30)
        code = user.phone.code()
        with ThreadPoolExecutor(8) as pool:
            ends = list(pool.map(lambda _: outcome(registry, WHO, code), range(16)))
        assert sorted(ends) == ["AlreadyUsed"] * 15 + ["Receipt"]
        registry.deactivate(WHO, by=SERVICE)
        through.close()


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_no_setting_leaks_to_other_clients_of_the_pooler(
    store: Any, open_store: Any, database: str, folder: Path, mode: str
) -> None:
    settings = (
        "statement_timeout",
        "search_path",
        "client_min_messages",
        "lock_timeout",
        "synchronous_commit",
        "idle_in_transaction_session_timeout",
    )

    def shown(conninfo: str) -> list[Any]:
        with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as db:
            return [db.execute(f"SHOW {name}").fetchone() for name in settings]

    with pgbouncer(database, folder, mode, size=1) as conninfo:
        before = shown(conninfo)
        through = open_store(conninfo, timeout=2.5)
        through.load(WHO)
        through.health()
        through.close()
        assert shown(conninfo) == before


def test_statement_mode_is_refused_in_a_sentence(
    store: Any, open_store: Any, database: str, folder: Path
) -> None:
    with pgbouncer(database, folder, "statement") as conninfo:
        through = open_store(conninfo, timeout=3)
        with pytest.raises(StoreUnavailable) as caught:
            through.load(WHO)
        assert not isinstance(caught.value, StoreCorrupt)
        assert "statement" in str(caught.value)


@pytest.mark.parametrize("options", ["-c statement_timeout=5s", "-c search_path=x"])
def test_options_that_the_pooler_refuses_are_named(
    store: Any, open_store: Any, database: str, folder: Path, options: str
) -> None:
    with pgbouncer(database, folder, "transaction") as conninfo:
        through = open_store(make_conninfo(conninfo, options=options))
        with pytest.raises(StoreUnavailable, match="unsupported startup parameter: options"):
            through.load(WHO)


@pytest.mark.parametrize("prepare_threshold", [None, 0, 5])
def test_a_given_pool_over_a_pooler_works(
    database: str, clock: FrozenClock, folder: Path, prepare_threshold: int | None
) -> None:
    """D4: "prepared statement already exists" was reported as a damaged database."""
    with PostgresStore(database) as direct:
        direct.create_schema()
    with pgbouncer(database, folder, "transaction") as conninfo:
        kwargs = {"autocommit": True, "prepare_threshold": prepare_threshold}
        with psycopg_pool.ConnectionPool(
            conninfo, kwargs=kwargs, min_size=4, max_size=8, open=True
        ) as pool:
            store = PostgresStore(pool)
            user = enroll(registry_over(store, clock), clock, WHO)

            def load(_: int) -> str:
                try:
                    return str(store.load(WHO).revision > 0)
                except VmfaError as error:
                    return type(error).__name__

            with ThreadPoolExecutor(8) as threads:
                assert set(threads.map(load, range(400))) == {"True"}
            assert user.sign_in()


def test_a_saturated_pooler_is_unavailable_in_time(
    store: Any, open_store: Any, database: str, folder: Path
) -> None:
    with pgbouncer(database, folder, "transaction", size=1) as conninfo:
        through = open_store(conninfo, timeout=1)
        through.load(WHO)
        with psycopg.connect(conninfo, prepare_threshold=None) as busy:
            busy.execute("SELECT 1")
            start = time.monotonic()
            with pytest.raises(StoreUnavailable):
                through.load(WHO)
            assert time.monotonic() - start < 2
        assert through.load(WHO).revision == 0
        through.close()
