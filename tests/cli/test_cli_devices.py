"""The commands for a device: what they print, for people and in JSON."""

from __future__ import annotations

import os
import re
import stat
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from vmfa import Actor, DerivedKeys, DeviceRegistry, PrincipalId, SQLiteStore

if TYPE_CHECKING:
    from conftest import Terminal

ALICE = "123456789012/u-4711"
WHO = {"account": "123456789012", "kind": "user", "name": "u-4711"}
SERVICE = "by trusted service vmfa command line"
REMOVAL = "(reason: lost phone; disabled: 0)"


def masked(text: str) -> str:
    """Random values by their kind."""
    text = re.sub(r"\b[0-9a-f]{64}\b", "HEAD", text)
    text = re.sub(r"\b[0-9a-f]{32}\b", "HEX", text)
    return re.sub(r"\b[A-Z2-7]{32}\b", "KEY", text)


def masked_data(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: masked_data(item) for name, item in value.items()}
    if isinstance(value, list):
        return [masked_data(item) for item in value]
    return masked(value) if isinstance(value, str) else value


def lines(terminal: Terminal, *arguments: str) -> list[str]:
    outcome = terminal.run(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    return masked(outcome.out).splitlines()


def data(terminal: Terminal, *arguments: str) -> Any:
    return masked_data(terminal.json(*arguments))


def test_the_life_of_a_device_in_text(terminal: Terminal) -> None:
    assert lines(terminal, "enroll", ALICE, "--label", "alice@example.com", "--utc") == [
        "key (Base32):  KEY",
        "key URI:       otpauth://totp/vmfa:alice@example.com?secret=KEY&issuer=vmfa",
        "session:       HEX",
        "open until:    2023-11-14T22:28:30Z",
        "The key is not shown again. Add it to the authenticator app, then enter two codes:",
        f"  vmfa confirm {ALICE}",
    ]
    assert lines(terminal, "list", "123456789012") == [f"{ALICE}  no device"]
    phone = terminal.start_enrollment(ALICE)
    assert lines(terminal, "confirm", ALICE, *phone.two_codes(-5)) == [
        "assigned, but OUT OF SYNC by -5 steps: serial HEX",
        "Its codes are not accepted until two new consecutive codes resynchronize it:",
        f"  vmfa resync {ALICE}",
    ]
    terminal.clock.advance(60)
    assert lines(terminal, "resync", ALICE, *phone.two_codes(-5)) == [
        "in sync with a drift of -5 steps: serial HEX",
        "The two codes do not sign the user in. The next code does.",
    ]
    terminal.clock.advance(30)
    step = terminal.clock() // 30 - 5
    assert lines(terminal, "verify", ALICE, phone.code(-5), "--utc") == [
        f"accepted at 2023-11-14T22:15:00Z: serial HEX, step {step}",
    ]
    terminal.run("verify", ALICE, phone.wrong_code())
    assert lines(terminal, "show", ALICE, "--utc") == [
        "serial:    HEX",
        "state:     in sync",
        "enrolled:  2023-11-14T22:13:30Z",
        "codes:     6 digits, sha1, every 30 seconds from 1970-01-01T00:00:00Z",
        f"drift:     -5 steps; last step used: {step}",
        "failures:  1 in a row; 99 guesses left in the budget",
    ]
    assert lines(terminal, "list", "123456789012") == [f"{ALICE}  device"]
    assert lines(terminal, "deactivate", ALICE, "--reason", "lost phone", "--utc") == [
        "deactivated at 2023-11-14T22:15:00Z: serial HEX; its key is destroyed",
    ]
    assert lines(terminal, "history", ALICE, "--utc") == [
        f"1  2023-11-14T22:13:30Z  enrollment opened  {SERVICE}",
        f"2  2023-11-14T22:13:30Z  enrollment superseded  {SERVICE}",
        f"3  2023-11-14T22:13:30Z  enrollment opened  {SERVICE}",
        f"4  2023-11-14T22:13:30Z  device assigned  {SERVICE}  (sync: out of sync; steps off: -5)",
        f"5  2023-11-14T22:14:30Z  device resynchronized  {SERVICE}  (steps off: -5)",
        f"6  2023-11-14T22:15:00Z  device deactivated  {SERVICE}  {REMOVAL}",
        "intact: 6 events; head: HEAD",
    ]


def test_the_life_of_a_device_in_json(terminal: Terminal) -> None:
    assert data(terminal, "enroll", ALICE, "--label", "alice@example.com") == {
        "principal": WHO,
        "session": "HEX",
        "serial": "HEX",
        "expires_at": terminal.clock() + 900,
        "base32": "KEY",
        "uri": "otpauth://totp/vmfa:alice@example.com?secret=KEY&issuer=vmfa",
    }
    phone, begun = terminal.start_enrollment(ALICE), terminal.clock()
    assert data(terminal, "confirm", ALICE, *phone.two_codes(-5)) == {
        "principal": WHO,
        "serial": "HEX",
        "sync": "out of sync",
        "steps_off": -5,
        "drift": 0,
    }
    terminal.clock.advance(60)
    assert data(terminal, "resync", ALICE, *phone.two_codes(-5)) == {
        "principal": WHO,
        "serial": "HEX",
        "sync": "in sync",
        "steps_off": -5,
        "drift": -5,
    }
    terminal.run("verify", ALICE, phone.wrong_code())
    terminal.clock.advance(30)
    now = terminal.clock()
    assert data(terminal, "verify", ALICE, phone.code(-5)) == {
        "principal": WHO,
        "serial": "HEX",
        "step": now // 30 - 5,
        "at": now,
        "drift": -5,
        "failures_cleared": 1,
    }
    assert data(terminal, "show", ALICE) == {
        "principal": WHO,
        "serial": "HEX",
        "sync": "in sync",
        "disabled": False,
        "enrolled_at": begun,
        "algorithm": "sha1",
        "digits": 6,
        "period": 30,
        "t0": 0,
        "drift": -5,
        "last_step": now // 30 - 5,
        "failures": 0,
        "budget": 99,
    }
    assert data(terminal, "list", "123456789012") == {
        "account": "123456789012",
        "principals": [{**WHO, "state": "device"}],
    }
    assert data(terminal, "deactivate", ALICE) == {
        "principal": WHO, "serial": "HEX", "at": now, "binding_code": None,
        "binding_code_expires_at": None,
    }
    history = data(terminal, "history", ALICE)
    assert (history["principal"], history["head"], len(history["events"])) == (WHO, "HEAD", 6)
    event = history["events"][3]
    assert {
        name: event[name] for name in ("number", "type", "at", "serial", "reason", "details")
    } == {
        "number": 4,
        "type": "device assigned",
        "at": begun,
        "serial": "HEX",
        "reason": "",
        "details": {"sync": "out of sync", "steps_off": -5},
    }


# enroll and confirm


def test_enroll_prints_the_issuer_and_the_open_session(terminal: Terminal) -> None:
    outcome = terminal.run(
        "enroll", ALICE, "--label", "alice@example.com", "--issuer", "Example Corp"
    )
    assert outcome.code == 0
    assert "otpauth://totp/Example%20Corp:alice@example.com?secret=" in outcome.out
    with SQLiteStore(terminal.db) as store:
        session = store.load(PrincipalId.user("123456789012", "u-4711")).enrollment
    assert session is not None
    assert session.session_id in outcome.out


def test_a_qr_code_is_drawn_with_control_sequences(terminal: Terminal) -> None:
    outcome = terminal.run("enroll", ALICE, "--label", "alice", "--qr")
    assert outcome.code == 0, outcome.err
    drawing = [line for line in outcome.out.splitlines() if line.startswith("\x1b[30;107m")]
    assert len(drawing) > 10
    assert any(block in outcome.out for block in "█▀▄")


def test_a_service_can_use_the_files_of_the_command_line(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    with SQLiteStore(terminal.db) as store:
        keys = DerivedKeys(terminal.key_file.read_bytes())
        registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=terminal.clock)
        registry.verify(PrincipalId.user("123456789012", "u-4711"), phone.code())
    assert (
        terminal.run("verify", ALICE, phone.code(), "--json").problem["reason"] == "already used"
    )


def test_confirm_uses_the_open_session_or_the_one_that_is_named(terminal: Terminal) -> None:
    first = terminal.json("enroll", ALICE, "--label", "x")["session"]
    phone = terminal.start_enrollment(ALICE)  # supersedes it
    assert terminal.run("confirm", ALICE, *phone.two_codes(), "--session", first).code == 4
    outcome = terminal.run("confirm", ALICE, *phone.two_codes())
    assert outcome.code == 0
    assert outcome.out.startswith("assigned and in sync: serial ")


def test_the_next_command_is_printed_for_root(terminal: Terminal) -> None:
    outcome = terminal.run("enroll", "--root", "my account", "--label", "x")
    assert "vmfa confirm --root 'my account'" in outcome.out


def test_a_key_file_is_created_for_its_owner_alone_and_never_overwritten(
    terminal: Terminal,
) -> None:
    terminal.key_file.unlink()
    old = os.umask(0)
    try:
        outcome = terminal.run("enroll", ALICE, "--label", "x", "--create-key-file")
    finally:
        os.umask(old)
    assert outcome.code == 0
    assert "if you lose it, no code can be verified" in outcome.err
    assert stat.S_IMODE(terminal.key_file.stat().st_mode) == 0o600
    content = terminal.key_file.read_bytes()
    assert len(content) == 32
    again = terminal.run("enroll", ALICE, "--label", "x", "--create-key-file")
    assert again.code == 5
    assert terminal.key_file.read_bytes() == content


def test_in_json_the_notice_about_a_new_key_is_json(terminal: Terminal) -> None:
    terminal.key_file.unlink()
    outcome = terminal.run("--json", "enroll", ALICE, "--create-key-file", "--label", "x")
    assert outcome.data["base32"]
    assert "if you lose it" in outcome.problem["notice"]


# Codes


def test_the_codes_of_a_late_phone_work_after_resync(terminal: Terminal) -> None:
    phone = terminal.start_enrollment(ALICE)
    terminal.json("confirm", ALICE, *phone.two_codes(-5))
    assert terminal.run("verify", ALICE, phone.code(), "--json").problem["remedy"] == "resync"
    terminal.clock.advance(60)
    assert terminal.json("resync", ALICE, *phone.two_codes(-5))["drift"] == -5
    assert terminal.json("verify", ALICE, phone.code(-4))["drift"] == -5


@pytest.mark.parametrize("given", [(), ("-",), ("-", "-")])
def test_codes_that_are_omitted_or_hyphens_are_read(
    terminal: Terminal, given: tuple[str, ...]
) -> None:
    phone = terminal.start_enrollment(ALICE)
    first, second = phone.two_codes()
    assert terminal.run("confirm", ALICE, *given, typed=f"{first}\r\n{second}\n").code == 0
    terminal.clock.advance(30)
    assert terminal.run("verify", ALICE, *given[:1], typed=phone.code()).code == 0


def test_codes_on_a_terminal_are_read_without_showing_them(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    assert terminal.run("verify", ALICE, "--json", typed=phone.code(), tty=True).code == 0
    terminal.clock.advance(30)
    assert (
        terminal.run(
            "show", ALICE, "--as", "self", "--code", "-", typed=phone.code(), tty=True
        ).code
        == 0
    )
    first, second = phone.two_codes(2)
    assert terminal.run("resync", ALICE, typed=f"{first}\n{second}\n", tty=True).code == 0
    assert terminal.prompts == [
        "code (not shown): ",
        "code (not shown): ",
        "first code (not shown): ",
        "second code (not shown): ",
    ]


def test_a_code_is_accepted_once(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    code = phone.code()
    assert terminal.run("verify", ALICE, code).code == 0
    assert terminal.run("verify", ALICE, code, "--json").problem["reason"] == "already used"


# Actors


def test_root_acts_on_itself_by_default_and_a_service_may_not(terminal: Terminal) -> None:
    root = ("--root", "123456789012")
    assert terminal.run("enroll", *root, "--label", "x", "--as", "service").code == 3
    phone = terminal.enroll(*root)
    assert terminal.run("verify", *root, phone.code()).code == 0
    assert terminal.run("deactivate", *root).code == 3
    terminal.clock.advance(30)
    assert terminal.run("deactivate", *root, "--code", phone.code()).code == 0


def test_self_needs_a_code_to_deactivate_and_the_code_is_used(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    assert terminal.run("deactivate", ALICE, "--as", "self").code == 3
    code = phone.code()
    assert terminal.run("history", ALICE, "--as", "self", "--code", "-", typed=code).code == 0
    assert terminal.run("deactivate", ALICE, "--as", "self", "--code", code).code == 1
    terminal.clock.advance(30)
    assert terminal.run("deactivate", ALICE, "--as", "self", "--code", phone.code()).code == 0
    assert "by signed in u-4711" in terminal.run("history", ALICE).out


def test_support_may_deactivate_and_not_enroll(terminal: Terminal) -> None:
    terminal.enroll(ALICE)
    assert terminal.run("show", ALICE, "--as", "support:case 7").code == 0
    assert terminal.run("deactivate", ALICE, "--as", "support:case 7").code == 0
    assert terminal.run("enroll", ALICE, "--label", "x", "--as", "support:case 7").code == 3
    assert "device deactivated  by support case 7  " in terminal.run("history", ALICE).out


# show and list


def test_show_says_that_a_device_is_disabled(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    for _ in range(100):
        terminal.run("verify", ALICE, phone.wrong_code())
        terminal.clock.advance(3600)
    assert "state:     in sync, DISABLED\n" in terminal.run("show", ALICE).out
    assert terminal.json("show", ALICE)["disabled"] is True


def test_list_writes_principals_as_the_command_line_reads_them(terminal: Terminal) -> None:
    terminal.enroll("--root", "a%2Fb")
    terminal.enroll("a%2Fb/zoe meyer")
    terminal.start_enrollment("a%2Fb/adam")
    terminal.start_enrollment("other/eve")
    outcome = terminal.run("list", "a%2Fb")
    assert (
        outcome.out == "--root a%2Fb  device\na%2Fb/adam  no device\n'a%2Fb/zoe meyer'  device\n"
    )
    listed = terminal.json("list", "a%2Fb")
    assert listed["account"] == "a/b"
    assert listed["principals"][0] == {
        "account": "a/b",
        "kind": "root",
        "name": "",
        "state": "device",
    }
    assert terminal.run("list", "unknown").out == "no principal of this account has a record\n"


@pytest.mark.parametrize(
    ("written", "account"),
    [
        ("a%2Fb", "a/b"),
        ("a%25b", "a%b"),
        ("a%252Fb", "a%2Fb"),
        ("a%2525", "a%25"),
        ("%2F%25%2F", "/%/"),
    ],
)
def test_an_account_is_written_and_read_with_escapes(
    terminal: Terminal, written: str, account: str
) -> None:
    terminal.start_enrollment(f"{written}/eve")
    assert terminal.json("list", written)["account"] == account
    assert terminal.run("list", written).out == f"{written}/eve  no device\n"


def test_list_reads_every_page(terminal: Terminal) -> None:
    terminal.start_enrollment("a/first")
    with SQLiteStore(terminal.db, unsafe_not_durable=True) as store:
        registry = DeviceRegistry(
            store, keys=DerivedKeys(terminal.key_file.read_bytes()), issuer="x"
        )
        service = Actor.trusted_service("test")
        for number in range(1000):
            registry.open_enrollment(PrincipalId.user("a", f"u{number:04}"), by=service, label="x")
    assert len(terminal.json("list", "a")["principals"]) == 1001


def test_list_names_a_record_that_cannot_be_read_and_goes_on(terminal: Terminal) -> None:
    terminal.enroll("a/adam")
    terminal.enroll("a/zoe")
    terminal.edit_database("UPDATE principal SET revision = 9 WHERE name = 'adam'")
    outcome = terminal.run("list", "a")
    assert outcome.out == "a/adam  record tampered\na/zoe  device\n"
    assert outcome.code == 5
    assert outcome.err.count("\n") == 1


# history


def test_history_is_printed_in_local_time_and_in_utc_on_request(
    terminal: Terminal, time_zone: None
) -> None:
    terminal.start_enrollment(ALICE)
    assert terminal.run("history", ALICE).out.startswith(
        "1  2023-11-15T03:58:30+05:45  enrollment opened  "
    )
    assert terminal.run("history", ALICE, "--utc").out.startswith(
        "1  2023-11-14T22:13:30Z  enrollment opened  "
    )
    assert terminal.json("history", ALICE)["events"][0]["at"] == terminal.clock()


def test_times_past_the_calendar_are_printed_in_unix_seconds(terminal: Terminal) -> None:
    terminal.clock.set(10**15)
    for utc in ((), ("--utc",)):
        outcome = terminal.run("enroll", ALICE, "--label", "x", *utc)
        assert "open until:    Unix time 1000000000000900" in outcome.out


def test_history_prints_what_pruning_leaves_and_its_time(
    terminal: Terminal, time_zone: None
) -> None:
    terminal.enroll(ALICE)
    alice = PrincipalId.user("123456789012", "u-4711")
    with SQLiteStore(terminal.db) as store:
        keys = DerivedKeys(terminal.key_file.read_bytes())
        registry = DeviceRegistry(store, keys=keys, issuer="x", clock=terminal.clock)
        now = int(terminal.clock())
        registry.prune_history(alice, by=Actor.trusted_service("retention"), older_than=now)
    outcome = terminal.run("history", ALICE)
    assert "1  redacted\n2  " in outcome.out
    assert "by trusted service retention" in outcome.out
    assert "older than: 2023-11-15T03:59:00+05:45" in outcome.out


def test_the_history_of_an_unknown_principal_is_empty(terminal: Terminal) -> None:
    terminal.start_enrollment(ALICE)
    unknown = terminal.json("history", "123456789012/unknown")
    assert (unknown["events"], unknown["head"]) == ([], "")
    assert terminal.run("history", "123456789012/unknown").out == "intact: 0 events; head: none\n"


def test_history_reads_every_page(terminal: Terminal) -> None:
    terminal.start_enrollment(ALICE)
    with SQLiteStore(terminal.db, unsafe_not_durable=True) as store:
        keys = DerivedKeys(terminal.key_file.read_bytes())
        registry = DeviceRegistry(store, keys=keys, issuer="x", clock=terminal.clock)
        alice = PrincipalId.user("123456789012", "u-4711")
        for _ in range(600):
            registry.open_enrollment(alice, by=Actor.trusted_service("test"), label="x")
    assert [event["number"] for event in terminal.json("history", ALICE)["events"]] == list(
        range(1, 1202)
    )


def test_the_head_is_the_digest_of_the_last_event_that_is_printed(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def growing(registry: DeviceRegistry, who: PrincipalId, **page: Any) -> Any:
        if not page["after"]:
            registry.open_enrollment(who, by=Actor.trusted_service("meanwhile"), label="x")
        return real(registry, who, **page)

    terminal.start_enrollment(ALICE)
    real = DeviceRegistry.history
    monkeypatch.setattr(DeviceRegistry, "history", growing)
    printed = terminal.json("history", ALICE)
    with SQLiteStore(terminal.db) as store:
        stored = store.history(PrincipalId.user("123456789012", "u-4711"))
    assert printed["head"] == stored[len(printed["events"]) - 1].digest


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE event SET document = replace(document, 'lost', 'sold') WHERE number = 3",
        "DELETE FROM event WHERE number = 2",
        "DELETE FROM event WHERE number = 3",
        "UPDATE principal SET revision = revision + 1",
    ],
)
def test_of_an_edited_history_nothing_is_printed(terminal: Terminal, change: str) -> None:
    terminal.enroll(ALICE)
    terminal.json("deactivate", ALICE, "--reason", "lost phone")
    terminal.edit_database(change)
    outcome = terminal.run("history", ALICE, "--json")
    assert (outcome.code, outcome.out) == (5, "")
    assert outcome.problem["reason"] == "record tampered"


# Where options stand


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("form", ["--db FILE", "--db=FILE"])
def test_options_stand_before_between_and_after_the_arguments(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, place: int, form: str
) -> None:
    phone = terminal.enroll(ALICE)
    monkeypatch.delenv("VMFA_DB")
    words = ["verify", ALICE, phone.code()]
    words[place:place] = ["--json", *form.replace("FILE", str(terminal.db)).split(" ")]
    outcome = terminal.run(*words)
    assert outcome.code == 0
    assert outcome.data["principal"] == WHO


def test_options_stand_anywhere_around_the_words_of_a_group(terminal: Terminal) -> None:
    terminal.enroll(ALICE)
    for before, between, after in product((True, False), repeat=3):
        words = ["audit", "verify", "123456789012"]
        if after:
            words.insert(3, "--json")
        if between:
            words.insert(1, "--json")
        if before:
            words.insert(0, "--json")
        outcome = terminal.run(*words)
        assert outcome.code == 0
        assert outcome.out.startswith("{") == (before or between or after)


def test_what_follows_two_hyphens_is_not_an_option(terminal: Terminal) -> None:
    assert terminal.run("enroll", "--label", "x", "--", "--json/x").code == 0
    assert terminal.run("list", "--", "--json").out == "--json/x  no device\n"
