"""Keys and codes in answers, logs and stored rows, and a storage that fails."""

from __future__ import annotations

from typing import Final

from ..steps import Case, Code, Level, Step
from ._build import STILL_WORKS, WRONG, advance, assign, begin, confirm, verify, works

USE: Final = (
    works(), verify(WRONG, "any"), verify(expect="any"), advance(60), works(),
)
READ: Final = "An attacker who can read it computes the codes of every device."


def _scan(where: str, what: str) -> Step:
    return Step(do="scan", where=where, what=what)


CASES: Final = (
    Case(
        id="secrets/key-in-answers",
        title="No answer contains the key, except the one that begins the enrollment.",
        why="Pages, error reports and proxies keep the key.",
        clauses=("SEED-SHOW", "ASVS5-16.5.1"),
        level=Level.SHOULD,
        steps=(assign(), *USE, _scan("answers", "key")),
    ),
    Case(
        id="secrets/key-in-logs",
        title="No log contains the key.",
        why=READ,
        clauses=("ASVS5-16.2.5",),
        level=Level.SHOULD,
        requires=("logs",),
        steps=(assign(enroll=True), *USE, _scan("logs", "key")),
    ),
    Case(
        id="secrets/codes-in-logs",
        title="No log contains a code.",
        why="An attacker who can read the log signs in with codes that were logged and refused.",
        clauses=("ASVS5-16.2.5",),
        level=Level.SHOULD,
        requires=("logs",),
        steps=(assign(enroll=True), *USE, _scan("logs", "codes")),
    ),
    Case(
        id="secrets/key-in-rows",
        title="The stored rows contain no readable key.",
        why=READ,
        clauses=("RFC6238-5.1-STORE",),
        level=Level.SHOULD,
        requires=("rows",),
        steps=(assign(enroll=True), works(), _scan("rows", "key")),
    ),
    Case(
        id="secrets/key-in-rows-of-enrollment",
        title="The stored rows of an enrollment contain no readable key.",
        why=READ,
        clauses=("RFC6238-5.1-STORE",),
        level=Level.SHOULD,
        requires=("rows", "enroll"),
        steps=(begin(), _scan("rows", "key"), confirm(-1, 0)),
    ),
    Case(
        id="storage/copied-row",
        title="A row that was copied to another user does not sign in.",
        why="An attacker who can write the database signs in as any user.",
        clauses=("RULE-RECORD", "SEED-BOUND"),
        level=Level.DEPTH,
        requires=("copy-row",),
        steps=(
            assign(enroll=True), works(),
            Step(do="copy_row", user="bob", arguments={"source": "alice"}, control=True),
            advance(30), verify(Code(user="alice"), "not accepted", user="bob"), *STILL_WORKS,
        ),
    ),
    Case(
        id="storage/write-fails",
        title="If nothing can be stored, a right code is not accepted and looks like a wrong one.",
        why="An attacker fills the disk and guesses without a limit, or uses a code twice.",
        clauses=("ASVS5-16.5.3",),
        level=Level.MUST,
        requires=("read-only",),
        steps=(
            assign(), works(), advance(30),
            Step(do="set_read_only", arguments={"on": True}, control=True),
            Step(do="same", steps=(verify(WRONG, "any"), verify(expect="not accepted"))),
            Step(do="set_read_only", arguments={"on": False}, control=True),
            *STILL_WORKS,
        ),
    ),
)  # fmt: skip
