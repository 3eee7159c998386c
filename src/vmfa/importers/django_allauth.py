"""Import TOTP authenticators of django-allauth: ``manage.py dumpdata mfa``, or rows of the table.

django-allauth uses SHA-1. The settings ``MFA_TOTP_DIGITS`` and ``MFA_TOTP_PERIOD`` apply to every
device. The used codes are in Django's cache and not in the table, so every code that the other
system can have accepted is spent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from ..errors import InvalidValue
from ..policy import Parameters
from .base import ImportedDevice, Item, Items, Rejected
from .django_otp import model_of, other_device, user_of
from .reading import (
    Decrypt,
    Source,
    build_item,
    decrypted,
    json_records,
    key_type,
    printable,
    take,
)

MODEL: Final = "mfa.authenticator"


def read(
    source: Source,
    *,
    unsafe_short_keys: bool = False,
    decrypt: Decrypt | None = None,
    parameters: Parameters | None = None,
) -> Items:
    """Return the devices in the JSON of ``dumpdata``.

    Recovery codes and security keys are rejected by name, and so are devices of django-otp.

    :param unsafe_short_keys: import keys below 128 bits, against RFC 4226.
    :param decrypt: the method ``decrypt`` of the project's MFA adapter; None: secrets are not
        encrypted.
    :param parameters: the digits and the period of the project's settings.
    """
    item = partial(
        _dumped, unsafe_short_keys=unsafe_short_keys, decrypt=decrypt, parameters=parameters
    )
    return Items(lambda: filter(None, map(item, json_records(source))))


def entries(
    rows: Iterable[Mapping[str, Any]],
    *,
    unsafe_short_keys: bool = False,
    decrypt: Decrypt | None = None,
    parameters: Parameters | None = None,
) -> list[Item]:
    """Return the devices in rows, such as ``Authenticator.objects.values()`` inside Django."""
    return [_item(row, unsafe_short_keys, decrypt, parameters) for row in rows]


def _dumped(
    record: Mapping[str, Any],
    *,
    unsafe_short_keys: bool,
    decrypt: Decrypt | None,
    parameters: Parameters | None,
) -> Item | None:
    if model_of(record) != MODEL:
        return other_device(record)
    fields = record.get("fields")
    row = {**fields, "id": record.get("pk")} if isinstance(fields, dict) else record
    return _item(row, unsafe_short_keys, decrypt, parameters)


def _item(
    row: Mapping[str, Any],
    unsafe_short_keys: bool,
    decrypt: Decrypt | None,
    parameters: Parameters | None,
) -> Item:
    where = f"authenticator {printable(row.get('id', row.get('pk')))}"
    owner = user_of(row)
    kind = row.get("type")
    if kind in ("recovery_codes", "webauthn"):
        reason = f"{kind} cannot be imported: only TOTP can"
        return Rejected(where=where, owner=owner, reason=reason)

    def build() -> ImportedDevice:
        if kind != "totp":
            raise InvalidValue("type must be totp")
        if not owner:
            raise InvalidValue("user is missing or is not a single id")
        secret = take(take(row, "data", dict), "secret", str)
        return ImportedDevice(
            where=where,
            owner=owner,
            system=f"django-allauth: {where}",
            key=key_type(unsafe_short_keys).from_base32(decrypted(secret, decrypt)),
            parameters=parameters or Parameters(),
        )

    return build_item(where, owner, build)
