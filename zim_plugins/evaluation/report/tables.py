"""Markdown and LaTeX tables in the paper's layout; values of different definitions are in different tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zim_plugins.evaluation.matting.published import published_tables
from zim_plugins.evaluation.matting.published_objects import COLUMNS, SOURCE, published_objects
from zim_plugins.evaluation.matting.scoring import HIGHER_IS_BETTER, OVERLAPS

NAMES = {
    "iou": "IoU",
    "boundary_iou": "boundary IoU",
    "sad": "SAD",
    "mse": "MSE",
    "mae": "MAE",
    "grad": "Grad",
    "conn": "Conn",
}
"""How papers write a score; one that is not here is written as it is called."""
PROFILE_WORDS = {
    "zim": "SAD and Conn / 1e3; MSE, MAE and Grad (3x3 Sobel, mean) x 1e3",
    "dim": "SAD, Conn and Grad (Gaussian derivative, sum) / 1e3; MSE and MAE unscaled",
    "dim_unknown": "Over the trimap's unknown pixels: SAD, Conn, Grad (Gaussian derivative) / 1e3; MSE, MAE unscaled",
    "overlap": "Of alpha > 0.5",
}
PROFILE_NAMES = {
    "zim": "the ZIM release's errors",
    "dim": "the classic benchmark's errors",
    "dim_unknown": "the classic benchmark's errors, unknown region",
    "overlap": "overlap",
}
PUBLISHED_MARK = "published"


@dataclass(frozen=True)
class Table:
    """Values of one definition on one subset."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    published: tuple[bool, ...] = ()
    """Whether a row was printed by the paper, not measured here; by default none was."""
    note: str = ""
    words: int = 2
    """Columns of words, from the left, which a page writes from the left."""


def build_tables(report: dict[str, Any]) -> list[Table]:
    """The tables of a report: one for each subset and definition, over all sizes, with the paper's rows below ours."""
    means = [entry for entry in report["means"] if entry["size"] == "all"]
    dataset = report["provenance"]["dataset"]
    subsets = list(dict.fromkeys(entry["subset"] for entry in means))
    tables = []
    for subset in subsets:
        entries = [entry for entry in means if entry["subset"] == subset]
        for profile, columns in _blocks(report["columns"]).items():
            tables.append(_table(entries, dataset, subset, profile, columns))
        elsewhere = _printed_elsewhere(entries, dataset["name"], subset)
        if elsewhere is not None:
            tables.append(elsewhere)
    return tables


def _printed_elsewhere(entries: Sequence[dict[str, Any]], dataset: str, subset: str) -> Table | None:
    """Return what other papers printed on whole objects, as a table of its own: its definitions are not ours."""
    found = published_objects(dataset, subset, frozenset(entry["prompt"] for entry in entries))
    if not found:
        return None
    rows = tuple((f"{row.method} ({PUBLISHED_MARK})", row.prompt, *cells) for row, cells in found)
    caption = f"{dataset}{'' if subset == 'all' else f', {subset}'}: {PUBLISHED_MARK} elsewhere, whole objects"
    return Table(caption, ("Method", "Prompt", *(f"{one} ↓" for one in COLUMNS)), rows, (True,) * len(rows), SOURCE)


def short_name(model: str) -> str:
    """A model's name; of a path, its last two parts."""
    return "/".join(model.split("/")[-2:])


def to_markdown(tables: Sequence[Table]) -> str:
    """All tables, as GitHub reads them."""
    parts = []
    for table in tables:
        lines = [f"**{table.caption}**", "", "| " + " | ".join(table.header) + " |"]
        lines.append("|" + "---|" * len(table.header))
        lines += ["| " + " | ".join(row) + " |" for row in table.rows]
        parts.append("\n".join([*lines, "", table.note]))
    return "\n\n".join(parts) + "\n"


def to_latex(tables: Sequence[Table]) -> str:
    """All tables, for booktabs; published rows in italics."""
    parts = []
    for table in tables:
        lines = [r"\begin{table}", rf"\caption{{{_escape(table.caption)}. {_escape(table.note)}}}"]
        lines += [rf"\begin{{tabular}}{{ll{'r' * (len(table.header) - 2)}}}", r"\toprule"]
        lines += [" & ".join(_escape(word) for word in table.header) + r" \\", r"\midrule"]
        for row, published in zip(table.rows, table.published or (False,) * len(table.rows), strict=True):
            cells = [_escape(word) for word in row]
            lines.append(" & ".join(rf"\textit{{{c}}}" if published and c else c for c in cells) + r" \\")
        parts.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]))
    return "\n\n".join(parts) + "\n"


def _blocks(columns: Sequence[str]) -> dict[str, list[str]]:
    """Columns by definition."""
    blocks: dict[str, list[str]] = {}
    for column in columns:
        profile = "overlap" if column in OVERLAPS else column.rpartition("_")[0]
        blocks.setdefault(profile, []).append(column)
    return blocks


def _table(
    entries: Sequence[dict[str, Any]], dataset: dict[str, Any], subset: str, profile: str, columns: Sequence[str]
) -> Table:
    # Name the columns, with the direction that is better.
    plain = [c if profile == "overlap" else c.removeprefix(f"{profile}_") for c in columns]
    names = [NAMES.get(c, c.replace("_", " ")) for c in plain]
    arrows = ["↑" if c in HIGHER_IS_BETTER else "↓" for c in columns]
    header = ("Method", "Prompt", *(f"{n} {a}" for n, a in zip(names, arrows, strict=True)), "Objects")
    # What was measured here.
    rows, published = [], []
    for entry in entries:
        scores = [entry["scores"][c] for c in columns]
        cells = [f"{_number(s['mean'])} [{_number(s['low'])}, {_number(s['high'])}]" for s in scores]
        rows.append((short_name(entry["model"]), entry["prompt"], *cells, str(entry["objects"])))
        published.append(False)
    # What others printed for the same data and prompts.
    for table in published_tables(dataset["name"]):
        if table.subset != subset or not set(table.columns) <= set(columns):
            continue
        for row in table.rows:
            if row.prompt not in {entry["prompt"] for entry in entries}:
                continue
            values = dict(zip(table.columns, row.values, strict=True))
            cells = [f"{values[c]:.3f}" if c in values else "" for c in columns]
            rows.append((f"{row.method} ({PUBLISHED_MARK})", row.prompt, *cells, ""))
            published.append(True)
    whole = "" if subset == "all" else f", {subset}"
    note = PROFILE_WORDS[profile] + ". In brackets: 95 % bootstrap interval over images."
    if any(published):
        note += f" Rows marked {PUBLISHED_MARK} are printed from the ZIM paper (arXiv 2411.00626), not measured here."
    caption = f"{dataset['name']} {dataset['split']}{whole}: {PROFILE_NAMES[profile]}"
    return Table(caption, header, tuple(rows), tuple(published), note)


def _number(value: float) -> str:
    """Three decimals, or three figures of what is smaller."""
    return f"{value:.3f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


def _escape(text: str) -> str:
    for mark in "\\&%_#$":
        text = text.replace(mark, rf"\{mark}" if mark != "\\" else r"\textbackslash ")
    return text.replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$")
