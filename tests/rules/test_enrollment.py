"""Enrollment: the key is shown once, two consecutive codes assign the device, and sessions end."""

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
from world import (
    ADMIN,
    ALICE,
    DAY,
    REPEAT_STEP,
    RFC_KEY,
    ROOT,
    SERVICE,
    STEP,
    SUPPORT,
    TWIN_STEP,
    RfcKeySource,
    World,
    by_method,
    error_of,
    outcome_of,
)

ME = Actor.signed_in(ALICE)


# SEED-SHOW


def test_opening_shows_the_key_in_both_forms() -> None:
    """SEED-SHOW: Base32 for manual entry, and the otpauth URI for a QR code, of the same key."""
    world = World()
    opened = world.open(label="alice b@example.com")
    assert opened.uri == (
        f"otpauth://totp/Example:alice%20b@example.com?secret={opened.base32}&issuer=Example"
    )
    assert len(opened.base32) == 32
    assert opened.serial == world.state().enrollment.serial
    assert opened.expires_at == world.clock() + 900


def test_the_key_is_shown_in_that_answer_only() -> None:
    """SEED-SHOW: no later read shows the key; the answer does not print, copy or pickle."""
    world = World()
    opened = world.open()
    secret = opened.base32
    phone = world.phone(opened)
    report = world.confirm(opened, phone.pair())
    read = [
        world.registry.device(ALICE, by=ME),
        report,
        world.state(),
        world.registry.history(ALICE, by=SERVICE),
        opened,
        world.observed,
    ]
    assert not any(secret in f"{value!r}{value}" for value in read)
    for leak in (copy.copy, copy.deepcopy, pickle.dumps):
        assert isinstance(error_of(lambda leak=leak: leak(opened)), InvalidType)


@pytest.mark.parametrize("label", ["", "a:b", " a", "x" * 257, "\n", 5])
def test_an_invalid_label_is_refused(label: object) -> None:
    """SEED-SHOW: an invalid label is refused before anything happens."""
    world = World()
    with world.nothing_written():
        assert isinstance(error_of(lambda: world.open(label=label)), (InvalidValue, InvalidType))


def test_a_new_session() -> None:
    """SEED-SHOW: it ends in 15 minutes, without attempts, and has the first offered parameters."""
    offers = (Parameters(digits=8), Parameters())
    world = World(Policy(offers=offers))
    opened = world.open()
    session = world.state().enrollment
    assert (session.session_id, session.serial) == (opened.session_id, opened.serial)
    assert (session.opened_at, session.expires_at, session.attempts) == (
        world.clock(),
        world.clock() + 900,
        0,
    )
    assert session.parameters == offers[0]
    assert world.history_types() == [EventType.OPENED]
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
        serial=opened.serial,
        parameters=Parameters(),
        enrolled_at=START,
        sync=Sync.IN_SYNC,
        disabled=False,
        drift=0,
        synced_drift=0,
        last_offset=0,
        last_step=START // STEP,
        failures=0,
        budget=100,
        budget_updated_at=START,
    )
    assert (report.sync, report.steps_off) == (Sync.IN_SYNC, 0)
    assert world.registry.requires_code(ALICE) is True
    assert world.history_types() == [EventType.OPENED, EventType.ASSIGNED]
    assert world.observed[-1].details == (("sync", "in sync"), ("steps_off", 0))


@pytest.mark.parametrize(
    ("first", "second"),
    [(0, -1), (1, 0), (0, 0), (-1, -1), (-2, 0), (-1, 1), (-3, 0), (0, 2), (1, -1)],
)
def test_no_other_pair_assigns(first: int, second: int) -> None:
    """SEED-TWO: reversed, equal or apart, a pair is rejected; only the attempts grow."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    before = world.state()
    error = error_of(
        lambda: world.confirm(opened, {"code1": phone.code(first), "code2": phone.code(second)})
    )
    assert type(error) is PairRejected
    assert (error.reason, error.remedy) == ("pair not accepted", "retry")
    after = world.state()
    assert after.enrollment.attempts == before.enrollment.attempts + 1
    assert (after.device, after.key_ref, after.enrollment_times) == (
        None,
        before.key_ref,
        before.enrollment_times,
    )
    assert world.history_types() == [EventType.OPENED]
    assert (world.observed[-1].type, world.observed[-1].details) == (
        EventType.REJECTED,
        (("attempts", 1),),
    )
    assert world.confirm(opened, phone.pair()).sync is Sync.IN_SYNC


@pytest.mark.parametrize("which", ["code1", "code2"])
def test_one_right_code_is_not_enough(which: str) -> None:
    """SEED-TWO: both codes must be right."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    assert (
        type(error_of(lambda: world.confirm(opened, phone.pair() | {which: phone.wrong_code()})))
        is PairRejected
    )


@pytest.mark.parametrize("which", ["code1", "code2"])
def test_a_malformed_code_costs_no_attempt(which: str) -> None:
    """SEED-SIX: a malformed code in a pair is not a guess and writes nothing."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    with world.nothing_written():
        assert (
            type(error_of(lambda: world.confirm(opened, phone.pair() | {which: "12345"})))
            is MalformedCode
        )


def test_two_equal_codes_of_neighboring_steps_are_a_valid_pair() -> None:
    """SEED-TWO: neighboring steps can have the same code."""
    world = World(keys=RfcKeySource(), now=TWIN_STEP * STEP)
    opened = world.open()
    report = world.confirm(opened, {"code1": "911617", "code2": "911617"})
    assert report.device.last_step == TWIN_STEP + 1
    assert type(error_of(lambda: world.verify("911617"))) is AlreadyUsed


@pytest.mark.parametrize(("second", "spent"), [("468457", REPEAT_STEP + 2), ("123456", None)])
def test_a_later_step_with_a_code_of_the_pair_is_spent_too(second: str, spent: int | None) -> None:
    """RFC6238-5.2-ONCE: a code that assigned the device is not accepted at a later step that a
    sign-in can reach.
    """
    world = World(
        keys=RfcKeySource(), now=REPEAT_STEP * STEP
    )  # code 2 is shown again two steps later
    opened = world.open()
    pair = world.phone(opened).pair()
    assert pair["code2"] == "468457"
    if spent is None:
        assert (
            type(error_of(lambda: world.confirm(opened, pair | {"code2": second}))) is PairRejected
        )
        return
    world.clock.advance(STEP)
    report = world.confirm(opened, pair)
    assert (report.steps_off, report.device.last_step) == (-1, spent)
    for _ in range(3):
        assert type(error_of(lambda: world.verify("468457"))) is AlreadyUsed
        world.clock.advance(STEP)


@pytest.mark.parametrize(
    ("off", "matching", "chosen"),
    [
        (0, {-7, 3}, 3),
        (0, {-2, 9}, -2),
        (0, {-4, 4}, 4),
        (0, {-1, 0}, 0),
        (0, {-1, 1}, 1),
        (0, {-10, 10}, 10),
    ],
)
def test_of_several_pairs_the_nearest_counts(
    off: int, matching: set[int], chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEED-TWO: of several matching pairs the nearest to now counts, on a tie the later one."""
    world = World()
    opened = world.open()
    here = int(world.clock()) // STEP
    shown = {here + k: "222222" for k in matching} | {here + k - 1: "111111" for k in matching}
    if -1 in matching and 0 in matching:
        shown = {here - 2: "111111", here - 1: "111111", here: "111111"}
    codes = {
        "code1": "111111",
        "code2": "111111" if -1 in matching and 0 in matching else "222222",
    }
    monkeypatch.setattr(
        "vmfa.otp._codes",
        lambda key, steps, *_: {step: shown.get(step, "999999") for step in steps},
    )
    assert world.confirm(opened, codes).steps_off == chosen


def test_a_session_keeps_its_parameters_when_the_policy_changes() -> None:
    """SEED-TWO: the parameters shown to the phone are those of the device."""
    eight = Parameters(digits=8)
    world = World(Policy(offers=(eight,)))
    opened = world.open()
    later = World(store=world.store)
    report = later.confirm(opened, world.phone(opened).pair())
    assert report.device.parameters == eight


# SEED-LATE


@pytest.mark.parametrize("late", [0, 1, -1])
def test_within_the_window_the_device_is_in_sync(late: int) -> None:
    """SEED-LATE: in sync if -w <= k <= w."""
    world = World()
    opened = world.open()
    report = world.confirm(opened, world.phone(opened).pair(late))
    assert (report.sync, report.steps_off, report.device.sync) == (
        Sync.IN_SYNC,
        late,
        Sync.IN_SYNC,
    )
    assert report.device.last_step == world.clock() // STEP + late


@pytest.mark.parametrize("late", [-2, 2, -10, 10])
def test_beyond_the_window_the_device_is_assigned_out_of_sync(late: int) -> None:
    """SEED-LATE: the report has the offset k, and the drift stays 0."""
    world = World()
    opened = world.open()
    report = world.confirm(opened, world.phone(opened).pair(late))
    assert (report.sync, report.steps_off) == (Sync.OUT_OF_SYNC, late)
    assert report.device == world.device()
    assert (report.device.sync, report.device.drift, report.device.synced_drift) == (
        Sync.OUT_OF_SYNC,
        0,
        0,
    )
    assert world.registry.requires_code(ALICE) is True
    assert world.observed[-1].details == (("sync", "out of sync"), ("steps_off", late))


@pytest.mark.parametrize("late", [-11, 11, -21, 21])
def test_beyond_the_enrollment_window_the_pair_is_rejected(late: int) -> None:
    """SEED-LATE: further away than enroll_back or enroll_forward."""
    world = World()
    opened = world.open()
    assert (
        type(error_of(lambda: world.confirm(opened, world.phone(opened).pair(late))))
        is PairRejected
    )
    assert world.state().enrollment.attempts == 1


@pytest.mark.parametrize(("back", "forward"), [(3, 5), (5, 3)])
def test_enroll_back_limits_the_past_and_enroll_forward_the_future(
    back: int, forward: int
) -> None:
    """SEED-LATE: the two limits are independent."""
    for late, accepted in (
        (-back, True),
        (forward, True),
        (-back - 1, False),
        (forward + 1, False),
    ):
        world = World(Policy(enroll_back=back, enroll_forward=forward))
        opened = world.open()
        phone = world.phone(opened)
        if accepted:
            assert world.confirm(opened, phone.pair(late)).steps_off == late
        else:
            assert type(error_of(partial(world.confirm, opened, phone.pair(late)))) is PairRejected


@pytest.mark.parametrize("late", [-2, 2])
def test_strict_refuses_a_pair_that_is_not_in_sync(late: int) -> None:
    """SEED-LATE: under the strict policy a device is never assigned out of sync."""
    world = World(Policy.strict())
    opened = world.open()
    phone = world.phone(opened)
    assert type(error_of(lambda: world.confirm(opened, phone.pair(late)))) is PairRejected
    assert world.confirm(opened, phone.pair(late // 2)).sync is Sync.IN_SYNC


def test_at_time_zero_the_first_pair_is_of_steps_zero_and_one() -> None:
    """SEED-TWO: no code 1 exists before step 0."""
    world = World(keys=RfcKeySource(), now=0)
    opened = world.open()
    pair = world.phone(opened).pair(1)
    assert (
        type(error_of(lambda: world.confirm(opened, pair | {"code1": "000000"}))) is PairRejected
    )
    assert world.confirm(opened, pair).device.last_step == 1


# SEED-ONE, SEED-ROTATE


@pytest.mark.parametrize("state", [{}, {"sync": Sync.OUT_OF_SYNC}, {"disabled": True}])
def test_while_a_device_is_assigned_no_other_is_enrolled(state: dict[str, object]) -> None:
    """SEED-ONE: opening is refused for every actor, and nothing changes."""
    world = World()
    world.enroll()
    world.store_state(device=state)
    admin = by_method(ADMIN, world.clock(), Actor.admin)
    for actor in (ME, SERVICE, admin, by_method(ALICE, world.clock())):
        with world.nothing_written():
            error = error_of(lambda actor=actor: world.open(by=actor))
        assert type(error) is DeviceAlreadyAssigned
        assert error.reason == "already assigned"


def test_the_enrollment_that_assigned_is_over() -> None:
    """SEED-ONE: a second confirmation finds no session, and the device stays."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    world.confirm(opened, phone.pair())
    with world.nothing_written():
        assert type(error_of(lambda: world.confirm(opened, phone.pair(1)))) is NoSession
        assert type(error_of(lambda: world.registry.cancel_enrollment(ALICE, by=ME))) is NoSession


# How a session ends


@pytest.mark.parametrize(("after", "is_open"), [(899, True), (900, False), (901, False)])
def test_a_session_lasts_fifteen_minutes(after: int, is_open: bool) -> None:
    """RULE-ABANDONED: afterwards it cannot be confirmed; a refused call does not write its end."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    world.clock.advance(after)
    if is_open:
        assert world.confirm(opened, phone.pair()).steps_off == 0
        return
    with world.nothing_written():
        error = error_of(lambda: world.confirm(opened, phone.pair()))
    assert (type(error), error.reason) == (NoSession, "no session")
    event = world.observed[-1]
    assert (event.type, event.reason) == (EventType.REFUSED, "no session")


@pytest.mark.parametrize("way", ["verify", "malformed", "read", "cancel"])
def test_a_refused_call_or_a_read_does_not_write_the_end_of_a_session(way: str) -> None:
    """RULE-ABANDONED: the record with an expired session stays as it is."""
    world = World()
    opened = world.open()
    world.clock.advance(900)
    with world.nothing_written():
        outcome_of(
            {
                "verify": lambda: world.verify("123456"),
                "malformed": lambda: world.verify("x"),
                "read": lambda: world.registry.device(ALICE, by=ME),
                "cancel": lambda: world.registry.cancel_enrollment(
                    ALICE, by=ME, session=opened.session_id
                ),
            }[way]
        )


@pytest.mark.parametrize("way", ["open", "adopt"])
def test_the_next_change_ends_an_expired_session(way: str) -> None:
    """RULE-ABANDONED: its key is destroyed, and the history has an event."""
    world = World(imported_keys=UnsafePlainKeys())
    world.open()
    old = world.state().key_ref
    world.clock.advance(900)
    if way == "open":
        world.open()
    else:
        world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, system="import")
    state = world.state()
    assert state.key_ref != old
    assert (state.enrollment is None) is (way != "open")
    assert world.history_types()[:2] == [EventType.OPENED, EventType.EXPIRED]
    assert state.events == len(world.history_types())


def test_an_actor_without_permission_does_not_end_an_expired_session() -> None:
    """RULE-ORDER: permission comes first, so nothing is written."""
    world = World()
    world.open()
    world.clock.advance(900)
    with world.nothing_written():
        assert (
            type(
                error_of(
                    lambda: world.registry.cancel_enrollment(ALICE, by=Actor.signed_in(ADMIN))
                )
            )
            is AccessDenied
        )


def test_a_session_ends_at_ten_failed_attempts() -> None:
    """RULE-ABANDONED: the tenth failure closes the session and destroys the key; the remedy is to
    enroll again.
    """
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    wrong = {"code1": phone.wrong_code(), "code2": phone.wrong_code()}
    for attempt in range(1, 10):
        error = error_of(lambda: world.confirm(opened, wrong))
        assert (type(error), error.remedy, world.state().enrollment.attempts) == (
            PairRejected,
            "retry",
            attempt,
        )
    error = error_of(lambda: world.confirm(opened, wrong))
    assert (type(error), error.remedy) == (PairRejected, "enroll")
    state = world.state()
    assert (state.enrollment, state.device, state.key_ref) == (None, None, None)
    assert world.history_types() == [EventType.OPENED, EventType.ABANDONED]
    events = {event.type: event for event in world.observed[-2:]}
    assert events.keys() == {EventType.REJECTED, EventType.ABANDONED}
    assert events[EventType.REJECTED].details == (("attempts", 10),)
    assert type(error_of(lambda: world.confirm(opened, phone.pair()))) is NoSession


def test_the_tenth_attempt_may_still_succeed() -> None:
    """RULE-ABANDONED: after nine failures a right pair assigns the device."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    for _ in range(9):
        error_of(lambda: world.confirm(opened, phone.pair() | {"code1": phone.wrong_code()}))
    assert world.confirm(opened, phone.pair()).sync is Sync.IN_SYNC


@pytest.mark.parametrize("named", [True, False])
def test_a_session_can_be_canceled(named: bool) -> None:
    """RULE-ABANDONED: by its id, or without one; the key is destroyed."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    world.registry.cancel_enrollment(ALICE, by=ME, session=opened.session_id if named else None)
    state = world.state()
    assert (state.enrollment, state.device, state.key_ref) == (None, None, None)
    assert world.history_types() == [EventType.OPENED, EventType.CANCELED]
    assert world.observed[-1].serial == opened.serial
    assert type(error_of(lambda: world.confirm(opened, phone.pair()))) is NoSession
    assert world.enroll()


def test_a_read_after_the_end_of_a_session_writes_nothing() -> None:
    """RULE-READS: the next change ends the session."""
    world = World()
    world.open()
    world.clock.advance(900)
    with world.nothing_written():
        assert len(world.registry.history(ALICE, by=SUPPORT)) == 1


def test_without_a_session_there_is_nothing_to_cancel() -> None:
    """RULE-ABANDONED: canceling without a session, or with another id, changes nothing."""
    world = World()
    with world.nothing_written():
        assert type(error_of(lambda: world.registry.cancel_enrollment(ALICE, by=ME))) is NoSession
    opened = world.open()
    with world.nothing_written():
        for name in ("0" * 32, "", 7, "\udc80", opened):
            error = error_of(
                lambda name=name: world.registry.cancel_enrollment(ALICE, by=ME, session=name)
            )
            assert type(error) is NoSession


def test_opening_again_supersedes_the_session() -> None:
    """RULE-ABANDONED: it has another key, serial and id, and the old codes do not count."""
    world = World()
    old = world.open()
    old_ref = world.state().key_ref
    new = world.open()
    assert (
        len({old.session_id, new.session_id})
        == len({old.serial, new.serial})
        == len({old.base32, new.base32})
        == 2
    )
    assert world.state().key_ref != old_ref
    assert world.history_types() == [EventType.OPENED, EventType.SUPERSEDED, EventType.OPENED]
    assert [event.serial for event in world.store.history(ALICE)] == [
        old.serial,
        old.serial,
        new.serial,
    ]
    old_phone, new_phone = world.phone(old), world.phone(new)
    assert type(error_of(lambda: world.confirm(old, old_phone.pair()))) is NoSession
    assert type(error_of(lambda: world.confirm(old, new_phone.pair()))) is NoSession
    assert type(error_of(lambda: world.confirm(new, old_phone.pair()))) is PairRejected
    assert world.confirm(new, new_phone.pair()).device.serial == new.serial


def test_opening_after_expiry_records_expired_instead_of_superseded() -> None:
    """RULE-ABANDONED: to the second."""
    for after, ended in ((899, EventType.SUPERSEDED), (900, EventType.EXPIRED)):
        world = World()
        world.open()
        world.clock.advance(after)
        world.open()
        assert world.history_types() == [EventType.OPENED, ended, EventType.OPENED]


def test_only_a_new_session_resets_the_attempts() -> None:
    """RULE-ABANDONED: attempts belong to the session."""
    world = World()
    opened = world.open()
    phone = world.phone(opened)
    error_of(lambda: world.confirm(opened, phone.pair() | {"code1": phone.wrong_code()}))
    assert world.state().enrollment.attempts == 1
    world.open()
    assert world.state().enrollment.attempts == 0


# Ten a day


def test_ten_sessions_a_day() -> None:
    """RULE-ABANDONED: the eleventh within a day is refused with the wait until the first is a day
    old.
    """
    world = World()
    for _ in range(10):
        world.open()
        world.clock.advance(60)
    with world.nothing_written():
        error = error_of(world.open)
    assert type(error) is TooManySessions
    assert (error.reason, error.retry_after) == ("too many sessions", DAY - 600)
    world.clock.advance(DAY - 600 - 1)
    assert error_of(world.open).retry_after == 1
    world.clock.advance(1)
    assert world.open()
    assert error_of(world.open).retry_after == 60


def test_ended_sessions_count_as_well() -> None:
    """RULE-ABANDONED: canceling, confirming or deactivating does not return an enrollment of the
    day.
    """
    world = World()
    for number in range(5):
        world.enroll()
        world.registry.deactivate(ALICE, by=SERVICE)
        world.open()
        world.registry.cancel_enrollment(ALICE, by=ME)
        assert len(world.state().enrollment_times) == 2 * number + 2
    assert type(error_of(world.open)) is TooManySessions


def test_the_limit_holds_for_administrators() -> None:
    """RULE-ABANDONED: only a trusted service is exempt from the limit."""
    world = World()
    admin = by_method(ADMIN, world.clock(), Actor.admin)
    for _ in range(10):
        world.open(by=admin)
    assert type(error_of(lambda: world.open(by=admin))) is TooManySessions
    assert type(error_of(world.open)) is TooManySessions


def test_a_trusted_service_is_exempt_from_the_limit() -> None:
    """RULE-ABANDONED: its sessions do not count towards the ten of the principal."""
    world = World()
    for _ in range(11):
        world.open(by=SERVICE)
    assert world.state().enrollment_times == ()
    for _ in range(10):
        world.open()
    assert type(error_of(world.open)) is TooManySessions
    assert world.open(by=SERVICE)


def test_the_wait_is_true_on_a_clock_that_is_behind() -> None:
    """RULE-ABANDONED: at most a day and one period."""
    world = World(Policy(enrollments_per_day=1))
    world.open()
    world.clock.advance(-STEP)
    assert error_of(world.open).retry_after == DAY + STEP
    world.clock.advance(DAY + STEP)
    assert world.open()


def test_the_wait_is_true_after_openings_on_two_clocks() -> None:
    """RULE-ABANDONED: what counts is which opening is over first, not which came first."""
    world = World()
    world.open()
    world.clock.advance(STEP)
    world.open()
    world.clock.advance(-STEP // 2)
    world.open()
    world.registry.operations.policy = Policy(enrollments_per_day=1)
    world.clock.advance(error_of(world.open).retry_after)
    assert world.open()


# Root enrolls itself


def test_root_enrolls_as_a_user_does() -> None:
    """SEED-ROOT: signed in as root, in the same steps."""
    world = World()
    phone = world.enroll(ROOT)
    assert world.sign_in(phone, ROOT).principal == ROOT
    assert type(error_of(lambda: world.registry.device(ALICE, by=ME))) is NoDevice


def test_equal_codes_two_steps_apart_are_not_a_pair() -> None:
    """SEED-TWO: a pair has no gap."""
    world = World(keys=RfcKeySource(), now=(REPEAT_STEP + 2) * STEP)
    opened = world.open()
    assert (
        type(error_of(lambda: world.confirm(opened, {"code1": "468457", "code2": "468457"})))
        is PairRejected
    )
