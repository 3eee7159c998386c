"""What operators ask: with these clocks, these delays and this policy, who is refused, and who is locked out?

People sign in at the real rules, over a store in memory and under a clock that jumps. A person reads the code of a
phone whose clock is off and drifts, types it with a delay and now and then wrongly, tries three times, and then goes to
the page that resynchronises. Every random number, the keys included, comes from one seed: two runs give one answer.

Not in the model: people who wait for a fresh code when the shown one is about to end, and log-ins by two phones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import vmfa
from devices import ACCOUNT, BEGAN, MASTER, STEP, Clock
from measure import Facts, Run, Table, figure, main

DAY = 86_400
YEAR = 365 * DAY
TRIES = 3  # in one log-in
DEFAULT = vmfa.Policy()
POLICIES = {
    "default": DEFAULT,
    "window 0": DEFAULT.replace(window=0),
    "window 2": DEFAULT.replace(window=2),
    "no drift followed": DEFAULT.replace(login_drift=0),
    "drift of 1 followed": DEFAULT.replace(login_drift=1),
}


class SeededKeys(vmfa.DerivedKeys):
    """The default source of keys, but for its nonces: without them two runs would differ."""

    __slots__ = ("_random",)
    _random: Random

    def __init__(self, random: Random) -> None:
        super().__init__(MASTER)
        object.__setattr__(self, "_random", random)

    def issue(
        self, principal: vmfa.PrincipalId, serial: str, parameters: vmfa.Parameters
    ) -> tuple[vmfa.KeyRef, vmfa.Key]:
        ref = vmfa.KeyRef(scheme=self.scheme, key_id=self.current_id, material=self._random.randbytes(16))
        return ref, self.reveal(ref, principal, serial, parameters)


@dataclass(frozen=True)
class Habits:
    """How a person signs in. Seconds; *delay* is the median from reading to arriving, log-normal about it."""

    skew: float = 0  # of the phone's clock, ahead of the verifier's
    ppm: float = 0  # what it gains, in millionths
    delay: float = 9
    spread: float = 0.5  # 95 of 100 are below twice the median
    typos: float = 0  # the share of codes that are typed wrongly


class Person:
    """Somebody who signs in at the real rules, with a phone of their own."""

    def __init__(self, policy: vmfa.Policy, habits: Habits, random: Random) -> None:
        self.habits, self.random, self.clock = habits, random, Clock()
        self.who = vmfa.PrincipalId.user(ACCOUNT, "u-4711")
        self.me = vmfa.Actor.signed_in(self.who)
        self.registry = vmfa.DeviceRegistry(
            vmfa.MemoryStore(), keys=SeededKeys(random), issuer="Example", policy=policy, clock=self.clock,
            observer=self._hear,
        )
        self.registry.operations.random = random.randbytes  # session ids and serial numbers, which keys are bound to
        self.saw: Counter[str] = Counter()

    def enroll(self) -> str:
        """Read two codes of the phone as it is and type them: in sync, out of sync, or refused."""
        opened = self.registry.open_enrollment(self.who, by=self.me, label="alice")
        self.key, self.since = vmfa.Key.from_base32(opened.base32), self.clock.now
        at = self.since + self.random.uniform(0, STEP)
        pair = self._shown(at), self._shown(at + STEP)
        self._send(at + STEP)
        try:
            report = self.registry.confirm_enrollment(
                self.who, session=opened.session_id, code1=pair[0], code2=pair[1], by=self.me
            )
        except vmfa.PairRejected:
            return "refused"
        return report.sync.value

    def enroll_right(self) -> None:
        """As most phones are enrolled: with a right clock. The habits begin afterwards."""
        habits, self.habits = self.habits, Habits(delay=0)
        self.enroll()
        self.habits = habits

    def sign_in(self, at: float) -> int:
        """Log in at Unix time *at*: which try was accepted, or 0. The time behind it is ``clock.now``."""
        for attempt in range(1, TRIES + 1):
            typed = self._read(at)
            at = self._send(at)
            try:
                self.registry.verify(self.who, typed)
            except vmfa.DeviceDisabled:
                return 0
            except vmfa.CodeRejected as refusal:
                at += refusal.retry_after or 0
            else:
                self.saw[f"accepted at try {attempt}"] += 1
                return attempt
        self.saw["all tries failed"] += 1
        return 0

    def resync(self) -> bool:
        """Type the next two codes, carefully."""
        at = self.clock.now + STEP
        pair = self._shown(at), self._shown(at + STEP)
        self._send(at + STEP)
        try:
            self.registry.resync(self.who, code1=pair[0], code2=pair[1], by=self.me)
        except vmfa.CodeRejected:
            return False
        return True

    def _shown(self, at: float) -> str:
        return vmfa.totp(self.key, at + self.habits.skew + self.habits.ppm * 1e-6 * (at - self.since))

    def _read(self, at: float) -> str:
        code = self._shown(at)
        if self.habits.typos and self.random.random() < self.habits.typos:
            return code[:-1] + str((int(code[-1]) + 1) % 10)
        return code

    def _send(self, at: float) -> float:
        at += self.habits.delay * self.random.lognormvariate(0, self.habits.spread)
        self.clock.now = max(self.clock.now, int(at))
        return at

    def _hear(self, event: vmfa.AuditEvent) -> None:
        self.saw[event.type.value] += 1


# The questions


def settled(policy: vmfa.Policy, habits: Habits, random: Random) -> Person:
    person = Person(policy, habits, random)
    person.enroll_right()
    return person


def skewed(policy: vmfa.Policy, skew: float, *, people: int, days: int, delay: float = 9) -> tuple[float, float]:
    """The shares of daily log-ins that fail at the first try, and at all, once the clock is *skew* seconds off."""
    random, first, every = Random(f"skew {skew} {delay}"), 0, 0
    for _ in range(people):
        person = settled(policy, Habits(skew=skew, delay=delay), random)
        for day in range(1, days + 1):
            attempt = person.sign_in(BEGAN + day * DAY + random.uniform(0, DAY / 2))
            first += attempt != 1
            every += attempt == 0
    return first / (people * days), every / (people * days)


def drifting(ppm: float, apart: float, *, years: int = 3) -> tuple[float, float]:
    """Days until the first log-in fails, and until two codes no longer help either; 0: not within the *years*.

    The person signs in every *apart* days, and resynchronises whenever a log-in failed.
    """
    person = settled(DEFAULT, Habits(ppm=ppm, spread=0), Random("drift"))
    failed = 0.0
    at = float(BEGAN)
    while (at := at + apart * DAY) < BEGAN + years * YEAR:
        if not person.sign_in(at):
            failed = failed or (at - BEGAN) / DAY
            if not person.resync():
                return failed, (at - BEGAN) / DAY
    return failed, 0.0


def crowd(random: Random) -> Habits:
    """Nine of ten phones follow the network's time, one was set by hand and drifts; 3 % of the codes are mistyped."""
    if random.random() < 0.9:
        return Habits(skew=random.gauss(0, 2), typos=0.03)
    return Habits(skew=random.gauss(0, 40), ppm=random.gauss(0, 20), typos=0.03)


def lived(policy: vmfa.Policy, people: int, days: int) -> Counter[str]:
    """What a crowd that signs in daily meets. Whom two codes do not help gets a new device and the right time."""
    total: Counter[str] = Counter()
    for number in range(people):
        random = Random(f"crowd {number}")
        person = settled(policy, crowd(random), random)
        for day in range(1, days + 1):
            if not person.sign_in(BEGAN + day * DAY + random.uniform(0, DAY / 2)) and not person.resync():
                person.registry.deactivate(person.who, by=vmfa.Actor.support("clock"))
                person.habits = Habits(typos=0.03)
                person.enroll_right()
                total["new device"] += 1
        total += person.saw
    return total


def careless(typos: float, *, people: int, years: int, a_day: int = 5) -> tuple[Counter[str], list[float]]:
    """What becomes of people whose share of *typos* never falls, and the years after which each was disabled."""
    total: Counter[str] = Counter()
    ended = []
    for number in range(people):
        random = Random(f"typos {typos} {number}")
        person = settled(DEFAULT, Habits(typos=typos), random)
        at = float(BEGAN)
        while (at := at + DAY / a_day) < BEGAN + years * YEAR and not person.saw["device disabled"]:
            person.sign_in(at + random.uniform(0, DAY / a_day / 2))
        total += person.saw
        if person.saw["device disabled"]:
            ended.append((at - BEGAN) / YEAR)
    return total, ended


def corrected(policy: vmfa.Policy, skew: float, *, people: int) -> float:
    """The share of people who are refused when a clock that was *skew* off for a fortnight is set right."""
    random, refused = Random(f"corrected {skew}"), 0
    for _ in range(people):
        person = settled(policy, Habits(skew=skew), random)
        for day in range(1, 15):
            person.sign_in(BEGAN + day * DAY + random.uniform(0, DAY / 2)) or person.resync()
        person.habits = Habits()
        refused += not person.sign_in(BEGAN + 15 * DAY)
    return refused / people


def enrolled(policy: vmfa.Policy, skew: float, *, people: int) -> str:
    """What becomes of the enrollments of a phone that is *skew* seconds ahead."""
    random = Random(f"enrolled {skew}")
    ends = Counter(Person(policy, Habits(skew=skew), random).enroll() for _ in range(people))
    return ", ".join(f"{many / people:.0%} {end}" for end, many in sorted(ends.items()))


def shares(pair: tuple[float, float]) -> str:
    return " / ".join(f"{share:.1%}".replace(".0%", "%") for share in pair)


def ends(pair: tuple[float, float]) -> str:
    return " / ".join(f"day {day:.0f}" if day else "never" for day in pair)


def answer(run: Run) -> Iterator[Table]:
    people, days = (10, 7) if run.quick else (40, 14)
    skews = range(-150, 151, 30 if run.quick else 5)
    found = {
        title: [skewed(policy, skew, people=people, days=days) for skew in skews] for title, policy in POLICIES.items()
    }
    facts = [
        (f"{skew:+} s", *map(shares, column))
        for skew, column in zip(skews, zip(*found.values(), strict=True), strict=True)
        if skew % 30 == 0
    ]
    yield Facts("Log-ins that fail at the first try / at all three, by the phone's skew", ("skew", *found), facts,
                f"{people} people, a log-in a day for {days} days after the clock was set wrong; delay 9 s (median)")

    delays = (2, 5, 10, 20, 30, 60)
    facts = [
        (f"{delay} s", *[shares(skewed(policy, 0, people=people, days=days, delay=delay))
                         for policy in POLICIES.values()])
        for delay in delays
    ]
    yield Facts("The same with a right clock, by the delay from reading to arriving", ("median", *POLICIES), facts)

    intervals = {"daily": 1, "weekly": 7, "monthly": 30}
    rates = (1, 5, 20, 100) if run.quick else (1, 2, 5, 10, 20, 50, 100)
    lives = {title: [drifting(ppm, apart) for ppm in rates] for title, apart in intervals.items()}
    facts = [
        (f"{ppm} ppm, {ppm * 1e-6 * DAY:.1f} s a day",
         *map(ends, column))
        for ppm, column in zip(rates, zip(*lives.values(), strict=True), strict=True)
    ]
    yield Facts("A phone that drifts: the first log-in that fails / two codes that fail, in three years",
                ("drift", *intervals), facts, "default policy; resynchronized after each log-in that failed")

    size, length = (20, 30) if run.quick else (100, 365)
    facts = []
    for title, policy in POLICIES.items():
        saw, logins = lived(policy, size, length), size * length
        yearly = 1000 * YEAR / DAY / logins
        told = ("device resynchronized", "new device", "drift changed", "device disabled")
        facts.append((title, f"{1 - saw['accepted at try 1'] / logins:.2%}", f"{saw['all tries failed'] / logins:.3%}",
                      *[f"{saw[name] * yearly:.0f}" for name in told]))
    yield Facts("A crowd of people, daily", ("policy", "fail at the first try", "at all three", "resynchronized",
                                             "new devices", "drifts moved", "disabled"), facts,
                f"{size} people for {length} days; the last four a year and thousand people")

    few, years = (2, 1) if run.quick else (3, 10)
    facts = []
    for typos in (0.02, 0.05, 0.1, 0.2, 0.3):
        saw, ended = careless(typos, people=few, years=years)
        logins = sum(saw[f"accepted at try {n}"] for n in (1, 2, 3)) + saw["all tries failed"]
        facts.append((f"{typos:.0%}", f"{saw['all tries failed'] / logins:.2%}", f"{len(ended)} of {few}",
                      f"after {min(ended):.1f} to {max(ended):.1f} years" if ended else ""))
    yield Facts("Codes typed wrongly, five log-ins a day", ("typed wrongly", "three wrong codes: a wait of 15 s",
                                                          "disabled", "when"),
                facts, f"{few} people for {years} years, right clocks")

    facts = [
        (f"{skew} s", *[f"{corrected(policy, skew, people=people):.0%}" for policy in POLICIES.values()])
        for skew in (30, 60, 90, 300)
    ]
    yield Facts("Refused at all three tries on the day a wrong clock is set right", ("it was off by", *POLICIES), facts)

    strict = {"default": DEFAULT, "strict": vmfa.Policy.strict()}
    facts = [
        (f"{skew} s", *[enrolled(policy, skew, people=people) for policy in strict.values()])
        for skew in (0, 15, 30, 45, 60, 120, 270, 300, 330, 600)
    ]
    yield Facts("What becomes of an enrollment", ("the phone is ahead by", *strict), facts)
    if run.out:
        draw(run.out, skews, found, rates, lives)


def draw(
    folder: Path, skews: Sequence[int], found: dict[str, list[tuple[float, float]]], rates: Sequence[float],
    lives: dict[str, list[tuple[float, float]]],
) -> None:
    with figure(folder / "simulate-skew.svg", "the phone is ahead by (seconds)", "log-ins that fail (%)") as axes:
        for title in ("default", "window 0", "window 2", "no drift followed"):
            axes.plot(skews, [100 * every for _, every in found[title]], label=title)
        axes.plot(skews, [100 * first for first, _ in found["default"]], "C0:", label="default, first try")
    with figure(folder / "simulate-drift.svg", "drift of the phone's clock (millionths)", "days") as axes:
        axes.set(xscale="log", yscale="log")
        for axis, ticks in ((axes.xaxis, rates), (axes.yaxis, (7, 14, 30, 90, 182, 365, 730))):
            axis.set_ticks(ticks, [str(tick) for tick in ticks])
            axis.set_ticks([], minor=True)
        for title, life in lives.items():
            axes.plot(rates, [first or None for first, _ in life], "o-", label=f"{title}: first log-in that fails")
        axes.plot(rates, [last or None for _, last in lives["daily"]], "s--", color="C3", label="two codes fail, too")


if __name__ == "__main__":
    main(answer, __file__)
