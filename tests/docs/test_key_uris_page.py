"""The page on key URIs says what the parser does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vmfa import Parameters
from vmfa.keyuri import _CHANGES_CODES, KeyUriError, parse

PAGE = (Path(__file__).parents[2] / "docs" / "key-uris.md").read_text()
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
ROW = re.compile(r"^\| `([^`]*)` \| ([^|]*?) \| ([^|]*) \|$", re.MULTILINE)
READ, REFUSED = map(ROW.findall, PAGE.split("### What is read")[1].split("### What is refused"))


def uri(written: str) -> str:
    key = re.sub("(?i)(?<=secret=)S(?=&|=|$)", SECRET, written)
    return key.replace("secret=s", f"secret={SECRET.lower()}")


@pytest.mark.parametrize(("written", "names", "_"), READ)
def test_what_is_read(written, names, _):
    parsed = parse(uri(written))
    assert f"{parsed.issuer}, {parsed.label}".strip() == names
    assert parsed.parameters == Parameters()


@pytest.mark.parametrize(("written", "part", "_"), REFUSED)
def test_what_is_refused(written, part, _):
    with pytest.raises(KeyUriError) as caught:
        parse(uri(written))
    assert caught.value.part == part


def test_the_tables_have_an_example_of_each_part():
    assert {part for _, part, _ in REFUSED} == {
        "uri", "type", "label", "issuer", "secret", "algorithm", "digits", "period", "counter",
        "encoder", "interval",
    }
    assert all(f"`{name}`" in PAGE or f"&{name}=" in PAGE for name in _CHANGES_CODES)
    assert len(READ) + len(REFUSED) == PAGE.count("\n| `")
