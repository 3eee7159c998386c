"""The threat model names code that exists and tests that exist, and only phishing goes without."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/threat-model.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| adversary")
]


def names(cell: str) -> list[str]:
    return [each.strip("`") for each in cell.split(", ")] if cell else []


@pytest.mark.parametrize("name", sorted({name for row in ROWS for name in names(row[2])}))
def test_the_code_exists(name: str) -> None:
    found: object = import_module("vmfa")
    path = "vmfa"
    for part in name.split("."):
        path += f".{part}"
        found = getattr(found, part) if hasattr(found, part) else import_module(path)
    assert found is not None


@pytest.mark.parametrize("test", sorted({test for row in ROWS for test in names(row[3])}))
def test_the_test_exists(test: str) -> None:
    path, _, function = test.partition("::")
    assert (TESTS / path).exists()
    if function:
        defined = {node.name for node in ast.walk(ast.parse((TESTS / path).read_text())) if hasattr(node, "name")}
        assert function in defined


def test_only_phishing_goes_without() -> None:
    assert [row[0] for row in ROWS if not (row[2] and row[3])] == ["phishes: relays a code as it is typed"]
