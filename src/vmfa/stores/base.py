"""The store protocol: one record per principal, changed by compare-and-set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from ..events import AuditEvent
from ..models import Principal, PrincipalId

__all__ = ["Store"]

WaitObserver = Callable[[str, float], None]


def ignore_wait(kind: str, seconds: float) -> None:
    """Do nothing: the default of a store's ``on_wait``, which instrumentation replaces.

    :param kind: "connection" after a wait for a connection, "retry" before a repeated attempt.
    :param seconds: how long the wait was, or will be.
    """


class Store(Protocol):
    """Where a registry keeps its records and histories.

    :mod:`vmfa.record` converts principals to columns and back. A store never sees a key and never
    decides anything. A store whose records cannot leave the process may set ``volatile = True``;
    its records are then not authenticated.
    """

    def load(self, principal: PrincipalId) -> Principal:
        """Return the newest committed record of *principal*.

        :returns: ``Principal(id=principal)`` if there is no record.
        :raises StoreError: the record cannot be read.
        """
        ...

    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        """Replace *before* by *after* and append *events*, durably, in one transaction.

        Stored events with the number of the first of *events*, or a higher one, are deleted
        first: they are past the end of the history. If ``after.pruned`` is higher than
        ``before.pruned``, document and salt of the redactable events up to that number are
        removed.

        :param before: the record that was loaded; revision 0 means that there is none.
        :param after: the next record; revision 0 removes the record and its history.
        :param events: the events to store, with consecutive numbers.
        :returns: False, with nothing written, if the stored record is no longer *before*
            (its revision and its tag).
        :raises OutcomeUnknown: the change may have been stored.
        :raises StoreError: nothing was stored.
        """
        ...

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the stored principals of *account*.

        :param after: the last principal of the page before.
        :returns: at most *limit* principals: root first, then users by the bytes of their names.
        """
        ...

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """Return a page of the stored events of *principal*.

        :param after: the number of the last event of the page before.
        :returns: at most *limit* events, in the order of their numbers.
        """
        ...


@runtime_checkable
class ListsAccounts(Protocol):
    """A store that can list its accounts. A registry does not need it; a copy does."""

    def accounts(self, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return a page of the accounts in which a record is stored.

        :param after: the last account of the page before.
        :returns: at most *limit* accounts, by their bytes.
        """
        ...


@runtime_checkable
class ListsOrphans(Protocol):
    """A store that can list histories without a record. Only an audit needs it.

    A store that keeps a record and its events together has no such histories.
    """

    def orphans(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the principals of *account* that have events and no record.

        :param after: the last principal of the page before.
        :returns: at most *limit* principals: root first, then users by the bytes of their names.
        """
        ...


class AsyncStore(Protocol):
    """:class:`Store` for asyncio: the same methods, as coroutines."""

    async def load(self, principal: PrincipalId) -> Principal:
        """Return what :meth:`Store.load` returns."""
        ...

    async def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        """Do what :meth:`Store.commit` does."""
        ...

    async def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return what :meth:`Store.principals` returns."""
        ...

    async def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """Return what :meth:`Store.history` returns."""
        ...
