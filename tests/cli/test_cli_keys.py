"""``vmfa keys`` and ``vmfa code``."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vmfa import DerivedKeys, totp
from vmfa.cli.parser import Command, Group, Parser, commands

if TYPE_CHECKING:
    from conftest import Terminal

BASE32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
KEY = b"12345678901234567890"


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ((), 32),
        (("--format", "raw"), 32),
        (("--format=hex",), 65),
        (("--format", "base64"), 45),
    ],
)
def test_a_new_key_file_works_at_once(
    terminal: Terminal, options: tuple[str, ...], size: int
) -> None:
    path = terminal.folder / "new.key"
    outcome = terminal.run("keys", "generate", *options, str(path))
    assert outcome.code == 0, outcome.err
    assert "Put a copy into a vault now" in outcome.out
    assert (path.stat().st_size, stat.S_IMODE(path.stat().st_mode)) == (size, 0o600)
    enrolled = terminal.run("enroll", "a/b", "--label", "x", "--key-file", str(path))
    assert enrolled.code == 0, enrolled.err


def test_what_is_printed_of_a_new_key_is_not_the_key(terminal: Terminal) -> None:
    path = terminal.folder / "new.key"
    data = terminal.json("keys", "generate", str(path), "--format", "hex")
    assert (data["file"], data["format"]) == (str(path), "hex")
    assert path.read_text().strip() not in str(data)


def test_two_new_keys_differ(terminal: Terminal) -> None:
    for name in ("one", "two"):
        terminal.run("keys", "generate", str(terminal.folder / name))
    assert (terminal.folder / "one").read_bytes() != (terminal.folder / "two").read_bytes()


def test_an_existing_file_is_not_overwritten(terminal: Terminal) -> None:
    before = terminal.key_file.read_bytes()
    outcome = terminal.run("keys", "generate", str(terminal.key_file))
    assert (outcome.code, outcome.out) == (5, "")
    assert outcome.err == "vmfa: the key file exists already and was not changed\n"
    assert terminal.key_file.read_bytes() == before


def test_a_wrong_format_lists_the_formats(terminal: Terminal) -> None:
    outcome = terminal.run("keys", "generate", str(terminal.folder / "key"), "--format", "pem")
    assert outcome.code == 2
    assert "--format is one of raw, hex, base64" in outcome.err
    assert not (terminal.folder / "key").exists()


def test_only_the_commands_that_start_a_database_create_a_key_file(terminal: Terminal) -> None:
    terminal.key_file.unlink()
    for name in commands():
        if name not in {"enroll", "import"}:
            outcome = terminal.run(*name.split(), "--create-key-file")
            assert outcome.code == 2
    assert not terminal.key_file.exists()


# The code of a key


def test_code_reads_a_key_and_prints_its_code_and_the_seconds_left(terminal: Terminal) -> None:
    terminal.clock.advance(13)
    typed = "gezd gnbv-gy3t qojq gezd gnbv gy3t qojq"
    assert (
        terminal.run("code", typed=typed).out
        == f"{totp(KEY, terminal.clock())}  17 seconds left\n"
    )
    assert terminal.json("code", typed=typed) == {
        "code": totp(KEY, terminal.clock()),
        "seconds_left": 17,
    }


def test_a_key_on_a_terminal_is_read_without_showing_it(terminal: Terminal) -> None:
    outcome = terminal.run("code", typed=BASE32, tty=True)
    assert outcome.out.startswith(totp(KEY, terminal.clock()))
    assert terminal.prompts == ["key in Base32 (not shown): "]


def test_a_key_is_never_an_argument(terminal: Terminal) -> None:
    for arguments in (
        ["code", BASE32],
        ["code", "--key", BASE32],
        [BASE32],
        ["keys", BASE32],
        ["keys", "generate", "a", BASE32],
    ):
        outcome = terminal.run(*arguments)
        assert (outcome.code, outcome.out) == (2, "")
        assert BASE32 not in outcome.err


def test_no_option_of_any_command_takes_a_key() -> None:
    taken: set[str] = set()

    def walk(choice: Command | Group) -> None:
        if isinstance(choice, Command):
            parser = Parser(prog=choice.name)
            for add in choice.arguments:
                add(parser)
            taken.update(
                option
                for action in parser._actions
                for option in action.option_strings
                if "key" in option
            )
        else:
            for inner in choice.commands:
                walk(inner)

    for command in commands().values():
        walk(command)
    assert taken == {
        "--key-file", "--accepted-key-file", "--derive-only-key-file", "--create-key-file",
        "--audit-key", "--source-key-file", "--unsafe-short-keys",
    }  # all but the last, which takes nothing, take or create files


# Roles of master keys


@pytest.fixture
def new_key_file(terminal: Terminal) -> str:
    path = terminal.folder / "new.key"
    terminal.json("keys", "generate", str(path))
    return str(path)


def key_id(path: Path | str) -> str:
    return DerivedKeys(Path(path).read_bytes()).current_id


def usage(terminal: Terminal, *options: str) -> dict[str, tuple[str, int, int, int]]:
    """Role, records, derived and sealed devices by the id of the master key."""
    rows = terminal.json("keys", "report", "a", *options)["keys"]
    return {
        row["id"]: (
            row["role"], row["records"], row["derived_devices"], row["sealed_devices"],
        )
        for row in rows
    }


def test_a_rotation_from_accepted_to_derive_only(terminal: Terminal, new_key_file: str) -> None:
    old, new = str(terminal.key_file), new_key_file
    phones = {name: terminal.enroll(f"a/{name}") for name in ("b", "c")}
    phones["root"] = terminal.enroll("--root", "a")

    def sign_in(name: str, *options: str) -> None:
        terminal.clock.advance(30)
        who = ["--root", "a"] if name == "root" else [f"a/{name}"]
        outcome = terminal.run("verify", *who, phones[name].code(), *options)
        assert outcome.code == 0, outcome.err

    accepted = ("--key-file", old, "--accepted-key-file", new)
    rotated = ("--key-file", new, "--key-file", old)
    sign_in("b", *accepted)
    assert usage(terminal, *accepted) == {
        key_id(old): ("current", 3, 3, 0), key_id(new): ("accepted", 0, 0, 0),
    }
    sign_in("b", *rotated)
    sign_in("c", *accepted)  # another node, which the change has not reached
    sign_in("b", *accepted)
    sign_in("b", *rotated)
    assert usage(terminal, *rotated) == {
        key_id(new): ("current", 1, 0, 0), key_id(old): ("retired", 2, 3, 0),
    }
    outcome = terminal.run("keys", "reseal", "a", *rotated)
    assert (outcome.code, outcome.out) == (0, "2 resealed, 1 unchanged, 0 problems\n")
    assert terminal.json("keys", "reseal", "a", *rotated) == {
        "resealed": 0, "unchanged": 3, "problems": [],
    }
    final = ("--key-file", new, "--derive-only-key-file", old)
    assert usage(terminal, *final) == {
        key_id(new): ("current", 3, 0, 0), key_id(old): ("derive-only", 0, 3, 0),
    }
    for name in phones:
        sign_in(name, *final)


def test_the_report_for_people(terminal: Terminal, new_key_file: str) -> None:
    terminal.enroll("a/b")
    terminal.enroll("c/d")
    outcome = terminal.run("keys", "report", "a", "c", "e", "--key-file", new_key_file)
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "master key        role         records  derived devices  sealed devices",
        f"{key_id(new_key_file)}  current            0                0               0",
        f"{key_id(terminal.key_file)}  unknown            2                2               0",
    ]


def test_the_report_names_records_that_cannot_be_read(terminal: Terminal) -> None:
    terminal.enroll("a/b")
    terminal.enroll("a/c")
    terminal.edit_database("UPDATE principal SET state = 'x' WHERE name = ?", "b")
    outcome = terminal.run("keys", "report", "a")
    assert outcome.code == 5
    assert outcome.out.splitlines()[-1] == "unreadable: a/b"
    assert outcome.err == "vmfa: 1 records cannot be read\n"
    (unreadable,) = terminal.run("keys", "report", "a", "--json").data["unreadable"]
    assert unreadable == {"account": "a", "kind": "user", "name": "b"}


def test_reseal_after_a_leak_lists_what_the_checkpoint_does_not_cover(
    terminal: Terminal, new_key_file: str
) -> None:
    phone = terminal.enroll("a/b")
    terminal.enroll("a/c")
    checkpoint = terminal.folder / "checkpoint.json"
    checkpoint.write_text(terminal.run("audit", "checkpoint", "a").out)
    assert terminal.run("verify", "a/b", phone.code()).code == 0
    rotated = ("--key-file", new_key_file, "--key-file", str(terminal.key_file))
    arguments = ("keys", "reseal", "a", "--checkpoint", str(checkpoint), *rotated)
    outcome = terminal.run(*arguments)
    assert outcome.code == 5
    assert outcome.out.splitlines() == [
        "a/b  the checkpoint does not cover this record: it may be forged",
        "1 resealed, 0 unchanged, 1 problems",
    ]
    assert outcome.err == "vmfa: 1 records were not resealed\n"
    data = terminal.run(*arguments, "--json").data
    assert (data["resealed"], data["unchanged"]) == (0, 1)
    assert [problem["name"] for problem in data["problems"]] == ["b"]
    final = ("--key-file", new_key_file, "--derive-only-key-file", str(terminal.key_file))
    terminal.clock.advance(30)
    assert terminal.run("verify", "a/b", phone.code(), *final).code == 5
    assert terminal.run("show", "a/c", *final).code == 0


def test_a_checkpoint_that_cannot_be_read_reseals_nothing(
    terminal: Terminal, new_key_file: str
) -> None:
    terminal.enroll("a/b")
    rotated = ("--key-file", new_key_file, "--key-file", str(terminal.key_file))
    other = terminal.folder / "other.json"
    other.write_text("{}")
    for name in (str(other), str(terminal.folder / "none")):
        assert terminal.run("keys", "reseal", "a", "--checkpoint", name, *rotated).code == 2
    assert usage(terminal, *rotated)[key_id(terminal.key_file)][1] == 1


def test_rekey_moves_imported_keys(terminal: Terminal, new_key_file: str) -> None:
    export = terminal.folder / "export.json"
    export.write_text(json.dumps([{"owner": "b", "secret": BASE32}]))
    imported = terminal.run("import", "pyotp", str(export), "--account", "a")
    assert imported.code == 0, imported.err
    rotated = ("--key-file", new_key_file, "--key-file", str(terminal.key_file))
    assert usage(terminal, *rotated)[key_id(terminal.key_file)] == ("retired", 1, 0, 1)
    outcome = terminal.run("keys", "rekey", "a", *rotated)
    assert (outcome.code, outcome.out) == (0, "1 rekeyed, 0 unchanged, 0 problems\n")
    terminal.clock.advance(90)
    code = totp(KEY, terminal.clock())
    assert terminal.run("verify", "a/b", code, "--key-file", new_key_file).code == 0
    outcome = terminal.run("keys", "rekey", "a", "--key-file", str(terminal.key_file))
    assert outcome.code == 5
    assert outcome.out.endswith("0 rekeyed, 0 unchanged, 1 problems\n")
    assert outcome.err == "vmfa: 1 records were not rekeyed\n"


def test_a_master_key_has_one_role(terminal: Terminal) -> None:
    terminal.enroll("a/b")
    for option in ("--key-file", "--accepted-key-file", "--derive-only-key-file"):
        key_file = str(terminal.key_file)
        outcome = terminal.run("show", "a/b", "--key-file", key_file, option, key_file)
        problem = "vmfa: a master key must have one role: it was passed twice\n"
        assert (outcome.code, outcome.err) == (2, problem)


def test_only_the_first_key_file_is_created(terminal: Terminal) -> None:
    first, second = terminal.folder / "first.key", terminal.folder / "second.key"
    options = ("--key-file", str(first), "--key-file", str(second), "--create-key-file")
    outcome = terminal.run("enroll", "a/b", "--label", "x", *options)
    assert outcome.code == 5
    assert first.exists()
    assert not second.exists()


# The audit key


def test_the_audit_key_goes_to_a_new_private_file(terminal: Terminal, new_key_file: str) -> None:
    path = terminal.folder / "audit.key"
    roles = ("--key-file", new_key_file, "--derive-only-key-file", str(terminal.key_file))
    outcome = terminal.run("keys", "audit-key", str(path), *roles)
    assert outcome.code == 0, outcome.err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    expected = DerivedKeys(
        Path(new_key_file).read_bytes(), derive_only=[terminal.key_file.read_bytes()]
    ).audit_key()
    assert path.read_text() == expected.to_text()
    for line in path.read_text().splitlines():
        assert line.split(".")[1] not in outcome.out
    outcome = terminal.run("keys", "audit-key", str(path))
    assert (outcome.code, outcome.out) == (5, "")
    assert outcome.err == "vmfa: the audit key file exists already and was not changed\n"
    assert terminal.run("keys", "audit-key", "-").code == 2
    assert terminal.json("keys", "audit-key", str(terminal.folder / "other"))["file"]


def test_an_audit_key_is_no_master_key(terminal: Terminal) -> None:
    path = str(terminal.folder / "audit.key")
    terminal.enroll("a/b")
    assert terminal.run("keys", "audit-key", path).code == 0
    assert terminal.run("show", "a/b", "--key-file", path).code == 5
