"""OTP tokens of FreeIPA, as ldapsearch writes them."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from batches import reasons, statuses, user
from leaks import assert_silent
from support import phone_with
from vmfa import AlreadyUsed, Key, Parameters, UnsafeShortKey
from vmfa.importers.base import ImportedDevice, Rejected, UnreadableSource
from vmfa.importers.freeipa import NOT_LDIF, read
from vmfa.importers.reading import HOTP

KEY = bytes(range(200, 220))
BASE64 = b64encode(KEY).decode()
FIELDS = {
    "objectClass": ("top", "ipatoken", "ipatokentotp"),
    "ipatokenUniqueID": ("a93db710-a31a-4639-8647-f15b2c70b78a",),
    "ipatokenOwner": ("uid=alice,cn=users,cn=accounts,dc=example,dc=com",),
    "ipatokenOTPkey:": (BASE64,),
    "ipatokenOTPalgorithm": ("sha1",),
    "ipatokenOTPdigits": ("6",),
    "ipatokenTOTPtimeStep": ("30",),
    "ipatokenTOTPclockOffset": ("0",),
}


def entry(**changes: str | tuple[str, ...]) -> str:
    named = {name.replace("__", ":"): value for name, value in changes.items()}
    lines = ["dn: ipatokenuniqueid=a93db710,cn=otp,dc=example,dc=com"]
    for name, values in {**FIELDS, **named}.items():
        lines += [f"{name}: {v}" for v in ((values,) if isinstance(values, str) else values)]
    return "\n".join(lines) + "\n\n"


def item_of(**changes: str | tuple[str, ...]):
    (item,) = read(entry(**changes))
    return item


def test_every_field():
    item = item_of(ipatokenTOTPwatermark="56666668")
    assert (item.owner, item.key, item.parameters) == ("alice", Key(KEY), Parameters())
    assert (item.last_step, item.drift) == (56666667, 0)
    assert item.where == "token a93db710-a31a-4639-8647-f15b2c70b78a"
    assert item.system == f"freeipa: {item.where}"
    item = item_of(
        ipatokenOTPalgorithm="SHA256", ipatokenOTPdigits="8", ipatokenTOTPtimeStep="60",
        ipatokenTOTPclockOffset="-130",
    )
    assert item.parameters == Parameters(algorithm="sha256", digits=8, period=60)
    assert (item.last_step, item.drift) == (None, -2)
    item = item_of(
        ipatokenOTPalgorithm=(), ipatokenOTPdigits=(), ipatokenTOTPtimeStep=(),
        ipatokenTOTPclockOffset=(),
    )
    assert (item.parameters, item.drift) == (Parameters(), 0)


def test_the_forms_of_ldif():
    folded = entry().replace(BASE64, f"{BASE64[:5]}\n {BASE64[5:]}")
    expected = list(read(entry()))
    for text in (
        folded, folded.replace("\n", "\r\n"), entry().rstrip("\n"), f"version: 1\n\n{entry()}",
        f"# extended LDIF\n#\n# base <cn=otp> with\n  scope\n\n{entry()}# search result\n",
        entry().replace("ipatokenOTPdigits", "IPATOKENOTPDIGITS"),
        entry(objectClass=("top",)) + entry(),
    ):
        assert list(read(text)) == expected
    (item,) = read(entry(ipatokenOTPkey__=(), ipatokenOTPkey="x" * 20))
    assert item.key == Key(b"x" * 20)


def test_a_used_code_is_refused_and_the_next_one_verifies(run_import, registry, clock):
    item = item_of(ipatokenTOTPwatermark=str(clock() // 30 + 1))
    assert statuses(run_import([item])) == ["adopted"]
    phone = phone_with(Key(KEY), clock)
    with pytest.raises(AlreadyUsed):
        registry.verify(user("alice"), phone.code())
    clock.advance(30)
    assert registry.verify(user("alice"), phone.code())


@pytest.mark.parametrize(("changes", "reason"), [
    ({"objectClass": ("top", "ipatokenHOTP")}, HOTP),
    ({"ipatokenOwner": ()}, "ipatokenOwner must be uid=NAME"),
    ({"ipatokenOwner": "cn=alice,dc=example"}, "ipatokenOwner must be uid=NAME"),
    ({"ipatokenOwner": "uid=a\\,b,cn=users,cn=accounts,dc=x"}, "ipatokenOwner must be uid=NAME"),
    ({"ipatokenOwner": ("uid=a,cn=users,cn=accounts,dc=x",) * 2}, "ipatokenOwner must be"),
    ({"ipatokenDisabled": "TRUE"}, "the token is disabled"),
    ({"ipatokenNotAfter": "20301231000000Z"}, "ipatokennotafter is set"),
    ({"ipatokenNotBefore": "20301231000000Z"}, "ipatokennotbefore is set"),
    ({"ipatokenOTPkey__": ()}, "ipatokenOTPkey is missing, twice, or not Base64"),
    ({"ipatokenOTPkey__": "!"}, "ipatokenOTPkey is missing, twice, or not Base64"),
    ({"ipatokenOTPkey__": (BASE64, BASE64)}, "ipatokenOTPkey is missing, twice, or not Base64"),
    ({"ipatokenOTPkey__": (), "ipatokenOTPkey": "\udc80" * 20}, "is missing, twice"),
    ({"ipatokenOTPkey__": "AAAA"}, "a key must have"),
    ({"ipatokenOTPalgorithm": "sha384"}, "algorithm"),
    ({"ipatokenOTPdigits": "x"}, "ipatokenOTPdigits must be a whole number"),
    ({"ipatokenTOTPtimeStep": ("30", "60")}, "ipatokenTOTPtimeStep must be a whole number"),
    ({"ipatokenTOTPtimeStep": "0"}, "period"),
])
def test_a_token_is_rejected_with_its_reason(changes, reason):
    item = item_of(**changes)
    assert isinstance(item, Rejected)
    assert reason in item.reason


def test_a_token_that_is_not_disabled():
    assert isinstance(item_of(ipatokenDisabled="FALSE"), ImportedDevice)


@pytest.mark.parametrize("text", [
    f"{BASE64}\n", f" {BASE64}\n", f"a:< file:///etc/{BASE64}\n", f"dn: a\nx{BASE64}",
    f"a: {BASE64}\n" * 50_000,
])
def test_a_source_that_is_not_ldif(text):
    with pytest.raises(UnreadableSource, match=f"^{NOT_LDIF}$") as caught:
        list(read(text))
    assert_silent(caught.value, BASE64)


def test_short_keys_only_if_allowed():
    text = entry(ipatokenOTPkey__="AAAA")
    assert list(reasons(read(text))) == ["alice"]
    assert [type(item.key) for item in read(text, unsafe_short_keys=True)] == [UnsafeShortKey]


@given(st.text() | st.text(st.sampled_from("dn:\n ipatokentotp=objectClass,<#")))
def test_any_text_gives_items_or_is_unreadable(text):
    with suppress(UnreadableSource):
        assert all(isinstance(i, (ImportedDevice, Rejected)) for i in read(text))
