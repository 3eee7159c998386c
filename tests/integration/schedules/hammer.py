"""Present one code from many threads and processes at once, round after round.

::

    python tests/integration/schedules/hammer.py   # 50 at once, 50 rounds: minutes

In each round exactly one is accepted, and every other one gets a named error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Barrier
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]  # as pytest would

import psycopg_pool  # noqa: E402
from interleaving import SPAWN, WHO  # noqa: E402
from sqlalchemy import create_engine, make_url  # noqa: E402

from postgres_server import fresh_schema, the_server  # noqa: E402
from sqlalchemy_databases import SYNC, new_database, store_at  # noqa: E402
from support import MASTER, enroll  # noqa: E402
from vmfa import DerivedKeys, DeviceRegistry, SQLiteStore, StoreContended, VmfaError  # noqa: E402
from vmfa.stores.postgres import PostgresStore  # noqa: E402
from vmfa.stores.sqlalchemy import SQLAlchemyStore  # noqa: E402
from vmfa.testing import FrozenClock  # noqa: E402

ENGINES = ("sqlite", "postgres", *SYNC)  # the last ones are drivers of SQLAlchemy


def open_store(engine: str, place: str) -> Any:
    if engine in SYNC:
        pool = {"pool_size": 10, "max_overflow": 0, "pool_timeout": 60}
        return SQLAlchemyStore(create_engine(place, **pool), timeout=60)
    return SQLiteStore(place) if engine == "sqlite" else PostgresStore(place)


@contextmanager
def new_place(engine: str) -> Iterator[str]:
    """Yield where a new store of *engine* can be opened."""
    if engine == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"{folder}/hammer.db"
    elif engine in SYNC:
        with (
            tempfile.TemporaryDirectory() as folder,
            new_database(engine, Path(folder)) as url,
            store_at(url) as store,
        ):
            store.create_schema()
            yield url.render_as_string(hide_password=False)
    else:
        with fresh_schema(the_server()) as conninfo:
            with PostgresStore(conninfo) as store:
                store.create_schema()
            yield conninfo


def registry_at(store: Any, now: float) -> DeviceRegistry:
    return DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=lambda: now)


def attempt(store: Any, code: str, now: float) -> str:
    try:
        return type(registry_at(store, now).verify(WHO, code)).__name__
    except VmfaError as error:
        return "StoreContended" if isinstance(error, StoreContended) else type(error).__name__


def by_threads(engine: str, many: int, rounds: int) -> list[Counter[str]]:
    clock, outcomes = FrozenClock(), []
    with (
        new_place(engine) as place,
        closing(open_store(engine, place)) as store,
        ThreadPoolExecutor(many) as pool,
    ):
        phone = enroll(
            DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock),
            clock,
            WHO,
        ).phone
        for _ in range(rounds):
            clock.advance(30)
            barrier = Barrier(many)
            code, now = phone.code(), clock.now

            def together(
                _: int, code: str = code, now: float = now, barrier: Barrier = barrier
            ) -> str:
                barrier.wait()
                return attempt(store, code, now)

            outcomes.append(Counter(pool.map(together, range(many))))
    return outcomes


@contextmanager
def open_store_with_one_connection(engine: str, place: str) -> Iterator[Any]:
    """Open a store with one connection, so that fifty processes do not exceed the limit of a
    server.
    """
    if engine == "sqlite":
        with SQLiteStore(place) as store:
            yield store
    elif engine in SYNC:
        one = create_engine(make_url(place), pool_size=1, max_overflow=0)
        with SQLAlchemyStore(one, timeout=60) as store:
            yield store
    else:
        options = {"autocommit": True}
        with psycopg_pool.ConnectionPool(
            place, min_size=1, max_size=1, timeout=60, kwargs=options
        ) as pool:
            yield PostgresStore(pool, timeout=60)


def presenter(pipe: Connection, engine: str, place: str, barrier: Any) -> None:
    with open_store_with_one_connection(engine, place) as store:
        store.load(WHO)
        pipe.send("ready")
        while (presented := pipe.recv()) is not None:
            barrier.wait()
            pipe.send(attempt(store, *presented))


def by_processes(engine: str, many: int, rounds: int) -> list[Counter[str]]:
    clock, outcomes = FrozenClock(), []
    barrier = SPAWN.Barrier(many)
    with new_place(engine) as place, closing(open_store(engine, place)) as store:
        phone = enroll(
            DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock),
            clock,
            WHO,
        ).phone
        pipes, presenters = [], []
        for _ in range(many):
            ours, theirs = SPAWN.Pipe()
            presenters.append(
                SPAWN.Process(target=presenter, args=(theirs, engine, place, barrier), daemon=True)
            )
            presenters[-1].start()
            theirs.close()
            pipes.append(ours)
        for pipe in pipes:
            pipe.recv()
        for _ in range(rounds):
            clock.advance(30)
            for pipe in pipes:
                pipe.send((phone.code(), clock.now))
            outcomes.append(Counter(pipe.recv() for pipe in pipes))
        for pipe, process in zip(pipes, presenters, strict=True):
            pipe.send(None)
            process.join()
            pipe.close()
    return outcomes


WAYS = {"threads": by_threads, "processes": by_processes}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--many", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--engine", choices=ENGINES, action="append")
    options = parser.parse_args()
    say = partial(print, flush=True)
    failed = 0
    for engine in options.engine or ENGINES:
        for way, hammer in WAYS.items():
            start = time.monotonic()
            rounds = hammer(engine, options.many, options.rounds)
            failed += sum(ends["Receipt"] != 1 for ends in rounds)
            total = sum(rounds, Counter())
            took = time.monotonic() - start
            say(
                f"{engine:8} {options.many} {way:9} {options.rounds} rounds:"
                f" {dict(total)}, {took:.1f} s"
            )
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
