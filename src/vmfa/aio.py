"""The registry for asyncio: ``vmfa.DeviceRegistry`` with await, the same operations over an asynchronous store.

``AsyncPostgresStore`` waits by itself; ``InThreads`` makes an asynchronous store of any other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from .access import Actor
from .decision import Decision
from .errors import StoreContended
from .events import AuditEvent
from .keys import Key
from .keysource import KeySource
from .model import Deactivation, OpenedEnrollment, Principal, PrincipalId, Receipt, SyncReport, VirtualDevice, check_is
from .operations import Operation, Operations
from .policy import Parameters, Policy
from .registry import ATTEMPTS, Observer, check_page_bounds
from .stores.port import Store

T = TypeVar("T")


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
        self.volatile = getattr(store, "volatile", False)

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


class DeviceRegistry:
    """``vmfa.DeviceRegistry`` with await: each method takes, answers and raises what its namesake there does.

    A cancelled call has done nothing, or all of it: a commit that has begun goes on, and the observer is told.
    """

    def __init__(
        self,
        store: AsyncStore,
        *,
        keys: KeySource,
        issuer: str,
        imported_keys: KeySource | None = None,
        policy: Policy | None = None,
        clock: Callable[[], float] = time.time,
        observer: Observer | None = None,
    ) -> None:
        sealing = not getattr(store, "volatile", False)
        self.operations = Operations(
            keys, issuer=issuer, imported_keys=imported_keys, policy=policy, sealing=sealing
        )
        self._store = store
        self._clock = clock
        self._observer = observer
        self._committing: set[asyncio.Task[bool]] = set()  # the loop itself holds tasks weakly

    async def requires_code(self, principal: PrincipalId) -> bool:
        check_is("principal", principal, PrincipalId)
        return self.operations.requires_code(await self._store.load(principal))

    async def open_enrollment(
        self, principal: PrincipalId, *, by: Actor, label: str, binding_code: str | None = None
    ) -> OpenedEnrollment:
        operation = self.operations.open_enrollment(principal, by=by, label=label, binding_code=binding_code)
        del binding_code
        return await self._run(operation)

    async def confirm_enrollment(
        self, principal: PrincipalId, *, session: str, code1: str, code2: str, by: Actor
    ) -> SyncReport:
        operation = self.operations.confirm_enrollment(principal, session=session, code1=code1, code2=code2, by=by)
        del code1, code2
        return await self._run(operation)

    async def cancel_enrollment(self, principal: PrincipalId, *, by: Actor, session: str | None = None) -> None:
        await self._run(self.operations.cancel_enrollment(principal, session=session, by=by))

    async def verify(self, principal: PrincipalId, code: str) -> Receipt:
        operation = self.operations.verify(principal, code)
        del code
        return await self._run(operation)

    async def resync(self, principal: PrincipalId, *, code1: str, code2: str, by: Actor) -> SyncReport:
        operation = self.operations.resync(principal, code1=code1, code2=code2, by=by)
        del code1, code2
        return await self._run(operation)

    async def deactivate(self, principal: PrincipalId, *, by: Actor, reason: str = "") -> Deactivation:
        return await self._run(self.operations.deactivate(principal, by=by, reason=reason))

    async def adopt(
        self, principal: PrincipalId, *, by: Actor, key: Key, source: str, parameters: Parameters | None = None,
        last_step: int | None = None, drift: int = 0, failures: int = 0,
    ) -> VirtualDevice:
        operation = self.operations.adopt(
            principal, by=by, key=key, source=source, parameters=parameters, last_step=last_step, drift=drift,
            failures=failures,
        )
        del key
        return await self._run(operation)

    async def reanchor(self, principal: PrincipalId, *, by: Actor) -> None:
        await self._run(self.operations.reanchor(principal, by=by))

    async def forget(self, principal: PrincipalId, *, by: Actor) -> None:
        await self._run(self.operations.forget(principal, by=by))

    async def device(self, principal: PrincipalId, *, by: Actor) -> VirtualDevice:
        return await self._run(self.operations.read_device(principal, by=by))

    async def history(
        self, principal: PrincipalId, *, by: Actor, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        check_page_bounds(after, limit)
        for _ in range(ATTEMPTS):
            record = await self._run(self.operations.read_history(principal, by=by))
            events = await self._store.history(principal, after=max(0, after - 1), limit=limit + 1)
            if (await self._store.load(principal)).head == record.head:
                return self.operations.checked_history(record, events, after, limit)
        raise StoreContended("others kept changing this principal while its history was read")

    async def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        check_page_bounds(0, limit)
        return await self._store.principals(account, after=after, limit=limit)

    async def _run(self, operation: Operation[T]) -> T:
        check_is("principal", operation.principal, PrincipalId)
        for _ in range(ATTEMPTS):
            before = await self._store.load(operation.principal)
            witness = await self._store.load(operation.witness) if operation.witness else None
            made = operation.decide(before, self._clock(), witness)
            if made.principal is before:
                self._tell(made)
                return made.settle()
            committing = asyncio.create_task(self._commit(before, made))
            self._committing.add(committing)
            committing.add_done_callback(self._committed)
            if await asyncio.shield(committing):
                return made.settle()
        raise StoreContended("others kept changing this principal; nothing was changed")

    async def _commit(self, before: Principal, made: Decision[T]) -> bool:
        done = await self._store.commit(before, made.principal, made.stored)
        if done:
            self._tell(made)
        return done

    def _committed(self, task: asyncio.Task[bool]) -> None:
        self._committing.discard(task)
        if not task.cancelled():
            task.exception()  # nobody is left to see it, where the caller was cancelled

    def _tell(self, made: Decision[T]) -> None:
        if self._observer is not None:
            for event in made.events:
                try:
                    self._observer(event)
                except Exception:  # whatever it is: the answer is committed and stands
                    import logging

                    logging.getLogger("vmfa").exception("the observer raised")
