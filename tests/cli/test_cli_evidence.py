"""``vmfa audit evidence``: a folder of reports, each with its digest."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vmfa.installation import project_file, vmfa_version

if TYPE_CHECKING:
    from conftest import Terminal

REPORTS = ["selftest.json", "selftest.txt", "policy.json", "policy.txt"]
AUDIT = ["audit.json", "audit.txt", "checkpoint.json"]
OTHERS = ["traceability.md", "vmfa.cdx.json", "versions.json", "manifest.json"]


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_folder_contains_every_report_and_its_digest(terminal: Terminal) -> None:
    terminal.enroll("1/alice")
    folder = terminal.folder / "evidence"
    outcome = terminal.run("audit", "evidence", str(folder), "1")
    assert (outcome.code, outcome.err) == (0, "")
    names = [*REPORTS, *AUDIT, *OTHERS]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "SHA256SUMS"])
    digests = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in [*names, "SHA256SUMS"]
    }
    *lines, last = outcome.out.splitlines()
    assert lines == [f"{digests[name]}  {name}" for name in names]
    assert last == f"digest of SHA256SUMS: {digests['SHA256SUMS']}"
    assert (folder / "SHA256SUMS").read_text() == "".join(f"{line}\n" for line in lines)
    manifest = read(folder / "manifest.json")
    assert {name: row["sha256"] for name, row in manifest["files"].items()} == {
        name: digests[name] for name in names[:-1]
    }
    assert all(row["about"] for row in manifest["files"].values())
    assert manifest["files"]["policy.txt"]["bytes"] == (folder / "policy.txt").stat().st_size
    assert manifest["missing"] == {}


def test_sha256sum_checks_the_folder(terminal: Terminal) -> None:
    folder = terminal.folder / "evidence"
    terminal.json("audit", "evidence", str(folder))
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(command, cwd=folder, check=False).returncode == 0
    (folder / "policy.txt").write_text("another policy")
    result = subprocess.run(command, cwd=folder, check=False, capture_output=True)
    assert result.returncode != 0


def test_the_files_are_those_of_the_single_commands(terminal: Terminal) -> None:
    terminal.enroll("1/alice")
    folder = terminal.folder / "evidence"
    terminal.json("audit", "evidence", str(folder), "1", "--strict", "--reenrollments", "3")
    policy = ("policy", "--strict", "--reenrollments", "3")
    for name, command in {
        "selftest": ("selftest",), "policy": policy, "audit": ("audit", "verify", "1"),
    }.items():  # fmt: skip
        assert read(folder / f"{name}.json") == terminal.json(*command)
        assert (folder / f"{name}.txt").read_text() == terminal.run(*command).out
    assert read(folder / "checkpoint.json") == terminal.json("audit", "checkpoint", "1")
    for name in ("traceability.md", "vmfa.cdx.json"):
        assert (folder / name).read_text() == project_file(name)
    versions = read(folder / "versions.json")
    assert versions["packages"]["vmfa"] == vmfa_version()
    assert versions["environment"] == terminal.json("policy")["environment"]


def test_only_the_owner_can_read_the_folder(terminal: Terminal) -> None:
    folder = terminal.folder / "evidence"
    terminal.json("audit", "evidence", str(folder))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_without_an_account_no_key_and_no_database_is_needed(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VMFA_DB")
    monkeypatch.delenv("VMFA_KEY_FILE")
    folder = terminal.folder / "evidence"
    data = terminal.json("audit", "evidence", str(folder))
    assert data["missing"] == {"audit.json": "no account was given"}
    assert sorted(data["files"]) == sorted([*REPORTS, *OTHERS])
    assert data["folder"] == str(folder)
    assert read(folder / "manifest.json")["missing"] == data["missing"]


def test_a_document_that_is_not_installed_is_named(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmfa.cli.evidence.project_file", lambda name: None)
    folder = terminal.folder / "evidence"
    out = terminal.run("audit", "evidence", str(folder)).out
    assert "missing: traceability.md: this installation does not have it\n" in out
    assert not (folder / "traceability.md").exists()


def test_a_broken_history_is_filed_and_fails(terminal: Terminal) -> None:
    terminal.enroll("1/alice")
    terminal.edit_database("UPDATE principal SET revision = revision + 1")
    folder = terminal.folder / "evidence"
    outcome = terminal.run("audit", "evidence", str(folder), "1")
    assert outcome.code == 5
    assert "1/user/alice" in outcome.err
    (row,) = read(folder / "audit.json")["principals"]
    assert row["reason"] == "record tampered"
    assert read(folder / "checkpoint.json")["checkpoints"] == []


def test_a_folder_that_exists_is_not_changed(terminal: Terminal) -> None:
    folder = terminal.folder / "evidence"
    folder.mkdir()
    outcome = terminal.run("audit", "evidence", str(folder))
    assert outcome.code == 5
    assert outcome.err == "vmfa: the folder exists already and was not changed\n"
    assert list(folder.iterdir()) == []
    outcome = terminal.run("audit", "evidence", str(folder / "no" / "such"))
    assert (outcome.code, "cannot be created: No such" in outcome.err) == (5, True)


def test_nothing_is_written_if_a_report_cannot_be_made(terminal: Terminal) -> None:
    folder = terminal.folder / "evidence"
    assert terminal.run("audit", "evidence", str(folder), "1").code == 5  # no database
    assert not folder.exists()
