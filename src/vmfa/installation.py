"""What is installed here: the version of vmfa, its commit, and the OpenSSL of Python."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.metadata import Distribution

SOURCE_TREE: Final = Path(__file__).resolve().parents[2]  # if this is a checkout of the project
DOCUMENTS: Final = {  # in docs/ of a checkout, and in the .dist-info folder of a wheel
    "traceability.md": "extra_metadata/traceability.md",
    "vmfa.cdx.json": "sboms/vmfa.cdx.json",
}
GIT_SECONDS: Final = 10
DESCRIBE: Final = (
    "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty=, with local changes",
)


def vmfa_version() -> str:
    """Return the version of the installed package, or "not installed"."""
    package = _package()
    return package.version if package else "not installed"


def vmfa_commit() -> str:
    """Return the Git commit of vmfa, or "unknown".

    It is known if pip installed vmfa from a repository, and in a checkout with Git. A wheel does
    not say it: the provenance statement beside the wheel does.
    """
    import json

    package = _package()
    text = package.read_text("direct_url.json") if package else None  # PEP 610
    if text is not None:
        commit = json.loads(text).get("vcs_info", {}).get("commit_id")
        if commit:
            return str(commit)
    return _commit_of_checkout(SOURCE_TREE) or "unknown"


def openssl_version() -> str:
    """Return the version of the OpenSSL that Python uses, or "none"."""
    try:
        text: str = import_module("ssl").OPENSSL_VERSION
    except ImportError:
        return "none"
    return text


def fips_mode() -> str:
    """Return "on" or "off" for the FIPS mode of the OpenSSL of ``hashlib``, or "unknown"."""
    try:
        return "on" if import_module("_hashlib").get_fips_mode() else "off"
    except (ImportError, AttributeError, ValueError):  # a Python without OpenSSL
        return "unknown"


def project_file(name: str) -> str | None:
    """Return the text of a document that belongs to this version; None if it was not installed.

    :param name: a key of ``DOCUMENTS``.
    """
    if _is_checkout(SOURCE_TREE):
        return (SOURCE_TREE / "docs" / name).read_text(encoding="utf-8")
    package = _package()
    return package.read_text(DOCUMENTS[name]) if package else None


def _package() -> Distribution | None:
    from importlib.metadata import PackageNotFoundError, distribution  # slow, seldom needed

    try:
        return distribution("vmfa")
    except PackageNotFoundError:  # run from a source tree
        return None


def _is_checkout(tree: Path) -> bool:
    return (tree / "src" / "vmfa" / Path(__file__).name).exists()


def _commit_of_checkout(tree: Path) -> str:
    import shutil
    import subprocess

    git = shutil.which("git")
    if git is None or not (_is_checkout(tree) and (tree / ".git").exists()):
        return ""
    with suppress(OSError, subprocess.SubprocessError):
        result = subprocess.run(  # noqa: S603  # constant arguments, and a path found above
            [git, "-C", str(tree), *DESCRIBE],
            capture_output=True, text=True, check=True, timeout=GIT_SECONDS,
        )
        return result.stdout.strip()
    return ""
