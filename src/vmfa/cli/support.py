"""``vmfa mark-spent`` and ``vmfa support``: what an operator does for users."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from math import ceil

from ..access import Actor
from ..errors import RecordTampered, StoreTooNew, UnknownMasterKey, VmfaError
from ..models import PrincipalId
from .context import SERVICE, CommandContext, CommandResult
from .errors import WrongUsage
from .rendering import principal_data, read_account, shell_quoted, time_text


def mark_spent(context: CommandContext) -> CommandResult:
    """Treat every code up to a time as used, for one principal or for a whole account.

    A record that cannot be authenticated does not stop the others.
    """
    until, by = _read_time(context.args.until), Actor.trusted_service(SERVICE)
    registry = context.registry
    marked = 0
    problems: list[tuple[PrincipalId, VmfaError]] = []
    for principal in _principals(context):
        try:
            registry.mark_spent(principal, by=by, until=until)
            marked += 1
        except (RecordTampered, StoreTooNew, UnknownMasterKey) as error:
            problems.append((principal, error))
    at = time_text(until, utc=context.args.utc)
    return CommandResult(
        data={
            "until": until,
            "principals": marked,
            "problems": [
                {**principal_data(principal), "problem": str(error)}
                for principal, error in problems
            ],
        },
        text=[
            *(f"{shell_quoted(principal)}  {error}" for principal, error in problems),
            f"every code up to {at} is used, for {marked} principals",
        ],
        failure=problems[0][1] if problems else None,
    )


def _principals(context: CommandContext) -> Iterator[PrincipalId]:
    args = context.args
    if (args.account is None) == (args.principal is None):
        raise WrongUsage("give either a principal or --account ACCOUNT")
    if args.account is None:
        yield context.principal
        return
    if args.root:
        raise WrongUsage("--account includes the root of the account: omit --root")
    account = PrincipalId.root(read_account(args.account)).account
    page = context.registry.principals(account)
    while page:
        yield from page
        page = context.registry.principals(account, after=page[-1])


def _read_time(text: str) -> int:
    """Return the Unix time in *text*: seconds, or ISO 8601 with an offset from UTC."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return ceil(moment.timestamp())
    except ValueError:
        pass
    raise WrongUsage(
        "--until takes Unix seconds, or ISO 8601 with an offset, such as 2026-11-24T12:00:00Z"
    )


def binding_code(context: CommandContext) -> CommandResult:
    code = context.registry.issue_binding_code(context.principal, by=context.actor())
    return CommandResult(
        data={
            "principal": principal_data(context.principal),
            "code": code.code,
            "expires_at": code.expires_at,
        },
        text=[
            f"binding code:  {code.code}",
            f"valid until:   {context.time(code.expires_at)}",
            "The code is not shown again. It replaces earlier ones.",
        ],
    )


def client_token(context: CommandContext) -> CommandResult:
    token = context.registry.give_client_token(context.principal, by=context.actor())
    return CommandResult(
        data={
            "principal": principal_data(context.principal),
            "token": token.text,
            "expires_at": token.expires_at,
        },
        text=[
            f"client token:  {token.text}",
            f"valid until:   {context.time(token.expires_at)}",
            "The token is not shown again. It counts for one sign-in of the owner.",
        ],
    )


def restore_budget(context: CommandContext) -> CommandResult:
    context.registry.restore_budget(context.principal, by=context.actor())
    return CommandResult(
        data={"principal": principal_data(context.principal)},
        text=["the guess budget is full again; change the first factor if guesses used it up"],
    )
