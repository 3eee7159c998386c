"""Scale, on both engines: many principals, many workers, and a guessing storm at one principal beside normal traffic.

Neither engine waits for a disk here (SQLite NORMAL, PostgreSQL with synchronous_commit = off): the disk would hide what
grows. The server is the one of ``postgres.py``.
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

import postgres
import sqlite
import vmfa
from devices import ACCOUNT, STEP, Clock, EncodingStore, Phone, phone_over, registry_over
from measure import Facts, Row, Run, Table, alternated, compared, figure, main
from vmfa.stores.postgres import PostgresStore
from workers import SPAWN, Maker, in_processes, in_threads, signing_in, user

FORTUNE = random.Random(4711)
Place = Callable[[str], str]  # from a label to a new place for a store: the path of a file, or a connection string
Row6 = tuple[str, str, str, int, str, str]


def is_file(where: str) -> bool:
    return where.startswith("/")


def store_at(where: str) -> Any:
    if is_file(where):
        return vmfa.SQLiteStore(where, unsafe_not_durable=True, timeout=60)
    return PostgresStore(where, unsafe_not_durable=True, timeout=60)


def raw_at(where: str, name: str) -> Any:
    return sqlite.RawStatements(where, "NORMAL", name) if is_file(where) else postgres.RawStatements(where, name)


# Many principals


class Population:
    """A store of *size* principals. The *real* ones, scattered among them, sign in, one after the other."""

    def __init__(self, where: str, size: int, real: Sequence[tuple[vmfa.PrincipalId, vmfa.Key]], rows: Iterable[Row6]
                 ) -> None:
        self.store = store_at(where)
        self.clock = Clock()
        self._registry = registry_over(self.store, self.clock)
        self._next = cycle(FORTUNE.sample(real, len(real)))
        self.store.load(user("nobody"))
        self.store.close()
        filled = scattered(list(rows), size)
        (fill_file if is_file(where) else fill_server)(where, filled)

    def accept(self) -> float:
        """Somebody signs in. The seconds of the verification alone: the phone's own work is left out."""
        self.clock.now += STEP
        who, key = next(self._next)
        code = vmfa.totp(key, self.clock.now)
        began = time.perf_counter()
        self._registry.verify(who, code)
        return time.perf_counter() - began


def scattered(real: Sequence[Row6], size: int) -> Iterator[Row6]:
    """*real* rows, each behind its share of others, *size* in all."""
    _, _, _, revision, state, tag = real[0]
    for number, row in enumerate(real):
        yield row
        for _ in range(size * number // len(real) + 1, size * (number + 1) // len(real)):
            yield ACCOUNT, "user", some_name(), revision, state, tag


def some_name() -> str:
    return f"u-{FORTUNE.getrandbits(64):016x}"


def fill_file(path: str, rows: Iterable[Row6]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN IMMEDIATE")
        db.executemany(sqlite.INSERT, rows)
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def fill_server(conninfo: str, rows: Iterable[Row6]) -> None:
    with psycopg.connect(conninfo, autocommit=True) as db:
        with db.cursor().copy("COPY vmfa_principal FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        db.execute("VACUUM ANALYZE vmfa_principal")
        db.execute("CHECKPOINT")


def many_principals(run: Run, engines: Mapping[str, Place]) -> Iterator[Table]:
    sizes = [1_000, 100_000] if run.quick else [1_000, 10_000, 100_000, 1_000_000]
    rounds, verifications = run.rounds(60), 60
    enrolled, clock = EncodingStore(), Clock()
    phones = [Phone(registry_over(enrolled, clock), clock, user(some_name())) for _ in range(rounds * verifications)]
    keys = [(phone.who, phone.key) for phone in phones]
    rows = [enrolled._rows[phone.who] for phone in phones]
    drawn: dict[str, list[Row]] = {}
    for engine, place in engines.items():
        people = {}
        for size in sizes:
            real = min(size, len(phones))  # nobody signs in twice, but in the smallest
            people[f"{size:,}"] = Population(place(f"principals_{size}"), size, keys[:real], rows[:real])
        names = list(people)
        seen: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            times: dict[str, list[float]] = {name: [] for name in names}
            for _ in range(verifications):
                FORTUNE.shuffle(names)
                for name in names:
                    times[name].append(people[name].accept())
            for name, series in times.items():
                seen[name].append(median(series))
        for population in people.values():
            population.store.close()
        first, *more = people
        series = {"floor": seen[first], **{name: seen[name] for name in more}}
        drawn[engine] = compared(series, goals={more[-1]: (1.3, 1.5)})
        question = f"A code is accepted in a store of many, over one of {first} principals ({engine})"
        yield Table(question, drawn[engine], ["Nobody signs in twice, but in the smallest store"])
    if run.out:
        with figure(run.out / "scale-principals.svg", "principals in the store", "time of a verification") as axes:
            axes.set(xscale="log", ylim=(0, 2))
            draw_ratios(axes, sizes, drawn)


def draw_ratios(axes: Any, across: Sequence[int], drawn: Mapping[str, Sequence[Row]]) -> None:
    for engine, rows in drawn.items():
        errors = [[row.ratio - row.low for row in rows], [row.high - row.ratio for row in rows]]
        axes.errorbar(across, [row.ratio for row in rows], yerr=errors, marker="o", capsize=4, label=engine)


# Many workers


def ours(where: str, name: str, attempts: int) -> Callable[[], None]:
    return signing_in(store_at(where), name, attempts)


def floor(where: str, name: str, attempts: int) -> Callable[[], None]:
    """The raw statements of as many sign-ins over a connection of one's own, and the verifications in memory."""
    in_memory = phone_over(vmfa.MemoryStore())
    in_memory.prepare(attempts)
    return raw_statements(where, name, attempts, in_memory.accept)


def raw_statements(
    where: str, name: str, attempts: int, verification: Callable[[], None] = lambda: None
) -> Callable[[], None]:
    raw = raw_at(where, name)

    def work() -> None:
        with closing(raw):
            for _ in range(attempts):
                raw.run()
                verification()

    return work


def many_workers(run: Run, engine: str, place: Place) -> Table:
    attempts, repeats, counts = (100, 1, [1, 4]) if run.quick else (500, 5, [1, 2, 4, 8])
    facts: list[tuple[str, ...]] = []
    drawn: dict[str, list[float]] = {}
    for kind, how in (("threads", in_threads), ("processes", in_processes)):
        for count in counts:
            speeds: dict[Maker, list[float]] = {ours: [], floor: [], raw_statements: []}
            for repeat in range(repeats):
                for maker in FORTUNE.sample(list(speeds), len(speeds)):
                    where = place(f"{maker.__name__}_{kind}_{count}_{repeat}")
                    prepare(where, maker)
                    speeds[maker].append(how(maker, where, count, attempts))
            for name, series in zip(("vmfa", "floor", "raw statements"), speeds.values(), strict=True):
                drawn.setdefault(f"{name}, {kind}", []).append(median(series))
            mine, *bases = speeds.values()  # one after the other in each repeat
            shares = [median(own / speed for own, speed in zip(mine, base, strict=True)) for base in bases]
            alone = drawn[f"vmfa, {kind}"]
            facts.append((f"{count} {kind}", *[f"{share:.2f}" for share in (*shares, alone[-1] / alone[0])]))
    if run.out:
        name = "sqlite" if is_file(where) else "postgres"
        with figure(run.out / f"scale-workers-{name}.svg", "workers", "throughput, floor of one thread = 1") as axes:
            axes.set(xticks=counts, ylim=(0, max(map(max, drawn.values())) * 1.05 / drawn["floor, threads"][0]))
            for number, (label, series) in enumerate(drawn.items()):
                style = f"C{number % 3}" + ("o-" if "threads" in label else "s--")
                axes.plot(counts, [speed / drawn["floor, threads"][0] for speed in series], style, label=label)
    head = ("workers", "of the throughput of the floor", "of raw statements alone", "of our throughput with one")
    return Facts(f"Throughput of many workers, each on a principal of its own ({engine})", head, facts,
                 "floor: as many workers with raw statements and verifications in memory. Reach 0.8, never 0.6")


def prepare(where: str, maker: Maker) -> None:
    """The table that the workers find."""
    if maker is ours:
        with store_at(where) as store:
            store.load(user("nobody"))
    else:
        raw_at(where, "nobody").close()


# A guessing storm


def storm(where: str, ready: Any, over: Any) -> None:
    """Guess at the victim until told to stop, as fast as the store lets. Time stands still: all is throttled."""
    with store_at(where) as store:
        registry = registry_over(store, Clock())
        ready.wait()
        while not over.is_set():
            try:
                registry.verify(user("victim"), f"{FORTUNE.randrange(10**6):06}")
            except vmfa.Throttled:
                continue


@contextmanager
def storming(where: str, guessers: int) -> Iterator[None]:
    ready, over = SPAWN.Barrier(guessers + 1), SPAWN.Event()
    processes = [SPAWN.Process(target=storm, args=(where, ready, over)) for _ in range(guessers)]
    for process in processes:
        process.start()
    ready.wait()
    yield
    over.set()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def guessing_storm(run: Run, engines: Mapping[str, Place]) -> Iterator[Table]:
    """Normal traffic while processes guess, in the same store and, by turns, in another that is left alone."""
    counts = [2] if run.quick else [1, 2, 4, 8]
    drawn: dict[str, list[Row]] = {}
    for engine, place in engines.items():
        rows = []
        with ExitStack() as stores:
            places = {"floor": place("storm_elsewhere"), "same store": place("storm_here")}
            opened = {name: stores.enter_context(store_at(where)) for name, where in places.items()}
            people = {name: phone_over(store, user("alice")) for name, store in opened.items()}
            victim = phone_over(opened["same store"], user("victim"))
            for _ in range(3):
                victim.refused(victim.wrong(), vmfa.CodeRejected)
            before = opened["same store"].load(victim.who)
            operations = {name: alice.accept for name, alice in people.items()}
            for count in counts:
                with storming(places["same store"], count):
                    seen = alternated(operations, rounds=run.rounds(60), operations_a_round=30)
                _, row = compared(seen, goals={"same store": (1.2, 1.2)})
                rows.append(replace(row, name=f"{count} processes guess"))
            assert opened["same store"].load(victim.who) == before, "a throttled attempt wrote something"
        drawn[engine] = rows
        yield Table(f"Normal traffic, while others guess at one principal of the same store ({engine})", rows, [
            "floor: by turns, in another store on the same machine, at which nobody guesses"
        ])
    if run.out:
        with figure(run.out / "scale-storm.svg", "processes that guess at one principal",
                    "time of somebody else's verification") as axes:
            axes.set(xticks=counts, ylim=(0, 2))
            draw_ratios(axes, counts, drawn)


def answer(run: Run) -> Iterator[Table]:
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        server = opened.enter_context(postgres.a_server())

        def schema(label: str) -> str:
            return postgres.committing(server, opened.enter_context(postgres.schema(server, label)), "off")

        engines: dict[str, Place] = {"SQLite": lambda label: str(folder / f"{label}.db"), "PostgreSQL": schema}
        yield from many_principals(run, engines)
        for engine, place in engines.items():
            yield many_workers(run, engine, place)
        yield from guessing_storm(run, engines)


if __name__ == "__main__":
    main(answer, __file__)
