"""Audit events: what is kept, how it is stored, and that a changed history shows."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import pytest

from reference import vectors
from support import MASTER
from vmfa import AuditEvent, DerivedKeys, EventType, Kind, Principal, PrincipalId, RecordTampered, StoreTooNew
from vmfa.history import chained, check_chain, check_page, redacted

ALICE = PrincipalId.user("123456789012", "u-4711")
KEYS = DerivedKeys(MASTER)
TOLD = {EventType.ACCEPTED, EventType.REJECTED, EventType.REFUSED, EventType.READ, EventType.FORGOTTEN}
WORDS = {
    "OPENED": "enrollment opened", "SUPERSEDED": "enrollment superseded", "EXPIRED": "enrollment expired",
    "CANCELLED": "enrollment cancelled", "ABANDONED": "enrollment abandoned", "ASSIGNED": "device assigned",
    "ADOPTED": "device adopted", "RESYNCHRONIZED": "device resynchronized", "DRIFT_CHANGED": "drift changed",
    "BUDGET_LOW": "guess budget low", "DISABLED": "device disabled", "DEACTIVATED": "device deactivated",
    "REANCHORED": "clock re-anchored", "PRUNED": "history pruned", "REDACTED": "redacted",
    "FORGOTTEN": "principal forgotten", "ACCEPTED": "code accepted", "REJECTED": "code rejected",
    "REFUSED": "refused", "READ": "read",
}
FROZEN = vectors("frozen_v1")["history"]


def event(what=EventType.OPENED, at=5, **more):
    return AuditEvent(**{"type": type, "at": at, "principal": ALICE, "actor": "me"} | more)


LIFE = (event(), event(EventType.REJECTED, 6), event(EventType.ASSIGNED, 7, serial="n"), event(EventType.DEACTIVATED, 8))


@pytest.mark.parametrize("what", EventType)
def test_life_cycle_events_are_stored_and_outcomes_only_told(what):
    assert event(what).stored == (what not in TOLD)


def test_what_happened_is_stored_in_words_that_never_change():
    assert {what.name: what.value for what in EventType} == WORDS


def test_an_event_is_frozen_and_told_by_name():
    with pytest.raises(dataclasses.FrozenInstanceError):
        event().reason = "other"
    with pytest.raises(TypeError):
        AuditEvent(EventType.OPENED, 5, ALICE, "me")
    assert not hasattr(event(), "__dict__")
    assert (event().number, event().tag, event().serial, event().reason, event().details) == (0, "", "", "", ())


def test_a_redacted_event_says_nothing_but_its_place():
    full = event(serial="n", reason="r", details=(("x", 1),), number=3, tag="t")
    blank = redacted(full)
    assert blank == AuditEvent(type=EventType.REDACTED, at=0, principal=ALICE, actor="", number=3, tag="t")
    assert blank.stored


class TestDocument:
    def test_is_json_in_one_spelling(self):
        told = event(serial="n", reason="new phone", details=(("off", -1), ("sync", "in sync")), number=3, tag="t")
        assert told.document() == (
            '{"v":1,"type":"enrollment opened","at":5,"actor":"me","serial":"n","reason":"new phone",'
            '"details":{"off":-1,"sync":"in sync"}}'
        )

    def test_comes_back(self):
        told = event(actor="Zo\u00eb", serial="n", reason="r", details=(("off", -1), ("sync", "x")), number=3, tag="t")
        assert AuditEvent.from_document(ALICE, 3, told.document(), "t") == told

    @pytest.mark.parametrize("edit", [
        {"v": True}, {"v": 0}, {"v": -1},
        {"v": "1"}, {"v": None}, {"type": "no such thing"}, {"type": None}, {"type": []}, {"at": 5.0},
        {"at": None}, {"at": 2**62 + 1}, {"actor": None}, {"actor": "a\x00"}, {"actor": "x" * 8193}, {"serial": 7},
        {"serial": " n"}, {"reason": []}, {"details": []}, {"details": None},
        {"details": {"x": None}}, {"details": {"x": 1.0}}, {"details": {"x": [1]}}, {"details": {"x": "a\x00"}},
        {"details": {"": 1}}, {"details": {" x": 1}}, {"extra": 1}, {"number": 1},
        {"tag": "t"}, {"principal": "p"},
    ], ids=json.dumps)
    def test_an_impossible_value_is_tampering(self, edit):
        document = json.dumps(json.loads(event().document()) | edit)
        with pytest.raises(RecordTampered, match=r"^stored event .* cannot be read$") as caught:
            AuditEvent.from_document(ALICE, 1, document, "t")
        assert caught.value.__context__ is None  # it would carry the document

    @pytest.mark.parametrize(("number", "named"), [
        (1, "1"), (77, "77"), (True, "without a number"), ("1; secret", "without a number"), (None, "without a number"),
    ])
    def test_what_cannot_be_read_is_named_by_its_number(self, number, named):
        with pytest.raises(RecordTampered) as caught:
            AuditEvent.from_document(ALICE, number, "{}", "t")
        assert str(caught.value) == f"stored event {named} cannot be read"

    @pytest.mark.parametrize("name", ["v", "what", "at", "actor", "details"])
    def test_a_missing_value_is_tampering(self, name):
        read = json.loads(event().document())
        del read[name]
        with pytest.raises(RecordTampered):
            AuditEvent.from_document(ALICE, 1, json.dumps(read), "t")

    @pytest.mark.parametrize("document", [
        "", "{", "null", "[]", '"v"', "7", b"\xff", None, 7, "[" * 100_000, '{"v":1' + "0" * 5000 + "}",
    ], ids=lambda document: repr(document)[:20])
    def test_no_document_is_tampering(self, document):
        with pytest.raises(RecordTampered):
            AuditEvent.from_document(ALICE, 1, document, "t")

    def test_a_newer_version_is_not_guessed_at(self):
        with pytest.raises(StoreTooNew, match=r"^a stored document has version 2; this release reads up to 1$"):
            AuditEvent.from_document(ALICE, 1, event().document().replace('"v":1', '"v":2'), "t")

    @pytest.mark.parametrize(("number", "tag"), [
        (0, "t"), (-1, "t"), (2**62 + 1, "t"), ("1", "t"), (True, "t"), (None, "t"), (1, None), (1, b"t"), (1, 7),
    ])
    def test_impossible_columns_are_tampering(self, number, tag):
        with pytest.raises(RecordTampered):
            AuditEvent.from_document(ALICE, number, event().document(), tag)

    def test_the_longest_detail_and_an_empty_one(self):
        edge = event(details=(("x" * 64, ""), ("y", -1)), number=1, tag="t")
        assert AuditEvent.from_document(ALICE, 1, edge.document(), "t") == edge
        beyond = event(details=(("x" * 65, ""),)).document()
        with pytest.raises(RecordTampered):
            AuditEvent.from_document(ALICE, 1, beyond, "t")

    def test_the_longest_actor_and_the_last_number(self):
        long = event(actor="x" * 8192, number=2**62, tag="")
        assert AuditEvent.from_document(ALICE, 2**62, long.document(), "") == long


class TestChain:
    def test_stored_events_are_numbered_and_the_others_pass_through(self):
        first, told, second, third = chained(LIFE, 4, "head", KEYS)
        assert [e.number for e in (first, second, third)] == [5, 6, 7]
        assert told == LIFE[1]
        assert len({first.tag, second.tag, third.tag}) == 3
        assert check_chain((first, second, third), 4, "head", KEYS) == third.tag

    def test_is_continued_where_it_ended(self):
        whole = [e for e in chained(LIFE, 0, "", KEYS) if e.stored]
        (more,) = chained([event(at=9)], 3, whole[-1].tag, KEYS)
        assert check_chain([*whole, more], 0, "", KEYS) == more.tag
        assert check_chain([more], 3, whole[-1].tag, KEYS) == more.tag

    def test_nothing_happened(self):
        assert chained((), 3, "head", KEYS) == ()
        assert check_chain((), 3, "head", KEYS) == "head"

    @pytest.mark.parametrize(("change", "at"), [
        (lambda e: [replace(e[0], reason="other"), *e[1:]], 1),
        (lambda e: [e[0], replace(e[1], serial="m"), e[2]], 2),
        (lambda e: [e[0], replace(e[1], actor="other"), e[2]], 2),
        (lambda e: [e[0], replace(e[1], at=70), e[2]], 2),
        (lambda e: [e[0], replace(e[1], type=EventType.ADOPTED), e[2]], 2),
        (lambda e: [e[0], replace(e[1], details=(("x", 1),)), e[2]], 2),
        (lambda e: [e[0], replace(e[1], principal=PrincipalId.root("123456789012")), e[2]], 2),
        (lambda e: [e[0], replace(e[1], principal=PrincipalId.user("1", "u-4711")), e[2]], 2),
        (lambda e: [e[0], replace(e[1], principal=PrincipalId.user("123456789012", "u")), e[2]], 2),
        (lambda e: [e[0], replace(e[1], tag=e[0].tag), e[2]], 2),
        (lambda e: [e[0], replace(e[1], tag=""), e[2]], 2),
        (lambda e: [e[0], e[2]], 2),
        (lambda e: [e[0], replace(e[2], number=2)], 2),
        (lambda e: e[1:], 1),
        (lambda e: [e[1], e[0], e[2]], 1),
        (lambda e: [e[0], e[0], *e[1:]], 2),
        (lambda e: [*e, replace(e[2], number=4)], 4),
    ])
    def test_the_first_changed_event_is_named(self, change, at):
        whole = [e for e in chained(LIFE, 0, "", KEYS) if e.stored]
        with pytest.raises(RecordTampered, match=f"^the history of this principal was changed at event {at}$"):
            check_chain(change(whole), 0, "", KEYS)

    def test_is_frozen(self):
        principal = PrincipalId(account=FROZEN["account"], kind=Kind(FROZEN["kind"]), name=FROZEN["name"])
        events = [AuditEvent.from_document(principal, *row.values()) for row in FROZEN["events"]]
        assert [e.document() for e in events] == [row["document"] for row in FROZEN["events"]]
        assert check_chain(events, 0, "", KEYS) == FROZEN["events"][-1]["tag"]
        fresh = [replace(e, number=0, tag="") for e in events]
        assert list(chained(fresh, 0, "", KEYS)) == events


class TestPage:
    """A page is read with the event before it, of a history whose length and head the record says."""

    WHOLE = chained([event(at=at) for at in range(5)], 0, "", KEYS)
    HEAD = WHOLE[-1].tag

    def page(self, after, limit, rows=None, length=5, head=HEAD, pruned=0, blank=0):
        stored = self.WHOLE if rows is None else rows
        read = [e for e in stored if e.number > max(0, after - 1)][: limit + 1]
        record = Principal(id=ALICE, events=length, head=head, pruned=pruned, redacted=blank)
        return [e.number for e in check_page(read, after, limit, record, KEYS)]

    @pytest.mark.parametrize(("after", "limit", "numbers"), [
        (0, 9, [1, 2, 3, 4, 5]), (0, 5, [1, 2, 3, 4, 5]), (0, 2, [1, 2]), (0, 0, []), (1, 2, [2, 3]), (2, 2, [3, 4]),
        (4, 9, [5]), (5, 9, []), (6, 9, []), (99, 9, []), (3, 0, []),
    ])
    def test_pages(self, after, limit, numbers):
        assert self.page(after, limit) == numbers

    def test_a_history_without_events(self):
        assert self.page(0, 9, (), 0, "") == []

    def test_rows_behind_the_end_are_no_part_of_it(self):
        assert self.page(0, 9, length=3, head=self.WHOLE[2].tag) == [1, 2, 3]

    @pytest.mark.parametrize("gone", range(5))
    @pytest.mark.parametrize(("after", "limit"), [(0, 9), (0, 5)])
    def test_a_removed_event_shows(self, gone, after, limit):
        with pytest.raises(RecordTampered):
            self.page(after, limit, self.WHOLE[:gone] + self.WHOLE[gone + 1 :])

    @pytest.mark.parametrize(("after", "gone"), [(1, 1), (1, 2), (2, 3), (3, 4), (3, 3), (4, 5)])
    def test_a_removed_event_shows_on_its_page(self, after, gone):
        with pytest.raises(RecordTampered):
            self.page(after, 9, [e for e in self.WHOLE if e.number != gone])

    def test_all_events_removed(self):
        with pytest.raises(RecordTampered, match=r"^events are missing from the history of this principal$"):
            self.page(0, 9, ())

    def test_a_history_that_ends_otherwise(self):
        with pytest.raises(RecordTampered, match=r"^the history of this principal does not end as its record says$"):
            self.page(0, 9, head=self.WHOLE[3].tag)
        other = chained([event(at=at) for at in (0, 1, 2, 3, 9)], 0, "", KEYS)
        with pytest.raises(RecordTampered, match=r"^the history of this principal does not end as its record says$"):
            self.page(3, 9, other)

    def test_an_edited_event(self):
        edited = (*self.WHOLE[:2], replace(self.WHOLE[2], actor="other"), *self.WHOLE[3:])
        with pytest.raises(RecordTampered, match="changed at event 3"):
            self.page(1, 2, edited)
        assert self.page(3, 1, edited) == [4]  # of the event before its page only the tag is used

    def test_a_redacted_event_keeps_its_place(self):
        rows = (self.WHOLE[0], redacted(self.WHOLE[1]), *self.WHOLE[2:])
        assert self.page(0, 9, rows, pruned=2, blank=1) == [1, 2, 3, 4, 5]
        assert self.page(2, 2, rows, pruned=2, blank=1) == [3, 4]

    def test_what_was_not_pruned_is_not_blank(self):
        rows = (self.WHOLE[0], redacted(self.WHOLE[1]), *self.WHOLE[2:])
        with pytest.raises(RecordTampered, match="changed at event 2"):
            self.page(0, 9, rows, pruned=1, blank=1)

    @pytest.mark.parametrize(("after", "limit", "blank"), [(0, 9, 0), (0, 9, 2), (0, 3, 0)])
    def test_more_or_less_is_blank_than_the_record_says(self, after, limit, blank):
        rows = (self.WHOLE[0], redacted(self.WHOLE[1]), *self.WHOLE[2:])
        sentence = "^more of the history of this principal was redacted than its record says$"
        with pytest.raises(RecordTampered, match=sentence):
            self.page(after, limit, rows, pruned=3, blank=blank)
