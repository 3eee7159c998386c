"""Master keys authenticate records and events, and a registry combines two key sources."""

from __future__ import annotations

import pytest

from leaks import assert_silent
from reference import vectors
from support import MASTER
from vmfa import (
    DerivedKeys,
    InvalidType,
    InvalidValue,
    Key,
    Parameters,
    PrincipalId,
    UnknownMasterKey,
    UnsafePlainKeys,
)
from vmfa.keys import reveal
from vmfa.keysources.base import AuditKey, KeySources

FROZEN = vectors("frozen_v1")
OTHER = bytes(32)

ALICE = PrincipalId.user("123456789012", "u-4711")
SERIAL = "00112233445566778899aabbccddeeff"
SIX = Parameters()


class TestMasterKeys:
    @pytest.mark.parametrize("row", FROZEN["master_key_ids"], ids=lambda row: row["id"])
    def test_an_id_is_a_frozen_fingerprint(self, row):
        assert DerivedKeys(bytes.fromhex(row["master"])).current_id == row["id"]

    @pytest.mark.parametrize(
        "given", [(b"",), (bytes(31),), (MASTER, bytes(31)), (bytes(31), MASTER)]
    )
    def test_a_master_key_has_32_bytes(self, given):
        with pytest.raises(InvalidValue):
            DerivedKeys(*given)

    @pytest.mark.parametrize("given", [("0" * 32,), (None,), (bytearray(32),), (MASTER, "0" * 32)])
    def test_a_master_key_is_bytes(self, given):
        with pytest.raises(InvalidType):
            DerivedKeys(*given)

    @pytest.mark.parametrize("role", ["accepted", "derive_only"])
    def test_a_role_that_is_not_a_tuple_leaks_no_master_key(self, role):
        with pytest.raises(InvalidType) as caught:
            DerivedKeys(MASTER, **{role: None})
        assert_silent(caught.value, MASTER)

    def test_the_first_is_the_current_one(self):
        keys = DerivedKeys(OTHER, MASTER)
        assert keys.current_id == DerivedKeys(OTHER).current_id
        assert keys.issue(ALICE, SERIAL, SIX)[0].key_id == keys.current_id
        assert keys.tag("p", b"").startswith(keys.current_id + ".")

    def test_subkeys_differ_by_purpose_and_master(self):
        keys = DerivedKeys(OTHER, MASTER)
        retired = DerivedKeys(MASTER).current_id
        subkeys = {
            reveal(keys.subkey(p, i))
            for p in ("record", "history")
            for i in (keys.current_id, retired)
        }
        assert len(subkeys) == 4
        assert {len(subkey) for subkey in subkeys} == {32}
        assert keys.subkey("record", retired) == DerivedKeys(MASTER).subkey("record", retired)

    def test_a_subkey_is_derived_once(self):
        """A verification does not pay for it again."""
        keys = DerivedKeys(MASTER)
        first = keys.subkey("record", keys.current_id)
        assert keys.subkey("record", keys.current_id) is first

    def test_a_tag_checks(self):
        keys = DerivedKeys(MASTER)
        tag = keys.tag("record", b"message")
        assert keys.check("record", b"message", tag)
        assert DerivedKeys(OTHER, MASTER).check("record", b"message", tag)

    def test_a_tag_of_another_message_or_purpose_does_not_check(self):
        keys = DerivedKeys(MASTER)
        tag = keys.tag("record", b"message")
        assert not keys.check("record", b"massage", tag)
        assert not keys.check("history", b"message", tag)

    @pytest.mark.parametrize(
        "edit",
        [
            pytest.param(lambda tag: "", id="empty"),
            pytest.param(lambda tag: tag[:-1], id="shortened"),
            pytest.param(lambda tag: tag + "0", id="lengthened"),
            pytest.param(lambda tag: tag.replace(".", ""), id="no separator"),
            pytest.param(lambda tag: tag[:17], id="no HMAC"),
            pytest.param(lambda tag: tag[:16], id="key id only"),
            pytest.param(lambda tag: tag[1:], id="short key id"),
            pytest.param(lambda tag: "." + tag, id="no key id"),
            pytest.param(lambda tag: "0" + tag, id="long key id"),
            pytest.param(lambda tag: tag[:-1] + "\u00e9", id="not ASCII"),
            pytest.param(lambda tag: tag[:17] + tag[17:].upper(), id="upper case"),
        ],
    )
    def test_an_edited_tag_does_not_check(self, edit):
        keys = DerivedKeys(MASTER)
        assert keys.check("record", b"message", edit(keys.tag("record", b"message"))) is False

    def test_a_tag_with_an_invalid_id_is_of_an_unknown_master_key(self):
        with pytest.raises(UnknownMasterKey):
            DerivedKeys(MASTER).check("record", b"message", "\ud800" * 16 + ".00")

    def test_a_tag_under_another_master_key_is_reported_as_unknown(self):
        tag = DerivedKeys(OTHER).tag("record", b"message")
        with pytest.raises(UnknownMasterKey):
            DerivedKeys(MASTER).check("record", b"message", tag)


class TestRoles:
    """Accepted, current, retired and derive-only master keys."""

    NEW = bytes([1]) * 32

    def test_an_accepted_key_checks_before_it_is_current(self):
        tag = DerivedKeys(self.NEW, MASTER).tag("record", b"m")
        assert DerivedKeys(MASTER, accepted=[self.NEW]).check("record", b"m", tag)

    def test_a_retired_key_still_checks(self):
        tag = DerivedKeys(MASTER).tag("record", b"m")
        assert DerivedKeys(self.NEW, MASTER).check("record", b"m", tag)

    def test_a_derive_only_key_checks_nothing(self):
        keys = DerivedKeys(self.NEW, derive_only=[MASTER])
        with pytest.raises(UnknownMasterKey, match="derive-only"):
            keys.check("record", b"m", DerivedKeys(MASTER).tag("record", b"m"))

    def test_a_derive_only_key_still_reveals_the_keys_of_devices(self):
        ref, key = DerivedKeys(MASTER).issue(ALICE, SERIAL, SIX)
        keys = DerivedKeys(self.NEW, derive_only=[MASTER])
        assert keys.reveal(ref, ALICE, SERIAL, SIX) == key

    def test_a_master_key_has_one_role(self):
        for arguments in (
            {"accepted": [MASTER]},
            {"derive_only": [MASTER]},
        ):
            with pytest.raises(InvalidValue):
                DerivedKeys(MASTER, **arguments)
        with pytest.raises(InvalidValue):
            DerivedKeys(MASTER, MASTER)


class TestAuditKey:
    def test_it_checks_tags_for_auditors_only(self):
        keys = DerivedKeys(MASTER)
        audit = keys.audit_key()
        assert audit.check("record", b"m", keys.audit_tag("record", b"m"))
        assert not audit.check("event", b"m", keys.audit_tag("record", b"m"))
        assert not audit.check("record", b"n", keys.audit_tag("record", b"m"))
        assert not audit.check("record", b"m", keys.tag("record", b"m"))
        assert not keys.check("record", b"m", keys.audit_tag("record", b"m"))

    def test_its_text_is_read_back(self):
        keys = DerivedKeys(OTHER, MASTER)
        audit = AuditKey.from_text(keys.audit_key().to_text())
        assert audit.check("record", b"m", keys.audit_tag("record", b"m"))
        assert audit.check("record", b"m", DerivedKeys(MASTER).audit_tag("record", b"m"))

    @pytest.mark.parametrize(
        "text", ["", "x", "0123456789abcdef.00", "0123456789abcdef." + "g" * 64]
    )
    def test_another_text_is_refused(self, text):
        with pytest.raises(InvalidValue):
            AuditKey.from_text(text)

    def test_the_tag_of_another_master_key_is_reported_as_unknown(self):
        with pytest.raises(UnknownMasterKey):
            DerivedKeys(MASTER).audit_key().check(
                "p", b"m", DerivedKeys(OTHER).audit_tag("p", b"m")
            )

    def test_its_repr_does_not_show_the_key(self):
        audit = DerivedKeys(MASTER).audit_key()
        assert audit.to_text().split(".")[1].strip() not in repr(audit)


class TestKeySources:
    def test_one_source_does_everything(self):
        keys = UnsafePlainKeys()
        sources = KeySources(keys, None, authenticate=True)
        ref, key = sources.issue(ALICE, SERIAL, SIX)
        assert sources.scheme == "plain"
        assert sources.reveal(ref, ALICE, SERIAL, SIX) == key
        assert sources.reveal(sources.adopt(ALICE, SERIAL, SIX, key), ALICE, SERIAL, SIX) == key

    def test_the_scheme_selects_the_source(self):
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

    def test_a_scheme_without_a_source_is_an_unknown_master_key(self):
        ref = UnsafePlainKeys().adopt(ALICE, SERIAL, SIX, Key(bytes(20)))
        with pytest.raises(UnknownMasterKey):
            KeySources(DerivedKeys(MASTER), None, authenticate=True).reveal(
                ref, ALICE, SERIAL, SIX
            )


MESSAGES = {
    "type": (
        lambda: DerivedKeys("x" * 32),
        "a master key must be bytes: load it with from_file() or from_env()",
    ),
    "length": (lambda: DerivedKeys(b"changeme"), "a master key must have at least 32 bytes"),
    "record of another master key": (
        lambda: DerivedKeys(MASTER).check("record", b"", DerivedKeys(OTHER).tag("record", b"")),
        "a record needs a master key that this process does not have: check the key file",
    ),
    "key of another scheme": (
        lambda: KeySources(DerivedKeys(MASTER), None, authenticate=True).reveal(
            UnsafePlainKeys().adopt(ALICE, SERIAL, SIX, Key(bytes(20))), ALICE, SERIAL, SIX
        ),
        "this registry has no key source for plain keys: pass imported_keys",
    ),
    "adopted by derived keys": (
        lambda: DerivedKeys(MASTER).adopt(ALICE, SERIAL, SIX, Key.generate()),
        "derived keys cannot adopt another system's key: pass imported_keys",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name):
    call, message = MESSAGES[name]
    with pytest.raises((InvalidType, InvalidValue, UnknownMasterKey)) as caught:
        call()
    assert str(caught.value) == message
