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
from vmfa.access import ON_ROOT, ON_USERS, Relationship, check_permitted, relationship_to
from vmfa.lifecycle import Action
from world import (
    ACCOUNT,
    ADMIN,
    ALICE,
    HOUR,
    RFC_KEY,
    ROOT,
    STEP,
    World,
    by_method,
    error_of,
    outcome_of,
)

PEER = PrincipalId.user(ACCOUNT, "u-4712")
FOREIGN = PrincipalId.user("999999999999", ADMIN.name)
FOREIGN_ROOT = PrincipalId.root("999999999999")


def claimed(world: World, who: PrincipalId) -> MfaClaim:
    """The claim of a sign-in with *who*'s own device, enrolled if it has none."""
    state = world.state(who)
    if state.device is None:
        world.enroll(who)
    return MfaClaim(at=int(world.clock()), serial=world.device(who).serial)


def self_mfa(world: World, target: PrincipalId) -> Actor:
    device = world.state(target).device
    if device is None:
        return by_method(target, world.clock())
    return Actor.signed_in(target, mfa=MfaClaim(at=int(world.clock()), serial=device.serial))


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
    "support": lambda world, target: Actor.support("case 17"),
    "trusted service": lambda world, target: Actor.trusted_service("importer"),
}

SELF_MFA = {"self, MFA", "self, other MFA", "self, called admin, MFA"}
SELF_NONE = {"self, none", "self, called admin, none"}
SELF = SELF_MFA | SELF_NONE
MANAGERS = {
    "admin, MFA",
    "admin, other MFA",
    "root, MFA",
    "root, other MFA",
    "root, called admin, MFA",
}
OWN_ROOT_MFA = SELF_MFA | {
    "root, other MFA",
    "root, called admin, MFA",
}  # on root these are root itself
OWN_ROOT = SELF | OWN_ROOT_MFA | {"root, none"}

# Written from the rules, not copied from the code.
YES_ON_USERS: dict[str, set[str]] = {
    "open": SELF | MANAGERS | {"trusted service"},
    "confirm": SELF | MANAGERS | {"trusted service"},
    "cancel": SELF | MANAGERS | {"trusted service"},
    "resync": SELF | MANAGERS | {"trusted service"},
    "read state": SELF | MANAGERS | {"support", "trusted service"},
    "read history": SELF_MFA | MANAGERS | {"support", "trusted service"},
    "deactivate": SELF_MFA | MANAGERS | {"support", "trusted service"},
    "adopt": {"trusted service"},
    "re-anchor": {"trusted service"},
    "forget": {"trusted service"},
}
YES_ON_ROOT: dict[str, set[str]] = {
    "open": OWN_ROOT,
    "confirm": OWN_ROOT,
    "cancel": OWN_ROOT,
    "resync": OWN_ROOT,
    "read state": OWN_ROOT | {"recovered root", "support"},
    "read history": OWN_ROOT_MFA | {"recovered root", "support"},
    "deactivate": OWN_ROOT_MFA | {"recovered root", "support"},
    "adopt": {"trusted service"},
    "re-anchor": set(),
    "forget": {"trusted service"},
}


def prepared(operation: str, target: PrincipalId) -> tuple[World, Callable[[Actor], object]]:
    """A world in which *operation* on *target* succeeds for whoever may do it."""
    world = World(imported_keys=UnsafePlainKeys())
    registry = world.registry
    if operation in ("open", "adopt"):
        return world, {
            "open": lambda by: registry.open_enrollment(target, by=by, label="a"),
            "adopt": lambda by: registry.adopt(target, by=by, key=RFC_KEY, system="import"),
        }[operation]
    if operation in ("confirm", "cancel"):
        opened = world.open(target)
        return world, {
            "confirm": lambda by: world.confirm(opened, world.phone(opened).pair(), target, by=by),
            "cancel": lambda by: registry.cancel_enrollment(
                target, by=by, session=opened.session_id
            ),
        }[operation]
    phone = world.enroll(target)
    world.clock.advance(10 * STEP)
    return world, {
        "resync": lambda by: world.resync(phone.pair(), target, by=by),
        "read state": lambda by: registry.device(target, by=by),
        "read history": lambda by: registry.history(target, by=by),
        "deactivate": lambda by: registry.deactivate(target, by=by),
        "re-anchor": lambda by: registry.reanchor(target, by=by),
        "forget": lambda by: registry.forget(target, by=by),
    }[operation]


def cells() -> list[Any]:
    return [
        pytest.param(
            operation, kind, target, kind in yes[operation], id=f"{operation}/{kind}/{target.kind}"
        )
        for target, yes in ((ALICE, YES_ON_USERS), (ROOT, YES_ON_ROOT))
        for operation in yes
        for kind in ACTORS
        # of root, a claim by device needs the device, which these operations need to be absent
        if not (target == ROOT and kind == "root, MFA")
    ]


@pytest.mark.parametrize(("operation", "kind", "target", "allowed"), cells())
def test_permission_matrix(operation: str, kind: str, target: PrincipalId, allowed: bool) -> None:
    """SEED-PERMIT: anything not listed is denied, and a denied call changes nothing.

    RULE-MATRIX-ENROLL, RULE-MATRIX-RESYNC, RULE-MATRIX-STATE, RULE-MATRIX-HISTORY,
    RULE-MATRIX-DEACTIVATE, RULE-MATRIX-SERVICE, RULE-MATRIX-ROOT.
    """
    world, act = prepared(operation, target)
    actor = ACTORS[kind](world, target)
    if allowed:
        act(actor)
        return
    with world.nothing_written(target):
        error = error_of(lambda: act(actor))
    assert type(error) is AccessDenied
    assert error.reason == "access denied"
    event = world.observed[-1]
    assert (event.type, event.reason, event.actor, event.principal) == (
        EventType.REFUSED,
        "access denied",
        str(actor),
        target,
    )


def test_the_matrix_has_a_row_for_every_action() -> None:
    """SEED-PERMIT: except verification and expiry, which have no actor."""
    assert set(ON_USERS) == set(Action) - {Action.VERIFY, Action.EXPIRE}
    assert set(ON_ROOT) == set(ON_USERS) - {Action.REANCHOR, Action.PRUNE}
    assert not any(
        Relationship.UNRELATED in row for row in (*ON_USERS.values(), *ON_ROOT.values())
    )


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
        MfaClaim(at=at, method="hardware key")
        if method
        else MfaClaim(at=at, serial=world.device().serial)
    )
    assert claim_counts(world, Actor.signed_in(ALICE, mfa=mfa)) is counts


@pytest.mark.parametrize(("age", "counts"), AGES)
def test_an_administrators_claim_is_at_most_an_hour_old(age: int, counts: bool) -> None:
    """RULE-CLAIM: the same for claims on other principals."""
    world = World()
    world.enroll()
    world.enroll(ADMIN)
    mfa = MfaClaim(at=int(world.clock()) - age, serial=world.device(ADMIN).serial)
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
        assert not claim_counts(world, Actor.signed_in(ALICE, mfa=MfaClaim(at=now, serial=serial)))
    for serial in (world.device().serial, "0" * 32):
        assert not claim_counts(world, Actor.admin(ADMIN, mfa=MfaClaim(at=now, serial=serial)))


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
    actor = Actor.signed_in(ALICE, mfa=MfaClaim(at=int(world.clock()), serial=opened.serial))
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
    for operation in YES_ON_USERS:
        world, act = prepared(operation, ALICE)
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


def test_the_actor_is_recorded() -> None:
    """RULE-ACTOR: the event names the actor and its role."""
    world = World()
    world.enroll()
    admin = Actor.admin(ADMIN, mfa=claimed(world, ADMIN))
    world.registry.deactivate(ALICE, by=admin)
    assert (
        world.store.history(ALICE)[-1].actor == f"admin {ADMIN}" == f"admin {ACCOUNT}/user/u-0001"
    )
    assert [
        str(actor)
        for actor in (Actor.support("case 1"), Actor.trusted_service("x"), Actor.signed_in(ROOT))
    ] == [
        "support case 1",
        "trusted service x",
        f"signed in {ACCOUNT}/{Kind.ROOT}/",
    ]


def test_requires_code_needs_no_actor() -> None:
    """RULE-REQUIRES: a sign-in page calls it before the user is signed in."""
    world = World()
    assert world.registry.requires_code(ALICE) is False
    world.enroll()
    assert world.registry.requires_code(ALICE) is True


# The relationship of an actor to a principal

NOW = 1_700_000_010
OTHER_METHOD = MfaClaim(at=NOW, method="webauthn")
NO_MFA = Relationship.SELF
MFA = Relationship.SELF_MFA
UNRELATED = Relationship.UNRELATED
RELATIONSHIPS: dict[str, tuple[Actor, PrincipalId, Relationship]] = {
    "a service on a user": (Actor.trusted_service("x"), ALICE, Relationship.SERVICE),
    "a service on root": (Actor.trusted_service("x"), ROOT, Relationship.SERVICE),
    "support on root": (Actor.support("case 7"), ROOT, Relationship.SUPPORT),
    "self": (Actor.signed_in(ALICE), ALICE, NO_MFA),
    "self, MFA": (Actor.signed_in(ALICE, mfa=OTHER_METHOD), ALICE, MFA),
    "admin on itself, MFA": (Actor.admin(ALICE, mfa=OTHER_METHOD), ALICE, MFA),
    "admin on itself": (Actor.admin(ALICE), ALICE, NO_MFA),
    "admin, MFA": (Actor.admin(ALICE, mfa=OTHER_METHOD), PEER, Relationship.ADMIN),
    "admin": (Actor.admin(ALICE), PEER, UNRELATED),
    "admin on root, MFA": (Actor.admin(ALICE, mfa=OTHER_METHOD), ROOT, UNRELATED),
    "foreign admin, MFA": (Actor.admin(FOREIGN, mfa=OTHER_METHOD), ALICE, UNRELATED),
    "peer, MFA": (Actor.signed_in(ALICE, mfa=OTHER_METHOD), PEER, UNRELATED),
    "root, MFA": (Actor.signed_in(ROOT, mfa=OTHER_METHOD), PEER, Relationship.ROOT),
    "root as admin, MFA": (Actor.admin(ROOT, mfa=OTHER_METHOD), PEER, Relationship.ROOT),
    "root": (Actor.signed_in(ROOT), PEER, UNRELATED),
    "foreign root, MFA": (Actor.signed_in(FOREIGN_ROOT, mfa=OTHER_METHOD), ROOT, UNRELATED),
    "recovered root": (
        Actor.recovered_root(ACCOUNT, email_at=NOW, phone_at=NOW),
        ROOT,
        Relationship.RECOVERED,
    ),
    "recovered root on a user": (
        Actor.recovered_root(ACCOUNT, email_at=NOW, phone_at=NOW),
        ALICE,
        UNRELATED,
    ),
    "foreign recovered root": (
        Actor.recovered_root(FOREIGN.account, email_at=NOW, phone_at=NOW),
        ROOT,
        UNRELATED,
    ),
    "late recovered root": (
        Actor.recovered_root(ACCOUNT, email_at=NOW - 901, phone_at=NOW),
        ROOT,
        UNRELATED,
    ),
}


@pytest.mark.parametrize("name", RELATIONSHIPS)
def test_the_relationship_of_an_actor(name: str) -> None:
    actor, target, expected = RELATIONSHIPS[name]
    record = Principal(id=actor.principal) if actor.principal else None
    assert relationship_to(actor, target, record, NOW, Policy(), STEP) is expected


def test_recovery_needs_the_record_of_root() -> None:
    """SEED-RECOVER: it has the time of the proofs that were used."""
    actor = Actor.recovered_root(ACCOUNT, email_at=NOW, phone_at=NOW)
    assert relationship_to(actor, ROOT, None, NOW, Policy(), STEP) is UNRELATED


@pytest.mark.parametrize("record", [None, Principal(id=ALICE)], ids=["no record", "no device"])
def test_a_claim_by_serial_needs_the_record_with_the_device(record: Principal | None) -> None:
    """RULE-CLAIM: a claim by another method does not."""
    by_serial = Actor.signed_in(ALICE, mfa=MfaClaim(at=NOW, serial="s"))
    assert relationship_to(by_serial, ALICE, record, NOW, Policy(), STEP) is NO_MFA
    by_other = Actor.signed_in(ALICE, mfa=OTHER_METHOD)
    assert relationship_to(by_other, ALICE, record, NOW, Policy(), STEP) is MFA


MESSAGES: dict[str, tuple[Callable[[], object], str]] = {
    "not permitted": (
        lambda: check_permitted(Action.READ_HISTORY, Relationship.SELF, ALICE),
        "self, none may not read history here",
    ),
    "proofs": (
        lambda: Actor(role=Role.ADMIN, principal=ALICE, proofs=(NOW, NOW)),
        "a recovery has two proofs, and nothing else has any",
    ),
    "recovery of a user": (
        lambda: Actor(role=Role.RECOVERED_ROOT, principal=ALICE, proofs=(NOW, NOW)),
        "only root recovers itself",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name: str) -> None:
    call, message = MESSAGES[name]
    assert str(error_of(call)) == message
