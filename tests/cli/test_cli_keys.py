"""``vmfa keys generate`` and ``vmfa code``."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from vmfa import totp
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
    assert taken == {"--key-file", "--create-key-file", "--unsafe-short-keys"}
