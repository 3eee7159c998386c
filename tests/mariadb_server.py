"""A MariaDB server for the tests, from the package mariadb-server.

The tests start it in a folder of its own and remove it. It listens on a socket and on a free port
of 127.0.0.1, where root needs no password. SQL is strict, which is the default of MariaDB.
"""

from __future__ import annotations

import atexit
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from programs import require_program

HOST = "127.0.0.1"
USER = "root"
START_SECONDS = 120  # on a busy machine
OPTIONS = (
    "--no-defaults",  # no files of the machine
    f"--user={getpass.getuser()}",  # mariadbd refuses to run as root if it is not named
    "--skip-name-resolve",
    f"--bind-address={HOST}",
    "--sql-mode=STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO",
)


class MariaDBServer:
    """A server in *folder*, which tests may stop, crash and start again.

    :param folder: an empty folder with a short path: a socket has at most 107 bytes.
    :param options: more options of mariadbd, such as ``--innodb-flush-log-at-trx-commit=2``.
    """

    host = HOST
    user = USER

    def __init__(self, folder: Path, *options: str) -> None:
        self._server = require_program("mariadbd", "mariadb-server")
        self._client = require_program("mariadb", "mariadb-client")
        install = require_program("mariadb-install-db", "mariadb-server")
        self.folder = folder
        self.socket = folder / "socket"
        self.port = free_port()
        temporary = folder / "tmp"  # a server that starts deletes temporary tables of others
        temporary.mkdir()
        self._options = (*OPTIONS, f"--datadir={folder / 'data'}", f"--tmpdir={temporary}")
        self._more = options
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run(
            [install, *self._options, "--auth-root-authentication-method=normal"],
            check=True, stdout=subprocess.DEVNULL, timeout=START_SECONDS,
        )

    def start(self) -> None:
        """Start the server, if it does not run, and wait until it answers."""
        if self._process is not None:
            return
        log = self.folder / "log"
        with log.open("a") as output:
            process = subprocess.Popen(
                [
                    self._server, *self._options, f"--socket={self.socket}",
                    f"--port={self.port}", f"--pid-file={self.folder / 'pid'}", *self._more,
                ],
                stdout=output, stderr=output,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                pytest.fail(f"mariadbd does not start:\n{log.read_text()}")
            time.sleep(0.1)
        self._process = process

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> None:
        """Stop the server: SIGTERM in order, SIGKILL like a crash."""
        if self._process is not None:
            self._process.send_signal(sent)
            self._process.wait(START_SECONDS)
            self._process = None

    def execute(self, statements: str, database: str = "") -> str:
        """Execute *statements* with the client program and return the rows, split by tabs."""
        return subprocess.run(
            [
                self._client, "--no-defaults", f"--socket={self.socket}", f"--user={USER}",
                "--batch", "--skip-column-names", database,
            ],
            input=statements, check=True, stdout=subprocess.PIPE, text=True, timeout=60,
        ).stdout

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return self.socket.exists() and probe.connect_ex((HOST, self.port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def mariadb_server(*options: str) -> Iterator[MariaDBServer]:
    """A new server, removed afterwards. *options* are more options of mariadbd."""
    folder = Path(tempfile.mkdtemp(prefix="vmfa-maria-"))
    try:
        server = MariaDBServer(folder, *options)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def the_server() -> MariaDBServer:
    """The server that tests share, gone when this process ends."""
    context = mariadb_server()
    server = context.__enter__()
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            context.__exit__(None, None, None)

    atexit.register(remove)
    return server


@dataclass(frozen=True)
class MariaDBDatabase:
    """An empty database on a server."""

    server: MariaDBServer
    name: str

    def execute(self, statements: str) -> str:
        """Execute *statements* in the database and return the rows, split by tabs."""
        return self.server.execute(statements, self.name)


@contextmanager
def fresh_database(server: MariaDBServer) -> Iterator[MariaDBDatabase]:
    """A database whose collation takes "a", "A" and "á" for the same, as many services have it."""
    name = f"t_{secrets.token_hex(6)}"
    server.execute(
        f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
    )
    try:
        yield MariaDBDatabase(server, name)
    finally:
        server.start()  # if the test stopped it
        server.execute(f"DROP DATABASE {name}")


@pytest.fixture(scope="session")
def mariadb() -> MariaDBServer:
    return the_server()


@pytest.fixture
def crashable_mariadb() -> Iterator[MariaDBServer]:
    """A server of the test's own, to be stopped and started."""
    with mariadb_server() as server:
        yield server


@pytest.fixture
def mariadb_database(mariadb: MariaDBServer) -> Iterator[MariaDBDatabase]:
    """An empty database, dropped afterwards."""
    with fresh_database(mariadb) as database:
        yield database
