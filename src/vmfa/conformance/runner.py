"""Run cases on a system, and write them as vectors for other languages."""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Final

from ..errors import InvalidValue
from ..keys import random_bytes
from .adapter import CAPABILITIES, Adapter, Answer, Call, Result, TimedAnswer
from .cases import CASES
from .clauses import CLAUSES
from .codes import START, TEST_KEYS, Device
from .player import NotObservable, Player, Violated
from .report import CaseResult, Report, Verdict
from .steps import EXPECTATIONS, Case, Step

__all__ = ["cases_digest", "chosen_cases", "run", "vectors"]

FORMAT: Final = 1  # of the vectors


def chosen_cases(names: Iterable[str] = ()) -> list[Case]:
    """Return the cases with these ids or groups, or all; the baseline is always among them.

    :param names: ids such as "replay/same-code", or groups such as "replay".
    :raises InvalidValue: a name is neither.
    """
    wanted = set(names)
    unknown = wanted - {case.id for case in CASES} - {case.group for case in CASES}
    if unknown:
        raise InvalidValue(f"no case and no group has the name {min(unknown)!r}")
    return [
        case for case in CASES
        if not wanted or case.group == "baseline" or {case.id, case.group} & wanted
    ]


def run(
    adapter: Adapter,
    names: Iterable[str] = (),
    *,
    wait: float = 0,
    timing: int = 0,
) -> Report:
    """Run cases on a system.

    If the baseline is not held, every other case is not observable: a system that accepts
    everything, or nothing, shows nothing about a rule.

    :param adapter: the system.
    :param names: ids or groups of cases; all by default.
    :param wait: for a system whose clock cannot be set: the seconds that a case may wait.
    :param timing: the rounds of the measurement of time; 0 for none.
    :returns: the report.
    :raises InvalidValue: a name is unknown, or the adapter declares an unknown capability.
    """
    unknown = adapter.capabilities - CAPABILITIES.keys()
    if unknown:
        raise InvalidValue(f"no capability has the name {min(unknown)!r}")
    results: list[CaseResult] = []
    suffix = "" if "reset" in adapter.capabilities else f"-{random_bytes(4).hex()}"
    failed = ""
    for number, case in enumerate(chosen_cases(names)):
        missing = case.missing(adapter.capabilities)
        if failed:
            result = _not_observable(case, failed)
        elif missing:
            result = _not_observable(case, f"capability {', '.join(missing)}")
        else:
            result = _play(case, adapter, suffix and f"{suffix}-{number}", wait)
        if case.group == "baseline" and result.verdict is not Verdict.HELD and not failed:
            failed = f"{case.id} is {result.verdict.value}"
        results.append(result)
    measurements = _measure(adapter, timing) if timing and not failed else ()
    return Report(
        system=adapter.name, version=adapter.version, kit=kit_version(),
        capabilities=tuple(sorted(adapter.capabilities)), results=tuple(results),
        measurements=measurements,
    )


def _not_observable(case: Case, reason: str) -> CaseResult:
    return CaseResult(case=case, verdict=Verdict.NOT_OBSERVABLE, reason=reason)


def _play(case: Case, adapter: Adapter, suffix: str, wait: float) -> CaseResult:
    player = Player(adapter, suffix=suffix, wait=wait)
    verdict, reason = Verdict.HELD, ""
    try:
        player.play(case)
    except NotObservable as problem:
        verdict, reason = Verdict.NOT_OBSERVABLE, str(problem)
    except Violated as problem:
        verdict, reason = Verdict.VIOLATED, str(problem)
    return CaseResult(
        case=case, verdict=verdict, reason=reason, transcript=tuple(player.entries),
        race=player.race,
    )


def kit_version() -> str:
    """Return the version of vmfa, or "not installed"."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("vmfa")
    except PackageNotFoundError:
        return "not installed"


# Time


def _measure(adapter: Adapter, rounds: int) -> tuple[str, ...]:
    """Return the median times of a wrong code and of right codes, each of a new account."""
    needed = {"reset", "time", "provision"} - adapter.capabilities
    if needed:
        return (f"timing not measured: capability {', '.join(sorted(needed))}",)
    device = Device(key=TEST_KEYS["one"])
    step = device.step(START)
    codes = {"wrong code": next(device.wrong_codes(START))} | {
        f"code of step {offset:+}": device.code(step + offset) for offset in (-1, 0, 1)
    }
    times: dict[str, list[int]] = {name: [] for name in codes}
    for _ in range(rounds):
        for name, code in codes.items():
            for operation, arguments in (
                ("reset", {}),
                ("set_time", {"now": START}),
                ("provision", {"user": "alice", "secret": device.secret}),
            ):
                adapter.call(Call(operation=operation, arguments=arguments))
            started = time.perf_counter_ns()
            adapter.call(Call(operation="verify", arguments={"user": "alice", "code": code}))
            times[name].append(time.perf_counter_ns() - started)
    return tuple(
        f"{name}: median {statistics.median(values) / 1000:.1f} microseconds, {rounds} rounds"
        for name, values in times.items()
    )


# Vectors


def cases_digest(cases: Sequence[Case] = CASES) -> str:
    """Return the SHA-256 digest of the cases, which changes with each change of a case."""
    document = json.dumps([case.to_dict() for case in cases], sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()


def vectors(names: Iterable[str] = ()) -> dict[str, object]:
    """Return the cases with fixed keys, times and codes, for JSON.

    ``calls`` has what a conforming system is asked, in order, and the results that are allowed.
    The codes are those of the keys in ``keys``: a system that creates its own keys computes them
    from ``steps``.

    :param names: ids or groups of cases; all by default.
    :raises InvalidValue: a name is unknown.
    """
    return {
        "format": FORMAT,
        "digest": cases_digest(),
        "start": START,
        "keys": {name: key.hex() for name, key in TEST_KEYS.items()},
        "expectations": {name: sorted(results) for name, results in EXPECTATIONS.items()},
        "capabilities": dict(CAPABILITIES),
        "clauses": {
            clause.id: {"source": clause.source, "says": clause.says}
            for clause in CLAUSES.values()
        },
        "cases": [
            {**case.to_dict(), "calls": _Recorder().record(case)} for case in chosen_cases(names)
        ],
    }


class _Everything(Adapter):
    """Has all capabilities, and is never called."""

    capabilities = frozenset(CAPABILITIES)


class _Recorder(Player):
    """Writes down the calls of a case, and answers as a conforming system may."""

    def __init__(self) -> None:
        super().__init__(_Everything())
        self._calls: list[dict[str, object]] = []
        self._numbers = count()

    def record(self, case: Case) -> list[dict[str, object]]:
        """Return the calls of *case*."""
        self.play(case)
        return self._calls

    def answer(self, call: Call, step: Step) -> Answer:
        written = {**_recorded(call), "expect": step.expect}
        if step.control:
            written["control"] = True
        self._calls.append(written)
        wanted = EXPECTATIONS[step.expect]
        result = Result.ACCEPTED if Result.ACCEPTED in wanted else Result.REJECTED
        if step.do in {"logs", "rows"}:
            return Answer(result=result, text="what the system returned")
        if step.do != "begin":
            return Answer(result=result, text="what the system answered")
        keys = [*TEST_KEYS.values()][3:]
        number = next(self._numbers)
        secret = Device(key=keys[number % len(keys)]).secret
        written["returns"] = {"secret": secret, "enrollment": f"enrollment-{number + 1}"}
        return Answer(result=result, secret=secret, enrollment=f"enrollment-{number + 1}")

    def _do_same(self, step: Step) -> None:
        first = len(self._calls)
        for inner in step.steps:
            self._operate(inner)
        self._calls[first:] = [{"equal_results": self._calls[first:]}]

    def answer_at_once(self, calls: Sequence[Call], step: Step) -> list[TimedAnswer]:
        self._calls.append(
            {
                "at_once": [_recorded(call) for call in calls],
                "accepted_at_least": step.least, "accepted_at_most": step.most,
            }
        )
        results = [Result.ACCEPTED] * step.least + [Result.THROTTLED] * len(calls)
        return [
            TimedAnswer(answer=Answer(result=result), started=0, ended=1)
            for result in results[: len(calls)]
        ]

    def _in_sequence(self, step: Step) -> int:
        self._calls.append({"evaluated_at_most": "as many as one after the other"})
        return len(step.steps)


def _recorded(call: Call) -> dict[str, object]:
    return {"operation": call.operation, "arguments": dict(call.arguments)}
