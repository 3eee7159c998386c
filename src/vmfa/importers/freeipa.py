"""Import OTP tokens of FreeIPA: LDIF, as ``ldapsearch`` writes it for ``cn=otp``.

``ipatokenTOTPwatermark`` is the step after the last accepted one, and
``ipatokenTOTPclockOffset`` is the drift in seconds. The owner is the ``uid`` in ``ipatokenOwner``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from ..errors import InvalidValue
from ..policy import Parameters
from .base import ImportedDevice, Item, Items, UnreadableSource
from .reading import (
    HOTP,
    MAX_RECORD_CHARACTERS,
    Source,
    base64_bytes,
    build_item,
    check_not_set,
    key_type,
    lines,
    printable,
    rewound,
    whole_number,
)

NOT_LDIF: Final = "the source is not LDIF"
Entry = Mapping[str, tuple[bytes, ...]]
_OWNER: Final = re.compile(
    r"uid=([^,+\\=\"<>;]+),cn=users,cn=accounts,.*", re.IGNORECASE | re.DOTALL
)


def read(source: Source, *, unsafe_short_keys: bool = False) -> Items:
    """Return the tokens in LDIF. Entries that are not tokens are ignored.

    :param unsafe_short_keys: import keys below 128 bits, against RFC 4226.
    """
    item = partial(_item, unsafe_short_keys=unsafe_short_keys)
    return Items(lambda: filter(None, map(item, map(_entry, _blocks(rewound(source))))))


def _blocks(source: Source) -> Iterator[list[str]]:
    """Yield the unfolded lines of each entry (RFC 2849), without comments."""
    block: list[str] = []
    size = 0
    for line in lines(source):
        text = line.rstrip("\r\n")
        size += len(text)
        if size > MAX_RECORD_CHARACTERS or (text.startswith(" ") and not block):
            break
        if text.startswith(" "):
            block[-1] += text[1:]
        elif text:
            block.append(text)
        else:
            yield block
            block, size = [], 0
    else:
        yield block
        return
    del line, text, block  # error trackers record the locals of a raising frame
    raise UnreadableSource(NOT_LDIF)


def _entry(block: list[str]) -> Entry:
    """Return the values of each attribute, by its name in lower case."""
    entry: dict[str, tuple[bytes, ...]] = {}
    for line in block:
        if line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        if not colon or value.startswith("<"):
            del block, line, name, value
            raise UnreadableSource(NOT_LDIF)
        try:
            data = (
                base64_bytes(name, value[1:].strip())
                if value.startswith(":")
                else value.strip(" ").encode()
            )
        except (InvalidValue, UnicodeEncodeError):
            data = b""
        entry[name.lower()] = (*entry.get(name.lower(), ()), data)
    return entry


def _item(entry: Entry, *, unsafe_short_keys: bool) -> Item | None:
    classes = {value.lower() for value in entry.get("objectclass", ())}
    if not classes & {b"ipatokentotp", b"ipatokenhotp"}:
        return None
    where = f"token {printable(_text(entry, 'ipatokenUniqueID'))}"
    match = _OWNER.fullmatch(_text(entry, "ipatokenOwner"))
    owner = match[1] if match else ""

    def build() -> ImportedDevice:
        if b"ipatokenhotp" in classes:
            raise InvalidValue(HOTP)
        if not owner:
            raise InvalidValue("ipatokenOwner must be uid=NAME,cn=users,cn=accounts,...")
        if _text(entry, "ipatokenDisabled").upper() == "TRUE":
            raise InvalidValue("the token is disabled")
        check_not_set(entry, "ipatokennotbefore", "ipatokennotafter")
        period = _number(entry, "ipatokenTOTPtimeStep", 30)
        watermark = _number(entry, "ipatokenTOTPwatermark", 0)
        offset = _number(entry, "ipatokenTOTPclockOffset", 0)
        keys = entry.get("ipatokenotpkey", ())
        if len(keys) != 1 or not keys[0]:
            raise InvalidValue("ipatokenOTPkey is missing, twice, or not Base64")
        return ImportedDevice(
            where=where,
            owner=owner,
            system=f"freeipa: {where}",
            key=key_type(unsafe_short_keys)(keys[0]),
            parameters=Parameters(
                algorithm=(_text(entry, "ipatokenOTPalgorithm") or "sha1").lower(),
                digits=_number(entry, "ipatokenOTPdigits", 6),
                period=period,
            ),
            last_step=watermark - 1 if watermark > 0 else None,
            drift=round(offset / max(period, 1)),
        )

    return build_item(where, owner, build)


def _text(entry: Entry, name: str) -> str:
    """Return the value of an attribute; empty if it has none, or more than one, or not UTF-8."""
    values = entry.get(name.lower(), ())
    return values[0].decode("utf-8", "replace") if len(values) == 1 else ""


def _number(entry: Entry, name: str, default: int) -> int:
    text = _text(entry, name)
    return whole_number(name, text) if name.lower() in entry else default
