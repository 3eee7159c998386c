"""Secrets kept for pyotp, with the last timecode that it accepted."""

from __future__ import annotations

import hashlib
import json

import pyotp
import pytest
from hypothesis import given, strategies as st

from batches import refusal_of, user
from vmfa import AlreadyUsed, Key, Parameters, UnsafeShortKey
from vmfa.importers.base import ImportedDevice, Rejected, Status, UnreadableSource
from vmfa.importers.pyotp import entries, read

RECORD = {"owner": "u-1", "secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}


def test_what_pyotp_accepted_is_spent_and_the_next_code_is_not(importing, registry, clock):
    secret = pyotp.random_base32()
    theirs = pyotp.TOTP(secret)
    timecode = theirs.verify_and_get_timecode(theirs.at(clock()), for_time=clock())
    (told,) = importing(read(json.dumps([{"owner": "u-1", "secret": secret, "last_timecode": timecode}])))
    assert (told.fate, told.principal, told.device.last_step) == (Status.ADOPTED, user("u-1"), timecode)
    with pytest.raises(AlreadyUsed):
        registry.verify(user("u-1"), theirs.at(clock()))
    clock.advance(30)
    assert registry.verify(user("u-1"), theirs.at(clock()))


def test_without_a_timecode_the_window_is_spent(importing, registry, clock):
    theirs = pyotp.TOTP(pyotp.random_base32())
    importing(entries([{"owner": "u-1", "secret": theirs.secret}]))
    for off in (-1, 0, 1):
        with pytest.raises(AlreadyUsed):
            registry.verify(user("u-1"), theirs.at(clock(), counter_offset=off))
    clock.advance(60)
    assert registry.verify(user("u-1"), theirs.at(clock()))


def test_every_parameter(importing, registry, clock):
    theirs = pyotp.TOTP(pyotp.random_base32(), digits=8, digest=hashlib.sha256, interval=60)
    record = {
        "owner": "u-1", "secret": theirs.secret, "digits": theirs.digits, "digest": theirs.digest().name,
        "interval": theirs.interval, "last_timecode": None,
    }
    (item,) = entries([record])
    assert item.parameters == Parameters(algorithm="sha256", digits=8, period=60)
    assert item.key == Key(theirs.byte_secret())
    assert item.source == "pyotp: u-1"
    importing([item])
    clock.advance(180)
    assert registry.verify(user("u-1"), theirs.at(clock()))


@pytest.mark.parametrize(("changes", "reason"), [
    ({"owner": 1}, "owner is of type str"),
    ({"owner": None}, "owner is missing"),
    ({"secret": None}, "secret is missing"),
    ({"secret": "GEZDGNBV1"}, "this is no Base32 (A-Z, 2-7)"),
    ({"secret": "JBSWY3DPEHPK3PXP"}, "a key has 16 to 1024 bytes (RFC4226-4-R6)"),
    ({"digest": "md5"}, "algorithm is 'sha1', 'sha256' or 'sha512' (RFC6238-1.2-HASH)"),
    ({"digits": 10}, "digits is 6, 7 or 8 (RFC4226-5.3-DIGITS)"),
    ({"interval": 0}, refusal_of(period=0)),
    ({"last_timecode": 5.0}, "last_timecode is of type int"),
    ({"last_timecod": 5},
     "an entry has the fields owner, secret, last_timecode, digits, digest, interval and no others"),
])
def test_records_that_are_not_adopted_and_why(changes, reason):
    (item,) = entries([{**RECORD, **changes}])
    assert isinstance(item, Rejected)
    assert (item.where, item.reason) == ("entry 1", reason)
    assert item.owner == ("" if "owner" in changes else "u-1")


def test_short_keys_by_name():
    record = {**RECORD, "secret": "JBSWY3DPEHPK3PXP"}
    (item,) = entries([record], unsafe_short_keys=True)
    assert isinstance(item.key, UnsafeShortKey)
    assert read(json.dumps([record]), unsafe_short_keys=True) == [item]
    assert [type(item) for item in read(json.dumps([record]))] == [Rejected]


def test_what_is_no_list():
    with pytest.raises(UnreadableSource):
        read("{}")


@given(st.lists(st.dictionaries(
    st.sampled_from(["owner", "secret", "last_timecode", "digits", "digest", "interval", "x"]),
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([RECORD["secret"], "sha1", 6]),
)))
def test_any_records_are_entries_or_reasons(records):
    assert all(isinstance(item, (ImportedDevice, Rejected)) for item in read(json.dumps(records)))
