"""Moving records to another master key: roles, leaks, forged records and races with sign-ins."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support import Enrolled, enroll, phone_with
from vmfa import (
    Actor,
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    Key,
    MemoryStore,
    Policy,
    Principal,
    PrincipalId,
    RecordTampered,
    SQLiteStore,
    StoreUnavailable,
    UnknownMasterKey,
)
from vmfa.audit import Checkpoint, verify_history
from vmfa.events import EventType
from vmfa.keysources.base import MasterKeys
from vmfa.keysources.sealed import SealedKeys
from vmfa.record import authenticated, check_intact
from vmfa.rekey import rekey
from vmfa.reseal import CHANGED_SINCE, MISSING, NOT_COVERED, ResealResult, key_usage, reseal
from vmfa.testing import FrozenClock

ACCOUNT = "123456789012"
OLD, NEW, NEXT = bytes(range(32)), bytes(range(100, 132)), bytes(range(200, 232))
OLD_ID, NEW_ID = DerivedKeys(OLD).current_id, DerivedKeys(NEW).current_id
SERVICE = Actor.trusted_service("tests")
PEOPLE = [PrincipalId.user(ACCOUNT, f"u-{number}") for number in range(4)]
ALICE, BOB, CAROL, DAVE = PEOPLE
MALLORY = PrincipalId.user(ACCOUNT, "u-9")


class LastingStore(MemoryStore):
    """A store in memory whose records are authenticated, as those of a database are."""

    volatile = False


class Service:
    """One store, used under changing master keys."""

    def __init__(self, store: Any, clock: FrozenClock) -> None:
        self.store, self.clock = store, clock
        self.enrolled = {
            who: enroll(self.registry(DerivedKeys(OLD)), clock, who) for who in PEOPLE
        }

    def registry(self, keys: MasterKeys, **options: Any) -> DeviceRegistry:
        options = {"issuer": "Example", "clock": self.clock, **options}
        return DeviceRegistry(self.store, keys=keys, **options)

    def sign_in(self, who: PrincipalId, keys: MasterKeys) -> Any:
        return replace_registry(self.enrolled[who], self.registry(keys)).sign_in()

    def reseal(self, keys: MasterKeys, **options: Any) -> dict[PrincipalId, ResealResult]:
        authenticator = self.registry(keys).operations.keys
        results = reseal(self.store, ACCOUNT, keys=authenticator, **options)
        return {result.principal: result for result in results}

    def checkpoints(self, keys: MasterKeys) -> list[Checkpoint]:
        results = verify_history(
            self.store, ACCOUNT, operations=self.registry(keys).operations,
            by=Actor.support("checkpoint"), clock=self.clock,
        )
        return [result.checkpoint for result in results if result.checkpoint]

    def write_row(self, who: PrincipalId, record: Principal) -> None:
        """Write *record* past the library, as an attacker with write access does."""
        assert self.store.commit(self.store.load(who), record, ())


def replace_registry(enrolled: Enrolled, registry: DeviceRegistry) -> Enrolled:
    return replace(enrolled, registry=registry)


def forged(record: Principal, leaked: MasterKeys, **changes: Any) -> Principal:
    """Return *record* with *changes*, authenticated under a leaked master key."""
    changed = replace(record, **{"revision": record.revision + 1, "envelope": None, **changes})
    return authenticated(changed, leaked)


def changed(results: dict[PrincipalId, ResealResult]) -> list[PrincipalId]:
    return [who for who, result in results.items() if result.changed]


def problems(results: dict[PrincipalId, ResealResult]) -> dict[PrincipalId, str]:
    return {who: result.problem for who, result in results.items() if result.problem}


@pytest.fixture(params=["memory", "sqlite"])
def service(request: Any, tmp_path: Path, clock: FrozenClock) -> Iterator[Service]:
    if request.param == "memory":
        yield Service(LastingStore(), clock)
    else:
        with SQLiteStore(tmp_path / "mfa.db") as store:
            yield Service(store, clock)


# Rotation


def test_a_rotation_keeps_every_device_in_use(service: Service) -> None:
    for keys in (
        DerivedKeys(OLD, accepted=[NEW]),
        DerivedKeys(NEW, OLD),
    ):
        for who in PEOPLE:
            service.sign_in(who, keys)
    assert changed(service.reseal(DerivedKeys(NEXT, NEW, OLD))) == PEOPLE
    assert key_usage(service.store, ACCOUNT).records == Counter({DerivedKeys(NEXT).current_id: 4})
    for who in PEOPLE:
        service.sign_in(who, DerivedKeys(NEXT, derive_only=[NEW, OLD]))


def test_a_node_that_accepts_the_new_key_serves_records_of_one_that_uses_it(
    service: Service,
) -> None:
    ahead, behind = DerivedKeys(NEW, OLD), DerivedKeys(OLD, accepted=[NEW])
    for keys in (ahead, behind, ahead, behind):
        service.sign_in(ALICE, keys)
    with pytest.raises(UnknownMasterKey):
        service.sign_in(BOB, ahead) and service.sign_in(BOB, DerivedKeys(OLD))


def test_only_tag_and_revision_of_a_record_change(service: Service) -> None:
    before = service.store.load(ALICE)
    events = service.store.history(ALICE)
    service.reseal(DerivedKeys(NEW, OLD))
    after = service.store.load(ALICE)
    assert after.revision == before.revision + 1
    assert replace(after, revision=before.revision, envelope=before.envelope) == before
    assert after.envelope.tag.startswith(NEW_ID)
    assert after.envelope.audit_tag.startswith(NEW_ID)
    assert after.envelope.document == before.envelope.document
    assert service.store.history(ALICE) == events


def test_a_second_pass_changes_nothing(service: Service) -> None:
    service.reseal(DerivedKeys(NEW, OLD))
    revisions = [service.store.load(who).revision for who in PEOPLE]
    results = service.reseal(DerivedKeys(NEW, OLD))
    assert list(results.values()) == [ResealResult(principal=who) for who in PEOPLE]
    assert [service.store.load(who).revision for who in PEOPLE] == revisions


@pytest.mark.parametrize("done", range(5))
def test_an_interrupted_pass_is_run_again(service: Service, done: int) -> None:
    keys = service.registry(DerivedKeys(NEW, OLD)).operations.keys
    steps = reseal(service.store, ACCOUNT, keys=keys)
    for _ in range(done):
        next(steps)
    steps.close()
    assert key_usage(service.store, ACCOUNT).records == +Counter({NEW_ID: done, OLD_ID: 4 - done})
    assert changed(service.reseal(DerivedKeys(NEW, OLD))) == PEOPLE[done:]


def test_other_accounts_are_not_changed(service: Service) -> None:
    keys = service.registry(DerivedKeys(NEW, OLD)).operations.keys
    assert list(reseal(service.store, "another account", keys=keys)) == []
    assert key_usage(service.store, "another account").records == Counter()
    assert key_usage(service.store, ACCOUNT).records == Counter({OLD_ID: 4})


def test_principals_are_read_in_pages(clock: FrozenClock) -> None:
    class SmallPages(LastingStore):
        def principals(self, account: str, *, after: Any = None, limit: int = 2) -> Any:
            return super().principals(account, after=after, limit=2)

    service = Service(SmallPages(), clock)
    assert changed(service.reseal(DerivedKeys(NEW, OLD))) == PEOPLE


def test_records_that_are_not_authenticated_are_left_alone(clock: FrozenClock) -> None:
    service = Service(MemoryStore(), clock)
    assert changed(service.reseal(DerivedKeys(NEW, OLD))) == []
    assert key_usage(service.store, ACCOUNT).records == Counter()
    assert key_usage(service.store, ACCOUNT).derived_devices == Counter({OLD_ID: 4})


def test_a_principal_that_is_forgotten_meanwhile_is_no_problem(service: Service) -> None:
    registry = service.registry(DerivedKeys(NEW, OLD))
    steps = reseal(service.store, ACCOUNT, keys=registry.operations.keys)
    next(steps)
    registry.forget(DAVE, by=SERVICE)
    assert [result.problem for result in steps] == ["", "", ""]


def test_a_store_that_cannot_be_reached_stops_the_pass(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise StoreUnavailable("gone")

    keys = service.registry(DerivedKeys(NEW, OLD)).operations.keys
    steps = reseal(service.store, ACCOUNT, keys=keys)
    next(steps)
    monkeypatch.setattr(type(service.store), "commit", unreachable)
    with pytest.raises(StoreUnavailable):
        next(steps)


def test_a_record_under_an_unknown_master_key_is_listed(service: Service) -> None:
    service.sign_in(BOB, DerivedKeys(NEXT, OLD))
    results = service.reseal(DerivedKeys(NEW, OLD))
    assert changed(results) == [ALICE, CAROL, DAVE]
    assert "master key" in problems(results)[BOB]


def test_an_edited_record_is_listed(service: Service) -> None:
    record = service.store.load(BOB)
    service.write_row(BOB, replace(record, revision=record.revision + 1))
    results = service.reseal(DerivedKeys(NEW, OLD))
    assert changed(results) == [ALICE, CAROL, DAVE]
    assert list(problems(results)) == [BOB]


# A leaked derive-only key


def test_before_the_pass_a_derive_only_key_refuses_its_records(service: Service) -> None:
    with pytest.raises(UnknownMasterKey, match="derive-only"):
        service.sign_in(ALICE, DerivedKeys(NEW, derive_only=[OLD]))
    results = service.reseal(DerivedKeys(NEW, derive_only=[OLD]))
    assert changed(results) == []
    assert list(problems(results)) == PEOPLE


def test_a_leaked_derive_only_key_makes_no_record_that_is_accepted(service: Service) -> None:
    """Mallory has the leaked key and write access to the database."""
    leaked = DerivedKeys(OLD)
    snapshot = {who: service.store.load(who) for who in PEOPLE}  # from before the pass
    service.reseal(DerivedKeys(NEW, OLD))
    keys = DerivedKeys(NEW, derive_only=[OLD])
    registry = service.registry(keys)
    alice = service.store.load(ALICE)
    rewound = replace(alice.device, last_step=0, failures=0)
    own_device = snapshot[BOB]
    forgeries = {
        "a rewound replay position": (ALICE, forged(alice, leaked, device=rewound)),
        "a record without a device": (ALICE, forged(alice, leaked, device=None, key_ref=None)),
        "a record at a revision of choice": (ALICE, forged(alice, leaked, revision=10**9)),
        "a new principal with a device": (MALLORY, forged(
            Principal(id=MALLORY), leaked, device=own_device.device, key_ref=own_device.key_ref,
        )),
        "a whole older record": (ALICE, snapshot[ALICE]),
        "the new tag on another document": (ALICE, replace(
            forged(alice, leaked, device=rewound), revision=alice.revision,
            envelope=replace(
                alice.envelope, document=forged(alice, leaked, device=rewound).envelope.document
            ),
        )),
        "the leaked key's tag under the name of the new key": (ALICE, _renamed(
            forged(alice, leaked, device=rewound)
        )),
    }
    for name, (who, record) in forgeries.items():
        original = service.store.load(who)
        service.write_row(who, record)
        service.clock.advance(30)
        with pytest.raises((UnknownMasterKey, RecordTampered)):
            registry.verify(who, service.enrolled[ALICE].phone.code())
        for read in (registry.requires_code, partial(registry.device, by=SERVICE)):
            with pytest.raises((UnknownMasterKey, RecordTampered)):
                pytest.fail(f"{name}: {read(who)}")
        assert changed(service.reseal(keys)) == []
        service.write_row(who, original if original.envelope else Principal(id=who))
    service.sign_in(ALICE, keys)


def _renamed(record: Principal) -> Principal:
    digest = record.envelope.tag.partition(".")[2]
    return replace(record, envelope=replace(record.envelope, tag=f"{NEW_ID}.{digest}"))


def test_a_leaked_derive_only_key_makes_no_claim_and_no_client_token(service: Service) -> None:
    policy = Policy(known_clients=True)
    leaked = service.registry(DerivedKeys(OLD), policy=policy)
    claim = leaked.method_claim(ALICE, "passkey")
    service.reseal(DerivedKeys(NEW, OLD))
    registry = service.registry(DerivedKeys(NEW, derive_only=[OLD]), policy=policy)
    assert service.registry(DerivedKeys(NEW, OLD)).claim_is_valid(ALICE, claim)
    assert not registry.claim_is_valid(ALICE, claim)
    enrolled = service.enrolled[ALICE]
    for _ in range(3):
        service.clock.advance(60)
        with pytest.raises(CodeRejected):
            registry.verify(ALICE, enrolled.phone.wrong_code(), client=_token(leaked, ALICE))
    device = registry.device(ALICE, by=SERVICE)
    assert (device.failures, device.known_failures) == (3, 0)


def _token(registry: DeviceRegistry, who: PrincipalId) -> str:
    """Return a client token under the keys of *registry*, as its holder can compute it."""
    from vmfa import clients

    device = registry._store.load(who).device
    token, _ = clients.issue_token(
        who, device, now=int(registry._clock()), seconds=3600, kind=clients.RENEWED,
        keys=registry.operations.keys, random=bytes,
    )
    return token.text


def test_the_report_counts_what_must_be_enrolled_again(service: Service) -> None:
    keys = DerivedKeys(NEW, OLD)
    service.reseal(keys)
    service.registry(keys).deactivate(ALICE, by=SERVICE)
    enroll(service.registry(keys), service.clock, ALICE)
    service.registry(keys, imported_keys=SealedKeys(OLD)).adopt(
        MALLORY, by=SERVICE, key=Key.generate(), system="tests"
    )
    service.registry(keys).deactivate(BOB, by=SERVICE)
    usage = key_usage(service.store, ACCOUNT)
    assert usage.records == Counter({NEW_ID: 5})
    assert usage.derived_devices == Counter({OLD_ID: 2, NEW_ID: 1})
    assert usage.sealed_devices == Counter({OLD_ID: 1})
    assert usage.unreadable == ()


def test_the_report_lists_records_that_cannot_be_read(tmp_path: Path, clock: FrozenClock) -> None:
    import sqlite3
    from contextlib import closing

    with SQLiteStore(tmp_path / "mfa.db") as store:
        Service(store, clock)
        with closing(sqlite3.connect(tmp_path / "mfa.db")) as db, db:
            db.execute("UPDATE principal SET state = 'x' WHERE name = ?", (BOB.name,))
        usage = key_usage(store, ACCOUNT)
    assert usage.unreadable == (BOB,)
    assert usage.records == Counter({OLD_ID: 3})


# After a leak


def test_after_a_leak_only_what_the_checkpoint_covers_is_resealed(service: Service) -> None:
    leaked, keys = DerivedKeys(OLD), DerivedKeys(NEW, OLD)
    checkpoints = service.checkpoints(leaked)
    service.sign_in(BOB, leaked)  # honest, and after the checkpoint
    carol = service.store.load(CAROL)
    rewound = replace(carol.device, last_step=0)
    service.write_row(CAROL, forged(carol, leaked, device=rewound, revision=carol.revision))
    dave = service.store.load(DAVE)
    service.write_row(MALLORY, forged(
        Principal(id=MALLORY), leaked, device=dave.device, key_ref=dave.key_ref
    ))
    assert problems(service.reseal(keys, checkpoints=checkpoints)) == {
        BOB: NOT_COVERED, CAROL: NOT_COVERED, MALLORY: NOT_COVERED,
    }
    service.sign_in(ALICE, DerivedKeys(NEW, derive_only=[OLD]))
    for who in (BOB, CAROL, MALLORY):
        with pytest.raises(UnknownMasterKey):
            check_intact(service.store.load(who), DerivedKeys(NEW, derive_only=[OLD]))


def test_after_a_leak_the_pass_can_be_stopped_and_started_again(service: Service) -> None:
    checkpoints = service.checkpoints(DerivedKeys(OLD))
    keys = service.registry(DerivedKeys(NEW, OLD)).operations.keys
    steps = reseal(service.store, ACCOUNT, keys=keys, checkpoints=checkpoints)
    next(steps), next(steps)
    steps.close()
    results = service.reseal(DerivedKeys(NEW, OLD), checkpoints=checkpoints)
    assert (changed(results), problems(results)) == ([CAROL, DAVE], {})


def test_after_a_leak_a_record_that_was_resealed_twice_is_covered(service: Service) -> None:
    checkpoints = service.checkpoints(DerivedKeys(OLD))
    service.reseal(DerivedKeys(NEW, OLD))
    results = service.reseal(DerivedKeys(NEXT, NEW, OLD), checkpoints=checkpoints)
    assert (changed(results), problems(results)) == (PEOPLE, {})


def test_after_a_leak_a_record_that_a_sign_in_laundered_is_listed(service: Service) -> None:
    """The services still ran with the leaked key as a retired one."""
    leaked, keys = DerivedKeys(OLD), DerivedKeys(NEW, OLD)
    checkpoints = service.checkpoints(leaked)
    bob = service.store.load(BOB)
    rewound = replace(bob.device, last_step=0)
    service.write_row(BOB, forged(bob, leaked, device=rewound))
    service.sign_in(BOB, keys)
    forged_again = forged(service.store.load(CAROL), leaked, device=None, key_ref=None)
    service.write_row(CAROL, forged_again)
    service.reseal(keys)  # the mistake: without a checkpoint
    assert problems(service.reseal(keys, checkpoints=checkpoints)) == {
        BOB: CHANGED_SINCE, CAROL: CHANGED_SINCE,
    }


def test_after_a_leak_a_checkpoint_of_the_new_key_covers_records_under_it(
    service: Service,
) -> None:
    keys = DerivedKeys(NEW, OLD)
    service.sign_in(ALICE, keys)
    checkpoints = service.checkpoints(keys)
    results = service.reseal(keys, checkpoints=checkpoints)
    assert (changed(results), problems(results)) == ([BOB, CAROL, DAVE], {})


def test_after_a_leak_a_missing_record_is_listed(service: Service) -> None:
    checkpoints = service.checkpoints(DerivedKeys(OLD))
    elsewhere = PrincipalId.user("another account", "u-0")
    checkpoints.append(replace(checkpoints[0], principal=elsewhere))
    service.registry(DerivedKeys(OLD)).forget(BOB, by=SERVICE)
    results = service.reseal(DerivedKeys(NEW, OLD), checkpoints=checkpoints)
    assert problems(results) == {BOB: MISSING}


def test_a_user_whose_record_is_not_covered_enrolls_again(service: Service) -> None:
    leaked = DerivedKeys(OLD)
    service.reseal(DerivedKeys(NEW, OLD), checkpoints=service.checkpoints(leaked)[1:])
    registry = service.registry(DerivedKeys(NEW, derive_only=[OLD]))
    with pytest.raises(UnknownMasterKey):
        registry.deactivate(ALICE, by=SERVICE)
    registry.forget(ALICE, by=SERVICE)
    enroll(registry, service.clock, ALICE).sign_in()


# Races with sign-ins


class Racing(LastingStore):
    """A store in which a sign-in is committed before each commit of the pass, so many times."""

    races = 0
    racing = False
    sign_in: Any = None

    def commit(self, before: Principal, after: Principal, events: Any) -> bool:
        if self.races and not self.racing:
            self.races -= 1
            self.racing = True
            self.sign_in()
            self.racing = False
        return super().commit(before, after, events)


@pytest.mark.parametrize(
    ("keys", "resealed"),
    [(DerivedKeys(NEW, OLD), False), (DerivedKeys(OLD, accepted=[NEW]), True)],
    ids=["sign-in under the new key", "sign-in under the old key"],
)
def test_losing_to_a_sign_in_is_a_success(
    clock: FrozenClock, keys: DerivedKeys, resealed: bool
) -> None:
    store = Racing()
    service = Service(store, clock)
    store.sign_in = lambda: service.sign_in(ALICE, keys)
    store.races = 1
    results = service.reseal(DerivedKeys(NEW, OLD))
    assert results[ALICE] == ResealResult(principal=ALICE, changed=resealed)
    record = store.load(ALICE)
    assert record.envelope.tag.startswith(NEW_ID)
    assert record.device.last_step == clock() // 30  # the sign-in is not lost


def test_a_principal_that_keeps_changing_is_listed(clock: FrozenClock) -> None:
    store = Racing()
    service = Service(store, clock)
    store.sign_in = lambda: service.sign_in(ALICE, DerivedKeys(OLD, accepted=[NEW]))
    store.races = 64
    results = service.reseal(DerivedKeys(NEW, OLD))
    assert list(problems(results)) == [ALICE]
    assert "run the pass again" in problems(results)[ALICE]


def test_threads_that_sign_in_lose_nothing_to_the_pass(
    tmp_path: Path, clock: FrozenClock
) -> None:
    with SQLiteStore(tmp_path / "mfa.db") as store:
        service = Service(store, clock)
        keys = DerivedKeys(NEW, OLD)
        registry = service.registry(keys)
        clock.advance(30)
        accepted: list[PrincipalId] = []

        def sign_in(who: PrincipalId) -> None:
            try:
                registry.verify(who, service.enrolled[who].phone.code())
                accepted.append(who)
            except CodeRejected:
                pass

        with ThreadPoolExecutor(9) as pool:
            sign_ins = [pool.submit(sign_in, who) for who in PEOPLE * 4]
            for future in (pool.submit(service.reseal, keys), *sign_ins):
                future.result()
        assert Counter(accepted) == Counter(PEOPLE)  # each code once
        assert key_usage(store, ACCOUNT).records == Counter({NEW_ID: 4})
        for who in PEOPLE:
            assert store.load(who).device.last_step == clock() // 30


PROGRAM = """
import sys, time
from vmfa import ClockWentBack, CodeRejected, DerivedKeys, DeviceRegistry, Key, PrincipalId
from vmfa import SQLiteStore
from vmfa.keysources.sealed import SealedKeys
from vmfa.reseal import reseal
from vmfa.rekey import rekey
from vmfa.testing import AuthenticatorApp

path, role, number, start = sys.argv[1:]
old, new = bytes(range(32)), bytes(range(100, 132))
sealed_keys = SealedKeys(new, old)
with SQLiteStore(path) as store:
    now = float(start)
    registry = DeviceRegistry(
        store, keys=DerivedKeys(new, old), imported_keys=sealed_keys, issuer="Example",
        clock=lambda: now,
    )
    print("ready", flush=True)
    sys.stdin.readline()
    if role == "pass":
        keys = registry.operations.keys
        for result in (*reseal(store, "a", keys=keys), *rekey(
            store, "a", keys=keys, sealed_keys=sealed_keys
        )):
            assert not result.problem, result
    else:
        for name in range(20):
            who = PrincipalId.user("a", f"u-{name:02}")
            phone = AuthenticatorApp(lambda: now).add(Key(f"the key of number {name:02}".encode()))
            for round in range(3):
                now = float(start) + 30 * round
                try:
                    registry.verify(who, phone.code())
                    print(who.name, round, flush=True)
                except (ClockWentBack, CodeRejected):
                    pass  # another process was first, or is ahead by two rounds
"""


def test_processes_that_sign_in_lose_nothing_to_the_passes(tmp_path: Path) -> None:
    """reseal() and rekey() of sealed keys, while three processes sign the same users in."""
    path, clock = tmp_path / "mfa.db", FrozenClock()
    users = [PrincipalId.user("a", f"u-{name:02}") for name in range(20)]
    with SQLiteStore(path) as store:
        registry = DeviceRegistry(
            store, keys=DerivedKeys(OLD), imported_keys=SealedKeys(OLD), issuer="Example",
            clock=clock,
        )
        for name, who in enumerate(users):
            key = Key(f"the key of number {name:02}".encode())
            registry.adopt(who, by=SERVICE, key=key, system="tests")
        start = str(clock() + 90)
        roles = ["pass", "pass", "sign in", "sign in", "sign in"]
        programs = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(path), role, str(number), start],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for number, role in enumerate(roles)
        ]
        for program in programs:
            assert program.stdout.readline() == "ready\n"
        for program in programs:
            program.stdin.write("go\n")
            program.stdin.flush()
        outputs = [program.communicate(timeout=120)[0] for program in programs]
        assert [program.returncode for program in programs] == [0] * 5
        accepted = Counter(line for output in outputs for line in output.splitlines())
        assert accepted == Counter(
            f"{who.name} {number}" for who in users for number in range(3)
        )
        assert key_usage(store, "a").records == Counter({NEW_ID: 20})
        assert key_usage(store, "a").sealed_devices == Counter({NEW_ID: 20})


# Sealed keys


def test_rekey_and_reseal_together_leave_nothing_under_the_old_key(
    service: Service,
) -> None:
    registry = service.registry(DerivedKeys(OLD), imported_keys=SealedKeys(OLD))
    key = Key.generate()
    registry.adopt(MALLORY, by=SERVICE, key=key, system="tests")
    sealed_keys = SealedKeys(NEW, OLD)
    registry = service.registry(DerivedKeys(NEW, OLD), imported_keys=sealed_keys)
    keys = registry.operations.keys
    assert [result.problem for result in reseal(service.store, ACCOUNT, keys=keys)] == [""] * 5
    rekeyed = list(rekey(service.store, ACCOUNT, keys=keys, sealed_keys=sealed_keys))
    assert [result.principal for result in rekeyed if result.changed] == [MALLORY]
    usage = key_usage(service.store, ACCOUNT)
    assert usage.records == Counter({NEW_ID: 5})
    assert usage.sealed_devices == Counter({NEW_ID: 1})
    service.clock.advance(90)
    registry = service.registry(
        DerivedKeys(NEW, derive_only=[OLD]), imported_keys=SealedKeys(NEW)
    )
    registry.verify(MALLORY, phone_with(key, service.clock).code())


def test_rekey_under_a_derive_only_key_moves_keys_and_launders_no_record(
    service: Service,
) -> None:
    registry = service.registry(DerivedKeys(OLD), imported_keys=SealedKeys(OLD))
    registry.adopt(MALLORY, by=SERVICE, key=Key.generate(), system="tests")
    sealed_keys = SealedKeys(NEW, derive_only=[OLD])
    registry = service.registry(DerivedKeys(NEW, derive_only=[OLD]), imported_keys=sealed_keys)
    keys = registry.operations.keys
    (result,) = [
        result
        for result in rekey(service.store, ACCOUNT, keys=keys, sealed_keys=sealed_keys)
        if result.principal == MALLORY
    ]
    assert "derive-only" in result.problem
    service.reseal(DerivedKeys(NEW, OLD))
    assert [
        result.principal
        for result in rekey(service.store, ACCOUNT, keys=keys, sealed_keys=sealed_keys)
        if result.changed
    ] == [MALLORY]


def test_the_pass_stores_no_event(service: Service) -> None:
    service.reseal(DerivedKeys(NEW, OLD))
    types = [event.type for event in service.store.history(ALICE)]
    assert types == [EventType.OPENED, EventType.ASSIGNED]
