"""An asynchronous store over a blocking one: every call runs in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..events import AuditEvent
from ..models import Principal, PrincipalId
from .base import AsyncStore, Store

__all__ = ["AsyncStore", "InThreads"]


class InThreads:
    """Make a blocking store, such as ``SQLiteStore``, an asynchronous one.

    Every call runs in a thread of the event loop's default executor. A call that is canceled
    still runs to its end in its thread.

    :param store: the blocking store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.volatile: bool = getattr(store, "volatile", False)

    async def load(self, principal: PrincipalId) -> Principal:
        """Return what the ``load`` of the store returns."""
        return await asyncio.to_thread(self._store.load, principal)

    async def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        """Do what the ``commit`` of the store does."""
        return await asyncio.to_thread(self._store.commit, before, after, events)

    async def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return what the ``principals`` of the store returns."""
        return await asyncio.to_thread(
            self._store.principals, account, after=after, limit=limit
        )

    async def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """Return what the ``history`` of the store returns."""
        return await asyncio.to_thread(self._store.history, principal, after=after, limit=limit)
