"""Families of diffusers' pipelines behind one seam: those that are small enough to build, with random weights."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="pip install 'zim-plugins[diffusion]'")
pytest.importorskip("transformers", reason="pip install 'zim-plugins[diffusion]'")

import diffusers

from inpaint.inpainters.base import FillSettings
from inpaint.inpainters.diffusion import DiffusionInpainter
from inpaint.inpainters.pipeline_calls import FILL_INSTRUCTION, TRUE_GUIDANCE, PipelineCall, missing
from inpaint.inpainters.registry import load_inpainter
from tests.inpaint.tiny_models import save_flux, save_sd3
from zim_plugins.core import CheckpointError

FAMILIES = {
    "FluxInpaintPipeline": (save_flux, "FluxInpaintPipeline"),
    "FluxPipeline": (save_flux, "FluxInpaintPipeline"),
    "FluxKontextInpaintPipeline": (save_flux, "FluxKontextInpaintPipeline"),
    "FluxKontextPipeline": (save_flux, "FluxKontext"),
    "StableDiffusion3InpaintPipeline": (save_sd3, "StableDiffusion3InpaintPipeline"),
    "StableDiffusion3Pipeline": (save_sd3, "StableDiffusion3InpaintPipeline"),
}
"""Class that is saved: who saves it, and what begins the name of the class that fills."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_fills_the_hole_and_nothing_else(kind: str, tmp_path: Path, monkeypatch) -> None:
    save, expected = FAMILIES[kind]
    inpainter = load_inpainter(str(save(tmp_path, kind)), device="cpu", settings=FillSettings(steps=2))
    assert isinstance(inpainter, DiffusionInpainter)
    assert type(inpainter.pipeline).__name__.startswith(expected)
    inpainter.work_side_px = 64
    ys, xs = np.mgrid[:56, :64]
    image = np.stack([xs * 3, ys * 4, 120 + 0 * xs], axis=-1).astype(np.uint8)
    hole = np.zeros((56, 64), bool)
    hole[16:40, 24:48] = True
    filled = inpainter.fill(image, hole)
    assert np.array_equal(filled[~hole], image[~hole]) and (filled[hole] != image[hole]).any()
    assert np.array_equal(inpainter.fill(image, hole), filled)
    assert (inpainter.fill_guided(image, hole, prompt="a cat") != filled).any()


EXPECTED_CALLS = {
    "FluxFillPipeline": "mask_image",
    "FluxKontextInpaintPipeline": "mask_image",
    "FluxKontextPipeline": "",
    "QwenImageInpaintPipeline": "mask_image",
    "QwenImageEditInpaintPipeline": "mask_image",
    "QwenImageEditPipeline": "",
    "StableDiffusion3InpaintPipeline": "mask_image",
    "ChromaInpaintPipeline": "mask_image",
    "ZImageInpaintPipeline": "mask_image",
    "BriaFiboEditPipeline": "mask",
    "AmusedInpaintPipeline": "mask_image",
    "StableDiffusionXLControlNetInpaintPipeline": None,
    "StableDiffusion3ControlNetInpaintingPipeline": None,
    "FluxPipeline": None,
}
"""What the signature says of classes that are too large to be built here, too."""


@pytest.mark.parametrize("kind", EXPECTED_CALLS)
def test_a_call_is_told_from_its_signature(kind: str) -> None:
    if not hasattr(diffusers, kind):
        pytest.skip(f"this diffusers has no {kind}")
    call = PipelineCall.of(getattr(diffusers, kind))
    assert (None if call is None else call.hole) == EXPECTED_CALLS[kind]


class FakeEdit:
    """Edits whole images, and notes how it is called."""

    vae_scale_factor = 4

    def __init__(self) -> None:
        self.calls: list[dict] = []

    def set_progress_bar_config(self, **_: object) -> None: ...

    def __call__(
        self,
        image,
        prompt=None,
        negative_prompt=None,
        true_cfg_scale=4.0,
        guidance_scale=None,
        num_inference_steps=50,
        generator=None,
        output_type="pil",
    ):
        self.calls.append({k: v for k, v in locals().items() if k != "self"})
        answer = type("Answer", (), {})()
        answer.images = [np.full((32, 32, 3), 0.25, np.float32)]  # of a size of its own
        return answer


def test_a_model_that_edits_is_shown_the_hole_or_told_the_text() -> None:
    pipeline = FakeEdit()
    inpainter = DiffusionInpainter(pipeline, name="edit", settings=FillSettings(guidance=7, negative_prompt="fog"))
    image, hole = np.full((40, 64, 3), 200, np.uint8), np.zeros((40, 64), bool)
    hole[10:20, 10:20] = True
    inpainter.work_side_px = 64
    filled = inpainter.fill(image, hole)
    assert (filled[hole] == 64).all() and (filled[~hole] == 200).all()
    inpainter.fill_guided(image, hole, prompt="make it a pond")
    shown, told = pipeline.calls
    assert shown["prompt"] == FILL_INSTRUCTION and np.asarray(shown["image"])[15, 15, 0] == 128
    assert told["prompt"] == "make it a pond" and np.asarray(told["image"])[15, 15, 0] == 200
    assert told["true_cfg_scale"] == 7 and told["guidance_scale"] is None and told["negative_prompt"] == "fog"


@pytest.mark.parametrize(
    ("kind", "guidance", "negative", "expected"),
    [
        ("FluxInpaintPipeline", 5.0, "", {"guidance_scale": 5.0}),
        ("FluxInpaintPipeline", None, "fog", {"negative_prompt": "fog", "true_cfg_scale": TRUE_GUIDANCE}),
        ("QwenImageInpaintPipeline", 5.0, "fog", {"negative_prompt": "fog", "true_cfg_scale": 5.0}),
        ("QwenImageInpaintPipeline", None, "fog", {"negative_prompt": "fog"}),
        ("StableDiffusion3InpaintPipeline", 5.0, "fog", {"negative_prompt": "fog", "guidance_scale": 5.0}),
    ],
)
def test_guidance_and_negative_prompts_are_heeded(kind, guidance, negative, expected) -> None:
    call = PipelineCall.of(getattr(diffusers, kind))
    assert call is not None and call.guidance(guidance, negative) == expected


def test_a_pipeline_that_needs_more_is_refused_by_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionXLControlNetInpaintPipeline"}')
    with pytest.raises(CheckpointError, match=r"needs control_image"):
        load_inpainter(str(tmp_path), device="cpu")
    assert "control_image" in missing(PipelineParameters)


PipelineParameters = (
    __import__("inspect").signature(diffusers.StableDiffusionXLControlNetInpaintPipeline.__call__).parameters
)
