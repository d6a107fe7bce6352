"""Models by name, by file, and by the place of a function."""

import numpy as np
import pytest

from zim_plugins.core.checkpoints.records import is_present
from zim_plugins.core.predictor import Predictor
from zim_plugins.core.prompt import Prompt
from zim_plugins.errors import CheckpointError
from zim_plugins.evaluation.models import ModelOptions, describe_model, load_model, model_slug

CPU = ModelOptions(device="cpu")


def test_an_outside_predictor(disk_model) -> None:
    model = load_model(disk_model, CPU)
    assert isinstance(model, Predictor)
    model.set_image(np.zeros((48, 64, 3), dtype=np.uint8))
    assert model.predict(Prompt.from_point(20, 20)).alpha.sum() > 400
    described = describe_model(disk_model)
    assert described["model"] == disk_model
    assert len(described["sha256"]) == 64


@pytest.mark.parametrize("spec", ["nowhere.py:make", "no.such.module:make", "zim_plugins.core:nothing"])
def test_a_function_that_is_not_there(spec) -> None:
    with pytest.raises(CheckpointError, match="cannot take the model"):
        load_model(spec, CPU)


def test_a_function_that_makes_something_else(disk_model) -> None:
    with pytest.raises(CheckpointError, match="without set_image"):
        load_model(f"{disk_model}_no_model", CPU)


def test_grabcut_names_its_version() -> None:
    cv2 = pytest.importorskip("cv2")
    assert describe_model("grabcut")["opencv"] == cv2.__version__
    assert isinstance(load_model("grabcut"), Predictor)


@pytest.mark.skipif(not is_present("zim_tiny"), reason="zim_tiny is not in this checkout")
def test_a_checkpoint_is_named_by_its_hash() -> None:
    described = describe_model("zim_tiny")
    assert len(described["sha256"]) == 64
    assert "Apache" in described["licence"]


def test_a_checkpoint_that_is_not_here() -> None:
    with pytest.raises(CheckpointError):
        describe_model("zim_giant")


def test_folder_names_are_plain_and_differ() -> None:
    assert model_slug("zim_tiny") == "zim_tiny"
    slugs = {model_slug(spec) for spec in ("a/b.py:make", "a_b.py:make", "a/b.py:make2")}
    assert len(slugs) == 3
    assert all("/" not in slug and ":" not in slug for slug in slugs)


def test_a_segmenter_of_transformers(tmp_path, monkeypatch) -> None:
    from tests.core.backends.transformers import tiny_models
    from zim_plugins.cli import main

    tiny_models.save("sam", tmp_path / "tiny")
    spec = f"hf:{tmp_path / 'tiny'}"
    model = load_model(spec, CPU)
    assert isinstance(model, Predictor)
    model.set_image(np.zeros((48, 64, 3), dtype=np.uint8))
    assert model.predict(Prompt.from_point(20, 20)).alpha.shape == (48, 64)
    assert len(describe_model(spec)["sha256"]) == 64
    refined = load_model(spec, ModelOptions(device="cpu", refine="colour"))
    assert refined.refinement is not None  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match="no folder"):
        load_model("hf:./nowhere", CPU)
    assert main(["evaluate", "--data", str(tmp_path), "--model", "hf:./nowhere", "--out", str(tmp_path / "o")]) == 1
