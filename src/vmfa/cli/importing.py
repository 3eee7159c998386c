"""``vmfa import``: adopt the devices that another system assigned, or show what would happen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
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
    "django-otp",
    "google-authenticator",
    "otpauth",
    "otpauth-migration",
    "passlib",
    "pyotp",
)


class NotAllAdopted(InvalidValue):
    """Some entries were refused; the result says which, and why. The others were adopted."""

    reason = "entries refused"


def import_devices(context: CommandContext) -> CommandResult:
    """Read FILE and adopt what is in it. A dry run writes nothing, and creates no file."""
    args = context.args
    if args.dry_run and args.create_key_file:
        raise WrongUsage("--dry-run creates no key file: use 'vmfa keys generate FILE' first")
    keys, imported_keys = context.keys, context.imported_keys
    items = _items(context)
    registry = DeviceRegistry(
        _store(context),
        keys=keys,
        imported_keys=imported_keys,
        issuer="vmfa",
        clock=context.clock,
        policy=Policy(offers=(*Policy().offers, *map(_parameters, args.offer))),
    )
    names = None if args.map is None else _names(read_source(args.map))
    principals = Principals(account=args.account, names=names, root=args.root_owner)
    by = Actor.trusted_service("vmfa import")
    outcomes = list(adopt_all(registry, items, by=by, principals=principals))
    return _result(outcomes, dry_run=args.dry_run)


def _store(context: CommandContext) -> Store:
    if not context.args.dry_run:
        return context.store
    return DryRunStore(context.store if context.database_exists else MemoryStore())


def _items(context: CommandContext) -> list[Item]:
    args = context.args
    options: dict[str, Any] = {"unsafe_short_keys": args.unsafe_short_keys}
    if args.format == "google-authenticator":
        options["owner"] = args.owner
    source = import_module(f"vmfa.importers.{args.format.replace('-', '_')}")
    items: list[Item] = source.read(read_source(args.file), **options)
    return items


def _names(text: str) -> Mapping[str, str]:
    names = json_value(text)
    if isinstance(names, dict) and all(isinstance(name, str) for name in names.values()):
        return names
    raise UnreadableSource("--map is not a JSON object whose values are text")


def _parameters(offer: str) -> Parameters:
    algorithm, *numbers = offer.split(",")
    if len(numbers) != 2 or not all(n.isascii() and n.isdigit() and len(n) <= 9 for n in numbers):
        raise WrongUsage("--offer is written ALGORITHM,DIGITS,PERIOD, such as sha256,8,30")
    digits, period = numbers
    return Parameters(algorithm=algorithm.lower(), digits=int(digits), period=int(period))


def _result(outcomes: list[Outcome], *, dry_run: bool) -> CommandResult:
    counts = Counter(outcome.fate for outcome in outcomes)
    refused = counts[Status.REFUSED]
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
        failure=NotAllAdopted(f"{refused} of {len(outcomes)} entries refused")
        if refused
        else None,
    )


def _data(outcome: Outcome) -> dict[str, object]:
    principal, device = outcome.principal, outcome.device
    data: dict[str, object] = {
        "where": outcome.where,
        "owner": outcome.owner,
        "outcome": outcome.fate.value,
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
    would = "would be " if dry_run and outcome.fate is not Status.ALREADY else ""
    target = f" -> {outcome.principal}" if outcome.principal else ""
    more = "; ".join(filter(None, (outcome.reason, *outcome.notes)))
    line = f"{would}{outcome.fate}: {outcome.where} {outcome.owner}{target}"
    return f"{line}: {more}" if more else line
