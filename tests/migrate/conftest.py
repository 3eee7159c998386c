"""A registry that takes imported keys, and a batch run over it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from batches import ACCOUNT, OFFERS
from vmfa import Actor, DerivedKeys, DeviceRegistry, MemoryStore, Policy, Store
from vmfa.importers.base import Item, Outcome, Principals, adopt_all
from vmfa.keysources.sealed import SealedKeys

Import = Callable[..., list[Outcome]]


@pytest.fixture
def registry_over(keys: DerivedKeys, clock) -> Callable[[Store], DeviceRegistry]:
    imported_keys, policy = SealedKeys(bytes(range(50, 82))), Policy(offers=OFFERS)
    return lambda store: DeviceRegistry(
        store, keys=keys, imported_keys=imported_keys, issuer="Example", clock=clock, policy=policy
    )


@pytest.fixture
def registry(registry_over: Callable[[Store], DeviceRegistry], store: MemoryStore) -> DeviceRegistry:
    return registry_over(store)


@pytest.fixture
def importing(registry: DeviceRegistry) -> Import:
    """Adopt items, by a trusted service, as users of the account unless *principals* says otherwise."""

    def run(items: list[Item], principals: Principals | None = None) -> list[Outcome]:
        principals = principals or Principals(account=ACCOUNT)
        return list(adopt_all(registry, items, by=Actor.trusted_service("import"), principals=principals))

    return run

