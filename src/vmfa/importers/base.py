"""What all importers share: items, the rules of a batch, the outcomes, and the dry run.

A device is adopted by one commit or not at all, and never replaces an assigned device. A principal
becomes root only by name. You can interrupt a batch at any point and run it again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Final, TypeVar

from ..access import Actor
from ..errors import (
    ClockWentBack,
    DeviceAlreadyAssigned,
    InvalidType,
    InvalidValue,
    NoDevice,
    RecordTampered,
    StoreContended,
    UnknownMasterKey,
)
from ..events import AuditEvent
from ..keys import Key, UnsafeShortKey, random_bytes, reveal
from ..models import Principal, PrincipalId, VirtualDevice
from ..policy import Parameters
from ..registry import DeviceRegistry
from ..stores.base import Store

T = TypeVar("T")

MAX_SOURCE_BYTES: Final = 64 << 20
MAX_RECORD_CHARACTERS: Final = 1 << 20  # of one object in a JSON list
HOTP: Final = "HOTP: only time-based devices (TOTP) can be imported"


class UnreadableSource(InvalidValue):
    """The source as a whole cannot be read. Nothing was adopted. The text does not quote it."""

    reason = "unreadable source"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedDevice:
    """A device of another system.

    :param where: its place in the source, for the report.
    :param owner: the owner, as the source names them.
    :param system: the system and the entry, which the history of the principal keeps.
    :param last_step: the last time step whose code was accepted; None if the source does not
        know it.
    :param drift: the drift in time steps.
    :param failures: the number of failures in a row.
    :param notes: what the source says and the library does not use.
    """

    where: str
    owner: str
    system: str
    key: Key
    parameters: Parameters
    last_step: int | None = None
    drift: int = 0
    failures: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An entry of the source that cannot be imported, with the reason."""

    where: str
    owner: str
    reason: str


Item = ImportedDevice | Rejected


class Items(Iterable[Item]):
    """The items of a source. Each iteration reads the source again, so memory stays flat."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], Iterator[Item]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[Item]:
        return self._read()


class Status(StrEnum):
    """What happened to one item.

    ``CONFLICT``: the principal has a device with another key, so this one was not adopted.
    ``REFUSED``: the item cannot be imported at all.
    """

    ADOPTED = "adopted"
    ALREADY = "already adopted"
    CONFLICT = "conflict"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What happened to one item, without its key.

    :param principal: None if the owner is not known.
    :param device: the adopted device; None unless the status is ``ADOPTED``.
    :param reason: why the item was not adopted; empty if it was, now or earlier.
    """

    where: str
    owner: str
    status: Status
    principal: PrincipalId | None = None
    device: VirtualDevice | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def imported(self) -> bool:
        """Whether the device of this item is the assigned device of its owner."""
        return self.status in (Status.ADOPTED, Status.ALREADY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principals:
    """Maps the owners of a source to principals.

    :param account: the account of all principals.
    :param names: maps each owner to a stored user id. Without it the owner is the user id.
    :param root: the one owner that is the root of the account; None: no owner is.
    """

    account: str
    names: Mapping[str, str] | None = None
    root: str | None = None

    def of(self, owner: str) -> PrincipalId:
        """Return the principal of *owner*.

        :raises InvalidValue: the owner is not in *names*, or the id is not valid.
        """
        if self.root is not None and owner == self.root:
            return PrincipalId.root(self.account)
        if self.names is None:
            return PrincipalId.user(self.account, owner)
        if owner not in self.names:
            raise InvalidValue("the owner is not in the map of names")
        return PrincipalId.user(self.account, self.names[owner])


def adopt_all(
    registry: DeviceRegistry, items: Iterable[Item], *, by: Actor, principals: Principals
) -> Iterator[Outcome]:
    """Adopt the devices, and yield the outcome of each item after its commit.

    A device that cannot be adopted does not stop the batch. An error that would stop every device,
    such as a store that cannot be reached, is raised.

    :param registry: the registry that adopts the devices.
    :param items: what ``read()`` of an importer returned. It is iterated twice: the first time to
        find keys that occur more than once. An iterator is copied first.
    :param by: ``Actor.trusted_service(...)``.
    :param principals: maps the owners of the items to principals.
    :raises AccessDenied: the actor is not a trusted service.
    :raises UnreadableSource: the source cannot be read. Nothing was adopted.
    """
    if iter(items) is items:
        items = tuple(items)
    shared = SharedKeys(items)
    for item in items:
        if isinstance(item, Rejected):
            yield Outcome(
                where=item.where, owner=item.owner, status=Status.REFUSED, reason=item.reason
            )
        elif item in shared:  # RFC4226-5.1-K
            reason = "another owner in this batch has the same key: enroll both of them again"
            yield _not_adopted(item, None, Status.REFUSED, reason)
        else:
            yield _adopt(registry, item, by, principals)


class SharedKeys:
    """The keys that a batch lists under more than one owner.

    It stores no keys, only keyed digests of them under a random key.
    """

    __slots__ = ("_secret", "_shared")

    def __init__(self, items: Iterable[Item]) -> None:
        self._secret = random_bytes(32)
        self._shared: set[bytes] = set()
        owners: dict[bytes, bytes] = {}
        for item in items:
            if isinstance(item, ImportedDevice):
                digest, owner = self._digest(reveal(item.key)), self._digest(item.owner.encode())
                if owners.setdefault(digest, owner) != owner:
                    self._shared.add(digest)

    def __contains__(self, item: ImportedDevice) -> bool:
        return self._digest(reveal(item.key)) in self._shared

    def _digest(self, data: bytes) -> bytes:
        return blake2b(data, digest_size=16, key=self._secret).digest()


def _adopt(
    registry: DeviceRegistry, item: ImportedDevice, by: Actor, principals: Principals
) -> Outcome:
    try:
        principal = principals.of(item.owner)
    except (InvalidValue, InvalidType) as error:
        return _not_adopted(item, None, Status.REFUSED, str(error))
    try:
        device = registry.adopt(
            principal,
            by=by,
            key=item.key,
            system=item.system,
            parameters=item.parameters,
            last_step=item.last_step,
            drift=item.drift,
            failures=min(item.failures, registry.operations.policy.failure_cap),
        )
    except DeviceAlreadyAssigned:
        return _compared(registry, item, by, principal)
    except (InvalidValue, InvalidType, RecordTampered, ClockWentBack, StoreContended) as error:
        return _not_adopted(item, principal, Status.REFUSED, str(error))
    disabled = ("disabled: too many failures",) if device.disabled else ()
    return Outcome(
        where=item.where, owner=item.owner, status=Status.ADOPTED, principal=principal,
        device=device, notes=(*item.notes, *disabled),
    )


def _compared(
    registry: DeviceRegistry, item: ImportedDevice, by: Actor, principal: PrincipalId
) -> Outcome:
    """Compare the item with the assigned device: the same key means that it was adopted before."""
    try:
        device, key = _assigned_device(registry, by, principal)
    except (NoDevice, RecordTampered, StoreContended, UnknownMasterKey) as error:
        reason = str(error)
    else:
        if key != item.key:
            reason = "this principal has a device with another key: deactivate that one first"
        elif device.parameters != item.parameters:
            reason = "this principal has a device with the same key and other parameters"
        else:
            accepted_later = item.last_step is not None and item.last_step > device.last_step
            note = "the other system accepted a code after the import: turn it off"
            return Outcome(
                where=item.where, owner=item.owner, status=Status.ALREADY, principal=principal,
                notes=(note,) if accepted_later else (),
            )
    return _not_adopted(item, principal, Status.CONFLICT, reason)


def _assigned_device(
    registry: DeviceRegistry, by: Actor, principal: PrincipalId
) -> tuple[VirtualDevice, Key]:
    record = registry.run(registry.operations.record(principal, by=by))
    device, key_ref = record.device, record.key_ref
    if device is None or key_ref is None:
        raise NoDevice("the device was removed during the import: run the import again")
    keys = registry.operations.keys
    return device, keys.reveal(key_ref, principal, device.serial, device.parameters)


def _not_adopted(
    item: ImportedDevice, principal: PrincipalId | None, status: Status, reason: str
) -> Outcome:
    return Outcome(
        where=item.where, owner=item.owner, status=status, principal=principal, reason=reason
    )


@dataclass(slots=True)
class DryRunStore:
    """A store for a dry run: it reads *store*, and it writes to memory only.

    A registry that uses it decides as a registry that uses *store* would.

    :param store: the store to read.
    """

    store: Store
    _records: dict[PrincipalId, Principal] = field(default_factory=dict)
    _events: dict[PrincipalId, list[AuditEvent]] = field(default_factory=dict)

    @property
    def volatile(self) -> bool:
        """Whether *store* keeps its records in memory only."""
        return getattr(self.store, "volatile", False)

    def load(self, principal: PrincipalId) -> Principal:
        """Return the record that the dry run committed, or the stored one."""
        return self._records.get(principal) or self.store.load(principal)

    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        """Keep the record and the events in memory."""
        self._records[before.id] = after
        self._events.setdefault(before.id, []).extend(events)
        return True

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the stored principals."""
        return self.store.principals(account, after=after, limit=limit)

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """Return a page of the stored events, followed by those of the dry run."""
        added = self._events.get(principal, [])
        stored = self.store.history(principal, after=after, limit=limit)
        if added:  # as in a commit, they replace the stored events from their number on
            stored = [event for event in stored if event.number < added[0].number]
        return [*stored, *(event for event in added if event.number > after)][:limit]


# For the modules that read a source


def build_item(where: str, owner: str, build: Callable[[], ImportedDevice]) -> Item:
    """Return the device that *build* returns, or the reason why there is none.

    The error is not raised again, because its frames contain the secret.
    """
    try:
        return build()
    except (InvalidValue, InvalidType) as error:
        return Rejected(where=where, owner=owner, reason=str(error))


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line, except empty lines and comments (``#``).

    Blanks at both ends of a line are removed.

    :raises UnreadableSource: the text is too long.
    """
    if len(text) > MAX_SOURCE_BYTES:
        del text  # error trackers record the locals of a raising frame
        raise UnreadableSource(TOO_LONG)
    start, number = 0, 0
    while start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        number += 1
        line = text[start:end].strip()
        if line and not line.startswith("#"):
            yield number, line
        start = end + 1


def json_value(text: str) -> Any:
    """Return the value of a JSON text.

    :raises UnreadableSource: it is too long or not JSON, or an object in it has a field twice.
    """
    problem = TOO_LONG
    if len(text) <= MAX_SOURCE_BYTES:
        problem = NOT_JSON
        try:
            return _JSON.decode(text)
        except (ValueError, RecursionError):
            pass  # it contains the text, so the error is raised outside of its handler
    del text
    raise UnreadableSource(problem)


def json_records(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON list. Only one of them is in memory at a time.

    :raises UnreadableSource: the text is too long or not a JSON list of objects, or an object in
        it has a field twice.
    """
    problem = TOO_LONG
    if len(text) <= MAX_SOURCE_BYTES:
        problem = NOT_A_LIST
        position = _skip_blanks(text, 0)
        more = text.startswith("[", position)
        position = _skip_blanks(text, position + 1)
        if more and text.startswith("]", position):
            problem = "" if _skip_blanks(text, position + 1) == len(text) else NOT_JSON
            more = False
        while more:
            record, position = _json_object(text, position)
            if record is None:
                problem = NOT_JSON if text.startswith("{", position) else NOT_A_LIST
                break
            yield record
            del record  # it contains a secret
            more = text.startswith(",", position)
            if not more:
                ends = text.startswith("]", position)
                at_end = _skip_blanks(text, position + 1) == len(text)
                problem = "" if ends and at_end else NOT_JSON
            position = _skip_blanks(text, position + 1)
    del text
    if problem:
        raise UnreadableSource(problem)


def _json_object(text: str, start: int) -> tuple[dict[str, Any] | None, int]:
    """Read the object at *start*.

    :returns: the object, or None if there is none; and the position of what follows it.
    """
    if text.startswith("{", start):
        for size in (1 << 12, MAX_RECORD_CHARACTERS):  # most objects are small
            try:
                record, length = _JSON.raw_decode(text[start : start + size])
            except (ValueError, RecursionError):
                continue
            return record, _skip_blanks(text, start + length)
    return None, start


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError
    return record


def _skip_blanks(text: str, start: int) -> int:
    blanks = _BLANKS.match(text, min(start, len(text)))
    return blanks.end() if blanks else start


TOO_LONG: Final = f"the source is longer than {MAX_SOURCE_BYTES >> 20} MiB"
NOT_JSON: Final = "the source is not valid JSON, or an object in it has a field twice"
NOT_A_LIST: Final = "the source is not a JSON list of objects"
_JSON: Final = json.JSONDecoder(object_pairs_hook=_unique_fields)
_BLANKS: Final = re.compile(r"[ \t\n\r]*")
_REQUIRED: Final[Any] = object()


def take(record: Mapping[str, Any], name: str, kind: type[T], default: T = _REQUIRED) -> T:
    """Return the field *name* of a record.

    :param kind: the exact type of the value: True is not an int.
    :param default: the value if the field is missing or null.
    :raises InvalidValue: the field is missing and has no default.
    :raises InvalidType: the value has another type.
    """
    value = record.get(name)
    if value is None:
        if default is _REQUIRED:
            raise InvalidValue(f"{name} is missing")
        return default
    if type(value) is not kind:
        del value
        raise InvalidType(f"{name} must be of type {kind.__name__}")
    return value


def check_known_fields(record: Mapping[str, Any], *known: str) -> None:
    """Refuse a record with an unknown field: it may be a misspelled replay position.

    :raises InvalidValue: it has one.
    """
    if record.keys() - set(known):
        raise InvalidValue(f"unknown field: the allowed fields are {', '.join(known)}")


def owner_of(record: Mapping[str, Any]) -> str:
    """Return the field ``owner``, for a report; empty if it is not text."""
    owner = record.get("owner")
    return owner if isinstance(owner, str) else ""


def printable(value: object) -> str:
    """Return the first 80 characters of a value, escaped if they could control a terminal."""
    text = str(value)[:80]
    return text if text.isprintable() else ascii(text)[1:-1]


def key_type(unsafe_short_keys: bool) -> type[Key]:
    """Return the class of imported keys."""
    return UnsafeShortKey if unsafe_short_keys else Key


def read_parameters(text: str) -> Parameters:
    """Read the parameters of devices, such as ``sha256,8,30`` or ``sha1,6,60,30``.

    :param text: algorithm, digits, period in seconds and, if it is not 0, T0 in Unix seconds.
    :raises InvalidValue: the text has another form or an impossible value.
    """
    match = _PARAMETERS.fullmatch(text)
    if match is None:
        raise InvalidValue("write ALGORITHM,DIGITS,PERIOD[,T0], such as sha256,8,30")
    algorithm, digits, period, t0 = match.groups()
    return Parameters(
        algorithm=algorithm.lower(), digits=int(digits), period=int(period), t0=int(t0 or 0)
    )


_PARAMETERS: Final = re.compile(r"([A-Za-z0-9]+),([0-9]{1,9}),([0-9]{1,9})(?:,(-?[0-9]{1,12}))?")
