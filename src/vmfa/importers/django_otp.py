"""TOTP devices of django-otp: what ``manage.py dumpdata otp_totp`` writes, or ``TOTPDevice.objects.values()``.

Its ``last_t`` is the step of the last code it accepted and its ``drift`` counts steps as ours does, so
both are kept, and so are the consecutive failures. Its tolerance is a verifier's policy: ours decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import InvalidValue
from ..policy import Parameters
from .base import ImportedDevice, Item, Rejected, fit, json_records, key_type, take

MODEL = "otp_totp.totpdevice"


def read(text: str, *, unsafe_short_keys: bool = False) -> list[Item]:
    """The devices in a JSON dump. Models of other packages are passed over, other kinds of device are named."""
    items: list[Item] = []
    try:
        records = json_records(text)
    finally:
        del text  # error trackers record the locals of a raising frame
    for record in records:
        model, fields = str(record.get("model")).lower(), record.get("fields")
        if model == MODEL and isinstance(fields, dict):
            items.append(_entry({**fields, "id": record.get("pk")}, unsafe_short_keys))
        elif model.startswith("otp_") and model.endswith("device"):
            reason = "HOTP: only time-based devices are assigned" if "hotp" in model else "this is no TOTP device"
            items.append(Rejected(where=f"{model} {record.get('pk')}", owner="", reason=reason))
    return items


def entries(rows: Iterable[Mapping[str, Any]], *, unsafe_short_keys: bool = False) -> list[Item]:
    """The same from rows, such as ``TOTPDevice.objects.values()`` gives, inside of Django."""
    return [_entry(row, unsafe_short_keys) for row in rows]


def _entry(row: Mapping[str, Any], unsafe_short_keys: bool) -> Item:
    where = f"totpdevice {row.get('id')}"
    owner = row.get("user_id", row.get("user"))
    if isinstance(owner, list) and len(owner) == 1:
        (owner,) = owner  # a natural key
    name = str(owner) if type(owner) in (int, str) else ""

    def build() -> ImportedDevice:
        take(row, "id", int)
        if not name:
            raise InvalidValue("user is missing, or is no single id")
        if not take(row, "confirmed", bool):
            raise InvalidValue("the device was not confirmed: it is assigned to nobody yet")
        parameters = Parameters(digits=take(row, "digits", int), period=take(row, "step", int), t0=take(row, "t0", int))
        tolerance = take(row, "tolerance", int, 1)
        return ImportedDevice(
            where=where, owner=name, source=f"django-otp: {where}", parameters=parameters,
            key=key_type(unsafe_short_keys)(_unhex(take(row, "key", str))),
            last_step=take(row, "last_t", int), drift=take(row, "drift", int),
            failures=take(row, "throttling_failure_count", int, 0),
            notes=() if tolerance == 1 else (f"tolerance was {tolerance}: the policy's window replaces it",),
        )

    return fit(where, name, build)


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InvalidValue("key is not hexadecimal") from None
