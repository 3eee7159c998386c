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
    from .access import Actor as Actor
    from .access import Role as Role
    from .decision import Decision as Decision
    from .errors import AccessDenied as AccessDenied
    from .errors import AlreadyUsed as AlreadyUsed
    from .errors import ClockWentBack as ClockWentBack
    from .errors import CodeRejected as CodeRejected
    from .errors import DeviceAlreadyAssigned as DeviceAlreadyAssigned
    from .errors import DeviceDisabled as DeviceDisabled
    from .errors import InvalidType as InvalidType
    from .errors import InvalidValue as InvalidValue
    from .errors import MalformedCode as MalformedCode
    from .errors import MissingExtra as MissingExtra
    from .errors import NoDevice as NoDevice
    from .errors import NoSession as NoSession
    from .errors import OutOfSync as OutOfSync
    from .errors import PairRejected as PairRejected
    from .errors import RecordTampered as RecordTampered
    from .errors import StoreContended as StoreContended
    from .errors import StoreCorrupt as StoreCorrupt
    from .errors import StoreError as StoreError
    from .errors import StoreTooNew as StoreTooNew
    from .errors import StoreUnavailable as StoreUnavailable
    from .errors import Throttled as Throttled
    from .errors import TooManySessions as TooManySessions
    from .errors import UnknownMasterKey as UnknownMasterKey
    from .errors import VmfaError as VmfaError
    from .events import AuditEvent as AuditEvent
    from .events import Happened as Happened
    from .keys import Key as Key
    from .keys import UnsafeShortKey as UnsafeShortKey
    from .keysource import DerivedKeys as DerivedKeys
    from .keysource import KeySource as KeySource
    from .keysource import UnsafePlainKeys as UnsafePlainKeys
    from .model import Deactivation as Deactivation
    from .model import EnrollmentSession as EnrollmentSession
    from .model import KeyRef as KeyRef
    from .model import Kind as Kind
    from .model import MfaClaim as MfaClaim
    from .model import OpenedEnrollment as OpenedEnrollment
    from .model import Principal as Principal
    from .model import PrincipalId as PrincipalId
    from .model import Receipt as Receipt
    from .model import Sync as Sync
    from .model import SyncReport as SyncReport
    from .model import VirtualDevice as VirtualDevice
    from .operations import Operation as Operation
    from .operations import Operations as Operations
    from .otp import hotp as hotp
    from .otp import next_step_at as next_step_at
    from .otp import seconds_left as seconds_left
    from .otp import step_at as step_at
    from .otp import totp as totp
    from .otp import verify_hotp as verify_hotp
    from .otp import verify_totp as verify_totp
    from .policy import Parameters as Parameters
    from .policy import Policy as Policy
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
