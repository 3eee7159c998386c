"""Each pointer of the control mapping and of the evidence pages exists."""

from __future__ import annotations

import re
import tomllib

import pytest

from tables import DOCS, rows
from vmfa import Policy
from vmfa.cli.evidence import CONTENTS
from vmfa.cli.parser import commands
from vmfa.self_test import computed_by

PAGE = DOCS / "control-mapping.md"
CLAUSES = tomllib.loads((DOCS / "clauses.toml").read_text())
ROWS = rows(PAGE, "control")
CITED = sorted({name for row in ROWS for name in row[2].split(", ") if name})
COMMANDS = sorted({name for row in ROWS for name in re.findall(r"`vmfa ([a-z -]+)`", row[3])})
REQUIRED = {  # the controls of the mapping, by their framework
    "NIST SP 800-53 Rev. 5": ["IA-2", "IA-5", "AC-7", "AU-9", "AU-10", "SC-12", "SC-13"],
    "ISO/IEC 27001:2022, Annex A": ["5.17", "8.5", "8.15", "8.24"],
    "SOC 2, common criteria": ["CC6.1", "CC7.2"],
    "PCI DSS 4.0.1, requirement 8": ["8.3.4", "8.4.1", "8.5.1"],
}


@pytest.mark.parametrize("name", CITED)
def test_a_cited_requirement_is_met(name: str) -> None:
    assert CLAUSES[name]["status"] == "met"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_named_command_exists(name: str) -> None:
    assert name in commands()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].split()[0].strip(","))
def test_a_control_has_a_contribution_and_evidence(row: list[str]) -> None:
    assert len(row) == 5
    assert row[1]
    assert row[2] or row[3]


@pytest.mark.parametrize(("heading", "controls"), REQUIRED.items())
def test_the_required_controls_are_mapped(heading: str, controls: list[str]) -> None:
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    for control in controls:
        pattern = rf"^\| ([^|]*[ ,])?{re.escape(control)}\b"
        assert re.search(pattern, section, re.MULTILINE), control


def test_the_policy_for_pci_is_possible() -> None:
    assert "`failure_cap=10`" in PAGE.read_text()
    assert Policy(failure_cap=10).failure_cap == 10


def test_the_evidence_page_lists_the_files_of_the_pack() -> None:
    cells = " ".join(row[0] for row in rows(DOCS / "evidence.md", "file"))
    listed = set(re.findall(r"`([\w.]+)`", cells))
    assert {name.partition(".")[0] for name in listed} == {*CONTENTS, "manifest", "SHA256SUMS"}


def test_the_inventory_names_what_computes_each_algorithm() -> None:
    cells = [row[3] for row in rows(DOCS / "crypto-inventory.md", "what for")]
    named = {name for cell in cells for name in re.findall("`([^`]+)`", cell)}
    assert named == {name for name, _ in computed_by()}
