"""``vmfa store``: copy a database into another one, and compare them."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from ..copying import CopyResult, compare_records, copy_records
from ..errors import InvalidValue, VmfaError
from ..stores.base import Store
from ..stores.sqlite import SQLiteStore
from .context import CommandContext, CommandResult, load_extra
from .errors import EnvironmentProblem, MissingPackage, WrongUsage
from .io import check_database
from .rendering import principal_data, read_account, shell_quoted


def databases(parser: ArgumentParser) -> None:
    """Add the arguments of the commands."""
    place = "a file of SQLite, postgresql://..., or a URL of SQLAlchemy"
    parser.add_argument("source", metavar="FROM", help=f"the database to copy: {place}")
    parser.add_argument("destination", metavar="TO", help="the database that gets the copy")
    parser.add_argument(
        "accounts", nargs="*", metavar="ACCOUNT", help="only these accounts (all accounts)"
    )


def copy(context: CommandContext) -> CommandResult:
    """Copy every record, then compare both databases."""
    keys, accounts = context.keys, _accounts(context)
    source = _open(context, context.args.source, creates=False)
    destination = _open(context, context.args.destination, creates=True)
    copied = list(copy_records(source, destination, keys=keys, accounts=accounts))
    problems = [result for result in copied if result.problem]
    if not problems:
        compared = compare_records(source, destination, keys=keys, accounts=accounts)
        problems = [result for result in compared if result.problem]
    number = sum(result.copied for result in copied)
    data = {"copied": number, "already": len(copied) - number - _count(copied)}
    return _result(copied, problems, data, f"{number} records copied, {data['already']} before")


def compare(context: CommandContext) -> CommandResult:
    """Compare both databases, and change neither."""
    keys, accounts = context.keys, _accounts(context)
    source = _open(context, context.args.source, creates=False)
    destination = _open(context, context.args.destination, creates=False)
    compared = list(compare_records(source, destination, keys=keys, accounts=accounts))
    problems = [result for result in compared if result.problem]
    equal = len(compared) - len(problems)
    return _result(compared, problems, {"equal": equal}, f"{equal} records are equal")


def _count(results: Iterable[CopyResult]) -> int:
    return sum(bool(result.problem) for result in results)


def _result(
    results: list[CopyResult], problems: list[CopyResult], data: Mapping[str, object], text: str
) -> CommandResult:
    events = sum(result.events for result in results)
    failure: VmfaError | None = None
    if problems:
        failure = EnvironmentProblem(
            f"{len(problems)} records differ or cannot be copied: stop every service, and see the"
            " list of problems",
            reason="not a copy",
        )
    return CommandResult(
        data={
            **data,
            "events": events,
            "problems": [
                {**principal_data(result.principal), "problem": result.problem}
                for result in problems
            ],
        },
        text=[
            *(f"{shell_quoted(result.principal)}  {result.problem}" for result in problems),
            f"{text}, {events} events, {len(problems)} problems",
        ],
        failure=failure,
    )


def _accounts(context: CommandContext) -> list[str] | None:
    return [read_account(text) for text in context.args.accounts] or None


def _open(context: CommandContext, place: str, *, creates: bool) -> Store:
    """Open the database at *place*, which is never quoted: a URL may contain a password."""
    scheme, is_url, _ = place.partition("://")
    if not is_url:
        if not check_database(place) and not creates:
            raise EnvironmentProblem("the database to read does not exist")
        return context.enter(SQLiteStore(place, create=creates))
    if scheme in ("postgresql", "postgres"):
        postgres = load_extra("vmfa.stores.postgres", "postgres", "a database of PostgreSQL needs")
        store = context.enter(postgres.PostgresStore(place))
    else:
        store = context.enter(_sqlalchemy_store(place))
    if creates:
        store.create_schema()
    opened: Store = store
    return opened


def _sqlalchemy_store(url: str) -> Any:
    stores = load_extra("vmfa.stores.sqlalchemy", "sqlalchemy", "a URL of SQLAlchemy needs")
    sqlalchemy = import_module("sqlalchemy")
    problem: VmfaError = WrongUsage("a database is not a file and not a URL of SQLAlchemy")
    try:
        return stores.SQLAlchemyStore(sqlalchemy.create_engine(url))
    except InvalidValue:
        raise
    except ImportError:
        problem = MissingPackage("the driver in the URL of the database is not installed")
    except (sqlalchemy.exc.ArgumentError, ValueError):
        pass  # raised below: an exception raised here would carry the URL
    del url
    raise problem
