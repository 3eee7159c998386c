"""Guesses are limited, and guessing does not lock the owner out for good."""

from __future__ import annotations

from typing import Final

from ..steps import Case, Code, Level, Step
from ._build import DAY, HOUR, WRONG, advance, assign, begin, repeat, verify, works

GUESSED: Final = "An attacker with the password guesses codes until one is right."
GUESS: Final = verify(WRONG, "refused")
REFUSED: Final = verify(expect="refused")


def _case(
    name: str, title: str, clauses: tuple[str, ...], level: Level, *steps: Step,
    requires: tuple[str, ...] = (), why: str = GUESSED,
) -> Case:
    return Case(
        id=f"throttling/{name}", title=title, why=why, clauses=clauses, level=level,
        requires=requires, steps=(assign(), works(), advance(30), *steps),
    )


def _guesses(calls: int) -> tuple[Step, ...]:
    return tuple(verify(WRONG, "refused", session=f"browser-{i}") for i in range(calls))


CASES: Final = (
    _case(
        "ten-guesses", "After ten wrong codes at once, the next code is not evaluated.",
        ("RFC4226-7.1-RP2", "RFC4226-7.3-T"), Level.SHOULD, repeat(10, GUESS), REFUSED,
    ),
    _case(
        "hundred-guesses", "After a hundred wrong codes at once, the next is not evaluated.",
        ("SP80063B-3.1.4.2-RATE", "ASVS5-6.3.1"), Level.MUST, repeat(100, GUESS), REFUSED,
    ),
    _case(
        "hundred-patient-guesses",
        "After a hundred wrong codes in a row, one an hour, the device is disabled.",
        ("SP80063B-3.2.2-CAP", "RFC4226-7.2-LOCK"), Level.MUST,
        repeat(100, GUESS, advance(HOUR)), REFUSED,
        requires=("time",), why="An attacker who waits between guesses is never stopped.",
    ),
    _case(
        "disabled-for-good", "A device that was disabled by guesses accepts no code later.",
        ("RULE-DISABLED",), Level.DEPTH,
        repeat(100, GUESS, advance(HOUR)), advance(30 * DAY), REFUSED,
        requires=("time",), why="Guessing goes on after each pause.",
    ),
    _case(
        "many-sessions", "The limit holds across login sessions.",
        ("RFC4226-7.3-XSESSION",), Level.MUST,
        *_guesses(100), verify(expect="refused", session="browser-100"),
    ),
    _case(
        "many-nodes", "The limit holds across processes and machines.",
        ("RFC4226-7.3-XSESSION",), Level.MUST,
        repeat(50, GUESS, verify(WRONG, "refused", node="second")),
        verify(expect="refused", node="second"), REFUSED,
        requires=("nodes",),
    ),
    _case(
        "other-path", "The limit holds for another way to sign in.",
        ("ASVS5-6.3.4",), Level.SHOULD,
        repeat(100, GUESS), verify(expect="refused", path="second"),
        requires=("paths",),
    ),
    _case(
        "at-once", "After a hundred wrong codes at the same time, the next is not evaluated.",
        ("RFC4226-7.3-XSESSION",), Level.MUST,
        Step(do="at_once", steps=_guesses(100), most=0, least=0), REFUSED,
        requires=("parallel",), why="Parallel guesses are not counted.",
    ),
    _case(
        "at-once-evaluated",
        "Of guesses at the same time, no more are evaluated than one after the other.",
        ("RFC4226-7.3-XSESSION", "RULE-THROTTLE"), Level.MUST,
        Step(
            do="at_once", steps=_guesses(50), most=0, least=0, times=3, like_a_sequence=True,
            before=(Step(do="reset"), assign(), works(), advance(30)),
        ),
        requires=("parallel", "reset", "throttle-reported"),
        why="An attacker guesses in parallel, faster than failures are counted.",
    ),
    _case(
        "spaces-around", "The limit holds for codes with spaces around them.",
        ("RFC4226-7.1-RP2", "SEED-SIX"), Level.SHOULD,
        repeat(100, verify(Code(wrong=True, form="spaces around"), "refused")), REFUSED,
    ),
    _case(
        "re-enrollment", "An enrollment that begins does not end the limit.",
        ("RFC4226-7.1-RP2",), Level.SHOULD,
        repeat(100, GUESS), begin(expect="any"), verify(Code(device=0), "refused"),
        requires=("enroll",),
    ),
    _case(
        "between-sign-ins",
        "The guesses of an attacker are limited even if the owner signs in between them.",
        ("RULE-BUDGET",), Level.DEPTH,
        repeat(20, repeat(10, verify(WRONG, "any"), advance(2 * HOUR)), verify(expect="any")),
        advance(2 * HOUR), repeat(10, verify(WRONG, "any"), advance(2 * HOUR)), REFUSED,
        requires=("time",),
        why="Each sign-in of the owner gives the attacker new guesses, for years.",
    ),
    _case(
        "no-overflow", "A hundred failures cause no internal error.",
        ("RFC4226-7.3-T",), Level.DEPTH,
        repeat(100, verify(WRONG, "answered"), advance(DAY)),
        requires=("time",), why="A delay that grows without a limit overflows.",
    ),
    Case(
        id="lock-out/heals",
        title="Ten wrong codes do not lock the owner out for longer than a day.",
        why="Anyone who knows the password, or a name, locks the owner out.",
        clauses=("ASVS5-6.1.1",),
        level=Level.SHOULD,
        requires=("time",),
        steps=(
            assign(), works(), advance(30), repeat(10, GUESS, advance(600)), advance(DAY),
            verify(),
        ),
    ),
    Case(
        id="lock-out/other-user",
        title="Guesses for one user do not affect another.",
        why="An attacker with one account locks other users out.",
        clauses=("ASVS5-6.1.1",),
        level=Level.SHOULD,
        steps=(
            assign(), assign("bob"), works(user="bob"), advance(30), repeat(50, GUESS),
            verify(Code(user="bob"), user="bob"),
        ),
    ),
    Case(
        id="lock-out/used-code",
        title="A user who types a used code twenty times can sign in with the next one.",
        why="Impatient users lock themselves out.",
        clauses=("ASVS5-6.1.1",),
        level=Level.DEPTH,
        steps=(assign(), works(), repeat(20, verify(expect="any")), advance(60), verify()),
    ),
)  # fmt: skip
