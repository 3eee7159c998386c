"""A few rounds of the hammer; ``hammer.py`` beside this file is the full one."""

from __future__ import annotations

import pytest
from hammer import WAYS


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
@pytest.mark.parametrize(("way", "many"), [("threads", 20), ("processes", 5)])
def test_one_code_presented_by_many_is_accepted_once(engine: str, way: str, many: int) -> None:
    for ends in WAYS[way](engine, many, 4):
        assert ends["Receipt"] == 1
        assert ends.keys() <= {"Receipt", "AlreadyUsed", "StoreContended"}
        assert ends.total() == many
