"""A process that uses a store and acknowledges what it committed.

::

    python writer.py ENGINE PLACE KIND OPERATIONS

After each commit it writes "ACK revision last_step" to standard output, at once. KIND is
"durable", or a control that a test must find out: "unsafe" is a store that is not durable, and
"early" acknowledges before it commits.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from support import MASTER, START, enroll, phone_with  # from the path above
from vmfa import (  # as above
    Actor,
    AuditEvent,
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    Principal,
    PrincipalId,
    SQLiteStore,
    StoreUnavailable,
)
from vmfa.history import ChainCheck
from vmfa.testing import FrozenClock

WHO = PrincipalId.user("123456789012", "u-4711")
SERVICE = Actor.trusted_service("writer")


def acknowledge(record: Any) -> None:
    step = record.device.last_step if record.device else -1
    os.write(1, b"ACK %d %d\n" % (record.revision, step))


class EarlyStore(SQLiteStore):
    """The control: it acknowledges before it commits."""

    def commit(self, before: Any, after: Any, events: Any) -> bool:
        acknowledge(after)
        return super().commit(before, after, events)


def check_history(record: Principal, history: Sequence[AuditEvent]) -> None:
    """Check that *history* is the whole history of *record*."""
    check = ChainCheck(record)
    for event in history:
        check.add(event)
    check.finish()


def open_store(engine: str, place: str, kind: str) -> Any:
    if engine == "sqlite":
        return (EarlyStore if kind == "early" else SQLiteStore)(
            place, unsafe_not_durable=kind == "unsafe"
        )
    from vmfa.stores.postgres import PostgresStore

    return PostgresStore(place, unsafe_not_durable=kind == "unsafe", timeout=20)


class Work:
    """Sign-ins, wrong guesses and resynchronizations of one principal, from where the store is."""

    def __init__(self, store: Any, who: PrincipalId = WHO) -> None:
        self.store = store
        self.who = who
        self.clock = FrozenClock()
        self.registry = DeviceRegistry(
            store, keys=DerivedKeys(MASTER), issuer="Example", clock=self.clock
        )
        record = store.load(who)
        if record.device is None:
            self.phone = enroll(self.registry, self.clock, who).phone
        else:  # another process wrote before: continue after it
            keys = DerivedKeys(MASTER)
            key = keys.reveal(record.key_ref, who, record.device.serial, record.device.parameters)
            self.phone = phone_with(key, self.clock)
            after = START + 30 * (record.device.last_step - START // 30)
            self.clock.set(max(record.seen_at, after) + 30)

    def do(self, turn: int) -> None:
        self.clock.advance(60)
        if turn % 5 == 3:
            try:
                self.registry.verify(self.who, self.phone.wrong_code())
            except CodeRejected:
                return
        elif turn % 5 == 4:
            self.registry.resync(self.who, by=SERVICE, **self.phone.pair())
        else:
            self.registry.verify(self.who, self.phone.code())


def main(engine: str, place: str, kind: str, operations: int) -> None:
    store = open_store(engine, place, kind)
    store.load(WHO)
    if engine == "sqlite":
        store._connection.execute(
            "PRAGMA wal_autocheckpoint = 8"
        )  # often, so that crashes hit checkpoints
    work = Work(store)
    for turn in range(operations):
        try:
            work.do(turn)
            record = store.load(WHO)
        except StoreUnavailable:
            continue  # not known whether it was committed: nothing is acknowledged
        if kind != "early":
            acknowledge(record)
    os._exit(0)  # without a last checkpoint


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
