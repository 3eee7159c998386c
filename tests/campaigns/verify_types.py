"""Types: pyright finds every symbol of the public face fully typed, for those who install the package.

pip install pyright          # needs Node.js
python tests/campaigns/verify_types.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> int:
    with (
        tempfile.TemporaryDirectory() as scratch
    ):  # as installed: pyright overlooks a package beside its sources
        shutil.copytree(
            ROOT / "src" / "vmfa",
            Path(scratch) / "vmfa",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        command = [
            sys.executable,
            "-m",
            "pyright",
            "--pythonpath",
            sys.executable,
            "--verifytypes",
            "vmfa",
            "--ignoreexternal",
            "--outputjson",
        ]
        environment = {**os.environ, "PYTHONPATH": scratch}
        done = subprocess.run(
            command, cwd="/", env=environment, capture_output=True, text=True, check=False
        )
    try:
        found = json.loads(done.stdout[done.stdout.index("{") :])["typeCompleteness"]
    except (ValueError, KeyError):
        sys.exit(done.stdout + done.stderr)
    for symbol in found["symbols"]:
        if symbol["isExported"] and not symbol["isTypeKnown"]:
            print(
                symbol["name"], *(each["message"] for each in symbol["diagnostics"]), sep="\n    "
            )
    counts = found["exportedSymbolCounts"]
    print(f"{found['completenessScore']:.1%} of {sum(counts.values())} exported symbols are known")
    return 0 if found["completenessScore"] == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
