"""``vmfa conformance``: list, run, template and vectors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vmfa.conformance import CAPABILITIES, CASES
from vmfa.conformance.template import TEMPLATES

if TYPE_CHECKING:
    from conftest import Terminal

OURS = ("--python", "vmfa.conformance.own:memory")
LIBRARY = """
from vmfa.conformance import FunctionAdapter
from vmfa.conformance.codes import Device

def verify(secret, code, now):
    device = Device.from_secret(secret)
    steps = range(device.step(now) - BACK, device.step(now) + 1)
    return code in {device.code(step) for step in steps}

adapter = FunctionAdapter(verify, name="library", version="2")
"""


@pytest.fixture
def library(tmp_path: Path) -> str:
    """A library that accepts codes again, and those of two steps ago."""
    path = tmp_path / "library_adapter.py"
    path.write_text(LIBRARY.replace("BACK", "2"))
    return f"{path}:adapter"


class TestList:
    def test_it_lists_the_cases(self, terminal: Terminal) -> None:
        lines = terminal.run("conformance", "list").out.splitlines()
        assert len(lines) == len(CASES) + 1
        assert "MUST              replay/same-code: A code is accepted once." in lines
        assert [row["id"] for row in terminal.json("conformance", "list")["cases"]] == [
            case.id for case in CASES
        ]

    def test_it_lists_the_capabilities(self, terminal: Terminal) -> None:
        assert len(terminal.run("conformance", "list", "--capabilities").out.splitlines()) == len(
            CAPABILITIES
        )
        data = terminal.json("conformance", "list", "--capabilities")
        assert data == {"capabilities": dict(CAPABILITIES)}

    def test_an_unknown_case_is_wrong_usage(self, terminal: Terminal) -> None:
        outcome = terminal.run("conformance", "list", "--case", "x")
        assert (outcome.code, outcome.err) == (2, "vmfa: no case and no group has the name 'x'\n")


class TestRun:
    def test_vmfa_conforms(self, terminal: Terminal) -> None:
        outcome = terminal.run("conformance", "run", *OURS, "--case", "window", "--case", "uri")
        assert (outcome.code, outcome.err) == (0, "")
        assert "\nheld            SHOULD            window/two-steps-back" in outcome.out
        assert "0 violated" in outcome.out

    def test_a_violation_fails_and_its_transcript_is_printed(
        self, terminal: Terminal, library: str
    ) -> None:
        outcome = terminal.run(
            "conformance", "run", "--python", library, "--case", "replay/same-code"
        )
        assert outcome.code == 5
        assert outcome.err == "vmfa: 1 cases are violated, the first is replay/same-code\n"
        assert "replay/same-code: violated" in outcome.out
        assert "-> accepted  [expected: refused; NOT AS EXPECTED]" in outcome.out

    @pytest.mark.parametrize(
        ("level", "case", "code"),
        [
            ("must", "window", 0), ("should", "window", 5), ("any", "window", 5),
            ("should", "replay/twin-steps", 0), ("any", "replay/twin-steps", 5),
        ],
    )  # fmt: skip
    def test_the_level_that_fails_is_chosen(
        self, terminal: Terminal, library: str, level: str, case: str, code: int
    ) -> None:
        outcome = terminal.run(
            "conformance", "run", "--python", library, "--case", case, "--fail-on", level
        )
        assert outcome.code == code

    def test_the_reports_are_written(
        self, terminal: Terminal, library: str, tmp_path: Path
    ) -> None:
        files = [tmp_path / name for name in ("r.md", "r.json", "r.xml")]
        writes = [word for file in files for word in ("--write", str(file))]
        outcome = terminal.run(
            "conformance", "run", "--python", library, "--case", "replay/same-code", *writes
        )
        assert outcome.code == 5
        markdown, document, junit = (file.read_text() for file in files)
        assert markdown.startswith("# Conformance of library 2")
        assert json.loads(document)["system"] == "library"
        assert junit.startswith("<?xml")

    def test_json_prints_the_report(self, terminal: Terminal) -> None:
        data = terminal.json("conformance", "run", *OURS, "--case", "replay/same-code")
        assert data["conclusive"] is True
        assert [case["verdict"] for case in data["cases"]] == ["held"] * 3

    def test_an_audit_without_a_baseline_is_not_conclusive(
        self, terminal: Terminal, tmp_path: Path
    ) -> None:
        path = tmp_path / "silent_adapter.py"
        path.write_text("from vmfa.conformance import Adapter\n")
        outcome = terminal.run("conformance", "run", "--python", f"{path}:Adapter", "--json")
        assert outcome.code == 5
        assert outcome.problem["reason"] == "not conclusive"

    def test_a_program_is_run(self, terminal: Terminal, tmp_path: Path) -> None:
        path = tmp_path / "program.py"
        path.write_text(TEMPLATES["program"])
        command = f"'{sys.executable}' -S '{path}'"
        outcome = terminal.run("conformance", "run", "--program", command, "--timeout", "30")
        assert outcome.code == 5
        assert outcome.err == "vmfa: 1 cases are violated, the first is baseline/right-code\n"

    def test_times_are_measured_on_request(self, terminal: Terminal, library: str) -> None:
        command = ("conformance", "run", "--python", library, "--case", "baseline")
        lines = terminal.run(*command, "--timing", "3").out.splitlines()
        (line,) = (line for line in lines if line.startswith("wrong code: median "))
        assert line.endswith(" microseconds, 3 rounds")
        assert "median" not in terminal.run(*command).out

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            ((), "choose the system with --python or with --program"),
            ((*OURS, "--program", "x"), "choose the system with --python or with --program"),
            ((*OURS, "--write", "r.txt"), "--write takes a file that ends with .md, .json or"),
            ((*OURS, "--fail-on", "x"), "--fail-on is one of must, should, any"),
        ],
    )
    def test_wrong_usage(
        self, terminal: Terminal, arguments: tuple[str, ...], problem: str
    ) -> None:
        outcome = terminal.run("conformance", "run", *arguments)
        assert outcome.code == 2
        assert problem in outcome.err

    def test_a_program_that_does_not_start_is_reported(self, terminal: Terminal) -> None:
        outcome = terminal.run("conformance", "run", "--program", "/does/not/exist")
        assert outcome.code == 5
        assert "the program cannot be started" in outcome.err

    def test_a_report_that_cannot_be_written_is_reported(
        self, terminal: Terminal, tmp_path: Path
    ) -> None:
        path = tmp_path / "missing" / "r.md"
        outcome = terminal.run(
            "conformance", "run", *OURS, "--case", "baseline", "--write", str(path)
        )
        assert outcome.code == 5
        assert "the report cannot be written" in outcome.err


def test_the_templates_are_printed(terminal: Terminal) -> None:
    for kind, text in TEMPLATES.items():
        assert terminal.run("conformance", "template", kind).out == text
        assert terminal.json("conformance", "template", kind) == {"template": text}


def test_the_vectors_are_json(terminal: Terminal) -> None:
    outcome = terminal.run("conformance", "vectors", "--case", "replay/same-code")
    document = json.loads(outcome.out)
    assert document == terminal.json("conformance", "vectors", "--case", "replay/same-code")
    assert document["keys"]["rfc-sha1"] == b"12345678901234567890".hex()
