"""The values: who, which device, which session, and what the library answers.

Frozen, validated on construction, without transitions. No value here holds a key; what names one is
:class:`KeyRef`, and a principal has exactly one, so that one device is the shape of the type (SEED-ONE, RULE-PHONES).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn

from .errors import InvalidType, InvalidValue
from .keys import Opaque
from .otp import COUNTER_LIMIT
from .policy import Parameters
from .validators import MAX_INTEGER, check_fields, check_time, instance_of, integer, text, timestamp

__all__ = [
    "Deactivation",
    "EnrollmentSession",
    "KeyRef",
    "Kind",
    "MfaClaim",
    "OpenedEnrollment",
    "Principal",
    "PrincipalId",
    "Receipt",
    "Sync",
    "SyncReport",
    "VirtualDevice",
]


class Kind(StrEnum):
    """Of a principal: the account's root, or one of its users."""

    ROOT = "root"
    USER = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalId:
    """Who signs in (RULE-PRINCIPAL): stored identifiers, never changed, never reused, compared as bytes."""

    account: str = field(metadata=text())
    kind: Kind = field(metadata=instance_of(Kind))
    name: str = field(metadata=text(empty=True))

    def __post_init__(self) -> None:
        check_fields(self)
        if (not self.name) != (self.kind is Kind.ROOT):
            raise InvalidValue("name is empty" if not self.name else "the name of root is empty")

    @classmethod
    def user(cls, account: str, name: str) -> PrincipalId:
        return cls(account=account, kind=Kind.USER, name=name)

    @classmethod
    def root(cls, account: str) -> PrincipalId:
        return cls(account=account, kind=Kind.ROOT, name="")

    @property
    def is_root(self) -> bool:
        return self.kind is Kind.ROOT

    def __str__(self) -> str:
        account = self.account.replace("%", "%25").replace("/", "%2F")
        return f"{account}/{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRef:
    """Where a device's key comes from; its text shows no part of it. Dropping it destroys the key."""

    scheme: str = field(metadata=text(32))
    key_id: str = field(metadata=text(64, empty=True))
    material: bytes = field(repr=False, metadata=instance_of(bytes))

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.material) > 4096:
            raise InvalidValue("material is longer than 4096 bytes")


class Sync(StrEnum):
    """Whether the codes of an assigned device count."""

    IN_SYNC = "in sync"
    OUT_OF_SYNC = "out of sync"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualDevice:
    """An assigned device. Times are Unix seconds, drift and positions are steps. All are bounded (RULE-RANGES)."""

    serial: str = field(metadata=text(64))
    parameters: Parameters = field(metadata=instance_of(Parameters))
    enrolled_at: int = field(metadata=timestamp())
    sync: Sync = field(metadata=instance_of(Sync))
    disabled: bool = field(default=False, metadata=instance_of(bool))
    drift: int = field(default=0, metadata=integer(-1000, 1000))
    synced_drift: int = field(default=0, metadata=integer(-1000, 1000))  # the drift that the last pair set; login_drift counts from it
    last_offset: int = field(default=0, metadata=integer(-1, 1))  # the side on which the last accepted code was off; 0: neither
    last_step: int = field(metadata=integer(-1, COUNTER_LIMIT - 1))
    failures: int = field(default=0, metadata=integer(0, 10_000))  # consecutive
    failed_at: int = field(default=0, metadata=timestamp())
    budget: int = field(metadata=integer(0, 10_000))
    budget_updated_at: int = field(metadata=timestamp())  # since when the next token has been growing

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentSession:
    """The wizard, from the key shown to the two codes."""

    session_id: str = field(metadata=text(64))
    serial: str = field(metadata=text(64))
    parameters: Parameters = field(metadata=instance_of(Parameters))
    opened_at: int = field(metadata=timestamp())
    expires_at: int = field(metadata=timestamp())
    attempts: int = field(default=0, metadata=integer(0, 1000))

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingBinding:
    """After a removal by others: the digest of the one-time binding code, empty once it was used."""

    digest: str = field(repr=False, metadata=text(64, empty=True))
    expires_at: int = field(metadata=timestamp())

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The record as it is stored, and its authentication. ``document`` holds the key reference."""

    document: str = field(repr=False, metadata=instance_of(str))
    tag: str = field(metadata=instance_of(str))

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The aggregate: all that is known of one principal, under one revision. Revision 0: never stored."""

    id: PrincipalId = field(metadata=instance_of(PrincipalId))
    revision: int = field(default=0, metadata=integer(0, MAX_INTEGER))
    seen_at: int = field(default=-MAX_INTEGER, metadata=timestamp())  # the highest verifier time that was committed
    enrollment: EnrollmentSession | None = None
    device: VirtualDevice | None = None
    key_ref: KeyRef | None = None  # of the one device or enrollment
    enrollment_times: tuple[int, ...] = ()  # times of the sessions opened within the last day
    recovered_at: int = field(default=-MAX_INTEGER, metadata=timestamp())  # the newest recovery proof that was used
    binding: PendingBinding | None = None
    events: int = field(default=0, metadata=integer(0, MAX_INTEGER))  # length of the history
    head: str = field(default="", metadata=text(128, empty=True))  # and the tag of its last event
    pruned: int = field(default=0, metadata=integer(0, MAX_INTEGER))  # events up to this number may be redacted
    redacted: int = field(default=0, metadata=integer(0, MAX_INTEGER))  # so many of them are
    envelope: Envelope | None = field(default=None, repr=False, metadata=instance_of(object))

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.redacted <= self.pruned <= self.events:
            raise InvalidValue("redacted <= pruned <= events")
        for opening in self.enrollment_times:
            check_time("enrollment_times", opening)
        if self.enrollment is not None and self.device is not None:
            raise InvalidValue("a principal has a device or enrolls one, never both")
        if (self.key_ref is None) != (self.enrollment is None and self.device is None):
            raise InvalidValue("a key is referred to by exactly one device or enrollment")


@dataclass(frozen=True, slots=True, kw_only=True)
class MfaClaim:
    """Proof that somebody signed in with a second factor: this device's serial, or another method's name."""

    at: int = field(metadata=timestamp())
    serial: str = field(default="", metadata=text(64, empty=True))
    method: str = field(default="", metadata=text(64, empty=True))

    def __post_init__(self) -> None:
        check_fields(self)
        if bool(self.serial) == bool(self.method):
            raise InvalidValue("a claim names a serial number or another method")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
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
