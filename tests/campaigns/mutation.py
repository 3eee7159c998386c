"""Mutation: break every line of the library on purpose, one break at a time, and see whether a test notices.

    python tests/campaigns/mutation.py otp keys rules access        # these modules
    python tests/campaigns/mutation.py                              # all of ROOMS
    python tests/campaigns/mutation.py otp --list                   # the mutants, without running them
    python tests/campaigns/mutation.py otp --again output.txt       # the survivors of an earlier output
    python tests/campaigns/mutation.py otp --equivalent             # what ``EQUIVALENT`` lists: does it still survive?

What is broken is said in ``breaks.py``. On a copy of the tree, the tests are run once to learn which of them execute
which line, how long each takes, and that all pass. Then, for each mutant inside of a function, a fork of a process that
has imported everything gets the mutated code and runs the tests that execute the line, quickest first, to the first
failure. What runs at import, and what only a process of a test's own may show, is written into the copy and met by a
new pytest with the tests of its room.

A mutant is killed by a test that fails, by an import that fails, or by a test that takes, twice, ten times as long as
it should and three seconds more. Any other end of a run is told as unclear, and is no kill. Survivors are printed, and
the exit status is 1 if there are any that ``EQUIVALENT`` does not explain.
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
from equivalent import EQUIVALENT

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src" / "vmfa"
WITHOUT_MUTANTS = {"migrate.__init__", "stores.__init__", "stores.port"}  # nothing there runs
LEFT_OUT = (
    "tests/typing",
    "tests/docs/test_traceability.py",
    "tests/integration/schedules",
    "tests/integration/durability",
    "tests/interop",
)
SQLITE = ["tests/stores", "tests/contract"]
POSTGRES = ["tests/integration/postgres"]
IN_PROCESSES = ("__main__", "commands")  # modules that tests start processes of their own for
IN_FORKS = (
    "stores.sqlite",
)  # whose own tests fork: code that was swapped goes with them, lines are not told back
CLI = ["tests/cli"]
EVERYWHERE = ("tests/unit/test_frozen.py", "tests/mutants/test_core_mutants.py")  # of every room
ROOMS = {  # and the tests that know them, for what runs at import
    "values": ["tests/unit"],
    "errors": ["tests/unit", "tests/rules/test_words.py", "tests/advisory"],
    "machine": [
        "tests/unit/test_machine.py",
        "tests/rules/test_permissions.py",
        "tests/rules/test_enrollment.py",
    ],
    "policy": [
        "tests/unit/test_policy.py",
        "tests/rules/test_defaults.py",
        "tests/property/test_policy_properties.py",
    ],
    "access": ["tests/rules/test_permissions.py", "tests/mutants", "tests/rules/test_recovery.py"],
    "decision": ["tests/unit/test_decision.py", "tests/rules/test_registry.py"],
    "keyuri": ["tests/keyuri", "tests/unit/test_keyuri_build.py"],
    "trail": ["tests/trail"],
    "trail_command": ["tests/trail"],
    "analysis": ["tests/unit/test_analysis.py"],
    "policy_command": CLI,
    "known_answers": ["tests/cli/test_known_answers.py"],
    "qr": ["tests/qr"],
    "sealing": ["tests/sealing"],
    **{
        f"migrate.{name}": ["tests/migrate"]
        for name in (
            "adoption",
            "command",
            "django_otp",
            "google_authenticator",
            "otpauth",
            "otpauth_migration",
            "passlib",
            "pyotp",
        )
    },
    "stores.memory": [
        "tests/contract/test_our_stores.py",
        "tests/rules/test_registry.py",
        "tests/aio/test_both_registries.py",
    ],
    "stores.rows": [*SQLITE, *POSTGRES],
    "stores.threads": ["tests/aio"],
    "stores.sqlite": SQLITE,
    "stores.postgres": POSTGRES,
    "stores.postgres_async": POSTGRES,
    "stores.connections": POSTGRES,
    "commands": CLI,
    "demo": CLI,
    "__main__": CLI,
    "testing": ["tests/contract"],
    "__init__": ["tests/unit/test_public_face.py", "tests/docs/test_reference.py"],
    "keysource": ["tests/unit/test_keysource.py", "tests/sealing"],
    "record": ["tests/unit/test_record.py", "tests/rules"],
    "events": ["tests/unit/test_events.py", "tests/rules"],
    "model": ["tests/unit", "tests/rules"],
    "operations": ["tests/rules"],
    "registry": ["tests/rules", "tests/aio", "tests/misuse"],
    "aio": ["tests/aio", "tests/misuse"],
    "otp": ["tests/unit", "tests/advisory", "tests/mutants"],
    "keys": ["tests/unit", "tests/advisory"],
    "rules": ["tests/rules", "tests/mutants", "tests/advisory"],
}
ANNOTATIONS = import_module("__future__").annotations.compiler_flag
SLOWER, AND_MORE = 10, 3  # times, seconds: what a test may take before it counts as hung


Chosen = Callable[[Mutant], bool]
Functions = dict[str, dict[tuple[str, int], list[FunctionType]]]  # of each file, by name and line


class Survey(NamedTuple):
    """What the tests do with the library as it is."""

    seconds: dict[str, float]  # of each test
    lines: dict[
        str, dict[int, list[str]]
    ]  # of each file, the tests that execute each line; '' is the import


class Verdict(NamedTuple):
    what: str  # killed, hung, survived, unclear
    by: str = ""


class Found(NamedTuple):
    """What is known of the mutants of a room."""

    killers: list[str]  # tests, the latest first
    counts: Counter[str]  # of killed, hung
    left: set[str]  # for the second stage
    alive: set[str]
    unclear: dict[str, str]


class Tests:
    """A pytest plugin: hands the collected tests to *work*, and tells a pipe what becomes of those it runs."""

    def __init__(self, work: Callable[[Tests], None], told: int) -> None:
        self.work, self.told = work, told
        self.items: dict[str, pytest.Item] = {}
        self.session: Any = None
        self.failed: list[str] = []

    def notify(self, what: str, text: str = "") -> None:
        os.write(self.told, f"{what} {text}\n".encode())

    def pytest_sessionstart(self) -> None:
        from hypothesis import State, settings

        settings.register_profile(
            "mutation", settings.default, phases=(State.explicit, State.generate)
        )
        settings.load_profile("mutation")  # a counter-example need not be a small one

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.notify("killed", f"{report.nodeid}, as it was collected")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.session = session
        own_server = "crashable"  # of the test's own: it would outlive a test that is cut short
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


def pytest_run(tests: Iterable[str], plugin: Tests, *more: str) -> None:
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
    if (
        plugin.session is None
    ):  # a conftest that cannot be imported is what pytest calls a wrong use
        plugin.notify(
            "killed" if ending == pytest.ExitCode.USAGE_ERROR else "unclear",
            f"pytest ended before it ran a test: {ending!r}",
        )


def forked(
    work: Callable[[int], None], seconds: dict[str, float], *, limit: float = 120
) -> Verdict:
    """*work* in a process and a group of its own, and what it tells; a silent end is unclear."""
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
        except BaseException:  # noqa: BLE001  # the campaign's own fault, or a mutant's that no test reports
            os.write(writer, b"unclear " + repr(traceback.format_exc(limit=-3)).encode() + b"\n")
        finally:
            os._exit(0)
    os.close(writer)
    said, running, verdict = b"", "", None
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
            verdict = Verdict("unclear", f"it ended without a word in {running or 'no test'}")
        *lines, said = (said + part).split(b"\n")
        for line in lines:
            what, _, text = line.decode().partition(" ")
            if what == "running":
                running, limit = text, AND_MORE + SLOWER * seconds.get(text, 60)
            else:
                verdict = Verdict(what, text)
                break
    for process in (child, -child):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)  # and whatever the mutant started
    os.close(reader)
    os.waitpid(child, 0)
    return verdict


def judged(work: Callable[[int], None], seconds: dict[str, float]) -> Verdict:
    """What :func:`forked` gives; a test that took too long is given a second chance, for a busy machine stalls too."""
    verdict = forked(work, seconds)
    return forked(work, seconds) if verdict.what == "hung" else verdict


def surveyed(root: Path) -> Survey:
    """Run all tests once, in their own order, with each line that each of them executes; and again, quickest first."""
    file = root / "survey"

    def work(told: int) -> None:
        from coverage import Coverage

        cover = Coverage(data_file=None, source=[str(root / "src")], config_file=False)
        seconds: dict[str, float] = {}
        failed: list[str] = []

        class Watch:
            @pytest.hookimpl(hookwrapper=True)
            def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
                begun = time.monotonic()
                cover.switch_context(item.nodeid)
                yield
                cover.switch_context("")
                seconds[item.nodeid] = time.monotonic() - begun

        def each(tests: Tests) -> None:
            tests.session.config.pluginmanager.register(Watch())
            tests.run(tests.items, stop=False)
            failed.extend(tests.failed)

        plugin = Tests(each, os.open(os.devnull, os.O_WRONLY))
        cover.start()
        pytest_run(["tests"], plugin, *(f"--ignore={each}" for each in LEFT_OUT))
        cover.stop()
        data = cover.get_data()
        lines = {name: data.contexts_by_lineno(name) for name in data.measured_files()}
        file.write_bytes(pickle.dumps((failed, Survey(seconds, lines))))
        os.write(told, b"survived\n")

    ending = forked(work, {}, limit=1200)
    if ending.what != "survived":
        sys.exit(f"the tests could not be surveyed: {ending.by}")
    failed, survey = pickle.loads(file.read_bytes())
    if failed:
        sys.exit("these tests fail on the code as it is: " + " ".join(failed))
    return survey


def swapped(
    mutant: Mutant, path: Path, live: dict[tuple[str, int], list[FunctionType]]
) -> list[tuple[FunctionType, CodeType]]:
    """The functions that the mutant changes, each with its new code. None: it runs at import, or is not to be found."""
    if not mutant.place.inside:
        return []
    body: list[ast.stmt] = [mutant.place.path[-1]]
    for outer in reversed(mutant.place.path[:-1]):
        body = [ast.ClassDef(outer.name, [], [], body, [], lineno=outer.lineno, col_offset=0)]
    code = compile(ast.Module(body, []), str(path), "exec", ANNOTATIONS, dont_inherit=True)
    for _ in mutant.place.path:
        code = next(each for each in code.co_consts if isinstance(each, CodeType))
    return [
        (function, code)
        for function in live[code.co_qualname, code.co_firstlineno]
        if function.__code__.co_freevars == code.co_freevars
    ]


class Room:
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
        self.found = Found([], Counter(), set(), set(), {})

    def ordered(self, tests: Iterable[str], perhaps: Iterable[str] = ()) -> list[str]:
        """Who killed lately, then the room's own, then others, the quickest first, as long as the patience lasts; and
        those that come to it *perhaps* behind each of them.
        """
        surely, left = set(tests), self.patience
        tests = surely.union(perhaps)
        order = [name for name in self.found.killers if name in tests]
        own = (*ROOMS[self.name], *EVERYWHERE)
        order += sorted(
            tests.difference(order),
            key=lambda name: (
                name not in surely,
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
        """Whether it is dead."""
        if verdict.what == "unclear":
            self.found.unclear[mutant.name] = verdict.by
        if verdict.what not in ("killed", "hung"):
            return False
        self.found.counts[verdict.what] += 1
        if verdict.by in self.survey.seconds:
            self.found.killers[:] = [
                verdict.by,
                *(name for name in self.found.killers if name != verdict.by),
            ][:30]
        return True

    def survived(self, mutant: Mutant) -> None:
        self.found.alive.add(mutant.name)
        why = (
            f"    (unclear: {self.found.unclear[mutant.name]})"
            if mutant.name in self.found.unclear
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
            except (SyntaxError, ValueError):  # what cannot be compiled is no mutant
                continue
            able = {name for line in mutant.place.lines for name in executed.get(line, ())}
            forks = self.name in IN_FORKS
            own = tuple(ROOMS[self.name])
            perhaps = (
                {name for name in self.survey.seconds if name.startswith(own)} if forks else set()
            )
            chosen = self.ordered(able - {""}, perhaps)
            if changed and chosen:

                def work(told: int, changed=changed, chosen=chosen) -> None:
                    tests.told = told
                    for function, code in changed:
                        function.__code__ = code
                    tests.run(chosen)

                if self.take(mutant, judged(work, self.survey.seconds)):
                    continue
            outermost = (
                mutant.place.path[-1] if changed else None
            )  # what it made at import has the old code still
            made = outermost and any(
                "" in executed.get(line, ())
                for line in range(outermost.body[0].lineno, outermost.end_lineno + 1)
            )
            everybody = forks or len(chosen) == len(
                able
            )  # whom the second stage could ask, as long as patience lasts
            if changed and everybody and not made and self.name not in IN_PROCESSES:
                self.survived(mutant)
            else:
                self.found.left.add(mutant.name)

    def write_all(self) -> None:
        """The second stage, each mutant in the file and in a pytest of its own."""
        files = [each for each in (*ROOMS[self.name], *EVERYWHERE) if (self.root / each).exists()]
        known = [name for name in self.survey.seconds if name.startswith(tuple(files))]
        broken: list[str] = []

        def run(files: list[str]) -> Verdict:
            def work(told: int) -> None:
                tests = Tests(
                    lambda tests: tests.run(self.ordered(set(known).difference(broken))), told
                )
                try:
                    import_module("vmfa" if self.name == "__init__" else f"vmfa.{self.name}")
                    import_module("support")
                except BaseException as error:  # noqa: BLE001  # whatever it is, nobody can use the library
                    tests.notify("killed", f"import: {type(error).__name__}")
                    return
                pytest_run(files, tests)

            return judged(work, self.survey.seconds)

        try:
            Path(cache_from_source(str(self.path))).unlink(missing_ok=True)
            self.path.write_text(ast.unparse(ast.parse(self.text)))
            while (found := run(files)).what != "survived":  # a test that reads the source
                if found.by not in known or len(broken) > 5:
                    sys.exit(f"{self.name}: the tests do not pass on the code as it is: {found}")
                broken.append(found.by)
                say(f"{self.name}: left out, it fails on a copy without comments: {found.by}")
            for mutant in self.mutants():
                if mutant.name in self.found.left:
                    self.path.write_text(ast.unparse(mutant.tree))
                    likely = sorted(
                        {name.partition("::")[0] for name in self.found.killers[:3]}.intersection(
                            name.partition("::")[0] for name in known
                        )
                    )
                    if not any(self.take(mutant, run(each)) for each in (likely, files) if each):
                        self.survived(mutant)
        finally:
            self.path.write_text(self.text)


def campaign(root: Path, rooms: list[str], patience: float, chosen: Chosen) -> dict[str, set[str]]:
    """The survivors of each room."""
    say("which test executes which line ...")
    survey = surveyed(root)
    say(f"{len(survey.seconds)} tests, {sum(survey.seconds.values()):.0f} s")
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    made = [Room(name, root, survey, patience, chosen) for name in rooms]
    file = root / "first"

    def first(told: int) -> None:
        def work(tests: Tests) -> None:
            def all_of_them(told: int) -> None:
                tests.told = told
                tests.run(sorted(tests.items, key=lambda name: survey.seconds.get(name, 0)))

            functions: Functions = defaultdict(lambda: defaultdict(list))
            for each in gc.get_objects():
                if type(each) is FunctionType:  # some objects answer ``isinstance`` by an error
                    code = each.__code__
                    functions[code.co_filename][code.co_qualname, code.co_firstlineno].append(each)
            gc.freeze()  # a fork copies what it touches
            found = forked(all_of_them, survey.seconds)
            if found.what == "survived":
                for room in made:
                    room.swap_all(tests, functions)
                    say(
                        f"{room.name}: {sum(room.found.counts.values())} killed by code that was swapped,"
                        f" {len(room.found.alive)} survived, {len(room.found.left)} left"
                    )
                file.write_bytes(pickle.dumps([room.found for room in made]))
            os.write(told, f"{found.what} {found.by}\n".encode())

        for room in rooms:
            import_module("vmfa" if room == "__init__" else f"vmfa.{room}")
        pytest_run(["tests"], Tests(work, told), *(f"--ignore={each}" for each in LEFT_OUT))

    found = forked(first, {}, limit=36000)
    if found.what != "survived":
        sys.exit(f"the tests do not pass, the quickest first: {found}")
    for room, kept in zip(made, pickle.loads(file.read_bytes()), strict=True):
        room.found = kept
        room.write_all()
        same = sum(1 for of, _ in EQUIVALENT if of == room.name)
        killed, hung, alive = (
            room.found.counts["killed"],
            room.found.counts["hung"],
            len(room.found.alive),
        )
        say(
            f"{room.name}: {killed + hung + alive} mutants: {killed} killed, {hung} hung, {alive} survived;"
            f" {same} beside them mean the same"
        )
    return {room.name: room.found.alive for room in made}


OUT = os.dup(1)


def say(text: str) -> None:
    os.write(OUT, f"{text}\n".encode())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rooms", nargs="*", help="modules of vmfa; none: all of them")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument("--only", default="", help="mutants whose text holds this")
    parser.add_argument(
        "--again", type=Path, help="only the survivors that an earlier output names"
    )
    parser.add_argument(
        "--equivalent", action="store_true", help="only what is said to mean the same"
    )
    parser.add_argument(
        "--patience", type=float, default=15, help="seconds of tests for one mutant"
    )
    given = parser.parse_args()
    rooms = given.rooms or list(ROOMS)
    modules = {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in SOURCE.rglob("*.py")
    }
    if unnamed := modules.difference(ROOMS, WITHOUT_MUTANTS):
        sys.exit(f"ROOMS names no tests of {', '.join(sorted(unnamed))}")
    told = given.again.read_text("utf-8") if given.again else ""
    again = set(
        re.findall(r"^SURVIVED ([\w.]+):\d+: (.*?)(?:    \(unclear: .*)?$", told, re.MULTILINE)
    )

    def chosen(mutant: Mutant) -> bool:
        key = mutant.room, mutant.name
        return (
            given.only in mutant.name
            and (key in again or not told)
            and (key in EQUIVALENT) == given.equivalent
        )

    if given.again:
        rooms = [room for room in rooms if any(of == room for of, _ in again)]
    everything = {
        (room, mutant.name): mutant.line
        for room in rooms
        for mutant in mutants(room, path_of(room, ROOT).read_text("utf-8"))
    }
    stale = [key for key in EQUIVALENT if key[0] in rooms and key not in everything]
    for key in stale:
        print(f"STALE {key[0]}: {key[1]}")
    if given.list:
        for (room, name), line in everything.items():
            print(f"{room}:{line}: {name}")
        return 0
    with tempfile.TemporaryDirectory(prefix="vmfa-mutation-") as scratch:
        root = Path(scratch).resolve() / "tree"
        left_out = shutil.ignore_patterns(
            ".git", ".venv*", "*.egg-info", "__pycache__", ".*_cache"
        )
        shutil.copytree(ROOT, root, ignore=left_out)
        os.chdir(root)
        signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # a shell's background job has none, nor its children
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
            import_module(module)  # before the forks: none of them loads it again
        if "VMFA_TEST_POSTGRES" not in os.environ:
            os.environ["VMFA_TEST_POSTGRES"] = (
                import_module("postgres_server").own_server().conninfo
            )
        alive = campaign(root, rooms, given.patience, chosen)
    if given.equivalent:
        bad = [
            f"{room}: {name}"
            for room, name in EQUIVALENT
            if room in rooms and name not in alive[room]
        ]
        print("\n".join(f"NOT THE SAME {each}" for each in bad))
        return 1 if bad else 0
    return 1 if stale or any(alive.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
