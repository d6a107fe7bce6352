"""Reports as HTML pages that open from disk: sections of text, tables and figures, laid out by one template."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zim_plugins.evaluation.report.tables import Table


@dataclass(frozen=True)
class Figure:
    """An image of a page."""

    source: str
    """Its path relative to the page, or the image itself as `embedded` gives it."""
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of a page, shown in the order of these fields; all text is plain and is escaped."""

    title: str = ""
    notice: str = ""
    """Text that stands out."""
    text: Sequence[str] = ()
    """Paragraphs."""
    fold: str = ""
    """The line that all below is folded away behind; empty to show it."""
    items: Sequence[str] = ()
    """Lines of a list."""
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    sections: "Sequence[Section]" = ()
    chooser: str = ""
    """What the sections differ in, where one of them is shown at a time; once in a page."""
    code: str = ""
    notes: Sequence[str] = ()
    """Paragraphs in small print."""


def build_page(title: str, sections: Sequence[Section]) -> str:
    """Return the text of a page, which needs no other file besides those that figures name.

    Example:
        >>> table = Table("", ("Model", "Prompt", "n"), (("a", "b", "1 < 2"),))
        >>> "<td>1 &lt; 2</td>" in build_page("Scores", [Section(tables=[table])])
        True
    """
    import jinja2

    text = Path(__file__).with_name("template.html").read_text(encoding="utf-8")
    kinds = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    return jinja2.Environment(**kinds).from_string(text).render(title=title, sections=sections) + "\n"


def embedded(path: Path, caption: str) -> Figure:
    """Return an image file, PNG or JPEG, as a figure that holds it.

    Raises:
        OSError: it cannot be read.
    """
    kind = "jpeg" if path.suffix == ".jpg" else "png"
    return Figure(f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}", caption)
