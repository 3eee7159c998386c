"""Users who sign in over the nodes of a cluster while a test breaks it, and a hammer."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from galera_cluster import GaleraCluster, Node, wait_until
from sqlalchemy import create_engine

from support import MASTER, Enrolled, enroll
from vmfa import (
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    OutcomeUnknown,
    PrincipalId,
    Receipt,
    Store,
    StoreError,
    VmfaError,
)
from vmfa.stores.sqlalchemy import SQLAlchemyStore
from vmfa.testing import FrozenClock

ACCOUNT = "123456789012"
PERIOD = 30
SPAWN = get_context("spawn")


def open_store(url: Any, *, connections: int = 1, **options: Any) -> SQLAlchemyStore:
    """Return a store with so many connections: one, so that fifty processes fit on a server."""
    engine = create_engine(url, pool_size=connections, max_overflow=0, pool_timeout=60)
    return SQLAlchemyStore(engine, **options)


def registry_at(store: Store, clock: Any) -> DeviceRegistry:
    return DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock)


def new_user(store: Store, name: str) -> Enrolled:
    """Enroll a user, whose clock is in the step after that."""
    clock = FrozenClock()
    enrolled = enroll(registry_at(store, clock), clock, PrincipalId.user(ACCOUNT, name))
    clock.advance(PERIOD)
    return enrolled


def present(store: Store, who: PrincipalId, code: str, clock: FrozenClock) -> str:
    """Present a code and return the name of what happened."""
    try:
        return type(registry_at(store, clock).verify(who, code)).__name__
    except VmfaError as error:
        return type(error).__name__


@dataclass
class Busy:
    """A user who signs in again and again, on one node, and on another one after an error.

    :ivar accepted: the steps whose code was accepted, once for each acceptance.
    :ivar untrue: codes that were used by an attempt which had changed nothing, as its error said.
    """

    user: Enrolled
    stores: list[Store]
    accepted: Counter[int] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    untrue: list[str] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.sign_in(stop)
            self.user.clock.advance(PERIOD)

    def sign_in(self, stop: threading.Event) -> None:
        """Present the code of this step until it is accepted or used."""
        step, code = int(self.user.clock()) // PERIOD, self.user.phone.code()
        unchanged = ""  # the error after which nothing had been changed
        in_doubt = False
        turn = 0
        while not (stop.is_set() and turn):
            store = self.stores[turn % len(self.stores)]
            turn += 1
            try:
                receipt = registry_at(store, self.user.clock).verify(self.user.principal, code)
            except OutcomeUnknown as error:
                in_doubt = True
                self.outcomes[type(error).__name__] += 1
            except StoreError as error:
                unchanged = f"{type(error).__name__}: {error}"
                self.outcomes[type(error).__name__] += 1
                time.sleep(0.05)
            except CodeRejected as error:
                self.outcomes[type(error).__name__] += 1
                if not in_doubt:
                    self.untrue.append(f"{type(error).__name__} after {unchanged or 'nothing'}")
                return
            else:
                assert isinstance(receipt, Receipt)
                self.outcomes["Receipt"] += 1
                self.accepted[step] += 1
                return


@contextmanager
def busy_users(cluster: GaleraCluster, prefix: str, count: int = 6) -> Iterator[list[Busy]]:
    """Let users sign in, each on a node of their own, until the block ends."""
    with ExitStack() as stack:
        busy = []
        for number in range(count):
            nodes = [cluster.nodes[(number + turn) % 3] for turn in range(3)]
            stores: list[Store] = [
                stack.enter_context(open_store(node.url, timeout=10)) for node in nodes
            ]
            busy.append(Busy(new_user(stores[0], f"{prefix}-{number}"), stores))
        stop = threading.Event()
        threads = [threading.Thread(target=one.run, args=(stop,)) for one in busy]
        for thread in threads:
            thread.start()
        try:
            yield busy
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def check_nothing_lost(busy: list[Busy], nodes: list[Node]) -> Counter[str]:
    """Check that each code was accepted once, and is used on every node.

    :returns: what the attempts ended with.
    """
    for node in nodes:
        with open_store(node.url) as store:
            for one in busy:
                assert one.accepted, "this user never signed in"
                assert set(one.accepted.values()) == {1}, "a code was accepted twice"
                device = store.load(one.user.principal).device
                assert device is not None
                assert device.last_step >= max(one.accepted), "an acknowledged sign-in was lost"
    assert [claim for one in busy for claim in one.untrue] == []
    return sum((one.outcomes for one in busy), Counter())


# The hammer


def can_load(store: Store) -> bool:
    try:
        return store.load(PrincipalId.user(ACCOUNT, "unknown")).revision == 0
    except StoreError:
        return False


def presenter(pipe: Connection, url: Any, barrier: Any) -> None:
    with open_store(url, timeout=30) as store:
        wait_until(lambda: can_load(store), "the node of this process serves")
        pipe.send("ready")
        while (presented := pipe.recv()) is not None:
            who, code, now = presented
            barrier.wait()
            pipe.send(present(store, who, code, FrozenClock(now)))


def hammer(nodes: list[Node], many: int, rounds: int, name: str) -> list[Counter[str]]:
    """Present one code from *many* processes at once, which share the nodes, in each round."""
    barrier = SPAWN.Barrier(many)
    with open_store(nodes[0].url) as store:
        user = new_user(store, name)
    pipes, processes = [], []
    for number in range(many):
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(
            target=presenter, args=(theirs, nodes[number % len(nodes)].url, barrier), daemon=True
        )
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        assert pipe.recv() == "ready"
    outcomes = []
    for _ in range(rounds):
        for pipe in pipes:
            pipe.send((user.principal, user.phone.code(), user.clock()))
        outcomes.append(Counter(pipe.recv() for pipe in pipes))
        user.clock.advance(PERIOD)
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(None)
        process.join()
        pipe.close()
    return outcomes
