"""Keys, master keys and codes are searched for in everything that every command prints."""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING

from vmfa import DerivedKeys
from vmfa.keys import Key, reveal
from vmfa.testing import AuthenticatorApp

if TYPE_CHECKING:
    from conftest import Terminal

ALICE = "123456789012/u-4711"


def spellings(secret: bytes) -> list[bytes]:
    """The forms in which it might leak: raw, hex, Base32 and Base64 without padding."""
    return [
        secret,
        secret.hex().encode(),
        base64.b32encode(secret).rstrip(b"="),
        base64.b64encode(secret).rstrip(b"="),
        base64.urlsafe_b64encode(secret).rstrip(b"="),
        repr(secret).encode(),
    ]


def test_no_key_and_no_code_is_printed_where_none_is_asked_for(terminal: Terminal) -> None:
    master = os.urandom(32)
    terminal.key_file.write_bytes(master)
    opened = terminal.run("enroll", ALICE, "--label", "x")
    again = terminal.run("enroll", ALICE, "--label", "x", "--json")
    key = again.data["base32"]
    phone = AuthenticatorApp(terminal.clock).scan(again.data["uri"])
    secret = reveal(Key.from_base32(key))
    assert spellings(master)[2].decode() not in opened.out
    pair = phone.two_codes()
    wrong = phone.wrong_code()
    printed = [opened.err]

    def run(*arguments: str, typed: str = "") -> None:
        for form in ((), ("--json",)):
            outcome = terminal.run(*arguments, *form, typed=typed)
            printed.extend((outcome.out, outcome.err))

    run("confirm", ALICE, wrong, wrong)
    run("confirm", ALICE, *pair)
    terminal.clock.advance(30)
    run("verify", ALICE, phone.code())
    for _ in range(2):
        run("verify", ALICE, wrong)
    run("verify", ALICE, key)
    run("verify", ALICE, phone.code(), key)
    run("verify", key, phone.code())
    run("code", key)
    run(key)
    run("keys", key)
    run("import", key)
    run("show", ALICE, f"--{key}")
    run("show", ALICE, "--as", key)
    run("show", ALICE, "--db", key)
    run("show", ALICE, "--key-file", key)
    run("code", typed=key + "!")
    run("code", typed=key[:-1] + "\xff")
    terminal.clock.advance(60)
    run("resync", ALICE, *phone.two_codes())
    run("show", ALICE)
    run("list", "123456789012")
    run("history", ALICE)
    run("audit", "verify", "123456789012")
    run("audit", "export", "123456789012")
    run("audit", "checkpoint", "123456789012")
    run("enroll", ALICE, "--label", "x")
    run("deactivate", ALICE)
    run("selftest")
    terminal.key_file.write_bytes(master[:31])
    run("show", ALICE)
    everything = "\n".join(printed).encode()
    assert len(everything) > 5000
    (extracted,) = DerivedKeys(master)._prks.values()
    for hidden in (*spellings(secret), *spellings(master), *spellings(reveal(extracted))):
        assert hidden not in everything
    codes = set(
        re.findall(rb"(?<!\w)\d{6}(?!\w)", everything)
    )  # whole words: a serial number may hold six digits
    assert codes.isdisjoint(code.encode() for code in (*pair, phone.code(), wrong))


def test_the_database_contains_no_key(terminal: Terminal) -> None:
    opened = terminal.json("enroll", ALICE, "--label", "x")
    phone = AuthenticatorApp(terminal.clock).scan(opened["uri"])
    terminal.json("confirm", ALICE, *phone.two_codes())
    stored = b"".join(
        path.read_bytes() for path in terminal.folder.iterdir() if path != terminal.key_file
    )
    assert len(stored) > 5000
    secret = reveal(Key.from_base32(opened["base32"]))
    assert not any(spelling in stored for spelling in spellings(secret))
