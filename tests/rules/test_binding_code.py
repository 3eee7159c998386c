"""SP80063B-4.1.2.2: in strict, after a removal by others, the owner enrolls with a one-time binding code only."""

from __future__ import annotations

from base64 import b32decode

import pytest

from vmfa import AccessDenied, Actor, DeviceAlreadyAssigned, InvalidType, Policy, UnsafePlainKeys

from .world import ALICE, BOSS, DAY, RFC_KEY, ROOT, SERVICE, SUPPORT, World, answer, by_method, refusal

BY_OTHERS = {
    "admin": lambda world: by_method(BOSS, world.clock(), Actor.admin),
    "root": lambda world: by_method(ROOT, world.clock()),
    "support": lambda world: SUPPORT,
    "service": lambda world: SERVICE,
}


def removed(kind: str = "admin", policy: Policy | None = None) -> tuple[World, str]:
    world = World(policy or Policy.strict(), imported_keys=UnsafePlainKeys())
    world.enroll()
    return world, world.registry.deactivate(ALICE, by=BY_OTHERS[kind](world)).binding_code


def opens(world: World, code: object = None, by: Actor | None = None) -> bool:
    found = answer(lambda: world.open(binding_code=code, **({"by": by} if by else {})))
    return not isinstance(found, AccessDenied)


@pytest.mark.parametrize("kind", BY_OTHERS)
def test_removal_by_others_returns_a_code_and_asks_for_it(kind: str) -> None:
    """RULE-BINDING: whoever removed it, unless the owner: the answer has the code, the owner without MFA needs it."""
    world, code = removed(kind)
    assert len(b32decode(code)) * 8 >= 64
    with world.nothing_written():
        for wrong in (None, "", "A" * 24, code[:-1], 7, "\udc80", code + "A"):
            error = refusal(lambda wrong=wrong: world.open(binding_code=wrong))
            assert type(error) is AccessDenied
            assert code not in str(error)
    assert opens(world, code)


def test_the_code_is_typed_as_people_type() -> None:
    """RULE-BINDING: case, blanks and hyphens between groups do not matter."""
    world, code = removed()
    assert opens(world, f"{code[:8]}-{code[8:16]} {code[16:]}".lower())


@pytest.mark.parametrize("which", ["owner with MFA", "recovered root"])
def test_removal_by_the_owner_asks_for_nothing(which: str) -> None:
    """RULE-BINDING: removed by its owner, with a code or by recovery, no binding code is given or asked for."""
    world = World(Policy.strict())
    now = int(world.clock())
    who = ALICE if which == "owner with MFA" else ROOT
    actor = by_method(who, now) if who == ALICE else Actor.recovered_root(ROOT.account, email_at=now, phone_at=now)
    world.enroll(who)
    assert world.registry.deactivate(who, by=actor).binding_code is None
    assert world.enroll(who)


@pytest.mark.parametrize("kind", BY_OTHERS)
def test_by_default_the_owner_simply_enrolls_again(kind: str) -> None:
    """RULE-BINDING: the seed's way is the default: no code is given, none asked for."""
    world, code = removed(kind, Policy())
    assert code is None
    assert world.state().binding is None
    assert opens(world)


def test_the_code_lasts_a_day() -> None:
    """RULE-BINDING: 24 h, to the second."""
    for elapsed, good in ((DAY - 1, True), (DAY, False), (DAY + 1, False)):
        world, code = removed()
        world.clock.advance(elapsed)
        assert opens(world, code) is good


def test_the_code_is_kept_hashed() -> None:
    """RULE-BINDING: the store, its printed form and the history hold no trace of it, nor does the answer's text."""
    world = World(Policy.strict())
    world.enroll()
    answered = world.registry.deactivate(ALICE, by=SUPPORT)
    code = answered.binding_code
    state = world.state()
    assert code not in f"{state!r}{state.envelope.document}{world.told!r}{answered!r}{world.store.history(ALICE)!r}"
    assert len(state.binding.digest) == 64
    assert isinstance(refusal(answered.__getstate__), InvalidType)


def test_each_removal_gives_another_code() -> None:
    """RULE-BINDING: random, of 120 bits from the random source."""
    codes = {removed()[1] for _ in range(10)}
    assert len(codes) == 10
    world = World(Policy.strict())
    world.enroll()
    world.operations.random = lambda size: bytes(range(size))
    assert b32decode(world.registry.deactivate(ALICE, by=SUPPORT).binding_code) == bytes(range(15))


def test_the_code_is_spent_when_the_session_opens() -> None:
    """RULE-BINDING: one-time: whether or not that session leads to a device, the code opens no second one."""
    world, code = removed()
    opened = world.open(binding_code=code)
    assert not opens(world, code)
    assert world.state().enrollment.session_id == opened.session_id
    world.registry.cancel_enrollment(ALICE, by=Actor.signed_in(ALICE))
    assert not opens(world, code)
    assert not opens(world, "")
    assert opens(world, by=SERVICE)


@pytest.mark.parametrize("kind", BY_OTHERS)
def test_others_open_without_it(kind: str) -> None:
    """RULE-BINDING: the code stands for a second factor: who is not the owner without one opens as ever."""
    if kind == "support":
        return  # support opens nothing, for anybody
    world, _ = removed()
    assert opens(world, by=BY_OTHERS[kind](world))
    assert world.state().binding.digest


def test_the_owner_with_mfa_opens_without_it() -> None:
    """RULE-BINDING: asked of the owner *without MFA*."""
    world, _ = removed()
    assert opens(world, by=by_method(ALICE, world.clock()))


@pytest.mark.parametrize("way", ["confirm", "adopt"])
def test_an_assigned_device_ends_it(way: str) -> None:
    """RULE-BINDING: once a device is assigned again the debt is paid: a later removal by the owner asks for nothing."""
    world, code = removed()
    if way == "confirm":
        world.enroll(binding_code=code)
    else:
        world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, source="import")
    assert world.state().binding is None
    world.registry.deactivate(ALICE, by=by_method(ALICE, world.clock()))
    assert opens(world)


def test_a_later_removal_gives_a_new_code() -> None:
    """RULE-BINDING: the code of an earlier removal is worth nothing after the next."""
    world, old = removed()
    world.enroll(binding_code=old)
    new = world.registry.deactivate(ALICE, by=SUPPORT).binding_code
    assert not opens(world, old)
    assert opens(world, new)


def test_it_asks_for_no_code_where_a_device_is_assigned() -> None:
    """RULE-ORDER: already assigned comes before the binding code."""
    world, code = removed()
    world.enroll(binding_code=code)
    assert type(refusal(lambda: world.open(binding_code="wrong"))) is DeviceAlreadyAssigned


def test_a_wrong_code_costs_no_opening() -> None:
    """RULE-BINDING: nor does it touch the session that is open."""
    world, _ = removed()
    with world.nothing_written():
        for _ in range(20):
            assert not opens(world, "wrong")


def test_a_policy_that_stopped_asking_does_not_ask() -> None:
    """RULE-BINDING: it is the policy of today that asks."""
    world, _ = removed()
    assert opens(World(Policy(), store=world.store))
