"""Programs that speak JSON lines, well or badly: without an answer nothing is held."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from vmfa.conformance import Call, ProgramAdapter, ProgramFailed, Result, Verdict, run
from vmfa.conformance.loading import load_adapter
from vmfa.conformance.template import TEMPLATES
from vmfa.errors import InvalidValue

DESCRIPTION = {
    "name": "p", "version": "1", "capabilities": ["reset", "time", "provision", "parallel"],
}  # fmt: skip
FRAME = """
import json, sys, time
def say(document): print(json.dumps(document), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    number, operation, arguments = request["id"], request["operation"], request["arguments"]
    if operation == "describe":
        say({"id": number, **DESCRIPTION})
        continue
"""
VERIFY = Call(operation="verify", arguments={"user": "alice", "code": "123456"})


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Start a program whose loop ends with these lines."""
    opened: list[ProgramAdapter] = []

    def start(body: str, *, timeout: float = 20) -> ProgramAdapter:
        path = tmp_path / "program.py"
        frame = FRAME.replace("DESCRIPTION", repr(DESCRIPTION))
        path.write_text(frame + textwrap.indent(textwrap.dedent(body), "    "))
        adapter = ProgramAdapter([sys.executable, "-S", str(path)], timeout=timeout)
        opened.append(adapter)
        return adapter

    yield start
    for adapter in opened:
        adapter.close()


def test_a_program_describes_itself(start: Any) -> None:
    adapter = start("say({'id': number, 'result': 'accepted', 'secret': 's', 'text': 't'})")
    assert (adapter.name, adapter.version) == ("p", "1")
    assert adapter.capabilities == {"reset", "time", "provision", "parallel"}
    answer = adapter.call(VERIFY)
    assert (answer.result, answer.secret, answer.text) == (Result.ACCEPTED, "s", "t")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("sys.exit()", "the program ended"),
        ("print('oops', flush=True)", "a line that is not a JSON object"),
        ("print('[1]', flush=True)", "a line that is not a JSON object"),
        ("say({'id': 77, 'result': 'accepted'})", "a request that was not made"),
        ("say({'id': number, 'result': 'maybe'})", "'maybe' is not a valid Result"),
        ("say({'id': number})", "'' is not a valid Result"),
        ("say({'id': number, 'result': 1})", "result in an answer must be a string"),
        ("sys.stdout.buffer.write(b'\\xff\\n'); sys.stdout.flush()", "not a JSON object"),
    ],
)
def test_an_answer_that_is_none_is_an_error(start: Any, body: str, problem: str) -> None:
    adapter = start(body)
    answer = adapter.call(VERIFY)
    assert answer.result is Result.ERROR
    assert problem in answer.text


def test_a_program_that_does_not_answer_in_time_is_ended(start: Any) -> None:
    adapter = start("time.sleep(60)", timeout=5)
    adapter._timeout = 0.05
    answer = adapter.call(VERIFY)
    assert (answer.result, answer.text) == (Result.ERROR, "no answer within 0.05 seconds")
    assert adapter._process is None


def test_a_program_that_ended_is_started_again(start: Any) -> None:
    adapter = start(
        """
        if operation == "restart":
            sys.exit()
        say({"id": number, "result": "rejected"})
        """
    )
    assert adapter.call(Call(operation="restart", arguments={})).result is Result.ERROR
    assert adapter.call(VERIFY).result is Result.REJECTED


def test_a_program_that_is_gone_is_an_error(start: Any, tmp_path: Path) -> None:
    adapter = start("sys.exit()")
    assert adapter.call(VERIFY).result is Result.ERROR
    adapter._command = [str(tmp_path / "missing")]
    answer = adapter.call(VERIFY)
    assert answer.result is Result.ERROR
    assert "the program cannot be started: " in answer.text


def test_a_crash_or_garbage_is_not_observable(start: Any) -> None:
    adapter = start(
        """
        if operation == "verify":
            sys.exit(1)
        say({"id": number, "result": "accepted"})
        """
    )
    report = run(adapter, ["replay"])
    assert {result.verdict for result in report.results} == {Verdict.NOT_OBSERVABLE}
    assert report.results[0].reason == "no answer to verify: the program ended"


PIPELINED = """
if operation != "verify":
    say({"id": number, "result": "accepted"})
    continue
requests = [request] + [json.loads(sys.stdin.readline()) for _ in range(9)]
for position, one in reversed([*enumerate(requests)]):
    answer = {"id": one["id"], "result": "rejected" if position else "accepted"}
    if TIMES:
        answer |= {"started": 0, "ended": 100 + position}
    say(answer)
"""


@pytest.mark.parametrize("times", [True, False])
def test_calls_at_once_overlap_only_if_the_program_says_so(start: Any, *, times: bool) -> None:
    adapter = start(PIPELINED.replace("TIMES", str(times)))
    answers = adapter.call_at_once([VERIFY] * 10)
    assert [one.answer.result for one in answers] == [Result.ACCEPTED] + [Result.REJECTED] * 9
    assert [one.ended for one in answers] == (
        [100 + position for position in range(10)] if times else [None] * 10
    )


def test_without_times_a_race_is_not_observable(start: Any) -> None:
    from vmfa.conformance.player import Player
    from vmfa.conformance.runner import _play, chosen_cases

    adapter = start(PIPELINED.replace("TIMES", "False"))
    case = chosen_cases(["replay/10-at-once"])[-1]
    result = _play(case, adapter, "", 0)
    assert result.reason == "calls overlapped in 0 of 1 rounds; 10 are needed"
    adapter = start(PIPELINED.replace("TIMES", "True"))
    player = Player(adapter)
    player.play(case)
    assert player.race is not None
    assert player.race.at_once == 10


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("pass", "the program ended"),
        ("print('hello', flush=True)", "not a JSON object"),
        ("print('{\"id\": 1, \"name\": 3}', flush=True)", "name in an answer must be a string"),
        (
            "print('{\"id\": 1, \"capabilities\": \"all\"}', flush=True)",
            "capabilities in an answer must be a list",
        ),
    ],
)
def test_a_program_that_does_not_describe_itself_is_refused(code: str, problem: str) -> None:
    with pytest.raises(ProgramFailed, match="does not describe itself") as caught:
        ProgramAdapter([sys.executable, "-S", "-c", f"{code}\nimport sys\nsys.stdin.readline()"])
    assert problem in str(caught.value)


def test_a_program_that_cannot_be_started_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="cannot be started"):
        ProgramAdapter([str(tmp_path / "missing")])


class TestTemplates:
    """A template runs as it is, and refuses every code until it is filled in."""

    def test_the_program(self, tmp_path: Path) -> None:
        path = tmp_path / "adapter.py"
        path.write_text(TEMPLATES["program"])
        with closing(ProgramAdapter([sys.executable, "-S", str(path)])) as adapter:
            unknown = Call(operation="logs", arguments={})
            assert adapter.call(unknown).result is Result.UNSUPPORTED
            report = run(adapter, ["replay/same-code"])
        assert report.results[0].reason == "verify: rejected, expected accepted"

    def test_the_class(self, tmp_path: Path) -> None:
        path = tmp_path / "my_adapter.py"
        path.write_text(TEMPLATES["python"])
        report = run(load_adapter(f"{path}:MySystem"), ["replay/same-code"])
        assert report.results[0].reason == "verify: rejected, expected accepted"

    def test_the_class_that_is_filled_in(self, tmp_path: Path) -> None:
        path = tmp_path / "filled_adapter.py"
        path.write_text(
            TEMPLATES["python"].replace(
                "return False  # call your system here",
                "import pyotp; return pyotp.TOTP(secret).verify(code, for_time=now)",
            )
        )
        report = run(load_adapter(f"{path}:MySystem"), ["vectors", "replay/same-code"])
        assert report.conclusive
        assert [result.case.id for result in report.violated()] == ["replay/same-code"]


class TestLoading:
    def test_a_function_a_class_and_an_object(self, tmp_path: Path) -> None:
        assert load_adapter("vmfa.conformance.own:memory").name == "vmfa"
        assert load_adapter("vmfa.conformance.adapter:Adapter").name == "unnamed system"
        path = tmp_path / "adapters.py"
        path.write_text("from vmfa.conformance import Adapter\nmine = Adapter()\nnumber = 7\n")
        assert load_adapter(f"{path}:mine").name == "unnamed system"
        with pytest.raises(InvalidValue, match="number is not an Adapter"):
            load_adapter(f"{path}:number")

    @pytest.mark.parametrize(
        ("target", "problem"),
        [
            ("adapter", "written MODULE:NAME or FILE.py:NAME"),
            ("no_such_module:x", "cannot be imported: No module named 'no_such_module'"),
            ("vmfa.conformance.own:missing", "missing is not an Adapter"),
            ("missing.py:x", "the file missing.py does not exist"),
        ],
    )
    def test_what_is_wrong_is_named(self, target: str, problem: str) -> None:
        with pytest.raises(InvalidValue, match=problem):
            load_adapter(target)


def test_requests_are_json_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = textwrap.dedent(
        f"""
        import json, sys
        for line in sys.stdin:
            open({str(log)!r}, "a").write(line)
            number = json.loads(line)["id"]
            print(json.dumps({{"id": number, "result": "used"}}), flush=True)
        """
    )
    with closing(ProgramAdapter([sys.executable, "-S", "-c", code])) as adapter:
        assert adapter.call(VERIFY).result is Result.USED
    first, second = map(json.loads, log.read_text().splitlines())
    assert first == {"id": 1, "operation": "describe", "arguments": {}}
    assert second == {
        "id": 2, "operation": "verify", "arguments": {"user": "alice", "code": "123456"},
    }  # fmt: skip
