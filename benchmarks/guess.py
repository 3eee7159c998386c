"""What guessing is worth, and what it does to the victim: attackers at the real registry, under a clock that jumps.

How many guesses are evaluated is counted, not computed, and held against the bound of ``vmfa.analysis``. The attacker
is made to miss; before each guess the rules are asked which codes they would have accepted, and a guess at random hits
with so many millionths. So the chance is exact for this attack, without waiting for a hit. Deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from random import Random
from statistics import median

import vmfa
from devices import STEP, Clock, Phone
from measure import Facts, Run, Table, main
from vmfa.analysis import guessing

DAY = 86_400
YEAR = 365 * DAY
DEFAULT = vmfa.Policy()
POLICIES = {
    "default": DEFAULT,
    "no budget": DEFAULT.replace(budget=10_000, budget_refill=60, budget_warning=0),
    "window 0": DEFAULT.replace(window=0),
    "window 2": DEFAULT.replace(window=2),
    "cap 10": DEFAULT.replace(failure_cap=10),
}
VICTIMS = {"never": 0, "weekly": 1 / 7, "daily": 1, "5 a day": 5}  # how often they sign in


@dataclass
class Siege:
    """One victim who signs in so often a day, and the guesses that were evaluated."""

    policy: vmfa.Policy
    sign_ins: float
    days: float
    attacker_first: bool = False  # when a delay ends for both in the same second
    jitter: Random | None = None  # without it the victim signs in at equal intervals

    guesses: list[int] = field(default_factory=list)  # when each was evaluated
    missed: float = 1.0  # the chance that all of them missed
    waits: list[int] = field(default_factory=list)  # seconds, of the victim's log-ins
    warned: int | None = None  # when the event of a low budget was told

    def __post_init__(self) -> None:
        self.store, self.clock = vmfa.MemoryStore(), Clock()
        keys = vmfa.DerivedKeys(bytes(range(32)))
        self.registry = vmfa.DeviceRegistry(
            self.store, keys=keys, issuer="Example", clock=self.clock, policy=self.policy, observer=self._hear
        )
        self.phone = Phone(self.registry, self.clock)
        self.began = self.clock.now
        self.end = self.began + self.days * DAY
        self.apart = DAY / self.sign_ins if self.sign_ins else inf
        self.signed_in = self.began
        self.wanted = self.next_sign_in = self.began + self.apart / 2

    @property
    def device(self) -> vmfa.VirtualDevice:
        return self.store.load(self.phone.who).device

    def _hear(self, event: vmfa.AuditEvent) -> None:
        if event.type is vmfa.EventType.BUDGET_LOW:
            self.warned = self.warned or event.at

    @property
    def over(self) -> bool:
        return self.clock.now >= self.end

    def acceptable(self) -> int:
        """How many codes the rules would accept now; asked without a commit, so that nothing happens."""
        state, now, key = self.store.load(self.phone.who), self.clock.now, self.phone.key
        reach = range(-self.policy.window - 1, self.policy.window + 2)
        codes = {vmfa.totp(key, now + STEP * step) for step in reach}
        asked = [self.registry.operations.verify(self.phone.who, code).decide(state, now).answer for code in codes]
        return sum(isinstance(answer, vmfa.Receipt) for answer in asked)

    def guess(self) -> int | None:
        """Guess wrongly once. The seconds to wait for the next, or None: never again."""
        failures, hits = self.device.failures, self.acceptable()
        try:
            self.registry.verify(self.phone.who, self.phone.wrong())
        except vmfa.CodeRejected as refusal:
            if self.device.failures > failures:
                self.guesses.append(self.clock.now)
                self.missed *= 1 - hits / 10**6
            return None if isinstance(refusal, vmfa.DeviceDisabled) else refusal.retry_after or 0
        raise AssertionError("the attacker is made to miss")

    def wait(self, seconds: float) -> None:
        """Let time pass; the victim signs in on its way."""
        until = self.clock.now + seconds
        while self.next_sign_in < until or (self.next_sign_in == until and not self.attacker_first):
            self.clock.now = max(self.clock.now, int(self.next_sign_in))
            try:
                self.registry.verify(self.phone.who, vmfa.totp(self.phone.key, self.clock.now))
            except vmfa.Throttled as refusal:  # comes again when the wait is over
                self.next_sign_in = self.clock.now + (refusal.retry_after or 1)
            except vmfa.DeviceDisabled:
                break
            else:
                self.waits.append(int(self.clock.now - self.wanted))
                self.signed_in = self.clock.now
                apart = self.apart * (self.jitter.uniform(0.5, 1.5) if self.jitter else 1)
                self.wanted = self.next_sign_in = max(self.wanted + apart, self.clock.now + 3 * STEP)
        self.clock.now = max(self.clock.now, int(until))

    def tokens(self) -> int:
        """The budget, as an attacker who knows the policy keeps the count."""
        grown = (self.clock.now - self.device.budget_updated_at) // self.policy.budget_refill
        return min(self.policy.budget, self.device.budget + grown)


def greedy(siege: Siege) -> None:
    """Guess whenever it is allowed."""
    while not siege.over:
        wait = siege.guess()
        if wait is None:
            return
        siege.wait(max(wait, 1))


def patient(siege: Siege) -> None:
    """Never cause a delay, and never spend the last token."""
    while not siege.over:
        if siege.device.failures < siege.policy.delay_from - 1 and siege.tokens() > 1:
            siege.guess()
            siege.wait(STEP)
        else:
            siege.wait(3_600)


def persistent(siege: Siege) -> None:
    """Bear every delay, wait until no code of the window is spent, stop before the budget or the cap would end it."""
    while not siege.over:
        stale = siege.signed_in + (siege.policy.window + 1) * STEP - siege.clock.now
        if stale > 0:
            siege.wait(stale)
        elif siege.tokens() > 1 and siege.device.failures < siege.policy.failure_cap - 1:
            wait = siege.guess()
            if wait is None:
                return
            siege.wait(max(wait, 1))
        else:
            siege.wait(3_600)


def steady(per_day: float) -> Callable[[Siege], None]:
    """Guess so often a day, whatever comes of it."""

    def guess(siege: Siege) -> None:
        siege.wait(DAY / per_day / 4)
        while not siege.over and siege.guess() is not None:
            siege.wait(DAY / per_day)

    return guess


STRATEGIES: tuple[Callable[[Siege], None], ...] = (greedy, patient, persistent)


def played(strategy: Callable[[Siege], None], policy: vmfa.Policy, sign_ins: float, days: float) -> Siege:
    siege = Siege(policy, sign_ins, days)
    strategy(siege)
    return siege


def against_the_formula(title: str, victim: str, per_day: float, days: float) -> tuple[object, ...]:
    """The bound of ``vmfa.analysis``, and what the best attacker that is played here gets. It must not get more."""
    policy, sign_ins = POLICIES[title], VICTIMS[victim]
    bound = guessing(policy, days=days, per_day=per_day, sign_ins_per_day=sign_ins)
    strategies = STRATEGIES if per_day == inf else (steady(per_day),)
    best = max((played(each, policy, sign_ins, days) for each in strategies), key=lambda siege: 1 - siege.missed)
    chance = 1 - best.missed
    assert len(best.guesses) <= bound.guesses, "the bound is none"
    assert chance <= bound.probability, "the bound is none"
    return (title, victim, "any" if per_day == inf else f"{per_day:g} a day", days, bound.guesses, len(best.guesses),
            f"{100 * bound.probability:.3g}%", f"{100 * chance:.3g}%", f"{bound.probability / chance:.3f}")


def besieged(guesses: str, victim: str) -> tuple[str, ...]:
    """What one year, or the life of the device, is like for the victim."""
    strategy, first = ATTACKS[guesses]
    siege = Siege(DEFAULT, VICTIMS[victim], 365, attacker_first=first, jitter=Random("victim"))
    strategy(siege)
    waits = [wait for wait in siege.waits if wait > 0]
    return (
        guesses, victim, f"{len(waits) / len(siege.waits):.0%}" if siege.waits else "never gets in",
        f"{median(waits) / 60:.0f} min, {max(waits) / 60:.0f} min" if waits else "",
        f"day {(siege.warned - siege.began) / DAY:.1f}" if siege.warned else "",
        f"day {(siege.clock.now - siege.began) / DAY:.1f}" if siege.device.disabled else "not in a year",
    )


ATTACKS: dict[str, tuple[Callable[[Siege], None], bool]] = {  # and who is quicker where a wait ends for both at once
    "1 a day": (steady(1), False), "3 a day": (steady(3), False), "10 a day": (steady(10), False),
    "as many as it may, the victim is quicker": (greedy, False),
    "as many as it may, the attacker is quicker": (greedy, True),
}


def answer(run: Run) -> Iterator[Table]:
    facts = []
    for title in ("default",) if run.quick else ("default", "no budget"):
        policy = POLICIES[title]
        for strategy in STRATEGIES:
            for victim in ("never", "daily"):
                siege = played(strategy, policy, VICTIMS[victim], 730)
                first = sum(at < siege.began + YEAR for at in siege.guesses)
                end = "disabled" if siege.device.disabled else "goes on"
                facts.append((title, strategy.__name__, victim, first, len(siege.guesses) - first, end))
    yield Facts("Guesses that were evaluated", ("policy", "attacker", "victim signs in", "year 1", "year 2", "device"),
                facts, "greedy: whenever it may; patient: never causes a delay; persistent: stops before it disables")

    attacks = [
        ("default", "never", inf, 365), ("default", "daily", inf, 1), ("default", "daily", inf, 365),
        ("default", "5 a day", inf, 365), ("default", "daily", 1, 30), ("default", "daily", 0.2, 365),
        ("window 0", "daily", inf, 365), ("window 2", "daily", inf, 365), ("default", "weekly", inf, 365),
        ("cap 10", "never", inf, 365), ("cap 10", "daily", inf, 30), ("no budget", "weekly", inf, 365),
        ("no budget", "daily", inf, 365), ("no budget", "5 a day", inf, 365),
    ]
    facts = [against_the_formula(*attack) for attack in (attacks[:5] if run.quick else attacks)]
    yield Facts("The formula against the best of these attackers",
                ("policy", "victim signs in", "attacker's rate", "days", "guesses: bound", "played", "chance: formula",
                 "played", "formula / played"), facts)

    facts = [besieged(guesses, victim) for guesses in ATTACKS for victim in ("daily", "5 a day")]
    yield Facts("What an attacker who has the first factor does to the victim",
                ("guesses", "victim signs in", "log-ins that wait", "median, longest", "warning", "disabled"), facts,
                "default policy; the victim comes again when the wait is over")


if __name__ == "__main__":
    main(answer, __file__)
