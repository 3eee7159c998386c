"""An acknowledged commit survives power cuts, stopped servers and killed writers.

The full run is a command: see ``crash_images.py``.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from crash_images import every_crash, record
from writer import WHO, check_history

from postgres_server import Server, crashable, database, server, with_options  # noqa: F401
from programs import require_program
from support import MASTER
from vmfa import DerivedKeys, SQLiteStore, Store
from vmfa.record import check_intact
from vmfa.stores.postgres import PostgresStore

pytestmark = pytest.mark.slow  # strace, servers and processes

LOST = "an acknowledged commit is lost"
TIMEOUT = 60  # seconds, far more than needed


@pytest.mark.parametrize(
    ("kind", "loses"), [("durable", False), ("unsafe", True), ("early", True)]
)
def test_no_power_cut_loses_an_acknowledged_commit(kind: str, loses: bool, tmp_path: Path) -> None:
    """At every point of the writer, by every strategy; and the two controls lose commits."""
    require_program("strace", "strace")
    outcome = every_crash(record(tmp_path, kind, 6), tmp_path)
    assert outcome.images > 300
    assert bool(outcome.problems[LOST]) == loses, outcome
    assert loses or not outcome.problems, outcome


@contextmanager
def writing(engine: str, place: str, kind: str = "durable") -> Iterator[subprocess.Popen[bytes]]:
    """Run a writer in a process of its own."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("writer.py")),
        engine,
        place,
        kind,
        "100000",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        try:
            yield writer
        finally:
            writer.kill()


def acknowledged(writer: subprocess.Popen[bytes], count: int) -> list[bytes]:
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(count)]
    assert all(line.startswith(b"ACK ") for line in lines), (
        lines,
        writer.stderr and writer.stderr.read(),
    )
    return lines


def check_nothing_lost(store: Store, last: bytes) -> None:
    """Check that the record is at least where the last acknowledgment was, and intact."""
    _, revision, step = last.split()
    record = store.load(WHO)
    check_intact(record, DerivedKeys(MASTER))
    assert record.revision >= int(revision)
    assert record.device is not None
    assert record.device.last_step >= int(step)
    check_history(record, store.history(WHO, limit=100_000))


def test_a_killed_sqlite_writer_loses_nothing(tmp_path: Path) -> None:
    place = tmp_path / "mfa.db"
    for _ in range(8):
        with writing("sqlite", str(place)) as writer:
            lines = acknowledged(writer, 5)
            writer.send_signal(signal.SIGKILL)
            lines += writer.stdout.read().splitlines() if writer.stdout else []
        with SQLiteStore(place) as store:
            check_nothing_lost(store, [line for line in lines if line.count(b" ") == 2][-1])


def test_a_killed_postgresql_writer_loses_nothing(database: str) -> None:  # noqa: F811
    with PostgresStore(database) as store:
        store.create_schema()
        for _ in range(4):
            with writing("postgres", database) as writer:
                lines = acknowledged(writer, 5)
                writer.send_signal(signal.SIGKILL)
            check_nothing_lost(store, lines[-1])


def test_a_postgresql_server_stopped_at_once_loses_nothing(
    crashable: Server,  # noqa: F811
) -> None:
    """PostgreSQL is stopped in immediate mode under load: writers get named errors and continue
    when the server is back.
    """
    with PostgresStore(crashable.conninfo, timeout=20) as store:
        store.create_schema()
        for _ in range(2):
            with writing("postgres", crashable.conninfo) as writer:
                acknowledged(writer, 20)
                crashable.stop("immediate")
                crashable.start()
                lines = acknowledged(writer, 20)
                assert writer.poll() is None
            deadline = time.monotonic() + TIMEOUT
            while True:
                try:
                    check_nothing_lost(store, lines[-1])
                    break
                except Exception:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)


def test_a_server_without_synchronous_commit_loses_commits(
    crashable: Server,  # noqa: F811
) -> None:
    """The control: with synchronous_commit off, the test above would notice the loss."""
    if not crashable.ours:
        pytest.skip("only a server of the tests is stopped")
    asynchronous = with_options(crashable.conninfo, "-c synchronous_commit=off")
    with (
        lazy_log(crashable),
        PostgresStore(asynchronous, unsafe_not_durable=True, timeout=20) as store,
    ):
        store.create_schema()
        with writing("postgres", asynchronous, "unsafe") as writer:
            lines = acknowledged(writer, 20)
            crashable.stop("immediate")
        crashable.start()
        with pytest.raises(AssertionError):
            check_nothing_lost(store, lines[-1])


@contextmanager
def lazy_log(server: Server) -> Iterator[None]:  # noqa: F811  # any server
    """Let the log reach the disk only when a commit requires it."""
    setting(server, "SET wal_writer_delay = '10s'")
    yield
    setting(server, "RESET wal_writer_delay")


def setting(server: Server, change: str) -> None:  # noqa: F811  # any server
    with psycopg.connect(server.conninfo, autocommit=True) as db:
        db.execute(f"ALTER SYSTEM {change}")
        db.execute("SELECT pg_reload_conf()")
