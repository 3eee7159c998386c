"""The numbers: one frozen, validated policy for everything."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final

from .errors import InvalidType, InvalidValue
from .keys import HASHES
from .otp import check_code_shape, check_int, check_steps_shape, step_at

DAY: Final = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What a device and its verifier agree on (RFC6238-3-R4). SEED-SIX is the default."""

    algorithm: str = "sha1"
    digits: int = 6
    period: int = 30
    t0: int = 0

    def __post_init__(self) -> None:
        check_code_shape(self.digits, self.algorithm)
        check_steps_shape(self.period, self.t0)

    def step_at(self, now: int) -> int:
        return step_at(now, period=self.period, t0=self.t0)

    @property
    def key_size(self) -> int:
        """Bytes: the key is as long as the hash (RFC6238-5.1-KEYLEN)."""
        size: int = HASHES[self.algorithm][0]().digest_size
        return size


_RANGES: Final = {
    "window": (0, 10),
    "enroll_back": (0, 100),
    "enroll_forward": (0, 100),
    "resync_back": (0, 100),
    "resync_forward": (0, 100),
    "login_drift": (0, 10),
    "session_seconds": (30, DAY),
    "session_attempts": (1, 100),
    "openings_per_day": (1, 100),
    "delay_from": (1, 100),
    "delay_seconds": (1, DAY),
    "delay_cap": (1, DAY),
    "failure_cap": (1, 100),
    "budget": (1, 10_000),
    "budget_refill": (60, 365 * DAY),
    "budget_warning": (0, 10_000),
    "claim_seconds": (1, DAY),
    "recovery_seconds": (1, DAY),
    "binding_code_seconds": (60, 30 * DAY),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """``Policy()`` follows the vendor's document where it speaks; ``Policy.strict()`` the norms even so.

    Windows and drift are in steps, everything named seconds, delay or refill in seconds.
    """

    window: int = 1  # either way at sign-in: RFC6238-5.2-ONESTEP
    enroll_back: int = 10  # SEED-LATE
    enroll_forward: int = 10
    resync_back: int = 20  # RFC6238-6-LIMIT
    resync_forward: int = 20
    login_drift: int = 2  # RFC6238-6-DRIFT, bounded
    session_seconds: int = 900
    session_attempts: int = 10
    openings_per_day: int = 10
    delay_from: int = 3  # consecutive failures: RFC4226-7.3-DELAY
    delay_seconds: int = 15
    delay_cap: int = 3600
    failure_cap: int = 100  # SP80063B-3.2.2-CAP
    budget: int = 100  # failures over a device's life, refilled slowly
    budget_refill: int = 2 * DAY
    budget_warning: int = 25
    claim_seconds: int = 3600
    recovery_seconds: int = 900
    binding_code_seconds: int = DAY
    binding_code_required: bool = False  # SP80063B-4.1.2.2
    offers: tuple[Parameters, ...] = (Parameters(),)  # the first is for new devices, all are importable

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            check_int(name, getattr(self, name), low, high)
        if type(self.binding_code_required) is not bool:
            raise InvalidType("binding_code_required is a bool")
        if not isinstance(self.offers, tuple) or not all(isinstance(o, Parameters) for o in self.offers):
            raise InvalidType("offers is a tuple of Parameters")
        for ordered, sentence in (
            (self.offers, "offers names at least one set of parameters"),
            (self.window <= min(self.enroll_back, self.enroll_forward), "window <= enroll_back, _forward"),
            (self.enroll_back <= self.resync_back, "enroll_back <= resync_back"),
            (self.enroll_forward <= self.resync_forward, "enroll_forward <= resync_forward"),
            (self.delay_seconds <= self.delay_cap, "delay_seconds <= delay_cap"),
            (self.budget_warning <= self.budget, "budget_warning <= budget"),
        ):
            if not ordered:
                raise InvalidValue(f"a policy needs: {sentence}")

    @classmethod
    def strict(cls) -> Policy:
        """Refuses every pair that is not in sync, and asks for a binding code after a removal by others."""
        window = cls().window
        return cls(enroll_back=window, enroll_forward=window, binding_code_required=True)

    def replace(self, **changes: object) -> Policy:
        """This policy with *changes*, validated again; a name that is no field is refused."""
        unknown = changes.keys() - {field.name for field in fields(self)}
        if unknown:
            raise InvalidValue(f"a policy has no field {min(unknown)!r}")
        return replace(self, **changes)  # type: ignore[arg-type]  # validated on construction

    def delay(self, failures: int) -> int:
        """Seconds to wait after so many consecutive *failures*: capped, so it never overflows."""
        over = failures - self.delay_from
        return 0 if over < 0 else min(self.delay_seconds << min(over, 32), self.delay_cap)
