"""The values: who, which device, which session, and what the library answers.

Frozen, validated on construction, without transitions. No value here holds a key; what names one is
:class:`KeyRef`, and a principal has exactly one, so that one device is the shape of the type (SEED-ONE, RULE-PHONES).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from unicodedata import category, is_normalized

from .errors import InvalidType, InvalidValue
from .keys import Opaque
from .otp import COUNTERS, check_int
from .policy import Parameters

LONGEST_NAME: Final = 512  # bytes
LAST_SECOND: Final = 1 << 62
_UNPRINTABLE: Final = frozenset({"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"})  # Cn: what it will mean is not settled


def check_text(name: str, value: str, *, longest: int = LONGEST_NAME, empty: bool = False) -> None:
    """One spelling a name: NFC, no control characters, no blanks at the edges, bounded."""
    if not isinstance(value, str):
        raise InvalidType(f"{name} is text")
    if not value and not empty:
        raise InvalidValue(f"{name} is empty")
    if len(value) > longest:
        raise InvalidValue(f"{name} is longer than {longest} bytes")
    if value != value.strip():
        raise InvalidValue(f"{name} has blanks at its edges")
    if value.isascii() and value.isprintable():
        return
    if any(category(character) in _UNPRINTABLE for character in value):
        raise InvalidValue(f"{name} holds control characters")
    if not is_normalized("NFC", value):
        raise InvalidValue(f"{name} is not in Unicode normalization form C")
    if len(value.encode()) > longest:
        raise InvalidValue(f"{name} is longer than {longest} bytes")


def check_time(name: str, value: int) -> None:
    check_int(name, value, -LAST_SECOND, LAST_SECOND)


def check_is(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise InvalidType(f"{name} is a {kind.__name__}")


class Kind(StrEnum):
    """Of a principal: the account's root, or one of its users."""

    ROOT = "root"
    USER = "user"


@dataclass(frozen=True, slots=True)
class PrincipalId:
    """Who signs in (RULE-PRINCIPAL): stored identifiers, never changed, never reused, compared as bytes."""

    account: str
    kind: Kind
    name: str

    def __post_init__(self) -> None:
        check_text("account", self.account)
        check_is("kind", self.kind, Kind)
        check_text("name", self.name, empty=self.kind is Kind.ROOT)
        if self.kind is Kind.ROOT and self.name:
            raise InvalidValue("the name of root is empty")

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


@dataclass(frozen=True, slots=True)
class KeyRef:
    """Where a device's key comes from; its text shows no part of it. Dropping it destroys the key."""

    scheme: str
    key_id: str
    material: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_text("scheme", self.scheme, longest=32)
        check_text("key_id", self.key_id, longest=64, empty=True)
        check_is("material", self.material, bytes)
        if len(self.material) > 4096:
            raise InvalidValue("material is longer than 4096 bytes")


class Sync(StrEnum):
    """Whether the codes of an assigned device count."""

    IN_SYNC = "in sync"
    OUT_OF_SYNC = "out of sync"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualDevice:
    """An assigned device. Times are Unix seconds, drift and positions are steps. All are bounded (RULE-RANGES)."""

    serial: str
    parameters: Parameters
    enrolled_at: int
    sync: Sync
    disabled: bool = False
    drift: int = 0
    pair_drift: int = 0  # the drift that the last pair set; sign-in moves at most login_drift from it
    lean: int = 0  # the side, -1 or +1, on which the last accepted code was off; 0: neither
    last_step: int
    failures: int = 0  # consecutive
    failed_at: int = 0
    budget: int
    budget_at: int  # since when the next token has been growing

    def __post_init__(self) -> None:
        check_text("serial", self.serial, longest=64)
        check_is("parameters", self.parameters, Parameters)
        check_is("sync", self.sync, Sync)
        check_is("disabled", self.disabled, bool)
        check_int("drift", self.drift, -1000, 1000)
        check_int("pair_drift", self.pair_drift, -1000, 1000)
        check_int("lean", self.lean, -1, 1)
        check_int("last_step", self.last_step, -1, COUNTERS - 1)
        check_int("failures", self.failures, 0, 10_000)
        check_int("budget", self.budget, 0, 10_000)
        check_time("enrolled_at", self.enrolled_at)
        check_time("failed_at", self.failed_at)
        check_time("budget_at", self.budget_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentSession:
    """The wizard, from the key shown to the two codes."""

    session_id: str
    serial: str
    parameters: Parameters
    opened_at: int
    expires_at: int
    attempts: int = 0

    def __post_init__(self) -> None:
        check_text("session_id", self.session_id, longest=64)
        check_text("serial", self.serial, longest=64)
        check_is("parameters", self.parameters, Parameters)
        check_int("attempts", self.attempts, 0, 1000)
        check_time("opened_at", self.opened_at)
        check_time("expires_at", self.expires_at)


@dataclass(frozen=True, slots=True)
class Binding:
    """After a removal by others: the digest of the one-time binding code, empty once it was used."""

    digest: str = field(repr=False)
    expires_at: int

    def __post_init__(self) -> None:
        check_text("digest", self.digest, longest=64, empty=True)
        check_time("expires_at", self.expires_at)


@dataclass(frozen=True, slots=True)
class Seal:
    """The record as it is stored, and its authentication. ``document`` holds the key reference."""

    document: str = field(repr=False)
    tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The aggregate: all that is known of one principal, under one revision. Revision 0: never stored."""

    id: PrincipalId
    revision: int = 0
    seen_at: int = -LAST_SECOND  # the highest verifier time that was committed
    enrollment: EnrollmentSession | None = None
    device: VirtualDevice | None = None
    key_ref: KeyRef | None = None  # of the one device or enrollment
    openings: tuple[int, ...] = ()  # times of the sessions opened within the last day
    recovered_at: int = -LAST_SECOND  # the newest recovery proof that was used
    binding: Binding | None = None
    events: int = 0  # length of the history
    head: str = ""  # and the tag of its last event
    pruned: int = 0  # events up to this number may be redacted
    redacted: int = 0  # so many of them are
    seal: Seal | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_is("id", self.id, PrincipalId)
        check_int("revision", self.revision, 0, LAST_SECOND)
        check_int("events", self.events, 0, LAST_SECOND)
        check_int("pruned", self.pruned, 0, self.events)
        check_int("redacted", self.redacted, 0, self.pruned)
        check_time("seen_at", self.seen_at)
        check_time("recovered_at", self.recovered_at)
        check_text("head", self.head, longest=128, empty=True)
        for opening in self.openings:
            check_time("openings", opening)
        if self.enrollment is not None and self.device is not None:
            raise InvalidValue("a principal has a device or enrolls one, never both")
        if (self.key_ref is None) != (self.enrollment is None and self.device is None):
            raise InvalidValue("a key is referred to by exactly one device or enrollment")


@dataclass(frozen=True, slots=True, kw_only=True)
class MfaClaim:
    """Proof that somebody signed in with a second factor: this device's serial, or another method's name."""

    at: int
    serial: str = ""
    method: str = ""

    def __post_init__(self) -> None:
        check_time("at", self.at)
        check_text("serial", self.serial, longest=64, empty=True)
        check_text("method", self.method, longest=64, empty=True)
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

    def __init__(self, *, session_id: str, serial: str, expires_at: int, base32: str, uri: str) -> None:
        self._fill(session_id=session_id, serial=serial, expires_at=expires_at, base32=base32, uri=uri)


class Deactivation(Opaque):
    """The device ``serial`` was removed. ``binding_code`` is text, or None where the policy asks for none."""

    __slots__ = ("at", "binding_code", "serial")
    serial: str
    at: int
    binding_code: str | None

    def __init__(self, *, serial: str, at: int, binding_code: str | None) -> None:
        self._fill(serial=serial, at=at, binding_code=binding_code)

