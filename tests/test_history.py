"""The hash chain of a history: an event that was changed, removed or moved is detected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from reference import vectors
from support import MASTER
from vmfa import (
    AuditEvent,
    DerivedKeys,
    EventActor,
    EventType,
    Principal,
    PrincipalId,
    RecordTampered,
)
from vmfa.history import ChainCheck, PageReader, chain, redacted

ALICE = PrincipalId.user("123456789012", "u-4711")
KEYS = DerivedKeys(MASTER)
ACTOR = EventActor(role="support", name="CASE-1")
FROZEN = vectors("frozen_v1")["history"]


def event(event_type: EventType = EventType.OPENED, at: int = 5, **fields: Any) -> AuditEvent:
    return AuditEvent(type=event_type, at=at, principal=ALICE, actor=ACTOR, **fields)


def chained(*events: AuditEvent, after: Principal | None = None) -> list[AuditEvent]:
    record = after or Principal(id=ALICE)
    return chain(events, after=record, keys=KEYS, random=bytes)


def record_of(events: list[AuditEvent], **fields: Any) -> Principal:
    """The record of a principal with this history."""
    fields = {"events": len(events), "head": events[-1].digest if events else "", **fields}
    return Principal(id=ALICE, **fields)


def check(events: list[AuditEvent], record: Principal) -> None:
    """Check a whole history against its record."""
    checker = ChainCheck(record)
    for event in events:
        checker.add(event)
    checker.finish()


LIFE = chained(
    event(EventType.OPENED, 6),
    event(EventType.ASSIGNED, 7, serial="n"),
    event(EventType.RESYNCHRONIZED, 8),
    event(EventType.DEACTIVATED, 9),
)
RECORD = record_of(LIFE)
CHANGES = (
    {"reason": "other"},
    {"serial": "m"},
    {"source": "192.0.2.7"},
    {"actor": EventActor(role="support", name="CASE-2")},
    {"at": 70},
    {"type": EventType.ADOPTED},
    {"details": (("x", 1),)},
    {"salt": "11"},
    {"content_digest": "0" * 64},
    {"digest": "0" * 64},
    {"digest": ""},
    {"redactable": True},
)


class TestChain:
    def test_events_are_numbered_and_linked(self) -> None:
        assert [event.number for event in LIFE] == [1, 2, 3, 4]
        assert len({event.digest for event in LIFE}) == 4
        check(LIFE, RECORD)

    def test_a_chain_is_continued_at_its_end(self) -> None:
        more = chained(event(at=9), after=RECORD)
        assert [event.number for event in more] == [5]
        check([*LIFE, *more], record_of([*LIFE, *more]))

    def test_without_events_nothing_changes(self) -> None:
        assert chained() == []
        check([], record_of([]))

    def test_bindings_are_not_redactable(self) -> None:
        """SP80063B-4.1-RECORD: which device was bound, and when, stays."""
        assert [event.redactable for event in LIFE] == [True, False, True, False]

    def test_each_event_has_its_own_salt(self) -> None:
        numbers = iter(range(1, 9))
        events = chain(
            [event(), event()],
            after=Principal(id=ALICE),
            keys=KEYS,
            random=lambda size: bytes([next(numbers)]) * size,
        )
        assert [event.salt for event in events] == ["01" * 16, "02" * 16]

    def test_the_digests_are_frozen(self) -> None:
        rows = FROZEN["events"]
        events = [
            AuditEvent.from_columns(
                ALICE,
                *(row[name] for name in ("number", "document", "salt", "content_digest")),
                *(row[name] for name in ("digest", "redactable", "audit_tag")),
            )
            for row in rows
        ]
        check(events, record_of(events))
        salts = iter(bytes.fromhex(row["salt"]) for row in rows)
        plain = {"number": 0, "salt": "", "content_digest": "", "digest": "", "audit_tag": ""}
        fresh = [replace(event, **plain, redactable=False) for event in events]
        again = chain(fresh, after=Principal(id=ALICE), keys=KEYS, random=lambda size: next(salts))
        assert again == events

    @pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
    def test_a_changed_field_is_detected(self, change: dict[str, Any]) -> None:
        """RULE-HISTORY: a change of any field of an event."""
        events = [LIFE[0], replace(LIFE[1], **change), *LIFE[2:]]
        with pytest.raises(RecordTampered, match="event 2 "):
            check(events, RECORD)

    @pytest.mark.parametrize(
        "owner",
        [
            PrincipalId.root("123456789012"),
            PrincipalId.user("1", "u-4711"),
            PrincipalId.user("123456789012", "u"),
        ],
    )
    def test_the_history_of_another_principal_is_detected(self, owner: PrincipalId) -> None:
        """RULE-HISTORY: the digests cover the principal."""
        with pytest.raises(RecordTampered):
            check(LIFE, replace(RECORD, id=owner))

    @pytest.mark.parametrize(
        ("order", "first"),
        [
            pytest.param([0, 2, 3], 2, id="an event removed"),
            pytest.param([1, 2, 3], 1, id="the first event removed"),
            pytest.param([0, 1, 2], 4, id="the last event removed"),
            pytest.param([1, 0, 2, 3], 1, id="two events exchanged"),
            pytest.param([0, 0, 1, 2, 3], 2, id="an event repeated"),
        ],
    )
    def test_the_first_moved_event_is_named(self, order: list[int], first: int) -> None:
        """RULE-HISTORY: a change of the order or of the number of events."""
        with pytest.raises(RecordTampered, match=f"event {first} "):
            check([LIFE[place] for place in order], RECORD)

    def test_a_renumbered_event_is_detected(self) -> None:
        """RULE-HISTORY: in the place of another event."""
        with pytest.raises(RecordTampered, match="event 2 "):
            check([LIFE[0], replace(LIFE[2], number=2), *LIFE[2:]], RECORD)

    def test_a_history_with_another_end_is_tampering(self) -> None:
        """RULE-HISTORY: the record has the digest of the last event."""
        with pytest.raises(RecordTampered):
            check(LIFE, replace(RECORD, head=LIFE[2].digest))
        other = chained(*[replace(LIFE[0], number=0)] * 4)
        with pytest.raises(RecordTampered):
            check(other, RECORD)


class TestRedaction:
    PRUNED = (redacted(LIFE[0]), LIFE[1], redacted(LIFE[2]), LIFE[3])

    def test_a_redacted_event_keeps_its_place(self) -> None:
        check(list(self.PRUNED), replace(RECORD, pruned=3))

    def test_an_event_that_was_not_pruned_cannot_be_redacted(self) -> None:
        with pytest.raises(RecordTampered, match="event 3 "):
            check(list(self.PRUNED), replace(RECORD, pruned=1))

    def test_a_pruned_event_must_be_redacted(self) -> None:
        with pytest.raises(RecordTampered, match="event 1 "):
            check(LIFE, replace(RECORD, pruned=3))

    def test_a_binding_cannot_be_redacted(self) -> None:
        events = [*self.PRUNED[:1], redacted(LIFE[1]), *self.PRUNED[2:]]
        with pytest.raises(RecordTampered, match="event 2 "):
            check(events, replace(RECORD, pruned=3))

    def test_a_binding_cannot_be_made_redactable(self) -> None:
        blank = replace(redacted(LIFE[1]), redactable=True)
        with pytest.raises(RecordTampered, match="event 2 "):
            check([self.PRUNED[0], blank, *self.PRUNED[2:]], replace(RECORD, pruned=3))


HISTORY = chained(*(event(at=at) for at in range(7)))


class TestPage:
    """A page is checked from the event before it up to the end of the history."""

    def page(
        self,
        after: int,
        limit: int,
        rows: list[AuditEvent] = HISTORY,
        record: Principal | None = None,
        size: int = 3,
    ) -> list[int]:
        """The numbers of the events on a page that is read *size* rows at a time."""
        reader = PageReader(record or record_of(HISTORY), after, limit)
        while reader.position is not None:
            rest = [row for row in rows if row.number > reader.position]
            reader.add(rest[:size])
        return [event.number for event in reader.page]

    @pytest.mark.parametrize("size", [2, 3, 100])
    @pytest.mark.parametrize(
        ("after", "limit", "numbers"),
        [
            (0, 9, [1, 2, 3, 4, 5, 6, 7]),
            (0, 7, [1, 2, 3, 4, 5, 6, 7]),
            (0, 2, [1, 2]),
            (0, 0, []),
            (1, 2, [2, 3]),
            (2, 2, [3, 4]),
            (6, 9, [7]),
            (7, 9, []),
            (8, 9, []),
            (99, 9, []),
            (3, 0, []),
        ],
    )
    def test_a_page(self, after: int, limit: int, numbers: list[int], size: int) -> None:
        assert self.page(after, limit, size=size) == numbers

    def test_a_history_without_events(self) -> None:
        assert self.page(0, 9, [], record_of([])) == []

    def test_rows_after_the_end_are_not_part_of_the_history(self) -> None:
        assert self.page(0, 9, record=record_of(HISTORY[:3])) == [1, 2, 3]

    @pytest.mark.parametrize("removed", range(1, 8))
    @pytest.mark.parametrize("after", [0, 3])
    def test_a_removed_event_is_tampering(self, removed: int, after: int) -> None:
        """RULE-HISTORY: on the page, after it, and right before it."""
        rows = [row for row in HISTORY if row.number != removed]
        if removed < after:
            assert self.page(after, 2, rows) == [4, 5]
        else:
            with pytest.raises(RecordTampered):
                self.page(after, 2, rows)

    def test_a_removed_history_is_tampering(self) -> None:
        with pytest.raises(RecordTampered):
            self.page(0, 9, [])

    @pytest.mark.parametrize("after", [0, 2, 4])
    def test_an_edited_event_after_the_start_of_the_page_is_named(self, after: int) -> None:
        rows = [*HISTORY[:4], replace(HISTORY[4], reason="other"), *HISTORY[5:]]
        with pytest.raises(RecordTampered, match="event 5 "):
            self.page(after, 1, rows)

    def test_an_earlier_event_is_not_checked(self) -> None:
        rows = [*HISTORY[:4], replace(HISTORY[4], reason="other"), *HISTORY[5:]]
        assert self.page(5, 1, rows) == [6]


MESSAGES: dict[str, tuple[Callable[[], object], str]] = {
    "changed": (
        lambda: check([replace(LIFE[0], reason="other")], RECORD),
        "event 1 of the history of this principal was changed",
    ),
    "missing": (
        lambda: check(LIFE[1:], RECORD),
        "event 1 is missing from the history of this principal",
    ),
    "another end": (
        lambda: check(LIFE, replace(RECORD, head="")),
        "the history of this principal does not end with the event that its record states",
    ),
    "redacted": (
        lambda: check([redacted(LIFE[0])], RECORD),
        "event 1 of the history of this principal was redacted, but the record does not allow it",
    ),
    "not redacted": (
        lambda: check(LIFE, replace(RECORD, pruned=1)),
        "event 1 of the history of this principal was not redacted, but the record requires it",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name: str) -> None:
    call, message = MESSAGES[name]
    with pytest.raises(RecordTampered) as caught:
        call()
    assert str(caught.value) == message
