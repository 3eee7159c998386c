"""A PostgreSQL primary and a streaming standby, which a test can part, kill and promote.

:class:`Cluster` promotes with ``pg_ctl``. :class:`PatroniCluster` leaves it to Patroni and etcd.
Both need the programs of PostgreSQL: in ``/usr/lib/postgresql``, or on the path.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

import psycopg

SYSTEM_USER = "postgres" if os.getuid() == 0 else None  # PostgreSQL refuses to run as root
PATIENCE = 90.0  # seconds: Patroni waits 20 before it replaces a silent primary


def bin_folder() -> Path | None:
    """Return where the newest installed PostgreSQL has its programs."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name)
    )
    on_path = shutil.which("pg_basebackup")
    candidates = [*reversed(debian), *([Path(on_path).parent] if on_path else [])]
    return next((path for path in candidates if (path / "pg_basebackup").exists()), None)


def wait_until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds:g} seconds still waiting until {what}")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Node:
    """One server: its folder, its port, and the process that the test started for it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.data = folder / name
        self.port = free_port()
        self.api_port = free_port()  # of Patroni
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def conninfo(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres connect_timeout=2"

    def ask(self, question: str) -> Any:
        """Return the one value that *question* has as its answer; None without an answer."""
        try:
            with psycopg.connect(self.conninfo, autocommit=True) as connection:
                row = connection.execute(question).fetchone()
                return row[0] if row else None
        except psycopg.Error:
            return None

    def server_pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])


class Cluster:
    """A primary and a standby. Use it as a context manager.

    :param synchronous: whether a commit waits for the standby.
    """

    def __init__(self, *, synchronous: bool) -> None:
        self.synchronous = synchronous
        self.folder = Path(tempfile.mkdtemp(prefix="vmfa-cluster-"))
        if SYSTEM_USER:
            shutil.chown(self.folder, SYSTEM_USER)
        programs = bin_folder()
        assert programs is not None
        self.programs = programs
        self.nodes = [Node(self.folder, "one"), Node(self.folder, "two")]
        self.stopped: list[int] = []  # the processes that send the log to the standby

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def conninfo(self) -> str:
        """A connection string that finds the primary, whichever node it is."""
        ports = ",".join(str(node.port) for node in self.nodes)
        return (
            f"host=127.0.0.1,127.0.0.1 port={ports} user=postgres dbname=postgres"
            " target_session_attrs=read-write connect_timeout=2"
        )

    def start(self) -> None:
        first, second = self.nodes
        self.run("initdb", "-D", first.data, "-U", "postgres", "-A", "trust", "--no-sync")
        with (first.data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = '127.0.0.1'\nunix_socket_directories = '{self.folder}'\n"
                "wal_level = replica\nhot_standby = on\nmax_wal_senders = 4\n"
            )
        self.serve(first)
        self.run(
            "pg_basebackup", "-D", second.data, "-h", "127.0.0.1", "-p", str(first.port),
            "-U", "postgres", "-R", "-X", "stream", "-c", "fast",
        )
        self.serve(second)
        if self.synchronous:
            for statement in ("ALTER SYSTEM SET synchronous_standby_names = '*'",
                              "SELECT pg_reload_conf()"):
                with psycopg.connect(first.conninfo, autocommit=True) as connection:
                    connection.execute(statement)
        self.wait_until_streaming()

    def serve(self, node: Node) -> None:
        with (self.folder / f"{node.name}.log").open("ab") as log:
            node.process = subprocess.Popen(
                [self.programs / "postgres", "-D", node.data, "-p", str(node.port)],
                stdout=log, stderr=log, user=SYSTEM_USER, cwd="/",
            )
        wait_until(lambda: node.ask("SELECT 1"), f"{node.name} answers")

    def run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(
            [self.programs / program, *arguments], user=SYSTEM_USER, cwd="/", check=True,
            stdout=subprocess.DEVNULL,
        )

    @property
    def primary(self) -> Node:
        return next(
            node for node in self.nodes if node.ask("SELECT pg_is_in_recovery()") is False
        )

    @property
    def standby(self) -> Node:
        return next(node for node in self.nodes if node.ask("SELECT pg_is_in_recovery()") is True)

    def wait_until_streaming(self) -> None:
        """Wait until the standby receives the log, and is waited for if it has to be."""
        state = "sync" if self.synchronous else "async"
        question = (
            "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
            f" AND sync_state = '{state}'"
        )
        wait_until(
            lambda: any(node.ask(question) for node in self.nodes), "the standby follows"
        )

    def wait_until_applied(self) -> None:
        """Wait until the standby has everything that the primary has committed."""
        wait_until(
            lambda: self.primary.ask(
                "SELECT count(*) FROM pg_stat_replication"
                " WHERE replay_lsn >= pg_current_wal_lsn()"
            ),
            "the standby has applied everything",
        )

    def part(self) -> None:
        """Let nothing more reach the standby, which does not notice."""
        with psycopg.connect(self.primary.conninfo, autocommit=True) as connection:
            rows = connection.execute("SELECT pid FROM pg_stat_replication").fetchall()
        assert rows
        for (pid,) in rows:
            os.kill(pid, signal.SIGSTOP)
            self.stopped.append(pid)

    def kill_primary(self) -> Node:
        """Kill every process of the primary; return the node."""
        primary = self.primary
        self.kill_agent(primary)
        pid = primary.server_pid()
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        for process in (pid, *map(int, children), *self.stopped):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.stopped.clear()
        if primary.process is not None:
            primary.process.wait()
        return primary

    def kill_agent(self, primary: Node) -> None:
        """Kill what would start the server again."""

    def promote(self) -> None:
        """Make the standby the primary, and wait until it is."""
        standby = self.standby
        self.run("pg_ctl", "promote", "-w", "-D", standby.data)
        wait_until(lambda: standby.ask("SELECT pg_is_in_recovery()") is False, "it is promoted")

    def remove(self) -> None:
        for pid in self.stopped:
            os.kill(pid, signal.SIGKILL)
        for node in self.nodes:
            if node.process is not None and node.process.poll() is None:
                node.process.send_signal(signal.SIGINT)
                node.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


class PatroniCluster(Cluster):
    """The same, started and promoted by Patroni, which keeps its leader in etcd."""

    programs_needed = ("patroni", "etcd")

    def __init__(self, *, synchronous: bool) -> None:
        super().__init__(synchronous=synchronous)
        self.etcd: subprocess.Popen[bytes] | None = None
        self.etcd_port = free_port()

    def start(self) -> None:
        url, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{free_port()}"
        self.etcd = self.spawn("etcd", [
            "--name", "etcd", "--data-dir", str(self.folder / "etcd"),
            "--listen-client-urls", url, "--advertise-client-urls", url,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"etcd={peer}", "--unsafe-no-fsync",
        ])
        for node in self.nodes:
            path = self.folder / f"{node.name}.yml"
            path.write_text(json.dumps(self.settings(node)))  # JSON is YAML
            if SYSTEM_USER:
                shutil.chown(path, SYSTEM_USER)
            path.chmod(0o600)
            node.process = self.spawn("patroni", [str(path)])
            wait_until(partial(node.ask, "SELECT 1"), f"{node.name} answers")
        self.wait_until_streaming()
        if self.synchronous:  # Patroni promotes no other standby
            wait_until(
                lambda: any(map(self.is_synchronous, self.nodes)), "Patroni knows the standby"
            )

    @staticmethod
    def is_synchronous(node: Node) -> bool:
        with suppress(OSError), urlopen(f"http://127.0.0.1:{node.api_port}/sync") as answer:
            return bool(answer.status == 200)
        return False

    def spawn(self, program: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        path = shutil.which(program)
        assert path is not None
        with (self.folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen(
                [path, *arguments], stdout=log, stderr=log, user=SYSTEM_USER, cwd="/"
            )

    def settings(self, node: Node) -> dict[str, Any]:
        login = {"username": "postgres", "password": "postgres"}
        return {
            "scope": "vmfa",
            "name": node.name,
            "restapi": {"listen": f"127.0.0.1:{node.api_port}"},
            "etcd3": {"host": f"127.0.0.1:{self.etcd_port}"},
            "bootstrap": {
                "dcs": {
                    "ttl": 20, "loop_wait": 1, "retry_timeout": 3,
                    "synchronous_mode": self.synchronous,
                    "postgresql": {"use_pg_rewind": False},
                },
                "initdb": [{"encoding": "UTF8"}, {"auth": "trust"}, "no-sync"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{node.port}",
                "connect_address": f"127.0.0.1:{node.port}",
                "data_dir": str(node.data),
                "bin_dir": str(self.programs),
                "pgpass": str(self.folder / f"{node.name}.pgpass"),
                "authentication": {"superuser": login, "replication": login},
                "parameters": {"unix_socket_directories": str(self.folder)},
                "pg_hba": [
                    "local all all trust",
                    "host all all 127.0.0.1/32 trust",
                    "host replication all 127.0.0.1/32 trust",
                ],
            },
        }

    def kill_agent(self, primary: Node) -> None:
        assert primary.process is not None
        primary.process.kill()

    def promote(self) -> None:
        """Wait until Patroni has promoted the standby."""
        standby = self.standby
        wait_until(
            lambda: standby.ask("SELECT pg_is_in_recovery()") is False,
            "Patroni has promoted the standby",
        )

    def remove(self) -> None:
        super().remove()
        if self.etcd is not None:
            self.etcd.terminate()
            self.etcd.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)
