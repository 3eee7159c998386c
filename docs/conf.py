"""Sphinx: ``sphinx-build -W docs docs/_build``; offline."""

from importlib.metadata import version as version_of

project = "vmfa"
author = "the vmfa authors"
copyright = "the vmfa authors"
version = release = version_of("vmfa")
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"vmfa {version}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["page.css"]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]
