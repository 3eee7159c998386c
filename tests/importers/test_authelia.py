"""Exports of Authelia, in their documented format."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from batches import reasons, statuses, user
from leaks import assert_silent
from support import phone_with
from vmfa import AlreadyUsed, Key, Parameters, UnsafeShortKey
from vmfa.importers import otpauth
from vmfa.importers.authelia import NOT_AN_EXPORT, read
from vmfa.importers.base import ImportedDevice, Rejected, UnreadableSource

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
KEY = Key(b"12345678901234567890")
FIELDS = {
    "created_at": "2022-05-15T01:02:03.456789Z", "last_used_at": "null", "username": "john",
    "issuer": "Authelia", "algorithm": "SHA1", "digits": "6", "period": "30",
    "secret": b64encode(SECRET.encode()).decode(),
}


def file_of(*entries: dict[str, str]) -> str:
    blocks = (
        "\n      ".join(f"{name}: {value}" for name, value in {**FIELDS, **entry}.items() if value)
        for entry in entries
    )
    return "totp_configurations:\n" + "".join(f"    - {block}\n" for block in blocks)


def item_of(**changes: str):
    (item,) = read(file_of(changes))
    return item


def test_every_field():
    item = item_of()
    assert (item.where, item.owner, item.system) == ("entry 1", "john", "authelia: john")
    assert (item.key, item.parameters, item.last_step) == (KEY, Parameters(), None)
    item = item_of(algorithm="SHA256", digits="8", period="60", username='"0123"')
    assert item.parameters == Parameters(algorithm="sha256", digits=8, period=60)
    assert item.owner == "0123"


@pytest.mark.parametrize("name", ["0123", "12e3", "true", "null", "2022-05-15", "1_000", "~"])
def test_a_user_is_named_as_written(name):
    assert item_of(username=name).owner == name


def test_the_same_user_as_a_key_uri():
    uri = (
        f"otpauth://totp/Authelia:john?algorithm=SHA1&digits=6&issuer=Authelia&period=30"
        f"&secret={SECRET}"
    )
    (item,) = otpauth.read(uri)
    assert (item.owner, item.key, item.parameters) == ("john", KEY, Parameters())


def test_a_code_of_the_past_is_refused_and_a_new_one_verifies(run_import, registry, clock):
    assert statuses(run_import(read(file_of({})))) == ["adopted"]
    phone = phone_with(KEY, clock)
    with pytest.raises(AlreadyUsed):
        registry.verify(user("john"), phone.code())
    clock.advance(60)
    assert registry.verify(user("john"), phone.code())


@pytest.mark.parametrize(("changes", "reason"), [
    ({"username": ""}, "username is missing"),
    ({"username": "[]"}, "username is missing"),
    ({"secret": ""}, "secret is missing"),
    ({"secret": "x"}, "secret must be Base64"),
    ({"secret": "AAAA"}, "Base32"),
    ({"secret": "/w=="}, "secret must be Base32 in Base64"),
    ({"secret": b64encode(b"GEZDGNBV").decode()}, "a key must have"),
    ({"algorithm": "MD5"}, "algorithm"),
    ({"digits": "9"}, "digits"),
    ({"digits": ""}, "digits is missing"),
    ({"period": "x"}, "period must be a whole number"),
    ({"revoked": "true"}, "unknown field"),
])
def test_an_entry_is_rejected_with_its_reason(changes, reason):
    item = item_of(**changes)
    assert isinstance(item, Rejected)
    assert reason in item.reason


def test_an_entry_that_is_not_an_object():
    assert reasons(read("totp_configurations: [a]")) == {"entry 1": "username is missing"}


@pytest.mark.parametrize("text", [
    "", "a", "[]", "totp_configurations: 1", "{", "[" * 100_000, "\x00", "\ud800", "a: *b",
    f"totp_configurations: [{{secret: {SECRET}, secret: {SECRET}}}]", "? {a: b}\n: c",
    f"totp_configurations: []\ntotp_configurations: [{SECRET}]", f"!!python/object {SECRET}:",
    "a: &a [*a", f"{SECRET}: !!bool yes", "- 1\n---\n- 2",
])
def test_a_source_that_is_not_an_export(text):
    with pytest.raises(UnreadableSource) as caught:
        list(read(text))
    assert str(caught.value) == NOT_AN_EXPORT
    assert_silent(caught.value, SECRET)


def test_references_do_not_multiply():
    names = zip("abcdef", "bcdefg", strict=True)
    text = "a: &a [x]\n" + "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 100)}]\n" for a, b in names
    )
    assert list(read(text + "totp_configurations: [*g]")) != []


def test_short_keys_only_if_allowed():
    text = file_of({"secret": b64encode(b"GEZDGNBV").decode()})
    assert [type(item.key) for item in read(text, unsafe_short_keys=True)] == [UnsafeShortKey]


@given(st.text() | st.text(st.sampled_from("totp_cnfigurasecret: \n-[]{}&*!|>\"'")))
def test_any_text_gives_items_or_is_unreadable(text):
    with suppress(UnreadableSource):
        assert all(isinstance(i, (ImportedDevice, Rejected)) for i in read(text))
