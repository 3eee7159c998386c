"""SQLAlchemy: a verification, over the same statements through SQLAlchemy Core and memory.

The floor runs the statements of the store with an engine that has the same settings. Its record
is not encoded, compared or checked. MariaDB has no ``UPDATE ... RETURNING``, so the proof of a
commit is a SELECT there: a case shows the floor without it. Both servers are started by the
benchmark, on a processor of their own. MariaDB needs the package mariadb-server.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    MetaData,
    Table as SQLTable,
    Text,
    bindparam,
    create_engine,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.mysql import MEDIUMBLOB, VARBINARY

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the server of the tests

import vmfa
from mariadb_server import fresh_database, mariadb_server
from measure import FLOOR, Limits, Options, RatioTable, Table, main, ratio_rows, time_operations
from postgres import new_server, schema, separate_processors, with_settings
from sqlalchemy_databases import mariadb_url, postgres_url
from sqlite import both, example_row
from users import ACCOUNT, user_over
from vmfa.stores.sqlalchemy import SQLAlchemyStore

LIMITS = Limits(1.15, 1.4)
WARM_UP = 30  # operations
KEY = ("account", "kind", "name")
RECORD = ("revision", "state", "tag", "audit_tag")
NAME = Text().with_variant(Text(collation="C"), "postgresql").with_variant(
    VARBINARY(512), "mariadb"
)
VALUE = Text().with_variant(MEDIUMBLOB(), "mariadb")
RAW = SQLTable(
    "raw_core", MetaData(), *(Column(name, NAME, primary_key=True) for name in KEY),
    Column("revision", BigInteger),
    *(Column(name, VALUE) for name in ("state", "tag", "audit_tag")),
)  # fmt: skip


class CoreStatements:
    """One SELECT and one compare-and-set UPDATE of a row like ours, each its own transaction."""

    def __init__(self, engine: Engine, *, transaction: bool, proof: bool, name: str) -> None:
        self._engine, self._transaction, self._proof = engine, transaction, proof
        encode = str.encode if engine.dialect.name == "mariadb" else str
        row = [encode(value) if isinstance(value, str) else value for value in example_row()]
        row[2] = encode(name)
        self._key = {f"at_{column}": value for column, value in zip(KEY, row, strict=False)}
        at = [RAW.c[column] == bindparam(f"at_{column}") for column in KEY]
        self._select = select(*(RAW.c[column] for column in RECORD)).where(*at)
        self._update = update(RAW).where(
            *at, RAW.c.revision == bindparam("old_revision"), RAW.c.tag == bindparam("old_tag")
        ).values({column: bindparam(f"new_{column}") for column in RECORD})  # fmt: skip
        self._written = select(RAW.c.revision, RAW.c.tag).where(*at)
        with engine.connect() as connection:
            connection.execute(insert(RAW), dict(zip((*KEY, *RECORD), row, strict=True)))

    def run(self) -> None:
        with self._engine.connect() as connection:
            (row,) = connection.execute(self._select, self._key).all()
        values = self._key | {
            "new_revision": row[0] + 1, "new_state": row[1], "new_tag": row[2],
            "new_audit_tag": row[3], "old_revision": row[0], "old_tag": row[2],
        }  # fmt: skip
        with self._engine.connect() as connection:
            if self._transaction:
                connection.exec_driver_sql("BEGIN")
            assert connection.execute(self._update, values).rowcount == 1
            if self._proof:
                assert connection.execute(self._written, self._key).all()
            if self._transaction:
                connection.exec_driver_sql("COMMIT")


def verification(options: Options, question: str, engine: Engine, *, durable: bool) -> Table:
    mariadb = engine.dialect.name == "mariadb"
    core = create_engine(
        engine.url, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True
    )
    RAW.create(core)

    def statements(name: str, *, proof: bool = mariadb) -> Callable[[], None]:
        return CoreStatements(core, transaction=mariadb, proof=proof, name=name).run

    with SQLAlchemyStore(engine, unsafe_not_durable=not durable) as store:
        store.create_schema()
        memory = user_over(vmfa.MemoryStore()).sign_in
        operations = {
            FLOOR: both(statements("floor"), memory),
            "statements alone": statements("alone"),
            "vmfa": user_over(store, vmfa.PrincipalId.user(ACCOUNT, question)).sign_in,
        }
        if mariadb:
            operations["floor without the proof"] = both(
                statements("no proof", proof=False), user_over(vmfa.MemoryStore()).sign_in
            )
        for operation in operations.values():
            for _ in range(WARM_UP):
                operation()
        series = time_operations(
            operations, rounds=options.rounds(42), operations_per_round=20
        )
    RAW.drop(core)
    core.dispose()
    engine.dispose()
    return RatioTable(
        title=f"A code is accepted, SQLAlchemy, {question}",
        section="verification",
        question=f"SQLAlchemy, {question}",
        floor="the same statements through SQLAlchemy Core and a verification in memory",
        rows=ratio_rows(series, limits={"vmfa": LIMITS}),
    )


@contextmanager
def on_another_processor(process: int) -> Iterator[None]:
    """Run a server on another processor than this process."""
    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(processors) < 2:
        yield
        return
    for thread in os.listdir(f"/proc/{process}/task"):
        os.sched_setaffinity(int(thread), processors[:1])
    os.sched_setaffinity(0, processors[1:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)


def answer(options: Options) -> Iterator[Table]:
    with ExitStack() as stack:
        conninfo = stack.enter_context(new_server())
        name = stack.enter_context(schema(conninfo, "core"))
        stack.enter_context(separate_processors(conninfo))
        connection = partial(with_settings, conninfo, name)
        for commit in ("off", "on"):
            engine = create_engine(postgres_url("psycopg", connection(commit)))
            question = f"PostgreSQL, `synchronous_commit = {commit}`"
            yield verification(options, question, engine, durable=commit == "on")
    for flush in (2, 1):
        option = f"--innodb-flush-log-at-trx-commit={flush}"
        with mariadb_server(option) as server, fresh_database(server) as database:
            assert server._process is not None
            with on_another_processor(server._process.pid):
                engine = create_engine(mariadb_url("pymysql", database))
                question = f"MariaDB, `innodb_flush_log_at_trx_commit = {flush}`"
                yield verification(options, question, engine, durable=flush == 1)


if __name__ == "__main__":
    main(answer, __file__)
