"""A terminal in the process of the test: the real ``main``, real files, and a frozen clock."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vmfa.cli.main import main
from vmfa.testing import AuthenticatorApp, FrozenClock
from vmfa.testing.authenticator import Account

MASTER = bytes(range(32))


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        return json.loads(self.out)

    @property
    def problem(self) -> dict[str, Any]:
        """The one JSON object on standard error."""
        return json.loads(self.err)


class TerminalInput(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


class Terminal:
    def __init__(
        self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.folder = folder
        self.db = folder / "mfa.db"
        self.key_file = folder / "master.key"
        self.key_file.write_bytes(MASTER)
        self.key_file.chmod(0o600)
        self.clock = FrozenClock()
        self.prompts: list[str] = []
        self.getpass: Callable[[str], str] | None = None  # instead of reading what is typed
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        monkeypatch.setenv("VMFA_DB", os.fspath(self.db))
        monkeypatch.setenv("VMFA_KEY_FILE", os.fspath(self.key_file))

    def run(self, *arguments: str, typed: str | bytes = "", tty: bool = False) -> Outcome:
        """Run one command with *typed* on its standard input, which may be a terminal."""
        raw = typed.encode() if isinstance(typed, str) else typed
        stdin = (TerminalInput if tty else io.TextIOWrapper)(io.BytesIO(raw))

        def getpass(prompt: str) -> str:
            self.prompts.append(prompt)
            return stdin.readline().rstrip("\n")

        self._monkeypatch.setattr("sys.stdin", stdin)
        self._monkeypatch.setattr("vmfa.cli.io.getpass", self.getpass or getpass)
        self._capsys.readouterr()
        code = main(arguments, clock=self.clock)
        return Outcome(code, *self._capsys.readouterr())

    def json(self, *arguments: str, typed: str | bytes = "") -> dict[str, Any]:
        """Return the data of a command that must succeed."""
        outcome = self.run(*arguments, "--json", typed=typed)
        assert outcome.code == 0, outcome.err
        return outcome.data

    def start_enrollment(self, *principal: str) -> Account:
        """Open an enrollment, and return the account on the phone that scanned the URI."""
        opened = self.json("enroll", *principal, "--label", "alice@example.com")
        return AuthenticatorApp(self.clock).scan(opened["uri"])

    def enroll(self, *principal: str, steps_off: int = 0) -> Account:
        """Assign a device, go to the next step, and return the account on the phone."""
        phone = self.start_enrollment(*principal)
        self.json("confirm", *principal, *phone.two_codes(steps_off))
        self.clock.advance(30)
        return phone

    def edit_database(self, statement: str, *values: str) -> None:
        """Change the database behind the back of the library."""
        with closing(sqlite3.connect(self.db)) as database, database:
            database.execute(statement, values)


@pytest.fixture
def terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Terminal:
    return Terminal(tmp_path, capsys, monkeypatch)


@pytest.fixture
def time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine stands in Kathmandu, five hours and three quarters ahead of UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "<+0545>-5:45")
        time.tzset()
        yield
    time.tzset()
