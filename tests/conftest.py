"""Fixtures and Hypothesis profiles for every test.

``ci`` is the default profile and repeats itself exactly;
``pytest --hypothesis-profile=deep`` is for campaigns.
"""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

from support import MASTER, Enrolled, enroll
from vmfa import Actor, DerivedKeys, DeviceRegistry, MemoryStore, PrincipalId
from vmfa.testing import FrozenClock

# A background job and its children ignore SIGINT, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=100)
settings.register_profile(
    "deep", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Show a value in the id of a test where pytest would show a number."""
    shown = isinstance(val, (bytearray, dict, frozenset, list, memoryview, set, tuple))
    if shown or type(val).__module__.startswith("vmfa"):
        return ascii(val)[:50]
    return None


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def keys() -> DerivedKeys:
    return DerivedKeys(MASTER)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def registry(store: MemoryStore, keys: DerivedKeys, clock: FrozenClock) -> DeviceRegistry:
    return DeviceRegistry(store, keys=keys, issuer="Example", clock=clock)


@pytest.fixture
def alice() -> PrincipalId:
    return PrincipalId.user("123456789012", "u-4711")


@pytest.fixture
def owner(alice: PrincipalId) -> Actor:
    """Alice after the first factor, without MFA."""
    return Actor.signed_in(alice)


@pytest.fixture
def enrolled(registry: DeviceRegistry, clock: FrozenClock, alice: PrincipalId) -> Enrolled:
    """Alice with an assigned device."""
    return enroll(registry, clock, alice)
