"""Users of a Rails application with devise-two-factor, in its columns."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from batches import statuses, user
from support import phone_with
from vmfa import AlreadyUsed, Key, Parameters, UnsafeShortKey
from vmfa.importers.base import ImportedDevice, Rejected, UnreadableSource
from vmfa.importers.devise_two_factor import entries, read

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
KEY = Key(b"12345678901234567890")
RECORD = {
    "id": 4711, "otp_secret": SECRET, "consumed_timestep": 56666667,
    "otp_required_for_login": True,
}


def test_every_field():
    (item,) = read(json.dumps([RECORD]))
    assert (item.where, item.owner, item.key) == ("user 4711", "4711", KEY)
    assert (item.parameters, item.last_step) == (Parameters(), 56666668)
    assert item.system == "devise-two-factor: user 4711"
    (item,) = entries([{**RECORD, "consumed_timestep": None}], parameters=Parameters(digits=8))
    assert (item.parameters, item.last_step) == (Parameters(digits=8), None)


@pytest.mark.parametrize("true", ["t", "true", "1", "TRUE"])
def test_a_csv_table(true):
    text = f"id,otp_secret,consumed_timestep,otp_required_for_login\n4711,{SECRET},56666667,{true}"
    assert list(read(text)) == entries([RECORD])


def test_a_used_code_is_refused_and_a_new_one_verifies(run_import, registry, clock):
    (item,) = entries([{**RECORD, "consumed_timestep": clock() // 30}])
    assert statuses(run_import([item])) == ["adopted"]
    phone = phone_with(KEY, clock)
    for off in (0, 1):  # the code that was accepted can be one step ahead
        with pytest.raises(AlreadyUsed):
            registry.verify(user("4711"), phone.code(off))
    clock.advance(60)
    assert registry.verify(user("4711"), phone.code())


@pytest.mark.parametrize(("changes", "reason"), [
    ({"id": None}, "id is missing"),
    ({"id": True}, "id is missing"),
    ({"otp_secret": None}, "otp_secret is missing"),
    ({"otp_secret": '{"p":"x"}'}, "otp_secret is encrypted"),
    ({"otp_secret": "1"}, "Base32"),
    ({"otp_secret": "GEZDGNBV"}, "a key must have"),
    ({"otp_required_for_login": False}, "otp_required_for_login is false"),
    ({"otp_required_for_login": "maybe"}, "is neither true nor false"),
    ({"otp_required_for_login": None}, "is neither true nor false"),
    ({"consumed_timestep": "x"}, "consumed_timestep must be a whole number"),
    ({"encrypted_otp_secret": "x"}, "unknown field"),
])
def test_a_record_is_rejected_with_its_reason(changes, reason):
    (item,) = entries([{**RECORD, **changes}])
    assert isinstance(item, Rejected)
    assert reason in item.reason


def test_encrypted_secrets():
    (item,) = entries([{**RECORD, "otp_secret": SECRET[::-1]}], decrypt=lambda text: text[::-1])
    assert item.key == KEY
    (item,) = entries([RECORD], decrypt=lambda text: {}[text])
    assert item.reason == "decrypt() raised KeyError"


def test_short_keys_only_if_allowed():
    text = json.dumps([{**RECORD, "otp_secret": "GEZDGNBV"}])
    assert [type(item.key) for item in read(text, unsafe_short_keys=True)] == [UnsafeShortKey]


def test_a_source_that_is_not_a_table():
    with pytest.raises(UnreadableSource):
        list(read("{}"))


@given(st.dictionaries(st.sampled_from([*RECORD, "x"]), st.none() | st.booleans() | st.integers()
       | st.text() | st.just(SECRET)))
def test_any_record_gives_a_device_or_a_reason(record):
    assert isinstance(next(iter(read(json.dumps([record])))), (ImportedDevice, Rejected))
