"""A registry together with everything a rule depends on: clock, store, observer, stored state."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

import pytest

from support import MASTER, START, phone_with
from vmfa import (
    Actor,
    AuditEvent,
    DerivedKeys,
    DeviceRegistry,
    EventType,
    Key,
    KeyRef,
    MemoryStore,
    MfaClaim,
    Parameters,
    Policy,
    Principal,
    PrincipalId,
    Receipt,
    SyncReport,
    UnsafePlainKeys,
    VirtualDevice,
    VmfaError,
    guards,
)
from vmfa.keysources.base import KeySource
from vmfa.record import authenticated
from vmfa.testing import Account, FrozenClock

ACCOUNT = "123456789012"
ALICE = PrincipalId.user(ACCOUNT, "u-4711")
BOB = PrincipalId.user(ACCOUNT, "u-4712")
ADMIN = PrincipalId.user(ACCOUNT, "u-0001")
ROOT = PrincipalId.root(ACCOUNT)
SERVICE = Actor.trusted_service("importer")
SUPPORT = Actor.support("case 17")
STEP = 30
HOUR = 3600
DAY = 86400
RFC_KEY = Key(b"12345678901234567890")
TWIN_STEP = 910_737  # RFC_KEY has the same code, 911617, at this step and at the next
REPEAT_STEP = 153_567  # and the same code, 468457, at this step and at the one after the next


class RfcKeySource(UnsafePlainKeys):
    """A key source that gives every device the key of the RFC's examples."""

    __slots__ = ()

    def issue(
        self, principal: PrincipalId, serial: str, parameters: Parameters
    ) -> tuple[KeyRef, Key]:
        return self.adopt(principal, serial, parameters, RFC_KEY), RFC_KEY


class LastingStore(MemoryStore):
    """A store in memory whose records are authenticated, as those of a database are."""

    volatile = False


class World:
    """One registry, and short ways to use it, look at its state and edit it."""

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        keys: KeySource | None = None,
        imported_keys: KeySource | None = None,
        store: Any = None,
        now: float = START,
        observer: Callable[[AuditEvent], None] | None = None,
    ) -> None:
        self.clock = FrozenClock(now)
        self.store = LastingStore() if store is None else store
        self.observed: list[AuditEvent] = []
        self.keys = keys or DerivedKeys(MASTER)
        self.registry = DeviceRegistry(
            self.store,
            keys=self.keys,
            imported_keys=imported_keys,
            issuer="Example",
            policy=policy,
            clock=self.clock,
            observer=observer or self.observed.append,
        )

    @property
    def operations(self) -> Any:
        return self.registry.operations

    def phone(self, opened: Any) -> Account:
        """The phone that scanned the QR code of *opened*."""
        parameters = self.operations.policy.offers[0]
        return phone_with(Key.from_base32(opened.base32), self.clock, parameters)

    def open(self, who: PrincipalId = ALICE, **arguments: Any) -> Any:
        arguments = {"by": Actor.signed_in(who), "label": "alice@example.com", **arguments}
        return self.registry.open_enrollment(who, **arguments)

    def confirm(
        self, opened: Any, pair: dict[str, str], who: PrincipalId = ALICE, **arguments: Any
    ) -> SyncReport:
        arguments = {"by": Actor.signed_in(who), "session": opened.session_id, **arguments}
        return self.registry.confirm_enrollment(who, **pair, **arguments)

    def enroll(self, who: PrincipalId = ALICE, steps_off: int = 0, **arguments: Any) -> Account:
        """Assign a device; the second code is *steps_off* steps from now."""
        opened = self.open(who, **arguments)
        phone = self.phone(opened)
        self.confirm(opened, phone.pair(steps_off), who)
        return phone

    def verify(self, code: str, who: PrincipalId = ALICE) -> Receipt:
        return self.registry.verify(who, code)

    def sign_in(self, phone: Account, who: PrincipalId = ALICE) -> Receipt:
        """Wait for the next step and present its code."""
        self.clock.advance(STEP)
        return self.verify(phone.code(), who)

    def resync(
        self, pair: dict[str, str], who: PrincipalId = ALICE, **arguments: Any
    ) -> SyncReport:
        return self.registry.resync(who, **pair, **{"by": Actor.signed_in(who), **arguments})

    def fail(self, phone: Account, who: PrincipalId = ALICE) -> Exception:
        """Wait for the delay to end and present a wrong code; the error it gets."""
        self.clock.advance(self.operations.policy.delay(self.device(who).failures))
        return error_of(lambda: self.verify(phone.wrong_code(), who))

    def state(self, who: PrincipalId = ALICE) -> Principal:
        return self.store.load(who)

    def device(self, who: PrincipalId = ALICE) -> VirtualDevice:
        device = self.state(who).device
        assert device is not None
        return device

    def history_types(self, who: PrincipalId = ALICE) -> list[EventType]:
        """The types of the stored events of *who*, oldest first."""
        return [event.type for event in self.store.history(who)]

    def store_state(
        self, who: PrincipalId = ALICE, *, device: dict[str, Any] | None = None, **changes: Any
    ) -> Principal:
        """Change fields of the stored state, and authenticate it as the library would."""
        before = self.state(who)
        if device is not None:
            assert before.device is not None
            changes["device"] = replace(before.device, **device)
        after = replace(before, **changes, revision=before.revision + 1)
        assert self.store.commit(before, authenticated(after, self.operations.keys), ())
        return self.state(who)

    def overwrite(self, record: Principal) -> None:
        """Put *record* into the store as an attacker with access to the database would."""
        _, history = self.store._records.get(record.id, (None, ()))
        self.store._records[record.id] = (record, history)

    @contextmanager
    def nothing_written(self, who: PrincipalId = ALICE) -> Iterator[None]:
        """Assert that the block leaves the record and the history of *who* as they are."""
        before, history = self.state(who), self.history_types(who)
        yield
        assert self.state(who) == before
        assert self.history_types(who) == history


def signed_claim(who: PrincipalId, *, at: float, serial: str = "", method: str = "") -> MfaClaim:
    """A claim with the MAC of the library, whatever it states."""
    keys = DerivedKeys(MASTER)
    return guards.signed_claim(keys, who, at=int(at), serial=serial, method=method)


def by_method(who: PrincipalId, now: float, role: Callable[..., Actor] = Actor.signed_in) -> Actor:
    """*who*, with a second factor that the embedding service checked itself."""
    return role(who, mfa=signed_claim(who, at=now, method="hardware key"))


def error_of(act: Callable[[], object]) -> Any:
    """The error that *act* raises; the caller checks its class."""
    with pytest.raises(Exception) as caught:
        act()
    return caught.value


def outcome_of(act: Callable[[], object]) -> Any:
    """What *act* returns, or the error of this library that it raises."""
    try:
        return act()
    except VmfaError as error:
        return error


def hash_computations(act: Callable[[], object]) -> int:
    """The number of hash computations within *act*: an HMAC of two hashes counts as two."""
    total = 0

    def count(_frame: FrameType, event: str, function: Any) -> None:
        nonlocal total
        if event == "c_call":
            module = type(getattr(function, "__self__", None)).__module__
            if function.__name__ in ("hmac_digest", "hmac_new"):
                total += 2
            elif function.__name__ == "digest" and module == "_hashlib":
                total += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        outcome_of(act)
    finally:
        sys.setprofile(before)
    return total
