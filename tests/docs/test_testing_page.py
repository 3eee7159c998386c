"""The testing page names commands and folders that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/testing.md").read_text()
FILES = re.findall(r"`(?:python )?((?:tests|benchmarks|\.ci)/[\w/.]+)", TEXT)
MODULES = re.findall(r"`python -m (tests\.[\w.]+)", TEXT)


@pytest.mark.parametrize("path", sorted({*FILES}))
def test_a_named_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("module", sorted({*MODULES}))
def test_a_named_module_exists(module: str) -> None:
    assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists()
