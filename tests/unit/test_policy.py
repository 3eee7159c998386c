"""The numbers: what the defaults are, and that no impossible policy exists."""

from __future__ import annotations

import dataclasses

import pytest

from vmfa import InvalidType, InvalidValue, Parameters, Policy

DAY = 86_400

DEFAULTS = {
    "window": 1, "enroll_back": 10, "enroll_forward": 10, "resync_back": 20, "resync_forward": 20, "login_drift": 2,
    "session_seconds": 900, "session_attempts": 10, "enrollments_per_day": 10, "delay_from": 3, "delay_seconds": 15,
    "delay_cap": 3600, "failure_cap": 100, "budget": 100, "budget_refill": 2 * DAY, "budget_warning": 25,
    "claim_seconds": 3600, "recovery_seconds": 900, "binding_code_seconds": DAY, "binding_code_required": False,
    "offers": (Parameters(),),
}
NUMBERS = [name for name, value in DEFAULTS.items() if type(value) is int]
BOUNDS = {  # lowest, highest, and what must go with them
    "window": (0, 10), "enroll_back": (0, 100), "enroll_forward": (0, 100), "resync_back": (0, 100),
    "resync_forward": (0, 100), "login_drift": (0, 10), "session_seconds": (30, DAY), "session_attempts": (1, 100),
    "enrollments_per_day": (1, 100), "delay_from": (1, 100), "delay_seconds": (1, DAY), "delay_cap": (1, DAY),
    "failure_cap": (1, 100), "budget": (1, 10_000), "budget_refill": (60, 365 * DAY),
    "budget_warning": (0, 9_999),  # below the budget
    "claim_seconds": (1, DAY), "recovery_seconds": (1, DAY), "binding_code_seconds": (60, 30 * DAY),
}
WIDE = {"enroll_back": 100, "enroll_forward": 100, "resync_back": 100, "resync_forward": 100, "delay_cap": DAY,
        "budget": 10_000, "budget_warning": 0}
NARROW = {"window": 0, "enroll_back": 0, "enroll_forward": 0, "delay_seconds": 1, "budget_warning": 0}


class TestParameters:
    def test_seed_six(self):
        assert dataclasses.astuple(Parameters()) == ("sha1", 6, 30, 0)

    def test_the_step_is_counted_with_its_own_period_and_t0(self):
        assert [Parameters(period=60, t0=7).step_at(now) for now in (126, 127)] == [1, 2]

    def test_are_frozen_and_told_by_name(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            Parameters().digits = 8
        with pytest.raises(TypeError):
            Parameters("sha1")
        assert not hasattr(Parameters(), "__dict__")

    @pytest.mark.parametrize(("algorithm", "size"), [("sha1", 20), ("sha256", 32), ("sha512", 64)])
    def test_rfc6238_5_1_keylen(self, algorithm, size):
        assert Parameters(algorithm=algorithm).key_size == size

    @pytest.mark.parametrize("wrong", [
        {"algorithm": "md5"}, {"algorithm": None}, {"digits": 5}, {"digits": 9}, {"digits": 6.0}, {"period": 0},
        {"period": -30}, {"period": 30.0}, {"t0": 0.5}, {"t0": None}, {"t0": 2**65},
    ])
    def test_are_validated(self, wrong):
        with pytest.raises((InvalidValue, InvalidType)):
            Parameters(**wrong)


class TestPolicy:
    def test_the_defaults(self):
        assert {field.name: getattr(Policy(), field.name) for field in dataclasses.fields(Policy)} == DEFAULTS

    def test_strict_refuses_what_is_not_in_sync_and_asks_for_the_binding_code(self):
        changed = {"enroll_back": 1, "enroll_forward": 1, "binding_code_required": True}
        assert dataclasses.asdict(Policy.strict()) == dataclasses.asdict(Policy(**changed))

    def test_every_number_is_bounded(self):
        assert sorted(BOUNDS) == sorted(NUMBERS)

    @pytest.mark.parametrize("name", NUMBERS)
    def test_the_bounds_are_allowed_and_nothing_beyond(self, name):
        low, high = BOUNDS[name]
        assert getattr(Policy(**NARROW | {name: low}), name) == low
        assert getattr(Policy(**WIDE | {name: high}), name) == high
        for beyond in (low - 1, high + 1) if name != "budget_warning" else (-1, 10_001):
            with pytest.raises(InvalidValue, match=rf"^{name} is {low} to (?:{high}|10000)$"):
                Policy(**WIDE | {name: beyond})

    @pytest.mark.parametrize("name", NUMBERS)
    @pytest.mark.parametrize("value", [None, True, 1.0, "1"])
    def test_a_number_is_an_int(self, name, value):
        with pytest.raises(InvalidType, match=f"^{name} is an int$"):
            Policy(**{name: value})

    @pytest.mark.parametrize("value", [1, 0, None, "yes"])
    def test_a_switch_is_a_bool(self, value):
        with pytest.raises(InvalidType, match=r"^binding_code_required is a bool$"):
            Policy(binding_code_required=value)

    @pytest.mark.parametrize("value", [[Parameters()], Parameters(), None, (Parameters(), "sha1"), ((),)])
    def test_offers_are_parameters(self, value):
        with pytest.raises(InvalidType, match=r"^offers is a tuple of Parameters$"):
            Policy(offers=value)

    @pytest.mark.parametrize(("wrong", "sentence"), [
        ({"offers": ()}, "offers names at least one set of parameters"),
        ({"window": 2, "enroll_back": 1}, "window <= enroll_back, _forward"),
        ({"window": 2, "enroll_forward": 1}, "window <= enroll_back, _forward"),
        ({"enroll_back": 21}, "enroll_back <= resync_back"),
        ({"enroll_forward": 21}, "enroll_forward <= resync_forward"),
        ({"delay_seconds": 16, "delay_cap": 15}, "delay_seconds <= delay_cap"),
        ({"budget": 25}, "budget_warning < budget"),
        ({"offers": (Parameters(t0=1), Parameters())}, "T0 = 0 for new devices: a key URI cannot carry another"),
        ({"offers": (Parameters(), Parameters(period=301))}, "periods of at most 300 s"),
    ])
    def test_the_numbers_fit_together(self, wrong, sentence):
        with pytest.raises(InvalidValue, match=f"^a policy needs: {sentence}$"):
            Policy(**wrong)

    @pytest.mark.parametrize("edge", [
        {"window": 2, "enroll_back": 2, "enroll_forward": 2}, {"enroll_back": 20}, {"enroll_forward": 20},
        {"delay_seconds": 15, "delay_cap": 15}, {"budget": 26},
        {"offers": (Parameters(), Parameters(t0=1, period=300))},
    ])
    def test_equal_numbers_fit(self, edge):
        assert Policy(**edge) == Policy().replace(**edge)

    def test_is_frozen_and_has_no_other_field(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            Policy().window = 2
        with pytest.raises(TypeError, match="windows"):
            Policy(windows=2)
        with pytest.raises(TypeError):
            Policy(1)
        assert not hasattr(Policy(), "__dict__")

    def test_replace(self):
        assert Policy.strict().replace(window=0) == Policy(
            window=0, enroll_back=1, enroll_forward=1, binding_code_required=True
        )
        assert Policy().replace() == Policy()

    def test_replace_refuses_a_misspelt_field(self):
        with pytest.raises(InvalidValue, match=r"^Policy has no field 'windows'$"):
            Policy().replace(windows=2, window=1)

    def test_replace_validates_again(self):
        with pytest.raises(InvalidValue, match="window is 0 to 10"):
            Policy().replace(window=11)


class TestDelay:
    @pytest.mark.parametrize(("failures", "seconds"), [
        (0, 0), (1, 0), (2, 0), (3, 15), (4, 30), (5, 60), (10, 1920), (11, 3600), (12, 3600), (45, 3600), (99, 3600),
        (10_000, 3600),
    ])
    def test_from_the_third_failure_doubling_to_an_hour(self, failures, seconds):
        assert Policy().delay(failures) == seconds

    def test_by_the_numbers_of_the_policy(self):
        policy = Policy(delay_from=1, delay_seconds=1, delay_cap=DAY)
        assert [policy.delay(n) for n in (0, 1, 2, 3, 17, 18, 50)] == [0, 1, 2, 4, 65536, DAY, DAY]
