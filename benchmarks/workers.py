"""Many workers at once, in threads or in processes: how many attempts a second they get through together."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing import get_context
from threading import Barrier, Thread
from typing import Any

import vmfa
from devices import ACCOUNT, Clock, Phone, registry_over

SPAWN = get_context("spawn")
Maker = Callable[[str, str, int], Callable[[], None]]  # where, a name and a number of attempts: the work to do


def user(name: str) -> vmfa.PrincipalId:
    return vmfa.PrincipalId.user(ACCOUNT, name)


def signing_in(store: vmfa.Store, name: str, attempts: int) -> Callable[[], None]:
    """Sign in *attempts* times as a principal of one's own."""
    clock = Clock()
    phone = Phone(registry_over(store, clock), clock, user(name))
    phone.prepare(attempts)

    def work() -> None:
        with store:
            for _ in range(attempts):
                phone.accept()

    return work


def in_threads(maker: Maker, where: str, workers: int, attempts: int) -> float:
    ready = Barrier(workers + 1)
    works = [maker(where, f"t-{index}", attempts) for index in range(workers)]

    def thread(work: Callable[[], None]) -> None:
        ready.wait()
        work()

    threads = [Thread(target=thread, args=(work,)) for work in works]
    for each in threads:
        each.start()
    ready.wait()
    began = time.perf_counter()
    for each in threads:
        each.join()
    return workers * attempts / (time.perf_counter() - began)


def in_processes(maker: Maker, where: str, workers: int, attempts: int) -> float:
    ready, done = SPAWN.Barrier(workers + 1), SPAWN.Barrier(workers + 1)
    processes = [
        SPAWN.Process(target=process, args=(maker, where, f"p-{index}", attempts, ready, done))
        for index in range(workers)
    ]
    for each in processes:
        each.start()
    ready.wait()
    began = time.perf_counter()
    done.wait()
    taken = time.perf_counter() - began
    for each in processes:
        each.join()
        assert each.exitcode == 0
    return workers * attempts / taken


def process(maker: Maker, where: str, name: str, attempts: int, ready: Any, done: Any) -> None:
    work = maker(where, name, attempts)
    ready.wait()
    work()
    done.wait()
