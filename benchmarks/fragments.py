"""Write measured tables into the documentation.

``write()`` stores the tables of a run in ``docs/_data/NAME.json`` and renders them as
``docs/_generated/NAME.md``. ``python benchmarks/fragments.py`` renders all stored runs again.
A page includes one table of a fragment::

    ```{include} _generated/NAME.md
    :start-after: "<!-- KEY -->"
    :end-before: "<!-- end -->"
    ```
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

DOCS = Path(__file__).parents[1] / "docs"
HEADER = "<!-- Written by `python -m benchmarks --write-docs`. Do not edit. -->"


class StoredTable(TypedDict):
    """A table as it is stored: the column titles and the cells, all text."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class StoredRun(TypedDict):
    """The tables of one run by key, and the versions it was measured with."""

    environment: str
    tables: Mapping[str, StoredTable]


def write(name: str, run: StoredRun, docs: Path = DOCS) -> None:
    """Store the tables of *run* and render them."""
    data = docs / "_data" / f"{name}.json"
    data.parent.mkdir(exist_ok=True)
    data.write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    fragment = docs / "_generated" / f"{name}.md"
    fragment.parent.mkdir(exist_ok=True)
    fragment.write_text(render(run), encoding="utf-8")


def load(name: str, docs: Path = DOCS) -> StoredRun:
    """Return the run that is stored under *name*."""
    run: StoredRun = json.loads((docs / "_data" / f"{name}.json").read_text(encoding="utf-8"))
    return run


def render(run: StoredRun) -> str:
    """Return the fragment: the environment and each table between its key and an end mark."""
    sections = {"environment": [f"*Measured with {run['environment']}.*"]}
    for key, table in run["tables"].items():
        lines = [table["head"], ["---"] * len(table["head"]), *table["rows"]]
        sections[key] = [f"| {' | '.join(cells)} |" for cells in lines]
    parts = [
        "\n".join([f"<!-- {key} -->", *lines, "<!-- end -->"]) for key, lines in sections.items()
    ]
    return "\n\n".join([HEADER, *parts]) + "\n"


def main() -> None:
    """Render every stored run."""
    for data in sorted((DOCS / "_data").glob("*.json")):
        write(data.stem, load(data.stem))


if __name__ == "__main__":
    main()
