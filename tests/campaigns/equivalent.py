"""The mutants that survive because they mean the same as the code, each with the reason."""

from __future__ import annotations

EQUIVALENT: dict[tuple[str, str], str] = {}
