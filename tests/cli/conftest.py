"""A terminal in the test's process: the real ``main``, over real files, with a clock moved by hand."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import MASTER, HandClock, Phone
from vmfa import Key
from vmfa.cli.main import main


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def facts(self) -> dict[str, Any]:
        """The one JSON object of standard output."""
        return json.loads(self.out)

    @property
    def problem(self) -> dict[str, Any]:
        """The one JSON object of standard error."""
        return json.loads(self.err)


class Typewriter(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


class Terminal:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.db = folder / "mfa.db"
        self.key_file = folder / "master.key"
        self.key_file.write_bytes(MASTER)
        self.key_file.chmod(0o600)
        self.clock = HandClock()
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        monkeypatch.setenv("VMFA_DB", os.fspath(self.db))
        monkeypatch.setenv("VMFA_KEY_FILE", os.fspath(self.key_file))

    def run(self, *arguments: str, typed: str | bytes = "", tty: bool = False) -> Outcome:
        """One command with *typed* on its standard input, which may claim to be a terminal."""
        raw = typed.encode() if isinstance(typed, str) else typed
        stdin = (Typewriter if tty else io.TextIOWrapper)(io.BytesIO(raw))
        self._monkeypatch.setattr("sys.stdin", stdin)
        self._capsys.readouterr()
        code = main(arguments, clock=self.clock)
        return Outcome(code, *self._capsys.readouterr())

    def json(self, *arguments: str, typed: str | bytes = "") -> dict[str, Any]:
        """The facts of a command that must succeed."""
        outcome = self.run(*arguments, "--json", typed=typed)
        assert outcome.code == 0, outcome.err
        return outcome.facts

    def wizard(self, *principal: str) -> Phone:
        """Open the wizard and load a phone."""
        opened = self.json("enroll", *principal, "--label", "alice@example.com")
        return Phone(Key.from_base32(opened["base32"]), self.clock)

    def enroll(self, *principal: str, steps_off: int = 0) -> Phone:
        """Through the wizard: the phone of an assigned device, and a later step."""
        phone = self.wizard(*principal)
        self.json("confirm", *principal, *phone.pair(steps_off).values())
        self.clock.advance(30)
        return phone


@pytest.fixture
def terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Terminal:
    return Terminal(tmp_path, capsys, monkeypatch)
