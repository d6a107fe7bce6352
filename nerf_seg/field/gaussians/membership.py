"""Membership: how much each Gaussian is of the object, from mattes of views, weighted by blending weights.

Per Gaussian N = sum w A and D = sum w over all pixels and views, with the weight of the view and the certainty of the
matte as `MatteEstimator` has them; the membership is N / D.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from scipy.spatial import KDTree
from torch import Tensor

from ...segmentation.estimators import Estimator, MatteEstimator
from ...segmentation.rendering import Rendering
from .samples import PixelWeights

NEIGHBOURS = 8
"""Gaussians that no view has seen take the mean membership of so many seen ones nearest to them."""


class GaussianMembership:
    """An `ObjectField` over Gaussians, on the CPU.

    Args:
        estimator: how views are accumulated and values are read.
    """

    def __init__(self, count: int, estimator: Estimator | None = None) -> None:
        self.estimator: Estimator = MatteEstimator() if estimator is None else estimator
        self.sums: Tensor = torch.zeros(count, 2)

    def flat(self, image: Float32[np.ndarray, "h w"]) -> Float[Tensor, " r"]:
        """See `ObjectField`."""
        return torch.from_numpy(np.ascontiguousarray(image)).flatten()

    def scattered(self, samples: PixelWeights, values: Float[Tensor, "r 2"]) -> Float[Tensor, "n 2"]:
        """See `ObjectField`; all pairs take part."""
        return torch.from_numpy(samples.gather(values.numpy()))

    def look(self, samples: PixelWeights) -> Rendering:
        """See `ObjectField`."""
        values, observed = self.estimator.read(self.estimator.channels(self.sums))
        seen = samples.blend(torch.stack([values, observed.to(values)], dim=1).numpy())
        total = samples.accumulation.numpy().reshape(samples.size)
        rendered = torch.from_numpy(seen[..., 0])
        return Rendering(
            alpha=self.estimator.opacity(rendered).numpy(),
            score=self.estimator.score(rendered).numpy(),
            observed=(seen[..., 1] / np.maximum(total, 1e-6)).clip(0, 1),
        )

    def render(self, samples: PixelWeights) -> Float32[np.ndarray, "h w"]:
        """See `ObjectField`."""
        return self.look(samples).alpha

    def membership(self, means: Float[Tensor, "n 3"]) -> tuple[Float32[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """Return each Gaussian's membership in [0, 1], and which of them a view has seen.

        Those inside the object, or where no camera looks, take the mean of their nearest seen neighbours.
        """
        values, observed = self.estimator.read(self.estimator.channels(self.sums))
        membership, seen = self.estimator.opacity(values).numpy().copy(), observed.numpy()
        if seen.any() and not seen.all():
            places = means.numpy()
            neighbours = min(NEIGHBOURS, int(seen.sum()))
            _, nearest = KDTree(places[seen]).query(places[~seen], k=neighbours)
            membership[~seen] = membership[seen][nearest.reshape(-1, neighbours)].mean(1)
        return membership.astype(np.float32), seen
