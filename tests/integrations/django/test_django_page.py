"""The project that the Django page describes works, from nothing to a signed-in phone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tables import DOCS

PAGE = (DOCS / "howto" / "django.md").read_text()
BLOCK = re.compile(
    r"^```\{code-block\} \w+\n:caption: ([\w/.]+)(, at the end)?\n\n(.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A new project with the files of the page."""
    django = [sys.executable, "-m", "django"]
    for arguments in (["startproject", "mysite", "."], ["startapp", "accounts"]):
        subprocess.run([*django, *arguments], cwd=tmp_path, check=True, timeout=60)
    for name, append, text in BLOCK.findall(PAGE):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text((path.read_text() if append else "") + text)
    return tmp_path


def manage(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VMFA_MASTER_KEY": "5a" * 32}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=project, env=environment, timeout=120,
        capture_output=True, text=True, check=False,
    )


def test_the_project_of_the_page_passes_its_checks_and_its_tests(project: Path) -> None:
    tests = manage(project, "test", "accounts")
    assert tests.returncode == 0, tests.stderr
    assert "Ran 1 test" in tests.stderr
    assert "no issues" in tests.stdout + tests.stderr
    receivers = manage(project, "shell", "-c", "import accounts.receivers")
    assert receivers.returncode == 0, receivers.stderr


def test_every_setting_is_documented() -> None:
    from vmfa.integrations.django.conf import OPTIONAL, REQUIRED

    table = PAGE.split("| key | value | default |")[1].split("\n\n")[0]
    keys = "".join(row.split("|")[1] for row in table.split("\n")[2:])
    assert sorted(re.findall(r"`([A-Z_]+)`", keys)) == sorted((*REQUIRED, *OPTIONAL))


def test_every_command_is_documented() -> None:
    from django.core.management import get_commands

    commands = {name for name, app in get_commands().items() if app == "vmfa.integrations.django"}
    assert set(re.findall(r"manage.py (vmfa_\w+)", PAGE)) == commands
