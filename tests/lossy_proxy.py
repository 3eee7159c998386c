"""A wire to PostgreSQL that can be cut around a statement: before the server sees it, or before its answer is back."""

from __future__ import annotations

import shutil
import socket
import tempfile
from threading import Event, Thread
from typing import Self

import psycopg
from psycopg.conninfo import make_conninfo


class LossyProxy:
    """``conninfo`` goes through the proxy. A cut happens once, and closes that connection on both sides."""

    def __init__(self, conninfo: str) -> None:
        with psycopg.connect(conninfo) as db:
            self._host, self._port = db.info.host, db.info.port
        self._folder = tempfile.mkdtemp(prefix="vmfa-wire-")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self._folder}/.s.PGSQL.5432")
        self._listener.listen(64)
        self._cut = b""
        self._after = False
        self.happened = Event()
        self.conninfo = make_conninfo(
            conninfo, host=self._folder, port=5432, sslmode="disable", gssencmode="disable", application_name="lossy"
        )
        Thread(target=self._accept, daemon=True).start()

    def cut_before(self, sql: str) -> None:
        """The next statement that holds *sql* is lost on its way to the server."""
        self._arm(sql, after=False)

    def cut_after(self, sql: str) -> None:
        """The next statement that holds *sql* is done, and its answer is lost."""
        self._arm(sql, after=True)

    def _arm(self, sql: str, *, after: bool) -> None:
        self.happened.clear()
        self._after, self._cut = after, sql.encode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self._folder)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = self._reach()
            losing = Event()
            Thread(target=self._to_server, args=(client, server, losing), daemon=True).start()
            Thread(target=self._to_client, args=(server, client, losing), daemon=True).start()

    def _reach(self) -> socket.socket:
        if not self._host.startswith("/"):
            return socket.create_connection((self._host, self._port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{self._host}/.s.PGSQL.{self._port}")
        return server

    def _to_server(self, client: socket.socket, server: socket.socket, losing: Event) -> None:
        while data := _read(client):
            if self._cut and self._cut in data:
                self._cut = b""
                if not self._after:
                    self.happened.set()
                    break
                losing.set()
            server.sendall(data)
        _close(client, server)

    def _to_client(self, server: socket.socket, client: socket.socket, losing: Event) -> None:
        while data := _read(server):
            if losing.is_set():
                self.happened.set()
                break
            try:
                client.sendall(data)
            except OSError:
                break
        _close(client, server)


def _read(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 16)
    except OSError:
        return b""


def _close(*ends: socket.socket) -> None:
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue  # the other thread was first
        finally:
            end.close()
