"""The hash chain of a history: an event that was changed, removed or moved is detected."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reference import vectors
from support import MASTER
from vmfa import AuditEvent, DerivedKeys, EventType, Kind, Principal, PrincipalId, RecordTampered
from vmfa.history import chained, check_chain, check_page, redacted

ALICE = PrincipalId.user("123456789012", "u-4711")
KEYS = DerivedKeys(MASTER)
FROZEN = vectors("frozen_v1")["history"]


def event(type_=EventType.OPENED, at=5, **fields):
    return AuditEvent(**{"type": type_, "at": at, "principal": ALICE, "actor": "me", **fields})


LIFE = (
    event(),
    event(EventType.REJECTED, 6),
    event(EventType.ASSIGNED, 7, serial="n"),
    event(EventType.DEACTIVATED, 8),
)


CHANGES = (
    {"reason": "other"},
    {"serial": "m"},
    {"actor": "other"},
    {"at": 70},
    {"type": EventType.ADOPTED},
    {"details": (("x", 1),)},
    {"principal": PrincipalId.root("123456789012")},
    {"principal": PrincipalId.user("1", "u-4711")},
    {"principal": PrincipalId.user("123456789012", "u")},
    {"tag": ""},
    {"tag": "0" * 64},
)


class TestChain:
    def test_only_stored_events_are_numbered(self):
        first, rejected, second, third = chained(LIFE, 4, "head", KEYS)
        assert [e.number for e in (first, second, third)] == [5, 6, 7]
        assert rejected == LIFE[1]
        assert len({first.tag, second.tag, third.tag}) == 3
        assert check_chain((first, second, third), 4, "head", KEYS) == third.tag

    def test_a_chain_is_continued_at_its_end(self):
        whole = [e for e in chained(LIFE, 0, "", KEYS) if e.stored]
        (more,) = chained([event(at=9)], 3, whole[-1].tag, KEYS)
        assert check_chain([*whole, more], 0, "", KEYS) == more.tag
        assert check_chain([more], 3, whole[-1].tag, KEYS) == more.tag

    def test_without_events_the_head_stays(self):
        assert chained((), 3, "head", KEYS) == ()
        assert check_chain((), 3, "head", KEYS) == "head"

    @pytest.mark.parametrize("field", CHANGES, ids=lambda change: next(iter(change)))
    def test_a_changed_field_is_detected(self, field):
        """RULE-HISTORY: a change of any field of an event."""
        events = [e for e in chained(LIFE, 0, "", KEYS) if e.stored]
        events[1] = replace(events[1], **field)
        with pytest.raises(RecordTampered, match=r"event 2$"):
            check_chain(events, 0, "", KEYS)

    @pytest.mark.parametrize(
        ("order", "first"),
        [
            pytest.param([0, 2], 2, id="an event removed"),
            pytest.param([1, 2], 1, id="the first event removed"),
            pytest.param([1, 0, 2], 1, id="two events exchanged"),
            pytest.param([0, 0, 1, 2], 2, id="an event repeated"),
        ],
    )
    def test_the_first_moved_event_is_named(self, order, first):
        """RULE-HISTORY: a change of the order or of the number of events."""
        events = [e for e in chained(LIFE, 0, "", KEYS) if e.stored]
        with pytest.raises(RecordTampered, match=f"event {first}$"):
            check_chain([events[place] for place in order], 0, "", KEYS)

    def test_a_renumbered_event_is_detected(self):
        """RULE-HISTORY: in place of another event, and after the end."""
        events = [e for e in chained(LIFE, 0, "", KEYS) if e.stored]
        with pytest.raises(RecordTampered, match=r"event 2$"):
            check_chain([events[0], replace(events[2], number=2)], 0, "", KEYS)
        with pytest.raises(RecordTampered, match=r"event 4$"):
            check_chain([*events, replace(events[2], number=4)], 0, "", KEYS)

    def test_the_tags_are_frozen(self):
        principal = PrincipalId(
            account=FROZEN["account"], kind=Kind(FROZEN["kind"]), name=FROZEN["name"]
        )
        events = [AuditEvent.from_document(principal, *row.values()) for row in FROZEN["events"]]
        assert [e.document() for e in events] == [row["document"] for row in FROZEN["events"]]
        assert check_chain(events, 0, "", KEYS) == FROZEN["events"][-1]["tag"]
        fresh = [replace(e, number=0, tag="") for e in events]
        assert list(chained(fresh, 0, "", KEYS)) == events


class TestPage:
    """A page is read together with the event before it."""

    WHOLE = chained([event(at=at) for at in range(5)], 0, "", KEYS)
    HEAD = WHOLE[-1].tag

    def page(self, after, limit, rows=None, length=5, head=HEAD, pruned=0, redacted_events=0):
        stored = self.WHOLE if rows is None else rows
        read = [e for e in stored if e.number > max(0, after - 1)][: limit + 1]
        record = Principal(
            id=ALICE, events=length, head=head, pruned=pruned, redacted=redacted_events
        )
        return [e.number for e in check_page(read, after, limit, record, KEYS)]

    @pytest.mark.parametrize(
        ("after", "limit", "numbers"),
        [
            (0, 9, [1, 2, 3, 4, 5]),
            (0, 5, [1, 2, 3, 4, 5]),
            (0, 2, [1, 2]),
            (0, 0, []),
            (1, 2, [2, 3]),
            (2, 2, [3, 4]),
            (4, 9, [5]),
            (5, 9, []),
            (6, 9, []),
            (99, 9, []),
            (3, 0, []),
        ],
    )
    def test_a_page(self, after, limit, numbers):
        assert self.page(after, limit) == numbers

    def test_a_history_without_events(self):
        assert self.page(0, 9, (), 0, "") == []

    def test_rows_after_the_end_are_not_part_of_the_history(self):
        assert self.page(0, 9, length=3, head=self.WHOLE[2].tag) == [1, 2, 3]

    @pytest.mark.parametrize("removed", range(5))
    @pytest.mark.parametrize(("after", "limit"), [(0, 9), (0, 5)])
    def test_a_removed_event_is_tampering(self, removed, after, limit):
        with pytest.raises(RecordTampered):
            self.page(after, limit, self.WHOLE[:removed] + self.WHOLE[removed + 1 :])

    @pytest.mark.parametrize(
        ("after", "removed"), [(1, 1), (1, 2), (2, 3), (3, 4), (3, 3), (4, 5)]
    )
    def test_a_removed_event_is_tampering_on_its_page(self, after, removed):
        with pytest.raises(RecordTampered):
            self.page(after, 9, [e for e in self.WHOLE if e.number != removed])

    def test_a_removed_history_is_tampering(self):
        with pytest.raises(RecordTampered):
            self.page(0, 9, ())

    def test_a_history_with_another_end_is_tampering(self):
        with pytest.raises(RecordTampered):
            self.page(0, 9, head=self.WHOLE[3].tag)
        other = chained([event(at=at) for at in (0, 1, 2, 3, 9)], 0, "", KEYS)
        with pytest.raises(RecordTampered):
            self.page(3, 9, other)

    def test_an_edited_event_is_named(self):
        edited = (*self.WHOLE[:2], replace(self.WHOLE[2], actor="other"), *self.WHOLE[3:])
        with pytest.raises(RecordTampered, match=r"event 3$"):
            self.page(1, 2, edited)
        assert self.page(3, 1, edited) == [4]  # of the event before its page only the tag is used

    def test_a_redacted_event_keeps_its_place(self):
        rows = (self.WHOLE[0], redacted(self.WHOLE[1]), *self.WHOLE[2:])
        assert self.page(0, 9, rows, pruned=2, redacted_events=1) == [1, 2, 3, 4, 5]
        assert self.page(2, 2, rows, pruned=2, redacted_events=1) == [3, 4]

    def test_an_event_that_was_not_pruned_cannot_be_redacted(self):
        rows = (self.WHOLE[0], redacted(self.WHOLE[1]), *self.WHOLE[2:])
        with pytest.raises(RecordTampered, match=r"event 2$"):
            self.page(0, 9, rows, pruned=1, redacted_events=1)

    @pytest.mark.parametrize(("after", "limit", "count"), [(0, 9, 0), (0, 9, 2), (0, 3, 0)])
    def test_the_number_of_redacted_events_is_that_of_the_record(self, after, limit, count):
        rows = (self.WHOLE[0], redacted(self.WHOLE[1]), *self.WHOLE[2:])
        with pytest.raises(RecordTampered):
            self.page(after, limit, rows, pruned=3, redacted_events=count)

    def test_only_a_redacted_event_is_accepted_without_its_content(self):
        whole = chained([event(EventType.ASSIGNED, at=at) for at in range(4)], 0, "", KEYS)
        rows = [redacted(whole[0]), whole[1], redacted(whole[2]), whole[3]]
        record = Principal(id=ALICE, events=4, head=whole[-1].tag, pruned=3, redacted=2)
        assert check_page(rows, 0, 9, record, KEYS) == rows
        with pytest.raises(RecordTampered, match=r"event 2$"):
            check_page([rows[0], replace(rows[1], actor="b"), *rows[2:]], 0, 9, record, KEYS)
        with pytest.raises(RecordTampered, match=r"event 1$"):
            check_chain([rows[0]], 0, "", KEYS)  # nothing was pruned
        with pytest.raises(RecordTampered, match=r"event 1$"):
            check_page([replace(rows[0], number=3), *rows[1:]], 0, 9, record, KEYS)


MESSAGES = {
    "changed": (
        lambda: check_chain([event(number=2)], 0, "", KEYS),
        "the history of this principal was changed at event 1",
    ),
    "missing": (
        lambda: check_page([], 0, 9, Principal(id=ALICE, events=1), KEYS),
        "events are missing from the history of this principal",
    ),
    "another end": (
        lambda: check_page(
            list(chained([event()], 0, "", KEYS)), 0, 9, Principal(id=ALICE, events=1), KEYS
        ),
        "the history of this principal does not end as its record says",
    ),
    "redacted": (
        lambda: check_page(
            [redacted(chained([event()], 0, "", KEYS)[0])],
            0,
            9,
            Principal(id=ALICE, events=1, pruned=1, head=chained([event()], 0, "", KEYS)[0].tag),
            KEYS,
        ),
        "more of the history of this principal was redacted than its record says",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name):
    call, message = MESSAGES[name]
    with pytest.raises(RecordTampered) as caught:
        call()
    assert str(caught.value) == message
