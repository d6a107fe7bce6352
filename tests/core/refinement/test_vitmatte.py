"""ViTMatte against transformers' own call on the same trimap; memory at 12 MP."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from zim_plugins.core.refinement.base import load_refiner
from zim_plugins.core.refinement.trimap import FOREGROUND, UNKNOWN, trimap_of

pytest.importorskip("transformers", reason="the extra `models`", minversion="5.0")
pytest.importorskip("torchvision", reason="transformers' own processors stand on it")

SAVE = """
import sys, torch, transformers as t
torch.manual_seed(0)
trunk = t.VitDetConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=64,
                       pretrain_image_size=64, window_block_indices=[0], window_size=4, num_channels=4,
                       use_relative_position_embeddings=True, out_features=["stage2"])
config = t.VitMatteConfig(backbone_config=trunk, hidden_size=32, convstream_hidden_sizes=[8, 8, 8],
                          fusion_hidden_sizes=[16, 16, 8, 8])
model = t.VitMatteForImageMatting(config)
with torch.no_grad():
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=2 * parameter[0].numel() ** -0.5)
        elif "norm" in name and name.endswith("weight"):
            parameter.fill_(1)
model.save_pretrained(sys.argv[1])
t.VitMatteImageProcessor(size_divisor=32).save_pretrained(sys.argv[1])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vitmatte")
    subprocess.run([sys.executable, "-c", SAVE, str(folder)], check=True, capture_output=True)
    return folder


def their_alpha(folder: Path, image: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    from transformers import VitMatteForImageMatting, VitMatteImageProcessor

    model = VitMatteForImageMatting.from_pretrained(folder).eval()
    given = VitMatteImageProcessor.from_pretrained(folder)(images=image, trimaps=trimap, return_tensors="pt")
    with torch.no_grad():
        return model(**given).alphas[0, 0, : trimap.shape[0], : trimap.shape[1]].numpy()


@pytest.mark.parametrize("size", [(150, 210), (64, 96), (33, 41)])
def test_vitmatte_answers_as_transformers_does(folder, scene, size):
    image, alpha = (one[: size[0], : size[1]] for one in scene)
    alpha = alpha.copy()
    alpha[5:20, 5:20] = 1
    trimap = trimap_of(alpha, band_px=4)
    ours = load_refiner(f"vitmatte:{folder}").matte(np.ascontiguousarray(image), trimap)  # type: ignore[union-attr]
    theirs = their_alpha(folder, image, trimap)
    unknown = trimap == UNKNOWN
    assert unknown.any() and theirs[unknown].std() > 0.01
    np.testing.assert_allclose(ours[unknown], theirs[unknown], atol=1e-5)
    np.testing.assert_array_equal(ours[~unknown], (trimap == FOREGROUND)[~unknown].astype(np.float32))


def test_the_object_is_refined_in_its_own_crop(folder, scene):
    image, alpha = scene
    refiner = load_refiner(f"vitmatte:hf:{folder}")
    refined = refiner.refine(image, alpha)  # type: ignore[union-attr]
    assert refined.shape == alpha.shape and refined.dtype == np.float32
    assert refined[70, 90] == 1 and (refined[:, 170:] == 0).all()
    crop = np.s_[70 - 45 - 18 :, 90 - 45 - 18 : 90 + 45 + 19]
    assert (refined[crop] > 0).any()
    nothing = np.zeros_like(alpha)
    assert refiner.refine(image, nothing) is nothing  # type: ignore[union-attr]


def test_tiles_agree_where_the_network_sees_enough(folder, scene):
    """Each tile is transformers' own answer on it, blended by weights that sum to one."""
    from zim_plugins.core.refinement.vitmatte import Tiling, VitMatteRefiner

    image, alpha = scene
    trimap = trimap_of(alpha, band_px=4)
    tiled = VitMatteRefiner(folder, tiling=Tiling(side_px=96, overlap_px=32))
    seen = []
    whole = tiled._network
    tiled._network = lambda i, t: seen.append(t.shape) or np.full(t.shape, 0.25, np.float32)  # type: ignore[method-assign]
    constant = tiled.matte(image, trimap)
    np.testing.assert_allclose(constant[trimap == UNKNOWN], 0.25, atol=1e-6)
    assert max(max(shape) for shape in seen) == 96 and len(seen) > 1
    tiled._network = whole  # type: ignore[method-assign]
    assert np.isfinite(tiled.matte(image, trimap)).all()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read as Linux tells it")
def test_memory_is_bounded_at_12_megapixels(folder):
    script = f"""
        import resource, numpy as np, torch
        from zim_plugins.core.refinement.base import load_refiner
        refiner = load_refiner("vitmatte:{folder}")
        small = np.zeros((64, 64, 3), np.uint8); a = np.zeros((64, 64), np.float32); a[10:50, 10:50] = 1
        refiner.refine(small, a)
        image = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)
        alpha = np.zeros((3000, 4000), np.float32); alpha[100:2900, 100:3900] = 1
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        out = refiner.refine(image, alpha)
        assert out.shape == (3000, 4000) and out[1500, 2000] == 1
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, capture_output=True, text=True)
    megabytes = float(done.stdout.splitlines()[-1])
    assert megabytes < 900, f"{megabytes:.0f} MB"
