"""The two methods that this package adds to nerfstudio: `sa3d-zim` and `nerfacto-light`.

nerfstudio imports this module at the start of every ns-* command, unguarded: it loads nothing that they do not.
"""

import torch
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from nerfstudio.configs.base_config import MachineConfig, ViewerConfig
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.models.nerfacto import NerfactoModelConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.plugins.types import MethodSpecification

from .field import patches as obstacles
from .pipeline import Sa3dZimPipelineConfig
from .trainer import Sa3dZimTrainerConfig

obstacles.clear()

_DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def _adam() -> dict[str, object]:
    schedule = ExponentialDecaySchedulerConfig(lr_final=1e-3, max_steps=1000)
    return {"optimizer": AdamOptimizerConfig(lr=1e-2, eps=1e-15), "scheduler": schedule}


nerfacto_light = MethodSpecification(
    config=TrainerConfig(
        method_name="nerfacto-light",
        steps_per_eval_batch=0,
        steps_per_eval_image=0,
        steps_per_eval_all_images=0,
        steps_per_save=500,
        max_num_iterations=1000,
        machine=MachineConfig(device_type=_DEVICE),
        pipeline=VanillaPipelineConfig(
            datamanager=VanillaDataManagerConfig(
                dataparser=NerfstudioDataParserConfig(), train_num_rays_per_batch=1024, eval_num_rays_per_batch=1024
            ),
            model=NerfactoModelConfig(
                implementation="torch",
                eval_num_rays_per_chunk=4096,
                num_levels=8,
                max_res=1024,
                log2_hashmap_size=16,
                hidden_dim=32,
                hidden_dim_color=32,
                num_proposal_samples_per_ray=(48, 32),
                num_nerf_samples_per_ray=20,
                proposal_net_args_list=[
                    {"hidden_dim": 16, "log2_hashmap_size": 13, "num_levels": 3, "max_res": 64, "use_linear": False},
                    {"hidden_dim": 16, "log2_hashmap_size": 14, "num_levels": 4, "max_res": 256, "use_linear": False},
                ],
                proposal_warmup=500,
                proposal_weights_anneal_max_num_iters=300,
                use_appearance_embedding=False,
                average_init_density=0.01,
                camera_optimizer=CameraOptimizerConfig(mode="off"),
            ),
        ),
        optimizers={"proposal_networks": _adam(), "fields": _adam()},
        viewer=ViewerConfig(num_rays_per_chunk=4096),
        vis="tensorboard",
    ),
    description="A small nerfacto for machines without a GPU: images of about 100x75 in a quarter of an hour.",
)

sa3d_zim = MethodSpecification(
    config=Sa3dZimTrainerConfig(
        method_name="sa3d-zim",
        steps_per_eval_batch=0,
        steps_per_eval_image=0,
        steps_per_eval_all_images=0,
        steps_per_save=0,
        machine=MachineConfig(device_type=_DEVICE),
        pipeline=Sa3dZimPipelineConfig(),
        optimizers={},
        vis="tensorboard",
    ),
    description="One prompt in one view becomes an object in 3D: mattes by ZIM carried into a trained nerfacto (SA3D).",
)
