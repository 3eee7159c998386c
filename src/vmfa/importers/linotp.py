"""Import tokens of LinOTP: rows of its table ``Token``, with the keys decrypted.

The source is a CSV table or a JSON list with the columns of the table, and with ``otpkey``, the
key in hexadecimal digits, in place of the encrypted one. ``LinOtpCount`` is the replay position,
``timeShift`` gives the drift, and ``LinOtpFailCount`` counts failures in a row.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from ..errors import InvalidValue
from ..policy import Parameters
from .base import ImportedDevice, Item, Items, UnreadableSource
from .reading import (
    HOTP,
    Record,
    Source,
    build_item,
    check_known_fields,
    check_not_set,
    drift_of,
    hex_bytes,
    id_of,
    is_true,
    json_value,
    key_type,
    printable,
    table_records,
    take,
    take_number,
)

COLUMNS: Final = (
    "LinOtpTokenSerialnumber", "LinOtpTokenType", "LinOtpUserid", "LinOtpIdResClass",
    "LinOtpIdResolver", "LinOtpOtpLen", "LinOtpCount", "LinOtpFailCount", "LinOtpIsactive",
    "LinOtpTokenInfo", "otpkey",
)


def read(source: Source, *, unsafe_short_keys: bool = False) -> Items:
    """Return the TOTP tokens in a CSV table or a JSON list.

    :param unsafe_short_keys: import keys below 128 bits, against RFC 4226.
    """
    item = partial(_item, unsafe_short_keys=unsafe_short_keys)
    return Items(lambda: map(item, table_records(source)))


def _item(token: Record, *, unsafe_short_keys: bool) -> Item:
    serial = printable(token.get("LinOtpTokenSerialnumber"))
    where, owner = f"token {serial}", _owner(token)

    def build() -> ImportedDevice:
        check_known_fields(token, *COLUMNS)
        kind = take(token, "LinOtpTokenType", str).lower()
        if kind == "hmac":
            raise InvalidValue(HOTP)
        if kind != "totp":
            raise InvalidValue("not a TOTP token: only those can be imported")
        if not owner:
            raise InvalidValue(
                "the token is not assigned: LinOtpUserid and LinOtpIdResClass must be set"
            )
        if not is_true(token, "LinOtpIsactive"):
            raise InvalidValue("the token is not active")
        info = _info(take(token, "LinOtpTokenInfo", str, "{}"))
        check_not_set(info, "validity_period_start", "validity_period_end", "count_auth_max")
        period = take_number(info, "timeStep", 30)
        return ImportedDevice(
            where=where,
            owner=owner,
            system=f"linotp: {serial}",
            key=key_type(unsafe_short_keys)(hex_bytes("otpkey", take(token, "otpkey", str))),
            parameters=Parameters(
                algorithm=take(info, "hashlib", str, "sha1"),
                digits=take_number(token, "LinOtpOtpLen", 6),
                period=period,
            ),
            # It may be the step after the last one: then one more code is spent.
            last_step=take_number(token, "LinOtpCount", 0) or None,
            drift=drift_of(info, "timeShift", period),
            failures=take_number(token, "LinOtpFailCount", 0),
        )

    return build_item(where, owner, build)


def _owner(token: Record) -> str:
    """Return the user id and the resolver: two resolvers can have the same user id."""
    user, resolver = id_of(token, "LinOtpUserid"), id_of(token, "LinOtpIdResClass")
    return f"{user}@{resolver.rpartition('.')[2]}" if user and resolver else ""


def _info(text: str) -> dict[str, Any]:
    try:
        info = json_value(text or "{}")
    except UnreadableSource:
        info = None
    if not isinstance(info, dict):
        raise InvalidValue("LinOtpTokenInfo must be a JSON object")
    return info
