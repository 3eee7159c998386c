"""The mutants of ``mutation.py``: a module as a syntax tree with one node changed.

Statements are deleted, conditions negated and decided, operators exchanged, numbers changed by
one, texts changed, decorators, arguments, handlers and members of displays dropped, results and
arguments replaced by None, and SQL broken by a list of its own. Docstrings, annotations and what
only a type checker reads stay as they are.
"""

from __future__ import annotations

import ast
import builtins
import copy
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

COMPARED: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.Pow: ast.Mult,
    ast.Div: ast.Mult,
}
EXCHANGED = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "strip": "rstrip",
    "upper": "lower",
    "ljust": "rjust",
    "floor": "ceil",
    "rstrip": "lstrip",
    "pop": "get",
}
SQL = [  # what is replaced in SQL; ? stands for %s too
    (" AND revision = ?", " AND (revision = ? OR 1 = 1)"),
    (" AND tag = ?", " AND (tag = ? OR 1 = 1)"),
    (" AND kind = ?", " AND (kind = ? OR 1 = 1)"),
    (" AND name = ?", " AND (name = ? OR 1 = 1)"),
    ("WHERE account = ?", "WHERE (account = ? OR 1 = 1)"),
    ("number > ?", "number >= ?"),
    ("number > ?", "(number > ? OR 1 = 1)"),
    (" ORDER BY number", ""),
    (" ORDER BY number", " ORDER BY number DESC"),
    (" ORDER BY kind, name", " ORDER BY name"),
    (" ORDER BY kind, name", ""),
    ("> (?, ?)", ">= (?, ?)"),
    (" ON CONFLICT DO NOTHING", ""),
    ("BEGIN IMMEDIATE", "BEGIN"),
    ("synchronous = ", "synchronous = OFF --"),
    ("COMMIT", "ROLLBACK"),
    ("ROLLBACK", "COMMIT"),
    ("secure_delete = ON", "secure_delete = OFF"),
    ("TRUNCATE", "PASSIVE"),
    (" LIMIT ?", " LIMIT ? + 1"),
    ("tag = ?", "tag = tag || substr(?, 1, 0)"),
    ("revision = ?,", "revision = ? + 1,"),
    ("state = ?", "state = state || substr(?, 1, 0)"),
    (' COLLATE "C"', ""),
    (" IF NOT EXISTS", ""),
    (" OR REPLACE", ""),
    ("PRIMARY KEY (account, kind, name)", "CHECK (true)"),
]
TYPE_VARIABLES = ("TypeVar", "TypeVarTuple", "ParamSpec")


@dataclass(frozen=True)
class Place:
    """Where a node is: its parent, the function it runs in, and the lines of its statement."""

    parent: ast.AST
    field: str
    index: int | None
    path: tuple[ast.stmt, ...] = ()  # classes, and the outermost function
    inside: bool = False  # of that function's body: it does not run at import
    lines: range = range(0)

    @property
    def node(self) -> ast.AST:
        value = getattr(self.parent, self.field)
        return value if self.index is None else value[self.index]


@dataclass(frozen=True)
class Mutant:
    module: str
    name: str  # the text of the line and what was done to it
    line: int
    place: Place
    tree: ast.Module  # valid until the next mutant


def path_of(module: str, root: Path) -> Path:
    base = root / "src" / "vmfa" / module.replace(".", "/")
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def is_typing(node: ast.AST) -> bool:
    """Return whether only a type checker reads *node*."""
    match node:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.ClassDef():
            return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
        case ast.Assign(value=ast.Call(func=ast.Name(id=name))) if name in TYPE_VARIABLES:
            return True
        case ast.Assign(targets=[ast.Name(id="__all__" | "TYPE_CHECKING")]):
            return True
        case ast.Assign(value=ast.Subscript() | ast.BinOp(op=ast.BitOr()) as value):
            return is_a_type(value)
    return False


def is_a_type(node: ast.AST) -> bool:
    """Return whether *node* consists of names of types only, as an alias does."""
    allowed = (ast.Name, ast.Attribute, ast.Subscript, ast.Tuple, ast.List, ast.BinOp, ast.BitOr)
    names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
    return all(
        isinstance(part, (*allowed, ast.Load, ast.Constant)) for part in ast.walk(node)
    ) and all(name[:1].isupper() or name in dir(builtins) for name in names)


def is_for_types(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def places(parent: ast.AST, here: Place) -> Iterator[Place]:
    """Yield every node that runs, without docstrings and annotations."""
    for field, value in ast.iter_fields(parent):
        if field in ("annotation", "returns", "type_comment", "type_params", "ctx"):
            continue
        if is_for_types(parent) and field != "orelse":
            continue
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(node, ast.AST) or is_typing(node):
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # a docstring or an ellipsis
            place = replace(here, parent=parent, field=field, index=index)
            if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef)) and field == "body":
                place = replace(place, inside=True)
            if isinstance(node, ast.stmt):
                last = node.body[0].lineno - 1 if getattr(node, "body", None) else node.end_lineno
                place = replace(place, lines=range(node.lineno, max(last, node.lineno) + 1))
            if not is_for_types(node):
                yield place
            if (
                isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
                and not place.inside
            ):
                place = replace(place, path=(*place.path, node))
            yield from places(node, place)


def breaks(  # noqa: PLR0912  # a list of what can be done
    place: Place, node: ast.AST
) -> Iterator[tuple[str, ast.AST | None]]:
    """Yield changes of *node*: a text and the replacement, or None to drop it from its list."""
    if isinstance(
        node,
        (
            ast.Expr,
            ast.Assign,
            ast.AugAssign,
            ast.Raise,
            ast.Return,
            ast.Delete,
            ast.Assert,
            ast.If,
            ast.For,
            ast.While,
            ast.Continue,
            ast.Break,
        ),
    ) or (isinstance(node, ast.AnnAssign) and node.value is not None):
        yield "deleted", ast.Pass()
    match node:
        case ast.Return(value=ast.expr() as value) if not (
            isinstance(value, ast.Constant) and value.value is None
        ):
            yield "returns None", ast.Return(ast.Constant(None))
        case ast.If() | ast.While() | ast.IfExp():
            for text, test in (
                ("not", ast.UnaryOp(ast.Not(), node.test)),
                ("always", ast.Constant(True)),
                ("never", ast.Constant(False)),
            ):
                if isinstance(node, ast.While) and text == "always":
                    continue
                turned = copy.copy(node)
                turned.test = test
                yield f"condition: {text}", turned
        case ast.Compare():
            for number, old in enumerate(node.ops):
                for new in COMPARED[type(old)]:
                    turned = copy.copy(node)
                    turned.ops = [*node.ops[:number], new(), *node.ops[number + 1 :]]
                    yield f"{type(old).__name__} {number} -> {new.__name__}", turned
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield "and <-> or", ast.BoolOp(other, node.values)
            for number in range(len(node.values)):
                rest = node.values[:number] + node.values[number + 1 :]
                yield (
                    f"without operand {number}",
                    rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest),
                )
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield "sign or not dropped", node.operand
        case ast.BinOp():
            new = COMPUTED.get(type(node.op))
            if new is not None:
                yield (
                    f"{type(node.op).__name__} -> {new.__name__}",
                    ast.BinOp(node.left, new(), node.right),
                )
            yield "left alone", node.left
            yield "right alone", node.right
        case ast.AugAssign():
            new = COMPUTED.get(type(node.op))
            if new is not None:
                yield (
                    f"{type(node.op).__name__} -> {new.__name__}",
                    ast.AugAssign(node.target, new(), node.value),
                )
        case ast.Constant(value=bool() as value):
            yield "turned", ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield "+ 1", ast.Constant(value + 1)
            yield "- 1", ast.Constant(value - 1)
        case ast.Constant(value=str() as value):
            yield "other text", ast.Constant("XX" + value)
            mark = "%s" if "%s" in value else "?"
            for old_text, new_text in (
                (old.replace("?", mark), new.replace("?", mark)) for old, new in SQL
            ):
                if old_text in value and " " in value:
                    yield (
                        f"SQL {old_text!r} -> {new_text!r}",
                        ast.Constant(value.replace(old_text, new_text, 1)),
                    )
        case ast.Constant(value=bytes() as value):
            yield "other bytes", ast.Constant(b"XX" + value)
        case ast.comprehension() if node.ifs:
            yield (
                "without its condition",
                ast.comprehension(node.target, node.iter, [], node.is_async),
            )
        case ast.keyword(arg=str()):
            yield "argument dropped", None
        case ast.Call():
            if isinstance(node.func, ast.Name) and node.func.id in EXCHANGED:
                yield (
                    "exchanged",
                    ast.Call(
                        ast.Name(EXCHANGED[node.func.id], ast.Load()), node.args, node.keywords
                    ),
                )
            if isinstance(node.func, ast.Attribute) and node.func.attr in EXCHANGED:
                changed = ast.Attribute(node.func.value, EXCHANGED[node.func.attr], ast.Load())
                yield "exchanged", ast.Call(changed, node.args, node.keywords)
        case ast.Dict():
            for number, value in enumerate(node.values):
                before, behind = node.values[:number], node.values[number + 1 :]
                yield (
                    f"without item {number}",
                    ast.Dict(node.keys[:number] + node.keys[number + 1 :], before + behind),
                )
                other = next((item for item in behind + before if differs(item, value)), None)
                if other is not None:
                    yield (
                        f"item {number} with the value of another",
                        ast.Dict(node.keys, [*before, other, *behind]),
                    )
    if place.field == "elts" and isinstance(place.parent, ast.Set):
        yield "member dropped", None
    if place.field == "decorator_list":
        yield "decorator dropped", None
    if (
        place.field == "args"
        and isinstance(place.parent, ast.Call)
        and not isinstance(node, ast.Constant)
    ):
        yield "argument None", ast.Constant(None)
    if place.field == "handlers":
        yield "handler dropped", None


def differs(node: ast.expr, other: ast.expr) -> bool:
    """Return whether two values of a dict are different names or calls."""
    return not isinstance(other, ast.Constant) and ast.dump(node) != ast.dump(other)


def line_of(node: ast.AST, done: str) -> int | None:
    """Return the line that a change of *node* is on: that of its entry in a dict."""
    item = re.search(r"item (\d+)", done)
    if isinstance(node, ast.Dict) and item is not None:
        number = int(item[1])
        return (node.keys[number] or node.values[number]).lineno
    return None


def mutants(module: str, text: str) -> Iterator[Mutant]:
    """Yield every mutant of *module*, whose source is *text*."""
    lines = text.splitlines()
    tree = ast.parse(text)
    seen: Counter[str] = Counter()
    for place in list(places(tree, Place(tree, "body", None))):
        parent, field, node = place.parent, place.field, place.node
        value = getattr(parent, field)
        candidates = (node, getattr(node, "iter", None), parent)
        placed = next((part for part in candidates if hasattr(part, "lineno")), None)
        line = placed.lineno if placed is not None else place.lines.start
        statement_line = line
        for done, new in breaks(place, node):
            line = line_of(node, done) or statement_line
            if new is not None:
                ast.copy_location(new, node if hasattr(node, "lineno") else parent)
                ast.fix_missing_locations(new)
            if place.index is None:
                setattr(parent, field, new)
            else:
                before, behind = value[: place.index], value[place.index + 1 :]
                setattr(parent, field, [*before, *([] if new is None else [new]), *behind])
            if field not in ("body", "orelse", "handlers") or getattr(parent, field):
                name = f"{lines[line - 1].strip() if line else ''} | {fragment(node)} | {done}"
                seen[name] += 1
                yield Mutant(
                    module, name if seen[name] == 1 else f"{name} #{seen[name]}", line, place, tree
                )
            setattr(parent, field, value)


def fragment(node: ast.AST) -> str:
    try:
        return ast.unparse(node).split("\n")[0][:60]
    except (AttributeError, ValueError):
        return type(node).__name__
