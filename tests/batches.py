"""What the tests of the import share: whose entries are, and what the registry offers."""

from __future__ import annotations

from vmfa import Parameters, PrincipalId

ACCOUNT = "123456789012"
OFFERS = (
    Parameters(), Parameters(algorithm="sha256", digits=8, period=60), Parameters(digits=8),
    Parameters(period=60), Parameters(period=60, t0=30),
)


def user(name: str) -> PrincipalId:
    return PrincipalId.user(ACCOUNT, name)
