"""For your tests: a clock moved by hand, an authenticator app, and the contract that every store must keep.

The clock and the app let a test walk through the wizard without a phone and without waiting::

    clock = FrozenClock()
    registry = DeviceRegistry(MemoryStore(), keys=DerivedKeys(master_key), issuer="Example", clock=clock)
    phone = AuthenticatorApp(clock).scan(registry.open_enrollment(alice, by=me, label="alice").uri)

Whoever writes a store has it keep its promises with five lines of pytest::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            with MyStore(tmp_path / "mfa.db") as store:
                yield store
"""

from __future__ import annotations

from .authenticator import AuthenticatorApp
from .clock import FrozenClock
from .contract import StoreContract

__all__ = ["AuthenticatorApp", "FrozenClock", "StoreContract"]
