"""Conversion in processes of this machine."""

import multiprocessing
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from zim_plugins.data.conversion.locks import Job, MakeConverter, Outcome, convert_claimed
from zim_plugins.data.conversion.shard_job import Convert, Tick
from zim_plugins.data.faults import DataError
from zim_plugins.workers import end_with_parent, fresh_processes


def convert_here(jobs: Sequence[Job], make_converter: MakeConverter, tick: Tick) -> Iterator[tuple[Job, Outcome]]:
    """Convert units in this process, one after the other."""
    convert = make_converter(0)
    for job in jobs:
        yield job, convert_claimed(job, convert, tick)


def convert_in_processes(
    jobs: Sequence[Job], make_converter: MakeConverter, workers: int, tick: Tick
) -> Iterator[tuple[Job, Outcome]]:
    """Convert units in `workers` processes; outcomes come as they are ready.

    Raises:
        DataError: a worker died, or could not build its converter.
    """
    context = fresh_processes()
    ticks, numbers = context.Queue(), context.Queue()
    for number in range(workers):
        numbers.put(number)
    with ProcessPoolExecutor(
        min(workers, len(jobs)), context, initializer=_start_worker, initargs=(make_converter, numbers, ticks)
    ) as pool:
        futures = {pool.submit(_convert_in_worker, job): job for job in jobs}
        try:
            while futures:
                finished, _ = wait(futures, timeout=0.5, return_when=FIRST_COMPLETED)
                _drain(ticks, tick)
                for future in finished:
                    yield futures.pop(future), future.result()
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process died, for want of memory or for want of a converter: "
                "what is done is kept; run again, with fewer workers if need be"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _drain(ticks: "multiprocessing.Queue[tuple[int, int, int]]", tick: Tick) -> None:
    while True:
        try:
            tick(*ticks.get_nowait())
        except queue.Empty:
            return


@dataclass
class _Worker:
    """State that a worker process keeps from unit to unit."""

    convert: Convert
    tick: Tick


_worker: list[_Worker] = []


def _start_worker(make_converter: MakeConverter, numbers: Any, ticks: Any) -> None:
    end_with_parent()
    ticks.cancel_join_thread()  # what of the count is under way when all is done need not arrive
    _worker.append(_Worker(make_converter(numbers.get(timeout=60)), lambda *counted: ticks.put(counted)))


def _convert_in_worker(job: Job) -> Outcome:
    return convert_claimed(job, _worker[0].convert, _worker[0].tick)
