"""The code path of segment-anything's two notebooks, run with their package and with ours: only the import differs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import zim_plugins.core
from zim_plugins.core import SamAutomaticMaskGenerator, SamPredictor, load_predictor, read_image
from zim_plugins.core.modeling.image_encoder import ViTConfig
from zim_plugins.core.modeling.zim import Zim, sam_config

ENCODER = ViTConfig(dim=32, depth=2, heads=2, global_blocks=(1,), frame_px=256)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A small SAM's weights in a `.pth`, as the notebooks load them."""
    torch.manual_seed(0)
    sam = Zim(replace(sam_config("vit_b"), encoder=ENCODER, frame_px=256, mlp_dim=64)).eval()
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for layer in (sam.mask_decoder.output_upscaling[0], sam.mask_decoder.output_upscaling[3]):
            layer.weight.copy_(layer.weight.mean((2, 3), keepdim=True))  # masks of cells, not of noise within them
    path = tmp_path_factory.mktemp("weights") / "sam_vit_h_small.pth"
    torch.save(sam.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def theirs(segment_anything, public_sam) -> SimpleNamespace:
    """segment-anything's names; its registry builds the small SAM."""

    def build(checkpoint: Path) -> Any:
        model = public_sam(ENCODER, mlp_dim=64)
        model.load_state_dict(torch.load(checkpoint, weights_only=True), strict=True)
        return model

    return SimpleNamespace(
        SamPredictor=segment_anything.SamPredictor,
        SamAutomaticMaskGenerator=segment_anything.SamAutomaticMaskGenerator,
        ResizeLongestSide=segment_anything.utils.transforms.ResizeLongestSide,
        sam_model_registry={"vit_h": build},
    )


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    ys, xs = np.mgrid[:150, :200] / 200
    return (127 + 120 * np.sin(np.stack([9 * xs, 7 * ys, 5 * xs * ys], axis=-1))).astype(np.uint8)


def predictor_notebook(library: Any, sam_checkpoint: Path, image: np.ndarray) -> dict[str, Any]:
    """The steps of the notebook on prompting, in its order."""
    shown: dict[str, Any] = {}
    device = "cpu"
    sam = library.sam_model_registry["vit_h"](checkpoint=sam_checkpoint)
    sam.to(device=device)
    predictor = library.SamPredictor(sam)
    predictor.set_image(image)
    shown["is_image_set"] = predictor.is_image_set

    # One click, three masks.
    input_point, input_label = np.array([[100, 75]]), np.array([1])
    masks, scores, logits = predictor.predict(point_coords=input_point, point_labels=input_label, multimask_output=True)
    shown["three"] = masks, scores
    for mask in masks:  # show_mask
        height, width = mask.shape[-2:]
        shown["overlay"] = mask.reshape(height, width, 1) * np.array([30, 144, 255, 153]).reshape(1, 1, -1)
        _ = ~mask, image[mask], mask.astype(np.uint8).sum()

    # The best mask and more clicks.
    input_point, input_label = np.array([[100, 75], [140, 90]]), np.array([1, 1])
    mask_input = logits[np.argmax(scores), :, :]
    masks, _, _ = predictor.predict(
        point_coords=input_point, point_labels=input_label, mask_input=mask_input[None, :, :], multimask_output=False
    )
    shown["one"] = masks.shape, masks.dtype

    # A box; a box and a background click.
    input_box = np.array([20, 30, 170, 140])
    masks, _, _ = predictor.predict(
        point_coords=None, point_labels=None, box=input_box[None, :], multimask_output=False
    )
    shown["box"] = masks
    masks, _, _ = predictor.predict(
        point_coords=np.array([[60, 60]]), point_labels=np.array([0]), box=input_box, multimask_output=False
    )
    shown["box and click"] = masks

    # Several boxes at once.
    input_boxes = torch.tensor([[20, 30, 170, 140], [5, 5, 90, 80], [60, 10, 190, 100]], device=predictor.device)
    transformed_boxes = predictor.transform.apply_boxes_torch(input_boxes, image.shape[:2])
    masks, _, _ = predictor.predict_torch(
        point_coords=None, point_labels=None, boxes=transformed_boxes, multimask_output=False
    )
    shown["boxes"] = masks
    for mask in masks:
        _ = mask.cpu().numpy()

    # Several images at once.
    resize_transform = library.ResizeLongestSide(sam.image_encoder.img_size)

    def prepare_image(image: np.ndarray, transform: Any, device: Any) -> torch.Tensor:
        image = transform.apply_image(image)
        return torch.as_tensor(image, device=device.device).permute(2, 0, 1).contiguous()

    other = np.ascontiguousarray(image[::-1, :160])
    batched_input = [
        {
            "image": prepare_image(one, resize_transform, sam),
            "boxes": resize_transform.apply_boxes_torch(boxes, one.shape[:2]),
            "original_size": one.shape[:2],
        }
        for one, boxes in ((image, input_boxes), (other, input_boxes[:2] // 2))
    ]
    batched_output = sam(batched_input, multimask_output=False)
    shown["batch"] = [one["masks"] for one in batched_output]
    shown["keys"] = [sorted(one) for one in batched_output]
    shown["embedding"] = predictor.get_image_embedding()
    predictor.reset_image()
    shown["is_image_set afterwards"] = predictor.is_image_set
    return shown


def same(ours: Any, wanted: Any) -> None:
    """Masks but for single pixels at edges; scores but for rounding; all else exactly."""
    assert type(ours) is type(wanted)
    if isinstance(ours, np.ndarray | torch.Tensor):
        assert ours.shape == wanted.shape
        assert ours.dtype == wanted.dtype
        a, b = np.asarray(ours), np.asarray(wanted)
        if a.dtype == bool:
            assert (a != b).mean() < 2e-3
        else:
            np.testing.assert_allclose(a, b, atol=1e-3)
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(wanted)
        for one, other in zip(ours, wanted, strict=True):
            same(one, other)
    else:
        assert ours == wanted


def test_the_notebook_on_prompting(theirs, weights, image):
    wanted = predictor_notebook(theirs, weights, image)
    ours = predictor_notebook(zim_plugins.core, weights, image)
    assert ours.keys() == wanted.keys()
    for name in ours:
        same(ours[name], wanted[name])


def generator_notebook(library: Any, sam_checkpoint: Path, image: np.ndarray, **thresholds: float) -> list[Any]:
    """The steps of the notebook on masks of everything; thresholds low enough for a network that knows nothing."""
    sam = library.sam_model_registry["vit_h"](checkpoint=sam_checkpoint)
    sam.to(device="cpu")
    mask_generator = library.SamAutomaticMaskGenerator(sam, points_per_side=4, **thresholds)
    masks = mask_generator.generate(image)
    mask_generator_2 = library.SamAutomaticMaskGenerator(
        model=sam,
        points_per_side=4,
        crop_n_layers=1,
        crop_n_points_downscale_factor=2,
        min_mask_region_area=30,
        **thresholds,
    )
    masks2 = mask_generator_2.generate(image)
    for annotations in (masks, masks2):  # show_anns
        sorted_annotations = sorted(annotations, key=(lambda x: x["area"]), reverse=True)
        height, width = sorted_annotations[0]["segmentation"].shape
        drawn = np.ones((height, width, 4))
        for annotation in sorted_annotations:
            drawn[annotation["segmentation"]] = np.concatenate([np.random.random(3), [0.35]])  # noqa: NPY002
    return [masks, masks2]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def test_the_notebook_on_masks_of_everything(theirs, weights, image):
    pytest.importorskip("cv2", reason="segment-anything removes small regions with OpenCV, which is not installed")
    thresholds = {"pred_iou_thresh": -1e9, "stability_score_thresh": 0.1, "box_nms_thresh": 0.7}
    wanted = generator_notebook(theirs, weights, image, **thresholds)
    ours = generator_notebook(zim_plugins.core, weights, image, **thresholds)
    for found, records in zip(ours, wanted, strict=True):
        assert found[0].keys() == records[0].keys()
        for key in ("crop_box", "point_coords", "bbox", "predicted_iou", "area", "stability_score"):
            assert np.shape(found[0][key]) == np.shape(records[0][key])
        # Ranked at the decoder's stride, a few more or fewer are suppressed; what there is, is theirs.
        alike = [max(overlap(one["segmentation"], r["segmentation"]) for r in records) for one in found]
        assert np.mean(np.array(alike) > 0.9) > 0.8
        back = [max(overlap(one["segmentation"], r["segmentation"]) for one in found) for r in records]
        assert np.mean(np.array(back) > 0.9) > 0.8


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load_predictor("zim_tiny", device="cpu")


@pytest.fixture(scope="module")
def records(tiny) -> Callable[..., list[dict[str, Any]]]:
    image = read_image("sample:coins").rgb[:200, :300].copy()

    def generate(**options: Any) -> list[dict[str, Any]]:
        return SamAutomaticMaskGenerator(
            tiny, points_per_side=4, pred_iou_thresh=0.3, stability_score_thresh=0.5, **options
        ).generate(image)

    return generate


def test_records_agree_with_pycocotools(records):
    coco_mask = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    plain = records(mattes=True)
    assert len(plain) > 2
    for mode in ("coco_rle", "uncompressed_rle"):
        for record, written in zip(plain, records(output_mode=mode), strict=True):
            rle = written["segmentation"]
            rle = coco_mask.frPyObjects(rle, *rle["size"]) if mode == "uncompressed_rle" else rle
            np.testing.assert_array_equal(coco_mask.decode(rle).astype(bool), record["segmentation"])
            assert list(coco_mask.toBbox(rle)) == record["bbox"] == written["bbox"]
            assert coco_mask.area(rle) == record["area"]
    for record in plain:
        np.testing.assert_array_equal(record["matte"] > 0.5, record["segmentation"])
        assert record["matte"].dtype == np.float32
        x, y = record["point_coords"][0]
        assert 0 <= x <= 300 and 0 <= y <= 200
        assert record["crop_box"] == [0, 0, 300, 200]


def test_supervision_takes_records(records):
    sv = pytest.importorskip("supervision", reason="supervision is not installed")
    found = records()
    detections = sv.Detections.from_sam(sam_result=found)
    assert len(detections) == len(found)
    areas = [record["area"] for record in sorted(found, key=lambda r: -r["area"])]
    assert [int(mask.sum()) for mask in detections.mask] == areas
    for mask, (x1, y1, x2, y2) in zip(detections.mask, detections.xyxy.astype(int), strict=True):
        assert mask[y1:y2, x1:x2].sum() == mask.sum()


def test_crops_and_small_regions_are_sams(segment_anything, rng):
    pytest.importorskip("cv2", reason="segment-anything removes small regions with OpenCV, which is not installed")
    from segment_anything.utils.amg import generate_crop_boxes, remove_small_regions

    from zim_plugins.core.sam_compat.generator import crop_boxes, without_small_regions

    for size in ((100, 200), (301, 77), (64, 64)):
        boxes, layers = generate_crop_boxes(size, 2, 0.3)
        assert sorted(crop_boxes(size, 2, 0.3)) == sorted((i, tuple(b)) for i, b in zip(layers, boxes, strict=True))
    from scipy.ndimage import gaussian_filter

    for sigma in (0.8, 1.5, 3):
        mask = gaussian_filter(rng.normal(size=(50, 60)), sigma) > 0
        expected, _ = remove_small_regions(remove_small_regions(mask, 12, "holes")[0], 12, "islands")
        np.testing.assert_array_equal(without_small_regions(mask, 12), expected)


def test_the_default_call_answers_as_well_as_ours(tiny):
    """Three bool masks, the best of which is the refined matte of this project's own call, not a blurred draft."""
    image = read_image("sample:dogs").rgb
    predictor = SamPredictor(tiny)
    predictor.set_image(image)
    height, width = image.shape[:2]
    box = np.array([190.0, 225.0, 380.0, 490.0])  # the upper dog, nothing else
    masks, scores, _ = predictor.predict(box=box)
    assert masks.shape == (3, height, width) and masks.dtype == bool
    own = tiny.predict(zim_plugins.core.Prompt(box=box), encoded=tiny.encode(image)).alpha
    assert overlap(masks[scores.argmax()], own > 0.5) > 0.9
    mattes, _, _ = predictor.predict(box=box, mattes=True)
    assert mattes.dtype == np.float32
    np.testing.assert_array_equal(mattes > 0.5, masks)
