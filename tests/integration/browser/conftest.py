"""Chromium, axe and the example applications, for the tests in this folder."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

for module in ("argon2", "fastapi", "flask", "selenium", "uvicorn"):
    pytest.importorskip(module, reason="the browser tests need the extra examples")

from browser import Person, start_chromium  # noqa: E402
from selenium.webdriver import Chrome  # noqa: E402

from example_apps import FRAMEWORKS, Site, serving  # noqa: E402

AXE = "axe-core@4.11.1"  # of npm


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chrome]:
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("Chromium is not installed: apt-get install chromium chromium-driver")
    with start_chromium(program, driver) as browser:
        yield browser


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe, from the package registry."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: it fetches axe")
    folder = tmp_path_factory.mktemp("axe")
    subprocess.run([npm, "pack", "--silent", AXE], cwd=folder, check=True, capture_output=True)
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as tar:
        member = tar.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


@pytest.fixture(params=FRAMEWORKS)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Site, str]]:
    with serving(request.param, tmp_path) as application:
        yield application


@pytest.fixture
def site(served: tuple[Site, str]) -> Site:
    return served[0]


@pytest.fixture
def person(served: tuple[Site, str], chromium: Chrome, axe: str) -> Iterator[Person]:
    """A person with a new browser."""
    site, origin = served
    someone = Person(chromium, origin, site.clock, axe)
    someone.forget_everything()
    someone.use_window()
    someone.command("Emulation.setTimezoneOverride", timezoneId="Asia/Tokyo")
    chromium.get_log("performance")  # drops what the test before has left
    first_tab = chromium.current_window_handle
    yield someone
    for tab in chromium.window_handles:
        if tab != first_tab:
            chromium.switch_to.window(tab)
            chromium.close()
    chromium.switch_to.window(first_tab)
    chromium.get("about:blank")
