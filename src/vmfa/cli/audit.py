"""``vmfa audit``: verify, compare and export the histories of accounts. Nothing is changed."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from ..access import Actor
from ..audit import (
    AuditFailed,
    HistoryResult,
    checkpoint_document,
    compare as compare_store,
    compare_with,
    compare_with_audit_key,
    line,
    verify_history,
    verify_with_audit_key,
)
from ..events import AuditEvent
from ..keysources.base import AuditKey
from ..ocsf import ocsf_line
from .context import CommandContext, CommandResult
from .io import read_private_file
from .rendering import principal_data
from .reports import environment, report_result
from .signing import read_checkpoint_file, sign

FORMATS: Final[dict[str, Callable[[str, AuditEvent], str]]] = {  # service, event: one line
    "jsonl": lambda _, event: line(event),
    "ocsf": lambda service, event: ocsf_line(event, service=service),
}


def add_format(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        choices=tuple(FORMATS),
        default="jsonl",
        metavar="FORMAT",
        help="jsonl (the fields of vmfa, the default) or ocsf (the fields of OCSF)",
    )
    parser.add_argument(
        "--service", default="vmfa", metavar="NAME", help="the service in sign-ins of OCSF (vmfa)"
    )


def verify(context: CommandContext) -> CommandResult:
    results, hidden = _results(context)
    return _report(context, results, hidden)


def checkpoint(context: CommandContext) -> CommandResult:
    results, hidden = _results(context)
    intact = [result.checkpoint for result in results if result.checkpoint is not None]
    document = {
        **checkpoint_document(intact, context.clock()),
        "environment": environment(context),
    }
    broken = [result for result in results if result.problem]
    signed = sign(context, document)
    return CommandResult(
        data=document if signed is None else json.loads(signed),
        text=[json.dumps(document) if signed is None else signed],
        failure=_failure(broken, hidden),
    )


def compare(context: CommandContext) -> CommandResult:
    checkpoints = read_checkpoint_file(context, context.args.file)
    audit_key = _audit_key(context)
    if audit_key is not None:
        results = compare_with_audit_key(context.store, checkpoints, audit_key=audit_key)
        return _report(context, results)
    operations = context.registry.operations
    by = Actor.support(context.args.case)
    results = compare_store(
        context.store, checkpoints, operations=operations, by=by, clock=context.clock
    )
    return _report(context, results)


def export(context: CommandContext) -> CommandResult:
    since = context.args.since
    checkpoints = [] if since is None else read_checkpoint_file(context, since)
    exported = {old.principal: old for old in checkpoints}
    results, hidden = _results(context)
    write = partial(FORMATS[context.args.format], context.args.service)
    lines: list[str] = []
    broken: list[HistoryResult] = []
    for current in results:
        old = exported.get(current.principal)
        result = current if old is None else compare_with(old, current)
        start = (
            0 if old is None or result.problem else old.events
        )  # nothing of another history was exported
        lines += [write(event) for event in result.events[start:]]
        if result.problem:
            broken.append(result)
    return CommandResult(data={"lines": lines}, text=lines, failure=_failure(broken, hidden))


def _results(context: CommandContext) -> tuple[list[HistoryResult], list[str]]:
    """Return the histories of all accounts, and the problems of rows without a principal."""
    results: list[HistoryResult] = []
    hidden: list[str] = []
    accounts, audit_key = context.accounts(), _audit_key(context)
    for account in accounts:
        try:
            results.extend(_verified(context, account, audit_key))
        except AuditFailed as error:
            hidden.append(str(error))
    return results, hidden


def _verified(
    context: CommandContext, account: str, audit_key: AuditKey | None
) -> Iterator[HistoryResult]:
    if audit_key is not None:
        return verify_with_audit_key(context.store, account, audit_key=audit_key)
    return verify_history(
        context.store, account, operations=context.registry.operations,
        by=Actor.support(context.args.case), clock=context.clock,
    )


def _audit_key(context: CommandContext) -> AuditKey | None:
    """Return the key in the file of ``--audit-key``; None without that option."""
    path = context.args.audit_key
    if path is None:
        return None
    hint = "create one with 'vmfa keys audit-key FILE'"
    content = read_private_file(path, "audit key file", hint=hint)
    try:
        return AuditKey.from_text(content.decode("ascii", "replace"))
    finally:  # error trackers record the locals of a raising frame
        del content


def _report(
    context: CommandContext, results: Iterable[HistoryResult], hidden: Sequence[str] = ()
) -> CommandResult:
    principals: list[dict[str, object]] = []
    text: list[str] = []
    broken: list[HistoryResult] = []
    for result in results:
        count, reason = len(result.events), result.reason or "intact"
        data = principal_data(result.principal)
        principals.append(
            {
                **data, "events": count, "reason": reason, "problem": result.problem,
                "tampering": result.tampering, "event": result.event,
            }
        )
        place = "record" if result.event is None else f"event {result.event}"
        problem = f"{result.problem} [{place}: {result.tampering}]"
        text.append(
            f"{result.principal}  {reason}: {problem if result.problem else f'{count} events'}"
        )
        if result.problem:
            broken.append(result)
    text += [f"HIDDEN  {problem}" for problem in hidden]
    return report_result(
        context,
        data={"principals": principals, "hidden": list(hidden)},
        text=text or ["no principal of these accounts has a record"],
        failure=_failure(broken, hidden),
    )


def _failure(broken: Sequence[HistoryResult], hidden: Sequence[str]) -> AuditFailed | None:
    problems = [*hidden, *(f"{result.principal}: {result.problem}" for result in broken)]
    if not problems:
        return None
    more = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
    return AuditFailed(problems[0] + more)
