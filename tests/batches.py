"""Principals and parameters that the tests of the importers share."""

from __future__ import annotations

import pytest

from vmfa import InvalidValue, Parameters, PrincipalId

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


def refusal_of(**shape: object) -> str:
    """The message with which Parameters refuses *shape*."""
    with pytest.raises(InvalidValue) as caught:
        Parameters(**shape)
    return str(caught.value)
