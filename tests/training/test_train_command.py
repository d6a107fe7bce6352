"""`zim train` end to end on a small faithful copy of the data's folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zim_plugins.cli import main
from zim_plugins.core.modeling.zim import load_weights
from zim_plugins.training.library import Library, held_out


def write_data(root: Path, library: Library) -> None:
    """The layout that `load_library` reads: names are chosen so that both splits are filled."""
    names = [str(i).zfill(12) for i in range(200)]
    train, kept = [n for n in names if not held_out(n, 8)][:3], [n for n in names if held_out(n, 8)][:1]
    objects, bsds = root / "segmentation/objects/coco_mval", root / "segmentation/bsds500/train"
    for folder in (objects / "images", objects / "masks", bsds / "images", bsds / "segments"):
        folder.mkdir(parents=True)
    for name, photo in zip(train + kept, library.photos, strict=True):
        Image.fromarray(photo.rgb).save(objects / "images" / f"{name}.jpg")
        Image.fromarray(photo.masks[0]).save(objects / "masks" / f"cat_00_{name}.png")
        Image.fromarray(photo.rgb).save(bsds / "images" / f"{name}.jpg")
        Image.fromarray(photo.segments[0]).save(bsds / "segments" / f"{name}_0.png")
    for kind, suffix in (("cutouts", "webp"), ("rigid", "png")):
        (root / "matting" / kind).mkdir(parents=True)
        for name in train + kept:
            Image.fromarray(np.asarray(library.cutouts[0].rgba)).save(root / "matting" / kind / f"{name}.{suffix}")


def test_a_dry_run_writes_a_checkpoint_and_continues(tmp_path: Path, library: Library, capsys) -> None:
    write_data(tmp_path / "data", library)
    run = ["train", "zim_tiny_dry_run", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    assert main([*run, "--device", "cpu", "--max-steps", "4"]) == 0
    assert not (tmp_path / "run/best.safetensors").exists()
    assert main([*run, "--device", "cpu"]) == 0
    assert "continuing from step 4" in capsys.readouterr().err
    _, metadata = load_weights(tmp_path / "run/best.safetensors")
    assert metadata["step"] == "6"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["nothing"], "known are zim_tiny"), (["zim_tiny"], "--data"), (["zim_tiny", "--data", "/nowhere"], "/nowhere")],
)
def test_misuse_is_told_in_one_line(arguments: list[str], reason: str, capsys) -> None:
    assert main(["train", *arguments]) == 2
    told = capsys.readouterr().err
    assert reason in told
    assert told.count("\n") == 1


def test_a_converter_trains_by_the_same_command_and_converts(tmp_path: Path, library: Library) -> None:
    from zim_plugins.label_converter.convert import MatteConverter

    write_data(tmp_path / "data", library)
    run = ["train", "converter_tiny_dry_run", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    assert main([*run, "--device", "cpu"]) == 0
    converter = MatteConverter.load(tmp_path / "run/best.safetensors", device="cpu")
    photo = library.photos[0]
    (matte,) = converter.convert(photo.rgb, [photo.masks[0] > 0])
    assert matte.alpha.ndim == 2
    assert 0 <= matte.alpha.min() <= matte.alpha.max() <= 1
