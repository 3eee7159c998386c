"""Lists of ``otpauth://`` URIs: one a line, each behind the owner's name or under its own label.

The format keeps no replay position: all that the old system can have accepted is spent.
"""

from __future__ import annotations

from ..errors import InvalidValue
from ..keyuri import parse
from .base import ImportedDevice, Item, fit

SCHEME = "otpauth://"


def read(text: str, *, unsafe_short_keys: bool = False) -> list[Item]:
    """The entries of *text*. Empty lines and those that begin with ``#`` say nothing."""
    return [
        _entry(line, f"line {number}", unsafe_short_keys)
        for number, line in enumerate(map(str.strip, text.splitlines()), 1)
        if line and not line.startswith("#")
    ]


def _entry(line: str, where: str, unsafe_short_keys: bool) -> Item:
    start = line.lower().find(SCHEME)
    named = line[: max(start, 0)].rstrip()

    def build() -> ImportedDevice:
        if start < 0:
            raise InvalidValue("a line is a key URI, or an owner's name and a key URI")
        said = parse(line[start:], unsafe_short_key=unsafe_short_keys)
        owner = named or said.label
        if said.type == "hotp":
            raise InvalidValue("HOTP: only time-based devices are assigned")
        return ImportedDevice(where=where, owner=owner, source=f"otpauth: {owner}", key=said.key, parameters=said.parameters)

    return fit(where, named, build)
