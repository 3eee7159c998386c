"""``vmfa policy`` and ``vmfa selftest``, and the environment that a report names."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import ssl
import sys
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from math import inf
from types import SimpleNamespace
from typing import TYPE_CHECKING, NoReturn

import pytest

from vmfa import Parameters, Policy, selftest
from vmfa.analysis import report
from vmfa.installation import vmfa_commit
from vmfa.self_test import computed_by

if TYPE_CHECKING:
    from conftest import Terminal

RULE_ID = re.compile(r"\b(SEED|RULE|RFC\d+|SP80063B|ASVS5)-")

START = 8 + len(computed_by())  # the first line below the environment and the primitives


def content_of(text: str) -> list[str]:
    """Return the lines of a report between the primitives and the policy."""
    return [line for line in text.splitlines()[START:-1] if not line.startswith("policy: ")]


# The environment


@pytest.mark.parametrize("command", [["selftest"], ["policy"]])
def test_a_report_starts_with_what_it_depends_on(terminal: Terminal, command: list[str]) -> None:
    expected = {
        "vmfa": version("vmfa"),
        "commit": vmfa_commit(),
        "time": "2023-11-14T22:13:30Z",
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl": ssl.OPENSSL_VERSION,
    }
    environment = terminal.json(*command)["environment"]
    assert environment.pop("fips") in {"on", "off", "unknown"}
    assert environment == expected
    lines = terminal.run(*command).out.splitlines()
    assert [line.split(None, 1) for line in lines[:7]] == [
        [f"{name}:", text] for name, text in expected.items()
    ]
    assert re.fullmatch("fips: +(on|off|unknown)", lines[7])
    assert lines[8:START] == [f"{name}: computed by {module}" for name, module in computed_by()]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["selftest"], Policy()),
        (["policy"], Policy()),
        (["policy", "--strict"], Policy.strict()),
        (["policy", "--set", "failure_cap=50"], Policy(failure_cap=50)),
    ],
)
def test_a_report_contains_the_policy_in_full(
    terminal: Terminal, command: list[str], expected: Policy
) -> None:
    data = terminal.json(*command)
    offers = tuple(Parameters(**offer) for offer in data["policy"].pop("offers"))
    assert Policy(**data["policy"], offers=offers) == expected
    assert data["computed_by"] == dict(computed_by())
    lines = terminal.run(*command).out.splitlines()
    limits = [line for line in lines if line.startswith("policy: ")]
    assert len(limits) == len(fields(Policy))
    assert f"policy: failure_cap = {expected.failure_cap}" in limits
    assert limits[-1] == "policy: offers = algorithm sha1, digits 6, period 30, t0 0"


@pytest.mark.parametrize("command", ["selftest", "policy"])
def test_the_digest_covers_the_rest_of_the_report(terminal: Terminal, command: str) -> None:
    *lines, last = terminal.run(command).out.splitlines(keepends=True)
    assert last == f"digest: {hashlib.sha256(''.join(lines).encode()).hexdigest()}\n"
    data = terminal.json(command)
    digest = data.pop("digest")
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    assert digest == hashlib.sha256(text.encode()).hexdigest()


def test_a_build_without_sha256_has_no_digest(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise ValueError

    monkeypatch.setattr("vmfa.cli.reports.hashlib.sha256", refuse)
    assert terminal.run("policy").out.endswith("digest: refused\n")
    assert terminal.json("policy")["digest"] == "refused"


@pytest.mark.parametrize("command", ["selftest", "policy"])
def test_a_report_is_written_to_a_file(terminal: Terminal, command: str) -> None:
    path = terminal.folder / "report"
    assert terminal.run(command, "--output", str(path)).out == ""
    assert path.read_text() == terminal.run(command).out
    again = terminal.run(command, "--output", str(path))
    assert again.code == 5
    assert again.err == "vmfa: the output file exists already and was not changed\n"


@pytest.mark.parametrize(
    ("module", "state"),
    [
        (SimpleNamespace(get_fips_mode=lambda: 1), "on"),
        (SimpleNamespace(get_fips_mode=lambda: 0), "off"),
        (SimpleNamespace(), "unknown"),
        (None, "unknown"),
    ],
)
def test_the_fips_mode_is_that_of_the_openssl_of_hashlib(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, module: object, state: str
) -> None:
    monkeypatch.setitem(sys.modules, "_hashlib", module)
    assert terminal.json("policy")["environment"]["fips"] == state


def test_a_report_without_ssl_metadata_and_host_name(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> NoReturn:
        raise PackageNotFoundError(name)

    monkeypatch.setitem(sys.modules, "ssl", None)
    monkeypatch.setattr("importlib.metadata.distribution", missing)
    monkeypatch.setattr("platform.node", lambda: "")
    environment = terminal.json("policy")["environment"]
    assert (environment["vmfa"], environment["openssl"], environment["host"]) == (
        "not installed",
        "none",
        "unknown",
    )
    assert terminal.run("--version").out == "vmfa not installed\n"


# The self-test


def test_the_self_test_lists_every_answer(terminal: Terminal) -> None:
    outcome = terminal.run("selftest")
    assert (outcome.code, outcome.err) == (0, "")
    lines = content_of(outcome.out)
    assert "ok     RFC 4226 Appendix D, counter 0" in lines
    assert lines[-1] == "passed"
    data = terminal.json("selftest")
    assert data["passed"] is True
    assert data["refused"] == []
    assert list(data) == [
        "environment", "computed_by", "passed", "refused", "answers", "policy", "digest",
    ]  # fmt: skip
    assert len(data["answers"]) == len(selftest().answers)
    assert set(data["answers"][0]) == {"source", "passed", "problem"}


def test_a_wrong_answer_fails_the_self_test(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmfa.self_test._HOTP", "755225")
    outcome = terminal.run("selftest")
    assert outcome.code == 5
    assert "WRONG  RFC 4226 Appendix D, counter 0: " in outcome.out
    assert content_of(outcome.out)[-1] == "FAILED"
    assert outcome.err.count("\n") == 1
    failed = terminal.run("selftest", "--json")
    assert (failed.data["passed"], failed.problem["reason"]) == (False, "self-test failed")


# The policy


def test_the_policy_in_text_has_chances_and_weaknesses(terminal: Terminal) -> None:
    outcome = terminal.run("policy")
    assert outcome.code == 0
    lines = content_of(outcome.out)
    result = report(Policy())
    assert lines[0] == "one guess: 3 candidates, each with a chance of at most 1.000e-06"
    assert lines[1] == "for each device:"
    assert (
        lines[2] == "1 days, 10 a day: 10 guesses, bounded by the attacker's rate: chance 3.0e-05"
    )
    assert lines[3].startswith("1 days, any rate: ")
    assert "with 12 new devices a year, each with a full budget:" in lines
    assert len([line for line in lines if line.startswith("weak: ")]) == len(result.weaknesses)
    rows = (*result.per_device, *result.reenrolling)
    assert len(lines) == 3 + len(rows) + len(result.weaknesses)


def test_the_policy_in_json(terminal: Terminal) -> None:
    data = terminal.json("policy")
    result = report(Policy())
    assert data["candidates"] == 3
    for table in ("per_device", "reenrolling"):
        rows = getattr(result, table)
        assert [row["guesses"] for row in data[table]] == [row.guesses for row in rows]
        assert [row["per_day"] for row in data[table]] == [
            None if row.per_day == inf else row.per_day for row in rows
        ]
    assert [row["setting"] for row in data["weaknesses"]] == [
        weak.setting for weak in result.weaknesses
    ]


def test_weaknesses_name_the_document_and_no_rule_id(terminal: Terminal) -> None:
    options = ("--set", "login_drift=10", "--set", "delay_cap=30", "--window", "2")
    data = terminal.json("policy", *options)
    sources = {row["setting"]: row["source"] for row in data["weaknesses"]}
    assert sources["login_drift"] == "default of vmfa"
    assert "RFC 4226, section 7.3" in {row["source"] for row in data["weaknesses"]}
    assert "OWASP ASVS 5.0, section 6.5.5" in {row["source"] for row in data["weaknesses"]}
    outcome = terminal.run("policy", *options)
    assert "weak: login_drift (default of vmfa): 10" in outcome.out
    assert not RULE_ID.search(outcome.out)
    assert not RULE_ID.search(str(data))


def test_the_strict_policy_has_fewer_weaknesses(terminal: Terminal) -> None:
    strict = terminal.json("policy", "--strict")["weaknesses"]
    assert (
        len(strict) == len(report(Policy.strict()).weaknesses) < len(report(Policy()).weaknesses)
    )


def test_the_window_and_the_sign_ins_of_the_user_can_be_changed(terminal: Terminal) -> None:
    assert terminal.json("policy", "--window", "0")["candidates"] == 1
    never = report(Policy(), sign_ins_per_day=0)
    data = terminal.json("policy", "--sign-ins", "0")
    assert [row["guesses"] for row in data["per_device"]] == [
        row.guesses for row in never.per_device
    ]


def test_the_number_of_new_devices_can_be_changed(terminal: Terminal) -> None:
    data = terminal.json("policy", "--reenrollments", "52")
    assert data["reenrollments_per_year"] == 52
    expected = report(Policy(), reenrollments_per_year=52).reenrolling
    assert [row["guesses"] for row in data["reenrolling"]] == [row.guesses for row in expected]
    text = terminal.run("policy", "--reenrollments", "52").out
    assert "with 52 new devices a year, each with a full budget:" in text


def test_any_number_of_the_policy_can_be_changed(terminal: Terminal) -> None:
    data = terminal.json("policy", "--set", "failure_cap=50", "--set", "recovery_seconds=3600")
    assert "recovery_seconds" in {weak["setting"] for weak in data["weaknesses"]}
    expected = report(Policy(failure_cap=50, recovery_seconds=3600))
    assert [row["guesses"] for row in data["per_device"]] == [
        row.guesses for row in expected.per_device
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--window", "11"],
        ["--window", "x"],
        ["--set", "login_drift"],
        ["--set", "login_drift=x"],
        ["--set", "drift=1"],
        ["--set", "login_drift=11"],
        ["--set", "binding_code_required=1"],
        ["--strict", "--window", "2"],
        ["--sign-ins", "-1"],
        ["--reenrollments", "-1"],
    ],
)
def test_a_policy_that_is_impossible_is_refused(terminal: Terminal, arguments: list[str]) -> None:
    assert terminal.run("policy", *arguments).code == 2
