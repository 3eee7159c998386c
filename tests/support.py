"""What the tests share: a clock moved by hand, the phone, and the way through the wizard."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vmfa import (
    Actor,
    DeviceRegistry,
    Key,
    KeySource,
    Parameters,
    Principal,
    PrincipalId,
    Receipt,
    VirtualDevice,
    record,
    totp,
)

MASTER = bytes(range(32))
START = 1_700_000_010  # the first second of a step of 30


def authenticated(principal: Principal, keys: KeySource) -> Principal:
    """A copy of *principal*, authenticated as a decision would leave it."""
    return record.authenticated(replace(principal, envelope=None), keys)


@dataclass
class HandClock:
    """Unix time that moves only when told to."""

    now: float = START

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Phone:
    """An authenticator app: it holds the key that the wizard showed, and its own clock may be off."""

    key: Key
    clock: HandClock
    parameters: Parameters = field(default_factory=Parameters)

    def code(self, steps_off: int = 0) -> str:
        """The code shown now, or *steps_off* steps later (earlier, if negative)."""
        shape = self.parameters
        at = self.clock() + steps_off * shape.period
        return totp(self.key, at, digits=shape.digits, algorithm=shape.algorithm, period=shape.period, t0=shape.t0)

    def pair(self, steps_off: int = 0) -> dict[str, str]:
        """Two consecutive codes, the second of them *steps_off* steps from now."""
        return {"code1": self.code(steps_off - 1), "code2": self.code(steps_off)}

    def wrong_code(self, around: int = 110) -> str:
        """Digits that this phone shows at no step near now."""
        shown = {self.code(off) for off in range(-around, around + 1)}
        return next(code for n in range(1000) if (code := f"{n:0{self.parameters.digits}}") not in shown)


@dataclass
class Enrolled:
    """A principal with an assigned device, both its codes spent, and the phone that shows them."""

    registry: DeviceRegistry
    clock: HandClock
    principal: PrincipalId
    phone: Phone
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


def enroll(registry: DeviceRegistry, clock: HandClock, principal: PrincipalId, steps_off: int = 0) -> Enrolled:
    """Through the wizard, by the principal itself; the second code is *steps_off* steps from now."""
    actor = Actor.signed_in(principal)
    opened = registry.open_enrollment(principal, by=actor, label="alice@example.com")
    phone = Phone(Key.from_base32(opened.base32), clock, registry.operations.policy.offers[0])
    registry.confirm_enrollment(principal, session=opened.session_id, by=actor, **phone.pair(steps_off))
    return Enrolled(registry, clock, principal, phone, actor)
