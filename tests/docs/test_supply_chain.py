"""The bill of materials is valid and complete, and the release command says what it built."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from packaging.requirements import Requirement

import bill_of_materials
from vmfa.self_test import computed_by

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = {
    name: requirements
    for name, requirements in PROJECT["project"]["optional-dependencies"].items()
    if name not in bill_of_materials.OURS
}
TEXT = bill_of_materials.TARGET.read_text()
BILL = json.loads(TEXT)
REQUIREMENTS = (ROOT / ".ci/build-requirements.txt").read_text()
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "dist", "build", "__pycache__", ".*_cache", ".hypothesis", ".coverage*"
)


def components(kind: str) -> list[dict[str, Any]]:
    return [component for component in BILL["components"] if component["type"] == kind]


# The bill of materials


def test_the_bill_of_materials_is_up_to_date() -> None:
    """If this fails, run ``python tests/bill_of_materials.py``."""
    assert bill_of_materials.bill(PROJECT["project"]) == BILL


def test_the_bill_of_materials_is_valid() -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(TEXT) is None
    assert validator.validate_str(TEXT.replace('"library"', '"surprise"')) is not None


def test_every_package_of_an_extra_is_optional_and_has_no_version() -> None:
    named = [
        (component["properties"][0]["value"], component["properties"][1]["value"])
        for component in components("library")
    ]
    assert named == [(name, text) for name, texts in sorted(EXTRAS.items()) for text in texts]
    for component in components("library"):
        assert component["scope"] == "optional"
        assert component["name"] == Requirement(component["properties"][1]["value"]).name
    assert not any("version" in component for component in BILL["components"])


def test_the_bill_of_materials_claims_nothing_about_openssl() -> None:
    (python,) = components("platform")
    assert "run vmfa selftest" in python["description"]
    assert not re.search(r"OpenSSL[ /]\d|FIPS|validated", TEXT.replace("validation", ""))


def test_the_algorithms_are_those_of_the_self_test() -> None:
    named = {row["name"].lower().replace("-", "") for row in components("cryptographic-asset")}
    reported = {name for name, _ in computed_by()} - {"comparison", "random bytes"}
    hashes = {name for name in reported if name.startswith("sha")}
    assert hashes == {name for name in named if name.startswith("sha")}
    assert named - hashes == {"hmac", "hkdfsha256", "aes256gcm", "ed25519"}
    assert reported - hashes == {
        "hmac with sha256", "HKDF with sha256", "AES-256-GCM", "Ed25519",
    }


# The release command


def test_every_build_requirement_has_a_version_and_a_hash() -> None:
    pattern = r"^([\w-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}$"
    pinned = dict(re.findall(pattern, REQUIREMENTS, re.MULTILINE))
    lines = [line for line in REQUIREMENTS.splitlines() if not line.startswith(("#", "    "))]
    assert len(pinned) == len(lines) > 5
    (needed,) = map(Requirement, PROJECT["build-system"]["requires"])
    assert pinned[needed.name] in needed.specifier
    assert "build" in pinned


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the files of this one and one commit."""
    folder = tmp_path / "repository"
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    security = folder / "SECURITY.md"
    security.write_text(security.read_text().replace("FILL IN", "security@example.com"))
    git(folder, "init", "-q")
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-qm", "Change")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def release(repository: Path, target: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repository / ".ci/release.py"), *options, str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_release_states_what_was_built_from_what(repository: Path, tmp_path: Path) -> None:
    name = f"vmfa-{PROJECT['project']['version']}"
    git(repository, "tag", name.replace("vmfa-", "v"))
    target = tmp_path / "dist"
    result = release(repository, target)
    assert result.returncode == 0, result.stderr
    archives = [f"{name}-py3-none-any.whl", f"{name}.tar.gz"]
    files = [*archives, f"{name}.cdx.json", f"{name}.provenance.json"]
    assert sorted(path.name for path in target.iterdir()) == sorted(["SHA256SUMS", *files])
    digests = {file: hashlib.sha256((target / file).read_bytes()).hexdigest() for file in files}
    assert result.stdout == "".join(f"{digests[file]}  {file}\n" for file in files)
    assert (target / "SHA256SUMS").read_text() == result.stdout

    text = (target / f"{name}.provenance.json").read_text()
    message = json_format.Parse(text, StatementMessage())
    Statement.copy_from_pb(message).validate()
    statement = json.loads(text)
    json_format.ParseDict(statement["predicate"], Provenance())  # refuses unknown fields
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert {row["name"]: row["digest"]["sha256"] for row in statement["subject"]} == {
        file: digests[file] for file in archives
    }
    definition = statement["predicate"]["buildDefinition"]
    head = git(repository, "rev-parse", "HEAD").strip()
    assert definition["externalParameters"] == {
        "commit": head, "tags": [name.replace("vmfa-", "v")],
    }
    source, *packages = definition["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": head}
    pinned = re.findall("sha256:(.*)", REQUIREMENTS)
    assert [package["digest"]["sha256"] for package in packages] == pinned


@pytest.mark.slow
def test_a_release_needs_contacts_a_tag_and_a_clean_repository(
    repository: Path, tmp_path: Path
) -> None:
    target = tmp_path / "dist"
    result = release(repository, target)
    assert (result.returncode, "tag the commit first" in result.stderr) == (1, True)
    (repository / "SECURITY.md").write_text("Write to FILL IN")
    commit(repository)
    result = release(repository, target)
    assert (result.returncode, "fill in the contacts" in result.stderr) == (1, True)
    (repository / "new.py").write_text("")
    result = release(repository, target, "--rehearsal")
    assert (result.returncode, "commit or remove all changes" in result.stderr) == (1, True)
    target.mkdir()
    result = release(repository, target, "--rehearsal")
    assert (result.returncode, "the folder exists already" in result.stderr) == (1, True)
    assert list(target.iterdir()) == []


@pytest.mark.slow
def test_a_changed_build_requirement_is_not_installed(repository: Path, tmp_path: Path) -> None:
    requirements = repository / ".ci/build-requirements.txt"
    text = requirements.read_text()
    digest = re.findall("sha256:(.*)", text)[0]
    requirements.write_text(text.replace(digest, "0" * 64))
    commit(repository)
    result = release(repository, tmp_path / "dist", "--rehearsal")
    assert result.returncode != 0
    assert "DO NOT MATCH THE HASHES" in result.stderr
    assert not (tmp_path / "dist").exists()
