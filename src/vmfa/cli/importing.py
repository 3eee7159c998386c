"""``vmfa import FORMAT FILE``: adopt the devices that another system assigned, or rehearse it."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from ..access import Actor
from ..errors import InvalidValue
from ..importers.base import DryRunStore, Item, Outcome, Principals, Status, UnreadableSource, adopt_all, json_value
from ..keysources.base import KeySource
from ..policy import Parameters, Policy
from ..registry import DeviceRegistry
from ..stores.base import Store

FORMATS: Final = ("django-otp", "google-authenticator", "otpauth", "otpauth-migration", "passlib", "pyotp")
MAX_SOURCE_BYTES: Final = 1 << 28  # bytes


class NotAllAdopted(InvalidValue):
    """Some entries were refused; the report says which, and why. The others were adopted."""

    reason = "entries refused"


@dataclass(frozen=True, slots=True)
class Report:
    """What ``--json`` prints, what people read, and a failure that does not hide either."""

    facts: dict[str, object]
    lines: list[str]
    failure: NotAllAdopted | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the subcommand; ``--json`` is the command line's own."""
    parser.add_argument("format", choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("file", metavar="FILE", help="what the other system has, in UTF-8; - is standard input")
    parser.add_argument("--account", required=True, help="the account whose users the entries become")
    parser.add_argument("--map", metavar="MAP", help="a JSON object: the stored id of each owner in FILE")
    parser.add_argument("--root-owner", metavar="OWNER", help="this owner, alone, is the root of the account")
    parser.add_argument("--owner", default="", help="of the one device in FILE (google-authenticator)")
    parser.add_argument("--offer", action="append", default=[], metavar="ALGORITHM,DIGITS,PERIOD",
                        help="take devices of this kind as well; may be repeated")
    parser.add_argument("--unsafe-short-keys", action="store_true", help="take keys below 128 bits, against RFC 4226")
    parser.add_argument("--dry-run", action="store_true", help="tell what would happen, and change nothing")


def run(
    args: argparse.Namespace, *, store: Store, keys: KeySource, imported_keys: KeySource, clock: Callable[[], float]
) -> Report:
    """Read FILE and adopt what is in it, over *store*; a dry run writes nothing."""
    items = _items(args)
    names = None if args.map is None else _names(read_text(args.map))
    registry = DeviceRegistry(
        DryRunStore(store) if args.dry_run else store, keys=keys, imported_keys=imported_keys, issuer="vmfa",
        policy=Policy(offers=(*Policy().offers, *map(_parameters, args.offer))), clock=clock,
    )
    principals = Principals(account=args.account, names=names, root=args.root_owner)
    outcomes = tuple(adopt_all(registry, items, by=Actor.trusted_service("vmfa import"), principals=principals))
    told = Counter(outcome.fate for outcome in outcomes)
    facts: dict[str, object] = {
        "dry_run": args.dry_run, **{fate.value: told[fate] for fate in Status}, "entries": [_facts(o) for o in outcomes]
    }
    would = "would be " if args.dry_run else ""
    total = ", ".join(f"{told[fate]} {fate}" for fate in Status)
    lines = [*(_line(outcome, would) for outcome in outcomes), f"{'dry run: ' * args.dry_run}{total}"]
    failure = NotAllAdopted(f"{told[Status.REFUSED]} of {len(outcomes)} entries refused") if told[Status.REFUSED] else None
    return Report(facts, lines, failure)


def read_text(path: str) -> str:
    """The text of a file. :raises UnreadableSource: it cannot be read, or is no UTF-8."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_SOURCE_BYTES + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_SOURCE_BYTES + 1)
        if len(data) <= MAX_SOURCE_BYTES:
            return data.decode("utf-8-sig")
        problem = f"a source has at most {MAX_SOURCE_BYTES} bytes"
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = "the file is no UTF-8"
    data = b""  # error trackers record the locals of a raising frame
    raise UnreadableSource(problem)


def _items(args: argparse.Namespace) -> list[Item]:
    options: dict[str, Any] = {"unsafe_short_keys": args.unsafe_short_keys}
    if args.format == "google-authenticator":
        options["owner"] = args.owner
    source = import_module(f".{args.format.replace('-', '_')}", "vmfa.importers")
    items: list[Item] = source.read(read_text(args.file), **options)
    return items


def _names(text: str) -> Mapping[str, str]:
    names = json_value(text)
    if isinstance(names, dict) and all(isinstance(name, str) for name in names.values()):
        return names
    raise UnreadableSource("the map is a JSON object of texts")


def _parameters(offer: str) -> Parameters:
    algorithm, *numbers = offer.split(",")
    if len(numbers) != 2 or not all(n.isascii() and n.isdigit() and len(n) <= 9 for n in numbers):
        raise InvalidValue("an offer is written ALGORITHM,DIGITS,PERIOD, such as sha256,8,30")
    digits, period = numbers
    return Parameters(algorithm=algorithm.lower(), digits=int(digits), period=int(period))


def _facts(outcome: Outcome) -> dict[str, object]:
    principal, device = outcome.principal, outcome.device
    facts: dict[str, object] = {"where": outcome.where, "owner": outcome.owner, "outcome": outcome.fate.value}
    if principal is not None:
        facts["principal"] = {"account": principal.account, "kind": principal.kind.value, "name": principal.name}
    if device is not None:
        facts |= {"last_step": device.last_step, "drift": device.drift, "failures": device.failures,
                  "disabled": device.disabled}
    if outcome.reason:
        facts["reason"] = outcome.reason
    return {**facts, "notes": list(outcome.notes)}


def _line(outcome: Outcome, would: str) -> str:
    owner = outcome.owner if outcome.owner.isprintable() else ascii(outcome.owner)  # it is going to a terminal
    fate = outcome.fate if outcome.fate is Status.ALREADY else f"{would}{outcome.fate}"
    whom = f" -> {outcome.principal}" if outcome.principal else ""
    told = "; ".join(filter(None, (outcome.reason, *outcome.notes)))
    return f"{fate}: {outcome.where} {owner}{whom}{': ' if told else ''}{told}"
