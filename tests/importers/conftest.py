"""A registry that accepts imported keys, and a batch that runs over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

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
def registry(
    registry_over: Callable[[Store], DeviceRegistry], store: MemoryStore
) -> DeviceRegistry:
    return registry_over(store)


@pytest.fixture
def run_import(registry: DeviceRegistry) -> Import:
    """Adopt items as a trusted service; the owners are users of the account by default."""

    def run(items: Iterable[Item], principals: Principals | None = None) -> list[Outcome]:
        principals = principals or Principals(account=ACCOUNT)
        service = Actor.trusted_service("import")
        return list(adopt_all(registry, items, by=service, principals=principals))

    return run
