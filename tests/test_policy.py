"""Parameters and Policy: the defaults, the bounds, and how the numbers fit together."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from vmfa import InvalidType, InvalidValue, Parameters, Policy

HOUR = 3600
DAY = 24 * HOUR

DEFAULTS: dict[str, Any] = {  # written from the rules
    "window": 1,
    "enroll_back": 10,
    "enroll_forward": 10,
    "resync_back": 20,
    "resync_forward": 20,
    "login_drift": 2,
    "session_seconds": 15 * 60,
    "session_attempts": 10,
    "enrollments_per_day": 10,
    "delay_from": 3,
    "delay_seconds": 15,
    "delay_cap": HOUR,
    "failure_cap": 100,
    "budget": 100,
    "budget_refill": 48 * HOUR,
    "budget_warning": 25,
    "claim_seconds": HOUR,
    "recovery_seconds": 15 * 60,
    "binding_code_seconds": DAY,
    "binding_code_required": False,
    "known_clients": False,
    "known_client_reserve": 25,
    "client_token_seconds": 90 * DAY,
    "recovery_codes": 0,
    "store_sign_ins": False,
    "offers": (Parameters(algorithm="sha1", digits=6, period=30, t0=0),),
}
NUMBERS = [name for name, value in DEFAULTS.items() if type(value) is int]
SWITCHES = [name for name, value in DEFAULTS.items() if type(value) is bool]
BOUNDS = {
    "window": (0, 10),
    "enroll_back": (0, 100),
    "enroll_forward": (0, 100),
    "resync_back": (0, 100),
    "resync_forward": (0, 100),
    "login_drift": (0, 10),
    "session_seconds": (30, DAY),
    "session_attempts": (1, 100),
    "enrollments_per_day": (1, 100),
    "delay_from": (1, 100),
    "delay_seconds": (1, DAY),
    "delay_cap": (1, DAY),
    "failure_cap": (1, 100),
    "budget": (1, 10_000),
    "budget_refill": (60, 365 * DAY),
    "budget_warning": (0, 9_999),  # below the budget
    "claim_seconds": (1, DAY),
    "recovery_seconds": (1, DAY),
    "binding_code_seconds": (60, DAY),
    "known_client_reserve": (1, 100),
    "client_token_seconds": (DAY, 365 * DAY),
    "recovery_codes": (0, 20),
}
# Neighbors that allow the highest and for the lowest value of each number.
WIDE = {
    "enroll_back": 100,
    "enroll_forward": 100,
    "resync_back": 100,
    "resync_forward": 100,
    "delay_cap": DAY,
    "budget": 10_000,
    "budget_warning": 0,
}
NARROW = {
    "window": 0,
    "enroll_back": 0,
    "enroll_forward": 0,
    "delay_seconds": 1,
    "budget_warning": 0,
}


def values(policy: Policy) -> dict[str, Any]:
    return {field.name: getattr(policy, field.name) for field in dataclasses.fields(policy)}


class TestParameters:
    def test_the_defaults(self) -> None:
        """SEED-SIX: six digits, SHA-1, 30 seconds from the epoch."""
        assert dataclasses.astuple(Parameters()) == ("sha1", 6, 30, 0)

    def test_a_step_is_counted_with_period_and_t0(self) -> None:
        assert [Parameters(period=60, t0=7).step_at(now) for now in (126, 127)] == [1, 2]

    @pytest.mark.parametrize(("algorithm", "size"), [("sha1", 20), ("sha256", 32), ("sha512", 64)])
    def test_a_key_is_as_long_as_the_hash(self, algorithm: str, size: int) -> None:
        """RFC6238-5.1-KEYLEN: the size in bytes."""
        assert Parameters(algorithm=algorithm).key_size == size

    @pytest.mark.parametrize(
        "wrong",
        [
            {"algorithm": "md5"},
            {"algorithm": None},
            {"digits": 5},
            {"digits": 9},
            {"digits": 6.0},
            {"period": 0},
            {"period": -30},
            {"period": 30.0},
            {"t0": 0.5},
            {"t0": None},
            {"t0": 2**65},
        ],
        ids=str,
    )
    def test_an_invalid_parameter_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises((InvalidValue, InvalidType), match=next(iter(wrong))):
            Parameters(**wrong)


class TestDefaults:
    def test_the_defaults_are_those_of_the_rules(self) -> None:
        """RULE-DEFAULTS: every number, and no other field."""
        assert values(Policy()) == DEFAULTS

    def test_strict_changes_enrollment_windows_and_binding_codes_only(self) -> None:
        """RULE-DEFAULTS: pairs out of sync are refused, and binding codes are required."""
        changed = {"enroll_back": 1, "enroll_forward": 1, "binding_code_required": True}
        assert values(Policy.strict()) == {**DEFAULTS, **changed}


class TestBounds:
    def test_every_number_has_bounds(self) -> None:
        assert sorted(BOUNDS) == sorted(NUMBERS)

    @pytest.mark.parametrize("name", NUMBERS)
    def test_a_number_within_its_bounds_is_accepted_and_others_are_refused(
        self, name: str
    ) -> None:
        """RULE-POLICY: each number is bounded on both sides."""
        low, high = BOUNDS[name]
        assert getattr(Policy(**{**NARROW, name: low}), name) == low
        assert getattr(Policy(**{**WIDE, name: high}), name) == high
        for beyond in (low - 1, 10_001 if name == "budget_warning" else high + 1):
            with pytest.raises(InvalidValue, match=f"^{name} "):
                Policy(**{**WIDE, name: beyond})

    @pytest.mark.parametrize("name", NUMBERS)
    @pytest.mark.parametrize("value", [None, True, 1.0, "1"], ids=repr)
    def test_a_number_is_an_int(self, name: str, value: Any) -> None:
        with pytest.raises(InvalidType, match=f"^{name} "):
            Policy(**{name: value})

    @pytest.mark.parametrize("name", SWITCHES)
    @pytest.mark.parametrize("value", [1, 0, None, "yes"], ids=repr)
    def test_a_switch_is_a_bool(self, name: str, value: Any) -> None:
        with pytest.raises(InvalidType, match=f"^{name} "):
            Policy(**{name: value})

    @pytest.mark.parametrize(
        "value",
        [[Parameters()], Parameters(), None, (Parameters(), "sha1"), ((),)],
        ids=["a list", "one offer", "None", "a str among them", "an empty tuple among them"],
    )
    def test_offers_is_a_tuple_of_parameters(self, value: Any) -> None:
        with pytest.raises(InvalidType, match=r"^offers "):
            Policy(offers=value)

    def test_the_widest_policy_scans_202_steps(self) -> None:
        """RULE-POLICY: the work of one attempt is bounded."""
        widest = Policy(**WIDE)
        assert widest.resync_back + 1 + widest.resync_forward + 1 == 202


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "no offer": ({"offers": ()}, "offers must not be empty"),
    "window above enroll_back": (
        {"window": 2, "enroll_back": 1},
        "window must not exceed enroll_back or enroll_forward",
    ),
    "window above enroll_forward": (
        {"window": 2, "enroll_forward": 1},
        "window must not exceed enroll_back or enroll_forward",
    ),
    "enroll_back above resync_back": (
        {"enroll_back": 21},
        "enroll_back must not exceed resync_back",
    ),
    "enroll_forward above resync_forward": (
        {"enroll_forward": 21},
        "enroll_forward must not exceed resync_forward",
    ),
    "delay above its cap": (
        {"delay_seconds": 16, "delay_cap": 15},
        "delay_seconds must not exceed delay_cap",
    ),
    "warning at the budget": ({"budget": 25}, "budget_warning must be below budget"),
    "reserve at the failure cap": (
        {"known_clients": True, "failure_cap": 25},
        "known_client_reserve must be below budget and failure_cap",
    ),
    "T0 of new devices": (
        {"offers": (Parameters(t0=1), Parameters())},
        "the first offer must have t0 = 0: a key URI cannot carry another",
    ),
    "long period": (
        {"offers": (Parameters(), Parameters(period=301))},
        "periods must not exceed 300 seconds",
    ),
}


class TestConsistency:
    @pytest.mark.parametrize("name", UNFIT)
    def test_numbers_that_do_not_fit_together_are_refused(self, name: str) -> None:
        """RULE-POLICY: each number is checked against its neighbors."""
        wrong, message = UNFIT[name]
        with pytest.raises(InvalidValue) as caught:
            Policy(**wrong)
        assert str(caught.value) == message

    def test_known_clients_are_allowed_by_the_defaults(self) -> None:
        """RULE-POLICY: the reserve is below budget and failure cap."""
        assert Policy(known_clients=True).known_client_reserve == 25

    @pytest.mark.parametrize(
        "edge",
        [
            {"window": 2, "enroll_back": 2, "enroll_forward": 2},
            {"enroll_back": 20},
            {"enroll_forward": 20},
            {"delay_seconds": 15, "delay_cap": 15},
            {"budget": 26},
            {"offers": (Parameters(), Parameters(t0=1, period=300))},
        ],
        ids=lambda edge: f"{edge}"[1:40],
    )
    def test_equal_numbers_fit(self, edge: dict[str, Any]) -> None:
        assert Policy(**edge) == Policy().replace(**edge)


class TestReplace:
    def test_replace(self) -> None:
        assert Policy.strict().replace(window=0) == Policy(
            window=0, enroll_back=1, enroll_forward=1, binding_code_required=True
        )
        assert Policy().replace() == Policy()

    def test_an_unknown_field_is_refused(self) -> None:
        """RULE-POLICY: a misspelled number is never silently ignored."""
        with pytest.raises(InvalidValue, match="'windows'"):
            Policy().replace(windows=2, window=1)
        with pytest.raises(TypeError, match="windows"):
            Policy(windows=2)  # type: ignore[call-arg]  # on purpose

    def test_a_replaced_value_is_checked(self) -> None:
        """RULE-POLICY: with the same bounds as on construction."""
        with pytest.raises(InvalidValue, match="window"):
            Policy().replace(window=11)


class TestDelay:
    @pytest.mark.parametrize(
        ("failures", "seconds"),
        [
            (0, 0),
            (1, 0),
            (2, 0),
            (3, 15),
            (4, 30),
            (5, 60),
            (10, 1920),
            (11, HOUR),
            (12, HOUR),
            (45, HOUR),
            (99, HOUR),
            (10_000, HOUR),
        ],
    )
    def test_the_delay_doubles_from_the_third_failure_to_an_hour(
        self, failures: int, seconds: int
    ) -> None:
        """RFC4226-7.3-DELAY: min(15 s * 2^(n-3), 1 h) from n = 3 on, for any n."""
        assert Policy().delay(failures) == seconds

    @pytest.mark.parametrize(
        ("policy", "delays"),
        [
            (
                Policy(delay_from=1, delay_seconds=1, delay_cap=DAY),
                {0: 0, 1: 1, 2: 2, 3: 4, 17: 65536, 18: DAY, 50: DAY, 10_000: DAY},
            ),
            (
                Policy(delay_from=5, delay_seconds=2, delay_cap=8),
                {4: 0, 5: 2, 6: 4, 7: 8, 8: 8},
            ),
        ],
        ids=["from the first failure to a day", "from the fifth failure to 8 s"],
    )
    def test_start_length_and_cap_are_those_of_the_policy(
        self, policy: Policy, delays: dict[int, int]
    ) -> None:
        assert {failures: policy.delay(failures) for failures in delays} == delays
