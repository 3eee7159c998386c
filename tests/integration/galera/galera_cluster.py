"""A MariaDB Galera cluster of three nodes on this machine, which a test can break.

It needs Debian's packages mariadb-server, galera-4 and rsync. Each node listens on free ports of
127.0.0.1, where root needs no password.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pymysql
import pytest
from sqlalchemy import URL

from mariadb_server import HOST, START_SECONDS, USER, free_port
from programs import require_program

PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")
SYSTEM_USER = "mysql" if os.getuid() == 0 else getpass.getuser()  # rsync refuses to run as root
DATABASE = "service"
PATIENCE = 90.0  # seconds
# A node that is only slow, on a busy machine, must not be taken for dead.
DETECTION = (
    "evs.keepalive_period=PT0.5S;evs.inactive_check_period=PT0.5S;evs.suspect_timeout=PT8S;"
    "evs.inactive_timeout=PT15S;evs.install_timeout=PT15S"
)


def wait_until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds:g} seconds still waiting until {what}")
        time.sleep(0.05)


class Node:
    """One server: its folder, its ports, and the process that the test started for it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder / name
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.port, self.group_port, self.ist_port, self.sst_port = (free_port() for _ in range(4))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> URL:
        """Where SQLAlchemy finds the database on this node."""
        return URL.create(
            "mariadb+pymysql", username=USER, host=HOST, port=self.port, database=DATABASE,
            query={"charset": "utf8mb4", "connect_timeout": "5", "read_timeout": "20"},
        )

    def connect(self, database: str | None = DATABASE) -> pymysql.Connection[Any]:
        """Return a new connection that commits each statement by itself."""
        return pymysql.connect(
            host=HOST, port=self.port, user=USER, database=database, autocommit=True,
            connect_timeout=5, read_timeout=PATIENCE,
        )

    def execute(self, statement: str, database: str | None = None) -> Any:
        """Execute a statement and return its rows."""
        with closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def status(self, name: str) -> str | None:
        """Return a status variable of Galera; None if the server does not answer."""
        try:
            rows = self.execute(f"SHOW STATUS LIKE 'wsrep_{name}'")
        except pymysql.Error:
            return None
        return rows[0][1] if rows else None

    def is_synced(self) -> bool:
        """Return whether the node has received and applied everything, and serves clients."""
        return self.status("ready") == "ON" and self.status("local_state_comment") == "Synced"

    def signal(self, sent: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(sent)

    def kill(self) -> None:
        """Kill the server, as a power failure would."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()
        self.process = None

    def isolate(self, *, isolated: bool = True) -> None:
        """Cut the node off from the others, or connect it again. Clients still reach it."""
        self.set_option("gmcast.isolate", str(int(isolated)))

    def set_option(self, name: str, value: str) -> None:
        """Change an option of Galera."""
        self.execute(f"SET GLOBAL wsrep_provider_options = '{name}={value}'")


class GaleraCluster:
    """Three nodes. Use it as a context manager.

    :param options: more options of every server.
    """

    def __init__(self, *options: str) -> None:
        self._server = require_program("mariadbd", "mariadb-server")
        self._install = require_program("mariadb-install-db", "mariadb-server")
        require_program("rsync", "rsync")
        if not PROVIDER.exists():
            missing = "Galera is not installed: apt-get install galera-4"
            if os.environ.get("CI") == "true":
                pytest.fail(missing)
            pytest.skip(missing)
        self._options = options
        self.folder = Path(tempfile.mkdtemp(prefix="vmfa-galera-"))
        self.folder.chmod(0o755)
        self.nodes = [Node(self.folder, name) for name in ("one", "two", "three")]

    def __enter__(self) -> Self:
        try:
            self._install_data()
            for node in self.nodes:
                self.start(node, new_cluster=node is self.nodes[0])
            self.nodes[0].execute(
                # A collation that takes "a", "A" and "á" for the same, as many services have it.
                f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
            )
            self.wait_until_whole()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _install_data(self) -> None:
        first = self.nodes[0]
        for node in self.nodes:
            # A starting server removes the temporary tables of others from a shared folder.
            (node.folder / "tmp").mkdir(parents=True)
        subprocess.run(
            [
                self._install, "--no-defaults", f"--datadir={first.data}",
                f"--tmpdir={first.folder / 'tmp'}",
                "--auth-root-authentication-method=normal",
            ],
            check=True, stdout=subprocess.DEVNULL, timeout=START_SECONDS,
        )
        for node in self.nodes[1:]:
            shutil.copytree(first.data, node.data)
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", SYSTEM_USER, self.folder], check=True)

    def others(self, node: Node) -> list[Node]:
        """Return the two other nodes."""
        return [other for other in self.nodes if other is not node]

    def start(self, node: Node, *, new_cluster: bool = False) -> None:
        """Start a node and wait until it serves clients.

        :param new_cluster: it does not look for others: its data are the data of the cluster.
        """
        group = ",".join(f"{HOST}:{other.group_port}" for other in self.nodes)
        with node.log.open("ab") as log:
            node.process = subprocess.Popen(
                [
                    self._server, "--no-defaults", f"--user={SYSTEM_USER}",
                    f"--datadir={node.data}", f"--tmpdir={node.folder / 'tmp'}",
                    f"--port={node.port}", f"--bind-address={HOST}",
                    f"--socket={node.folder / 'socket'}", f"--pid-file={node.folder / 'pid'}",
                    "--skip-name-resolve", "--binlog-format=ROW",
                    "--default-storage-engine=InnoDB", "--innodb-autoinc-lock-mode=2",
                    "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=1",
                    "--wsrep-on=ON", f"--wsrep-provider={PROVIDER}", "--wsrep-cluster-name=vmfa",
                    f"--wsrep-node-name={node.name}", f"--wsrep-cluster-address=gcomm://{group}",
                    f"--wsrep-provider-options={self._provider_options(node)}",
                    f"--wsrep-node-address={HOST}:{node.group_port}",
                    f"--wsrep-sst-receive-address={HOST}:{node.sst_port}",
                    "--wsrep-sst-method=rsync", *self._options,
                    *(["--wsrep-new-cluster"] if new_cluster else []),
                ],
                stdout=log, stderr=log,
            )
        self.wait_until_synced(node)

    @staticmethod
    def _provider_options(node: Node) -> str:
        return (
            f"base_port={node.group_port};gmcast.listen_addr=tcp://{HOST}:{node.group_port};"
            f"ist.recv_addr={HOST}:{node.ist_port};gcache.size=16M;{DETECTION}"
        )

    def wait_until_synced(self, node: Node) -> None:
        process = node.process
        assert process is not None

        def synced() -> bool:
            if process.poll() is not None:
                pytest.fail(f"node {node.name} ended:\n{node.log.read_text()[-4000:]}")
            return node.is_synced()

        wait_until(synced, f"node {node.name} is synced", START_SECONDS)

    def wait_until_whole(self) -> None:
        """Wait until every node is synced and sees the others."""
        for node in self.nodes:
            self.wait_until_synced(node)
            wait_until(lambda node=node: node.status("cluster_size") == "3", "there are 3 nodes")

    def repair(self) -> None:
        """Undo what tests break: start, resume and connect every node."""
        for node in self.nodes:
            if node.process is not None:
                node.signal(signal.SIGCONT)
        running = [node for node in self.nodes if node.process is not None]
        for node in running:
            node.isolate(isolated=False)
        if len(running) == 1 and running[0].status("cluster_status") != "Primary":
            running[0].set_option("pc.bootstrap", "1")
        for node in self.nodes:
            if node not in running:
                self.start(node)
        self.wait_until_whole()

    def remove(self) -> None:
        for node in self.nodes:
            if node.process is not None and node.process.poll() is None:
                node.signal(signal.SIGKILL)
                node.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
