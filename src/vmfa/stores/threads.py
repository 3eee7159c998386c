"""The store port for asyncio, and any store that blocks behind it: each call in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from ..events import AuditEvent
from ..models import Principal, PrincipalId
from .base import Store


class AsyncStore(Protocol):
    """``vmfa.Store`` with await."""

    async def load(self, principal: PrincipalId) -> Principal: ...

    async def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool: ...

    async def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]: ...

    async def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]: ...


class InThreads:
    """A store that blocks, such as ``SQLiteStore``, each call in a thread of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.volatile: bool = getattr(store, "volatile", False)

    async def load(self, principal: PrincipalId) -> Principal:
        return await asyncio.to_thread(self._store.load, principal)

    async def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        return await asyncio.to_thread(self._store.commit, before, after, events)

    async def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        return await asyncio.to_thread(self._store.principals, account, after=after, limit=limit)

    async def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        return await asyncio.to_thread(self._store.history, principal, after=after, limit=limit)
