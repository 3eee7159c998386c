"""Where keys come from: RFC 5869, the frozen derivation, and who may read what."""

from __future__ import annotations

import pytest

from reference import vectors
from support import MASTER
from vmfa import (
    DerivedKeys,
    InvalidType,
    InvalidValue,
    Key,
    KeyRef,
    Kind,
    Parameters,
    PrincipalId,
    UnknownMasterKey,
    UnsafePlainKeys,
    UnsafeShortKey,
)
from vmfa.keys import encode_fields, hkdf_expand, hkdf_extract, reveal
from vmfa.keysources.base import KeySources
from vmfa.keysources.derived import key_binding

FROZEN = vectors("frozen_v1")
ALICE = PrincipalId.user("123456789012", "u-4711")
SERIAL = "00112233445566778899aabbccddeeff"
SIX = Parameters()
OTHER = bytes(32)


@pytest.mark.parametrize("row", vectors("rfc5869_appendix_a")["rows"], ids=lambda row: row["test"])
def test_rfc5869_appendix_a(row):
    prk = hkdf_extract(bytes.fromhex(row["salt"]), bytes.fromhex(row["secret"]))
    assert prk.hex() == row["prk"]
    assert hkdf_expand(prk, bytes.fromhex(row["info"]), row["length"]).hex() == row["okm"]


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 64, 65])
def test_expand_gives_exactly_the_length_asked_for(length):
    long = hkdf_expand(MASTER, b"info", 96)
    assert hkdf_expand(MASTER, b"info", length) == long[:length]


def test_fields_are_prefixed_by_their_length():
    assert encode_fields("ä", 17, b"\0") == b"\0\0\0\2\xc3\xa4\0\0\0\x0217\0\0\0\1\0"
    assert encode_fields() == b""
    assert encode_fields("") == bytes(4)


class TestMasterKeys:
    @pytest.mark.parametrize("row", FROZEN["master_key_ids"], ids=lambda row: row["id"])
    def test_an_id_is_a_frozen_fingerprint(self, row):
        assert DerivedKeys(bytes.fromhex(row["master"])).current_id == row["id"]

    @pytest.mark.parametrize("given", [(b"",), (bytes(31),), (MASTER, bytes(31)), (bytes(31), MASTER)])
    def test_a_master_key_has_32_bytes(self, given):
        with pytest.raises(InvalidValue, match=r"^a master key has at least 32 bytes$"):
            DerivedKeys(*given)

    @pytest.mark.parametrize("given", [("0" * 32,), (None,), (bytearray(32),), (MASTER, "0" * 32)])
    def test_a_master_key_is_bytes(self, given):
        with pytest.raises(InvalidType, match=r"^a master key is bytes$"):
            DerivedKeys(*given)

    def test_the_first_is_the_current_one(self):
        keys = DerivedKeys(OTHER, MASTER)
        assert keys.current_id == DerivedKeys(OTHER).current_id
        assert keys.issue(ALICE, SERIAL, SIX)[0].key_id == keys.current_id
        assert keys.tag("p", b"").startswith(keys.current_id + ".")

    def test_subkeys_differ_by_purpose_and_master(self):
        keys = DerivedKeys(OTHER, MASTER)
        retired = DerivedKeys(MASTER).current_id
        found = {reveal(keys.subkey(p, i)) for p in ("record", "history") for i in (keys.current_id, retired)}
        assert len(found) == 4
        assert {len(subkey) for subkey in found} == {32}
        assert keys.subkey("record", retired) == DerivedKeys(MASTER).subkey("record", retired)

    def test_a_tag_checks(self):
        keys = DerivedKeys(MASTER)
        tag = keys.tag("record", b"message")
        assert keys.check("record", b"message", tag)
        assert DerivedKeys(OTHER, MASTER).check("record", b"message", tag)

    def test_a_tag_of_something_else_does_not(self):
        keys = DerivedKeys(MASTER)
        tag = keys.tag("record", b"message")
        assert not keys.check("record", b"massage", tag)
        assert not keys.check("history", b"message", tag)

    @pytest.mark.parametrize("edit", [
        lambda tag: "", lambda tag: tag[:-1], lambda tag: tag + "0", lambda tag: tag.replace(".", ""),
        lambda tag: tag[:17], lambda tag: tag[:16], lambda tag: tag[1:], lambda tag: "." + tag,
        lambda tag: tag[:-1] + "é", lambda tag: tag[:17] + tag[17:].upper(), lambda tag: "0" + tag,
    ])
    def test_an_edited_tag_does_not(self, edit):
        keys = DerivedKeys(MASTER)
        assert keys.check("record", b"message", edit(keys.tag("record", b"message"))) is False

    def test_a_tag_that_is_no_text_does_not(self):
        with pytest.raises(UnknownMasterKey):
            DerivedKeys(MASTER).check("record", b"message", "\ud800" * 16 + ".00")

    def test_a_tag_under_another_master_key_is_unknown_not_wrong(self):
        tag = DerivedKeys(OTHER).tag("record", b"message")
        sentence = "^a record was made under a master key that this process was not given$"
        with pytest.raises(UnknownMasterKey, match=sentence):
            DerivedKeys(MASTER).check("record", b"message", tag)


class TestDerivedKeys:
    @pytest.mark.parametrize("row", FROZEN["device_keys"], ids=lambda row: row["key"][:8])
    def test_the_derivation_is_frozen(self, row):
        keys = DerivedKeys(bytes.fromhex(row["master"]))
        ref = KeyRef(scheme="derived", key_id=row["key_id"], material=bytes.fromhex(row["nonce"]))
        who = PrincipalId(account=row["account"], kind=Kind(row["kind"]), name=row["name"])
        shape = Parameters(
            algorithm=row["algorithm"], digits=row["digits"], period=row["period"], t0=row["t0"]
        )
        assert key_binding(ref, who, row["serial"], shape).hex() == row["binding"]
        assert reveal(keys.reveal(ref, who, row["serial"], shape)).hex() == row["key"]

    def test_what_is_issued_is_revealed_again(self):
        keys = DerivedKeys(MASTER)
        ref, key = keys.issue(ALICE, SERIAL, SIX)
        assert (ref.scheme, len(ref.material)) == ("derived", 16)
        assert keys.reveal(ref, ALICE, SERIAL, SIX) == key
        assert DerivedKeys(OTHER, MASTER).reveal(ref, ALICE, SERIAL, SIX) == key

    def test_a_second_issue_is_another_key(self):
        keys = DerivedKeys(MASTER)
        (ref1, key1), (ref2, key2) = keys.issue(ALICE, SERIAL, SIX), keys.issue(ALICE, SERIAL, SIX)
        assert key1 != key2
        assert ref1.material != ref2.material

    def test_seed_bound_a_key_is_nobody_elses(self):
        keys = DerivedKeys(MASTER)
        ref, key = keys.issue(ALICE, SERIAL, SIX)
        assert all(
            keys.reveal(*moved) != key
            for moved in [
                (ref, PrincipalId.user("123456789012", "u-4712"), SERIAL, SIX),
                (ref, PrincipalId.user("123456789013", "u-4711"), SERIAL, SIX),
                (ref, PrincipalId.root("123456789012"), SERIAL, SIX),
                (ref, ALICE, "0" * 32, SIX),
                (ref, ALICE, SERIAL, Parameters(digits=8)),
                (ref, ALICE, SERIAL, Parameters(period=60)),
                (ref, ALICE, SERIAL, Parameters(t0=1)),
                (KeyRef(scheme="derived", key_id=ref.key_id, material=bytes(16)), ALICE, SERIAL, SIX),
            ]
        )

    @pytest.mark.parametrize(("algorithm", "size"), [("sha1", 20), ("sha256", 32), ("sha512", 64)])
    def test_rfc6238_5_1_keylen_as_long_as_the_hash(self, algorithm, size):
        _, key = DerivedKeys(MASTER).issue(ALICE, SERIAL, Parameters(algorithm=algorithm))
        assert len(reveal(key)) == size

    def test_another_master_key_is_unknown_not_another_key(self):
        ref, _ = DerivedKeys(OTHER).issue(ALICE, SERIAL, SIX)
        with pytest.raises(UnknownMasterKey):
            DerivedKeys(MASTER).reveal(ref, ALICE, SERIAL, SIX)

    def test_a_foreign_key_is_not_adopted(self):
        sentence = "^derived keys cannot adopt a foreign key: give the registry imported_keys$"
        with pytest.raises(InvalidValue, match=sentence):
            DerivedKeys(MASTER).adopt(ALICE, SERIAL, SIX, Key.generate())


class TestUnsafePlainKeys:
    def test_keys_are_kept_as_they_are(self):
        keys = UnsafePlainKeys()
        ref, key = keys.issue(ALICE, SERIAL, Parameters(algorithm="sha256"))
        assert ref == KeyRef(scheme="plain", key_id="", material=reveal(key))
        assert len(reveal(key)) == 32
        assert keys.reveal(ref, ALICE, SERIAL, SIX) == key

    def test_short_ones_too(self):
        keys = UnsafePlainKeys()
        for short in (UnsafeShortKey(b"1"), UnsafeShortKey(bytes(15)), Key(bytes(16))):
            revealed = keys.reveal(keys.adopt(ALICE, SERIAL, SIX, short), ALICE, SERIAL, SIX)
            assert type(revealed) is type(short)
            assert revealed == short

    def test_records_are_authenticated_by_a_published_key(self):
        assert UnsafePlainKeys().check("p", b"m", UnsafePlainKeys().tag("p", b"m"))
        assert UnsafePlainKeys().current_id == DerivedKeys(b"vmfa: unsafe, published, for tests").current_id


class TestKeySources:
    def test_one_source_does_everything(self):
        keys = UnsafePlainKeys()
        sources = KeySources(keys, None, authenticate=True)
        ref, key = sources.issue(ALICE, SERIAL, SIX)
        assert sources.scheme == "plain"
        assert sources.reveal(ref, ALICE, SERIAL, SIX) == key
        assert sources.reveal(sources.adopt(ALICE, SERIAL, SIX, key), ALICE, SERIAL, SIX) == key

    def test_the_scheme_picks_the_source(self):
        sources = KeySources(DerivedKeys(MASTER), UnsafePlainKeys(), authenticate=True)
        issued, key = sources.issue(ALICE, SERIAL, SIX)
        adopted = sources.adopt(ALICE, SERIAL, SIX, Key(bytes(20)))
        assert (issued.scheme, adopted.scheme, sources.scheme) == ("derived", "plain", "derived")
        assert sources.reveal(issued, ALICE, SERIAL, SIX) == key
        assert sources.reveal(adopted, ALICE, SERIAL, SIX) == Key(bytes(20))

    def test_records_are_authenticated_by_the_first(self):
        sources = KeySources(DerivedKeys(MASTER), UnsafePlainKeys(), authenticate=True)
        assert sources.tag("p", b"m") == DerivedKeys(MASTER).tag("p", b"m")
        assert sources.check("p", b"m", sources.tag("p", b"m"))

    def test_a_scheme_without_a_source(self):
        ref = UnsafePlainKeys().adopt(ALICE, SERIAL, SIX, Key(bytes(20)))
        with pytest.raises(UnknownMasterKey, match=r"^this registry was given no source for plain keys$"):
            KeySources(DerivedKeys(MASTER), None, authenticate=True).reveal(ref, ALICE, SERIAL, SIX)
