"""Windows, drift, and clocks that go back or ran ahead."""

from __future__ import annotations

from typing import Final

from ..steps import Case, Code, Level, Step
from ._build import HOUR, STILL_WORKS, advance, assign, provision, repeat, set_time, verify, works

GUESSED: Final = "Each guess is compared with more codes, and a code that was seen lives longer."
BERLIN_HOURS: Final = (1729989000, 1729992600)  # 02:30 in summer time, and again an hour later


def _window(
    name: str, title: str, clause: str, level: Level, *steps: Step, why: str = GUESSED
) -> Case:
    return Case(
        id=f"window/{name}", title=title, why=why, clauses=(clause,), level=level,
        steps=(assign(), advance(60), *steps),
    )


WINDOW: Final = (
    _window(
        "previous-step", "A code of the previous step is accepted.", "RFC6238-5.2-PAST",
        Level.SHOULD, verify(Code(offset=-1)), advance(60), works(),
        why="Users who type slowly cannot sign in.",
    ),
    _window(
        "two-steps-back", "A code of two steps ago is refused.", "RFC6238-5.2-ONESTEP",
        Level.SHOULD, verify(Code(offset=-2), "refused"), *STILL_WORKS,
    ),
    _window(
        "two-steps-ahead", "A code of two steps ahead is refused.", "RFC6238-5.2-ONESTEP",
        Level.SHOULD, verify(Code(offset=+2), "refused"), *STILL_WORKS,
    ),
    _window(
        "ten-minutes-back", "A code of ten minutes ago is refused.", "RFC6238-6-LIMIT",
        Level.SHOULD, verify(Code(offset=-20), "refused"), *STILL_WORKS,
    ),
    _window(
        "ten-minutes-ahead", "A code of ten minutes ahead is refused.", "RFC6238-6-LIMIT",
        Level.SHOULD, verify(Code(offset=+20), "refused"), *STILL_WORKS,
    ),
    _window(
        "eight-hours", "Codes of eight hours ago and ahead are refused.", "RFC6238-6-LIMIT",
        Level.SHOULD, verify(Code(offset=-960), "refused"), verify(Code(offset=960), "refused"),
        *STILL_WORKS, why="The window has thousands of codes: a guess is likely to be right.",
    ),
    Case(
        id="window/drift-is-limited",
        title="Sign-ins that are later each time move the window by a few steps at most.",
        why="An attacker who delays codes moves the window as far as they like.",
        clauses=("RULE-DRIFT", "RFC6238-6-DRIFT"),
        level=Level.DEPTH,
        requires=("time",),
        steps=(
            assign(), advance(HOUR), works(),
            *(
                step
                for offset in range(-1, -7, -1)
                for step in (
                    advance(HOUR), repeat(2, verify(Code(offset=offset), "any"), advance(HOUR)),
                )
            ),
            verify(Code(offset=-6), "refused"), advance(HOUR), works(-1),
        ),
    ),
)  # fmt: skip

CASES: Final = (
    Case(
        id="clock/set-back",
        title="After the clock went back a minute, a used code is refused.",
        why="A correction of the clock makes used codes valid again.",
        clauses=("RFC6238-5.2-ONCE", "RULE-CLOCK"),
        level=Level.MUST,
        requires=("time",),
        steps=(
            assign(), works(), advance(-60), verify(Code(offset=+2), "refused"),
            advance(30), verify(Code(offset=+1), "refused"), advance(60), works(),
        ),
    ),
    Case(
        id="clock/set-back-an-hour",
        title="After the clock went back an hour, used codes are refused.",
        why="A machine that is resumed, or a time server that is wrong, makes used codes valid.",
        clauses=("RFC6238-5.2-ONCE", "RULE-CLOCK"),
        level=Level.MUST,
        requires=("time",),
        steps=(
            assign(), advance(HOUR), works(), advance(-HOUR), verify(Code(offset=+120), "refused"),
            advance(HOUR), verify(expect="refused"), advance(HOUR), works(),
        ),
    ),
    Case(
        id="clock/ran-ahead",
        title="A code used while the clock ran ahead is refused when its time comes.",
        why="Codes of the future that were tried are valid twice.",
        clauses=("RFC6238-5.2-ONCE",),
        level=Level.MUST,
        requires=("time",),
        steps=(
            assign(), advance(HOUR), works(), advance(-HOUR), verify(expect="any"),
            advance(HOUR), verify(expect="refused"), advance(HOUR), works(),
        ),
    ),
    Case(
        id="clock/summer-time-ends",
        title="In the hour that a local clock shows twice, only the right code is accepted.",
        why="For an hour, right codes are refused and codes of the other hour are accepted.",
        clauses=("RFC6238-3-R4",),
        level=Level.MUST,
        requires=("time", "zone", "provision"),
        steps=(
            Step(do="set_zone", arguments={"zone": "Europe/Berlin"}, control=True),
            *(
                step
                for user, now in zip(("alice", "bob"), BERLIN_HOURS, strict=True)
                for step in (
                    set_time(now), provision("one", user),
                    verify(Code(user=user), user=user),
                    verify(Code(user=user, offset=-120), "refused", user=user),
                    verify(Code(user=user, offset=+120), "refused", user=user),
                )
            ),
        ),
    ),
    Case(
        id="clock/before-t0",
        title="Before T0, codes are refused.",
        why="Steps before T0 are rounded the wrong way, so that a code is valid for too long.",
        clauses=("RFC6238-4.2-FLOOR",),
        level=Level.DEPTH,
        requires=("time", "provision", "parameters"),
        steps=(
            provision("one", t0=1_700_000_010 - 30), works(), advance(-60),
            verify(Code(offset=0), "not accepted"), verify(Code(offset=+1), "not accepted"),
            advance(120), works(),
        ),
    ),
)  # fmt: skip
