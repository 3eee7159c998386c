"""Run real processes over real stores, one statement at a time, in every order there is.

Each worker is a process with its own registry over its own store. It asks before every statement.
The controller grants one worker at a time and, run after run, explores the choices depth first
(stateless model checking). A worker that waits for a row lock of PostgreSQL is blocked until its
statement returns; one that found SQLite busy sleeps until another worker has moved. The answers
and the final state must be those of some serial order.
"""

from __future__ import annotations

import multiprocessing
import random
import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import permutations
from multiprocessing.connection import Connection
from typing import Any, Protocol

import psycopg_pool
from sqlalchemy import create_engine, event as listeners

from sqlalchemy_databases import SYNC
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
from vmfa.history import ChainCheck
from vmfa.models import Deactivation
from vmfa.record import check_intact
from vmfa.stores import postgres
from vmfa.stores._wire import Answer
from vmfa.stores.postgres import PostgresStore
from vmfa.stores.sqlalchemy import SQLAlchemyStore, calls

WHO = PrincipalId.user("123456789012", "u-4711")
SERVICE = Actor.trusted_service("schedules")
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Job:
    """One operation at Unix time ``at``: the registry's method of this name.

    A job that ``yields`` may raise StoreContended, having changed nothing, while others commit.
    """

    name: str
    at: float
    arguments: dict[str, Any] = field(default_factory=dict)
    yields: bool = False

    def do(self, store: Store) -> str:
        """Run the operation and return its answer in words that do not depend on randomness."""
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
    """Return what the store holds, without what is random.

    :raises VmfaError: the record or its history is not intact.
    """
    keys = DerivedKeys(MASTER)
    record, history = store.load(WHO), store.history(WHO)
    check_intact(record, keys)
    check = ChainCheck(record)
    for event in history:
        check.add(event)
    check.finish()
    device = record.device
    counters = device and (
        device.sync.value,
        device.last_step,
        device.failures,
        device.budget,
        device.drift,
    )
    session = record.enrollment and record.enrollment.attempts
    types = [event.type.value for event in history]
    return f"revision {record.revision}, {counters=}, {session=}, {types}"


def serial_ends(start: Store, jobs: Sequence[Job]) -> set[tuple[tuple[str, ...], str]]:
    """Return what the jobs answer and leave behind when they run one after the other, in every
    order.
    """
    ends = set()
    numbers = range(len(jobs))
    unyielding = [number for number in numbers if not jobs[number].yields]
    for order in [*permutations(numbers), *permutations(unyielding)]:
        store = copied(start)
        answers = dict.fromkeys(numbers, "StoreContended")
        for number in order:
            answers[number] = jobs[number].do(store)
        ends.add((tuple(answers.values()), left_behind(store)))
    return ends


class PersistentMemory(MemoryStore):
    """A store whose records are authenticated, so that other stores can hold them."""

    volatile = False


def copied(store: Store) -> MemoryStore:
    copy = PersistentMemory()
    record = store.load(WHO)
    if record.revision:
        copy.commit(Principal(id=WHO), record, store.history(WHO))
    return copy


# Mutants: broken forms of a statement. Each runs one or more statements, as separate steps.

Execute = Callable[[str, Any], Any]
# What a transaction reads of its own writes: other processes cannot change or see it.
INSIDE = re.compile(r"PRAGMA|SELECT (\w+\.)?revision, (\w+\.)?tag|SELECT NOT EXISTS")
VALUE = r"(\?|%s|%\(\w+\)s(?:::\w+)?)"
COMPARISON = re.compile(rf"(?:\w+\.)?revision = {VALUE} AND (?:\w+\.)?tag = {VALUE}")


def as_written(sql: str, values: Any, execute: Execute) -> Any:
    return execute(sql, values)


def never_compared(sql: str, values: Any, execute: Execute) -> Any:
    return execute(COMPARISON.sub(r"(revision = \1 OR tag = \2 OR 1 = 1)", sql), values)


def compared_loosely(sql: str, values: Any, execute: Execute) -> Any:
    return execute(COMPARISON.sub(r"revision >= \1 AND length(tag) = length(\2)", sql), values)


def checked_then_written(sql: str, values: Any, execute: Execute) -> Any:
    if not sql.startswith("UPDATE"):
        return no_transaction(sql, values, execute)  # which would make it one step
    start = sql.index("WHERE")
    table, where = sql.split()[1], sql[start:].partition("RETURNING")[0]
    before = len(re.findall(r"\?|%s", sql[:start]))
    counted = execute(f"SELECT count(*) FROM {table} {where}", values[before:])
    rows = counted.rows if isinstance(counted, Answer) else counted.fetchall()
    if rows[0][0] == 1:
        return never_compared(sql, values, execute)
    return execute(sql, values)


def first_record_overwritten(sql: str, values: Any, execute: Execute) -> Any:
    upsert = """ON CONFLICT (account, kind, name) DO UPDATE
        SET revision = excluded.revision, state = excluded.state, tag = excluded.tag,
            audit_tag = excluded.audit_tag"""
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


# The worker


class Stepper:
    """Stands between a store and its database: it asks before each statement and reports how it
    ended.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.mutant: Callable[[str, Any, Execute], Any] | None = (
            None  # None: no schedule is running
        )

    def statement(self, sql: str, values: Any, execute: Execute) -> Any:
        if self.mutant is None or INSIDE.match(sql):
            return execute(sql, values)
        return self.mutant(
            sql, values, lambda sql, values: self._step(sql, lambda: execute(sql, values))
        )

    def _step(self, sql: str, work: Callable[[], Any]) -> Any:
        self._pipe.send(("want", " ".join(sql.split()[:3])))
        self._pipe.recv()
        try:
            result = work()
        except Exception as error:
            self._pipe.send(("did", type(error).__name__))
            raise
        self._pipe.send(("did", ""))
        return result

    def sleep(self, seconds: float) -> None:
        if self.mutant is None:
            _sleep(seconds)
        else:
            self._pipe.send(("sleep", ""))
            self._pipe.recv()


def forget_marks(store: Store) -> None:
    """Forget which revisions *store* committed: each schedule starts with an older database.

    A store that remembers them would take it for a restored backup.
    """
    if isinstance(store, SQLiteStore):
        store._marks.clear()


_sleep = time.sleep


def worker(pipe: Connection, engine: str, place: str) -> None:
    """Open the store of *engine*, then run jobs, one granted statement at a time."""
    stepper = Stepper(pipe)
    time.sleep = stepper.sleep

    class SteppedConnection(sqlite3.Connection):
        def execute(self, sql: str, values: Any = ()) -> Any:
            return stepper.statement(sql, values, super().execute)

        def executemany(self, sql: str, rows: Any) -> Any:
            return stepper.statement(sql, rows, super().executemany)

    class SteppedPostgresStore(PostgresStore):
        def _perform(self, call: Any, step: Any) -> Answer:
            perform = super()._perform

            def execute(sql: str, values: Any) -> Answer:
                return perform(call, replace(step, sql=sql, values=values))

            return stepper.statement(step.sql, step.values, execute)

    sqlite3.connect = partial(sqlite3.connect, factory=SteppedConnection)
    postgres.PROBE_EVERY = float("inf")  # a probe in the middle would change the schedules
    with ExitStack() as stack:
        store: SQLiteStore | PostgresStore | SQLAlchemyStore
        if engine in SYNC:
            store = stack.enter_context(stepped_sqlalchemy_store(place, stepper))
            number = connection_number(store)
        elif engine == "sqlite":
            store = stack.enter_context(SQLiteStore(place, unsafe_not_durable=True))
            number = 0
        else:
            pool = stack.enter_context(
                psycopg_pool.ConnectionPool(
                    place, kwargs={"autocommit": True}, min_size=1, max_size=1, open=True
                )
            )
            store = SteppedPostgresStore(pool, unsafe_not_durable=True)
            with pool.connection() as connection:
                number = connection.info.backend_pid
        store.load(WHO)
        pipe.send(("ready", number))
        while (message := pipe.recv()) is not None:
            job, mutant = message
            forget_marks(store)
            stepper.mutant = MUTANTS.get(mutant, as_written)
            answer = job.do(store)
            stepper.mutant = None
            pipe.send(("end", answer))


CONNECTION_NUMBER = {
    "sqlite": "SELECT 0", "postgresql": "SELECT pg_backend_pid()",
    "mariadb": "SELECT connection_id()",
}  # fmt: skip


def stepped_sqlalchemy_store(place: str, stepper: Stepper) -> SQLAlchemyStore:
    """Return a store with one connection, whose statements *stepper* sees."""
    calls.CHECK_EVERY = float("inf")
    one = create_engine(place, pool_size=1, max_overflow=0)
    if one.dialect.name == "sqlite":  # without waiting for the disk
        listeners.listen(one, "connect", lambda db, _: db.execute("PRAGMA synchronous = OFF"))
    store = SQLAlchemyStore(one, timeout=60, unsafe_not_durable=True)
    dialect = store._engine().dialect
    do_execute = dialect.do_execute

    def stepped(cursor: Any, sql: str, values: Any, context: Any = None) -> None:
        def execute(sql: str, values: Any) -> Any:
            do_execute(cursor, sql, values, context)
            return cursor

        stepper.statement(sql, values, execute)

    dialect.do_execute = stepped  # type: ignore[method-assign]
    return store


def connection_number(store: SQLAlchemyStore) -> int:
    engine = store._engine()
    with engine.connect() as connection:
        query = CONNECTION_NUMBER[engine.dialect.name]
        return int(connection.exec_driver_sql(query).scalar_one())


# The controller


class Database(Protocol):
    """The database of the schedules, read and reset from outside."""

    engine: str
    place: str

    def store(self) -> Store: ...

    def reset(self, start: Store) -> None: ...

    def waits_for_lock(self, number: int) -> bool: ...


@dataclass
class Violation:
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
    bad: list[Violation]
    ends: set[tuple[str, ...]]


class Explorer:
    """Processes that run jobs in every order of their statements."""

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
        """Run every schedule of *jobs*, or a random *sample* of so many.

        With a *mutant*, stop at the first schedule that no serial order explains.
        """
        serial = serial_ends(start, jobs)
        report = Report(0, [], set())
        chance = random.Random(sample)
        choose: Choose = first if sample is None else chance.randrange
        while sample is None or report.schedules < sample:
            self._database.reset(start)
            run = Run(self._pipes[: len(jobs)], self._numbers, self._database, choose)
            run.execute(jobs, mutant)
            report.schedules += 1
            report.ends.add(tuple(run.answers))
            try:
                left = left_behind(self._database.store())
            except (VmfaError, AssertionError) as unsound:
                left = f"unsound: {unsound}"
            if (tuple(run.answers), left) not in serial:
                report.bad.append(Violation(run.trace, run.answers, left))
                if mutant:
                    return report
            if sample is None:
                following = next_schedule(run.choices)
                if following is None:
                    return report
                choose = after(following)
        return report


Choose = Callable[[int], int]  # one of so many workers that can go on


def first(among: int) -> int:
    return 0


def after(prefix: list[int]) -> Choose:
    """Take the choices of *prefix*, then always the first."""
    left = iter(prefix)
    return lambda among: next(left, 0)


def next_schedule(choices: list[tuple[int, int]]) -> list[int] | None:
    """Search depth first: the deepest choice that has another branch takes it."""
    while choices and choices[-1][0] + 1 >= choices[-1][1]:
        choices.pop()
    return [choice for choice, _ in choices[:-1]] + [choices[-1][0] + 1] if choices else None


class Run:
    """One schedule. ``trace`` is what was done, ``choices`` are the branches taken and their
    numbers.
    """

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

    def execute(self, jobs: Sequence[Job], mutant: str) -> None:
        for pipe, job in zip(self._pipes, jobs, strict=True):
            pipe.send((job, mutant))
        while True:
            self._settle()
            able = [who for who, state in enumerate(self._state) if state in ("ready", "awake")]
            if not able:  # those that sleep may try again
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
        """Wait until each worker wants a statement, sleeps, has ended, or waits for a lock of
        another one.
        """
        until = time.monotonic() + 20
        while moving := [
            who for who, state in enumerate(self._state) if state in ("running", "blocked")
        ]:
            messages = [self._receive(who) for who in moving]
            if any(messages):
                continue
            for who in moving:
                blocked = self._database.waits_for_lock(self._numbers[who])
                self._state[who] = "blocked" if blocked else "running"
            if all(self._state[who] == "blocked" for who in moving) and "ready" in self._state:
                return
            assert time.monotonic() < until, f"stuck: {self._state} after {self.trace}"

    def _receive(self, who: int) -> bool:
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
