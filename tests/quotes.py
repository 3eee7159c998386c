"""Copy code of the example applications into the how-to pages, which are read as plain Markdown.

``python tests/quotes.py`` writes the pages; ``--check`` fails if one is out of date. A quote is a
comment that names the object, and the code after it::

    <!-- from ../examples/flask/web.py: next_page -->
    ```py
    def next_page(user: User) -> str:
    ```

A ``literalinclude`` of such an object becomes a quote.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Final

HOWTO: Final = Path(__file__).parents[1] / "docs/howto"
QUOTE: Final = re.compile(
    r"^<!-- from (?P<path>\S+): (?P<name>\w+) -->\n```py\n.*?^```$", re.MULTILINE | re.DOTALL
)
INCLUDE: Final = re.compile(
    r"^```\{literalinclude\} (?P<path>\S+)\n:pyobject: (?P<name>\w+)\n```$", re.MULTILINE
)


def code_of(path: Path, name: str) -> str:
    """Return the source of a function or class of the module *path*, with its decorators."""
    source = path.read_text()
    kinds = ast.AsyncFunctionDef | ast.ClassDef | ast.FunctionDef
    for node in ast.parse(source).body:
        if isinstance(node, kinds) and node.name == name:
            first = min([node.lineno, *(part.lineno for part in node.decorator_list)])
            return "\n".join(source.splitlines()[first - 1 : node.end_lineno])
    raise LookupError(f"{path} has no function or class {name}")


def with_quotes(page: Path) -> str:
    """Return the text of *page* with the present code in every quote."""

    def quote(match: re.Match[str]) -> str:
        path, name = match["path"], match["name"]
        code = code_of((page.parent / path).resolve(), name)
        return f"<!-- from {path}: {name} -->\n```py\n{code}\n```"

    return QUOTE.sub(quote, INCLUDE.sub(quote, page.read_text()))


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` print those that are out of date."""
    pages = sorted(HOWTO.glob("*.md"))
    outdated = [page for page in pages if with_quotes(page) != page.read_text()]
    for page in outdated:
        print(page.name)
        if "--check" not in arguments:
            page.write_text(with_quotes(page))
    return int(bool(outdated) and "--check" in arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
