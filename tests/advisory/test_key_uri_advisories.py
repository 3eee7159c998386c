"""Invalid key URIs that pyotp's ``parse_uri`` accepted."""

from __future__ import annotations

import pytest

from vmfa.keyuri import KeyUriError, parse

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        (f"otpauth://totp/a?secret={SECRET}&period=0", "period"),
        (f"otpauth://totp/a?secret={SECRET}&period=-30", "period"),
        (f"otpauth://hotp/a?secret={SECRET}&counter=-1", "counter"),
        (f"otpauth://totp/a?secret={'A' * 32}&secret={SECRET}", "secret"),
        (f"otpauth://totp/a?secret={SECRET}&digits=\u0666", "digits"),
        (f"otpauth://totp/a?secret={SECRET}&digits=%D9%A6", "digits"),
    ],
    ids=[
        "period 0",
        "period -30",
        "counter -1",
        "two secrets",
        "Arabic digit",
        "Arabic digit, encoded",
    ],
)
def test_pyotp_parse_uri_invalid_fields_are_refused_by_name(uri: str, part: str) -> None:
    with pytest.raises(KeyUriError) as caught:
        parse(uri)
    assert caught.value.part == part
