"""The how-to pages quote the example applications, as code that GitHub shows as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from quotes import HOWTO, QUOTE, code_of, main, with_quotes

PAGES = sorted(HOWTO.glob("*.md"))
MODULE = "import os\n\n\n@first\n@second(1)\ndef f(a):\n    return a\n\n\nclass C:\n    x = 1\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_quotes_of_a_page_are_the_present_code(page: Path) -> None:
    """If this fails, run ``python tests/quotes.py``."""
    assert with_quotes(page) == page.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_shows_its_code_without_sphinx(page: Path) -> None:
    text = page.read_text()
    assert "literalinclude" not in text
    assert text.count("<!-- from ") == len(QUOTE.findall(text))


def test_there_are_quotes() -> None:
    quoting = {page.name for page in PAGES if QUOTE.search(page.read_text())}
    assert {"log-in-page.md", "enrollment-page.md", "resync-page.md", "lost-phone.md"} <= quoting


def test_a_quote_has_the_decorators(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(MODULE)
    assert code_of(module, "f") == "@first\n@second(1)\ndef f(a):\n    return a"
    assert code_of(module, "C") == "class C:\n    x = 1"
    with pytest.raises(LookupError, match="no function or class g"):
        code_of(module, "g")


def test_an_outdated_quote_is_reported_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("quotes.HOWTO", tmp_path)
    (tmp_path / "module.py").write_text(MODULE)
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n<!-- from module.py: C -->\n```py\nclass C:\n    x = 0\n```\n\n"
        "```{literalinclude} module.py\n:pyobject: f\n```\n\nEnd.\n"
    )
    assert main(["--check"]) == 1
    assert "x = 0" in page.read_text()
    assert main([]) == 0
    assert capsys.readouterr().out == "page.md\npage.md\n"
    assert page.read_text() == (
        "# Page\n\n<!-- from module.py: C -->\n```py\nclass C:\n    x = 1\n```\n\n"
        "<!-- from module.py: f -->\n```py\n@first\n@second(1)\ndef f(a):\n    return a\n```\n\n"
        "End.\n"
    )
    assert main(["--check"]) == 0
