"""Mutants of ``otp`` at places where the ordinary tests stand exactly on a boundary."""

from __future__ import annotations

import pytest

from leaks import assert_silent
from vmfa import AlreadyUsed, InvalidValue, MalformedCode, step_at, totp, verify_totp
from vmfa.otp import normalize_code

KEY = bytes(range(20))
STEP = 56_666_667


@pytest.mark.parametrize("second", [0, 1, 15, 29])
def test_who_repeats_the_code_before_need_not_wait_at_all(second):
    """The next fresh code is on the display already: the wait is none, and never less than that."""
    with pytest.raises(AlreadyUsed) as caught:
        verify_totp(KEY, totp(KEY, (STEP - 1) * 30), STEP * 30 + second, after=STEP - 1)
    assert (caught.value.retry_after, caught.value.next_at) == (0, STEP * 30)


class Seconds(int):
    """An int of somebody's own."""


def test_a_time_that_no_float_can_hold_is_past_the_last_step():
    with pytest.raises(InvalidValue, match="past the last step"):
        step_at(Seconds(10**400))
    assert step_at(Seconds(STEP * 30)) == STEP


@pytest.mark.parametrize("typed", ["12345x", "1234567", "123-45x"])
def test_what_was_typed_is_in_no_frame_of_its_refusal(typed):
    with pytest.raises(MalformedCode) as caught:
        normalize_code(typed, 6)
    assert_silent(caught.value, typed, typed.replace("-", ""))
