"""The exhaustive search in short: no decision breaks a rule, and every planted bug is found.

The long run is a command: see the docstring of ``explore.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from property.explore import search
from property.ledger import POLICIES
from property.planted_rules import PLANTS, search_planted, search_reissued
from property.replay import StoredExplorer, paths, replay, stores
from vmfa import AuditEvent, MemoryStore, Principal

STATES = 1000  # every history of up to four actions
PLANTED_STATES = 3000


@pytest.mark.parametrize("policy", POLICIES)
def test_no_short_history_breaks_a_rule(policy: str) -> None:
    """INVARIANTS: no code is accepted twice; there is one device; last_step and time are monotone;
    a destroyed key stays destroyed; only success clears failures; only consecutive codes assign;
    the budget is refilled at its rate; failures without a client token leave the reserve; each
    change is one revision.
    """
    result = search(policy, STATES)
    assert result.problem == "", result.path
    assert result.states >= STATES
    assert result.transitions > 9 * STATES


@pytest.mark.parametrize("bug", PLANTS)
def test_the_search_finds_a_planted_bug(bug: str) -> None:
    result = search_planted(bug, PLANTED_STATES)
    assert result.problem, f"not found in {result.states} states"


def test_the_search_finds_a_key_that_is_issued_again() -> None:
    """KEYS: the codes of the destroyed key would be accepted again."""
    assert search_reissued(PLANTED_STATES).problem


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "kind", ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.slow)]
)
def test_stores_return_the_records_of_the_rules(
    policy: str, kind: str, request: pytest.FixtureRequest
) -> None:
    with ExitStack() as stack:
        folder = Path(request.getfixturevalue("tmp_path"))
        stored = StoredExplorer(POLICIES[policy], stores(stack, folder)[kind]())
        counts = [replay(policy, path, stored) for path in paths(policy, 400, 80)]
    assert len(counts) >= 4
    assert sum(counts) > 60


def test_a_store_that_keeps_another_record_is_noticed() -> None:
    class Forgetful(MemoryStore):
        def commit(
            self, before: Principal, after: Principal, events: Sequence[AuditEvent]
        ) -> bool:
            device = after.device and replace(after.device, failures=0)
            return super().commit(before, replace(after, device=device), events)

    stored = StoredExplorer(POLICIES["cap"], Forgetful())
    with pytest.raises(AssertionError, match="the record differs"):
        [replay("cap", path, stored) for path in paths("cap", 400, 10)]
