"""`zim train` end to end on a small faithful copy of the data's folders."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zim_plugins.cli import main
from zim_plugins.core.modeling.zim import Zim, load_weights
from zim_plugins.training.recipes import RECIPES
from zim_plugins.training.samples.library import Library, held_out


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
    run = ["train", "zim", "--recipe", "zim_tiny_dry_run", "--data", str(tmp_path / "data")]
    run += ["--out", str(tmp_path / "run")]
    assert main([*run, "--device", "cpu", "--max-steps", "4"]) == 0
    assert not (tmp_path / "run/best.safetensors").exists()
    assert main([*run, "--device", "cpu"]) == 0
    assert "continuing from step 4" in capsys.readouterr().err
    _, metadata = load_weights(tmp_path / "run/best.safetensors")
    assert metadata["step"] == "6"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["zim", "--recipe", "nothing"], "known are zim_tiny"),
        (["zim", "--recipe", "converter_tiny"], "no recipe 'converter_tiny' of a zim"),
        (["zim"], "--data"),
        (["zim", "--data", "/nowhere"], "/nowhere"),
        (["zim", "--data", ".", "--trunk-weights", "x.pt"], "not for a zim"),
        (["converter", "--data", ".", "--lora", "4"], "not for a converter"),
        (["zim", "--data", ".", "--from", "gone.pth"], "gone.pth is no file"),
        (["converter", "--data", ".", "--mattes", "."], "--mattes is not for a converter"),
        (["zim", "--data", ".", "--mattes", "/nowhere"], "--mattes /nowhere does not exist"),
        (["zim", "--data", ".", "--max-steps", "0"], "at least 1, got 0"),
        (["zim", "--data", ".", "--batch-size", "0"], "at least 1, got 0"),
        (["zim", "--data", ".", "--lr", "-1"], "above 0, got -1"),
        (["zim", "--data", ".", "--hourly-price", "-1"], "at least 0, got -1"),
        (["zim", "--data", ".", "--parallel", "fsdp", "--device", "cpu"], "torchrun"),
    ],
)
def test_misuse_is_told_in_one_line(arguments: list[str], reason: str, capsys) -> None:
    assert main(["train", *arguments]) in (1, 2)
    told = capsys.readouterr().err
    assert reason in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("recipe", ["zim_vit_b_dry_run", "zim_vit_l_dry_run", "converter_hiera_bp_dry_run"])
def test_small_copies_of_the_large_recipes_run(recipe: str, tmp_path: Path, library: Library) -> None:
    write_data(tmp_path / "data", library)
    run = ["--recipe", recipe, "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    assert main(["train", recipe.split("_")[0], *run, "--device", "cpu", "--max-steps", "2", "--dtype", "bf16"]) == 0
    assert (tmp_path / "run/last.pt").is_file()


def test_a_dry_run_says_what_it_costs_and_writes_nothing(tmp_path: Path, library: Library, capsys) -> None:
    write_data(tmp_path / "data", library)
    run = ["train", "zim", "--recipe", "zim_vit_b_dry_run", "--data", str(tmp_path / "data"), "--device", "cpu"]
    assert main([*run, "--out", str(tmp_path / "run"), "--dry-run", "--hourly-price", "1000", "--batch-size", "4"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"about [\d.e-]+ hours on 1 process, [\d.]+ GB of memory each, [\d.e-]+ TFLOP a step", told)
    assert "at 1000 an hour" in told
    assert not (tmp_path / "run").exists()


def test_sam_s_weights_start_a_zim_that_is_partly_frozen_with_adapters(tmp_path: Path, library: Library) -> None:
    pytest.importorskip("peft")
    torch.manual_seed(5)
    sam = Zim(replace(RECIPES["zim_vit_b_dry_run"].settings.config, pixel_decoder="sam", masked_attention="none"))
    state = {k: v + 0.05 if k.startswith("image_encoder") else v for k, v in sam.state_dict().items()}
    torch.save(state, tmp_path / "sam.pth")
    write_data(tmp_path / "data", library)
    run = ["train", "zim", "--recipe", "zim_vit_b_dry_run", "--data", str(tmp_path / "data"), "--device", "cpu"]
    options = ["--from", str(tmp_path / "sam.pth"), "--freeze", "prompt_encoder", "--lora", "2", "--lr", "1e-2"]
    assert main([*run, *options, "--out", str(tmp_path / "run")]) == 0
    zim, _ = load_weights(tmp_path / "run/best.safetensors")
    ours = zim.state_dict()
    kept = {k: torch.equal(ours[k], v.half().float()) for k, v in state.items() if k in ours}
    adapted = {k for k in kept if k.endswith("attn.qkv.weight")}
    assert all(v for k, v in kept.items() if k.startswith(("prompt_encoder", "image_encoder")) and k not in adapted)
    assert adapted
    assert not any(kept[k] for k in adapted)
    assert not all(v for k, v in kept.items() if k.startswith("mask_decoder"))


def test_two_commands_from_sa1b_to_a_trained_zim(tmp_path: Path, library: Library) -> None:
    """Masks to mattes, mattes to a network; both by the command line."""
    from tests.data.conftest import sa1b_files, write_tar

    write_data(tmp_path / "data", library)
    converter = tmp_path / "converter"
    run = ["train", "converter", "--recipe", "converter_tiny_dry_run", "--data", str(tmp_path / "data")]
    assert main([*run, "--out", str(converter), "--device", "cpu", "--max-steps", "4"]) == 0
    write_tar(tmp_path / "sa1b/sa_000000.tar", sa1b_files(1, 3, seed=0))
    mattes, zim = tmp_path / "mattes", tmp_path / "zim"
    made = ["convert", "--data", str(tmp_path / "sa1b"), "--out", str(mattes), "--workers", "1", "--device", "cpu"]
    assert main([*made, "--converter", str(converter / "best.safetensors")]) == 0
    run = ["train", "zim", "--recipe", "zim_vit_b_dry_run", "--data", str(mattes), "--device", "cpu"]
    assert main([*run, "--photographs", str(tmp_path / "sa1b"), "--out", str(zim)]) == 0
    trained, metadata = load_weights(zim / "best.safetensors")
    assert trained.config == RECIPES["zim_vit_b_dry_run"].settings.config
    assert metadata["step"] == "4"


def test_a_converter_trains_by_the_same_command_and_converts(tmp_path: Path, library: Library) -> None:
    from zim_plugins.label_converter.converter import MatteConverter

    write_data(tmp_path / "data", library)
    run = ["train", "converter", "--recipe", "converter_tiny_dry_run", "--data", str(tmp_path / "data")]
    run += ["--out", str(tmp_path / "run")]
    assert main([*run, "--device", "cpu"]) == 0
    converter = MatteConverter.load(tmp_path / "run/best.safetensors", device="cpu")
    photo = library.photos[0]
    (matte,) = converter.convert(photo.rgb, [photo.masks[0] > 0])
    assert matte.alpha.ndim == 2
    assert 0 <= matte.alpha.min() <= matte.alpha.max() <= 1


def test_whole_objects_are_mixed_with_parts(tmp_path: Path, library: Library, capsys) -> None:
    from tests.training.samples.test_shards import keys_of, write_shard

    mattes = tmp_path / "mattes"
    write_shard(mattes, "sa_0", keys_of(False, 6))
    write_data(tmp_path / "objects", library)
    run = ["train", "zim", "--recipe", "zim_vit_b_objects_dry_run", "--data", str(mattes), "--device", "cpu"]
    run += ["--out", str(tmp_path / "run")]
    assert main(run) == 2
    assert "--objects" in capsys.readouterr().err
    assert main([*run, "--objects", str(tmp_path / "objects"), "--objects-share", "1.5"]) == 2
    assert main([*run, "--objects", str(tmp_path / "none")]) == 2
    assert main([*run, "--objects", str(tmp_path / "objects"), "--objects-share", "0.4"]) == 0
    assert (tmp_path / "run" / "best.safetensors").exists() or (tmp_path / "run" / "last.pt").exists()
    plain = ["train", "zim", "--recipe", "zim_vit_b_dry_run", "--data", str(mattes), "--device", "cpu"]
    capsys.readouterr()
    assert main([*plain, "--objects", str(tmp_path / "objects")]) == 2
    assert "zim_vit_b_objects does" in capsys.readouterr().err
