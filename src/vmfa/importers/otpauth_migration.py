"""``otpauth-migration://`` URIs, as an authenticator app shows when it exports its accounts: one a line.

The payload is a protocol buffer in Base64, with raw keys, no period (30 seconds) and no replay position.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from itertools import chain, islice
from typing import Final
from unicodedata import normalize
from urllib.parse import unquote

from ..errors import InvalidValue
from ..policy import Parameters
from .base import ImportedDevice, Item, Rejected, fit, key_type

PREFIX: Final = "otpauth-migration://offline?data="
_ALGORITHMS: Final[dict[int | bytes, str]] = {0: "sha1", 1: "sha1", 2: "sha256", 3: "sha512"}
_DIGITS: Final[dict[int | bytes, int]] = {0: 6, 1: 6, 2: 8}
Message = dict[int, list[int | bytes]]


def read(text: str, *, unsafe_short_keys: bool = False) -> list[Item]:
    """KEYURI-EXPORT: the accounts of all lines of *text*; empty lines say nothing."""
    items: list[Item] = []
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if line:
            try:
                accounts = [field for field in _payload(line).get(1, []) if isinstance(field, bytes)]
            except InvalidValue as error:
                items.append(Rejected(where=f"line {number}", owner="", reason=str(error)))
            else:
                for position, account in enumerate(accounts, 1):
                    items.append(_entry(account, f"line {number}, account {position}", unsafe_short_keys))
    return items


def _payload(uri: str) -> Message:
    if not uri.startswith(PREFIX):
        raise InvalidValue(f"a line begins with {PREFIX}")
    try:
        return _message(b64decode(unquote(uri.removeprefix(PREFIX)), validate=True))
    except ValueError:
        raise InvalidValue("the payload is no Base64 of an export") from None


def _entry(account: bytes, where: str, unsafe_short_keys: bool) -> Item:
    try:
        fields = _message(account)
        owner = _text(fields, 2).removeprefix(f"{_text(fields, 3)}:").strip()
    except InvalidValue as error:
        return Rejected(where=where, owner="", reason=str(error))

    def build() -> ImportedDevice:
        if _last(fields, 6, 0) not in (0, 2):
            raise InvalidValue("HOTP: only time-based devices are assigned")
        algorithm, digits = _ALGORITHMS.get(_last(fields, 4, 0)), _DIGITS.get(_last(fields, 5, 0))
        if algorithm is None or digits is None:
            raise InvalidValue("the algorithm or the number of digits is not one of RFC 6238")
        secret = _last(fields, 1, b"")
        if not isinstance(secret, bytes):
            raise InvalidValue("the secret is no bytes")
        return ImportedDevice(where=where, owner=owner, source=f"otpauth-migration: {owner}",
                     key=key_type(unsafe_short_keys)(secret), parameters=Parameters(algorithm=algorithm, digits=digits))

    return fit(where, owner, build)


def _message(data: bytes) -> Message:
    """The fields of a protocol buffer by number: whole numbers, and bytes behind their length."""
    fields: Message = {}
    rest = iter(data)
    for first in rest:
        tag = _varint(chain([first], rest))
        value = _varint(rest)
        if tag & 7 == 2:
            chunk = bytes(islice(rest, min(value, len(data))))
            if len(chunk) != value:
                raise InvalidValue("the export is cut off")
            fields.setdefault(tag >> 3, []).append(chunk)
        elif tag & 7 == 0:
            fields.setdefault(tag >> 3, []).append(value)
        else:
            raise InvalidValue("the export has a field of an unknown kind")
    return fields


def _varint(rest: Iterator[int]) -> int:
    value = 0
    for place in range(10):
        byte = next(rest, None)
        if byte is None:
            raise InvalidValue("the export is cut off")
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value
    raise InvalidValue("the export has a number of more than 64 bits")


def _last(fields: Message, number: int, default: int | bytes) -> int | bytes:
    """Of a field that is there more than once the last one counts, as everywhere in protocol buffers."""
    return fields.get(number, [default])[-1]


def _text(fields: Message, number: int) -> str:
    value = _last(fields, number, b"")
    try:
        return normalize("NFC", value.decode()) if isinstance(value, bytes) else ""
    except UnicodeDecodeError:
        raise InvalidValue("a name in the export is not UTF-8") from None
