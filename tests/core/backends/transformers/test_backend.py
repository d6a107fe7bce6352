"""Our answers against each class's own processor and post-processing, on tiny random models that it saved itself."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zim_plugins.core import CheckpointError, Prompt, load_predictor
from zim_plugins.core.backends.base import is_stretched
from zim_plugins.core.transforms import prompt_to_frame

pytest.importorskip("transformers", reason="the extra `models`", minversion="5.0")
pytest.importorskip("torchvision", reason="transformers' own processors stand on it")
_spec = importlib.util.spec_from_file_location("tiny_models", Path(__file__).with_name("tiny_models.py"))
assert _spec is not None and _spec.loader is not None
tiny_models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_models)
SIZES = ((97, 131), (200, 63), (128, 128), (301, 640), (33, 40))
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module", params=tiny_models.FAMILIES)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any]:
    """Family, folder and the class's own processor."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, tiny_models.save(request.param, folder)


@pytest.fixture(scope="module")
def theirs(saved: tuple[str, Path, Any]) -> Any:
    """The model as transformers loads it."""
    from zim_plugins.core.backends.transformers.families import family_of

    return family_of(saved[1]).load_class().from_pretrained(saved[1], local_files_only=True).eval()


@pytest.fixture(scope="module")
def ours(saved: tuple[str, Path, Any]) -> Any:
    return load_predictor(f"hf:{saved[1]}", device="cpu")


def an_image(size: tuple[int, int]) -> np.ndarray:
    """Smooth colours with some noise: what a filter's choice shows on."""
    ys, xs = np.mgrid[: size[0], : size[1]] / max(size)
    rng = np.random.default_rng(7)
    waves = np.stack([np.sin(7 * xs + 3 * ys), np.cos(9 * ys), np.sin(5 * xs * ys + 1)], axis=-1)
    return ((waves * 0.4 + 0.5 + 0.1 * rng.random(waves.shape)).clip(0, 1) * 255).astype(np.uint8)


def their_answer(model: Any, processor: Any, image: np.ndarray, multimask: bool, masks: Any = None, **prompts: Any):
    """Logits of the decoder, scores, and masks by the class's own post-processing, soft and hard."""
    given = processor(images=image, return_tensors="pt", **prompts)
    sizes = given.pop("original_sizes")
    reshaped = given.pop("reshaped_input_sizes", None)
    given = {key: value.float() if value.is_floating_point() else value for key, value in given.items()}
    with torch.no_grad():
        answer = model(**given, multimask_output=multimask, **({} if masks is None else {"input_masks": masks}))
    further = {} if reshaped is None else {"reshaped_input_sizes": reshaped}
    soft, hard = (
        processor.image_processor.post_process_masks(answer.pred_masks, sizes, binarize=one, **further)[0]
        for one in (False, True)
    )
    return answer.pred_masks[0].numpy(), answer.iou_scores[0].numpy(), soft.numpy(), hard.numpy()


def prompts_on(size: tuple[int, int]) -> dict[str, tuple[list[Prompt], dict[str, Any]]]:
    """Prompts by kind, ours beside what the class's processor takes."""
    h, w = size
    clicks = [[[0.3 * w, 0.4 * h], [0.61 * w, 0.7 * h]], [[0.8 * w, 0.2 * h], [0.1 * w, 0.9 * h]]]
    boxes = [[0.1 * w, 0.2 * h, 0.7 * w, 0.9 * h], [0.5 * w, 0.05 * h, 0.99 * w, 0.5 * h]]
    mixed = [[1, 0], [0, 1]]

    def both(points: Any, labels: Any, box: Any) -> Prompt:
        return Prompt(
            points=None if points is None else np.array(points),
            labels=None if labels is None else np.array(labels),
            box=None if box is None else np.array(box),
        )

    return {
        "click": ([both(clicks[0][:1], [1], None)], {"input_points": [[clicks[0][:1]]], "input_labels": [[[1]]]}),
        "negatives": ([both(clicks[0], [1, 0], None)], {"input_points": [[clicks[0]]], "input_labels": [[[1, 0]]]}),
        "box": ([both(None, None, boxes[0])], {"input_boxes": [[boxes[0]]]}),
        "both": (
            [both(clicks[0], [1, 0], boxes[0])],
            {"input_points": [[clicks[0]]], "input_labels": [[[1, 0]]], "input_boxes": [[boxes[0]]]},
        ),
        "several objects by clicks": (
            [both(c, m, None) for c, m in zip(clicks, mixed, strict=True)],
            {"input_points": [clicks], "input_labels": [mixed]},
        ),
        "several objects by boxes": ([both(None, None, b) for b in boxes], {"input_boxes": [boxes]}),
        "several objects by both": (
            [both(c, m, b) for c, m, b in zip(clicks, mixed, boxes, strict=True)],
            {"input_points": [clicks], "input_labels": [mixed], "input_boxes": [boxes]},
        ),
    }


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_answers_are_those_of_the_class_itself(saved, theirs, ours, size, multimask):
    image = an_image(size)
    ours.set_image(image)
    shares = []
    for kind, (mine, given) in prompts_on(size).items():
        logits, scores, soft, hard = their_answer(theirs, saved[2], image, multimask, **given)
        found, quality = ours.predict_logits(mine, multimask=multimask)
        np.testing.assert_allclose(found, logits, err_msg=kind, **CLOSE)
        np.testing.assert_allclose(quality, scores, err_msg=kind, **CLOSE)
        predictions = ours.predict_many(mine, multimask=multimask)
        sure = np.abs(soft) > 1e-4  # elsewhere rounding may decide
        assert sure.mean() > 0.99
        shares.append(hard.mean())
        alphas = np.stack([one.alphas for one in predictions])
        np.testing.assert_array_equal(alphas[sure], hard.astype(np.float32)[sure], err_msg=kind)
    assert any(0.01 < share < 0.99 for share in shares), "masks of one value prove nothing"


def test_an_earlier_mask_reaches_the_model(saved, theirs, ours):
    size = (97, 131)
    image = an_image(size)
    alpha = np.zeros(size, np.float32)
    alpha[20:70, 30:90] = 0.9
    click = Prompt(points=np.array([[50.0, 40.0]]), labels=np.array([1]), alpha=alpha)
    ours.set_image(image)
    found, quality = ours.predict_logits([click, click])
    side = ours.backend.frame_px
    framed = prompt_to_frame(click, size, side, stretched=is_stretched(ours.backend)).alpha
    low = 4 * side // (14 if saved[0] == "sam3_tracker" else 16)
    assert ours.backend.model.prompt_encoder.mask_embed(torch.zeros(1, 1, low, low)).shape[-1] == low // 4
    pooled = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(framed)[None, None], low)
    masks = torch.logit(pooled.clamp(1e-3, 1 - 1e-3))
    logits, scores, _, _ = their_answer(
        theirs, saved[2], image, False, masks, input_points=[[[[50.0, 40.0]]]], input_labels=[[[1]]]
    )
    for row in (0, 1):
        np.testing.assert_allclose(found[row], logits[0], **CLOSE)
        np.testing.assert_allclose(quality[row], scores[0], **CLOSE)
    without, _ = ours.predict_logits([Prompt.from_point(50, 40)])
    assert np.abs(without - found[0]).max() > 1e-3, "the mask changed nothing"


def test_a_mask_alone_is_served(ours):
    alpha = np.zeros((97, 131), np.float32)
    alpha[20:70, 30:90] = 1
    ours.set_image(an_image((97, 131)))
    assert ours.predict(Prompt(alpha=alpha)).alpha.shape == (97, 131)


def test_an_answer_does_not_depend_on_its_neighbours(ours):
    ours.set_image(an_image((97, 131)))
    prompts = [
        Prompt.from_point(50, 40), Prompt.from_box(10, 10, 60, 70), Prompt.from_points([(20, 30), (90, 80, 0)]),
    ]  # fmt: skip
    together, _ = ours.predict_logits(prompts)
    for prompt, one in zip(prompts, together, strict=True):
        np.testing.assert_allclose(ours.predict_logits([prompt])[0][0], one, **CLOSE)


def test_an_image_is_encoded_once(ours):
    calls = []
    encoder = ours.backend.model.vision_encoder
    hook = encoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        ours.set_image(an_image((60, 80)))
        for _ in range(3):
            ours.predict_many([Prompt.from_point(20, 30), Prompt.from_box(5, 5, 50, 50)])
    finally:
        hook.remove()
    assert len(calls) == 1


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_stays_near(saved, ours, dtype):
    half = load_predictor(f"hf:{saved[1]}", device="cpu", dtype=dtype)
    prompts = [Prompt.from_point(50, 40), Prompt.from_box(10, 10, 90, 80)]
    for one in (half, ours):
        one.set_image(an_image((97, 131)))
    found, expected = half.predict_logits(prompts)[0], ours.predict_logits(prompts)[0]
    assert (
        half.backend.model.mask_decoder.iou_token.weight.dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    )
    assert half.backend.model.shared_image_embedding.positional_embedding.dtype == torch.float32
    assert np.abs(found - expected).mean() < 0.1 * np.abs(expected).std()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu(saved, ours):
    there = load_predictor(f"hf:{saved[1]}", device="cuda")
    for one in (there, ours):
        one.set_image(an_image((97, 131)))
    prompts = [Prompt.from_point(50, 40), Prompt.from_box(10, 10, 90, 80)]
    np.testing.assert_allclose(there.predict_logits(prompts)[0], ours.predict_logits(prompts)[0], atol=1e-2)


def test_zoom_and_everything_work(saved):
    from zim_plugins.core import EverythingConfig, matte_everything

    zoomed = load_predictor(f"hf:{saved[1]}", device="cpu", zoom=True)
    image = an_image((301, 640))
    zoomed.set_image(image)
    assert zoomed.predict(Prompt.from_box(100, 50, 220, 160)).alpha.shape == (301, 640)
    matte_everything(zoomed, image, EverythingConfig(points_per_side=3, min_score=-100, min_stability=0))


def test_missing_weights_are_not_made_up(saved, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in saved[1].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in weights if "mask_decoder" in name and name.endswith("weight"))
    save_file({name: value for name, value in weights.items() if name != gone}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="lacks 1 weights"):
        load_predictor(f"hf:{tmp_path}", device="cpu")
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="cannot be loaded") as caught:
        load_predictor(f"hf:{tmp_path}", device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"runtime": "onnx"}, {"compiled": True}, {"threads": 2}])
def test_options_that_mean_nothing_here_are_refused(saved, options):
    with pytest.raises(ValueError, match=r"transformers has it|OMP_NUM_THREADS"):
        load_predictor(f"hf:{saved[1]}", device="cpu", **options)


@pytest.mark.parametrize("family", ["sam2", "edgetam", "sam3_tracker"])
def test_the_hub_s_tracker_files_are_taken(family, tmp_path):
    """Published files of these families are of the video trackers; the image model takes its part of them."""
    import json

    state = tiny_models.save_tracker(family, tmp_path)
    kind = json.loads((tmp_path / "config.json").read_text())["model_type"]
    assert kind == {"sam2": "sam2_video", "edgetam": "edgetam_video", "sam3_tracker": "sam3_video"}[family]
    predictor = load_predictor(f"hf:{tmp_path}", device="cpu")
    predictor.set_image(an_image((97, 131)))
    assert np.isfinite(predictor.predict(Prompt.from_point(50, 40)).score)
    theirs = [value for name, value in state.items() if "mask_decoder.iou_token" in name and "detector" not in name]
    assert torch.equal(predictor.backend.model.mask_decoder.iou_token.weight, theirs[0])  # type: ignore[attr-defined]
    if family == "sam3_tracker":
        from zim_plugins.core.checkpoints.whole_model import load_whole, transformers_class

        load_whole(transformers_class("Sam3Model"), tmp_path)  # what finds boxes by text lies in the same file
