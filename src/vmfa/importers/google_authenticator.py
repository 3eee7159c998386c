"""The file of google-authenticator's PAM module, ``~/.google_authenticator``: one file, one device.

The steps that ``DISALLOW_REUSE`` lists were accepted and ``TIME_SKEW`` counts steps as our drift does: both
are kept. Emergency scratch codes are no device's codes and are left behind.
"""

from __future__ import annotations

from ..errors import InvalidValue
from ..policy import Parameters
from .base import ImportedDevice, Item, fit, key_type

OPTION = '" '  # how the program marks the lines that are options


def read(text: str, *, owner: str, unsafe_short_keys: bool = False) -> list[Item]:
    """The one entry of the file *text*, which belongs to *owner*."""

    def build() -> ImportedDevice:
        secret, _, more = text.strip().partition("\n")
        rest = more.splitlines()
        options = dict(line[len(OPTION) :].partition(" ")[::2] for line in rest if line.startswith(OPTION))
        if "TOTP_AUTH" not in options:
            raise InvalidValue("HOTP: only time-based devices are assigned")
        used = _numbers(options, "DISALLOW_REUSE")
        scratch = sum(not line.startswith(OPTION) for line in rest)
        return ImportedDevice(
            where="file", owner=owner, source=f"google-authenticator: {owner}",
            key=key_type(unsafe_short_keys).from_base32(secret),
            parameters=Parameters(period=_one(options, "STEP_SIZE", 30)),
            last_step=max(used, default=None), drift=_one(options, "TIME_SKEW", 0),
            notes=(f"{scratch} scratch codes are not taken over",) if scratch else (),
        )

    return [fit("file", owner, build)]


def _one(options: dict[str, str], name: str, default: int) -> int:
    return next(iter(_numbers(options, name)), default)


def _numbers(options: dict[str, str], name: str) -> list[int]:
    words = options.get(name, "").split()
    if not all(word.isascii() and word.removeprefix("-").isdigit() and len(word) <= 20 for word in words):
        raise InvalidValue(f"{name} has whole numbers")
    return [int(word) for word in words]
