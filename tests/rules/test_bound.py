"""SEED-BOUND: a key belongs to one principal, and a record that was moved or edited verifies nowhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from support import MASTER
from vmfa import (
    Actor,
    CodeRejected,
    DerivedKeys,
    KeyRef,
    MfaClaim,
    NoSession,
    Operations,
    Parameters,
    Principal,
    PrincipalId,
    RecordTampered,
    Sync,
    UnknownMasterKey,
    UnsafePlainKeys,
    VmfaError,
)
from vmfa.record import authenticated

from .world import ALICE, BOSS, RFC_KEY, ROOT, SERVICE, STEP, SUPPORT, World, refusal

ME = Actor.signed_in(ALICE)
OTHERS = [BOSS, PrincipalId.user("999999999999", ALICE.name), ROOT]


def overwrite(world: World, row: Principal) -> None:
    """Put *row* where *row*'s principal is kept, as somebody with access to the database can."""
    world.store._records[row.id] = row


EDITS: dict[str, Callable[[Principal], Principal]] = {
    "serial": lambda p: replace(p, device=replace(p.device, serial="0" * 32)),
    "t0": lambda p: replace(p, device=replace(p.device, parameters=Parameters(t0=30))),
    "period": lambda p: replace(p, device=replace(p.device, parameters=Parameters(period=3000))),
    "digits": lambda p: replace(p, device=replace(p.device, parameters=Parameters(digits=8))),
    "last_step": lambda p: replace(p, device=replace(p.device, last_step=0)),
    "failures": lambda p: replace(p, device=replace(p.device, failures=0)),
    "budget": lambda p: replace(p, device=replace(p.device, budget=10_000)),
    "disabled": lambda p: replace(p, device=replace(p.device, disabled=False)),
    "sync": lambda p: replace(p, device=replace(p.device, sync=Sync.IN_SYNC)),
    "drift": lambda p: replace(p, device=replace(p.device, drift=5)),
    "seen_at": lambda p: replace(p, seen_at=0),
    "device removed": lambda p: replace(p, device=None, key_ref=None),
    "key": lambda p: replace(p, key_ref=replace(p.key_ref, material=bytes(16))),
    "enrollment_times": lambda p: replace(p, enrollment_times=()),
    "recovered_at": lambda p: replace(p, recovered_at=0),
    "head": lambda p: replace(p, head=""),
    "events": lambda p: replace(p, events=0),
}


def reencoded(world: World, edit: Callable[[Principal], Principal], who: PrincipalId = ALICE) -> Principal:
    """The edited row, its document rewritten to match, under the old tag: all but the master key is known."""
    before = world.state(who)
    forged = authenticated(edit(before), Operations(UnsafePlainKeys(), issuer="Mallory").keys)
    return replace(forged, envelope=replace(forged.envelope, tag=before.envelope.tag))


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_row_is_tampered(edit: str) -> None:
    """RULE-RECORD: whatever was edited: nothing is accepted, counted or written; the way in is not opened."""
    world = World()
    phone = world.enroll()
    world.put(device={"failures": 1, "disabled": edit == "disabled",
                      "sync": Sync.OUT_OF_SYNC if edit == "sync" else Sync.IN_SYNC})
    overwrite(world, reencoded(world, EDITS[edit]))
    world.clock.advance(STEP)
    code = phone.code() if edit != "digits" else "12345678"
    pair = phone.pair() if edit != "digits" else {"code1": code, "code2": code}
    with world.nothing_written():
        for act in (
            lambda: world.verify(code),
            lambda: world.resync(pair),
            world.open,
            lambda: world.registry.device(ALICE, by=ME),
            lambda: world.registry.history(ALICE, by=SERVICE),
            lambda: world.registry.deactivate(ALICE, by=SUPPORT),
            lambda: world.registry.reanchor(ALICE, by=SERVICE),
            lambda: world.registry.requires_code(ALICE),
        ):
            error = refusal(act)
            assert (type(error), error.reason) == (RecordTampered, "record tampered")


def test_an_older_revision_number_is_tampered() -> None:
    """RULE-RECORD: the revision is authenticated with the rest."""
    world = World()
    phone = world.enroll()
    overwrite(world, replace(world.state(), revision=1))
    assert type(refusal(lambda: world.verify(phone.code(1)))) is RecordTampered


def test_a_record_without_seal_is_tampered() -> None:
    """RULE-RECORD: only the record of nobody has no seal."""
    world = World()
    phone = world.enroll()
    overwrite(world, replace(world.state(), envelope=None))
    assert type(refusal(lambda: world.verify(phone.code(1)))) is RecordTampered


@pytest.mark.parametrize("other", OTHERS)
def test_a_row_moved_to_another_principal_is_tampered(other: PrincipalId) -> None:
    """SEED-BOUND: to a neighbour, to the same name in another account, to root."""
    world = World()
    phone = world.enroll()
    overwrite(world, replace(world.state(), id=other))
    world.clock.advance(STEP)
    assert type(refusal(lambda: world.verify(phone.code(), other))) is RecordTampered


@pytest.mark.parametrize("other", OTHERS)
def test_a_device_moved_in_full_derives_another_key(other: PrincipalId) -> None:
    """SEED-BOUND: even sealed anew for the other principal, the reference is no longer this phone's key."""
    world = World()
    phone = world.enroll()
    overwrite(world, authenticated(replace(world.state(), id=other), world.operations.keys))
    world.clock.advance(STEP)
    assert type(refusal(lambda: world.verify(phone.code(), other))) is CodeRejected
    assert world.verify(phone.code())


@pytest.mark.parametrize(
    "parameters", [Parameters(t0=-30), Parameters(period=29), Parameters(algorithm="sha256"), Parameters(digits=7)],
)
def test_parameters_are_part_of_the_key(parameters: Parameters) -> None:
    """RULE-KEY-BOUND: with other parameters, though sealed, the key is another: no code of the phone's verifies."""
    world = World()
    phone = world.enroll()
    world.put(device={"parameters": parameters, "last_step": -1})
    phone = phone.app.add(phone.key, parameters)
    world.clock.advance(STEP)
    assert type(refusal(lambda: world.verify(phone.code()))) is CodeRejected


def test_a_foreign_session_does_not_exist() -> None:
    """SEED-BOUND: a session id works for the principal for whom it was opened, and for nobody else."""
    world = World()
    mine, other = world.open(), world.open(BOSS)
    with world.nothing_written(), world.nothing_written(BOSS):
        error = refusal(lambda: world.confirm(mine, world.phone(mine).pair(), BOSS))
        assert (type(error), error.reason) == (NoSession, "no session")
        assert type(refusal(lambda: world.confirm(other, world.phone(other).pair()))) is NoSession
        unknown = PrincipalId.user("1", "unknown")
        assert type(refusal(lambda: world.confirm(mine, world.phone(mine).pair(), unknown))) is NoSession
        cancel = world.registry.cancel_enrollment
        assert type(refusal(lambda: cancel(BOSS, session=mine.session_id, by=Actor.signed_in(BOSS)))) is NoSession


def test_an_edited_session_is_tampered() -> None:
    """SEED-BOUND: confirming, cancelling, opening again: an edited enrollment serves nothing."""
    world = World()
    opened = world.open()
    longer = reencoded(world, lambda p: replace(p, enrollment=replace(p.enrollment, expires_at=1 << 40)))
    overwrite(world, longer)
    pair = world.phone(opened).pair()
    importing = World(imported_keys=UnsafePlainKeys(), store=world.store)
    with world.nothing_written():
        for act in (
            lambda: world.confirm(opened, pair),
            lambda: world.registry.cancel_enrollment(ALICE, by=ME),
            world.open,
            lambda: importing.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, source="import"),
        ):
            assert type(refusal(act)) is RecordTampered


def test_a_tampered_actor_is_nobodys_administrator() -> None:
    """SEED-BOUND: the record that a claim is held against is authenticated as well."""
    world = World()
    world.enroll()
    world.enroll(BOSS)
    serial = world.device(BOSS).serial
    world.registry.deactivate(BOSS, by=SUPPORT)
    world.enroll(BOSS)
    overwrite(world, reencoded(world, lambda p: replace(p, device=replace(p.device, serial=serial)), BOSS))
    actor = Actor.admin(BOSS, mfa=MfaClaim(at=int(world.clock()), serial=serial))
    with world.nothing_written():
        assert type(refusal(lambda: world.registry.deactivate(ALICE, by=actor))) is RecordTampered


# The master key


@pytest.mark.parametrize("keys", [DerivedKeys(b"x" * 32), UnsafePlainKeys()])
def test_the_wrong_master_key_is_named_and_not_counted(keys: Any) -> None:
    """KEYS: other bytes are an unknown master key, never a wrong code; before throttle and state."""
    world = World()
    phone = world.enroll()
    other = World(keys=keys, store=world.store, now=world.clock() + STEP)
    with world.nothing_written():
        for act in (lambda: other.verify(phone.code(1)), lambda: other.verify(phone.wrong_code()), other.open):
            error = refusal(act)
            assert (type(error), error.reason) == (UnknownMasterKey, "unknown master key")


def test_a_retired_master_key_still_reads() -> None:
    """KEYS: what was made under a retired key verifies, and is sealed anew under the current one."""
    world = World()
    phone = world.enroll()
    new = b"y" * 32
    rotated = World(keys=DerivedKeys(new, MASTER), store=world.store)
    rotated.clock.advance(STEP)
    assert rotated.verify(phone.code(1))
    assert world.state().envelope.tag.startswith(DerivedKeys(new).current_id)
    without = World(keys=DerivedKeys(new), store=world.store)  # the old one was taken away too early
    without.clock.advance(2 * STEP)
    with world.nothing_written():
        assert type(refusal(lambda: without.verify(phone.code(2)))) is UnknownMasterKey


def test_a_reference_without_its_source_is_named() -> None:
    """KEYS: the reference's scheme picks the source; a scheme that nobody serves is an unknown master key."""
    world = World(imported_keys=UnsafePlainKeys())
    world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, source="import", last_step=-1)
    without = World(store=world.store)
    error = refusal(lambda: without.verify("123456"))
    assert type(error) is UnknownMasterKey
    assert world.state().key_ref == KeyRef(scheme="plain", key_id="", material=b"12345678901234567890")
    assert world.device().failures == 0


def test_two_enrollments_of_one_serial_would_not_share_a_key() -> None:
    """RULE-KEY-DESTROYED: each reference has a nonce of its own: a row written back after removal revives nothing."""
    world = World()
    world.operations.random = bytes
    first, second = world.open(), world.open()
    assert (first.serial, first.session_id) == (second.serial, second.session_id)
    assert first.base32 != second.base32
    assert not issubclass(RecordTampered, CodeRejected)
    assert issubclass(RecordTampered, VmfaError)
