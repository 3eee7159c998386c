"""How a command fails: the errors of the command line, their exit codes and their texts."""

from __future__ import annotations

import json
from traceback import extract_tb
from typing import Final

from .. import errors


class WrongUsage(errors.InvalidValue):
    """The arguments are incomplete, unknown or contradictory."""

    reason = "usage"


class UnreadableFile(errors.InvalidValue):
    """A file to import or to compare with cannot be read. The text does not quote the file."""

    reason = "unreadable source"


class EnvironmentProblem(errors.VmfaError):
    """A file, a stream or a package that this command needs is missing or unsafe."""

    def __init__(self, message: str, *, reason: str = "environment") -> None:
        super().__init__(message)
        self.reason = reason


class MissingPackage(EnvironmentProblem):
    """An optional package is not installed; the text is a command that installs it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="missing extra")


class PartlyImported(errors.VmfaError):
    """Some entries of a source are not imported. The result says which, and why."""

    reason = "partly imported"


class NothingImported(errors.InvalidValue):
    """No entry of a source is imported. The result says why."""

    reason = "nothing imported"


class Interrupted(errors.VmfaError):
    """The user pressed Ctrl-C."""

    reason = "interrupted"


class Bug(errors.VmfaError):
    """An unexpected exception. Only its place is shown, because its text may contain a secret."""

    reason = "bug"

    def __init__(self, error: Exception) -> None:
        place = extract_tb(error.__traceback__)[-1]
        name = type(error).__name__
        super().__init__(f"a bug in vmfa: {name} in {place.filename}, line {place.lineno}")


EXIT_CODES: Final[tuple[tuple[type[errors.VmfaError], int], ...]] = (  # the first match counts
    (errors.CodeRejected, 1),
    (errors.InvalidValue, 2),
    (errors.InvalidType, 2),
    (errors.AccessDenied, 3),
    (errors.NoDevice, 4),
    (errors.NoSession, 4),
    (errors.DeviceAlreadyAssigned, 4),
    (errors.TooManySessions, 4),
    (errors.TooSoon, 4),
    (PartlyImported, 6),
    (Bug, 70),
    (Interrupted, 130),
    (errors.VmfaError, 5),
)


def exit_code(problem: errors.VmfaError) -> int:
    """Return the exit code of a command that ended with *problem*."""
    return next(code for kind, code in EXIT_CODES if isinstance(problem, kind))


def describe(problem: errors.VmfaError, *, as_json: bool) -> str:
    """Return *problem* as one sentence, or as a JSON object with the same keys for every error."""
    wait = problem.retry_after
    remedy = getattr(problem, "remedy", None)
    if as_json:
        return json.dumps(
            {
                "reason": problem.reason,
                "message": str(problem),
                "remedy": remedy,
                "retry_after": wait,
                "message_id": problem.message_id,
                "claimant_message": problem.claimant_message,
                "exit_code": exit_code(problem),
            }
        )
    advice = ""
    if isinstance(problem, errors.PairRejected) and remedy == "retry":
        advice = "; if you waited, repeat with two new codes"
    if isinstance(problem, errors.AccessDenied):
        advice = "; choose the actor with --as and --code"
    if wait and not isinstance(problem, (errors.Throttled, errors.SignInClosed)):
        # The messages of these two say it.
        advice += f"; wait {wait} seconds"
    return f"vmfa: {problem}{advice}"
