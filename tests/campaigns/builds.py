"""Check that the builds are reproducible: two wheels and two source archives are the same bytes.

    pip install build
    python tests/campaigns/builds.py

The second build runs in another folder, at another time and under another umask. The wheel must
have no required dependency and must carry the bill of materials of docs/ (CycloneDX, PEP 770).
``.ci/release.py`` uses the same checks.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv*",
    "dist",
    "build",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    ".coverage*",
)


def build_twice(tree: Path, python: str = sys.executable) -> tuple[dict[str, bytes], list[str]]:
    """Return the archives by name, and what differs in a second build or is wrong in the wheel.

    :param python: an interpreter that has the package build.
    """
    first = build(tree, "here", 0o022, 1_500_000_000, python)
    second = build(tree, "another folder", 0o077, 1_700_000_000, python)
    wrong = [
        f"{name} differs in the second build"
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    ]
    (name,) = [name for name in first if name.endswith(".whl")]
    return first, [*wrong, *problems(first[name], (tree / "docs/vmfa.cdx.json").read_bytes())]


def build(tree: Path, folder: str, umask: int, mtime: int, python: str) -> dict[str, bytes]:
    """Build a copy of *tree* in a folder of this name, whose files were changed at *mtime*."""
    with tempfile.TemporaryDirectory() as scratch:
        copy, out = Path(scratch) / folder, Path(scratch) / "out"
        shutil.copytree(tree, copy, ignore=LEFT_OUT)
        for path in [copy, *copy.rglob("*")]:
            if not path.is_symlink():
                path.chmod(
                    (0o777 if path.is_dir() or path.stat().st_mode & 0o100 else 0o666) & ~umask
                )
                os.utime(path, (mtime, mtime))
        command = [
            python,
            "-m",
            "build",
            "--no-isolation",
            "--outdir",
            str(out),
            str(copy),
        ]
        probe = [python, "-c", "import hatchling"]
        if subprocess.run(probe, capture_output=True, check=False).returncode:
            command.remove("--no-isolation")
        environment = {
            name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"
        }
        done = subprocess.run(
            command, umask=umask, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def problems(wheel: bytes, bill: bytes) -> list[str]:
    """Return what is wrong in *wheel*, which must contain the bill of materials *bill*."""
    wrong = []
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        names = archive.namelist()
        metadata = HeaderParser().parsestr(
            archive.read(next(n for n in names if n.endswith("/METADATA"))).decode()
        )
        required = [
            line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line
        ]
        if required:
            wrong.append(f"the wheel requires packages: {required}")
        materials = [name for name in names if ".dist-info/sboms/" in name]
        if [archive.read(name) for name in materials] != [bill]:
            wrong.append("the wheel must contain docs/vmfa.cdx.json as its bill of materials")
        component = json.loads(bill)["metadata"]["component"]
        if (component["name"], component["version"]) != (metadata["Name"], metadata["Version"]):
            wrong.append(
                f"the bill of materials is of {component['name']} {component['version']}"
            )
        if not any(name.endswith(".dist-info/extra_metadata/traceability.md") for name in names):
            wrong.append("the wheel must contain the traceability page")
        stray = [n for n in names if not n.startswith(("vmfa/", "vmfa-")) or n.endswith(".pyc")]
        if stray:
            wrong.append(f"the wheel contains {stray}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tree", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"  # a copy that does not change
        shutil.copytree(options.tree, tree, ignore=LEFT_OUT)
        archives, wrong = build_twice(tree)
    for name, content in archives.items():
        print(f"{hashlib.sha256(content).hexdigest()}  {name}")
    for problem in wrong:
        print(f"WRONG {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
