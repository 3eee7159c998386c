"""The registry for asyncio: ``vmfa.DeviceRegistry`` with await, the same operations over an asynchronous store.

``AsyncPostgresStore`` waits by itself; ``InThreads`` makes an asynchronous store of any other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import Any, Concatenate, Final

from .access import Actor
from .decision import Decision, T
from .errors import StoreContended
from .events import AuditEvent
from .keysources.base import KeySource
from .models import Principal, PrincipalId
from .operations import Operation, Operations
from .otp import check_int
from .policy import Policy
from .registry import ATTEMPTS, MAX_PAGE, Observer, P, answers_itself, check_page, check_parts, notify
from .stores.threads import AsyncStore, InThreads
from .validators import MAX_INTEGER, check_instance

__all__ = ["AsyncStore", "DeviceRegistry", "InThreads"]


def _ask(
    build: Callable[Concatenate[Operations, P], Operation[T]],
) -> Callable[Concatenate[DeviceRegistry, P], Coroutine[Any, Any, T]]:
    """A method of the registry: it builds the operation of the same name and runs it."""

    @wraps(build)
    async def ask(self: DeviceRegistry, /, *args: P.args, **kwargs: P.kwargs) -> T:
        operation = build(self.operations, *args, **kwargs)
        del args, kwargs  # codes may be among them, and error trackers record the locals of a raising frame
        return await self._run(operation)

    answers_itself(ask)
    return ask


class DeviceRegistry:
    """``vmfa.DeviceRegistry`` with await: each method takes, answers and raises what its namesake there does.

    A cancelled call has done nothing, or all of it: a commit that has begun goes on, and the observer is told.
    """

    operations: Operations

    def __init__(self, store: AsyncStore, *, keys: KeySource, issuer: str, imported_keys: KeySource | None = None,
                 policy: Policy | None = None, clock: Callable[[], float] = time.time,
                 observer: Observer | None = None) -> None:
        check_parts(store, clock, observer, waits=True)
        authenticate = not getattr(store, "volatile", False)
        self.operations = Operations(keys, issuer=issuer, imported_keys=imported_keys, policy=policy, authenticate=authenticate)
        self._store, self._clock, self._observer = store, clock, observer
        self._committing: set[asyncio.Task[bool]] = set()  # the loop itself holds tasks weakly

    open_enrollment: Final = _ask(Operations.open_enrollment)
    confirm_enrollment: Final = _ask(Operations.confirm_enrollment)
    cancel_enrollment: Final = _ask(Operations.cancel_enrollment)
    verify: Final = _ask(Operations.verify)
    resync: Final = _ask(Operations.resync)
    deactivate: Final = _ask(Operations.deactivate)
    adopt: Final = _ask(Operations.adopt)
    reanchor: Final = _ask(Operations.reanchor)
    forget: Final = _ask(Operations.forget)
    device: Final = _ask(Operations.device)
    _record: Final = _ask(Operations.record)
    _prune_history: Final = _ask(Operations.prune_history)

    async def requires_code(self, principal: PrincipalId) -> bool:
        check_instance("principal", principal, PrincipalId)
        return self.operations.requires_code(await self._store.load(principal))

    async def history(self, principal: PrincipalId, *, by: Actor, after: int = 0,
                      limit: int = 1000) -> Sequence[AuditEvent]:
        check_int("after", after, 0, MAX_INTEGER)
        check_int("limit", limit, 0, MAX_PAGE)
        for _ in range(ATTEMPTS):
            record = await self._record(principal, by=by)
            events = await self._store.history(principal, after=max(0, after - 1), limit=limit + 1)
            if (await self._store.load(principal)).head == record.head:
                return self.operations.checked_history(record, events, after, limit)
        raise StoreContended("others kept changing this principal while its history was read")

    async def prune_history(self, principal: PrincipalId, *, by: Actor, older_than: int) -> int:
        history: list[AuditEvent] = []
        while page := await self.history(principal, by=by, after=len(history)):
            history += page
        return await self._prune_history(principal, by=by, history=history, older_than=older_than)

    async def principals(self, account: str, *, after: PrincipalId | None = None,
                         limit: int = 1000) -> Sequence[PrincipalId]:
        check_page(account, after, limit)
        return await self._store.principals(account, after=after, limit=limit)

    async def _run(self, operation: Operation[T]) -> T:
        check_instance("principal", operation.principal, PrincipalId)
        for _ in range(ATTEMPTS):
            before = await self._store.load(operation.principal)
            actor_record = await self._store.load(operation.actor_record) if operation.actor_record else None
            made = operation.decide(before, self._clock(), actor_record)
            if made.principal is before:
                notify(self._observer, made)
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
            notify(self._observer, made)
        return done

    def _committed(self, task: asyncio.Task[bool]) -> None:
        self._committing.discard(task)
        if not task.cancelled():
            task.exception()  # nobody is left to see it, where the caller was cancelled
