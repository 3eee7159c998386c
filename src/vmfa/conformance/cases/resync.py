"""Resynchronization with two codes."""

from __future__ import annotations

from typing import Final

from ..steps import Case, Code, Level, Step
from ._build import STILL_WORKS, WRONG, advance, assign, repeat, resync, verify, works


def _case(
    name: str, title: str, clause: str, level: Level, why: str, *steps: Step
) -> Case:
    return Case(
        id=f"resync/{name}", title=title, why=why, clauses=tuple(clause.split()), level=level,
        requires=("resync", "time"), steps=(assign(), works(), advance(600), *steps),
    )


def _pair(first: int, second: int) -> tuple[Code, Code]:
    return Code(offset=first), Code(offset=second)


RIGHT: Final = resync(*_pair(-1, 0), expect="accepted")
ORACLE: Final = "Each answer tells an attacker whether one code is right, over a wide window."

CASES: Final = (
    _case(
        "codes-spent", "The codes of a resynchronization do not sign in.",
        "RFC6238-5.2-ONCE RULE-SPENT", Level.MUST, "A code that was seen signs in.",
        RIGHT, verify(expect="refused"), verify(Code(offset=-1), "refused"), *STILL_WORKS,
    ),
    _case(
        "used-code", "A used code is not the first code of a resynchronization.",
        "RFC6238-5.2-ONCE RULE-SPENT", Level.MUST, "A code that was seen counts a second time.",
        works(), advance(30), resync(*_pair(-1, 0)), *STILL_WORKS,
    ),
    _case(
        "old-pair", "Two codes from before the last sign-in do not resynchronize.",
        "RULE-MONOTONE", Level.DEPTH, "Codes that were filmed move the window into the past.",
        works(), advance(60), resync(*_pair(-5, -4)), *STILL_WORKS,
    ),
    _case(
        "reversed", "Two codes in the wrong order do not resynchronize.", "RFC4226-7.4-SEQ",
        Level.SHOULD, ORACLE, resync(*_pair(0, -1)), *STILL_WORKS,
    ),
    _case(
        "gap", "Two codes that do not follow each other do not resynchronize.",
        "RFC4226-7.4-SEQ", Level.SHOULD, ORACLE, resync(*_pair(-3, -1)), *STILL_WORKS,
    ),
    _case(
        "one-right-code", "One right code does not resynchronize.", "RFC4226-7.4-SEQ",
        Level.SHOULD, ORACLE,
        resync(Code(offset=-1), WRONG), resync(WRONG, Code()), *STILL_WORKS,
    ),
    _case(
        "no-oracle", "The answer does not show that the first code is right.",
        "ASVS5-16.5.1", Level.DEPTH, ORACLE,
        Step(
            do="same",
            steps=(
                resync(WRONG, WRONG, expect="any"), resync(Code(offset=-5), WRONG, expect="any"),
            ),
        ),
        *STILL_WORKS,
    ),
    _case(
        "guesses", "A hundred wrong pairs at once stop further codes.",
        "RFC4226-7.1-RP2 RFC4226-7.3-T", Level.SHOULD,
        "An attacker guesses pairs instead of codes.",
        repeat(100, resync(WRONG, WRONG)), verify(expect="refused"),
    ),
    _case(
        "limit", "Codes of a day ago do not resynchronize.", "RFC6238-6-LIMIT", Level.SHOULD,
        "The window of a resynchronization has no limit.",
        resync(*_pair(-2881, -2880)), *STILL_WORKS,
    ),
)  # fmt: skip
