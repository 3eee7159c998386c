"""The tables of the reference pages say what the code says, and leave nothing out."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest

import lifecycle
from tables import DOCS, rows
from vmfa import DerivedKeys, Kind, Parameters, Policy, PrincipalId, SQLiteStore, errors
from vmfa.access import ON_ROOT, ON_USERS, Relationship
from vmfa.events import AuditEvent, EventType
from vmfa.lifecycle import Action, State
from vmfa.models import EnrollmentSession, KeyRef, Principal, Sync, VirtualDevice
from vmfa.record import authenticated
from vmfa.stores.postgres import TABLES
from vmfa.validators import content

ROOT = Path(__file__).parents[2]


def bare(cell: str) -> str:
    return cell.strip("`")


KINDS = {name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.VmfaError)}
ERRORS = rows(DOCS / "errors.md", "error")


class TestErrors:
    def test_each_error_has_one_row(self) -> None:
        assert sorted(bare(row[0]) for row in ERRORS) == sorted(KINDS)

    @pytest.mark.parametrize("row", ERRORS, ids=lambda row: bare(row[0]))
    def test_reason_and_remedy_are_those_of_the_class(self, row: list[str]) -> None:
        kind = KINDS[bare(row[0])]
        assert row[1] == kind.reason
        if issubclass(kind, errors.CodeRejected):
            assert row[2] == kind.remedy

    def test_the_readme_has_the_same_statuses(self) -> None:
        status = {bare(row[0]): row[-1] for row in ERRORS}
        for row in rows(ROOT / "README.md", "error"):
            for name in re.findall(r"`(\w+)`", row[0]):
                assert (name, row[1]) == (name, status[name])


class TestPolicy:
    TABLE = rows(DOCS / "policy.md", "field")

    def test_every_field_has_its_default_and_its_bounds(self) -> None:
        said = {bare(row[0]): (row[1], row[2]) for row in self.TABLE}
        known = {}
        for each in fields(Policy):
            low, high = each.metadata.get("low"), each.metadata.get("high")
            known[each.name] = str(each.default), "" if low is None else f"{low} to {high}"
        known["offers"] = "SHA-1, 6 digits, 30 s", ""
        assert Policy().offers == (Parameters(algorithm="sha1", digits=6, period=30, t0=0),)
        assert said == known

    def test_a_field_named_seconds_or_refill_is_in_seconds(self) -> None:
        for name, _, _, unit, *_ in self.TABLE:
            assert (unit == "seconds") == (bare(name).endswith(("_seconds", "_refill", "delay_cap"))), name

    def test_the_clauses_exist(self) -> None:
        assert {row[-1] for row in self.TABLE} <= tomllib.loads((DOCS / "clauses.toml").read_text()).keys()


COLUMNS = {
    "self, MFA": Relationship.SELF_MFA, "self, none": Relationship.SELF, "admin, MFA": Relationship.ADMIN,
    "root, MFA": Relationship.ROOT, "recovered root": Relationship.RECOVERED, "support": Relationship.SUPPORT,
    "service": Relationship.SERVICE,
}


class TestPermissions:
    @pytest.mark.parametrize(("head", "matrix"), [("On a user", ON_USERS), ("On root", ON_ROOT)])
    def test_the_matrix_is_the_one_that_is_enforced(
        self, head: str, matrix: dict[Action, frozenset[Relationship]]
    ) -> None:
        part = (DOCS / "permissions.md").read_text().split(f"## {head}\n")[1].split("\n## ")[0]
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:1] == "|"]
        standings = [COLUMNS[title] for title in lines[0][1:]]
        said = {
            Action(action): frozenset(who for who, cell in zip(standings, row[1:], strict=True) if cell == "yes")
            for row in lines[2:]
            for action in row[0].split(", ")
        }
        assert said == matrix


class TestSchema:
    PAGE = DOCS / "schema.md"
    KEYS = DerivedKeys(bytes(32))
    WHO = PrincipalId.user("1", "u")

    def tables(self, column: int) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        name = ""
        for row in rows(self.PAGE, "SQLite"):
            name = bare(row[column]) or ("" if row[1 - column] else name)
            if name:
                found.setdefault(name, []).append(bare(row[2]))
        return found

    def test_sqlite_has_these_tables(self, tmp_path: Path) -> None:
        with SQLiteStore(tmp_path / "mfa.db") as store:
            store.load(self.WHO)
            with closing(store._opened()) as db:
                tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
                real = {name: [row[1] for row in db.execute(f"PRAGMA table_info({name})")] for (name,) in tables}
                view = [row[1] for row in db.execute("PRAGMA table_info(device)")]
                pragmas = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        assert self.tables(0) == real
        assert pragmas == [0x766D6661, 2]
        sentence = re.search(r"`vmfa_device`, shows (.*?) of whoever", self.PAGE.read_text(), re.DOTALL)
        assert sentence
        assert re.findall(r"`(\w+)`", sentence[1]) == view

    def test_postgresql_has_these_tables(self) -> None:
        real = {}
        for statement in TABLES:
            if made := re.match(r"CREATE TABLE IF NOT EXISTS (\w+) \((.*)\)", statement, re.DOTALL):
                columns = made[2].split("PRIMARY KEY (")[0] or made[2]
                real[made[1]] = re.findall(r"(\w+) (?:TEXT|BIGINT|INTEGER)", columns)
        assert self.tables(1) == real

    def test_the_documents_have_these_fields(self) -> None:
        device = VirtualDevice(
            serial="s", parameters=Parameters(), enrolled_at=0, sync=Sync.IN_SYNC, last_step=0, budget=1, budget_updated_at=0
        )
        session = EnrollmentSession(session_id="i", serial="s", parameters=Parameters(), opened_at=0, expires_at=1)
        ref = KeyRef(scheme="derived", key_id="", material=b"")
        assigned = Principal(id=self.WHO, key_ref=ref, device=device)
        state, of_device, of_session = (
            list(content(value)) for value in (assigned, device, session)
        )
        for apart in ("id", "revision", "envelope"):
            state.remove(apart)
        parts = json.loads(authenticated(assigned, self.KEYS, revision=1).envelope.document)  # type: ignore[union-attr]  # sealed
        assert (len(parts), len(parts[3])) == (1 + len(state), len(of_device))
        event = AuditEvent(type=EventType.OPENED, at=0, principal=self.WHO, actor="a")
        page = self.PAGE.read_text().split("## An event")
        described, told = page[0].split("## The state of a principal")[1], page[1]
        names = re.findall(r"^\| `(\w+)`", described, re.MULTILINE)
        assert names == ["v", *state, *of_session, *of_device]
        assert re.findall(r"^\| `(\w+)`", told, re.MULTILINE) == list(json.loads(event.document()))

    def test_the_kinds_are_these(self) -> None:
        assert "`user` or `root`" in self.PAGE.read_text()
        assert {kind.value for kind in Kind} == {"user", "root"}


class TestLifeCycle:
    def test_the_diagram_is_drawn_from_the_table(self) -> None:
        """``python tests/lifecycle.py`` draws it anew."""
        assert lifecycle.SVG.read_text() == lifecycle.draw()

    def test_an_edge_that_nobody_placed_is_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        revived = {(State.DISABLED, Action.RESYNC): frozenset({State.IN_SYNC})}
        monkeypatch.setattr(lifecycle, "TRANSITIONS", lifecycle.TRANSITIONS | revived)
        with pytest.raises(ValueError, match="not drawn"):
            lifecycle.draw()

    def test_an_edge_that_is_gone_is_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        left = {key: ends for key, ends in lifecycle.TRANSITIONS.items() if key != (State.ENROLLING, Action.CANCEL)}
        monkeypatch.setattr(lifecycle, "TRANSITIONS", left)
        assert "cancel" not in lifecycle.draw()
        assert lifecycle.SVG.read_text() != lifecycle.draw()

    def test_the_page_has_every_phase(self) -> None:
        assert [row[0] for row in rows(DOCS / "lifecycle.md", "phase")] == [phase.value for phase in State]
