"""Secrets that an application stored for pyotp, with the last accepted timecode."""

from __future__ import annotations

import hashlib
import json

import pyotp
import pytest
from hypothesis import given, strategies as st

from batches import error_of, refusal_of, user
from leaks import assert_silent
from vmfa import AlreadyUsed, Key, Parameters, UnsafeShortKey
from vmfa.importers.base import ImportedDevice, Rejected, Status, UnreadableSource
from vmfa.importers.pyotp import entries, read

NOT_BASE32 = error_of(lambda: Key.from_base32("11"))
TOO_SHORT = error_of(lambda: Key(b"short"))
FIELDS = "owner, secret, last_timecode, digits, digest, interval"
RECORD = {"owner": "u-1", "secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}


def test_a_used_code_is_refused_and_the_next_one_verifies(run_import, registry, clock):
    secret = pyotp.random_base32()
    totp = pyotp.TOTP(secret)
    timecode = totp.verify_and_get_timecode(totp.at(clock()), for_time=clock())
    (outcome,) = run_import(
        read(json.dumps([{"owner": "u-1", "secret": secret, "last_timecode": timecode}]))
    )
    assert (outcome.status, outcome.principal, outcome.device.last_step) == (
        Status.ADOPTED,
        user("u-1"),
        timecode,
    )
    with pytest.raises(AlreadyUsed):
        registry.verify(user("u-1"), totp.at(clock()))
    clock.advance(30)
    assert registry.verify(user("u-1"), totp.at(clock()))


def test_without_a_position_every_code_of_the_window_is_spent(run_import, registry, clock):
    totp = pyotp.TOTP(pyotp.random_base32())
    run_import(entries([{"owner": "u-1", "secret": totp.secret}]))
    for off in (-1, 0, 1):
        with pytest.raises(AlreadyUsed):
            registry.verify(user("u-1"), totp.at(clock(), counter_offset=off))
    clock.advance(60)
    assert registry.verify(user("u-1"), totp.at(clock()))


def test_every_parameter(run_import, registry, clock):
    totp = pyotp.TOTP(pyotp.random_base32(), digits=8, digest=hashlib.sha256, interval=60)
    record = {
        "owner": "u-1",
        "secret": totp.secret,
        "digits": totp.digits,
        "digest": totp.digest().name,
        "interval": totp.interval,
        "last_timecode": None,
    }
    (item,) = entries([record])
    assert item.parameters == Parameters(algorithm="sha256", digits=8, period=60)
    assert item.key == Key(totp.byte_secret())
    assert item.system == "pyotp: u-1"
    run_import([item])
    clock.advance(180)
    assert registry.verify(user("u-1"), totp.at(clock()))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"owner": 1}, "owner must be of type str"),
        ({"owner": None}, "owner is missing"),
        ({"secret": None}, "secret is missing"),
        ({"secret": "GEZDGNBV1"}, NOT_BASE32),
        ({"secret": "JBSWY3DPEHPK3PXP"}, TOO_SHORT),
        ({"digest": "md5"}, refusal_of(algorithm="md5")),
        ({"digits": 10}, refusal_of(digits=10)),
        ({"interval": 0}, refusal_of(period=0)),
        ({"last_timecode": 5.0}, "last_timecode must be of type int"),
        (
            {"last_timecod": 5},
            f"unknown field: the allowed fields are {FIELDS}",
        ),
    ],
)
def test_a_record_is_rejected_with_its_reason(changes, reason):
    (item,) = entries([{**RECORD, **changes}])
    assert isinstance(item, Rejected)
    assert (item.where, item.reason) == ("entry 1", reason)
    assert item.owner == ("" if "owner" in changes else "u-1")


def test_short_keys_only_if_allowed():
    record = {**RECORD, "secret": "JBSWY3DPEHPK3PXP"}
    (item,) = entries([record], unsafe_short_keys=True)
    assert isinstance(item.key, UnsafeShortKey)
    assert list(read(json.dumps([record]), unsafe_short_keys=True)) == [item]
    assert [type(item) for item in read(json.dumps([record]))] == [Rejected]


@pytest.mark.parametrize("end", ["", "}", ", 1]", ', {"secret": 1, "secret": 2}]'])
def test_an_unreadable_source_shows_no_secret(end):
    text = json.dumps([RECORD, RECORD])[:-1] + end
    with pytest.raises(UnreadableSource) as caught:
        list(read(text))
    assert_silent(caught.value, RECORD["secret"])


def test_two_secrets_of_one_owner_are_a_conflict(run_import):
    records = [RECORD, {**RECORD, "secret": pyotp.random_base32()}, RECORD]
    assert [outcome.status for outcome in run_import(entries(records))] == [
        Status.ADOPTED,
        Status.CONFLICT,
        Status.ALREADY,
    ]


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                ["owner", "secret", "last_timecode", "digits", "digest", "interval", "x"]
            ),
            st.none()
            | st.booleans()
            | st.integers()
            | st.text()
            | st.sampled_from([RECORD["secret"], "sha1", 6]),
        )
    )
)
def test_any_records_give_devices_or_reasons(records):
    assert all(isinstance(item, (ImportedDevice, Rejected)) for item in read(json.dumps(records)))
