"""Guesses that were not counted, not limited, or limited for the wrong users, elsewhere."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest

from support import Enrolled, enroll
from vmfa import (
    AccessDenied,
    Actor,
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    InvalidValue,
    MemoryStore,
    NoSession,
    PairRejected,
    Policy,
    PrincipalId,
    SignInClosed,
    StoreUnavailable,
    Throttled,
    TooManySessions,
    VmfaError,
    verify_hotp,
    verify_totp,
)
from vmfa.testing import AuthenticatorApp, FrozenClock

DAY = 86400


class DiskFull(MemoryStore):
    """A store that can be read but not written."""

    full = False

    def commit(self, before, after, events):  # type: ignore[no-untyped-def]  # as in MemoryStore
        if self.full:
            raise StoreUnavailable("the disk is full")
        return super().commit(before, after, events)


def fail(alice: Enrolled) -> VmfaError:
    """Present a wrong code as soon as it is evaluated, and return the error."""
    while True:
        try:
            alice.registry.verify(alice.principal, alice.phone.wrong_code())
        except Throttled as wait:
            alice.clock.advance(wait.retry_after or 0)
        except CodeRejected as error:
            return error


def test_vikunja_cve_2026_35597_a_failure_is_committed_before_it_is_raised(
    enrolled: Enrolled, store: MemoryStore
) -> None:
    """Vikunja wrote the lock-out in the transaction of the login, which the failed login rolled
    back.

    Invariant: a failure is committed before its error is raised.
    """
    seen = []
    registry = DeviceRegistry(
        store,
        keys=enrolled.registry.operations.keys,
        issuer="Example",
        clock=enrolled.clock,  # type: ignore[arg-type]
        observer=lambda event: seen.append(
            (event.type.value, store.load(enrolled.principal).device.failures)
        ),  # type: ignore[union-attr]
    )
    for failures in (1, 2, 3):
        with pytest.raises(CodeRejected):
            registry.verify(enrolled.principal, enrolled.phone.wrong_code())
        assert seen[-1] == ("code rejected", failures)
    with pytest.raises(Throttled):
        registry.verify(enrolled.principal, enrolled.phone.code(1))


def test_right_guess_disclosed_by_the_commits_failure_all_raise_alike(
    keys: DerivedKeys, clock: FrozenClock, alice: PrincipalId
) -> None:
    """A reviewed design: on a full disk, a wrong code that could not be counted raised another
    error than a right one.

    Invariant: no verdict leaves without its commit.
    """
    store = DiskFull()
    events = []
    registry = DeviceRegistry(
        store,
        keys=keys,
        issuer="Example",
        clock=clock,
        observer=lambda event: events.append(event.type),
    )
    enrolled = enroll(registry, clock, alice)
    clock.advance(30)
    events.clear()
    store.full = True
    errors = set()
    for code in (enrolled.phone.code(), enrolled.phone.wrong_code(), enrolled.phone.code(5)):
        with pytest.raises(StoreUnavailable) as caught:
            registry.verify(alice, code)
        errors.add((caught.type, str(caught.value), repr(vars(caught.value))))
    assert len(errors) == 1
    assert events == []
    store.full = False
    assert registry.verify(alice, enrolled.phone.code()).failures_cleared == 0


def test_django_otp_backoff_is_capped_and_never_overflows(enrolled: Enrolled) -> None:
    """django-otp computed a backoff of 2**n as a float of seconds: at failure 45 its timedelta
    overflowed, a server error.

    Invariant: the delay is capped, whatever the count.
    """
    policy = Policy()
    assert [policy.delay(n) for n in (0, 2, 3, 4, 10, 11, 12)] == [0, 0, 15, 30, 1920, 3600, 3600]
    assert {policy.delay(n) for n in (45, 100, 10_000, 10**9)} == {3600}
    for _ in range(60):
        assert isinstance(fail(enrolled), CodeRejected)
    assert enrolled.device.failures == 60


def test_django_otp_110_only_the_addressed_device_changes(
    registry: DeviceRegistry, store: MemoryStore, clock: FrozenClock, enrolled: Enrolled
) -> None:
    """django-otp tried a code on every device of the user, so each good login was a failure of all
    other devices.

    Invariant: an attempt changes the addressed principal's device and no other record.
    """
    bob = enroll(registry, clock, PrincipalId.user("123456789012", "u-0815"))
    root = enroll(registry, clock, PrincipalId.root("123456789012"))
    others = [store.load(other.principal) for other in (bob, root)]
    enrolled.sign_in()
    fail(enrolled)
    assert [store.load(other.principal) for other in (bob, root)] == others


def test_privacyidea_2243_parallel_guesses_do_not_pass_the_limit(enrolled: Enrolled) -> None:
    """privacyIDEA, nextcloud and hanko counted outside the attempt, so parallel requests passed
    the limit.

    Invariant: one row per principal is changed by compare-and-set, so no more verdicts leave than
    the throttle allows.
    """
    code = enrolled.phone.wrong_code()
    outcomes: list[type[BaseException]] = []
    start = threading.Barrier(20)

    def guess() -> None:
        start.wait()
        try:
            enrolled.registry.verify(enrolled.principal, code)
        except VmfaError as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=guess) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(outcomes) == {CodeRejected: 3, Throttled: 17}
    assert enrolled.device.failures == 3


def test_privacyidea_2243_parallel_confirmations_assign_one_device(
    registry: DeviceRegistry, clock: FrozenClock, owner: Actor, alice: PrincipalId
) -> None:
    """Two wizards that ended at the same moment gave a user two devices.

    Invariant: of two confirmations, one succeeds (SEED-ONE).
    """
    opened = registry.open_enrollment(alice, by=owner, label="alice")
    pair = AuthenticatorApp(clock).scan(opened.uri).pair()
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def confirm() -> None:
        start.wait()
        try:
            outcomes.append(
                type(
                    registry.confirm_enrollment(alice, session=opened.session_id, by=owner, **pair)
                ).__name__
            )
        except VmfaError as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=confirm) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(outcomes) == {"SyncReport": 1, "NoSession": 7}


def test_keycloak_46164_patient_guessing_exhausts_the_budget(enrolled: Enrolled) -> None:
    """keycloak and django-otp lock for a while and then start over: guesses at a steady pace
    continue for months.

    Invariant: each device has a guess budget that only time refills; a success does not. So there
    are at most 100 guesses and one for each two days.
    """
    guesses = 0
    for _ in range(
        365
    ):  # the guesses stay below every delay, and the owner tries to sign in daily
        for _ in range(2):
            guesses += not isinstance(fail(enrolled), SignInClosed)
        enrolled.clock.advance(DAY - 30)
        before = enrolled.device.budget
        with suppress(SignInClosed):
            enrolled.sign_in()
        assert enrolled.device.budget == before
    assert 280 <= guesses <= 282
    assert not enrolled.device.disabled
    with pytest.raises(SignInClosed):
        enrolled.registry.resync(enrolled.principal, by=enrolled.actor, **enrolled.phone.pair(1))


def test_wide_resync_window_answers_all_wrong_pairs_alike(enrolled: Enrolled) -> None:
    """Comparing one code with 2001 positions is right in one of 500 guesses, and some verifiers
    answered after the first code.

    Invariant: only pairs are compared; a failed pair counts like a failed code; a right first code
    makes no difference to the answer.
    """
    registry, phone = enrolled.registry, enrolled.phone
    enrolled.clock.advance(300)
    wrong = phone.wrong_code()
    answers = set()
    for failures, pair in enumerate(
        ((phone.code(), wrong), (wrong, phone.code()), (wrong, wrong)), 1
    ):
        with pytest.raises(PairRejected) as caught:
            registry.resync(enrolled.principal, by=enrolled.actor, code1=pair[0], code2=pair[1])
        answers.add((str(caught.value), caught.value.claimant_message, caught.value.remedy))
        assert enrolled.device.failures == failures
    assert len(answers) == 1
    with pytest.raises(Throttled):  # the same counter and the same delay as for codes
        registry.verify(enrolled.principal, phone.code())


def test_throttle_is_not_reset_by_enrolling_again(enrolled: Enrolled) -> None:
    """Where a password was enough to enroll again, or sessions were unlimited, failures restarted
    at 0.

    Invariant: removal needs MFA or another actor; attempts per session and sessions per day are
    limited.
    """
    registry, who, me = enrolled.registry, enrolled.principal, enrolled.actor
    for _ in range(4):
        fail(enrolled)
    with pytest.raises(AccessDenied):
        registry.deactivate(who, by=me)
    with pytest.raises(VmfaError, match="deactivate it first"):
        registry.open_enrollment(who, by=me, label="again")
    assert enrolled.device.failures == 4

    bob = PrincipalId.user("123456789012", "u-0815")
    by_bob = Actor.signed_in(bob)
    for _ in range(10):
        opened = registry.open_enrollment(bob, by=by_bob, label="bob")
        guess = {"session": opened.session_id, "code1": "000000", "code2": "000000", "by": by_bob}
        for _ in range(10):
            with pytest.raises(PairRejected):
                registry.confirm_enrollment(bob, **guess)
        with pytest.raises(NoSession):
            registry.confirm_enrollment(bob, **guess)
    with pytest.raises(TooManySessions):
        registry.open_enrollment(bob, by=by_bob, label="bob")


def test_passlib_a_window_of_thousands_is_refused() -> None:
    """passlib and others accepted any window, so one request could exhaust the processor.

    Invariant: the bounds of the policy are validated, and so is the window of the stateless
    functions.
    """
    for name in ("window", "enroll_back", "enroll_forward", "resync_back", "resync_forward"):
        for value in (-1, 101, 10**9):
            with pytest.raises(InvalidValue):
                Policy().replace(**{name: value})
    with pytest.raises(InvalidValue):
        verify_totp(bytes(20), "123456", 0, after=-1, window=101)
    with pytest.raises(InvalidValue):
        verify_hotp(bytes(20), "123456", counter=0, look_ahead=101)


def test_pyjwt_options_a_misspelled_policy_is_refused() -> None:
    """PyJWT's options were a dictionary: a misspelled option was ignored, and so was the check it
    asked for.

    Invariant: the policy is frozen, typed and validated.
    """
    with pytest.raises(TypeError):
        Policy(windwo=1)  # type: ignore[call-arg]
    with pytest.raises(InvalidValue, match="windwo"):
        Policy().replace(windwo=1)
    with pytest.raises(AttributeError):
        Policy().window = 9  # type: ignore[misc]  # the test
    for value in ("1", 1.0, True, None):
        with pytest.raises(TypeError):
            Policy(window=value)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        DeviceRegistry(
            MemoryStore(), keys=DerivedKeys(bytes(32)), issuer="Example", policy={"window": 1}
        )  # type: ignore[arg-type]
    assert replace(Policy(), window=0).window == 0
