"""Saved recovery codes and binding codes: one-time codes of 120 bits, stored as digests."""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from .keys import encode_fields
from .models import PrincipalId

CODE_BYTES: Final = 15  # 120 bits: 24 Base32 characters
GROUP: Final = 4
FREE_ATTEMPTS: Final = 10  # wrong recovery codes before one attempt an hour
RETRY_SECONDS: Final = 3600


def new_code(random: Callable[[int], bytes]) -> str:
    """Return a random code: six groups of four Base32 characters.

    :param random: a function that returns as many random bytes as its argument says.
    """
    # ASVS5-6.5.2, ASVS5-6.5.3, ASVS5-6.5.4
    text = b32encode(random(CODE_BYTES)).decode()
    return "-".join(text[i : i + GROUP] for i in range(0, len(text), GROUP))


def binding_digest(code: str) -> str:
    """Return the digest under which a binding code is stored."""
    return sha256(encode_fields("vmfa binding code v1", _normalized(code))).hexdigest()


def recovery_digest(principal: PrincipalId, serial: str, code: str) -> str:
    """Return the digest under which a recovery code of the device *serial* is stored."""
    return sha256(
        encode_fields(
            "vmfa recovery code v1", principal.account, principal.kind, principal.name, serial,
            _normalized(code),
        )
    ).hexdigest()


def matches_any(digest: str, digests: tuple[str, ...]) -> bool:
    """Return whether *digest* is one of *digests*. It is compared with every one of them."""
    matches = [same_text(other, digest) for other in digests]
    return any(matches)


def same_text(expected: str, presented: object) -> bool:
    """Return whether two texts are equal, in constant time. Anything but a str is different."""
    return isinstance(presented, str) and compare_digest(
        expected.encode(), presented.encode("utf-8", "replace")
    )


def _normalized(code: object) -> bytes:
    """Return *code* in upper case, without blanks and hyphens."""
    text = code if isinstance(code, str) else ""
    return "".join(text.split()).replace("-", "").upper().encode("utf-8", "replace")
