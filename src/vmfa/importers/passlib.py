"""TOTP objects of passlib, or of libpass, its successor: the JSON of ``TOTP.to_json(encrypt=False)``.

The source is a JSON list of ``{"owner": ..., "totp": ..., "last_counter": ...}``: ``totp`` is that JSON, as
an object or as text, and ``last_counter`` is what the application kept for ``TOTP.verify``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import InvalidValue
from ..policy import Parameters
from .base import ImportedDevice, Item, check_fields, fit, json_records, json_value, key_type, take


def read(text: str, *, unsafe_short_keys: bool = False) -> list[Item]:
    try:
        records = json_records(text)
    finally:
        del text  # error trackers record the locals of a raising frame
    return entries(records, unsafe_short_keys=unsafe_short_keys)


def entries(records: Iterable[Mapping[str, Any]], *, unsafe_short_keys: bool = False) -> list[Item]:
    return [_entry(record, f"entry {number}", unsafe_short_keys) for number, record in enumerate(records, 1)]


def _entry(record: Mapping[str, Any], where: str, unsafe_short_keys: bool) -> Item:
    owner = record["owner"] if isinstance(record.get("owner"), str) else ""

    def build() -> ImportedDevice:
        take(record, "owner", str)
        check_fields(record, "owner", "totp", "last_counter")
        written = record.get("totp")
        totp = json_value(written) if isinstance(written, str) else take(record, "totp", dict)
        if not isinstance(totp, dict) or totp.get("type") != "totp" or totp.get("v") != 1:
            raise InvalidValue("totp is the JSON of a TOTP object, version 1")
        if "enckey" in totp:
            raise InvalidValue("the key is encrypted: export it with to_json(encrypt=False)")
        check_fields(totp, "v", "type", "key", "alg", "digits", "period", "label", "issuer")
        key = key_type(unsafe_short_keys).from_base32(take(totp, "key", str))
        parameters = Parameters(algorithm=take(totp, "alg", str, "sha1"), digits=take(totp, "digits", int, 6),
                                period=take(totp, "period", int, 30))
        return ImportedDevice(where=where, owner=owner, source=f"passlib: {owner}", key=key, parameters=parameters,
                     last_step=take(record, "last_counter", int, None))

    return fit(where, owner, build)
