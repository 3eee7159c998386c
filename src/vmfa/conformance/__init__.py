"""Audit any system that verifies one-time codes: a black-box test, clause by clause.

Describe the system with an adapter, run the cases, and read the report::

    from vmfa.conformance import FunctionAdapter, run

    report = run(FunctionAdapter(my_verify, name="my library"))
    print(report.markdown())

Each case is data with its clauses, level, required capabilities, steps and expectations. Its
verdict is *held*, *violated* or *not observable*: what was not observed is never held. Everything
uses test accounts with public keys; the transcripts of a report contain their codes.
"""

from __future__ import annotations

from .adapter import CAPABILITIES, Adapter, Answer, Call, FunctionAdapter, Result, TimedAnswer
from .cases import CASES
from .clauses import CLAUSES, Clause
from .codes import TEST_KEYS
from .program import ProgramAdapter, ProgramFailed
from .report import CaseResult, Report, Verdict
from .runner import run
from .steps import Case, Code, Level, Step

__all__ = [
    "CAPABILITIES",
    "CASES",
    "CLAUSES",
    "TEST_KEYS",
    "Adapter",
    "Answer",
    "Call",
    "Case",
    "CaseResult",
    "Clause",
    "Code",
    "FunctionAdapter",
    "Level",
    "ProgramAdapter",
    "ProgramFailed",
    "Report",
    "Result",
    "Step",
    "TimedAnswer",
    "Verdict",
    "run",
]
