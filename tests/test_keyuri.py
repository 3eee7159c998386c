"""Key URIs: how they are written, how they are read, and which texts are refused."""

from __future__ import annotations

import pickle
from copy import copy
from dataclasses import FrozenInstanceError, asdict
from string import hexdigits, printable
from unicodedata import normalize
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import example, given, strategies as st

from leaks import assert_silent
from vmfa import InvalidType, InvalidValue, Key, Parameters, UnsafeShortKey
from vmfa.keys import base32, reveal
from vmfa.keyuri import MAX_URI_LENGTH, KeyUri, KeyUriError, build, check_label, parse

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
KEY = Key(b"12345678901234567890")
PLAIN = f"otpauth://totp/Example:alice@example.com?secret={SECRET}&issuer=Example"
NOT_HEXADECIMAL = sorted({*printable} - {*hexdigits} - {*"%?#&=/"})
INVALID_ESCAPES = [
    "%",
    "%4",
    *(f"%4{character}" for character in NOT_HEXADECIMAL),
    *(f"%{character}4" for character in NOT_HEXADECIMAL),
]


def uri(issuer="Example", label="alice@example.com", **values):
    return build(issuer=issuer, label=label, key=KEY, parameters=Parameters(**values))


def error_of(uri: str, **options: bool) -> KeyUriError:
    with pytest.raises(KeyUriError) as caught:
        parse(uri, **options)
    assert_silent(caught.value, SECRET)
    return caught.value


def uri_with(query: str) -> str:
    return f"otpauth://totp/Example:alice?{query}"


class TestBuild:
    def test_the_default_parameters(self):
        assert uri() == f"otpauth://totp/Example:alice@example.com?secret={SECRET}&issuer=Example"

    def test_issuer_is_prefix_and_parameter_and_blanks_are_percent_20(self):
        assert uri("Big Corp", "alice smith") == (
            f"otpauth://totp/Big%20Corp:alice%20smith?secret={SECRET}&issuer=Big%20Corp"
        )

    @pytest.mark.parametrize(
        ("values", "added"),
        [
            ({"algorithm": "sha256"}, "&algorithm=SHA256"),
            ({"algorithm": "sha512"}, "&algorithm=SHA512"),
            ({"digits": 7}, "&digits=7"),
            ({"digits": 8}, "&digits=8"),
            ({"period": 60}, "&period=60"),
            (
                {"algorithm": "sha256", "digits": 8, "period": 1},
                "&algorithm=SHA256&digits=8&period=1",
            ),
            ({"algorithm": "sha1", "digits": 6, "period": 30}, ""),
        ],
    )
    def test_only_parameters_that_are_not_the_default_are_written(self, values, added):
        assert uri(**values) == uri() + added

    @pytest.mark.parametrize(
        "name",
        [
            "a&secret=AAAA",
            "a?b",
            "a#b",
            "a/b",
            "../..",
            "100%",
            "%3A",
            "a+b",
            "Zo\u00eb",
            "\u65e5\u672c",
            "a=b",
            "a;b",
            "\U0001f511",
        ],
    )
    def test_a_name_cannot_change_the_structure_of_the_uri(self, name):
        split = urlsplit(uri(name, name))
        assert unquote(split.path) == f"/{name}:{name}"
        assert split.path.count(":") == 1
        assert parse_qsl(split.query, strict_parsing=True) == [
            ("secret", SECRET),
            ("issuer", name),
        ]
        assert not split.fragment

    def test_the_secret_is_unpadded(self):
        assert "secret=GEZDGNBVGY3TQOJQGEZDGNBVGY&" in build(
            issuer="E", label="a", key=Key(b"1234567890123456"), parameters=Parameters()
        )

    def test_separators_in_names_are_escaped(self):
        result = build(issuer="A/B&C", label="a@b/cd", key=KEY, parameters=Parameters())
        assert result.startswith("otpauth://totp/A%2FB%26C:a@b%2Fcd?secret=")
        assert result.endswith("&issuer=A%2FB%26C")


class TestLabels:
    @pytest.mark.parametrize("label", ["a", "alice@example.com", "x" * 256, "\uff1a"])
    def test_a_valid_label(self, label):
        check_label("label", label)

    @pytest.mark.parametrize(
        ("label", "reason"),
        [
            ("a:b", "colon"),
            ("", "empty"),
            (" a", "blank"),
            ("a\nb", "invisible"),
            ("x" * 257, "256 bytes"),
        ],
    )
    def test_an_invalid_label_is_refused(self, label, reason):
        with pytest.raises(InvalidValue, match=f"^label .*{reason}"):
            check_label("label", label)

    def test_a_label_is_text(self):
        with pytest.raises(InvalidType, match=r"^issuer "):
            check_label("issuer", None)


class TestParse:
    def test_the_default_parameters(self):
        assert parse(PLAIN) == KeyUri(
            type="totp",
            issuer="Example",
            label="alice@example.com",
            key=KEY,
            parameters=Parameters(),
        )

    def test_every_parameter(self):
        result = parse(f"{PLAIN}&algorithm=SHA512&digits=8&period=60")
        assert result.parameters == Parameters(algorithm="sha512", digits=8, period=60)

    @pytest.mark.parametrize("counter", [0, 2**32, 2**64 - 1])
    def test_hotp_has_a_counter(self, counter):
        result = parse(f"otpauth://hotp/alice?secret={SECRET}&counter={counter}")
        assert (result.type, result.counter) == ("hotp", counter)

    def test_a_number_has_twenty_digits_at_most(self):
        assert parse(f"otpauth://hotp/alice?secret={SECRET}&counter={'7'.zfill(20)}").counter == 7

    def test_hotp_without_a_counter_is_refused(self):
        assert error_of(f"otpauth://hotp/alice?secret={SECRET}").part == "counter"

    def test_a_counter_means_nothing_to_totp_and_a_period_nothing_to_hotp(self):
        assert parse(f"{PLAIN}&counter=7").counter is None
        assert parse(f"otpauth://hotp/alice?secret={SECRET}&counter=7&period=60").counter == 7

    def test_the_label_alone_has_no_issuer(self):
        result = parse(f"otpauth://totp/alice?secret={SECRET}")
        assert (result.issuer, result.label) == ("", "alice")

    @pytest.mark.parametrize(
        ("path", "query"),
        [
            ("Example:alice", ""),
            ("alice", "&issuer=Example"),
            ("Example:alice", "&issuer=Example"),
            ("Example:alice", "&issuer="),
            (":alice", "&issuer=Example"),
        ],
    )
    def test_the_issuer_is_prefix_or_parameter_or_both(self, path, query):
        result = parse(f"otpauth://totp/{path}?secret={SECRET}{query}")
        assert (result.issuer, result.label) == ("Example", "alice")

    def test_two_different_issuers_are_refused(self):
        assert (
            error_of(f"otpauth://totp/Example:alice?secret={SECRET}&issuer=Other").part == "issuer"
        )


class TestDialects:
    @pytest.mark.parametrize("colon", [":", "%3A", "%3a", ":%20", "%3A%20%20", ": "])
    def test_the_colon_and_blanks_behind_it(self, colon):
        result = parse(f"otpauth://totp/Example{colon}alice?secret={SECRET}")
        assert (result.issuer, result.label) == ("Example", "alice")

    @pytest.mark.parametrize("issuer", ["Big+Corp", "Big%20Corp", "Big Corp"])
    def test_a_plus_in_the_issuer_is_a_blank(self, issuer):
        assert parse(f"otpauth://totp/alice?secret={SECRET}&issuer={issuer}").issuer == "Big Corp"
        assert (
            parse(f"otpauth://totp/Big%20Corp:alice?secret={SECRET}&issuer={issuer}").issuer
            == "Big Corp"
        )

    def test_a_plus_in_the_issuer_is_a_plus_if_the_prefix_has_one(self):
        assert parse(f"otpauth://totp/A+:alice?secret={SECRET}&issuer=A+").issuer == "A+"
        assert parse(f"otpauth://totp/alice?secret={SECRET}&issuer=A%2B").issuer == "A+"

    def test_a_plus_in_the_label_is_a_plus(self):
        assert (
            parse(f"otpauth://totp/alice+test@example.com?secret={SECRET}").label
            == "alice+test@example.com"
        )

    @pytest.mark.parametrize("algorithm", ["SHA256", "sha256", "Sha256"])
    def test_algorithms_in_any_case(self, algorithm):
        assert parse(f"{PLAIN}&algorithm={algorithm}").parameters.algorithm == "sha256"

    def test_upper_case_throughout(self):
        """As alphanumeric QR codes need it."""
        result = parse(f"OTPAUTH://TOTP/ALICE?SECRET={SECRET}&DIGITS=8")
        assert (result.label, result.parameters.digits, result.key) == ("ALICE", 8, KEY)

    @pytest.mark.parametrize(
        "secret",
        [
            SECRET.lower(),
            f"{SECRET[:4]}%20{SECRET[4:]}",
            f"{SECRET[:4]}-{SECRET[4:]}",
        ],
    )
    def test_case_blanks_and_hyphens_in_the_secret_are_ignored(self, secret):
        assert parse(uri_with(f"secret={secret}")).key == KEY

    @pytest.mark.parametrize("padding", ["", "======", "%3D%3D%3D%3D%3D%3D"])
    def test_padded_secrets(self, padding):
        assert parse(uri_with(f"secret=GEZDGNBVGY3TQOJQGEZDGNBVGY{padding}")).key == Key(
            b"1234567890123456"
        )

    @pytest.mark.parametrize(("written", "algorithm"), [
        ("HmacSHA1", "sha1"), ("HMACSHA1", "sha1"), ("SHA-1", "sha1"), ("HMAC-SHA-256", "sha256"),
        ("sha_512", "sha512"), ("HmacSHA512", "sha512"),
    ])
    def test_the_spellings_of_an_algorithm(self, written, algorithm):
        assert parse(f"{PLAIN}&algorithm={written}").parameters.algorithm == algorithm

    @pytest.mark.parametrize("period", ["60", "60.0", "60.00"])
    def test_a_period_that_a_program_wrote_as_a_fraction(self, period):
        assert parse(f"{PLAIN}&period={period}").parameters.period == 60

    @pytest.mark.parametrize("start", ["totp", "totp/", "totp/Example:"])
    def test_a_label_is_optional_on_request(self, start):
        text = f"otpauth://{start}?secret={SECRET}"
        assert error_of(text).part == "label"
        assert parse(text, require_label=False).label == ""

    def test_parameters_of_apps_are_ignored(self):
        assert (
            parse(f"{PLAIN}&image=https%3A%2F%2Fexample.com%2Fx.png&color=ff0000&lock=true").key
            == KEY
        )

    @pytest.mark.parametrize(
        "query",
        [
            f"secret={SECRET}&tags=a&tags=b",
            f"secret={SECRET}&",
            f"&secret={SECRET}&&tags=a&",
        ],
    )
    def test_repeated_parameters_of_an_app_and_empty_ones_are_ignored(self, query):
        assert parse(uri_with(query)).key == KEY

    @pytest.mark.parametrize(
        ("path", "issuer", "expected"),
        [
            ("Text%3A%20more:alice", "Text%3A%20more", ("Text: more", "alice")),
            ("Text%3Aalice", "Text", ("Text", "alice")),
            ("Text:alice:work", "Text", ("Text", "alice:work")),
            ("Text%3A%20more%3A%20alice", "Text:+more", ("Text: more", "alice")),
            ("Text%3Amore", "Text%3Amore", ("Text:more", "Text:more")),
            ("alice", "Text%3Amore", ("Text:more", "alice")),
        ],
    )
    def test_the_parameter_shows_where_the_issuer_of_the_label_ends(self, path, issuer, expected):
        key_uri = parse(f"otpauth://totp/{path}?secret={SECRET}&issuer={issuer}")
        assert (key_uri.issuer, key_uri.label) == expected

    def test_a_label_is_read_in_normalization_form_c(self):
        assert parse(f"otpauth://totp/Zoe%CC%88?secret={SECRET}").label == "Zo\u00eb"

    def test_unencoded_characters_are_read(self):
        assert parse(f"otpauth://totp/My App/Zo\u00eb?secret={SECRET}").label == "My App/Zo\u00eb"


class TestParseErrors:
    @pytest.mark.parametrize(
        ("query", "part"),
        [
            ("", "secret"),
            ("secret", "uri"),
            (f"issuer=Example&amp;secret={SECRET}", "uri"),
            (f"secret={SECRET}&amp;digits=8", "uri"),
            ("issuer=Example", "secret"),
            ("secret=", "secret"),
            ("secret=GEZDGNBV1", "secret"),
            (f"secret={SECRET}8", "secret"),
            ("secret=%C2%B2EZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "secret"),
            (f"secret={'A' * 1648}", "secret"),
            (f"secret={SECRET}&secret={SECRET}", "secret"),
            (f"secret={SECRET}&SECRET={SECRET}", "secret"),
            (f"secret={SECRET}&secre%74={SECRET}", "secret"),
            (f"secret={SECRET}&digits=6&digits=8", "digits"),
            (f"secret={SECRET}&issuer=Example&issuer=Example", "issuer"),
            (f"secret={SECRET}&encoder=steam", "encoder"),
            (f"secret={SECRET}&issuer=A%3AB", "issuer"),
            (f"secret={SECRET}&issuer=%FF", "issuer"),
            (f"secret={SECRET}&issuer=%", "issuer"),
            (f"secret={SECRET}&issuer=%4", "issuer"),
            (f"secret={SECRET}&issuer=%zz", "issuer"),
            (f"secret={SECRET}&%=1", "uri"),
        ],
    )
    def test_an_invalid_query_is_refused(self, query, part):
        assert error_of(uri_with(query)).part == part

    @pytest.mark.parametrize("name", ["digits", "period", "counter"])
    @pytest.mark.parametrize(
        "number",
        [
            "",
            "-1",
            "+6",
            "6_0",
            "%206",
            "6%20",
            "0x6",
            "\u0666",
            "%D9%A6",
            "\uff16",
            "\u00b2",
            "six",
            "9" * 21,
            "9" * 5000,
            "18446744073709551616",
            "0" * 20 + "7",
            "%4",
        ],
    )
    def test_an_invalid_number_is_refused(self, name, number):
        assert error_of(f"{PLAIN}&{name}={number}").part == name

    @pytest.mark.parametrize(
        ("parameter", "part"),
        [
            ("digits=5", "digits"),
            ("digits=9", "digits"),
            ("digits=0", "digits"),
            ("period=0", "period"),
            ("algorithm=MD5", "algorithm"),
            ("algorithm=", "algorithm"),
            ("algorithm=SHA3-256", "algorithm"),
            ("algorithm=HmacMD5", "algorithm"),
            ("interval=60", "interval"),
            ("T0=30", "t0"),
            ("period=30.5", "period"),
            ("digits=6.0", "digits"),
            ("counter=6.0", "counter"),
            ("algorithm=%C5%BFHA1", "algorithm"),
        ],
    )
    def test_a_parameter_out_of_range_is_refused(self, parameter, part):
        assert error_of(f"{PLAIN}&{parameter}").part == part

    @pytest.mark.parametrize(
        ("path", "part"),
        [
            ("", "label"),
            ("Example:", "label"),
            ("Example:a:b", "label"),
            ("Example:a%3Ab", "label"),
            ("a%0Ab", "label"),
            ("a%00", "label"),
            ("%ED%A0%80", "label"),
            ("a%E2%80%AEb", "label"),
            ("100%", "label"),
            ("a" * 257, "label"),
            ("Exam%0Aple:alice", "issuer"),
            ("Example%20:alice", "issuer"),
            ("alice%20", "label"),
            ("\ud800", "label"),
        ],
    )
    def test_an_invalid_label_is_refused(self, path, part):
        assert error_of(f"otpauth://totp/{path}?secret={SECRET}").part == part

    @pytest.mark.parametrize(
        ("uri", "part"),
        [
            ("", "uri"),
            ("otpauth", "uri"),
            ("otpauth:", "uri"),
            ("otpauth:/totp/a?secret=", "uri"),
            (f"https://totp/alice?secret={SECRET}", "uri"),
            (f" {PLAIN}", "uri"),
            (f"otpauth://totp/a#1?secret={SECRET}", "uri"),
            (f"{PLAIN}#{SECRET}", "uri"),
            (f"{PLAIN}&x={'x' * 8192}", "uri"),
            (f"otpauth://steam/alice?secret={SECRET}", "type"),
            (f"otpauth:///totp/alice?secret={SECRET}", "type"),
            (f"otpauth://{SECRET}@totp/alice?secret={SECRET}", "type"),
            (f"otpauth://totp:80/alice?secret={SECRET}", "type"),
        ],
    )
    def test_an_invalid_scheme_type_or_fragment_is_refused(self, uri, part):
        assert error_of(uri).part == part

    def test_a_short_key_needs_unsafe_short_key(self):
        sample = "otpauth://totp/Example:alice@example.com?secret=JBSWY3DPEHPK3PXP&issuer=Example"
        assert error_of(sample).part == "secret"
        assert parse(sample, unsafe_short_key=True).key == UnsafeShortKey(
            b"Hello!\xde\xad\xbe\xef"
        )
        assert error_of(uri_with("secret="), unsafe_short_key=True).part == "secret"

    @pytest.mark.parametrize("uri", [None, PLAIN.encode(), 5])
    def test_a_uri_is_text(self, uri):
        with pytest.raises(InvalidType) as caught:
            parse(uri)
        assert_silent(caught.value, SECRET)

    def test_a_key_uri_has_a_maximum_length(self):
        start = f"otpauth://totp/alice?secret={SECRET}&issuer="
        assert error_of(start.ljust(MAX_URI_LENGTH, "x")).part == "issuer"
        assert error_of(start.ljust(MAX_URI_LENGTH + 1, "x")).part == "uri"

    @pytest.mark.parametrize(
        ("uri", "part"),
        [
            (f"otpauth://totp/a?secret={SECRET}&issuer=%zz", "issuer"),
            (f"otpauth://totp/a?secret={SECRET}&issuer=+%zz", "issuer"),
            ("otpauth://totp/a?secret=%zz", "secret"),
            ("otpauth://totp/a", "secret"),
            ("otpauth://totp/a?issuer=b", "secret"),
            (f"otpauth://totp/a?secret={SECRET}&algorithm=%f", "algorithm"),
            (f"otpauth://totp/a?secret={SECRET}&digits=%", "digits"),
            (f"otpauth://totp/a?secret={SECRET}&period=1&period=1", "period"),
            (f"otpauth://totp/a?secret={SECRET}&algorithm=SHA1&algorithm=SHA1", "algorithm"),
            (f"otpauth://hotp/a?secret={SECRET}&counter=1&counter=1", "counter"),
        ],
    )
    def test_the_error_names_the_part(self, uri, part):
        assert error_of(uri).part == part

    @pytest.mark.parametrize("digit", hexdigits)
    def test_every_hexadecimal_digit_is_valid_in_an_escape(self, digit):
        result = parse(f"otpauth://totp/a%4{digit}?secret={SECRET}")
        assert result.label == "a" + chr(0x40 + int(digit, 16)).strip()

    @pytest.mark.parametrize("escape", INVALID_ESCAPES, ids=ascii)
    def test_an_invalid_escape_is_refused(self, escape):
        error = error_of(f"otpauth://totp/a{escape}?secret={SECRET}")
        assert (error.part, "percent" in str(error)) == ("label", True)

    def test_the_error_is_an_invalid_value_with_a_reason(self):
        error = error_of("")
        assert isinstance(error, InvalidValue)
        assert (error.reason, error.part) == ("key URI", "uri")


class TestKeyUri:
    def test_it_is_frozen(self):
        with pytest.raises(FrozenInstanceError):
            parse(PLAIN).label = "bob"

    def test_it_does_not_show_the_key(self):
        result = parse(PLAIN)
        for text in (repr(result), str(result), f"{result}"):
            assert SECRET not in text
            assert "1234567890" not in text
            assert "key=<Key>" in text
        with pytest.raises(InvalidType):
            pickle.dumps(result)
        with pytest.raises(InvalidType):
            asdict(result)
        assert copy(result) == result  # a shallow copy shares the opaque key


def _is_label(text: str) -> bool:
    try:
        check_label("label", text)
    except InvalidValue:
        return False
    return True


LABELS = (
    st.text(
        st.characters(categories=["L", "M", "N", "P", "S", "Zs"], exclude_characters=":"),
        max_size=60,
    )
    .map(lambda text: normalize("NFC", text).strip())
    .filter(_is_label)
)


class TestProperties:
    @given(
        issuer=LABELS,
        label=LABELS,
        raw=st.binary(min_size=16, max_size=64),
        algorithm=st.sampled_from(["sha1", "sha256", "sha512"]),
        digits=st.integers(6, 8),
        period=st.integers(1, 2**64 - 1),
    )
    @example("A+", "a+b", b"0" * 16, "sha1", 6, 30)
    @example("100% \u00c5", "%3A", b"0" * 16, "sha1", 6, 30)
    def test_a_built_uri_is_parsed_to_the_same_values(
        self, issuer, label, raw, algorithm, digits, period
    ):
        parameters = Parameters(algorithm=algorithm, digits=digits, period=period)
        result = parse(build(issuer=issuer, label=label, key=Key(raw), parameters=parameters))
        assert (result.issuer, result.label, reveal(result.key), result.parameters) == (
            issuer,
            label,
            raw,
            parameters,
        )

    @given(st.text())
    def test_any_text_is_parsed_or_refused_with_a_key_uri_error(self, text):
        _accepted_or_refused(text)

    @given(
        st.lists(
            st.sampled_from(
                [
                    "otpauth://",
                    "totp/",
                    "hotp/",
                    "?",
                    "&",
                    "=",
                    ":",
                    "%",
                    "%3A",
                    "%2",
                    "+",
                    "#",
                    "secret=",
                    SECRET,
                    "issuer=",
                    "digits=",
                    "period=",
                    "counter=",
                    "algorithm=",
                    "SHA1",
                    "6",
                    "30",
                    "\u0666",
                    "\ud800",
                    "\0",
                    "%FF",
                    "a",
                    " ",
                ]
            ),
            max_size=20,
        ).map("".join)
    )
    def test_shuffled_parts_of_uris(self, text):
        _accepted_or_refused(text)
        _accepted_or_refused(f"otpauth://totp/a?secret={SECRET}&{text}")

    @given(position=st.integers(0, len(PLAIN)), put=st.characters(), cut=st.integers(0, 3))
    def test_a_uri_with_a_random_edit(self, position, put, cut):
        _accepted_or_refused(PLAIN[:position] + put + PLAIN[position + cut :])


def _accepted_or_refused(text: str) -> None:
    try:
        result = parse(text)
    except KeyUriError as error:
        assert_silent(error, SECRET)
    else:
        again = build(
            issuer=result.issuer or "x",
            label=result.label,
            key=result.key,
            parameters=result.parameters,
        )
        assert parse(again).label == result.label
        assert len(base32(result.key)) >= 26


MESSAGES = [
    (f"{PLAIN}&x={'x' * 8192}", "a key URI must not be longer than 8192 characters"),
    ("https://example.com", "a key URI must begin with otpauth://"),
    (f"{PLAIN}#x", "a key URI must not have a fragment: write %23 for '#'"),
    (f"otpauth://steam/a?secret={SECRET}", "the type of a key URI must be totp or hotp"),
    (f"{PLAIN}&encoder=steam", "codes in another alphabet (Steam) are not supported"),
    (f"otpauth://hotp/a?secret={SECRET}", "a hotp key URI must have a counter"),
    (f"{PLAIN}&lock", "a parameter of a key URI must be written name=value"),
    (f"{PLAIN}&issuer=Example", "a key URI must not repeat a parameter"),
    (
        f"otpauth://totp/A:a?secret={SECRET}&issuer=B",
        "the issuer in the label and the issuer parameter differ",
    ),
    (f"otpauth://totp/a:b:c?secret={SECRET}", "the label has two colons and no issuer parameter"),
    (uri_with("secret=GEZDGNBV"), "a key must have 16 to 1024 bytes"),
    (uri_with("secret=1"), "not valid Base32: use the letters A-Z and the digits 2-7"),
    (f"{PLAIN}&digits=9", "digits must be 6, 7 or 8"),
    (f"{PLAIN}&period=0", "period must be at least 1 second; period and t0 must fit in 64 bits"),
    (f"{PLAIN}&period=-1", "period must be a whole number in ASCII digits, below 2**64"),
    (f"{PLAIN}&x%4=1", "a percent sign must be followed by two hexadecimal digits of UTF-8"),
]


@pytest.mark.parametrize(("uri", "message"), MESSAGES)
def test_message(uri, message):
    assert str(error_of(uri)) == message
