"""What all importers share: items, the rules of a batch, and the outcomes.

A device is adopted by one commit or not at all, and never replaces an assigned device. A principal
becomes root only by name. You can interrupt a batch at any point and run it again.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from itertools import pairwise
from typing import Final

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
from ..keys import Key, random_bytes, reveal
from ..models import PrincipalId, VirtualDevice
from ..policy import Parameters
from ..registry import DeviceRegistry

MAX_ENTRIES: Final = 2_000_000  # of one source


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
    """The items of a source. Each iteration reads the source again, so memory stays flat.

    Finish one iteration before you begin the next one: both read the same stream.
    """

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
    registry: DeviceRegistry,
    items: Iterable[Item],
    *,
    by: Actor,
    principals: Principals,
    survey: Survey | None = None,
) -> Iterator[Outcome]:
    """Adopt the devices, and yield the outcome of each item after its commit.

    A device that cannot be adopted does not stop the batch. An error that would stop every device,
    such as a store that cannot be reached, is raised.

    :param registry: the registry that adopts the devices.
    :param items: what ``read()`` of an importer returned. It is iterated twice: the first time to
        find keys that occur more than once. An iterator is copied first.
    :param by: ``Actor.trusted_service(...)``.
    :param principals: maps the owners of the items to principals.
    :param survey: what the first iteration found, if you made it: ``Survey(items)``.
    :raises AccessDenied: the actor is not a trusted service.
    :raises UnreadableSource: the source cannot be read. Nothing was adopted, unless the source
        changed during the import.
    """
    if iter(items) is items:
        items = tuple(items)
    survey = survey or Survey(items)
    for item in items:
        if isinstance(item, Rejected):
            yield Outcome(
                where=item.where, owner=item.owner, status=Status.REFUSED, reason=item.reason
            )
        elif survey.is_shared(item):  # RFC4226-5.1-K
            reason = "another owner in this batch has the same key: enroll both of them again"
            yield _not_adopted(item, None, Status.REFUSED, reason)
        else:
            yield _adopt(registry, item, by, principals)


class Survey:
    """What the first iteration over the items of a source finds, before any device is adopted.

    It stores no keys, only digests of them under a random key: eight bytes for each device.

    :ivar entries: the number of items.
    """

    __slots__ = ("_secret", "_shared", "entries")

    def __init__(self, items: Iterable[Item]) -> None:
        """Read all items.

        :raises UnreadableSource: the source cannot be read, or has more than
            :data:`MAX_ENTRIES` entries.
        """
        self._secret = random_bytes(32)
        self.entries = 0
        keys = array("Q")
        for item in items:
            self.entries += 1
            if self.entries > MAX_ENTRIES:
                del item  # error trackers record the locals of a raising frame
                raise UnreadableSource(f"the source has more than {MAX_ENTRIES} entries")
            if isinstance(item, ImportedDevice):
                keys.append(self._digest(reveal(item.key)))
        self._shared = self._keys_of_several_owners(items, _repeated(keys))

    def is_shared(self, item: ImportedDevice) -> bool:
        """Return whether the source lists the key of *item* under more than one owner."""
        return bool(self._shared) and self._digest(reveal(item.key)) in self._shared

    def _keys_of_several_owners(
        self, items: Iterable[Item], repeated: frozenset[int]
    ) -> frozenset[int]:
        owners: dict[int, int] = {}
        shared: set[int] = set()
        for item in items if repeated else ():
            if isinstance(item, ImportedDevice):
                key = self._digest(reveal(item.key))
                owner = self._digest(item.owner.encode("utf-8", "surrogatepass"))
                if key in repeated and owners.setdefault(key, owner) != owner:
                    shared.add(key)
        return frozenset(shared)

    def _digest(self, data: bytes) -> int:
        return int.from_bytes(blake2b(data, digest_size=8, key=self._secret).digest())


def _repeated(digests: array[int]) -> frozenset[int]:
    ordered = sorted(digests)
    return frozenset(
        digest for digest, following in pairwise(ordered) if digest == following
    )


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
