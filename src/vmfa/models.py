"""The values: a principal, its device, its enrollment, and what the operations return.

They are frozen, validated and without transitions. None of them contains a key: a :class:`KeyRef`
says where a key comes from. A principal has one, so it cannot have two devices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NoReturn

from .errors import InvalidType, InvalidValue
from .keys import Opaque
from .otp import COUNTER_LIMIT
from .policy import Parameters
from .validators import (
    MAX_INTEGER,
    check_fields,
    check_time,
    instance_of,
    integer,
    text,
    timestamp,
)

__all__ = [
    "BindingCode",
    "ClientToken",
    "Deactivation",
    "EnrollmentSession",
    "KeyRef",
    "Kind",
    "MfaClaim",
    "OpenedEnrollment",
    "Principal",
    "PrincipalId",
    "Receipt",
    "RecoveryCodes",
    "Sync",
    "SyncReport",
    "VirtualDevice",
]

MAX_FAILING_CLIENTS: Final = 4
MAX_RECOVERY_CODES: Final = 20
_set = object.__setattr__  # because the values are frozen


class Kind(StrEnum):
    """The two kinds of principals: the root of an account, and its users."""

    ROOT = "root"
    USER = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalId:
    """A person who signs in: stored identifiers that never change and are never reused.

    Names are compared as bytes. Build one with :meth:`user` or :meth:`root`. A service with one
    tenant uses one constant account, such as ``"main"``.
    """

    # RULE-PRINCIPAL
    account: str = field(metadata=text())
    kind: Kind = field(metadata=instance_of(Kind))
    name: str = field(metadata=text(empty=True))

    def __post_init__(self) -> None:
        check_fields(self)
        if self.kind is Kind.ROOT and self.name:
            raise InvalidValue("the name of root must be empty")
        if self.kind is Kind.USER and not self.name:
            raise InvalidValue("the name of a user must not be empty")

    @classmethod
    def user(cls, account: str, name: str) -> PrincipalId:
        """Return the user of *account* with this stored *name*.

        :raises InvalidValue: a text is empty, too long, not in NFC, or has invisible characters.
        """
        return cls(account=account, kind=Kind.USER, name=name)

    @classmethod
    def root(cls, account: str) -> PrincipalId:
        """Return the root of *account*: the owner of the account itself."""
        return cls(account=account, kind=Kind.ROOT, name="")

    @property
    def is_root(self) -> bool:
        """Whether this is the root of its account."""
        return self.kind is Kind.ROOT

    def __str__(self) -> str:
        account = self.account.replace("%", "%25").replace("/", "%2F")
        return f"{account}/{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRef:
    """Where the key of a device comes from. Without it the key is lost.

    ``scheme`` names the key source, ``key_id`` the master key, and ``material`` is a nonce or an
    encrypted key.
    """

    scheme: str = field(metadata=text(32))
    key_id: str = field(metadata=text(64, empty=True))
    material: bytes = field(repr=False, metadata=instance_of(bytes))

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.material) > 4096:
            raise InvalidValue("material must not be longer than 4096 bytes")


class Sync(StrEnum):
    """Whether the codes of an assigned device are accepted."""

    IN_SYNC = "in sync"
    OUT_OF_SYNC = "out of sync"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingClient:
    """A client token whose last attempts failed: its id in hex, and Unix seconds."""

    token_id: str = field(metadata=text(32))
    failures: int = field(metadata=integer(1, 1000))
    expires_at: int = field(metadata=timestamp())

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientState:
    """What is known of the client tokens of a device.

    Tokens of an earlier ``epoch`` are worthless. ``given`` is the id of a token for one sign-in
    that was not used yet.
    """

    epoch: int = field(default=0, metadata=integer(0, MAX_INTEGER))
    failing: tuple[FailingClient, ...] = ()
    given: str = field(default="", metadata=text(32, empty=True))

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.failing) > MAX_FAILING_CLIENTS:
            raise InvalidValue(f"failing must not have more than {MAX_FAILING_CLIENTS} clients")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryState:
    """The digests of the unused recovery codes of a device, and the wrong ones in a row."""

    codes: tuple[str, ...] = field(default=(), repr=False)
    failures: int = field(default=0, metadata=integer(0, MAX_INTEGER))
    failed_at: int = field(default=0, metadata=timestamp())

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.codes) > MAX_RECOVERY_CODES:
            raise InvalidValue(f"there must not be more than {MAX_RECOVERY_CODES} codes")


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualDevice:
    """An assigned device. Times are Unix seconds; drift and ``last_step`` are in time steps.

    ``failures`` and ``failed_at`` count consecutive failures without a client token,
    ``known_failures`` and ``known_failed_at`` those with one. ``budget`` is what remains of the
    guess budget at ``budget_updated_at``.
    """

    # RULE-RANGES
    serial: str = field(metadata=text(64))
    parameters: Parameters = field(metadata=instance_of(Parameters))
    enrolled_at: int = field(metadata=timestamp())
    sync: Sync = field(metadata=instance_of(Sync))
    disabled: bool = field(default=False, metadata=instance_of(bool))
    drift: int = field(default=0, metadata=integer(-1000, 1000))
    synced_drift: int = field(default=0, metadata=integer(-1000, 1000))  # set by the last pair
    last_offset: int = field(default=0, metadata=integer(-1, 1))  # of the last accepted code
    last_step: int = field(metadata=integer(-1, COUNTER_LIMIT - 1))
    failures: int = field(default=0, metadata=integer(0, 10_000))
    failed_at: int = field(default=0, metadata=timestamp())
    known_failures: int = field(default=0, metadata=integer(0, 10_000))
    known_failed_at: int = field(default=0, metadata=timestamp())
    budget: int = field(metadata=integer(0, 10_000))
    budget_updated_at: int = field(metadata=timestamp())  # when the next token began to grow
    budget_restored_at: int = field(default=-MAX_INTEGER, metadata=timestamp())
    clients: ClientState = field(default=ClientState(), metadata=instance_of(ClientState))
    recovery: RecoveryState = field(default=RecoveryState(), metadata=instance_of(RecoveryState))

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentSession:
    """An open enrollment, from the display of the key to the two codes, in Unix seconds."""

    session_id: str = field(metadata=text(64))
    serial: str = field(metadata=text(64))
    parameters: Parameters = field(metadata=instance_of(Parameters))
    opened_at: int = field(metadata=timestamp())
    expires_at: int = field(metadata=timestamp())
    attempts: int = field(default=0, metadata=integer(0, 1000))
    opened_by_owner: bool = field(default=True, metadata=instance_of(bool))

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingBinding:
    """The owner needs a one-time code to enroll again: its digest, and when it expires."""

    digest: str = field(repr=False, metadata=text(64))
    expires_at: int = field(metadata=timestamp())

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A record as it is stored: its document, the tag over it, and the tag for auditors."""

    document: str = field(repr=False, metadata=instance_of(str))
    tag: str = field(metadata=instance_of(str))
    audit_tag: str = field(default="", metadata=instance_of(str))

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """All that is stored of one principal, at one revision. Revision 0 was never stored.

    ``seen_at`` is the highest verifier time that was committed. ``events`` is the length of the
    history and ``head`` the digest of its last event; redactable events up to number ``pruned``
    are redacted.
    """

    id: PrincipalId = field(metadata=instance_of(PrincipalId))
    revision: int = field(default=0, metadata=integer(0, MAX_INTEGER))
    seen_at: int = field(default=-MAX_INTEGER, metadata=timestamp())
    enrollment: EnrollmentSession | None = None
    device: VirtualDevice | None = None
    key_ref: KeyRef | None = None  # of the device or the enrollment
    enrollment_times: tuple[int, ...] = ()  # of the sessions opened within the last day
    # Proofs of recovery up to this time are used.
    recovered_at: int = field(default=-MAX_INTEGER, metadata=timestamp())
    binding: PendingBinding | None = None
    events: int = field(default=0, metadata=integer(0, MAX_INTEGER))
    head: str = field(default="", metadata=text(128, empty=True))
    pruned: int = field(default=0, metadata=integer(0, MAX_INTEGER))
    envelope: Envelope | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.pruned > self.events:
            raise InvalidValue("pruned must not exceed events")
        for opened_at in self.enrollment_times:
            check_time("enrollment_times", opened_at)
        if self.enrollment is not None and self.device is not None:  # SEED-ONE, RULE-PHONES
            raise InvalidValue("a principal has either a device or an open enrollment")
        if (self.key_ref is None) != (self.enrollment is None and self.device is None):
            raise InvalidValue("key_ref must be set exactly if there is a device or an enrollment")


class Unlisted:
    """Base of a dataclass with one secret outside of its fields.

    ``repr``, ``==``, ``asdict``, ``pickle`` and ``copy`` work on the fields, so they leave it out.
    """

    __slots__ = ("_secret",)
    _secret: Any

    def with_secret(self, secret: object) -> None:
        """Set the secret once, right after the value was created."""
        _set(self, "_secret", secret)

    def secret(self) -> Any:
        """Return the secret, or None if it was never set."""
        return getattr(self, "_secret", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class MfaClaim:
    """The statement that a principal presented a second factor at the Unix time ``at``.

    It names the serial number of the device, or another ``method`` of the service. ``tag`` is a
    MAC over the principal and these fields, made by the library. Keep the claim in the session:
    :meth:`to_dict` and :meth:`from_dict` survive JSON, cookies and JWTs.
    """

    at: int = field(metadata=timestamp())
    serial: str = field(default="", metadata=text(64, empty=True))
    method: str = field(default="", metadata=text(64, empty=True))
    tag: str = field(default="", repr=False, metadata=text(128, empty=True))

    def __post_init__(self) -> None:
        check_fields(self)
        if bool(self.serial) == bool(self.method):
            raise InvalidValue("a claim must name either a serial number or another method")

    def to_dict(self) -> dict[str, str | int]:
        """Return the claim as a dict of JSON values."""
        # RULE-CLAIM-DICT
        return {
            "v": 1, "at": self.at, "serial": self.serial, "method": self.method, "tag": self.tag,
        }

    @classmethod
    def from_dict(cls, value: object) -> MfaClaim:
        """Return the claim that :meth:`to_dict` wrote. Its MAC is checked where the claim is used.

        :raises InvalidValue: *value* is not such a dict.
        """
        problem = InvalidValue("not a claim: pass the dict that MfaClaim.to_dict() returned")
        if not isinstance(value, dict) or value.keys() != {"v", "at", "serial", "method", "tag"}:
            raise problem
        if type(value["v"]) is not int or value["v"] != 1:
            raise problem
        fields = {name: value[name] for name in ("at", "serial", "method", "tag")}
        try:
            return cls(**fields)
        except (InvalidValue, InvalidType):
            raise problem from None


class ClientToken(Opaque):
    """The token of a known client, for a cookie. ``text`` is at most 256 ASCII characters."""

    __slots__ = ("expires_at", "text")
    text: str
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt(Unlisted):
    """A code was accepted and is spent. ``at`` is in Unix seconds, the rest in steps."""

    principal: PrincipalId
    serial: str
    step: int
    at: int
    drift: int
    failures_cleared: int
    claim: MfaClaim

    @property
    def client_token(self) -> ClientToken | None:
        """A new token for this client, if the policy has known clients."""
        token: ClientToken | None = self.secret()
        return token


class RecoveryCodes(Opaque):
    """Saved recovery codes, shown once: ``codes`` is a tuple of texts."""

    __slots__ = ("codes",)
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport(Unlisted):
    """What two codes showed. ``steps_off`` is the distance of the second one from now, in steps.

    Check ``sync``: a report cannot be used as a boolean.
    """

    # RULE-BETTER-3
    device: VirtualDevice
    sync: Sync
    steps_off: int

    @property
    def recovery_codes(self) -> RecoveryCodes | None:
        """New recovery codes, if the policy has them and the owner confirmed the enrollment."""
        codes: RecoveryCodes | None = self.secret()
        return codes

    def __bool__(self) -> NoReturn:
        raise InvalidType("SyncReport cannot be used as a boolean: check report.sync")


class OpenedEnrollment(Opaque):
    """The answer that opens an enrollment: the only one that shows the key.

    ``base32`` is the key for manual entry, ``uri`` the same for a QR code. ``expires_at`` is in
    Unix seconds.
    """

    # SEED-SHOW
    __slots__ = ("base32", "expires_at", "serial", "session_id", "uri")
    session_id: str
    serial: str
    expires_at: int
    base32: str
    uri: str


class BindingCode(Opaque):
    """A one-time code with which the owner enrolls again. ``expires_at`` is in Unix seconds."""

    __slots__ = ("code", "expires_at")
    code: str
    expires_at: int


class Deactivation(Opaque):
    """The device ``serial`` was removed at the Unix time ``at``.

    ``binding_code`` is the text that the owner needs to enroll again, or None if none is needed.
    """

    __slots__ = ("at", "binding_code", "serial")
    serial: str
    at: int
    binding_code: str | None
