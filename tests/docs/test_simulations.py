"""The documented simulations are repeatable: the same seeds give the same figures."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path
from types import ModuleType

import pytest
from test_fragments import fragments

from tables import DOCS

pytestmark = pytest.mark.slow

TABLES = fragments.load("simulations")["tables"]


def cells(key: str) -> Sequence[Sequence[str]]:
    return TABLES[key]["rows"]


def number(cell: str) -> int:
    """Return the number in a cell such as "+30 s"."""
    return int(cell.partition(" ")[0])


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import simulate

    return simulate


@pytest.fixture
def guess(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import guess

    return guess


@pytest.mark.parametrize("row", cells("skew"), ids=lambda row: row[0])
def test_a_wrong_clock(simulate: ModuleType, row: list[str]) -> None:
    results = [
        simulate.failed_sign_ins(policy, number(row[0]), people=40, days=14)
        for policy in simulate.POLICIES.values()
    ]
    assert row[1:] == [simulate.format_shares(result) for result in results]


@pytest.mark.parametrize("row", cells("drift"), ids=lambda row: row[0])
def test_a_drifting_clock(simulate: ModuleType, row: list[str]) -> None:
    results = [simulate.days_until_failure(number(row[0]), days) for days in (1, 7, 30)]
    assert row[1:] == [simulate.format_days(result) for result in results]


@pytest.mark.parametrize("row", cells("corrected"), ids=lambda row: row[0])
def test_a_corrected_clock(simulate: ModuleType, row: list[str]) -> None:
    shares = [
        simulate.refused_after_correction(policy, number(row[0]), people=40)
        for policy in simulate.POLICIES.values()
    ]
    assert row[1:] == [f"{share:.0%}" for share in shares]


@pytest.mark.parametrize("row", cells("enrollment"), ids=lambda row: row[0])
def test_an_enrollment_with_a_wrong_clock(simulate: ModuleType, row: list[str]) -> None:
    policies = simulate.DEFAULT, type(simulate.DEFAULT).strict()
    results = [
        simulate.enrollment_results(policy, number(row[0]), people=40) for policy in policies
    ]
    assert row[1:] == results


QUICK = [row for row in cells("formula") if int(row[4]) <= 300]


@pytest.mark.parametrize("row", QUICK, ids=lambda row: ", ".join(row[:4]))
def test_the_bound_is_never_below_a_simulated_attacker(guess: ModuleType, row: list[str]) -> None:
    per_day = inf if row[2] == "any" else float(row[2].partition(" ")[0])
    result = guess.compare_with_bound(row[0], row[1], per_day, int(row[3]))
    assert row == [str(cell) for cell in result]
    assert 1 <= float(row[-1]) <= 1.125


@pytest.mark.parametrize("row", cells("victim"), ids=lambda row: ", ".join(row[:2]))
def test_the_effect_of_an_attacker_on_the_user(guess: ModuleType, row: list[str]) -> None:
    assert row == list(guess.effect_on_user(row[0], row[1]))


@pytest.mark.parametrize("guesses", ["as many as possible", "persistent"])
def test_an_attacker_without_a_token_does_not_delay_a_known_client(
    guess: ModuleType, guesses: str
) -> None:
    attack = guess.attack_on_known_client(guess.WITHOUT_TOKEN[guesses], "daily", 1)
    assert len(attack.waits) >= 365
    assert (attack.refusals, attack.refused_or_delayed()) == (0, 0)
    assert 100 < attack.guesses_within(1) <= guess.budget_within(1)


def test_an_attacker_who_switches_lanes_stays_within_the_budget(guess: ModuleType) -> None:
    attack = guess.attack_on_known_client(guess.all_copies, "daily", 2)
    assert guess.problems_with(attack, "all copies", 2) == []
    assert attack.guesses_within(2) > guess.budget_within(1)


@pytest.mark.parametrize("name", ["simulate-skew", "simulate-drift"])
def test_a_plot_contains_no_date(name: str) -> None:
    """A date would make each drawing different."""
    assert "<dc:date>" not in (DOCS / "_static" / f"{name}.svg").read_text()
