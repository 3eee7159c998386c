"""Auditing: verify every history, compare with checkpoints, export events for a SIEM."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from support import MASTER, Enrolled, enroll
from vmfa import (
    Actor,
    AuditEvent,
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    InvalidValue,
    MemoryStore,
    Principal,
    PrincipalId,
    RecordTampered,
    SQLiteStore,
    Store,
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
    compare_with_audit_key,
    iso,
    line,
    read_checkpoints,
    verify_history,
    verify_with_audit_key,
)
from vmfa.keysources.base import AuditKey
from vmfa.record import authenticated, record_message
from vmfa.reseal import reseal
from vmfa.testing import FrozenClock

ACCOUNT = "123456789012"
ALICE, BOB = PrincipalId.user(ACCOUNT, "u-4711"), PrincipalId.user(ACCOUNT, "u-4712")
ROOT = PrincipalId.root(ACCOUNT)
AUDITOR = Actor.support("audit 2026-11")
SERVICE = Actor.trusted_service("tests")
INTACT = {ROOT: "", ALICE: "", BOB: ""}


class Database:
    """A SQLite file with a device each for root, Alice and Bob. A test can edit its rows."""

    def __init__(self, path: Path, keys: DerivedKeys, clock: FrozenClock) -> None:
        self.path = path
        self.store = SQLiteStore(path)
        self.clock = clock
        self.registry = DeviceRegistry(self.store, keys=keys, issuer="Example", clock=clock)
        self.enrolled = {who: enroll(self.registry, clock, who) for who in (ROOT, ALICE, BOB)}

    def verify(self, by: Actor = AUDITOR) -> dict[PrincipalId, HistoryResult]:
        """Verify in a store of its own, as another process would."""
        with SQLiteStore(self.path) as store:
            results = verify_history(
                store, ACCOUNT, operations=self.registry.operations, by=by, clock=self.clock
            )
            return {result.principal: result for result in results}

    def checkpoints(self) -> list[Checkpoint]:
        return [result.checkpoint for result in self.verify().values() if result.checkpoint]

    def compare(self, checkpoints: list[Checkpoint]) -> dict[PrincipalId, str]:
        with SQLiteStore(self.path) as store:
            results = compare(
                store, checkpoints, operations=self.registry.operations, by=AUDITOR,
                clock=self.clock,
            )
            return {result.principal: result.reason for result in results}

    def edit(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            assert connection.execute(statement, values).rowcount > 0

    def row(self, who: PrincipalId) -> tuple[object, ...]:
        with closing(sqlite3.connect(self.path)) as connection:
            query = "SELECT revision, state, tag FROM principal WHERE name = ?"
            row: tuple[object, ...] = connection.execute(query, (who.name,)).fetchone()
            return row

    def restore(self, who: PrincipalId, row: tuple[object, ...]) -> None:
        statement = "UPDATE principal SET revision = ?, state = ?, tag = ? WHERE name = ?"
        self.edit(statement, *row, who.name)
        self.store.close()  # a process that was running would notice the older row


@pytest.fixture
def database(tmp_path: Path, keys: DerivedKeys, clock: FrozenClock) -> Iterator[Database]:
    database = Database(tmp_path / "mfa.db", keys, clock)
    with database.store:
        yield database


def reasons(results: dict[PrincipalId, HistoryResult]) -> dict[PrincipalId, str]:
    return {who: result.reason for who, result in results.items()}


# Verifying

REPLACE_TYPE = """UPDATE event SET document = replace(document, 'opened', 'expired')
    WHERE name = ? AND number = 1"""
SWAP_AUDIT_TAGS = """UPDATE event SET audit_tag = (SELECT audit_tag FROM event AS other
    WHERE other.name = event.name AND other.number = 3 - event.number) WHERE name = ?"""
CHANGE_AUDIT_TAG = """UPDATE event SET audit_tag = replace(audit_tag, '.', '.0')
    WHERE name = ? AND number = 2"""
ADD_EVENT_3 = """INSERT INTO event
    SELECT account, kind, name, 3, document, salt, content_digest, digest, redactable, audit_tag
    FROM event WHERE name = ? AND number = 2"""


def test_intact_histories_have_a_checkpoint_and_events(database: Database) -> None:
    results = database.verify()
    assert reasons(results) == INTACT
    for who, result in results.items():
        record = database.store.load(who)
        assert record.envelope is not None
        assert result.checkpoint == Checkpoint(
            principal=who, revision=record.revision, tag=record.envelope.tag, events=2,
            head=record.head,
        )
        types = [event.type.value for event in result.events]
        assert types == ["enrollment opened", "device assigned"]


@pytest.mark.parametrize(
    ("statements", "problem"),
    [
        ([REPLACE_TYPE], "event 1"),
        (["DELETE FROM event WHERE name = ? AND number = 1"], "event 1 is missing"),
        (["DELETE FROM event WHERE name = ? AND number = 2"], "event 2 is missing"),
        (["DELETE FROM event WHERE name = ?"], "event 1 is missing"),
        (["DELETE FROM event WHERE name = ? AND number = 1",
          "UPDATE event SET number = 1 WHERE name = ? AND number = 2"], "event 1"),
        (["UPDATE principal SET revision = revision + 1 WHERE name = ?"], "record"),
        ([ADD_EVENT_3], "event 3 of this principal is stored after the end of its history"),
    ],
)
def test_a_history_that_is_not_intact_does_not_stop_the_others(
    database: Database, statements: list[str], problem: str
) -> None:
    for statement in statements:
        database.edit(statement, ALICE.name)
    results = database.verify()
    assert reasons(results) == {**INTACT, ALICE: "record tampered"}
    assert problem in results[ALICE].problem
    assert results[ALICE].checkpoint is None
    assert not results[ALICE].events


@pytest.mark.parametrize(
    ("document", "reason"),
    [("{", "record tampered"), ('{"v": 99}', "store too new"), (b"\xff", "record tampered")],
)
def test_an_unreadable_event_is_named_by_its_number(
    database: Database, document: str | bytes, reason: str
) -> None:
    statement = "UPDATE event SET document = CAST(? AS TEXT) WHERE name = ? AND number = 2"
    database.edit(statement, document, ALICE.name)
    results = database.verify()
    assert reasons(results) == {**INTACT, ALICE: reason}
    assert results[ALICE].problem.startswith("event 2 of the history of this principal: ")


def test_a_row_with_an_invalid_principal_is_reported_after_the_rows_before_it(
    database: Database,
) -> None:
    database.edit("UPDATE principal SET name = ' ' || name WHERE name = ?", BOB.name)
    seen: list[PrincipalId] = []
    results = verify_history(
        database.store, ACCOUNT, operations=database.registry.operations, by=AUDITOR,
        clock=database.clock,
    )
    with pytest.raises(AuditFailed, match=f"{ACCOUNT}, after {ROOT}: a stored row has an invalid"):
        seen.extend(result.principal for result in results)
    assert seen == [ROOT]
    database.edit("UPDATE principal SET kind = 'admin' WHERE name = ?", f" {BOB.name}")
    with pytest.raises(AuditFailed, match=f"^account {ACCOUNT}, before all others: "):
        database.verify()


class PartlyReadable(MemoryStore):
    """A store that raises an error for a page that reaches a faulty row."""

    def __init__(self, readable: int, error: type[Exception]) -> None:
        super().__init__()
        self.readable, self.error = readable, error

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> list[PrincipalId]:
        page = list(super().principals(account, after=after, limit=limit))
        everyone = list(super().principals(account))
        if limit > len(page) or everyone.index(page[-1]) >= self.readable:
            raise self.error("a stored record has an invalid principal")
        return page


@pytest.mark.parametrize("error", [RecordTampered, ValueError])
@pytest.mark.parametrize(
    ("readable", "place"), [(0, "before all others"), (1, f"after {ALICE}")]
)
def test_the_place_of_a_row_at_which_a_store_fails(
    keys: DerivedKeys, clock: FrozenClock, error: type[Exception], readable: int, place: str
) -> None:
    store = PartlyReadable(readable, error)
    registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=clock)
    for who in (ALICE, BOB):
        registry.open_enrollment(who, by=SERVICE, label="x")
    results = verify_history(
        store, ACCOUNT, operations=registry.operations, by=AUDITOR, clock=clock
    )
    assert [next(results).principal for _ in range(readable)] == [ALICE][:readable]
    with pytest.raises(AuditFailed, match=place):
        next(results)


def test_an_actor_reads_only_what_it_is_allowed_to_read(database: Database) -> None:
    admin = Actor.admin(BOB, mfa=database.enrolled[BOB].sign_in().claim)
    assert reasons(database.verify(admin)) == {**INTACT, ROOT: "access denied"}
    assert reasons(database.verify(Actor.signed_in(ROOT))) == dict.fromkeys(
        INTACT, "access denied"
    )


def test_a_record_under_another_master_key_is_named(database: Database) -> None:
    other = DeviceRegistry(
        database.store, keys=DerivedKeys(bytes(32)), issuer="Example", clock=database.clock
    )
    results = verify_history(
        database.store, ACCOUNT, operations=other.operations, by=AUDITOR, clock=database.clock
    )
    assert {result.reason for result in results} == {"unknown master key"}


def test_a_store_that_fails_ends_the_pass(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Principal:
        raise StoreUnavailable("the disk is gone")

    monkeypatch.setattr(SQLiteStore, "load", fail)
    with pytest.raises(StoreUnavailable):
        database.verify()


def test_a_pruned_history_is_intact_and_continues_its_checkpoint(database: Database) -> None:
    checkpoints = database.checkpoints()
    database.clock.advance(1000)
    older_than = int(database.clock())
    assert database.registry.prune_history(ALICE, by=SERVICE, older_than=older_than) == 1
    results = database.verify()
    assert reasons(results) == INTACT
    types = [event.type.value for event in results[ALICE].events]
    assert types == ["redacted", "device assigned", "history pruned"]
    assert database.compare(checkpoints) == INTACT


def test_principals_and_events_are_read_in_pages(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.registry.deactivate(ALICE, by=SERVICE)
    monkeypatch.setattr("vmfa.audit.PAGE", 1)
    results = database.verify()
    assert reasons(results) == INTACT
    lengths = {who: len(result.events) for who, result in results.items()}
    assert lengths == {ROOT: 2, ALICE: 3, BOB: 2}


def test_histories_without_a_record_are_reported_page_by_page(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RULE-TAMPERING: events of principals whose rows are gone."""
    monkeypatch.setattr("vmfa.audit.PAGE", 1)
    database.edit("DELETE FROM principal")
    results = database.verify()
    assert [*results] == [ROOT, ALICE, BOB]
    assert {(result.tampering, result.event) for result in results.values()} == {("no record", 1)}
    assert {result.reason for result in results.values()} == {"record tampered"}
    database.edit("UPDATE event SET name = ' ' || name WHERE name = ?", ALICE.name)
    with pytest.raises(AuditFailed, match="a stored row has an invalid principal"):
        database.verify()


def test_a_principal_that_was_forgotten_is_no_history_without_a_record(
    database: Database,
) -> None:
    database.registry.forget(ALICE, by=SERVICE)
    assert reasons(database.verify()) == {ROOT: "", BOB: ""}


def test_an_event_after_the_end_is_noticed_on_every_page(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = database.row(ALICE)
    database.registry.deactivate(ALICE, by=SERVICE)
    database.restore(ALICE, row)  # the record is older than its history
    for size in (1, 2, 3, 1000):
        monkeypatch.setattr("vmfa.audit.PAGE", size)
        results = database.verify()
        assert reasons(results) == {**INTACT, ALICE: "record tampered"}
        assert "event 3 of this principal is stored after the end" in results[ALICE].problem


def test_the_observer_gets_each_read_and_nothing_is_written(database: Database) -> None:
    database.registry.deactivate(ALICE, by=SERVICE)
    database.registry.open_enrollment(ALICE, by=SERVICE, label="alice")
    database.clock.advance(3600)  # the enrollment has expired, and no record says so yet
    observed: list[AuditEvent] = []
    rows = {who: database.row(who) for who in INTACT}
    results = list(
        verify_history(
            database.store, ACCOUNT, operations=database.registry.operations, by=AUDITOR,
            clock=database.clock, observer=observed.append,
        )
    )
    assert all(not result.problem for result in results)
    assert [event.type.value for event in observed] == ["read"] * 3
    assert {event.actor.name for event in observed} == {"audit 2026-11"}
    assert {who: database.row(who) for who in INTACT} == rows


class Busy(MemoryStore):
    """A store in which another process commits while a history is read, so many times."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0
        self.change = lambda: None

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        page = super().history(principal, after=after, limit=limit)
        if self.changes:
            changes, self.changes = self.changes - 1, 0
            self.change()
            self.changes = changes
        return page


@pytest.mark.parametrize(("changes", "reason"), [(1, ""), (2 * ATTEMPTS, "store contended")])
def test_a_history_that_changes_during_the_read_is_read_again(
    keys: DerivedKeys, clock: FrozenClock, changes: int, reason: str
) -> None:
    store = Busy()
    registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=clock)
    registry.open_enrollment(ALICE, by=SERVICE, label="alice")

    def change() -> None:
        registry.open_enrollment(ALICE, by=SERVICE, label="alice")
        clock.advance(86400)  # there is a limit on enrollments per day

    store.change = change
    store.changes = changes
    (result,) = verify_history(
        store, ACCOUNT, operations=registry.operations, by=AUDITOR, clock=clock
    )
    assert result.reason == reason


# Comparing with checkpoints


def test_histories_that_continue_their_checkpoints(database: Database) -> None:
    checkpoints = database.checkpoints()
    database.enrolled[ALICE].sign_in()
    database.registry.deactivate(BOB, by=SERVICE)
    assert database.compare(checkpoints) == INTACT


def test_an_older_row_is_noticed_only_by_comparing(database: Database) -> None:
    old = database.row(ALICE)
    database.enrolled[ALICE].sign_in()  # it stores no event: only the revision changes
    checkpoints = database.checkpoints()
    database.restore(ALICE, old)
    assert reasons(database.verify()) == INTACT
    assert database.compare(checkpoints) == {**INTACT, ALICE: "older"}


def test_an_older_row_with_its_shorter_history_is_noticed(database: Database) -> None:
    old = database.row(ALICE)
    database.registry.deactivate(ALICE, by=SERVICE)
    checkpoints = database.checkpoints()
    database.restore(ALICE, old)
    database.edit("DELETE FROM event WHERE name = ? AND number > 2", ALICE.name)
    assert reasons(database.verify()) == INTACT
    assert database.compare(checkpoints) == {**INTACT, ALICE: "older"}


def test_a_deleted_row_is_noticed(database: Database) -> None:
    checkpoints = database.checkpoints()
    database.edit("DELETE FROM event WHERE name = ?", ALICE.name)
    database.edit("DELETE FROM principal WHERE name = ?", ALICE.name)
    assert ALICE not in database.verify()
    assert database.compare(checkpoints) == {**INTACT, ALICE: "missing"}


def test_a_principal_that_was_forgotten_and_enrolled_again(database: Database) -> None:
    checkpoints = database.checkpoints()
    database.registry.forget(ALICE, by=SERVICE)
    enroll(database.registry, database.clock, ALICE)
    assert database.compare(checkpoints) == {**INTACT, ALICE: "another history"}


def test_the_event_of_a_checkpoint_is_compared(database: Database) -> None:
    result = database.verify()[ALICE]
    first, second = (event.digest for event in result.events)
    for number, digest, problem in (
        (1, first, ""),
        (2, second, ""),
        (1, second, "event 1 is not the exported one"),
        (2, first, "event 2 is not the exported one"),
    ):
        checkpoint = Checkpoint(
            principal=ALICE, revision=1, tag="", events=number, head=digest
        )
        compared = compare_with(checkpoint, result)
        assert compared.problem == problem
        assert compared.reason == ("another history" if problem else "")


def test_a_shorter_history_with_a_higher_revision_is_older(database: Database) -> None:
    database.registry.deactivate(ALICE, by=SERVICE)
    checkpoint = database.verify()[ALICE].checkpoint
    database.registry.forget(ALICE, by=SERVICE)
    again = enroll(database.registry, database.clock, ALICE)
    for _ in range(3):
        again.sign_in()
    result = database.verify()[ALICE]
    assert result.checkpoint is not None
    assert checkpoint is not None
    assert result.checkpoint.events < checkpoint.events
    assert result.checkpoint.revision > checkpoint.revision
    assert compare_with(checkpoint, result).reason == "older"


def test_the_observer_gets_each_read_of_a_comparison(database: Database) -> None:
    observed: list[AuditEvent] = []
    results = compare(
        database.store, database.checkpoints(), operations=database.registry.operations,
        by=AUDITOR, clock=database.clock, observer=observed.append,
    )
    assert len(list(results)) == len(observed) == 3
    assert {event.type.value for event in observed} == {"read"}


def test_a_history_that_is_not_intact_keeps_its_problem(database: Database) -> None:
    checkpoints = database.checkpoints()
    database.edit("UPDATE principal SET revision = revision + 1 WHERE name = ?", ALICE.name)
    assert database.compare(checkpoints) == {**INTACT, ALICE: "record tampered"}


def test_any_history_continues_a_checkpoint_without_events(database: Database) -> None:
    result = database.verify()[ALICE]
    checkpoint = Checkpoint(principal=ALICE, revision=0, tag="", events=0, head="")
    assert compare_with(checkpoint, result) == result


def test_another_record_at_the_revision_of_the_checkpoint(database: Database) -> None:
    """Who has the master key can forge one; the history may still continue."""
    checkpoints = database.checkpoints()
    record = database.store.load(ALICE)
    assert record.device is not None
    rewound = replace(record, device=replace(record.device, last_step=0), envelope=None)
    forged = authenticated(rewound, database.registry.operations.keys)
    assert database.store.commit(record, forged, ())
    assert reasons(database.verify()) == INTACT
    assert database.compare(checkpoints) == {**INTACT, ALICE: "another record"}


def test_checkpoints_are_written_and_read(database: Database) -> None:
    checkpoints = database.checkpoints()
    document = json.dumps(checkpoint_document(checkpoints, database.clock()))
    assert {**json.loads(document), "checkpoints": ()} == {
        "v": 1, "at": "2023-11-14T22:13:30Z", "checkpoints": (),
    }
    assert read_checkpoints(document) == checkpoints


ROW = {
    "account": "1", "kind": "user", "name": "a", "revision": 1, "tag": "0.0", "events": 1,
    "head": "00" * 32,
}


@pytest.mark.parametrize("name", ["revision", "events"])
@pytest.mark.parametrize("number", [0, 1 << 62])
def test_the_numbers_that_a_checkpoint_can_have(name: str, number: int) -> None:
    document = json.dumps({"v": 1, "checkpoints": [{**ROW, name: number}]})
    assert getattr(read_checkpoints(document)[0], name) == number


@pytest.mark.parametrize("changes", [
    {"revision": -1}, {"events": -1}, {"revision": (1 << 62) + 1}, {"events": (1 << 62) + 1},
    {"revision": "1"}, {"events": True}, {"events": 1.0}, {"head": 7}, {"head": "x" * 129},
    {"tag": 7}, {"tag": "x" * 129}, {"tag": None},
    {"kind": "admin"}, {"kind": None}, {"name": ""}, {"name": 5}, {"account": ""},
])
def test_a_row_that_is_not_a_checkpoint(changes: dict[str, object]) -> None:
    document = json.dumps({"v": 1, "checkpoints": [{**ROW, **changes}]})
    with pytest.raises(InvalidValue, match=r"^not a file of checkpoints that this release wrote$"):
        read_checkpoints(document)


@pytest.mark.parametrize("text", [
    "", "[]", "null", '{"v": 2, "checkpoints": []}', '{"v": 1}', '{"v": 1, "checkpoints": [1]}',
    '{"v": 1, "checkpoints": 5}', '{"checkpoints": []}', '{"v": 1, "checkpoints": [{}]}',
    "[" * 100_000,
])
def test_a_text_that_is_not_a_file_of_checkpoints(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"^not a file of checkpoints that this release wrote$"):
        read_checkpoints(text)


# With the key of an auditor


def with_audit_key(
    database: Database, audit_key: AuditKey | None = None
) -> dict[PrincipalId, HistoryResult]:
    audit_key = audit_key or DerivedKeys(MASTER).audit_key()
    audit_key = AuditKey.from_text(audit_key.to_text())  # as an auditor receives it
    results = verify_with_audit_key(database.store, ACCOUNT, audit_key=audit_key)
    return {result.principal: result for result in results}


def test_an_auditor_finds_what_the_service_finds(database: Database) -> None:
    database.enrolled[ALICE].sign_in()
    database.registry.prune_history(BOB, by=SERVICE, older_than=int(database.clock()) + 1)
    assert with_audit_key(database) == database.verify()
    checkpoints = database.checkpoints()
    database.enrolled[ALICE].sign_in()
    results = compare_with_audit_key(
        database.store, checkpoints, audit_key=DerivedKeys(MASTER).audit_key()
    )
    assert {result.principal: result.reason for result in results} == INTACT
    database.edit("DELETE FROM event WHERE name = ?", ALICE.name)
    database.edit("DELETE FROM principal WHERE name = ?", ALICE.name)
    results = compare_with_audit_key(
        database.store, checkpoints, audit_key=DerivedKeys(MASTER).audit_key()
    )
    assert {result.principal: result.reason for result in results} == {
        **INTACT, ALICE: "missing",
    }


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE principal SET revision = revision + 1 WHERE name = ?", "of this record is wrong"),
        ("UPDATE principal SET audit_tag = tag WHERE name = ?", "of this record is wrong"),
        ("UPDATE principal SET audit_tag = '' WHERE name = ?", "does not cover the master key"),
        (SWAP_AUDIT_TAGS, "event 1 is wrong"),
        (CHANGE_AUDIT_TAG, "event 2 is wrong"),
        ("UPDATE event SET audit_tag = 'x.y' WHERE name = ?", "does not cover the master key"),
        (REPLACE_TYPE, "event 1"),
        ("DELETE FROM event WHERE name = ? AND number = 2", "event 2 is missing"),
        (ADD_EVENT_3, "event 3 of this principal is stored after the end of its history"),
    ],
)
def test_an_auditor_checks_records_and_events(
    database: Database, statement: str, problem: str
) -> None:
    database.edit(statement, ALICE.name)
    results = with_audit_key(database)
    assert {who for who, result in results.items() if result.reason} == {ALICE}
    assert problem in results[ALICE].problem


def test_an_audit_key_makes_nothing_that_the_service_accepts(database: Database) -> None:
    """The tags for auditors differ from those that the service checks, for every purpose."""
    record = database.store.load(ALICE)
    envelope = record.envelope
    assert envelope is not None
    database.edit("UPDATE principal SET tag = audit_tag WHERE name = ?", ALICE.name)
    assert reasons(database.verify()) == {**INTACT, ALICE: "record tampered"}
    text = DerivedKeys(MASTER).audit_key().to_text()
    assert envelope.tag.partition(".")[2] not in text


def test_an_audit_key_covers_earlier_master_keys(database: Database) -> None:
    new = bytes(range(50, 82))
    rotated = DeviceRegistry(
        database.store, keys=DerivedKeys(new, MASTER), issuer="Example", clock=database.clock
    )
    rotated.deactivate(ALICE, by=SERVICE)
    assert reasons(with_audit_key(database, DerivedKeys(new, MASTER).audit_key())) == INTACT
    assert reasons(with_audit_key(database, DerivedKeys(new).audit_key())) == dict.fromkeys(
        INTACT, "unknown master key"
    )


def test_a_record_under_a_derive_only_key_is_not_intact_for_an_auditor(
    database: Database,
) -> None:
    """The service refuses it as well. Events from before the reseal are still checked."""
    new = bytes(range(50, 82))
    keys = DerivedKeys(new, MASTER)
    rotated = DeviceRegistry(database.store, keys=keys, issuer="Example", clock=database.clock)
    old = database.row(ALICE)
    assert all(
        result.changed
        for result in reseal(database.store, ACCOUNT, keys=rotated.operations.keys)
    )
    audit_key = DerivedKeys(new, derive_only=[MASTER]).audit_key()
    assert reasons(with_audit_key(database, audit_key)) == INTACT
    statement = "UPDATE principal SET revision = ?, state = ?, tag = ?, audit_tag = ?"
    old_tag = DerivedKeys(MASTER).audit_tag(
        "record", record_message(replace(database.store.load(ALICE), revision=old[0]), old[1])
    )
    database.edit(f"{statement} WHERE name = ?", *old, old_tag, ALICE.name)
    results = with_audit_key(database, audit_key)
    assert reasons(results) == {**INTACT, ALICE: "unknown master key"}
    assert "the service refuses it" in results[ALICE].problem


@pytest.mark.parametrize(
    "text", ["", "x", "id", "id.00", f"id.{'0' * 62}", f"id.{'z' * 64}", f"id.{'0' * 64}.other",
             f"id.{'0' * 64}.derive-only.more"]
)
def test_a_text_that_is_not_an_audit_key(text: str) -> None:
    with pytest.raises(InvalidValue, match="not an audit key"):
        AuditKey.from_text(text)


def test_a_record_in_memory_has_no_tag_for_auditors(
    keys: DerivedKeys, clock: FrozenClock
) -> None:
    store = MemoryStore()
    enroll(DeviceRegistry(store, keys=keys, issuer="Example", clock=clock), clock, ALICE)
    (result,) = verify_with_audit_key(store, ACCOUNT, audit_key=keys.audit_key())
    assert result.reason == "record tampered"


# Lines for a SIEM


def test_a_line_says_what_happened_when_to_whom_and_by_whom(database: Database) -> None:
    event = database.verify()[ALICE].events[1]
    fields = json.loads(line(event))
    assert fields == {
        "at": "2023-11-14T22:13:30Z", "account": ACCOUNT, "kind": "user", "name": "u-4711",
        "actor": str(event.actor), "serial": event.serial, "type": "device assigned",
        "outcome": "success", "source": "", "reason": "", "details": dict(event.details),
        "number": 2, "digest": event.digest, "v": 1,
    }
    assert "u-4711" in fields["actor"]
    assert ": " not in line(event)  # no blanks: there are many lines


def test_a_line_is_ascii_and_has_no_line_break(database: Database) -> None:
    event = replace(database.verify()[ALICE].events[1], details=(("note", "é"),))
    assert line(event).isascii()
    assert line(event).splitlines() == [line(event)]


def test_a_line_contains_no_key_and_no_code(database: Database) -> None:
    alice: Enrolled = database.enrolled[ALICE]
    observed: list[AuditEvent] = []
    watched = DeviceRegistry(
        database.store, keys=database.registry.operations.keys, issuer="Example",
        clock=database.clock, observer=observed.append,
    )
    database.clock.advance(30)
    code, wrong = alice.phone.code(), alice.phone.wrong_code()
    watched.verify(ALICE, code)
    with pytest.raises(CodeRejected):
        watched.verify(ALICE, wrong)
    text = "\n".join(map(line, observed))
    fields = [json.loads(one) for one in text.splitlines()]
    assert [(one["type"], one["outcome"]) for one in fields] == [
        ("code accepted", "success"), ("code rejected", "failure"),
    ]
    assert f'"{code}"' not in text
    assert f'"{wrong}"' not in text
    assert "otpauth" not in text


def test_times_after_the_year_9999_are_numbers() -> None:
    assert iso(0) == "1970-01-01T00:00:00Z"
    assert iso(1 << 62) == f"{1 << 62} s"


def test_any_store_can_be_verified(store: MemoryStore, enrolled: Enrolled) -> None:
    protocol: Store = store
    (result,) = verify_history(
        protocol, ACCOUNT, operations=enrolled.registry.operations, by=AUDITOR,
        clock=enrolled.clock,
    )
    assert result.reason == ""
