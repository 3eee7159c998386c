"""passlib, as libpass carries it on: JSON that its own TOTP objects wrote."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st
from passlib.totp import TOTP

from batches import user
from vmfa import AlreadyUsed, Key, Parameters, UnsafeShortKey
from vmfa.importers.base import ImportedDevice, Rejected, Status
from vmfa.importers.passlib import entries, read

RECORD = {"owner": "u-1", "totp": {"v": 1, "type": "totp", "key": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}}


def test_what_passlib_accepted_is_spent_and_the_next_code_is_not(importing, registry, clock):
    theirs = TOTP.new()
    match = TOTP.verify(theirs.generate(time=int(clock())).token, theirs, time=int(clock()))
    text = json.dumps([{"owner": "u-1", "totp": theirs.to_json(), "last_counter": match.counter}])
    (told,) = importing(read(text))
    assert (told.fate, told.principal, told.device.last_step) == (Status.ADOPTED, user("u-1"), match.counter)
    with pytest.raises(AlreadyUsed):
        registry.verify(user("u-1"), theirs.generate(time=int(clock())).token)
    clock.advance(30)
    assert registry.verify(user("u-1"), theirs.generate(time=int(clock())).token)


def test_without_a_counter_the_window_is_spent(importing, registry, clock):
    theirs = TOTP.new()
    (told,) = importing(entries([{"owner": "u-1", "totp": theirs.to_dict()}]))
    assert told.device.last_step == clock() // 30 + 1


def test_every_parameter_and_names_beside_it():
    theirs = TOTP(new=True, alg="sha256", digits=8, period=60, label="alice", issuer="Example")
    (item,) = entries([{"owner": "u-1", "totp": theirs.to_dict(), "last_counter": None}])
    assert item.parameters == Parameters(algorithm="sha256", digits=8, period=60)
    assert item.key == Key(theirs.key)
    assert item.source == "passlib: u-1"


def test_encrypted_keys_are_named_and_exported_decrypted(importing):
    pytest.importorskip("cryptography")
    wallet = TOTP.using(secrets={"1": "a secret of the application"})
    theirs = wallet.new()
    (item,) = entries([{"owner": "u-1", "totp": theirs.to_json()}])
    assert item.reason == "the key is encrypted: export it with to_json(encrypt=False)"
    opened = wallet.from_source(theirs.to_json()).to_json(encrypt=False)
    (item,) = entries([{"owner": "u-1", "totp": opened}])
    assert item.key == Key(theirs.key)


@pytest.mark.parametrize(("changes", "reason"), [
    ({"owner": 1}, "owner is of type str"),
    ({"owner": None}, "owner is missing"),
    ({"last_counte": 5}, "an entry has the fields owner, totp, last_counter and no others"),
    ({"last_counter": "5"}, "last_counter is of type int"),
    ({"totp": None}, "totp is missing"),
    ({"totp": "{"}, "this is no JSON, or an object in it names a field twice"),
    ({"totp": "[]"}, "totp is the JSON of a TOTP object, version 1"),
    ({"totp": {"v": 1, "type": "hotp"}}, "totp is the JSON of a TOTP object, version 1"),
    ({"totp": {"v": 2, "type": "totp"}}, "totp is the JSON of a TOTP object, version 1"),
    ({"totp": {"v": 1, "type": "totp"}}, "key is missing"),
    ({"totp": {"v": 1, "type": "totp", "key": "11"}}, "this is no Base32 (A-Z, 2-7)"),
    ({"totp": {"v": 1, "type": "totp", "key": "JBSWY3DPEHPK3PXP"}}, "a key has 16 to 1024 bytes (RFC4226-4-R6)"),
    ({"totp": {**RECORD["totp"], "alg": "md5"}}, "algorithm is 'sha1', 'sha256' or 'sha512' (RFC6238-1.2-HASH)"),
    ({"totp": {**RECORD["totp"], "digits": 10}}, "digits is 6, 7 or 8 (RFC4226-5.3-DIGITS)"),
    ({"totp": {**RECORD["totp"], "history": []}},
     "an entry has the fields v, type, key, alg, digits, period, label, issuer and no others"),
])
def test_records_that_are_not_adopted_and_why(changes, reason):
    (item,) = entries([{**RECORD, **changes}])
    assert isinstance(item, Rejected)
    assert (item.where, item.reason) == ("entry 1", reason)
    assert item.owner == ("" if "owner" in changes else "u-1")


def test_short_keys_by_name():
    record = {**RECORD, "totp": {**RECORD["totp"], "key": "JBSWY3DPEHPK3PXP"}}
    (item,) = entries([record], unsafe_short_keys=True)
    assert isinstance(item.key, UnsafeShortKey)
    assert read(json.dumps([record]), unsafe_short_keys=True) == [item]
    assert [type(item) for item in read(json.dumps([record]))] == [Rejected]


SCALARS = st.none() | st.booleans() | st.integers() | st.text()


@given(st.lists(st.dictionaries(
    st.sampled_from(["owner", "totp", "last_counter", "x"]),
    SCALARS | st.dictionaries(st.sampled_from(["v", "type", "key", "alg", "digits", "period"]),
                              SCALARS | st.sampled_from([1, "totp", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"])),
)))
def test_any_records_are_entries_or_reasons(records):
    assert all(isinstance(item, (ImportedDevice, Rejected)) for item in read(json.dumps(records)))
