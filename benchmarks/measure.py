"""How everything here is measured: interleaved, in shuffled order, as ratios to a floor of the same round.

A machine that is shared makes absolute times worthless, so a case is divided by the floor measured beside it,
and the table gives the median of those ratios with its quartiles. Statements are compiled into the timing loop
(``timeit``), so a case pays for no call that its user would not pay for.
"""

from __future__ import annotations

import argparse
import gc
import platform
import random
import sqlite3
import ssl
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from timeit import Timer
from typing import Any

Case = str | Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of a table. *goal* is (reach, never) from the floor's point of view; *per* is in seconds."""

    name: str
    per: float
    ratio: float
    low: float
    high: float
    goal: tuple[float, float] | None = None

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        reach, never = self.goal
        words = "reached" if self.ratio <= reach else "within" if self.ratio <= never else "BEYOND"
        return f"{words} (reach {reach:g}, never {never:g})"


@dataclass
class Table:
    """The answer to one question, as text and as Markdown."""

    question: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    head: tuple[str, ...] = ("case", "time", "ratio", "quartiles", "goal")

    def cells(self) -> list[tuple[str, ...]]:
        return [
            (row.name, readable(row.per), f"{row.ratio:.2f}", f"{row.low:.2f} - {row.high:.2f}", row.verdict)
            for row in self.rows
        ]

    def text(self) -> str:
        return "\n".join([self.question, *_columns([self.head, *self.cells()]), *self.notes, ""])

    def markdown(self) -> str:
        lines = ["| " + " | ".join(cells) + " |" for cells in [self.head, ("---",) * len(self.head), *self.cells()]]
        return "\n".join([f"### {self.question}", "", *lines, "", *self.notes, ""])


class Facts(Table):
    """A table whose cells are words and counts rather than ratios."""

    def __init__(self, question: str, head: Sequence[str], facts: Iterable[Sequence[object]], *notes: str) -> None:
        super().__init__(question, notes=list(notes), head=tuple(head))
        self._facts = [tuple(str(cell) for cell in fact) for fact in facts]

    def cells(self) -> list[tuple[str, ...]]:
        return self._facts


@dataclass(frozen=True)
class Run:
    """What the command line asked for."""

    quick: bool
    out: Path | None

    def rounds(self, full: int) -> int:
        return max(7, full // 9) if self.quick else full


def ratios(
    question: str,
    floor: Case,
    cases: Mapping[str, Case],
    *,
    names: Mapping[str, Any],
    rounds: int,
    floors: int = 1,
    goals: Mapping[str, tuple[float, float]] | None = None,
    slice_seconds: float = 0.002,
) -> Table:
    """CPU time of each case over *floors* times the floor, measured in the same rounds."""
    statements = {"floor": floor, **cases}
    timers = {
        name: Timer(case, timer=time.process_time, globals=dict(names)) for name, case in statements.items()
    }
    numbers = {name: _calibrated(timer, slice_seconds) for name, timer in timers.items()}
    seen: dict[str, list[float]] = {name: [] for name in timers}
    order = list(timers)
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds):
            random.shuffle(order)
            for name in order:
                seen[name].append(timers[name].timeit(numbers[name]) / numbers[name])
    finally:
        gc.unfreeze()
    return Table(question, compared(seen, floors=floors, goals=goals or {}))


def compared(
    seen: Mapping[str, Sequence[float]], *, floors: int = 1, goals: Mapping[str, tuple[float, float]] | None = None
) -> list[Row]:
    """Rows of the series *seen*, each over the series named "floor", round by round."""
    floor = [floors * seconds for seconds in seen["floor"]]
    rows = []
    for name, series in seen.items():
        shares = [own / base for own, base in zip(series, floor, strict=True)]
        low, middle, high = quantiles(shares, n=4) if len(shares) > 1 else shares * 3
        label = f"floor x {floors}" if name == "floor" and floors > 1 else name
        per = median(floor if name == "floor" else series)
        rows.append(Row(label, per, 1.0 if name == "floor" else middle, low, high, (goals or {}).get(name)))
    return rows[:1] + sorted(rows[1:], key=lambda row: row.ratio)


def alternated(
    operations: Mapping[str, Callable[[], object]], *, rounds: int, operations_a_round: int
) -> dict[str, list[float]]:
    """Wall time of operations that wait for a disk or a server: each timed by itself, medians a round."""
    seen: dict[str, list[float]] = {name: [] for name in operations}
    order = list(operations)
    for _ in range(rounds):
        times: dict[str, list[float]] = {name: [] for name in operations}
        for _ in range(operations_a_round):
            random.shuffle(order)
            for name in order:
                began = time.perf_counter()
                operations[name]()
                times[name].append(time.perf_counter() - began)
        for name in order:
            seen[name].append(median(times[name]))
    return seen


def main(answer: Callable[[Run], Iterator[Table]], script: str) -> None:
    """Run one question: print its tables, and write them into ``--out`` if that is given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a glance, not a figure to quote")
    parser.add_argument("--out", type=Path, help="a folder for the tables as Markdown, and the plots")
    options = parser.parse_args()
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    print(surroundings(), end="\n\n")
    written = []
    for table in answer(Run(options.quick, options.out)):
        print(table.text(), flush=True)
        written.append(table.markdown())
    if options.out:
        (options.out / f"{Path(script).stem}.md").write_text("\n".join(written), encoding="utf-8")


def surroundings() -> str:
    """What a ratio depends on: the interpreter, the libraries below, the peers."""
    peers = ("pyotp", "libpass", "cryptography", "django-otp", "oath", "otpauth", "mintotp")
    found = [f"{name} {_version(name)}" for name in peers]
    return (
        f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, SQLite {sqlite3.sqlite_version}, "
        f"{platform.system()} {platform.machine()}\npeers: {', '.join(found)}"
    )


@contextmanager
def figure(path: Path, across: str, up: str) -> Iterator[Any]:
    """Axes to draw on. The same drawing is the same file: no date, no random ids."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "vmfa", "svg.fonttype": "none", "font.size": 11})
    from matplotlib import pyplot as plt

    drawn, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    yield axes
    axes.set(xlabel=across, ylabel=up)
    axes.grid(visible=True, alpha=0.3)
    drawn.legend(loc="outside upper center", ncols=2, frameon=False)
    drawn.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(drawn)


def readable(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds / 1e-9:.0f} ns"


def _calibrated(timer: Timer, seconds: float) -> int:
    timer.timeit(10)  # what the first call alone pays for, once a process, is no part of an operation
    number = 1
    while True:
        spent = timer.timeit(number)
        if spent >= seconds / 4:
            return max(1, round(number * seconds / spent))
        number *= 4


def _columns(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return ["  " + "  ".join(line).rstrip() for line in padded]


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        sys.exit(f"{distribution} is missing: pip install 'vmfa[bench]'")
