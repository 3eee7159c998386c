"""Exit codes one by one; every refusal is one sentence, or one JSON object, on standard error."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import sys
import warnings
from getpass import GetPassWarning
from threading import Timer
from typing import TYPE_CHECKING, NoReturn

import pytest

from vmfa import DerivedKeys, SQLiteStore
from vmfa.cli import commands
from vmfa.cli.main import COMMANDS, main

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Outcome, Terminal

ALICE = "123456789012/u-4711"
NUL_BYTES = bytes(32)


def says(outcome: Outcome, code: int, sentence: str = "") -> None:
    """Refused with *code*, in one sentence, this one if it is given, and nothing on standard output."""
    assert outcome.code == code, outcome.err
    assert outcome.err.startswith("vmfa: ")
    assert outcome.err.count("\n") == 1
    assert "Traceback" not in outcome.err
    assert outcome.err == f"vmfa: {sentence}\n" or not sentence
    assert outcome.out == ""


# 1: the code is not accepted


def test_1_a_wrong_code(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    wrong = phone.wrong_code()
    outcome = terminal.run("verify", ALICE, wrong)
    says(outcome, 1, "the code is not accepted")
    assert wrong not in outcome.err


@pytest.mark.parametrize("code", ["12345", "1234567", "٠٧٠٣٠٩", "abcdef", "+12345", "-12345", "", "12\udcff456"])
def test_1_no_code_at_all(terminal: Terminal, code: str) -> None:
    terminal.enroll(ALICE)
    says(terminal.run("verify", ALICE, code), 1, "a code is text of exactly 6 ASCII digits")
    assert terminal.json("show", ALICE)["failures"] == 0


def test_1_undecodable_bytes_on_standard_input(terminal: Terminal) -> None:
    terminal.enroll(ALICE)
    says(terminal.run("verify", ALICE, typed=b"12\xff456\n"), 1, "a code is text of exactly 6 ASCII digits")


def test_1_a_used_code_says_how_long_to_wait(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    code = phone.code()
    terminal.run("verify", ALICE, code)
    says(terminal.run("verify", ALICE, code), 1, "the code was used before; wait 30 seconds")


def test_1_throttled(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    for _ in range(3):
        outcome = terminal.run("verify", ALICE, phone.wrong_code())
    says(outcome, 1, "the code is not accepted; wait 15 seconds")
    says(terminal.run("verify", ALICE, phone.code()), 1, "the next attempt is evaluated in 15 seconds")
    problem = terminal.run("verify", ALICE, phone.code(), "--json").problem
    assert problem == {
        "reason": "throttled",
        "message": "the next attempt is evaluated in 15 seconds",
        "remedy": "wait",
        "retry_after": 15,
        "claimant_message": "Wait 15 seconds before the next attempt.",
        "exit_code": 1,
    }


def test_1_a_pair_that_is_none(terminal: Terminal) -> None:
    phone = terminal.wizard(ALICE)
    outcome = terminal.run("confirm", ALICE, phone.code(), phone.code(-1))
    says(outcome, 1, "these are not two consecutive codes near now; if you waited, repeat with two new ones")
    for form in ((), ("--json",)):
        phone = terminal.wizard(ALICE)
        for _ in range(9):
            terminal.run("confirm", ALICE, phone.code(), phone.code(-1))
        last = terminal.run("confirm", ALICE, phone.code(), phone.code(-1), *form)
        if form:
            assert last.problem["remedy"] == "enroll"
        else:
            says(last, 1)
            assert "repeat" not in last.err


# 2: wrong usage, or an impossible value


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "the following arguments are required: COMMAND; see vmfa --help"),
        (["frobnicate"], "argument COMMAND: invalid choice; see vmfa --help"),
        (["enroll", ALICE], "the following arguments are required: --label; see vmfa enroll --help"),
        (["enroll", ALICE, "--label"], "argument --label: expected one argument; see vmfa enroll --help"),
        (["verify", ALICE, "123456", "654321"], "an argument too many, or an unknown option; see vmfa verify --help"),
        (["show", "123456789012", "--roo"], "an argument too many, or an unknown option; see vmfa show --help"),
        (["list", "a", "--json=yes"], "argument --json: ignored explicit argument; see vmfa list --help"),
        (["show", "no-slash"], "a principal is written ACCOUNT/NAME, or --root ACCOUNT"),
        (["show", "/name"], "account is empty"),
        (["show", "account/"], "name is empty"),
        (["show", "--root", "account/name"], "with --root, give the account alone"),
        (["show", "a/\udcff"], "name holds control characters"),
        (["show", "a/e\u0301"], "name is not in Unicode normalization form C"),
        (["show", " a/b"], "account has blanks at its edges"),
        (["show", "a/" + "x" * 513], "name is longer than 512 bytes"),
        (["list", "a\udcffb"], "account holds control characters"),
        (["enroll", ALICE, "--label", "a:b"], "label holds a colon"),
        (["enroll", ALICE, "--label", "a\x1b[2Jb"], "label holds control characters"),
        (["enroll", ALICE, "--label", "x", "--issuer", ""], "issuer is empty"),
        (["show", ALICE, "--as", "admin"], "--as is self, service or support:CASE"),
        (["show", ALICE, "--as", "support:"], "reference is empty"),
        (["show", ALICE, "--code", "123456"], "--code goes with --as self"),
        (["deactivate", ALICE, "--reason", "a\nb"], "reason holds control characters"),
        (["verify", ALICE], "standard input ended before a code was given"),
        (["confirm", ALICE, "123456", "-"], "standard input ended before a second code was given"),
        (["code"], "standard input ended before a key was given"),
    ],
)
def test_2_wrong_usage(terminal: Terminal, arguments: list[str], text: str) -> None:
    terminal.enroll(ALICE)
    outcome = terminal.run(*arguments)
    says(outcome, 2, text)
    outcome = terminal.run("--json", *arguments)
    assert outcome.problem["exit_code"] == outcome.code == 2
    assert outcome.problem["message"] == text
    assert outcome.problem["reason"] in ("usage", "invalid value", "invalid type")


@pytest.mark.parametrize("typed", ["not base32!", "GEZDGNBV", "\xff", "A" * 5000])
def test_2_no_key(terminal: Terminal, typed: str) -> None:
    says(terminal.run("code", typed=typed), 2)


@pytest.mark.parametrize(("option", "variable"), [("--db", "VMFA_DB"), ("--key-file", "VMFA_KEY_FILE")])
def test_2_no_file_is_named(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, option: str, variable: str
) -> None:
    terminal.wizard(ALICE)
    monkeypatch.setenv(variable, "")
    says(terminal.run("show", ALICE), 2, f"{option} or {variable} names no file")
    monkeypatch.delenv(variable)
    says(terminal.run("show", ALICE), 2, f"{option} or {variable} names no file")


@pytest.mark.parametrize("option", ["code", "list"])
def test_what_is_not_understood_is_not_repeated(terminal: Terminal, option: str) -> None:
    for arguments in ([option, "GEZDGNBVGY3TQOJQ", "GEZDGNBVGY3TQOJQ"], ["GEZDGNBVGY3TQOJQ"], ["--json=GEZDGNBV"],
                      ["GEZDGNBVGY3TQOJQ isn't it"], ['"GEZDGNBVGY3TQOJQ']):
        outcome = terminal.run(*arguments)
        says(outcome, 2)
        assert "GEZD" not in outcome.err


@pytest.mark.parametrize("arguments", [["frobnicate"], ["show", "no-slash"], ["code"], ["policy", "--set", "x"]])
def test_scripts_tell_a_wrong_usage_by_its_reason(terminal: Terminal, arguments: list[str]) -> None:
    terminal.wizard(ALICE)
    assert terminal.run("--json", *arguments).problem["reason"] == "usage"


def test_no_command_takes_a_key_as_an_argument() -> None:
    assert COMMANDS[[command.name for command in COMMANDS].index("code")].arguments == ()


# 3: access denied


def test_3_access_denied(terminal: Terminal) -> None:
    terminal.enroll(ALICE)
    outcome = terminal.run("deactivate", ALICE, "--as", "self")
    says(outcome, 3, "self, none may not deactivate here; see --as and --code")
    says(terminal.run("enroll", "--root", "a", "--label", "x", "--as", "support:1"), 3)
    assert terminal.run("history", ALICE, "--as", "self", "--json").problem["reason"] == "access denied"


# 4: no device, no session, already assigned, too many sessions


def test_4_no_device(terminal: Terminal) -> None:
    phone = terminal.wizard(ALICE)
    for command in (["show"], ["verify", phone.code()], ["resync", *phone.pair().values()], ["deactivate"]):
        says(terminal.run(command[0], ALICE, *command[1:]), 4, "this principal has no assigned device")


def test_4_no_session(terminal: Terminal) -> None:
    phone = terminal.wizard("a/other")
    says(terminal.run("confirm", ALICE, *phone.pair().values()), 4, "no such enrollment session is open")
    terminal.clock.advance(901)
    says(terminal.run("confirm", "a/other", *phone.pair().values()), 4)


def test_4_already_assigned(terminal: Terminal) -> None:
    terminal.enroll(ALICE)
    says(terminal.run("enroll", ALICE, "--label", "x"), 4, "this principal has a device: deactivate it first")


def test_4_too_many_sessions(terminal: Terminal) -> None:
    for _ in range(10):
        assert terminal.run("enroll", ALICE, "--label", "x", "--as", "self").code == 0
    outcome = terminal.run("enroll", ALICE, "--label", "x", "--as", "self")
    says(outcome, 4, "too many enrollments were opened; wait 86400 seconds")
    assert terminal.run("enroll", ALICE, "--label", "x", "--as", "self", "--json").problem["retry_after"] == 86400


# 5: the environment


def test_5_there_is_no_database_and_none_is_made(terminal: Terminal) -> None:
    says(terminal.run("show", ALICE), 5, "there is no database file of this name; vmfa enroll makes one")
    assert not terminal.db.exists()


def test_5_the_database_is_none(terminal: Terminal) -> None:
    terminal.db.write_bytes(b"This is a letter to my aunt. " * 100)
    says(terminal.run("show", ALICE), 5, "this is no sound vmfa database (SQLITE_NOTADB)")


def test_5_the_database_is_a_folder(terminal: Terminal) -> None:
    terminal.db.mkdir()
    says(terminal.run("show", ALICE), 5, "the database cannot be used (SQLITE_CANTOPEN); nothing was accepted")


def test_5_the_folder_of_the_database_is_missing(terminal: Terminal) -> None:
    says(terminal.run("enroll", ALICE, "--label", "x", "--db", str(terminal.folder / "no" / "mfa.db")), 5)


def test_5_an_edited_record(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    with SQLiteStore(terminal.db) as store:
        store._call(lambda db: db.execute("UPDATE principal SET revision = revision + 1"))
    outcome = terminal.run("verify", ALICE, phone.code())
    says(outcome, 5, "the stored record of this principal was not written by this library")


def test_5_the_wrong_master_key_counts_nothing(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    right = terminal.key_file.read_bytes()
    terminal.key_file.write_bytes(NUL_BYTES)
    outcome = terminal.run("verify", ALICE, phone.code())
    says(outcome, 5, "a record was made under a master key that this process was not given")
    assert terminal.run("list", "123456789012").code == 5
    terminal.key_file.write_bytes(right)
    assert terminal.json("verify", ALICE, phone.code())["failures_cleared"] == 0


def test_5_the_clock_went_back(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    terminal.clock.advance(-3600)
    outcome = terminal.run("verify", ALICE, phone.code())
    says(outcome, 5, "the clock is behind a time that was committed; nothing was counted")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o610, 0o601])
def test_5_a_key_file_that_others_may_use(terminal: Terminal, mode: int) -> None:
    terminal.wizard(ALICE)
    terminal.key_file.chmod(mode)
    says(terminal.run("show", ALICE), 5, "group or others may use the key file: make it its owner's alone (chmod 600)")


@pytest.mark.parametrize("content", [b"", b"short", bytes(31)])
def test_5_a_key_file_without_a_key(terminal: Terminal, content: bytes) -> None:
    terminal.wizard(ALICE)
    terminal.key_file.write_bytes(content)
    outcome = terminal.run("show", ALICE)
    says(outcome, 5, "the key file holds no master key of at least 32 bytes, or is too long (over 4096)")


def test_5_a_key_file_that_is_far_too_long(terminal: Terminal) -> None:
    terminal.wizard(ALICE)
    terminal.key_file.write_bytes(bytes(4097))
    outcome = terminal.run("show", ALICE)
    says(outcome, 5, "the key file holds no master key of at least 32 bytes, or is too long (over 4096)")


def test_of_a_key_file_that_never_ends_not_a_byte_more_is_read_than_shows_it(terminal: Terminal) -> None:
    os.mkfifo(terminal.folder / "fifo", 0o600)
    with open(terminal.folder / "fifo", "r+b", buffering=0) as endless:
        endless.write(bytes(4097))
        patience = Timer(10, endless.write, [b"who reads on gets more"])
        patience.start()
        with pytest.raises(commands.EnvironmentProblem, match="is too long"):
            commands.read_key_file(str(terminal.folder / "fifo"), DerivedKeys)
        assert patience.is_alive()
        patience.cancel()


def test_5_no_key_file_and_a_folder_for_one(terminal: Terminal) -> None:
    terminal.wizard(ALICE)
    outcome = terminal.run("show", ALICE, "--key-file", str(terminal.folder / "none"))
    says(outcome, 5, "there is no key file of this name; --create-key-file makes one")
    outcome = terminal.run("show", ALICE, "--key-file", str(terminal.folder))
    says(outcome, 5, "the key file cannot be read: Is a directory")
    outcome = terminal.run("enroll", ALICE, "--label", "x", "--create-key-file")
    says(outcome, 5, "the key file exists already and was left as it is: omit --create-key-file")
    assert terminal.run("show", ALICE, "--key-file", "none", "--json").problem["reason"] == "environment"


def test_the_longest_key_file_is_taken(terminal: Terminal) -> None:
    terminal.key_file.write_bytes(bytes(4096))
    assert terminal.run("enroll", ALICE, "--label", "x").code == 0


def test_a_new_key_is_on_the_disk_before_it_makes_a_device(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, int]] = []

    def fsync(descriptor: int) -> None:
        there = os.fstat(descriptor)
        synced.append((stat.S_ISDIR(there.st_mode), there.st_size))
        real(descriptor)

    real = os.fsync
    monkeypatch.setattr("os.fsync", fsync)
    terminal.key_file.unlink()
    free = os.dup(1)
    os.close(free)
    commands.create_key_file(str(terminal.key_file))
    again = os.dup(1)
    os.close(again)
    assert synced[0] == (False, 32)
    assert [is_folder for is_folder, _ in synced] == [False, True]
    assert free == again  # nothing is left open


def test_5_a_key_file_cannot_be_made(terminal: Terminal) -> None:
    path = str(terminal.folder / "no" / "key")
    outcome = terminal.run("enroll", ALICE, "--label", "x", "--create-key-file", "--key-file", path)
    says(outcome, 5, "the key file cannot be created: No such file or directory")


def test_5_a_half_written_key_file_is_removed(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.key_file.unlink()

    def disk_full(descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", disk_full)
    outcome = terminal.run("enroll", ALICE, "--label", "x", "--create-key-file")
    says(outcome, 5, "the key file cannot be created: No space left on device")
    assert not terminal.key_file.exists()


@pytest.mark.parametrize("failure", [BrokenPipeError(errno.EPIPE, "Broken pipe"), OSError(errno.ENOSPC, "full")])
def test_5_the_output_cannot_be_written(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, failure: OSError
) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> NoReturn:
            raise failure

    monkeypatch.setattr("sys.stdout", Closed())
    says(terminal.run("selftest"), 5, f"the output or a temporary file cannot be written: {failure.strerror}")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_5_nobody_is_there_to_tell(monkeypatch: pytest.MonkeyPatch, terminal: Terminal, stream: str) -> None:
    monkeypatch.setattr(sys, stream, None)
    assert main(["enroll", ALICE, "--label", "x"]) == 5
    assert not terminal.db.exists()


def test_standard_error_that_is_closed_changes_no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> NoReturn:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Closed())
    assert main(["frobnicate"]) == 2


def test_2_standard_input_is_closed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert main(["code"]) == 2
    assert capsys.readouterr().err == "vmfa: standard input ended before a key was given\n"


def test_2_standard_input_is_closed_where_a_code_is_asked_for(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.wizard(ALICE)
    monkeypatch.setattr("sys.stdin", None)
    assert main(["verify", ALICE]) == 2
    assert capsys.readouterr().err == "vmfa: standard input ended before a code was given\n"


def test_5_standard_input_cannot_be_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object) -> NoReturn:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(Broken())))
    assert main(["code"]) == 5
    assert capsys.readouterr().err == "vmfa: standard input cannot be read: Input/output error\n"


def test_of_a_line_that_never_ends_not_a_byte_more_is_read_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    out, into = os.pipe()
    with open(out) as stdin, open(into, "wb", buffering=0) as endless:
        endless.write(b"A" * 4096)
        monkeypatch.setattr("sys.stdin", stdin)
        patience = Timer(10, endless.write, [b"who reads on gets more\n"])
        patience.start()
        assert commands.read_line("key") == "A" * 4096
        assert patience.is_alive()
        patience.cancel()


def test_a_question_is_seen_before_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(shown, line_buffering=True))
    commands.print_error("code: ", end="")
    assert shown.getvalue() == b"code: "


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("raised", "code", "sentence"),
    [
        (EOFError(), 2, "standard input ended before a key was given"),
        (GetPassWarning("Can not control echo on the terminal."), 5, "this terminal would show the key"),
        (UnicodeDecodeError("utf-8", b"GEZDGNBV\xff", 8, 9, "invalid start byte"), 2, "this is no Base32 (A-Z, 2-7)"),
    ],
)
def test_a_terminal_that_cannot_hide_a_key_or_ends(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, raised: Exception, code: int, sentence: str
) -> None:
    def getpass(prompt: str) -> str:
        if not isinstance(raised, Warning):
            raise raised
        warnings.warn(raised, stacklevel=1)
        return "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"

    monkeypatch.setattr("getpass.getpass", getpass)
    outcome = terminal.run("code", tty=True)
    says(outcome, code, sentence)
    assert "GEZD" not in outcome.err


# what else can end a command


def test_130_interrupted(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("vmfa.cli.commands.selftest", interrupt)
    try:
        says(terminal.run("selftest"), 130, "interrupted")
    except KeyboardInterrupt:
        pytest.fail("the interrupt went through")  # it would end the run of the tests as well
    assert terminal.run("selftest", "--json").problem == {
        "reason": "interrupted", "message": "interrupted", "remedy": None, "retry_after": None,
        "claimant_message": None, "exit_code": 130,
    }


def test_70_a_bug_is_told_by_its_place_and_not_by_its_text(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*arguments: object) -> NoReturn:
        raise KeyError("GEZDGNBV")

    monkeypatch.setattr("vmfa.cli.commands.selftest", bug)
    outcome = terminal.run("selftest")
    says(outcome, 70)
    assert re.fullmatch(r"vmfa: a bug of vmfa: KeyError in \S*test_cli_refusals\.py, line \d+\n", outcome.err)
    assert "GEZD" not in outcome.err
    problem = terminal.run("selftest", "--json").problem
    assert (problem["reason"], problem["exit_code"]) == ("bug", 70)


def test_5_a_known_answer_is_wrong(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmfa.self_test._HOTP", "755225")
    outcome = terminal.run("selftest")
    assert outcome.code == 5
    assert "WRONG  RFC 4226 Appendix D, counter 0\n" in outcome.out
    assert outcome.err == "vmfa: a known answer is not computed here\n"
    assert terminal.run("selftest", "--json").facts["passed"] is False


def test_5_the_demo_does_not_go_as_told(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmfa.policy.Policy.delay", lambda policy, failures: 0)
    outcome = terminal.run("demo")
    assert outcome.code == 5
    assert "RFC4226-7.3-DELAY" in outcome.err
    assert outcome.out.startswith("SEED-SHOW")
    outcome = terminal.run("demo", "--json")
    assert (outcome.facts["passed"], outcome.problem["reason"]) == (False, "demo failed")


def test_names_in_other_scripts_print_on_any_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    terminal.wizard("a/zoë")
    with open(tmp_path / "out", "w+", encoding="ascii") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert main(["list", "a"], clock=terminal.clock) == 0
        out.seek(0)
        assert out.read() == "'a/zo\\xeb'  no device\n"
