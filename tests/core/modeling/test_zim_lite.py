"""The embedded network: folding, storing, prompts, ranking, strict loading of published trunk weights."""

from pathlib import Path

import pytest
import torch
from scipy import ndimage

from zim_plugins.core.modeling.efficientnet_lite import STAGES, ConvNorm, EfficientNetLite
from zim_plugins.core.modeling.zim import load_weights, save_weights
from zim_plugins.core.modeling.zim_lite import LiteConfig, ZimLite, draw_prompt_maps
from zim_plugins.errors import CheckpointError

SMALL = LiteConfig(frame_px=96, dim=32, depth=1, width8=24, width4=16, width2=8)


@pytest.fixture(scope="module")
def network() -> ZimLite:
    torch.manual_seed(0)
    zim = ZimLite(SMALL)
    for part in zim.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.normal_(part.bias, std=0.2)
            torch.nn.init.normal_(part.running_mean, std=0.2)
            torch.nn.init.uniform_(part.running_var, 0.5, 2)
    return zim.eval().requires_grad_(False)


CLICK = (torch.tensor([[[40.0, 30.0], [0.0, 0.0]]]), torch.tensor([[1, -1]]))
BOX = (torch.tensor([[[10.0, 20.0], [70.0, 80.0]]]), torch.tensor([[2, 3]]))


def test_folding_and_storing_change_nothing_that_fp16_does_not(network: ZimLite, tmp_path: Path) -> None:
    x = torch.randn(1, 3, 96, 96)
    wanted, scores = network.decode(network.encode(x), *CLICK)
    folded = network.folded()
    assert folded.config.folded and not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    torch.testing.assert_close(folded.decode(folded.encode(x), *CLICK)[0], wanted, atol=1e-3, rtol=1e-4)
    save_weights(network, tmp_path / "x.safetensors", {"name": "x"})
    loaded, metadata = load_weights(tmp_path / "x.safetensors")
    assert isinstance(loaded, ZimLite) and metadata["name"] == "x"
    again, _ = loaded.eval().decode(loaded.encode(x), *CLICK)
    assert (again.sigmoid() - wanted.sigmoid()).abs().mean() < 5e-3
    assert (scores[:, :-1] >= scores[:, 1:]).all(), "the best candidate comes first"


def test_one_encoding_serves_prompts_alone_or_together_and_padding_says_nothing(network: ZimLite) -> None:
    features = network.prepare(network.encode(torch.randn(1, 3, 96, 96)))
    coords, labels = torch.cat([CLICK[0], BOX[0]]), torch.cat([CLICK[1], BOX[1]])
    together, scores = network.decode(features, coords, labels)
    for row, (c, k) in enumerate((CLICK, BOX)):
        alone, score = network.decode(features, c, k)
        torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(score[0], scores[row], atol=1e-5, rtol=1e-4)
    longer = torch.cat([CLICK[0], torch.full((1, 3, 2), 55.0)], 1), torch.cat([CLICK[1], torch.full((1, 3), -1)], 1)
    torch.testing.assert_close(network.decode(features, *longer)[0], network.decode(features, *CLICK)[0])


def test_every_kind_of_prompt_changes_the_answer(network: ZimLite) -> None:
    features = network.prepare(network.encode(torch.randn(1, 3, 96, 96)))
    alpha = torch.zeros(1, 1, 96, 96)
    alpha[..., 20:60, 20:60] = 1
    nothing = CLICK[0], torch.tensor([[-1, -1]])
    background = CLICK[0], torch.tensor([[1, 0]])
    answers = [network.decode(features, *p)[0] for p in (CLICK, BOX, nothing, background)]
    answers.append(network.decode(features, *CLICK, alpha)[0])
    for i, one in enumerate(answers):
        for other in answers[i + 1 :]:
            assert (one - other).abs().max() > 1e-6
    absent = network.decode(features, *CLICK, torch.full((1, 1, 96, 96), -1.0))[0]
    torch.testing.assert_close(absent, answers[0])


def test_maps_lie_where_they_are_drawn() -> None:
    maps = draw_prompt_maps(*BOX, None, 96)[0]
    assert maps[0].sum() * 16 == pytest.approx(60 * 60), "the box's area"
    assert (maps[1] == 1).all() and maps.min() >= -1 and maps.max() <= 1
    maps = draw_prompt_maps(*CLICK, None, 96)[0]
    assert divmod(int(maps[3].argmax()), 24) in {(7, 9), (7, 10)} and (maps[:3] == 0).all() and (maps[6:] == 0).all()


def test_published_weights_load_strictly(tmp_path: Path) -> None:
    trunk = EfficientNetLite("lite0")
    published = {}
    for name, part in trunk.named_modules():
        if not isinstance(part, ConvNorm):
            continue
        if name == "stem":
            conv, norm = "_conv_stem", "_bn0"
        else:
            _, i, kind = name.split(".")
            conv, norm = {
                "expand": ("_expand_conv", "_bn0"),
                "depthwise": ("_depthwise_conv", "_bn1"),
                "project": ("_project_conv", "_bn2"),
            }[kind]
            conv, norm = f"_blocks.{i}.{conv}", f"_blocks.{i}.{norm}"
        published |= {f"{conv}.{k}": v + 0.5 for k, v in part.conv.state_dict().items()}
        published |= {f"{norm}.{k}": v + 1 for k, v in part.norm.state_dict().items()}
    head = {"_conv_head.weight": torch.zeros(1), "_bn1.bias": torch.zeros(1), "_fc.weight": torch.zeros(1)}
    torch.save(published | head, tmp_path / "ok.pth")
    fresh = EfficientNetLite("lite0")
    fresh.load_published(tmp_path / "ok.pth")
    torch.testing.assert_close(fresh.stem.conv.weight, trunk.stem.conv.weight + 0.5)
    assert len(fresh.blocks) == sum(s[0] for s in STAGES)
    missing = dict(published)
    missing.pop("_conv_stem.weight")
    for name, state in (("missing", missing), ("more", published | {"_blocks.99._bn0.bias": torch.zeros(1)})):
        torch.save(state, tmp_path / f"{name}.pth")
        with pytest.raises(CheckpointError):
            EfficientNetLite("lite0").load_published(tmp_path / f"{name}.pth")
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    with pytest.raises(CheckpointError):
        EfficientNetLite("lite0").load_published(tmp_path / "page.pth")


def test_depth_is_scipys_distance_transform() -> None:
    from zim_plugins.training.packed.prompts import depth

    mask = torch.rand(5, 32, 32) > 0.1
    mask[0], mask[1] = True, False
    for found, one in zip(depth(mask), mask, strict=True):
        wanted = ndimage.distance_transform_edt(torch.nn.functional.pad(one, (1, 1, 1, 1)).numpy())[1:-1, 1:-1]
        torch.testing.assert_close(found.double(), torch.from_numpy(wanted), atol=1e-4, rtol=1e-5)
