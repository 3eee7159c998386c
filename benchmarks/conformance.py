"""Run the conformance kit on vmfa and on other libraries, and write the table of the docs.

    python benchmarks/conformance.py                 # installs otplib and speakeasy with npm
    python benchmarks/conformance.py --node FOLDER   # where they are installed already
    python benchmarks/conformance.py --render        # only writes the page of stored results

Needs the extra "test", Node and npm.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "docs" / "examples" / "conformance"
DATA = ROOT / "docs" / "_data" / "conformance.json"
PAGE = ROOT / "docs" / "_generated" / "conformance.md"
PACKAGES = ("otplib@13", "speakeasy@2")
PYTHON = {
    "vmfa": "vmfa.conformance.own:sqlite",
    "django-otp": f"{EXAMPLES}/django_otp_adapter.py:DjangoOtpAdapter",
    "django-allauth": f"{EXAMPLES}/allauth_adapter.py:AllauthAdapter",
    "libpass": f"{EXAMPLES}/libraries.py:LibpassAdapter",
    "pyotp": f"{EXAMPLES}/libraries.py:pyotp_adapter",
}
NODE = ("otplib", "speakeasy")
MARKS = {"held": "held", "violated": "**violated**", "not observable": "-"}
LINKS = {
    "RFC 4226": "https://www.rfc-editor.org/rfc/rfc4226#",
    "RFC 6238": "https://www.rfc-editor.org/rfc/rfc6238#",
    "NIST SP 800-63B-4": "https://pages.nist.gov/800-63-4/sp800-63b.html",
    "OWASP ASVS 5.0": "https://github.com/OWASP/ASVS/tree/master/5.0/en",
}


def audit(arguments: list[str]) -> dict[str, Any]:
    """Run the kit and return its report."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        command = [
            sys.executable, "-m", "vmfa", "conformance", "run", *arguments, "--write", str(path),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not path.exists():
            raise SystemExit(done.stderr)
        report: dict[str, Any] = json.loads(path.read_text())
    return report


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """Return what the page needs of a report."""
    return {
        "version": report["version"],
        "digest": report["digest"],
        "cases": {case["id"]: case["verdict"] for case in report["cases"]},
    }


def audit_all(node: Path) -> dict[str, Any]:
    """Return the summaries of all systems."""
    from vmfa.conformance.runner import cases_digest

    systems = {name: summary(audit(["--python", target])) for name, target in PYTHON.items()}
    for name in NODE:
        program = f"node {EXAMPLES}/node_libraries.mjs {name} {node}"
        systems[name] = summary(audit(["--program", program]))
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cases": cases_digest(),
        "systems": systems,
    }


def render(data: dict[str, Any]) -> str:
    """Return the page."""
    from vmfa.conformance import CASES, CLAUSES

    cases = {case.id: case for case in CASES}
    systems = data["systems"]
    lines = ["<!-- Built by `python benchmarks/conformance.py`. Do not edit. -->", ""]
    lines += ["<!-- summary -->", ""]
    lines += [f"Run on {data['date']} with the cases `{data['cases'][:16]}`.", ""]
    lines.append("| system | version | held | violated: MUST | SHOULD | depth | not observable |")
    lines.append("|---|---|---|---|---|---|---|")
    for name, system in systems.items():
        verdicts = system["cases"]
        violated = [cases[one].level.value for one in verdicts if verdicts[one] == "violated"]
        numbers = (
            sum(verdict == "held" for verdict in verdicts.values()), violated.count("MUST"),
            violated.count("SHOULD"), violated.count("defense in depth"),
            sum(verdict == "not observable" for verdict in verdicts.values()),
        )  # fmt: skip
        lines.append(f"| {name} | {system['version']} | {' | '.join(map(str, numbers))} |")
    lines += ["", "<!-- end -->", "", "<!-- violations -->", ""]
    lines.append(f"| case | clause | {' | '.join(systems)} |")
    lines.append("|---|---|" + "---|" * len(systems))
    for one, case in cases.items():
        found = [system["cases"].get(one, "not observable") for system in systems.values()]
        if "violated" in found:
            clause = CLAUSES[case.clauses[0]]
            marks = " | ".join(MARKS[verdict] for verdict in found)
            source = _link(clause.source)
            if case.level.value != clause.source.lower():
                source += f": {case.level}"
            lines.append(f"| `{one}` | {source} | {marks} |")
    return "\n".join([*lines, "", "<!-- end -->", ""])


def _link(source: str) -> str:
    document, _, place = source.partition(", ")
    address = LINKS.get(document)
    if address is None:
        return source
    if address.endswith("#"):
        address += place.replace("section ", "section-").replace("appendix ", "appendix-")
    return f"[{source}]({address})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--node", type=Path, help="the folder in which npm installed the packages")
    parser.add_argument("--render", action="store_true", help="run nothing")
    options = parser.parse_args()
    if not options.render:
        with tempfile.TemporaryDirectory() as folder:
            node = options.node
            if node is None:
                node = Path(folder)
                install = ["npm", "install", "--silent", "--no-fund", "--no-audit"]
                subprocess.run([*install, "--prefix", folder, *PACKAGES], check=True)
            DATA.write_text(json.dumps(audit_all(node.resolve()), indent=1) + "\n")
    PAGE.write_text(render(json.loads(DATA.read_text())))


if __name__ == "__main__":
    main()
