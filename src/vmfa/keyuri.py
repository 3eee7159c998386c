"""``otpauth://`` key URIs: the way a key travels into an authenticator app."""

from __future__ import annotations

from .errors import InvalidValue
from .keys import Key, base32
from .model import check_text
from .policy import Parameters


def check_label(name: str, value: str) -> None:
    """An issuer or an account label: text without a colon, which separates the two."""
    check_text(name, value, longest=256)
    if ":" in value:
        raise InvalidValue(f"{name} holds a colon")


def build(*, issuer: str, label: str, key: Key, parameters: Parameters) -> str:
    """The URI of a TOTP device: issuer as prefix and parameter, blanks as ``%20``, defaults left out."""
    from urllib.parse import quote

    name, account = quote(issuer, safe=""), quote(label, safe="@")
    uri = f"otpauth://totp/{name}:{account}?secret={base32(key)}&issuer={name}"
    standard = Parameters()
    if parameters.algorithm != standard.algorithm:
        uri += f"&algorithm={parameters.algorithm.upper()}"
    if parameters.digits != standard.digits:
        uri += f"&digits={parameters.digits}"
    if parameters.period != standard.period:
        uri += f"&period={parameters.period}"
    return uri
