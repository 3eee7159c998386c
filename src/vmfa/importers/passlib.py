"""Import TOTP objects of passlib, or of its successor libpass.

The source is a JSON list of ``{"owner": ..., "totp": ..., "last_counter": ...}``. ``totp`` is the
result of ``TOTP.to_json(encrypt=False)``, as an object or as text. ``last_counter`` is what the
application stored for ``TOTP.verify``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from ..errors import InvalidValue
from ..policy import Parameters
from .base import ImportedDevice, Item, Items
from .reading import (
    Source,
    build_item,
    check_known_fields,
    json_records,
    json_value,
    key_type,
    owner_of,
    take,
)


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
        check_known_fields(record, "owner", "totp", "last_counter")
        totp = record.get("totp")
        totp = json_value(totp) if isinstance(totp, str) else take(record, "totp", dict)
        if not isinstance(totp, dict) or totp.get("type") != "totp" or totp.get("v") != 1:
            raise InvalidValue("totp must be the JSON of a TOTP object, version 1")
        if "enckey" in totp:
            raise InvalidValue("the key is encrypted: export it with to_json(encrypt=False)")
        check_known_fields(totp, "v", "type", "key", "alg", "digits", "period", "label", "issuer")
        return ImportedDevice(
            where=where,
            owner=owner,
            system=f"passlib: {owner}",
            key=key_type(unsafe_short_keys).from_base32(take(totp, "key", str)),
            parameters=Parameters(
                algorithm=take(totp, "alg", str, "sha1"),
                digits=take(totp, "digits", int, 6),
                period=take(totp, "period", int, 30),
            ),
            last_step=take(record, "last_counter", int, None),
        )

    return build_item(where, owner, build)
