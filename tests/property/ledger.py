"""The rules once more, as a ledger: what each action on one principal must answer and change.

The ledger is computed from the actions alone. It shares no code with ``vmfa.rules``.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

from vmfa import (
    Actor,
    Decision,
    Key,
    KeyRef,
    Parameters,
    Policy,
    Principal,
    PrincipalId,
    Sync,
    VmfaError,
    totp,
)

STEP = 30
FIRST = 10  # the first step of the search: codes of earlier ones exist
LAST = 15
GENERATIONS = 2  # the number of keys that are ever issued
WHO = PrincipalId.user("1", "u")
ME, SERVICE = Actor.signed_in(WHO), Actor.trusted_service("explorer")
KEYS = [Key(blake2b(f"key {n}".encode(), digest_size=20).digest()) for n in range(GENERATIONS + 1)]
CODES = {
    (n, s): totp(key, s * STEP) for n, key in enumerate(KEYS) for s in range(FIRST - 8, LAST + 9)
}
BAD = next(code for n in range(10**6) if (code := f"{n:06}") not in CODES.values())
assert len(set(CODES.values())) == len(CODES), "a code must belong to one key and one step"

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
    "lanes": Policy(
        delay_from=3, failure_cap=4, budget=4, known_clients=True, known_client_reserve=2, **_SMALL
    ),
}
ISSUING = ("open", "open by service", "adopt")
IDEMPOTENT = ("mark spent", "reopen")
DEVICE_ACTIONS = ("deactivate", "verify", "resync", "restore budget", "give token", "reopen")


class TableKeys:
    """A key source that issues ``KEYS[generation]``. Its tags are hashes without a key."""

    scheme = "table"
    authenticate = False

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
        return blake2b(purpose.encode() + message, digest_size=8).hexdigest()

    def audit_tag(self, purpose: str, message: bytes) -> str:
        return ""

    def check(self, purpose: str, message: bytes, tag: str) -> bool:
        return tag == self.tag(purpose, message)

    def random(self, size: int) -> bytes:
        return bytes([self.generation]) * size

    def _ref(self) -> KeyRef:
        return KeyRef(scheme=self.scheme, key_id="", material=bytes([self.generation]))


class Ledger(NamedTuple):
    """What must be true of the record, computed without looking at it."""

    generation: int = 0  # keys issued so far; only the newest may be in use
    alive: str = ""  # "session", "device" or neither
    until: int = 0  # the second at which the session expires
    attempts: int = 0
    opened: int = 0  # sessions opened by the principal; the search covers less than a day
    spent: int = -1
    failures: int = 0  # without a client token, since the last success without one
    failed_at: int = 0
    known_failures: int = 0  # with a client token
    known_failed_at: int = 0
    streak: int = 0  # consecutive failures with and without a token
    signed_in_at: int = -1  # when the owner got the newest claim
    given_at: int = -1  # when a client token was given that is not used yet
    restored: bool = False  # the budget, within the last day
    by_owner: bool = True  # who opened the session
    binding: bool = False  # the owner needs a binding code
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
    client: str = ""  # the client token: none, "renewed", "given" or "void"

    def __str__(self) -> str:
        codes = f" {list(self.codes)}" if self.codes else ""
        session = f" of session {self.session}" if self.session else ""
        return (
            f"{self.name}{codes}{session}{f' with a {self.client} token' if self.client else ''}"
        )


@dataclass(frozen=True, slots=True)
class Node:
    step: int
    record: Principal
    ledger: Ledger


class Violation(Exception):
    """A decision that the rules forbid."""


# What must follow from an action, by the ledger alone


def judge(node: Node, action: Action, decision: Decision[Any], policy: Policy) -> Ledger:
    """Return the ledger after *decision*.

    :raises Violation: the rules forbid the decision.
    """
    before, after, now = node.record, decision.principal, node.step * STEP
    reason = decision.answer.reason if isinstance(decision.answer, VmfaError) else "yes"
    verdict, ledger = _expected(node, action, policy)
    require(verdict == reason, f"the answer must be {verdict!r}, not {reason!r}")
    changed = ledger != node.ledger or (verdict == "yes" and action.name not in IDEMPOTENT)
    if action.name == "forget":
        require(after.revision == 0 and after.key_ref is None, "a forgotten record must be gone")
        return ledger
    if changed:
        seen_at = max(node.ledger.seen_at, now)
        if action.name == "re-anchor":
            seen_at = now
        elif action.name == "mark spent":
            seen_at = node.ledger.seen_at
        ledger = ledger._replace(seen_at=seen_at)
        require(after.revision == before.revision + 1, "each change must be one revision")
        require(after.seen_at == ledger.seen_at, "seen_at must be the highest committed time")
    else:
        require(after is before, "without a change nothing must be written")
    numbers = [event.number for event in decision.events if event.stored]
    require(
        numbers == list(range(before.events + 1, after.events + 1)),
        "events must be numbered consecutively",
    )
    _agree(ledger, after, policy)
    old, new = before.device, after.device
    if old and new:
        require(old.serial == new.serial, "a device must not be replaced in place")
        require(new.last_step >= old.last_step, "last_step must be monotone")
        require(not old.disabled or new.disabled, "a disabled device must stay disabled")
    return ledger


def require(condition: bool, requirement: str) -> None:
    if not condition:
        raise Violation(requirement)


def _agree(ledger: Ledger, record: Principal, policy: Policy) -> None:
    """Require that the record agrees with the ledger."""
    device, session = record.device, record.enrollment
    require(
        (device is not None, session is not None)
        == (ledger.alive == "device", ledger.alive == "session"),
        f"there must be {ledger.alive or 'neither device nor session'}",
    )
    require(
        (record.key_ref.material[0] if record.key_ref else 0)
        == (ledger.generation if ledger.alive else 0),
        "only the newest key may be in use, and only by a device or session",
    )
    if session:
        require(
            (session.attempts, session.expires_at, session.opened_by_owner)
            == (ledger.attempts, ledger.until, ledger.by_owner),
            "attempts, expiry and owner must be those of the session",
        )
    if device:
        require(device.last_step == ledger.spent, "last_step must be the last accepted step")
        require(
            (device.failures, device.known_failures) == (ledger.failures, ledger.known_failures),
            "failures must grow by one in their lane and be cleared by success only",
        )
        require(
            ledger.streak <= device.failures + device.known_failures <= policy.failure_cap,
            "consecutive failures must not be undercounted",
        )
        if policy.known_clients:
            require(
                device.failures <= policy.failure_cap - policy.known_client_reserve,
                "failures without a client token must not use up the reserve",
            )
        require(
            (device.clients.given != "") == (ledger.given_at >= 0),
            "a given token must be usable once",
        )
        require(
            device.budget == ledger.credit // policy.budget_refill,
            "the budget must be refilled at its rate",
        )
        require(device.disabled == ledger.disabled, "the cap must disable, for good")
        require(
            (device.sync is Sync.IN_SYNC) == ledger.in_sync,
            "the pair must decide whether the device is in sync",
        )
        require(
            (device.drift, device.synced_drift, device.last_offset)
            == (ledger.drift, ledger.base, ledger.last_offset),
            "drift must move by one step after two deviations",
        )


def _expected(node: Node, action: Action, policy: Policy) -> tuple[str, Ledger]:
    """Return the reason of the refusal, or "yes", and the ledger after it."""
    unchanged = ledger = node.ledger
    step, now = node.step, node.step * STEP
    went_back = now < ledger.seen_at - STEP
    if action.name == "forget":
        return "yes", Ledger(generation=ledger.generation)
    expired = ledger.alive == "session" and now >= ledger.until
    if expired and action.name != "mark spent":  # which runs whatever the clock says
        if went_back:
            return "clock went back", unchanged
        ledger = ledger._replace(alive="", attempts=0, until=0, by_owner=True)
    if reason := _guard(node, ledger, action, policy, went_back):
        return reason, unchanged
    match action.name:
        case "deactivate":
            return "yes", _without_device(ledger)._replace(binding=ledger.disabled)
        case "cancel":
            if ledger.binding and not ledger.by_owner:
                return "access denied", unchanged
            return "yes", _without_device(ledger)
        case "open" | "open by service":
            return "yes", ledger._replace(
                generation=ledger.generation + 1,
                alive="session",
                until=now + policy.session_seconds,
                attempts=0,
                opened=ledger.opened + (action.name == "open"),
                by_owner=action.name == "open",
            )
        case "adopt":
            spent = step + policy.window
            ledger = ledger._replace(generation=ledger.generation + 1)
            return "yes", _assigned(ledger, spent, now, policy)._replace(failed_at=now)
        case "confirm":
            return _confirmed(ledger, action, step, now, policy)
        case "verify" | "resync":
            return _judged(ledger, action, step, now, policy)
    return _maintained(ledger, unchanged, action, step, now, policy)


def _maintained(
    ledger: Ledger, unchanged: Ledger, action: Action, step: int, now: int, policy: Policy
) -> tuple[str, Ledger]:
    match action.name:
        case "re-anchor":
            growing = ledger.credit % policy.budget_refill  # its start may be ahead of now
            return "yes", ledger._replace(
                failed_at=min(ledger.failed_at, now),
                known_failed_at=min(ledger.known_failed_at, now),
                until=min(ledger.until, now + policy.session_seconds),
                credit=ledger.credit - growing,
                credit_at=min(ledger.credit_at - growing, now),
            )
        case "mark spent":
            return "yes", _marked_spent(ledger, unchanged, step, policy)
        case "restore budget":
            full = policy.budget * policy.budget_refill
            return "yes", ledger._replace(credit=full, credit_at=now, restored=True)
        case "give token":
            return "yes", ledger._replace(given_at=now)
        case "reopen":
            if ledger.failures and ledger.signed_in_at <= ledger.failed_at:
                return "access denied", unchanged
            return "yes", ledger._replace(failures=0)
    raise ValueError(action.name)


def _guard(node: Node, ledger: Ledger, action: Action, policy: Policy, went_back: bool) -> str:
    """Return why *action* is refused in this state, or the empty string."""
    if action.name == "re-anchor":
        return "" if node.record.revision else "no device"
    if action.name == "mark spent":
        return ""
    if action.name in DEVICE_ACTIONS and ledger.alive != "device":
        return "no device"
    if action.name in ("cancel", "confirm") and (
        ledger.alive != "session" or action.session not in (0, ledger.generation)
    ):
        return "no session"
    if action.name in ISSUING and ledger.alive == "device":
        return "already assigned"
    if went_back and action.name != "deactivate":  # the service's evidence needs no clock
        return "clock went back"
    if action.name == "open" and ledger.binding:
        return "access denied"
    if action.name == "open" and ledger.opened >= policy.enrollments_per_day:
        return "too many sessions"
    return "too soon" if action.name == "restore budget" and ledger.restored else ""


def _marked_spent(ledger: Ledger, unchanged: Ledger, step: int, policy: Policy) -> Ledger:
    if ledger.alive == "session":
        return _without_device(ledger)
    if ledger.alive != "device":
        return unchanged
    spent = step + policy.resync_forward + policy.window
    return ledger._replace(spent=max(ledger.spent, spent))


def _without_device(ledger: Ledger) -> Ledger:
    return Ledger(
        generation=ledger.generation,
        opened=ledger.opened,
        seen_at=ledger.seen_at,
        binding=ledger.binding,
    )


def _assigned(ledger: Ledger, spent: int, now: int, policy: Policy) -> Ledger:
    return _without_device(ledger)._replace(
        alive="device",
        spent=spent,
        credit=policy.budget * policy.budget_refill,
        credit_at=now,
        binding=False,
    )


def _pair_of(action: Action, generation: int) -> int | None:
    """Return the step of code 2 if these are consecutive codes of the current key."""
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
    return "pair not accepted", _without_device(ledger)


def _judged(
    ledger: Ledger, action: Action, step: int, now: int, policy: Policy
) -> tuple[str, Ledger]:
    """Judge a code or a pair of the assigned device."""
    if ledger.disabled:
        return "disabled", ledger
    known = action.client == "renewed" or (action.client == "given" and ledger.given_at >= 0)
    reserve = policy.known_client_reserve if policy.known_clients and not known else 0
    tokens = _refilled(ledger, now, policy)[0] // policy.budget_refill
    if tokens <= reserve or (reserve and ledger.failures >= policy.failure_cap - reserve):
        return "closed", ledger
    failures = ledger.known_failures if known else ledger.failures
    failed_at = ledger.known_failed_at if known else ledger.failed_at
    over = failures - policy.delay_from
    delay = min(policy.delay_seconds * 2**over, policy.delay_cap) if over >= 0 else 0
    if delay and now < failed_at + delay:
        return "throttled", ledger
    cleared: dict[str, int] = {}
    if action.name == "resync":
        if ledger.spent - step > policy.resync_forward + policy.window + 1:
            return "pair not accepted", ledger  # no code can be accepted for a long time
        s = _pair_of(action, ledger.generation)
        if (
            s is None
            or not -policy.resync_back <= s - step <= policy.resync_forward
            or s - 1 <= ledger.spent
        ):
            return _failure(ledger, now, policy, "pair not accepted", known)
        drift = s - step if abs(s - step) > policy.window else 0
        if known:
            cleared["known_failures"] = 0
        return "yes", ledger._replace(
            spent=s,
            failures=0,
            streak=0,
            in_sync=True,
            base=drift,
            drift=drift,
            last_offset=0,
            **cleared,
        )
    if not ledger.in_sync:
        return "out of sync", ledger
    (token,) = action.codes
    here = step + ledger.drift
    if token is None or token[0] != ledger.generation or abs(token[1] - here) > policy.window:
        return _failure(ledger, now, policy, "not accepted", known)
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
    cleared["known_failures" if known else "failures"] = 0
    if action.client == "given" and known:
        cleared["given_at"] = -1
    return "yes", ledger._replace(
        spent=token[1], streak=0, drift=drift, last_offset=last_offset, signed_in_at=now, **cleared
    )


def _refilled(ledger: Ledger, now: int, policy: Policy) -> tuple[int, int]:
    """Return the budget in seconds of growth, and since when it has been growing."""
    full = policy.budget * policy.budget_refill
    grown = ledger.credit + max(0, now - ledger.credit_at)
    return (full, now) if grown >= full else (grown, max(ledger.credit_at, now))


def _failure(
    ledger: Ledger, now: int, policy: Policy, reason: str, known: bool
) -> tuple[str, Ledger]:
    credit, since = _refilled(ledger, now, policy)
    lane = "known_" if known else ""
    after = ledger._replace(
        credit=credit - policy.budget_refill, credit_at=since, streak=ledger.streak + 1
    )._replace(
        **{
            f"{lane}failures": getattr(ledger, f"{lane}failures") + 1,
            f"{lane}failed_at": max(now, ledger.seen_at),
        }
    )
    if after.failures + after.known_failures >= policy.failure_cap:
        return "disabled", after._replace(disabled=True)
    return reason, after
