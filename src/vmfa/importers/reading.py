"""What the modules share that read a source: streams with bounds, JSON, tables, and fields.

A source is text, or a text file that can be read more than once. Lines, JSON lists and tables are
read piece by piece, so memory does not grow with the number of devices. A document that has to be
parsed as a whole has at most :data:`MAX_DOCUMENT_CHARACTERS`.
"""

from __future__ import annotations

import csv
import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from io import StringIO
from itertools import islice
from math import ceil
from typing import Any, Final, TextIO, TypeVar

from ..errors import InvalidType, InvalidValue
from ..keys import Key, UnsafeShortKey
from ..policy import Parameters
from .base import ImportedDevice, Item, Rejected, UnreadableSource

T = TypeVar("T")
Source = str | TextIO
Record = Mapping[str, Any]
Decrypt = Callable[[str], str]

MAX_LINE_CHARACTERS: Final = 1 << 18
MAX_RECORD_CHARACTERS: Final = 1 << 20  # of one object in a JSON list; twice that is refused
MAX_DOCUMENT_CHARACTERS: Final = 64 << 20
MAX_SHIFT_SECONDS: Final = 10**9
CHUNK_CHARACTERS: Final = 1 << 16
HOTP: Final = "HOTP: only time-based devices (TOTP) can be imported"
TOO_LONG: Final = f"the source is longer than {MAX_DOCUMENT_CHARACTERS >> 20} MiB"
LINE_TOO_LONG: Final = f"a line of the source is longer than {MAX_LINE_CHARACTERS >> 10} KiB"
NOT_UTF_8: Final = "the source is not UTF-8 text"
NOT_JSON: Final = "the source is not valid JSON, or an object in it has a field twice"
NOT_A_LIST: Final = "the source is not a JSON list of objects"
NOT_A_TABLE: Final = (
    "the source is neither a JSON list of objects nor a CSV table whose first line has the names"
    " of the columns"
)


# Streams


def rewound(source: Source) -> TextIO:
    """Return the source as a stream at its beginning."""
    if isinstance(source, str):
        return StringIO(source)
    source.seek(0)
    return source


def _read(read: Callable[[int], str], size: int) -> str:
    problem = NOT_UTF_8
    try:
        return read(size)
    except UnicodeDecodeError:
        pass  # it contains the bytes, so the error is raised outside of its handler
    except OSError as error:
        problem = f"the source cannot be read: {error.strerror}"
    raise UnreadableSource(problem)


def lines(source: Source) -> Iterator[str]:
    """Yield each line, with its line break. Only one of them is in memory at a time.

    :raises UnreadableSource: a line is too long, or the source is not UTF-8.
    """
    stream = rewound(source)
    del source  # error trackers record the locals of a raising frame
    while True:
        line = _read(stream.readline, MAX_LINE_CHARACTERS + 1)
        if len(line) > MAX_LINE_CHARACTERS:
            del line
            raise UnreadableSource(LINE_TOO_LONG)
        if not line:
            return
        yield line
        del line


def numbered_lines(source: Source) -> Iterator[tuple[int, str]]:
    """Return the number and the text of each line, except empty lines and comments (``#``).

    Blanks at both ends of a line are removed.

    :raises UnreadableSource: a line is too long, or the source is not UTF-8.
    """
    return filter(_has_content, enumerate(map(str.strip, lines(source)), 1))


def _has_content(numbered_line: tuple[int, str]) -> bool:
    return numbered_line[1] != "" and not numbered_line[1].startswith("#")


def document(source: Source) -> str:
    """Return the whole text, for a format that cannot be read piece by piece.

    :raises UnreadableSource: it is too long, or not UTF-8.
    """
    stream = rewound(source)
    del source  # error trackers record the locals of a raising frame
    text = _read(stream.read, MAX_DOCUMENT_CHARACTERS + 1)
    if len(text) > MAX_DOCUMENT_CHARACTERS:
        del text
        raise UnreadableSource(TOO_LONG)
    return text


# JSON and tables


def json_value(source: Source) -> Any:
    """Return the value of a JSON text.

    :raises UnreadableSource: it is too long or not JSON, or an object in it has a field twice.
    """
    stream = rewound(source)
    del source  # error trackers record the locals of a raising frame
    text = document(stream)
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError):
        del text  # the error contains it too, so another one is raised outside of its handler
    raise UnreadableSource(NOT_JSON)


def json_records(source: Source) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON list. Only one of them is in memory at a time.

    :raises UnreadableSource: the source is not a JSON list of objects, an object in it is too
        large or has a field twice, or the source is not UTF-8.
    """
    text = _JsonText(rewound(source))
    del source  # error trackers record the locals of a raising frame
    if text.peek() != "[":
        raise UnreadableSource(NOT_A_LIST)
    text.skip()
    more = text.peek() != "]"
    while more:
        if text.peek() != "{":
            raise UnreadableSource(NOT_A_LIST)
        yield text.take_object()
        more = text.peek() == ","
        if more:
            text.skip()
    if text.peek() != "]":
        raise UnreadableSource(NOT_JSON)
    text.skip()
    if text.peek():
        raise UnreadableSource(NOT_JSON)


class _JsonText:
    """The part of a JSON text that is in memory, and the position in it."""

    __slots__ = ("_position", "_stream", "_text")

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text = ""
        self._position = 0

    def peek(self) -> str:
        """Skip blanks, and return the next character; empty at the end of the text."""
        while True:
            blanks = _BLANKS.match(self._text, self._position)
            self._position = blanks.end() if blanks else self._position
            if self._position < len(self._text):
                return self._text[self._position]
            if not self._read_more(CHUNK_CHARACTERS):
                return ""

    def skip(self) -> None:
        """Skip one character."""
        self._position += 1

    def take_object(self) -> dict[str, Any]:
        """Return the object that begins here, and skip it."""
        for size in (0, CHUNK_CHARACTERS, MAX_RECORD_CHARACTERS):  # most objects are small
            if size and not self._read_more(size):
                break
            try:
                record, self._position = _JSON.raw_decode(self._text, self._position)
            except (ValueError, RecursionError):
                continue  # the object is not complete yet, or not valid
            return record  # type: ignore[no-any-return]  # it begins with a brace
        raise UnreadableSource(NOT_JSON)

    def _read_more(self, size: int) -> bool:
        more = _read(self._stream.read, size)
        self._text = self._text[self._position :] + more
        self._position = 0
        return bool(more)


def table_records(source: Source) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSON list of objects, or of a CSV table with a header.

    An empty cell of a CSV table is a missing field. The other cells are text.

    :raises UnreadableSource: the source is neither of the two, or a row is incomplete.
    """
    stream = rewound(source)
    del source  # error trackers record the locals of a raising frame
    if any(text.startswith("[") for _, text in islice(numbered_lines(stream), 1)):
        yield from json_records(stream)
        return
    rows = _csv_rows(lines(stream))
    record = partial(_record, _column_names(next(rows, [""])))
    yield from map(record, enumerate(rows, 1))


def _csv_rows(text: Iterable[str]) -> Iterator[list[str]]:
    rows = csv.reader(text, strict=True)
    try:
        yield from filter(None, rows)
        return
    except csv.Error:
        pass  # raised below, without the frames that contain the row
    raise UnreadableSource(NOT_A_TABLE)


def _column_names(row: list[str]) -> list[str]:
    if len(set(row)) == len(row) and all(map(_COLUMN.fullmatch, row)):
        return row
    del row  # it may be a row with secrets: the table has no header
    raise UnreadableSource(NOT_A_TABLE)


def _record(names: list[str], numbered_row: tuple[int, list[str]]) -> dict[str, str]:
    number, row = numbered_row
    if len(row) != len(names):
        del row, numbered_row
        raise UnreadableSource(f"row {number} does not have {len(names)} columns")
    return {name: cell for name, cell in zip(names, row, strict=True) if cell}


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError
    return record


_JSON: Final = json.JSONDecoder(object_pairs_hook=_unique_fields)
_COLUMN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{,30}")
_BLANKS: Final = re.compile(r"[ \t\n\r]*")
_REQUIRED: Final[Any] = object()


# Fields and items


def build_item(where: str, owner: str, build: Callable[[], ImportedDevice]) -> Item:
    """Return the device that *build* returns, or the reason why there is none.

    The error is not raised again, because its frames contain the secret.
    """
    try:
        return build()
    except (InvalidValue, InvalidType) as error:
        return Rejected(where=where, owner=owner, reason=str(error))


def take(record: Record, name: str, kind: type[T], default: T = _REQUIRED) -> T:
    """Return the field *name* of a record.

    :param kind: the exact type of the value: True is not an int.
    :param default: the value if the field is missing or null.
    :raises InvalidValue: the field is missing and has no default.
    :raises InvalidType: the value has another type.
    """
    value = record.get(name)
    if value is None:
        if default is _REQUIRED:
            raise InvalidValue(f"{name} is missing")
        return default
    if type(value) is not kind:
        del value
        raise InvalidType(f"{name} must be of type {kind.__name__}")
    return value


def take_number(record: Record, name: str, default: int = _REQUIRED) -> int:
    """Return the whole number in the field *name*, which may be text in ASCII digits.

    :param default: the value if the field is missing or null.
    :raises InvalidValue: the field is missing and has no default, or is not a whole number.
    """
    value = record.get(name)
    if isinstance(value, str):
        return whole_number(name, value)
    return take(record, name, int, default)


def whole_number(name: str, text: str) -> int:
    """Return the whole number that is written in ASCII digits, with a sign if it is negative.

    :raises InvalidValue: the text is not a whole number, or has more than 20 digits.
    """
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
        del text, digits
        raise InvalidValue(f"{name} must be a whole number")
    return int(text)


def id_of(record: Record, name: str) -> str:
    """Return the id in the field *name*, which may be a number; empty if it is neither."""
    value = record.get(name)
    return str(value) if type(value) in (int, str) else ""


def is_true(record: Record, name: str) -> bool:
    """Return the truth value in the field *name*, as JSON and databases write it.

    :raises InvalidValue: the field is missing, or is not a truth value.
    """
    value = record.get(name)
    text = str(value).lower() if type(value) in (bool, int, str) else ""
    if text in ("true", "t", "1"):
        return True
    if text in ("false", "f", "0"):
        return False
    raise InvalidValue(f"{name} is missing or is neither true nor false")


def check_known_fields(record: Record, *known: str) -> None:
    """Refuse a record with an unknown field: it may be a misspelled replay position.

    :raises InvalidValue: it has one.
    """
    if record.keys() - set(known):
        raise InvalidValue(f"unknown field: the allowed fields are {', '.join(known)}")


def owner_of(record: Record) -> str:
    """Return the field ``owner``, for a report; empty if it is not text."""
    owner = record.get("owner")
    return owner if isinstance(owner, str) else ""


def hex_bytes(name: str, text: str) -> bytes:
    """Return the bytes that are written in hexadecimal digits.

    :raises InvalidValue: the text has other characters.
    """
    try:
        return bytes.fromhex(text)
    except ValueError:
        del text
    raise InvalidValue(f"{name} must be hexadecimal")


def base64_bytes(name: str, text: str) -> bytes:
    """Return the bytes that are written in Base64.

    :raises InvalidValue: the text is not Base64.
    """
    try:
        return b64decode(text, validate=True)
    except ValueError:
        del text
    raise InvalidValue(f"{name} must be Base64")


def decrypted(secret: str, decrypt: Decrypt | None) -> str:
    """Return what *decrypt* makes of a secret; the secret itself if *decrypt* is None.

    :raises InvalidValue: *decrypt* failed. The text does not quote its error.
    """
    if decrypt is None:
        return secret
    try:
        return decrypt(secret)
    except Exception as error:  # noqa: BLE001  # of the cipher of another program
        raise InvalidValue(f"decrypt() raised {type(error).__name__}") from None


def check_not_set(record: Record, *names: str) -> None:
    """Refuse a record with one of these fields, because the library cannot keep such a limit.

    :raises InvalidValue: it has one.
    """
    for name in names:
        if record.get(name):
            raise InvalidValue(f"{name} is set: the library has no such limit for a device")


def drift_of(record: Record, name: str, period: int) -> int:
    """Return the drift in time steps, from the field *name* in seconds, which may be missing.

    The field is the time at which the time step of a code began on the device, minus the time when
    the verifier accepted the code.

    :raises InvalidValue: the field is not a number of seconds.
    """
    value = record.get(name)
    with suppress(ValueError, TypeError):
        seconds = float(value or 0)
        if abs(seconds) < MAX_SHIFT_SECONDS:
            return ceil(seconds / max(period, 1))
    raise InvalidValue(f"{name} must be a number of seconds")


def printable(value: object) -> str:
    """Return the first 80 characters of a value, escaped if they could control a terminal."""
    text = str(value)[:80]
    return text if text.isprintable() else ascii(text)[1:-1]


def key_type(unsafe_short_keys: bool) -> type[Key]:
    """Return the class of imported keys."""
    return UnsafeShortKey if unsafe_short_keys else Key


def read_parameters(text: str) -> Parameters:
    """Read the parameters of devices, such as ``sha256,8,30`` or ``sha1,6,60,30``.

    :param text: algorithm, digits, period in seconds and, if it is not 0, T0 in Unix seconds.
    :raises InvalidValue: the text has another form or an impossible value.
    """
    match = _PARAMETERS.fullmatch(text)
    if match is None:
        raise InvalidValue("write ALGORITHM,DIGITS,PERIOD[,T0], such as sha256,8,30")
    algorithm, digits, period, t0 = match.groups()
    return Parameters(
        algorithm=algorithm.lower(), digits=int(digits), period=int(period), t0=int(t0 or 0)
    )


_PARAMETERS: Final = re.compile(r"([A-Za-z0-9]+),([0-9]{1,9}),([0-9]{1,9})(?:,(-?[0-9]{1,12}))?")
