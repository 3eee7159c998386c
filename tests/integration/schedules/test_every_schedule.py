"""A sample of the schedules of every scenario, and every mutant. ``explore.py`` runs all
schedules.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from interleaving import MUTANTS, Explorer
from scenarios import SCENARIOS, SHORT, PostgresDatabase, SQLiteDatabase, open_database

from postgres_server import the_server
from sqlalchemy_databases import SYNC

FOUND_IN = {  # the scenario in which each mutant shows soonest
    "never_compared": "verify_verify",
    "compared_loosely": "guess_guess",
    "checked_then_written": "resync_verify",
    "first_record_overwritten": "open_open",
    "no_transaction": "confirm_read",
}


SLOW = [pytest.param(driver, marks=pytest.mark.slow) for driver in SYNC]  # of SQLAlchemy


@pytest.fixture(scope="module", params=["sqlite", "postgres", *SLOW])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SQLiteDatabase | PostgresDatabase]:
    with open_database(request.param, tmp_path_factory.mktemp("schedules"), the_server) as opened:
        yield opened


@pytest.fixture(scope="module")
def explorer(database: SQLiteDatabase | PostgresDatabase) -> Iterator[Explorer]:
    with closing(Explorer(database, 3)) as explorer:
        yield explorer


@pytest.mark.parametrize("name", SCENARIOS)
def test_two_processes_end_as_in_some_serial_order(explorer: Explorer, name: str) -> None:
    scenario = SCENARIOS[name](2)
    report = explorer.explore(scenario.start, scenario.jobs, sample=25)
    assert not report.bad, str(report.bad[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_three_processes_end_as_in_some_serial_order(explorer: Explorer, name: str) -> None:
    scenario = SCENARIOS[name](3)
    report = explorer.explore(scenario.start, scenario.jobs, sample=25)
    assert not report.bad, str(report.bad[0])


@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_one_code_is_accepted_once_in_every_schedule(
    explorer: Explorer, database: SQLiteDatabase | PostgresDatabase, processes: int
) -> None:
    everything = (database.engine, "verify_verify") in SHORT or processes == 2
    scenario = SCENARIOS["verify_verify"](processes)
    report = explorer.explore(scenario.start, scenario.jobs, sample=None if everything else 300)
    assert report.schedules >= (6 if processes == 2 else 150)  # or the workers were not stepped
    assert not report.bad, str(report.bad[0])
    assert len(report.ends) > 1
    assert {sorted(ends).count("Receipt") for ends in map(list, report.ends)} == {1}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_statement_is_found(
    explorer: Explorer, database: SQLiteDatabase | PostgresDatabase, mutant: str
) -> None:
    if database.engine in SYNC and mutant in ("checked_then_written", "first_record_overwritten"):
        pytest.skip("this mutant is written for statements with positional values")
    scenario = SCENARIOS[FOUND_IN[mutant]](2)
    assert explorer.explore(scenario.start, scenario.jobs, mutant).bad
