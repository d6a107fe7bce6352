"""Measurements, case by case; each case runs in a process of its own and yields rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from zim_plugins.bench.peers import Release, photo, random_pair, release_of
from zim_plugins.bench.row import OURS, Call, Floor, Row, count_flops
from zim_plugins.core.backends.zim_torch import ZimTorchBackend
from zim_plugins.core.load import load_predictor
from zim_plugins.core.modeling.zim import ZIM_CONFIGS, Zim, ZimConfig, build_network
from zim_plugins.core.modeling.zim_lite import LiteConfig, ZimLite
from zim_plugins.core.prediction import Prediction
from zim_plugins.core.predictor import ImagePredictor
from zim_plugins.core.prompt import Prompt

PUBLIC_SAM, PUBLIC_ZIM = "segment-anything", "zim_anything, 16 threads on the CPU"
ONNX, SAM_DECODER = "ONNX Runtime", "SAM's decoder here"
SIDE = 1024
SAM_OFFSET = 0.2310586
"""SAM's stability offset of one logit, in opacity."""


@dataclass(frozen=True)
class BenchSettings:
    """Settings of all cases."""

    device: str = "cpu"
    compiled: bool = False


def vit_fp32(settings: BenchSettings, name: str = "vit_b") -> Iterator[Row]:
    """Encode, decode and whole clicks of a ViT in fp32."""
    zim, sam = random_pair(name)
    release = release_of(zim, name, settings.device)
    ours = _predictor(zim, settings, torch.float32)
    yield _encode_row(name, ours, sam, settings, release)
    yield from _decode_rows(f"{name}, fp32", ours, settings, (1, 16, 64), release)
    yield _decoder_row(f"{name}, fp32", zim, settings)


def vit_bf16(settings: BenchSettings, name: str = "vit_b") -> Iterator[Row]:
    """The same in bf16, beside segment-anything under autocast."""
    zim, sam = random_pair(name)
    ours = _predictor(zim, settings, torch.bfloat16)
    yield _encode_row(name, ours, sam, settings)
    eight = torch.randn(8, 3, SIDE, SIDE, device=settings.device).bfloat16()
    yield Row(
        f"encode 8 images, {name}, bf16",
        {OURS: _inference(lambda: zim.encode(eight)), PUBLIC_SAM: "eight images at once need about 20 GB there"},
        _encode_floor(zim.config, 8),
        torch.bfloat16,
        least=3,
        warm_up=False,
    )
    yield from _decode_rows(f"{name}, bf16", ours, settings, (1, 16, 64))
    yield _decoder_row(f"{name}, bf16", zim, settings)


def vit_l(settings: BenchSettings) -> Iterator[Row]:
    """The larger encoder."""
    zim, sam = random_pair("vit_l")
    yield _encode_row("vit_l", _predictor(zim, settings, torch.float32), sam, settings, warm_up=False)


def tiny(settings: BenchSettings) -> Iterator[Row]:
    """zim_tiny: its parts, whole clicks, and the release on its export."""
    bare = load_predictor("zim_tiny", device=settings.device, zoom=False, refine="none", compiled=settings.compiled)
    zim = _network(bare)
    for count in (1, 8):
        x = torch.randn(count, 3, zim.config.frame_px, zim.config.frame_px, device=settings.device)
        floor = _encode_floor(zim.config, count)
        yield Row(f"encode {count}, zim_tiny, fp32", {OURS: _inference(partial(zim.encode, x))}, floor, budget_s=5)
    release = release_of(zim, "zim_tiny", settings.device)
    plain = "zim_tiny, fp32, no zoom, no refinement"
    yield from _decode_rows(plain, bare, settings, (1, 16, 64, 1024), release, budget_s=8)
    whole = load_predictor("zim_tiny", device=settings.device)
    image = photo(768, SIDE)
    yield Row("image to matte, one click, zim_tiny", {OURS: lambda: _click(whole, image)}, budget_s=8)


def everything(settings: BenchSettings) -> Iterator[Row]:
    """All objects of an image, 32 x 32 clicks, SAM vit_b with random weights."""
    from zim_plugins.core.automatic import EverythingConfig, matte_everything

    _, sam = random_pair("vit_b")
    image = photo(768, SIDE)
    config = replace(ZIM_CONFIGS["vit_b"], pixel_decoder="sam", masked_attention="none")
    if isinstance(sam, str):
        zim, public = Zim(config), None
    else:
        from segment_anything import SamAutomaticMaskGenerator

        for layer in (sam.mask_decoder.output_upscaling[0], sam.mask_decoder.output_upscaling[3]):
            layer.weight.copy_(layer.weight.mean((2, 3), keepdim=True))  # masks of cells, not of noise within them
        for mlp in sam.mask_decoder.output_hypernetworks_mlps:  # random weights answer near 0: as sure as real ones
            mlp.layers[-1].weight.mul_(100)
            mlp.layers[-1].bias.mul_(100)
        zim, public = Zim.from_sam(sam.state_dict(), config), SamAutomaticMaskGenerator(sam.to(settings.device))
    ours = _predictor(zim, settings, torch.float32)
    ours.set_image(image)
    _, scores = ours.predict_logits(_clicks(64), multimask=True)
    least = float(np.median(scores))  # random weights score near 0: half of the answers pass, as with real ones
    chosen = EverythingConfig(min_score=least, min_stability=1e-6, stability_offset=SAM_OFFSET)
    calls: dict[str, Call | str] = {OURS: lambda: matte_everything(ours, image, chosen)}
    if public is None:
        calls[PUBLIC_SAM] = str(sam)
    else:
        public.pred_iou_thresh, public.stability_score_thresh = least, 1e-6
        calls[PUBLIC_SAM] = lambda: public.generate(image)
    yield Row("everything, 32 x 32 clicks, SAM vit_b, fp32", calls, warm_up=False, budget_s=0)


def work(settings: BenchSettings) -> Iterator[Row]:
    """Evaluation, conversion and training with the small models."""
    from zim_plugins.evaluation.metrics import zim_errors
    from zim_plugins.label_converter import checkpoint
    from zim_plugins.label_converter import converter as convert

    predictor = load_predictor("zim_tiny", device=settings.device)
    image = photo(768, SIDE)
    matte = _click(predictor, image).alpha
    calls = {OURS: lambda: zim_errors(_click(predictor, image).alpha, matte)}
    yield Row("evaluate one object, zim_tiny", calls, budget_s=8)
    weights = Path(checkpoint.__file__).parent / "weights" / "converter_tiny.safetensors"
    converter = convert.MatteConverter.load(weights, settings.device)
    calls = {OURS: lambda: list(converter.convert(image, [matte > 0.5]))}
    yield Row("convert one mask, converter_tiny", calls, budget_s=8)
    yield _training_row("tiny", settings, 256, 8)


def training_vit_b(settings: BenchSettings) -> Iterator[Row]:
    """A training step of vit_b at 1024 px."""
    yield _training_row("vit_b", settings, SIDE, 1)


CASES: dict[str, Callable[[BenchSettings], Iterator[Row]]] = {
    "vit_b_fp32": vit_fp32,
    "vit_b_bf16": vit_bf16,
    "vit_l": vit_l,
    "tiny": tiny,
    "everything": everything,
    "work": work,
    "training_vit_b": training_vit_b,
}
SUITES = {
    "cpu": ("vit_b_fp32", "vit_b_bf16", "tiny", "work", "everything", "vit_l"),
    "gpu": ("vit_b_bf16", "vit_b_fp32", "tiny", "everything", "vit_l", "work", "training_vit_b"),
}
"""By the machine they are for; the first are worth the most."""


def _encode_row(
    name: str,
    ours: ImagePredictor,
    sam: Any,
    settings: BenchSettings,
    release: Release | str | None = None,
    *,
    warm_up: bool = True,
) -> Row:
    """One image through our encoder, segment-anything's and, where there is one, the release's."""
    zim = _network(ours)
    frame = torch.randn(1, 3, SIDE, SIDE, device=settings.device)
    own = frame.to(zim.dtype)
    encode = torch.compile(zim.encode) if settings.compiled else zim.encode
    calls: dict[str, Call | str] = {OURS: _inference(lambda: encode(own))}
    if isinstance(sam, str):
        calls[PUBLIC_SAM] = sam
    else:
        sam.to(settings.device)

        def public() -> Any:
            with torch.autocast(frame.device.type, torch.bfloat16, enabled=zim.dtype == torch.bfloat16):
                return sam.image_encoder(frame)

        calls[PUBLIC_SAM] = _inference(public)
    if isinstance(release, str):
        calls[PUBLIC_ZIM] = release
    elif release is not None:
        image = photo(768, SIDE)
        calls[ONNX] = lambda: release.onnx.encode(image)
        calls[PUBLIC_ZIM] = lambda: release.predictor.set_image(image)
    dtype = "bf16" if zim.dtype == torch.bfloat16 else "fp32"
    floor = _encode_floor(zim.config, 1)
    return Row(
        f"encode, {name}, {dtype}", calls, floor, zim.dtype, budget_s=30, least=5 if warm_up else 3, warm_up=warm_up
    )


def _decode_rows(
    name: str,
    ours: ImagePredictor,
    settings: BenchSettings,
    counts: tuple[int, ...],
    release: Release | str | None = None,
    *,
    budget_s: float = 15,
) -> Iterator[Row]:
    """Clicks on one image, then an image and a click; the release takes one at a time."""
    zim = _network(ours)
    image = photo(768, SIDE)
    ours.set_image(image)
    if isinstance(release, Release):
        release.predictor.set_image(image)
    for count in counts:
        prompts = _clicks(count)
        calls: dict[str, Call | str] = {OURS: partial(ours.predict_many, prompts)}
        if isinstance(release, str):
            calls[PUBLIC_ZIM] = release
        elif release is not None:
            calls[PUBLIC_ZIM] = partial(release.click_all, prompts) if count <= 16 else "a multiple of 16 clicks"
        floor = _decode_floor(zim.config, count)
        yield Row(
            f"decode {count} clicks, {name}", calls, floor, zim.dtype, budget_s=budget_s, least=3 if count <= 64 else 1
        )
    calls = {OURS: lambda: _click(ours, image)}
    if isinstance(release, Release):
        calls[PUBLIC_ZIM] = lambda: (release.predictor.set_image(image), release.click_all(_clicks(1)))
    yield Row(f"image to matte, one click, {name}", calls, budget_s=budget_s, least=3, warm_up=False)


def _decoder_row(name: str, zim: Zim, settings: BenchSettings) -> Row:
    """Measure what the hierarchical pixel decoder and the attention mask cost beside SAM's decoder."""
    sam = Zim(replace(zim.config, pixel_decoder="sam", masked_attention="none")).eval().to(settings.device, zim.dtype)
    sam.prompt_encoder.float()  # as the backend has it
    frame = torch.randn(1, 3, SIDE, SIDE, device=settings.device, dtype=zim.dtype)
    coords = torch.tensor([[[300.0, 400.0], [0.0, 0.0]]], device=settings.device)
    labels = torch.tensor([[1, -1]], device=settings.device)
    with torch.inference_mode():
        features = zim.prepare(zim.encode(frame))
    calls = {
        OURS: _inference(lambda: zim.decode(features, coords, labels)),
        SAM_DECODER: _inference(lambda: sam.decode(features._replace(projected=None), coords, labels)),
    }
    return Row(f"decoder alone, 1 click, {name}", calls, _decode_floor(zim.config, 1), zim.dtype, budget_s=8)


def _training_row(name: str, settings: BenchSettings, frame_px: int, count: int) -> Row:
    from zim_plugins.training.losses import LossWeights, matte_loss

    torch.manual_seed(0)
    zim = Zim(ZIM_CONFIGS[name]).to(settings.device).train()
    optimiser = torch.optim.AdamW(zim.parameters(), 1e-5)
    images = torch.randn(count, 3, frame_px, frame_px, device=settings.device)
    coords = torch.rand(count, 2, 2, device=settings.device) * frame_px
    labels = torch.tensor([[1, -1]] * count, device=settings.device)
    target = torch.rand(count, frame_px, frame_px, device=settings.device)
    valid, edge = torch.ones_like(target), torch.ones(count, device=settings.device)

    def step() -> None:
        logits, scores = zim.decode(zim.encode(images), coords, labels)
        matte_loss(logits, scores, target, valid, edge, LossWeights())[0].backward()
        optimiser.step()
        optimiser.zero_grad()

    def forward(zim: Any, x: Tensor) -> Any:
        return zim.decode(zim.encode(x), torch.zeros_like(coords, device="meta"), labels.to("meta"))

    floor = _floor(zim.config, forward, count)
    thrice = Floor(3 * floor.flops, 3 * floor.bytes)  # backward: twice the forward
    return Row(f"training step of {count}, {name}, {frame_px} px, fp32", {OURS: step}, thrice)


def _predictor(zim: Zim | ZimLite, settings: BenchSettings, dtype: torch.dtype) -> ImagePredictor:
    device, compiled = settings.device, settings.compiled
    return ImagePredictor(ZimTorchBackend(zim, name="random", device=device, dtype=dtype, compiled=compiled))


def _network(predictor: ImagePredictor) -> Zim | ZimLite:
    backend = predictor.backend
    assert isinstance(backend, ZimTorchBackend)
    return backend.zim


def _inference(call: Call) -> Call:
    return torch.inference_mode()(call)


def _click(predictor: ImagePredictor, image: UInt8[np.ndarray, "h w 3"]) -> Prediction:
    predictor.set_image(image)
    return predictor.predict(_clicks(1)[0])


def _clicks(count: int) -> list[Prompt]:
    """On an image of 768 x 1024 px."""
    places = np.random.default_rng(0).uniform((50, 50), (970, 710), (count, 2))
    return [Prompt.from_point(*place) for place in places]


def _encode_floor(config: ZimConfig | LiteConfig, count: int) -> Floor:
    return _floor(config, lambda zim, x: zim.encode(x), count)


def _decode_floor(config: ZimConfig | LiteConfig, count: int) -> Floor:
    """Without the encoder, and without what the details add, which is made once for the image."""

    def decode(zim: Any, x: Tensor) -> Any:
        coords, labels = torch.zeros(count, 2, 2, device="meta"), torch.zeros(count, 2, device="meta", dtype=torch.long)
        return zim.decode(zim.prepare(zim.encode(x)), coords, labels)

    whole, before = _floor(config, decode, 1), _floor(config, lambda zim, x: zim.prepare(zim.encode(x)), 1)
    answer = 4.0 * count * (config.frame_px // 2) ** 2
    return Floor(whole.flops - before.flops, answer)


def _floor(config: ZimConfig | LiteConfig, call: Callable[[Any, Tensor], Any], count: int) -> Floor:
    """Operations by the formula; bytes of the encoder's weights and of the images."""
    with torch.device("meta"):
        zim = build_network(config).eval()
        frame = torch.zeros(count, 3, config.frame_px, config.frame_px)
    moved = sum(p.numel() for p in zim.image_encoder.parameters()) + frame.numel()
    return Floor(count_flops(lambda: call(zim, frame)), 4.0 * moved)
