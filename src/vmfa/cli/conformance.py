"""``vmfa conformance``: audit a system that verifies one-time codes."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import VmfaError
from .context import CommandContext, CommandResult
from .errors import EnvironmentProblem, WrongUsage

if TYPE_CHECKING:
    from ..conformance import Adapter, Report

ABOUT: Final = "Audit a system that verifies codes: list, run, template, vectors."
LEVELS: Final = {"must": 1, "should": 2, "any": 3}  # how many levels count, from the strongest
FORMATS: Final = {".md": "markdown", ".json": "json", ".xml": "junit"}


# The arguments


def add_names(parser: argparse.ArgumentParser) -> None:
    """Add the choice of cases."""
    parser.add_argument(
        "--case",
        action="append",
        default=[],
        metavar="ID",
        help="a case such as replay/same-code, or a group such as replay; repeatable (all)",
    )


def add_list(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``list``."""
    parser.add_argument(
        "--capabilities", action="store_true", help="list what adapters can declare instead"
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``run``."""
    parser.add_argument(
        "--python", metavar="TARGET", help="an adapter in Python: MODULE:NAME or FILE.py:NAME"
    )
    parser.add_argument(
        "--program", metavar="COMMAND", help="a program that speaks JSON lines, with arguments"
    )
    parser.add_argument(
        "--write",
        action="append",
        default=[],
        metavar="FILE",
        help="write the report to a file: .md, .json, or .xml for JUnit; repeatable",
    )
    parser.add_argument(
        "--fail-on",
        choices=tuple(LEVELS),
        default="must",
        metavar="LEVEL",
        help="which violations fail the command: must (the default), should or any",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=10,
        metavar="S",
        help="the seconds that an answer of a program may take (10)",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=0,
        metavar="S",
        help="if the clock cannot be set: the seconds that a case may wait (0)",
    )
    parser.add_argument(
        "--timing",
        type=int,
        default=0,
        metavar="N",
        help="also measure how long right and wrong codes take, in N rounds",
    )


def add_template(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``template``."""
    parser.add_argument(
        "kind",
        choices=("python", "program"),
        metavar="KIND",
        help="python: a class; program: JSON lines, for any language",
    )


# The commands


def list_cases(context: CommandContext) -> CommandResult:
    from ..conformance import CAPABILITIES
    from ..conformance.runner import cases_digest, chosen_cases

    if context.args.capabilities:
        text = [f"{name:<17} {about}" for name, about in CAPABILITIES.items()]
        return CommandResult(data={"capabilities": dict(CAPABILITIES)}, text=text)
    cases = chosen_cases(context.args.case)
    text = [f"{case.level.value:<16}  {case.id}: {case.title}" for case in cases]
    data = {"digest": cases_digest(), "cases": [case.to_dict() for case in cases]}
    return CommandResult(data=data, text=[*text, f"digest {cases_digest()}"])


def run(context: CommandContext) -> CommandResult:
    from ..conformance import run as run_cases

    args = context.args
    unknown = [path for path in args.write if Path(path).suffix not in FORMATS]
    if unknown:
        raise WrongUsage("--write takes a file that ends with .md, .json or .xml")
    adapter = _adapter(context)
    try:
        report = run_cases(adapter, args.case, wait=args.wait, timing=args.timing)
    finally:
        adapter.close()
    for path in args.write:
        _write(path, report)
    text = report.summary()
    if args.case:  # a vendor repeats one case: show how it went
        for result in report.results:
            if result.case.group != "baseline":
                text += ["", f"{result.case.id}: {result.verdict.value}", result.case.title]
                text += result.transcript_lines()
    return CommandResult(data=report.to_dict(), text=text, failure=_failure(report, args.fail_on))


def _adapter(context: CommandContext) -> Adapter:
    from ..conformance import ProgramAdapter
    from ..conformance.loading import load_adapter

    args = context.args
    if bool(args.python) == bool(args.program):
        raise WrongUsage("choose the system with --python or with --program")
    if args.python:
        return load_adapter(args.python)
    return ProgramAdapter(shlex.split(args.program), timeout=args.timeout)


def _write(path: str, report: Report) -> None:
    text: str = getattr(report, FORMATS[Path(path).suffix])()
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        raise EnvironmentProblem(f"the report cannot be written: {error.strerror}") from None


def _failure(report: Report, fail_on: str) -> VmfaError | None:
    from ..conformance import Level

    counted = list(Level)[: LEVELS[fail_on]]
    violated = report.violated(*counted)
    if violated:
        return EnvironmentProblem(
            f"{len(violated)} cases are violated, the first is {violated[0].case.id}",
            reason="not conforming",
        )
    if not report.conclusive:
        return EnvironmentProblem("the audit is not conclusive", reason="not conclusive")
    return None


def template(context: CommandContext) -> CommandResult:
    from ..conformance.template import TEMPLATES

    text = TEMPLATES[context.args.kind]
    return CommandResult(data={"template": text}, text=text.splitlines())


def vectors(context: CommandContext) -> CommandResult:
    from ..conformance.runner import vectors as make_vectors

    document = make_vectors(context.args.case)
    return CommandResult(data=document, text=json.dumps(document, indent=1).splitlines())
