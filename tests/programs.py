"""Programs of Debian packages that tests call."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime

import pytest

from vmfa import Parameters


def require_program(program: str, package: str) -> str:
    """Return the path of *program*. Without it the test is skipped, or fails under CI."""
    folders = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"  # where Debian puts servers
    path = shutil.which(program, path=folders)
    if path is None:
        missing = f"{program} is not installed: apt-get install {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return path


def output(*command: str, given: str = "") -> str:
    """Run a command and return its standard output."""
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, f"{command[0]} failed: {done.stderr}"
    return done.stdout


def oathtool_codes(
    oathtool: str, base32: str, at: float, parameters: Parameters, *, more: int = 0
) -> list[str]:
    """Return the codes that oathtool shows at Unix time *at* and in *more* steps after it."""
    now = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return output(
        oathtool, f"--totp={parameters.algorithm}", f"--digits={parameters.digits}",
        f"--time-step-size={parameters.period}s", f"--now={now}", f"--window={more}",
        "--base32", "-", given=base32,
    ).split()  # fmt: skip
