"""The breaks of cited code: which lines a comment belongs to, and that each row has a result."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import dedent

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "campaigns"))

import clauses
from breaks import mutants
from clauses import Row, cited_lines, is_break, problems_of_results, sample

from traceability import read_clauses

ROOT = Path(__file__).parents[2]
FIRST, SECOND = "RULE-" + "ONE", "RULE-" + "TWO"  # in parts: the ids of this file are checked too


def lines_of(source: str) -> dict[str, list[int]]:
    text = dedent(source).replace("ONE", FIRST).replace("TWO", SECOND)
    return {cited.clause: [*cited.lines] for cited in cited_lines("m", text)}


def test_a_comment_behind_code_belongs_to_what_begins_there() -> None:
    found = lines_of("""\
        a = 1
        b = [  # ONE
            1,
            2,  # TWO
        ]
        """)
    assert found == {FIRST: [2, 3, 4, 5], SECOND: [4]}


def test_a_condition_includes_what_it_guards() -> None:
    found = lines_of("""\
        def act(a):
            a = a + 1
            if a > 1:  # ONE
                return 1
            else:
                return 2
        """)
    assert found == {FIRST: [3, 4]}


def test_a_comment_at_the_start_of_a_function_belongs_to_all_of_it() -> None:
    found = lines_of('''\
        class Part:
            """Text."""

            # ONE
            size = 1

            def act(self):
                """Text."""
                # TWO
                a = 1
                return a
        ''')
    assert found == {FIRST: [*range(1, 12)], SECOND: [7, 8, 9, 10, 11]}


def test_any_other_comment_belongs_to_the_next_statement_or_entry() -> None:
    found = lines_of("""\
        def act():
            a = 1
            # ONE
            b = (
                a
            )
            return {
                # TWO
                "a": a,
                "b": b,
            }
        """)
    assert found == {FIRST: [4, 5, 6], SECOND: [9]}


def test_an_id_in_a_text_is_not_a_comment() -> None:
    assert lines_of("a = 'ONE'\n") == {}


def test_texts_for_people_are_not_broken() -> None:
    source = "def act(a):\n    raise ValueError('a sentence', f'{a} is not b', 'constant')\n"
    names = [mutant.name for mutant in mutants("m", source) if is_break(mutant)]
    assert [name for name in names if "other text" in name] == [
        "raise ValueError('a sentence', f'{a} is not b', 'constant') | 'constant' | other text"
    ]


def test_a_sample_has_breaks_of_every_row_and_repeats_itself() -> None:
    breaks = {"m": {f"line {number}": [FIRST] for number in range(50)} | {"last": [SECOND]}}
    taken = sample(breaks, 3)
    assert taken == sample(breaks, 3)
    assert sorted(map(len, taken.values())) == [4]
    assert taken["m"]["last"] == [SECOND]
    (first,) = [name for name in sample(breaks, 1, ["m: line 7"])["m"] if name != "last"]
    assert first == "line 7"


@pytest.mark.parametrize(
    ("recorded", "problems"),
    [
        ({}, ["has no recorded break"]),
        ({FIRST: {"breaks": 1, "noticed": 0, "noticed_by": {}}}, ["has no recorded break"]),
        ({FIRST: {"breaks": 2, "noticed": 1, "noticed_by": {"m: a": "t"}}}, []),
        ({FIRST: {"noticed": 1, "noticed_by": {"m: a": "t"}}, SECOND: {}}, ["is recorded and"]),
    ],
)
def test_a_row_without_a_result_is_reported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recorded: dict[str, object],
    problems: list[str],
) -> None:
    path = tmp_path / "breaks.json"
    path.write_text(json.dumps(recorded))
    monkeypatch.setattr(clauses, "RESULTS", path)
    found = problems_of_results({FIRST: Row(FIRST, ["tests/test_a.py"])})
    assert len(found) == len(problems)
    assert all(part in text for part, text in zip(problems, found, strict=True))


def test_every_row_that_is_met_has_a_result() -> None:
    """Assumes that the breaks are noticed; ``python tests/campaigns/clauses.py`` tests them."""
    met = {
        name: Row(name, ())
        for name, clause in read_clauses(ROOT).items()
        if clause.status == "met"
    }
    assert problems_of_results(met) == []
