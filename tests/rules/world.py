"""One registry with everything a rule can depend on within reach: clock, store, observer and stored state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

import vmfa.otp
from support import MASTER, START, HandClock, Phone
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
)
from vmfa.keysources.base import KeySource
from vmfa.record import authenticated

ACCOUNT = "123456789012"
ALICE = PrincipalId.user(ACCOUNT, "u-4711")
BOSS = PrincipalId.user(ACCOUNT, "u-0001")
ROOT = PrincipalId.root(ACCOUNT)
SERVICE = Actor.trusted_service("importer")
SUPPORT = Actor.support("case 17")
STEP = 30
HOUR = 3600
DAY = 86400
RFC_KEY = Key(b"12345678901234567890")
TWINS = 910_737  # RFC_KEY shows the same code, 911617, at this step and at the next
APART = 153_567  # and the same code, 468457, at this step and at the one after the next


class KnownKey(UnsafePlainKeys):
    """Every device gets the key of the RFC's own examples, whose remarkable steps are known."""

    __slots__ = ()

    def issue(self, principal: PrincipalId, serial: str, parameters: Parameters) -> tuple[KeyRef, Key]:
        return self.adopt(principal, serial, parameters, RFC_KEY), RFC_KEY


class Kept(MemoryStore):
    """A store whose records are sealed, as those that leave the process are."""

    volatile = False


class World:
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
        self.clock = HandClock(now)
        self.store = Kept() if store is None else store
        self.told: list[AuditEvent] = []
        self.keys = keys or DerivedKeys(MASTER)
        self.registry = DeviceRegistry(
            self.store, keys=self.keys, imported_keys=imported_keys, issuer="Example", policy=policy, clock=self.clock,
            observer=observer or self.told.append,
        )

    @property
    def operations(self) -> Any:
        return self.registry.operations

    def phone(self, opened: Any) -> Phone:
        return Phone(Key.from_base32(opened.base32), self.clock, self.operations.policy.offers[0])

    def open(self, who: PrincipalId = ALICE, **more: Any) -> Any:
        return self.registry.open_enrollment(who, **{"by": Actor.signed_in(who), "label": "alice@example.com", **more})

    def confirm(self, opened: Any, pair: dict[str, str], who: PrincipalId = ALICE, **more: Any) -> SyncReport:
        by = more.pop("by", Actor.signed_in(who))
        return self.registry.confirm_enrollment(who, session=opened.session_id, by=by, **pair)

    def enroll(self, who: PrincipalId = ALICE, steps_off: int = 0, **more: Any) -> Phone:
        opened = self.open(who, **more)
        phone = self.phone(opened)
        self.confirm(opened, phone.pair(steps_off), who)
        return phone

    def verify(self, code: str, who: PrincipalId = ALICE) -> Receipt:
        return self.registry.verify(who, code)

    def sign_in(self, phone: Phone, who: PrincipalId = ALICE) -> Receipt:
        self.clock.advance(STEP)
        return self.verify(phone.code(), who)

    def resync(self, pair: dict[str, str], who: PrincipalId = ALICE, **more: Any) -> SyncReport:
        return self.registry.resync(who, by=more.pop("by", Actor.signed_in(who)), **pair)

    def fail(self, phone: Phone, who: PrincipalId = ALICE) -> Exception:
        """One wrong code, after whatever wait is due; the error it got."""
        self.clock.advance(self.operations.policy.delay(self.device(who).failures))
        return refusal(lambda: self.verify(phone.wrong_code(), who))

    def state(self, who: PrincipalId = ALICE) -> Principal:
        return self.store.load(who)

    def device(self, who: PrincipalId = ALICE) -> VirtualDevice:
        device = self.state(who).device
        assert device is not None
        return device

    def happened(self, who: PrincipalId = ALICE) -> list[EventType]:
        """What the stored history of *who* says, oldest first."""
        return [event.type for event in self.store.history(who)]

    def put(self, who: PrincipalId = ALICE, *, device: dict[str, Any] | None = None, **changes: Any) -> Principal:
        """Store a state that the library itself could have written, sealed, without the way to it."""
        before = self.state(who)
        after = edited(before, device, **changes)
        assert self.store.commit(before, authenticated(replace(after, revision=before.revision + 1), self.operations.keys), ())
        return self.state(who)

    @contextmanager
    def nothing_written(self, who: PrincipalId = ALICE) -> Iterator[None]:
        before, history = self.state(who), self.happened(who)
        yield
        assert self.state(who) == before
        assert self.happened(who) == history


def edited(before: Principal, device: dict[str, Any] | None = None, **changes: Any) -> Principal:
    if device is not None:
        assert before.device is not None
        changes["device"] = replace(before.device, **device)
    return replace(before, **changes)


def by_method(who: PrincipalId, now: float, role: Callable[..., Actor] = Actor.signed_in) -> Actor:
    """*who*, with a second factor that the embedding service names."""
    return role(who, mfa=MfaClaim(at=int(now), method="hardware key"))


def refusal(act: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # the caller looks at which one it is
        act()
    return caught.value


def answer(act: Callable[[], object]) -> object:
    """What *act* returns, or the refusal that it raises."""
    try:
        return act()
    except VmfaError as error:
        return error


@contextmanager
def counted_codes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The steps whose codes are computed within the block, in order."""
    steps: list[int] = []
    real = vmfa.otp._codes

    def counting(key: Key, computed: Any, digits: int, algorithm: str) -> dict[int, str]:
        steps.extend(computed)
        return real(key, computed, digits, algorithm)

    with monkeypatch.context() as patch:
        patch.setattr(vmfa.otp, "_codes", counting)
        yield steps
