"""Who may do what to whom: actors, and the permission matrix as data (SEED-PERMIT).

Absent means no. A principal acting on itself is *self*, whatever else it is (RULE-SELF, RULE-ACTOR).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import NoneType
from typing import Final

from .errors import AccessDenied, InvalidValue
from .lifecycle import Action
from .models import MfaClaim, Principal, PrincipalId
from .policy import Policy
from .validators import check_fields, check_instance, check_text, check_time, instance_of

__all__ = ["Actor", "Role"]


class Role(StrEnum):
    """Who somebody acts as."""

    SIGNED_IN = "signed in"
    ADMIN = "admin"
    RECOVERED_ROOT = "recovered root"
    SUPPORT = "support"
    SERVICE = "trusted service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts. Build one with the class methods; the embedding service vouches for what it says."""

    role: Role = field(metadata=instance_of(Role))
    principal: PrincipalId | None = None
    mfa: MfaClaim | None = None
    reference: str = ""
    proofs: tuple[int, ...] = ()  # when e-mail address and phone number were proved, of recovered root

    def __post_init__(self) -> None:
        check_fields(self)
        named = self.role in (Role.SUPPORT, Role.SERVICE)
        recovered = self.role is Role.RECOVERED_ROOT
        check_text("reference", self.reference, empty=not named)
        check_instance("principal", self.principal, NoneType if named else PrincipalId)
        check_instance("mfa", self.mfa, NoneType if named or recovered or self.mfa is None else MfaClaim)
        if type(self.proofs) is not tuple or len(self.proofs) != (2 if recovered else 0):
            raise InvalidValue("a recovery has two proofs, and nothing else has any")
        for proof in self.proofs:
            check_time("proofs", proof)
        if recovered and self.principal is not None and not self.principal.is_root:
            raise InvalidValue("only root recovers itself")

    @classmethod
    def signed_in(cls, principal: PrincipalId, *, mfa: MfaClaim | None = None) -> Actor:
        """A user, or an account's root, that passed the first factor; *mfa* if it passed a second too."""
        return cls(role=Role.SIGNED_IN, principal=principal, mfa=mfa)

    @classmethod
    def admin(cls, principal: PrincipalId, *, mfa: MfaClaim | None = None) -> Actor:
        """An administrator of the account. Without MFA it is nobody's administrator."""
        return cls(role=Role.ADMIN, principal=principal, mfa=mfa)

    @classmethod
    def recovered_root(cls, account: str, *, email_at: int, phone_at: int) -> Actor:
        """ASVS5-6.4.4: root that proved control of the e-mail address and of the phone number, at these times."""
        return cls(role=Role.RECOVERED_ROOT, principal=PrincipalId.root(account), proofs=(email_at, phone_at))

    @classmethod
    def support(cls, case: str) -> Actor:
        """Customer support, working on the case with this reference."""
        return cls(role=Role.SUPPORT, reference=case)

    @classmethod
    def trusted_service(cls, name: str) -> Actor:
        """A part of the embedding system, such as an importer."""
        return cls(role=Role.SERVICE, reference=name)

    def __str__(self) -> str:
        return f"{self.role} {self.principal or self.reference}"


class Relationship(StrEnum):
    """The columns of the matrix: what an actor is to the principal it acts on."""

    SELF_MFA = "self, MFA"
    SELF = "self, none"
    ADMIN = "admin of the account, MFA"
    ROOT = "root of the account, MFA"
    RECOVERED = "recovered root"
    SUPPORT = "support"
    SERVICE = "trusted service"
    UNRELATED = "unrelated"


_S = Relationship
_OWNER: Final = frozenset({_S.SELF_MFA, _S.SELF})
_MANAGERS: Final = frozenset({_S.ADMIN, _S.ROOT, _S.SERVICE})
_TRUSTED: Final = frozenset({_S.SERVICE})

ON_USERS: Final[dict[Action, frozenset[Relationship]]] = {
    Action.OPEN: _OWNER | _MANAGERS,  # RULE-MATRIX-ENROLL
    Action.CONFIRM: _OWNER | _MANAGERS,
    Action.CANCEL: _OWNER | _MANAGERS,
    Action.RESYNC: _OWNER | _MANAGERS,  # RULE-MATRIX-RESYNC
    Action.READ_DEVICE: _OWNER | _MANAGERS | {_S.SUPPORT},  # RULE-MATRIX-STATE
    Action.READ_HISTORY: _MANAGERS | {_S.SELF_MFA, _S.SUPPORT},  # RULE-MATRIX-HISTORY
    Action.DEACTIVATE: _MANAGERS | {_S.SELF_MFA, _S.SUPPORT},  # RULE-MATRIX-DEACTIVATE, RULE-BETTER-6
    Action.ADOPT: _TRUSTED,  # RULE-MATRIX-SERVICE
    Action.REANCHOR: _TRUSTED,
    Action.FORGET: _TRUSTED,
    Action.PRUNE: _TRUSTED,
}
_RECOVERY: Final = frozenset({_S.SELF_MFA, _S.RECOVERED, _S.SUPPORT})

ON_ROOT: Final[dict[Action, frozenset[Relationship]]] = {  # RULE-MATRIX-ROOT
    Action.OPEN: _OWNER,  # SEED-ROOT
    Action.CONFIRM: _OWNER,
    Action.CANCEL: _OWNER,
    Action.RESYNC: _OWNER,
    Action.READ_DEVICE: _RECOVERY | {_S.SELF},
    Action.READ_HISTORY: _RECOVERY,
    Action.DEACTIVATE: _RECOVERY,  # SEED-RECOVER
    Action.ADOPT: _TRUSTED,
    Action.FORGET: _TRUSTED,
}


def relationship_to(actor: Actor, target: PrincipalId, record: Principal | None, now: int, policy: Policy,
             tolerance: int) -> Relationship:
    """What *actor* is to *target*. *record* is the actor's own, as its claim must be true of it."""
    if actor.role is Role.SERVICE:
        return _S.SERVICE
    if actor.role is Role.SUPPORT:
        return _S.SUPPORT
    own = actor.principal
    if own is None or own.account != target.account:
        return _S.UNRELATED
    if actor.role is Role.RECOVERED_ROOT:
        unused = record is not None and min(actor.proofs) > record.recovered_at
        fresh = unused and all(-tolerance <= now - proof <= policy.recovery_seconds for proof in actor.proofs)
        return _S.RECOVERED if own == target and fresh else _S.UNRELATED
    mfa = _claim_counts(actor.mfa, record, now, policy, tolerance)
    if own == target:
        return _S.SELF_MFA if mfa else _S.SELF
    if not mfa or target.is_root:  # RULE-ADMIN
        return _S.UNRELATED
    return _S.ROOT if own.is_root else _S.ADMIN if actor.role is Role.ADMIN else _S.UNRELATED


def check_permitted(action: Action, relationship: Relationship, target: PrincipalId) -> None:
    """:raises AccessDenied: the matrix has no yes in this cell."""
    matrix = ON_ROOT if target.is_root else ON_USERS
    if relationship not in matrix.get(action, ()):
        raise AccessDenied(f"{relationship} may not {action} here")


def _claim_counts(claim: MfaClaim | None, record: Principal | None, now: int, policy: Policy,
                  tolerance: int) -> bool:  # RULE-CLAIM
    if claim is None or not -tolerance <= now - claim.at <= policy.claim_seconds:
        return False
    device = record.device if record is not None else None
    return bool(claim.method) or (device is not None and device.serial == claim.serial)
