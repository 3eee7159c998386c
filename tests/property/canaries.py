"""Search for secrets: canary keys and codes in values, files, errors and the frames of tracebacks.

Codes have eight digits in these tests, so that a match is never an accident.
"""

from __future__ import annotations

import pickle
import re
from base64 import b32encode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType, TracebackType

ENCODINGS: tuple[tuple[Callable[[bytes], bytes], int], ...] = (  # and bits a letter
    (b32encode, 5),
    (b64encode, 6),
    (urlsafe_b64encode, 6),
)


def spellings(secret: bytes) -> Iterator[bytes]:
    """Yield *secret* raw, escaped, and in each usual text form, at any offset of a value."""
    yield secret
    forms = {repr(secret)[2:-1].replace("\\'", "'")}
    for _ in range(2):  # a text that quotes it is quoted again, with either kind of quotes
        forms |= {form.replace(quote, "\\" + quote) for form in forms for quote in "'\""}
        yield from (form.encode() for form in forms)
        forms = {form.replace("\\", "\\\\") for form in forms}
        forms |= {form.replace(quote, "\\" + quote) for form in forms for quote in "'\""}
    yield from (form.encode() for form in forms)
    yield repr(list(secret))[1:-1].encode()
    yield secret.hex().encode()
    for encode, bits in ENCODINGS:
        for shift in range(5 if bits == 5 else 3):
            begin, end = -(-8 * shift // bits), 8 * (shift + len(secret)) // bits
            yield encode(bytes(shift) + secret)[begin:end]


class Canaries:
    """Secrets by name, and the search for them."""

    def __init__(self) -> None:
        self._spellings: dict[bytes, str] = {}

    def add_exact(self, name: str, *values: bytes) -> None:
        """Look for *values* in this one spelling, and as ``repr`` escapes it."""
        for secret in values:
            self._spellings |= {
                form.lower(): name for form in (secret, repr(secret)[2:-1].encode())
            }

    def add_bytes(self, name: str, *values: bytes) -> None:
        for secret in values:
            self._spellings |= {spelling.lower(): name for spelling in spellings(secret)}

    def add_text(self, name: str, *values: str) -> None:
        for secret in values:
            half = len(secret) // 2
            groups = secret[:half], secret[half:]
            for written in (secret, " ".join(groups), "-".join(groups)):
                self._spellings[written.lower().encode()] = name
            self.add_bytes(name, secret.encode())

    def found_in(self, *values: object) -> set[str]:
        """Return the names of the secrets that occur in *values*."""
        texts = {
            value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
            for value in values
        }
        raw = b"\n".join(texts).lower()
        return {
            name
            for spelling, name in self._spellings.items()
            if spelling in raw
            and not (spelling.isdigit() and only_in_longer_numbers(spelling, raw))
        }


def only_in_longer_numbers(digits: bytes, raw: bytes) -> bool:
    """Return whether *digits* occurs only inside a serial number, a tag or a time."""
    return re.search(rb"(?<![0-9a-f])" + digits + rb"(?![0-9a-f])", raw) is None


def recorded(value: object, depth: int = 4) -> Iterator[object]:
    """Yield what an error tracker records of a local: its text and what a container holds."""
    with suppress(Exception):  # a value that is not yet built may have no text
        yield from (repr(value), str(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        yield bytes(value)
    elif depth and isinstance(value, dict):
        for name, content in value.items():
            yield from recorded(name, depth - 1)
            yield from recorded(content, depth - 1)
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        for content in value:
            yield from recorded(content, depth - 1)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield *error*, its causes and its contexts."""
    waiting, seen = [error], list[BaseException]()
    while waiting:
        error = waiting.pop()
        if error is not None and not any(error is earlier for earlier in seen):
            seen.append(error)
            waiting += (error.__cause__, error.__context__)
            yield error


def frames(trace: TracebackType | None) -> Iterator[FrameType]:
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def of_the_library(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "vmfa"


def disclosed_by(error: BaseException) -> Iterator[object]:
    """Yield what *error*, its chain and the library's frames in the tracebacks disclose."""
    for link in chain(error):
        yield from recorded((link.args, vars(link), getattr(link, "__notes__", ())))
        yield from (str(link), repr(link), getattr(link, "claimant_message", ""))
        with suppress(Exception):
            yield pickle.dumps(link)
        for frame in filter(of_the_library, frames(link.__traceback__)):
            yield from recorded(dict(frame.f_locals))
