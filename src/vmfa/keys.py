"""Keys: opaque values that do not print, pickle or copy, and Base32, the way people read them.

``reveal`` is the only door to the bytes: search for it to find every place that touches key material.
"""

from __future__ import annotations

import hashlib
from hmac import compare_digest, digest as hmac_digest
from os import urandom
from struct import Struct

from .errors import InvalidType, InvalidValue

__all__ = ["Key", "UnsafeShortKey"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, NoReturn, SupportsIndex

    HmacStates = tuple[Any, Any]  # two hash objects

SHORTEST, LONGEST = 16, 1024  # bytes
# With the bytes of a block and of a digest
HASHES = {"sha1": (hashlib.sha1, 64, 20), "sha256": (hashlib.sha256, 64, 32), "sha512": (hashlib.sha512, 128, 64)}
_length = Struct(">I").pack
_set = object.__setattr__  # past the refusal of :class:`Opaque`
_IPAD, _OPAD = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


def random_bytes(size: int) -> bytes:
    """Return *size* bytes from the operating system's generator: the only source of randomness."""
    return urandom(size)


class Opaque:
    """RULE-BETTER-8: a value whose text is constant and which refuses to be pickled, copied or changed."""

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
        raise InvalidType(f"{type(self).__name__} holds a secret: it is neither pickled nor copied")

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        self.__getstate__()


class Key(Opaque):
    """A shared secret of at least 128 bits (RFC4226-4-R6, SP80063B-3.1.4.1-STRENGTH). 160 bits are usual.

    :raises InvalidType: not bytes (for Base32 text there is :meth:`from_base32`).
    :raises InvalidValue: shorter than 16 bytes, or longer than 1024.
    """

    __slots__ = ("_prepared", "_raw")
    _shortest = SHORTEST

    def __init__(self, raw: bytes) -> None:
        problem = _problem(raw, self._shortest)
        if problem is not None:
            del raw
            raise problem
        _set(self, "_raw", raw)
        _set(self, "_prepared", ("", (None, None)))  # for which algorithm, and its two hashes

    @classmethod
    def generate(cls, size: int = 20) -> Key:
        """A new key of *size* bytes from the operating system (RFC4226-7.5-RND, RFC6238-5.1-RAND, ASVS5-6.5.3)."""
        if type(size) is not int or not cls._shortest <= size <= LONGEST:
            raise InvalidValue(f"a key has {cls._shortest} to {LONGEST} bytes (RFC4226-4-R6)")
        return cls(random_bytes(size))

    @classmethod
    def from_base32(cls, text: str) -> Key:
        """Read a key as people type it: any case, blanks and hyphens between groups, padding or none."""
        raw = _decode_base32(text) if isinstance(text, str) else InvalidType("Base32 is text")
        if isinstance(raw, bytes):
            try:
                return cls(raw)
            except InvalidValue as problem:
                raw = problem.with_traceback(None)
        del text
        raise raw

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and compare_digest(self._raw, other._raw)

    __hash__: ClassVar[None]  # type: ignore[assignment]  # it follows from __eq__: a hash would be a short image of the key

    if TYPE_CHECKING:
        _raw: bytes
        _prepared: tuple[str, HmacStates]


class UnsafeShortKey(Key):
    """A key below 128 bits, against RFC4226-4-R6: only for old devices that cannot be replaced yet."""

    __slots__ = ()
    _shortest = 1


def prepared_hmac(key: Key | bytes, algorithm: str) -> HmacStates:
    """The inner and the outer hash behind the padded key, which RFC 2104 section 4 proposes to prepare once.

    A :class:`Key` keeps them; for bytes they are prepared each time. Text is refused with a hint.
    """
    if isinstance(key, Key):
        name, hashes = key._prepared  # noqa: SLF001  # the key's own
        if name != algorithm:
            hashes = _keyed(reveal(key), algorithm)
            _set(key, "_prepared", (algorithm, hashes))
        return hashes
    problem = _problem(key, SHORTEST)
    if problem is not None:
        del key
        raise problem
    return _keyed(key, algorithm)


def mac(key: Key | bytes, algorithm: str, message: bytes) -> bytes:
    """HMAC as RFC 2104 writes it: H(K xor opad, H(K xor ipad, text))."""
    keyed_inner, keyed_outer = prepared_hmac(key, algorithm)
    inner, outer = keyed_inner.copy(), keyed_outer.copy()
    inner.update(message)
    outer.update(inner.digest())
    digest: bytes = outer.digest()
    return digest


def encode_fields(*fields: str | int | bytes) -> bytes:
    """Each field behind its length, four bytes: no two lists of fields have one encoding."""
    packed = []
    for field in fields:
        encoded = field if isinstance(field, bytes) else str(field).encode()
        packed.append(_length(len(encoded)))
        packed.append(encoded)
    return b"".join(packed)


def hkdf_extract(salt: bytes, secret: bytes) -> bytes:
    """RFC 5869 section 2.2. No salt is as many zeros, and so HMAC takes it."""
    return hmac_digest(salt, secret, "sha256")


def hkdf_expand(prk: Key | bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 section 2.3."""
    block = okm = mac(prk, "sha256", info + b"\x01")
    while len(okm) < length:
        block = mac(prk, "sha256", block + info + bytes([len(okm) // 32 + 1]))
        okm += block
    return okm[:length]


def _keyed(raw: bytes, algorithm: str) -> HmacStates:
    try:
        new, size, _ = HASHES[algorithm]
        raw = (raw if len(raw) <= size else new(raw).digest()).ljust(size, b"\0")
        return new(raw.translate(_IPAD)), new(raw.translate(_OPAD))
    except (KeyError, ValueError):  # of a build that refuses this hash
        pass
    del raw
    raise InvalidValue(f"there is no {algorithm} in this build: vmfa.selftest() tells what there is")


def _problem(raw: bytes, shortest: int) -> InvalidType | InvalidValue | None:
    if not isinstance(raw, bytes):
        return InvalidType("a key is bytes; read Base32 text with Key.from_base32(text)")
    if not shortest <= len(raw) <= LONGEST:
        return InvalidValue(f"a key has {shortest} to {LONGEST} bytes (RFC4226-4-R6)")
    return None


def reveal(key: Key) -> bytes:
    """The bytes of *key*. Hazardous: whoever holds them is the device."""
    return key._raw  # noqa: SLF001  # this is the door


def base32(key: Key) -> str:
    """*key* for manual entry: Base32, upper case, unpadded. Hazardous as :func:`reveal` is."""
    from base64 import b32encode

    return b32encode(reveal(key)).decode("ascii").rstrip("=")


_VALUES = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567=", "0123456789ABCDEFGHIJKLMNOPQRSTUV=", strict=True))
_DIGITS = "".join(_VALUES.get(chr(byte).upper(), "?") for byte in range(128)).ljust(256, "?").encode()


def _decode_base32(text: str) -> bytes | InvalidValue:
    """RFC 4648 section 6, as one number in base 32: a tenth of the time of ``base64.b32decode``."""
    digits = text.encode("ascii", "replace").translate(_DIGITS, b" -\t\r\n").rstrip(b"=")
    size, over = divmod(5 * len(digits), 8)
    if over < 5 and size <= LONGEST and digits.isalnum():
        return (int(digits, 32) >> over).to_bytes(size, "big")
    return InvalidValue("this is no Base32 (A-Z, 2-7)")
