"""The values: a principal, its device, its enrollment, and what the operations return.

They are frozen and validated, and they have no transitions. None of them contains a key: a
:class:`KeyRef` says where a key comes from. A principal has one, so it cannot have two devices.
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

    Build one with :meth:`user` or :meth:`root`. Names are compared as bytes.

    :param account: the tenant. A service with one tenant uses a constant, such as ``"main"``.
    :param kind: whether this is the root of the account or one of its users.
    :param name: the stored identifier of a user; empty for root.
    :raises InvalidType: a field has the wrong type.
    :raises InvalidValue: a text is empty, too long, not in NFC, or has invisible characters.
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

        :param account: the tenant. A service with one tenant uses a constant, such as ``"main"``.
        :param name: the id of the user in your database, as text: ``str(user.id)``.
        :raises InvalidType: an argument is not a str.
        :raises InvalidValue: a text is empty, too long, not in NFC, or has invisible characters.
        """
        if not isinstance(name, str):
            raise InvalidType("name must be a str: pass str(user.id), for example")
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


def check_principal(value: object) -> None:
    """Check that *value* names a principal.

    :raises InvalidType: it is not a :class:`PrincipalId`.
    """
    if not isinstance(value, PrincipalId):
        raise InvalidType(
            "principal must be a PrincipalId: pass PrincipalId.user(account, str(user.id))"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRef:
    """Where the key of a device comes from. Without it the key is lost.

    :param scheme: the name of the key source.
    :param key_id: the id of the master key.
    :param material: a nonce or an encrypted key, at most 4096 bytes.
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
    """A client token whose last attempts failed.

    :param token_id: the id of the token, in hexadecimal.
    :param failures: its consecutive failures.
    :param expires_at: the Unix time, in seconds, at which the token expires.
    """

    token_id: str = field(metadata=text(32))
    failures: int = field(metadata=integer(1, 1000))
    expires_at: int = field(metadata=timestamp())

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientState:
    """The state of the client tokens of a device.

    :param epoch: a counter. Tokens of an earlier epoch are not valid.
    :param failing: the tokens whose last attempts failed.
    :param given: the id of the token that an administrator gave to the owner for one sign-in;
        empty if there is none or if it was used.
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
    """The saved recovery codes of a device.

    :param codes: the digests of the unused codes.
    :param failures: how many wrong codes were entered in a row.
    :param failed_at: the Unix time of the last of them, in seconds.
    """

    codes: tuple[str, ...] = field(default=(), repr=False)
    failures: int = field(default=0, metadata=integer(0, MAX_INTEGER))
    failed_at: int = field(default=0, metadata=timestamp())

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.codes) > MAX_RECOVERY_CODES:
            raise InvalidValue(f"there must not be more than {MAX_RECOVERY_CODES} codes")


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualDevice:
    """An assigned device. Times are Unix times in seconds.

    :param serial: the serial number: 32 hexadecimal digits.
    :param parameters: algorithm, digits, period and T0 of its codes.
    :param enrolled_at: when it was assigned.
    :param sync: whether its codes are accepted.
    :param disabled: whether too many failures disabled it for good.
    :param drift: its clock minus the verifier's, in steps.
    :param synced_drift: the drift that the last resynchronization found, in steps.
    :param last_offset: the distance of the last accepted code from the expected step, in steps.
    :param last_step: the last spent step. No code of it or of an earlier step is accepted.
    :param failures: consecutive failures without a client token.
    :param failed_at: the time of the last of them.
    :param known_failures: consecutive failures with a client token.
    :param known_failed_at: the time of the last of them.
    :param budget: what remained of the guess budget at ``budget_updated_at``.
    :param budget_updated_at: when the budget was updated. The next refill counts from here.
    :param budget_restored_at: when an administrator last restored the budget.
    :param clients: the state of its client tokens.
    :param recovery: its saved recovery codes.
    """

    # RULE-RANGES
    serial: str = field(metadata=text(64))
    parameters: Parameters = field(metadata=instance_of(Parameters))
    enrolled_at: int = field(metadata=timestamp())
    sync: Sync = field(metadata=instance_of(Sync))
    disabled: bool = field(default=False, metadata=instance_of(bool))
    drift: int = field(default=0, metadata=integer(-1000, 1000))
    synced_drift: int = field(default=0, metadata=integer(-1000, 1000))
    last_offset: int = field(default=0, metadata=integer(-1, 1))
    last_step: int = field(metadata=integer(-1, COUNTER_LIMIT - 1))
    failures: int = field(default=0, metadata=integer(0, 10_000))
    failed_at: int = field(default=0, metadata=timestamp())
    known_failures: int = field(default=0, metadata=integer(0, 10_000))
    known_failed_at: int = field(default=0, metadata=timestamp())
    budget: int = field(metadata=integer(0, 10_000))
    budget_updated_at: int = field(metadata=timestamp())
    budget_restored_at: int = field(default=-MAX_INTEGER, metadata=timestamp())
    clients: ClientState = field(default=ClientState(), metadata=instance_of(ClientState))
    recovery: RecoveryState = field(default=RecoveryState(), metadata=instance_of(RecoveryState))

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentSession:
    """An open enrollment, from the display of the key to the two codes.

    :param session_id: the id of the session: 32 hexadecimal digits.
    :param serial: the serial number of the future device.
    :param parameters: algorithm, digits, period and T0 of its codes.
    :param opened_at: the Unix time at which it was opened, in seconds.
    :param expires_at: the Unix time at which it ends, in seconds.
    :param attempts: how many wrong pairs of codes were entered.
    :param opened_by_owner: whether the owner opened it, and not another person.
    """

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
    """The one-time code that the owner needs to enroll again.

    :param digest: the digest of the code.
    :param expires_at: the Unix time at which the code expires, in seconds.
    """

    digest: str = field(repr=False, metadata=text(64))
    expires_at: int = field(metadata=timestamp())

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A record as it is stored: its JSON document, the tag over it, and the tag for auditors."""

    document: str = field(repr=False, metadata=instance_of(str))
    tag: str = field(metadata=instance_of(str))
    audit_tag: str = field(default="", metadata=instance_of(str))

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Everything that is stored about one principal, at one revision. Times are in Unix seconds.

    :param id: the identifiers of the principal.
    :param revision: the number of commits so far; 0: it was never stored.
    :param seen_at: the highest time of the verifier that was committed.
    :param enrollment: the open enrollment.
    :param device: the assigned device.
    :param key_ref: where the key of the device or of the enrollment comes from.
    :param enrollment_times: when the enrollments of the last 24 hours were opened.
    :param recovered_at: proofs of recovery up to this time are used.
    :param binding: the code that the owner needs to enroll again.
    :param events: the number of events in the history.
    :param head: the digest of the last event.
    :param pruned: the redactable events up to this number are redacted.
    :param envelope: the record as it is stored.
    """

    id: PrincipalId = field(metadata=instance_of(PrincipalId))
    revision: int = field(default=0, metadata=integer(0, MAX_INTEGER))
    seen_at: int = field(default=-MAX_INTEGER, metadata=timestamp())
    enrollment: EnrollmentSession | None = None
    device: VirtualDevice | None = None
    key_ref: KeyRef | None = None
    enrollment_times: tuple[int, ...] = ()
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


class WithSecret:
    """Base of a dataclass that has one secret, which is not a field.

    ``repr``, ``==``, ``asdict``, ``pickle`` and ``copy`` use the fields, so they omit the secret.
    """

    __slots__ = ("_secret",)
    _secret: Any

    def set_secret(self, secret: object) -> None:
        """Set the secret. Call it once, right after the value was created."""
        _set(self, "_secret", secret)

    def secret(self) -> Any:
        """Return the secret, or None if it was never set."""
        return getattr(self, "_secret", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class MfaClaim:
    """The statement that a principal presented a second factor. Keep it in the session.

    :meth:`to_dict` and :meth:`from_dict` convert it for JSON, cookies and JWTs.

    :param at: the Unix time of the second factor, in seconds.
    :param serial: the serial number of the device; empty for another method.
    :param method: the other method of the service, such as "passkey"; empty for a device.
    :param tag: the MAC of the library over the principal and these fields.
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

        :param value: the dict.
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
    """The token of a known client, for a cookie.

    :ivar text: the token: at most 256 ASCII characters.
    :ivar expires_at: the Unix time at which it expires, in seconds.
    """

    __slots__ = ("expires_at", "text")
    text: str
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt(WithSecret):
    """A code was accepted and is spent.

    :param principal: the owner of the device.
    :param serial: the serial number of the device.
    :param step: the time step of the code.
    :param at: the Unix time of the sign-in, in seconds.
    :param drift: the drift of the device after the sign-in, in steps.
    :param failures_cleared: how many consecutive failures the sign-in ended.
    :param claim: the claim of this second factor, for the session.
    """

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
    """Saved recovery codes, shown once.

    :ivar codes: the codes, as texts.
    """

    __slots__ = ("codes",)
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport(WithSecret):
    """The result of two codes. Check ``sync``: a report cannot be used as a boolean.

    :param device: the device after the two codes.
    :param sync: whether the codes of the device are accepted from now on.
    :param steps_off: the distance of the second code from the current step; negative: behind.
    """

    device: VirtualDevice
    sync: Sync
    steps_off: int

    @property
    def recovery_codes(self) -> RecoveryCodes | None:
        """New recovery codes, if the policy has them and the owner confirmed the enrollment."""
        codes: RecoveryCodes | None = self.secret()
        return codes

    def __bool__(self) -> NoReturn:
        # RULE-BETTER-3
        raise InvalidType("SyncReport cannot be used as a boolean: check report.sync")


class OpenedEnrollment(Opaque):
    """An enrollment that was opened. No other value shows its key.

    :ivar session_id: the id of the session, for ``confirm_enrollment``.
    :ivar serial: the serial number of the future device.
    :ivar expires_at: the Unix time at which the enrollment ends, in seconds.
    :ivar base32: the key, for manual entry.
    :ivar uri: the key as an ``otpauth://`` URI, for a QR code.
    """

    # SEED-SHOW
    __slots__ = ("base32", "expires_at", "serial", "session_id", "uri")
    session_id: str
    serial: str
    expires_at: int
    base32: str
    uri: str


class BindingCode(Opaque):
    """A one-time code that the owner needs to enroll again.

    :ivar code: the code.
    :ivar expires_at: the Unix time at which it expires, in seconds.
    """

    __slots__ = ("code", "expires_at")
    code: str
    expires_at: int


class Deactivation(Opaque):
    """A device was removed.

    :ivar serial: the serial number of the device.
    :ivar at: the Unix time of the removal, in seconds.
    :ivar binding_code: the code that the owner needs to enroll again; None if none is needed.
    :ivar binding_code_expires_at: the Unix time at which the code expires, in seconds; 0 without a
        code.
    """

    __slots__ = ("at", "binding_code", "binding_code_expires_at", "serial")
    serial: str
    at: int
    binding_code: str | None
    binding_code_expires_at: int
