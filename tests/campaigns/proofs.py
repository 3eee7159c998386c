"""Proofs: CrossHair explores every path of these conditions, and finds the counter-examples of the seeded mistakes.

    pip install crosshair-tool
    python tests/campaigns/proofs.py

Each condition states the library's own function against arithmetic that shares nothing with it. ``Confirmed`` means
that the solver went through every path, not that it found nothing in a while. A proof that was not completed, and a
seeded mistake that was not found, both fail the command.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FACTS = "conditions.py"
MISTAKES = "seeded.py"


def crosshair(file: str, seconds: int) -> dict[str, str]:
    """What CrossHair says of each function of *file*: confirmed, a counter-example, or not decided."""
    path = Path(__file__).parent / file
    command = [
        sys.executable,
        "-m",
        "crosshair",
        "check",
        "--report_all",
        "--analysis_kind=PEP316",
        f"--per_condition_timeout={seconds}",
        f"--per_path_timeout={seconds}",
        str(path),
    ]
    done = subprocess.run(command, cwd=ROOT / "src", capture_output=True, text=True, check=False)
    lines = path.read_text("utf-8").splitlines()
    said: dict[str, str] = {}
    for line in done.stdout.splitlines():
        if found := re.fullmatch(r".*?:(\d+): (\w+): (.*)", line):
            before = lines[: int(found[1])]
            name = next(m[1] for text in reversed(before) if (m := re.match(r"def (\w+)", text)))
            said[name] = found[3]
    if not said:
        sys.exit(f"CrossHair said nothing:\n{done.stdout}{done.stderr}")
    return said


def main() -> int:
    bad = 0
    for file, seconds, wanted in (
        (FACTS, 120, "Confirmed over all paths."),
        (MISTAKES, 60, "when calling"),
    ):
        names = re.findall(
            r"^def (\w+)", (Path(__file__).parent / file).read_text("utf-8"), re.MULTILINE
        )
        said = crosshair(file, seconds)
        for name in names:
            found = said.get(name, "nothing")
            good = wanted in found
            bad += not good
            print(f"{'ok ' if good else 'BAD'} {name.replace('_', ' ')}: {found}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
