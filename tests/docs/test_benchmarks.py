"""The benchmarks compare their report with the limits and render it for the documentation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import measure
    import report

    return SimpleNamespace(measure=measure, report=report)


def ratio_table(measure: Any, case: str, values: list[float], limits: Any = None) -> Any:
    """Return a table whose floor takes one second in each round."""
    series = {"floor": [1.0] * len(values), case: values}
    rows = measure.ratio_rows(series, limits={case: limits} if limits else None)
    return measure.RatioTable(
        title="A title", section="codes", question="a question", floor="one second", rows=rows
    )


def report_of(*tables: Any, failed: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "environment": "Python", "peers": "", "quick": False, "failed": list(failed),
        "tables": {"otp": [table.stored() for table in tables]},
    }  # fmt: skip


def check(report: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "report.json"
    path.write_text(json.dumps(report))
    command = [sys.executable, "-m", "benchmarks", "--check", str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_ratio_is_the_median_over_the_floor_of_the_same_round(benchmarks: Any) -> None:
    series = {"floor": [1.0, 2.0, 4.0], "vmfa": [3.0, 4.0, 20.0]}
    floor, ours = benchmarks.measure.ratio_rows(series)
    assert (floor.ratio, ours.ratio) == (1.0, 3.0)
    assert benchmarks.measure.ratio_rows(series, floors=2)[1].ratio == 1.5


@pytest.mark.parametrize(
    ("reach", "never", "reached", "within", "beyond"),
    [(1.0, 1.2, 0.9, 1.1, 1.3), (0.8, 0.6, 0.9, 0.7, 0.5)],
    ids=["smaller is better", "larger is better"],
)
def test_a_limit_has_a_direction(
    benchmarks: Any, reach: float, never: float, reached: float, within: float, beyond: float
) -> None:
    limits = benchmarks.measure.Limits(reach, never)
    assert [limits.exceeded_by(ratio) for ratio in (reached, within, never, beyond)] == [
        False, False, False, True,
    ]  # fmt: skip
    assert [limits.reached_by(ratio) for ratio in (reached, within)] == [True, False]


def test_check_accepts_ratios_within_their_limits(benchmarks: Any, tmp_path: Path) -> None:
    table = ratio_table(benchmarks.measure, "vmfa", [1.1], benchmarks.measure.Limits(1, 1.2))
    result = check(report_of(table), tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


def test_check_refuses_a_ratio_beyond_its_limit(benchmarks: Any, tmp_path: Path) -> None:
    table = ratio_table(benchmarks.measure, "vmfa", [1.3], benchmarks.measure.Limits(1, 1.2))
    result = check(report_of(table), tmp_path)
    assert result.returncode == 1
    assert result.stderr == "A title: vmfa is 1.30, the limit is 1.2\n"


def test_check_refuses_a_requirement_that_is_not_met(benchmarks: Any, tmp_path: Path) -> None:
    table = benchmarks.measure.text_table("Timing", ["t"], [[9.0]], problems=["it leaks"])
    result = check(report_of(table), tmp_path)
    assert (result.returncode, result.stderr) == (1, "it leaks\n")


def test_check_refuses_a_report_with_a_failed_script(tmp_path: Path) -> None:
    result = check(report_of(failed=("sqlite",)), tmp_path)
    assert (result.returncode, result.stderr) == (1, "sqlite.py failed\n")


def test_tables_of_one_section_are_one_table_in_the_docs(benchmarks: Any) -> None:
    limits = benchmarks.measure.Limits(1, 1.2)
    ours = ratio_table(benchmarks.measure, "vmfa", [1.1], limits)
    peer = ratio_table(benchmarks.measure, "pyotp", [14.26])
    private = ratio_table(benchmarks.measure, "libpass, private HOTP", [0.9])
    stored = [table.stored() for table in (ours, peer, private)]
    assert benchmarks.report.sections(stored) == {
        "codes": {
            "head": ["question", "floor", "pyotp", "vmfa", "reach", "never"],
            "rows": [["a question", "one second", "14.3", "1.10", "1", "1.2"]],
        }
    }
