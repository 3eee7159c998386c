"""The registry for asyncio: the same operations over an asynchronous store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from .access import Actor
from .decision import Decision, T
from .errors import RecordTampered, StoreContended, StoreTooNew, UnknownMasterKey, VmfaError
from .events import AuditEvent
from .history import READ_SIZE, PageReader
from .keys import Key
from .keysources.base import KeySource
from .models import (
    BindingCode,
    ClientToken,
    Deactivation,
    MfaClaim,
    OpenedEnrollment,
    Principal,
    PrincipalId,
    Receipt,
    RecoveryCodes,
    SyncReport,
    VirtualDevice,
    check_principal,
)
from .operations import Operation, Operations, clear_frames_of
from .policy import Parameters, Policy
from .registry import (
    ATTEMPTS,
    CONTENDED,
    MAX_PAGE,
    Observer,
    check_all_marked,
    check_history_page,
    check_parts,
    check_principals_page,
    notify,
    same_history,
)
from .stores.threads import AsyncStore, InThreads

__all__ = ["AsyncStore", "DeviceRegistry", "InThreads"]


class DeviceRegistry:
    """:class:`vmfa.DeviceRegistry` with ``await``, for one event loop.

    Every method raises a :class:`vmfa.StoreError` if the store fails, :class:`vmfa.ClockWentBack`
    if the clock is behind a committed time, and :class:`vmfa.UnknownMasterKey` if the record needs
    another master key. Nothing was counted then. A call that is canceled before its commit begins
    changes nothing. After that, the commit is completed and the observer is called.

    :param store: an asynchronous store. ``InThreads(SQLiteStore(path))`` wraps a blocking one.
    :param keys: the source of device keys, usually :class:`vmfa.DerivedKeys`.
    :param issuer: the name that authenticator apps show.
    :param imported_keys: the key source for devices adopted from other systems.
    :param policy: the limits of the rules; ``Policy()`` by default.
    :param clock: a function that returns the Unix time in seconds. It is called once to check it.
    :param observer: a function that is called with each event after its commit. Exceptions in it
        are logged.
    :raises InvalidType: an argument has the wrong type.
    :raises InvalidValue: *issuer* is not a valid label.
    """

    operations: Operations

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
        check_parts(store, clock, observer, is_async=True)
        self.operations = Operations(
            keys, issuer=issuer, imported_keys=imported_keys, policy=policy,
            authenticate=not getattr(store, "volatile", False),
        )
        self._store, self._clock, self._observer = store, clock, observer
        self._commits: set[asyncio.Task[bool]] = set()

    @property
    def policy(self) -> Policy:
        """The limits of the rules, such as ``policy.claim_seconds``. They cannot be changed."""
        return self.operations.policy

    # Signing in

    async def requires_code(self, principal: PrincipalId) -> bool:
        """Return whether *principal* has an assigned device, so that a sign-in requires a code.

        Call it after the first factor. The result is also True for a device that is out of sync or
        disabled.

        :param principal: the person who signs in.
        :raises RecordTampered: the stored record was edited.
        """
        # RULE-REQUIRES
        check_principal(principal)
        return self.operations.requires_code(await self._store.load(principal))

    async def verify(
        self,
        principal: PrincipalId,
        code: str,
        *,
        client: ClientToken | str | None = None,
        source: str = "",
    ) -> Receipt:
        """Accept *code* once, or raise an error. Call it after the first factor.

        :param principal: the owner of the device.
        :param code: the digits as typed.
        :param client: the token of a known client, from its cookie. A token that is not valid
            counts as none.
        :param source: where the request comes from, such as an IP address, for the event.
        :returns: a receipt. Keep ``receipt.claim`` in the session.
        :raises MalformedCode: the text is not a code; nothing was counted.
        :raises AlreadyUsed: the code was used before; nothing was counted.
        :raises Throttled: the delay after earlier failures is not over; the code was not
            evaluated.
        :raises SignInClosed: the guess budget is used up; the code was not evaluated.
        :raises OutOfSync: the device must be resynchronized first.
        :raises DeviceDisabled: the device failed too often in a row.
        :raises CodeRejected: the code is wrong; the failure was counted.
        :raises NoDevice: the principal has no device. Show the same message as for a wrong code.
        """
        operation = self.operations.verify(principal, code, client=client, source=source)
        del code, client
        return await self.run(operation)

    async def resync(
        self,
        principal: PrincipalId,
        *,
        code1: str,
        code2: str,
        by: Actor,
        client: ClientToken | str | None = None,
        source: str = "",
    ) -> SyncReport:
        """Resynchronize the device with two fresh consecutive codes.

        The two codes are spent and do not sign the user in. The next code does.

        :param principal: the owner of the device.
        :param code1: the first code.
        :param code2: the code that follows it.
        :param by: the actor that asks.
        :param client: the token of a known client, from its cookie.
        :param source: where the request comes from, such as an IP address, for the event.
        :raises PairRejected: these are not two fresh consecutive codes; the failure was counted.
        :raises CodeRejected: as for :meth:`verify`.
        :raises AccessDenied: the actor is not allowed to do this.
        :raises NoDevice: the principal has no device.
        """
        operation = self.operations.resync(
            principal, code1=code1, code2=code2, by=by, client=client, source=source
        )
        del code1, code2, client
        return await self.run(operation)

    async def claim_is_valid(
        self, principal: PrincipalId, claim: MfaClaim | None, *, max_age: int | None = None
    ) -> bool:
        """Return whether *claim* still proves the second factor of *principal*.

        Call it on every page that requires a second factor: the claim of a device is no longer
        valid after the device was removed. The claim of another method is valid until *max_age*.

        :param principal: the owner of the device.
        :param claim: what the session keeps: ``receipt.claim``, or :meth:`method_claim`. None, if
            the session has no claim, is not valid.
        :param max_age: the largest age in seconds; None for no limit.
        :raises InvalidType: *claim* is neither an MfaClaim nor None.
        :raises RecordTampered: the stored record was edited.
        """
        check_principal(principal)
        before = await self._store.load(principal)
        return self.operations.claim_is_valid(before, claim, self._clock(), max_age)

    def method_claim(self, principal: PrincipalId, method: str) -> MfaClaim:
        """Return the claim of a second factor that your service checked itself.

        :param principal: the person who presented it.
        :param method: what was used, such as "passkey".
        :raises InvalidValue: *method* is not valid text of at most 64 bytes.
        """
        return self.operations.method_claim(principal, method, self._clock())

    # Enrollment

    async def open_enrollment(
        self,
        principal: PrincipalId,
        *,
        by: Actor,
        label: str,
        binding_code: str | None = None,
        source: str = "",
    ) -> OpenedEnrollment:
        """Open an enrollment with a new key. Only this answer shows the key.

        An enrollment that is already open is superseded, and its key is destroyed.

        :param principal: the owner of the device.
        :param by: the actor that asks.
        :param label: the account name that the app shows, such as an e-mail address.
        :param binding_code: the code that a removal by another person returned.
        :param source: where the request comes from, such as an IP address, for the event.
        :raises DeviceAlreadyAssigned: deactivate the device first.
        :raises TooManySessions: the day's enrollments are used up.
        :raises AccessDenied: the actor is not allowed to, or the binding code is missing or wrong.
        :raises InvalidValue: *label* is not valid.
        """
        operation = self.operations.open_enrollment(
            principal, by=by, label=label, binding_code=binding_code, source=source
        )
        del binding_code
        return await self.run(operation)

    async def confirm_enrollment(
        self,
        principal: PrincipalId,
        *,
        session: str,
        code1: str,
        code2: str,
        by: Actor,
        source: str = "",
    ) -> SyncReport:
        """Assign the device with two consecutive codes. Check the report: it may be out of sync.

        Both codes are used. They are no sign-in, so the report has no claim: :meth:`verify` the
        next code.

        :param principal: the owner of the device.
        :param session: the ``session_id`` of the open enrollment.
        :param code1: the first code.
        :param code2: the code that follows it.
        :param by: the actor that asks.
        :param source: where the request comes from, such as an IP address, for the event.
        :returns: a report with the device and, if the policy has them, recovery codes.
        :raises PairRejected: these are not two consecutive codes. The session stays open until its
            attempts are used up; then ``remedy`` is "enroll".
        :raises MalformedCode: a text is not a code; nothing was counted.
        :raises NoSession: no such session is open.
        :raises AccessDenied: the actor is not allowed to do this.
        """
        operation = self.operations.confirm_enrollment(
            principal, session=session, code1=code1, code2=code2, by=by, source=source
        )
        del code1, code2
        return await self.run(operation)

    async def cancel_enrollment(
        self, principal: PrincipalId, *, by: Actor, session: str | None = None, source: str = ""
    ) -> None:
        """End the open enrollment and destroy its key.

        :param principal: the owner of the device.
        :param by: the actor that asks.
        :param session: the ``session_id``; None for the one that is open.
        :param source: where the request comes from, such as an IP address, for the event.
        :raises NoSession: no such session is open.
        :raises AccessDenied: the actor is not allowed to do this.
        """
        await self.run(
            self.operations.cancel_enrollment(principal, by=by, session=session, source=source)
        )

    # Removal and recovery

    async def deactivate(
        self, principal: PrincipalId, *, by: Actor, reason: str = "", source: str = ""
    ) -> Deactivation:
        """Remove the device and destroy its key for good.

        :param principal: the owner of the device.
        :param by: the actor that asks.
        :param reason: a text for the history.
        :param source: where the request comes from, such as an IP address, for the event.
        :returns: the serial number, and a binding code if the owner needs one to enroll again.
        :raises NoDevice: the principal has no device.
        :raises AccessDenied: the actor is not allowed to do this.
        :raises RecoveryCodeRejected: the recovery code is wrong; the attempt was counted.
        :raises Throttled: after ten wrong recovery codes, one attempt an hour is evaluated.
        """
        return await self.run(
            self.operations.deactivate(principal, by=by, reason=reason, source=source)
        )

    async def issue_binding_code(
        self, principal: PrincipalId, *, by: Actor, source: str = ""
    ) -> BindingCode:
        """Replace the binding code of a removal, for an owner who lost it or let it expire.

        :param principal: the owner of the device.
        :param by: the actor that asks.
        :param source: where the request comes from, such as an IP address, for the event.
        :raises NoSession: no binding code is pending.
        :raises AccessDenied: the actor is not allowed to do this.
        """
        return await self.run(self.operations.issue_binding_code(principal, by=by, source=source))

    async def replace_recovery_codes(
        self, principal: PrincipalId, *, by: Actor, source: str = ""
    ) -> RecoveryCodes:
        """Replace the saved recovery codes of a user. The answer shows them once.

        :param principal: the owner of the device.
        :param by: the actor that asks.
        :param source: where the request comes from, such as an IP address, for the event.
        :raises NoDevice: the principal has no device.
        :raises AccessDenied: the actor is not the owner with a current MFA claim.
        :raises InvalidValue: the policy has no recovery codes.
        """
        operation = self.operations.replace_recovery_codes(principal, by=by, source=source)
        return await self.run(operation)

    # Known clients and the guess budget

    async def give_client_token(
        self, principal: PrincipalId, *, by: Actor, source: str = ""
    ) -> ClientToken:
        """Return a token with which the owner can sign in once within 24 hours.

        It works even while sign-in is closed for clients without a token.

        :param principal: the owner of the device.
        :param by: the actor that asks.
        :param source: where the request comes from, such as an IP address, for the event.
        :raises NoDevice: the principal has no device.
        :raises AccessDenied: the actor is not allowed to do this.
        :raises InvalidValue: the policy has no known clients.
        """
        return await self.run(self.operations.give_client_token(principal, by=by, source=source))

    async def forget_clients(self, principal: PrincipalId, *, by: Actor, source: str = "") -> None:
        """Invalidate every client token of the device, for example after a theft.

        :param principal: the owner of the device.
        :param by: the actor that asks.
        :param source: where the request comes from, such as an IP address, for the event.
        :raises NoDevice: the principal has no device.
        :raises AccessDenied: the actor is not the owner with a current MFA claim.
        """
        await self.run(self.operations.forget_clients(principal, by=by, source=source))

    async def reopen(self, principal: PrincipalId, *, by: Actor, source: str = "") -> None:
        """Open sign-in for clients without a token again, after the owner signed in with one.

        :param principal: the owner of the device.
        :param by: the actor that asks.
        :param source: where the request comes from, such as an IP address, for the event.
        :raises NoDevice: the principal has no device.
        :raises AccessDenied: the actor is not the owner with a claim newer than the last failure.
        """
        await self.run(self.operations.reopen(principal, by=by, source=source))

    async def restore_budget(self, principal: PrincipalId, *, by: Actor, source: str = "") -> None:
        """Refill the guess budget, at most once a day.

        Change the first factor before you call this: an attacker who knows it used the budget.

        :param principal: the owner of the device.
        :param by: the actor that asks.
        :param source: where the request comes from, such as an IP address, for the event.
        :raises TooSoon: it was restored within the last day.
        :raises NoDevice: the principal has no device.
        :raises AccessDenied: the actor is not allowed to do this.
        """
        await self.run(self.operations.restore_budget(principal, by=by, source=source))

    # Imports and repair

    async def adopt(
        self,
        principal: PrincipalId,
        *,
        by: Actor,
        key: Key,
        system: str,
        parameters: Parameters | None = None,
        last_step: int | None = None,
        drift: int = 0,
        failures: int = 0,
        failed_at: int | None = None,
        source: str = "",
    ) -> VirtualDevice:
        """Assign a device of another system, with its replay position.

        :param principal: the owner of the device.
        :param by: the actor that asks.
        :param key: the key of the device.
        :param system: the name of that system, for the history.
        :param parameters: the parameters of its codes; ``Parameters()`` by default.
        :param last_step: the last step that the other system accepted. None: every code that it
            can have accepted is spent.
        :param drift: the clock of the device minus the clock of the verifier, in steps.
        :param failures: how many consecutive failures the other system counted.
        :param failed_at: the Unix time of the last failure, in seconds; None for now.
        :param source: where the request comes from, such as an IP address, for the event.
        :raises DeviceAlreadyAssigned: the principal has a device, which is never overwritten.
        :raises InvalidValue: an argument is out of bounds, or the policy does not offer
            *parameters*.
        :raises AccessDenied: the actor is not a trusted service.
        """
        operation = self.operations.adopt(
            principal, by=by, key=key, system=system, parameters=parameters,
            last_step=last_step, drift=drift, failures=failures, failed_at=failed_at,
            source=source,
        )
        return await self.run(operation)

    async def reanchor(self, principal: PrincipalId, *, by: Actor, source: str = "") -> None:
        """Accept the present time again, after a clock that ran ahead was corrected.

        :param principal: the owner of the device.
        :param by: the actor that asks.
        :param source: where the request comes from, such as an IP address, for the event.
        :raises NoDevice: the principal is unknown.
        :raises AccessDenied: the actor is not a trusted service.
        """
        await self.run(self.operations.reanchor(principal, by=by, source=source))

    async def mark_spent(
        self, principal: PrincipalId, *, by: Actor, until: int, source: str = ""
    ) -> None:
        """Treat every code up to a time as used, after a fail-over that may have lost commits.

        Calling it again changes nothing. An open enrollment is canceled.

        :param principal: the owner of the device.
        :param by: the actor that asks.
        :param until: a Unix time in seconds, not in the future.
        :param source: where the request comes from, such as an IP address, for the event.
        :raises InvalidValue: *until* is in the future.
        :raises AccessDenied: the actor is not a trusted service.
        """
        await self.run(self.operations.mark_spent(principal, by=by, until=until, source=source))

    async def mark_account_spent(
        self, account: str, *, by: Actor, until: int, source: str = ""
    ) -> int:
        """Call :meth:`mark_spent` for every principal of *account*; return how many there are.

        It can be stopped anywhere and started again. A principal whose record cannot be read does
        not stop it.

        :param account: the account.
        :param by: the actor that asks.
        :param until: a Unix time in seconds, not ahead of the clock.
        :param source: where the request comes from, such as a client address, for the event.
        :raises StoreError: the records of some principals cannot be read; the text names them.
        """
        count, last = 0, None
        failed: list[tuple[PrincipalId, VmfaError]] = []
        while page := await self.principals(account, after=last):
            for principal in page:
                try:
                    await self.mark_spent(principal, by=by, until=until, source=source)
                except (RecordTampered, StoreContended, StoreTooNew, UnknownMasterKey) as error:
                    failed.append((principal, error))
            count, last = count + len(page), page[-1]
        check_all_marked(failed)
        return count

    async def forget(self, principal: PrincipalId, *, by: Actor, source: str = "") -> None:
        """Erase the principal and its history. An unknown principal stays unknown.

        :param principal: the owner of the device.
        :param by: the actor that asks.
        :param source: where the request comes from, such as an IP address, for the event.
        :raises AccessDenied: the actor is not a trusted service.
        """
        await self.run(self.operations.forget(principal, by=by, source=source))

    # Reading

    async def device(
        self, principal: PrincipalId, *, by: Actor, source: str = ""
    ) -> VirtualDevice:
        """Return the assigned device.

        :param principal: the owner of the device.
        :param by: the actor that asks.
        :param source: where the request comes from, such as an IP address, for the event.
        :raises NoDevice: the principal has no device.
        :raises AccessDenied: the actor is not allowed to read it.
        """
        return await self.run(self.operations.device(principal, by=by, source=source))

    async def history(
        self,
        principal: PrincipalId,
        *,
        by: Actor,
        after: int = 0,
        limit: int = 1000,
        source: str = "",
    ) -> Sequence[AuditEvent]:
        """Return a page of the stored events, oldest first, checked up to the end of the history.

        :param principal: the owner of the device.
        :param by: the actor that asks.
        :param after: the number of the event before the page.
        :param limit: the largest number of events.
        :param source: where the request comes from, such as an IP address, for the event.
        :raises RecordTampered: an event was changed, removed or moved. The text gives its number.
        :raises AccessDenied: the actor is not allowed to read the history.
        """
        check_history_page(after, limit)
        for _ in range(ATTEMPTS):
            record = await self.run(self.operations.record(principal, by=by, source=source))
            problem: RecordTampered | None = None
            reader = PageReader(record, after, limit)
            try:
                while reader.position is not None:
                    events = await self._store.history(
                        principal, after=reader.position, limit=READ_SIZE
                    )
                    reader.add(events)
            except RecordTampered as error:
                problem = error
            if same_history(await self._store.load(principal), record):
                if problem is not None:
                    raise problem
                return reader.page
        raise StoreContended(CONTENDED)

    async def prune_history(
        self, principal: PrincipalId, *, by: Actor, older_than: int, source: str = ""
    ) -> int:
        """Redact the events older than a Unix time, and return how many were redacted.

        The events that assign or remove a device are never redacted.

        :param principal: the owner of the device.
        :param by: the actor that asks.
        :param older_than: a Unix time in seconds.
        :param source: where the request comes from, such as an IP address, for the event.
        :raises AccessDenied: the actor is not a trusted service.
        """
        history = await self.history(principal, by=by, limit=MAX_PAGE, source=source)
        return await self.run(
            self.operations.prune_history(
                principal, by=by, history=history, older_than=older_than, source=source
            )
        )

    async def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the principals of *account* that have a record: root first, then users.

        :param account: the account.
        :param after: the last principal of the page before.
        :param limit: the largest number of principals.
        """
        check_principals_page(account, after, limit)
        return await self._store.principals(account, after=after, limit=limit)

    async def run(self, operation: Operation[T]) -> T:
        """Decide *operation*, commit the decision, and return or raise its answer.

        :param operation: what a method of ``registry.operations`` returned. Its arguments are
            dropped if an error is raised.
        :raises VmfaError: an error of the method of the registry with the same name.
        """
        try:
            return await self._attempt(operation)
        except BaseException as error:
            operation.discard()
            clear_frames_of(error)  # codes may be in their local variables
            raise

    async def _attempt(self, operation: Operation[T]) -> T:
        operation.check()
        for _ in range(ATTEMPTS):
            before = await self._store.load(operation.principal)
            actor_record_id = operation.actor_record_id
            actor_record = await self._store.load(actor_record_id) if actor_record_id else None
            decision = operation.decide(before, self._clock(), actor_record)
            if decision.principal is before:
                notify(self._observer, decision)
                return decision.settle()
            # A commit that has begun goes on when the caller is canceled.
            commit = asyncio.create_task(self._commit(before, decision))
            self._commits.add(commit)  # the event loop itself keeps weak references to tasks
            commit.add_done_callback(self._committed)
            if await asyncio.shield(commit):
                return decision.settle()
        raise StoreContended(CONTENDED)

    async def _commit(self, before: Principal, decision: Decision[T]) -> bool:
        committed = await self._store.commit(before, decision.principal, decision.stored)
        if committed:
            notify(self._observer, decision)
        return committed

    def _committed(self, commit: asyncio.Task[bool]) -> None:
        self._commits.discard(commit)
        if not commit.cancelled():
            commit.exception()  # retrieved, in case the caller was canceled and cannot see it
