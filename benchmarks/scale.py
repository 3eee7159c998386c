"""Scale: many principals, many workers, and guessing at one principal beside normal traffic.

The databases do not wait for the disk here (SQLite NORMAL, PostgreSQL synchronous_commit = off):
the disk would hide the differences. The PostgreSQL server is the one of ``postgres.py``.
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
from statistics import median, quantiles
from typing import Any

import psycopg

import postgres
import sqlite
import vmfa
from measure import (
    FLOOR,
    Limits,
    Options,
    RatioTable,
    Row,
    Series,
    Table,
    figure,
    main,
    ratio_rows,
    text_table,
    time_operations,
)
from users import ACCOUNT, START, STEP, EncodingStore, StoredRow, User, registry_over, user_over
from vmfa.stores.postgres import PostgresStore
from vmfa.testing import FrozenClock
from workers import SPAWN, MakeWork, in_processes, in_threads, principal, sign_ins

RANDOM = random.Random(4711)
NewPlace = Callable[[str], str]
"""Returns the place of a new store, given a label: a path or a connection string."""


def is_file(place: str) -> bool:
    return place.startswith("/")


def store_at(place: str) -> Any:
    if is_file(place):
        return vmfa.SQLiteStore(place, unsafe_not_durable=True, timeout=60)
    return PostgresStore(place, unsafe_not_durable=True, timeout=60)


def raw_statements_at(place: str, name: str) -> Any:
    if is_file(place):
        return sqlite.RawStatements(place, "NORMAL", name)
    return postgres.RawStatements(place, name)


# Many principals


class Population:
    """A store of *size* principals. The *active* ones, at random places, sign in one by one."""

    def __init__(
        self,
        place: str,
        size: int,
        active: Sequence[tuple[vmfa.PrincipalId, vmfa.Key]],
        rows: Sequence[StoredRow],
    ) -> None:
        self.store = store_at(place)
        self.clock = FrozenClock(START)
        self._registry = registry_over(self.store, self.clock)
        self._next = cycle(RANDOM.sample(active, len(active)))
        self.store.load(principal("not stored"))  # creates the tables
        self.store.close()
        fill = fill_file if is_file(place) else fill_server
        fill(place, among_others(rows, size))

    def sign_in(self) -> float:
        """Return the seconds of a verification, without the computation of the code."""
        self.clock.advance(STEP)
        user, key = next(self._next)
        code = vmfa.totp(key, self.clock())
        start = time.perf_counter()
        self._registry.verify(user, code)
        return time.perf_counter() - start


def among_others(rows: Sequence[StoredRow], size: int) -> Iterator[StoredRow]:
    """Yield *rows* with copies under other names between them, *size* in all."""
    _, _, _, revision, state, tag, audit_tag = rows[0]
    for number, row in enumerate(rows):
        yield row
        for _ in range(size * number // len(rows) + 1, size * (number + 1) // len(rows)):
            yield ACCOUNT, "user", random_name(), revision, state, tag, audit_tag


def random_name() -> str:
    return f"u-{RANDOM.getrandbits(64):016x}"


def fill_file(path: str, rows: Iterable[StoredRow]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN IMMEDIATE")
        db.executemany(sqlite.INSERT, rows)
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def fill_server(conninfo: str, rows: Iterable[StoredRow]) -> None:
    columns = "account, kind, name, revision, state, tag, audit_tag"
    with psycopg.connect(conninfo, autocommit=True) as db:
        with db.cursor().copy(f"COPY vmfa_principal ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        db.execute("VACUUM ANALYZE vmfa_principal")
        db.execute("CHECKPOINT")


def many_principals(options: Options, databases: Mapping[str, NewPlace]) -> Iterator[Table]:
    sizes = [1_000, 100_000] if options.quick else [1_000, 10_000, 100_000, 1_000_000]
    rounds, sign_ins_per_round = options.rounds(60), 60
    enrolled, clock = EncodingStore(), FrozenClock(START)
    registry = registry_over(enrolled, clock)
    users = [
        User(registry, clock, principal(random_name()))
        for _ in range(rounds * sign_ins_per_round)
    ]
    keys = [(user.principal, user.key) for user in users]
    rows = [enrolled.rows[user.principal] for user in users]
    plotted: dict[str, list[Row]] = {}
    for database, new_place in databases.items():
        populations = {}
        for size in sizes:
            active = min(size, len(users))  # only in the smallest store, users sign in twice
            place = new_place(f"principals_{size}")
            populations[size] = Population(place, size, keys[:active], rows[:active])
        series: dict[int, list[float]] = {size: [] for size in sizes}
        order = list(sizes)
        for _ in range(rounds):
            times: dict[int, list[float]] = {size: [] for size in sizes}
            for _ in range(sign_ins_per_round):
                RANDOM.shuffle(order)
                for size in order:
                    times[size].append(populations[size].sign_in())
            for size in sizes:
                series[size].append(median(times[size]))
        for population in populations.values():
            population.store.close()
        smallest, *larger, largest = sizes
        named: Series = {FLOOR: series[smallest], database: series[largest]}
        named |= {f"{size:,}": series[size] for size in larger}
        table = RatioTable(
            title=f"A code is accepted, {largest:,} principals in {database}",
            section="scale",
            question=f"{largest:,} principals compared with {smallest:,}: time of a verification",
            floor=f"a store of {smallest:,} principals",
            rows=ratio_rows(named, limits={database: Limits(1.3, 1.5)}),
        )
        by_case = {row.case: row for row in table.rows}
        plotted[database] = [by_case[case] for case in (FLOOR, *list(named)[2:], database)]
        yield table
    if options.out:
        path = options.out / "scale-principals.svg"
        with figure(path, "principals in the store", "time of a verification") as axes:
            axes.set(xscale="log", ylim=(0, 2))
            plot_ratios(axes, sizes, plotted)


def plot_ratios(axes: Any, x: Sequence[int], plotted: Mapping[str, Sequence[Row]]) -> None:
    for label, rows in plotted.items():
        errors = [[row.ratio - row.low for row in rows], [row.high - row.ratio for row in rows]]
        ratios = [row.ratio for row in rows]
        axes.errorbar(x, ratios, yerr=errors, marker="o", capsize=4, label=label)


# Many workers


def vmfa_work(place: str, name: str, operations: int) -> Callable[[], None]:
    return sign_ins(store_at(place), name, operations)


def floor_work(place: str, name: str, operations: int) -> Callable[[], None]:
    """Return the work of the floor: the raw statements, and a verification in memory."""
    in_memory = user_over(vmfa.MemoryStore())
    in_memory.prepare(operations)
    return raw_work(place, name, operations, in_memory.sign_in)


def raw_work(
    place: str, name: str, operations: int, verification: Callable[[], None] = lambda: None
) -> Callable[[], None]:
    statements = raw_statements_at(place, name)

    def work() -> None:
        with closing(statements):
            for _ in range(operations):
                statements.run()
                verification()

    return work


WORK: Mapping[str, MakeWork] = {
    "vmfa": vmfa_work, FLOOR: floor_work, "raw statements": raw_work
}  # fmt: skip


def create_table(place: str, case: str) -> None:
    """Create the table that the workers use."""
    if case == "vmfa":
        with store_at(place) as store:
            store.load(principal("not stored"))
    else:
        raw_statements_at(place, "not used").close()


def many_workers(options: Options, database: str, new_place: NewPlace) -> Iterator[Table]:
    """Measure throughput: operations a second of all workers, each one on its own principal."""
    operations, repeats, counts = (100, 1, [1, 4]) if options.quick else (500, 5, [1, 2, 4, 8])
    cells: list[tuple[str, ...]] = []
    plotted: dict[str, list[float]] = {}
    for kind, run in (("threads", in_threads), ("processes", in_processes)):
        for count in counts:
            speeds: Series = {case: [] for case in WORK}
            for repeat in range(repeats):
                for number, case in enumerate(RANDOM.sample(list(WORK), len(WORK))):
                    place = new_place(f"{kind}_{count}_{repeat}_{number}")
                    create_table(place, case)
                    speeds[case].append(run(WORK[case], place, count, operations))
            for case, series in speeds.items():
                plotted.setdefault(f"{case}, {kind}", []).append(median(series))
            row = throughput_ratio(speeds, FLOOR, database)
            raw = throughput_ratio(speeds, "raw statements", database)
            ours = plotted[f"vmfa, {kind}"]
            ratios = (row.ratio, raw.ratio, ours[-1] / ours[0])
            cells.append((f"{count} {kind}", *[f"{ratio:.2f}" for ratio in ratios]))
        yield RatioTable(
            title=f"Throughput of {counts[-1]} {kind}, {database}",
            section="scale",
            question=f"{counts[-1]} {kind}, each with its principal: throughput",
            floor=f"{counts[-1]} {kind} with {sqlite.RAW_AND_MEMORY}",
            rows=[row],
        )
    if options.out:
        name = "postgres" if database == "PostgreSQL" else "sqlite"
        path = options.out / f"scale-workers-{name}.svg"
        one = plotted[f"{FLOOR}, threads"][0]
        with figure(path, "workers", "throughput, floor of one thread = 1") as axes:
            highest = max(max(series) for series in plotted.values())
            axes.set(xticks=counts, ylim=(0, highest * 1.05 / one))
            for number, (label, series) in enumerate(plotted.items()):
                style = f"C{number % 3}" + ("o-" if "threads" in label else "s--")
                axes.plot(counts, [speed / one for speed in series], style, label=label)
    yield text_table(
        f"Throughput of many workers, each with its principal, {database}",
        ("workers", "vmfa / floor", "vmfa / raw statements", "vmfa / vmfa with one worker"),
        cells,
        f"floor: as many workers with {sqlite.RAW_AND_MEMORY}",
    )


def throughput_ratio(speeds: Series, base: str, database: str) -> Row:
    """Return our throughput over that of *base*, by the repeats of one count of workers.

    Only PostgreSQL has limits: a SQLite file has one writer at a time.
    """
    ratios = [speed / other for speed, other in zip(speeds["vmfa"], speeds[base], strict=True)]
    low, middle, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    limits = Limits(0.8, 0.6) if database == "PostgreSQL" else None
    return Row(database, 1 / median(speeds["vmfa"]), middle, low, high, limits)


# Guessing at one principal


def guess(place: str, ready: Any, stop: Any) -> None:
    """Guess at the victim as fast as possible. The clock is frozen: every guess is throttled."""
    with store_at(place) as store:
        registry = registry_over(store, FrozenClock(START))
        ready.wait()
        while not stop.is_set():
            try:
                registry.verify(principal("victim"), f"{RANDOM.randrange(10**6):06}")
            except vmfa.Throttled:
                continue


@contextmanager
def guessing_processes(place: str, count: int) -> Iterator[None]:
    ready, stop = SPAWN.Barrier(count + 1), SPAWN.Event()
    processes = [SPAWN.Process(target=guess, args=(place, ready, stop)) for _ in range(count)]
    for process in processes:
        process.start()
    ready.wait()
    yield
    stop.set()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def guessing(options: Options, databases: Mapping[str, NewPlace]) -> Iterator[Table]:
    """Measure sign-ins of another principal: in the store under attack, and in an idle one."""
    counts = [2] if options.quick else [1, 2, 4, 8]
    plotted: dict[str, list[Row]] = {}
    for database, new_place in databases.items():
        rows = []
        with ExitStack() as stack:
            places = {FLOOR: new_place("guessing_idle"), database: new_place("guessing")}
            stores = {case: stack.enter_context(store_at(place)) for case, place in places.items()}
            operations = {
                case: user_over(store, principal("alice")).sign_in
                for case, store in stores.items()
            }
            victim = user_over(stores[database], principal("victim"))
            for _ in range(3):
                victim.expect(vmfa.CodeRejected, victim.wrong_code())
            before = stores[database].load(victim.principal)
            for count in counts:
                with guessing_processes(places[database], count):
                    series = time_operations(
                        operations, rounds=options.rounds(60), operations_per_round=30
                    )
                rows.append(ratio_rows(series, limits={database: Limits(1.2, 1.2)})[-1])
            unchanged = stores[database].load(victim.principal) == before
        plotted[database] = rows
        yield RatioTable(
            title=f"Sign-ins while {counts[-1]} processes guess at another principal, {database}",
            section="scale",
            question=f"{counts[-1]} processes guess at one principal: "
            "time of a verification for another principal",
            floor="alternately, in another store on the same machine, at which no process guesses",
            rows=[
                *[
                    replace(row, case=f"{count} processes guess", limits=None)
                    for count, row in zip(counts[:-1], rows, strict=False)
                ],
                rows[-1],
            ],
            notes=[f"a throttled guess writes nothing: {'yes' if unchanged else 'NO'}"],
        )
        assert unchanged, "a throttled guess changed the record"
    if options.out:
        path = options.out / "scale-storm.svg"
        label = "time of a verification for another principal"
        with figure(path, "processes that guess at one principal", label) as axes:
            axes.set(xticks=counts, ylim=(0, 2))
            plot_ratios(axes, counts, plotted)


def answer(options: Options) -> Iterator[Table]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(postgres.server())

        def new_schema(label: str) -> str:
            name = stack.enter_context(postgres.schema(server, label))
            return postgres.with_settings(server, name, "off")

        databases: dict[str, NewPlace] = {
            "SQLite": lambda label: str(folder / f"{label}.db"), "PostgreSQL": new_schema
        }  # fmt: skip
        yield from many_principals(options, databases)
        for database, new_place in databases.items():
            yield from many_workers(options, database, new_place)
        yield from guessing(options, databases)


if __name__ == "__main__":
    main(answer, __file__)
