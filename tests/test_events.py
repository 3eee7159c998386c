"""Audit events: which are stored, their stored form, and that impossible ones are refused."""

from __future__ import annotations

import json

import pytest

from reference import vectors
from vmfa import AuditEvent, EventType, InvalidValue, PrincipalId, RecordTampered, StoreTooNew
from vmfa.history import redacted

ALICE = PrincipalId.user("123456789012", "u-4711")
TRANSIENT = {
    EventType.ACCEPTED,
    EventType.REJECTED,
    EventType.REFUSED,
    EventType.READ,
    EventType.FORGOTTEN,
}
WORDS = {
    "OPENED": "enrollment opened",
    "SUPERSEDED": "enrollment superseded",
    "EXPIRED": "enrollment expired",
    "CANCELLED": "enrollment cancelled",
    "ABANDONED": "enrollment abandoned",
    "ASSIGNED": "device assigned",
    "ADOPTED": "device adopted",
    "RESYNCHRONIZED": "device resynchronized",
    "DRIFT_CHANGED": "drift changed",
    "BUDGET_LOW": "guess budget low",
    "DISABLED": "device disabled",
    "DEACTIVATED": "device deactivated",
    "REANCHORED": "clock re-anchored",
    "PRUNED": "history pruned",
    "REDACTED": "redacted",
    "FORGOTTEN": "principal forgotten",
    "ACCEPTED": "code accepted",
    "REJECTED": "code rejected",
    "REFUSED": "refused",
    "READ": "read",
}
FROZEN = vectors("frozen_v1")["history"]


def event(type_=EventType.OPENED, at=5, **fields):
    return AuditEvent(**{"type": type_, "at": at, "principal": ALICE, "actor": "me", **fields})


@pytest.mark.parametrize("type_", EventType)
def test_life_cycle_events_are_stored_and_other_outcomes_are_not(type_):
    assert event(type_).stored == (type_ not in TRANSIENT)


def test_stored_words_never_change():
    assert {type_.name: type_.value for type_ in EventType} == WORDS


def test_the_optional_fields_of_an_event():
    assert (event().number, event().tag, event().serial, event().reason) == (0, "", "", "")
    assert event().details == ()


def test_a_negative_number_is_refused():
    with pytest.raises(InvalidValue, match=r"^number "):
        event(number=-1)


def test_a_redacted_event_keeps_only_number_and_tag():
    full = event(serial="n", reason="r", details=(("x", 1),), number=3, tag="t")
    blank = redacted(full)
    assert blank == AuditEvent(
        type=EventType.REDACTED, at=0, principal=ALICE, actor="", number=3, tag="t"
    )
    assert blank.stored


class TestDocument:
    def test_is_json_in_one_spelling(self):
        original = event(
            serial="n",
            reason="new phone",
            details=(("off", -1), ("sync", "in sync")),
            number=3,
            tag="t",
        )
        assert original.document() == (
            '{"v":1,"type":"enrollment opened","at":5,"actor":"me","serial":"n",'
            '"reason":"new phone","details":{"off":-1,"sync":"in sync"}}'
        )

    def test_a_document_is_read_back(self):
        original = event(
            actor="Zo\u00eb",
            serial="n",
            reason="r",
            details=(("off", -1), ("sync", "x")),
            number=3,
            tag="t",
        )
        assert AuditEvent.from_document(ALICE, 3, original.document(), "t") == original

    @pytest.mark.parametrize(
        "edit",
        [
            {"v": True},
            {"v": 0},
            {"v": -1},
            {"v": "1"},
            {"v": None},
            {"type": "no such thing"},
            {"type": None},
            {"type": []},
            {"at": 5.0},
            {"at": None},
            {"at": 2**62 + 1},
            {"actor": None},
            {"actor": "a\x00"},
            {"actor": "x" * 8193},
            {"serial": 7},
            {"serial": " n"},
            {"reason": []},
            {"details": []},
            {"details": None},
            {"details": {"x": None}},
            {"details": {"x": 1.0}},
            {"details": {"x": [1]}},
            {"details": {"x": "a\x00"}},
            {"details": {"": 1}},
            {"details": {" x": 1}},
            {"extra": 1},
            {"number": 1},
            {"tag": "t"},
            {"principal": "p"},
        ],
        ids=json.dumps,
    )
    def test_an_impossible_value_is_tampering(self, edit):
        document = json.dumps(json.loads(event().document()) | edit)
        with pytest.raises(RecordTampered) as caught:
            AuditEvent.from_document(ALICE, 1, document, "t")
        assert caught.value.__context__ is None  # it would carry the document

    @pytest.mark.parametrize(
        ("number", "named"),
        [
            (1, "1"),
            (77, "77"),
            (True, "without a number"),
            ("1; secret", "without a number"),
            (None, "without a number"),
        ],
    )
    def test_the_error_names_the_number_of_the_event(self, number, named):
        with pytest.raises(RecordTampered) as caught:
            AuditEvent.from_document(ALICE, number, "{}", "t")
        assert str(caught.value) == f"stored event {named} cannot be read"

    @pytest.mark.parametrize("name", ["v", "type", "at", "actor", "details"])
    def test_a_missing_value_is_tampering(self, name):
        read = json.loads(event().document())
        del read[name]
        with pytest.raises(RecordTampered):
            AuditEvent.from_document(ALICE, 1, json.dumps(read), "t")

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
            None,
            7,
            "[" * 100_000,
            '{"v":1' + "0" * 5000 + "}",
        ],
        ids=lambda document: repr(document)[:20],
    )
    def test_text_that_is_not_a_document_is_tampering(self, document):
        with pytest.raises(RecordTampered):
            AuditEvent.from_document(ALICE, 1, document, "t")

    def test_a_newer_version_is_reported_and_not_guessed(self):
        with pytest.raises(StoreTooNew):
            AuditEvent.from_document(ALICE, 1, event().document().replace('"v":1', '"v":2'), "t")

    @pytest.mark.parametrize(
        ("number", "tag"),
        [
            (0, "t"),
            (-1, "t"),
            (2**62 + 1, "t"),
            ("1", "t"),
            (True, "t"),
            (None, "t"),
            (1, None),
            (1, b"t"),
            (1, 7),
        ],
    )
    def test_an_impossible_column_is_tampering(self, number, tag):
        with pytest.raises(RecordTampered):
            AuditEvent.from_document(ALICE, number, event().document(), tag)

    def test_the_longest_detail(self):
        edge = event(details=(("x" * 64, ""), ("y", -1)), number=1, tag="t")
        assert AuditEvent.from_document(ALICE, 1, edge.document(), "t") == edge
        beyond = event(details=(("x" * 65, ""),)).document()
        with pytest.raises(RecordTampered):
            AuditEvent.from_document(ALICE, 1, beyond, "t")

    def test_the_longest_actor_and_the_last_number(self):
        long = event(actor="x" * 8192, number=2**62, tag="")
        assert AuditEvent.from_document(ALICE, 2**62, long.document(), "") == long
