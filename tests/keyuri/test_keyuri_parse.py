"""Key URIs as they are read: the format, the dialects of apps, and what is refused."""

from __future__ import annotations

import pickle
from copy import copy
from dataclasses import FrozenInstanceError, asdict
from unicodedata import normalize

import pytest
from hypothesis import example, given, strategies as st

from leaks import assert_silent
from vmfa import InvalidType, InvalidValue, Key, Parameters, UnsafeShortKey
from vmfa.keys import base32, reveal
from vmfa.keyuri import KeyUri, KeyUriError, build, check_label, parse

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
KEY = Key(b"12345678901234567890")
PLAIN = f"otpauth://totp/Example:alice@example.com?secret={SECRET}&issuer=Example"


def refusal(uri: str, **options: bool) -> KeyUriError:
    with pytest.raises(KeyUriError) as caught:
        parse(uri, **options)
    assert_silent(caught.value, SECRET)
    return caught.value


def with_(query: str) -> str:
    return f"otpauth://totp/Example:alice?{query}"


class TestTheFormat:
    def test_the_usual_one(self):
        assert parse(PLAIN) == KeyUri(
            type="totp", issuer="Example", label="alice@example.com", key=KEY, parameters=Parameters()
        )

    def test_every_parameter(self):
        said = parse(f"{PLAIN}&algorithm=SHA512&digits=8&period=60")
        assert said.parameters == Parameters(algorithm="sha512", digits=8, period=60)

    @pytest.mark.parametrize("counter", [0, 2**32, 2**64 - 1])
    def test_hotp_has_a_counter(self, counter):
        said = parse(f"otpauth://hotp/alice?secret={SECRET}&counter={counter}")
        assert (said.type, said.counter) == ("hotp", counter)

    def test_a_number_has_twenty_digits_at_most(self):
        assert parse(f"otpauth://hotp/alice?secret={SECRET}&counter={'7'.zfill(20)}").counter == 7

    def test_hotp_without_a_counter(self):
        assert refusal(f"otpauth://hotp/alice?secret={SECRET}").part == "counter"

    def test_a_counter_means_nothing_to_totp_and_a_period_nothing_to_hotp(self):
        assert parse(f"{PLAIN}&counter=7").counter is None
        assert parse(f"otpauth://hotp/alice?secret={SECRET}&counter=7&period=60").counter == 7

    def test_the_label_alone_has_no_issuer(self):
        said = parse(f"otpauth://totp/alice?secret={SECRET}")
        assert (said.issuer, said.label) == ("", "alice")

    @pytest.mark.parametrize(("path", "query"), [
        ("Example:alice", ""), ("alice", "&issuer=Example"), ("Example:alice", "&issuer=Example"),
        ("Example:alice", "&issuer="), (":alice", "&issuer=Example"),
    ])
    def test_the_issuer_is_prefix_or_parameter_or_both(self, path, query):
        said = parse(f"otpauth://totp/{path}?secret={SECRET}{query}")
        assert (said.issuer, said.label) == ("Example", "alice")

    def test_two_different_issuers(self):
        assert refusal(f"otpauth://totp/Example:alice?secret={SECRET}&issuer=Other").part == "issuer"


class TestDialects:
    @pytest.mark.parametrize("colon", [":", "%3A", "%3a", ":%20", "%3A%20%20", ": "])
    def test_the_colon_and_blanks_behind_it(self, colon):
        said = parse(f"otpauth://totp/Example{colon}alice?secret={SECRET}")
        assert (said.issuer, said.label) == ("Example", "alice")

    @pytest.mark.parametrize("issuer", ["Big+Corp", "Big%20Corp", "Big Corp"])
    def test_a_plus_in_the_issuer_is_a_blank(self, issuer):
        assert parse(f"otpauth://totp/alice?secret={SECRET}&issuer={issuer}").issuer == "Big Corp"
        assert parse(f"otpauth://totp/Big%20Corp:alice?secret={SECRET}&issuer={issuer}").issuer == "Big Corp"

    def test_unless_the_prefix_says_that_it_is_a_plus(self):
        assert parse(f"otpauth://totp/A+:alice?secret={SECRET}&issuer=A+").issuer == "A+"
        assert parse(f"otpauth://totp/alice?secret={SECRET}&issuer=A%2B").issuer == "A+"

    def test_a_plus_in_the_label_is_a_plus(self):
        assert parse(f"otpauth://totp/alice+test@example.com?secret={SECRET}").label == "alice+test@example.com"

    @pytest.mark.parametrize("algorithm", ["SHA256", "sha256", "Sha256"])
    def test_algorithms_in_any_case(self, algorithm):
        assert parse(f"{PLAIN}&algorithm={algorithm}").parameters.algorithm == "sha256"

    def test_upper_case_throughout_as_alphanumeric_qr_codes_need_it(self):
        said = parse(f"OTPAUTH://TOTP/ALICE?SECRET={SECRET}&DIGITS=8")
        assert (said.label, said.parameters.digits, said.key) == ("ALICE", 8, KEY)

    @pytest.mark.parametrize("secret", [
        SECRET.lower(), f"{SECRET[:4]}%20{SECRET[4:]}", f"{SECRET[:4]}-{SECRET[4:]}",
    ])
    def test_secrets_as_people_read_them(self, secret):
        assert parse(with_(f"secret={secret}")).key == KEY

    @pytest.mark.parametrize("padding", ["", "======", "%3D%3D%3D%3D%3D%3D"])
    def test_padded_secrets(self, padding):
        assert parse(with_(f"secret=GEZDGNBVGY3TQOJQGEZDGNBVGY{padding}")).key == Key(b"1234567890123456")

    def test_what_apps_add_is_passed_over(self):
        assert parse(f"{PLAIN}&image=https%3A%2F%2Fexample.com%2Fx.png&color=ff0000&lock=true").key == KEY

    @pytest.mark.parametrize("query", [
        f"secret={SECRET}&tags=a&tags=b", f"secret={SECRET}&", f"&secret={SECRET}&&tags=a&",
    ])
    def test_repeated_parameters_of_an_app_and_empty_ones_are_ignored(self, query):
        assert parse(with_(query)).key == KEY

    @pytest.mark.parametrize(("path", "issuer", "expected"), [
        ("Text%3A%20more:alice", "Text%3A%20more", ("Text: more", "alice")),
        ("Text%3Aalice", "Text", ("Text", "alice")),
        ("Text:alice:work", "Text", ("Text", "alice:work")),
        ("Text%3A%20more%3A%20alice", "Text:+more", ("Text: more", "alice")),
        ("Text%3Amore", "Text%3Amore", ("Text:more", "Text:more")),
        ("alice", "Text%3Amore", ("Text:more", "alice")),
    ])
    def test_the_parameter_shows_where_the_issuer_of_the_label_ends(self, path, issuer, expected):
        key_uri = parse(f"otpauth://totp/{path}?secret={SECRET}&issuer={issuer}")
        assert (key_uri.issuer, key_uri.label) == expected

    def test_a_label_is_read_in_normalization_form_c(self):
        assert parse(f"otpauth://totp/Zoe%CC%88?secret={SECRET}").label == "Zo\u00eb"

    def test_raw_characters_that_should_be_encoded(self):
        assert parse(f"otpauth://totp/My App/Zo\u00eb?secret={SECRET}").label == "My App/Zo\u00eb"


class TestRefused:
    @pytest.mark.parametrize(("query", "part"), [
        ("", "secret"),
        ("secret", "uri"),
        (f"issuer=Example&amp;secret={SECRET}", "secret"),
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
    ])
    def test_queries(self, query, part):
        assert refusal(with_(query)).part == part

    @pytest.mark.parametrize("name", ["digits", "period", "counter"])
    @pytest.mark.parametrize("number", [
        "", "-1", "+6", "6.0", "6_0", "%206", "6%20", "0x6", "\u0666", "%D9%A6", "\uff16", "\u00b2", "six", "9" * 21,
        "9" * 5000, "18446744073709551616", "0" * 20 + "7", "%4",
    ])
    def test_numbers(self, name, number):
        assert refusal(f"{PLAIN}&{name}={number}").part == name

    @pytest.mark.parametrize(("parameter", "part"), [
        ("digits=5", "digits"), ("digits=9", "digits"), ("digits=0", "digits"), ("period=0", "period"),
        ("algorithm=MD5", "algorithm"), ("algorithm=", "algorithm"), ("algorithm=SHA-1", "algorithm"),
        ("algorithm=%C5%BFHA1", "algorithm"),
    ])
    def test_ranges(self, parameter, part):
        assert refusal(f"{PLAIN}&{parameter}").part == part

    @pytest.mark.parametrize(("path", "part"), [
        ("", "label"), ("Example:", "label"), ("Example:a:b", "label"), ("Example:a%3Ab", "label"),
        ("a%0Ab", "label"), ("a%00", "label"), ("%ED%A0%80", "label"), ("a%E2%80%AEb", "label"),
        ("100%", "label"), ("a" * 257, "label"), ("Exam%0Aple:alice", "issuer"), ("Example%20:alice", "issuer"),
        ("alice%20", "label"), ("\ud800", "label"),
    ])
    def test_labels(self, path, part):
        assert refusal(f"otpauth://totp/{path}?secret={SECRET}").part == part

    @pytest.mark.parametrize(("uri", "part"), [
        ("", "uri"), ("otpauth", "uri"), ("otpauth:", "uri"), ("otpauth:/totp/a?secret=", "uri"),
        (f"https://totp/alice?secret={SECRET}", "uri"),
        (f" {PLAIN}", "uri"),
        (f"otpauth://totp/a#1?secret={SECRET}", "uri"),
        (f"{PLAIN}#{SECRET}", "uri"),
        (f"{PLAIN}&x={'x' * 8192}", "uri"),
        (f"otpauth://steam/alice?secret={SECRET}", "type"),
        (f"otpauth:///totp/alice?secret={SECRET}", "type"),
        (f"otpauth://{SECRET}@totp/alice?secret={SECRET}", "type"),
        (f"otpauth://totp:80/alice?secret={SECRET}", "type"),
    ])
    def test_targets(self, uri, part):
        assert refusal(uri).part == part

    def test_a_key_below_128_bits_unless_the_caller_says_so_by_name(self):
        sample = "otpauth://totp/Example:alice@example.com?secret=JBSWY3DPEHPK3PXP&issuer=Example"
        assert refusal(sample).part == "secret"
        assert parse(sample, unsafe_short_key=True).key == UnsafeShortKey(b"Hello!\xde\xad\xbe\xef")
        assert refusal(with_("secret="), unsafe_short_key=True).part == "secret"

    @pytest.mark.parametrize("uri", [None, PLAIN.encode(), 5])
    def test_a_uri_is_text(self, uri):
        with pytest.raises(InvalidType, match=r"^a key URI is text$") as caught:
            parse(uri)
        assert_silent(caught.value, SECRET)

    @pytest.mark.parametrize(("uri", "sentence"), [
        (f"{PLAIN}&x={'x' * 8192}", "a key URI has at most 8192 characters"),
        ("https://example.com", "a key URI begins with otpauth://"),
        (f"{PLAIN}#x", "a key URI has no fragment: '#' is written %23"),
        (f"otpauth://steam/a?secret={SECRET}", "the type of a key URI is totp or hotp"),
        (f"{PLAIN}&encoder=steam", "codes in another alphabet (Steam) are not those of RFC 4226"),
        (f"otpauth://hotp/a?secret={SECRET}", "a hotp key URI has a counter"),
        (f"{PLAIN}&lock", "a parameter of a key URI is written name=value"),
        (f"{PLAIN}&issuer=Example", "a key URI names each parameter once"),
        (f"otpauth://totp/A:a?secret={SECRET}&issuer=B", "the issuer before the label and the parameter differ"),
        (f"otpauth://totp/a:b:c?secret={SECRET}", "the label has two colons and no issuer parameter"),
        (with_("secret=GEZDGNBV"), "a key has 16 to 1024 bytes (RFC4226-4-R6)"),
        (with_("secret=1"), "this is no Base32 (A-Z, 2-7)"),
        (f"{PLAIN}&digits=9", "digits is 6, 7 or 8 (RFC4226-5.3-DIGITS)"),
        (f"{PLAIN}&period=0", "period is at least 1 second; period and t0 have at most 64 bits"),
        (f"{PLAIN}&period=-1", "period is a whole number in ASCII digits, below 2**64"),
        (f"{PLAIN}&x%4=1", "a percent sign is followed by two hexadecimal digits of UTF-8"),
    ])
    def test_what_the_refusals_say(self, uri, sentence):
        assert str(refusal(uri)) == sentence

    def test_the_error_is_an_invalid_value_with_a_reason(self):
        error = refusal("")
        assert isinstance(error, InvalidValue)
        assert (error.reason, str(error)) == ("key URI", "a key URI begins with otpauth://")


class TestTheValue:
    def test_it_is_frozen(self):
        with pytest.raises(FrozenInstanceError):
            parse(PLAIN).label = "bob"

    def test_it_gives_nothing_away(self):
        said = parse(PLAIN)
        for text in (repr(said), str(said), f"{said}"):
            assert SECRET not in text
            assert "1234567890" not in text
            assert "key=<Key>" in text
        with pytest.raises(InvalidType):
            pickle.dumps(said)
        with pytest.raises(InvalidType):
            asdict(said)
        assert copy(said) == said  # a shallow copy shares the opaque key


def _is_label(text: str) -> bool:
    try:
        check_label("label", text)
    except InvalidValue:
        return False
    return True


LABELS = (
    st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"], exclude_characters=":"), max_size=60)
    .map(lambda text: normalize("NFC", text).strip())
    .filter(_is_label)
)


class TestProperties:
    @given(
        issuer=LABELS, label=LABELS, raw=st.binary(min_size=16, max_size=64),
        algorithm=st.sampled_from(["sha1", "sha256", "sha512"]), digits=st.integers(6, 8),
        period=st.integers(1, 2**64 - 1),
    )
    @example("A+", "a+b", b"0" * 16, "sha1", 6, 30)
    @example("100% \u00c5", "%3A", b"0" * 16, "sha1", 6, 30)
    def test_what_is_written_is_read_back(self, issuer, label, raw, algorithm, digits, period):
        parameters = Parameters(algorithm=algorithm, digits=digits, period=period)
        said = parse(build(issuer=issuer, label=label, key=Key(raw), parameters=parameters))
        assert (said.issuer, said.label, reveal(said.key), said.parameters) == (issuer, label, raw, parameters)

    @given(st.text())
    def test_any_text_is_read_or_refused_by_name(self, text):
        _accepted_or_refused(text)

    @given(st.lists(st.sampled_from([
        "otpauth://", "totp/", "hotp/", "?", "&", "=", ":", "%", "%3A", "%2", "+", "#", "secret=", SECRET, "issuer=",
        "digits=", "period=", "counter=", "algorithm=", "SHA1", "6", "30", "\u0666", "\ud800", "\0", "%FF", "a", " ",
    ]), max_size=20).map("".join))
    def test_shuffled_parts_of_uris(self, text):
        _accepted_or_refused(text)
        _accepted_or_refused(f"otpauth://totp/a?secret={SECRET}&{text}")

    @given(position=st.integers(0, len(PLAIN)), put=st.characters(), cut=st.integers(0, 3))
    def test_near_misses(self, position, put, cut):
        _accepted_or_refused(PLAIN[:position] + put + PLAIN[position + cut :])


def _accepted_or_refused(text: str) -> None:
    try:
        said = parse(text)
    except KeyUriError as error:
        assert_silent(error, SECRET)
    else:
        again = build(issuer=said.issuer or "x", label=said.label, key=said.key, parameters=said.parameters)
        assert parse(again).label == said.label
        assert len(base32(said.key)) >= 26
