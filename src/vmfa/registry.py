"""The shell: load, decide, commit by compare-and-set, and only then tell.

Arguments that hold codes are deleted before anything can raise: error trackers record the locals of frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Final, TypeVar

from .access import Actor
from .decision import Decision
from .errors import StoreContended
from .events import AuditEvent
from .keys import Key
from .keysource import KeySource
from .model import (
    LAST_SECOND,
    Deactivation,
    OpenedEnrollment,
    PrincipalId,
    Receipt,
    SyncReport,
    VirtualDevice,
    check_is,
    check_text,
)
from .operations import Operation, Operations
from .otp import check_int
from .policy import Parameters, Policy
from .stores.port import Store

T = TypeVar("T")
ATTEMPTS: Final = 64  # compare-and-set rounds: each lost one means that somebody else got through
Observer = Callable[[AuditEvent], None]


def check_page_bounds(after: int, limit: int) -> None:
    check_int("after", after, 0, LAST_SECOND)
    check_int("limit", limit, 0, 1_000_000)


class DeviceRegistry:
    """Assigns virtual MFA devices and verifies their codes, over a store. Safe to share between threads.

    :param keys: :class:`DerivedKeys`, usually; *imported_keys* is for devices adopted from other systems.
    :param issuer: the name that authenticator apps show.
    :param clock: gives Unix time in seconds.
    :param observer: is told every outcome, after its commit. It cannot change an answer, whatever Exception it raises.
    """

    def __init__(
        self,
        store: Store,
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

    def requires_code(self, principal: PrincipalId) -> bool:
        """The log-in page's first question: must this principal present a code? Disabled or out of sync: yes."""
        check_is("principal", principal, PrincipalId)
        return self.operations.requires_code(self._store.load(principal))

    def open_enrollment(
        self, principal: PrincipalId, *, by: Actor, label: str, binding_code: str | None = None
    ) -> OpenedEnrollment:
        """SEED-SHOW. The answer shows the key, once. *label* tells accounts apart on the phone.

        :raises DeviceAlreadyAssigned: deactivate the device first. :raises TooManySessions: wait.
        """
        operation = self.operations.open_enrollment(principal, by=by, label=label, binding_code=binding_code)
        del binding_code
        return self._run(operation)

    def confirm_enrollment(
        self, principal: PrincipalId, *, session: str, code1: str, code2: str, by: Actor
    ) -> SyncReport:
        """SEED-TWO: two consecutive codes assign the device. Look at the report: it may be out of sync (SEED-LATE).

        :raises PairRejected: try again, while the session is open. :raises NoSession: open another.
        """
        operation = self.operations.confirm_enrollment(principal, session=session, code1=code1, code2=code2, by=by)
        del code1, code2
        return self._run(operation)

    def cancel_enrollment(self, principal: PrincipalId, *, by: Actor, session: str | None = None) -> None:
        """End the open enrollment and destroy its key. :raises NoSession: none is open."""
        self._run(self.operations.cancel_enrollment(principal, session=session, by=by))

    def verify(self, principal: PrincipalId, code: str) -> Receipt:
        """Accept *code*, once, or raise. Call it after the first factor. :raises CodeRejected: and its kinds."""
        operation = self.operations.verify(principal, code)
        del code
        return self._run(operation)

    def resync(self, principal: PrincipalId, *, code1: str, code2: str, by: Actor) -> SyncReport:
        """SEED-RESYNC: two fresh consecutive codes put the device in sync. Sign in with a further code."""
        operation = self.operations.resync(principal, code1=code1, code2=code2, by=by)
        del code1, code2
        return self._run(operation)

    def deactivate(self, principal: PrincipalId, *, by: Actor, reason: str = "") -> Deactivation:
        """SEED-ROTATE: remove the device and destroy its key for good. :raises NoDevice: there is none."""
        return self._run(self.operations.deactivate(principal, by=by, reason=reason))

    def adopt(
        self, principal: PrincipalId, *, by: Actor, key: Key, source: str, parameters: Parameters | None = None,
        last_step: int | None = None, drift: int = 0, failures: int = 0,
    ) -> VirtualDevice:
        """Take over a device that *source*, another system, assigned. *last_step* is its replay position."""
        operation = self.operations.adopt(
            principal, by=by, key=key, source=source, parameters=parameters, last_step=last_step, drift=drift,
            failures=failures,
        )
        del key
        return self._run(operation)

    def reanchor(self, principal: PrincipalId, *, by: Actor) -> None:
        """After a clock that ran ahead was set right: accept the present time again for this principal."""
        self._run(self.operations.reanchor(principal, by=by))

    def forget(self, principal: PrincipalId, *, by: Actor) -> None:
        """Erase the principal and its history. Whoever is unknown already is forgotten already."""
        self._run(self.operations.forget(principal, by=by))

    def device(self, principal: PrincipalId, *, by: Actor) -> VirtualDevice:
        """The assigned device. :raises NoDevice: there is none."""
        return self._run(self.operations.read_device(principal, by=by))

    def history(
        self, principal: PrincipalId, *, by: Actor, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """A page of the life-cycle events behind event number *after*, oldest first. :raises RecordTampered."""
        check_page_bounds(after, limit)
        for _ in range(ATTEMPTS):
            record = self._run(self.operations.read_history(principal, by=by))
            events = self._store.history(principal, after=max(0, after - 1), limit=limit + 1)
            if self._store.load(principal).head == record.head:
                return self.operations.checked_history(record, events, after, limit)
        raise StoreContended("others kept changing this principal while its history was read")

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """A page of the principals of *account* that have a record, behind *after*."""
        check_text("account", account)
        check_is("after", after, PrincipalId if after is not None else NoneType)
        check_page_bounds(0, limit)
        return self._store.principals(account, after=after, limit=limit)

    def _run(self, operation: Operation[T]) -> T:
        check_is("principal", operation.principal, PrincipalId)
        for _ in range(ATTEMPTS):
            before = self._store.load(operation.principal)
            witness = self._store.load(operation.witness) if operation.witness else None
            made = operation.decide(before, self._clock(), witness)
            if made.principal is before or self._store.commit(before, made.principal, made.stored):
                return self._tell(made)
        raise StoreContended("others kept changing this principal; nothing was changed")

    def _tell(self, made: Decision[T]) -> T:
        if self._observer is not None:
            for event in made.events:
                try:
                    self._observer(event)
                except Exception:  # whatever it is: the answer is committed and stands
                    import logging

                    logging.getLogger("vmfa").exception("the observer raised")
        return made.settle()
