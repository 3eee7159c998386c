"""The numbers: one frozen, validated policy for everything."""

from __future__ import annotations

from typing import Any, Final

from .errors import InvalidType, InvalidValue
from .keys import HASHES
from .otp import check_parameters, step_of
from .values import Value, a, number, replace

DAY: Final = 86400
LONGEST_PERIOD: Final = 300  # it is also how far clocks may disagree; SP80063B-3.1.4.1-NONCE asks for 120 s


class Parameters(Value):
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


class Policy(Value):
    """``Policy()`` follows the vendor's document where it speaks; ``Policy.strict()`` the norms even so.

    RULE-DEFAULTS. Windows and drift are in steps, everything named seconds, delay or refill in seconds.
    """

    window: int = number(0, 10, default=1)  # either way at sign-in: RFC6238-5.2-ONESTEP
    enroll_back: int = number(0, 100, default=10)  # SEED-LATE
    enroll_forward: int = number(0, 100, default=10)
    resync_back: int = number(0, 100, default=20)  # RFC6238-6-LIMIT
    resync_forward: int = number(0, 100, default=20)
    login_drift: int = number(0, 10, default=2)  # RFC6238-6-DRIFT, bounded
    session_seconds: int = number(30, DAY, default=900)
    session_attempts: int = number(1, 100, default=10)
    openings_per_day: int = number(1, 100, default=10)
    delay_from: int = number(1, 100, default=3)  # consecutive failures: RFC4226-7.3-DELAY
    delay_seconds: int = number(1, DAY, default=15)
    delay_cap: int = number(1, DAY, default=3600)
    failure_cap: int = number(1, 100, default=100)  # SP80063B-3.2.2-CAP
    budget: int = number(1, 10_000, default=100)  # failures over a device's life, refilled slowly
    budget_refill: int = number(60, 365 * DAY, default=2 * DAY)
    budget_warning: int = number(0, 10_000, default=25)
    claim_seconds: int = number(1, DAY, default=3600)
    recovery_seconds: int = number(1, DAY, default=900)
    binding_code_seconds: int = number(60, 30 * DAY, default=DAY)
    binding_code_required: bool = a(bool, default=False)  # SP80063B-4.1.2.2
    offers: tuple[Parameters, ...] = (Parameters(),)  # the first is for new devices, all are importable

    def __post_init__(self) -> None:  # RULE-POLICY
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
            (all(o.period <= LONGEST_PERIOD for o in self.offers), f"periods of at most {LONGEST_PERIOD} s"),
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
        return replace(self, **changes)

    def delay(self, failures: int) -> int:
        """Seconds to wait after so many consecutive *failures*: capped, so it never overflows."""
        over = failures - self.delay_from
        return 0 if over < 0 else min(self.delay_seconds << min(over, 32), self.delay_cap)

    def guess_probability(self, *, days: float = 365, per_day: float = float("inf"),
                          sign_ins_per_day: float = 1) -> float:
        """The chance that an attacker who guesses for *days*, at most *per_day*, hits once.

        *sign_ins_per_day* are the owner's. :func:`vmfa.analysis.guessing` says what bounds it.
        """
        from .analysis import guessing  # the one import that points outward: who asks, loads it

        return guessing(self, days=days, per_day=per_day, sign_ins_per_day=sign_ins_per_day).probability
