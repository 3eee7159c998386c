"""An authenticator app for tests."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from math import floor

from ..errors import InvalidValue
from ..keys import Key, Opaque, reveal
from ..keyuri import parse
from ..policy import Parameters


class Account(Opaque):
    """One entry of an authenticator app: what the phone shows under ``label``."""

    __slots__ = ("_app", "_key", "label", "parameters")
    label: str
    parameters: Parameters
    _app: AuthenticatorApp
    _key: Key

    def __init__(self, app: AuthenticatorApp, label: str, key: Key, parameters: Parameters) -> None:
        super().__init__(_app=app, label=label, _key=key, parameters=parameters)

    @property
    def step(self) -> int:
        """The step of the code that is shown, by the phone's own clock."""
        return self.parameters.step_at(floor(self._app.now))

    @property
    def seconds_left(self) -> int:
        """Whole seconds, 1 to the period, until the next code is shown."""
        return self.parameters.period - floor(self._app.now) % self.parameters.period  # no URI carries another T0

    def code(self, steps_off: int = 0) -> str:
        """The code that is shown, or the one *steps_off* steps later (earlier, if negative).

        The arithmetic is the app's own, so that a mistake of ``vmfa.otp`` does not agree with itself.
        """
        shape = self.parameters
        mac = hmac.new(reveal(self._key), (self.step + steps_off).to_bytes(8, "big"), getattr(hashlib, shape.algorithm))
        value = int(mac.hexdigest(), 16)
        low = 8 * (mac.digest_size - 4 - value % 16)  # bits to the right of the four that the last half-byte names
        return f"{(value >> low) % 2**31 % 10**shape.digits:0{shape.digits}}"

    def two_codes(self, steps_off: int = 0) -> tuple[str, str]:
        """Two consecutive codes, as typed by somebody who waited for the second: it is the one shown now."""
        return self.code(steps_off - 1), self.code(steps_off)


class AuthenticatorApp:
    """A phone with an authenticator app: many accounts, and a clock of its own.

    :param clock: the true time, usually the registry's clock.
    :param skew: seconds by which the phone's clock is ahead; behind, if negative.
    :param drift: seconds that the phone's clock gains in a day.
    """

    def __init__(self, clock: Callable[[], float], *, skew: float = 0, drift: float = 0) -> None:
        self._clock = clock
        self._bought_at = clock()
        self.skew = skew
        self.drift = drift
        self._accounts: dict[str, Account] = {}

    @property
    def now(self) -> float:
        """The time on the phone."""
        true = self._clock()
        return true + self.skew + self.drift * (true - self._bought_at) / 86400

    @property
    def labels(self) -> list[str]:
        """What tells the accounts apart. A label that is taken already gets a number."""
        return list(self._accounts)

    def __getitem__(self, label: str) -> Account:
        return self._accounts[label]

    def scan(self, uri: str) -> Account:
        """Add the account of an ``otpauth://totp`` URI. :raises InvalidValue: this is none."""
        read = parse(uri)
        if read.type != "totp":
            raise InvalidValue("this app shows codes of time only")
        label = wanted = f"{read.issuer}:{read.label}" if read.issuer else read.label
        number = 1
        while label in self._accounts:
            number += 1
            label = f"{wanted} ({number})"
        account = self._accounts[label] = Account(self, label, read.key, read.parameters)
        return account

    def remove(self, label: str) -> None:
        """Delete an account from the phone. The verifier does not learn of it."""
        del self._accounts[label]
