"""Build ``docs/traceability.md``: clause, level, status, the code that names it, the tests that passed and show it.

``python tests/traceability.py`` runs the tests that the matrix needs and writes the page; ``--check`` fails instead
where the page is stale; ``--outcomes FILE`` takes a run made with ``-p outcomes --clauses-out FILE``; ``--show ID``
names every place and test of one clause. It fails on an unknown id cited anywhere, on a met clause that no code
cites or no passing test shows, on a test or a duty that is named and is not there, and on a missing reason.
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
    "met": "met", "duty": "duty of the embedding service", "otherwise": "decided otherwise", "none": "not applicable"
}
DEMONSTRATION = ("demo.py",)  # it plays the rules; it does not keep them
SOURCES = (
    ("RFC4226", "RFC 4226"), ("RFC6238", "RFC 6238"), ("SP80063B", "NIST SP 800-63B-4"),
    ("ASVS5", "OWASP ASVS 5.0 (the level is the lowest that asks for it)"), ("KEYURI", "Key URIs"),
    ("SEED", "The rules of the vendor's document"), ("RULE", "The decisions beside them"),
)
SHOWN = 3
HEADING = "| clause | level | what it asks | status | code | tests |"


@dataclass(frozen=True)
class Clause:
    name: str
    level: str
    says: str
    status: str
    duty: str = ""
    reason: str = ""
    tests: tuple[str, ...] = ()


def read_clauses(root: Path) -> dict[str, Clause]:
    table = tomllib.loads((root / "docs" / "clauses.toml").read_text())
    return {name: Clause(name=name, **{**row, "tests": tuple(row.get("tests", ()))}) for name, row in table.items()}


def cited_by_code(root: Path) -> dict[str, list[str]]:
    """The functions, classes and modules of the package whose text names each id, ``rules.verify`` for example."""
    found: dict[str, list[str]] = {}
    package = root / "src" / "vmfa"
    for path in sorted(package.rglob("*.py")):
        if path.name in DEMONSTRATION:
            continue
        module = ".".join(path.relative_to(package).with_suffix("").parts)
        source = path.read_text()
        spans = [*_spans(ast.parse(source), module)]
        for number, text in enumerate(source.splitlines(), 1):
            for name in ID.findall(text):
                inside = [(last - first, place) for first, last, place in spans if first <= number <= last]
                place = min(inside)[1] if inside else module
                if place not in found.setdefault(name, []):
                    found[name].append(place)
    return found


def _spans(node: ast.AST, place: str) -> Iterator[tuple[int, int, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{place}.{child.name}"
            first = min([child.lineno, *[each.lineno for each in child.decorator_list]])
            yield first, child.end_lineno or first, inner
            yield from _spans(child, inner)
        else:
            yield from _spans(child, place)


def cited_by_tests(root: Path) -> dict[str, list[str]]:
    """The tests whose docstring, or whose class's docstring, names each id."""
    found: dict[str, list[str]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        for name, test in _cited(ast.parse(path.read_text()), path.relative_to(root).as_posix(), ()):
            found.setdefault(name, []).append(test)
    return found


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
    """Each id that is cited in code, tests or docs, and is no clause."""
    files = [root / "README.md"] if (root / "README.md").exists() else []
    for folder, pattern in (("src", "*.py"), ("tests", "*.py"), ("docs", "*.md"), ("docs", "*.toml")):
        files += sorted((root / folder).rglob(pattern))
    return [
        f"{path.relative_to(root)} cites {name}, which is no clause"
        for path in files
        if path.name != "traceability.md"
        for name in dict.fromkeys(ID.findall(path.read_text()))
        if name not in clauses
    ]


def wanted(clauses: Mapping[str, Clause], tests: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The tests that each clause names or is named by; a file or a class stands for all that is in it."""
    return {name: [*dict.fromkeys((*clause.tests, *tests.get(name, ())))] for name, clause in clauses.items()}


def shown_by(places: Sequence[str], outcomes: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The tests of *places* that passed, without parameters, and what is wrong with the others."""
    passed, problems = list[str](), list[str]()
    found: dict[str, set[str]] = {}
    for node, outcome in outcomes.items():
        found.setdefault(node.partition("[")[0], set()).add(outcome)
    for place in places:
        here = {test: told for test, told in found.items() if test == place or test.startswith(f"{place}::")}
        good = [test for test, told in here.items() if "passed" in told and told <= {"passed", "skipped"}]
        problems += [f"{test} {min(told - {'passed', 'skipped'})}" for test, told in here.items()
                     if not told <= {"passed", "skipped"}]
        if not good:
            problems.append(f"{place} did not pass")
        passed += good
    return [*dict.fromkeys(passed)], problems


def problems_of(
    root: Path, clauses: Mapping[str, Clause], code: Mapping[str, Sequence[str]], places: Mapping[str, Sequence[str]],
    outcomes: Mapping[str, str],
) -> list[str]:
    duties, tensions = ((root / "docs" / page).read_text() for page in ("duties.md", "tensions.md"))
    problems = unknown_ids(root, clauses)
    for name, clause in clauses.items():
        passed, wrong = shown_by(places[name], outcomes)
        problems += [f"{name}: {each}" for each in wrong]
        if not ID.fullmatch(name):
            problems.append(f"{name} is not written as an id")
        if name.startswith("ASVS5") and clause.level not in {"L1", "L2", "L3"}:
            problems.append(f"{name}: {clause.level} is no level of ASVS")
        if clause.status not in STATUS:
            problems.append(f"{name}: {clause.status} is no status")
        if clause.status == "met" and not code.get(name):
            problems.append(f"{name} is met, and no code cites it")
        if clause.status == "met" and not passed:
            problems.append(f"{name} is met, and no passing test shows it")
        if clause.status == "duty" and not clause.duty:
            problems.append(f"{name} is a duty that is not named")
        if clause.duty and f"**{clause.duty}" not in duties:
            problems.append(f"{name}: duties.md has no item that begins with: {clause.duty}")
        if clause.status in {"none", "otherwise"} and not clause.reason:
            problems.append(f"{name} has no reason")
        if clause.status == "otherwise" and name not in ID.findall(tensions):
            problems.append(f"{name}: tensions.md does not name it")
    return problems


def page(
    clauses: Mapping[str, Clause], code: Mapping[str, Sequence[str]], places: Mapping[str, Sequence[str]],
    outcomes: Mapping[str, str],
) -> str:
    told = Counter(clause.status for clause in clauses.values())
    lines = [
        "---", "hide-toc: true", "---", "",
        "# Traceability",
        "",
        "<!-- Built by tests/traceability.py from clauses.toml, the code and a run of the tests. Do not edit. -->",
        "",
        f"{len(clauses)} clauses and rules: {told['met']} met, {told['duty']} duties of the embedding service,",
        f"{told['otherwise']} decided otherwise, {told['none']} not applicable. The code that meets a clause names it,",
        "and tests that passed when this page was built show it: `python tests/traceability.py --show ID` names all.",
        "Where the vendor's document and a norm differ, [the tensions](tensions.md) say what was chosen.",
        "",
        "Summaries are ours; what stands in “quotation marks” is quoted.",
    ]
    for prefix, title in SOURCES:
        lines += ["", f"## {title}", "", HEADING, "|---|---|---|---|---|---|"]
        for name, clause in clauses.items():
            if name.partition("-")[0] != prefix:
                continue
            status = STATUS[clause.status]
            if clause.duty:
                also = ", and a duty: " if clause.status == "met" else ": "
                status += f"{also}[{clause.duty.rstrip('.')}](duties.md)"
            if clause.reason:
                status += f": {clause.reason}"
            if clause.status == "otherwise":
                status += " See [the tensions](tensions.md)."
            cited = ", ".join(f"`{place}`" for place in code.get(name, ()))
            lines.append(
                f"| {name} | {clause.level} | {clause.says} | {status} | {cited} "
                f"| {_told(shown_by(places[name], outcomes)[0])} |"
            )
    return "\n".join(lines) + "\n"


def _told(tests: Sequence[str]) -> str:
    told = ", ".join(f"`{test.removeprefix('tests/').removesuffix('.py')}`" for test in tests[:SHOWN])
    return f"{told} and {len(tests) - SHOWN} more" if len(tests) > SHOWN else told


def run_tests(root: Path, places: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Run the tests that the matrix needs, and no others."""
    files = sorted({place for each in places.values() for place in each if (root / place.partition("::")[0]).exists()})
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "outcomes.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "outcomes", "--clauses-out", str(out), *files]
        subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": str(ROOT / "tests")}, check=False)
        outcomes: dict[str, str] = json.loads(out.read_text()) if out.exists() else {}
    return outcomes


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description="Build docs/traceability.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the page is stale")
    parser.add_argument("--outcomes", type=Path, metavar="FILE", help="what -p outcomes --clauses-out FILE wrote")
    parser.add_argument("--show", metavar="ID", help="name every place and test of one clause; run nothing")
    args = parser.parse_args(argv)
    clauses, code = read_clauses(root), cited_by_code(root)
    places = wanted(clauses, cited_by_tests(root))
    if args.show:
        print("\n".join([*code.get(args.show, ()), *places.get(args.show, ())]) or f"{args.show} is cited nowhere")
        return 0
    outcomes = json.loads(args.outcomes.read_text()) if args.outcomes else run_tests(root, places)
    problems = problems_of(root, clauses, code, places, outcomes)
    built, target = page(clauses, code, places, outcomes) if not problems else "", root / "docs" / "traceability.md"
    if not problems and args.check and (not target.exists() or target.read_text() != built):
        problems.append("docs/traceability.md is stale: python tests/traceability.py builds it anew")
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems and not args.check:
        target.write_text(built)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
