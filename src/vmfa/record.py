"""The stored record: a principal as one JSON document, authenticated as a whole, revision included.

A store keeps what :func:`columns` gives, and rebuilds it with :func:`from_columns`. It needs no key:
the decision that made the record sealed it, and the next decision checks it.
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from typing import Any

from .errors import InvalidType, RecordTampered, StoreError, StoreTooNew
from .events import VERSION, check_version
from .keysource import Authenticator, encode_fields
from .model import Binding, EnrollmentSession, KeyRef, Principal, PrincipalId, Seal, Sync, VirtualDevice
from .policy import Parameters

_loads = json.JSONDecoder().decode
_text = json.encoder.encode_basestring_ascii


def sealed(principal: Principal, keys: Authenticator, **completing: int | str) -> Principal:
    """*principal*, new and seen by nobody yet, completed in place and authenticated as a whole."""
    for name, value in completing.items():
        object.__setattr__(principal, name, value)
    if keys.sealing:
        document = _document(principal)
        tag = keys.tag("record", _message(principal, document))
        object.__setattr__(principal, "seal", Seal(document, tag))
    return principal


def check_intact(principal: Principal, keys: Authenticator) -> None:
    """SEED-BOUND, RULE-RECORD: the record is the one that was written for this principal at this revision.

    :raises RecordTampered: it was edited, moved, or stored without its seal.
    :raises UnknownMasterKey: it was sealed under a master key that is not here.
    """
    seal = principal.seal
    if not keys.sealing:
        return
    if seal is None:
        intact = principal == Principal(id=principal.id)
    else:
        intact = keys.check("record", _message(principal, seal.document), seal.tag)
    if not intact:
        raise RecordTampered("the stored record of this principal was not written by this library")


def columns(principal: Principal) -> tuple[str, str, str, int, str, str]:
    """Account, kind, name, revision, state and tag: one row of a store."""
    if principal.seal is None:
        raise InvalidType("only a decided, sealed principal is stored")
    who = principal.id
    return who.account, who.kind.value, who.name, principal.revision, principal.seal.document, principal.seal.tag


def from_columns(who: PrincipalId, revision: int, state: str, tag: str) -> Principal:
    """The principal that the row of *who* tells. Its seal is checked by the decision that uses it.

    :raises RecordTampered: this is no record that the library wrote.
    :raises StoreTooNew: a newer version wrote it.
    """
    problem: StoreError = RecordTampered("a stored record cannot be read")
    try:
        return _read(who, revision, state, tag)
    except StoreTooNew as newer:
        problem = newer.with_traceback(None)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        pass  # raised below, outside: an error that hangs on ours would carry the document
    del state
    raise problem


def _read(who: PrincipalId, revision: int, state: str, tag: str) -> Principal:
    if type(state) is not str or type(tag) is not str:
        raise InvalidType("a column has the wrong type")
    read = _loads(state)
    check_version(read.pop("v"))
    enrollment, device, key_ref, binding = (read.pop(n) for n in ("enrollment", "device", "key_ref", "binding"))
    return Principal(
        id=who, revision=revision,
        enrollment=None if enrollment is None else EnrollmentSession(**_with_parameters(enrollment)),
        device=None if device is None else VirtualDevice(sync=Sync(device.pop("sync")), **_with_parameters(device)),
        key_ref=None if key_ref is None else _key_ref(*key_ref),
        binding=None if binding is None else Binding(*binding),
        openings=tuple(read.pop("openings")), seal=Seal(state, tag), **read,
    )


def _document(principal: Principal) -> str:
    """The record as JSON, written out: ``json.dumps`` takes three times as long. A test holds the two equal."""
    who, ref, binding = principal, principal.key_ref, principal.binding
    key_ref = f'[{_text(ref.scheme)},{_text(ref.key_id)},"{b2a_base64(ref.material)[:-1].decode()}"]' if ref else "null"
    return (
        f'{{"v":{VERSION},"seen_at":{who.seen_at},"enrollment":{_plain(who.enrollment)},"device":{_plain(who.device)},'
        f'"key_ref":{key_ref},"openings":[{",".join(map(str, who.openings))}],"recovered_at":{who.recovered_at},'
        f'"binding":{f"[{_text(binding.digest)},{binding.expires_at}]" if binding else "null"},"events":{who.events},'
        f'"head":{_text(who.head)},"pruned":{who.pruned},"redacted":{who.redacted}}}'
    )


def _plain(held: EnrollmentSession | VirtualDevice | None) -> str:
    if held is None:
        return "null"
    shape = held.parameters
    parameters = f'["{shape.algorithm}",{shape.digits},{shape.period},{shape.t0}]'
    if isinstance(held, EnrollmentSession):
        return (f'{{"session_id":{_text(held.session_id)},"serial":{_text(held.serial)},"parameters":{parameters},'
                f'"opened_at":{held.opened_at},"expires_at":{held.expires_at},"attempts":{held.attempts}}}')
    return (
        f'{{"serial":{_text(held.serial)},"parameters":{parameters},"enrolled_at":{held.enrolled_at},'
        f'"sync":"{held.sync.value}","disabled":{"true" if held.disabled else "false"},"drift":{held.drift},'
        f'"pair_drift":{held.pair_drift},"lean":{held.lean},"last_step":{held.last_step},"failures":{held.failures},'
        f'"failed_at":{held.failed_at},"budget":{held.budget},"budget_at":{held.budget_at}}}'
    )


def _with_parameters(plain: dict[str, Any]) -> dict[str, Any]:
    algorithm, digits, period, t0 = plain["parameters"]
    plain["parameters"] = Parameters(algorithm=algorithm, digits=digits, period=period, t0=t0)
    return plain


def _key_ref(scheme: str, key_id: str, material: str) -> KeyRef:
    return KeyRef(scheme, key_id, a2b_base64(material, strict_mode=True))


def _message(principal: Principal, document: str) -> bytes:
    who = principal.id
    return encode_fields("vmfa record v1", who.account, who.kind.value, who.name, principal.revision, document)
