"""Codes that counted twice, elsewhere. Here one entry point verifies and consumes, on one monotone position."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from support import MASTER, START, Enrolled, HandClock, enroll
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
TWIN_STEP = 56_950_847  # its code is that of the next step too


def test_vault_cve_2025_6014_a_padded_code_is_the_same_code(enrolled: Enrolled) -> None:
    """Vault and OpenBao remembered the text that was typed, so a blank more made a spent code new, and uncounted.

    Invariant: text is normalised once, at the boundary; what is remembered is the step it matches.
    """
    enrolled.sign_in()
    code = enrolled.phone.code()
    for spelling in (f" {code}", f"{code} ", f"\t{code}\n", f"{code[:3]} {code[3:]}", f"{code[:3]}-{code[3:]}"):
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, spelling)
    wrong = enrolled.phone.wrong_code()
    for failures, spelling in enumerate((wrong, f" {wrong}", f"{wrong[:3]} {wrong[3:]}"), 1):
        with pytest.raises(CodeRejected):
            enrolled.registry.verify(enrolled.principal, spelling)
        assert enrolled.device.failures == failures  # padding passes no limit either


def meeting(clock: HandClock, count: int) -> Iterator[Callable[[], float]]:
    """A clock for each of *count* registries, which tells the first time when all of them have loaded the record."""
    met = threading.Barrier(count)
    for _ in range(count):
        yield partial(_meet, clock, iter([met]))


def _meet(clock: HandClock, ahead: Iterator[threading.Barrier]) -> float:
    for barrier in ahead:
        barrier.wait(60)
    return clock()


def present_together(registries: list[DeviceRegistry], who: PrincipalId, code: str) -> list[type[object]]:
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


def test_gitea_cve_2026_20779_every_way_in_consumes_the_code(enrolled: Enrolled, store: MemoryStore) -> None:
    """Gitea read, checked and wrote in three steps, and its second way of signing in wrote nothing at all.

    Invariant: one entry point verifies and consumes, by compare-and-set, for however many services there are.
    """
    web, git = enrolled.registry, DeviceRegistry(
        store, keys=DerivedKeys(MASTER), issuer="Git", clock=enrolled.clock
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
    """Vikunja, Liferay, keycloak and zitadel kept no memory of codes: whoever overheard one could use it again.

    Invariant: ``last_step`` is part of every device and no option; ``verify_totp`` cannot be called without it.
    """
    enrolled.sign_in()
    for seconds in (0, 1, 29, 30, 59):
        enrolled.clock.now = START + 30 + seconds
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, totp(enrolled.phone.key, START + 30))
    with pytest.raises(TypeError, match="after"):
        verify_totp(enrolled.phone.key, "123456", START)  # type: ignore[call-arg]  # what is tested


def test_logto_9109_the_slower_writer_cannot_lower_the_step(enrolled: Enrolled, store: MemoryStore) -> None:
    """In logto the request that took longer stored its lower step last, and the code between counted again.

    Invariant: the position is monotone, because a commit on an outdated record writes nothing.
    """
    operations = enrolled.registry.operations
    enrolled.clock.advance(60)
    before = store.load(enrolled.principal)
    slower = operations.verify(enrolled.principal, enrolled.phone.code(-1)).decide(before, enrolled.clock())
    faster = operations.verify(enrolled.principal, enrolled.phone.code()).decide(before, enrolled.clock())
    assert store.commit(before, faster.principal, faster.stored)
    assert not store.commit(before, slower.principal, slower.stored)
    for code in (enrolled.phone.code(-1), enrolled.phone.code()):
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, code)


def test_multiotp_261_drift_and_position_have_one_unit(enrolled: Enrolled) -> None:
    """multiOTP kept the drift in seconds and the position in steps, added them up, and let spent codes pass.

    Invariant: drift, window and position are whole steps.
    """
    fast_clock = FrozenClock(enrolled.clock.now + 5 * 30)
    fast = AuthenticatorApp(fast_clock).add(enrolled.phone.key)
    enrolled.clock.advance(60)
    fast_clock.advance(60)
    report = enrolled.registry.resync(enrolled.principal, by=enrolled.actor, **fast.pair())
    assert (report.steps_off, report.device.drift) == (5, 5)
    assert report.device.last_step == Parameters().step_at(int(fast_clock()))
    for _ in range(3):
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, fast.code())
        enrolled.clock.advance(30)
        fast_clock.advance(30)
        receipt = enrolled.registry.verify(enrolled.principal, fast.code())
        assert receipt.drift == 5


def test_devise_two_factor_106_what_is_spent_stays_spent_in_the_whole_window(enrolled: Enrolled) -> None:
    """devise-two-factor compared with the step of *now*: a code one step old was new again a step later.

    Invariant: nothing at or below the last accepted step counts, wherever it lies in the window.
    """
    enrolled.sign_in()
    at = enrolled.clock.now
    for now, shown in ((at, at), (at, at - 30), (at + 30, at), (at + 59, at)):  # shown within one step of now
        enrolled.clock.now = now
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, totp(enrolled.phone.key, shown))


def test_allauth_the_memory_has_no_time_to_live(enrolled: Enrolled) -> None:
    """allauth remembered a code for one period and tolerated it for three: it passed at +0, +32 and +63 s.

    Invariant: a position, no cache; and the codes that enrolled are spent too.
    """
    spent = enrolled.phone.code()  # it confirmed the enrollment
    for seconds in (0, 32, 59):
        enrolled.clock.now = START + seconds
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, spent)
    enrolled.clock.now = START + 30
    code = enrolled.phone.code()
    assert enrolled.registry.verify(enrolled.principal, code)
    for seconds in (0, 32, 59):
        enrolled.clock.now = START + 30 + seconds
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, code)


def test_django_otp_of_two_loaded_copies_one_accepts(enrolled: Enrolled, store: MemoryStore) -> None:
    """django-otp's ``verify_token`` on two copies of one row accepted twice: check and save lay apart.

    Invariant: compare-and-set on the revision; of two decisions on one record one is committed.
    """
    enrolled.clock.advance(30)
    operation = enrolled.registry.operations.verify(enrolled.principal, enrolled.phone.code())
    copies = [store.load(enrolled.principal) for _ in range(2)]
    made = [operation.decide(copy, enrolled.clock()) for copy in copies]
    assert all(isinstance(decision.answer, Receipt) for decision in made)  # decided, and told to nobody yet
    committed = [
        store.commit(copy, decision.principal, decision.stored)
        for copy, decision in zip(copies, made, strict=True)
    ]
    assert committed == [True, False]


def test_privacyidea_ghsa_qq2p_without_row_locks_one_of_many_is_accepted(
    keys: DerivedKeys, clock: HandClock, alice: PrincipalId, tmp_path: Path
) -> None:
    """privacyIDEA (and its fork) counted on row locks that its database did not take.

    Invariant: the statement itself compares; several connections to a real file, no lock of ours between them.
    """
    stores = [SQLiteStore(tmp_path / "mfa.db") for _ in range(6)]
    phone = enroll(DeviceRegistry(stores[0], keys=keys, issuer="Example", clock=clock), clock, alice).phone
    clock.advance(30)
    clocks = meeting(clock, len(stores))
    registries = [DeviceRegistry(store, keys=keys, issuer="Example", clock=next(clocks)) for store in stores]
    outcomes = present_together(registries, alice, phone.code())
    for store in stores:
        store.close()
    assert outcomes.count(Receipt) == 1
    assert set(outcomes) <= {Receipt, AlreadyUsed}


def test_privacyidea_resync_a_pair_lies_wholly_after_the_last_step(enrolled: Enrolled) -> None:
    """privacyIDEA stored the step after the pair, which burned a good code, and took a spent code as the first.

    Invariant: both codes of a pair are later than ``last_step``, which becomes the second one's step.
    """
    registry, phone = enrolled.registry, enrolled.phone
    enrolled.sign_in()
    with pytest.raises(PairRejected):
        registry.resync(enrolled.principal, by=enrolled.actor, **phone.pair(1))  # its first code is spent
    enrolled.clock.advance(60)
    report = registry.resync(enrolled.principal, by=enrolled.actor, **phone.pair())
    assert report.device.last_step == Parameters().step_at(int(enrolled.clock()))
    assert registry.verify(enrolled.principal, phone.code(1))  # the very next one is good


def test_google_authenticator_libpam_resync_spends_every_code_it_saw(enrolled: Enrolled) -> None:
    """The PAM module's skew reset took three codes, accepted the third, and left it usable.

    Invariant: a resynchronisation spends both codes.
    """
    enrolled.clock.advance(60)
    pair = enrolled.phone.pair()
    enrolled.registry.resync(enrolled.principal, by=enrolled.actor, **pair)
    for code in pair.values():
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, code)


def test_weblate_21485_a_code_that_enrolled_signs_nobody_in(enrolled: Enrolled) -> None:
    """In weblate the code that set a device up was good for signing in as well.

    Invariant: enrolling spends both codes.
    """
    for code in enrolled.phone.pair().values():
        with pytest.raises(AlreadyUsed):
            enrolled.registry.verify(enrolled.principal, code)


def test_first_match_in_the_window_two_steps_that_share_a_code_are_spent_together(
    store: MemoryStore, keys: DerivedKeys, clock: HandClock, alice: PrincipalId
) -> None:
    """Who spends the first match leaves the second: about once in a million, one code is right at both steps.

    Invariant: the highest fresh match is spent.
    """
    registry = DeviceRegistry(
        store, keys=keys, imported_keys=UnsafePlainKeys(), issuer="Example", clock=clock
    )
    clock.now = TWIN_STEP * 30
    code = totp(TWIN_KEY, TWIN_STEP * 30)
    assert code == totp(TWIN_KEY, (TWIN_STEP + 1) * 30)
    registry.adopt(alice, by=Actor.trusted_service("importer"), key=TWIN_KEY, source="twins", last_step=TWIN_STEP - 1)
    assert registry.verify(alice, code).step == TWIN_STEP + 1
    assert verify_totp(TWIN_KEY, code, clock(), after=TWIN_STEP - 1) == TWIN_STEP + 1
    for _ in range(3):
        with pytest.raises(AlreadyUsed):
            registry.verify(alice, code)
        with pytest.raises(AlreadyUsed):
            verify_totp(TWIN_KEY, code, clock(), after=TWIN_STEP + 1)
        clock.advance(30)
