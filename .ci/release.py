#!/usr/bin/env python3
"""Build a release: source archive, wheel, bill of materials, checksums and provenance.

    git tag v0.1.0 && python3 .ci/release.py dist

The command builds what is committed, twice, with the build requirements whose hashes are in
``.ci/build-requirements.txt``. Both builds must give the same files. It then writes an in-toto
statement with SLSA provenance. The statement is not signed and is made on the machine of the
maintainer, which is SLSA Build level 1 at most. ``docs/supply-chain.md`` has the checklist.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
REQUIREMENTS: Final = ".ci/build-requirements.txt"
REQUIREMENT: Final = re.compile(r"^([\w-]+)==(\S+) \\\n    --hash=sha256:(\w+)$", re.MULTILINE)
PLACEHOLDER: Final = "FILL IN"  # what the owner of a repository has to write
BUILD_TYPE: Final = "urn:vmfa:release:1"  # this command
BUILDER: Final = "urn:vmfa:builder:local"  # a machine of the maintainer

sys.path.insert(0, str(ROOT / "tests" / "campaigns"))
try:
    from builds import build_twice
finally:
    del sys.path[0]


def git(*arguments: str) -> bytes:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


def committed(path: str) -> str:
    return git("show", f"HEAD:{path}").decode()


def check_repository(version: str, *, rehearsal: bool) -> None:
    """Exit if something is not committed or not filled in, or if HEAD has no tag of *version*."""
    if git("status", "--porcelain").strip():
        sys.exit("error: commit or remove all changes first")
    tags = git("tag", "--points-at", "HEAD").decode().split()
    if rehearsal:
        return
    if PLACEHOLDER in committed("SECURITY.md"):
        sys.exit("error: fill in the contacts in SECURITY.md first")
    if f"v{version}" not in tags:
        sys.exit(f"error: tag the commit first: git tag v{version}")


def build_python(folder: Path, requirements: Path) -> str:
    """Return a new interpreter that has the build requirements, checked by their hashes."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    command = [
        str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--require-hashes", "--only-binary", ":all:", "-r", str(requirements),
    ]
    subprocess.run(command, check=True)
    return str(python)


def statement(
    archives: dict[str, bytes], requirements: str, started: datetime
) -> dict[str, Any]:
    """Return an in-toto statement: which files were built from which commit, and how."""
    commit = git("rev-parse", "HEAD").decode().strip()
    tags = git("tag", "--points-at", "HEAD").decode().split()
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": name, "digest": {"sha256": sha256(content)}}
            for name, content in archives.items()
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"commit": commit, "tags": tags},
                "internalParameters": {
                    "python": platform.python_version(),
                    "system": f"{platform.system()} {platform.machine()}",
                },
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": commit}},
                    *(
                        {"uri": f"pkg:pypi/{name}@{version}", "digest": {"sha256": digest}}
                        for name, version, digest in REQUIREMENT.findall(requirements)
                    ),
                ],
            },
            "runDetails": {
                "builder": {"id": BUILDER},
                "metadata": {
                    "startedOn": rfc3339(started), "finishedOn": rfc3339(datetime.now(UTC)),
                },
            },
        },
    }


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where to write; it must not exist")
    parser.add_argument(
        "--rehearsal", action="store_true", help="do not require the tag and the contacts"
    )
    options = parser.parse_args()
    started = datetime.now(UTC)
    if options.folder.exists():
        sys.exit("error: the folder exists already")
    project = tomllib.loads(committed("pyproject.toml"))["project"]
    name = f"{project['name']}-{project['version']}"
    check_repository(project["version"], rehearsal=options.rehearsal)
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / name
        with tarfile.open(fileobj=BytesIO(git("archive", "HEAD"))) as archive:
            archive.extractall(tree, filter="data")
        requirements = tree / REQUIREMENTS
        python = build_python(Path(scratch) / "venv", requirements)
        files, wrong = build_twice(tree, python)
        if wrong:
            sys.exit("\n".join(f"error: {problem}" for problem in wrong))
        provenance = statement(files, requirements.read_text(), started)
        files[f"{name}.cdx.json"] = (tree / "docs/vmfa.cdx.json").read_bytes()
        files[f"{name}.provenance.json"] = f"{json.dumps(provenance, indent=2)}\n".encode()
    sums = "".join(f"{sha256(content)}  {file}\n" for file, content in files.items())
    options.folder.mkdir(parents=True)
    for file, content in {**files, "SHA256SUMS": sums.encode()}.items():
        (options.folder / file).write_bytes(content)
    print(sums, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
