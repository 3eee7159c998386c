"""What many tests share: the master key, the start time, and an enrolled principal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vmfa import (
    Actor,
    AuditEvent,
    DeviceRegistry,
    Key,
    KeySource,
    Parameters,
    Principal,
    PrincipalId,
    Receipt,
    VirtualDevice,
    record,
)
from vmfa.history import ChainCheck
from vmfa.testing import Account, AuthenticatorApp, FrozenClock

MASTER = bytes(range(32))
START = 1_700_000_010  # the first second of a step of 30 seconds


def authenticated(principal: Principal, keys: KeySource) -> Principal:
    """Return a copy of *principal*, authenticated as a decision would leave it."""
    return record.authenticated(replace(principal, envelope=None), keys)


def phone_with(key: Key, clock: FrozenClock, parameters: Parameters | None = None) -> Account:
    """Return a phone that holds this key and whose clock is right."""
    return AuthenticatorApp(clock).add(key, parameters)


@dataclass
class Enrolled:
    """A principal with an assigned device, and the phone. Both codes of the pair are spent."""

    registry: DeviceRegistry
    clock: FrozenClock
    principal: PrincipalId
    phone: Account
    actor: Actor  # signed in, without MFA

    @property
    def device(self) -> VirtualDevice:
        return self.registry.device(self.principal, by=self.actor)

    def sign_in(self) -> Receipt:
        """Wait for the next step and present its code."""
        self.clock.advance(self.phone.parameters.period)
        return self.registry.verify(self.principal, self.phone.code())

    def actor_with_mfa(self) -> Actor:
        return Actor.signed_in(self.principal, mfa=self.sign_in().claim)


def enroll(
    registry: DeviceRegistry, clock: FrozenClock, principal: PrincipalId, steps_off: int = 0
) -> Enrolled:
    """Enroll the principal itself; the second code is *steps_off* steps from now."""
    actor = Actor.signed_in(principal)
    opened = registry.open_enrollment(principal, by=actor, label="alice@example.com")
    phone = AuthenticatorApp(clock).scan(opened.uri)
    registry.confirm_enrollment(
        principal, session=opened.session_id, by=actor, **phone.pair(steps_off)
    )
    return Enrolled(registry, clock, principal, phone, actor)


HandClock = FrozenClock  # the old names, until no test file uses them
Phone = phone_with


def check_history(record: Principal, events: Iterable[AuditEvent]) -> None:
    """Check that *events* are the whole history of *record*."""
    check = ChainCheck(record)
    for event in events:
        check.add(event)
    check.finish()
