"""The exhaustive search in small: no decision against the rules, and every planted bug is found.

The long run is a command: see the docstring of ``explore``.
"""

from __future__ import annotations

import pytest

from property.explore import PLANTS, POLICIES, search, search_planted, search_reissued

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
