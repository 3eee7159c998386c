"""``vmfa import``: adopt the devices of another system, or show what would happen."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Final

from ..access import Actor
from ..errors import InvalidValue
from ..importers.base import (
    DryRunStore,
    Item,
    Outcome,
    Principals,
    Status,
    UnreadableSource,
    adopt_all,
    json_value,
    read_parameters,
)
from ..policy import Parameters, Policy
from ..registry import DeviceRegistry
from ..stores.base import Store
from ..stores.memory import MemoryStore
from .context import CommandContext, CommandResult
from .errors import WrongUsage
from .io import read_source
from .rendering import principal_data

FORMATS: Final = (
    "django-allauth",
    "django-otp",
    "google-authenticator",
    "otpauth",
    "otpauth-migration",
    "passlib",
    "pyotp",
)


class NotAllImported(InvalidValue):
    """Some entries were not imported. The result says which, and why."""

    reason = "entries not imported"


def import_devices(context: CommandContext) -> CommandResult:
    """Read FILE and adopt what is in it. A dry run writes nothing, and creates no file."""
    args = context.args
    if args.dry_run and args.create_key_file:
        raise WrongUsage("--dry-run creates no key file: use 'vmfa keys generate FILE' first")
    offers = [*Policy().offers, *(_parameters("--offer", offer) for offer in args.offer)]
    if args.parameters is not None:
        offers.append(_parameters("--parameters", args.parameters))
    items = _items(context)
    names = None if args.map is None else _names(read_source(args.map))
    deque(items, maxlen=0)  # a source that cannot be read must leave no key file and no database
    keys, imported_keys = context.keys, context.sealed_keys
    registry = DeviceRegistry(
        _store(context),
        keys=keys,
        imported_keys=imported_keys,
        issuer="vmfa",
        clock=context.clock,
        policy=Policy(offers=tuple(offers)),
    )
    principals = Principals(account=args.account, names=names, root=args.root_owner)
    by = Actor.trusted_service("vmfa import")
    outcomes = list(adopt_all(registry, items, by=by, principals=principals))
    return _result(outcomes, dry_run=args.dry_run)


def _store(context: CommandContext) -> Store:
    if not context.args.dry_run:
        return context.store
    return DryRunStore(context.store if context.database_exists else MemoryStore())


def _items(context: CommandContext) -> Iterable[Item]:
    args = context.args
    options: dict[str, Any] = {"unsafe_short_keys": args.unsafe_short_keys}
    match args.format:
        case "google-authenticator":
            options["owner"] = args.owner
        case "otpauth-migration":
            options["allow_incomplete"] = args.allow_incomplete
        case "django-allauth" if args.parameters is not None:
            options["parameters"] = _parameters("--parameters", args.parameters)
    source = import_module(f"vmfa.importers.{args.format.replace('-', '_')}")
    items: Iterable[Item] = source.read(read_source(args.file), **options)
    return items


def _names(text: str) -> Mapping[str, str]:
    names = json_value(text)
    if isinstance(names, dict) and all(isinstance(name, str) for name in names.values()):
        return names
    raise UnreadableSource("--map is not a JSON object whose values are text")


def _parameters(option: str, text: str) -> Parameters:
    try:
        return read_parameters(text)
    except InvalidValue as error:
        raise WrongUsage(f"{option}: {error}") from None


def _result(outcomes: list[Outcome], *, dry_run: bool) -> CommandResult:
    counts = Counter(outcome.status for outcome in outcomes)
    missing = sum(not outcome.imported for outcome in outcomes)
    data: dict[str, object] = {
        "dry_run": dry_run,
        **{status.value: counts[status] for status in Status},
        "entries": [_data(outcome) for outcome in outcomes],
    }
    total = ", ".join(f"{counts[status]} {status}" for status in Status)
    return CommandResult(
        data=data,
        text=[
            *(_line(outcome, dry_run=dry_run) for outcome in outcomes),
            f"{'dry run: ' * dry_run}{total}",
        ],
        failure=NotAllImported(f"{missing} of {len(outcomes)} entries were not imported")
        if missing
        else None,
    )


def _data(outcome: Outcome) -> dict[str, object]:
    principal, device = outcome.principal, outcome.device
    data: dict[str, object] = {
        "where": outcome.where,
        "owner": outcome.owner,
        "outcome": outcome.status.value,
    }
    if principal is not None:
        data["principal"] = principal_data(principal)
    if device is not None:
        data |= {
            "last_step": device.last_step,
            "drift": device.drift,
            "failures": device.failures,
            "disabled": device.disabled,
        }
    if outcome.reason:
        data["reason"] = outcome.reason
    return {**data, "notes": list(outcome.notes)}


def _line(outcome: Outcome, *, dry_run: bool) -> str:
    would = "would be " if dry_run and outcome.status is not Status.ALREADY else ""
    target = f" -> {outcome.principal}" if outcome.principal else ""
    more = "; ".join(filter(None, (outcome.reason, *outcome.notes)))
    line = f"{would}{outcome.status}: {outcome.where} {outcome.owner}{target}"
    return f"{line}: {more}" if more else line
