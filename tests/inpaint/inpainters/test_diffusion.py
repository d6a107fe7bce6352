"""Real diffusers pipelines with tiny random weights, saved to disk and loaded offline: what they paint is noise."""

import socket
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("diffusers", reason="pip install 'zim-plugins[diffusion]'")
pytest.importorskip("transformers", reason="pip install 'zim-plugins[diffusion]'")

import torch

from inpaint.inpainters.base import FillSettings, GuidedInpainter
from inpaint.inpainters.differential import encode
from inpaint.inpainters.diffusion import DiffusionInpainter, UnsafeContent
from inpaint.inpainters.prefill import PrefilledInpainter
from inpaint.inpainters.registry import load_inpainter
from inpaint.inpainters.weights import download_model
from tests.inpaint.tiny_models import save_flux_fill, save_stable_diffusion
from zim_plugins.core import CheckpointError, UnsupportedPrompt

STEPS = FillSettings(steps=4)
KINDS = {"sd": (False, 4), "sd-inpaint": (False, 9), "sdxl": (True, 4), "sdxl-inpaint": (True, 9)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pipelines")
    return {
        kind: save_stable_diffusion(root / kind, xl=xl, unet_channels=channels)
        for kind, (xl, channels) in KINDS.items()
    }


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nothing is fetched unasked")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@cache
def loaded(folder: Path) -> DiffusionInpainter:
    inpainter = load_inpainter(str(folder), device="cpu")
    assert isinstance(inpainter, DiffusionInpainter)
    return inpainter


def load(folder: Path, settings: FillSettings = STEPS) -> DiffusionInpainter:
    return loaded(folder).with_settings(settings)


@pytest.fixture
def image() -> np.ndarray:
    """A smooth image, 56 x 64 px: the model's own width."""
    ys, xs = np.mgrid[:56, :64]
    return np.stack([xs * 3, ys * 4, 120 + 0 * xs], axis=-1).astype(np.uint8)


@pytest.fixture
def hole() -> np.ndarray:
    hole = np.zeros((56, 64), bool)
    hole[16:40, 24:48] = True
    return hole


@pytest.mark.parametrize("kind", KINDS)
def test_fills_the_hole_and_nothing_else(
    folders: dict[str, Path], kind: str, image: np.ndarray, hole: np.ndarray
) -> None:
    inpainter = load(folders[kind])
    assert isinstance(inpainter, GuidedInpainter) and inpainter.work_side_px == 64
    filled = inpainter.fill(image, hole)
    assert np.array_equal(filled[~hole], image[~hole])
    assert (filled[hole] != image[hole]).any()
    assert np.array_equal(inpainter.fill(image, hole), filled)  # the seed decides
    other = load(folders[kind], FillSettings(seed=1, steps=4)).fill(image, hole)
    assert (other != filled).any()
    told = inpainter.fill_guided(image, hole, prompt="a cat")
    assert (told != filled).any() and np.array_equal(told[~hole], image[~hole])


def test_the_pipeline_gets_the_image_padded_not_squeezed(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    inpainter = load(folders["sd"])
    seen: dict[str, Any] = {}
    real = inpainter.pipeline

    class Spy:
        image_processor = real.image_processor

        def __call__(self, **given: Any) -> Any:
            seen.update(given)
            return real(**given)

    monkeypatch.setattr(inpainter, "pipeline", Spy())
    image = rng.integers(0, 256, (61, 83, 3), dtype=np.uint8)
    hole = np.zeros((61, 83), bool)
    hole[50:, 70:] = True
    filled = inpainter.fill(image, hole)
    assert (seen["height"], seen["width"]) == (64, 88)
    assert np.array_equal(np.asarray(seen["image"])[:61, :83], image)
    mask = np.asarray(seen["mask_image"])
    assert np.array_equal(mask[:61, :83] > 0, hole)
    assert (mask[61:, 70:] == 255).all()  # what the padding mirrors of the hole is hole too
    assert np.array_equal(filled[~hole], image[~hole])

    inpainter.fill(image[:20, :32], hole[41:, 51:])
    assert (seen["height"], seen["width"]) == (40, 64)  # a small image comes at the model's own size


def test_a_soft_map_changes_what_a_hard_one_does_not(
    folders: dict[str, Path], image: np.ndarray, hole: np.ndarray
) -> None:
    """diffusers makes every mask hard; a soft map through Differential Diffusion is seen."""
    inpainter = load(folders["sd"])
    soft = np.where(hole, np.linspace(0.55, 0.95, 64, dtype=np.float32)[None], np.float32(0))

    def theirs(mask: np.ndarray) -> np.ndarray:
        answer = inpainter.pipeline(
            prompt="a cat",
            image=PIL.Image.fromarray(image),
            mask_image=PIL.Image.fromarray(np.rint(mask * 255).astype(np.uint8)),
            height=56,
            width=64,
            num_inference_steps=4,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
        )
        return answer.images[0]

    assert np.array_equal(theirs(soft), theirs(hole.astype(np.float32)))
    ours = inpainter.fill_guided(image, hole, prompt="a cat", change=soft)
    hard = inpainter.fill_guided(image, hole, prompt="a cat", change=hole.astype(np.float32))
    assert (ours[hole] != hard[hole]).any()
    assert np.array_equal(ours[~hole], image[~hole])


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerDiscreteScheduler", "PNDMScheduler"])
def test_half_a_change_is_half_the_strength(
    folders: dict[str, Path], image: np.ndarray, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paper's own reading of the map, against diffusers' image-to-image pipeline from the same noise."""
    import diffusers

    inpainter = load(folders["sd"], FillSettings(steps=8))
    usual = getattr(diffusers, scheduler).from_config(inpainter.pipeline.scheduler.config, skip_prk_steps=True)
    monkeypatch.setattr(inpainter.pipeline, "scheduler", usual)
    everything = np.ones(image.shape[:2], bool)
    half = np.full(image.shape[:2], 0.5, np.float32)
    ours = inpainter.fill_guided(image, everything, prompt="a cat", change=half)
    assert inpainter.pipeline.scheduler is usual
    parts = dict(inpainter.pipeline.components)
    if scheduler == "PNDMScheduler":  # which remembers, so that Euler's method stands in
        parts["scheduler"] = diffusers.EulerDiscreteScheduler.from_config(usual.config)
    pipeline = diffusers.StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    with torch.inference_mode():
        latents = encode(pipeline, torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1)
    theirs = pipeline(
        prompt="a cat",
        image=latents,
        strength=0.5,
        num_inference_steps=8,
        generator=torch.Generator().manual_seed(1),
        output_type="np",
    )
    assert np.abs(ours - theirs.images[0] * 255).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_ends_of_the_map(folders: dict[str, Path], kind: str, image: np.ndarray, hole: np.ndarray) -> None:
    inpainter = load(folders[kind], FillSettings(steps=8))
    free = inpainter.fill_guided(image, hole)
    assert np.array_equal(inpainter.fill_guided(image, hole, change=hole.astype(np.float32)), free)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    vae = inpainter.pipeline.vae
    with torch.inference_mode():
        encoded = encode(inpainter.pipeline, pixels)
        own = vae.decode(encoded / vae.config.scaling_factor).sample[0].permute(1, 2, 0).numpy() * 127.5 + 127.5
    least = inpainter.fill_guided(image, hole, change=np.where(hole, np.float32(0.01), np.float32(0)))
    assert np.abs(least - own.clip(0, 255))[hole].mean() < np.abs(free - own.clip(0, 255))[hole].mean() / 2


def test_only_the_hole_of_a_map_counts(folders: dict[str, Path], image: np.ndarray, hole: np.ndarray) -> None:
    inpainter = load(folders["sd"])
    inside = np.where(hole, np.float32(0.5), np.float32(0))
    everywhere = np.full(hole.shape, 0.5, np.float32)
    assert np.array_equal(
        inpainter.fill_guided(image, hole, change=inside), inpainter.fill_guided(image, hole, change=everywhere)
    )


def test_a_text_may_fill_the_whole_image(folders: dict[str, Path], image: np.ndarray) -> None:
    inpainter, everything = load(folders["sd"]), np.ones(image.shape[:2], bool)
    assert (inpainter.fill_guided(image, everything, prompt="a cat") != image).any()
    with pytest.raises(ValueError, match="whole image"):
        inpainter.fill(image, everything)
    assert np.array_equal(inpainter.fill_guided(image, ~everything), image)


def test_settings_reach_the_pipeline(folders: dict[str, Path], image: np.ndarray, hole: np.ndarray) -> None:
    plain = load(folders["sd"]).fill_guided(image, hole, prompt="a cat")
    for settings in (
        FillSettings(steps=3),
        FillSettings(steps=4, strength=0.5),
        FillSettings(steps=4, guidance=1.0),
        FillSettings(steps=4, negative_prompt="fog"),
    ):
        told = load(folders["sd"], settings).fill_guided(image, hole, prompt="a cat")
        assert (told != plain).any(), settings


def test_a_first_fill_is_where_the_second_starts(folders: dict[str, Path], image: np.ndarray, hole: np.ndarray) -> None:
    pytest.importorskip("patchmatch")
    name = f"patchmatch+{folders['sd-inpaint']}"
    inpainter = load_inpainter(name, device="cpu", settings=FillSettings(steps=8))
    assert isinstance(inpainter, PrefilledInpainter) and isinstance(inpainter, GuidedInpainter)
    assert inpainter.name == name and inpainter.second.settings.strength == 0.5
    filled = inpainter.fill(image, hole)
    assert np.array_equal(filled[~hole], image[~hole])
    # The object that was in the hole leaves no trace: only the first fill is seen.
    spoiled = np.where(hole[..., None], np.uint8(255), image)
    assert np.array_equal(inpainter.fill(spoiled, hole), filled)
    assert (inpainter.second.fill(spoiled, hole) != inpainter.second.fill(image, hole)).any()


def test_flux_fill(tmp_path: Path, image: np.ndarray, hole: np.ndarray) -> None:
    """A pipeline of its own kind: sides in sixteens, no negative prompt, hard masks only."""
    inpainter = load(save_flux_fill(tmp_path), FillSettings(steps=2))
    assert type(inpainter.pipeline).__name__ == "FluxFillPipeline"
    assert inpainter.work_side_px == 128 * inpainter.pipeline.vae_scale_factor
    inpainter.work_side_px = 64
    filled = inpainter.fill(image, hole)
    assert np.array_equal(filled[~hole], image[~hole]) and (filled[hole] != image[hole]).any()
    assert (inpainter.fill_guided(image, hole, prompt="a cat") != filled).any()
    with pytest.raises(UnsupportedPrompt, match=r"FluxFillPipeline\) takes hard masks only"):
        inpainter.fill_guided(image, hole, change=hole.astype(np.float32))
    with pytest.raises(UnsupportedPrompt, match="takes no negative_prompt"):
        inpainter.with_settings(FillSettings(negative_prompt="fog")).fill(image, hole)


def test_what_the_safety_checker_withheld_is_no_result(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, image: np.ndarray, hole: np.ndarray
) -> None:
    inpainter = load(folders["sd"])

    def black(self: Any, pixels: Any, device: Any, dtype: Any) -> Any:
        return torch.zeros_like(pixels), [True]

    monkeypatch.setattr(type(inpainter.pipeline), "run_safety_checker", black)
    with pytest.raises(UnsafeContent, match="another prompt or seed"):
        inpainter.fill(image, hole)


def test_absent_models_are_named_with_licence_and_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"--download sdxl.*openrail\+\+"):
        load_inpainter("sdxl", device="cpu")
    with pytest.raises(CheckpointError, match="Non-Commercial"):
        load_inpainter("flux-fill", device="cpu")
    (tmp_path / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    with pytest.raises(CheckpointError, match="which paints no holes"):
        load_inpainter(str(tmp_path), device="cpu")


def test_a_download_that_fails_names_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"stable-diffusion-xl-1\.0-inpainting-0\.1 could not be fetched"):
        download_model("sdxl")
