"""Sessions, forms, and views that need a second factor."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.forms import CharField
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import override_settings
from django.utils import translation
from django_databases import database_alias
from django_project import KEYS

from support import Enrolled, enroll
from vmfa import Actor, DeviceRegistry, InvalidType, InvalidValue, Policy, StoreUnavailable
from vmfa.errors import CLAIMANT_MESSAGES, AlreadyUsed, CodeRejected, Throttled
from vmfa.integrations.django import forms
from vmfa.integrations.django.decorators import mfa_required
from vmfa.integrations.django.messages import MESSAGES, message_of
from vmfa.integrations.django.registry import get_registry, get_store
from vmfa.integrations.django.sessions import (
    CLAIM_KEY,
    actor_of,
    claim_of,
    client_cookie,
    principal_of,
    source_of,
)
from vmfa.testing import AuthenticatorApp, FrozenClock

Configure = Callable[..., None]


@pytest.fixture
def client(user: User) -> Client:
    """The browser of Alice, who passed the first factor."""
    client = Client()
    client.force_login(user)
    return client


def sign_in(client: Client, enrolled: Enrolled) -> Any:
    enrolled.clock.advance(30)
    return client.post("/code/", {"code": enrolled.phone.code()})


# mfa_required


def test_a_page_needs_the_first_factor_then_the_second(
    client: Client, enrolled: Enrolled
) -> None:
    assert Client().get("/secret/x/?a=1").url == "/login/?next=/secret/x/%3Fa%3D1"
    assert client.get("/secret/x/?a=1").url == "/code/?next=/secret/x/%3Fa%3D1"
    assert sign_in(client, enrolled).content == b"signed in"
    assert client.get("/secret/x/").content == b"the secret of x"
    assert client.get("/class/").content == b"the secret of a class"


def test_a_request_that_cannot_be_repeated_has_no_page_to_come_back_to(
    client: Client, enrolled: Enrolled
) -> None:
    assert client.post("/secret/x/").url == "/code/"
    assert Client().post("/secret/x/").url == "/login/"
    assert client.head("/secret/x/").url == "/code/?next=/secret/x/"


def test_a_removed_device_ends_the_session_at_once(
    client: Client, enrolled: Enrolled, registry: DeviceRegistry
) -> None:
    sign_in(client, enrolled)
    registry.deactivate(enrolled.principal, by=Actor.trusted_service("test"))
    assert client.get("/secret/x/").url == "/enroll/?next=/secret/x/"


def test_an_old_claim_is_not_enough_where_a_fresh_one_is_required(
    client: Client, user: User, enrolled: Enrolled
) -> None:
    sign_in(client, enrolled)
    browser = AsyncClient()
    browser.cookies = client.cookies
    assert async_to_sync(browser.get)("/fresh/").content == b"the fresh secret"
    enrolled.clock.advance(61)
    assert async_to_sync(browser.get)("/fresh/").url == "/code/?next=/fresh/"
    assert client.get("/secret/x/").content == b"the secret of x"


@pytest.mark.parametrize(("path", "content"), [
    ("/async-class/", b"the secret of an asynchronous class"),
    ("/as-view/", b"the secret behind as_view"),
])
def test_an_asynchronous_class_is_guarded(
    client: Client, enrolled: Enrolled, path: str, content: bytes
) -> None:
    browser = AsyncClient()
    browser.cookies = client.cookies
    assert async_to_sync(browser.get)(path).url == f"/code/?next={path}"
    sign_in(client, enrolled)
    assert async_to_sync(browser.get)(path).content == content
    assert client.get(path).content == content  # over WSGI


def test_a_claim_of_another_user_is_worthless(client: Client, enrolled: Enrolled) -> None:
    sign_in(client, enrolled)
    other = Client()
    other.force_login(User.objects.create_user("bob"))
    session = other.session
    session[CLAIM_KEY] = client.session[CLAIM_KEY]
    session.save()
    assert other.get("/secret/x/").url == "/enroll/?next=/secret/x/"


def test_the_session_gets_a_new_id_with_the_claim(client: Client, enrolled: Enrolled) -> None:
    before = client.session.session_key
    sign_in(client, enrolled)
    assert client.session.session_key != before


@pytest.mark.parametrize("claim", [None, "x", {"v": 1}, {"v": 2, "at": 0}])
def test_a_broken_claim_is_no_claim(client: Client, enrolled: Enrolled, claim: object) -> None:
    session = client.session
    session[CLAIM_KEY] = claim
    session.save()
    assert client.get("/secret/x/").url == "/code/?next=/secret/x/"


def test_users_without_a_device_are_refused_if_there_is_no_page_for_them(
    client: Client, configure: Configure
) -> None:
    configure(ENROLL_URL=None)
    assert client.get("/secret/x/").status_code == 403


def test_the_page_for_codes_must_be_configured(
    client: Client, enrolled: Enrolled, configure: Configure
) -> None:
    configure(CODE_URL=None)
    with pytest.raises(ImproperlyConfigured, match="CODE_URL"):
        client.get("/secret/x/")


def test_the_decorator_keeps_the_name_of_the_view() -> None:
    def view(request: object) -> None:
        """Show a page."""

    assert mfa_required(view).__doc__ == "Show a page."
    assert mfa_required(max_age=5)(view).__name__ == "view"


# ATOMIC_REQUESTS


def test_a_failure_is_counted_over_an_alias_of_its_own(
    client: Client, user: User, configure: Configure, clock: FrozenClock, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with database_alias(
        "own", ENGINE="django.db.backends.sqlite3", NAME=tmp_path / "own.db"
    ) as alias:
        configure(DATABASE=alias)
        enrolled = enroll(get_registry(), clock, principal_of(user))
        monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
        assert not [message for message in run_checks() if message.id == "vmfa.E003"]
        with pytest.raises(ValueError, match="the view fails"):
            client.post("/fails/", {"code": "000000"})
        assert enrolled.device.failures == 1


def test_only_an_exempt_view_works_with_atomic_requests(
    client: Client, enrolled: Enrolled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    with pytest.raises(InvalidValue, match="non_atomic_requests"):
        client.post("/code/", {"code": "000000"})
    assert client.post("/exempt/", {"code": "000000"}).status_code == 401
    assert enrolled.device.failures == 1


# Users and requests


def test_only_a_signed_in_user_has_a_principal(user: User) -> None:
    assert str(principal_of(user)) == f"main/user/{user.pk}"
    for other in (AnonymousUser(), User()):
        with pytest.raises(InvalidType):
            principal_of(other)


def test_the_actor_of_a_request(client: Client, enrolled: Enrolled, user: User) -> None:
    sign_in(client, enrolled)
    request = RequestFactory().get("/")
    request.user, request.session = user, client.session
    claim = claim_of(request)
    assert actor_of(request) == Actor.signed_in(enrolled.principal, mfa=claim)
    assert actor_of(request, admin=True) == Actor.admin(enrolled.principal, mfa=claim)
    assert source_of(request) == "127.0.0.1"
    del request.META["REMOTE_ADDR"]
    assert source_of(request) == ""


# Forms


def test_a_code_is_accepted_once(
    client: Client, enrolled: Enrolled, registry: DeviceRegistry
) -> None:
    answer = sign_in(client, enrolled)
    cookie = answer.cookies[client_cookie(enrolled.principal)]
    assert cookie.key.startswith("__Host-")
    assert (cookie["path"], cookie["domain"]) == ("/", "")
    assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax")
    again = client.post("/code/", {"code": enrolled.phone.code()})
    assert again.status_code == 401
    assert "already used" in again.content.decode()
    events = registry.history(enrolled.principal, by=Actor.trusted_service("test"))
    assert events[-1].number == len(events)


def test_a_wrong_code_is_counted_and_not_shown_again(client: Client, enrolled: Enrolled) -> None:
    wrong = str((int(enrolled.phone.code(2)) + 1) % 10**6).zfill(6)
    answer = client.post("/code/", {"code": wrong})
    assert "Not accepted." in answer.content.decode()
    assert wrong not in answer.content.decode()
    assert 'autocomplete="one-time-code"' in answer.content.decode()
    assert enrolled.device.failures == 1


def test_a_rejected_form_has_what_the_answer_needs(
    client: Client, user: User, enrolled: Enrolled
) -> None:
    request = RequestFactory().post("/")
    request.user = user
    form = forms.CodeForm(request, {"code": "000000"})
    assert form.rejection is None
    assert not form.is_valid()
    assert (form.rejection.http_status, form.rejection.remedy) == (401, "retry")
    assert form.rejection.__traceback__ is None
    assert 'aria-invalid="true"' in form.as_p()
    for _ in range(2):
        forms.CodeForm(request, {"code": "000000"}).is_valid()
    form = forms.CodeForm(request, {"code": "000000"})
    assert not form.is_valid()
    assert (form.rejection.http_status, form.rejection.retry_after) == (429, 15)


def test_a_recovery_code_removes_the_device(
    user: User, registry: DeviceRegistry, clock: FrozenClock, configure: Configure
) -> None:
    configure(POLICY=Policy(recovery_codes=3))
    registry = get_registry()
    principal = principal_of(user)
    me = Actor.signed_in(principal)
    opened = registry.open_enrollment(principal, by=me, label="alice")
    code1, code2 = AuthenticatorApp(clock).scan(opened.uri).two_codes()
    report = registry.confirm_enrollment(
        principal, session=opened.session_id, code1=code1, code2=code2, by=me
    )
    request = RequestFactory().post("/")
    request.user = user
    wrong = forms.RecoveryForm(request, {"recovery_code": "AAAA-" * 6})
    assert not wrong.is_valid()
    assert wrong.removed is None
    assert 'autocomplete="off"' in wrong.as_p()
    assert "AAAA" not in wrong.as_p()
    form = forms.RecoveryForm(request, {"recovery_code": report.recovery_codes.codes[0]})
    assert form.is_valid()
    assert form.removed.serial == report.device.serial
    assert not registry.requires_code(principal)
    events = registry.history(principal, by=Actor.trusted_service("test"))
    assert (events[-1].reason, events[-1].source) == ("recovery code", "127.0.0.1")


def test_a_user_without_a_device_gets_the_answer_of_a_wrong_code(client: Client) -> None:
    assert "Not accepted." in client.post("/code/", {"code": "123456"}).content.decode()


def test_an_empty_form_presents_nothing(client: Client, enrolled: Enrolled) -> None:
    assert client.post("/code/", {"code": ""}).status_code == 401
    assert enrolled.device.failures == 0


def test_a_known_client_is_recognized_by_its_cookie(client: Client, enrolled: Enrolled) -> None:
    sign_in(client, enrolled)
    for _ in range(3):
        enrolled.clock.advance(30)
        client.post("/code/", {"code": "000000"})
    assert enrolled.device.known_failures == 3


def test_without_known_clients_there_is_no_cookie(
    client: Client, enrolled: Enrolled, configure: Configure
) -> None:
    configure(POLICY=Policy())
    assert list(sign_in(client, enrolled).cookies) == ["sessionid"]


def test_a_browser_keeps_a_cookie_for_each_user(
    client: Client, enrolled: Enrolled, registry: DeviceRegistry
) -> None:
    sign_in(client, enrolled)
    other = User.objects.create_user("bob")
    phone = enroll(registry, enrolled.clock, principal_of(other))
    client.force_login(other)
    sign_in(client, phone)
    names = {client_cookie(principal) for principal in (enrolled.principal, phone.principal)}
    assert names < set(client.cookies)
    assert len(names) == 2
    assert all(re.fullmatch("__Host-vmfa-client-[0-9a-f]{32}", name) for name in names)
    with override_settings(SECRET_KEY="another one"):  # so others cannot compute a name
        assert client_cookie(enrolled.principal) not in names


def test_a_browser_is_forgotten(client: Client, enrolled: Enrolled) -> None:
    sign_in(client, enrolled)
    answer = client.post("/forget/")
    cookie = answer.cookies[client_cookie(enrolled.principal)]
    assert (cookie.value, cookie["max-age"], cookie["secure"]) == ("", 0, True)


def test_a_token_of_an_administrator_makes_a_client_known(
    client: Client, user: User, enrolled: Enrolled, registry: DeviceRegistry
) -> None:
    class TokenForm(forms.CodeForm):
        client_token = CharField(required=False)

    token = registry.give_client_token(enrolled.principal, by=Actor.trusted_service("test"))
    request = RequestFactory().post("/")
    request.user = user
    enrolled.clock.advance(30)
    wrong = {"code": "000000", "client_token": token.text}
    assert not TokenForm(request, wrong).is_valid()
    assert (enrolled.device.failures, enrolled.device.known_failures) == (0, 1)
    assert not TokenForm(request, {"code": "000001"}).is_valid()
    assert (enrolled.device.failures, enrolled.device.known_failures) == (1, 1)


def test_the_claim_is_forgotten_and_the_session_gets_a_new_id(
    client: Client, enrolled: Enrolled
) -> None:
    sign_in(client, enrolled)
    before = client.session.session_key
    client.post("/forget/")
    assert CLAIM_KEY not in client.session
    assert client.session.session_key != before
    assert client.get("/secret/x/").url == "/code/?next=/secret/x/"


def test_a_pair_puts_a_device_in_sync(client: Client, enrolled: Enrolled) -> None:
    enrolled.clock.advance(300)
    assert client.post("/resync/", enrolled.phone.pair()).content == b"in sync"
    wrong = {"code1": "000000", "code2": "000001"}
    assert b"Not accepted" in client.post("/resync/", wrong).content


def test_a_pair_confirms_an_enrollment(
    user: User, registry: DeviceRegistry, clock: Any
) -> None:
    request = RequestFactory().post("/")
    request.user, request.session = user, Client().session
    opened = registry.open_enrollment(
        principal_of(user), by=Actor.signed_in(principal_of(user)), label="alice"
    )
    pair = AuthenticatorApp(clock).scan(opened.uri).pair()
    form = forms.ConfirmForm(request, pair, session_id=opened.session_id)
    assert form.is_valid()
    assert form.report.device.serial == opened.serial
    again = forms.ConfirmForm(request, pair, session_id=opened.session_id)
    assert not again.is_valid()
    assert again.non_field_errors().as_data()[0].code == "enrollment-ended"


def test_a_form_has_to_say_what_it_presents(user: User) -> None:
    request = RequestFactory().post("/")
    request.user = user
    with pytest.raises(NotImplementedError):
        forms.PairForm(request, {"code1": "1", "code2": "2"}).is_valid()


def test_a_fault_of_the_store_is_raised_without_the_code(
    client: Client, enrolled: Enrolled, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leaks import assert_silent

    def load(_: object) -> None:
        raise StoreUnavailable("the database is away")

    request = RequestFactory().post("/")
    request.user = User.objects.get()
    form = forms.CodeForm(request, {"code": "918273"})
    monkeypatch.setattr(get_store(), "load", load)
    with pytest.raises(StoreUnavailable) as caught:
        form.is_valid()
    assert_silent(caught.value, "918273")


# Messages


def test_every_message_can_be_translated() -> None:
    assert {key: str(text) for key, text in MESSAGES.items()} == CLAIMANT_MESSAGES


@pytest.mark.parametrize("error", [
    CodeRejected(), Throttled("wait", retry_after=15), AlreadyUsed(retry_after=3),
])
def test_the_message_is_that_of_the_error(error: CodeRejected) -> None:
    with translation.override("en"):
        assert message_of(error) == error.claimant_message


def message_file(texts: dict[str, str]) -> bytes:
    """Return a compiled message file of gettext."""
    pairs = sorted({"": "Content-Type: text/plain; charset=UTF-8\n", **texts}.items())
    strings = [text.encode() for pair in zip(*pairs, strict=True) for text in pair]
    offset, tables, content = 28 + 8 * len(strings), b"", b""
    for text in strings:
        tables += struct.pack("<II", len(text), offset + len(content))
        content += text + b"\0"
    originals, translations = 28, 28 + 4 * len(strings)
    head = struct.pack(
        "<7I", 0x950412DE, 0, len(pairs), originals, translations, 0, offset
    )
    return head + tables + content


def test_the_texts_are_those_of_the_message_files_of_the_project(
    client: Client, enrolled: Enrolled, tmp_path: Path
) -> None:
    folder = tmp_path / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "django.mo").write_bytes(message_file({
        CLAIMANT_MESSAGES["rejected"]: "Nicht angenommen.",
        CLAIMANT_MESSAGES["throttled"]: "Warten Sie {wait} Sekunden.",
        "Code": "Zahl der App",
    }))
    with override_settings(LOCALE_PATHS=[tmp_path]), translation.override("de"):
        answer = client.post("/code/", {"code": "000000"}).content.decode()
        assert "Nicht angenommen." in answer
        assert "Zahl der App" in answer
        assert message_of(Throttled("wait", retry_after=15)) == "Warten Sie 15 Sekunden."
    assert "Not accepted." in client.post("/code/", {"code": "000000"}).content.decode()


def test_the_key_is_not_shown_in_the_settings() -> None:
    from django.views.debug import SafeExceptionReporterFilter

    shown = str(SafeExceptionReporterFilter().get_safe_settings()["VMFA"])
    assert repr(KEYS) not in shown
