"""The two services of the quick start run as they stand on the page, in one file each."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

for module in ("argon2", "fastapi", "flask", "httpx", "itsdangerous", "multipart", "segno"):
    pytest.importorskip(module, reason="the services of the quick start need the extra examples")

import httpx  # noqa: E402
import werkzeug.security  # noqa: E402
from anyio.from_thread import start_blocking_portal  # noqa: E402

from example_apps import FastHasher, Page, PortalTransport, Visitor  # noqa: E402
from tables import DOCS  # noqa: E402
from vmfa import Actor, DeviceRegistry, Key, PrincipalId  # noqa: E402
from vmfa.cli.io import create_key_file  # noqa: E402
from vmfa.cli.main import main  # noqa: E402
from vmfa.testing import Account, AuthenticatorApp, FrozenClock  # noqa: E402

PAGE = DOCS / "howto/quick-start.md"
ORIGIN = "https://service.test"
ALICE = PrincipalId.user("main", "1")
SUPPORT = Actor.support("case 7")
SERVICES = dict(
    zip(
        ("flask", "fastapi"),
        re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL),
        strict=True,
    )
)


@dataclass
class Service:
    """A service of the page, with a clock that stands still."""

    names: dict[str, Any]
    transport: httpx.BaseTransport
    clock: FrozenClock
    clients: ExitStack

    @property
    def registry(self) -> DeviceRegistry:
        registry: DeviceRegistry = self.names["registry"]
        return registry

    def visitor(self) -> Visitor:
        client = httpx.Client(transport=self.transport, base_url=ORIGIN)
        return Visitor(self.clients.enter_context(client))

    def after_password(self, password: str = "correct horse") -> tuple[Visitor, Page]:
        visitor = self.visitor()
        return visitor, visitor.enter_password("alice@example.com", password)

    def enroll(self) -> tuple[Visitor, Account]:
        visitor, _ = self.after_password()
        page = visitor.submit(visitor.get("/device"), "/device")
        phone = AuthenticatorApp(self.clock).add(Key.from_base32(page.shown_once[0]))
        page = visitor.submit(page, "/device/confirm", code1=phone.code(-1), code2=phone.code())
        assert (page.status, page.location) == (303, "/code")
        self.clock.advance(30)
        return visitor, phone


@pytest.fixture(params=SERVICES)
def service(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET_KEY", "x" * 32)
    monkeypatch.setattr("argon2.PasswordHasher", FastHasher)
    cheap = partial(werkzeug.security.generate_password_hash, method="pbkdf2:sha256:1")
    monkeypatch.setattr("werkzeug.security.generate_password_hash", cheap)
    create_key_file("master.key")
    names: dict[str, Any] = {"__name__": "service"}
    exec(compile(SERVICES[request.param], str(PAGE), "exec"), names)
    clock = FrozenClock()
    names["registry"]._clock = clock
    with ExitStack() as stack:
        transport: httpx.BaseTransport
        if request.param == "flask":
            transport = httpx.WSGITransport(names["app"])
        else:
            portal = stack.enter_context(start_blocking_portal())
            transport = PortalTransport(portal, httpx.ASGITransport(names["app"]))
        yield Service(names, transport, clock, stack)
    names["registry"]._store.close()


def test_a_user_sets_up_a_phone_and_signs_in(service: Service) -> None:
    visitor, page = service.after_password()
    page = visitor.follow(page)  # to the page for a code, and on to the set-up
    page = visitor.submit(page, "/device")
    assert "<svg" in page.text
    assert page.response.headers["Cache-Control"] == "no-store"
    visitor, phone = service.enroll()
    assert visitor.get("/").location == "/code"
    page = visitor.submit(visitor.get("/code"), "/code", code=phone.code())
    assert (page.status, page.location) == (303, "/")
    assert visitor.get("/").text == "You are signed in, alice@example.com."


def test_a_wrong_password_and_an_unknown_user_are_answered_alike(service: Service) -> None:
    _, wrong = service.after_password("wrong")
    unknown = service.visitor().enter_password("eve@example.com", "correct horse")
    assert wrong.status == unknown.status == 401
    assert wrong.text == unknown.text
    assert service.visitor().get("/").location == "/sign-in"


def test_every_page_that_is_not_listed_requires_a_code(service: Service) -> None:
    visitor, _ = service.enroll()
    for path in ("/", "/nowhere", "/code/x"):
        assert visitor.get(path).location in {"/code", None}
        assert visitor.get(path).status != 200
    assert visitor.get("/").location == "/code"


def test_wrong_codes_are_shown_and_counted(service: Service) -> None:
    visitor, phone = service.enroll()
    page = visitor.submit(visitor.get("/code"), "/code", code="12 345 6")
    assert page.status == 400
    assert "Enter the digits that the app shows" in page.text
    for _ in range(3):
        page = visitor.submit(page, "/code", code=phone.wrong_code())
        assert (page.status, "Not accepted." in page.text) == (401, True)
    assert visitor.submit(page, "/code", code=phone.code()).status == 429
    service.clock.advance(15)
    code = phone.code()
    assert visitor.submit(page, "/code", code=code).location == "/"
    other, _ = service.after_password()
    page = other.submit(other.get("/code"), "/code", code=code)
    assert "This code was already used." in page.text


def test_a_wrong_pair_can_be_repeated_and_a_late_one_is_refused(service: Service) -> None:
    visitor, _ = service.after_password()
    page = visitor.submit(visitor.get("/device"), "/device")
    phone = AuthenticatorApp(service.clock).add(Key.from_base32(page.shown_once[0]))
    page = visitor.submit(page, "/device/confirm", code1=phone.code(-6), code2=phone.code(-5))
    assert (page.status, page.shown_once) == (401, [""])
    page = visitor.submit(page, "/device/confirm", code1=phone.code(-1), code2=phone.code())
    assert page.location == "/code"


def test_the_password_alone_sets_up_no_second_device(service: Service) -> None:
    service.enroll()
    thief, _ = service.after_password()
    assert thief.get("/device").location == "/code"
    assert thief.post("/device", {}).location == "/code"
    page = thief.post("/device/confirm", {"code1": "123456", "code2": "123456"})
    assert (page.status, page.text) == (404, "This set-up is over. Start it again.")
    service.registry.forget(ALICE, by=Actor.trusted_service("thief"))  # the row is lost
    assert thief.post("/device", {}).location == "/code"
    page = thief.post("/code", {"code": "123456"})
    assert (page.status, page.text) == (404, "Not accepted.")


def test_a_session_ends_with_its_device_and_with_its_age(service: Service) -> None:
    visitor, phone = service.enroll()
    visitor.submit(visitor.get("/code"), "/code", code=phone.code())
    assert visitor.get("/").status == 200
    service.clock.advance(8 * 3600 + 1)
    assert visitor.get("/").location == "/code"
    visitor.submit(visitor.get("/code"), "/code", code=phone.code())
    assert visitor.get("/").status == 200
    service.registry.deactivate(ALICE, by=SUPPORT)
    assert visitor.get("/").location == "/code"


def test_forms_of_other_sites_are_refused(service: Service) -> None:
    visitor, phone = service.enroll()
    for site, expected in (("cross-site", 403), ("same-site", 403), ("same-origin", 303)):
        answer = visitor.client.post(
            "/code", data={"code": phone.code()}, headers={"Sec-Fetch-Site": site}
        )
        assert answer.status_code == expected


def test_cookies_are_for_this_site_and_secure(service: Service) -> None:
    _, page = service.after_password()
    (cookie,) = page.response.headers.get_list("Set-Cookie")
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax"} <= attributes


@pytest.mark.parametrize("page", ["quick-start.md", "lost-phone.md"])
def test_a_lost_phone_is_removed_on_the_command_line(
    service: Service, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    service.enroll()
    text = (DOCS / "howto" / page).read_text()
    (command,) = re.findall(r"^ *`?(vmfa deactivate .*?)`?\.?$", text, re.MULTILINE)
    arguments = [part.replace("u-4711", "1") for part in shlex.split(command)[1:]]
    assert main(arguments, clock=service.clock) == 0
    assert "its key is destroyed" in capsys.readouterr().out
    assert not service.registry.requires_code(ALICE)
    visitor, _ = service.after_password()
    assert visitor.get("/device").location == "/code"  # the user table does not know it yet
    service.names["USERS"]["alice@example.com"]["has_device"] = False
    assert "/device" in visitor.get("/device").forms
