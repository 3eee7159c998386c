"""``otpauth://`` key URIs, which carry a key into an authenticator app or out of another system.

URIs are written in the form that every app understands. They are read strictly, in the variants
that apps write; ``docs/key-uris.md`` gives the reason for each choice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal
from unicodedata import normalize

from .errors import InvalidType, InvalidValue
from .keys import Key, UnsafeShortKey, base32
from .otp import COUNTER_LIMIT
from .policy import Parameters
from .validators import check_text

MAX_URI_LENGTH: Final = 8192  # characters
_HEX: Final = frozenset("0123456789abcdefABCDEF")


class KeyUriError(InvalidValue):
    """The text is not a key URI that the library accepts.

    :ivar part: the part that is wrong: the name of a parameter, "label", "type" or "uri".
    """

    reason = "key URI"

    def __init__(self, message: str, part: str = "uri") -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUri:
    """The content of a key URI.

    :param issuer: the issuer; it may be empty.
    :param label: the account name.
    :param parameters: algorithm, digits and period; T0 is 0.
    :param counter: the next counter of a "hotp" key; None for "totp".
    """

    type: Literal["totp", "hotp"]
    issuer: str
    label: str
    key: Key
    parameters: Parameters
    counter: int | None = None


def check_label(name: str, value: str) -> None:
    """Check an issuer or an account label: text without a colon, which separates the two.

    :raises InvalidType: *value* is not a str.
    :raises InvalidValue: *value* is empty, too long, has invisible characters, or a colon.
    """
    # SEED-MANY
    check_text(name, value, max_bytes=256)
    if ":" in value:
        raise InvalidValue(f"{name} must not contain a colon")


def build(*, issuer: str, label: str, key: Key, parameters: Parameters) -> str:
    """Return the URI of a TOTP device.

    The issuer is in the label and in a parameter, because apps differ in which they read. Blanks
    are ``%20``, and default parameters are left out.
    """
    # KEYURI-WRITE, RULE-BETTER-7
    from urllib.parse import quote

    name, account = quote(issuer, safe=""), quote(label, safe="@")
    uri = f"otpauth://totp/{name}:{account}?secret={base32(key)}&issuer={name}"
    for field in ("algorithm", "digits", "period"):
        value = getattr(parameters, field)
        if value != getattr(Parameters(), field):
            uri += f"&{field}={str(value).upper()}"
    return uri


def parse(
    uri: str, *, unsafe_short_key: bool = False, require_label: bool = True
) -> KeyUri:
    """Return the content of a key URI. The policy decides whether a device may use it.

    :param uri: at most 8192 characters.
    :param unsafe_short_key: accept a secret below 128 bits, against RFC 4226.
    :param require_label: refuse a URI without an account name; its label is empty otherwise.
    :raises InvalidType: *uri* is not a str.
    :raises KeyUriError: *uri* is not a valid key URI; no text of the error quotes it.
    """
    # KEYURI-READ
    problem: InvalidType | KeyUriError = InvalidType("a key URI must be a str")
    if isinstance(uri, str):
        try:
            return _read(uri, UnsafeShortKey if unsafe_short_key else Key, require_label)
        except KeyUriError as error:
            problem = KeyUriError(str(error), error.part)  # without the frames of the first one
    del uri  # error trackers record the locals of a raising frame
    raise problem


def _read(uri: str, key_type: type[Key], require_label: bool) -> KeyUri:
    if len(uri) > MAX_URI_LENGTH:
        raise KeyUriError(f"a key URI must not be longer than {MAX_URI_LENGTH} characters")
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme.lower() != "otpauth":
        raise KeyUriError("a key URI must begin with otpauth://")
    if "#" in rest:
        raise KeyUriError("a key URI must not have a fragment: write %23 for '#'")
    target, _, query = rest.partition("?")
    kind, _, path = target.partition("/")
    kind = kind.lower()
    if kind not in ("totp", "hotp"):
        raise KeyUriError("the type of a key URI must be totp or hotp", "type")
    values = _parameters(query)
    if "encoder" in values:
        raise KeyUriError("codes in another alphabet (Steam) are not supported", "encoder")
    for name in _CHANGES_CODES:
        if name in values:
            raise KeyUriError(f"the parameter {name} is not supported: it changes the codes", name)
    issuer, label = _names(path, values, require_label)
    counter = _number("counter", values, -1)
    if kind == "hotp" and counter < 0:
        raise KeyUriError("a hotp key URI must have a counter", "counter")
    return KeyUri(
        type="hotp" if kind == "hotp" else "totp",
        issuer=issuer,
        label=label,
        key=_key(values, key_type),
        parameters=_device_parameters(values),
        counter=counter if kind == "hotp" else None,
    )


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters, by names in lower case.

    A known name may occur only once, because programs differ in which of two values they use. Some
    programs repeat parameters of their own, such as ``tags``, and end the query with ``&``.
    """
    values: dict[str, str] = {}
    for piece in filter(None, query.split("&")):
        name, separator, value = piece.partition("=")
        name = _decoded(name, "uri").lower()
        if not separator:
            raise KeyUriError("a parameter of a key URI must be written name=value")
        if name.removeprefix("amp;") in _KNOWN and name not in _KNOWN:
            raise KeyUriError("a key URI must have & between parameters, not the HTML form &amp;")
        if name in values and name in _KNOWN:
            raise KeyUriError("a key URI must not repeat a parameter", name)
        values[name] = value
    return values


_KNOWN: Final = frozenset({"secret", "issuer", "algorithm", "digits", "period", "counter"})
_CHANGES_CODES: Final = ("interval", "offset", "pin", "step", "t0")  # of a few programs
_ALGORITHM: Final = re.compile(r"(?:hmac[-_]?)?sha[-_]?(1|256|512)")  # in lower case
_PERIOD: Final = re.compile(r"\.0+$")


def _names(path: str, values: dict[str, str], require_label: bool) -> tuple[str, str]:
    """Return the issuer and the label of ``issuer:account`` or ``account``.

    The colon may be written ``%3A``. Issuer and account may contain colons themselves if the
    parameter ``issuer`` shows where the account begins.
    """
    path_text = normalize("NFC", _decoded(path, "label"))
    raw_issuer = values.get("issuer", "")
    issuer_as_written = normalize("NFC", _decoded(raw_issuer, "issuer"))
    # Several apps write a blank as "+".
    issuer_with_blanks = normalize("NFC", _decoded(raw_issuer.replace("+", " "), "issuer"))
    names = (name for name in (issuer_as_written, issuer_with_blanks) if name)
    issuer = next((name for name in names if f"{path_text}:".startswith(f"{name}:")), "")
    if issuer:
        label = path_text if path_text == issuer else path_text[len(issuer) + 1 :].lstrip(" ")
    else:
        first, colon, second = path_text.partition(":")
        prefix, label = (first, second.lstrip(" ")) if colon else ("", path_text)
        if prefix and issuer_with_blanks:
            raise KeyUriError("the issuer in the label and the issuer parameter differ", "issuer")
        if ":" in label:
            raise KeyUriError("the label has two colons and no issuer parameter", "label")
        issuer = issuer_with_blanks or prefix
    for part, text in (("label", label), ("issuer", issuer)):
        if text or (part == "label" and require_label):
            try:
                check_text(part, text, max_bytes=256)
            except InvalidValue as error:
                raise KeyUriError(str(error), part) from None
    return issuer, label


def _key(values: dict[str, str], key_type: type[Key]) -> Key:
    try:
        return key_type.from_base32(_decoded(values.get("secret", ""), "secret"))
    except InvalidValue as error:
        raise KeyUriError(str(error), "secret") from None


def _device_parameters(values: dict[str, str]) -> Parameters:
    """Return the parameters of the codes, with the defaults that every app assumes."""
    parameters = Parameters()  # SEED-SIX
    algorithm = _decoded(values.get("algorithm", parameters.algorithm), "algorithm").lower()
    spelled = _ALGORITHM.fullmatch(algorithm)  # Java programs write HmacSHA1
    algorithm = f"sha{spelled[1]}" if spelled else algorithm
    digits = _number("digits", values, parameters.digits)
    if "period" in values:  # Swift programs write 30.0
        values = {**values, "period": _PERIOD.sub("", values["period"])}
    period = _number("period", values, parameters.period)
    for name, value in (("algorithm", algorithm), ("digits", digits), ("period", period)):
        if value == getattr(parameters, name):
            continue
        try:
            parameters = replace(parameters, **{name: value})  # type: ignore[arg-type]  # checked
        except InvalidValue as error:
            raise KeyUriError(str(error), name) from None
    return parameters


def _number(name: str, values: dict[str, str], default: int) -> int:
    """Read ASCII digits only: ``int`` also accepts signs, underscores and other scripts."""
    if name not in values:
        return default
    text = _decoded(values[name], name)
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < COUNTER_LIMIT):
        raise KeyUriError(f"{name} must be a whole number in ASCII digits, below 2**64", name)
    return int(text)


def _decoded(text: str, part: str) -> str:
    from urllib.parse import unquote

    if all(len(piece) >= 2 and _HEX.issuperset(piece[:2]) for piece in text.split("%")[1:]):
        try:
            return unquote(text, errors="strict")
        except UnicodeDecodeError:
            pass  # raised below: this error carries the text
    raise KeyUriError("a percent sign must be followed by two hexadecimal digits of UTF-8", part)
