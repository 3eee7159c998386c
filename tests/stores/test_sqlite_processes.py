"""The SQLite store with threads, processes, forks and kills: a code counts once."""

from __future__ import annotations

import os
import select
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from stores import raw
from stores.children import fork, in_child, in_children, outcome_of
from support import MASTER, Enrolled, HandClock, check_history, enroll
from vmfa import (
    AlreadyUsed,
    DerivedKeys,
    DeviceRegistry,
    PrincipalId,
    Receipt,
    SQLiteStore,
    StoreContended,
    VmfaError,
)
from vmfa.stores import sqlite


def registry_on(store: SQLiteStore, clock: HandClock) -> DeviceRegistry:
    return DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock)


def name_of_outcome(use: Callable[[], object]) -> str:
    try:
        return type(use()).__name__
    except VmfaError as error:
        return type(error).__name__


def check_once(outcomes: list[str]) -> None:
    told = Counter(outcomes)
    assert told.pop("Receipt", 0) == 1, told
    assert set(told) <= {AlreadyUsed.__name__, StoreContended.__name__}, told


# The same code


def test_one_code_from_many_threads_is_accepted_once(enrolled: Enrolled) -> None:
    for _ in range(5):
        enrolled.clock.advance(30)
        code = enrolled.phone.code()
        start = threading.Barrier(16)
        outcomes: list[str] = []

        def present(
            code: str = code, start: threading.Barrier = start, outcomes: list[str] = outcomes
        ) -> None:
            start.wait()
            outcomes.append(
                name_of_outcome(lambda: enrolled.registry.verify(enrolled.principal, code))
            )

        threads = [threading.Thread(target=present) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(outcomes) == 16
        check_once(outcomes)


def test_one_code_from_many_processes_is_accepted_once(enrolled: Enrolled, path: Path) -> None:
    for _ in range(5):
        enrolled.clock.advance(30)
        code = enrolled.phone.code()

        def present(code: str = code) -> str:
            with SQLiteStore(path) as store:
                return name_of_outcome(
                    lambda: registry_on(store, enrolled.clock).verify(enrolled.principal, code)
                )

        check_once(in_children([present] * 8))


def test_one_code_from_many_forks_of_one_store_is_accepted_once(enrolled: Enrolled) -> None:
    """A pre-forking server: each worker inherits the open store."""
    for _ in range(5):
        enrolled.clock.advance(30)
        code = enrolled.phone.code()

        def present(code: str = code) -> str:
            return name_of_outcome(lambda: enrolled.registry.verify(enrolled.principal, code))

        check_once(in_children([present] * 8))


def test_wrong_codes_from_many_processes_are_all_counted(enrolled: Enrolled, path: Path) -> None:
    wrong = enrolled.phone.wrong_code()

    def guess() -> list[str]:
        with SQLiteStore(path) as store:
            registry = registry_on(store, enrolled.clock)
            return [
                name_of_outcome(lambda: registry.verify(enrolled.principal, wrong))
                for _ in range(5)
            ]

    outcomes = Counter(name for names in in_children([guess] * 6) for name in names)
    assert enrolled.device.failures == 3  # from the third on, the next attempt waits
    assert outcomes == {"CodeRejected": 3, "Throttled": 27}


def test_many_processes_create_one_store(path: Path) -> None:
    people = [PrincipalId.user("123456789012", f"u-{n}") for n in range(8)]

    def begin(who: PrincipalId) -> str:
        clock = HandClock()
        with SQLiteStore(path) as store:
            return enroll(registry_on(store, clock), clock, who).device.serial

    serials = in_children([partial(begin, who) for who in people])
    assert len(set(serials)) == 8
    with SQLiteStore(path) as store:
        assert list(store.principals("123456789012")) == people
    assert raw.run(path, "PRAGMA integrity_check") == [("ok",)]


def test_many_threads_create_one_store(path: Path) -> None:
    """A store an each: closing the file that was created must not drop the locks of the others."""
    start = threading.Barrier(8)
    failures: list[BaseException] = []

    def begin(which: int) -> None:
        clock = HandClock()
        start.wait()
        try:
            with SQLiteStore(path) as store:
                enroll(
                    registry_on(store, clock),
                    clock,
                    PrincipalId.user("123456789012", f"u-{which}"),
                )
        except BaseException as error:  # noqa: BLE001  # told to the test
            failures.append(error)

    threads = [threading.Thread(target=begin, args=(which,)) for which in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert raw.run(path, "SELECT count(*) FROM principal") == [(8,)]


# Forks


def sign_in_often(alice: Enrolled, times: int) -> int:
    for _ in range(times):
        alice.sign_in()
    return alice.device.last_step


def test_parent_and_child_go_on_with_one_open_store(
    registry: DeviceRegistry, clock: HandClock, path: Path
) -> None:
    people = [
        enroll(registry, clock, PrincipalId.user("123456789012", f"u-{n}")) for n in range(2)
    ]
    child = fork(lambda: sign_in_often(people[1], 30))
    last = [sign_in_often(people[0], 30), outcome_of(child)]
    assert last[0] == last[1] == people[0].device.last_step == people[1].device.last_step
    assert raw.run(path, "PRAGMA integrity_check") == [("ok",)]


def test_no_connection_is_carried_through_a_fork(enrolled: Enrolled, store: SQLiteStore) -> None:
    """SQLite forbids it, though it seldom shows: both sides open their own on the next use."""
    enrolled.sign_in()
    assert store._connection is not None
    assert in_child(lambda: store._connection is None)
    assert store._connection is None


def test_a_child_can_close_the_store_without_taking_the_parents_locks(
    enrolled: Enrolled, store: SQLiteStore
) -> None:
    """A child that closes an inherited connection may drop the locks of the parent."""
    in_child(lambda: (store.close(), store.load(enrolled.principal), store.close()))
    assert enrolled.sign_in()


def test_a_fork_waits_for_the_transaction_of_another_thread(
    enrolled: Enrolled, store: SQLiteStore, path: Path
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def hold(db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE principal SET revision = revision")
        inside.set()
        go_on.wait()
        db.execute("COMMIT")

    thread = threading.Thread(target=lambda: store._call(hold))
    thread.start()
    inside.wait()
    end = threading.Timer(0.05, go_on.set)
    end.start()
    child = fork(lambda: (go_on.is_set(), sign_in_often(enrolled, 3)))
    waited, last = outcome_of(child)
    thread.join()
    end.join()
    assert waited
    assert enrolled.device.last_step == last
    assert raw.run(path, "PRAGMA integrity_check") == [("ok",)]


def test_while_a_process_forks_no_other_thread_enters_a_store(
    store: SQLiteStore, enrolled: Enrolled
) -> None:
    entered = threading.Event()

    def use() -> None:
        store.load(enrolled.principal)
        entered.set()

    thread = threading.Thread(target=use)
    sqlite._before_fork()
    try:
        thread.start()
        early = entered.wait(0.05)
    finally:
        sqlite._after_fork()
    thread.join()
    assert not early
    assert entered.is_set()


def test_a_fork_beside_busy_threads_leaves_no_lock_in_the_child(
    enrolled: Enrolled, store: SQLiteStore
) -> None:
    stop = threading.Event()

    def use() -> None:
        while not stop.is_set():
            store.load(enrolled.principal)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            assert in_child(lambda: store.load(enrolled.principal).revision) == 2
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_fork_beside_threads_that_open_stores_frees_every_lock(path: Path) -> None:
    stop = threading.Event()
    who = PrincipalId.user("123456789012", "u-4711")

    def open_and_close() -> None:
        while not stop.is_set():
            with SQLiteStore(path) as store:
                store.load(who)

    threads = [threading.Thread(target=open_and_close) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with SQLiteStore(path) as store:
            for _ in range(15):
                assert in_child(
                    lambda: (SQLiteStore(path).load(who).revision, store.load(who).revision)
                ) == (0, 0)
                assert store.load(who).revision == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# Kills


def writer(alice: Enrolled, path: Path, acknowledge: int) -> None:
    with SQLiteStore(path) as store:
        alice.registry = registry_on(store, alice.clock)
        for n in range(1_000_000):
            if n % 3:
                step = alice.sign_in().step
            else:  # with an event: a transaction of several statements
                alice.clock.advance(60)
                alice.registry.resync(alice.principal, by=alice.actor, **alice.phone.pair())
                step = alice.device.last_step
            os.write(acknowledge, step.to_bytes(8, "big"))


def test_a_killed_writer_loses_nothing_that_it_acknowledged(
    enrolled: Enrolled, store: SQLiteStore, path: Path
) -> None:
    for round_ in range(12):
        reading, writing = os.pipe()
        child, outcome = fork(partial(writer, enrolled, path, writing))
        os.close(writing)
        acknowledged = b"".join(os.read(reading, 8) for _ in range(5 + 7 * round_))
        select.select([reading], [], [], 0.0001 * round_)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(outcome)
        while more := os.read(reading, 1 << 16):
            acknowledged += more
        os.close(reading)
        store.close()
        record = store.load(enrolled.principal)
        assert record.device is not None
        told = int.from_bytes(acknowledged[-8:], "big")
        # At most one operation is stored and not acknowledged: the one that was under way.
        assert told <= record.device.last_step <= told + 3, (
            "an acknowledged step was lost, or a foreign one written"
        )
        check_history(record, store.history(enrolled.principal))
        assert raw.run(path, "PRAGMA integrity_check") == [("ok",)]
        enrolled.clock.now = max(enrolled.clock.now, record.seen_at)
        with pytest.raises(AlreadyUsed):  # no replay
            enrolled.registry.verify(enrolled.principal, enrolled.phone.code())


def test_a_transaction_that_was_half_done_is_rolled_back(enrolled: Enrolled, path: Path) -> None:
    before = raw.rows(path)
    reading, writing = os.pipe()

    def half() -> None:
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("PRAGMA cache_spill = ON")
        db.execute("PRAGMA cache_size = 1")  # what is not committed spills into the file
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE principal SET revision = 99, state = ?", ("x" * 100_000,))
        db.execute("DELETE FROM event")
        os.write(writing, b"!")
        signal.pause()

    child, outcome = fork(half)
    os.read(reading, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for descriptor in (reading, writing, outcome):
        os.close(descriptor)
    assert raw.rows(path) == before
    assert isinstance(enrolled.sign_in(), Receipt)
