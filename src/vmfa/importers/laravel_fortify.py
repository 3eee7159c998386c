"""Import the users of a Laravel application with Fortify.

The source is a CSV table or a JSON list with the columns ``id``, ``two_factor_secret``
(decrypted) and ``two_factor_confirmed_at``. Fortify keeps used codes in the cache, so there is no
replay position.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

from ..errors import InvalidValue
from ..policy import Parameters
from .base import ImportedDevice, Item, Items
from .reading import (
    Decrypt,
    Record,
    Source,
    build_item,
    check_known_fields,
    decrypted,
    id_of,
    key_type,
    table_records,
    take,
)

ENCRYPTED: Final = "eyJ"  # '{"' in Base64, where an encrypted value of Laravel begins


def read(
    source: Source,
    *,
    unsafe_short_keys: bool = False,
    decrypt: Decrypt | None = None,
    parameters: Parameters | None = None,
) -> Items:
    """Return the devices in a CSV table or a JSON list.

    :param unsafe_short_keys: import keys below 128 bits, against RFC 4226.
    :param decrypt: a function that decrypts ``two_factor_secret``; None: it is not encrypted.
    :param parameters: the kind of the devices, if it is not the default of Fortify.
    """
    item = partial(
        _item, unsafe_short_keys=unsafe_short_keys, decrypt=decrypt, parameters=parameters
    )
    return Items(lambda: map(item, table_records(source)))


def entries(
    records: Iterable[Record],
    *,
    unsafe_short_keys: bool = False,
    decrypt: Decrypt | None = None,
    parameters: Parameters | None = None,
) -> list[Item]:
    """Return the devices in these records, which have the columns of the table."""
    return [
        _item(
            record, unsafe_short_keys=unsafe_short_keys, decrypt=decrypt, parameters=parameters
        )
        for record in records
    ]


def _item(
    record: Record,
    *,
    unsafe_short_keys: bool,
    decrypt: Decrypt | None,
    parameters: Parameters | None,
) -> Item:
    owner = id_of(record, "id")
    where = f"user {owner}"

    def build() -> ImportedDevice:
        check_known_fields(
            record, "id", "two_factor_secret", "two_factor_confirmed_at",
            "two_factor_recovery_codes",
        )
        if not owner:
            raise InvalidValue("id is missing or is not a number or text")
        secret = decrypted(take(record, "two_factor_secret", str), decrypt)
        if secret.startswith(ENCRYPTED):
            raise InvalidValue("two_factor_secret is encrypted: export it with decrypt()")
        if not record.get("two_factor_confirmed_at"):
            raise InvalidValue("the user never confirmed the device")
        has_codes = bool(record.get("two_factor_recovery_codes"))
        return ImportedDevice(
            where=where,
            owner=owner,
            system=f"laravel-fortify: {where}",
            key=key_type(unsafe_short_keys).from_base32(secret),
            parameters=parameters or Parameters(),
            notes=("the recovery codes are not imported",) if has_codes else (),
        )

    return build_item(where, owner, build)
