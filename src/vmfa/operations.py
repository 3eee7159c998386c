"""Each public operation as a value, for a service that stores records in its own transaction.

Such a service loads the principal, calls ``decide``, stores the decision's ``principal`` and
``stored`` events, commits, and then calls ``settle``. :class:`vmfa.DeviceRegistry` does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, NoReturn, TypeVarTuple

from . import guards, maintenance, rules
from .access import (
    Actor,
    check_permitted,
    claim_problem,
    claimed_device_is_assigned,
    relationship_to,
)
from .decision import Context, Decision, T
from .errors import InvalidType, InvalidValue, VmfaError
from .events import SIGN_INS, TRANSIENT, AuditEvent, EventActor, EventType
from .history import chain
from .keys import Key, Opaque, random_bytes
from .keysources.base import KeySource, KeySources
from .keyuri import check_label
from .lifecycle import Action, check_transition
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
from .otp import check_int, to_unix_seconds
from .policy import Parameters, Policy
from .record import authenticated, check_intact
from .validators import MAX_INTEGER, check_instance, check_text

__all__ = ["Operation", "Operations"]

Arguments = TypeVarTuple("Arguments")


class Operation(Opaque, Generic[T]):
    """One operation. It may contain codes, so it cannot be printed or pickled.

    :ivar principal: the principal that it is about.
    :ivar action: what it does.
    """

    __slots__ = (
        "_actor", "_arguments", "_operations", "_rule", "_source", "action", "principal",
    )
    principal: PrincipalId
    action: Action
    _actor: Actor | None
    _operations: Operations
    _rule: Callable[..., Decision[T]]
    _arguments: tuple[object, ...]  # codes may be among them
    _source: str

    def __init__(
        self,
        operations: Operations,
        action: Action,
        principal: PrincipalId,
        actor: Actor | None,
        source: str,
        rule: Callable[[Principal, Context, *Arguments], Decision[T]],
        *arguments: *Arguments,
    ) -> None:
        super().__init__(
            action=action, principal=principal, _actor=actor, _operations=operations, _rule=rule,
            _source=source, _arguments=arguments,
        )

    def __bool__(self) -> NoReturn:
        raise InvalidType("Operation cannot be used as a boolean: call decide()")

    @property
    def actor_record_id(self) -> PrincipalId | None:
        """The actor whose record :meth:`decide` needs as *actor_record*; None if it needs none."""
        actor = self._actor
        if not isinstance(actor, Actor) or actor.mfa is None or actor.principal == self.principal:
            return None
        return actor.principal

    def decide(
        self, before: Principal, now: float, actor_record: Principal | None = None
    ) -> Decision[T]:
        """Return the answer and the next state.

        The result depends only on the arguments and on random numbers for new keys and
        identifiers. A refusal is an answer and not an exception. If the principal changed, commit
        it first, and then settle.

        :param before: the stored record of :attr:`principal`.
        :param now: the Unix time in seconds.
        :param actor_record: the record of :attr:`actor_record_id`, unless that is None.
        :returns: the decision.
        :raises InvalidType: *principal*, *source* or *now* has the wrong type.
        :raises InvalidValue: *source* or *now* is not valid.
        """
        try:
            self.check()
            return self._decide(before, to_unix_seconds(now), actor_record)
        except BaseException as error:
            clear_frames_of(error)
            raise

    def check(self) -> None:
        """Check the arguments that do not depend on the stored state.

        :raises InvalidType: *principal* or *source* has the wrong type.
        :raises InvalidValue: *source* is not valid text.
        """
        check_principal(self.principal)
        check_text("source", self._source, empty=True)

    def discard(self) -> None:
        """Drop the arguments, codes included. The operation cannot decide after that."""
        object.__setattr__(self, "_arguments", ())

    def _decide(self, before: Principal, now: int, actor_record: Principal | None) -> Decision[T]:
        operations = self._operations
        context = Context(
            principal=self.principal, actor=self._event_actor(), now=now,
            policy=operations.policy, keys=operations.keys, random=operations.random,
            source=self._source,
        )
        state = before
        expired: tuple[AuditEvent, ...] = ()
        try:
            if before.id != self.principal or (
                actor_record is not None and actor_record.id != self.actor_record_id
            ):
                raise InvalidValue("the record belongs to another principal")
            if self.action is not Action.VERIFY:
                context = self._permitted(before, context, actor_record)
            if self.action not in (Action.FORGET, Action.MARK_SPENT):  # whatever the clock says
                state, expired = guards.without_expired(before, context)
            decision = self._rule(state, context, *self._arguments)
        except VmfaError as refusal:
            serial = before.device.serial if before.device else ""  # ASVS5-16.3.2
            event = context.event(
                EventType.REFUSED, serial, refusal.reason, action=self.action.value
            )
            return Decision(
                principal=before, answer=refusal.with_traceback(None), events=(event,)
            )
        if decision.principal is state:  # RULE-READS: malformed input commits nothing, either
            return replace(decision, principal=before)
        if state is not before:
            check_transition(before, Action.EXPIRE, state)
        check_transition(state, self.action, decision.principal)
        if self.action is Action.FORGET:
            return decision
        return self._completed(before, decision, (*expired, *decision.events), context)

    def _event_actor(self) -> EventActor:
        actor = self._actor
        if self.action is Action.VERIFY:
            claimant = self.principal
            return EventActor(
                role="claimant", account=claimant.account, kind=claimant.kind.value,
                name=claimant.name,
            )
        if not isinstance(actor, Actor):
            return EventActor(role="unknown")
        person = actor.principal
        if person is None:
            return EventActor(role=actor.role.value, name=actor.reference)
        return EventActor(
            role=actor.role.value, account=person.account, kind=person.kind.value,
            name=person.name,
        )

    def _permitted(
        self, before: Principal, context: Context, actor_record: Principal | None
    ) -> Context:
        actor = self._actor
        if not isinstance(actor, Actor):  # RULE-ACTOR
            raise InvalidType("by must be an Actor: build one with Actor.signed_in(), for example")
        policy, keys = context.policy, context.keys
        own_record = before if actor.principal == self.principal else actor_record
        if own_record is not None and own_record is not before:
            check_intact(own_record, keys)
        tolerance = policy.offers[0].period
        if own_record is not None:
            tolerance = guards.parameters_of(own_record, policy).period

        def claim_is_authentic(principal: PrincipalId, claim: MfaClaim) -> bool:
            return guards.claim_is_authentic(keys, principal, claim)

        problem = claim_problem(
            actor, own_record, now=context.now, policy=policy, tolerance=tolerance,
            claim_is_authentic=claim_is_authentic,
        )
        relationship = relationship_to(
            self.principal, actor, own_record, now=context.now, policy=policy,
            tolerance=tolerance, has_mfa=not problem,
        )
        check_permitted(self.action, relationship, self.principal, actor, problem)
        return replace(context, relationship=relationship)

    def _completed(
        self,
        before: Principal,
        decision: Decision[T],
        events: tuple[AuditEvent, ...],
        context: Context,
    ) -> Decision[T]:
        """Chain the events that are stored, and authenticate the next state."""
        keys, after = context.keys, decision.principal
        # RULE-SIGN-INS
        transient = TRANSIENT - SIGN_INS if context.policy.store_sign_ins else TRANSIENT
        stored = chain(
            (event for event in events if event.type not in transient),
            after=before, keys=keys, random=context.random,
        )
        seen_at = after.seen_at
        if self.action is not Action.MARK_SPENT:
            seen_at = max(seen_at, context.now)
        after = authenticated(
            after, keys, revision=before.revision + 1, seen_at=seen_at,
            events=before.events + len(stored),
            head=stored[-1].digest if stored else before.head,
        )
        next_stored = iter(stored)
        reported = tuple(
            event if event.type in transient else next(next_stored) for event in events
        )
        return Decision(
            principal=after, answer=decision.answer, events=reported
        )


class Operations:
    """The operations of one issuer, under one policy and one source of keys.

    :param keys: the source of new device keys, usually :class:`vmfa.DerivedKeys`.
    :param issuer: the name that authenticator apps show.
    :param imported_keys: the source for devices of other systems.
    :param policy: the limits of the rules; ``Policy()`` by default.
    :param random: a function that returns as many random bytes as its argument says.
    :param authenticate: whether stored records are authenticated. Leave it True.
    :raises InvalidType: an argument has the wrong type.
    :raises InvalidValue: *issuer* is not a valid label.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str,
        imported_keys: KeySource | None = None,
        policy: Policy | None = None,
        random: Callable[[int], bytes] = random_bytes,
        authenticate: bool = True,
    ) -> None:
        check_label("issuer", issuer)
        for source in (keys, imported_keys):
            if source is not None and (isinstance(source, type) or not hasattr(source, "scheme")):
                raise InvalidType("keys must be a KeySource such as DerivedKeys(master_key)")
        self.issuer = issuer
        self.keys: KeySource = KeySources(keys, imported_keys, authenticate=authenticate)
        self.policy: Policy = policy if policy is not None else Policy()
        check_instance("policy", self.policy, Policy)
        self.random = random

    def _operation(
        self,
        action: Action,
        principal: PrincipalId,
        actor: Actor | None,
        source: str,
        rule: Callable[[Principal, Context, *Arguments], Decision[T]],
        *arguments: *Arguments,
    ) -> Operation[T]:
        return Operation(self, action, principal, actor, source, rule, *arguments)

    # The methods mirror DeviceRegistry, which documents them.

    def open_enrollment(
        self,
        principal: PrincipalId,
        *,
        by: Actor,
        label: str,
        binding_code: str | None = None,
        source: str = "",
    ) -> Operation[OpenedEnrollment]:
        """Build :meth:`vmfa.DeviceRegistry.open_enrollment` as a value."""
        return self._operation(
            Action.OPEN, principal, by, source,
            rules.open_enrollment, self.issuer, label, binding_code,
        )

    def confirm_enrollment(
        self,
        principal: PrincipalId,
        *,
        session: str,
        code1: str,
        code2: str,
        by: Actor,
        source: str = "",
    ) -> Operation[SyncReport]:
        """Build :meth:`vmfa.DeviceRegistry.confirm_enrollment` as a value."""
        return self._operation(
            Action.CONFIRM, principal, by, source, rules.confirm_enrollment, session, code1, code2
        )

    def cancel_enrollment(
        self, principal: PrincipalId, *, by: Actor, session: str | None = None, source: str = ""
    ) -> Operation[None]:
        """Build :meth:`vmfa.DeviceRegistry.cancel_enrollment` as a value."""
        return self._operation(
            Action.CANCEL, principal, by, source, rules.cancel_enrollment, session
        )

    def verify(
        self,
        principal: PrincipalId,
        code: str,
        *,
        client: ClientToken | str | None = None,
        source: str = "",
    ) -> Operation[Receipt]:
        """Build :meth:`vmfa.DeviceRegistry.verify` as a value."""
        return self._operation(Action.VERIFY, principal, None, source, rules.verify, code, client)

    def resync(
        self,
        principal: PrincipalId,
        *,
        code1: str,
        code2: str,
        by: Actor,
        client: ClientToken | str | None = None,
        source: str = "",
    ) -> Operation[SyncReport]:
        """Build :meth:`vmfa.DeviceRegistry.resync` as a value."""
        return self._operation(
            Action.RESYNC, principal, by, source, rules.resync, code1, code2, client
        )

    def deactivate(
        self, principal: PrincipalId, *, by: Actor, reason: str = "", source: str = ""
    ) -> Operation[Deactivation]:
        """Build :meth:`vmfa.DeviceRegistry.deactivate` as a value."""
        return self._operation(
            Action.DEACTIVATE, principal, by, source, rules.deactivate, reason, by
        )

    def issue_binding_code(
        self, principal: PrincipalId, *, by: Actor, source: str = ""
    ) -> Operation[BindingCode]:
        """Build :meth:`vmfa.DeviceRegistry.issue_binding_code` as a value."""
        return self._operation(
            Action.ISSUE_BINDING_CODE, principal, by, source, rules.issue_binding_code
        )

    def replace_recovery_codes(
        self, principal: PrincipalId, *, by: Actor, source: str = ""
    ) -> Operation[RecoveryCodes]:
        """Build :meth:`vmfa.DeviceRegistry.replace_recovery_codes` as a value."""
        return self._operation(
            Action.REPLACE_RECOVERY_CODES, principal, by, source, rules.replace_recovery_codes
        )

    def give_client_token(
        self, principal: PrincipalId, *, by: Actor, source: str = ""
    ) -> Operation[ClientToken]:
        """Build :meth:`vmfa.DeviceRegistry.give_client_token` as a value."""
        return self._operation(
            Action.GIVE_CLIENT_TOKEN, principal, by, source, rules.give_client_token
        )

    def forget_clients(
        self, principal: PrincipalId, *, by: Actor, source: str = ""
    ) -> Operation[None]:
        """Build :meth:`vmfa.DeviceRegistry.forget_clients` as a value."""
        return self._operation(
            Action.FORGET_CLIENTS, principal, by, source, rules.forget_clients
        )

    def reopen(self, principal: PrincipalId, *, by: Actor, source: str = "") -> Operation[None]:
        """Build :meth:`vmfa.DeviceRegistry.reopen` as a value."""
        return self._operation(Action.REOPEN, principal, by, source, rules.reopen, by)

    def restore_budget(
        self, principal: PrincipalId, *, by: Actor, source: str = ""
    ) -> Operation[None]:
        """Build :meth:`vmfa.DeviceRegistry.restore_budget` as a value."""
        return self._operation(
            Action.RESTORE_BUDGET, principal, by, source, rules.restore_budget
        )

    def adopt(
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
    ) -> Operation[VirtualDevice]:
        """Build :meth:`vmfa.DeviceRegistry.adopt` as a value."""
        return self._operation(
            Action.ADOPT, principal, by, source, maintenance.adopt, key,
            parameters or Parameters(), last_step, drift, failures, failed_at, system,
        )

    def reanchor(self, principal: PrincipalId, *, by: Actor, source: str = "") -> Operation[None]:
        """Build :meth:`vmfa.DeviceRegistry.reanchor` as a value."""
        return self._operation(Action.REANCHOR, principal, by, source, maintenance.reanchor)

    def mark_spent(
        self, principal: PrincipalId, *, by: Actor, until: int, source: str = ""
    ) -> Operation[None]:
        """Build :meth:`vmfa.DeviceRegistry.mark_spent` as a value."""
        return self._operation(
            Action.MARK_SPENT, principal, by, source, maintenance.mark_spent, until
        )

    def forget(self, principal: PrincipalId, *, by: Actor, source: str = "") -> Operation[None]:
        """Build :meth:`vmfa.DeviceRegistry.forget` as a value."""
        return self._operation(Action.FORGET, principal, by, source, maintenance.forget)

    def prune_history(
        self,
        principal: PrincipalId,
        *,
        by: Actor,
        history: Sequence[AuditEvent],
        older_than: int,
        source: str = "",
    ) -> Operation[int]:
        """Build :meth:`vmfa.DeviceRegistry.prune_history` as a value, given the whole *history*.

        The store removes document and salt of the redactable events up to ``principal.pruned``.
        """
        return self._operation(
            Action.PRUNE, principal, by, source, maintenance.prune_history, history, older_than
        )

    def device(
        self, principal: PrincipalId, *, by: Actor, source: str = ""
    ) -> Operation[VirtualDevice]:
        """Build :meth:`vmfa.DeviceRegistry.device` as a value."""
        return self._operation(Action.READ_DEVICE, principal, by, source, maintenance.read_device)

    def record(
        self, principal: PrincipalId, *, by: Actor, source: str = ""
    ) -> Operation[Principal]:
        """Build the read of the authenticated record, for an actor that may read the history."""
        return self._operation(
            Action.READ_HISTORY, principal, by, source, maintenance.read_history
        )

    # Questions that need no actor

    def requires_code(self, before: Principal) -> bool:
        """Return whether a principal has an assigned device.

        :param before: the stored record.
        :raises RecordTampered: the record was edited.
        :raises UnknownMasterKey: the record needs a master key that this process does not have.
        """
        check_intact(before, self.keys)
        return before.device is not None

    def claim_is_valid(
        self,
        before: Principal,
        claim: MfaClaim | None,
        now: float,
        max_age: int | None = None,
    ) -> bool:
        """Return whether *claim* still proves a second factor of a principal.

        See :meth:`vmfa.DeviceRegistry.claim_is_valid`.

        :param before: the stored record of the principal.
        :param now: the Unix time in seconds.
        """
        # RULE-CLAIM-VALID
        if claim is not None and not isinstance(claim, MfaClaim):
            raise InvalidType(
                "claim must be of type MfaClaim: pass "
                "MfaClaim.from_dict() of what the session keeps"
            )
        if max_age is not None:
            check_int("max_age", max_age, 0, MAX_INTEGER)
        check_intact(before, self.keys)
        if claim is None:
            return False
        age = to_unix_seconds(now) - claim.at
        period = guards.parameters_of(before, self.policy).period
        return (
            age >= -period
            and (max_age is None or age <= max_age)
            and claimed_device_is_assigned(claim, before)
            and guards.claim_is_authentic(self.keys, before.id, claim)
        )

    def method_claim(self, principal: PrincipalId, method: str, at: float) -> MfaClaim:
        """Return the claim of a second factor that the service checked itself, such as "passkey".

        See :meth:`vmfa.DeviceRegistry.method_claim`.
        """
        check_principal(principal)
        return guards.signed_claim(self.keys, principal, at=to_unix_seconds(at), method=method)


def clear_frames_of(error: BaseException) -> None:
    """Clear the local variables of the frames that *error* passed through, with codes in them.

    Frames that are still running are left alone.
    """
    from traceback import clear_frames

    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            clear_frames(current.__traceback__)
            pending += [current.__cause__, current.__context__]
