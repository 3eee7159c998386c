"""The generated tables in the documentation are those of the stored measurements."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tables import DOCS

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
try:
    import fragments
finally:
    del sys.path[0]

OTHERS = {"breaks", "conformance", "tampering"}  # compared with the code by tests of their own
NAMES = sorted(path.stem for path in (DOCS / "_data").glob("*.json") if path.stem not in OTHERS)


@pytest.mark.parametrize("name", NAMES)
def test_the_fragment_is_rendered_from_its_data(name: str) -> None:
    """If this fails, run ``python benchmarks/fragments.py``."""
    fragment = (DOCS / "_generated" / f"{name}.md").read_text()
    assert fragment == fragments.render(fragments.load(name))


def test_each_fragment_has_data() -> None:
    assert {path.stem for path in (DOCS / "_generated").iterdir()} - OTHERS == {*NAMES}


def test_each_included_table_exists() -> None:
    """Sphinx would include the rest of the file if the end mark were missing."""
    pattern = re.compile(
        r'```\{include\} _generated/(.*)\.md\n:start-after: "(.*)"\n:end-before: "(.*)"\n'
    )
    included = 0
    for page in DOCS.glob("*.md"):
        for name, start, end in pattern.findall(page.read_text()):
            _, _, rest = (DOCS / "_generated" / f"{name}.md").read_text().partition(f"{start}\n")
            assert rest.partition(end)[1], (page.name, start)
            included += 1
    assert included


def test_writing_stores_and_renders_a_run(tmp_path: Path) -> None:
    table = fragments.StoredTable(head=["case", "ratio"], rows=[["a", "1.0"]])
    run = fragments.StoredRun(environment="Python", tables={"codes": table})
    fragments.write("name", run, docs=tmp_path)
    assert fragments.load("name", docs=tmp_path) == run
    text = (tmp_path / "_generated/name.md").read_text()
    assert "<!-- codes -->\n| case | ratio |\n| --- | --- |\n| a | 1.0 |\n<!-- end -->" in text
