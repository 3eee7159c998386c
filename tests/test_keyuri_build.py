"""Key URIs as they are written: the profile that every authenticator app understands."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from vmfa import InvalidType, InvalidValue, Key, Parameters
from vmfa.keyuri import build, check_label

KEY = Key(b"12345678901234567890")
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


def uri(issuer="Example", label="alice@example.com", **shape):
    return build(issuer=issuer, label=label, key=KEY, parameters=Parameters(**shape))


def test_the_usual_one():
    assert uri() == f"otpauth://totp/Example:alice@example.com?secret={SECRET}&issuer=Example"


def test_issuer_is_prefix_and_parameter_and_blanks_are_percent_20():
    assert uri("Big Corp", "alice smith") == (
        f"otpauth://totp/Big%20Corp:alice%20smith?secret={SECRET}&issuer=Big%20Corp"
    )


@pytest.mark.parametrize(("shape", "added"), [
    ({"algorithm": "sha256"}, "&algorithm=SHA256"),
    ({"algorithm": "sha512"}, "&algorithm=SHA512"),
    ({"digits": 7}, "&digits=7"),
    ({"digits": 8}, "&digits=8"),
    ({"period": 60}, "&period=60"),
    ({"algorithm": "sha256", "digits": 8, "period": 1}, "&algorithm=SHA256&digits=8&period=1"),
    ({"algorithm": "sha1", "digits": 6, "period": 30}, ""),
])
def test_only_what_is_not_the_default_is_written(shape, added):
    assert uri(**shape) == uri() + added


@pytest.mark.parametrize("name", [
    "a&secret=AAAA", "a?b", "a#b", "a/b", "../..", "100%", "%3A", "a+b", "Zo\u00eb", "\u65e5\u672c", "a=b", "a;b",
    "\U0001f511",
])
def test_names_cannot_break_out(name):
    split = urlsplit(uri(name, name))
    assert unquote(split.path) == f"/{name}:{name}"
    assert split.path.count(":") == 1
    assert parse_qsl(split.query, strict_parsing=True) == [("secret", SECRET), ("issuer", name)]
    assert not split.fragment


def test_the_secret_is_unpadded():
    assert "secret=GEZDGNBVGY3TQOJQGEZDGNBVGY&" in build(
        issuer="E", label="a", key=Key(b"1234567890123456"), parameters=Parameters()
    )


class TestLabels:
    @pytest.mark.parametrize("label", ["a", "alice@example.com", "x" * 256, "\uff1a"])
    def test_labels(self, label):
        check_label("label", label)

    @pytest.mark.parametrize(("label", "sentence"), [
        ("a:b", "label holds a colon"), ("", "label is empty"), (" a", "blanks"), ("a\nb", "control"),
        ("x" * 257, "longer than 256 bytes"),
    ])
    def test_no_label(self, label, sentence):
        with pytest.raises(InvalidValue, match=sentence):
            check_label("label", label)

    def test_a_label_is_text(self):
        with pytest.raises(InvalidType, match="issuer is text"):
            check_label("issuer", None)
