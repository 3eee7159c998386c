"""What a rule is given, and what it returns: the answer and the next state in one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, NoReturn, TypeVar

from .access import Relationship
from .errors import InvalidType, VmfaError
from .events import AuditEvent, EventActor, EventType
from .keysources.base import KeySource
from .models import Principal, PrincipalId
from .policy import Policy
from .validators import check_fields, timestamp

__all__ = ["Decision"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Generic[T]):
    """The answer of an operation and the next state of the principal.

    Commit ``principal`` and ``stored`` in one transaction, then call :meth:`settle`.

    :param principal: the next state. If there is nothing to write, it is the same object as the
        state before.
    :param answer: what the operation returns, or the error that it raises.
    :param events: all events, for observers.
    """

    principal: Principal
    answer: T | VmfaError
    events: tuple[AuditEvent, ...] = ()

    def __bool__(self) -> NoReturn:
        raise InvalidType("Decision cannot be used as a boolean: commit it, then call settle()")

    @property
    def stored(self) -> tuple[AuditEvent, ...]:
        """The events to commit with the principal."""
        return tuple(event for event in self.events if event.stored)

    def settle(self) -> T:
        """Return the answer, or raise it if it is an error. Call it after the commit.

        :raises VmfaError: the operation was refused.
        """
        if isinstance(self.answer, VmfaError):
            raise self.answer
        return self.answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a rule knows besides the state and the input. ``now`` is in Unix seconds."""

    principal: PrincipalId
    actor: EventActor
    now: int = field(metadata=timestamp())
    policy: Policy
    keys: KeySource
    random: Callable[[int], bytes]
    source: str = ""
    relationship: Relationship = Relationship.UNRELATED

    def __post_init__(self) -> None:
        check_fields(self)

    def event(
        self, event_type: EventType, serial: str = "", reason: str = "", **details: int | str
    ) -> AuditEvent:
        """Return an event of this principal, actor and time."""
        return AuditEvent(
            type=event_type, at=self.now, principal=self.principal, actor=self.actor,
            serial=serial, reason=reason, source=self.source, details=tuple(details.items()),
        )
