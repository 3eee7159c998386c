"""What was answered stays answered: power cuts, stopped servers, killed writers. The full run is a command."""

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
from writer import WHO

from postgres_server import Server, crashable, database, server, with_options  # noqa: F401  # fixtures
from programs import needed
from support import MASTER
from vmfa import DerivedKeys, SQLiteStore, Store
from vmfa.history import check_chain
from vmfa.record import check_intact
from vmfa.stores.postgres import PostgresStore

LOST = "an acknowledged commit is lost"
SET_TIMEOUT = 60  # seconds, far more than needed


@pytest.mark.parametrize(
    ("kind", "loses"), [("durable", False), ("unsafe", True), ("early", True)]
)
def test_no_power_cut_takes_back_an_answer(kind: str, loses: bool, tmp_path: Path) -> None:
    """At every point of a writer's life, by every strategy; the two controls must be found out."""
    needed("strace", "strace")
    outcome = every_crash(record(tmp_path, kind, 6), tmp_path)
    assert outcome.images > 300
    assert bool(outcome.problems[LOST]) == loses, outcome
    assert loses or not outcome.problems, outcome


@contextmanager
def writing(engine: str, place: str, kind: str = "durable") -> Iterator[subprocess.Popen[bytes]]:
    """A writer at work in a process of its own."""
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
    told = [writer.stdout.readline() for _ in range(count)]
    assert all(line.startswith(b"ACK ") for line in told), (
        told,
        writer.stderr and writer.stderr.read(),
    )
    return told


def check_nothing_lost(store: Store, last: bytes) -> None:
    """The record is at least where the last answer said it was, intact, and its history is whole."""
    _, revision, step = last.split()
    kept = store.load(WHO)
    keys = DerivedKeys(MASTER)
    check_intact(kept, keys)
    assert kept.revision >= int(revision)
    assert kept.device is not None
    assert kept.device.last_step >= int(step)
    assert check_chain(store.history(WHO, limit=100_000), 0, "", keys) == kept.head


def test_a_killed_writer_of_sqlite_loses_nothing(tmp_path: Path) -> None:
    place = tmp_path / "mfa.db"
    for _ in range(8):
        with writing("sqlite", str(place)) as writer:
            told = acknowledged(writer, 5)
            writer.send_signal(signal.SIGKILL)
            told += writer.stdout.read().splitlines() if writer.stdout else []
        with SQLiteStore(place) as store:
            check_nothing_lost(store, [line for line in told if line.count(b" ") == 2][-1])


def test_a_killed_writer_of_postgresql_loses_nothing(database: str) -> None:  # noqa: F811  # the fixture
    with PostgresStore(database) as store:
        store.create_schema()
        for _ in range(4):
            with writing("postgres", database) as writer:
                told = acknowledged(writer, 5)
                writer.send_signal(signal.SIGKILL)
            check_nothing_lost(store, told[-1])


def test_a_server_stopped_at_once_loses_nothing(crashable: Server) -> None:  # noqa: F811  # the fixture
    """PostgreSQL stopped in immediate mode under load: writers meet named errors and go on when it is back."""
    with PostgresStore(crashable.conninfo, timeout=20) as store:
        store.create_schema()
        for _ in range(2):
            with writing("postgres", crashable.conninfo) as writer:
                acknowledged(writer, 20)
                crashable.stop("immediate")
                crashable.start()
                told = acknowledged(writer, 20)
                assert writer.poll() is None
            deadline = time.monotonic() + SET_TIMEOUT
            while True:
                try:
                    check_nothing_lost(store, told[-1])
                    break
                except Exception:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)


def test_a_careless_server_stopped_at_once_does_lose(crashable: Server) -> None:  # noqa: F811  # the fixture
    """The control: with synchronous_commit off, the test above would find what is lost."""
    if not crashable.ours:
        pytest.skip("a server of others is not crashed")
    careless = with_options(crashable.conninfo, "-c synchronous_commit=off")
    with (
        lazy_log(crashable),
        PostgresStore(careless, unsafe_not_durable=True, timeout=20) as store,
    ):
        store.create_schema()
        with writing("postgres", careless, "unsafe") as writer:
            told = acknowledged(writer, 20)
            crashable.stop("immediate")
        crashable.start()
        with pytest.raises(AssertionError):
            check_nothing_lost(store, told[-1])


@contextmanager
def lazy_log(server: Server) -> Iterator[None]:  # noqa: F811  # any server
    """The log reaches the disk only when a commit insists."""
    setting(server, "SET wal_writer_delay = '10s'")
    yield
    setting(server, "RESET wal_writer_delay")


def setting(server: Server, change: str) -> None:  # noqa: F811  # any server
    with psycopg.connect(server.conninfo, autocommit=True) as db:
        db.execute(f"ALTER SYSTEM {change}")
        db.execute("SELECT pg_reload_conf()")
