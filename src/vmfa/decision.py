"""What a rule is given, and what it gives: the answer and the next state in one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, NoReturn, TypeVar

from .access import Relationship
from .errors import InvalidType, VmfaError
from .events import AuditEvent, EventType
from .keysources.base import KeySource
from .models import Principal, PrincipalId
from .policy import Policy
from .validators import check_fields, timestamp

__all__ = ["Decision"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Generic[T]):
    """The answer and the next state in one value. Commit ``principal`` and ``stored`` in one transaction, then settle.

    Where nothing is to be written, ``principal`` is the very state that was decided on.
    """

    principal: Principal
    answer: T | VmfaError
    events: tuple[AuditEvent, ...] = ()
    rewritten: tuple[AuditEvent, ...] = ()  # the end of the history anew, where retention redacts some of it

    def __bool__(self) -> NoReturn:
        raise InvalidType("a decision has no truth: commit it, then settle it, which gives the answer or raises it")

    @property
    def stored(self) -> tuple[AuditEvent, ...]:
        """The life-cycle events, to be committed with the state."""
        return (*self.rewritten, *[event for event in self.events if event.stored])

    def settle(self) -> T:
        """After the commit: return the answer, or raise it."""
        if isinstance(self.answer, VmfaError):
            raise self.answer
        return self.answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a rule knows beside the state and the input. ``now`` is in Unix seconds."""

    principal: PrincipalId
    actor: str
    now: int = field(metadata=timestamp())
    policy: Policy
    keys: KeySource
    random: Callable[[int], bytes]
    relationship: Relationship = Relationship.UNRELATED

    def __post_init__(self) -> None:
        check_fields(self)

    def event(self, type: EventType, serial: str = "", reason: str = "", **details: int | str) -> AuditEvent:
        return AuditEvent(type=type, at=self.now, principal=self.principal, actor=self.actor, serial=serial,
                          reason=reason, details=tuple(details.items()))
