"""A few rounds of ``hammer.py``."""

from __future__ import annotations

import pytest
from hammer import ENGINES, WAYS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("way", "many"), [("threads", 20), pytest.param("processes", 5, marks=pytest.mark.slow)]
)
def test_one_code_presented_by_many_is_accepted_once(engine: str, way: str, many: int) -> None:
    for ends in WAYS[way](engine, many, 4):
        assert ends["Receipt"] == 1
        assert ends.keys() <= {"Receipt", "AlreadyUsed", "StoreContended"}
        assert ends.total() == many
