"""Import TOTP devices of django-otp: the output of ``manage.py dumpdata``, or rows of the table.

``last_t`` is the step of the last accepted code, ``drift`` counts steps, and
``throttling_failure_count`` counts failures in a row: all three are imported. ``tolerance`` is
not, because the policy decides about the window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from ..errors import InvalidValue
from ..policy import Parameters
from .base import ImportedDevice, Item, Items, Rejected
from .reading import HOTP, Source, build_item, hex_bytes, json_records, key_type, printable, take

MODEL: Final = "otp_totp.totpdevice"


def read(source: Source, *, unsafe_short_keys: bool = False) -> Items:
    """Return the devices in the JSON of ``dumpdata``.

    Devices of other kinds are rejected by name, those of django-allauth included. Models that are
    not devices are ignored.

    :param unsafe_short_keys: import keys below 128 bits, against RFC 4226.
    """
    item = partial(_dumped, unsafe_short_keys=unsafe_short_keys)
    return Items(lambda: filter(None, map(item, json_records(source))))


def entries(
    rows: Iterable[Mapping[str, Any]], *, unsafe_short_keys: bool = False
) -> list[Item]:
    """Return the devices in rows, such as ``TOTPDevice.objects.values()`` inside Django."""
    return [_item(row, unsafe_short_keys) for row in rows]


def model_of(record: Mapping[str, Any]) -> str:
    """Return the model of a dumped record in lower case."""
    model = record.get("model")
    return model.lower() if isinstance(model, str) else ""


def user_of(fields: Mapping[str, Any]) -> str:
    """Return the user id or natural key of a row; empty if it is not a single id."""
    user = fields.get("user_id", fields.get("user"))
    if isinstance(user, list) and len(user) == 1:
        (user,) = user  # a natural key
    return str(user) if type(user) in (int, str) else ""


def other_device(record: Mapping[str, Any]) -> Rejected | None:
    """Name a device that has no importer; None if the record is not a device."""
    model = model_of(record)
    app, _, name = model.partition(".")
    is_device = app.startswith(("otp_", "two_factor")) and name.endswith("device")
    if model == "mfa.authenticator":
        reason = "a device of django-allauth: import the dump with the format django-allauth"
    elif model == MODEL:
        reason = "a device of django-otp: import the dump with the format django-otp"
    elif is_device or app == "mfa":
        reason = HOTP if "hotp" in name else "not a TOTP device: only those can be imported"
    else:
        return None
    fields = record.get("fields")
    owner = user_of(fields) if isinstance(fields, dict) else ""
    where = f"{printable(model)} {printable(record.get('pk'))}"
    return Rejected(where=where, owner=owner, reason=reason)


def _dumped(record: Mapping[str, Any], *, unsafe_short_keys: bool) -> Item | None:
    fields = record.get("fields")
    if model_of(record) == MODEL:
        if isinstance(fields, dict):
            return _item({**fields, "id": record.get("pk")}, unsafe_short_keys)
        where = f"totpdevice {printable(record.get('pk'))}"
        return Rejected(where=where, owner="", reason="fields is missing")
    return other_device(record)


def _item(row: Mapping[str, Any], unsafe_short_keys: bool) -> Item:
    where = f"totpdevice {printable(row.get('id'))}"
    owner = user_of(row)

    def build() -> ImportedDevice:
        take(row, "id", int)
        if not owner:
            raise InvalidValue("user is missing or is not a single id")
        if not take(row, "confirmed", bool):
            raise InvalidValue("the device was never confirmed, so it is not assigned to the user")
        tolerance = take(row, "tolerance", int, 1)
        note = f"tolerance {tolerance} is not imported: the policy decides"
        return ImportedDevice(
            where=where,
            owner=owner,
            system=f"django-otp: {where}",
            key=key_type(unsafe_short_keys)(hex_bytes("key", take(row, "key", str))),
            parameters=Parameters(
                digits=take(row, "digits", int),
                period=take(row, "step", int),
                t0=take(row, "t0", int),
            ),
            last_step=take(row, "last_t", int),
            drift=take(row, "drift", int),
            failures=take(row, "throttling_failure_count", int, 0),
            notes=() if tolerance == 1 else (note,),
        )

    return build_item(where, owner, build)
