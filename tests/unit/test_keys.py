"""Keys: what is a key, how people type one, and that it stays where it is."""

from __future__ import annotations

import copy
import pickle

import pytest

import vmfa
from leaks import assert_silent
from reference import reference_hotp
from vmfa import InvalidType, InvalidValue, Key, UnsafeShortKey
from vmfa.keys import LONGEST, Opaque, base32, prepared_hmac, reveal

RAW = b"12345678901234567890"
TEXT = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


class TestMaking:
    @pytest.mark.parametrize("size", [16, 20, 32, 64, 128, 129, LONGEST])
    def test_sixteen_bytes_and_more(self, size):
        assert reveal(Key(bytes(size))) == bytes(size)

    @pytest.mark.parametrize("size", [0, 15, LONGEST + 1])
    def test_rfc4226_4_r6_a_key_has_128_bits(self, size):
        with pytest.raises(InvalidValue, match=r"^a key has 16 to 1024 bytes \(RFC4226-4-R6\)$"):
            Key(bytes(size))

    @pytest.mark.parametrize("raw", [TEXT, bytearray(RAW), memoryview(RAW), None, 20])
    def test_a_key_is_bytes(self, raw):
        with pytest.raises(InvalidType, match=r"^a key is bytes; read Base32 text with Key\.from_base32\(text\)$"):
            Key(raw)

    def test_a_short_key_needs_its_own_name(self):
        assert reveal(UnsafeShortKey(b"1234567890")) == b"1234567890"
        assert reveal(UnsafeShortKey.from_base32("GEZDGNBVGY3TQOJQ")) == b"1234567890"
        assert isinstance(UnsafeShortKey(b"1"), Key)
        with pytest.raises(InvalidValue, match=r"^a key has 1 to 1024 bytes \(RFC4226-4-R6\)$"):
            UnsafeShortKey(b"")

    def test_generated_keys_are_20_bytes_and_differ(self):
        assert len({reveal(Key.generate()) for _ in range(50)}) == 50
        assert len(reveal(Key.generate())) == 20
        assert len(reveal(Key.generate(64))) == 64

    def test_a_generated_key_is_no_shorter(self):
        for size in (8, 15, LONGEST + 1, -1, True, 20.0, None):
            with pytest.raises(InvalidValue, match=r"^a key has 16 to 1024 bytes \(RFC4226-4-R6\)$"):
                Key.generate(size)
        assert [len(reveal(Key.generate(size))) for size in (16, LONGEST)] == [16, LONGEST]
        assert len(reveal(UnsafeShortKey.generate(1))) == 1

    def test_what_is_no_key_is_not_prepared(self):
        with pytest.raises(InvalidType, match=r"Key\.from_base32"):
            prepared_hmac(TEXT, "sha1")
        with pytest.raises(InvalidValue, match="16 to 1024 bytes") as caught:
            prepared_hmac(RAW[:15], "sha1")
        assert_silent(caught.value, RAW[:15])


class TestBase32:
    @pytest.mark.parametrize("text", [
        TEXT, TEXT.lower(), "gezd gnbv gy3t qojq gezd gnbv gy3t qojq", "GEZD-GNBV-GY3T-QOJQ-GEZD-GNBV-GY3T-QOJQ",
        f"  {TEXT}\r\n", f"\t{TEXT}", TEXT[:16] + "\n" + TEXT[16:],
    ])
    def test_as_people_type_it(self, text):
        assert reveal(Key.from_base32(text)) == RAW

    @pytest.mark.parametrize("text", ["GEZDGNBVGY3TQOJQGEZDGNBVGY======", "GEZDGNBVGY3TQOJQGEZDGNBVGY"])
    def test_padding_or_none(self, text):
        assert reveal(Key.from_base32(text)) == b"1234567890123456"

    @pytest.mark.parametrize("text", [
        "GEZDGNBVGY3TQOJQ",  # 80 bits, the key URI format's own sample
        "GEZDGNBVGY3TQOJQGEZDGNBV",
    ])
    def test_the_length_of_a_key(self, text):
        with pytest.raises(InvalidValue, match=r"^a key has 16 to 1024 bytes \(RFC4226-4-R6\)$"):
            Key.from_base32(text)

    def test_the_shortest_and_the_longest_key(self):
        assert reveal(UnsafeShortKey.from_base32("GE")) == b"1"
        assert len(reveal(Key.from_base32("A" * 1639))) == LONGEST
        with pytest.raises(InvalidValue):
            Key.from_base32("A" * 1640)

    @pytest.mark.parametrize("text", [
        TEXT[:-1] + "0", TEXT[:-1] + "1", TEXT[:-1] + "8", TEXT[:-1] + "9", TEXT[:-1] + "!", TEXT[:-1] + "\u00e9",
        *(TEXT[:-1] + last for last in "\u0131\u017f\u212a\u00a0\ud800\0"),
        "", "=", "A", " ", "=" + TEXT, TEXT[:16] + "=" + TEXT[16:], TEXT + "A", TEXT + "AAA", TEXT + "AAAAAA",
        TEXT + "_", "A" * 4096,
    ])
    def test_what_is_no_base32(self, text):
        with pytest.raises(InvalidValue, match=r"^this is no Base32 \(A-Z, 2-7\)$"):
            Key.from_base32(text)

    @pytest.mark.parametrize("text", [RAW, None, 7])
    def test_base32_is_text(self, text):
        with pytest.raises(InvalidType, match=r"^Base32 is text$"):
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


class TestPrepared:
    def test_prepared_once_for_one_algorithm(self):
        key = Key(RAW)
        inner, outer = prepared_hmac(key, "sha256")
        assert inner.name == outer.name == "sha256"
        assert prepared_hmac(key, "sha256")[0] is inner
        assert prepared_hmac(key, "sha512")[0].name == "sha512"
        assert prepared_hmac(key, "sha256")[0].digest() == inner.digest()

    def test_bytes_are_prepared_alike(self):
        ours = [prepared.digest() for prepared in prepared_hmac(Key(RAW), "sha1")]
        assert [prepared.digest() for prepared in prepared_hmac(RAW, "sha1")] == ours

    @pytest.mark.parametrize(("algorithm", "size"), [("sha1", 64), ("sha256", 64), ("sha512", 128)])
    def test_only_a_key_longer_than_a_block_is_hashed_first(self, algorithm, size):
        for length in (size - 1, size, size + 1):
            raw = bytes(range(1, length + 1))
            assert vmfa.hotp(raw, 5, digits=8, algorithm=algorithm) == reference_hotp(raw, 5, 8, algorithm)


class Sample(Opaque):
    __slots__ = ("secret",)


OPAQUE = [
    Key(RAW), UnsafeShortKey(RAW), Sample(), vmfa.DerivedKeys(bytes(32)), vmfa.UnsafePlainKeys(),
    vmfa.OpenedEnrollment(session_id="s", serial="n", expires_at=1, base32=TEXT, uri="otpauth://"),
    vmfa.Deactivation(serial="n", at=1, binding_code=TEXT),
]
REFUSAL = "holds a secret: it is neither pickled nor copied"


@pytest.mark.parametrize("value", OPAQUE, ids=lambda value: type(value).__name__)
class TestOpaque:
    def test_its_text_is_constant(self, value):
        constant = f"<{type(value).__name__}>"
        assert [repr(value), str(value), f"{value}", f"{value!r:s}", "%s" % value] == [constant] * 5  # noqa: UP031  # an old way to print is one more way to leak

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_it_does_not_pickle(self, value, protocol):
        with pytest.raises(InvalidType, match=f"^{type(value).__name__} {REFUSAL}$"):
            pickle.dumps(value, protocol)

    @pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda value: value.__getstate__()])
    def test_it_does_not_copy(self, value, way):
        with pytest.raises(InvalidType, match=f"^{type(value).__name__} {REFUSAL}$"):
            way(value)

    def test_it_does_not_change(self, value):
        for name in (*type(value).__slots__, "other"):
            with pytest.raises(InvalidType, match=f"^{type(value).__name__} is immutable$"):
                setattr(value, name, b"")

    def test_nothing_is_deleted_from_it(self, value):
        for name in (*type(value).__slots__, "other"):
            with pytest.raises(InvalidType, match=f"^{type(value).__name__} is immutable$"):
                delattr(value, name)

    def test_it_has_no_dictionary(self, value):
        with pytest.raises(TypeError):
            vars(value)
