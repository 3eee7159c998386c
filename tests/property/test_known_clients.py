"""Random attacks on one device with known clients and recovery codes, compared with a model.

An attacker guesses without a token or with stolen ones, and the owner signs in between. Whatever
the order, the guesses stay within the published numbers, and the owner's own clients are not
delayed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support import MASTER, START
from vmfa import (
    Actor,
    DerivedKeys,
    DeviceRegistry,
    MemoryStore,
    MfaClaim,
    Policy,
    PrincipalId,
    VmfaError,
)
from vmfa.testing import AuthenticatorApp, FrozenClock

WHO = PrincipalId.user("1", "a")
ME, SERVICE = Actor.signed_in(WHO), Actor.trusted_service("machine")
DAY, YEAR = 86400, 365 * 86400
REFILL, RESERVE, CAP, BUDGET = 2 * DAY, 25, 100, 100
FIRST_YEAR = 282  # guesses, as published
MAX_TOKENS = 8  # that the model keeps
WRONG_RECOVERY_CODE = "AAAA-AAAA-AAAA-AAAA-AAAA-AAAA"


@dataclass
class Token:
    text: str
    expires_at: int
    epoch: int
    given: bool = False
    used: bool = False

    @property
    def token_id(self) -> str:
        return self.text.split(".")[1]


@dataclass
class Failing:
    failures: int
    expires_at: int


class KnownClients(RuleBasedStateMachine):
    @initialize()
    def enroll(self) -> None:
        self.clock = FrozenClock(START)
        self.store = MemoryStore()
        self.registry = DeviceRegistry(
            self.store,
            keys=DerivedKeys(MASTER),
            issuer="Example",
            clock=self.clock,
            policy=Policy(known_clients=True, recovery_codes=2),
        )
        opened = self.registry.open_enrollment(WHO, by=ME, label="a")
        self.phone = AuthenticatorApp(self.clock).scan(opened.uri)
        self.registry.confirm_enrollment(
            WHO, session=opened.session_id, by=ME, **self.phone.pair()
        )
        self.wrong = self.phone.wrong_code()
        self.failures = self.failed_at = self.known_failures = self.known_failed_at = 0
        self.streak = self.guesses = self.known_guesses = 0
        self.not_noted = 0  # failures of a fifth failing token, which count as without a token
        self.restored_at = -YEAR
        self.restored = 0
        self.tokens_left, self.growing = BUDGET, START
        self.tokens: list[Token] = []
        self.failing: dict[str, Failing] = {}
        self.epoch = 0
        self.claim: MfaClaim | None = None
        self.recovery_failures = self.recovery_failed_at = 0

    @property
    def now(self) -> int:
        return int(self.clock())

    @property
    def disabled(self) -> bool:
        return self.failures + self.known_failures >= CAP

    # The model

    def token(self, number: int | None) -> Token | None:
        return self.tokens[(number - 1) % len(self.tokens)] if self.tokens and number else None

    def is_known(self, token: Token | None) -> bool:
        """Return whether *token* is valid and did not fail ten times in a row."""
        if token is None or token.used or token.epoch != self.epoch:
            return False
        if self.now >= token.expires_at:
            return False
        failing = self.unexpired().get(token.token_id)
        return failing is None or failing.failures < 10

    def unexpired(self) -> dict[str, Failing]:
        return {name: f for name, f in self.failing.items() if self.now < f.expires_at}

    def is_noted(self, token: Token | None) -> bool:
        """Return whether failures with *token*, a known one, are counted apart: of four tokens."""
        failing = self.unexpired()
        return token is not None and (token.token_id in failing or len(failing) < 4)

    def refilled(self) -> tuple[int, int]:
        returned = max(0, self.now - self.growing) // REFILL
        if self.tokens_left + returned >= BUDGET:
            return BUDGET, self.now
        return self.tokens_left + returned, self.growing + returned * REFILL

    def wait_of(self, token: Token | None) -> int:
        known = self.is_known(token) and self.is_noted(token)
        failures = self.known_failures if known else self.failures
        delay = min(15 * 2 ** min(failures - 3, 30), 3600) if failures >= 3 else 0
        return (
            (self.known_failed_at if known else self.failed_at) + delay - self.now if delay else 0
        )

    def guard(self, token: Token | None) -> str:
        known = self.is_known(token)
        if self.disabled:
            return "disabled"
        reserve = 0 if known else RESERVE
        if self.refilled()[0] <= reserve or (not known and self.failures >= CAP - RESERVE):
            return "closed"
        return "throttled" if self.wait_of(token) > 0 else ""

    def fail(self, token: Token | None) -> None:
        known = self.is_known(token)
        left, self.growing = self.refilled()
        self.tokens_left = left - 1
        self.streak += 1
        if self.now < START + YEAR:
            self.guesses += 1
        if not known or token is None or not self.is_noted(token):
            self.failures, self.failed_at = self.failures + 1, self.now
            self.not_noted += known
            return
        self.known_guesses += 1
        self.known_failures, self.known_failed_at = self.known_failures + 1, self.now
        self.failing = self.unexpired()
        failing = self.failing.setdefault(token.token_id, Failing(0, token.expires_at))
        failing.failures += 1

    def succeed(self, token: Token | None, known: bool) -> None:
        self.streak = 0
        if known and token is not None:
            self.failing.pop(token.token_id, None)

    def clear_failures_without_token(self) -> None:
        self.failures = self.not_noted = 0

    def keep(self, token: Token) -> None:
        self.tokens = [*self.tokens, token][-MAX_TOKENS:]

    def run(self, act: Callable[[], Any], expected: str) -> Any:
        try:
            answer, reason = act(), "yes"
        except VmfaError as error:
            answer, reason = error, error.reason
        assert reason == expected, f"{reason}, not {expected}"
        return answer

    # Time

    @rule(seconds=st.one_of(st.integers(0, 100), st.sampled_from([3600, DAY, REFILL, 20 * DAY])))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    # The attacker

    @rule(
        number=st.one_of(st.none(), st.integers(1, MAX_TOKENS)),
        guesses=st.integers(1, 110),
        pairs=st.booleans(),
    )
    def guess(self, number: int | None, guesses: int, pairs: bool) -> None:
        """Guess with or without a stolen token, each time as soon as a guess is evaluated."""
        token = self.token(number)
        for _ in range(guesses):
            self.clock.advance(max(0, self.wait_of(token)))
            reason = self.guard(token)
            if not reason:
                self.fail(token)
                reason = "pair not accepted" if pairs else "not accepted"
                reason = "disabled" if self.disabled else reason
            self.run(lambda: self.present(token, pairs), reason)
            if reason in ("closed", "disabled"):
                break

    def present(self, token: Token | None, pairs: bool) -> object:
        client = token.text if token else None
        if pairs:
            return self.registry.resync(
                WHO, code1=self.wrong, code2=self.wrong, by=ME, client=client
            )
        return self.registry.verify(WHO, self.wrong, client=client)

    @rule(text=st.text(max_size=300))
    def present_any_text_as_a_token(self, text: str) -> None:
        """A token with any fault counts as none and raises no error of its own."""
        reason = self.guard(None)
        if not reason:
            self.fail(None)
            reason = "disabled" if self.disabled else "not accepted"
        self.run(lambda: self.registry.verify(WHO, self.wrong, client=text), reason)

    @rule()
    def guess_a_recovery_code(self) -> None:
        """Wrong recovery codes have their own counter, and from the tenth on an hour's delay."""
        wait = self.recovery_failed_at + 3600 - self.now
        throttled = self.recovery_failures >= 10 and wait > 0
        self.run(
            lambda: self.registry.deactivate(
                WHO, by=Actor.with_recovery_code(WHO, WRONG_RECOVERY_CODE)
            ),
            "throttled" if throttled else "recovery code not accepted",
        )
        if not throttled:
            self.recovery_failures += 1
            self.recovery_failed_at = self.now

    # The owner

    @rule(number=st.one_of(st.none(), st.integers(1, MAX_TOKENS)))
    def sign_in(self, number: int | None) -> None:
        self.clock.advance(30)
        token = self.token(number)
        known = self.is_known(token)
        expected = self.guard(token) or "yes"
        spared = known and self.is_noted(token) and self.known_failures < 3
        if spared and self.known_guesses + self.not_noted < RESERVE:
            assert expected == "yes"  # failures without a token delay and refuse no known client
        text = token.text if token else None
        receipt = self.run(
            lambda: self.registry.verify(WHO, self.phone.code(), client=text), expected
        )
        if expected != "yes":
            return
        self.succeed(token, known)
        if known and token is not None:
            self.known_failures = 0
            token.used = token.given
        else:
            self.clear_failures_without_token()
        self.claim = receipt.claim
        new = receipt.client_token
        assert new is not None
        assert new.expires_at == self.now + 90 * DAY
        self.keep(Token(new.text, new.expires_at, self.epoch))

    @rule(number=st.one_of(st.none(), st.integers(1, MAX_TOKENS)), by_service=st.booleans())
    def resync(self, number: int | None, by_service: bool) -> None:
        self.clock.advance(60)
        token = self.token(number)
        known = self.is_known(token)
        expected = self.guard(token) or "yes"
        self.run(
            lambda: self.registry.resync(
                WHO,
                by=SERVICE if by_service else ME,
                client=token.text if token else None,
                **self.phone.pair(),
            ),
            expected,
        )
        if expected == "yes":
            self.succeed(token, known)
            self.clear_failures_without_token()
            if known or by_service:
                self.known_failures = 0

    @precondition(lambda self: self.claim is not None)
    @rule(sign_in=st.booleans())
    def reopen(self, sign_in: bool) -> None:
        """A claim newer than the last failure without a token forgets such failures."""
        if sign_in:
            self.sign_in(len(self.tokens))
        claim = self.claim
        expected = "yes"
        if (
            claim is None
            or self.now - claim.at > 3600
            or (self.failures and claim.at <= self.failed_at)
        ):
            expected = "access denied"
        self.run(lambda: self.registry.reopen(WHO, by=Actor.signed_in(WHO, mfa=claim)), expected)
        if expected == "yes":
            self.clear_failures_without_token()

    @precondition(lambda self: self.claim is not None)
    @rule()
    def forget_clients(self) -> None:
        claim = self.claim
        fresh = claim is not None and self.now - claim.at <= 3600
        self.run(
            lambda: self.registry.forget_clients(WHO, by=Actor.signed_in(WHO, mfa=claim)),
            "yes" if fresh else "access denied",
        )
        if fresh:
            self.epoch += 1
            self.failing.clear()

    # The service

    @rule()
    def give_client_token(self) -> None:
        given = self.run(lambda: self.registry.give_client_token(WHO, by=SERVICE), "yes")
        for token in self.tokens:
            token.used = token.used or token.given
        self.keep(Token(given.text, self.now + DAY, self.epoch, given=True))

    @rule()
    def restore_budget(self) -> None:
        """At most once a day, after the first factor was changed."""
        early = self.now < self.restored_at + DAY
        self.run(
            lambda: self.registry.restore_budget(WHO, by=SERVICE), "too soon" if early else "yes"
        )
        if not early:
            self.restored += 1
            self.restored_at = self.growing = self.now
            self.tokens_left = BUDGET

    # Invariants

    @invariant()
    def the_record_is_that_of_the_model(self) -> None:
        if not hasattr(self, "recovery_failed_at"):
            return
        device = self.store.load(WHO).device
        assert device is not None
        assert (device.failures, device.known_failures) == (self.failures, self.known_failures)
        assert (device.budget, device.disabled) == (self.tokens_left, self.disabled)
        assert device.recovery.failures == self.recovery_failures

    @invariant()
    def guesses_stay_within_the_published_numbers(self) -> None:
        if not hasattr(self, "recovery_failed_at"):
            return
        assert self.streak <= self.failures + self.known_failures <= CAP
        assert self.failures - self.not_noted <= CAP - RESERVE
        assert self.guesses <= FIRST_YEAR + BUDGET * self.restored


KnownClients.TestCase.settings = settings(max_examples=60, stateful_step_count=50)
TestKnownClients = KnownClients.TestCase


def test_a_patient_attacker_gets_the_published_number_of_guesses_and_no_more() -> None:
    """Without tokens, day after day, while the owner signs in from a known client."""
    machine = KnownClients()
    machine.enroll()
    machine.sign_in(None)
    while machine.now < START + YEAR:
        machine.guess(None, 20, pairs=False)
        machine.sign_in(len(machine.tokens))
        machine.reopen(sign_in=False)
        assert machine.failures == 0
        machine.clock.advance(DAY // 2)
    assert FIRST_YEAR - RESERVE - 2 <= machine.guesses <= FIRST_YEAR - RESERVE
