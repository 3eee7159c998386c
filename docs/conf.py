"""Sphinx: ``sphinx-build -W docs docs/_build``; offline."""

import re
from importlib.metadata import version as version_of
from importlib.util import find_spec

project = "vmfa"
author = "the vmfa authors"
copyright = "the vmfa authors"
version = release = version_of("vmfa")
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "_generated"]
html_theme = "furo"
html_title = f"vmfa {version}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["page.css"]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_mock_imports = [name for name in ("cryptography", "psycopg", "psycopg_pool", "segno") if not find_spec(name)]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]


def what_it_gives(_app, what, name, obj, _options, signature, return_annotation):
    """A registry's method gives what its operation answers; a secret answer is filled by its slots."""
    if what == "class" and "**slots" in (signature or ""):
        return f"(*, {', '.join(f'{slot}: {kind}' for slot, kind in obj.__annotations__.items())})", None
    answer = re.fullmatch(r"~?(?:\w+\.)*Operation\[(.*)\]", return_annotation or "")
    if answer and "DeviceRegistry." in name:
        return signature, answer[1]
    return None


def each_error_on_a_line(*arguments):
    """Docstrings name errors and parameters behind a sentence; reStructuredText wants a line for each."""
    lines = arguments[-1]
    text = re.sub(r"(?<=\S)\s+:(raises|param) (\w+): ?", r"\n\n:\1 \2: ", "\n".join(lines))
    lines[:] = re.sub(r":raises (\w+)\.", r"Raises ``\1``.", text).splitlines()


def names_that_break(_app, _page, _template, context, _doctree):
    """In a cell, the name of a test may break behind its words, and nowhere else."""
    def name(found):
        return re.sub(r"(::|[/_.])(?=\w)", r"\1<wbr>", found[0])

    def cell(found):
        return re.sub(r'(?<=<span class="pre">)[^<]*', name, found[0])

    if "body" in context:
        context["body"] = re.sub(r"<td>.*?</td>", cell, context["body"], flags=re.DOTALL)


def setup(app):
    app.connect("autodoc-process-signature", what_it_gives)
    app.connect("autodoc-process-docstring", each_error_on_a_line)
    app.connect("html-page-context", names_that_break)
