"""Import the users of a Rails application with devise-two-factor.

The source is a CSV table or a JSON list with the columns ``id``, ``otp_secret`` (decrypted),
``consumed_timestep`` and ``otp_required_for_login``. devise-two-factor uses SHA-1, 6 digits and 30
seconds, unless the application says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

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
    is_true,
    key_type,
    table_records,
    take,
    take_number,
)


def read(
    source: Source,
    *,
    unsafe_short_keys: bool = False,
    decrypt: Decrypt | None = None,
    parameters: Parameters | None = None,
) -> Items:
    """Return the devices in a CSV table or a JSON list.

    :param unsafe_short_keys: import keys below 128 bits, against RFC 4226.
    :param decrypt: a function that decrypts ``otp_secret``; None: it is not encrypted.
    :param parameters: the digits and the period of the application.
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
            record, "id", "otp_secret", "consumed_timestep", "otp_required_for_login"
        )
        if not owner:
            raise InvalidValue("id is missing or is not a number or text")
        if not is_true(record, "otp_required_for_login"):
            raise InvalidValue("otp_required_for_login is false: the user does not use it")
        secret = decrypted(take(record, "otp_secret", str), decrypt)
        if secret.startswith("{"):
            raise InvalidValue("otp_secret is encrypted: read it with User.find(id).otp_secret")
        consumed = take_number(record, "consumed_timestep", -1)
        return ImportedDevice(
            where=where,
            owner=owner,
            system=f"devise-two-factor: {where}",
            key=key_type(unsafe_short_keys).from_base32(secret),
            parameters=parameters or Parameters(),
            # Before version 5 it is the step of the clock, and the code can be one step ahead.
            last_step=consumed + 1 if consumed >= 0 else None,
        )

    return build_item(where, owner, build)
