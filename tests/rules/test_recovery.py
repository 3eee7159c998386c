"""SEED-RECOVER: root without its device proves its e-mail address and its phone number."""

from __future__ import annotations

import pytest

from vmfa import AccessDenied, Actor, InvalidType, NoDevice, Policy, PrincipalId
from world import ACCOUNT, ALICE, HOUR, ROOT, SERVICE, STEP, SUPPORT, World, error_of, outcome_of

LIMIT = 15 * 60


def recovered(email_at: float, phone_at: float, account: str = ACCOUNT) -> Actor:
    return Actor.recovered_root(account, email_at=int(email_at), phone_at=int(phone_at))


def removes(world: World, actor: Actor, target: PrincipalId = ROOT) -> bool:
    return not isinstance(
        outcome_of(lambda: world.registry.deactivate(target, by=actor)), AccessDenied
    )


def enrolled_long_ago() -> World:
    """Root with a device that is older than any proof below."""
    world = World()
    world.enroll(ROOT)
    world.clock.advance(10 * LIMIT)
    return world


@pytest.mark.parametrize(
    ("email", "phone", "allowed"),
    [
        (0, 0, True),
        (LIMIT, LIMIT, True),
        (LIMIT, 0, True),
        (0, LIMIT, True),
        (LIMIT + 1, 0, False),
        (0, LIMIT + 1, False),
        (LIMIT + 1, LIMIT + 1, False),
        (-STEP, -STEP, True),
        (-STEP - 1, 0, False),
        (0, -STEP - 1, False),
    ],
)
def test_both_proofs_are_at_most_fifteen_minutes_old(
    email: int, phone: int, allowed: bool
) -> None:
    """SEED-RECOVER: e-mail and phone, to the second, and at most one period in the future."""
    world = enrolled_long_ago()
    now = world.clock()
    assert removes(world, recovered(now - email, now - phone)) is allowed
    assert (world.state(ROOT).device is None) is allowed


@pytest.mark.parametrize(
    ("email", "phone", "allowed"), [(0, 1, False), (1, 0, False), (1, 1, True)]
)
def test_both_proofs_are_newer_than_the_device(email: int, phone: int, allowed: bool) -> None:
    """SEED-RECOVER: a proof from before the enrollment removes nothing."""
    world = World()
    world.enroll(ROOT)
    enrolled_at = world.clock()
    world.clock.advance(5)
    assert removes(world, recovered(enrolled_at + email, enrolled_at + phone)) is allowed


def test_recovered_root_removes_its_device_without_a_code() -> None:
    """SEED-RECOVER: root then enrolls as usual; recovery itself opens no enrollment."""
    world = enrolled_long_ago()
    actor = recovered(world.clock(), world.clock())
    assert world.registry.device(ROOT, by=actor)
    assert world.registry.history(ROOT, by=actor)
    assert world.registry.deactivate(ROOT, by=actor).binding_code is None
    assert type(error_of(lambda: world.open(ROOT, by=actor))) is AccessDenied
    assert world.enroll(ROOT)


def test_a_proof_counts_once() -> None:
    """SEED-RECOVER: a proof that removed one device removes no second one."""
    world = enrolled_long_ago()
    actor = recovered(world.clock(), world.clock())
    assert removes(world, actor)
    world.enroll(ROOT)
    error = error_of(lambda: world.registry.deactivate(ROOT, by=actor))
    assert (type(error), error.missing) == (AccessDenied, "recovery proof")
    assert type(error_of(lambda: world.registry.device(ROOT, by=actor))) is AccessDenied


def test_a_used_proof_does_not_read_the_history() -> None:
    """SEED-RECOVER: the removal also ends what the proofs allow to read."""
    world = enrolled_long_ago()
    actor = recovered(world.clock(), world.clock())
    assert world.registry.history(ROOT, by=actor)
    assert removes(world, actor)
    error = error_of(lambda: world.registry.history(ROOT, by=actor))
    assert (type(error), error.missing) == (AccessDenied, "recovery proof")


def test_any_removal_uses_up_every_proof() -> None:
    """SEED-RECOVER: also one by support, and also proofs that were not presented."""
    world = enrolled_long_ago()
    actor = recovered(world.clock() - 5, world.clock())
    world.registry.deactivate(ROOT, by=SUPPORT)
    assert world.state(ROOT).recovered_at == world.clock()
    world.enroll(ROOT)
    assert not removes(world, actor)


def test_a_recovery_without_a_device_uses_up_no_proof() -> None:
    """SEED-RECOVER: recovered_at does not change."""
    world = World()
    actor = recovered(world.clock(), world.clock())
    error = error_of(lambda: world.registry.deactivate(ROOT, by=actor))
    assert type(error) in (NoDevice, AccessDenied)
    assert world.state(ROOT).recovered_at < world.clock()


def test_without_proofs_only_support_removes_the_device_of_root() -> None:
    """SEED-RECOVER: root without a code, and a trusted service, are refused."""
    world = World()
    world.enroll(ROOT)
    assert not removes(world, Actor.signed_in(ROOT))
    assert not removes(world, SERVICE)
    assert removes(world, SUPPORT)


def test_recovery_is_only_for_root_of_the_same_account() -> None:
    """SEED-RECOVER: neither for root of another account nor for a user."""
    world = World()
    now = world.clock()
    world.enroll(ROOT)
    world.enroll(ALICE)
    assert not removes(world, recovered(now, now, "999999999999"))
    assert not removes(world, recovered(now, now), ALICE)


@pytest.mark.parametrize("wrong", [None, "now", 1.5, True])
def test_both_proofs_are_times(wrong: object) -> None:
    """SEED-RECOVER: both are whole seconds."""
    for times in ({"email_at": wrong, "phone_at": 0}, {"email_at": 0, "phone_at": wrong}):
        assert isinstance(
            error_of(lambda times=times: Actor.recovered_root(ACCOUNT, **times)), InvalidType
        )


def test_a_policy_may_shorten_the_recovery_time() -> None:
    """SEED-RECOVER: the 15 minutes are the policy's."""
    world = World(Policy(recovery_seconds=60))
    world.enroll(ROOT)
    world.clock.advance(HOUR)
    now = world.clock()
    assert not removes(world, recovered(now - 61, now))
    assert removes(world, recovered(now - 60, now))
