"""What is written is read as it was, and nothing else is accepted.

This covers Base32, encoded fields, records and events.
"""

from __future__ import annotations

import json
from base64 import b32encode
from dataclasses import replace

import pytest
from hypothesis import assume, given, strategies as st

from support import MASTER, authenticated
from vmfa import (
    AuditEvent,
    DerivedKeys,
    EnrollmentSession,
    EventType,
    InvalidValue,
    Key,
    KeyRef,
    Parameters,
    Principal,
    PrincipalId,
    RecordTampered,
    StoreError,
    Sync,
    UnsafeShortKey,
    VirtualDevice,
)
from vmfa.events import EventActor
from vmfa.history import ChainCheck, chain, redacted
from vmfa.keys import base32, encode_fields, reveal
from vmfa.keysources.derived import key_binding
from vmfa.models import (
    MAX_FAILING_CLIENTS,
    ClientState,
    FailingClient,
    PendingBinding,
    RecoveryState,
)
from vmfa.record import check_intact, columns, from_columns
from vmfa.validators import MAX_INTEGER, check_text

KEYS = DerivedKeys(MASTER)


def is_a_name(text: str) -> bool:
    try:
        check_text("name", text)
        PrincipalId.user(text, text)
    except InvalidValue:
        return False
    return True


names = st.text(
    st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=12
).filter(is_a_name)
short = st.text("0123456789abcdef", min_size=1, max_size=32)
times = st.integers(-MAX_INTEGER, MAX_INTEGER)
ids = st.one_of(st.builds(PrincipalId.user, names, names), st.builds(PrincipalId.root, names))
parameters = st.builds(
    Parameters,
    algorithm=st.sampled_from(["sha1", "sha256", "sha512"]),
    digits=st.integers(6, 8),
    period=st.integers(1, 2**40),
    t0=st.integers(-(2**40), 2**40),
)
refs = st.builds(KeyRef, scheme=short, key_id=short, material=st.binary(max_size=64))
client_states = st.builds(
    ClientState,
    epoch=st.integers(0, MAX_INTEGER),
    failing=st.lists(
        st.builds(FailingClient, token_id=short, failures=st.integers(1, 1000), expires_at=times),
        max_size=MAX_FAILING_CLIENTS,
    ).map(tuple),
    given=st.just("") | short,
)
recovery_states = st.builds(
    RecoveryState,
    codes=st.lists(short, max_size=5).map(tuple),
    failures=st.integers(0, MAX_INTEGER),
    failed_at=times,
)
devices = st.builds(
    VirtualDevice,
    serial=short,
    parameters=parameters,
    enrolled_at=times,
    sync=st.sampled_from(Sync),
    disabled=st.booleans(),
    drift=st.integers(-1000, 1000),
    synced_drift=st.integers(-1000, 1000),
    last_offset=st.integers(-1, 1),
    last_step=st.integers(-1, 2**64 - 1),
    failures=st.integers(0, 10_000),
    failed_at=times,
    known_failures=st.integers(0, 10_000),
    known_failed_at=times,
    budget=st.integers(0, 10_000),
    budget_updated_at=times,
    budget_restored_at=times,
    clients=client_states,
    recovery=recovery_states,
)
sessions = st.builds(
    EnrollmentSession,
    session_id=short,
    serial=short,
    parameters=parameters,
    opened_at=times,
    expires_at=times,
    attempts=st.integers(0, 1000),
    opened_by_owner=st.booleans(),
)
bindings = st.none() | st.builds(PendingBinding, digest=short, expires_at=times)


@st.composite
def principals(draw: st.DrawFn) -> Principal:
    content = draw(st.sampled_from(["nothing", "device", "enrollment"]))
    events = draw(st.integers(0, MAX_INTEGER))
    return Principal(
        id=draw(ids),
        revision=draw(st.integers(1, MAX_INTEGER)),
        seen_at=draw(times),
        recovered_at=draw(times),
        device=draw(devices) if content == "device" else None,
        enrollment=draw(sessions) if content == "enrollment" else None,
        key_ref=None if content == "nothing" else draw(refs),
        enrollment_times=tuple(draw(st.lists(times, max_size=3))),
        binding=draw(bindings),
        events=events,
        head=draw(st.just("") | short),
        pruned=draw(st.integers(0, events)),
    )


event_types = st.sampled_from([kind for kind in EventType if kind is not EventType.REDACTED])
event_actors = st.builds(
    EventActor,
    role=st.sampled_from(["signed in", "claimant", "support"]),
    account=st.just("") | names,
    kind=st.sampled_from(["", "root", "user"]),
    name=st.just("") | names,
)
events = st.builds(
    AuditEvent,
    type=event_types,
    at=times,
    principal=ids,
    actor=event_actors,
    serial=st.just("") | short,
    reason=st.just("") | names,
    source=st.just("") | names,
    details=st.dictionaries(names, times | st.just("") | names, max_size=3).map(
        lambda details: tuple(details.items())
    ),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=6,
)


class TestBase32:
    @given(
        st.binary(min_size=16, max_size=99),
        st.sampled_from(["", " ", "-", "\n"]),
        st.integers(1, 9),
        st.booleans(),
    )
    def test_a_key_is_read_in_every_usual_spelling(self, raw, separator, group, lower):
        """RFC 4648, section 6: "A 33-character subset of US-ASCII"; people group it and type it in
        either case.
        """
        text = base32(Key(raw))
        assert text == b32encode(raw).decode().rstrip("=")
        retyped = separator.join(text[at : at + group] for at in range(0, len(text), group))
        retyped = retyped.lower() if lower else retyped
        assert reveal(Key.from_base32(retyped)) == raw
        assert reveal(Key.from_base32(b32encode(raw).decode())) == raw

    @given(
        st.text()
        | st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567= -", max_size=60)
        | st.text("A\u0131\u017f\u212a\u00df0189")
    )
    def test_any_text_is_a_key_or_an_invalid_value(self, text):
        """RFC 4648, section 3.3: "MUST reject the encoded data if it contains characters outside
        the base alphabet".
        """
        try:
            key = UnsafeShortKey.from_base32(text)
        except InvalidValue:
            return
        plain = text.translate({ord(blank): None for blank in " -\t\r\n"}).upper().rstrip("=")
        assert set(plain) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
        assert base32(key)[:-1] == plain[:-1]  # the last character may carry spare bits


fields = st.lists(
    st.binary(max_size=6) | st.text(max_size=4) | st.integers(-10, 10**6), max_size=5
)


def as_bytes(field: str | int | bytes) -> bytes:
    return field if isinstance(field, bytes) else str(field).encode()


class TestFields:
    @given(
        fields.filter(
            lambda values: all(
                not isinstance(value, str) or value.isprintable() for value in values
            )
        )
    )
    def test_can_be_decoded(self, values):
        """SEED-BOUND: the encoding is unambiguous, because it can be decoded."""
        rest, decoded = encode_fields(*values), []
        while rest:
            size = int.from_bytes(rest[:4], "big")
            decoded.append(rest[4 : 4 + size])
            rest = rest[4 + size :]
        assert decoded == [as_bytes(value) for value in values]

    @given(
        st.lists(st.binary(max_size=3), max_size=4), st.lists(st.binary(max_size=3), max_size=4)
    )
    def test_is_injective(self, one, other):
        """SEED-BOUND: the encoding is unambiguous: two lists of fields never share it."""
        assert (encode_fields(*one) == encode_fields(*other)) == (one == other)

    @given(refs, ids, short, parameters, st.data())
    def test_no_two_devices_share_a_binding(self, ref, who, serial, shape, data):
        """SEED-BOUND: a key belongs to one device of one principal of one account."""
        mine = key_binding(ref, who, serial, shape)
        other = data.draw(
            st.tuples(refs.map(lambda r: replace(r, scheme=ref.scheme)), ids, short, parameters)
        )
        assert (key_binding(*other) == mine) == (other == (ref, who, serial, shape))
        text = who.account + who.name
        for cut in range(1, len(text)):
            moved = text[:cut], text[cut:]
            if moved != (who.account, who.name) and all(map(is_a_name, moved)):
                assert key_binding(ref, PrincipalId.user(*moved), serial, shape) != mine


class TestRecords:
    @given(principals())
    def test_a_record_is_read_as_it_was_written(self, principal):
        """SEED-BOUND: what was authenticated is what is read."""
        written = authenticated(principal, KEYS)
        assert replace(written, envelope=None) == principal
        read = from_columns(written.id, *columns(written)[3:])
        assert read == written
        check_intact(read, KEYS)

    @given(principals(), principals())
    def test_a_tag_is_valid_for_one_record(self, one, other):
        """SEED-BOUND: a row that was moved to another principal or revision is refused."""
        assume((one.id, one.revision) != (other.id, other.revision))
        moved = from_columns(other.id, other.revision, *columns(authenticated(one, KEYS))[4:])
        with pytest.raises(RecordTampered):
            check_intact(moved, KEYS)

    @given(principals(), st.data())
    def test_an_edited_record_is_refused(self, principal, data):
        """SEED-BOUND: reading it, or checking its tag, raises a named error."""
        *_, revision, state, tag, audit_tag = columns(authenticated(principal, KEYS))
        document = json.loads(state)
        target = document
        place = data.draw(st.sampled_from(range(len(document))))
        if isinstance(document[place], list) and document[place] and data.draw(st.booleans()):
            target = document[place]
            place = data.draw(st.sampled_from(range(len(target))))
        if data.draw(st.booleans()):
            target[place] = data.draw(json_values)
        else:
            del target[place]
        edited = json.dumps(document)
        try:
            check_intact(from_columns(principal.id, revision, edited, tag, audit_tag), KEYS)
        except StoreError:
            return
        assert json.loads(edited) == json.loads(state)

    @given(
        st.text() | st.binary(max_size=20) | json_values.map(json.dumps),
        st.text(max_size=8),
        st.integers(),
    )
    def test_any_other_document_is_refused(self, state, text, revision):
        """SEED-BOUND: a document that is not a record raises a named error."""
        with pytest.raises(StoreError):
            check_intact(
                from_columns(PrincipalId.user("a", "b"), revision, state, text, text), KEYS
            )


def counted(size: int) -> bytes:
    return bytes(size)


class TestEvents:
    @given(ids, events)
    def test_an_event_is_read_as_it_was_written(self, who, event):
        """SP80063B-4.1-RECORD: the record of what was ever bound is read as it was written."""
        event = replace(event, principal=who)
        (written,) = chain([event], after=Principal(id=who), keys=KEYS, random=counted)
        assert AuditEvent.from_columns(who, *written.columns()) == written
        hidden = redacted(written)
        assert AuditEvent.from_columns(who, *hidden.columns()) == hidden

    @given(ids, st.lists(events, min_size=1, max_size=5), st.data())
    def test_a_history_is_checked_to_its_last_event(self, who, happened, data):
        """SP80063B-4.1-RECORD: an event that was removed, moved or redacted is noticed."""
        history = chain(
            [replace(event, principal=who) for event in happened],
            after=Principal(id=who),
            keys=KEYS,
            random=counted,
        )
        pruned = data.draw(st.integers(0, len(history)))
        record = Principal(
            id=who, revision=1, events=len(history), head=history[-1].digest, pruned=pruned
        )
        stored = [
            redacted(event) if event.redactable and event.number <= pruned else event
            for event in history
        ]
        check_history(record, stored)
        place = data.draw(st.integers(0, len(stored) - 1))
        with pytest.raises(RecordTampered):
            check_history(record, stored[:place] + stored[place + 1 :])
        altered = [*stored]
        altered[place] = (
            history[place] if history[place] is not stored[place] else redacted(history[place])
        )
        with pytest.raises(RecordTampered):
            check_history(record, altered)

    @given(st.text() | st.binary(max_size=20) | json_values.map(json.dumps), st.data())
    def test_any_document_is_an_event_or_refused(self, document, data):
        """SEED-BOUND: a row that is not an event raises a named error."""
        who = PrincipalId.root("a")
        if data.draw(st.booleans()):
            actor = EventActor(role="claimant")
            event = AuditEvent(type=EventType.OPENED, at=1, principal=who, actor=actor)
            content = json.loads(event.document())
            content[data.draw(st.sampled_from(sorted(content)))] = data.draw(json_values)
            document = json.dumps(content)
        try:
            event = AuditEvent.from_columns(who, 1, document, "", "c", "d", 0, "")
        except StoreError:
            return
        assert isinstance(event, AuditEvent)
        event.document()


def check_history(record: Principal, stored: list[AuditEvent]) -> None:
    check = ChainCheck(record)
    for event in stored:
        check.add(event)
    check.finish()
