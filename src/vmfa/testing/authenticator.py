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
    """One account in an authenticator app. ``label`` is its name in the app.

    :class:`AuthenticatorApp` creates accounts, with ``scan()`` or ``add()``.
    """

    __slots__ = ("app", "key", "label", "parameters")
    app: AuthenticatorApp
    key: Key
    label: str
    parameters: Parameters

    def __init__(
        self, app: AuthenticatorApp, label: str, key: Key, parameters: Parameters
    ) -> None:
        super().__init__(app=app, label=label, key=key, parameters=parameters)

    @property
    def step(self) -> int:
        """The time step of the present code, by the clock of the phone."""
        return self.parameters.step_at(floor(self.app.now))

    @property
    def seconds_left(self) -> int:
        """The whole seconds until the next code, from 1 to the period."""
        period = self.parameters.period
        return period - (floor(self.app.now) - self.parameters.t0) % period

    def code(self, steps_off: int = 0) -> str:
        """Return the code of the present step, or of another one.

        The app has its own computation, so that a test can find a fault in ``vmfa.otp``.

        :param steps_off: the number of steps after the present one; negative: before it.
        """
        parameters = self.parameters
        counter = (self.step + steps_off).to_bytes(8, "big")
        mac = hmac.new(reveal(self.key), counter, getattr(hashlib, parameters.algorithm))
        value = int(mac.hexdigest(), 16)
        # RFC 4226 section 5.3: the last four bits are the offset of the 31 bits, in bytes.
        bits_to_drop = 8 * (mac.digest_size - 4 - value % 16)
        digits = parameters.digits
        return f"{(value >> bits_to_drop) % 2**31 % 10**digits:0{digits}}"

    def two_codes(self, steps_off: int = 0) -> tuple[str, str]:
        """Return two consecutive codes: the previous one and the present one.

        So a test need not wait: it is as if the user had typed the first code and waited for the
        second. Both are used after an enrollment. The next code that is accepted is
        ``code(+1)``, or ``code()`` after the clock moved by a period.

        :param steps_off: the number of steps of the *second* code after the present one.
        """
        return self.code(steps_off - 1), self.code(steps_off)

    def pair(self, steps_off: int = 0) -> dict[str, str]:
        """Return the same two codes as keyword arguments: ``**account.pair()``.

        :returns: ``code1`` and ``code2``, for ``confirm_enrollment`` and ``resync``.
        """
        code1, code2 = self.two_codes(steps_off)
        return {"code1": code1, "code2": code2}

    def wrong_code(self, steps: int = 110) -> str:
        """Return a code that this account shows at no step near the present one.

        :param steps: how many steps before and after the present one count as near.
        """
        shown = {self.code(off) for off in range(-min(steps, self.step), steps + 1)}
        digits = self.parameters.digits
        return next(code for n in range(len(shown) + 1) if (code := f"{n:0{digits}}") not in shown)


class AuthenticatorApp:
    """A phone with an authenticator app. It has accounts and its own clock.

    :meth:`scan` adds an account and returns it; the account shows the codes.

    :param clock: a function that returns the true time, usually the clock of the registry.
    :param skew: how many seconds the clock of the phone is ahead; negative: behind.
    :param drift: how many seconds the clock of the phone gains per day.
    """

    def __init__(
        self, clock: Callable[[], float], *, skew: float = 0, drift: float = 0
    ) -> None:
        self._clock = clock
        self._started_at = clock()
        self.skew = skew
        self.drift = drift
        self._accounts: dict[str, Account] = {}

    @property
    def now(self) -> float:
        """The Unix time on the phone, in seconds."""
        true_time = self._clock()
        days = (true_time - self._started_at) / 86400
        return true_time + self.skew + self.drift * days

    @property
    def labels(self) -> list[str]:
        """The labels of the accounts. A label that is taken gets a number: ``alice (2)``."""
        return list(self._accounts)

    def __getitem__(self, label: str) -> Account:
        """Return the account with this label.

        :raises KeyError: no account has this label.
        """
        return self._accounts[label]

    def scan(self, uri: str) -> Account:
        """Add the account of an ``otpauth://totp`` URI, as the camera of a phone does.

        :returns: the new account.
        :raises InvalidValue: the text is not a key URI, or not one of a time-based device.
        """
        key_uri = parse(uri)
        if key_uri.type != "totp":
            raise InvalidValue("this app shows only time-based codes: scan an otpauth://totp URI")
        label = f"{key_uri.issuer}:{key_uri.label}" if key_uri.issuer else key_uri.label
        return self.add(key_uri.key, key_uri.parameters, label=label)

    def add(
        self, key: Key, parameters: Parameters | None = None, *, label: str = "account"
    ) -> Account:
        """Add an account without a URI, for example one with a T0 that no URI can carry.

        :param key: the key of the account.
        :param parameters: the parameters of its codes; ``Parameters()`` by default.
        :param label: the name in the app.
        :returns: the new account.
        """
        original, number = label, 1
        while label in self._accounts:
            number += 1
            label = f"{original} ({number})"
        account = Account(self, label, key, parameters or Parameters())
        self._accounts[label] = account
        return account

    def code(self, steps_off: int = 0) -> str:
        """Return :meth:`Account.code` of the only account on the phone.

        :raises InvalidValue: the phone has no account, or several.
        """
        return self._only_account().code(steps_off)

    def two_codes(self, steps_off: int = 0) -> tuple[str, str]:
        """Return :meth:`Account.two_codes` of the only account on the phone.

        :raises InvalidValue: the phone has no account, or several.
        """
        return self._only_account().two_codes(steps_off)

    def _only_account(self) -> Account:
        if not self._accounts:
            raise InvalidValue("the phone has no account: call scan() with a key URI first")
        if len(self._accounts) > 1:
            raise InvalidValue("the phone has several accounts: choose one with app[label]")
        return next(iter(self._accounts.values()))

    def remove(self, label: str) -> None:
        """Delete an account from the phone. The verifier does not learn of it.

        :raises KeyError: no account has this label.
        """
        del self._accounts[label]
