"""A dry run decides as the import does, and changes nothing."""

from __future__ import annotations

import gc
from dataclasses import replace
from inspect import signature

import pytest

from batches import ACCOUNT, SERVICE, device, statuses, user
from support import enroll
from vmfa import EventType, Key, MemoryStore, Parameters, SQLiteStore, Store
from vmfa.importers.base import Principals, Rejected, adopt_all
from vmfa.importers.dry_run import DryRunStore


class TestDryRun:
    @pytest.fixture
    def dry_run(self, registry_over, store):
        def run(items):
            dry = registry_over(DryRunStore(store))
            return list(
                adopt_all(dry, items, by=SERVICE, principals=Principals(account=ACCOUNT))
            )

        return run

    def test_it_decides_as_the_import_does_and_writes_nothing(
        self, dry_run, run_import, registry, store, clock
    ):
        enroll(registry, clock, user("u-3"))
        run_import([device(2)])
        before = {who: store.load(who) for who in map(user, ("u-0", "u-1", "u-2", "u-3"))}
        items = [
            device(),
            device(1, owner="u-0"),
            device(2),
            device(3),
            Rejected(where="line 9", owner="", reason="HOTP"),
            device(1, key=Key(bytes(20)), parameters=Parameters(digits=7)),
        ]
        dry_outcomes = dry_run(items)
        assert {who: store.load(who) for who in before} == before
        outcomes = run_import(items)
        assert statuses(outcomes) == [
            "adopted", "conflict", "already adopted", "conflict", "refused", "refused",
        ]
        for dry, real in zip(dry_outcomes, outcomes, strict=True):
            assert replace(dry, device=None) == replace(real, device=None)

    def test_one_dry_run_sees_its_own_adoptions(self, dry_run):
        assert statuses(dry_run([device(), device()])) == ["adopted", "already adopted"]

    def test_it_reads_the_store_and_its_own_writes(self, registry, store, clock, alice):
        enroll(registry, clock, alice)
        dry = DryRunStore(store)
        assert dry.principals(ACCOUNT) == [alice]
        assert dry.history(alice, limit=1) == list(store.history(alice, limit=1))
        assert dry.load(user("nobody")).revision == 0
        assert dry.store is store

    def test_it_is_volatile_if_the_store_is(self, store, tmp_path):
        assert DryRunStore(store).volatile is True
        with SQLiteStore(tmp_path / "mfa.db") as file:
            assert DryRunStore(file).volatile is False

    @pytest.mark.parametrize("method", ["load", "commit", "history", "principals"])
    def test_it_has_the_signatures_of_a_store(self, method):
        assert signature(getattr(DryRunStore, method)) == signature(getattr(Store, method))

    def test_pages_of_principals_are_those_of_the_store(self, registry, store):
        for number in range(4):
            registry.open_enrollment(user(f"u-{number}"), by=SERVICE, label="alice")
        page = DryRunStore(store).principals(ACCOUNT, after=user("u-0"), limit=2)
        assert page == [user("u-1"), user("u-2")]

    def test_pages_of_a_history_continue_with_the_events_of_the_dry_run(
        self, registry_over, alice
    ):
        class SmallPages(MemoryStore):
            def history(self, principal, *, after=0, limit=1):
                return super().history(principal, after=after, limit=limit)

        store = SmallPages()
        for _ in range(2):
            registry_over(store).open_enrollment(alice, by=SERVICE, label="alice")
        dry = DryRunStore(store)
        for _ in range(2):
            registry_over(dry).open_enrollment(alice, by=SERVICE, label="alice")
        numbers = [event.number for event in dry.history(alice)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) > len(store.history(alice, limit=1000)) > 2
        for after in numbers:
            for limit in numbers:
                page = dry.history(alice, after=after, limit=limit)
                assert [event.number for event in page] == numbers[after : after + limit]

    def test_it_replaces_stored_events_beyond_the_history(
        self, registry, registry_over, store, alice
    ):
        registry.open_enrollment(alice, by=SERVICE, label="alice")
        (event,) = store.history(alice)
        record, _ = store._records[alice]
        store._records[alice] = (record, (event, replace(event, number=2)))  # a lost commit
        dry = DryRunStore(store)
        dry_registry = registry_over(dry)
        dry_registry.cancel_enrollment(alice, by=SERVICE)
        dry_registry.open_enrollment(alice, by=SERVICE, label="alice")
        history = dry_registry.history(alice, by=SERVICE)
        assert [(event.number, event.type) for event in history] == [
            (1, EventType.OPENED), (2, EventType.CANCELED), (3, EventType.OPENED),
        ]
        assert [event.number for event in dry.history(alice, after=1)] == [2, 3]

    def test_a_record_that_changed_in_between_is_not_replaced(self, registry_over, store, alice):
        dry = DryRunStore(store)
        before = dry.load(alice)
        registry_over(dry).open_enrollment(alice, by=SERVICE, label="alice")
        after = dry.load(alice)
        assert dry.commit(before, after, ()) is False
        assert dry.commit(after, after, ()) is True

    def test_it_creates_no_file(self, registry_over, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with SQLiteStore(tmp_path / "mfa.db") as file:
            file.load(user("u-0"))
            before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
            dry = registry_over(DryRunStore(file))
            principals = Principals(account=ACCOUNT)
            list(adopt_all(dry, [device()], by=SERVICE, principals=principals))
            assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_it_closes_what_it_opened(self, store):
        DryRunStore(store)
        gc.collect()  # an open connection would be a ResourceWarning
