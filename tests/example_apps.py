"""The example applications of ``docs/examples``, without a browser: clients that follow forms."""

from __future__ import annotations

import re
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import patch

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from argon2 import PasswordHasher

from django_example import RemoteClock, the_application
from support import MASTER, authenticated
from vmfa import Actor, DerivedKeys, DeviceRegistry, Key, PrincipalId, SQLiteStore
from vmfa.testing import Account, AuthenticatorApp, FrozenClock

DOCS = Path(__file__).parents[1] / "docs"
sys.path.append(str(DOCS))  # where the package "examples" is

PASSWORD = "correct horse battery"
ORIGIN = "https://service.test"
FRAMEWORKS = ["flask", "fastapi", "django"]


class Forms(HTMLParser):
    """The forms of a page: the values of their fields, by action."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.by_action: dict[str, dict[str, str]] = {}
        self._current: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._current = self.by_action.setdefault(values["action"], {})
        elif tag == "input":
            self._current[values["name"]] = values.get("value", "")


@dataclass
class Page:
    """The answer to a request."""

    response: httpx.Response
    forms: dict[str, dict[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        self.forms = Forms(self.text).by_action

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def text(self) -> str:
        return self.response.text

    @property
    def redirects(self) -> bool:
        return self.status in {302, 303}

    @property
    def location(self) -> str | None:
        """Where the answer redirects to, without the page to come back to."""
        location: str | None = self.response.headers.get("Location")
        return location and location.partition("?")[0]

    @property
    def path(self) -> str:
        return self.response.request.url.path

    @property
    def heading(self) -> str:
        return self._first(r"<h1>(.*?)</h1>")

    @property
    def error(self) -> str:
        return self._first(r'role="alert" id="error">(.*?)</p>')

    @property
    def notice(self) -> str:
        return self._first(r'role="status">(.*?)</p>')

    @property
    def shown_once(self) -> list[str]:
        return re.findall(r"<code>(.*?)</code>", self.text)

    def _first(self, pattern: str) -> str:
        match = re.search(pattern, self.text, re.DOTALL)
        return unescape(match[1]).strip() if match else ""


class Visitor:
    """One browser: it keeps cookies and submits forms as the page shows them."""

    email_field = "email"
    csrf_field = "csrf"

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    @property
    def cookies(self) -> httpx.Cookies:
        return self.client.cookies

    def get(self, path: str) -> Page:
        return Page(self.client.get(path, follow_redirects=False))

    def post(self, path: str, data: dict[str, str]) -> Page:
        return Page(self.client.post(path, data=data, follow_redirects=False))

    def submit(self, page: Page, action: str, **values: str) -> Page:
        """Submit a form of *page* with *values* typed into it."""
        form = page.forms[action]
        assert set(values) <= set(form), f"{action} has the fields {sorted(form)}"
        return self.post(action, {**form, **values})

    def follow(self, page: Page) -> Page:
        """Load the page that *page* redirects to, perhaps over others."""
        assert page.redirects, (page.status, page.heading, page.error)
        while page.redirects:
            page = self.get(page.response.headers["Location"])
        return page

    def lands_on(self, path: str) -> str:
        """Return the path of the page that *path* leads to."""
        page = self.get(path)
        return self.follow(page).path if page.redirects else page.path

    def token(self, path: str) -> dict[str, str]:
        """Return the field with the token that the forms of a page have."""
        value = self.get(path).forms["/sign-out"][self.csrf_field]
        return {self.csrf_field: value}

    def enter_password(self, email: str, password: str = PASSWORD) -> Page:
        values = {self.email_field: email, "password": password}
        return self.submit(self.get("/sign-in"), "/sign-in", **values)

    def enter_code(self, code: str, **values: str) -> Page:
        return self.submit(self.get("/code"), "/code", code=code, **values)


class DjangoVisitor(Visitor):
    """A browser at the application with Django, whose forms have Django's names."""

    email_field = "username"
    csrf_field = "csrfmiddlewaretoken"


@dataclass
class Site:
    """A running example application, and what a test may look at from outside."""

    framework: str
    directory: Path
    clock: FrozenClock
    accounts: object
    visitors: Iterator[Visitor]

    def visitor(self) -> Visitor:
        """Return a browser without cookies."""
        return next(self.visitors)

    def add(self, email: str = "alice@example.com", *, is_admin: bool = False) -> PrincipalId:
        """Add a user."""
        user = self.accounts.add(email, PASSWORD, is_admin=is_admin)  # type: ignore[attr-defined]
        return PrincipalId.user("main", user.id)

    def phone(self, page: Page) -> Account:
        """Return a phone into which the key on *page* was typed."""
        key = Key.from_base32(page.shown_once[0])
        return AuthenticatorApp(self.clock).add(key)

    def enroll(
        self, visitor: Visitor, email: str = "alice@example.com"
    ) -> tuple[Account, list[str]]:
        """Enroll a phone; return it and the recovery codes."""
        page = visitor.follow(visitor.enter_password(email))
        page = visitor.submit(page, "/device/new")
        phone = self.phone(page)
        code1, code2 = phone.two_codes()
        page = visitor.submit(page, "/device/confirm", code1=code1, code2=code2)
        assert page.status == 200, page.error
        self.clock.advance(30)
        return phone, page.shown_once

    def sign_in(self, visitor: Visitor, phone: Account, email: str = "alice@example.com") -> Page:
        """Sign in with password and code."""
        visitor.enter_password(email)
        page = visitor.enter_code(phone.code())
        assert page.redirects, page.error
        self.clock.advance(30)
        return page

    def signed_in(self, email: str = "alice@example.com", *, is_admin: bool = False) -> Visitor:
        """Return the browser of a new user who has just signed in."""
        self.add(email, is_admin=is_admin)
        visitor = self.visitor()
        phone, _ = self.enroll(visitor, email)
        visitor.enter_code(phone.code())
        self.clock.advance(30)
        return visitor

    # What happens behind the back of the application

    def stored(self) -> bytes:
        """Return all that the application wrote to its directory."""
        return b"".join(path.read_bytes() for path in self.directory.iterdir())

    def change_device(self, principal: PrincipalId, **changes: Any) -> None:
        """Bring the stored device into a state that takes years to reach."""
        with SQLiteStore(self.directory / "mfa.db") as store:
            before = store.load(principal)
            assert before.device is not None
            device = replace(before.device, **changes)
            after = replace(before, revision=before.revision + 1, device=device)
            assert store.commit(before, authenticated(after, DerivedKeys(MASTER)), [])

    def remove_device(self, principal: PrincipalId) -> None:
        """Remove a device elsewhere, for example with the command line."""
        with SQLiteStore(self.directory / "mfa.db") as store:
            registry = DeviceRegistry(
                store, keys=DerivedKeys(MASTER), issuer="Example", clock=self.clock
            )
            registry.deactivate(principal, by=Actor.trusted_service("test"), reason="stolen")

    def lose_devices(self) -> None:
        """Delete all records of devices."""
        with closing(sqlite3.connect(self.directory / "mfa.db")) as rows, rows:
            rows.execute("DELETE FROM principal")


class DjangoSite(Site):
    """The application with Django, which keeps all in one database."""

    def __init__(
        self, directory: Path, clock: FrozenClock, application: Any, visitors: Iterator[Visitor]
    ) -> None:
        super().__init__("django", directory, clock, application, visitors)
        self._application = application

    def add(self, email: str = "alice@example.com", *, is_admin: bool = False) -> PrincipalId:
        return PrincipalId.user("main", self._application.add(email, PASSWORD, is_admin).id)

    def stored(self) -> bytes:
        return super().stored() + self._application.sessions().encode()

    def change_device(self, principal: PrincipalId, **changes: Any) -> None:
        self._application.change_device(principal, changes)

    def remove_device(self, principal: PrincipalId) -> None:
        self._application.remove_device(principal)

    def lose_devices(self) -> None:
        self._application.lose_devices()


def FastHasher() -> PasswordHasher:  # noqa: N802  # it stands for a class
    """Return a password hasher that costs nothing: tests enter many passwords."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class LoopbackTransport(httpx.BaseTransport):
    """Sends the requests of a client to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._http, self._port = httpx.HTTPTransport(), port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        headers = [item for item in request.headers.raw if item[0].lower() != b"host"]
        answer = self._http.handle_request(
            httpx.Request(request.method, url, headers=headers, content=request.read())
        )
        return httpx.Response(
            answer.status_code, headers=answer.headers, content=answer.read()
        )

    def close(self) -> None:
        self._http.close()


class PortalTransport(httpx.BaseTransport):
    """Sends the requests of a blocking client to an asynchronous application."""

    def __init__(self, portal: BlockingPortal, transport: httpx.ASGITransport) -> None:
        self._portal, self._transport = portal, transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._portal.call(self._handle, request)

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        answer = await self._transport.handle_async_request(
            httpx.Request(
                request.method, request.url, headers=request.headers, content=request.read()
            )
        )
        content = await answer.aread()
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)


@contextmanager
def serving(framework: str, directory: Path) -> Iterator[tuple[Site, str]]:
    """Serve an example application on the loopback with the server that its README names.

    Yield the site, without visitors, and its address.
    """
    if framework == "django":
        application, its_clock, port = django_application(directory)
        site: Site = DjangoSite(directory, its_clock, application, iter(()))
        yield site, f"http://localhost:{port}"
        return
    clock = FrozenClock()
    keys = DerivedKeys(MASTER)
    with patch("examples.service.accounts.PasswordHasher", FastHasher):
        if framework == "flask":
            from werkzeug.serving import make_server

            from examples.flask.app import create_app

            app = create_app(keys=keys, directory=directory, clock=clock)
            server = make_server("127.0.0.1", 0, app, threaded=True)
            thread = Thread(target=server.serve_forever)
            thread.start()
            services = app.extensions["services"]
            site = Site(framework, directory, clock, services.accounts, iter(()))
            try:
                yield site, f"http://localhost:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()
                server.server_close()
                services.registry._store.close()
        else:
            import uvicorn

            from examples.fastapi.app import create_app as create_async_app

            async_app = create_async_app(keys=keys, directory=directory, clock=clock)
            listener = socket.create_server(("127.0.0.1", 0))
            async_server = uvicorn.Server(uvicorn.Config(async_app, log_level="warning"))
            thread = Thread(target=async_server.run, kwargs={"sockets": [listener]})
            thread.start()
            while not async_server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            accounts = async_app.state.services.accounts
            site = Site(framework, directory, clock, accounts, iter(()))
            try:
                yield site, f"http://localhost:{listener.getsockname()[1]}"
            finally:
                async_server.should_exit = True
                thread.join()


def django_application(directory: Path) -> tuple[Any, FrozenClock, int]:
    """Return the application with Django, a clock that moves its clock, and its port."""
    application, port = the_application()
    application.start_again(str(directory))
    return application, RemoteClock(application), port


@contextmanager
def running(framework: str, directory: Path) -> Iterator[Site]:
    """Run an example application, with its files in *directory*."""
    with patch("examples.service.accounts.PasswordHasher", FastHasher):
        yield from _running(framework, directory)


def _running(framework: str, directory: Path) -> Iterator[Site]:
    clock = FrozenClock()
    keys = DerivedKeys(MASTER)
    clients: list[httpx.Client] = []

    def visitors() -> Iterator[Visitor]:
        while True:
            clients.append(new_client())
            yield Visitor(clients[-1])

    if framework == "flask":
        from examples.flask.app import create_app

        app = create_app(keys=keys, directory=directory, clock=clock)
        services = app.extensions["services"]

        def new_client() -> httpx.Client:
            return httpx.Client(transport=httpx.WSGITransport(app), base_url=ORIGIN)

        yield Site(framework, directory, clock, services.accounts, visitors())
        services.registry._store.close()
    elif framework == "django":
        application, its_clock, port = django_application(directory)

        def new_client() -> httpx.Client:
            return httpx.Client(transport=LoopbackTransport(port), base_url=ORIGIN)

        django_visitors = (DjangoVisitor(visitor.client) for visitor in visitors())
        yield DjangoSite(directory, its_clock, application, django_visitors)
    else:
        from examples.fastapi.app import create_app as create_async_app

        async_app = create_async_app(keys=keys, directory=directory, clock=clock)
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(async_app.router.lifespan_context(async_app)),
        ):
            transport = PortalTransport(portal, httpx.ASGITransport(async_app))

            def new_client() -> httpx.Client:
                return httpx.Client(transport=transport, base_url=ORIGIN)

            accounts = async_app.state.services.accounts
            yield Site(framework, directory, clock, accounts, visitors())
    for client in clients:
        client.close()
