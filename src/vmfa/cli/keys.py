"""``vmfa keys``: master keys in files."""

from __future__ import annotations

from .context import KEY_NOTICE, CommandContext, CommandResult
from .errors import WrongUsage
from .io import create_key_file


def generate(context: CommandContext) -> CommandResult:
    path, encoding = context.args.file, context.args.format
    if path == "-":
        raise WrongUsage("a master key is never printed: give the name of a new file")
    create_key_file(path, encoding)
    return CommandResult(
        data={"file": path, "format": encoding, "notice": KEY_NOTICE}, text=[KEY_NOTICE]
    )
