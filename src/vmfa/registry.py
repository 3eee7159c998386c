"""The shell: load, decide, commit by compare-and-set, and only then tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import wraps
from types import FunctionType, NoneType
from typing import Any, Concatenate, Final, ParamSpec

from .access import Actor
from .decision import Decision, T
from .errors import InvalidType, StoreContended
from .events import AuditEvent
from .keysources.base import KeySource
from .models import PrincipalId
from .operations import Operation, Operations
from .otp import check_int
from .policy import Policy
from .stores.base import Store
from .validators import MAX_INTEGER, check_instance, check_text

__all__ = ["DeviceRegistry"]

P = ParamSpec("P")
ATTEMPTS: Final = 64  # compare-and-set rounds: each lost one means that somebody else got through
Observer = Callable[[AuditEvent], None]


def _ask(build: Callable[Concatenate[Operations, P], Operation[T]]) -> Callable[Concatenate[DeviceRegistry, P], T]:
    """A method of the registry: it builds the operation of the same name and runs it."""

    @wraps(build)
    def ask(self: DeviceRegistry, /, *args: P.args, **kwargs: P.kwargs) -> T:
        operation = build(self.operations, *args, **kwargs)
        del args, kwargs  # codes may be among them, and error trackers record the locals of a raising frame
        return self._run(operation)

    answers_itself(ask)
    return ask


def answers_itself(method: Any) -> None:
    """Say in the signature of *method* that it gives what the operation answers, not the operation."""
    built = method.__wrapped__
    shown = FunctionType(built.__code__, {})
    answer = built.__annotations__["return"].removeprefix("Operation[").removesuffix("]")
    shown.__kwdefaults__, shown.__annotations__ = built.__kwdefaults__, {**built.__annotations__, "return": answer}
    method.__wrapped__ = shown


def notify(observer: Observer | None, made: Decision[T]) -> None:
    """Tell *observer* what happened, after the commit: it cannot change an answer."""
    for event in made.events if observer else ():
        try:
            observer(event)  # type: ignore[misc]  # not None in this loop
        except Exception:  # whatever it is: the answer is committed and stands
            import logging

            logging.getLogger("vmfa").exception("the observer raised")


def check_parts(store: object, clock: object, observer: object, *, waits: bool) -> None:
    """What a registry is built from, looked at before the first log-in does."""
    load = getattr(store, "load", None)
    other = "blocks: async def load, or aio.InThreads(store)" if waits else "waits: use it with vmfa.aio.DeviceRegistry"
    for wrong, sentence in (
        (isinstance(store, type) or not callable(load), "store is a Store such as SQLiteStore(path)"),
        (_waits(load) is (not waits), f"this store {other}"),
        (not callable(clock), "clock is a function that gives Unix time, such as time.time without brackets"),
        ((observer is not None and not callable(observer)) or _waits(observer),
         "observer is a function that is given each event"),
    ):
        if wrong:
            raise InvalidType(sentence)


def _waits(function: object) -> bool | None:
    """Whether it is a coroutine function; None: it does not tell, as a decorated one or a mock."""
    flags = getattr(getattr(function, "__code__", None), "co_flags", None)
    return None if type(flags) is not int or hasattr(function, "__wrapped__") else bool(flags & 0x80)  # CO_COROUTINE


def check_page(account: str, after: object, limit: int) -> None:
    check_text("account", account)
    check_instance("after", after, PrincipalId if after is not None else NoneType)
    check_int("limit", limit, 0, MAX_PAGE)


MAX_PAGE: Final = 1_000_000


class DeviceRegistry:
    """Assigns virtual MFA devices and verifies their codes, over a store. Safe to share between threads.

    :param keys: :class:`DerivedKeys`, usually; *imported_keys* is for devices adopted from other systems.
    :param issuer: the name that authenticator apps show.
    :param clock: gives Unix time in seconds (RFC6238-3-R1).
    :param observer: is told every outcome, after its commit. It cannot change an answer, whatever Exception it raises.
    """

    operations: Operations

    def __init__(self, store: Store, *, keys: KeySource, issuer: str, imported_keys: KeySource | None = None,
                 policy: Policy | None = None, clock: Callable[[], float] = time.time,
                 observer: Observer | None = None) -> None:
        check_parts(store, clock, observer, waits=False)
        authenticate = not getattr(store, "volatile", False)
        self.operations = Operations(keys, issuer=issuer, imported_keys=imported_keys, policy=policy, authenticate=authenticate)
        self._store, self._clock, self._observer = store, clock, observer

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

    def requires_code(self, principal: PrincipalId) -> bool:
        """The log-in page's first question: must this principal present a code? (RULE-REQUIRES) Out of sync: yes."""
        check_instance("principal", principal, PrincipalId)
        return self.operations.requires_code(self._store.load(principal))

    def history(self, principal: PrincipalId, *, by: Actor, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        """A page of the life-cycle events behind event number *after*, oldest first. :raises RecordTampered."""
        check_int("after", after, 0, MAX_INTEGER)
        check_int("limit", limit, 0, MAX_PAGE)
        for _ in range(ATTEMPTS):
            record = self._record(principal, by=by)
            events = self._store.history(principal, after=max(0, after - 1), limit=limit + 1)
            if self._store.load(principal).head == record.head:
                return self.operations.checked_history(record, events, after, limit)
        raise StoreContended("others kept changing this principal while its history was read")

    def prune_history(self, principal: PrincipalId, *, by: Actor, older_than: int) -> int:
        """Retention: redact the events older than a Unix time, bindings excepted. Answers how many."""
        history: list[AuditEvent] = []
        while page := self.history(principal, by=by, after=len(history)):
            history += page
        return self._prune_history(principal, by=by, history=history, older_than=older_than)

    def principals(self, account: str, *, after: PrincipalId | None = None, limit: int = 1000) -> Sequence[PrincipalId]:
        """A page of the principals of *account* that have a record, behind *after*."""
        check_page(account, after, limit)
        return self._store.principals(account, after=after, limit=limit)

    def _run(self, operation: Operation[T]) -> T:
        check_instance("principal", operation.principal, PrincipalId)
        for _ in range(ATTEMPTS):
            before = self._store.load(operation.principal)
            actor_record = self._store.load(operation.actor_record) if operation.actor_record else None
            made = operation.decide(before, self._clock(), actor_record)
            if made.principal is before or self._store.commit(before, made.principal, made.stored):
                notify(self._observer, made)
                return made.settle()
        raise StoreContended("others kept changing this principal; nothing was changed")
