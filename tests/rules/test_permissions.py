"""SEED-PERMIT: the matrix, cell by cell, for users and root, with every kind of actor; and what a claim is worth."""

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
    PrincipalId,
    Role,
    UnsafePlainKeys,
    VmfaError,
)
from vmfa.access import ON_ROOT, ON_USERS, Relationship
from vmfa.lifecycle import Action

from .world import ACCOUNT, ALICE, BOSS, HOUR, RFC_KEY, ROOT, STEP, World, answer, by_method, refusal

PEER = PrincipalId.user(ACCOUNT, "u-4712")
FOREIGN = PrincipalId.user("999999999999", BOSS.name)
FOREIGN_ROOT = PrincipalId.root("999999999999")


def claimed(world: World, who: PrincipalId) -> MfaClaim:
    """The claim of a sign-in with *who*'s own device, enrolled for the purpose."""
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
    "admin, MFA": lambda world, target: Actor.admin(BOSS, mfa=claimed(world, BOSS)),
    "admin, other MFA": lambda world, target: by_method(BOSS, world.clock(), Actor.admin),
    "admin, none": lambda world, target: Actor.admin(BOSS),
    "root, MFA": lambda world, target: Actor.signed_in(ROOT, mfa=claimed(world, ROOT)),
    "root, other MFA": lambda world, target: by_method(ROOT, world.clock()),
    "root, none": lambda world, target: Actor.signed_in(ROOT),
    "root, called admin, MFA": lambda world, target: by_method(ROOT, world.clock(), Actor.admin),
    "foreign admin, MFA": lambda world, target: Actor.admin(FOREIGN, mfa=claimed(world, FOREIGN)),
    "foreign admin, other MFA": lambda world, target: by_method(FOREIGN, world.clock(), Actor.admin),
    "foreign root, MFA": lambda world, target: by_method(FOREIGN_ROOT, world.clock()),
    "recovered root": recovered(ACCOUNT),
    "foreign recovered root": recovered(FOREIGN.account),
    "support": lambda world, target: Actor.support("case 17"),
    "trusted service": lambda world, target: Actor.trusted_service("importer"),
}

SELF_MFA = {"self, MFA", "self, other MFA", "self, called admin, MFA"}
SELF_NONE = {"self, none", "self, called admin, none"}
SELF = SELF_MFA | SELF_NONE
MANAGERS = {"admin, MFA", "admin, other MFA", "root, MFA", "root, other MFA", "root, called admin, MFA"}
OWN_ROOT_MFA = SELF_MFA | {"root, other MFA", "root, called admin, MFA"}  # on root these are root itself
OWN_ROOT = SELF | OWN_ROOT_MFA | {"root, none"}

# Written down from the law, not from the code.
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
            "adopt": lambda by: registry.adopt(target, by=by, key=RFC_KEY, source="import"),
        }[operation]
    if operation in ("confirm", "cancel"):
        opened = world.open(target)
        return world, {
            "confirm": lambda by: world.confirm(opened, world.phone(opened).pair(), target, by=by),
            "cancel": lambda by: registry.cancel_enrollment(target, by=by, session=opened.session_id),
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
        pytest.param(operation, kind, target, kind in yes[operation], id=f"{operation}/{kind}/{target.kind}")
        for target, yes in ((ALICE, YES_ON_USERS), (ROOT, YES_ON_ROOT))
        for operation in yes
        for kind in ACTORS
        # of root, a claim by device needs the device, which these operations need to be absent
        if not (target == ROOT and kind == "root, MFA")
    ]


@pytest.mark.parametrize(("operation", "kind", "target", "allowed"), cells())
def test_the_matrix(operation: str, kind: str, target: PrincipalId, allowed: bool) -> None:
    """SEED-PERMIT: a yes in the cell does it; absent means access denied, and nothing is changed.

    RULE-MATRIX-ENROLL, RULE-MATRIX-RESYNC, RULE-MATRIX-STATE, RULE-MATRIX-HISTORY, RULE-MATRIX-DEACTIVATE,
    RULE-MATRIX-SERVICE, RULE-MATRIX-ROOT.
    """
    world, act = prepared(operation, target)
    actor = ACTORS[kind](world, target)
    if allowed:
        act(actor)
        return
    with world.nothing_written(target):
        error = refusal(lambda: act(actor))
    assert type(error) is AccessDenied
    assert error.reason == "access denied"
    told = world.told[-1]
    assert (told.what, told.reason, told.actor, told.principal) == (
        EventType.REFUSED, "access denied", str(actor), target,
    )


def test_the_matrix_knows_every_operation() -> None:
    """SEED-PERMIT: each operation has its row, but verification and expiry: they have no actor."""
    assert set(ON_USERS) == set(Action) - {Action.VERIFY, Action.EXPIRE}
    assert set(ON_ROOT) == set(ON_USERS) - {Action.REANCHOR, Action.PRUNE}
    assert not any(Relationship.UNRELATED in row for row in (*ON_USERS.values(), *ON_ROOT.values()))


# What a claim is worth


def removal(world: World, actor: Actor, target: PrincipalId = ALICE) -> bool:
    """Whether *actor*'s claim counts: deactivation asks for it."""
    found = answer(lambda: world.registry.deactivate(target, by=actor))
    assert not isinstance(found, VmfaError) or type(found) is AccessDenied
    return not isinstance(found, AccessDenied)


AGES = [(0, True), (HOUR - 1, True), (HOUR, True), (HOUR + 1, False), (24 * HOUR, False), (-1, True), (-STEP, True),
        (-STEP - 1, False), (-HOUR, False)]


@pytest.mark.parametrize("method", [False, True])
@pytest.mark.parametrize(("age", "counts"), AGES)
def test_a_claim_is_at_most_an_hour_old(age: int, counts: bool, method: bool) -> None:
    """RULE-CLAIM: one hour, to the second; from the future it counts no further than the clock's own tolerance."""
    world = World()
    world.enroll()
    at = int(world.clock()) - age
    mfa = MfaClaim(at=at, method="hardware key") if method else MfaClaim(at=at, serial=world.device().serial)
    assert removal(world, Actor.signed_in(ALICE, mfa=mfa)) is counts


@pytest.mark.parametrize(("age", "counts"), AGES)
def test_an_administrators_claim_ages_alike(age: int, counts: bool) -> None:
    """RULE-CLAIM: on others as on oneself."""
    world = World()
    world.enroll()
    world.enroll(BOSS)
    mfa = MfaClaim(at=int(world.clock()) - age, serial=world.device(BOSS).serial)
    assert removal(world, Actor.admin(BOSS, mfa=mfa)) is counts


def test_the_receipt_is_the_claim() -> None:
    """RULE-CLAIM: the claim names the serial number and the time of the receipt that it came of."""
    world = World()
    receipt = world.sign_in(world.enroll())
    assert (receipt.claim.serial, receipt.claim.at, receipt.claim.method) == (receipt.serial, world.clock(), "")
    world.clock.advance(HOUR)
    assert removal(world, Actor.signed_in(ALICE, mfa=receipt.claim))


def test_a_claim_of_another_device_does_not_count() -> None:
    """RULE-CLAIM: it counts only while that serial is assigned to the actor: not another's, not an invented one."""
    world = World()
    world.enroll()
    world.enroll(BOSS)
    now = int(world.clock())
    for serial in (world.device(BOSS).serial, "0" * 32, world.device().serial.upper() + "x"):
        assert not removal(world, Actor.signed_in(ALICE, mfa=MfaClaim(at=now, serial=serial)))
    for serial in (world.device().serial, "0" * 32):
        assert not removal(world, Actor.admin(BOSS, mfa=MfaClaim(at=now, serial=serial)))


def test_a_claim_of_a_removed_device_does_not_count() -> None:
    """RULE-CLAIM: the session signed in with the stolen phone ends with it, for oneself and as administrator."""
    world = World()
    world.enroll()
    world.enroll(BOSS)
    mine = Actor.signed_in(ALICE, mfa=claimed(world, ALICE))
    boss = Actor.admin(BOSS, mfa=claimed(world, BOSS))
    for who in (ALICE, BOSS):
        world.registry.deactivate(who, by=Actor.support("stolen"))
        assert type(refusal(lambda: world.registry.history(ALICE, by=mine))) is AccessDenied
        world.enroll(who)
    assert not removal(world, mine)
    assert not removal(world, boss)


def test_a_claim_of_a_session_that_was_only_opened_does_not_count() -> None:
    """RULE-CLAIM: a serial that is being enrolled is not assigned."""
    world = World()
    opened = world.open()
    actor = Actor.signed_in(ALICE, mfa=MfaClaim(at=int(world.clock()), serial=opened.serial))
    assert type(refusal(lambda: world.registry.history(ALICE, by=actor))) is AccessDenied


@pytest.mark.parametrize("device", [{"disabled": True}, {"failures": 7}])
def test_a_claim_outlives_the_failures_of_others(device: dict[str, Any]) -> None:
    """RULE-CLAIM: while the serial is assigned the claim counts: guesses by somebody else do not end the session."""
    world = World()
    world.enroll()
    actor = Actor.signed_in(ALICE, mfa=claimed(world, ALICE))
    world.put(device=device)
    assert removal(world, actor)


def test_another_method_counts_without_a_device() -> None:
    """RULE-CLAIM: a named other method of the service's is a claim of its own, for user, admin and root."""
    world = World()
    for actor in (by_method(ALICE, world.clock()), by_method(BOSS, world.clock(), Actor.admin),
                  by_method(ROOT, world.clock())):
        world.enroll()
        assert removal(world, actor)


def test_a_claim_names_exactly_one_thing() -> None:
    """RULE-CLAIM: a serial number or a method, not both, not neither; at a time in whole seconds."""
    for wrong in ({}, {"serial": "a", "method": "b"}, {"serial": " a"}, {"method": "\n"}):
        assert isinstance(refusal(lambda wrong=wrong: MfaClaim(at=0, **wrong)), InvalidValue)
    for at in (1.5, "0", None, True):
        assert isinstance(refusal(lambda at=at: MfaClaim(at=at, serial="a")), InvalidType)


def test_an_administrator_is_self_on_himself() -> None:
    """RULE-SELF: whatever else he is: his password alone removes neither his device nor anybody's."""
    world = World()
    world.enroll()
    world.enroll(BOSS)
    for target in (ALICE, BOSS):
        assert not removal(world, Actor.admin(BOSS), target)
    assert removal(world, Actor.admin(BOSS, mfa=claimed(world, BOSS)), BOSS)


def test_a_user_is_not_an_administrator() -> None:
    """RULE-ADMIN: signed in with MFA is not yet an administrator, whatever the name."""
    world = World()
    world.enroll()
    assert not removal(world, Actor.signed_in(BOSS, mfa=claimed(world, BOSS)))


def test_the_same_name_in_another_account_is_somebody_else() -> None:
    """RULE-ADMIN: anything on a principal of another account: no, though name and claim be right there."""
    world = World()
    world.enroll()
    twin = PrincipalId.user(FOREIGN.account, ALICE.name)
    for role in (Actor.signed_in, Actor.admin):
        assert not removal(world, role(twin, mfa=claimed(world, twin)))


def test_an_actor_is_required() -> None:
    """RULE-ACTOR: each operation takes its actor; what is none is refused, and nothing is changed."""
    for operation in YES_ON_USERS:
        world, act = prepared(operation, ALICE)
        for nobody in (None, ALICE, "root", Role.SERVICE):
            with world.nothing_written():
                assert isinstance(answer(partial(act, nobody)), InvalidType)


def test_actors_are_complete() -> None:
    """RULE-ACTOR: support names its case, a service its name, everybody else a principal; claims are claims."""
    for make in (Actor.support, Actor.trusted_service):
        assert isinstance(refusal(lambda make=make: make("")), InvalidValue)
        assert isinstance(refusal(lambda make=make: make(None)), InvalidType)
    for make in (Actor.signed_in, Actor.admin):
        assert isinstance(refusal(lambda make=make: make(None)), InvalidType)
        assert isinstance(refusal(lambda make=make: make(ALICE, mfa=True)), InvalidType)
    assert isinstance(refusal(lambda: Actor(role="admin", principal=ALICE)), InvalidType)


@pytest.mark.parametrize(
    "wrong",
    [{"role": Role.RECOVERED_ROOT, "principal": ROOT}, {"role": Role.RECOVERED_ROOT, "principal": ROOT, "proofs": (1,)},
     {"role": Role.RECOVERED_ROOT, "principal": ALICE, "proofs": (1, 2)},
     {"role": Role.RECOVERED_ROOT, "principal": ROOT, "proofs": (1, 2, 3)},
     {"role": Role.RECOVERED_ROOT, "principal": ROOT, "proofs": (1, "2")},
     {"role": Role.SIGNED_IN, "principal": ROOT, "proofs": (1, 2)},
     {"role": Role.SERVICE, "reference": "x", "proofs": [1]},
     {"role": Role.SERVICE, "reference": "x", "principal": ALICE},
     {"role": Role.ADMIN, "principal": BOSS, "reference": 5},
     {"role": Role.SUPPORT, "reference": "x", "mfa": MfaClaim(at=0, serial="a")}],
)
def test_an_actor_built_by_hand_claims_no_more_than_its_role(wrong: dict[str, Any]) -> None:
    """SEED-PERMIT: proofs are two, and of root alone; absent means no."""
    assert isinstance(refusal(lambda: Actor(**wrong)), (InvalidValue, InvalidType))


def test_the_actor_is_recorded() -> None:
    """RULE-ACTOR: the event says who did it, in what role."""
    world = World()
    world.enroll()
    admin = Actor.admin(BOSS, mfa=claimed(world, BOSS))
    world.registry.deactivate(ALICE, by=admin)
    assert world.store.history(ALICE)[-1].actor == f"admin {BOSS}" == f"admin {ACCOUNT}/user/u-0001"
    assert [str(actor) for actor in (Actor.support("case 1"), Actor.trusted_service("x"), Actor.signed_in(ROOT))] == [
        "support case 1", "trusted service x", f"signed in {ACCOUNT}/{Kind.ROOT}/",
    ]


def test_requires_code_needs_no_actor() -> None:
    """RULE-REQUIRES: a log-in page asks it before anyone is signed in."""
    world = World()
    assert world.registry.requires_code(ALICE) is False
    world.enroll()
    assert world.registry.requires_code(ALICE) is True
