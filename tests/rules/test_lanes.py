"""Known clients: failures with a token and without one are counted in two lanes of one budget."""

from __future__ import annotations

import json
import pickle
from copy import deepcopy
from dataclasses import asdict, replace

import pytest

from vmfa import (
    AccessDenied,
    Actor,
    AuditEvent,
    ClientToken,
    ClockWentBack,
    CodeRejected,
    DerivedKeys,
    DeviceDisabled,
    EventType,
    InvalidType,
    InvalidValue,
    OutOfSync,
    Policy,
    Receipt,
    SignInClosed,
    Throttled,
    TooSoon,
)
from vmfa.clients import MAX_CLIENT_FAILURES
from vmfa.models import FailingClient
from world import (
    ALICE,
    BOB,
    DAY,
    HOUR,
    ROOT,
    SERVICE,
    STEP,
    SUPPORT,
    World,
    by_method,
    error_of,
    outcome_of,
)

POLICY = Policy(known_clients=True)
CLOSED_AT = POLICY.failure_cap - POLICY.known_client_reserve


@pytest.fixture
def world():
    return World(POLICY)


@pytest.fixture
def phone(world):
    return world.enroll()


@pytest.fixture
def token(world, phone):
    return world.sign_in(phone).client_token


def verify(world, code, client=None, who=ALICE):
    return world.registry.verify(who, code, client=client)


def fail_often(world, phone, times, client=None):
    """Present *times* wrong codes, an hour apart; the last error."""
    error = None
    for _ in range(times):
        world.clock.advance(HOUR)
        error = error_of(lambda: verify(world, phone.wrong_code(), client))
    return error


class TestToken:
    def test_a_receipt_has_a_token_of_at_most_256_characters_without_a_name(self, world, token):
        assert isinstance(token, ClientToken)
        assert len(token.text) <= 256
        assert token.text.isascii()
        assert ALICE.name not in token.text
        assert ALICE.account not in token.text
        assert token.expires_at == world.clock() + 90 * DAY

    @pytest.mark.parametrize("byte", [b"\xff", b"\xfb"])
    def test_it_needs_no_escaping_in_a_url(self, byte):
        """RULE-CLIENT-TOKEN: the id is written in the URL-safe alphabet of Base64."""
        world = World(POLICY)
        phone = world.enroll()
        world.operations.random = lambda size: byte * size
        text = world.sign_in(phone).client_token.text
        assert not set("/+=") & set(text)
        assert set(text.split(".")[1]) & set("-_")

    def test_each_receipt_renews_it(self, world, phone, token):
        later = world.sign_in(phone).client_token
        assert later.text != token.text
        assert later.expires_at == token.expires_at + STEP

    def test_without_known_clients_there_is_none(self):
        world = World()
        assert world.sign_in(world.enroll()).client_token is None

    def test_it_does_not_print_or_pickle_and_is_in_no_asdict(self, world, phone):
        receipt = world.sign_in(phone)
        text = receipt.client_token.text
        shown = f"{receipt!r} {receipt} {asdict(receipt)} {receipt.client_token!r}"
        assert text not in shown
        assert text.encode() not in pickle.dumps(receipt)
        assert pickle.loads(pickle.dumps(receipt)) == receipt
        assert deepcopy(receipt).client_token is None
        with pytest.raises(InvalidType):
            pickle.dumps(receipt.client_token)

    @pytest.mark.parametrize("form", ["object", "text"])
    def test_it_is_accepted_as_an_object_and_as_text(self, world, phone, token, form):
        fail_often(world, phone, CLOSED_AT)
        world.clock.advance(STEP)
        given = token if form == "object" else token.text
        assert verify(world, phone.code(), given).serial == world.device().serial

    @pytest.mark.parametrize("retired", [True, False])
    def test_it_counts_under_a_retired_master_key_and_not_under_an_unknown_one(self, retired):
        old, new = b"o" * 32, b"n" * 32
        world = World(POLICY, keys=DerivedKeys(old))
        phone = world.enroll()
        token = world.sign_in(phone).client_token
        fail_often(world, phone, CLOSED_AT)
        keys = DerivedKeys(new, old)
        rotated = World(POLICY, keys=keys, store=world.store, now=world.clock() + STEP)
        if not retired:
            _, _, _, tag = token.text.split(".", 3)
            token = token.text.replace(tag, "0" * 16 + tag[16:])
        outcome = outcome_of(lambda: verify(rotated, phone.code(1), token))
        assert isinstance(outcome, Receipt if retired else SignInClosed)

    @pytest.mark.parametrize("change", [
        lambda text: "", lambda text: text[:-1], lambda text: text + "0", lambda text: text[1:],
        lambda text: text.replace("1r", "2r", 1), lambda text: text.replace("1r", "1g", 1),
        lambda text: text.replace(".", "", 1), lambda text: "x" * 256, lambda text: "x" * 257,
        lambda text: "1r.é." + text, lambda text: text.upper(), lambda text: 5,
        lambda text: text.encode(), lambda text: None,
        lambda text: text.replace(text.split(".")[2], str(int(text.split(".")[2]) + 1)),
    ])
    def test_any_fault_means_the_lane_without_one_and_never_an_error(
        self, world, phone, token, change
    ):
        fail_often(world, phone, CLOSED_AT)
        world.clock.advance(STEP)
        outcome = outcome_of(lambda: verify(world, phone.code(), change(token.text)))
        assert isinstance(outcome, SignInClosed)

    def test_it_is_bound_to_the_principal(self, world, phone, token):
        other = world.enroll(BOB)
        for _ in range(CLOSED_AT):
            world.clock.advance(HOUR)
            error_of(lambda: verify(world, other.wrong_code(), None, BOB))
        world.clock.advance(STEP)
        outcome = outcome_of(lambda: verify(world, other.code(), token, BOB))
        assert isinstance(outcome, SignInClosed)

    def test_it_is_not_valid_for_another_device(self, world, phone, token):
        world.registry.deactivate(ALICE, by=SERVICE)
        phone = world.enroll()
        fail_often(world, phone, CLOSED_AT)
        world.clock.advance(STEP)
        assert isinstance(outcome_of(lambda: verify(world, phone.code(), token)), SignInClosed)

    def test_it_lasts_90_days(self, world, phone, token):
        fail_often(world, phone, CLOSED_AT)
        world.clock.set(token.expires_at - 1)
        world.store_state(device={"budget": 100, "budget_updated_at": int(world.clock())})
        assert isinstance(outcome_of(lambda: verify(world, phone.code(), token)), Receipt)
        world.clock.set(token.expires_at)
        assert isinstance(outcome_of(lambda: verify(world, phone.code(1), token)), SignInClosed)

    def test_forget_clients_invalidates_every_token(self, world, phone, token):
        owner = by_method(ALICE, world.clock())
        world.registry.forget_clients(ALICE, by=owner)
        assert world.history_types()[-1] is EventType.CLIENTS_FORGOTTEN
        fail_often(world, phone, CLOSED_AT)
        world.clock.advance(STEP)
        assert isinstance(outcome_of(lambda: verify(world, phone.code(), token)), SignInClosed)


@pytest.mark.parametrize(
    "operation",
    [
        lambda world, owner: world.registry.forget_clients(ALICE, by=owner),
        lambda world, owner: world.registry.reopen(ALICE, by=owner),
        lambda world, owner: world.registry.give_client_token(ALICE, by=SERVICE),
        lambda world, owner: world.registry.restore_budget(ALICE, by=SERVICE),
    ],
    ids=["forget", "reopen", "give", "restore"],
)
def test_nothing_is_changed_when_the_clock_went_back(world, phone, operation):
    """RULE-CLOCK, RULE-FORGET-CLIENTS, RULE-REOPEN, RULE-GIVEN-TOKEN, RULE-RESTORE."""
    world.clock.advance(-1000)
    owner = by_method(ALICE, world.clock())
    with world.nothing_written():
        assert type(error_of(lambda: operation(world, owner))) is ClockWentBack


class TestLanes:
    def test_a_failure_without_a_token(self, world, phone, token):
        fail_often(world, phone, 1)
        device = world.device()
        assert (device.failures, device.known_failures, device.budget) == (1, 0, 99)

    def test_a_failure_with_a_token(self, world, phone, token):
        fail_often(world, phone, 1, token)
        device = world.device()
        assert (device.failures, device.known_failures, device.budget) == (0, 1, 99)

    def test_an_acceptance_clears_its_own_lane_only(self, world, phone, token):
        fail_often(world, phone, 2, token)
        fail_often(world, phone, 2)
        world.clock.advance(STEP)
        assert verify(world, phone.code()).failures_cleared == 2
        device = world.device()
        assert (device.failures, device.known_failures) == (0, 2)
        fail_often(world, phone, 1)
        world.clock.advance(STEP)
        assert verify(world, phone.code(), token).failures_cleared == 2
        device = world.device()
        assert (device.failures, device.known_failures, device.budget) == (1, 0, 95)

    @pytest.mark.parametrize(("by", "client", "left"), [
        ("owner", False, (0, 2)), ("owner", True, (0, 0)), ("service", False, (0, 0)),
    ])
    def test_what_a_resync_clears(self, world, phone, token, by, client, left):
        fail_often(world, phone, 2, token)
        fail_often(world, phone, 2)
        world.clock.advance(2 * STEP)
        actor = Actor.signed_in(ALICE) if by == "owner" else SERVICE
        world.resync(phone.pair(), by=actor, client=token if client else None)
        device = world.device()
        assert (device.failures, device.known_failures) == left
        assert device.budget == 96

    def test_each_lane_has_the_delay_of_its_own_failures(self, world, phone, token):
        for _ in range(3):
            error_of(lambda: verify(world, phone.wrong_code()))
        assert isinstance(outcome_of(lambda: verify(world, phone.wrong_code())), Throttled)
        assert error_of(lambda: verify(world, phone.wrong_code(), token)).retry_after is None
        world.clock.advance(STEP)
        assert isinstance(outcome_of(lambda: verify(world, phone.code(), token)), Receipt)

    @pytest.mark.parametrize("client", [True, False])
    def test_a_throttled_attempt_counts_nothing(self, world, phone, token, client):
        given = token if client else None
        for _ in range(3):
            error_of(lambda: verify(world, phone.wrong_code(), given))
        with world.nothing_written():
            error = error_of(lambda: verify(world, phone.code(), given))
        assert (type(error), error.retry_after) == (Throttled, 15)

    def test_75_failures_close_the_lane_without_a_token(self, world, phone, token):
        fail_often(world, phone, CLOSED_AT - 1)
        assert type(fail_often(world, phone, 1)) is CodeRejected
        world.clock.advance(365 * DAY)
        with world.nothing_written():
            error = error_of(lambda: verify(world, phone.code()))
        assert (type(error), error.remedy, error.retry_after) == (SignInClosed, "reopen", None)
        assert error.message_id == "closed"

    def test_a_lane_closed_by_failures_announces_no_wait(self, world, phone, token):
        """Seventy-five failures also use up the budget down to the reserve."""
        now = int(world.clock())
        world.store_state(
            device={"failures": CLOSED_AT - 1, "budget": 26, "budget_updated_at": now}
        )
        for expected in (CodeRejected, SignInClosed):
            error = error_of(lambda: verify(world, phone.wrong_code()))
            assert (type(error), error.retry_after) == (expected, None)
            assert error.remedy == "reopen"

    def test_the_tenth_failure_of_a_token_announces_the_wait_of_the_other_lane(
        self, world, phone, token
    ):
        fail_often(world, phone, MAX_CLIENT_FAILURES - 1, token)
        world.clock.advance(HOUR)
        error = error_of(lambda: verify(world, phone.wrong_code(), token))
        assert (type(error), error.retry_after) == (CodeRejected, None)
        assert isinstance(outcome_of(lambda: verify(world, phone.code(), token)), Receipt)

    def test_the_reserve_of_the_budget_is_for_known_clients(self, world, phone, token):
        now = int(world.clock())
        world.store_state(device={"budget": 26, "budget_updated_at": now})
        error_of(lambda: verify(world, phone.wrong_code()))
        error = error_of(lambda: verify(world, phone.wrong_code()))
        assert (type(error), error.remedy, error.retry_after) == (SignInClosed, "wait", 2 * DAY)
        assert error.message_id == "throttled"
        world.clock.advance(STEP)
        assert isinstance(outcome_of(lambda: verify(world, phone.code(), token)), Receipt)
        world.clock.advance(2 * DAY)
        assert type(error_of(lambda: verify(world, phone.wrong_code()))) is CodeRejected

    def test_an_empty_budget_closes_the_lane_with_a_token_too(self, world, phone, token):
        now = int(world.clock())
        world.store_state(device={"budget": 0, "budget_updated_at": now})
        error = error_of(lambda: verify(world, phone.code(), token))
        assert (type(error), error.retry_after) == (SignInClosed, 2 * DAY)

    @pytest.mark.parametrize(("unknown", "known", "last_with_token"), [
        (74, 25, False), (75, 24, True), (0, 99, True),
    ])
    def test_100_failures_of_both_lanes_disable_the_device(
        self, world, phone, token, unknown, known, last_with_token
    ):
        world.store_state(device={"failures": unknown, "known_failures": known, "budget": 100})
        world.clock.advance(HOUR)
        last = token if last_with_token else None
        error = error_of(lambda: verify(world, phone.wrong_code(), last))
        assert isinstance(error, DeviceDisabled)
        assert world.device().disabled

    def test_disabled_is_reported_before_closed_and_closed_before_throttled(
        self, world, phone, token
    ):
        now = int(world.clock())
        world.store_state(device={"failures": 75, "failed_at": now, "disabled": True})
        assert isinstance(error_of(lambda: verify(world, phone.code())), DeviceDisabled)
        world.store_state(device={"disabled": False})
        assert isinstance(error_of(lambda: verify(world, phone.code())), SignInClosed)
        world.store_state(device={"failures": 74})
        assert isinstance(error_of(lambda: verify(world, phone.code())), Throttled)

    def test_closed_is_reported_before_out_of_sync(self, world):
        phone = world.enroll(steps_off=5)
        world.store_state(device={"failures": 75})
        assert isinstance(error_of(lambda: verify(world, phone.code())), SignInClosed)
        world.store_state(device={"failures": 0})
        assert isinstance(error_of(lambda: verify(world, phone.code())), OutOfSync)

    def test_events_name_the_lane(self, world, phone, token):
        fail_often(world, phone, 1)
        fail_often(world, phone, 1, token)
        rejected = [e for e in world.observed if e.type is EventType.REJECTED]
        assert [dict(e.details)["lane"] for e in rejected] == ["unknown", "known"]


class TestFailingTokens:
    def test_ten_failures_in_a_row_demote_a_token_until_it_expires(self, world, phone, token):
        fail_often(world, phone, MAX_CLIENT_FAILURES, token)
        assert world.device().known_failures == MAX_CLIENT_FAILURES
        fail_often(world, phone, 1, token)
        device = world.device()
        assert (device.failures, device.known_failures) == (1, MAX_CLIENT_FAILURES)

    def test_a_success_forgets_the_failures_of_the_token(self, world, phone, token):
        fail_often(world, phone, MAX_CLIENT_FAILURES - 1, token)
        world.clock.advance(HOUR)
        verify(world, phone.code(), token)
        assert world.device().clients.failing == ()
        fail_often(world, phone, MAX_CLIENT_FAILURES - 1, token)
        world.clock.advance(HOUR)
        assert isinstance(outcome_of(lambda: verify(world, phone.code(), token)), Receipt)

    def test_the_record_keeps_four_failing_tokens_and_a_fifth_counts_as_unknown(
        self, world, phone
    ):
        tokens = [world.sign_in(phone).client_token for _ in range(6)]
        for token in tokens[:4]:
            fail_often(world, phone, 1, token)
        assert world.device().known_failures == 4
        fail_often(world, phone, 1, tokens[4])
        device = world.device()
        assert (device.failures, device.known_failures) == (1, 4)
        assert len(device.clients.failing) == 4
        world.clock.advance(HOUR)
        assert isinstance(outcome_of(lambda: verify(world, phone.code(), tokens[5])), Receipt)

    def test_a_fifth_failing_token_waits_like_a_client_without_one(self, world, phone):
        tokens = [world.sign_in(phone).client_token for _ in range(30)]
        for token in tokens[:4]:
            fail_often(world, phone, MAX_CLIENT_FAILURES, token)
        world.clock.advance(HOUR)
        outcomes = [
            outcome_of(lambda t=token: verify(world, phone.wrong_code(), t))
            for token in tokens[4:]
        ]
        evaluated = [outcome for outcome in outcomes if type(outcome) is CodeRejected]
        assert len(evaluated) == 3
        assert evaluated[-1].retry_after == 15

    def test_stolen_tokens_do_not_keep_a_client_out_that_did_not_fail(self, world, phone):
        tokens = [world.sign_in(phone).client_token for _ in range(5)]
        for token in tokens[:4]:
            fail_often(world, phone, MAX_CLIENT_FAILURES, token)
        fail_often(world, phone, 50)
        world.clock.advance(HOUR)
        assert isinstance(outcome_of(lambda: verify(world, phone.code(), tokens[4])), Receipt)

    def test_a_demoted_token_does_not_block_other_clients(self, world, phone, token):
        other = world.sign_in(phone).client_token
        fail_often(world, phone, MAX_CLIENT_FAILURES, token)
        world.clock.advance(HOUR)
        assert isinstance(outcome_of(lambda: verify(world, phone.code(), other)), Receipt)

    def test_expired_tokens_make_room(self, world, phone, token):
        failing = tuple(
            FailingClient(token_id=f"{n:032x}", failures=1, expires_at=int(world.clock()))
            for n in range(4)
        )
        clients = replace(world.device().clients, failing=failing)
        world.store_state(device={"clients": clients})
        fail_often(world, phone, 1, token)
        device = world.device()
        assert (device.known_failures, len(device.clients.failing)) == (1, 1)


class TestGivenToken:
    @pytest.fixture
    def closed(self, world, phone):
        fail_often(world, phone, CLOSED_AT)
        return world

    def test_it_opens_the_way_for_one_sign_in(self, closed, phone):
        given = closed.registry.give_client_token(ALICE, by=SERVICE)
        closed.clock.advance(STEP)
        receipt = verify(closed, phone.code(), given)
        closed.clock.advance(STEP)
        assert isinstance(outcome_of(lambda: verify(closed, phone.code(), given)), SignInClosed)
        assert verify(closed, phone.code(), receipt.client_token).serial == receipt.serial

    def test_it_lasts_24_hours(self, closed, phone):
        given = closed.registry.give_client_token(ALICE, by=SERVICE)
        assert given.expires_at == closed.clock() + DAY
        closed.clock.advance(DAY)
        assert isinstance(outcome_of(lambda: verify(closed, phone.code(), given)), SignInClosed)

    def test_a_resync_does_not_use_it_up(self, closed, phone):
        given = closed.registry.give_client_token(ALICE, by=SERVICE)
        closed.clock.advance(2 * STEP)
        closed.resync(phone.pair(), client=given)
        closed.store_state(device={"failures": CLOSED_AT})
        closed.clock.advance(STEP)
        assert isinstance(outcome_of(lambda: verify(closed, phone.code(), given)), Receipt)

    def test_a_second_one_replaces_the_first(self, closed, phone):
        first = closed.registry.give_client_token(ALICE, by=SERVICE)
        second = closed.registry.give_client_token(ALICE, by=SERVICE)
        closed.clock.advance(STEP)
        assert isinstance(outcome_of(lambda: verify(closed, phone.code(), first)), SignInClosed)
        assert isinstance(outcome_of(lambda: verify(closed, phone.code(), second)), Receipt)

    def test_it_is_audited(self, closed):
        closed.registry.give_client_token(ALICE, by=SERVICE)
        assert closed.history_types()[-1] is EventType.CLIENT_TOKEN_GIVEN

    def test_the_policy_must_have_known_clients(self):
        world = World()
        world.enroll()
        with pytest.raises(InvalidValue):
            world.registry.give_client_token(ALICE, by=SERVICE)


class TestReopen:
    def test_a_claim_newer_than_the_last_failure_reopens(self, world, phone, token):
        fail_often(world, phone, CLOSED_AT)
        world.clock.advance(STEP)
        receipt = verify(world, phone.code(), token)
        world.registry.reopen(ALICE, by=Actor.signed_in(ALICE, mfa=receipt.claim))
        assert world.device().failures == 0
        assert world.history_types()[-1] is EventType.REOPENED
        world.clock.advance(STEP)
        assert isinstance(outcome_of(lambda: verify(world, phone.code())), Receipt)

    @pytest.mark.parametrize("age", [0, 1])
    def test_a_claim_that_is_not_newer_does_not(self, world, phone, token, age):
        receipt = world.sign_in(phone)
        world.store_state(device={"failures": 5, "failed_at": receipt.at + age})
        with world.nothing_written(), pytest.raises(AccessDenied) as caught:
            world.registry.reopen(ALICE, by=Actor.signed_in(ALICE, mfa=receipt.claim))
        assert caught.value.missing == "mfa claim"

    def test_nothing_to_reopen_writes_nothing(self, world, phone, token):
        owner = by_method(ALICE, world.clock())
        with world.nothing_written():
            world.registry.reopen(ALICE, by=owner)

    def test_it_does_not_end_a_closure_by_the_budget(self, world, phone, token):
        world.store_state(device={
            "failures": 5, "failed_at": int(world.clock()) - 5, "budget": 25,
            "budget_updated_at": int(world.clock()),
        })
        world.registry.reopen(ALICE, by=by_method(ALICE, world.clock()))
        assert isinstance(error_of(lambda: verify(world, phone.code())), SignInClosed)


    def test_the_policy_must_have_known_clients(self):
        world = World()
        phone = world.enroll()
        world.fail(phone)
        with world.nothing_written(), pytest.raises(InvalidValue):
            world.registry.reopen(ALICE, by=by_method(ALICE, world.clock() + STEP))


def test_without_known_clients_a_sign_in_clears_both_counters():
    world = World()
    phone = world.enroll()
    world.store_state(device={"failures": 2, "known_failures": 60})
    world.sign_in(phone)
    assert (world.device().failures, world.device().known_failures) == (0, 0)


class TestRestoreBudget:
    def test_it_is_full_again_and_audited(self, world, phone):
        fail_often(world, phone, 5)
        world.registry.restore_budget(ALICE, by=SERVICE)
        assert world.device().budget == POLICY.budget
        assert world.device().failures == 5
        assert world.history_types()[-1] is EventType.BUDGET_RESTORED

    def test_at_most_once_a_day(self, world, phone):
        world.registry.restore_budget(ALICE, by=SERVICE)
        world.clock.advance(DAY - 1)
        with world.nothing_written():
            error = error_of(lambda: world.registry.restore_budget(ALICE, by=SERVICE))
        assert (type(error), error.retry_after) == (TooSoon, 1)
        world.clock.advance(1)
        world.registry.restore_budget(ALICE, by=SERVICE)


@pytest.mark.parametrize("operation", ["give_client_token", "restore_budget"])
@pytest.mark.parametrize("by", ["owner", "support"])
def test_only_managers_help(world, phone, operation, by):
    actor = by_method(ALICE, world.clock()) if by == "owner" else SUPPORT
    with pytest.raises(AccessDenied):
        getattr(world.registry, operation)(ALICE, by=actor)


@pytest.mark.parametrize("operation", ["give_client_token", "restore_budget"])
def test_no_other_helps_root(world, operation):
    world.enroll(ROOT)
    with pytest.raises(AccessDenied):
        getattr(world.registry, operation)(ROOT, by=SERVICE)


@pytest.mark.parametrize("operation", ["forget_clients", "reopen"])
def test_only_the_owner_with_mfa(world, phone, operation):
    for actor in (Actor.signed_in(ALICE), SERVICE, SUPPORT):
        with pytest.raises(AccessDenied):
            getattr(world.registry, operation)(ALICE, by=actor)


def test_an_attacker_without_a_token_never_delays_a_known_client(world, phone, token):
    """A year of guessing without a token, as often as it is evaluated."""
    for _ in range(365):
        for _ in range(5):
            world.clock.advance(DAY // 5 - STEP)
            outcome_of(lambda: verify(world, phone.wrong_code()))
        world.clock.advance(5 * STEP)
        token = verify(world, phone.code(), token).client_token


def test_tokens_are_in_no_event(world, phone, token):
    given = world.registry.give_client_token(ALICE, by=SERVICE)
    fail_often(world, phone, 1, token)
    text = " ".join(json.dumps(asdict(event), default=str) for event in world.observed)
    assert all(isinstance(event, AuditEvent) for event in world.observed)
    for secret in (token.text, given.text):
        assert secret not in text
