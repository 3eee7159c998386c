"""The rules of a batch, whatever system it comes from."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from inspect import signature

import pytest

from batches import ACCOUNT, user
from leaks import assert_silent
from support import Phone, enroll
from vmfa import (
    AccessDenied,
    Actor,
    AlreadyUsed,
    DeviceDisabled,
    EventType,
    Key,
    MemoryStore,
    NoDevice,
    Parameters,
    PrincipalId,
    SQLiteStore,
    Store,
    StoreContended,
    StoreUnavailable,
)
from vmfa.importers.base import (
    DryRunStore,
    ImportedDevice,
    Principals,
    Rejected,
    Status,
    UnreadableSource,
    adopt_all,
    json_records,
)
from vmfa.keys import reveal

SERVICE = Actor.trusted_service("import")
KEYS = [Key(f"the key of number {number}".encode()) for number in range(4)]


def entry(number: int = 0, **changes: object) -> ImportedDevice:
    made = ImportedDevice(where=f"line {number}", owner=f"u-{number}", source=f"test: u-{number}", key=KEYS[number],
                 parameters=Parameters())
    return replace(made, **changes)


def fates(outcomes) -> list[str]:
    return [outcome.fate.value for outcome in outcomes]


class TestAdopted:
    def test_the_device_is_assigned_and_its_provenance_is_in_the_history(self, importing, registry):
        (told,) = importing([entry(notes=("a note",))])
        assert (told.fate, told.principal, told.notes) == (Status.ADOPTED, user("u-0"), ("a note",))
        assert told.device == registry.device(user("u-0"), by=SERVICE)
        (event,) = registry.history(user("u-0"), by=SERVICE)
        assert event.type is EventType.ADOPTED
        assert dict(event.details)["source"] == "test: u-0"
        assert event.actor == "trusted service import"

    def test_where_the_source_keeps_no_position_nothing_it_saw_works_again(self, importing, registry, clock):
        importing([entry()])
        phone = Phone(KEYS[0], clock)
        for off in (-1, 0, 1):
            with pytest.raises(AlreadyUsed):
                registry.verify(user("u-0"), phone.code(off))
        clock.advance(60)
        assert registry.verify(user("u-0"), phone.code()).step == clock() // 30

    def test_position_and_drift_of_the_source_are_kept(self, importing, registry, clock):
        here = clock() // 30
        importing([entry(last_step=here + 4, drift=5)])
        phone = Phone(KEYS[0], clock)
        with pytest.raises(AlreadyUsed):
            registry.verify(user("u-0"), phone.code(4))
        assert registry.verify(user("u-0"), phone.code(5)).step == here + 5

    def test_failures_are_kept_and_too_many_disable(self, importing, registry):
        first, second = importing([entry(failures=2), entry(1, failures=170)])
        assert first.device.failures == 2
        assert second.notes == ("disabled: too many failures",)
        with pytest.raises(DeviceDisabled):
            registry.verify(user("u-1"), "000000")

    def test_an_open_enrollment_gives_way(self, importing, registry):
        registry.open_enrollment(user("u-0"), by=SERVICE, label="alice")
        assert fates(importing([entry()])) == ["adopted"]


class TestRefused:
    @pytest.mark.parametrize(("changes", "reason"), [
        ({"parameters": Parameters(algorithm="sha512")}, "the policy does not offer"),
        ({"drift": 21}, "drift is -20 to 20"),
        ({"last_step": 2**40}, "last_step is -1 to"),
        ({"last_step": -2}, "last_step is -1 to"),
        ({"failures": -1}, "failures is 0 to 100"),
        ({"owner": ""}, "name is empty"),
        ({"owner": "two\nlines"}, "control characters"),
        ({"source": "x" * 600}, "source is longer"),
    ])
    def test_an_entry_that_does_not_fit_changes_nothing(self, importing, registry, changes, reason):
        first, second = importing([entry(**changes), entry(1)])
        assert first.fate is Status.REFUSED
        assert reason in first.reason
        assert second.fate is Status.ADOPTED
        assert list(registry.principals(ACCOUNT)) == [user("u-1")]

    def test_what_the_reader_found_unfit(self, importing):
        (told,) = importing([Rejected(where="line 7", owner="bob", reason="HOTP")])
        assert (told.where, told.owner, told.fate, told.reason) == ("line 7", "bob", Status.REFUSED, "HOTP")

    def test_whatever_gives_entries_one_by_one_will_do(self, importing):
        assert fates(importing(entry(number) for number in range(3))) == ["adopted"] * 3

    def test_the_same_key_twice_is_nobodys(self, importing, registry):
        told = importing([entry(), entry(1), entry(2, key=KEYS[0])])
        assert fates(told) == ["refused", "adopted", "refused"]
        assert told[0].reason == told[2].reason == "the same key is in this batch more than once"
        with pytest.raises(NoDevice):
            registry.device(user("u-0"), by=SERVICE)

    def test_a_principal_with_a_device_keeps_it(self, importing, registry, clock):
        made = enroll(registry, clock, user("u-0"))
        held = made.device
        (told,) = importing([entry()])
        assert (told.fate, told.device) == (Status.REFUSED, None)
        assert "never overwrites" in told.reason
        assert made.device == held
        made.sign_in()

    def test_the_second_device_of_one_owner(self, importing, registry, clock):
        told = importing([entry(), entry(1, owner="u-0")])
        assert fates(told) == ["adopted", "refused"]
        clock.advance(60)
        assert registry.verify(user("u-0"), Phone(KEYS[0], clock).code())

    @pytest.mark.parametrize("over", [lambda store: store, DryRunStore], ids=["imported", "rehearsed"])
    def test_an_edited_record(self, registry_over, tmp_path, over):
        with SQLiteStore(tmp_path / "mfa.db") as store:
            registry = registry_over(over(store))
            registry_over(store).open_enrollment(user("u-0"), by=SERVICE, label="alice")
            with closing(sqlite3.connect(tmp_path / "mfa.db")) as db, db:
                db.execute("UPDATE principal SET revision = 2")
            told = list(adopt_all(registry, [entry(), entry(1)], by=SERVICE, principals=Principals(account=ACCOUNT)))
        assert fates(told) == ["refused", "adopted"]
        assert "was not written by this library" in told[0].reason
        assert told[0].principal == user("u-0")

    def test_an_edited_history_proves_nothing(self, registry_over, tmp_path):
        with SQLiteStore(tmp_path / "mfa.db") as store:
            registry = registry_over(store)
            whole = list(adopt_all(registry, [entry()], by=SERVICE, principals=Principals(account=ACCOUNT)))
            with closing(sqlite3.connect(tmp_path / "mfa.db")) as db, db:
                db.execute("UPDATE event SET document = 'edited'")
            again = list(adopt_all(registry, [entry()], by=SERVICE, principals=Principals(account=ACCOUNT)))
        assert fates(whole + again) == ["adopted", "refused"]


class TestRepeated:
    def test_a_second_run_changes_nothing(self, importing, registry, store):
        items = [entry(), entry(1)]
        assert fates(importing(items)) == ["adopted", "adopted"]
        held = store.load(user("u-0"))
        assert fates(importing(items)) == ["already adopted", "already adopted"]
        assert store.load(user("u-0")) is held

    @pytest.mark.parametrize("done", [0, 1, 2, 3])
    def test_interrupted_anywhere_and_run_again(self, importing, registry, done):
        items = [entry(number) for number in range(3)]
        steps = adopt_all(registry, items, by=SERVICE, principals=Principals(account=ACCOUNT))
        for _ in range(done):
            next(steps)
        steps.close()
        assert fates(importing(items)) == ["already adopted"] * done + ["adopted"] * (3 - done)

    def test_a_device_of_another_source_is_a_conflict(self, importing):
        importing([entry()])
        assert fates(importing([entry(source="another system")])) == ["refused"]

    def test_a_device_enrolled_after_the_imported_one_was_removed_is_a_conflict(self, importing, registry, clock):
        importing([entry()])
        registry.deactivate(user("u-0"), by=SERVICE)
        enroll(registry, clock, user("u-0"))
        assert fates(importing([entry()])) == ["refused"]

    def test_provenance_is_found_behind_a_long_history(self, importing, registry, monkeypatch):
        for _ in range(6):
            registry.open_enrollment(user("u-0"), by=SERVICE, label="alice")
        importing([entry()])
        asked = []

        def in_pages_of_two(*arguments, after, **others):
            asked.append(after)
            return whole(*arguments, after=after, **others, limit=2)

        whole = type(registry).history
        monkeypatch.setattr(type(registry), "history", in_pages_of_two)
        assert fates(importing([entry()])) == ["already adopted"]
        assert asked == list(range(0, 2 * len(asked), 2))  # each page once
        assert len(asked) > 3

    def test_a_removed_device_is_adopted_again(self, importing, registry):
        """Whoever repeats an old import asks for it: the record of the removal stays in the history."""
        importing([entry()])
        registry.deactivate(user("u-0"), by=SERVICE)
        assert fates(importing([entry()])) == ["adopted"]
        assert fates(importing([entry()])) == ["already adopted"]


class TestPrincipals:
    def test_by_the_owner_itself(self):
        assert Principals(account=ACCOUNT).of("u-7") == user("u-7")

    def test_by_a_map(self, importing):
        principals = Principals(account=ACCOUNT, names={"u-0": "4711"})
        first, second = importing([entry(), entry(1)], principals)
        assert (first.fate, first.principal) == (Status.ADOPTED, user("4711"))
        assert (second.fate, second.reason) == (Status.REFUSED, "the owner is not in the map of names")

    @pytest.mark.parametrize("owner", ["root", "", "admin", "u-1", None])
    @pytest.mark.parametrize("root", ["u-0", None])
    def test_root_is_nobody_who_was_not_named(self, importing, owner, root):
        told = importing([entry(owner=owner)], Principals(account=ACCOUNT, root=root))
        assert told[0].principal != PrincipalId.root(ACCOUNT)

    def test_root_by_name(self, importing, registry, clock):
        principals = Principals(account=ACCOUNT, names={}, root="u-0")
        (told,) = importing([entry()], principals)
        assert told.principal == PrincipalId.root(ACCOUNT)
        clock.advance(60)
        assert registry.verify(PrincipalId.root(ACCOUNT), Phone(KEYS[0], clock).code())

    def test_a_repeated_run_may_not_read_roots_device(self, importing):
        principals = Principals(account=ACCOUNT, root="u-0")
        importing([entry()], principals)
        (told,) = importing([entry()], principals)
        assert (told.fate, told.principal) == (Status.REFUSED, PrincipalId.root(ACCOUNT))


class TestWhatStopsTheBatch:
    def test_only_a_trusted_service_imports(self, registry):
        steps = adopt_all(registry, [entry()], by=Actor.support("case 1"), principals=Principals(account=ACCOUNT))
        with pytest.raises(AccessDenied) as caught:
            next(steps)
        assert_silent(caught.value, "the key of number")

    def test_a_store_that_cannot_be_reached(self, registry, store, monkeypatch):
        def unreachable(*_: object) -> bool:
            raise StoreUnavailable("gone")

        monkeypatch.setattr(store, "commit", unreachable)
        steps = adopt_all(registry, [entry()], by=SERVICE, principals=Principals(account=ACCOUNT))
        with pytest.raises(StoreUnavailable) as caught:
            next(steps)
        assert_silent(caught.value, "the key of number", sha256(reveal(KEYS[0])).digest())

    def test_one_contended_principal_does_not(self, importing, registry, store, monkeypatch):
        commit = store.commit

        def contended(before, after, events):
            if before.id == user("u-0"):
                raise StoreContended("busy")
            return commit(before, after, events)

        monkeypatch.setattr(store, "commit", contended)
        assert fates(importing([entry(), entry(1)])) == ["refused", "adopted"]

    def test_a_clock_that_went_back_does_not(self, importing, registry, clock):
        registry.open_enrollment(user("u-0"), by=SERVICE, label="alice")
        clock.advance(-3600)
        assert fates(importing([entry(), entry(1)])) == ["refused", "adopted"]


class TestRehearsal:
    @pytest.fixture
    def rehearse(self, registry_over, store):
        def run(items):
            dry = registry_over(DryRunStore(store))
            return list(adopt_all(dry, items, by=SERVICE, principals=Principals(account=ACCOUNT)))

        return run

    def test_it_tells_what_the_import_then_does_and_writes_nothing(self, rehearse, importing, registry, store, clock):
        enroll(registry, clock, user("u-3"))
        importing([entry(2)])
        held = {who: store.load(who) for who in map(user, ("u-0", "u-1", "u-2", "u-3"))}
        items = [
            entry(), entry(1, owner="u-0"), entry(2), entry(3), Rejected(where="line 9", owner="", reason="HOTP"),
            entry(1, key=Key(bytes(20)), parameters=Parameters(digits=7)),
        ]
        rehearsed = rehearse(items)
        assert {who: store.load(who) for who in held} == held
        told = importing(items)
        assert fates(told) == ["adopted", "refused", "already adopted", "refused", "refused", "refused"]
        serials = [(outcome.device and outcome.device.serial) for outcome in (*rehearsed, *told)]
        assert len(set(serials)) == 3
        for dry, real in zip(rehearsed, told, strict=True):
            assert replace(dry, device=None) == replace(real, device=None)

    def test_rehearsed_twice_in_one_run(self, store, rehearse):
        assert fates(rehearse([entry(), entry(1, owner="u-0", source="test: u-0")])) == ["adopted", "already adopted"]

    def test_it_reads_like_the_store_with_the_rehearsed_writes(self, registry, store, clock, alice):
        enroll(registry, clock, alice)
        rehearsal = DryRunStore(store)
        assert rehearsal.principals(ACCOUNT) == [alice]
        assert rehearsal.history(alice, limit=1) == list(store.history(alice, limit=1))
        assert rehearsal.load(user("nobody")).revision == 0
        assert isinstance(rehearsal.store, MemoryStore)

    def test_it_is_volatile_where_the_store_is(self, store, tmp_path):
        assert DryRunStore(store).volatile is True
        with SQLiteStore(tmp_path / "mfa.db") as file:
            assert DryRunStore(file).volatile is False

    @pytest.mark.parametrize("method", ["history", "principals"])
    def test_where_no_page_is_named_it_is_that_of_every_store(self, method):
        assert signature(getattr(DryRunStore, method)) == signature(getattr(Store, method))

    def test_pages_of_principals_are_those_of_the_store(self, registry, store):
        for number in range(4):
            registry.open_enrollment(user(f"u-{number}"), by=SERVICE, label="alice")
        assert DryRunStore(store).principals(ACCOUNT, after=user("u-0"), limit=2) == [user("u-1"), user("u-2")]

    def test_pages_of_a_history_run_on_from_what_is_stored_to_what_is_rehearsed(self, registry_over, clock, alice):
        class Frugal(MemoryStore):
            """Who does not say how much gets a page of one event."""

            def history(self, principal, *, after=0, limit=1):
                return super().history(principal, after=after, limit=limit)

        store = Frugal()
        for _ in range(2):
            registry_over(store).open_enrollment(alice, by=SERVICE, label="alice")
        rehearsal = DryRunStore(store)
        for _ in range(2):
            registry_over(rehearsal).open_enrollment(alice, by=SERVICE, label="alice")
        everything = [event.number for event in rehearsal.history(alice)]
        assert everything == list(range(1, len(everything) + 1))
        assert len(everything) > len(store.history(alice, limit=1000)) > 2
        for after in everything:
            for limit in everything:
                page = rehearsal.history(alice, after=after, limit=limit)
                assert [event.number for event in page] == everything[after : after + limit]

    def test_stored_events_that_no_record_speaks_of_give_way(self, registry, registry_over, store, clock, alice):
        registry.open_enrollment(alice, by=SERVICE, label="alice")
        stale = store.history(alice)[0]
        store._events[alice].append(replace(stale, number=2))  # of a commit that never was
        rehearsal = DryRunStore(store)
        dry = registry_over(rehearsal)
        dry.cancel_enrollment(alice, by=SERVICE)
        dry.open_enrollment(alice, by=SERVICE, label="alice")
        assert [(event.number, event.type) for event in dry.history(alice, by=SERVICE)] == [
            (1, EventType.OPENED), (2, EventType.CANCELLED), (3, EventType.OPENED),
        ]
        assert [event.number for event in rehearsal.history(alice, after=1)] == [2, 3]


WHY_NOT = (
    r"^(this is no JSON, or an object in it names a field twice|the source is a JSON list of objects)$"
)


class TestJson:
    @pytest.mark.parametrize("text", [
        "", "{", "[1", "nul", "{}", "[1]", '["a"]', '[{"owner": "a", "owner": "b"}]', "[" * 100_000, "9" * 5000,
        '[{"a": NaN}', "\ud800",
    ])
    def test_what_is_no_list_of_objects(self, text):
        with pytest.raises(UnreadableSource, match=WHY_NOT) as caught:
            json_records(f"{text}" if text != "{" else '{"secret": "GEZDGNBVGY3TQOJQ')
        assert caught.value.reason == "unreadable source"
        assert_silent(caught.value, "GEZDGNBVGY3TQOJQ")

    def test_records(self):
        assert json_records('[{"a": 1}, {}]') == [{"a": 1}, {}]
        assert json_records("[]") == []
