"""The rules of a batch, which are the same for every source."""

from __future__ import annotations

import json
import sqlite3
import tracemalloc
from contextlib import closing
from dataclasses import replace
from inspect import signature

import pytest

from batches import ACCOUNT, refusal_of, user
from leaks import assert_silent
from support import enroll, phone_with
from vmfa import (
    AccessDenied,
    Actor,
    AlreadyUsed,
    DeviceDisabled,
    EventType,
    InvalidType,
    InvalidValue,
    Key,
    MemoryStore,
    NoDevice,
    Parameters,
    PrincipalId,
    SQLiteStore,
    Store,
    StoreContended,
    StoreUnavailable,
    UnknownMasterKey,
)
from vmfa.importers import base
from vmfa.importers.base import (
    DryRunStore,
    ImportedDevice,
    Items,
    Principals,
    Rejected,
    Status,
    UnreadableSource,
    adopt_all,
    json_records,
    json_value,
    numbered_lines,
    printable,
    read_parameters,
    take,
)

SERVICE = Actor.trusted_service("import")
KEYS = [Key(f"the key of number {number}".encode()) for number in range(4)]


def device(number: int = 0, **changes: object) -> ImportedDevice:
    item = ImportedDevice(
        where=f"line {number}", owner=f"u-{number}", system=f"test: u-{number}", key=KEYS[number],
        parameters=Parameters(),
    )
    return replace(item, **changes)


def statuses(outcomes) -> list[str]:
    return [outcome.status.value for outcome in outcomes]


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


class TestLines:
    def test_numbers_are_those_of_an_editor(self):
        text = "# one\r\ntwo\r\n\n  four\u2028still four\x0b\n#\nsix"
        assert list(numbered_lines(text)) == [
            (2, "two"), (4, "four\u2028still four"), (6, "six"),
        ]

    @pytest.mark.parametrize("text", ["", "\n", "#", " \n\t# comment\n"])
    def test_nothing_but_blanks_and_comments(self, text):
        assert list(numbered_lines(text)) == []


class TestJson:
    @pytest.mark.parametrize("text", [
        "", "{", "[1", "nul", "{}", "[1]", '["a"]', '[{"owner": "a", "owner": "b"}]',
        "[" * 100_000, "9" * 5000, '[{"a": NaN}', "\ud800", "[]]", "[{}", "[{},]", "[{}]x",
        "[{} {}]", "[{}}", '[{"a": ' + "[" * 100_000, "[,{}]",
        '{"secret": "GEZDGNBVGY3TQOJQ', '[{"secret": "GEZDGNBVGY3TQOJQ"}, {"secret"]',
    ])
    def test_a_source_that_is_not_a_list_of_objects(self, text):
        with pytest.raises(UnreadableSource) as caught:
            list(json_records(text))
        assert caught.value.reason == "unreadable source"
        assert str(caught.value) in (base.NOT_JSON, base.NOT_A_LIST)
        assert_silent(caught.value, "GEZDGNBVGY3TQOJQ")

    @pytest.mark.parametrize("text", [
        "[]", " [ ] \n", "[{}]", '[{"a": 1}, {}]', '\n[ {"a":"]"},{"b":{"c":[]}} ,\t{}\r]\n',
    ])
    def test_a_list_of_objects(self, text):
        assert list(json_records(text)) == json.loads(text)

    @pytest.mark.parametrize("size", [4000, 5000, 100_000])
    def test_an_object_of_any_usual_size(self, size):
        records = [{"a": "x" * size}, {"b": 1}]
        assert list(json_records(json.dumps(records))) == records

    def test_an_object_that_is_too_large(self):
        text = json.dumps([{"a": "x" * base.MAX_RECORD_CHARACTERS}])
        with pytest.raises(UnreadableSource):
            list(json_records(text))

    def test_one_object_is_in_memory_at_a_time(self):
        text = "[" + ",".join(["{}"] * 50_000) + "]"
        assert peak_memory(lambda: sum(1 for _ in json_records(text))) < 1 << 20

    def test_a_value(self):
        assert json_value('{"a": [1]}') == {"a": [1]}

    @pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "[" * 100_000, '"GEZDGNBVGY3TQOJQ'])
    def test_a_text_that_is_not_json(self, text):
        with pytest.raises(UnreadableSource) as caught:
            json_value(text)
        assert str(caught.value) == base.NOT_JSON
        assert_silent(caught.value, "GEZDGNBVGY3TQOJQ")


@pytest.mark.parametrize(
    "read", [lambda t: list(json_records(t)), json_value, lambda t: list(numbered_lines(t))]
)
def test_a_source_has_at_most_64_mib(monkeypatch, read):
    assert base.MAX_SOURCE_BYTES == 64 << 20
    monkeypatch.setattr(base, "MAX_SOURCE_BYTES", 4)
    assert read("[  ]") == [] or read("[  ]") == [(1, "[  ]")]
    with pytest.raises(UnreadableSource, match=r"^the source is longer than 64 MiB$") as caught:
        read("GEZDG")
    assert_silent(caught.value, "GEZDG")


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


def peak_memory(call) -> int:
    """Return how many bytes *call* needs at most."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestFields:
    def test_a_missing_field(self):
        with pytest.raises(InvalidValue, match=r"^a is missing$"):
            take({"a": None}, "a", int)
        assert take({}, "a", int, 7) == 7

    @pytest.mark.parametrize("value", [True, 1.0, "1"])
    def test_a_field_of_another_type(self, value):
        with pytest.raises(InvalidType, match=r"^a must be of type int$"):
            take({"a": value}, "a", int)

    @pytest.mark.parametrize(("value", "shown"), [
        (7, "7"), ("a", "a"), ("\x1b[2J", r"\x1b[2J"), ("a\nb", r"a\nb"), ("x" * 100, "x" * 80),
    ])
    def test_what_is_shown_cannot_control_a_terminal(self, value, shown):
        assert printable(value) == shown


class TestParameters:
    @pytest.mark.parametrize(("text", "parameters"), [
        ("sha256,8,30", Parameters(algorithm="sha256", digits=8)),
        ("SHA1,6,60,30", Parameters(period=60, t0=30)),
        ("sha1,6,60,-30", Parameters(period=60, t0=-30)),
    ])
    def test_parameters(self, text, parameters):
        assert read_parameters(text) == parameters

    @pytest.mark.parametrize("text", [
        "", "sha1", "sha1,6", "sha1,6,-1", "a,b,c", "sha1,\u0666,30", f"sha1,6,{'9' * 10}",
        "sha1,6,30,0,0", "sha1,6,30,", "sha1,6,30,+1", "sha1,6,30,1.5", f"sha1,6,{'9' * 5000}",
    ])
    def test_another_form(self, text):
        with pytest.raises(InvalidValue, match=r"^write ALGORITHM,"):
            read_parameters(text)

    @pytest.mark.parametrize(("text", "values"), [
        ("md5,6,30", {"algorithm": "md5"}),
        ("sha1,9,30", {"digits": 9}),
        ("sha1,6,0", {"period": 0}),
    ])
    def test_an_impossible_value(self, text, values):
        with pytest.raises(InvalidValue) as caught:
            read_parameters(text)
        assert str(caught.value) == refusal_of(**values)
