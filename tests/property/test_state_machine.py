"""Random histories of two principals over the real registry, compared with a model of what
happened.

The search of ``explore.py`` is exhaustive and small. This one is wide: the default policy, any
second, real keys, and two principals whose codes are tried on each other. The model computes each
answer from the whole past.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support import MASTER, START
from vmfa import (
    Actor,
    DerivedKeys,
    DeviceRegistry,
    Key,
    MemoryStore,
    MfaClaim,
    PrincipalId,
    Sync,
    VmfaError,
    totp,
)
from vmfa.testing import FrozenClock

pytestmark = pytest.mark.slow

USERS = [PrincipalId.user("1", "a"), PrincipalId.user("1", "b")]
SERVICE = Actor.trusted_service("machine")
DAY, TOKEN = 86400, 2 * 86400


@dataclass
class Device:
    key: Key
    serial: str
    in_sync: bool
    spent: int  # the highest step that was accepted
    base: int = 0  # the drift that the last pair set
    enrolled: int = 0
    failed: list[int] = field(default_factory=list)  # the times of all failures
    streak: list[int] = field(default_factory=list)  # of those since the last success
    sides: list[int] = field(default_factory=list)  # of the codes accepted since the last pair
    claim: MfaClaim | None = None  # of the last sign-in

    def wait(self, now: int) -> int:
        over = len(self.streak) - 3
        delay = min(15 * 2**over, 3600) if over >= 0 else 0
        return max(0, self.streak[-1] + delay - now) if delay else 0

    def tokens(self, now: int) -> tuple[int, int]:
        """Return the guess budget and since when its next token has been growing.

        One token returns in 48 hours while one is missing, and a failure does not restart that.
        """
        left, growing = 100, self.enrolled
        for at in [*self.failed, now]:
            while left < 100 and at - growing >= TOKEN:
                left, growing = left + 1, growing + TOKEN
            if left == 100:
                growing = at
            left -= 1
        return left + 1, growing

    def budget(self) -> int:
        """Return the tokens after the last failure."""
        return self.tokens(self.failed[-1])[0] if self.failed else 100

    def disabled(self) -> bool:
        return len(self.streak) >= 100

    def drift(self) -> int:
        drift, last = self.base, 0
        for side in self.sides:
            moves = side != 0 and side == last and abs(drift + side - self.base) <= 2
            drift, last = (drift + side, 0) if moves else (drift, side)
        return drift

    def succeed(self, step: int) -> None:
        self.spent = step
        self.streak.clear()


@dataclass
class Session:
    name: str
    key: Key
    serial: str
    until: int
    by_owner: bool
    attempts: int = 0


@dataclass
class History:
    """What happened to one principal."""

    device: Device | None = None
    session: Session | None = None
    enrollment_times: list[int] = field(default_factory=list)
    removed: list[tuple[Key, MfaClaim | None]] = field(default_factory=list)
    binding: tuple[str, int] | None = None  # the code that the owner needs, and until when


class Machine(RuleBasedStateMachine):
    @initialize(enrolled=st.sampled_from([True, True, False]))
    def begin(self, enrolled: bool) -> None:
        self.clock = FrozenClock(START)
        self.store = MemoryStore()
        self.registry = DeviceRegistry(
            self.store,
            keys=DerivedKeys(MASTER),
            issuer="Example",
            clock=self.clock,
            observer=self.observe,
        )
        self.histories = {who: History() for who in USERS}
        self.observed = 0
        if enrolled:
            self.open(USERS[0], by_service=False)
            self.confirm(USERS[0], 0, "pair")

    def observe(self, event: object) -> None:
        self.observed += 1

    @property
    def now(self) -> int:
        return int(self.clock())

    @property
    def here(self) -> int:
        return self.now // 30

    def ask(self, act: Any, expected: str) -> Any:
        """Run *act*, whose answer must be *expected*: "yes" or the reason of a refusal. It must be
        observed.
        """
        observed = self.observed
        try:
            answer, reason = act(), "yes"
        except VmfaError as error:
            answer, reason = error, error.reason
        assert reason == expected, f"{reason}, not {expected}"
        assert self.observed > observed
        return answer

    def end_session(self, history: History) -> None:
        if history.session:
            history.removed.append((history.session.key, None))
            history.session = None

    def touch(self, history: History) -> None:
        """Let a session that has expired end. Its end is committed by the next change."""
        if history.session and self.now >= history.session.until:
            self.end_session(history)

    def code(self, key: Key, step: int) -> str:
        return totp(key, step * 30)

    def wrong(self, key: Key, *near: int) -> str:
        """Return digits that the key shows at none of these steps."""
        shown = {self.code(key, step) for step in near}
        return next(code for n in range(200) if (code := f"{n:06}") not in shown)

    # Time

    @rule(
        seconds=st.one_of(
            st.integers(0, 40), st.sampled_from([15, 30, 60, 120, 899, 900, 3600, DAY, TOKEN])
        )
    )
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.integers(31, 10**6), who=st.sampled_from(USERS))
    def ask_with_the_clock_gone_back(self, seconds: int, who: PrincipalId) -> None:
        """RULE-CLOCK: a named error is raised and nothing changes."""
        state = self.store.load(who)
        if not state.device or self.now - seconds >= state.seen_at - 30:
            return
        self.clock.advance(-seconds)
        self.ask(lambda: self.registry.verify(who, "123456"), "clock went back")
        self.clock.advance(seconds)
        assert self.store.load(who) == state

    # Enrollment

    @rule(who=st.sampled_from(USERS), by_service=st.booleans(), with_code=st.booleans())
    def open(self, who: PrincipalId, by_service: bool, with_code: bool = True) -> None:
        history = self.histories[who]
        self.touch(history)
        today = [at for at in history.enrollment_times if at > self.now - DAY]
        expected = "already assigned" if history.device else "yes"
        code, until = history.binding or (None, 0)
        if expected == "yes" and code and not by_service and not (with_code and self.now < until):
            expected = "access denied"
        if expected == "yes" and len(today) >= 10 and not by_service:
            expected = "too many sessions"
        by = SERVICE if by_service else Actor.signed_in(who)
        opened = self.ask(
            lambda: self.registry.open_enrollment(
                who, by=by, label="a", binding_code=code if with_code else None
            ),
            expected,
        )
        if expected == "yes":
            self.end_session(history)
            history.enrollment_times = today if by_service else [*today, self.now]
            history.session = Session(
                opened.session_id,
                Key.from_base32(opened.base32),
                opened.serial,
                self.now + 900,
                by_owner=not by_service,
            )

    @rule(who=st.sampled_from(USERS), k=st.one_of(st.integers(-1, 1), st.integers(-10, 10)))
    def enroll(self, who: PrincipalId, k: int) -> None:
        """Open and confirm an enrollment if there is no device; the two codes may be late."""
        if self.histories[who].device is None:
            self.open(who, by_service=True)
            self.confirm(who, k, "pair")

    @precondition(lambda self: any(history.session for history in self.histories.values()))
    @rule(
        who=st.sampled_from(USERS),
        k=st.one_of(st.integers(-1, 1), st.integers(-13, 13)),
        kind=st.sampled_from(["pair"] * 5 + ["reversed", "gap", "wrong", "session", "malformed"]),
    )
    def confirm(self, who: PrincipalId, k: int, kind: str) -> None:
        history = self.histories[who]
        self.touch(history)
        session = history.session
        key = session.key if session else Key(bytes(20))
        first, second = self.code(key, self.here + k - 1), self.code(key, self.here + k)
        if kind == "reversed":
            first, second = second, first
        if kind == "gap":
            first = self.code(key, self.here + k - 2)
        if kind == "wrong":
            first = self.wrong(key, *range(self.here - 12, self.here + 12))
        if kind == "malformed":
            second += "0"
        name = session.name if session and kind != "session" else "0" * 32
        if kind == "malformed":
            expected = "malformed"
        elif session is None or kind == "session":
            expected = "no session"
        else:
            expected = "yes" if kind == "pair" and -10 <= k <= 10 else "pair not accepted"
        report = self.ask(
            lambda: self.registry.confirm_enrollment(
                who, session=name, code1=first, code2=second, by=Actor.signed_in(who)
            ),
            expected,
        )
        if expected == "yes" and session:
            history.device = Device(
                session.key, session.serial, -1 <= k <= 1, self.here + k, enrolled=self.now
            )
            history.session = history.binding = None
            assert (report.steps_off, report.sync is Sync.IN_SYNC) == (k, history.device.in_sync)
        elif expected == "pair not accepted" and session:
            session.attempts += 1
            assert report.remedy == ("enroll" if session.attempts == 10 else "retry")
            if session.attempts == 10:
                self.end_session(history)

    @rule(
        who=st.sampled_from(USERS),
        times=st.integers(8, 12),
        kind=st.sampled_from(["open", "attempt"]),
    )
    def insist(self, who: PrincipalId, times: int, kind: str) -> None:
        """Open again and again, or confirm with wrong codes again and again."""
        for _ in range(times):
            self.open(who, by_service=False) if kind == "open" else self.confirm(who, 0, "wrong")

    @rule(
        who=st.sampled_from(USERS),
        what=st.sampled_from(["session", "opening", "delay"]),
        early=st.integers(0, 1),
    )
    def wait_until_something_ends(self, who: PrincipalId, what: str, early: int) -> None:
        """Wait for the second at which something ends, or for the one before."""
        history = self.histories[who]
        ends = {
            "session": history.session.until if history.session else 0,
            "opening": history.enrollment_times[0] + DAY if history.enrollment_times else 0,
            "delay": self.now + history.device.wait(self.now) if history.device else 0,
        }[what] - early
        if ends > self.now:
            self.clock.advance(ends - self.now)
        if what == "delay":
            self.verify(who, 0, "own")
        elif what == "opening":
            self.open(who, by_service=False)
        else:
            self.confirm(who, 0, "pair")

    @rule(who=st.sampled_from(USERS))
    def cancel(self, who: PrincipalId) -> None:
        history = self.histories[who]
        self.touch(history)
        session = history.session
        expected = "yes" if session else "no session"
        if session and history.binding and not session.by_owner:
            expected = "access denied"
        self.ask(lambda: self.registry.cancel_enrollment(who, by=Actor.signed_in(who)), expected)
        if expected == "yes":
            self.end_session(history)

    # Codes

    def guard(self, history: History) -> str:
        device = history.device
        if device is None:
            return "no device"
        if device.disabled():
            return "disabled"
        if device.tokens(self.now)[0] <= 0:
            return "closed"
        return "throttled" if device.wait(self.now) else ""

    def fail(self, device: Device, reason: str) -> str:
        device.failed.append(self.now)
        device.streak.append(self.now)
        return "disabled" if device.disabled() else reason

    @rule(
        who=st.sampled_from(USERS),
        k=st.one_of(st.integers(-1, 1), st.integers(-3, 3)),
        whose=st.sampled_from(["own"] * 5 + ["other", "removed", "wrong", "malformed"]),
    )
    def verify(self, who: PrincipalId, k: int, whose: str) -> None:
        history = self.histories[who]
        self.touch(history)
        device = history.device
        code, step = self.presented(who, k, whose)
        expected = "malformed" if whose == "malformed" else self.guard(history)
        if not expected and device:
            here = self.here + device.drift()
            if not device.in_sync:
                expected = "out of sync"
            elif step is None or abs(step - here) > 1:
                expected = self.fail(device, "not accepted")
            elif step <= device.spent:
                expected = "already used"
            else:
                expected = "yes"
                device.succeed(step)
                device.sides.append(step - here)
        answer = self.ask(lambda: self.registry.verify(who, code), expected)
        if expected == "yes" and device:
            assert (answer.step, answer.serial) == (step, device.serial)
            assert answer.drift == device.drift()
            device.claim = answer.claim
        if expected == "throttled" and device:
            assert answer.retry_after == device.wait(self.now)

    def presented(self, who: PrincipalId, k: int, whose: str) -> tuple[str, int | None]:
        """Return a code, and the step at which the device of *who* shows it."""
        history, other = (
            self.histories[who],
            self.histories[next(user for user in USERS if user != who)],
        )
        device = history.device
        if whose == "malformed":
            return "12345", None
        if whose == "removed" and history.removed:
            return self.code(history.removed[-1][0], self.here + k), None
        if whose == "other" and other.device:
            return self.code(other.device.key, self.here + k), None
        if whose == "own" and device:
            step = self.here + device.drift() + k
            return self.code(device.key, step), step
        if device is None:
            return "000000", None
        here = self.here + device.drift()
        return self.wrong(device.key, here - 1, here, here + 1), None

    @rule(who=st.sampled_from(USERS), beyond=st.integers(0, 2))
    def resync_next_to_what_is_spent(self, who: PrincipalId, beyond: int) -> None:
        device = self.histories[who].device
        if device and abs(device.spent + beyond - self.here) <= 23:
            self.resync(who, device.spent + beyond - self.here, "pair")

    @rule(
        who=st.sampled_from(USERS),
        k=st.one_of(st.integers(-2, 2), st.sampled_from([-21, -20, 20, 21]), st.integers(-23, 23)),
        kind=st.sampled_from(["pair", "pair", "pair", "reversed", "wrong"]),
    )
    def resync(self, who: PrincipalId, k: int, kind: str) -> None:
        history = self.histories[who]
        self.touch(history)
        device, s = history.device, self.here + k
        key = device.key if device else Key(bytes(20))
        near = range(self.here - 22, self.here + 22) if kind == "wrong" else ()
        pair = [
            self.code(key, s - 1),
            self.wrong(key, *near) if kind == "wrong" else self.code(key, s),
        ]
        if kind == "reversed":
            pair.reverse()
        expected = self.guard(history)
        if not expected and device:
            if kind == "pair" and -20 <= k <= 20 and s - 1 > device.spent:
                expected, device.in_sync = "yes", True
                device.succeed(s)
                device.base = k if abs(k) > 1 else 0
                device.sides.clear()
            else:
                expected = self.fail(device, "pair not accepted")
        self.ask(
            lambda: self.registry.resync(
                who, code1=pair[0], code2=pair[1], by=Actor.signed_in(who)
            ),
            expected,
        )

    @precondition(lambda self: any(history.device for history in self.histories.values()))
    @rule(who=st.sampled_from(USERS), side=st.integers(-1, 1), times=st.integers(1, 4))
    def sign_in(self, who: PrincipalId, side: int, times: int) -> None:
        """Sign in daily with a clock that is always off by the same step."""
        for _ in range(times if self.histories[who].device else 0):
            self.clock.advance(DAY)
            self.verify(who, side, "own")

    @precondition(lambda self: any(history.device for history in self.histories.values()))
    @rule(who=st.sampled_from(USERS), guesses=st.integers(2, 110), patient=st.booleans())
    def guess(self, who: PrincipalId, guesses: int, patient: bool) -> None:
        """Guess as soon as a guess is evaluated, or five times without waiting."""
        device = self.histories[who].device
        for _ in range(guesses if patient else 5):
            if device is None or device.disabled() or not device.in_sync:
                break
            self.clock.advance(device.wait(self.now) if patient else 0)
            self.verify(who, 0, "wrong")

    # Removal

    @rule(
        who=st.sampled_from(USERS),
        claim=st.sampled_from(["none", "own", "fresh", "removed", "other", "forged", "service"]),
    )
    def deactivate(self, who: PrincipalId, claim: str) -> None:
        """SEED-PERMIT: an owner needs a claim of the assigned device, at most an hour old."""
        history = self.histories[who]
        if claim == "fresh" and history.device:
            self.clock.advance(DAY)
            self.verify(who, 0, "own")
        self.touch(history)
        device = history.device
        other = self.histories[next(user for user in USERS if user != who)].device
        mfa = {
            "own": device and device.claim,
            "fresh": device and device.claim,
            "removed": history.removed[-1][1] if history.removed else None,
            "other": other and other.claim,
            "forged": device and MfaClaim(at=self.now, serial=device.serial),
        }.get(claim)
        current = mfa is not None and device is not None and mfa is device.claim
        allowed = claim == "service" or (current and self.now - mfa.at <= 3600)
        by = SERVICE if claim == "service" else Actor.signed_in(who, mfa=mfa)
        expected = "access denied" if not allowed else "yes" if device else "no device"
        answer = self.ask(lambda: self.registry.deactivate(who, by=by), expected)
        if expected == "yes" and device:
            history.removed.append((device.key, device.claim))
            history.device = history.binding = None
            if claim == "service" and device.disabled():
                history.binding = answer.binding_code, self.now + DAY
            assert (answer.binding_code is not None) == (history.binding is not None)

    # Invariants

    @invariant()
    def the_record_says_what_happened(self) -> None:
        for who, history in getattr(self, "histories", {}).items():
            record = self.store.load(who)
            device = record.device
            assert (
                (device is not None)
                == (history.device is not None)
                == self.registry.requires_code(who)
            )
            if device and history.device:
                model = history.device
                assert (device.serial, device.last_step, device.failures) == (
                    model.serial,
                    model.spent,
                    len(model.streak),
                )
                assert (device.sync is Sync.IN_SYNC, device.disabled) == (
                    model.in_sync,
                    model.disabled(),
                )
                assert (device.drift, device.budget) == (model.drift(), model.budget())
                assert abs(device.drift) <= 22
            if record.enrollment and history.session:
                assert record.enrollment.attempts == history.session.attempts
            assert (record.key_ref is None) == (
                record.device is None and record.enrollment is None
            )
            events = self.store.history(who)
            assert [event.number for event in events] == list(range(1, record.events + 1))


Machine.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestHistories = Machine.TestCase
