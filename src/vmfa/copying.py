"""Copy all records and histories from one store into another, and compare two stores.

Stop the services first: a record that changes while it is copied is a problem, not a copy. A copy
needs the master keys, because it checks the tag of every record and the chain of every history. It
changes neither: the same master keys read the destination.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from .audit import OF_ONE_PRINCIPAL, read_intact
from .errors import InvalidValue, RecordTampered
from .events import AuditEvent
from .keysources.base import RecordAuthenticator
from .models import Principal, PrincipalId
from .record import check_intact
from .stores.base import ListsAccounts, Store

PAGE: Final = 1000
DIFFERENT: Final = "the record or the history in the destination is another one"
MISSING: Final = "the destination has no record of this principal"
ONLY_THERE: Final = "the destination has a record of this principal, and the source has none"


class DestinationInUse(InvalidValue):
    """The destination has records that are not those of the source. Nothing was copied."""

    reason = "destination in use"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    """The result for one principal.

    :param events: the number of events in its history.
    :param copied: whether the record was copied. False if it was there already.
    :param problem: why it could not be copied, or what differs; empty if nothing is wrong.
    """

    principal: PrincipalId
    events: int = 0
    copied: bool = False
    problem: str = ""


def copy_records(
    source: Store,
    destination: Store,
    *,
    keys: RecordAuthenticator,
    accounts: Iterable[str] | None = None,
) -> Iterator[CopyResult]:
    """Copy every record and its history from *source* into *destination*.

    A generator: each record is committed with its history, in one transaction, before its result
    is yielded. If it is interrupted, run it again: it continues where it was. Call
    :func:`compare_records` afterwards.

    :param source: the store to copy. Stop the services that use it.
    :param destination: an empty store, or one to which an earlier run copied records.
    :param keys: the master keys, such as ``DerivedKeys(...)``.
    :param accounts: the accounts to copy; None for all, if *source* can list them.
    :returns: a result for each principal of *source*. A record or a history that is not intact is
        a problem and is not copied.
    :raises DestinationInUse: *destination* has other records. Nothing was copied.
    :raises InvalidValue: *source* cannot list its accounts, or does not authenticate records.
    :raises StoreError: a store fails. Records before this one have been copied.
    """
    listed = _listed(source, accounts)
    for principal in _principals(destination, _all_accounts(destination, listed)):
        if not _is_copy(source, destination, principal):
            raise DestinationInUse(
                f"the destination has a record of {principal} that is not the one of the source:"
                " copy into an empty database"
            )
    for principal in _principals(source, listed):
        yield _copied(source, destination, principal, keys)


def compare_records(
    source: Store,
    destination: Store,
    *,
    keys: RecordAuthenticator,
    accounts: Iterable[str] | None = None,
) -> Iterator[CopyResult]:
    """Check that *destination* has exactly the records and the histories of *source*.

    Every record is checked against its tag and every history against its chain, on both sides. So
    a record that was changed in *source* after it was copied is found.

    :param source: the store that was copied.
    :param destination: the store to which it was copied.
    :param keys: as for :func:`copy_records`.
    :param accounts: as for :func:`copy_records`.
    :returns: a result for each principal of either store; ``copied`` is False.
    :raises InvalidValue: as for :func:`copy_records`.
    :raises StoreError: a store fails.
    """
    listed = _listed(source, accounts)
    for principal in _principals(source, listed):
        yield _compared(source, destination, principal, keys)
    for principal in _principals(destination, _all_accounts(destination, listed)):
        if source.load(principal).revision == 0:
            yield CopyResult(principal=principal, problem=ONLY_THERE)


def _copied(
    source: Store, destination: Store, principal: PrincipalId, keys: RecordAuthenticator
) -> CopyResult:
    try:
        record, events = _read(source, principal, keys)
    except OF_ONE_PRINCIPAL as error:
        return CopyResult(principal=principal, problem=str(error))
    if record.revision == 0:  # forgotten meanwhile
        return CopyResult(principal=principal)
    copied = destination.commit(Principal(id=principal), record, events)
    if not copied and destination.load(principal) != record:
        return CopyResult(principal=principal, events=len(events), problem=DIFFERENT)
    return CopyResult(principal=principal, events=len(events), copied=copied)


def _compared(
    source: Store, destination: Store, principal: PrincipalId, keys: RecordAuthenticator
) -> CopyResult:
    try:
        record, events = _read(source, principal, keys)
        copy, copied_events = _read(destination, principal, keys)
    except OF_ONE_PRINCIPAL as error:
        return CopyResult(principal=principal, problem=str(error))
    problem = ""
    if copy.revision == 0 < record.revision:
        problem = MISSING
    elif (copy, copied_events) != (record, events):
        problem = DIFFERENT
    return CopyResult(principal=principal, events=len(events), problem=problem)


def _read(
    store: Store, principal: PrincipalId, keys: RecordAuthenticator
) -> tuple[Principal, tuple[AuditEvent, ...]]:
    return read_intact(store, principal, partial(_authentic_record, store, keys))


def _authentic_record(
    store: Store, keys: RecordAuthenticator, principal: PrincipalId
) -> Principal:
    record = store.load(principal)
    check_intact(record, keys)
    return record


def _is_copy(source: Store, destination: Store, principal: PrincipalId) -> bool:
    try:
        return source.load(principal) == destination.load(principal)
    except RecordTampered:
        return False


def _listed(source: Store, accounts: Iterable[str] | None) -> list[str]:
    """Return *accounts*, or all accounts of *source*."""
    if getattr(source, "volatile", False):
        raise InvalidValue("records in memory are not authenticated: copy from a database")
    if accounts is not None:
        return list(accounts)
    if not isinstance(source, ListsAccounts):
        raise InvalidValue("this source cannot list its accounts: pass accounts=[...]")
    return list(_accounts(source))


def _all_accounts(destination: Store, listed: list[str]) -> list[str]:
    """Return the accounts in which the destination may have records."""
    if isinstance(destination, ListsAccounts):
        return list(_accounts(destination))
    return listed


def _accounts(store: ListsAccounts) -> Iterator[str]:
    page = store.accounts(limit=PAGE)
    while page:
        yield from page
        page = store.accounts(after=page[-1], limit=PAGE)


def _principals(store: Store, accounts: Iterable[str]) -> Iterator[PrincipalId]:
    for account in accounts:
        page = store.principals(account, limit=PAGE)
        while page:
            yield from page
            page = store.principals(account, after=page[-1], limit=PAGE)
