"""Encrypting sealed keys again: by compare-and-set, and interrupted at any point."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from support import MASTER, enroll, phone_with
from vmfa import (
    Actor,
    DerivedKeys,
    DeviceRegistry,
    Key,
    MemoryStore,
    Parameters,
    PrincipalId,
    SQLiteStore,
    StoreUnavailable,
    UnknownMasterKey,
)
from vmfa.keysources.sealed import SealedKeys
from vmfa.rekey import Rekeyed, rekey
from vmfa.testing import FrozenClock

ACCOUNT = "123456789012"
OLD, NEW = bytes(range(200, 232)), bytes(range(100, 132))
SERVICE = Actor.trusted_service("import")
PEOPLE = [PrincipalId.user(ACCOUNT, f"u-{number}") for number in range(5)]
PHONE_KEYS = {
    who: Key(f"the key of number {number}".encode()) for number, who in enumerate(PEOPLE)
}


def registry_on(store, clock, *masters) -> DeviceRegistry:
    return DeviceRegistry(
        store,
        keys=DerivedKeys(MASTER),
        imported_keys=SealedKeys(*masters),
        issuer="Example",
        clock=clock,
    )


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryStore()
    else:
        with SQLiteStore(tmp_path / "mfa.db") as store:
            yield store


@pytest.fixture
def adopted(store, clock):
    """Five people with sealed keys, under the old master key."""
    registry = registry_on(store, clock, OLD)
    for who, key in PHONE_KEYS.items():
        registry.adopt(who, by=SERVICE, key=key, system="test")
    clock.advance(90)
    return store


def steps_of(store, *masters, account=ACCOUNT, **options):
    sealed_keys = SealedKeys(*masters or (NEW, OLD))
    registry = DeviceRegistry(
        store, keys=DerivedKeys(MASTER), imported_keys=sealed_keys, issuer="Example"
    )
    return rekey(store, account, keys=registry.operations.keys, sealed_keys=sealed_keys, **options)


def passed(store, *masters, **options) -> list[Rekeyed]:
    return list(steps_of(store, *masters, **options))


def all_sign_in(store, clock, *masters) -> None:
    clock.advance(30)
    for who, key in PHONE_KEYS.items():
        registry_on(store, clock, *masters).verify(who, phone_with(key, clock).code())


def test_after_the_pass_the_old_master_key_is_not_needed(adopted, clock):
    assert passed(adopted) == [Rekeyed(who, changed=True) for who in PEOPLE]
    all_sign_in(adopted, clock, NEW)
    with pytest.raises(UnknownMasterKey):
        registry_on(adopted, clock, OLD).verify(PEOPLE[0], "000000")


def test_nothing_else_of_a_record_changes(adopted, clock):
    before = adopted.load(PEOPLE[0])
    passed(adopted)
    after = adopted.load(PEOPLE[0])
    assert after.revision == before.revision + 1
    assert (
        replace(after, revision=before.revision, key_ref=before.key_ref, envelope=before.envelope)
        == before
    )
    assert not SealedKeys(NEW, OLD).needs_rekey(after.key_ref)
    assert len(adopted.history(PEOPLE[0])) == 1


def test_a_second_pass_changes_nothing(adopted):
    passed(adopted)
    revisions = [adopted.load(who).revision for who in PEOPLE]
    assert passed(adopted) == [Rekeyed(who, changed=False) for who in PEOPLE]
    assert [adopted.load(who).revision for who in PEOPLE] == revisions


@pytest.mark.parametrize("done", range(5))
def test_an_interrupted_pass_is_run_again(adopted, clock, done):
    steps = steps_of(adopted)
    for _ in range(done):
        next(steps)
    steps.close()
    all_sign_in(adopted, clock, NEW, OLD)  # both master keys work meanwhile
    assert [step.changed for step in passed(adopted)] == [False] * done + [True] * (5 - done)
    all_sign_in(adopted, clock, NEW)


def test_a_pass_starts_after_a_principal(adopted):
    assert [step.principal for step in passed(adopted, after=PEOPLE[2])] == PEOPLE[3:]


def test_the_key_of_an_open_enrollment_is_encrypted_again(store, clock):
    registry = DeviceRegistry(store, keys=SealedKeys(OLD), issuer="Example", clock=clock)
    owner = Actor.signed_in(PEOPLE[0])
    opened = registry.open_enrollment(PEOPLE[0], by=owner, label="alice")
    both = SealedKeys(NEW, OLD)
    keys = DeviceRegistry(store, keys=both, issuer="Example").operations.keys
    assert list(rekey(store, ACCOUNT, keys=keys, sealed_keys=both)) == [
        Rekeyed(PEOPLE[0], changed=True)
    ]
    phone = phone_with(Key.from_base32(opened.base32), clock)
    registry = DeviceRegistry(store, keys=SealedKeys(NEW), issuer="Example", clock=clock)
    registry.confirm_enrollment(PEOPLE[0], session=opened.session_id, by=owner, **phone.pair())


def test_derived_keys_and_principals_without_a_device_are_not_changed(store, clock):
    registry = registry_on(store, clock, OLD)
    enrolled = enroll(registry, clock, PEOPLE[0])
    opened = registry.open_enrollment(PEOPLE[1], by=SERVICE, label="bob")
    registry.cancel_enrollment(PEOPLE[1], by=SERVICE, session=opened.session_id)
    assert passed(store) == [Rekeyed(PEOPLE[0], changed=False), Rekeyed(PEOPLE[1], changed=False)]
    enrolled.sign_in()


def test_principals_are_read_in_pages(clock):
    class Frugal(MemoryStore):
        def principals(self, account, *, after=None, limit=2):
            return super().principals(account, after=after, limit=limit)

    store = Frugal()
    for who, key in PHONE_KEYS.items():
        registry_on(store, clock, OLD).adopt(who, by=SERVICE, key=key, system="test")
    assert [step.principal for step in passed(store)] == PEOPLE


def test_other_accounts_are_not_changed(adopted):
    assert passed(adopted, account="another account") == []


class Racing(MemoryStore):
    """A store in which a verification is committed before each commit, so many times."""

    def __init__(self, clock: FrozenClock, races: int) -> None:
        super().__init__()
        self.clock, self.races, self.racing = clock, races, False

    def commit(self, before, after, events):
        if self.races and not self.racing and before.device and after.key_ref != before.key_ref:
            self.races -= 1
            self.racing = True
            self.clock.advance(30)
            registry_on(self, self.clock, NEW, OLD).verify(
                before.id, phone_with(PHONE_KEYS[before.id], self.clock).code()
            )
            self.racing = False
        return super().commit(before, after, events)


def test_a_verification_meanwhile_is_not_lost(clock):
    store = Racing(clock, races=3)
    registry_on(store, clock, OLD).adopt(
        PEOPLE[0], by=SERVICE, key=PHONE_KEYS[PEOPLE[0]], system="test"
    )
    clock.advance(90)
    assert passed(store) == [Rekeyed(PEOPLE[0], changed=True)]
    assert (
        store.load(PEOPLE[0]).device.last_step == clock() // 30
    )  # the last of them is still spent
    assert not store.races


def test_a_principal_that_keeps_changing_is_reported(clock):
    store = Racing(clock, races=1000)
    registry_on(store, clock, OLD).adopt(
        PEOPLE[0], by=SERVICE, key=PHONE_KEYS[PEOPLE[0]], system="test"
    )
    clock.advance(90)
    assert passed(store) == [
        Rekeyed(
            PEOPLE[0],
            changed=False,
            problem="other processes kept changing this principal: run the pass again",
        )
    ]


def test_an_edited_record_is_reported_and_the_pass_goes_on(clock, tmp_path):
    with SQLiteStore(tmp_path / "mfa.db") as store:
        registry = registry_on(store, clock, OLD)
        for who in PEOPLE[:3]:
            registry.adopt(who, by=SERVICE, key=PHONE_KEYS[who], system="test")
        with closing(sqlite3.connect(tmp_path / "mfa.db")) as db, db:
            db.execute("UPDATE principal SET revision = 7 WHERE name = 'u-1'")
        first, second, third = passed(store)
    assert (first.changed, second.changed, third.changed) == (True, False, True)
    assert (first.principal, second.principal, third.principal) == tuple(PEOPLE[:3])
    assert (first.problem, third.problem) == ("", "")
    assert "was not written by this library" in second.problem


def test_a_key_under_an_unknown_master_key_is_reported(adopted):
    results = passed(adopted, NEW)
    assert [step.changed for step in results] == [False] * 5
    assert "master key" in results[0].problem


def test_a_store_that_cannot_be_reached_stops_the_pass(adopted, monkeypatch):
    def unreachable(*_: object) -> None:
        raise StoreUnavailable("gone")

    steps = steps_of(adopted)
    next(steps)
    monkeypatch.setattr(type(adopted), "commit", unreachable)
    with pytest.raises(StoreUnavailable):
        next(steps)


@pytest.mark.parametrize(
    ("scheme", "masters", "needed"),
    [
        ("sealed", (NEW, OLD), True),
        ("sealed", (OLD, NEW), False),
        ("derived", (NEW, OLD), False),
    ],
)
def test_which_keys_need_to_be_encrypted_again(scheme, masters, needed):
    ref = SealedKeys(OLD).adopt(PEOPLE[0], "0" * 32, Parameters(), Key(bytes(20)))
    assert SealedKeys(*masters).needs_rekey(replace(ref, scheme=scheme)) is needed
