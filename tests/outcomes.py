"""A pytest plugin: ``-p outcomes --clauses-out FILE`` writes what became of each test, as JSON.

``passed`` means that the test itself ran to its end; whatever else befell it, in set-up or tear-down too, is told.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--clauses-out", metavar="FILE", help="write the outcome of each test to FILE, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--clauses-out"):
        config.pluginmanager.register(Outcomes(Path(config.getoption("--clauses-out"))), "vmfa-outcomes")


class Outcomes:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.seen: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            told = "xfailed" if hasattr(report, "wasxfail") else report.outcome
            if self.seen.get(report.nodeid, "passed") == "passed":
                self.seen[report.nodeid] = told

    def pytest_sessionfinish(self) -> None:
        self.file.write_text(json.dumps(self.seen, indent=0))
