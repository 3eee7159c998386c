"""Checks for the fields of the frozen dataclasses.

The bounds of a field stand beside it, as its metadata::

    budget: int = field(metadata=integer(0, 10_000))

``__post_init__`` calls :func:`check_fields`, so a value is checked when it is created and when
:func:`dataclasses.replace` copies it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, Final
from unicodedata import is_normalized

from .errors import InvalidType, InvalidValue
from .otp import check_int

Metadata = Mapping[str, Any]
Check = Callable[[str, Any], None]

MAX_NAME_BYTES: Final = 512
MAX_INTEGER: Final = 1 << 62  # of stored times and counts: SQL integers have 64 bits


def integer(low: int, high: int) -> Metadata:
    """Return the metadata of a field for an int from *low* to *high*."""

    def check(name: str, value: int) -> None:
        if type(value) is not int or not low <= value <= high:
            check_int(name, value, low, high)

    return {"check": check, "low": low, "high": high}


def timestamp() -> Metadata:
    """Return the metadata of a field for a Unix time in seconds."""
    return integer(-MAX_INTEGER, MAX_INTEGER)


def text(max_bytes: int = MAX_NAME_BYTES, *, empty: bool = False) -> Metadata:
    """Return the metadata of a field for text that :func:`check_text` accepts."""

    def check(name: str, value: str) -> None:
        if type(value) is str and len(value) <= max_bytes:
            if value.isascii() and value.isalnum():  # most serial numbers, tags and names
                return
            if empty and not value:
                return
        check_text(name, value, max_bytes=max_bytes, empty=empty)

    return {"check": check}


def instance_of(kind: type) -> Metadata:
    """Return the metadata of a field for an instance of *kind*."""

    def check(name: str, value: object) -> None:
        if not isinstance(value, kind):
            check_instance(name, value, kind)

    return {"check": check}


def check_fields(value: Any) -> None:
    """Check every field of the dataclass *value* against its metadata.

    :raises InvalidType: a field has the wrong type.
    :raises InvalidValue: a field is out of bounds.
    """
    kind: Any = type(value)
    for name, check in _checks_of(kind):
        check(name, getattr(value, name))


@cache
def _checks_of(kind: Any) -> tuple[tuple[str, Check], ...]:
    return tuple((f.name, f.metadata["check"]) for f in fields(kind) if "check" in f.metadata)


def check_text(
    name: str, value: str, *, max_bytes: int = MAX_NAME_BYTES, empty: bool = False
) -> None:
    """Check that *value* is visible text in Unicode form NFC, without blanks at its ends.

    :param name: the name of the field, for the error.
    :param max_bytes: the largest length in UTF-8.
    :param empty: whether the empty string is allowed.
    :raises InvalidType: *value* is not a str.
    :raises InvalidValue: *value* breaks one of the conditions.
    """
    if not isinstance(value, str):
        raise InvalidType(f"{name} must be a str")
    if not value and not empty:
        raise InvalidValue(f"{name} must not be empty")
    if len(value) > max_bytes:
        raise InvalidValue(f"{name} must not be longer than {max_bytes} bytes")
    if value != value.strip():
        raise InvalidValue(f"{name} must not start or end with a blank")
    if value.isascii() and value.isprintable():
        return
    from ._unicode_14 import is_visible

    if not all(map(is_visible, value)):  # RULE-VISIBLE
        raise InvalidValue(f"{name} must not contain invisible characters")
    if not is_normalized("NFC", value):
        raise InvalidValue(f"{name} must be in Unicode normalization form C")
    if len(value.encode()) > max_bytes:
        raise InvalidValue(f"{name} must not be longer than {max_bytes} bytes")


def check_time(name: str, value: int) -> None:
    """Check that *value* is a Unix time in seconds that can be stored.

    :raises InvalidType: *value* is not an int.
    :raises InvalidValue: *value* is out of bounds.
    """
    check_int(name, value, -MAX_INTEGER, MAX_INTEGER)


def check_instance(name: str, value: object, kind: type) -> None:
    """Check that *value* is an instance of *kind*.

    :raises InvalidType: it is not.
    """
    if not isinstance(value, kind):
        raise InvalidType(f"{name} must be of type {kind.__name__}")
