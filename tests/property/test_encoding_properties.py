"""What is written comes back as it was, and nothing else is read: Base32, fields, records, events."""

from __future__ import annotations

import json
from base64 import b32encode, b64encode
from dataclasses import replace

import pytest
from hypothesis import assume, given, strategies as st

from support import MASTER
from vmfa import (
    AuditEvent,
    DerivedKeys,
    EnrollmentSession,
    EventType,
    InvalidValue,
    Key,
    KeyRef,
    Kind,
    Parameters,
    Principal,
    PrincipalId,
    RecordTampered,
    StoreError,
    Sync,
    UnsafeShortKey,
    VirtualDevice,
    VmfaError,
)
from vmfa.history import chained, check_chain
from vmfa.keys import base32, encode_fields, reveal
from vmfa.keysources.derived import key_binding
from vmfa.models import PendingBinding
from vmfa.record import check_intact, columns, from_columns
from vmfa.validators import MAX_INTEGER, Value, check_text, content

KEYS = DerivedKeys(MASTER)


def named(text: str) -> bool:
    try:
        check_text("name", text)
    except InvalidValue:
        return False
    return True


names = st.text(
    st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=12
).filter(named)
short = st.text("0123456789abcdef", min_size=1, max_size=32)
times = st.integers(-MAX_INTEGER, MAX_INTEGER)
ids = st.one_of(st.builds(PrincipalId.user, names, names), st.builds(PrincipalId.root, names))
shapes = st.builds(
    Parameters,
    algorithm=st.sampled_from(["sha1", "sha256", "sha512"]),
    digits=st.integers(6, 8),
    period=st.integers(1, 2**40),
    t0=st.integers(-(2**40), 2**40),
)
refs = st.builds(KeyRef, short, short, st.binary(max_size=64))
devices = st.builds(
    VirtualDevice,
    serial=short,
    parameters=shapes,
    enrolled_at=times,
    sync=st.sampled_from(Sync),
    disabled=st.booleans(),
    drift=st.integers(-1000, 1000),
    synced_drift=st.integers(-1000, 1000),
    last_offset=st.integers(-1, 1),
    last_step=st.integers(-1, 2**64 - 1),
    failures=st.integers(0, 10_000),
    failed_at=times,
    budget=st.integers(0, 10_000),
    budget_updated_at=times,
)
sessions = st.builds(
    EnrollmentSession,
    session_id=short,
    serial=short,
    parameters=shapes,
    opened_at=times,
    expires_at=times,
    attempts=st.integers(0, 1000),
)
bindings = st.none() | st.builds(PendingBinding, st.just("") | short, times)


@st.composite
def principals(draw: st.DrawFn) -> Principal:
    held = draw(st.sampled_from(["nothing", "device", "enrollment"]))
    return Principal(
        id=draw(ids),
        revision=draw(st.integers(1, MAX_INTEGER)),
        seen_at=draw(times),
        recovered_at=draw(times),
        device=draw(devices) if held == "device" else None,
        enrollment=draw(sessions) if held == "enrollment" else None,
        key_ref=None if held == "nothing" else draw(refs),
        enrollment_times=tuple(draw(st.lists(times, max_size=3))),
        binding=draw(bindings),
        events=draw(st.integers(0, MAX_INTEGER)),
        head=draw(st.just("") | short),
    )


events = st.builds(
    AuditEvent,
    what=st.sampled_from(EventType),
    at=times,
    principal=ids,
    actor=st.just("") | names,
    serial=st.just("") | short,
    reason=st.just("") | names,
    details=st.dictionaries(names, st.integers() | st.just("") | names, max_size=3).map(
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
    def test_round_trip_however_it_is_typed(self, raw, separator, group, lower):
        """RFC 4648, section 6: "A 33-character subset of US-ASCII"; people group it and change its case."""
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
    def test_total_over_all_text(self, text):
        """RFC 4648, section 3.3: "MUST reject the encoded data if it contains characters outside the base alphabet"."""
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


def packed(field: str | int | bytes) -> bytes:
    return field if isinstance(field, bytes) else str(field).encode()


class TestFields:
    @given(
        fields.filter(lambda given: all(not isinstance(f, str) or f.isprintable() for f in given))
    )
    def test_can_be_taken_apart_again(self, given_fields):
        """SEED-BOUND: the encoding is unambiguous, for it has one decoding."""
        rest, found = encode_fields(*given_fields), []
        while rest:
            size = int.from_bytes(rest[:4], "big")
            found.append(rest[4 : 4 + size])
            rest = rest[4 + size :]
        assert found == [packed(field) for field in given_fields]

    @given(
        st.lists(st.binary(max_size=3), max_size=4), st.lists(st.binary(max_size=3), max_size=4)
    )
    def test_is_injective(self, one, other):
        """SEED-BOUND: the encoding is unambiguous: two lists never share it."""
        assert (encode_fields(*one) == encode_fields(*other)) == (one == other)

    @given(refs, ids, short, shapes, st.data())
    def test_no_two_devices_share_a_binding(self, ref, who, serial, shape, data):
        """SEED-BOUND: a key is one device's of one principal of one account."""
        mine = key_binding(ref, who, serial, shape)
        other = data.draw(
            st.tuples(refs.map(lambda r: replace(r, scheme=ref.scheme)), ids, short, shapes)
        )
        assert (key_binding(*other) == mine) == (other == (ref, who, serial, shape))
        text = who.account + who.name
        for cut in range(1, len(text)):
            moved = text[:cut], text[cut:]
            if moved != (who.account, who.name) and all(map(named, moved)):
                assert key_binding(ref, PrincipalId.user(*moved), serial, shape) != mine


def listed(value):
    """What a document holds of a value: its fields in their order."""
    if isinstance(value, Value):
        return [listed(each) for each in content(value).values()]
    return value


class TestRecords:
    @given(principals())
    def test_round_trip(self, principal):
        """SEED-BOUND: what was sealed is what is read."""
        kept = authenticated(principal, KEYS)
        assert replace(kept, envelope=None) == principal
        document = json.loads(kept.envelope.document)
        assert kept.envelope.document == json.dumps(document, separators=(",", ":"))
        ref = principal.key_ref
        assert document == [
            2,
            principal.seen_at,
            listed(principal.enrollment),
            listed(principal.device),
            ref and [ref.scheme, ref.key_id, b64encode(ref.material).decode()],
            list(principal.enrollment_times),
            principal.recovered_at,
            listed(principal.binding),
            principal.events,
            principal.head,
            principal.pruned,
            principal.redacted,
        ]
        read = from_columns(kept.id, *columns(kept)[3:])
        assert read == kept
        check_intact(read, KEYS)

    @given(principals(), principals())
    def test_a_seal_fits_one_record(self, one, other):
        """SEED-BOUND: a row that was moved to another principal or revision is refused."""
        assume((one.id, one.revision) != (other.id, other.revision))
        moved = from_columns(other.id, other.revision, *columns(authenticated(one, KEYS))[4:])
        with pytest.raises(RecordTampered):
            check_intact(moved, KEYS)

    @given(principals(), st.data())
    def test_total_over_edited_documents(self, principal, data):
        """SEED-BOUND: an edited row is a named error, at reading or at the seal, and nothing else."""
        *_, revision, state, tag = columns(authenticated(principal, KEYS))
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
            check_intact(from_columns(principal.id, revision, edited, tag), KEYS)
        except StoreError:
            return
        assert json.loads(edited) == json.loads(state)

    @given(
        st.text() | st.binary(max_size=20) | json_values.map(json.dumps),
        st.text(max_size=8),
        st.integers(),
    )
    def test_total_over_all_documents(self, state, text, revision):
        """SEED-BOUND: the same, where the document never was one."""
        with pytest.raises(StoreError):
            check_intact(from_columns(PrincipalId.user("a", "b"), revision, state, text), KEYS)


class TestEvents:
    @given(events, st.integers(1, 2**62), short)
    def test_round_trip(self, event, number, tag):
        """SP80063B-4.1-RECORD: the record of what was ever bound is read as it was written."""
        kept = replace(event, number=number, tag=tag)
        assert AuditEvent.from_document(kept.principal, number, kept.document(), tag) == kept

    @given(ids, st.lists(events, max_size=5), st.integers(0, 1000), st.just("") | short, st.data())
    def test_a_chain_checks_and_no_event_can_leave_it(self, who, happened, number, head, data):
        """SP80063B-4.1-RECORD: what was removed or changed shows."""
        whole = [
            e
            for e in chained([replace(e, principal=who) for e in happened], number, head, KEYS)
            if e.stored
        ]
        assert check_chain(whole, number, head, KEYS) == (whole[-1].tag if whole else head)
        if len(whole) > 1:
            gone = data.draw(st.integers(0, len(whole) - 2))
            with pytest.raises(RecordTampered):
                check_chain(whole[:gone] + whole[gone + 1 :], number, head, KEYS)

    @given(st.text() | st.binary(max_size=20) | json_values.map(json.dumps), st.data())
    def test_total_over_all_documents(self, document, data):
        """SEED-BOUND: a row that is no event is a named error, and nothing else."""
        if data.draw(st.booleans()):
            kept = json.loads(
                AuditEvent(
                    type=EventType.OPENED, at=1, principal=PrincipalId.root("a"), actor="me"
                ).document()
            )
            kept[data.draw(st.sampled_from(sorted(kept)))] = data.draw(json_values)
            document = json.dumps(kept)
        try:
            event = AuditEvent.from_document(
                PrincipalId(account="a", kind=Kind.ROOT, name=""), 1, document, "t"
            )
        except VmfaError:
            return
        assert isinstance(event, AuditEvent)
        event.document()
