"""Import PSKC files (RFC 6030), which vendors of tokens and several servers write.

The package python-pskc reads them (extra ``import``), encrypted ones too. The owner of a key is
its ``UserId``, or that of its device; a file of a vendor has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Final

from ..errors import InvalidValue, MissingExtra
from ..policy import Parameters
from .base import ImportedDevice, Item, Items, UnreadableSource
from .reading import HOTP, Source, build_item, document, hex_bytes, key_type, printable, rewound

try:
    from pskc import PSKC
    from pskc.exceptions import PSKCError
except ImportError:
    raise MissingExtra("PSKC files need the extra import: pip install 'vmfa[import]'") from None

if TYPE_CHECKING:
    from pskc.key import Key as PskcKey

TOTP: Final = "urn:ietf:params:xml:ns:keyprov:pskc:totp"
HOTP_ALGORITHM: Final = "urn:ietf:params:xml:ns:keyprov:pskc:hotp"
MAX_ITERATIONS: Final = 10_000_000  # of the derivation of the key from the password
NOT_PSKC: Final = "the source is not a PSKC file (RFC 6030)"
NO_OWNER: Final = (
    "UserId is missing, so the owner is not known: import with the serial number as the owner and"
    " a map from serial numbers to users"
)
_ALGORITHMS: Final = {
    "": "sha1", "HMACSHA1": "sha1", "SHA1": "sha1", "HMACSHA256": "sha256", "SHA256": "sha256",
    "HMACSHA512": "sha512", "SHA512": "sha512",
}
_FORBIDDEN: Final = re.compile(
    r"<!DOCTYPE|<!ENTITY|^<\?xml[^>]*encoding=(?![\"']utf-?8[\"'])", re.IGNORECASE
)


def read(
    source: Source,
    *,
    unsafe_short_keys: bool = False,
    key: str = "",
    password: str = "",
    owner_is_serial: bool = False,
) -> Items:
    """Return the keys in a PSKC file, which is parsed as a whole.

    :param unsafe_short_keys: import keys below 128 bits, against RFC 4226.
    :param key: the key that encrypts the file, in hexadecimal digits.
    :param password: the password from which the key that encrypts the file is derived.
    :param owner_is_serial: the owner is the serial number of the device, and not ``UserId``.
    """
    protection = _Protection(key, password)
    del key, password  # error trackers record the locals of a raising frame
    return Items(
        lambda: _items(rewound(source), unsafe_short_keys, protection, owner_is_serial)
    )


def _items(
    source: Source, unsafe_short_keys: bool, protection: _Protection, owner_is_serial: bool
) -> Iterator[Item]:
    container = _parsed(source)
    protection.unlock(container)
    item = partial(
        _item, unsafe_short_keys=unsafe_short_keys, owner_is_serial=owner_is_serial
    )
    yield from map(item, enumerate(container.keys, 1))


def _parsed(source: Source) -> PSKC:
    text = document(source)
    problem = "the source declares XML entities or an encoding other than UTF-8"
    if not _FORBIDDEN.search(text):
        problem = NOT_PSKC
        try:
            return PSKC(BytesIO(text.encode()))
        except Exception:  # noqa: BLE001, S110  # of the XML parsers, with the text in it
            pass
    del text
    raise UnreadableSource(problem)


class _Protection:
    """What decrypts a file: a key, a password, or nothing."""

    __slots__ = ("_key", "_password")

    def __init__(self, key: str, password: str) -> None:
        self._key = hex_bytes("the key of the PSKC file", key) if key else None
        self._password = password

    def unlock(self, container: PSKC) -> None:
        """Give the key to the container, and check that it decrypts the first secret."""
        problem = f"the password is derived with more than {MAX_ITERATIONS} iterations"
        if (container.encryption.derivation.pbkdf2_iterations or 0) <= MAX_ITERATIONS:
            problem = "the key or the password of the PSKC file is missing or wrong"
            try:
                if self._key:
                    container.encryption.key = self._key
                elif self._password:
                    container.encryption.derive_key(self._password)
                _ = [first.secret for first in container.keys[:1]]
                return
            except (PSKCError, ValueError, TypeError):
                pass  # raised below, without the frames that contain the key
        raise UnreadableSource(problem)


def _item(
    numbered_key: tuple[int, PskcKey], *, unsafe_short_keys: bool, owner_is_serial: bool
) -> Item:
    number, entry = numbered_key
    where = f"key {number}, serial number {printable(entry.serial)}"
    users = {user for user in (entry.key_userid, entry.device_userid) if user}
    owner = (entry.serial if owner_is_serial else "".join(users) if len(users) == 1 else "") or ""

    def build() -> ImportedDevice:
        if entry.algorithm == HOTP_ALGORITHM:
            raise InvalidValue(HOTP)
        if entry.algorithm != TOTP:
            raise InvalidValue("the algorithm of the key must be TOTP")
        if not owner:
            raise InvalidValue(NO_OWNER if len(users) < 2 else "key and device have other users")
        _check_policy(entry)
        try:
            secret, drift, time, period = (
                entry.secret, entry.time_drift, entry.time_offset, entry.time_interval
            )
        except (PSKCError, ValueError, TypeError):
            raise InvalidValue("a value cannot be decrypted, or its MAC is wrong") from None
        if not secret:
            raise InvalidValue("the secret is missing")
        if time:
            raise InvalidValue("Time is not 0: the library has no such offset")
        suite = (entry.algorithm_suite or "").upper().replace("-", "").replace("_", "")
        algorithm = _ALGORITHMS.get(suite)
        if algorithm is None:
            raise InvalidValue("Suite is not one of the hashes of RFC 6238")
        return ImportedDevice(
            where=where,
            owner=owner,
            system=f"pskc: {printable(entry.serial)}",
            key=key_type(unsafe_short_keys)(bytes(secret)),
            parameters=Parameters(
                algorithm=algorithm, digits=entry.response_length or 6, period=period or 30
            ),
            drift=drift or 0,
        )

    return build_item(where, owner, build)


def _check_policy(entry: PskcKey) -> None:
    """Refuse what limits the use of a key in a way that the library cannot keep (RFC 6030, 5)."""
    policy = entry.policy
    if policy.unknown_policy_elements or policy.start_date or policy.expiry_date:
        raise InvalidValue("the policy of the key has limits that the library does not have")
    if policy.pin_usage or policy.number_of_transactions:
        raise InvalidValue("the policy of the key needs a PIN or limits the number of codes")
    if (entry.response_encoding or "DECIMAL").upper() != "DECIMAL":
        raise InvalidValue("the codes of the key are not decimal")
    if entry.response_check:
        raise InvalidValue("the codes of the key have a check digit")
