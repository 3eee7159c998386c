"""A person at Debian's Chromium: what they see, type and press."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyotp
import zxingcpp
from PIL import Image
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from example_apps import PASSWORD
from vmfa.testing import FrozenClock

SECONDS = 20  # to wait for a page on a busy machine


def start_chromium(program: str, driver: str) -> Chrome:
    """Return a new Chromium without a window."""
    options = ChromeOptions()
    options.binary_location = program
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--window-size=800,900",
        "--hide-scrollbars",
        "--lang=en-US",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    return Chrome(options=options, service=ChromeService(driver))


class Phone:
    """An authenticator app that shares no code with vmfa: pyotp."""

    def __init__(self, uri: str, clock: FrozenClock) -> None:
        totp = pyotp.parse_uri(uri)
        assert isinstance(totp, pyotp.TOTP)
        self.totp = totp
        self.clock = clock

    def code(self, steps: int = 0) -> str:
        """Return the code that the phone shows, or showed *steps* steps from now."""
        return self.totp.at(int(self.clock.now) + 30 * steps)

    def pair(self, steps: int = 0) -> tuple[str, str]:
        """Return two consecutive codes, the second one *steps* steps from now."""
        return self.code(steps - 1), self.code(steps)


class Person:
    """A person who uses one browser."""

    def __init__(self, driver: Chrome, origin: str, clock: FrozenClock, axe: str) -> None:
        self.driver = driver
        self.origin = origin
        self.clock = clock
        self._axe = axe

    # What they see

    @property
    def path(self) -> str:
        return self.driver.current_url.removeprefix(self.origin)

    @property
    def heading(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "h1").text

    @property
    def error(self) -> str:
        return "".join(e.text for e in self.driver.find_elements(By.CSS_SELECTOR, "[role=alert]"))

    @property
    def notice(self) -> str:
        return "".join(e.text for e in self.driver.find_elements(By.CSS_SELECTOR, "[role=status]"))

    @property
    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "body").text

    @property
    def shown_once(self) -> list[str]:
        return [e.text for e in self.driver.find_elements(By.TAG_NAME, "code")]

    def picture(self) -> Image.Image:
        """Return what the window shows."""
        return Image.open(io.BytesIO(self.driver.get_screenshot_as_png())).convert("RGB")

    def scan(self) -> Phone:
        """Scan the QR code in the window with a new phone."""
        self.scroll_to(self.driver.find_element(By.CSS_SELECTOR, ".qr"))
        (symbol,) = zxingcpp.read_barcodes(self.picture())
        return Phone(symbol.text, self.clock)

    def scroll_to(self, element: WebElement) -> None:
        self.driver.execute_script("arguments[0].scrollIntoView()", element)

    def response_headers(self) -> dict[str, str]:
        """Return the headers of the last page, by their lower-case names."""
        headers: dict[str, str] = {}
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.responseReceived":
                params = message["params"]
                if params["type"] == "Document":
                    headers = {k.lower(): v for k, v in params["response"]["headers"].items()}
                    headers[":status"] = str(params["response"]["status"])
        return headers

    def violations(self) -> list[str]:
        """Return what axe finds wrong with the accessibility of the page."""
        self.driver.execute_script(self._axe)
        results = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document).then(done, e => done(String(e)))"
        )
        assert isinstance(results, dict), results
        assert len(results["passes"]) > 10
        return [
            f"{violation['id']}: {node['html']}"
            for violation in results["violations"]
            for node in violation["nodes"]
        ]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        script = "const e = document.documentElement; return e.scrollWidth - e.clientWidth"
        width: int = self.driver.execute_script(script)
        return width

    # What they do

    def open(self, path: str) -> None:
        self.driver.get(self.origin + path)

    def type(self, label: str, text: str) -> None:
        """Type into the field with this label."""
        element = self.field(label)
        element.clear()
        element.send_keys(text)

    def field(self, label: str) -> WebElement:
        target = self.driver.find_element(By.XPATH, f"//label[normalize-space()='{label}']")
        return self.driver.find_element(By.ID, target.get_attribute("for") or "")

    def button(self, text: str) -> WebElement:
        """Return the button or the link with this text."""
        return self.driver.find_element(
            By.XPATH, f"//*[self::button or self::a][normalize-space()='{text}']"
        )

    def press(self, text: str) -> None:
        """Press a button or follow a link, and wait for the next page."""
        with self.next_page():
            self.button(text).click()

    def press_twice(self, text: str) -> None:
        """Double-click on a button, and wait for the next page."""
        with self.next_page():
            ActionChains(self.driver).double_click(self.button(text)).perform()

    def key(self, *keys: str) -> None:
        """Press keys, without the mouse."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, label: str) -> None:
        """Press the tab key until the focus is on the field, the button or the link."""
        for _ in range(30):
            focused = self.driver.switch_to.active_element
            names = {focused.accessible_name, focused.text}
            if label in names:
                assert self.has_visible_focus(focused)
                return
            self.key(Keys.TAB)
        raise AssertionError(f"the tab key does not reach {label!r}")

    def has_visible_focus(self, element: WebElement) -> bool:
        script = "return getComputedStyle(arguments[0]).outlineStyle"
        return self.driver.execute_script(script, element) != "none"

    @contextmanager
    def next_page(self) -> Iterator[None]:
        """Wait until the page that the block asks for is there."""
        script = "window.stillHere = true"
        self.driver.execute_script(script)
        yield
        WebDriverWait(self.driver, SECONDS).until(
            lambda driver: driver.execute_script(
                "return !window.stillHere && document.readyState === 'complete'"
            )
        )

    def wait_for(self, heading: str) -> None:
        """Wait for a page with this heading, in a browser that runs no scripts."""
        WebDriverWait(self.driver, SECONDS, ignored_exceptions=[WebDriverException]).until(
            lambda _: self.heading == heading
        )

    def enter_password(self, email: str = "alice@example.com") -> None:
        self.open("/sign-in")
        self.type("E-mail address", email)
        self.type("Password", PASSWORD)
        self.press("Sign in")

    def enter_pair(self, codes: tuple[str, str], button: str) -> None:
        self.type("First code", codes[0])
        self.type("Next code", codes[1])
        self.press(button)

    def enter_code(self, code: str) -> None:
        self.type("Code that your authenticator app shows", code)
        self.press("Continue")

    def enroll(self, email: str = "alice@example.com") -> Phone:
        """Enroll a phone, and wait until it shows the next code."""
        self.enter_password(email)
        self.press("Show the QR code")
        phone = self.scan()
        self.enter_pair(phone.pair(), "Connect")
        assert self.heading == "Save your recovery codes"
        self.recovery_codes = self.shown_once
        self.press("I saved the codes")
        self.clock.advance(30)
        return phone

    @contextmanager
    def other_browser(self) -> Iterator[None]:
        """Use a browser without cookies, and come back to this one."""
        cookies = self.command("Network.getAllCookies")["cookies"]
        self.forget_everything()
        yield
        self.forget_everything()
        self.command("Network.setCookies", cookies=cookies)

    def forget_everything(self) -> None:
        self.command("Network.clearBrowserCookies")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the Chrome DevTools Protocol."""
        result: dict[str, Any] = self.driver.execute_cdp_cmd(method, parameters)
        return result

    def use_window(self, *, width: int = 800, height: int = 900, dark: bool = False) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])

    def save_picture(self, path: Path) -> None:
        """Save a picture of the whole page, small enough for the documentation."""
        self.use_window(width=560, height=100)
        height = self.driver.execute_script("return document.documentElement.scrollHeight")
        self.use_window(width=560, height=height)
        self.driver.execute_script("document.activeElement.blur()")
        self.picture().quantize(32).save(path, optimize=True)
        self.use_window()
