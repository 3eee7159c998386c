"""vmfa: virtual MFA devices done right.

RFC 4226 and RFC 6238, and the rules of assigning a virtual device to a person: two consecutive codes assign
it, one device a principal, a code counts once, guesses are throttled and budgeted, a lost or drifting phone
has its way back. No package at runtime.

Most users need four names::

    from vmfa import Actor, DerivedKeys, DeviceRegistry, PrincipalId, SQLiteStore

    registry = DeviceRegistry(SQLiteStore("mfa.db"), keys=DerivedKeys(master_key), issuer="Example")
    alice = PrincipalId.user("123456789012", "u-4711")
    me = Actor.signed_in(alice)                      # after the first factor
    opened = registry.open_enrollment(alice, by=me, label="alice@example.com")
    opened.base32, opened.uri                        # shown once
    registry.confirm_enrollment(alice, session=opened.session_id, code1=first, code2=second, by=me)
    receipt = registry.verify(alice, code)           # a receipt, or an error that says what to do

``totp``, ``hotp``, ``verify_totp``, ``verify_hotp``, ``step_at``, ``seconds_left`` and ``next_step_at`` are the
RFC layer: stateless, for whoever keeps the replay position elsewhere. ``Operations`` is for a service that
stores records in its own transaction. Every error is a ``VmfaError``; ``vmfa.errors`` sorts them by what to do.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .access import Actor as Actor, Role as Role
    from .decision import Decision as Decision
    from .errors import (
        AccessDenied as AccessDenied,
        AlreadyUsed as AlreadyUsed,
        ClockWentBack as ClockWentBack,
        CodeRejected as CodeRejected,
        DeviceAlreadyAssigned as DeviceAlreadyAssigned,
        DeviceDisabled as DeviceDisabled,
        InvalidType as InvalidType,
        InvalidValue as InvalidValue,
        MalformedCode as MalformedCode,
        MissingExtra as MissingExtra,
        NoDevice as NoDevice,
        NoSession as NoSession,
        OutOfSync as OutOfSync,
        PairRejected as PairRejected,
        RecordTampered as RecordTampered,
        StoreContended as StoreContended,
        StoreCorrupt as StoreCorrupt,
        StoreError as StoreError,
        StoreTooNew as StoreTooNew,
        StoreUnavailable as StoreUnavailable,
        Throttled as Throttled,
        TooManySessions as TooManySessions,
        UnknownMasterKey as UnknownMasterKey,
        VmfaError as VmfaError,
    )
    from .events import AuditEvent as AuditEvent, Happened as Happened
    from .keys import Key as Key, UnsafeShortKey as UnsafeShortKey
    from .keysource import DerivedKeys as DerivedKeys, KeySource as KeySource, UnsafePlainKeys as UnsafePlainKeys
    from .known_answers import KnownAnswer as KnownAnswer, SelfTest as SelfTest, selftest as selftest
    from .model import (
        Deactivation as Deactivation,
        EnrollmentSession as EnrollmentSession,
        KeyRef as KeyRef,
        Kind as Kind,
        MfaClaim as MfaClaim,
        OpenedEnrollment as OpenedEnrollment,
        Principal as Principal,
        PrincipalId as PrincipalId,
        Receipt as Receipt,
        Sync as Sync,
        SyncReport as SyncReport,
        VirtualDevice as VirtualDevice,
    )
    from .operations import Operation as Operation, Operations as Operations
    from .otp import (
        hotp as hotp,
        next_step_at as next_step_at,
        seconds_left as seconds_left,
        step_at as step_at,
        totp as totp,
        verify_hotp as verify_hotp,
        verify_totp as verify_totp,
    )
    from .policy import Parameters as Parameters, Policy as Policy
    from .registry import DeviceRegistry as DeviceRegistry
    from .stores.memory import MemoryStore as MemoryStore
    from .stores.port import Store as Store
    from .stores.sqlite import SQLiteStore as SQLiteStore

_HOMES = {
    "access": "Actor Role",
    "errors": (
        "AccessDenied AlreadyUsed ClockWentBack CodeRejected DeviceAlreadyAssigned DeviceDisabled InvalidType "
        "InvalidValue MalformedCode MissingExtra NoDevice NoSession OutOfSync PairRejected RecordTampered "
        "StoreContended StoreCorrupt StoreError StoreTooNew StoreUnavailable Throttled TooManySessions "
        "UnknownMasterKey VmfaError"
    ),
    "events": "AuditEvent Happened",
    "keys": "Key UnsafeShortKey",
    "keysource": "DerivedKeys KeySource UnsafePlainKeys",
    "known_answers": "KnownAnswer SelfTest selftest",
    "model": (
        "Deactivation EnrollmentSession KeyRef Kind MfaClaim OpenedEnrollment Principal PrincipalId Receipt Sync "
        "SyncReport VirtualDevice"
    ),
    "operations": "Operation Operations",
    "otp": "hotp next_step_at seconds_left step_at totp verify_hotp verify_totp",
    "policy": "Parameters Policy",
    "registry": "DeviceRegistry",
    "decision": "Decision",
    "stores.memory": "MemoryStore",
    "stores.port": "Store",
    "stores.sqlite": "SQLiteStore",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_HOME)  # noqa: PLE0605  # one table says where each public name lives


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562): ``import vmfa`` alone costs nothing."""
    from importlib import import_module

    if name == "errors":
        return import_module(".errors", __name__)
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'vmfa' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{home}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
