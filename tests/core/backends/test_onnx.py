"""Our export in the public package, in our own ONNX backend, and in torch: the same mattes."""

import copy
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from zim_plugins.core import load_predictor, read_image
from zim_plugins.core.backends.base import Backend
from zim_plugins.core.backends.official import attention_mask
from zim_plugins.core.backends.zim_onnx import ZimOnnxBackend
from zim_plugins.core.backends.zim_torch import ZimTorchBackend
from zim_plugins.core.export import DecoderGraph, EncoderGraph, export_onnx
from zim_plugins.core.modeling.attention import prompt_attention_mask
from zim_plugins.core.modeling.image_encoder import ViTConfig
from zim_plugins.core.modeling.zim import ZIM_CONFIGS, Zim, ZimConfig, sam_config
from zim_plugins.core.predictor import ImagePredictor
from zim_plugins.core.prompt import Prompt
from zim_plugins.errors import CheckpointError, MissingExtra, UnsupportedPrompt

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

NARROW = ZimConfig(
    ViTConfig(dim=32, depth=2, heads=2, global_blocks=(1,)),
    mlp_dim=64,
    detail_channels=(8, 16, 32),
    decoder_channels=(32, 16, 32),
)
"""The official geometry with few channels."""
CONFIGS = {"vit": NARROW, "tiny": ZIM_CONFIGS["tiny"]}
CLICK = Prompt.from_point(70.25, 40.5)
CLICKS = Prompt.from_points([(20.0, 30.0), (90.5, 80.0)])
NEGATIVE = Prompt.from_points([(20.0, 30.0), (90.5, 80.0, 0)])
BOX = Prompt.from_box(20.0, 10.0, 101.0, 77.0)
BOTH = CLICK.merged(BOX)


def random_zim(config: ZimConfig) -> Zim:
    """Random weights whose mattes are neither flat nor saturated."""
    torch.manual_seed(0)
    zim = Zim(config)
    with torch.no_grad():
        for parameter in zim.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        for module in zim.modules():
            if isinstance(module, nn.BatchNorm2d):  # statistics as after training, not those of a fresh module
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        for head in zim.mask_decoder.output_hypernetworks_mlps:  # logits that spread over some units
            head.layers[-1].weight.mul_(8)
    return zim.eval()


@pytest.fixture(scope="module", params=CONFIGS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Zim, Path]:
    zim = random_zim(CONFIGS[request.param])
    return zim, export_onnx(zim, tmp_path_factory.mktemp(request.param), name=f"random_{request.param}")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """96 x 128, smooth: an image that no resampling filter disagrees about."""
    ys, xs = np.mgrid[:96, :128] / 128
    waves = np.stack([np.sin(9 * xs + 3 * ys), np.cos(7 * ys * xs), np.hypot(xs - 0.6, ys - 0.3)], axis=-1)
    return np.clip(127 + 100 * waves, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def public_predictor(zim_anything: ModuleType, exported: tuple[Zim, Path], image: np.ndarray):
    """PyPI's predictor on our files, the image set."""
    predictor = zim_anything.ZimPredictor(zim_anything.build_zim_model(str(exported[1])))
    predictor.set_image(image)
    return predictor


@pytest.fixture(scope="module")
def in_onnx(exported: tuple[Zim, Path], image: np.ndarray) -> ImagePredictor:
    """Our predictor on our files, the image set."""
    predictor = ImagePredictor(ZimOnnxBackend(exported[1], name="random", threads=1))
    predictor.set_image(image)
    return predictor


@pytest.fixture(scope="module")
def in_torch(exported: tuple[Zim, Path], image: np.ndarray) -> ImagePredictor:
    """Our predictor on the model that was exported, the image set."""
    predictor = ImagePredictor(ZimTorchBackend(copy.deepcopy(exported[0]), name="random"))
    predictor.set_image(image)
    return predictor


def graph_inputs(prompts: list[Prompt], scale: float = 8.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Clicks in frame pixels, with the padding token, and float labels."""
    coords = torch.tensor(np.stack([p.points for p in prompts]) * scale, dtype=torch.float32)
    labels = torch.tensor(np.stack([p.labels for p in prompts]), dtype=torch.float32)
    padding = torch.full((len(prompts), 1, 2), -0.5), torch.full((len(prompts), 1), -1.0)
    return torch.cat([coords, padding[0]], 1), torch.cat([labels, padding[1]], 1)


def test_files_have_the_official_interface(exported):
    zim, folder = exported
    assert sorted(p.name for p in folder.iterdir()) == ["decoder.onnx", "encoder.onnx"]
    encoder, decoder = onnx.load(folder / "encoder.onnx"), onnx.load(folder / "decoder.onnx")

    def shapes(values):
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    assert shapes(encoder.graph.input) == {"image": [1, 3, 1024, 1024]}
    assert [v.name for v in encoder.graph.output] == ["image_embeddings", "feat_D0", "feat_D1", "feat_D2"]
    if zim.config.frame_px == 1024:
        assert list(shapes(encoder.graph.output).values()) == [
            [1, 256, 64, 64],
            [1, 8, 512, 512],
            [1, 16, 256, 256],
            [1, 32, 128, 128],
        ]
    prompts = {k: v for k, v in shapes(decoder.graph.input).items() if not k.startswith(("feat", "image"))}
    assert prompts == {
        "attn_mask": ["batch", 64, 64],
        "point_coords": ["batch", "num_points", 2],
        "point_labels": ["batch", "num_points"],
    }
    assert shapes(decoder.graph.output) == {"masks": ["batch", 4, 512, 512], "iou_predictions": ["batch", 4]}
    metadata = {p.key: p.value for p in decoder.metadata_props}
    assert metadata["zim_plugins.checkpoint"].startswith("random_")
    assert metadata["zim_plugins.version"]
    # What the release's onnxruntime 1.17 still reads.
    assert decoder.ir_version <= 9
    assert decoder.opset_import[0].version <= 20


@torch.no_grad()
def test_backend_answers_as_torch_does(exported, image):
    """The two graphs, IO binding and batching against the modules they were traced from."""
    zim, folder = exported
    backend = ZimOnnxBackend(folder, name="random", threads=1, batch=2)
    assert isinstance(backend, Backend)
    large = np.kron(image, np.ones((8, 8, 1), dtype=np.uint8))
    prompts = [CLICKS, CLICK, NEGATIVE, CLICK]
    at_frame = [Prompt(points=8 * p.points, labels=p.labels) for p in prompts]
    logits, scores = backend.decode(backend.encode(large), at_frame, multimask=True)

    frame = torch.zeros(1, 3, 1024, 1024)
    pixels = torch.tensor(large).permute(2, 0, 1)[None].float()
    frame[:, :, :768] = (pixels - zim.pixel_mean) / zim.pixel_std
    embedding, *details = EncoderGraph(zim)(frame)
    for i, prompt in enumerate(prompts):
        coords, labels = graph_inputs([prompt])
        mask = prompt_attention_mask(coords, labels.long(), 64, 1024)
        expected, expected_scores = DecoderGraph(zim)(*details, embedding, mask, coords, labels)
        torch.testing.assert_close(torch.from_numpy(logits[i]), expected[0], atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(torch.from_numpy(scores[i]), expected_scores[0], atol=1e-4, rtol=1e-3)
    np.testing.assert_allclose(logits[1], logits[3], atol=1e-5)
    assert np.abs(logits[0] - logits[2]).max() > 0.01  # a background click is not a foreground click

    single, single_score = backend.decode(backend.encode(large), at_frame[:1], multimask=False)
    assert single.shape == (1, 1, 512, 512)
    np.testing.assert_allclose(single[0], logits[0, :1], atol=1e-4)
    np.testing.assert_allclose(single_score[0], scores[0, :1], atol=1e-5)


def test_files_of_the_shipped_model_give_its_mattes(tmp_path):
    """Resized twice on the way to its smaller frame, and padded as the interface pads; the mattes stay near."""
    shipped = load_predictor("zim_tiny", device="cpu", zoom=None)
    image = read_image("sample:chelsea").rgb  # 451 x 300: a third of the frame is padding
    in_onnx = ImagePredictor(ZimOnnxBackend(export_onnx(shipped.backend.zim, tmp_path), name="zim_tiny"))
    answers = []
    for predictor in (shipped, in_onnx):
        predictor.set_image(image)
        answers.append(predictor.predict(Prompt.from_point(210, 150), multimask=True))
    for ours, theirs in zip(*(answer.alphas for answer in answers), strict=True):
        assert np.abs(ours - theirs).mean() < 0.02
    np.testing.assert_allclose(answers[0].scores, answers[1].scores, atol=0.01)
    assert np.abs(answers[0].alpha - answers[1].alpha).mean() < 0.01


def test_what_the_files_do_not_carry_is_refused(exported, tmp_path):
    _, folder = exported
    ours = ZimOnnxBackend(folder, name="random", device="auto", threads=1)
    assert ours.supports_clicks_and_box
    embedding = ours.encode(np.zeros((1024, 1024, 3), dtype=np.uint8))
    ours.decode(embedding, [BOTH], multimask=False)
    with pytest.raises(UnsupportedPrompt, match="coarse matte"):
        ours.decode(embedding, [Prompt(alpha=np.zeros((1024, 1024), dtype=np.float32))], multimask=False)

    for name in ("encoder.onnx", "decoder.onnx"):  # files that say nothing of themselves, as the official ones
        model = onnx.load(folder / name)
        del model.metadata_props[:]
        onnx.save(model, tmp_path / name)
    official = ZimOnnxBackend(tmp_path, name="zim_vit_b", threads=1)
    assert not official.supports_clicks_and_box
    with pytest.raises(UnsupportedPrompt, match="clicks or a box, not both"):
        official.decode(embedding, [BOTH], multimask=False)


def test_damaged_missing_and_foreign_files_are_named(exported, tmp_path):
    _, folder = exported
    with pytest.raises(CheckpointError, match=r"encoder\.onnx is missing"):
        ZimOnnxBackend(tmp_path, name="x")
    (tmp_path / "encoder.onnx").write_bytes((folder / "encoder.onnx").read_bytes()[:10_000])
    with pytest.raises(CheckpointError, match=r"encoder\.onnx is damaged"):
        ZimOnnxBackend(tmp_path, name="x")
    (tmp_path / "encoder.onnx").write_bytes((folder / "decoder.onnx").read_bytes())
    (tmp_path / "decoder.onnx").write_bytes((folder / "encoder.onnx").read_bytes())
    with pytest.raises(CheckpointError, match="does not hold ZIM's ONNX pair"):
        ZimOnnxBackend(tmp_path, name="x")


def test_devices_and_threads_are_checked(exported):
    import onnxruntime

    _, folder = exported
    with pytest.raises(ValueError, match="'tpu'"):
        ZimOnnxBackend(folder, name="x", device="tpu")
    with pytest.raises(ValueError, match="threads"):
        ZimOnnxBackend(folder, name="x", threads=0)
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(MissingExtra, match="onnx-gpu"):
            ZimOnnxBackend(folder, name="x", device="cuda")


def test_sam_itself_cannot_be_exported(tmp_path):
    with torch.device("meta"):
        sam = Zim(sam_config("vit_b"))
    with pytest.raises(ValueError, match="hierarchical"):
        export_onnx(sam, tmp_path)
    assert not list(tmp_path.iterdir())


def test_attention_mask_is_that_of_the_torch_model(rng):
    coords = rng.uniform(-20, 1044, (40, 4, 2)).astype(np.float32)
    labels = rng.choice([-1, 0, 1], (40, 4))
    labels[10:20, 2:] = [2, 3]  # clicks and a box
    labels[20:30] = [2, 3, -1, -1]
    labels[30:35] = [0, 2, 3, -1]
    expected = prompt_attention_mask(torch.from_numpy(coords), torch.from_numpy(labels), 64, 1024)
    np.testing.assert_allclose(attention_mask(coords, labels), expected, atol=1e-6)


def test_attention_mask_is_that_of_the_release(zim_anything, rng):
    """Foreground clicks and boxes; the release lets background clicks brighten the mask, we do not."""
    from zim_anything.modeling.zim import Zim as PublicZim

    class NoDecoder:
        num_mask_tokens = 4

    public = PublicZim(None, NoDecoder())
    coords = rng.uniform(-50, 1100, (5, 3, 2)).astype(np.float32)
    inside = np.where((coords >= 0).all(-1, keepdims=True), coords, 5.0).astype(np.float32)
    ours = attention_mask(inside, np.ones((5, 3), dtype=np.int64))
    np.testing.assert_allclose(ours, public.point_attn_mask(torch.from_numpy(inside)), atol=1e-6)
    boxes = np.sort(rng.uniform(0, 1020, (5, 2, 2)), axis=1).astype(np.float32)
    ours = attention_mask(boxes, np.tile([2, 3], (5, 1)))
    np.testing.assert_array_equal(ours, public.bbox_attn_mask(torch.from_numpy(boxes.reshape(5, 4))))


@pytest.mark.parametrize("prompt", [CLICK, CLICKS, BOX], ids=["click", "clicks", "box"])
def test_public_package_gives_our_mattes(public_predictor, in_onnx, in_torch, prompt):
    """PyPI's `zim_anything` on our files, our ONNX backend on them, and our torch predictor."""
    box = None if prompt.box is None else prompt.box[None]
    public, public_scores, _ = public_predictor.predict(
        point_coords=prompt.points, point_labels=prompt.labels, box=box, multimask_output=True
    )
    ours = in_onnx.predict(prompt, multimask=True)
    assert np.ptp(public) > 0.1  # not flat: the comparison can fail
    np.testing.assert_allclose(ours.alphas, public, atol=1e-3)
    np.testing.assert_allclose(ours.scores, public_scores, atol=1e-3)

    expected = in_torch.predict(prompt, multimask=True)
    if in_torch.backend.frame_px == 1024:
        np.testing.assert_allclose(public, expected.alphas, atol=1e-3)
        np.testing.assert_allclose(public_scores, expected.scores, atol=1e-3)
    else:  # the image goes through the official frame into the model's own: another resampling, so not the same
        assert np.abs(public - expected.alphas).mean() < 1e-2
        np.testing.assert_allclose(public_scores, expected.scores, atol=5e-3)


def test_clicks_and_box_and_background_clicks_match_torch(in_onnx, in_torch):
    """What the public package cannot ask, our ONNX backend can, as torch does."""
    for ours, expected in zip(
        in_onnx.predict_many([BOTH, NEGATIVE]), in_torch.predict_many([BOTH, NEGATIVE]), strict=True
    ):
        if in_torch.backend.frame_px == 1024:
            np.testing.assert_allclose(ours.alphas, expected.alphas, atol=1e-3)
        else:
            assert np.abs(ours.alphas - expected.alphas).mean() < 1e-2


def test_weights_beyond_two_gigabytes_go_into_a_file_beside_the_graph(tmp_path, monkeypatch):
    monkeypatch.setattr("zim_plugins.core.export.MAX_FILE_BYTES", 1000)
    export_onnx(random_zim(CONFIGS["tiny"]), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "encoder.onnx",
        "encoder.onnx.data",
        "decoder.onnx",
        "decoder.onnx.data",
    }
    assert (tmp_path / "encoder.onnx").stat().st_size < 0.2 * (tmp_path / "encoder.onnx.data").stat().st_size
    ZimOnnxBackend(tmp_path, name="random", threads=1)
