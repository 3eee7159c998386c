"""The stored record: a principal as one JSON document, authenticated as a whole.

A store keeps what :func:`columns` returns and rebuilds the principal with :func:`from_columns`. It
needs no key: the decision that creates a record authenticates it, and the next decision checks it.
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from .errors import InvalidType, InvalidValue, RecordTampered, StoreError, StoreTooNew
from .events import check_version
from .keys import encode_fields
from .keysources.base import RecordAuthenticator
from .models import (
    ClientState,
    EnrollmentSession,
    Envelope,
    FailingClient,
    KeyRef,
    PendingBinding,
    Principal,
    PrincipalId,
    RecoveryState,
    Sync,
    VirtualDevice,
)
from .policy import Parameters

VERSION: Final = 1  # of the document
_encode = json.JSONEncoder(separators=(",", ":")).encode


def authenticated(
    principal: Principal, keys: RecordAuthenticator, **changes: Any
) -> Principal:
    """Return *principal* with *changes* and with a new envelope."""
    principal = replace(principal, **changes, envelope=None)
    if keys.authenticate:
        document = _document(principal)
        message = record_message(principal, document)
        envelope = Envelope(
            document=document,
            tag=keys.tag("record", message),
            audit_tag=keys.audit_tag("record", message),
        )
        # The copy is new: no caller has seen it without its envelope.
        object.__setattr__(principal, "envelope", envelope)
    return principal


def check_intact(principal: Principal, keys: RecordAuthenticator) -> None:
    """Check that the record was written for this principal at this revision.

    :raises RecordTampered: it was edited, moved, or stored without an envelope.
    :raises UnknownMasterKey: it was authenticated under a master key that *keys* does not have.
    """
    # SEED-BOUND, RULE-RECORD
    if not keys.authenticate:
        return
    envelope = principal.envelope
    if envelope is None:
        intact = principal == Principal(id=principal.id)
    else:
        message = record_message(principal, envelope.document)
        intact = keys.check("record", message, envelope.tag)
    if not intact:
        raise RecordTampered("the stored record of this principal was not written by this library")


def columns(principal: Principal) -> tuple[str, str, str, int, str, str, str]:
    """Return one row of a store: account, kind, name, revision, state, tag and audit tag.

    :raises InvalidType: *principal* has no envelope, because no decision returned it.
    """
    if principal.envelope is None:
        raise InvalidType("only a principal that a decision returned can be stored")
    principal_id, envelope = principal.id, principal.envelope
    return (
        principal_id.account, principal_id.kind.value, principal_id.name, principal.revision,
        envelope.document, envelope.tag, envelope.audit_tag,
    )


def from_columns(
    principal_id: PrincipalId, revision: int, state: str, tag: str, audit_tag: str
) -> Principal:
    """Return the principal in a row. The decision that uses it checks its tag.

    :param principal_id: the identifiers in the row.
    :param revision: the revision of the record.
    :param state: the document, as JSON.
    :param tag: the tag of the record.
    :param audit_tag: the tag for auditors.

    :raises RecordTampered: the row cannot be read.
    :raises StoreTooNew: a newer version of the library wrote it.
    """
    problem: StoreError = RecordTampered(
        "a stored record cannot be read", kind="record unreadable"
    )
    try:
        return _read(
            principal_id, revision, Envelope(document=state, tag=tag, audit_tag=audit_tag)
        )
    except StoreTooNew as newer:
        problem = newer.with_traceback(None)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        pass  # raised below: an exception raised here would carry the document
    del state
    raise problem


def _read(principal_id: PrincipalId, revision: int, envelope: Envelope) -> Principal:
    if not envelope.document.isascii():
        raise InvalidValue("state")
    version, *fields = json.loads(envelope.document)
    check_version(version, VERSION)
    seen_at, session, device, key_ref, enrollment_times, recovered_at, binding, *history = fields
    events, head, pruned = history
    return Principal(
        id=principal_id, revision=revision, seen_at=seen_at, enrollment=_read_session(session),
        device=_read_device(device), key_ref=_read_key_ref(key_ref),
        enrollment_times=tuple(enrollment_times), recovered_at=recovered_at,
        binding=_read_binding(binding), events=events, head=head, pruned=pruned,
        envelope=envelope,
    )


def _read_session(fields: list[Any] | None) -> EnrollmentSession | None:
    if fields is None:
        return None
    session_id, serial, parameters, opened_at, expires_at, attempts, opened_by_owner = fields
    return EnrollmentSession(
        session_id=session_id, serial=serial, parameters=_parameters(*parameters),
        opened_at=opened_at, expires_at=expires_at, attempts=attempts,
        opened_by_owner=opened_by_owner,
    )


def _read_device(fields: list[Any] | None) -> VirtualDevice | None:
    if fields is None:
        return None
    serial, parameters, enrolled_at, sync, disabled, position, counters, clients, recovery = fields
    drift, synced_drift, last_offset, last_step = position
    failures, failed_at, known_failures, known_failed_at, *budget_fields = counters
    budget, updated_at, restored_at = budget_fields
    return VirtualDevice(
        serial=serial, parameters=_parameters(*parameters), enrolled_at=enrolled_at,
        sync=Sync(sync), disabled=disabled, drift=drift, synced_drift=synced_drift,
        last_offset=last_offset, last_step=last_step, failures=failures, failed_at=failed_at,
        known_failures=known_failures, known_failed_at=known_failed_at, budget=budget,
        budget_updated_at=updated_at, budget_restored_at=restored_at,
        clients=_read_clients(*clients), recovery=_read_recovery(*recovery),
    )


def _read_clients(epoch: int, failing: list[list[Any]], given: str) -> ClientState:
    return ClientState(
        epoch=epoch,
        failing=tuple(
            FailingClient(token_id=token_id, failures=failures, expires_at=expires_at)
            for token_id, failures, expires_at in failing
        ),
        given=given,
    )


def _read_recovery(codes: list[str], failures: int, failed_at: int) -> RecoveryState:
    return RecoveryState(codes=tuple(codes), failures=failures, failed_at=failed_at)


def _read_key_ref(fields: list[str] | None) -> KeyRef | None:
    if fields is None:
        return None
    scheme, key_id, material = fields
    return KeyRef(scheme=scheme, key_id=key_id, material=a2b_base64(material, strict_mode=True))


def _read_binding(fields: list[Any] | None) -> PendingBinding | None:
    if fields is None:
        return None
    digest, expires_at = fields
    return PendingBinding(digest=digest, expires_at=expires_at)


@lru_cache(64, typed=True)  # few: the parameters that the policies offer
def _parameters(algorithm: str, digits: int, period: int, t0: int) -> Parameters:
    return Parameters(algorithm=algorithm, digits=digits, period=period, t0=t0)


def _document(principal: Principal) -> str:
    """Return the record as JSON: lists of values in the order that the docs list."""
    session, device, ref, binding = (
        principal.enrollment, principal.device, principal.key_ref, principal.binding,
    )
    fields = [
        VERSION,
        principal.seen_at,
        session and [
            session.session_id, session.serial, _parameter_fields(session.parameters),
            session.opened_at, session.expires_at, session.attempts, session.opened_by_owner,
        ],
        device and _device_fields(device),
        ref and [ref.scheme, ref.key_id, b2a_base64(ref.material, newline=False).decode()],
        principal.enrollment_times,
        principal.recovered_at,
        binding and [binding.digest, binding.expires_at],
        principal.events,
        principal.head,
        principal.pruned,
    ]
    return _encode(fields)


def _device_fields(device: VirtualDevice) -> list[Any]:
    return [
        device.serial, _parameter_fields(device.parameters), device.enrolled_at, device.sync,
        device.disabled,
        [device.drift, device.synced_drift, device.last_offset, device.last_step],
        [
            device.failures, device.failed_at, device.known_failures, device.known_failed_at,
            device.budget, device.budget_updated_at, device.budget_restored_at,
        ],
        [
            device.clients.epoch,
            [[c.token_id, c.failures, c.expires_at] for c in device.clients.failing],
            device.clients.given,
        ],
        [device.recovery.codes, device.recovery.failures, device.recovery.failed_at],
    ]


def _parameter_fields(parameters: Parameters) -> list[str | int]:
    return [parameters.algorithm, parameters.digits, parameters.period, parameters.t0]


def record_message(principal: Principal, document: str) -> bytes:
    """Return what the tags of a stored record cover."""
    principal_id = principal.id
    return encode_fields(
        "vmfa record v1", principal_id.account, principal_id.kind, principal_id.name,
        principal.revision, document,
    )
