"""Build ``docs/traceability.md``: requirements, the code that cites them, and their tests.

``python tests/traceability.py`` runs the tests that the page needs and writes it.

* ``--check`` writes nothing and fails if the page is out of date;
* ``--outcomes FILE`` uses a test run made with ``-p outcomes --clauses-out FILE``; repeatable;
* ``--show ID`` prints every place and test of one requirement.

The command fails if an unknown id is cited anywhere, if no code cites a met requirement or no
passing test shows it, if a named test or duty does not exist, and if a reason is missing.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ID = re.compile(
    r"\b(?>(?:RFC4226|RFC6238|SP80063B|ASVS5|SEED|RULE|KEYURI)"
    r"-[0-9A-Z][0-9A-Za-z]*(?:\.[0-9]+)*(?:-[0-9A-Z][0-9A-Z]*)*)(?![\w\\])"
)
STATUS = {
    "met": "met",
    "duty": "duty of your service",
    "otherwise": "decided differently",
    "none": "not applicable",
    "unbuilt": "not implemented",
}
NOT_EVIDENCE = ("demo.py", "conformance")  # they show or check the rules, and enforce none
SOURCES = (
    ("RFC4226", "RFC 4226"),
    ("RFC6238", "RFC 6238"),
    ("SP80063B", "NIST SP 800-63B-4"),
    ("ASVS5", "OWASP ASVS 5.0 (the lowest level that requires it)"),
    ("KEYURI", "Key URIs"),
    ("SEED", "Device assignment: rules of the AWS IAM User Guide"),
    ("RULE", "Device assignment: further rules"),
)
TESTS_SHOWN = 3
HEADING = "| id | level | requirement | status | code | tests | breaks |"
HEADER = "<!-- Built by `python tests/traceability.py`. Do not edit. -->"


@dataclass(frozen=True)
class Clause:
    """One requirement of ``clauses.toml``."""

    name: str
    level: str
    says: str
    status: str
    duty: str = ""
    reason: str = ""
    tests: tuple[str, ...] = ()


def read_clauses(root: Path) -> dict[str, Clause]:
    """Return the requirements by id."""
    table = tomllib.loads((root / "docs" / "clauses.toml").read_text())
    return {
        name: Clause(name=name, **{**row, "tests": tuple(row.get("tests", ()))})
        for name, row in table.items()
    }


def cited_by_code(root: Path) -> dict[str, list[str]]:
    """Return, for each id, the functions, classes and modules that cite it."""
    places: dict[str, list[str]] = {}
    package = root / "src" / "vmfa"
    for path in sorted(package.rglob("*.py")):
        if not {*path.relative_to(package).parts}.isdisjoint(NOT_EVIDENCE):
            continue
        module = ".".join(path.relative_to(package).with_suffix("").parts)
        source = path.read_text()
        spans = [*_spans(ast.parse(source), module)]
        for number, line in enumerate(source.splitlines(), 1):
            for name in ID.findall(line):
                around = [
                    (last - first, place)
                    for first, last, place in spans
                    if first <= number <= last
                ]
                place = min(around)[1] if around else module
                if place not in places.setdefault(name, []):
                    places[name].append(place)
    return places


def _spans(node: ast.AST, place: str) -> Iterator[tuple[int, int, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{place}.{child.name}"
            first = min([child.lineno, *[decorator.lineno for decorator in child.decorator_list]])
            yield first, child.end_lineno or first, inner
            yield from _spans(child, inner)
        else:
            yield from _spans(child, place)


def cited_by_tests(root: Path) -> dict[str, list[str]]:
    """Return, for each id, the tests that cite it in their docstring or in that of their class."""
    tests: dict[str, list[str]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        for name, test in _cited(
            ast.parse(path.read_text()), path.relative_to(root).as_posix(), ()
        ):
            tests.setdefault(name, []).append(test)
    return tests


def _cited(node: ast.AST, place: str, inherited: Sequence[str]) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [*inherited, *ID.findall(ast.get_docstring(child) or "")]
            inner = f"{place}::{child.name}"
            if isinstance(child, ast.ClassDef):
                yield from _cited(child, inner, names)
            elif child.name.startswith("test"):
                yield from ((name, inner) for name in dict.fromkeys(names))


def unknown_ids(root: Path, clauses: Mapping[str, Clause]) -> list[str]:
    """Return a message for each cited id that ``clauses.toml`` does not contain."""
    files = [root / "README.md"] if (root / "README.md").exists() else []
    for folder, pattern in (
        ("src", "*.py"),
        ("tests", "*.py"),
        ("docs", "*.md"),
        ("docs", "*.toml"),
    ):
        files += sorted((root / folder).rglob(pattern))
    return [
        f"{path.relative_to(root)} cites {name}, which is not in clauses.toml"
        for path in files
        if path.name != "traceability.md"
        for name in dict.fromkeys(ID.findall(path.read_text()))
        if name not in clauses
    ]


def needed_tests(
    clauses: Mapping[str, Clause], tests: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Return the tests of each requirement. A file or class stands for all tests in it."""
    return {
        name: [*dict.fromkeys((*clause.tests, *tests.get(name, ())))]
        for name, clause in clauses.items()
    }


def passed_tests(
    places: Sequence[str], outcomes: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Return the tests of *places* that passed, and a message for each that did not."""
    passed, problems = list[str](), list[str]()
    results: dict[str, set[str]] = {}
    for node, outcome in outcomes.items():
        results.setdefault(node.partition("[")[0], set()).add(outcome)
    for place in places:
        at_place = {
            test: seen
            for test, seen in results.items()
            if test == place or test.startswith(f"{place}::")
        }
        good = [
            test
            for test, seen in at_place.items()
            if "passed" in seen and seen <= {"passed", "skipped"}
        ]
        problems += [
            f"{test} {min(seen - {'passed', 'skipped'})}"
            for test, seen in at_place.items()
            if not seen <= {"passed", "skipped"}
        ]
        if not good:
            problems.append(f"{place} did not pass")
        passed += good
    return [*dict.fromkeys(passed)], problems


def problems_of(
    root: Path,
    clauses: Mapping[str, Clause],
    code: Mapping[str, Sequence[str]],
    places: Mapping[str, Sequence[str]],
    outcomes: Mapping[str, str],
) -> list[str]:
    """Return everything that is inconsistent between requirements, code, tests and docs."""
    duties, decisions = (
        (root / "docs" / name).read_text() for name in ("duties.md", "decisions.md")
    )
    problems = unknown_ids(root, clauses)
    for name, clause in clauses.items():
        passed, failed = passed_tests(places[name], outcomes)
        problems += [f"{name}: {problem}" for problem in failed]
        if not ID.fullmatch(name):
            problems.append(f"{name} is not a valid id")
        if name.startswith("ASVS5") and clause.level not in {"L1", "L2", "L3"}:
            problems.append(f"{name}: {clause.level} is not a level of ASVS")
        if clause.status not in STATUS:
            problems.append(f"{name}: {clause.status} is not a status")
        if clause.status == "met" and not code.get(name):
            problems.append(f"{name} is met, but no code cites it")
        if clause.status == "met" and not passed:
            problems.append(f"{name} is met, but no passing test shows it")
        if clause.status == "duty" and not clause.duty:
            problems.append(f"{name} is a duty, but states no item of duties.md")
        if clause.duty and f"**{clause.duty}" not in duties:
            problems.append(f"{name}: duties.md has no item that begins with: {clause.duty}")
        if clause.status in {"none", "otherwise", "unbuilt"} and not clause.reason:
            problems.append(f"{name} has no reason")
        if clause.status == "otherwise" and name not in ID.findall(decisions):
            problems.append(f"{name}: decisions.md does not mention it")
    return problems


def page(
    clauses: Mapping[str, Clause],
    code: Mapping[str, Sequence[str]],
    places: Mapping[str, Sequence[str]],
    outcomes: Mapping[str, str],
    breaks: Mapping[str, tuple[int, int]],
) -> str:
    """Return the page as Markdown."""
    counts = Counter(clause.status for clause in clauses.values())
    lines = [
        "---",
        "hide-toc: true",
        "---",
        "",
        "# Traceability",
        "",
        HEADER,
        "",
        f"{len(clauses)} requirements: {counts['met']} met,",
        f"{counts['duty']} duties of your service,",
        (
            f"{counts['otherwise']} decided differently, {counts['none']} not applicable,"
            f" {counts['unbuilt']} not implemented."
        ),
        "",
        "* *Code* lists the functions that cite the id.",
        "* *Tests* lists tests that passed when this page was built.",
        "  `python tests/traceability.py --show ID` prints all of them.",
        "* *Breaks* says in how many ways the code was broken, one at a time, and how many of",
        f"  them a test of the row noticed: {sum(noticed for noticed, _ in breaks.values())} of",
        f"  {sum(total for _, total in breaks.values())} in {len(breaks)} rows.",
        "  `python tests/campaigns/clauses.py` repeats it and lists those that no test noticed.",
        "* Text in “quotation marks” is quoted from the source. All other text is a summary.",
    ]
    for prefix, title in SOURCES:
        lines += ["", f"## {title}", "", HEADING, "|---|---|---|---|---|---|---|"]
        for name, clause in clauses.items():
            if name.partition("-")[0] == prefix:
                tests = passed_tests(places[name], outcomes)[0]
                lines.append(_row(clause, code.get(name, ()), tests, breaks.get(name)))
    return "\n".join(lines) + "\n"


def _row(
    clause: Clause,
    code: Sequence[str],
    tests: Sequence[str],
    breaks: tuple[int, int] | None,
) -> str:
    status = STATUS[clause.status]
    if clause.duty:
        also = "; also a duty: " if clause.status == "met" else ": "
        status += f"{also}[{clause.duty.rstrip('.')}](duties.md)"
    if clause.reason:
        status += f": {clause.reason}"
    if clause.status == "otherwise":
        status += " See [Decisions](decisions.md)."
    places = ", ".join(f"`{place}`" for place in code)
    names = [
        f"`{test.removeprefix('tests/').removesuffix('.py')}`" for test in tests[:TESTS_SHOWN]
    ]
    more = f" and {len(tests) - TESTS_SHOWN} more" if len(tests) > TESTS_SHOWN else ""
    cells = (
        clause.name, clause.level, clause.says, status, places, ", ".join(names) + more,
        "" if breaks is None else f"{breaks[0]} of {breaks[1]}",
    )
    return f"| {' | '.join(cells)} |"


def read_breaks(root: Path, clauses: Mapping[str, Clause]) -> dict[str, tuple[int, int]]:
    """Return, for each row that is met, how many breaks were noticed, and how many there were."""
    path = root / "docs" / "_data" / "breaks.json"
    recorded = json.loads(path.read_text()) if path.exists() else {}
    return {
        name: (recorded[name]["noticed"], recorded[name]["breaks"])
        for name, clause in clauses.items()
        if clause.status == "met" and name in recorded
    }


def run_tests(root: Path, places: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Run the tests that the page needs, and return the outcome of each."""
    nodes = sorted(
        {
            place
            for tests in places.values()
            for place in tests
            if (root / place.partition("::")[0]).exists()
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "outcomes.json"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "",  # slow tests too
            "-p",
            "outcomes",
            "--clauses-out",
            str(out),
            *nodes,
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
        subprocess.run(command, cwd=root, env=environment, check=False)
        outcomes: dict[str, str] = json.loads(out.read_text()) if out.exists() else {}
    return outcomes


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description="Build docs/traceability.md.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if the page is out of date"
    )
    parser.add_argument(
        "--outcomes",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="use a run that -p outcomes --clauses-out FILE wrote; repeatable",
    )
    parser.add_argument(
        "--show", metavar="ID", help="print every place and test of one id; run nothing"
    )
    args = parser.parse_args(argv)
    clauses, code = read_clauses(root), cited_by_code(root)
    places = needed_tests(clauses, cited_by_tests(root))
    if args.show:
        lines = [*code.get(args.show, ()), *places.get(args.show, ())]
        print("\n".join(lines) or f"{args.show} is not cited")
        return 0
    outcomes: dict[str, str] = {}
    for file in args.outcomes:
        outcomes |= json.loads(file.read_text())
    outcomes = outcomes or run_tests(root, places)
    problems = problems_of(root, clauses, code, places, outcomes)
    target = root / "docs" / "traceability.md"
    if not problems:
        text = page(clauses, code, places, outcomes, read_breaks(root, clauses))
        if not args.check:
            target.write_text(text)
        elif not target.exists() or target.read_text() != text:
            problems.append(
                "docs/traceability.md is out of date: run python tests/traceability.py"
            )
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
