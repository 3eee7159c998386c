"""The command line, ``vmfa`` or ``python -m vmfa``: which subcommands there are, and how they end."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from traceback import extract_tb
from typing import Final, NoReturn

from .. import errors
from . import commands
from .commands import CommandContext, CommandResult, EnvironmentProblem, WrongUsage, print_error
from .policy import add_arguments as _policy, run_policy

Parser = argparse.ArgumentParser

EXIT_CODES: Final[tuple[tuple[type[errors.VmfaError], int], ...]] = (
    (errors.CodeRejected, 1),
    (errors.InvalidValue, 2),
    (errors.InvalidType, 2),
    (errors.AccessDenied, 3),
    (errors.NoDevice, 4),
    (errors.NoSession, 4),
    (errors.DeviceAlreadyAssigned, 4),
    (errors.TooManySessions, 4),
    (errors.VmfaError, 5),
)
BUG: Final = 70
INTERRUPTED: Final = 130

ABOUT: Final = """\
Assign virtual MFA devices to principals and verify their codes, over a database
file and a master-key file. Try "vmfa demo" first: it needs neither.

A PRINCIPAL is written ACCOUNT/NAME, the root of an account --root ACCOUNT.
A CODE that is left out, or given as "-", is read from standard input.
"""
EXITS: Final = """\
exit codes: 0 done; 1 the code is not accepted; 2 wrong usage or an impossible
value; 3 access denied; 4 no device, no session, already assigned, or too many
sessions; 5 the environment: database, clock, master key, files; 70 a bug of
vmfa; 130 interrupted.
"""


# The arguments


def _principal(parser: Parser) -> None:
    parser.add_argument("principal", metavar="PRINCIPAL", help="ACCOUNT/NAME, or with --root the ACCOUNT")
    parser.add_argument("--root", action="store_true", help="The principal is the root of the account.")


def _acting(parser: Parser) -> None:
    parser.add_argument(
        "--as", dest="acting", metavar="WHO",
        help='Who acts: "service" (the default), "self" (the default for root, on whom no service may act) or '
        '"support:CASE".',
    )
    parser.add_argument(
        "--code", metavar="CODE", help="With --as self: verify this code first, and act as signed in with MFA."
    )


def _one_code(parser: Parser) -> None:
    parser.add_argument("code", nargs="?", metavar="CODE", help="the code that the device shows now")


def _two_codes(parser: Parser) -> None:
    parser.add_argument("code1", nargs="?", metavar="CODE1", help="the first of two consecutive codes")
    parser.add_argument("code2", nargs="?", metavar="CODE2", help="the code that follows it")


def _label(parser: Parser) -> None:
    parser.add_argument("--label", required=True, metavar="L", help="The account name that the app shows.")
    parser.add_argument("--issuer", default="vmfa", metavar="I", help='The issuer that the app shows (default "vmfa").')


def _qr(parser: Parser) -> None:
    parser.add_argument("--qr", action="store_true", help="Draw the key URI as a QR code, too (extra qr).")


def _import(parser: Parser) -> None:
    from .importing import add_arguments

    add_arguments(parser)


def _trail(parser: Parser) -> None:
    from .audit import add_passes

    add_passes(parser, _files, _json)


def _session(parser: Parser) -> None:
    parser.add_argument("--session", metavar="ID", help="The session that enroll printed (default: the open one).")


def _reason(parser: Parser) -> None:
    parser.add_argument("--reason", default="", metavar="TEXT", help="Why, for the history.")


def _account(parser: Parser) -> None:
    parser.add_argument("account", metavar="ACCOUNT", help="the account")


def _files(parser: Parser) -> None:
    parser.add_argument(
        "--db", metavar="FILE", default=argparse.SUPPRESS, help="The database file (default: $VMFA_DB)."
    )
    parser.add_argument(
        "--key-file", metavar="FILE", default=argparse.SUPPRESS,
        help="The master-key file, readable by its owner alone (default: $VMFA_KEY_FILE).",
    )
    parser.add_argument(
        "--create-key-file", action="store_true", default=argparse.SUPPRESS,
        help="Make a new master key in the key file, which must not exist yet.",
    )


def _json(parser: Parser) -> None:
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS,
        help="Print one JSON object for scripts; errors as JSON on standard error.",
    )


# The subcommands


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    run: Callable[[CommandContext], CommandResult]
    about: str
    arguments: tuple[Callable[[Parser], None], ...] = ()
    creates: bool = False  # the database, where there is none


COMMANDS: Final = (
    Command("demo", commands.run_demo, "Play the whole story of a device, rule by rule, without waiting."),
    Command(
        "enroll", commands.run_enroll, "Open the enrollment of a device. Prints its key, this once.",
        (_principal, _label, _qr, _acting, _files), creates=True,
    ),
    Command(
        "confirm", commands.run_confirm, "Assign the device with two consecutive codes.",
        (_principal, _two_codes, _session, _acting, _files),
    ),
    Command("verify", commands.run_verify, "Accept a code, once.", (_principal, _one_code, _files)),
    Command(
        "resync", commands.run_resync, "Bring a device back in sync with two fresh consecutive codes.",
        (_principal, _two_codes, _acting, _files),
    ),
    Command(
        "deactivate", commands.run_deactivate, "Remove the device and destroy its key for good.",
        (_principal, _reason, _acting, _files),
    ),
    Command("show", commands.run_show, "Show the state of the assigned device.", (_principal, _acting, _files)),
    Command("list", commands.run_list, "List the principals of an account.", (_account, _files)),
    Command(
        "history", commands.run_history, "Print the life of a principal's devices, and check that nobody edited it.",
        (_principal, _acting, _files),
    ),
    Command(
        "trail", commands.run_trail, "Verify all histories of accounts, export their heads, compare, feed a SIEM.",
        (_trail, _files),
    ),
    Command(
        "import", commands.run_import, "Adopt the devices that another system assigned, with their replay positions.",
        (_import, _files), creates=True,
    ),
    Command(
        "code", commands.run_code,
        "Print the current code of a Base32 key that is read from standard input, never from an argument.",
    ),
    Command("policy", run_policy, "Compute what a policy is worth against guessing; name what is weak.", (_policy,)),
    Command("selftest", commands.run_selftest, "Compute the known answers of RFC 4226, RFC 6238 and RFC 5869."),
)


class _Parser(Parser):
    def error(self, message: str) -> NoReturn:
        """What argparse quotes is left out: it may be a key or a code."""
        message = message.partition("'")[0].partition('"')[0]
        raise WrongUsage(f"{message.rstrip(' :')}; see {self.prog} --help")


class _Version(argparse.Action):
    """Looked up when it is asked for: it costs more than a verification."""

    def __call__(self, parser: Parser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"vmfa {version('vmfa')}")
        parser.exit()


def parser() -> Parser:
    shape = argparse.RawDescriptionHelpFormatter
    made = _Parser(prog="vmfa", description=ABOUT, epilog=EXITS, formatter_class=shape, allow_abbrev=False)
    made.add_argument("--version", action=_Version, nargs=0, help="Print the version and exit.")
    _files(made)
    _json(made)
    made.set_defaults(db=None, key_file=None, create_key_file=False, json=False)
    kinds = made.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = kinds.add_parser(command.name, help=command.about, description=command.about, allow_abbrev=False)
        for add in (*command.arguments, _json):
            add(sub)
        sub.set_defaults(chosen=command)
    return made


# How a command ends


def main(argv: Sequence[str] | None = None, *, clock: Callable[[], float] = time.time) -> int:
    """Run one command and return its exit code. Nothing is raised but what ends the interpreter itself."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if sys.stdout is None or sys.stderr is None:
        return 5  # enroll would show its key to nobody; and there is nobody to tell
    code, problem = 0, None
    try:
        problem = _run(arguments, clock)
    except errors.VmfaError as error:
        problem = error
    except KeyboardInterrupt:
        code, problem = INTERRUPTED, EnvironmentProblem("interrupted", reason="interrupted")
    except OSError as error:
        _silence_output()
        problem = EnvironmentProblem(f"the output or a temporary file cannot be written: {error.strerror}")
    except Exception as error:  # noqa: BLE001  # a bug is named by its place: its text may quote a secret
        at = extract_tb(error.__traceback__)[-1]
        text = f"a bug of vmfa: {type(error).__name__} in {at.filename}, line {at.lineno}"
        code, problem = BUG, EnvironmentProblem(text, reason="bug")
    if problem is None:
        return 0
    code = code or next(code for kind, code in EXIT_CODES if isinstance(problem, kind))
    print_error(_told(problem, code, as_json="--json" in arguments))
    return code


def _run(arguments: Sequence[str], clock: Callable[[], float]) -> errors.VmfaError | None:
    help_text = StringIO()
    try:
        with redirect_stdout(help_text):  # argparse would not tell that it cannot be written
            args, unknown = parser().parse_known_args(arguments)
    except SystemExit:  # --help or --version
        _print(help_text.getvalue().rstrip())
        return None
    if unknown:
        raise WrongUsage(f"an argument too many, or an unknown option; see vmfa {args.command} --help")
    with ExitStack() as stack:
        answer: CommandResult = args.chosen.run(CommandContext(args, clock, stack))
    if args.json or answer.lines:
        _print(json.dumps(answer.facts) if args.json else "\n".join(answer.lines))
    return answer.failure


def _print(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def _told(problem: errors.VmfaError, code: int, *, as_json: bool) -> str:
    """One sentence, or one JSON object with the same keys for every error."""
    wait = getattr(problem, "retry_after", None)
    if as_json:
        return json.dumps({
            "reason": problem.reason, "message": str(problem), "remedy": getattr(problem, "remedy", None),
            "retry_after": wait, "claimant_message": getattr(problem, "claimant_message", None), "exit_code": code,
        })
    advice = ""
    if isinstance(problem, errors.PairRejected) and problem.remedy == "retry":
        advice = "; if you waited, repeat with two new ones"
    if isinstance(problem, errors.AccessDenied):
        advice = "; see --as and --code"
    if wait and not isinstance(problem, errors.Throttled):
        advice += f"; wait {wait} seconds"
    return f"vmfa: {problem}{advice}"


def _silence_output() -> None:
    """Python flushes standard output once more as it ends: let that go nowhere instead of failing again."""
    with suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
