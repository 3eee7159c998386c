"""Streams with bounds, JSON, tables and fields."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from batches import peak_memory, refusal_of
from leaks import assert_silent
from vmfa import InvalidType, InvalidValue, Parameters
from vmfa.importers import reading
from vmfa.importers.base import UnreadableSource
from vmfa.importers.reading import (
    base64_bytes,
    document,
    hex_bytes,
    id_of,
    json_records,
    json_value,
    lines,
    numbered_lines,
    printable,
    read_parameters,
    table_records,
    take,
    take_number,
)

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"

class TestLines:
    def test_numbers_are_those_of_an_editor(self):
        text = "# one\r\ntwo\r\n\n  four\u2028still four\x0b\n#\nsix"
        assert list(numbered_lines(text)) == [
            (2, "two"), (4, "four\u2028still four"), (6, "six"),
        ]

    @pytest.mark.parametrize("text", ["", "\n", "#", " \n\t# comment\n"])
    def test_nothing_but_blanks_and_comments(self, text):
        assert list(numbered_lines(text)) == []


class TestJson:
    @pytest.mark.parametrize("text", [
        "", "{", "[1", "nul", "{}", "[1]", '["a"]', '[{"owner": "a", "owner": "b"}]',
        "[" * 100_000, "9" * 5000, '[{"a": NaN}', "\ud800", "[]]", "[{}", "[{},]", "[{}]x",
        "[{} {}]", "[{}}", '[{"a": ' + "[" * 100_000, "[,{}]",
        '{"secret": "GEZDGNBVGY3TQOJQ', '[{"secret": "GEZDGNBVGY3TQOJQ"}, {"secret"]',
    ])
    def test_a_source_that_is_not_a_list_of_objects(self, text):
        with pytest.raises(UnreadableSource) as caught:
            list(json_records(text))
        assert caught.value.reason == "unreadable source"
        assert str(caught.value) in (reading.NOT_JSON, reading.NOT_A_LIST)
        assert_silent(caught.value, "GEZDGNBVGY3TQOJQ")

    @pytest.mark.parametrize("text", [
        "[]", " [ ] \n", "[{}]", '[{"a": 1}, {}]', '\n[ {"a":"]"},{"b":{"c":[]}} ,\t{}\r]\n',
    ])
    def test_a_list_of_objects(self, text):
        assert list(json_records(text)) == json.loads(text)

    @pytest.mark.parametrize("size", [4000, 5000, 100_000])
    def test_an_object_of_any_usual_size(self, size):
        records = [{"a": "x" * size}, {"b": 1}]
        assert list(json_records(json.dumps(records))) == records

    def test_an_object_that_is_too_large(self):
        text = json.dumps([{"a": "x" * 2 * reading.MAX_RECORD_CHARACTERS}])
        with pytest.raises(UnreadableSource):
            list(json_records(text))

    def test_one_object_is_in_memory_at_a_time(self):
        text = "[" + ",".join(["{}"] * 50_000) + "]"
        assert peak_memory(lambda: sum(1 for _ in json_records(text))) < 1 << 20

    def test_a_value(self):
        assert json_value('{"a": [1]}') == {"a": [1]}

    @pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "[" * 100_000, '"GEZDGNBVGY3TQOJQ'])
    def test_a_text_that_is_not_json(self, text):
        with pytest.raises(UnreadableSource) as caught:
            json_value(text)
        assert str(caught.value) == reading.NOT_JSON
        assert_silent(caught.value, "GEZDGNBVGY3TQOJQ")


class TestStreams:
    READERS = (
        lambda source: list(json_records(source)),
        json_value,
        lambda source: list(numbered_lines(source)),
        lambda source: list(table_records(source)),
    )

    def test_a_document_has_at_most_64_mib(self, monkeypatch):
        assert reading.MAX_DOCUMENT_CHARACTERS == 64 << 20
        monkeypatch.setattr(reading, "MAX_DOCUMENT_CHARACTERS", 5)
        assert document("GEZDG") == "GEZDG"
        for read in (document, json_value):
            with pytest.raises(UnreadableSource, match=r"^the source is longer than 64 MiB$") as e:
                read("GEZDGN")
            assert_silent(e.value, "GEZDG")

    def test_a_line_has_at_most_256_kib(self, monkeypatch):
        assert reading.MAX_LINE_CHARACTERS == 256 << 10
        monkeypatch.setattr(reading, "MAX_LINE_CHARACTERS", 4)
        assert list(lines("abc\n\nabcd")) == ["abc\n", "\n", "abcd"]
        with pytest.raises(UnreadableSource, match=r"^a line of the source is longer") as caught:
            list(numbered_lines("abc\nGEZDGN"))
        assert_silent(caught.value, "GEZDG", "abc")

    @pytest.mark.parametrize("read", READERS)
    @pytest.mark.parametrize("good", ["", f"{SECRET}\n", f'[{{"a": "{SECRET}"}},\n'])
    def test_a_file_that_is_not_utf_8(self, tmp_path, read, good):
        (tmp_path / "source").write_bytes(good.encode() * 10_000 + b"\xff" + SECRET.encode())
        with (
            (tmp_path / "source").open(encoding="utf-8-sig") as file,
            pytest.raises(UnreadableSource) as caught,
        ):
            read(file)
        assert_silent(caught.value, SECRET, b"\xff")

    def test_a_file_that_cannot_be_read_any_more(self, tmp_path):
        class Broken(io.StringIO):
            def read(self, size=-1):
                raise OSError(5, "Input/output error")

        with pytest.raises(UnreadableSource, match=r"^the source cannot be read: Input/output"):
            document(Broken())

    @pytest.mark.parametrize("read", READERS)
    def test_a_stream_is_read_from_its_beginning_each_time(self, read):
        stream = io.StringIO('[{"a": 1}]')
        assert read(stream) == read(stream) == read(stream.getvalue())

    def test_memory_does_not_grow_with_the_file(self, tmp_path):
        def peak(count: int, read) -> int:
            path: Path = tmp_path / str(count)
            with path.open("w") as file:
                file.write('[{"a": 1, "b": "text"}')
                file.writelines(['\n,{"a": 1, "b": "text"}'] * (count - 1) + ["]"])
            with path.open() as file:
                return peak_memory(lambda: sum(1 for _ in read(file)))

        for read in (json_records, numbered_lines):
            assert peak(40_000, read) < peak(1000, read) + (1 << 18)


class TestTables:
    @pytest.mark.parametrize("text", [
        'id,secret\n7,"a,""b"""\n\n8,\n', 'id,secret\r\n7,"a,""b"""\r\n8,',
        '[{"id": "7", "secret": "a,\\"b\\""}, {"id": "8"}]',
    ])
    def test_csv_and_json(self, text):
        assert list(table_records(text)) == [{"id": "7", "secret": 'a,"b"'}, {"id": "8"}]

    @pytest.mark.parametrize("text", [
        "", "\n", f"{SECRET},\n", "id,id\n1,2", "1,2\n", "a b,c\n", '"id\n', f'id\n"{SECRET}',
        f'id\n"a"{SECRET}\n', "{}", f"id\n{'x' * 200_000}\n", "id,\n",
    ])
    def test_a_source_that_is_not_a_table(self, text):
        with pytest.raises(UnreadableSource) as caught:
            list(table_records(text))
        assert str(caught.value) == reading.NOT_A_TABLE
        assert_silent(caught.value, SECRET)

    @pytest.mark.parametrize("row", [f"{SECRET}", f"{SECRET},2,3"])
    def test_a_row_of_another_length(self, row):
        with pytest.raises(UnreadableSource, match=r"^row 2 does not have 2 columns$") as caught:
            list(table_records(f"id,secret\n1,{SECRET}\n{row}\n"))
        assert_silent(caught.value, SECRET)

    def test_a_list_in_which_an_object_has_a_field_twice(self):
        with pytest.raises(UnreadableSource, match="twice"):
            list(table_records('[{"a": 1, "a": 2}]'))


class TestFields:
    def test_a_missing_field(self):
        with pytest.raises(InvalidValue, match=r"^a is missing$"):
            take({"a": None}, "a", int)
        assert take({}, "a", int, 7) == 7

    @pytest.mark.parametrize("value", [True, 1.0, "1"])
    def test_a_field_of_another_type(self, value):
        with pytest.raises(InvalidType, match=r"^a must be of type int$"):
            take({"a": value}, "a", int)

    @pytest.mark.parametrize(("value", "number"), [(7, 7), ("7", 7), ("-7", -7), (None, 3)])
    def test_a_number(self, value, number):
        assert take_number({"a": value}, "a", 3) == number

    @pytest.mark.parametrize("value", ["", "x", "1.0", "+1", "\u0666", "9" * 21, True, 1.0])
    def test_what_is_not_a_number(self, value):
        with pytest.raises((InvalidValue, InvalidType), match=r"^a must be "):
            take_number({"a": value}, "a")

    def test_a_missing_number(self):
        with pytest.raises(InvalidValue, match=r"^a is missing$"):
            take_number({}, "a")

    @pytest.mark.parametrize(("value", "text"), [
        (7, "7"), ("u-7", "u-7"), (True, ""), (None, ""), ([], ""),
    ])
    def test_an_id(self, value, text):
        assert id_of({"a": value}, "a") == text

    @pytest.mark.parametrize("decode", [hex_bytes, base64_bytes])
    def test_bytes_in_text(self, decode):
        assert decode("key", "6162") in {b"ab", b"\xeb\x5e\xb6"}
        with pytest.raises(InvalidValue, match=r"^key must be (hexadecimal|Base64)$") as caught:
            decode("key", f"{SECRET}!")
        assert_silent(caught.value, SECRET)

    @pytest.mark.parametrize(("value", "shown"), [
        (7, "7"), ("a", "a"), ("\x1b[2J", r"\x1b[2J"), ("a\nb", r"a\nb"), ("x" * 100, "x" * 80),
    ])
    def test_what_is_shown_cannot_control_a_terminal(self, value, shown):
        assert printable(value) == shown


class TestParameters:
    @pytest.mark.parametrize(("text", "parameters"), [
        ("sha256,8,30", Parameters(algorithm="sha256", digits=8)),
        ("SHA1,6,60,30", Parameters(period=60, t0=30)),
        ("sha1,6,60,-30", Parameters(period=60, t0=-30)),
    ])
    def test_parameters(self, text, parameters):
        assert read_parameters(text) == parameters

    @pytest.mark.parametrize("text", [
        "", "sha1", "sha1,6", "sha1,6,-1", "a,b,c", "sha1,\u0666,30", f"sha1,6,{'9' * 10}",
        "sha1,6,30,0,0", "sha1,6,30,", "sha1,6,30,+1", "sha1,6,30,1.5", f"sha1,6,{'9' * 5000}",
    ])
    def test_another_form(self, text):
        with pytest.raises(InvalidValue, match=r"^write ALGORITHM,"):
            read_parameters(text)

    @pytest.mark.parametrize(("text", "values"), [
        ("md5,6,30", {"algorithm": "md5"}),
        ("sha1,9,30", {"digits": 9}),
        ("sha1,6,0", {"period": 0}),
    ])
    def test_an_impossible_value(self, text, values):
        with pytest.raises(InvalidValue) as caught:
            read_parameters(text)
        assert str(caught.value) == refusal_of(**values)
