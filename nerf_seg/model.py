"""The frozen field with a mask grid in it, as nerfstudio's commands and its viewer ask for it."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import tyro
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.model_components.renderers import DepthRenderer
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.models.nerfacto import NerfactoModel, NerfactoModelConfig
from torch import Tensor
from torch.nn import Parameter

from zim_plugins.core import ZimError
from zim_plugins.evaluation import boundary_iou, iou, zim_errors
from zim_plugins.imaging.overlay import OBJECT_TINT, TINT_OPACITY

from .field.rendering import density_and_colour, expected_depth
from .segmentation.estimators import Estimator, MatteEstimator, Sa3dEstimator
from .segmentation.mask_grid import Domain, MaskGrid

EMPTY_BATCHES = 20
"""Batches of rays without one pixel of the object after which an exporter is stopped."""


@dataclass
class Sa3dZimModelConfig(ModelConfig):
    """The mask grid and how views are accumulated in it; the field's own options come from the NeRF's run."""

    _target: type = field(default_factory=lambda: Sa3dZimModel)
    loss: Literal["matte", "sa3d"] = "matte"
    """How views add up: "matte" keeps opacities in [0, 1] whatever the order of the views; "sa3d" is the linear loss
    of the paper, one step of gradient descent a view, a mask where it is positive."""
    resolution: int = 160
    """Vertices along each side of the mask grid."""
    box: Literal["auto", "object", "scene"] = "auto"
    """Whether the grid spans the surroundings of the object in the reference view, or all of contracted space. auto:
    the object's for matte; the scene for sa3d, whose votes against the object lie in its background: there
    --pipeline.model.resolution 256 is better."""
    samples_per_ray: int = 12
    """Samples kept of each ray, the heaviest ones."""
    nerf: tyro.conf.Suppress[NerfactoModelConfig | None] = None
    """The field's options, taken from its run."""
    lamb: tyro.conf.Suppress[float] = 1.0
    """As the pipeline's."""


class Sa3dZimModel(Model):
    """A frozen nerfacto and a mask grid."""

    config: Sa3dZimModelConfig

    def populate_modules(self) -> None:
        """Build the field as it was trained, and an empty grid."""
        super().populate_modules()
        if self.config.nerf is None:
            raise ZimError("a run of sa3d-zim has no field yet: train it with `ns-train sa3d-zim`")
        self.nerf: NerfactoModel = self.config.nerf.setup(
            scene_box=self.scene_box, num_train_data=self.num_train_data, metadata=self.kwargs.get("metadata")
        )
        self.nerf.requires_grad_(False)
        self.nerf.proposal_sampler.set_anneal(1.0)
        self.grid = MaskGrid(self.config.resolution, self.estimator())
        self.register_buffer("domain", torch.tensor([[-2.0] * 3, [2.0] * 3]))
        self.median_depth = DepthRenderer(method="median")
        self.empty_batches = 0

    def boxed(self) -> bool:
        """Return whether the grid spans the object's surroundings only."""
        return self.config.box == "object" or (self.config.box == "auto" and self.config.loss == "matte")

    def estimator(self) -> Estimator:
        """As chosen by `--pipeline.model.loss`."""
        return Sa3dEstimator(lamb=self.config.lamb) if self.config.loss == "sa3d" else MatteEstimator()

    def set_domain(self, domain: Domain) -> None:
        """Let the grid stand for a part of contracted space, from now on and in checkpoints."""
        self.grid.domain = domain
        self.domain = torch.tensor([domain.lower, domain.upper], device=self.device)

    def train(self, mode: bool = True) -> "Sa3dZimModel":
        """Stay in evaluation mode: in training mode the field's samples would be jittered at each visit."""
        return super().train(False)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """As torch's; the grid's place in space comes with its values."""
        answer = super().load_state_dict(state_dict, strict=strict, assign=assign)
        lower, upper = self.domain.tolist()
        self.grid.domain = Domain(tuple(lower), tuple(upper), contracted=True)
        return answer

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Nothing is learnt by gradient descent."""
        return {}

    def forward(self, ray_bundle: RayBundle) -> dict[str, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As the base class, with the field's own near and far planes."""
        return self.get_outputs(ray_bundle if self.nerf.collider is None else self.nerf.collider(ray_bundle))

    @torch.no_grad()
    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Render rays.

        Returns:
            `rgb`, `accumulation`, `depth` and `expected_depth` as nerfacto's; `object_alpha`, the 3D matte as seen in
            [0, 1]; `object_rgb`, the colours of the object's own samples on black; `overlay`, to look at.
        """
        samples, _, _ = self.nerf.proposal_sampler(ray_bundle, density_fns=self.nerf.density_fns)
        density, colour = density_and_colour(self.nerf, samples)
        weights = samples.get_weights(density)
        places = self.grid.domain.to_unit(samples.frustums.get_positions())
        values = self.grid.values(places)[0][..., None]
        estimator = self.grid.estimator
        accumulation = weights.sum(-2)
        # As `MaskGrid.look`: SA3D's unbounded values are rendered first and thresholded then.
        alpha = estimator.opacity((weights * values).sum(-2))
        rgb = self.nerf.renderer_rgb(rgb=colour, weights=weights)
        tint = torch.tensor(OBJECT_TINT, device=rgb.device) / 255
        return {
            "rgb": rgb,
            "accumulation": accumulation,
            "depth": self.median_depth(weights=weights, ray_samples=samples),
            "expected_depth": expected_depth(samples, weights[..., 0])[..., None],
            "object_alpha": alpha,
            "object_rgb": (weights * estimator.opacity(values) * colour).sum(-2).clamp(0, 1),
            "overlay": rgb + alpha * TINT_OPACITY * (tint - rgb),
        }

    def get_rgba_image(self, outputs: dict[str, Tensor], output_name: str = "rgb") -> Tensor:
        """The object cut out: its own colours (straight, not premultiplied) and the 3D matte as alpha.

        `ns-export pointcloud` keeps asking until it has enough points with alpha above 0.5, so a grid without an
        object has to be an error here.

        Raises:
            ZimError: the grid is empty, or many batches of rays have not met the object.
        """
        if output_name != "rgb":
            return super().get_rgba_image(outputs, output_name)
        alpha = outputs["object_alpha"]
        batch_of_rays = alpha.dim() == 2
        if batch_of_rays:
            self.empty_batches = 0 if bool((alpha > 0.5).any()) else self.empty_batches + 1
            if self.is_empty() or self.empty_batches >= EMPTY_BATCHES:
                raise ZimError(
                    "the object is empty: nothing of it is more than half opaque, so there is nothing to export; "
                    "see report.json for the views that were rejected, and prompt again"
                )
        return torch.cat([outputs["object_rgb"] / alpha.clamp_min(1e-4), alpha], dim=-1).clamp(0, 1)

    @torch.no_grad()
    def is_empty(self) -> bool:
        """Return whether no vertex of the grid is more than half opaque."""
        channels = self.grid.estimator.channels(self.grid.sums)
        return not bool((self.grid.estimator.opacity(self.grid.estimator.read(channels)[0]) > 0.5).any())

    def get_loss_dict(self, outputs: Any, batch: Any, metrics_dict: Any = None) -> dict[str, Tensor]:
        """There is no loss."""
        return {}

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Score one view: psnr and ssim of the field, and the matte where the true one is known.

        The true alpha is `batch["truth_alpha"]`, see the data manager. The errors are those of the ZIM release: `sad`
        is a sum / 1000, `mae` and `mse` are means x 1000.
        """
        photo = self.nerf.renderer_rgb.blend_background(batch["image"].to(self.device))
        shown = [image.movedim(-1, 0)[None] for image in (photo, outputs["rgb"].to(self.device))]
        metrics = {"psnr": float(self.nerf.psnr(*shown)), "ssim": float(self.nerf.ssim(*shown))}  # pyright: ignore[reportArgumentType]
        alpha = outputs["object_alpha"].to(self.device)
        images = {"img": torch.cat([photo, outputs["rgb"].to(self.device), alpha.expand(-1, -1, 3)], dim=1)}
        if "truth_alpha" in batch:
            metrics |= matte_scores(_array(alpha), _array(batch["truth_alpha"]))
        return metrics, images


def matte_scores(alpha: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Scores of a matte against the true one, both (h, w) float32 in [0, 1]; masks are alpha > 0.5."""
    errors = zim_errors(alpha, truth)
    mask, target = alpha > 0.5, truth > 0.5
    scores = {"iou": iou(mask, target), "acc": float((mask == target).mean())}
    scores |= {"boundary_iou": boundary_iou(mask, target)}
    return scores | {"sad": errors.sad, "mae": errors.mae, "mse": errors.mse}


def _array(image: Tensor) -> np.ndarray:
    return image[..., 0].float().cpu().numpy()
