"""A batch in several processes, each with a model of its own."""

import logging
import logging.handlers
import queue
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from zim_plugins.cli.images import Batch, ImagesArgs, Work, check_results
from zim_plugins.cli.reporting import Collect, Outcome, report
from zim_plugins.cli.runtime import start_logging
from zim_plugins.errors import ZimError
from zim_plugins.workers import end_with_parent, fresh_processes


def run_in_processes(
    args: ImagesArgs,
    sources: Sequence[str],
    stems: Sequence[str],
    make_work: Callable[[], Work],
    *,
    jobs: int,
    package: str,
    collect: Collect | None = None,
) -> int:
    """`run_batch` in several processes: the same results, records in the same order.

    Args:
        args: the command's arguments.
        make_work: tells each process what to do; it must be picklable.
        jobs: processes.
        package: whose messages are shown besides the core's.
        collect: as for `run_batch`.

    Raises:
        ZimError: a process ended early; results that were written stay.
    """
    check_results(args, sources, stems, make_work())
    workers = min(jobs, len(sources))
    with ProcessPoolExecutor(workers, fresh_processes(), _start, (args, make_work, workers, package)) as pool:
        try:
            outcomes = pool.map(_work_on, sources, stems)
            return report(outcomes, len(sources), out=args.out, json_records=args.json, collect=collect)
        except BrokenProcessPool as error:
            raise ZimError(
                "a worker process ended early, perhaps for want of memory: what is written stays; "
                "run again with --no-overwrite and fewer --jobs"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Worker:
    """State that a worker process keeps from image to image."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.messages: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()

    def told(self) -> tuple[logging.LogRecord, ...]:
        return tuple(self.messages.get() for _ in range(self.messages.qsize()))


_worker: list[_Worker] = []


def _start(args: ImagesArgs, make_work: Callable[[], Work], workers: int, package: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an idle worker leaves it to its parent
    end_with_parent()
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    start_logging(package, debug=args.debug)
    worker = _Worker(Batch(args, make_work()))
    logging.getLogger().handlers[:] = [logging.handlers.QueueHandler(worker.messages)]
    _worker.append(worker)


def _work_on(source: str, stem: str) -> Outcome:
    if not _worker:
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        outcome = _worker[0].batch.work_on(source, stem)
    except KeyboardInterrupt:
        _worker.clear()  # images that are already on their way here are not begun
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return Outcome(outcome.record, outcome.fault, _worker[0].told())
