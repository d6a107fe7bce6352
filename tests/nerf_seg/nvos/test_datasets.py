"""The three layouts of labels, and what can be missing."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from nerf_seg.nvos.datasets import NVOS_VIEWS, LabelError, Scribbles, read_drawn, read_mask, read_tasks
from zim_plugins.core import ZimError


def write_mask(path: Path, size: tuple[int, int] = (12, 16), value: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, dtype=np.uint8)
    mask[3:8, 4:9] = value
    PIL.Image.fromarray(mask).save(path)


def write_nvos(labels: Path) -> None:
    """The whole tree of NVOS's labels, without the images."""
    for name, (target, _) in NVOS_VIEWS.items():
        base = name.partition("_")[0]
        write_mask(labels / "masks" / name / f"{target}_mask.png")
        for kind in ("pos", "neg"):
            write_mask(labels / "scribbles" / name / f"{kind}_0_{base}.png")


class TestNvos:
    @pytest.mark.parametrize("place", [".", "labels/llff", "llff_masks"])
    def test_eight_tasks_of_seven_captures(self, tmp_path, place):
        write_nvos(tmp_path / place)
        tasks, faults = read_tasks("nvos", tmp_path)
        assert [task.name for task in tasks] == list(NVOS_VIEWS)
        assert not faults
        assert len({task.capture for task in tasks}) == 7
        left = next(task for task in tasks if task.name == "horns_left")
        assert (left.capture, left.reference) == ("horns", "DJI_20200223_163055_437")
        assert [target.view for target in left.targets] == ["DJI_20200223_163024_597"]
        assert isinstance(left.prompt, Scribbles)
        assert [path.name for path in left.prompt.positive] == ["pos_0_horns.png"]
        assert len(left.files()) == 3

    def test_scenes_by_name(self, tmp_path):
        write_nvos(tmp_path)
        assert [task.name for task in read_tasks("nvos", tmp_path, ["trex", "fern"])[0]] == ["trex", "fern"]
        with pytest.raises(LabelError, match="no room; there are fern, flower"):
            read_tasks("nvos", tmp_path, ["room"])

    def test_what_is_missing_is_told_and_the_rest_goes_on(self, tmp_path):
        write_nvos(tmp_path)
        (tmp_path / "masks/fern/IMG_4027_mask.png").unlink()
        (tmp_path / "scribbles/trex/neg_0_trex.png").unlink()
        tasks, faults = read_tasks("nvos", tmp_path)
        assert len(tasks) == 6
        assert "IMG_4027_mask.png is missing" in faults["fern"]
        assert "holds no neg_*.png" in faults["trex"]

    def test_no_tree_names_the_source(self, tmp_path):
        with pytest.raises(LabelError, match=r"no masks/ and scribbles/ .*jason718\.github\.io/nvos"):
            read_tasks("nvos", tmp_path)
        assert issubclass(LabelError, ZimError)


class TestSpin:
    def test_first_mask_is_the_prompt_and_all_are_scored(self, tmp_path):
        for name in ("IMG_4040.png", "IMG_4026.png", "IMG_4026_cutout.png", "IMG_4030_pseudo.png", "IMG_4033.png"):
            write_mask(tmp_path / "fern_llff" / name)
        (tmp_path / "README").mkdir()
        (task,), faults = read_tasks("spin", tmp_path)
        assert not faults
        assert (task.name, task.reference) == ("fern_llff", "IMG_4026")
        assert [target.view for target in task.targets] == ["IMG_4026", "IMG_4033", "IMG_4040"]
        assert task.prompt == tmp_path / "fern_llff" / "IMG_4026.png"

    def test_empty(self, tmp_path):
        with pytest.raises(LabelError, match="SPIn-NeRF"):
            read_tasks("spin", tmp_path)


class TestLerfMask:
    def test_a_task_for_each_text(self, tmp_path):
        for view, text in (("frame_02", "green apple"), ("frame_01", "green apple"), ("frame_01", "pikachu")):
            write_mask(tmp_path / "figurines" / "test_mask" / view / f"{text}.png")
        tasks, faults = read_tasks("lerf-mask", tmp_path)
        assert [task.name for task in tasks] == ["figurines/green apple"]
        assert tasks[0].reference == "frame_01"
        assert [target.view for target in tasks[0].targets] == ["frame_02"]
        assert "only mask of its object" in faults["figurines/pikachu"]

    def test_empty(self, tmp_path):
        with pytest.raises(LabelError, match="LERF-Mask"):
            read_tasks("lerf-mask", tmp_path)


class TestImages:
    def test_masks_are_true_above_the_middle(self, tmp_path):
        write_mask(tmp_path / "a.png", value=128)
        assert read_mask(tmp_path / "a.png").sum() == 25
        write_mask(tmp_path / "a.png", value=127)
        with pytest.raises(LabelError, match="is empty: there is no object"):
            read_mask(tmp_path / "a.png")

    def test_scribbles_in_any_colour(self, tmp_path):
        drawn = np.zeros((8, 8, 4), dtype=np.uint8)
        drawn[..., 3] = 255  # an opaque canvas is no stroke
        drawn[2, 3] = (0, 0, 1, 255)
        PIL.Image.fromarray(drawn).save(tmp_path / "rgba.png")
        assert np.argwhere(read_drawn(tmp_path / "rgba.png")).tolist() == [[2, 3]]
        PIL.Image.fromarray(drawn[..., 2]).save(tmp_path / "grey.png")
        assert np.argwhere(read_drawn(tmp_path / "grey.png")).tolist() == [[2, 3]]

    @pytest.mark.parametrize("content", [b"", b"no picture"])
    def test_damaged(self, tmp_path, content):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(LabelError, match=r"a\.png (is empty|is not an image)"):
            read_mask(tmp_path / "a.png")
