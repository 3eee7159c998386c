"""Mutation: break every line of the library on purpose, one break at a time, and see whether a test notices.

    python tests/campaigns/mutation.py otp keys rules access        # these rooms
    python tests/campaigns/mutation.py                              # all of ROOMS
    python tests/campaigns/mutation.py otp --list                   # the mutants, without running them

Everything counts: statements are deleted, conditions turned and decided, operators and constants changed, defaults,
decorators, keyword arguments and members of displays dropped, SQL broken by a list of its own. Each mutant runs in a
forked process with a limit on memory and time, first against the tests that know the room, then against more of the
others. The work is done on a copy of the tree. Survivors are printed, and the exit status is 1 if there are any that
``EQUIVALENT`` does not explain.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec, spec_from_loader
from pathlib import Path

from equivalent import EQUIVALENT

ROOT = Path(__file__).resolve().parent.parent.parent
QUICK = ["tests/unit", "tests/rules", "tests/advisory", "tests/keyuri", "tests/mutants", "tests/misuse"]
WIDE = [*QUICK, "tests/property/test_code_properties.py", "tests/property/test_encoding_properties.py", "tests/guard"]
SQLITE = ["tests/stores", "tests/contract/test_our_stores.py"]
SECRETS = ["tests/property/test_secrets.py"]
OTHERS: dict[str, list[str]] = {  # what else may notice
    "keys": SECRETS, "otp": SECRETS, "keysource": SECRETS, "rules": [*SECRETS, "tests/sealing"],
    "access": ["tests/typing"], "registry": [*SECRETS, *SQLITE], "record": [*SECRETS, *SQLITE], "events": SQLITE,
    "keyuri": [*SECRETS, "tests/migrate"], "aio": SECRETS, "sealing": SECRETS, "model": SECRETS, "operations": SECRETS,
}
ROOMS: dict[str, list[str]] = {  # and the tests that know them
    "otp": ["tests/unit/test_otp.py", "tests/advisory/test_codes.py"],
    "keys": ["tests/unit/test_keys.py", "tests/unit/test_otp.py"],
    "rules": ["tests/rules/test_verify.py", "tests/rules/test_resync.py", "tests/rules/test_enrollment.py"],
    "access": ["tests/rules/test_permissions.py"],
    "keysource": ["tests/unit/test_keysource.py"],
    "machine": ["tests/unit/test_machine.py"],
    "record": ["tests/unit/test_record.py"],
    "events": ["tests/unit/test_events.py", "tests/rules/test_retention.py"],
    "operations": ["tests/rules/test_operations.py"],
    "policy": ["tests/unit/test_policy.py"],
    "model": ["tests/unit/test_model.py"],
    "decision": ["tests/unit/test_decision.py"],
    "errors": ["tests/unit/test_errors.py"],
    "keyuri": ["tests/unit/test_keyuri_build.py", "tests/keyuri"],
    "registry": ["tests/rules/test_registry.py"],
    "aio": ["tests/aio"],
    "sealing": ["tests/sealing"],
    "analysis": ["tests/unit/test_analysis.py"],
    "stores.memory": ["tests/contract/test_our_stores.py"],
    "stores.sqlite": SQLITE,
    "stores.threads": ["tests/aio"],
    "known_answers": ["tests/cli/test_known_answers.py"],
    "trail": ["tests/trail"],
    "qr": ["tests/qr"],
    "migrate.adoption": ["tests/migrate"],
    "migrate.django_otp": ["tests/migrate"],
    "migrate.google_authenticator": ["tests/migrate"],
    "migrate.otpauth": ["tests/migrate"],
    "migrate.otpauth_migration": ["tests/migrate"],
    "migrate.passlib": ["tests/migrate"],
    "migrate.pyotp": ["tests/migrate"],
}
COMPARED: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Lt: [ast.LtE, ast.GtE], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.LtE], ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
    ast.Pow: ast.Mult, ast.Div: ast.Mult,
}
EXCHANGED = {"min": "max", "max": "min", "any": "all", "all": "any", "strip": "rstrip", "firsts": "seconds",
             "upper": "lower", "ljust": "rjust", "floor": "ceil", "rstrip": "lstrip", "pop": "get"}
SQL = [  # what is cut out of, or changed in, a text that is SQL
    (" AND revision = ?", " AND (revision = ? OR 1)"), (" AND tag = ?", " AND (tag = ? OR 1)"),
    (" AND kind = ?", " AND (kind = ? OR 1)"), (" AND name = ?", " AND (name = ? OR 1)"),
    ("WHERE account = ?", "WHERE (account = ? OR 1)"), ("number > ?", "number >= ?"),
    ("number > ?", "(number > ? OR 1)"),
    (" ORDER BY number", ""), (" ORDER BY number", " ORDER BY number DESC"), (" ORDER BY kind, name", " ORDER BY name"),
    (" ORDER BY kind, name", ""), ("> (?, ?)", ">= (?, ?)"), (" ON CONFLICT DO NOTHING", ""), ("INSERT INTO principal",
    "INSERT OR REPLACE INTO principal"), ("BEGIN IMMEDIATE", "BEGIN"), ("synchronous = ", "synchronous = OFF --"),
    ("COMMIT", "ROLLBACK"), ("ROLLBACK", "COMMIT"), ("secure_delete = ON", "secure_delete = OFF"), ("TRUNCATE",
    "PASSIVE"), (" LIMIT ?", " LIMIT ? + 1"), ("tag = ?", "tag = tag || substr(?, 1, 0)"),
    ("revision = ?,", "revision = ? + 1,"), ("state = ?", "state = state || substr(?, 1, 0)"),
]


@dataclass(frozen=True)
class Mutant:
    room: str
    name: str  # the text of the statement's line and what was done to it
    line: int
    tree: ast.Module


class Finder(MetaPathFinder, Loader):
    """Gives one module another body."""

    def __init__(self, module: str, path: Path, tree: ast.Module) -> None:
        self.module, self.path, self.tree = module, path, tree

    def find_spec(self, fullname, path, target=None):
        if fullname != self.module:
            return None
        return spec_from_loader(fullname, self, origin=str(self.path), is_package=self.path.name == "__init__.py")

    def exec_module(self, module) -> None:
        module.__file__ = str(self.path)
        exec(compile(self.tree, str(self.path), "exec", dont_inherit=True), module.__dict__)


def path_of(room: str, root: Path = ROOT) -> Path:
    base = root / "src" / "vmfa" / room.replace(".", "/")
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def is_typing(node: ast.AST) -> bool:
    """What only a type checker reads."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return True
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.ClassDef):
        return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name):
            return node.value.func.id in ("TypeVar", "ParamSpec")
        return node.targets[0].id in ("__all__", "Rule", "Held", "Observer", "Blocks", "TYPE_CHECKING")
    return False


def places(tree: ast.Module) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Every node that runs, as parent, field and index; docstrings and annotations are left out."""

    def walk(parent: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
        for field, value in ast.iter_fields(parent):
            if field in ("annotation", "returns", "type_comment", "type_params", "ctx"):
                continue
            for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(node, ast.AST) or is_typing(node):
                    continue
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                    continue  # a docstring or an ellipsis
                yield parent, field, index
                yield from walk(node)

    yield from walk(tree)


def breaks(  # noqa: PLR0912  # a list of what can be done
    parent: ast.AST, field: str, node: ast.AST
) -> Iterator[tuple[str, ast.AST | None]]:
    """What can be done to *node*: a text, and its replacement, or None where it is taken out of its list."""
    if isinstance(node, (ast.Expr, ast.Assign, ast.AugAssign, ast.Raise, ast.Return, ast.Delete, ast.Assert, ast.If,
                         ast.For, ast.While, ast.Continue, ast.Break)) or (
        isinstance(node, ast.AnnAssign) and node.value is not None
    ):
        yield "deleted", ast.Pass()
    match node:
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield "returns None", ast.Return(ast.Constant(None))
        case ast.If() | ast.While() | ast.IfExp():
            for text, test in (("not", ast.UnaryOp(ast.Not(), node.test)), ("always", ast.Constant(True)),
                               ("never", ast.Constant(False))):
                if isinstance(node, ast.While) and text == "always":
                    continue
                turned = copy.copy(node)
                turned.test = test
                yield f"condition: {text}", turned
        case ast.Compare():
            for place, old in enumerate(node.ops):
                for new in COMPARED[type(old)]:
                    turned = copy.copy(node)
                    turned.ops = [*node.ops[:place], new(), *node.ops[place + 1 :]]
                    yield f"{type(old).__name__} {place} -> {new.__name__}", turned
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield "and <-> or", ast.BoolOp(other, node.values)
            for place in range(len(node.values)):
                rest = node.values[:place] + node.values[place + 1 :]
                yield f"without operand {place}", rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield "sign or not dropped", node.operand
        case ast.BinOp():
            new = COMPUTED.get(type(node.op))
            if new is not None:
                yield f"{type(node.op).__name__} -> {new.__name__}", ast.BinOp(node.left, new(), node.right)
            yield "left alone", node.left
            yield "right alone", node.right
        case ast.AugAssign():
            new = COMPUTED.get(type(node.op))
            if new is not None:
                yield f"{type(node.op).__name__} -> {new.__name__}", ast.AugAssign(node.target, new(), node.value)
        case ast.Constant(value=bool() as value):
            yield "turned", ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield "+ 1", ast.Constant(value + 1)
            yield "- 1", ast.Constant(value - 1)
        case ast.Constant(value=str() as value):
            yield "other text", ast.Constant("XX" + value)
            for old, new_text in SQL:
                if old in value and " " in value:
                    yield f"SQL {old!r} -> {new_text!r}", ast.Constant(value.replace(old, new_text, 1))
        case ast.Constant(value=bytes() as value):
            yield "other bytes", ast.Constant(b"XX" + value)
        case ast.comprehension() if node.ifs:
            yield "without its condition", ast.comprehension(node.target, node.iter, [], node.is_async)
        case ast.keyword(arg=str()):
            yield "argument dropped", None
        case ast.Call():
            if isinstance(node.func, ast.Name) and node.func.id in EXCHANGED:
                yield "exchanged", ast.Call(ast.Name(EXCHANGED[node.func.id], ast.Load()), node.args, node.keywords)
            if isinstance(node.func, ast.Attribute) and node.func.attr in EXCHANGED:
                changed = ast.Attribute(node.func.value, EXCHANGED[node.func.attr], ast.Load())
                yield "exchanged", ast.Call(changed, node.args, node.keywords)
        case ast.Dict():
            for place in range(len(node.keys)):
                yield f"without item {place}", ast.Dict(node.keys[:place] + node.keys[place + 1 :],
                                                        node.values[:place] + node.values[place + 1 :])
    if field == "elts" and isinstance(parent, ast.Set):
        yield "member dropped", None
    if field == "decorator_list":
        yield "decorator dropped", None
    if field == "args" and isinstance(parent, ast.Call) and not isinstance(node, ast.Constant):
        yield "argument None", ast.Constant(None)
    if field == "handlers":
        yield "handler dropped", None


def mutants(room: str) -> Iterator[Mutant]:
    text = path_of(room).read_text("utf-8")
    lines = text.splitlines()
    tree = ast.parse(text)
    seen: Counter[str] = Counter()
    for parent, field, index in places(tree):
        held = getattr(parent, field)
        node = held if index is None else held[index]
        placed = next((each for each in (node, getattr(node, "iter", None), parent) if hasattr(each, "lineno")), None)
        line = placed.lineno if placed is not None else 0
        for done, new in breaks(parent, field, node):
            if new is not None:
                ast.copy_location(new, node if hasattr(node, "lineno") else parent)
                ast.fix_missing_locations(new)
            if index is None:
                setattr(parent, field, new)
            else:
                setattr(parent, field, [*held[:index], *([] if new is None else [new]), *held[index + 1 :]])
            if field in ("body", "orelse", "handlers") and not getattr(parent, field):
                setattr(parent, field, held)
                continue
            name = f"{lines[line - 1].strip() if line else ''} | {fragment(node)} | {done}"
            seen[name] += 1
            try:
                ast.parse(ast.unparse(tree))
                yield Mutant(room, name if seen[name] == 1 else f"{name} #{seen[name]}", line, tree)
            except SyntaxError:
                pass
            setattr(parent, field, held)


def fragment(node: ast.AST) -> str:
    try:
        return ast.unparse(node).split("\n")[0][:60]
    except (AttributeError, ValueError):
        return type(node).__name__


def run(mutant: Mutant | None, tests: list[str], room: str, root: Path, seconds: float) -> tuple[str, float]:
    """In a forked process of its own group: 'killed', 'survived' or 'timeout'."""
    begun = time.monotonic()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 3
        try:
            os.setsid()
            os.close(reader)
            resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            null = os.open(os.devnull, os.O_RDWR)
            quiet = not os.environ.get("MUTATION_DEBUG")
            for descriptor in (0, 1, 2) if quiet else (0,):
                os.dup2(null, descriptor)
            if mutant is not None:
                module = f"vmfa.{room}"
                sys.meta_path.insert(0, Finder(module, path_of(room, root), mutant.tree))
            import pytest

            status = int(pytest.main(["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider",
                                      "-W", "ignore::pytest.PytestAssertRewriteWarning", *tests]))
        except BaseException:  # noqa: BLE001  # whatever a mutant does, it was noticed
            status = 3
            if os.environ.get("MUTATION_DEBUG"):
                traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    os.close(writer)
    done = select.select([reader], [], [], seconds)[0]  # the pipe closes with the child
    if not done:
        os.killpg(child, signal.SIGKILL)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    with_group(child)
    spent = time.monotonic() - begun
    if not done:
        return "timeout", spent
    code = os.waitstatus_to_exitcode(status)
    if code == 5:  # 4: not even the conftest could be imported
        return f"no tests ({code})", spent
    return ("survived" if code == 0 else "killed"), spent


def with_group(child: int) -> None:
    """End whatever the mutant started."""
    try:
        os.killpg(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def present(tests: list[str], root: Path) -> list[str]:
    return [each for each in tests if (root / each).exists()]


def campaign(
    room: str, root: Path, share: tuple[int, int], only: str, again: set[str] | None
) -> tuple[Counter[str], list[Mutant]]:
    own = f"tests/mutants/test_{room}_mutants.py"
    stages = [present(tests, root) for tests in ([*ROOMS[room], own], ["tests/rules"], [*WIDE, *OTHERS.get(room, [])])]
    for tests in stages:
        found, spent = run(None, tests, room, root, 600)
        if found != "survived":
            sys.exit(f"{room}: the tests do not pass on the code as it is ({found}): {' '.join(tests)}")
    counts: Counter[str] = Counter()
    alive = []
    for number, mutant in enumerate(mutants(room)):
        left_out = only not in mutant.name or (again is not None and f"{room} {mutant.name}" not in again)
        if number % share[1] != share[0] or left_out:
            continue
        found = "equivalent"
        if (room, mutant.name) not in EQUIVALENT:
            for tests in stages:
                found, _ = run(mutant, tests, room, root, 60 + 3 * spent)
                if found != "survived":
                    break
        counts[found] += 1
        if found == "survived":
            alive.append(mutant)
            print(f"SURVIVED {room}:{mutant.line}: {mutant.name}", flush=True)
        elif found.startswith("no tests"):
            sys.exit(f"{room}: {found}")
    return counts, alive


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="*", help="modules of vmfa; none: all of them")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument("--only", default="", help="mutants whose text holds this")
    parser.add_argument("--again", type=Path, help="only the survivors that an earlier output names")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--share", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    rooms = given.rooms or list(ROOMS)
    again: set[str] | None = None
    if given.again:
        lines = given.again.read_text("utf-8").splitlines()
        named = [re.fullmatch(r"SURVIVED ([\w.]+):\d+: (.*)", line) for line in lines]
        again = {f"{found[1]} {found[2]}" for found in named if found}
        rooms = [room for room in rooms if any(each.startswith(f"{room} ") for each in again)]
    if given.list:
        for room in rooms:
            for mutant in mutants(room):
                print(f"{room}:{mutant.line}: {mutant.name}")
        return 0
    if given.share:
        part, parts = map(int, given.share.split("/"))
        return work(rooms, Path.cwd(), (part, parts), given.only, again)
    with tempfile.TemporaryDirectory(prefix="vmfa-mutation-") as scratch:
        root = Path(scratch) / "tree"
        shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(".git", ".venv*", "*.egg-info", ".mypy_cache"))
        environment = {**os.environ, "PYTHONPATH": "src", "VMFA_DB": "", "VMFA_KEY_FILE": ""}
        for name in ("VMFA_DB", "VMFA_KEY_FILE"):
            del environment[name]
        command = [sys.executable, str(root / "tests" / "campaigns" / "mutation.py"), *rooms, "--only", given.only]
        command += ["--again", str(given.again.resolve())] if given.again else []
        parts = [
            subprocess.Popen([*command, "--share", f"{part}/{given.jobs}"], cwd=root, env=environment)
            for part in range(given.jobs)
        ]
        return max(part.wait() for part in parts)


def work(rooms: list[str], root: Path, share: tuple[int, int], only: str, again: set[str] | None) -> int:
    for module in ("hypothesis.stateful", "pytest"):  # before the forks: none of them loads it again
        import_module(module)
    sys.path.insert(0, str(root / "src"))
    assert find_spec("vmfa").origin.startswith(str(root)), "the copy must be what is imported"
    sys.modules.pop("vmfa", None)
    bad = 0
    for room in rooms:
        counts, alive = campaign(room, root, share, only, again)
        bad += len(alive)
        told = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
        print(f"{room} ({share[0] + 1} of {share[1]}): {sum(counts.values())} mutants: {told}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
