"""The report: verdicts of cases and clauses, with transcripts, as text, Markdown, JSON and XML."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from html import escape
from typing import Final

from .clauses import CLAUSES, Clause
from .player import Entry, Race
from .steps import Case, Level

__all__ = ["CaseResult", "Report", "Verdict"]

SHOWN_ENTRIES: Final = 30  # lines of a transcript in Markdown and XML; JSON has all
NOTICE: Final = (
    "The codes and keys in the transcripts belong to the test accounts of the kit. Its own keys "
    "are public. Delete the test accounts of a live system after the audit."
)


class Verdict(StrEnum):
    """What was found. "not observable" covers everything that was not observed."""

    HELD = "held"
    VIOLATED = "violated"
    NOT_OBSERVABLE = "not observable"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """The verdict of one case.

    :param case: the case.
    :param verdict: what was found.
    :param reason: why it is violated or not observable.
    :param transcript: everything that was called, with the answers.
    :param race: the evidence of calls at the same time, in a case that makes them.
    """

    case: Case
    verdict: Verdict
    reason: str = ""
    transcript: tuple[Entry, ...] = ()
    race: Race | None = None

    def transcript_lines(self, last: int | None = None) -> list[str]:
        """Return the transcript as lines of text: all of it, or the *last* lines."""
        lines = [
            f"{number:>4}. {entry.at:>+8} s  {entry.operation}"
            f"({_arguments(entry)}) -> {entry.result}{entry.text and f' ({entry.text})'}"
            f"  [expected: {entry.expected}{'' if entry.as_expected else '; NOT AS EXPECTED'}]"
            for number, entry in enumerate(self.transcript, 1)
        ]
        if last is not None and len(lines) > last:
            lines = [f"      ({len(lines) - last} earlier lines)", *lines[-last:]]
        return lines


def _arguments(entry: Entry) -> str:
    return ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}"
        for name, value in entry.arguments.items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of an audit.

    :param system: the name of the system.
    :param version: its version.
    :param kit: the version of vmfa that ran the cases.
    :param capabilities: what the adapter declared.
    :param results: the verdict of each case.
    :param measurements: sentences about what was measured. They have no verdict.
    """

    system: str
    version: str
    kit: str
    capabilities: tuple[str, ...]
    results: tuple[CaseResult, ...]
    measurements: tuple[str, ...] = ()

    def count(self, verdict: Verdict) -> int:
        """Return the number of cases with this verdict."""
        return sum(result.verdict is verdict for result in self.results)

    def violated(self, *levels: Level) -> list[CaseResult]:
        """Return the violated cases of these levels, or of all."""
        return [
            result for result in self.results
            if result.verdict is Verdict.VIOLATED and result.case.level in (levels or tuple(Level))
        ]

    @property
    def conclusive(self) -> bool:
        """Whether a system that accepts right codes and refuses wrong ones was observed."""
        baseline = [result for result in self.results if result.case.group == "baseline"]
        return bool(baseline) and all(result.verdict is Verdict.HELD for result in baseline)

    def clauses(self) -> list[tuple[Clause, Verdict, list[CaseResult]]]:
        """Return the verdict of each clause, with its cases.

        A clause is violated if one of its cases is. It is held if none is and one is held.
        """
        rows = []
        for clause in CLAUSES.values():
            results = [result for result in self.results if clause.id in result.case.clauses]
            if results:
                found = {result.verdict for result in results}
                order = (Verdict.VIOLATED, Verdict.HELD, Verdict.NOT_OBSERVABLE)
                rows.append((clause, next(v for v in order if v in found), results))
        return rows

    @property
    def digest(self) -> str:
        """The SHA-256 digest of the verdicts: two runs on the same system have the same one."""
        verdicts = [
            [result.case.id, result.case.version, result.verdict.value]
            for result in self.results
        ]
        document = [self.system, self.version, self.kit, sorted(self.capabilities), verdicts]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()

    # The formats

    def to_dict(self) -> dict[str, object]:
        """Return the report for JSON, with all transcripts."""
        return {
            "system": self.system,
            "version": self.version,
            "kit": self.kit,
            "capabilities": sorted(self.capabilities),
            "conclusive": self.conclusive,
            "digest": self.digest,
            "notice": NOTICE,
            "clauses": [
                {
                    "id": clause.id, "source": clause.source, "says": clause.says,
                    "verdict": verdict.value,
                    "cases": {result.case.id: result.verdict.value for result in results},
                }
                for clause, verdict, results in self.clauses()
            ],
            "cases": [
                {
                    "id": result.case.id, "version": result.case.version,
                    "title": result.case.title, "level": result.case.level.value,
                    "clauses": list(result.case.clauses), "verdict": result.verdict.value,
                    "reason": result.reason,
                    "race": None if result.race is None else asdict(result.race),
                    "transcript": [asdict(entry) for entry in result.transcript],
                }
                for result in self.results
            ],
            "measurements": list(self.measurements),
        }  # fmt: skip

    def json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"

    def summary(self) -> list[str]:
        """Return the verdicts as lines of text."""
        width = max((len(result.case.id) for result in self.results), default=0)
        lines = [f"{self.system} {self.version}".strip()]
        lines += [
            f"{result.verdict.value:<14}  {result.case.level.value:<16}  "
            f"{result.case.id:<{width}}  {result.reason}".rstrip()
            for result in self.results
        ]
        counts = Counter(result.verdict for result in self.results)
        lines += self.measurements
        lines.append(", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict))
        if not self.conclusive:
            lines.append("not conclusive: the baseline is not held, or was not observed")
        return [*lines, f"digest {self.digest}"]

    def markdown(self) -> str:
        """Return the report as Markdown."""
        return "\n".join(self._markdown()) + "\n"

    def _markdown(self) -> Iterator[str]:
        yield f"# Conformance of {_cell(f'{self.system} {self.version}'.strip())}"
        yield ""
        yield ", ".join(f"{self.count(verdict)} cases {verdict.value}" for verdict in Verdict)
        yield ""
        if not self.conclusive:
            yield "**Not conclusive**: the baseline is not held, or was not observed."
            yield ""
        yield f"Kit: vmfa {self.kit}. Digest of the verdicts: `{self.digest}`. {NOTICE}"
        yield from ("", "## Clauses", "", "| clause | requirement | verdict | cases |")
        yield "|---|---|---|---|"
        for clause, verdict, results in self.clauses():
            counts = Counter(result.verdict for result in results)
            cases = ", ".join(f"{counts[v]} {v.value}" for v in Verdict if counts[v])
            yield f"| {clause.source} (`{clause.id}`) | {clause.says} | {verdict} | {cases} |"
        yield from ("", "## Cases", "", "| case | level | verdict | reason |", "|---|---|---|---|")
        for result in self.results:
            row = (result.case.id, result.case.level, result.verdict, _cell(result.reason))
            yield "| " + " | ".join(row) + " |"
        for sentence in self.measurements:
            yield from ("", _cell(sentence))
        for result in self.violated():
            yield from ("", f"## Violated: {result.case.id}", "", result.case.title, "")
            yield f"{result.case.why} Level: {result.case.level}."
            if result.race is not None:
                yield from ("", race_sentence(result.race))
            repeat = f"Repeat it with the same adapter: `--case {result.case.id}`"
            yield from ("", repeat, "", "```")
            yield from (line.replace("`", "'") for line in result.transcript_lines(SHOWN_ENTRIES))
            yield "```"

    def junit(self) -> str:
        """Return the report as JUnit XML: violated is a failure, not observable is skipped."""
        lines = ['<?xml version="1.0" encoding="UTF-8"?>']
        violated, skipped = self.count(Verdict.VIOLATED), self.count(Verdict.NOT_OBSERVABLE)
        lines.append(
            f'<testsuite name={_quoted(f"conformance of {self.system}")} '
            f'tests="{len(self.results)}" failures="{violated}" skipped="{skipped}" errors="0">'
        )
        for result in self.results:
            case = result.case
            lines.append(f"<testcase classname={_quoted(case.group)} name={_quoted(case.id)}>")
            if result.verdict is Verdict.VIOLATED:
                text = _characters("\n".join(result.transcript_lines(SHOWN_ENTRIES)))
                lines.append(
                    f"<failure message={_quoted(result.reason)} "
                    f"type={_quoted(case.level)}>{text}</failure>"
                )
            elif result.verdict is Verdict.NOT_OBSERVABLE:
                lines.append(f"<skipped message={_quoted(result.reason)}/>")
            lines.append("</testcase>")
        return "\n".join([*lines, "</testsuite>", ""])


def race_sentence(race: Race) -> str:
    """Return the evidence of a race as a sentence."""
    return (
        f"{race.calls} calls at once, {race.rounds} rounds; calls overlapped in "
        f"{race.overlapped} of them, at most {race.at_once} at the same time."
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _characters(text: str) -> str:
    printable = "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )
    return escape(printable, quote=True)


def _quoted(text: str) -> str:
    return f'"{_characters(text)}"'
