"""The application: what it is made of, and what holds for every request."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from vmfa import AccessDenied, KeySource, SQLiteStore, VmfaError
from vmfa.aio import AsyncStore, DeviceRegistry, InThreads

from ..service import mfa
from ..service.accounts import Accounts
from ..service.limits import RateLimit
from . import device, security, sign_in, users
from .web import (
    STATIC,
    DeviceMissing,
    Redirect,
    Refused,
    Services,
    load_session,
    message,
    protect_forms,
    redirect,
    refused,
)


def create_app(
    *,
    keys: KeySource | None = None,
    directory: str | Path = ".",
    clock: Callable[[], float] = time.time,
) -> FastAPI:
    """Return the application. Both databases are files in *directory*.

    :param keys: the master keys; by default those of the environment.
    :param clock: returns the Unix time in seconds; tests pass their own.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:  # closes the store at the end
            app.state.services = Services(
                registry=DeviceRegistry(
                    await open_store(Path(directory), stack),
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
            yield

    app = FastAPI(
        lifespan=lifespan,
        dependencies=[Depends(load_session), Depends(protect_forms)],
        exception_handlers=HANDLERS,
        openapi_url=None,
    )
    app.mount("/static", StaticFiles(directory=STATIC))
    for router in (sign_in.pages, device.pages, security.pages, users.pages):
        app.include_router(router)
    app.middleware("http")(set_headers)
    return app


async def open_store(directory: Path, stack: AsyncExitStack) -> AsyncStore:
    """Return the PostgreSQL store that ``VMFA_POSTGRES`` names, or else a SQLite file.

    :param stack: closes the pool or the file when the application ends.
    """
    if "VMFA_POSTGRES" in os.environ:
        from psycopg_pool import AsyncConnectionPool

        from vmfa.stores.postgres_async import AsyncPostgresStore

        pool = AsyncConnectionPool(
            os.environ["VMFA_POSTGRES"], kwargs={"autocommit": True}, open=False
        )
        store = AsyncPostgresStore(await stack.enter_async_context(pool))
        await store.create_schema()
        return store
    return InThreads(stack.enter_context(SQLiteStore(directory / "mfa.db")))


async def set_headers(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Limit the size of forms, and add the security headers to pages."""
    length = request.headers.get("Content-Length", "")
    if request.method == "POST" and not (length.isdecimal() and int(length) <= mfa.MAX_FORM_BYTES):
        return PlainTextResponse("The form is too large.", 413)
    response = await call_next(request)
    if not request.url.path.startswith("/static/"):
        response.headers.update(mfa.SECURITY_HEADERS)
    return response


async def redirected(_: Request, error: Redirect) -> Response:
    return redirect(error.path)


async def refused_form(request: Request, error: Refused) -> Response:
    return await message(request, error.heading, error.text, error.status, wait=error.wait)


async def vmfa_error(request: Request, error: VmfaError) -> Response:
    if isinstance(error, AccessDenied) and error.missing == "mfa claim":
        return redirect("/code")  # the claim became too old for this operation
    return await refused(request, error)


async def device_missing(request: Request, error: DeviceMissing) -> Response:
    mfa.log.critical("the device of user %s is missing in the store", error)
    return await message(request, "Sign-in is not possible", "Contact an administrator.", 503)


async def http_error(request: Request, error: HTTPException) -> Response:
    return await message(request, error.detail, "Go back to the first page.", error.status_code)


async def invalid_form(request: Request, _: RequestValidationError) -> Response:
    return await message(request, "Invalid form", "Go back to the first page.", 400)


Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]
HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    Redirect: redirected,
    Refused: refused_form,
    VmfaError: vmfa_error,
    DeviceMissing: device_missing,
    HTTPException: http_error,
    RequestValidationError: invalid_form,
}
