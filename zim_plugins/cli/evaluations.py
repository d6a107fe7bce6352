"""Options that all evaluations share, spelled once, and what their commands do alike."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from zim_plugins.cli.options import Former
from zim_plugins.cli.runtime import DONE, FAILED, CommandArgs, Misuse, one_line

if TYPE_CHECKING:
    from zim_plugins.evaluation.models import ModelOptions

logger = logging.getLogger(__name__)

ModelNames = Annotated[str, arg(name="model", metavar="A,B,..."), Former("--models")]
RefineWords = Annotated[str, arg(metavar="HOW")]


@dataclass(frozen=True, kw_only=True)
class EvaluationArgs(CommandArgs):
    """Options of every evaluation."""

    models: ModelNames = "auto"
    """Checkpoints by name (see `zim models`) or file, grabcut, or FILE.py:FUNCTION that makes a predictor."""
    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    zoom: bool = False
    """Look a second time at the object's surroundings; without --zoom and --no-zoom the command's own default."""
    no_zoom: bool = False
    """Leave out the second look at the object's surroundings, as the paper's numbers do."""
    refine: RefineWords = "auto"
    """auto, colour, none, converter[:FILE], vitmatte[:NAME_OR_FOLDER]: improve mattes by the image's colours (auto: for
    small models), by the label converter, or by ViTMatte on a trimap made of them."""

    @property
    def zoom_choice(self) -> bool | None:
        """Return whether models zoom; None where neither option is given."""
        return True if self.zoom else False if self.no_zoom else None

    def checked_models(self) -> tuple[str, ...]:
        """Return the models' names.

        Raises:
            Misuse: one is named twice or none is, or `check_model_options` raises it.
        """
        self.check_model_options()
        models = words_of(self.models)
        if not models or len(set(models)) < len(models):
            raise Misuse(f"--model names each model once, got {self.models!r}")
        return models

    def check_model_options(self) -> None:
        """Raise Misuse where the options of models contradict one another or make no sense."""
        from zim_plugins.core.refinement.base import check_refinement

        if self.zoom and self.no_zoom:
            raise Misuse("--zoom and --no-zoom exclude each other: give one of them")
        try:
            check_refinement(self.refine)
        except ValueError as error:
            raise Misuse(f"--refine: {one_line(error)}") from error

    def model_options(self, **more: Any) -> "ModelOptions":
        """Return how models are run; `more` are options that one command has."""
        from zim_plugins.evaluation.models import ModelOptions

        return ModelOptions(device=self.device, zoom=self.zoom_choice, refine=self.refine, **more)


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a list that commas part.

    >>> words_of("point, box,")
    ('point', 'box')
    """
    return tuple(word.strip() for word in text.split(",") if word.strip())


def tell_failures(failures: Sequence[Mapping[str, Any]]) -> int:
    """Log each failure of a report in one line, and return the exit code.

    Args:
        failures: names of what failed, perhaps its `kind`, and a `message`.
    """
    for failure in failures:
        at = " ".join(str(value) for name, value in failure.items() if name not in ("kind", "message") and value != "")
        logger.error("%s", ": ".join([*([failure["kind"]] if "kind" in failure else []), at, failure["message"]]))
    if failures:
        logger.error("%d failures; the report lists them", len(failures))
    return FAILED if failures else DONE
