"""A Galera cluster of three nodes: writes to all of them against writes to one.

The cluster runs on this machine, so that all nodes and all workers share its processors. Each node
applies every write, whichever node it was sent to: three nodes do not write faster than one. The
question is what writing to all of them costs. The raw statements are the SELECT and the
transaction with the compare-and-set UPDATE that the store sends, through SQLAlchemy Core.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median, quantiles
from typing import Any

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "integration" / "galera")]

from collections.abc import Iterator  # noqa: E402

from galera_cluster import GaleraCluster  # noqa: E402
from sqlalchemy import create_engine  # noqa: E402

import vmfa  # noqa: E402
from measure import FLOOR, Limits, Options, RatioTable, Row, Series, Table, main, text_table  # noqa: E402
from sqlite import example_row  # noqa: E402
from users import user_over  # noqa: E402
from vmfa.stores.sqlalchemy import SQLAlchemyStore  # noqa: E402
from workers import MakeWork, in_processes, principal, sign_ins  # noqa: E402

WORKERS = 6
LIMITS = Limits(0.8, 0.6)
RAW_TABLE = """CREATE TABLE IF NOT EXISTS raw_principal (
    account VARBINARY(512), kind VARBINARY(8), name VARBINARY(512), revision BIGINT NOT NULL,
    state MEDIUMBLOB, tag VARBINARY(128), audit_tag VARBINARY(128),
    PRIMARY KEY (account, kind, name)) ENGINE = InnoDB"""
INSERT = "REPLACE INTO raw_principal VALUES (%s, %s, %s, %s, %s, %s, %s)"
SELECT = """SELECT revision, state, tag, audit_tag FROM raw_principal
    WHERE account = %s AND kind = %s AND name = %s"""
UPDATE = """UPDATE raw_principal SET revision = %s, state = %s, tag = %s, audit_tag = %s
    WHERE account = %s AND kind = %s AND name = %s AND revision = %s AND tag = %s"""


def url_for(places: str, name: str) -> str:
    """Return the node of a worker: the workers take the nodes in turn."""
    urls = places.split()
    return urls[int(name.partition("-")[2]) % len(urls)]


def engine_for(places: str, name: str) -> Any:
    return create_engine(url_for(places, name), pool_size=1, max_overflow=0)


def vmfa_work(places: str, name: str, operations: int) -> Callable[[], None]:
    store = SQLAlchemyStore(engine_for(places, name))
    store.load(principal(name))
    registry_name = f"{name}-{operations}-{id(store)}"
    return sign_ins(store, registry_name, operations)


def floor_work(places: str, name: str, operations: int) -> Callable[[], None]:
    """Return the work of the floor: the raw statements, and a verification in memory."""
    engine = engine_for(places, name).execution_options(isolation_level="AUTOCOMMIT")
    in_memory = user_over(vmfa.MemoryStore())
    in_memory.prepare(operations)
    account, kind, _, *rest = example_row()
    key = (account, kind, f"{name}-{id(engine)}")
    connection = engine.connect()
    connection.exec_driver_sql("SET SESSION wsrep_sync_wait = 1")
    connection.exec_driver_sql(INSERT, (*key, *rest))

    def work() -> None:
        with connection:
            for _ in range(operations):
                in_memory.sign_in()
                revision, *values = connection.exec_driver_sql(SELECT, key).one()
                connection.exec_driver_sql("BEGIN")
                changed = connection.exec_driver_sql(
                    UPDATE, (revision + 1, *values, *key, revision, values[1])
                )
                assert changed.rowcount == 1
                connection.exec_driver_sql("COMMIT")
        engine.dispose()

    return work


WORK: Mapping[str, MakeWork] = {"vmfa": vmfa_work, FLOOR: floor_work}


def answer(options: Options) -> Iterator[Table]:
    operations, rounds = (50, 3) if options.quick else (150, 15)
    with GaleraCluster() as cluster:
        urls = [str(node.url) for node in cluster.nodes]
        with SQLAlchemyStore(create_engine(urls[0])) as store:
            store.create_schema()
        cluster.nodes[0].execute(RAW_TABLE, "service")
        layouts = {"one node": urls[0], "three nodes": " ".join(urls)}
        speeds: dict[tuple[str, str], list[float]] = {}
        for _ in range(rounds):
            for layout, places in layouts.items():
                for case, work in WORK.items():
                    speed = in_processes(work, places, WORKERS, operations)
                    speeds.setdefault((case, layout), []).append(speed)
    rows = [
        ratio_row(f"{case}, three nodes", speeds[case, "three nodes"], speeds[case, "one node"],
                  LIMITS if case == "vmfa" else None)
        for case in WORK
    ]
    yield RatioTable(
        title="Throughput of a Galera cluster, writes to three nodes",
        section="galera",
        question="Galera, 3 nodes: throughput of writes to all three against one",
        floor=f"the same {WORKERS} processes, all on one node",
        rows=[
            Row("one node", 1 / median(speeds["vmfa", "one node"]), 1.0, 1.0, 1.0),
            *rows,
        ],
    )
    yield text_table(
        "Throughput over the raw statements and a verification in memory",
        ("nodes", "vmfa / floor"),
        [
            (layout, f"{ratio_row('', speeds['vmfa', layout], speeds[FLOOR, layout]).ratio:.2f}")
            for layout in layouts
        ],
        section="galera",
    )


def ratio_row(
    case: str, speeds: list[float], base: list[float], limits: Limits | None = None
) -> Row:
    """Return the ratio of two throughputs that were measured in turn."""
    ratios: Series = {case: [speed / other for speed, other in zip(speeds, base, strict=True)]}
    low, middle, high = quantiles(ratios[case], n=4)
    return Row(case, 1 / median(speeds), middle, low, high, limits)


if __name__ == "__main__":
    main(answer, __file__)
