"""Replay paths of the exhaustive search on real stores.

The search of ``explore.py`` keeps no records. Here its paths are taken again through a registry
over a store, so that every record is authenticated, encoded, committed and read back at each
action. Answers and records must be those of the rules alone. At the end of each path, every action
that must not change anything is tried too.

::

    python -m tests.property.replay --states 3000 --every 10   # in memory, SQLite, PostgreSQL
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

from .explore import Explorer, digest_of, say
from .ledger import FIRST, ISSUING, POLICIES, SERVICE, STEP, WHO, Action, Ledger, Node, TableKeys

TAGS = DerivedKeys(bytes(range(32)))


class AuthenticatingKeys(TableKeys):
    """The keys of the search, with real tags."""

    authenticate = True

    def tag(self, purpose: str, message: bytes) -> str:
        return TAGS.tag(purpose, message)

    def audit_tag(self, purpose: str, message: bytes) -> str:
        return TAGS.audit_tag(purpose, message)

    def check(self, purpose: str, message: bytes, tag: str) -> bool:
        return TAGS.check(purpose, message, tag)


class StoredExplorer(Explorer):
    """Applies actions through a registry over a store."""

    def __init__(self, policy: Any, store: Store) -> None:
        super().__init__(policy, AuthenticatingKeys())
        self.store, self.now = store, FIRST * STEP
        self.operations = Operations(
            self.source, issuer="Explorer", policy=policy, random=self.source.random
        )
        self.registry = DeviceRegistry(
            store, keys=self.source, issuer="Explorer", policy=policy, clock=lambda: self.now
        )

    def run(self, node: Node, action: Action, generation: int) -> str:
        """Run *action* and return the reason of the refusal, or "yes"."""
        self.now, self.source.generation = node.step * STEP, generation
        stored = replace(node, record=self.store.load(WHO))
        try:
            self.registry.run(self.operation(stored, action))
        except VmfaError as refusal:
            return refusal.reason
        return "yes"

    def record(self) -> Principal:
        """Return the stored record without tags, after a check of the history."""
        record = self.store.load(WHO)
        history = self.registry.history(WHO, by=SERVICE)
        assert len(history) == record.events
        return without_tags(record)


def without_tags(record: Principal) -> Principal:
    return replace(record, envelope=None, head="")


def paths(policy: str, states: int, every: int) -> Iterator[tuple[Action, ...]]:
    """Yield the path to one of *every* so many of the first *states*, the shortest first."""
    explorer = Explorer(POLICIES[policy])
    start = Node(FIRST, Principal(id=WHO), Ledger())
    seen, queue = {digest_of(start)}, deque([(start, tuple[Action, ...]())])
    while queue and len(seen) < states:
        node, path = queue.popleft()
        for action in explorer.actions(node):
            after = explorer.apply(node, action)
            if after is not node and (digest := digest_of(after)) not in seen:
                seen.add(digest)
                queue.append((after, (*path, action)))
                if len(seen) % every == 0:
                    yield (*path, action)


def replay(policy: str, path: tuple[Action, ...], stored: StoredExplorer) -> int:
    """Take *path*, then every action that changes nothing; return the number of actions.

    The store is left as it was.
    """
    rules = Explorer(POLICIES[policy])
    node, count = Node(FIRST, Principal(id=WHO), Ledger()), 0
    for action in path:
        node, count = apply_to_both(rules, stored, node, action), count + 1
    for action in rules.actions(node):
        if action.name not in ("tick", "back") and rules.apply(node, action) is node:
            apply_to_both(rules, stored, node, action)
            count += 1
    stored.registry.forget(WHO, by=SERVICE)
    assert stored.store.load(WHO) == Principal(id=WHO)
    assert stored.store.history(WHO) == []
    return count


def apply_to_both(rules: Explorer, stored: StoredExplorer, node: Node, action: Action) -> Node:
    after = rules.apply(node, action)
    if action.name not in ("tick", "back"):
        generation = node.ledger.generation + (action.name in ISSUING)
        rules.source.generation = generation
        decision = rules.operation(node, action).decide(node.record, node.step * STEP)
        expected = decision.answer.reason if isinstance(decision.answer, VmfaError) else "yes"
        answer = stored.run(node, action, generation)
        assert answer == expected, f"{action}: {answer}, not {expected}"
        assert stored.record() == without_tags(after.record), f"{action}: the record differs"
    return after


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Replay paths of the search on every store.")
    parser.add_argument("--states", type=int, default=3000, help="states for each policy")
    parser.add_argument("--every", type=int, default=10, help="replay one state of so many")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for name, open_store in stores(stack, Path(folder)).items():
            for policy in POLICIES:
                stored = StoredExplorer(POLICIES[policy], open_store())
                counts = [
                    replay(policy, path, stored)
                    for path in paths(policy, options.states, options.every)
                ]
                say(f"{name}, {policy}: {len(counts)} paths, {sum(counts)} actions, all equal")
    return 0


def stores(stack: ExitStack, folder: Path) -> dict[str, Callable[[], Store]]:
    """Return how to open each store. *stack* closes them."""

    def postgres() -> Store:
        from postgres_server import the_server
        from vmfa.stores.postgres import PostgresStore

        store = stack.enter_context(PostgresStore(the_server().conninfo))
        store.create_schema()
        return store

    def sqlite() -> Store:
        return stack.enter_context(SQLiteStore(folder / "mfa.db", unsafe_not_durable=True))

    return {"memory": MemoryStore, "sqlite": sqlite, "postgres": postgres}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main())
