"""``vmfa store``: copying to another database, and comparing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import pytest
from psycopg.conninfo import conninfo_to_dict

from postgres_server import database, server  # noqa: F401  # fixtures
from vmfa import PrincipalId, SQLiteStore

if TYPE_CHECKING:
    from conftest import Terminal

PASSWORD = "canary-4711"


@pytest.fixture
def copy_path(tmp_path: Path) -> str:
    return str(tmp_path / "copy.db")


@pytest.fixture
def filled(terminal: Terminal) -> Terminal:
    """A terminal whose database has two users in each of two accounts."""
    for principal in ("1/a", "1/b", "2/a", "2/b"):
        terminal.enroll(principal)
    return terminal


def postgres_url(conninfo: str) -> str:
    """Return *conninfo*, which is in the form of keywords, as a URL."""
    given = conninfo_to_dict(conninfo)
    names = ("host", "port", "options")
    query = {name: str(given[name]) for name in names if name in given}
    return f"postgresql://{given['user']}@/{given['dbname']}?{urlencode(query, quote_via=quote)}"


def test_a_file_is_copied_and_used(filled: Terminal, copy_path: str) -> None:
    phone = filled.enroll("1/c")
    data = filled.json("store", "copy", str(filled.db), copy_path)
    assert data["copied"] == 5
    assert (data["already"], data["problems"]) == (0, [])
    assert data["events"] > 5
    assert filled.json("store", "copy", str(filled.db), copy_path) == {
        **data, "copied": 0, "already": 5,
    }
    assert filled.json("store", "compare", str(filled.db), copy_path)["equal"] == 5
    assert filled.run("verify", "1/c", phone.code(), "--db", copy_path).code == 0


def test_the_text_counts(filled: Terminal, copy_path: str) -> None:
    outcome = filled.run("store", "copy", str(filled.db), copy_path)
    assert outcome.out == "4 records copied, 0 before, 8 events, 0 problems\n"
    outcome = filled.run("store", "compare", str(filled.db), copy_path)
    assert outcome.out == "4 records are equal, 8 events, 0 problems\n"


def test_one_account_is_copied(filled: Terminal, copy_path: str) -> None:
    assert filled.json("store", "copy", str(filled.db), copy_path, "2")["copied"] == 2
    with SQLiteStore(copy_path) as store:
        assert list(store.accounts()) == ["2"]
    assert filled.json("store", "compare", str(filled.db), copy_path, "2")["equal"] == 2
    outcome = filled.run("store", "compare", str(filled.db), copy_path)
    assert outcome.code == 5
    assert "1/a  the destination has no record" in outcome.out


def test_postgresql_and_back(
    filled: Terminal, copy_path: str, database: str  # noqa: F811  # a fixture
) -> None:
    url = postgres_url(database)
    assert filled.json("store", "copy", str(filled.db), url)["copied"] == 4
    assert filled.json("store", "copy", url, copy_path)["copied"] == 4
    assert filled.json("store", "compare", str(filled.db), copy_path)["equal"] == 4


def test_a_database_in_memory_is_refused(filled: Terminal) -> None:
    outcome = filled.run("store", "copy", str(filled.db), "sqlite+pysqlite://", "--json")
    assert (outcome.code, outcome.problem["reason"]) == (2, "invalid value")
    assert "StaticPool" in outcome.err


def test_a_url_of_sqlalchemy_and_back(filled: Terminal, copy_path: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'application.db'}"
    assert filled.json("store", "copy", str(filled.db), url)["copied"] == 4
    assert filled.json("store", "copy", url, copy_path)["copied"] == 4
    assert filled.json("store", "compare", str(filled.db), copy_path)["equal"] == 4


def test_a_destination_in_use_is_refused(filled: Terminal, copy_path: str) -> None:
    filled.run("enroll", "other/u", "--label", "x", "--db", copy_path)
    outcome = filled.run("store", "copy", str(filled.db), copy_path, "--json")
    assert outcome.code == 2
    assert outcome.problem["reason"] == "destination in use"
    with SQLiteStore(copy_path) as store:
        assert list(store.accounts()) == ["other"]


def test_a_difference_is_listed(filled: Terminal, copy_path: str) -> None:
    filled.run("store", "copy", str(filled.db), copy_path)
    filled.json("mark-spent", "1/a", "--until", str(int(filled.clock())))
    outcome = filled.run("store", "compare", str(filled.db), copy_path, "--json")
    assert outcome.code == 5
    assert outcome.problem["reason"] == "not a copy"
    (problem,) = outcome.data["problems"]
    assert (problem["account"], problem["name"]) == ("1", "a")
    assert outcome.data["equal"] == 3


def test_a_record_that_is_not_intact_is_listed(filled: Terminal, copy_path: str) -> None:
    filled.edit_database("UPDATE principal SET tag = audit_tag WHERE account = '1' AND name = 'a'")
    outcome = filled.run("store", "copy", str(filled.db), copy_path, "--json")
    assert outcome.code == 5
    data = outcome.data
    assert (data["copied"], data["already"], len(data["problems"])) == (3, 0, 1)
    with SQLiteStore(copy_path) as store:
        assert store.load(PrincipalId.user("1", "a")).revision == 0


@pytest.mark.parametrize("command", ["copy", "compare"])
def test_a_missing_source_is_an_error(terminal: Terminal, copy_path: str, command: str) -> None:
    outcome = terminal.run("store", command, str(terminal.db), copy_path)
    assert outcome.code == 5
    assert "does not exist" in outcome.err
    assert not Path(copy_path).exists()


def test_a_comparison_creates_no_file(filled: Terminal, copy_path: str) -> None:
    assert filled.run("store", "compare", str(filled.db), copy_path).code == 5
    assert not Path(copy_path).exists()


@pytest.mark.parametrize(
    "url",
    [
        f"nothing://user:{PASSWORD}@host/name",
        f"mariadb+nodriver://user:{PASSWORD}@host/name",
        f"mariadb://user:{PASSWORD}@host:port/name",
        f"postgresql://user:{PASSWORD}@host:port/name",
        f"sqlite+pysqlite://user:{PASSWORD}@/:memory:",
        f"mssql+pyodbc://user:{PASSWORD}@host/name",
    ],
)
def test_a_wrong_url_is_not_quoted(filled: Terminal, url: str) -> None:
    outcome = filled.run("store", "copy", str(filled.db), url)
    assert outcome.code in {2, 5}
    assert PASSWORD not in outcome.err
    assert outcome.err.startswith("vmfa: ")
    assert "bug" not in outcome.err


def test_a_missing_extra_is_named(
    filled: Terminal, copy_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("vmfa.stores.sqlalchemy")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    outcome = filled.run("store", "copy", "sqlite:///other.db", copy_path)
    assert outcome.code == 5
    assert "a URL of SQLAlchemy needs an optional package" in outcome.err
