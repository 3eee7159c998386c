"""Import a list of ``otpauth://`` key URIs, one per line.

A line has one of three forms. Any other line is rejected, with its number:

* ``URI``: the owner is the label of the URI.
* ``OWNER URI``, separated by blanks: the owner is one word without ``, ; : = | < >`` and quotation
  marks.
* ``OWNER<TAB>URI``: the owner is any text.

Empty lines and lines that begin with ``#`` are ignored. A URI has no replay position, so every
code that the other system can have accepted is spent.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from ..errors import InvalidValue
from ..keyuri import parse
from .base import ImportedDevice, Item, Items
from .reading import HOTP, Source, build_item, numbered_lines

SCHEME: Final = "otpauth://"
SEPARATORS: Final = frozenset(",;:=|<>\"'`")
FORM: Final = "a line must have the form URI, OWNER URI or OWNER<TAB>URI"
_BLANK_IN_SECRET: Final = re.compile(r"[?&]secret=[^&]*\s", re.IGNORECASE)


def read(source: Source, *, unsafe_short_keys: bool = False) -> Items:
    """Return the devices in a list of key URIs.

    :param unsafe_short_keys: import keys below 128 bits, against RFC 4226.
    """
    item = partial(_item, unsafe_short_keys=unsafe_short_keys)
    return Items(lambda: map(item, numbered_lines(source)))


def _item(numbered_line: tuple[int, str], *, unsafe_short_keys: bool) -> Item:
    number, line = numbered_line
    where = f"line {number}"
    owner, uri = _split(line)

    def build() -> ImportedDevice:
        if not _is_uri(uri):
            raise InvalidValue(FORM)
        if uri[len(SCHEME) :].lower().startswith("hotp/"):  # some programs write no counter
            raise InvalidValue(HOTP)
        if _BLANK_IN_SECRET.search(uri):  # Base32 would absorb the word after it
            raise InvalidValue("the secret contains a blank: a line must end with its URI")
        key_uri = parse(uri, unsafe_short_key=unsafe_short_keys, require_label=not owner)
        name = owner or key_uri.label
        return ImportedDevice(
            where=where, owner=name, system=f"otpauth: {name}", key=key_uri.key,
            parameters=key_uri.parameters,
        )

    return build_item(where, owner, build)


def _split(line: str) -> tuple[str, str]:
    """Return the owner, which may be empty, and the URI. The URI is empty in any other line."""
    if _is_uri(line):
        return "", line
    owner, tab, uri = line.partition("\t")
    if not tab:
        owner, _, uri = line.partition(" ")
        if not SEPARATORS.isdisjoint(owner):
            return "", ""
    uri = uri.lstrip(" ")
    return (owner.rstrip(" "), uri) if _is_uri(uri) else ("", "")


def _is_uri(text: str) -> bool:
    return text[: len(SCHEME)].lower() == SCHEME
