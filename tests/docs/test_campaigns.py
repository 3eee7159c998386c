"""What the campaigns break on purpose is still there: a text that is gone would be broken, and missed, in silence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS / "campaigns"))

from breaks import path_of  # noqa: E402  # from there
from equivalent import EQUIVALENT  # noqa: E402  # as before
from planted import PLANTED, Planted  # noqa: E402  # as before

SOURCE = TESTS.parent / "src" / "vmfa"


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_a_planted_defect_has_its_place_and_its_test(planted: Planted) -> None:
    assert planted.old in (SOURCE / planted.file).read_text()
    file, _, name = planted.test.partition("::")
    path = TESTS.parent / file
    assert path.exists()
    assert not name or f"def {name}(" in path.read_text()


@pytest.mark.parametrize(("room", "mutant"), EQUIVALENT, ids=lambda part: part[:40])
def test_what_means_the_same_is_still_written_so(room: str, mutant: str) -> None:
    line = mutant.split(" | ", maxsplit=1)[0]
    assert line in {each.strip() for each in path_of(room, TESTS.parent).read_text().splitlines()}
