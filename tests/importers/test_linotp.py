"""Tokens of LinOTP, in the columns of its table."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from batches import statuses, user
from support import phone_with
from vmfa import AlreadyUsed, Key, Parameters, UnsafeShortKey
from vmfa.importers.base import ImportedDevice, Principals, Rejected, UnreadableSource
from vmfa.importers.linotp import COLUMNS, read
from vmfa.importers.reading import HOTP

KEY = b"12345678901234567890"
TOKEN = {
    "LinOtpTokenSerialnumber": "TOTP0001", "LinOtpTokenType": "TOTP", "LinOtpUserid": "1001",
    "LinOtpIdResClass": "useridresolver.LDAPIdResolver.IdResolver.staff", "LinOtpOtpLen": 6,
    "LinOtpCount": 0, "LinOtpFailCount": 2, "LinOtpIsactive": True,
    "LinOtpTokenInfo": '{"timeStep": "30", "hashlib": "sha1", "timeShift": 61.0}',
    "otpkey": KEY.hex(),
}


def item_of(**changes):
    (item,) = read(json.dumps([{**TOKEN, **changes}]))
    return item


def test_every_field():
    item = item_of(LinOtpCount=56666667)
    assert (item.owner, item.where) == ("1001@staff", "token TOTP0001")
    assert (item.key, item.parameters) == (Key(KEY), Parameters())
    assert (item.last_step, item.drift, item.failures) == (56666667, 3, 2)
    assert item.system == "linotp: TOTP0001"
    info = json.dumps({"timeStep": 60, "hashlib": "sha256"})
    item = item_of(LinOtpOtpLen="8", LinOtpTokenInfo=info)
    assert item.parameters == Parameters(algorithm="sha256", digits=8, period=60)
    assert (item.last_step, item.drift) == (None, 0)
    assert item_of(LinOtpTokenInfo="").parameters == Parameters()


def test_a_csv_table():
    names, values = ",".join(TOKEN), (str(value) for value in TOKEN.values())
    cells = ",".join('"' + value.replace('"', '""') + '"' for value in values)
    assert list(read(f"{names}\n{cells}\n")) == [item_of()]


def test_a_used_code_is_refused_and_the_next_one_verifies(run_import, registry, clock):
    principals = Principals(account="123456789012", names={"1001@staff": "u-1"})
    item = item_of(LinOtpCount=clock() // 30, LinOtpTokenInfo="{}")
    assert statuses(run_import([item], principals)) == ["adopted"]
    phone = phone_with(Key(KEY), clock)
    with pytest.raises(AlreadyUsed):
        registry.verify(user("u-1"), phone.code())
    clock.advance(30)
    assert registry.verify(user("u-1"), phone.code())


@pytest.mark.parametrize(("changes", "reason"), [
    ({"LinOtpTokenType": "HMAC"}, HOTP),
    ({"LinOtpTokenType": "sms"}, "not a TOTP token"),
    ({"LinOtpUserid": None}, "the token is not assigned"),
    ({"LinOtpIdResClass": ""}, "the token is not assigned"),
    ({"LinOtpIsactive": False}, "the token is not active"),
    ({"LinOtpIsactive": None}, "LinOtpIsactive is missing"),
    ({"LinOtpTokenInfo": "x"}, "LinOtpTokenInfo must be a JSON object"),
    ({"LinOtpTokenInfo": "[]"}, "LinOtpTokenInfo must be a JSON object"),
    ({"LinOtpTokenInfo": '{"validity_period_end": "01/01/30 00:00"}'}, "validity_period_end"),
    ({"LinOtpKeyEnc": "x"}, "unknown field"),
    ({"otpkey": "00"}, "a key must have 16 to 1024 bytes"),
    ({"otpkey": None}, "otpkey is missing"),
])
def test_a_token_is_rejected_with_its_reason(changes, reason):
    item = item_of(**changes)
    assert isinstance(item, Rejected)
    assert reason in item.reason


def test_short_keys_only_if_allowed():
    text = json.dumps([{**TOKEN, "otpkey": "00"}])
    assert [type(item.key) for item in read(text, unsafe_short_keys=True)] == [UnsafeShortKey]


def test_a_source_that_is_not_a_table():
    with pytest.raises(UnreadableSource):
        list(read("{}"))


@given(st.dictionaries(st.sampled_from(COLUMNS), st.none() | st.booleans() | st.integers()
       | st.text() | st.sampled_from([*TOKEN.values()])))
def test_any_token_gives_a_device_or_a_reason(token):
    assert isinstance(next(iter(read(json.dumps([token])))), (ImportedDevice, Rejected))
