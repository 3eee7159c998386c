"""One code, presented by many at once, round after round: ``python tests/integration/schedules/hammer.py`` (50, 50 times; minutes).

Exactly one is accepted in each round, and everybody else gets an error that has a name.
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

import psycopg_pool  # noqa: E402  # as before
from interleaving import SPAWN, WHO  # noqa: E402  # found by the line above

from postgres_server import fresh_schema, the_server  # noqa: E402  # as before
from support import MASTER, HandClock, enroll  # noqa: E402  # as before
from vmfa import DerivedKeys, DeviceRegistry, SQLiteStore, StoreContended, VmfaError  # noqa: E402  # as before
from vmfa.stores.postgres import PostgresStore  # noqa: E402  # as before


def open_store(engine: str, place: str) -> Any:
    return SQLiteStore(place) if engine == "sqlite" else PostgresStore(place)


@contextmanager
def a_place(engine: str) -> Iterator[str]:
    """Where a new store of *engine* can be."""
    if engine == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"{folder}/hammer.db"
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
    clock, found = HandClock(), []
    with (
        a_place(engine) as place,
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

            found.append(Counter(pool.map(together, range(many))))
    return found


@contextmanager
def a_strikers_store(engine: str, place: str) -> Iterator[Any]:
    """With one connection: fifty processes of their own would else ask for more than a server has."""
    if engine == "sqlite":
        with SQLiteStore(place) as store:
            yield store
    else:
        options = {"autocommit": True}
        with psycopg_pool.ConnectionPool(
            place, min_size=1, max_size=1, timeout=60, kwargs=options
        ) as pool:
            yield PostgresStore(pool, timeout=60)


def striker(pipe: Connection, engine: str, place: str, barrier: Any) -> None:
    with a_strikers_store(engine, place) as store:
        store.load(WHO)
        pipe.send("ready")
        while (given := pipe.recv()) is not None:
            barrier.wait()
            pipe.send(attempt(store, *given))


def by_processes(engine: str, many: int, rounds: int) -> list[Counter[str]]:
    clock, found = HandClock(), []
    barrier = SPAWN.Barrier(many)
    with a_place(engine) as place, closing(open_store(engine, place)) as store:
        phone = enroll(
            DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock),
            clock,
            WHO,
        ).phone
        pipes, strikers = [], []
        for _ in range(many):
            ours, theirs = SPAWN.Pipe()
            strikers.append(
                SPAWN.Process(target=striker, args=(theirs, engine, place, barrier), daemon=True)
            )
            strikers[-1].start()
            theirs.close()
            pipes.append(ours)
        for pipe in pipes:
            pipe.recv()
        for _ in range(rounds):
            clock.advance(30)
            for pipe in pipes:
                pipe.send((phone.code(), clock.now))
            found.append(Counter(pipe.recv() for pipe in pipes))
        for pipe, process in zip(pipes, strikers, strict=True):
            pipe.send(None)
            process.join()
            pipe.close()
    return found


WAYS = {"threads": by_threads, "processes": by_processes}


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--many", type=int, default=50)
    asked.add_argument("--rounds", type=int, default=50)
    options = asked.parse_args()
    say = partial(print, flush=True)
    wrong = 0
    for engine in ("sqlite", "postgres"):
        for way, hammer in WAYS.items():
            began = time.monotonic()
            rounds = hammer(engine, options.many, options.rounds)
            wrong += sum(ends["Receipt"] != 1 for ends in rounds)
            total = sum(rounds, Counter())
            took = time.monotonic() - began
            say(
                f"{engine:8} {options.many} {way:9} {options.rounds} rounds: {dict(total)}, {took:.1f} s"
            )
    return min(wrong, 1)


if __name__ == "__main__":
    raise SystemExit(main())
