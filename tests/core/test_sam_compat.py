"""SamPredictor's call: what it answers for SAM itself, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from zim_plugins.core.backends.zim_torch import ZimTorchBackend
from zim_plugins.core.modeling.image_encoder import ViTConfig
from zim_plugins.core.modeling.zim import Zim, sam_config
from zim_plugins.core.predictor import ImagePredictor
from zim_plugins.core.sam_compat import SamStylePredictor
from zim_plugins.errors import UnsupportedPrompt

ENCODER = ViTConfig(dim=32, depth=2, heads=2, global_blocks=(1,), frame_px=256)
POINTS, LABELS = np.array([[100, 60], [30, 140]]), np.array([1, 0])
BOX = np.array([20, 30, 170, 140])


@pytest.fixture(scope="module")
def sam() -> Zim:
    torch.manual_seed(0)
    sam = Zim(replace(sam_config("vit_b"), encoder=ENCODER, frame_px=256, mlp_dim=64)).eval()
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return sam


@pytest.fixture(scope="module")
def ours(sam: Zim) -> SamStylePredictor:
    return SamStylePredictor(ImagePredictor(ZimTorchBackend(sam, name="random")))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    ys, xs = np.mgrid[:150, :200] / 200
    return (127 + 120 * np.sin(np.stack([9 * xs, 7 * ys, 5 * xs * ys], axis=-1))).astype(np.uint8)


@pytest.mark.parametrize("multimask_output", [True, False])
@pytest.mark.parametrize(
    "prompt", [{"point_coords": POINTS, "point_labels": LABELS}, {"box": BOX}, {"box": BOX[None] + 0.5}], ids=str
)
def test_answers_as_sam_predictor(segment_anything, public_sam, sam, ours, image, prompt, multimask_output):
    model = public_sam(ENCODER, mlp_dim=64)
    model.load_state_dict(sam.state_dict(), strict=True)
    theirs = segment_anything.SamPredictor(model)
    theirs.set_image(image[..., ::-1], image_format="BGR")
    ours.set_image(image[..., ::-1], image_format="BGR")
    masks, scores, _ = theirs.predict(**prompt, multimask_output=multimask_output)
    alphas, our_scores, low_res = ours.predict(**prompt, multimask_output=multimask_output)
    assert alphas.shape == masks.shape
    assert ((alphas > 0.5) != masks).mean() < 1e-3
    np.testing.assert_allclose(our_scores, scores, atol=1e-4)
    assert low_res.shape == (len(masks), 256, 256)


def test_an_answer_can_be_the_next_prompt(ours, image, rng):
    ours.set_image(image)
    alphas = np.stack([np.tile(np.linspace(0.01, 0.99, 200, dtype=np.float32), (150, 1)), np.zeros((150, 200), "f4")])
    low_res = ours._low_res_from(alphas)
    assert (low_res[:, 192:] == low_res.min()).all()  # the padding of a 200 x 150 picture
    assert (low_res[1] == low_res.min()).all()
    np.testing.assert_allclose(ours._alpha_from(low_res[:1]), alphas[0], atol=0.01)
    _, _, first = ours.predict(box=BOX, multimask_output=False)
    plain, *_ = ours.predict(box=BOX, multimask_output=False)
    refined, *_ = ours.predict(box=BOX, mask_input=first, multimask_output=False)
    assert (plain != refined).any()


def test_what_is_not_served_is_refused(ours, image):
    fresh = SamStylePredictor(ours.predictor)
    with pytest.raises(ValueError, match="set_image"):
        fresh.predict(box=BOX)
    fresh.set_image(image)
    for prompt, message in [
        ({}, "at least one click"),
        ({"point_coords": POINTS}, "together"),
        ({"box": np.stack([BOX, BOX])}, "one box per call"),
        ({"box": BOX, "return_logits": True}, "return_logits"),
    ]:
        with pytest.raises(ValueError, match=message):
            fresh.predict(**prompt)
    with pytest.raises(ValueError, match="'GRAY'"):
        fresh.set_image(image, image_format="GRAY")
    fresh.reset_image()
    with pytest.raises(ValueError, match="set_image"):
        fresh.predict(box=BOX)


def test_the_models_own_limits_are_said(ours, image, monkeypatch):
    monkeypatch.setattr(ours.predictor.backend, "supports_clicks_and_box", False, raising=False)
    ours.set_image(image)
    with pytest.raises(UnsupportedPrompt, match="clicks or a box"):
        ours.predict(point_coords=POINTS, point_labels=LABELS, box=BOX)
