"""Adapters: how the kit calls a system that verifies one-time codes.

Subclass :class:`Adapter`, declare what the system can do in ``capabilities``, and override the
methods of these capabilities. A case that needs another capability is *not observable*.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType
from typing import Final

__all__ = [
    "CAPABILITIES",
    "Adapter",
    "Answer",
    "Call",
    "FunctionAdapter",
    "Result",
    "TimedAnswer",
]

CAPABILITIES: Final[Mapping[str, str]] = {
    "reset": "delete all users and devices",
    "time": "set the clock that the system reads",
    "zone": "set the time zone of the system",
    "restart": "restart the system, with what it stored",
    "parallel": "answer several calls at the same time",
    "nodes": "answer from a second process or machine with the same storage",
    "paths": "present a code in a second way, such as another page or API",
    "sessions": "have sign-in sessions, and say whether one still counts",
    "provision": "assign a device with a given key: SHA-1, six digits, 30 seconds",
    "algorithms": "provision with SHA-256 and SHA-512",
    "digits": "provision with eight digits",
    "parameters": "provision with any period and T0, or refuse them",
    "hotp": "provision a counter-based device",
    "uri": "provision from a key URI",
    "enroll": "begin an enrollment with a new key and confirm it with codes",
    "two-codes": "require two codes to confirm an enrollment",
    "expiry": "end an enrollment that is not confirmed in time",
    "remove": "remove a device, with different proofs of identity",
    "resync": "resynchronize a device with two codes",
    "throttle-reported": "answer throttled or locked if a code was not evaluated",
    "logs": "return what was logged",
    "rows": "return what is stored, as text or as Latin-1 of bytes",
    "copy-row": "copy what is stored of a device to another user",
    "read-only": "make the storage refuse every write",
}
"""The names of the capabilities, and what a system with each of them can do."""


class Result(StrEnum):
    """What the system answered. ``failed`` is an internal error of the system.

    ``error`` and ``unsupported`` say that there is no answer: the adapter failed, the program
    crashed or did not answer in time, or it does not know the operation.
    """

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    USED = "used"
    MALFORMED = "malformed"
    THROTTLED = "throttled"
    LOCKED = "locked"
    DENIED = "denied"
    FAILED = "failed"
    ERROR = "error"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of the system.

    :param result: what happened.
    :param secret: the key in Base32, in the answer of ``begin``.
    :param enrollment: the id of the enrollment, in the answer of ``begin``.
    :param text: what the system printed, logged or stored; or what went wrong.
    """

    result: Result
    secret: str = ""
    enrollment: str = ""
    text: str = ""

    @classmethod
    def of(cls, accepted: object) -> Answer:
        """Return "accepted" if *accepted* is true, and "rejected" otherwise."""
        return cls(result=Result.ACCEPTED if accepted else Result.REJECTED)

    @classmethod
    def failed(cls, error: Exception) -> Answer:
        """Return "failed" for an exception that the system did not handle."""
        return cls(result=Result.FAILED, text=type(error).__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the system: the name of a method of :class:`Adapter` and its arguments."""

    operation: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedAnswer:
    """The answer of a call, and when the system worked on it, in nanoseconds of any clock.

    :param started: None if the system does not say it.
    :param ended: None if the system does not say it.
    """

    answer: Answer
    started: int | None = None
    ended: int | None = None


PAUSE_EVERY: Final = 4  # calls of functions, in a thread of a race
PAUSE: Final = 1e-5  # seconds
OK: Final = Answer(result=Result.ACCEPTED)
UNSUPPORTED: Final = Answer(result=Result.UNSUPPORTED)


class Adapter:
    """Base class of the adapters. A method that is not overridden answers "unsupported".

    :cvar name: the name of the system.
    :cvar version: the version of the system.
    :cvar capabilities: the names of its capabilities, see ``CAPABILITIES``.
    """

    name = "unnamed system"
    version = ""
    capabilities: frozenset[str] = frozenset()

    def reset(self) -> Answer:
        """Delete all users and devices."""
        return UNSUPPORTED

    def set_time(self, now: int) -> Answer:
        """Set the clock of the system to the Unix time *now*, in seconds."""
        return UNSUPPORTED

    def set_zone(self, zone: str) -> Answer:
        """Set the time zone of the system, such as "Europe/Berlin"."""
        return UNSUPPORTED

    def restart(self) -> Answer:
        """Restart the system."""
        return UNSUPPORTED

    def provision(self, user: str, secret: str, **parameters: object) -> Answer:
        """Assign a device with a given key to *user*. Answer "rejected" to refuse it.

        :param user: the name of a test account, which exists already or is created.
        :param secret: the key in Base32.
        :param parameters: what differs from the default: ``algorithm``, ``digits``, ``period``,
            ``t0``, and for a counter-based device ``counter``, the next expected one.
        """
        return UNSUPPORTED

    def provision_uri(self, user: str, uri: str) -> Answer:
        """Assign the device of a key URI to *user*. Answer "rejected" to refuse the URI."""
        return UNSUPPORTED

    def begin(self, user: str, session: str = "") -> Answer:
        """Begin an enrollment. Return the key in Base32 and the id of the enrollment.

        :param user: the name of a test account, signed in with the password only.
        :param session: the session of the user.
        """
        return UNSUPPORTED

    def confirm(
        self, user: str, enrollment: str, codes: Sequence[str], session: str = ""
    ) -> Answer:
        """Confirm an enrollment with one code, or with two if the system requires two."""
        return UNSUPPORTED

    def verify(
        self, user: str, code: object, session: str = "", node: str = "", path: str = ""
    ) -> Answer:
        """Sign *user* in with *code*, after the password.

        :param code: a string; in some cases another value of JSON, such as a number.
        :param session: the session that signs in. Each name is another browser.
        :param node: "second" for the second process or machine.
        :param path: "second" for the second way to present a code.
        """
        return UNSUPPORTED

    def session_counts(self, user: str, session: str) -> Answer:
        """Answer "accepted" if *session* still counts as signed in with two factors."""
        return UNSUPPORTED

    def remove(self, user: str, proof: str, session: str = "") -> Answer:
        """Remove the device of *user*.

        :param proof: "support" for a person who may do it; "session" for the user in *session*,
            signed in with two factors; "password" for the user with the password only;
            "administrator password" for an administrator without a second factor.
        """
        return UNSUPPORTED

    def resync(self, user: str, codes: Sequence[str]) -> Answer:
        """Resynchronize the device of *user* with two codes."""
        return UNSUPPORTED

    def logs(self) -> Answer:
        """Return everything that was logged since the reset, as text."""
        return UNSUPPORTED

    def rows(self) -> Answer:
        """Return everything that is stored, as text."""
        return UNSUPPORTED

    def copy_row(self, source: str, user: str) -> Answer:
        """Copy what is stored of the device of *source* to *user*, as an attacker could."""
        return UNSUPPORTED

    def set_read_only(self, *, on: bool) -> Answer:
        """Let the storage refuse every write, or accept writes again."""
        return UNSUPPORTED

    def close(self) -> None:
        """End the system."""

    def call(self, call: Call) -> Answer:
        """Make one call. An exception becomes the answer "error"."""
        method: Callable[..., Answer] = getattr(self, call.operation)
        try:
            return method(**call.arguments)
        except Exception as error:  # noqa: BLE001  # of the system or the adapter: no answer
            return Answer(result=Result.ERROR, text=f"{type(error).__name__}: {error}")

    def call_at_once(self, calls: Sequence[Call]) -> list[TimedAnswer]:
        """Make all *calls* at the same time, each in a thread of its own.

        The threads pause in the functions that they call, so that calls of some microseconds
        overlap, and so that a check and the write that belongs to it come apart if they can.
        """
        answers: list[TimedAnswer] = [TimedAnswer(answer=UNSUPPORTED)] * len(calls)
        barrier = threading.Barrier(len(calls))

        def run(position: int, call: Call) -> None:
            barrier.wait()
            started = time.perf_counter_ns()
            sys.setprofile(_pausing_profile())
            try:
                answer = self.call(call)
            finally:
                sys.setprofile(None)
            ended = time.perf_counter_ns()
            answers[position] = TimedAnswer(answer=answer, started=started, ended=ended)

        threads = [
            threading.Thread(target=run, args=(position, call))
            for position, call in enumerate(calls)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers


def _pausing_profile() -> Callable[[FrameType, str, object], None]:
    """Return a profile function that pauses its thread in some of the calls of functions."""
    calls = 0

    def pause(_frame: FrameType, event: str, _value: object) -> None:
        nonlocal calls
        calls += event == "call"
        if event == "call" and calls % PAUSE_EVERY == 0:
            time.sleep(PAUSE)

    return pause


class FunctionAdapter(Adapter):
    """The common case: a library with a function that verifies a code, and no state.

    :param verify: takes the key in Base32, the code and the Unix time in seconds.
    :param name: the name of the library.
    :param version: its version.
    """

    capabilities = frozenset({"reset", "time", "provision", "parallel"})

    def __init__(
        self, verify: Callable[[str, str, int], object], *, name: str, version: str = ""
    ) -> None:
        self.name, self.version = name, version
        self._verify = verify
        self._now = 0
        self._secrets: dict[str, str] = {}

    def reset(self) -> Answer:
        """Forget all keys."""
        self._secrets.clear()
        return OK

    def set_time(self, now: int) -> Answer:
        """Set the time that the function gets."""
        self._now = now
        return OK

    def provision(self, user: str, secret: str, **parameters: object) -> Answer:
        """Keep the key of *user*; refuse *parameters*, which the function does not get."""
        if parameters:
            return UNSUPPORTED
        self._secrets[user] = secret
        return OK

    def verify(
        self, user: str, code: object, session: str = "", node: str = "", path: str = ""
    ) -> Answer:
        """Call the function. An exception is a failure of the library."""
        if not isinstance(code, str) or user not in self._secrets:
            return Answer.of(False)
        try:
            return Answer.of(self._verify(self._secrets[user], code, self._now))
        except Exception as error:  # noqa: BLE001  # the library raised it
            return Answer.failed(error)
