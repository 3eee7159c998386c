"""The page of the registry's methods is generated from the code, and names every method."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import methods
from tables import rows
from vmfa import DeviceRegistry

PUBLIC = {
    name
    for name, value in inspect.getmembers(DeviceRegistry, inspect.isfunction)
    if not name.startswith("_")
}


def documented() -> dict[str, list[str]]:
    """Return the rows of the page, by the name of the method."""
    table = rows(methods.PAGE, "method")
    return {row[0].strip("`").split("(")[0]: row for row in table}


def test_the_tables_are_those_of_the_code() -> None:
    """If this fails, run ``python tests/methods.py``."""
    assert methods.PAGE.read_text() == methods.with_tables()


def test_every_public_method_has_a_row() -> None:
    assert documented().keys() == PUBLIC


def test_a_row_has_signature_result_and_errors() -> None:
    row = documented()["verify"]
    assert row[0] == "`verify(principal, code, *, client=None, source='')`"
    assert row[2] == "`Receipt`"
    assert {"`AlreadyUsed`", "`NoDevice`", "`CodeRejected`"} <= set(row[3].split(", "))


def test_a_changed_method_changes_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    def verify(self: object, code: str, *, extra: int = 3) -> str:
        """Do something else.

        :raises TooSoon: always.
        """
        return code

    monkeypatch.setattr(DeviceRegistry, "verify", verify)
    changed = methods.with_tables()
    assert "| `verify(code, *, extra=3)` | Do something else | `str` | `TooSoon` |" in changed
    assert changed != methods.PAGE.read_text()


@pytest.mark.parametrize("kind", methods.RESULTS, ids=lambda kind: kind.__name__)
def test_every_part_of_a_result_has_a_row(kind: Any) -> None:
    text = methods.PAGE.read_text().split(f"\n### {kind.__name__}\n")[1].split("\n### ")[0]
    for name in (*kind.__slots__, *inspect.get_annotations(kind)):
        if not name.startswith("_"):
            assert f"\n| `{name}` | " in text
