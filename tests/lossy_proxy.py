"""A connection to PostgreSQL that can fail around a statement, or fall silent."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path
from threading import Event, Thread
from typing import Self

import psycopg
from psycopg.conninfo import make_conninfo


class LossyProxy:
    """``conninfo`` leads through the proxy. A fault happens once, at a statement with a text.

    Statements that are prepared show their text only when they are prepared: set ``prepare`` of a
    store to False.
    """

    def __init__(self, conninfo: str) -> None:
        with psycopg.connect(conninfo) as db:
            self._host, self._port = db.info.host, db.info.port
        self.folder = tempfile.mkdtemp(prefix="vmfa-wire-")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self.folder}/.s.PGSQL.5432")
        self._listener.listen(64)
        self._text = b""
        self._fault = ""
        self._error = b""
        self._silent = Event()
        self._sockets: list[socket.socket] = []
        self.happened = Event()
        self.conninfo = make_conninfo(
            conninfo,
            host=self.folder,
            port=5432,
            sslmode="disable",
            gssencmode="disable",
            application_name="lossy",
        )
        Thread(target=self._accept, daemon=True).start()

    def cut_before(self, sql: str) -> None:
        """Lose the next statement that contains *sql* on its way to the server."""
        self._arm(sql, "before")

    def cut_after(self, sql: str) -> None:
        """Lose the answer to the next statement that contains *sql*."""
        self._arm(sql, "after")

    def fall_silent_before(self, sql: str) -> None:
        """Forward nothing in either direction from the next statement with *sql* on."""
        self._arm(sql, "silent before")

    def fall_silent_after(self, sql: str) -> None:
        """Forward the next statement that contains *sql*, and nothing after it."""
        self._arm(sql, "silent after")

    def answer_error(self, sql: str, sqlstate: str) -> None:
        """Answer the next statement that contains *sql* with an error instead of forwarding it."""
        fields = b"SERROR\0VERROR\0C" + sqlstate.encode() + b"\0Mthe row is secret\0\0"
        self._error = b"E" + (len(fields) + 4).to_bytes(4) + fields + b"Z" + (5).to_bytes(4) + b"I"
        self._arm(sql, "error")

    def let_everyone_connect(self) -> None:
        """Let other users of the machine connect."""
        Path(self.folder).chmod(0o755)
        (Path(self.folder) / ".s.PGSQL.5432").chmod(0o777)

    def fall_silent(self) -> None:
        """Forward nothing any more; new connections are accepted and never answered."""
        self._silent.set()

    def _arm(self, sql: str, fault: str) -> None:
        self.happened.clear()
        self._fault, self._text = fault, sql.encode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        _close(*self._sockets)
        shutil.rmtree(self.folder)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            if self._silent.is_set():
                continue
            server = self._reach()
            self._sockets.append(server)
            losing = Event()
            for target, ends in (
                (self._to_server, (client, server)),
                (self._to_client, (server, client)),
            ):
                Thread(target=target, args=(*ends, losing), daemon=True).start()

    def _reach(self) -> socket.socket:
        if not self._host.startswith("/"):
            return socket.create_connection((self._host, self._port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{self._host}/.s.PGSQL.{self._port}")
        return server

    def _to_server(self, client: socket.socket, server: socket.socket, losing: Event) -> None:
        while data := _read(client):
            if self._text and self._text in data:
                self._text = b""
                if self._fault == "after":
                    losing.set()
                    server.sendall(data)
                    continue
                self.happened.set()
                if self._fault == "before":
                    break
                if self._fault == "error":
                    client.sendall(self._error)
                    continue
                self._silent.set()
                if self._fault == "silent after":
                    server.sendall(data)
                return
            if self._silent.is_set():
                return
            server.sendall(data)
        _close(client, server)

    def _to_client(self, server: socket.socket, client: socket.socket, losing: Event) -> None:
        while data := _read(server):
            if self._silent.is_set():
                return
            if losing.is_set():
                self.happened.set()
                break
            try:
                client.sendall(data)
            except OSError:
                break
        if not self._silent.is_set():
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
