"""The command line page lists the commands, the exit codes and the JSON keys of the program."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tables import DOCS, rows
from vmfa.__main__ import main
from vmfa.testing import AuthenticatorApp, FrozenClock

PAGE = DOCS / "cli.md"


def top_level_keys(cell: str) -> list[str]:
    """Return the keys of the object, without those of the objects in it."""
    return [key for part in cell.split(";") for key in re.findall(r"`(\w+)`", part.split(":")[0])]


DOCUMENTED = {
    command: sorted(top_level_keys(cell))
    for commands, cell in rows(PAGE, "command")
    for command in re.findall(r"`([a-z -]+)`", commands)
}


def test_every_command_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    commands = re.findall(r"^ +([a-z-]+)  +[A-Z]", capsys.readouterr().out, re.MULTILINE)
    usages = re.findall(r"^`vmfa ([\w-]+)", PAGE.read_text(), re.MULTILINE)
    assert list(dict.fromkeys(usages)) == commands


def test_every_exit_code_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--help"]) == 0
    codes = re.findall(r"\b(\d+) ", capsys.readouterr().out.partition("exit codes:")[2])
    assert [code for code, _ in rows(PAGE, "exit code")] == codes


@pytest.mark.parametrize("command", ["demo", "policy", "selftest", "keys generate"])
def test_the_json_keys_are_documented(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = [str(tmp_path / "master.key")] if command == "keys generate" else []
    assert main([*command.split(), *file, "--json"]) == 0
    assert sorted(json.loads(capsys.readouterr().out)) == DOCUMENTED[command]


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"], ["template", "python"], ["vectors", "--case", "baseline"],
        ["run", "--python", "vmfa.conformance.own:memory", "--case", "baseline"],
    ],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_the_json_keys_of_the_conformance_kit_are_documented(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["conformance", *arguments, "--json"]) == 0
    documented = DOCUMENTED[f"conformance {arguments[0]}"]
    assert sorted(json.loads(capsys.readouterr().out)) == documented


def test_the_json_keys_of_device_commands_are_documented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = FrozenClock()
    monkeypatch.setenv("VMFA_DB", str(tmp_path / "mfa.db"))
    monkeypatch.setenv("VMFA_KEY_FILE", str(tmp_path / "master.key"))

    def run(command: str, *arguments: str) -> dict[str, str]:
        assert main([*command.split(), *arguments, "--json"], clock=clock) == 0
        result: dict[str, str] = json.loads(capsys.readouterr().out)
        assert sorted(result) == DOCUMENTED[command], command
        return result

    uri = run("enroll", "1/u", "--label", "u", "--create-key-file")["uri"]
    phone = AuthenticatorApp(clock).scan(uri)
    run("confirm", "1/u", phone.code(-1), phone.code())
    run("verify", "1/u", phone.code(+1))
    clock.advance(120)
    run("resync", "1/u", phone.code(-1), phone.code())
    for command in ("show", "history"):
        run(command, "1/u")
    for command in ("list", "audit verify", "audit export"):
        run(command, "1")
    checkpoint = tmp_path / "checkpoint.json"
    checkpoint.write_text(json.dumps(run("audit checkpoint", "1")))
    run("audit compare", str(checkpoint))
    for command in ("keys report", "keys reseal", "keys rekey"):
        run(command, "1")
    run("keys audit-key", str(tmp_path / "audit.key"))
    for command in ("store copy", "store compare"):
        run(command, str(tmp_path / "mfa.db"), str(tmp_path / "copy.db"))
    run("mark-spent", "1/u", "--until", str(int(clock())))
    for command in ("support client-token", "support restore-budget"):
        run(command, "1/u")
    run("deactivate", "1/u")
