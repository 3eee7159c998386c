"""``vmfa keys``: master keys in files, and what depends on each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..errors import VmfaError
from ..models import PrincipalId
from ..reseal import key_usage, reseal as reseal_account
from .context import KEY_NOTICE, CommandContext, CommandResult
from .errors import EnvironmentProblem, WrongUsage
from .io import create_key_file, create_private_file
from .rendering import principal_data, shell_quoted
from .signing import read_checkpoint_file

AUDIT_KEY_NOTICE = (
    "the audit key is in the file. It checks records and histories, and computes no code. Give it"
    " to the auditor as a secret, and write a new one after each change of the master keys"
)


def generate(context: CommandContext) -> CommandResult:
    path, encoding = context.args.file, context.args.format
    _refuse_standard_output(path)
    create_key_file(path, encoding)
    return CommandResult(
        data={"file": path, "format": encoding, "notice": KEY_NOTICE}, text=[KEY_NOTICE]
    )


def audit_key(context: CommandContext) -> CommandResult:
    path = context.args.file
    _refuse_standard_output(path)
    create_private_file(path, context.keys.audit_key().to_text().encode("ascii"), "audit key file")
    return CommandResult(
        data={"file": path, "notice": AUDIT_KEY_NOTICE}, text=[AUDIT_KEY_NOTICE]
    )


def _refuse_standard_output(path: str) -> None:
    if path == "-":
        raise WrongUsage("a key is never printed: give the name of a new file")


def report(context: CommandContext) -> CommandResult:
    """Print how many records and devices depend on each master key."""
    roles = context.key_roles
    records: Counter[str] = Counter()
    derived: Counter[str] = Counter()
    sealed: Counter[str] = Counter()
    unreadable: list[PrincipalId] = []
    for account in context.accounts():
        usage = key_usage(context.store, account)
        records += usage.records
        derived += usage.derived_devices
        sealed += usage.sealed_devices
        unreadable += usage.unreadable
    rows = [
        {
            "id": key_id,
            "role": roles.get(key_id, "unknown"),
            "records": records[key_id],
            "derived_devices": derived[key_id],
            "sealed_devices": sealed[key_id],
        }
        for key_id in dict.fromkeys((*roles, *records, *derived, *sealed))
    ]
    failure: VmfaError | None = None
    if unreadable:
        failure = EnvironmentProblem(
            f"{len(unreadable)} records cannot be read", reason="unreadable records"
        )
    return CommandResult(
        data={"keys": rows, "unreadable": [principal_data(principal) for principal in unreadable]},
        text=[
            "master key        role         records  derived devices  sealed devices",
            *(
                f"{row['id']:<16}  {row['role']:<11}  {row['records']:>7}"
                f"  {row['derived_devices']:>15}  {row['sealed_devices']:>14}"
                for row in rows
            ),
            *(f"unreadable: {shell_quoted(principal)}" for principal in unreadable),
        ],
        failure=failure,
    )


def reseal(context: CommandContext) -> CommandResult:
    path, accounts = context.args.checkpoint, context.accounts()
    checkpoints = None if path is None else read_checkpoint_file(context, path)
    keys = context.registry.operations.keys
    return _result(
        "resealed",
        (
            (result.principal, result.changed, result.problem)
            for account in accounts
            for result in reseal_account(
                context.store, account, keys=keys, checkpoints=checkpoints
            )
        ),
    )


def rekey(context: CommandContext) -> CommandResult:
    sealed_keys, accounts = context.sealed_keys, context.accounts()

    from ..rekey import rekey as rekey_account  # needs the same optional package

    keys = context.registry.operations.keys
    return _result(
        "rekeyed",
        (
            (result.principal, result.changed, result.problem)
            for account in accounts
            for result in rekey_account(
                context.store, account, keys=keys, sealed_keys=sealed_keys
            )
        ),
    )


def _result(
    done: str, results: Iterable[tuple[PrincipalId, bool, str]]
) -> CommandResult:
    """Return what a pass did.

    :param done: what happened to the records that were changed, such as "resealed".
    :param results: the principal, whether its record was changed, and what prevented it.
    """
    changed = unchanged = 0
    problems: list[tuple[PrincipalId, str]] = []
    for principal, was_changed, problem in results:
        if problem:
            problems.append((principal, problem))
        elif was_changed:
            changed += 1
        else:
            unchanged += 1
    failure: VmfaError | None = None
    if problems:
        failure = EnvironmentProblem(
            f"{len(problems)} records were not {done}", reason=f"not {done}"
        )
    return CommandResult(
        data={
            done: changed,
            "unchanged": unchanged,
            "problems": [
                {**principal_data(principal), "problem": problem}
                for principal, problem in problems
            ],
        },
        text=[
            *(f"{shell_quoted(principal)}  {problem}" for principal, problem in problems),
            f"{changed} {done}, {unchanged} unchanged, {len(problems)} problems",
        ],
        failure=failure,
    )
