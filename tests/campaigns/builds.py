"""Check that the builds are reproducible: two wheels and two source archives are the same bytes.

    pip install build
    python tests/campaigns/builds.py

The second build runs in another folder, at another time and under another umask. The wheel must
have no required dependency and must carry its bill of materials (CycloneDX, PEP 770).
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
    wrong = []
    with zipfile.ZipFile(wheel) as archive:
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
        if len(materials) != 1:
            wrong.append(
                f".dist-info/sboms/ must hold one bill of materials, not {len(materials)}"
            )
        for name in materials:
            bill = json.loads(archive.read(name))
            if bill.get("bomFormat") != "CycloneDX" or bill.get("components") != []:
                wrong.append(
                    "the bill of materials must be a CycloneDX document without components"
                )
            component = bill["metadata"]["component"]
            if (component["name"], component["version"]) != (
                metadata["Name"],
                metadata["Version"],
            ):
                wrong.append(
                    f"the bill of materials is of {component['name']} {component['version']}"
                )
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
        first = build(tree, "here", 0o022, 1_500_000_000)
        second = build(tree, "another folder", 0o077, 1_700_000_000)
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
