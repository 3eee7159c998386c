"""The programs, found once."""

from __future__ import annotations

import pytest

from programs import require_program


@pytest.fixture(scope="session")
def oathtool() -> str:
    return require_program("oathtool", "oathtool")


@pytest.fixture(scope="session")
def google_authenticator() -> str:
    return require_program("google-authenticator", "libpam-google-authenticator")
