"""What every command gets and returns: its arguments, its files, and its result."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from shlex import quote
from types import ModuleType
from typing import TYPE_CHECKING, Final, Protocol, TextIO, TypeVar

from ..access import Actor
from ..errors import MissingExtra, UnknownMasterKey, VmfaError
from ..keysources.base import KeySource, MasterKeys
from ..keysources.derived import DerivedKeys
from ..models import PrincipalId
from ..registry import DeviceRegistry
from ..stores.sqlite import SQLiteStore
from .errors import EnvironmentProblem, MissingPackage, WrongUsage
from .io import ask, check_database, create_key_file, print_error, read_key_file
from .rendering import read_account, time_text

if TYPE_CHECKING:
    from ..keysources.sealed import SealedKeys

K = TypeVar("K", bound=MasterKeys)
S = TypeVar("S", bound="Closable")

SERVICE: Final = "vmfa command line"  # the trusted service that acts by default
KEY_NOTICE: Final = (
    "a new master key is in the key file. Put a copy into a vault now: if you lose it, no code"
    " can be verified and every user must enroll again. Keep it apart from the database: both"
    " together give away every device"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """The result of a command.

    :param data: the output with ``--json``; None if the command has printed it.
    :param text: the output without it, in lines.
    :param failure: an error to report after the output, as when one record of many is unreadable.
    """

    data: Mapping[str, object] | None
    text: Sequence[str]
    failure: VmfaError | None = None


class Closable(Protocol):
    """A store with connections."""

    def close(self) -> None:
        """Close the connections."""


class CommandContext:
    """The arguments of a command, and the files that they name, opened on first use."""

    def __init__(
        self, args: argparse.Namespace, clock: Callable[[], float], stack: ExitStack
    ) -> None:
        self.args = args
        self.clock = clock
        self._stack = stack
        self._extra_problem: MissingPackage | None = None

    @cached_property
    def principal(self) -> PrincipalId:
        """The PRINCIPAL argument."""
        account, slash, name = self.args.principal.partition("/")
        if self.args.root:
            if slash:
                raise WrongUsage("with --root, give the account alone")
            return PrincipalId.root(read_account(account))
        if not slash:
            raise WrongUsage("a principal is written ACCOUNT/NAME, or --root ACCOUNT")
        return PrincipalId.user(read_account(account), name)

    @cached_property
    def key_path(self) -> str:
        """The file of the current master key."""
        paths: Sequence[str] = self.args.key_file or [os.environ.get("VMFA_KEY_FILE", "")]
        if not paths[0]:
            raise WrongUsage("no key file: pass --key-file or set VMFA_KEY_FILE")
        return paths[0]

    @cached_property
    def database_path(self) -> str:
        path: str = self.args.db or os.environ.get("VMFA_DB", "")
        if not path:
            raise WrongUsage("no database: pass --db or set VMFA_DB")
        return path

    @cached_property
    def database_exists(self) -> bool:
        return check_database(self.database_path)

    @cached_property
    def keys(self) -> DerivedKeys:
        """The master keys. With ``--create-key-file`` the current one is created first."""
        if getattr(self.args, "create_key_file", False):
            create_key_file(self.key_path)
            data = json.dumps({"notice": KEY_NOTICE})
            print_error(data if self.args.json else f"vmfa: {KEY_NOTICE}")
        return self._master_keys(DerivedKeys)

    @cached_property
    def key_roles(self) -> dict[str, str]:
        """The role of every master key in the key files, by the id of the key."""
        return {
            DerivedKeys(read_key_file(path)).current_id: role
            for role, paths in self._key_paths().items()
            for path in paths
        }

    @cached_property
    def sealed_keys(self) -> SealedKeys:
        """The keys that were imported from other systems, encrypted under the master keys.

        :raises MissingPackage: the package that decrypts them is not installed.
        """
        sealed = load_extra("vmfa.keysources.sealed", "sealing", "keys from another system need")
        source: SealedKeys = self._master_keys(sealed.SealedKeys)
        return source

    def _key_paths(self) -> dict[str, list[str]]:
        return {
            "current": [self.key_path],
            "retired": (self.args.key_file or [])[1:],
            "accepted": self.args.accepted_key_file or [],
            "derive-only": self.args.derive_only_key_file or [],
        }

    def _master_keys(self, kind: Callable[..., K]) -> K:
        current, retired, accepted, derive_only = (
            [read_key_file(path) for path in paths] for paths in self._key_paths().values()
        )
        try:
            return kind(*current, *retired, accepted=accepted, derive_only=derive_only)
        finally:  # error trackers record the locals of a raising frame
            del current, retired, accepted, derive_only

    def close_later(self, file: TextIO) -> TextIO:
        """Return *file*, which is closed after the command."""
        self._stack.enter_context(file)
        return file

    @cached_property
    def store(self) -> SQLiteStore:
        creates: bool = self.args.command.creates
        if not self.database_exists and not creates:
            raise EnvironmentProblem(
                "the database does not exist: vmfa enroll and vmfa import create it"
            )
        return self._stack.enter_context(SQLiteStore(self.database_path, create=creates))

    @cached_property
    def registry(self) -> DeviceRegistry:
        keys = self.keys
        imported_keys: KeySource | None = None
        try:
            imported_keys = self.sealed_keys
        except MissingPackage as problem:  # without it an imported device has an unknown key
            self._extra_problem = problem.with_traceback(None)
        issuer = getattr(self.args, "issuer", "vmfa")
        return DeviceRegistry(
            self.store, keys=keys, imported_keys=imported_keys, issuer=issuer, clock=self.clock,
            policy=self.args.command.policy,
        )

    def enter(self, store: S) -> S:
        """Return *store*, which is closed at the end of the command."""
        self._stack.callback(store.close)
        return store

    def explain(self, error: UnknownMasterKey) -> VmfaError:
        """Return *error*. If imported keys may be the reason for it, say how to read them."""
        if self._extra_problem is None:
            return error
        return EnvironmentProblem(f"{error}; {self._extra_problem}", reason=error.reason)

    def actor(self) -> Actor:
        """Return the actor. The default is the trusted service; for root, it is root itself."""
        role = self.args.acting or ("self" if self.principal.is_root else "service")
        code = self.args.code
        if role == "self" and code is None:
            return Actor.signed_in(self.principal)
        if role == "self":
            receipt = self.registry.verify(self.principal, ask(code, "code"))
            return Actor.signed_in(self.principal, mfa=receipt.claim)
        if code is not None:
            raise WrongUsage("--code requires --as self")
        if role == "service":
            return Actor.trusted_service(SERVICE)
        kind, _, case = role.partition(":")
        if kind != "support":
            raise WrongUsage("--as takes self, service or support:CASE")
        return Actor.support(case)

    def accounts(self) -> list[str]:
        """Return the ACCOUNT arguments, decoded and checked."""
        return [PrincipalId.root(read_account(text)).account for text in self.args.accounts]

    def two_codes(self) -> dict[str, str]:
        """Return two consecutive codes, as keyword arguments for the registry.

        :raises WrongUsage: standard input ends before them.
        """
        return {
            "code1": ask(self.args.code1, "first code"),
            "code2": ask(self.args.code2, "second code"),
        }

    def time(self, at: int) -> str:
        """Return the Unix time *at* for people, as ``--utc`` says."""
        return time_text(at, utc=self.args.utc)


def load_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Return *module*, which needs an optional package.

    :param purpose: the beginning of the error, such as "a QR code needs".
    :raises MissingPackage: the text is a command that installs the package here.
    """
    try:
        return import_module(module)
    except MissingExtra:
        pass
    packages = " ".join(map(quote, _packages(extra)))
    install = f"{quote(sys.executable or 'python')} -m pip install {packages}"
    raise MissingPackage(f"{purpose} an optional package; install it with: {install}")


def _packages(extra: str) -> list[str]:
    """Return the requirements of *extra*, which can be installed even if vmfa is not published."""
    from importlib.metadata import PackageNotFoundError, requires  # slow to import, seldom needed

    try:
        requirements: Sequence[str] = requires("vmfa") or ()
    except PackageNotFoundError:
        requirements = ()
    marker = re.compile(rf"extra\s*==\s*['\"]{extra}['\"]")
    return [item.partition(";")[0].strip() for item in requirements if marker.search(item)] or [
        f"vmfa[{extra}]"
    ]
