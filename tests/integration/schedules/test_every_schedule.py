"""A bounded run of every game in every schedule, and every mutant found. ``explore.py`` beside this file plays all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from interleaving import MUTANTS, Explorer
from scenarios import GAMES, PostgresGround, SQLiteGround, ground

from postgres_server import the_server

FINDS = {  # the game in which each mutant shows soonest
    "never_compared": "verify_verify",
    "compared_loosely": "guess_guess",
    "checked_then_written": "resync_verify",
    "first_record_overwritten": "open_open",
    "no_transaction": "confirm_read",
}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SQLiteGround | PostgresGround]:
    with ground(request.param, tmp_path_factory.mktemp("schedules"), the_server) as made:
        yield made


@pytest.fixture(scope="module")
def explorer(database: SQLiteGround | PostgresGround) -> Iterator[Explorer]:
    with closing(Explorer(database, 3)) as made:
        yield made


@pytest.mark.parametrize("name", GAMES)
def test_two_processes_end_as_one_after_the_other_would(explorer: Explorer, name: str) -> None:
    game = GAMES[name](2)
    report = explorer.explore(game.start, game.jobs, sample=25)
    assert not report.bad, str(report.bad[0])


@pytest.mark.parametrize("name", GAMES)
def test_three_processes_end_as_one_after_the_other_would(explorer: Explorer, name: str) -> None:
    game = GAMES[name](3)
    report = explorer.explore(game.start, game.jobs, sample=25)
    assert not report.bad, str(report.bad[0])


def test_one_code_in_every_schedule_of_three_processes(explorer: Explorer) -> None:
    game = GAMES["verify_verify"](3)
    report = explorer.explore(game.start, game.jobs)
    assert report.schedules == 150
    assert not report.bad, str(report.bad[0])
    assert {sorted(ends).count("Receipt") for ends in map(list, report.ends)} == {1}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_statement_is_found(explorer: Explorer, mutant: str) -> None:
    game = GAMES[FINDS[mutant]](2)
    assert explorer.explore(game.start, game.jobs, mutant).bad
