"""The matrix of clauses, code and tests fails where it should, and the ids of this repository are sound."""

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
from traceability import ROOT, cited_by_code, cited_by_tests, main, problems_of, read_clauses, shown_by, wanted

MET, DUTY, OTHER, NONE = (f"RULE-{each}" for each in ("FIRST", "SECOND", "THIRD", "FOURTH"))
NOWHERE = "SEED-" + "NOWHERE"  # in two parts, for this file is read as well
CLAUSES = f"""
["{MET}"]
level = "rule"
says = "It is so."
status = "met"

["{DUTY}"]
level = "rule"
says = "You do it."
status = "duty"
duty = "Do it."

["{OTHER}"]
level = "rule"
says = "It is so."
status = "otherwise"
reason = "It is not."

["{NONE}"]
level = "rule"
says = "It is so."
status = "none"
reason = "There is no such thing here."
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small repository with one clause of each status."""
    for folder in ("src/vmfa", "tests", "docs"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "docs/clauses.toml").write_text(CLAUSES)
    (tmp_path / "docs/duties.md").write_text("1. **Do it.** We cannot.\n")
    (tmp_path / "docs/tensions.md").write_text(f"{OTHER} is in tension.\n")
    (tmp_path / "src/vmfa/code.py").write_text(f"class Room:\n    def act(self):\n        return 1  # {MET}\n")
    (tmp_path / "src/vmfa/demo.py").write_text(f"# {MET}\n")
    (tmp_path / "tests/test_it.py").write_text(f'class TestIt:\n    def test_so(self):\n        """{MET}: so."""\n')
    return tmp_path


SO = "tests/test_it.py::TestIt::test_so"


def run(tree: Path, *arguments: str, **outcomes: str) -> int:
    told = tree / "outcomes.json"
    told.write_text(json.dumps({SO: "passed"} | {SO.replace("test_so", name): each for name, each in outcomes.items()}))
    return main(["--outcomes", str(told), *arguments], root=tree)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_sound_tree_is_built_and_then_not_stale(tree: Path) -> None:
    assert run(tree) == 0
    built = (tree / "docs/traceability.md").read_text()
    assert f"| {MET} | rule | It is so. | met | `code.Room.act` | `test_it.py::TestIt::test_so` |" in built
    assert f"| {DUTY} | rule | You do it. | duty of the embedding service: [Do it](duties.md) |  |  |" in built
    assert run(tree, "--check") == 0


def test_a_stale_page_fails_the_check_and_is_left_as_it_is(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tree, "--check") == 1
    assert run(tree) == 0
    edit(tree / "src/vmfa/code.py", "def act", "def do")
    before = (tree / "docs/traceability.md").read_text()
    capsys.readouterr()
    assert run(tree, "--check") == 1
    assert "stale" in capsys.readouterr().err
    assert (tree / "docs/traceability.md").read_text() == before


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("src/vmfa/code.py", "return 1", f"return 1  # {NOWHERE}", "src/vmfa/code.py cites SEED-"),
        ("src/vmfa/demo.py", MET, NOWHERE, "src/vmfa/demo.py cites SEED-"),
        ("tests/test_it.py", "so.", f"{NOWHERE}.", "tests/test_it.py cites SEED-"),
        ("docs/duties.md", "We cannot.", NOWHERE, "docs/duties.md cites SEED-"),
        ("docs/clauses.toml", "It is not.", f"{NOWHERE}", "docs/clauses.toml cites SEED-"),
        ("src/vmfa/code.py", MET, "nothing", "is met, and no code cites it"),
        ("tests/test_it.py", MET, "nothing", "is met, and no passing test shows it"),
        ("docs/duties.md", "**Do it.**", "**Do that.**", "duties.md has no item that begins with: Do it."),
        ("docs/clauses.toml", 'duty = "Do it."', "", "is a duty that is not named"),
        ("docs/clauses.toml", 'reason = "It is not."', "", "has no reason"),
        ("docs/clauses.toml", 'reason = "There is no such thing here."', "", "has no reason"),
        ("docs/clauses.toml", 'status = "none"', 'status = "perhaps"', "perhaps is no status"),
        ("docs/tensions.md", OTHER, "Nothing", "tensions.md does not name it"),
        (
            "docs/clauses.toml", 'status = "met"', 'status = "met"\ntests = ["tests/test_it.py::gone"]',
            "gone did not pass",
        ),
    ],
)
def test_what_is_not_sound_fails(
    tree: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, told: str
) -> None:
    edit(tree / file, old, new)
    assert run(tree) == 1
    assert told in capsys.readouterr().err
    assert not (tree / "docs/traceability.md").exists()


def test_a_requirement_of_asvs_has_a_level(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(tree / "docs/clauses.toml", f'["{NONE}"]\nlevel = "rule"', '["ASVS5-6.5.1"]\nlevel = "L4"')
    assert run(tree) == 1
    assert "ASVS5-6.5.1: L4 is no level of ASVS" in capsys.readouterr().err
    edit(tree / "docs/clauses.toml", '"L4"', '"L2"')
    assert run(tree) == 0


def test_the_demonstration_is_not_the_code_that_meets_a_clause(tree: Path) -> None:
    assert cited_by_code(tree) == {MET: ["code.Room.act"]}


def test_a_docstring_of_a_class_counts_for_its_tests(tree: Path) -> None:
    (tree / "tests/test_it.py").write_text(
        f'class TestIt:\n    """{MET}"""\n    async def test_so(self): ...\n    def helper(self): ...\n'
    )
    assert cited_by_tests(tree) == {MET: [SO]}


def test_only_a_run_that_passed_shows_a_clause() -> None:
    assert shown_by([SO], {}) == ([], [f"{SO} did not pass"])
    assert shown_by([SO], {SO: "skipped"}) == ([], [f"{SO} did not pass"])
    assert shown_by([SO], {f"{SO}[1]": "passed", f"{SO}[2]": "failed"}) == ([], [f"{SO} failed", f"{SO} did not pass"])
    assert shown_by([SO], {f"{SO}[1]": "passed", f"{SO}[2]": "skipped"}) == ([SO], [])
    assert shown_by([SO], {f"{SO}_more": "passed"}) == ([], [f"{SO} did not pass"])
    assert shown_by(["tests/test_it.py"], {SO: "passed"}) == ([SO], [])


def test_a_failing_test_that_cites_a_clause_fails_the_matrix(tree: Path) -> None:
    edit(tree / "tests/test_it.py", "class", f'def test_no():\n    """{MET}"""\n\n\nclass')
    told = tree / "outcomes.json"
    told.write_text(json.dumps({SO: "passed", "tests/test_it.py::test_no": "failed"}))
    assert main(["--outcomes", str(told)], root=tree) == 1


def test_it_runs_the_tests_itself(tree: Path) -> None:
    (tree / "pytest.ini").write_text("[pytest]\n")
    assert main([], root=tree) == 0
    edit(tree / "tests/test_it.py", 'so."""', 'so."""\n        assert False')
    assert main([], root=tree) == 1


def test_show_names_places_and_tests(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--show", MET], root=tree) == 0
    assert capsys.readouterr().out == f"code.Room.act\n{SO}\n"
    assert main(["--show", NOWHERE], root=tree) == 0
    assert "cited nowhere" in capsys.readouterr().out


def test_the_plugin_tells_what_became_of_each_test(tmp_path: Path) -> None:
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
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "outcomes", "--clauses-out", str(out), "test_all.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "tests")}, capture_output=True, check=False,
    )
    assert {node.partition("::")[2]: told for node, told in json.loads(out.read_text()).items()} == {
        "test_good": "passed", "test_bad": "failed", "test_no_start": "failed", "test_no_end": "failed",
        "test_left_out": "skipped", "test_known": "xfailed", "test_skipped": "skipped",
    }


# This repository


def every_test(node: ast.AST, place: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield f"{place}::{child.name}"
            yield from every_test(child, f"{place}::{child.name}")


def test_the_ids_of_this_repository_are_sound() -> None:
    """As though every test passed; ``python tests/traceability.py`` runs them."""
    outcomes = {
        test: "passed"
        for path in (ROOT / "tests").rglob("test_*.py")
        for test in every_test(ast.parse(path.read_text()), path.relative_to(ROOT).as_posix())
    }
    clauses = read_clauses(ROOT)
    places = wanted(clauses, cited_by_tests(ROOT))
    assert problems_of(ROOT, clauses, cited_by_code(ROOT), places, outcomes) == []


def test_an_id_is_read_to_its_end() -> None:
    found = traceability.ID.findall("SEED-SIX, (RFC4226-5.3-DT). RFC6238-4.1-X-T0; SEED-TWO: SEED-ONE-like xSEED-TWO")
    assert found == ["SEED-SIX", "RFC4226-5.3-DT", "RFC6238-4.1-X-T0", "SEED-TWO", "SEED-ONE"]
