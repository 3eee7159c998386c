"""Windows, simulated on Linux: the system calls that it lacks are missing, or fail as there.

That shows that the library uses no call without a counterpart, not that the calls that remain
behave alike. What macOS does differently, ``fsync``, is tested with the SQLite store.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="simulates other systems on Linux")

WINDOWS = """
import os, sys
for name in (
    "register_at_fork", "fork", "fchmod", "fchown", "chown", "geteuid", "getuid", "getegid",
    "getgid", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_SYNC",
    "pread", "pwrite", "statvfs", "fdatasync",
):
    delattr(os, name)
os.O_BINARY = 0
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None  # importing it is an ImportError

real_open = os.open
def open_file(path, *arguments, **options):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)  # as Windows answers
    return real_open(path, *arguments, **options)
os.open = open_file

import encodings.idna, getpass, pathlib, sqlite3, subprocess, tempfile  # they look at os.name
for name in ("pathlib", "pathlib._local"):  # the class of Windows does not work here
    if name in sys.modules:
        sys.modules[name].WindowsPath = pathlib.PosixPath
os.name = "nt"
"""

STORY = """
from vmfa import Actor, DerivedKeys, DeviceRegistry, PrincipalId, SQLiteStore
from vmfa.cli.main import main
from vmfa.testing import AuthenticatorApp, FrozenClock

assert main(["keys", "generate", "master.key", "--format", "hex"]) == 0
keys = DerivedKeys.from_file("master.key")
clock = FrozenClock()
alice = PrincipalId.user("main", "u-4711")
me = Actor.signed_in(alice)
with SQLiteStore("mfa.db") as store:
    registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=clock)
    opened = registry.open_enrollment(alice, by=me, label="alice@example.com")
    phone = AuthenticatorApp(clock).scan(opened.uri)
    registry.confirm_enrollment(alice, session=opened.session_id, by=me, **phone.pair())
with SQLiteStore("mfa.db", create=False) as store:
    registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=clock)
    clock.advance(30)
    registry.verify(alice, phone.code())
    assert store.health() == ()
    registry.deactivate(alice, by=Actor.trusted_service("test"), reason="test")
assert main(["list", "main", "--db", "mfa.db", "--key-file", "master.key"]) == 0
assert main(["selftest"]) == 0
print("the story ended well")
"""


def run(program: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_library_works_without_the_calls_that_windows_lacks(tmp_path: Path) -> None:
    assert "the story ended well" in run(WINDOWS + STORY, tmp_path)


@pytest.mark.parametrize(
    "module",
    [
        "vmfa.aio",
        "vmfa.audit",
        "vmfa.importers.pyotp",
        "vmfa.qr",
        "vmfa.rekey",
        "vmfa.reseal",
        "vmfa.keysources.sealed",
        "vmfa.stores.postgres",
        "vmfa.stores.postgres_async",
        "vmfa.testing",
    ],
)
def test_every_module_loads_without_them(tmp_path: Path, module: str) -> None:
    # A package outside of the standard library may need a call on Linux.
    outside = "import psycopg, psycopg_pool, segno\n"
    run(outside + WINDOWS + f"import {module}\n", tmp_path)
