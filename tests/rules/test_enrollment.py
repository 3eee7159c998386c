"""Enrollment: shown once, assigned by two consecutive codes, and how a session ends."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import pytest

from support import START
from vmfa import (
    AccessDenied,
    Actor,
    AlreadyUsed,
    DeviceAlreadyAssigned,
    EventType,
    InvalidType,
    InvalidValue,
    MalformedCode,
    NoDevice,
    NoSession,
    PairRejected,
    Parameters,
    Policy,
    Sync,
    TooManySessions,
    UnsafePlainKeys,
    VirtualDevice,
)

from .world import (
    ALICE,
    APART,
    BOSS,
    DAY,
    RFC_KEY,
    ROOT,
    SERVICE,
    STEP,
    TWINS,
    KnownKey,
    World,
    answer,
    by_method,
    counted_codes,
    refusal,
)

ME = Actor.signed_in(ALICE)


# SEED-SHOW


def test_opening_shows_the_key_in_both_forms() -> None:
    """SEED-SHOW: Base32 for manual entry and the otpauth URI for a QR code, of one key; issuer twice, %20, never +."""
    world = World()
    opened = world.open(label="alice b@example.com")
    assert opened.uri == (
        f"otpauth://totp/Example:alice%20b@example.com?secret={opened.base32}&issuer=Example"
    )
    assert len(opened.base32) == 32
    assert opened.serial == world.state().enrollment.serial
    assert opened.expires_at == world.clock() + 900


def test_the_key_is_shown_in_that_answer_only() -> None:
    """SEED-SHOW: no later read returns it, neither prints the answer, nor is it copied or pickled."""
    world = World()
    opened = world.open()
    secret = opened.base32
    phone = world.phone(opened)
    report = world.confirm(opened, phone.pair())
    read = [world.registry.device(ALICE, by=ME), report, world.state(), world.registry.history(ALICE, by=SERVICE),
            opened, world.told]
    assert not any(secret in f"{value!r}{value}" for value in read)
    for leak in (copy.copy, copy.deepcopy, pickle.dumps):
        assert isinstance(refusal(lambda leak=leak: leak(opened)), InvalidType)


@pytest.mark.parametrize("label", ["", "a:b", " a", "x" * 257, "\n", 5])
def test_a_label_is_one_part_of_the_uri(label: object) -> None:
    """SEED-SHOW: what is no label is refused before anything happens."""
    world = World()
    with world.nothing_written():
        assert isinstance(refusal(lambda: world.open(label=label)), (InvalidValue, InvalidType))


def test_the_session_remembers_what_the_wizard_needs() -> None:
    """SEED-SHOW: opened now, ends in 15 minutes, no attempts yet, for the first parameters that the policy offers."""
    offers = (Parameters(digits=8), Parameters())
    world = World(Policy(offers=offers))
    opened = world.open()
    session = world.state().enrollment
    assert (session.session_id, session.serial) == (opened.session_id, opened.serial)
    assert (session.opened_at, session.expires_at, session.attempts) == (world.clock(), world.clock() + 900, 0)
    assert session.parameters == offers[0]
    assert world.happened() == [EventType.OPENED]
    assert world.registry.requires_code(ALICE) is False


# SEED-TWO


def test_two_consecutive_codes_assign_the_device() -> None:
    """SEED-TWO: code 1 of step s-1, code 2 of step s."""
    world = World()
    opened = world.open()
    report = world.confirm(opened, world.phone(opened).pair())
    state = world.state()
    assert report.device == state.device
    assert state.enrollment is None
    device = state.device
    assert device == VirtualDevice(
        serial=opened.serial, parameters=Parameters(), enrolled_at=START, sync=Sync.IN_SYNC, disabled=False, drift=0,
        synced_drift=0, last_offset=0, last_step=START // STEP, failures=0, budget=100, budget_updated_at=START,
    )
    assert (report.sync, report.steps_off) == (Sync.IN_SYNC, 0)
    assert world.registry.requires_code(ALICE) is True
    assert world.happened() == [EventType.OPENED, EventType.ASSIGNED]
    assert world.told[-1].details == (("sync", "in sync"), ("steps_off", 0))


@pytest.mark.parametrize(
    ("first", "second"), [(0, -1), (1, 0), (0, 0), (-1, -1), (-2, 0), (-1, 1), (-3, 0), (0, 2), (1, -1)],
)
def test_no_other_pair_assigns(first: int, second: int) -> None:
    """SEED-TWO: not reversed, not two equal ones, not a gap: rejected; the attempts grow, nothing else changes."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    before = world.state()
    error = refusal(lambda: world.confirm(opened, {"code1": phone.code(first), "code2": phone.code(second)}))
    assert type(error) is PairRejected
    assert (error.reason, error.remedy) == ("pair not accepted", "retry")
    after = world.state()
    assert after.enrollment.attempts == before.enrollment.attempts + 1
    assert (after.device, after.key_ref, after.enrollment_times) == (None, before.key_ref, before.enrollment_times)
    assert world.happened() == [EventType.OPENED]
    assert (world.told[-1].what, world.told[-1].details) == (EventType.REJECTED, (("attempts", 1),))
    assert world.confirm(opened, phone.pair()).sync is Sync.IN_SYNC


@pytest.mark.parametrize("which", ["code1", "code2"])
def test_one_right_code_is_not_enough(which: str) -> None:
    """SEED-TWO: both codes must be right."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    assert type(refusal(lambda: world.confirm(opened, phone.pair() | {which: phone.wrong_code()}))) is PairRejected


@pytest.mark.parametrize("which", ["code1", "code2"])
def test_a_malformed_code_costs_no_attempt(which: str) -> None:
    """SEED-SIX: in a pair as well, what is no code is no guess and writes nothing."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    with world.nothing_written():
        assert type(refusal(lambda: world.confirm(opened, phone.pair() | {which: "12345"}))) is MalformedCode


def test_neighbouring_steps_that_share_a_code_are_a_valid_pair() -> None:
    """SEED-TWO: two neighbouring steps can truly show one code: that pair is valid."""
    world = World(keys=KnownKey(), now=TWINS * STEP)
    opened = world.open()
    report = world.confirm(opened, {"code1": "911617", "code2": "911617"})
    assert report.device.last_step == TWINS + 1
    assert type(refusal(lambda: world.verify("911617"))) is AlreadyUsed


@pytest.mark.parametrize(("second", "spent"), [("468457", APART + 2), ("123456", None)])
def test_a_later_step_that_shares_a_code_of_the_pair_is_spent_too(second: str, spent: int | None) -> None:
    """RFC6238-5.2-ONCE: codes that assigned are spent as strings: within reach of a log-in they pass no second time."""
    world = World(keys=KnownKey(), now=APART * STEP)  # code 2 is shown again two steps later
    opened = world.open()
    pair = world.phone(opened).pair()
    assert pair["code2"] == "468457"
    if spent is None:
        assert type(refusal(lambda: world.confirm(opened, pair | {"code2": second}))) is PairRejected
        return
    world.clock.advance(STEP)
    report = world.confirm(opened, pair)
    assert (report.steps_off, report.device.last_step) == (-1, spent)
    for _ in range(3):
        assert type(refusal(lambda: world.verify("468457"))) is AlreadyUsed
        world.clock.advance(STEP)


@pytest.mark.parametrize(
    ("off", "matching", "chosen"),
    [(0, {-7, 3}, 3), (0, {-2, 9}, -2), (0, {-4, 4}, 4), (0, {-1, 0}, 0), (0, {-1, 1}, 1), (0, {-10, 10}, 10)],
)
def test_of_several_pairs_the_nearest_counts(
    off: int, matching: set[int], chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEED-TWO: several s match: the one nearest to now, ties upward."""
    world = World()
    opened = world.open()
    here = int(world.clock()) // STEP
    shown = {here + k: "222222" for k in matching} | {here + k - 1: "111111" for k in matching}
    if -1 in matching and 0 in matching:
        shown = {here - 2: "111111", here - 1: "111111", here: "111111"}
    codes = {"code1": "111111", "code2": "111111" if -1 in matching and 0 in matching else "222222"}
    monkeypatch.setattr("vmfa.otp._codes", lambda key, steps, *_: {step: shown.get(step, "999999") for step in steps})
    assert world.confirm(opened, codes).steps_off == chosen


# SEED-LATE


@pytest.mark.parametrize("late", [0, 1, -1])
def test_within_the_window_the_device_is_in_sync(late: int) -> None:
    """SEED-LATE: in sync iff -w <= k <= w."""
    world = World()
    opened = world.open()
    report = world.confirm(opened, world.phone(opened).pair(late))
    assert (report.sync, report.steps_off, report.device.sync) == (Sync.IN_SYNC, late, Sync.IN_SYNC)
    assert report.device.last_step == world.clock() // STEP + late


@pytest.mark.parametrize("late", [-2, 2, -10, 10])
def test_beyond_it_the_device_is_assigned_but_out_of_sync(late: int) -> None:
    """SEED-LATE: -eb <= k <= ef: assigned, and the answer says out of sync, and k; drift 0: no clock error."""
    world = World()
    opened = world.open()
    report = world.confirm(opened, world.phone(opened).pair(late))
    assert (report.sync, report.steps_off) == (Sync.OUT_OF_SYNC, late)
    assert report.device == world.device()
    assert (report.device.sync, report.device.drift, report.device.synced_drift) == (Sync.OUT_OF_SYNC, 0, 0)
    assert world.registry.requires_code(ALICE) is True
    assert world.told[-1].details == (("sync", "out of sync"), ("steps_off", late))


@pytest.mark.parametrize("late", [-11, 11, -21, 21])
def test_beyond_that_the_pair_is_refused(late: int) -> None:
    """SEED-LATE: further away than eb or ef: refused."""
    world = World()
    opened = world.open()
    assert type(refusal(lambda: world.confirm(opened, world.phone(opened).pair(late)))) is PairRejected
    assert world.state().enrollment.attempts == 1


@pytest.mark.parametrize(("back", "forward"), [(3, 5), (5, 3)])
def test_back_and_forward_are_told_apart(back: int, forward: int) -> None:
    """SEED-LATE: eb looks into the past, ef ahead."""
    for late, accepted in ((-back, True), (forward, True), (-back - 1, False), (forward + 1, False)):
        world = World(Policy(enroll_back=back, enroll_forward=forward))
        opened = world.open()
        phone = world.phone(opened)
        if accepted:
            assert world.confirm(opened, phone.pair(late)).steps_off == late
        else:
            assert type(refusal(partial(world.confirm, opened, phone.pair(late)))) is PairRejected


@pytest.mark.parametrize("late", [-2, 2])
def test_strict_refuses_a_pair_that_is_not_in_sync(late: int) -> None:
    """SEED-LATE, strict: nothing is ever assigned out of sync."""
    world = World(Policy.strict())
    opened = world.open()
    phone = world.phone(opened)
    assert type(refusal(lambda: world.confirm(opened, phone.pair(late)))) is PairRejected
    assert world.confirm(opened, phone.pair(late // 2)).sync is Sync.IN_SYNC


def test_an_enrollment_scan_computes_each_step_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """CONSTANT-WORK: right and wrong pairs cost the same candidates: eb + 1 back, ef + w forward."""
    for right in (True, False):
        world = World()
        opened = world.open()
        phone = world.phone(opened)
        pair = phone.pair() if right else {"code1": phone.wrong_code(), "code2": phone.wrong_code()}
        here = int(world.clock()) // STEP
        with counted_codes(monkeypatch) as computed:
            try:
                world.confirm(opened, pair)
            except PairRejected:
                assert not right
        assert computed == list(range(here - 11, here + 12))


def test_at_the_beginning_of_time_the_first_pair_is_steps_zero_and_one() -> None:
    """SEED-TWO: there is no code 1 before step 0."""
    world = World(keys=KnownKey(), now=0)
    opened = world.open()
    pair = world.phone(opened).pair(1)
    assert type(refusal(lambda: world.confirm(opened, pair | {"code1": "000000"}))) is PairRejected
    assert world.confirm(opened, pair).device.last_step == 1


# SEED-ONE, SEED-ROTATE


@pytest.mark.parametrize("state", [{}, {"sync": Sync.OUT_OF_SYNC}, {"disabled": True}])
def test_while_a_device_is_assigned_no_other_is_enrolled(state: dict[str, object]) -> None:
    """SEED-ONE: in sync, out of sync or disabled: opening is refused, whoever asks, and nothing changes."""
    world = World()
    world.enroll()
    world.put(device=state)
    admin = by_method(BOSS, world.clock(), Actor.admin)
    for actor in (ME, SERVICE, admin, by_method(ALICE, world.clock())):
        with world.nothing_written():
            error = refusal(lambda actor=actor: world.open(by=actor))
        assert type(error) is DeviceAlreadyAssigned
        assert error.reason == "already assigned"


def test_the_enrollment_that_assigned_is_over() -> None:
    """SEED-ONE: confirming once more finds no session, and the device stays as it is."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    world.confirm(opened, phone.pair())
    with world.nothing_written():
        assert type(refusal(lambda: world.confirm(opened, phone.pair(1)))) is NoSession
        assert type(refusal(lambda: world.registry.cancel_enrollment(ALICE, by=ME))) is NoSession


# How a session ends


@pytest.mark.parametrize(("after", "open_still"), [(899, True), (900, False), (901, False)])
def test_a_session_lasts_fifteen_minutes(after: int, open_still: bool) -> None:
    """RULE-ABANDONED: it expires 15 min after it was opened; its key is destroyed, and the history says so."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    world.clock.advance(after)
    if open_still:
        assert world.confirm(opened, phone.pair()).steps_off == 0
        return
    error = refusal(lambda: world.confirm(opened, phone.pair()))
    assert type(error) is NoSession
    assert error.reason == "no session"
    state = world.state()
    assert (state.enrollment, state.device, state.key_ref) == (None, None, None)
    assert world.happened() == [EventType.OPENED, EventType.EXPIRED]
    assert [(event.type, event.reason) for event in world.told[-2:]] == [
        (EventType.EXPIRED, ""), (EventType.REFUSED, "no session"),
    ]
    assert world.told[-2].serial == opened.serial
    with world.nothing_written():
        assert type(refusal(lambda: world.confirm(opened, phone.pair()))) is NoSession


def test_an_expired_pair_is_not_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    """RULE-ABANDONED: after its end a session costs no code."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    world.clock.advance(900)
    pair = phone.pair()
    with counted_codes(monkeypatch) as computed:
        assert type(refusal(lambda: world.confirm(opened, pair))) is NoSession
    assert computed == []


@pytest.mark.parametrize("way", ["verify", "read", "cancel", "malformed", "open", "adopt"])
def test_whoever_comes_next_finds_an_expired_session_over(way: str) -> None:
    """RULE-ABANDONED: nothing is left to clean up: any operation destroys the key, even a refused one."""
    world = World(imported_keys=UnsafePlainKeys())
    opened = world.open()
    old = world.state().key_ref
    world.clock.advance(900)
    answer({
        "verify": lambda: world.verify("123456"),
        "read": lambda: world.registry.device(ALICE, by=ME),
        "cancel": lambda: world.registry.cancel_enrollment(ALICE, by=ME, session=opened.session_id),
        "malformed": lambda: world.verify("x"),
        "open": world.open,
        "adopt": lambda: world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, source="import"),
    }[way])
    state = world.state()
    assert state.key_ref != old
    assert (state.enrollment is None) is (way != "open")
    assert world.happened()[:2] == [EventType.OPENED, EventType.EXPIRED]
    assert state.events == len(world.happened())


def test_who_may_not_touch_it_does_not_end_it() -> None:
    """RULE-ORDER: permission comes first: a stranger writes nothing, not even that a session has expired."""
    world = World()
    world.open()
    world.clock.advance(900)
    with world.nothing_written():
        assert type(refusal(lambda: world.registry.cancel_enrollment(ALICE, by=Actor.signed_in(BOSS)))) is AccessDenied


def test_a_session_ends_at_ten_failed_attempts() -> None:
    """RULE-ABANDONED: nine failures leave it open; the tenth closes it, says to enroll anew, and destroys the key."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    wrong = {"code1": phone.wrong_code(), "code2": phone.wrong_code()}
    for attempt in range(1, 10):
        error = refusal(lambda: world.confirm(opened, wrong))
        assert (type(error), error.remedy, world.state().enrollment.attempts) == (PairRejected, "retry", attempt)
    error = refusal(lambda: world.confirm(opened, wrong))
    assert (type(error), error.remedy) == (PairRejected, "enroll")
    assert "set-up" in error.claimant_message
    state = world.state()
    assert (state.enrollment, state.device, state.key_ref) == (None, None, None)
    assert world.happened() == [EventType.OPENED, EventType.ABANDONED]
    assert [event.type for event in world.told[-2:]] == [EventType.REJECTED, EventType.ABANDONED]
    assert world.told[-2].details == (("attempts", 10),)
    assert type(refusal(lambda: world.confirm(opened, phone.pair()))) is NoSession


def test_the_tenth_attempt_may_still_succeed() -> None:
    """RULE-ABANDONED: ten *failed* attempts end it: after nine, a right pair assigns."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    for _ in range(9):
        refusal(lambda: world.confirm(opened, phone.pair() | {"code1": phone.wrong_code()}))
    assert world.confirm(opened, phone.pair()).sync is Sync.IN_SYNC


@pytest.mark.parametrize("named", [True, False])
def test_a_session_can_be_cancelled(named: bool) -> None:
    """RULE-ABANDONED: cancelled, by its name or as the one that is open: the key is destroyed, nothing is left over."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    world.registry.cancel_enrollment(ALICE, by=ME, session=opened.session_id if named else None)
    state = world.state()
    assert (state.enrollment, state.device, state.key_ref) == (None, None, None)
    assert world.happened() == [EventType.OPENED, EventType.CANCELLED]
    assert world.told[-1].serial == opened.serial
    assert type(refusal(lambda: world.confirm(opened, phone.pair()))) is NoSession
    assert world.enroll()


def test_without_a_session_there_is_nothing_to_cancel() -> None:
    """RULE-ABANDONED: cancelling nothing, or another session than the open one, changes nothing."""
    world = World()
    with world.nothing_written():
        assert type(refusal(lambda: world.registry.cancel_enrollment(ALICE, by=ME))) is NoSession
    world.open()
    with world.nothing_written():
        for name in ("0" * 32, "", 7, "\udc80"):
            error = refusal(lambda name=name: world.registry.cancel_enrollment(ALICE, by=ME, session=name))
            assert type(error) is NoSession


def test_opening_again_supersedes_the_session() -> None:
    """RULE-ABANDONED: another opening ends the first: other key, serial and session; the old codes are dead."""
    world = World()
    old = world.open()
    old_ref = world.state().key_ref
    new = world.open()
    assert len({old.session_id, new.session_id}) == len({old.serial, new.serial}) == len({old.base32, new.base32}) == 2
    assert world.state().key_ref != old_ref
    assert world.happened() == [EventType.OPENED, EventType.SUPERSEDED, EventType.OPENED]
    assert [event.serial for event in world.store.history(ALICE)] == [old.serial, old.serial, new.serial]
    old_phone, new_phone = world.phone(old), world.phone(new)
    assert type(refusal(lambda: world.confirm(old, old_phone.pair()))) is NoSession
    assert type(refusal(lambda: world.confirm(old, new_phone.pair()))) is NoSession
    assert type(refusal(lambda: world.confirm(new, old_phone.pair()))) is PairRejected
    assert world.confirm(new, new_phone.pair()).device.serial == new.serial


def test_opening_after_expiry_says_that_the_old_one_expired() -> None:
    """RULE-ABANDONED: what is found expired is recorded as expired, not as superseded; to the second."""
    for after, ended in ((899, EventType.SUPERSEDED), (900, EventType.EXPIRED)):
        world = World()
        world.open()
        world.clock.advance(after)
        world.open()
        assert world.happened() == [EventType.OPENED, ended, EventType.OPENED]


def test_attempts_start_anew_with_a_new_session_only() -> None:
    """RULE-ABANDONED: attempts belong to the session; a malformed pair or a foreign session does not touch them."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    refusal(lambda: world.confirm(opened, phone.pair() | {"code1": phone.wrong_code()}))
    assert world.state().enrollment.attempts == 1
    world.open()
    assert world.state().enrollment.attempts == 0


# Ten a day


def test_ten_sessions_a_day() -> None:
    """RULE-ABANDONED: the eleventh within a day is refused with the wait; a day after the first, one more opens."""
    world = World()
    for _ in range(10):
        world.open()
        world.clock.advance(60)
    with world.nothing_written():
        error = refusal(world.open)
    assert type(error) is TooManySessions
    assert (error.reason, error.retry_after) == ("too many sessions", DAY - 600)
    world.clock.advance(DAY - 600 - 1)
    assert refusal(world.open).retry_after == 1
    world.clock.advance(1)
    assert world.open()
    assert refusal(world.open).retry_after == 60


def test_ended_sessions_count_as_well() -> None:
    """RULE-ABANDONED: cancelling, confirming or removing what was enrolled gives no opening back."""
    world = World()
    for number in range(5):
        world.enroll()
        world.registry.deactivate(ALICE, by=SERVICE)
        world.open()
        world.registry.cancel_enrollment(ALICE, by=ME)
        assert len(world.state().enrollment_times) == 2 * number + 2
    assert type(refusal(world.open)) is TooManySessions


def test_an_administrator_opens_within_the_ten() -> None:
    """RULE-ABANDONED: only a trusted service is free of the limit."""
    world = World()
    admin = by_method(BOSS, world.clock(), Actor.admin)
    for _ in range(10):
        world.open(by=admin)
    assert type(refusal(lambda: world.open(by=admin))) is TooManySessions
    assert type(refusal(world.open)) is TooManySessions


def test_a_trusted_service_opens_more_and_is_not_counted() -> None:
    """RULE-ABANDONED: a trusted service may, and what it opens takes nothing from the principal's ten."""
    world = World()
    for _ in range(11):
        world.open(by=SERVICE)
    assert world.state().enrollment_times == ()
    for _ in range(10):
        world.open()
    assert type(refusal(world.open)) is TooManySessions
    assert world.open(by=SERVICE)


def test_the_wait_never_exceeds_a_day() -> None:
    """RULE-ABANDONED: an opening under a clock that ran a little ahead adds nothing to the wait."""
    world = World(Policy(enrollments_per_day=1))
    world.open()
    world.clock.advance(-STEP)
    assert refusal(world.open).retry_after == DAY


# Root enrolls itself


def test_root_enrolls_as_a_user_does() -> None:
    """SEED-ROOT: signed in as root, through the same wizard."""
    world = World()
    phone = world.enroll(ROOT)
    assert world.sign_in(phone, ROOT).principal == ROOT
    assert type(refusal(lambda: world.registry.device(ALICE, by=ME))) is NoDevice


def test_codes_apart_share_no_pair() -> None:
    """SEED-TWO: equal codes two steps apart are a gap, not a pair."""
    world = World(keys=KnownKey(), now=(APART + 2) * STEP)
    opened = world.open()
    assert type(refusal(lambda: world.confirm(opened, {"code1": "468457", "code2": "468457"}))) is PairRejected
