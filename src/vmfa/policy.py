"""The numbers: one frozen, validated policy for everything."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from .errors import InvalidType, InvalidValue
from .keys import HASHES
from .otp import check_parameters, step_of
from .validators import check_fields, instance_of, integer

__all__ = ["Parameters", "Policy"]

DAY: Final = 86400
MAX_PERIOD: Final = 300  # it is also how far clocks may disagree; SP80063B-3.1.4.1-NONCE asks for 120 s


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What a device and its verifier agree on (RFC6238-3-R4). SEED-SIX is the default."""

    algorithm: str = "sha1"
    digits: int = 6
    period: int = 30  # RFC6238-5.2-STEP30, RFC6238-4.1-X-T0
    t0: int = 0

    def __post_init__(self) -> None:
        check_parameters(self.algorithm, self.digits, self.period, self.t0)

    def step_at(self, now: int) -> int:
        return step_of(now, self.period, self.t0)

    @property
    def key_size(self) -> int:
        """Bytes: the key is as long as the hash (RFC6238-5.1-KEYLEN)."""
        return HASHES[self.algorithm][2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """``Policy()`` follows the vendor's document where it speaks; ``Policy.strict()`` the norms even so.

    RULE-DEFAULTS. Windows and drift are in steps, everything named seconds, delay or refill in seconds.
    """

    window: int = field(default=1, metadata=integer(0, 10))  # either way at sign-in: RFC6238-5.2-ONESTEP
    enroll_back: int = field(default=10, metadata=integer(0, 100))  # SEED-LATE
    enroll_forward: int = field(default=10, metadata=integer(0, 100))
    resync_back: int = field(default=20, metadata=integer(0, 100))  # RFC6238-6-LIMIT
    resync_forward: int = field(default=20, metadata=integer(0, 100))
    login_drift: int = field(default=2, metadata=integer(0, 10))  # RFC6238-6-DRIFT, bounded
    session_seconds: int = field(default=900, metadata=integer(30, DAY))
    session_attempts: int = field(default=10, metadata=integer(1, 100))
    enrollments_per_day: int = field(default=10, metadata=integer(1, 100))
    delay_from: int = field(default=3, metadata=integer(1, 100))  # consecutive failures: RFC4226-7.3-DELAY
    delay_seconds: int = field(default=15, metadata=integer(1, DAY))
    delay_cap: int = field(default=3600, metadata=integer(1, DAY))
    failure_cap: int = field(default=100, metadata=integer(1, 100))  # SP80063B-3.2.2-CAP
    budget: int = field(default=100, metadata=integer(1, 10_000))  # failures over a device's life, refilled slowly
    budget_refill: int = field(default=2 * DAY, metadata=integer(60, 365 * DAY))
    budget_warning: int = field(default=25, metadata=integer(0, 10_000))
    claim_seconds: int = field(default=3600, metadata=integer(1, DAY))
    recovery_seconds: int = field(default=900, metadata=integer(1, DAY))
    binding_code_seconds: int = field(default=DAY, metadata=integer(60, 30 * DAY))
    binding_code_required: bool = field(default=False, metadata=instance_of(bool))  # SP80063B-4.1.2.2
    offers: tuple[Parameters, ...] = (Parameters(),)  # the first is for new devices, all are importable

    def __post_init__(self) -> None:  # RULE-POLICY
        check_fields(self)
        if not isinstance(self.offers, tuple) or not all(isinstance(o, Parameters) for o in self.offers):
            raise InvalidType("offers is a tuple of Parameters")
        for ordered, sentence in (
            (self.offers, "offers names at least one set of parameters"),
            (self.window <= min(self.enroll_back, self.enroll_forward), "window <= enroll_back, _forward"),
            (self.enroll_back <= self.resync_back, "enroll_back <= resync_back"),
            (self.enroll_forward <= self.resync_forward, "enroll_forward <= resync_forward"),
            (self.delay_seconds <= self.delay_cap, "delay_seconds <= delay_cap"),
            (self.budget_warning < self.budget, "budget_warning < budget"),
            (self.offers and self.offers[0].t0 == 0, "T0 = 0 for new devices: a key URI cannot carry another"),
            (all(o.period <= MAX_PERIOD for o in self.offers), f"periods of at most {MAX_PERIOD} s"),
        ):
            if not ordered:
                raise InvalidValue(f"a policy needs: {sentence}")

    @classmethod
    def strict(cls) -> Policy:
        """Refuses every pair that is not in sync, and asks for a binding code after a removal by others."""
        window = cls().window
        return cls(enroll_back=window, enroll_forward=window, binding_code_required=True)

    def replace(self, **changes: Any) -> Policy:
        """This policy with *changes*, validated again; a name that is no field is refused."""
        unknown = changes.keys() - {field.name for field in fields(self)}
        if unknown:
            raise InvalidValue(f"Policy has no field {min(unknown)!r}")
        return replace(self, **changes)

    def delay(self, failures: int) -> int:
        """Seconds to wait after so many consecutive *failures*: capped, so it never overflows."""
        over = failures - self.delay_from
        return 0 if over < 0 else min(self.delay_seconds << min(over, 32), self.delay_cap)
