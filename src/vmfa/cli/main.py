"""Run one command, and return its exit code."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from ..errors import UnknownMasterKey, VmfaError
from .context import CommandContext, CommandResult
from .errors import Bug, EnvironmentProblem, Interrupted, describe, exit_code
from .io import create_report_file, print_error, print_lines
from .parser import TextRequested, parse


def main(argv: Sequence[str] | None = None, *, clock: Callable[[], float] = time.time) -> int:
    """Run one command and return its exit code.

    :param argv: the arguments after the name of the program; None: those of this process.
    :param clock: a function that returns the Unix time, in seconds.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if sys.stdout is None or sys.stderr is None:
        return 5  # a key that enroll prints would be lost, and an error could not be printed
    problem: VmfaError | None
    try:
        problem = _run(arguments, clock)
    except VmfaError as error:
        problem = error
    except KeyboardInterrupt:
        problem = Interrupted("interrupted")
    except OSError as error:
        _discard_output()
        problem = EnvironmentProblem(
            f"the output or a temporary file cannot be written: {error.strerror}"
        )
    except Exception as error:  # noqa: BLE001  # Bug omits its text, which may contain a secret
        problem = Bug(error)
    if problem is None:
        return 0
    print_error(describe(problem, as_json="--json" in arguments))
    return exit_code(problem)


def _run(arguments: Sequence[str], clock: Callable[[], float]) -> VmfaError | None:
    try:
        args = parse(arguments)
    except TextRequested as request:
        print_lines(request.text.splitlines())
        return None
    with ExitStack() as stack:
        context = CommandContext(args, clock, stack)
        try:
            result: CommandResult = args.command.run(context)
        except UnknownMasterKey as error:
            raise context.explain(error) from None
    lines: Sequence[str] = result.text
    if args.json:
        lines = [] if result.data is None else [json.dumps(result.data)]
    path = getattr(args, "output", None)
    if path is None:
        print_lines(lines)
    else:
        create_report_file(path, lines)
    return result.failure


def _discard_output() -> None:
    """Discard what Python flushes when it exits, so that the write does not fail again."""
    with suppress(OSError), open(os.devnull, "wb") as null_device:
        os.dup2(null_device.fileno(), sys.stdout.fileno())
