"""Label trees from real captures: LLFF's fern with a label drawn by hand, Blender's lego with exact ones."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from nerf_seg.nvos.datasets import read_mask, read_tasks
from nerf_seg.nvos.metrics import score_views, upsampled
from nerf_seg.nvos.scene_lookup import match_view
from nerf_seg.nvos.scribbles import scribble_prompt
from tests.nerf_seg.fern_labels import REFERENCE_VIEW, TARGET_VIEW, write_tree


@pytest.fixture
def fern(test_data: Path) -> Path:
    root = test_data / "nerf" / "fern"
    if not root.is_dir():
        pytest.skip(f"{root} is not here")
    return root


@pytest.fixture
def lego(test_data: Path) -> Path:
    root = test_data / "nerf" / "lego" / "train"
    if not root.is_dir():
        pytest.skip(f"{root} is not here")
    return root


class TestFern:
    def test_tree_is_read_and_its_views_are_found(self, fern, tmp_path):
        write_tree(tmp_path, fern)
        (task,), faults = read_tasks("nvos", tmp_path, ["fern"])
        assert not faults
        names = sorted(path.name for path in (fern / "images_8").iterdir())
        assert match_view(task.reference, names, fern) == f"{REFERENCE_VIEW}.png"
        assert match_view(task.targets[0].view, names, fern) == f"{TARGET_VIEW}.png"

    def test_clicks_fall_on_the_plant_and_beside_it(self, fern, tmp_path):
        """The strokes are green where they are on leaves, and the target's mask is, too."""
        write_tree(tmp_path, fern)
        (task,), _ = read_tasks("nvos", tmp_path, ["fern"])
        image = np.asarray(PIL.Image.open(fern / "images_8" / f"{REFERENCE_VIEW}.png").convert("RGB")).astype(float)
        greenness = image[..., 1] - np.maximum(image[..., 0], image[..., 2])
        counts = []
        for seed in range(3):
            prompt = scribble_prompt(task.prompt, image.shape[:2], seed)
            prompt.check_inside(image.shape[:2])
            x, y = prompt.points.astype(int).T
            positive = prompt.labels == 1
            assert np.median(greenness[y[positive], x[positive]]) > 10
            assert np.median(greenness[y[~positive], x[~positive]]) < 5
            counts.append(positive.sum())
        assert min(counts) >= 10  # tens of points, as in SA3D

    def test_colour_alone_is_far_from_the_label(self, fern, tmp_path):
        """A floor for what any method has to beat, and a check that the label lies on the plant."""
        write_tree(tmp_path, fern)
        (task,), _ = read_tasks("nvos", tmp_path, ["fern"])
        truth = read_mask(task.targets[0].mask)
        assert 0.2 < truth.mean() < 0.4
        image = np.asarray(PIL.Image.open(fern / "images_8" / f"{TARGET_VIEW}.png").convert("RGB")).astype(np.float32)
        greenness = image[..., 1] - np.maximum(image[..., 0], image[..., 2])
        scores = score_views([upsampled(greenness - 8, truth.shape) > 0], [truth])
        assert 0.5 < scores.iou < 0.85


def test_lego_as_spin_lays_out_its_masks(lego, tmp_path):
    """Masks of training views from the exact alphas; the first is the prompt, all are scored."""
    views = ["r_0", "r_10", "r_25"]
    (tmp_path / "lego").mkdir()
    for view in views:
        alpha = PIL.Image.open(lego / f"{view}.png").getchannel("A")
        alpha.point(lambda value: 255 * (value > 127)).save(tmp_path / "lego" / f"{view}.png")
    (task,), faults = read_tasks("spin", tmp_path)
    assert not faults
    assert task.reference == "r_0"
    names = sorted(path.name for path in lego.iterdir())
    assert [match_view(target.view, names, None) for target in task.targets] == [f"{view}.png" for view in views]
    exact = np.asarray(PIL.Image.open(lego / "r_0.png"))[..., 3] > 127
    np.testing.assert_array_equal(read_mask(task.prompt), exact)
