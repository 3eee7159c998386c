"""``vmfa policy``: the report of ``vmfa.analysis`` on the command line."""

from __future__ import annotations

from vmfa import Policy
from vmfa.analysis import report


def test_people_read_chances_and_weaknesses(terminal):
    outcome = terminal.run("policy")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[:3] == [
        "one guess: 3 candidates, the likeliest code has a chance of 1.000e-06",
        "1 days, 10 a day: 10 guesses, bounded by the attacker's rate: chance 3.0e-05",
        "1 days, any rate: 43 guesses, bounded by the delays: chance 1.3e-04",
    ]
    assert "365 days, any rate: 282 guesses, bounded by the guess budget: chance 8.5e-04" in lines
    assert lines[-1].startswith("weak: window (ASVS5-6.5.5): a code is accepted for up to 90 s, ")
    assert len(lines) == 1 + 4 * 2 + len(report(Policy()).weaknesses)


def test_scripts_read_json(terminal):
    facts = terminal.run("policy", "--json").facts
    assert facts["candidates"] == 3
    assert [row["guesses"] for row in facts["guessing"]] == [row.guesses for row in report(Policy()).guessing]
    assert {row["per_day"] for row in facts["guessing"]} == {10, None}
    assert {weak["setting"] for weak in facts["weaknesses"]} == {
        weak.setting for weak in report(Policy()).weaknesses
    }


def test_the_strict_policy_has_fewer_weaknesses(terminal):
    facts = terminal.run("policy", "--strict", "--json").facts
    assert [weak["clause"] for weak in facts["weaknesses"]] == ["ASVS5-6.5.5"]


def test_another_window_and_another_owner(terminal):
    assert terminal.run("policy", "--window", "0", "--json").facts["candidates"] == 1
    never = terminal.run("policy", "--sign-ins", "0", "--json").facts["guessing"]
    assert max(row["guesses"] for row in never) == 100


def test_any_number_may_be_another(terminal):
    facts = terminal.run("policy", "--set", "failure_cap=50", "--set", "recovery_seconds=3600", "--json").facts
    assert ("recovery_seconds", "SEED-RECOVER") in {(weak["setting"], weak["clause"]) for weak in facts["weaknesses"]}
    never = terminal.run("policy", "--set", "failure_cap=50", "--sign-ins", "0", "--json").facts["guessing"]
    assert max(row["guesses"] for row in never) == 50


def test_impossible_values_are_refused(terminal):
    assert terminal.run("policy", "--window", "11").code == 2
    for wrong in ("login_drift", "login_drift=x", "drift=1", "login_drift=11", "binding_code_required=1"):
        assert terminal.run("policy", "--set", wrong).code == 2
    for wrong in ("login_drift", "login_drift=x"):
        told = terminal.run("policy", "--set", wrong).err
        assert told == "vmfa: --set is written FIELD=NUMBER, such as --set login_drift=1\n"
    assert terminal.run("policy", "--strict", "--window", "2").code == 2  # wider than the strict enrollment
    assert terminal.run("policy", "--sign-ins", "-1").code == 2
