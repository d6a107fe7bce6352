"""One model in one process, or in several that divide the images among them."""

import os
import queue
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from zim_plugins.core.predictor import Predictor
from zim_plugins.data.faults import DataError
from zim_plugins.evaluation.matting.datasets import EvaluationImage
from zim_plugins.evaluation.matting.run import Clock, Job, Tick, evaluate_images
from zim_plugins.evaluation.models import ModelOptions, load_model
from zim_plugins.workers import end_with_parent, fresh_processes

MakePredictor = Callable[[int], Predictor]
"""Builds the model in the process that uses it, from that worker's number (0, 1...); it must be picklable."""


def model_maker(spec: str, options: ModelOptions, workers: int) -> MakePredictor:
    """Builds a model for a worker process, which shares the machine's cores with the others."""
    return partial(_make, spec, options, workers)


def _make(spec: str, options: ModelOptions, workers: int, worker: int) -> Predictor:
    if workers > 1:
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    return load_model(spec, options, worker=worker)


def evaluate_model(
    make_predictor: MakePredictor,
    images: Sequence[EvaluationImage],
    job: Job,
    *,
    workers: int = 1,
    tick: Tick | None = None,
) -> Clock:
    """Ask one model about the images.

    Raises:
        DataError: a worker process ended early; what is done is kept.
    """
    if workers == 1 or len(images) < 2:
        return evaluate_images(make_predictor(0), images, job, tick)
    context = fresh_processes()
    told: Any = context.Queue()
    shares = [list(images[k::workers]) for k in range(min(workers, len(images)))]
    processes = [
        context.Process(target=_work, args=(make_predictor, share, job, number, told), daemon=True)
        for number, share in enumerate(shares)
    ]
    for process in processes:
        process.start()
    total, through = Clock(), 0
    try:
        while through < len(processes):
            try:
                message = told.get(timeout=0.5)
            except queue.Empty:
                if any(p.exitcode not in (None, 0) for p in processes):
                    raise DataError(
                        "a worker process ended early, for want of memory or for want of its model: "
                        "what is done is kept; run again, with fewer workers if need be"
                    ) from None
                continue
            if isinstance(message, Clock):
                total.images += message.images
                total.model_s += message.model_s
                total.wall_s += message.wall_s
                through += 1
            elif tick is not None:
                tick()
    finally:
        for process in processes:
            if through < len(processes):
                process.terminate()
            process.join()
    return total


def _work(make_predictor: MakePredictor, images: Sequence[EvaluationImage], job: Job, number: int, told: Any) -> None:
    end_with_parent()
    told.put(evaluate_images(make_predictor(number), images, job, partial(told.put, None)))
