"""A process that uses a store and says what was answered: ``python writer.py ENGINE PLACE KIND OPERATIONS``.

After each answer it writes "ACK revision last_step" to its standard output, at once. KIND is "durable", or a control
that must be found out: "unsafe" is not durable and told so, "early" tells the answer before it commits.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from support import MASTER, START, HandClock, Phone, enroll  # found by the line above
from vmfa import (  # as before
    Actor,
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    PrincipalId,
    SQLiteStore,
    StoreUnavailable,
)

WHO = PrincipalId.user("123456789012", "u-4711")
SERVICE = Actor.trusted_service("writer")


def acknowledge(record: Any) -> None:
    step = record.device.last_step if record.device else -1
    os.write(1, b"ACK %d %d\n" % (record.revision, step))


class EarlyStore(SQLiteStore):
    """The control: the answer leaves before its commit."""

    def commit(self, before: Any, after: Any, events: Any) -> bool:
        acknowledge(after)
        return super().commit(before, after, events)


def open_store(engine: str, place: str, kind: str) -> Any:
    if engine == "sqlite":
        return (EarlyStore if kind == "early" else SQLiteStore)(
            place, unsafe_not_durable=kind == "unsafe"
        )
    from vmfa.stores.postgres import PostgresStore

    return PostgresStore(place, unsafe_not_durable=kind == "unsafe", timeout=20)


class Work:
    """One principal's days: sign-ins, a wrong guess, a resynchronisation. It finds out by itself where it stands."""

    def __init__(self, store: Any, who: PrincipalId = WHO) -> None:
        self.store = store
        self.who = who
        self.clock = HandClock()
        self.registry = DeviceRegistry(
            store, keys=DerivedKeys(MASTER), issuer="Example", clock=self.clock
        )
        record = store.load(who)
        if record.device is None:
            self.phone = enroll(self.registry, self.clock, who).phone
        else:  # another process was here before: go on from where it was
            keys = DerivedKeys(MASTER)
            key = keys.reveal(record.key_ref, who, record.device.serial, record.device.parameters)
            self.phone = Phone(key, self.clock)
            self.clock.now = (
                max(record.seen_at, START + 30 * (record.device.last_step - START // 30)) + 30
            )

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
        )  # more often than usual, to be caught at it
    work = Work(store)
    for turn in range(operations):
        try:
            work.do(turn)
        except StoreUnavailable:
            continue  # not known: nothing is claimed
        if kind != "early":
            acknowledge(store.load(WHO))
    os._exit(0)  # no close, no last checkpoint


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
