"""Secrets that an application kept for pyotp, which stores nothing itself.

The source is a JSON list of ``{"owner": ..., "secret": ..., "last_timecode": ...}`` and, where they are not
pyotp's defaults, ``digits``, ``digest`` and ``interval``. ``last_timecode`` is the last one that
``TOTP.verify_and_get_timecode`` gave.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..policy import Parameters
from .base import ImportedDevice, Item, check_fields, fit, json_records, key_type, take


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
        check_fields(record, "owner", "secret", "last_timecode", "digits", "digest", "interval")
        parameters = Parameters(algorithm=take(record, "digest", str, "sha1"), digits=take(record, "digits", int, 6),
                                period=take(record, "interval", int, 30))
        return ImportedDevice(where=where, owner=owner, source=f"pyotp: {owner}", parameters=parameters,
                     key=key_type(unsafe_short_keys).from_base32(take(record, "secret", str)),
                     last_step=take(record, "last_timecode", int, None))

    return fit(where, owner, build)
