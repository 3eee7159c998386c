"""Attackers: how many of their guesses are evaluated, and what the guesses do to the user.

Simulated attackers guess at the real registry, under a simulated clock. The guesses that are
evaluated are counted and compared with the bound of ``vmfa.analysis``. Each guess is wrong. Before
each guess, the script counts the codes that the rules would accept: if there are three, a random
guess succeeds with a probability of three in a million. So the probability is exact for this
attack. Every run has the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from random import Random
from statistics import median

import vmfa
from measure import Options, Table, main, text_table
from users import MASTER_KEY, START, STEP, User
from vmfa.analysis import guessing
from vmfa.testing import FrozenClock

HOUR, DAY = 3_600, 86_400
YEAR = 365 * DAY
DEFAULT = vmfa.Policy()
POLICIES = {
    "default": DEFAULT,
    "no budget": DEFAULT.replace(budget=10_000, budget_refill=60, budget_warning=0),
    "window 0": DEFAULT.replace(window=0),
    "window 2": DEFAULT.replace(window=2),
    "cap 10": DEFAULT.replace(failure_cap=10),
}
SIGN_INS = {"never": 0.0, "weekly": 1 / 7, "daily": 1.0, "5 a day": 5.0}  # of the user, a day


@dataclass
class Attack:
    """A user who signs in, and the evaluated guesses of an attacker."""

    policy: vmfa.Policy
    sign_ins_per_day: float
    days: float
    attacker_first: bool = False  # when a delay ends for both in the same second
    random: Random | None = None  # None: the user signs in at equal intervals
    known_client: bool = False  # the user presents a client token, and reopens the sign-in
    with_probability: bool = True  # compute it, which takes most of the time

    guesses: list[float] = field(default_factory=list)  # the times of the evaluated guesses
    all_missed: float = 1.0  # the probability
    waits: list[float] = field(default_factory=list)  # seconds, of each sign-in of the user
    refusals: int = 0  # of sign-ins of the user
    warned_at: float | None = None  # the time of the event that the budget is low
    closed_at: float | None = None  # the time at which the budget closed the sign-in
    token: vmfa.ClientToken | None = None  # of the user

    def __post_init__(self) -> None:
        self.store, self.clock = vmfa.MemoryStore(), FrozenClock(START)
        self.registry = vmfa.DeviceRegistry(
            self.store,
            keys=vmfa.DerivedKeys(MASTER_KEY),
            issuer="Example",
            clock=self.clock,
            policy=self.policy,
            observer=self._observe,
        )
        self.user = User(self.registry, self.clock)
        if self.known_client:
            self.clock.advance(2 * STEP)
            self.token = self._present_code().client_token
        self.start = self.clock()
        self.end = self.start + self.days * DAY
        self.interval = DAY / self.sign_ins_per_day if self.sign_ins_per_day else inf
        self.signed_in_at: float = self.start
        self.planned_sign_in = self.next_sign_in = self.start + self.interval / 2

    @property
    def device(self) -> vmfa.VirtualDevice:
        device = self.store.load(self.user.principal).device
        assert device
        return device

    @property
    def is_over(self) -> bool:
        return self.clock() >= self.end

    def _observe(self, event: vmfa.AuditEvent) -> None:
        if event.type is vmfa.EventType.BUDGET_LOW:
            self.warned_at = self.warned_at or event.at
        if event.type is vmfa.EventType.REJECTED:  # the user makes no mistakes
            self.guesses.append(event.at)

    def acceptable_codes(self, token: vmfa.ClientToken | None) -> int:
        """Return how many codes the rules would accept now. Nothing is committed."""
        record, verify = self.store.load(self.user.principal), self.registry.operations.verify
        steps = range(-self.policy.window - 1, self.policy.window + 2)
        codes = {self.user.phone.code(step) for step in steps}
        operations = [verify(self.user.principal, code, client=token) for code in codes]
        decisions = [operation.decide(record, self.clock()) for operation in operations]
        return sum(isinstance(decision.answer, vmfa.Receipt) for decision in decisions)

    def guess(self, token: vmfa.ClientToken | None = None) -> float | None:
        """Guess once. Return the seconds until the next guess is possible, or None: never."""
        evaluated = len(self.guesses)
        acceptable = self.acceptable_codes(token) if self.with_probability else 0
        try:
            self.registry.verify(self.user.principal, self.user.wrong_code(), client=token)
        except vmfa.DeviceDisabled:
            delay: float | None = None
        except vmfa.SignInClosed as refusal:
            self.closed_at = self.closed_at or self.clock()
            delay = refusal.retry_after or HOUR  # the user may reopen it
        except vmfa.CodeRejected as refusal:
            delay = refusal.retry_after or 0
            if refusal.remedy == "wait" and not isinstance(refusal, vmfa.Throttled):
                self.closed_at = self.closed_at or self.clock()  # by this guess
        else:
            raise AssertionError("a wrong code was accepted")
        if len(self.guesses) > evaluated:
            self.all_missed *= 1 - acceptable / 10**6
        return delay

    def wait(self, seconds: float) -> None:
        """Let time pass. The user signs in meanwhile."""
        end = self.clock() + seconds
        while self.next_sign_in < end or (self.next_sign_in == end and not self.attacker_first):
            self.clock.set(max(self.clock(), int(self.next_sign_in)))
            try:
                receipt = self._present_code()
            except (vmfa.Throttled, vmfa.SignInClosed) as refusal:  # the user tries again
                self.refusals += 1
                self.next_sign_in = self.clock() + (refusal.retry_after or HOUR)
            except vmfa.DeviceDisabled:
                break
            else:
                self._signed_in(receipt)
        self.clock.set(max(self.clock(), int(end)))

    def _present_code(self) -> vmfa.Receipt:
        code = self.user.phone.code()
        return self.registry.verify(self.user.principal, code, client=self.token)

    def _signed_in(self, receipt: vmfa.Receipt) -> None:
        now = self.clock()
        self.waits.append(int(now - self.planned_sign_in))
        self.signed_in_at = now
        interval = self.interval * (self.random.uniform(0.5, 1.5) if self.random else 1)
        self.planned_sign_in = max(self.planned_sign_in + interval, now + 3 * STEP)
        self.next_sign_in = self.planned_sign_in
        if self.known_client:
            self.token = receipt.client_token
            if self.device.failed_at < now:
                me = vmfa.Actor.signed_in(self.user.principal, mfa=receipt.claim)
                self.registry.reopen(self.user.principal, by=me)

    def budget(self) -> int:
        """Return the guess budget, as an attacker who knows the policy counts it."""
        elapsed = int(self.clock()) - self.device.budget_updated_at
        refilled = elapsed // self.policy.budget_refill
        return min(self.policy.budget, self.device.budget + refilled)

    def failures(self) -> int:
        """Return the consecutive failures of both lanes, which disable the device at the cap."""
        return self.device.failures + self.device.known_failures

    def guesses_within(self, years: int) -> int:
        return sum(at < self.start + years * YEAR for at in self.guesses)

    def refused_or_delayed(self) -> int:
        """Return how many sign-ins of the user did not succeed at the first attempt."""
        return sum(wait > 0 for wait in self.waits)


Strategy = Callable[[Attack], None]


def greedy(attack: Attack) -> None:
    """Guess whenever a guess is evaluated."""
    while not attack.is_over:
        delay = attack.guess()
        if delay is None:
            return
        attack.wait(max(delay, 1))


def patient(attack: Attack) -> None:
    """Never cause a delay, and never use the last token of the budget."""
    while not attack.is_over:
        if attack.device.failures < attack.policy.delay_from - 1 and attack.budget() > 1:
            attack.guess()
            attack.wait(STEP)
        else:
            attack.wait(HOUR)


def persistent(attack: Attack) -> None:
    """Wait for every delay and until no code of the window is used; never disable the device."""
    while not attack.is_over:
        used_until = attack.signed_in_at + (attack.policy.window + 1) * STEP
        if used_until > attack.clock():
            attack.wait(used_until - attack.clock())
        elif attack.budget() > 1 and attack.failures() < attack.policy.failure_cap - 1:
            delay = attack.guess()
            if delay is None:
                return
            attack.wait(max(delay, 1))
        else:
            attack.wait(HOUR)


def at_rate(per_day: float) -> Strategy:
    """Return a strategy that guesses at equal intervals, whatever happens."""

    def strategy(attack: Attack) -> None:
        attack.wait(DAY / per_day / 4)
        while not attack.is_over and attack.guess() is not None:
            attack.wait(DAY / per_day)

    return strategy


def one_copy(attack: Attack) -> None:
    """Guess in both lanes whenever one is open, with a copy of one token of the user."""
    copied = attack.token
    while not attack.is_over and guess_in_both_lanes(attack, copied):
        pass


def all_copies(attack: Attack) -> None:
    """Guess in both lanes whenever one is open, with a copy of the user's newest token."""
    while not attack.is_over and guess_in_both_lanes(attack, attack.token):
        pass


def guess_in_both_lanes(attack: Attack, token: vmfa.ClientToken | None) -> bool:
    """Guess with *token* and without one, and wait. Return False if the device is disabled."""
    delays = []
    for lane in (token, None):
        delay = attack.guess(lane)
        if delay is None:
            return False
        delays.append(delay)
    attack.wait(max(min(delays), 1))
    return True


def careful_copies(attack: Attack) -> None:
    """As all copies, but only when no code of the window is used; never disable the device."""
    while not attack.is_over:
        used_until = attack.signed_in_at + (attack.policy.window + 1) * STEP
        if used_until > attack.clock():
            attack.wait(used_until - attack.clock())
            continue
        delays = [HOUR]
        for token in (attack.token, None):
            if attack.failures() < attack.policy.failure_cap - 1:
                delay = attack.guess(token)
                assert delay is not None
                delays.append(int(delay))
        attack.wait(max(min(delays), 1))


STRATEGIES: tuple[Strategy, ...] = (greedy, patient, persistent)
UNLIMITED = "as many as possible, the {} is quicker"  # when a delay ends for both
GUESSES: dict[str, tuple[Strategy, bool]] = {  # the strategy, and attacker_first
    "1 a day": (at_rate(1), False),
    "3 a day": (at_rate(3), False),
    "10 a day": (at_rate(10), False),
    UNLIMITED.format("user"): (greedy, False),
    UNLIMITED.format("attacker"): (greedy, True),
}


def simulated(
    strategy: Strategy, policy: vmfa.Policy, sign_ins_per_day: float, days: float
) -> Attack:
    attack = Attack(policy, sign_ins_per_day, days)
    strategy(attack)
    return attack


def compare_with_bound(
    policy_name: str, signs_in: str, per_day: float, days: float
) -> tuple[object, ...]:
    """Return a row: the bound of ``vmfa.analysis`` and the best simulated attacker.

    :raises AssertionError: the attacker got more than the bound.
    """
    policy, sign_ins_per_day = POLICIES[policy_name], SIGN_INS[signs_in]
    bound = guessing(policy, days=days, per_day=per_day, sign_ins_per_day=sign_ins_per_day)
    strategies = STRATEGIES if per_day == inf else (at_rate(per_day),)
    attacks = [simulated(strategy, policy, sign_ins_per_day, days) for strategy in strategies]
    best = min(attacks, key=lambda attack: attack.all_missed)
    probability = 1 - best.all_missed
    assert max(len(attack.guesses) for attack in attacks) <= bound.guesses, "more than the bound"
    assert probability <= bound.probability, "a larger probability than the bound"
    return (
        policy_name, signs_in, "any" if per_day == inf else f"{per_day:g} a day", days,
        bound.guesses, len(best.guesses), f"{100 * bound.probability:.3g}%",
        f"{100 * probability:.3g}%", f"{bound.probability / probability:.3f}",
    )  # fmt: skip


def effect_on_user(guesses: str, signs_in: str) -> tuple[str, ...]:
    """Return a row: how a year under attack affects the user."""
    strategy, attacker_first = GUESSES[guesses]
    attack = Attack(
        DEFAULT, SIGN_INS[signs_in], 365, attacker_first=attacker_first, random=Random("victim")
    )
    strategy(attack)
    waits = [wait for wait in attack.waits if wait > 0]
    share = f"{len(waits) / len(attack.waits):.0%}" if attack.waits else "never signs in"
    delays = f"{readable_wait(median(waits))}, {readable_wait(max(waits))}" if waits else ""
    disabled_at = attack.clock() if attack.device.disabled else None
    return (
        guesses, signs_in, share, delays, day_of(attack.warned_at), day_of(attack.closed_at),
        day_of(disabled_at),
    )  # fmt: skip


def readable_wait(seconds: float) -> str:
    return f"{seconds / DAY:.1f} days" if seconds > DAY else f"{seconds / 60:.0f} min"


def day_of(time: float | None) -> str:
    return "never" if time is None else f"day {(time - START) / DAY:.1f}"


def evaluated_guesses(policy_names: tuple[str, ...]) -> Table:
    rows = []
    for policy_name in policy_names:
        for strategy in STRATEGIES:
            for signs_in in ("never", "daily"):
                attack = simulated(strategy, POLICIES[policy_name], SIGN_INS[signs_in], 730)
                end = "disabled" if attack.device.disabled else "not disabled"
                rows.append(
                    (
                        policy_name, strategy.__name__, signs_in, attack.guesses_within(1),
                        attack.guesses_within(2), end,
                    )
                )  # fmt: skip
    return text_table(
        "Evaluated guesses",
        ("policy", "attacker", "user signs in", "in a year", "in two years", "device"),
        rows,
        *[f"{strategy.__name__}: {strategy.__doc__}" for strategy in STRATEGIES],
        section="guesses",
    )


# Known clients


KNOWN_CLIENTS = DEFAULT.replace(known_clients=True)
WITHOUT_TOKEN: dict[str, Strategy] = {
    "as many as possible": greedy, "10 a day": at_rate(10), "persistent": persistent
}  # fmt: skip


COPIES = (one_copy, all_copies, careful_copies)  # of the user's tokens


def name_of(strategy: Strategy) -> str:
    return strategy.__name__.replace("_", " ")


def attack_on_known_client(strategy: Strategy, signs_in: str, years: int) -> Attack:
    """Attack a user who presents the token of the last receipt, and reopens the other lane."""
    attack = Attack(
        KNOWN_CLIENTS, SIGN_INS[signs_in], 365 * years, known_client=True, with_probability=False
    )
    strategy(attack)
    return attack


def budget_within(years: int) -> int:
    """Return the largest number of guesses that the budget allows in so many years."""
    return KNOWN_CLIENTS.budget + years * YEAR // KNOWN_CLIENTS.budget_refill


def known_client_row(
    name: str, signs_in: str, attack: Attack, years: int
) -> tuple[object, ...]:
    delayed = attack.refused_or_delayed()
    return (
        name, signs_in, attack.guesses_within(1), attack.guesses_within(years),
        len(attack.waits), delayed, "disabled" if attack.device.disabled else "not disabled",
    )  # fmt: skip


def problems_with(attack: Attack, name: str, years: int) -> list[str]:
    """Return a problem for each year in which more guesses were evaluated than allowed."""
    return [
        f"{name}: {attack.guesses_within(year)} guesses in {year} years, "
        f"the budget allows {budget_within(year)}"
        for year in range(1, years + 1)
        if attack.guesses_within(year) > budget_within(year)
    ]


def known_clients(options: Options) -> Iterator[Table]:
    years = 2 if options.quick else 10
    head = (
        "attacker", "user signs in", "guesses in a year", f"guesses in {years} years",
        "sign-ins", "refused or delayed", "device",
    )  # fmt: skip
    rows, problems = [], []
    for guesses, strategy in WITHOUT_TOKEN.items():
        for signs_in in ("daily", "5 a day"):
            attack = attack_on_known_client(strategy, signs_in, years)
            rows.append(known_client_row(guesses, signs_in, attack, years))
            problems += problems_with(attack, guesses, years)
            if attack.refused_or_delayed() or attack.refusals or attack.device.disabled:
                problems.append(f"{guesses}: a user with a client token was refused or delayed")
    allowed = f"the budget allows {budget_within(1)} guesses in a year, "
    allowed += f"{budget_within(years)} in {years} years"
    yield text_table(
        "A user with a client token, attacked without one",
        head,
        rows,
        "Policy(known_clients=True); the user reopens the lane without a token at each sign-in",
        allowed,
        section="known-client",
        problems=problems,
    )
    rows, problems = [], []
    for strategy in COPIES:
        for signs_in in ("never", "weekly", "daily", "5 a day"):
            attack = attack_on_known_client(strategy, signs_in, years)
            rows.append(known_client_row(name_of(strategy), signs_in, attack, years))
            problems += problems_with(attack, name_of(strategy), years)
    yield text_table(
        "A user with a client token, attacked with copies of the tokens",
        head,
        rows,
        *[f"{name_of(strategy)}: {strategy.__doc__}" for strategy in COPIES],
        allowed,
        section="lanes",
        problems=problems,
    )


BOUNDS = (
    ("default", "never", inf, 365), ("default", "daily", inf, 1), ("default", "daily", inf, 365),
    ("default", "5 a day", inf, 365), ("default", "daily", 1, 30), ("default", "daily", 0.2, 365),
    ("window 0", "daily", inf, 365), ("window 2", "daily", inf, 365),
    ("default", "weekly", inf, 365), ("cap 10", "never", inf, 365), ("cap 10", "daily", inf, 30),
    ("no budget", "weekly", inf, 365), ("no budget", "daily", inf, 365),
    ("no budget", "5 a day", inf, 365),
)  # fmt: skip


def answer(options: Options) -> Iterator[Table]:
    yield evaluated_guesses(("default",) if options.quick else ("default", "no budget"))
    yield text_table(
        "The bound and the best of these attackers",
        (
            "policy", "user signs in", "attacker's rate", "days", "guesses: bound", "simulated",
            "probability: bound", "simulated", "bound / simulated",
        ),
        [compare_with_bound(*case) for case in (BOUNDS[:5] if options.quick else BOUNDS)],
        section="formula",
    )  # fmt: skip
    yield text_table(
        "What an attacker who knows the first factor does to the user",
        (
            "guesses", "user signs in", "sign-ins that wait", "median, longest", "warning",
            "budget used up", "disabled",
        ),
        [
            effect_on_user(guesses, signs_in)
            for guesses in GUESSES
            for signs_in in ("daily", "5 a day")
        ],
        "a year with the default policy; the user tries again after the delay",
        section="victim",
    )  # fmt: skip
    yield from known_clients(options)


if __name__ == "__main__":
    main(answer, __file__)
