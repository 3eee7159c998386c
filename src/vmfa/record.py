"""The stored record: a principal as one JSON document, authenticated as a whole, revision included.

A store keeps what :func:`columns` gives, and rebuilds it with :func:`from_columns`. It needs no key:
the decision that made the record sealed it, and the next decision checks it.
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from functools import lru_cache, partial
from typing import Final

from .errors import InvalidType, InvalidValue, RecordTampered, StoreError, StoreTooNew
from .events import check_version
from .keysource import Authenticator, encode_fields
from .model import Binding, EnrollmentSession, KeyRef, Principal, PrincipalId, Seal, Sync, VirtualDevice
from .policy import Parameters
from .values import of

VERSION: Final = 2  # of the document: lists of fields in their order. Version 1 named them
_decode = json.JSONDecoder().raw_decode
_text = json.encoder.encode_basestring_ascii
_set = object.__setattr__  # past the refusal of :class:`Value`
_parameters = lru_cache(64, typed=True)(partial(of, Parameters))  # few: those that the policies offer
_SYNC = {sync.value: sync for sync in Sync}


def sealed(principal: Principal, keys: Authenticator, **completing: int | str) -> Principal:
    """*principal*, new and seen by nobody yet, completed in place and authenticated as a whole."""
    for name, value in completing.items():
        _set(principal, name, value)
    if keys.sealing:
        document = _document(principal)
        tag = keys.tag("record", _message(principal, document))
        _set(principal, "seal", Seal(document, tag))
    return principal


def check_intact(principal: Principal, keys: Authenticator) -> None:
    """SEED-BOUND, RULE-RECORD: the record is the one that was written for this principal at this revision.

    :raises RecordTampered: it was edited, moved, or stored without its seal.
    :raises UnknownMasterKey: it was sealed under a master key that is not here.
    """
    if not keys.sealing:
        return
    seal = principal.seal
    intact = (keys.check("record", _message(principal, seal.document), seal.tag) if seal
              else principal == Principal(id=principal.id))
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
    read, end = _decode(state)
    if end != len(state) or not state.isascii():
        raise InvalidValue  # it is told by the caller
    if isinstance(read, dict):  # of version 1
        read = [list(part.values()) if isinstance(part, dict) else part for part in read.values()]
    check_version(read[0], VERSION)
    _, seen_at, enrollment, device, key_ref, openings, recovered_at, binding, *rest = read
    if enrollment is not None:
        session_id, serial, parameters, *more = enrollment
        enrollment = of(EnrollmentSession, session_id, serial, _parameters(*parameters), *more)
    if device is not None:
        serial, parameters, enrolled_at, sync, *more = device
        device = of(VirtualDevice, serial, _parameters(*parameters), enrolled_at, _SYNC[sync], *more)
    if key_ref is not None:
        scheme, key_id, material = key_ref
        key_ref = KeyRef(scheme, key_id, a2b_base64(material, strict_mode=True))
    if binding is not None:
        binding = Binding(*binding)
    return of(Principal, who, revision, seen_at, enrollment, device, key_ref, tuple(openings), recovered_at, binding,
              *rest, Seal(state, tag))


def _document(principal: Principal) -> str:
    """The record as JSON, written out: ``json.dumps`` takes three times as long. A test holds the two equal."""
    who, ref, binding = principal, principal.key_ref, principal.binding
    key_ref = f'[{_text(ref.scheme)},{_text(ref.key_id)},"{b2a_base64(ref.material)[:-1].decode()}"]' if ref else "null"
    bound = f"[{_text(binding.digest)},{binding.expires_at}]" if binding else "null"
    openings = ",".join(map(str, who.openings))
    return (f"[{VERSION},{who.seen_at},{_plain(who.enrollment)},{_plain(who.device)},{key_ref},[{openings}],"
            f"{who.recovered_at},{bound},{who.events},{_text(who.head)},{who.pruned},{who.redacted}]")


def _plain(held: EnrollmentSession | VirtualDevice | None) -> str:
    if held is None:
        return "null"
    shape, serial = held.parameters, _text(held.serial)
    parameters = f'["{shape.algorithm}",{shape.digits},{shape.period},{shape.t0}]'
    if isinstance(held, EnrollmentSession):
        session_id = _text(held.session_id)
        return f"[{session_id},{serial},{parameters},{held.opened_at},{held.expires_at},{held.attempts}]"
    disabled = "true" if held.disabled else "false"
    return (f'[{serial},{parameters},{held.enrolled_at},"{held.sync}",{disabled},{held.drift},{held.pair_drift},'
            f"{held.lean},{held.last_step},{held.failures},{held.failed_at},{held.budget},{held.budget_at}]")


def _message(principal: Principal, document: str) -> bytes:
    who = principal.id
    return encode_fields("vmfa record v1", who.account, who.kind, who.name, principal.revision, document)
