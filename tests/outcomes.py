"""A pytest plugin: ``-p outcomes --clauses-out FILE`` writes the outcome of each test as JSON.

``passed`` means that the test itself and its set-up and tear-down passed.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--clauses-out", metavar="FILE", help="write the outcome of each test to FILE, as JSON"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--clauses-out"):
        config.pluginmanager.register(
            Outcomes(Path(config.getoption("--clauses-out"))), "vmfa-outcomes"
        )


class Outcomes:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
            if self.outcomes.get(report.nodeid, "passed") == "passed":
                self.outcomes[report.nodeid] = outcome

    def pytest_sessionfinish(self) -> None:
        self.file.write_text(json.dumps(self.outcomes, indent=0))
