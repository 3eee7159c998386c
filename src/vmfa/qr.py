"""QR codes of key URIs, as SVG, PNG or terminal text (extra ``qr``).

What is drawn is the key: send it to the claimant over TLS, once, and keep no copy.
"""

from __future__ import annotations

from io import BytesIO
from typing import Final

from .errors import InvalidType, InvalidValue, MissingExtra, VmfaError
from .otp import check_int

try:
    import segno
except ImportError:
    raise MissingExtra("QR codes need the extra qr: pip install 'vmfa[qr]'") from None

QUIET: Final = 4  # modules of white around the symbol, as ISO/IEC 18004 asks
_INK: Final = "\x1b[30;107m"  # black on bright white, whatever the theme: readers want dark on light
_PLAIN: Final = "\x1b[0m"
_HALVES: Final = {(False, False): " ", (True, False): "\u2580", (False, True): "\u2584", (True, True): "\u2588"}


def svg(uri: str, *, scale: int = 6) -> str:
    """An ``<svg>`` element, for a page or a file of its own, black on white, *scale* pixels a module."""
    symbol = _drawn(uri)
    del uri  # error trackers record the locals of a raising frame
    return _file(symbol, "svg", scale, xmldecl=False, nl=False).decode()


def png(uri: str, *, scale: int = 6) -> bytes:
    """A PNG file, black on white, *scale* pixels a module."""
    symbol = _drawn(uri)
    del uri
    return _file(symbol, "png", scale)


def terminal(uri: str) -> str:
    """Lines for a terminal with ANSI colours and Unicode: two modules a character, one above the other."""
    symbol = _drawn(uri)
    del uri
    rows = [[bool(module) for module in row] for row in _sound(symbol).matrix_iter(border=QUIET)]
    rows.append([False] * len(rows[0]))  # a symbol has an odd number of rows
    lines = [
        "".join(_HALVES[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]
    return "".join(f"{_INK}{line}{_PLAIN}\n" for line in lines)


def _drawn(uri: str) -> segno.QRCode | VmfaError:
    """The symbol, with as much error correction as its size has room for; or what is wrong, for :func:`_sound`."""
    if not isinstance(uri, str):
        return InvalidType("a key URI is text")
    if not uri.isascii():
        return InvalidValue("a key URI is ASCII: other characters are percent-encoded")
    try:
        return segno.make_qr(uri, error="l", boost_error=True)
    except segno.DataOverflowError:
        return InvalidValue("this key URI is too long for a QR code: shorten the label")


def _sound(symbol: segno.QRCode | VmfaError) -> segno.QRCode:
    if isinstance(symbol, VmfaError):
        raise symbol
    return symbol


def _file(symbol: segno.QRCode | VmfaError, kind: str, scale: int, **options: bool) -> bytes:
    check_int("scale", scale, 1, 100)
    out = BytesIO()
    _sound(symbol).save(out, kind=kind, scale=scale, border=QUIET, dark="#000", light="#fff", **options)
    return out.getvalue()
