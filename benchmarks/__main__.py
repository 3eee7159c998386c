"""Run all benchmarks and write one report: ``python -m benchmarks``.

Each script runs in a process of its own. ``--write-docs`` also writes the tables and plots of the
documentation. ``--check FILE`` measures nothing: it compares a report with the limits.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the scripts import each other as they do when run alone

import report as reports  # noqa: E402
from measure import environment, peer_versions  # noqa: E402


def main() -> int:
    options = parse_arguments()
    if options.check:
        return check(reports.load(options.check))
    options.out.mkdir(parents=True, exist_ok=True)
    report = run(options.only or list(reports.TITLES), options.out, quick=options.quick)
    path = options.out / "report.json"
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    plots = sorted(options.out.glob("*.svg"))
    text = reports.markdown(report, plots)
    (options.out / "report.md").write_text(text, encoding="utf-8")
    print(f"report: {options.out / 'report.md'}, {path}")
    if options.write_docs:
        written = reports.write_docs(report, options.out)
        print(f"written for the docs: {', '.join(written) or 'nothing, scripts are missing'}")
    return check(report)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="rough figures, in two minutes")
    parser.add_argument(
        "--out", type=Path, default=Path("build/benchmarks"), help="the folder of the report"
    )
    parser.add_argument(
        "--only", nargs="+", choices=reports.TITLES, metavar="SCRIPT", help="run only these"
    )
    parser.add_argument(
        "--write-docs", action="store_true", help="write tables and plots into docs/"
    )
    parser.add_argument("--check", type=Path, metavar="FILE", help="compare a report.json")
    options = parser.parse_args()
    if options.quick and options.write_docs:
        parser.error("--write-docs needs a full run: omit --quick")
    return options


def run(scripts: list[str], folder: Path, *, quick: bool) -> reports.Report:
    report: reports.Report = {
        "environment": environment(), "peers": peer_versions(), "quick": quick,
        "failed": [], "tables": {},
    }  # fmt: skip
    for script in scripts:
        start = time.monotonic()
        command = [sys.executable, str(HERE / f"{script}.py"), "--out", str(folder)]
        if subprocess.run([*command, *["--quick"] * quick], check=False).returncode:
            report["failed"].append(script)
            continue
        print(f"[{script}: {time.monotonic() - start:.0f} s]\n", flush=True)
        tables = json.loads((folder / f"{script}.json").read_text(encoding="utf-8"))
        report["tables"][script] = tables
    return report


def check(report: reports.Report) -> int:
    problems = reports.problems(report)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print("all ratios are within their limits")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
