"""Keys, Base32, HMAC and HKDF, and that a secret is neither printed nor copied nor pickled."""

from __future__ import annotations

import copy
import json
import operator
import pickle

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

import vmfa
from leaks import assert_silent
from reference import reference_hotp, vectors
from vmfa import InvalidType, InvalidValue, Key, UnsafeShortKey
from vmfa.keys import (
    HASHES,
    MAX_KEY_BYTES,
    Opaque,
    base32,
    encode_fields,
    hkdf_expand,
    hkdf_extract,
    mac,
    prepared_hmac,
    reveal,
)

RAW = b"12345678901234567890"
TEXT = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


class TestKey:
    @pytest.mark.parametrize("size", [16, 20, 32, 64, 128, 129, MAX_KEY_BYTES])
    def test_a_key_has_16_to_1024_bytes(self, size):
        assert reveal(Key(bytes(size))) == bytes(size)

    @pytest.mark.parametrize("size", [0, 15, MAX_KEY_BYTES + 1])
    def test_a_key_below_128_bits_is_refused(self, size):
        """RFC4226-4-R6: and a key above 1024 bytes."""
        with pytest.raises(InvalidValue, match="16 to 1024 bytes"):
            Key(bytes(size))

    @pytest.mark.parametrize("raw", [TEXT, bytearray(RAW), memoryview(RAW), None, 20])
    def test_a_key_is_bytes(self, raw):
        with pytest.raises(InvalidType, match=r"Key\.from_base32"):
            Key(raw)

    def test_a_short_key_needs_the_unsafe_class(self):
        assert reveal(UnsafeShortKey(b"1234567890")) == b"1234567890"
        assert reveal(UnsafeShortKey.from_base32("GEZDGNBVGY3TQOJQ")) == b"1234567890"
        assert isinstance(UnsafeShortKey(b"1"), Key)
        with pytest.raises(InvalidValue, match="1 to 1024 bytes"):
            UnsafeShortKey(b"")

    def test_generated_keys_are_20_bytes_and_differ(self):
        assert len({reveal(Key.generate()) for _ in range(50)}) == 50
        assert len(reveal(Key.generate())) == 20
        assert len(reveal(Key.generate(64))) == 64

    def test_a_generated_key_has_the_same_bounds(self):
        for size in (8, 15, MAX_KEY_BYTES + 1, -1, True, 20.0, None):
            with pytest.raises(InvalidValue, match="16 to 1024 bytes"):
                Key.generate(size)
        assert [len(reveal(Key.generate(size))) for size in (16, MAX_KEY_BYTES)] == [
            16,
            MAX_KEY_BYTES,
        ]
        assert len(reveal(UnsafeShortKey.generate(1))) == 1

    def test_an_invalid_key_is_not_prepared(self):
        with pytest.raises(InvalidType, match=r"Key\.from_base32"):
            prepared_hmac(TEXT, "sha1")
        with pytest.raises(InvalidValue, match="16 to 1024 bytes") as caught:
            prepared_hmac(RAW[:15], "sha1")
        assert_silent(caught.value, RAW[:15])


class TestBase32:
    @pytest.mark.parametrize(
        "text",
        [
            TEXT,
            TEXT.lower(),
            "gezd gnbv gy3t qojq gezd gnbv gy3t qojq",
            "GEZD-GNBV-GY3T-QOJQ-GEZD-GNBV-GY3T-QOJQ",
            f"  {TEXT}\r\n",
            f"\t{TEXT}",
            TEXT[:16] + "\n" + TEXT[16:],
        ],
    )
    def test_case_blanks_and_hyphens_are_ignored(self, text):
        assert reveal(Key.from_base32(text)) == RAW

    @pytest.mark.parametrize(
        "text", ["GEZDGNBVGY3TQOJQGEZDGNBVGY======", "GEZDGNBVGY3TQOJQGEZDGNBVGY"]
    )
    def test_padding_is_optional(self, text):
        assert reveal(Key.from_base32(text)) == b"1234567890123456"

    @pytest.mark.parametrize(
        "text",
        [
            "GEZDGNBVGY3TQOJQ",  # 80 bits, the key URI format's own sample
            "GEZDGNBVGY3TQOJQGEZDGNBV",
        ],
    )
    def test_a_short_key_is_refused(self, text):
        with pytest.raises(InvalidValue, match="16 to 1024 bytes"):
            Key.from_base32(text)

    def test_the_shortest_and_the_longest_key(self):
        assert reveal(UnsafeShortKey.from_base32("GE")) == b"1"
        assert len(reveal(Key.from_base32("A" * 1639))) == MAX_KEY_BYTES
        with pytest.raises(InvalidValue):
            Key.from_base32("A" * 1640)

    @pytest.mark.parametrize(
        "text",
        [
            TEXT[:-1] + "0",
            TEXT[:-1] + "1",
            TEXT[:-1] + "8",
            TEXT[:-1] + "9",
            TEXT[:-1] + "!",
            TEXT[:-1] + "\u00e9",
            *(TEXT[:-1] + last for last in "\u0131\u017f\u212a\u00a0\ud800\0"),
            "",
            "=",
            "A",
            " ",
            "=" + TEXT,
            TEXT[:16] + "=" + TEXT[16:],
            TEXT + "A",
            TEXT + "AAA",
            TEXT + "AAAAAA",
            TEXT + "_",
            "A" * 4096,
        ],
    )
    def test_invalid_base32_is_refused(self, text):
        with pytest.raises(InvalidValue, match="Base32"):
            Key.from_base32(text)

    @pytest.mark.parametrize("text", [RAW, None, 7])
    def test_base32_is_text(self, text):
        with pytest.raises(InvalidType, match="Base32"):
            Key.from_base32(text)

    def test_written_upper_case_and_unpadded(self):
        assert base32(Key(RAW)) == TEXT
        assert base32(Key(b"1234567890123456")) == "GEZDGNBVGY3TQOJQGEZDGNBVGY"
        assert base32(Key.from_base32("X" * 32)) == "X" * 32


class TestEquality:
    def test_equal_bytes_are_equal_keys(self):
        assert Key(RAW) == Key(RAW)
        assert Key(RAW) == UnsafeShortKey(RAW)
        assert Key(RAW) != Key(RAW[::-1])
        assert Key(RAW) != Key(RAW + b"\0")
        assert Key(RAW) != RAW

    def test_a_key_has_no_hash(self):
        with pytest.raises(TypeError, match="unhashable"):
            hash(Key(RAW))


class TestPreparedHmac:
    def test_it_is_prepared_for_one_algorithm(self):
        key = Key(RAW)
        for algorithm in ("sha256", "sha512"):
            inner, outer = prepared_hmac(key, algorithm)
            assert inner.name == outer.name == algorithm

    def test_using_it_does_not_change_it(self):
        key = Key(RAW)
        assert vmfa.hotp(key, 1) == vmfa.hotp(key, 1) == vmfa.hotp(RAW, 1)
        assert vmfa.hotp(key, 1) != vmfa.hotp(key, 2)

    def test_a_key_and_its_bytes_are_prepared_alike(self):
        ours = [prepared.digest() for prepared in prepared_hmac(Key(RAW), "sha1")]
        assert [prepared.digest() for prepared in prepared_hmac(RAW, "sha1")] == ours

    @pytest.mark.parametrize(
        ("algorithm", "size"), [("sha1", 64), ("sha256", 64), ("sha512", 128)]
    )
    def test_only_a_key_longer_than_a_block_is_hashed_first(self, algorithm, size):
        for length in (size - 1, size, size + 1):
            raw = bytes(range(1, length + 1))
            assert vmfa.hotp(raw, 5, digits=8, algorithm=algorithm) == reference_hotp(
                raw, 5, 8, algorithm
            )

    @pytest.mark.parametrize("key", [RAW, Key(RAW)], ids=["bytes", "Key"])
    def test_an_algorithm_that_the_build_refuses_is_named_and_the_key_is_not(
        self, monkeypatch, key
    ):
        def refuse(*_: object) -> None:
            raise ValueError(RAW)

        monkeypatch.setitem(HASHES, "sha1", (refuse, 64, 20))
        for act in (
            lambda: prepared_hmac(key, "sha1"),
            lambda: mac(key, "sha1", b""),
            lambda: vmfa.totp(key, 0),
        ):
            with pytest.raises(InvalidValue, match="sha1") as caught:
                act()
            assert caught.value.__context__ is None
        with pytest.raises(InvalidValue) as caught:
            vmfa.totp(key, 0)
        assert_silent(caught.value, RAW)

    def test_an_unknown_algorithm_is_named(self):
        with pytest.raises(InvalidValue, match="md5"):
            prepared_hmac(RAW, "md5")


class TestHkdf:
    @pytest.mark.parametrize(
        "row", vectors("rfc5869_appendix_a")["rows"], ids=lambda row: row["test"]
    )
    def test_rfc5869_appendix_a(self, row):
        prk = hkdf_extract(bytes.fromhex(row["salt"]), bytes.fromhex(row["secret"]))
        assert prk.hex() == row["prk"]
        assert hkdf_expand(prk, bytes.fromhex(row["info"]), row["length"]).hex() == row["okm"]

    @pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 63, 64, 65, 96, 97, 255 * 32])
    def test_expand_agrees_with_another_implementation(self, length):
        expected = HKDFExpand(SHA256(), length, b"info").derive(RAW) if length else b""
        assert hkdf_expand(Key(RAW), b"info", length) == expected

    def test_an_empty_salt_is_a_block_of_zeros(self):
        assert hkdf_extract(b"", b"secret") == hkdf_extract(bytes(32), b"secret")
        assert hkdf_extract(b"", b"secret") != hkdf_extract(b"s", b"secret")

    def test_encoded_fields_are_prefixed_by_their_length(self):
        fields = encode_fields("\u00e4", 17, b"\0")
        assert fields == b"\0\0\0\2\xc3\xa4\0\0\0\x0217\0\0\0\1\0"
        assert encode_fields() == b""
        assert encode_fields("") == bytes(4)


class Sample(Opaque):
    __slots__ = ("secret",)


OPAQUE = [
    Key(RAW),
    UnsafeShortKey(RAW),
    Sample(),
    vmfa.DerivedKeys(bytes(32)),
    vmfa.UnsafePlainKeys(),
    vmfa.OpenedEnrollment(session_id="s", serial="n", expires_at=1, base32=TEXT, uri="otpauth://"),
    vmfa.Deactivation(serial="n", at=1, binding_code=TEXT, binding_code_expires_at=2),
    vmfa.Operations(vmfa.DerivedKeys(bytes(32)), issuer="E").verify(
        vmfa.PrincipalId.user("a", "b"), "123456"
    ),
]


@pytest.mark.parametrize("value", OPAQUE, ids=lambda value: type(value).__name__)
class TestOpaque:
    def test_its_text_is_constant(self, value):
        constant = f"<{type(value).__name__}>"
        texts = [repr(value), str(value), f"{value}", f"{value!r:s}", "{}".format(value)]  # noqa: UP032
        assert texts == [constant] * 5

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_it_does_not_pickle(self, value, protocol):
        with pytest.raises(InvalidType, match=f"^{type(value).__name__} "):
            pickle.dumps(value, protocol)

    @pytest.mark.parametrize(
        "way",
        [copy.copy, copy.deepcopy, operator.methodcaller("__getstate__")],
        ids=["copy", "deepcopy", "getstate"],
    )
    def test_it_does_not_copy(self, value, way):
        with pytest.raises(InvalidType, match=f"^{type(value).__name__} "):
            way(value)

    def test_it_is_not_json_serializable(self, value):
        """So a web framework does not put it into a session."""
        with pytest.raises(TypeError):
            json.dumps(value)

    def test_it_does_not_change(self, value):
        for name in (*type(value).__slots__, "other"):
            with pytest.raises(InvalidType, match=f"^{type(value).__name__} "):
                setattr(value, name, b"")

    def test_nothing_is_deleted_from_it(self, value):
        for name in (*type(value).__slots__, "other"):
            with pytest.raises(InvalidType, match=f"^{type(value).__name__} "):
                delattr(value, name)

    def test_it_has_no_dictionary(self, value):
        with pytest.raises(TypeError):
            vars(value)


MESSAGES = {
    "type": (
        lambda: Key(TEXT),
        "a key must be bytes; read Base32 text with Key.from_base32(text)",
    ),
    "length": (lambda: Key(b"short"), "a key must have 16 to 1024 bytes"),
    "short key": (lambda: UnsafeShortKey(b""), "a key must have 1 to 1024 bytes"),
    "Base32 type": (lambda: Key.from_base32(b"AAAA"), "Base32 must be a str"),
    "Base32": (
        lambda: Key.from_base32("1"),
        "not valid Base32: use the letters A-Z and the digits 2-7",
    ),
    "hash": (
        lambda: prepared_hmac(RAW, "md5"),
        "this Python build does not offer md5: run vmfa.selftest()",
    ),
    "change": (lambda: setattr(Key(RAW), "other", b""), "Key is immutable"),
    "copy": (
        lambda: copy.copy(Key(RAW)),
        "Key holds a secret: it cannot be pickled or copied",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name):
    call, message = MESSAGES[name]
    with pytest.raises((InvalidType, InvalidValue)) as caught:
        call()
    assert str(caught.value) == message
