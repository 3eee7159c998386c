"""``vmfa code``: the current code of a key."""

from __future__ import annotations

from ..keys import Key
from ..otp import seconds_left, totp
from .context import CommandContext, CommandResult
from .io import ask


def code(context: CommandContext) -> CommandResult:
    key, now = Key.from_base32(ask(None, "key in Base32")), context.clock()
    current, left = totp(key, now), seconds_left(now)
    return CommandResult(
        data={"code": current, "seconds_left": left}, text=[f"{current}  {left} seconds left"]
    )
