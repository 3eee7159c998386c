"""The admin: to read, and to act with a second factor."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from support import Enrolled, enroll
from vmfa import DeviceRegistry, NoDevice, Principal, PrincipalId
from vmfa.events import EventType
from vmfa.integrations.django.models import PrincipalRecord
from vmfa.integrations.django.registry import get_store
from vmfa.integrations.django.sessions import CLAIM_KEY, principal_of
from vmfa.testing import FrozenClock

LIST = "/admin/vmfa/principalrecord/"


@pytest.fixture
def boss(registry: DeviceRegistry, clock: FrozenClock) -> Enrolled:
    """A member of staff with a device, who may read and act."""
    staff = User.objects.create_user("boss", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(content_type__app_label="vmfa"))
    return enroll(registry, clock, principal_of(staff))


@pytest.fixture
def browser() -> Client:
    return Client()


def log_in(browser: Client, boss: Enrolled, *, mfa: bool = True) -> None:
    browser.force_login(User.objects.get(username="boss"))
    if mfa:
        session = browser.session
        session[CLAIM_KEY] = boss.sign_in().claim.to_dict()
        session.save()


def page_of(browser: Client, principal: PrincipalId) -> str:
    row = PrincipalRecord.objects.get(name=principal.name, kind=principal.kind)
    answer = browser.get(f"{LIST}{row.pk}/change/")
    assert answer.status_code == 200
    return answer.content.decode()


def act(browser: Client, action: str, principal: PrincipalId) -> Any:
    row = PrincipalRecord.objects.get(name=principal.name)
    return browser.post(LIST, {"action": action, "_selected_action": [row.pk]})


def test_the_state_and_the_history_are_shown(
    browser: Client, boss: Enrolled, enrolled: Enrolled
) -> None:
    log_in(browser, boss)
    page = page_of(browser, enrolled.principal)
    assert "assigned, in sync" in page
    assert enrolled.device.serial in page
    assert EventType.OPENED in page
    assert 'name="_save"' not in page


def test_a_principal_without_a_device_is_shown(
    browser: Client, boss: Enrolled, enrolled: Enrolled
) -> None:
    log_in(browser, boss)
    act(browser, "deactivate", enrolled.principal)
    assert "no device" in page_of(browser, enrolled.principal)


def test_without_a_current_claim_nothing_is_shown_and_nothing_is_offered(
    browser: Client, boss: Enrolled, enrolled: Enrolled
) -> None:
    log_in(browser, boss, mfa=False)
    page = page_of(browser, enrolled.principal)
    assert "requires a current MFA claim" in page
    assert enrolled.device.serial not in page
    assert "deactivate" not in browser.get(LIST).content.decode()
    act(browser, "deactivate", enrolled.principal)
    assert enrolled.device


def test_an_expired_claim_is_no_claim(
    browser: Client, boss: Enrolled, enrolled: Enrolled
) -> None:
    log_in(browser, boss)
    enrolled.clock.advance(3601)
    act(browser, "deactivate", enrolled.principal)
    assert enrolled.device


def test_reading_does_not_allow_to_act(
    browser: Client, boss: Enrolled, enrolled: Enrolled
) -> None:
    User.objects.get(username="boss").user_permissions.set(
        Permission.objects.filter(codename="view_principalrecord")
    )
    log_in(browser, boss)
    assert "deactivate" not in browser.get(LIST).content.decode()
    act(browser, "deactivate", enrolled.principal)
    assert enrolled.device


def test_a_device_is_deactivated_and_its_binding_code_shown_once(
    browser: Client, boss: Enrolled, enrolled: Enrolled, configure: Any
) -> None:
    from vmfa import Policy

    configure(POLICY=Policy.strict())
    log_in(browser, boss)
    answer = act(browser, "deactivate", enrolled.principal)
    assert "no-store" in answer["Cache-Control"]
    (result,) = answer.context_data["results"]
    assert result[:2] == (enrolled.principal, "the device was deactivated")
    assert result[2] in answer.content.decode()
    with pytest.raises(NoDevice):
        assert enrolled.device
    answer = act(browser, "issue_binding_code", enrolled.principal)
    (again,) = answer.context_data["results"]
    assert again[2]
    assert again[2] != result[2]


def test_the_guess_budget_is_restored(
    browser: Client, boss: Enrolled, enrolled: Enrolled
) -> None:
    log_in(browser, boss)
    answer = act(browser, "restore_budget", enrolled.principal)
    assert "the guess budget was restored" in answer.content.decode()
    answer = act(browser, "restore_budget", enrolled.principal)
    assert "within the last day" in answer.content.decode()


def test_root_is_not_managed_by_staff(
    browser: Client, boss: Enrolled, registry: DeviceRegistry, clock: FrozenClock
) -> None:
    root = PrincipalId.root("main")
    serial = enroll(registry, clock, root).device.serial
    log_in(browser, boss)
    page = page_of(browser, root)
    assert "not allowed to read" in page
    assert serial not in page
    assert "not allowed to deactivate" in act(browser, "deactivate", root).content.decode()
    assert get_store().load(root) != Principal(id=root)


@pytest.mark.parametrize("path", ["add/", "1/delete/"])
def test_rows_cannot_be_added_or_deleted(
    browser: Client, boss: Enrolled, enrolled: Enrolled, path: str
) -> None:
    log_in(browser, boss)
    PrincipalRecord.objects.filter(name=enrolled.principal.name).update(id=1)
    assert browser.get(LIST + path).status_code == 403
    assert browser.post(f"{LIST}1/change/", {"revision": "7"}).status_code == 403


def test_an_unknown_row_is_not_found(browser: Client, boss: Enrolled) -> None:
    log_in(browser, boss)
    assert browser.get(f"{LIST}99999/change/").status_code == 302
