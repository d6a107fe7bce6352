"""The documents as a site: `sphinx-build -W -b html docs site`."""

import re

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

project = "zim-plugins"
author = "the zim-plugins authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "zim-plugins"
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": False}
exclude_patterns = ["images"]
suppress_warnings = ["myst.header"]


FIELDS: dict[str, list[str]] = {}
"""Docstrings of fields as they were before napoleon took what stands before their first colon for a type."""


def setup(app: Sphinx) -> None:
    """Docstrings are written with single backticks for code, as Markdown has it; lists of commas are plain text."""
    app.add_lexer("csv", TextLexer)
    app.connect("autodoc-process-docstring", keep_fields, priority=100)
    app.connect("autodoc-process-docstring", code_in_single_backticks, priority=900)


def keep_fields(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Remember the docstring of a field."""
    if what == "attribute":
        FIELDS[name] = list(lines)


def code_in_single_backticks(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Double the single backticks of a docstring, in place."""
    lines[:] = [re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line) for line in FIELDS.pop(name, lines)]
