"""The command line as a process: real arguments, real streams, real time, and being killed."""

from __future__ import annotations

import json
import os
import pty
import runpy
import signal
import sqlite3
import subprocess
import sys
import time
from base64 import b32encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vmfa import Key, totp

pytestmark = pytest.mark.slow

ALICE = "123456789012/u-4711"
VMFA = [sys.executable, "-m", "vmfa"]
PROMPT = b"key in Base32 (not shown): "


class Shell:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "VMFA_DB": os.fspath(folder / "mfa.db"),
            "VMFA_KEY_FILE": os.fspath(folder / "master.key"),
            "PYTHONWARNINGS": "error",
        }
        self.environment.pop(
            "PYTHONUNBUFFERED", None
        )  # what is buffered fails once more as Python ends

    def run(self, *arguments: str | bytes, **streams: Any) -> subprocess.CompletedProcess[bytes]:
        streams = {"input": b"", "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        ended = subprocess.run(
            [*VMFA, *arguments], env=self.environment, timeout=60, check=False, **streams
        )
        assert b"Traceback" not in (ended.stderr or b""), ended.stderr
        assert b"Exception ignored" not in (ended.stderr or b""), ended.stderr
        return ended

    def json(self, *arguments: str, **streams: Any) -> dict[str, Any]:
        ended = self.run(*arguments, "--json", **streams)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command that waits for its standard input."""
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([*VMFA, *arguments], env=self.environment, **streams)  # type: ignore[call-overload,no-any-return]  # one set of streams


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


@dataclass
class AtTerminal:
    """``vmfa code`` whose standard input is a terminal, waiting for a key to be typed."""

    process: subprocess.Popen[bytes]
    keyboard: int


@pytest.fixture
def at_terminal(shell: Shell) -> Iterator[AtTerminal]:
    keyboard, terminal = pty.openpty()
    with subprocess.Popen(
        [*VMFA, "code"],
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
        env=shell.environment,
        start_new_session=True,
    ) as process:
        os.close(terminal)
        assert process.stderr is not None
        assert process.stderr.read(len(PROMPT)) == PROMPT
        yield AtTerminal(process, keyboard)
    os.close(keyboard)


def test_every_command_in_a_process_of_its_own_with_kills_between(shell: Shell) -> None:
    opened = shell.json("enroll", ALICE, "--label", "alice@example.com", "--create-key-file")
    key, now = Key.from_base32(opened["base32"]), time.time()
    step = iter(range(-1, 10))  # so that all goes well too if the step of real time ends meanwhile

    def code() -> str:
        return totp(key, now + 30 * next(step))

    kill(shell.start("confirm", ALICE))
    assert shell.json("list", "123456789012")["principals"][0]["state"] == "no device"
    assert (
        shell.json("confirm", ALICE, input=f"{code()}\n{code()}\n".encode())["sync"] == "in sync"
    )
    kill(shell.start("verify", ALICE))
    accepted = code()
    assert shell.json("verify", ALICE, accepted)["serial"] == opened["serial"]
    assert shell.run("verify", ALICE, accepted).returncode == 1
    shell.json("resync", ALICE, code(), code())
    shell.json("verify", ALICE, "-", input=code().encode())
    assert shell.json("show", ALICE)["sync"] == "in sync"
    assert [event["type"] for event in shell.json("history", ALICE)["events"]] == [
        "enrollment opened",
        "device assigned",
        "device resynchronized",
    ]
    exported = shell.json("audit", "checkpoint", "123456789012")
    assert len(exported["checkpoints"]) == 1
    shell.json("audit", "compare", "-", input=json.dumps(exported).encode())
    shell.json("deactivate", ALICE)
    assert shell.run("verify", ALICE, code()).returncode == 4
    shown = shell.json("code", input=opened["base32"].encode())
    assert shown["code"] in {totp(key, time.time() - 30), totp(key, time.time())}
    assert 1 <= shown["seconds_left"] <= 30
    assert shell.json("demo")["passed"] is True
    assert shell.json("selftest")["passed"] is True


def test_the_script_is_installed() -> None:
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="vmfa")
    assert script.value == "vmfa.cli.main:main"


def test_ctrl_c_is_reported_in_one_sentence(at_terminal: AtTerminal) -> None:
    at_terminal.process.send_signal(signal.SIGINT)
    _, err = at_terminal.process.communicate(timeout=60)
    assert err.strip() == b"vmfa: interrupted"
    assert at_terminal.process.returncode == 130


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([b"verify", b"a/\xff\xfe", b"123456"], 2),
        ([b"\xff"], 2),
        ([b"list", b"a", b"--json=\xff"], 2),
        ([b"show", b"a/b", b"--db", b"\xff.db"], 5),
        ([b"show", b"a/b", b"--as", b"support:\xff"], 5),
        ([b"enroll", b"a/b", b"--label", b"\xff", b"--create-key-file"], 2),
    ],
)
def test_arguments_that_are_not_text(shell: Shell, arguments: list[bytes], code: int) -> None:
    ended = shell.run(*arguments)
    assert ended.returncode == code
    assert ended.stderr.startswith(b"vmfa: ")


def test_a_reader_that_leaves_is_reported_in_one_sentence(shell: Shell) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as pipe:
        ended = shell.run("selftest", stdout=pipe)
    assert ended.returncode == 5
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["selftest"], ["--help"]])
def test_a_full_disk_under_the_output(shell: Shell, arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        ended = shell.run(*arguments, stdout=full)
    assert ended.returncode == 5
    assert ended.stderr.count(b"\n") == 1


def test_a_closed_output_opens_no_enrollment(shell: Shell) -> None:
    command = 'exec "$0" -m vmfa enroll a/b --label x --create-key-file >&-'
    ended = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable], env=shell.environment, check=False
    )
    assert ended.returncode == 5
    assert list(shell.folder.iterdir()) == []


def test_a_key_typed_at_a_terminal_is_not_shown(at_terminal: AtTerminal) -> None:
    os.write(at_terminal.keyboard, b"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\n")
    _, err = at_terminal.process.communicate(timeout=60)
    assert at_terminal.process.returncode == 0
    shown = os.read(at_terminal.keyboard, 1024)
    assert b"seconds left" in shown
    assert b"GEZD" not in shown + err


def test_a_code_typed_at_a_terminal_is_not_shown(shell: Shell) -> None:
    opened = shell.json("enroll", ALICE, "--label", "x", "--create-key-file")
    key, now = Key.from_base32(opened["base32"]), time.time()
    shell.json("confirm", ALICE, totp(key, now - 30), totp(key, now))
    keyboard, terminal = pty.openpty()
    prompt = b"code (not shown): "
    with subprocess.Popen(
        [*VMFA, "verify", ALICE],
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
        env=shell.environment,
        start_new_session=True,
    ) as process:
        os.close(terminal)
        assert process.stderr is not None
        assert process.stderr.read(len(prompt)) == prompt
        code = totp(key, now + 30).encode()
        os.write(keyboard, code + b"\n")
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    shown = os.read(keyboard, 1024)
    os.close(keyboard)
    assert b"accepted at" in shown
    assert code not in shown + err


def test_a_killed_enrollment_leaves_no_key_file_or_one_that_works(shell: Shell) -> None:
    for delay in (0.02, 0.06, 0.1, 0.14, 0.2):
        process = shell.start("enroll", ALICE, "--label", "x", "--create-key-file")
        time.sleep(delay)
        process.kill()
        process.communicate(timeout=60)
        key_file = shell.folder / "master.key"
        if key_file.exists():
            assert key_file.stat().st_size == 32
            ended = shell.run("enroll", ALICE, "--label", "x")
            assert ended.returncode == 0, ended.stderr
        key_file.unlink(missing_ok=True)
        (shell.folder / "mfa.db").unlink(missing_ok=True)


def test_a_fifo_as_key_file_does_not_hang(shell: Shell) -> None:
    os.mkfifo(shell.folder / "master.key", 0o600)
    ended = shell.run("enroll", ALICE, "--label", "x")
    assert ended.returncode == 5
    assert b"is not a regular file" in ended.stderr


def test_the_package_runs_as_a_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "vmfa.__main__", raising=False)
    monkeypatch.setattr("sys.argv", ["vmfa", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("vmfa", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("vmfa ")


def test_the_command_line_works_without_optional_packages(shell: Shell) -> None:
    block = "; ".join(
        f"sys.modules[{name!r}] = None" for name in ("cryptography", "psycopg", "segno")
    )
    code = f"import sys; {block}; from vmfa.cli.main import main; sys.exit(main(['selftest']))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=shell.folder, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


# A long import


def lines_of(count: int) -> Iterator[str]:
    """Yield key URIs with keys of their own. Every hundredth is HOTP."""
    for number in range(count):
        key = b32encode(number.to_bytes(20)).decode()
        yield f"u-{number} otpauth://{'totp' if number % 100 else 'hotp'}/alice?secret={key}\n"


def stored(folder: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{folder / 'mfa.db'}?mode=ro", uri=True)) as db:
            return db.execute("SELECT count(*) FROM principal").fetchone()[0]
    except sqlite3.OperationalError:
        return 0  # not created yet


@pytest.mark.parametrize("count", [3000])
def test_an_import_that_is_killed_is_completed_by_the_next_one(shell: Shell, count: int) -> None:
    source = shell.folder / "uris"
    source.write_text("".join(lines_of(count)))
    arguments = ("import", "otpauth", os.fspath(source), "--account", "123456789012")
    process = shell.start(*arguments, "--create-key-file")
    while stored(shell.folder) < count // 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    done = stored(shell.folder)
    assert count // 3 <= done < count * 99 // 100
    again = shell.run(*arguments, "--json")
    data = json.loads(again.stdout)
    assert again.returncode == 6
    assert data["already adopted"] in {done, done + 1}  # a commit can end after the look
    assert data["adopted"] == count * 99 // 100 - data["already adopted"]
    assert (data["refused"], data["conflict"]) == (count // 100, 0)
    assert stored(shell.folder) == count * 99 // 100
    third = json.loads(shell.run(*arguments, "--json").stdout)
    assert third["already adopted"] == count * 99 // 100


def test_a_terminal_shows_the_progress_of_an_import(shell: Shell) -> None:
    (shell.folder / "uris").write_text("".join(lines_of(250)))
    master, slave = pty.openpty()
    ended = shell.run(
        "import", "otpauth", os.fspath(shell.folder / "uris"), "--account", "123456789012",
        "--create-key-file", "--json", stderr=slave,
    )
    os.close(slave)
    shown = os.read(master, 65536)
    os.close(master)
    assert ended.returncode == 6
    assert b"\r100 of 250" in shown
    assert b"\r200 of 250" in shown
    assert json.loads(ended.stdout)["adopted"] == 247
