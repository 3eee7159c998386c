"""What the tests of importers share: the account, the users, the offers, errors of the core."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vmfa import InvalidType, InvalidValue, Parameters, PrincipalId

ACCOUNT = "123456789012"
OFFERS = (
    Parameters(),
    Parameters(algorithm="sha256", digits=8, period=60),
    Parameters(digits=8),
    Parameters(period=60),
    Parameters(period=60, t0=30),
)


def user(name: str) -> PrincipalId:
    return PrincipalId.user(ACCOUNT, name)


def error_of(call: Callable[[], object]) -> str:
    """Return the text of the error that the core raises for a value."""
    with pytest.raises((InvalidValue, InvalidType)) as caught:
        call()
    return str(caught.value)


def refusal_of(**values: object) -> str:
    """Return what the core says of impossible parameters."""
    return error_of(lambda: Parameters(**values))
