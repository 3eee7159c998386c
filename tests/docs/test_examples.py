"""Every Python example of the README and of the docs runs, page by page, from top to bottom."""

from __future__ import annotations

import gc
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from postgres_server import database, server  # noqa: F401  # fixtures

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WITH_EXAMPLES = [page for page in PAGES if FENCE.search(page.read_text())]


def test_the_readme_is_among_the_pages_that_are_run() -> None:
    assert ROOT / "README.md" in WITH_EXAMPLES


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # an example need not close what ends with its process
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_examples_of_the_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    source = page.read_text()
    if "VMFA_TEST_POSTGRES" in source:
        monkeypatch.setenv("VMFA_TEST_POSTGRES", request.getfixturevalue("database"))
    monkeypatch.chdir(tmp_path)
    module = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", module)  # where a dataclass of the page looks for its module
    namespace = vars(module)
    for example in FENCE.finditer(source):
        line = source.count("\n", 0, example.start(1))
        code = compile("\n" * line + example[1], str(page), "exec")
        exec(code, namespace)  # our own pages
    assert len(namespace) > 1
    namespace.clear()
    gc.collect()
