"""What the subcommands do: one function each, from the arguments to an :class:`CommandResult` or a ``VmfaError``.

Thin, over the library's public face. A key leaves by the answer of ``enroll`` alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from shlex import quote
from typing import Final, TypeVar

from .. import errors
from ..access import Actor
from ..audit import iso, plain, plain_event
from ..events import AuditEvent
from ..keys import Key, random_bytes
from ..keysources.base import KeySource, MasterKeys
from ..keysources.derived import DerivedKeys
from ..models import PrincipalId, Sync, SyncReport
from ..otp import seconds_left, totp
from ..registry import DeviceRegistry
from ..self_test import selftest
from ..stores.sqlite import SQLiteStore
from . import demo

K = TypeVar("K", bound=MasterKeys)
MAX_LINE_BYTES: Final = 4096  # bytes, of what is typed and of the key file
KEY_NOTICE: Final = (
    "a new master key is in the key file. Put a copy into a vault now: without it no code is ever verified again "
    "and everybody enrolls anew. Keep it apart from the database: whoever has both has every device"
)


class WrongUsage(errors.InvalidValue):
    """The arguments do not say what to do."""

    reason = "usage"


class EnvironmentProblem(errors.VmfaError):
    """A file, a stream or a computation that this command needs is not as it should be."""

    def __init__(self, message: str, *, reason: str = "environment") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What ``--json`` prints, what people read, and a failure that does not hide either."""

    facts: Mapping[str, object]
    lines: Sequence[str]
    failure: errors.VmfaError | None = None


class CommandContext:
    """What a subcommand works with: its arguments, and what they name, opened on first use."""

    def __init__(self, args: argparse.Namespace, clock: Callable[[], float], stack: ExitStack) -> None:
        self.args = args
        self.clock = clock
        self._stack = stack

    @cached_property
    def who(self) -> PrincipalId:
        account, slash, name = self.args.principal.partition("/")
        if self.args.root:
            if slash:
                raise WrongUsage("with --root, give the account alone")
            return PrincipalId.root(read_account(account))
        if not slash:
            raise WrongUsage("a principal is written ACCOUNT/NAME, or --root ACCOUNT")
        return PrincipalId.user(read_account(account), name)

    @cached_property
    def keys(self) -> DerivedKeys:
        path = self._translate_error("key_file", "VMFA_KEY_FILE")
        if self.args.create_key_file:
            create_key_file(path)
            print_error(json.dumps({"notice": KEY_NOTICE}) if self.args.json else f"vmfa: {KEY_NOTICE}")
        return read_key_file(path, DerivedKeys)

    @cached_property
    def imported_keys(self) -> KeySource:
        """Foreign keys, sealed under the same master key. :raises MissingExtra: the extra is not installed."""
        from ..keysources.sealed import SealedKeys

        return read_key_file(self._translate_error("key_file", "VMFA_KEY_FILE"), SealedKeys)

    @cached_property
    def store(self) -> SQLiteStore:
        path = self._translate_error("db", "VMFA_DB")
        if not self.args.chosen.creates and not os.path.exists(path):
            raise EnvironmentProblem("there is no database file of this name; vmfa enroll makes one")
        return self._stack.enter_context(SQLiteStore(path))

    @cached_property
    def registry(self) -> DeviceRegistry:
        issuer = getattr(self.args, "issuer", "vmfa")
        keys = self.keys
        imported_keys: KeySource | None = None
        with suppress(errors.MissingExtra):  # without it, an imported device is an unknown key
            imported_keys = self.imported_keys
        return DeviceRegistry(self.store, keys=keys, imported_keys=imported_keys, issuer=issuer, clock=self.clock)

    def actor(self) -> Actor:
        """Who acts: by default the trusted service, and root itself on root, where no service may act."""
        role, code = self.args.acting or ("self" if self.who.is_root else "service"), self.args.code
        if role == "self":
            claim = None if code is None else self.registry.verify(self.who, ask(code, "code")).claim
            return Actor.signed_in(self.who, mfa=claim)
        if code is not None:
            raise WrongUsage("--code goes with --as self")
        if role == "service":
            return Actor.trusted_service("vmfa command line")
        kind, _, case = role.partition(":")
        if kind != "support":
            raise WrongUsage("--as is self, service or support:CASE")
        return Actor.support(case)

    def pair(self) -> dict[str, str]:
        return {"code1": ask(self.args.code1, "first code"), "code2": ask(self.args.code2, "second code")}

    def _translate_error(self, option: str, variable: str) -> str:
        path: str = getattr(self.args, option) or os.environ.get(variable, "")
        if not path:
            raise WrongUsage(f"--{option.replace('_', '-')} or {variable} names no file")
        return path


# The subcommands


def run_demo(_: CommandContext) -> CommandResult:
    """It brings its own clock, store and keys."""
    seen: list[demo.Line] = []
    failure = None
    with tempfile.TemporaryDirectory() as folder, SQLiteStore(os.path.join(folder, "demo.db")) as store:
        try:
            seen.extend(demo.story(store))
        except demo.DemoFailed as error:
            failure = error
    facts = {"passed": failure is None, "lines": [{"rule": s.rule, "says": s.says, "at": s.at} for s in seen]}
    return CommandResult(facts, [f"{line.rule:<20}  {line.says}" for line in seen], failure)


def run_enroll(desk: CommandContext) -> CommandResult:
    qr = import_module("vmfa.qr") if desk.args.qr else None  # where it is missing, nothing is opened
    who, registry = desk.who, desk.registry
    opened = registry.open_enrollment(who, by=desk.actor(), label=desk.args.label)
    facts = {
        "principal": plain(who), "session": opened.session_id, "serial": opened.serial,
        "expires_at": opened.expires_at, "base32": opened.base32, "uri": opened.uri,
    }
    drawn = qr.terminal(opened.uri).splitlines() if qr else []
    return CommandResult(facts, [
        *drawn,
        f"key (Base32):  {opened.base32}",
        f"key URI:       {opened.uri}",
        f"session:       {opened.session_id}",
        f"open until:    {iso(opened.expires_at)}",
        "The key is shown this once. Load it into the authenticator app, wait for two consecutive codes, then:",
        f"  vmfa confirm {shell_quoted(who)} CODE1 CODE2",
    ])


def run_confirm(desk: CommandContext) -> CommandResult:
    who, registry = desk.who, desk.registry
    session = desk.args.session
    if session is None:
        enrollment = desk.store.load(who).enrollment
        session = enrollment.session_id if enrollment else ""
    pair, actor = desk.pair(), desk.actor()
    report = registry.confirm_enrollment(who, session=session, by=actor, **pair)
    lines = [f"assigned and in sync: serial {report.device.serial}"]
    if report.sync is Sync.OUT_OF_SYNC:
        lines = [
            f"assigned, but OUT OF SYNC by {report.steps_off} steps: serial {report.device.serial}",
            "Its codes are refused until two fresh ones bring it back:",
            f"  vmfa resync {shell_quoted(who)} CODE1 CODE2",
        ]
    return CommandResult(facts_of(who, report), lines)


def run_verify(desk: CommandContext) -> CommandResult:
    who, registry = desk.who, desk.registry
    receipt = registry.verify(who, ask(desk.args.code, "code"))
    facts = {
        "principal": plain(who), "serial": receipt.serial, "step": receipt.step, "at": receipt.at,
        "drift": receipt.drift, "failures_cleared": receipt.failures_cleared,
    }
    return CommandResult(facts, [f"accepted at {iso(receipt.at)}, and spent: serial {receipt.serial}, step {receipt.step}"])


def run_resync(desk: CommandContext) -> CommandResult:
    who, registry = desk.who, desk.registry
    pair, actor = desk.pair(), desk.actor()
    report = registry.resync(who, by=actor, **pair)
    return CommandResult(facts_of(who, report), [
        f"in sync, {report.device.drift} steps of drift: serial {report.device.serial}",
        "This signs nobody in: a further code does.",
    ])


def run_deactivate(desk: CommandContext) -> CommandResult:
    removed = desk.registry.deactivate(desk.who, by=desk.actor(), reason=desk.args.reason)
    facts = {"principal": plain(desk.who), "serial": removed.serial, "at": removed.at}
    return CommandResult(facts, [f"deactivated at {iso(removed.at)}: serial {removed.serial}; its key is destroyed"])


def run_show(desk: CommandContext) -> CommandResult:
    device = desk.registry.device(desk.who, by=desk.actor())
    shape = device.parameters
    facts: dict[str, object] = {
        "principal": plain(desk.who), "serial": device.serial, "sync": device.sync.value,
        "disabled": device.disabled, "enrolled_at": device.enrolled_at, "algorithm": shape.algorithm,
        "digits": shape.digits, "period": shape.period, "t0": shape.t0, "drift": device.drift,
        "last_step": device.last_step, "failures": device.failures, "budget": device.budget,
    }
    return CommandResult(facts, [
        f"serial:    {device.serial}",
        f"state:     {device.sync.value}{', DISABLED' if device.disabled else ''}",
        f"enrolled:  {iso(device.enrolled_at)}",
        f"codes:     {shape.digits} digits, {shape.algorithm}, every {shape.period} seconds from {iso(shape.t0)}",
        f"drift:     {device.drift} steps; last step spent: {device.last_step}",
        f"failures:  {device.failures} in a row; {device.budget} guesses left in the budget",
    ])


def run_list(desk: CommandContext) -> CommandResult:
    account, registry = PrincipalId.root(read_account(desk.args.account)).account, desk.registry
    rows, failure, page = [], None, registry.principals(account)
    while page:
        for who in page:
            try:
                state = "device" if registry.requires_code(who) else "no device"
            except (errors.RecordTampered, errors.StoreTooNew, errors.UnknownMasterKey) as error:
                state, failure = error.reason, error
            rows.append((who, state))
        page = registry.principals(account, after=page[-1])
    facts = {"account": account, "principals": [{**plain(who), "state": state} for who, state in rows]}
    lines = [f"{shell_quoted(who)}  {state}" for who, state in rows]
    return CommandResult(facts, lines or ["no principal of this account is known"], failure)


def run_history(desk: CommandContext) -> CommandResult:
    who, registry, actor = desk.who, desk.registry, desk.actor()
    record, events = desk.store.load(who), list[AuditEvent]()
    while page := registry.history(who, by=actor, after=events[-1].number if events else 0):
        events.extend(page)
    events = events[: record.events]  # the head commits to these
    facts = {"principal": plain(who), "events": [plain_event(event) for event in events], "head": record.head}
    told = [
        f"{event.number}  {iso(event.at)}  {event.type}  by {event.actor}"
        + "".join(f"  {name}={text}" for name, text in (("reason", event.reason), *event.details) if text != "")
        for event in events
    ]
    return CommandResult(facts, [*told, f"intact: {len(events)} events; keep the head elsewhere: {record.head or 'none'}"])


def run_code(desk: CommandContext) -> CommandResult:
    key, now = Key.from_base32(ask_key()), desk.clock()
    code, left = totp(key, now), seconds_left(now)
    return CommandResult({"code": code, "seconds_left": left}, [f"{code}  {left} seconds left"])


def run_import(desk: CommandContext) -> CommandResult:
    from . import importing as command

    keys, imported_keys = desk.keys, desk.imported_keys
    report = command.run(desk.args, store=desk.store, keys=keys, imported_keys=imported_keys, clock=desk.clock)
    return CommandResult(report.facts, report.lines, report.failure)


def run_trail(desk: CommandContext) -> CommandResult:
    from . import audit as trail_command

    accounts = [PrincipalId.root(read_account(account)).account for account in desk.args.accounts]
    return CommandResult(*trail_command.run(desk.args, accounts, desk.store, desk.registry.operations, desk.clock))


def run_selftest(_: CommandContext) -> CommandResult:
    report = selftest()
    return CommandResult(report.facts(), report.lines(), None if report.passed else EnvironmentProblem(report.sentence))


# Files, streams, and how things are written


def create_key_file(path: str) -> None:
    """A new master key in a new file of its owner's alone, on the disk when this returns."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(random_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except BaseException:
            os.unlink(path)  # a key that may not be on the disk must not make devices
            raise
    except FileExistsError:
        raise EnvironmentProblem("the key file exists already and was left as it is: omit --create-key-file") from None
    except OSError as error:
        raise EnvironmentProblem(f"the key file cannot be created: {error.strerror}") from None


def read_key_file(path: str, kind: type[K]) -> K:
    """The bytes of the file are the master key."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise EnvironmentProblem("group or others may use the key file: make it its owner's alone (chmod 600)")
            master = file.read(MAX_LINE_BYTES + 1)
    except FileNotFoundError:
        raise EnvironmentProblem("there is no key file of this name; --create-key-file makes one") from None
    except OSError as error:
        raise EnvironmentProblem(f"the key file cannot be read: {error.strerror}") from None
    if not 32 <= len(master) <= MAX_LINE_BYTES:
        raise EnvironmentProblem(f"the key file holds no master key of at least 32 bytes, or is too long (over {MAX_LINE_BYTES})")
    return kind(master)


def ask(given: str | None, what: str) -> str:
    """*given*, or a line of standard input if it was left out or is a hyphen."""
    if given is not None and given != "-":
        return given
    if sys.stdin is not None and sys.stdin.isatty():
        print_error(f"{what}: ", end="")
    return read_line(what)


def ask_key() -> str:
    """Base32 text of standard input; a terminal does not show it."""
    if sys.stdin is None or not sys.stdin.isatty():
        return read_line("key")
    import warnings
    from getpass import GetPassWarning, getpass

    with warnings.catch_warnings():
        warnings.simplefilter("error", GetPassWarning)
        try:
            return getpass("key (Base32, not shown): ")
        except GetPassWarning:
            raise EnvironmentProblem("this terminal would show the key") from None
        except EOFError:
            raise WrongUsage("standard input ended before a key was given") from None
        except UnicodeError:  # it holds what was typed
            raise errors.InvalidValue("this is no Base32 (A-Z, 2-7)") from None


def read_line(what: str) -> str:
    try:
        raw = sys.stdin.buffer.readline(MAX_LINE_BYTES) if sys.stdin is not None else b""
    except OSError as error:
        raise EnvironmentProblem(f"standard input cannot be read: {error.strerror}") from None
    if not raw:
        raise WrongUsage(f"standard input ended before a {what} was given")
    return raw.decode("utf-8", "replace")


def print_error(text: str, end: str = "\n") -> None:
    """Standard error, if anybody listens."""
    with suppress(OSError):
        sys.stderr.write(text + end)
        sys.stderr.flush()


def read_account(text: str) -> str:
    """The account, in which ``%2F`` is a slash and ``%25`` a percent sign, as :class:`PrincipalId` writes it."""
    return text.replace("%2F", "/").replace("%25", "%")


def shell_quoted(who: PrincipalId) -> str:
    """As the command line takes it, quoted for a shell."""
    account = who.account.replace("%", "%25").replace("/", "%2F")
    return f"--root {quote(account)}" if who.is_root else quote(f"{account}/{who.name}")


def facts_of(who: PrincipalId, report: SyncReport) -> dict[str, object]:
    return {
        "principal": plain(who), "serial": report.device.serial, "sync": report.sync.value,
        "steps_off": report.steps_off, "drift": report.device.drift,
    }
