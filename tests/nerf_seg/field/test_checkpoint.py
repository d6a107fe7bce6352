import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

pytest.importorskip("nerfstudio", reason="nerfstudio is not installed: pip install 'zim-plugins[nerf]'")

from zim_plugins.core import CheckpointError

pytestmark = pytest.mark.filterwarnings("ignore")

TORCH_KEY, TCNN_KEY = "_model.field.mlp_base.model.0.hash_table", "_model.field.mlp_base.model.params"
EMBEDDING = "_model.field.embedding_appearance.embedding.weight"


def write_run(folder: Path, state: dict[str, torch.Tensor], method: str = "nerfacto") -> Path:
    from nerfstudio.configs.method_configs import method_configs

    checkpoints = folder / "nerfstudio_models"
    checkpoints.mkdir(parents=True)
    torch.save({"step": 7, "pipeline": state}, checkpoints / "step-000000007.ckpt")
    (folder / "config.yml").write_text(yaml.dump(copy.deepcopy(method_configs[method])))
    return folder / "config.yml"


def test_the_implementation_is_told_by_the_weights_not_by_the_options(tmp_path: Path) -> None:
    from nerf_seg.field.checkpoint import find_nerf

    nerf = find_nerf(write_run(tmp_path, {TORCH_KEY: torch.ones(2), EMBEDDING: torch.zeros(18, 32)}))
    assert nerf.model_config.implementation == "torch"  # the options of nerfacto say tcnn
    assert nerf.views == 18
    assert set(nerf.state) == {TORCH_KEY.removeprefix("_model."), EMBEDDING.removeprefix("_model.")}


def test_the_digest_names_the_weights_and_not_the_metric(tmp_path: Path) -> None:
    from nerf_seg.field.checkpoint import find_nerf

    lpips = {"_model.lpips.net.weight": torch.ones(3)}
    runs = [{TORCH_KEY: torch.ones(2)}, {TORCH_KEY: torch.ones(2)} | lpips, {TORCH_KEY: torch.zeros(2)}]
    digests = [find_nerf(write_run(tmp_path / str(i), state)).digest() for i, state in enumerate(runs)]
    assert digests[0] == digests[1] != digests[2]


def test_a_tcnn_checkpoint_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nerfstudio.utils import external

    from nerf_seg.field.checkpoint import find_nerf

    config = write_run(tmp_path, {TCNN_KEY: torch.ones(2)})
    monkeypatch.setattr(external, "TCNN_EXISTS", False)
    with pytest.raises(CheckpointError, match=r"tiny-cuda-nn.*--pipeline.model.implementation torch"):
        find_nerf(config)
    monkeypatch.setattr(external, "TCNN_EXISTS", True)
    assert find_nerf(config).model_config.implementation == "tcnn"


def test_what_is_no_finished_nerfacto_is_refused(tmp_path: Path) -> None:
    from nerf_seg.field.checkpoint import find_nerf

    with pytest.raises(CheckpointError, match=r"there is no .*config.yml"):
        find_nerf(tmp_path / "config.yml")
    with pytest.raises(CheckpointError, match="run of splatfacto"):
        find_nerf(write_run(tmp_path / "splats", {}, "splatfacto"))
    unfinished = write_run(tmp_path / "unfinished", {})
    checkpoint = next((tmp_path / "unfinished" / "nerfstudio_models").iterdir())
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        find_nerf(unfinished)
    checkpoint.unlink()
    with pytest.raises(CheckpointError, match="not finished"):
        find_nerf(unfinished)


def captured(views: int = 18, scale: float = 0.5) -> Any:
    return SimpleNamespace(
        image_filenames=[Path(f"{i}.png") for i in range(views)],
        dataparser_transform=torch.eye(4)[:3],
        dataparser_scale=scale,
    )


def test_another_capture_is_refused(tmp_path: Path) -> None:
    from nerf_seg.field.checkpoint import check_capture, find_nerf

    nerf = find_nerf(write_run(tmp_path, {TORCH_KEY: torch.ones(2), EMBEDDING: torch.zeros(18, 32)}))
    check_capture(nerf, captured())
    with pytest.raises(CheckpointError, match=r"18 views.* 20 training views"):
        check_capture(nerf, captured(views=20))
    placement = {"transform": torch.eye(4)[:3].tolist(), "scale": 0.5}
    (tmp_path / "dataparser_transforms.json").write_text(json.dumps(placement))
    check_capture(nerf, captured())
    with pytest.raises(CheckpointError, match=r"scale 0.25, trained with 0.5"):
        check_capture(nerf, captured(scale=0.25))


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    from nerf_seg.field.checkpoint import find_nerf, load_nerf

    model = torch.nn.Sequential(torch.nn.Linear(2, 3))
    nerf = find_nerf(write_run(tmp_path, {"_model.0.weight": torch.ones(3, 2)}))
    with pytest.raises(CheckpointError, match=r"nothing for 0.bias, and \(3,\)"):
        load_nerf(model, nerf)
