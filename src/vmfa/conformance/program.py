"""Audit a program in any language: JSON lines on its standard input and output.

The kit writes one request per line, and the program answers each with one line, in any order::

    {"id": 1, "operation": "describe", "arguments": {}}
    {"id": 1, "name": "example", "version": "1.0", "capabilities": ["reset", "time", "provision"]}
    {"id": 2, "operation": "verify", "arguments": {"user": "alice", "code": "287082"}}
    {"id": 2, "result": "accepted"}

The operations are the methods of :class:`vmfa.conformance.Adapter`. The result is one of
:class:`vmfa.conformance.Result`. An answer may have ``secret``, ``enrollment`` and ``text``, and
in a race ``started`` and ``ended``, in nanoseconds of the clock of the program.
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Final

from ..errors import VmfaError
from .adapter import Adapter, Answer, Call, Result, TimedAnswer

__all__ = ["ProgramAdapter", "ProgramFailed"]

MAX_LINE: Final = 1 << 24  # characters of an answer
END: Final = None  # in the queue: the output of the program ended


class ProgramFailed(VmfaError):
    """The program cannot be started, or does not describe itself."""

    reason = "program failed"


class ProgramAdapter(Adapter):
    """An adapter that runs a program. A program that ended is started again for the next case.

    :param command: the program and its arguments.
    :param timeout: the seconds that an answer may take.
    :raises ProgramFailed: the program cannot be started, or does not describe itself.
    """

    def __init__(self, command: Sequence[str], *, timeout: float = 10) -> None:
        self._command = list(command)
        self._timeout = timeout
        self._number = 0
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._start()
        try:
            document = self._exchange([Call(operation="describe", arguments={})])[0]
            self.name = _text(document, "name")
            self.version = _text(document, "version")
            self.capabilities = frozenset(map(str, _list(document, "capabilities")))
        except (OSError, ValueError, TimeoutError) as error:
            self.close()
            raise ProgramFailed(f"the program does not describe itself: {error}") from None

    def call(self, call: Call) -> Answer:
        """Send one request and wait for its answer."""
        return self.call_at_once([call])[0].answer

    def call_at_once(self, calls: Sequence[Call]) -> list[TimedAnswer]:
        """Send all requests and then wait for all answers.

        The answers overlap only if the program says so, with ``started`` and ``ended``.
        """
        try:
            if self._process is None:
                self._start()
            return [_timed(document) for document in self._exchange(calls)]
        except (OSError, ValueError, TimeoutError, ProgramFailed) as error:
            self.close()  # a late answer would be taken for that of another request
            answer = Answer(result=Result.ERROR, text=str(error))
            return [TimedAnswer(answer=answer)] * len(calls)

    def close(self) -> None:
        """End the program."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):  # of what is still buffered
                _opened(stream).close()

    def _start(self) -> None:
        try:
            process = subprocess.Popen(  # noqa: S603  # the command that the user passed
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                encoding="utf-8", errors="replace",
            )
        except OSError as error:
            raise ProgramFailed(f"the program cannot be started: {error}") from None
        self._process, self._lines = process, queue.Queue()
        thread = threading.Thread(
            target=_read, args=(_opened(process.stdout), self._lines), daemon=True
        )
        thread.start()

    def _exchange(self, calls: Sequence[Call]) -> list[Mapping[str, object]]:
        assert self._process is not None  # noqa: S101  # the callers start it
        first = self._number + 1
        self._number += len(calls)
        numbers = range(first, self._number + 1)
        stream = _opened(self._process.stdin)
        for number, call in zip(numbers, calls, strict=True):
            request = {
                "id": number, "operation": call.operation, "arguments": dict(call.arguments),
            }
            stream.write(json.dumps(request) + "\n")
        stream.flush()
        answers: dict[object, Mapping[str, object]] = {}
        ends_at = time.monotonic() + self._timeout
        while len(answers) < len(calls):
            document = self._next(ends_at)
            if document.get("id") not in numbers or document["id"] in answers:
                raise ValueError("the program answered a request that was not made")
            answers[document["id"]] = document
        return [answers[number] for number in numbers]

    def _next(self, ends_at: float) -> Mapping[str, object]:
        try:
            line = self._lines.get(timeout=max(0.0, ends_at - time.monotonic()))
        except queue.Empty:
            raise TimeoutError(f"no answer within {self._timeout:g} seconds") from None
        if line is END:
            raise ValueError("the program ended")
        try:
            document = json.loads(line)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            message = "the program answered with a line that is not a JSON object"
            raise ValueError(message)  # noqa: TRY004  # of JSON
        return document


def _opened(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # noqa: S101  # both are pipes
    return stream


def _read(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    with suppress(ValueError, OSError):  # closed while this thread reads
        while line := stream.readline(MAX_LINE):
            lines.put(line)
    lines.put(END)


def _timed(document: Mapping[str, object]) -> TimedAnswer:
    answer = Answer(
        result=Result(_text(document, "result")),
        secret=_text(document, "secret"),
        enrollment=_text(document, "enrollment"),
        text=_text(document, "text"),
    )
    return TimedAnswer(
        answer=answer, started=_time(document, "started"), ended=_time(document, "ended")
    )


def _text(document: Mapping[str, object], name: str) -> str:
    value = document.get(name, "")
    if not isinstance(value, str):
        raise ValueError(f"{name} in an answer must be a string")  # noqa: TRY004  # of JSON
    return value


def _list(document: Mapping[str, object], name: str) -> Sequence[object]:
    value = document.get(name, [])
    if not isinstance(value, list):
        raise ValueError(f"{name} in an answer must be a list")  # noqa: TRY004  # of JSON
    return value


def _time(document: Mapping[str, object], name: str) -> int | None:
    value = document.get(name)
    return value if type(value) is int else None
