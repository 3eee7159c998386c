"""Import tokens of privacyIDEA: what ``pi-tokenjanitor find export`` writes.

The default format ``pi`` is encrypted with a key that the command prints; the package
``cryptography`` decrypts it (extra ``import``). ``count`` is the time step of the last accepted
code, ``timeShift`` gives the drift, and ``failcount`` counts failures in a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Final

from ..errors import InvalidValue, MissingExtra
from ..policy import Parameters
from .base import ImportedDevice, Item, Items, UnreadableSource
from .reading import (
    HOTP,
    Record,
    Source,
    build_item,
    check_not_set,
    document,
    drift_of,
    hex_bytes,
    json_records,
    key_type,
    printable,
    rewound,
    take,
    take_number,
)

try:
    from cryptography.fernet import Fernet, InvalidToken
except ImportError:
    raise MissingExtra(
        "exports of privacyIDEA need the extra import: pip install 'vmfa[import]'"
    ) from None

WRONG_KEY: Final = "the key of the export is missing or wrong, or the export is damaged"


def read(source: Source, *, unsafe_short_keys: bool = False, key: str = "") -> Items:
    """Return the TOTP tokens in an export.

    An encrypted export is read as a whole, a decrypted one (a JSON list) piece by piece.

    :param unsafe_short_keys: import keys below 128 bits, against RFC 4226.
    :param key: the key that the command printed; empty for a decrypted export.
    """
    cipher, is_encrypted = _cipher(key), key != ""
    del key  # error trackers record the locals of a raising frame
    if is_encrypted and cipher is None:
        raise UnreadableSource(WRONG_KEY)
    return Items(lambda: _items(rewound(source), unsafe_short_keys, cipher))


def _cipher(key: str) -> Fernet | None:
    try:
        return Fernet(key)
    except ValueError:
        return None


def entries(records: Iterable[Record], *, unsafe_short_keys: bool = False) -> list[Item]:
    """Return the tokens in these records, which have the fields of the export."""
    return [_item(record, unsafe_short_keys=unsafe_short_keys) for record in records]


def _items(source: Source, unsafe_short_keys: bool, cipher: Fernet | None) -> Iterator[Item]:
    records = json_records(_decrypted(source, cipher) if cipher else source)
    yield from map(partial(_item, unsafe_short_keys=unsafe_short_keys), records)


def _decrypted(source: Source, cipher: Fernet) -> str:
    text = document(source)
    try:
        return cipher.decrypt(text.strip().encode()).decode()
    except (InvalidToken, ValueError):
        del text
    raise UnreadableSource(WRONG_KEY)


def _item(token: Record, *, unsafe_short_keys: bool) -> Item:
    where = f"token {printable(token.get('serial'))}"
    owner = _owner(token.get("user"))

    def build() -> ImportedDevice:
        kind = take(token, "type", str).lower()
        if kind == "hotp":
            raise InvalidValue(HOTP)
        if kind != "totp":
            raise InvalidValue("not a TOTP token: only those can be imported")
        if not owner:
            raise InvalidValue("the token is not assigned to a user")
        if not take(token, "active", bool, True):
            raise InvalidValue("the token is not active")
        check_not_set(token, "revoked", "locked")
        info = take(token, "info_list", dict, {})
        check_not_set(info, "validity_period_start", "validity_period_end", "count_auth_max")
        period = take_number(info, "timeStep", 30)
        return ImportedDevice(
            where=where,
            owner=owner,
            system=f"privacyidea: {printable(token.get('serial'))}",
            key=key_type(unsafe_short_keys)(hex_bytes("otpkey", take(token, "otpkey", str))),
            parameters=Parameters(
                algorithm=take(info, "hashlib", str, "sha1"),
                digits=take_number(token, "otplen", 6),
                period=period,
            ),
            last_step=take_number(token, "count", 0) or None,
            drift=drift_of(info, "timeShift", period),
            failures=take_number(token, "failcount", 0),
            notes=("the PIN is not imported",) if token.get("_hashed_pin") else (),
        )

    return build_item(where, owner, build)


def _owner(user: object) -> str:
    """Return ``login@realm``: the same login in two realms is two persons."""
    if not isinstance(user, Mapping):
        return ""
    login, realm = user.get("login"), user.get("realm")
    return f"{login}@{realm}" if isinstance(login, str) and isinstance(realm, str) else ""
