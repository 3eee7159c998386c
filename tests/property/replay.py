"""Ways of the exhaustive search, gone again on real stores: each answer and each record is what the rules alone gave.

The search keeps no records. Here every so many of its states is reached through a registry over a store, sealed,
encoded, committed and read back at each action; there, all that must change nothing is tried, and must change nothing.

    python -m tests.property.replay --states 3000 --every 10        # in memory, SQLite, PostgreSQL
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from vmfa import (
    DerivedKeys,
    DeviceRegistry,
    MemoryStore,
    Operations,
    Principal,
    SQLiteStore,
    Store,
    VmfaError,
)

from .explore import (
    FIRST,
    POLICIES,
    SERVICE,
    STEP,
    WHO,
    Action,
    Explorer,
    Ledger,
    Node,
    Source,
    _digest,
    say,
)

TAGS = DerivedKeys(bytes(range(32)))


class Sealing(Source):
    """The keys of the search; the tags are real."""

    sealing = True

    def tag(self, purpose: str, message: bytes) -> str:
        return TAGS.tag(purpose, message)

    def check(self, purpose: str, message: bytes, tag: str) -> bool:
        return TAGS.check(purpose, message, tag)


class Kept(Explorer):
    """The same actions, on what a store keeps."""

    def __init__(self, policy: Any, store: Store) -> None:
        super().__init__(policy, Sealing())
        self.store, self.now = store, FIRST * STEP
        self.operations = Operations(
            self.source, issuer="Explorer", policy=policy, random=self.source.random
        )
        self.registry = DeviceRegistry(
            store, keys=self.source, issuer="Explorer", policy=policy, clock=lambda: self.now
        )

    def go(self, action: Action, generation: int, step: int) -> str:
        """The answer, as a word."""
        self.now, self.source.generation = step * STEP, generation
        try:
            self.registry._run(self.operation(action))
        except VmfaError as refusal:
            return refusal.reason
        return "yes"

    def record(self) -> Principal:
        """What is kept, but for what the search cannot know: seal and tag."""
        found = self.store.load(WHO)
        history = self.registry.history(WHO, by=SERVICE)
        assert len(history) == found.events
        return bare(found)


def bare(record: Principal) -> Principal:
    return replace(record, envelope=None, head="")


def ways(policy: str, states: int, every: int) -> Iterator[tuple[Action, ...]]:
    """The ways to every so many of the first *states*, the shortest first."""
    explorer = Explorer(POLICIES[policy])
    start = Node(FIRST, Principal(id=WHO), Ledger())
    seen, queue = {_digest(start)}, deque([(start, tuple[Action, ...]())])
    while queue and len(seen) < states:
        node, way = queue.popleft()
        for action in explorer.actions(node):
            after = explorer.apply(node, action)
            if after is not node and (digest := _digest(after)) not in seen:
                seen.add(digest)
                queue.append((after, (*way, action)))
                if len(seen) % every == 0:
                    yield (*way, action)


def replay(policy: str, way: tuple[Action, ...], kept: Kept) -> int:
    """Go *way* and try what it leads to; the number of actions. The store is left as it was found."""
    rules = Explorer(POLICIES[policy])
    node, done = Node(FIRST, Principal(id=WHO), Ledger()), 0
    for action in way:
        node, done = both(rules, kept, node, action), done + 1
    for action in rules.actions(node):
        if action.name not in ("tick", "back") and rules.apply(node, action) is node:
            both(rules, kept, node, action)
            done += 1
    kept.registry.forget(WHO, by=SERVICE)
    assert kept.store.load(WHO) == Principal(id=WHO)
    assert kept.store.history(WHO) == []
    return done


def both(rules: Explorer, kept: Kept, node: Node, action: Action) -> Node:
    after = rules.apply(node, action)
    if action.name not in ("tick", "back"):
        generation = node.ledger.generation + (action.name in ("open", "open by service", "adopt"))
        rules.source.generation = generation
        told = rules.operation(action).decide(node.record, node.step * STEP).answer
        answer = kept.go(action, generation, node.step)
        assert answer == (told.reason if isinstance(told, VmfaError) else "yes"), (
            f"{action}: {answer}"
        )
        assert kept.record() == bare(after.record), f"{action}: another record is kept"
    return after


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Replay ways of the exhaustive search on every store."
    )
    parser.add_argument("--states", type=int, default=3000, help="states for each policy")
    parser.add_argument("--every", type=int, default=10, help="one of so many is replayed")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for name, store in stores(stack, Path(folder)).items():
            for policy in POLICIES:
                kept = Kept(POLICIES[policy], store())
                told = [
                    replay(policy, way, kept)
                    for way in ways(policy, options.states, options.every)
                ]
                say(
                    f"{name}, {policy}: {len(told)} ways, {sum(told)} actions, each as the rules alone"
                )
    return 0


def stores(stack: ExitStack, folder: Path) -> dict[str, Callable[[], Store]]:
    """How each store is opened, until *stack* is left."""

    def postgres() -> Store:
        from postgres_server import the_server
        from vmfa.stores.postgres import PostgresStore

        store = stack.enter_context(PostgresStore(the_server().conninfo))
        store.create_schema()
        return store

    def sqlite() -> Store:
        return stack.enter_context(SQLiteStore(folder / "mfa.db"))

    return {"memory": MemoryStore, "sqlite": sqlite, "postgres": postgres}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main())
