"""The demonstration runs the library: it shows every step, and a library that misbehaves does not pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vmfa import Decision, Key, MemoryStore, NoDevice, Receipt, SQLiteStore, VmfaError, rules
from vmfa.demo import DemoFailed, HandClock, Phone, all_differ, refusal, story


def test_the_story_shows_each_rule_in_turn(tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "demo.db") as store:
        lines = list(story(store))
    assert list(dict.fromkeys(line.rule for line in lines)) == [
        "SEED-SHOW", "SEED-TWO", "RFC6238-5.2-ONCE", "SEED-SIX", "SEED-BACKUP", "SEED-ONE", "SEED-LATE",
        "SEED-RESYNC", "RFC6238-6-DRIFT", "RFC4226-7.3-DELAY", "RFC4226-7.3-XSESSION", "SP80063B-3.2.2-CAP",
        "SEED-PERMIT", "SEED-ROTATE",
    ]
    times = [line.at for line in lines]
    assert times == sorted(times)


def accept_all(before: Any, case: Any, code: str) -> Decision[Receipt]:
    receipt = Receipt(
        principal=before.id, serial=before.device.serial if before.device else "none", step=0, at=case.now, drift=0,
        failures_cleared=0,
    )
    return Decision(before, receipt)


def refuse(*arguments: object) -> None:
    raise NoDevice("planted")


def any_code_at_any_step(before: Any, held: Any, case: Any, codes: tuple[str, ...], steps: range) -> Any:
    return tuple(list(steps) for _ in codes)


@pytest.mark.parametrize(
    ("place", "bug", "told"),
    [
        ("vmfa.rules.verify", accept_all, "RFC6238-5.2-ONCE"),
        ("vmfa.rules.open_enrollment", refuse, "refused what it should do: no device"),
        ("vmfa.rules.resync", refuse, "refused what it should do: no device"),
        ("vmfa.rules._scan", any_code_at_any_step, "SEED-TWO"),
        ("vmfa.policy.Policy.delay", lambda policy, failures: 0, "RFC4226-7.3-DELAY"),
        ("vmfa.operations.check_permitted", lambda *cell: None, "SEED-PERMIT"),
        ("vmfa.rules.read_code", lambda code, digits: "000000", "refused what it should do"),
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
    answers = iter([False, False])
    monkeypatch.setattr("vmfa.demo.all_differ", lambda phones: next(answers, True))
    assert len(list(story(MemoryStore()))) == 19


def test_codes_that_repeat_are_seen() -> None:
    phone = Phone(Key(bytes(range(20))), HandClock())
    assert all_differ([phone])
    assert not all_differ([phone, phone])


def test_another_error_is_no_refusal() -> None:
    assert refusal(NoDevice, refuse) is not None
    assert refusal(NoDevice, list) is None
    with pytest.raises(VmfaError, match="planted"):
        refusal(DemoFailed, refuse)


def test_a_phone_does_not_print_its_key() -> None:
    assert "key" not in repr(Phone(Key(bytes(20)), HandClock()))
