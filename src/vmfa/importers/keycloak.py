"""Import OTP credentials of Keycloak: a realm, or its users, as ``kc.sh export`` writes them.

The key is the text in ``secretData``, byte by byte, unless ``secretEncoding`` says ``BASE32``.
Keycloak exports no replay position. The owner is the id of the user, which is ``sub`` in tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from ..errors import InvalidValue
from ..keys import Key
from ..policy import Parameters
from .base import ImportedDevice, Item, Items, Rejected, UnreadableSource
from .reading import (
    HOTP,
    Record,
    Source,
    build_item,
    json_value,
    key_type,
    printable,
    rewound,
    take,
    take_number,
)

NOT_A_REALM: Final = "the source is not a realm or a list of users of Keycloak"
OTHER_CREDENTIALS: Final = ("webauthn", "webauthn-passwordless", "recovery-authn-codes")
_ALGORITHMS: Final = {"HmacSHA1": "sha1", "HmacSHA256": "sha256", "HmacSHA512": "sha512"}


def read(source: Source, *, unsafe_short_keys: bool = False) -> Items:
    """Return the OTP credentials of the users in an export, which is parsed as a whole.

    Recovery codes and security keys are rejected by name. Passwords are ignored.

    :param unsafe_short_keys: import keys below 128 bits, against RFC 4226.
    """
    item = partial(_item, unsafe_short_keys=unsafe_short_keys)
    return Items(lambda: filter(None, map(item, _credentials(rewound(source)))))


def _credentials(source: Source) -> Iterator[tuple[Record, int, Record]]:
    """Yield each credential with its user and its number."""
    for user in _users(json_value(source)):
        credentials = user.get("credentials") or ()
        if not isinstance(credentials, (list, tuple)):
            del user, credentials
            raise UnreadableSource(NOT_A_REALM)
        for number, credential in enumerate(credentials, 1):
            yield user, number, credential if isinstance(credential, dict) else {}


def _users(export: Any) -> list[Record]:
    realms = export if isinstance(export, list) else [export]
    users = [
        user
        for realm in realms
        if isinstance(realm, dict)
        for name in ("users", "federatedUsers")
        for user in _list(realm.get(name))
    ]
    valid = all(isinstance(realm, dict) for realm in realms)
    known = any("realm" in realm or "users" in realm for realm in realms if valid)
    if not (known and all(isinstance(user, dict) for user in users)):
        del export, realms, users
        raise UnreadableSource(NOT_A_REALM)
    return users


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [None]


def _item(
    credential_of_user: tuple[Record, int, Record], *, unsafe_short_keys: bool
) -> Item | None:
    user, number, credential = credential_of_user
    where = f"user {printable(user.get('username'))}, credential {number}"
    identifier = user.get("id")
    owner = identifier if isinstance(identifier, str) else ""
    kind = credential.get("type")
    if kind in OTHER_CREDENTIALS:
        return Rejected(
            where=where, owner=owner, reason=f"{kind} cannot be imported: only TOTP can"
        )
    if kind in ("totp", "hotp"):
        reason = "a credential of Keycloak before version 8: export it with a newer version"
        return Rejected(where=where, owner=owner, reason=reason)
    if kind != "otp":
        return None

    def build() -> ImportedDevice:
        if not owner:
            raise InvalidValue("the user has no id")
        if not take(user, "enabled", bool, True):
            raise InvalidValue("the user is not enabled")
        data, secret = _fields(credential, "credentialData"), _fields(credential, "secretData")
        if data.get("subType") == "hotp":
            raise InvalidValue(HOTP)
        if data.get("subType") != "totp":
            raise InvalidValue("subType must be totp")
        algorithm = _ALGORITHMS.get(take(data, "algorithm", str, "HmacSHA1"))
        if algorithm is None:
            raise InvalidValue("algorithm is not one of RFC 6238")
        return ImportedDevice(
            where=where,
            owner=owner,
            system=f"keycloak: {printable(user.get('username'))}",
            key=_key(data, take(secret, "value", str), key_type(unsafe_short_keys)),
            parameters=Parameters(
                algorithm=algorithm,
                digits=take_number(data, "digits", 6),
                period=take_number(data, "period", 30),
            ),
        )

    return build_item(where, owner, build)


def _fields(credential: Record, name: str) -> Record:
    """Return the JSON object in a field, which is text."""
    try:
        fields = json_value(take(credential, name, str))
    except UnreadableSource:
        fields = None
    if not isinstance(fields, dict):
        raise InvalidValue(f"{name} must be a JSON object in text")
    return fields


def _key(data: Record, value: str, kind: type[Key]) -> Key:
    encoding = data.get("secretEncoding")
    if encoding is None:
        return kind(_utf_8(value))
    if encoding != "BASE32":
        raise InvalidValue("secretEncoding must be BASE32, or missing")
    return kind.from_base32(value)


def _utf_8(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:  # a lone surrogate in the JSON
        del value
    raise InvalidValue("the value of secretData is not Unicode text")
