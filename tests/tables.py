"""Read the tables of a page of the documentation."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def rows(page: Path, head: str) -> list[list[str]]:
    """The cells of each row of the tables of *page* whose first heading is *head*."""
    result: list[list[str]] = []
    inside = False
    for line in page.read_text().splitlines():
        if not line.startswith("|"):
            inside = False
        elif line.startswith(f"| {head} |"):
            inside = True
        elif inside and not line.startswith("|---"):
            result.append([cell.strip() for cell in line.strip("|").split("|")])
    assert result, head
    return result
