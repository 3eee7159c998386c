"""Import secrets that an application stored for pyotp.

The source is a JSON list of ``{"owner": ..., "secret": ..., "last_timecode": ...}``, and with
``digits``, ``digest`` and ``interval`` where they differ from the defaults of pyotp.
``last_timecode`` is the last result of ``TOTP.verify_and_get_timecode``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from ..policy import Parameters
from .base import ImportedDevice, Item, Items
from .reading import Source, build_item, check_known_fields, json_records, key_type, owner_of, take


def read(source: Source, *, unsafe_short_keys: bool = False) -> Items:
    """Return the devices in a JSON list.

    :param unsafe_short_keys: import keys below 128 bits, against RFC 4226.
    """
    return Items(lambda: _items(json_records(source), unsafe_short_keys))


def entries(
    records: Iterable[Mapping[str, Any]], *, unsafe_short_keys: bool = False
) -> list[Item]:
    """Return the devices in these records, which have the fields of the JSON list."""
    return list(_items(records, unsafe_short_keys))


def _items(records: Iterable[Mapping[str, Any]], unsafe_short_keys: bool) -> Iterator[Item]:
    return map(partial(_item, unsafe_short_keys=unsafe_short_keys), enumerate(records, 1))


def _item(numbered_record: tuple[int, Mapping[str, Any]], *, unsafe_short_keys: bool) -> Item:
    number, record = numbered_record
    where, owner = f"entry {number}", owner_of(record)

    def build() -> ImportedDevice:
        take(record, "owner", str)
        check_known_fields(
            record, "owner", "secret", "last_timecode", "digits", "digest", "interval"
        )
        return ImportedDevice(
            where=where,
            owner=owner,
            system=f"pyotp: {owner}",
            key=key_type(unsafe_short_keys).from_base32(take(record, "secret", str)),
            parameters=Parameters(
                algorithm=take(record, "digest", str, "sha1"),
                digits=take(record, "digits", int, 6),
                period=take(record, "interval", int, 30),
            ),
            last_step=take(record, "last_timecode", int, None),
        )

    return build_item(where, owner, build)
