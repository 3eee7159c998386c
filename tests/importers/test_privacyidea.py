"""Tokens of privacyIDEA, as its version 3.14 exported them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from hypothesis import given, strategies as st

from batches import reasons, statuses, user
from leaks import assert_silent
from support import phone_with
from vmfa import AlreadyUsed, Key, Parameters, UnsafeShortKey
from vmfa.importers.base import ImportedDevice, Principals, Rejected, UnreadableSource
from vmfa.importers.privacyidea import WRONG_KEY, entries, read
from vmfa.importers.reading import HOTP

FILE = Path(__file__).parent / "exports" / "privacyidea-3.14.pi"
FILE_KEY = "raz4i5RXl2hJSFW_zyb61_aE-GolbnUtItGyE5ObYwU="
EXPORTED_AT = 1795567981
KEY = b"12345678901234567890"
TOKEN = {
    "serial": "T1", "type": "totp", "otpkey": KEY.hex(), "otplen": 6, "active": True,
    "count": 0, "failcount": 0, "user": {"login": "alice", "realm": "example"}, "info_list": {},
}


@pytest.fixture
def items() -> dict[str, ImportedDevice | Rejected]:
    with FILE.open() as file:
        return {item.where: item for item in read(file, key=FILE_KEY)}


def test_every_field(items):
    alice, bob = items["token TOTP0001"], items["token TOTP0002"]
    assert (alice.owner, alice.key, alice.parameters) == (
        "alice@example", Key(KEY), Parameters(),
    )
    assert (alice.last_step, alice.drift, alice.failures) == (59852266, 0, 2)
    assert bob.parameters == Parameters(algorithm="sha256", digits=8, period=60)
    assert (bob.last_step, bob.drift, bob.failures) == (EXPORTED_AT // 60 + 2, 2, 0)
    assert alice.system == "privacyidea: TOTP0001"
    assert alice.notes == ()


def test_what_is_rejected(items):
    assert reasons(items.values()) == {
        "carol@example": HOTP,
        "token TOTP0004": "the token is not assigned to a user",
        "dave@example": "the token is not active",
    }


def test_a_used_code_is_refused_and_the_next_one_verifies(items, run_import, registry, clock):
    clock.advance(EXPORTED_AT - clock())
    principals = Principals(account="123456789012", names={"alice@example": "u-1"})
    assert statuses(run_import([items["token TOTP0001"]], principals)) == ["adopted"]
    phone = phone_with(Key(KEY), clock)
    with pytest.raises(AlreadyUsed):
        registry.verify(user("u-1"), phone.code())
    clock.advance(30)
    assert registry.verify(user("u-1"), phone.code())


@pytest.mark.parametrize("key", ["", "wrong", Fernet.generate_key().decode(), "ü"])
def test_a_wrong_key_is_an_unreadable_source(key):
    with pytest.raises(UnreadableSource) as caught:
        list(read(FILE.read_text(), key=key))
    if key == "wrong":
        assert_silent(caught.value, f"{key!r}")
    elif key:
        assert str(caught.value) == WRONG_KEY
        assert_silent(caught.value, key)


@pytest.mark.parametrize("text", ["", "x", "[{}]", "\ud800"])
def test_a_damaged_export(text):
    with pytest.raises(UnreadableSource, match=r"^the key of the export") as caught:
        list(read(text, key=FILE_KEY))
    assert_silent(caught.value, FILE_KEY)


def test_a_decrypted_export():
    assert list(read(json.dumps([TOKEN]))) == entries([TOKEN])


@pytest.mark.parametrize(("changes", "reason"), [
    ({"type": "sms"}, "not a TOTP token: only those can be imported"),
    ({"type": None}, "type is missing"),
    ({"user": None}, "the token is not assigned to a user"),
    ({"user": {"login": "alice"}}, "the token is not assigned to a user"),
    ({"revoked": True}, "revoked is set: the library has no such limit for a device"),
    ({"locked": True}, "locked is set: the library has no such limit for a device"),
    ({"info_list": {"validity_period_end": "2030-01-01"}}, "validity_period_end is set"),
    ({"info_list": {"timeShift": "nan"}}, "timeShift must be a number of seconds"),
    ({"info_list": {"timeShift": "x"}}, "timeShift must be a number of seconds"),
    ({"info_list": {"timeShift": "1e300"}}, "timeShift must be a number of seconds"),
    ({"info_list": {"timeStep": "x"}}, "timeStep must be a whole number"),
    ({"info_list": {"timeStep": "0"}}, "period"),
    ({"info_list": {"hashlib": "md5"}}, "algorithm"),
    ({"otpkey": "x"}, "otpkey must be hexadecimal"),
    ({"otpkey": "00"}, "a key must have 16 to 1024 bytes"),
    ({"otplen": 10}, "digits"),
])
def test_a_token_is_rejected_with_its_reason(changes, reason):
    (item,) = entries([{**TOKEN, **changes}])
    assert isinstance(item, Rejected)
    assert reason in item.reason


def test_a_pin_is_mentioned_and_short_keys_are_optional():
    (item,) = entries([{**TOKEN, "otpkey": "00", "_hashed_pin": "x"}], unsafe_short_keys=True)
    assert isinstance(item.key, UnsafeShortKey)
    assert item.notes == ("the PIN is not imported",)


@pytest.mark.parametrize(("shift", "drift"), [
    ("0.0", 0), ("-29.0", 0), ("-30", -1), ("1.0", 1), ("30", 1), ("31", 2), (None, 0),
])
def test_the_drift(shift, drift):
    (item,) = entries([{**TOKEN, "info_list": {"timeShift": shift}}])
    assert item.drift == drift


@given(st.dictionaries(st.sampled_from([*TOKEN, "revoked"]), st.none() | st.booleans()
       | st.integers() | st.text() | st.sampled_from([*TOKEN.values()])))
def test_any_token_gives_a_device_or_a_reason(token):
    (item,) = entries([token])
    assert isinstance(item, (ImportedDevice, Rejected))
