"""The numbers of a deployment, in one frozen and validated :class:`Policy`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from .errors import InvalidType, InvalidValue
from .keys import HASHES
from .otp import check_parameters, step_of
from .validators import check_fields, instance_of, integer

__all__ = ["Parameters", "Policy"]

DAY: Final = 86400  # seconds
MAX_PERIOD: Final = 300  # seconds; also how far clocks may disagree. SP80063B-3.1.4.1-NONCE: 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What a device and its verifier agree on. Every authenticator app supports the defaults.

    ``algorithm`` is "sha1", "sha256" or "sha512"; ``digits`` 6 to 8; ``period`` and ``t0`` are in
    seconds.
    """

    # SEED-SIX, RFC6238-3-R4, RFC6238-4.1-X-T0, RFC6238-5.2-STEP30
    algorithm: str = "sha1"
    digits: int = 6
    period: int = 30
    t0: int = 0

    def __post_init__(self) -> None:
        check_parameters(self.algorithm, self.digits, self.period, self.t0)

    def step_at(self, now: int) -> int:
        """Return the time step of the Unix time *now*."""
        return step_of(now, self.period, self.t0)

    @property
    def key_size(self) -> int:
        """The length of a new key in bytes: that of the hash (RFC 6238 section 5.1)."""
        return HASHES[self.algorithm][2]  # RFC6238-5.1-KEYLEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The numbers of the rules. ``Policy()`` follows AWS, ``Policy.strict()`` the norms.

    Windows and drift are in steps. Fields named seconds, delay, refill or cap hold seconds.

    :raises InvalidType: a field has the wrong type.
    :raises InvalidValue: a field is out of bounds, or two fields contradict each other.
    """

    # RULE-DEFAULTS
    window: int = field(default=1, metadata=integer(0, 10))  # RFC6238-5.2-ONESTEP
    enroll_back: int = field(default=10, metadata=integer(0, 100))  # SEED-LATE
    enroll_forward: int = field(default=10, metadata=integer(0, 100))
    resync_back: int = field(default=20, metadata=integer(0, 100))  # RFC6238-6-LIMIT
    resync_forward: int = field(default=20, metadata=integer(0, 100))
    login_drift: int = field(default=2, metadata=integer(0, 10))  # RFC6238-6-DRIFT
    session_seconds: int = field(default=900, metadata=integer(30, DAY))
    session_attempts: int = field(default=10, metadata=integer(1, 100))
    enrollments_per_day: int = field(default=10, metadata=integer(1, 100))
    delay_from: int = field(default=3, metadata=integer(1, 100))  # failures: RFC4226-7.3-DELAY
    delay_seconds: int = field(default=15, metadata=integer(1, DAY))
    delay_cap: int = field(default=3600, metadata=integer(1, DAY))
    failure_cap: int = field(default=100, metadata=integer(1, 100))  # SP80063B-3.2.2-CAP
    budget: int = field(default=100, metadata=integer(1, 10_000))  # failures, refilled slowly
    budget_refill: int = field(default=2 * DAY, metadata=integer(60, 365 * DAY))
    budget_warning: int = field(default=25, metadata=integer(0, 10_000))
    claim_seconds: int = field(default=3600, metadata=integer(1, DAY))
    recovery_seconds: int = field(default=900, metadata=integer(1, DAY))
    binding_code_seconds: int = field(default=DAY, metadata=integer(60, DAY))  # SP80063B-4.2.1.2
    binding_code_required: bool = field(default=False, metadata=instance_of(bool))
    known_clients: bool = field(default=False, metadata=instance_of(bool))
    known_client_reserve: int = field(default=25, metadata=integer(1, 100))  # failures and budget
    client_token_seconds: int = field(default=90 * DAY, metadata=integer(DAY, 365 * DAY))
    recovery_codes: int = field(default=0, metadata=integer(0, 20))  # per device; 0: none
    store_sign_ins: bool = field(default=False, metadata=instance_of(bool))
    offers: tuple[Parameters, ...] = (Parameters(),)  # the first for new devices, all for imports

    def __post_init__(self) -> None:  # RULE-POLICY
        check_fields(self)
        if not isinstance(self.offers, tuple) or not all(
            isinstance(offer, Parameters) for offer in self.offers
        ):
            raise InvalidType("offers must be a tuple of Parameters")
        reserve = self.known_client_reserve
        for condition, requirement in (
            (self.offers, "offers must not be empty"),
            (
                self.window <= min(self.enroll_back, self.enroll_forward),
                "window must not exceed enroll_back or enroll_forward",
            ),
            (self.enroll_back <= self.resync_back, "enroll_back must not exceed resync_back"),
            (
                self.enroll_forward <= self.resync_forward,
                "enroll_forward must not exceed resync_forward",
            ),
            (self.delay_seconds <= self.delay_cap, "delay_seconds must not exceed delay_cap"),
            (self.budget_warning < self.budget, "budget_warning must be below budget"),
            (
                not self.known_clients or reserve < min(self.budget, self.failure_cap),
                "known_client_reserve must be below budget and failure_cap",
            ),
            (
                self.offers and self.offers[0].t0 == 0,
                "the first offer must have t0 = 0: a key URI cannot carry another",
            ),
            (
                all(offer.period <= MAX_PERIOD for offer in self.offers),
                f"periods must not exceed {MAX_PERIOD} seconds",
            ),
        ):
            if not condition:
                raise InvalidValue(requirement)

    @classmethod
    def strict(cls) -> Policy:
        """Return the policy that follows the norms even against the AWS document.

        It refuses every pair that is not in sync, and asks for a binding code after every removal
        by another person than the owner.
        """
        window = cls().window
        return cls(enroll_back=window, enroll_forward=window, binding_code_required=True)

    def replace(self, **changes: Any) -> Policy:
        """Return this policy with *changes*, validated again.

        :raises InvalidValue: a name is not a field, or the result contradicts itself.
        """
        unknown = changes.keys() - {field.name for field in fields(self)}
        if unknown:
            raise InvalidValue(f"Policy has no field {min(unknown)!r}")
        return replace(self, **changes)

    def delay(self, failures: int) -> int:
        """Return the seconds to wait after that many consecutive *failures*."""
        over = failures - self.delay_from
        return 0 if over < 0 else min(self.delay_seconds << min(over, 32), self.delay_cap)
