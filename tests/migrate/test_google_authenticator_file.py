"""The secret file of google-authenticator's PAM module. ``tests/interop`` has one that the program wrote."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from batches import refusal_of, user
from support import Phone
from vmfa import AlreadyUsed, Key, Parameters, UnsafeShortKey
from vmfa.importers.base import ImportedDevice, Rejected, Status
from vmfa.importers.google_authenticator import read

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


def file(*options: str, secret: str = SECRET, scratch: tuple[str, ...] = ("12345678", "23456789")) -> str:
    return "\n".join([secret, *(f'" {option}' for option in ("TOTP_AUTH", *options)), *scratch, ""])


def test_a_file():
    text = file("RATE_LIMIT 3 30 1700000000", "WINDOW_SIZE 17", "DISALLOW_REUSE 5666 5668 5667", "TIME_SKEW -4")
    assert read(text, owner="alice") == [ImportedDevice(
        where="file", owner="alice", source="google-authenticator: alice", key=Key(b"1234567890" * 2),
        parameters=Parameters(), last_step=5668, drift=-4, notes=("2 scratch codes are not taken over",),
    )]


@pytest.mark.parametrize(("options", "position"), [
    ((), None), (("DISALLOW_REUSE",), None), (("DISALLOW_REUSE 7",), 7),
])
def test_the_position_is_the_highest_step_that_was_used(options, position):
    (item,) = read(file(*options, scratch=()), owner="alice")
    assert item.last_step == position
    assert item.drift == 0
    assert not item.notes


def test_blank_lines_around_say_nothing():
    assert read(f"\n \n{file()}\n\n", owner="alice") == read(file(), owner="alice")


@pytest.mark.parametrize("digits", [20, 21])
def test_numbers_of_more_than_twenty_digits_are_none(digits):
    """The longest that is a number at all is refused as the position of a device, by its own sentence."""
    (item,) = read(file(f"DISALLOW_REUSE {'9' * digits}"), owner="alice")
    assert isinstance(item, ImportedDevice if digits == 20 else Rejected)


def test_a_period_of_its_own():
    (item,) = read(file("STEP_SIZE 60"), owner="alice")
    assert item.parameters == Parameters(period=60)


@pytest.mark.parametrize(("text", "reason"), [
    ("", "HOTP: only time-based devices are assigned"),
    (f'{SECRET}\n" HOTP_COUNTER 5\n', "HOTP: only time-based devices are assigned"),
    (f"{SECRET}\n# TOTP_AUTH\n", "HOTP: only time-based devices are assigned"),
    (file(secret="GEZDGNBV1"), "this is no Base32 (A-Z, 2-7)"),
    (file(secret="JBSWY3DPEHPK3PXP"), "a key has 16 to 1024 bytes (RFC4226-4-R6)"),
    (file("DISALLOW_REUSE 5 x"), "DISALLOW_REUSE has whole numbers"),
    (file("TIME_SKEW \u0665"), "TIME_SKEW has whole numbers"),
    (file("TIME_SKEW --5"), "TIME_SKEW has whole numbers"),
    (file(f"DISALLOW_REUSE {'9' * 5000}"), "DISALLOW_REUSE has whole numbers"),
    (file("STEP_SIZE 0"), refusal_of(period=0)),
])
def test_files_that_are_not_adopted_and_why(text, reason):
    assert read(text, owner="alice") == [Rejected(where="file", owner="alice", reason=reason)]


def test_short_keys_by_name():
    (item,) = read(file(secret="JBSWY3DPEHPK3PXP"), owner="alice", unsafe_short_keys=True)
    assert isinstance(item.key, UnsafeShortKey)


def test_position_and_skew_are_taken_over(importing, registry, clock):
    here = int(clock() // 30)
    (told,) = importing(read(file(f"DISALLOW_REUSE {here + 3}", "TIME_SKEW 3"), owner="u-1"))
    assert (told.fate, told.device.drift, told.device.last_step) == (Status.ADOPTED, 3, here + 3)
    phone = Phone(Key(b"1234567890" * 2), clock)
    with pytest.raises(AlreadyUsed):
        registry.verify(user("u-1"), phone.code(3))
    assert registry.verify(user("u-1"), phone.code(4))


@given(st.text() | st.lists(st.sampled_from([
    SECRET, '" TOTP_AUTH', '" DISALLOW_REUSE 1 2', '" TIME_SKEW -3', '" STEP_SIZE 5', '" ', '"', "12345678", "",
])).map("\n".join))
def test_any_text_is_an_entry_or_a_reason(text):
    (item,) = read(text, owner="alice")
    assert isinstance(item, (ImportedDevice, Rejected))
