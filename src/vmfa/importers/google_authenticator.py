"""Import the file ``~/.google_authenticator`` of google-authenticator's PAM module: one device.

``DISALLOW_REUSE`` lists the steps whose codes were accepted, and ``TIME_SKEW`` is the drift in
steps: both are imported. The emergency scratch codes are not codes of the device.
"""

from __future__ import annotations

from typing import Final

from ..errors import InvalidValue
from ..policy import Parameters
from .base import ImportedDevice, Item
from .reading import HOTP, Source, build_item, key_type, numbered_lines, whole_number

OPTION: Final = '" '  # the beginning of an option line
NOT_IMPORTED: Final = ("WINDOW_SIZE", "RATE_LIMIT")


def read(source: Source, *, owner: str, unsafe_short_keys: bool = False) -> list[Item]:
    """Return the device in a file.

    :param owner: the user whose file this is. The file itself does not name them.
    :param unsafe_short_keys: import keys below 128 bits, against RFC 4226.
    """

    def build() -> ImportedDevice:
        secret, *rest = [line for _, line in numbered_lines(source)] or [""]
        options = dict(
            line[len(OPTION) :].partition(" ")[::2] for line in rest if line.startswith(OPTION)
        )
        if "HOTP_COUNTER" in options:
            raise InvalidValue(HOTP)
        if "TOTP_AUTH" not in options:
            raise InvalidValue("not a file of google-authenticator: it has no TOTP_AUTH line")
        scratch_codes = sum(not line.startswith(OPTION) for line in rest)
        notes = [
            f"{name} {options[name]} is not imported: the policy decides"
            for name in NOT_IMPORTED
            if name in options
        ]
        if scratch_codes:
            notes.append(f"{scratch_codes} scratch codes are not imported")
        return ImportedDevice(
            where="file",
            owner=owner,
            system=f"google-authenticator: {owner}",
            key=key_type(unsafe_short_keys).from_base32(secret),
            parameters=Parameters(period=_first(options, "STEP_SIZE", 30)),
            last_step=max(_numbers(options, "DISALLOW_REUSE"), default=None),
            drift=_first(options, "TIME_SKEW", 0),
            notes=tuple(notes),
        )

    return [build_item("file", owner, build)]


def _first(options: dict[str, str], name: str, default: int) -> int:
    return next(iter(_numbers(options, name)), default)


def _numbers(options: dict[str, str], name: str) -> list[int]:
    return [whole_number(name, word) for word in options.get(name, "").split()]
