"""Break the code that cites a requirement, and see whether a test that cites it fails.

    python tests/campaigns/clauses.py                      # up to six breaks of every row
    python tests/campaigns/clauses.py --sample 1000        # every break of every row
    python tests/campaigns/clauses.py --write              # ... and record the result
    python tests/campaigns/clauses.py --quick              # one break a row: part of .ci/run
    python tests/campaigns/clauses.py --check              # is there a result for each row?
    python tests/campaigns/clauses.py RULE-ORDER SEED-TWO  # these rows only
    python tests/campaigns/clauses.py RULE-ORDER --list    # print the breaks and stop
    python tests/campaigns/clauses.py --suggest            # search other tests for a break that
                                                           # no cited test notices

A row of ``docs/traceability.md`` that is *met* names functions and tests. This command checks
that they belong together. The breaks are the mutants of ``breaks.py`` in the code that a comment
with the id of the requirement belongs to:

* a comment behind code: the statement, or the entry of a table, that begins on this line;
* a comment at the start of a function or class: all of it;
* any other comment: the statement or the entry after it.

A row passes if it has a break, and if each break makes a test fail that the row cites. Only fast
tests count. A break with which the library cannot be imported is not counted. Texts for people
are not broken, and a mutant in ``equivalent.py`` or in ``UNRELATED`` is left out. The exit status
is 1 if a row does not pass.

``docs/_data/breaks.json`` has the last result of each row: the number of breaks, how many of them
a cited test noticed, and for some of them the test. ``--quick`` repeats one of these for each row.
"""

from __future__ import annotations

import argparse
import ast
import gc
import io
import json
import os
import pickle
import sys
import tempfile
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import import_module
from importlib.util import cache_from_source
from pathlib import Path
from types import FunctionType
from typing import Any

from breaks import Mutant, mutants, path_of
from equivalent import equivalent
from mutation import (
    ROOT,
    Functions,
    Survey,
    Tests,
    Verdict,
    forked,
    judge,
    module_names,
    prepare,
    run_pytest,
    say,
    swapped,
    tests_of,
)

sys.path.append(str(ROOT / "tests"))

from traceability import ID, NOT_EVIDENCE, cited_by_tests, needed_tests, read_clauses

RESULTS = ROOT / "docs" / "_data" / "breaks.json"
SUGGESTED = ("advisory", "importers", "keysources", "property", "rules", "stores", "testing")
PATIENCE = 20  # seconds of tests for one break
BREAKS = 6  # of each row, unless an option says otherwise
RECORDED = 3  # breaks of each row whose test is recorded
# Breaks of cited code that are not about the requirement, by id and a part of their name.
UNRELATED: dict[tuple[str, str], str] = {
    ("RFC6238-3-R1", "| actor_record | argument None"): "the record of the actor has no time",
    ("RULE-REQUIRES", "| 'principal' | other text"): "a text for people",
    ("RULE-BINDING-REPLACE", "is None | without operand 0"): "a device excludes a binding",
    ("SEED-TWO", "after=-1, | 1 | + 1"): "equivalent: no step is below 0",
    ("RULE-MONOTONE", "| 1 | + 1"): "equivalent: no step is below 0",
    ("RULE-ADMIN", "returns None"): "equivalent: anything that is not listed is denied",
}
Lines = range


@dataclass(frozen=True)
class Cited:
    """Lines of a module that a comment with the id of a requirement belongs to."""

    clause: str
    module: str
    lines: Lines


@dataclass
class Row:
    """A requirement that is met, the tests that it cites, and what breaking its code showed."""

    clause: str
    places: Sequence[str]
    tests: list[str] = field(default_factory=list)
    killed: dict[str, str] = field(default_factory=dict)  # the test that noticed it
    survived: list[str] = field(default_factory=list)
    suggested: dict[str, str] = field(default_factory=dict)  # a test that is not cited

    def cites(self, test: str) -> bool:
        bare = test.partition("[")[0]
        return any(bare == place or bare.startswith(f"{place}::") for place in self.places)


def comments(text: str) -> Iterator[tuple[int, bool, list[str]]]:
    """Yield the line of each comment with ids, whether code precedes it, and the ids."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and (ids := ID.findall(token.string)):
            yield token.start[0], token.line[: token.start[1]].strip() != "", ids


def cited_lines(module: str, text: str) -> list[Cited]:
    """Return what each comment with ids in a module belongs to."""
    tree = ast.parse(text)
    found = []
    for line, behind_code, ids in comments(text):
        lines = (behind_code and _beginning_at(tree, line)) or _after(tree, line)
        found += [Cited(clause, module, lines) for clause in ids]
    return found


def _nodes(tree: ast.AST) -> Iterator[ast.stmt | ast.expr]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.stmt | ast.expr))


def _lines(node: ast.stmt | ast.expr) -> Lines:
    last = node.end_lineno or node.lineno
    if isinstance(node, ast.If) and node.orelse:
        last = node.body[-1].end_lineno or last
    return range(node.lineno, last + 1)


def _beginning_at(tree: ast.AST, line: int) -> Lines | None:
    """Return the lines of the largest node that begins on *line*."""
    nodes = [node for node in _nodes(tree) if node.lineno == line]
    return max((_lines(node) for node in nodes), key=len, default=None)


def _after(tree: ast.AST, line: int) -> Lines:
    """Return the lines of what follows *line*: of all around it if the line is its first."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            body = node.body
            docstring = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
            first = body[1] if docstring and len(body) > 1 else body[0]
            header = (body[0].end_lineno if docstring else None) or node.lineno
            if header < line < first.lineno:
                return range(node.lineno, (node.end_lineno or node.lineno) + 1)
    following = min(node.lineno for node in _nodes(tree) if node.lineno > line)
    return _beginning_at(tree, following) or range(following, following + 1)


def is_break(mutant: Mutant) -> bool:
    """Return whether *mutant* changes what the code does, and not only a text for people."""
    changed, done = mutant.name.split(" | ")[-2:]
    if done.startswith("other text"):
        node = mutant.place.node
        if isinstance(node, ast.Constant) and " " in str(node.value):
            return False
        if isinstance(mutant.place.parent, ast.JoinedStr):
            return False
    if done.startswith("argument None") and changed.startswith(("f'", 'f"')):
        return False
    return equivalent(mutant.module, mutant.name) is None


def is_unrelated(clause: str, name: str) -> bool:
    return any(clause == of and part in name for of, part in UNRELATED)


def rows_and_breaks(
    chosen: Sequence[str],
) -> tuple[dict[str, Row], dict[str, dict[str, list[str]]]]:
    """Return the rows, and for each module and name of a break the ids that it breaks."""
    clauses = read_clauses(ROOT)
    places = needed_tests(clauses, cited_by_tests(ROOT))
    rows = {
        name: Row(name, places[name])
        for name, clause in clauses.items()
        if clause.status == "met" and (not chosen or name in chosen)
    }
    breaks: dict[str, dict[str, list[str]]] = {}
    for module in module_names():
        path = path_of(module, ROOT)
        if path.name in NOT_EVIDENCE:
            continue
        text = path.read_text("utf-8")
        cited = [place for place in cited_lines(module, text) if place.clause in rows]
        if not cited:
            continue
        for mutant in mutants(module, text):
            ids = [
                place.clause
                for place in cited
                if mutant.line in place.lines and not is_unrelated(place.clause, mutant.name)
            ]
            if ids and is_break(mutant):
                breaks.setdefault(module, {})[mutant.name] = [*dict.fromkeys(ids)]
    return rows, breaks


def _order(clause: str, module: str, name: str) -> bytes:
    """Return a key that orders the breaks of a row: random, and the same each time."""
    return sha256(f"{clause} {module} {name}".encode()).digest()


def sample(
    breaks: dict[str, dict[str, list[str]]], size: int, first: Iterable[str] = ()
) -> dict[str, dict[str, list[str]]]:
    """Return at most *size* breaks of each row. The same code gives the same sample.

    :param first: breaks that are taken before others.
    """
    preferred = set(first)
    of_row: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for module, names in breaks.items():
        for name, ids in names.items():
            for clause in ids:
                of_row[clause].append((module, name))
    taken: dict[str, dict[str, list[str]]] = {}
    for clause, found in of_row.items():
        found.sort(key=lambda pair: (": ".join(pair) not in preferred, _order(clause, *pair)))
        for module, name in found[:size]:
            taken.setdefault(module, {}).setdefault(name, []).append(clause)
    return taken


class Campaign:
    """Runs the cited tests of each row on each break of its code."""

    def __init__(self, root: Path, rows: dict[str, Row], known: Mapping[str, str]) -> None:
        self.root, self.rows, self.known = root, rows, known
        self.seconds: dict[str, float] = {}
        self.lines: dict[str, dict[int, list[str]]] = {}
        self.recent: list[str] = []
        self.others: list[str] = []  # tests that may be suggested

    def ordered(self, row: Row, mutant: Mutant, *, others: bool = False) -> list[str]:
        """Return the tests that may notice a break, the likeliest first."""
        executed = self.lines.get(str(path_of(mutant.module, self.root).relative_to(self.root)))
        tests = set(self.others if others else row.tests)
        if executed is not None and mutant.place.inside:
            tests &= {name for line in mutant.place.lines for name in executed.get(line, ())}
        likely = [self.known.get(f"{mutant.module}: {mutant.name}", ""), *self.recent]
        order = [name for name in dict.fromkeys(likely) if name in tests]
        order += sorted(
            tests.difference(order), key=lambda name: (self.seconds.get(name, 1), name)
        )
        left, taken = PATIENCE / 5 if others else float(PATIENCE), []
        for name in order:
            left -= self.seconds.get(name, 0.01)
            if left < 0 and taken:
                break
            taken.append(name)
        return taken

    def take(
        self, row: Row, mutant: Mutant, verdict: Verdict, *, others: bool = False
    ) -> bool:
        if verdict.what not in ("killed", "hung"):
            return False
        if verdict.by.startswith("import: ") or verdict.by.endswith(", at its collection"):
            return True  # the library cannot be imported: this shows nothing about the row
        known = row.suggested if others else row.killed
        known[f"{mutant.module}: {mutant.name}"] = verdict.by
        if verdict.by in self.seconds or verdict.by in row.tests:
            self.recent[:] = [
                verdict.by, *(name for name in self.recent if name != verdict.by)
            ][:40]
        return True

    def swap(self, tests: Tests, functions: Functions, wanted: dict[str, list[str]],
             module: str) -> dict[str, list[str]]:
        """Break functions in forks of this process. Return what remains for :meth:`write`."""
        path = path_of(module, self.root)
        executed = self.lines.get(str(path.relative_to(self.root)), {})
        remaining: dict[str, list[str]] = {}
        for mutant in mutants(module, path.read_text("utf-8")):
            ids = wanted.get(mutant.name, [])
            if not ids:
                continue
            try:
                changed = swapped(mutant, path, functions[str(path)])
            except (SyntaxError, ValueError):
                continue
            for clause in ids:
                row, dead = self.rows[clause], False
                for others in (False, True) if changed else ():
                    names = self.ordered(row, mutant, others=others)

                    def work(pipe: int, changed=changed, names=names) -> None:
                        tests.pipe = pipe
                        for function, code in changed:
                            function.__code__ = code
                        tests.run(names)

                    if names and not dead:
                        verdict = judge(work, self.seconds)
                        dead = self.take(row, mutant, verdict, others=others)
                # What a function created at import has the old code still.
                outermost = mutant.place.path[-1] if changed else None
                at_import = not self.lines or outermost is None or any(
                    "" in executed.get(line, ())
                    for line in range(outermost.body[0].lineno, (outermost.end_lineno or 0) + 1)
                )
                if f"{module}: {mutant.name}" in row.suggested or not (dead or at_import):
                    row.survived.append(f"{module}:{mutant.line}: {mutant.name}")
                elif not dead:
                    remaining.setdefault(mutant.name, []).append(clause)
        return remaining

    def write(self, wanted: dict[str, list[str]], module: str) -> None:
        """Write each remaining break into the copy, and test it with a new pytest."""
        path = path_of(module, self.root)
        text = path.read_text("utf-8")
        Path(cache_from_source(str(path))).unlink(missing_ok=True)
        try:
            for mutant in mutants(module, text):
                for clause in wanted.get(mutant.name, ()):
                    row = self.rows[clause]
                    try:
                        source = ast.unparse(mutant.tree)
                        compile(source, str(path), "exec")
                    except (SyntaxError, ValueError):
                        continue
                    path.write_text(source)
                    names = self.ordered(row, mutant)
                    if self.take(row, mutant, self._run(names, module)):
                        continue
                    row.survived.append(f"{module}:{mutant.line}: {mutant.name}")
                    own = [
                        name
                        for name in self.ordered(row, mutant, others=True)
                        if name.startswith(tuple(tests_of(module)))
                    ]
                    self.take(row, mutant, self._run(own, module), others=True)
        finally:
            path.write_text(text)

    def _run(self, names: list[str], module: str) -> Verdict:
        verdict = Verdict("survived")
        # The likeliest tests first, and all files only if those notice nothing.
        for part in (names[:3], names):
            files = [*dict.fromkeys(name.partition("::")[0] for name in part)]

            def work(pipe: int, files=files, part=part) -> None:
                plugin = Tests(lambda tests: tests.run(part), pipe)
                try:
                    import_module("vmfa" if module == "__init__" else f"vmfa.{module}")
                    import_module("support")
                except BaseException as error:  # noqa: BLE001  # the library cannot be used
                    plugin.notify("killed", f"import: {type(error).__name__}")
                    return
                run_pytest(files, plugin)

            if files:
                verdict = judge(work, self.seconds)
            if verdict.what in ("killed", "hung"):
                break
        return verdict


def collect(root: Path, rows: dict[str, Row], *, survey: bool, suggest: bool) -> Survey:
    """Fill in the tests of each row. With *survey*, run them and record what they execute."""
    files = sorted({place.partition("::")[0] for row in rows.values() for place in row.places})
    if suggest:
        files = sorted({*files, *(str(path) for path in Path("tests").glob("test_*.py")), *(
            str(path) for folder in SUGGESTED for path in Path("tests", folder).glob("test_*.py")
        )})
    out = root / "collected"

    def work(pipe: int) -> None:
        seconds: dict[str, float] = {}
        lines: dict[str, dict[int, list[str]]] = {}
        failed: list[str] = []
        names: list[str] = []
        if survey:
            from coverage import Coverage

            cover = Coverage(data_file=None, source=[str(root / "src")], config_file=False)
            cover.start()

        def run(tests: Tests) -> None:
            names.extend(
                name
                for name in tests.items
                if suggest or any(row.cites(name) for row in rows.values())
            )
            if survey:
                import time

                class Watch:
                    @import_module("pytest").hookimpl(hookwrapper=True)
                    def pytest_runtest_protocol(self, item):
                        start = time.monotonic()
                        cover.switch_context(item.nodeid)
                        yield
                        cover.switch_context("")
                        seconds[item.nodeid] = time.monotonic() - start

                tests.session.config.pluginmanager.register(Watch())
                tests.run(names, stop=False)
                failed.extend(tests.failed)

        run_pytest(files, Tests(run, os.open(os.devnull, os.O_WRONLY)))
        if survey:
            cover.stop()
            data = cover.get_data()
            lines = {
                os.path.relpath(name, root): data.contexts_by_lineno(name)
                for name in data.measured_files()
            }
        out.write_bytes(pickle.dumps((names, failed, Survey(seconds, lines))))
        os.write(pipe, b"survived\n")

    ending = forked(work, {}, limit=1800)
    if ending.what != "survived":
        sys.exit(f"the tests could not be collected: {ending.by}")
    names, failed, found = pickle.loads(out.read_bytes())
    if failed:
        sys.exit("these tests fail without a break: " + " ".join(failed))
    for row in rows.values():
        row.tests = [name for name in names if row.cites(name)]
    return found


def run_campaign(
    root: Path, rows: dict[str, Row], breaks: dict[str, dict[str, list[str]]],
    known: Mapping[str, str], *, survey: bool, suggest: bool, cache: Path | None,
) -> None:
    """Fill in ``killed`` and ``survived`` of each row."""
    if cache is not None and cache.exists():
        names, found = pickle.loads(cache.read_bytes())
        for row in rows.values():
            row.tests = [name for name in names if row.cites(name)]
    else:
        found = collect(root, rows, survey=survey, suggest=suggest)
        if cache is not None:
            cache.write_bytes(pickle.dumps(([*found.seconds], found)))
    say(f"{len(rows)} rows, {sum(map(len, breaks.values()))} breaks")
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    campaign = Campaign(root, rows, known)
    campaign.seconds, campaign.lines = found.seconds, found.lines
    campaign.others = list(found.seconds) if suggest else []
    files = sorted(
        {name.partition("::")[0] for row in rows.values() for name in row.tests}.union(
            name.partition("::")[0] for name in campaign.others
        )
    )
    out = root / "swapped"

    def first_stage(pipe: int) -> None:
        def work(tests: Tests) -> None:
            functions: Functions = defaultdict(lambda: defaultdict(list))
            for item in gc.get_objects():
                if type(item) is FunctionType:  # some objects answer ``isinstance`` by an error
                    code = item.__code__
                    functions[code.co_filename][code.co_qualname, code.co_firstlineno].append(item)
            gc.freeze()  # a fork copies what it touches
            remaining = {}
            for module, wanted in breaks.items():
                remaining[module] = campaign.swap(tests, functions, wanted, module)
                say(
                    f"{module}: {len(wanted)} breaks,"
                    f" {sum(map(len, remaining[module].values()))} remain"
                )
            done = {
                clause: (row.killed, row.survived, row.suggested)
                for clause, row in rows.items()
            }
            out.write_bytes(pickle.dumps((remaining, done, campaign.recent)))
            os.write(pipe, b"survived \n")

        for name in breaks:
            import_module("vmfa" if name == "__init__" else f"vmfa.{name}")
        run_pytest(files, Tests(work, pipe))

    verdict = forked(first_stage, {}, limit=36000)
    if verdict.what != "survived":
        sys.exit(f"the breaks could not be tested: {verdict}")
    remaining, done, campaign.recent = pickle.loads(out.read_bytes())
    for clause, row in rows.items():
        row.killed, row.survived, row.suggested = done[clause]
    for module, wanted in remaining.items():
        campaign.write(wanted, module)


def failing_without_a_break(root: Path, rows: Mapping[str, Row]) -> list[str]:
    """Return those tests that noticed a break and fail without one."""
    names = sorted({name for row in rows.values() for name in row.killed.values() if "::" in name})
    out = root / "unbroken"

    def work(pipe: int) -> None:
        def run(tests: Tests) -> None:
            tests.run(names, stop=False)
            out.write_bytes(pickle.dumps(tests.failed))

        run_pytest(sorted({name.partition("::")[0] for name in names}),
                   Tests(run, os.open(os.devnull, os.O_WRONLY)))
        os.write(pipe, b"survived\n")

    forked(work, {}, limit=1800)
    failed: list[str] = pickle.loads(out.read_bytes())
    return failed


def report(rows: Mapping[str, Row]) -> int:
    """Print the rows that do not pass, and return how many they are."""
    bad = 0
    for clause, row in rows.items():
        if not row.tests:
            say(f"FAILED {clause}: it cites no fast test")
        elif not row.killed and not row.survived:
            say(f"FAILED {clause}: its code has no break")
        bad += not row.tests or not row.killed or bool(row.survived)
        for name in row.survived:
            say(f"SURVIVED {clause} {name}")
    killed = sum(len(row.killed) for row in rows.values())
    total = killed + sum(len(row.survived) for row in rows.values())
    say(f"{len(rows)} rows: {total} breaks, {killed} noticed by a cited test; {bad} rows fail")
    return bad


def read_results() -> dict[str, Any]:
    """Return the result of each row in the last complete run."""
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return results


def write_results(rows: Mapping[str, Row]) -> None:
    """Record the results of *rows*, and keep those of other rows that are still met."""
    results = read_results()
    for clause, row in rows.items():
        killed = sorted(
            row.killed.items(), key=lambda pair: _order(clause, *pair[0].split(": ", 1))
        )
        results[clause] = {
            "breaks": len(row.killed) + len(row.survived),
            "noticed": len(row.killed),
            "noticed_by": dict(killed[:RECORDED]),
        }
    met = [name for name, clause in read_clauses(ROOT).items() if clause.status == "met"]
    kept = {name: results[name] for name in met if name in results}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


def problems_of_results(rows: Mapping[str, Row]) -> list[str]:
    """Return which rows have no recorded result, without running a test."""
    results = read_results()
    missing = [
        f"{clause} has no recorded break: run python tests/campaigns/clauses.py {clause} --write"
        for clause in rows
        if not results.get(clause, {}).get("noticed")
    ]
    return missing + [f"{clause} is recorded and not met" for clause in results.keys() - rows]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ID", help="these rows only")
    parser.add_argument("--list", action="store_true", help="print the breaks and stop")
    parser.add_argument(
        "--quick", action="store_true", help="one break a row; do not record what tests execute"
    )
    parser.add_argument("--check", action="store_true", help="check the recorded results")
    parser.add_argument("--write", action="store_true", help="record the results")
    parser.add_argument(
        "--sample", type=int, metavar="N", help=f"at most N breaks of each row, not {BREAKS}"
    )
    parser.add_argument("--survey", type=Path, help="keep in this file what tests execute")
    parser.add_argument("--suggest", action="store_true", help="search for better tests")
    parser.add_argument("--out", type=Path, help="write the result to this file too")
    options = parser.parse_args()
    rows, breaks = rows_and_breaks(options.rows)
    if unknown := set(options.rows).difference(rows):
        sys.exit(f"no row that is met: {', '.join(sorted(unknown))}")
    if options.check:
        problems = problems_of_results(rows)
        print("\n".join(problems) or f"{len(rows)} rows have results")
        return 1 if problems else 0
    known = {
        name: test for row in read_results().values() for name, test in row["noticed_by"].items()
    }
    size = options.sample or (1 if options.quick else BREAKS)
    breaks = sample(breaks, size, known if options.quick else ())
    if options.list:
        for module, names in breaks.items():
            for name, ids in names.items():
                print(f"{module}: {name}    [{', '.join(ids)}]")
        counts = Counter(clause for names in breaks.values() for ids in names.values()
                         for clause in ids)
        print(f"{len(rows)} rows, {sum(map(len, breaks.values()))} breaks,"
              f" {sum(counts.values())} of rows")
        print("without a break:", *(clause for clause in rows if not counts[clause]))
        print(counts.most_common())
        return 0
    with tempfile.TemporaryDirectory(prefix="vmfa-clauses-") as scratch:
        root = Path(scratch).resolve() / "tree"
        prepare(root, scratch)
        run_campaign(
            root, rows, breaks, known, survey=not options.quick, suggest=options.suggest,
            cache=options.survey,
        )
        unreliable = failing_without_a_break(root, rows) if options.quick else []
    if options.out:
        options.out.write_text(json.dumps(
            {clause: {"killed": row.killed, "survived": row.survived,
                      "suggested": row.suggested}
             for clause, row in rows.items()}, indent=1))
    for name in unreliable:
        say(f"FAILED {name}: it fails without a break, so it shows nothing")
    failed = report(rows) + len(unreliable)
    if options.write:
        write_results(rows)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
