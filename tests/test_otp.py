"""HOTP and TOTP: the vectors of both RFCs, time steps, verification, and invalid arguments."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest

import vmfa
from leaks import assert_silent
from reference import reference_truncate, vectors
from vmfa import AlreadyUsed, CodeRejected, InvalidType, InvalidValue, Key, MalformedCode
from vmfa.otp import COUNTER_LIMIT, MAX_WINDOW, normalize_code, scan, window_steps
from world import hash_computations

APPENDIX_D = vectors("rfc4226_appendix_d")
APPENDIX_B = vectors("rfc6238_appendix_b")
EDGES = vectors("counters_at_the_edges")
KEY = bytes.fromhex(APPENDIX_D["key"])
MODES = {algorithm: bytes.fromhex(key) for algorithm, key in APPENDIX_B["keys"].items()}
LAST = COUNTER_LIMIT - 1


def code_of(counter: int) -> str:
    return vmfa.hotp(KEY, counter)


class TestVectors:
    @pytest.mark.parametrize("row", APPENDIX_D["rows"], ids=lambda row: str(row["counter"]))
    def test_rfc4226_appendix_d(self, row):
        mac = bytes.fromhex(row["mac"])
        assert hmac.digest(KEY, row["counter"].to_bytes(8, "big"), "sha1") == mac
        assert (mac[-1] & 15, reference_truncate(mac)) == (row["offset"], row["truncated"])
        assert vmfa.hotp(KEY, row["counter"]) == row["code"]

    @pytest.mark.parametrize(
        "row", APPENDIX_B["rows"], ids=lambda row: f"{row['at']}-{row['algorithm']}"
    )
    def test_rfc6238_appendix_b(self, row):
        mac = bytes.fromhex(row["mac"])
        key, algorithm = MODES[row["algorithm"]], row["algorithm"]
        assert hmac.digest(key, row["step"].to_bytes(8, "big"), algorithm) == mac
        assert (mac[-1] & 15, reference_truncate(mac)) == (row["offset"], row["truncated"])
        assert vmfa.step_at(row["at"]) == row["step"]
        assert vmfa.totp(key, row["at"], digits=8, algorithm=algorithm) == row["code"]
        assert vmfa.hotp(key, row["step"], digits=8, algorithm=algorithm) == row["code"]

    @pytest.mark.parametrize("row", APPENDIX_B["wrong"], ids=lambda row: row["code"])
    def test_well_known_wrong_codes_of_appendix_b_are_refused(self, row):
        key, algorithm = MODES[row["algorithm"]], row["algorithm"]
        with pytest.raises(CodeRejected):
            vmfa.verify_totp(key, row["code"], row["at"], after=-1, digits=8, algorithm=algorithm)

    @pytest.mark.parametrize("row", EDGES["rows"], ids=lambda row: str(row["counter"]))
    def test_counters_at_the_edges(self, row):
        assert vmfa.hotp(KEY, row["counter"]) == row["six"]
        assert vmfa.hotp(KEY, row["counter"], digits=8) == row["eight"]
        assert vmfa.hotp(KEY, row["counter"], digits=7) == row["eight"][1:]
        assert (
            vmfa.verify_hotp(KEY, row["six"], counter=row["counter"], look_ahead=0)
            == row["counter"]
        )


class TestCodes:
    def test_a_key_object_and_its_bytes_give_the_same_codes(self):
        assert vmfa.hotp(Key(KEY), 7) == vmfa.hotp(KEY, 7)
        assert vmfa.totp(Key(KEY), 59) == vmfa.totp(KEY, 59)

    def test_totp_is_hotp_of_the_step(self):
        assert vmfa.totp(KEY, 95.9, period=30, t0=5) == vmfa.hotp(KEY, 3)

    def test_a_code_is_text_with_its_leading_zeros(self):
        assert vmfa.hotp(KEY, 349495) == "000000"
        assert vmfa.hotp(KEY, 226500) == "000007"

    @pytest.mark.parametrize("digits", [5, 9, 0, -6, 6.0, "6", True, None])
    def test_digits_are_six_seven_or_eight(self, digits):
        with pytest.raises(InvalidValue, match="digits"):
            vmfa.hotp(KEY, 0, digits=digits)
        with pytest.raises(InvalidValue, match="digits"):
            vmfa.totp(KEY, 0, digits=digits)

    @pytest.mark.parametrize("algorithm", ["md5", "SHA1", "sha-1", "", None, 1, ["sha1"]])
    def test_algorithms_are_named_exactly(self, algorithm):
        with pytest.raises(InvalidValue, match="algorithm"):
            vmfa.hotp(KEY, 0, algorithm=algorithm)

    @pytest.mark.parametrize("counter", [-1, COUNTER_LIMIT])
    def test_a_counter_has_eight_bytes(self, counter):
        with pytest.raises(InvalidValue, match=r"^counter "):
            vmfa.hotp(KEY, counter)

    @pytest.mark.parametrize("counter", [True, 1.0, "1", None])
    def test_a_counter_is_an_int(self, counter):
        with pytest.raises(InvalidType, match=r"^counter "):
            vmfa.hotp(KEY, counter)

    @pytest.mark.parametrize(
        "call",
        [
            lambda key: vmfa.hotp(key, 0),
            lambda key: vmfa.totp(key, 0),
            lambda key: vmfa.verify_totp(key, "000000", 0, after=-1),
            lambda key: vmfa.verify_hotp(key, "000000", counter=0),
        ],
        ids=["hotp", "totp", "verify_totp", "verify_hotp"],
    )
    def test_a_text_key_is_refused_with_a_hint(self, call):
        with pytest.raises(InvalidType, match=r"Key\.from_base32"):
            call("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")


class TestSteps:
    @pytest.mark.parametrize(
        ("at", "step"), [(0, 0), (29, 0), (29.999999, 0), (30, 1), (59, 1), (59.9, 1), (60, 2)]
    )
    def test_the_step_is_the_floor(self, at, step):
        assert vmfa.step_at(at) == step

    @pytest.mark.parametrize(
        ("at", "t0", "step"), [(-5, -30, 0), (-0.5, -1, 0), (0, -31, 1), (1000, 1000, 0)]
    )
    def test_steps_are_counted_from_t0(self, at, t0, step):
        assert vmfa.step_at(at, t0=t0) == step

    def test_int_subclasses_are_times(self):
        class Second(int):
            pass

        assert vmfa.step_at(Second(60)) == 2
        with pytest.raises(InvalidValue):
            vmfa.step_at(Second(10**400))  # no float can hold it

    @pytest.mark.parametrize(
        ("at", "left", "begins"),
        [
            (0, 30, 30),
            (0.9, 30, 30),
            (29, 1, 30),
            (29.999, 1, 30),
            (30, 30, 60),
        ],
    )
    def test_seconds_left_counts_down_to_the_next_step(self, at, left, begins):
        assert vmfa.seconds_left(at) == left
        assert vmfa.next_step_at(at) == begins

    def test_seconds_left_with_another_period_and_t0(self):
        assert vmfa.seconds_left(100, period=60, t0=7) == 27
        assert vmfa.next_step_at(100, period=60, t0=7) == 127
        assert vmfa.seconds_left(130, period=60, t0=7) == 57

    @pytest.mark.parametrize(
        "at",
        [
            datetime(2024, 1, 1, tzinfo=UTC),
            datetime(2024, 1, 1),
            "59",
            None,
            True,
            Decimal(59),
            Fraction(59),
            59j,
        ],
    )
    def test_a_time_is_seconds(self, at):
        for ask in (
            vmfa.step_at,
            vmfa.seconds_left,
            vmfa.next_step_at,
            lambda at: vmfa.totp(KEY, at),
        ):
            with pytest.raises(InvalidType, match=r"time\.time\(\)"):
                ask(at)

    @pytest.mark.parametrize("at", [float("nan"), float("inf"), float("-inf")])
    def test_a_time_is_finite(self, at):
        with pytest.raises(InvalidValue):
            vmfa.step_at(at)

    @pytest.mark.parametrize(("at", "t0"), [(-1, 0), (-0.001, 0), (99, 100)])
    def test_a_time_before_t0_is_refused(self, at, t0):
        with pytest.raises(InvalidValue):
            vmfa.step_at(at, t0=t0)

    def test_the_last_step(self):
        assert vmfa.step_at(COUNTER_LIMIT * 30 - 1) == LAST
        for beyond in (COUNTER_LIMIT * 30, 1e300):
            with pytest.raises(InvalidValue):
                vmfa.step_at(beyond)

    @pytest.mark.parametrize("period", [0, -30, COUNTER_LIMIT + 1])
    def test_a_period_is_positive(self, period):
        with pytest.raises(InvalidValue, match="period"):
            vmfa.step_at(0, period=period)

    def test_the_bounds_themselves_are_allowed(self):
        assert vmfa.step_at(5, period=1) == 5
        assert vmfa.step_at(5, period=COUNTER_LIMIT) == 0
        assert vmfa.step_at(0, period=1, t0=-LAST) == LAST
        assert vmfa.step_at(COUNTER_LIMIT, t0=COUNTER_LIMIT) == 0
        assert vmfa.step_at(0, period=2, t0=-COUNTER_LIMIT) == COUNTER_LIMIT // 2
        with pytest.raises(InvalidValue, match="t0"):
            vmfa.step_at(COUNTER_LIMIT + 1, t0=COUNTER_LIMIT + 1)
        with pytest.raises(InvalidValue, match="t0"):
            vmfa.step_at(0, t0=-COUNTER_LIMIT - 1)

    @pytest.mark.parametrize("period", [True, 30.0, "30", None])
    def test_a_period_is_an_int(self, period):
        with pytest.raises(InvalidType, match=r"period|t0"):
            vmfa.step_at(0, period=period)

    def test_t0_is_an_int(self):
        with pytest.raises(InvalidType, match=r"period|t0"):
            vmfa.step_at(0, t0=0.0)


class TestVerifyTotp:
    def test_it_returns_the_step(self):
        assert vmfa.verify_totp(KEY, code_of(2), 60, after=-1) == 2

    @pytest.mark.parametrize("off", [-1, 0, 1])
    def test_one_step_either_way_by_default(self, off):
        assert vmfa.verify_totp(KEY, code_of(10 + off), 300, after=-1) == 10 + off

    @pytest.mark.parametrize("off", [-2, 2])
    def test_a_code_beyond_the_window_is_rejected(self, off):
        with pytest.raises(CodeRejected) as caught:
            vmfa.verify_totp(KEY, code_of(10 + off), 300, after=-1)
        assert type(caught.value) is CodeRejected
        assert vmfa.verify_totp(KEY, code_of(10 + off), 300, after=-1, window=2) == 10 + off

    def test_window_zero_accepts_the_current_step_only(self):
        assert vmfa.verify_totp(KEY, code_of(10), 300, after=-1, window=0) == 10
        with pytest.raises(CodeRejected):
            vmfa.verify_totp(KEY, code_of(11), 300, after=-1, window=0)

    def test_the_window_does_not_reach_below_step_zero(self):
        assert vmfa.verify_totp(KEY, code_of(0), 0, after=-1) == 0

    def test_the_window_does_not_reach_past_the_last_step(self):
        assert vmfa.verify_totp(KEY, code_of(LAST), COUNTER_LIMIT * 30 - 1, after=-1) == LAST

    def test_a_code_is_accepted_once(self):
        step = vmfa.verify_totp(KEY, code_of(10), 300, after=-1)
        with pytest.raises(AlreadyUsed) as caught:
            vmfa.verify_totp(KEY, code_of(10), 304, after=step)
        assert (caught.value.next_at, caught.value.retry_after) == (330, 26)

    def test_already_used_counts_whole_seconds_from_the_floor(self):
        with pytest.raises(AlreadyUsed) as caught:
            vmfa.verify_totp(KEY, code_of(10), 304.75, after=10)
        assert caught.value.retry_after == 26

    def test_already_used_with_period_and_t0(self):
        with pytest.raises(AlreadyUsed) as caught:
            vmfa.verify_totp(KEY, code_of(10), 607 + 4, after=10, period=60, t0=7)
        assert (caught.value.next_at, caught.value.retry_after) == (667, 56)

    @pytest.mark.parametrize("second", [0, 1, 15, 29])
    def test_after_a_replay_of_the_previous_code_there_is_no_wait(self, second):
        """The next fresh code is already shown."""
        with pytest.raises(AlreadyUsed) as caught:
            vmfa.verify_totp(KEY, code_of(9), 300 + second, after=9)
        assert (caught.value.retry_after, caught.value.next_at) == (0, 300)

    def test_an_older_code_is_already_used_too(self):
        with pytest.raises(AlreadyUsed):
            vmfa.verify_totp(KEY, code_of(9), 300, after=10)

    def test_the_highest_fresh_step_is_spent(self):
        # steps 910737 and 910738 have the same code
        at = 910737 * 30
        assert vmfa.verify_totp(KEY, "911617", at, after=-1) == 910738
        assert vmfa.verify_totp(KEY, "911617", at, after=910737) == 910738
        with pytest.raises(AlreadyUsed):
            vmfa.verify_totp(KEY, "911617", at, after=910738)

    @pytest.mark.parametrize("after", [-2, COUNTER_LIMIT])
    def test_after_is_a_step(self, after):
        with pytest.raises(InvalidValue, match=r"^after "):
            vmfa.verify_totp(KEY, code_of(0), 0, after=after)

    @pytest.mark.parametrize("after", [None, True, 1.0, "1"])
    def test_after_is_an_int(self, after):
        with pytest.raises(InvalidType, match=r"^after "):
            vmfa.verify_totp(KEY, code_of(0), 0, after=after)

    def test_after_is_not_optional(self):
        with pytest.raises(TypeError, match="after"):
            vmfa.verify_totp(KEY, code_of(0), 0)

    @pytest.mark.parametrize("window", [-1, MAX_WINDOW + 1])
    def test_a_window_is_bounded(self, window):
        with pytest.raises(InvalidValue, match=r"^window "):
            vmfa.verify_totp(KEY, code_of(0), 0, after=-1, window=window)

    def test_the_widest_window(self):
        assert vmfa.verify_totp(KEY, code_of(200), 3000, after=-1, window=MAX_WINDOW) == 200

    def test_the_time_is_checked(self):
        with pytest.raises(InvalidValue):
            vmfa.verify_totp(KEY, code_of(0), -1, after=-1)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"digits": 9},
            {"digits": None},
            {"algorithm": "md5"},
            {"period": 0},
            {"period": -30},
            {"t0": 2**65},
            {"t0": 0.5},
        ],
    )
    def test_its_parameters_are_checked(self, wrong):
        with pytest.raises((InvalidValue, InvalidType), match=next(iter(wrong))):
            vmfa.verify_totp(KEY, code_of(0), 0, after=-1, **wrong)

    def test_a_short_code_is_malformed_not_wrong(self):
        with pytest.raises(MalformedCode):
            vmfa.verify_totp(KEY, code_of(0), 0, after=-1, digits=8)


class TestVerifyHotp:
    def test_it_returns_the_counter(self):
        assert vmfa.verify_hotp(KEY, code_of(5), counter=5) == 5

    @pytest.mark.parametrize("ahead", [0, 1, 2, 3])
    def test_looks_ahead(self, ahead):
        assert vmfa.verify_hotp(KEY, code_of(5 + ahead), counter=5) == 5 + ahead

    @pytest.mark.parametrize("off", [-1, 4])
    def test_never_back_and_not_beyond(self, off):
        with pytest.raises(CodeRejected):
            vmfa.verify_hotp(KEY, code_of(5 + off), counter=5)

    def test_the_highest_match_is_spent(self):
        assert vmfa.verify_hotp(KEY, "911617", counter=910737) == 910738

    def test_the_last_counter(self):
        assert vmfa.verify_hotp(KEY, code_of(LAST), counter=LAST, look_ahead=MAX_WINDOW) == LAST

    @pytest.mark.parametrize(
        ("counter", "look_ahead"), [(-1, 3), (COUNTER_LIMIT, 3), (0, -1), (0, MAX_WINDOW + 1)]
    )
    def test_counter_and_look_ahead_are_bounded(self, counter, look_ahead):
        with pytest.raises(InvalidValue):
            vmfa.verify_hotp(KEY, code_of(0), counter=counter, look_ahead=look_ahead)

    def test_arguments_of_another_type_are_refused(self):
        with pytest.raises(InvalidType, match=r"^look_ahead "):
            vmfa.verify_hotp(KEY, code_of(0), counter=0, look_ahead=True)
        with pytest.raises(InvalidType, match=r"^counter "):
            vmfa.verify_hotp(KEY, code_of(0), counter=None)
        with pytest.raises(MalformedCode):
            vmfa.verify_hotp(KEY, 755224, counter=0)
        with pytest.raises(InvalidValue, match="digits"):
            vmfa.verify_hotp(KEY, code_of(0), counter=0, digits=9)


class TestScan:
    def test_several_codes_over_one_set_of_candidates(self):
        assert scan(Key(KEY), (code_of(3), code_of(2), "000000"), range(5), 6, "sha1") == [
            [3],
            [2],
            [],
        ]

    @pytest.mark.parametrize(
        ("here", "back", "forward", "steps"),
        [
            (5, 1, 1, [4, 5, 6]),
            (0, 2, 1, [0, 1]),
            (LAST, 1, 5, [LAST - 1, LAST]),
            (5, 0, 0, [5]),
            (-7, 1, 1, []),
        ],
    )
    def test_window_steps(self, here, back, forward, steps):
        assert list(window_steps(here, back, forward)) == steps

    def test_the_work_does_not_depend_on_what_matches(self):
        """Match first, match last, miss and replay cost the same, counted in hashes."""
        key = Key(KEY)
        attempts = {
            "first": (code_of(9), -1),
            "last": (code_of(11), -1),
            "replay": (code_of(10), 10),
            "miss": ("000000", -1),
        }
        work = {
            name: hash_computations(
                lambda code=code, after=after: vmfa.verify_totp(key, code, 300, after=after)
            )
            for name, (code, after) in attempts.items()
        }
        assert work["miss"] > 0
        assert set(work.values()) == {work["miss"]}


class TestNormalizeCode:
    @pytest.mark.parametrize(
        ("typed", "digits"),
        [
            ("123456", 6),
            (" 123456 ", 6),
            ("\t123456\r\n", 6),
            ("\v123456\f", 6),
            ("123 456", 6),
            ("123-456", 6),
            ("1234567", 7),
            ("123 4567", 7),
            ("1234-567", 7),
            ("1234 5678", 8),
            ("  1234-5678\n", 8),
        ],
    )
    def test_one_separator_in_the_middle_and_blanks_around(self, typed, digits):
        assert normalize_code(typed, [digits]) == "12345678"[:digits]

    @pytest.mark.parametrize(
        "typed",
        [
            "",
            " ",
            "12345",
            "1234567",
            "12 3456",
            "1234 56",
            "123  456",
            "123--456",
            "123 -456",
            "1 2 3 4 5 6",
            "123_456",
            "123.456",
            "123X456",
            "X123456X",
            "Z123456",
            "+23456",
            "-12345",
            "12345-",
            "-123456",
            "123456-",
            "0x1234",
            "1e5000",
            "12345a",
            "\u0661\u0662\u0663\u0664\u0665\u0666",
            "\uff11\uff12\uff13\uff14\uff15\uff16",
            "12345\u0666",
            "12345\u00b2",
            "12345\u2460",
            "12345\u216f",
            "123\u00a0456",
            "\u00a0123456",
            "123\u2009456",
            "123\u2013456",
            "\u200b123456",
            "123456\x00",
            "\x1c123456",
            "\x85123456",
            "123456\ud800",
            "\ud800",
            123456,
            123456.0,
            None,
            True,
            b"123456",
            bytearray(b"123456"),
            ["1"] * 6,
            object(),
        ],
    )
    def test_anything_else_is_malformed(self, typed):
        with pytest.raises(MalformedCode):
            normalize_code(typed, [6])

    @pytest.mark.parametrize(
        "typed", ["12 34567", "12345 67", "123  4567", "123 -567", "123- 567", "1 234567"]
    )
    def test_seven_digits_split_at_three_or_four(self, typed):
        with pytest.raises(MalformedCode):
            normalize_code(typed, [7])

    @pytest.mark.parametrize("typed", ["12345x", "1234567", "123-45x"])
    def test_an_error_keeps_nothing_of_what_was_typed(self, typed):
        with pytest.raises(MalformedCode) as caught:
            normalize_code(typed, [6])
        assert_silent(caught.value, typed, typed.replace("-", ""))


MESSAGES = {
    "digits": (lambda: vmfa.hotp(KEY, 0, digits=5), "digits must be 6, 7 or 8"),
    "algorithm": (
        lambda: vmfa.hotp(KEY, 0, algorithm="md5"),
        "algorithm must be 'sha1', 'sha256' or 'sha512'",
    ),
    "counter out of bounds": (
        lambda: vmfa.hotp(KEY, -1),
        "counter must be 0 to 18446744073709551615",
    ),
    "counter type": (lambda: vmfa.hotp(KEY, "1"), "counter must be an int"),
    "time type": (
        lambda: vmfa.step_at("59"),
        "a time must be an int or a float in seconds: use time.time()",
    ),
    "time not finite": (lambda: vmfa.step_at(float("inf")), "a time must be finite"),
    "before T0": (lambda: vmfa.step_at(-1), "the time is before T0"),
    "past the last step": (
        lambda: vmfa.step_at(1e300),
        "the time is past the last step, 2**64 - 1",
    ),
    "period type": (lambda: vmfa.step_at(0, period=1.0), "period and t0 must be int, in seconds"),
    "period out of bounds": (
        lambda: vmfa.step_at(0, period=0),
        "period must be at least 1 second; period and t0 must fit in 64 bits",
    ),
    "code": (
        lambda: normalize_code("12345", [6, 8]),
        (
            "a code must be 6 or 8 of the digits 0 to 9; blanks around it and one blank or hyphen "
            "in its middle are ignored"
        ),
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name):
    call, message = MESSAGES[name]
    with pytest.raises((InvalidType, InvalidValue, MalformedCode)) as caught:
        call()
    assert str(caught.value) == message
