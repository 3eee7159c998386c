"""The face of the command line is frozen in ``face.txt``: whoever changes a word changes it there, and in the docs.

``python tests/cli/test_cli_face.py`` writes the file anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from vmfa.cli.main import parser

FACE = Path(__file__).with_name("face.txt")


def described(shape: argparse.ArgumentParser, told: set[str], about: str | None = None) -> Iterator[str]:
    """A line for each argument, once; not as argparse prints it, for that differs from one Python to the next."""
    yield f"# {shape.prog}"
    yield f"{shape.description}"
    if about is not None and about != shape.description:
        yield f"in the list of commands: {about}"
    if shape.epilog:
        yield shape.epilog
    yield f"abbreviations: {shape.allow_abbrev}"
    below: list[tuple[argparse.ArgumentParser, str | None]] = []
    for action in shape._actions:
        name = " ".join(action.option_strings) or f"<{action.metavar}>"
        needed = "required" if action.required else f"default {action.default!r}"
        taken = {
            key: value for key, value in (
                ("as", action.dest), ("a", action.metavar), ("nargs", action.nargs), ("const", action.const),
                ("choices", action.choices and list(action.choices)), ("type", getattr(action.type, "__name__", None)),
            ) if value is not None
        }
        line = f"{name}: {action.help} [{needed}; {', '.join(f'{key} {value}' for key, value in taken.items())}]"
        yield f"{name}: as above" if line in told else line
        told.add(line)
        if isinstance(action, argparse._SubParsersAction):
            abouts = {choice.dest: choice.help for choice in action._choices_actions}
            below += [(sub, abouts[name]) for name, sub in action.choices.items()]
    yield ""
    for sub, said in below:
        yield from described(sub, told, said)


def test_no_word_of_the_face_changed() -> None:
    assert "\n".join(described(parser(), set())) == FACE.read_text("utf-8")


if __name__ == "__main__":
    FACE.write_text("\n".join(described(parser(), set())), "utf-8")
