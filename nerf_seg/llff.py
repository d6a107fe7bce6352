"""`llff-data`: nerfstudio reads LLFF captures (poses_bounds.npy), for which it has no parser of its own.

nerfstudio imports this module at each start of each ns-* command, so it imports nothing that these do not.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.plugins.registry_dataparser import DataParserSpecification


@dataclass
class LLFFDataParserConfig(DataParserConfig):
    """LLFF captures: poses_bounds.npy beside images, images_4, images_8 ..."""

    _target: type = field(default_factory=lambda: LLFF)
    """The class that this configures."""
    data: Path = Path()
    """Folder that holds poses_bounds.npy."""
    downscale_factor: int | None = None
    """Take the images of images_N (1: images); by itself the largest of at most 1600 px a side."""
    images_folder: str | None = None
    """Take the images of this folder below the capture, at whatever size they are."""
    eval_mode: Literal["interval", "names", "all"] = "interval"
    """Which views are held out: every N-th (interval), those of eval_names, or none, so that all serve both (all)."""
    eval_interval: int = 8
    """LLFF's and NeRF's llffhold: views 0, 8, 16 ... are held out."""
    eval_names: tuple[str, ...] = ()
    """File names of held-out views, with or without suffix; for eval_mode names."""
    orientation_method: Literal["pca", "up", "vertical", "none"] = "up"
    """How the world is turned; the methods are nerfstudio's."""
    center_method: Literal["poses", "focus", "none"] = "poses"
    """What the world is centred on; the methods are nerfstudio's."""
    scale_method: Literal["poses", "bounds", "none"] = "poses"
    """Scale the world so that the cameras lie in the unit cube (poses: nerfstudio's auto_scale_poses), or so that the
    nearest depth of all is 4/3 (bounds: LLFF's and NeRF's), or not."""
    scale_factor: float = 1.0
    """Scale the world by this, too."""
    scene_scale: float = 1.0
    """Half the side of the scene box."""


@dataclass
class LLFF(DataParser):
    """Parser of LLFF captures.

    `metadata["bounds"]` of its outputs holds the nearest and farthest depth of each view in the scaled world.
    """

    config: LLFFDataParserConfig

    def __init__(self, config: LLFFDataParserConfig) -> None:
        super().__init__(config=config)
        self._capture: Any = None

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        import torch
        from nerfstudio.cameras.camera_utils import auto_orient_and_center_poses
        from nerfstudio.cameras.cameras import Cameras, CameraType
        from nerfstudio.data.scene_box import SceneBox

        from .field.poses_bounds import read_capture

        config = self.config
        if self._capture is None:  # each image is decoded once, not once for each split
            self._capture = read_capture(
                Path(config.data), downscale_factor=config.downscale_factor, folder=config.images_folder
            )
        capture = self._capture
        chosen = split_views([path.name for path in capture.files], config, split)

        poses = torch.eye(4).repeat(len(capture.files), 1, 1)
        poses[:, :3] = torch.from_numpy(capture.poses.c2w).float()
        _, transform = auto_orient_and_center_poses(
            poses, method=config.orientation_method, center_method=config.center_method
        )
        # Not the poses it answers with: to turn the scene over, pca of 1.1.5 negates the second and third camera.
        poses = transform @ poses
        scale = config.scale_factor
        if config.scale_method == "poses":
            scale /= max(float(poses[:, :3, 3].abs().max()), 1e-6)
        elif config.scale_method == "bounds":
            scale /= 0.75 * float(capture.poses.bounds.min())
        poses[:, :3, 3] *= scale

        height, width = capture.size
        focal = torch.from_numpy(capture.focal).float()[chosen]
        half = config.scene_scale
        return DataparserOutputs(
            image_filenames=[capture.files[index] for index in chosen],
            cameras=Cameras(
                camera_to_worlds=poses[chosen, :3],
                fx=focal[:, :1],
                fy=focal[:, 1:],
                cx=width / 2,
                cy=height / 2,
                width=width,
                height=height,
                camera_type=CameraType.PERSPECTIVE,
            ),
            scene_box=SceneBox(aabb=torch.tensor([[-half, -half, -half], [half, half, half]])),
            dataparser_transform=transform,
            dataparser_scale=scale,
            metadata={"bounds": torch.from_numpy(capture.poses.bounds * scale).float()[chosen]},
        )


def split_views(names: list[str], config: LLFFDataParserConfig, split: str) -> list[int]:
    """Indices of the views of a split.

    Args:
        names: file names in the order of the rows.
        config: says what is held out.
        split: train, val or test; val and test are the same views.

    Raises:
        ValueError: the split is unknown, a name is not there, or a split would be empty.
    """
    if split not in ("train", "val", "test"):
        raise ValueError(f"the split is train, val or test, got {split!r}")
    if config.eval_mode == "all":
        return list(range(len(names)))
    if config.eval_mode == "interval":
        if config.eval_interval < 1:
            raise ValueError(f"--eval-interval is at least 1, got {config.eval_interval}")
        held_out = set(range(0, len(names), config.eval_interval))
    else:
        found = {
            name: [i for i, file in enumerate(names) if name in (file, Path(file).stem)] for name in config.eval_names
        }
        if missing := [name for name, at in found.items() if not at]:
            raise ValueError(
                f"--eval-names: no view is called {', '.join(missing)}; they are {names[0]} to {names[-1]}"
            )
        held_out = {index for at in found.values() for index in at}
    chosen = [index for index in range(len(names)) if (index in held_out) == (split != "train")]
    if not chosen:
        raise ValueError(f"no view is left for the split {split}: {len(held_out)} of {len(names)} are held out")
    return chosen


llff_data = DataParserSpecification(
    config=LLFFDataParserConfig(), description="LLFF captures: poses_bounds.npy beside folders of images"
)
