"""Pages and CSV that every evaluation makes: escaped, folded, and read back by other readers."""

import csv
from html.parser import HTMLParser

from zim_plugins.evaluation.report import Figure, Section, Table, build_page, csv_text

VOID = {"meta", "img", "br", "input"}


class Tree(HTMLParser):
    """Collects texts, and fails on tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.texts += [data.strip()] if data.strip() else []


def test_every_field_of_a_section_is_shown_and_escaped() -> None:
    bad = "<i>&\"'"
    table = Table(f"caption {bad}", ("word", "n"), ((f"cell {bad}", "1"), ("published", "2")), (False, True), "note", 1)
    inner = Section(f"inner {bad}", fold="folded", items=[f"item {bad}"], code=f"code {bad}", notes=["small"])
    outer = Section(f"outer {bad}", notice="notice", text=[f"text {bad}"], tables=[table], sections=[inner],
                    figures=[Figure("a.png", f"figure {bad}")])  # fmt: skip
    page = build_page(f"title {bad}", [outer])
    tree = Tree()
    tree.feed(page)
    assert tree.open == [] and "<i>" not in page
    for word in ("title", "outer", "inner", "caption", "cell", "item", "code", "text", "figure"):
        assert f"{word} {bad}" in tree.texts, word
    assert {"notice", "folded", "small", "note", "word", "n", "1"} <= set(tree.texts)
    assert page.count('<tr class="published">') == 1 and '<td class="word">published</td><td>2</td>' in page
    assert page.index("<summary>folded") < page.index("<li>item") < page.index("</details>")


def test_a_chooser_has_a_line_for_each_section() -> None:
    page = build_page("t", [Section(chooser="Model", sections=[Section("a"), Section("b")])])
    assert '<option value="results-1">b</option>' in page and '<section class="results" id="results-1">' in page


def test_csv_is_read_back() -> None:
    rows = [
        {"name": 'a "b",\nc', "iou": 0.1 + 0.2, "failure": None, "other": 1},
        {"name": "d", "iou": float("nan"), "failure": {"kind": "empty", "message": "it is, 0"}},
        {"name": None},
    ]
    columns = ("name", "iou", "failure", "message")
    back = list(csv.DictReader(csv_text(columns, rows).splitlines(keepends=True)))
    assert float(back[0]["iou"]) == 0.1 + 0.2 and back[0]["name"] == 'a "b",\nc' and list(back[0]) == list(columns)
    assert (back[1]["iou"], back[1]["failure"], back[1]["message"]) == ("", "empty", "it is, 0")
    assert set(back[2].values()) == {""}
    assert csv_text(("iou",), rows[:1], digits=6) == "iou\n0.3\n"
