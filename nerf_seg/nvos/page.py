"""Sections of the report as an HTML page; its images stay files beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from zim_plugins.evaluation.report import Figure, Section, Table, failures_section, provenance_section

IMAGES_SAID = (
    "First line: the reference view with its prompt. Below, each scored view: image, overlay, 3D matte, truth, and "
    "errors (white: found, blue: missed, red: wrong)."
)


def page_sections(report: Mapping[str, Any], tables: Sequence[Table]) -> list[Section]:
    """Return the sections of the page."""
    remark = report["provenance"]["dataset"].get("remark", "")
    figures = [
        Figure(row["picture"], f"{row['task']}, {row['model']}, seed {row['seed']}: IoU {100 * row['iou']:.1f} %")
        for row in report["rows"]
        if row.get("picture")
    ]
    return [
        *([Section(text=[remark])] if remark else []),
        *([failures_section(report["failures"])] if report["failures"] else []),
        Section("Scores", tables=tables),
        *([Section("Images", text=[IMAGES_SAID], figures=figures)] if figures else []),
        Section("Definitions", items=[f"{name}: {said}" for name, said in report["definitions"].items()]),
        provenance_section(report["provenance"]),
    ]
