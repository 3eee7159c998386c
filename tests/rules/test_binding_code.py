"""SP80063B-4.2.1.2: under the strict policy, after a removal by others, the owner needs a binding
code to enroll.
"""

from __future__ import annotations

from base64 import b32decode
from hashlib import sha256

import pytest

from vmfa import (
    AccessDenied,
    Actor,
    DeviceAlreadyAssigned,
    InvalidType,
    NoSession,
    Policy,
    UnsafePlainKeys,
)
from world import (
    ADMIN,
    ALICE,
    DAY,
    RFC_KEY,
    ROOT,
    SERVICE,
    SUPPORT,
    World,
    by_method,
    error_of,
    outcome_of,
)

BY_OTHERS = {
    "admin": lambda world: by_method(ADMIN, world.clock(), Actor.admin),
    "root": lambda world: by_method(ROOT, world.clock()),
    "support": lambda world: SUPPORT,
    "service": lambda world: SERVICE,
}


def removed(kind: str = "admin", policy: Policy | None = None) -> tuple[World, str]:
    world = World(policy or Policy.strict(), imported_keys=UnsafePlainKeys())
    world.enroll()
    return world, world.registry.deactivate(ALICE, by=BY_OTHERS[kind](world)).binding_code


def opens(world: World, code: object = None, by: Actor | None = None) -> bool:
    outcome = outcome_of(lambda: world.open(binding_code=code, **({"by": by} if by else {})))
    return not isinstance(outcome, AccessDenied)


@pytest.mark.parametrize("kind", BY_OTHERS)
def test_removal_by_others_returns_a_code_that_the_owner_needs(kind: str) -> None:
    """RULE-BINDING: the answer has the code; the owner without MFA cannot open an enrollment
    without it.
    """
    world, code = removed(kind)
    assert len(b32decode(code.replace("-", ""))) * 8 == 120
    with world.nothing_written():
        for wrong in (None, "", "A" * 24, code[:-1], 7, "\udc80", code + "A"):
            error = error_of(lambda wrong=wrong: world.open(binding_code=wrong))
            assert type(error) is AccessDenied
            assert code not in str(error)
    assert opens(world, code)


@pytest.mark.parametrize("separator", ["-", "", " ", " - "])
def test_case_blanks_and_hyphens_in_the_code_do_not_matter(separator: str) -> None:
    """RULE-BINDING: the code may be typed in groups or not, and in lower case."""
    world, code = removed()
    assert opens(world, code.replace("-", separator).lower())


@pytest.mark.parametrize("which", ["owner with MFA", "recovered root"])
def test_removal_by_the_owner_needs_no_code(which: str) -> None:
    """RULE-BINDING: by the owner with a code or by recovery, no binding code is returned."""
    world = World(Policy.strict())
    who = ALICE if which == "owner with MFA" else ROOT
    world.enroll(who)
    world.clock.advance(60)
    now = int(world.clock())
    actor = by_method(who, now)
    if who == ROOT:
        actor = Actor.recovered_root(ROOT.account, email_at=now, phone_at=now)
    assert world.registry.deactivate(who, by=actor).binding_code is None
    assert world.enroll(who)


@pytest.mark.parametrize("kind", BY_OTHERS)
def test_the_default_policy_needs_no_code(kind: str) -> None:
    """RULE-BINDING: under the default policy no code is returned and none is needed."""
    world, code = removed(kind, Policy())
    assert code is None
    assert world.state().binding is None
    assert opens(world)


def test_the_code_lasts_a_day() -> None:
    """RULE-BINDING: the code is valid for 24 h, to the second."""
    for elapsed, good in ((DAY - 1, True), (DAY, False), (DAY + 1, False)):
        world, code = removed()
        world.clock.advance(elapsed)
        assert opens(world, code) is good


def test_the_removal_says_when_its_code_expires() -> None:
    """RULE-BINDING: the code counts up to the second before that time."""
    world = World(Policy.strict())
    world.enroll()
    removed = world.registry.deactivate(ALICE, by=SUPPORT)
    assert removed.binding_code_expires_at == world.clock() + DAY
    assert removed.binding_code_expires_at == world.state().binding.expires_at
    world.clock.set(removed.binding_code_expires_at)
    assert not opens(world, removed.binding_code)
    world.clock.advance(-1)
    assert opens(world, removed.binding_code)


def test_a_removal_without_a_code_has_no_time_of_expiry() -> None:
    world = World()
    world.enroll()
    removed = world.registry.deactivate(ALICE, by=SUPPORT)
    assert (removed.binding_code, removed.binding_code_expires_at) == (None, 0)


def test_only_a_hash_of_the_code_is_stored() -> None:
    """RULE-BINDING: the code is not in the record, the history, the observed events or the text of
    the answer.
    """
    world = World(Policy.strict())
    world.enroll()
    answered = world.registry.deactivate(ALICE, by=SUPPORT)
    code = answered.binding_code
    state = world.state()
    texts = [
        repr(state),
        state.envelope.document,
        repr(world.observed),
        repr(answered),
        repr(world.store.history(ALICE)),
    ]
    assert not any(code in text for text in texts)
    assert len(state.binding.digest) == 64
    assert isinstance(error_of(answered.__getstate__), InvalidType)


def test_each_removal_returns_another_code() -> None:
    """RULE-BINDING: a code has 120 bits from the random source."""
    codes = {removed()[1] for _ in range(10)}
    assert len(codes) == 10
    world = World(Policy.strict())
    world.enroll()
    world.operations.random = lambda size: bytes(range(size))
    code = world.registry.deactivate(ALICE, by=SUPPORT).binding_code
    assert b32decode(code.replace("-", "")) == bytes(range(15))


def test_the_code_is_used_up_when_the_enrollment_is_confirmed() -> None:
    """RULE-BINDING: a canceled or superseded enrollment does not lock the owner out."""
    world, code = removed()
    world.open(binding_code=code)
    world.registry.cancel_enrollment(ALICE, by=Actor.signed_in(ALICE))
    assert opens(world, code)
    world.enroll(binding_code=code)
    assert world.state().binding is None
    world.registry.deactivate(ALICE, by=SUPPORT)
    assert not opens(world, code)


@pytest.mark.parametrize("kind", BY_OTHERS)
def test_others_open_an_enrollment_without_the_code(kind: str) -> None:
    """RULE-BINDING: only the owner needs the code, in place of a second factor."""
    if kind == "support":
        return  # support opens nothing, for anybody
    world, _ = removed()
    assert opens(world, by=BY_OTHERS[kind](world))
    assert world.state().binding.digest


def test_the_owner_with_mfa_needs_no_code() -> None:
    """RULE-BINDING: only the owner without MFA needs the code."""
    world, _ = removed()
    assert opens(world, by=by_method(ALICE, world.clock()))


@pytest.mark.parametrize("way", ["confirm", "adopt"])
def test_an_assigned_device_ends_the_need_for_a_code(way: str) -> None:
    """RULE-BINDING: once a device is assigned, a later removal by the owner needs no code."""
    world, code = removed()
    if way == "confirm":
        world.enroll(binding_code=code)
    else:
        world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, system="import")
    assert world.state().binding is None
    world.registry.deactivate(ALICE, by=by_method(ALICE, world.clock()))
    assert opens(world)


def test_a_later_removal_invalidates_the_earlier_code() -> None:
    """RULE-BINDING: only the code of the latest removal counts."""
    world, old = removed()
    world.enroll(binding_code=old)
    new = world.registry.deactivate(ALICE, by=SUPPORT).binding_code
    assert not opens(world, old)
    assert opens(world, new)


def test_an_assigned_device_is_reported_before_the_binding_code() -> None:
    """RULE-ORDER: "already assigned" comes before the binding code."""
    world, code = removed()
    world.enroll(binding_code=code)
    assert type(error_of(lambda: world.open(binding_code="wrong"))) is DeviceAlreadyAssigned


def test_a_wrong_code_uses_up_no_enrollment() -> None:
    """RULE-BINDING: a wrong code changes nothing, not even the open session."""
    world, _ = removed()
    with world.nothing_written():
        for _ in range(20):
            assert not opens(world, "wrong")


@pytest.mark.parametrize("kind", BY_OTHERS)
def test_removal_of_a_disabled_device_needs_a_code_under_every_policy(kind: str) -> None:
    """RULE-DISABLED: guesses that disabled the device show that the first factor is known."""
    world = World(Policy())
    world.enroll()
    world.store_state(device={"disabled": True})
    code = world.registry.deactivate(ALICE, by=BY_OTHERS[kind](world)).binding_code
    assert not opens(world)
    assert opens(world, code)


def test_the_policy_at_the_removal_decides_whether_a_code_is_needed() -> None:
    """RULE-BINDING: a later policy changes nothing for a removal that is past."""
    world, code = removed()
    later = World(Policy(), store=world.store)
    assert not opens(later)
    assert opens(later, code)


@pytest.mark.parametrize("kind", ["admin", "support", "service"])
def test_a_lost_code_can_be_replaced(kind: str) -> None:
    """RULE-BINDING: the new code replaces an earlier one, even an expired one."""
    world, old = removed()
    world.clock.advance(2 * DAY)
    issued = world.registry.issue_binding_code(ALICE, by=BY_OTHERS[kind](world))
    assert issued.expires_at == world.clock() + DAY
    assert not opens(world, old)
    assert opens(world, issued.code)


def test_without_a_pending_binding_no_code_is_issued() -> None:
    """RULE-BINDING: nor while a device is assigned."""
    world, _ = removed(policy=Policy())
    with world.nothing_written():
        error = error_of(lambda: world.registry.issue_binding_code(ALICE, by=SUPPORT))
        assert type(error) is NoSession
    world.enroll()
    error = error_of(lambda: world.registry.issue_binding_code(ALICE, by=SUPPORT))
    assert type(error) is NoSession


def test_the_owner_without_mfa_cannot_cancel_an_enrollment_opened_by_another_person() -> None:
    """RULE-BINDING: while a binding code is pending; its own enrollment it can cancel."""
    world, code = removed()
    world.open(by=SERVICE)
    with world.nothing_written():
        cancel = world.registry.cancel_enrollment
        error = error_of(lambda: cancel(ALICE, by=Actor.signed_in(ALICE)))
    assert (type(error), error.missing) == (AccessDenied, "mfa claim")
    world.open(binding_code=code)
    world.registry.cancel_enrollment(ALICE, by=Actor.signed_in(ALICE))
    world.open(by=SERVICE)
    world.registry.cancel_enrollment(ALICE, by=SERVICE)  # who opened it may cancel it


def test_the_digest_of_a_code_is_frozen() -> None:
    """RULE-BINDING: a code must stay valid across an upgrade."""
    world, code = removed()
    fields = (b"vmfa binding code v1", code.replace("-", "").encode())
    encoded = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    assert world.state().binding.digest == sha256(encoded).hexdigest()
