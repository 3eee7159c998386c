"""Check that an error has no secret in its text, its chain, or the locals of vmfa's frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import vmfa

HOME = str(Path(vmfa.__file__).parent)


def assert_silent(error: BaseException, *secrets: str | bytes) -> None:
    """Assert that an error tracker would record none of the *secrets* with *error*."""
    needles = [secret if isinstance(secret, str) else repr(secret)[2:-1] for secret in secrets]
    for where, text in recorded(error):
        for needle in needles:
            assert needle not in text, f"a secret is in {where}"


def recorded(error: BaseException | None) -> Iterator[tuple[str, str]]:
    """Yield the texts of *error* and of its chain, and the locals of vmfa's frames.

    Each text comes with the place where it was.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield "the error", f"{error!s} {error!r} {error.args!r} {vars(error)!r}"
        trace = error.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            if code.co_filename.startswith(HOME):
                for name, value in trace.tb_frame.f_locals.items():
                    yield f"{name} of {code.co_qualname}", repr(value)
            trace = trace.tb_next
        error = error.__cause__ or error.__context__
