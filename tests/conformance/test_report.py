"""The report in its formats."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from vmfa.conformance import CASES, CaseResult, Level, Report, Verdict
from vmfa.conformance.player import Entry, Race, calls_at_once
from vmfa.conformance.report import race_sentence

BY_ID = {case.id: case for case in CASES}
ENTRY = Entry(
    at=30, operation="verify", arguments={"user": "alice", "code": "1<2>&\"'"}, result="accepted",
    text="a\x1b[31m|`b`", expected="refused", as_expected=False,
)  # fmt: skip
RACE = Race(calls=10, rounds=12, overlapped=10, at_once=4)


def result(case: str, verdict: Verdict, reason: str = "", **more: object) -> CaseResult:
    return CaseResult(case=BY_ID[case], verdict=verdict, reason=reason, **more)  # type: ignore[arg-type]


REPORT = Report(
    system="a <system>", version="1.0", kit="0.1", capabilities=("reset", "time"),
    results=(
        result("baseline/right-code", Verdict.HELD),
        result("baseline/wrong-code", Verdict.HELD),
        result("replay/same-code", Verdict.VIOLATED, "a|b <c>", transcript=(ENTRY,) * 40),
        result("replay/10-at-once", Verdict.VIOLATED, "two", transcript=(ENTRY,), race=RACE),
        result("replay/other-node", Verdict.NOT_OBSERVABLE, "capability nodes"),
        result("window/two-steps-back", Verdict.HELD),
        result("window/two-steps-ahead", Verdict.NOT_OBSERVABLE, "a control failed"),
        result("window/drift-is-limited", Verdict.NOT_OBSERVABLE, "capability time"),
        result("removal/password-only", Verdict.VIOLATED, "verify"),
        result("input/number", Verdict.VIOLATED, "verify"),
    ),
    measurements=("a measurement",),
)  # fmt: skip


class TestVerdicts:
    def test_a_clause_is_violated_held_or_not_observable(self) -> None:
        clauses = {clause.id: verdict for clause, verdict, _ in REPORT.clauses()}
        assert clauses["RFC6238-5.2-ONCE"] is Verdict.VIOLATED
        assert clauses["RFC6238-5.2-ONESTEP"] is Verdict.HELD
        assert clauses["RULE-DRIFT"] is Verdict.NOT_OBSERVABLE
        assert "RFC4226-E4-RCP" not in clauses

    def test_violations_are_chosen_by_level(self) -> None:
        assert len(REPORT.violated()) == 4
        assert [one.case.id for one in REPORT.violated(Level.SHOULD)] == ["removal/password-only"]
        assert len(REPORT.violated(Level.MUST, Level.SHOULD)) == 3

    def test_a_report_without_a_held_baseline_is_not_conclusive(self) -> None:
        assert REPORT.conclusive
        assert not replace(REPORT, results=REPORT.results[2:]).conclusive
        first = result("baseline/right-code", Verdict.NOT_OBSERVABLE)
        other = replace(REPORT, results=(first, *REPORT.results[1:]))
        assert not other.conclusive
        assert "**Not conclusive**" in other.markdown()
        assert any(line.startswith("not conclusive") for line in other.summary())

    def test_the_digest_covers_verdicts_and_no_transcripts(self) -> None:
        again = replace(
            REPORT,
            results=tuple(replace(one, transcript=(), race=None) for one in REPORT.results),
        )
        assert again.digest == REPORT.digest
        changed = replace(REPORT.results[2], verdict=Verdict.HELD)
        other = replace(REPORT, results=(*REPORT.results[:2], changed, *REPORT.results[3:]))
        assert other.digest != REPORT.digest
        assert replace(REPORT, version="1.1").digest != REPORT.digest

    def test_an_empty_report_has_a_summary(self) -> None:
        assert replace(REPORT, results=()).summary()[0] == "a <system> 1.0"


class TestFormats:
    def test_the_summary(self) -> None:
        lines = REPORT.summary()
        assert lines[3].split(maxsplit=3) == ["violated", "MUST", "replay/same-code", "a|b <c>"]
        assert lines[-3:] == [
            "a measurement", "3 held, 4 violated, 3 not observable", f"digest {REPORT.digest}",
        ]  # fmt: skip

    def test_the_transcript(self) -> None:
        line = REPORT.results[3].transcript_lines()[0]
        assert line == (
            '   1.      +30 s  verify(user="alice", code="1<2>&\\"\'") -> accepted (a\x1b[31m|`b`)'
            "  [expected: refused; NOT AS EXPECTED]"
        )
        lines = REPORT.results[2].transcript_lines(30)
        assert lines[0] == "      (10 earlier lines)"
        assert len(lines) == 31
        assert len(REPORT.results[2].transcript_lines()) == 40

    def test_json_has_everything(self) -> None:
        document = json.loads(REPORT.json())
        assert document["digest"] == REPORT.digest
        assert len(document["cases"][2]["transcript"]) == 40
        assert document["cases"][3]["race"] == {
            "calls": 10, "rounds": 12, "overlapped": 10, "at_once": 4,
        }  # fmt: skip
        assert document["cases"][0]["race"] is None
        assert document["clauses"][0].keys() == {"id", "source", "says", "verdict", "cases"}
        assert "test accounts" in document["notice"]

    def test_markdown(self) -> None:
        text = REPORT.markdown()
        assert "# Conformance of a &lt;system> 1.0" in text
        assert (
            "| RFC 6238, section 5.2 (`RFC6238-5.2-ONCE`) | A code is not accepted a second time. "
            "| violated | 2 violated, 1 not observable |"
        ) in text
        assert "| replay/same-code | MUST | violated | a\\|b &lt;c> |" in text
        assert "Repeat it with the same adapter: `--case replay/same-code`" in text
        assert race_sentence(RACE) in text
        assert "a measurement" in text
        assert text.count("```") == 8  # no transcript ends its block

    def test_junit(self) -> None:
        suite = ET.fromstring(REPORT.junit())
        assert suite.attrib == {
            "name": "conformance of a <system>", "tests": "10", "failures": "4", "skipped": "3",
            "errors": "0",
        }  # fmt: skip
        (failure,) = (case for case in suite if case.get("name") == "replay/same-code")
        assert failure[0].tag == "failure"
        assert failure[0].get("message") == "a|b <c>"
        assert "\N{REPLACEMENT CHARACTER}[31m" in str(failure[0].text)
        assert [case[0].tag if len(case) else "held" for case in suite].count("skipped") == 3


def test_the_evidence_is_a_sentence() -> None:
    assert race_sentence(RACE) == (
        "10 calls at once, 12 rounds; calls overlapped in 10 of them, at most 4 at the same time."
    )


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([(0, 10), (10, 20)], 1),
        ([(0, 11), (10, 20)], 2),
        ([(0, 100), (10, 20), (15, 30)], 3),
        ([(0, 10), (None, 20)], 0),
        ([(0, 10), (5, None)], 0),
        ([], 0),
    ],
)
def test_calls_that_overlap_are_counted(times: list[tuple[int, int]], expected: int) -> None:
    from vmfa.conformance import Answer, Result, TimedAnswer

    answer = Answer(result=Result.ACCEPTED)
    timed = [TimedAnswer(answer=answer, started=start, ended=end) for start, end in times]
    assert calls_at_once(timed) == expected
