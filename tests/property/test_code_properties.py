"""Codes and steps, compared with the words of the RFCs, a naive model and an independent
implementation.

Each docstring quotes the clause that it checks, with its id.
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from contextlib import suppress
from fractions import Fraction

import pyotp
from hypothesis import assume, example, given, strategies as st

import vmfa
from reference import ALGORITHMS, reference_hotp, reference_matches
from vmfa import AlreadyUsed, CodeRejected, Key, MalformedCode, UnsafeShortKey
from vmfa.keys import HASHES, prepared_hmac
from vmfa.otp import COUNTER_LIMIT, normalize_code

RFC_KEY = b"12345678901234567890"
EQUAL_NEIGHBORS = 910737  # with RFC_KEY this counter and the next share a code

raw_keys = st.binary(min_size=16, max_size=160)
counters = st.one_of(
    st.integers(0, COUNTER_LIMIT - 1),
    st.sampled_from(
        [
            0,
            1,
            2**31 - 1,
            2**31,
            2**32 - 1,
            2**32,
            2**63 - 1,
            2**63,
            COUNTER_LIMIT - 2,
            COUNTER_LIMIT - 1,
        ]
    ),
)
algorithms = st.sampled_from(ALGORITHMS)
digit_counts = st.sampled_from([6, 7, 8])
periods = st.one_of(st.sampled_from([1, 30, 60]), st.integers(1, 10_000))
digit_like = st.characters(categories=["Nd", "Nl", "No"])
anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(),
    st.lists(st.text(max_size=1)),
    st.text(),
    st.text(digit_like, min_size=5, max_size=10),
)


@st.composite
def near_misses(draw: st.DrawFn, code: str) -> str:
    """A real code with one mistake: a digit of another script, one digit more or less, a sign, a
    blank, a swap.
    """
    place = draw(st.integers(0, len(code) - 1))
    head, digit, tail = code[:place], code[place], code[place + 1 :]
    return draw(
        st.one_of(
            st.sampled_from([0x0660, 0x06F0, 0x0966, 0x1D7CE, 0xFF10]).map(
                lambda zero: head + chr(zero + int(digit)) + tail
            ),
            digit_like.map(lambda other: head + other + tail),
            st.sampled_from("0+-_. \t\n\u00a0\u2009\u200b\u200e\x00").map(
                lambda more: head + more + digit + tail
            ),
            st.sampled_from(" \t\n\r\f\v\u00a0\u2003\ufeff\x1c\x85").map(
                lambda more: more + code + more
            ),
            st.just(head + tail),
            st.just(code + code),
            st.just(head + str((int(digit) + 1) % 10) + tail),
            st.just(code[::-1]),
            st.sampled_from(" -").map(
                lambda middle: code[: len(code) // 2] + middle + code[len(code) // 2 :]
            ),
        )
    )


inputs = st.one_of(
    anything,
    st.integers(0, 10**8 - 1).map(lambda n: f"{n:08}"[2:]).flatmap(near_misses),
    st.integers(0, 10**8 - 1).map(lambda n: f"{n:07}"[-7:]).flatmap(near_misses),
    st.integers(0, 10**8 - 1).map(lambda n: f"{n:08}").flatmap(near_misses),
)


class TestTruncation:
    @given(raw_keys, counters, digit_counts, algorithms)
    def test_the_code_is_the_number_modulo_ten_to_the_digits(
        self, key, counter, digits, algorithm
    ):
        """RFC4226-5.3-DT: "Return the Last 31 bits of P", then "Return D = Snum mod 10^Digit"."""
        assert vmfa.hotp(key, counter, digits=digits, algorithm=algorithm) == reference_hotp(
            key, counter, digits, algorithm
        )

    @given(raw_keys, st.integers(0, 2**63 - 1), digit_counts, algorithms)
    def test_equals_an_independent_implementation(self, key, counter, digits, algorithm):
        """RFC6238-1.2-HASH: "TOTP implementations MAY use HMAC-SHA-256 or HMAC-SHA-512"; pyotp
        does too.
        """
        other = pyotp.HOTP(b32encode(key).decode(), digits=digits, digest=HASHES[algorithm][0])
        assert vmfa.hotp(key, counter, digits=digits, algorithm=algorithm) == other.at(counter)

    @given(raw_keys, st.integers(0, 2**40))
    def test_the_default_code_is_six_ascii_digits(self, key, at):
        """SEED-SIX: "a six-digit authentication code"."""
        assert re.fullmatch("[0-9]{6}", vmfa.totp(key, at), re.ASCII)


@given(
    st.binary(min_size=1, max_size=300),
    st.binary(max_size=200),
    st.lists(algorithms, min_size=1, max_size=3),
)
@example(bytes(64), b"", ["sha1"])
@example(bytes(65), b"", ["sha256", "sha512"])
@example(bytes(128), b"", ["sha512"])
@example(bytes(129), b"", ["sha512"])
def test_the_prepared_hmac_is_hmac(raw, message, order):
    """RFC 2104, section 4: both blocks "can be precomputed only once"; the result is that of
    hmac.digest.
    """
    key = UnsafeShortKey(raw)
    for algorithm in order:  # a key keeps the states of one algorithm
        assert hmac_of_prepared_states(key, algorithm, message) == hmac.digest(
            raw, message, algorithm
        )


@given(st.integers(0, 128 * 3 - 1), st.binary(min_size=400, max_size=400))
def test_the_prepared_hmac_at_every_key_length(where, material):
    """RFC 2104, section 2: "keys longer than B bytes are first hashed using H"; shorter ones are
    padded.
    """
    algorithm = ALGORITHMS[where % 3]
    raw = material[: 1 + where]
    assert hmac_of_prepared_states(UnsafeShortKey(raw), algorithm, b"text") == hmac.digest(
        raw, b"text", algorithm
    )


def hmac_of_prepared_states(key, algorithm, message):
    inner, outer = (prepared.copy() for prepared in prepared_hmac(key, algorithm))
    inner.update(message)
    outer.update(inner.digest())
    return outer.digest()


class TestSteps:
    @given(
        st.one_of(st.integers(-(2**40), 2**70), st.floats(-1e12, 1e15, allow_nan=False)),
        periods,
        st.integers(-(2**40), 2**40),
    )
    def test_the_step_is_the_floor(self, at, period, t0):
        """RFC6238-4.2-FLOOR: "T = (Current Unix time - T0) / X, where the default floor function
        is used".
        """
        exact = (Fraction(at) - t0) / period
        assume(0 <= exact < COUNTER_LIMIT)
        step = vmfa.step_at(at, period=period, t0=t0)
        assert step <= exact < step + 1

    @given(st.integers(0, 2**60), periods, st.integers(-1000, 0))
    def test_seconds_left_reach_the_next_step_and_no_earlier(self, at, period, t0):
        """RFC6238-4.2-FLOOR: "T = 1 if the current Unix time is 59 seconds, and T = 2 if [...] 60
        seconds".
        """
        step, left = (
            vmfa.step_at(at, period=period, t0=t0),
            vmfa.seconds_left(at, period=period, t0=t0),
        )
        assert 1 <= left <= period
        assert vmfa.step_at(at + left, period=period, t0=t0) == step + 1
        assert vmfa.step_at(at + left - 1, period=period, t0=t0) == step
        assert vmfa.next_step_at(at, period=period, t0=t0) == at + left

    @given(raw_keys, st.integers(2**31 * 30, 2**50))
    def test_steps_beyond_32_bits(self, key, at):
        """RFC6238-4.2-WIDE: "MUST support a time value T larger than a 32-bit integer"."""
        assert vmfa.totp(key, at) == reference_hotp(key, at // 30)


class TestNormalizeCode:
    @given(inputs, digit_counts)
    def test_any_input_is_a_code_or_malformed(self, code, digits):
        """SEED-SIX: "a six-digit authentication code": any input is those digits or raises one
        named error.
        """
        try:
            text = normalize_code(code, (digits,))
        except MalformedCode:
            text = None
        assert text == model_of_normalize_code(code, digits)

    @given(st.data(), st.integers(0, 10**8 - 1), digit_counts)
    def test_a_near_miss_is_a_code_or_malformed(self, data, number, digits):
        """SEED-SIX: the same for input that is almost a code."""
        code = data.draw(near_misses(f"{number:08}"[-digits:]))
        try:
            text = normalize_code(code, (digits,))
        except MalformedCode:
            text = None
        assert text == model_of_normalize_code(code, digits)


def model_of_normalize_code(code: object, digits: int) -> str | None:
    """A model as a regular expression: blanks, the digits with at most one separator in the
    middle, blanks.
    """
    if not isinstance(code, str):
        return None
    for half in {digits // 2, digits - digits // 2}:
        match = re.fullmatch(
            rf"[ \t\n\r\f\v]*([0-9]{{{half}}})[ -]?([0-9]{{{digits - half}}})[ \t\n\r\f\v]*",
            code,
            re.ASCII,
        )
        if match:
            return match[1] + match[2]
    return None


keys_with_here = st.one_of(
    st.tuples(raw_keys, st.integers(0, 2**40)),
    st.tuples(st.just(RFC_KEY), st.integers(EQUAL_NEIGHBORS - 3, EQUAL_NEIGHBORS + 4)),
    st.tuples(raw_keys, st.integers(0, 4)),
    st.tuples(raw_keys, st.integers(COUNTER_LIMIT - 4, COUNTER_LIMIT - 1)),
)


class TestVerifyTotp:
    @given(
        keys_with_here,
        st.integers(-6, 6),
        st.integers(-8, 8),
        st.integers(0, 4),
        periods,
        st.integers(-50, 50),
        digit_counts,
        algorithms,
        st.data(),
    )
    def test_against_a_naive_model(
        self, key_here, off, used, window, period, t0, digits, algorithm, data
    ):
        """RFC6238-5.2-DELAY: "an acceptable OTP transmission delay window for validation"."""
        key, here = key_here
        shown = min(max(here + off, 0), COUNTER_LIMIT - 1)
        after = min(max(here + used, -1), COUNTER_LIMIT - 1)
        code = reference_hotp(key, shown, digits, algorithm)
        if data.draw(st.booleans()):
            code = f"{(int(code) + data.draw(st.integers(1, 9))) % 10**digits:0{digits}}"
        at = here * period + t0 + data.draw(st.integers(0, period - 1))
        matches = reference_matches(
            key, code, range(here - window, here + window + 1), digits, algorithm
        )
        fresh = [step for step in matches if step > after]
        options = {
            "window": window,
            "digits": digits,
            "algorithm": algorithm,
            "period": period,
            "t0": t0,
        }
        try:
            answer = vmfa.verify_totp(key, code, at, after=after, **options)
        except AlreadyUsed as error:
            answer = error.next_at, error.retry_after
        except CodeRejected:
            answer = "rejected"
        begins = (after + 1) * period + t0
        assert answer == (
            max(fresh) if fresh else (begins, max(0, begins - at)) if matches else "rejected"
        )

    @given(st.one_of(raw_keys, st.just(RFC_KEY)), st.data())
    def test_a_code_is_accepted_once(self, key, data):
        """RFC6238-5.2-ONCE: "MUST NOT accept the second attempt of the OTP after the successful
        validation".
        """
        start = EQUAL_NEIGHBORS if key == RFC_KEY else data.draw(st.integers(0, 2**40))
        offsets = st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.booleans())
        here, after, accepted = start, -1, []
        for move, off, padded in data.draw(st.lists(offsets, min_size=2, max_size=12)):
            here = max(0, here + move)  # the clock may go back
            code = reference_hotp(key, max(0, here + off))
            try:
                after = vmfa.verify_totp(
                    key, f" {code[:3]}-{code[3:]}\n" if padded else code, here * 30, after=after
                )
            except CodeRejected:
                continue
            accepted.append((after, code))
        steps = [step for step, _ in accepted]
        assert steps == sorted(set(steps))
        assert all(reference_hotp(key, step) == code for step, code in accepted)

    @given(
        st.one_of(raw_keys.map(Key), raw_keys),
        inputs,
        st.integers(0, 2**50),
        st.integers(-1, 2**45),
    )
    def test_any_input_is_accepted_or_raises_a_named_error(self, key, code, at, after):
        """SEED-SIX: accepted, or one named error."""
        with suppress(CodeRejected):
            assert vmfa.verify_totp(key, code, at, after=after) > after


class TestVerifyHotp:
    @given(keys_with_here, st.integers(-6, 12), st.integers(0, 8), digit_counts, algorithms)
    def test_against_a_naive_model(self, key_here, off, look_ahead, digits, algorithm):
        """RFC4226-E4-RCP: "C-client >= C-server", "C-client - C-server <= s"."""
        key, counter = key_here
        code = reference_hotp(
            key, min(max(counter + off, 0), COUNTER_LIMIT - 1), digits, algorithm
        )
        expected = reference_matches(
            key, code, range(counter, counter + look_ahead + 1), digits, algorithm
        )
        try:
            answer = [
                vmfa.verify_hotp(
                    key,
                    code,
                    counter=counter,
                    look_ahead=look_ahead,
                    digits=digits,
                    algorithm=algorithm,
                )
            ]
        except CodeRejected:
            answer = []
        assert answer == expected[-1:]

    @given(raw_keys, inputs, counters)
    def test_any_input_is_accepted_or_raises_a_named_error(self, key, code, counter):
        """SEED-SIX: accepted, or one named error."""
        with suppress(CodeRejected):
            assert vmfa.verify_hotp(key, code, counter=counter) >= counter

    @given(
        raw_keys,
        st.lists(st.tuples(st.integers(-3, 4), st.integers(0, 4)), max_size=12),
        st.integers(0, 2**40),
    )
    def test_a_counter_is_accepted_once(self, key, tries, counter):
        """RFC4226-E4-RCP: "the server sets C to C-client + 1", so that none comes twice."""
        accepted = []
        for off, look_ahead in tries:
            code = reference_hotp(key, max(0, counter + off))
            try:
                accepted_counter = vmfa.verify_hotp(
                    key, code, counter=counter, look_ahead=look_ahead
                )
            except CodeRejected:
                continue
            accepted.append(accepted_counter)
            counter = accepted_counter + 1
        assert accepted == sorted(set(accepted))
