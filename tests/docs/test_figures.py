"""Every figure in the prose of README and documentation is computed, or read from measured data.

Each entry of ``figures`` renders a sentence from the code or from ``docs/_data``, and the page
must contain it. Figures that no entry renders are found by their unit, and refused. Limits, such
as "10 seconds", are not figures: other tests compare them with the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from math import ceil, log
from pathlib import Path
from random import Random
from statistics import NormalDist
from types import SimpleNamespace
from typing import Any

import pytest
from test_fragments import fragments

from vmfa import Policy
from vmfa.analysis import guessing, likeliest
from vmfa.policy import DAY

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if "_generated" not in path.parts and path.name not in {"traceability.md", "clauses.md"}
)
WORDS = {1: "one", 2: "two", 3: "three", 20: "twenty"}
FIGURE = re.compile(
    r"\d ?%|\d(?: to [\d.]+)? [kMGT]B\b|\d (?:µs|ms|ns|microseconds|milliseconds)\b"
    r"|per ?cent\b(?! sign|-)|times as|in a (?:million|thousand)|of 100\b|one in \w*\d|per million"
    r"|a second on average|guess in \d"
)
NOT_MEASURED = {  # limits and advice that the pattern finds
    "docs/performance.md": ["Plan for three to five times as many"],
    "docs/operations/pool-sizing.md": ["exceeds 50 milliseconds"],
}


def measured(name: str, key: str) -> dict[str, dict[str, str]]:
    """Return the cells of a stored table by row and column."""
    table = fragments.load(name)["tables"][key]
    head = table["head"]
    return {row[0]: dict(zip(head, row, strict=True)) for row in table["rows"]}


def prose(page: Path) -> str:
    """Return the text of a page without code, in one line."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    return " ".join(text.split())


def ratio(digits: int) -> float:
    """Return how much likelier the likeliest code is than the average."""
    average = Fraction(2**31, 10**digits)
    return float(ceil(average) / average)


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import simulate
    import timing

    return SimpleNamespace(simulate=simulate, timing=timing)


def figures(benchmarks: Any) -> Iterator[tuple[str, str]]:
    """Yield a page and a sentence, or a part of one, with its computed figures."""
    policy = Policy()
    yield from guessing_figures(policy)
    yield from capacity_figures()
    yield from simulated_figures(policy, benchmarks.simulate)
    timing = benchmarks.timing
    yield "docs/performance.md", f"{timing.MEASUREMENTS:,} measurements each"
    yield "docs/performance.md", f"order, {WORDS[timing.REPEATS]} times"
    yield (
        "docs/performance.md",
        f"|t| is below {timing.MAX_T:g} and the difference is below {timing.MAX_NS:g} ns",
    )


def guessing_figures(policy: Policy) -> Iterator[tuple[str, str]]:
    codes, pairs = 2 * policy.window + 1, policy.enroll_back + policy.enroll_forward + 1
    yield "docs/why.md", f"hits a single code {WORDS[codes]} times in a million"
    yield "docs/why.md", f"about {WORDS[round(pairs, -1)]} times in a million million"
    yield "docs/why.md", f"one guess in {10**6 // codes // 1000 * 1000:,} is right"
    yield "docs/decisions.md", f"likeliest code would be {ratio(9):.1f} times as likely"
    page = "docs/policy-strength.md"
    yield page, f"the likeliest code is {ratio(6):.5f} times as likely as the average with six"
    yield page, f"digits, {ratio(7):.4f} times with seven, and {ratio(8):.3f} times with eight"
    assert guessing(policy, days=365).probability < 1e-3
    yield "docs/threat-model.md", "less than one in a thousand a year"


def capacity_figures() -> Iterator[tuple[str, str]]:
    page, size = "docs/performance.md", measured("performance", "size")
    row = size["a principal with a device and two events: storage with indexes"]["PostgreSQL"]
    later = size["write-ahead log of a sign-in"]["PostgreSQL"]
    first = size["write-ahead log of the first sign-in after a checkpoint"]["PostgreSQL"]
    row_kb, later_kb, first_kb = (float(cell.removesuffix(" kB")) for cell in (row, later, first))
    writes = 5 * 10**9 / DAY
    yield page, f"| record and two events | {row} | {row_kb:.1f} TB |"
    yield page, f"| writes | 5 a day | {round(writes, -3):,.0f} a second on average."
    yield page, f"| {later} for each write, {first} for the first after a checkpoint |"
    low, high = (writes * kilobytes / 1000 for kilobytes in (later_kb, first_kb))
    yield page, f"{low:.0f} to {high:.0f} MB a second on average |"
    yield page, "With 2,000 durable writes a second for each shard"
    yield page, f"this needs {writes / 2000:.0f} shards on average"
    verification = measured("performance", "verification")
    memory = verification["in memory, record encoded, decoded and authenticated"]["vmfa"]
    assert float(memory) < 100
    yield page, "the CPU time of fewer than a hundred HMACs"
    for commit in ("SQLite, `synchronous = FULL`", "PostgreSQL, `synchronous_commit = on`"):
        assert float(verification[commit]["vmfa"]) < 1.5
    yield page, "less than half as long again as the bare statements"
    scale = measured("performance", "scale")
    for name, row_of_scale in scale.items():
        if name.startswith(("1,000,000 principals", "8 processes guess")):
            assert 0.8 < float(row_of_scale["SQLite"]) < 1.2
            assert 0.8 < float(row_of_scale["PostgreSQL"]) < 1.2


def simulated_figures(policy: Policy, simulate: Any) -> Iterator[tuple[str, str]]:
    page, habits = "docs/simulations.md", simulate.Habits()
    twice = 1 - NormalDist(sigma=habits.spread).cdf(log(2))
    yield page, f"a median of {habits.delay:g} seconds passes;"
    yield page, f"in {100 * twice:.0f} of 100 cases more than {2 * habits.delay:g} seconds"
    hand_set = simulate.crowd_habits(FixedRandom())
    ppm = hand_set.ppm
    yield page, f"about {ppm} parts per million, which is {ppm * DAY / 10**6:.1f} seconds a day"
    yield page, f"(standard deviation {hand_set.skew} seconds)"
    yield page, f"({ppm} parts per million)"
    assert hand_set.typos == 0.03
    yield page, "Three of a hundred codes are mistyped"
    yield page, f"waits {policy.delay_seconds} seconds and resynchronizes"
    corrected = measured("simulations", "corrected")["60 s"]
    followed, default = corrected["drift of 1 followed"], corrected["default"]
    yield page, f"this happens to {followed} instead of {default} of them at 60 seconds"
    changes = int(measured("simulations", "crowd")["default"]["drift changes"])
    yield page, f"this is about {WORDS[round(changes / 1000 / 52)]} event a week"
    typos = measured("simulations", "typos")
    assert typos["5%"]["budget used up"] == "0 of 3"
    yield page, "Users who mistype 5% of the codes do not reach the end of the budget"
    yield page, f"With 10% they reach it {typos['10%']['when']}."
    late = measured("simulations", "enrollment")["45 s"]["default"]
    share = re.search(r"(\d+%) out of sync", late)
    assert share is not None
    yield page, f"a clock that is 45 seconds ahead, {share[1]} are out of sync"
    assert policy.budget_refill == 2 * DAY
    yield page, "refills by half a failure a day"
    (bound,) = [
        row[6]
        for row in fragments.load("simulations")["tables"]["formula"]["rows"]
        if row[:4] == ["no budget", "daily", "any", "365"]
    ]
    yield "docs/decisions.md", f"a chance of {bound} a year"
    yield page, f"raised when {policy.budget_warning} failures are left"
    yield page, f"only after {policy.failure_cap} consecutive failures"


class FixedRandom(Random):
    """Choose the one user of ten whose clock was set by hand, at one standard deviation."""

    def random(self) -> float:
        return 0.95

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        return mu + sigma


def test_each_figure_is_the_computed_one(benchmarks: Any) -> None:
    for page, sentence in figures(benchmarks):
        assert sentence in prose(Path(page)), (page, sentence)


def test_no_other_figure_is_typed_into_a_page(benchmarks: Any) -> None:
    computed = [*figures(benchmarks)]
    for page in PAGES:
        text = prose(page)
        known = [sentence for name, sentence in computed if name == str(page)]
        for sentence in (*known, *NOT_MEASURED.get(str(page), ())):
            text = text.replace(sentence, "")
        text = re.sub("`[^`]*`", "", text)
        found = [text[max(hit.start() - 60, 0) : hit.end() + 20] for hit in FIGURE.finditer(text)]
        assert found == [], page


@pytest.mark.parametrize(
    "typed",
    [
        "takes 20 ms", "a fifth, or 20 %", "needs 3 kB", "twice, 2 times as fast",
        "3 in a million", "about ten percent", "4 MB a second on average",
    ],
)
def test_a_typed_figure_is_found(typed: str) -> None:
    assert FIGURE.search(typed)


def test_likeliest_codes_are_those_of_the_analysis() -> None:
    for digits in (6, 7, 8):
        assert float(likeliest(digits)) * 10**digits == pytest.approx(ratio(digits))
