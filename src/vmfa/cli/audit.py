"""``vmfa trail``: the passes over the histories of accounts, on the command line. They change nothing."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence

from ..access import Actor
from ..audit import (
    AuditFailed,
    Checkpoint,
    HistoryResult,
    checkpoint_document,
    compare,
    compare_with,
    line,
    plain,
    read_checkpoints,
    verify_history,
)
from ..operations import Operations
from ..stores.base import Store
from .importing import read_text

Answered = tuple[dict[str, object], list[str], AuditFailed | None]


def add_passes(parser: argparse.ArgumentParser, *common: Callable[[argparse.ArgumentParser], None]) -> None:
    """The passes as subcommands of *parser*, each with the options that all have in *common*."""
    passes = parser.add_subparsers(dest="trail", metavar="PASS", required=True)
    for name, about in (
        ("verify", "Check every history: the first event that was changed, removed or moved is named."),
        ("heads", "Print what commits to every history, to be kept elsewhere."),
        ("compare", "Hold the database against heads that were printed earlier."),
        ("export", "Print the events as JSON lines for a SIEM."),
    ):
        each = passes.add_parser(name, help=about, description=about, allow_abbrev=False)
        if name == "compare":
            each.set_defaults(accounts=())
            each.add_argument("heads", metavar="HEADS", help="what vmfa trail heads printed; - is standard input")
        else:
            each.add_argument("accounts", nargs="+", metavar="ACCOUNT", help="the accounts")
        if name == "export":
            each.add_argument("--since", metavar="HEADS", help="only the events behind these heads")
        each.add_argument("--case", default="vmfa trail", metavar="TEXT", help="The case this is read for, as support.")
        for add in common:
            add(each)


def run(
    args: argparse.Namespace, accounts: Iterable[str], store: Store, operations: Operations,
    clock: Callable[[], float],
) -> Answered:
    """Facts, lines and failure of the pass that the arguments name."""
    by = Actor.support(args.case)
    if args.trail == "compare":
        heads = read_checkpoints(read_text(args.heads))
        return _reported(compare(store, heads, operations=operations, by=by, clock=clock))
    found, hidden = list[HistoryResult](), list[str]()
    for account in accounts:
        try:
            found.extend(verify_history(store, account, operations=operations, by=by, clock=clock))
        except AuditFailed as error:
            hidden.append(str(error))
    if args.trail == "verify":
        return _reported(found, hidden)
    if args.trail == "heads":
        return _heads(found, hidden, clock())
    return _exported(found, hidden, [] if args.since is None else read_checkpoints(read_text(args.since)))


def _exported(found: Iterable[HistoryResult], hidden: Sequence[str], since: Iterable[Checkpoint]) -> Answered:
    exported = {old.principal: old for old in since}
    lines, broken = list[str](), list[HistoryResult]()
    for each in found:
        start, old = 0, exported.get(each.principal)
        if old is not None:
            each = compare_with(old, each)  # noqa: PLW2901  # the same principal, judged
            start = 0 if each.problem else old.events  # of another life nothing was exported yet
        lines += [line(event) for event in each.events[start:]]
        if each.problem:
            broken.append(each)
    return {"lines": lines}, lines, _failure(broken, hidden)


def _reported(found: Iterable[HistoryResult], hidden: Sequence[str] = ()) -> Answered:
    facts, lines, broken = list[dict[str, object]](), list[str](), list[HistoryResult]()
    for each in found:
        facts.append({**plain(each.principal), "events": len(each.events), "reason": each.reason or "intact",
                      "problem": each.problem})
        lines.append(f"{each.principal}  {each.reason or 'intact'}: {each.problem or f'{len(each.events)} events'}")
        if each.problem:
            broken.append(each)
    lines += [f"HIDDEN  {problem}" for problem in hidden]
    told = {"principals": facts, "hidden": list(hidden)}
    return told, lines or ["no principal of these accounts is known"], _failure(broken, hidden)


def _heads(found: Sequence[HistoryResult], hidden: Sequence[str], at: float) -> Answered:
    document = checkpoint_document([each.head for each in found if each.head is not None], at)
    return document, [json.dumps(document)], _failure([each for each in found if each.problem], hidden)


def _failure(broken: Sequence[HistoryResult], hidden: Sequence[str]) -> AuditFailed | None:
    problems = [*hidden, *[f"{each.principal}: {each.problem}" for each in broken]]
    if not problems:
        return None
    also = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
    return AuditFailed(problems[0] + also)
