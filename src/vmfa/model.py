"""The values: who, which device, which session, and what the library answers.

Frozen, validated on construction, without transitions. No value here holds a key; what names one is
:class:`KeyRef`, and a principal has exactly one, so that one device is the shape of the type (SEED-ONE, RULE-PHONES).
"""

from __future__ import annotations

from enum import StrEnum
from typing import NoReturn

from .errors import InvalidType, InvalidValue
from .keys import Opaque
from .otp import COUNTERS
from .policy import Parameters
from .values import LAST_SECOND, Value, a, check_time, number, seconds, text


class Kind(StrEnum):
    """Of a principal: the account's root, or one of its users."""

    ROOT = "root"
    USER = "user"


class PrincipalId(Value, kw_only=False):
    """Who signs in (RULE-PRINCIPAL): stored identifiers, never changed, never reused, compared as bytes."""

    account: str = text()
    kind: Kind = a(Kind)
    name: str = text(empty=True)

    def __post_init__(self) -> None:
        if (not self.name) != (self.kind is Kind.ROOT):
            raise InvalidValue("name is empty" if not self.name else "the name of root is empty")

    @classmethod
    def user(cls, account: str, name: str) -> PrincipalId:
        return cls(account, Kind.USER, name)

    @classmethod
    def root(cls, account: str) -> PrincipalId:
        return cls(account, Kind.ROOT, "")

    @property
    def is_root(self) -> bool:
        return self.kind is Kind.ROOT

    def __str__(self) -> str:
        account = self.account.replace("%", "%25").replace("/", "%2F")
        return f"{account}/{self.kind}/{self.name}"


class KeyRef(Value, kw_only=False):
    """Where a device's key comes from; its text shows no part of it. Dropping it destroys the key."""

    scheme: str = text(32)
    key_id: str = text(64, empty=True)
    material: bytes = a(bytes, repr=False)

    def __post_init__(self) -> None:
        if len(self.material) > 4096:
            raise InvalidValue("material is longer than 4096 bytes")


class Sync(StrEnum):
    """Whether the codes of an assigned device count."""

    IN_SYNC = "in sync"
    OUT_OF_SYNC = "out of sync"


class VirtualDevice(Value):
    """An assigned device. Times are Unix seconds, drift and positions are steps. All are bounded (RULE-RANGES)."""

    serial: str = text(64)
    parameters: Parameters = a(Parameters)
    enrolled_at: int = seconds()
    sync: Sync = a(Sync)
    disabled: bool = a(bool, default=False)
    drift: int = number(-1000, 1000, default=0)
    pair_drift: int = number(-1000, 1000, default=0)  # the drift that the last pair set; login_drift counts from it
    lean: int = number(-1, 1, default=0)  # the side on which the last accepted code was off; 0: neither
    last_step: int = number(-1, COUNTERS - 1)
    failures: int = number(0, 10_000, default=0)  # consecutive
    failed_at: int = seconds(default=0)
    budget: int = number(0, 10_000)
    budget_at: int = seconds()  # since when the next token has been growing


class EnrollmentSession(Value):
    """The wizard, from the key shown to the two codes."""

    session_id: str = text(64)
    serial: str = text(64)
    parameters: Parameters = a(Parameters)
    opened_at: int = seconds()
    expires_at: int = seconds()
    attempts: int = number(0, 1000, default=0)


class Binding(Value, kw_only=False):
    """After a removal by others: the digest of the one-time binding code, empty once it was used."""

    digest: str = text(64, empty=True, repr=False)
    expires_at: int = seconds()


class Seal(Value, kw_only=False):
    """The record as it is stored, and its authentication. ``document`` holds the key reference."""

    document: str = a(str, repr=False)
    tag: str = a(str)


class Principal(Value):
    """The aggregate: all that is known of one principal, under one revision. Revision 0: never stored."""

    id: PrincipalId = a(PrincipalId)
    revision: int = number(0, LAST_SECOND, default=0)
    seen_at: int = seconds(default=-LAST_SECOND)  # the highest verifier time that was committed
    enrollment: EnrollmentSession | None = None
    device: VirtualDevice | None = None
    key_ref: KeyRef | None = None  # of the one device or enrollment
    openings: tuple[int, ...] = ()  # times of the sessions opened within the last day
    recovered_at: int = seconds(default=-LAST_SECOND)  # the newest recovery proof that was used
    binding: Binding | None = None
    events: int = number(0, LAST_SECOND, default=0)  # length of the history
    head: str = text(128, empty=True, default="")  # and the tag of its last event
    pruned: int = number(0, LAST_SECOND, default=0)  # events up to this number may be redacted
    redacted: int = number(0, LAST_SECOND, default=0)  # so many of them are
    seal: Seal | None = a(object, default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.redacted <= self.pruned <= self.events:
            raise InvalidValue("redacted <= pruned <= events")
        for opening in self.openings:
            check_time("openings", opening)
        if self.enrollment is not None and self.device is not None:
            raise InvalidValue("a principal has a device or enrolls one, never both")
        if (self.key_ref is None) != (self.enrollment is None and self.device is None):
            raise InvalidValue("a key is referred to by exactly one device or enrollment")


class MfaClaim(Value):
    """Proof that somebody signed in with a second factor: this device's serial, or another method's name."""

    at: int = seconds()
    serial: str = text(64, empty=True, default="")
    method: str = text(64, empty=True, default="")

    def __post_init__(self) -> None:
        if bool(self.serial) == bool(self.method):
            raise InvalidValue("a claim names a serial number or another method")


class Receipt(Value):
    """A code was accepted, and is spent. ``at`` is in seconds, ``step`` and ``drift`` in steps."""

    principal: PrincipalId
    serial: str
    step: int
    at: int
    drift: int
    failures_cleared: int

    @property
    def claim(self) -> MfaClaim:
        """The storable claim, for the actor of later operations."""
        return MfaClaim(at=self.at, serial=self.serial)


class SyncReport(Value):
    """RULE-BETTER-3: what two codes showed. ``steps_off`` is k, the steps of the second one from the verifier's."""

    device: VirtualDevice
    sync: Sync
    steps_off: int

    def __bool__(self) -> NoReturn:
        raise InvalidType("a report has no truth: look at its sync, which may be out of sync")


class OpenedEnrollment(Opaque):
    """The answer that opens a session, and the only one that shows the key (SEED-SHOW).

    ``base32`` is for manual entry, ``uri`` for a QR code, ``expires_at`` in Unix seconds.
    """

    __slots__ = ("base32", "expires_at", "serial", "session_id", "uri")
    session_id: str
    serial: str
    expires_at: int
    base32: str
    uri: str


class Deactivation(Opaque):
    """The device ``serial`` was removed. ``binding_code`` is text, or None where the policy asks for none."""

    __slots__ = ("at", "binding_code", "serial")
    serial: str
    at: int
    binding_code: str | None
