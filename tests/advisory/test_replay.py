"""Codes that were accepted twice, elsewhere. Here one entry point verifies and consumes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from support import MASTER, START, Enrolled, enroll
from vmfa import (
    Actor,
    AlreadyUsed,
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    Key,
    MemoryStore,
    PairRejected,
    Parameters,
    PrincipalId,
    Receipt,
    SQLiteStore,
    UnsafePlainKeys,
    VmfaError,
    totp,
    verify_totp,
)
from vmfa.testing import AuthenticatorApp, FrozenClock

TWIN_KEY = Key(b"twin codes, 20 bytes")
TWIN_STEP = 56_950_847  # the next step has the same code


def test_vault_cve_2025_6014_a_padded_code_is_the_same_code(enrolled: Enrolled) -> None:
    """Vault and OpenBao remembered the typed text, so a code padded with blanks could be replayed
    and was not counted by the rate limit.

    Invariant: text is normalized once, at the boundary; what is remembered is the matched step.
    """
    enrolled.sign_in()
    code = enrolled.phone.code()
    for spelling in (
        f" {code}",
        f"{code} ",
        f"\t{code}\n",
        f"{code[:3]} {code[3:]}",
        f"{code[:3]}-{code[3:]}",
    ):
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, spelling)
    wrong = enrolled.phone.wrong_code()
    for failures, spelling in enumerate((wrong, f" {wrong}", f"{wrong[:3]} {wrong[3:]}"), 1):
        with pytest.raises(CodeRejected):
            enrolled.registry.verify(enrolled.principal, spelling)
        assert enrolled.device.failures == failures  # padding does not pass the limit


def clocks_that_meet(clock: FrozenClock, count: int) -> Iterator[Callable[[], float]]:
    """Yield *count* clocks that return their second time once all of them have been asked.

    The constructor of a registry asks first, to check the clock. Then a registry asks after it has
    loaded the record, so all registries decide on one revision.
    """
    barrier = threading.Barrier(count)
    for _ in range(count):
        yield partial(_meet, clock, iter([None, barrier]))


def _meet(clock: FrozenClock, barriers: Iterator[threading.Barrier | None]) -> float:
    barrier = next(barriers, None)
    if barrier is not None:
        barrier.wait(60)
    return clock()


def present_together(
    registries: list[DeviceRegistry], who: PrincipalId, code: str
) -> list[type[object]]:
    start, outcomes = threading.Barrier(len(registries)), []

    def present(registry: DeviceRegistry) -> None:
        start.wait()
        try:
            outcomes.append(type(registry.verify(who, code)))
        except VmfaError as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=present, args=(registry,)) for registry in registries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_gitea_cve_2026_20779_every_login_path_consumes_the_code(
    enrolled: Enrolled, store: MemoryStore
) -> None:
    """Gitea read, checked and wrote in three steps, and its second login path never recorded the
    use.

    Invariant: one entry point verifies and consumes, by compare-and-set, however many services
    share a store.
    """
    web, git = (
        enrolled.registry,
        DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Git", clock=enrolled.clock),
    )
    enrolled.clock.advance(30)
    code = enrolled.phone.code()
    assert git.verify(enrolled.principal, code)
    with pytest.raises(AlreadyUsed):
        web.verify(enrolled.principal, code)
    enrolled.clock.advance(30)
    outcomes = present_together([web, git] * 6, enrolled.principal, enrolled.phone.code())
    assert outcomes.count(Receipt) == 1
    assert set(outcomes) <= {Receipt, AlreadyUsed}


def test_vikunja_cve_2026_33473_a_code_is_accepted_once(enrolled: Enrolled) -> None:
    """Vikunja, Liferay, keycloak and zitadel kept no replay state, so an overheard code could be
    used again.

    Invariant: every device has a ``last_step``, and ``verify_totp`` cannot be called without it.
    """
    enrolled.sign_in()
    for seconds in (0, 1, 29, 30, 59):
        enrolled.clock.set(START + 30 + seconds)
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, totp(enrolled.phone.key, START + 30))
    with pytest.raises(TypeError, match="after"):
        verify_totp(enrolled.phone.key, "123456", START)  # type: ignore[call-arg]


def test_logto_9109_the_slower_writer_cannot_lower_the_step(
    enrolled: Enrolled, store: MemoryStore
) -> None:
    """In logto the slower request stored its lower step last, so the code in between was accepted
    again.

    Invariant: ``last_step`` is monotone, because a commit on an outdated record writes nothing.
    """
    operations = enrolled.registry.operations
    enrolled.clock.advance(60)
    before = store.load(enrolled.principal)
    slower = operations.verify(enrolled.principal, enrolled.phone.code(-1)).decide(
        before, enrolled.clock()
    )
    faster = operations.verify(enrolled.principal, enrolled.phone.code()).decide(
        before, enrolled.clock()
    )
    assert store.commit(before, faster.principal, faster.stored)
    assert not store.commit(before, slower.principal, slower.stored)
    for code in (enrolled.phone.code(-1), enrolled.phone.code()):
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, code)


def test_multiotp_261_drift_and_position_are_counted_in_steps(enrolled: Enrolled) -> None:
    """multiOTP added a drift in seconds to a position in steps and accepted spent codes.

    Invariant: drift, window and position are whole steps.
    """
    fast = AuthenticatorApp(enrolled.clock, skew=5 * 30).add(enrolled.phone.key)
    enrolled.clock.advance(60)
    report = enrolled.registry.resync(enrolled.principal, by=enrolled.actor, **fast.pair())
    assert (report.steps_off, report.device.drift) == (5, 5)
    assert report.device.last_step == Parameters().step_at(int(enrolled.clock())) + 5
    for _ in range(3):
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, fast.code())
        enrolled.clock.advance(30)
        receipt = enrolled.registry.verify(enrolled.principal, fast.code())
        assert receipt.drift == 5


def test_devise_two_factor_106_a_spent_code_stays_spent_in_the_whole_window(
    enrolled: Enrolled,
) -> None:
    """devise-two-factor compared with the step of the current time: one step later a spent code
    was valid again.

    Invariant: no step up to the last accepted one counts, wherever it is in the window.
    """
    enrolled.sign_in()
    at = enrolled.clock()
    for now, shown in ((at, at), (at, at - 30), (at + 30, at), (at + 59, at)):
        enrolled.clock.set(now)
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, totp(enrolled.phone.key, shown))


def test_allauth_replay_state_does_not_expire(enrolled: Enrolled) -> None:
    """allauth remembered a code for one period and tolerated it for three: it passed at +0, +32
    and +63 s. Activation did not spend its code.

    Invariant: replay state is a position, not a cache; enrollment spends both codes.
    """
    spent = enrolled.phone.code()  # it confirmed the enrollment
    for seconds in (0, 32, 59):
        enrolled.clock.set(START + seconds)
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, spent)
    enrolled.clock.set(START + 30)
    code = enrolled.phone.code()
    assert enrolled.registry.verify(enrolled.principal, code)
    for seconds in (0, 32, 59):
        enrolled.clock.set(START + 30 + seconds)
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, code)


def test_django_otp_two_loaded_copies_accept_once(enrolled: Enrolled, store: MemoryStore) -> None:
    """django-otp's ``verify_token`` accepted on two copies of one row: it checked and saved in
    separate steps.

    Invariant: of two decisions on one revision, one can be committed.
    """
    enrolled.clock.advance(30)
    operation = enrolled.registry.operations.verify(enrolled.principal, enrolled.phone.code())
    copies = [store.load(enrolled.principal) for _ in range(2)]
    decisions = [operation.decide(copy, enrolled.clock()) for copy in copies]
    assert all(isinstance(decision.answer, Receipt) for decision in decisions)
    committed = [
        store.commit(copy, decision.principal, decision.stored)
        for copy, decision in zip(copies, decisions, strict=True)
    ]
    assert committed == [True, False]


def test_privacyidea_ghsa_qq2p_without_row_locks_one_of_many_is_accepted(
    keys: DerivedKeys, clock: FrozenClock, alice: PrincipalId, tmp_path: Path
) -> None:
    """privacyIDEA (and its fork) relied on row locks that its database did not take.

    Invariant: the statement itself compares; here several connections use one file, without a lock
    of the library between them.
    """
    stores = [SQLiteStore(tmp_path / "mfa.db") for _ in range(6)]
    phone = enroll(
        DeviceRegistry(stores[0], keys=keys, issuer="Example", clock=clock), clock, alice
    ).phone
    clock.advance(30)
    clocks = clocks_that_meet(clock, len(stores))
    registries = [
        DeviceRegistry(store, keys=keys, issuer="Example", clock=next(clocks)) for store in stores
    ]
    outcomes = present_together(registries, alice, phone.code())
    for store in stores:
        store.close()
    assert outcomes.count(Receipt) == 1
    assert set(outcomes) <= {Receipt, AlreadyUsed}


def test_privacyidea_resync_both_codes_are_after_the_last_step(enrolled: Enrolled) -> None:
    """privacyIDEA stored the step after the pair, which burned a good code, and accepted a spent
    code as the first of the pair.

    Invariant: both codes of a pair are later than ``last_step``, which becomes the step of the
    second.
    """
    registry, phone = enrolled.registry, enrolled.phone
    enrolled.sign_in()
    with pytest.raises(PairRejected):
        registry.resync(
            enrolled.principal, by=enrolled.actor, **phone.pair(1)
        )  # its first code is spent
    enrolled.clock.advance(60)
    report = registry.resync(enrolled.principal, by=enrolled.actor, **phone.pair())
    assert report.device.last_step == Parameters().step_at(int(enrolled.clock()))
    assert registry.verify(enrolled.principal, phone.code(1))  # the next code is good


def test_google_authenticator_libpam_resync_spends_both_codes(enrolled: Enrolled) -> None:
    """The PAM module's skew reset took three codes, accepted the third, and did not mark it used.

    Invariant: a resynchronization spends both codes.
    """
    enrolled.clock.advance(60)
    pair = enrolled.phone.pair()
    enrolled.registry.resync(enrolled.principal, by=enrolled.actor, **pair)
    for code in pair.values():
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, code)


def test_weblate_21485_enrollment_codes_are_refused_at_login(enrolled: Enrolled) -> None:
    """In weblate the code that enrolled a device was also accepted at login.

    Invariant: enrollment spends both codes.
    """
    for code in enrolled.phone.pair().values():
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, code)


def test_first_match_in_the_window_steps_that_share_a_code_are_spent_together(
    store: MemoryStore, keys: DerivedKeys, clock: FrozenClock, alice: PrincipalId
) -> None:
    """About once in a million two neighboring steps share a code. A verifier that spends the first
    match accepts that code twice.

    Invariant: the highest fresh match is spent.
    """
    registry = DeviceRegistry(
        store, keys=keys, imported_keys=UnsafePlainKeys(), issuer="Example", clock=clock
    )
    clock.set(TWIN_STEP * 30)
    code = totp(TWIN_KEY, TWIN_STEP * 30)
    assert code == totp(TWIN_KEY, (TWIN_STEP + 1) * 30)
    registry.adopt(
        alice,
        by=Actor.trusted_service("importer"),
        key=TWIN_KEY,
        system="twins",
        last_step=TWIN_STEP - 1,
    )
    assert registry.verify(alice, code).step == TWIN_STEP + 1
    assert verify_totp(TWIN_KEY, code, clock(), after=TWIN_STEP - 1) == TWIN_STEP + 1
    for _ in range(3):
        with pytest.raises(AlreadyUsed):
            registry.verify(alice, code)
        with pytest.raises(AlreadyUsed):
            verify_totp(TWIN_KEY, code, clock(), after=TWIN_STEP + 1)
        clock.advance(30)
