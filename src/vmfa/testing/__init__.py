"""Tools for your tests: a clock, an authenticator app and the contract of a store.

With the clock and the app a test enrolls a device without a phone and without waiting::

    clock = FrozenClock()
    registry = DeviceRegistry(
        MemoryStore(), keys=DerivedKeys(master_key), issuer="Example", clock=clock
    )
    opened = registry.open_enrollment(alice, by=actor, label="alice")
    phone = AuthenticatorApp(clock).scan(opened.uri)
    registry.confirm_enrollment(alice, session=opened.session_id, by=actor, **phone.pair())
    clock.advance(30)
    registry.verify(alice, phone.code())

If you write a store, subclass the contract and provide the store as a pytest fixture::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            with MyStore(tmp_path / "mfa.db") as store:
                yield store
"""

from __future__ import annotations

from .authenticator import Account, AuthenticatorApp
from .clock import FrozenClock
from .contract import StoreContract

__all__ = ["Account", "AuthenticatorApp", "FrozenClock", "StoreContract"]
