"""passlib, here its successor libpass: JSON that its own TOTP objects wrote."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st
from passlib.totp import TOTP

from batches import error_of, refusal_of, user
from leaks import assert_silent
from vmfa import AlreadyUsed, Key, Parameters, UnsafeShortKey
from vmfa.importers.base import ImportedDevice, Rejected, Status, UnreadableSource
from vmfa.importers.passlib import entries, read
from vmfa.importers.reading import NOT_JSON

NOT_BASE32 = error_of(lambda: Key.from_base32("11"))
TOO_SHORT = error_of(lambda: Key(b"short"))
FIELDS = "v, type, key, alg, digits, period, label, issuer"
RECORD = {
    "owner": "u-1",
    "totp": {"v": 1, "type": "totp", "key": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"},
}


def test_a_used_code_is_refused_and_the_next_one_verifies(run_import, registry, clock):
    totp = TOTP.new()
    match = TOTP.verify(totp.generate(time=int(clock())).token, totp, time=int(clock()))
    text = json.dumps([{"owner": "u-1", "totp": totp.to_json(), "last_counter": match.counter}])
    (outcome,) = run_import(read(text))
    assert (outcome.status, outcome.principal, outcome.device.last_step) == (
        Status.ADOPTED,
        user("u-1"),
        match.counter,
    )
    with pytest.raises(AlreadyUsed):
        registry.verify(user("u-1"), totp.generate(time=int(clock())).token)
    clock.advance(30)
    assert registry.verify(user("u-1"), totp.generate(time=int(clock())).token)


def test_without_a_position_every_code_of_the_window_is_spent(run_import, registry, clock):
    totp = TOTP.new()
    (outcome,) = run_import(entries([{"owner": "u-1", "totp": totp.to_dict()}]))
    assert outcome.device.last_step == clock() // 30 + 1


def test_every_parameter_and_names_beside_it():
    totp = TOTP(new=True, alg="sha256", digits=8, period=60, label="alice", issuer="Example")
    (item,) = entries([{"owner": "u-1", "totp": totp.to_dict(), "last_counter": None}])
    assert item.parameters == Parameters(algorithm="sha256", digits=8, period=60)
    assert item.key == Key(totp.key)
    assert item.system == "passlib: u-1"


def test_encrypted_keys_are_named_and_exported_decrypted(run_import):
    pytest.importorskip("cryptography")
    wallet = TOTP.using(secrets={"1": "a secret of the application"})
    totp = wallet.new()
    (item,) = entries([{"owner": "u-1", "totp": totp.to_json()}])
    assert item.reason == "the key is encrypted: export it with to_json(encrypt=False)"
    opened = wallet.from_source(totp.to_json()).to_json(encrypt=False)
    (item,) = entries([{"owner": "u-1", "totp": opened}])
    assert item.key == Key(totp.key)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"owner": 1}, "owner must be of type str"),
        ({"owner": None}, "owner is missing"),
        ({"last_counte": 5}, "unknown field: the allowed fields are owner, totp, last_counter"),
        ({"last_counter": "5"}, "last_counter must be of type int"),
        ({"totp": None}, "totp is missing"),
        ({"totp": "{"}, NOT_JSON),
        ({"totp": "[]"}, "totp must be the JSON of a TOTP object, version 1"),
        ({"totp": {"v": 1, "type": "hotp"}}, "totp must be the JSON of a TOTP object, version 1"),
        ({"totp": {"v": 2, "type": "totp"}}, "totp must be the JSON of a TOTP object, version 1"),
        ({"totp": {"v": 1, "type": "totp"}}, "key is missing"),
        ({"totp": {"v": 1, "type": "totp", "key": "11"}}, NOT_BASE32),
        ({"totp": {"v": 1, "type": "totp", "key": "JBSWY3DPEHPK3PXP"}}, TOO_SHORT),
        ({"totp": {**RECORD["totp"], "alg": "md5"}}, refusal_of(algorithm="md5")),
        ({"totp": {**RECORD["totp"], "digits": 10}}, refusal_of(digits=10)),
        (
            {"totp": {**RECORD["totp"], "history": []}},
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
    record = {**RECORD, "totp": {**RECORD["totp"], "key": "JBSWY3DPEHPK3PXP"}}
    (item,) = entries([record], unsafe_short_keys=True)
    assert isinstance(item.key, UnsafeShortKey)
    assert list(read(json.dumps([record]), unsafe_short_keys=True)) == [item]
    assert [type(item) for item in read(json.dumps([record]))] == [Rejected]


@pytest.mark.parametrize("end", ["", "}", ", 1]", ', {"totp": 1, "totp": 2}]'])
def test_an_unreadable_source_shows_no_secret(end):
    text = json.dumps([RECORD, RECORD])[:-1] + end
    with pytest.raises(UnreadableSource) as caught:
        list(read(text))
    assert_silent(caught.value, RECORD["totp"]["key"])


def test_two_secrets_of_one_owner_are_a_conflict(run_import):
    other = {"owner": "u-1", "totp": TOTP.new().to_dict()}
    outcomes = run_import(entries([RECORD, other, RECORD]))
    assert [outcome.status for outcome in outcomes] == [
        Status.ADOPTED,
        Status.CONFLICT,
        Status.ALREADY,
    ]


SCALARS = st.none() | st.booleans() | st.integers() | st.text()


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["owner", "totp", "last_counter", "x"]),
            SCALARS
            | st.dictionaries(
                st.sampled_from(["v", "type", "key", "alg", "digits", "period"]),
                SCALARS | st.sampled_from([1, "totp", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"]),
            ),
        )
    )
)
def test_any_records_give_devices_or_reasons(records):
    assert all(isinstance(item, (ImportedDevice, Rejected)) for item in read(json.dumps(records)))
