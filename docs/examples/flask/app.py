"""The application: what it is made of, and what holds for every request."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from flask import Blueprint, Flask, Response, g, redirect, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from vmfa import AccessDenied, DeviceRegistry, KeySource, SQLiteStore, Store, VmfaError

from ..service import mfa
from ..service.accounts import Accounts, csrf_is_valid
from ..service.limits import RateLimit
from . import device, security, sign_in, users
from .web import DeviceMissing, Services, message, refused, services

SERVICE = Path(__file__).parents[1] / "service"
every_request = Blueprint("every_request", __name__)


def create_app(
    *,
    keys: KeySource | None = None,
    directory: str | Path = ".",
    clock: Callable[[], float] = time.time,
) -> Flask:
    """Return the application. Both databases are files in *directory*.

    :param keys: the master keys; by default those of the environment.
    :param clock: returns the Unix time in seconds; tests pass their own.
    """
    app = Flask(__name__, template_folder=SERVICE / "templates", static_folder=SERVICE / "static")
    app.config["MAX_CONTENT_LENGTH"] = mfa.MAX_FORM_BYTES
    app.extensions["services"] = Services(
        registry=DeviceRegistry(
            open_store(Path(directory)),
            keys=keys or mfa.load_keys(),
            issuer="Example",
            policy=mfa.POLICY,
            clock=clock,
            observer=mfa.observe,
        ),
        accounts=Accounts(Path(directory) / "accounts.db", clock=clock),
        forms=RateLimit(*mfa.FORMS_OF_AN_ADDRESS, clock=clock),
        passwords=RateLimit(*mfa.PASSWORDS_OF_A_USER, clock=clock),
        clock=clock,
    )
    for blueprint in (
        every_request, sign_in.pages, device.pages, security.pages, users.pages,
    ):  # fmt: skip
        app.register_blueprint(blueprint)
    return app


def open_store(directory: Path) -> Store:
    """Return the PostgreSQL store that ``VMFA_POSTGRES`` names, or else a SQLite file."""
    if "VMFA_POSTGRES" in os.environ:
        from vmfa.stores.postgres import PostgresStore

        store = PostgresStore(os.environ["VMFA_POSTGRES"])
        store.create_schema()
        return store
    return SQLiteStore(directory / "mfa.db")


@every_request.before_app_request
def load_session() -> None:
    g.token = request.cookies.get(mfa.SESSION_COOKIE, "")
    g.session = services().accounts.session(g.token)


@every_request.before_app_request
def protect_forms() -> AnyResponse | None:
    if request.method != "POST":
        return None
    wait = services().forms.wait(request.remote_addr or "")
    if wait:
        return message("Too many requests", f"Try again in {wait} seconds.", 429, wait=wait)
    if not csrf_is_valid(g.token, request.form.get("csrf", "")):
        return message("This page is too old", mfa.OLD_PAGE, 403)
    return None


@every_request.after_app_request
def set_headers(response: Response) -> Response:
    if request.endpoint != "static":
        response.headers.update(mfa.SECURITY_HEADERS)
    return response


@every_request.app_errorhandler(VmfaError)
def vmfa_error(error: VmfaError) -> AnyResponse:
    if isinstance(error, AccessDenied) and error.missing == "mfa claim":
        return redirect("/code", 303)  # the claim became too old for this operation
    return refused(error)


@every_request.app_errorhandler(DeviceMissing)
def device_missing(error: DeviceMissing) -> AnyResponse:
    mfa.log.critical("the device of user %s is missing in the store", error)
    return message("Sign-in is not possible", "Contact an administrator.", 503)


@every_request.app_errorhandler(HTTPException)
def http_error(error: HTTPException) -> AnyResponse:
    return message(error.name, "Go back to the first page.", error.code or 500)
