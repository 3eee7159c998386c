"""``vmfa policy``: what the default or the strict policy is worth, on the command line. It needs no files."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from math import inf

from ..policy import Policy
from .commands import CommandContext, CommandResult, WrongUsage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="The policy that follows the norms.")
    parser.add_argument("--window", type=int, metavar="STEPS", help="Another window, either way.")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=NUMBER", help="Another number, of any field; repeatable."
    )
    parser.add_argument(
        "--sign-ins", type=float, default=1, metavar="N", help="Of the owner, a day (default: 1). 0: never."
    )


def _number(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    try:
        return name, int(number)
    except ValueError:
        raise WrongUsage("--set is written FIELD=NUMBER, such as --set login_drift=1") from None


def run_policy(desk: CommandContext) -> CommandResult:
    from ..analysis import report

    args = desk.args
    policy = Policy.strict() if args.strict else Policy()
    changes = dict(_number(each) for each in args.set)
    if args.window is not None:
        changes["window"] = args.window
    policy = policy.replace(**changes)
    found = report(policy, sign_ins_per_day=args.sign_ins)
    facts = asdict(found)
    for row in facts["guessing"]:
        row["per_day"] = None if row["per_day"] == inf else row["per_day"]  # JSON knows no infinity
    lines = [
        f"one guess: {found.candidates} candidates, the likeliest code has a chance of {found.likeliest_code:.3e}",
        *(
            f"{row.days:g} days, {'any rate' if row.per_day == inf else f'{row.per_day:g} a day'}:"
            f" {row.guesses} guesses, bounded by {row.bounded_by}: chance {row.probability:.1e}"
            for row in found.guessing
        ),
        *(f"weak: {weak.setting} ({weak.clause}): {weak.sentence}" for weak in found.weaknesses),
    ]
    return CommandResult(facts, lines)
