"""Guesses that were not counted, not limited, or limited the wrong people, elsewhere."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import pytest

from support import Enrolled, HandClock, Phone, enroll
from vmfa import (
    AccessDenied,
    Actor,
    CodeRejected,
    DerivedKeys,
    DeviceDisabled,
    DeviceRegistry,
    InvalidValue,
    Key,
    MemoryStore,
    NoSession,
    PairRejected,
    Policy,
    PrincipalId,
    Receipt,
    StoreUnavailable,
    Throttled,
    TooManySessions,
    VmfaError,
    verify_hotp,
    verify_totp,
)

DAY = 86400


class DiskFull(MemoryStore):
    """A store that reads and does not write."""

    full = False

    def commit(self, before, after, events):  # type: ignore[no-untyped-def]  # as in MemoryStore
        if self.full:
            raise StoreUnavailable("the disk is full")
        return super().commit(before, after, events)


def fail(alice: Enrolled) -> VmfaError:
    """One wrong code, as soon as it is evaluated."""
    while True:
        try:
            alice.registry.verify(alice.principal, alice.phone.wrong_code())
        except Throttled as wait:
            alice.clock.advance(wait.retry_after or 0)
        except CodeRejected as error:
            return error


def test_vikunja_cve_2026_35597_the_failure_is_committed_before_it_is_told(
    enrolled: Enrolled, store: MemoryStore
) -> None:
    """Vikunja wrote the lock-out in the transaction of the log-in, which the failed log-in rolled back.

    Invariant: a refusal is raised after the commit of its failure.
    """
    seen = []
    registry = DeviceRegistry(
        store, keys=enrolled.registry.operations.keys, issuer="Example", clock=enrolled.clock,  # type: ignore[arg-type]
        observer=lambda event: seen.append((event.type.value, store.load(enrolled.principal).device.failures)),  # type: ignore[union-attr]
    )
    for failures in (1, 2, 3):
        with pytest.raises(CodeRejected):
            registry.verify(enrolled.principal, enrolled.phone.wrong_code())
        assert seen[-1] == ("code rejected", failures)
    with pytest.raises(Throttled):
        registry.verify(enrolled.principal, enrolled.phone.code(1))


def test_right_guess_told_by_the_commits_failure_right_and_wrong_fail_alike(
    keys: DerivedKeys, clock: HandClock, alice: PrincipalId
) -> None:
    """A reviewed design: on a full disk the wrong code that could not be counted was answered in other words.

    Invariant: no verdict leaves without its commit.
    """
    store = DiskFull()
    told = []
    registry = DeviceRegistry(
        store, keys=keys, issuer="Example", clock=clock, observer=lambda event: told.append(event.type)
    )
    enrolled = enroll(registry, clock, alice)
    clock.advance(30)
    told.clear()
    store.full = True
    errors = set()
    for code in (enrolled.phone.code(), enrolled.phone.wrong_code(), enrolled.phone.code(5)):
        with pytest.raises(StoreUnavailable) as caught:
            registry.verify(alice, code)
        errors.add((caught.type, str(caught.value), repr(vars(caught.value))))
    assert len(errors) == 1
    assert told == []
    store.full = False
    assert registry.verify(alice, enrolled.phone.code()).failures_cleared == 0


def test_django_otp_backoff_is_capped_and_never_overflows(enrolled: Enrolled) -> None:
    """django-otp computed 2**n as a float of seconds: at failure 45 its timedelta overflowed, a server error.

    Invariant: a capped delay, whatever the count.
    """
    policy = Policy()
    assert [policy.delay(n) for n in (0, 2, 3, 4, 10, 11, 12)] == [0, 0, 15, 30, 1920, 3600, 3600]
    assert {policy.delay(n) for n in (45, 100, 10_000, 10**9)} == {3600}
    for _ in range(60):
        assert isinstance(fail(enrolled), CodeRejected)
    assert enrolled.device.failures == 60


def test_django_otp_110_only_the_addressed_device_changes(
    registry: DeviceRegistry, store: MemoryStore, clock: HandClock, enrolled: Enrolled
) -> None:
    """django-otp tried a code on every device of the user: each good log-in was a failure of all the others.

    Invariant: an attempt changes the addressed principal's device and no other record.
    """
    bob = enroll(registry, clock, PrincipalId.user("123456789012", "u-0815"))
    root = enroll(registry, clock, PrincipalId.root("123456789012"))
    others = [store.load(other.principal) for other in (bob, root)]
    enrolled.sign_in()
    fail(enrolled)
    assert [store.load(other.principal) for other in (bob, root)] == others


def test_privacyidea_2243_a_limit_holds_however_many_guess_at_once(enrolled: Enrolled) -> None:
    """privacyIDEA, nextcloud and hanko counted beside the attempt: parallel requests passed the limit.

    Invariant: one row a principal, changed by compare-and-set: no more verdicts leave than the throttle allows.
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


def test_privacyidea_2243_one_device_however_many_enroll_at_once(
    registry: DeviceRegistry, clock: HandClock, owner: Actor, alice: PrincipalId
) -> None:
    """Where two wizards could end at the same moment, a user had two devices.

    Invariant: of two that confirm, one does (SEED-ONE).
    """
    opened = registry.open_enrollment(alice, by=owner, label="alice")
    pair = Phone(Key.from_base32(opened.base32), clock).pair()
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def confirm() -> None:
        start.wait()
        try:
            outcomes.append(
                type(registry.confirm_enrollment(alice, session=opened.session_id, by=owner, **pair)).__name__
            )
        except VmfaError as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=confirm) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(outcomes) == {"SyncReport": 1, "NoSession": 7}


def test_keycloak_46164_patience_does_not_buy_guesses_for_ever(enrolled: Enrolled) -> None:
    """keycloak and django-otp lock for a while and then start over: months of guessing at a steady pace.

    Invariant: a budget for the device's life, refilled by time alone, that a success does not refill.
    """
    guesses = 0
    for _ in range(200):  # the owner signs in daily and the guesser stays below every delay
        for _ in range(2):
            if isinstance(fail(enrolled), DeviceDisabled):
                break
            guesses += 1
        if enrolled.device.disabled:
            break
        enrolled.clock.advance(DAY)
        before = enrolled.device.budget
        assert isinstance(enrolled.sign_in(), Receipt)
        assert enrolled.device.budget == before
    assert enrolled.device.disabled
    assert guesses < 150
    with pytest.raises(DeviceDisabled):
        enrolled.sign_in()
    with pytest.raises(DeviceDisabled):
        enrolled.registry.resync(enrolled.principal, by=enrolled.actor, **enrolled.phone.pair(1))


def test_wide_resync_window_is_no_oracle(enrolled: Enrolled) -> None:
    """One code compared with 2001 positions is right once in 500 guesses, and some answered after the first code.

    Invariant: only pairs; a failed pair counts like a failed code; a right first code is told by nothing.
    """
    registry, phone = enrolled.registry, enrolled.phone
    enrolled.clock.advance(300)
    wrong = phone.wrong_code()
    told = set()
    for failures, pair in enumerate(((phone.code(), wrong), (wrong, phone.code()), (wrong, wrong)), 1):
        with pytest.raises(PairRejected) as caught:
            registry.resync(enrolled.principal, by=enrolled.actor, code1=pair[0], code2=pair[1])
        told.add((str(caught.value), caught.value.claimant_message, caught.value.remedy))
        assert enrolled.device.failures == failures
    assert len(told) == 1
    with pytest.raises(Throttled):  # the same counter and the same delay as for codes
        registry.verify(enrolled.principal, phone.code())


def test_throttle_is_not_reset_by_enrolling_again(enrolled: Enrolled) -> None:
    """Where a password alone enrolled anew, or sessions came without end, the failures began at 0 each time.

    Invariant: removal needs MFA or another actor; attempts a session and sessions a day are capped.
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
    himself = Actor.signed_in(bob)
    for _ in range(10):
        opened = registry.open_enrollment(bob, by=himself, label="bob")
        guess = {"session": opened.session_id, "code1": "000000", "code2": "000000", "by": himself}
        for _ in range(10):
            with pytest.raises(PairRejected):
                registry.confirm_enrollment(bob, **guess)
        with pytest.raises(NoSession):
            registry.confirm_enrollment(bob, **guess)
    with pytest.raises(TooManySessions):
        registry.open_enrollment(bob, by=himself, label="bob")


def test_passlib_a_window_of_thousands_is_refused() -> None:
    """passlib and others took any window: one request kept a processor busy for minutes.

    Invariant: the bounds of the policy are validated, and so is the window of the bare function.
    """
    for name in ("window", "enroll_back", "enroll_forward", "resync_back", "resync_forward"):
        for value in (-1, 101, 10**9):
            with pytest.raises(InvalidValue):
                Policy().replace(**{name: value})
    with pytest.raises(InvalidValue):
        verify_totp(bytes(20), "123456", 0, after=-1, window=101)
    with pytest.raises(InvalidValue):
        verify_hotp(bytes(20), "123456", counter=0, look_ahead=101)


def test_pyjwt_options_a_misspelt_policy_is_refused() -> None:
    """PyJWT's options were a dictionary: a misspelt or misplaced one was ignored, and with it the check it asked for.

    Invariant: a frozen, typed, validated policy.
    """
    with pytest.raises(TypeError):
        Policy(windwo=1)  # type: ignore[call-arg]  # what is tested
    with pytest.raises(InvalidValue, match="windwo"):
        Policy().replace(windwo=1)
    with pytest.raises(AttributeError):
        Policy().window = 9  # type: ignore[misc]  # what is tested
    for value in ("1", 1.0, True, None):
        with pytest.raises(TypeError):
            Policy(window=value)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(TypeError):
        DeviceRegistry(MemoryStore(), keys=DerivedKeys(bytes(32)), issuer="Example", policy={"window": 1})  # type: ignore[arg-type]
    assert replace(Policy(), window=0).window == 0
