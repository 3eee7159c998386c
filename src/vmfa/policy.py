"""What a deployment can configure: the parameters of codes and the limits of the rules."""

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

    :param algorithm: "sha1", "sha256" or "sha512".
    :param digits: 6, 7 or 8.
    :param period: the length of a time step, in seconds.
    :param t0: the Unix time at which the steps begin, in seconds.
    :raises InvalidType: a field has the wrong type.
    :raises InvalidValue: a field is out of bounds.
    """

    algorithm: str = "sha1"  # SEED-SIX
    digits: int = 6  # SEED-SIX
    period: int = 30  # SEED-SIX, RFC6238-4.1-X-T0, RFC6238-5.2-STEP30
    t0: int = 0  # RFC6238-4.1-X-T0

    def __post_init__(self) -> None:
        check_parameters(self.algorithm, self.digits, self.period, self.t0)

    def step_at(self, now: int) -> int:
        """Return the time step of the Unix time *now*, in seconds."""
        return step_of(now, self.period, self.t0)  # RFC6238-3-R4

    @property
    def key_size(self) -> int:
        """The length of a new key in bytes: that of the hash (RFC 6238 section 5.1)."""
        return HASHES[self.algorithm][2]  # RFC6238-5.1-KEYLEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The limits of the rules. ``Policy()`` follows AWS, ``Policy.strict()`` the standards.

    :param window: how many steps before and after the current one are accepted at sign-in.
    :param enroll_back: steps by which the codes of an enrollment may be late.
    :param enroll_forward: steps by which the codes of an enrollment may be early.
    :param resync_back: steps by which the codes of a resynchronization may be late.
    :param resync_forward: steps by which the codes of a resynchronization may be early.
    :param login_drift: steps by which sign-ins may move the drift between resynchronizations.
    :param session_seconds: how long an enrollment stays open.
    :param session_attempts: pairs of codes that may be tried in an enrollment.
    :param enrollments_per_day: enrollments that may be opened for a principal within 24 hours.
    :param delay_from: consecutive failures from which the next attempt is delayed.
    :param delay_seconds: the first delay. Each further failure doubles it.
    :param delay_cap: the longest delay, in seconds.
    :param failure_cap: consecutive failures that disable the device.
    :param budget: the guess budget of a device: failures that are allowed at once.
    :param budget_refill: seconds in which the budget grows by one.
    :param budget_warning: the budget at which an event warns.
    :param claim_seconds: how long the MFA claim of an actor is current.
    :param recovery_seconds: how long the proofs of a recovered root are current.
    :param binding_code_seconds: how long a binding code is valid.
    :param binding_code_required: whether the owner needs a binding code to enroll again after
        every removal by another person, and not only if the device was disabled.
    :param known_clients: whether clients with a token have their own count of failures.
    :param known_client_reserve: the failures and the part of the budget that are reserved for
        clients with a token.
    :param client_token_seconds: how long a client token is valid.
    :param recovery_codes: saved recovery codes of each device; 0: none.
    :param store_sign_ins: whether accepted and rejected codes are stored in the history.
    :param offers: the parameters that devices may have. New devices get the first of them, and
        imported devices may have any.
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
    delay_from: int = field(default=3, metadata=integer(1, 100))  # RFC4226-7.3-T, in failures
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
        """Return the policy that follows the standards where the AWS document differs from them.

        It refuses an enrollment whose codes are not in sync, and requires a binding code after
        every removal by another person than the owner.
        """
        window = cls().window
        return cls(enroll_back=window, enroll_forward=window, binding_code_required=True)

    def replace(self, **changes: Any) -> Policy:
        """Return this policy with *changes*, validated again.

        :param changes: new values of fields, as keyword arguments.
        :raises InvalidType: a value has the wrong type.
        :raises InvalidValue: a name is not a field, a value is out of bounds, or two fields
            contradict each other.
        """
        unknown = changes.keys() - {field.name for field in fields(self)}
        if unknown:
            raise InvalidValue(f"Policy has no field {min(unknown)!r}")
        return replace(self, **changes)

    def delay(self, failures: int) -> int:
        """Return the seconds to wait after that many consecutive *failures*."""
        doublings = failures - self.delay_from
        if doublings < 0:
            return 0
        # RFC4226-7.3-DELAY
        return min(self.delay_seconds << min(doublings, 32), self.delay_cap)
