"""Import ``users.oath``, the file of OATH Toolkit's PAM module (``pam_oath``).

A line has a type such as ``HOTP/T30/6``, a user, a PIN, a key in hexadecimal digits and, after the
first sign-in, the distance of the last code in steps, the last code, and its time. These three
give the replay position and the drift. The time is local: import the file on the machine that
wrote it, or set ``TZ`` to its time zone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

from ..errors import InvalidValue
from ..keys import Key
from ..otp import hotp
from ..policy import Parameters
from .base import ImportedDevice, Item, Items
from .reading import HOTP, Source, build_item, hex_bytes, key_type, numbered_lines, whole_number

TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%SL"
NO_POSITION: Final = (
    "the last code does not belong to its time, so all codes up to now are spent: check TZ"
)
_TYPE: Final = re.compile(r"HOTP(?:/(E|T[1-9][0-9]{0,4}))?(?:/([0-9]))?")


def read(source: Source, *, unsafe_short_keys: bool = False) -> Items:
    """Return the devices in a file.

    :param unsafe_short_keys: import keys below 128 bits, against RFC 4226.
    """
    item = partial(_item, unsafe_short_keys=unsafe_short_keys)
    return Items(lambda: map(item, numbered_lines(source)))


def _item(numbered_line: tuple[int, str], *, unsafe_short_keys: bool) -> Item:
    number, line = numbered_line
    where = f"line {number}"
    kind, user, pin, secret, *state = (*line.split(), "", "", "", "")[: max(4, len(line.split()))]

    def build() -> ImportedDevice:
        if not secret or len(state) not in (0, 3):
            raise InvalidValue("a line must have 4 or 7 fields: type, user, PIN, key and state")
        parameters = _parameters(kind)
        key = key_type(unsafe_short_keys)(hex_bytes("the key", secret))
        notes = [] if pin == "-" else ["the PIN is not imported"]
        last_step, drift = _position(key, parameters, state) if state else (None, 0)
        if state and last_step is None:
            notes.append(NO_POSITION)
        return ImportedDevice(
            where=where,
            owner=user,
            system=f"oath-toolkit: {user}",
            key=key,
            parameters=parameters,
            last_step=last_step,
            drift=drift,
            notes=tuple(notes),
        )

    return build_item(where, user, build)


def _parameters(kind: str) -> Parameters:
    match = _TYPE.fullmatch(kind)
    if match is None:
        raise InvalidValue("the type must be HOTP/T30 or HOTP/T60, with the number of digits")
    period, digits = match.groups("")
    if not period.startswith("T"):
        raise InvalidValue(HOTP)
    return Parameters(digits=int(digits or 6), period=int(period[1:]))


def _position(key: Key, parameters: Parameters, state: Sequence[str]) -> tuple[int | None, int]:
    """Return the time step of the last code, and how far it was from the time of its use.

    The file does not say whether the code was early or late, so both are tried, and so is the
    step before: the code was checked shortly before its time was written.
    """
    distance = whole_number("the distance", state[0])
    code, written = state[1:]
    try:
        moment = datetime.strptime(written, TIME_FORMAT)  # local, as written
        times = {int(moment.replace(fold=fold).timestamp()) for fold in (0, 1)}
    except (ValueError, OverflowError, OSError):
        raise InvalidValue("the time must be local, such as 2026-01-31T23:59:59L") from None
    found = [
        (step, step - used)
        for used in (parameters.step_at(time) - before for time in times for before in (0, 1))
        for step in (used + distance, used - distance)
        if step >= 0
        and code == hotp(key, step, digits=parameters.digits, algorithm=parameters.algorithm)
    ]
    return max(found, default=(None, 0), key=lambda match: match[0] or 0)
