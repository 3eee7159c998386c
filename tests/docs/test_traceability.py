"""The traceability page reports each inconsistency, and this repository has none."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import traceability
from traceability import (
    ROOT,
    cited_by_code,
    cited_by_tests,
    main,
    needed_tests,
    passed_tests,
    problems_of,
    read_clauses,
)

MET, DUTY, OTHER, NONE = (f"RULE-{word}" for word in ("FIRST", "SECOND", "THIRD", "FOURTH"))
UNKNOWN = "SEED-" + "UNKNOWN"  # in two parts: the ids of this file are checked too
CLAUSES = f"""
["{MET}"]
level = "rule"
says = "A requirement."
status = "met"

["{DUTY}"]
level = "rule"
says = "A task."
status = "duty"
duty = "Do it."

["{OTHER}"]
level = "rule"
says = "A requirement."
status = "otherwise"
reason = "Another decision."

["{NONE}"]
level = "rule"
says = "A requirement."
status = "none"
reason = "It does not apply."
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small repository with one requirement of each status."""
    for folder in ("src/vmfa", "tests", "docs"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "docs/clauses.toml").write_text(CLAUSES)
    (tmp_path / "docs/duties.md").write_text("1. **Do it.** We cannot.\n")
    (tmp_path / "docs/decisions.md").write_text(f"{OTHER} is decided differently.\n")
    (tmp_path / "src/vmfa/code.py").write_text(
        f"class Part:\n    def act(self):\n        return 1  # {MET}\n"
    )
    (tmp_path / "src/vmfa/demo.py").write_text(f"# {MET}\n")
    (tmp_path / "tests/test_it.py").write_text(
        f'class TestIt:\n    def test_it(self):\n        """{MET}: yes."""\n'
    )
    return tmp_path


EXAMPLE = "tests/test_it.py::TestIt::test_it"


def run(tree: Path, *arguments: str, **outcomes: str) -> int:
    others = {EXAMPLE.replace("test_it", name): outcome for name, outcome in outcomes.items()}
    file = tree / "outcomes.json"
    file.write_text(json.dumps({EXAMPLE: "passed"} | others))
    return main(["--outcomes", str(file), *arguments], root=tree)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_page_is_built_and_up_to_date(tree: Path) -> None:
    assert run(tree) == 0
    built = (tree / "docs/traceability.md").read_text()
    place, test = "`code.Part.act`", "`test_it.py::TestIt::test_it`"
    assert f"| {MET} | rule | A requirement. | met | {place} | {test} |" in built
    row = f"| {DUTY} | rule | A task. | duty of your service: [Do it](duties.md) |  |  |"
    assert row in built
    assert run(tree, "--check") == 0


def test_an_outdated_page_fails_the_check_and_is_not_changed(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tree, "--check") == 1
    assert run(tree) == 0
    edit(tree / "src/vmfa/code.py", "def act", "def do")
    before = (tree / "docs/traceability.md").read_text()
    capsys.readouterr()
    assert run(tree, "--check") == 1
    assert "out of date" in capsys.readouterr().err
    assert (tree / "docs/traceability.md").read_text() == before


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("src/vmfa/code.py", "return 1", f"return 1  # {UNKNOWN}", "src/vmfa/code.py cites SEED-"),
        ("src/vmfa/demo.py", MET, UNKNOWN, "src/vmfa/demo.py cites SEED-"),
        ("tests/test_it.py", "yes.", f"{UNKNOWN}.", "tests/test_it.py cites SEED-"),
        ("docs/duties.md", "We cannot.", UNKNOWN, "docs/duties.md cites SEED-"),
        ("docs/clauses.toml", "Another decision.", f"{UNKNOWN}", "docs/clauses.toml cites SEED-"),
        ("src/vmfa/code.py", MET, "nothing", "is met, but no code cites it"),
        ("tests/test_it.py", MET, "nothing", "is met, but no passing test shows it"),
        (
            "docs/duties.md",
            "**Do it.**",
            "**Do that.**",
            "duties.md has no item that begins with: Do it.",
        ),
        ("docs/clauses.toml", 'duty = "Do it."', "", "is a duty, but states no item of duties.md"),
        ("docs/clauses.toml", 'reason = "Another decision."', "", "has no reason"),
        ("docs/clauses.toml", 'reason = "It does not apply."', "", "has no reason"),
        ("docs/clauses.toml", 'status = "none"', 'status = "perhaps"', "perhaps is not a status"),
        ("docs/decisions.md", OTHER, "Nothing", "decisions.md does not mention it"),
        (
            "docs/clauses.toml",
            'status = "met"',
            'status = "met"\ntests = ["tests/test_it.py::gone"]',
            "gone did not pass",
        ),
    ],
)
def test_an_inconsistency_is_reported(
    tree: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, message: str
) -> None:
    edit(tree / file, old, new)
    assert run(tree) == 1
    assert message in capsys.readouterr().err
    assert not (tree / "docs/traceability.md").exists()


def test_a_requirement_of_asvs_has_a_level(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(
        tree / "docs/clauses.toml", f'["{NONE}"]\nlevel = "rule"', '["ASVS5-6.5.1"]\nlevel = "L4"'
    )
    assert run(tree) == 1
    assert "ASVS5-6.5.1: L4 is not a level of ASVS" in capsys.readouterr().err
    edit(tree / "docs/clauses.toml", '"L4"', '"L2"')
    assert run(tree) == 0


def test_the_demo_is_not_evidence(tree: Path) -> None:
    assert cited_by_code(tree) == {MET: ["code.Part.act"]}


def test_the_docstring_of_a_class_counts_for_its_tests(tree: Path) -> None:
    (tree / "tests/test_it.py").write_text(
        f'class TestIt:\n    """{MET}"""\n'
        "    async def test_it(self): ...\n    def helper(self): ...\n"
    )
    assert cited_by_tests(tree) == {MET: [EXAMPLE]}


def test_only_a_passed_test_is_evidence() -> None:
    assert passed_tests([EXAMPLE], {}) == ([], [f"{EXAMPLE} did not pass"])
    assert passed_tests([EXAMPLE], {EXAMPLE: "skipped"}) == ([], [f"{EXAMPLE} did not pass"])
    mixed = {f"{EXAMPLE}[1]": "passed", f"{EXAMPLE}[2]": "failed"}
    assert passed_tests([EXAMPLE], mixed) == ([], [f"{EXAMPLE} failed", f"{EXAMPLE} did not pass"])
    assert passed_tests([EXAMPLE], mixed | {f"{EXAMPLE}[2]": "skipped"}) == ([EXAMPLE], [])
    assert passed_tests([EXAMPLE], {f"{EXAMPLE}_more": "passed"}) == (
        [],
        [f"{EXAMPLE} did not pass"],
    )
    assert passed_tests(["tests/test_it.py"], {EXAMPLE: "passed"}) == ([EXAMPLE], [])


def test_a_failing_test_that_cites_an_id_is_an_error(tree: Path) -> None:
    edit(tree / "tests/test_it.py", "class", f'def test_no():\n    """{MET}"""\n\n\nclass')
    file = tree / "outcomes.json"
    file.write_text(json.dumps({EXAMPLE: "passed", "tests/test_it.py::test_no": "failed"}))
    assert main(["--outcomes", str(file)], root=tree) == 1


def test_it_runs_the_needed_tests(tree: Path) -> None:
    (tree / "pytest.ini").write_text("[pytest]\n")
    assert main([], root=tree) == 0
    edit(tree / "tests/test_it.py", 'yes."""', 'yes."""\n        assert False')
    assert main([], root=tree) == 1


def test_show_prints_places_and_tests(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--show", MET], root=tree) == 0
    assert capsys.readouterr().out == f"code.Part.act\n{EXAMPLE}\n"
    assert main(["--show", UNKNOWN], root=tree) == 0
    assert "is not cited" in capsys.readouterr().out


def test_the_plugin_records_the_outcome_of_each_test(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_all.py").write_text(
        "import pytest\n"
        "@pytest.fixture\ndef broken():\n    raise OSError\n"
        "@pytest.fixture\ndef breaks():\n    yield\n    raise OSError\n"
        "def test_good(): pass\n"
        "def test_bad(): assert False\n"
        "def test_no_start(broken): pass\n"
        "def test_no_end(breaks): pass\n"
        "def test_left_out(): pytest.skip('why')\n"
        "@pytest.mark.xfail\ndef test_known(): assert False\n"
        "@pytest.mark.skip\ndef test_skipped(): pass\n"
    )
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "outcomes", "--clauses-out", str(out)]
    subprocess.run(
        [*command, "test_all.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        check=False,
    )
    outcomes = json.loads(out.read_text())
    assert {node.partition("::")[2]: outcome for node, outcome in outcomes.items()} == {
        "test_good": "passed",
        "test_bad": "failed",
        "test_no_start": "failed",
        "test_no_end": "failed",
        "test_left_out": "skipped",
        "test_known": "xfailed",
        "test_skipped": "skipped",
    }


# This repository


def every_test(node: ast.AST, place: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield f"{place}::{child.name}"
            yield from every_test(child, f"{place}::{child.name}")


def test_this_repository_has_no_inconsistency() -> None:
    """Assumes that every test passes; ``python tests/traceability.py`` runs them."""
    outcomes = {
        test: "passed"
        for path in (ROOT / "tests").rglob("test_*.py")
        for test in every_test(ast.parse(path.read_text()), path.relative_to(ROOT).as_posix())
    }
    clauses = read_clauses(ROOT)
    places = needed_tests(clauses, cited_by_tests(ROOT))
    assert problems_of(ROOT, clauses, cited_by_code(ROOT), places, outcomes) == []


def test_an_id_is_read_to_its_end() -> None:
    text = "SEED-SIX, (RFC4226-5.3-DT). RFC6238-4.1-X-T0; SEED-TWO: SEED-ONE-like xSEED-TWO"
    ids = ["SEED-SIX", "RFC4226-5.3-DT", "RFC6238-4.1-X-T0", "SEED-TWO", "SEED-ONE"]
    assert traceability.ID.findall(text) == ids
