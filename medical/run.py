"""A run: data sets, models and prompts to one folder of results; killed and taken up again, nothing is done twice."""

import json
import logging
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from zim_plugins.cli.reporting import progress_bar
from zim_plugins.core import MissingExtra, write_image
from zim_plugins.evaluation import Record, ResultStore, files_digest, open_results
from zim_plugins.imaging import from_unit, write_text

from .deidentify import inside, make_salt, name_places, public_labels, safe_name, write_id_map
from .grouping import GROUPS_REMEDY, group_cases, grouping_note
from .io.errors import ODD_FILE, ScanFault
from .io.layouts import Encoding, find_layout
from .io.nifti import FileSpace, write_nifti
from .io.pairing import CaseFiles, find_cases
from .io.placement import SeriesSpace
from .io.reading import ReadingConfig, read_scan
from .io.scan import Scan, only_label, rename_labels
from .labelling import OVERLAP_RULE, LabelTable, free_text_labels, label_map, rename_table, settle_labels
from .protocol.evaluate_scan import THRESHOLD, Outcome, Place, Trial, TrialConfig
from .protocol.models import PromptedModel
from .protocol.prompt_modes import PromptBook, encode_record
from .protocol.records import COLUMNS, row_fields
from .protocol.slices import stacked
from .protocol.text_prompts import TextFinder
from .provenance import describe_cases, describe_models, text_digest, versions

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 2
INTENDED_USE = "research only, not for clinical use"


@dataclass(frozen=True)
class DatasetSpec:
    """One data set of a run."""

    title: str
    """What tables and folders call it."""
    layout: str
    folder: str
    """Below the run's data folder; empty for the folder itself."""
    label: str = ""
    """The one label to evaluate; empty for all."""


@dataclass(frozen=True)
class RunConfig:
    """All that a run's figures depend on, and what it writes besides them."""

    data: Path
    out: Path
    datasets: tuple[DatasetSpec, ...]
    trial: TrialConfig = TrialConfig()
    reading: ReadingConfig = ReadingConfig()
    labels: Encoding | None = None
    """What a plain folder's masks hold."""
    groups: str | None = None
    """Who the patients are: None for what PatientID and names say, `cases`, `pattern:REGEX`, or a file."""
    limit: int | None = None
    """Cases of each data set, from its beginning."""
    save: tuple[str, ...] = ("masks", "mattes")
    dicom_seg: bool = False
    keep_patient: bool = False
    keep_names: bool = False
    follow_links: bool = False
    id_map: Path | None = None
    prompts_from: Path | None = None
    """The file of prompts that `run` is given as a book: its digest is part of what a run is."""
    command: str = ""
    """The command line, without paths, for the record."""

    @property
    def store(self) -> ResultStore:
        """Return the place of the results: of a case, those of all models and prompts are one file."""
        return ResultStore(self.out, columns=COLUMNS)


@dataclass
class Tally:
    """Counts of a run."""

    done: int = 0
    taken_up: int = 0
    """Cases that an earlier, broken-off run had finished."""
    edited: int = 0
    """Cases whose files had changed since an earlier run finished them: they were done again."""
    faults: int = 0
    problems: int = 0
    """Files without a partner."""
    found: dict[tuple[str, str], tuple[Place, CaseFiles]] = field(default_factory=dict)
    """Every case of the run by data set and name."""
    tables: dict[str, LabelTable] = field(default_factory=dict)
    """Values of each data set's labels."""
    groupings: dict[str, str] = field(default_factory=dict)
    """Where each data set's patients come from."""


def parse_spec(text: str) -> DatasetSpec:
    """Read NAME, NAME:FOLDER or TITLE=NAME:FOLDER, each with #LABEL for one label of several.

    Raises:
        ValueError: there is no such layout.
    """
    text, _, label = text.partition("#")
    title, _, rest = text.rpartition("=")
    name, _, folder = rest.partition(":")
    return DatasetSpec(safe_name(title or name), find_layout(name).name, folder, label)


def run(
    config: RunConfig, models: Sequence[PromptedModel], book: PromptBook | None = None, finder: TextFinder | None = None
) -> Tally:
    """Evaluate every model on every case that an earlier run of the same options has not finished.

    Raises:
        ResultsError: the folder holds another run's results, or another run is writing to it.
        ValueError: a data set is absent or empty, or two share a title.
    """
    if len({spec.title for spec in config.datasets}) < len(config.datasets):
        raise ValueError("two data sets have one title: give TITLE=NAME:FOLDER")
    tally = Tally()
    found = []
    for spec in config.datasets:
        root = inside(config.data, spec.folder)
        # Find the data set's cases.
        cases, problems = find_cases(
            root, find_layout(spec.layout), follow_links=config.follow_links, labels=config.labels
        )
        if not cases:
            raise ValueError(f"{spec.title}: no case found in {root}: see `zim-medseg check {root} --as {spec.layout}`")
        if problems:
            logger.warning("%s: files left out: %d; `zim-medseg check` names them", spec.title, len(problems))
        note = find_layout(spec.layout).note
        if note:
            logger.info("%s: %s", spec.title, note)
        tally.problems += len(problems)
        # Group them by patient.
        cases = group_cases(cases, config.groups, root=root, dataset=spec.title)
        tally.groupings[spec.title] = grouping_note(cases, find_layout(spec.layout), config.groups, spec.title)
        if any(case.group is None for case in cases):
            logger.warning("%s: %s: no test and no interval; %s", spec.title, tally.groupings[spec.title],
                           GROUPS_REMEDY)  # fmt: skip
        # Settle what their labels mean and are called.
        cases, table = settle_labels(cases, config.reading)
        if not config.keep_names and (typed := free_text_labels(cases)):
            names = public_labels(typed)
            cases = [replace(case, aliases=tuple(names.items())) for case in cases]
            table = rename_table(table, names)
            if renamed := sum(label != own for label, own in names.items()):
                logger.warning("%s: labels of segments that may hold anything are called by numbers: %d; --keep-names "
                               "keeps them, --write-id-map says which they are", spec.title, renamed)  # fmt: skip
        tally.tables[spec.title] = table
        if table.renumbered:
            logger.warning(
                "%s: these labels share a value with others, or have several, and are written with another one: %s",
                spec.title, ", ".join(table.renumbered),
            )  # fmt: skip
        # Give cases names that may be shown.
        places = name_places(spec.title, cases, keep_names=config.keep_names)
        found += list(zip(places[: config.limit], cases[: config.limit], strict=True))
    tally.found = {(place.dataset, place.case): (place, case) for place, case in found}
    work = _Work(config, models, book, tally, finder)
    signature = describe_run(config, models, found)
    with open_results({config.store: signature}), progress_bar(len(found), "case") as bar:
        if config.id_map is not None:
            write_id_map(config.id_map, found)
        for place, case in found:
            work.do(place, case)
            bar.update()
    return tally


def read_case(config: RunConfig, place: Place, case: CaseFiles) -> Scan:
    """A case as the run sees it: with the one label that its data set is about, if there is one.

    Raises:
        ScanFault: it cannot be used.
    """
    scan = read_scan(case, config.reading)
    label = next(spec.label for spec in config.datasets if spec.title == place.dataset)
    scan = only_label(scan, label) if label else scan
    return rename_labels(scan, dict(case.aliases)) if case.aliases else scan


def describe_run(
    config: RunConfig, models: Sequence[PromptedModel], found: Sequence[tuple[Place, CaseFiles]]
) -> dict[str, Any]:
    """Return all that the figures depend on apart from the files' contents, which each case's part has a digest of."""
    book = config.prompts_from
    return {
        "schema": SCHEMA_VERSION, "datasets": [asdict(spec) for spec in config.datasets],
        "protocol": asdict(config.trial), "reading": asdict(config.reading), "labels": config.labels,
        "models": describe_models(models), "order of models": [model.name for model in models],
        "prompts from": None if book is None else text_digest(book),
        "save": list(config.save), "dicom_seg": config.dicom_seg, "allow_phi_output": config.keep_patient,
        "keep_names": config.keep_names, "cases": describe_cases(found), "versions": versions(),
    }  # fmt: skip


class _Work:
    """Case after case; a bad one is told and the others go on."""

    def __init__(
        self, config: RunConfig, models: Sequence[PromptedModel], book: PromptBook | None, tally: Tally,
        finder: TextFinder | None = None,
    ) -> None:  # fmt: skip
        self.config, self.models, self.tally, self.finder = config, models, tally, finder
        self.book = book or PromptBook()
        self.salt = make_salt()
        self.told: set[tuple[str, str]] = set()

    def do(self, place: Place, case: CaseFiles) -> None:
        """One case, all models."""
        store, unit = self.config.store, f"{place.dataset}/{place.case}"
        inside(store.folder, place.dataset, f"{place.case}.json")
        digest = files_digest((*case.images, *(mask.path for mask in case.masks)))
        state, _ = store.find(unit, digest)
        if state == "done":
            self.tally.taken_up += 1
            return
        self.tally.edited += state == "changed"
        start = time.perf_counter()
        record: dict[str, Any]
        try:
            scan = read_case(self.config, place, case)
            for note in scan.notes:
                if (place.dataset, note) not in self.told:  # once, not for every case of a large set
                    self.told.add((place.dataset, note))
                    logger.info("%s, %s: %s", place.dataset, place.case, note)
            record = self._try_models(scan, place)
        except MissingExtra:
            raise
        except ScanFault as fault:
            record = {"fault": {"reason": fault.reason, "stage": "reading", "explanation": str(fault)}}
        except ODD_FILE as error:  # whatever one odd file brings about, the others go on
            # What others' messages quote is not ours to pass on.
            record = {"fault": {"reason": type(error).__name__, "stage": "prediction", "explanation": ""}}
            logger.debug("%s, %s: %s", place.dataset, place.case, "".join(traceback.format_tb(error.__traceback__)))
        record |= {"dataset": place.dataset, "case": place.case, "patient": place.patient}
        record["seconds"] = round(time.perf_counter() - start, 3)
        if "fault" in record:
            self.tally.faults += 1
            fault = record["fault"]
            logger.error("%s, %s: %s: %s", place.dataset, place.case, fault["reason"], fault["explanation"])
        else:
            self.tally.done += 1
        store.write(unit, Record(record.pop("rows", []), digest, "fault" in record, record))

    def _try_models(self, scan: Scan, place: Place) -> dict[str, Any]:
        record: dict[str, Any] = {
            "rows": [],
            "prompts": [],
            "efforts": {},
            "refused": {},
            "dropped": 0,
            "overlaps": {},
            "drifts": [],
        }
        for model in self.models:
            before = asdict(model.effort)
            keep = _Keeper(self.config, place, model.name)
            outcome = Trial(scan, model, place, self.config.trial, self.book, keep, self.finder).run()
            for seed in range(1, self.config.trial.seeds):  # masks and prompts of the first seed are kept
                other = replace(self.config.trial, seed=self.config.trial.seed + seed)
                again = Trial(scan, model, place, other, finder=self.finder).run()
                record["rows"] += [row_fields(row) for row in again.rows]
            model.forget()
            record["rows"] += [row_fields(row) for row in outcome.rows]
            record["prompts"] += [encode_record(prompt) for prompt in outcome.prompts]
            record["refused"][model.name] = sorted(outcome.refused)
            record["drifts"] += outcome.drifts
            record["dropped"] = max(record["dropped"], outcome.dropped)
            after = asdict(model.effort)
            record["efforts"][model.name] = {name: round(after[name] - before[name], 6) for name in after}
            if scan.space is not None and "masks" in self.config.save:
                record["overlaps"] |= self._write_volumes(scan, place, model.name, outcome)
        record["prompts"] = list(dict.fromkeys(record["prompts"]))
        record["notes"] = list(scan.notes)
        record["intensity"] = scan.intensity
        record["labels"] = scan.labels
        record["frames"] = len(scan.frames)
        return record

    def _write_volumes(self, scan: Scan, place: Place, model: str, outcome: Outcome) -> dict[str, int]:
        """Write one label map for each prompt in the file's own space, its table beside it, and DICOM-SEG where wanted.

        Returns the voxels that several labels claimed, by file, where there are any.
        """
        space, table, overlaps = scan.space, self.tally.tables[place.dataset], {}
        if not isinstance(space, FileSpace | SeriesSpace):
            return {}
        prompts = list(dict.fromkeys(prompt for _, prompt in outcome.stacks))
        for prompt in prompts:
            masks = [
                (label, stacked(frames, scan.frames.shape[:3]))
                for (label, own), frames in outcome.stacks.items() if own == prompt
            ]  # fmt: skip
            ids, claimed_twice = label_map(masks, table)
            stem = f"{safe_name(model)}_{safe_name(prompt)}"
            folder = inside(self.config.out, "volumes", place.dataset, place.case)
            stored = space.stored if isinstance(space, FileSpace) else None
            write_nifti(folder / f"{stem}.nii.gz", space.restore(ids), space.affine, stored)
            beside = {"labels": table.values, "overlap_voxels": claimed_twice, "overlap_rule": OVERLAP_RULE}
            write_text(folder / f"{stem}.json", json.dumps(beside, indent=1, ensure_ascii=False) + "\n")
            if claimed_twice:
                overlaps[stem] = claimed_twice
            is_found = any(mask.any() for _, mask in masks)
            if self.config.dicom_seg and is_found and isinstance(space, SeriesSpace) and not space.is_resampled:
                from .io.dicom_seg import write_segmentation

                write_segmentation(
                    folder / f"{stem}.dcm", masks, space, model=model, case_id=place.case, salt=self.salt,
                    kept="patient" if self.config.keep_patient else "nothing",
                )  # fmt: skip
        return overlaps


class _Keeper:
    """Writes final mattes, and the masks that they become, as images."""

    def __init__(self, config: RunConfig, place: Place, model: str) -> None:
        self.config, self.place, self.model = config, place, model

    def __call__(self, frame: int, label: str, instance: int, prompt: str, alpha: Float32[np.ndarray, "h w"]) -> None:
        place = self.place
        for kind, array in (("mattes", alpha), ("masks", from_unit(alpha > THRESHOLD))):
            if kind in self.config.save:
                name = answer_name(frame, label, instance, self.model, prompt)
                write_image(inside(self.config.out, kind, place.dataset, place.case, name), array)


def answer_name(frame: int, label: str, instance: int, model: str, prompt: str) -> str:
    """The file of one matte or mask, below its kind, data set and case."""
    numbered = f"_{instance}" if instance else ""
    return f"{frame:04d}_{safe_name(label)}{numbered}_{safe_name(model)}_{safe_name(prompt)}.png"
