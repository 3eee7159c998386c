"""Prove the conditions of ``conditions.py``, and refute the mistakes of ``seeded.py``.

    pip install crosshair-tool
    python tests/campaigns/proofs.py

CrossHair explores every path of each condition. A condition compares a function of the library
with arithmetic that shares nothing with it. ``Confirmed`` means that every path was explored, and
not only that nothing was found in some time. The command fails if a proof is incomplete, or if
CrossHair finds no counter-example of a mistake. ``--seconds`` limits the time for each of them.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CONDITIONS = "conditions.py"
MISTAKES = "seeded.py"


def crosshair(file: str, seconds: int) -> dict[str, str]:
    """Return what CrossHair reports for each function of *file*."""
    path = Path(__file__).parent / file
    command = [
        sys.executable, "-m", "crosshair", "check", "--report_all", "--analysis_kind=PEP316",
        f"--per_condition_timeout={seconds}", f"--per_path_timeout={seconds}", str(path),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT / "src", capture_output=True, text=True, check=False)
    lines = path.read_text("utf-8").splitlines()
    reports: dict[str, str] = {}
    for line in done.stdout.splitlines():
        if match := re.fullmatch(r".*?:(\d+): (\w+): (.*)", line):
            before = lines[: int(match[1])]
            name = next(m[1] for text in reversed(before) if (m := re.match(r"def (\w+)", text)))
            reports[name] = match[3]
    if not reports:
        sys.exit(f"CrossHair reported nothing:\n{done.stdout}{done.stderr}")
    return reports


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=120, help="for each condition")
    seconds = parser.parse_args().seconds
    bad = 0
    for file, expected in ((CONDITIONS, "Confirmed over all paths."), (MISTAKES, "when calling")):
        text = (Path(__file__).parent / file).read_text("utf-8")
        reports = crosshair(file, seconds)
        for name in re.findall(r"^def (\w+)", text, re.MULTILINE):
            report = reports.get(name, "nothing")
            good = expected in report
            bad += not good
            print(f"{'ok ' if good else 'BAD'} {name.replace('_', ' ')}: {report}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
