"""Every kind of tampering in docs/tampering.md is reported by event number and kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from postgres_server import database, server  # noqa: F401  # fixtures
from tampering import (
    CASES,
    NOTHING,
    PAGE,
    Case,
    Database,
    Scene,
    Tables,
    carry_out,
    page,
    read_tables,
    sqlite_database,
    write_tables,
)

FOUND_BY_NOTHING = {
    "the same, and the owner signed in more often than before",
    "the record of the checkpoint restored: sign-ins since then undone",
}


def listed() -> dict[str, tuple[str, ...]]:
    """Return the rows of the table in the documentation."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]
    return {says: tuple(found) for says, *found in rows}


LISTED = listed()


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, Scene]]:
    scenery = sqlite_database(tmp_path_factory.mktemp("tampering") / "mfa.db")
    yield scenery, scenery.scene()
    scenery.store.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says.replace(" ", "_"))
def test_the_audit_reports_it(sqlite: tuple[Database, Scene], case: Case) -> None:
    """RULE-HISTORY, RULE-REDACTION, RULE-RECORD, RULE-AUDIT-KEY, RULE-HEADS, ASVS5-16.4.2: the
    report of each check is the one in the table.
    """
    assert carry_out(*sqlite, case) == LISTED[case.says]


def test_intact_tables_are_reported_as_intact(sqlite: tuple[Database, Scene]) -> None:
    untouched = Case("nothing", lambda tables, scene: None)
    assert carry_out(*sqlite, untouched) == (NOTHING,) * 3


def test_the_table_lists_every_kind_and_says_what_is_not_found() -> None:
    """RULE-HEADS: at least twenty kinds are found, and the others are the ones in the text."""
    assert [*LISTED] == [case.says for case in CASES]
    assert len(CASES) >= 50
    assert {says for says, found in LISTED.items() if set(found) == {NOTHING}} == FOUND_BY_NOTHING
    assert page(LISTED) == PAGE.read_text()


def test_every_kind_is_explained() -> None:
    text = (PAGE.parents[1] / "tampering.md").read_text()
    kinds = {
        part.rpartition(": ")[2]
        for found in LISTED.values()
        for cell in found
        if cell != NOTHING
        for part in cell.split(", ")
    }
    assert {kind for kind in kinds if f"| {kind} |" not in text} == set()


@pytest.mark.slow
def test_postgresql_reports_the_same(database: str) -> None:  # noqa: F811  # the fixture
    """RULE-HISTORY, RULE-RECORD, RULE-AUDIT-KEY, RULE-HEADS: on a real server as well."""
    import psycopg

    from vmfa.stores.postgres import PostgresStore

    def read() -> Tables:
        with psycopg.connect(database) as connection:
            return read_tables(connection, "vmfa_")

    def write(tables: Tables) -> None:
        with psycopg.connect(database) as connection:
            write_tables(connection, "vmfa_", "%s", tables)

    with PostgresStore(database) as store:
        store.create_schema()
    scenery = Database(lambda: PostgresStore(database), read, write)
    scene = scenery.scene()
    found = {case.says: carry_out(scenery, scene, case) for case in CASES}
    scenery.store.close()
    assert found == LISTED
