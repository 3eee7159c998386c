"""Each public operation, once, as a value: what to decide, and on whom.

A service that keeps the records in its own transaction uses these: load, ``decide``, store the decision's
principal and stored events, commit, then ``settle``. ``DeviceRegistry`` does just that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, NoReturn, TypeVarTuple

from . import rules
from .access import Actor, check_permitted, relationship_to
from .decision import Context, Decision, T
from .errors import InvalidType, InvalidValue, VmfaError
from .events import AuditEvent, EventType
from .history import chained, check_page
from .keys import Key, Opaque, random_bytes
from .keysources.base import KeySource, KeySources
from .keyuri import check_label
from .lifecycle import Action, check_transition
from .models import Deactivation, OpenedEnrollment, Principal, PrincipalId, Receipt, SyncReport, VirtualDevice
from .otp import to_unix_seconds
from .policy import Parameters, Policy
from .record import authenticated, check_intact
from .validators import check_instance

__all__ = ["Operation", "Operations"]

Typed = TypeVarTuple("Typed")


class Operation(Opaque, Generic[T]):
    """One operation on ``principal``. It may hold codes, so it neither prints nor pickles."""

    __slots__ = ("_actor", "_rule", "_setting", "_typed", "action", "principal")
    principal: PrincipalId
    action: Action
    _actor: Actor | None
    _setting: Operations
    _rule: Callable[..., Decision[T]]
    _typed: tuple[object, ...]  # codes may be among them: no frame names them

    def __init__(self, setting: Operations, action: Action, principal: PrincipalId, actor: Actor | None,
                 rule: Callable[[Principal, Context, *Typed], Decision[T]], *typed: *Typed) -> None:
        super().__init__(action=action, principal=principal, _actor=actor, _setting=setting, _rule=rule, _typed=typed)

    def __bool__(self) -> NoReturn:
        raise InvalidType("an operation has no truth: decide it, commit the decision, and settle that")

    @property
    def actor_record(self) -> PrincipalId | None:
        """Whose record the decision also needs: the actor's own, where its MFA claim names a device."""
        actor = self._actor
        if not isinstance(actor, Actor) or actor.mfa is None or actor.principal == self.principal:
            return None
        return actor.principal

    def decide(self, before: Principal, now: float, actor_record: Principal | None = None) -> Decision[T]:
        """Decide on the state *before* at Unix time *now*. Pure but for the randomness of new keys and numbers.

        A refusal is an answer, not an exception: commit first, if the principal changed, then settle.
        """
        who, setting, actor, state = self.principal, self._setting, self._actor, before
        acting = str(actor) if isinstance(actor, Actor) else "claimant" if self.action is Action.VERIFY else "nobody"
        ctx = Context(principal=who, actor=acting, now=to_unix_seconds(now), policy=setting.policy, keys=setting.keys,
                    random=setting.random)
        ended: tuple[AuditEvent, ...] = ()
        try:
            if before.id != who or (actor_record is not None and actor_record.id != self.actor_record):
                raise InvalidValue("this record is another principal's")
            if self.action is not Action.VERIFY:
                ctx = self._permitted(before, ctx, actor_record)
            if self.action is not Action.FORGET:
                state, ended = rules.without_expired(before, ctx)
            made = self._rule(state, ctx, *self._typed)
        except VmfaError as refusal:
            serial = state.device.serial if state.device else ""
            told = ctx.event(EventType.REFUSED, serial, refusal.reason, action=self.action.value)
            made = Decision(principal=state, answer=refusal.with_traceback(None), events=(told,))
        if made.principal is before:
            return made
        if state is not before:
            check_transition(before, Action.EXPIRE, state)
        if made.principal is not state:
            check_transition(state, self.action, made.principal)
        return self._finished(before, made, (*ended, *made.events), ctx)

    def _permitted(self, before: Principal, ctx: Context, actor_record: Principal | None) -> Context:
        actor = self._actor
        if not isinstance(actor, Actor):
            raise InvalidType("by is an Actor: build one with Actor.signed_in and its like")
        own = before if actor.principal == self.principal else actor_record
        if own is not None and own is not before:
            check_intact(own, ctx.keys)
        tolerance = rules.parameters_of(before, ctx.policy).period
        found = relationship_to(actor, self.principal, own, ctx.now, ctx.policy, tolerance)
        check_permitted(self.action, found, self.principal)
        return replace(ctx, relationship=found)

    def _finished(self, before: Principal, made: Decision[T], happened: tuple[AuditEvent, ...],
                  ctx: Context) -> Decision[T]:
        after = made.principal
        if self.action is Action.FORGET:
            return made
        events = chained(happened, before.events, before.head, ctx.keys)
        stored = [event for event in events if event.number]
        head = stored[-1].tag if stored else before.head
        after = replace(after, revision=before.revision + 1, seen_at=max(after.seen_at, ctx.now),
                        events=before.events + len(stored), head=head, envelope=None)
        after = authenticated(after, ctx.keys)
        return Decision(principal=after, answer=made.answer, events=events, rewritten=made.rewritten)


class Operations:
    """The operations of one issuer under one policy and one source of keys."""

    def __init__(self, keys: KeySource, *, issuer: str, imported_keys: KeySource | None = None,
                 policy: Policy | None = None, random: Callable[[int], bytes] = random_bytes,
                 authenticate: bool = True) -> None:
        check_label("issuer", issuer)
        for source in (keys, imported_keys):
            if source is not None and (isinstance(source, type) or not hasattr(source, "scheme")):
                raise InvalidType("keys are a KeySource such as DerivedKeys(master_key)")
        self.issuer = issuer
        self.keys: KeySource = KeySources(keys, imported_keys, authenticate=authenticate)
        self.policy: Policy = policy if policy is not None else Policy()
        check_instance("policy", self.policy, Policy)
        self.random = random

    def open_enrollment(self, principal: PrincipalId, *, by: Actor, label: str,
                        binding_code: str | None = None) -> Operation[OpenedEnrollment]:
        """SEED-SHOW. The answer shows the key, once. *label* tells accounts apart on the phone.

        :raises DeviceAlreadyAssigned: deactivate the device first. :raises TooManySessions: wait.
        """
        return Operation(self, Action.OPEN, principal, by, rules.open_enrollment, self.issuer, label, binding_code)

    def confirm_enrollment(self, principal: PrincipalId, *, session: str, code1: str, code2: str,
                           by: Actor) -> Operation[SyncReport]:
        """SEED-TWO: two consecutive codes assign the device. Look at the report: it may be out of sync (SEED-LATE).

        :raises PairRejected: try again, while the session is open. :raises NoSession: open another.
        """
        return Operation(self, Action.CONFIRM, principal, by, rules.confirm_enrollment, session, code1, code2)

    def cancel_enrollment(self, principal: PrincipalId, *, by: Actor, session: str | None = None) -> Operation[None]:
        """End the open enrollment and destroy its key. :raises NoSession: none is open."""
        return Operation(self, Action.CANCEL, principal, by, rules.cancel_enrollment, session)

    def verify(self, principal: PrincipalId, code: str) -> Operation[Receipt]:
        """Accept *code*, once, or raise. Call it after the first factor. :raises CodeRejected: and its kinds."""
        return Operation(self, Action.VERIFY, principal, None, rules.verify, code)

    def resync(self, principal: PrincipalId, *, code1: str, code2: str, by: Actor) -> Operation[SyncReport]:
        """SEED-RESYNC: two fresh consecutive codes put the device in sync. Sign in with a further code."""
        return Operation(self, Action.RESYNC, principal, by, rules.resync, code1, code2)

    def deactivate(self, principal: PrincipalId, *, by: Actor, reason: str = "") -> Operation[Deactivation]:
        """SEED-ROTATE: remove the device and destroy its key for good. :raises NoDevice: there is none."""
        return Operation(self, Action.DEACTIVATE, principal, by, rules.deactivate, reason, by)

    def adopt(self, principal: PrincipalId, *, by: Actor, key: Key, source: str, parameters: Parameters | None = None,
              last_step: int | None = None, drift: int = 0, failures: int = 0,
              failed_at: int | None = None) -> Operation[VirtualDevice]:
        """Take over a device that *source*, another system, assigned. *last_step* is its replay position.

        *failed_at*: the Unix time of the last of the consecutive *failures*, if not now.
        """
        return Operation(self, Action.ADOPT, principal, by, rules.adopt, key, parameters or Parameters(), last_step,
                         drift, failures, failed_at, source)

    def reanchor(self, principal: PrincipalId, *, by: Actor) -> Operation[None]:
        """After a clock that ran ahead was set right: accept the present time again for this principal."""
        return Operation(self, Action.REANCHOR, principal, by, rules.reanchor)

    def forget(self, principal: PrincipalId, *, by: Actor) -> Operation[None]:
        """Erase the principal and its history. Whoever is unknown already is forgotten already."""
        return Operation(self, Action.FORGET, principal, by, rules.forget)

    def prune_history(self, principal: PrincipalId, *, by: Actor, history: Sequence[AuditEvent],
                      older_than: int) -> Operation[int]:
        """Redact events older than a Unix time, bindings excepted, given the whole *history*; how many."""
        return Operation(self, Action.PRUNE, principal, by, rules.prune_history, history, older_than)

    def device(self, principal: PrincipalId, *, by: Actor) -> Operation[VirtualDevice]:
        """The assigned device. :raises NoDevice: there is none."""
        return Operation(self, Action.READ_DEVICE, principal, by, rules.read_device)

    def record(self, principal: PrincipalId, *, by: Actor) -> Operation[Principal]:
        """The authenticated record, for whoever may read the history."""
        return Operation(self, Action.READ_HISTORY, principal, by, rules.read_history)

    def requires_code(self, before: Principal) -> bool:
        """Whether this principal has an assigned device. :raises RecordTampered: the record was edited."""
        try:
            check_intact(before, self.keys)
        except VmfaError as error:
            raise error.with_traceback(None) from None
        return before.device is not None

    def checked_history(self, record: Principal, events: Sequence[AuditEvent], after: int,
                        limit: int) -> Sequence[AuditEvent]:
        """The page of *record*'s history behind number *after*, of the stored *events* behind *after* - 1.

        :raises RecordTampered: an event was changed, removed or moved.
        """
        return check_page(events, after, limit, record, self.keys)
