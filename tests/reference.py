"""A second implementation of HOTP, slow and by the letter of the RFCs, and the test vectors."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ALGORITHMS = ("sha1", "sha256", "sha512")


def vectors(name: str) -> Any:
    """Load tests/vectors/*name*.json."""
    return json.loads((Path(__file__).parent / "vectors" / f"{name}.json").read_text("utf-8"))


def reference_truncate(mac: bytes) -> int:
    """RFC4226-5.3-DT: the last byte of any hash has the offset."""
    offset = mac[-1] % 16
    p = sum(mac[offset + place] * 256 ** (3 - place) for place in range(4))
    return p % 2**31


def reference_hotp(key: bytes, counter: int, digits: int = 6, algorithm: str = "sha1") -> str:
    message = b"".join(bytes([counter // 256**place % 256]) for place in range(7, -1, -1))
    number = reference_truncate(hmac.digest(key, message, algorithm)) % 10**digits
    return "".join(str(number // 10**place % 10) for place in range(digits - 1, -1, -1))


def reference_matches(
    key: bytes, code: str, counters: Iterable[int], digits: int = 6, algorithm: str = "sha1"
) -> list[int]:
    """Every one of *counters* that has this code."""
    return [
        counter
        for counter in counters
        if 0 <= counter < 2**64 and reference_hotp(key, counter, digits, algorithm) == code
    ]
