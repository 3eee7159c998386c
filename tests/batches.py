"""What the tests of importers share: the account, users, items, offers, errors of the core."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from vmfa import Actor, InvalidType, InvalidValue, Key, Parameters, PrincipalId
from vmfa.importers.base import ImportedDevice, Item, Outcome, Rejected

ACCOUNT = "123456789012"
OFFERS = (
    Parameters(),
    Parameters(algorithm="sha256", digits=8, period=60),
    Parameters(digits=8),
    Parameters(period=60),
    Parameters(period=60, t0=30),
)


SERVICE = Actor.trusted_service("import")
KEYS = [Key(f"the key of number {number}".encode()) for number in range(4)]


def device(number: int = 0, **changes: object) -> ImportedDevice:
    item = ImportedDevice(
        where=f"line {number}", owner=f"u-{number}", system=f"test: u-{number}", key=KEYS[number],
        parameters=Parameters(),
    )
    return replace(item, **changes)


def statuses(outcomes: Iterable[Outcome]) -> list[str]:
    return [outcome.status.value for outcome in outcomes]


def peak_memory(call: Callable[[], object]) -> int:
    """Return how many bytes *call* needs at most."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


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


def reasons(items: Iterable[Item]) -> dict[str, str]:
    """Return why each rejected item was rejected, by its owner or else its place."""
    return {
        item.owner or item.where: item.reason for item in items if isinstance(item, Rejected)
    }
