"""`zim-medseg` takes models of the hub's layout by the same loader as every command."""

from pathlib import Path

import pytest

from medical.cli import Args, main
from tests.core.backends.transformers import tiny_models
from tests.medical.whole_runs import table


def test_a_segmenter_of_transformers_is_scored(folder_set: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    model, out = tmp_path / "tiny", tmp_path / "out"
    tiny_models.save("sam", model)
    args = Args(data=str(folder_set), models=f"hf:{model},box", prompts="point,box", out=str(out), no_surfaces=True,
                device="cpu", groups="cases")  # fmt: skip
    assert main(args) == 0
    rows = table(out / "rows.csv")
    assert {row["model"] for row in rows} == {f"hf:{model}", "box"}
    assert all(row["dice"] for row in rows)
    assert not [path for path in out.rglob("*") if path.is_dir() and path.name.startswith("hf:")], (
        "names make no folders"
    )
