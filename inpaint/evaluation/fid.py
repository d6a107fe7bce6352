"""Fréchet distance between two sets of images, with the Inception network from a local file."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from inpaint.inpainters.torchscript import load_torchscript

LEAST_IMAGES = 2048
"""Below about as many images as features the covariance is not of full rank, and FID tells little."""


class Inception:
    """Features of the network that FID is defined with.

    Args:
        path: TorchScript of Inception v3 as StyleGAN and clean-fid use it (`inception-2015-12-05.pt`): called with
            uint8 images (n, 3, h, w) and `return_features=True`, it answers with 2048 features of each.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no TorchScript.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"FID needs inception-2015-12-05.pt; {path} is not there")
        self._network = load_torchscript(path)

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, " d"]:
        """The features of one image."""
        import torch

        batch = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
        with torch.inference_mode():
            return self._network(batch, return_features=True)[0].float().numpy()


def frechet_distance(first: Float32[np.ndarray, "n d"], second: Float32[np.ndarray, "m d"]) -> float:
    """Fréchet distance of two Gaussians fitted to features (Heusel et al. 2017): 0 for equal sets.

    |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)); the root's trace is the sum of the roots of the eigenvalues.

    Raises:
        ValueError: a set has fewer than two members.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"FID compares sets of at least 2 images, got {len(first)} and {len(second)}")
    mean1, spread1 = _moments(first)
    mean2, spread2 = _moments(second)
    roots = np.sqrt(np.clip(np.linalg.eigvals(spread1 @ spread2).real, 0, None)).sum()
    return float(max(0.0, ((mean1 - mean2) ** 2).sum() + np.trace(spread1) + np.trace(spread2) - 2 * roots))


def _moments(rows: Float32[np.ndarray, "n d"]) -> tuple[Float64[np.ndarray, " d"], Float64[np.ndarray, "d d"]]:
    values = rows.astype(np.float64)
    return values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False))
