"""Run many workers at the same time, in threads or processes, and measure their throughput."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing import get_context
from threading import Barrier, Thread
from typing import Any

import vmfa
from users import ACCOUNT, START, User, registry_over
from vmfa.testing import FrozenClock

SPAWN = get_context("spawn")
MakeWork = Callable[[str, str, int], Callable[[], None]]
"""Returns the work, given the place of a store, the name of a principal and a count."""


def principal(name: str) -> vmfa.PrincipalId:
    return vmfa.PrincipalId.user(ACCOUNT, name)


def sign_ins(store: Any, name: str, operations: int) -> Callable[[], None]:
    """Return the work of signing in *operations* times as the principal *name*."""
    clock = FrozenClock(START)
    user = User(registry_over(store, clock), clock, principal(name))
    user.prepare(operations)

    def work() -> None:
        with store:
            for _ in range(operations):
                user.sign_in()

    return work


def in_threads(make_work: MakeWork, place: str, workers: int, operations: int) -> float:
    """Return the operations a second of *workers* threads. Each does *operations* operations."""
    ready = Barrier(workers + 1)
    works = [make_work(place, f"t-{number}", operations) for number in range(workers)]

    def run(work: Callable[[], None]) -> None:
        ready.wait()
        work()

    threads = [Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return workers * operations / (time.perf_counter() - start)


def in_processes(make_work: MakeWork, place: str, workers: int, operations: int) -> float:
    """Return the operations a second of *workers* processes. Each does *operations* operations."""
    ready, done = SPAWN.Barrier(workers + 1), SPAWN.Barrier(workers + 1)
    processes = [
        SPAWN.Process(
            target=run_process, args=(make_work, place, f"p-{number}", operations, ready, done)
        )
        for number in range(workers)
    ]
    for process in processes:
        process.start()
    ready.wait()
    start = time.perf_counter()
    done.wait()
    taken = time.perf_counter() - start
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return workers * operations / taken


def run_process(
    make_work: MakeWork, place: str, name: str, operations: int, ready: Any, done: Any
) -> None:
    work = make_work(place, name, operations)
    ready.wait()
    work()
    done.wait()
