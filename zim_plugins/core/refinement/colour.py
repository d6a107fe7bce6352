"""Refinement of a matte by the colours of its own image, for models that know where but not how sharply.

Two mixtures of Gaussians, one of the object's colours and one of its surroundings', are fitted to the matte and judge
every pixel anew; neighbours of like colour are then brought to agree by a guided filter (He et al. 2010), in the manner
of a mean field. GrabCut (Rother et al. 2004) alternates fitting and judging alike, with a graph cut in the filter's
place. It helps where object and surroundings differ in colour, and harms where they share one.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8

from zim_plugins.core.prompt import Prompt
from zim_plugins.core.refinement.priors import fill_enclosed, reach_box
from zim_plugins.core.transforms import support_box
from zim_plugins.imaging.guided_filter import GuidedFilter, resized, unit_channel

CERTAIN = 6.0
"""Log-odds of a pixel that a click names."""
OUTSIDE_BOX = -5.8
"""Log-odds assumed outside a given box."""
FAINT = 0.02
"""Opacity above which pixels hang together."""
FOUND = 0.3
"""Opacity that some pixel must reach for there to be an object."""


@dataclass(frozen=True)
class ColourRefinement:
    """Weight and scale of the colours' say."""

    side_px: int = 256
    """Longest side of the crop on which pixels are judged [px]; edges are then found at full size."""
    context: float = 0.3
    """Surroundings to learn from, as a share of the object's longer side."""
    components: int = 5
    """Gaussians of each mixture."""
    rounds: int = 3
    """Alternations of fitting and judging."""
    sweeps: int = 3
    """Smoothings within a round."""
    colour: float = 0.8
    """Weight of the colours' log-likelihood ratio beside the matte's log-odds."""
    smoothness: float = 6.0
    """Pull of the neighbours' mean opacity, in log-odds per unit of opacity."""
    radius_px: int = 4
    """Of the neighbourhood, on the reduced crop."""
    ratio_limit: float = 5.0
    """Largest log-likelihood ratio that is believed."""
    speck: float = 0.05
    """Pieces smaller than this share of the largest piece are dropped."""
    least_px: int = 64
    """Longer side of the object, box counted [px], below which its matte stays as it is: so few pixels tell too little
    of its colours."""
    contrast: float = 1.1
    """Stretch of the result about one half: what is nearly opaque or nearly clear becomes so."""
    certainty: float = 40.0
    """Power of the opacity's complement by which a pixel teaches the surroundings' colours: only those do that are
    certainly not the object, else a part that was left out by half teaches them its own."""
    reach: float = 1.0
    """Log-odds by which a matte is raised at most until it reaches its box; see `reach_box`."""
    enclosed: float = 0.3
    """Share by which what an object encloses is raised towards it; see `fill_enclosed`."""

    @property
    def wants_uncertainty(self) -> bool:
        """No: a mask's own 0 and 1 are what it was tuned on."""
        return False

    def refine(
        self, image: UInt8[np.ndarray, "h w 3"], alpha: Float32[np.ndarray, "h w"], prompt: Prompt | None = None
    ) -> Float32[np.ndarray, "h w"]:
        """Judge a matte again by the image's colours; see `refine_by_colour`."""
        return refine_by_colour(image, alpha, prompt, self)


def refine_by_colour(
    image: UInt8[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    prompt: Prompt | None = None,
    how: ColourRefinement | None = None,
) -> Float32[np.ndarray, "h w"]:
    """Judge a matte anew by the image's colours.

    Args:
        image: RGB.
        alpha: opacity in [0, 1].
        prompt: what was asked for: outside its box nothing is opaque, its clicks are certain.

    Returns:
        Opacity in [0, 1]; unchanged where the matte holds no object, a small one, or nothing but the object.
    """
    how = how or ColourRefinement()
    crop = _crop(alpha, None if prompt is None else prompt.box, how)
    if crop is None:
        return alpha
    piece, opacity = image[crop], alpha[crop]
    height, width = opacity.shape
    scale = min(1.0, how.side_px / max(height, width))
    size = max(4, round(height * scale)), max(4, round(width * scale))
    colours = np.stack([resized(unit_channel(piece, channel), size) for channel in range(3)], axis=-1)
    place = (crop[1].start, crop[0].start), (size[1] / width, size[0] / height)
    prior = _prior(resized(opacity, size), prompt, *place, how)
    smooth = GuidedFilter(colours, how.radius_px, 1e-3)
    q = _sigmoid(prior)
    pixels = _monomials(colours.reshape(-1, 3))
    sample = np.random.default_rng(0).permutation(pixels.shape[1])[:6000]
    for _ in range(how.rounds):
        weight = q.reshape(-1)[sample].astype(np.float64)
        if not 1e-3 < weight.mean() < 1 - 1e-3:
            return alpha
        inside = _fit(pixels[:, sample], weight**3 + 1e-6, how.components)
        outside = _fit(pixels[:, sample], (1 - weight) ** how.certainty + 1e-6, how.components)
        ratio = _log_density(pixels, inside) - _log_density(pixels, outside)
        evidence = prior + how.colour * ratio.clip(-how.ratio_limit, how.ratio_limit).reshape(size)
        q = _sigmoid(evidence)
        for _ in range(how.sweeps):
            q = _sigmoid(evidence + how.smoothness * (smooth(q).clip(0, 1) - 0.5))
    full = GuidedFilter(colours, max(2, how.radius_px - 1), 2e-4).enlarged(q, piece)
    refined = np.zeros_like(alpha)
    refined[crop] = _without_specks(((full - 0.5) * how.contrast + 0.5).clip(0, 1), how.speck)
    return refined


def _without_specks(alpha: Float32[np.ndarray, "h w"], share: float) -> Float32[np.ndarray, "h w"]:
    """The matte without pieces whose opaque area is less than a share of the largest piece's."""
    from skimage.measure import label

    pieces = np.asarray(label(alpha > FAINT, connectivity=2))
    areas = np.bincount(pieces[alpha > 0.5], minlength=int(pieces.max()) + 1)
    areas[0] = 0
    kept = areas >= max(1.0, share * areas.max())
    return np.where(kept[pieces], alpha, np.float32(0.0)) if kept.any() else alpha


def _crop(
    alpha: Float32[np.ndarray, "h w"], box: Float[np.ndarray, " 4"] | None, how: ColourRefinement
) -> tuple[slice, slice] | None:
    """Rows and columns of the object with its surroundings; None where there is none, or a small one."""
    extent = support_box(alpha, FOUND)
    if extent is None:
        return None
    x1, y1, x2, y2 = extent
    if box is not None:
        x1, y1, x2, y2 = min(x1, box[0]), min(y1, box[1]), max(x2, box[2]), max(y2, box[3])
    side = max(x2 - x1, y2 - y1)
    if side < how.least_px:
        return None
    room = how.context * side + 2
    return (
        slice(max(0, int(y1 - room)), min(alpha.shape[0], int(np.ceil(y2 + room)))),
        slice(max(0, int(x1 - room)), min(alpha.shape[1], int(np.ceil(x2 + room)))),
    )


def _prior(
    alpha: Float32[np.ndarray, "h w"],
    prompt: Prompt | None,
    origin: tuple[int, int],
    scale: tuple[float, float],
    how: ColourRefinement,
) -> Float32[np.ndarray, "h w"]:
    """The matte's log-odds, with what shape and prompt say of it; `origin` XY [px] and `scale` XY place the crop."""
    p = alpha.clip(0.01, 0.99)
    odds = fill_enclosed(np.log(p / (1 - p)), how.enclosed)
    height, width = p.shape
    xs, ys = np.arange(width) + 0.5, np.arange(height) + 0.5
    if prompt is not None and prompt.box is not None:
        x1, y1, x2, y2 = box = (prompt.box - np.tile(origin, 2)) * np.tile(scale, 2)
        inside = ((ys > y1 - 1) & (ys < y2 + 1))[:, None] & ((xs > x1 - 1) & (xs < x2 + 1))[None]
        odds = np.where(inside, reach_box(odds, box, limit=how.reach), np.float32(OUTSIDE_BOX))
    if prompt is not None and prompt.points is not None and prompt.labels is not None:
        for (x, y), label in zip((prompt.points - origin) * scale, prompt.labels, strict=True):
            near = (ys[:, None] - y) ** 2 + (xs[None] - x) ** 2 <= 4
            odds = np.where(near, CERTAIN if label else -CERTAIN, odds)
    return odds.astype(np.float32)


Mixture = tuple[Float[np.ndarray, "k 3"], Float[np.ndarray, "k 3 3"], Float[np.ndarray, " k"]]
"""Means, covariances and shares of Gaussians of RGB in [0, 1]."""
ROWS, COLUMNS = np.triu_indices(3)


def _monomials(colours: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "10 n"]:
    """1, R, G, B and their products: a Gaussian's logarithm and its moments are matrix products with them."""
    channels = colours.T.astype(np.float64)
    return np.concatenate([np.ones_like(channels[:1]), channels, channels[ROWS] * channels[COLUMNS]])


def _fit(monomials: Float[np.ndarray, "10 n"], weight: Float[np.ndarray, " n"], components: int) -> Mixture:
    """Weighted expectation maximisation, started from pixels drawn by weight with a fixed seed."""
    rng = np.random.default_rng(1)
    pixels = monomials[1:4]
    means = pixels[:, rng.choice(len(weight), components, p=weight / weight.sum())].T
    spread = 0.3 * (np.cov(pixels, aweights=weight) + 1e-3 * np.eye(3))
    covariances, shares = np.stack([spread] * components), np.full(components, 1 / components)
    for _ in range(8):
        logs = _log_joint(monomials, (means, covariances, shares))
        member = np.exp(logs - logs.max(0))
        member *= weight / member.sum(0)
        moments = member @ monomials.T
        mass = moments[:, 0] + 1e-6
        moments /= mass[:, None]
        shares, means = mass / mass.sum(), moments[:, 1:4]
        products = np.empty((components, 3, 3))
        products[:, ROWS, COLUMNS] = products[:, COLUMNS, ROWS] = moments[:, 4:]
        squares = means[:, :, None] * means[:, None, :]
        covariances = products - (2 - moments[:, 0])[:, None, None] * squares + 2e-4 * np.eye(3)
    return means, covariances, shares


def _log_joint(monomials: Float[np.ndarray, "10 n"], mixture: Mixture) -> Float[np.ndarray, "k n"]:
    means, covariances, shares = mixture
    precisions = np.linalg.inv(covariances)
    slopes = np.einsum("kij,kj->ki", precisions, means)
    scale = np.log(shares + 1e-9) - 0.5 * np.linalg.slogdet(covariances)[1] - 0.5 * (slopes * means).sum(1)
    curves = precisions[:, ROWS, COLUMNS] * np.where(ROWS == COLUMNS, -0.5, -1.0)
    return np.concatenate([scale[:, None], slopes, curves], axis=1) @ monomials


def _log_density(monomials: Float[np.ndarray, "10 n"], mixture: Mixture) -> Float[np.ndarray, " n"]:
    logs = _log_joint(monomials, mixture)
    top = logs.max(0)
    return top + np.log(np.exp(logs - top).sum(0))


def _sigmoid(values: Float[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    return (1 / (1 + np.exp(-values.clip(-30, 30)))).astype(np.float32)
