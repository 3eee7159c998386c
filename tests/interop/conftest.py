"""The programs, found once."""

from __future__ import annotations

import pytest

from programs import needed


@pytest.fixture(scope="session")
def oathtool() -> str:
    return needed("oathtool", "oathtool")


@pytest.fixture(scope="session")
def google_authenticator() -> str:
    return needed("google-authenticator", "libpam-google-authenticator")
