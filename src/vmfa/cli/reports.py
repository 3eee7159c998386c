"""Reports: ``vmfa selftest``, ``vmfa policy``, and the environment that every report states."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib import import_module
from math import inf
from typing import Final

from ..analysis import Guessing, report
from ..otp import to_unix_seconds
from ..policy import Policy
from ..self_test import selftest as compute_known_answers
from .context import CommandContext, CommandResult
from .errors import EnvironmentProblem, WrongUsage
from .rendering import time_text

SOURCES: Final = (  # the prefix of the clause ids of a document, and its name
    ("RFC4226-", "RFC 4226"),
    ("RFC6238-", "RFC 6238"),
    ("SP80063B-", "NIST SP 800-63B"),
    ("ASVS5-", "OWASP ASVS 5.0"),
)


# The environment


def environment(context: CommandContext) -> dict[str, str]:
    """Return what a report depends on: versions, time, host and the FIPS mode of OpenSSL."""
    return {
        "vmfa": vmfa_version(),
        "time": time_text(to_unix_seconds(context.clock()), utc=True),
        "host": platform.node() or "unknown",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl": _openssl_version(),
        "fips": _fips_mode(),
    }


def environment_lines(names: dict[str, str]) -> list[str]:
    """Return the result of :func:`environment` as lines of text."""
    return [f"{name + ':':<9}{text}" for name, text in names.items()]


def vmfa_version() -> str:
    """Return the version of the installed package, or "not installed"."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, seldom needed

    try:
        return version("vmfa")
    except PackageNotFoundError:  # run from a source tree
        return "not installed"


def _openssl_version() -> str:
    try:
        text: str = import_module("ssl").OPENSSL_VERSION
    except ImportError:
        return "none"
    return text


def _fips_mode() -> str:
    """Return whether the OpenSSL that ``hashlib`` uses runs in FIPS mode."""
    try:
        return "on" if import_module("_hashlib").get_fips_mode() else "off"
    except (ImportError, AttributeError, ValueError):  # a Python without OpenSSL
        return "unknown"


# The reports


def selftest(context: CommandContext) -> CommandResult:
    names, report = environment(context), compute_known_answers()
    failure = (
        None if report.passed else EnvironmentProblem(report.sentence, reason="self-test failed")
    )
    data = {
        "environment": names,
        "passed": report.passed,
        "refused": list(report.refused),
        "computed_by": dict(report.computed_by),
        "answers": [asdict(answer) for answer in report.answers],
    }
    return CommandResult(
        data=data,
        failure=failure,
        text=[
            *environment_lines(names),
            *(f"{name}: computed by {module}" for name, module in report.computed_by),
            *(
                f"ok     {answer.source}"
                if answer.passed
                else f"WRONG  {answer.source}: {answer.problem}"
                for answer in report.answers
            ),
            "passed" if report.passed else "FAILED",
        ],
    )


def policy(context: CommandContext) -> CommandResult:
    names, args = environment(context), context.args
    chosen = Policy.strict() if args.strict else Policy()
    changes = dict(_change(text) for text in args.set)
    if args.window is not None:
        changes["window"] = args.window
    chosen = chosen.replace(**changes)
    result = report(
        chosen, sign_ins_per_day=args.sign_ins, reenrollments_per_year=args.reenrollments
    )
    chance = f"{result.likeliest_code:.3e}"
    data = {"environment": names, **asdict(result)}
    for row in (*data["per_device"], *data["reenrolling"]):
        row["per_day"] = None if row["per_day"] == inf else row["per_day"]  # JSON has no infinity
    for row in data["weaknesses"]:
        row["source"] = _source(row.pop("clause"))
    return CommandResult(
        data=data,
        text=[
            *environment_lines(names),
            f"one guess: {result.candidates} candidates, each with a chance of at most {chance}",
            "for each device:",
            *map(_guessing_line, result.per_device),
            f"with {result.reenrollments_per_year:g} new devices a year, each with a full budget:",
            *map(_guessing_line, result.reenrolling),
            *(
                f"weak: {weakness.setting} ({_source(weakness.clause)}): {weakness.sentence}"
                for weakness in result.weaknesses
            ),
        ],
    )


def _guessing_line(row: Guessing) -> str:
    rate = "any rate" if row.per_day == inf else f"{row.per_day:g} a day"
    chance = f"chance {row.probability:.1e}"
    return (
        f"{row.days:g} days, {rate}: {row.guesses} guesses, bounded by {row.bounded_by}: {chance}"
    )


def _change(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    try:
        return name, int(number)
    except ValueError:
        raise WrongUsage("--set is written FIELD=NUMBER, such as --set login_drift=1") from None


def _source(clause: str) -> str:
    """Return the document and section of a clause id. Other ids are the defaults of vmfa."""
    for prefix, name in SOURCES:
        if clause.startswith(prefix):
            return f"{name}, section {clause.removeprefix(prefix).partition('-')[0]}"
    return "default of vmfa"
