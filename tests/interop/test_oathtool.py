"""oathtool of the OATH Toolkit as the phone, with every algorithm and number of digits."""

from __future__ import annotations

import pytest

from programs import oathtool_codes, output
from vmfa import (
    Actor,
    AlreadyUsed,
    DerivedKeys,
    DeviceRegistry,
    Key,
    PairRejected,
    Parameters,
    Policy,
    hotp,
    totp,
)
from vmfa.keyuri import parse

OFFERS = [
    Parameters(algorithm=algorithm, digits=digits, period=period)
    for algorithm in ("sha1", "sha256", "sha512")
    for digits in (6, 7, 8)
    for period in (30, 60)
]


@pytest.mark.parametrize(
    "parameters", OFFERS, ids=lambda offer: f"{offer.algorithm}-{offer.digits}-{offer.period}"
)
def test_a_device_is_enrolled_verified_and_resynchronized(
    oathtool, parameters, store, clock, alice, owner
):
    registry = DeviceRegistry(
        store,
        keys=DerivedKeys(bytes(range(32))),
        issuer="Example",
        clock=clock,
        policy=Policy(offers=(parameters,)),
    )
    opened = registry.open_enrollment(alice, by=owner, label="alice@example.com")
    assert parse(opened.uri).parameters == parameters

    def show(steps: int = 0) -> str:
        at = clock() + steps * parameters.period
        return oathtool_codes(oathtool, opened.base32, at, parameters)[0]

    registry.confirm_enrollment(
        alice, session=opened.session_id, by=owner, code1=show(-1), code2=show()
    )
    clock.advance(parameters.period)
    code = show()
    assert registry.verify(alice, code).step == clock() // parameters.period
    with pytest.raises(AlreadyUsed):
        registry.verify(alice, code)
    assert registry.resync(alice, by=owner, code1=show(5), code2=show(6)).steps_off == 6
    clock.advance(parameters.period)
    assert registry.verify(alice, show(6)).drift == 6


@pytest.mark.parametrize("at", [59, 1111111109, 1234567890, 2000000000, 2**31, 2**32, 20000000000])
@pytest.mark.parametrize(
    "parameters", OFFERS[::2], ids=lambda offer: f"{offer.algorithm}-{offer.digits}"
)
def test_codes_at_many_times(oathtool, parameters, at):
    base32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    key = Key.from_base32(base32)
    expected = [
        totp(key, at + step * 30, digits=parameters.digits, algorithm=parameters.algorithm)
        for step in range(20)
    ]
    assert oathtool_codes(oathtool, base32, at, parameters, more=19) == expected


@pytest.mark.parametrize("digits", [6, 7, 8])
@pytest.mark.parametrize("counter", [0, 1, 2**31, 2**32 - 1, 2**63 - 30])
def test_hotp_codes(oathtool, digits, counter):
    key = bytes(range(20))
    theirs = output(
        oathtool,
        "--hotp",
        f"--digits={digits}",
        f"--counter={counter}",
        "--window=9",
        "-",
        given=key.hex(),
    ).split()
    assert theirs == [hotp(key, counter + ahead, digits=digits) for ahead in range(10)]


def test_two_codes_of_the_wrong_phone(oathtool, registry, clock, alice):
    """Codes of another key assign no device."""
    owner = Actor.signed_in(alice)
    opened = registry.open_enrollment(alice, by=owner, label="alice@example.com")
    other = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    first, second = (
        oathtool_codes(oathtool, other, clock() + off, Parameters())[0] for off in (-30, 0)
    )
    with pytest.raises(PairRejected):
        registry.confirm_enrollment(
            alice, session=opened.session_id, by=owner, code1=first, code2=second
        )
