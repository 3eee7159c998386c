"""QR codes: an independent reader reads each picture, and it contains exactly the URI."""

from __future__ import annotations

import io
import re
import sys
from importlib import import_module

import pytest
import zxingcpp
from PIL import Image, ImageDraw

from leaks import assert_silent
from vmfa import InvalidType, InvalidValue, Key, MissingExtra, Parameters, VmfaError, qr
from vmfa.keyuri import build

LONG = "Zo\u00eb " * 51  # 255 bytes, three times as many when they are percent-encoded
URIS = {
    "usual": build(
        issuer="Example", label="alice@example.com", key=Key(bytes(20)), parameters=Parameters()
    ),
    "long names": build(
        issuer="Federal Department of Authenticators" * 3,
        label=f"{'alice.' * 30}@mail.example.com",
        key=Key(bytes(20)),
        parameters=Parameters(),
    ),
    "the longest there is": build(
        issuer="\u65e5" * 85,
        label="\u672c" * 85,
        key=Key(bytes(64)),
        parameters=Parameters(algorithm="sha512", digits=8, period=60),
    ),
    "accents": build(
        issuer="Big Corp",
        label=LONG.strip(),
        key=Key(b"\xff" * 32),
        parameters=Parameters(digits=8),
    ),
    "upper case": "OTPAUTH://TOTP/ALICE?SECRET=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
}


def read(image: Image.Image) -> str:
    (barcode,) = zxingcpp.read_barcodes(image, formats=zxingcpp.BarcodeFormat.QRCode)
    return barcode.text


def rasterized_terminal(
    text: str, paper: str, ink: str, cell: tuple[int, int] = (6, 12)
) -> Image.Image:
    """Return what a terminal with this theme shows: the colors and the four block characters."""
    lines = text.splitlines()
    width = max(len(re.sub(r"\x1b\[[\d;]*m", "", line)) for line in lines)
    image = Image.new("RGB", ((width + 4) * cell[0], (len(lines) + 4) * cell[1]), paper)
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines, 2):
        column, front, back = 2, ink, paper
        for escape, character in re.findall(r"\x1b\[([\d;]*)m|(.)", line):
            if not character:
                for code in escape.split(";"):
                    front, back = {
                        "0": (ink, paper),
                        "30": ("black", back),
                        "107": (front, "white"),
                    }[code]
                continue
            left, top, right, bottom = (
                column * cell[0],
                row * cell[1],
                (column + 1) * cell[0],
                (row + 1) * cell[1],
            )
            middle = (top + bottom) // 2
            draw.rectangle((left, top, right - 1, bottom - 1), back)
            inked = {
                " ": None,
                "\u2588": (top, bottom),
                "\u2580": (top, middle),
                "\u2584": (middle, bottom),
            }[character]
            if inked:
                draw.rectangle((left, inked[0], right - 1, inked[1] - 1), front)
            column += 1
    return image


def rasterized_svg(text: str) -> Image.Image:
    """Draw the paths of the file: a filled rectangle and horizontal strokes one unit wide."""
    (size,) = set(map(int, re.findall(r'<svg[^>]*? (?:width|height)="(\d+)px"', text)))
    (scale,) = re.findall(r"scale\((\d+)\)", text) or ["1"]
    ((fill, ground),) = re.findall(r'<path fill="(#\w+)" d="M0 0h(\d+)v\2h-\2z"/>', text)
    ((stroke, strokes),) = re.findall(r'stroke="(#\w+)" d="([^"]*)"', text)
    unit = int(scale)
    image = Image.new("RGB", (size, size), "gray")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, int(ground) * unit - 1, int(ground) * unit - 1), fill)
    x = y = 0.0
    for command, numbers in re.findall(r"([Mmh])([-\d. ]+)", strokes):
        first, *rest = map(float, numbers.split())
        if command == "h":
            draw.rectangle(
                (x * unit, (y - 0.5) * unit, (x + first) * unit - 1, (y + 0.5) * unit - 1), stroke
            )
            x += first
        else:
            x, y = (first, rest[0]) if command == "M" else (x + first, y + rest[0])
    return image


@pytest.mark.parametrize("uri", URIS.values(), ids=URIS)
class TestReadBack:
    @pytest.mark.parametrize(
        "theme", [("black", "white"), ("white", "black"), ("#002b36", "#839496")]
    )
    def test_from_the_terminal(self, uri, theme):
        assert read(rasterized_terminal(qr.terminal(uri), *theme)) == uri

    @pytest.mark.parametrize("scale", [3, 6])
    def test_from_svg(self, uri, scale):
        assert read(rasterized_svg(qr.svg(uri, scale=scale))) == uri

    @pytest.mark.parametrize("scale", [3, 6])
    def test_from_png(self, uri, scale):
        assert read(Image.open(io.BytesIO(qr.png(uri, scale=scale)))) == uri


def test_the_code_of_an_opened_enrollment(registry, alice, owner):
    opened = registry.open_enrollment(alice, by=owner, label="alice@example.com")
    assert read(Image.open(io.BytesIO(qr.png(opened.uri)))) == opened.uri


def test_the_usual_code_fits_a_terminal_of_80_columns():
    lines = re.sub(r"\x1b\[[\d;]*m", "", qr.terminal(URIS["usual"])).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= 80
    assert len(lines) <= 24


def test_a_picture_has_a_white_border():
    image = Image.open(io.BytesIO(qr.png(URIS["usual"], scale=1))).convert("L")
    assert image.crop((0, 0, image.width, 4)).getextrema() == (255, 255)
    assert image.crop((0, 0, 4, image.height)).getextrema() == (255, 255)
    assert image.getpixel((4, 4)) == 0


def test_the_terminal_text_has_a_white_border():
    lines = re.sub(r"\x1b\[[\d;]*m", "", qr.terminal(URIS["usual"])).splitlines()
    assert {*lines[0], *lines[1], *lines[-2], *lines[-1]} == {" "}
    assert {column for line in lines for column in (*line[:4], *line[-4:])} == {" "}


def test_scale_is_the_width_of_a_module_in_pixels():
    usual = URIS["usual"]
    one = Image.open(io.BytesIO(qr.png(usual, scale=1))).width
    for scale in (2, 6, 100):
        assert Image.open(io.BytesIO(qr.png(usual, scale=scale))).width == scale * one
        size = scale * one
        assert (
            f' width="{size}px" height="{size}px" viewBox="0 0 {size} {size}" '
        ) in qr.svg(usual, scale=scale)
    assert (qr.png(usual), qr.svg(usual)) == (qr.png(usual, scale=6), qr.svg(usual, scale=6))


def test_error_correction_is_as_good_as_the_size_allows():
    image = Image.open(io.BytesIO(qr.png("otpauth://totp/a?secret=x")))
    (barcode,) = zxingcpp.read_barcodes(image)
    assert barcode.ec_level == "M"  # L would give a symbol of the same size


def test_the_svg_is_one_element():
    text = qr.svg(URIS["usual"])
    assert text.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert text.endswith("</svg>")


@pytest.mark.parametrize("draw", [qr.svg, qr.png, qr.terminal])
@pytest.mark.parametrize(
    ("uri", "error", "sentence"),
    [
        (URIS["usual"].encode(), InvalidType, "a key URI must be a str"),
        (
            URIS["usual"] + "&issuer=\u00e9",
            InvalidValue,
            "a key URI must be ASCII: percent-encode other characters",
        ),
        (
            URIS["usual"] + "&x=" + "x" * 3000,
            InvalidValue,
            "the key URI is too long for a QR code: shorten the label",
        ),
    ],
    ids=["bytes", "not ASCII", "too long"],
)
def test_a_text_that_is_not_a_key_uri(draw, uri, error, sentence):
    with pytest.raises(error) as caught:
        draw(uri)
    assert str(caught.value) == sentence
    assert_silent(caught.value, "AAAAAAAAAAAAAAAAAAAA", "alice")


@pytest.mark.parametrize("scale", [0, 101, 1.5, "6"])
def test_a_scale_out_of_bounds(scale):
    with pytest.raises(VmfaError, match=r"^scale must be"):
        qr.png(URIS["usual"], scale=scale)


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "segno", None)
    monkeypatch.delitem(sys.modules, "vmfa.qr")
    with pytest.raises(
        MissingExtra, match=r"^QR codes need the extra qr: pip install 'vmfa\[qr\]'$"
    ):
        import_module("vmfa.qr")
