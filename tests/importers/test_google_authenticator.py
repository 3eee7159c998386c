"""The secret file of google-authenticator's PAM module. tests/interop has a real one."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from batches import error_of, refusal_of, user
from support import phone_with
from vmfa import AlreadyUsed, Key, Parameters, UnsafeShortKey
from vmfa.importers.base import ImportedDevice, Rejected, Status
from vmfa.importers.google_authenticator import read
from vmfa.importers.reading import HOTP

NO_FILE = "not a file of google-authenticator: it has no TOTP_AUTH line"
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


def file(
    *options: str, secret: str = SECRET, scratch: tuple[str, ...] = ("12345678", "23456789")
) -> str:
    return "\n".join(
        [secret, *(f'" {option}' for option in ("TOTP_AUTH", *options)), *scratch, ""]
    )


def test_a_file():
    text = file(
        "RATE_LIMIT 3 30 1700000000",
        "WINDOW_SIZE 17",
        "DISALLOW_REUSE 5666 5668 5667",
        "TIME_SKEW -4",
    )
    assert read(text, owner="alice") == [
        ImportedDevice(
            where="file",
            owner="alice",
            system="google-authenticator: alice",
            key=Key(b"1234567890" * 2),
            parameters=Parameters(),
            last_step=5668,
            drift=-4,
            notes=(
                "WINDOW_SIZE 17 is not imported: the policy decides",
                "RATE_LIMIT 3 30 1700000000 is not imported: the policy decides",
                "2 scratch codes are not imported",
            ),
        )
    ]


@pytest.mark.parametrize(
    ("options", "position"),
    [
        ((), None),
        (("DISALLOW_REUSE",), None),
        (("DISALLOW_REUSE 7",), 7),
    ],
)
def test_the_position_is_the_highest_step_that_was_used(options, position):
    (item,) = read(file(*options, scratch=()), owner="alice")
    assert item.last_step == position
    assert item.drift == 0
    assert not item.notes


def test_blank_lines_are_ignored():
    assert read(f"\n \n{file()}\n\n", owner="alice") == read(file(), owner="alice")


@pytest.mark.parametrize("digits", [20, 21])
def test_numbers_have_at_most_twenty_digits(digits):
    (item,) = read(file(f"DISALLOW_REUSE {'9' * digits}"), owner="alice")
    assert isinstance(item, ImportedDevice if digits == 20 else Rejected)


def test_a_period_of_its_own():
    (item,) = read(file("STEP_SIZE 60"), owner="alice")
    assert item.parameters == Parameters(period=60)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", NO_FILE),
        (f'{SECRET}\n" HOTP_COUNTER 5\n', HOTP),
        (f"{SECRET}\n# TOTP_AUTH\n", NO_FILE),
        (file(secret="GEZDGNBV1"), error_of(lambda: Key.from_base32("GEZDGNBV1"))),
        (file(secret="JBSWY3DPEHPK3PXP"), error_of(lambda: Key(b"short"))),
        (file("DISALLOW_REUSE 5 x"), "DISALLOW_REUSE must be a whole number"),
        (file("TIME_SKEW \u0665"), "TIME_SKEW must be a whole number"),
        (file("TIME_SKEW --5"), "TIME_SKEW must be a whole number"),
        (file(f"DISALLOW_REUSE {'9' * 5000}"), "DISALLOW_REUSE must be a whole number"),
        (file("STEP_SIZE 0"), refusal_of(period=0)),
    ],
)
def test_a_file_is_rejected_with_its_reason(text, reason):
    assert read(text, owner="alice") == [Rejected(where="file", owner="alice", reason=reason)]


def test_short_keys_only_if_allowed():
    (item,) = read(file(secret="JBSWY3DPEHPK3PXP"), owner="alice", unsafe_short_keys=True)
    assert isinstance(item.key, UnsafeShortKey)


def test_position_and_skew_are_imported(run_import, registry, clock):
    here = int(clock() // 30)
    (outcome,) = run_import(read(file(f"DISALLOW_REUSE {here + 3}", "TIME_SKEW 3"), owner="u-1"))
    assert (outcome.status, outcome.device.drift, outcome.device.last_step) == (
        Status.ADOPTED,
        3,
        here + 3,
    )
    phone = phone_with(Key(b"1234567890" * 2), clock)
    with pytest.raises(AlreadyUsed):
        registry.verify(user("u-1"), phone.code(3))
    assert registry.verify(user("u-1"), phone.code(4))


@given(
    st.text()
    | st.lists(
        st.sampled_from(
            [
                SECRET,
                '" TOTP_AUTH',
                '" DISALLOW_REUSE 1 2',
                '" TIME_SKEW -3',
                '" STEP_SIZE 5',
                '" ',
                '"',
                "12345678",
                "",
            ]
        )
    ).map("\n".join)
)
def test_any_text_gives_a_device_or_a_reason(text):
    (item,) = read(text, owner="alice")
    assert isinstance(item, (ImportedDevice, Rejected))
