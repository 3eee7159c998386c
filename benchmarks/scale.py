"""Scale on SQLite: many principals, many workers, and a guessing storm at one principal beside normal traffic."""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import Any

import vmfa
from devices import ACCOUNT, STEP, Clock, Phone, phone_over, registry_over
from measure import Facts, Row, Run, Table, compared, main, plot
from sqlite import SELECT, TABLE, UPDATE, a_row
from workers import SPAWN, Maker, in_processes, in_threads, signing_in, user

FORTUNE = random.Random(4711)
INSERT = "INSERT INTO principal (account, kind, name, revision, state, tag) VALUES (?, ?, ?, ?, ?, ?)"


def some_name() -> str:
    return f"u-{FORTUNE.getrandbits(64):016x}"


# Many principals


class Population:
    """A store of *size* principals, of whom some are real and sign in, in random order."""

    def __init__(self, path: Path, size: int, real: int = 100) -> None:
        self.store = vmfa.SQLiteStore(path, unsafe_not_durable=True)
        self.clock = Clock()
        registry = registry_over(self.store, self.clock)
        self.phones = [Phone(registry, self.clock, user(some_name())) for _ in range(real)]
        self.store.close()
        *_, revision, state, tag = a_row()
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = OFF")
            db.execute("BEGIN IMMEDIATE")
            rows = ((ACCOUNT, "user", some_name(), revision, state, tag) for _ in range(size - real))
            db.executemany(INSERT, rows)
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def accept(self) -> float:
        """Somebody signs in. The seconds of the verification alone: the phone's own work is left out."""
        self.clock.now += STEP
        phone = FORTUNE.choice(self.phones)
        code = vmfa.totp(phone.key, self.clock.now)
        began = time.perf_counter()
        phone.registry.verify(phone.who, code)
        return time.perf_counter() - began


def many_principals(run: Run, folder: Path) -> Table:
    sizes = [1_000, 100_000] if run.quick else [1_000, 10_000, 100_000, 1_000_000]
    populations = {f"{size:,} principals": Population(folder / f"{size}.db", size) for size in sizes}
    names = list(populations)
    seen: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(run.rounds(60)):
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(60):
            FORTUNE.shuffle(names)
            for name in names:
                times[name].append(populations[name].accept())
        for name, series in times.items():
            seen[name].append(median(series))
    for population in populations.values():
        population.store.close()
    first, *more = [f"{size:,} principals" for size in sizes]
    goals = {more[-1]: (1.3, 1.5)}
    rows = compared({"floor": seen[first], **{name: seen[name] for name in more}}, goals=goals)
    if run.out:
        draw_ratios(run.out / "scale-principals", "principals in the store", sizes, rows)
    return Table(f"A code is accepted in a store of many, over one of {first} (SQLite, WAL, NORMAL)", rows)


def draw_ratios(path: Path, label: str, sizes: Sequence[int], rows: Sequence[Row]) -> None:
    def draw(axes: Any) -> None:
        axes.errorbar(
            sizes, [row.ratio for row in rows], marker="o", capsize=4,
            yerr=[[row.ratio - row.low for row in rows], [row.high - row.ratio for row in rows]],
        )
        highest = max(row.high for row in rows)
        axes.set(xscale="log", xlabel=label, ylabel="time of a verification, ratio", ylim=(0, 1.2 * highest))

    plot(path, draw)


# Many workers


def ours(path: str, name: str, attempts: int) -> Callable[[], None]:
    return signing_in(vmfa.SQLiteStore(path, unsafe_not_durable=True, timeout=60), name, attempts)


def floor(path: str, name: str, attempts: int) -> Callable[[], None]:
    """The raw statements of as many sign-ins over a connection of one's own, and the verifications in memory."""
    in_memory = phone_over(vmfa.MemoryStore())
    in_memory.prepare(attempts)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=60)
    db.execute("PRAGMA synchronous = NORMAL")
    *_, state, tag = a_row()
    key = (ACCOUNT, "user", name)
    db.execute(INSERT, (*key, 1, state, tag))

    def work() -> None:
        with closing(db):
            for _ in range(attempts):
                revision, state, tag = db.execute(SELECT, key).fetchone()
                db.execute(UPDATE, (revision + 1, state, tag, *key, revision, tag))
                in_memory.accept()

    return work


def many_workers(run: Run, folder: Path) -> Table:
    attempts, repeats, counts = (200, 1, [1, 4]) if run.quick else (1_000, 3, [1, 2, 4, 8])
    facts: list[tuple[str, ...]] = []
    drawn: dict[str, list[float]] = {}
    for kind, how in (("threads", in_threads), ("processes", in_processes)):
        for count in counts:
            speeds: dict[Maker, list[float]] = {ours: [], floor: []}
            for repeat in range(repeats):
                for maker in FORTUNE.sample([ours, floor], 2):
                    path = folder / f"{maker.__name__}-{kind}-{count}-{repeat}.db"
                    prepare(path, maker)
                    speeds[maker].append(how(maker, str(path), count, attempts))
            for maker, series in speeds.items():
                drawn.setdefault(f"{maker.__name__}, {kind}", []).append(median(series))
            mine, base = drawn[f"ours, {kind}"], drawn[f"floor, {kind}"]
            facts.append((f"{count} {kind}", f"{mine[-1] / base[-1]:.2f}", f"{mine[-1] / mine[0]:.2f}"))
    if run.out:
        draw_speeds(run.out / "scale-workers", counts, drawn)
    head = ("workers", "of the throughput of the floor", "of our throughput with one")
    return Facts("Throughput of many workers, each on a principal of its own (SQLite, WAL, NORMAL)", head, facts,
                 "floor: as many workers with raw statements and verifications in memory")


def prepare(path: Path, maker: Maker) -> None:
    """A file in which the workers find their table."""
    if maker is ours:
        with vmfa.SQLiteStore(path, unsafe_not_durable=True) as store:
            store.load(user("nobody"))
        return
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(TABLE)


def draw_speeds(path: Path, counts: Sequence[int], drawn: dict[str, list[float]]) -> None:
    def draw(axes: Any) -> None:
        base = drawn["floor, threads"][0]
        for name, speeds in drawn.items():
            axes.plot(counts, [speed / base for speed in speeds], marker="o", label=name)
        axes.set(xlabel="workers", ylabel="throughput, floor of one thread = 1", ylim=(0, None))
        axes.legend()

    plot(path, draw)


# A guessing storm


def storm(path: Path, ready: Any, over: Any) -> None:
    """Guess at the victim until told to stop, as fast as the store lets. Time stands still: all is throttled."""
    with vmfa.SQLiteStore(path, unsafe_not_durable=True, timeout=60) as store:
        registry = registry_over(store, Clock())
        ready.wait()
        while not over.is_set():
            try:
                registry.verify(user("victim"), f"{FORTUNE.randrange(10**6):06}")
            except vmfa.CodeRejected:
                continue


def guessing_storm(run: Run, folder: Path) -> Table:
    """Normal traffic, while processes guess: at a principal of the same store, or of another (the control)."""
    guessers, repeats, attempts = (2, 2, 200) if run.quick else (8, 5, 1_500)
    seen: dict[str, list[float]] = {"floor": [], "same store": []}
    with ExitStack() as stores:
        phones = {}
        for name in seen:
            path = folder / f"{name}.db"
            store = stores.enter_context(vmfa.SQLiteStore(path, unsafe_not_durable=True, timeout=60))
            clock = Clock()
            registry = registry_over(store, clock)
            victim = Phone(registry, clock, user("victim"))
            phones[path] = Phone(registry, clock, user("alice"))
            for _ in range(3):
                victim.refused(victim.wrong(), vmfa.CodeRejected)
        *_, alice = phones.values()
        for _ in range(repeats):
            for name, path in zip(seen, phones, strict=True):
                seen[name].append(beside_a_storm(alice, path, guessers, attempts))
    rows = compared(seen, goals={"same store": (1.2, 1.2)})
    return Table(f"Normal traffic beside {guessers} processes that guess at one principal", rows, [
        "floor: the same storm in another database file, so that the processor is as busy"
    ])


def beside_a_storm(phone: Phone, path: Path, guessers: int, attempts: int) -> float:
    """The median seconds of a normal verification during the storm."""
    ready, over = SPAWN.Barrier(guessers + 1), SPAWN.Event()
    processes = [SPAWN.Process(target=storm, args=(path, ready, over)) for _ in range(guessers)]
    for process in processes:
        process.start()
    ready.wait()
    phone.prepare(attempts)
    times = []
    for _ in range(attempts):
        began = time.perf_counter()
        phone.accept()
        times.append(time.perf_counter() - began)
    over.set()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return median(times)


def answer(run: Run) -> Iterator[Table]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for question in (many_principals, many_workers, guessing_storm):
            yield question(run, folder)


if __name__ == "__main__":
    main(answer, __file__)
