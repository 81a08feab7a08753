"""Simulations, read and explained by the model as live patterns are; on several cores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from qd_agent.core.errors import Fatal
from qd_agent.inference.artifact import Artifact
from qd_agent.inference.sizer import CHUNK, Examined, NetworkSizer
from training.calibrate import Sample

TASK = 8 * CHUNK
"""Patterns that a process takes at once, about 50 s: it builds the model's tables for each task."""


def examine(
    model: Artifact,
    sample: Sample,
    report: Callable[[int], None],
    *,
    workers: int = 1,
    task: int = TASK,
) -> list[Examined]:
    """Read and explain every pattern, in order; about 90 ms each on one core.

    Args:
        model: the model, calibrated or not.
        sample: n patterns.
        report: told how many are done.
        workers: processes; 1 is this one.
        task: patterns that one of several processes takes at once.

    Raises:
        Fatal: a process was ended from outside, for example as memory ran out.
    """
    everything = np.arange(len(sample.kind))
    parts = [sample.take(everything // task == n) for n in range(-(-len(everything) // task))]
    found: list[Examined] = []
    if workers == 1:
        for part in parts:
            found += _examine_here(model, part)
            report(len(found))
        return found
    # Not forked: threads of this process may hold locks that a copy would wait for in vain.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            for some in pool.map(_examine_alone, [model] * len(parts), parts):
                found += some
                report(len(found))
        except BrokenProcessPool as error:
            raise Fatal(
                f"a process that examined patterns was ended (after {len(found)} of "
                f"{len(everything)}); is there memory for {workers}? try fewer threads"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)
    return found


def _examine_alone(model: Artifact, sample: Sample) -> list[Examined]:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    return _examine_here(model, sample)


def _examine_here(model: Artifact, sample: Sample) -> list[Examined]:
    sizer = NetworkSizer(model)
    found: list[Examined] = []
    # The fit's matrices are small; more threads than one cost ten times what they save.
    with threadpool_limits(1, user_api="blas"):
        for start in range(0, len(sample.kind), CHUNK):
            part = slice(start, start + CHUNK)
            found += sizer.examine(
                sample.intensity[part], sample.coverage[part], sample.resolution[part]
            )
    return found
