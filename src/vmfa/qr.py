"""Draw the QR code of a key URI as SVG, PNG or terminal text. Needs the extra ``qr``.

A QR code contains the key. Send it to the user over TLS, once, and keep no copy.
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

BORDER: Final = 4  # white modules around the symbol, as ISO/IEC 18004 requires
_BLACK_ON_WHITE: Final = "\x1b[30;107m"  # in any theme, because scanners expect it
_RESET: Final = "\x1b[0m"
_BLOCKS: Final = {  # by the colors of the upper and the lower module
    (False, False): " ", (True, False): "\u2580", (False, True): "\u2584", (True, True): "\u2588",
}


def svg(uri: str, *, scale: int = 6) -> str:
    """Return an ``<svg>`` element, for a page or for a file of its own.

    It has a size and a ``viewBox``: ``svg { max-width: 100%; height: auto }`` shrinks it.

    :param uri: the key URI.
    :param scale: the width of a module in pixels, 1 to 100.
    :raises InvalidValue: the URI is too long or not ASCII, or the scale is out of bounds.
    """
    symbol = _symbol(uri)
    del uri  # error trackers record the locals of a raising frame
    # With a unit, the file has a viewBox, so that a style sheet can shrink the picture.
    return _file(symbol, "svg", scale, xmldecl=False, nl=False, unit="px").decode()


def png(uri: str, *, scale: int = 6) -> bytes:
    """Return a PNG file.

    :param uri: the key URI.
    :param scale: the width of a module in pixels, 1 to 100.
    :raises InvalidValue: the URI is too long or not ASCII, or the scale is out of bounds.
    """
    symbol = _symbol(uri)
    del uri
    return _file(symbol, "png", scale)


def terminal(uri: str) -> str:
    """Return lines for a terminal with ANSI colors and Unicode. A character shows two modules.

    :param uri: the key URI.
    :raises InvalidValue: the URI is too long or not ASCII.
    """
    symbol = _symbol(uri)
    del uri
    rows = [
        [bool(module) for module in row] for row in _valid(symbol).matrix_iter(border=BORDER)
    ]
    rows.append([False] * len(rows[0]))  # the number of rows is odd
    lines = [
        "".join(_BLOCKS[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]
    return "".join(f"{_BLACK_ON_WHITE}{line}{_RESET}\n" for line in lines)


def _symbol(uri: str) -> segno.QRCode | VmfaError:
    """Return the QR code, with the best error correction for its size, or what is wrong.

    The error is returned and not raised, so that no frame with the URI is in its traceback.
    """
    if not isinstance(uri, str):
        return InvalidType("a key URI must be a str")
    if not uri.isascii():
        return InvalidValue("a key URI must be ASCII: percent-encode other characters")
    try:
        return segno.make_qr(uri, error="l", boost_error=True)
    except segno.DataOverflowError:
        return InvalidValue("the key URI is too long for a QR code: shorten the label")


def _valid(symbol: segno.QRCode | VmfaError) -> segno.QRCode:
    if isinstance(symbol, VmfaError):
        raise symbol
    return symbol


def _file(symbol: segno.QRCode | VmfaError, kind: str, scale: int, **options: bool | str) -> bytes:
    check_int("scale", scale, 1, 100)
    out = BytesIO()
    _valid(symbol).save(
        out, kind=kind, scale=scale, border=BORDER, dark="#000", light="#fff", **options
    )
    return out.getvalue()
