"""The tables of a page, as rows of cells."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def rows(page: Path, head: str) -> list[list[str]]:
    """The rows of each table of *page* whose first line begins with *head*."""
    found: list[list[str]] = []
    inside = False
    for line in page.read_text().splitlines():
        if not line.startswith("|"):
            inside = False
        elif line.startswith(f"| {head} |"):
            inside = True
        elif inside and not line.startswith("|---"):
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    assert found, head
    return found
