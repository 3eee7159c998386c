"""The threat model cites met requirements and existing tests. Only phishing has no mitigation."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
CLAUSES = tomllib.loads((ROOT / "docs/clauses.toml").read_text())
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/threat-model.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| an attacker")
]
EVIDENCE = sorted({name for row in ROWS for name in row[2].split(", ") if name})


@pytest.mark.parametrize("name", [name for name in EVIDENCE if not name.startswith("`")])
def test_a_cited_requirement_is_met(name: str) -> None:
    assert CLAUSES[name]["status"] == "met"


@pytest.mark.parametrize("name", [name.strip("`") for name in EVIDENCE if name.startswith("`")])
def test_a_cited_test_exists(name: str) -> None:
    path, _, function = name.partition("::")
    assert (TESTS / path).exists()
    if function:
        tree = ast.parse((TESTS / path).read_text())
        assert function in {node.name for node in ast.walk(tree) if hasattr(node, "name")}


def test_only_phishing_has_no_mitigation() -> None:
    without = [row[0] for row in ROWS if row[1] == "none" or not row[2]]
    assert without == ["relays a code while the user types it (phishing)"]
