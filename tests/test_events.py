"""Audit events: their stored form, and that impossible rows are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from reference import vectors
from vmfa import (
    AuditEvent,
    EventActor,
    EventType,
    InvalidType,
    InvalidValue,
    Kind,
    Outcome,
    PrincipalId,
    RecordTampered,
    StoreTooNew,
)
from vmfa.history import redacted
from vmfa.validators import MAX_INTEGER

ALICE = PrincipalId.user("123456789012", "u-4711")
ACTOR = EventActor(role="support", name="CASE-1")
FROZEN = vectors("frozen_v1")["history"]
FAILURES = {
    EventType.REJECTED,
    EventType.RECOVERY_REJECTED,
    EventType.REFUSED,
    EventType.ABANDONED,
}
WORDS = {
    "OPENED": "enrollment opened",
    "SUPERSEDED": "enrollment superseded",
    "EXPIRED": "enrollment expired",
    "CANCELED": "enrollment canceled",
    "ABANDONED": "enrollment abandoned",
    "ASSIGNED": "device assigned",
    "ADOPTED": "device adopted",
    "RESYNCHRONIZED": "device resynchronized",
    "BUDGET_LOW": "guess budget low",
    "BUDGET_RESTORED": "guess budget restored",
    "DISABLED": "device disabled",
    "DEACTIVATED": "device deactivated",
    "CLIENT_TOKEN_GIVEN": "client token given",
    "CLIENTS_FORGOTTEN": "clients forgotten",
    "REOPENED": "sign-in reopened",
    "RECOVERY_CODES_REPLACED": "recovery codes replaced",
    "BINDING_CODE_ISSUED": "binding code issued",
    "MARKED_SPENT": "codes marked spent",
    "REANCHORED": "clock re-anchored",
    "PRUNED": "history pruned",
    "ACCEPTED": "code accepted",
    "REJECTED": "code rejected",
    "RECOVERY_REJECTED": "recovery code rejected",
    "REDACTED": "redacted",
    "DRIFT_CHANGED": "drift changed",
    "REFUSED": "refused",
    "READ": "read",
    "FORGOTTEN": "principal forgotten",
}


def event(event_type: EventType = EventType.OPENED, **fields: Any) -> AuditEvent:
    fields = {"at": 5, "principal": ALICE, "actor": ACTOR, **fields}
    return AuditEvent(type=event_type, **fields)


def read(document: Any, **columns: Any) -> AuditEvent:
    """The event of a stored row with this document."""
    row = {
        "number": 1,
        "salt": "00",
        "content_digest": "c",
        "digest": "d",
        "redactable": 1,
        "audit_tag": "t",
        **columns,
    }
    return AuditEvent.from_columns(ALICE, document=document, **row)


def edited(**changes: object) -> str:
    """The document of an event with other values."""
    return json.dumps({**json.loads(event().document()), **changes})


def test_stored_words_never_change() -> None:
    assert {event_type.name: event_type.value for event_type in EventType} == WORDS


@pytest.mark.parametrize("event_type", EventType)
def test_the_outcome_of_an_event(event_type: EventType) -> None:
    expected = Outcome.FAILURE if event_type in FAILURES else Outcome.SUCCESS
    assert event(event_type).outcome is expected


def test_an_event_is_stored_if_it_has_a_number() -> None:
    assert not event().stored
    assert event(number=1).stored


@pytest.mark.parametrize(
    "fields",
    [
        {"at": None},
        {"actor": "me"},
        {"principal": "alice"},
        {"serial": "n" * 65},
        {"reason": "a\nb"},
        {"source": " a"},
        {"number": -1},
        {"number": MAX_INTEGER + 1},
        {"salt": "s" * 65},
        {"redactable": 1},
    ],
)
def test_an_invalid_field_is_named(fields: dict[str, Any]) -> None:
    with pytest.raises((InvalidValue, InvalidType), match=f"^{next(iter(fields))} "):
        event(**fields)


@pytest.mark.parametrize(
    ("actor", "text"),
    [
        (EventActor(role="support", name="CASE-1"), "support CASE-1"),
        (EventActor(role="claimant", account="a", kind="user", name="u"), "claimant u"),
        (EventActor(role="signed in", account="a", kind="root"), "signed in root of a"),
        (EventActor(role="unknown"), "unknown"),
    ],
    ids=["support", "user", "root", "unknown"],
)
def test_the_text_of_an_actor(actor: EventActor, text: str) -> None:
    assert str(actor) == text


class TestRow:
    def test_the_document_has_one_spelling(self) -> None:
        original = event(
            serial="n",
            reason="new phone",
            source="192.0.2.7",
            details=(("off", -1), ("sync", "in sync")),
            number=3,
        )
        assert original.document() == (
            '{"v":1,"type":"enrollment opened","outcome":"success","at":5,'
            '"actor":["support","","","CASE-1"],"serial":"n","reason":"new phone",'
            '"source":"192.0.2.7","details":{"off":-1,"sync":"in sync"}}'
        )

    def test_a_row_is_read_back(self) -> None:
        original = event(
            actor=EventActor(role="admin", account="a", kind=Kind.USER, name="Zo\u00eb"),
            serial="n",
            reason="r",
            details=(("off", -1), ("sync", "x")),
            number=3,
            salt="00",
            content_digest="c",
            digest="d",
            redactable=True,
            audit_tag="t",
        )
        assert AuditEvent.from_columns(ALICE, *original.columns()) == original

    @pytest.mark.parametrize("row", FROZEN["events"], ids=lambda row: str(row["number"]))
    def test_a_frozen_row_is_read_and_written_unchanged(self, row: dict[str, Any]) -> None:
        names = ("number", "document", "salt", "content_digest", "digest", "redactable")
        columns = [row[name] for name in (*names, "audit_tag")]
        assert list(AuditEvent.from_columns(ALICE, *columns).columns()) == columns

    def test_a_redacted_event_keeps_its_number_and_its_digests(self) -> None:
        full = event(serial="n", number=3, salt="00", content_digest="c", digest="d")
        columns = redacted(full).columns()
        assert columns == (3, None, None, "c", "d", 0, "")
        assert AuditEvent.from_columns(ALICE, *columns) == redacted(full)

    @pytest.mark.parametrize(
        "changes",
        [
            {"v": True},
            {"v": 0},
            {"v": -1},
            {"v": "1"},
            {"v": None},
            {"type": "no such thing"},
            {"type": None},
            {"type": []},
            {"type": "redacted"},
            {"outcome": "failure"},
            {"at": 5.0},
            {"at": None},
            {"at": 2**62 + 1},
            {"actor": None},
            {"actor": ["support", "", ""]},
            {"actor": ["a\x00", "", "", ""]},
            {"actor": ["support", "", "", "x" * 513]},
            {"serial": 7},
            {"serial": " n"},
            {"reason": []},
            {"source": 7},
            {"details": []},
            {"details": None},
            {"details": {"x": None}},
            {"details": {"x": 1.0}},
            {"details": {"x": True}},
            {"details": {"x": [1]}},
            {"details": {"x": "a\x00"}},
            {"details": {"": 1}},
            {"details": {" x": 1}},
            {"details": {"x" * 65: 1}},
            {"extra": 1},
            {"number": 1},
            {"digest": "d"},
            {"principal": "p"},
        ],
    )
    def test_an_impossible_value_is_tampering(self, changes: dict[str, object]) -> None:
        with pytest.raises(RecordTampered) as caught:
            read(edited(**changes))
        assert caught.value.__context__ is None  # it would have the document

    @pytest.mark.parametrize(
        "name", ["v", "type", "outcome", "at", "actor", "serial", "reason", "source", "details"]
    )
    def test_a_missing_value_is_tampering_or_empty(self, name: str) -> None:
        content = json.loads(event().document())
        del content[name]
        if name in ("serial", "reason", "source"):
            assert getattr(read(json.dumps(content)), name) == ""
        else:
            with pytest.raises(RecordTampered):
                read(json.dumps(content))

    @pytest.mark.parametrize(
        "document",
        [
            "",
            "{",
            "null",
            "[]",
            '"v"',
            "7",
            b"\xff",
            7,
            "[" * 100_000,
            '{"v":1' + "0" * 5000 + "}",
        ],
        ids=lambda document: ascii(document)[:20],
    )
    def test_text_that_is_not_a_document_is_tampering(self, document: Any) -> None:
        with pytest.raises(RecordTampered):
            read(document)

    @pytest.mark.parametrize(
        "columns",
        [
            {"number": 0},
            {"number": -1},
            {"number": 2**62 + 1},
            {"number": "1"},
            {"number": True},
            {"number": None},
            {"salt": None},
            {"salt": 7},
            {"content_digest": None},
            {"digest": b"d"},
            {"redactable": 2},
            {"redactable": True},
            {"redactable": None},
            {"audit_tag": None},
        ],
    )
    def test_an_impossible_column_is_tampering(self, columns: dict[str, Any]) -> None:
        with pytest.raises(RecordTampered):
            read(event().document(), **columns)

    def test_document_and_salt_are_redacted_together(self) -> None:
        with pytest.raises(RecordTampered):
            read(None)
        assert read(None, salt=None).type is EventType.REDACTED

    @pytest.mark.parametrize(
        ("number", "name"),
        [(1, "1"), (77, "77"), (True, "without a number"), ("1; secret", "without a number")],
    )
    def test_the_error_names_the_number_of_the_event(self, number: Any, name: str) -> None:
        with pytest.raises(RecordTampered) as caught:
            read("{}", number=number)
        assert str(caught.value) == f"stored event {name} cannot be read"

    def test_a_newer_version_is_reported_and_not_guessed(self) -> None:
        with pytest.raises(StoreTooNew):
            read(edited(v=2))


MESSAGES: dict[str, tuple[Callable[[], object], str]] = {
    "unreadable": (lambda: read("{"), "stored event 1 cannot be read"),
    "newer": (
        lambda: read(edited(v=2)),
        "a stored document has version 2; this release reads up to 1",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name: str) -> None:
    call, message = MESSAGES[name]
    with pytest.raises((RecordTampered, StoreTooNew)) as caught:
        call()
    assert str(caught.value) == message
