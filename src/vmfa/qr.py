"""QR codes of key URIs, as SVG, PNG or terminal text (extra ``qr``).

What is drawn is the key: send it to the claimant over TLS, once, and keep no copy.
"""

from __future__ import annotations

from io import BytesIO
from typing import Final

from .errors import InvalidType, InvalidValue, MissingExtra

try:
    import segno
except ImportError:
    raise MissingExtra("QR codes need the extra qr: pip install 'vmfa[qr]'") from None

QUIET: Final = 4  # modules of white around the symbol, as ISO/IEC 18004 asks
_INK: Final = "\x1b[30;107m"  # black on bright white, whatever the theme: readers want dark on light
_PLAIN: Final = "\x1b[0m"
_HALVES: Final = {(False, False): " ", (True, False): "\u2580", (False, True): "\u2584", (True, True): "\u2588"}


def svg(uri: str, *, scale: int = 6) -> str:
    """An ``<svg>`` element for a page, black on white, *scale* pixels a module."""
    return _drawn(uri).svg_inline(scale=scale, border=QUIET, dark="#000", light="#fff")


def png(uri: str, *, scale: int = 6) -> bytes:
    """A PNG file, black on white, *scale* pixels a module."""
    out = BytesIO()
    _drawn(uri).save(out, kind="png", scale=scale, border=QUIET, dark="#000", light="#fff")
    return out.getvalue()


def terminal(uri: str) -> str:
    """Lines for a terminal with ANSI colours and Unicode: two modules a character, one above the other."""
    rows = [[bool(module) for module in row] for row in _drawn(uri).matrix_iter(border=QUIET)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    lines = [
        "".join(_HALVES[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]
    return "".join(f"{_INK}{line}{_PLAIN}\n" for line in lines)


def _drawn(uri: str) -> segno.QRCode:
    """The symbol, with as much error correction as its size has room for."""
    problem: InvalidType | InvalidValue
    if not isinstance(uri, str):
        problem = InvalidType("a key URI is text")
    elif not uri.isascii():
        problem = InvalidValue("a key URI is ASCII: other characters are percent-encoded")
    else:
        try:
            return segno.make_qr(uri, error="l", boost_error=True)
        except segno.DataOverflowError:
            problem = InvalidValue("this key URI is too long for a QR code: shorten the label")
    del uri  # error trackers record the locals of a raising frame
    raise problem
