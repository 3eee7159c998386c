"""The baseline: right codes are accepted and wrong ones refused, always."""

from __future__ import annotations

from typing import Final

from ..steps import Case, Level, Step
from ._build import WRONG, advance, assign, repeat, verify

CASES: Final = (
    Case(
        id="baseline/right-code",
        title="A right code is accepted, each time.",
        why="Users cannot sign in, or the adapter does not call the system correctly.",
        clauses=("RFC4226-7.2-VALID", "RFC6238-3-R3", "RFC6238-3-R4"),
        level=Level.MUST,
        steps=(assign(), repeat(8, verify(), advance(30))),
    ),
    Case(
        id="baseline/wrong-code",
        title="A wrong code is refused, each time.",
        why="Any code signs in.",
        clauses=("RFC4226-7.2-VALID", "ASVS5-6.3.1"),
        level=Level.MUST,
        steps=(
            repeat(8, Step(do="reset"), assign(), verify(WRONG, "refused"), advance(60), verify()),
        ),
    ),
)
