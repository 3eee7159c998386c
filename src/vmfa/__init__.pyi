from . import errors as errors
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
