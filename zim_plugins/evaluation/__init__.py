"""Evaluation: any Predictor, any matting set, and a report that says how each number came about.

Adapters see this face, `zim_plugins.evaluation.statistics` and `zim_plugins.evaluation.report`, and nothing below them.
Its names are resolved on first use.
"""

from typing import TYPE_CHECKING

from zim_plugins.faces import lazy_face

if TYPE_CHECKING:
    from zim_plugins.evaluation.baselines import GrabCut as GrabCut
    from zim_plugins.evaluation.metrics import boundary_iou as boundary_iou
    from zim_plugins.evaluation.metrics import iou as iou
    from zim_plugins.evaluation.metrics import zim_errors as zim_errors
    from zim_plugins.evaluation.models import ModelOptions as ModelOptions
    from zim_plugins.evaluation.models import describe_model as describe_model
    from zim_plugins.evaluation.models import is_outside as is_outside
    from zim_plugins.evaluation.models import load_model as load_model
    from zim_plugins.evaluation.models import model_slug as model_slug
    from zim_plugins.evaluation.prompting import object_mask as object_mask
    from zim_plugins.evaluation.provenance import describe_run as describe_run
    from zim_plugins.evaluation.provenance import source_commit as source_commit
    from zim_plugins.evaluation.results import Record as Record
    from zim_plugins.evaluation.results import ResultStore as ResultStore
    from zim_plugins.evaluation.results import Row as Row
    from zim_plugins.evaluation.results import files_digest as files_digest
    from zim_plugins.evaluation.results import open_results as open_results
    from zim_plugins.evaluation.simulated_user import worst_error as worst_error

__all__, __getattr__ = lazy_face(
    __name__,
    {
        "baselines": "GrabCut",
        "metrics": "boundary_iou iou zim_errors",
        "models": "ModelOptions describe_model is_outside load_model model_slug",
        "prompting": "object_mask",
        "provenance": "describe_run source_commit",
        "results": "Record ResultStore Row files_digest open_results",
        "simulated_user": "worst_error",
    },
)
