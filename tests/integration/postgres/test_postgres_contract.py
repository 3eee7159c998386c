"""The two PostgreSQL stores keep what every store promises."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest

from support import HandClock, enroll
from vmfa import DeviceRegistry, Principal, PrincipalId, Store
from vmfa.stores.postgres import PostgresStore
from vmfa.stores.postgres_async import AsyncPostgresStore
from vmfa.testing import StoreContract

pytestmark = pytest.mark.slow


class TestPostgresStores(StoreContract):
    """The fixture ``store`` gives each in turn."""


@pytest.mark.parametrize("kind", [PostgresStore, AsyncPostgresStore])
@pytest.mark.parametrize("name", ["load", "commit", "principals", "history"])
def test_a_store_is_called_as_the_port_says(kind: type, name: str) -> None:
    assert inspect.signature(getattr(kind, name)) == inspect.signature(getattr(Store, name))


def test_a_removal_compares_the_revision_beside_the_tag(
    registry: DeviceRegistry, store: Any, clock: HandClock, alice: PrincipalId
) -> None:
    enroll(registry, clock, alice)
    held = store.load(alice)
    assert not store.commit(replace(held, revision=held.revision + 5), Principal(id=alice), [])
    assert store.load(alice) == held


def test_a_page_of_less_than_nothing_is_empty(
    registry: DeviceRegistry, store: Any, clock: HandClock, alice: PrincipalId
) -> None:
    """PostgreSQL takes a negative limit for a mistake."""
    enroll(registry, clock, alice)
    assert not store.principals(alice.account, limit=-1)
    assert not store.history(alice, limit=-1)
    assert [event.number for event in store.history(alice, after=-1)] == [1, 2]
