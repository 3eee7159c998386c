"""The checks of dataclass fields: on construction, on replacement, and by the rules of text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pytest

from leaks import assert_silent
from vmfa import InvalidType, InvalidValue
from vmfa.validators import (
    MAX_INTEGER,
    check_fields,
    check_instance,
    check_text,
    check_time,
    instance_of,
    integer,
    text,
    timestamp,
)


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A dataclass with a field of every kind."""

    name: str = field(metadata=text(8))
    size: int = field(default=3, metadata=integer(0, 9))
    at: int = field(default=0, metadata=timestamp())
    color: Color = field(default=Color.RED, metadata=instance_of(Color))
    note: str = field(default="", metadata=text(20, empty=True))
    unchecked: object = None

    def __post_init__(self) -> None:
        check_fields(self)


INVALID = [
    ({"name": ""}, InvalidValue),
    ({"name": "n" * 9}, InvalidValue),
    ({"name": " n"}, InvalidValue),
    ({"name": 7}, InvalidType),
    ({"size": -1}, InvalidValue),
    ({"size": 10}, InvalidValue),
    ({"size": True}, InvalidType),
    ({"size": 1.0}, InvalidType),
    ({"size": "1"}, InvalidType),
    ({"at": MAX_INTEGER + 1}, InvalidValue),
    ({"at": -MAX_INTEGER - 1}, InvalidValue),
    ({"at": None}, InvalidType),
    ({"color": "red"}, InvalidType),
    ({"color": None}, InvalidType),
    ({"note": "n" * 21}, InvalidValue),
]


class TestFields:
    @pytest.mark.parametrize(("fields", "error"), INVALID, ids=str)
    def test_an_invalid_value_is_refused_on_construction(
        self, fields: dict[str, Any], error: type[Exception]
    ) -> None:
        (name,) = fields
        with pytest.raises(error, match=f"^{name} "):
            Sample(**{"name": "n", **fields})

    @pytest.mark.parametrize(("fields", "error"), INVALID, ids=str)
    def test_an_invalid_value_is_refused_on_replacement(
        self, fields: dict[str, Any], error: type[Exception]
    ) -> None:
        (name,) = fields
        with pytest.raises(error, match=f"^{name} "):
            dataclasses.replace(Sample(name="n"), **fields)

    @pytest.mark.parametrize(
        "fields",
        [
            {"name": "n" * 8},
            {"size": 0},
            {"size": 9},
            {"at": MAX_INTEGER},
            {"at": -MAX_INTEGER},
            {"color": Color.BLUE},
            {"note": ""},
            {"note": "n" * 20},
            {"unchecked": object()},
        ],
        ids=str,
    )
    def test_the_bounds_are_allowed(self, fields: dict[str, Any]) -> None:
        (name,) = fields
        sample = dataclasses.replace(Sample(name="n"), **fields)
        assert getattr(sample, name) == fields[name]

    def test_the_bounds_are_in_the_metadata(self) -> None:
        """``vmfa policy`` and the reference page read them."""
        metadata = {field.name: field.metadata for field in dataclasses.fields(Sample)}
        assert (metadata["size"]["low"], metadata["size"]["high"]) == (0, 9)
        assert "low" not in metadata["unchecked"]


class TestText:
    @pytest.mark.parametrize(
        "value",
        [
            "a",
            "a b",
            "Zo\u00eb",
            "\u65e5\u672c",
            "\U0001f511",
            "%2F/:@",
            "x" * 512,
            "\u00e9" * 256,
        ],
        ids=ascii,
    )
    def test_valid_text(self, value: str) -> None:
        check_text("name", value)

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            pytest.param([""], "empty", id="empty"),
            pytest.param(
                [" a", "a ", "a\n", "\u00a0a", "a\u2003", " "], "blank", id="surrounding blanks"
            ),
            pytest.param(
                [f"a{character}b" for character in "\x00\x7f\n\x85\u2028\u2029\u0378"],
                "invisible characters",
                id="invisible characters",
            ),
            pytest.param(
                ["a\u200bb", "a\u202eb", "a\ufeffb", "a\u00a0b"],
                "invisible characters",
                id="invisible",
            ),
            pytest.param(["a\ud800b"], "invisible characters", id="surrogate"),
            pytest.param(["e\u0301", "\u212b"], "normalization form C", id="not NFC"),
            pytest.param(["x" * 513, "\u00e9" * 257], "512 bytes", id="too long"),
        ],
    )
    def test_text_with_more_than_one_spelling_is_refused(
        self, values: list[str], reason: str
    ) -> None:
        for value in values:
            with pytest.raises(InvalidValue, match=f"^name .*{reason}"):
                check_text("name", value)

    @pytest.mark.parametrize(
        "value", ["canary ", "canary\0", "canary" * 100, "canarye\u0301"], ids=ascii
    )
    def test_an_error_does_not_quote_the_value(self, value: str) -> None:
        with pytest.raises(InvalidValue) as caught:
            check_text("name", value)
        assert "canary" not in str(caught.value)

    def test_the_caller_decides_on_length_and_emptiness(self) -> None:
        check_text("name", "", empty=True)
        check_text("name", "abc", max_bytes=3)
        with pytest.raises(InvalidValue, match="3 bytes"):
            check_text("name", "abcd", max_bytes=3)

    @pytest.mark.parametrize("value", [None, b"a", 1, ["a"]], ids=repr)
    def test_text_is_a_str(self, value: Any) -> None:
        with pytest.raises(InvalidType, match=r"^name "):
            check_text("name", value)


class TestOtherChecks:
    def test_check_time(self) -> None:
        check_time("at", MAX_INTEGER)
        check_time("at", -MAX_INTEGER)
        with pytest.raises(InvalidValue, match=r"^at "):
            check_time("at", MAX_INTEGER + 1)
        with pytest.raises(InvalidType, match=r"^at "):
            check_time("at", 1.0)  # type: ignore[arg-type]  # on purpose

    def test_check_instance_names_the_field_and_the_class(self) -> None:
        check_instance("size", 1, int)
        with pytest.raises(InvalidType, match=r"^color .*Color"):
            check_instance("color", "red", Color)

    def test_stored_integers_fit_sql_columns(self) -> None:
        assert MAX_INTEGER == 2**62


MESSAGES: dict[str, tuple[Callable[[], object], str]] = {
    "not an int": (lambda: Sample(name="n", size="1"), "size must be an int"),
    "out of bounds": (lambda: Sample(name="n", size=10), "size must be 0 to 9"),
    "wrong class": (lambda: Sample(name="n", color="red"), "color must be of type Color"),
    "not text": (lambda: Sample(name=7), "name must be a str"),
    "empty": (lambda: Sample(name=""), "name must not be empty"),
    "too long": (lambda: Sample(name="n" * 9), "name must not be longer than 8 bytes"),
    "blank": (lambda: Sample(name=" n"), "name must not start or end with a blank"),
    "control": (lambda: Sample(name="a\0b"), "name must not contain invisible characters"),
    "not NFC": (
        lambda: Sample(name="e\u0301"),
        "name must be in Unicode normalization form C",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name: str) -> None:
    create, message = MESSAGES[name]
    with pytest.raises((InvalidType, InvalidValue)) as caught:
        create()
    assert str(caught.value) == message
    assert_silent(caught.value, "secret")
