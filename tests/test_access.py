"""SEED-PERMIT: the permission matrix, cell by cell, and when an MFA claim counts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from vmfa import (
    AccessDenied,
    Actor,
    EventType,
    InvalidType,
    InvalidValue,
    Kind,
    MfaClaim,
    Policy,
    Principal,
    PrincipalId,
    Role,
    UnsafePlainKeys,
    VmfaError,
)
from vmfa.access import (
    ON_ROOT,
    ON_USERS,
    Relationship,
    check_permitted,
    claim_problem,
    relationship_to,
)
from vmfa.lifecycle import Action
from world import (
    ACCOUNT,
    ADMIN,
    ALICE,
    HOUR,
    RFC_KEY,
    ROOT,
    STEP,
    SUPPORT,
    World,
    by_method,
    error_of,
    outcome_of,
    signed_claim,
)

PEER = PrincipalId.user(ACCOUNT, "u-4712")
FOREIGN = PrincipalId.user("999999999999", ADMIN.name)
FOREIGN_ROOT = PrincipalId.root("999999999999")


def claimed(world: World, who: PrincipalId) -> MfaClaim:
    """The claim of a sign-in with *who*'s own device, enrolled if it has none."""
    state = world.state(who)
    if state.device is None:
        world.enroll(who)
    return signed_claim(who, at=world.clock(), serial=world.device(who).serial)


def self_mfa(world: World, target: PrincipalId) -> Actor:
    device = world.state(target).device
    if device is None:
        return by_method(target, world.clock())
    claim = signed_claim(target, at=world.clock(), serial=device.serial)
    return Actor.signed_in(target, mfa=claim)


def recovered(account: str) -> Callable[[World, PrincipalId], Actor]:
    return lambda world, target: Actor.recovered_root(
        account, email_at=int(world.clock()), phone_at=int(world.clock())
    )


ACTORS: dict[str, Callable[[World, PrincipalId], Actor]] = {
    "self, MFA": self_mfa,
    "self, other MFA": lambda world, target: by_method(target, world.clock()),
    "self, none": lambda world, target: Actor.signed_in(target),
    "self, called admin, none": lambda world, target: Actor.admin(target),
    "self, called admin, MFA": lambda world, target: by_method(target, world.clock(), Actor.admin),
    "peer, MFA": lambda world, target: Actor.signed_in(PEER, mfa=claimed(world, PEER)),
    "peer, none": lambda world, target: Actor.signed_in(PEER),
    "admin, MFA": lambda world, target: Actor.admin(ADMIN, mfa=claimed(world, ADMIN)),
    "admin, other MFA": lambda world, target: by_method(ADMIN, world.clock(), Actor.admin),
    "admin, none": lambda world, target: Actor.admin(ADMIN),
    "root, MFA": lambda world, target: Actor.signed_in(ROOT, mfa=claimed(world, ROOT)),
    "root, other MFA": lambda world, target: by_method(ROOT, world.clock()),
    "root, none": lambda world, target: Actor.signed_in(ROOT),
    "root, called admin, MFA": lambda world, target: by_method(ROOT, world.clock(), Actor.admin),
    "foreign admin, MFA": lambda world, target: Actor.admin(FOREIGN, mfa=claimed(world, FOREIGN)),
    "foreign admin, other MFA": lambda world, target: by_method(
        FOREIGN, world.clock(), Actor.admin
    ),
    "foreign root, MFA": lambda world, target: by_method(FOREIGN_ROOT, world.clock()),
    "recovered root": recovered(ACCOUNT),
    "foreign recovered root": recovered(FOREIGN.account),
    "self, unsigned claim": lambda world, target: Actor.signed_in(
        target, mfa=MfaClaim(at=int(world.clock()), method="hardware key")
    ),
    "self, claim of another": lambda world, target: Actor.signed_in(
        target, mfa=signed_claim(PEER, at=world.clock(), method="hardware key")
    ),
    "recovery code": lambda world, target: Actor.with_recovery_code(target, world.saved_code),
    "recovery code of a peer": lambda world, target: Actor.with_recovery_code(
        PEER, world.saved_code
    ),
    "support": lambda world, target: Actor.support("case 17"),
    "trusted service": lambda world, target: Actor.trusted_service("importer"),
}

SELF_MFA = {"self, MFA", "self, other MFA", "self, called admin, MFA"}
SELF_NONE = {
    "self, none",
    "self, called admin, none",
    "self, unsigned claim",
    "self, claim of another",
}
SELF = SELF_MFA | SELF_NONE
ADMINS = {"admin, MFA", "admin, other MFA"}
ROOTS = {"root, MFA", "root, other MFA", "root, called admin, MFA"}
MANAGERS = ADMINS | ROOTS
SERVICES = {"trusted service"}
OWN_ROOT_MFA = SELF_MFA | {"root, other MFA", "root, called admin, MFA"}
OWN_ROOT = SELF | OWN_ROOT_MFA | {"root, none"}

# Written from the rules, not copied from the code.
YES_ON_USERS: dict[Action, set[str]] = {
    Action.OPEN: SELF | MANAGERS | SERVICES,
    Action.CONFIRM: SELF | MANAGERS | SERVICES,
    Action.CANCEL: SELF | MANAGERS | SERVICES,
    Action.RESYNC: SELF | MANAGERS | SERVICES,
    Action.READ_DEVICE: SELF | MANAGERS | SERVICES | {"support"},
    Action.READ_HISTORY: SELF_MFA | MANAGERS | SERVICES | {"support"},
    Action.DEACTIVATE: SELF_MFA | MANAGERS | SERVICES | {"support", "recovery code"},
    Action.ADOPT: SERVICES,
    Action.REANCHOR: SERVICES,
    Action.FORGET: SERVICES,
    Action.PRUNE: SERVICES,
    Action.MARK_SPENT: SERVICES,
    Action.RESTORE_BUDGET: MANAGERS | SERVICES,
    Action.GIVE_CLIENT_TOKEN: MANAGERS | SERVICES,
    Action.FORGET_CLIENTS: SELF_MFA,
    Action.REOPEN: SELF_MFA,
    Action.REPLACE_RECOVERY_CODES: SELF_MFA,
    Action.ISSUE_BINDING_CODE: ADMINS | SERVICES | {"support"},
}
YES_ON_ROOT: dict[Action, set[str]] = {
    Action.OPEN: OWN_ROOT,
    Action.CONFIRM: OWN_ROOT,
    Action.CANCEL: OWN_ROOT,
    Action.RESYNC: OWN_ROOT,
    Action.READ_DEVICE: OWN_ROOT | SERVICES | {"recovered root", "support"},
    Action.READ_HISTORY: OWN_ROOT_MFA | SERVICES | {"recovered root", "support"},
    Action.DEACTIVATE: OWN_ROOT_MFA | {"recovered root", "support"},
    Action.ADOPT: SERVICES,
    Action.REANCHOR: SERVICES,
    Action.FORGET: SERVICES,
    Action.PRUNE: SERVICES,
    Action.MARK_SPENT: SERVICES,
    Action.RESTORE_BUDGET: set(),
    Action.GIVE_CLIENT_TOKEN: set(),
    Action.FORGET_CLIENTS: OWN_ROOT_MFA,
    Action.REOPEN: OWN_ROOT_MFA,
    Action.REPLACE_RECOVERY_CODES: set(),
    Action.ISSUE_BINDING_CODE: {"support"},
}
POLICY = Policy.strict().replace(known_clients=True, recovery_codes=5)


def prepared(action: Action, target: PrincipalId) -> tuple[World, Callable[[Actor], object]]:
    """A world in which *action* on *target* succeeds if the actor may do it."""
    world: Any = World(POLICY, imported_keys=UnsafePlainKeys())
    world.saved_code = ""
    registry = world.registry
    if action is Action.OPEN:
        return world, lambda by: registry.open_enrollment(target, by=by, label="a")
    if action is Action.ADOPT:
        return world, lambda by: registry.adopt(target, by=by, key=RFC_KEY, system="import")
    opened = world.open(target)
    phone = world.phone(opened)
    if action is Action.CONFIRM:
        return world, lambda by: world.confirm(opened, phone.pair(), target, by=by)
    if action is Action.CANCEL:
        session = opened.session_id
        return world, lambda by: registry.cancel_enrollment(target, by=by, session=session)
    codes = world.confirm(opened, phone.pair(), target).recovery_codes
    world.saved_code = codes.codes[0] if codes else ""
    world.clock.advance(10 * STEP)
    now = int(world.clock())
    if action is Action.ISSUE_BINDING_CODE:
        registry.deactivate(target, by=SUPPORT)
    return world, {
        Action.RESYNC: lambda by: world.resync(phone.pair(), target, by=by),
        Action.READ_DEVICE: lambda by: registry.device(target, by=by),
        Action.READ_HISTORY: lambda by: registry.history(target, by=by),
        Action.DEACTIVATE: lambda by: registry.deactivate(target, by=by),
        Action.REANCHOR: lambda by: registry.reanchor(target, by=by),
        Action.FORGET: lambda by: registry.forget(target, by=by),
        Action.PRUNE: lambda by: registry.prune_history(target, by=by, older_than=now),
        Action.MARK_SPENT: lambda by: registry.mark_spent(target, by=by, until=now),
        Action.RESTORE_BUDGET: lambda by: registry.restore_budget(target, by=by),
        Action.GIVE_CLIENT_TOKEN: lambda by: registry.give_client_token(target, by=by),
        Action.FORGET_CLIENTS: lambda by: registry.forget_clients(target, by=by),
        Action.REOPEN: lambda by: registry.reopen(target, by=by),
        Action.REPLACE_RECOVERY_CODES: lambda by: registry.replace_recovery_codes(target, by=by),
        Action.ISSUE_BINDING_CODE: lambda by: registry.issue_binding_code(target, by=by),
    }[action]


def cells() -> list[Any]:
    """Every cell of the matrix, but those with an actor that cannot exist.

    A recovery code is not for root, and for a claim of root by its own device it needs one.
    """
    return [
        pytest.param(
            action, kind, target, kind in yes[action], id=f"{action}/{kind}/{target.kind}"
        )
        for target, yes in ((ALICE, YES_ON_USERS), (ROOT, YES_ON_ROOT))
        for action in yes
        for kind in ACTORS
        if not (target == ROOT and kind in ("root, MFA", "recovery code"))
    ]


@pytest.mark.parametrize(("action", "kind", "target", "allowed"), cells())
def test_permission_matrix(action: Action, kind: str, target: PrincipalId, allowed: bool) -> None:
    """SEED-PERMIT: anything not listed is denied, and a denied call changes nothing.

    RULE-MATRIX-ENROLL, RULE-MATRIX-RESYNC, RULE-MATRIX-STATE, RULE-MATRIX-HISTORY,
    RULE-MATRIX-DEACTIVATE, RULE-MATRIX-SERVICE, RULE-MATRIX-ROOT.
    """
    world, act = prepared(action, target)
    actor = ACTORS[kind](world, target)
    if allowed:
        act(actor)
        return
    with world.nothing_written(target):
        error = error_of(lambda: act(actor))
    assert type(error) is AccessDenied
    assert error.reason == "access denied"
    event = world.observed[-1]
    assert (event.type, event.reason) == (EventType.REFUSED, "access denied")
    assert (event.actor.role, event.principal) == (actor.role, target)


def test_the_matrix_has_a_row_for_every_action() -> None:
    """SEED-PERMIT: except verification and expiry, which have no actor."""
    actions = set(Action) - {Action.VERIFY, Action.EXPIRE}
    assert set(ON_USERS) == set(YES_ON_USERS) == set(YES_ON_ROOT) == actions
    assert set(ON_ROOT) <= actions
    rows = (*ON_USERS.values(), *ON_ROOT.values())
    assert not any(Relationship.UNRELATED in row for row in rows)


# What a claim is worth


def claim_counts(world: World, actor: Actor, target: PrincipalId = ALICE) -> bool:
    """Whether *actor*'s claim counts, judged by a deactivation, which needs one."""
    outcome = outcome_of(lambda: world.registry.deactivate(target, by=actor))
    assert not isinstance(outcome, VmfaError) or type(outcome) is AccessDenied
    return not isinstance(outcome, AccessDenied)


AGES = [
    (0, True),
    (HOUR - 1, True),
    (HOUR, True),
    (HOUR + 1, False),
    (24 * HOUR, False),
    (-1, True),
    (-STEP, True),
    (-STEP - 1, False),
    (-HOUR, False),
]


@pytest.mark.parametrize("method", [False, True])
@pytest.mark.parametrize(("age", "counts"), AGES)
def test_a_claim_is_at_most_an_hour_old(age: int, counts: bool, method: bool) -> None:
    """RULE-CLAIM: to the second; a future claim counts within the tolerance of the clock."""
    world = World()
    world.enroll()
    at = int(world.clock()) - age
    mfa = (
        signed_claim(ALICE, at=at, method="hardware key")
        if method
        else signed_claim(ALICE, at=at, serial=world.device().serial)
    )
    assert claim_counts(world, Actor.signed_in(ALICE, mfa=mfa)) is counts


@pytest.mark.parametrize(("age", "counts"), AGES)
def test_an_administrators_claim_is_at_most_an_hour_old(age: int, counts: bool) -> None:
    """RULE-CLAIM: the same for claims on other principals."""
    world = World()
    world.enroll()
    world.enroll(ADMIN)
    mfa = signed_claim(ADMIN, at=world.clock() - age, serial=world.device(ADMIN).serial)
    assert claim_counts(world, Actor.admin(ADMIN, mfa=mfa)) is counts


def test_a_receipt_gives_the_claim() -> None:
    """RULE-CLAIM: the claim has the serial number and the time of the receipt."""
    world = World()
    receipt = world.sign_in(world.enroll())
    assert (receipt.claim.serial, receipt.claim.at, receipt.claim.method) == (
        receipt.serial,
        world.clock(),
        "",
    )
    world.clock.advance(HOUR)
    assert claim_counts(world, Actor.signed_in(ALICE, mfa=receipt.claim))


def test_a_claim_of_another_device_does_not_count() -> None:
    """RULE-CLAIM: a claim counts only while its serial is assigned to the actor."""
    world = World()
    world.enroll()
    world.enroll(ADMIN)
    now = int(world.clock())
    for serial in (world.device(ADMIN).serial, "0" * 32, world.device().serial.upper() + "x"):
        assert not claim_counts(
            world, Actor.signed_in(ALICE, mfa=signed_claim(ALICE, at=now, serial=serial))
        )
    for serial in (world.device().serial, "0" * 32):
        assert not claim_counts(
            world, Actor.admin(ADMIN, mfa=signed_claim(ADMIN, at=now, serial=serial))
        )


def test_a_claim_of_a_removed_device_does_not_count() -> None:
    """RULE-CLAIM: a sign-in with a stolen phone is worth nothing once its device is removed."""
    world = World()
    world.enroll()
    world.enroll(ADMIN)
    mine = Actor.signed_in(ALICE, mfa=claimed(world, ALICE))
    boss = Actor.admin(ADMIN, mfa=claimed(world, ADMIN))
    for who in (ALICE, ADMIN):
        world.registry.deactivate(who, by=Actor.support("stolen"))
        assert type(error_of(lambda: world.registry.history(ALICE, by=mine))) is AccessDenied
        world.enroll(who)
    assert not claim_counts(world, mine)
    assert not claim_counts(world, boss)


def test_a_claim_of_an_unconfirmed_enrollment_does_not_count() -> None:
    """RULE-CLAIM: a serial that is being enrolled is not assigned."""
    world = World()
    opened = world.open()
    actor = Actor.signed_in(ALICE, mfa=signed_claim(ALICE, at=world.clock(), serial=opened.serial))
    assert type(error_of(lambda: world.registry.history(ALICE, by=actor))) is AccessDenied


@pytest.mark.parametrize("device", [{"disabled": True}, {"failures": 7}])
def test_failures_of_the_device_do_not_end_a_claim(device: dict[str, Any]) -> None:
    """RULE-CLAIM: guesses by others do not sign the user out."""
    world = World()
    world.enroll()
    actor = Actor.signed_in(ALICE, mfa=claimed(world, ALICE))
    world.store_state(device=device)
    assert claim_counts(world, actor)


def test_another_method_counts_without_a_device() -> None:
    """RULE-CLAIM: a claim by another method counts for user, administrator and root."""
    world = World()
    for actor in (
        by_method(ALICE, world.clock()),
        by_method(ADMIN, world.clock(), Actor.admin),
        by_method(ROOT, world.clock()),
    ):
        world.enroll()
        assert claim_counts(world, actor)


def test_a_claim_has_either_a_serial_or_a_method() -> None:
    """RULE-CLAIM: and its time is in whole seconds."""
    for wrong in ({}, {"serial": "a", "method": "b"}, {"serial": " a"}, {"method": "\n"}):
        assert isinstance(error_of(lambda wrong=wrong: MfaClaim(at=0, **wrong)), InvalidValue)
    for at in (1.5, "0", None, True):
        assert isinstance(error_of(lambda at=at: MfaClaim(at=at, serial="a")), InvalidType)


def test_an_administrator_without_mfa_removes_no_device() -> None:
    """RULE-SELF: an administrator acting on its own device is treated as its owner."""
    world = World()
    world.enroll()
    world.enroll(ADMIN)
    for target in (ALICE, ADMIN):
        assert not claim_counts(world, Actor.admin(ADMIN), target)
    assert claim_counts(world, Actor.admin(ADMIN, mfa=claimed(world, ADMIN)), ADMIN)


def test_a_user_is_not_an_administrator() -> None:
    """RULE-ADMIN: a user with MFA may not act on other users."""
    world = World()
    world.enroll()
    assert not claim_counts(world, Actor.signed_in(ADMIN, mfa=claimed(world, ADMIN)))


def test_the_same_name_in_another_account_is_another_principal() -> None:
    """RULE-ADMIN: an actor never acts on another account."""
    world = World()
    world.enroll()
    twin = PrincipalId.user(FOREIGN.account, ALICE.name)
    for role in (Actor.signed_in, Actor.admin):
        assert not claim_counts(world, role(twin, mfa=claimed(world, twin)))


def test_an_actor_is_required() -> None:
    """RULE-ACTOR: anything but an Actor is refused, and nothing is changed."""
    for action in YES_ON_USERS:
        world, act = prepared(action, ALICE)
        for other in (None, ALICE, "root", Role.SERVICE):
            with world.nothing_written():
                assert isinstance(outcome_of(partial(act, other)), InvalidType)


def test_a_receipt_is_not_a_claim() -> None:
    """RULE-CLAIM: the claim is receipt.claim."""
    world = World()
    receipt = world.sign_in(world.enroll())
    assert isinstance(error_of(lambda: Actor.signed_in(ALICE, mfa=receipt)), InvalidType)


def test_each_kind_of_actor_has_what_identifies_it() -> None:
    """RULE-ACTOR: support a case, a service a name, every other actor a principal."""
    for make in (Actor.support, Actor.trusted_service):
        assert isinstance(error_of(lambda make=make: make("")), InvalidValue)
        assert isinstance(error_of(lambda make=make: make(None)), InvalidType)
    for make in (Actor.signed_in, Actor.admin):
        assert isinstance(error_of(lambda make=make: make(None)), InvalidType)
        assert isinstance(error_of(lambda make=make: make(ALICE, mfa=True)), InvalidType)
    assert isinstance(error_of(lambda: Actor(role="admin", principal=ALICE)), InvalidType)


@pytest.mark.parametrize(
    "wrong",
    [
        {"role": Role.RECOVERED_ROOT, "principal": ROOT},
        {"role": Role.RECOVERED_ROOT, "principal": ROOT, "proofs": (1,)},
        {"role": Role.RECOVERED_ROOT, "principal": ALICE, "proofs": (1, 2)},
        {"role": Role.RECOVERED_ROOT, "principal": ROOT, "proofs": (1, 2, 3)},
        {"role": Role.RECOVERED_ROOT, "principal": ROOT, "proofs": (1, "2")},
        {"role": Role.SIGNED_IN, "principal": ROOT, "proofs": (1, 2)},
        {"role": Role.SERVICE, "reference": "x", "proofs": [1]},
        {"role": Role.SERVICE, "reference": "x", "principal": ALICE},
        {"role": Role.ADMIN, "principal": ADMIN, "reference": 5},
        {"role": Role.SUPPORT, "reference": "x", "mfa": MfaClaim(at=0, serial="a")},
    ],
)
def test_an_actor_has_only_the_fields_of_its_role(wrong: dict[str, Any]) -> None:
    """SEED-PERMIT: only recovered root has proofs, exactly two."""
    assert isinstance(error_of(lambda: Actor(**wrong)), (InvalidValue, InvalidType))


@pytest.mark.parametrize("code", [None, 5, b"ABCD"])
def test_a_recovery_code_is_a_text(code: Any) -> None:
    """A form without the field must not count as a wrong code."""
    assert isinstance(error_of(lambda: Actor.with_recovery_code(ALICE, code)), InvalidType)


def test_the_actor_is_recorded() -> None:
    """RULE-ACTOR: the event names the actor and its role."""
    world = World()
    world.enroll()
    admin = Actor.admin(ADMIN, mfa=claimed(world, ADMIN))
    world.registry.deactivate(ALICE, by=admin)
    actor = world.store.history(ALICE)[-1].actor
    assert (actor.role, actor.account) == ("admin", ACCOUNT)
    assert (actor.kind, actor.name) == ("user", ADMIN.name)
    assert str(Actor.support("case 1")) == "support case 1"
    assert str(Actor.trusted_service("x")) == "trusted service x"
    assert str(Actor.signed_in(ROOT)) == f"signed in {ACCOUNT}/{Kind.ROOT}/"


def test_requires_code_needs_no_actor() -> None:
    """RULE-REQUIRES: a sign-in page calls it before the user is signed in."""
    world = World()
    assert world.registry.requires_code(ALICE) is False
    world.enroll()
    assert world.registry.requires_code(ALICE) is True


# The relationship of an actor to a principal

NOW = 1_700_000_010
UNRELATED = Relationship.UNRELATED


def with_mfa(who: PrincipalId, role: Callable[..., Actor] = Actor.signed_in) -> Actor:
    return by_method(who, NOW, role)


def recovered_root(account: str, email_at: int = NOW) -> Actor:
    return Actor.recovered_root(account, email_at=email_at, phone_at=NOW)


RELATIONSHIPS: dict[str, tuple[Actor, PrincipalId, Relationship]] = {
    "a service on a user": (Actor.trusted_service("x"), ALICE, Relationship.SERVICE),
    "a service on root": (Actor.trusted_service("x"), ROOT, Relationship.SERVICE),
    "support on root": (Actor.support("case 7"), ROOT, Relationship.SUPPORT),
    "self": (Actor.signed_in(ALICE), ALICE, Relationship.OWNER),
    "self, MFA": (with_mfa(ALICE), ALICE, Relationship.OWNER_MFA),
    "admin on itself, MFA": (with_mfa(ALICE, Actor.admin), ALICE, Relationship.OWNER_MFA),
    "admin on itself": (Actor.admin(ALICE), ALICE, Relationship.OWNER),
    "admin, MFA": (with_mfa(ALICE, Actor.admin), PEER, Relationship.ADMIN),
    "admin": (Actor.admin(ALICE), PEER, UNRELATED),
    "admin on root, MFA": (with_mfa(ALICE, Actor.admin), ROOT, UNRELATED),
    "foreign admin, MFA": (with_mfa(FOREIGN, Actor.admin), ALICE, UNRELATED),
    "peer, MFA": (with_mfa(ALICE), PEER, UNRELATED),
    "root, MFA": (with_mfa(ROOT), PEER, Relationship.ROOT),
    "root as admin, MFA": (with_mfa(ROOT, Actor.admin), PEER, Relationship.ROOT),
    "root": (Actor.signed_in(ROOT), PEER, UNRELATED),
    "foreign root, MFA": (with_mfa(FOREIGN_ROOT), ROOT, UNRELATED),
    "recovered root": (recovered_root(ACCOUNT), ROOT, Relationship.RECOVERED),
    "recovered root on a user": (recovered_root(ACCOUNT), ALICE, UNRELATED),
    "foreign recovered root": (recovered_root(FOREIGN.account), ROOT, UNRELATED),
    "late recovered root": (recovered_root(ACCOUNT, NOW - 901), ROOT, UNRELATED),
    "recovery code": (
        Actor.with_recovery_code(ALICE, "code"),
        ALICE,
        Relationship.OWNER_RECOVERY_CODE,
    ),
    "recovery code of a peer": (Actor.with_recovery_code(PEER, "code"), ALICE, UNRELATED),
}


def relationship(
    actor: Actor, target: PrincipalId, record: Principal | None, authentic: bool = True
) -> Relationship:
    return relationship_to(
        target,
        actor,
        record,
        now=NOW,
        policy=Policy(),
        tolerance=STEP,
        has_mfa=not problem_of(actor, record, authentic),
    )


def problem_of(actor: Actor, record: Principal | None, authentic: bool = True) -> str:
    return claim_problem(
        actor,
        record,
        now=NOW,
        policy=Policy(),
        tolerance=STEP,
        claim_is_authentic=lambda principal, claim: authentic,
    )


@pytest.mark.parametrize("name", RELATIONSHIPS)
def test_the_relationship_of_an_actor(name: str) -> None:
    actor, target, expected = RELATIONSHIPS[name]
    record = Principal(id=actor.principal) if actor.principal else None
    assert relationship(actor, target, record) is expected


def test_recovery_needs_the_record_of_root() -> None:
    """SEED-RECOVER: it has the time of the proofs that were used."""
    assert relationship(recovered_root(ACCOUNT), ROOT, None) is UNRELATED


@pytest.mark.parametrize("record", [None, Principal(id=ALICE)], ids=["no record", "no device"])
def test_a_claim_by_serial_needs_the_record_with_the_device(record: Principal | None) -> None:
    """RULE-CLAIM: a claim by another method does not."""
    by_serial = Actor.signed_in(ALICE, mfa=MfaClaim(at=NOW, serial="s"))
    assert relationship(by_serial, ALICE, record) is Relationship.OWNER
    assert relationship(with_mfa(ALICE), ALICE, record) is Relationship.OWNER_MFA


def test_a_claim_that_is_not_authentic_does_not_count() -> None:
    """RULE-CLAIM: the library made the MAC, so a cookie cannot be forged."""
    record = Principal(id=ALICE)
    assert relationship(with_mfa(ALICE), ALICE, record, False) is Relationship.OWNER


@pytest.mark.parametrize(
    ("action", "actor", "missing"),
    [
        (Action.DEACTIVATE, Actor.signed_in(ALICE), "mfa claim"),
        (Action.DEACTIVATE, Actor.admin(PEER), "mfa claim"),
        (Action.DEACTIVATE, Actor.signed_in(PEER), "administrator"),
        (Action.DEACTIVATE, Actor.signed_in(FOREIGN), "permission"),
        (Action.ADOPT, Actor.signed_in(ALICE), "permission"),
        (Action.ADOPT, Actor.signed_in(PEER), "permission"),  # no administrator may do this
        (Action.OPEN, Actor.support("case 17"), "permission"),
    ],
    ids=["owner", "admin", "peer", "foreign", "import", "import of a peer", "support"],
)
def test_the_error_says_what_the_actor_lacks(action: Action, actor: Actor, missing: str) -> None:
    _, act = prepared(action, ALICE)
    error = error_of(lambda: act(actor))
    assert (type(error), error.missing) == (AccessDenied, missing)


def test_the_error_says_what_is_wrong_with_a_claim() -> None:
    world = World()
    world.enroll()
    now, serial = int(world.clock()), world.device().serial
    foreign = "the claim is of another principal, was changed, or was made under a master key that"
    problems = {
        None: "(none was passed)",
        signed_claim(ALICE, at=now - HOUR - 1, serial=serial): (
            "(the claim is more than 3600 seconds old)"
        ),
        signed_claim(ALICE, at=now + STEP + 1, serial=serial): "(the claim is ahead of the clock)",
        signed_claim(ALICE, at=now, serial="0" * 32): "(the device of the claim was removed)",
        signed_claim(PEER, at=now, serial=serial): f"({foreign} is not loaded)",
        # The serial number of a claim without a valid MAC is not compared.
        MfaClaim(at=now, serial="0" * 32): f"({foreign} is not loaded)",
    }
    for claim, problem in problems.items():
        for act in (
            lambda mfa: world.registry.history(ALICE, by=Actor.signed_in(ALICE, mfa=mfa)),
            lambda mfa: world.registry.device(PEER, by=Actor.admin(ALICE, mfa=mfa)),
        ):
            error = error_of(lambda act=act, claim=claim: act(claim))
            assert (type(error), error.missing) == (AccessDenied, "mfa claim")
            assert f"requires a current MFA claim {problem}: pass mfa=" in str(error)


@pytest.mark.parametrize("at", [NOW - HOUR, NOW + STEP])
def test_a_claim_counts_up_to_its_limits(at: int) -> None:
    actor = Actor.signed_in(ALICE, mfa=MfaClaim(at=at, method="passkey"))
    assert problem_of(actor, None) == ""


MESSAGES: dict[str, tuple[Callable[[], object], str]] = {
    "owner without MFA": (
        lambda: check_permitted(
            Action.READ_HISTORY, Relationship.OWNER, ALICE, Actor.signed_in(ALICE), "none"
        ),
        (
            "read history requires a current MFA claim (none): "
            "pass mfa=receipt.claim to Actor.signed_in()"
        ),
    ),
    "administrator without MFA": (
        lambda: check_permitted(Action.DEACTIVATE, UNRELATED, ALICE, Actor.admin(PEER), "none"),
        (
            "deactivate on another user requires a current MFA claim (none): "
            "pass mfa=receipt.claim to Actor.admin()"
        ),
    ),
    "root without MFA": (
        lambda: check_permitted(Action.DEACTIVATE, UNRELATED, ALICE, Actor.signed_in(ROOT), "old"),
        (
            "deactivate on another user requires a current MFA claim (old): "
            "pass mfa=receipt.claim to Actor.signed_in()"
        ),
    ),
    "another user": (
        lambda: check_permitted(Action.DEACTIVATE, UNRELATED, ALICE, Actor.signed_in(PEER), ""),
        "deactivate on another user requires an administrator of the account",
    ),
    "support": (
        lambda: check_permitted(Action.OPEN, Relationship.SUPPORT, ALICE, Actor.support("x"), ""),
        "an actor that is support is not allowed to open",
    ),
    "proofs": (
        lambda: Actor(role=Role.ADMIN, principal=ALICE, proofs=(NOW, NOW)),
        "a recovered root must have two proofs, any other actor none",
    ),
    "recovery of a user": (
        lambda: Actor(role=Role.RECOVERED_ROOT, principal=ALICE, proofs=(NOW, NOW)),
        "only root can be a recovered root",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name: str) -> None:
    call, message = MESSAGES[name]
    assert str(error_of(call)) == message
