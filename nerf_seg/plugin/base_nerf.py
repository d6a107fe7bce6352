"""Before a run starts: the trained NeRF whose options it takes over, or the one that is trained for it first."""

import copy
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.engine.trainer import TrainerConfig

from zim_plugins.core import ZimError

from ..field.checkpoint import TrainedNerf

if TYPE_CHECKING:
    from ..pipeline import Sa3dZimPipelineConfig

logger = logging.getLogger(__name__)


def adopt(pipeline: "Sa3dZimPipelineConfig", nerf: TrainedNerf) -> None:
    """Take over the field's options, and those of the data parser that it was trained with unless others were given.

    A path given by `--data` is kept: the capture may have been moved since.
    """
    theirs: Any = nerf.config.pipeline.datamanager
    ours: Any = pipeline.datamanager
    data = data_path(ours)
    if replace(ours.dataparser, data=NerfstudioDataParserConfig().data) == NerfstudioDataParserConfig():
        ours.dataparser = copy.deepcopy(theirs.dataparser)
        ours.camera_res_scale_factor = theirs.camera_res_scale_factor
    ours.data = data or data_path(theirs)
    pipeline.model.nerf = copy.deepcopy(nerf.model_config)
    pipeline.model.eval_num_rays_per_chunk = nerf.model_config.eval_num_rays_per_chunk
    pipeline.model.lamb = pipeline.lamb


def data_path(datamanager: Any) -> Path | None:
    """Return the capture's place by a data manager's configuration; None where it says nothing."""
    if datamanager.data is not None:
        return datamanager.data
    parser = datamanager.dataparser
    return None if parser.data == type(parser)().data else parser.data


def train_nerf(config: TrainerConfig, folder: Path) -> Path:
    """Train nerfacto, or nerfacto-light, on the capture of a run, in a process of its own.

    Args:
        config: of the run that needs a NeRF.
        folder: of the NeRF's run; a finished one is used again, an unfinished one is continued.

    Returns:
        Its config.yml.

    Raises:
        ZimError: the training failed; its own messages are above.
    """
    from nerfstudio.configs.method_configs import all_methods

    pipeline: Any = config.pipeline
    method = "nerfacto-light" if pipeline.light else "nerfacto"
    nerf: Any = copy.deepcopy(all_methods[method])
    nerf.output_dir, nerf.experiment_name, nerf.timestamp = folder.parent, folder.name, "."
    nerf.vis, nerf.machine = "tensorboard", copy.deepcopy(config.machine)
    nerf.pipeline.datamanager.dataparser = copy.deepcopy(pipeline.datamanager.dataparser)
    nerf.pipeline.datamanager.data = pipeline.datamanager.data
    if config.machine.device_type == "cpu":
        nerf.pipeline.model.implementation = "torch"
    path = folder / method / "config.yml"
    saved = sorted((folder / method / nerf.relative_model_dir).glob("step-*.ckpt"))
    done = int(saved[-1].stem.partition("-")[2]) + 1 if saved else 0
    if done < nerf.max_num_iterations:
        logger.info("no --pipeline.nerf-config: %s is trained first, into %s", method, path.parent)
        if saved:
            nerf.load_dir = saved[-1].parent
            nerf.max_num_iterations -= done
        nerf.save_config()
        command = [sys.executable, "-m", "nerfstudio.scripts.train", method, "--load-config", str(path)]
        if subprocess.run(command, env=os.environ).returncode:
            raise ZimError(f"training {method} failed, see above; its folder is {path.parent}")
    return path
