"""Break every line of the library on purpose, one mutant at a time, and see whether a test fails.

    python tests/campaigns/mutation.py otp keys rules access        # these modules
    python tests/campaigns/mutation.py                              # all modules
    python tests/campaigns/mutation.py otp --list                   # print the mutants
    python tests/campaigns/mutation.py otp --again output.txt       # earlier survivors
    python tests/campaigns/mutation.py otp --equivalent             # do these survive, as listed?
    python tests/campaigns/mutation.py --check                      # check the list of equivalents
    python tests/campaigns/mutation.py qr --tests tests/test_qr.py  # run these tests only

``breaks.py`` lists what is broken. In a copy of the tree the tests run once, to learn which of
them execute which line and how long each takes, and that all pass. Then, for each mutant inside a
function, a fork of a process that has imported everything gets the mutated code and runs the
tests that execute the line, quickest first, to the first failure. A mutant of code that runs at
import, or that only a process of its own shows, is written into the copy and tested by a new
pytest with the tests of its module.

A mutant is killed by a test that fails, by an import that fails, or by a test that takes, twice,
ten times as long as usual and three seconds more. Any other end of a run is reported as unclear
and is not a kill. The exit status is 1 if a mutant survives that ``equivalent.py`` does not
explain.
"""

from __future__ import annotations

import argparse
import ast
import gc
import os
import pickle
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from importlib.util import cache_from_source
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import pytest
from breaks import Mutant, mutants, path_of
from equivalent import EQUIVALENT, equivalent

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src" / "vmfa"
IGNORED_TESTS = (  # of types, of pages and of other programs
    "tests/typing",
    "tests/docs",
    "tests/integration",
    "tests/interop",
)
IN_PROCESSES = ("__main__", "cli.main")  # modules that tests run in processes of their own
IN_FORKS = ("stores.sqlite",)  # modules whose tests fork: coverage misses lines in the child
OF_EVERY_MODULE = ("tests/test_dataclasses.py",)
TESTS: dict[str, list[str]] = {  # what tests a module that runs at import; others: see tests_of()
    "__init__": ["tests/test_public_api.py"],
    "__main__": ["tests/cli"],
    "aio": ["tests/test_aio.py", "tests/test_both_registries.py"],
    "clients": ["tests/rules"],
    "guards": ["tests/rules", "tests/advisory"],
    "keysources": ["tests/keysources"],
    "maintenance": ["tests/rules", "tests/advisory"],
    "otp": ["tests/test_otp.py", "tests/advisory"],
    "policy": ["tests/test_policy.py", "tests/property/test_policy_properties.py"],
    "record": ["tests/test_record.py", "tests/rules"],
    "recovery": ["tests/rules"],
    "rules": ["tests/rules", "tests/advisory"],
    "stores": ["tests/stores", "tests/contract"],
    "stores._sql": ["tests/stores", "tests/contract", "tests/integration/postgres"],
    "stores._pool": ["tests/integration/postgres"],
    "stores.postgres": ["tests/integration/postgres"],
    "stores._postgres_sql": ["tests/integration/postgres"],
    "stores.postgres_async": ["tests/integration/postgres"],
    "stores.threads": ["tests/test_aio.py", "tests/test_both_registries.py"],
    "testing": ["tests/testing", "tests/contract"],
    "throttle": ["tests/rules", "tests/advisory"],
}


def tests_of(module: str) -> list[str]:
    """Return the tests that know *module* best: those of TESTS, or those that mirror its name."""
    package, _, name = module.partition(".")
    if module in TESTS or (name and package in TESTS):
        return TESTS.get(module) or TESTS[package]
    mirrored = ROOT / "tests" / package
    return (
        [f"tests/{package}"] if mirrored.is_dir() else [f"tests/test_{package}.py", "tests/rules"]
    )


ANNOTATIONS = import_module("__future__").annotations.compiler_flag
HUNG_FACTOR, HUNG_SECONDS = 10, 3  # how much longer a test takes when it counts as hung


Chosen = Callable[[Mutant], bool]
Functions = dict[str, dict[tuple[str, int], list[FunctionType]]]  # of each file, by name and line


class Survey(NamedTuple):
    """How long each test takes, and which lines it executes."""

    seconds: dict[str, float]  # of each test
    lines: dict[str, dict[int, list[str]]]  # of each file; "" stands for the import


class Verdict(NamedTuple):
    what: str  # killed, hung, survived, unclear
    by: str = ""


class Findings(NamedTuple):
    """What is known of the mutants of a module."""

    killers: list[str]  # tests, the latest first
    counts: Counter[str]  # of killed, hung
    remaining: set[str]  # for the second stage
    alive: set[str]
    unclear: dict[str, str]


class Tests:
    """A pytest plugin: gives the collected tests to *work* and reports outcomes to a pipe."""

    def __init__(self, work: Callable[[Tests], None], pipe: int) -> None:
        self.work, self.pipe = work, pipe
        self.items: dict[str, pytest.Item] = {}
        self.session: Any = None
        self.failed: list[str] = []

    def notify(self, what: str, text: str = "") -> None:
        os.write(self.pipe, f"{what} {text}\n".encode())

    def pytest_sessionstart(self) -> None:
        from hypothesis import Phase, settings

        settings.register_profile(
            "mutation", settings.default, phases=(Phase.explicit, Phase.generate)
        )
        settings.load_profile("mutation")  # a counter-example need not be small

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.notify("killed", f"{report.nodeid}, at its collection")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.session = session
        own_server = "crashable"  # a server that would outlive a test that is cut short
        self.items = {
            item.nodeid: item for item in session.items if own_server not in item.fixturenames
        }
        try:
            self.work(self)
        except BaseException:
            self.notify("unclear", repr(traceback.format_exc(limit=-3)))
            raise
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def run(self, names: Iterable[str], *, stop: bool = True) -> None:
        chosen = [self.items[name] for name in names if name in self.items]
        for item, following in zip(chosen, [*chosen[1:], None], strict=True):
            self.notify("running", item.nodeid)
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed and stop:
                self.notify("killed", self.failed[0])
                return
        self.notify("survived")


def run_pytest(tests: Iterable[str], plugin: Tests, *more: str) -> None:
    ending = pytest.main(
        [
            "-q",
            "--no-header",
            "--tb=native",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:faulthandler",
            *more,
            f"--basetemp={os.environ['MUTATION_TMP']}",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
            *tests,
        ],
        [plugin],
    )
    if plugin.session is None:  # pytest reports a broken conftest as wrong usage
        plugin.notify(
            "killed" if ending == pytest.ExitCode.USAGE_ERROR else "unclear",
            f"pytest ended before it ran a test: {ending!r}",
        )


def forked(
    work: Callable[[int], None], seconds: dict[str, float], *, limit: float = 120
) -> Verdict:
    """Run *work* in a process and a group of its own, and return what it reports."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.close(reader)
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            work(writer)
        except BaseException:  # noqa: BLE001  # reported as unclear
            os.write(writer, b"unclear " + repr(traceback.format_exc(limit=-3)).encode() + b"\n")
        finally:
            os._exit(0)
    os.close(writer)
    output, running, verdict = b"", "", None
    while verdict is None:
        ready, _, _ = select.select([reader], [], [], limit)
        part = os.read(reader, 1 << 16) if ready else b""
        if not ready:
            verdict = (
                Verdict("hung", running)
                if running
                else Verdict("unclear", "nothing was run in time")
            )
        elif not part:
            verdict = Verdict("unclear", f"it ended without a report in {running or 'no test'}")
        *lines, output = (output + part).split(b"\n")
        for line in lines:
            what, _, text = line.decode().partition(" ")
            if what == "running":
                running, limit = text, HUNG_SECONDS + HUNG_FACTOR * seconds.get(text, 60)
            else:
                verdict = Verdict(what, text)
                break
    for process in (child, -child):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)  # and what the mutant started
    os.close(reader)
    os.waitpid(child, 0)
    return verdict


def judge(work: Callable[[int], None], seconds: dict[str, float]) -> Verdict:
    """Run :func:`forked`, and again if a test hung, because a busy machine stalls too."""
    verdict = forked(work, seconds)
    return forked(work, seconds) if verdict.what == "hung" else verdict


def survey_tests(root: Path, tests: list[str]) -> Survey:
    """Run all tests once and record the lines that each of them executes."""
    file = root / "survey"

    def work(pipe: int) -> None:
        from coverage import Coverage

        cover = Coverage(data_file=None, source=[str(root / "src")], config_file=False)
        seconds: dict[str, float] = {}
        failed: list[str] = []

        class Watch:
            @pytest.hookimpl(hookwrapper=True)
            def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
                start = time.monotonic()
                cover.switch_context(item.nodeid)
                yield
                cover.switch_context("")
                seconds[item.nodeid] = time.monotonic() - start

        def run_all(tests: Tests) -> None:
            tests.session.config.pluginmanager.register(Watch())
            tests.run(tests.items, stop=False)
            failed.extend(tests.failed)

        plugin = Tests(run_all, os.open(os.devnull, os.O_WRONLY))
        cover.start()
        run_pytest(tests, plugin, *(f"--ignore={path}" for path in IGNORED_TESTS))
        cover.stop()
        data = cover.get_data()
        lines = {name: data.contexts_by_lineno(name) for name in data.measured_files()}
        file.write_bytes(pickle.dumps((failed, Survey(seconds, lines))))
        os.write(pipe, b"survived\n")

    ending = forked(work, {}, limit=1200)
    if ending.what != "survived":
        sys.exit(f"the tests could not be surveyed: {ending.by}")
    failed, survey = pickle.loads(file.read_bytes())
    if failed:
        sys.exit("these tests fail without a mutant: " + " ".join(failed))
    return survey


def swapped(
    mutant: Mutant, path: Path, live: dict[tuple[str, int], list[FunctionType]]
) -> list[tuple[FunctionType, CodeType]]:
    """Return the functions that the mutant changes, with their new code; none at import."""
    if not mutant.place.inside:
        return []
    body: list[ast.stmt] = [mutant.place.path[-1]]
    for outer in reversed(mutant.place.path[:-1]):
        body = [ast.ClassDef(outer.name, [], [], body, [], lineno=outer.lineno, col_offset=0)]
    code = compile(ast.Module(body, []), str(path), "exec", ANNOTATIONS, dont_inherit=True)
    for _ in mutant.place.path:
        code = next(item for item in code.co_consts if isinstance(item, CodeType))
    return [
        (function, code)
        for function in live[code.co_qualname, code.co_firstlineno]
        if function.__code__.co_freevars == code.co_freevars
    ]


class Module:
    """The mutants of one module, and what is known of the tests that kill them."""

    def __init__(
        self, name: str, root: Path, survey: Survey, patience: float, chosen: Chosen
    ) -> None:
        self.name, self.root, self.survey, self.patience, self.chosen = (
            name,
            root,
            survey,
            patience,
            chosen,
        )
        self.path = path_of(name, root)
        self.text = self.path.read_text("utf-8")
        self.findings = Findings([], Counter(), set(), set(), {})

    def ordered(self, tests: Iterable[str], perhaps: Iterable[str] = ()) -> list[str]:
        """Return the tests to run, as long as the patience lasts.

        First come the tests that killed lately, then those of the module, then others, the
        quickest first, and last those that execute the line *perhaps*.
        """
        certain, left = set(tests), self.patience
        tests = certain.union(perhaps)
        order = [name for name in self.findings.killers if name in tests]
        own = (*tests_of(self.name), *OF_EVERY_MODULE)
        order += sorted(
            tests.difference(order),
            key=lambda name: (
                name not in certain,
                not name.startswith(own),
                self.survey.seconds.get(name, 0),
            ),
        )
        taken = []
        for name in order:
            left -= self.survey.seconds.get(name, 0)
            if left < 0 and taken:
                break
            taken.append(name)
        return taken

    def take(self, mutant: Mutant, verdict: Verdict) -> bool:
        """Record *verdict* and return whether the mutant is dead."""
        if verdict.what == "unclear":
            self.findings.unclear[mutant.name] = verdict.by
        if verdict.what not in ("killed", "hung"):
            return False
        self.findings.counts[verdict.what] += 1
        if verdict.by in self.survey.seconds:
            self.findings.killers[:] = [
                verdict.by,
                *(name for name in self.findings.killers if name != verdict.by),
            ][:30]
        return True

    def survived(self, mutant: Mutant) -> None:
        self.findings.alive.add(mutant.name)
        why = (
            f"    (unclear: {self.findings.unclear[mutant.name]})"
            if mutant.name in self.findings.unclear
            else ""
        )
        say(f"SURVIVED {self.name}:{mutant.line}: {mutant.name}{why}")

    def mutants(self) -> Iterable[Mutant]:
        return (mutant for mutant in mutants(self.name, self.text) if self.chosen(mutant))

    def swap_all(self, tests: Tests, functions: Functions) -> None:
        """The first stage, in the process that has collected the tests."""
        live = functions[str(self.path)]
        executed = self.survey.lines.get(str(self.path), {})
        for mutant in self.mutants():
            try:
                changed = swapped(mutant, self.path, live)
            except (SyntaxError, ValueError):  # it does not compile: not a mutant
                continue
            candidates = {name for line in mutant.place.lines for name in executed.get(line, ())}
            forks = self.name in IN_FORKS
            own = tuple(tests_of(self.name))
            perhaps = (
                {name for name in self.survey.seconds if name.startswith(own)} if forks else set()
            )
            chosen = self.ordered(candidates - {""}, perhaps)
            if changed and chosen:

                def work(pipe: int, changed=changed, chosen=chosen) -> None:
                    tests.pipe = pipe
                    for function, code in changed:
                        function.__code__ = code
                    tests.run(chosen)

                if self.take(mutant, judge(work, self.survey.seconds)):
                    continue
            # What the function created at import has the old code still.
            outermost = mutant.place.path[-1] if changed else None
            at_import = outermost and any(
                "" in executed.get(line, ())
                for line in range(outermost.body[0].lineno, outermost.end_lineno + 1)
            )
            # Whether the second stage could run no further test, as long as the patience lasts.
            all_ran = forks or len(chosen) == len(candidates)
            if changed and all_ran and not at_import and self.name not in IN_PROCESSES:
                self.survived(mutant)
            else:
                self.findings.remaining.add(mutant.name)

    def write_all(self) -> None:
        """Run the second stage: each mutant is in the file, and is tested by a new pytest."""
        paths = [
            path
            for path in (*tests_of(self.name), *OF_EVERY_MODULE)
            if (self.root / path).exists()
        ]
        known = [name for name in self.survey.seconds if name.startswith(tuple(paths))]
        broken: list[str] = []

        def run(files: list[str]) -> Verdict:
            def run_ordered(tests: Tests) -> None:
                tests.run(self.ordered(set(known).difference(broken)))

            def work(pipe: int) -> None:
                tests = Tests(run_ordered, pipe)
                try:
                    import_module("vmfa" if self.name == "__init__" else f"vmfa.{self.name}")
                    import_module("support")
                except BaseException as error:  # noqa: BLE001  # the library cannot be used
                    tests.notify("killed", f"import: {type(error).__name__}")
                    return
                run_pytest(files, tests)

            return judge(work, self.survey.seconds)

        try:
            Path(cache_from_source(str(self.path))).unlink(missing_ok=True)
            self.path.write_text(ast.unparse(ast.parse(self.text)))
            while (verdict := run(paths)).what != "survived":  # a test that reads the source
                if verdict.by not in known or len(broken) > 5:
                    sys.exit(f"{self.name}: the tests fail without a mutant: {verdict}")
                broken.append(verdict.by)
                say(f"{self.name}: ignored, fails on a copy without comments: {verdict.by}")
            for mutant in self.mutants():
                if mutant.name in self.findings.remaining:
                    self.path.write_text(ast.unparse(mutant.tree))
                    recent = {name.partition("::")[0] for name in self.findings.killers[:3]}
                    likely = sorted(recent & {name.partition("::")[0] for name in known})
                    stages = [files for files in (likely, paths) if files]
                    if not any(self.take(mutant, run(files)) for files in stages):
                        self.survived(mutant)
        finally:
            self.path.write_text(self.text)


def campaign(
    root: Path, modules: list[str], patience: float, chosen: Chosen, paths: list[str]
) -> dict[str, set[str]]:
    """Return the survivors of each module."""
    say("recording which test executes which line ...")
    survey = survey_tests(root, paths)
    say(f"{len(survey.seconds)} tests, {sum(survey.seconds.values()):.0f} s")
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    tested = [Module(name, root, survey, patience, chosen) for name in modules]
    file = root / "first"

    def first_stage(pipe: int) -> None:
        def work(tests: Tests) -> None:
            def run_all(pipe: int) -> None:
                tests.pipe = pipe
                tests.run(sorted(tests.items, key=lambda name: survey.seconds.get(name, 0)))

            functions: Functions = defaultdict(lambda: defaultdict(list))
            for item in gc.get_objects():
                if type(item) is FunctionType:  # some objects answer ``isinstance`` by an error
                    code = item.__code__
                    functions[code.co_filename][code.co_qualname, code.co_firstlineno].append(item)
            gc.freeze()  # a fork copies what it touches
            verdict = forked(run_all, survey.seconds)
            if verdict.what == "survived":
                for module in tested:
                    module.swap_all(tests, functions)
                    findings = module.findings
                    say(
                        f"{module.name}: {sum(findings.counts.values())} killed in forks,"
                        f" {len(findings.alive)} survived, {len(findings.remaining)} remain"
                    )
                file.write_bytes(pickle.dumps([module.findings for module in tested]))
            os.write(pipe, f"{verdict.what} {verdict.by}\n".encode())

        for name in modules:
            import_module("vmfa" if name == "__init__" else f"vmfa.{name}")
        run_pytest(paths, Tests(work, pipe), *(f"--ignore={path}" for path in IGNORED_TESTS))

    verdict = forked(first_stage, {}, limit=36000)
    if verdict.what != "survived":
        sys.exit(f"the tests do not pass without a mutant, the quickest first: {verdict}")
    for module, findings in zip(tested, pickle.loads(file.read_bytes()), strict=True):
        module.findings = findings
        module.write_all()
        killed, hung = findings.counts["killed"], findings.counts["hung"]
        alive = len(findings.alive)
        say(
            f"{module.name}: {killed + hung + alive} mutants:"
            f" {killed} killed, {hung} hung, {alive} survived"
        )
    return {module.name: module.findings.alive for module in tested}


OUT = os.dup(1)


def say(text: str) -> None:
    os.write(OUT, f"{text}\n".encode())


def module_names() -> list[str]:
    """Return every module of the library, without the package: "otp", "stores.sqlite"."""
    names = [
        ".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in SOURCE.rglob("*.py")
    ]
    return sorted(name.removesuffix(".__init__") for name in names)


def all_mutants(modules: list[str]) -> dict[tuple[str, str], int]:
    """Return the line of each mutant, by module and name."""
    return {
        (module, mutant.name): mutant.line
        for module in modules
        for mutant in mutants(module, path_of(module, ROOT).read_text("utf-8"))
    }


def stale_equivalents(modules: list[str]) -> list[str]:
    """Return the entries of EQUIVALENT that match no mutant."""
    names = module_names()
    listed = sorted({entry.module for entry in EQUIVALENT if entry.module in modules})
    existing = all_mutants([module for module in listed if module in names])
    return [
        f"{entry.module}: no mutant matches {entry.pattern!r}"
        for entry in EQUIVALENT
        if entry.module in modules or entry.module not in names
        if not any(
            module == entry.module and re.search(entry.pattern, name) for module, name in existing
        )
    ]


def read_survivors(path: Path | None) -> set[tuple[str, str]]:
    output = path.read_text("utf-8") if path else ""
    return set(
        re.findall(r"^SURVIVED ([\w.]+):\d+: (.*?)(?:    \(unclear: .*)?$", output, re.MULTILINE)
    )


def prepare(root: Path, scratch: str) -> None:
    """Copy the tree to *root* and import what forks would otherwise import again and again."""
    ignored = shutil.ignore_patterns(".git", ".venv*", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, root, ignore=ignored)
    os.chdir(root)
    # A background job of a shell, and its children, ignore the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ |= {"PYTHONPATH": str(root / "src"), "MUTATION_TMP": f"{scratch}/tmp"}
    for name in ("VMFA_DB", "VMFA_KEY_FILE"):
        os.environ.pop(name, None)
    sys.path[:0] = [str(root / "src"), str(root / "tests")]
    for module in (
        "hypothesis.stateful",
        "psycopg_pool",
        "segno",
        "cryptography.hazmat.primitives.ciphers.aead",
    ):
        import_module(module)
    if "VMFA_TEST_POSTGRES" not in os.environ:
        os.environ["VMFA_TEST_POSTGRES"] = import_module("postgres_server").own_server().conninfo


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", help="modules of vmfa; by default all")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument("--check", action="store_true", help="check equivalent.py and stop")
    parser.add_argument("--only", default="", help="mutants whose text contains this")
    parser.add_argument("--again", type=Path, help="only the survivors in an earlier output")
    parser.add_argument("--equivalent", action="store_true", help="only the listed equivalents")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="run these tests only")
    parser.add_argument("--patience", type=float, default=15, help="seconds of tests per mutant")
    options = parser.parse_args()
    modules = options.modules or [name for name in module_names() if name != "_unicode_14"]
    if unknown := set(modules).difference(module_names()):
        sys.exit(f"vmfa has no module {', '.join(sorted(unknown))}")
    again = read_survivors(options.again)

    def chosen(mutant: Mutant) -> bool:
        return (
            options.only in mutant.name
            and (not options.again or (mutant.module, mutant.name) in again)
            and (equivalent(mutant.module, mutant.name) is not None) == options.equivalent
        )

    stale = stale_equivalents(modules)
    print("\n".join(f"STALE {entry}" for entry in stale) or "every equivalent exists", flush=True)
    if options.check:
        return 1 if stale else 0
    if options.list:
        for (module, name), line in all_mutants(modules).items():
            print(f"{module}:{line}: {name}")
        return 0
    if options.again:
        modules = [module for module in modules if any(of == module for of, _ in again)]
    with tempfile.TemporaryDirectory(prefix="vmfa-mutation-") as scratch:
        root = Path(scratch).resolve() / "tree"
        prepare(root, scratch)
        alive = campaign(root, modules, options.patience, chosen, options.tests)
    if options.equivalent:
        killed = [
            f"{module}: {name}"
            for module, name in all_mutants(modules)
            if equivalent(module, name) and name not in alive[module]
        ]
        print("\n".join(f"NOT EQUIVALENT {mutant}" for mutant in killed))
        return 1 if killed else 0
    return 1 if stale or any(alive.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
