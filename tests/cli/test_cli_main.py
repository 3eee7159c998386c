"""Exit codes and errors: every refusal is one sentence, or one JSON object, on standard error."""

from __future__ import annotations

import errno
import io
import json
import re
import sys
from typing import TYPE_CHECKING, NoReturn

import pytest

from vmfa import VmfaError, errors
from vmfa.cli.errors import EXIT_CODES, Interrupted, exit_code
from vmfa.cli.main import main

if TYPE_CHECKING:
    from conftest import Outcome, Terminal

ALICE = "123456789012/u-4711"


def check(outcome: Outcome, code: int, sentence: str = "") -> None:
    """Refused with *code* in one sentence, *sentence* if it is given, and without any output."""
    assert outcome.code == code, outcome.err
    assert outcome.err.startswith("vmfa: ")
    assert outcome.err.count("\n") == 1
    assert outcome.err == f"vmfa: {sentence}\n" or not sentence
    assert outcome.out == ""


# 1: the code is not accepted


def test_exit_1_for_a_wrong_code_that_is_not_quoted(terminal: Terminal) -> None:
    wrong = terminal.enroll(ALICE).wrong_code()
    outcome = terminal.run("verify", ALICE, wrong)
    check(outcome, 1)
    assert wrong not in outcome.err


@pytest.mark.parametrize(
    "code", ["12345", "1234567", "٠٧٠٣٠٩", "abcdef", "+12345", "-12345", "", "12\udcff456"]
)
def test_exit_1_for_text_that_is_not_a_code_and_no_failure_is_counted(
    terminal: Terminal, code: str
) -> None:
    terminal.enroll(ALICE)
    outcome = terminal.run("verify", ALICE, code, "--json")
    assert (outcome.code, outcome.problem["reason"]) == (1, "malformed")
    assert terminal.json("show", ALICE)["failures"] == 0


def test_exit_1_for_bytes_on_standard_input_that_are_not_text(terminal: Terminal) -> None:
    terminal.enroll(ALICE)
    check(terminal.run("verify", ALICE, typed=b"12\xff456\n"), 1)


def test_exit_1_for_a_used_code_says_how_long_to_wait(terminal: Terminal) -> None:
    code = terminal.enroll(ALICE).code()
    terminal.run("verify", ALICE, code)
    outcome = terminal.run("verify", ALICE, code)
    check(outcome, 1)
    assert outcome.err.endswith("; wait 30 seconds\n")


def test_exit_1_while_throttled_and_the_error_in_json_has_every_key(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    for _ in range(3):
        outcome = terminal.run("verify", ALICE, phone.wrong_code())
    check(outcome, 1)
    assert outcome.err.endswith("; wait 15 seconds\n")
    outcome = terminal.run("verify", ALICE, phone.code())
    check(outcome, 1)
    assert outcome.err.count("15 seconds") == 1
    problem = terminal.run("verify", ALICE, phone.code(), "--json").problem
    assert isinstance(problem.pop("message"), str)
    assert problem.pop("message_id") == "throttled"
    assert "15" in problem.pop("claimant_message")
    assert problem == {"reason": "throttled", "remedy": "wait", "retry_after": 15, "exit_code": 1}


def test_exit_1_for_a_pair_advises_to_repeat_while_that_can_help(terminal: Terminal) -> None:
    phone = terminal.start_enrollment(ALICE)
    swapped = (phone.code(), phone.code(-1))
    for _ in range(9):
        outcome = terminal.run("confirm", ALICE, *swapped)
        check(outcome, 1)
        assert outcome.err.endswith("; if you waited, repeat with two new codes\n")
    last = terminal.run("confirm", ALICE, *swapped)
    check(last, 1)
    assert "repeat" not in last.err
    assert terminal.run("confirm", ALICE, *swapped, "--json").code == 4


# 2: wrong usage, or an impossible value


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["show", "no-slash"], "a principal is written ACCOUNT/NAME, or --root ACCOUNT"),
        (["show", "--root", "account/name"], "with --root, give the account alone"),
        (["show", ALICE, "--as", "admin"], "--as takes self, service or support:CASE"),
        (["show", ALICE, "--code", "123456"], "--code requires --as self"),
        (["verify", ALICE], "standard input ended before the code"),
        (["confirm", ALICE, "123456", "-"], "standard input ended before the second code"),
        (["code"], "standard input ended before the key in Base32"),
        (["policy", "--set", "x"], "--set is written FIELD=NUMBER, such as --set login_drift=1"),
        (["keys", "generate", "-"], "a key is never printed: give the name of a new file"),
    ],
)
def test_exit_2_for_wrong_usage(terminal: Terminal, arguments: list[str], sentence: str) -> None:
    terminal.enroll(ALICE)
    check(terminal.run(*arguments), 2, sentence)
    assert terminal.run("--json", *arguments).problem["reason"] == "usage"


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "/name"],
        ["show", "account/"],
        ["show", "a/\udcff"],
        ["show", "a/e\u0301"],
        ["show", " a/b"],
        ["show", "a/" + "x" * 513],
        ["list", "a\udcffb"],
        ["enroll", ALICE, "--label", "a:b"],
        ["enroll", ALICE, "--label", "a\x1b[2Jb"],
        ["enroll", ALICE, "--label", "x", "--issuer", ""],
        ["show", ALICE, "--as", "support:"],
        ["deactivate", ALICE, "--reason", "a\nb"],
    ],
)
def test_exit_2_for_an_impossible_value(terminal: Terminal, arguments: list[str]) -> None:
    terminal.enroll(ALICE)
    check(terminal.run(*arguments), 2)


def test_exit_2_for_a_key_that_is_not_base32_and_is_not_quoted(terminal: Terminal) -> None:
    outcome = terminal.run("code", typed="GEZDGNBV!\n")
    check(outcome, 2)
    assert "GEZD" not in outcome.err


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("VMFA_DB", "no database: pass --db or set VMFA_DB"),
        ("VMFA_KEY_FILE", "no key file: pass --key-file or set VMFA_KEY_FILE"),
    ],
)
def test_exit_2_without_a_file_says_how_to_name_it(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, missing: str, sentence: str
) -> None:
    terminal.enroll(ALICE)
    monkeypatch.delenv(missing)
    check(terminal.run("show", ALICE), 2, sentence)
    monkeypatch.setenv(missing, "")
    check(terminal.run("show", ALICE), 2, sentence)


# 3: access denied


def test_exit_3_points_at_the_options_that_choose_the_actor(terminal: Terminal) -> None:
    terminal.enroll(ALICE)
    outcome = terminal.run("deactivate", ALICE, "--as", "self")
    check(outcome, 3)
    assert outcome.err.endswith("; choose the actor with --as and --code\n")
    check(terminal.run("enroll", "--root", "a", "--label", "x", "--as", "support:1"), 3)
    assert (
        terminal.run("history", ALICE, "--as", "self", "--json").problem["reason"]
        == "access denied"
    )


# 4: no device, no session, already assigned, too many sessions


def test_exit_4_without_a_device(terminal: Terminal) -> None:
    phone = terminal.start_enrollment(ALICE)
    for command in (
        ["show"],
        ["verify", phone.code()],
        ["resync", *phone.two_codes()],
        ["deactivate"],
    ):
        check(terminal.run(command[0], ALICE, *command[1:]), 4)


def test_exit_4_without_an_open_session(terminal: Terminal) -> None:
    phone = terminal.start_enrollment("a/other")
    check(terminal.run("confirm", ALICE, *phone.two_codes()), 4)
    terminal.clock.advance(901)
    check(terminal.run("confirm", "a/other", *phone.two_codes()), 4)


def test_exit_4_where_a_device_is_assigned(terminal: Terminal) -> None:
    terminal.enroll(ALICE)
    check(terminal.run("enroll", ALICE, "--label", "x"), 4)


def test_exit_4_after_too_many_enrollments_says_how_long_to_wait(terminal: Terminal) -> None:
    for _ in range(10):
        assert terminal.run("enroll", ALICE, "--label", "x", "--as", "self").code == 0
    outcome = terminal.run("enroll", ALICE, "--label", "x", "--as", "self")
    check(outcome, 4)
    assert outcome.err.endswith("; wait 86400 seconds\n")
    assert (
        terminal.run("enroll", ALICE, "--label", "x", "--as", "self", "--json").problem[
            "retry_after"
        ]
        == 86400
    )


# 5: the environment


def test_exit_5_without_a_database_and_none_is_created(terminal: Terminal) -> None:
    check(
        terminal.run("show", ALICE),
        5,
        "the database does not exist: vmfa enroll and vmfa import create it",
    )
    assert not terminal.db.exists()


def test_exit_5_for_a_file_that_is_not_a_database(terminal: Terminal) -> None:
    terminal.db.write_bytes(b"This is a letter to my aunt. " * 100)
    terminal.db.chmod(0o600)
    check(terminal.run("show", ALICE), 5)
    assert terminal.run("show", ALICE, "--json").problem["reason"] == "store corrupt"


def test_exit_5_for_an_unsafe_database_file(terminal: Terminal) -> None:
    terminal.enroll(ALICE)
    terminal.db.chmod(0o666)
    check(
        terminal.run("show", ALICE),
        5,
        "other users can change the database: restrict it with chmod go-w",
    )


def test_exit_5_for_a_database_in_a_directory_that_does_not_exist(terminal: Terminal) -> None:
    check(
        terminal.run(
            "enroll", ALICE, "--label", "x", "--db", str(terminal.folder / "no" / "mfa.db")
        ),
        5,
    )


def test_exit_5_for_an_edited_record(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    terminal.edit_database("UPDATE principal SET revision = revision + 1")
    check(terminal.run("verify", ALICE, phone.code()), 5)


def test_exit_5_for_the_wrong_master_key_and_no_failure_is_counted(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    right = terminal.key_file.read_bytes()
    terminal.key_file.write_bytes(bytes(32))
    check(terminal.run("verify", ALICE, phone.code()), 5)
    assert (
        terminal.run("verify", ALICE, phone.code(), "--json").problem["reason"]
        == "unknown master key"
    )
    assert terminal.run("list", "123456789012").code == 5
    terminal.key_file.write_bytes(right)
    assert terminal.json("verify", ALICE, phone.code())["failures_cleared"] == 0


def test_exit_5_for_a_clock_that_went_back(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    terminal.clock.advance(-3600)
    check(terminal.run("verify", ALICE, phone.code()), 5)


def test_exit_5_for_a_key_file_that_is_missing_or_unsafe(terminal: Terminal) -> None:
    terminal.start_enrollment(ALICE)
    check(terminal.run("show", ALICE, "--key-file", str(terminal.folder / "none")), 5)
    assert (
        terminal.run("show", ALICE, "--key-file", "none", "--json").problem["reason"]
        == "environment"
    )
    terminal.key_file.chmod(0o644)
    check(
        terminal.run("show", ALICE),
        5,
        f"the key file {str(terminal.key_file)!r} can be accessed by other users: "
        "restrict it with chmod 600",
    )


@pytest.mark.parametrize(
    "failure", [BrokenPipeError(errno.EPIPE, "Broken pipe"), OSError(errno.ENOSPC, "full")]
)
def test_exit_5_when_the_output_cannot_be_written(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, failure: OSError
) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> NoReturn:
            raise failure

    monkeypatch.setattr("sys.stdout", Closed())
    sentence = f"the output or a temporary file cannot be written: {failure.strerror}"
    check(terminal.run("selftest"), 5, sentence)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_exit_5_without_an_output_and_no_key_is_created(
    monkeypatch: pytest.MonkeyPatch, terminal: Terminal, stream: str
) -> None:
    monkeypatch.setattr(sys, stream, None)
    assert main(["enroll", ALICE, "--label", "x"]) == 5
    assert not terminal.db.exists()


def test_a_closed_standard_error_changes_no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> NoReturn:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Closed())
    assert main(["frobnicate"]) == 2


# 70 and 130


def test_exit_130_when_interrupted(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("vmfa.cli.reports.compute_known_answers", interrupt)
    try:
        check(terminal.run("selftest"), 130, "interrupted")
    except KeyboardInterrupt:
        pytest.fail("the interrupt was not caught")  # it would end the test run as well
    assert terminal.run("selftest", "--json").problem == {
        "reason": "interrupted",
        "message": "interrupted",
        "remedy": None,
        "retry_after": None,
        "message_id": "unavailable",
        "claimant_message": Interrupted("").claimant_message,
        "exit_code": 130,
    }


def test_exit_70_for_a_bug_that_is_named_by_its_place_and_not_by_its_text(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*arguments: object) -> NoReturn:
        raise KeyError("GEZDGNBV")

    monkeypatch.setattr("vmfa.cli.reports.compute_known_answers", bug)
    outcome = terminal.run("selftest")
    check(outcome, 70)
    assert re.fullmatch(
        r"vmfa: a bug in vmfa: KeyError in \S*test_cli_main\.py, line \d+\n", outcome.err
    )
    assert "GEZD" not in outcome.err
    problem = terminal.run("selftest", "--json").problem
    assert (problem["reason"], problem["exit_code"]) == ("bug", 70)


def test_every_error_of_the_library_has_an_exit_code() -> None:
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert exit_code(kind.__new__(kind)) in {1, 2, 3, 4, 5}
    assert exit_code(errors.InvalidValue("x")) == 2
    assert EXIT_CODES[-1] == (VmfaError, 5)


# What comes from outside


HOSTILE = "\x1b[2J\x1b]0;title\x07\u202eevil\nadopted: line 9 root\r\x9b31m"


def printable(text: str) -> bool:
    return text.replace("\n", "").isprintable()


def test_a_dump_cannot_control_the_terminal_nor_forge_a_line(terminal: Terminal) -> None:
    fields = {
        "user": HOSTILE,
        "confirmed": True,
        "key": "00" * 20,
        "step": 30,
        "t0": 0,
        "digits": 6,
        "drift": 0,
        "last_t": 5,
        HOSTILE: 1,
    }
    records = [
        {"model": "otp_totp.totpdevice", "pk": HOSTILE, "fields": fields},
        {"model": f"otp_totp.totpdevice{HOSTILE}", "pk": 1, "fields": fields},
    ]
    (terminal.folder / "dump.json").write_text(json.dumps(records))
    for form in ((), ("--json",)):
        outcome = terminal.run(
            "import", "django-otp", str(terminal.folder / "dump.json"), "--account", "1", *form
        )
        assert outcome.code == 2
        assert printable(outcome.out + outcome.err)
        assert not any(line.startswith("adopted: line 9") for line in outcome.out.split("\n"))


@pytest.mark.parametrize(
    "source", ["otpauth", "otpauth-migration", "passlib", "pyotp", "google-authenticator"]
)
def test_no_source_can_control_the_terminal(terminal: Terminal, source: str) -> None:
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    texts = {
        "otpauth": f"{HOSTILE} otpauth://totp/{HOSTILE}?secret={secret}",
        "otpauth-migration": HOSTILE,
        "passlib": json.dumps([{"owner": HOSTILE, "totp": {"v": 1, "type": HOSTILE}}]),
        "pyotp": json.dumps([{"owner": HOSTILE, "secret": secret, HOSTILE: 1}]),
        "google-authenticator": f'{secret}\n" TOTP_AUTH\n" {HOSTILE} x\n',
    }
    (terminal.folder / "source").write_bytes(texts[source].encode())
    outcome = terminal.run(
        "import",
        source,
        str(terminal.folder / "source"),
        "--account",
        "1",
        "--owner",
        HOSTILE,
        "--root-owner",
        HOSTILE,
    )
    assert printable(outcome.out + outcome.err)


@pytest.mark.parametrize(
    "command",
    [
        ["list", "123456789012"],
        ["history", ALICE],
        ["show", ALICE],
        ["audit", "verify", "123456789012"],
        ["audit", "export", "123456789012"],
        ["audit", "checkpoint", "123456789012"],
    ],
)
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE principal SET name = name || ?",
        "UPDATE event SET document = replace(document, 'x', ?)",
        "UPDATE principal SET state = ?",
        "UPDATE event SET digest = ?",
        "UPDATE principal SET tag = ?",
    ],
)
def test_an_edited_database_cannot_control_the_terminal(
    terminal: Terminal, command: list[str], change: str
) -> None:
    terminal.enroll(ALICE)
    terminal.edit_database(change, HOSTILE)
    outcome = terminal.run(*command)
    assert printable(outcome.out + outcome.err)


def test_a_checkpoint_file_cannot_control_the_terminal(terminal: Terminal) -> None:
    terminal.enroll(ALICE)
    row = {
        "account": "a",
        "kind": "user",
        "name": "b",
        "revision": 1,
        "events": 1,
        "head": HOSTILE,
    }
    for heads in ([row], [{**row, "name": HOSTILE}]):
        (terminal.folder / "heads").write_text(
            json.dumps({"v": 1, "at": HOSTILE, "checkpoints": heads, HOSTILE: 1})
        )
        outcome = terminal.run("audit", "compare", str(terminal.folder / "heads"))
        assert outcome.code != 0
        assert printable(outcome.out + outcome.err)


def test_arguments_and_file_names_cannot_control_the_terminal(terminal: Terminal) -> None:
    for arguments in (
        ["show", f"a/{HOSTILE}"],
        ["list", HOSTILE],
        [HOSTILE],
        ["import", HOSTILE],
        ["enroll", "a/b", "--label", HOSTILE],
        ["show", ALICE, "--db", HOSTILE],
        ["show", ALICE, "--key-file", HOSTILE],
        ["show", ALICE, "--as", HOSTILE],
        ["import", "pyotp", HOSTILE, "--account", "1"],
        ["policy", "--set", f"{HOSTILE}=1"],
    ):
        outcome = terminal.run(*arguments)
        assert outcome.code != 0
        assert printable(outcome.out + outcome.err)


def test_the_name_of_the_host_cannot_control_the_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.node", lambda: HOSTILE)
    outcome = terminal.run("selftest")
    assert outcome.code == 0
    assert printable(outcome.out)


def test_the_file_of_a_bug_cannot_control_the_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*arguments: object) -> None:
        exec(compile("1/0", f"{HOSTILE}.py", "exec"))

    monkeypatch.setattr("vmfa.cli.reports.compute_known_answers", bug)
    outcome = terminal.run("selftest")
    assert outcome.code == 70
    assert printable(outcome.err)
    assert outcome.err.count("\n") == 1
