"""The trainer: checks first, then as many steps as there are visits to make, and a run folder that is whole or none."""

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
import yaml
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import Trainer, TrainerConfig
from nerfstudio.utils import writer
from nerfstudio.utils.rich_utils import CONSOLE

from zim_plugins.cli.runtime import MISUSED
from zim_plugins.core import MissingPackage, Predictor, ZimError
from zim_plugins.imaging import atomic_path, atomic_write, write_text

from .export.run_outputs import RunOutputs
from .field.checkpoint import TrainedNerf, find_nerf, parsed
from .field.rendering import image_size
from .pipeline import Sa3dZimPipeline, read_references
from .plugin.base_nerf import adopt, data_path, train_nerf
from .segmentation.predictors import build_matter
from .segmentation.reference_prompt import ReferencePrompt

logger = logging.getLogger(__name__)

PROGRESS = "progress.pt"
SECONDS_BETWEEN_SAVES = 20.0


@dataclass
class Sa3dZimTrainerConfig(TrainerConfig):
    """As nerfstudio's; `max_num_iterations` is set by the number of views and passes."""

    _target: type = field(default_factory=lambda: Sa3dZimTrainer)

    def save_config(self) -> None:
        """Leave the run's folder as it is: the trainer writes config.yml when all has been checked."""

    def write_config(self) -> None:
        """Write config.yml, whole."""
        write_text(self.get_base_dir() / "config.yml", yaml.dump(self))


class Sa3dZimTrainer(Trainer):
    """Visits the views of a frozen field.

    A run that is killed keeps `progress.pt` in its folder, written whole after a visit; the same command with the same
    `--timestamp` continues from it, or starts anew where the NeRF, the prompt or an option differ. The checkpoint is
    the last thing written: until then ns-eval and its kin find a run without one, and say so.
    """

    config: Sa3dZimTrainerConfig
    pipeline: Sa3dZimPipeline
    nerf: TrainedNerf
    predictor: Predictor
    references: list[ReferencePrompt]

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """Check all that can be checked, train a NeRF if none is given, and build the pipeline.

        Raises:
            SystemExit: with one line about what is wrong, before any view is rendered.
        """
        with _told_in_one_line():
            self._check_and_adopt()
        super().setup(test_mode)

    def _check_and_adopt(self) -> None:
        options: Any = self.config.pipeline
        if self.world_size != 1:
            raise ZimError("sa3d-zim runs in one process: leave --machine.num-devices at 1")
        if self.config.load_dir is not None or self.config.load_checkpoint is not None:
            raise ZimError("--load-dir is not for a trained NeRF: give its config.yml as --pipeline.nerf-config")
        if options.nerf_config is not None:
            self._adopt(find_nerf(options.nerf_config))
        elif data_path(options.datamanager) is None:
            raise ZimError("give the capture, --data DIR, or a trained NeRF, --pipeline.nerf-config .../config.yml")
        self.predictor = build_matter(options.matter, self.device)
        self.references = self._read_prompts()
        if options.nerf_config is None:
            options.nerf_config = train_nerf(self.config, self.base_dir / "nerf")
            self._adopt(find_nerf(options.nerf_config))

    def setup_optimizers(self) -> Optimizers:
        """Start or continue the segmenter: called between the pipeline and all that asks for the run's length."""
        with _told_in_one_line():
            self.pipeline.open_field(self.nerf)
            self.pipeline.start(self.references, self.predictor)
        if not self._continue():
            self._start_clean()
        self.config.write_config()
        segmenter = self.pipeline.segmenter
        self._start_step = segmenter.done
        self.step = max(segmenter.done - 1, 0)
        self.config.max_num_iterations = len(segmenter.order) - segmenter.done
        self._saved_at = time.monotonic()
        return Optimizers({}, {})

    def train(self) -> None:
        """As nerfstudio's, whose log needs a step even where none is left to make: after a kill during the outputs."""
        writer.GLOBAL_BUFFER.update(step=self.step, max_iter=len(self.pipeline.segmenter.order))
        super().train()

    def train_iteration(self, step: int) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, Any]]:
        """Visit one view."""
        with _told_in_one_line():
            _, losses, metrics = self.pipeline.get_train_loss_dict(step)
        if time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES:
            self._save_progress()
        return losses["soft_iou_loss"], losses, metrics

    def eval_iteration(self, step: int) -> None:
        """Nothing is evaluated along the way: a half-filled grid has no meaningful score."""

    def save_checkpoint(self, step: int) -> None:
        """Write the field and the grid, whole, where ns-eval looks for it."""
        state = {
            "step": step,
            "pipeline": self.pipeline.state_dict(),
            "optimizers": {},
            "schedulers": {},
            "scalers": {},
        }
        path = self.checkpoint_dir / f"step-{step:09d}.ckpt"
        # ns-eval takes every name in the checkpoints' folder for a checkpoint: the unfinished file lies elsewhere.
        with atomic_path(path, folder=self.base_dir) as temporary:
            torch.save(state, temporary)
        (self.base_dir / PROGRESS).unlink(missing_ok=True)

    def _after_train(self) -> None:
        """Refine the grid, write the run's outputs, then its checkpoint."""
        with _told_in_one_line():
            self.pipeline.refine()
            self._save_progress()
            RunOutputs(self.pipeline, self.base_dir).write()
        super()._after_train()

    def _load_checkpoint(self) -> None:
        """The field and the grid are loaded already."""

    def _adopt(self, nerf: TrainedNerf) -> None:
        self.nerf = nerf
        adopt(self.config.pipeline, nerf)  # pyright: ignore[reportArgumentType]

    def _read_prompts(self) -> list[ReferencePrompt]:
        options: Any = self.config.pipeline
        manager = options.datamanager
        if manager.data is not None:
            manager.dataparser.data = manager.data
        outputs = parsed(manager.dataparser, "train")
        references = read_references(options, outputs.image_filenames)
        names = [path.name for path in outputs.image_filenames]
        for reference in references:
            index = _place(reference, names, manager.dataparser)
            camera = outputs.cameras[index : index + 1]
            camera.rescale_output_resolution(manager.camera_res_scale_factor)
            reference.check(image_size(camera))
        return references

    def _fingerprint(self) -> str:
        options: Any = self.config.pipeline
        ignored = ("datamanager", "nerf_config", "light")
        chosen = {key: value for key, value in asdict(options).items() if key not in ignored}
        text = json.dumps([self.nerf.digest(), chosen], default=str, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _save_progress(self) -> None:
        state = {"of": self._fingerprint(), "segmenter": self.pipeline.segmenter.state_dict()}
        with atomic_write(self.base_dir / PROGRESS) as stream:
            torch.save(state, stream)
        self._saved_at = time.monotonic()

    def _continue(self) -> bool:
        path = self.base_dir / PROGRESS
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.pipeline.device, weights_only=True)
        if state["of"] != self._fingerprint():
            CONSOLE.log(f"{path} is of another prompt, NeRF or option: starting anew")
            return False
        self.pipeline.segmenter.load_state_dict(state["segmenter"])
        CONSOLE.log(f"continuing {path} after {self.pipeline.segmenter.done} visits")
        return True

    def _start_clean(self) -> None:
        (self.base_dir / PROGRESS).unlink(missing_ok=True)
        for old in self.checkpoint_dir.glob("*.ckpt"):
            CONSOLE.log(f"{old} is of an earlier run in this folder: removed")
            old.unlink()


def _place(reference: ReferencePrompt, names: list[str], dataparser: Any) -> int:
    """Return the place of a prompted view among the training views.

    Raises:
        ValueError: there is no such view, or it is one of those that were held out.
    """
    try:
        return reference.index(names)
    except ValueError:
        held_out = [path.name for path in parsed(dataparser, "test").image_filenames]
        try:
            name = held_out[reference.index(held_out)]
        except ValueError:
            name = None
        if name is None:
            raise
        raise ValueError(
            f"{name} was held out when the NeRF was trained, so it cannot be prompted in: point in a training view, "
            f"such as {names[0]}"
        ) from None


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """End the command with a line instead of a traceback where the user can mend what is wrong."""
    try:
        yield
    except MissingPackage as problem:
        CONSOLE.print(f"sa3d-zim: {problem}", markup=False)
        raise SystemExit(MISUSED) from problem
    except (ZimError, ValueError) as problem:
        raise SystemExit(f"sa3d-zim: {problem}") from problem
