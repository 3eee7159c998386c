"""Systems that are far from conforming are judged sensibly, and nothing unobserved is held."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest

from vmfa import MemoryStore, verify_hotp, verify_totp
from vmfa.conformance import (
    TEST_KEYS,
    Adapter,
    Answer,
    Call,
    Case,
    FunctionAdapter,
    Report,
    Result,
    TimedAnswer,
    Verdict,
    run,
)
from vmfa.conformance.adapter import OK, _pausing_profile
from vmfa.conformance.codes import START, Device
from vmfa.conformance.own import RegistryAdapter, memory
from vmfa.conformance.player import Player
from vmfa.conformance.runner import _measure, kit_version
from vmfa.conformance.steps import Code, Level, Step
from vmfa.errors import CodeRejected, InvalidValue

STATELESS = ("replay", "throttling", "window", "vectors", "lock-out")
GROUPS = ["replay", "throttling", "window"]


def verdicts(report: Report) -> dict[str, Verdict]:
    return {result.case.id: result.verdict for result in report.results}


def function(verify: Any, *groups: str) -> Report:
    return run(FunctionAdapter(verify, name="a function", version="1"), groups or GROUPS)


def current_or_previous(secret: str, code: str, now: int) -> bool:
    """Accept the codes of the present and of the previous step, without any state."""
    device = Device.from_secret(secret)
    return code in {device.code(device.step(now)), device.code(device.step(now) - 1)}


class TestWithoutJudgment:
    def test_always_yes_violates_the_baseline_and_shows_nothing_else(self) -> None:
        report = function(lambda *_: True)
        assert verdicts(report).pop("baseline/right-code") is Verdict.HELD
        assert [result.case.id for result in report.violated()] == ["baseline/wrong-code"]
        assert report.count(Verdict.HELD) == 1
        assert not report.conclusive

    def test_always_no_violates_the_baseline_and_holds_nothing(self) -> None:
        report = function(lambda *_: False)
        assert [result.case.id for result in report.violated()] == ["baseline/right-code"]
        assert report.count(Verdict.HELD) == 0
        assert not report.conclusive
        reasons = {result.reason for result in report.results[1:]}
        assert reasons == {"baseline/right-code is violated"}

    @pytest.mark.parametrize("seed", range(5))
    def test_random_answers_violate_the_baseline(self, seed: int) -> None:
        draw = random.Random(seed)
        report = function(lambda *_: draw.random() < 0.5)
        assert not report.conclusive
        assert {result.case.group for result in report.violated()} == {"baseline"}
        others = [result for result in report.results if result.case.group != "baseline"]
        assert {result.verdict for result in others} == {Verdict.NOT_OBSERVABLE}

    def test_internal_errors_are_not_refusals(self) -> None:
        def broken(*_: object) -> bool:
            raise RuntimeError

        report = function(broken)
        assert not report.conclusive
        assert report.results[0].reason == "verify: failed, expected accepted"
        assert report.count(Verdict.HELD) == 0

    def test_an_adapter_that_fails_shows_nothing(self) -> None:
        class Failing(Adapter):
            capabilities = frozenset({"reset", "time", "provision"})

            def reset(self) -> Answer:
                raise OSError("no route to host")

        report = run(Failing())
        assert {result.verdict for result in report.results} == {Verdict.NOT_OBSERVABLE}
        assert report.results[0].reason == "no answer to reset: OSError: no route to host"

    def test_an_adapter_without_capabilities_shows_nothing(self) -> None:
        report = run(Adapter(), ["replay/same-code"])
        assert {result.verdict for result in report.results} == {Verdict.NOT_OBSERVABLE}
        assert report.results[0].reason == "the system does not support this provision"

    def test_an_unknown_capability_is_named(self) -> None:
        class Misspelled(Adapter):
            capabilities = frozenset({"rest"})

        with pytest.raises(InvalidValue, match="no capability has the name 'rest'"):
            run(Misspelled())


@pytest.fixture(scope="module")
def report() -> Report:
    return function(current_or_previous, *STATELESS)


class TestWithoutState:
    """A function that compares codes: right about codes and windows, wrong about their use."""

    def test_it_is_conclusive(self, report: Report) -> None:
        assert report.conclusive

    @pytest.mark.parametrize(
        "case",
        [
            "replay/same-code", "replay/one-step-later", "replay/other-session",
            "replay/2-at-once", "replay/10-at-once", "replay/50-at-once",
            "throttling/ten-guesses", "throttling/hundred-guesses", "throttling/at-once",
            "throttling/hundred-patient-guesses", "throttling/many-sessions",
        ],
    )  # fmt: skip
    def test_what_needs_state_is_violated(self, report: Report, case: str) -> None:
        assert verdicts(report)[case] is Verdict.VIOLATED

    @pytest.mark.parametrize(
        "case",
        [
            "vectors/rfc6238-six-digits", "vectors/beyond-32-bits", "window/previous-step",
            "window/two-steps-back", "window/two-steps-ahead", "window/eight-hours",
            "lock-out/heals", "lock-out/other-user",
        ],
    )  # fmt: skip
    def test_what_needs_none_is_held(self, report: Report, case: str) -> None:
        assert verdicts(report)[case] is Verdict.HELD

    @pytest.mark.parametrize(
        ("case", "reason"),
        [
            ("vectors/rfc6238-sha256", "capability digits, algorithms"),
            ("replay/after-restart", "capability restart"),
            (
                "replay/after-an-earlier-code",
                "a control failed: verify: rejected, expected accepted",
            ),
        ],
    )
    def test_the_rest_is_not_observable(self, report: Report, case: str, reason: str) -> None:
        (result,) = [result for result in report.results if result.case.id == case]
        assert (result.verdict, result.reason) == (Verdict.NOT_OBSERVABLE, reason)

    def test_two_runs_have_the_same_digest(self, report: Report) -> None:
        assert function(current_or_previous, *STATELESS).digest == report.digest


class HotpAdapter(FunctionAdapter):
    """The stateless functions of vmfa, with what the application has to store."""

    capabilities = frozenset({"reset", "time", "provision", "hotp"})

    def __init__(self, *, look_back: int = 0, look_ahead: int = 3) -> None:
        super().__init__(lambda *_: False, name="HOTP")
        self._look_back, self._look_ahead = look_back, look_ahead
        self._counters: dict[str, int] = {}
        self._steps: dict[str, int] = {}

    def reset(self) -> Answer:
        self._counters.clear()
        self._steps.clear()
        return super().reset()

    def provision(self, user: str, secret: str, **parameters: Any) -> Answer:
        if "counter" in parameters:
            counter = parameters.pop("counter")
            if counter < 0:
                return Answer.of(False)
            self._counters[user] = counter
        return super().provision(user, secret, **parameters)

    def verify(
        self, user: str, code: object, session: str = "", node: str = "", path: str = ""
    ) -> Answer:
        key = Device.from_secret(self._secrets[user]).key
        text: Any = code
        try:
            if user not in self._counters:
                after = self._steps.get(user, -1)
                self._steps[user] = verify_totp(key, text, self._now, after=after)
                return OK
            counter = max(0, self._counters[user] - self._look_back)
            found = verify_hotp(key, text, counter=counter, look_ahead=self._look_ahead)
            self._counters[user] = max(found + 1, self._counters[user])
        except CodeRejected:
            return Answer.of(False)
        return OK


class TestCounters:
    def test_the_functions_of_vmfa_hold_every_case(self) -> None:
        report = run(HotpAdapter(), ["hotp"])
        assert {result.verdict for result in report.results} == {Verdict.HELD}

    def test_a_look_back_is_caught(self) -> None:
        report = run(HotpAdapter(look_back=2), ["hotp"])
        assert [result.case.id for result in report.violated()] == [
            "hotp/same-counter", "hotp/previous-counter", "hotp/skipped-counter",
        ]  # fmt: skip

    def test_a_wide_window_is_caught(self) -> None:
        report = run(HotpAdapter(look_ahead=100), ["hotp"])
        assert report.violated() == []  # 500 counters ahead are more than any window of vmfa


class TestSystemsThatTellLess:
    """Adapters of vmfa that hide or change one thing."""

    @pytest.fixture
    def adapter(self) -> Iterator[RegistryAdapter]:
        adapter = memory()
        yield adapter
        adapter.close()

    def test_a_system_that_only_enrolls_is_enrolled(self, adapter: RegistryAdapter) -> None:
        adapter.capabilities -= {"provision"}
        report = run(adapter, ["replay/same-code", "removal"])
        assert report.conclusive
        assert report.violated() == []
        operations = {entry.operation for entry in report.results[2].transcript}
        assert {"begin", "confirm"} <= operations
        assert "provision" not in operations

    def test_a_system_without_a_reset_gets_new_accounts(self, adapter: RegistryAdapter) -> None:
        adapter.capabilities -= {"reset"}
        report = run(adapter, ["replay/same-code", "storage/copied-row"])
        held = [result.case.id for result in report.results if result.verdict is Verdict.HELD]
        assert held == [
            "baseline/right-code", "baseline/wrong-code", "replay/same-code", "storage/copied-row",
        ]  # fmt: skip
        users = {
            entry.arguments["user"]
            for result in report.results for entry in result.transcript
            if "user" in entry.arguments
        }
        # One for each case, for each reset inside of a case, and for the target of the copy.
        assert len(users) == 4 + 8
        assert all(str(user).startswith(("alice-", "bob-")) for user in users)

    def test_a_system_that_names_no_key_is_not_observable(self, adapter: Any) -> None:
        adapter.begin = lambda **_: Answer(result=Result.ACCEPTED, secret="1", enrollment="e")
        report = run(adapter, ["enrollment/key-length"])
        assert report.results[-1].reason == "the key that the system returned is not Base32"

    @pytest.mark.parametrize(
        ("secrets", "reason"),
        [
            (["AEBAGBAFAYDQQCIKBMGA2DQPCA"] * 3, "two enrollments have the same key"),
            (["AEBAGBAFAYDQQCI", "AEBAGBAFAYDQQCQ", "AEBAGBAFAYDQQCY"], ""),
        ],
    )
    def test_the_keys_of_enrollments_are_compared(
        self, adapter: Any, secrets: list[str], reason: str
    ) -> None:
        queue = iter(secrets * 2)
        adapter.begin = lambda **_: Answer(result=Result.ACCEPTED, secret=next(queue))
        report = run(adapter, ["enrollment/keys-differ", "enrollment/key-length"])
        assert report.results[2].reason == reason
        if not reason:
            assert report.results[3].reason == "a key has 72 bits"

    def test_other_answers_for_unknown_users_are_caught(self, adapter: Any) -> None:
        verify = adapter.verify

        def talkative(user: str, **arguments: Any) -> Answer:
            if user == "carol":
                return Answer(result=Result.DENIED)
            answer: Answer = verify(user, **arguments)
            return answer

        adapter.verify = talkative
        report = run(adapter, ["input/unknown-user"])
        assert report.results[-1].reason == "different answers: denied, rejected"

    def test_a_second_path_that_does_not_use_codes_up_is_caught(self, adapter: Any) -> None:
        verify = adapter.verify

        def second_path(**arguments: Any) -> Answer:
            answer: Answer = verify(**arguments)
            used = arguments.get("path") and answer.result is Result.USED
            return OK if used else answer

        adapter.verify = second_path
        report = run(adapter, ["replay"])
        assert [result.case.id for result in report.violated()] == ["replay/other-path"]

    @pytest.mark.parametrize(
        ("where", "text", "case", "reason"),
        [
            ("logs", "{secret}", "key-in-logs", "the logs contain the key, in Base32"),
            ("logs", "code {code}.", "codes-in-logs", "the logs contain the code {code}"),
            ("logs", " ", "key-in-logs", "the system returned no logs"),
            ("rows", "x'{hex}'", "key-in-rows", "the rows contain the key, in hexadecimal"),
            ("rows", "{raw}", "key-in-rows", "the rows contain the key, in raw bytes"),
            ("rows", "{base64}", "key-in-rows", "the rows contain the key, in Base64"),
        ],
    )
    def test_secrets_are_found(
        self, adapter: Any, where: str, text: str, case: str, reason: str
    ) -> None:
        adapter.capabilities |= {"rows"}
        begin, verify = adapter.begin, adapter.verify
        seen: dict[str, str] = {"code": ""}

        def noting_begin(**arguments: Any) -> Answer:
            answer: Answer = begin(**arguments)
            spellings = Device.from_secret(answer.secret).spellings()
            seen.update(
                secret=answer.secret, hex=spellings["hexadecimal"], raw=spellings["raw bytes"],
                base64=spellings["Base64"],
            )
            return answer

        def noting_verify(**arguments: Any) -> Answer:
            seen["code"] = str(arguments["code"])
            answer: Answer = verify(**arguments)
            return answer

        adapter.begin, adapter.verify = noting_begin, noting_verify
        setattr(
            adapter, where,
            lambda: Answer(result=Result.ACCEPTED, text=text.format(**seen)),
        )  # fmt: skip
        report = run(adapter, [f"secrets/{case}"])
        assert report.results[-1].reason == reason.format(**seen)

    def test_a_key_in_an_answer_is_found(self, adapter: Any) -> None:
        verify = adapter.verify

        def talkative(**arguments: Any) -> Answer:
            answer: Answer = verify(**arguments)
            return Answer(result=answer.result, text=Device(key=b"vmfa conformance #1.").secret)

        adapter.verify = talkative
        report = run(adapter, ["secrets/key-in-answers"])
        assert report.results[-1].reason == "the answers contain the key, in Base32"

    def test_silent_answers_show_nothing(self) -> None:
        report = function(current_or_previous, "secrets/key-in-answers")
        assert report.results[-1].reason == "the system returned no answers"


class TestGuessesAtOnce:
    """Guesses at the same time are compared with the same guesses one after the other."""

    CASE = "throttling/at-once-evaluated"

    def test_without_a_limit_there_is_nothing_to_compare(self) -> None:
        system = FunctionAdapter(current_or_previous, name="library")
        system.capabilities |= {"throttle-reported"}
        report = run(system, [self.CASE])
        assert report.results[-1].reason == "one after the other, every guess is evaluated"

    def test_more_guesses_at_once_are_a_violation(self) -> None:
        class Hasty(RegistryAdapter):
            def call_at_once(self, calls: Sequence[Call]) -> list[TimedAnswer]:
                return [TimedAnswer(answer=Answer.of(False), started=0, ended=1) for _ in calls]

        with closing(Hasty(MemoryStore)) as adapter:
            report = run(adapter, [self.CASE])
        assert report.results[-1].reason == (
            "50 of 50 guesses at the same time were evaluated, 3 one after the other"
        )


def test_a_system_that_takes_one_code_gets_the_second() -> None:
    class OneCode(Adapter):
        capabilities = frozenset({"reset", "time", "enroll"})
        codes: Sequence[str] = ()

        def call(self, call: Call) -> Answer:
            if call.operation == "confirm":
                self.codes = call.arguments["codes"]  # type: ignore[assignment]
            return Answer(result=Result.ACCEPTED, secret=Device(key=TEST_KEYS["one"]).secret)

    system = OneCode()
    run(system, ["baseline"])
    device = Device(key=TEST_KEYS["one"])
    assert system.codes == [device.code(device.step(START))]


class TestTiming:
    def test_it_has_no_verdict(self) -> None:
        system = FunctionAdapter(current_or_previous, name="library")
        report = run(system, ["baseline"], timing=2)
        names = [sentence.partition(":")[0] for sentence in report.measurements]
        assert names == ["wrong code", "code of step -1", "code of step +0", "code of step +1"]

    def test_it_needs_a_clock_and_new_devices(self) -> None:
        system = memory()
        system.capabilities -= {"provision", "time"}
        with closing(system):
            assert _measure(system, 2) == ("timing not measured: capability provision, time",)


def test_a_source_tree_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr("importlib.metadata.version", missing)
    assert kit_version() == "not installed"


class TestRealTime:
    """A system whose clock cannot be set is audited as far as the kit may wait."""

    CASE = Case(
        id="replay/waits", title="A.", why="B.", clauses=("RFC6238-5.2-ONCE",), level=Level.MUST,
        steps=(
            Step(do="provision", arguments={"key": "one"}), Step(do="advance", seconds=30),
            Step(do="verify", code=(Code(),)),
        ),
    )  # fmt: skip

    def player(self, wait: float) -> tuple[Player, list[float]]:
        now = [START + 5.0]
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            now[0] += seconds

        system = FunctionAdapter(current_or_previous, name="live")
        system.capabilities -= {"time"}
        check = system._verify
        system._verify = lambda secret, code, _: check(secret, code, int(now[0]))
        return Player(system, wait=wait, sleep=sleep, clock=lambda: now[0]), slept

    def test_it_waits(self) -> None:
        player, slept = self.player(30)
        player.play(self.CASE)
        assert slept == [30]
        assert [entry.at for entry in player.entries] == [0, 0, 30]

    def test_it_waits_no_longer_than_it_may(self) -> None:
        player, slept = self.player(29)
        with pytest.raises(Exception, match="the clock of the system cannot be set"):
            player.play(self.CASE)
        assert slept == []


def test_a_thread_of_a_race_pauses_in_every_fourth_call(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    pause = _pausing_profile()
    frame = sys._getframe()
    for _ in range(8):
        pause(frame, "call", None)
        pause(frame, "return", None)
    assert pauses == [1e-5] * 2


class TestFunctionAdapter:
    ADAPTER = FunctionAdapter(current_or_previous, name="f")

    def test_it_refuses_parameters_that_the_function_does_not_get(self) -> None:
        assert self.ADAPTER.provision("alice", "AAAA", digits=8).result is Result.UNSUPPORTED

    def test_a_value_that_is_no_text_is_refused(self) -> None:
        assert self.ADAPTER.verify("alice", 123456).result is Result.REJECTED

    def test_every_operation_is_unsupported_by_default(self) -> None:
        adapter = Adapter()
        calls: list[tuple[str, dict[str, object]]] = [
            ("reset", {}), ("set_time", {"now": 1}), ("set_zone", {"zone": "UTC"}),
            ("restart", {}), ("provision", {"user": "a", "secret": "A"}),
            ("provision_uri", {"user": "a", "uri": "otpauth://"}), ("begin", {"user": "a"}),
            ("confirm", {"user": "a", "enrollment": "e", "codes": []}),
            ("verify", {"user": "a", "code": "1"}),
            ("session_counts", {"user": "a", "session": "s"}),
            ("remove", {"user": "a", "proof": "support"}), ("resync", {"user": "a", "codes": []}),
            ("logs", {}), ("rows", {}), ("copy_row", {"source": "a", "user": "b"}),
            ("set_read_only", {"on": True}),
        ]  # fmt: skip
        for operation, arguments in calls:
            answer = adapter.call(Call(operation=operation, arguments=arguments))
            assert answer.result is Result.UNSUPPORTED, operation
        adapter.close()
