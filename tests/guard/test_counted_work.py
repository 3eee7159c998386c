"""The work of a verification, counted instead of timed: a busy machine counts the same.

``counted_work.json`` holds, for each Python, what each verdict costs. Hash computations and statements are exact;
calls and bytes may be fewer, or a few more. A change that costs more on purpose records it anew, by running this file
as a program under each Python, and says why.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import tracemalloc
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import pytest

from support import MASTER, HandClock, enroll
from vmfa import CodeRejected, DerivedKeys, DeviceRegistry, MemoryStore, PrincipalId, SQLiteStore, Store

RECORDED = Path(__file__).with_name("counted_work.json")
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
EXACT = ("hash computations", "statements")
TOLERANCE = {"calls": 1.05, "peak bytes": 1.25}  # the sizes of objects differ from build to build
STORES = ("memory", "sqlite")
VERDICTS = ("accepted", "accepted early", "accepted late", "replayed", "rejected", "throttled", "malformed")
DAY = 86_400


class Claimant:
    """One principal with a device, and the way to each verdict."""

    def __init__(self, store: Store) -> None:
        self.store, self.clock = store, HandClock()
        self.registry = DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=self.clock)
        self.user = enroll(self.registry, self.clock, PrincipalId.user("123456789012", "u-4711"))
        self.wrong = self.user.phone.wrong_code(3)
        for verdict in VERDICTS:
            self.present(self.code_for(verdict))  # what is kept from one verification to the next is kept now

    def present(self, code: str) -> None:
        with suppress(CodeRejected):
            self.registry.verify(self.user.principal, code)

    def code_for(self, verdict: str) -> str:
        """Days later, in the state and with the code that lead to *verdict*."""
        phone = self.user.phone
        self.clock.advance(10 * DAY)
        self.present(phone.code())  # neither failures nor a last_offset to one side are left
        self.clock.advance(10 * DAY)
        self.wrong = phone.wrong_code(3)
        match verdict:
            case "accepted early":
                return phone.code(1)
            case "accepted late":
                return phone.code(-1)
            case "replayed":
                self.present(phone.code())
            case "rejected":
                return self.wrong
            case "throttled":
                for _ in range(3):
                    self.present(self.wrong)
            case "malformed":
                return "12345"
        return phone.code()


def counted(claimant: Claimant, verdict: str) -> dict[str, int]:
    """What presenting one code costs."""
    seen: Counter[str] = Counter()

    def profiler(_frame: FrameType, event: str, called: Any) -> None:
        if event == "call":
            seen["calls"] += 1
        elif event == "c_call":
            seen["calls"] += 1
            seen["hash computations"] += hashes(called)

    code = claimant.code_for(verdict)
    statements: list[str] = []
    if isinstance(claimant.store, SQLiteStore):
        connection = claimant.store._connection
        connection.set_trace_callback(statements.append)
    before = sys.getprofile()
    sys.setprofile(profiler)
    try:
        claimant.present(code)
    finally:
        sys.setprofile(before)
    if isinstance(claimant.store, SQLiteStore):
        connection.set_trace_callback(None)
    return {
        "hash computations": seen["hash computations"],
        "statements": len(statements),
        "calls": seen["calls"],
        "peak bytes": peak_bytes(claimant, verdict),
    }


def hashes(called: Any) -> int:
    """An HMAC is two hash computations, whether OpenSSL does both or we do each."""
    name, module = called.__name__, type(getattr(called, "__self__", None)).__module__
    if name in ("hmac_digest", "hmac_new"):
        return 2
    return 1 if name == "digest" and module == "_hashlib" else 0


def peak_bytes(claimant: Claimant, verdict: str) -> int:
    code = claimant.code_for(verdict)
    tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        claimant.present(code)
        return tracemalloc.get_traced_memory()[1] - held
    finally:
        if not tracing:
            tracemalloc.stop()


def measured(folder: Path) -> dict[str, dict[str, dict[str, int]]]:
    collecting = gc.isenabled()
    gc.disable()  # a collection calls whatever other tests have left to be called
    try:
        with SQLiteStore(folder / "mfa.db") as sqlite:
            claimants = {"memory": Claimant(MemoryStore()), "sqlite": Claimant(sqlite)}
            return {
                name: {verdict: counted(claimant, verdict) for verdict in VERDICTS}
                for name, claimant in claimants.items()
            }
    finally:
        if collecting:
            gc.enable()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, int]]]:
    return measured(tmp_path_factory.mktemp("guard"))


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("store", STORES)
def test_no_more_work_than_recorded(work, store, verdict):
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    newest = max(recorded, key=lambda version: int(version.split(".")[1]))
    limits, found = recorded.get(PYTHON, recorded[newest])[store][verdict], work[store][verdict]
    assert {what: found[what] for what in EXACT} == {what: limits[what] for what in EXACT}
    for what, factor in TOLERANCE.items():
        if what == "peak bytes" and sys.gettrace() is not None:
            continue  # a coverage measurement holds memory of its own
        assert found[what] <= factor * limits[what], what


@pytest.mark.parametrize("store", STORES)
def test_the_step_that_matches_costs_the_same(work, store):
    one, *others = [work[store][verdict]["hash computations"] for verdict in VERDICTS[:3]]
    assert others == [one, one]


def test_a_match_a_miss_and_a_replay_compute_the_same_codes(work):
    """In memory, where no seal of a changed record is added."""
    found = {verdict: work["memory"][verdict]["hash computations"] for verdict in ("accepted", "rejected", "replayed")}
    assert len(set(found.values())) == 1


@pytest.mark.parametrize("store", STORES)
def test_what_is_not_evaluated_computes_no_code(work, store):
    """A throttled attempt costs one SELECT and the check of the record; a malformed one not even that check."""
    sealed = store == "sqlite"
    assert work[store]["throttled"]["hash computations"] == (2 if sealed else 0)
    assert work[store]["malformed"]["hash computations"] == 0
    assert work[store]["throttled"]["statements"] == work[store]["malformed"]["statements"] == (1 if sealed else 0)


def test_a_verdict_costs_one_select_and_one_update(work):
    assert work["sqlite"]["accepted"]["statements"] == work["sqlite"]["rejected"]["statements"] == 2
    assert work["sqlite"]["replayed"]["statements"] == 1


if __name__ == "__main__":
    versions = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {}
    with tempfile.TemporaryDirectory() as place:
        versions[PYTHON] = measured(Path(place))
    RECORDED.write_text(json.dumps(versions, indent=1, sort_keys=True) + "\n", encoding="utf-8")
