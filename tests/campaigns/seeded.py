"""Mistakes of this field: CrossHair must find a counter-example of each."""

from __future__ import annotations


def the_offset_comes_from_byte_19_whatever_the_hash(mac: bytes) -> bool:
    """
    pre: len(mac) == 32
    post: _
    """
    offset, right = mac[19] & 15, mac[31] & 15
    return offset == right


def the_sign_bit_is_kept(mac: bytes) -> bool:
    """
    pre: len(mac) == 4
    post: _
    """
    return int.from_bytes(mac, "big") == int.from_bytes(mac, "big") % 2**31


def the_step_is_truncated_towards_zero(at: int) -> bool:
    """
    pre: -300 <= at <= 300
    post: _
    """
    step = abs(at) // 30 if at >= 0 else -(abs(at) // 30)
    return step * 30 <= at < (step + 1) * 30


def the_window_begins_one_too_late(here: int, step: int) -> bool:
    """
    pre: 0 <= here < 2**64
    post: _
    """
    return (step in range(max(0, here), here + 2)) == (max(0, here - 1) <= step <= here + 1)


def the_window_reaches_below_zero(here: int, back: int) -> bool:
    """
    pre: 0 <= here < 2**64 and 0 <= back <= 10
    post: _
    """
    return min(range(here - back, here + 2)) >= 0


def any_digit_is_a_digit(text: str) -> bool:
    """
    pre: len(text) == 1
    post: _
    """
    return text.isdigit() == ("0" <= text <= "9")


def any_digit_is_a_code(character: str, last: bool) -> bool:
    """
    pre: len(character) == 1
    post: _
    """
    text = "12345" + character if last else character + "12345"
    return (len(text) == 6 and text.isdigit()) == ("0" <= character <= "9")


def the_delay_has_no_cap(failures: int) -> bool:
    """
    pre: 3 <= failures <= 100
    post: _
    """
    return 15 * 2 ** (failures - 3) <= 3600


def the_budget_grows_above_its_size(budget: int, grown: int) -> bool:
    """
    pre: 0 <= budget <= 100 and grown >= 0
    post: _
    """
    return budget + grown <= 100


def a_refill_forgets_the_rest(elapsed: int) -> bool:
    """
    pre: elapsed >= 0
    post: _
    """
    since = elapsed if elapsed >= 172800 else 0
    return since == elapsed // 172800 * 172800
