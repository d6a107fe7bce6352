"""Scene: a trained nerfacto run opened for segmentation, without a trainer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from zim_plugins.imaging import unit_values

from ..segmentation.mask_grid import Domain, MaskGrid
from ..segmentation.object_field import ObjectInScene
from ..segmentation.views import View, ViewCache, ViewSamples, ViewSource
from . import patches as obstacles
from .checkpoint import check_capture, find_nerf, load_nerf, parsed
from .rendering import view_samples

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras
    from nerfstudio.data.datasets.base_dataset import InputDataset
    from nerfstudio.models.nerfacto import NerfactoModel

    from ..segmentation.estimators import Estimator

SAMPLES_PER_RAY = 12
"""Kept of each ray in the cache; enough for 99 % of the weight of an opaque surface."""
RESOLUTION = 160
"""Vertices along a side of the mask grid."""
FAR_TIMES_MEDIAN = 4.0
"""Surface points this many times farther from the object's middle than the median are not the object's."""
SPAN_QUANTILES = (0.03, 0.97)
"""Of the surface points along each axis: between them the object spans its length but for the rays that miss it."""
ROOM = 1.4
"""The domain's half side in units of that span: with room for thin ends that lie beyond the quantiles."""
CACHE_LIMIT = 20e9
"""Bytes of rendered views that are kept on disk, unless told otherwise."""
CACHE_FOLDER = "sa3d_zim_views"
"""Beside the NeRF's config.yml: all objects of the scene use it."""


class FieldViews:
    """The images of a data set with their samples, rendered when asked for."""

    def __init__(self, nerf: "NerfactoModel", dataset: "InputDataset", k: int) -> None:
        self.nerf, self.dataset, self.k = nerf, dataset, k

    @property
    def names(self) -> Sequence[str]:
        """File names, in capture order."""
        return [path.name for path in self.dataset.image_filenames]

    def view(self, index: int) -> View:
        """The image of that place, and the field as its camera sees it."""
        samples = view_samples(self.nerf, self.camera(index), self.k)
        return View(self.names[index], photograph(self.dataset, index), samples)

    def camera(self, index: int) -> "Cameras":
        """The camera of that place."""
        return self.dataset.cameras[index : index + 1]


class BoxedViews:
    """Views whose samples are places in a part of the contracted cube.

    >>> class NoViews:
    ...     names = ["IMG_1.JPG"]
    ...     def view(self, index): raise IndexError(index)
    >>> BoxedViews(NoViews(), Domain((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))).names
    ['IMG_1.JPG']

    Args:
        source: views of the whole cube, such as a scene's `source`.
        domain: the part, as `domain_around` gives it.
    """

    def __init__(self, source: ViewSource, domain: Domain) -> None:
        self.source, self.domain = source, domain

    @property
    def names(self) -> Sequence[str]:
        """File names, in capture order."""
        return self.source.names

    def view(self, index: int) -> View:
        """The view of that place; samples outside the part fall outside the unit cube."""
        view = self.source.view(index)
        return replace(view, samples=boxed(view.samples, self.domain))


class Scene:
    """A frozen field with the views that it was trained on and those held out.

    Args:
        nerf: the field, loaded and frozen.
        train: images that it was trained on.
        held_out: images that it was not, or the same ones.
        cache: folder of the rendered views.
        key: names the field's weights.
        samples_per_ray: kept of each ray.
        cache_limit: bytes of rendered views that are kept on disk.
    """

    kind = "NeRF"

    def __init__(
        self,
        nerf: "NerfactoModel",
        train: "InputDataset",
        held_out: "InputDataset",
        cache: Path,
        key: str,
        samples_per_ray: int = SAMPLES_PER_RAY,
        cache_limit: float = CACHE_LIMIT,
    ) -> None:
        self.nerf = nerf
        self.cache, self.cache_limit = cache, cache_limit
        self.key = key
        self.views = {
            "train": FieldViews(nerf, train, samples_per_ray),
            "test": FieldViews(nerf, held_out, samples_per_ray),
        }
        self.cache_bytes = {split: cached_bytes(views.dataset, samples_per_ray) for split, views in self.views.items()}
        total = max(sum(sum(sizes) for sizes in self.cache_bytes.values()), 1)
        self._sources = {}
        for split, views in self.views.items():
            kept = np.searchsorted(
                np.cumsum(self.cache_bytes[split]), cache_limit * sum(self.cache_bytes[split]) / total
            )
            keep = None if total <= cache_limit else int(kept)
            name = f"{key} k={samples_per_ray} {_sizes(views.dataset)}"
            self._sources[split] = ViewCache(views, cache / split, name, keep)

    def describe_cache(self) -> str:
        """Return what the cache takes on disk, in words."""
        total = sum(sum(sizes) for sizes in self.cache_bytes.values())
        said = f"rendered views take {total / 1e9:.2f} GB in {self.cache}"
        if total <= self.cache_limit:
            return said
        return f"{said}, of which {self.cache_limit / 1e9:.1f} GB are kept: the other views are rendered at each visit"

    def psnr(self, index: int) -> float:
        """Return how well the field renders a training view [dB]."""
        views = self.views["train"]
        with torch.no_grad():
            drawn = self.nerf.get_outputs_for_camera(views.camera(index))["rgb"].cpu().numpy()
        truth = unit_values(photograph(views.dataset, index))
        return float(-10 * np.log10(max(float(np.square(drawn - truth).mean()), 1e-10)))

    @property
    def source(self) -> ViewSource:
        """The training views, each rendered once and read from disk from then on."""
        return self._sources["train"]

    @property
    def names(self) -> list[str]:
        """File names of all images, training views first."""
        train = list(self.source.names)
        return train + [name for name in self._sources["test"].names if name not in train]

    def view_of(self, name: str) -> View:
        """Any image of the capture, training view or held out.

        Raises:
            ValueError: there is no image of that name.
        """
        for source in self._sources.values():
            if name in source.names:
                return source.view(list(source.names).index(name))
        raise ValueError(f"there is no image {name!r} in the capture, which has {', '.join(self.names)}")

    def new_grid(
        self, estimator: "Estimator | None" = None, resolution: int | None = None, domain: Domain | None = None
    ) -> MaskGrid:
        """An empty grid on the field's device, over all of contracted space unless told otherwise."""
        grid = MaskGrid(RESOLUTION if resolution is None else resolution, estimator, domain or Domain.contraction())
        return grid.to(self.nerf.device)

    def new_object(self, estimator: "Estimator", view: View, alpha: Float32[np.ndarray, "h w"]) -> ObjectInScene:
        """An empty grid round what a matte covers in one view; see `grid_around`."""
        return grid_around(self.source, lambda domain: self.new_grid(estimator, domain=domain), view, alpha)


def open_scene(config: Path, device: str = "auto", samples_per_ray: int = SAMPLES_PER_RAY) -> Scene:
    """Open a trained nerfacto run with the data that it was trained on.

    >>> open_scene(Path("no/config.yml"))
    Traceback (most recent call last):
    zim_plugins.errors.CheckpointError: there is no no/config.yml: give the config.yml that `ns-train nerfacto` wrote

    Args:
        config: the run's config.yml.
        samples_per_ray: that are kept of each ray, the heaviest.

    Raises:
        CheckpointError: see `find_nerf`, `check_capture` and `load_nerf`.
        MissingExtra: nerfstudio is not installed.
    """
    from zim_plugins.core import resolve_device

    obstacles.clear()
    trained = find_nerf(config)
    from nerfstudio.data.datasets.base_dataset import InputDataset

    manager: Any = trained.config.pipeline.datamanager
    if manager.data is not None:
        manager.dataparser.data = manager.data
    outputs = {split: parsed(manager.dataparser, split) for split in ("train", "test")}
    check_capture(trained, outputs["train"])
    train, held_out = (InputDataset(outputs[split], manager.camera_res_scale_factor) for split in ("train", "test"))
    nerf = trained.model_config.setup(scene_box=train.scene_box, num_train_data=len(train), metadata=train.metadata)
    load_nerf(nerf.to(resolve_device(device)), trained)
    return Scene(nerf, train, held_out, config.parent / CACHE_FOLDER, trained.digest(), samples_per_ray)


def photograph(dataset: "InputDataset", index: int) -> UInt8[np.ndarray, "h w 3"]:
    """An image of the data set as the 2D model sees it: sRGB, on white where it is transparent."""
    image = dataset.get_numpy_image(index)
    if image.shape[-1] == 3:
        return image
    opacity = unit_values(image[..., 3:])
    return np.round(image[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)


def cached_bytes(dataset: "InputDataset", samples_per_ray: int) -> list[int]:
    """Return what each view of a data set takes in the cache: 8 bytes a sample, 11 a ray (104 or so by default)."""
    heights, widths = (side.flatten().tolist() for side in (dataset.cameras.height, dataset.cameras.width))
    return [int(h) * int(w) * (8 * samples_per_ray + 11) for h, w in zip(heights, widths, strict=True)]


def boxed(samples: ViewSamples, domain: Domain) -> ViewSamples:
    """Samples of the whole contracted cube as places in a part of it.

    >>> ones = torch.ones(1, 1)
    >>> middle = ViewSamples(torch.full((1, 1, 3), 0.5), ones, ones[0], ones[0], (1, 1))
    >>> boxed(middle, Domain((0.0, -1.0, -3.0), (1.0, 1.0, 1.0))).positions.tolist()
    [[[0.0, 0.5, 0.75]]]
    """
    lower, upper = samples.positions.new_tensor(domain.lower), samples.positions.new_tensor(domain.upper)
    return replace(samples, positions=(samples.positions * 4 - 2 - lower) / (upper - lower))


def domain_around(
    samples: ViewSamples,
    alpha: Float32[np.ndarray, "h w"],
    further: Sequence[tuple[ViewSamples, Float32[np.ndarray, "h w"]]] = (),
) -> Domain:
    """Return a cube of contracted space round what mattes cover in their views, with room for the sides they hide.

    Each ray inside the matte stands for its heaviest sample. Those much farther from the middle than most are rays past
    the object's rim, and left out; so are the outermost hundredths along each axis, since a few rays that end on a wall
    would let the cube span most of the scene. The visible surface spans the object's width and height but not its
    depth: the cube reaches as far in each direction from the middle of that surface as its longest side.

    >>> ones = torch.ones(4, 1)
    >>> places = torch.tensor([[[0.4, 0.4, 0.5]], [[0.6, 0.4, 0.5]], [[0.4, 0.6, 0.5]], [[0.6, 0.6, 0.5]]])
    >>> seen = ViewSamples(places, ones, ones[:, 0], ones[:, 0], (2, 2))
    >>> domain_around(seen, np.ones((2, 2), np.float32)).contracted
    True

    Args:
        samples: of the reference view.
        alpha: its matte in [0, 1].
        further: samples and mattes of other prompted views.
    """
    ends = []
    for seen, matte in [(samples, alpha), *further]:
        inside = torch.from_numpy(matte.reshape(-1) > 0.5).to(seen.weights.device)
        places = seen.positions[inside, 0] * 4 - 2
        distance = (places - places.median(dim=0).values).norm(dim=-1)
        ends.append(places[distance <= FAR_TIMES_MEDIAN * distance.median().clamp_min(1e-3)])
    surface = torch.cat(ends)
    share = torch.tensor(SPAN_QUANTILES, dtype=surface.dtype, device=surface.device)
    low, high = surface[:: len(surface) // 2**23 + 1].quantile(share, dim=0)  # of 2^24 values at most
    middle, reach = (low + high) / 2, (ROOM * (high - low).max()).clamp_min(0.02)
    lower, upper = ((middle + sign * reach).clamp(-2, 2).tolist() for sign in (-1, 1))
    return Domain(tuple(lower), tuple(upper), contracted=True)


def grid_around(
    source: ViewSource, new_grid: Callable[[Domain], MaskGrid], view: View, alpha: Float32[np.ndarray, "h w"]
) -> ObjectInScene:
    """Return an empty grid in the cube round what a matte covers in a view, with views boxed into it.

    Args:
        source: views with samples in the contracted cube.
        alpha: its matte in [0, 1].
    """
    domain = domain_around(view.samples, alpha)

    def placed(view: View) -> View:
        return replace(view, samples=boxed(view.samples, domain))

    return ObjectInScene(new_grid(domain), BoxedViews(source, domain), placed)


def _sizes(dataset: "InputDataset") -> str:
    cameras = dataset.cameras
    return f"{cameras.height.flatten().tolist()}x{cameras.width.flatten().tolist()}"
