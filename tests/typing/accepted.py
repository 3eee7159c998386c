"""Correct uses of the public API. The file is not run: mypy must report nothing for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

import vmfa
from vmfa import (
    Actor,
    AuditEvent,
    CodeRejected,
    Deactivation,
    Decision,
    DerivedKeys,
    DeviceRegistry,
    EventType,
    Key,
    KeySource,
    MemoryStore,
    MfaClaim,
    OpenedEnrollment,
    Operation,
    Operations,
    Parameters,
    Policy,
    Principal,
    PrincipalId,
    Receipt,
    SQLiteStore,
    Store,
    Sync,
    SyncReport,
    Throttled,
    TooManySessions,
    UnsafePlainKeys,
    VirtualDevice,
    VmfaError,
)


def codes(raw: bytes, key: Key, now: float) -> None:
    assert_type(vmfa.hotp(raw, 5), str)
    assert_type(vmfa.hotp(key, 5, digits=8, algorithm="sha256"), str)
    assert_type(vmfa.totp(raw, now), str)
    assert_type(vmfa.totp(key, 59, digits=8, algorithm="sha512", period=60, t0=0), str)
    assert_type(vmfa.verify_totp(key, "123456", now, after=-1), int)
    assert_type(vmfa.verify_totp(raw, "123456", 59, after=5, window=2), int)
    assert_type(vmfa.verify_hotp(key, "123456", counter=0, look_ahead=10), int)
    assert_type(vmfa.step_at(now, period=60, t0=5), int)
    assert_type(vmfa.seconds_left(now), int)
    assert_type(vmfa.next_step_at(59), int)
    assert_type(Key.generate(), Key)
    assert_type(Key.from_base32("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"), Key)


def registry_methods(registry: DeviceRegistry, alice: PrincipalId, me: Actor) -> None:
    assert_type(registry.requires_code(alice), bool)
    opened = registry.open_enrollment(alice, by=me, label="alice@example.com")
    assert_type(opened, OpenedEnrollment)
    assert_type(
        (opened.session_id, opened.base32, opened.uri, opened.expires_at),
        tuple[str, str, str, int],
    )
    report = registry.confirm_enrollment(
        alice, session=opened.session_id, code1="123456", code2="654321", by=me
    )
    assert_type(report, SyncReport)
    assert_type((report.sync, report.steps_off, report.device), tuple[Sync, int, VirtualDevice])
    receipt = registry.verify(alice, "123456")
    assert_type(receipt, Receipt)
    assert_type(receipt.claim, MfaClaim)
    assert_type(registry.resync(alice, code1="123456", code2="654321", by=me), SyncReport)
    assert_type(registry.device(alice, by=me), VirtualDevice)
    assert_type(registry.history(alice, by=me, after=5, limit=10), Sequence[AuditEvent])
    assert_type(registry.principals("123456789012", after=alice), Sequence[PrincipalId])
    removed = registry.deactivate(
        alice, by=Actor.signed_in(alice, mfa=receipt.claim), reason="new phone"
    )
    assert_type(removed, Deactivation)
    assert_type(removed.binding_code, str | None)
    assert_type(removed.binding_code_expires_at, int)
    importer = Actor.trusted_service("importer")
    adopted = registry.adopt(
        alice, by=importer, key=Key.generate(), system="old", parameters=Parameters(digits=8)
    )
    assert_type(adopted, VirtualDevice)
    registry.cancel_enrollment(alice, by=me)
    registry.cancel_enrollment(alice, by=me, session=opened.session_id)
    registry.reanchor(alice, by=importer)
    registry.forget(alice, by=importer)


def construction(master_key: bytes) -> list[DeviceRegistry]:
    def observe(event: AuditEvent) -> None:
        assert_type((event.type, event.at, event.serial), tuple[EventType, int, str])

    keys: KeySource = DerivedKeys(master_key, master_key)
    stores: list[Store] = [MemoryStore(), SQLiteStore("mfa.db", timeout=1.5)]
    return [
        DeviceRegistry(
            store,
            keys=keys,
            imported_keys=UnsafePlainKeys(),
            issuer="Example",
            policy=Policy.strict().replace(window=0),
            clock=lambda: 5,
            observer=observe,
        )
        for store in stores
    ]


def actors(alice: PrincipalId) -> tuple[Actor, ...]:
    claim = MfaClaim(at=5, method="webauthn")
    return (
        Actor.signed_in(alice),
        Actor.admin(alice, mfa=claim),
        Actor.support("case 7"),
        Actor.trusted_service("importer"),
        Actor.recovered_root(alice.account, email_at=5, phone_at=6),
    )


def own_transaction(operations: Operations, alice: PrincipalId, before: Principal) -> Receipt:
    operation = operations.verify(alice, "123456")
    assert_type(operation, Operation[Receipt])
    decision = operation.decide(before, 59.5)
    assert_type(decision, Decision[Receipt])
    assert_type(decision.principal, Principal)
    assert_type(decision.stored, tuple[AuditEvent, ...])
    return decision.settle()


def errors(registry: DeviceRegistry, alice: PrincipalId) -> tuple[str, int | None]:
    try:
        registry.verify(alice, "123456")
    except Throttled as refusal:
        return refusal.claimant_message, refusal.retry_after
    except CodeRejected as refusal:
        return refusal.remedy, refusal.retry_after
    except TooManySessions as refusal:
        return refusal.reason, refusal.retry_after
    except VmfaError as error:
        return error.reason, None
    return "", None
