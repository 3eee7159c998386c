"""Help, version, missing and unknown arguments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vmfa.cli.parser import AUDIT, KEYS, PROGRAM, commands

if TYPE_CHECKING:
    from conftest import Terminal

COMMANDS = [choice.name for choice in PROGRAM.commands]
DOCS = Path(__file__).parents[2] / "docs"


def test_the_help_fits_a_screen_of_24_lines_and_80_columns(terminal: Terminal) -> None:
    outcome = terminal.run("--help")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert len(lines) < 24  # the prompt takes one
    assert max(map(len, lines)) <= 80
    for name in COMMANDS:
        assert any(line.startswith(f"  {name} ") for line in lines)


@pytest.mark.parametrize("name", ["audit", "keys", "support"])
def test_the_help_of_a_group_lists_its_commands(terminal: Terminal, name: str) -> None:
    lines = terminal.run(name, "--help").out.splitlines()
    group = PROGRAM.find(name)
    assert not isinstance(group, (type(None), type(commands()["demo"])))
    for choice in group.commands:
        assert any(line.startswith(f"  {choice.name} ") for line in lines)
        assert choice.name in group.about  # so that vmfa --help names it as well


@pytest.mark.parametrize("name", commands())
def test_every_command_explains_itself_and_the_exit_codes(terminal: Terminal, name: str) -> None:
    outcome = terminal.run(*name.split(), "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"usage: vmfa {name} ")
    assert commands()[name].about.split(".")[0] in outcome.out
    assert "exit codes: 0 done;" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert outcome.out == terminal.run(*name.split(), "-h").out


@pytest.mark.parametrize("name", ["confirm", "verify", "resync"])
def test_the_help_says_that_codes_in_arguments_can_be_seen(terminal: Terminal, name: str) -> None:
    assert "visible to other users" in " ".join(terminal.run(name, "--help").out.split())


@pytest.mark.parametrize(
    "arguments", [("--version",), ("--db", "x", "--version"), ("audit", "--version")]
)
def test_the_version(terminal: Terminal, arguments: tuple[str, ...]) -> None:
    from importlib.metadata import version

    outcome = terminal.run(*arguments)
    assert (outcome.code, outcome.out, outcome.err) == (0, f"vmfa {version('vmfa')}\n", "")


# Missing and wrong arguments


@pytest.mark.parametrize(
    ("arguments", "prog", "choices"),
    [
        ([], "vmfa", COMMANDS),
        (["frobnicate"], "vmfa", COMMANDS),
        (["--json", "verfiy", "a/b"], "vmfa", COMMANDS),
        (["audit"], "vmfa audit", [choice.name for choice in AUDIT.commands]),
        (["audit", "heads", "1"], "vmfa audit", [choice.name for choice in AUDIT.commands]),
        (["keys"], "vmfa keys", [choice.name for choice in KEYS.commands]),
    ],
)
def test_a_missing_or_unknown_command_lists_the_commands(
    terminal: Terminal, arguments: list[str], prog: str, choices: list[str]
) -> None:
    outcome = terminal.run(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    message = outcome.problem["message"] if "--json" in arguments else outcome.err
    assert f"choose one of {', '.join(choices)}; see {prog} --help" in message


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["enroll", "a/b"],
            "the following arguments are required: --label; see vmfa enroll --help",
        ),
        (
            ["enroll", "a/b", "--label"],
            "argument --label: expected one argument; see vmfa enroll --help",
        ),
        (
            ["verify", "a/b", "--db"],
            "argument --db: expected one argument; see vmfa verify --help",
        ),
        (
            ["verify", "a/b", "--db", "--utc"],
            "argument --db: expected one argument; see vmfa verify --help",
        ),
        (
            ["verify", "a/b", "--roo"],
            "too many arguments, or an unknown option; see vmfa verify --help",
        ),
        (
            ["verify", "a/b", "1", "2"],
            "too many arguments, or an unknown option; see vmfa verify --help",
        ),
        (
            ["show", "a/b", "--roo"],
            "too many arguments, or an unknown option; see vmfa show --help",
        ),
        (
            ["--unknown", "show", "a/b"],
            "too many arguments, or an unknown option; see vmfa --help",
        ),
        (
            ["audit", "--unknown", "verify", "a"],
            "too many arguments, or an unknown option; see vmfa audit --help",
        ),
        (
            ["policy", "--window", "x"],
            "argument --window: invalid int value; see vmfa policy --help",
        ),
        (
            ["list", "a", "--json=yes"],
            "argument --json: ignored explicit argument; see vmfa list --help",
        ),
        (["selftest", "x"], "too many arguments, or an unknown option; see vmfa selftest --help"),
    ],
)
def test_what_is_wrong_with_the_arguments_is_said_without_quoting_them(
    terminal: Terminal, arguments: list[str], sentence: str
) -> None:
    assert terminal.run(*arguments).err == f"vmfa: {sentence}\n"


def test_an_option_without_its_value_does_not_take_an_argument(terminal: Terminal) -> None:
    assert terminal.run("enroll", "a/b", "--label").code == 2
    assert not terminal.db.exists()


def test_every_missing_argument_is_named(terminal: Terminal) -> None:
    assert "required: FORMAT, FILE, --account;" in terminal.run("import").err


def test_errors_in_json_start_with_a_wrong_usage(terminal: Terminal) -> None:
    problem = terminal.run("--json", "frobnicate").problem
    assert (problem["reason"], problem["exit_code"]) == ("usage", 2)


def test_the_manual_names_every_command() -> None:
    manual = (DOCS / "cli.md").read_text()
    for name in commands():
        assert f"vmfa {name}" in manual
