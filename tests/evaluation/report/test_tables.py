"""The tables: definitions apart, the paper's values marked and as the facts have them."""

import pytest

from zim_plugins.evaluation.matting.published import PUBLISHED, published_tables
from zim_plugins.evaluation.report.tables import build_tables, short_name, to_latex, to_markdown


def report(dataset: str, subsets: tuple[str, ...] = ("all",)) -> dict:
    columns = [
        "iou",
        "boundary_iou",
        *(f"{p}_{e}" for p in ("zim", "dim") for e in ("sad", "mse", "mae", "grad", "conn")),
    ]
    score = {"mean": 1.23456, "low": 0.00123456, "high": 2.0}
    entry = {"size": "all", "prompt": "box", "model": "my_model", "objects": 5, "pictures": 3}
    means = [entry | {"subset": s, "scores": dict.fromkeys(columns, score)} for s in subsets]
    means.append(means[0] | {"size": "S"})
    return {"columns": columns, "means": means, "provenance": {"dataset": {"name": dataset, "split": "test"}}}


def test_definitions_never_share_a_table() -> None:
    tables = build_tables(report("plain"))
    assert len(tables) == 3
    for table in tables:
        assert len(table.rows) == 1
        assert table.rows[0][0] == "my_model"
        assert table.rows[0][2] == "1.235 [0.00123, 2.000]"
    assert "Sobel" in tables[1].note and "Gaussian" in tables[2].note


def test_the_paper_s_rows_stand_below_ours_and_are_marked() -> None:
    tables = build_tables(report("micromat3k", ("all", "fine", "coarse")))
    with_paper = [t for t in tables if any(t.published)]
    assert [t.caption for t in with_paper] == [
        f"micromat3k test, {half}: the ZIM release's errors" for half in ("fine", "coarse")
    ]
    for table in with_paper:
        assert "3x3 Sobel" in table.note  # the paper's definition, no other
        assert [p for _, p, *_ in table.rows] == ["box"] * 8  # points were not asked for
        assert all(("published" in row[0]) == mark for row, mark in zip(table.rows, table.published, strict=True))
    zim = next(row for row in with_paper[0].rows if row[0].startswith("ZIM"))
    assert zim == ("ZIM (published)", "box", "9.961", "1.893", "3.426", "4.813", "9.655", "")


def test_table_2_has_mse_and_grad_only() -> None:
    table = next(t for t in build_tables(report("aim500")) if any(t.published) and "elsewhere" not in t.caption)
    smat = next(row for row in table.rows if row[0].startswith("SMat"))
    assert smat == ("SMat (published)", "box", "", "7.869", "", "27.238", "", "")


def test_published_values_are_complete() -> None:
    assert len(PUBLISHED) == 4
    for table in PUBLISHED:
        assert len(table.rows) == 14
        assert all(len(row.values) == len(table.columns) for row in table.rows)
        best = {row.method: row for row in table.rows if row.prompt == "point"}
        grads = {name: row.values[table.columns.index("zim_grad")] for name, row in best.items()}
        assert min(grads, key=lambda name: grads[name]) == "ZIM"
    assert published_tables("p3m10k") == []


@pytest.mark.parametrize("write", [to_markdown, to_latex])
def test_written_out(write) -> None:
    text = write(build_tables(report("aim500")))
    assert "published" in text
    if write is to_latex:
        assert r"my\_model" in text
        assert r"\uparrow" in text
        assert "↑" not in text
        assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 4
    else:
        lines = [line for line in text.splitlines() if line.startswith("|")]
        assert {line.count("|") for line in lines[:3]} == {lines[0].count("|")}


def test_names_that_are_paths_are_short() -> None:
    assert short_name("zim_tiny") == "zim_tiny"
    assert short_name("/a/b/none/best.safetensors") == "none/best.safetensors"
    assert (
        short_name("examples/05_outside_predictor.py:make_predictor")
        == "examples/05_outside_predictor.py:make_predictor"
    )


def test_what_others_printed_on_whole_objects_has_a_table_of_its_own() -> None:
    tables = build_tables(report("aim500"))
    (elsewhere,) = [t for t in tables if "whole objects" in t.caption]
    assert all(elsewhere.published) and all("(published)" in row[0] for row in elsewhere.rows)
    rows = {row[0].removesuffix(" (published)"): row[2:] for row in elsewhere.rows}
    assert rows["SDMatte*"] == ("3.6", "16.4", "14.9") and rows["ZIM (its Table 2)"] == ("24.3", "", "")
    assert {"MAM", "MatAny", "SmartMatting", "SEMat (SAM2)", "LiteSDMatte", "SDMatte"} <= set(rows)
    assert "my_model" not in str(elsewhere.rows) and "not measured here" in elsewhere.note
    assert "SDMatte" not in str([t.rows for t in tables if t is not elsewhere])
    assert not [t for t in build_tables(report("micromat3k", ("fine",))) if "whole objects" in t.caption]
    (portraits,) = [t for t in build_tables(report("p3m10k", ("P3M-500-NP",))) if "whole objects" in t.caption]
    assert [row[0] for row in portraits.rows if row[0].startswith("ZIM")] == []
