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

_HOMES = {
    "access": "Actor Role", "decision": "Decision", "events": "AuditEvent Happened",
    "errors": "AccessDenied AlreadyUsed ClockWentBack CodeRejected DeviceAlreadyAssigned DeviceDisabled InvalidType "
              "InvalidValue MalformedCode MissingExtra NoDevice NoSession OutOfSync PairRejected RecordTampered "
              "StoreContended StoreCorrupt StoreError StoreTooNew StoreUnavailable Throttled TooManySessions "
              "UnknownMasterKey VmfaError",
    "keys": "Key UnsafeShortKey", "keysource": "DerivedKeys KeySource UnsafePlainKeys",
    "known_answers": "KnownAnswer SelfTest selftest",
    "model": "Deactivation EnrollmentSession KeyRef Kind MfaClaim OpenedEnrollment Principal PrincipalId Receipt Sync "
             "SyncReport VirtualDevice",
    "operations": "Operation Operations", "otp": "hotp next_step_at seconds_left step_at totp verify_hotp verify_totp",
    "policy": "Parameters Policy", "registry": "DeviceRegistry",
    "stores.memory": "MemoryStore", "stores.port": "Store", "stores.sqlite": "SQLiteStore",
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
