"""Builds: two wheels and two source archives, made elsewhere, later and under another umask, are the same bytes.

    pip install build
    python tests/campaigns/builds.py

And the wheel asks for no package unless an extra is asked for, and carries its bill of materials (CycloneDX, PEP 770).
"""

from __future__ import annotations

import argparse
import hashlib
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


def build(tree: Path, folder: str, umask: int, mtime: int) -> dict[str, bytes]:
    """What comes out of a copy of *tree* in a folder of this name, all its files as old as *mtime* says."""
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
            sys.executable,
            "-m",
            "build",
            "--no-isolation",
            "--outdir",
            str(out),
            str(copy),
        ]
        if shutil.which("hatchling") is None and not _importable("hatchling"):
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


def _importable(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def problems(wheel: Path) -> list[str]:
    found = []
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = HeaderParser().parsestr(
            archive.read(next(n for n in names if n.endswith("/METADATA"))).decode()
        )
        always = [each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each]
        if always:
            found.append(f"packages are required: {always}")
        materials = [name for name in names if ".dist-info/sboms/" in name]
        if len(materials) != 1:
            found.append(
                f"one bill of materials is expected in .dist-info/sboms/, {len(materials)} are there"
            )
        for name in materials:
            bill = json.loads(archive.read(name))
            if bill.get("bomFormat") != "CycloneDX" or bill.get("components") != []:
                found.append("the bill of materials is no CycloneDX document without components")
            component = bill["metadata"]["component"]
            if (component["name"], component["version"]) != (
                metadata["Name"],
                metadata["Version"],
            ):
                found.append(
                    f"the bill of materials is of {component['name']} {component['version']}"
                )
        stray = [n for n in names if not n.startswith(("vmfa/", "vmfa-")) or n.endswith(".pyc")]
        if stray:
            found.append(f"the wheel holds {stray}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tree", type=Path, default=ROOT, help=argparse.SUPPRESS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"  # nobody edits it meanwhile
        shutil.copytree(given.tree, tree, ignore=LEFT_OUT)
        first = build(tree, "here", 0o022, 1_500_000_000)
        second = build(tree, "a folder elsewhere", 0o077, 1_700_000_000)
    bad = first.keys() != second.keys()
    for name in first:
        same = first[name] == second.get(name)
        bad |= not same
        print(f"{'same ' if same else 'OTHER'} {hashlib.sha256(first[name]).hexdigest()} {name}")
    with tempfile.TemporaryDirectory() as scratch:
        name = next(each for each in first if each.endswith(".whl"))
        wheel = Path(scratch) / name
        wheel.write_bytes(first[name])
        for problem in problems(wheel):
            bad = True
            print(f"WRONG {problem}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
