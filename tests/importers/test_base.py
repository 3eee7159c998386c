"""The rules of a batch, which are the same for every source."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from batches import ACCOUNT, KEYS, SERVICE, device, peak_memory, statuses, user
from leaks import assert_silent
from support import enroll, phone_with
from vmfa import (
    AccessDenied,
    Actor,
    AlreadyUsed,
    DeviceDisabled,
    EventType,
    Key,
    NoDevice,
    Parameters,
    PrincipalId,
    SQLiteStore,
    StoreContended,
    StoreUnavailable,
    UnknownMasterKey,
)
from vmfa.importers import base
from vmfa.importers.base import (
    Items,
    Principals,
    Rejected,
    Status,
    Survey,
    UnreadableSource,
    adopt_all,
)
from vmfa.importers.dry_run import DryRunStore


class TestAdopted:
    def test_the_device_is_assigned_and_the_history_names_its_source(self, run_import, registry):
        (outcome,) = run_import([device(notes=("a note",))])
        assert (outcome.status, outcome.principal) == (Status.ADOPTED, user("u-0"))
        assert (outcome.imported, outcome.notes) == (True, ("a note",))
        assert outcome.device == registry.device(user("u-0"), by=SERVICE)
        (event,) = registry.history(user("u-0"), by=SERVICE)
        assert event.type is EventType.ADOPTED
        assert dict(event.details)["system"] == "test: u-0"

    def test_without_a_replay_position_no_code_of_the_past_works(
        self, run_import, registry, clock
    ):
        run_import([device()])
        phone = phone_with(KEYS[0], clock)
        for off in (-1, 0, 1):
            with pytest.raises(AlreadyUsed):
                registry.verify(user("u-0"), phone.code(off))
        clock.advance(60)
        assert registry.verify(user("u-0"), phone.code()).step == clock() // 30

    def test_position_and_drift_are_imported(self, run_import, registry, clock):
        now = clock() // 30
        run_import([device(last_step=now + 4, drift=5)])
        phone = phone_with(KEYS[0], clock)
        with pytest.raises(AlreadyUsed):
            registry.verify(user("u-0"), phone.code(4))
        assert registry.verify(user("u-0"), phone.code(5)).step == now + 5

    def test_failures_are_imported_and_too_many_disable_the_device(self, run_import, registry):
        first, second = run_import([device(failures=2), device(1, failures=170)])
        assert first.device.failures == 2
        assert second.notes == ("disabled: too many failures",)
        with pytest.raises(DeviceDisabled):
            registry.verify(user("u-1"), "000000")

    def test_an_open_enrollment_is_superseded(self, run_import, registry):
        registry.open_enrollment(user("u-0"), by=SERVICE, label="alice")
        assert statuses(run_import([device()])) == ["adopted"]


class TestRefused:
    @pytest.mark.parametrize("changes", [
        {"parameters": Parameters(algorithm="sha512")},
        {"drift": 21},
        {"last_step": 2**40},
        {"last_step": -2},
        {"failures": -1},
        {"owner": ""},
        {"owner": "two\nlines"},
        {"system": "x" * 600},
    ])
    def test_an_invalid_device_changes_nothing(self, run_import, registry, changes):
        first, second = run_import([device(**changes), device(1)])
        assert (first.status, first.imported) == (Status.REFUSED, False)
        assert first.reason
        assert second.status is Status.ADOPTED
        assert list(registry.principals(ACCOUNT)) == [user("u-1")]

    def test_a_rejected_entry_is_reported(self, run_import):
        (outcome,) = run_import([Rejected(where="line 7", owner="bob", reason="HOTP")])
        assert (outcome.where, outcome.owner) == ("line 7", "bob")
        assert (outcome.status, outcome.reason) == (Status.REFUSED, "HOTP")

    def test_an_iterator_of_items_is_allowed(self, run_import):
        assert statuses(run_import(device(number) for number in range(3))) == ["adopted"] * 3

    def test_one_key_under_two_owners_belongs_to_neither(self, run_import, registry):
        outcomes = run_import([device(), device(1), device(2, key=KEYS[0])])
        assert statuses(outcomes) == ["refused", "adopted", "refused"]
        assert "another owner in this batch has the same key" in outcomes[0].reason
        assert outcomes[2].reason == outcomes[0].reason
        with pytest.raises(NoDevice):
            registry.device(user("u-0"), by=SERVICE)

    @pytest.mark.parametrize("over", [lambda store: store, DryRunStore], ids=["real", "dry run"])
    def test_an_edited_record(self, registry_over, tmp_path, over):
        with SQLiteStore(tmp_path / "mfa.db") as store:
            registry = registry_over(over(store))
            registry_over(store).open_enrollment(user("u-0"), by=SERVICE, label="alice")
            with closing(sqlite3.connect(tmp_path / "mfa.db")) as db, db:
                db.execute("UPDATE principal SET revision = 2")
            principals = Principals(account=ACCOUNT)
            items = [device(), device(1)]
            outcomes = list(adopt_all(registry, items, by=SERVICE, principals=principals))
        assert statuses(outcomes) == ["refused", "adopted"]
        assert outcomes[0].principal == user("u-0")


class TestConflicts:
    def test_a_principal_with_a_device_keeps_it(self, run_import, registry, clock):
        enrolled = enroll(registry, clock, user("u-0"))
        assigned = enrolled.device
        (outcome,) = run_import([device()])
        assert (outcome.status, outcome.imported) == (Status.CONFLICT, False)
        assert "another key" in outcome.reason
        assert outcome.device is None
        assert enrolled.device == assigned
        enrolled.sign_in()

    def test_the_second_key_of_one_owner(self, run_import, registry, clock):
        first, second = run_import([device(), device(1, owner="u-0", system="test: u-0")])
        assert (first.status, second.status) == (Status.ADOPTED, Status.CONFLICT)
        clock.advance(60)
        assert registry.verify(user("u-0"), phone_with(KEYS[0], clock).code())

    def test_a_later_export_after_the_user_enrolled_again(self, run_import):
        run_import([device()])
        assert statuses(run_import([device(key=KEYS[1])])) == ["conflict"]

    def test_the_same_key_with_other_parameters(self, run_import):
        run_import([device()])
        (outcome,) = run_import([device(parameters=Parameters(digits=8))])
        assert outcome.status is Status.CONFLICT
        assert "other parameters" in outcome.reason

    def test_a_device_that_was_enrolled_after_the_imported_one(self, run_import, registry, clock):
        run_import([device()])
        registry.deactivate(user("u-0"), by=SERVICE)
        enroll(registry, clock, user("u-0"))
        assert statuses(run_import([device()])) == ["conflict"]

    def test_the_device_of_root_is_compared_too(self, run_import):
        principals = Principals(account=ACCOUNT, root="u-0")
        first, second = run_import([device(), device(key=KEYS[1])], principals)
        assert (first.status, second.status) == (Status.ADOPTED, Status.CONFLICT)
        (outcome,) = run_import([device()], principals)
        assert (outcome.status, outcome.principal) == (Status.ALREADY, PrincipalId.root(ACCOUNT))

    def test_a_device_that_is_removed_during_the_comparison(self, run_import, registry):
        run_import([device()])
        adopt = registry.adopt

        def adopt_and_remove(*args, **kwargs):
            try:
                return adopt(*args, **kwargs)
            finally:
                registry.deactivate(user("u-0"), by=SERVICE)

        registry.adopt = adopt_and_remove
        (outcome,) = run_import([device()])
        assert outcome.status is Status.CONFLICT
        assert "run the import again" in outcome.reason

    def test_a_key_under_an_unknown_master_key(self, run_import, registry, monkeypatch):
        def unknown(*_: object) -> Key:
            raise UnknownMasterKey("not this one")

        run_import([device(), device(1)])
        monkeypatch.setattr(registry.operations.keys, "reveal", unknown)
        outcomes = run_import([device(), device(1)])
        assert [(o.status, o.reason) for o in outcomes] == [(Status.CONFLICT, "not this one")] * 2


class TestRepeated:
    def test_a_second_run_changes_nothing(self, run_import, registry, store):
        items = [device(), device(1)]
        assert statuses(run_import(items)) == ["adopted", "adopted"]
        stored = store.load(user("u-0"))
        outcomes = run_import(items)
        assert statuses(outcomes) == ["already adopted", "already adopted"]
        assert all(outcome.imported and not outcome.notes for outcome in outcomes)
        assert store.load(user("u-0")) is stored

    def test_the_same_line_twice(self, run_import):
        assert statuses(run_import([device(), device()])) == ["adopted", "already adopted"]

    def test_the_same_key_from_another_source(self, run_import):
        run_import([device()])
        assert statuses(run_import([device(system="another system")])) == ["already adopted"]

    @pytest.mark.parametrize("later", [-1, 0, 1])
    def test_a_code_accepted_elsewhere_after_the_import_is_noted(self, run_import, clock, later):
        now = clock() // 30
        run_import([device(last_step=now)])
        (outcome,) = run_import([device(last_step=now + later)])
        assert outcome.status is Status.ALREADY
        assert bool(outcome.notes) is (later > 0)

    @pytest.mark.parametrize("done", [0, 1, 2, 3])
    def test_an_interrupted_import_is_run_again(self, run_import, registry, done):
        items = [device(number) for number in range(3)]
        principals = Principals(account=ACCOUNT)
        outcomes = adopt_all(registry, items, by=SERVICE, principals=principals)
        for _ in range(done):
            next(outcomes)
        outcomes.close()
        expected = ["already adopted"] * done + ["adopted"] * (3 - done)
        assert statuses(run_import(items)) == expected

    def test_a_removed_device_is_adopted_again(self, run_import, registry):
        run_import([device()])
        registry.deactivate(user("u-0"), by=SERVICE)
        assert statuses(run_import([device()])) == ["adopted"]
        assert statuses(run_import([device()])) == ["already adopted"]


class TestPrincipals:
    def test_the_owner_is_the_user_id(self):
        assert Principals(account=ACCOUNT).of("u-7") == user("u-7")

    def test_a_map_from_owners_to_user_ids(self, run_import):
        principals = Principals(account=ACCOUNT, names={"u-0": "4711"})
        first, second = run_import([device(), device(1)], principals)
        assert (first.status, first.principal) == (Status.ADOPTED, user("4711"))
        assert (second.status, second.principal) == (Status.REFUSED, None)
        assert second.reason == "the owner is not in the map of names"

    @pytest.mark.parametrize("owner", ["root", "", "admin", "u-1"])
    @pytest.mark.parametrize("root", ["u-0", None])
    def test_only_the_named_owner_is_root(self, run_import, owner, root):
        (outcome,) = run_import([device(owner=owner)], Principals(account=ACCOUNT, root=root))
        assert outcome.principal != PrincipalId.root(ACCOUNT)

    def test_root_by_name(self, run_import, registry, clock):
        principals = Principals(account=ACCOUNT, names={}, root="u-0")
        (outcome,) = run_import([device()], principals)
        assert outcome.principal == PrincipalId.root(ACCOUNT)
        clock.advance(60)
        assert registry.verify(PrincipalId.root(ACCOUNT), phone_with(KEYS[0], clock).code())


class TestWhatStopsTheBatch:
    def test_an_actor_that_is_not_a_trusted_service(self, registry):
        principals = Principals(account=ACCOUNT)
        outcomes = adopt_all(
            registry, [device()], by=Actor.support("case 1"), principals=principals
        )
        with pytest.raises(AccessDenied) as caught:
            next(outcomes)
        assert_silent(caught.value, "the key of number")

    def test_a_store_that_cannot_be_reached(self, registry, store, monkeypatch):
        def unreachable(*_: object) -> bool:
            raise StoreUnavailable("gone")

        monkeypatch.setattr(store, "commit", unreachable)
        principals = Principals(account=ACCOUNT)
        outcomes = adopt_all(registry, [device()], by=SERVICE, principals=principals)
        with pytest.raises(StoreUnavailable) as caught:
            next(outcomes)
        assert_silent(caught.value, "the key of number")

    def test_an_unreadable_source_before_the_first_adoption(self, registry, store):
        def read():
            yield device()
            raise UnreadableSource("cut off")

        principals = Principals(account=ACCOUNT)
        with pytest.raises(UnreadableSource):
            list(adopt_all(registry, Items(read), by=SERVICE, principals=principals))
        assert not store.principals(ACCOUNT)

    def test_contention_on_one_principal_does_not(self, run_import, store, monkeypatch):
        commit = store.commit

        def contended(before, after, events):
            if before.id == user("u-0"):
                raise StoreContended("busy")
            return commit(before, after, events)

        monkeypatch.setattr(store, "commit", contended)
        assert statuses(run_import([device(), device(1)])) == ["refused", "adopted"]

    def test_a_clock_that_went_back_does_not(self, run_import, registry, clock):
        registry.open_enrollment(user("u-0"), by=SERVICE, label="alice")
        clock.advance(-3600)
        assert statuses(run_import([device(), device(1)])) == ["refused", "adopted"]


def test_the_memory_of_a_batch_does_not_grow_with_its_rejected_items(registry):
    items = Items(
        lambda: (Rejected(where=f"line {n}", owner="", reason="HOTP") for n in range(20_000))
    )
    principals = Principals(account=ACCOUNT)

    def count() -> int:
        return sum(
            1 for _ in adopt_all(registry, items, by=SERVICE, principals=principals)
        )

    assert peak_memory(count) < 1 << 20


class TestSurvey:
    def test_it_counts_the_entries(self):
        items = [device(), Rejected(where="line 2", owner="", reason="HOTP"), device(1)]
        assert Survey(items).entries == 3

    def test_a_source_has_at_most_two_million_entries(self, monkeypatch):
        assert base.MAX_ENTRIES == 2_000_000
        monkeypatch.setattr(base, "MAX_ENTRIES", 2)
        assert Survey([device(), device(1)]).entries == 2
        with pytest.raises(UnreadableSource, match=r"^the source has more than 2 entries$"):
            Survey([device(), device(1), device(2)])

    def test_an_owner_that_is_not_unicode_text_is_refused(self, run_import):
        outcomes = run_import([device(owner="\udc80"), device(1), device(owner="u-9")])
        assert statuses(outcomes) == ["refused", "adopted", "refused"]

    def test_only_keys_of_several_owners_are_shared(self):
        items = [
            device(), device(1), device(1), device(2), device(3, key=KEYS[2]),
            Rejected(where="line 9", owner="", reason="HOTP"),
        ]
        survey = Survey(items)
        assert [survey.is_shared(item) for item in items[:5]] == [False] * 3 + [True] * 2
