"""Users: how often sign-ins fail, and users are locked out, by clock, delay and policy.

Simulated users sign in at the real rules, over a store in memory and under a simulated clock. A
user reads the code of a phone whose clock is wrong and drifts, types it with a delay and sometimes
wrongly, tries three times, and then resynchronizes. All random numbers, keys included, come from
fixed seeds: every run has the same results.

Not simulated: users who wait for a new code when the current one is about to end, and users who
sign in with two phones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import vmfa
from measure import Options, Table, figure, main, text_table
from users import ALICE, MASTER_KEY, START, STEP
from vmfa.testing import AuthenticatorApp, FrozenClock

DAY = 86_400
YEAR = 365 * DAY
TRIES = 3  # in one sign-in
DEFAULT = vmfa.Policy()
POLICIES = {
    "default": DEFAULT,
    "window 0": DEFAULT.replace(window=0),
    "window 2": DEFAULT.replace(window=2),
    "no drift followed": DEFAULT.replace(login_drift=0),
    "drift of 1 followed": DEFAULT.replace(login_drift=1),
}
INTERVALS = {"daily": 1, "weekly": 7, "monthly": 30}  # days between sign-ins
Shares = tuple[float, float]  # of sign-ins that fail: at the first try, at all tries
Days = tuple[float, float]  # of the first sign-in and the first resynchronization that fail


class SeededKeys(vmfa.DerivedKeys):
    """Derived keys whose nonces come from a seed."""

    __slots__ = ("_random",)
    _random: Random

    def __init__(self, random: Random) -> None:
        super().__init__(MASTER_KEY)
        object.__setattr__(self, "_random", random)

    def issue(
        self, principal: vmfa.PrincipalId, serial: str, parameters: vmfa.Parameters
    ) -> tuple[vmfa.KeyRef, vmfa.Key]:
        nonce = self._random.randbytes(16)
        ref = vmfa.KeyRef(scheme=self.scheme, key_id=self.current_id, material=nonce)
        return ref, self.reveal(ref, principal, serial, parameters)


@dataclass(frozen=True)
class Habits:
    """How a user signs in.

    :param skew: seconds by which the phone's clock is ahead.
    :param ppm: parts per million that it gains.
    :param delay: the median of the seconds from reading a code to its arrival (log-normal).
    :param spread: with 0.5, 92 of 100 delays are below twice the median.
    :param typos: the share of codes that are typed wrongly.
    """

    skew: float = 0
    ppm: float = 0
    delay: float = 9
    spread: float = 0.5
    typos: float = 0


class Person:
    """A user with a phone, a registry and a clock of their own."""

    def __init__(self, policy: vmfa.Policy, habits: Habits, random: Random) -> None:
        self.habits, self.random = habits, random
        self.clock = FrozenClock(START)  # of the registry
        self.read_at = FrozenClock(START)  # the true time at which the user reads a code
        self.app = AuthenticatorApp(self.read_at)
        self.me = vmfa.Actor.signed_in(ALICE)
        self.registry = vmfa.DeviceRegistry(
            vmfa.MemoryStore(),
            keys=SeededKeys(random),
            issuer="Example",
            policy=policy,
            clock=self.clock,
            observer=self._observe,
        )
        self.registry.operations.random = random.randbytes  # serials, which keys are bound to
        self.events: Counter[str] = Counter()

    def enroll(self) -> str:
        """Enroll with two consecutive codes of the phone. Return the sync state, or "refused"."""
        session = self.registry.open_enrollment(ALICE, by=self.me, label="alice")
        self.phone = self.app.scan(session.uri)
        at = self.clock() + self.random.uniform(0, STEP)
        code1, code2 = self._shown(at), self._shown(at + STEP)
        self._send(at + STEP)
        try:
            report = self.registry.confirm_enrollment(
                ALICE, session=session.session_id, code1=code1, code2=code2, by=self.me
            )
        except vmfa.PairRejected:
            return "refused"
        return report.sync.value

    def enroll_with_right_clock(self) -> None:
        """Enroll with a right clock and without a delay. The habits begin after that."""
        habits, self.habits = self.habits, Habits(delay=0)
        self.enroll()
        self.habits = habits

    def sign_in(self, at: float) -> int:
        """Sign in at Unix time *at*. Return the number of the accepted try, or 0."""
        for attempt in range(1, TRIES + 1):
            code = self._typed(at)
            at = self._send(at)
            try:
                self.registry.verify(ALICE, code)
            except (vmfa.DeviceDisabled, vmfa.SignInClosed):
                self.events["closed"] += 1
                return 0
            except vmfa.CodeRejected as refusal:
                at += refusal.retry_after or 0
            else:
                self.events[f"accepted at try {attempt}"] += 1
                return attempt
        self.events["all tries failed"] += 1
        return 0

    def resync(self) -> bool:
        """Enter the next two codes, without typos. Return whether they were accepted."""
        at = self.clock() + STEP
        code1, code2 = self._shown(at), self._shown(at + STEP)
        self._send(at + STEP)
        try:
            self.registry.resync(ALICE, code1=code1, code2=code2, by=self.me)
        except vmfa.CodeRejected:
            return False
        return True

    def _shown(self, at: float) -> str:
        self.app.skew, self.app.drift = self.habits.skew, self.habits.ppm * 1e-6 * DAY
        self.read_at.set(at)
        return self.phone.code()

    def _typed(self, at: float) -> str:
        code = self._shown(at)
        if self.habits.typos and self.random.random() < self.habits.typos:
            return code[:-1] + str((int(code[-1]) + 1) % 10)
        return code

    def _send(self, at: float) -> float:
        """Let the delay pass. Return the time of arrival."""
        at += self.habits.delay * self.random.lognormvariate(0, self.habits.spread)
        self.clock.set(max(self.clock(), int(at)))
        return at

    def _observe(self, event: vmfa.AuditEvent) -> None:
        self.events[event.type.value] += 1


# The questions


def enrolled(policy: vmfa.Policy, habits: Habits, random: Random) -> Person:
    """Return a person with an enrolled device."""
    person = Person(policy, habits, random)
    person.enroll_with_right_clock()
    return person


def failed_sign_ins(
    policy: vmfa.Policy, skew: float, *, people: int, days: int, delay: float = 9
) -> Shares:
    """Return the shares of daily sign-ins that fail with a clock *skew* seconds ahead."""
    random, first_tries, all_tries = Random(f"skew {skew} {delay}"), 0, 0
    for _ in range(people):
        person = enrolled(policy, Habits(skew=skew, delay=delay), random)
        for day in range(1, days + 1):
            attempt = person.sign_in(START + day * DAY + random.uniform(0, DAY / 2))
            first_tries += attempt != 1
            all_tries += attempt == 0
    return first_tries / (people * days), all_tries / (people * days)


def days_until_failure(ppm: float, interval: float, *, years: int = 3) -> Days:
    """Return the day of the first sign-in and of the first resynchronization that fail; 0: none.

    The user signs in every *interval* days, and resynchronizes after each sign-in that failed.
    """
    person = enrolled(DEFAULT, Habits(ppm=ppm, spread=0), Random("drift"))
    failed = 0.0
    at = float(START)
    while (at := at + interval * DAY) < START + years * YEAR:
        if not person.sign_in(at):
            failed = failed or (at - START) / DAY
            if not person.resync():
                return failed, (at - START) / DAY
    return failed, 0.0


def crowd_habits(random: Random) -> Habits:
    """Return the habits of one user: nine of ten phones use network time, one drifts."""
    if random.random() < 0.9:
        return Habits(skew=random.gauss(0, 2), typos=0.03)
    return Habits(skew=random.gauss(0, 40), ppm=random.gauss(0, 20), typos=0.03)


def crowd_events(policy: vmfa.Policy, people: int, days: int) -> Counter[str]:
    """Count what happens to many users who sign in daily.

    If two codes do not resynchronize a device, support replaces it and sets the clock.
    """
    total: Counter[str] = Counter()
    for number in range(people):
        random = Random(f"crowd {number}")
        person = enrolled(policy, crowd_habits(random), random)
        for day in range(1, days + 1):
            at = START + day * DAY + random.uniform(0, DAY / 2)
            if not person.sign_in(at) and not person.resync():
                person.registry.deactivate(ALICE, by=vmfa.Actor.support("clock"))
                person.habits = Habits(typos=0.03)
                person.enroll_with_right_clock()
                total["new device"] += 1
        total += person.events
    return total


def typing_events(
    typos: float, *, people: int, years: int, per_day: int = 5
) -> tuple[Counter[str], list[float]]:
    """Count what happens to users who mistype, and after how many years a budget is used up."""
    total: Counter[str] = Counter()
    used_up_after = []
    for number in range(people):
        random = Random(f"typos {typos} {number}")
        person = enrolled(DEFAULT, Habits(typos=typos), random)
        at = float(START)
        while (at := at + DAY / per_day) < START + years * YEAR:
            refused = person.events["closed"]
            person.sign_in(at + random.uniform(0, DAY / per_day / 2))
            if person.events["closed"] and not refused:
                used_up_after.append((at - START) / YEAR)
        total += person.events
    return total, used_up_after


def refused_after_correction(policy: vmfa.Policy, skew: float, *, people: int) -> float:
    """Return the share of users who are refused when a clock *skew* ahead is set right."""
    random, refused = Random(f"corrected {skew}"), 0
    for _ in range(people):
        person = enrolled(policy, Habits(skew=skew), random)
        for day in range(1, 15):
            person.sign_in(START + day * DAY + random.uniform(0, DAY / 2)) or person.resync()
        person.habits = Habits()
        refused += not person.sign_in(START + 15 * DAY)
    return refused / people


def enrollment_results(policy: vmfa.Policy, skew: float, *, people: int) -> str:
    """Return the results of enrollments with a phone *skew* seconds ahead, as text."""
    random = Random(f"enrolled {skew}")
    results = Counter(Person(policy, Habits(skew=skew), random).enroll() for _ in range(people))
    shares = [f"{count / people:.0%} {result}" for result, count in sorted(results.items())]
    return ", ".join(shares)


def format_shares(shares: Shares) -> str:
    return " / ".join(f"{share:.1%}".replace(".0%", "%") for share in shares)


def format_days(days: Days) -> str:
    return " / ".join(f"day {day:.0f}" if day else "never" for day in days)


def answer(options: Options) -> Iterator[Table]:
    people, days = (10, 7) if options.quick else (40, 14)
    skews = range(-150, 151, 30 if options.quick else 5)
    by_skew = {
        name: [failed_sign_ins(policy, skew, people=people, days=days) for skew in skews]
        for name, policy in POLICIES.items()
    }
    columns = zip(*by_skew.values(), strict=True)
    yield text_table(
        "Sign-ins that fail at the first try / at all three tries, by the skew of the phone",
        ("skew", *POLICIES),
        [
            (f"{skew:+} s", *map(format_shares, shares))
            for skew, shares in zip(skews, columns, strict=True)
            if skew % 30 == 0
        ],
        f"{people} users, a sign-in a day for {days} days after the clock was set wrong",
        section="skew",
    )
    yield text_table(
        "The same with a right clock, by the delay from reading a code to its arrival",
        ("median delay", *POLICIES),
        [
            (
                f"{delay} s",
                *[
                    format_shares(
                        failed_sign_ins(policy, 0, people=people, days=days, delay=delay)
                    )
                    for policy in POLICIES.values()
                ],
            )
            for delay in (2, 5, 10, 20, 30, 60)
        ],
        section="delay",
    )
    rates = (1, 5, 20, 100) if options.quick else (1, 2, 5, 10, 20, 50, 100)
    by_interval = {
        name: [days_until_failure(ppm, interval) for ppm in rates]
        for name, interval in INTERVALS.items()
    }
    yield text_table(
        "A phone that drifts: the first sign-in that fails / two codes that fail, in three years",
        ("drift", *INTERVALS),
        [
            (f"{ppm} ppm, {ppm * 1e-6 * DAY:.1f} s a day", *map(format_days, column))
            for ppm, column in zip(rates, zip(*by_interval.values(), strict=True), strict=True)
        ],
        "default policy; resynchronized after each sign-in that failed",
        section="drift",
    )
    yield crowd(options)
    yield typing(options)
    yield text_table(
        "Refused at all three tries on the day on which a wrong clock is set right",
        ("it was off by", *POLICIES),
        [
            (
                f"{skew} s",
                *[
                    f"{refused_after_correction(policy, skew, people=people):.0%}"
                    for policy in POLICIES.values()
                ],
            )
            for skew in (30, 60, 90, 300)
        ],
        section="corrected",
    )
    policies = {"default": DEFAULT, "strict": vmfa.Policy.strict()}
    yield text_table(
        "Enrollment with a wrong clock",
        ("the phone is ahead by", *policies),
        [
            (
                f"{skew} s",
                *[
                    enrollment_results(policy, skew, people=people)
                    for policy in policies.values()
                ],
            )
            for skew in (0, 15, 30, 45, 60, 120, 270, 300, 330, 600)
        ],
        section="enrollment",
    )
    if options.out:
        plot(options.out, skews, by_skew, rates, by_interval)


def crowd(options: Options) -> Table:
    people, days = (20, 30) if options.quick else (100, 365)
    columns = {
        "resynchronized": "device resynchronized",
        "new devices": "new device",
        "drift changes": "drift changed",
        "refused: budget used up": "closed",
    }
    rows = []
    for name, policy in POLICIES.items():
        events, sign_ins = crowd_events(policy, people, days), people * days
        per_year = 1000 * YEAR / DAY / sign_ins
        rows.append(
            (
                name,
                f"{1 - events['accepted at try 1'] / sign_ins:.2%}",
                f"{events['all tries failed'] / sign_ins:.3%}",
                *[f"{events[event] * per_year:.0f}" for event in columns.values()],
            )
        )
    return text_table(
        "Many users, a sign-in a day",
        ("policy", "fail at the first try", "at all three", *columns),
        rows,
        f"{people} users for {days} days; the last four columns for a thousand users and a year",
        section="crowd",
    )


def typing(options: Options) -> Table:
    people, years = (2, 1) if options.quick else (3, 10)
    rows = []
    for typos in (0.02, 0.05, 0.1, 0.2, 0.3):
        events, used_up_after = typing_events(typos, people=people, years=years)
        accepted = sum(events[f"accepted at try {attempt}"] for attempt in (1, 2, 3))
        failed, refused = events["all tries failed"], events["closed"]
        sign_ins = accepted + failed + refused
        rows.append(
            (
                f"{typos:.0%}",
                f"{failed / sign_ins:.2%}",
                f"{len(used_up_after)} of {people}",
                f"after {min(used_up_after):.1f} to {max(used_up_after):.1f} years"
                if used_up_after
                else "",
                f"{refused / sign_ins:.1%}",
            )
        )
    return text_table(
        "Users who mistype, five sign-ins a day",
        (
            "typed wrongly", "three wrong codes: a wait of 15 s", "budget used up", "when",
            "refused sign-ins",
        ),
        rows,
        f"{people} users for {years} years, right clocks",
        section="typos",
    )  # fmt: skip


def plot(
    folder: Path,
    skews: Sequence[int],
    by_skew: Mapping[str, Sequence[Shares]],
    rates: Sequence[int],
    by_interval: Mapping[str, Sequence[Days]],
) -> None:
    path = folder / "simulate-skew.svg"
    with figure(path, "the phone is ahead by (seconds)", "sign-ins that fail (%)") as axes:
        for name in ("default", "window 0", "window 2", "no drift followed"):
            axes.plot(skews, [100 * failed for _, failed in by_skew[name]], label=name)
        first_tries = [100 * failed for failed, _ in by_skew["default"]]
        axes.plot(skews, first_tries, "C0:", label="default, first try")
    path = folder / "simulate-drift.svg"
    with figure(path, "drift of the phone's clock (parts per million)", "days") as axes:
        axes.set(xscale="log", yscale="log")
        for axis, ticks in ((axes.xaxis, rates), (axes.yaxis, (7, 14, 30, 90, 182, 365, 730))):
            axis.set_ticks(ticks, [str(tick) for tick in ticks])
            axis.set_ticks([], minor=True)
        for name, days in by_interval.items():
            label = f"{name}: first sign-in that fails"
            axes.plot(rates, [first or None for first, _ in days], "o-", label=label)
        last = [day or None for _, day in by_interval["daily"]]
        axes.plot(rates, last, "s--", color="C3", label="two codes fail, too")


if __name__ == "__main__":
    main(answer, __file__)
