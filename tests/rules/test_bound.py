"""SEED-BOUND: a key belongs to one principal; a moved or edited record verifies nowhere."""

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
    Operation,
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
from world import ADMIN, ALICE, RFC_KEY, ROOT, SERVICE, STEP, SUPPORT, World, error_of

ME = Actor.signed_in(ALICE)
OTHERS = [ADMIN, PrincipalId.user("999999999999", ALICE.name), ROOT]


def overwrite(world: World, row: Principal) -> None:
    """Replace a stored record, as a person with access to the database can."""
    world.overwrite(row)


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


def reencoded(
    world: World, edit: Callable[[Principal], Principal], who: PrincipalId = ALICE
) -> Principal:
    """The edited record with a matching document and the old tag: all that is possible without the
    master key.
    """
    before = world.state(who)
    forged = authenticated(edit(before), Operations(UnsafePlainKeys(), issuer="Mallory").keys)
    return replace(forged, envelope=replace(forged.envelope, tag=before.envelope.tag))


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_row_is_tampered(edit: str) -> None:
    """RULE-RECORD: after any edit nothing is accepted, counted or written, and no enrollment can
    be opened.
    """
    world = World()
    phone = world.enroll()
    world.store_state(
        device={
            "failures": 1,
            "disabled": edit == "disabled",
            "sync": Sync.OUT_OF_SYNC if edit == "sync" else Sync.IN_SYNC,
        }
    )
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
            error = error_of(act)
            assert (type(error), error.reason) == (RecordTampered, "record tampered")


OPERATIONS: dict[str, Callable[[Operations], Operation[Any]]] = {
    "open": lambda do: do.open_enrollment(ALICE, by=SERVICE, label="a"),
    "confirm": lambda do: do.confirm_enrollment(
        ALICE, session="s", code1="123456", code2="123457", by=SERVICE
    ),
    "cancel": lambda do: do.cancel_enrollment(ALICE, by=SERVICE),
    "verify": lambda do: do.verify(ALICE, "123456"),
    "resync": lambda do: do.resync(ALICE, code1="123456", code2="123457", by=SERVICE),
    "deactivate": lambda do: do.deactivate(ALICE, by=SERVICE),
    "adopt": lambda do: do.adopt(ALICE, by=SERVICE, key=RFC_KEY, system="old"),
    "reanchor": lambda do: do.reanchor(ALICE, by=SERVICE),
    "prune": lambda do: do.prune_history(ALICE, by=SERVICE, history=(), older_than=1),
    "read device": lambda do: do.device(ALICE, by=SERVICE),
    "read history": lambda do: do.record(ALICE, by=SERVICE),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_operation_authenticates_an_edited_record(name: str) -> None:
    """RULE-RECORD: a valid tag for edited data is never written."""
    world = World(imported_keys=UnsafePlainKeys())
    world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, system="old", failures=7)
    edited = reencoded(
        world, lambda record: replace(record, device=replace(record.device, failures=0))
    )
    decision = OPERATIONS[name](world.operations).decide(edited, world.clock() + STEP)
    assert isinstance(decision.answer, RecordTampered)
    assert decision.principal is edited


def test_an_older_revision_number_is_tampered() -> None:
    """RULE-RECORD: the revision is authenticated with the rest."""
    world = World()
    phone = world.enroll()
    overwrite(world, replace(world.state(), revision=1))
    assert type(error_of(lambda: world.verify(phone.code(1)))) is RecordTampered


def test_a_record_without_a_tag_is_tampered() -> None:
    """RULE-RECORD: only an empty record has no tag."""
    world = World()
    phone = world.enroll()
    overwrite(world, replace(world.state(), envelope=None))
    assert type(error_of(lambda: world.verify(phone.code(1)))) is RecordTampered


@pytest.mark.parametrize("other", OTHERS)
def test_a_row_moved_to_another_principal_is_tampered(other: PrincipalId) -> None:
    """SEED-BOUND: to another user, to the same name in another account, to root."""
    world = World()
    phone = world.enroll()
    overwrite(world, replace(world.state(), id=other))
    world.clock.advance(STEP)
    assert type(error_of(lambda: world.verify(phone.code(), other))) is RecordTampered


@pytest.mark.parametrize("other", OTHERS)
def test_a_device_moved_in_full_derives_another_key(other: PrincipalId) -> None:
    """SEED-BOUND: even with a valid tag for the other principal, the reference derives another
    key.
    """
    world = World()
    phone = world.enroll()
    overwrite(world, authenticated(replace(world.state(), id=other), world.operations.keys))
    world.clock.advance(STEP)
    assert type(error_of(lambda: world.verify(phone.code(), other))) is CodeRejected
    assert world.verify(phone.code())


@pytest.mark.parametrize(
    "parameters",
    [
        Parameters(t0=-30),
        Parameters(period=29),
        Parameters(algorithm="sha256"),
        Parameters(digits=7),
    ],
)
def test_parameters_are_part_of_the_key(parameters: Parameters) -> None:
    """RULE-KEY-BOUND: with other parameters the key is another one, so the phone's codes do not
    verify.
    """
    world = World()
    phone = world.enroll()
    world.store_state(device={"parameters": parameters, "last_step": -1})
    phone = phone.app.add(phone.key, parameters)
    world.clock.advance(STEP)
    assert type(error_of(lambda: world.verify(phone.code()))) is CodeRejected


def test_a_foreign_session_does_not_exist() -> None:
    """SEED-BOUND: a session id works only for the principal it was opened for."""
    world = World()
    mine, other = world.open(), world.open(ADMIN)
    with world.nothing_written(), world.nothing_written(ADMIN):
        error = error_of(lambda: world.confirm(mine, world.phone(mine).pair(), ADMIN))
        assert (type(error), error.reason) == (NoSession, "no session")
        assert type(error_of(lambda: world.confirm(other, world.phone(other).pair()))) is NoSession
        unknown = PrincipalId.user("1", "unknown")
        assert (
            type(error_of(lambda: world.confirm(mine, world.phone(mine).pair(), unknown)))
            is NoSession
        )
        cancel = world.registry.cancel_enrollment
        assert (
            type(
                error_of(lambda: cancel(ADMIN, session=mine.session_id, by=Actor.signed_in(ADMIN)))
            )
            is NoSession
        )


def test_an_edited_session_is_tampered() -> None:
    """SEED-BOUND: an edited enrollment can be neither confirmed nor canceled nor opened again."""
    world = World()
    opened = world.open()
    longer = reencoded(
        world, lambda p: replace(p, enrollment=replace(p.enrollment, expires_at=1 << 40))
    )
    overwrite(world, longer)
    pair = world.phone(opened).pair()
    importing = World(imported_keys=UnsafePlainKeys(), store=world.store)
    with world.nothing_written():
        for act in (
            lambda: world.confirm(opened, pair),
            lambda: world.registry.cancel_enrollment(ALICE, by=ME),
            world.open,
            lambda: importing.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, system="import"),
        ):
            assert type(error_of(act)) is RecordTampered


def test_a_claim_is_not_checked_against_a_tampered_record() -> None:
    """SEED-BOUND: the record of the actor is authenticated as well."""
    world = World()
    world.enroll()
    world.enroll(ADMIN)
    serial = world.device(ADMIN).serial
    world.registry.deactivate(ADMIN, by=SUPPORT)
    world.enroll(ADMIN)
    overwrite(
        world,
        reencoded(world, lambda p: replace(p, device=replace(p.device, serial=serial)), ADMIN),
    )
    actor = Actor.admin(ADMIN, mfa=MfaClaim(at=int(world.clock()), serial=serial))
    with world.nothing_written():
        assert type(error_of(lambda: world.registry.deactivate(ALICE, by=actor))) is RecordTampered


# The master key


@pytest.mark.parametrize("keys", [DerivedKeys(b"x" * 32), UnsafePlainKeys()])
def test_a_wrong_master_key_is_reported_and_not_counted(keys: Any) -> None:
    """Another master key is reported as unknown, never as a wrong code."""
    world = World()
    phone = world.enroll()
    other = World(keys=keys, store=world.store, now=world.clock() + STEP)
    with world.nothing_written():
        for act in (
            lambda: other.verify(phone.code(1)),
            lambda: other.verify(phone.wrong_code()),
            other.open,
        ):
            error = error_of(act)
            assert (type(error), error.reason) == (UnknownMasterKey, "unknown master key")


def test_a_retired_master_key_still_verifies() -> None:
    """A record made under a retired key verifies, and is authenticated under the current key when
    it is written next.
    """
    world = World()
    phone = world.enroll()
    new = b"y" * 32
    rotated = World(keys=DerivedKeys(new, MASTER), store=world.store)
    rotated.clock.advance(STEP)
    assert rotated.verify(phone.code(1))
    assert world.state().envelope.tag.startswith(DerivedKeys(new).current_id)
    without = World(
        keys=DerivedKeys(new), store=world.store
    )  # the old one was taken away too early
    without.clock.advance(2 * STEP)
    with world.nothing_written():
        assert type(error_of(lambda: without.verify(phone.code(2)))) is UnknownMasterKey


def test_a_key_without_its_source_is_an_unknown_master_key() -> None:
    """The scheme of the reference selects the key source."""
    world = World(imported_keys=UnsafePlainKeys())
    world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, system="import", last_step=-1)
    without = World(store=world.store)
    error = error_of(lambda: without.verify("123456"))
    assert type(error) is UnknownMasterKey
    assert world.state().key_ref == KeyRef(
        scheme="plain", key_id="", material=b"12345678901234567890"
    )
    assert world.device().failures == 0


def test_two_enrollments_of_one_serial_would_not_share_a_key() -> None:
    """RULE-KEY-DESTROYED: each reference has its own nonce, so a record restored after a removal
    revives no key.
    """
    world = World()
    world.operations.random = bytes
    first, second = world.open(), world.open()
    assert (first.serial, first.session_id) == (second.serial, second.session_id)
    assert first.base32 != second.base32
    assert not issubclass(RecordTampered, CodeRejected)
    assert issubclass(RecordTampered, VmfaError)
