"""Who may do what: actors, and the permission matrix as data. Anything not listed is denied.

A principal that acts on itself is its owner, even if it is an administrator or root as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from .errors import AccessDenied, InvalidType, InvalidValue
from .keys import Opaque
from .lifecycle import Action
from .models import MfaClaim, Principal, PrincipalId, WithSecret, check_principal
from .policy import Policy
from .validators import check_fields, check_text, check_time, instance_of

__all__ = ["Actor", "Role"]


class Role(StrEnum):
    """The roles of actors."""

    SIGNED_IN = "signed in"
    ADMIN = "admin"
    RECOVERED_ROOT = "recovered root"
    RECOVERY_CODE = "recovery code"
    SUPPORT = "support"
    SERVICE = "trusted service"


class _RecoveryCode(Opaque):
    __slots__ = ("text",)
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor(WithSecret):
    """The person or service that asks for an operation. Build one with the class methods.

    The library trusts your service for these statements: that the first factor was passed, that
    the person is an administrator, that control of e-mail address and phone was proved.

    :param role: what the actor acts as.
    :param principal: the person; None for support and for a trusted service.
    :param mfa: the claim of a second factor.
    :param reference: the reference of the case of support, or the name of a service.
    :param proofs: when a recovered root proved control of the e-mail address and of the phone
        number: two Unix times in seconds.
    :raises InvalidType: a field has the wrong type.
    :raises InvalidValue: the role does not allow the other fields.
    """

    role: Role = field(metadata=instance_of(Role))
    principal: PrincipalId | None = None
    mfa: MfaClaim | None = None
    reference: str = ""
    proofs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        is_person = self.role not in (Role.SUPPORT, Role.SERVICE)
        check_text("reference", self.reference, empty=is_person)
        if not is_person:
            if self.principal is not None or self.mfa is not None:
                raise InvalidType(f"{self.role} must not have a principal or a claim")
        else:
            check_principal(self.principal)
        may_have_claim = self.role in (Role.SIGNED_IN, Role.ADMIN)
        if self.mfa is not None and not (may_have_claim and isinstance(self.mfa, MfaClaim)):
            raise InvalidType(
                "mfa must be an MfaClaim of a signed-in person: pass receipt.claim, or "
                "MfaClaim.from_dict() of what the session keeps"
            )
        recovered = self.role is Role.RECOVERED_ROOT
        if type(self.proofs) is not tuple or len(self.proofs) != (2 if recovered else 0):
            raise InvalidValue("a recovered root must have two proofs, any other actor none")
        for proof in self.proofs:
            check_time("proofs", proof)
        if self.principal is not None:
            if recovered and not self.principal.is_root:
                raise InvalidValue("only root can be a recovered root")
            if self.role is Role.RECOVERY_CODE and self.principal.is_root:
                raise InvalidValue("root has no recovery codes: see Actor.recovered_root()")

    @classmethod
    def signed_in(cls, principal: PrincipalId, *, mfa: MfaClaim | None = None) -> Actor:
        """Return a user or root that passed the first factor.

        :param principal: the user or root.
        :param mfa: the claim of a second factor, usually ``receipt.claim``.
        """
        return cls(role=Role.SIGNED_IN, principal=principal, mfa=mfa)

    @classmethod
    def admin(cls, principal: PrincipalId, *, mfa: MfaClaim | None = None) -> Actor:
        """Return an administrator of the principal's account.

        :param principal: the administrator.
        :param mfa: the claim of a second factor. Without a current claim, an administrator may
            not act on other principals.
        """
        return cls(role=Role.ADMIN, principal=principal, mfa=mfa)

    @classmethod
    def recovered_root(cls, account: str, *, email_at: int, phone_at: int) -> Actor:
        """Return the root of *account* that proved control of its e-mail address and its phone.

        :param account: the account.
        :param email_at: the Unix time, in seconds, at which control of the address was proved.
        :param phone_at: the Unix time, in seconds, at which control of the phone was proved.
        """
        # SEED-RECOVER, ASVS5-6.4.4
        return cls(
            role=Role.RECOVERED_ROOT,
            principal=PrincipalId.root(account),
            proofs=(email_at, phone_at),
        )

    @classmethod
    def with_recovery_code(cls, principal: PrincipalId, code: str) -> Actor:
        """Return a user that passed the first factor and typed a saved recovery code.

        :param principal: the user.
        :param code: the text as typed; blanks, hyphens and case do not matter.
        :raises InvalidType: *code* is not a str.
        """
        if not isinstance(code, str):
            del code
            raise InvalidType("a recovery code must be a str")
        actor = cls(role=Role.RECOVERY_CODE, principal=principal)
        actor.set_secret(_RecoveryCode(text=code))
        return actor

    @classmethod
    def support(cls, case: str) -> Actor:
        """Return customer support.

        :param case: the reference of the case that support works on.
        """
        return cls(role=Role.SUPPORT, reference=case)

    @classmethod
    def trusted_service(cls, name: str) -> Actor:
        """Return a part of your service that acts on its own, such as an importer.

        :param name: the name of that part, for the history.
        """
        return cls(role=Role.SERVICE, reference=name)

    @property
    def recovery_code(self) -> str:
        """The recovery code as typed; empty for other roles. No text of the actor shows it."""
        code: _RecoveryCode | None = self.secret()
        return code.text if code is not None else ""

    def __str__(self) -> str:
        return f"{self.role} {self.principal or self.reference}"


class Relationship(StrEnum):
    """How an actor is related to the principal it acts on: the columns of the matrix."""

    OWNER_MFA = "owner with MFA"
    OWNER = "owner without MFA"
    OWNER_RECOVERY_CODE = "owner with a recovery code"
    ADMIN = "administrator with MFA"
    ROOT = "root of the account with MFA"
    RECOVERED = "recovered root"
    SUPPORT = "support"
    SERVICE = "trusted service"
    UNRELATED = "unrelated"


_R = Relationship
OWNERS: Final = frozenset({_R.OWNER_MFA, _R.OWNER, _R.OWNER_RECOVERY_CODE, _R.RECOVERED})
_OWNER: Final = frozenset({_R.OWNER_MFA, _R.OWNER})
_MANAGERS: Final = frozenset({_R.ADMIN, _R.ROOT, _R.SERVICE})
_SERVICE: Final = frozenset({_R.SERVICE})
_OWNER_MFA: Final = frozenset({_R.OWNER_MFA})

# SEED-PERMIT
ON_USERS: Final[dict[Action, frozenset[Relationship]]] = {
    Action.OPEN: _OWNER | _MANAGERS,  # RULE-MATRIX-ENROLL
    Action.CONFIRM: _OWNER | _MANAGERS,  # RULE-MATRIX-ENROLL
    Action.CANCEL: _OWNER | _MANAGERS,  # RULE-MATRIX-ENROLL
    Action.RESYNC: _OWNER | _MANAGERS,  # RULE-MATRIX-RESYNC
    Action.READ_DEVICE: _OWNER | _MANAGERS | {_R.SUPPORT},  # RULE-MATRIX-STATE
    Action.READ_HISTORY: _MANAGERS | {_R.OWNER_MFA, _R.SUPPORT},  # RULE-MATRIX-HISTORY
    Action.DEACTIVATE: _MANAGERS  # RULE-MATRIX-DEACTIVATE, RULE-BETTER-6
    | {_R.OWNER_MFA, _R.OWNER_RECOVERY_CODE, _R.SUPPORT},
    Action.RESTORE_BUDGET: _MANAGERS,  # RULE-MATRIX-HELP
    Action.GIVE_CLIENT_TOKEN: _MANAGERS,  # RULE-MATRIX-HELP
    Action.FORGET_CLIENTS: _OWNER_MFA,  # RULE-MATRIX-OWNER
    Action.REOPEN: _OWNER_MFA,  # RULE-MATRIX-OWNER
    Action.REPLACE_RECOVERY_CODES: _OWNER_MFA,  # RULE-MATRIX-OWNER
    # RULE-MATRIX-BINDING
    Action.ISSUE_BINDING_CODE: frozenset({_R.ADMIN, _R.SERVICE, _R.SUPPORT}),
    Action.ADOPT: _SERVICE,  # RULE-MATRIX-SERVICE
    Action.REANCHOR: _SERVICE,  # RULE-MATRIX-SERVICE
    Action.FORGET: _SERVICE,  # RULE-MATRIX-SERVICE
    Action.PRUNE: _SERVICE,  # RULE-MATRIX-SERVICE
    Action.MARK_SPENT: _SERVICE,  # RULE-MATRIX-SERVICE
}
_RECOVERY: Final = frozenset({_R.OWNER_MFA, _R.RECOVERED, _R.SUPPORT})

ON_ROOT: Final[dict[Action, frozenset[Relationship]]] = {  # RULE-MATRIX-ROOT
    Action.OPEN: _OWNER,  # SEED-ROOT
    Action.CONFIRM: _OWNER,  # SEED-ROOT
    Action.CANCEL: _OWNER,  # SEED-ROOT
    Action.RESYNC: _OWNER,  # SEED-ROOT
    Action.READ_DEVICE: _RECOVERY | {_R.OWNER, _R.SERVICE},
    Action.READ_HISTORY: _RECOVERY | _SERVICE,
    Action.DEACTIVATE: _RECOVERY,  # SEED-RECOVER
    Action.FORGET_CLIENTS: _OWNER_MFA,
    Action.REOPEN: _OWNER_MFA,
    Action.ISSUE_BINDING_CODE: frozenset({_R.SUPPORT}),
    Action.ADOPT: _SERVICE,
    Action.REANCHOR: _SERVICE,
    Action.FORGET: _SERVICE,
    Action.PRUNE: _SERVICE,
    Action.MARK_SPENT: _SERVICE,
}


def relationship_to(
    target: PrincipalId,
    actor: Actor,
    actor_record: Principal | None,
    *,
    now: int,
    policy: Policy,
    tolerance: int,
    has_mfa: bool,
) -> Relationship:
    """Return how *actor* is related to *target* at the Unix time *now*.

    :param actor_record: the actor's own record, which its proofs are checked against.
    :param tolerance: seconds by which a proof may lie ahead of *now*.
    :param has_mfa: whether the actor has a claim without a :func:`claim_problem`.
    """
    if actor.role is Role.SERVICE:
        return _R.SERVICE
    if actor.role is Role.SUPPORT:
        return _R.SUPPORT
    actor_id = actor.principal
    if actor_id is None or actor_id.account != target.account:
        return _R.UNRELATED
    if actor.role is Role.RECOVERED_ROOT:
        recovered = actor_id == target and _proofs_are_valid(
            actor, actor_record, now, policy, tolerance
        )
        return _R.RECOVERED if recovered else _R.UNRELATED
    if actor.role is Role.RECOVERY_CODE:  # RULE-MATRIX-CODE
        return _R.OWNER_RECOVERY_CODE if actor_id == target else _R.UNRELATED
    if actor_id == target:  # RULE-SELF
        return _R.OWNER_MFA if has_mfa else _R.OWNER
    if not has_mfa or target.is_root:  # RULE-ADMIN
        return _R.UNRELATED
    if actor_id.is_root:
        return _R.ROOT
    return _R.ADMIN if actor.role is Role.ADMIN else _R.UNRELATED


def claim_problem(
    actor: Actor,
    actor_record: Principal | None,
    *,
    now: int,
    policy: Policy,
    tolerance: int,
    claim_is_authentic: Callable[[PrincipalId, MfaClaim], bool],
) -> str:
    """Return why the claim of *actor* does not count; empty if it does.

    The MAC is checked first: only the holder of a claim that the library made learns more of it.

    :param actor_record: the actor's own record, which the claim is checked against.
    :param tolerance: seconds by which the claim may lie ahead of *now*.
    :param claim_is_authentic: checks the MAC of a claim.
    """
    claim = actor.mfa
    if claim is None or actor.principal is None:
        return "none was passed"
    if not claim_is_authentic(actor.principal, claim):
        return (
            "the claim is of another principal, was changed, or was made under a master key that "
            "is not loaded"
        )
    if not claimed_device_is_assigned(claim, actor_record):
        return "the device of the claim was removed"
    if now - claim.at > policy.claim_seconds:  # RULE-CLAIM
        return f"the claim is more than {policy.claim_seconds} seconds old"
    if now - claim.at < -tolerance:  # RULE-CLAIM-AHEAD
        return "the claim is ahead of the clock"
    return ""


def claimed_device_is_assigned(claim: MfaClaim, record: Principal | None) -> bool:
    """Return whether *record* still has the device of *claim*; True for another method."""
    device = record.device if record is not None else None
    # RULE-CLAIM, RULE-CLAIM-METHOD
    return bool(claim.method) or (device is not None and device.serial == claim.serial)


def _proofs_are_valid(
    actor: Actor, record: Principal | None, now: int, policy: Policy, tolerance: int
) -> bool:
    # RULE-PROOFS
    if record is None:
        return False
    oldest = min(actor.proofs)
    newer_than_device = record.device is None or oldest > record.device.enrolled_at
    unused = oldest > record.recovered_at
    # RULE-CLAIM-AHEAD
    fresh = all(-tolerance <= now - proof <= policy.recovery_seconds for proof in actor.proofs)
    return newer_than_device and unused and fresh


def check_permitted(
    action: Action,
    relationship: Relationship,
    target: PrincipalId,
    actor: Actor,
    problem: str,
) -> None:
    """Check that the permission matrix allows *action*.

    :param problem: the :func:`claim_problem` of *actor*, for the text of the error.
    :raises AccessDenied: it does not. The error says what the actor lacks, and nothing about the
        state of *target*.
    """
    # RULE-MISSING
    matrix = ON_ROOT if target.is_root else ON_USERS
    allowed = matrix.get(action, frozenset())
    if relationship in allowed:
        return
    same_account = actor.principal is not None and actor.principal.account == target.account
    if actor.role is Role.RECOVERED_ROOT and actor.principal == target and _R.RECOVERED in allowed:
        raise AccessDenied(
            f"{action} requires new proofs of the e-mail address and the phone number: "
            "both must be recent, unused and newer than the device",
            missing="recovery proof",
        )
    if relationship is _R.OWNER and _R.OWNER_MFA in allowed:
        raise AccessDenied(
            f"{action} requires a current MFA claim ({problem}): "
            "pass mfa=receipt.claim to Actor.signed_in()",
            missing="mfa claim",
        )
    if relationship is _R.UNRELATED and same_account and _R.ADMIN in allowed:
        is_root = actor.principal is not None and actor.principal.is_root
        if actor.role is Role.ADMIN or is_root:
            constructor = "admin" if actor.role is Role.ADMIN else "signed_in"
            raise AccessDenied(
                f"{action} on another user requires a current MFA claim ({problem}): "
                f"pass mfa=receipt.claim to Actor.{constructor}()",
                missing="mfa claim",
            )
        raise AccessDenied(
            f"{action} on another user requires an administrator of the account",
            missing="administrator",
        )
    raise AccessDenied(f"an actor that is {relationship} is not allowed to {action}")
