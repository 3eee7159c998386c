"""Every schedule, not a lucky one: real processes, real stores, one statement at a time, in every order there is.

Each worker is a process with its own registry over its own store. It asks before every statement; the controller grants
one worker at a time and, run after run, goes depth first through all choices of whom to grant (stateless model checks);
a worker that waits for a row lock of PostgreSQL is blocked until its statement comes back; one that found SQLite busy
sleeps until somebody else has moved. What the processes answered and left must be what some serial order gives.
"""

from __future__ import annotations

import multiprocessing
import random
import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import permutations
from multiprocessing.connection import Connection
from typing import Any, Protocol

import psycopg
import psycopg_pool

from support import MASTER
from vmfa import (
    Actor,
    DerivedKeys,
    DeviceRegistry,
    MemoryStore,
    Principal,
    PrincipalId,
    SQLiteStore,
    Store,
    VmfaError,
)
from vmfa.history import check_chain
from vmfa.models import Deactivation
from vmfa.record import check_intact
from vmfa.stores.postgres import PostgresStore

WHO = PrincipalId.user("123456789012", "u-4711")
SERVICE = Actor.trusted_service("schedules")
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Job:
    """One operation at Unix time ``at``: the registry's method of this name.

    One that ``yields`` may answer StoreContended, having done nothing, where others were at work.
    """

    name: str
    at: float
    arguments: dict[str, Any] = field(default_factory=dict)
    yields: bool = False

    def do(self, store: Store) -> str:
        """What it answers, in words that do not depend on chance."""
        registry = DeviceRegistry(
            store, keys=DerivedKeys(MASTER), issuer="Example", clock=lambda: self.at
        )
        try:
            if self.name == "read":
                return self._read(store)
            answer = getattr(registry, self.name)(WHO, **self.arguments)
        except VmfaError as error:
            return type(error).__name__
        return (
            "done" if answer is None or isinstance(answer, Deactivation) else type(answer).__name__
        )

    def _read(self, store: Store) -> str:
        record = store.load(WHO)
        whole = len(store.history(WHO)) >= record.events
        return "whole" if whole else "a record without its events"


def left_behind(store: Store) -> str:
    """What the store holds, without what is random. Raises where it is not sound."""
    keys = DerivedKeys(MASTER)
    record, history = store.load(WHO), store.history(WHO)
    check_intact(record, keys)
    head = check_chain(history, 0, "", keys, record.pruned)
    assert head == record.head, "the history does not end in its head"
    assert len(history) == record.events, "the history has lost or won events"
    device = record.device
    counters = device and (
        device.sync.value,
        device.last_step,
        device.failures,
        device.budget,
        device.drift,
    )
    session = record.enrollment and record.enrollment.attempts
    return f"revision {record.revision}, {counters=}, {session=}, {[event.type.value for event in history]}"


def serial_ends(start: Store, jobs: Sequence[Job]) -> set[tuple[tuple[str, ...], str]]:
    """What the jobs answer and leave behind, done one after the other, in every order."""
    ends = set()
    everybody = range(len(jobs))
    patient = [which for which in everybody if not jobs[which].yields]
    for order in [*permutations(everybody), *permutations(patient)]:
        store = copied(start)
        answers = dict.fromkeys(everybody, "StoreContended")
        for which in order:
            answers[which] = jobs[which].do(store)
        ends.add((tuple(answers.values()), left_behind(store)))
    return ends


class SealedMemory(MemoryStore):
    """Its records are sealed, for they go on to other stores."""

    volatile = False


def copied(store: Store) -> MemoryStore:
    copy = SealedMemory()
    record = store.load(WHO)
    if record.revision:
        copy.commit(Principal(id=WHO), record, store.history(WHO))
    return copy


# Mutants: what a statement might have been. Each runs one or several statements instead, each a step of its own.

Execute = Callable[[str, Any], Any]
COMPARED = re.compile(r"revision = (\?|%s) AND tag = (\?|%s)")


def as_written(sql: str, values: Any, execute: Execute) -> Any:
    return execute(sql, values)


def never_compared(sql: str, values: Any, execute: Execute) -> Any:
    return execute(COMPARED.sub(r"(revision = \1 OR tag = \2 OR 1 = 1)", sql), values)


def compared_loosely(sql: str, values: Any, execute: Execute) -> Any:
    return execute(COMPARED.sub(r"revision >= \1 AND length(tag) = length(\2)", sql), values)


def checked_then_written(sql: str, values: Any, execute: Execute) -> Any:
    if not sql.startswith("UPDATE"):
        return execute(sql, values)
    table, where = sql.split()[1], sql[sql.index("WHERE") :]
    if execute(f"SELECT count(*) FROM {table} {where}", values[3:]).fetchone()[0] == 1:
        return never_compared(sql, values, execute)
    return execute(sql, values)


def first_record_overwritten(sql: str, values: Any, execute: Execute) -> Any:
    upsert = """ON CONFLICT (account, kind, name) DO UPDATE
        SET revision = excluded.revision, state = excluded.state, tag = excluded.tag"""
    return execute(sql.replace("ON CONFLICT DO NOTHING", upsert), values)


def no_transaction(sql: str, values: Any, execute: Execute) -> Any:
    return execute(
        "SELECT 1" if sql.split(maxsplit=1)[0] in ("BEGIN", "COMMIT", "ROLLBACK") else sql, values
    )


MUTANTS: dict[str, Callable[[str, Any, Execute], Any]] = {
    mutant.__name__: mutant
    for mutant in (
        never_compared,
        compared_loosely,
        checked_then_written,
        first_record_overwritten,
        no_transaction,
    )
}


# The worker's side


class Stepper:
    """Between the store and its database: asks before each statement, and tells how it ended."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.mutant: Callable[[str, Any, Execute], Any] | None = None  # None: nobody is playing

    def statement(self, sql: str, values: Any, execute: Execute) -> Any:
        if self.mutant is None:
            return execute(sql, values)
        return self.mutant(
            sql, values, lambda sql, values: self._step(sql, lambda: execute(sql, values))
        )

    def _step(self, sql: str, work: Callable[[], Any]) -> Any:
        self._pipe.send(("want", " ".join(sql.split()[:3])))
        self._pipe.recv()
        try:
            done = work()
        except Exception as error:
            self._pipe.send(("did", type(error).__name__))
            raise
        self._pipe.send(("did", ""))
        return done

    def sleep(self, seconds: float) -> None:
        if self.mutant is None:
            _sleep(seconds)
        else:
            self._pipe.send(("sleep", ""))
            self._pipe.recv()


_sleep = time.sleep


def worker(pipe: Connection, engine: str, place: str) -> None:
    """Open the real store of *engine*, then do jobs, statement by granted statement."""
    stepper = Stepper(pipe)
    time.sleep = stepper.sleep

    class SteppedConnection(sqlite3.Connection):
        def execute(self, sql: str, values: Any = ()) -> Any:
            return stepper.statement(sql, values, super().execute)

        def executemany(self, sql: str, rows: Any) -> Any:
            return stepper.statement(sql, rows, super().executemany)

    class SteppedCursor(psycopg.Cursor[Any]):
        def execute(self, sql: Any, values: Any = ()) -> Any:  # type: ignore[override]  # as the store calls it
            return stepper.statement(sql, values, super().execute)

    sqlite3.connect = partial(sqlite3.connect, factory=SteppedConnection)
    psycopg.Cursor = SteppedCursor  # type: ignore[misc]  # the store's own name for it
    with ExitStack() as opened:
        store: SQLiteStore | PostgresStore
        if engine == "sqlite":
            store = opened.enter_context(SQLiteStore(place, unsafe_not_durable=True))
            number = 0
        else:
            pool = opened.enter_context(
                psycopg_pool.ConnectionPool(
                    place, kwargs={"autocommit": True}, min_size=1, max_size=1, open=True
                )
            )
            store = PostgresStore(pool, unsafe_not_durable=True)
            with pool.connection() as connection:
                number = connection.info.backend_pid
        store.load(WHO)
        pipe.send(("ready", number))
        while (given := pipe.recv()) is not None:
            job, mutant = given
            stepper.mutant = MUTANTS.get(mutant, as_written)
            answer = job.do(store)
            stepper.mutant = None
            pipe.send(("end", answer))


# The controller's side


class Database(Protocol):
    """Where the schedules run: read and reset from outside, at once."""

    engine: str
    place: str

    def store(self) -> Store: ...

    def reset(self, start: Store) -> None: ...

    def waits_for_a_lock(self, number: int) -> bool: ...


@dataclass
class Found:
    """A schedule that no serial order explains."""

    trace: list[tuple[int, str]]
    answers: list[str]
    left: str

    def __str__(self) -> str:
        steps = "\n".join(f"  {'      ' * who}{step}" for who, step in self.trace)
        return f"answers {self.answers}, left {self.left}, after\n{steps}"


@dataclass
class Report:
    schedules: int
    bad: list[Found]
    ends: set[tuple[str, ...]]


class Explorer:
    """Processes that do jobs in every order of their statements."""

    def __init__(self, database: Database, processes: int) -> None:
        self._database = database
        self._pipes: list[Connection] = []
        self._workers = []
        for _ in range(processes):
            ours, theirs = SPAWN.Pipe()
            process = SPAWN.Process(
                target=worker, args=(theirs, database.engine, database.place), daemon=True
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._workers.append(process)
        self._numbers = [pipe.recv()[1] for pipe in self._pipes]

    def close(self) -> None:
        for pipe, process in zip(self._pipes, self._workers, strict=True):
            pipe.send(None)
            process.join()
            pipe.close()

    def explore(
        self, start: Store, jobs: Sequence[Job], mutant: str = "", *, sample: int | None = None
    ) -> Report:
        """Every schedule of *jobs*, or a *sample* of so many, at random; with a *mutant*, until one is bad."""
        serial = serial_ends(start, jobs)
        report = Report(0, [], set())
        chance = random.Random(sample)
        choose: Choose = first if sample is None else chance.randrange
        while sample is None or report.schedules < sample:
            self._database.reset(start)
            run = Run(self._pipes[: len(jobs)], self._numbers, self._database, choose)
            run.play(jobs, mutant)
            report.schedules += 1
            report.ends.add(tuple(run.answers))
            try:
                left = left_behind(self._database.store())
            except (VmfaError, AssertionError) as unsound:
                left = f"unsound: {unsound}"
            if (tuple(run.answers), left) not in serial:
                report.bad.append(Found(run.trace, run.answers, left))
                if mutant:
                    return report
            if sample is None:
                following = next_schedule(run.choices)
                if following is None:
                    return report
                choose = after(following)
        return report


Choose = Callable[[int], int]  # of so many workers that could go on, the one that does


def first(among: int) -> int:
    return 0


def after(prefix: list[int]) -> Choose:
    """The choices of *prefix*, then the first there is."""
    left = iter(prefix)
    return lambda among: next(left, 0)


def next_schedule(choices: list[tuple[int, int]]) -> list[int] | None:
    """Depth first: the deepest choice that has another branch takes it."""
    while choices and choices[-1][0] + 1 >= choices[-1][1]:
        choices.pop()
    return [choice for choice, _ in choices[:-1]] + [choices[-1][0] + 1] if choices else None


class Run:
    """One schedule: ``trace`` is what was done, ``choices`` which was taken of how many."""

    def __init__(
        self, pipes: list[Connection], numbers: list[int], database: Database, choose: Choose
    ) -> None:
        self.answers = [""] * len(pipes)
        self.trace: list[tuple[int, str]] = []
        self.choices: list[tuple[int, int]] = []
        self._pipes = pipes
        self._numbers = numbers
        self._database = database
        self._choose = choose
        self._state = ["running"] * len(pipes)  # ready, running, blocked, asleep, awake or ended
        self._wants = [""] * len(pipes)

    def play(self, jobs: Sequence[Job], mutant: str) -> None:
        for pipe, job in zip(self._pipes, jobs, strict=True):
            pipe.send((job, mutant))
        while True:
            self._settle()
            able = [who for who, state in enumerate(self._state) if state in ("ready", "awake")]
            if not able:  # whoever slept may look again
                able = [who for who, state in enumerate(self._state) if state == "asleep"]
            if not able:
                assert set(self._state) == {"ended"}, f"stuck: {self._state} after {self.trace}"
                return
            choice = self._choose(len(able))
            self.choices.append((choice, len(able)))
            chosen = able[choice]
            self._state[chosen] = "running"
            self._pipes[chosen].send("go")

    def _settle(self) -> None:
        """Wait until everybody wants something, sleeps, has ended, or waits for a lock that another one holds."""
        until = time.monotonic() + 20
        while moving := [
            who for who, state in enumerate(self._state) if state in ("running", "blocked")
        ]:
            heard = [self._hear(who) for who in moving]
            if any(heard):
                continue
            for who in moving:
                blocked = self._database.waits_for_a_lock(self._numbers[who])
                self._state[who] = "blocked" if blocked else "running"
            if all(self._state[who] == "blocked" for who in moving) and "ready" in self._state:
                return
            assert time.monotonic() < until, f"stuck: {self._state} after {self.trace}"

    def _hear(self, who: int) -> bool:
        if not self._pipes[who].poll(0.001):
            return False
        kind, text = self._pipes[who].recv()
        if kind == "want":
            self._state[who], self._wants[who] = "ready", text
        elif kind == "sleep":
            self._state[who] = "asleep"
        elif kind == "end":
            self._state[who], self.answers[who] = "ended", text
            self._wake()
        else:
            self._state[who] = "running"
            self.trace.append((who, f"{self._wants[who]} {text}".strip()))
            if not text:
                self._wake()
        return True

    def _wake(self) -> None:
        self._state = ["awake" if state == "asleep" else state for state in self._state]
