"""Adapters of libraries without a database: pyotp and libpass, as their documentation uses them.

    vmfa conformance run --python docs/examples/conformance/libraries.py:pyotp_adapter
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pyotp
from passlib import exc
from passlib.totp import TOTP

from vmfa.conformance import Answer, FunctionAdapter, Result

OK = Answer(result=Result.ACCEPTED)


def pyotp_adapter() -> FunctionAdapter:
    """Return an adapter of ``pyotp.TOTP(secret).verify(code)``."""
    return FunctionAdapter(
        lambda secret, code, now: pyotp.TOTP(secret).verify(code, for_time=now),
        name="pyotp",
        version=version("pyotp"),
    )


class LibpassAdapter(FunctionAdapter):
    """``TOTP.verify`` of libpass, with the last counter stored as its documentation says.

    Calls at the same time are left out: the storage is a matter of the application.
    """

    capabilities = FunctionAdapter.capabilities - {"parallel"}

    def __init__(self) -> None:
        super().__init__(self._check, name="libpass", version=version("libpass"))
        self._factory: Any = TOTP.using()
        self._last_counters: dict[str, int] = {}

    def reset(self) -> Answer:
        self._last_counters.clear()
        return super().reset()

    def _check(self, secret: str, code: str, now: int) -> bool:
        try:
            match = self._factory.verify(
                code, self._factory(key=secret, format="base32"), time=now,
                last_counter=self._last_counters.get(secret),
            )
        except exc.TokenError:
            return False
        self._last_counters[secret] = match.counter
        return True
