"""Samples, commits and checks that the promises of ``StoreContract`` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from os import urandom
from threading import Barrier, Thread
from typing import Any, Final, TypeVar

from ..events import AuditEvent, EventActor, EventType
from ..keysources.derived import DerivedKeys
from ..models import (
    ClientState,
    FailingClient,
    KeyRef,
    Principal,
    PrincipalId,
    RecoveryState,
    Sync,
    VirtualDevice,
)
from ..policy import Parameters
from ..record import authenticated
from ..stores.base import Store
from ..validators import MAX_INTEGER

T = TypeVar("T")

CONTRACT_ACTOR: Final = EventActor(role="trusted service", name="contract")
COMMIT_SUCCEEDS: Final = "a commit on the stored record returns True"

# Pairs that a collation, a pattern, a number or a limit on the length would confuse.
UNUSUAL_NAMES: Final = (
    "Alice", "alice", "ALICE", "O'Brien", 'say "hi"', "100%", "1%0", "a_b", "a-b", "a/b", "a\\b",
    "a;b", "a?b", "a:b", "ab", "a b", "a  b",
    "'; DROP TABLE principal; --", "%s", "{}", "$1", "NULL", "None", "root",
    "7", "07", "7.0", "1e3", "1000", "0x10", "ß", "ss", "é", "e", "æ", "ae", "\u0131", "i",
    "\ufb01", "fi", "\uff21", "A", "は", "ハ", "ば", "x", "x\u0301", "中文",
    "😀", "😁", "👩\U0001f3fd", "x" * 512, "x" * 511, "é" * 256, "😀" * 128,
)
UNUSUAL_ACCOUNTS: Final = ("a", "A", "á", "a%", "a_", "a'\"/\\;?é😀", "a" * 400, "a" * 401)
NAMES_TO_SORT: Final = (
    "B", "Z", "a", "b", "a b", "a-b", "a_b", "ab", "10", "9", "é", "f", "ñ", "中", "\uff61", "😀",
    "root", "user", "~", "'",
)


def check(condition: object, sentence: str) -> None:
    """Fail the test of a promise unless *condition* holds.

    :param sentence: the promise that the store breaks.
    :raises AssertionError: the condition does not hold.
    """
    __tracebackhide__ = True
    if not condition:
        raise AssertionError(f"this store breaks its contract: {sentence}")


# Samples


def contract_keys() -> DerivedKeys:
    """Return the keys that authenticate the records of the contract. They are not secret."""
    return DerivedKeys(b"for the contract of stores, only")


def new_account() -> str:
    """Return an account that no other test uses."""
    return f"contract-{urandom(8).hex()}"


def new_user() -> PrincipalId:
    """Return a user of a new account."""
    return PrincipalId.user(new_account(), "u-4711")


def sample_device(**changes: Any) -> VirtualDevice:
    """Return a device in which every field differs from its default."""
    device = VirtualDevice(
        serial="8" * 32,
        parameters=Parameters(algorithm="sha256", digits=7, period=1, t0=2**60 + 1),
        enrolled_at=3 - MAX_INTEGER,
        sync=Sync.OUT_OF_SYNC,
        disabled=True,
        drift=4,
        synced_drift=-5,
        last_offset=-1,
        last_step=6,
        failures=7,
        failed_at=9 - MAX_INTEGER,
        budget=9,
        budget_updated_at=11 - MAX_INTEGER,
        known_failures=12,
        known_failed_at=13 - MAX_INTEGER,
        budget_restored_at=14 - MAX_INTEGER,
        clients=ClientState(
            epoch=15,
            failing=(FailingClient(token_id="a" * 32, failures=16, expires_at=17),),
            given="b" * 32,
        ),
        recovery=RecoveryState(
            codes=("c" * 64, "d" * 64), failures=18, failed_at=19 - MAX_INTEGER
        ),
    )
    return replace(device, **changes)


def sample_key_ref() -> KeyRef:
    """Return a reference to a key, with bytes that are not text."""
    return KeyRef(scheme="derived", key_id="0123456789abcdef", material=bytes(range(240, 256)))


def sample_events(principal: PrincipalId, *numbers: int, reason: str = "") -> list[AuditEvent]:
    """Return one event of *principal* for each of these numbers."""
    return [
        AuditEvent(
            type=EventType.OPENED, at=number, principal=principal, actor=CONTRACT_ACTOR,
            reason=reason, number=number, salt=f"salt {number}", redactable=number % 2 == 0,
            content_digest=f"content {number}", digest=f"digest {number}",
            audit_tag=f"audit {number}",
        )
        for number in numbers
    ]


class UnreadableEvents(Sequence[AuditEvent]):
    """A list of events that raises :class:`Interrupted` after the first one is read."""

    def __init__(self, events: Sequence[AuditEvent]) -> None:
        self._events = events

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, index: object) -> AuditEvent:  # type: ignore[override]  # no slices
        if index == 0:
            return self._events[0]
        raise Interrupted


class Interrupted(Exception):
    """Raised while a store writes events."""


# Commits


def next_record(before: Principal, **changes: Any) -> Principal:
    """Return a record that may follow *before*, authenticated as every stored record is."""
    changed = replace(before, revision=before.revision + 1, **changes)
    return authenticated(changed, contract_keys())


def commit_next(
    store: Store, before: Principal, *numbers: int, reason: str = "", **changes: Any
) -> Principal:
    """Commit a change of the stored record *before*, with events of these numbers.

    :returns: the record that is stored now.
    """
    return commit_events(
        store, before, sample_events(before.id, *numbers, reason=reason), **changes
    )


def commit_events(
    store: Store, before: Principal, events: Sequence[AuditEvent], **changes: Any
) -> Principal:
    """Commit a change of the stored record *before*, with these events.

    :returns: the record that is stored now.
    """
    after = next_record(before, events=before.events + len(events), **changes)
    check(store.commit(before, after, events) is True, COMMIT_SUCCEEDS)
    return after


def commit_removal(store: Store, before: Principal) -> None:
    """Remove the stored record *before* and its history."""
    check(
        store.commit(before, Principal(id=before.id), []) is True,
        "the removal of the stored record returns True",
    )


# Checks


def check_commit_loses(
    store: Store, loaded: Principal, stored: Principal, sentence: str
) -> None:
    """Check that a writer that loaded *loaded* cannot replace *stored*."""
    check(store.commit(loaded, next_record(loaded, recovered_at=7), []) is False, sentence)
    check(store.load(loaded.id) == stored, "a lost commit changes nothing")


def check_removal_loses(
    store: Store, loaded: Principal, stored: Principal, sentence: str
) -> None:
    """Check that a writer that loaded *loaded* cannot remove *stored*."""
    lost = store.commit(loaded, Principal(id=loaded.id), []) is False
    check(lost and store.load(loaded.id) == stored, sentence)


def check_every_field_is_stored(store: Store, record: Principal) -> None:
    """Commit the successor of *record* as the first one of its principal; compare every field."""
    committed = next_record(record)
    check(
        store.commit(Principal(id=record.id), committed, []) is True,
        "the commit of a first record returns True",
    )
    loaded = store.load(record.id)
    for field in fields(Principal):
        check(
            getattr(loaded, field.name) == getattr(committed, field.name),
            f"every field of a record is stored as it was committed: {field.name} is not",
        )


def pages_of(store: Store, account: str, size: int) -> Iterator[Sequence[PrincipalId]]:
    """Yield the pages of ``principals()``, each after the last principal of the one before."""
    last = None
    for _ in range(100):
        page = store.principals(account, after=last, limit=size)
        if not page:
            return
        yield page
        last = page[-1]
    check(condition=False, sentence="the pages of principals() come to an end")


# Threads


def run_in_threads(count: int, work: Callable[[int], T]) -> list[T | BaseException]:
    """Call *work* with 0 to *count* - 1 in threads that start together.

    :returns: what each call returned or raised.
    """
    outcomes: list[T | BaseException] = [AssertionError("the thread did not end")] * count
    start = Barrier(count)

    def run(index: int) -> None:
        start.wait()
        try:
            outcomes[index] = work(index)
        except BaseException as error:  # noqa: BLE001  # the calling thread handles it
            outcomes[index] = error

    threads = [Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def results(outcomes: list[T | BaseException]) -> list[T]:
    """Return *outcomes*, or raise the first error among them."""
    returned: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        returned.append(outcome)
    return returned
