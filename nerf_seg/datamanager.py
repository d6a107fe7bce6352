"""Data of a sa3d-zim run: nerfstudio's own data manager, with the true mattes of held-out views if there are any."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from nerfstudio.configs.dataparser_configs import AnnotatedDataParserUnion
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.data.datasets.base_dataset import InputDataset

from zim_plugins.core import read_alpha


@dataclass
class Sa3dZimDataManagerConfig(VanillaDataManagerConfig):
    """nerfstudio's data manager; where the cameras stand comes from the NeRF's run."""

    _target: type = field(default_factory=lambda: Sa3dZimDataManager)
    dataparser: AnnotatedDataParserUnion = field(default_factory=NerfstudioDataParserConfig)
    """By default as in the NeRF's run."""
    truth_alphas: Path | None = None
    """Folder of true mattes, named as the images with .png: `ns-eval` then scores the held-out views."""


class HeldOutDataset(InputDataset):
    """Images with their true mattes, under a key that does not restrict any sampling of rays."""

    truth_alphas: Path | None = None

    def get_metadata(self, data: dict) -> dict:
        """`truth_alpha` (h, w, 1) in [0, 1], where true mattes are given."""
        if self.truth_alphas is None:
            return {}
        path = self.truth_alphas / f"{self.image_filenames[data['image_idx']].stem}.png"
        alpha = torch.from_numpy(read_alpha(path))[..., None]
        if alpha.shape[:2] != data["image"].shape[:2]:
            raise ValueError(
                f"{path} is {tuple(alpha.shape[:2])}, its image {tuple(data['image'].shape[:2])} (height, width)"
            )
        return {"truth_alpha": alpha}


class Sa3dZimDataManager(VanillaDataManager[InputDataset]):
    """As nerfstudio's; exporters need its sampler of training rays, so all of it stays."""

    config: Sa3dZimDataManagerConfig

    def create_eval_dataset(self) -> HeldOutDataset:
        """The held-out images with their true mattes.

        Raises:
            ValueError: one of them has none.
        """
        outputs = self.dataparser.get_dataparser_outputs(split=self.test_split)
        dataset = HeldOutDataset(outputs, scale_factor=self.config.camera_res_scale_factor)
        folder = self.config.truth_alphas
        if folder is not None:
            for path in dataset.image_filenames:
                if not (folder / f"{path.stem}.png").exists():
                    raise ValueError(f"{folder} holds no {path.stem}.png: each held-out image needs its true matte")
        dataset.truth_alphas = folder
        return dataset
