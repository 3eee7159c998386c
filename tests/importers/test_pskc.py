"""PSKC files (RFC 6030), written by python-pskc."""

from __future__ import annotations

import io
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st
from pskc import PSKC

from batches import reasons, statuses, user
from leaks import assert_silent
from support import phone_with
from vmfa import AlreadyUsed, Key, Parameters, UnsafeShortKey
from vmfa.importers.base import ImportedDevice, Rejected, UnreadableSource
from vmfa.importers.pskc import NO_OWNER, NOT_PSKC, read
from vmfa.importers.reading import HOTP

TOTP = "urn:ietf:params:xml:ns:keyprov:pskc:totp"
KEY = b"12345678901234567890"
ENCRYPTION_KEY = bytes(range(16))
FIELDS = {
    "id": "k1", "serial": "S-1", "algorithm": TOTP, "secret": KEY, "response_length": 6,
    "time_interval": 30, "key_userid": "alice",
}


def written(container: PSKC) -> str:
    file = io.BytesIO()
    container.write(file)
    return file.getvalue().decode()


def container_of(*keys: dict) -> PSKC:
    container = PSKC()
    for fields in keys:
        container.add_key(**{**FIELDS, **fields})
    return container


def file_of(*keys: dict) -> str:
    return written(container_of(*keys))


def item_of(**changes):
    (item,) = read(file_of(changes))
    return item


def test_every_field():
    item = item_of()
    assert (item.owner, item.key, item.parameters) == ("alice", Key(KEY), Parameters())
    assert (item.where, item.system) == ("key 1, serial number S-1", "pskc: S-1")
    assert (item.last_step, item.drift) == (None, 0)
    item = item_of(
        algorithm_suite="HMAC-SHA256", response_length=8, time_interval=60, time_drift=-2,
        response_encoding="DECIMAL",
    )
    assert item.parameters == Parameters(algorithm="sha256", digits=8, period=60)
    assert item.drift == -2
    assert item_of(key_userid=None, device_userid="bob").owner == "bob"
    assert item_of(key_userid="bob", device_userid="bob").owner == "bob"


def test_a_code_of_the_past_is_refused_and_a_new_one_verifies(run_import, registry, clock):
    assert statuses(run_import(read(file_of({})))) == ["adopted"]
    phone = phone_with(Key(KEY), clock)
    with pytest.raises(AlreadyUsed):
        registry.verify(user("alice"), phone.code())
    clock.advance(60)
    assert registry.verify(user("alice"), phone.code())


def test_the_serial_number_can_be_the_owner():
    assert item_of(key_userid=None).reason == NO_OWNER
    (item,) = read(file_of({"key_userid": None}), owner_is_serial=True)
    assert item.owner == "S-1"
    (item,) = read(file_of({"key_userid": None, "serial": None}), owner_is_serial=True)
    assert item.reason == NO_OWNER


@pytest.mark.parametrize(("changes", "reason"), [
    ({"algorithm": TOTP.replace("totp", "hotp")}, HOTP),
    ({"algorithm": "urn:x"}, "the algorithm of the key must be TOTP"),
    ({"device_userid": "bob"}, "key and device have other users"),
    ({"secret": None}, "the secret is missing"),
    ({"secret": b"short"}, "a key must have"),
    ({"time_offset": 7}, "Time is not 0"),
    ({"algorithm_suite": "MD5"}, "Suite is not"),
    ({"response_length": 9}, "digits"),
    ({"response_encoding": "HEXADECIMAL"}, "not decimal"),
    ({"response_check": True}, "check digit"),
    ({"policy.expiry_date": datetime(2030, 1, 1, tzinfo=UTC)}, "limits"),
    ({"policy.start_date": datetime(2030, 1, 1, tzinfo=UTC)}, "limits"),
    ({"policy.pin_usage": "Local"}, "PIN"),
    ({"policy.number_of_transactions": 5}, "PIN"),
])
def test_a_key_is_rejected_with_its_reason(changes, reason):
    item = item_of(**changes)
    assert isinstance(item, Rejected)
    assert reason in item.reason


def test_a_file_that_is_encrypted_with_a_key():
    container = container_of({}, {"id": "k2", "serial": "S-2"})
    container.encryption.setup_preshared_key(key=ENCRYPTION_KEY)
    text = written(container)
    assert "MTIzNDU2" not in text
    assert [item.key for item in read(text, key=ENCRYPTION_KEY.hex())] == [Key(KEY)] * 2
    for wrong in ("", "ab" * 16, "ab" * 5, "ff" * 16):
        with pytest.raises(UnreadableSource, match="missing or wrong") as caught:
            list(read(text, key=wrong))
        assert_silent(caught.value, *filter(None, [wrong]))


def test_a_file_that_is_encrypted_with_a_password():
    container = container_of({})
    container.encryption.setup_pbkdf2("correct horse")
    text = written(container)
    assert [item.key for item in read(text, password="correct horse")] == [Key(KEY)]
    with pytest.raises(UnreadableSource, match="missing or wrong") as caught:
        list(read(text, password="wrong battery"))
    assert_silent(caught.value, "wrong battery")
    count = container.encryption.derivation.pbkdf2_iterations
    slow = text.replace(f">{count}<", ">999999999999<")
    with pytest.raises(UnreadableSource, match="iterations"):
        list(read(slow, password="correct horse"))


def test_one_value_that_was_changed():
    container = container_of({}, {"id": "k2", "serial": "S-2"})
    container.encryption.setup_preshared_key(key=ENCRYPTION_KEY)
    head, mark, tail = written(container).rpartition("ValueMAC>")
    head = head.rpartition("ValueMAC>")
    text = f"{head[0]}ValueMAC>AAAA{head[2][4:]}{mark}{tail}"
    first, second = read(text, key=ENCRYPTION_KEY.hex())
    assert isinstance(first, ImportedDevice)
    assert second.reason == "a value cannot be decrypted, or its MAC is wrong"


@pytest.mark.parametrize("text", [
    "", "x", "<a/>", "<" * 10_000, "\ud800", "<KeyContainer Version='1.0'>",
    file_of({}).replace("30<", "x<"),
])
def test_a_source_that_is_not_pskc(text):
    with pytest.raises(UnreadableSource) as caught:
        list(read(text))
    assert str(caught.value) == NOT_PSKC
    assert_silent(caught.value, "MTIz", "NDU2")


@pytest.mark.parametrize("head", [
    "<!DOCTYPE a [<!ENTITY b 'c'>]>", "<!doctype a>", "<?xml version='1.0' encoding='utf-16'?>",
])
def test_entities_and_other_encodings_are_refused(head):
    with pytest.raises(UnreadableSource, match="entities"):
        list(read(head + file_of({}).partition("?>")[2]))


def test_a_deep_file_is_refused():
    with pytest.raises(UnreadableSource):
        list(read("<a>" * 100_000 + "</a>" * 100_000))


def test_short_keys_only_if_allowed():
    text = file_of({"secret": b"short"}, {})
    assert list(reasons(read(text))) == ["alice"]
    assert isinstance(next(iter(read(text, unsafe_short_keys=True))).key, UnsafeShortKey)


@given(st.text() | st.text(st.sampled_from("<>/=\"KeyPackage ")))
def test_any_text_is_unreadable_or_empty(text):
    with suppress(UnreadableSource):
        assert list(read(text)) == []
