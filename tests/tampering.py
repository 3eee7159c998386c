"""Kinds of tampering, each carried out on a real database, and what the audit reports.

``python tests/tampering.py`` tampers with an SQLite file and writes
``docs/_generated/tampering.md``. The tests compare the reports of SQLite and of PostgreSQL with
that table.
"""

from __future__ import annotations

import copy
import json
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from support import MASTER, enroll
from vmfa import Actor, DerivedKeys, DeviceRegistry, PrincipalId, SQLiteStore
from vmfa.audit import Checkpoint, HistoryResult, compare, verify_history, verify_with_audit_key
from vmfa.keys import encode_fields
from vmfa.keysources.base import AuditKey
from vmfa.testing import FrozenClock

PAGE = Path(__file__).parents[1] / "docs" / "_generated" / "tampering.md"
ACCOUNT = "123456789012"
ALICE, BOB = PrincipalId.user(ACCOUNT, "u-alice"), PrincipalId.user(ACCOUNT, "u-bob")
AUDITOR, SERVICE = Actor.support("audit 2026-11"), Actor.trusted_service("tests")
KEYS = DerivedKeys(MASTER)
AUDIT_KEY: AuditKey = KEYS.audit_key()
PRINCIPAL_COLUMNS = ("account", "kind", "name", "revision", "state", "tag", "audit_tag")
EVENT_COLUMNS = (
    "account", "kind", "name", "number", "document", "salt", "content_digest", "digest",
    "redactable", "audit_tag",
)
CHECKS = (
    "`verify` with master keys", "`verify` with the audit key", "`compare` with a checkpoint",
)
Row = dict[str, Any]
NOTHING = "not found"


@dataclass
class Tables:
    """The rows of the two tables, as anyone with write access to the database sees them."""

    principals: list[Row]
    events: list[Row]

    def record(self, who: PrincipalId = ALICE) -> Row:
        return next(row for row in self.principals if row["name"] == who.name)

    def event(self, number: int, who: PrincipalId = ALICE) -> Row:
        return next(row for row in self.history(who) if row["number"] == number)

    def history(self, who: PrincipalId = ALICE) -> list[Row]:
        return [row for row in self.events if row["name"] == who.name]

    def remove(self, rows: Iterable[Row]) -> None:
        for row in [*rows]:
            (self.events if row in self.events else self.principals).remove(row)

    def insert(self, row: Row, number: int, who: PrincipalId = ALICE) -> None:
        """Store a copy of *row* as event *number*, and move those from there on by one."""
        for later in self.history(who):
            later["number"] += later["number"] >= number
        self.events.append({**row, "name": who.name, "number": number})

    def edit(self, number: int, **changes: object) -> None:
        """Change fields of the document of event *number* of Alice."""
        row = self.event(number)
        row["document"] = json.dumps(
            {**json.loads(row["document"]), **changes}, separators=(",", ":")
        )


@dataclass(frozen=True)
class Scene:
    """Everything that an attacker may have kept.

    :param before: the tables before the history was pruned.
    :param recent: the tables before the latest sign-ins, with the same histories as now.
    :param intact: the tables now.
    :param checkpoints: were exported from these.
    """

    before: Tables
    recent: Tables
    intact: Tables
    checkpoints: list[Checkpoint]
    phones: dict[PrincipalId, Any]
    now: float


class Case(NamedTuple):
    """One kind of tampering.

    :param act: changes the tables.
    :param afterwards: what the service does after that.
    """

    says: str
    act: Callable[[Tables, Scene], object]
    afterwards: Callable[[Database], object] | None = None


def content_digest(row: Row) -> str:
    fields = encode_fields("vmfa event content v1", row["salt"], row["document"])
    return sha256(fields).hexdigest()


def chain_again(tables: Tables) -> None:
    """Compute every digest of Alice's history again: the chain has no key."""
    before = ""
    for row in sorted(tables.history(), key=lambda row: row["number"]):
        if row["document"] is not None:
            row["content_digest"] = content_digest(row)
        row["digest"] = before = sha256(
            encode_fields(
                "vmfa event v1", row["account"], row["kind"], row["name"], row["number"], before,
                row["redactable"], row["content_digest"],
            )
        ).hexdigest()


def swap(first: Row, second: Row, *columns: str) -> None:
    for column in columns:
        first[column], second[column] = second[column], first[column]


def swap_histories(tables: Tables) -> None:
    for row in tables.events:
        row["name"] = BOB.name if row["name"] == ALICE.name else ALICE.name


def undo_sign_ins(tables: Tables, scene: Scene) -> None:
    tables.record().update(scene.recent.record())


def restore_record(tables: Tables, scene: Scene) -> None:
    tables.record().update(scene.before.record())


def restore_history(tables: Tables, scene: Scene) -> None:
    tables.remove(tables.history())
    tables.events += copy.deepcopy(scene.before.history())


def restore_both(tables: Tables, scene: Scene) -> None:
    restore_record(tables, scene)
    restore_history(tables, scene)


def change_and_chain_again(tables: Tables, scene: Scene) -> None:
    tables.edit(4, reason="another")
    chain_again(tables)


def delete_all(tables: Tables, scene: Scene) -> None:
    tables.remove(tables.history())
    tables.remove([tables.record()])


def resynchronize(database: Database) -> None:
    """The service runs on and stores events, so that the history is as long as before."""
    for _ in range(3):
        database.resync()


def sign_in(database: Database) -> None:
    """The owner signs in until the revision is past that of the checkpoint."""
    for _ in range(8):
        database.sign_in()


def enroll_again(database: Database) -> None:
    """The owner notices nothing: the service asks them to enroll."""
    database.fill(ALICE)


CASES = [
    # Content of an event
    Case("the reason in an event changed", lambda t, s: t.edit(4, reason="another")),
    Case(
        "the actor in an event changed",
        lambda t, s: t.edit(4, actor=["signed in", ACCOUNT, "user", BOB.name]),
    ),
    Case("the time of an event changed", lambda t, s: t.edit(4, at=0)),
    Case("the type of an event changed", lambda t, s: t.edit(4, type="device adopted")),
    Case("the outcome of an event changed", lambda t, s: t.edit(4, outcome="failure")),
    Case("the source of an event changed", lambda t, s: t.edit(4, source="192.0.2.1")),
    Case("the version number of an event changed", lambda t, s: t.edit(4, v=2)),
    Case("the salt of an event changed", lambda t, s: t.event(4).update(salt="00" * 16)),
    Case("the document of an event replaced by another text",
         lambda t, s: t.event(4).update(document="{}")),
    Case("an event changed, and its content digest with it", lambda t, s: (
        t.edit(4, reason="another"),
        t.event(4).update(content_digest=content_digest(t.event(4))),
    )),
    Case("an event changed, and the whole chain computed again", change_and_chain_again),
    Case("the digest of an event changed", lambda t, s: t.event(4).update(digest="00" * 32)),
    Case("an event marked as not redactable", lambda t, s: t.event(4).update(redactable=0)),
    # Place of an event
    Case("an event deleted", lambda t, s: t.remove([t.event(4)])),
    Case("an event deleted, and the later ones moved up", lambda t, s: (
        t.remove([t.event(4)]),
        [row.update(number=row["number"] - 1) for row in t.history() if row["number"] > 4],
    )),
    Case("the last event deleted", lambda t, s: t.remove([t.event(7)])),
    Case("the history truncated",
         lambda t, s: t.remove(row for row in t.history() if row["number"] > 3)),
    Case("the first events deleted",
         lambda t, s: t.remove(row for row in t.history() if row["number"] < 3)),
    Case("two events exchanged",
         lambda t, s: swap(t.event(4), t.event(5), *EVENT_COLUMNS[4:])),
    Case("an event moved to another number", lambda t, s: t.event(4).update(number=40)),
    Case("an event inserted",
         lambda t, s: t.insert({**t.event(5), "document": t.event(4)["document"]}, 5)),
    Case("an event duplicated in place", lambda t, s: t.insert(t.event(4), 5)),
    Case("an event planted past the end", lambda t, s: t.insert(t.event(4), 8)),
    Case("an event planted past the end, after a gap", lambda t, s: t.insert(t.event(4), 90)),
    # Redaction
    Case("an event redacted", lambda t, s: t.event(4).update(document=None, salt=None)),
    Case("a binding redacted", lambda t, s: t.event(2).update(document=None, salt=None)),
    Case("a redacted event un-redacted", lambda t, s: t.event(3).update(s.before.event(3))),
    Case("a redacted event marked as not redactable",
         lambda t, s: t.event(3).update(redactable=0)),
    # Two principals
    Case("the event of another principal in place of one",
         lambda t, s: t.event(4).update(t.event(4, BOB), name=ALICE.name)),
    Case("the event of another principal planted past the end",
         lambda t, s: t.insert(t.event(4, BOB), 8)),
    Case("the histories of two principals exchanged", lambda t, s: swap_histories(t)),
    Case("the records of two principals exchanged",
         lambda t, s: swap(t.record(), t.record(BOB), *PRINCIPAL_COLUMNS[3:])),
    Case("records and histories of two principals exchanged", lambda t, s: (
        swap_histories(t), swap(t.record(), t.record(BOB), *PRINCIPAL_COLUMNS[3:]),
    )),
    # Record and tags
    Case("the state in a record changed", lambda t, s: t.record().update(
        state=t.record()["state"].replace("in sync", "out of sync"))),
    Case("the revision of a record changed",
         lambda t, s: t.record().update(revision=t.record()["revision"] + 1)),
    Case("the version number of a record changed", lambda t, s: t.record().update(
        state=t.record()["state"].replace("[1,", "[2,", 1))),
    Case("the state of a record replaced by another text",
         lambda t, s: t.record().update(state="[]")),
    Case("the tag of a record under an unknown key", lambda t, s: t.record().update(
        tag="0123456789abcdef" + t.record()["tag"][16:])),
    Case("the tag of a record altered", lambda t, s: t.record().update(
        tag=t.record()["tag"][:-4] + "0000")),
    Case("the audit tag of a record altered", lambda t, s: t.record().update(
        audit_tag=t.record()["audit_tag"][:-4] + "0000")),
    Case("the audit tag of an event altered", lambda t, s: t.event(4).update(
        audit_tag=t.event(4)["audit_tag"][:-4] + "0000")),
    Case("the audit tags of two events exchanged",
         lambda t, s: swap(t.event(4), t.event(5), "audit_tag")),
    # Rows that are gone or older
    Case("the history deleted, the row kept", lambda t, s: t.remove(t.history())),
    Case("the row deleted, the history kept", lambda t, s: t.remove([t.record()])),
    Case("the row and the history deleted", delete_all),
    Case("the row and the history deleted, and the owner enrolled again", delete_all,
         enroll_again),
    Case("an older record restored", restore_record),
    Case("an older history restored", restore_history),
    Case("an older record and its history restored", restore_both),
    Case("the same, and the service stored further events", restore_both, resynchronize),
    Case("an older record with the same history restored: sign-ins undone", undo_sign_ins),
    Case("the same, and the owner signed in more often than before", undo_sign_ins, sign_in),
    Case("the record of the checkpoint restored: sign-ins since then undone",
         lambda t, s: None),
]


class Database:
    """A store with Alice and Bob, whose tables a test can replace.

    :param open_store: opens the store, as another process would.
    """

    def __init__(
        self,
        open_store: Callable[[], Any],
        read: Callable[[], Tables],
        write: Callable[[Tables], None],
    ) -> None:
        self.open_store, self.read, self.write = open_store, read, write
        self.clock = FrozenClock()
        self.phones: dict[PrincipalId, Any] = {}
        self.open()

    def open(self) -> None:
        self.store: Any = self.open_store()
        self.registry = DeviceRegistry(
            self.store, keys=KEYS, issuer="Example", clock=self.clock
        )

    def fill(self, who: PrincipalId) -> None:
        self.phones[who] = enroll(self.registry, self.clock, who).phone

    def resync(self, who: PrincipalId = ALICE) -> None:
        self.clock.advance(90)
        pair = self.phones[who].pair()
        self.registry.resync(who, by=Actor.signed_in(who), **pair)

    def sign_in(self, who: PrincipalId = ALICE) -> None:
        self.clock.advance(30)
        self.registry.verify(who, self.phones[who].code())

    def scene(self) -> Scene:
        """Write two histories of seven events: 1 and 3 are redacted, 6 says so."""
        for who in (ALICE, BOB):
            self.fill(who)
            self.resync(who)
        later = self.clock() + 1
        self.clock.advance(3600)
        for who in (ALICE, BOB):
            for _ in range(2):
                self.resync(who)
        before = self.read()
        for who in (ALICE, BOB):
            self.registry.prune_history(who, by=SERVICE, older_than=int(later))
            self.resync(who)
        recent = self.read()
        for _ in range(3):
            self.sign_in()
        checkpoints = [result.checkpoint for result in self.verify() if result.checkpoint]
        intact, phones = self.read(), dict(self.phones)
        return Scene(before, recent, intact, checkpoints, phones, self.clock())

    def verify(self) -> list[HistoryResult]:
        operations = self.registry.operations
        return [
            *verify_history(
                self.store, ACCOUNT, operations=operations, by=AUDITOR, clock=self.clock
            )
        ]

    def reports(self, checkpoints: list[Checkpoint]) -> tuple[str, str, str]:
        """Return what the three checks say: master key, audit key, and checkpoint."""
        found = (
            self.verify(),
            verify_with_audit_key(self.store, ACCOUNT, audit_key=AUDIT_KEY),
            compare(
                self.store, checkpoints, operations=self.registry.operations, by=AUDITOR,
                clock=self.clock,
            ),
        )
        first, second, third = (spelled(results) for results in found)
        return first, second, third


def spelled(results: Iterable[HistoryResult]) -> str:
    """Return the findings in *results*, such as "event 4: changed"."""
    texts = []
    for result in results:
        if result.problem:
            place = "record" if result.event is None else f"event {result.event}"
            texts.append(f"{place}: {result.tampering}")
    return ", ".join(dict.fromkeys(texts)) or NOTHING


def read_tables(connection: Any, prefix: str) -> Tables:
    cursor = connection.cursor()
    found = []
    for table, columns in (("principal", PRINCIPAL_COLUMNS), ("event", EVENT_COLUMNS)):
        cursor.execute(f"SELECT {', '.join(columns)} FROM {prefix}{table}")
        found.append([dict(zip(columns, row, strict=True)) for row in cursor.fetchall()])
    return Tables(*found)


def write_tables(connection: Any, prefix: str, mark: str, tables: Tables) -> None:
    cursor = connection.cursor()
    for table, columns, rows in (
        ("principal", PRINCIPAL_COLUMNS, tables.principals),
        ("event", EVENT_COLUMNS, tables.events),
    ):
        cursor.execute(f"DELETE FROM {prefix}{table}")
        marks = ", ".join([mark] * len(columns))
        statement = f"INSERT INTO {prefix}{table} ({', '.join(columns)}) VALUES ({marks})"
        cursor.executemany(statement, [tuple(row[name] for name in columns) for row in rows])
    connection.commit()


def sqlite_database(path: Path) -> Database:
    def read() -> Tables:
        with closing(sqlite3.connect(path)) as connection:
            return read_tables(connection, "")

    def write(tables: Tables) -> None:
        with closing(sqlite3.connect(path)) as connection:
            write_tables(connection, "", "?", tables)

    return Database(lambda: SQLiteStore(path), read, write)


def carry_out(database: Database, scene: Scene, case: Case) -> tuple[str, ...]:
    """Tamper with the tables, and return what the three checks report."""
    tables = copy.deepcopy(scene.intact)
    case.act(tables, scene)
    database.store.close()  # a process that was running would notice that a record is older
    database.write(tables)
    database.clock.now, database.phones = scene.now, dict(scene.phones)
    database.open()
    if case.afterwards is not None:
        case.afterwards(database)
    return database.reports(scene.checkpoints)


def page(reports: dict[str, tuple[str, ...]]) -> str:
    """Return the table as Markdown."""
    lines = [
        "<!-- Written by `python tests/tampering.py`. Do not edit. -->",
        "",
        f"| what was done | {' | '.join(CHECKS)} |",
        "|---|---|---|---|",
    ]
    lines += [f"| {says} | {' | '.join(found)} |" for says, found in reports.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite_database(Path(folder) / "mfa.db")
        scene = database.scene()
        reports = {case.says: carry_out(database, scene, case) for case in CASES}
        database.store.close()
    PAGE.write_text(page(reports))
    print(PAGE.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
