"""The Python examples of the README and of the documentation run, page by page, in order."""

from __future__ import annotations

import gc
import re
import stat
import sys
from code import InteractiveConsole
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mariadb_server import mariadb, mariadb_database  # noqa: F401  # fixtures
from postgres_server import database, server  # noqa: F401  # fixtures
from sqlalchemy_databases import mariadb_url

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [
    page
    for page in (README, *sorted((ROOT / "docs").rglob("*.md")))
    if FENCE.search(page.read_text()) and page.name != "quick-start.md"  # has its own test
]

pytestmark = [  # examples leave it to the end of the process to close stores
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def close_stores(variables: dict[str, Any]) -> None:
    """Collect what the examples leave open, here and not in a later test."""
    variables.clear()
    gc.collect()


def run_examples(page: Path, monkeypatch: pytest.MonkeyPatch, *, last: int | None = None) -> None:
    """Run the first *last* examples of the page, or all, in a module of their own."""
    source = page.read_text()
    module = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", module)  # dataclasses look for their module there
    for example in [*FENCE.finditer(source)][:last]:
        line = source.count("\n", 0, example.start(1))  # so that a traceback shows the right line
        exec(compile("\n" * line + example[1], str(page), "exec"), vars(module))
    close_stores(vars(module))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_examples_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if "VMFA_TEST_POSTGRES" in page.read_text():
        monkeypatch.setenv("VMFA_TEST_POSTGRES", request.getfixturevalue("database"))
    if "VMFA_TEST_MARIADB" in page.read_text():
        mariadb = request.getfixturevalue("mariadb_database")
        url = mariadb_url("pymysql", mariadb).render_as_string()
        monkeypatch.setenv("VMFA_TEST_MARIADB", url)
    monkeypatch.chdir(tmp_path)
    run_examples(page, monkeypatch)


@pytest.mark.parametrize("page", [README, TUTORIAL], ids=name_of)
def test_the_examples_run_twice_in_the_same_directory(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_examples(page, monkeypatch)
    key_file = tmp_path / "master.key"
    master_key = key_file.read_bytes()
    assert len(master_key) == 32
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    run_examples(page, monkeypatch)
    assert key_file.read_bytes() == master_key


@pytest.mark.parametrize("last", range(1, len(FENCE.findall(TUTORIAL.read_text()))))
def test_the_tutorial_can_start_again_after_any_step(
    last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_examples(TUTORIAL, monkeypatch, last=last)
    run_examples(TUTORIAL, monkeypatch)


def test_the_tutorial_can_be_typed_into_the_interactive_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interactively, a blank line ends a block: a statement right after a block is an error."""
    monkeypatch.chdir(tmp_path)
    console = InteractiveConsole()
    for example in FENCE.findall(TUTORIAL.read_text()):
        for line in (*example.splitlines(), ""):
            console.push(line)
    close_stores(console.locals)
    assert capsys.readouterr().err == ""
