"""Official SAM files through our modules."""

from dataclasses import replace

import pytest
import torch

from zim_plugins.core.backends.sam import encoder_config, load_sam
from zim_plugins.core.modeling.image_encoder import VIT_CONFIGS, ViTConfig
from zim_plugins.core.modeling.zim import Zim, sam_config
from zim_plugins.errors import CheckpointError

REDUCED = ViTConfig(dim=32, depth=3, heads=2, global_blocks=(1,), frame_px=256)


@pytest.mark.parametrize("name", VIT_CONFIGS)
def test_shape_is_read_off_the_weights(name, tmp_path):
    with torch.device("meta"):
        state = Zim(sam_config(name)).state_dict()
    assert encoder_config(state, tmp_path) == VIT_CONFIGS[name]


def test_a_pth_file_loads_strictly(tmp_path):
    sam = Zim(replace(sam_config("vit_b"), encoder=REDUCED, frame_px=256, mlp_dim=128))
    path = tmp_path / "sam.pth"
    torch.save(sam.state_dict(), path)
    loaded = load_sam(path)
    assert loaded.config == sam.config
    assert all(torch.equal(loaded.state_dict()[k], v) for k, v in sam.state_dict().items())

    state = sam.state_dict()
    del state["mask_decoder.iou_token.weight"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="iou_token"):
        load_sam(path)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04damaged"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "sam.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"sam\.pth holds no weights: it is"):
        load_sam(path)


def test_other_weights_are_refused(tmp_path):
    torch.save({"model": {"weight": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="holds no SAM"):
        load_sam(tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="missing"):
        load_sam(tmp_path / "absent.pth")
