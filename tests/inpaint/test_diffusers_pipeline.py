"""Every task end to end through a real diffusers pipeline with tiny random weights, loaded offline."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("diffusers", reason="pip install 'zim-plugins[diffusion]'")
pytest.importorskip("transformers", reason="pip install 'zim-plugins[diffusion]'")

import torch

from inpaint import ZimInpaintPipeline
from inpaint.inpainters.base import Inpainter
from inpaint.inpainters.registry import load_inpainter
from tests.inpaint.tiny_models import save_stable_diffusion
from zim_plugins.core import UnsupportedPrompt

STEPS = {"num_inference_steps": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_stable_diffusion(tmp_path_factory.mktemp("pipelines") / "sd", unet_channels=9)


@pytest.fixture
def pipe(folder: Path, fake_predictor: Any) -> ZimInpaintPipeline:
    return ZimInpaintPipeline.from_pretrained(str(folder), device="cpu", predictor=fake_predictor)


@pytest.fixture
def flat() -> Inpainter:
    """A filler without a text, that paints red."""

    class Flat:
        name = "flat"
        work_side_px: int | None = None

        def fill(self, image: np.ndarray, hole: np.ndarray) -> np.ndarray:
            return np.where(hole[..., None], np.uint8([255, 0, 0]), image)

    return Flat()


def test_a_mask_as_in_diffusers(pipe: ZimInpaintPipeline, scene) -> None:
    mask = PIL.Image.fromarray((scene.alpha > 0.5).astype(np.uint8) * 255)
    output = pipe("a cat", PIL.Image.fromarray(scene.image), mask, **STEPS)
    made = np.asarray(output.images[0])
    hole = scene.alpha > 0.5
    assert np.array_equal(made[~hole], scene.image[~hole])
    assert (made[hole] != scene.image[hole]).any()
    arrays = pipe("a cat", scene.image, hole, output_type="np", **STEPS)
    assert np.array_equal(np.rint(arrays.images[0] * 255), made)


def test_a_grey_mask_is_a_soft_one(pipe: ZimInpaintPipeline, scene) -> None:
    soft = np.where(scene.alpha > 0.5, np.float32(0.6), np.float32(0))
    hard = (soft > 0).astype(np.float32)
    image = scene.image
    made = [pipe("a cat", image, mask, output_type="np", **STEPS).images[0] for mask in (soft, hard)]
    assert (made[0] != made[1]).any()
    theirs = [
        pipe.inpainter.pipeline(
            prompt="a cat",
            image=PIL.Image.fromarray(image),
            mask_image=PIL.Image.fromarray(np.rint(mask * 255).astype(np.uint8)),
            height=128,
            width=160,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
            **STEPS,
        ).images[0]
        for mask in (soft, hard)
    ]
    assert np.array_equal(theirs[0], theirs[1])


def test_remove_by_a_click(pipe: ZimInpaintPipeline, scene) -> None:
    output = pipe(image=PIL.Image.fromarray(scene.image), points=[(80, 64)], **STEPS)
    made, alpha = np.asarray(output.images[0]), output.mattes[0]
    assert alpha[64, 80] == 1 and alpha[0, 0] == 0
    far = np.hypot(*(np.mgrid[:128, :160] - np.array([64, 80])[:, None, None])) > 30
    assert np.array_equal(made[far], scene.image[far]) and (made[64, 80] != scene.image[64, 80]).any()


def test_remove_fill_replace_and_cut_out_by_a_matte(pipe: ZimInpaintPipeline, scene) -> None:
    given = {"image": scene.image, "matte": scene.alpha, "output_type": "np", **STEPS}
    outside = scene.alpha == 0
    outside[8:120, 12:148] = False  # beyond the hole's growth
    image = scene.image.astype(np.float32) / 255
    for made in (pipe(**given).images[0], pipe("a cat", **given).images[0]):
        assert made.shape == image.shape and np.array_equal(made[outside], image[outside])
        assert (made[scene.alpha > 0.5] != image[scene.alpha > 0.5]).any()
    painted = pipe("a beach", task="replace", **given).images[0]
    assert (painted[outside] != image[outside]).any()
    assert np.abs(painted[scene.alpha == 1] - image[scene.alpha == 1]).max() < 0.1  # the object stays
    on_colour = pipe(task="replace", background=(0, 0, 255), **given).images[0]
    assert np.array_equal(on_colour[0, 0], np.float32([0, 0, 1]))
    on_image = pipe(task="replace", background=PIL.Image.new("RGB", (30, 20), (0, 255, 0)), **given).images[0]
    assert np.array_equal(on_image[0, 0], np.float32([0, 1, 0]))
    cut = pipe(task="cutout", image=scene.image, matte=scene.alpha).images[0]
    assert cut.mode == "RGBA" and np.array_equal(np.asarray(cut)[..., 3], np.rint(scene.alpha * 255))


def test_a_generator_decides(pipe: ZimInpaintPipeline, scene) -> None:
    def make(seed: int) -> list[np.ndarray]:
        generator = torch.Generator().manual_seed(seed)
        given = {"image": [scene.image] * 2, "matte": scene.alpha, "generator": generator}
        return pipe("a cat", output_type="np", **given, **STEPS).images

    first, again, other = make(1), make(1), make(2)
    assert np.array_equal(first, again)
    assert (first[0] != first[1]).any() and (first[0] != other[0]).any()


def test_several_images_with_a_mask_and_a_prompt_each(pipe: ZimInpaintPipeline, scene) -> None:
    masks = [scene.alpha > 0.5, scene.alpha > 0.9]
    output = pipe(["a cat", "a dog"], [scene.image] * 2, masks, output_type="np", **STEPS)
    assert len(output.images) == 2
    with pytest.raises(ValueError, match="2 images, 1 masks"):
        pipe("a cat", [scene.image] * 2, [masks[0]])


def test_a_pipeline_that_diffusers_loaded_drops_in(pipe: ZimInpaintPipeline, scene, fake_predictor: Any) -> None:
    own = ZimInpaintPipeline(pipe.inpainter.pipeline, predictor=fake_predictor).to("cpu")
    given = {"image": scene.image, "points": [(80, 64)], "output_type": "np", **STEPS}
    assert np.array_equal(own(**given).images[0], pipe(**given).images[0])


def test_a_filler_without_a_text(flat: Inpainter, scene, fake_predictor: Any) -> None:
    pipe = ZimInpaintPipeline(flat, predictor=fake_predictor)
    hole = scene.alpha > 0.5
    made = np.asarray(pipe(image=scene.image, mask_image=hole).images[0])
    assert np.array_equal(made[~hole], scene.image[~hole])
    assert (made[hole] != scene.image[hole]).any(axis=1).mean() > 0.95  # painted, shifted to meet the rim
    with pytest.raises(UnsupportedPrompt, match="flat takes no text"):
        pipe("a cat", scene.image, hole)
    with pytest.raises(UnsupportedPrompt, match="flat takes no steps"):
        pipe(image=scene.image, mask_image=hole, num_inference_steps=3)
    with pytest.raises(ValueError, match="cannot move"):
        pipe.to("cpu")


def test_a_first_fill_takes_settings_too(folder: Path, scene) -> None:
    pytest.importorskip("patchmatch")
    pipe = ZimInpaintPipeline(load_inpainter(f"patchmatch+{folder}", device="cpu"))
    made = [
        pipe(image=scene.image, matte=scene.alpha, strength=strength, output_type="np", **STEPS).images[0]
        for strength in (0.4, 0.9)
    ]
    assert (made[0] != made[1]).any()


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({}, "no image"),
        ({"image": []}, "no image"),
        ({"image": np.zeros((8, 8, 3), np.uint8)}, "either mask_image"),
        ({"image": np.zeros((8, 8, 3), np.uint8), "mask_image": np.zeros((8, 8)), "box": (1, 1, 4, 4)}, "either mask_"),
        ({"image": np.zeros((8, 8, 3), np.uint8), "mask_image": np.zeros((8, 8))}, "is black"),
        ({"image": np.zeros((8, 8, 3), np.uint8), "mask_image": np.ones((9, 8))}, r"\(9, 8\)"),
        ({"image": np.full((8, 8, 3), 9.0), "mask_image": np.ones((8, 8))}, r"in \[0, 1\]"),
        ({"image": np.zeros((8, 8, 3), np.uint8), "points": [(1, 1)], "matte": np.ones((8, 8), np.float32)}, "without"),
        ({"image": np.zeros((8, 8, 3), np.uint8), "points": [(1, 1)], "task": "fill"}, "fill goes with a prompt"),
        ({"image": np.zeros((8, 8, 3), np.uint8), "points": [(1, 1)], "prompt": "a", "task": "cutout"}, "without a"),
    ],
)
def test_what_does_not_go_together_is_refused(
    flat: Inpainter, fake_predictor: Any, given: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        ZimInpaintPipeline(flat, predictor=fake_predictor)(**given)
