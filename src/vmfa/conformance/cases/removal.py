"""Removal: who may remove a device, and what ends with it."""

from __future__ import annotations

from typing import Final

from ..steps import Case, Code, Level, Step
from ._build import STILL_WORKS, advance, assign, begin, confirm, remove, verify, works

THIEF: Final = "A thief with the password removes the second factor."


def _case(
    name: str, title: str, clause: str, level: Level, why: str, *steps: Step,
    requires: tuple[str, ...] = ("remove",),
) -> Case:
    return Case(
        id=f"removal/{name}", title=title, why=why, clauses=tuple(clause.split()), level=level,
        requires=requires, steps=(assign(enroll="enroll" in requires), *steps),
    )


def _counts(expect: str) -> Step:
    return Step(
        do="session_counts", arguments={"session": "browser-1"}, expect=expect,
        control=expect == "accepted",
    )


CASES: Final = (
    _case(
        "code-after", "The codes of a removed device are refused.",
        "SP80063B-4.3-LOST ASVS5-6.5.6 SEED-ROTATE", Level.MUST, "A stolen phone still signs in.",
        works(), remove("support"), advance(30), verify(expect="refused"),
    ),
    _case(
        "password-only", "The password alone does not remove a device.", "ASVS5-7.5.1",
        Level.SHOULD, THIEF, works(), remove("password", "refused"), *STILL_WORKS,
    ),
    _case(
        "administrator-password",
        "The password of an administrator alone does not remove a device.", "RULE-ADMIN",
        Level.DEPTH, THIEF, works(), remove("administrator password", "refused"), *STILL_WORKS,
    ),
    _case(
        "session-after", "The sessions of a removed device no longer count.", "ASVS5-7.4.3",
        Level.SHOULD, "A session signed in with the stolen phone goes on.",
        works(session="browser-1"), _counts("accepted"), remove("support"), _counts("refused"),
        requires=("remove", "sessions"),
    ),
    _case(
        "session-removes-next", "A session of a removed device does not remove the next one.",
        "ASVS5-7.4.3", Level.DEPTH,
        "A session signed in with the stolen phone removes the new one.",
        works(session="browser-1"), remove("support"), assign(enroll=True), works(),
        remove("session", "refused", session="browser-1"), *STILL_WORKS,
        requires=("remove", "sessions", "provision|enroll"),
    ),
    _case(
        "new-key", "After a removal, a new enrollment has a new key.", "SEED-ROTATE",
        Level.DEPTH, "The stolen phone shows the codes of the new device.",
        works(), remove("support"), advance(60), begin(), confirm(-1, 0),
        Step(do="distinct_keys", times=1), advance(60),
        verify(Code(device=0), "refused"), works(),
        requires=("remove", "enroll"),
    ),
)  # fmt: skip
