"""The example applications: what a user meets, and what an attacker does not get."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for module in ("argon2", "fastapi", "flask", "httpx", "multipart", "segno"):
    pytest.importorskip(module, reason="the example applications need the extra examples")

from example_apps import DOCS, FRAMEWORKS, PASSWORD, Page, Site, Visitor, running  # noqa: E402
from examples.service.limits import MAX_KEYS, RateLimit  # noqa: E402
from postgres_server import database, server  # noqa: E402, F401  # fixtures
from vmfa.testing import FrozenClock  # noqa: E402

pytestmark = pytest.mark.slow

WRONG = "The e-mail address or the password is wrong."
ENDED = "Your session has ended. Sign in again."


@pytest.fixture(params=FRAMEWORKS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with running(request.param, tmp_path) as application:
        yield application


@pytest.fixture
def alice(site: Site) -> Visitor:
    """The browser of Alice, who entered her password and has no device."""
    site.add()
    visitor = site.visitor()
    visitor.enter_password("alice@example.com")
    return visitor


def has_ended(visitor: Visitor) -> bool:
    """Return whether the browser is sent to the sign-in page, which says why."""
    page = visitor.get("/")
    return page.location == "/sign-in" and visitor.follow(page).notice == ENDED


class TestPassword:
    def test_a_new_user_sets_up_a_phone_and_signs_in(self, site: Site) -> None:
        site.add()
        visitor = site.visitor()
        assert visitor.get("/").location == "/sign-in"
        phone, codes = site.enroll(visitor)
        assert len(codes) == 10
        page = visitor.follow(visitor.get("/"))
        assert page.path == "/code"
        assert page.notice == "Your phone is connected. Sign in with the next code."
        assert visitor.get("/code").notice == ""  # it is shown once
        page = visitor.submit(page, "/code", code=phone.code())
        assert page.location == "/"
        assert "alice@example.com" in visitor.follow(page).text

    @pytest.mark.parametrize("email", ["alice@example.com", "eve@example.com"])
    def test_an_unknown_user_is_answered_like_a_wrong_password(
        self, site: Site, email: str
    ) -> None:
        site.add()
        page = site.visitor().enter_password(email, "wrong")
        assert (page.status, page.error) == (401, WRONG)

    def test_the_spelling_of_the_address_does_not_matter(self, site: Site) -> None:
        site.add()
        visitor = site.visitor()
        page = visitor.enter_password(" ALICE@example.com ")
        assert visitor.follow(page).path == "/device"

    def test_passwords_of_a_user_are_limited(self, site: Site) -> None:
        site.add()
        for _ in range(10):
            assert site.visitor().enter_password("alice@example.com", "wrong").status == 401
        page = site.visitor().enter_password("alice@example.com")
        assert (page.status, page.response.headers["Retry-After"]) == (429, "6")
        site.clock.advance(6)
        assert site.visitor().enter_password("alice@example.com").redirects

    def test_requests_of_an_address_are_limited(self, site: Site) -> None:
        visitor = site.visitor()
        for _ in range(60):
            assert visitor.post("/sign-out", {}).status == 403
        page = visitor.post("/sign-out", {})
        assert (page.status, page.response.headers["Retry-After"]) == (429, "1")


class TestCode:
    def test_a_wrong_code(self, site: Site, alice: Visitor) -> None:
        phone, _ = site.enroll(alice)
        page = alice.enter_code(phone.code(50))
        assert (page.status, page.error) == (401, "Not accepted.")

    def test_a_typo_is_not_counted(self, site: Site, alice: Visitor) -> None:
        phone, _ = site.enroll(alice)
        for _ in range(5):
            page = alice.enter_code("12 345 6")
            assert page.status == 400
            assert page.error == "Enter the digits that the app shows, and nothing else."
        assert alice.enter_code(phone.code()).redirects

    def test_a_code_is_accepted_once(self, site: Site, alice: Visitor) -> None:
        phone, _ = site.enroll(alice)
        code = phone.code()
        assert alice.enter_code(code).redirects
        thief = site.visitor()
        thief.enter_password("alice@example.com")
        page = thief.enter_code(code)
        assert page.status == 401
        assert page.error == "This code was already used. The next code begins in 30 seconds."
        assert page.response.headers["Retry-After"] == "30"
        assert thief.lands_on("/") == "/code"

    def test_the_delay_after_wrong_codes_is_announced(self, site: Site, alice: Visitor) -> None:
        phone, _ = site.enroll(alice)
        for _ in range(3):
            alice.enter_code(phone.code(50))
        page = alice.enter_code(phone.code())
        assert (page.status, page.response.headers["Retry-After"]) == (429, "15")
        assert page.error == "Wait 15 seconds before the next attempt."
        site.clock.advance(15)
        assert alice.enter_code(phone.code()).redirects

    def test_a_known_browser_is_not_delayed_by_strangers(self, site: Site) -> None:
        site.add()
        owner, stranger = site.visitor(), site.visitor()
        phone, _ = site.enroll(owner)
        site.sign_in(owner, phone)
        stranger.enter_password("alice@example.com")
        for _ in range(3):
            stranger.enter_code(phone.code(50))
        assert stranger.enter_code(phone.code(50)).status == 429
        owner.enter_password("alice@example.com")
        assert owner.enter_code(phone.code()).redirects

    def test_a_late_phone_is_resynchronized(self, site: Site, alice: Visitor) -> None:
        page = alice.submit(alice.get("/device"), "/device/new")
        phone = site.phone(page)
        page = alice.submit(page, "/device/confirm", code1=phone.code(-6), code2=phone.code(-5))
        assert 'href="/resync"' in page.text
        page = alice.enter_code(phone.code())
        assert page.error.startswith("The device is out of sync.")
        page = alice.get("/resync")
        wrong = alice.submit(page, "/resync", code1=phone.code(), code2=phone.code())
        assert (wrong.status, wrong.error[:13]) == (401, "Not accepted.")
        page = alice.submit(page, "/resync", code1=phone.code(-1), code2=phone.code())
        assert alice.follow(page).notice == "The app is in sync again. Sign in with the next code."
        site.clock.advance(30)
        assert alice.enter_code(phone.code()).redirects

    @pytest.mark.parametrize("path", ["/code", "/resync", "/recover"])
    def test_without_a_device_these_pages_lead_to_the_set_up(
        self, alice: Visitor, path: str
    ) -> None:
        assert alice.lands_on(path) == "/device"


class TestSetUp:
    def test_a_reload_shows_no_key(self, site: Site, alice: Visitor) -> None:
        start = alice.get("/device")
        page = alice.submit(start, "/device/new")
        assert "<svg" in page.text
        phone = site.phone(page)
        reloaded = alice.submit(start, "/device/new")
        assert (reloaded.status, reloaded.shown_once) == (409, [])
        assert "<svg" not in reloaded.text
        assert "Start again" in reloaded.text
        code1, code2 = phone.two_codes()  # the phone has the key already
        page = alice.submit(reloaded, "/device/confirm", code1=code1, code2=code2)
        assert page.heading == "Save your recovery codes"

    def test_start_again_opens_another_enrollment(self, site: Site, alice: Visitor) -> None:
        page = alice.submit(alice.get("/device"), "/device/new")
        old = page.shown_once
        page = alice.follow(alice.submit(page, "/device/cancel"))
        assert page.heading == "Set up an authenticator app"
        assert alice.submit(page, "/device/new").shown_once != old

    def test_a_typo_leaves_the_enrollment_open(self, site: Site, alice: Visitor) -> None:
        page = alice.submit(alice.get("/device"), "/device/new")
        phone = site.phone(page)
        page = alice.submit(page, "/device/confirm", code1="12345", code2="")
        assert (page.status, page.shown_once) == (400, [])
        page = alice.submit(page, "/device/confirm", code1=phone.code(), code2=phone.code(-1))
        assert (page.status, page.error[:13]) == (401, "Not accepted.")
        page = alice.submit(page, "/device/confirm", code1=phone.code(-1), code2=phone.code())
        assert page.status == 200

    def test_ten_wrong_pairs_end_the_enrollment(self, site: Site, alice: Visitor) -> None:
        page = alice.submit(alice.get("/device"), "/device/new")
        for _ in range(10):
            page = alice.submit(page, "/device/confirm", code1="000000", code2="000000")
        assert page.heading == "Set up an authenticator app"
        assert "Start the set-up of the device again." in page.error

    def test_a_second_submission_shows_no_recovery_codes(self, site: Site, alice: Visitor) -> None:
        page = alice.submit(alice.get("/device"), "/device/new")
        code1, code2 = site.phone(page).two_codes()
        alice.submit(page, "/device/confirm", code1=code1, code2=code2)
        page = alice.submit(page, "/device/confirm", code1=code1, code2=code2)
        assert page.location == "/code"
        assert alice.follow(page).notice.startswith("Your phone is connected.")

    def test_of_two_tabs_the_second_one_counts(self, site: Site, alice: Visitor) -> None:
        first_tab, second_tab = alice.get("/device"), alice.get("/device")
        first = alice.submit(first_tab, "/device/new")
        second = alice.submit(second_tab, "/device/new")
        assert first.shown_once != second.shown_once
        old, phone = site.phone(first), site.phone(second)
        code1, code2 = old.two_codes()
        page = alice.submit(first, "/device/confirm", code1=code1, code2=code2)
        assert (page.status, page.error) == (404, "This set-up is over. Start again.")
        reloaded = alice.submit(first_tab, "/device/new")
        assert (reloaded.status, reloaded.shown_once) == (409, [])
        code1, code2 = phone.two_codes()
        page = alice.submit(second, "/device/confirm", code1=code1, code2=code2)
        assert page.heading == "Save your recovery codes"

    def test_the_day_has_ten_enrollments(self, site: Site, alice: Visitor) -> None:
        for _ in range(10):
            alice.submit(alice.get("/device"), "/device/new")
        page = alice.submit(alice.get("/device"), "/device/new")
        assert page.status == 429
        assert int(page.response.headers["Retry-After"]) > 80_000

    def test_an_expired_session_leads_to_the_sign_in_page(
        self, site: Site, alice: Visitor
    ) -> None:
        page = alice.submit(alice.get("/device"), "/device/new")
        code1, code2 = site.phone(page).two_codes()
        site.clock.advance(15 * 60)
        page = alice.submit(page, "/device/confirm", code1=code1, code2=code2)
        assert page.location == "/sign-in"
        assert alice.follow(page).notice == ENDED

    def test_the_password_alone_does_not_replace_a_device(self, site: Site) -> None:
        site.add()
        owner, thief = site.visitor(), site.visitor()
        site.enroll(owner)
        assert thief.follow(thief.enter_password("alice@example.com")).path == "/code"
        assert thief.lands_on("/device") == "/code"
        token = thief.token("/code")
        for path in ("/device/new", "/device/confirm", "/security/remove-device"):
            page = thief.post(path, {**token, "form": "1", "enrollment": "1"})
            assert page.location == "/code" or page.status == 400
        assert thief.lands_on("/") == "/code"

    def test_a_device_that_the_store_lost_is_not_replaced(self, site: Site) -> None:
        site.add()
        site.enroll(site.visitor())
        site.lose_devices()
        thief = site.visitor()
        page = thief.enter_password("alice@example.com")
        assert (page.status, page.heading) == (503, "Sign-in is not possible")
        assert thief.get("/device").location == "/sign-in"


class TestLostPhone:
    def test_a_recovery_code_removes_the_phone(self, site: Site) -> None:
        site.add()
        owner, finder = site.visitor(), site.visitor()
        phone, codes = site.enroll(owner)
        site.sign_in(finder, phone)  # the session of the lost phone
        owner.enter_password("alice@example.com")
        page = owner.submit(owner.get("/recover"), "/recover", recovery_code="AAAA-" * 6)
        assert (page.status, page.error) == (401, "Not accepted.")
        page = owner.submit(page, "/recover", recovery_code=codes[3].lower())
        page = owner.follow(page)
        assert page.notice == "The lost phone was removed. Set up another one now."
        assert has_ended(finder)
        new_phone, new_codes = site.enroll(owner)
        assert not set(codes) & set(new_codes)
        site.sign_in(owner, new_phone)

    def test_an_administrator_removes_the_phone(self, site: Site) -> None:
        principal = site.add()
        owner = site.visitor()
        phone, _ = site.enroll(owner)
        site.sign_in(owner, phone)
        admin = site.signed_in("carol@example.com", is_admin=True)
        page = admin.get("/users")
        action = f"/users/{principal.name}/remove-device"
        page = admin.submit(page, action, reason="phone lost, case 77")
        assert page.location == "/users"
        assert has_ended(owner)
        assert owner.follow(owner.enter_password("alice@example.com")).path == "/device"
        phone, _ = site.enroll(owner)
        site.sign_in(owner, phone)
        history = owner.get("/security").text
        assert "admin carol@example.com" in history

    def test_a_device_that_guesses_disabled_needs_a_code_of_the_administrator(
        self, site: Site
    ) -> None:
        principal = site.add()
        owner = site.visitor()
        phone, _ = site.enroll(owner)
        site.sign_in(owner, phone)
        site.change_device(principal, disabled=True)
        owner.enter_password("alice@example.com")
        page = owner.enter_code(phone.code())
        assert (page.status, page.error) == (
            403,
            "This device no longer works. Contact an administrator.",
        )
        admin = site.signed_in("carol@example.com", is_admin=True)
        action = f"/users/{principal.name}/remove-device"
        page = admin.submit(admin.get("/users"), action, reason="guessed")
        assert page.heading == "Hand over"
        (code,) = page.shown_once
        page = owner.follow(owner.enter_password("alice@example.com"))
        page = owner.submit(page, "/device/new")
        assert page.error.startswith("Your phone was removed by an administrator.")
        page = owner.submit(page, "/device/new", binding_code=code)
        assert page.heading == "Connect your phone"
        again = admin.submit(admin.get("/users"), f"/users/{principal.name}/binding-code")
        assert again.heading == "Hand over"

    def test_a_token_of_the_administrator_passes_a_closed_lane(self, site: Site) -> None:
        principal = site.add()
        phone, _ = site.enroll(site.visitor())
        site.change_device(principal, failures=75)  # by strangers
        owner = site.visitor()
        owner.enter_password("alice@example.com")
        page = owner.enter_code(phone.code())
        assert (page.status, page.error[:32]) == (429, "Signing in with a code is closed")
        admin = site.signed_in("carol@example.com", is_admin=True)
        page = admin.submit(admin.get("/users"), f"/users/{principal.name}/client-token")
        (token,) = page.shown_once
        page = owner.enter_code(phone.code(), client_token=token)
        assert page.location == "/"
        page = owner.get("/security")
        assert "75 in a row" in page.text
        assert owner.submit(page, "/security/reopen").location == "/security"
        assert "in a row" not in owner.get("/security").text

    @pytest.mark.parametrize("operation", ["remove-device", "client-token", "binding-code"])
    def test_other_users_are_not_administrators(self, site: Site, operation: str) -> None:
        principal = site.add("bob@example.com")
        visitor = site.signed_in()
        assert visitor.get("/users").status == 403
        data = {**visitor.token("/security"), "reason": "x"}
        assert visitor.post(f"/users/{principal.name}/{operation}", data).status == 403

    def test_administrators_do_not_act_on_themselves_or_on_nobody(self, site: Site) -> None:
        admin = site.signed_in("carol@example.com", is_admin=True)
        data = {**admin.token("/users"), "reason": "x"}
        (own,) = site.accounts.users()
        for user_id in (own.id, "unknown"):
            page = admin.post(f"/users/{user_id}/remove-device", data)
            assert page.status == 404


class TestSecurityPage:
    def test_it_shows_the_history(self, site: Site) -> None:
        page = site.signed_in().get("/security")
        assert re.search(r"<td>Device assigned</td>\s*<td>you</td>", page.text)
        assert "10 recovery codes are left" in page.text

    def test_recovery_codes_are_replaced(self, site: Site) -> None:
        visitor = site.signed_in()
        page = visitor.submit(visitor.get("/security"), "/security/recovery-codes")
        assert len(page.shown_once) == 10

    def test_the_phone_is_replaced(self, site: Site) -> None:
        visitor = site.signed_in()
        page = visitor.submit(visitor.get("/security"), "/security/remove-device")
        page = visitor.follow(page)
        assert page.heading == "Set up an authenticator app"
        assert visitor.lands_on("/") == "/device"

    def test_sign_out_everywhere_ends_all_sessions_and_forgets_browsers(self, site: Site) -> None:
        site.add()
        one, other = site.visitor(), site.visitor()
        phone, _ = site.enroll(one)
        site.sign_in(one, phone)
        site.sign_in(other, phone)
        client = {name: value for name, value in one.cookies.items() if "client" in name}
        assert one.submit(one.get("/security"), "/security/sign-out-everywhere").redirects
        assert has_ended(other)
        assert not [name for name in one.cookies if "client" in name]
        stranger = site.visitor()
        stranger.enter_password("alice@example.com")
        for _ in range(3):
            stranger.enter_code(phone.code(50))
        one.cookies.update(client)  # which is worthless now
        one.enter_password("alice@example.com")
        assert one.enter_code(phone.code()).status == 429

    def test_it_asks_for_a_new_code_after_an_hour(self, site: Site) -> None:
        site.add()
        visitor = site.visitor()
        phone, _ = site.enroll(visitor)
        site.sign_in(visitor, phone)
        stale = visitor.get("/security")
        site.clock.advance(3600)
        assert visitor.get("/").status == 200
        assert visitor.submit(stale, "/security/recovery-codes").location == "/code"
        page = visitor.follow(visitor.get("/security"))
        assert page.path == "/code"
        assert visitor.submit(page, "/code", code=phone.code()).location == "/security"
        assert visitor.get("/security").status == 200


class TestSessions:
    def test_each_factor_gives_a_new_token(self, site: Site) -> None:
        """Against session fixation: what an attacker planted is worthless."""
        site.add()
        visitor = site.visitor()
        visitor.get("/sign-in")
        tokens = [visitor.cookies.get("__Host-session")]  # Django has none for visitors
        phone, _ = site.enroll(visitor)
        tokens.append(visitor.cookies["__Host-session"])
        visitor.enter_code(phone.code())
        tokens.append(visitor.cookies["__Host-session"])
        assert len(set(tokens)) == 3
        for token in filter(None, tokens[:2]):
            attacker = site.visitor()
            attacker.cookies.set("__Host-session", token, domain="service.test")
            assert has_ended(attacker)

    def test_sign_out_ends_the_session_on_the_server(self, site: Site) -> None:
        visitor = site.signed_in()
        token = visitor.cookies["__Host-session"]
        assert visitor.submit(visitor.get("/"), "/sign-out").location == "/sign-in"
        assert "__Host-session" not in visitor.cookies
        thief = site.visitor()
        thief.cookies.set("__Host-session", token, domain="service.test")
        assert has_ended(thief)

    def test_a_session_ends_after_eight_hours(self, site: Site) -> None:
        visitor = site.signed_in()
        site.clock.advance(8 * 3600 - 120)
        assert visitor.get("/").status == 200
        site.clock.advance(120)
        assert has_ended(visitor)

    def test_a_session_of_a_removed_device_counts_no_more(self, site: Site) -> None:
        """The device is removed elsewhere, for example with the command line."""
        principal = site.add()
        visitor = site.visitor()
        phone, _ = site.enroll(visitor)
        site.sign_in(visitor, phone)
        site.remove_device(principal)
        site.clock.advance(3600)
        assert visitor.follow(visitor.get("/")).notice == ENDED

    def test_cookies_are_protected(self, site: Site) -> None:
        visitor = site.visitor()
        site.add()
        phone, _ = site.enroll(visitor)
        page = visitor.enter_code(phone.code())
        cookies = page.response.headers.get_list("set-cookie")
        assert len(cookies) == 2
        for cookie in cookies:
            assert cookie.startswith("__Host-")
            attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
            assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes
            assert not any(attribute.startswith("domain") for attribute in attributes)
        (principal,) = site.accounts.users()
        assert principal.id not in " ".join(cookies)
        assert "alice" not in " ".join(cookies)

    def test_a_browser_keeps_a_cookie_for_each_user(self, site: Site) -> None:
        visitor = site.visitor()
        for email in ("alice@example.com", "bob@example.com"):
            site.add(email)
            phone, _ = site.enroll(visitor, email)
            visitor.enter_code(phone.code())
        assert len([name for name in visitor.cookies if "client-" in name]) == 2

    def test_no_key_is_stored_or_put_into_a_cookie(self, site: Site, alice: Visitor) -> None:
        page = alice.submit(alice.get("/device"), "/device/new")
        key = page.shown_once[0].replace(" ", "")
        assert len(key) == 32
        for text in (key, page.shown_once[0]):
            assert text.encode() not in site.stored()
            assert text not in str(page.response.headers)
        assert b"otpauth" not in site.stored()

    def test_the_database_has_no_token_of_a_session(self, site: Site) -> None:
        if site.framework == "django":
            pytest.skip("the session tables of Django have the tokens")
        visitor = site.signed_in()
        for value in visitor.cookies.values():
            assert value.encode() not in site.stored()

    def test_the_databases_are_not_readable_by_others(self, site: Site) -> None:
        site.signed_in()
        for path in site.directory.iterdir():
            assert path.stat().st_mode & 0o077 == 0, path.name


class TestForms:
    def test_a_form_without_a_token_is_refused(self, site: Site, alice: Visitor) -> None:
        for path in ("/sign-in", "/sign-out", "/device/new", "/code", "/security/remove-device"):
            for token in (None, "", "0" * 64, "é"):
                page = alice.post(path, {} if token is None else {alice.csrf_field: token})
                assert (page.status, page.heading) == (403, "This page is too old")
        assert alice.get("/device").status == 200  # still signed in

    def test_a_token_of_another_browser_is_refused(self, site: Site, alice: Visitor) -> None:
        page = site.visitor().get("/sign-in")
        token = page.forms["/sign-in"][alice.csrf_field]
        assert alice.post("/sign-out", {alice.csrf_field: token}).status == 403

    def test_signing_in_needs_a_form_of_this_browser(self, site: Site) -> None:
        """Against login CSRF: nobody is signed in as the attacker."""
        site.add()
        visitor = site.visitor()
        data = {visitor.email_field: "alice@example.com", "password": PASSWORD}
        assert visitor.post("/sign-in", data).status == 403

    def test_the_page_of_another_tab_is_too_old_after_signing_in(self, site: Site) -> None:
        site.add()
        visitor = site.visitor()
        tab = visitor.get("/sign-in")
        visitor.enter_password("alice@example.com")
        page = visitor.submit(tab, "/sign-in", password=PASSWORD)
        assert (page.status, page.heading) == (403, "This page is too old")

    def test_a_double_submission_of_the_code_does_not_fail(self, site: Site) -> None:
        site.add()
        visitor = site.visitor()
        phone, _ = site.enroll(visitor)
        page, code = visitor.get("/code"), phone.code()
        cookies = dict(visitor.cookies)
        assert visitor.submit(page, "/code", code=code).location == "/"
        second = site.visitor()  # the same browser, before it had the first answer
        for name, value in cookies.items():
            second.cookies.set(name, value, domain="service.test")
        assert second.submit(page, "/code", code=code).location == "/sign-in"
        assert visitor.get("/").status == 200

    @pytest.mark.parametrize("target", ["https://evil.test/", "//evil.test/", "/\\evil.test"])
    def test_no_parameter_redirects_elsewhere(self, site: Site, target: str) -> None:
        site.add()
        visitor = site.visitor()
        phone, _ = site.enroll(visitor)
        names = ("next", "return_to", "url", "continue")
        query = "&".join(f"{name}={target}" for name in names)
        page = visitor.get(f"/sign-in?{query}")
        values = {visitor.email_field: "alice@example.com", "password": PASSWORD}
        page = visitor.submit(page, "/sign-in", **values)
        assert page.redirects
        assert "evil" not in page.response.headers["Location"]
        assert visitor.follow(page).path == "/code"
        page = visitor.get(f"/code?{query}")
        page = visitor.post(
            f"/code?{query}",
            {**page.forms["/code"], "code": phone.code(), **dict.fromkeys(names, target)},
        )
        assert page.response.headers["Location"] == "/"

    def test_a_path_that_looks_like_another_host_redirects_nowhere(self, site: Site) -> None:
        visitor = site.signed_in()
        site.clock.advance(3601)
        for path in ("//evil.test/security", "/security//evil.test", "/\\evil.test"):
            location = Page(visitor.client.get(f"https://service.test{path}")).location or ""
            assert "evil" not in location

    def test_pages_are_not_kept_and_not_framed(self, site: Site, alice: Visitor) -> None:
        for page in (alice.get("/sign-in"), alice.get("/device"), alice.get("/"), alice.get("/x")):
            headers = page.response.headers
            assert headers["Cache-Control"] == "no-store"
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
        assert alice.get("/static/style.css").status == 200

    def test_text_of_users_is_escaped(self, site: Site) -> None:
        visitor = site.signed_in("<b>eve</b>@example.com")
        assert "<b>eve" not in visitor.get("/").text

    def test_a_large_form_is_refused(self, site: Site, alice: Visitor) -> None:
        data = {**alice.token("/device"), "form": "x" * 20_000}
        assert alice.post("/device/new", data).status in {400, 413}

    def test_unknown_pages_and_methods_leave_the_session_alone(self, alice: Visitor) -> None:
        for path, status in (("/unknown", 404), ("/device/new", 405), ("/favicon.ico", 404)):
            page = alice.get(path)
            assert page.status == status
            assert "__Host-session" not in page.response.headers.get("Set-Cookie", "")
        assert alice.get("/device").status == 200


class TestPostgres:
    @pytest.mark.parametrize("framework", ["flask", "fastapi"])
    def test_devices_are_stored_where_the_environment_says(
        self, framework: str, tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch  # noqa: F811
    ) -> None:
        monkeypatch.setenv("VMFA_POSTGRES", database)
        with running(framework, tmp_path) as site:
            assert site.signed_in().get("/security").status == 200
        assert not (tmp_path / "mfa.db").exists()


class TestDjango:
    def test_users_get_mails_about_changes(self, tmp_path: Path) -> None:
        with running("django", tmp_path) as site:
            visitor = site.signed_in()
            visitor.submit(visitor.get("/security"), "/security/recovery-codes")
            mails = site.accounts.mails()
        assert mails == [
            "An authenticator app was added to your account.",
            "Your recovery codes were replaced.",
        ]

    def test_the_project_passes_the_checks(self, tmp_path: Path) -> None:
        environment = {**os.environ, "DJANGO_SECRET_KEY": "x" * 60, "VMFA_MASTER_KEY": "5a" * 32}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        for arguments in (
            ["migrate"], ["makemigrations", "--check"], ["check", "--database", "default"],
            ["vmfa_health"],
        ):
            subprocess.run(
                [sys.executable, DOCS / "examples/django/manage.py", *arguments],
                cwd=tmp_path, env=environment, check=True, timeout=60, capture_output=True,
            )


class TestRateLimit:
    def test_the_burst_comes_back_evenly(self) -> None:
        clock = FrozenClock()
        limit = RateLimit(3, 60, clock=clock)
        assert [limit.wait("a") for _ in range(5)] == [0, 0, 0, 20, 20]
        assert limit.wait("b") == 0
        clock.advance(20)
        assert [limit.wait("a") for _ in range(2)] == [0, 20]
        clock.advance(1000)
        assert [limit.wait("a") for _ in range(4)] == [0, 0, 0, 20]

    def test_its_memory_is_bounded(self) -> None:
        clock = FrozenClock()
        limit = RateLimit(1, 60, clock=clock)
        for number in range(MAX_KEYS + 100):
            limit.wait(str(number))
        assert len(limit._full_at) == MAX_KEYS
        clock.advance(60)
        limit.wait("new")
        assert len(limit._full_at) == 1
