"""The tables of the reference pages agree with the code and are complete."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import sqlite3
from contextlib import closing, suppress
from dataclasses import fields
from pathlib import Path

import pytest

import lifecycle
import vmfa
from reference import vectors
from tables import DOCS, rows
from vmfa import DerivedKeys, Kind, Parameters, Policy, PrincipalId, SQLiteStore, errors
from vmfa.access import ON_ROOT, ON_USERS, Relationship
from vmfa.analysis import guessing
from vmfa.events import SIGN_INS, TRANSIENT, AuditEvent, EventActor, EventType
from vmfa.lifecycle import Action, State
from vmfa.models import EnrollmentSession, KeyRef, Principal, Sync, VirtualDevice
from vmfa.record import authenticated, from_columns
from vmfa.stores._postgres_sql import TABLES


def bare(cell: str) -> str:
    """Return *cell* without the marks of code."""
    return cell.strip("`")


def section(page: str, heading: str) -> str:
    """Return the text of *page* from *heading* to the next heading of the same level."""
    return (DOCS / page).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_the_api_reference_contains_every_public_name() -> None:
    page = (DOCS / "api.md").read_text()
    modules = re.findall(r"automodule:: (\S+)", page)
    names = re.findall(r"auto(?:class|function|exception):: (?:\w+\.)*(\w+)", page)
    missing = [
        name
        for name in dir(vmfa)
        if getattr(vmfa, name).__module__ not in modules and name not in names
    ]
    assert missing == []



def public_errors() -> dict[str, type[errors.VmfaError]]:
    """Return the errors of every module, except those that only the command line raises."""
    for module in pkgutil.walk_packages(vmfa.__path__, "vmfa."):
        if not module.name.startswith(("vmfa.cli", "vmfa.__main__", "vmfa.integrations.django")):
            with suppress(errors.MissingExtra):
                importlib.import_module(module.name)
    found, pending = {}, [errors.VmfaError]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if kind.__module__.startswith("vmfa.") and not kind.__module__.startswith("vmfa.cli"):
            found[kind.__name__] = kind
    return found


ERROR_CLASSES = public_errors()
ERROR_ROWS = rows(DOCS / "errors.md", "error")
REMEDIES = {"retry", "wait", "resync", "replace", "enroll", "reopen"}
MISSING = {"mfa claim", "administrator", "recovery proof", "binding code", "permission"}
ENVIRONMENT = (errors.StoreError, errors.ClockWentBack, errors.UnknownMasterKey)


class TestErrors:
    def test_each_error_has_one_row(self) -> None:
        assert sorted(bare(row[0]) for row in ERROR_ROWS) == sorted(ERROR_CLASSES)

    @pytest.mark.parametrize("row", ERROR_ROWS, ids=lambda row: bare(row[0]))
    def test_the_row_agrees_with_the_class(self, row: list[str]) -> None:
        kind = ERROR_CLASSES[bare(row[0])]
        assert row[1] == kind.reason
        assert row[-1] == str(kind.http_status)
        if issubclass(kind, errors.CodeRejected):
            assert row[2] == kind.remedy

    def test_each_claimant_message_has_one_row(self) -> None:
        messages = {bare(row[0]): row[1] for row in rows(DOCS / "errors.md", "message id")}
        assert messages == errors.CLAIMANT_MESSAGES

    def test_each_remedy_is_explained(self) -> None:
        remedies = [bare(row[0]) for row in rows(DOCS / "errors.md", "remedy")]
        assert sorted(remedies) == sorted(REMEDIES)

    def test_only_an_unknown_outcome_may_be_committed(self) -> None:
        heading = "reason | may something be committed?"
        assert heading in (DOCS / "errors.md").read_text()
        committed = {
            bare(row[0]): row[2] for row in ERROR_ROWS if len(row) == 6 and row[2] in {"yes", "no"}
        }
        for name, kind in ERROR_CLASSES.items():
            if issubclass(kind, ENVIRONMENT):
                assert committed[name] == ("yes" if kind is errors.OutcomeUnknown else "no")

    def test_each_thing_that_an_actor_can_lack_is_explained(self) -> None:
        missing = [bare(row[0]) for row in rows(DOCS / "permissions.md", "missing")]
        assert sorted(missing) == sorted(MISSING)


class TestPolicy:
    TABLE = rows(DOCS / "policy.md", "field")

    def test_the_table_has_the_default_and_bounds_of_each_field(self) -> None:
        documented = {bare(row[0]): (row[1], row[2]) for row in self.TABLE}
        actual = {}
        for item in fields(Policy):
            low, high = item.metadata.get("low"), item.metadata.get("high")
            actual[item.name] = str(item.default), "" if low is None else f"{low} to {high}"
        assert Policy().offers == (Parameters(algorithm="sha1", digits=6, period=30, t0=0),)
        actual["offers"] = "SHA-1, 6 digits, 30 s", ""
        assert documented == actual

    def test_fields_in_seconds_have_that_unit(self) -> None:
        for name, _, _, unit, *_ in self.TABLE:
            in_seconds = bare(name).endswith(("_seconds", "_refill", "delay_cap"))
            assert (unit == "seconds") == in_seconds, name


COLUMNS = {
    "owner, MFA": Relationship.OWNER_MFA,
    "owner, no MFA": Relationship.OWNER,
    "recovery code": Relationship.OWNER_RECOVERY_CODE,
    "admin, MFA": Relationship.ADMIN,
    "root, MFA": Relationship.ROOT,
    "recovered root": Relationship.RECOVERED,
    "support": Relationship.SUPPORT,
    "service": Relationship.SERVICE,
}


@pytest.mark.parametrize(("heading", "matrix"), [("On a user", ON_USERS), ("On root", ON_ROOT)])
def test_the_documented_permission_matrix_is_the_enforced_one(
    heading: str, matrix: dict[Action, frozenset[Relationship]]
) -> None:
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section("permissions.md", heading).splitlines()
        if line.startswith("|")
    ]
    columns = [COLUMNS[title] for title in lines[0][1:]]
    documented = {
        Action(action): frozenset(
            column for column, cell in zip(columns, row[1:], strict=True) if cell == "yes"
        )
        for row in lines[2:]
        for action in row[0].split(", ")
    }
    assert documented == matrix


def test_the_documented_chances_with_new_devices_are_computed() -> None:
    documented = rows(DOCS / "policy-strength.md", "new devices a year")
    for reenrollments, guesses, probability in documented:
        result = guessing(Policy(), reenrollments_per_year=int(reenrollments))
        assert guesses == str(result.guesses)
        assert float(probability) == pytest.approx(result.probability, rel=0.05)


class TestStorageFormat:
    PAGE = "storage-format.md"
    KEYS = DerivedKeys(bytes(32))
    PRINCIPAL = PrincipalId.user("1", "u")
    TEXT = (DOCS / PAGE).read_text()

    def documented_tables(self, column: int) -> dict[str, list[str]]:
        """Return the columns of each table, of SQLite (0) or PostgreSQL (1)."""
        tables: dict[str, list[str]] = {}
        name = ""
        for row in rows(DOCS / self.PAGE, "SQLite"):
            name = bare(row[column]) or ("" if row[1 - column] else name)
            if name:
                tables.setdefault(name, []).append(bare(row[2]))
        return tables

    def test_sqlite_has_the_documented_tables_and_version(self, tmp_path: Path) -> None:
        path = tmp_path / "mfa.db"
        with SQLiteStore(path) as store:
            store.load(self.PRINCIPAL)
        with closing(sqlite3.connect(path)) as db:
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
            tables = {
                name: [row[1] for row in db.execute(f"PRAGMA table_info({name})")]
                for (name,) in db.execute(query).fetchall()
            }
            view = [row[1] for row in db.execute("PRAGMA table_info(device)")]
            application, version = (
                db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("application_id", "user_version")
            )
        assert self.documented_tables(0) == tables
        assert f"application_id` to 0x{application:X}" in self.TEXT
        assert f"The schema has version {version}." in self.TEXT
        columns = self.TEXT.split("Its columns are ")[1].split(". It has")[0]
        assert re.findall(r"`(\w+)`", columns) == view

    def test_postgresql_has_the_documented_tables(self) -> None:
        tables = {}
        pattern = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) \((.*)\)", re.DOTALL)
        for statement in TABLES:
            if match := pattern.match(statement):
                columns = match[2].split("PRIMARY KEY (")[0] or match[2]
                tables[match[1]] = re.findall(r"(\w+) (?:TEXT|BIGINT|SMALLINT|INTEGER)", columns)
        assert self.documented_tables(1) == tables

    def test_the_state_document_has_the_documented_fields(self) -> None:
        device = VirtualDevice(
            serial="s",
            parameters=Parameters(),
            enrolled_at=0,
            sync=Sync.IN_SYNC,
            last_step=0,
            budget=1,
            budget_updated_at=0,
        )
        reference = KeyRef(scheme="derived", key_id="", material=b"")
        principal = Principal(id=self.PRINCIPAL, revision=1, key_ref=reference, device=device)
        envelope = authenticated(principal, self.KEYS).envelope
        assert envelope is not None
        version, *state = json.loads(envelope.document)
        of_principal, of_session, of_device = (
            [item.name for item in fields(kind)]
            for kind in (Principal, EnrollmentSession, VirtualDevice)
        )
        for column in ("id", "revision", "envelope"):
            of_principal.remove(column)
        text = section(self.PAGE, "State document")
        names = re.findall(r"^\| `(\w+)`", text, re.MULTILINE)
        assert names == ["v", *of_principal, *of_session, *of_device]
        *identity, position, counters, clients, recovery = state[2]
        in_order = [*identity, *position, *counters, clients, recovery]
        assert (len(state), len(in_order)) == (len(of_principal), len(of_device))
        assert f"| `v` | version of the document: {version} |" in text

    def test_the_record_on_the_page_is_the_frozen_one(self) -> None:
        lines = section(self.PAGE, "Tags, chain, claims and tokens").split("document = (\n")[1]
        document = "".join(re.findall(r"^    '(.*)'$", lines.split("\n)")[0], re.MULTILINE))
        (frozen,) = (row for row in vectors("frozen_v1")["records"] if row["what"] == "assigned")
        assert document == frozen["document"]
        assert frozen["tag"] in lines
        record = from_columns(
            self.PRINCIPAL, 7, frozen["document"], frozen["tag"], frozen["audit_tag"]
        )
        assert record.device is not None

    def test_the_event_document_has_the_documented_fields(self) -> None:
        actor = EventActor(role="trusted service", name="a")
        event = AuditEvent(type=EventType.OPENED, at=0, principal=self.PRINCIPAL, actor=actor)
        document = json.loads(event.document())
        text = section(self.PAGE, "Event document")
        assert re.findall(r"^\| `(\w+)`", text, re.MULTILINE) == list(document)
        assert f"| `v` | version of the document: {document['v']} |" in text

    def test_the_kinds_are_documented(self) -> None:
        assert re.findall(r"`(\w+)` or `(\w+)`", self.TEXT)[0] == (Kind.USER, Kind.ROOT)


def test_the_documented_events_are_all_events() -> None:
    documented = {
        EventType(bare(row[0])): row[1] for row in rows(DOCS / "howto/audit-to-a-siem.md", "event")
    }
    assert documented == {
        event_type: "on request"
        if event_type in SIGN_INS
        else "no"
        if event_type in TRANSIENT
        else "yes"
        for event_type in EventType
        if event_type is not EventType.REDACTED
    }


class TestLifeCycle:
    def test_the_diagram_is_drawn_from_the_transition_table(self) -> None:
        """If this fails, run ``python tests/lifecycle.py``."""
        assert lifecycle.SVG.read_text() == lifecycle.draw()

    def test_an_edge_without_a_place_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        added = {(State.DISABLED, Action.RESYNC): frozenset({State.IN_SYNC})}
        monkeypatch.setattr(lifecycle, "TRANSITIONS", lifecycle.TRANSITIONS | added)
        with pytest.raises(ValueError, match="not drawn"):
            lifecycle.draw()

    def test_a_removed_edge_is_not_drawn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        removed = State.ENROLLING, Action.CANCEL
        left = {key: ends for key, ends in lifecycle.TRANSITIONS.items() if key != removed}
        monkeypatch.setattr(lifecycle, "TRANSITIONS", left)
        assert "cancel" not in lifecycle.draw()
        assert lifecycle.SVG.read_text() != lifecycle.draw()

    def test_the_page_has_every_state(self) -> None:
        documented = [row[0] for row in rows(DOCS / "lifecycle.md", "state")]
        assert documented == [state.value for state in State]
