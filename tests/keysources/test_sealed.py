"""Sealed keys: only the device for which a key was encrypted can decrypt it."""

from __future__ import annotations

import hmac
import sys
from dataclasses import replace
from importlib import import_module

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, strategies as st

from leaks import assert_silent
from support import MASTER, enroll, phone_with
from vmfa import (
    Actor,
    DerivedKeys,
    DeviceRegistry,
    InvalidValue,
    Key,
    KeyRef,
    MemoryStore,
    MissingExtra,
    Parameters,
    PrincipalId,
    RecordTampered,
    UnknownMasterKey,
    UnsafeShortKey,
)
from vmfa.keys import reveal
from vmfa.keysources.sealed import SealedKeys

ALICE = PrincipalId.user("123456789012", "u-4711")
SERIAL = "00112233445566778899aabbccddeeff"
SIX = Parameters()
KEY = Key(b"a key that is not to be seen")
OLD, NEW = MASTER, bytes(range(100, 132))


@pytest.fixture
def source() -> SealedKeys:
    return SealedKeys(OLD)


def fields(*texts: str | int | bytes) -> bytes:
    packed = [text if isinstance(text, bytes) else str(text).encode() for text in texts]
    return b"".join(len(text).to_bytes(4, "big") + text for text in packed)


def test_a_sealed_key_is_decrypted(source):
    ref = source.adopt(ALICE, SERIAL, SIX, KEY)
    assert source.reveal(ref, ALICE, SERIAL, SIX) == KEY
    assert (ref.scheme, ref.key_id) == ("sealed", source.current_id)


def test_the_stored_material_holds_no_key(source):
    ref = source.adopt(ALICE, SERIAL, SIX, KEY)
    assert reveal(KEY) not in ref.material
    assert len(ref.material) == 12 + len(reveal(KEY)) + 16


def test_no_nonce_is_used_twice(source):
    assert len({source.adopt(ALICE, SERIAL, SIX, KEY).material[:12] for _ in range(1000)}) == 1000


def test_the_stored_form_is_frozen(source):
    """Version 1 of the stored form, computed here from HKDF and the encoding."""
    parameters = Parameters(algorithm="sha256", digits=8, period=60, t0=-5)
    ref = KeyRef(scheme="sealed", key_id="de9715a61297483f", material=bytes.fromhex(FROZEN))
    assert source.reveal(ref, ALICE, SERIAL, parameters) == KEY
    prk = hmac.digest(b"vmfa", OLD, "sha256")
    sealing_key = hmac.digest(
        prk, fields("vmfa subkey v1", "sealed device key", ref.key_id) + b"\1", "sha256"
    )
    bound = fields(
        "vmfa sealed key v1",
        ref.key_id,
        "123456789012",
        "user",
        "u-4711",
        SERIAL,
        "sha256",
        8,
        60,
        -5,
    )
    assert AESGCM(sealing_key).decrypt(bytes(range(12)), ref.material[12:], bound) == reveal(KEY)


FROZEN = (
    "000102030405060708090a0b8ed9d943f7bcef46c9242a849eab0519"
    "388038484055a3386b9402c622ffd89f80ace2b0845bae09c3bd07ac"
)


@pytest.mark.parametrize("size", [20, 32, 64])
def test_issued_keys_are_as_long_as_the_hash(source, size):
    parameters = Parameters(algorithm={20: "sha1", 32: "sha256", 64: "sha512"}[size])
    ref, key = source.issue(ALICE, SERIAL, parameters)
    assert len(reveal(key)) == size
    assert source.reveal(ref, ALICE, SERIAL, parameters) == key
    assert source.issue(ALICE, SERIAL, parameters)[1] != key


def test_a_short_key_keeps_its_class(source):
    ref = source.adopt(ALICE, SERIAL, SIX, UnsafeShortKey(b"0123456789"))
    opened = source.reveal(ref, ALICE, SERIAL, SIX)
    assert isinstance(opened, UnsafeShortKey)
    assert reveal(opened) == b"0123456789"
    assert type(source.reveal(source.adopt(ALICE, SERIAL, SIX, KEY), ALICE, SERIAL, SIX)) is Key


@pytest.mark.parametrize(
    ("size", "kind"), [(1, UnsafeShortKey), (15, UnsafeShortKey), (16, Key), (17, Key)]
)
def test_a_key_below_128_bits_is_short(source, size, kind):
    opened = source.reveal(
        source.adopt(ALICE, SERIAL, SIX, UnsafeShortKey(bytes(size))), ALICE, SERIAL, SIX
    )
    assert type(opened) is kind
    assert reveal(opened) == bytes(size)


class TestBound:
    @pytest.mark.parametrize(
        "moved",
        [
            {"principal": PrincipalId.user("123456789012", "u-4712")},
            {"principal": PrincipalId.user("123456789013", "u-4711")},
            {"principal": PrincipalId.user("123456789012u", "-4711")},
            {"principal": PrincipalId.root("123456789012")},
            {"serial": "00112233445566778899aabbccddeefe"},
            {"parameters": Parameters(algorithm="sha256")},
            {"parameters": Parameters(digits=8)},
            {"parameters": Parameters(period=60)},
            {"parameters": Parameters(t0=30)},
        ],
        ids=str,
    )
    def test_moved(self, source, moved):
        place = {"principal": ALICE, "serial": SERIAL, "parameters": SIX}
        ref = source.adopt(ALICE, SERIAL, SIX, KEY)
        with pytest.raises(RecordTampered, match="sealed key"):
            source.reveal(ref, **place | moved)

    @given(bit=st.integers(0, 8 * (12 + 28 + 16) - 1))
    def test_a_flipped_bit(self, bit):
        source = SealedKeys(OLD)
        ref = source.adopt(ALICE, SERIAL, SIX, KEY)
        flipped = int.from_bytes(ref.material, "big") ^ (1 << bit)
        bent = replace(ref, material=flipped.to_bytes(len(ref.material), "big"))
        with pytest.raises(RecordTampered) as caught:
            source.reveal(bent, ALICE, SERIAL, SIX)
        assert_silent(caught.value, reveal(KEY))

    @pytest.mark.parametrize("keep", [0, 1, 12, 27, 28, 55])
    def test_cut_off(self, source, keep):
        ref = source.adopt(ALICE, SERIAL, SIX, KEY)
        with pytest.raises(RecordTampered):
            source.reveal(replace(ref, material=ref.material[:keep]), ALICE, SERIAL, SIX)

    def test_an_empty_key_is_refused(self, source, monkeypatch):
        monkeypatch.setattr(
            "vmfa.keysources.sealed.reveal", lambda key: b"" if key == KEY else reveal(key)
        )
        ref = source.adopt(ALICE, SERIAL, SIX, KEY)
        with pytest.raises(RecordTampered):
            source.reveal(ref, ALICE, SERIAL, SIX)

    def test_an_unknown_master_key(self, source):
        ref = source.adopt(ALICE, SERIAL, SIX, KEY)
        with pytest.raises(UnknownMasterKey):
            SealedKeys(NEW).reveal(ref, ALICE, SERIAL, SIX)

    def test_a_key_id_edited_to_another_known_one(self, source):
        ref = source.adopt(ALICE, SERIAL, SIX, KEY)
        both = SealedKeys(NEW, OLD)
        assert both.reveal(ref, ALICE, SERIAL, SIX) == KEY
        with pytest.raises(RecordTampered):
            both.reveal(replace(ref, key_id=both.current_id), ALICE, SERIAL, SIX)


class TestInARegistry:
    @pytest.fixture
    def registry(self, keys, store, clock) -> DeviceRegistry:
        return DeviceRegistry(
            store, keys=keys, imported_keys=SealedKeys(NEW), issuer="Example", clock=clock
        )

    def test_derived_and_sealed_devices_side_by_side(self, registry, store, clock, alice):
        bob = PrincipalId.user("123456789012", "u-4712")
        enrolled = enroll(registry, clock, alice)
        registry.adopt(bob, by=Actor.trusted_service("import"), key=KEY, system="test")
        assert store.load(alice).key_ref.scheme == "derived"
        assert store.load(bob).key_ref.scheme == "sealed"
        enrolled.sign_in()
        clock.advance(60)
        assert registry.verify(bob, phone_with(KEY, clock).code()).principal == bob

    def test_a_row_moved_to_another_principal(self, registry, store, clock, alice):
        """Even if an attacker has the keys that authenticate the record."""
        registry.adopt(alice, by=Actor.trusted_service("import"), key=KEY, system="test")
        record = store.load(alice)
        mallory = PrincipalId.user("123456789012", "u-666")
        with pytest.raises(RecordTampered):
            SealedKeys(NEW).reveal(record.key_ref, mallory, record.device.serial, SIX)

    def test_without_a_source_for_sealed_keys(self, registry, store, clock, alice):
        registry.adopt(alice, by=Actor.trusted_service("import"), key=KEY, system="test")
        bare = DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock)
        with pytest.raises(UnknownMasterKey, match="sealed"):
            bare.verify(alice, "000000")
        assert store.load(alice).device.failures == 0

    def test_sealed_keys_alone(self, clock, alice):
        keys = SealedKeys(OLD)
        enrolled = enroll(
            DeviceRegistry(MemoryStore(), keys=keys, issuer="Example", clock=clock), clock, alice
        )
        assert enrolled.sign_in().principal == alice


class TestSecrets:
    def test_a_source_hides_its_master_key(self, source):
        source.adopt(ALICE, SERIAL, SIX, KEY)
        assert repr(source) == "<SealedKeys>"
        with pytest.raises(TypeError):
            vars(source)  # no attributes to dump

    @pytest.mark.parametrize("given", [(b"short",), (OLD, b"short")])
    def test_a_short_master_key_is_refused(self, given):
        with pytest.raises(InvalidValue, match="32"):
            SealedKeys(*given)


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    monkeypatch.delitem(sys.modules, "vmfa.keysources.sealed")
    with pytest.raises(
        MissingExtra, match=r"^sealed keys need the extra sealing: pip install 'vmfa\[sealing\]'$"
    ):
        import_module("vmfa.keysources.sealed")
