"""All benchmarks, each in a process of its own, and one report: ``python -m benchmarks [--quick] [--out FOLDER]``."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
QUESTIONS = {
    "otp": "Arithmetic",
    "verify": "The whole verification, in memory",
    "sqlite": "The whole verification, SQLite",
    "postgres": "The whole verification, PostgreSQL",
    "scale": "Scale",
    "imports": "Import and memory",
    "timing": "Timing leaks",
    "guess": "Guessing",
    "simulate": "Honest people",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Every question, and one report.")
    parser.add_argument("--quick", action="store_true", help="a glance in under a minute, not figures to quote")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="a folder for report and plots")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(HERE))
    from measure import surroundings

    report = ["# Benchmarks", "", *surroundings().splitlines(), ""]
    failed = []
    for name, title in QUESTIONS.items():
        began = time.monotonic()
        command = [sys.executable, str(HERE / f"{name}.py"), "--out", str(options.out), *["--quick"] * options.quick]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
            continue
        print(f"[{name}: {time.monotonic() - began:.0f} s]\n", flush=True)
        report += [f"## {title}", "", (options.out / f"{name}.md").read_text(encoding="utf-8")]
        report += [f"![{plot.stem}]({plot.name})\n" for plot in sorted(options.out.glob(f"{name}-*.svg"))]
    (options.out / "report.md").write_text("\n".join(report), encoding="utf-8")
    print(f"report: {options.out / 'report.md'}", *[f"FAILED: {name}" for name in failed], sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
