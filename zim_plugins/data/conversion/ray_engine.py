"""Conversion on a Ray cluster, by Ray Data: an actor with a converter for each worker, units of work as rows."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from zim_plugins.data.conversion.locks import Job, MakeConverter, Outcome, convert_claimed
from zim_plugins.errors import MissingExtra


class _RayConverter:
    """One actor of Ray Data: a converter that takes unit after unit."""

    def __init__(self, jobs: Sequence[Job], make_converter: MakeConverter) -> None:
        self.jobs = jobs
        self.convert = make_converter(0)  # Ray shows each actor its own GPUs

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        what, details = convert_claimed(self.jobs[row["job"]], self.convert)
        return {"job": row["job"], "outcome": what, "details": json.dumps(details)}


def convert_with_ray(
    jobs: Sequence[Job], make_converter: MakeConverter, workers: int, address: str | None, gpus_per_worker: float
) -> Iterator[tuple[Job, Outcome]]:
    """Convert units on a Ray cluster; outcomes come as they are ready.

    Paths are the driver's: input and output lie on a file system that all machines of the cluster share. Of a cluster
    that asks for a token (Ray's default from 2.59 on), Ray takes it from RAY_AUTH_TOKEN, set alike on both sides.

    Args:
        jobs: shards or images.
        make_converter: builds the converter in each actor.
        workers: actors.
        address: of a running cluster; None starts one on this machine.
        gpus_per_worker: that Ray reserves for each actor.

    Raises:
        MissingExtra: Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtra("ray[data]", "scale") from error
    started = not ray.is_initialized()
    if started:
        # Without an address Ray would join whatever cluster this machine ran last, dead or alive.
        ray.init(address or "local", log_to_driver=False, include_dashboard=None if address else False)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = ray.data.from_items([{"job": k} for k in range(len(jobs))], override_num_blocks=len(jobs))
        outcomes = rows.map(
            _RayConverter,  # pyright: ignore[reportArgumentType]  Ray builds it in each actor
            fn_constructor_args=(list(jobs), make_converter),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(jobs))),
            num_gpus=gpus_per_worker or None,
        )
        for row in outcomes.iter_rows():
            yield jobs[row["job"]], (row["outcome"], json.loads(row["details"]))
    finally:
        if started:
            ray.shutdown()
