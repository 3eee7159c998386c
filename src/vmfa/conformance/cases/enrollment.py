"""Enrollment: which codes assign a device, and to whom."""

from __future__ import annotations

from typing import Final

from ..steps import Case, Code, Level, Step
from ._build import DAY, WRONG, advance, assign, begin, confirm, repeat, verify, works

TWO: Final = ("enroll", "two-codes")
SPACED: Final = Code(form="space in the middle")
GUESSED: Final = "A device is assigned that the user cannot use, or whose code was guessed."


def _case(
    name: str, title: str, clause: str, level: Level, *steps: Step,
    requires: tuple[str, ...] = ("enroll",), why: str = GUESSED,
) -> Case:
    return Case(
        id=f"enrollment/{name}", title=title, why=why, clauses=tuple(clause.split()), level=level,
        requires=requires, steps=steps,
    )


CASES: Final = (
    _case(
        "wrong-code", "A wrong code does not confirm an enrollment.", "SEED-TWO", Level.DEPTH,
        begin(), confirm(WRONG, WRONG, expect="refused"), confirm(-1, 0),
    ),
    _case(
        "before-confirmation", "Before it is confirmed, a device does not sign in.", "SEED-TWO",
        Level.DEPTH, begin(), verify(expect="refused"), confirm(-1, 0),
        why="An attacker who begins an enrollment for a user signs in with its codes.",
    ),
    _case(
        "same-code-twice", "One code twice does not confirm an enrollment.", "SEED-TWO",
        Level.DEPTH, begin(), confirm(0, 0, expect="refused"), confirm(-1, 0), requires=TWO,
    ),
    _case(
        "reversed", "Two codes in the wrong order do not confirm an enrollment.", "SEED-TWO",
        Level.DEPTH, begin(), confirm(0, -1, expect="refused"), confirm(-1, 0), requires=TWO,
    ),
    _case(
        "gap", "Two codes that do not follow each other do not confirm an enrollment.",
        "SEED-TWO", Level.DEPTH, begin(), confirm(-2, 0, expect="refused"), confirm(-1, 0),
        requires=TWO,
    ),
    _case(
        "one-right-code", "One right and one wrong code do not confirm an enrollment.",
        "SEED-TWO", Level.DEPTH, begin(), confirm(WRONG, Code(), expect="refused"),
        confirm(-1, 0), requires=TWO,
    ),
    _case(
        "far-pair", "Codes of an hour ago do not confirm an enrollment.", "RFC6238-6-LIMIT",
        Level.SHOULD, begin(), confirm(-121, -120, expect="refused"), confirm(-1, 0),
    ),
    _case(
        "code-spent", "The codes that confirmed an enrollment do not sign in.",
        "RFC6238-5.2-ONCE RULE-SPENT", Level.MUST,
        begin(), confirm(-1, 0), verify(expect="refused"), verify(Code(offset=-1), "refused"),
        advance(60), works(),
        why="A code that was seen during the set-up signs in.",
    ),
    _case(
        "late-code", "A code that sign-in accepts also confirms an enrollment.",
        "RFC6238-5.2-PAST", Level.SHOULD,
        assign(enroll=True), advance(60), works(-1), begin("bob"),
        confirm(-2, -1, user="bob", check=True),
        advance(90), verify(Code(user="bob"), user="bob"),
        why="Users can sign in, but not enroll, or enroll and not sign in.",
    ),
    _case(
        "spaced-code", "A code with a space, which sign-in accepts, also confirms.", "SEED-SIX",
        Level.DEPTH,
        assign(enroll=True), advance(60), verify(SPACED, control=True), begin("bob"),
        confirm(
            Code(user="bob", offset=-1, form=SPACED.form), Code(user="bob", form=SPACED.form),
            user="bob", check=True,
        ),
        why="Users can sign in as their app shows the code, but not enroll.",
    ),
    _case(
        "expired", "An enrollment that was not confirmed in a day ends.",
        "ASVS5-6.4.1 RULE-ABANDONED", Level.SHOULD,
        begin(), advance(DAY + 60), confirm(-1, 0, expect="refused"), begin(), confirm(-1, 0),
        requires=("enroll", "expiry"),
        why="A key that was shown long ago can still be made a second factor.",
    ),
    _case(
        "superseded", "A new enrollment ends the one before it.", "RULE-ABANDONED", Level.DEPTH,
        begin(), begin(), confirm(-1, 0, device=0, enrollment=0, expect="refused"),
        confirm(-1, 0),
        why="Of two keys that were shown, an attacker can confirm the one that they saw.",
    ),
    _case(
        "attempts", "After fifty wrong codes an enrollment ends.", "RULE-ABANDONED", Level.DEPTH,
        begin(), repeat(50, confirm(WRONG, WRONG, expect="refused")),
        confirm(-1, 0, expect="refused"), advance(DAY), begin(), confirm(-1, 0),
        why="Codes of an enrollment can be guessed without a limit.",
    ),
    _case(
        "other-user", "A user cannot confirm the enrollment of another.", "SEED-BOUND",
        Level.DEPTH, begin(), begin("bob"),
        confirm(
            Code(offset=-1), Code(), user="bob", expect="refused", enrollment_of="alice",
        ),
        confirm(-1, 0, user="bob", expect="refused", enrollment_of="alice"),
        confirm(-1, 0),
        why="An attacker binds a key that they know to another account.",
    ),
    _case(
        "second-device", "With the password alone, no second device is assigned.",
        "SEED-ONE ASVS5-7.5.1", Level.SHOULD,
        assign(enroll=True), works(), advance(60), begin(expect="any"),
        confirm(-1, 0, expect="refused"), advance(60), verify(Code(device=0), control=True),
        why="An attacker with the password adds a device of their own.",
    ),
    _case(
        "at-once", "Of confirmations at the same time, one is accepted.", "SEED-ONE",
        Level.DEPTH,
        Step(
            do="at_once", times=5, before=(Step(do="reset"), begin()),
            steps=tuple(confirm(-1, 0) for _ in range(10)),
        ),
        requires=("enroll", "parallel", "reset"),
        why="Two devices are assigned, each with its own limit of guesses.",
    ),
    _case(
        "keys-differ", "Each enrollment has a key of its own.", "RFC6238-3-R5", Level.MUST,
        begin(), begin("bob"), begin(), Step(do="distinct_keys", times=1),
        why="The device of one user shows the codes of another.",
    ),
    _case(
        "key-length", "A key has at least 128 bits.", "RFC4226-4-R6", Level.MUST,
        begin(), Step(do="distinct_keys", times=16),
        why="A key can be found from a few codes.",
    ),
)  # fmt: skip
