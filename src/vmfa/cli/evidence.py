"""``vmfa audit evidence``: a folder with the reports that an auditor files."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from typing import Final

from ..errors import VmfaError
from ..installation import DOCUMENTS, project_file
from . import audit, reports
from .context import CommandContext, CommandResult
from .errors import EnvironmentProblem
from .io import create_private_file, printed

CONTENTS: Final = {
    "selftest": "the self-test",
    "policy": "the report on the policy",
    "audit": "the verification of the histories",
    "checkpoint": "the state of the histories, to compare with later",
    "traceability": "the requirements of the standards, with the code and the tests",
    "vmfa": "the bill of materials of vmfa (CycloneDX)",
    "versions": "the packages that are installed beside vmfa",
}


def add_folder(parser: ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="the folder, which must not exist")
    parser.add_argument(
        "accounts", nargs="*", metavar="ACCOUNT", help="the accounts whose histories are verified"
    )


def write_pack(context: CommandContext) -> CommandResult:
    results = {"selftest": reports.selftest(context), "policy": reports.policy(context)}
    missing: dict[str, str] = {}
    if context.args.accounts:
        results |= {"audit": audit.verify(context), "checkpoint": audit.checkpoint(context)}
    else:
        missing["audit.json"] = "no account was given"
    files: dict[str, str] = {}
    for name, result in results.items():
        files[f"{name}.json"] = f"{json.dumps(result.data, indent=1)}\n"
        if name != "checkpoint":
            files[f"{name}.txt"] = printed(result.text)
    for name in DOCUMENTS:
        text = project_file(name)
        if text is None:
            missing[name] = "this installation does not have it"
        else:
            files[name] = text
    files["versions.json"] = _versions(context)
    files["manifest.json"] = _manifest(context, files, missing)
    digests = {name: reports.sha256(text) for name, text in files.items()}
    sums = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    _write_folder(context.args.folder, {**files, "SHA256SUMS": sums})
    digest = reports.sha256(sums)
    return CommandResult(
        data={
            "folder": context.args.folder, "files": digests, "missing": missing, "digest": digest,
        },
        text=[
            *(f"{digest}  {name}" for name, digest in digests.items()),
            *(f"missing: {name}: {reason}" for name, reason in missing.items()),
            f"digest of SHA256SUMS: {digest}",
        ],
        failure=_first_failure(results.values()),
    )


def _first_failure(results: Iterable[CommandResult]) -> VmfaError | None:
    return next((result.failure for result in results if result.failure is not None), None)


def _versions(context: CommandContext) -> str:
    from importlib.metadata import distributions  # slow to import, seldom needed

    packages = {
        package.metadata["Name"]: package.version
        for package in sorted(distributions(), key=lambda package: package.metadata["Name"])
    }
    data = {"environment": reports.environment(context), "packages": packages}
    return f"{json.dumps(data, indent=1)}\n"


def _manifest(
    context: CommandContext, files: Mapping[str, str], missing: Mapping[str, str]
) -> str:
    data = {
        "environment": reports.environment(context),
        "files": {
            name: {
                "about": CONTENTS[name.partition(".")[0]],
                "bytes": len(text.encode()),
                "sha256": reports.sha256(text),
            }
            for name, text in files.items()
        },
        "missing": missing,
    }
    return f"{json.dumps(data, indent=1)}\n"


def _write_folder(folder: str, files: Mapping[str, str]) -> None:
    """Write *files* to the new *folder*, which only its owner can access.

    :raises EnvironmentProblem: the folder exists or cannot be created.
    """
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        raise EnvironmentProblem("the folder exists already and was not changed") from None
    except OSError as error:
        raise EnvironmentProblem(f"the folder cannot be created: {error.strerror}") from None
    for name, text in files.items():
        create_private_file(os.path.join(folder, name), text.encode(), f"file {name}")
