"""Copying a store into another one: complete, verified, and resumed after a kill."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from postgres_server import database, server  # noqa: F401  # fixtures
from support import MASTER, Enrolled, enroll
from vmfa import (
    Actor,
    AlreadyUsed,
    AuditEvent,
    DerivedKeys,
    DeviceRegistry,
    InvalidValue,
    MemoryStore,
    Policy,
    Principal,
    PrincipalId,
    SQLiteStore,
    Store,
)
from vmfa.copying import (
    DIFFERENT,
    MISSING,
    ONLY_THERE,
    CopyResult,
    DestinationInUse,
    compare_records,
    copy_records,
)
from vmfa.stores.postgres import PostgresStore
from vmfa.testing import FrozenClock

KEYS = DerivedKeys(MASTER)
SERVICE = Actor.trusted_service("tests")
ACCOUNTS = ("123456789012", "é", "A", "a")


class Service:
    """Users in some accounts, with histories of several kinds."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = FrozenClock()
        self.registry = DeviceRegistry(
            store, keys=KEYS, issuer="Example", clock=self.clock,
            policy=Policy(store_sign_ins=True),
        )
        self.people: list[Enrolled] = []
        for account in ACCOUNTS:
            for principal in (PrincipalId.root(account), PrincipalId.user(account, "u-1")):
                self.people.append(enroll(self.registry, self.clock, principal))
        for number, person in enumerate(self.people):
            for _ in range(number):
                person.sign_in()
        self.clock.advance(400 * 86_400)
        self.pruned = self.people[5]
        self.pruned.sign_in()
        self.registry.prune_history(
            self.pruned.principal, by=SERVICE, older_than=int(self.clock()) - 86_400
        )
        self.registry.open_enrollment(
            PrincipalId.user("a", "open"), by=Actor.signed_in(PrincipalId.user("a", "open")),
            label="open",
        )
        gone = enroll(self.registry, self.clock, PrincipalId.user("gone", "u-1"))
        self.registry.forget(gone.principal, by=SERVICE)

    @property
    def principals(self) -> list[PrincipalId]:
        return [who for account in ACCOUNTS for who in self.store.principals(account)]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Service]:
    with SQLiteStore(tmp_path / "source.db") as store:
        yield Service(store)


@pytest.fixture
def destination(tmp_path: Path) -> Iterator[SQLiteStore]:
    with SQLiteStore(tmp_path / "destination.db") as store:
        yield store


def copy(source: Store, destination: Store, **options: Any) -> list[CopyResult]:
    return list(copy_records(source, destination, keys=KEYS, **options))


def differences(source: Store, destination: Store, **options: Any) -> dict[str, str]:
    results = compare_records(source, destination, keys=KEYS, **options)
    return {str(result.principal): result.problem for result in results if result.problem}


def assert_equal(source: Store, destination: Store, principals: list[PrincipalId]) -> None:
    for who in principals:
        assert destination.load(who) == source.load(who)
        assert list(destination.history(who)) == list(source.history(who))
    for account in (*ACCOUNTS, "gone"):
        assert list(destination.principals(account)) == list(source.principals(account))


def test_records_and_histories_are_copied(source: Service, destination: SQLiteStore) -> None:
    results = copy(source.store, destination)
    assert [result.problem for result in results] == [""] * 9
    assert all(result.copied for result in results)
    assert sorted(str(result.principal) for result in results) == sorted(
        map(str, source.principals)
    )
    assert sum(result.events for result in results) == sum(
        len(source.store.history(who)) for who in source.principals
    )
    assert_equal(source.store, destination, source.principals)
    assert differences(source.store, destination) == {}
    pruned = destination.load(source.pruned.principal)
    assert pruned.pruned > 0


def test_the_copy_accepts_no_used_code_and_serves_at_once(
    source: Service, destination: SQLiteStore
) -> None:
    copy(source.store, destination)
    registry = DeviceRegistry(destination, keys=KEYS, issuer="Example", clock=source.clock)
    for person in source.people:
        last_step = destination.load(person.principal).device.last_step  # type: ignore[union-attr]
        assert last_step == person.device.last_step
    person = source.pruned
    with pytest.raises(AlreadyUsed):
        registry.verify(person.principal, person.phone.code())
    source.clock.advance(30)
    registry.verify(person.principal, person.phone.code())
    assert len(registry.history(person.principal, by=Actor.support("case"))) > 0


def test_a_copy_to_postgresql_and_back_is_the_original(
    source: Service, tmp_path: Path, database: str  # noqa: F811  # a fixture
) -> None:
    with PostgresStore(database) as middle, SQLiteStore(tmp_path / "back.db") as back:
        middle.create_schema()
        assert not [result.problem for result in copy(source.store, middle) if result.problem]
        assert differences(source.store, middle) == {}
        assert not [result.problem for result in copy(middle, back) if result.problem]
        assert differences(middle, back) == differences(source.store, back) == {}
        assert_equal(source.store, back, source.principals)
        assert list(middle.accounts()) == list(back.accounts()) == sorted(ACCOUNTS)


def test_only_the_given_accounts_are_copied(source: Service, destination: SQLiteStore) -> None:
    results = copy(source.store, destination, accounts=["a"])
    assert {result.principal.account for result in results} == {"a"}
    assert list(destination.accounts()) == ["a"]
    assert differences(source.store, destination, accounts=["a"]) == {}
    missing = differences(source.store, destination)
    assert set(missing.values()) == {MISSING}
    assert len(missing) == 6


def test_a_copy_that_was_interrupted_continues(
    source: Service, destination: SQLiteStore
) -> None:
    first = copy_records(source.store, destination, keys=KEYS)
    for _ in range(4):
        assert next(first).copied
    first.close()
    again = copy(source.store, destination)
    assert [result.copied for result in again] == [False] * 4 + [True] * 5
    assert differences(source.store, destination) == {}
    assert not any(result.copied for result in copy(source.store, destination))


KILLED = """
import os, signal, sys
from vmfa import DerivedKeys, SQLiteStore
from vmfa.copying import copy_records

source, destination = SQLiteStore(sys.argv[1]), SQLiteStore(sys.argv[2])
for number, _ in enumerate(copy_records(source, destination, keys=DerivedKeys(bytes(range(32))))):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_copy_that_was_killed_continues(
    source: Service, destination: SQLiteStore, tmp_path: Path
) -> None:
    child = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "source.db", tmp_path / "destination.db"],
        check=False, timeout=60, env=os.environ,
    )
    assert child.returncode == -signal.SIGKILL
    again = copy(source.store, destination)
    assert [result.copied for result in again] == [False] * 3 + [True] * 6
    assert differences(source.store, destination) == {}
    assert_equal(source.store, destination, source.principals)


def test_a_destination_with_other_records_is_refused(
    source: Service, destination: SQLiteStore
) -> None:
    registry = DeviceRegistry(destination, keys=KEYS, issuer="Example", clock=source.clock)
    stranger = enroll(registry, source.clock, PrincipalId.user("other", "u-1"))
    with pytest.raises(DestinationInUse, match="other/user/u-1"):
        copy(source.store, destination)
    assert list(destination.accounts()) == ["other"]
    registry.forget(stranger.principal, by=SERVICE)
    assert all(result.copied for result in copy(source.store, destination))


def test_a_destination_that_is_in_use_is_refused(
    source: Service, destination: SQLiteStore
) -> None:
    copy(source.store, destination)
    source.clock.advance(30)
    registry = DeviceRegistry(destination, keys=KEYS, issuer="Example", clock=source.clock)
    person = source.people[0]
    registry.verify(person.principal, person.phone.code())
    with pytest.raises(DestinationInUse):
        copy(source.store, destination)
    assert differences(source.store, destination) == {str(person.principal): DIFFERENT}


def test_a_destination_with_an_unreadable_record_is_refused(
    source: Service, destination: SQLiteStore, tmp_path: Path
) -> None:
    copy(source.store, destination)
    edit(tmp_path / "destination.db", "UPDATE principal SET state = '[]' WHERE kind = 'root'")
    with pytest.raises(DestinationInUse):
        copy(source.store, destination)


def test_a_source_that_changes_is_reported(source: Service, destination: SQLiteStore) -> None:
    copy(source.store, destination)
    source.people[0].sign_in()
    assert differences(source.store, destination) == {
        str(source.people[0].principal): DIFFERENT
    }
    new = enroll(source.registry, source.clock, PrincipalId.user("late", "u-1"))
    source.registry.forget(source.people[1].principal, by=SERVICE)
    assert differences(source.store, destination) == {
        str(source.people[0].principal): DIFFERENT,
        str(new.principal): MISSING,
        str(source.people[1].principal): ONLY_THERE,
    }


class Changing(SQLiteStore):
    """A store in which another process commits before each page of a history is read."""

    change: Any = None

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        if self.change is not None:
            self.change(principal)
        return super().history(principal, after=after, limit=limit)


def test_a_principal_that_keeps_changing_is_not_copied(
    tmp_path: Path, destination: SQLiteStore
) -> None:
    with Changing(tmp_path / "source.db") as store:
        service = Service(store)
        person = service.people[0]

        def sign_in(principal: PrincipalId) -> None:
            if principal == person.principal:
                person.sign_in()

        store.change = sign_in
        problems = [result for result in copy(store, destination) if result.problem]
        store.change = None
        assert [result.principal for result in problems] == [person.principal]
        assert "kept changing" in problems[0].problem
        assert destination.load(person.principal).revision == 0
        assert differences(store, destination) == {str(person.principal): MISSING}


def test_a_principal_that_is_forgotten_meanwhile_is_not_copied(
    tmp_path: Path, destination: SQLiteStore
) -> None:
    class Forgets(SQLiteStore):
        def load(self, principal: PrincipalId) -> Principal:
            return Principal(id=principal) if principal.name == "u-1" else super().load(principal)

    with Forgets(tmp_path / "source.db") as store:
        clock = FrozenClock()
        who = PrincipalId.user("a", "u-1")
        with SQLiteStore(tmp_path / "source.db") as other:
            registry = DeviceRegistry(other, keys=KEYS, issuer="Example", clock=clock)
            enroll(registry, clock, who)
            edit(tmp_path / "source.db", "DELETE FROM event")
        assert copy(store, destination) == [CopyResult(principal=who)]
        assert differences(store, destination) == {}


def test_another_process_that_writes_to_the_destination_is_reported(
    source: Service, tmp_path: Path
) -> None:
    class Overtaken(SQLiteStore):
        """Another process stores another record before each commit."""

        def commit(
            self, before: Principal, after: Principal, events: Sequence[AuditEvent]
        ) -> bool:
            with SQLiteStore(tmp_path / "destination.db") as faster:
                registry = DeviceRegistry(faster, keys=KEYS, issuer="x", clock=source.clock)
                registry.open_enrollment(after.id, by=Actor.signed_in(after.id), label="x")
            return super().commit(before, after, events)

    with Overtaken(tmp_path / "destination.db") as destination:
        results = copy(source.store, destination)
    assert {result.problem for result in results} == {DIFFERENT}
    assert not any(result.copied for result in results)


def edit(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement).rowcount > 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE principal SET tag = audit_tag WHERE name = 'u-1' AND account = 'a'",
        "UPDATE principal SET revision = 99 WHERE name = 'u-1' AND account = 'a'",
        "UPDATE principal SET state = '[]' WHERE name = 'u-1' AND account = 'a'",
        "UPDATE event SET digest = content_digest WHERE name = 'u-1' AND account = 'a'",
        "DELETE FROM event WHERE name = 'u-1' AND account = 'a' AND number = 1",
        "DELETE FROM event WHERE name = 'u-1' AND account = 'a' AND number > 2",
    ],
)
def test_what_is_not_intact_is_not_copied(
    source: Service, destination: SQLiteStore, tmp_path: Path, statement: str
) -> None:
    edit(tmp_path / "source.db", statement)
    problems = [result for result in copy(source.store, destination) if result.problem]
    assert [str(result.principal) for result in problems] == ["a/user/u-1"]
    assert destination.load(PrincipalId.user("a", "u-1")).revision == 0
    assert list(differences(source.store, destination)) == ["a/user/u-1"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE principal SET tag = audit_tag WHERE name = 'u-1' AND account = 'a'",
        "DELETE FROM event WHERE name = 'u-1' AND account = 'a' AND number > 2",
        "DELETE FROM principal WHERE name = 'u-1' AND account = 'a'",
    ],
)
def test_a_copy_that_is_not_intact_is_reported(
    source: Service, destination: SQLiteStore, tmp_path: Path, statement: str
) -> None:
    copy(source.store, destination)
    edit(tmp_path / "destination.db", statement)
    assert list(differences(source.store, destination)) == ["a/user/u-1"]


def test_another_master_key_copies_nothing(source: Service, destination: SQLiteStore) -> None:
    keys = DerivedKeys(bytes(range(1, 33)))
    results = list(copy_records(source.store, destination, keys=keys))
    assert all("master key" in result.problem for result in results)
    assert list(destination.accounts()) == []


def test_a_store_in_memory_cannot_be_copied(destination: SQLiteStore) -> None:
    with pytest.raises(InvalidValue, match="not authenticated"):
        copy(MemoryStore(), destination)


class FourMethods:
    """A store with the methods that a registry needs, and no more."""

    def __init__(self, store: Store) -> None:
        self.load, self.commit = store.load, store.commit
        self.principals, self.history = store.principals, store.history


def test_a_store_that_cannot_list_its_accounts_needs_them(
    source: Service, tmp_path: Path
) -> None:
    four: Any = FourMethods(source.store)
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(SQLiteStore(tmp_path / f"{name}.db")) for name in ("one", "two")
        )
        with pytest.raises(InvalidValue, match="pass accounts="):
            copy(four, one)
        with pytest.raises(InvalidValue, match="pass accounts="):
            list(compare_records(four, one, keys=KEYS))
        assert len(copy(four, one, accounts=ACCOUNTS)) == 9
        other: Any = FourMethods(two)
        assert len(copy(source.store, other)) == 9
        assert differences(source.store, other) == {}
