"""SamPredictor's and sam2's calls: what they answer for SAM itself, what they give of a matte, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.core.test_predictor import BrightnessBackend, disk_photo
from zim_plugins.core import SamPredictor, SamStylePredictor, sam_model_registry
from zim_plugins.core.backends.zim_torch import ZimTorchBackend
from zim_plugins.core.modeling.image_encoder import ViTConfig
from zim_plugins.core.modeling.zim import Zim, sam_config
from zim_plugins.core.predictor import ImagePredictor
from zim_plugins.core.sam_compat.low_resolution import LOGIT_LIMIT, from_low_resolution, low_resolution
from zim_plugins.errors import SharedAcrossThreads, UnsupportedPrompt

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
def ours(sam: Zim) -> SamPredictor:
    return SamPredictor(ImagePredictor(ZimTorchBackend(sam, name="random")))


@pytest.fixture(scope="module")
def theirs(segment_anything, public_sam, sam):
    model = public_sam(ENCODER, mlp_dim=64)
    model.load_state_dict(sam.state_dict(), strict=True)
    return segment_anything.SamPredictor(model)


@pytest.fixture
def soft() -> SamPredictor:
    """A matting model of four candidates."""
    return SamPredictor(ImagePredictor(BrightnessBackend()))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    ys, xs = np.mgrid[:150, :200] / 200
    return (127 + 120 * np.sin(np.stack([9 * xs, 7 * ys, 5 * xs * ys], axis=-1))).astype(np.uint8)


@pytest.mark.parametrize("multimask_output", [True, False])
@pytest.mark.parametrize(
    "prompt", [{"point_coords": POINTS, "point_labels": LABELS}, {"box": BOX}, {"box": BOX[None] + 0.5}], ids=str
)
def test_answers_as_sam_predictor(theirs, ours, image, prompt, multimask_output):
    theirs.set_image(image[..., ::-1], image_format="BGR")
    ours.set_image(image[..., ::-1], image_format="BGR")
    masks, scores, low_res = theirs.predict(**prompt, multimask_output=multimask_output)
    found, our_scores, our_low_res = ours.predict(**prompt, multimask_output=multimask_output)
    assert found.shape == masks.shape and found.dtype == bool
    assert (found != masks).mean() < 1e-3
    np.testing.assert_allclose(our_scores, scores, atol=1e-4)
    np.testing.assert_allclose(our_low_res, low_res, atol=1e-3 * np.abs(low_res).max())
    logits, *_ = theirs.predict(**prompt, multimask_output=multimask_output, return_logits=True)
    our_logits, *_ = ours.predict(**prompt, multimask_output=multimask_output, return_logits=True)
    np.testing.assert_allclose(our_logits, logits, atol=1e-3 * np.abs(logits).max())


def test_tensors_of_the_frame(theirs, ours, image):
    for predictor in (theirs, ours):
        frame = predictor.transform.apply_image(image)
        assert max(frame.shape) == 256
        predictor.set_torch_image(torch.as_tensor(frame).permute(2, 0, 1)[None].float(), image.shape[:2])
        assert predictor.is_image_set and predictor.original_size == (150, 200) and predictor.input_size == (192, 256)
    coords = theirs.transform.apply_coords_torch(torch.tensor(POINTS[None]).repeat(2, 1, 1), (150, 200))
    labels = torch.tensor([[1, 0], [1, 1]])
    wanted = theirs.predict_torch(coords, labels)
    found = ours.predict_torch(coords, labels)
    assert [t.shape for t in found] == [t.shape for t in wanted]
    assert found[0].dtype == torch.bool
    assert (found[0] != wanted[0]).float().mean() < 2e-3
    np.testing.assert_allclose(found[1], wanted[1], atol=1e-3)
    padded = ours.predict_torch(coords, torch.tensor([[1, -1], [1, 0]]))[0]
    alone = ours.predict_torch(coords[:1, :1], torch.tensor([[1]]))[0]
    assert (padded[0] == alone[0]).all()  # a label of -1 is no click
    np.testing.assert_allclose(ours.get_image_embedding(), theirs.get_image_embedding(), atol=1e-3)
    ours.get_image_embedding()[:] = 0
    assert ours.get_image_embedding().abs().max() > 0  # it was a copy


def test_a_matting_models_masks_are_three_and_bool(soft):
    rgb = disk_photo((48, 64), (20, 10, 40, 30))
    soft.set_image(rgb)
    masks, scores, low_res = soft.predict(point_coords=np.array([[30, 20]]), point_labels=np.array([1]))
    assert (masks.shape, masks.dtype, low_res.shape) == ((3, 48, 64), bool, (3, 256, 256))
    np.testing.assert_array_equal(masks[0], rgb[..., 0] > 0)
    assert scores.min() > 0.6  # the three best of 0.5 ... 0.9
    assert (rgb[masks[0]] == 255).all() and masks.astype(np.uint8).sum() > 0 and (~masks).any()
    mattes, *_ = soft.predict(box=BOX[[0, 1, 0, 1]] + [0, 0, 20, 10], mattes=True)
    assert mattes.dtype == np.float32
    logits, *_ = soft.predict(box=np.array([20, 10, 40, 30]), return_logits=True)
    np.testing.assert_array_equal(logits > 0, masks)
    with pytest.raises(ValueError, match="exclude each other"):
        soft.predict(box=np.array([20, 10, 40, 30]), return_logits=True, mattes=True)


def test_low_resolution_goes_there_and_back():
    ramp = np.tile(np.linspace(0.01, 0.99, 200, dtype=np.float32), (150, 1))
    alphas = np.stack([ramp, np.zeros((150, 200), np.float32)])[None]
    low_res = low_resolution(alphas, 256, stretched=False)
    assert (low_res[0, :, 192:] == -LOGIT_LIMIT).all()  # the padding of a 200 x 150 image
    assert (low_res[0, 1] == -LOGIT_LIMIT).all()
    back = from_low_resolution(low_res[0, :1], (150, 200), 256, stretched=False)
    np.testing.assert_allclose(back[0], ramp, atol=0.01)
    stretched = low_resolution(alphas, 256, stretched=True)
    assert stretched[0, 0, -1].max() > 0
    np.testing.assert_allclose(
        from_low_resolution(stretched[0, :1], (150, 200), 256, stretched=True)[0], ramp, atol=0.01
    )


def test_an_answer_can_be_the_next_prompt(ours, image):
    ours.set_image(image)
    plain, _, first = ours.predict(box=BOX, multimask_output=False)
    refined, *_ = ours.predict(box=BOX, mask_input=first, multimask_output=False)
    assert refined.shape == plain.shape
    assert (plain != refined).any()


def test_several_prompts_in_one_call(ours, image):
    ours.set_image(image)
    boxes = np.stack([BOX, BOX // 2, BOX // 3])
    masks, scores, low_res = ours.predict(box=boxes, multimask_output=False)
    assert (masks.shape, scores.shape, low_res.shape) == ((3, 1, 150, 200), (3, 1), (3, 1, 64, 64))
    for box, mask in zip(boxes, masks, strict=True):
        np.testing.assert_array_equal(ours.predict(box=box, multimask_output=False)[0], mask)


def test_sam2s_additions(ours, image):
    ours.set_image(image)
    pixels, *_ = ours.predict(point_coords=POINTS, point_labels=LABELS)
    shares, *_ = ours.predict(point_coords=POINTS / [200, 150], point_labels=LABELS, normalize_coords=False)
    np.testing.assert_array_equal(pixels, shares)
    other = np.ascontiguousarray(image[::-1, :120])
    ours.set_image_batch([image, other])
    masks, scores, low_res = ours.predict_batch(
        [POINTS, None], [LABELS, None], box_batch=[None, np.stack([BOX, BOX]) // 2], multimask_output=False
    )
    np.testing.assert_array_equal(masks[0], ours_alone(ours, image, point_coords=POINTS, point_labels=LABELS))
    assert masks[1].shape == (2, 1, 150, 120) and scores[1].shape == (2, 1) and len(low_res) == 2
    with pytest.raises(ValueError, match="set_image_batch"):
        ours.predict_batch([POINTS], [LABELS])
    ours.set_image_batch([image, other])
    with pytest.raises(ValueError, match="predict_batch"):
        ours.predict(box=BOX)
    with pytest.raises(ValueError, match="1 entries do not match 2 images"):
        ours.predict_batch([POINTS], [LABELS])


def ours_alone(predictor: SamPredictor, image: np.ndarray, **prompt: np.ndarray) -> np.ndarray:
    predictor.set_image(image)
    return predictor.predict(**prompt, multimask_output=False)[0]


def test_images_given_and_masks_handed_out_may_be_changed(ours, image):
    mine = image.copy()
    ours.set_image(mine)
    expected, scores, low_res = (a.copy() for a in ours.predict(box=BOX))
    mine[:] = 0
    for array in ours.predict(box=BOX):
        array[:] = 0
    for found, wanted in zip(ours.predict(box=BOX), (expected, scores, low_res), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_what_is_not_served_is_refused(ours, image):
    fresh = SamPredictor(ours.predictor)
    assert not fresh.is_image_set and fresh.original_size is None
    with pytest.raises(ValueError, match="set_image"):
        fresh.predict(box=BOX)
    fresh.set_image(image)
    for prompt, message in [
        ({}, "at least one click"),
        ({"point_coords": POINTS}, "together"),
        ({"point_coords": POINTS, "point_labels": LABELS[:1]}, "belong together"),
        ({"box": BOX[:3]}, "X1 Y1 X2 Y2"),
        ({"box": BOX, "mask_input": np.zeros((256, 256))}, r"\(1, 64, 64\)"),
        ({"box": BOX, "mask_input": np.full((1, 64, 64), np.nan)}, "finite"),
        ({"box": np.stack([BOX] * 3), "point_coords": POINTS[:, None], "point_labels": LABELS[:, None]}, "2 and 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            fresh.predict(**prompt)
    with pytest.raises(ValueError, match="'GRAY'"):
        fresh.set_image(image, image_format="GRAY")
    with pytest.raises(ValueError, match="256 px"):
        fresh.set_torch_image(torch.zeros(1, 3, 20, 30), (150, 200))
    fresh.reset_image()
    with pytest.raises(ValueError, match="set_image"):
        fresh.predict(box=BOX)
    with pytest.raises(TypeError):
        SamPredictor("vit_b")


def test_the_models_own_limits_are_said(ours, image, monkeypatch):
    monkeypatch.setattr(ours.predictor.backend, "supports_clicks_and_box", False, raising=False)
    ours.set_image(image)
    with pytest.raises(UnsupportedPrompt, match="clicks or a box"):
        ours.predict(point_coords=POINTS, point_labels=LABELS, box=BOX)


def test_it_is_for_one_thread(soft):
    from concurrent.futures import ThreadPoolExecutor

    soft.set_image(disk_photo((48, 64), (20, 10, 40, 30)))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(soft.set_image, disk_photo((48, 64), (0, 0, 9, 9))).result()
    with pytest.raises(SharedAcrossThreads):
        soft.predict(box=np.array([20, 10, 40, 30]))


def test_the_registry_knows_sams_names_and_ours():
    assert {"default", "vit_h", "vit_l", "vit_b", "zim_tiny"} <= set(sam_model_registry)
    model = sam_model_registry["zim_tiny"]()
    assert model.to(device="cpu").eval() is model
    assert str(model.device) == "cpu" and model.image_encoder.img_size == 384
    with pytest.raises(ValueError, match="device"):
        model.to("nonsense")


def test_the_old_spelling_says_that_it_is_old(soft):
    with pytest.warns(DeprecationWarning, match=r"use SamPredictor.*mattes=True"):
        old = SamStylePredictor(soft.predictor)
    old.set_image(disk_photo((48, 64), (20, 10, 40, 30)))
    assert old.predict(box=np.array([20, 10, 40, 30]))[0].dtype == np.float32
