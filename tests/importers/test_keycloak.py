"""Realm exports of Keycloak, in their documented format."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from batches import reasons, statuses, user
from leaks import assert_silent
from support import phone_with
from vmfa import AlreadyUsed, Key, Parameters, UnsafeShortKey
from vmfa.importers.base import ImportedDevice, Rejected, UnreadableSource
from vmfa.importers.keycloak import NOT_A_REALM, read
from vmfa.importers.reading import HOTP

SECRET = "nTmzOdXf4mhj5ELJJzmd"  # the text is the key
DATA = {"subType": "totp", "digits": 6, "counter": 0, "period": 30, "algorithm": "HmacSHA1"}


def credential(secret: str = SECRET, **changes: object) -> dict:
    return {
        "id": "9fd7a1d0-5f5c-4a8c-9a27-4b1b6c7e3d11", "type": "otp", "userLabel": "phone",
        "createdDate": 1716297325000, "secretData": json.dumps({"value": secret}),
        "credentialData": json.dumps({**DATA, **changes}),
    }


def owner(*credentials: object, **changes: object) -> dict:
    return {
        "id": "u-1", "username": "alice", "enabled": True, "credentials": [*credentials], **changes
    }


def items_of(*users: dict) -> list:
    return list(read(json.dumps({"realm": "example", "users": users})))


def test_every_field():
    (item,) = items_of(owner({"type": "password"}, credential()))
    assert (item.where, item.owner) == ("user alice, credential 2", "u-1")
    assert (item.key, item.parameters) == (Key(SECRET.encode()), Parameters())
    assert (item.last_step, item.system) == (None, "keycloak: alice")
    (item,) = items_of(owner(credential(digits=8, period=60, algorithm="HmacSHA256")))
    assert item.parameters == Parameters(algorithm="sha256", digits=8, period=60)


def test_a_secret_in_base32():
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    (raw,) = items_of(owner(credential(secret)))
    (decoded,) = items_of(owner(credential(secret, secretEncoding="BASE32")))
    assert (raw.key, decoded.key) == (Key(secret.encode()), Key(b"12345678901234567890"))
    assert reasons(items_of(owner(credential(secretEncoding="HEX")))) == {
        "u-1": "secretEncoding must be BASE32, or missing"
    }


def test_a_code_of_the_past_is_refused_and_a_new_one_verifies(run_import, registry, clock):
    assert statuses(run_import(items_of(owner(credential())))) == ["adopted"]
    phone = phone_with(Key(SECRET.encode()), clock)
    with pytest.raises(AlreadyUsed):
        registry.verify(user("u-1"), phone.code())
    clock.advance(60)
    assert registry.verify(user("u-1"), phone.code())


def test_the_forms_of_an_export():
    users = [owner(credential())]
    expected = items_of(*users)
    for export in (
        [{"realm": "example", "users": users}, {"realm": "other", "users": []}],
        {"realm": "example", "federatedUsers": users},
        {"realm": "example", "users": users, "federatedUsers": None},
    ):
        assert list(read(json.dumps(export))) == expected
    assert list(read('{"realm": "example"}')) == []
    assert items_of({"id": "u-1", "username": "alice"}) == []


def test_two_phones_of_one_user_are_a_conflict(run_import):
    phones = items_of(owner(credential(), credential(SECRET[::-1])))
    assert statuses(run_import(phones)) == ["adopted", "conflict"]


@pytest.mark.parametrize(("held", "changes", "reason"), [
    (credential(subType="hotp"), {}, HOTP),
    (credential(subType=None), {}, "subType must be totp"),
    (credential(algorithm="HmacMD5"), {}, "algorithm is not one of RFC 6238"),
    (credential(digits=9), {}, "digits"),
    (credential("short"), {}, "a key must have"),
    (credential("\ud800" * 20), {}, "the value of secretData is not Unicode text"),
    (credential(), {"enabled": False}, "the user is not enabled"),
    (credential(), {"id": None}, "the user has no id"),
    ({**credential(), "secretData": "x"}, {}, "secretData must be a JSON object in text"),
    ({**credential(), "secretData": "[]"}, {}, "secretData must be a JSON object in text"),
    ({**credential(), "credentialData": None}, {}, "credentialData is missing"),
    ({"type": "webauthn"}, {}, "webauthn cannot be imported: only TOTP can"),
    ({"type": "recovery-authn-codes"}, {}, "recovery-authn-codes cannot be imported"),
    ({"type": "totp"}, {}, "before version 8"),
])
def test_a_credential_is_rejected_with_its_reason(held, changes, reason):
    (item,) = items_of(owner(held, **changes))
    assert isinstance(item, Rejected)
    assert reason in item.reason


@pytest.mark.parametrize("text", [
    "", "[]", "{}", "1", "[1]", '{"users": 1}', '{"users": [1]}', '{"realm": 1, "users": {}}',
    '{"users": [{"credentials": 1}]}', '{"realm": "a", "realm": "b"}', "[" * 100_000,
    f'{{"users": [{{"credentials": "{SECRET}"}}]}}',
])
def test_a_source_that_is_not_a_realm(text):
    with pytest.raises(UnreadableSource) as caught:
        list(read(text))
    assert_silent(caught.value, SECRET)


def test_what_the_error_says():
    with pytest.raises(UnreadableSource, match=f"^{NOT_A_REALM}$"):
        list(read('{"clients": []}'))


def test_short_keys_only_if_allowed():
    text = json.dumps({"users": [owner(credential("short"))]})
    assert [type(item.key) for item in read(text, unsafe_short_keys=True)] == [UnsafeShortKey]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just(SECRET),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["users", "credentials", "id", "type", "realm", "secretData"]), inner
    ),
)


@given(JSON)
def test_any_json_gives_items_or_is_unreadable(value):
    with suppress(UnreadableSource):
        assert all(isinstance(i, (ImportedDevice, Rejected)) for i in read(json.dumps(value)))
