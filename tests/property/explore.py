"""Every history of one principal, up to a bound: an exhaustive breadth-first search over the real rules.

The rules decide (``Operations.decide``); a ledger, kept by other means, says what they may decide. Time is a few
steps of 30 seconds, randomness a counter of keys, the policy small. From each state every action is tried: the clock
ticks or goes back, codes and pairs of the living key and of every dead one are presented, sessions are opened,
cancelled and left to expire, devices removed, adopted and forgotten. The search ends at the first decision that
breaks an invariant, with the shortest way to it, or when it has seen so many states.

A long run, from the root of the repository::

    python -m tests.property.explore --states 200000

prints states, transitions and depth for each policy, then looks for every planted bug.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, NamedTuple

from vmfa import (
    Actor,
    CodeRejected,
    Decision,
    Key,
    KeyRef,
    Operations,
    Parameters,
    Policy,
    Principal,
    PrincipalId,
    Sync,
    VmfaError,
    otp,
    rules,
    totp,
)
from vmfa.operations import Operation

STEP = 30
FIRST = 10  # the step at which time begins: codes of earlier ones exist
LAST = 15  # and ends
GENERATIONS = 2  # keys that are ever issued
WHO = PrincipalId.user("1", "u")
ME, SERVICE = Actor.signed_in(WHO), Actor.trusted_service("explorer")
KEYS = [Key(blake2b(f"key {n}".encode(), digest_size=20).digest()) for n in range(GENERATIONS + 1)]
CODES = {
    (n, s): totp(key, s * STEP) for n, key in enumerate(KEYS) for s in range(FIRST - 8, LAST + 9)
}
BAD = next(code for n in range(10**6) if (code := f"{n:06}") not in CODES.values())
assert len(set(CODES.values())) == len(CODES), (
    "every code of the search belongs to one key and one step"
)

_SMALL: dict[str, Any] = {
    "window": 1,
    "enroll_back": 2,
    "enroll_forward": 1,
    "resync_back": 2,
    "resync_forward": 2,
    "login_drift": 1,
    "session_seconds": 2 * STEP,
    "session_attempts": 2,
    "enrollments_per_day": 1,
    "delay_seconds": STEP,
    "delay_cap": 2 * STEP,
    "budget_refill": 4 * STEP,
    "budget_warning": 1,
}
POLICIES = {
    "cap": Policy(delay_from=1, failure_cap=3, budget=5, **_SMALL),
    "budget": Policy(delay_from=3, failure_cap=100, budget=2, **_SMALL),
}


class Source:
    """The key of the generation that is about to be issued; tags that cost nothing, for nothing is stored."""

    scheme = "table"
    sealing = False

    def __init__(self) -> None:
        self.generation = 0

    def issue(
        self, principal: PrincipalId, serial: str, parameters: Parameters
    ) -> tuple[KeyRef, Key]:
        return self._ref(), KEYS[self.generation]

    def adopt(
        self, principal: PrincipalId, serial: str, parameters: Parameters, key: Key
    ) -> KeyRef:
        return self._ref()

    def reveal(
        self, ref: KeyRef, principal: PrincipalId, serial: str, parameters: Parameters
    ) -> Key:
        return KEYS[ref.material[0]]

    def tag(self, purpose: str, message: bytes) -> str:
        return "tag"

    def check(self, purpose: str, message: bytes, tag: str) -> bool:
        return True

    def random(self, size: int) -> bytes:
        return bytes([self.generation]) * size

    def _ref(self) -> KeyRef:
        return KeyRef(scheme=self.scheme, key_id="", material=bytes([self.generation]))


class Ledger(NamedTuple):
    """What must be true, kept without looking at the record."""

    generation: int = 0  # keys issued so far; the newest is the only one that may live
    alive: str = ""  # "session", "device" or neither
    until: int = 0  # the second at which the session expires
    attempts: int = 0
    opened: int = 0  # by the principal itself: all within a day
    spent: int = -1
    failures: int = 0
    failed_at: int = 0
    credit: int = 0  # the guess budget in seconds of growth
    credit_at: int = 0
    in_sync: bool = True
    disabled: bool = False
    base: int = 0  # the drift that the last pair set
    drift: int = 0
    last_offset: int = 0
    seen_at: int = 0


class Action(NamedTuple):
    name: str
    codes: tuple[tuple[int, int] | None, ...] = ()  # key and step of each; None: a wrong code
    session: int = 0

    def __str__(self) -> str:
        return f"{self.name}{list(self.codes) if self.codes else ''}{f' of {self.session}' if self.session else ''}"


@dataclass(frozen=True, slots=True)
class Node:
    step: int
    record: Principal
    ledger: Ledger


class Violation(Exception):
    """A decision that the rules forbid."""


@dataclass
class Found:
    """How a search ended: *problem* is empty if every decision was allowed."""

    states: int
    transitions: int
    depth: int
    problem: str = ""
    way: tuple[str, ...] = ()


class Explorer:
    def __init__(self, policy: Policy, source: Source | None = None) -> None:
        self.policy = policy
        self.source = source or Source()
        self.operations = Operations(
            self.source,
            issuer="Explorer",
            policy=policy,
            random=self.source.random,
            authenticate=False,
        )

    def search(self, limit: int, beginning: tuple[Action, ...] = ()) -> Found:
        start = Node(FIRST, Principal(id=WHO), Ledger())
        for action in beginning:
            start = self.apply(start, action)
        came: dict[bytes, tuple[bytes, Action] | None] = {_digest(start): None}
        queue = deque([(start, _digest(start), 0)])
        transitions = depth = 0
        while queue and len(came) < limit:
            node, here, depth = queue.popleft()
            for action in self.actions(node):
                transitions += 1
                try:
                    after = self.apply(node, action)
                except (Violation, AssertionError) as problem:
                    way = [str(action)]
                    while (link := came[here]) is not None:
                        here, earlier = link
                        way.append(str(earlier))
                    return Found(len(came), transitions, depth, str(problem), tuple(reversed(way)))
                if after is not node and (digest := _digest(after)) not in came:
                    came[digest] = (here, action)
                    queue.append((after, digest, depth + 1))
        return Found(len(came), transitions, depth)

    def actions(self, node: Node) -> Iterator[Action]:
        step, ledger = node.step, node.ledger
        if step < LAST:
            yield Action("tick")
        if step > FIRST:
            yield Action("back")
        living, dead = ledger.generation, range(1, ledger.generation)
        if living < GENERATIONS:
            yield from map(Action, ISSUING)
        yield from map(Action, ("cancel", "deactivate", "re-anchor", "forget"))
        pairs: list[tuple[tuple[int, int] | None, ...]] = [(None, None)]
        if living:
            pairs += [((living, s - 1), (living, s)) for s in range(step - 3, step + 4)]
            pairs += [
                ((living, step), (living, step - 1)),
                ((living, step - 2), (living, step)),
                ((living, step), (living, step)),
                ((living, step - 1), None),
                (None, (living, step)),
            ]
            pairs += [((n, step - 1), (n, step)) for n in dead]
        for pair in pairs:
            yield Action("resync", pair)
            yield Action("confirm", pair, living)
        for n in dead:
            yield Action("confirm", ((living, step - 1), (living, step)), n)
        yield Action("verify", (None,))
        for s in range(step - 3, step + 4) if living else ():
            yield Action("verify", ((living, s),))
        for n in dead:
            yield Action("verify", ((n, step),))

    def apply(self, node: Node, action: Action) -> Node:
        """The state after *action*; the same node if nothing changed. :raises Violation:"""
        if action.name in ("tick", "back"):
            return replace(node, step=node.step + (1 if action.name == "tick" else -1))
        before, now = node.record, node.step * STEP
        ledger = node.ledger
        self.source.generation = ledger.generation + (action.name in ISSUING)
        made = self.operation(action).decide(before, now)
        expected = judge(node, action, made, self.policy)
        return node if made.principal is before else Node(node.step, made.principal, expected)

    def operation(self, action: Action) -> Operation[Any]:
        codes = tuple(CODES[token] if token else BAD for token in action.codes)
        return OPERATIONS[action.name](self, codes, (bytes([action.session]) * 16).hex())


OPERATIONS: dict[str, Callable[[Explorer, tuple[str, ...], str], Operation[Any]]] = {
    "open": lambda e, codes, session: e.operations.open_enrollment(WHO, by=ME, label="u"),
    "open by service": lambda e, codes, session: e.operations.open_enrollment(
        WHO, by=SERVICE, label="u"
    ),
    "confirm": lambda e, codes, session: e.operations.confirm_enrollment(
        WHO, session=session, code1=codes[0], code2=codes[1], by=ME
    ),
    "cancel": lambda e, codes, session: e.operations.cancel_enrollment(WHO, by=ME),
    "verify": lambda e, codes, session: e.operations.verify(WHO, codes[0]),
    "resync": lambda e, codes, session: e.operations.resync(
        WHO, code1=codes[0], code2=codes[1], by=ME
    ),
    "deactivate": lambda e, codes, session: e.operations.deactivate(WHO, by=SERVICE),
    "adopt": lambda e, codes, session: e.operations.adopt(
        WHO, by=SERVICE, key=KEYS[e.source.generation], source="elsewhere"
    ),
    "re-anchor": lambda e, codes, session: e.operations.reanchor(WHO, by=SERVICE),
    "forget": lambda e, codes, session: e.operations.forget(WHO, by=SERVICE),
}
ISSUING = ("open", "open by service", "adopt")


def _digest(node: Node) -> bytes:
    """All of a state that can matter later: not how often it changed, nor when the device was enrolled."""
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


# The judge: what the rules say must follow, from the ledger alone


def judge(node: Node, action: Action, made: Decision[Any], policy: Policy) -> Ledger:
    """The ledger after a decision. :raises Violation: the decision is not what the rules say."""
    before, after, now = node.record, made.principal, node.step * STEP
    told = made.answer if isinstance(made.answer, VmfaError) else None
    verdict, ledger = _expected(node, action, policy)
    _must(
        verdict == (told.reason if told else "yes"),
        f"{verdict} is due, not {told.reason if told else 'yes'}",
    )
    changed = ledger != node.ledger or verdict == "yes"
    if action.name == "forget":
        _must(after.revision == 0 and after.key_ref is None, "the forgotten stays")
        return ledger
    if changed:
        ledger = ledger._replace(
            seen_at=now if action.name == "re-anchor" else max(node.ledger.seen_at, now)
        )
        _must(after.revision == before.revision + 1, "each change is one revision")
        _must(after.seen_at == ledger.seen_at, "verifier time is the highest committed")
    else:
        _must(after is before, "what changes nothing is not written")
    numbers = [event.number for event in made.events if event.stored]
    _must(numbers == list(range(before.events + 1, after.events + 1)), "events are numbered on")
    _agree(ledger, after, policy)
    old, new = before.device, after.device
    if old and new:
        _must(old.serial == new.serial, "one device: none is replaced in place")
        _must(new.last_step >= old.last_step, "last_step is monotone")
        _must(not old.disabled or new.disabled, "the disabled stay so")
    return ledger


def _must(held: bool, sentence: str) -> None:
    if not held:
        raise Violation(sentence)


def _agree(ledger: Ledger, record: Principal, policy: Policy) -> None:
    """The record says what the ledger says."""
    device, session = record.device, record.enrollment
    _must(
        (device is not None, session is not None)
        == (ledger.alive == "device", ledger.alive == "session"),
        f"alive is {ledger.alive or 'nothing'}",
    )
    _must(
        (record.key_ref.material[0] if record.key_ref else 0)
        == (ledger.generation if ledger.alive else 0),
        "only the newest key lives, and none without device or session",
    )
    if session:
        _must(
            (session.attempts, session.expires_at) == (ledger.attempts, ledger.until),
            "the session's numbers",
        )
    if device:
        _must(device.last_step == ledger.spent, "what was accepted is spent, and nothing else")
        _must(
            device.failures == ledger.failures,
            "failures grow by one, and only success forgets them",
        )
        _must(
            device.budget == ledger.credit // policy.budget_refill,
            "the budget grows at its rate and no faster",
        )
        _must(device.disabled == ledger.disabled, "disabled by cap or budget, never revived")
        _must(
            (device.sync is Sync.IN_SYNC) == ledger.in_sync, "in sync or out of it as the pair was"
        )
        _must(
            (device.drift, device.synced_drift, device.last_offset)
            == (ledger.drift, ledger.base, ledger.last_offset),
            "drift moves one step after two deviations, near what the pair set",
        )


def _expected(node: Node, action: Action, policy: Policy) -> tuple[str, Ledger]:
    """The reason of the refusal, or "yes", and the ledger after it."""
    ledger, step, now = node.ledger, node.step, node.step * STEP
    went_back = now < ledger.seen_at - STEP
    if action.name == "forget":
        return "yes", Ledger(generation=ledger.generation)
    if ledger.alive == "session" and now >= ledger.until:
        if went_back:
            return "clock went back", ledger
        ledger = ledger._replace(alive="", attempts=0, until=0)
    if reason := _guard(node, ledger, action, policy, went_back):
        return reason, ledger
    match action.name:
        case "re-anchor":
            growing = (
                ledger.credit % policy.budget_refill
            )  # since a second that may lie ahead, too
            return "yes", ledger._replace(
                failed_at=min(ledger.failed_at, now),
                until=min(ledger.until, now + policy.session_seconds),
                credit=ledger.credit - growing,
                credit_at=min(ledger.credit_at - growing, now),
            )
        case "deactivate" | "cancel":
            return "yes", _nothing(ledger)
        case "open" | "open by service":
            return "yes", ledger._replace(
                generation=ledger.generation + 1,
                alive="session",
                until=now + policy.session_seconds,
                attempts=0,
                opened=ledger.opened + (action.name == "open"),
            )
        case "adopt":
            spent = step + policy.window
            ledger = ledger._replace(generation=ledger.generation + 1)
            return "yes", _assigned(ledger, spent, now, policy)._replace(failed_at=now)
        case "confirm":
            return _confirmed(ledger, action, step, now, policy)
    return _judged(ledger, action, step, now, policy)


def _guard(node: Node, ledger: Ledger, action: Action, policy: Policy, went_back: bool) -> str:
    """Why *action* does not fit this state, if it does not."""
    if action.name == "re-anchor":
        return "" if node.record.revision else "no device"
    if action.name in ("deactivate", "verify", "resync") and ledger.alive != "device":
        return "no device"
    if action.name in ("cancel", "confirm") and (
        ledger.alive != "session" or action.session not in (0, ledger.generation)
    ):
        return "no session"
    if action.name in ISSUING and ledger.alive == "device":
        return "already assigned"
    if went_back:
        return "clock went back"
    return (
        "too many sessions"
        if action.name == "open" and ledger.opened >= policy.enrollments_per_day
        else ""
    )


def _nothing(ledger: Ledger) -> Ledger:
    return Ledger(generation=ledger.generation, opened=ledger.opened, seen_at=ledger.seen_at)


def _assigned(ledger: Ledger, spent: int, now: int, policy: Policy) -> Ledger:
    return _nothing(ledger)._replace(
        alive="device", spent=spent, credit=policy.budget * policy.budget_refill, credit_at=now
    )


def _pair_of(action: Action, generation: int) -> int | None:
    """The step of code 2, if these are consecutive codes of the living key."""
    first, second = action.codes
    consecutive = (
        first and second and first[0] == second[0] == generation and first[1] + 1 == second[1]
    )
    return second[1] if consecutive and second else None


def _confirmed(
    ledger: Ledger, action: Action, step: int, now: int, policy: Policy
) -> tuple[str, Ledger]:
    s = _pair_of(action, ledger.generation)
    if s is not None and -policy.enroll_back <= s - step <= policy.enroll_forward:
        return "yes", _assigned(ledger, s, now, policy)._replace(
            in_sync=abs(s - step) <= policy.window
        )
    if ledger.attempts + 1 < policy.session_attempts:
        return "pair not accepted", ledger._replace(attempts=ledger.attempts + 1)
    return "pair not accepted", _nothing(ledger)


def _judged(
    ledger: Ledger, action: Action, step: int, now: int, policy: Policy
) -> tuple[str, Ledger]:
    """A code or a pair for the assigned device."""
    if ledger.disabled:
        return "disabled", ledger
    over = ledger.failures - policy.delay_from
    delay = min(policy.delay_seconds * 2**over, policy.delay_cap) if over >= 0 else 0
    if delay and now < ledger.failed_at + delay:
        return "throttled", ledger
    if action.name == "resync":
        s = _pair_of(action, ledger.generation)
        if (
            s is None
            or not -policy.resync_back <= s - step <= policy.resync_forward
            or s - 1 <= ledger.spent
        ):
            return _failure(ledger, now, policy, "pair not accepted")
        drift = s - step if abs(s - step) > policy.window else 0
        return "yes", ledger._replace(
            spent=s, failures=0, in_sync=True, base=drift, drift=drift, last_offset=0
        )
    if not ledger.in_sync:
        return "out of sync", ledger
    (token,) = action.codes
    here = step + ledger.drift
    if token is None or token[0] != ledger.generation or abs(token[1] - here) > policy.window:
        return _failure(ledger, now, policy, "not accepted")
    if token[1] <= ledger.spent:
        return "already used", ledger
    side = token[1] - here
    drift, last_offset = ledger.drift, side
    if (
        side
        and side == ledger.last_offset
        and abs(drift + side - ledger.base) <= policy.login_drift
    ):
        drift, last_offset = drift + side, 0
    return "yes", ledger._replace(spent=token[1], failures=0, drift=drift, last_offset=last_offset)


def _failure(ledger: Ledger, now: int, policy: Policy, reason: str) -> tuple[str, Ledger]:
    full = policy.budget * policy.budget_refill
    credit, since = ledger.credit, ledger.credit_at
    grown = credit + max(0, now - since)
    credit_now, since = (full, now) if grown >= full else (grown, max(since, now))
    credit = credit_now - policy.budget_refill
    failures = ledger.failures + 1
    disabled = failures >= policy.failure_cap or credit < policy.budget_refill
    after = ledger._replace(
        failures=failures,
        failed_at=max(now, ledger.seen_at),
        credit=credit,
        credit_at=since,
        disabled=disabled,
    )
    return "disabled" if disabled else reason, after


# Planted bugs: each a mistake that somebody could make in the rules, and each must be found


def _device(record: Principal, **changes: Any) -> Principal:
    return replace(record, device=replace(record.device, **changes)) if record.device else record


def _around(
    name: str,
    *,
    before: Callable[[Principal], Principal] = lambda record: record,
    after: Callable[[Principal, Principal, Any], Principal] = lambda old, new, answer: new,
) -> Iterator[None]:
    """The rule *name* sees *before* of its record, and *after* of what it decided is committed."""
    real = getattr(rules, name)

    def planted(record: Principal, case: Any, *more: Any) -> Decision[Any]:
        made = real(before(record), case, *more)
        return replace(made, principal=after(record, made.principal, made.answer))

    with _swapped(rules, name, planted):
        yield


@contextmanager
def _swapped(holder: Any, name: str, value: Any) -> Iterator[None]:
    real = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        setattr(holder, name, real)


def _with_policy(name: str, **changes: Any) -> Iterator[None]:
    """The rule *name* works with other numbers than the policy's."""
    real = getattr(rules, name)

    def planted(record: Principal, case: Any, *more: Any) -> Decision[Any]:
        return real(record, replace(case, policy=case.policy.replace(**changes)), *more)

    with _swapped(rules, name, planted):
        yield


def _keeps(field: str) -> Callable[[Principal, Principal, Any], Principal]:
    """The field keeps the value it had."""
    return lambda old, new, answer: (
        _device(new, **{field: getattr(old.device, field)}) if new.device else new
    )


def _highest(old: Principal, new: Principal, answer: Any) -> Principal:
    return (
        _device(new, last_step=max(old.device.last_step, new.device.last_step))
        if old.device
        else new
    )


def _scan_without_first(
    key: Key, codes: tuple[str, ...], steps: range, digits: int, algorithm: str
) -> tuple[list[int], ...]:
    found = otp.scan(key, codes, steps, digits, algorithm)
    return (list(steps), found[1]) if len(codes) == 2 else found


def _reversed_too(
    record: Principal, case: Any, session: str, code1: str, code2: str
) -> Decision[Any]:
    made = _REAL_CONFIRM(record, case, session, code1, code2)
    return (
        _REAL_CONFIRM(record, case, session, code2, code1)
        if isinstance(made.answer, CodeRejected)
        else made
    )


_REAL_CONFIRM = rules.confirm_enrollment
_REAL_FINISHED = Operation._finished


def _not_advanced(self: Any, before: Principal, *more: Any) -> Decision[Any]:
    made = _REAL_FINISHED(self, before, *more)
    return replace(made, principal=replace(made.principal, revision=max(1, before.revision)))


class _Reissuing(Source):
    """The second enrollment gets the key of the first."""

    def issue(
        self, principal: PrincipalId, serial: str, parameters: Parameters
    ) -> tuple[KeyRef, Key]:
        return self._ref(), KEYS[1]

    def reveal(
        self, ref: KeyRef, principal: PrincipalId, serial: str, parameters: Parameters
    ) -> Key:
        return KEYS[1]


Plant = Callable[[], Iterator[None]]
PLANTS: dict[str, tuple[str, Plant]] = {
    "a code at last_step is fresh": (
        "cap",
        lambda: _around(
            "verify",
            before=lambda r: (
                _device(r, last_step=max(-1, r.device.last_step - 1)) if r.device else r
            ),
            after=_highest,
        ),
    ),
    "no replay state": (
        "cap",
        lambda: _around("verify", before=lambda r: _device(r, last_step=-1), after=_highest),
    ),
    "an accepted code is not spent": ("cap", lambda: _around("verify", after=_keeps("last_step"))),
    "the pair of an enrollment is not spent": (
        "cap",
        lambda: _around(
            "confirm_enrollment", after=lambda old, new, answer: _device(new, last_step=-1)
        ),
    ),
    "the first code of an enrollment alone is spent": (
        "cap",
        lambda: _around(
            "confirm_enrollment",
            after=lambda old, new, answer: (
                _device(new, last_step=new.device.last_step - 1) if new.device else new
            ),
        ),
    ),
    "a resynchronisation takes spent codes": (
        "cap",
        lambda: _around("resync", before=lambda r: _device(r, last_step=-1), after=_highest),
    ),
    "the pair of a resynchronisation is not spent": (
        "cap",
        lambda: _around("resync", after=_keeps("last_step")),
    ),
    "a resynchronisation looks further than its limit": (
        "cap",
        lambda: _with_policy("resync", resync_back=3),
    ),
    "an enrollment looks further than its limit": (
        "cap",
        lambda: _with_policy("confirm_enrollment", enroll_forward=2),
    ),
    "code 1 is not checked": ("cap", lambda: _patched(rules, "scan", _scan_without_first)),
    "a reversed pair assigns": (
        "cap",
        lambda: _patched(rules, "confirm_enrollment", _reversed_too),
    ),
    "a late pair is in sync": (
        "cap",
        lambda: _around(
            "confirm_enrollment", after=lambda old, new, answer: _device(new, sync=Sync.IN_SYNC)
        ),
    ),
    "a device out of sync signs in": (
        "cap",
        lambda: _around(
            "verify", before=lambda r: _device(r, sync=Sync.IN_SYNC), after=_keeps("sync")
        ),
    ),
    "a wrong code is not counted": (
        "cap",
        lambda: _around(
            "verify", after=lambda old, new, answer: old if isinstance(answer, VmfaError) else new
        ),
    ),
    "a wrong pair is not counted": (
        "cap",
        lambda: _around(
            "resync", after=lambda old, new, answer: old if isinstance(answer, VmfaError) else new
        ),
    ),
    "a failed resynchronisation forgets the failures": (
        "cap",
        lambda: _around("resync", after=lambda old, new, answer: _device(new, failures=0)),
    ),
    "a success keeps the failures": ("cap", lambda: _around("verify", after=_keeps("failures"))),
    "no delay": ("cap", lambda: _with_policy("usable_device", delay_from=100)),
    "the delay does not grow": ("cap", lambda: _with_policy("usable_device", delay_cap=STEP)),
    "one failure more than the cap": ("cap", lambda: _with_policy("verify", failure_cap=4)),
    "an empty budget does not disable": (
        "budget",
        lambda: _around("verify", after=_keeps("disabled")),
    ),
    "a success refills the budget": (
        "budget",
        lambda: _around(
            "verify",
            after=lambda old, new, answer: (
                new if isinstance(answer, VmfaError) else _device(new, budget=2)
            ),
        ),
    ),
    "the budget grows too fast": (
        "budget",
        lambda: _with_policy("verify", budget_refill=2 * STEP),
    ),
    "a full budget saves up": (
        "budget",
        lambda: _around(
            "verify",
            after=lambda old, new, answer: (
                _device(new, budget_updated_at=old.device.budget_updated_at) if new.device else new
            ),
        ),
    ),
    "a disabled device is revived by a pair": (
        "budget",
        lambda: _around("resync", before=lambda r: _device(r, disabled=False)),
    ),
    "a disabled device signs in": (
        "budget",
        lambda: _around(
            "verify", before=lambda r: _device(r, disabled=False), after=_keeps("disabled")
        ),
    ),
    "drift moves at once": (
        "cap",
        lambda: _around("verify", before=lambda r: _device(r, last_offset=1)),
    ),
    "drift is not bounded": ("cap", lambda: _with_policy("verify", login_drift=5)),
    "an attempt of the wizard is not counted": (
        "cap",
        lambda: _around(
            "confirm_enrollment",
            after=lambda old, new, answer: old if isinstance(answer, VmfaError) else new,
        ),
    ),
    "one attempt of the wizard too many": (
        "cap",
        lambda: _with_policy("confirm_enrollment", session_attempts=3),
    ),
    "a session never expires": (
        "cap",
        lambda: _patched(rules, "without_expired", lambda record, case: (record, ())),
    ),
    "any session name will do": (
        "cap",
        lambda: _patched(rules, "_same_text", lambda ours, theirs: True),
    ),
    "a cancelled session goes on": (
        "cap",
        lambda: _around("cancel_enrollment", after=lambda old, new, answer: old),
    ),
    "a superseded key goes on": (
        "cap",
        lambda: _around(
            "open_enrollment",
            after=lambda old, new, answer: replace(new, key_ref=old.key_ref or new.key_ref),
        ),
    ),
    "enrollment_times are not counted": (
        "cap",
        lambda: _with_policy("open_enrollment", enrollments_per_day=5),
    ),
    "opening beside a device": (
        "cap",
        lambda: _around(
            "open_enrollment",
            before=lambda r: replace(r, device=None, key_ref=None) if r.device else r,
        ),
    ),
    "an import overwrites a device": (
        "cap",
        lambda: _around(
            "adopt", before=lambda r: replace(r, device=None, key_ref=None) if r.device else r
        ),
    ),
    "an import may be replayed": (
        "cap",
        lambda: _around(
            "adopt",
            after=lambda old, new, answer: _device(new, last_step=new.device.last_step - 1),
        ),
    ),
    "a deactivated device goes on": (
        "cap",
        lambda: _around("deactivate", after=lambda old, new, answer: old),
    ),
    "a clock gone back is not noticed": (
        "cap",
        lambda: _patched(rules, "check_clock", lambda record, case: None),
    ),
    "re-anchoring lowers last_step": (
        "cap",
        lambda: _around("reanchor", after=lambda old, new, answer: _device(new, last_step=-1)),
    ),
    "re-anchoring clears the failures": (
        "cap",
        lambda: _around("reanchor", after=lambda old, new, answer: _device(new, failures=0)),
    ),
    "a revision is not advanced": ("cap", lambda: _patched(Operation, "_finished", _not_advanced)),
}


def _patched(holder: Any, name: str, value: Any) -> Iterator[None]:
    with _swapped(holder, name, value):
        yield


def search(policy: str, limit: int, beginning: tuple[Action, ...] = ()) -> Found:
    """The rules as they are."""
    return Explorer(POLICIES[policy]).search(limit, beginning)


_TICK, _ADOPT, _WRONG = Action("tick"), Action("adopt"), Action("resync", (None, None))
_TWO_FAILURES = (_ADOPT, _WRONG, _TICK, _WRONG)
BEGINNINGS: dict[str, tuple[Action, ...]] = {  # for bugs that show only after a long life
    "a full budget saves up": (_ADOPT, *[_TICK] * 4),
    "drift is not bounded": (
        Action("open"),
        Action("confirm", ((1, 8), (1, 9)), 1),
        Action("verify", ((1, 11),)),
        _TICK,
        Action("verify", ((1, 12),)),
    ),
    "a resynchronisation looks further than its limit": (
        Action("open"),
        Action("confirm", ((1, 7), (1, 8)), 1),
        _TICK,
        _TICK,
    ),
    "the delay does not grow": _TWO_FAILURES,
    "one failure more than the cap": _TWO_FAILURES,
    "a clock gone back is not noticed": (_TICK, _TICK, _ADOPT),
}


def search_planted(name: str, limit: int) -> Found:
    """The rules with the bug *name*."""
    policy, plant = PLANTS[name]
    with contextmanager(plant)():
        return search(policy, limit, BEGINNINGS.get(name, ()))


def search_reissued(limit: int) -> Found:
    """The rules as they are, over a source that gives a dead key out again."""
    return Explorer(POLICIES["cap"], _Reissuing()).search(limit)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Search every history for a decision against the rules."
    )
    parser.add_argument("--states", type=int, default=200_000, help="states for each policy")
    parser.add_argument(
        "--planted-states", type=int, default=3000, help="states for each planted bug"
    )
    options = parser.parse_args(arguments)
    wrong = 0
    for policy in POLICIES:
        start = time.perf_counter()
        found = search(policy, options.states)
        wrong += bool(found.problem)
        say(
            f"{policy}: {found.states} states, {found.transitions} transitions, depth {found.depth}, "
            f"{time.perf_counter() - start:.0f} s: {found.problem or 'no violation'} {' > '.join(found.way)}"
        )
    searches = {
        name: lambda name=name: search_planted(name, options.planted_states) for name in PLANTS
    }
    searches["a dead key is issued again"] = lambda: search_reissued(options.planted_states)
    for name, run in searches.items():
        found = run()
        wrong += not found.problem
        say(
            f"planted: {name}: after {found.states} states: {found.problem or 'NOT FOUND'}: {' > '.join(found.way)}"
        )
    return min(wrong, 1)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
