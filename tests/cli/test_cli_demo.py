"""``vmfa demo`` plays its story on the real library, and stops where the library misbehaves."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vmfa import (
    CodeRejected,
    Decision,
    EventType,
    MemoryStore,
    MfaClaim,
    NoDevice,
    PrincipalId,
    Receipt,
    SQLiteStore,
    VmfaError,
)
from vmfa.cli.demo import START, DemoFailed, Stage, all_differ, near_codes, rejection, story
from vmfa.testing import AuthenticatorApp, FrozenClock
from vmfa.testing.authenticator import Account

if TYPE_CHECKING:
    from conftest import Terminal

URI = "otpauth://totp/alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
RULE_ID = re.compile(r"\b(SEED|RULE|RFC\d+|SP80063B|ASVS5|KEYURI|STORE)-")


def test_the_demo_tells_the_life_of_a_device(terminal: Terminal) -> None:
    outcome = terminal.run("demo")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    chapters = [line for line in lines if line and not line.startswith(" ")]
    assert chapters == [
        "Enrollment",
        "Sign-in",
        "A phone with a slow clock",
        "Guessing",
        "A new phone",
        "Every step behaved as expected.",
    ]
    assert max(map(len, lines)) <= 80
    assert len(re.findall(r"(?m)^  \d:[03]0  [A-Z]", outcome.out)) == 19
    assert not RULE_ID.search(outcome.out)
    assert not terminal.db.exists()


def test_the_demo_in_json(terminal: Terminal) -> None:
    data = terminal.json("demo")
    assert data["passed"] is True
    assert len(data["lines"]) == 19
    assert {tuple(line) for line in data["lines"]} == {("chapter", "text", "at")}
    times = [line["at"] for line in data["lines"]]
    assert times == sorted(times)
    assert times[0] == 0
    assert not RULE_ID.search(str(data))


def test_the_story_needs_no_more_than_a_store(tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "demo.db") as store:
        in_file = [(line.chapter, line.at) for line in story(store)]
    assert [(line.chapter, line.at) for line in story(MemoryStore())] == in_file


def test_the_story_leaves_its_people_and_their_histories_in_the_store() -> None:
    store = MemoryStore()
    list(story(store))
    alice, bob = PrincipalId.user("123456789012", "alice"), PrincipalId.user("123456789012", "bob")
    assert list(store.principals("123456789012")) == [alice, bob]
    history = [event for event in store.history(alice) if event.type is not EventType.SUPERSEDED]
    types = [
        event.type.value for event in history
    ]  # chance may have opened an enrollment more than once
    assert [kind for kind, _ in groupby(types)] == [
        "enrollment opened",
        "device assigned",
        "device deactivated",
        "enrollment opened",
        "device assigned",
    ]
    assert [event.reason for event in history if event.type is EventType.DEACTIVATED] == [
        "new phone"
    ]


def accept_all(before: Any, ctx: Any, *_: object) -> Decision[Receipt]:
    serial = before.device.serial if before.device else "none"
    receipt = Receipt(
        principal=before.id,
        serial=serial,
        step=0,
        at=ctx.now,
        drift=0,
        failures_cleared=0,
        claim=MfaClaim(at=ctx.now, serial=serial),
    )
    return Decision(principal=before, answer=receipt)


def forget_when(error: CodeRejected, *_: object, **__: object) -> None:
    CodeRejected.__init__(error, "the code was used before")


def refuse(*_: object, **__: object) -> None:
    raise NoDevice("planted")


def match_every_pair(*_: object, current: int, **__: object) -> tuple[int, int]:
    return current, current


WRONG, REFUSED = (
    "^the library does not behave as the demo says: ",
    "^the library refused a step of the demo",
)


@pytest.mark.parametrize(
    ("place", "fault", "sentence"),
    [
        ("vmfa.rules.verify", accept_all, f"{WRONG}Both codes are used"),
        ("vmfa.rules.open_enrollment", refuse, f"{REFUSED}: no device$"),
        ("vmfa.rules.resync", refuse, f"{REFUSED}: no device$"),
        ("vmfa.rules.find_consecutive_pair", match_every_pair, f"{WRONG}She enters "),
        ("vmfa.errors.AlreadyUsed.__init__", forget_when, f"{WRONG}An attacker who saw "),
        ("vmfa.rules._failed", accept_all, f"{WRONG}An attacker knows Alice's password "),
        (
            "vmfa.policy.Policy.delay",
            lambda policy, failures: 0,
            f"{WRONG}An attacker knows Alice's password ",
        ),
        (
            "vmfa.operations.check_permitted",
            lambda *cell: None,
            f"{WRONG}With Alice's password alone",
        ),
        ("vmfa.rules.normalize_code", lambda code, digits: "000000", REFUSED),
    ],
)
def test_a_fault_of_the_library_stops_the_story(
    monkeypatch: pytest.MonkeyPatch, place: str, fault: Any, sentence: str
) -> None:
    monkeypatch.setattr(place, fault)
    with pytest.raises(DemoFailed, match=sentence):
        list(story(MemoryStore()))


def test_a_code_that_is_accepted_twice_stops_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    from vmfa import rules

    def forgetful(before: Any, *more: Any, **named: Any) -> Any:
        return replace(real(before, *more, **named), principal=before)

    real = rules._accepted
    monkeypatch.setattr("vmfa.rules._accepted", forgetful)
    with pytest.raises(DemoFailed, match=f"{WRONG}An attacker who saw "):
        list(story(MemoryStore()))


def test_a_demo_that_fails_prints_what_it_saw_and_exits_with_5(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmfa.policy.Policy.delay", lambda policy, failures: 0)
    outcome = terminal.run("demo")
    assert outcome.code == 5
    assert outcome.out.startswith("Enrollment\n")
    assert "as expected" not in outcome.out
    assert outcome.err.startswith("vmfa: the library does not behave as the demo says: ")
    outcome = terminal.run("demo", "--json")
    assert (outcome.data["passed"], outcome.problem["reason"]) == (False, "demo failed")


def test_a_key_that_repeats_a_code_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, sizes, store = iter([False, False]), [], MemoryStore()

    def differ(accounts: list[Account]) -> bool:
        sizes.append(len(accounts))
        return next(answers, True)

    monkeypatch.setattr("vmfa.cli.demo.all_differ", differ)
    assert len(list(story(store))) == 19
    assert sizes == [1, 1, 1, 2, 3]  # and never a code that an earlier phone shows
    history = store.history(PrincipalId.user("123456789012", "alice"))
    assert [event.type for event in history].count(EventType.SUPERSEDED) == 2


def test_codes_that_repeat_are_found() -> None:
    account = AuthenticatorApp(FrozenClock(START)).scan(URI)
    assert all_differ([account])
    assert not all_differ([account, account])


def test_the_codes_near_the_story_do_not_depend_on_the_clock_of_the_phone() -> None:
    app = AuthenticatorApp(FrozenClock(START))
    late = AuthenticatorApp(FrozenClock(START), skew=-150)
    assert near_codes([app.scan(URI)]) == near_codes([late.scan(URI)])


def test_the_guess_of_the_attacker_is_shown_by_no_phone() -> None:
    stage = Stage(MemoryStore())
    accounts = [stage.enroll(PrincipalId.user("1", name))[1] for name in ("alice", "bob")]
    shown = {account.code(off) for account in accounts for off in range(-20, 30)}
    assert shown <= set(near_codes(accounts))
    assert re.fullmatch(r"\d{6}", stage.wrong_code())
    assert stage.wrong_code() not in near_codes(accounts)


def test_only_the_expected_error_counts_as_a_rejection() -> None:
    assert rejection(NoDevice, refuse) is not None
    assert rejection(NoDevice, list) is None
    with pytest.raises(VmfaError, match="planted"):
        rejection(DemoFailed, refuse)
