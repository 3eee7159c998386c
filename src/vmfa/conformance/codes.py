"""The test keys, the codes of a device, and the ways in which a case writes a code.

The codes are computed here and not with ``vmfa.otp``, so that the kit does not share a mistake
with a system that uses it.
"""

from __future__ import annotations

import hmac
from base64 import b32decode, b32encode, b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from ..errors import InvalidValue

__all__ = ["FORMS", "START", "TEST_KEYS", "Device"]

START: Final = 1_700_000_010  # the first second of a step of 30 seconds
NEAR: Final = 40  # steps before and after the present one whose codes are not wrong codes

TEST_KEYS: Final[Mapping[str, bytes]] = {
    "rfc-sha1": b"12345678901234567890",
    "rfc-sha256": b"12345678901234567890123456789012",
    "rfc-sha512": b"1234567890123456789012345678901234567890123456789012345678901234",
    "one": b"vmfa conformance #1.",
    "two": b"vmfa conformance #2.",
    "three": b"vmfa conformance #3.",
}
"""The keys of the test accounts. They are public: use them for nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device as the kit knows it.

    :param key: the bytes of the key.
    :param algorithm: "sha1", "sha256" or "sha512".
    :param digits: the length of a code.
    :param period: the length of a step, in seconds.
    :param t0: the Unix time at which the steps begin, in seconds.
    """

    key: bytes
    algorithm: str = "sha1"
    digits: int = 6
    period: int = 30
    t0: int = 0

    @classmethod
    def from_secret(cls, secret: str, **parameters: Any) -> Device:
        """Return the device with a key in Base32, as a system returns it.

        :raises InvalidValue: *secret* is not Base32.
        """
        text = secret.replace(" ", "").rstrip("=").upper()
        try:
            return cls(key=b32decode(text + "=" * (-len(text) % 8)), **parameters)
        except ValueError:
            raise InvalidValue("the key that the system returned is not Base32") from None

    @property
    def secret(self) -> str:
        """The key in Base32, without padding."""
        return b32encode(self.key).decode().rstrip("=")

    def step(self, now: int) -> int:
        """Return the step of the Unix time *now*."""
        return (now - self.t0) // self.period

    def code(self, counter: int) -> str:
        """Return the code of a step or counter; RFC 4226 section 5.3."""
        message = (counter % 2**64).to_bytes(8, "big")
        mac = hmac.new(self.key, message, self.algorithm).digest()
        offset = mac[-1] & 15
        value = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFF_FFFF
        return str(value % 10**self.digits).zfill(self.digits)

    def wrong_codes(self, now: int) -> Iterator[str]:
        """Yield the codes that the device shows at no step near the Unix time *now*."""
        near = _codes_near(self, self.step(now))
        for number in range(10**self.digits):
            code = str(number * 7919 % 10**self.digits).zfill(self.digits)
            if code not in near:
                yield code

    def spellings(self) -> Mapping[str, str]:
        """Return how the key may be written in an answer, a log or a row."""
        return {
            "Base32": self.secret,
            "hexadecimal": self.key.hex(),
            "raw bytes": self.key.decode("latin-1"),
            "Base64": b64encode(self.key).decode().rstrip("="),
        }


@lru_cache
def _codes_near(device: Device, step: int) -> frozenset[str]:
    return frozenset(device.code(step + offset) for offset in range(-NEAR, NEAR + 1))


def _translated(zero: str) -> Callable[[str], object]:
    return lambda code: "".join(chr(ord(zero) + int(digit)) for digit in code)


FORMS: Final[Mapping[str, Callable[[str], object]]] = {
    "plain": lambda code: code,
    "spaces around": lambda code: f"  {code} ",
    "newline": lambda code: f"{code}\n",
    "space in the middle": lambda code: f"{code[:3]} {code[3:]}",
    "hyphen in the middle": lambda code: f"{code[:3]}-{code[3:]}",
    "plus sign": lambda code: f"+{code}",
    "underscore": lambda code: f"{code[:3]}_{code[3:]}",
    "zero in front": lambda code: f"0{code}",
    "leading zeros removed": lambda code: code.lstrip("0"),
    "fraction": lambda code: f"{code}.0",
    "full-width digits": _translated("０"),  # noqa: RUF001  # the character is the point
    "Arabic-Indic digits": _translated("٠"),  # noqa: RUF001
    "NUL at the end": lambda code: f"{code}\0",
    "a hundred thousand digits": lambda code: code + "0" * 100_000,
    "empty": lambda _code: "",
    "one digit less": lambda code: code[:-1],
    "number": int,
    "number with a fraction": lambda code: int(code) + 0.7,
    "list": lambda code: [code],
    "object": lambda code: {"code": code},
    "null": lambda _code: None,
    "true": lambda _code: True,
    "SQL": lambda code: f"{code}' OR '1'='1",
}
"""The ways in which a case writes a code, by name."""
