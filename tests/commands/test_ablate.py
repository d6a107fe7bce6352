"""`zim ablate`: every table in miniature."""

import importlib.util
import json
from pathlib import Path

import pytest

from tests.invented import invented_photo
from zim_plugins.cli import main
from zim_plugins.cli.commands.ablate import PUBLISHED_DECODER, variants
from zim_plugins.label_converter.recipes import CONVERTER_RECIPES
from zim_plugins.training.recipes import RECIPES

_found = importlib.util.spec_from_file_location(
    "train_command", Path(__file__).parents[1] / "training/test_train_command.py"
)


@pytest.fixture
def data(tmp_path) -> Path:
    import numpy as np

    from zim_plugins.training.samples.library import Cutout, Library

    assert _found is not None and _found.loader is not None
    module = importlib.util.module_from_spec(_found)
    _found.loader.exec_module(module)
    photos = [invented_photo(i) for i in range(4)]
    rgba = np.dstack([photos[0].rgb, photos[0].masks[0]])[20:80, 30:90]
    module.write_data(tmp_path / "data", Library(photos, [Cutout("soft", rgba, rigid=False)], []))
    return tmp_path / "data"


def test_rows_differ_in_what_the_table_is_about_only() -> None:
    recipe = RECIPES["zim_vit_b"]
    attention = {
        name: varied.settings.config.masked_attention for name, varied in variants("attention", recipe).items()
    }
    assert attention == {name: name for name in ("none", "t2i", "i2t", "both")}
    decoder = variants("decoder", recipe)
    assert decoder.keys() == PUBLISHED_DECODER.keys()
    assert decoder["hierarchical decoder, masked attention"] == recipe  # the paper's own
    converter = variants("sga-stl", CONVERTER_RECIPES["converter_tiny"])
    assert [(v.settings.sampling.sga, v.settings.sampling.stl) for v in converter.values()] == [
        (False, False),
        (True, False),
        (False, True),
        (True, True),
    ]
    assert all(v.stages == recipe.stages and v.seed == recipe.seed for v in decoder.values())


@pytest.mark.slow
@pytest.mark.parametrize(("table", "rows"), [("sga-stl", 4), ("attention", 4), ("decoder", 4), ("data", 2)])
def test_a_miniature_of_each_table(table, rows, data, tmp_path) -> None:
    out = tmp_path / "out"
    arguments = ["ablate", table, "--data", str(data), "--out", str(out), "--device", "cpu", "--steps", "2"]
    assert main(arguments) == 0
    record = json.loads((out / "ablation.json").read_text())
    assert len(record["rows"]) == rows
    assert all("error" in row for row in record["rows"].values())
    assert ("published" in record) == (table == "decoder")
    text = (out / "ablation.md").read_text()
    assert sum(line.startswith("| ") for line in text.splitlines()) == rows + 1
    assert ("not measured here" in text) == (table == "decoder")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["attention", "--recipe", "converter_tiny"], "no recipe 'converter_tiny'"),
        (["attention", "--steps", "0"], "--steps is at least 1"),
        (["sga-stl", "--evaluate-on", "plain", "--evaluation-data", "."], "held-out labels"),
        (["attention", "--evaluate-on", "plain"], "go together"),
        (["attention", "--shards", "."], "for the table"),
    ],
)
def test_misuse(more, why, tmp_path, capsys) -> None:
    assert main(["ablate", *more, "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert why in capsys.readouterr().err
