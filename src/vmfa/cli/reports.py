"""Reports that can be filed as evidence: ``vmfa selftest``, ``vmfa policy``, and their frame.

Every report states what it depends on: versions, time and host, which module computes each
primitive, and the policy. Its last line is a digest of the report.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import inf
from typing import Any, Final

from ..analysis import Guessing, report
from ..errors import VmfaError
from ..installation import fips_mode, openssl_version, vmfa_commit, vmfa_version
from ..otp import to_unix_seconds
from ..policy import Policy
from ..self_test import computed_by, selftest as compute_known_answers
from .context import CommandContext, CommandResult
from .errors import EnvironmentProblem, WrongUsage
from .io import printed
from .rendering import time_text

SOURCES: Final = (  # the prefix of the clause ids of a document, and its name
    ("RFC4226-", "RFC 4226"),
    ("RFC6238-", "RFC 6238"),
    ("SP80063B-", "NIST SP 800-63B"),
    ("ASVS5-", "OWASP ASVS 5.0"),
)


# The frame of every report


def environment(context: CommandContext) -> dict[str, str]:
    """Return what a report depends on: versions, time, host and the FIPS mode of OpenSSL."""
    return {
        "vmfa": vmfa_version(),
        "commit": vmfa_commit(),
        "time": time_text(to_unix_seconds(context.clock()), utc=True),
        "host": platform.node() or "unknown",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl": openssl_version(),
        "fips": fips_mode(),
    }


def report_result(
    context: CommandContext,
    *,
    data: Mapping[str, object],
    text: Sequence[str],
    chosen: Policy | None = None,
    failure: VmfaError | None = None,
) -> CommandResult:
    """Return a report with its frame: what it depends on, the policy, and a digest.

    :param data: the content, with ``--json``.
    :param text: the content, as lines of text.
    :param chosen: the policy; None: that of the command.
    :param failure: as for :class:`CommandResult`.
    """
    names, primitives = environment(context), dict(computed_by())
    limits = policy_data(chosen or context.args.command.policy or Policy())
    complete = {"environment": names, "computed_by": primitives, **data, "policy": limits}
    lines = [
        *(f"{name + ':':<9}{value}" for name, value in names.items()),
        *(f"{name}: computed by {module}" for name, module in primitives.items()),
        *text,
        *(f"policy: {name} = {_setting_text(value)}" for name, value in limits.items()),
    ]
    return CommandResult(
        data={**complete, "digest": data_digest(complete)},
        text=[*lines, f"digest: {text_digest(lines)}"],
        failure=failure,
    )


def policy_data(chosen: Policy) -> dict[str, Any]:
    """Return every field of a policy for JSON."""
    return {**asdict(chosen), "offers": [asdict(offer) for offer in chosen.offers]}


def data_digest(data: Mapping[str, object]) -> str:
    """Return the SHA-256 of a report as JSON, without its digest, in a form that is unique."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return sha256(text)


def text_digest(lines: Sequence[str]) -> str:
    """Return the SHA-256 of a report as text, without its last line, as it is printed."""
    return sha256(printed(lines))


def sha256(text: str) -> str:
    """Return the SHA-256 of *text* in hexadecimal, or "refused" if this build refuses SHA-256."""
    try:
        return hashlib.sha256(text.encode()).hexdigest()
    except ValueError:
        return "refused"


def _setting_text(value: object) -> str:
    if not isinstance(value, list):
        return str(value)
    return "; ".join(
        ", ".join(f"{name} {setting}" for name, setting in offer.items()) for offer in value
    )


# The reports


def selftest(context: CommandContext) -> CommandResult:
    result = compute_known_answers()
    failure = (
        None if result.passed else EnvironmentProblem(result.sentence, reason="self-test failed")
    )
    answers = (
        f"ok     {answer.source}"
        if answer.passed
        else f"WRONG  {answer.source}: {answer.problem}"
        for answer in result.answers
    )
    return report_result(
        context,
        data={
            "passed": result.passed,
            "refused": list(result.refused),
            "answers": [asdict(answer) for answer in result.answers],
        },
        text=[*answers, "passed" if result.passed else "FAILED"],
        failure=failure,
    )


def policy(context: CommandContext) -> CommandResult:
    args = context.args
    chosen = Policy.strict() if args.strict else Policy()
    changes = dict(_change(text) for text in args.set)
    if args.window is not None:
        changes["window"] = args.window
    return policy_report(
        context, chosen.replace(**changes), sign_ins=args.sign_ins,
        reenrollments=args.reenrollments,
    )


def policy_report(
    context: CommandContext, chosen: Policy, *, sign_ins: float, reenrollments: float
) -> CommandResult:
    """Return the report on a policy: the chances of an attacker, and what is weak.

    :param sign_ins: sign-ins of the user a day.
    :param reenrollments: new devices of the user a year.
    """
    result = report(chosen, sign_ins_per_day=sign_ins, reenrollments_per_year=reenrollments)
    chance = f"{result.likeliest_code:.3e}"
    data = asdict(result)
    for row in (*data["per_device"], *data["reenrolling"]):
        row["per_day"] = None if row["per_day"] == inf else row["per_day"]  # JSON has no infinity
    for row in data["weaknesses"]:
        row["source"] = _source(row.pop("clause"))
    return report_result(
        context,
        data=data,
        chosen=chosen,
        text=[
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
