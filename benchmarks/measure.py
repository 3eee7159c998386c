"""Measure cases in interleaved rounds and report each as a ratio to a floor of the same round.

Absolute times mean little on a shared machine. So each case is divided by the floor that was
measured in the same round, and a table shows the median of these ratios with its quartiles.
Statements are compiled into the timing loop (``timeit``), so that no extra call is measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
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
Series = dict[str, list[float]]  # case: one value for each round
PEERS = ("pyotp", "libpass", "cryptography", "django-otp", "oath", "otpauth", "mintotp")
FLOOR = "floor"


@dataclass(frozen=True)
class Limits:
    """The goal (*reach*) of a ratio, and the value beyond which a change is refused (*never*).

    A larger ratio is worse, unless *reach* is above *never*.
    """

    reach: float
    never: float

    def exceeded_by(self, ratio: float) -> bool:
        return ratio < self.never if self.reach > self.never else ratio > self.never

    def reached_by(self, ratio: float) -> bool:
        return ratio >= self.reach if self.reach > self.never else ratio <= self.reach

    def verdict(self, ratio: float) -> str:
        if self.exceeded_by(ratio):
            word = "BEYOND THE LIMIT"
        else:
            word = "reached" if self.reached_by(ratio) else "within the limit"
        return f"{word} (reach {self.reach:g}, never {self.never:g})"


@dataclass(frozen=True)
class Row:
    """The result of one case: median seconds of one operation, and the ratio with quartiles."""

    case: str
    seconds: float
    ratio: float
    low: float
    high: float
    limits: Limits | None = None


@dataclass(kw_only=True)
class Table:
    """The answer to one question as rows of text.

    :param section: the table of the documentation that shows this answer; empty: none.
    :param problems: requirements that the results do not meet.
    """

    title: str
    head: Sequence[str]
    cells: Sequence[Sequence[str]]
    section: str = ""
    notes: Sequence[str] = ()
    problems: Sequence[str] = ()

    def text(self) -> str:
        return "\n".join([self.title, *_aligned([self.head, *self.cells]), *self.notes, ""])

    def stored(self) -> dict[str, Any]:
        """Return the table for the report file."""
        return {
            "title": self.title, "section": self.section, "head": list(self.head),
            "cells": [list(row) for row in self.cells], "notes": list(self.notes),
            "problems": list(self.problems),
        }  # fmt: skip


@dataclass(kw_only=True)
class RatioTable(Table):
    """The answer to one question as ratios to a floor.

    :param question: the row of the documentation's table that shows these ratios.
    :param floor: what the ratios are relative to.
    """

    rows: Sequence[Row]
    question: str
    floor: str
    head: Sequence[str] = ("case", "time", "ratio", "quartiles", "limits")
    cells: Sequence[Sequence[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.cells = [
            (
                row.case,
                readable_time(row.seconds),
                f"{row.ratio:.2f}",
                f"{row.low:.2f} - {row.high:.2f}",
                row.limits.verdict(row.ratio) if row.limits else "",
            )
            for row in self.rows
        ]
        self.notes = [f"floor: {self.floor}", *self.notes]
        self.problems = [
            f"{self.title}: {row.case} is {row.ratio:.2f}, the limit is {row.limits.never:g}"
            for row in self.rows
            if row.limits and row.limits.exceeded_by(row.ratio)
        ]

    def stored(self) -> dict[str, Any]:
        ratios = [
            {
                "case": row.case, "ratio": row.ratio, "low": row.low, "high": row.high,
                "reach": row.limits.reach if row.limits else None,
                "never": row.limits.never if row.limits else None,
            }
            for row in self.rows
        ]  # fmt: skip
        return super().stored() | {
            "question": self.question, "floor": self.floor, "ratios": ratios,
        }  # fmt: skip


def text_table(
    title: str,
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *notes: str,
    section: str = "",
    problems: Sequence[str] = (),
) -> Table:
    cells = [[str(cell) for cell in row] for row in rows]
    return Table(
        title=title, head=head, cells=cells, section=section, notes=notes, problems=problems
    )


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    quick: bool
    out: Path | None

    def rounds(self, full: int) -> int:
        return max(7, full // 9) if self.quick else full


def time_statements(
    statements: Mapping[str, Case],
    *,
    names: Mapping[str, Any],
    rounds: int,
    slice_seconds: float = 0.002,
) -> Series:
    """Return the CPU seconds of one execution of each statement, for each round."""
    timers = {
        case: Timer(statement, timer=time.process_time, globals=dict(names))
        for case, statement in statements.items()
    }
    numbers = {case: _calibrated(timer, slice_seconds) for case, timer in timers.items()}
    series: Series = {case: [] for case in timers}
    order = list(timers)
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds):
            random.shuffle(order)
            for case in order:
                series[case].append(timers[case].timeit(numbers[case]) / numbers[case])
    finally:
        gc.unfreeze()
    return series


def time_operations(
    operations: Mapping[str, Callable[[], object]], *, rounds: int, operations_per_round: int
) -> Series:
    """Return wall-clock seconds, for operations that wait for a disk or a server.

    Each operation is timed alone. The value of a round is the median of its operations.
    """
    series: Series = {case: [] for case in operations}
    order = list(operations)
    for _ in range(rounds):
        times: Series = {case: [] for case in operations}
        for _ in range(operations_per_round):
            random.shuffle(order)
            for case in order:
                start = time.perf_counter()
                operations[case]()
                times[case].append(time.perf_counter() - start)
        for case in order:
            series[case].append(median(times[case]))
    return series


def ratio_rows(
    series: Mapping[str, Sequence[float]],
    *,
    floors: int = 1,
    limits: Mapping[str, Limits] | None = None,
) -> list[Row]:
    """Return a row for each case, with its ratio to the floor of the same round.

    :param series: the seconds of each case in each round, the floor included.
    :param floors: how often the floor counts, for cases that compute several codes.
    :param limits: the limits of the ratio, by case.
    """
    floor = [floors * seconds for seconds in series[FLOOR]]
    rows = []
    for case, values in series.items():
        ratios = [value / base for value, base in zip(values, floor, strict=True)]
        low, middle, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        if case == FLOOR:
            label = f"floor x {floors}" if floors > 1 else FLOOR
            rows.append(Row(label, median(floor), 1.0, 1.0, 1.0))
        else:
            limit = (limits or {}).get(case)
            rows.append(Row(case, median(values), middle, low, high, limit))
    return sorted(rows, key=lambda row: (not row.case.startswith(FLOOR), row.ratio))


def main(answer: Callable[[Options], Iterator[Table]], script: str) -> None:
    """Print the tables of one script. With ``--out``, store them as JSON, and the plots."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, rough figures")
    parser.add_argument("--out", type=Path, help="a folder for the results as JSON, and the plots")
    arguments = parser.parse_args()
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
    print(environment(), end="\n\n")
    tables = []
    for table in answer(Options(arguments.quick, arguments.out)):
        print(table.text(), flush=True)
        tables.append(table.stored())
    if arguments.out:
        path = arguments.out / f"{Path(script).stem}.json"
        path.write_text(json.dumps(tables, indent=1, ensure_ascii=False), encoding="utf-8")


def environment() -> str:
    """Return what a ratio depends on: the interpreter, its libraries, the machine, the date."""
    openssl = ssl.OPENSSL_VERSION.removeprefix("OpenSSL ").split()[0]
    return (
        f"Python {platform.python_version()}, OpenSSL {openssl}, "
        f"SQLite {sqlite3.sqlite_version}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} processors, on {time.strftime('%Y-%m-%d', time.gmtime())}"
    )


def peer_versions() -> str:
    return ", ".join(f"{peer} {_version(peer)}" for peer in PEERS)


@contextmanager
def figure(path: Path, x_label: str, y_label: str) -> Iterator[Any]:
    """Yield axes, and save the plot. The file has no date and no random ids."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "vmfa", "svg.fonttype": "none", "font.size": 11})
    from matplotlib import pyplot as plt

    plot, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    yield axes
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.grid(visible=True, alpha=0.3)
    plot.legend(loc="outside upper center", ncols=2, frameon=False)
    plot.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(plot)


def readable_time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds / 1e-9:.0f} ns"


def _calibrated(timer: Timer, seconds: float) -> int:
    """Return how many executions take about *seconds*."""
    timer.timeit(10)  # warm up: the first execution fills caches
    number = 1
    while True:
        taken = timer.timeit(number)
        if taken >= seconds / 4:
            return max(1, round(number * seconds / taken))
        number *= 4


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
    ]
    return ["  " + "  ".join(line).rstrip() for line in padded]


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        sys.exit(f"{distribution} is missing: pip install 'vmfa[bench]'")
