"""Play one case: turn its steps into calls, and compare the answers with the expectations."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from ..errors import InvalidValue
from .adapter import Adapter, Answer, Call, Result, TimedAnswer
from .codes import FORMS, START, TEST_KEYS, Device
from .steps import EVALUATED, EXPECTATIONS, Case, Code, Step

__all__ = ["Entry", "NotObservable", "Player", "Race", "Violated"]

ATTEMPTS: Final = 20  # for each round of a race, until its calls overlap
DEFAULT_KEYS: Final = ("one", "two", "three")
SHOWN: Final = 120  # characters of a text in a transcript
SETTLE: Final = 30  # seconds after an enrollment, so that its codes are over


class NotObservable(Exception):
    """The case cannot be judged; the text says why."""


class Violated(Exception):
    """The system did not answer as the case expects; the text says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a transcript.

    :param at: the time of the system, in seconds after the beginning of the case.
    :param operation: what was called.
    :param arguments: its arguments.
    :param result: the result that the system answered.
    :param text: further words of the answer.
    :param expected: the name of the expectation.
    :param as_expected: whether the answer is among those expected.
    """

    at: int
    operation: str
    arguments: Mapping[str, object]
    result: str
    text: str
    expected: str
    as_expected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """The evidence of calls that were made at the same time.

    :param calls: the calls of a round.
    :param rounds: the rounds that were run.
    :param overlapped: the rounds in which calls overlapped.
    :param at_once: the most calls that the system worked on at the same time.
    """

    calls: int
    rounds: int
    overlapped: int
    at_once: int


class Player:
    """Plays one case against a system.

    :param adapter: the system.
    :param suffix: what is appended to the names of the test accounts.
    :param wait: for a system whose clock cannot be set: the seconds that the case may wait.
    :param sleep: the function that waits.
    :param clock: the function that returns the Unix time, for such a system.
    """

    def __init__(
        self,
        adapter: Adapter,
        *,
        suffix: str = "",
        wait: float = 0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.adapter = adapter
        self.entries: list[Entry] = []
        self.race: Race | None = None
        self._suffix = suffix
        self._resets = 0
        self._wait, self._sleep, self._clock = wait, sleep, clock
        self._started = self.now = START
        self._forget()

    def _forget(self) -> None:
        self._devices: dict[str, list[Device]] = {}
        self._enrollments: dict[str, list[str]] = {}
        self._wrong = 0
        self._codes: set[str] = set()
        self._texts: list[str] = []

    def play(self, case: Case) -> None:
        """Play all steps.

        :raises NotObservable: the case cannot be judged.
        :raises Violated: the system does not conform.
        """
        if "time" not in self.adapter.capabilities:
            self._started = self.now = int(self._clock())
        self._do(Step(do="reset"))
        for step in case.steps:
            self._do(step)

    def _do(self, step: Step) -> None:
        method = getattr(self, f"_do_{step.do}", None)
        if method is None:
            self._operate(step)
        else:
            method(step)

    # One call

    def _operate(self, step: Step) -> Answer:
        call = self._resolve(step)
        answer = self.answer(call, step)
        self._check(step, call, answer)
        self._learn(step, answer)
        return answer

    def answer(self, call: Call, step: Step) -> Answer:
        """Make one call. *step* is what it comes from."""
        return self.adapter.call(call)

    def _resolve(self, step: Step) -> Call:
        """Return the call of a step, with the codes that the devices show now."""
        arguments = dict(step.arguments)
        if step.do not in {"restart", "set_time", "set_zone", "logs", "rows", "set_read_only"}:
            arguments["user"] = self._account(step.user)
        if step.do == "verify":
            arguments["code"] = self.written(step.code[0])
        if step.do in {"confirm", "resync"}:
            codes = [self.written(code) for code in step.code]
            if step.do == "confirm" and "two-codes" not in self.adapter.capabilities:
                codes = codes[-1:]
            arguments["codes"] = codes
        if step.do == "confirm":
            owner = str(arguments.pop("enrollment_of", step.user))
            number = int(str(arguments.pop("enrollment", -1)))
            arguments["enrollment"] = self._enrollments[owner][number]
        if step.do == "provision":
            key = TEST_KEYS[str(arguments.pop("key"))]
            arguments["secret"] = Device(key=key).secret
        if step.do == "provision_uri":
            arguments.pop("key", None)
        if step.do == "copy_row":
            arguments["source"] = self._account(str(arguments["source"]))
        return Call(operation=step.do, arguments=arguments)

    def _account(self, user: str) -> str:
        """Return the name of a test account: a new one after each reset that is not possible."""
        return f"{user}{self._suffix}-{self._resets}" if self._suffix else user

    def written(self, code: Code) -> object:
        """Return *code* as the device shows it now, in its form."""
        if code.text is not None:
            return code.text
        device = self._devices[code.user][code.device]
        if code.wrong:
            self._wrong += 1
            text = next(islice(device.wrong_codes(self.now), self._wrong, None))
        elif code.counter is not None:
            text = device.code(code.counter)
        else:
            text = device.code(device.step(self.now) + code.offset)
        self._codes.add(text)
        return FORMS[code.form](text)

    def _check(self, step: Step, call: Call, answer: Answer) -> None:
        fits = answer.result in EXPECTATIONS[step.expect]
        self.entries.append(
            Entry(
                at=self.now - self._started, operation=call.operation,
                arguments=_shown(call.arguments), result=answer.result.value,
                text=_short(_words(answer)), expected=step.expect, as_expected=fits,
            )
        )
        self._texts += [answer.text, answer.enrollment]
        if fits:
            return
        problem = f"{call.operation}: {answer.result}, expected {step.expect}"
        if answer.result is Result.UNSUPPORTED:
            raise NotObservable(f"the system does not support this {call.operation}")
        if answer.result is Result.ERROR:
            raise NotObservable(f"no answer to {call.operation}: {_short(answer.text)}")
        if step.control:
            raise NotObservable(f"a control failed: {problem}")
        if answer.result is Result.FAILED and step.expect == "refused":
            raise NotObservable(f"internal error of the system: {problem}")
        raise Violated(problem)

    def _learn(self, step: Step, answer: Answer) -> None:
        if answer.result is not Result.ACCEPTED:
            return
        devices = self._devices.setdefault(step.user, [])
        if step.do == "begin":
            try:
                devices.append(Device.from_secret(answer.secret))
            except InvalidValue as error:
                raise NotObservable(str(error)) from None
            self._enrollments.setdefault(step.user, []).append(answer.enrollment)
        elif "key" in step.arguments:
            parameters: dict[str, Any] = {
                name: value for name, value in step.arguments.items()
                if name in {"algorithm", "digits", "period", "t0"}
            }
            devices.append(Device(key=TEST_KEYS[str(step.arguments["key"])], **parameters))

    # The clock

    def _do_reset(self, step: Step) -> None:
        self._forget()
        self._resets += 1
        capabilities = self.adapter.capabilities
        if "reset" in capabilities:
            self._check(
                step, call := Call(operation="reset", arguments={}), self.answer(call, step)
            )
        if "time" in capabilities:
            self.now = self._started
            self._do_set_time(Step(do="set_time", arguments={"now": self.now}, control=True))

    def _do_set_time(self, step: Step) -> None:
        self.now = int(str(step.arguments["now"]))
        self._operate(step)

    def _do_advance(self, step: Step) -> None:
        self.now += step.seconds
        if "time" in self.adapter.capabilities:
            self._operate(Step(do="set_time", arguments={"now": self.now}, control=True))
            return
        self._wait -= step.seconds
        if step.seconds < 0 or self._wait < 0:
            raise NotObservable("the clock of the system cannot be set: capability time")
        self._sleep(max(0.0, self.now - self._clock()))

    # Devices

    def _do_assign(self, step: Step) -> None:
        capabilities = self.adapter.capabilities
        enroll = "enroll" in capabilities and (
            step.where == "enroll" or "provision" not in capabilities
        )
        if not enroll:
            number = sum(map(len, self._devices.values()))
            key = step.arguments.get("key", DEFAULT_KEYS[number % len(DEFAULT_KEYS)])
            self._operate(
                Step(do="provision", user=step.user, arguments={"key": key}, control=True)
            )
            return
        self._operate(Step(do="begin", user=step.user, control=True))
        pair = Code(user=step.user, offset=-1), Code(user=step.user)
        self._operate(Step(do="confirm", user=step.user, code=pair, control=True))
        self._do_advance(Step(do="advance", seconds=SETTLE))

    def _do_distinct_keys(self, step: Step) -> None:
        """Check that all keys that the system made differ and are long enough."""
        keys = [device.key for devices in self._devices.values() for device in devices]
        if len({*keys}) < len(keys):
            raise Violated("two enrollments have the same key")
        if min(map(len, keys)) < step.times:
            raise Violated(f"a key has {8 * min(map(len, keys))} bits")

    # Several steps

    def _do_repeat(self, step: Step) -> None:
        for _ in range(step.times):
            for inner in step.steps:
                self._do(inner)

    def _do_same(self, step: Step) -> None:
        results = {self._operate(inner).result for inner in step.steps}
        if len(results) > 1:
            raise Violated(f"different answers: {', '.join(sorted(results))}")

    def _do_scan(self, step: Step) -> None:
        if step.where == "answers":
            text = "\n".join(self._texts)
        else:
            text = self._operate(Step(do=step.where, expect="accepted", control=True)).text
        if not text.strip():
            raise NotObservable(f"the system returned no {step.where}")
        if step.what == "codes":
            for code in self._codes:
                if re.search(rf"(?<!\d){code}(?!\d)", text):
                    raise Violated(f"the {step.where} contain the code {code}")
            return
        for name, spelling in self._devices[step.user][-1].spellings().items():
            if spelling.casefold() in text.casefold():
                raise Violated(f"the {step.where} contain the key, in {name}")

    # Calls at the same time

    def _do_at_once(self, step: Step) -> None:
        limit = self._in_sequence(step) if step.like_a_sequence else None
        rounds = overlapped = most = 0
        while overlapped < step.times and rounds < ATTEMPTS * step.times:
            for inner in step.before:
                self._do(inner)
            calls = [self._resolve(inner) for inner in step.steps]
            timed = self.answer_at_once(calls, step)
            rounds += 1
            at_once = calls_at_once(timed)
            overlapped += at_once > 1
            most = max(most, at_once)
            self.race = Race(
                calls=len(calls), rounds=rounds, overlapped=overlapped, at_once=most
            )
            self._check_round(step, calls, [answer.answer for answer in timed], limit)
            if not at_once:  # the system does not say when it worked
                break
        if overlapped < step.times:
            raise NotObservable(
                f"calls overlapped in {overlapped} of {rounds} rounds; {step.times} are needed"
            )

    def answer_at_once(self, calls: Sequence[Call], step: Step) -> list[TimedAnswer]:
        """Make all *calls* at the same time. *step* is what they come from."""
        return self.adapter.call_at_once(calls)

    def _in_sequence(self, step: Step) -> int:
        """Return how many calls are evaluated if they are made one after the other."""
        for inner in step.before:
            self._do(inner)
        results = [self._operate(inner).result for inner in step.steps]
        evaluated = sum(result in EVALUATED for result in results)
        if evaluated == len(results):
            raise NotObservable("one after the other, every guess is evaluated")
        return evaluated

    def _check_round(
        self, step: Step, calls: Sequence[Call], answers: Sequence[Answer], limit: int | None
    ) -> None:
        for inner, call, answer in zip(step.steps, calls, answers, strict=True):
            self._check(
                Step(do=inner.do, expect="any", control=True), call, answer
            )
        accepted = sum(answer.result is Result.ACCEPTED for answer in answers)
        evaluated = sum(answer.result in EVALUATED for answer in answers)
        if accepted > step.most:
            raise Violated(f"{accepted} of {len(calls)} calls at the same time were accepted")
        if limit is not None and evaluated > limit:
            raise Violated(
                f"{evaluated} of {len(calls)} guesses at the same time were evaluated, "
                f"{limit} one after the other"
            )
        if accepted < step.least:
            raise NotObservable(f"a control failed: {accepted} calls were accepted")


def calls_at_once(timed: Sequence[TimedAnswer]) -> int:
    """Return how many calls were worked on at the same time; 0 without times."""
    edges: list[tuple[int, int]] = []
    for one in timed:
        if one.started is None or one.ended is None:
            return 0
        edges += [(one.started, 1), (one.ended, -1)]
    current = most = 0
    for _, change in sorted(edges):  # at the same nanosecond, the end comes first
        current += change
        most = max(most, current)
    return most


def _words(answer: Answer) -> str:
    parts = (answer.secret and f"key {answer.secret}", answer.enrollment, answer.text)
    return "; ".join(part for part in parts if part)


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ({len(text)} characters)"


def _shown(arguments: Mapping[str, object]) -> dict[str, object]:
    return {
        name: _short(value) if isinstance(value, str) else value
        for name, value in arguments.items()
    }
