"""A code is accepted once: by whom, where, when and in which form it comes again."""

from __future__ import annotations

from typing import Final

from ..steps import Case, Code, Level, Step
from ._build import STILL_WORKS, advance, assign, verify, works
from .vector import TWINS

ONCE: Final = ("RFC6238-5.2-ONCE", "SP80063B-3.1.4.2-ONCE", "ASVS5-6.5.1")
SEEN: Final = "An attacker who sees or relays a code signs in with it a second time."


def _case(
    name: str, title: str, *steps: Step, requires: tuple[str, ...] = (), why: str = SEEN,
    clauses: tuple[str, ...] = ONCE, level: Level = Level.MUST,
) -> Case:
    return Case(
        id=f"replay/{name}", title=title, why=why, clauses=clauses, level=level,
        requires=requires, steps=(assign(), *steps, *STILL_WORKS),
    )


def _race(calls: int, rounds: int) -> Case:
    return Case(
        id=f"replay/{calls}-at-once",
        title=f"Of {calls} sign-ins with one code at the same time, one is accepted.",
        why="A relay that is as fast as the user signs in, too.",
        clauses=ONCE,
        level=Level.MUST,
        requires=("parallel",),
        steps=(
            assign(),
            Step(
                do="at_once", times=rounds, before=(advance(30),),
                steps=tuple(verify(session=f"browser-{i}") for i in range(calls)),
            ),
        ),
    )


CASES: Final = (
    _case("same-code", "A code is accepted once.", works(), verify(expect="refused")),
    _case(
        "one-step-later", "A used code is refused in the next steps.",
        works(), advance(30), verify(Code(offset=-1), "refused"),
        advance(30), verify(Code(offset=-2), "refused"),
    ),
    _case(
        "after-the-next-code", "A used code is refused after the next one was used.",
        works(), advance(30), works(), verify(Code(offset=-1), "refused"),
    ),
    _case(
        "after-an-earlier-code",
        "A code from ahead is refused again after an earlier one was presented.",
        works(+1), verify(expect="any"), verify(Code(offset=+1), "refused"), advance(30),
    ),
    _case(
        "earlier-code", "After a code, the codes of earlier steps are refused.",
        works(+1), verify(expect="refused"), advance(30),
        why="A code that was seen and not used stays valid after the user signed in.",
        clauses=("RULE-MONOTONE",), level=Level.DEPTH,
    ),
    TWINS,
    _case(
        "after-restart", "A used code is refused after a restart.",
        works(), Step(do="restart", control=True), verify(expect="refused"),
        requires=("restart",),
    ),
    _case(
        "other-session", "A used code is refused in another session.",
        works(session="browser-1"), verify(expect="refused", session="browser-2"),
    ),
    _case(
        "other-node", "A used code is refused by another process or machine.",
        works(), verify(expect="refused", node="second"),
        advance(30), works(node="second"), verify(expect="refused"),
        requires=("nodes",),
    ),
    _case(
        "other-path", "A used code is refused on another way to sign in.",
        works(), verify(expect="refused", path="second"),
        advance(30), works(path="second"), verify(expect="refused"),
        requires=("paths",), clauses=(*ONCE, "ASVS5-6.3.4"),
    ),
    *(
        _case(
            name, f"A used code is refused with {what}.",
            works(), verify(Code(form=form), "refused"),
            clauses=("RFC6238-5.2-ONCE", "SEED-SIX"),
        )
        for name, what, form in (
            ("spaces-around", "spaces around it", "spaces around"),
            ("space-inside", "a space in its middle", "space in the middle"),
            ("newline", "a line break after it", "newline"),
        )
    ),
    _case(
        "drift", "A used code is refused after the system followed the clock of the device.",
        works(-1), advance(300), works(-1), verify(Code(offset=-1), "refused"),
        advance(30), verify(Code(offset=-2), "refused"),
    ),
    _race(2, 5),
    _race(10, 10),
    _race(50, 5),
    Case(
        id="replay/at-once-on-two-nodes",
        title="Of sign-ins with one code at the same time on two nodes, one is accepted.",
        why=SEEN,
        clauses=ONCE,
        level=Level.MUST,
        requires=("parallel", "nodes"),
        steps=(
            assign(),
            Step(
                do="at_once", times=10, before=(advance(30),),
                steps=tuple(verify(node="second" if i % 2 else "") for i in range(10)),
            ),
        ),
    ),
)  # fmt: skip
