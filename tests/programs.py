"""Programs that nobody here wrote, each from a package of Debian's."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime

import pytest

from vmfa import Parameters


def needed(program: str, package: str) -> str:
    """The path of *program*. Where it is absent the test is skipped, loudly; under CI it fails."""
    path = shutil.which(program)
    if path is None:
        missing = f"{program} is not installed: apt-get install {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return path


def output(*command: str, given: str = "") -> str:
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, f"{command[0]} said: {done.stderr}"
    return done.stdout


def oathtool_codes(
    oathtool: str, base32: str, at: float, shape: Parameters, *, more: int = 0
) -> list[str]:
    """The codes that oathtool shows for a key at Unix time *at* and in so many steps after it."""
    now = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return output(
        oathtool,
        f"--totp={shape.algorithm}",
        f"--digits={shape.digits}",
        f"--time-step-size={shape.period}s",
        f"--now={now}",
        f"--window={more}",
        "--base32",
        "-",
        given=base32,
    ).split()
