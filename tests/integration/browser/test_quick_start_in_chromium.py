"""The services of the quick start in a browser, which sends Sec-Fetch-Site and their cookies."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from socket import create_server
from urllib.request import urlopen

import pyotp
import pytest
import zxingcpp
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from tables import DOCS
from vmfa.cli.io import create_key_file

pytestmark = pytest.mark.slow

SOURCES = re.findall(
    r"^```python\n(.*?)^```$",
    (DOCS / "howto/quick-start.md").read_text(),
    re.MULTILINE | re.DOTALL,
)
COMMANDS = {
    "flask": ["flask", "--app", "service", "run", "--port"],
    "fastapi": ["uvicorn", "service:app", "--port"],
}
SECONDS = 30  # to wait for a page on a busy machine


@pytest.fixture(params=COMMANDS)
def origin(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Run the service with the command of the page; return its address."""
    source = SOURCES[list(COMMANDS).index(request.param)]
    (tmp_path / "service.py").write_text(source)
    create_key_file(str(tmp_path / "master.key"))
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", *COMMANDS[request.param], str(port)]
    environment = {**os.environ, "SECRET_KEY": "x" * 32}
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        address = f"http://localhost:{port}"
        try:
            wait_for(address)
            yield address
        finally:
            process.terminate()


def wait_for(address: str) -> None:
    for _ in range(SECONDS * 10):
        try:
            with urlopen(f"{address}/sign-in"):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(address)


def fill(driver: WebDriver, **values: str) -> None:
    """Type *values* into the form and submit it."""
    for name, value in values.items():
        driver.find_element(By.NAME, name).send_keys(value)
    button = driver.find_element(By.TAG_NAME, "button")
    driver.execute_script("window.stillHere = true")
    button.click()
    WebDriverWait(driver, SECONDS).until(
        lambda driver: driver.execute_script(
            "return !window.stillHere && document.readyState === 'complete'"
        )
    )


def resize(driver: Chrome, width: int) -> None:
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )


def test_a_person_sets_up_a_phone_and_signs_in(origin: str, chromium: Chrome) -> None:
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    chromium.get(origin)
    fill(chromium, email="alice@example.com", password="correct horse")
    assert chromium.current_url == f"{origin}/device"
    fill(chromium)
    for width in (320, 800):  # a small phone shows the whole QR code as well
        resize(chromium, width)
        picture = Image.open(io.BytesIO(chromium.get_screenshot_as_png())).convert("RGB")
        (symbol,) = zxingcpp.read_barcodes(picture)
        overflow = "const e = document.documentElement; return e.scrollWidth - e.clientWidth"
        assert chromium.execute_script(overflow) == 0
        assert chromium.find_element(By.TAG_NAME, "svg").size["width"] <= width - 16
    totp = pyotp.parse_uri(symbol.text)
    assert isinstance(totp, pyotp.TOTP)
    now = int(time.time())
    fill(chromium, code1=totp.at(now - 30), code2=totp.at(now))
    assert chromium.current_url == f"{origin}/code"
    fill(chromium, code=totp.at(now))
    assert "This code was already used." in chromium.page_source
    fill(chromium, code=totp.at(now + 30))
    assert chromium.current_url == f"{origin}/"
    assert "You are signed in, alice@example.com." in chromium.page_source
    chromium.get("about:blank")
