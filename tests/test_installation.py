"""What an installation says about itself: version, commit, OpenSSL, and its documents."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NoReturn

import pytest

from vmfa import installation
from vmfa.installation import DOCUMENTS, project_file, vmfa_commit, vmfa_version

ROOT = Path(__file__).parents[1]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Package:
    """The metadata of an installed package."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files
        self.version = "1.2.3"

    def read_text(self, name: str) -> str | None:
        return self.files.get(name)


def install(monkeypatch: pytest.MonkeyPatch, tree: Path, files: dict[str, str]) -> None:
    """Pretend that vmfa is installed with these metadata, below *tree*."""
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: Package(files))
    monkeypatch.setattr(installation, "SOURCE_TREE", tree)


def not_installed(name: str) -> NoReturn:
    raise PackageNotFoundError(name)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one commit."""
    module = tmp_path / "src/vmfa/installation.py"
    module.parent.mkdir(parents=True)
    module.write_text("")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "Add"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_the_version_is_that_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert vmfa_version() == version("vmfa")
    monkeypatch.setattr("importlib.metadata.distribution", not_installed)
    assert vmfa_version() == "not installed"


def test_the_commit_of_a_package_from_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = {"url": "https://example.com/vmfa", "vcs_info": {"vcs": "git", "commit_id": COMMIT}}
    install(monkeypatch, tmp_path, {"direct_url.json": json.dumps(origin)})
    assert vmfa_commit() == COMMIT


@pytest.mark.parametrize(
    "files", [{}, {"direct_url.json": '{"url": "file:///x", "dir_info": {"editable": true}}'}]
)
def test_the_commit_of_a_checkout(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    install(monkeypatch, checkout, files)
    assert re.fullmatch("[0-9a-f]{40}", vmfa_commit())
    (checkout / "src/vmfa/installation.py").write_text("changed = True")
    assert re.fullmatch("[0-9a-f]{40}, with local changes", vmfa_commit())


def test_a_repository_of_another_project_is_not_the_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(checkout / "src")
    install(monkeypatch, checkout, {})
    assert vmfa_commit() == "unknown"


def test_the_commit_is_unknown_without_git_or_with_a_broken_repository(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, checkout, {})
    (checkout / ".git/HEAD").unlink()
    assert vmfa_commit() == "unknown"
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert vmfa_commit() == "unknown"
    shutil.rmtree(checkout / ".git")
    monkeypatch.undo()
    install(monkeypatch, checkout, {})
    assert vmfa_commit() == "unknown"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_that_of_the_checkout_or_of_the_package(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project_file(name) == (ROOT / "docs" / name).read_text(encoding="utf-8")
    install(monkeypatch, tmp_path, {DOCUMENTS[name]: "text"})
    assert project_file(name) == "text"
    monkeypatch.setattr("importlib.metadata.distribution", not_installed)
    assert project_file(name) is None
