"""Users of a Laravel application with Fortify, in its columns."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from batches import statuses, user
from support import phone_with
from vmfa import AlreadyUsed, Key, Parameters, UnsafeShortKey
from vmfa.importers.base import ImportedDevice, Rejected, UnreadableSource
from vmfa.importers.laravel_fortify import entries, read

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
KEY = Key(b"12345678901234567890")
RECORD = {
    "id": 4711, "two_factor_secret": SECRET, "two_factor_confirmed_at": "2026-01-31 12:00:00",
}


def test_every_field():
    (item,) = read(json.dumps([RECORD]))
    assert (item.where, item.owner, item.key) == ("user 4711", "4711", KEY)
    assert (item.parameters, item.last_step, item.notes) == (Parameters(), None, ())
    assert item.system == "laravel-fortify: user 4711"
    record = {**RECORD, "two_factor_recovery_codes": "[...]"}
    (item,) = entries([record], parameters=Parameters(digits=8))
    assert item.parameters == Parameters(digits=8)
    assert item.notes == ("the recovery codes are not imported",)


def test_a_csv_table():
    text = f"id,two_factor_secret,two_factor_confirmed_at\n4711,{SECRET},2026-01-31 12:00:00\n"
    assert list(read(text)) == entries([RECORD])


def test_a_code_of_the_past_is_refused_and_a_new_one_verifies(run_import, registry, clock):
    assert statuses(run_import(entries([RECORD]))) == ["adopted"]
    phone = phone_with(KEY, clock)
    with pytest.raises(AlreadyUsed):
        registry.verify(user("4711"), phone.code())
    clock.advance(60)
    assert registry.verify(user("4711"), phone.code())


@pytest.mark.parametrize(("changes", "reason"), [
    ({"id": None}, "id is missing"),
    ({"two_factor_secret": None}, "two_factor_secret is missing"),
    ({"two_factor_secret": "eyJpdiI6IjEyMyJ9"}, "two_factor_secret is encrypted"),
    ({"two_factor_secret": "1"}, "Base32"),
    ({"two_factor_secret": "GEZDGNBVGY3TQOJQ"}, "a key must have"),
    ({"two_factor_confirmed_at": None}, "the user never confirmed the device"),
    ({"password": "x"}, "unknown field"),
])
def test_a_record_is_rejected_with_its_reason(changes, reason):
    (item,) = entries([{**RECORD, **changes}])
    assert isinstance(item, Rejected)
    assert reason in item.reason


def test_encrypted_secrets():
    record = {**RECORD, "two_factor_secret": SECRET[::-1]}
    (item,) = entries([record], decrypt=lambda text: text[::-1])
    assert item.key == KEY


def test_the_keys_of_80_bits_that_fortify_makes_by_default_only_if_allowed():
    text = json.dumps([{**RECORD, "two_factor_secret": "GEZDGNBVGY3TQOJQ"}])
    assert [type(item.key) for item in read(text, unsafe_short_keys=True)] == [UnsafeShortKey]


def test_a_source_that_is_not_a_table():
    with pytest.raises(UnreadableSource):
        list(read("{}"))


@given(st.dictionaries(st.sampled_from([*RECORD, "x"]), st.none() | st.booleans() | st.integers()
       | st.text() | st.just(SECRET)))
def test_any_record_gives_a_device_or_a_reason(record):
    assert isinstance(next(iter(read(json.dumps([record])))), (ImportedDevice, Rejected))
