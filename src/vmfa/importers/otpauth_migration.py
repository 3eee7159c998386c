"""Import ``otpauth-migration://`` URIs: the export of an authenticator app, one QR code per line.

An app splits a large export into several QR codes, a batch. If one of them is missing, the import
rejects the whole batch, unless you allow incomplete batches. Empty lines and lines that begin with
``#`` are ignored.

The payload is a protocol buffer in Base64. It contains the keys, no period (it is 30 seconds) and
no replay position, so every code that the app can have shown until now is spent.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final
from unicodedata import normalize
from urllib.parse import unquote

from ..errors import InvalidValue
from ..keyuri import MAX_URI_LENGTH
from ..policy import Parameters
from .base import ImportedDevice, Item, Items, Rejected, UnreadableSource
from .reading import HOTP, Source, build_item, key_type, numbered_lines, rewound

PREFIX: Final = "otpauth-migration://offline?data="
MAX_QR_CODES: Final = 100_000  # in one source
MAX_BATCH_SIZE: Final = 1000  # QR codes; apps put ten accounts into each
CUT_OFF: Final = "the export is cut off"
# The fields of the payload and of an account, by number
ACCOUNTS, BATCH_SIZE, BATCH_INDEX, BATCH_ID = 1, 3, 4, 5
SECRET, NAME, ISSUER, ALGORITHM, DIGITS, TYPE = 1, 2, 3, 4, 5, 6
_ALGORITHMS: Final[dict[int | bytes, str]] = {0: "sha1", 1: "sha1", 2: "sha256", 3: "sha512"}
_DIGITS: Final[dict[int | bytes, int]] = {0: 6, 1: 6, 2: 8}
Message = dict[int, list[int | bytes]]


@dataclass(frozen=True, slots=True)
class Batch:
    """The export that a QR code belongs to: a random number, and how many QR codes it has."""

    number: int
    size: int


def read(
    source: Source, *, unsafe_short_keys: bool = False, allow_incomplete: bool = False
) -> Items:
    """Return the accounts of an export.

    :param unsafe_short_keys: import keys below 128 bits, against RFC 4226.
    :param allow_incomplete: import the accounts of batches in which a QR code is missing.
    """
    return Items(lambda: _items(source, unsafe_short_keys, allow_incomplete))


def _items(
    source: Source, unsafe_short_keys: bool, allow_incomplete: bool
) -> Iterator[Item]:
    stream = rewound(source)
    del source  # error trackers record the locals of a raising frame
    scanned = _scanned_codes(numbered_lines(stream))
    for number, line in numbered_lines(stream):
        where = f"line {number}"
        try:
            payload = _payload(line)
            batch, _ = _position(payload)
        except InvalidValue as error:
            yield Rejected(where=where, owner="", reason=str(error))
            continue
        missing = _missing(batch, scanned[batch])
        accounts = [field for field in payload.get(ACCOUNTS, []) if isinstance(field, bytes)]
        if missing and not accounts and not allow_incomplete:
            yield Rejected(where=where, owner="", reason=missing)
        for position, account in enumerate(accounts, 1):
            item = _item(account, f"{where}, account {position}", unsafe_short_keys)
            if missing and isinstance(item, ImportedDevice):
                if allow_incomplete:
                    item = replace(item, notes=(missing,))
                else:
                    item = Rejected(where=item.where, owner=item.owner, reason=missing)
            yield item


def _scanned_codes(lines: Iterator[tuple[int, str]]) -> dict[Batch, int]:
    """Return which QR codes of each batch the source contains, as bits."""
    scanned: dict[Batch, int] = {}
    for count, (_, line) in enumerate(lines):
        if count >= MAX_QR_CODES:
            del line
            raise UnreadableSource(f"the source has more than {MAX_QR_CODES} QR codes")
        try:
            batch, index = _position(_payload(line))
        except InvalidValue:
            continue  # the second pass reports it
        scanned[batch] = scanned.get(batch, 0) | 1 << index
    return scanned


def _position(payload: Message) -> tuple[Batch, int]:
    """Return the batch of a QR code, and which one it is, from 0. Some apps write neither."""
    size, index = _last(payload, BATCH_SIZE, 1), _last(payload, BATCH_INDEX, 0)
    number = _last(payload, BATCH_ID, 0)
    if not (isinstance(size, int) and isinstance(index, int) and isinstance(number, int)):
        raise InvalidValue("the number of the QR code is not a number")
    size = max(size, 1)
    if size > MAX_BATCH_SIZE or index >= size:
        raise InvalidValue(f"QR code {index + 1} of {size} is not possible")
    return Batch(number, size), index


def _missing(batch: Batch, scanned: int) -> str:
    """Say which QR codes of a batch are missing; empty: none is."""
    missing = [str(index + 1) for index in range(batch.size) if not scanned >> index & 1]
    if not missing:
        return ""
    shown = ", ".join(missing[:10]) + (" and more" if len(missing) > 10 else "")
    return f"the export is incomplete: of its {batch.size} QR codes, {shown} missing"


def _payload(uri: str) -> Message:
    if not uri.startswith(PREFIX):
        raise InvalidValue(f"a line must begin with {PREFIX}")
    if len(uri) > MAX_URI_LENGTH:
        raise InvalidValue(f"a line must have at most {MAX_URI_LENGTH} characters")
    try:
        return _message(b64decode(unquote(uri.removeprefix(PREFIX)), validate=True))
    except ValueError:
        raise InvalidValue("the payload is not the Base64 of an export") from None


def _item(account: bytes, where: str, unsafe_short_keys: bool) -> Item:
    # KEYURI-EXPORT
    try:
        fields = _message(account)
        owner = _text(fields, NAME).removeprefix(f"{_text(fields, ISSUER)}:").strip()
    except InvalidValue as error:
        return Rejected(where=where, owner="", reason=str(error))

    def build() -> ImportedDevice:
        if _last(fields, TYPE, 0) not in (0, 2):
            raise InvalidValue(HOTP)
        algorithm = _ALGORITHMS.get(_last(fields, ALGORITHM, 0))
        digits = _DIGITS.get(_last(fields, DIGITS, 0))
        if algorithm is None or digits is None:
            raise InvalidValue("the algorithm or the number of digits is not one of RFC 6238")
        secret = _last(fields, SECRET, b"")
        if not isinstance(secret, bytes):
            raise InvalidValue("the secret must be bytes")
        return ImportedDevice(
            where=where,
            owner=owner,
            system=f"otpauth-migration: {owner}",
            key=key_type(unsafe_short_keys)(secret),
            parameters=Parameters(algorithm=algorithm, digits=digits),
        )

    return build_item(where, owner, build)


def _message(data: bytes) -> Message:
    """Return the fields of a protocol buffer by number: whole numbers and byte strings."""
    fields: Message = {}
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind not in (0, 2):
            raise InvalidValue("the export has a field of an unknown kind")
        value, position = _varint(data, position)
        if kind == 0:
            fields.setdefault(number, []).append(value)
            continue
        chunk = data[position : position + value]
        if len(chunk) != value:
            raise InvalidValue(CUT_OFF)
        fields.setdefault(number, []).append(chunk)
        position += value
    return fields


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the whole number at *position*, and the position after it."""
    value = 0
    for place, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, position + place + 1
    if len(data) - position < 10:
        raise InvalidValue(CUT_OFF)
    raise InvalidValue("the export has a number of more than 64 bits")


def _last(fields: Message, number: int, default: int | bytes) -> int | bytes:
    """Return the last value of a field, as protocol buffers require."""
    return fields.get(number, [default])[-1]


def _text(fields: Message, number: int) -> str:
    value = _last(fields, number, b"")
    try:
        return normalize("NFC", value.decode()) if isinstance(value, bytes) else ""
    except UnicodeDecodeError:
        raise InvalidValue("a name in the export is not UTF-8") from None
