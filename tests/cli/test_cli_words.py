"""Every word and every fact that a command answers, in one life of a device."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from vmfa.cli.commands import KEY_NOTICE

if TYPE_CHECKING:
    from conftest import Terminal

ALICE = "123456789012/u-4711"
WHO = {"account": "123456789012", "kind": "user", "name": "u-4711"}


def plainly(text: str) -> str:
    """What is random is told by its shape."""
    text = re.sub(r"\b[0-9a-f]{16}\.[0-9a-f]{64}\b", "HEAD", text)
    text = re.sub(r"\b[0-9a-f]{32}\b", "HEX", text)
    return re.sub(r"\b[A-Z2-7]{32}\b", "KEY", text)


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else (
        plainly(value) if isinstance(value, str) else value
    )


def lines(terminal: Terminal, *arguments: str) -> list[str]:
    outcome = terminal.run(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    return plainly(outcome.out).splitlines()


def facts(terminal: Terminal, *arguments: str) -> Any:
    return plain(terminal.json(*arguments))


def test_what_people_read(terminal: Terminal) -> None:
    assert lines(terminal, "enroll", ALICE, "--label", "alice@example.com") == [
        "key (Base32):  KEY",
        "key URI:       otpauth://totp/vmfa:alice@example.com?secret=KEY&issuer=vmfa",
        "session:       HEX",
        "open until:    2023-11-14T22:28:30Z",
        "The key is shown this once. Load it into the authenticator app, wait for two consecutive codes, then:",
        f"  vmfa confirm {ALICE} CODE1 CODE2",
    ]
    assert lines(terminal, "list", "123456789012") == [f"{ALICE}  no device"]
    phone = terminal.wizard(ALICE)
    assert lines(terminal, "confirm", ALICE, *phone.pair(-5).values()) == [
        "assigned, but OUT OF SYNC by -5 steps: serial HEX",
        "Its codes are refused until two fresh ones bring it back:",
        f"  vmfa resync {ALICE} CODE1 CODE2",
    ]
    terminal.clock.advance(60)
    assert lines(terminal, "resync", ALICE, *phone.pair(-5).values()) == [
        "in sync, -5 steps of drift: serial HEX", "This signs nobody in: a further code does.",
    ]
    terminal.clock.advance(30)
    step = terminal.clock() // 30 - 5
    assert lines(terminal, "verify", ALICE, phone.code(-5)) == [
        f"accepted at 2023-11-14T22:15:00Z, and spent: serial HEX, step {step}",
    ]
    terminal.run("verify", ALICE, phone.wrong_code())
    assert lines(terminal, "show", ALICE) == [
        "serial:    HEX",
        "state:     in sync",
        "enrolled:  2023-11-14T22:13:30Z",
        "codes:     6 digits, sha1, every 30 seconds from 1970-01-01T00:00:00Z",
        f"drift:     -5 steps; last step spent: {step}",
        "failures:  1 in a row; 99 guesses left in the budget",
    ]
    assert lines(terminal, "list", "123456789012") == [f"{ALICE}  device"]
    assert lines(terminal, "deactivate", ALICE, "--reason", "lost phone") == [
        "deactivated at 2023-11-14T22:15:00Z: serial HEX; its key is destroyed",
    ]
    service = "by trusted service vmfa command line"
    assert lines(terminal, "history", ALICE) == [
        f"1  2023-11-14T22:13:30Z  enrollment opened  {service}",
        f"2  2023-11-14T22:13:30Z  enrollment superseded  {service}",
        f"3  2023-11-14T22:13:30Z  enrollment opened  {service}",
        f"4  2023-11-14T22:13:30Z  device assigned  {service}  sync=out of sync  steps_off=-5",
        f"5  2023-11-14T22:14:30Z  device resynchronized  {service}  steps_off=-5",
        f"6  2023-11-14T22:15:00Z  device deactivated  {service}  reason=lost phone",
        "intact: 6 events; keep the head elsewhere: HEAD",
    ]
    assert lines(terminal, "history", "123456789012/nobody") == ["intact: 0 events; keep the head elsewhere: none"]


def test_what_scripts_read(terminal: Terminal) -> None:
    assert facts(terminal, "enroll", ALICE, "--label", "alice@example.com") == {
        "principal": WHO, "session": "HEX", "serial": "HEX", "expires_at": terminal.clock() + 900, "base32": "KEY",
        "uri": "otpauth://totp/vmfa:alice@example.com?secret=KEY&issuer=vmfa",
    }
    phone, begun = terminal.wizard(ALICE), terminal.clock()
    assert facts(terminal, "confirm", ALICE, *phone.pair(-5).values()) == {
        "principal": WHO, "serial": "HEX", "sync": "out of sync", "steps_off": -5, "drift": 0,
    }
    terminal.clock.advance(60)
    assert facts(terminal, "resync", ALICE, *phone.pair(-5).values()) == {
        "principal": WHO, "serial": "HEX", "sync": "in sync", "steps_off": -5, "drift": -5,
    }
    terminal.run("verify", ALICE, phone.wrong_code())
    terminal.clock.advance(30)
    now = terminal.clock()
    assert facts(terminal, "verify", ALICE, phone.code(-5)) == {
        "principal": WHO, "serial": "HEX", "step": now // 30 - 5, "at": now, "drift": -5, "failures_cleared": 1,
    }
    assert facts(terminal, "show", ALICE) == {
        "principal": WHO, "serial": "HEX", "sync": "in sync", "disabled": False, "enrolled_at": begun,
        "algorithm": "sha1", "digits": 6, "period": 30, "t0": 0, "drift": -5, "last_step": now // 30 - 5, "failures": 0,
        "budget": 99,
    }
    assert facts(terminal, "list", "123456789012") == {
        "account": "123456789012", "principals": [{**WHO, "state": "device"}],
    }
    assert facts(terminal, "deactivate", ALICE) == {"principal": WHO, "serial": "HEX", "at": now}
    told = facts(terminal, "history", ALICE)
    assert (told["principal"], told["head"], len(told["events"])) == (WHO, "HEAD", 6)
    assert told["events"][3] == {
        "number": 4, "what": "device assigned", "at": begun, "actor": "trusted service vmfa command line",
        "serial": "HEX", "reason": "", "details": {"sync": "out of sync", "steps_off": -5},
    }


def test_what_is_said_of_a_new_key_file(terminal: Terminal) -> None:
    notice = (
        "a new master key is in the key file. Put a copy into a vault now: without it no code is ever verified again "
        "and everybody enrolls anew. Keep it apart from the database: whoever has both has every device"
    )
    assert notice == KEY_NOTICE
    for options, told in (((), f"vmfa: {notice}\n"), (("--json",), f'{{"notice": "{notice}"}}\n')):
        terminal.key_file.unlink()
        terminal.db.unlink(missing_ok=True)
        assert terminal.run("enroll", ALICE, "--label", "x", "--create-key-file", *options).err == told


def test_what_the_demonstration_and_the_self_test_answer(terminal: Terminal) -> None:
    for line in terminal.run("demo").out.splitlines():
        assert re.fullmatch(r"[-.\w]+ *", line[:20])
        assert re.fullmatch(r"  \w.*\.", line[20:])
    told = terminal.json("demo")
    assert told.keys() == {"passed", "lines"}
    assert told["lines"][0] == {
        "rule": "SEED-SHOW", "at": 1_700_000_010,
        "says": "Alice opens the wizard. It shows a key and a URI for her phone: once, in this answer only.",
    }
