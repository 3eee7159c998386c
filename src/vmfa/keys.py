"""Keys: opaque values that do not print, pickle or copy, and Base32, the way people read them.

``reveal`` is the only door to the bytes: search for it to find every place that touches key material.
"""

from __future__ import annotations

import hashlib
from hmac import compare_digest
from os import urandom as random_bytes

from .errors import InvalidType, InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, NoReturn, SupportsIndex

    Blocks = tuple[Callable[[bytes], Any], bytes, bytes]

__all__ = ["Key", "Opaque", "UnsafeShortKey", "as_key", "base32", "random_bytes", "reveal"]

LONGEST = 1024
HASHES: dict[str, tuple[Callable[..., Any], int]] = {
    "sha1": (hashlib.sha1, 64), "sha256": (hashlib.sha256, 64), "sha512": (hashlib.sha512, 128),
}
_set = object.__setattr__  # past the refusal of Opaque
_UNPREPARED: tuple[str, Blocks] = ("", (hashlib.sha1, b"", b""))
_IPAD = bytes(byte ^ 0x36 for byte in range(256))
_OPAD = bytes(byte ^ 0x5C for byte in range(256))


class Opaque:
    """RULE-BETTER-8: a value whose text is constant and which refuses to be pickled, copied or changed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def _fill(self, **slots: object) -> None:
        for name, value in slots.items():
            object.__setattr__(self, name, value)

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
    _shortest = 16

    def __init__(self, raw: bytes) -> None:
        if isinstance(raw, bytes) and self._shortest <= len(raw) <= LONGEST:
            _set(self, "_raw", raw)
            _set(self, "_prepared", _UNPREPARED)
            return
        text = not isinstance(raw, bytes)
        del raw
        if text:
            raise InvalidType("a key is bytes; read Base32 text with Key.from_base32(text)")
        raise InvalidValue(f"a key has {self._shortest} to {LONGEST} bytes (RFC4226-4-R6)")

    @classmethod
    def generate(cls, size: int = 20) -> Key:
        """A new key of *size* bytes from the operating system (RFC4226-7.5-RND, RFC6238-5.1-RAND, ASVS5-6.5.3)."""
        if type(size) is not int or not cls._shortest <= size <= LONGEST:
            raise InvalidValue(f"a key has {cls._shortest} to {LONGEST} bytes (RFC4226-4-R6)")
        return cls(random_bytes(size))

    @classmethod
    def from_base32(cls, text: str) -> Key:
        """Read a key as people type it: any case, blanks and hyphens between groups, padding or none."""
        problem: InvalidType | InvalidValue
        if not isinstance(text, str):
            problem = InvalidType("Base32 is text")
        else:
            raw = _decode_base32(text)
            if raw is not None and cls._shortest <= len(raw) <= LONGEST:
                return cls(raw)
            problem = InvalidValue(
                "this is no Base32 (A-Z, 2-7)"
                if raw is None
                else f"a key has {cls._shortest} to {LONGEST} bytes (RFC4226-4-R6)"
            )
            del raw
        del text
        raise problem

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and compare_digest(self._raw, other._raw)

    __hash__: ClassVar[None]  # type: ignore[assignment]  # it follows from __eq__: a hash would be a short image of the key

    def blocks(self, algorithm: str) -> Blocks:
        """The hash and the key's two padded blocks, prepared once as RFC 2104 section 4 proposes."""
        name, blocks = self._prepared
        if name != algorithm:
            new, size = HASHES[algorithm]
            block = (self._raw if len(self._raw) <= size else new(self._raw).digest()).ljust(size, b"\0")
            blocks = new, block.translate(_IPAD), block.translate(_OPAD)
            _set(self, "_prepared", (algorithm, blocks))
        return blocks

    if TYPE_CHECKING:
        _raw: bytes
        _prepared: tuple[str, Blocks]


class UnsafeShortKey(Key):
    """A key below 128 bits, against RFC4226-4-R6: only for old devices that cannot be replaced yet."""

    __slots__ = ()
    _shortest = 1


def as_key(key: Key | bytes) -> Key:
    """*key* itself, or the bytes as a :class:`Key`; text is refused with a hint."""
    return key if isinstance(key, Key) else Key(key)


def reveal(key: Key) -> bytes:
    """The bytes of *key*. Hazardous: whoever holds them is the device."""
    return key._raw  # noqa: SLF001  # this is the door


def base32(key: Key) -> str:
    """*key* for manual entry: Base32, upper case, unpadded. Hazardous as :func:`reveal` is."""
    from base64 import b32encode

    return b32encode(reveal(key)).decode("ascii").rstrip("=")


_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"  # RFC 4648 section 6
_DIGITS = str.maketrans(_ALPHABET, "0123456789ABCDEFGHIJKLMNOPQRSTUV")
_SEPARATORS = {ord(separator): None for separator in " -\t\r\n"}


def _decode_base32(text: str) -> bytes | None:
    """As ``base64.b32decode`` does, at a third of its time: the text is one number in base 32."""
    packed = text.translate(_SEPARATORS).rstrip("=").upper()
    size, over = divmod(5 * len(packed), 8)
    if over >= 5 or packed.strip(_ALPHABET) or not 0 < size <= LONGEST or not text.isascii():
        return None
    return (int(packed.translate(_DIGITS), 32) >> over).to_bytes(size, "big")
