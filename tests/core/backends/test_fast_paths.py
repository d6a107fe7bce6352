"""Every fast path against the plain one in fp32, and bf16 against fp32."""

import numpy as np
import pytest
import torch

from zim_plugins.core.backends.zim_torch import ZimTorchBackend
from zim_plugins.core.load import load_predictor
from zim_plugins.core.modeling import relative_position
from zim_plugins.core.modeling.image_encoder import ViTConfig
from zim_plugins.core.modeling.layers import upsample
from zim_plugins.core.modeling.pixel_decoder import HierarchicalPixelDecoder
from zim_plugins.core.modeling.zim import ImageFeatures, Zim, ZimConfig
from zim_plugins.core.predictor import ImagePredictor
from zim_plugins.core.prompt import Prompt
from zim_plugins.imaging.image import read_alpha, read_image

ENCODER = ViTConfig(dim=64, depth=3, heads=2, global_blocks=(1,), frame_px=256)
CLICKS = [Prompt.from_point(300, 160), Prompt.from_point(150, 250)]


def random_zim(seed: int = 0) -> Zim:
    torch.manual_seed(seed)
    zim = Zim(ZimConfig(ENCODER, frame_px=256, mlp_dim=64, detail_channels=(8, 16, 32), decoder_channels=(16, 8, 32)))
    with torch.no_grad():
        for parameter in zim.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return zim.eval()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return read_image("sample:chelsea").rgb


def mattes(zim: Zim, image: np.ndarray, dtype: torch.dtype = torch.float32) -> np.ndarray:
    predictor = ImagePredictor(ZimTorchBackend(zim, name="random", dtype=dtype))
    predictor.set_image(image)
    return np.stack([p.alpha for p in predictor.predict_many(CLICKS)])


def test_attention_in_pieces_gives_the_plain_formula_s_mattes(image, monkeypatch):
    monkeypatch.setattr(relative_position, "PIECE", 3000)  # several pieces of the 256 tokens too
    fast = mattes(random_zim(), image)
    monkeypatch.setattr(relative_position, "attend_in_pieces", relative_position.attend_plainly)
    plain = mattes(random_zim(), image)
    assert np.abs(fast - plain).max() < 1e-3
    assert plain.std() > 0.05


@torch.no_grad()
def test_projected_details_are_the_convolution_of_the_concatenation():
    torch.manual_seed(0)
    decoder = HierarchicalPixelDecoder(32, (8, 16, 24), (16, 12, 32), "batch", prompt_channels=4).eval()
    embedding, drawn = torch.randn(3, 32, 4, 4), torch.randn(3, 4, 16, 16)
    details = [torch.randn(1, 8, 32, 32), torch.randn(1, 16, 16, 16), torch.randn(1, 24, 8, 8)]
    x = embedding
    for step, (fuse, detail) in enumerate(zip(decoder.fuse, reversed(details), strict=True)):
        parts = [upsample(x, tuple(detail.shape[-2:])), detail.expand(3, -1, -1, -1)] + ([drawn] if step == 1 else [])
        x = fuse(torch.cat(parts, 1))
    torch.testing.assert_close(decoder(embedding, decoder.project(details), drawn), x, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_prompts_on_one_image_are_prompts_on_its_copies():
    """Sharing the image's tokens, or repeating them for every prompt."""
    zim = random_zim()
    features = zim.encode(torch.randn(1, 3, 256, 256))
    coords, labels = torch.rand(3, 2, 2) * 256, torch.tensor([[1, -1], [2, 3], [1, 0]])
    shared, scores = zim.decode(zim.prepare(features), coords, labels)
    repeated, repeated_scores = zim.decode(features.repeated(3), coords, labels)
    torch.testing.assert_close(shared, repeated, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores, repeated_scores, atol=1e-4, rtol=1e-4)


def test_prepared_features_can_be_repeated():
    features = random_zim().encode(torch.randn(2, 3, 256, 256))
    prepared = random_zim().prepare(features).repeated(2)
    assert isinstance(prepared, ImageFeatures)
    assert prepared.details == []
    assert prepared.projected is not None and all(len(p) == 4 for p in prepared.projected)


def test_bf16_stays_near_fp32():
    """Computing in bf16 costs little more than what bf16 itself costs, on real images.

    The floor is measured on the same machine, with the same operations: fp32 arithmetic on weights rounded once to
    bf16's 8 bits (relative error 2^-9). Computing in bf16 rounds the activations of some 50 layers as often again;
    roundings are independent, so that their squares add up: a small multiple, sqrt(50), of that floor.
    """
    for source, click in (("sample:rocket", (321, 180)), ("sample:coffee", (300, 180)), ("sample:dogs", (278, 304))):
        rgb = read_image(source).rgb
        mattes = {}
        for kind in ("fp32", "bf16", "rounded"):
            dtype = "bf16" if kind == "bf16" else "fp32"
            predictor = load_predictor("zim_tiny", device="cpu", dtype=dtype, zoom=False, refine="none")
            if kind == "rounded":
                for weight in predictor.backend.zim.parameters():
                    weight.data = weight.data.bfloat16().float()
            predictor.set_image(rgb)
            mattes[kind] = predictor.predict(Prompt.from_point(*click)).alpha
        floor = np.abs(mattes["rounded"] - mattes["fp32"]).mean()
        assert floor > 0
        assert np.abs(mattes["bf16"] - mattes["fp32"]).mean() < 50**0.5 * floor + 2**-9 * 2**-4


def test_bf16_scores_as_fp32_does(test_data):
    """The sum of absolute differences from captured mattes, within 5 % (2 % where it was measured)."""
    folder = test_data / "matting" / "validation"
    sad = {"fp32": 0.0, "bf16": 0.0}
    predictors = {d: load_predictor("zim_tiny", device="cpu", dtype=d, zoom=False, refine="none") for d in sad}
    for path in sorted((folder / "image").iterdir())[:3]:
        truth = read_alpha(next((folder / "alpha").glob(f"{path.stem}.*")))
        rgb, truth = read_image(path).rgb[::4, ::4], truth[::4, ::4]
        ys, xs = np.nonzero(truth > 0.5)
        prompt = Prompt.from_box(float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
        for dtype, predictor in predictors.items():
            predictor.set_image(np.ascontiguousarray(rgb))
            sad[dtype] += float(np.abs(predictor.predict(prompt).alpha - truth).sum())
    assert sad["bf16"] == pytest.approx(sad["fp32"], rel=0.05)


def test_a_smaller_piece_changes_nothing_but_rounding(monkeypatch):
    zim = random_zim()
    x = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        whole = zim.image_encoder(x)
        monkeypatch.setattr(relative_position, "PIECE", 700)
        torch.testing.assert_close(zim.image_encoder(x), whole, atol=1e-4, rtol=1e-4)


def test_a_batch_of_images_is_encoded_as_one_after_the_other():
    encoder, x = random_zim().image_encoder, torch.randn(3, 3, 256, 256)
    with torch.no_grad():
        apart = encoder(x)
    torch.testing.assert_close(apart, encoder(x).detach(), atol=1e-4, rtol=1e-4)  # with gradients: all at once
