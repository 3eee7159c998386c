"""Write the report of all benchmarks, compare it with the limits, and render it for the docs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import fragments
from measure import PEERS

Report = dict[str, Any]
StoredTable = dict[str, Any]
TITLES: Final = {
    "otp": "Codes",
    "verify": "Verification in memory",
    "sqlite": "Verification, SQLite",
    "postgres": "Verification, PostgreSQL",
    "django_store": "Verification through Django",
    "sqlalchemy_store": "Verification, SQLAlchemy",
    "scale": "Scale",
    "migration": "Import of devices",
    "size": "Size",
    "imports": "Import time and memory",
    "timing": "Timing leaks",
    "guess": "Attackers",
    "simulate": "Users",
}
FRAGMENTS: Final = {  # of the documentation, with the scripts whose results they show
    "performance": ("otp", "verify", "sqlite", "postgres", "scale", "size", "imports", "timing"),
    "simulations": ("simulate", "guess"),
}
COLUMNS: Final = (*PEERS, "vmfa", "SQLite", "PostgreSQL")  # cases that the docs show


def load(path: Path) -> Report:
    report: Report = json.loads(path.read_text(encoding="utf-8"))
    return report


def problems(report: Report) -> list[str]:
    """Return the scripts that failed, the ratios beyond a limit, and other unmet requirements."""
    failed = [f"{script}.py failed" for script in report["failed"]]
    return failed + [
        problem
        for tables in report["tables"].values()
        for table in tables
        for problem in table["problems"]
    ]


def markdown(report: Report, plots: Sequence[Path]) -> str:
    lines = [
        "# Benchmarks", "", f"{report['environment']}.", "", f"Peers: {report['peers']}.", ""
    ]  # fmt: skip
    for script, tables in report["tables"].items():
        lines += [f"## {TITLES[script]}", ""]
        for table in tables:
            lines += [f"### {table['title']}", "", *markdown_table(table["head"], table["cells"])]
            lines += ["", *table["notes"], ""]
        lines += [f"![{p.stem}]({p.name})\n" for p in plots if p.name.startswith(f"{script}-")]
    return "\n".join(lines)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


def write_docs(report: Report, folder: Path) -> list[str]:
    """Write the fragments whose scripts are all in *report*, and copy their plots from *folder*.

    :returns: the names of these fragments.
    """
    written = []
    for name, scripts in FRAGMENTS.items():
        if not set(scripts) <= report["tables"].keys():
            continue
        tables = [table for script in scripts for table in report["tables"][script]]
        environment = report["environment"]
        if name == "performance":
            environment += f"; {report['peers']}"
        run = fragments.StoredRun(environment=environment, tables=sections(tables))
        fragments.write(name, run)
        for script in scripts:
            for plot in folder.glob(f"{script}-*.svg"):
                shutil.copy(plot, fragments.DOCS / "_static")
        written.append(name)
    return written


def sections(tables: Sequence[StoredTable]) -> dict[str, fragments.StoredTable]:
    """Return the tables of the documentation by their section."""
    by_section: dict[str, list[StoredTable]] = {}
    for table in tables:
        if table["section"]:
            by_section.setdefault(table["section"], []).append(table)
    return {
        section: ratio_section(parts)
        if "ratios" in parts[0]
        else fragments.StoredTable(head=parts[0]["head"], rows=parts[0]["cells"])
        for section, parts in by_section.items()
    }


def ratio_section(tables: Sequence[StoredTable]) -> fragments.StoredTable:
    """Return one row for each question, and one column for each peer that answers one of them."""
    questions: dict[str, dict[str, Mapping[str, Any]]] = {}
    floors: dict[str, str] = {}
    for table in tables:
        floors[table["question"]] = table["floor"]
        ratios = questions.setdefault(table["question"], {})
        ratios |= {ratio["case"]: ratio for ratio in table["ratios"]}
    columns = [
        column
        for column in COLUMNS
        if any(column in ratios for ratios in questions.values())
    ]
    rows = []
    for question, ratios in questions.items():
        cells = [
            readable_ratio(ratios[column]["ratio"]) if column in ratios else ""
            for column in columns
        ]
        limited = [ratio for ratio in ratios.values() if ratio["never"] is not None]
        limits = [f"{limited[0][name]:g}" if limited else "" for name in ("reach", "never")]
        rows.append([question, floors[question], *cells, *limits])
    return fragments.StoredTable(head=["question", "floor", *columns, "reach", "never"], rows=rows)


def readable_ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"
