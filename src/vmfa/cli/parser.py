"""The arguments: every command with its options, and what ``--help`` says."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from textwrap import wrap
from typing import Any, Final, NoReturn

from ..installation import vmfa_version
from ..policy import Policy
from . import (
    audit,
    codes,
    conformance,
    devices,
    evidence,
    importing,
    keys,
    reports,
    signing,
    stores,
    support,
)
from .context import CommandContext, CommandResult
from .demo import run_demo
from .errors import WrongUsage
from .io import ENCODINGS

ABOUT: Final = 'Assign virtual MFA devices and verify their codes. Try "vmfa demo" first.'
GLOBAL_OPTIONS: Final = (
    "Options: --db FILE, --key-file FILE, --json, --version; and COMMAND --help."
)
EXIT_CODES: Final = """\
exit codes: 0 done; 1 the code is not accepted; 2 wrong usage or an invalid
value; 3 access denied; 4 no device, no session, already assigned, too many
sessions, or too soon; 5 database, clock, master key, files, or a failed check;
6 imported in part; 70 a bug in vmfa; 130 interrupted."""
CODES: Final = (
    "A code that is omitted or - is read from standard input; a terminal does not show it. "
    "A code in an argument is visible to other users in the list of processes."
)


class TextRequested(Exception):
    """``--help`` or ``--version`` asks for *text* instead of a command."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command.

    :param about: one line for the list of commands.
    :param more: further sentences for its own help.
    :param arguments: functions that add its arguments to a parser.
    :param creates: whether it creates the database if there is none.
    :param policy: the policy of its registry; None for the default.
    """

    name: str
    run: Callable[[CommandContext], CommandResult]
    about: str
    more: str = ""
    arguments: tuple[Callable[[Parser], None], ...] = ()
    creates: bool = False
    policy: Policy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Commands that share their first word. The program itself is a group, too."""

    name: str
    about: str
    commands: tuple[Command | Group, ...]

    def find(self, name: str) -> Command | Group | None:
        """Return the command or group with this name."""
        return next((command for command in self.commands if command.name == name), None)


class Parser(argparse.ArgumentParser):
    """An argument parser that quotes no argument in an error: it may be a key or a code."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)
        self.color = False  # Python 3.14 would print control sequences

    def error(self, message: str) -> NoReturn:
        message = message.partition("'")[0].partition('"')[0].rstrip(" :")
        for action in self._actions:
            name = action.option_strings[0] if action.option_strings else str(action.metavar)
            if action.choices is not None and name in message:
                message += f"; {name} is one of {', '.join(map(str, action.choices))}"
        raise WrongUsage(f"{message}; see {self.prog} --help")

    def options_first(self, words: Sequence[str]) -> list[str]:
        """Return *words* with the options first.

        argparse fills optional arguments, such as a code, as soon as an option follows.
        """
        options: list[str] = []
        others: list[str] = []
        rest = iter(words)
        for word in rest:
            name, has_value, _ = word.partition("=")
            action = self._option_string_actions.get(name)
            if word == "--":
                others += rest
            elif action is not None:
                options.append(word)
                if action.nargs is None and not has_value:
                    options += islice(rest, 1)
            elif word.startswith("-") and word != "-" and not word[1:].isdigit():
                options.append(word)  # argparse reports that it is unknown
            else:
                others.append(word)
        return [*options, "--", *others] if others else options

    def print_help(self, file: object = None) -> NoReturn:  # noqa: ARG002  # of argparse
        raise TextRequested(self.format_help().rstrip())


class GroupParser(Parser):
    """The parser of a group: options, the name of a command, and the words after it."""

    def __init__(self, group: Group, prog: str) -> None:
        super().__init__(prog=prog)
        self.group = group
        self.add_argument("words", nargs=argparse.REMAINDER)

    def format_help(self) -> str:
        width = 1 + max(len(command.name) for command in self.group.commands)
        lines = [f"  {command.name:<{width}} {command.about}" for command in self.group.commands]
        usage = f"usage: {self.prog} [OPTIONS] COMMAND ..."
        return "\n".join([usage, self.group.about, *lines, "", GLOBAL_OPTIONS])

    def choose(self, words: Sequence[str]) -> Command | Group:
        """Return the command or group that the first of *words* names.

        :raises WrongUsage: it is missing or unknown; the text lists the choices.
        """
        command = self.group.find(words[0]) if words else None
        if command is None:
            what = "unknown" if words else "no"
            names = ", ".join(choice.name for choice in self.group.commands)
            raise WrongUsage(f"{what} command: choose one of {names}; see {self.prog} --help")
        return command


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the values of *arguments*; ``command`` is the :class:`Command`.

    Options may stand before, between and after the other arguments.

    :raises WrongUsage: an argument is missing, unknown or wrong.
    :raises TextRequested: the arguments ask for help or for the version.
    """
    namespace = argparse.Namespace()
    words, prog = list(arguments), "vmfa"
    command: Command | Group = PROGRAM
    while isinstance(command, Group):
        group = GroupParser(command, prog)
        for add in (_version, _files, _json):
            add(group)
        namespace, unknown = group.parse_known_args(words, namespace)
        _check_all_known(unknown, prog)
        words = namespace.words
        command = group.choose(words)
        prog, words = f"{prog} {words[0]}", words[1:]
    parser = command_parser(command, prog)
    namespace, unknown = parser.parse_known_args(parser.options_first(words), namespace)
    _check_all_known(unknown, prog)
    namespace.command = command
    return namespace


def command_parser(command: Command, prog: str) -> Parser:
    """Return the parser of one command. *prog* is its full name for the help."""
    parser = Parser(
        prog=prog,
        description="\n".join(wrap(f"{command.about} {command.more}", 78)),
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for add in (*command.arguments, _json):
        add(parser)
    return parser


def _check_all_known(unknown: Sequence[str], prog: str) -> None:
    if unknown:
        raise WrongUsage(f"too many arguments, or an unknown option; see {prog} --help")


# The arguments


def _principal(parser: Parser) -> None:
    parser.add_argument(
        "principal", metavar="PRINCIPAL", help="ACCOUNT/NAME, or with --root the ACCOUNT"
    )
    parser.add_argument(
        "--root", action="store_true", help="the principal is the root of the account"
    )


def _acting(parser: Parser) -> None:
    parser.add_argument(
        "--as",
        dest="acting",
        metavar="WHO",
        help="who acts: service (the default), self (the default for root) or support:CASE",
    )
    parser.add_argument(
        "--code",
        metavar="CODE",
        help="with --as self: verify this code first, and act as signed in with MFA; - reads it",
    )


def _one_code(parser: Parser) -> None:
    parser.add_argument(
        "code", nargs="?", metavar="CODE", help="the code that the device shows now"
    )


def _two_codes(parser: Parser) -> None:
    parser.add_argument(
        "code1", nargs="?", metavar="CODE1", help="the first of two consecutive codes"
    )
    parser.add_argument("code2", nargs="?", metavar="CODE2", help="the code after it")


def _label(parser: Parser) -> None:
    parser.add_argument(
        "--label", required=True, metavar="L", help="the account name that the app shows"
    )
    parser.add_argument(
        "--issuer", default="vmfa", metavar="I", help="the issuer that the app shows (vmfa)"
    )
    parser.add_argument(
        "--qr", action="store_true", help="draw the key URI as a QR code (extra qr)"
    )


def _binding_code(parser: Parser) -> None:
    parser.add_argument(
        "--binding-code",
        metavar="CODE",
        help="the code from a removal by another person, for --as self; - reads it",
    )


def _session(parser: Parser) -> None:
    parser.add_argument(
        "--session", metavar="ID", help="the session that enroll printed (the open one)"
    )


def _reason(parser: Parser) -> None:
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the history")


def _account(parser: Parser) -> None:
    parser.add_argument(
        "account", metavar="ACCOUNT", help="the account; %%2F is a slash, %%25 a percent sign"
    )


def _accounts(parser: Parser) -> None:
    parser.add_argument("accounts", nargs="+", metavar="ACCOUNT", help="the accounts")


def _audit_key(parser: Parser) -> None:
    parser.add_argument(
        "--audit-key",
        metavar="FILE",
        help="check the tags for auditors instead, with what vmfa keys audit-key wrote",
    )


def _case(parser: Parser) -> None:
    parser.add_argument(
        "--case",
        default="vmfa audit",
        metavar="TEXT",
        help="the support case for which the history is read",
    )


def _checkpoint_file(parser: Parser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="what vmfa audit checkpoint printed; - is standard input"
    )


def _since(parser: Parser) -> None:
    parser.add_argument("--since", metavar="FILE", help="only the events after this checkpoint")


def _output(parser: Parser) -> None:
    parser.add_argument(
        "--output", metavar="FILE", help="write to this file, which must not exist"
    )


def _import(parser: Parser) -> None:
    parser.add_argument(
        "format", choices=importing.FORMATS, metavar="FORMAT", help=", ".join(importing.FORMATS)
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        help="what the other system exported, in UTF-8; - is standard input",
    )
    parser.add_argument(
        "--account", required=True, metavar="ACCOUNT", help="the account of the imported users"
    )
    parser.add_argument(
        "--map",
        metavar="MAP",
        help="a JSON file: an object with the stored id of each owner in FILE",
    )
    parser.add_argument(
        "--root-owner", metavar="OWNER", help="this owner in FILE is the root of the account"
    )
    parser.add_argument(
        "--owner",
        default="",
        metavar="OWNER",
        help="the owner of FILE (google-authenticator only)",
    )
    parser.add_argument(
        "--offer",
        action="append",
        default=[],
        metavar="ALGORITHM,DIGITS,PERIOD",
        help="accept devices of this kind as well, such as sha256,8,30; repeatable",
    )
    parser.add_argument(
        "--parameters",
        metavar="ALGORITHM,DIGITS,PERIOD",
        help="the kind of the devices in FILE, if not sha1,6,30 (django-allauth,"
        " devise-two-factor and laravel-fortify only)",
    )
    parser.add_argument(
        "--source-key-file",
        metavar="KEYFILE",
        help="the key that FILE is encrypted with (pskc: in hex; privacyidea)",
    )
    parser.add_argument(
        "--source-password-file",
        metavar="PASSWORDFILE",
        help="the password that FILE is encrypted with (pskc only)",
    )
    parser.add_argument(
        "--owner-is-serial",
        action="store_true",
        help="the owner is the serial number of the token; use it with --map (pskc only)",
    )
    parser.add_argument(
        "--allow-incomplete",
        action="store_true",
        help="import from an export with missing QR codes (otpauth-migration only)",
    )
    parser.add_argument(
        "--unsafe-short-keys",
        action="store_true",
        help="accept keys below 128 bits, against RFC 4226",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would happen, and change nothing"
    )


def _policy(parser: Parser) -> None:
    parser.add_argument(
        "--strict", action="store_true", help="Policy.strict(), which follows the standards"
    )
    parser.add_argument(
        "--window", type=int, metavar="STEPS", help="accept codes this many steps early or late"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=NUMBER",
        help="change a field; repeatable",
    )
    parser.add_argument(
        "--sign-ins",
        type=float,
        default=1,
        metavar="N",
        help="sign-ins of the user a day (1); 0: never",
    )
    parser.add_argument(
        "--reenrollments",
        type=float,
        default=12,
        metavar="N",
        help="new devices of the user a year (12), for the second table",
    )


def _new_key_file(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="the file, which must not exist")
    parser.add_argument(
        "--format",
        choices=tuple(ENCODINGS),
        default="raw",
        metavar="FORMAT",
        help="raw (32 bytes, the default), hex or base64",
    )


def _new_audit_key_file(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="the file, which must not exist")


def _leak_checkpoint(parser: Parser) -> None:
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="after a leak: reseal only the records that this checkpoint covers",
    )


def _one_or_all(parser: Parser) -> None:
    parser.add_argument(
        "principal",
        nargs="?",
        metavar="PRINCIPAL",
        help="ACCOUNT/NAME, or with --root the ACCOUNT",
    )
    parser.add_argument(
        "--root", action="store_true", help="the principal is the root of the account"
    )
    parser.add_argument(
        "--account", metavar="ACCOUNT", help="every principal of this account, root included"
    )


def _until(parser: Parser) -> None:
    parser.add_argument(
        "--until",
        required=True,
        metavar="TIME",
        help="Unix seconds, or ISO 8601 with an offset, such as 2026-11-24T12:00:00Z",
    )


def _files(parser: Parser) -> None:
    parser.add_argument("--db", metavar="FILE", help="the database file (default: $VMFA_DB)")
    _key_files(parser)


def _key_files(parser: Parser) -> None:
    parser.add_argument(
        "--key-file",
        action="append",
        metavar="FILE",
        help="the file with the current master key, for its owner alone (default: $VMFA_KEY_FILE);"
        " each further one has a retired key",
    )
    parser.add_argument(
        "--accepted-key-file",
        action="append",
        metavar="FILE",
        help="a master key that will become current; repeatable",
    )
    parser.add_argument(
        "--derive-only-key-file",
        action="append",
        metavar="FILE",
        help="a master key that only derives the keys of old devices; repeatable",
    )


def _create_key_file(parser: Parser) -> None:
    parser.add_argument(
        "--create-key-file",
        action="store_true",
        help="first create the key file, which must not exist",
    )


def _utc(parser: Parser) -> None:
    parser.add_argument("--utc", action="store_true", help="print times in UTC, not in local time")


def _json(parser: Parser) -> None:
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object; errors are JSON on standard error",
    )


class _Version(argparse.Action):
    def __call__(self, *_: object) -> NoReturn:
        raise TextRequested(f"vmfa {vmfa_version()}")


def _version(parser: Parser) -> None:
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")


# The commands

KEYS: Final = Group(
    name="keys",
    about="Keys: generate, report, reseal, rekey, audit-key, signing-key.",
    commands=(
        Command(
            name="generate",
            run=keys.generate,
            about="Write a new master key to a new file.",
            more="32 random bytes of the operating system, in a file for its owner alone.",
            arguments=(_new_key_file,),
        ),
        Command(
            name="report",
            run=keys.report,
            about="Count the records and devices that depend on each master key.",
            arguments=(_accounts, _files),
        ),
        Command(
            name="reseal",
            run=keys.reseal,
            about="Authenticate every record under the current master key.",
            more="Sign-ins may go on meanwhile. After a leak of the old key, stop all services "
            "first and pass a checkpoint that is older than the leak.",
            arguments=(_accounts, _leak_checkpoint, signing.add_signed_by, _files),
        ),
        Command(
            name="rekey",
            run=keys.rekey,
            about="Encrypt every imported key under the current master key.",
            more="Sign-ins may go on meanwhile. Needs the extra sealing.",
            arguments=(_accounts, _files),
        ),
        Command(
            name="audit-key",
            run=keys.audit_key,
            about="Write the key for an auditor to a new file.",
            more="It checks records and histories. It computes no code, and the service accepts "
            "nothing that is made with it.",
            arguments=(_new_audit_key_file, _key_files),
        ),
        Command(
            name="signing-key",
            run=signing.signing_key,
            about="Write a new key that signs checkpoints, and its public key.",
            more="Ed25519, in PEM files. Needs the extra signing.",
            arguments=(signing.add_new_signing_key_file,),
        ),
    ),
)

SUPPORT: Final = Group(
    name="support",
    about="Help a user: binding-code, client-token, restore-budget.",
    commands=(
        Command(
            name="binding-code",
            run=support.binding_code,
            about="Replace a binding code that was lost or has expired.",
            more="Prints the code, once. For root: --as support:CASE.",
            arguments=(_principal, _acting, _files, _utc),
        ),
        Command(
            name="client-token",
            run=support.client_token,
            about="Give the owner a client token for one sign-in.",
            more="Prints the token, once. It is valid for 24 hours, and only in a service whose "
            "policy has known_clients.",
            arguments=(_principal, _acting, _files, _utc),
            policy=Policy(known_clients=True),
        ),
        Command(
            name="restore-budget",
            run=support.restore_budget,
            about="Refill the guess budget, at most once a day.",
            more="Change the first factor first.",
            arguments=(_principal, _acting, _files),
        ),
    ),
)

AUDIT: Final = Group(
    name="audit",
    about="Histories: verify, checkpoint, compare, export, signer, evidence.",
    commands=(
        Command(
            name="verify",
            run=audit.verify,
            about="Check every history of the accounts.",
            more="Prints the first event that was changed, removed or moved.",
            arguments=(_accounts, _case, _audit_key, _files, _output),
        ),
        Command(
            name="checkpoint",
            run=audit.checkpoint,
            about="Print what later proves the state of every history.",
            more="Keep it where it cannot be changed with write access to the database.",
            arguments=(_accounts, signing.add_sign, _case, _audit_key, _files, _output),
        ),
        Command(
            name="compare",
            run=audit.compare,
            about="Compare the database with a checkpoint.",
            more="Finds deleted rows and restored older rows.",
            arguments=(
                _checkpoint_file, signing.add_signed_by, _case, _audit_key, _files, _output,
            ),
        ),
        Command(
            name="signer",
            run=signing.check_signature,
            about="Check who signed a checkpoint.",
            more="It needs no database. Needs the extra signing.",
            arguments=(_checkpoint_file, signing.add_signed_by),
        ),
        Command(
            name="export",
            run=audit.export,
            about="Print the events as JSON lines for a SIEM.",
            arguments=(
                _accounts, _since, signing.add_signed_by, audit.add_format, _case, _audit_key,
                _files, _output,
            ),
        ),
        Command(
            name="evidence",
            run=evidence.write_pack,
            about="Write a folder of reports for an auditor.",
            more="Self-test, policy, verification of the histories, traceability, bill of "
            "materials and versions, each with its SHA-256.",
            arguments=(
                evidence.add_folder, _policy, signing.add_sign, _case, _audit_key, _files,
            ),
        ),
    ),
)

CONFORMANCE: Final = Group(
    name="conformance",
    about=conformance.ABOUT,
    commands=(
        Command(
            name="list",
            run=conformance.list_cases,
            about="List the cases, or the capabilities of an adapter.",
            arguments=(conformance.add_names, conformance.add_list),
        ),
        Command(
            name="run",
            run=conformance.run,
            about="Run the cases on a system.",
            more="Only the test accounts of the adapter are used.",
            arguments=(conformance.add_names, conformance.add_run),
        ),
        Command(
            name="template",
            run=conformance.template,
            about="Print the template of an adapter.",
            arguments=(conformance.add_template,),
        ),
        Command(
            name="vectors",
            run=conformance.vectors,
            about="Print the cases as JSON, with fixed keys, times and codes.",
            arguments=(conformance.add_names,),
        ),
    ),
)

STORE: Final = Group(
    name="store",
    about="Move to another database: copy, compare.",
    commands=(
        Command(
            name="copy",
            run=stores.copy,
            about="Copy every record and history into an empty database.",
            more="Stop the services first. Then both databases are compared. If it is "
            "interrupted, repeat the command: it continues.",
            arguments=(stores.databases, _key_files),
        ),
        Command(
            name="compare",
            run=stores.compare,
            about="Check that two databases have the same records and histories.",
            arguments=(stores.databases, _key_files),
        ),
    ),
)

PROGRAM: Final = Group(
    name="vmfa",
    about=ABOUT,
    commands=(
        Command(
            name="demo",
            run=run_demo,
            about="Show the life of a device, without waiting.",
            more="It uses a temporary database and a simulated clock.",
        ),
        Command(
            name="enroll",
            run=devices.enroll,
            about="Start an enrollment and print its key once.",
            arguments=(
                _principal, _label, _binding_code, _acting, _files, _create_key_file, _utc,
            ),
            creates=True,
        ),
        Command(
            name="confirm",
            run=devices.confirm,
            about="Assign the device with two consecutive codes.",
            more=CODES,
            arguments=(_principal, _two_codes, _session, _acting, _files),
        ),
        Command(
            name="verify",
            run=devices.verify,
            about="Verify a code and mark it as used.",
            more=CODES,
            arguments=(_principal, _one_code, _files, _utc),
        ),
        Command(
            name="resync",
            run=devices.resync,
            about="Resynchronize a device with two new consecutive codes.",
            more=CODES,
            arguments=(_principal, _two_codes, _acting, _files),
        ),
        Command(
            name="deactivate",
            run=devices.deactivate,
            about="Remove the device and destroy its key.",
            arguments=(_principal, _reason, _acting, _files, _utc),
        ),
        Command(
            name="show",
            run=devices.show,
            about="Show the state of the assigned device.",
            arguments=(_principal, _acting, _files, _utc),
        ),
        Command(
            name="list",
            run=devices.list_principals,
            about="List the principals of an account.",
            arguments=(_account, _files),
        ),
        Command(
            name="history",
            run=devices.history,
            about="Print the checked history of a principal's devices.",
            more="An event that was edited, moved or removed is an error.",
            arguments=(_principal, _acting, _files, _utc),
        ),
        Command(
            name="mark-spent",
            run=support.mark_spent,
            about="Treat every code up to a time as used, after a fail-over.",
            more="Or after the restore of a backup. Open enrollments are canceled.",
            arguments=(_one_or_all, _until, _files, _utc),
        ),
        SUPPORT,
        Command(
            name="import",
            run=importing.import_devices,
            about="Import the devices of another system.",
            more="Prints a line for each entry that is not imported. Needs the extra sealing. Exit"
            " code 6: some entries are not imported; 2: none is, or FILE cannot be read.",
            arguments=(_import, _files, _create_key_file),
            creates=True,
        ),
        AUDIT,
        CONFORMANCE,
        KEYS,
        STORE,
        Command(
            name="code",
            run=codes.code,
            about="Print the current code of a key that you enter.",
            more="The key is read in Base32 from standard input; a terminal does not show it.",
        ),
        Command(
            name="policy",
            run=reports.policy,
            about="Report how well a policy resists guessing.",
            arguments=(_policy, _output),
        ),
        Command(
            name="selftest",
            run=reports.selftest,
            about="Check the cryptography of this installation.",
            more="Computes the known answers of FIPS 180-4, RFC 4226, RFC 6238 and RFC 5869.",
            arguments=(_output,),
        ),
    ),
)


def commands(group: Group = PROGRAM, prefix: str = "") -> Mapping[str, Command]:
    """Return every command by its full name, such as "audit verify"."""
    by_name: dict[str, Command] = {}
    for choice in group.commands:
        name = f"{prefix}{choice.name}"
        by_name |= commands(choice, f"{name} ") if isinstance(choice, Group) else {name: choice}
    return by_name
