"""What people do at the command line, and what it answers."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from vmfa import Actor, DerivedKeys, DeviceRegistry, PrincipalId, SQLiteStore, totp
from vmfa.cli.main import ABOUT, EXITS

if TYPE_CHECKING:
    from conftest import Terminal

ALICE = "123456789012/u-4711"


def test_a_person_with_a_phone_goes_all_the_way(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    assert terminal.json("show", ALICE)["sync"] == "in sync"
    code = phone.code()
    receipt = terminal.json("verify", ALICE, code)
    assert receipt["at"] == terminal.clock.now
    assert terminal.run("verify", ALICE, code, "--json").problem["reason"] == "already used"

    terminal.clock.advance(300)
    late = phone.pair(-5)
    assert terminal.json("resync", ALICE, *late.values())["drift"] == -5
    assert terminal.json("verify", ALICE, phone.code(-4))["drift"] == -5

    removed = terminal.json("deactivate", ALICE, "--reason", "new phone")
    assert removed["serial"] == receipt["serial"]
    terminal.clock.advance(30)
    assert terminal.run("verify", ALICE, phone.code()).code == 4
    assert terminal.enroll(ALICE).code() != phone.code()


def test_enroll_prints_key_uri_session_and_what_to_do_next(terminal: Terminal) -> None:
    outcome = terminal.run("enroll", ALICE, "--label", "alice@example.com", "--issuer", "Example Corp")
    assert outcome.code == 0
    assert "otpauth://totp/Example%20Corp:alice@example.com?secret=" in outcome.out
    assert "open until:    2023-11-14T22:28:30Z" in outcome.out
    assert f"vmfa confirm {ALICE} CODE1 CODE2" in outcome.out
    with SQLiteStore(terminal.db) as store:
        session = store.load(PrincipalId.user("123456789012", "u-4711")).enrollment
    assert session is not None
    assert session.session_id in outcome.out


def test_the_files_of_the_command_line_are_the_files_of_the_library(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    with SQLiteStore(terminal.db) as store:
        keys = DerivedKeys(terminal.key_file.read_bytes())
        registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=terminal.clock)
        registry.verify(PrincipalId.user("123456789012", "u-4711"), phone.code())
    assert terminal.run("verify", ALICE, phone.code(), "--json").problem["reason"] == "already used"


def test_confirm_takes_the_open_session_or_the_named_one(terminal: Terminal) -> None:
    first = terminal.json("enroll", ALICE, "--label", "x")["session"]
    phone = terminal.wizard(ALICE)  # supersedes it
    pair = phone.pair().values()
    assert terminal.run("confirm", ALICE, *pair, "--session", first).code == 4
    outcome = terminal.run("confirm", ALICE, *pair)
    assert outcome.code == 0
    assert outcome.out.startswith("assigned and in sync: serial ")


def test_a_late_pair_is_assigned_and_the_answer_says_out_of_sync(terminal: Terminal) -> None:
    phone = terminal.wizard(ALICE)
    outcome = terminal.run("confirm", ALICE, *phone.pair(-5).values())
    assert outcome.code == 0
    assert "OUT OF SYNC by -5 steps" in outcome.out
    assert f"vmfa resync {ALICE} CODE1 CODE2" in outcome.out
    assert terminal.run("verify", ALICE, phone.code(), "--json").problem["remedy"] == "resync"
    back = terminal.run("resync", ALICE, *phone.pair().values())
    assert back.out.startswith("in sync, 0 steps of drift")
    assert "a further code" in back.out


@pytest.mark.parametrize("given", [(), ("-",), ("-", "-")])
def test_codes_that_are_left_out_or_hyphens_are_read(terminal: Terminal, given: tuple[str, ...]) -> None:
    phone = terminal.wizard(ALICE)
    pair = phone.pair()
    outcome = terminal.run("confirm", ALICE, *given, typed=f"{pair['code1']}\r\n{pair['code2']}\n")
    assert outcome.code == 0
    terminal.clock.advance(30)
    assert terminal.run("verify", ALICE, *given[:1], typed=phone.code()).code == 0


def test_a_terminal_is_asked_on_standard_error(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    outcome = terminal.run("verify", ALICE, "--json", typed=phone.code(), tty=True)
    assert outcome.err == "code: "
    terminal.clock.advance(30)
    shown = terminal.run("show", ALICE, "--as", "self", "--code", "-", typed=phone.code(), tty=True)
    assert (shown.code, shown.err) == (0, "code: ")
    pair = phone.pair(2)
    back = terminal.run("resync", ALICE, typed=f"{pair['code1']}\n{pair['code2']}\n", tty=True)
    assert (back.code, back.err) == (0, "first code: second code: ")
    assert outcome.facts["principal"] == {"account": "123456789012", "kind": "user", "name": "u-4711"}


def test_verify_says_when_and_which_device(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    outcome = terminal.run("verify", ALICE, phone.code())
    assert outcome.out.startswith("accepted at 2023-11-14T22:14:00Z, and spent: serial ")


def test_show_tells_the_state_and_that_it_is_disabled(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    assert "state:     in sync\n" in terminal.run("show", ALICE).out
    for _ in range(100):
        terminal.run("verify", ALICE, phone.wrong_code())
        terminal.clock.advance(3600)
    outcome = terminal.run("show", ALICE)
    assert "state:     in sync, DISABLED\n" in outcome.out
    assert "enrolled:  2023-11-14T22:13:30Z" in outcome.out
    assert "6 digits, sha1, every 30 seconds from 1970-01-01T00:00:00Z" in outcome.out


def test_list_names_the_principals_as_the_command_line_takes_them(terminal: Terminal) -> None:
    terminal.enroll("--root", "a%2Fb")
    terminal.enroll("a%2Fb/zoe meyer")
    terminal.wizard("a%2Fb/adam")
    terminal.wizard("other/eve")
    outcome = terminal.run("list", "a%2Fb")
    assert outcome.out == "--root a%2Fb  device\na%2Fb/adam  no device\n'a%2Fb/zoe meyer'  device\n"
    facts = terminal.json("list", "a%2Fb")
    assert facts["account"] == "a/b"
    assert facts["principals"][0] == {"account": "a/b", "kind": "root", "name": "", "state": "device"}
    assert terminal.run("list", "nobody").out == "no principal of this account is known\n"


@pytest.mark.parametrize(("written", "account"), [
    ("a%2Fb", "a/b"), ("a%25b", "a%b"), ("a%252Fb", "a%2Fb"), ("a%2525", "a%25"), ("%2F%25%2F", "/%/"),
])
def test_an_account_is_written_and_read_with_escapes(terminal: Terminal, written: str, account: str) -> None:
    terminal.wizard(f"{written}/eve")
    assert terminal.json("list", written)["account"] == account
    assert terminal.run("list", written).out == f"{written}/eve  no device\n"


def test_list_turns_every_page(terminal: Terminal) -> None:
    terminal.wizard("a/first")
    with SQLiteStore(terminal.db, unsafe_not_durable=True) as store:
        registry = DeviceRegistry(store, keys=DerivedKeys(terminal.key_file.read_bytes()), issuer="x")
        for number in range(1000):
            registry.open_enrollment(
                PrincipalId.user("a", f"u{number:04}"), by=Actor.trusted_service("test"), label="x"
            )
    assert len(terminal.json("list", "a")["principals"]) == 1001


def test_list_names_a_record_it_cannot_read_and_goes_on(terminal: Terminal) -> None:
    terminal.enroll("a/adam")
    terminal.enroll("a/zoe")
    with SQLiteStore(terminal.db) as store:
        store._call(lambda db: db.execute("UPDATE principal SET revision = 9 WHERE name = 'adam'"))
    outcome = terminal.run("list", "a")
    assert outcome.out == "a/adam  record tampered\na/zoe  device\n"
    assert outcome.code == 5
    assert outcome.err.count("\n") == 1


def test_history_tells_the_life_of_the_devices(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    terminal.json("deactivate", ALICE, "--as", "support:case 7", "--reason", "lost phone")
    outcome = terminal.run("history", ALICE)
    lines = outcome.out.splitlines()
    assert lines[0] == "1  2023-11-14T22:13:30Z  enrollment opened  by trusted service vmfa command line"
    assert lines[1].endswith("sync=in sync  steps_off=0")
    assert lines[2].endswith("device deactivated  by support case 7  reason=lost phone")
    assert lines[3].startswith("intact: 3 events; keep the head elsewhere: ")
    told = terminal.json("history", ALICE)["events"]
    assert told[2]["reason"] == "lost phone"
    assert all(type(event["at"]) is int for event in told)
    assert told[2]["at"] == terminal.clock()
    assert phone.code() not in outcome.out


def test_history_of_an_unknown_principal_is_empty(terminal: Terminal) -> None:
    terminal.wizard(ALICE)
    facts = terminal.json("history", "123456789012/nobody")
    assert facts["events"] == []
    assert "none" in terminal.run("history", "123456789012/nobody").out


def test_history_turns_every_page(terminal: Terminal) -> None:
    terminal.wizard(ALICE)
    with SQLiteStore(terminal.db, unsafe_not_durable=True) as store:
        registry = DeviceRegistry(
            store, keys=DerivedKeys(terminal.key_file.read_bytes()), issuer="x", clock=terminal.clock
        )
        alice = PrincipalId.user("123456789012", "u-4711")
        for _ in range(600):
            registry.open_enrollment(alice, by=Actor.trusted_service("test"), label="x")
    assert [event["number"] for event in terminal.json("history", ALICE)["events"]] == list(range(1, 1202))


def test_the_trail_of_an_account_is_verified(terminal: Terminal) -> None:
    terminal.enroll(ALICE)
    assert terminal.run("trail", "verify", "123456789012").out == "123456789012/user/u-4711  intact: 2 events\n"


def test_a_history_that_grows_meanwhile_is_told_up_to_the_head(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grown(registry: DeviceRegistry, who: PrincipalId, **page: Any) -> Any:
        if not page["after"]:
            registry.open_enrollment(who, by=Actor.trusted_service("meanwhile"), label="x")
        return real(registry, who, **page)

    terminal.wizard(ALICE)
    real = DeviceRegistry.history
    monkeypatch.setattr(DeviceRegistry, "history", grown)
    told = terminal.json("history", ALICE)
    assert [event["number"] for event in told["events"]] == [1]
    with SQLiteStore(terminal.db) as store:
        assert told["head"] == store.history(PrincipalId.user("123456789012", "u-4711"))[0].tag


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE event SET document = replace(document, 'lost', 'sold') WHERE number = 3",
        "DELETE FROM event WHERE number = 2",
        "DELETE FROM event WHERE number = 3",
    ],
)
def test_an_edited_history_is_told(terminal: Terminal, change: str) -> None:
    terminal.enroll(ALICE)
    terminal.json("deactivate", ALICE, "--reason", "lost phone")
    with SQLiteStore(terminal.db) as store:
        store._call(lambda db: db.execute(change))
    outcome = terminal.run("history", ALICE)
    assert outcome.code == 5
    assert "history of this principal" in outcome.err
    assert outcome.out == ""


def test_root_acts_on_itself_by_default_and_no_service_may(terminal: Terminal) -> None:
    root = ("--root", "123456789012")
    assert terminal.run("enroll", *root, "--label", "x", "--as", "service").code == 3
    phone = terminal.enroll(*root)
    assert terminal.run("verify", *root, phone.code()).code == 0
    assert terminal.run("history", *root).code == 3
    assert terminal.run("deactivate", *root).code == 3
    terminal.clock.advance(30)
    assert terminal.run("deactivate", *root, "--code", phone.code()).code == 0
    assert "removed" in terminal.run("enroll", *root, "--label", "removed").out


def test_the_next_step_of_root_is_spelled_for_root(terminal: Terminal) -> None:
    assert "vmfa confirm --root 'my account' CODE1 CODE2" in terminal.run(
        "enroll", "--root", "my account", "--label", "x"
    ).out


def test_self_needs_a_code_to_deactivate_and_spends_it(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    refused = terminal.run("deactivate", ALICE, "--as", "self")
    assert refused.code == 3
    assert "--code" in refused.err
    code = phone.code()
    assert terminal.run("history", ALICE, "--as", "self", "--code", "-", typed=code).code == 0
    assert terminal.run("deactivate", ALICE, "--as", "self", "--code", code).code == 1
    terminal.clock.advance(30)
    assert terminal.run("deactivate", ALICE, "--as", "self", "--code", phone.code()).code == 0
    assert terminal.json("history", ALICE)["events"][-1]["actor"] == f"signed in {ALICE.replace('/', '/user/')}"


def test_support_may_deactivate_but_not_enroll(terminal: Terminal) -> None:
    terminal.enroll(ALICE)
    assert terminal.run("show", ALICE, "--as", "support:4711").code == 0
    assert terminal.run("deactivate", ALICE, "--as", "support:4711").code == 0
    assert terminal.run("enroll", ALICE, "--label", "x", "--as", "support:4711").code == 3


def test_code_reads_a_key_and_shows_its_code_and_the_seconds_left(terminal: Terminal) -> None:
    terminal.clock.advance(13)
    phone = terminal.wizard(ALICE)
    typed = "gezd gnbv-gy3t qojq gezd gnbv gy3t qojq"
    outcome = terminal.run("code", typed=typed)
    assert outcome.out == f"{totp(b'12345678901234567890', terminal.clock())}  17 seconds left\n"
    assert terminal.json("code", typed=typed)["seconds_left"] == 17
    assert phone.code() not in outcome.out


def test_code_reads_from_a_terminal_without_showing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getpass", lambda prompt: "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
    outcome = terminal.run("code", "--json", typed="not read", tty=True)
    assert outcome.facts["code"] == totp(b"12345678901234567890", terminal.clock())


def test_a_key_file_is_made_on_request_and_what_its_loss_means_is_said(terminal: Terminal) -> None:
    terminal.key_file.unlink()
    old = os.umask(0)
    try:
        outcome = terminal.run("enroll", ALICE, "--label", "x", "--create-key-file")
    finally:
        os.umask(old)
    assert outcome.code == 0
    assert "without it no code is ever verified again" in outcome.err
    assert "without it" not in outcome.out
    assert stat.S_IMODE(terminal.key_file.stat().st_mode) == 0o600
    made = terminal.key_file.read_bytes()
    assert len(made) == 32
    again = terminal.run("enroll", ALICE, "--label", "x", "--create-key-file")
    assert again.code == 5
    assert terminal.key_file.read_bytes() == made


def test_with_json_the_notice_of_a_new_key_is_json_too(terminal: Terminal) -> None:
    terminal.key_file.unlink()
    outcome = terminal.run("--json", "--create-key-file", "enroll", ALICE, "--label", "x")
    assert outcome.facts["base32"]
    assert "without it" in outcome.problem["notice"]


def test_options_stand_before_or_behind_the_command(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VMFA_DB")
    monkeypatch.delenv("VMFA_KEY_FILE")
    files = ("--db", os.fspath(terminal.db), "--key-file", os.fspath(terminal.key_file))
    assert terminal.run(*files, "enroll", ALICE, "--label", "x").code == 0
    assert terminal.run("list", "123456789012", *files).code == 0
    assert json.loads(terminal.run("--json", *files, "list", "123456789012").out)["principals"]


def test_demo_and_selftest_report_what_they_saw(terminal: Terminal) -> None:
    assert "SEED-TWO" in terminal.run("demo").out
    assert terminal.json("demo")["passed"] is True
    assert "ok  RFC 4226 Appendix D, counter 0\n" in terminal.run("selftest").out
    assert terminal.json("selftest")["passed"] is True
    assert not terminal.db.exists()


@pytest.mark.parametrize("arguments", [("--help",), ("enroll", "--help"), ("--version",)])
def test_help_and_version_are_answers(terminal: Terminal, arguments: tuple[str, ...]) -> None:
    outcome = terminal.run(*arguments)
    assert outcome.code == 0
    assert "vmfa" in outcome.out
    assert not outcome.out.endswith("\n\n")
    assert outcome.err == ""
    if arguments == ("--help",):
        assert f"{ABOUT}\n" in outcome.out  # as it is written, line by line
        assert outcome.out.endswith(EXITS)


def test_times_past_the_calendar_are_told_in_seconds(terminal: Terminal) -> None:
    terminal.clock.now = 10**15
    assert "open until:    1000000000000900 s" in terminal.run("enroll", ALICE, "--label", "x").out
