"""The pipeline of a run: options, the object's reference prompt, and one visit to a view at each step."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE

from zim_plugins.core import Predictor, read_image

from .datamanager import Sa3dZimDataManager, Sa3dZimDataManagerConfig
from .export.placement import Placement
from .field.checkpoint import TrainedNerf, check_capture, find_nerf, load_nerf
from .field.scene import CACHE_FOLDER, BoxedViews, Scene, domain_around, photograph
from .model import Sa3dZimModel, Sa3dZimModelConfig
from .plugin.viewer import ClickPanel
from .segmentation.predictors import build_matter, reference_alpha
from .segmentation.reference_prompt import (
    ReferencePrompt,
    as_shares,
    is_list,
    reference_prompt,
    reference_prompts,
    view_index,
)
from .segmentation.segmenter import Segmenter, SegmenterConfig
from .segmentation.text_prompt import box_of_text
from .segmentation.views import View, ViewSource

POOR_PSNR_DB = 18.0
"""A field that renders its own training views worse than this is not worth segmenting."""


@dataclass
class Sa3dZimPipelineConfig(VanillaPipelineConfig):
    """Object to segment, model, and trained NeRF."""

    _target: type = field(default_factory=lambda: Sa3dZimPipeline)
    datamanager: Sa3dZimDataManagerConfig = field(default_factory=Sa3dZimDataManagerConfig)
    """Options of the data manager."""
    model: Sa3dZimModelConfig = field(default_factory=Sa3dZimModelConfig)
    """Options of the mask grid."""
    nerf_config: Path | None = None
    """config.yml of a trained nerfacto run; without it one is trained first, into the run's folder."""
    light: bool = False
    """For machines without a GPU: the NeRF that is trained first is nerfacto-light instead of nerfacto."""
    reference_view: str | None = None
    """File name of the training image that the prompt is given in, such as IMG_4038.JPG; the first by default."""
    points: str | None = None
    """Clicks on the object, "x,y;x,y", in pixels of the image as trained (x right, y down), or as 40%,50% of it."""
    neg_points: str | None = None
    """Clicks on what is not the object."""
    box: str | None = None
    """A box round the object, "x1,y1,x2,y2"."""
    scribbles_pos: Path | None = None
    """Image of strokes on the object, non-zero where drawn."""
    scribbles_neg: Path | None = None
    """Image of strokes on what is not the object."""
    mask: Path | None = None
    """Mask or alpha of the object in the reference view: taken as it is."""
    prompt_file: Path | None = None
    """The same as JSON: view, points, labels, box; or a list of such objects, one for each prompted view."""
    text: str | None = None
    """Name of the object; the best box that a detector of transformers finds for it is the prompt (extra `models`)."""
    text_model: str | None = None
    """Grounding DINO, OWLv2 or SAM 3: folder, or name on the Hugging Face hub; a small Grounding DINO by default."""
    matter: str = "auto"
    """Model for the mattes: a name or path as in `zim matte --model`, or oracle:DIR for mattes from a folder."""
    num_prompts: int = 10
    """Most clicks that are derived for each further view."""
    prompting: Literal["points", "box"] = "box"
    """How further views are prompted from the 3D matte so far."""
    iou_threshold: float = 0.5
    """Views whose matte agrees less than this with the 3D matte so far (soft IoU) are left out."""
    lamb: float = 1.0
    """SA3D's lambda, for --pipeline.model.loss sa3d: 1.0 is the authors' default, 0.15 the paper's."""
    passes: int = 2
    """How often each view is visited; this is what sets the length of a run."""
    video_frames: int | None = None
    """Frames of the fly-through videos of the object alone and of the scene without it; 0 for none. By default 24 on
    CUDA and none on a CPU, where they take longer than all the rest."""
    export_in: Literal["capture", "training"] = "capture"
    """Coordinates of the point cloud and the mesh: the capture's own (COLMAP's), or those that nerfstudio trains in."""
    cache_gb: float = 20.0
    """Rendered views that are kept on disk beside the NeRF, at most; further ones are rendered at each visit."""
    sweeps: int = 10
    """Sweeps of the refinement after the last visit, for --pipeline.model.loss matte; 0 leaves it out."""


class Sa3dZimPipeline(VanillaPipeline):
    """A field with a mask grid, and the segmenter that fills it during training."""

    config: Sa3dZimPipelineConfig
    datamanager: Sa3dZimDataManager
    segmenter: Segmenter
    scene: Scene
    source: ViewSource

    def __init__(self, config: Sa3dZimPipelineConfig, device: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, device, *args, **kwargs)
        self.rendering_s = 0.0
        self.psnr: dict[str, float] = {}
        self.clicks = ClickPanel(self)

    @property
    def sa3d(self) -> Sa3dZimModel:
        """The model, by its own type."""
        return self.model  # pyright: ignore[reportReturnType]

    def open_field(self, nerf: TrainedNerf) -> None:
        """Load the trained field, after checking that it belongs to the data.

        Raises:
            CheckpointError: it does not.
        """
        check_capture(nerf, self.datamanager.train_dataparser_outputs)
        load_nerf(self.sa3d.nerf, nerf)
        self.scene = Scene(
            self.sa3d.nerf,
            self.datamanager.train_dataset,
            self.datamanager.eval_dataset,
            nerf.config_path.parent / CACHE_FOLDER,
            nerf.digest(),
            self.config.model.samples_per_ray,
            self.config.cache_gb * 1e9,
        )
        CONSOLE.log(self.scene.describe_cache())

    @property
    def placement(self) -> Placement:
        """Return how the data parser moved the capture."""
        outputs = self.datamanager.train_dataparser_outputs
        matrix = outputs.dataparser_transform.numpy().astype(float)
        return Placement(matrix[:3, :3], matrix[:3, 3], float(outputs.dataparser_scale))

    def look_first(self, index: int) -> None:
        """Say how well the NeRF renders the reference view and two others: no object is better than its field."""
        count = len(self.scene.source.names)
        for place in dict.fromkeys((index, (index + count // 3) % count, (index + 2 * count // 3) % count)):
            self.psnr[self.scene.source.names[place]] = round(self.scene.psnr(place), 2)
        middle = sorted(self.psnr.values())[len(self.psnr) // 2]
        CONSOLE.log(f"the NeRF renders its views with a PSNR of {middle:.1f} dB")
        if middle < POOR_PSNR_DB:
            CONSOLE.log(
                f"that is poor (below {POOR_PSNR_DB:g} dB): the object can only be as good as the field that it is cut "
                "from; train the NeRF longer, or on larger images"
            )

    def start(self, references: list[ReferencePrompt], predictor: Predictor) -> None:
        """Matte the prompted views, lay the grid round the object, and get ready for the first visit.

        Raises:
            ValueError: nothing is matted in one of them.
        """
        names = self.scene.source.names
        places = [reference.index(names) for reference in references]
        if not self.psnr:
            self.look_first(places[0])
        images = self.datamanager.train_dataset
        alphas = [
            reference_alpha(predictor, reference, names[index], photograph(images, index))
            for reference, index in zip(references, places, strict=True)
        ]
        if self.sa3d.boxed():
            samples = [self.scene.source.view(index).samples for index in places]
            first, *others = zip(samples, alphas, strict=True)
            self.sa3d.set_domain(domain_around(*first, others))
        config = self.config
        options = SegmenterConfig(
            estimator=config.model.loss,
            lamb=config.lamb,
            iou_threshold=config.iou_threshold,
            passes=config.passes,
            num_prompts=config.num_prompts,
            prompting=config.prompting,
            sweeps=config.sweeps,
        )
        self.source = BoxedViews(self.scene.source, self.sa3d.grid.domain)
        self.segmenter = Segmenter(options, self.sa3d.grid, predictor, references, self.source.names)

    def next_view(self) -> View:
        """The view whose turn it is."""
        start_s = time.perf_counter()
        view = self.source.view(self.segmenter.order[self.segmenter.done])
        self.rendering_s += time.perf_counter() - start_s
        return view

    def segment_again(self, progress: Callable[[str], None]) -> dict[str, Any]:
        """Segment another object with the options as they are now, from the viewer; answers with the report.

        Raises:
            ZimError, ValueError: the NeRF's run is gone, or the prompt does not work.
        """
        references = read_references(self.config, self.datamanager.train_dataset.image_filenames)
        if self.config.nerf_config is None:
            raise ValueError("this run does not say which NeRF it stands on")
        if not hasattr(self, "scene"):
            self.open_field(find_nerf(self.config.nerf_config))
        predictor = build_matter(self.config.matter, str(self.device))
        self.sa3d.grid.sums.zero_()
        self.start(references, predictor)
        for visit in range(len(self.segmenter.order)):
            progress(f"visit {visit + 1} of {len(self.segmenter.order)}")
            self.segmenter.visit(self.next_view())
        self.refine()
        return self.segmenter.report()

    def refine(self) -> None:
        """Refine the grid after the last visit."""
        start_s = time.perf_counter()
        self.segmenter.refine(self.source)
        CONSOLE.log(f"refined in {time.perf_counter() - start_s:.1f} s")

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, torch.Tensor], dict[str, Any]]:
        """Visit one view. There is no gradient: the loss is one minus the soft IoU, to be looked at."""
        record = self.segmenter.visit(self.next_view())
        verdict = "accepted" if record.accepted else f"left out: {record.reason}"
        CONSOLE.log(f"{record.view}: soft IoU {_shown(record.soft_iou)}, {verdict}")
        loss = torch.tensor(0.0 if record.soft_iou is None else 1 - record.soft_iou)
        return {}, {"soft_iou_loss": loss}, {"accepted": float(record.accepted)}


def read_references(options: Sa3dZimPipelineConfig, images: Sequence[Path]) -> list[ReferencePrompt]:
    """Return the prompts that the options describe, the reference view first.

    Args:
        images: the training images, in capture order.

    Raises:
        ZimError, ValueError: nothing, or something malformed, was given; or a text finds nothing.
    """
    if options.text is not None:
        if any((options.points, options.box, options.scribbles_pos, options.mask, options.prompt_file)):
            raise ValueError(f"--pipeline.text {options.text!r} is a prompt of its own: leave the others out")
        place = view_index(options.reference_view, [path.name for path in images])
        box = box_of_text(options.text, read_image(images[place]).rgb, options.text_model)
        x1, y1, x2, y2 = as_shares(box)
        return [ReferencePrompt(view=images[place].name, box=(x1, y1, x2, y2))]
    if options.prompt_file is not None and is_list(options.prompt_file):
        given = (options.points, options.neg_points, options.box, options.scribbles_pos, options.scribbles_neg)
        if any((*given, options.mask, options.reference_view)):
            raise ValueError(f"{options.prompt_file} prompts several views by itself: leave the other prompts out")
        return reference_prompts(options.prompt_file)
    one = reference_prompt(
        view=options.reference_view,
        points=options.points,
        negative_points=options.neg_points,
        box=options.box,
        positive_scribble=options.scribbles_pos,
        negative_scribble=options.scribbles_neg,
        mask=options.mask,
        prompt_file=options.prompt_file,
    )
    return [one]


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
