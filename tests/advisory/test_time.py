"""Clocks that stepped, drift that walked, and pairs from the past, elsewhere."""

from __future__ import annotations

import pytest

from support import START, Enrolled, enroll
from vmfa import (
    Actor,
    AlreadyUsed,
    ClockWentBack,
    CodeRejected,
    DeviceRegistry,
    EventType,
    OutOfSync,
    PairRejected,
    PrincipalId,
    Sync,
    totp,
)
from vmfa.testing import AuthenticatorApp, FrozenClock


def code_at(alice: Enrolled, steps_off: int) -> str:
    return alice.phone.code(steps_off)


def accepted_drift(alice: Enrolled, steps_off: int) -> int:
    """Sign in some steps later with a code that many steps off, and return the recorded drift."""
    alice.clock.advance(120)
    return alice.registry.verify(alice.principal, code_at(alice, steps_off)).drift


def test_django_otp_drift_does_not_walk(enrolled: Enrolled) -> None:
    """In django-otp five logins with codes one step late moved the drift from 1 to 5, and the
    window with it.

    Invariant: two successive deviations to one side move the drift by one step, and never further
    than two from the value that the last pair set.
    """
    drifts = []
    for _ in range(12):
        offset = drifts[-1] + 1 if drifts else 1
        try:
            drifts.append(accepted_drift(enrolled, offset))
        except CodeRejected:  # outside the window
            drifts.append(drifts[-1])
            enrolled.clock.advance(3600)
    assert max(drifts) == 2
    assert drifts[0] == 0  # one deviation moves nothing


def test_drift_walked_by_a_relay_is_limited_to_two_steps(enrolled: Enrolled) -> None:
    """A reviewed design: relayed late codes, or a slow typist, moved the window away from the
    owner.

    Invariant: two successive deviations move the drift by one step, two steps at most in all;
    every move is reported to observers; a pair corrects it.
    """
    moves = []
    enrolled.registry._observer = lambda event: (
        event.type is EventType.DRIFT_CHANGED and moves.append(dict(event.details)["after"])
    )
    relayed = [accepted_drift(enrolled, offset) for offset in (-1, -1, -2, -2, -3, -3, -3)]
    assert relayed[:2] == [0, -1]
    assert min(relayed) == -2
    assert moves == [-1, -2]
    alternating = [accepted_drift(enrolled, offset) for offset in (-1, -3, -1, -3)]
    assert set(alternating) == {-2}  # alternating deviations move nothing
    enrolled.clock.advance(120)
    report = enrolled.registry.resync(
        enrolled.principal, by=enrolled.actor, **enrolled.phone.pair()
    )
    assert report.device.drift == 0
    assert accepted_drift(enrolled, 0) == 0


def test_clock_stepped_back_raises_and_counts_nothing(enrolled: Enrolled) -> None:
    """After NTP or a resumed machine set the clock back, codes were replayed, or right codes were
    rejected and counted.

    Invariant: a spent step stays spent, and a clock behind committed time raises a named error
    that counts nothing.
    """
    enrolled.clock.advance(600)
    enrolled.sign_in()
    spent = enrolled.phone.code()
    at = enrolled.clock()
    enrolled.clock.set(at - 29)  # within a step: no error, and no replay
    with pytest.raises(AlreadyUsed):
        enrolled.registry.verify(enrolled.principal, spent)
    for behind in (31, 600, 10**6):
        enrolled.clock.set(at - behind)
        for code in (enrolled.phone.code(), spent, enrolled.phone.wrong_code()):
            with pytest.raises(ClockWentBack):
                enrolled.registry.verify(enrolled.principal, code)
    enrolled.clock.set(at)
    assert enrolled.device.failures == 0
    assert enrolled.sign_in()


def test_clock_set_right_again_does_not_accept_spent_codes(enrolled: Enrolled) -> None:
    """Correcting a clock that ran ahead must not allow a replay.

    Invariant: re-anchoring accepts the present time again and never lowers ``last_step``.
    """
    enrolled.clock.advance(3600)
    enrolled.sign_in()
    last = enrolled.device.last_step
    enrolled.clock.set(START + 60)
    with pytest.raises(ClockWentBack):
        enrolled.registry.verify(enrolled.principal, enrolled.phone.code())
    enrolled.registry.reanchor(enrolled.principal, by=Actor.trusted_service("ntp"))
    assert enrolled.device.last_step == last
    with pytest.raises(AlreadyUsed):
        enrolled.registry.verify(enrolled.principal, enrolled.phone.code())


def test_four_codes_filmed_an_old_pair_is_refused(enrolled: Enrolled) -> None:
    """A reviewed design: an attacker films four codes, resynchronizes with two and signs in with
    the third.

    Invariant: a pair is after ``last_step`` and near the current time, does not sign in, and is
    always an event.
    """
    filmed = [totp(enrolled.phone.key, START + 30 * n) for n in range(1, 5)]
    registry, me = enrolled.registry, enrolled.actor
    enrolled.clock.advance(30 * 40)  # the owner has not signed in since
    with pytest.raises(PairRejected):  # too long ago
        registry.resync(enrolled.principal, by=me, code1=filmed[0], code2=filmed[1])
    enrolled.sign_in()
    enrolled.clock.set(START + 30 * 42)
    with pytest.raises(PairRejected):  # before what the owner has used
        registry.resync(enrolled.principal, by=me, **enrolled.phone.pair(-5))
    enrolled.clock.advance(90)
    report = registry.resync(enrolled.principal, by=me, **enrolled.phone.pair())
    assert not hasattr(report, "claim")  # not an authentication
    history = registry.history(enrolled.principal, by=Actor.support("case 1"))
    assert history[-1].type is EventType.RESYNCHRONIZED
    assert (history[-1].at, history[-1].actor.name) == (enrolled.clock(), "u-4711")


def test_home_assistant_181369_enrollment_and_login_share_one_policy(
    registry: DeviceRegistry, clock: FrozenClock, alice: PrincipalId
) -> None:
    """home-assistant enrolled with a stricter window than it verified with, so phones slightly off
    could not enroll.

    Invariant: one policy object; a clock that can sign in can enroll, and one further off is
    reported as out of sync.
    """
    for number, off in enumerate((-1, 0, 1)):
        other = enroll(registry, clock, PrincipalId.user("123456789012", f"u-{number}"), off)
        assert other.device.sync is Sync.IN_SYNC
        clock.advance(90)
        assert registry.verify(other.principal, other.phone.code(off))
    late = enroll(registry, clock, alice, -5)
    assert late.device.sync is Sync.OUT_OF_SYNC
    with pytest.raises(OutOfSync):
        registry.verify(alice, late.phone.code())
    assert registry.resync(alice, by=late.actor, **late.phone.pair(-3)).sync is Sync.IN_SYNC


def test_home_assistant_181369_enrollment_and_login_read_codes_alike(
    registry: DeviceRegistry, clock: FrozenClock, owner: Actor, alice: PrincipalId
) -> None:
    """home-assistant accepted blanks in a code in one of two forms only.

    Invariant: codes are read in one place.
    """
    opened = registry.open_enrollment(alice, by=owner, label="alice")
    phone = AuthenticatorApp(clock).scan(opened.uri)
    first, second = phone.pair().values()
    typed = {"code1": f" {first[:3]} {first[3:]}", "code2": f"{second[:3]}-{second[3:]}\n"}
    registry.confirm_enrollment(alice, session=opened.session_id, by=owner, **typed)
    clock.advance(30)
    code = phone.code()
    assert registry.verify(alice, f"{code[:3]} {code[3:]} ")
