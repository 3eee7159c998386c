"""Every case is complete data, and any single deviation from it is judged as it should be."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from vmfa import hotp, totp
from vmfa.conformance import CAPABILITIES, CASES, CLAUSES, Adapter, Answer, Case, Level, Result
from vmfa.conformance.adapter import Call, TimedAnswer
from vmfa.conformance.codes import FORMS, START, TEST_KEYS, Device
from vmfa.conformance.player import NotObservable, Violated
from vmfa.conformance.runner import _Recorder, cases_digest, chosen_cases, vectors
from vmfa.conformance.steps import EXPECTATIONS, Step
from vmfa.errors import InvalidValue

ROOT = Path(__file__).parents[2]
DOCUMENTED = tomllib.loads((ROOT / "docs" / "clauses.toml").read_text())
BINDING = {"MUST", "SHALL", "MUST NOT"}


def all_steps(steps: tuple[Step, ...]) -> list[Step]:
    """Return *steps* and those inside of them."""
    found = []
    for step in steps:
        found += [step, *all_steps(step.steps), *all_steps(step.before)]
    return found


class TestData:
    def test_ids_are_unique_and_the_baseline_comes_first(self) -> None:
        ids = [case.id for case in CASES]
        assert len({*ids}) == len(ids)
        assert {case.group for case in CASES[:2]} == {"baseline"}

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
    def test_a_case_is_complete(self, case: Case) -> None:
        assert case.title.endswith(".")
        assert case.why.endswith(".")
        assert case.clauses
        for choice in case.requires:
            assert {*choice.split("|")} <= CAPABILITIES.keys()
        for step in all_steps(case.steps):
            assert step.expect in EXPECTATIONS
            assert hasattr(Adapter, step.do) or hasattr(_Recorder, f"_do_{step.do}")
            assert all(code.form in FORMS for code in step.code)

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
    def test_a_case_is_not_stricter_than_its_clauses(self, case: Case) -> None:
        levels = {DOCUMENTED[clause]["level"] for clause in case.clauses}
        if case.level is Level.MUST and case.group != "baseline":
            words = {word for level in levels for word in level.replace(",", "").split()}
            assert words & {"MUST", "SHALL", "L1", "L2", "text"}, levels
        if case.level is not Level.DEPTH:
            assert levels != {"rule"}

    def test_every_clause_is_documented_and_checked(self) -> None:
        assert CLAUSES.keys() <= DOCUMENTED.keys()
        assert {name for case in CASES for name in case.clauses} == CLAUSES.keys()

    def test_every_capability_is_used(self) -> None:
        needed = {name for case in CASES for choice in case.requires for name in choice.split("|")}
        assert CAPABILITIES.keys() <= needed | {"reset"}

    def test_every_expectation_and_form_is_used(self) -> None:
        steps = [step for case in CASES for step in all_steps(case.steps)]
        assert {step.expect for step in steps} == EXPECTATIONS.keys()
        assert {code.form for step in steps for code in step.code} == FORMS.keys()

    def test_a_group_or_a_case_can_be_chosen(self) -> None:
        assert [case.id for case in chosen_cases(["replay/same-code"])] == [
            "baseline/right-code", "baseline/wrong-code", "replay/same-code",
        ]  # fmt: skip
        assert {case.group for case in chosen_cases(["uri"])} == {"baseline", "uri"}
        assert chosen_cases() == list(CASES)

    def test_an_unknown_case_is_named(self) -> None:
        with pytest.raises(InvalidValue, match="no case and no group has the name 'replay/x'"):
            chosen_cases(["replay/x"])


class TestCodes:
    @pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
    def test_the_kit_and_the_library_compute_the_same_codes(self, algorithm: str) -> None:
        key = TEST_KEYS[f"rfc-{algorithm}"]
        device = Device(key=key, algorithm=algorithm, digits=8, period=60, t0=7)
        for now in (START, 20_000_000_000):
            parameters = {"algorithm": algorithm, "digits": 8, "period": 60, "t0": 7}
            assert device.code(device.step(now)) == totp(key, now, **parameters)
        assert device.code(2**64 - 1) == hotp(key, 2**64 - 1, digits=8, algorithm=algorithm)

    def test_a_secret_is_read_as_systems_write_it(self) -> None:
        device = Device(key=b"12345678901234567")
        spaced = " ".join(device.secret[i : i + 4] for i in range(0, 28, 4)).lower() + "===="
        assert Device.from_secret(spaced) == device
        with pytest.raises(InvalidValue, match="not Base32"):
            Device.from_secret("0189")

    def test_wrong_codes_differ_and_are_shown_at_no_near_step(self) -> None:
        device = Device(key=TEST_KEYS["one"])
        step = device.step(START)
        wrong = device.wrong_codes(START)
        codes = [next(wrong) for _ in range(500)]
        assert len({*codes}) == 500
        assert not {*codes} & {device.code(step + offset) for offset in range(-40, 41)}

    def test_wrong_codes_skip_a_code_of_a_near_step(self) -> None:
        device = Device(key=TEST_KEYS["one"], digits=1)
        near = {device.code(device.step(START) + offset) for offset in range(-40, 41)}
        assert {*device.wrong_codes(START)} == {*"0123456789"} - near


class Deviating(_Recorder):
    """Answers as a conforming system, but for one call."""

    def __init__(self, position: int = -1, result: Result = Result.ERROR) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self._position, self._result = position, result

    def answer(self, call: Call, step: Step) -> Answer:
        answer = super().answer(call, step)
        self.steps.append(step)
        if len(self.steps) - 1 == self._position:
            return Answer(result=self._result, text="another answer")
        return answer


def judged(case: Case, position: int, result: Result) -> str:
    try:
        Deviating(position, result).play(case)
    except NotObservable:
        return "not observable"
    except Violated:
        return "violated"
    return "held"


def deviation(step: Step) -> Result | None:
    """Return a result that *step* does not expect and that is an answer; None if all are."""
    if step.expect == "answered":
        return Result.FAILED
    wanted = EXPECTATIONS[step.expect]
    candidates = (Result.ACCEPTED, Result.REJECTED)
    return next((result for result in candidates if result not in wanted), None)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_one_deviation_changes_the_verdict(case: Case) -> None:
    """A check that fails is a violation; a control or an answer that fails hides the rest."""
    conforming = Deviating()
    conforming.play(case)
    steps = conforming.steps
    for position in sorted({*range(12), *range(len(steps) - 6, len(steps))}):
        if not 0 <= position < len(steps):
            continue
        step = steps[position]
        assert judged(case, position, Result.ERROR) == "not observable"
        assert judged(case, position, Result.UNSUPPORTED) == "not observable"
        other = deviation(step)
        if other is not None:
            expected = "not observable" if step.control else "violated"
            assert judged(case, position, other) == expected, (position, step)
        if step.expect == "refused" and not step.control:
            assert judged(case, position, Result.FAILED) == "not observable"


CHECKING = ("at_once", "scan", "distinct_keys", "same")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_case_has_a_check_and_a_control(case: Case) -> None:
    """Without a control, a system that never accepts would hold a case of refusals."""
    recorder = Deviating()
    recorder.play(case)
    checks = [step for step in recorder.steps if not step.control and step.do != "reset"]
    assert checks or any(step.do in CHECKING for step in all_steps(case.steps))
    if any(step.expect in {"refused", "not accepted"} for step in checks):
        accepted = [step for step in recorder.steps if step.expect == "accepted"]
        assert any(step.do in {"verify", "confirm", "provision"} for step in accepted)


class TestVectors:
    DOCUMENT = vectors()

    def test_they_are_json_and_the_same_each_time(self) -> None:
        assert json.loads(json.dumps(self.DOCUMENT)) == json.loads(json.dumps(vectors()))

    def test_every_case_has_calls_with_fixed_codes(self) -> None:
        for case in self.DOCUMENT["cases"]:  # type: ignore[attr-defined]
            assert case["calls"], case["id"]
        (same_code,) = vectors(["replay/same-code"])["cases"][2:]  # type: ignore[index]
        codes = [
            call["arguments"]["code"] for call in same_code["calls"]
            if call["operation"] == "verify"
        ]
        device = Device(key=TEST_KEYS["one"])
        now = device.step(START)
        assert codes == [device.code(now), device.code(now), device.code(now + 1)]

    def test_calls_at_once_have_their_limits(self) -> None:
        (case,) = vectors(["replay/2-at-once"])["cases"][2:]  # type: ignore[index]
        race = next(call for call in case["calls"] if "at_once" in call)
        assert len(race["at_once"]) == 2
        assert (race["accepted_at_least"], race["accepted_at_most"]) == (1, 1)

    def test_equal_results_are_grouped(self) -> None:
        (case,) = vectors(["input/unknown-user"])["cases"][2:]  # type: ignore[index]
        (group,) = (call for call in case["calls"] if "equal_results" in call)
        assert [call["operation"] for call in group["equal_results"]] == ["verify", "verify"]

    def test_a_guess_limit_is_relative(self) -> None:
        (case,) = vectors(["throttling/at-once-evaluated"])["cases"][2:]  # type: ignore[index]
        assert any("evaluated_at_most" in call for call in case["calls"])

    def test_a_begun_enrollment_returns_a_fixed_key(self) -> None:
        (case,) = vectors(["enrollment/keys-differ"])["cases"][2:]  # type: ignore[index]
        secrets = [call["returns"]["secret"] for call in case["calls"] if "returns" in call]
        assert len({*secrets}) == len(secrets) == 3

    def test_the_digest_changes_with_a_case(self) -> None:
        assert cases_digest() == self.DOCUMENT["digest"]
        assert cases_digest(CASES[1:]) != cases_digest()


class TestRaces:
    CASE = next(case for case in CASES if case.id == "replay/10-at-once")

    def race(self, accepted: int, *, ended: int = 10) -> str:
        class Racing(_Recorder):
            def answer_at_once(self, calls: list[Call], step: Step) -> list[TimedAnswer]:  # type: ignore[override]
                return [
                    TimedAnswer(
                        answer=Answer.of(position < accepted),
                        started=position * 10, ended=position * 10 + ended,
                    )
                    for position in range(len(calls))
                ]

        player = Racing()
        try:
            player.play(self.CASE)
        except (NotObservable, Violated) as problem:
            return f"{type(problem).__name__}: {problem}"
        assert player.race is not None
        return f"held, {player.race}"

    def test_calls_that_overlap_are_evidence(self) -> None:
        assert self.race(1, ended=25) == (
            "held, Race(calls=10, rounds=10, overlapped=10, at_once=3)"
        )

    def test_calls_one_after_the_other_are_not(self) -> None:
        assert self.race(1, ended=10) == (
            "NotObservable: calls overlapped in 0 of 200 rounds; 10 are needed"
        )

    def test_two_accepted_calls_are_a_violation_even_then(self) -> None:
        expected = "Violated: 2 of 10 calls at the same time were accepted"
        assert self.race(2, ended=10) == expected

    def test_a_round_in_which_nothing_is_accepted_shows_nothing(self) -> None:
        assert self.race(0, ended=25) == "NotObservable: a control failed: 0 calls were accepted"
