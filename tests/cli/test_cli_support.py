"""``vmfa mark-spent`` and ``vmfa support``: what an operator does for users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vmfa import Actor, CodeRejected, DerivedKeys, DeviceRegistry, Policy, PrincipalId, SQLiteStore

if TYPE_CHECKING:
    from conftest import Terminal

ALICE, BOB, ROOT = "a/alice", "a/bob", ("--root", "a")
USED = "every code up to"


def test_mark_spent_for_a_principal(terminal: Terminal) -> None:
    phone, other = terminal.enroll(ALICE), terminal.enroll(BOB)
    until = int(terminal.clock())
    outcome = terminal.run("mark-spent", ALICE, "--until", str(until), "--utc")
    assert outcome.code == 0, outcome.err
    assert outcome.out == f"{USED} 2023-11-14T22:14:30Z is used, for 1 principals\n"
    assert "already used" in terminal.run("verify", ALICE, phone.code(), "--json").err
    assert terminal.run("verify", BOB, other.code()).code == 0
    terminal.clock.advance(30 * 22)  # resync window and window
    assert terminal.run("verify", ALICE, phone.code()).code == 0
    assert "codes marked" in terminal.run("history", ALICE).out


def test_mark_spent_for_an_account_with_its_root(terminal: Terminal) -> None:
    phones = {who: terminal.enroll(*who) for who in ((ALICE,), (BOB,), ROOT)}
    elsewhere = terminal.enroll("other/alice")
    data = terminal.json("mark-spent", "--account", "a", "--until", str(int(terminal.clock())))
    assert data == {"until": int(terminal.clock()), "principals": 3, "problems": []}
    for who, phone in phones.items():
        assert terminal.run("verify", *who, phone.code()).code == 1
    assert terminal.run("verify", "other/alice", elsewhere.code()).code == 0


def test_mark_spent_for_root_alone(terminal: Terminal) -> None:
    phone = terminal.enroll(*ROOT)
    until = str(int(terminal.clock()))
    assert terminal.json("mark-spent", *ROOT, "--until", until)["principals"] == 1
    assert terminal.run("verify", *ROOT, phone.code()).code == 1


def test_a_record_that_was_edited_does_not_stop_the_others(terminal: Terminal) -> None:
    terminal.enroll(ALICE)
    phone = terminal.enroll(BOB)
    terminal.edit_database("UPDATE principal SET revision = 9 WHERE name = ?", "alice")
    arguments = ("mark-spent", "--account", "a", "--until", str(int(terminal.clock())))
    outcome = terminal.run(*arguments)
    assert outcome.code == 5
    first, last = outcome.out.splitlines()
    assert first.startswith("a/alice  the stored record")
    assert last.endswith("for 1 principals")
    assert terminal.run("verify", BOB, phone.code()).code == 1
    (problem,) = terminal.run(*arguments, "--json").data["problems"]
    assert (problem["name"], "stored record" in problem["problem"]) == ("alice", True)


@pytest.mark.parametrize(
    "text", ["2023-11-14T22:14:30Z", "2023-11-14T23:14:29.5+01:00", "1700000070"]
)
def test_the_time_in_any_form(terminal: Terminal, text: str) -> None:
    terminal.enroll(ALICE)
    assert terminal.json("mark-spent", ALICE, "--until", text)["until"] == 1_700_000_070


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((ALICE, "--until", "yesterday"), "--until takes Unix seconds, or ISO 8601"),
        ((ALICE, "--until", "2023-11-14T22:14:30"), "--until takes Unix seconds, or ISO 8601"),
        ((ALICE, "--until", "-5"), "--until takes Unix seconds, or ISO 8601"),
        ((ALICE,), "the following arguments are required: --until"),
        (("--until", "0"), "give either a principal or --account ACCOUNT"),
        ((ALICE, "--account", "a", "--until", "0"), "give either a principal or --account"),
        (("--account", "a", "--root", "--until", "0"), "--account includes the root"),
        ((ALICE, "--until", "1700000070000"), "until must not be in the future"),
    ],
)
def test_wrong_usage_of_mark_spent(
    terminal: Terminal, arguments: tuple[str, ...], sentence: str
) -> None:
    terminal.enroll(ALICE)
    outcome = terminal.run("mark-spent", *arguments)
    assert outcome.code == 2
    assert sentence in outcome.err


# Binding codes


def disable(terminal: Terminal) -> None:
    """Have the device of Alice disabled by guesses, in the database of a service."""
    policy = Policy(failure_cap=5, delay_from=5)
    who = PrincipalId.user("a", "alice")
    phone = terminal.enroll(ALICE)
    with SQLiteStore(terminal.db) as store:
        registry = DeviceRegistry(
            store, keys=DerivedKeys(terminal.key_file.read_bytes()), issuer="Example",
            policy=policy, clock=terminal.clock,
        )
        for _ in range(5):
            with pytest.raises(CodeRejected):
                registry.verify(who, phone.wrong_code())


def test_the_removal_of_a_disabled_device_prints_a_binding_code(terminal: Terminal) -> None:
    disable(terminal)
    outcome = terminal.run("deactivate", ALICE)
    first, code_line, until, last = outcome.out.splitlines()
    assert until.startswith("valid until:   20")
    assert first.startswith("deactivated at ")
    assert last == "The code is not shown again. The owner needs it to enroll again."
    code = code_line.removeprefix("binding code:  ")
    enroll = ("enroll", ALICE, "--label", "x", "--as", "self")
    assert terminal.run(*enroll).code == 3
    assert terminal.run(*enroll, "--binding-code", "-", typed=code).code == 0


def test_support_replaces_a_binding_code(terminal: Terminal) -> None:
    disable(terminal)
    first = terminal.json("deactivate", ALICE)["binding_code"]
    terminal.clock.advance(90_000)  # it has expired
    enroll = ("enroll", ALICE, "--label", "x", "--as", "self", "--binding-code")
    assert terminal.run(*enroll, first).code == 3
    issue = ("support", "binding-code", ALICE, "--as", "support:case 7")
    outcome = terminal.run(*issue, "--utc")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[1:] == [
        "valid until:   2023-11-16T23:14:00Z",
        "The code is not shown again. It replaces earlier ones.",
    ]
    data = terminal.json(*issue)
    assert data["expires_at"] == int(terminal.clock()) + 86400
    assert data["principal"] == {"account": "a", "kind": "user", "name": "alice"}
    assert terminal.run(*enroll, data["code"]).code == 0
    assert "binding code issued  by support case 7" in terminal.run("history", ALICE).out


def test_without_a_pending_binding_there_is_no_code(terminal: Terminal) -> None:
    terminal.enroll(ALICE)
    assert terminal.run("support", "binding-code", ALICE).code == 4


# Client tokens


def test_a_client_token_is_printed_once_and_counts_once(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    outcome = terminal.run("support", "client-token", ALICE, "--utc")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[1:] == [
        "valid until:   2023-11-15T22:14:00Z",
        "The token is not shown again. It counts for one sign-in of the owner.",
    ]
    token = lines[0].removeprefix("client token:  ")
    assert token not in terminal.run("history", ALICE).out
    data = terminal.json("support", "client-token", ALICE)  # replaces the first
    who = PrincipalId.user("a", "alice")
    with SQLiteStore(terminal.db) as store:
        registry = DeviceRegistry(
            store, keys=DerivedKeys(terminal.key_file.read_bytes()), issuer="Example",
            policy=Policy(known_clients=True), clock=terminal.clock,
        )
        for text, known_failures in ((token, 0), (data["token"], 1)):
            terminal.clock.advance(60)
            with pytest.raises(CodeRejected):
                registry.verify(who, phone.wrong_code(), client=text)
            device = registry.device(who, by=Actor.trusted_service("tests"))
            assert device.known_failures == known_failures


def test_support_gives_no_client_token(terminal: Terminal) -> None:
    terminal.enroll(ALICE)
    assert terminal.run("support", "client-token", ALICE, "--as", "support:case 7").code == 3


# The guess budget


def test_the_budget_is_restored_once_a_day(terminal: Terminal) -> None:
    phone = terminal.enroll(ALICE)
    terminal.run("verify", ALICE, phone.wrong_code())
    assert terminal.json("show", ALICE)["budget"] == 99
    outcome = terminal.run("support", "restore-budget", ALICE)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("the guess budget is full again")
    assert terminal.json("show", ALICE)["budget"] == 100
    again = terminal.run("support", "restore-budget", ALICE, "--json")
    assert (again.code, again.problem["retry_after"]) == (4, 86400)
    terminal.clock.advance(86400)
    assert terminal.json("support", "restore-budget", ALICE) == {
        "principal": {"account": "a", "kind": "user", "name": "alice"},
    }
