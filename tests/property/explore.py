"""Search every history of one principal, breadth first, over the real rules.

``Operations.decide`` decides, and the ledger of ``ledger.py`` says what it must decide. Time is a
few steps of 30 seconds, randomness is a counter of keys, and the policies are small. In each state
every action is tried: the clock ticks or goes back; codes and pairs of the current key and of
destroyed ones are presented; sessions are opened, canceled and left to expire; devices are
removed, adopted and forgotten. The search stops at the first decision that the rules forbid and
reports the shortest path to it, or after a number of states.

A long run, from the root of the repository::

    python -m tests.property.explore --states 200000

It prints states, transitions and depth for each policy, then searches for every planted bug.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from vmfa import Actor, ClientToken, Operations, Policy, Principal, clients, guards
from vmfa.operations import Operation

from .ledger import (
    BAD,
    CODES,
    FIRST,
    GENERATIONS,
    ISSUING,
    KEYS,
    LAST,
    ME,
    POLICIES,
    SERVICE,
    STEP,
    WHO,
    Action,
    Ledger,
    Node,
    TableKeys,
    Violation,
    judge,
)


@dataclass
class SearchResult:
    """How a search ended. *problem* is empty if every decision was allowed."""

    states: int
    transitions: int
    depth: int
    problem: str = ""
    path: tuple[str, ...] = ()


class Explorer:
    """Apply actions to states, and search all states that they reach."""

    def __init__(self, policy: Policy, source: TableKeys | None = None) -> None:
        self.policy = policy
        self.source = source or TableKeys()
        self.operations = Operations(
            self.source,
            issuer="Explorer",
            policy=policy,
            random=self.source.random,
            authenticate=False,
        )

    def search(self, limit: int, beginning: tuple[Action, ...] = ()) -> SearchResult:
        """Search up to *limit* states, from the state after the actions of *beginning*."""
        start = Node(FIRST, Principal(id=WHO), Ledger())
        for action in beginning:
            start = self.apply(start, action)
        reached: dict[bytes, tuple[bytes, Action] | None] = {digest_of(start): None}
        queue = deque([(start, digest_of(start), 0)])
        transitions = depth = 0
        while queue and len(reached) < limit:
            node, here, depth = queue.popleft()
            for action in self.actions(node):
                transitions += 1
                try:
                    after = self.apply(node, action)
                except (Violation, AssertionError) as problem:
                    path = [str(action)]
                    while (link := reached[here]) is not None:
                        here, earlier = link
                        path.append(str(earlier))
                    path.reverse()
                    return SearchResult(
                        len(reached), transitions, depth, str(problem), tuple(path)
                    )
                if after is not node and (digest := digest_of(after)) not in reached:
                    reached[digest] = (here, action)
                    queue.append((after, digest, depth + 1))
        return SearchResult(len(reached), transitions, depth)

    def actions(self, node: Node) -> Iterator[Action]:
        """Yield every action to try in this state."""
        step, ledger = node.step, node.ledger
        if step < LAST:
            yield Action("tick")
        if step > FIRST:
            yield Action("back")
        current, dead = ledger.generation, range(1, ledger.generation)
        if current < GENERATIONS:
            yield from map(Action, ISSUING)
        yield from map(Action, ("cancel", "deactivate", "re-anchor", "forget", "mark spent"))
        pairs: list[tuple[tuple[int, int] | None, ...]] = [(None, None)]
        if current:
            pairs += [((current, s - 1), (current, s)) for s in range(step - 3, step + 4)]
            pairs += [
                ((current, step), (current, step - 1)),
                ((current, step - 2), (current, step)),
                ((current, step), (current, step)),
                ((current, step - 1), None),
                (None, (current, step)),
            ]
            pairs += [((n, step - 1), (n, step)) for n in dead]
        for pair in pairs:
            yield Action("resync", pair)
            yield Action("confirm", pair, current)
        for n in dead:
            yield Action("confirm", ((current, step - 1), (current, step)), n)
        yield Action("verify", (None,))
        for s in range(step - 3, step + 4) if current else ():
            yield Action("verify", ((current, s),))
        for n in dead:
            yield Action("verify", ((n, step),))
        if self.policy.known_clients:
            yield from self._lane_actions(node)

    def _lane_actions(self, node: Node) -> Iterator[Action]:
        step, ledger = node.step, node.ledger
        yield from map(Action, ("restore budget", "give token"))
        if ledger.alive != "device":
            return
        if 0 <= ledger.signed_in_at <= (step + 1) * STEP:  # a claim may be a period ahead
            yield Action("reopen")
        yield Action("verify", (None,), client="void")
        for client in ("renewed", "given") if ledger.given_at >= 0 else ("renewed",):
            yield Action("verify", (None,), client=client)
            for s in range(step - 1, step + 2):
                yield Action("verify", ((ledger.generation, s),), client=client)
            yield Action("resync", (None, None), client=client)
            for s in range(step, step + 3):
                pair = (ledger.generation, s - 1), (ledger.generation, s)
                yield Action("resync", pair, client=client)

    def apply(self, node: Node, action: Action) -> Node:
        """Return the state after *action*, or *node* itself if nothing changed.

        :raises Violation: the rules forbid what was decided.
        """
        if action.name in ("tick", "back"):
            return replace(node, step=node.step + (1 if action.name == "tick" else -1))
        before, now = node.record, node.step * STEP
        self.source.generation = node.ledger.generation + (action.name in ISSUING)
        decision = self.operation(node, action).decide(before, now)
        expected = judge(node, action, decision, self.policy)
        if decision.principal is before:
            return node
        return Node(node.step, decision.principal, expected)

    def operation(self, node: Node, action: Action) -> Operation[Any]:
        """Build the operation of *action* in the state *node*."""
        if action.name in WITHOUT_CODES:
            return WITHOUT_CODES[action.name](self.operations, node.step * STEP)
        codes = tuple(CODES[token] if token else BAD for token in action.codes)
        token = self.token(node, action.client)
        match action.name:
            case "confirm":
                session = (bytes([action.session]) * 16).hex()
                return self.operations.confirm_enrollment(
                    WHO, session=session, code1=codes[0], code2=codes[1], by=ME
                )
            case "verify":
                return self.operations.verify(WHO, codes[0], client=token)
            case "resync":
                return self.operations.resync(
                    WHO, code1=codes[0], code2=codes[1], by=ME, client=token
                )
            case "adopt":
                key = KEYS[self.source.generation]
                return self.operations.adopt(WHO, by=SERVICE, key=key, system="another system")
            case "reopen":
                return self.operations.reopen(WHO, by=self.owner_with_claim(node))
        raise ValueError(action.name)

    def token(self, node: Node, client: str) -> ClientToken | None:
        """Return the client token that a sign-in or an administrator gave to the owner."""
        device = node.record.device
        if not client or device is None:
            return None
        if client == "void":
            device = replace(device, serial="another serial number")
        given = client == "given"
        token, _ = clients.issue_token(
            WHO, device, now=node.ledger.given_at if given else FIRST * STEP, seconds=1,
            kind=clients.GIVEN if given else clients.RENEWED, keys=self.source,
            random=self.source.random if given else lambda size: b"r" * size,
        )  # fmt: skip
        return token

    def owner_with_claim(self, node: Node) -> Actor:
        """Return the owner with the claim of the newest sign-in."""
        assert node.record.device is not None
        claim = guards.signed_claim(
            self.source, WHO, at=node.ledger.signed_in_at, serial=node.record.device.serial
        )
        return Actor.signed_in(WHO, mfa=claim)


WITHOUT_CODES: dict[str, Callable[[Operations, int], Operation[Any]]] = {
    "open": lambda operations, now: operations.open_enrollment(WHO, by=ME, label="u"),
    "open by service": lambda operations, now: operations.open_enrollment(
        WHO, by=SERVICE, label="u"
    ),
    "cancel": lambda operations, now: operations.cancel_enrollment(WHO, by=ME),
    "deactivate": lambda operations, now: operations.deactivate(WHO, by=SERVICE),
    "re-anchor": lambda operations, now: operations.reanchor(WHO, by=SERVICE),
    "forget": lambda operations, now: operations.forget(WHO, by=SERVICE),
    "mark spent": lambda operations, now: operations.mark_spent(WHO, by=SERVICE, until=now),
    "restore budget": lambda operations, now: operations.restore_budget(WHO, by=SERVICE),
    "give token": lambda operations, now: operations.give_client_token(WHO, by=SERVICE),
}


def digest_of(node: Node) -> bytes:
    """Digest what can matter later: not the revision, and not when the device was enrolled."""
    record = node.record
    device = record.device and replace(record.device, enrolled_at=0)
    seen = (
        node.step,
        node.ledger,
        device,
        record.enrollment,
        record.key_ref and record.key_ref.material,
        record.enrollment_times,
        record.seen_at,
        record.revision == 0,
    )
    return blake2b(repr(seen).encode(), digest_size=12).digest()


def search(policy: str, limit: int, beginning: tuple[Action, ...] = ()) -> SearchResult:
    """Search the histories under *policy* for a decision that the rules forbid."""
    return Explorer(POLICIES[policy]).search(limit, beginning)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Search every history for a decision against the rules."
    )
    parser.add_argument("--states", type=int, default=200_000, help="states for each policy")
    parser.add_argument(
        "--planted-states", type=int, default=3000, help="states for each planted bug"
    )
    options = parser.parse_args(arguments)
    from .planted_rules import PLANTS, search_planted, search_reissued

    failed = 0
    for policy in POLICIES:
        start = time.perf_counter()
        result = search(policy, options.states)
        failed += bool(result.problem)
        say(
            f"{policy}: {result.states} states, {result.transitions} transitions, "
            f"depth {result.depth}, {time.perf_counter() - start:.0f} s: "
            f"{result.problem or 'no violation'} {' > '.join(result.path)}"
        )
    searches = {
        name: lambda name=name: search_planted(name, options.planted_states) for name in PLANTS
    }
    searches["a destroyed key is issued again"] = lambda: search_reissued(options.planted_states)
    for name, run in searches.items():
        result = run()
        failed += not result.problem
        say(
            f"planted: {name}: after {result.states} states: "
            f"{result.problem or 'NOT FOUND'}: {' > '.join(result.path)}"
        )
    return min(failed, 1)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
