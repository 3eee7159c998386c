"""The table of other systems is built from stored results of the present cases."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vmfa.conformance import CASES, Verdict
from vmfa.conformance.runner import cases_digest

ROOT = Path(__file__).parents[2]
DATA: dict[str, Any] = json.loads((ROOT / "docs/_data/conformance.json").read_text())
EXAMPLES = ROOT / "docs" / "examples" / "conformance"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "conformance", raising=False)
    import conformance

    return conformance


def test_the_page_is_built_from_the_results(program: Any) -> None:
    """If this fails, run ``python benchmarks/conformance.py --render``."""
    assert (ROOT / "docs/_generated/conformance.md").read_text() == program.render(DATA)


def test_the_results_are_those_of_the_present_cases() -> None:
    """If this fails, run ``python benchmarks/conformance.py``."""
    assert DATA["cases"] == cases_digest()
    for system in DATA["systems"].values():
        assert list(system["cases"]) == [case.id for case in CASES]
        assert {*system["cases"].values()} <= {*Verdict}
        assert system["version"]


def test_vmfa_violates_nothing() -> None:
    assert "violated" not in DATA["systems"]["vmfa"]["cases"].values()


def test_a_clause_is_linked(program: Any) -> None:
    assert program._link("RFC 6238, section 5.2") == (
        "[RFC 6238, section 5.2](https://www.rfc-editor.org/rfc/rfc6238#section-5.2)"
    )
    assert program._link("Defense in depth") == "Defense in depth"


@pytest.mark.parametrize(
    ("target", "case"),
    [
        ("libraries.py:pyotp_adapter", "replay/same-code"),
        ("libraries.py:LibpassAdapter", "throttling/ten-guesses"),
        ("django_otp_adapter.py:DjangoOtpAdapter", "input/underscore"),
        ("allauth_adapter.py:AllauthAdapter", "enrollment/code-spent"),
    ],
)
@pytest.mark.slow
def test_an_example_adapter_runs(target: str, case: str, tmp_path: Path) -> None:
    """In a process of its own, because the settings of Django are global."""
    report = tmp_path / "report.json"
    command = [
        sys.executable, "-m", "vmfa", "conformance", "run", "--python", f"{EXAMPLES}/{target}",
        "--case", case, "--write", str(report),
    ]  # fmt: skip
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    document = json.loads(report.read_text())
    assert document["conclusive"]
    assert DATA["systems"][document["system"]]["cases"][case] == "violated"
    assert document["cases"][-1]["verdict"] == "violated"


@pytest.mark.slow
def test_the_program_in_node_runs(tmp_path: Path) -> None:
    install = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(tmp_path)]
    subprocess.run([*install, "otplib@13"], check=True)
    report = tmp_path / "report.json"
    program = f"node {EXAMPLES}/node_libraries.mjs otplib {tmp_path}"
    command = [
        sys.executable, "-m", "vmfa", "conformance", "run", "--program", program,
        "--case", "vectors", "--case", "replay/same-code", "--write", str(report),
    ]  # fmt: skip
    subprocess.run(command, capture_output=True, check=False)
    document = json.loads(report.read_text())
    assert document["system"] == "otplib"
    verdicts = {case["id"]: case["verdict"] for case in document["cases"]}
    assert verdicts["vectors/rfc6238-six-digits"] == "held"
    assert verdicts["replay/same-code"] == "violated"
