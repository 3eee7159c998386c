"""The how-to guides for imports are complete, and say what the code does."""

from __future__ import annotations

import json
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

from vmfa.cli.importing import FORMATS
from vmfa.cli.main import main
from vmfa.importers import base, reading

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
OVERVIEW = (HOWTO / "import.md").read_text()
TESTS = Path(__file__).parents[1]
ROW = re.compile(
    r"^\| `([a-z-]+)` \| \[[^]]*\]\(([a-z-]+\.md)\) \| ([^|]*) \| ([^|]*)\| ([^|]*) \|$",
    re.MULTILINE,
)
TABLE = {row[0]: row[1:] for row in ROW.findall(OVERVIEW)}
REAL = {  # formats whose tests use output of the real program, and where
    "django-allauth": "importers/test_django_allauth.py",
    "django-otp": "importers/test_django_otp.py",
    "google-authenticator": "interop/test_google_authenticator_program.py",
    "oath-toolkit": "interop/test_liboath.py",
    "otpauth": "importers/test_otpauth.py",
    "passlib": "importers/test_passlib.py",
    "privacyidea": "importers/exports/privacyidea-3.14.pi",
    "pskc": "importers/test_pskc.py",
    "pyotp": "importers/test_pyotp.py",
}
POSITION = re.compile(r"last_step=(?!None)")


def test_the_table_lists_every_format():
    assert list(TABLE) == sorted(FORMATS) == list(FORMATS)
    pages = {path.name for path in HOWTO.glob("import-*.md")} - {"import-cut-over.md"}
    assert {page for page, *_ in TABLE.values()} == pages
    hidden_toc = re.findall(r"^(import-[a-z-]+)$", OVERVIEW, re.MULTILINE)
    assert hidden_toc == ["import-cut-over", *(page.removesuffix(".md") for page in sorted(pages))]


@pytest.mark.parametrize("name", FORMATS)
def test_the_table_says_what_the_importer_does(name):
    _, position, extra, tested = TABLE[name]
    module = import_module(f"vmfa.importers.{name.replace('-', '_')}")
    source = Path(module.__file__ or "").read_text()
    assert (position == "none") is (POSITION.search(source) is None)
    assert (extra.strip() == "`import`") is ("MissingExtra" in source)
    assert tested.startswith("output of ") is (name in REAL)
    if name in REAL:
        assert (TESTS / REAL[name]).exists()
    else:
        assert tested == "the documented format"


@pytest.mark.parametrize("name", FORMATS)
def test_each_page_is_for_the_evening_of_the_migration(name):
    text = (HOWTO / TABLE[name][0]).read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == ["Before", "During", "Check", "Roll back"]
    assert f"vmfa import {name} " in text or f"manage.py vmfa_import {name}" in text
    assert "import-cut-over.md" in text


def test_every_command_of_the_pages_is_valid(tmp_path, monkeypatch, capsys):
    """A command that names a missing file fails because of the file, not of its options."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMFA_DB", "mfa.db")
    monkeypatch.setenv("VMFA_KEY_FILE", "master.key")
    text = "\n".join(path.read_text() for path in HOWTO.glob("import*.md"))
    commands = re.findall(r"(?:^|`)vmfa (import [a-z-]+ [^`\n.]*\.?[^`\n]*)", text, re.MULTILINE)
    assert len(commands) >= len(FORMATS)
    for command in commands:
        assert main([*command.replace("\n", " ").split(), "--json"]) == 2
        problem = json.loads(capsys.readouterr().err)
        assert problem["reason"] == "unreadable source", command
        assert "No such file" in problem["message"]


def test_the_page_states_the_bounds():
    assert f"{base.MAX_ENTRIES:,} entries" in OVERVIEW
    assert f"{reading.MAX_LINE_CHARACTERS >> 10} KiB" in OVERVIEW
    assert f"{reading.MAX_RECORD_CHARACTERS >> 20} MiB" in OVERVIEW
    assert f"at most {reading.MAX_DOCUMENT_CHARACTERS >> 20} MiB" in OVERVIEW


@pytest.mark.parametrize(("name", "package"), [
    ("authelia", "yaml"), ("privacyidea", "cryptography.fernet"), ("pskc", "pskc"),
])
def test_a_format_without_its_package_names_the_extra(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"vmfa.importers.{name}", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'vmfa\[import\]'"):
        import_module(f"vmfa.importers.{name}")
