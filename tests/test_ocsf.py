"""Exported events are valid in the published schema of OCSF, and their names are those of OCSF."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from vmfa import (
    Actor,
    AuditEvent,
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    EventActor,
    EventType,
    MemoryStore,
    Policy,
    PrincipalId,
    Role,
)
from vmfa.installation import vmfa_version
from vmfa.ocsf import SCHEMA_VERSION, ocsf_event, ocsf_line
from vmfa.testing import AuthenticatorApp, FrozenClock

ALICE, ROOT = PrincipalId.user("1/2", "alice"), PrincipalId.root("1/2")
OWNER = EventActor(role="signed in", account="1/2", kind="user", name="alice")
PUBLISHED = get_ocsf_schema(version=SCHEMA_VERSION)
SCHEMA = OcsfJsonSchemaEmbedded(PUBLISHED)
CLASSES = {3001: "account_change", 3002: "authentication"}
VALIDATORS = {
    uid: Draft202012Validator(SCHEMA.get_class_schema(name)) for uid, name in CLASSES.items()
}
ACTORS = [
    EventActor(role="claimant", account="1/2", kind="user", name="alice"),
    EventActor(role="admin", account="1/2", kind="root"),
    EventActor(role="support", name="case 7"),
    EventActor(role="trusted service", name="help desk"),
    EventActor(role="unknown"),
]
OUR_TYPES = {  # what OCSF has no activity for
    *EventType,
} - {
    EventType.ACCEPTED, EventType.REJECTED, EventType.ASSIGNED, EventType.ADOPTED,
    EventType.DISABLED, EventType.DEACTIVATED, EventType.REOPENED,
}  # fmt: skip


def event(event_type: EventType = EventType.ASSIGNED, **fields: Any) -> AuditEvent:
    return AuditEvent(
        **{"type": event_type, "at": 1_700_000_000, "principal": ALICE, "actor": OWNER, **fields}
    )


def check(exported: dict[str, Any]) -> None:
    """Check the published JSON schema, and that each name is the one of its number."""
    class_uid = exported["class_uid"]
    problems = [error.message for error in VALIDATORS[class_uid].iter_errors(exported)]
    assert problems == []
    published = PUBLISHED["classes"][CLASSES[class_uid]]
    assert exported["class_name"] == published["caption"]
    assert exported["category_name"] == published["category_name"]
    numbers = [("type_uid", "type_name"), ("severity_id", "severity"), ("status_id", "status")]
    if exported["activity_id"] != 99:
        numbers.append(("activity_id", "activity_name"))
    for number, name in numbers:
        captions = published["attributes"][number]["enum"]
        assert exported[name] == captions[str(exported[number])]["caption"], name


@pytest.mark.parametrize("event_type", EventType)
def test_every_event_is_valid_in_the_published_schema(event_type: EventType) -> None:
    for actor in ACTORS:
        for principal in (ALICE, ROOT):
            for source in ("", "203.0.113.7", "2001:db8::7", "10.0.0.1 Firefox"):
                for serial, reason in (("", ""), ("serial", "record tampered")):
                    exported = ocsf_event(
                        event(
                            event_type, principal=principal, actor=actor, source=source,
                            serial=serial, reason=reason, details=(("failures", 3),),
                        )
                    )
                    check(json.loads(json.dumps(exported)))


def test_the_validation_can_fail() -> None:
    for wrong in ({"activity_id": 13}, {"surprise": 1}, {"user": {}}, {"time": "now"}):
        with pytest.raises(AssertionError):
            check({**ocsf_event(event()), **wrong})
    for wrong in ({"status": "success"}, {"class_name": "Authentication"}):
        with pytest.raises(AssertionError):
            check({**ocsf_event(event()), **wrong})


@pytest.mark.parametrize("event_type", sorted(OUR_TYPES))
def test_what_ocsf_lacks_is_other_with_our_type_name(event_type: EventType) -> None:
    exported = ocsf_event(event(event_type))
    assert (exported["activity_id"], exported["activity_name"]) == (99, event_type.value)
    assert str(exported["type_name"]).endswith(": Other")
    assert str(exported["type_uid"]).endswith("99")


@pytest.mark.parametrize(
    ("event_type", "type_name", "status"),
    [
        (EventType.ACCEPTED, "Authentication: Logon", "Success"),
        (EventType.REJECTED, "Authentication: Logon", "Failure"),
        (EventType.RECOVERY_REJECTED, "Authentication: Other", "Failure"),
        (EventType.DRIFT_CHANGED, "Authentication: Other", "Success"),
        (EventType.ASSIGNED, "Account Change: MFA Factor Enable", "Success"),
        (EventType.ADOPTED, "Account Change: MFA Factor Enable", "Success"),
        (EventType.DISABLED, "Account Change: MFA Factor Disable", "Success"),
        (EventType.DEACTIVATED, "Account Change: MFA Factor Disable", "Success"),
        (EventType.REOPENED, "Account Change: Unlock", "Success"),
        (EventType.RESYNCHRONIZED, "Account Change: Other", "Success"),
        (EventType.REFUSED, "Account Change: Other", "Failure"),
        (EventType.REDACTED, "Account Change: Other", "Unknown"),
    ],
)
def test_each_type_has_its_activity(event_type: EventType, type_name: str, status: str) -> None:
    exported = ocsf_event(event(event_type))
    assert (exported["type_name"], exported["status"]) == (type_name, status)
    assert exported["metadata"]["event_code"] == event_type.value  # type: ignore[index]  # JSON


@pytest.mark.parametrize(
    ("event_type", "reason", "severity"),
    [
        (EventType.ASSIGNED, "", "Informational"),
        (EventType.REJECTED, "wrong code", "Low"),
        (EventType.DISABLED, "", "Medium"),
        (EventType.BUDGET_LOW, "", "Medium"),
        (EventType.REFUSED, "record tampered", "Critical"),
    ],
)
def test_alarms_have_a_severity(event_type: EventType, reason: str, severity: str) -> None:
    assert ocsf_event(event(event_type, reason=reason))["severity"] == severity


def test_an_event_states_schema_product_place_and_outcome() -> None:
    exported: Any = ocsf_event(
        event(number=7, digest="ab", serial="s1", reason="phone lost", details=(("steps_off", 2),))
    )
    assert exported["metadata"] == {
        "version": "1.8.0",
        "product": {"name": "vmfa", "vendor_name": "vmfa", "version": vmfa_version()},
        "event_code": "device assigned",
        "sequence": 7,
    }
    assert exported["time"] == 1_700_000_000_000
    assert exported["status_detail"] == "phone lost"
    assert exported["unmapped"] == {
        "role": "signed in", "digest": "ab", "details": {"steps_off": 2},
    }
    assert exported["message"] == "device assigned: 1%2F2/user/alice by signed in alice"
    (factor,) = exported["auth_factors"]
    published = PUBLISHED["objects"]["auth_factor"]["attributes"]["factor_type_id"]["enum"]
    assert factor["factor_type"] == published[str(factor["factor_type_id"])]["caption"]
    assert (factor["is_totp"], factor["device"]["uid"]) == (True, "s1")
    plain = ocsf_event(event())
    assert not {"status_detail", "auth_factors", "src_endpoint", "service"} & plain.keys()


def test_a_sign_in_names_the_service() -> None:
    exported = ocsf_event(event(EventType.ACCEPTED), service="Example")
    assert (exported["service"], exported["is_mfa"]) == ({"name": "Example"}, True)


def test_persons_have_their_complete_id() -> None:
    exported: Any = ocsf_event(event(principal=ROOT))
    account = {"uid": "1/2"}
    assert exported["user"] == {
        "uid": "1%2F2/root/", "name": "root", "type_id": 2, "type": "Admin", "account": account,
    }
    assert exported["actor"]["user"] == {
        "uid": "1%2F2/user/alice", "name": "alice", "type_id": 1, "type": "User",
        "account": account,
    }
    captions = PUBLISHED["objects"]["user"]["attributes"]["type_id"]["enum"]
    assert (captions["1"]["caption"], captions["2"]["caption"]) == ("User", "Admin")


def test_services_and_support_cases_are_actors() -> None:
    support: Any = ocsf_event(event(actor=ACTORS[2]))
    assert support["actor"]["user"]["name"] == "case 7"
    assert ocsf_event(event(actor=ACTORS[3]))["actor"] == {"app_name": "help desk"}
    assert ocsf_event(event(actor=ACTORS[4]))["actor"] == {"app_name": "unknown"}
    assert Role.SUPPORT.value == ACTORS[2].role
    assert "actor" not in ocsf_event(event(EventType.REDACTED))


@pytest.mark.parametrize(
    ("source", "endpoint"),
    [
        ("203.0.113.7", {"ip": "203.0.113.7"}),
        ("2001:DB8::7", {"ip": "2001:db8::7"}),
        ("203.0.113.7 Firefox", {"name": "203.0.113.7 Firefox"}),
    ],
)
def test_a_source_is_an_address_or_a_name(source: str, endpoint: dict[str, str]) -> None:
    assert ocsf_event(event(source=source))["src_endpoint"] == endpoint


def test_a_line_is_the_event_without_line_breaks() -> None:
    text = ocsf_line(event(reason="größer \U0001f600"), service="Example")
    assert text.isascii()
    assert "\n" not in text
    assert json.loads(text) == ocsf_event(event(reason="größer \U0001f600"))


def test_the_events_of_a_registry_are_valid() -> None:
    """Every operation that a user meets, from the enrollment to the removal."""
    exported: list[dict[str, Any]] = []
    clock = FrozenClock()
    registry = DeviceRegistry(
        MemoryStore(), keys=DerivedKeys(bytes(range(32))), issuer="Example", clock=clock,
        policy=Policy(failure_cap=3, delay_from=1, recovery_codes=5),
        observer=lambda observed: exported.append(json.loads(ocsf_line(observed))),
    )
    me = Actor.signed_in(ALICE)
    opened = registry.open_enrollment(ALICE, by=me, label="alice", source="203.0.113.7")
    phone = AuthenticatorApp(clock).scan(opened.uri)
    code1, code2 = phone.two_codes()
    registry.confirm_enrollment(
        ALICE, session=opened.session_id, code1=code1, code2=code2, by=me, source="203.0.113.7"
    )
    registry.verify(ALICE, phone.code(+1))
    for _ in range(3):
        clock.advance(3600)
        with pytest.raises(CodeRejected):
            registry.verify(ALICE, phone.code(-100))
    registry.deactivate(ALICE, by=Actor.support("case 7"))
    names = [one["activity_name"] for one in exported]
    assert names.count("Logon") == 4
    assert {"enrollment opened", "MFA Factor Enable", "MFA Factor Disable"} < set(names)
    assert exported[0]["src_endpoint"] == {"ip": "203.0.113.7"}
    for one in exported:
        check(one)
