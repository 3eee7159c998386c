"""For the tests of a project: let vmfa run inside the transaction of Django's ``TestCase``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core import mail

from ...errors import InvalidValue
from .store import TestMode


@contextmanager
def unsafe_test_mode() -> Iterator[None]:
    """Let the store run inside a transaction of the caller, as in Django's ``TestCase``.

    The rollback at the end of a test takes back what vmfa stored, which is what a test wants and
    what a service must never do. Use it as a context manager or as a decorator::

        @unsafe_test_mode()
        def test_sign_in(self): ...

    ``TransactionTestCase`` does not need it.

    :raises InvalidValue: no test is running: Django's test environment is not set up.
    """
    if not hasattr(mail, "outbox"):  # setup_test_environment() creates it
        raise InvalidValue(
            "unsafe_test_mode() works only in tests: a rollback would make used codes valid again"
        )
    TestMode.depth += 1
    try:
        yield
    finally:
        TestMode.depth -= 1
