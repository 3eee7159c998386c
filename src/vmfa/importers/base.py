"""What all sources share: entries, the rules of a batch, the report, and the rehearsal of it.

An entry is adopted by one commit or not at all, an assigned device is never overwritten, root is taken only
by name, and a batch can be stopped anywhere and run again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, TypeVar

from ..access import Actor
from ..errors import (
    AccessDenied,
    ClockWentBack,
    DeviceAlreadyAssigned,
    InvalidType,
    InvalidValue,
    RecordTampered,
    StoreContended,
)
from ..events import AuditEvent
from ..keys import Key, UnsafeShortKey, random_bytes, reveal
from ..models import Principal, PrincipalId, VirtualDevice
from ..policy import Parameters
from ..registry import DeviceRegistry
from ..stores.base import Store

T = TypeVar("T")


class UnreadableSource(InvalidValue):
    """The whole of what was handed over cannot be read: nothing was adopted. No text quotes it."""

    reason = "unreadable source"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedDevice:
    """One device of another system. *last_step* and *drift* are in steps; None: the source keeps no position."""

    where: str  # in the source, for the report
    owner: str  # as the source names whom the device belongs to
    source: str  # the provenance that goes into the history
    key: Key
    parameters: Parameters
    last_step: int | None = None
    drift: int = 0
    failures: int = 0  # consecutive
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """What is in the source and cannot be adopted, and why."""

    where: str
    owner: str
    reason: str


Item = ImportedDevice | Rejected


class Status(StrEnum):
    ADOPTED = "adopted"
    ALREADY = "already adopted"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one entry. It holds no key. ``reason`` says why it was refused."""

    where: str
    owner: str
    fate: Status
    principal: PrincipalId | None = None
    device: VirtualDevice | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Principals:
    """Whose an entry is: a user of *account*, by the stored id that *names* gives for the source's owner.

    Without *names* the source's owner is itself the stored id. Only the one owner that *root* names is root.
    """

    account: str
    names: Mapping[str, str] | None = None
    root: str | None = None

    def of(self, owner: str) -> PrincipalId:
        if self.root is not None and owner == self.root:
            return PrincipalId.root(self.account)
        if self.names is not None and owner not in self.names:
            raise InvalidValue("the owner is not in the map of names")
        return PrincipalId.user(self.account, owner if self.names is None else self.names[owner])


def adopt_all(
    registry: DeviceRegistry, items: Iterable[Item], *, by: Actor, principals: Principals
) -> Iterator[Outcome]:
    """Adopt each entry and tell what became of it: the outcome is given when the entry is committed.

    An entry that does not fit is reported and the batch goes on. Whatever would stop every entry, such as
    a store that cannot be reached or an actor that is no trusted service, is raised.
    """
    items = tuple(items)
    secret = random_bytes(32)
    digests = [sha256(secret + reveal(item.key)).digest() if isinstance(item, ImportedDevice) else b"" for item in items]
    times = Counter(digests)
    for item, digest in zip(items, digests, strict=True):
        if isinstance(item, Rejected):
            yield Outcome(where=item.where, owner=item.owner, fate=Status.REFUSED, reason=item.reason)
        elif times[digest] > 1:  # RFC4226-5.1-K: nobody can say whose of them it is
            yield _refused(item, None, "the same key is in this batch more than once")
        else:
            yield _adopted(registry, item, by, principals)


def _adopted(registry: DeviceRegistry, entry: ImportedDevice, by: Actor, principals: Principals) -> Outcome:
    try:
        principal = principals.of(entry.owner)
    except (InvalidValue, InvalidType) as error:
        return _refused(entry, None, str(error))
    try:
        device = registry.adopt(
            principal, by=by, key=entry.key, system=entry.source, parameters=entry.parameters,
            last_step=entry.last_step, drift=entry.drift,
            failures=min(entry.failures, registry.operations.policy.failure_cap),
        )
    except DeviceAlreadyAssigned as error:
        if not _from_here(registry, principal, entry.source, by):
            return _refused(entry, principal, str(error))
        return Outcome(where=entry.where, owner=entry.owner, fate=Status.ALREADY, principal=principal)
    except (InvalidValue, InvalidType, RecordTampered, ClockWentBack, StoreContended) as error:
        return _refused(entry, principal, str(error))
    notes = (*entry.notes, "disabled: too many failures") if device.disabled else entry.notes
    return Outcome(where=entry.where, owner=entry.owner, fate=Status.ADOPTED, principal=principal, device=device,
                   notes=notes)


def _refused(entry: ImportedDevice, principal: PrincipalId | None, reason: str) -> Outcome:
    return Outcome(where=entry.where, owner=entry.owner, fate=Status.REFUSED, principal=principal, reason=reason)


def _from_here(registry: DeviceRegistry, principal: PrincipalId, source: str, by: Actor) -> bool:
    """Whether the assigned device is the one that was adopted from *source*: a repeated run, not a conflict."""
    try:
        serial, number = registry.device(principal, by=by).serial, 0
        while events := registry.history(principal, by=by, after=number):
            if any(event.serial == serial and ("system", source) in event.details for event in events):
                return True
            number = events[-1].number
    except (AccessDenied, RecordTampered, StoreContended):
        pass  # root's history is not a service's to read; an edited one proves nothing
    return False


@dataclass(slots=True)
class DryRunStore:
    """A store for dry runs: it reads *store*, keeps in memory what would be written, and writes nothing.

    A registry over it decides all that the real one would, from the same records.
    """

    store: Store
    _written: dict[PrincipalId, Principal] = field(default_factory=dict)
    _events: dict[PrincipalId, list[AuditEvent]] = field(default_factory=dict)

    @property
    def volatile(self) -> bool:
        return getattr(self.store, "volatile", False)

    def load(self, principal: PrincipalId) -> Principal:
        return self._written.get(principal) or self.store.load(principal)

    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        self._written[before.id] = after
        self._events.setdefault(before.id, []).extend(events)
        return True

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        return self.store.principals(account, after=after, limit=limit)

    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        rehearsed = self._events.get(principal, [])
        end = rehearsed[0].number if rehearsed else None  # stored events from there on give way
        stored = self.store.history(principal, after=after, limit=limit)
        kept = [event for event in stored if end is None or event.number < end]
        return [*kept, *(event for event in rehearsed if event.number > after)][:limit]


# For the modules that read a source


_REQUIRED: Final[Any] = object()


def fit(where: str, owner: str, build: Callable[[], ImportedDevice]) -> Item:
    """The entry, or why there is none. The error ends here, with the frames that held the secret."""
    try:
        return build()
    except (InvalidValue, InvalidType) as error:
        return Rejected(where=where, owner=owner, reason=str(error))


def json_value(text: str) -> Any:
    """What *text* says, if it is JSON and names nothing twice. :raises UnreadableSource: it is not."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        pass  # the error carries the document, so the refusal is raised outside of its handler
    del text
    raise UnreadableSource("this is no JSON, or an object in it names a field twice")


def json_records(text: str) -> list[dict[str, Any]]:
    """The objects of a JSON list. :raises UnreadableSource: it is not one."""
    try:
        records = json_value(text)
    finally:
        del text  # error trackers record the locals of a raising frame
    if isinstance(records, list) and all(isinstance(record, dict) for record in records):
        return records
    del records
    raise UnreadableSource("the source is a JSON list of objects")


def take(record: Mapping[str, Any], name: str, kind: type[T], default: T = _REQUIRED) -> T:
    """The field *name*, of exactly this type; *default* where it is absent or null."""
    value = record.get(name)
    if value is None:
        if default is _REQUIRED:
            raise InvalidValue(f"{name} is missing")
        return default
    if type(value) is not kind:
        raise InvalidType(f"{name} is of type {kind.__name__}")
    return value


def check_fields(record: Mapping[str, Any], *known: str) -> None:
    """A misspelt field is refused, not ignored: it may be the replay position."""
    if record.keys() - set(known):
        raise InvalidValue(f"an entry has the fields {', '.join(known)} and no others")


def key_type(unsafe_short_keys: bool) -> type[Key]:
    return UnsafeShortKey if unsafe_short_keys else Key


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError
    return record
