"""Move stored records from one master key to another, and count what stands under each.

The order of a rotation: the new key is *accepted* on every node, then *current*, then every record
is resealed until none is left under the old key, and then the old key becomes *derive-only*: it
still computes the keys of old devices, and no record under it is accepted any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from .errors import RecordTampered, StoreTooNew, UnknownMasterKey
from .keysources.base import RecordAuthenticator
from .models import Principal, PrincipalId
from .record import authenticated, check_intact
from .registry import ATTEMPTS
from .stores.base import Store

PAGE = 1000


class CoveredRecord(Protocol):
    """What a trusted checkpoint states about the record of a principal."""

    @property
    def principal(self) -> PrincipalId: ...

    @property
    def revision(self) -> int: ...

    @property
    def tag(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ResealResult:
    """What the pass did with one principal. ``problem`` says why its record was not resealed."""

    principal: PrincipalId
    changed: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUsage:
    """How many records and devices stand under each master key, by its id."""

    records: Counter[str] = field(default_factory=Counter)
    devices: Counter[str] = field(default_factory=Counter)
    unreadable: tuple[PrincipalId, ...] = ()


def reseal(
    store: Store,
    account: str,
    *,
    keys: RecordAuthenticator,
    current_id: str,
    checkpoints: Iterable[CoveredRecord] | None = None,
) -> Iterator[ResealResult]:
    """Authenticate every record of *account* again, under the current master key.

    A generator: each record is committed by compare-and-set before its result is returned. It can
    be stopped anywhere and started again. Losing to a sign-in is a success, because a sign-in
    authenticates the record under the current key as well. No event is stored, and devices stay in
    use.

    :param keys: the registry's ``operations.keys``.
    :param current_id: ``DerivedKeys.current_id``.
    :param checkpoints: after a leak of the old key, a checkpoint that is older than the leak. A
        record that is not exactly the one in the checkpoint may be forged: it is listed and not
        resealed. Run the pass while no service uses the store.
    """
    covered = None if checkpoints is None else {item.principal: item for item in checkpoints}
    for principal in _principals(store, account):
        try:
            yield _resealed(store, principal, keys, current_id, covered)
        except (RecordTampered, StoreTooNew, UnknownMasterKey) as error:
            yield ResealResult(principal=principal, problem=str(error))


def _resealed(
    store: Store,
    principal: PrincipalId,
    keys: RecordAuthenticator,
    current_id: str,
    covered: dict[PrincipalId, CoveredRecord] | None,
) -> ResealResult:
    for _ in range(ATTEMPTS):
        before = store.load(principal)
        check_intact(before, keys)
        envelope = before.envelope
        if envelope is None or _key_id(envelope.tag) == current_id:
            return ResealResult(principal=principal)
        if covered is not None:
            known = covered.get(principal)
            if known is None or (known.revision, known.tag) != (before.revision, envelope.tag):
                return ResealResult(
                    principal=principal,
                    problem="the checkpoint does not cover this record: it may be forged",
                )
        after = authenticated(replace(before, revision=before.revision + 1), keys)
        if store.commit(before, after, ()):
            return ResealResult(principal=principal, changed=True)
    return ResealResult(principal=principal, problem="other callers kept changing this principal")


def key_usage(store: Store, account: str) -> KeyUsage:
    """Count the records and the devices of *account* by the master key that they stand under.

    The count trusts the stored rows: it checks no tag.
    """
    usage = KeyUsage()
    unreadable: list[PrincipalId] = []
    for principal in _principals(store, account):
        try:
            record = store.load(principal)
        except (RecordTampered, StoreTooNew):
            unreadable.append(principal)
            continue
        usage.records.update(_record_key_ids(record))
        if record.device is not None and record.key_ref is not None:
            usage.devices[record.key_ref.key_id] += 1
    return replace(usage, unreadable=tuple(unreadable))


def _record_key_ids(record: Principal) -> list[str]:
    return [] if record.envelope is None else [_key_id(record.envelope.tag)]


def _key_id(tag: str) -> str:
    return tag.partition(".")[0]


def _principals(store: Store, account: str) -> Iterator[PrincipalId]:
    page = store.principals(account, limit=PAGE)
    while page:
        yield from page
        page = store.principals(account, after=page[-1], limit=PAGE)
