"""The stored record: a principal as one JSON document, authenticated as a whole, revision included.

A store keeps what :func:`columns` returns and rebuilds the principal with :func:`from_columns`. It needs
no key: the decision that creates a record authenticates it, and the next decision checks it.
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
from .models import EnrollmentSession, Envelope, KeyRef, PendingBinding, Principal, PrincipalId, Sync, VirtualDevice
from .policy import Parameters

VERSION: Final = 1  # of the document


def authenticated(principal: Principal, keys: RecordAuthenticator) -> Principal:
    """Return *principal* with the envelope that a store keeps: its document and the tag over it."""
    if not keys.authenticate:
        return principal
    document = _document(principal)
    tag = keys.tag("record", _message(principal, document))
    return replace(principal, envelope=Envelope(document=document, tag=tag))


def check_intact(principal: Principal, keys: RecordAuthenticator) -> None:
    """Check that the record was written for this principal at this revision (SEED-BOUND, RULE-RECORD).

    :raises RecordTampered: it was edited, moved, or stored without an envelope.
    :raises UnknownMasterKey: it was authenticated under a master key that *keys* does not have.
    """
    if not keys.authenticate:
        return
    envelope = principal.envelope
    if envelope is None:
        intact = principal == Principal(id=principal.id)
    else:
        intact = keys.check("record", _message(principal, envelope.document), envelope.tag)
    if not intact:
        raise RecordTampered("the stored record of this principal was not written by this library")


def columns(principal: Principal) -> tuple[str, str, str, int, str, str]:
    """Return one row of a store: account, kind, name, revision, state and tag."""
    if principal.envelope is None:
        raise InvalidType("only a principal that a decision returned can be stored")
    who, envelope = principal.id, principal.envelope
    return (
        who.account, who.kind.value, who.name, principal.revision, envelope.document, envelope.tag,
    )


def from_columns(who: PrincipalId, revision: int, state: str, tag: str) -> Principal:
    """Return the principal in the row of *who*. The decision that uses it checks its tag.

    :raises RecordTampered: the row cannot be read.
    :raises StoreTooNew: a newer version of the library wrote it.
    """
    problem: StoreError = RecordTampered("a stored record cannot be read")
    try:
        return _read(who, revision, state, tag)
    except StoreTooNew as newer:
        problem = newer.with_traceback(None)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        pass  # raised below: an exception raised here would carry the document
    del state
    raise problem


def _read(who: PrincipalId, revision: int, state: str, tag: str) -> Principal:
    if not state.isascii():
        raise InvalidValue("state")
    version, *fields = json.loads(state)
    check_version(version, VERSION)
    seen_at, enrollment, device, key_ref, enrollment_times, recovered_at, binding, *rest = fields
    events, head, pruned, redacted = rest
    return Principal(
        id=who, revision=revision, seen_at=seen_at, enrollment=_read_session(enrollment),
        device=_read_device(device), key_ref=_read_key_ref(key_ref),
        enrollment_times=tuple(enrollment_times), recovered_at=recovered_at,
        binding=None if binding is None else PendingBinding(digest=binding[0], expires_at=binding[1]),
        events=events, head=head, pruned=pruned, redacted=redacted,
        envelope=Envelope(document=state, tag=tag),
    )


def _read_session(fields: list[Any] | None) -> EnrollmentSession | None:
    if fields is None:
        return None
    session_id, serial, parameters, opened_at, expires_at, attempts = fields
    return EnrollmentSession(
        session_id=session_id, serial=serial, parameters=_parameters(*parameters),
        opened_at=opened_at, expires_at=expires_at, attempts=attempts,
    )


def _read_device(fields: list[Any] | None) -> VirtualDevice | None:
    if fields is None:
        return None
    serial, parameters, enrolled_at, sync, disabled, *rest = fields
    drift, synced_drift, last_offset, last_step, failures, failed_at, budget, budget_updated_at = rest
    return VirtualDevice(
        serial=serial, parameters=_parameters(*parameters), enrolled_at=enrolled_at, sync=Sync(sync),
        disabled=disabled, drift=drift, synced_drift=synced_drift, last_offset=last_offset,
        last_step=last_step, failures=failures, failed_at=failed_at, budget=budget,
        budget_updated_at=budget_updated_at,
    )


def _read_key_ref(fields: list[str] | None) -> KeyRef | None:
    if fields is None:
        return None
    scheme, key_id, material = fields
    return KeyRef(scheme=scheme, key_id=key_id, material=a2b_base64(material, strict_mode=True))


@lru_cache(64, typed=True)  # few: the parameters that the policies offer
def _parameters(algorithm: str, digits: int, period: int, t0: int) -> Parameters:
    return Parameters(algorithm=algorithm, digits=digits, period=period, t0=t0)


def _document(principal: Principal) -> str:
    """The record as JSON: lists of values in the order of ``docs/storage-format.md``."""
    session, device, ref, binding = (
        principal.enrollment, principal.device, principal.key_ref, principal.binding
    )
    fields = [
        VERSION, principal.seen_at,
        session and [
            session.session_id, session.serial, _shape(session.parameters), session.opened_at,
            session.expires_at, session.attempts,
        ],
        device and [
            device.serial, _shape(device.parameters), device.enrolled_at, device.sync, device.disabled,
            device.drift, device.synced_drift, device.last_offset, device.last_step, device.failures,
            device.failed_at, device.budget, device.budget_updated_at,
        ],
        ref and [ref.scheme, ref.key_id, b2a_base64(ref.material, newline=False).decode()],
        principal.enrollment_times, principal.recovered_at,
        binding and [binding.digest, binding.expires_at],
        principal.events, principal.head, principal.pruned, principal.redacted,
    ]
    return json.dumps(fields, separators=(",", ":"))


def _shape(parameters: Parameters) -> list[str | int]:
    return [parameters.algorithm, parameters.digits, parameters.period, parameters.t0]


def _message(principal: Principal, document: str) -> bytes:
    who = principal.id
    return encode_fields(
        "vmfa record v1", who.account, who.kind, who.name, principal.revision, document
    )
