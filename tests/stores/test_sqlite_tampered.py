"""A writer of the database can destroy it, but nothing edited is accepted or counted."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stores import raw
from support import MASTER, Enrolled, check_history, enroll
from vmfa import (
    Actor,
    DerivedKeys,
    DeviceRegistry,
    Kind,
    NoDevice,
    PrincipalId,
    RecordTampered,
    SQLiteStore,
    StoreTooNew,
    UnknownMasterKey,
    VmfaError,
)

AUDITOR = Actor.support("audit")
BOB = PrincipalId.user("123456789012", "u-0815")
EVENT_COLUMNS = "number, document, salt, content_digest, digest, redactable, audit_tag"
WRITE = "UPDATE principal SET state = ? WHERE name = ?"


def edits(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield copies of *value* with one change, in every place, with the name of the place."""
    if isinstance(value, dict):
        for name, inner in value.items():
            for where, edited in edits(inner, f"{path}.{name}"):
                yield where, {**value, name: edited}
            yield (
                f"{path}.{name} removed",
                {other: value[other] for other in value if other != name},
            )
        yield f"{path} with one more", {**value, "more": 1}
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            for where, edited in edits(inner, f"{path}[{at}]"):
                yield where, [*value[:at], edited, *value[at + 1 :]]
        yield f"{path} shorter", value[:-1]
        yield f"{path} longer", [*value, 0]
    else:
        for other in (
            None,
            True,
            False,
            0,
            -1,
            1e9,
            "",
            "x",
            "\0",
            "\ud800",
            [],
            {},
            10**400,
            *near(value),
        ):
            if other != value or type(other) is not type(value):
                yield f"{path} = {other!r:.20}", other


def near(value: Any) -> tuple[Any, ...]:
    """What differs little."""
    if isinstance(value, int):
        return value + 1, value - 1, -value, float(value), str(value)
    if isinstance(value, str):
        return value + "0", value[:-1], value.upper()
    return ()


def told(registry: DeviceRegistry, who: PrincipalId, code: str) -> set[type[VmfaError]]:
    """Which errors every operation that reads this record gives."""
    me = Actor.signed_in(who)
    uses = [
        lambda: registry.requires_code(who),
        lambda: registry.verify(who, code),
        lambda: registry.resync(who, code1=code, code2=code, by=me),
        lambda: registry.open_enrollment(who, by=me, label="again"),
        lambda: registry.cancel_enrollment(who, by=me),
        lambda: registry.device(who, by=me),
        lambda: registry.deactivate(who, by=Actor.trusted_service("x")),
        lambda: registry.reanchor(who, by=Actor.trusted_service("x")),
    ]
    errors = set()
    for use in uses:
        with pytest.raises(VmfaError) as caught:
            use()
        errors.add(caught.type)
    return errors


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    """What is edited does not depend on power cuts."""
    with SQLiteStore(path, unsafe_not_durable=True) as store:
        yield store


@pytest.fixture
def fresh(enrolled: Enrolled) -> Enrolled:
    """Alice, whose phone shows a code that counts."""
    enrolled.clock.advance(30)
    return enrolled


@pytest.fixture
def bob(registry: DeviceRegistry, fresh: Enrolled) -> Enrolled:
    other = enroll(registry, fresh.clock, BOB)
    fresh.clock.advance(30)
    return other


def check_refused(
    alice: Enrolled, path: Path, error: type[VmfaError] = RecordTampered, where: str = ""
) -> None:
    before = raw.rows(path)
    digits = 7 if where == "[3][1][1] = 7" else 6  # what is no code for this record is told first
    for code in (alice.phone.code(), alice.phone.wrong_code()):
        assert told(alice.registry, alice.principal, code.zfill(digits)) == {error}, where
    assert raw.rows(path) == before, where  # nothing was counted, nothing was written


def test_every_field_of_a_device_is_guarded(fresh: Enrolled, path: Path) -> None:
    ((whole,),) = raw.run(path, "SELECT state FROM principal")
    places = 0
    for where, edited in edits(json.loads(whole)):
        raw.run(path, WRITE, json.dumps(edited), "u-4711")
        newer = where.startswith("[0] = ") and type(edited[0]) is int and edited[0] > 1
        check_refused(fresh, path, StoreTooNew if newer else RecordTampered, where)
        places += 1
    assert places > 300
    raw.run(path, WRITE, whole, "u-4711")
    assert fresh.registry.verify(fresh.principal, fresh.phone.code()).failures_cleared == 0


def test_every_field_of_an_enrollment_is_guarded(registry: DeviceRegistry, path: Path) -> None:
    me = Actor.signed_in(BOB)
    opened = registry.open_enrollment(BOB, by=me, label="bob")
    ((whole,),) = raw.run(path, "SELECT state FROM principal")
    version, seen_at, enrollment, *rest = json.loads(whole)
    for where, edited in edits(enrollment, "enrollment"):
        raw.run(path, WRITE, json.dumps([version, seen_at, edited, *rest]), "u-0815")
        before = raw.rows(path)
        code = "0" * (7 if where == "enrollment[2][1] = 7" else 6)
        with pytest.raises(RecordTampered):
            registry.confirm_enrollment(
                BOB, session=opened.session_id, code1=code, code2=code, by=me
            )
        assert raw.rows(path) == before, where


@pytest.mark.parametrize(
    "state",
    [
        "",
        "null",
        "[]",
        "1",
        '"x"',
        "{",
        "{}",
        '{"v":1}',
        "[" * 100_000,
        '{"v":' + "9" * 5000 + "}",
        "NaN",
    ],
    ids=lambda state: state[:8],
)
def test_a_state_that_is_not_a_document_is_tampered(
    fresh: Enrolled, path: Path, state: str
) -> None:
    raw.run(path, WRITE, state, "u-4711")
    check_refused(fresh, path)


def test_spelling_the_same_document_another_way_is_noticed(fresh: Enrolled, path: Path) -> None:
    raw.run(path, "UPDATE principal SET state = replace(state, ',', ', ')")
    check_refused(fresh, path)


@pytest.mark.parametrize(
    "revision", ["revision + 1", "revision - 1", "0", "-1", "9223372036854775807", "'x'", "1.5"]
)
def test_the_revision_is_guarded(fresh: Enrolled, path: Path, revision: str) -> None:
    raw.run(path, f"UPDATE principal SET revision = {revision}")
    check_refused(fresh, path)


@pytest.mark.parametrize(
    ("tag", "error"),
    [
        ("''", RecordTampered),
        ("'x'", RecordTampered),
        ("substr(tag, 1, 17)", RecordTampered),
        ("substr(tag, 1, 80)", RecordTampered),
        ("tag || '0'", RecordTampered),
        ("substr(tag, 1, 17) || upper(substr(tag, 18))", RecordTampered),
        ("substr(tag, 1, 17) || 'é' || substr(tag, 19)", RecordTampered),
        ("CAST(tag AS BLOB)", RecordTampered),
        ("'0123456789abcdef' || substr(tag, 17)", UnknownMasterKey),  # it names another master key
    ],
)
def test_the_tag_is_guarded(fresh: Enrolled, path: Path, tag: str, error: type[VmfaError]) -> None:
    raw.run(path, f"UPDATE principal SET tag = {tag}")
    check_refused(fresh, path, error)


@pytest.mark.parametrize("column", ["state", "tag"])
def test_text_that_is_not_utf8_is_tampered_with(fresh: Enrolled, path: Path, column: str) -> None:
    raw.run(path, f"UPDATE principal SET {column} = CAST(x'ff' || CAST({column} AS BLOB) AS TEXT)")
    check_refused(fresh, path)


@pytest.mark.parametrize("column", ["revision", "state", "tag"])
def test_a_column_without_a_value_is_tampered_with(
    fresh: Enrolled, path: Path, column: str
) -> None:
    """Whoever can write can also build the table anew without its constraints."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP VIEW device")
        db.execute("CREATE TABLE loose AS SELECT * FROM principal")
        db.execute("DROP TABLE principal")
        db.execute("ALTER TABLE loose RENAME TO principal")
        db.execute(f"UPDATE principal SET {column} = NULL")
    check_refused(fresh, path)


def test_a_row_with_an_impossible_name_is_reported_when_principals_are_listed(
    fresh: Enrolled, store: SQLiteStore, path: Path
) -> None:
    for edit in ("kind = 'admin'", "kind = 'root'", "name = ' '", "name = ''", "name = x'00'"):
        ((kind, name, rowid),) = raw.run(path, "SELECT kind, name, rowid FROM principal")
        raw.run(path, f"UPDATE principal SET {edit}")
        with pytest.raises(RecordTampered, match="that no principal can have"):
            store.principals(fresh.principal.account)
        raw.run(path, "UPDATE principal SET kind = ?, name = ? WHERE rowid = ?", kind, name, rowid)
    assert store.principals(fresh.principal.account) == [fresh.principal]


def others_than(who: PrincipalId, path: Path) -> list[Any]:
    own = (who.account.encode(), who.kind.value.encode(), who.name.encode())
    return [[row for row in table if row[:3] != own] for table in raw.rows(path)]


def copies_of(who: PrincipalId, path: Path) -> list[Any]:
    """Copy each row of *who* to two other accounts, kinds and names; return the copies."""
    own = (who.account, who.kind.value, who.name)
    for place, other in ((0, "000"), (0, "zzz"), (1, "aaa"), (1, "zzz"), (2, "a"), (2, "z")):
        there = [*own[:place], other, *own[place + 1 :]]
        for table, columns in (
            ("principal", "revision, state, tag, audit_tag"),
            ("event", EVENT_COLUMNS),
        ):
            raw.run(
                path,
                f"INSERT OR REPLACE INTO {table} SELECT ?, ?, ?, {columns} FROM {table}"
                " WHERE account = ? AND kind = ? AND name = ?",
                *there,
                *own,
            )
    return others_than(who, path)


def test_copies_under_another_account_kind_or_name_change_nothing(
    fresh: Enrolled, path: Path
) -> None:
    """And nothing is done to them."""
    planted = copies_of(fresh.principal, path)
    registry, who, service = fresh.registry, fresh.principal, Actor.trusted_service("x")
    registry.verify(who, fresh.phone.code())
    registry.deactivate(who, by=service)
    assert [event.type.value for event in registry.history(who, by=service)] == [
        "enrollment opened",
        "device assigned",
        "device deactivated",
    ]
    assert others_than(who, path) == planted
    planted = copies_of(who, path)  # of the record as it is now
    registry.forget(who, by=service)
    assert raw.rows(path) == planted


def test_a_record_moved_to_another_principal_is_refused(bob: Enrolled, path: Path) -> None:
    """SEED-BOUND: the thief puts his own record, whose codes he has, in the victim's place."""
    raw.run(path, "DELETE FROM principal WHERE name = ?", "u-4711")
    raw.run(path, "UPDATE principal SET name = ? WHERE name = ?", "u-4711", "u-0815")
    moved = Enrolled(
        bob.registry, bob.clock, PrincipalId.user("123456789012", "u-4711"), bob.phone, bob.actor
    )
    check_refused(moved, path)
    with pytest.raises(NoDevice):
        bob.registry.verify(BOB, bob.phone.code())


@pytest.mark.parametrize("account", ["210987654321", "123456789012"])
@pytest.mark.parametrize("kind", Kind)
def test_a_record_copied_to_another_account_or_kind_is_refused(
    bob: Enrolled, path: Path, account: str, kind: Kind
) -> None:
    target = PrincipalId(account=account, kind=kind, name="x" if kind is Kind.USER else "")
    raw.run(
        path,
        "INSERT INTO principal SELECT ?, ?, ?, revision, state, tag, audit_tag FROM principal"
        " WHERE name = 'u-0815'",
        target.account,
        target.kind.value,
        target.name,
    )
    before = raw.rows(path)
    for use in (
        lambda: bob.registry.verify(target, bob.phone.code()),
        lambda: bob.registry.requires_code(target),
    ):
        with pytest.raises(RecordTampered):
            use()
    assert raw.rows(path) == before
    assert bob.registry.verify(BOB, bob.phone.code())  # the copied one is untouched


def test_the_key_reference_of_another_is_of_no_use(
    bob: Enrolled, fresh: Enrolled, path: Path
) -> None:
    raw.run(
        path,
        "UPDATE principal SET state = json_set(state, '$[4]',"
        " json((SELECT json_extract(state, '$[4]') FROM principal WHERE name = 'u-0815')))"
        " WHERE name = 'u-4711'",
    )
    check_refused(fresh, path)


def test_what_is_left_of_a_removed_row_does_not_pass_for_a_history(
    fresh: Enrolled, path: Path
) -> None:
    """The record was deleted, its events were not: they give way to what begins anew."""
    raw.run(path, "DELETE FROM principal")
    assert not fresh.registry.history(fresh.principal, by=AUDITOR)
    fresh.registry.open_enrollment(fresh.principal, by=fresh.actor, label="again")
    (event,) = fresh.registry.history(fresh.principal, by=AUDITOR)
    assert (event.number, event.at) == (1, fresh.clock.now)
    assert raw.run(path, "SELECT count(*) FROM event") == [(1,)]


def test_the_wrong_master_key_is_named_and_nothing_is_counted(
    fresh: Enrolled, store: SQLiteStore, path: Path
) -> None:
    wrong = DeviceRegistry(store, keys=DerivedKeys(bytes(32)), issuer="Example", clock=fresh.clock)
    before = raw.rows(path)
    for _ in range(3):
        assert told(wrong, fresh.principal, fresh.phone.code()) == {UnknownMasterKey}
    assert raw.rows(path) == before
    assert fresh.registry.verify(fresh.principal, fresh.phone.code()).failures_cleared == 0


def test_a_retired_master_key_still_reads(
    fresh: Enrolled, store: SQLiteStore, keys: DerivedKeys
) -> None:
    both = DerivedKeys(bytes(32), MASTER)
    registry = DeviceRegistry(store, keys=both, issuer="Example", clock=fresh.clock)
    assert registry.verify(fresh.principal, fresh.phone.code())
    assert store.load(fresh.principal).envelope.tag.startswith(both.current_id)  # type: ignore[union-attr]


# The history


@pytest.fixture
def busy(enrolled: Enrolled) -> Enrolled:
    """Alice with a history of six events."""
    for _ in range(2):
        enrolled.clock.advance(60)
        enrolled.registry.resync(enrolled.principal, by=enrolled.actor, **enrolled.phone.pair())
    me = enrolled.actor_with_mfa()
    enrolled.registry.deactivate(enrolled.principal, by=me, reason="lost")
    enrolled.registry.open_enrollment(enrolled.principal, by=enrolled.actor, label="new")
    return enrolled


def checked(store: SQLiteStore, who: PrincipalId, keys: DerivedKeys) -> None:
    """What an auditor does: the chain, from the first event to the head in the record."""
    check_history(store.load(who), store.history(who))


def test_a_history_that_was_not_edited_is_intact(
    busy: Enrolled, store: SQLiteStore, keys: DerivedKeys
) -> None:
    checked(store, busy.principal, keys)
    assert busy.registry.history(busy.principal, by=AUDITOR) == store.history(busy.principal)
    assert [event.type.value for event in store.history(busy.principal)] == [
        "enrollment opened",
        "device assigned",
        "device resynchronized",
        "device resynchronized",
        "device deactivated",
        "enrollment opened",
    ]


@pytest.mark.parametrize("number", range(1, 7))
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM event WHERE number = ?",
        "DELETE FROM event WHERE number >= ?",
        "UPDATE event SET digest = substr(digest, 2) || substr(digest, 1, 1) WHERE number = ?",
        "UPDATE event SET content_digest = digest WHERE number = ?",
        "UPDATE event SET salt = '' WHERE number = ?",
        "UPDATE event SET redactable = 1 - redactable WHERE number = ?",
        "UPDATE event SET document = NULL, salt = NULL WHERE number = ?",
        "UPDATE event SET number = number + 10 WHERE number = ?",
        "UPDATE event SET document = '{}' WHERE number = ?",
        "UPDATE event SET document = '' WHERE number = ?",
        "UPDATE event SET document = CAST(x'ff' AS TEXT) WHERE number = ?",
        "UPDATE event SET document = json_set(document, '$.at', 0) WHERE number = ?",
        "UPDATE event SET document = json_set(document, '$.actor', 'other') WHERE number = ?",
        "UPDATE event SET document = json_set(document, '$.reason', 'another') WHERE number = ?",
        "UPDATE event SET document = json_set(document, '$.serial', '0') WHERE number = ?",
        (
            "UPDATE event SET document = json_set(document, '$.type', 'device adopted')"
            " WHERE number = ?"
        ),
        "UPDATE event SET document = json_set(document, '$.type', 'unknown') WHERE number = ?",
        "UPDATE event SET document = json_set(document, '$.details.more', 1) WHERE number = ?",
        "UPDATE event SET name = 'u-0815' WHERE number = ?",
    ],
)
def test_an_edited_history_is_noticed(
    busy: Enrolled, store: SQLiteStore, path: Path, keys: DerivedKeys, statement: str, number: int
) -> None:
    raw.run(path, statement, number)
    with pytest.raises(RecordTampered):
        checked(store, busy.principal, keys)
    with pytest.raises(RecordTampered):
        busy.registry.history(busy.principal, by=AUDITOR)


def test_an_event_of_a_newer_release_is_refused(busy: Enrolled, path: Path) -> None:
    raw.run(path, "UPDATE event SET document = json_set(document, '$.v', 2) WHERE number = 3")
    with pytest.raises(StoreTooNew):
        busy.registry.history(busy.principal, by=AUDITOR)


@pytest.mark.parametrize(
    "document", ["[" * 100_000, '{"v":' * 50_000, "9" * 5000, '{"v":1,"what":[]}'], ids=range(4)
)
def test_an_event_that_is_not_a_document_is_tampered(
    busy: Enrolled, path: Path, document: str
) -> None:
    raw.run(path, "UPDATE event SET document = ? WHERE number = 3", document)
    with pytest.raises(RecordTampered):
        busy.registry.history(busy.principal, by=AUDITOR)


def test_a_reordered_history_is_noticed(
    busy: Enrolled, store: SQLiteStore, path: Path, keys: DerivedKeys
) -> None:
    """Two resynchronisations, whole rows exchanged."""
    raw.run(path, "UPDATE event SET number = 99 WHERE number = 3")
    raw.run(path, "UPDATE event SET number = 3 WHERE number = 4")
    raw.run(path, "UPDATE event SET number = 4 WHERE number = 99")
    with pytest.raises(RecordTampered, match="event 3 of"):
        checked(store, busy.principal, keys)


def test_an_inserted_event_is_noticed(
    busy: Enrolled, store: SQLiteStore, path: Path, keys: DerivedKeys
) -> None:
    whole = busy.registry.history(busy.principal, by=AUDITOR)
    raw.run(
        path,
        "INSERT INTO event SELECT account, kind, name, 7, document, salt, content_digest, digest,"
        " redactable, audit_tag FROM event WHERE number = 3",
    )
    assert (
        busy.registry.history(busy.principal, by=AUDITOR) == whole
    )  # it lies behind the end that the record names
    with pytest.raises(RecordTampered, match="event 7 of"):
        checked(store, busy.principal, keys)


def test_the_history_of_another_is_noticed(
    busy: Enrolled, store: SQLiteStore, path: Path, keys: DerivedKeys, registry: DeviceRegistry
) -> None:
    raw.run(
        path, "INSERT INTO event SELECT account, kind, 'u-0815', " + EVENT_COLUMNS + " FROM event"
    )
    record = replace(store.load(busy.principal), id=BOB)
    with pytest.raises(RecordTampered, match="event 1 of"):
        check_history(record, store.history(BOB))
