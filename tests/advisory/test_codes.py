"""Invalid texts that were accepted as codes, and codes that were computed wrongly, elsewhere."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from types import FrameType
from typing import Any

import pytest

from support import START, Enrolled
from vmfa import (
    CodeRejected,
    InvalidType,
    InvalidValue,
    MalformedCode,
    Parameters,
    hotp,
    next_step_at,
    seconds_left,
    step_at,
    totp,
    verify_hotp,
    verify_totp,
)

KEY = b"12345678901234567890"  # of RFC 4226, appendix D


def test_django_otp_int_of_token_only_ascii_digits_are_a_code(enrolled: Enrolled) -> None:
    """django-otp called ``int(token)``, so digits of other scripts, underscores, signs and floats
    passed for a code.

    Invariant: a code is text of exactly that many ASCII digits, never a number.
    """
    enrolled.clock.advance(30)
    code = enrolled.phone.code()
    foreign = [
        code.translate({ord("0") + n: chr(zero + n) for n in range(10)})
        for zero in (0x660, 0x966, 0xFF10)
    ]
    near = [
        f"{code[:2]}_{code[2:]}",
        f"+{code}",
        f"0{code}",
        f"{code}.0",
        f"{code}e0",
        code[:-1],
        f"{code}\x00",
        "",
    ]
    for text in (*foreign, *near, int(code), float(code), code.encode(), None, [code], True):
        with pytest.raises(MalformedCode):
            enrolled.registry.verify(enrolled.principal, text)  # type: ignore[arg-type]
    assert enrolled.device.failures == 0  # it does not count as a guess
    assert enrolled.registry.verify(enrolled.principal, code)


def test_pyotp_22_fullwidth_digits_raise_a_named_error(enrolled: Enrolled) -> None:
    """pyotp, authlib and allauth passed any text to ``compare_digest``, which raises TypeError for
    text beyond ASCII.

    Invariant: every text is accepted or raises one named error.
    """
    digits = "\uff11", "\u00b2", "\u2460", "\u2167", "\U0001d7ce", "\ud800", "é"
    for text in (*(digit * 6 for digit in digits), "12345\uff16", "x" * 10**6):
        for use in (
            lambda text=text: enrolled.registry.verify(enrolled.principal, text),
            lambda text=text: verify_totp(KEY, text, START, after=-1),
            lambda text=text: verify_hotp(KEY, text, counter=0),
        ):
            with pytest.raises(MalformedCode):
                use()


def test_authlib_offset_19_the_offset_is_in_the_last_byte_for_every_hash() -> None:
    """authlib, otphp and google2fa read the offset from byte 19, which is the last byte for SHA-1
    only.

    Invariant: the offset is in the last byte; all three modes of RFC 6238 appendix B are correct.
    """
    appendix_b = {  # at 59 s, and at 20000000000 s
        "sha1": ("94287082", "65353130"),
        "sha256": ("46119246", "77737706"),
        "sha512": ("90693936", "47863826"),
    }
    for algorithm, codes in appendix_b.items():
        key = (KEY * 4)[: hashlib.new(algorithm).digest_size]
        assert (
            tuple(totp(key, at, digits=8, algorithm=algorithm) for at in (59, 20000000000))
            == codes
        )


def test_cryptography_totp_steps_are_floored_integers_and_start_at_t0() -> None:
    """cryptography divided floats and rounded toward zero: -29 gave the code of 0, and a time step
    of 0 s could be constructed.

    Invariant: integers are floored, a time before T0 is refused, and values are validated on
    construction.
    """
    for at in (-29, -1, -0.5, -(2**70)):
        with pytest.raises(InvalidValue, match="before T0"):
            totp(KEY, at)
    for period in (0, -30):
        with pytest.raises(InvalidValue):
            Parameters(period=period)
        with pytest.raises(InvalidValue):
            totp(KEY, START, period=period)
    large = 2**60 + 29  # a float cannot represent it
    assert step_at(large, period=30) == large // 30
    assert step_at(59.999) == 1
    for at in (float("nan"), float("inf")):
        with pytest.raises(InvalidValue):
            step_at(at)


def test_pyotp_datetimes_are_refused() -> None:
    """pyotp converted naive datetimes with ``mktime``: in the hour that autumn repeats, it
    rejected the right code and accepted the one 120 steps away.

    Invariant: a time is a number of seconds since the epoch, and nothing else.
    """
    for moment in (
        datetime(2025, 10, 26, 2, 30),
        datetime(2025, 10, 26, 2, 30, tzinfo=UTC),
        "1700000000",
        None,
        True,
    ):
        for use in (step_at, seconds_left, next_step_at, lambda at: totp(KEY, at)):
            with pytest.raises(InvalidType, match="in seconds"):
                use(moment)  # type: ignore[operator]  # the test


def test_pquerna_otp_97_a_counter_does_not_wrap() -> None:
    """In pquerna/otp a negative counter wrapped to 2**64 - 1.

    Invariant: a counter is checked to be from 0 to 2**64 - 1.
    """
    for counter in (-1, 2**64):
        with pytest.raises(InvalidValue):
            hotp(KEY, counter)
        with pytest.raises(InvalidValue):
            verify_hotp(KEY, "123456", counter=counter)
    with pytest.raises(CodeRejected):  # a window at the start does not reach round to the end
        verify_totp(KEY, hotp(KEY, 2**64 - 1), 0, after=-1)
    with pytest.raises(CodeRejected):
        verify_hotp(KEY, hotp(KEY, 0), counter=2**64 - 1)


def test_hectorm_otpauth_hotp_looks_ahead_only() -> None:
    """hectorm/otpauth and notp searched on both sides, so they accepted the counter just used
    again.

    Invariant: no counter before the expected one matches.
    """
    for counter in range(1, 6):
        for earlier in range(counter):
            with pytest.raises(CodeRejected):
                verify_hotp(KEY, hotp(KEY, earlier), counter=counter)
        assert verify_hotp(KEY, hotp(KEY, counter), counter=counter) == counter


def calls_into_c(call: Callable[[], object]) -> Counter[str]:
    """Count the hashes and comparisons that *call* makes."""
    counted: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and function.__name__ in ("compare_digest", "digest", "update"):
            counted[function.__name__] += 1

    sys.setprofile(profile)
    try:
        with suppress(CodeRejected):
            call()
    finally:
        sys.setprofile(None)
    return counted


def test_totp_rs_cve_2022_29185_every_candidate_is_computed_and_compared(
    enrolled: Enrolled,
) -> None:
    """totp-rs compared byte by byte, and every peer stops at the first match in the window, so the
    duration discloses which step matched.

    Invariant: a first match, a last match, no match and a replay cost the same computations and
    comparisons.
    """
    key = enrolled.phone.key
    counts = []
    for offset, after in ((-1, -1), (0, -1), (1, -1), (None, -1), (0, 2**63)):
        code = enrolled.phone.wrong_code() if offset is None else enrolled.phone.code(offset)
        counts.append(calls_into_c(partial(verify_totp, key, code, START, after=after)))
    assert all(count == counts[0] for count in counts)
    assert counts[0]["compare_digest"] == 3  # the steps of the window
