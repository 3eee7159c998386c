"""Check with pyright that every public symbol is fully typed for users of the package.

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
    with tempfile.TemporaryDirectory() as scratch:  # pyright ignores a package beside its sources
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src" / "vmfa", Path(scratch) / "vmfa", ignore=ignored)
        command = [
            sys.executable, "-m", "pyright", "--pythonpath", sys.executable,
            "--verifytypes", "vmfa", "--ignoreexternal", "--outputjson",
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": scratch}
        done = subprocess.run(
            command, cwd="/", env=environment, capture_output=True, text=True, check=False
        )
    try:
        report = json.loads(done.stdout[done.stdout.index("{") :])["typeCompleteness"]
    except (ValueError, KeyError):
        sys.exit(done.stdout + done.stderr)
    for symbol in report["symbols"]:
        if symbol["isExported"] and not symbol["isTypeKnown"]:
            messages = (diagnostic["message"] for diagnostic in symbol["diagnostics"])
            print(symbol["name"], *messages, sep="\n    ")
    counts = report["exportedSymbolCounts"]
    print(
        f"{report['completenessScore']:.1%} of {sum(counts.values())} exported symbols are known"
    )
    return 0 if report["completenessScore"] == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
