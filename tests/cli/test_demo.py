"""The demonstration runs the library: it shows every step, and a library that misbehaves does not pass."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from vmfa import (
    CodeRejected,
    Decision,
    EventType,
    Key,
    MemoryStore,
    NoDevice,
    PrincipalId,
    Receipt,
    SQLiteStore,
    VmfaError,
    rules,
)
from vmfa.cli.demo import START, DemoFailed, HandClock, Phone, Stage, all_differ, near_codes, refusal, story

STORY = [  # seconds from its beginning, the rule, what is told, with every code as ......
    (0, "SEED-SHOW", "Alice opens the wizard. It shows a key and a URI for her phone: once, in this answer only."),
    (0, "SEED-TWO", "She enters ......, then ......: the wrong order is refused, and the wizard stays open."),
    (0, "SEED-TWO", "She enters ......, then ......: two consecutive codes assign the device, in sync."),
    (0, "RFC6238-5.2-ONCE", "Both codes are spent: ...... does not sign her in."),
    (30, "SEED-SIX", "30 seconds later her phone shows ......: six digits, and she is signed in."),
    (30, "RFC6238-5.2-ONCE",
     "Whoever saw ...... and sends it again is told that it was used; that is no failed guess."),
    (60, "SEED-BACKUP", "Her tablet, with the same key, shows the same codes: ......, used there, is spent."),
    (60, "SEED-ONE", "She has a device, so she gets no second one: the wizard does not open."),
    (60, "SEED-LATE", "Bob's phone is five steps late. His two codes assign it, and the answer says: out of sync."),
    (120, "SEED-LATE", "Until it is resynchronized its codes are refused, unevaluated."),
    (120, "SEED-RESYNC",
     "Two fresh consecutive codes put it in sync: the library now knows that it is five steps late."),
    (150, "RFC6238-6-DRIFT", "They signed nobody in. The next code of the late phone does."),
    (150, "RFC4226-7.3-DELAY", "Somebody guesses ......, three times. After the third wrong code: wait 15 seconds."),
    (150, "RFC4226-7.3-XSESSION",
     "Meanwhile nothing is evaluated for her, in whatever session: not even the right code."),
    (180, "SP80063B-3.2.2-CAP", "After the wait her code is accepted, and the failures in a row are forgotten."),
    (180, "SEED-PERMIT", "Whoever has only her password cannot remove her device."),
    (180, "SEED-ROTATE", "Signed in with a code, she deactivates it herself. Its key is destroyed."),
    (210, "SEED-ROTATE", "The old phone still shows codes. They count no more."),
    (240, "SEED-ROTATE",
     "She enrolls a new phone. The old one's codes are wrong codes, the new one's sign her in."),
]


def test_the_story_shows_each_rule_in_turn(tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "demo.db") as store:
        told = [(line.at - START, line.rule, re.sub(r"\b\d{6}\b", "......", line.says)) for line in story(store)]
    assert told == STORY


def test_the_story_leaves_its_people_and_their_histories_in_the_store() -> None:
    store = MemoryStore()
    list(story(store))
    alice, bob = PrincipalId.user("123456789012", "alice"), PrincipalId.user("123456789012", "bob")
    assert list(store.principals("123456789012")) == [alice, bob]
    history = [event for event in store.history(alice) if event.type is not EventType.SUPERSEDED]
    told = [(event.type.value, event.actor) for event in history]  # chance may have opened a wizard more than once
    assert [each for each, _ in groupby(told)] == [
        ("enrollment opened", "trusted service vmfa demo"), ("device assigned", f"signed in {alice}"),
        ("device deactivated", f"signed in {alice}"), ("enrollment opened", "trusted service vmfa demo"),
        ("device assigned", f"signed in {alice}"),
    ]
    assert [event.reason for event in history if event.type is EventType.DEACTIVATED] == ["new phone"]


def taken(before: Any, case: Any, device: Any, error: Any) -> Decision[Receipt]:
    return accept_all(before, case, "")


def no_word_of_when(error: CodeRejected, **when: int) -> None:
    CodeRejected.__init__(error, "the code was used before")


def accept_all(before: Any, case: Any, code: str) -> Decision[Receipt]:
    receipt = Receipt(
        principal=before.id, serial=before.device.serial if before.device else "none", step=0, at=case.now, drift=0,
        failures_cleared=0,
    )
    return Decision(principal=before, answer=receipt)


def refuse(*arguments: object) -> None:
    raise NoDevice("planted")


def any_code_at_any_step(before: Any, held: Any, case: Any, codes: tuple[str, ...], steps: range) -> Any:
    return tuple(list(steps) for _ in codes)


NOT, REFUSED = "^the library does not do what", "^the library refused what it should do"


@pytest.mark.parametrize(
    ("place", "bug", "told"),
    [
        ("vmfa.rules.verify", accept_all, f"{NOT} RFC6238-5.2-ONCE says: Both codes are spent: "),
        ("vmfa.rules.open_enrollment", refuse, f"{REFUSED}: no device$"),
        ("vmfa.rules.resync", refuse, f"{REFUSED}: no device$"),
        ("vmfa.rules._scan", any_code_at_any_step, f"{NOT} SEED-TWO"),
        ("vmfa.errors.AlreadyUsed.__init__", no_word_of_when, f"{NOT} RFC6238-5.2-ONCE says: Whoever saw"),
        ("vmfa.rules._failed", taken, f"{NOT} RFC4226-7.3-DELAY"),
        ("vmfa.policy.Policy.delay", lambda policy, failures: 0, f"{NOT} RFC4226-7.3-DELAY"),
        ("vmfa.operations.check_permitted", lambda *cell: None, f"{NOT} SEED-PERMIT"),
        ("vmfa.rules.normalize_code", lambda code, digits: "000000", REFUSED),
    ],
)
def test_a_planted_bug_stops_the_story(monkeypatch: pytest.MonkeyPatch, place: str, bug: Any, told: str) -> None:
    monkeypatch.setattr(place, bug)
    with pytest.raises(DemoFailed, match=told):
        list(story(MemoryStore()))


def test_a_replay_that_is_taken_stops_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    real = rules._accepted

    def forgetful(before: Any, case: Any, device: Any, step: int, here: int) -> Any:
        from dataclasses import replace

        made = real(before, case, device, step, here)
        return replace(made, principal=before)

    monkeypatch.setattr("vmfa.rules._accepted", forgetful)
    with pytest.raises(DemoFailed, match=r"RFC6238-5\.2-ONCE says: Whoever saw"):
        list(story(MemoryStore()))


def test_a_key_that_repeats_a_code_is_left_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, asked, store = iter([False, False]), [], MemoryStore()

    def differ(phones: list[Phone]) -> bool:
        asked.append(len(phones))
        return next(answers, True)

    monkeypatch.setattr("vmfa.cli.demo.all_differ", differ)
    assert len(list(story(store))) == 19
    assert asked == [1, 1, 1, 2, 3]  # and never a code that an earlier phone shows
    history = store.history(PrincipalId.user("123456789012", "alice"))
    assert [event.type for event in history].count(EventType.SUPERSEDED) == 2


def test_codes_that_repeat_are_seen() -> None:
    phone = Phone(Key(bytes(range(20))), HandClock())
    assert all_differ([phone])
    assert not all_differ([phone, phone])


def test_what_somebody_guesses_is_shown_by_no_phone() -> None:
    stage = Stage(MemoryStore())
    phones = [stage.enroll(PrincipalId.user("1", name))[1] for name in ("alice", "bob")]
    shown = {phone.code(off) for phone in phones for off in range(-20, 30)}
    assert shown <= set(near_codes(phones))
    assert re.fullmatch(r"\d{6}", stage.wrong_code())
    assert stage.wrong_code() not in near_codes(phones)


def test_another_error_is_no_refusal() -> None:
    assert refusal(NoDevice, refuse) is not None
    assert refusal(NoDevice, list) is None
    with pytest.raises(VmfaError, match="planted"):
        refusal(DemoFailed, refuse)


def test_a_phone_does_not_print_its_key() -> None:
    assert "key" not in repr(Phone(Key(bytes(20)), HandClock()))
