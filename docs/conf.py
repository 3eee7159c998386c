"""Sphinx configuration. Build with ``sphinx-build -W docs docs/_build``; no network is needed."""

import re
from importlib.metadata import version as version_of
from importlib.util import find_spec

import django
from django.conf import settings

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
optional_packages = ("cryptography", "psycopg", "psycopg_pool", "segno", "opentelemetry")
autodoc_mock_imports = [name for name in optional_packages if not find_spec(name)]
settings.configure(INSTALLED_APPS=["vmfa.integrations.django"])
django.setup()  # the modules of the Django app are imported like in a project
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]


def show_signature(_app, what, name, obj, _options, signature, return_annotation):
    """Show the fields of a secret answer, and what a method of the registry returns."""
    if what == "class" and "**slots" in (signature or ""):
        fields = ", ".join(f"{slot}: {kind}" for slot, kind in obj.__annotations__.items())
        return f"(*, {fields})", None
    answer = re.fullmatch(r"~?(?:\w+\.)*Operation\[(.*)\]", return_annotation or "")
    if answer and "DeviceRegistry." in name:
        return signature, answer[1]
    return None


def split_fields(*arguments):
    """Put a field that follows a sentence on a line of its own, as reStructuredText requires."""
    lines = arguments[-1]
    text = "\n".join(lines)
    text = re.sub(r"(?<=\S)[ \t]+:(raises|param) (\w+): ?", r"\n\n:\1 \2: ", text)
    text = re.sub(r":raises (\w+)\.", r"Raises ``\1``.", text)
    lines[:] = text.splitlines()


def allow_line_breaks(_app, _page, _template, context, _doctree):
    """Let long names in table cells break, so that no table is wider than its page."""

    def add_breaks(name):
        return re.sub(r"(::|[/_.])(?=\w)", r"\1<wbr>", name[0])

    def edit_cell(cell):
        return re.sub(r'(?<=<span class="pre">)[^<]*', add_breaks, cell[0])

    if "body" in context:
        context["body"] = re.sub(r"<td>.*?</td>", edit_cell, context["body"], flags=re.DOTALL)


def setup(app):
    app.connect("autodoc-process-signature", show_signature)
    app.connect("autodoc-process-docstring", split_fields)
    app.connect("html-page-context", allow_line_breaks)
