"""Whole runs on volumes: results in the volume's own space, and propagation from one slice."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from medical.protocol.models import PromptedModel
from medical.protocol.prompt_modes import MODES
from medical.run import run
from tests.conftest import FakePredictor
from tests.medical.whole_runs import AnyOrder, config_of
from zim_plugins.core import ImagePredictor, Prediction, Prompt


@pytest.fixture
def ball(tmp_path: Path) -> Path:
    """A volume with a bright ball, stored as PSR with slices 2 mm apart, and its labels."""
    nib = pytest.importorskip("nibabel")
    from tests.medical.test_volumes_and_windows import affine_of

    ks, js, is_ = np.mgrid[:12, :40, :36]
    inside = (ks - 6) ** 2 * 4 + (js - 22) ** 2 + (is_ - 15) ** 2 < 81
    for name, array in (("images", 40 + 100 * inside), ("masks", inside)):
        folder = tmp_path / "set" / name
        folder.mkdir(parents=True)
        header = nib.Nifti1Header()
        header["descrip"] = b"Doe^John;Time=172102"
        array = np.ascontiguousarray(array.transpose(2, 0, 1)).astype(np.int16)
        nib.save(nib.Nifti1Image(array, affine_of("PSR", (1.0, 2.0, 1.0)), header), folder / "a.nii.gz")
    return tmp_path / "set"


@pytest.mark.parametrize("how", ["slices", "propagated", "both"])
def test_volumes_come_back_in_their_own_space(ball: Path, tmp_path: Path, how: str) -> None:
    nib = pytest.importorskip("nibabel")
    config = config_of(ball, tmp_path / "out", prompts=("mode1", "mode5", "clicks"))
    trial = dataclasses.replace(config.trial, volumes=how)
    model = PromptedModel(FakePredictor(9.0), name="fake")
    tally = run(dataclasses.replace(config, trial=trial), [model])
    assert tally.done == 1
    part = json.loads((tmp_path / "out/rows/plain/case_0001.json").read_text())
    volumes = {r["prompt"]: r for r in part["rows"] if r["level"] == "volume"}
    wanted = {"mode1", "mode5", "clicks"} if how != "propagated" else set()
    spread = {f"{mode}+{kind}" for mode in ("mode1", "mode5") for kind in ("propagated", "copied")}
    wanted |= spread if how != "slices" else set()
    assert set(volumes) == wanted
    reference = nib.load(ball / "masks" / "a.nii.gz")
    for prompt, row in volumes.items():
        path = tmp_path / "out/volumes/plain/case_0001" / f"fake_{prompt.replace('+', '_')}.nii.gz"
        back = nib.load(path)
        mask = np.asarray(back.dataobj) > 0
        assert np.array_equal(back.affine, reference.affine) and back.header["descrip"].tobytes().strip(b"\0") == b""
        assert int((mask & (np.asarray(reference.dataobj) > 0)).sum()) == row["n_both"]
        assert row["dice"] > (0.75 if prompt == "mode5" else 0.25)
    if "mode5+propagated" in volumes:
        assert volumes["mode5+propagated"]["n_pred"] > 1.3 * np.pi * 81, "more frames than the prompted one"


@pytest.mark.parametrize("how", ["propagated", "both"])
def test_propagation_encodes_each_frame_once(ball: Path, tmp_path: Path, how: str) -> None:
    shown = []

    class Watched(PromptedModel):
        def show(self, frame: np.ndarray, key: int | None = None) -> None:
            shown.append(key)
            super().show(frame, key)

    backend = AnyOrder()
    config = config_of(ball, tmp_path / "out", prompts=MODES)
    trial = dataclasses.replace(config.trial, volumes=how)
    run(dataclasses.replace(config, trial=trial), [Watched(ImagePredictor(backend), name="counted")])
    assert None not in shown and 9 <= backend.encoded == len(set(shown)) < len(shown)


def test_propagation_follows_an_object_from_one_slice_to_its_ends(ball: Path, tmp_path: Path) -> None:
    class Bright(FakePredictor):
        """What is bright inside the box, or all of it for a click."""

        def set_image(self, image: np.ndarray) -> None:
            super().set_image(image)
            self.bright = image[..., 0] > 128

        def predict(self, prompt: Prompt) -> Prediction:
            alpha = np.zeros(self.bright.shape, np.float32)
            x1, y1, x2, y2 = (0, 0, *alpha.shape[::-1]) if prompt.box is None else map(int, prompt.box)
            alpha[y1:y2, x1:x2] = self.bright[y1:y2, x1:x2]
            return Prediction(alpha[None], np.ones(1, np.float32))

    config = config_of(ball, tmp_path / "out", prompts=("mode1", "mode5"))
    trial = dataclasses.replace(config.trial, volumes="propagated")
    run(dataclasses.replace(config, trial=trial), [PromptedModel(Bright(), name="bright")])
    rows = json.loads((tmp_path / "out/rows/plain/case_0001.json").read_text())["rows"]
    found = {r["prompt"]: r["dice"] for r in rows}
    assert found["mode1+propagated"] == found["mode5+propagated"] == 1.0
    assert found["mode1+copied"] == found["mode5+copied"] < 0.9
