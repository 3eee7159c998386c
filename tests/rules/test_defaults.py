"""The numbers, as the rules state them, and the bounds between which a policy may choose others."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from vmfa import InvalidType, InvalidValue, Parameters, Policy

from .world import DAY, HOUR, refusal

DEFAULTS = {
    "window": 1, "enroll_back": 10, "enroll_forward": 10, "resync_back": 20, "resync_forward": 20, "login_drift": 2,
    "session_seconds": 15 * 60, "session_attempts": 10, "enrollments_per_day": 10, "delay_from": 3, "delay_seconds": 15,
    "delay_cap": HOUR, "failure_cap": 100, "budget": 100, "budget_refill": 48 * HOUR, "budget_warning": 25,
    "claim_seconds": HOUR, "recovery_seconds": 15 * 60, "binding_code_seconds": DAY, "binding_code_required": False,
    "offers": (Parameters(algorithm="sha1", digits=6, period=30, t0=0),),
}


def test_the_defaults_are_those_of_the_rules() -> None:
    """RULE-DEFAULTS: every number, and no field that is not listed here."""
    assert {field.name: getattr(Policy(), field.name) for field in fields(Policy)} == DEFAULTS


def test_strict_differs_in_what_the_rules_mark() -> None:
    """RULE-DEFAULTS: strict refuses pairs that are not in sync and asks for binding codes; all else is the same."""
    changed = {"enroll_back": 1, "enroll_forward": 1, "binding_code_required": True}
    assert {field.name: getattr(Policy.strict(), field.name) for field in fields(Policy)} == DEFAULTS | changed


WIDE: dict[str, Any] = {"enroll_back": 100, "enroll_forward": 100, "resync_back": 100, "resync_forward": 100}
BOUNDS = {
    "window": (0, 10), "enroll_back": (1, 100), "enroll_forward": (1, 100), "resync_back": (10, 100),
    "resync_forward": (10, 100), "login_drift": (0, 10), "session_seconds": (30, DAY), "session_attempts": (1, 100),
    "enrollments_per_day": (1, 100), "delay_from": (1, 100), "delay_seconds": (1, HOUR), "delay_cap": (15, DAY),
    "failure_cap": (1, 100), "budget": (26, 10_000), "budget_refill": (60, 365 * DAY), "budget_warning": (0, 99),
    "claim_seconds": (1, DAY), "recovery_seconds": (1, DAY), "binding_code_seconds": (60, 30 * DAY),
}


@pytest.mark.parametrize(("name", "low", "high"), [(name, *bounds) for name, bounds in BOUNDS.items()])
def test_every_number_is_bounded_on_both_sides(name: str, low: int, high: int) -> None:
    """RULE-POLICY: Policy validates every field, alone and against its neighbours: w <= eb <= rb, w <= ef <= rf."""
    around = WIDE if name.startswith(("enroll", "window")) else {}
    for value in (low, high):
        assert getattr(Policy(**around | {name: value}), name) == value
    for value in (low - 1, high + 1):
        if not (around and value == low - 1 == 0 and name.startswith("enroll")):
            assert isinstance(refusal(lambda value=value: Policy(**around | {name: value})), InvalidValue)
    for value in (str(low), float(low), True, None):
        assert isinstance(refusal(lambda value=value: Policy(**{name: value})), InvalidType)


@pytest.mark.parametrize(
    "wrong",
    [{"window": 2, "enroll_back": 1}, {"window": 2, "enroll_forward": 1}, {"enroll_back": 11, "resync_back": 10},
     {"enroll_forward": 11, "resync_forward": 10}, {"delay_seconds": 20, "delay_cap": 19},
     {"budget": 20, "budget_warning": 20}, {"offers": ()}, {"offers": (Parameters(t0=30),)},
     {"offers": [Parameters()]}, {"offers": ("sha1",)}, {"binding_code_required": 1}],
)
def test_numbers_that_do_not_fit_each_other(wrong: dict[str, Any]) -> None:
    """RULE-POLICY: w <= eb, ef <= rb, rf, each on its own side; a delay below its cap; a warning below the budget."""
    assert isinstance(refusal(lambda: Policy(**wrong)), (InvalidValue, InvalidType))


def test_replacing_validates_again_and_refuses_unknown_names() -> None:
    """RULE-POLICY: a misspelt or misplaced number is never silently ignored."""
    assert Policy().replace(window=0) == Policy(window=0)
    assert isinstance(refusal(lambda: Policy().replace(windw=0)), InvalidValue)
    assert isinstance(refusal(lambda: Policy().replace(window=11)), InvalidValue)
    assert isinstance(refusal(lambda: Policy(windw=0)), TypeError)
    assert isinstance(refusal(lambda: setattr(Policy(), "window", 5)), AttributeError)
    assert replace(Policy(), window=0).window == 0


def test_no_scan_is_wider_than_some_hundreds() -> None:
    """RULE-POLICY: the widest policy makes one attempt cost 202 codes."""
    widest = Policy(**WIDE)
    assert widest.resync_back + 1 + widest.resync_forward + 1 == 202
