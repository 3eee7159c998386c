"""The trail: each principal's history is judged, heads show what no single history can, a SIEM gets every event."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from support import Enrolled, HandClock, enroll
from vmfa import (
    Actor,
    AuditEvent,
    DerivedKeys,
    DeviceRegistry,
    InvalidValue,
    MemoryStore,
    Principal,
    PrincipalId,
    RecordTampered,
    SQLiteStore,
    StoreUnavailable,
)
from vmfa.audit import (
    ATTEMPTS,
    AuditFailed,
    Checkpoint,
    HistoryResult,
    checkpoint_document,
    compare,
    compare_with,
    iso,
    line,
    read_checkpoints,
    verify_history,
)
from vmfa.stores.base import Store

ACCOUNT = "123456789012"
ALICE, BOB = PrincipalId.user(ACCOUNT, "u-4711"), PrincipalId.user(ACCOUNT, "u-4712")
ROOT = PrincipalId.root(ACCOUNT)
AUDITOR = Actor.support("audit 2026-11")
SERVICE = Actor.trusted_service("tests")


class House:
    """Root, Alice and Bob with a device each, in a SQLite file that an intruder can write."""

    def __init__(self, path: Path, keys: DerivedKeys, clock: HandClock) -> None:
        self.path = path
        self.store = SQLiteStore(path)
        self.clock = clock
        self.registry = DeviceRegistry(self.store, keys=keys, issuer="Example", clock=clock)
        self.enrolled = {who: enroll(self.registry, clock, who) for who in (ROOT, ALICE, BOB)}

    def verify_history(self, by: Actor = AUDITOR) -> dict[PrincipalId, HistoryResult]:
        found = verify_history(self.store, ACCOUNT, operations=self.registry.operations, by=by, clock=self.clock)
        return {each.principal: each for each in found}

    def heads(self) -> list[Checkpoint]:
        return [each.head for each in self.verify_history().values() if each.head]

    def compare(self, heads: list[Checkpoint]) -> dict[PrincipalId, str]:
        found = compare(self.store, heads, operations=self.registry.operations, by=AUDITOR, clock=self.clock)
        return {each.principal: each.reason for each in found}

    def edit(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.path)) as database, database:
            assert database.execute(statement, values).rowcount > 0

    def row(self, who: PrincipalId) -> tuple[object, ...]:
        with closing(sqlite3.connect(self.path)) as database:
            return database.execute("SELECT revision, state, tag FROM principal WHERE name = ?", (who.name,)).fetchone()


@pytest.fixture
def house(tmp_path: Path, keys: DerivedKeys, clock: HandClock) -> Iterator[House]:
    made = House(tmp_path / "mfa.db", keys, clock)
    with made.store:
        yield made


def reasons(found: dict[PrincipalId, HistoryResult]) -> dict[PrincipalId, str]:
    return {who: each.reason for who, each in found.items()}


INTACT = {ROOT: "", ALICE: "", BOB: ""}


# The pass


def test_intact_histories_are_given_with_their_heads_and_events(house: House) -> None:
    found = house.verify_history()
    assert reasons(found) == INTACT
    for who, each in found.items():
        record = house.store.load(who)
        assert each.head == Checkpoint(principal=who, revision=record.revision, events=2, head=record.head)
        assert [event.type.value for event in each.events] == ["enrollment opened", "device assigned"]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE event SET document = replace(document, 'opened', 'expired') WHERE name = ? AND number = 1", "event 1"),
        ("DELETE FROM event WHERE name = ? AND number = 1", "missing"),
        ("DELETE FROM event WHERE name = ? AND number = 2", "missing"),
        ("UPDATE event SET number = 3 - number WHERE name = ? AND number = 2", "event"),
        ("UPDATE principal SET revision = revision + 1 WHERE name = ?", "not written by this library"),
    ],
)
def test_one_broken_history_is_named_and_the_others_are_still_judged(
    house: House, statement: str, told: str
) -> None:
    if "3 - number" in statement:
        house.edit("DELETE FROM event WHERE name = ? AND number = 1", ALICE.name)
    house.edit(statement, ALICE.name)
    found = house.verify_history()
    assert reasons(found) == {**INTACT, ALICE: "record tampered"}
    assert told in found[ALICE].problem
    assert found[ALICE].head is None
    assert not found[ALICE].events


@pytest.mark.parametrize(
    ("document", "reason"), [("{", "record tampered"), ('{"v": 99}', "store too new"), (b"\xff", "record tampered")]
)
def test_an_event_that_cannot_be_read_is_named_by_its_number(
    house: House, document: str | bytes, reason: str
) -> None:
    house.edit("UPDATE event SET document = CAST(? AS TEXT) WHERE name = ? AND number = 2", document, ALICE.name)
    found = house.verify_history()
    assert reasons(found) == {**INTACT, ALICE: reason}
    assert found[ALICE].problem.startswith("event 2 of the history of this principal: ")


def test_a_row_that_names_nobody_is_told_with_its_place_behind_what_could_be_examined(house: House) -> None:
    house.edit("UPDATE principal SET name = ' ' || name WHERE name = ?", BOB.name)  # it sorts between root and Alice
    seen: list[PrincipalId] = []
    with pytest.raises(AuditFailed, match=f"{ACCOUNT}, behind {ROOT}: a stored row names no principal; what follows"):
        seen.extend(each.principal for each in verify_history(
            house.store, ACCOUNT, operations=house.registry.operations, by=AUDITOR, clock=house.clock
        ))
    house.edit("UPDATE principal SET kind = 'admin' WHERE name = ?", f" {BOB.name}")
    with pytest.raises(AuditFailed, match=f"^account {ACCOUNT}, before all others: a stored row names no principal; "):
        house.verify_history()


class Blinded(MemoryStore):
    """A store of somebody's own that fails at a row which names nobody."""

    def __init__(self, after: int, error: type[Exception]) -> None:
        super().__init__()
        self.after, self.error = after, error

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> list[PrincipalId]:
        page = list(super().principals(account, after=after, limit=limit))
        everybody = list(super().principals(account))
        if limit > len(page) or everybody.index(page[-1]) >= self.after:
            raise self.error("a stored record names no principal")
        return page


@pytest.mark.parametrize("error", [RecordTampered, ValueError])
def test_where_a_store_fails_at_such_a_row_its_place_is_told(
    keys: DerivedKeys, clock: HandClock, error: type[Exception]
) -> None:
    for after, place in ((0, "before all others"), (1, f"behind {ALICE}")):
        store = Blinded(after, error)
        registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=clock)
        for who in (ALICE, BOB):
            registry.open_enrollment(who, by=SERVICE, label="x")
        found = verify_history(store, ACCOUNT, operations=registry.operations, by=AUDITOR, clock=clock)
        assert [next(found).principal for _ in range(after)] == [ALICE][:after]
        with pytest.raises(AuditFailed, match=f"{place}: a stored row names no principal; what follows"):
            next(found)


def test_root_is_no_business_of_a_trusted_service_and_that_hides_nobody_else(house: House) -> None:
    assert reasons(house.verify_history(SERVICE)) == {**INTACT, ROOT: "access denied"}


def test_an_administrator_with_mfa_reads_the_users(house: House) -> None:
    boss = house.enrolled[BOB]
    admin = Actor.admin(BOB, mfa=boss.sign_in().claim)
    assert reasons(house.verify_history(admin)) == {**INTACT, ROOT: "access denied"}
    assert reasons(house.verify_history(Actor.admin(BOB))) == dict.fromkeys(INTACT, "access denied")


def test_a_record_under_another_master_key_is_named(house: House) -> None:
    other = DeviceRegistry(house.store, keys=DerivedKeys(bytes(32)), issuer="Example", clock=house.clock)
    found = verify_history(house.store, ACCOUNT, operations=other.operations, by=AUDITOR, clock=house.clock)
    assert {each.reason for each in found} == {"unknown master key"}


def test_a_store_that_fails_ends_the_pass(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Principal:
        raise StoreUnavailable("the disk is gone")

    monkeypatch.setattr(house.store, "load", fail)
    with pytest.raises(StoreUnavailable):
        house.verify_history()


def test_redacted_events_keep_their_place_in_the_chain(house: House) -> None:
    heads = house.heads()
    house.clock.advance(1000)
    assert house.registry.prune_history(ALICE, by=SERVICE, older_than=int(house.clock())) == 1
    found = house.verify_history()
    assert reasons(found) == INTACT
    assert [event.type.value for event in found[ALICE].events] == ["redacted", "device assigned", "history pruned"]
    assert house.compare(heads) == INTACT


def test_pages_of_principals_and_of_events_are_turned(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.registry.deactivate(ALICE, by=SERVICE)
    monkeypatch.setattr("vmfa.audit.PAGE", 1)
    found = house.verify_history()
    assert reasons(found) == INTACT
    assert {who: len(each.events) for who, each in found.items()} == {ROOT: 2, ALICE: 3, BOB: 2}


def test_a_stored_event_that_no_record_speaks_of_is_not_examined(house: House) -> None:
    house.edit(
        "INSERT INTO event (account, kind, name, number, document, tag) "
        "SELECT account, kind, name, 3, '{', tag FROM event WHERE name = ? AND number = 2", ALICE.name,
    )
    assert reasons(house.verify_history()) == INTACT


def test_the_pass_tells_the_observer_of_each_read_and_writes_nothing(house: House) -> None:
    house.registry.deactivate(ALICE, by=SERVICE)
    house.registry.open_enrollment(ALICE, by=SERVICE, label="alice")
    house.clock.advance(3600)  # the enrollment has expired; whoever looks next would write that
    told: list[AuditEvent] = []
    rows = {who: house.row(who) for who in INTACT}
    found = list(
        verify_history(house.store, ACCOUNT, operations=house.registry.operations, by=AUDITOR, clock=house.clock,
                observer=told.append)
    )
    assert all(not each.problem for each in found)
    assert [(event.type.value, event.actor) for event in told] == [("read", "support audit 2026-11")] * 3
    assert {who: house.row(who) for who in INTACT} == rows


class Busy(MemoryStore):
    """Somebody else commits whenever a history is read, so many times."""

    def __init__(self) -> None:
        super().__init__()
        self.changes, self.change = 0, lambda: None

    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> list[AuditEvent]:
        page = list(super().history(principal, after=after, limit=limit))
        if self.changes:
            self.changes -= 1
            changes, self.changes = self.changes, 0
            self.change()
            self.changes = changes
        return page


@pytest.mark.parametrize(("changes", "reason"), [(1, ""), (2 * ATTEMPTS, "store contended")])
def test_a_history_that_changes_while_it_is_read_is_read_again(
    keys: DerivedKeys, clock: HandClock, changes: int, reason: str
) -> None:
    store = Busy()
    registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=clock)
    registry.open_enrollment(ALICE, by=SERVICE, label="alice")
    store.change = lambda: registry.open_enrollment(ALICE, by=SERVICE, label="alice")
    store.changes = changes
    (found,) = verify_history(store, ACCOUNT, operations=registry.operations, by=AUDITOR, clock=clock)
    assert found.reason == reason
    assert found.problem in ("", "others kept changing this principal while its history was read")


# Heads that were exported earlier


def test_what_went_on_from_an_exported_head_is_no_problem(house: House) -> None:
    heads = house.heads()
    house.enrolled[ALICE].sign_in()
    house.registry.deactivate(BOB, by=SERVICE)
    assert house.compare(heads) == INTACT


def test_a_whole_older_row_put_back_shows(house: House) -> None:
    old = house.row(ALICE)
    house.enrolled[ALICE].sign_in()  # no life-cycle event: the head stays, the revision does not
    heads = house.heads()
    house.edit("UPDATE principal SET revision = ?, state = ?, tag = ? WHERE name = ?", *old, ALICE.name)
    assert reasons(house.verify_history()) == INTACT  # which is why heads are kept elsewhere
    assert house.compare(heads) == {**INTACT, ALICE: "older"}


def test_an_older_row_with_its_shorter_history_shows(house: House) -> None:
    old = house.row(ALICE)
    house.registry.deactivate(ALICE, by=SERVICE)
    heads = house.heads()
    house.edit("UPDATE principal SET revision = ?, state = ?, tag = ? WHERE name = ?", *old, ALICE.name)
    house.edit("DELETE FROM event WHERE name = ? AND number > 2", ALICE.name)
    assert reasons(house.verify_history()) == INTACT
    assert house.compare(heads) == {**INTACT, ALICE: "older"}


def test_a_deleted_row_shows(house: House) -> None:
    heads = house.heads()
    house.edit("DELETE FROM event WHERE name = ?", ALICE.name)
    house.edit("DELETE FROM principal WHERE name = ?", ALICE.name)
    assert ALICE not in house.verify_history()
    assert house.compare(heads) == {**INTACT, ALICE: "missing"}


def test_another_life_of_the_same_name_shows(house: House) -> None:
    heads = house.heads()
    house.registry.forget(ALICE, by=SERVICE)
    enroll(house.registry, house.clock, ALICE)
    assert house.compare(heads) == {**INTACT, ALICE: "another history"}


def test_another_life_shows_from_its_first_event_and_wherever_the_exported_history_ended(house: House) -> None:
    found = house.verify_history()[ALICE]
    first, second = found.events
    told = {}
    for number, tag in ((1, first.tag), (1, second.tag), (2, first.tag), (2, second.tag)):
        judged = compare_with(Checkpoint(principal=ALICE, revision=1, events=number, head=tag), found)
        told[number, tag] = judged.reason, judged.problem
    assert told == {
        (1, first.tag): ("", ""), (2, second.tag): ("", ""),
        (1, second.tag): ("another history", "event 1 is not the one that was exported"),
        (2, first.tag): ("another history", "event 2 is not the one that was exported"),
    }


def test_another_life_with_fewer_events_and_more_changes_is_an_older_one(house: House) -> None:
    house.registry.deactivate(ALICE, by=SERVICE)
    (head,) = (each for each in house.heads() if each.principal == ALICE)
    house.registry.forget(ALICE, by=SERVICE)
    again = enroll(house.registry, house.clock, ALICE)
    for _ in range(3):
        again.sign_in()
    found = house.verify_history()[ALICE]
    assert found.head is not None
    assert (found.head.events, found.head.revision) == (head.events - 1, head.revision + 2)
    judged = compare_with(head, found)
    assert judged.reason == "older"
    assert judged.problem == "an older record was put back, or the principal was forgotten and enrolled again"


def test_a_comparison_tells_the_observer_of_each_read(house: House) -> None:
    told: list[AuditEvent] = []
    list(compare(house.store, house.heads(), operations=house.registry.operations, by=AUDITOR, clock=house.clock,
                 observer=told.append))
    assert [event.type.value for event in told] == ["read"] * 3


def test_a_history_that_cannot_be_read_has_nothing_to_compare(house: House) -> None:
    heads = house.heads()
    house.edit("UPDATE principal SET revision = revision + 1 WHERE name = ?", ALICE.name)
    assert house.compare(heads) == {**INTACT, ALICE: "record tampered"}


def test_a_head_without_events_is_continued_by_any_history(house: House) -> None:
    found = house.verify_history()[ALICE]
    unborn = Checkpoint(principal=ALICE, revision=0, events=0, head="")
    assert compare_with(unborn, found) == found


def test_heads_survive_the_file(house: House) -> None:
    heads = house.heads()
    document = json.dumps(checkpoint_document(heads, house.clock()))
    assert {**json.loads(document), "heads": ()} == {"v": 1, "at": "2023-11-14T22:13:30Z", "heads": ()}
    assert read_checkpoints(document) == heads


@pytest.mark.parametrize("count", ["revision", "events"])
@pytest.mark.parametrize(("number", "taken"), [(-1, False), (0, True), (1 << 62, True), ((1 << 62) + 1, False)])
def test_the_counts_of_a_head_are_those_a_record_can_have(count: str, number: int, taken: bool) -> None:
    row = {"account": "1", "kind": "user", "name": "a", "revision": 1, "events": 1, "head": "", count: number}
    document = json.dumps({"v": 1, "heads": [row]})
    if taken:
        assert getattr(read_checkpoints(document)[0], count) == number
    else:
        with pytest.raises(InvalidValue):
            read_checkpoints(document)


@pytest.mark.parametrize(
    "spoilt",
    [
        "", "[]", "null", '{"v": 2, "heads": []}', '{"v": 1}', '{"v": 1, "heads": [1]}', "[" * 100_000,
        '{"v": 1, "heads": [{"account": "1", "kind": "user", "name": "", "revision": 1, "events": 1, "head": "x"}]}',
        '{"v": 1, "heads": [{"account": "1", "kind": "user", "name": "a", "revision": "1", "events": 1, "head": ""}]}',
        '{"v": 1, "heads": [{"account": "1", "kind": "user", "name": "a", "revision": 1, "events": -1, "head": ""}]}',
        '{"v": 1, "heads": [{"account": "1", "kind": "user", "name": "a", "revision": 1, "events": 1, "head": 7}]}',
    ],
)
def test_what_is_no_file_of_heads_is_refused(spoilt: str) -> None:
    with pytest.raises(InvalidValue, match=r"^this is no file of heads that this release wrote$"):
        read_checkpoints(spoilt)


# Lines for a SIEM


def test_a_line_tells_when_who_whom_what_and_its_place_in_the_chain(house: House) -> None:
    event = house.verify_history()[ALICE].events[1]
    assert json.loads(line(event)) == {
        "at": "2023-11-14T22:13:30Z", "account": ACCOUNT, "kind": "user", "name": "u-4711",
        "actor": f"signed in {ALICE}", "serial": event.serial, "what": "device assigned", "reason": "",
        "details": {"sync": "in sync", "steps_off": 0}, "number": 2, "tag": event.tag,
    }
    assert "\n" not in line(replace(event, reason="two\nlines"))
    assert ": " not in line(event)  # many of them are kept: no blanks


def test_a_line_holds_neither_key_nor_code(house: House) -> None:
    alice: Enrolled = house.enrolled[ALICE]
    told: list[AuditEvent] = []
    watched = DeviceRegistry(
        house.store, keys=house.registry.operations.keys, issuer="Example", clock=house.clock, observer=told.append
    )
    house.clock.advance(30)
    code, wrong = alice.phone.code(), alice.phone.wrong_code()
    watched.verify(ALICE, code)
    with pytest.raises(Exception, match="not accepted"):
        watched.verify(ALICE, wrong)
    text = "\n".join(map(line, told))
    assert [json.loads(each)["what"] for each in text.splitlines()] == ["code accepted", "code rejected"]
    assert f'"{code}"' not in text
    assert f'"{wrong}"' not in text
    assert "otpauth" not in text


def test_times_past_the_calendar_are_seconds() -> None:
    assert iso(0) == "1970-01-01T00:00:00Z"
    assert iso(1 << 62) == f"{1 << 62} s"


def test_any_store_will_do(store: MemoryStore, enrolled: Enrolled) -> None:
    port: Store = store
    (found,) = verify_history(port, ACCOUNT, operations=enrolled.registry.operations, by=AUDITOR, clock=enrolled.clock)
    assert found.reason == ""
