"""Walks through the example applications in a real browser, with an independent phone.

Each page is used as a person uses it: the QR code is read off a picture of the window. With
``VMFA_SCREENSHOTS=1`` the walks also write the pictures of the documentation.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from browser import Person, Phone
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from example_apps import PASSWORD, Site
from vmfa import PrincipalId

pytestmark = pytest.mark.slow

ALICE = "alice@example.com"
CAROL = "carol@example.com"
PICTURES = Path(__file__).parents[3] / "docs" / "_static" / "examples"


@pytest.fixture
def alice(site: Site, person: Person) -> PrincipalId:
    """The user that the person is."""
    return site.add(ALICE)


def check_page(person: Person, picture: str = "") -> None:
    """Check that a page is accessible, also on a small phone in the dark."""
    if picture and os.environ.get("VMFA_SCREENSHOTS"):
        PICTURES.mkdir(exist_ok=True)
        person.save_picture(PICTURES / f"{picture}.png")
    assert person.violations() == []
    person.use_window(width=320, height=640, dark=True)
    assert person.violations() == []
    assert person.overflow() == 0, "the page is wider than the window of a small phone"
    person.use_window()


@pytest.mark.usefixtures("alice")
class TestFirstSignIn:
    def test_happy_path(self, site: Site, person: Person) -> None:
        person.open("/")
        assert person.heading == "Sign in"
        check_page(person, "sign-in")
        person.enter_password()
        assert person.heading == "Set up an authenticator app"
        check_page(person)
        person.press("Show the QR code")
        check_page(person, "set-up")
        phone = person.scan()
        assert (phone.totp.issuer, phone.totp.name) == ("Example", ALICE)
        assert person.shown_once[0].replace(" ", "") == phone.totp.secret
        person.enter_pair(phone.pair(), "Connect")
        assert person.heading == "Save your recovery codes"
        assert len(person.shown_once) == 10
        check_page(person, "recovery-codes")
        person.press("I saved the codes")
        assert person.notice == "Your phone is connected. Sign in with the next code."
        check_page(person, "code")
        site.clock.advance(30)
        person.enter_code(phone.code())
        assert (person.path, person.heading) == ("/", "Welcome")
        assert ALICE in person.text
        check_page(person)
        person.press("Security")
        check_page(person, "security")
        assigned_at = datetime.fromtimestamp(site.clock.now - 30, UTC) + timedelta(hours=9)
        local_time = f"{assigned_at:%-m/%-d/%Y, %-I:%M:%S %p}"  # in Tokyo, as Americans write it
        assert f"{local_time} Device assigned you" in person.text.replace("\u202f", " ")

    def test_typo(self, site: Site, person: Person) -> None:
        person.enter_password()
        person.press("Show the QR code")
        phone = person.scan()
        person.enter_pair(("12345", phone.code()), "Connect")
        assert person.error == "Enter the digits that the app shows, and nothing else."
        assert person.shown_once == []
        check_page(person)
        person.enter_pair((phone.code(), phone.code(-1)), "Connect")
        assert person.error.startswith("Not accepted.")
        person.enter_pair(phone.pair(), "Connect")
        assert person.heading == "Save your recovery codes"

    def test_double_submit(self, site: Site, person: Person) -> None:
        person.enter_password()
        person.press("Show the QR code")
        phone = person.scan()
        person.type("First code", phone.code(-1))
        person.type("Next code", phone.code())
        person.press_twice("Connect")
        assert person.heading == "Save your recovery codes"
        person.press("I saved the codes")
        site.clock.advance(30)
        person.type("Code that your authenticator app shows", phone.code())
        person.press_twice("Continue")
        assert person.heading == "Welcome"

    def test_reload_of_the_qr_code(self, person: Person) -> None:
        person.enter_password()
        person.press("Show the QR code")
        phone = person.scan()
        with person.next_page():
            person.driver.refresh()  # Chromium sends the form again
        assert person.heading == "Connect your phone"
        assert person.shown_once == []
        assert not person.driver.find_elements(By.TAG_NAME, "svg")
        check_page(person, "set-up-reloaded")
        person.enter_pair(phone.pair(), "Connect")
        assert person.heading == "Save your recovery codes"
        with person.next_page():
            person.driver.refresh()
        assert person.heading == "Enter a code"
        assert person.notice.startswith("Your phone is connected.")

    def test_start_again(self, person: Person) -> None:
        person.enter_password()
        person.press("Show the QR code")
        first = person.scan()
        person.press("Start again")
        person.press("Show the QR code")
        phone = person.scan()
        assert phone.totp.secret != first.totp.secret
        person.enter_pair(first.pair(), "Connect")
        assert person.error.startswith("Not accepted.")
        person.enter_pair(phone.pair(), "Connect")
        assert person.heading == "Save your recovery codes"

    def test_back_button(self, person: Person) -> None:
        person.enter_password()
        person.press("Show the QR code")
        phone = person.scan()
        person.enter_pair(phone.pair(), "Connect")
        codes = person.shown_once
        person.press("I saved the codes")
        for _ in range(2):
            person.driver.back()
            source = person.driver.page_source
            assert phone.totp.secret not in source.replace(" ", "")
            assert 'class="qr"' not in source  # Chromium's own pages have other pictures
            assert not any(code in source for code in codes)
        person.open("/")
        assert person.heading == "Enter a code"

    def test_two_tabs(self, person: Person) -> None:
        person.enter_password()
        first_tab = person.driver.current_window_handle
        person.driver.switch_to.new_window("tab")
        person.open("/device")
        second_tab = person.driver.current_window_handle
        person.driver.switch_to.window(first_tab)
        person.press("Show the QR code")
        first = person.scan()
        person.driver.switch_to.window(second_tab)
        person.press("Show the QR code")
        phone = person.scan()
        person.driver.switch_to.window(first_tab)
        person.enter_pair(first.pair(), "Connect")
        assert person.error == "This set-up is over. Start again."
        check_page(person)
        person.driver.switch_to.window(second_tab)
        person.enter_pair(phone.pair(), "Connect")
        assert person.heading == "Save your recovery codes"
        person.driver.switch_to.window(first_tab)
        person.press("Show the QR code")
        assert person.heading == "Enter a code"

    def test_expired_session(self, site: Site, person: Person) -> None:
        person.enter_password()
        person.press("Show the QR code")
        phone = person.scan()
        site.clock.advance(900)
        person.enter_pair(phone.pair(), "Connect")
        assert person.notice == "Your session has ended. Sign in again."
        check_page(person)

    def test_keyboard_only(self, site: Site, person: Person) -> None:
        person.open("/")
        person.key(Keys.TAB)
        assert person.driver.switch_to.active_element.text == "Skip to the content"
        person.tab_to("E-mail address")
        person.key(ALICE)
        person.tab_to("Password")
        person.key(PASSWORD)
        with person.next_page():
            person.key(Keys.ENTER)
        person.tab_to("Show the QR code")
        with person.next_page():
            person.key(Keys.SPACE)
        phone = person.scan()
        person.tab_to("First code")
        person.key(phone.code(-1))
        person.tab_to("Next code")
        person.key(phone.code())
        with person.next_page():
            person.key(Keys.ENTER)
        person.tab_to("I saved the codes")
        with person.next_page():
            person.key(Keys.ENTER)
        site.clock.advance(30)
        person.key(phone.code())  # the field has the focus
        with person.next_page():
            person.key(Keys.ENTER)
        person.tab_to("Security")
        with person.next_page():
            person.key(Keys.ENTER)
        person.tab_to("Sign out everywhere")
        with person.next_page():
            person.key(Keys.ENTER)
        assert person.heading == "Sign in"

    def test_a_small_phone_in_the_dark(self, site: Site, person: Person) -> None:
        person.use_window(width=320, height=640, dark=True)
        phone = person.enroll()  # the QR code is read in this window
        person.enter_code(phone.code())
        assert person.heading == "Welcome"

    def test_without_scripts(self, site: Site, person: Person) -> None:
        person.command("Emulation.setScriptExecutionDisabled", value=True)
        try:
            person.open("/sign-in")
            person.type("E-mail address", ALICE)
            person.type("Password", PASSWORD)
            person.button("Sign in").click()
            person.wait_for("Set up an authenticator app")
            person.button("Show the QR code").click()
            person.wait_for("Connect your phone")
            phone = person.scan()
            person.type("First code", phone.code(-1))
            person.type("Next code", phone.code())
            person.button("Connect").click()
            person.wait_for("Save your recovery codes")
            assert person.path == "/device/confirm"
        finally:
            person.command("Emulation.setScriptExecutionDisabled", value=False)


@pytest.fixture
def phone(alice: PrincipalId, person: Person) -> Phone:
    """The phone of Alice, who entered her password and is at the page for the code."""
    return person.enroll()


class TestCode:
    def test_wrong_code(self, person: Person, phone: Phone) -> None:
        person.enter_code(phone.code(50))
        assert person.error == "Not accepted."
        assert person.driver.title == "Error: Enter a code - Example"
        check_page(person, "code-rejected")
        person.enter_code(phone.code())
        assert person.heading == "Welcome"

    def test_replay(self, site: Site, person: Person, phone: Phone) -> None:
        code = phone.code()
        person.enter_code(code)
        person.press("Sign out")
        person.enter_password()
        person.enter_code(code)
        assert person.error == "This code was already used. The next code begins in 30 seconds."
        site.clock.advance(30)
        person.enter_code(phone.code())
        assert person.heading == "Welcome"

    def test_throttle(self, site: Site, person: Person, phone: Phone) -> None:
        for _ in range(3):
            person.enter_code(phone.code(50))
        person.response_headers()
        person.enter_code(phone.code())
        headers = person.response_headers()
        assert (headers[":status"], headers["retry-after"]) == ("429", "15")
        assert person.error == "Wait 15 seconds before the next attempt."
        check_page(person)
        site.clock.advance(15)
        person.enter_code(phone.code())
        assert person.heading == "Welcome"

    def test_late_pair_and_resynchronization(
        self, site: Site, alice: PrincipalId, person: Person
    ) -> None:
        person.enter_password()
        person.press("Show the QR code")
        phone = person.scan()
        person.enter_pair(phone.pair(-6), "Connect")
        assert "The codes of your phone were late." in person.text
        check_page(person)
        person.press("Resynchronize the app")
        check_page(person, "resynchronize")
        person.enter_pair((phone.code(), phone.code(-1)), "Resynchronize")
        assert person.error.startswith("Not accepted.")
        person.enter_pair(phone.pair(), "Resynchronize")
        assert person.notice == "The app is in sync again. Sign in with the next code."
        site.clock.advance(30)
        person.enter_code(phone.code())
        assert person.heading == "Welcome"

    def test_codes_before_the_resynchronization(self, alice: PrincipalId, person: Person) -> None:
        person.enter_password()
        person.press("Show the QR code")
        phone = person.scan()
        person.enter_pair(phone.pair(-6), "Connect")
        person.open("/code")
        person.enter_code(phone.code())
        assert person.error.startswith("The device is out of sync.")
        person.press("My codes are not accepted")
        assert person.heading == "Resynchronize the app"


class TestLostPhone:
    def test_recovery_code(self, site: Site, person: Person, phone: Phone) -> None:
        person.press("I lost my phone")
        check_page(person, "lost-phone")
        person.type("Recovery code", "AAAA-AAAA-AAAA-AAAA-AAAA-AAAA")
        person.press("Remove the lost phone")
        assert person.error == "Not accepted."
        person.type("Recovery code", person.recovery_codes[0])
        person.press("Remove the lost phone")
        assert person.notice == "The lost phone was removed. Set up another one now."
        new_phone = person.enroll()
        person.enter_code(new_phone.code())
        assert person.heading == "Welcome"

    def test_administrator(
        self, site: Site, alice: PrincipalId, person: Person, phone: Phone
    ) -> None:
        person.enter_code(phone.code())
        site.add(CAROL, is_admin=True)
        with person.other_browser():
            carols_phone = person.enroll(CAROL)
            person.enter_code(carols_phone.code())
            person.press("Users")
            check_page(person, "users")
            person.type("Reason, such as the number of the case", "phone lost, case 77")
            person.press(f"Remove the phone of {ALICE}")
            assert person.path == "/users"
        person.open("/")
        assert person.notice == "Your session has ended. Sign in again."
        new_phone = person.enroll()
        person.enter_code(new_phone.code())
        person.press("Security")
        assert f"admin {CAROL}" in person.text

    def test_token_of_an_administrator(
        self, site: Site, alice: PrincipalId, person: Person, phone: Phone
    ) -> None:
        site.add(CAROL, is_admin=True)
        with person.other_browser():
            carols_phone = person.enroll(CAROL)
            person.enter_code(carols_phone.code())
            person.press("Users")
            person.press(f"Give a sign-in token to {ALICE}")
            check_page(person)
            (token,) = person.shown_once
        for _ in range(3):
            person.open("/code")
            person.enter_code(phone.code(50))
        person.driver.find_element(By.TAG_NAME, "summary").click()
        person.type("Token", token)
        person.enter_code(phone.code())
        assert person.heading == "Welcome"

    def test_a_session_ends_with_its_device(
        self, site: Site, alice: PrincipalId, person: Person, phone: Phone
    ) -> None:
        """The device is removed elsewhere, for example with the command line."""
        person.enter_code(phone.code())
        assert person.heading == "Welcome"
        site.remove_device(alice)
        person.open("/")
        assert person.heading == "Sign-in is not possible"
        check_page(person)


class TestSecurityPage:
    def test_sign_out_everywhere(self, site: Site, person: Person, phone: Phone) -> None:
        person.enter_code(phone.code())
        with person.other_browser():
            site.clock.advance(30)
            person.enter_password()
            person.enter_code(phone.code())
            person.press("Security")
            person.press("Sign out everywhere")
            assert person.heading == "Sign in"
        person.open("/")
        assert person.notice == "Your session has ended. Sign in again."

    def test_new_recovery_codes(self, person: Person, phone: Phone) -> None:
        person.enter_code(phone.code())
        person.press("Security")
        person.press("Create new recovery codes")
        assert not set(person.recovery_codes) & set(person.shown_once)
        check_page(person)

    def test_replace_the_phone(self, person: Person, phone: Phone) -> None:
        person.enter_code(phone.code())
        person.press("Security")
        person.press("Replace the phone")
        assert person.notice == "The phone was removed. Set up the new one now."
        new_phone = person.enroll()
        person.enter_code(new_phone.code())
        assert person.heading == "Welcome"
