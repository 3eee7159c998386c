"""Keys, HMAC, HKDF and Base32.

A :class:`Key` cannot be printed, pickled or copied. Only :func:`reveal` returns its bytes: search
for calls of it to find every place that handles key material.
"""

from __future__ import annotations

import hashlib
from collections import deque
from hmac import compare_digest, digest as hmac_digest
from os import urandom
from struct import Struct

from .errors import InvalidType, InvalidValue, RandomnessFailed

__all__ = ["Key", "UnsafeShortKey"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, NoReturn, SupportsIndex

    HmacStates = tuple[Any, Any]  # the inner and the outer hash object

MIN_KEY_BYTES, MAX_KEY_BYTES = 16, 1024
HASHES = {  # the constructor, the block size and the digest size in bytes
    "sha1": (hashlib.sha1, 64, 20),
    "sha256": (hashlib.sha256, 64, 32),  # RFC6238-1.2-HASH
    "sha512": (hashlib.sha512, 128, 64),  # RFC6238-1.2-HASH
}
_set = object.__setattr__  # because an Opaque refuses assignment
_pack_length = Struct(">I").pack
_INNER_PAD, _OUTER_PAD = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


# A generator that is broken repeats itself. These are digests of the latest draws.
UNIQUE_BYTES = 12  # the size of the shortest value that must never repeat: the nonce of AES-GCM
_latest_draws: deque[str] = deque(maxlen=64)


def random_bytes(size: int) -> bytes:
    """Return *size* bytes from the operating system's generator: the only source of randomness.

    :raises RandomnessFailed: the generator failed, or repeated one of its latest draws.
    """
    # RULE-RANDOM, ASVS5-11.5.1
    try:
        drawn = urandom(size)
    except (OSError, NotImplementedError):
        drawn = b""
    if len(drawn) != size:
        raise RandomnessFailed("the random generator of the operating system failed")
    if size >= UNIQUE_BYTES:
        digest = hashlib.sha256(drawn[:UNIQUE_BYTES]).hexdigest()
        if digest in _latest_draws:
            del drawn  # error trackers record the locals of a raising frame
            raise RandomnessFailed(
                "the random generator of the operating system repeated itself: replace the machine"
            )
        _latest_draws.append(digest)
    return drawn


class Opaque:
    """A value with a constant ``repr`` that cannot be pickled, copied or changed."""

    # RULE-BETTER-8
    __slots__ = ()

    def __init__(self, **slots: Any) -> None:
        for name, value in slots.items():
            _set(self, name, value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        del value  # error trackers record the locals of a raising frame
        raise InvalidType(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise InvalidType(f"{type(self).__name__} is immutable")

    def __getstate__(self) -> NoReturn:
        raise InvalidType(f"{type(self).__name__} holds a secret: it cannot be pickled or copied")

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        self.__getstate__()


class Key(Opaque):
    """A shared secret of 16 to 1024 bytes (RFC 4226, requirement R6); 20 are usual.

    :param raw: the bytes. For Base32 text use :meth:`from_base32`.
    :raises InvalidType: *raw* is not bytes.
    :raises InvalidValue: *raw* is too short or too long.
    """

    __slots__ = ("_prepared", "_raw")
    _min_bytes = MIN_KEY_BYTES

    def __init__(self, raw: bytes) -> None:
        problem = _problem_with(raw, self._min_bytes)
        if problem is not None:  # ASVS5-16.5.1
            del raw
            raise problem
        _set(self, "_raw", raw)
        _set(self, "_prepared", ("", (None, None)))  # an algorithm and its HMAC states

    @classmethod
    def generate(cls, size: int = 20) -> Key:
        """Return a new key of *size* bytes from the operating system's generator.

        :raises InvalidValue: *size* is not a permitted length.
        """
        if type(size) is not int or not cls._min_bytes <= size <= MAX_KEY_BYTES:
            raise InvalidValue(f"a key must have {cls._min_bytes} to {MAX_KEY_BYTES} bytes")
        return cls(random_bytes(size))  # RFC4226-7.5-RND, RFC6238-5.1-RAND, ASVS5-6.5.3

    @classmethod
    def from_base32(cls, text: str) -> Key:
        """Return the key that *text* encodes, as people type it.

        :param text: Base32 in upper or lower case, with blanks or hyphens between groups, with or
            without padding.
        :raises InvalidType: *text* is not a str.
        :raises InvalidValue: *text* is not valid Base32, or the key has the wrong length.
        """
        raw: bytes | InvalidType | InvalidValue = InvalidType("Base32 must be a str")
        if isinstance(text, str):
            raw = _decode_base32(text)
        if isinstance(raw, bytes):
            try:
                return cls(raw)
            except InvalidValue as problem:
                raw = problem.with_traceback(None)
        del text
        raise raw

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and compare_digest(self._raw, other._raw)

    __hash__: ClassVar[None]  # type: ignore[assignment]  # a hash would help to guess it

    if TYPE_CHECKING:
        _raw: bytes
        _prepared: tuple[str, HmacStates]


class UnsafeShortKey(Key):
    """A key of 1 to 1024 bytes, for old devices that cannot be replaced yet.

    RFC 4226 requires at least 16 bytes.
    """

    __slots__ = ()
    _min_bytes = 1


def prepared_hmac(key: Key | bytes, algorithm: str) -> HmacStates:
    """Return the inner and outer hash objects over the padded key (RFC 2104 section 4).

    A :class:`Key` keeps them, so that each HMAC starts from a copy; for bytes they are computed
    each time.

    :raises InvalidType: *key* is neither a Key nor bytes.
    :raises InvalidValue: *key* has the wrong length, or this build refuses *algorithm*.
    """
    if isinstance(key, Key):
        name, states = key._prepared  # noqa: SLF001  # the key's own cache
        if name != algorithm:
            states = _hmac_states(reveal(key), algorithm)
            _set(key, "_prepared", (algorithm, states))
        return states
    problem = _problem_with(key, MIN_KEY_BYTES)
    if problem is not None:
        del key
        raise problem
    return _hmac_states(key, algorithm)


def mac(key: Key | bytes, algorithm: str, message: bytes) -> bytes:
    """Return the HMAC of RFC 2104: H(K xor opad, H(K xor ipad, *message*))."""
    inner_state, outer_state = prepared_hmac(key, algorithm)
    inner, outer = inner_state.copy(), outer_state.copy()
    inner.update(message)
    outer.update(inner.digest())
    digest: bytes = outer.digest()
    return digest


def hkdf_extract(salt: bytes, secret: bytes) -> bytes:
    """Return the pseudorandom key of RFC 5869 section 2.2. An empty salt counts as zeros."""
    return hmac_digest(salt, secret, "sha256")


def hkdf_expand(prk: Key | bytes, info: bytes, length: int) -> bytes:
    """Return *length* bytes of output keying material (RFC 5869 section 2.3)."""
    block = okm = mac(prk, "sha256", info + b"\x01")
    while len(okm) < length:
        block = mac(prk, "sha256", block + info + bytes([len(okm) // 32 + 1]))
        okm += block
    return okm[:length]


def encode_fields(*fields: str | int | bytes) -> bytes:
    """Return the fields, each preceded by its length, so that no two lists have one encoding."""
    parts = []
    for field in fields:
        encoded = field if isinstance(field, bytes) else str(field).encode()
        parts.append(_pack_length(len(encoded)))
        parts.append(encoded)
    return b"".join(parts)


def reveal(key: Key) -> bytes:
    """Return the bytes of *key*. Hazardous: with them, an attacker can compute every code."""
    return key._raw  # noqa: SLF001  # no other function returns the bytes


def base32(key: Key) -> str:
    """Return *key* for manual entry in Base32. Hazardous like :func:`reveal`."""
    from base64 import b32encode

    return b32encode(reveal(key)).decode("ascii").rstrip("=")


def _hmac_states(raw: bytes, algorithm: str) -> HmacStates:
    try:
        new, block_size, _ = HASHES[algorithm]
        raw = (raw if len(raw) <= block_size else new(raw).digest()).ljust(block_size, b"\0")
        return new(raw.translate(_INNER_PAD)), new(raw.translate(_OUTER_PAD))
    except (KeyError, ValueError):  # a build that refuses this hash
        pass
    del raw
    raise InvalidValue(f"this Python build does not offer {algorithm}: run vmfa.selftest()")


def _problem_with(raw: bytes, min_bytes: int) -> InvalidType | InvalidValue | None:
    # RFC4226-4-R6, SP80063B-3.1.4.1-STRENGTH, ASVS5-11.2.3
    if not isinstance(raw, bytes):
        return InvalidType("a key must be bytes; read Base32 text with Key.from_base32(text)")
    if not min_bytes <= len(raw) <= MAX_KEY_BYTES:
        return InvalidValue(f"a key must have {min_bytes} to {MAX_KEY_BYTES} bytes")
    return None


# int(text, 32) reads other digits than Base32 has. Bytes that are not Base32 become "?".
_RFC_DIGITS, _INT_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789ABCDEFGHIJKLMNOPQRSTUV"
_INT_DIGIT_OF = dict(zip(_RFC_DIGITS + _RFC_DIGITS.lower(), _INT_DIGITS * 2, strict=True))
_TO_INT_DIGITS = bytes(ord(_INT_DIGIT_OF.get(chr(byte), "?")) for byte in range(256))


def _decode_base32(text: str) -> bytes | InvalidValue:
    """Decode RFC 4648 Base32 as one number, in a tenth of the time of ``base64.b32decode``.

    The error is returned, because an exception raised here would carry the text.
    """
    encoded = text.encode("ascii", "replace").rstrip(b"= -\t\r\n")
    digits = encoded.translate(_TO_INT_DIGITS, b" -\t\r\n")
    size, unused_bits = divmod(5 * len(digits), 8)
    if unused_bits < 5 and size <= MAX_KEY_BYTES and digits.isalnum():
        return (int(digits, 32) >> unused_bits).to_bytes(size, "big")
    return InvalidValue("not valid Base32: use the letters A-Z and the digits 2-7")
