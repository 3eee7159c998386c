"""The cases, by group. Each is data: see :class:`vmfa.conformance.Case`."""

from __future__ import annotations

from typing import Final

from ..steps import Case
from . import (
    baseline,
    clock,
    enrollment,
    guessing,
    inputs,
    removal,
    replay,
    resync,
    secret,
    vector,
)

CASES: Final[tuple[Case, ...]] = (
    *baseline.CASES, *vector.CASES, *clock.WINDOW, *replay.CASES, *guessing.CASES,
    *enrollment.CASES, *removal.CASES, *resync.CASES, *inputs.CASES, *clock.CASES,
    *secret.CASES,
)
"""All cases. The baseline comes first."""
