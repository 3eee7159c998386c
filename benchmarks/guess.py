"""What guessing is worth: attackers with a strategy against the real registry, under a clock that jumps.

How many guesses a year are evaluated is counted, not computed. Each evaluated guess hits at most as many of the 10^6
codes as the window has steps, so the count gives the probability, and the count is checked against what the policy
promises: the budget once, and its refill for ever. Deterministic: the attacker is made to miss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import vmfa
from devices import STEP, Clock, Phone
from measure import Facts, Run, Table, main

DAY = 86_400
YEAR = 365 * DAY
WITHOUT_BUDGET = {"budget": 10_000, "budget_refill": 60, "budget_warning": 0}


@dataclass
class Siege:
    """One victim, who may sign in daily, and the guesses that were evaluated."""

    policy: vmfa.Policy
    signs_in_daily: bool

    guesses: list[int] = field(default_factory=lambda: [0, 0])  # in the first and in the second year

    def __post_init__(self) -> None:
        self.store, self.clock = vmfa.MemoryStore(), Clock()
        keys = vmfa.DerivedKeys(bytes(range(32)))
        self.registry = vmfa.DeviceRegistry(
            self.store, keys=keys, issuer="Example", clock=self.clock, policy=self.policy
        )
        self.phone = Phone(self.registry, self.clock)
        self.began = self.clock.now
        self.next_sign_in = self.began + DAY

    @property
    def device(self) -> vmfa.VirtualDevice:
        return self.store.load(self.phone.who).device

    def guess(self) -> int | None:
        """Guess wrongly once. The seconds to wait for the next, or None: never again."""
        failures = self.device.failures
        try:
            self.registry.verify(self.phone.who, self.phone.wrong())
        except vmfa.CodeRejected as refusal:
            self.guesses[(self.clock.now - self.began) // YEAR] += self.device.failures - failures
            return None if isinstance(refusal, vmfa.DeviceDisabled) else refusal.retry_after or 0
        raise AssertionError("the attacker is made to miss")

    def wait(self, seconds: int) -> None:
        """Let time pass; the victim signs in on its way."""
        until = self.clock.now + seconds
        while self.signs_in_daily and self.next_sign_in <= until:
            self.clock.now = max(self.clock.now, self.next_sign_in)
            self.next_sign_in += DAY
            try:
                self.registry.verify(self.phone.who, vmfa.totp(self.phone.key, self.clock.now))
            except vmfa.Throttled as refusal:  # comes again when the wait is over
                self.next_sign_in = self.clock.now + (refusal.retry_after or 1)
            except vmfa.DeviceDisabled:
                break
        self.clock.now = max(self.clock.now, until)

    @property
    def over(self) -> bool:
        return self.clock.now >= self.began + 2 * YEAR


def greedy(siege: Siege) -> None:
    """Guess whenever it is allowed."""
    while not siege.over:
        wait = siege.guess()
        if wait is None:
            return
        siege.wait(max(wait, 1))


def patient(siege: Siege) -> None:
    """Never cause a delay, and never spend the last token: guess twice between two sign-ins of the victim."""
    while not siege.over:
        if siege.device.failures < siege.policy.delay_from - 1 and tokens(siege) > 1:
            siege.guess()
            siege.wait(STEP)
        else:
            siege.wait(3_600)


def persistent(siege: Siege) -> None:
    """Bear every delay, but stop before the budget ends."""
    while not siege.over:
        if tokens(siege) > 1:
            wait = siege.guess()
            if wait is None:
                return
            siege.wait(max(wait, 1))
        else:
            siege.wait(3_600)


def tokens(siege: Siege) -> int:
    """The budget, as an attacker who knows the policy keeps the count."""
    grown = (siege.clock.now - siege.device.budget_at) // siege.policy.budget_refill
    return min(siege.policy.budget, siege.device.budget + grown)


def chance(guesses: int, policy: vmfa.Policy) -> str:
    hit = (2 * policy.window + 1) / 10**6
    return f"{1 - (1 - hit) ** guesses:.1e}"


def answer(run: Run) -> Iterator[Table]:
    budgeted = vmfa.Policy()
    policies = {"default": budgeted, "default, no budget": budgeted.replace(**WITHOUT_BUDGET)}
    strategies: tuple[Callable[[Siege], None], ...] = (greedy, patient) if run.quick else (greedy, patient, persistent)
    facts = []
    for title, policy in policies.items():
        for strategy in strategies:
            for daily in (False, True):
                siege = Siege(policy, daily)
                strategy(siege)
                first, second = siege.guesses
                if policy is budgeted:
                    assert first <= policy.budget + YEAR // policy.budget_refill + 1
                    assert second <= YEAR // policy.budget_refill + 1
                end = "disabled" if siege.device.disabled else "goes on"
                victim = "daily" if daily else "never"
                facts.append((title, strategy.__name__, victim, first, second, chance(second, policy), end))
    head = ("policy", "attacker", "victim signs in", "guesses, year 1", "year 2", "chance a year, from then", "device")
    yield Facts("Guesses that were evaluated", head, facts,
                "greedy: whenever it may; patient: never causes a delay; persistent: bears delays, keeps one token")


if __name__ == "__main__":
    main(answer, __file__)
