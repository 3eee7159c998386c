"""The exhaustive search in small: no decision against the rules, and every planted bug is found.

The long run is a command: see the docstring of ``explore``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from property.explore import PLANTS, POLICIES, search, search_planted, search_reissued
from property.replay import Kept, replay as replayed, stores, ways
from vmfa import AuditEvent, MemoryStore, Principal
from vmfa.validators import replace

STATES = 1500  # every history of up to four or five actions
PLANTED = 3000


@pytest.mark.parametrize("policy", POLICIES)
def test_no_short_history_breaks_a_rule(policy: str) -> None:
    """INVARIANTS: no code twice, one device, last_step and time monotone, dead keys stay dead, failures forgotten by
    success alone, assigned by consecutive codes alone, the budget at its rate, each change one revision."""
    found = search(policy, STATES)
    assert found.problem == "", found.way
    assert found.states >= STATES
    assert found.transitions > 10 * STATES


@pytest.mark.parametrize("bug", PLANTS)
def test_the_search_finds_the_planted_bug(bug: str) -> None:
    """A search that finds nothing proves nothing: each of these mistakes must be found."""
    found = search_planted(bug, PLANTED)
    assert found.problem, f"not found in {found.states} states"


def test_the_search_finds_a_key_that_came_back() -> None:
    """KEYS: a source that issues a dead key once more is found by the codes of the dead key."""
    assert search_reissued(PLANTED).problem


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
def test_ways_of_the_search_end_alike_on_every_store(
    policy: str, kind: str, request: pytest.FixtureRequest
) -> None:
    """Sealed, encoded, committed and read back at each action, the records are those of the rules alone."""
    with ExitStack() as stack:
        kept = Kept(
            POLICIES[policy], stores(stack, Path(request.getfixturevalue("tmp_path")))[kind]()
        )
        told = [replayed(policy, way, kept) for way in ways(policy, 400, 80)]
    assert len(told) >= 4
    assert sum(told) > 60


def test_a_store_that_keeps_another_record_is_noticed(tmp_path: Path) -> None:
    class Forgetful(MemoryStore):
        def commit(
            self, before: Principal, after: Principal, events: Sequence[AuditEvent]
        ) -> bool:
            device = after.device and replace(after.device, failures=0)
            return super().commit(before, replace(after, device=device), events)

    kept = Kept(POLICIES["cap"], Forgetful())
    with pytest.raises(AssertionError, match="another record is kept"):
        [replayed("cap", way, kept) for way in ways("cap", 400, 10)]
