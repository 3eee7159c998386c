"""``vmfa import``: adopt the devices of another system, or show what would happen."""

from __future__ import annotations

import json
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..access import Actor
from ..errors import InvalidValue, VmfaError
from ..importers.base import Item, Outcome, Principals, Status, Survey, UnreadableSource, adopt_all
from ..importers.dry_run import DryRunStore
from ..importers.reading import Source, json_value, read_parameters
from ..policy import Parameters, Policy
from ..registry import DeviceRegistry
from ..stores.base import Store
from ..stores.memory import MemoryStore
from .context import CommandContext, CommandResult, load_extra
from .errors import NothingImported, PartlyImported, WrongUsage
from .io import Progress, open_source, print_lines, read_source
from .rendering import principal_data

FORMATS: Final = (
    "authelia",
    "devise-two-factor",
    "django-allauth",
    "django-otp",
    "freeipa",
    "google-authenticator",
    "keycloak",
    "laravel-fortify",
    "linotp",
    "oath-toolkit",
    "otpauth",
    "otpauth-migration",
    "passlib",
    "privacyidea",
    "pskc",
    "pyotp",
)


def import_devices(context: CommandContext) -> CommandResult:
    """Read FILE and adopt what is in it. A dry run writes nothing, and creates no file.

    Entries that were not adopted are printed as they come, so memory does not grow with FILE.
    """
    args = context.args
    if args.dry_run and args.create_key_file:
        raise WrongUsage("--dry-run creates no key file: use 'vmfa keys generate FILE' first")
    offers = [*Policy().offers, *(_parameters("--offer", offer) for offer in args.offer)]
    if args.parameters is not None:
        offers.append(_parameters("--parameters", args.parameters))
    items = _items(context, context.close_later(open_source(args.file)))
    names = None if args.map is None else _names(read_source(args.map))
    survey = Survey(items)  # a source that cannot be read must leave no key file and no database
    keys, imported_keys = context.keys, context.sealed_keys
    registry = DeviceRegistry(
        _store(context),
        keys=keys,
        imported_keys=imported_keys,
        issuer="vmfa",
        clock=context.clock,
        policy=Policy(offers=tuple(offers)),
    )
    outcomes = adopt_all(
        registry,
        items,
        by=Actor.trusted_service("vmfa import"),
        principals=Principals(account=args.account, names=names, root=args.root_owner),
        survey=survey,
    )
    report = (_JsonReport if args.json else _TextReport)(dry_run=args.dry_run)
    progress = Progress(survey.entries)
    try:
        for outcome in outcomes:
            if is_reported(outcome):
                progress.clear()
            report.add(outcome)
            progress.advance()
    finally:  # what was adopted before an error is reported too
        progress.clear()
        report.close()
    return CommandResult(data=None, text=(), failure=_failure(report.counts))


def _store(context: CommandContext) -> Store:
    if not context.args.dry_run:
        return context.store
    return DryRunStore(context.store if context.database_exists else MemoryStore())


def _items(context: CommandContext, source: Source) -> Iterable[Item]:
    args = context.args
    options: dict[str, Any] = {"unsafe_short_keys": args.unsafe_short_keys}
    match args.format:
        case "google-authenticator":
            options["owner"] = args.owner
        case "otpauth-migration":
            options["allow_incomplete"] = args.allow_incomplete
        case "django-allauth" | "devise-two-factor" | "laravel-fortify" if args.parameters:
            options["parameters"] = _parameters("--parameters", args.parameters)
        case "privacyidea" | "pskc":
            options |= _protection(args)
    name = args.format.replace("-", "_")
    importer = load_extra(f"vmfa.importers.{name}", "import", f"the format {args.format} needs")
    items: Iterable[Item] = importer.read(source, **options)
    return items


def _protection(args: Namespace) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if args.source_key_file:
        options["key"] = read_source(args.source_key_file).strip()
    if args.format == "pskc":
        options["owner_is_serial"] = args.owner_is_serial
        if args.source_password_file:
            options["password"] = read_source(args.source_password_file).rstrip("\r\n")
    return options


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


def _failure(counts: Counter[Status]) -> VmfaError | None:
    missing = counts[Status.REFUSED] + counts[Status.CONFLICT]
    if not counts:
        return NothingImported("the source has no entries: check that it is the right file")
    if missing == counts.total():
        return NothingImported(f"none of the {missing} entries was imported")
    if missing:
        return PartlyImported(f"{missing} of {counts.total()} entries were not imported")
    return None


def is_reported(outcome: Outcome) -> bool:
    """Return whether the entry has a line in a report for people."""
    return bool(outcome.reason or outcome.notes)


class _TextReport:
    """A line for each entry that was not adopted or has a note, and the counts at the end."""

    def __init__(self, *, dry_run: bool) -> None:
        self.counts: Counter[Status] = Counter()
        self._dry_run = dry_run

    def add(self, outcome: Outcome) -> None:
        self.counts[outcome.status] += 1
        if is_reported(outcome):
            print_lines([_line(outcome, dry_run=self._dry_run)])

    def close(self) -> None:
        total = ", ".join(f"{self.counts[status]} {status}" for status in Status)
        print_lines([f"{'dry run: ' * self._dry_run}{total}"])


class _JsonReport:
    """One JSON object: whether it was a dry run, all entries, and the counts at the end."""

    def __init__(self, *, dry_run: bool) -> None:
        self.counts: Counter[Status] = Counter()
        print_lines([f'{{"dry_run": {json.dumps(dry_run)}, "entries": ['])

    def add(self, outcome: Outcome) -> None:
        comma = "," if self.counts else ""
        self.counts[outcome.status] += 1
        print_lines([f"{comma}{json.dumps(_data(outcome))}"])

    def close(self) -> None:
        counts = {status.value: self.counts[status] for status in Status}
        print_lines([f"], {json.dumps(counts)[1:]}"])


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
