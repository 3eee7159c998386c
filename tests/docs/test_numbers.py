"""The figures for operators are those that the simulations give: they come of fixed seeds, so they come again."""

from __future__ import annotations

from math import inf
from pathlib import Path
from types import ModuleType

import pytest

from tables import DOCS, rows

PAGE = DOCS / "numbers.md"
BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import simulate

    return simulate


@pytest.fixture
def guess(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import guess

    return guess


@pytest.mark.parametrize("row", rows(PAGE, "the phone is ahead by | default | window 0"), ids=lambda row: row[0])
def test_a_wrong_clock(simulate: ModuleType, row: list[str]) -> None:
    policies = ("default", "window 0", "window 2", "no drift followed")
    skew = int(row[0].removesuffix(" s"))
    found = [simulate.skewed(simulate.POLICIES[title], skew, people=40, days=14) for title in policies]
    assert row[1:] == [simulate.shares(pair) for pair in found]


@pytest.mark.parametrize("row", rows(PAGE, "drift"), ids=lambda row: row[0])
def test_a_clock_that_drifts(simulate: ModuleType, row: list[str]) -> None:
    ppm = float(row[0].partition(" ")[0])
    assert row[1:] == [simulate.ends(simulate.drifting(ppm, apart)) for apart in (1, 7, 30)]


@pytest.mark.parametrize("row", rows(PAGE, "it was off by"), ids=lambda row: row[0])
def test_a_clock_that_is_set_right(simulate: ModuleType, row: list[str]) -> None:
    policies = ("default", "window 0", "window 2", "drift of 1 followed")
    skew = int(row[0].removesuffix(" s"))
    found = [simulate.corrected(simulate.POLICIES[title], skew, people=40) for title in policies]
    assert row[1:] == [f"{share:.0%}" for share in found]


@pytest.mark.parametrize("row", rows(PAGE, "the phone is ahead by | default | strict"), ids=lambda row: row[0])
def test_an_enrollment(simulate: ModuleType, row: list[str]) -> None:
    policies = simulate.DEFAULT, type(simulate.DEFAULT).strict()
    skew = int(row[0].removesuffix(" s"))
    assert row[1:] == [simulate.enrolled(policy, skew, people=40) for policy in policies]


QUICK = [row for row in rows(PAGE, "policy | victim signs in") if int(row[4]) <= 300]


@pytest.mark.parametrize("row", QUICK, ids=lambda row: ", ".join(row[:4]))
def test_the_formula_against_attackers_that_are_played(guess: ModuleType, row: list[str]) -> None:
    """Within its stated error: never below, and at most an eighth above."""
    per_day = inf if row[2] == "any" else float(row[2].partition(" ")[0])
    found = guess.against_the_formula(row[0], row[1], per_day, int(row[3]))
    assert row == [str(cell) for cell in found]
    assert 1 <= float(row[-1]) <= 1.125


@pytest.mark.parametrize("row", rows(PAGE, "guesses"), ids=lambda row: ", ".join(row[:2]))
def test_the_victim_of_an_attack(guess: ModuleType, row: list[str]) -> None:
    assert row == list(guess.besieged(row[0], row[1]))


def test_the_plots_are_drawn_the_same_each_time_and_shown() -> None:
    """``python benchmarks/simulate.py --out FOLDER`` draws them; a date in them would make each drawing another."""
    for name in ("simulate-skew.svg", "simulate-drift.svg"):
        assert f"_static/{name}" in PAGE.read_text()
        assert "<dc:date>" not in (DOCS / "_static" / name).read_text()
